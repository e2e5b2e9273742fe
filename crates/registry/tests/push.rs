//! Pushing to a registry that is honest, that lies, and that fails.
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

use std::io;

use manifests::Digest;
use manifests::oci::MEDIA_MANIFEST;
use registry::{Deleted, HttpError, RegistryError, Repository};
use support::{by, full, image_manifest, noise, repository};
use testkit::{FakeRegistry, Fault};

const PATH: &str = "mirror/registry.example.com/acme/service";
const CONFIG: &[u8] = b"{\"config\": 1}";

fn empty() -> (FakeRegistry, Repository) {
    let fake = FakeRegistry::start();
    let repository = repository(&fake.url(), PATH);
    (fake, repository)
}

fn upload(repository: &Repository, bytes: &[u8]) -> Result<Digest, RegistryError> {
    let digest = Digest::of(bytes);
    repository.upload_blob(&digest, bytes.len() as u64, &mut &bytes[..]).map(|()| digest)
}

/// Blobs and a manifest over them, the blobs already pushed.
fn ready() -> (FakeRegistry, Repository, Vec<u8>, Digest) {
    let (fake, repository) = empty();
    fake.store_blob(PATH, CONFIG);
    fake.store_blob(PATH, b"layer");
    let (bytes, digest) = image_manifest(CONFIG, b"layer");
    (fake, repository, bytes, digest)
}

#[test]
fn a_blob_is_sent_once_and_is_there_byte_for_byte() {
    let (fake, repository) = empty();
    let bytes = noise(3_000_000);
    let digest = upload(&repository, &bytes).unwrap();
    assert!(fake.blob(PATH, &digest).unwrap() == bytes);
    let traffic = fake.traffic(&digest);
    assert_eq!((traffic.writes, traffic.bytes_received), (1, bytes.len() as u64));
    assert!(repository.has_blob(&digest).unwrap());
    assert_eq!(fake.open_uploads(), 0);
    upload(&repository, b"").unwrap();
}

#[test]
fn an_upload_goes_where_the_registry_says_even_to_another_host() {
    let (fake, repository) = empty();
    fake.fault_times(Fault::UploadAt(fake.url()), 1);
    upload(&repository, b"absolute").unwrap();
    let other = FakeRegistry::start();
    fake.fault(Fault::UploadAt(other.url()));
    let error = upload(&repository, b"elsewhere").unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }), "the other has begun no upload: {error}");
    let put = &other.requests()[0];
    assert_eq!((put.method.as_str(), put.header("authorization")), ("PUT", None));
}

#[test]
fn an_upload_without_a_place_to_go_is_refused() {
    let (fake, repository) = empty();
    fake.fault(Fault::NoLocation);
    let error = upload(&repository, b"x").unwrap_err();
    assert!(error.to_string().ends_with("does not say where to upload to"), "{error}");
    fake.clear_faults();
    fake.fault(Fault::UploadAt("file://".to_string()));
    let error = upload(&repository, b"x").unwrap_err();
    assert!(matches!(error, RegistryError::Http(HttpError::Location { .. })), "{error}");
}

#[test]
fn bytes_of_another_digest_are_refused_by_the_registry_and_said_so() {
    let (fake, repository) = empty();
    let digest = Digest::of(b"right");
    let error = repository.upload_blob(&digest, 5, &mut &b"wrong"[..]).unwrap_err();
    assert!(matches!(error, RegistryError::Refused { status: 400, .. }), "{error}");
    assert!(error.to_string().contains("DIGEST_INVALID"), "{error}");
    assert_eq!(fake.blob(PATH, &digest), None);
}

#[test]
fn a_source_that_ends_early_is_an_error_and_nothing_is_stored() {
    let (fake, repository) = empty();
    let digest = Digest::of(b"right");
    let error = repository.upload_blob(&digest, 5, &mut &b"righ"[..]).unwrap_err();
    let RegistryError::Http(HttpError::Upload { source, .. }) = &error else { panic!("{error:?}") };
    assert_eq!(source.kind(), io::ErrorKind::UnexpectedEof);
    assert!(!error.is_unreachable());
    assert_eq!(fake.blob(PATH, &digest), None);
}

