//! The same against a real registry: what the fake says about registries must hold there too.
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

use std::io::Read;

use manifests::Digest;
use manifests::oci::{MEDIA_DOCKER_MANIFEST, MEDIA_MANIFEST};
use registry::{Deleted, Http, HttpError, HttpSettings, Registry, RegistryError, Repository};
use support::{by, client, full, image_manifest, noise, settings};
use testkit::{CuttingProxy, FakeRegistry, FakeServer, RealRegistry, RealRegistryOptions, Reply};

const CONFIG: &[u8] = b"{\"architecture\":\"amd64\",\"os\":\"linux\"}";

fn start(delete: bool) -> Option<(RealRegistry, Registry)> {
    let real = RealRegistry::start(RealRegistryOptions { delete, ..RealRegistryOptions::default() })?;
    let registry = Registry::new(client(), &real.url()).unwrap();
    Some((real, registry))
}

fn upload(repository: &Repository, bytes: &[u8]) -> Digest {
    let digest = Digest::of(bytes);
    repository.upload_blob(&digest, bytes.len() as u64, &mut &bytes[..]).unwrap();
    digest
}

fn push_image(repository: &Repository, layer: &[u8], tag: &str) -> (Vec<u8>, Digest) {
    upload(repository, CONFIG);
    upload(repository, layer);
    let (bytes, digest) = image_manifest(CONFIG, layer);
    assert_eq!(repository.put_manifest(&by(tag), MEDIA_MANIFEST, &bytes).unwrap(), digest);
    (bytes, digest)
}

/// Debian's does not say how far it came with what broke in the middle of a request, and is sent it again.
#[test]
fn an_upload_that_is_cut_on_its_way_is_whole_in_the_end() {
    let Some((real, registry)) = start(false) else { return };
    let wire = CuttingProxy::start_on_the_way_there(real.host(), &[Some(1_000_000), Some(2_000_000), None]);
    let place = "mirror/cut";
    let repository = support::repository(&wire.url(), place);
    let bytes = noise(5_000_000);
    let (digest, mut offsets) = (Digest::of(&bytes), Vec::new());
    let open = |offset: u64| {
        offsets.push(offset);
        Ok(&bytes[offset as usize..])
    };
    repository.upload_blob_from(&digest, bytes.len() as u64, open).unwrap();
    let mut back = Vec::new();
    let there = registry.repository(place).unwrap();
    there.open_blob(&digest, bytes.len() as u64).unwrap().read_to_end(&mut back).unwrap();
    assert!(back == bytes && wire.connections() > 2, "{offsets:?}");
    eprintln!("{offsets:?}");
}

#[test]
fn what_is_pushed_comes_back_byte_for_byte() {
    let Some((_real, registry)) = start(false) else { return };
    registry.ping().unwrap();
    let repository = registry.repository("mirror/registry.example.com/acme/service").unwrap();
    let layer = noise(5_000_000);
    let (bytes, digest) = push_image(&repository, &layer, "v1");
    let raw = repository.get_manifest(&by("v1")).unwrap();
    assert_eq!((raw.bytes, raw.media_type.as_str(), raw.digest), (bytes, MEDIA_MANIFEST, digest));
    let head = repository.head_manifest(&digest.into()).unwrap().unwrap();
    assert_eq!((head.digest, head.media_type.as_str()), (digest, MEDIA_MANIFEST));
    let mut back = Vec::new();
    let mut reader = repository.open_blob(&Digest::of(&layer), layer.len() as u64).unwrap();
    reader.read_to_end(&mut back).unwrap();
    assert!(back == layer);
    assert_eq!(repository.list_tags().unwrap(), ["v1"]);
    upload(&repository, b"");
}

#[test]
fn docker_manifests_keep_their_type() {
    let Some((_real, registry)) = start(false) else { return };
    let repository = registry.repository("docker").unwrap();
    upload(&repository, CONFIG);
    upload(&repository, b"layer");
    let (bytes, _) = image_manifest(CONFIG, b"layer");
    let text = String::from_utf8(bytes).unwrap().replace(MEDIA_MANIFEST, MEDIA_DOCKER_MANIFEST);
    let digest = repository.put_manifest(&by("v1"), MEDIA_DOCKER_MANIFEST, text.as_bytes()).unwrap();
    let raw = repository.get_manifest(&by("v1")).unwrap();
    assert_eq!((raw.digest, raw.media_type.as_str()), (digest, MEDIA_DOCKER_MANIFEST));
}

