//! Registry to registry across the gap: what was pulled on one side is what is pushed on the other, by
//! digest, each byte once; and what an apply has moved is moved back when a later step fails.

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

use std::collections::BTreeMap;

use e2e::World;
use edge::Exit;
use ingredients::{Image, image, index, layer, repository_at, tool};
use manifests::Digest;
use testkit::fake_registry::Traffic;
use testkit::{FakeRegistry, Fault, RealRegistry, RealRegistryOptions, real_part};

/// Two images that share a layer; one of them is for two platforms.
struct Pair {
    base: Image,
    multi: Image,
    shared: Digest,
}

fn pair() -> Pair {
    let shared = layer(1, 300_000);
    let base = image("amd64", &[shared.clone(), layer(2, 1000)]);
    let amd64 = image("amd64", &[shared.clone(), layer(3, 2000)]);
    let arm64 = image("arm64", &[layer(4, 2000), layer(5, 3000)]);
    let multi = index(&[("amd64", &amd64), ("arm64", &arm64)]);
    let shared = Digest::of(&ingredients::gzip(&shared));
    assert!(base.blobs.contains_key(&shared) && multi.blobs.contains_key(&shared));
    Pair { base, multi, shared }
}

impl Pair {
    fn images(&self) -> [(&'static str, &'static str, &Image); 2] {
        [("team/base", "v1", &self.base), ("team/multi", "v2", &self.multi)]
    }

    fn blobs(&self) -> BTreeMap<Digest, Vec<u8>> {
        self.base.blobs.clone().into_iter().chain(self.multi.blobs.clone()).collect()
    }
}

fn site(world: &World, url: &str, more: &str) {
    world.write(
        "site/site.yaml",
        format!("apiVersion: airlock/v1\nkind: Site\nsite: lab\ntargets:\n  registry: {{url: \"{url}\", prefix: mirror}}\n{more}"),
    );
}

/// `bundle.yaml` for both images of the registry at `host`.
fn both_from(world: &World, host: &str) {
    let images = format!("images: [\"docker://{host}/team/base:v1\", \"docker://{host}/team/multi:v2\"]\n");
    world.spec("1.0.0", 1, &images);
}

/// Where a repository of the registry at `host` is mirrored.
fn mirrored(host: &str, repository: &str) -> String {
    format!("mirror/{}/{repository}", host.replace(':', "-"))
}

fn real(delete: bool) -> Option<RealRegistry> {
    RealRegistry::start(RealRegistryOptions { delete, ..RealRegistryOptions::default() })
}

/// A world with trust, and both images of a fake registry in a signed bundle.
fn bundled(pair: &Pair) -> (World, FakeRegistry) {
    let (world, source) = (World::new(), FakeRegistry::start());
    world.trust();
    for (repository, tag, image) in pair.images() {
        image.store_in(&source, repository, tag);
    }
    both_from(&world, &source.host());
    world.bundler(&["build", "--key", "keys/rel.key.pem", "--out", "b.tar"]).ok();
    (world, source)
}

const APPLY: [&str; 3] = ["apply", "b.tar", "--yes"];

#[test]
fn images_cross_from_one_real_registry_to_another_with_every_digest_and_media_type_kept() {
    let (Some(source), Some(target)) = (real(false), real(false)) else { return };
    let (world, pair) = (World::new(), pair());
    world.trust();
    for (repository, tag, image) in pair.images() {
        image.push(&source.url(), repository, tag);
    }
    both_from(&world, source.host());
    world.bundler(&["build", "--key", "keys/rel.key.pem", "--out", "b.tar"]).ok();
    site(&world, &target.url(), "");
    world.installer(&APPLY).ok();

    for (repository, tag, image) in pair.images() {
        let mirror = mirrored(source.host(), repository);
        let place = repository_at(&target.url(), &mirror);
        let tagged = place.get_manifest(&tag.parse().unwrap()).unwrap();
        assert_eq!((tagged.digest, &tagged.media_type), (image.root.digest, &image.root.media_type));
        for (descriptor, bytes) in &image.manifests {
            let found = place.get_manifest(&descriptor.digest.into()).unwrap();
            assert_eq!((&found.bytes, &found.media_type), (bytes, &descriptor.media_type));
        }
        for (digest, bytes) in &image.blobs {
            let mut found = Vec::new();
            let mut blob = place.open_blob(digest, bytes.len() as u64).unwrap();
            std::io::Read::read_to_end(&mut blob, &mut found).unwrap();
            assert_eq!(&found, bytes);
        }
        skopeo_agrees(
            &format!("{}/{repository}:{tag}", source.host()),
            &format!("{}/{mirror}:{tag}", target.host()),
            image,
        );
    }

    let storage = world.snapshot(target.storage().to_str().unwrap());
    let again = world.installer(&["--output", "json", "apply", "b.tar", "--yes"]).ok().json();
    assert_eq!(again["plan"]["steps"], serde_json::json!([]));
    assert_eq!(
        world.snapshot(target.storage().to_str().unwrap()),
        storage,
        "applying again pushed something"
    );
}

