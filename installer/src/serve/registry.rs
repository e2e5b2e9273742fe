//! The pull and content-discovery sides of the OCI distribution spec 1.1, and `/v2/_catalog` of Docker's
//! registry. What would write is refused before it comes here.

use std::cmp::Ordering;

use hyper::StatusCode;
use hyper::header::{ALLOW, HeaderName, HeaderValue, LINK};
use manifests::Digest;
use manifests::digest::DigestError;
use manifests::oci::{Descriptor, ImageIndex, MANIFEST_BYTES_MAX, MEDIA_INDEX};
use serde::Serialize;

use super::answer::{Address, Answer, octet_stream};
use super::repositories::{Found, Lookup, Repositories, Repository};
use super::request::{Asked, Refusal, encode, encode_path};

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
const JSON: &str = "application/json";
/// Descriptors in one list of referrers: what surrounds them fits into the rest of what a manifest may have.
const LISTED_BYTES_MAX: u64 = MANIFEST_BYTES_MAX - 64 * 1024;

/// The spec's error codes that a read-only registry needs, and the one of Docker's registry for what is
/// nobody's fault but ours: a client's own mistake always has one of the spec's.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Code {
    BlobUnknown,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
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
        [_, .., "blobs", "uploads", _] => {
            refusal(StatusCode::NOT_FOUND, Code::BlobUploadUnknown, "nothing is ever uploaded here")
        }
        [name @ .., kind, last] if !name.is_empty() => {
            let name = name.join("/");
            match repositories.find(&name, asked.query("ns")) {
                Lookup::Found(repository) => in_repository(repository, &name, kind, last, asked),
                Lookup::Unknown if !is_name(&name) => {
                    refusal(StatusCode::NOT_FOUND, Code::NameInvalid, "this is no name of a repository")
                }
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
        ("referrers", text) => with_digest(text, |digest| referrers(repository, digest, name, text, asked)),
        _ => nowhere(),
    }
}

