//! From a request to a response: conditions, ranges, and the bytes of blobs.

use std::io::{Seek, SeekFrom};
use std::net::IpAddr;
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderName, HeaderValue, IF_NONE_MATCH, IF_RANGE, RANGE, REFERRER_POLICY, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Response, StatusCode, Uri};
use manifests::Digest;
use manifests::bundle::Content;
use tokio::sync::OwnedSemaphorePermit;

use super::answer::{Answer, Body};
use super::body::{Payload, Slots, Source, read_exactly};
use super::catalogue::Library;
use super::door::Door;
use super::range::{Span, names_tag, wanted};
use super::request::Asked;
use super::routes::{self, Templates};
use super::shelf::Shelf;
use super::trouble::{Trouble, open};
use super::users::Login;
use super::{Limits, registry};

/// Blobs up to this length are read at once and need no download slot: manifests must flow while the
/// slots are taken by large layers.
const SMALL_BYTES_MAX: u64 = 64 * 1024;
/// Where whoever watches the server asks whether it is there.
const HEALTH: &str = "/healthz";

/// What every connection shares.
pub(super) struct Site {
    pub(super) library: Library,
    pub(super) templates: Templates,
    pub(super) limits: Limits,
    pub(super) downloads: Slots,
    pub(super) door: Arc<Door>,
    pub(super) report: Arc<dyn Fn(Trouble) + Send + Sync>,
}

/// Which protocol words a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Registry,
    Plain,
}

/// A blob of which some bytes are to be sent.
struct Piece {
    content: Content,
    first: u64,
    length: u64,
}

/// Why a blob is not sent.
enum Unsent {
    /// It is withdrawn.
    Withdrawn,
    /// Anything else.
    Problem(Answer),
}

impl Site {
    /// Answers one request from a client's address to one of ours.
    pub(super) async fn respond(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        (from, local): (IpAddr, &str),
    ) -> Response<Payload> {
        let is_registry = routes::is_registry(uri.path());
        let dialect = if is_registry { Dialect::Registry } else { Dialect::Plain };
        let head_only = *method == Method::HEAD;
        // Whoever watches the server need not log in to see that it is there.
        let (login, trouble) = match uri.path() {
            HEALTH => (Login::Welcome, None),
            _ => self.door.login(headers, from).await,
        };
        trouble.into_iter().for_each(|trouble| (self.report)(trouble));
        if login != Login::Welcome {
            return whole(dialect.stranger(login), head_only);
        }
        let asked = match Asked::parse(method, uri, headers) {
            Ok(asked) => asked,
            Err(refusal) => {
                let refuse = if is_registry { registry::refuse } else { routes::refuse };
                return whole(refuse(refusal), head_only);
            }
        };
        if uri.path() == HEALTH {
            return whole(Answer::document("text/plain; charset=utf-8", &b"ok"[..]), asked.head_only);
        }
        match self.answer(&asked, local, dialect).await {
            Ok(response) => response,
            // Asked again, as the catalogue does not know the blob any more.
            Err(_) => match self.answer(&asked, local, dialect).await {
                Ok(response) => response,
                Err(gone) => whole(gone, asked.head_only),
            },
        }
    }

    /// An answer from the catalogue; on the way to it a blob may turn out to be rotten.
    async fn answer(
        &self,
        asked: &Asked,
        local: &str,
        dialect: Dialect,
    ) -> Result<Response<Payload>, Answer> {
        let catalogue = self.library.current(&*self.report).await;
        let mut answer = routes::answer(&catalogue, asked, local, &self.templates);
        drop(catalogue);
        if answer.status != StatusCode::OK {
            return Ok(whole(answer, asked.head_only));
        }
        let tag = format!("\"{}\"", digest_of(&answer.body));
        answer = answer.with_text(ETAG, &tag);
        if asked.list(IF_NONE_MATCH).is_some_and(|header| names_tag(&header, &tag)) {
            answer.status = StatusCode::NOT_MODIFIED;
            answer.headers.remove(CONTENT_TYPE);
            return Ok(response(answer.status, answer.headers, Payload::Nothing));
        }
        match answer.body {
            Body::Document(_) => Ok(whole(answer, asked.head_only)),
            Body::Blob(content) => self.blob(answer, content, asked, &tag, dialect).await,
        }
    }