fn skopeo_agrees(from: &str, to: &str, image: &Image) {
    let Some(skopeo) = real_part("skopeo") else { return };
    let look = |arguments: &[&str], place: &str| {
        let place = format!("docker://{place}");
        let arguments = [&["inspect", "--tls-verify=false"], arguments, &[&place]].concat();
        tool(&skopeo, &arguments, std::path::Path::new("/")).stdout
    };
    assert_eq!(look(&["--raw"], to), image.root_bytes());
    let seen = |place: &str| -> serde_json::Value { serde_json::from_slice(&look(&[], place)).unwrap() };
    let (from, to) = (seen(from), seen(to));
    for key in ["Digest", "Architecture", "Layers"] {
        assert_eq!(from[key], to[key], "{key}");
    }
}

#[test]
fn lock_and_build_read_each_blob_and_each_manifest_once_from_the_network() {
    let pair = pair();
    let (world, source) = bundled(&pair);
    for (digest, bytes) in pair.blobs() {
        let traffic = source.traffic(&digest);
        assert_eq!((traffic.reads, traffic.bytes_sent), (1, bytes.len() as u64), "{digest}");
    }
    let manifests = pair.base.manifests.len() + pair.multi.manifests.len();
    // What might be attached to them is asked for by tags of its own.
    let attached = source.count("GET", "/manifests/sha256-");
    assert_eq!(source.count("GET", "/manifests/") - attached, manifests);

    let asked = source.requests().len();
    world.bundler(&["inspect", "b.tar"]).ok();
    world.bundler(&["verify", "b.tar", "--trust", "root.json"]).ok();
    assert_eq!(source.requests().len(), asked, "only lock and build may use the network");
}

#[test]
fn the_archive_holds_the_layer_that_two_images_share_once() {
    let pair = pair();
    let (world, _source) = bundled(&pair);
    let entries = ingredients::entries(&world.path("b.tar"));
    for (digest, bytes) in pair.blobs() {
        assert_eq!(entries[&format!("blobs/sha256/{}", digest.hex())], bytes);
    }
}

#[test]
fn a_target_registry_gets_each_blob_once_and_a_shared_one_by_mounting_it() {
    let pair = pair();
    let (world, source) = bundled(&pair);
    let target = FakeRegistry::start();
    site(&world, &target.url(), "");
    world.installer(&APPLY).ok();
    for (digest, bytes) in pair.blobs() {
        let Traffic { writes, bytes_received, .. } = target.traffic(&digest);
        assert_eq!((writes, bytes_received), (1, bytes.len() as u64), "{digest}");
    }
    let mounts = target.requests().into_iter().filter(|request| request.query("mount").is_some());
    let mounts: Vec<_> =
        mounts.map(|request| (request.path.clone(), request.query("mount").unwrap().to_string())).collect();
    let place = format!("/v2/{}/blobs/uploads/", mirrored(&source.host(), "team/multi"));
    assert!(mounts.contains(&(place, pair.shared.to_string())), "{mounts:?}");
    assert_eq!(target.open_uploads(), 0);
    for (repository, tag, image) in pair.images() {
        let found = target.manifest(&mirrored(&source.host(), repository), tag).unwrap();
        assert_eq!(found, (image.root.media_type.clone(), image.root_bytes().to_vec()));
    }

    let before = target.requests().len();
    world.installer(&APPLY).ok();
    let later = target.requests().split_off(before);
    assert!(later.iter().all(|request| matches!(request.method.as_str(), "GET" | "HEAD")), "{later:?}");
}