/// A request that is not answered with content, in the words of this protocol.
pub(super) fn refuse(refusal: Refusal) -> Answer {
    let message = refusal.to_string();
    let (status, code) = match refusal {
        Refusal::Write => (StatusCode::METHOD_NOT_ALLOWED, Code::Unsupported),
        Refusal::TooLong => (StatusCode::URI_TOO_LONG, Code::NameInvalid),
        Refusal::Encoding => (StatusCode::BAD_REQUEST, Code::NameInvalid),
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

/// What a digest in an address means here: `None` is one of an algorithm that no bundle carries, so nothing has
/// it, which is something else than a text that is no digest.
fn with_digest(text: &str, found: impl FnOnce(Option<Digest>) -> Answer) -> Answer {
    match text.parse() {
        Ok(digest) => found(Some(digest)),
        Err(DigestError::Algorithm) if is_digest(text) => found(None),
        Err(error) => refusal(StatusCode::BAD_REQUEST, Code::DigestInvalid, &format!("{error}")),
    }
}

/// The image spec's grammar of digests, and the length of the other algorithm that it registers.
fn is_digest(text: &str) -> bool {
    let Some((algorithm, encoded)) = text.split_once(':') else { return false };
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let text = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'=' | b'_' | b'-');
    match algorithm {
        "sha512" => encoded.len() == 128 && encoded.bytes().all(hex),
        _ => {
            algorithm.split(['+', '.', '_', '-']).all(part)
                && !encoded.is_empty()
                && encoded.bytes().all(text)
        }
    }
}

/// The spec's grammar of repository names.
fn is_name(name: &str) -> bool {
    name.split('/').all(|component| {
        let words = component.split(['.', '_', '-']);
        // What stands between two words: one dot, one or two underscores, or any number of dashes.
        let alphabet = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let ends = |byte: Option<u8>| byte.is_some_and(alphabet);
        let gaps = component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        words.flat_map(str::bytes).all(alphabet)
            && ends(component.bytes().next())
            && ends(component.bytes().last())
            && gaps
                .into_iter()
                .all(|gap| matches!(gap, "" | "." | "_" | "__") || gap.bytes().all(|b| b == b'-'))
    })
}

fn manifest(repository: &Repository, reference: &str) -> Answer {
    // A tag has no colon and every digest has one.
    if reference.contains(':') {
        let by_digest = |digest: Digest| repository.manifest(&digest);
        return with_digest(reference, |digest| held(digest.and_then(by_digest), Address::Digest));
    }
    held(repository.tagged(reference), Address::Name)
}

fn held(found: Option<Found<'_>>, address: Address) -> Answer {
    let (answer, digest) = match found {
        Some(Found::Held(held)) => {
            (Answer::blob(held.content, held.media_type.clone(), address), held.content.digest)
        }
        Some(Found::Made(made)) => (Answer::document(MEDIA_INDEX, made.bytes.clone()), made.digest),
        None => {
            let message = "no such manifest in this repository";
            return refusal(StatusCode::NOT_FOUND, Code::ManifestUnknown, message);
        }
    };
    answer.with_text(CONTENT_DIGEST, &digest.to_string())
}

fn blob(repository: &Repository, digest: Option<Digest>) -> Answer {
    match digest.and_then(|digest| repository.blob(&digest)) {
        Some(content) => Answer::blob(content, octet_stream(), Address::Digest)
            .with_text(CONTENT_DIGEST, &content.digest.to_string()),
        None => refusal(StatusCode::NOT_FOUND, Code::BlobUnknown, "no such blob in this repository"),
    }
}

/// Those whose subject has this digest, in the order of their own digests, as many as one manifest may hold.
fn referrers(
    repository: &Repository,
    subject: Option<Digest>,
    name: &str,
    subject_text: &str,
    asked: &Asked,
) -> Answer {
    let Ok(last) = asked.query("last").map(str::parse::<Digest>).transpose() else {
        return refusal(StatusCode::BAD_REQUEST, Code::DigestInvalid, "`last` is not a digest of this list");
    };
    let wanted = asked.query("artifactType");
    let all = subject.map_or(&[][..], |subject| repository.referrers(&subject)).iter();
    let matching = all.filter(|d| wanted.is_none_or(|w| d.artifact_type.as_deref() == Some(w)));
    let mut rest = matching.filter(|d| last.is_none_or(|last| d.digest > last)).peekable();
    let (mut listed, mut bytes): (Vec<Descriptor>, u64) = (Vec::new(), 0);
    while let Some(next) = rest.peek() {
        bytes = bytes.saturating_add(serde_json::to_vec(next).map_or(0, |text| text.len() as u64));
        if bytes > LISTED_BYTES_MAX && !listed.is_empty() {
            break;
        }
        listed.extend(rest.next().cloned());
    }
    let next = listed.last().filter(|_| rest.peek().is_some()).map(|last| last.digest.to_string());
    let mut answer = Answer::json(MEDIA_INDEX, &ImageIndex::of(listed));
    if wanted.is_some() {
        answer = answer.with(FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
    }
    match next {
        Some(last) => {
            let path = format!("/v2/{}/referrers/{}", encode_path(name), encode(subject_text));
            let last = [("last", Some(last.as_str())), ("artifactType", wanted), ("ns", asked.query("ns"))];
            answer.with_text(LINK, &next_link(&path, &last))
        }
        None => answer,
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

/// The spec's order of tags, in which upper and lower case are alike; two that differ in nothing else have one
/// all the same.
fn lexical(a: &str, b: &str) -> Ordering {
    let lower = |text: &str| text.bytes().map(|byte| byte.to_ascii_lowercase()).collect::<Vec<u8>>();
    lower(a).cmp(&lower(b)).then_with(|| a.cmp(b))
}

/// The part of a list that `n` and `last` ask for, in the spec's order, with a `Link` to the next one.
fn page<'a>(
    all: impl Iterator<Item = &'a str>,
    asked: &Asked,
    path: &str,
    answer: impl FnOnce(Vec<&'a str>) -> Answer,
) -> Answer {
    let Ok(most) = asked.query("n").map(str::parse::<usize>).transpose() else {
        let message = "`n` is not a number of entries";
        return refusal(StatusCode::BAD_REQUEST, Code::Unsupported, message);
    };
    let last = asked.query("last");
    let after = |name: &&str| last.is_none_or(|last| lexical(name, last) == Ordering::Greater);
    let mut rest: Vec<&str> = all.filter(after).collect();
    rest.sort_unstable_by(|a, b| lexical(a, b));
    let more = most.is_some_and(|most| rest.len() > most);
    rest.truncate(most.unwrap_or(usize::MAX));
    let next = rest.last().filter(|_| more).map(|last| {
        let most = most.map(|most| most.to_string());
        next_link(path, &[("n", most.as_deref()), ("last", Some(*last)), ("ns", asked.query("ns"))])
    });
    let answer = answer(rest);
    match next {
        Some(link) => answer.with_text(LINK, &link),
        None => answer,
    }
}

/// RFC 5988's link to what comes after this.
fn next_link(path: &str, query: &[(&str, Option<&str>)]) -> String {
    let pairs = query.iter().filter_map(|(key, value)| Some(format!("{key}={}", encode((*value)?))));
    format!("<{path}?{}>; rel=\"next\"", pairs.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_the_spec_says() {
        for good in ["a", "a/b", "registry.example.com/team/app", "127.0.0.1-5000/a_b/c__d/e---f", "0"] {
            assert!(is_name(good), "{good}");
        }
        for bad in
            ["", "A", "a/", "/a", "a//b", "-a", "a-", "a..b", "a___b", "a._b", "a-_b", "a b", "ä", "a+b"]
        {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_digest_of_another_algorithm_is_one_all_the_same() {
        for good in
            [&format!("sha512:{}", "0f".repeat(64)), "sha256+b64u:LCa0a2j_xo=", "blake3:aa", "a.b-c:x"]
        {
            assert!(is_digest(good), "{good}");
        }
        for bad in [
            &format!("sha512:{}", "0F".repeat(64)),
            "sha512:aa",
            "aa",
            ":aa",
            "md5:",
            "MD5:aa",
            "a++b:x",
            "a:b/c",
        ] {
            assert!(!is_digest(bad), "{bad}");
        }
    }

    #[test]
    fn tags_have_one_order_in_which_their_case_does_not_count() {
        let mut tags = ["b", "B", "a", "C", "A2", "a10", "_", "1"];
        tags.sort_by(|a, b| lexical(a, b));
        assert_eq!(tags, ["1", "_", "a", "a10", "A2", "B", "b", "C"]);
    }
}
