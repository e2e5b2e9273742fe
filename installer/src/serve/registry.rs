//! The pull side of the OCI distribution spec 1.1, and `/v2/_catalog` of Docker's registry.

use hyper::StatusCode;
use hyper::header::{ALLOW, HeaderName, HeaderValue, LINK};
use manifests::Digest;
use manifests::oci::{ImageIndex, MEDIA_INDEX};
use serde::Serialize;

use super::answer::{Address, Answer, octet_stream};
use super::repositories::{Lookup, Repositories, Repository};
use super::request::{Asked, Refusal, encode, encode_path};

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
const JSON: &str = "application/json";

/// The spec's error codes that a read-only registry needs.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Code {
    BlobUnknown,
    DigestInvalid,
    ManifestUnknown,
    NameUnknown,
    PaginationNumberInvalid,
    Toomanyrequests,
    Unauthorized,
    Unknown,
    Unsupported,
}

#[derive(Serialize)]
struct Errors<'a> {
    errors: [ErrorEntry<'a>; 1],
}

#[derive(Serialize)]
struct ErrorEntry<'a> {
    code: Code,
    message: &'a str,
}

#[derive(Serialize)]
struct Tags<'a> {
    name: &'a str,
    tags: Vec<&'a str>,
}

#[derive(Serialize)]
struct Names<'a> {
    repositories: Vec<&'a str>,
}

/// Answers what is below `/v2/`; `path` is what follows.
pub(super) fn answer(repositories: &Repositories, path: &[&str], asked: &Asked) -> Answer {
    let answer = match path {
        [] => Answer::document(JSON, &b"{}"[..]),
        _ if asked.slash => nowhere(),
        ["_catalog"] => catalog(repositories, asked),
        [name @ .., kind, last] if !name.is_empty() => {
            let name = name.join("/");
            match repositories.find(&name, asked.query("ns")) {
                Lookup::Found(repository) => in_repository(repository, &name, kind, last, asked),
                Lookup::Unknown => refusal(StatusCode::NOT_FOUND, Code::NameUnknown, "no such repository"),
                Lookup::Ambiguous(names) => {
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    let message = format!("several images have this path, name one of: {}", names.join(", "));
                    refusal(StatusCode::NOT_FOUND, Code::NameUnknown, &message)
                }
            }
        }
        _ => nowhere(),
    };
    answer.with(API_VERSION, HeaderValue::from_static("registry/2.0"))
}

fn in_repository(repository: &Repository, name: &str, kind: &str, last: &str, asked: &Asked) -> Answer {
    match (kind, last) {
        ("tags", "list") => tags(repository, name, asked),
        ("manifests", reference) => manifest(repository, reference),
        ("blobs", digest) => with_digest(digest, |digest| blob(repository, digest)),
        ("referrers", digest) => with_digest(digest, |digest| referrers(repository, &digest, asked)),
        _ => nowhere(),
    }
}

/// A request that is not answered with content, in the words of this protocol.
pub(super) fn refuse(refusal: Refusal) -> Answer {
    let message = refusal.to_string();
    let (status, code) = match refusal {
        Refusal::Write => (StatusCode::METHOD_NOT_ALLOWED, Code::Unsupported),
        Refusal::TooLong => (StatusCode::URI_TOO_LONG, Code::Unknown),
        Refusal::Encoding => (StatusCode::BAD_REQUEST, Code::Unknown),
        Refusal::Nowhere => (StatusCode::NOT_FOUND, Code::NameUnknown),
    };
    let answer = self::refusal(status, code, &message);
    if refusal == Refusal::Write { answer.with(ALLOW, HeaderValue::from_static("GET, HEAD")) } else { answer }
}

/// More downloads than the server has slots for.
pub(super) fn busy(message: &str) -> Answer {
    refusal(StatusCode::SERVICE_UNAVAILABLE, Code::Toomanyrequests, message)
}

/// Nobody, or somebody with a wrong password.
pub(super) fn unauthorized(message: &str) -> Answer {
    refusal(StatusCode::UNAUTHORIZED, Code::Unauthorized, message)
}

/// A blob that is not to be had any more.
pub(super) fn unknown_blob(message: &str) -> Answer {
    refusal(StatusCode::NOT_FOUND, Code::BlobUnknown, message)
}

/// The store does not hold what the inventory says.
pub(super) fn damaged(message: &str) -> Answer {
    refusal(StatusCode::INTERNAL_SERVER_ERROR, Code::Unknown, message)
}

