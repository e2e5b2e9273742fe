//! HTTP/1.1, client side: every byte that Airlock asks of a network goes through [`Http::send`].
//!
//! What it may never do: wait for ever, decompress (a blob's bytes are its digest), follow a redirect
//! from TLS to plain text, take `Authorization` along to another host, or show a secret of a URL.
//!
//! The library below (`ureq`) is asked for one exchange at a time: redirects and retries are ours, so
//! that their rules stand here and are tested. Limits of it that this module guards against: without
//! timeouts set it waits for ever, and an upload whose reader ends early makes it spin.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig};
use ureq::{Agent, SendBody};
use zeroize::Zeroizing;

use crate::retry::{Pause, Retry, is_transient, retry_after};
use crate::url::{Scheme, Url, UrlError};

/// What every request calls itself.
const USER_AGENT: &str = concat!("airlock/", env!("CARGO_PKG_VERSION"));
/// Real chains have one or two links.
const REDIRECTS_MAX: u32 = 8;
/// Headers that are for one origin only.
const CREDENTIAL_HEADERS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];
/// As much of an unwanted body is read, so that its connection can serve the next request.
const DRAINED_BYTES_MAX: u64 = 64 * 1024;

/// How a client behaves. `HttpSettings { retries: 0, ..HttpSettings::default() }` and the like.
#[derive(Clone)]
pub struct HttpSettings {
    /// For the name's lookup, and again for the connection with its TLS handshake. Default 15 s.
    pub connect_timeout: Duration,
    /// The longest silence: until the answer's headers are there, and between any two pieces of a body
    /// in either direction. A whole transfer has no limit. Default 120 s, because a registry hashes a
    /// large upload before it answers.
    pub response_timeout: Duration,
    /// Further tries after a failed one. Default 4.
    pub retries: u32,
    /// The longest wait between two tries; a server that asks for more is taken at its word, and the
    /// try counts as the last. Default 60 s.
    pub longest_pause: Duration,
    /// Waits between tries. Default: the thread sleeps.
    pub pause: Pause,
    /// Is told when a server asks for patience and gets it. Default: nobody is.
    pub notice: Option<Notice>,
    /// Certificates in PEM form that are trusted beside the machine's own.
    pub ca_pem: Option<Vec<u8>>,
    /// Who we are to servers that ask for a certificate. Default: nobody.
    pub identity: Option<Identity>,
    /// Whether `HTTPS_PROXY`, `NO_PROXY` and the likes apply. Never to this very machine. Default true.
    pub environment_proxy: bool,
}

/// Says something to the person at the keyboard.
pub type Notice = Arc<dyn Fn(&str) + Send + Sync>;

/// A certificate for TLS, with its private key, in PEM form. No `Debug`: it is a secret.
#[derive(Clone)]
pub struct Identity {
    /// The certificate, and those above it.
    pub certificate_pem: Vec<u8>,
    /// Its private key.
    pub key_pem: Zeroizing<Vec<u8>>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(15),
            response_timeout: Duration::from_secs(120),
            retries: 4,
            longest_pause: Duration::from_secs(60),
            pause: Arc::new(std::thread::sleep),
            notice: None,
            ca_pem: None,
            identity: None,
            environment_proxy: true,
        }
    }
}

