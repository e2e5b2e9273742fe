//! Pulling from a registry that is honest, that lies, and that fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    dead_code,
    missing_docs,
    unreachable_pub
)]

mod support;

use std::io::{self, Read};
use std::time::Duration;

use manifests::oci::MEDIA_MANIFEST;
use manifests::{Descriptor, Digest};
use registry::{Http, HttpError, HttpSettings, Registry, RegistryError, Repository};
use support::{by, client, full, image_manifest, noise, repository, settings};
use testkit::{FakeRegistry, FakeServer, Fault, Reply};

const PATH: &str = "acme/fraud/service";

/// A registry with one blob of 3 MB in it.
fn with_blob() -> (FakeRegistry, Repository, Vec<u8>, Digest) {
    let fake = FakeRegistry::start();
    let bytes = noise(3_000_000);
    let digest = fake.store_blob(PATH, &bytes);
    let repository = repository(&fake.url(), PATH);
    (fake, repository, bytes, digest)
}

/// A registry with one manifest in it, tagged `v1`.
fn with_manifest() -> (FakeRegistry, Repository, Vec<u8>, Digest) {
    let fake = FakeRegistry::start();
    let (bytes, digest) = image_manifest(b"{}", b"layer");
    fake.store_manifest(PATH, "v1", MEDIA_MANIFEST, &bytes);
    let repository = repository(&fake.url(), PATH);
    (fake, repository, bytes, digest)
}

fn pull(repository: &Repository, digest: &Digest, size: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    repository.open_blob(digest, size)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The error inside, which must be ours.
fn cause(error: io::Error) -> RegistryError {
    error.downcast::<RegistryError>().unwrap()
}

#[test]
fn a_manifest_comes_byte_for_byte_with_its_type_and_digest() {
    let (_fake, repository, bytes, digest) = with_manifest();
    for reference in ["v1".to_string(), digest.to_string()] {
        let raw = repository.get_manifest(&by(&reference)).unwrap();
        assert_eq!((&raw.bytes, raw.media_type.as_str(), raw.digest), (&bytes, MEDIA_MANIFEST, digest));
        assert_eq!(raw.document().unwrap().children().len(), 2);
        let head = repository.head_manifest(&by(&reference)).unwrap();
        assert_eq!(head, Some(Descriptor::new(MEDIA_MANIFEST, digest, bytes.len() as u64)));
    }
}

#[test]
fn a_missing_manifest_is_named_with_its_registry_and_what_that_says() {
    let (fake, repository, ..) = with_manifest();
    assert_eq!(repository.head_manifest(&by("v2")).unwrap(), None);
    let error = repository.get_manifest(&by("v2")).unwrap_err();
    let expected =
        format!("manifest {}/{PATH}:v2 is not there: MANIFEST_UNKNOWN: manifest unknown", fake.host());
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_manifest_with_other_bytes_than_asked_for_or_announced_is_refused() {
    let (fake, repository, _, digest) = with_manifest();
    fake.fault(Fault::WrongManifestBytes);
    let by_digest = repository.get_manifest(&digest.into()).unwrap_err();
    assert!(matches!(by_digest, RegistryError::ManifestDigest { by: "asked for", .. }), "{by_digest}");
    let by_tag = repository.get_manifest(&by("v1")).unwrap_err();
    assert!(matches!(by_tag, RegistryError::ManifestDigest { by: "announced", .. }), "{by_tag}");
}

#[test]
fn a_digest_header_that_lies_is_refused() {
    let (fake, repository, ..) = with_manifest();
    fake.fault(Fault::WrongDigestHeader);
    let error = repository.get_manifest(&by("v1")).unwrap_err();
    assert!(matches!(error, RegistryError::ManifestDigest { by: "announced", .. }), "{error}");
}

#[test]
fn a_registry_without_digest_headers_still_works() {
    let (fake, repository, bytes, digest) = with_manifest();
    fake.fault(Fault::NoDigestHeader);
    assert_eq!(repository.get_manifest(&by("v1")).unwrap().digest, digest);
    let head = repository.head_manifest(&by("v1")).unwrap().unwrap();
    assert_eq!((head.digest, head.size), (digest, bytes.len() as u64));
    fake.fault_on(Fault::Status(405), None, "HEAD", "");
    assert_eq!(repository.head_manifest(&by("v1")).unwrap().unwrap().digest, digest);
    assert_eq!(repository.head_manifest(&by("v2")).unwrap(), None);
}

#[test]
fn a_manifest_without_a_media_type_is_refused() {
    let (fake, repository, ..) = with_manifest();
    fake.fault(Fault::NoContentType);
    let error = repository.get_manifest(&by("v1")).unwrap_err();
    assert!(error.to_string().ends_with("does not say its media type"), "{error}");
}

#[test]
fn a_manifest_over_four_mebibytes_is_refused() {
    let (fake, repository, ..) = with_manifest();
    fake.store_manifest(PATH, "big", MEDIA_MANIFEST, &vec![b' '; 4 * 1024 * 1024 + 1]);
    let error = repository.get_manifest(&by("big")).unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { limit: 4_194_304, .. }), "{error}");
}