fn nowhere() -> Answer {
    refuse(Refusal::Nowhere)
}

fn refusal(status: StatusCode, code: Code, message: &str) -> Answer {
    let mut answer = Answer::json(JSON, &Errors { errors: [ErrorEntry { code, message }] });
    answer.status = status;
    answer.with(API_VERSION, HeaderValue::from_static("registry/2.0"))
}

fn with_digest(text: &str, found: impl FnOnce(Digest) -> Answer) -> Answer {
    match text.parse() {
        Ok(digest) => found(digest),
        Err(error) => refusal(StatusCode::BAD_REQUEST, Code::DigestInvalid, &format!("{error}")),
    }
}

fn manifest(repository: &Repository, reference: &str) -> Answer {
    // A tag has no colon and every digest has one.
    if reference.contains(':') {
        return with_digest(reference, |digest| held(repository, digest, Address::Digest));
    }
    match repository.tagged(reference) {
        Some(digest) => held(repository, digest, Address::Name),
        None => refusal(StatusCode::NOT_FOUND, Code::ManifestUnknown, "no such tag in this repository"),
    }
}

fn held(repository: &Repository, digest: Digest, address: Address) -> Answer {
    match repository.manifest(&digest) {
        Some(held) => Answer::blob(held.content, held.media_type.clone(), address)
            .with_text(CONTENT_DIGEST, &digest.to_string()),
        None => refusal(StatusCode::NOT_FOUND, Code::ManifestUnknown, "no such manifest in this repository"),
    }
}

fn blob(repository: &Repository, digest: Digest) -> Answer {
    match repository.blob(&digest) {
        Some(content) => Answer::blob(content, octet_stream(), Address::Digest)
            .with_text(CONTENT_DIGEST, &digest.to_string()),
        None => refusal(StatusCode::NOT_FOUND, Code::BlobUnknown, "no such blob in this repository"),
    }
}

fn referrers(repository: &Repository, digest: &Digest, asked: &Asked) -> Answer {
    let wanted = asked.query("artifactType");
    let all = repository.referrers(digest).iter();
    let manifests = all.filter(|d| wanted.is_none_or(|w| d.artifact_type.as_deref() == Some(w)));
    let index = ImageIndex {
        schema_version: 2,
        media_type: Some(MEDIA_INDEX.to_string()),
        manifests: manifests.cloned().collect(),
        annotations: std::collections::BTreeMap::new(),
    };
    let answer = Answer::json(MEDIA_INDEX, &index);
    if wanted.is_some() {
        answer.with(FILTERS_APPLIED, HeaderValue::from_static("artifactType"))
    } else {
        answer
    }
}

fn tags(repository: &Repository, name: &str, asked: &Asked) -> Answer {
    page(repository.tags(), asked, &format!("/v2/{}/tags/list", encode_path(name)), |tags| {
        Answer::json(JSON, &Tags { name, tags })
    })
}

fn catalog(repositories: &Repositories, asked: &Asked) -> Answer {
    page(repositories.names(), asked, "/v2/_catalog", |repositories| {
        Answer::json(JSON, &Names { repositories })
    })
}

/// The part of a sorted list that `n` and `last` ask for, with a `Link` to the next one.
fn page<'a>(
    all: impl Iterator<Item = &'a str>,
    asked: &Asked,
    path: &str,
    answer: impl FnOnce(Vec<&'a str>) -> Answer,
) -> Answer {
    let Ok(most) = asked.query("n").map(str::parse::<usize>).transpose() else {
        let message = "`n` is not a number of entries";
        return refusal(StatusCode::BAD_REQUEST, Code::PaginationNumberInvalid, message);
    };
    let last = asked.query("last");
    let mut rest = all.filter(|name| last.is_none_or(|last| *name > last)).peekable();
    let entries: Vec<&str> = rest.by_ref().take(most.unwrap_or(usize::MAX)).collect();
    let next = entries.last().filter(|_| rest.peek().is_some()).zip(most).map(|(last, most)| {
        let namespace = asked.query("ns").map(|ns| format!("&ns={}", encode(ns))).unwrap_or_default();
        format!("<{path}?n={most}&last={}{namespace}>; rel=\"next\"", encode(last))
    });
    let answer = answer(entries);
    match next {
        Some(link) => answer.with_text(LINK, &link),
        None => answer,
    }
}