    async fn blob(
        &self,
        mut answer: Answer,
        content: Content,
        asked: &Asked,
        tag: &str,
        dialect: Dialect,
    ) -> Result<Response<Payload>, Answer> {
        answer.headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        let range = asked.header(RANGE).filter(|_| !asked.head_only);
        // A date in If-Range never matches: nothing here has one.
        let range = range.filter(|_| asked.header(IF_RANGE).is_none_or(|known| known == tag));
        let size = content.size;
        let (first, length) = match range.map_or(Span::Whole, |range| wanted(range, size)) {
            Span::Whole => (0, size),
            Span::Part { first, last } => {
                answer.status = StatusCode::PARTIAL_CONTENT;
                answer = answer.with_text(CONTENT_RANGE, &format!("bytes {first}-{last}/{size}"));
                (first, last.saturating_sub(first).saturating_add(1))
            }
            Span::Unsatisfiable => {
                let sentence = format!("the range lies outside of {size} bytes");
                let problem = Answer::problem(StatusCode::RANGE_NOT_SATISFIABLE, &sentence);
                return Ok(whole(problem.with_text(CONTENT_RANGE, &format!("bytes */{size}")), false));
            }
        };
        let piece = Piece { content, first, length };
        match self.payload(piece, asked.head_only, dialect).await {
            Ok(payload) => {
                answer.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
                Ok(response(answer.status, answer.headers, payload))
            }
            Err(Unsent::Withdrawn) => Err(dialect.gone()),
            Err(Unsent::Problem(problem)) => Ok(whole(problem, asked.head_only)),
        }
    }

    /// The bytes of a piece, after the length of its blob was compared with the inventory. Small ones are hashed
    /// before any of them is sent, large ones while they are.
    async fn payload(&self, piece: Piece, head_only: bool, dialect: Dialect) -> Result<Payload, Unsent> {
        let Content { digest, .. } = piece.content;
        let small = head_only || piece.length <= SMALL_BYTES_MAX;
        let slot = if small { None } else { Some(self.slot(dialect).await?) };
        let (shelf, withdrawn) = (self.library.shelf(), Arc::clone(&self.library.withdrawn));
        if withdrawn.has(&digest) {
            return Err(Unsent::Withdrawn);
        }
        let opened = tokio::task::spawn_blocking(move || {
            let opened = piece.open(&*shelf, small && !head_only);
            opened.map_err(|trouble| if withdrawn.doubt(&*shelf, &trouble) { None } else { Some(trouble) })
        });
        let opened = opened.await.unwrap_or_else(|stopped| {
            Err(Some(Trouble::BlobRead { digest, source: std::io::Error::other(stopped) }))
        });
        match (opened, slot) {
            (Ok(Opened::Bytes(bytes)), _) => Ok(Payload::Whole(bytes)),
            (Ok(Opened::File(source)), Some(slot)) => {
                let (shelf, withdrawn) = (self.library.shelf(), Arc::clone(&self.library.withdrawn));
                let report = Arc::clone(&self.report);
                let failed = move |trouble| {
                    if !withdrawn.doubt(&*shelf, &trouble) {
                        report(trouble);
                    }
                };
                Ok(Payload::stream(source, &self.downloads, slot, failed))
            }
            (Ok(Opened::File(_)), None) => Ok(Payload::Nothing),
            (Err(None), _) => Err(Unsent::Withdrawn),
            (Err(Some(trouble)), _) => {
                let message = trouble.to_string();
                // What was taken away with its bundle since the list was read is no trouble of anybody.
                if matches!(trouble, Trouble::BlobMissing(_)) {
                    return Err(Unsent::Withdrawn);
                }
                (self.report)(trouble);
                Err(Unsent::Problem(match dialect {
                    Dialect::Registry => registry::damaged(&message),
                    Dialect::Plain => Answer::problem(StatusCode::INTERNAL_SERVER_ERROR, &message),
                }))
            }
        }
    }