/// Why there is no answer, or not the wanted one. Each names the URL without its secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The name has no address, nobody listens there, or there is no way there.
    #[error("cannot reach {url}")]
    Unreachable {
        /// Where to.
        url: String,
        /// What the system says.
        source: io::Error,
    },
    /// Nothing came, or nothing was taken, for too long.
    #[error("{url} did not answer in time ({waiting} took longer than {} s)", .limit.as_secs_f32())]
    TimedOut {
        /// Where to.
        url: String,
        /// What was waited for.
        waiting: &'static str,
        /// The limit it broke.
        limit: Duration,
    },
    /// The certificate is not trusted or not for this host, or the other side speaks no TLS.
    #[error("no trusted TLS connection to {url}")]
    Tls {
        /// Where to.
        url: String,
        /// What the TLS library says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It was there, and then ended too early.
    #[error("the connection to {url} broke")]
    Broken {
        /// Where to.
        url: String,
        /// What the system says.
        source: io::Error,
    },
    /// The answer is not HTTP/1.1.
    #[error("{url} did not answer in HTTP/1.1")]
    Protocol {
        /// Where to.
        url: String,
        /// What the library says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An answer, but not the wanted one.
    #[error("{url} answered {status}{}", reason(*.status))]
    Status {
        /// Who answered: after redirects, the last.
        url: String,
        /// The status code.
        status: u16,
        /// How long the server wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// A document that is larger than it may be.
    #[error("the answer of {url} is larger than {limit} bytes")]
    TooLarge {
        /// Whose.
        url: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// A loop, most likely.
    #[error("{url} is still a redirect after {REDIRECTS_MAX} redirects")]
    Redirects {
        /// The last one.
        url: String,
    },
    /// A redirect that would give up encryption.
    #[error("{url} redirects to {to}, which is not encrypted")]
    Downgrade {
        /// From.
        url: String,
        /// To.
        to: String,
    },
    /// A redirect to nowhere.
    #[error("{url} redirects to something that is no URL")]
    Location {
        /// From.
        url: String,
        /// What is wrong with it.
        source: UrlError,
    },
    /// A redirect to another host, where that was not wanted.
    #[error("{url} redirects to {to}, which is another host")]
    OtherHost {
        /// From.
        url: String,
        /// To.
        to: String,
    },
    /// Our own side failed: what should be sent cannot be read, or is shorter than announced.
    #[error("cannot read what is to be sent to {url}")]
    Upload {
        /// Where to.
        url: String,
        /// What the reader says.
        source: io::Error,
    },
    /// The trust roots are unusable, so nothing could be trusted.
    #[error("cannot use the TLS trust roots: {what}")]
    Roots {
        /// Which, and why.
        what: String,
    },
}

impl HttpError {
    /// Whether nobody was reached at all, or nobody answered: a matter of network or name, not of content.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Tls { .. } | Self::Broken { .. }
        )
    }

    /// Whether the same request may well succeed at once or soon.
    fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } => true,
            // A silent server was given its time already; a lost SYN was not.
            Self::TimedOut { waiting, .. } => *waiting == CONNECTING,
            _ => false,
        }
    }

    fn io_kind(&self) -> io::ErrorKind {
        match self {
            Self::Unreachable { source, .. } | Self::Broken { source, .. } | Self::Upload { source, .. } => {
                source.kind()
            }
            Self::TimedOut { .. } => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::Other,
        }
    }
}

impl From<HttpError> for io::Error {
    fn from(error: HttpError) -> Self {
        Self::new(error.io_kind(), error)
    }
}

const CONNECTING: &str = "connecting";

fn reason(status: u16) -> String {
    let known = ureq::http::StatusCode::from_u16(status).ok();
    known.and_then(|code| code.canonical_reason()).map(|text| format!(" {text}")).unwrap_or_default()
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// RFC 9110.
    Get,
    /// RFC 9110.
    Head,
    /// RFC 9110.
    Post,
    /// RFC 9110.
    Put,
    /// RFC 5789.
    Patch,
    /// RFC 9110.
    Delete,
}

impl Method {
    fn wire(self) -> ureq::http::Method {
        match self {
            Self::Get => ureq::http::Method::GET,
            Self::Head => ureq::http::Method::HEAD,
            Self::Post => ureq::http::Method::POST,
            Self::Put => ureq::http::Method::PUT,
            Self::Patch => ureq::http::Method::PATCH,
            Self::Delete => ureq::http::Method::DELETE,
        }
    }

    fn sends_a_body(self) -> bool {
        matches!(self, Self::Post | Self::Put | Self::Patch)
    }

