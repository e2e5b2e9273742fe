//! From a request to a response: conditions, ranges, and the bytes of blobs.

use std::io::{Seek, SeekFrom};
use std::sync::Arc;

use hyper::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderName, HeaderValue, IF_NONE_MATCH, IF_RANGE, RANGE, REFERRER_POLICY, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Response, StatusCode, Uri};
use manifests::Digest;
use manifests::bundle::Content;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::{Answer, Body};
use super::body::{Payload, read_exactly};
use super::catalogue::Library;
use super::range::{Span, names_tag, wanted};
use super::request::Asked;
use super::routes::{self, Templates};
use super::trouble::{Trouble, open};
use super::{Limits, registry};

/// Blobs up to this length are read at once and need no download slot: manifests must flow while the
/// slots are taken by large layers.
const SMALL_BYTES_MAX: u64 = 64 * 1024;

/// What every connection shares.
pub(super) struct Site {
    pub(super) library: Library,
    pub(super) templates: Templates,
    pub(super) limits: Limits,
    pub(super) downloads: Arc<Semaphore>,
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

impl Site {
    /// Answers one request. `local` is the address that the client connected to.
    pub(super) async fn respond(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        local: &str,
    ) -> Response<Payload> {
        let is_registry = routes::is_registry(uri.path());
        let dialect = if is_registry { Dialect::Registry } else { Dialect::Plain };
        let asked = match Asked::parse(method, uri, headers) {
            Ok(asked) => asked,
            Err(refusal) => {
                let refuse = if is_registry { registry::refuse } else { routes::refuse };
                return whole(refuse(refusal), *method == Method::HEAD);
            }
        };
        if asked.path() == ["healthz"] && !asked.slash {
            return whole(Answer::document("text/plain; charset=utf-8", &b"ok"[..]), asked.head_only);
        }
        let catalogue = self.library.current(&*self.report).await;
        let mut answer = routes::answer(&catalogue, &asked, local, &self.templates);
        drop(catalogue);
        if answer.status != StatusCode::OK {
            return whole(answer, asked.head_only);
        }
        let tag = format!("\"{}\"", digest_of(&answer.body));
        answer = answer.with_text(ETAG, &tag);
        if asked.list(IF_NONE_MATCH).is_some_and(|header| names_tag(&header, &tag)) {
            answer.status = StatusCode::NOT_MODIFIED;
            answer.headers.remove(CONTENT_TYPE);
            return response(answer.status, answer.headers, Payload::Nothing);
        }
        match answer.body {
            Body::Document(_) => whole(answer, asked.head_only),
            Body::Blob(content) => self.blob(answer, content, &asked, &tag, dialect).await,
        }
    }

    async fn blob(
        &self,
        mut answer: Answer,
        content: Content,
        asked: &Asked,
        tag: &str,
        dialect: Dialect,
    ) -> Response<Payload> {
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
                return whole(problem.with_text(CONTENT_RANGE, &format!("bytes */{size}")), false);
            }
        };
        let piece = Piece { content, first, length };
        match self.payload(piece, asked.head_only, dialect).await {
            Ok(payload) => {
                answer.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
                response(answer.status, answer.headers, payload)
            }
            Err(problem) => whole(problem, asked.head_only),
        }
    }

    /// The bytes of a piece, after the length of its blob was compared with the inventory.
    async fn payload(&self, piece: Piece, head_only: bool, dialect: Dialect) -> Result<Payload, Answer> {
        let Piece { content, first, length } = piece;
        let small = head_only || length <= SMALL_BYTES_MAX;
        let slot = if small { None } else { Some(self.slot(dialect).await?) };
        let shelf = self.library.shelf();
        let opened = tokio::task::spawn_blocking(move || {
            let failed = |source| Trouble::BlobRead { digest: content.digest, source };
            let mut file = open(&*shelf, content)?;
            if first > 0 {
                file.seek(SeekFrom::Start(first)).map_err(failed)?;
            }
            let here = if small && !head_only {
                Some(read_exactly(&mut file, length).map_err(failed)?)
            } else {
                None
            };
            Ok((file, here))
        });
        let opened = opened.await.unwrap_or_else(|stopped| {
            Err(Trouble::BlobRead { digest: content.digest, source: std::io::Error::other(stopped) })
        });
        match (opened, slot) {
            (Ok((_, Some(bytes))), _) => Ok(Payload::Whole(bytes)),
            (Ok((file, None)), Some(slot)) => {
                let report = Arc::clone(&self.report);
                let digest = content.digest;
                let failed = move |source| report(Trouble::BlobRead { digest, source });
                Ok(Payload::stream(file, length, slot, failed))
            }
            (Ok((_, None)), None) => Ok(Payload::Nothing),
            (Err(trouble), _) => {
                let message = trouble.to_string();
                (self.report)(trouble);
                Err(match dialect {
                    Dialect::Registry => registry::damaged(&message),
                    Dialect::Plain => Answer::problem(StatusCode::INTERNAL_SERVER_ERROR, &message),
                })
            }
        }
    }

    async fn slot(&self, dialect: Dialect) -> Result<OwnedSemaphorePermit, Answer> {
        let waiting = Arc::clone(&self.downloads).acquire_owned();
        if let Ok(Ok(slot)) = tokio::time::timeout(self.limits.download_wait_max, waiting).await {
            return Ok(slot);
        }
        let message = "all download slots are taken, try again";
        let answer = match dialect {
            Dialect::Registry => registry::busy(message),
            Dialect::Plain => Answer::problem(StatusCode::SERVICE_UNAVAILABLE, message),
        };
        Err(answer.with(RETRY_AFTER, HeaderValue::from_static("5")))
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
