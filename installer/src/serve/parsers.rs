//! What a client can say, taken apart without a connection: the doors to this server's parsers for the
//! fuzz targets and for the tests that run their bodies. The server itself does not come through here.

use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::{Method, Uri};

use super::request::Asked;
use super::{negotiate, range};

/// The segments of a request's target, decoded; `None` if it is refused.
#[must_use]
pub fn segments(target: &str) -> Option<Vec<String>> {
    let uri: Uri = target.parse().ok()?;
    let asked = Asked::parse(&Method::GET, &uri, &HeaderMap::new()).ok()?;
    Some(asked.segments)
}

/// A `Host` header that is taken.
#[must_use]
pub fn host(header: &[u8]) -> Option<String> {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_bytes(header).ok()?);
    let asked = Asked::parse(&Method::GET, &Uri::from_static("/"), &headers).ok()?;
    asked.host().map(str::to_string)
}

/// The first and the last byte that a `Range` header asks for, of a representation of `size` bytes; `None`
/// if all of it or nothing is to be sent.
#[must_use]
pub fn span(header: &str, size: u64) -> Option<(u64, u64)> {
    match range::wanted(header, size) {
        range::Span::Part { first, last } => Some((first, last)),
        range::Span::Whole | range::Span::Unsatisfiable => None,
    }
}

/// Whether an `If-None-Match` header names this entity tag.
#[must_use]
pub fn names_tag(header: &str, tag: &str) -> bool {
    range::names_tag(header, tag)
}

/// The media type that is chosen for an `Accept` header.
#[must_use]
pub fn media_type(accept: &str) -> Option<&'static str> {
    negotiate::choose(Some(accept)).map(negotiate::Form::media_type)
}