#[test]
fn what_is_not_there_is_named_so() {
    let Some((_real, registry)) = start(false) else { return };
    let repository = registry.repository("nothing").unwrap();
    assert!(!repository.has_blob(&Digest::of(b"x")).unwrap());
    assert_eq!(repository.head_manifest(&by("v1")).unwrap(), None);
    let error = repository.get_manifest(&by("v1")).unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }), "{error}");
    assert!(error.to_string().contains("MANIFEST_UNKNOWN"), "{error}");
    assert!(matches!(repository.list_tags().unwrap_err(), RegistryError::NotFound { .. }));
    assert!(repository.open_blob(&Digest::of(b"x"), 1).is_err());
}

#[test]
fn a_blob_is_mounted_across_repositories() {
    let Some((_real, registry)) = start(false) else { return };
    let (from, to) = (registry.repository("a/from").unwrap(), registry.repository("b/to").unwrap());
    let digest = upload(&from, &noise(100_000));
    assert!(!to.has_blob(&digest).unwrap());
    assert!(to.mount_blob(&digest, "a/from").unwrap());
    assert!(to.has_blob(&digest).unwrap());
    assert!(!to.mount_blob(&Digest::of(b"missing"), "a/from").unwrap());
}

#[test]
fn wrong_bytes_are_refused() {
    let Some((_real, registry)) = start(false) else { return };
    let repository = registry.repository("a").unwrap();
    let error = repository.upload_blob(&Digest::of(b"right"), 5, &mut &b"wrong"[..]).unwrap_err();
    assert!(error.to_string().contains("DIGEST_INVALID"), "{error}");
    let (bytes, _) = image_manifest(CONFIG, b"missing");
    let error = repository.put_manifest(&by("v1"), MEDIA_MANIFEST, &bytes).unwrap_err();
    assert!(error.to_string().contains("BLOB_UNKNOWN"), "{error}");
}

#[test]
fn a_blob_damaged_in_the_registrys_storage_is_refused() {
    let Some((real, registry)) = start(false) else { return };
    let repository = registry.repository("a").unwrap();
    let bytes = noise(200_000);
    let digest = upload(&repository, &bytes);
    let hex = digest.hex();
    let file = real.storage().join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]));
    let mut damaged = bytes.clone();
    damaged[150_000] ^= 1;
    std::fs::write(file, damaged).unwrap();
    let mut reader = repository.open_blob(&digest, bytes.len() as u64).unwrap();
    let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
}

#[test]
fn a_range_is_answered_as_a_resumed_pull_needs_it() {
    let Some((real, registry)) = start(false) else { return };
    let repository = registry.repository("a").unwrap();
    let bytes = noise(3_000_000);
    let digest = upload(&repository, &bytes);
    let upstream = real.host().to_string();
    // A wire that cuts the first connection in the middle, and passes the second through.
    let wire = CuttingProxy::start(&upstream, &[Some(1_000_000), None]);
    let through = Registry::new(client(), &wire.url()).unwrap().repository("a").unwrap();
    let mut back = Vec::new();
    through.open_blob(&digest, bytes.len() as u64).unwrap().read_to_end(&mut back).unwrap();
    assert!(back == bytes);
    assert_eq!(wire.connections(), 2);
}

#[test]
fn deletes_where_that_is_enabled_and_says_so_where_not() {
    let Some((_real, registry)) = start(true) else { return };
    let repository = registry.repository("a").unwrap();
    let (_, digest) = push_image(&repository, b"layer", "v1");
    assert_eq!(repository.delete_manifest(&by("v1")).unwrap(), Deleted::Unsupported, "not by tag");
    assert_eq!(repository.delete_manifest(&digest.into()).unwrap(), Deleted::Yes);
    assert_eq!(repository.head_manifest(&by("v1")).unwrap(), None);
    assert_eq!(repository.delete_manifest(&digest.into()).unwrap(), Deleted::NotFound);
    let Some((_real, registry)) = start(false) else { return };
    let repository = registry.repository("a").unwrap();
    let (_, digest) = push_image(&repository, b"layer", "v1");
    assert_eq!(repository.delete_manifest(&digest.into()).unwrap(), Deleted::Unsupported);
    assert!(repository.head_manifest(&by("v1")).unwrap().is_some());
}