#[test]
fn a_registry_that_says_stored_and_has_nothing_is_found_out() {
    let (fake, repository, bytes, _) = ready();
    fake.fault(Fault::StoreNothing);
    let error = upload(&repository, b"x").unwrap_err();
    assert!(matches!(error, RegistryError::NotStored { .. }), "{error}");
    let error = repository.put_manifest(&by("v1"), MEDIA_MANIFEST, &bytes).unwrap_err();
    assert!(matches!(error, RegistryError::NotStored { .. }), "{error}");
}

#[test]
fn an_upload_that_broke_is_sent_again_from_a_fresh_source_only() {
    let (fake, repository) = empty();
    let bytes = noise(100_000);
    let digest = Digest::of(&bytes);
    fake.fault_on(Fault::Hangup, Some(2), "PUT", "uploads");
    let error = upload(&repository, &bytes).unwrap_err();
    assert!(error.is_unreachable(), "{error:?}");
    let mut opened = 0;
    let open = |_| {
        opened += 1;
        Ok(&bytes[..])
    };
    repository.upload_blob_from(&digest, bytes.len() as u64, open).unwrap();
    assert_eq!(opened, 2);
    assert!(fake.blob(PATH, &digest).unwrap() == bytes);
}

/// From an offset on, as from a file.
fn from<'a>(bytes: &'a [u8]) -> impl FnMut(u64) -> io::Result<&'a [u8]> {
    |offset| Ok(&bytes[offset as usize..])
}

#[test]
fn an_upload_that_broke_goes_on_where_the_registry_says_and_no_byte_is_sent_twice() {
    let (fake, repository) = empty();
    let bytes = noise(100_000);
    let digest = Digest::of(&bytes);
    fake.fault_on(Fault::CutUploadAfter(30_000), Some(2), "PUT", "uploads");
    repository.upload_blob_from(&digest, bytes.len() as u64, from(&bytes)).unwrap();
    assert!(fake.blob(PATH, &digest).unwrap() == bytes);
    assert_eq!(fake.traffic(&digest).bytes_received, bytes.len() as u64);
    assert_eq!((fake.count("POST", "uploads"), fake.open_uploads()), (1, 0));
}

#[test]
fn an_upload_that_broke_at_its_last_byte_is_only_closed() {
    let (fake, repository) = empty();
    let bytes = noise(1000);
    let digest = Digest::of(&bytes);
    fake.fault_on(Fault::CutUploadAfter(1000), Some(1), "PUT", "uploads");
    repository.upload_blob_from(&digest, 1000, from(&bytes)).unwrap();
    assert_eq!(fake.traffic(&digest).bytes_received, 1000);
}

#[test]
fn an_upload_that_broke_begins_again_where_the_registry_does_not_say_how_far_it_came() {
    let (fake, repository) = empty();
    let bytes = noise(1000);
    let digest = Digest::of(&bytes);
    fake.fault_on(Fault::CutUploadAfter(500), Some(1), "PUT", "uploads");
    fake.fault_on(Fault::Status(404), None, "GET", "uploads");
    repository.upload_blob_from(&digest, 1000, from(&bytes)).unwrap();
    assert!(fake.blob(PATH, &digest).unwrap() == bytes);
    assert_eq!((fake.traffic(&digest).bytes_received, fake.count("POST", "uploads")), (1500, 2));
}

#[test]
fn an_upload_that_the_registry_does_not_let_go_on_begins_again() {
    let (fake, repository) = empty();
    let bytes = noise(1000);
    let digest = Digest::of(&bytes);
    fake.fault_on(Fault::CutUploadAfter(500), Some(1), "PUT", "uploads");
    fake.fault_on(Fault::WrongRange, None, "GET", "uploads");
    repository.upload_blob_from(&digest, 1000, from(&bytes)).unwrap();
    assert!(fake.blob(PATH, &digest).unwrap() == bytes);
    assert_eq!(fake.count("POST", "uploads"), 2);
}