#[test]
fn a_mount_is_asked_only_of_repositories_that_have_the_blob() {
    let pair = pair();
    let (world, _source) = bundled(&pair);
    let target = FakeRegistry::start();
    site(&world, &target.url(), "");
    world.installer(&APPLY).ok();
    let asked = |request: &&testkit::Request| request.query("mount").is_some();
    let requests = target.requests();
    let needless: Vec<_> = requests
        .iter()
        .filter(asked)
        .filter(|request| request.query("mount") != Some(&pair.shared.to_string()))
        .map(|request| request.query("mount"))
        .collect();
    assert!(needless.is_empty(), "mounts that cannot succeed: {needless:?}");
}

#[test]
fn what_an_image_that_is_in_place_already_has_is_mounted_from_there() {
    let pair = pair();
    let (world, source) = bundled(&pair);
    let target = FakeRegistry::start();
    site(&world, &target.url(), "");
    let mirror = mirrored(&source.host(), "team/base");
    pair.base.push(&target.url(), &mirror, "v1");
    world.installer(&APPLY).ok();
    assert_eq!(target.traffic(&pair.shared).writes, 1, "by this test, and not by the apply");
    let requests = target.requests();
    let mounts: Vec<_> =
        requests.iter().filter_map(|asked| asked.query("mount").zip(asked.query("from"))).collect();
    assert_eq!(mounts, [(pair.shared.to_string().as_str(), mirror.as_str())]);
}

#[test]
fn a_registry_that_does_not_mount_gets_the_shared_layer_in_each_repository() {
    let pair = pair();
    let (world, source) = bundled(&pair);
    let target = FakeRegistry::start();
    target.fault(Fault::NoMount);
    site(&world, &target.url(), "");
    world.installer(&APPLY).ok();
    assert_eq!(target.traffic(&pair.shared).writes, 2);
    assert_eq!(
        target.open_uploads(),
        0,
        "an upload that the registry began instead of a mount was left open"
    );
    assert!(target.manifest(&mirrored(&source.host(), "team/multi"), "v2").is_some());
}

#[test]
fn an_image_that_is_named_by_digest_is_pushed_by_digest_and_gets_no_tag() {
    let (world, source, target, pair) = (World::new(), FakeRegistry::start(), FakeRegistry::start(), pair());
    world.trust();
    pair.multi.store_in(&source, "team/multi", "v2");
    let name = format!("{}/team/multi@{}", source.host(), pair.multi.root.digest);
    world.spec("1.0.0", 1, &format!("images: [\"docker://{name}\"]\n"));
    world.bundler(&["build", "--key", "keys/rel.key.pem", "--out", "b.tar"]).ok();
    site(&world, &target.url(), "");
    world.installer(&APPLY).ok();
    let mirror = mirrored(&source.host(), "team/multi");
    let found = target.manifest(&mirror, &pair.multi.root.digest.to_string()).unwrap();
    assert_eq!(found, (pair.multi.root.media_type.clone(), pair.multi.root_bytes().to_vec()));
    let tags = repository_at(&target.url(), &mirror).list_tags().unwrap();
    assert!(tags.is_empty(), "{tags:?}");
    let again = world.installer(&["--output", "json", "apply", "b.tar", "--yes"]).ok().json();
    assert_eq!(again["plan"]["steps"], serde_json::json!([]));
}

/// Puts another image where the bundle's first one will go.
fn older(target: &str, mirror: &str) -> Digest {
    let older = image("amd64", &[layer(9, 500)]);
    older.push(target, mirror, "v1");
    older.root.digest
}

fn tagged(url: &str, mirror: &str, tag: &str) -> Option<Digest> {
    let found = repository_at(url, mirror).head_manifest(&tag.parse().unwrap()).unwrap();
    found.map(|found| found.digest)
}

