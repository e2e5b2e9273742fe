//! An answer before any byte of it is read: status, headers, and either a document or the name of a blob.
//!
//! The endpoints make these from the catalogue alone; [`super::deliver`] turns them into responses.

use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use manifests::bundle::Content;
use serde::Serialize;

/// What is found under a digest never changes.
const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// What is found under a name changes with the next bundle.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
}

/// Where an answer's bytes are.
#[derive(Debug)]
pub(super) enum Body {
    /// Here.
    Document(Bytes),
    /// In the store.
    Blob(Content),
}

/// How long an answer stays true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Address {
    /// It was asked for by digest.
    Digest,
    /// It was asked for by a name.
    Name,
}

impl Answer {
    /// A document that was made for this request.
    pub(super) fn document(media_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        let media_type = HeaderValue::from_static(media_type);
        Self::new(StatusCode::OK, media_type, Body::Document(bytes.into()), Address::Name)
    }

    /// A document that is JSON.
    pub(super) fn json(media_type: &'static str, value: &impl Serialize) -> Self {
        serde_json::to_vec(value)
            .map_or_else(|error| Self::problem_of(&error), |bytes| Self::document(media_type, bytes))
    }

    /// A blob of the store.
    pub(super) fn blob(content: Content, media_type: HeaderValue, address: Address) -> Self {
        Self::new(StatusCode::OK, media_type, Body::Blob(content), address)
    }

    /// A sentence for whoever reads it.
    pub(super) fn problem(status: StatusCode, sentence: &str) -> Self {
        let media_type = HeaderValue::from_static("text/plain; charset=utf-8");
        let body = Body::Document(Bytes::from(format!("{sentence}\n")));
        Self::new(status, media_type, body, Address::Name)
    }

    /// A defect of ours.
    pub(super) fn problem_of(error: &dyn std::error::Error) -> Self {
        Self::problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string())
    }

    /// To a path of this server, percent-encoded.
    pub(super) fn redirect(path: &str) -> Self {
        Self::problem(StatusCode::MOVED_PERMANENTLY, path).with_text(LOCATION, path)
    }

    /// With one more header.
    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// With one more header whose value was made from text of a checked alphabet. A value that no
    /// header can hold is left out.
    pub(super) fn with_text(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    fn new(status: StatusCode, media_type: HeaderValue, body: Body, address: Address) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, media_type);
        headers.insert(CACHE_CONTROL, if address == Address::Digest { FOREVER } else { ASK_AGAIN });
        Self { status, headers, body }
    }
}

/// The media type of bytes that a browser must not look into.
pub(super) fn octet_stream() -> HeaderValue {
    HeaderValue::from_static(manifests::oci::MEDIA_FILE)
}