#[test]
fn a_blob_is_read_once_and_whole() {
    let (fake, repository, bytes, digest) = with_blob();
    assert!(pull(&repository, &digest, bytes.len() as u64).unwrap() == bytes);
    let traffic = fake.traffic(&digest);
    assert_eq!((traffic.reads, traffic.bytes_sent), (1, bytes.len() as u64));
    assert_eq!(fake.requests().len(), 1);
    let empty = fake.store_blob(PATH, b"");
    assert!(pull(&repository, &empty, 0).unwrap().is_empty());
}

#[test]
fn a_blob_in_chunks_without_a_length_is_read_too() {
    let (fake, repository, bytes, digest) = with_blob();
    fake.fault(Fault::ChunkedBlob);
    assert!(pull(&repository, &digest, bytes.len() as u64).unwrap() == bytes);
}

#[test]
fn a_missing_blob_is_named_before_anything_is_read() {
    let (fake, repository, ..) = with_blob();
    let missing = Digest::of(b"missing");
    let Err(error) = repository.open_blob(&missing, 7) else { panic!() };
    let expected = format!(
        "blob {missing} of {}/{PATH} is not there: BLOB_UNKNOWN: blob unknown to registry",
        fake.host()
    );
    assert_eq!(error.to_string(), expected);
    assert!(!repository.has_blob(&missing).unwrap());
}

#[test]
fn a_blob_with_other_bytes_never_reaches_its_end() {
    let (fake, repository, bytes, digest) = with_blob();
    fake.fault(Fault::WrongBlobBytes);
    let mut reader = repository.open_blob(&digest, bytes.len() as u64).unwrap();
    let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(matches!(cause(error), RegistryError::BlobDigest { .. }));
    let again = reader.read(&mut [0]).unwrap_err();
    assert!(matches!(cause(again), RegistryError::Poisoned { .. }), "an end must not follow an error");
}

#[test]
fn a_blob_announced_with_another_length_is_refused_unread() {
    let (fake, repository, bytes, digest) = with_blob();
    for (fault, difference) in [(Fault::LongBlob, 1), (Fault::ShortBlob, -1)] {
        fake.clear_faults();
        fake.fault(fault);
        let Err(error) = repository.open_blob(&digest, bytes.len() as u64) else { panic!() };
        let RegistryError::BlobSize { expected, found, .. } = error else { panic!("{error}") };
        assert_eq!(found.cast_signed() - expected.cast_signed(), difference);
    }
}

#[test]
fn a_blob_that_goes_on_after_its_size_is_refused() {
    let (fake, repository, bytes, digest) = with_blob();
    fake.fault(Fault::LongChunkedBlob);
    let error = pull(&repository, &digest, bytes.len() as u64).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(matches!(cause(error), RegistryError::BlobTooLong { .. }));
}