    fn follows_redirects(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }
}

/// One request. Every request with a body states its length.
pub struct Request<'a> {
    method: Method,
    url: Url,
    headers: Vec<(&'static str, String)>,
    payload: Payload<'a>,
    redirects: Redirects,
    time_limit: Option<Duration>,
    /// What is left of that limit.
    left: Option<Duration>,
}

/// Which redirects of `GET` and `HEAD` are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirects {
    /// All, but for those that give up encryption.
    All,
    /// Of these only those that stay on the host of the first URL, on whatever port; another one is
    /// [`HttpError::OtherHost`].
    SameHost,
    /// None: the redirect is the answer.
    None,
}

enum Payload<'a> {
    Bytes(&'a [u8]),
    Stream(Exact<'a>),
}

impl<'a> Request<'a> {
    /// Without headers of its own and with an empty body.
    #[must_use]
    pub fn new(method: Method, url: Url) -> Self {
        let (headers, payload) = (Vec::new(), Payload::Bytes(&[]));
        Self { method, url, headers, payload, redirects: Redirects::All, time_limit: None, left: None }
    }

    /// Following these redirects only.
    #[must_use]
    pub fn redirects(mut self, redirects: Redirects) -> Self {
        self.redirects = redirects;
        self
    }

    /// With a limit for all of it: each exchange of its redirects and tries together, and the last answer's
    /// body.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = Some(limit);
        self
    }

    /// With one more header; the name in lower case.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// With these bytes for its body.
    #[must_use]
    pub fn bytes(mut self, bytes: &'a [u8]) -> Self {
        self.payload = Payload::Bytes(bytes);
        self
    }

    /// With the next `size` bytes of a reader for its body. Such a request is tried again only as long
    /// as nothing was taken from the reader.
    #[must_use]
    pub fn stream(mut self, size: u64, reader: &'a mut dyn Read) -> Self {
        self.payload = Payload::Stream(Exact { reader, left: size, taken: false, failure: None });
        self
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// Whether it is one that changes nothing.
    pub(crate) fn only_reads(&self) -> bool {
        self.method.follows_redirects()
    }

    /// Back to where it was for, and with this login in place of another.
    pub(crate) fn authorize(&mut self, url: Url, header: &str) {
        self.url = url;
        self.headers.retain(|(name, _)| *name != "authorization");
        self.headers.push(("authorization", header.to_string()));
    }

    pub(crate) fn can_be_sent_again(&self) -> bool {
        !matches!(&self.payload, Payload::Stream(exact) if exact.taken)
    }

    fn redirect_to(&mut self, next: Url) {
        if !next.same_origin(&self.url) {
            self.headers.retain(|(name, _)| !CREDENTIAL_HEADERS.contains(name));
        }
        self.url = next;
    }
}

/// Hands out exactly the announced bytes. A reader that ends early is an error, because the library
/// below would ask it for ever.
struct Exact<'a> {
    reader: &'a mut dyn Read,
    left: u64,
    taken: bool,
    failure: Option<io::Error>,
}

impl Read for Exact<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let Some(buffer) = buffer.get_mut(..room).filter(|buffer| !buffer.is_empty()) else {
            return Ok(0);
        };
        self.taken = true;
        let failure = loop {
            match self.reader.read(buffer) {
                Ok(0) => break io::Error::new(io::ErrorKind::UnexpectedEof, "shorter than announced"),
                Ok(count) => {
                    self.left = self.left.saturating_sub(count as u64);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break error,
            }
        };
        self.failure = Some(failure);
        Err(io::Error::other("the upload's source failed"))
    }
}

/// Headers by name, whatever the case.
#[derive(Debug, Clone)]
pub struct Headers(ureq::http::HeaderMap);