#[test]
fn a_beginning_that_the_registry_has_kept_wrongly_is_found_out_by_the_digest_and_sent_again() {
    let (fake, repository) = empty();
    let (bytes, mut others) = (noise(1000), noise(1000));
    others[0] ^= 1;
    let digest = Digest::of(&bytes);
    fake.fault_on(Fault::CutUploadAfter(500), Some(1), "PUT", "uploads");
    let mut opened = 0;
    let open = |offset: u64| {
        opened += 1;
        Ok(if opened == 1 { &others[..] } else { &bytes[offset as usize..] })
    };
    repository.upload_blob_from(&digest, 1000, open).unwrap();
    assert!(fake.blob(PATH, &digest).unwrap() == bytes);
    assert_eq!((opened, fake.count("POST", "uploads")), (3, 2));
}

#[test]
fn an_upload_to_an_overloaded_registry_is_sent_again_and_then_given_up() {
    let (fake, repository) = empty();
    let digest = Digest::of(b"x");
    fake.fault_on(Fault::Status(503), Some(1), "PUT", "uploads");
    repository.upload_blob_from(&digest, 1, |_| Ok(&b"x"[..])).unwrap();
    fake.fault_on(Fault::Status(503), None, "PUT", "uploads");
    let error = repository.upload_blob_from(&digest, 1, |_| Ok(&b"x"[..])).unwrap_err();
    assert!(matches!(error, RegistryError::Refused { status: 503, .. }), "{error}");
    assert_eq!(fake.count("PUT", "uploads"), 2 + 5);
    let gone = |_| Err::<&[u8], _>(io::Error::from(io::ErrorKind::NotFound));
    let error = repository.upload_blob_from(&digest, 1, gone).unwrap_err();
    assert!(matches!(error, RegistryError::Http(HttpError::Upload { .. })), "{error}");
}

#[test]
fn a_blob_of_another_repository_is_mounted_without_sending_it() {
    let (fake, repository) = empty();
    let digest = fake.store_blob("mirror/base", b"layer");
    assert!(repository.mount_blob(&digest, "mirror/base").unwrap());
    assert!(repository.has_blob(&digest).unwrap());
    assert_eq!(fake.traffic(&digest).bytes_received, 0);
}

#[test]
fn a_mount_that_does_not_happen_leaves_no_upload_behind() {
    let (fake, repository) = empty();
    let digest = fake.store_blob("mirror/base", b"layer");
    assert!(!repository.mount_blob(&digest, "mirror/other").unwrap());
    fake.fault(Fault::NoMount);
    assert!(!repository.mount_blob(&digest, "mirror/base").unwrap());
    assert_eq!(fake.open_uploads(), 0);
    assert!(!repository.has_blob(&digest).unwrap());
}

#[test]
fn a_manifest_is_stored_byte_for_byte_under_tag_and_digest() {
    let (fake, repository, bytes, digest) = ready();
    assert_eq!(repository.put_manifest(&by("v1"), MEDIA_MANIFEST, &bytes).unwrap(), digest);
    assert_eq!(repository.put_manifest(&digest.into(), MEDIA_MANIFEST, &bytes).unwrap(), digest);
    assert_eq!(fake.manifest(PATH, "v1").unwrap(), (MEDIA_MANIFEST.to_string(), bytes.clone()));
    assert_eq!(repository.get_manifest(&by("v1")).unwrap().bytes, bytes);
}

#[test]
fn a_manifest_under_another_digest_than_its_own_is_not_even_sent() {
    let (fake, repository, bytes, _) = ready();
    let other = Digest::of(b"other");
    let error = repository.put_manifest(&other.into(), MEDIA_MANIFEST, &bytes).unwrap_err();
    assert!(matches!(error, RegistryError::ManifestDigest { by: "asked for", .. }), "{error}");
    assert!(fake.requests().is_empty());
}

