//! Images from registries as they are in the field: behind TLS of one's own, with logins from the files and
//! helpers of Docker and Podman, behind mirrors, and over a wire that breaks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

mod ingredients;
mod onsite;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use e2e::{Ran, World};
use edge::Exit;
use ingredients::{Image, entries, image, index, layer, tool};
use manifests::Digest;
use manifests::oci::{MEDIA_INDEX, MEDIA_MANIFEST};
use testkit::{FakeRegistry, Fault, REAL_PASSWORD, REAL_USER, RealRegistry, RealRegistryOptions, real_part};

/// `airlock:hunter2`
const AUTH: &str = "YWlybG9jazpodW50ZXIy";

fn app() -> Image {
    image("amd64", &[layer(1, 600_000), layer(2, 1000)])
}

fn spec(world: &World, source: &str, more: &str) {
    world.spec("1.0.0", 1, &format!("images: [\"docker://{source}\"]\n{more}"));
}

fn build(world: &World) -> Ran {
    world.bundler(&["build", "--out", "b.tar"])
}

/// The archive has the image with its own digests.
fn holds(world: &World, image: &Image) {
    let archive = entries(&world.path("b.tar"));
    let manifests = image.manifests.iter().map(|(_, bytes)| bytes);
    for bytes in manifests.chain(image.blobs.values()) {
        assert_eq!(archive[&format!("blobs/sha256/{}", Digest::of(bytes).hex())], *bytes);
    }
}

/// A real registry behind TLS and a password, with the image in it, and a world that has no login yet.
fn guarded(image: &Image) -> Option<(RealRegistry, World)> {
    let options = RealRegistryOptions { tls: true, htpasswd: true, ..RealRegistryOptions::default() };
    let real = RealRegistry::start(options)?;
    let world = World::new();
    world.write("ca.pem", real.ca_pem().unwrap());
    let http = registry::HttpSettings {
        ca_pem: real.ca_pem().map(<[u8]>::to_vec),
        ..registry::HttpSettings::default()
    };
    struct Known(String);
    impl registry::Logins for Known {
        fn login(&self, host: &str, _: &str) -> Result<Option<registry::Login>, registry::LoginError> {
            let credential = registry::Credential::Password {
                user: REAL_USER.to_string(),
                password: registry::Secret::new(REAL_PASSWORD.to_string()),
            };
            Ok((host == self.0).then_some(registry::Login { credential, from: "the test".to_string() }))
        }
    }
    let place = registry::Registry::new(registry::Http::new(&http).unwrap(), &real.url())
        .unwrap()
        .with_logins(std::sync::Arc::new(Known(real.host().to_string())), false)
        .repository("team/app")
        .unwrap();
    for (digest, bytes) in &image.blobs {
        place.upload_blob(digest, bytes.len() as u64, &mut bytes.as_slice()).unwrap();
    }
    for (descriptor, bytes) in &image.manifests {
        place.put_manifest(&descriptor.digest.into(), &descriptor.media_type, bytes).unwrap();
        place.put_manifest(&"v1".parse().unwrap(), &descriptor.media_type, bytes).unwrap();
    }
    Some((real, world))
}

fn source(real: &RealRegistry) -> String {
    format!("{}/team/app:v1", real.host())
}

fn with_ca(real: &RealRegistry) -> String {
    format!("registries: {{\"{}\": {{ca: ca.pem}}}}\n", real.host())
}

#[test]
fn an_image_behind_tls_and_a_password_is_taken_with_the_digest_that_skopeo_sees() {
    let image = app();
    let Some((real, mut world)) = guarded(&image) else { return };
    spec(&world, &source(&real), &with_ca(&real));
    let file = world
        .write("auth.json", format!("{{\"auths\":{{\"{}/team\":{{\"auth\":\"{AUTH}\"}}}}}}", real.host()));
    world.vars.insert("REGISTRY_AUTH_FILE".into(), file.into());
    let said = build(&world).ok();
    holds(&world, &image);
    assert!(!format!("{said:?}").contains(REAL_PASSWORD));
    let lock = std::fs::read_to_string(world.path("bundle.lock")).unwrap();
    assert!(lock.contains(&format!("https://{}", real.host())) && !lock.contains(AUTH));
    let Some(skopeo) = real_part("skopeo") else { return };
    let name = format!("docker://{}", source(&real));
    let credentials = format!("{REAL_USER}:{REAL_PASSWORD}");
    let certificates = world.path("certs");
    std::fs::create_dir(&certificates).unwrap();
    std::fs::copy(real.ca_path(), certificates.join("ca.crt")).unwrap();
    let inspect =
        ["inspect", "--raw", "--creds", &credentials, "--cert-dir", certificates.to_str().unwrap(), &name];
    let seen = tool(skopeo, &inspect, world.dir());
    assert_eq!(Digest::of(&seen.stdout), image.root.digest);
}