#[test]
fn tls_needs_an_authority_that_is_trusted() {
    let options = RealRegistryOptions { tls: true, ..RealRegistryOptions::default() };
    let Some(real) = RealRegistry::start(options) else { return };
    let (plain, pauses) = settings();
    let untrusting = Registry::new(Http::new(&plain).unwrap(), &real.url()).unwrap();
    let error = untrusting.ping().unwrap_err();
    assert!(matches!(error, RegistryError::Http(HttpError::Tls { .. })), "{error:?}");
    assert!(full(&error).contains("UnknownIssuer"), "{}", full(&error));
    assert!(pauses.lock().unwrap().is_empty());
    let trusting = HttpSettings { ca_pem: real.ca_pem().map(<[u8]>::to_vec), ..plain };
    let registry = Registry::new(Http::new(&trusting).unwrap(), &real.url()).unwrap();
    registry.ping().unwrap();
    let repository = registry.repository("a").unwrap();
    let layer = noise(1_000_000);
    push_image(&repository, &layer, "v1");
    let mut back = Vec::new();
    let mut reader = repository.open_blob(&Digest::of(&layer), layer.len() as u64).unwrap();
    reader.read_to_end(&mut back).unwrap();
    assert!(back == layer);
    let by_http = real.url().replace("https:", "http:");
    let error = Registry::new(client(), &by_http).unwrap().ping().unwrap_err();
    assert!(matches!(error, RegistryError::NotARegistry { .. }), "{error}");
}

/// Not a test of its own: what the next two run in a process with an environment of theirs.
#[test]
#[ignore = "run by other tests, with an environment"]
fn child_pings_with_default_settings() {
    let Ok(url) = std::env::var("PING_URL") else { return };
    let settings = HttpSettings { retries: 0, ..HttpSettings::default() };
    let outcome = match Http::new(&settings) {
        Ok(http) => Registry::new(http, &url).unwrap().ping(),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => eprintln!("PING OK"),
        Err(error) => eprintln!("PING FAILED: {}", full(&error)),
    }
}

fn ping_with(url: &str, environment: &[(&str, &str)]) -> String {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_pings_with_default_settings", "--ignored", "--nocapture"])
        .env_remove("SSL_CERT_DIR")
        .env("PING_URL", url)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn ssl_cert_file_names_the_trusted_authorities() {
    let options = RealRegistryOptions { tls: true, ..RealRegistryOptions::default() };
    let Some(real) = RealRegistry::start(options) else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, real.ca_pem().unwrap()).unwrap();
    let said = ping_with(&real.url(), &[("SSL_CERT_FILE", file.to_str().unwrap())]);
    assert!(said.contains("PING OK"), "{said}");
    let missing = directory.path().join("missing.pem");
    let said = ping_with(&real.url(), &[("SSL_CERT_FILE", missing.to_str().unwrap())]);
    assert!(said.contains("PING FAILED: cannot use the TLS trust roots"), "{said}");
    assert!(said.contains("missing.pem"), "{said}");
}

#[test]
fn the_environments_proxy_is_used_but_not_for_this_machine() {
    let proxy = FakeServer::start(|_| Reply::status(502));
    let fake = FakeRegistry::start();
    let environment = [("ALL_PROXY", proxy.url())];
    let environment: Vec<(&str, &str)> = environment.iter().map(|(k, v)| (*k, v.as_str())).collect();
    assert!(ping_with(&fake.url(), &environment).contains("PING OK"));
    assert!(proxy.requests().is_empty());
    let said = ping_with("http://no-such-host.invalid", &environment);
    assert!(said.contains("PING FAILED: cannot reach http://no-such-host.invalid/v2/"), "{said}");
    let asked = &proxy.requests()[0];
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("CONNECT", "no-such-host.invalid:80"));
}

#[test]
fn skopeo_reads_what_was_pushed() {
    let Some((real, registry)) = start(false) else { return };
    let Some(skopeo) = testkit::real_part("skopeo") else { return };
    let repository = registry.repository("a/b").unwrap();
    let (bytes, _) = push_image(&repository, b"layer", "v1");
    let output = std::process::Command::new(skopeo)
        .args(["inspect", "--raw", "--tls-verify=false"])
        .arg(format!("docker://{}/a/b:v1", real.host()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout, bytes);
}
