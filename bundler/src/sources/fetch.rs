//! Fetches files into the cache, several at a time, each checked on its way against the digest that is pinned;
//! and small documents that nobody can pin.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Mutex;

use edge::progress::Progress;
use edge::{Classified, Exit};
use manifests::bundle::Content;
use manifests::{Digest, Hasher};
use registry::http::{Method, Request, Response};
use registry::{Http, HttpError, Url};

use super::images::pull::is_full;
use super::logins::Logins;
use super::wheels::Class;
use crate::cache::Cache;
use crate::registries::{Registries, RegistriesError};

/// Files at one time: enough to fill a line, few enough for an index that counts connections.
const AT_ONCE: usize = 6;
/// How often a file is begun whose transfer breaks off. (Answers that may pass are tried again below this.)
const TRIES: u32 = 3;
const CHUNK_BYTES: usize = 128 * 1024;

/// A file to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// For messages.
    pub name: String,
    /// Where it is.
    pub url: Url,
    /// What it has to be.
    pub digest: Digest,
    /// Bytes, if somebody states them.
    pub size: Option<u64>,
}

/// Why a file was not fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The server has no such file.
    #[error("{name} is not there: {url} answered {status}")]
    Gone {
        /// Which file.
        name: String,
        /// After redirects, where it was asked for last.
        url: String,
        /// `404`
        status: u16,
    },
    /// The server wants a login, or another one.
    #[error("{url} wants a login that is not known here")]
    Login {
        /// After redirects, where it was asked for last.
        url: String,
    },
    /// It came with other bytes.
    #[error("{name} came with digest {found}, expected {expected}")]
    Digest {
        /// Which file.
        name: String,
        /// What came.
        found: Digest,
        /// What is pinned.
        expected: Digest,
    },
    /// It came longer or shorter than the lock states.
    #[error("{name} came with {found} bytes or more, expected {expected} with digest {digest}")]
    Size {
        /// Which file.
        name: String,
        /// What came.
        found: u64,
        /// What is stated.
        expected: u64,
        /// What is pinned.
        digest: Digest,
    },
    /// The server could not be asked.
    #[error("cannot fetch {name}")]
    Http {
        /// Which file.
        name: String,
        /// Why not.
        source: HttpError,
    },
    /// The transfer broke off, or the cache cannot be written to.
    #[error("cannot fetch {name}")]
    Broken {
        /// Which file.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// How the server is reached.
    #[error("cannot fetch {name}")]
    Host {
        /// Which file.
        name: String,
        /// What is wrong.
        source: RegistriesError,
    },
    /// A file that is larger than it may be.
    #[error("{name} is larger than {limit} bytes")]
    TooLarge {
        /// Which file.
        name: String,
        /// The limit.
        limit: u64,
    },
    /// More than one.
    #[error("{} files cannot be fetched:{}", .0.len(), lines(.0))]
    Several(Vec<FetchError>),
}

impl FetchError {
    /// Which kind of failure it is.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Digest { .. } | Self::Size { .. } | Self::TooLarge { .. } => Class::Damaged,
            Self::Host { source, .. } if source.exit() == Exit::Usage => Class::Spec,
            Self::Several(all) if all.iter().any(|one| one.class() == Class::Damaged) => Class::Damaged,
            _ => Class::Unreachable,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Login { .. } => Some(
                "put the login into the address (https://USER:PASSWORD@…), name a `passwordFile:`, or write it into ~/.netrc"
                    .to_string(),
            ),
            Self::Digest { .. } => {
                Some("find out who changed the file before you pin another hash".to_string())
            }
            Self::Gone { .. } => Some("lock again, or ask who runs the server".to_string()),
            Self::Several(all) => all.iter().find_map(Self::hint),
            _ => None,
        }
    }
}