#[test]
fn when_the_second_image_is_refused_the_tag_of_the_first_names_its_old_image_again() {
    let pair = pair();
    let (world, source) = bundled(&pair);
    let target = FakeRegistry::start();
    let mirror = mirrored(&source.host(), "team/base");
    let old = older(&target.url(), &mirror);
    target.fault_on(Fault::Status(403), None, "PUT", "team/multi/manifests/");
    site(&world, &target.url(), "");
    let before = world.snapshot("site/ledger");
    let ran = world.installer(&APPLY).expect_exit(Exit::Undone);
    assert!(ran.stderr.contains("team/multi") && ran.stderr.contains("denied"), "{}", ran.stderr);
    assert_eq!(tagged(&target.url(), &mirror, "v1"), Some(old));
    assert_eq!(world.snapshot("site/ledger"), before);

    target.clear_faults();
    world.acknowledge();
    world.installer(&APPLY).ok();
    assert_eq!(tagged(&target.url(), &mirror, "v1"), Some(pair.base.root.digest));
}

/// A spec whose last step fails after the plan was made.
fn with_a_step_that_fails(world: &World, host: &str) {
    world.write("config/a", "x");
    let rest = format!(
        "images: [\"docker://{host}/team/base:v1\"]\nfiles: [{{source: config, dest: /etc/demo}}]\n{}",
        onsite::a_step_that_fails(world)
    );
    world.spec("1.0.0", 1, &rest);
    world.bundler(&["build", "--key", "keys/rel.key.pem", "--out", "b.tar"]).ok();
}

fn real_journey_that_fails(delete: bool) -> Option<(World, RealRegistry, String, Image)> {
    let (target, world, source) = (real(delete)?, World::new(), FakeRegistry::start());
    let base = pair().base;
    base.store_in(&source, "team/base", "v1");
    world.trust();
    with_a_step_that_fails(&world, &source.host());
    let root = world.path("root");
    std::fs::create_dir(&root).unwrap();
    site(&world, &target.url(), &format!("  files: {{root: {}}}\n  scripts: {{}}\n", root.display()));
    Some((world, target, mirrored(&source.host(), "team/base"), base))
}

#[test]
fn a_real_registry_has_its_old_tag_back_after_a_later_step_has_failed() {
    let Some((world, target, mirror, _)) = real_journey_that_fails(false) else { return };
    let old = older(&target.url(), &mirror);
    let ran = world.installer(&APPLY).expect_exit(Exit::Undone);
    assert!(
        ran.stderr.contains("everything was undone") && ran.stderr.contains("script fails"),
        "{}",
        ran.stderr
    );
    assert_eq!(tagged(&target.url(), &mirror, "v1"), Some(old));
    assert!(world.snapshot("root").is_empty(), "directories that were made for the file are still there");
}

#[test]
fn a_real_registry_that_deletes_has_no_tag_that_was_not_there_before() {
    let Some((world, target, mirror, base)) = real_journey_that_fails(true) else { return };
    let _ = world.installer(&APPLY).expect_exit(Exit::Undone);
    assert_eq!(tagged(&target.url(), &mirror, "v1"), None);
    assert_eq!(tagged(&target.url(), &mirror, &base.root.digest.to_string()), None);
}

#[test]
fn a_real_registry_that_does_not_delete_keeps_the_tag_and_the_message_says_which() {
    let Some((world, target, mirror, base)) = real_journey_that_fails(false) else { return };
    let ran = world.installer(&APPLY).expect_exit(Exit::NotUndone);
    for text in ["does not delete", &target.url(), &format!("{mirror}:v1 stays"), "hint:"] {
        assert!(ran.stderr.contains(text), "{text}: {}", ran.stderr);
    }
    assert_eq!(tagged(&target.url(), &mirror, "v1"), Some(base.root.digest));
}

/// Lets the registry fall silent once its image is in place.
struct FallsSilent<'a>(&'a FakeRegistry);

impl installer::apply::Watch for FallsSilent<'_> {
    fn at(&self, moment: &'static str, step: usize) -> Result<(), installer::apply::PowerCut> {
        if (moment, step) == ("done", 0) {
            self.0.fault(Fault::Hangup);
        }
        Ok(())
    }
}