#[test]
fn a_blob_that_ends_early_and_has_no_more_is_an_unexpected_end() {
    let (fake, repository, bytes, digest) = with_blob();
    fake.fault(Fault::ShortChunkedBlob);
    let error = pull(&repository, &digest, bytes.len() as u64).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    let expected = format!("ended after {} of {} bytes", bytes.len() - 1, bytes.len());
    assert!(error.to_string().ends_with(&expected), "{error}");
}

#[test]
fn a_broken_connection_is_continued_at_the_same_offset() {
    let (fake, repository, bytes, digest) = with_blob();
    fake.fault_times(Fault::TruncateBlobAfter(1_000_000), 1);
    assert!(pull(&repository, &digest, bytes.len() as u64).unwrap() == bytes);
    let ranges: Vec<_> = fake.requests().iter().map(|r| r.header("range").map(str::to_string)).collect();
    assert_eq!(ranges, [None, Some("bytes=1000000-".to_string())]);
    assert_eq!(fake.traffic(&digest).bytes_sent, bytes.len() as u64, "no byte came twice");
}

#[test]
fn a_connection_that_stalls_is_continued_too() {
    let (fake, _, bytes, digest) = with_blob();
    fake.fault_times(Fault::StallBlobAfter(1_500_000), 1);
    let settings = HttpSettings { response_timeout: Duration::from_millis(200), ..settings().0 };
    let http = Http::new(&settings).unwrap();
    let repository = Registry::new(http, &fake.url()).unwrap().repository(PATH).unwrap();
    assert!(pull(&repository, &digest, bytes.len() as u64).unwrap() == bytes);
}

#[test]
fn connections_that_break_after_a_megabyte_each_do_not_use_up_the_retries() {
    let fake = FakeRegistry::start();
    let bytes = noise(12_000_000);
    let digest = fake.store_blob(PATH, &bytes);
    fake.fault(Fault::TruncateBlobAfter(1_100_000));
    let repository = repository(&fake.url(), PATH);
    assert!(pull(&repository, &digest, bytes.len() as u64).unwrap() == bytes);
    assert_eq!(fake.traffic(&digest).reads, 11);
}

#[test]
fn a_registry_that_always_cuts_is_given_up_with_an_unexpected_end() {
    let (fake, _, bytes, digest) = with_blob();
    fake.fault(Fault::TruncateBlobAfter(1000));
    let (settings, pauses) = settings();
    let registry = Registry::new(Http::new(&settings).unwrap(), &fake.url()).unwrap();
    let error = pull(&registry.repository(PATH).unwrap(), &digest, bytes.len() as u64).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    let error = cause(error);
    assert!(error.is_unreachable());
    assert!(error.to_string().ends_with("ended after 5000 of 3000000 bytes"), "{error}");
    assert!(full(&error).contains("broke"), "{}", full(&error));
    assert_eq!(pauses.lock().unwrap().len(), 4);
}

#[test]
fn a_registry_that_ignores_ranges_is_read_again_up_to_the_offset() {
    let (fake, repository, bytes, digest) = with_blob();
    fake.fault(Fault::IgnoreRange);
    fake.fault_times(Fault::TruncateBlobAfter(2_000_000), 1);
    fake.fault_times(Fault::TruncateBlobAfter(500_000), 1);
    assert!(pull(&repository, &digest, bytes.len() as u64).unwrap() == bytes);
    assert_eq!(fake.traffic(&digest).reads, 3);
}

#[test]
fn a_range_that_starts_elsewhere_is_refused() {
    let (fake, repository, bytes, digest) = with_blob();
    fake.fault(Fault::WrongRange);
    fake.fault_times(Fault::TruncateBlobAfter(10), 1);
    let error = pull(&repository, &digest, bytes.len() as u64).unwrap_err();
    assert!(error.to_string().ends_with("continues at another offset than 10"), "{error}");
}

#[test]
fn a_blob_that_changes_between_two_connections_is_refused() {
    let (fake, repository, bytes, digest) = with_blob();
    fake.fault_times(Fault::TruncateBlobAfter(10), 1);
    fake.fault_on(Fault::WrongBlobBytes, None, "GET", "blobs");
    let error = pull(&repository, &digest, bytes.len() as u64).unwrap_err();
    assert!(matches!(cause(error), RegistryError::BlobDigest { .. }));
}