/// The causes of several failures cannot all be the one `source()`, so each stands beside its failure.
fn lines(all: &[FetchError]) -> String {
    let line = |error: &FetchError| {
        let mut text = format!("\n  - {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        text
    };
    all.iter().map(line).collect()
}

/// What is needed to fetch.
pub struct Fetcher<'a> {
    /// The clients.
    pub http: &'a dyn Clients,
    /// Where files go.
    pub cache: &'a Cache,
    /// What opens which server.
    pub logins: &'a Logins,
    /// The most bytes that a file may have.
    pub limit: u64,
}

/// Which client asks which server.
pub trait Clients: Sync {
    /// The client for an address.
    ///
    /// # Errors
    /// What the server is trusted by cannot be used.
    fn client(&self, url: &Url) -> Result<Http, RegistriesError>;
}

impl Clients for Http {
    fn client(&self, _: &Url) -> Result<Http, RegistriesError> {
        Ok(self.clone())
    }
}

impl Clients for Registries {
    fn client(&self, url: &Url) -> Result<Http, RegistriesError> {
        self.http(url)
    }
}

impl Fetcher<'_> {
    /// Fetches what the cache does not have; the answers are in the order of the questions.
    ///
    /// # Errors
    /// Everything that could not be fetched.
    pub fn all(&self, wanted: &[Wanted], progress: &mut dyn Progress) -> Result<Vec<Content>, FetchError> {
        let uncached = |source| FetchError::Broken { name: self.cache.root().display().to_string(), source };
        self.cache.create().map_err(uncached)?;
        let progress = Mutex::new(progress);
        let advance = |bytes: u64| {
            if let Ok(mut progress) = progress.lock() {
                progress.advance(bytes);
            }
        };
        let mut found = Vec::with_capacity(wanted.len());
        let mut failed = Vec::new();
        for answer in at_once(wanted, |one| self.one(one, &advance)) {
            match answer {
                Ok(content) => found.push(content),
                Err(error) => failed.push(error),
            }
        }
        match <[FetchError; 1]>::try_from(failed) {
            Ok([only]) => Err(only),
            Err(none) if none.is_empty() => Ok(found),
            Err(several) => Err(FetchError::Several(several)),
        }
    }

    /// Fetches one file, if the cache does not have it. `advance` is told of bytes as they are there.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub fn one(&self, wanted: &Wanted, advance: &dyn Fn(u64)) -> Result<Content, FetchError> {
        if let Some(content) = self.cached(wanted) {
            advance(content.size);
            return self.checked(wanted, content);
        }
        let mut tries = 1;
        loop {
            match self.fetched(wanted, advance) {
                Err(FetchError::Broken { source, .. }) if tries < TRIES && !is_full(&source) => tries += 1,
                answer => return answer,
            }
        }
    }

    /// What the cache has under this digest, hashed again: what rotted is fetched anew.
    fn cached(&self, wanted: &Wanted) -> Option<Content> {
        let mut file = File::open(self.cache.path(&wanted.digest)).ok()?;
        let content = content_of(&mut file).ok()?;
        (content.digest == wanted.digest).then_some(content)
    }

    /// A file that nobody has pinned, into the cache.
    ///
    /// # Errors
    /// It is not there, or too large.
    pub fn unpinned(&self, name: &str, url: &Url) -> Result<Content, FetchError> {
        let mut tries = 1;
        loop {
            match self.kept(name, url, u64::MAX, &|_| {}) {
                Err(FetchError::Broken { source, .. }) if tries < TRIES && !is_full(&source) => tries += 1,
                answer => return answer,
            }
        }
    }

    /// A document that nobody has pinned, in memory.
    ///
    /// # Errors
    /// It is not there, or has more bytes than `limit`.
    pub fn document(&self, name: &str, url: &Url, limit: u64) -> Result<Vec<u8>, FetchError> {
        let mut tries = 1;
        loop {
            let bytes = self.response(name, url)?.bytes(limit);
            match bytes {
                Err(HttpError::Broken { .. }) if tries < TRIES => tries += 1,
                Err(HttpError::TooLarge { limit, .. }) => {
                    return Err(FetchError::TooLarge { name: name.to_string(), limit });
                }
                answer => {
                    return answer.map_err(|source| FetchError::Http { name: name.to_string(), source });
                }
            }
        }
    }

    fn response(&self, name: &str, url: &Url) -> Result<Response, FetchError> {
        let name = || name.to_string();
        let client = self.http.client(url).map_err(|source| FetchError::Host { name: name(), source })?;
        let mut request = Request::new(Method::Get, url.clone());
        if let Some(login) = self.logins.authorization_for(url) {
            request = request.header("authorization", login);
        }
        client.send(request).and_then(Response::successful).map_err(|error| match error {
            HttpError::Status { status: 401 | 403, url, .. } => FetchError::Login { url },
            HttpError::Status { status: status @ (404 | 410), url, .. } => {
                FetchError::Gone { name: name(), url, status }
            }
            source => FetchError::Http { name: name(), source },
        })
    }

    /// Keeps what comes, but not more than `most` bytes.
    fn kept(&self, name: &str, url: &Url, most: u64, advance: &dyn Fn(u64)) -> Result<Content, FetchError> {
        let response = self.response(name, url)?;
        let most = most.min(self.limit.saturating_add(1));
        let mut body = Counted { inner: response.body.take(most), advance };
        let content = self.cache.add(&mut |out| io::copy(&mut body, out).map(|_| ()));
        let content = content.map_err(|source| FetchError::Broken { name: name.to_string(), source })?;
        if content.size > self.limit {
            return Err(FetchError::TooLarge { name: name.to_string(), limit: self.limit });
        }
        Ok(content)
    }

    fn fetched(&self, wanted: &Wanted, advance: &dyn Fn(u64)) -> Result<Content, FetchError> {
        // One byte more than stated tells a longer file from one that just fits.
        let most = wanted.size.map_or(u64::MAX, |size| size.saturating_add(1));
        let content = self.kept(&wanted.name, &wanted.url, most, advance)?;
        self.checked(wanted, content)
    }

    fn checked(&self, wanted: &Wanted, content: Content) -> Result<Content, FetchError> {
        let name = wanted.name.clone();
        if let Some(expected) = wanted.size.filter(|size| *size != content.size) {
            return Err(FetchError::Size { name, found: content.size, expected, digest: wanted.digest });
        }
        if content.digest != wanted.digest {
            return Err(FetchError::Digest { name, found: content.digest, expected: wanted.digest });
        }
        Ok(content)
    }
}