#[test]
fn an_undo_that_a_registry_has_missed_is_done_once_the_registry_is_back() {
    let (world, source, target) = (World::new(), FakeRegistry::start(), FakeRegistry::start());
    pair().base.store_in(&source, "team/base", "v1");
    world.trust();
    with_a_step_that_fails(&world, &source.host());
    std::fs::create_dir(world.path("root")).unwrap();
    site(
        &world,
        &target.url(),
        &format!("  files: {{root: {}}}\n  scripts: {{}}\n", world.path("root").display()),
    );
    let mirror = mirrored(&source.host(), "team/base");
    let old = older(&target.url(), &mirror);

    let outcome =
        onsite::with_run(&world, &world.path("b.tar"), &FallsSilent(&target), |run, plan| run.start(&plan));
    let Err(installer::apply::ApplyError::NotUndone { stuck, .. }) = outcome else { panic!("{outcome:?}") };
    assert!(stuck.len() == 1 && stuck[0].contains(&mirror), "{stuck:?}");
    let status = world.installer(&["--output", "json", "status"]).ok().json();
    assert!(status["interrupted"].is_string(), "the way back is still open: {status}");

    target.clear_faults();
    assert_ne!(tagged(&target.url(), &mirror, "v1"), Some(old));
    let ran = world.installer(&["apply", "no-bundle-at-hand.tar", "--yes"]).expect_exit(Exit::Damaged);
    assert!(ran.stderr.contains("no-bundle-at-hand"), "{}", ran.stderr);
    assert_eq!(tagged(&target.url(), &mirror, "v1"), Some(old), "an undo needs no bundle");
    world.installer(&["audit", "verify"]).ok();
}

#[test]
fn a_target_registry_that_is_not_there_or_wants_a_login_stops_the_apply_before_any_change() {
    let pair = pair();
    let (world, _source) = bundled(&pair);
    let target = FakeRegistry::start();
    target.fault(Fault::Status(401));
    let closed = { FakeRegistry::start().url() };
    for (url, id, text) in
        [(target.url(), "registry/login", "asks for a login"), (closed, "registry/reachable", "cannot reach")]
    {
        site(&world, &url, "");
        let ran = world.installer(&APPLY).expect_exit(Exit::NotReady);
        assert!(ran.stderr.contains(text) && ran.stderr.contains(id), "{}", ran.stderr);
    }
    assert!(target.requests().iter().all(|request| request.method == "GET"));
}

/// The login of [`testkit::REAL_USER`], as `docker login` leaves it.
fn log_in(world: &mut World, host: &str, user_and_password: &str) {
    use base64::Engine;
    let auth = base64::engine::general_purpose::STANDARD.encode(user_and_password);
    let file = world.write("auth.json", format!("{{\"auths\":{{\"{host}\":{{\"auth\":\"{auth}\"}}}}}}"));
    world.vars.insert("REGISTRY_AUTH_FILE".into(), file.into());
}

#[test]
fn a_registry_with_a_certificate_of_the_site_and_a_login_takes_images_once_it_knows_us() {
    let options = RealRegistryOptions { tls: true, htpasswd: true, delete: true };
    let Some(target) = RealRegistry::start(options) else { return };
    let pair = pair();
    let (mut world, source) = bundled(&pair);
    world.write("site/ca.pem", std::fs::read(target.ca_path()).unwrap());
    let host = target.host().to_string();
    let site = |world: &World, keys: &str| {
        let target = format!("registry: {{url: \"https://{host}\", prefix: mirror{keys}}}");
        onsite::site_yaml(world, &[target]);
    };
    let refused = |world: &World, words: &[&str]| {
        let ran = world.installer(&APPLY).expect_exit(Exit::NotReady);
        onsite::says(&ran, words);
    };
    site(&world, ", auth: docker-config");
    refused(&world, &["registry/tls", "certificate"]);
    site(&world, ", ca: ca.pem");
    refused(&world, &["registry/login", "asks for a login"]);
    site(&world, ", ca: ca.pem, auth: docker-config");
    log_in(&mut world, &host, "airlock:sesame");
    refused(&world, &["registry/login", "auth.json"]);
    log_in(&mut world, &host, &format!("{}:{}", testkit::REAL_USER, testkit::REAL_PASSWORD));
    let ran = world.installer(&APPLY).ok();
    assert!(!format!("{}{}", ran.stdout, ran.stderr).contains(testkit::REAL_PASSWORD));
    let again = world.installer(&["--output", "json", "apply", "b.tar", "--yes"]).ok().json();
    assert_eq!(again["plan"]["steps"], serde_json::json!([]));
    let path = format!("mirror/{}/team/base", source.host().replace(':', "-"));
    let tag = target
        .storage()
        .join(format!("docker/registry/v2/repositories/{path}/_manifests/tags/v1/current/link"));
    assert_eq!(std::fs::read_to_string(tag).unwrap(), pair.base.root.digest.to_string());

    site(&world, ", ca: gone.pem");
    refused(&world, &["registry/tls", "gone.pem", "No such file"]);
}