impl Headers {
    /// The first header of this name, if it is printable ASCII.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.to_str().ok()
    }

    /// Every header of this name that is printable ASCII.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get_all(name).iter().filter_map(|value| value.to_str().ok())
    }

    /// `Content-Length`, where there is one.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.get("content-length")?.trim().parse().ok()
    }

    /// `Content-Type` in lower case, without its parameters.
    #[must_use]
    pub fn media_type(&self) -> Option<String> {
        let media_type = self.get("content-type")?.split(';').next().unwrap_or_default().trim();
        (!media_type.is_empty()).then(|| media_type.to_ascii_lowercase())
    }
}

/// An answer of any status, its body not yet read.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// All headers.
    pub headers: Headers,
    /// Who answered: after redirects, the last.
    pub url: Url,
    /// The body.
    pub body: Body,
    /// Whose login the request had, where [`crate::repository`] gave it one.
    pub(crate) login: Option<String>,
}

impl Response {
    /// Itself, if the status is 200 to 299.
    ///
    /// # Errors
    /// [`HttpError::Status`] for any other.
    pub fn successful(self) -> Result<Self, HttpError> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let retry_after = self.retry_after();
        Err(HttpError::Status { url: self.url.to_string(), status: self.status, retry_after })
    }

    /// The whole body, if it is not larger than `limit` bytes.
    ///
    /// # Errors
    /// [`HttpError::TooLarge`], or whatever broke the connection.
    pub fn bytes(mut self, limit: u64) -> Result<Vec<u8>, HttpError> {
        let mut bytes = Vec::new();
        let read = (&mut self.body).take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| unwrapped(error, &self.url))?;
        if bytes.len() as u64 > limit {
            return Err(HttpError::TooLarge { url: self.url.to_string(), limit });
        }
        Ok(bytes)
    }

    /// The start of the body, as much as there is of it, at most `limit` bytes: for error messages.
    #[must_use]
    pub fn beginning(mut self, limit: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        // What came before a failure is still worth showing.
        let _ = (&mut self.body).take(limit).read_to_end(&mut bytes);
        bytes
    }

    /// How long the server wants to be left alone, if it says.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        retry_after(self.headers.get("retry-after"), self.headers.get("date"))
    }

    /// Frees the connection for the next request.
    pub(crate) fn discard(mut self) {
        let _ = io::copy(&mut (&mut self.body).take(DRAINED_BYTES_MAX), &mut io::sink());
    }
}

/// A body as it comes. Its errors are [`HttpError`]s inside [`io::Error`]s.
pub struct Body {
    reader: ureq::BodyReader<'static>,
    url: Url,
    limits: Limits,
}

/// What a broken limit was.
#[derive(Clone, Copy)]
struct Limits {
    connect: Duration,
    silence: Duration,
    all: Duration,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer).map_err(|error| {
            if error.kind() == io::ErrorKind::Interrupted {
                return error;
            }
            classified(ureq::Error::from(error), &self.url, self.limits).into()
        })
    }
}

impl core::fmt::Debug for Body {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Body({})", self.url)
    }
}

/// A small document, and where it was found in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// `Content-Type` in lower case, without its parameters.
    pub content_type: Option<String>,
    /// After redirects: what the document's relative links are relative to.
    pub url: Url,
    /// The document.
    pub bytes: Vec<u8>,
}

/// The client. Cloning it is cheap, and clones share their connections.
#[derive(Clone)]
pub struct Http {
    inner: Arc<Inner>,
}

struct Inner {
    direct: Agent,
    /// Only where the environment names a proxy.
    proxied: Option<Agent>,
    retry: Retry,
    connect_timeout: Duration,
    response_timeout: Duration,
    notice: Option<Notice>,
}