    async fn slot(&self, dialect: Dialect) -> Result<OwnedSemaphorePermit, Unsent> {
        let waiting = self.downloads.take();
        if let Ok(Some(slot)) = tokio::time::timeout(self.limits.download_wait_max, waiting).await {
            return Ok(slot);
        }
        Err(Unsent::Problem(dialect.busy("all download slots are taken, try again")))
    }
}

/// What was opened of a blob.
enum Opened {
    /// All that is to be sent.
    Bytes(Bytes),
    /// Where it is to be read from.
    File(Source),
}

impl Piece {
    fn open(&self, shelf: &dyn Shelf, here: bool) -> Result<Opened, Trouble> {
        let Content { digest, size } = self.content;
        let failed = |source| Trouble::BlobRead { digest, source };
        let mut file = open(shelf, self.content)?;
        if here && size <= SMALL_BYTES_MAX {
            let bytes = read_exactly(&mut file, size).map_err(failed)?;
            if Digest::of(&bytes) != digest {
                return Err(Trouble::BlobDigest(digest));
            }
            let end = usize::try_from(self.first.saturating_add(self.length)).unwrap_or(usize::MAX);
            let first = usize::try_from(self.first).unwrap_or(usize::MAX).min(bytes.len());
            return Ok(Opened::Bytes(bytes.slice(first..end.min(bytes.len()).max(first))));
        }
        if self.first > 0 {
            file.seek(SeekFrom::Start(self.first)).map_err(failed)?;
        }
        if here {
            return read_exactly(&mut file, self.length).map(Opened::Bytes).map_err(failed);
        }
        let is_whole = self.length == size;
        Ok(Opened::File(Source { file, length: self.length, blob: digest, is_whole }))
    }
}

impl Dialect {
    /// Too much at once.
    fn busy(self, message: &str) -> Answer {
        let answer = match self {
            Self::Registry => registry::busy(message),
            Self::Plain => Answer::problem(StatusCode::SERVICE_UNAVAILABLE, message),
        };
        answer.with(RETRY_AFTER, HeaderValue::from_static("5"))
    }

    /// A blob that was withdrawn a moment ago.
    fn gone(self) -> Answer {
        let message = "this blob is withdrawn";
        match self {
            Self::Registry => registry::unknown_blob(message),
            Self::Plain => Answer::problem(StatusCode::NOT_FOUND, message),
        }
    }

    /// Somebody who has not logged in.
    fn stranger(self, login: Login) -> Answer {
        if login == Login::Busy {
            return self.busy("too many logins are being checked, try again");
        }
        let message = "a login is needed here";
        let answer = match self {
            Self::Registry => registry::unauthorized(message),
            Self::Plain => Answer::problem(StatusCode::UNAUTHORIZED, message),
        };
        answer.with(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"Airlock\", charset=\"UTF-8\""))
    }
}

fn digest_of(body: &Body) -> Digest {
    match body {
        Body::Document(bytes) => Digest::of(bytes),
        Body::Blob(content) => content.digest,
    }
}

/// An answer that is not a blob.
fn whole(mut answer: Answer, head_only: bool) -> Response<Payload> {
    let Body::Document(bytes) = answer.body else {
        return response(StatusCode::INTERNAL_SERVER_ERROR, HeaderMap::new(), Payload::Nothing);
    };
    answer.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    let payload = if head_only { Payload::Nothing } else { Payload::Whole(bytes) };
    response(answer.status, answer.headers, payload)
}

/// Nothing that is served may run or load anything in a browser, unless its endpoint says otherwise.
fn response(status: StatusCode, headers: HeaderMap, payload: Payload) -> Response<Payload> {
    const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
    let mut response = Response::new(payload);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(nothing);
    response
}