#[test]
fn a_blob_may_lie_on_another_host_and_is_continued_through_the_registry() {
    let (fake, repository, bytes, digest) = with_blob();
    let storage = FakeRegistry::start();
    storage.store_blob(PATH, &bytes);
    storage.fault_times(Fault::TruncateBlobAfter(10), 1);
    fake.fault(Fault::RedirectBlob(storage.url()));
    assert!(pull(&repository, &digest, bytes.len() as u64).unwrap() == bytes);
    assert_eq!((fake.count("GET", "/blobs/"), storage.count("GET", "/blobs/")), (2, 2));
    assert_eq!(fake.traffic(&digest).reads, 0);
}

#[test]
fn a_url_that_was_redirected_to_never_shows_its_token() {
    let (fake, repository, bytes, digest) = with_blob();
    let storage = FakeRegistry::start();
    storage.store_blob(PATH, &bytes);
    storage.fault(Fault::Hangup);
    fake.fault(Fault::RedirectBlob(storage.url()));
    let Err(error) = repository.open_blob(&digest, bytes.len() as u64) else { panic!() };
    assert!(full(&error).contains(&storage.host()) && !full(&error).contains("secret"), "{}", full(&error));
}

#[test]
fn tags_come_from_every_page() {
    let (fake, repository, bytes, _) = with_manifest();
    let tags: Vec<String> = (0..7).map(|number| format!("t{number}")).collect();
    for tag in &tags {
        fake.store_manifest(PATH, tag, MEDIA_MANIFEST, &bytes);
    }
    fake.fault(Fault::PageSize(3));
    let found = repository.list_tags().unwrap();
    assert_eq!(found[..7], tags);
    assert_eq!(found[7], "v1");
    assert_eq!(fake.count("GET", "/tags/list"), 3);
}

#[test]
fn a_list_of_tags_without_end_ends() {
    let (fake, repository, ..) = with_manifest();
    fake.fault(Fault::EndlessPages);
    assert_eq!(repository.list_tags().unwrap().len(), 1000);
    assert_eq!(fake.count("GET", "/tags/list"), 1000);
}

#[test]
fn a_list_of_tags_that_continues_elsewhere_is_refused() {
    let page = Reply::ok(r#"{"tags":["a"]}"#).header("Link", "<http://127.0.0.1:1/x>; rel=\"next\"");
    let server = FakeServer::start(move |_| page.clone());
    let error = repository(&server.url(), PATH).list_tags().unwrap_err();
    assert!(error.to_string().ends_with("continues elsewhere, at http://127.0.0.1:1/x"), "{error}");
}

#[test]
fn a_list_that_holds_something_else_than_tags_is_refused() {
    let (fake, repository, ..) = with_manifest();
    for (body, says) in [
        (&br#"{"tags":["../../etc"]}"#[..], "which is no tag"),
        (br#"{"tags":"v1"}"#, "is not the spec's"),
        (b"<html>", "is not the spec's"),
    ] {
        fake.clear_faults();
        fake.fault(Fault::Answer(200, body.to_vec()));
        let error = repository.list_tags().unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    fake.clear_faults();
    fake.fault(Fault::Answer(200, br#"{"name":"x","tags":null}"#.to_vec()));
    assert!(repository.list_tags().unwrap().is_empty());
}

#[test]
fn an_unknown_repository_has_no_tags() {
    let fake = FakeRegistry::start();
    let error = repository(&fake.url(), "nobody").list_tags().unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }), "{error}");
}

#[test]
fn ping_tells_a_registry_from_anything_else() {
    let fake = FakeRegistry::start();
    let registry = Registry::new(client(), &fake.url()).unwrap();
    registry.ping().unwrap();
    fake.fault_times(Fault::WebPage, 1);
    let error = registry.ping().unwrap_err();
    let expected = format!("{} is not an OCI registry: it answered a web page about `/v2/`", fake.host());
    assert_eq!(error.to_string(), expected);
    fake.fault_times(Fault::Status(404), 1);
    assert!(matches!(registry.ping().unwrap_err(), RegistryError::NotARegistry { .. }));
}

#[test]
fn a_401_says_that_there_is_no_login() {
    let (fake, repository, ..) = with_manifest();
    let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
    fake.fault(Fault::Answer(401, body.to_vec()));
    let ping = Registry::new(client(), &fake.url()).unwrap().ping().unwrap_err();
    let pull = repository.get_manifest(&by("v1")).unwrap_err();
    for error in [ping, pull] {
        let RegistryError::Unauthorized { registry, .. } = &error else { panic!("{error}") };
        assert_eq!(*registry, fake.host());
        assert!(error.to_string().contains("asks for a login, and there is none for"), "{error}");
        assert!(error.to_string().ends_with(": UNAUTHORIZED: authentication required"), "{error}");
    }
}

#[test]
fn a_hostile_error_body_cannot_move_the_cursor_or_fill_the_memory() {
    let (fake, repository, ..) = with_manifest();
    let body = br#"{"errors":[{"code":"DENIED","message":"\u001b[2J\u202e gotcha"}]}"#;
    fake.fault_times(Fault::Answer(403, body.to_vec()), 1);
    let error = repository.get_manifest(&by("v1")).unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }));
    assert!(error.to_string().is_ascii() && !error.to_string().contains('\u{1b}'), "{error}");
    fake.fault_times(Fault::Answer(400, vec![b'['; 10_000_000]), 1);
    let error = repository.get_manifest(&by("v1")).unwrap_err();
    let expected = format!("the registry answered 400 about manifest {}/{PATH}:v1", fake.host());
    assert_eq!(error.to_string(), expected);
}