#[test]
fn a_tag_that_names_the_image_already_is_left_alone_where_tags_cannot_be_moved() {
    let pair = pair();
    let (world, source) = bundled(&pair);
    std::fs::remove_file(world.path("b.tar")).unwrap();
    let keys = ["--key", "keys/rel.key.pem", "--countersign", "keys/rel.key.pem"];
    world.bundler(&[&["build", "--out", "b.tar"], &keys[..]].concat()).ok();
    let target = FakeRegistry::start();
    let mirror = mirrored(&source.host(), "team/base");
    pair.base.store_in(&target, &mirror, "v1");
    target.fault_on(Fault::Status(409), None, "PUT", "team/base/manifests/v1");
    site(&world, &target.url(), "");
    let ran = world.installer(&APPLY).ok();
    assert!(ran.stdout.contains("complete"), "{}", ran.stdout);
    assert_eq!(tagged(&target.url(), &mirror, "v1"), Some(pair.base.root.digest));
}

// ---- many at once -------------------------------------------------------------------------------------

/// Eight images on one base, in a signed bundle, and the path below which they are mirrored.
fn eight() -> (World, Vec<Image>, String) {
    let (world, source) = (World::new(), FakeRegistry::start());
    world.trust();
    let base = layer(100, 200_000);
    let images: Vec<Image> =
        (0..8).map(|seed| image("amd64", &[base.clone(), layer(seed, 50_000)])).collect();
    let mut spec = "images:\n".to_string();
    for (number, image) in images.iter().enumerate() {
        image.store_in(&source, &format!("app{number}"), "v1");
        spec.push_str(&format!("  - \"docker://{}/app{number}:v1\"\n", source.host()));
    }
    world.spec("1.0.0", 1, &spec);
    world.bundler(&["build", "--key", "keys/rel.key.pem", "--out", "b.tar"]).ok();
    let below = mirrored(&source.host(), "app");
    (world, images, below)
}

/// How often a blob was sent, at least and at most. No byte was sent without the rest of its blob.
fn sent(target: &FakeRegistry, images: &[Image]) -> (u64, u64) {
    let blobs: BTreeMap<Digest, Vec<u8>> = images.iter().flat_map(|image| image.blobs.clone()).collect();
    for (digest, bytes) in &blobs {
        let traffic = target.traffic(digest);
        assert_eq!(traffic.bytes_received, traffic.writes * bytes.len() as u64, "{digest}");
    }
    let writes = || blobs.keys().map(|digest| target.traffic(digest).writes);
    (writes().min().unwrap(), writes().max().unwrap())
}

/// How often a manifest was put, by digest or by tag.
fn named(target: &FakeRegistry) -> usize {
    target
        .requests()
        .iter()
        .filter(|asked| asked.method == "PUT" && asked.path.contains("/manifests/"))
        .count()
}

#[test]
fn eight_images_are_pushed_at_once_over_a_few_connections_with_each_blob_sent_once_and_each_tag_last() {
    let (world, images, below) = eight();
    let target = FakeRegistry::start();
    site(&world, &target.url(), "");
    world.installer(&APPLY).ok();
    assert!(target.connections() <= 5, "{} connections", target.connections());
    assert_eq!(sent(&target, &images), (1, 1));
    let asked = target.requests();
    let first_manifest =
        asked.iter().position(|asked| asked.method == "PUT" && asked.path.contains("/manifests/"));
    let last_blob = asked.iter().rposition(|asked| asked.path.contains("/blobs/"));
    assert!(last_blob < first_manifest, "a manifest was put before all blobs were there");
    let last_manifest =
        asked.iter().rposition(|asked| asked.method == "PUT" && asked.path.contains("/manifests/sha256:"));
    let first_tag = asked.iter().position(|asked| asked.method == "PUT" && asked.path.ends_with("/v1"));
    assert!(last_manifest < first_tag, "a tag was put before all manifests were there");
    for (number, image) in images.iter().enumerate() {
        assert_eq!(tagged(&target.url(), &format!("{below}{number}"), "v1"), Some(image.root.digest));
    }
}