#[test]
fn a_registry_that_names_another_digest_for_what_it_stored_is_refused() {
    let (fake, repository, bytes, _) = ready();
    fake.fault(Fault::WrongDigestHeader);
    let error = repository.put_manifest(&by("v1"), MEDIA_MANIFEST, &bytes).unwrap_err();
    assert!(matches!(error, RegistryError::ManifestDigest { by: "announced", .. }), "{error}");
    let error = upload(&repository, b"x").unwrap_err();
    assert!(
        matches!(&error, RegistryError::Answer { problem, .. } if problem.contains("instead")),
        "{error}"
    );
}

#[test]
fn a_registry_without_digest_headers_is_asked_for_the_bytes() {
    let (fake, repository, bytes, digest) = ready();
    fake.fault(Fault::NoDigestHeader);
    assert_eq!(repository.put_manifest(&by("v1"), MEDIA_MANIFEST, &bytes).unwrap(), digest);
}

#[test]
fn a_manifest_before_its_blobs_is_refused_by_name() {
    let (_fake, repository) = empty();
    let (bytes, _) = image_manifest(CONFIG, b"layer");
    let error = repository.put_manifest(&by("v1"), MEDIA_MANIFEST, &bytes).unwrap_err();
    assert!(error.to_string().contains("MANIFEST_BLOB_UNKNOWN"), "{error}");
}

#[test]
fn an_immutable_tag_is_refused_by_name() {
    let (fake, repository, bytes, _) = ready();
    fake.fault(Fault::ImmutableTags);
    repository.put_manifest(&by("v1"), MEDIA_MANIFEST, &bytes).unwrap();
    repository.put_manifest(&by("v1"), MEDIA_MANIFEST, &bytes).unwrap();
    fake.store_blob(PATH, b"other layer");
    let (other, _) = image_manifest(CONFIG, b"other layer");
    let error = repository.put_manifest(&by("v1"), MEDIA_MANIFEST, &other).unwrap_err();
    assert!(matches!(error, RegistryError::Refused { status: 412, .. }), "{error}");
    assert!(error.to_string().contains("immutable"), "{error}");
    assert_eq!(fake.manifest(PATH, "v1").unwrap().1, bytes);
}

#[test]
fn deleting_says_what_became_of_it() {
    let (fake, repository, bytes, digest) = ready();
    assert_eq!(repository.delete_manifest(&by("v1")).unwrap(), Deleted::NotFound);
    repository.put_manifest(&by("v1"), MEDIA_MANIFEST, &bytes).unwrap();
    fake.fault_times(Fault::DeleteUnsupported, 1);
    assert_eq!(repository.delete_manifest(&digest.into()).unwrap(), Deleted::Unsupported);
    assert_eq!(repository.delete_manifest(&by("v1")).unwrap(), Deleted::Yes);
    assert!(repository.head_manifest(&digest.into()).unwrap().is_some(), "only the tag is gone");
    assert_eq!(repository.delete_manifest(&digest.into()).unwrap(), Deleted::Yes);
    assert_eq!(fake.manifest(PATH, &digest.to_string()), None);
    fake.fault(Fault::Status(403));
    let error = repository.delete_manifest(&digest.into()).unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }), "{error}");
}

#[test]
fn a_push_that_needs_credentials_says_so() {
    let (fake, repository, bytes, digest) = ready();
    fake.fault(Fault::Status(401));
    let errors = [
        upload(&repository, b"x").unwrap_err(),
        repository.mount_blob(&digest, "mirror/base").unwrap_err(),
        repository.put_manifest(&by("v1"), MEDIA_MANIFEST, &bytes).unwrap_err(),
        repository.delete_manifest(&by("v1")).unwrap_err(),
        repository.has_blob(&digest).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, RegistryError::Unauthorized { .. }), "{}", full(&error));
    }
}