#[test]
fn certificates_and_logins_are_found_where_podman_and_docker_keep_them() {
    let image = app();
    let Some((real, world)) = guarded(&image) else { return };
    spec(&world, &source(&real), "");
    let ca = real.ca_pem().unwrap();
    world.write(&format!("home/.config/containers/certs.d/{}/ca.crt", real.host()), ca);
    let entry = format!("{{\"auths\":{{\"https://{}/v2/\":{{\"auth\":\"{AUTH}\"}}}}}}", real.host());
    world.write("home/.docker/config.json", entry);
    build(&world).ok();
    holds(&world, &image);
}

fn helper(world: &mut World, script: &str) -> PathBuf {
    let path = world.write("bin/docker-credential-test", format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let before = world.vars["PATH".as_ref() as &std::ffi::OsStr].to_str().unwrap().to_string();
    world.vars.insert("PATH".into(), format!("{}:{before}", world.path("bin").display()).into());
    world.write("home/.docker/config.json", "{\"credsStore\":\"test\"}");
    path
}

#[test]
fn a_credential_helper_is_asked_about_the_registry() {
    let image = app();
    let Some((real, mut world)) = guarded(&image) else { return };
    spec(&world, &source(&real), &with_ca(&real));
    let answer = format!("{{\"Username\":\"{REAL_USER}\",\"Secret\":\"{REAL_PASSWORD}\"}}");
    let script = format!("[ \"$1\" = get ] && [ \"$(cat)\" = \"{}\" ] && echo '{answer}'", real.host());
    helper(&mut world, &script);
    build(&world).ok();
    holds(&world, &image);
}

#[test]
fn a_login_that_fails_names_the_registry_and_where_the_login_came_from_and_shows_no_secret() {
    let Some((real, mut world)) = guarded(&app()) else { return };
    spec(&world, &source(&real), &with_ca(&real));
    let fails = |world: &World, words: &[&str]| {
        let ran = build(world).expect_exit(Exit::Unreachable);
        for word in words.iter().chain(&[real.host()]) {
            assert!(ran.stderr.contains(word), "{word} is missing: {}", ran.stderr);
        }
        assert!(!ran.stderr.contains("sesame"), "{}", ran.stderr);
    };
    fails(&world, &["asks for a login, and there is none", "docker login"]);
    // `airlock:sesame`
    let wrong = format!("{{\"auths\":{{\"{}\":{{\"auth\":\"YWlybG9jazpzZXNhbWU=\"}}}}}}", real.host());
    world.write("home/.docker/config.json", wrong);
    fails(&world, &["does not take the login from", ".docker/config.json"]);
    helper(&mut world, "echo sesame; echo sesame >&2; exit 3");
    fails(&world, &["cannot look up the login", "docker-credential-test: it ended with exit code 3"]);
    helper(&mut world, "echo sesame");
    fails(&world, &["docker-credential-test: its answer is not that of a credential helper"]);
    helper(&mut world, "echo 'credentials not found in native keychain'; exit 1");
    fails(&world, &["asks for a login, and there is none"]);
    world.vars.insert("REGISTRY_AUTH_FILE".into(), world.path("nowhere.json").into());
    fails(&world, &["nowhere.json"]);
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused() {
    let Some((real, world)) = guarded(&app()) else { return };
    let other = tempfile::tempdir().unwrap();
    testkit::certificates::Certificates::make(other.path()).unwrap();
    world.write("ca.pem", std::fs::read(other.path().join("ca.pem")).unwrap());
    spec(&world, &source(&real), &with_ca(&real));
    let ran = build(&world).expect_exit(Exit::Unreachable);
    assert!(ran.stderr.contains("no trusted TLS connection"), "{}", ran.stderr);
}

/// A name on a host that is not there, and a mirror of it.
fn mirrored(world: &World, mirrors: &[String], origin: &str) {
    let list = mirrors.iter().map(|mirror| format!("\"{mirror}\"")).collect::<Vec<_>>().join(", ");
    spec(
        world,
        &format!("{origin}/team/app:v1"),
        &format!("registries: {{\"{origin}\": {{mirrors: [{list}]}}}}\n"),
    );
}

#[test]
fn a_mirror_is_asked_first_and_the_name_and_digest_stay_those_of_the_registry() {
    let (origin, mirror, world, image) = (FakeRegistry::start(), FakeRegistry::start(), World::new(), app());
    image.store_in(&mirror, "hub/team/app", "v1");
    mirrored(&world, &[format!("{}/hub", mirror.url())], &origin.host());
    let ran = build(&world).ok();
    assert!(
        ran.stderr.contains(&format!("is {}, says the mirror {}/hub", image.root.digest, mirror.url())),
        "{}",
        ran.stderr
    );
    holds(&world, &image);
    assert!(
        origin
            .requests()
            .iter()
            .all(|request| !request.path.contains("/blobs/") && !request.path.ends_with("/manifests/v1"))
    );
    let lock = std::fs::read_to_string(world.path("bundle.lock")).unwrap();
    assert!(lock.contains(&origin.host()) && !lock.contains(&mirror.host()), "{lock}");
}

#[test]
fn mirrors_that_lack_lie_or_break_are_passed_over_and_said() {
    let image = app();
    for fault in [None, Some(Fault::WrongBlobBytes), Some(Fault::WrongRange), Some(Fault::Status(403))] {
        let (origin, mirror, world) = (FakeRegistry::start(), FakeRegistry::start(), World::new());
        image.store_in(&origin, "team/app", "v1");
        if let Some(fault) = &fault {
            image.store_in(&mirror, "team/app", "v1");
            mirror.fault_on(Fault::TruncateBlobAfter(100), Some(1), "GET", "/blobs/");
            mirror.fault_on(fault.clone(), None, "", "/blobs/");
        }
        mirrored(&world, &[mirror.url()], &origin.host());
        let ran = build(&world).ok();
        assert!(
            ran.stderr.contains(&format!("the mirror {} is passed over", mirror.url())),
            "{fault:?}: {}",
            ran.stderr
        );
        holds(&world, &image);
    }
}

#[test]
fn a_mirror_elsewhere_without_encryption_is_refused() {
    let world = World::new();
    mirrored(&world, &["http://mirror.example.com".to_string()], "127.0.0.1:1");
    let ran = build(&world).expect_exit(Exit::Usage);
    assert!(ran.stderr.contains("it is not encrypted"), "{}", ran.stderr);
}

#[test]
fn a_blob_that_was_half_fetched_is_continued_by_the_next_run() {
    let (registry, world, image) = (FakeRegistry::start(), World::new(), app());
    image.store_in(&registry, "team/app", "v1");
    spec(&world, &format!("{}/team/app:v1", registry.host()), "");
    world.bundler(&["lock"]).ok();
    let (large, bytes) = image.blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let path = large.to_string();
    registry.fault_on(Fault::TruncateBlobAfter(400_000), Some(1), "GET", &path);
    registry.fault_on(Fault::WrongRange, Some(1), "GET", &path);
    let _ = build(&world).expect_exit(Exit::Unreachable);
    let partial = world.path(&format!("cache/partial-{}", large.hex()));
    assert_eq!(std::fs::metadata(&partial).unwrap().len(), 400_000);
    registry.clear_faults();
    let before = registry.traffic(large).bytes_sent;
    build(&world).ok();
    holds(&world, &image);
    assert_eq!(registry.traffic(large).bytes_sent - before, bytes.len() as u64 - 400_000);
    assert!(!partial.exists());
}

#[test]
fn what_an_earlier_run_left_and_is_rotten_is_fetched_anew() {
    let (registry, world, image) = (FakeRegistry::start(), World::new(), app());
    image.store_in(&registry, "team/app", "v1");
    spec(&world, &format!("{}/team/app:v1", registry.host()), "");
    world.bundler(&["lock"]).ok();
    // Shorter than the blob, as long, and longer.
    for length in [|_| 700, |whole: usize| whole, |whole| whole + 700_000] {
        for (digest, bytes) in &image.blobs {
            world.write(&format!("cache/partial-{}", digest.hex()), vec![0; length(bytes.len())]);
            let _ = std::fs::remove_file(world.path(&format!("cache/blobs/sha256/{}", digest.hex())));
        }
        build(&world).ok();
        holds(&world, &image);
        std::fs::remove_file(world.path("b.tar")).unwrap();
    }
}

/// The blobs that the cache has whole.
fn whole(world: &World) -> Vec<Digest> {
    let Ok(entries) = std::fs::read_dir(world.path("cache/blobs/sha256")) else { return Vec::new() };
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    entries.map(|entry| format!("sha256:{}", name(entry)).parse().unwrap()).collect()
}

#[test]
fn a_second_build_fetches_nothing() {
    let (registry, world, image) = (FakeRegistry::start(), World::new(), app());
    image.store_in(&registry, "team/app", "v1");
    spec(&world, &format!("{}/team/app:v1", registry.host()), "");
    build(&world).ok();
    let (first, asked) = (std::fs::read(world.path("b.tar")).unwrap(), registry.requests().len());
    std::fs::remove_file(world.path("b.tar")).unwrap();
    build(&world).ok();
    assert_eq!(registry.requests().len(), asked);
    assert_eq!(std::fs::read(world.path("b.tar")).unwrap(), first);
}

#[test]
fn what_has_rotted_in_the_cache_goes_into_no_archive_and_is_fetched_by_the_next_run() {
    let (registry, world, image) = (FakeRegistry::start(), World::new(), app());
    image.store_in(&registry, "team/app", "v1");
    spec(&world, &format!("{}/team/app:v1", registry.host()), "");
    build(&world).ok();
    let (large, bytes) = image.blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let mut rotten = bytes.clone();
    rotten[1000] ^= 1;
    world.write(&format!("cache/blobs/sha256/{}", large.hex()), rotten);
    std::fs::remove_file(world.path("b.tar")).unwrap();
    let ran = build(&world).expect_exit(Exit::Damaged);
    assert!(ran.stderr.contains(&large.to_string()), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("rotted in the cache") && ran.stderr.contains("run it again"),
        "{}",
        ran.stderr
    );
    assert!(!world.path("b.tar").exists());
    build(&world).ok();
    holds(&world, &image);
    // A manifest that has rotted is had again at once.
    world.write(
        &format!("cache/blobs/sha256/{}", image.root.digest.hex()),
        vec![b'x'; image.root_bytes().len()],
    );
    std::fs::remove_file(world.path("b.tar")).unwrap();
    build(&world).ok();
    holds(&world, &image);
}

#[test]
fn while_another_run_fetches_the_same_the_registry_is_asked_after_a_mirror_that_lacks_it() {
    let (origin, mirror, world, image) = (FakeRegistry::start(), FakeRegistry::start(), World::new(), app());
    image.store_in(&origin, "team/app", "v1");
    mirrored(&world, &[mirror.url()], &origin.host());
    world.bundler(&["lock"]).ok();
    let held: Vec<_> = image
        .blobs
        .iter()
        .filter_map(|(digest, bytes)| {
            let content = manifests::bundle::Content { digest: *digest, size: bytes.len() as u64 };
            bundler::cache::Cache::at(world.path("cache")).partial(&content).unwrap()
        })
        .collect();
    assert_eq!(held.len(), image.blobs.len());
    build(&world).ok();
    holds(&world, &image);
}

#[test]
fn what_a_killed_run_had_begun_without_a_name_is_swept_away_and_what_another_writes_is_not() {
    let (registry, world, image) = (FakeRegistry::start(), World::new(), app());
    image.store_in(&registry, "team/app", "v1");
    spec(&world, &format!("{}/team/app:v1", registry.host()), "");
    world.bundler(&["lock"]).ok();
    let (left, held) = (world.write("cache/begun-left", "half"), world.write("cache/begun-held", "half"));
    let file = std::fs::File::open(&held).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    build(&world).ok();
    assert!(!left.exists() && held.exists());
}

#[test]
fn a_build_that_is_killed_at_any_moment_is_completed_and_only_what_was_in_flight_is_fetched_again() {
    let (registry, world) = (FakeRegistry::start(), World::new());
    let layers: Vec<Vec<u8>> = (0..12).map(|seed| layer(seed, 1_500_000)).collect();
    let image = image("amd64", &layers);
    image.store_in(&registry, "team/app", "v1");
    spec(&world, &format!("{}/team/app:v1", registry.host()), "");
    world.bundler(&["lock"]).ok();
    let mut killed = 0;
    for delay in (0_u64..).map(|round| 10 + round * 7) {
        let held: Vec<_> = whole(&world).into_iter().map(|blob| (blob, registry.traffic(&blob))).collect();
        let mut child = onsite::bundler(&world, &["build", "--out", "b.tar"]).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        let done = child.try_wait().unwrap();
        if done.is_none() {
            child.kill().unwrap();
            killed += 1;
        }
        let ended = child.wait().unwrap();
        for (blob, before) in held {
            assert_eq!(registry.traffic(&blob).reads, before.reads, "{blob} was whole and is fetched again");
        }
        // Killed after the archive got its name and before it could say so: then it is whole.
        if ended.success() || world.path("b.tar").exists() {
            break;
        }
        assert!(done.is_none(), "{ended}");
    }
    assert!(killed > 3, "{killed}");
    holds(&world, &image);
    world.trust();
    world.bundler(&["sign", "b.tar", "--key", "keys/rel.key.pem"]).ok();
    world.bundler(&["verify", "b.tar", "--trust", "root.json"]).ok();
}

#[test]
fn several_blobs_are_fetched_at_one_time() {
    let (registry, world) = (FakeRegistry::start(), World::new());
    let image = image("amd64", &[layer(1, 900_000), layer(2, 800_000), layer(3, 700_000)]);
    image.store_in(&registry, "team/app", "v1");
    spec(&world, &format!("{}/team/app:v1", registry.host()), "");
    world.bundler(&["lock"]).ok();
    // The largest is asked for first, and is silent in the middle until everything else is there.
    let (large, _) = image.blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    registry.fault_on(Fault::StallBlobAfter(1000), None, "GET", &large.to_string());
    let mut child = onsite::bundler(&world, &["build", "--out", "b.tar"]).spawn().unwrap();
    let others = image.blobs.len() - 1;
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while whole(&world).iter().filter(|blob| image.blobs.contains_key(blob)).count() < others {
        assert!(std::time::Instant::now() < until, "the others wait for the silent one");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_cache_that_cannot_be_written_to_is_named() {
    let (registry, mut world, image) = (FakeRegistry::start(), World::new(), app());
    image.store_in(&registry, "team/app", "v1");
    spec(&world, &format!("{}/team/app:v1", registry.host()), "");
    world.bundler(&["lock"]).ok();
    world.write("file", "");
    world.vars.insert("AIRLOCK_CACHE".into(), world.path("file/cache").into());
    let ran = build(&world).expect_exit(Exit::Unreachable);
    assert!(ran.stderr.contains("file/cache"), "{}", ran.stderr);
}

#[test]
fn images_of_a_list_are_taken_and_a_line_that_is_none_is_named() {
    let (registry, world) = (FakeRegistry::start(), World::new());
    let multi = index(&[("amd64", &app()), ("arm64", &image("arm64", &[layer(3, 1000)]))]);
    app().store_in(&registry, "team/app", "v1");
    multi.store_in(&registry, "team/multi", "v2");
    let host = registry.host();
    world.write(
        "images.txt",
        format!("# ours\n{host}/team/app:v1\n\n  docker://{host}/team/multi:v2 # both\n"),
    );
    world.spec("1.0.0", 1, "images: [{list: images.txt}]\n");
    build(&world).ok();
    holds(&world, &app());
    holds(&world, &multi);
    world.write("images.txt", format!("{host}/team/app:v1\n{host}/Team\n"));
    std::fs::remove_file(world.path("bundle.lock")).unwrap();
    let ran = build(&world).expect_exit(Exit::Usage);
    assert!(
        ran.stderr.contains("images.txt:2: ") && ran.stderr.contains("/Team` is not an image"),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_no_bundle_carries_is_refused_by_name() {
    let (digest, md5) = (Digest::of(b"{}"), "md5:99914b932bd37a50b983c5e7c90ae93b");
    let with = |digest: &str, more: &str| {
        format!(
            "{{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\",\"digest\":\"{digest}\",\"size\":2{more}}}"
        )
    };
    let plain = with(&digest.to_string(), "");
    let foreign = with(&digest.to_string(), ",\"urls\":[\"https://vendor.example.com/layer\"]");
    let manifest = |layer: &str| format!("{{\"schemaVersion\":2,\"config\":{plain},\"layers\":[{layer}]}}");
    for (media_type, body, words) in [
        (
            MEDIA_MANIFEST,
            "{\"schemaVersion\":1,\"name\":\"a\",\"fsLayers\":[]}".to_string(),
            "schema version 1 is not supported",
        ),
        (MEDIA_MANIFEST, manifest(&foreign), "is a foreign layer"),
        (MEDIA_MANIFEST, manifest(&with(md5, "")), "is not of sha256"),
        (
            MEDIA_INDEX,
            format!("{{\"schemaVersion\":2,\"config\":{plain},\"layers\":[],\"manifests\":[]}}"),
            "both an image manifest and an index",
        ),
    ] {
        let (registry, world) = (FakeRegistry::start(), World::new());
        registry.store_blob("team/app", b"{}");
        registry.store_manifest("team/app", "v1", media_type, body.as_bytes());
        spec(&world, &format!("{}/team/app:v1", registry.host()), "");
        let ran = world.bundler(&["lock"]).expect_exit(Exit::Damaged);
        assert!(ran.stderr.contains(words) && ran.stderr.contains("team/app:v1"), "{words}: {}", ran.stderr);
    }
}