#[test]
fn when_one_blob_of_many_is_refused_the_others_end_nothing_is_tagged_and_the_journal_takes_all_of_it_back() {
    let (world, images, below) = eight();
    let target = FakeRegistry::start();
    let old = older(&target.url(), &format!("{below}0"));
    let before = named(&target);
    for refused in ["app3/blobs/uploads/", "app6/blobs/uploads/"] {
        target.fault_on(Fault::Status(403), None, "PUT", refused);
    }
    site(&world, &target.url(), "");
    let ran = world.installer(&APPLY).expect_exit(Exit::Undone);
    let mut blobs = images[3].blobs.keys().map(|digest| format!("blob {digest}"));
    assert!(blobs.any(|blob| ran.stderr.contains(&blob)) && ran.stderr.contains("app3"), "{}", ran.stderr);
    assert!(ran.stderr.contains("step 4 of "), "of two the first in the plan is told: {}", ran.stderr);
    assert_eq!(named(&target), before, "a manifest or a tag was put");
    assert_eq!(tagged(&target.url(), &format!("{below}0"), "v1"), Some(old));
    onsite::audit_holds(&world);

    target.clear_faults();
    world.acknowledge();
    world.installer(&APPLY).ok();
    assert!(sent(&target, &images).0 >= 1);
    let again = images.iter().take(3).flat_map(|image| image.blobs.keys());
    assert!(
        again.into_iter().all(|digest| target.traffic(digest).writes == 1),
        "what is there is not sent again"
    );
    for (number, image) in images.iter().enumerate() {
        assert_eq!(tagged(&target.url(), &format!("{below}{number}"), "v1"), Some(image.root.digest));
    }
}

#[test]
fn when_the_tag_of_one_image_of_many_is_refused_the_tags_that_were_moved_name_what_they_named() {
    let (world, images, below) = eight();
    let target = FakeRegistry::start();
    let old = older(&target.url(), &format!("{below}0"));
    target.fault_on(Fault::Status(403), None, "PUT", "app5/manifests/v1");
    site(&world, &target.url(), "");
    let ran = world.installer(&APPLY).expect_exit(Exit::Undone);
    assert!(ran.stderr.contains("step 6 of ") && ran.stderr.contains("app5"), "{}", ran.stderr);
    assert_eq!(tagged(&target.url(), &format!("{below}0"), "v1"), Some(old));
    for number in 1..images.len() {
        assert_eq!(tagged(&target.url(), &format!("{below}{number}"), "v1"), None, "{number}");
    }
}

#[test]
fn a_connection_that_is_cut_in_the_middle_of_a_blob_costs_no_byte_twice_where_the_registry_keeps_what_came() {
    let (world, images, _) = eight();
    let target = FakeRegistry::start();
    target.fault_on(Fault::CutUploadAfter(20_000), Some(1), "PUT", "app4/blobs/uploads/");
    target.fault_on(Fault::CutUploadAfter(150_000), Some(1), "PUT", "app0/blobs/uploads/");
    site(&world, &target.url(), "");
    world.installer(&APPLY).ok();
    assert_eq!(sent(&target, &images), (1, 1));
    assert_eq!(target.open_uploads(), 0);
}

#[test]
fn many_images_go_to_a_real_registry_at_once_and_a_second_apply_sends_nothing() {
    let Some(target) = real(true) else { return };
    let (world, images, below) = eight();
    site(&world, &target.url(), "");
    world.installer(&APPLY).ok();
    for (number, image) in images.iter().enumerate() {
        assert_eq!(tagged(&target.url(), &format!("{below}{number}"), "v1"), Some(image.root.digest));
    }
    let storage = world.snapshot(target.storage().to_str().unwrap());
    let again = world.installer(&["--output", "json", "apply", "b.tar", "--yes"]).ok().json();
    assert_eq!(again["plan"]["steps"], serde_json::json!([]));
    assert_eq!(world.snapshot(target.storage().to_str().unwrap()), storage);
}