struct Counted<'a, R> {
    inner: R,
    advance: &'a dyn Fn(u64),
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        (self.advance)(read as u64);
        Ok(read)
    }
}

/// The digest and the length of what a reader gives.
///
/// # Errors
/// Reading fails.
pub fn content_of(reader: &mut dyn Read) -> io::Result<Content> {
    let mut hasher = Hasher::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = match reader.read(&mut chunk) {
            Ok(0) => return Ok(Content { size: hasher.size(), digest: hasher.finish() }),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(chunk.get(..read).unwrap_or_default());
    }
}

/// Does the same to every item, a few at one time; the answers are in the order of the items.
pub(crate) fn at_once<T: Sync, R: Send>(items: &[T], act: impl Fn(&T) -> R + Sync) -> Vec<R> {
    edge::at_once::at_once(AT_ONCE, items, act)
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge::progress::Silent;
    use registry::HttpSettings;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;
    use testkit::fake_server::Delivery;
    use testkit::{FakeServer, Reply};

    struct Bench {
        http: Http,
        cache: Cache,
        _dir: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let settings =
                HttpSettings { retries: 2, pause: Arc::new(|_: Duration| {}), ..HttpSettings::default() };
            Self {
                http: Http::new(&settings).unwrap(),
                cache: Cache::at(dir.path().join("cache")),
                _dir: dir,
            }
        }

        fn fetch(&self, wanted: &[Wanted]) -> Result<Vec<Content>, FetchError> {
            let logins = Logins::default();
            let fetcher = Fetcher { http: &self.http, cache: &self.cache, logins: &logins, limit: u64::MAX };
            fetcher.all(wanted, &mut Silent)
        }
    }

    fn wanted(server: &FakeServer, name: &str, bytes: &[u8]) -> Wanted {
        let url = format!("{}/{name}", server.url()).parse().unwrap();
        Wanted { name: name.to_string(), url, digest: Digest::of(bytes), size: None }
    }

    #[test]
    fn files_come_in_the_order_of_the_questions_and_each_once() {
        let server = FakeServer::start(|request| Reply::ok(request.path.clone()));
        let bench = Bench::new();
        let names: Vec<String> = (0..40).map(|number| format!("f{number}")).collect();
        let all: Vec<Wanted> =
            names.iter().map(|name| wanted(&server, name, format!("/{name}").as_bytes())).collect();
        for _ in 0..2 {
            let found = bench.fetch(&all).unwrap();
            let expected: Vec<Digest> = all.iter().map(|one| one.digest).collect();
            assert_eq!(found.iter().map(|content| content.digest).collect::<Vec<_>>(), expected);
        }
        assert_eq!(server.requests().len(), 40);
    }

    #[test]
    fn other_bytes_than_the_pinned_ones_are_damage() {
        let server = FakeServer::start(|_| Reply::ok("evil"));
        let error = Bench::new().fetch(&[wanted(&server, "x.whl", b"good")]).unwrap_err();
        assert!(matches!(&error, FetchError::Digest { found, .. } if *found == Digest::of(b"evil")));
        assert_eq!(error.class(), Class::Damaged);
        for (stated, name) in [(3, "longer"), (9, "shorter")] {
            let one = Wanted { size: Some(stated), ..wanted(&server, name, b"evil") };
            assert!(matches!(Bench::new().fetch(&[one]), Err(FetchError::Size { .. })), "{name}");
        }
    }

    #[test]
    fn what_rotted_in_the_cache_is_fetched_anew() {
        let server = FakeServer::start(|_| Reply::ok("good"));
        let bench = Bench::new();
        let one = wanted(&server, "x.whl", b"good");
        bench.fetch(std::slice::from_ref(&one)).unwrap();
        std::fs::write(bench.cache.path(&one.digest), "rot").unwrap();
        bench.fetch(std::slice::from_ref(&one)).unwrap();
        assert_eq!(std::fs::read(bench.cache.path(&one.digest)).unwrap(), b"good");
    }

    #[test]
    fn a_server_that_is_busy_is_asked_again() {
        let count = AtomicUsize::new(0);
        let server = FakeServer::start(move |_| match count.fetch_add(1, Ordering::Relaxed) {
            0 => Reply::status(429).header("Retry-After", "1"),
            _ => Reply::ok("good"),
        });
        Bench::new().fetch(&[wanted(&server, "x.whl", b"good")]).unwrap();
        assert_eq!(server.requests().len(), 2);
    }

    #[test]
    fn a_transfer_that_breaks_off_is_begun_again_and_in_the_end_out_of_reach() {
        let server = FakeServer::start(|_| Reply::ok("good bytes").delivered(Delivery::CutAfter(4)));
        let error = Bench::new().fetch(&[wanted(&server, "x.whl", b"good bytes")]).unwrap_err();
        assert!(matches!(error, FetchError::Broken { .. }), "{error:?}");
        assert_eq!(error.class(), Class::Unreachable);
        assert_eq!(server.requests().len(), 3);
    }

    #[test]
    fn everything_that_fails_is_told_at_once() {
        let server = FakeServer::start(|request| Reply::status(if request.path == "/a" { 404 } else { 401 }));
        let error =
            Bench::new().fetch(&[wanted(&server, "a", b"a"), wanted(&server, "b", b"b")]).unwrap_err();
        let said = format!(
            "2 files cannot be fetched:\n  - a is not there: {0}/a answered 404\n  - {0}/b wants a login that is not known here",
            server.url()
        );
        assert_eq!(error.to_string(), said);
    }
}