impl Http {
    /// A client with the machine's trust roots (`SSL_CERT_FILE` and `SSL_CERT_DIR` honoured) and those of
    /// the settings. Opens no connection.
    ///
    /// # Errors
    /// [`HttpError::Roots`].
    pub fn new(settings: &HttpSettings) -> Result<Self, HttpError> {
        let tls = TlsConfig::builder()
            .root_certs(roots(settings.ca_pem.as_deref())?)
            .client_cert(settings.identity.as_ref().map(client_certificate).transpose()?)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let proxy = if settings.environment_proxy { ureq::Proxy::try_from_env() } else { None };
        let inner = Inner {
            direct: agent(settings, tls.clone(), None),
            proxied: proxy.map(|proxy| agent(settings, tls, Some(proxy))),
            retry: Retry::new(settings.retries, settings.longest_pause, Arc::clone(&settings.pause)),
            connect_timeout: settings.connect_timeout,
            response_timeout: settings.response_timeout,
            notice: settings.notice.clone(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The answer, whatever its status. Redirects of `GET` and `HEAD` are followed; what may succeed
    /// later is tried again, and when it never does, the last answer or error is given.
    ///
    /// # Errors
    /// No answer.
    pub fn send(&self, mut request: Request<'_>) -> Result<Response, HttpError> {
        self.send_keeping(&mut request)
    }

    /// The same; the request can be sent once more afterwards, from where its redirects led.
    pub(crate) fn send_keeping(&self, request: &mut Request<'_>) -> Result<Response, HttpError> {
        let clock = edge::env::system_clock();
        let began = clock.monotonic();
        let passed = || clock.monotonic().saturating_sub(began);
        for _ in 0..=REDIRECTS_MAX {
            let response = self.send_patiently(request, &passed)?;
            let Some(next) = redirect(request, &response)? else {
                return Ok(response);
            };
            response.discard();
            request.redirect_to(next);
        }
        Err(HttpError::Redirects { url: request.url.to_string() })
    }

    /// A file of any size, as a stream.
    ///
    /// # Errors
    /// No answer, or another status than 200 to 299.
    pub fn get(&self, url: &Url) -> Result<Response, HttpError> {
        self.send(Request::new(Method::Get, url.clone()))?.successful()
    }

    /// A small document, in memory.
    ///
    /// # Errors
    /// No answer, another status than 200 to 299, or more than `limit` bytes.
    pub fn get_bytes(&self, url: &Url, accept: &str, limit: u64) -> Result<Fetched, HttpError> {
        let request = Request::new(Method::Get, url.clone()).header("accept", accept);
        let response = self.send(request)?.successful()?;
        let (content_type, url) = (response.headers.media_type(), response.url.clone());
        Ok(Fetched { content_type, url, bytes: response.bytes(limit)? })
    }

    /// The policy, for a body that can be continued.
    pub(crate) fn retry(&self) -> &Retry {
        &self.inner.retry
    }

    fn send_patiently(
        &self,
        request: &mut Request<'_>,
        passed: &dyn Fn() -> Duration,
    ) -> Result<Response, HttpError> {
        let mut failures = 0_u32;
        loop {
            request.left = request.time_limit.map(|limit| limit.saturating_sub(passed()));
            let outcome = self.send_once(request);
            let asked = match &outcome {
                Ok(response) if is_transient(response.status) => response.retry_after(),
                Err(error) if error.is_transient() => None,
                _ => return outcome,
            };
            failures = failures.saturating_add(1);
            let pause = self.inner.retry.pause_after(failures, asked);
            let Some(pause) = pause.filter(|_| request.can_be_sent_again()) else { return outcome };
            if let Ok(response) = outcome {
                if asked.is_some() || response.status == 429 {
                    self.notify(&response, pause);
                }
                response.discard();
            }
            self.inner.retry.wait(pause);
        }
    }

    fn notify(&self, response: &Response, pause: Duration) {
        let Some(notice) = &self.inner.notice else { return };
        let (host, status, seconds) = (response.url.authority(), response.status, pause.as_secs_f32());
        notice(&format!(
            "note: {host} asks for patience ({status}{}): trying again in {seconds} s",
            reason(status)
        ));
    }

    fn send_once(&self, request: &mut Request<'_>) -> Result<Response, HttpError> {
        let url = request.url.clone();
        let direct = url.is_loopback();
        let agent = self.inner.proxied.as_ref().filter(|_| !direct).unwrap_or(&self.inner.direct);
        let mut head = ureq::http::Request::builder().method(request.method.wire()).uri(url.to_wire());
        for (name, value) in &request.headers {
            head = head.header(*name, value);
        }
        let left = request.left;
        let result = if !request.method.sends_a_body() {
            run(agent, head, left, SendBody::none())
        } else {
            match &mut request.payload {
                Payload::Bytes(bytes) => {
                    head = head.header("content-length", bytes.len());
                    let mut reader = *bytes;
                    run(agent, head, left, SendBody::from_reader(&mut reader))
                }
                Payload::Stream(exact) => {
                    head = head.header("content-length", exact.left);
                    let result = run(agent, head, left, SendBody::from_reader(exact));
                    if let Some(source) = exact.failure.take() {
                        return Err(HttpError::Upload { url: url.to_string(), source });
                    }
                    result
                }
            }
        };
        self.answered(url, request.time_limit, result)
    }

    fn answered(
        &self,
        url: Url,
        time_limit: Option<Duration>,
        result: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Response, HttpError> {
        let limits = Limits {
            connect: self.inner.connect_timeout,
            silence: self.inner.response_timeout,
            all: time_limit.unwrap_or_default(),
        };
        let response = result.map_err(|error| classified(error, &url, limits))?;
        let (head, body) = response.into_parts();
        Ok(Response {
            status: head.status.as_u16(),
            headers: Headers(head.headers),
            url: url.clone(),
            body: Body { reader: body.into_reader(), url, limits },
            login: None,
        })
    }
}

fn run(
    agent: &Agent,
    head: ureq::http::request::Builder,
    left: Option<Duration>,
    body: SendBody<'_>,
) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    let request = head.body(body)?;
    match left {
        None => agent.run(request),
        Some(left) if left.is_zero() => Err(ureq::Error::Timeout(ureq::Timeout::Global)),
        Some(left) => agent.run(agent.configure_request(request).timeout_global(Some(left)).build()),
    }
}

fn agent(settings: &HttpSettings, tls: TlsConfig, proxy: Option<ureq::Proxy>) -> Agent {
    let silence = Some(settings.response_timeout);
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(proxy)
        .tls_config(tls)
        .user_agent(USER_AGENT)
        .accept_encoding("identity")
        .timeout_resolve(Some(settings.connect_timeout))
        .timeout_connect(Some(settings.connect_timeout))
        .timeout_recv_response(silence)
        .timeout_per_read(silence)
        .timeout_per_write(silence)
        .max_idle_connections_per_host(8)
        .build()
        .new_agent()
}

/// The machine's roots, and more. A machine without any is fine until TLS is wanted; a file of roots
/// that was named and cannot be used is not.
fn roots(ca_pem: Option<&[u8]>) -> Result<RootCerts, HttpError> {
    let native = rustls_native_certs::load_native_certs();
    if let (true, Some(error)) = (native.certs.is_empty(), native.errors.first()) {
        return Err(HttpError::Roots { what: error.to_string() });
    }
    let mut roots: Vec<Certificate<'static>> =
        native.certs.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    if let Some(pem) = ca_pem {
        let before = roots.len();
        for item in ureq::tls::parse_pem(pem) {
            match item {
                Ok(PemItem::Certificate(certificate)) => roots.push(certificate),
                Ok(_) => {}
                Err(error) => return Err(HttpError::Roots { what: error.to_string() }),
            }
        }
        if roots.len() == before {
            let what = "the PEM text that was given holds no certificate".to_string();
            return Err(HttpError::Roots { what });
        }
    }
    Ok(RootCerts::from(roots))
}

fn client_certificate(identity: &Identity) -> Result<ClientCert, HttpError> {
    let unusable = |what: String| HttpError::Roots { what: format!("the client's certificate: {what}") };
    let mut chain = Vec::new();
    for item in ureq::tls::parse_pem(&identity.certificate_pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| unusable(error.to_string()))? {
            chain.push(certificate);
        }
    }
    if chain.is_empty() {
        return Err(unusable("the PEM text holds none".to_string()));
    }
    let key = PrivateKey::from_pem(&identity.key_pem).map_err(|error| unusable(error.to_string()))?;
    Ok(ClientCert::new_with_certs(&chain, key))
}

fn redirect(request: &Request<'_>, response: &Response) -> Result<Option<Url>, HttpError> {
    let redirects = matches!(response.status, 301 | 302 | 303 | 307 | 308);
    let location = response.headers.get("location");
    let followed = request.method.follows_redirects() && request.redirects != Redirects::None;
    let Some(location) = location.filter(|_| redirects && followed) else {
        return Ok(None);
    };
    let next = follow(&response.url, location)?;
    if request.redirects == Redirects::SameHost && next.host() != response.url.host() {
        return Err(HttpError::OtherHost { url: response.url.to_string(), to: next.to_string() });
    }
    Ok(Some(next))
}

/// Where a `Location` leads. Ours to judge also where it is not a redirect but an upload's next step.
pub(crate) fn follow(from: &Url, location: &str) -> Result<Url, HttpError> {
    let next = from.join(location).map_err(|source| HttpError::Location { url: from.to_string(), source })?;
    if from.scheme() == Scheme::Https && next.scheme() == Scheme::Http {
        return Err(HttpError::Downgrade { url: from.to_string(), to: next.to_string() });
    }
    Ok(next)
}

/// The error that [`Body`] put into an [`io::Error`], back out of it.
pub(crate) fn unwrapped(error: io::Error, url: &Url) -> HttpError {
    match error.downcast::<HttpError>() {
        Ok(inner) => inner,
        Err(source) => HttpError::Broken { url: url.to_string(), source },
    }
}

fn classified(error: ureq::Error, url: &Url, limits: Limits) -> HttpError {
    let url = url.to_string();
    match error {
        ureq::Error::Timeout(which) => {
            let (waiting, limit) = match which {
                ureq::Timeout::Global => ("all of it", limits.all),
                ureq::Timeout::Resolve | ureq::Timeout::Connect => (CONNECTING, limits.connect),
                ureq::Timeout::RecvResponse => ("its answer", limits.silence),
                ureq::Timeout::PerWrite | ureq::Timeout::SendRequest | ureq::Timeout::SendBody => {
                    ("sending", limits.silence)
                }
                _ => ("the next bytes", limits.silence),
            };
            HttpError::TimedOut { url, waiting, limit }
        }
        ureq::Error::Io(source) if source.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
            HttpError::Tls { url, source: Box::new(source) }
        }
        ureq::Error::Io(source) => match source.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => HttpError::Broken { url, source },
            _ => HttpError::Unreachable { url, source },
        },
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::ConnectProxyFailed(_) => {
            HttpError::Unreachable { url, source: io::Error::other(error) }
        }
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::TlsRequired => {
            HttpError::Tls { url, source: Box::new(error) }
        }
        other => HttpError::Protocol { url, source: Box::new(other) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encryption_is_never_given_up_on_the_way() {
        let url = |text: &str| text.parse::<Url>().unwrap();
        let error = follow(&url("https://h/a?token=hunter2"), "http://h/b?token=hunter2").unwrap_err();
        assert_eq!(error.to_string(), "https://h/a?*** redirects to http://h/b?***, which is not encrypted");
        assert_eq!(follow(&url("http://h/a"), "https://h/b").unwrap(), url("https://h/b"));
        assert_eq!(follow(&url("https://h/a"), "//other/b").unwrap(), url("https://other/b"));
    }
}