#[test]
fn an_overloaded_registry_is_asked_again() {
    let (fake, repository, _, digest) = with_manifest();
    fake.fault_times(Fault::RetryAfter(429, 1), 2);
    assert_eq!(repository.get_manifest(&by("v1")).unwrap().digest, digest);
    fake.fault(Fault::Status(503));
    let error = repository.get_manifest(&by("v1")).unwrap_err();
    assert!(matches!(error, RegistryError::Refused { status: 503, .. }), "{error}");
}

#[test]
fn a_silent_or_a_dripping_registry_is_unreachable() {
    let (fake, ..) = with_manifest();
    let settings = HttpSettings { response_timeout: Duration::from_millis(100), ..settings().0 };
    let registry = Registry::new(Http::new(&settings).unwrap(), &fake.url()).unwrap();
    for fault in [Fault::Silence, Fault::SlowHeader] {
        fake.clear_faults();
        fake.fault(fault);
        let error = registry.ping().unwrap_err();
        assert!(matches!(error, RegistryError::Http(HttpError::TimedOut { .. })), "{error:?}");
        assert!(error.is_unreachable());
    }
}

#[test]
fn refuses_names_that_would_leave_the_repository() {
    let registry = Registry::new(client(), "http://127.0.0.1:1").unwrap();
    for bad in ["", "/", "a/../b", "A", "a//b", "a:b", "a@b", "a b", "a?b", "a%2fb", "-a", "a/"] {
        assert!(registry.repository(bad).is_err(), "accepted {bad:?}");
    }
    for good in ["a", "127.0.0.1-5000/acme/fraud", "registry.example.com/a__b/c-d"] {
        assert!(registry.repository(good).is_ok(), "refused {good:?}");
    }
    for bad in ["", "..", "a/b", "a:b", "a b", "sha256:abc"] {
        assert!(bad.parse::<registry::TagOrDigest>().is_err(), "accepted {bad:?}");
    }
}

#[test]
fn refuses_a_base_url_that_is_none_without_showing_its_password() {
    for bad in ["127.0.0.1:5000", "ftp://h", "http://", "http://h/v2/", "user:hunter2@h"] {
        let Err(error) = Registry::new(client(), bad) else { panic!("accepted {bad}") };
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    assert_eq!(Registry::new(client(), "https://Site.Example/").unwrap().host(), "site.example");
}
