//! Counter-signed images: what `bundler build --countersign` writes, the real cosign takes on site, from a
//! registry that `installer apply` pushed to and from `installer serve`; and an auditor takes it with openssl
//! alone.

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

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use e2e::World;
use edge::Exit;
use ingredients::{Image, entries, image, index, layer, repository_at, tool, write_layout};
use manifests::Digest;
use manifests::companion::CompanionKind;
use onsite::{Running, installer, program};
use testkit::{FakeRegistry, RealRegistry, RealRegistryOptions, real_part};

// Pushed before any `files/…` is written: steps are in the order of these names.
const BASE: &str = "acme.example.com/team/base";
const MULTI: &str = "acme.example.com/team/multi";

/// One image for one platform, under two tags, and one for two platforms.
struct Pair {
    base: Image,
    amd64: Image,
    multi: Image,
}

fn pair() -> Pair {
    let base = image("amd64", &[layer(1, 3000)]);
    let (amd64, arm64) = (image("amd64", &[layer(1, 3000), layer(2, 100)]), image("arm64", &[layer(3, 100)]));
    let multi = index(&[("amd64", &amd64), ("arm64", &arm64)]);
    Pair { base, amd64, multi }
}

/// A world with trust, and a spec for these images.
fn world(pair: &Pair) -> World {
    let world = World::new();
    world.trust();
    write_layout(&world, "images", &[("base", &pair.base), ("multi", &pair.multi)]);
    world.spec("1.0.0", 1, &images());
    world
}

fn images() -> String {
    let entry =
        |source: &str, name: &str| format!("  - {{source: \"oci:images:{source}\", name: \"{name}\"}}\n");
    let entries = [("base", BASE, "v1"), ("base", BASE, "stable"), ("multi", MULTI, "v2")];
    let entries = entries.map(|(source, name, tag)| entry(source, &format!("{name}:{tag}")));
    format!("images:\n{}", entries.concat())
}

const BUILD: [&str; 5] = ["build", "--key", "keys/rel.key.pem", "--out", "b.tar"];
const APPLY: [&str; 3] = ["apply", "b.tar", "--yes"];

/// Builds with these keys as counter-signers.
fn build(world: &World, countersigners: &[&str]) -> e2e::Ran {
    let keys: Vec<String> = countersigners.iter().map(|name| format!("keys/{name}.key.pem")).collect();
    let more = keys.iter().flat_map(|key| ["--countersign", key]);
    let args: Vec<&str> = BUILD.into_iter().chain(more).collect();
    world.bundler(&args).ok()
}

fn countersigned() -> (World, Pair) {
    let pair = pair();
    let world = world(&pair);
    build(&world, &["rel"]);
    (world, pair)
}

fn target(world: &World, url: &str, more: &str) {
    let head = "apiVersion: airlock/v1\nkind: Site\nsite: lab\ntargets:\n";
    let registry = format!("  registry: {{url: \"{url}\", prefix: mirror/deep}}\n");
    world.write("site/site.yaml", format!("{head}{registry}{more}"));
}

fn mirrored(repository: &str) -> String {
    format!("mirror/deep/{repository}")
}

fn real(delete: bool) -> Option<RealRegistry> {
    RealRegistry::start(RealRegistryOptions { delete, ..RealRegistryOptions::default() })
}

fn signature_tag(of: &Digest) -> String {
    CompanionKind::CosignSignature.tag(of).unwrap()
}

fn tagged(url: &str, repository: &str, tag: &str) -> Option<Digest> {
    let found = repository_at(url, repository).head_manifest(&tag.parse().unwrap()).unwrap();
    found.map(|found| found.digest)
}

/// What cosign says of an image on a registry.
fn cosign_says(world: &World, cosign: &Path, key: &str, name: &str) -> Output {
    let verify = ["verify", "--insecure-ignore-tlog=true", "--allow-insecure-registry=true"];
    program(world, cosign, &[&verify[..], &["--key", key, name]].concat()).output().unwrap()
}

fn cosign_takes(world: &World, cosign: &Path, key: &str, name: &str) {
    let said = cosign_says(world, cosign, key, name);
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.success(), "{name}: {text}");
    assert!(text.contains("The signatures were verified against the specified public key"), "{name}: {text}");
}

fn cosign_objects(world: &World, cosign: &Path, key: &str, name: &str, words: &str) {
    let said = cosign_says(world, cosign, key, name);
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.status.success() && text.contains(words), "{name}: `{words}` is missing: {text}");
}

/// Every name that an admission controller may look an image up by.
fn names(place: &dyn Fn(&str) -> String, pair: &Pair) -> Vec<String> {
    let (base, multi) = (place(BASE), place(MULTI));
    vec![
        format!("{base}:v1"),
        format!("{base}:stable"),
        format!("{base}@{}", pair.base.root.digest),
        format!("{multi}:v2"),
        format!("{multi}@{}", pair.multi.root.digest),
        format!("{multi}@{}", pair.amd64.root.digest),
    ]
}

fn cosign_takes_all(world: &World, cosign: &Path, names: &[String]) {
    for name in names {
        cosign_takes(world, cosign, "keys/rel.pub.pem", name);
        cosign_objects(world, cosign, "keys/alice.pub.pem", name, "failed to verify signature");
    }
}

#[test]
fn cosign_takes_every_image_on_the_registry_that_an_apply_pushed_to() {
    let (Some(cosign), Some(registry)) = (real_part("cosign"), real(false)) else { return };
    let (world, pair) = countersigned();
    target(&world, &registry.url(), "");
    world.installer(&APPLY).ok();
    let place = |repository: &str| format!("{}/{}", registry.host(), mirrored(repository));
    cosign_takes_all(&world, &cosign, &names(&place, &pair));

    let storage = world.snapshot(registry.storage().to_str().unwrap());
    let again = world.installer(&["--output", "json", "apply", "b.tar", "--yes"]).ok().json();
    assert_eq!(again["plan"]["steps"], serde_json::json!([]));
    let after = world.snapshot(registry.storage().to_str().unwrap());
    assert_eq!(after, storage, "applying again pushed something");
}

/// The server, and its `127.0.0.1:PORT`.
fn serve(world: &World) -> (Running, String) {
    let mut command = installer(world, &["serve", "--listen", "127.0.0.1:0"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    let running = Running(child);
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let host = line.trim_end().strip_prefix("serving http://").and_then(|url| url.strip_suffix('/'));
    (running, host.unwrap_or_else(|| panic!("{line}")).to_string())
}

#[test]
fn cosign_takes_every_image_from_the_embedded_server() {
    let Some(cosign) = real_part("cosign") else { return };
    let (world, pair) = countersigned();
    world.installer(&APPLY).ok();
    let (_running, host) = serve(&world);
    cosign_takes_all(&world, &cosign, &names(&|repository| format!("{host}/{repository}"), &pair));
    let short = format!("{host}/team/multi:v2");
    cosign_takes(&world, &cosign, "keys/rel.pub.pem", &short);

    let url = format!("http://{host}");
    let tags = repository_at(&url, BASE).list_tags().unwrap();
    assert_eq!(tags, [&signature_tag(&pair.base.root.digest), "stable", "v1"]);
    assert_eq!(repository_at(&url, MULTI).list_tags().unwrap().len(), 4);
}

#[test]
fn without_countersign_cosign_finds_no_signatures_anywhere() {
    let (Some(cosign), Some(registry)) = (real_part("cosign"), real(false)) else { return };
    let pair = pair();
    let world = world(&pair);
    let built = build(&world, &[]);
    assert!(!built.stdout.contains("counter-signed"), "{}", built.stdout);
    target(&world, &registry.url(), "");
    world.installer(&APPLY).ok();
    let pushed = format!("{}/{}:v2", registry.host(), mirrored(MULTI));
    cosign_objects(&world, &cosign, "keys/rel.pub.pem", &pushed, "no signatures found");
    let (_running, host) = serve(&world);
    cosign_objects(&world, &cosign, "keys/rel.pub.pem", &format!("{host}/{MULTI}:v2"), "no signatures found");
}

#[test]
fn each_of_several_keys_is_enough_and_a_site_can_add_a_signature_of_its_own() {
    let (Some(cosign), Some(registry)) = (real_part("cosign"), real(false)) else { return };
    let pair = pair();
    let mut world = world(&pair);
    let built = build(&world, &["rel", "alice", "rel"]);
    assert!(built.stdout.contains("3 images counter-signed (4 signatures)"), "{}", built.stdout);
    target(&world, &registry.url(), "");
    world.installer(&APPLY).ok();
    let name = format!("{}/{}", registry.host(), mirrored(MULTI));
    let by_digest = format!("{name}@{}", pair.multi.root.digest);
    for key in ["keys/rel.pub.pem", "keys/alice.pub.pem"] {
        cosign_takes(&world, &cosign, key, &by_digest);
    }
    cosign_objects(&world, &cosign, "keys/bob.pub.pem", &by_digest, "failed to verify signature");

    world.vars.insert("COSIGN_PASSWORD".into(), "".into());
    let import = ["import-key-pair", "--key", "keys/bob.key.pem", "--output-key-prefix", "site-key"];
    onsite::output(&mut program(&world, &cosign, &import));
    let sign = ["sign", "--key", "site-key.key", "--tlog-upload=false", "--yes", &by_digest];
    onsite::output(&mut program(&world, &cosign, &sign));
    for key in ["rel", "alice", "bob"] {
        cosign_takes(&world, &cosign, &format!("keys/{key}.pub.pem"), &by_digest);
    }
    // The next apply would take the site's signature away, and says so before.
    let plan = world.installer(&["plan", "b.tar"]).ok().stdout;
    assert!(plan.contains("complete") && plan.contains("+3 signatures, 1 in place of others"), "{plan}");
}

// What is written.

#[test]
fn the_same_keys_and_images_give_the_same_archive() {
    let (world, _) = countersigned();
    let first = std::fs::read(world.path("b.tar")).unwrap();
    let lock = std::fs::read(world.path("bundle.lock")).unwrap();
    std::fs::remove_file(world.path("b.tar")).unwrap();
    build(&world, &["rel"]);
    assert!(std::fs::read(world.path("b.tar")).unwrap() == first, "the second archive differs");
    for order in [["alice", "bob"], ["bob", "alice"]] {
        std::fs::remove_file(world.path("b.tar")).unwrap();
        build(&world, &order);
        let _ = std::fs::rename(world.path("b.tar"), world.path(&format!("{}.tar", order[0])));
        world.write("b.tar", "");
    }
    let read = |name: &str| std::fs::read(world.path(name)).unwrap();
    assert!(read("alice.tar") == read("bob.tar"), "the order of the flags shows");
    assert_eq!(read("bundle.lock"), lock);
    assert!(!String::from_utf8(lock).unwrap().contains("companions"));
}

#[test]
fn build_and_inspect_tell_what_was_countersigned_and_a_bundle_without_says_nothing() {
    let pair = pair();
    let world = world(&pair);
    world.bundler(&["build", "--out", "plain.tar"]).ok();
    let args = [&["--output", "json"], &BUILD[..], &["--countersign", "keys/rel.key.pem"]].concat();
    let built = world.bundler(&args).ok().json();
    let keyid = built["signed_by"][0].as_str().unwrap().to_string();
    let expected = serde_json::json!({"images": 3, "companions": 4, "by": [keyid]});
    assert_eq!(built["countersigned"], expected);
    let shown = world.bundler(&["inspect", "b.tar"]).ok().stdout;
    let name = format!("{MULTI}:{}", signature_tag(&pair.amd64.root.digest));
    assert!(shown.contains(&name), "{shown}");
    let shown = world.installer(&["inspect", "b.tar"]).ok().stdout;
    assert!(shown.contains("+1 signature") && shown.contains("+3 signatures"), "{shown}");
    world.bundler(&["verify", "b.tar", "--trust", "root.json"]).ok();

    let (plain, with) = (entries(&world.path("plain.tar")), entries(&world.path("b.tar")));
    assert_eq!(plain["manifest.json"], with["manifest.json"], "docker load sees the images alone");
    assert!(!contains(&plain["inventory.json"], b"companions"));
}

#[test]
fn a_key_that_cannot_be_used_stops_the_build_before_anything_is_made() {
    let pair = pair();
    let world = world(&pair);
    let args = [&BUILD[..], &["--countersign", "keys/rel.pub.pem"]].concat();
    let ran = world.bundler(&args).expect_exit(Exit::Refused);
    assert!(ran.stderr.contains("rel.pub.pem"), "{}", ran.stderr);
    assert!(!world.path("bundle.lock").exists() && !world.path("b.tar").exists());
}

#[test]
fn skopeo_reads_a_signature_out_of_the_archive_by_its_name() {
    let Some(skopeo) = real_part("skopeo") else { return };
    let (world, pair) = countersigned();
    let tag = signature_tag(&pair.multi.root.digest);
    let source = format!("oci-archive:b.tar:{MULTI}:{tag}");
    let copy = ["--insecure-policy", "copy", "--preserve-digests", &source, "dir:out"];
    tool(&skopeo, &copy, world.dir());
    let manifest = std::fs::read(world.path("out/manifest.json")).unwrap();
    assert_eq!(
        entries(&world.path("b.tar"))[&format!("blobs/sha256/{}", Digest::of(&manifest).hex())],
        manifest
    );
    // An image beside it is still found by its own name.
    let source = format!("oci-archive:b.tar:{MULTI}:v2");
    let raw = tool(&skopeo, &["inspect", "--raw", &source], world.dir()).stdout;
    assert_eq!(raw, pair.multi.root_bytes());
}

/// The program of `docs/auditor.md`.
fn auditors_program() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/auditor.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once("```sh file=check-image.sh\n").unwrap();
    rest.split_once("```").unwrap().0.to_string()
}

#[test]
fn an_auditor_checks_a_signature_with_openssl_alone() {
    let (Some(_), Some(tar)) = (real_part("openssl"), real_part("tar")) else { return };
    let pair = pair();
    let world = world(&pair);
    build(&world, &["rel", "alice"]);
    std::fs::create_dir(world.path("out")).unwrap();
    tool(&tar, &["-xf", "b.tar", "-C", "out"], world.dir());
    world.write("check-image.sh", auditors_program());
    let check = |digest: &Digest, key: &str| {
        let mut sh = Command::new("sh");
        sh.args(["../check-image.sh", &digest.to_string(), &format!("../keys/{key}.pub.pem")]);
        let ran = sh.current_dir(world.path("out")).output().unwrap();
        (ran.status.success(), String::from_utf8_lossy(&ran.stdout).into_owned())
    };
    for digest in [&pair.base.root.digest, &pair.multi.root.digest, &pair.amd64.root.digest] {
        for key in ["rel", "alice"] {
            let (good, said) = check(digest, key);
            assert!(good && said.trim() == "Signature Verified Successfully", "{said}");
        }
        assert!(!check(digest, "bob").0, "a key that has not signed");
    }
    assert!(!check(&Digest::of(b"another"), "rel").0, "an image that is not there");
    // Another text under the good signature.
    let of = pair.base.root.digest.to_string();
    let is_payload = |bytes: &[u8]| bytes.starts_with(b"{\"critical\"") && contains(bytes, of.as_bytes());
    let all = entries(&world.path("b.tar"));
    let (name, payload) = all.iter().find(|(_, bytes)| is_payload(bytes)).unwrap();
    let text = String::from_utf8(payload.clone()).unwrap().replace("acme", "evil");
    std::fs::write(world.path("out").join(name), text).unwrap();
    assert!(!check(&pair.base.root.digest, "rel").0, "another text");
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

// How it is applied and taken back.

#[test]
fn a_signature_is_there_before_the_tag_of_its_image_and_after_its_manifest() {
    let (world, pair) = countersigned();
    let registry = FakeRegistry::start();
    target(&world, &registry.url(), "");
    let plan = world.installer(&["plan", "b.tar"]).ok().stdout;
    for words in [format!("{BASE}:v1, +1 signature)"), format!("{MULTI}:v2, +3 signatures)")] {
        assert!(plan.contains(&words), "{plan}");
    }
    world.installer(&APPLY).ok();
    let put: Vec<String> = registry
        .requests()
        .into_iter()
        .filter(|request| request.method == "PUT" && request.path.contains("/manifests/"))
        .filter(|request| request.path.contains(MULTI))
        .map(|request| request.path.rsplit('/').next().unwrap().to_string())
        .collect();
    let place = |name: &str| {
        put.iter().position(|found| found == name).unwrap_or_else(|| panic!("{name} is not in {put:?}"))
    };
    let root = pair.multi.root.digest;
    let signature = signature_tag(&root);
    assert!(place(&root.to_string()) < place(&signature) && place(&signature) < place("v2"), "{put:?}");
    assert_eq!(place("v2"), put.len() - 1, "{put:?}");
}

#[test]
fn an_image_that_is_there_gets_the_signatures_that_it_lacks() {
    let Some(cosign) = real_part("cosign") else { return };
    let Some(registry) = real(false) else { return };
    let pair = pair();
    let world = world(&pair);
    build(&world, &[]);
    target(&world, &registry.url(), "");
    world.installer(&APPLY).ok();
    world.spec("1.0.1", 2, &images());
    std::fs::remove_file(world.path("bundle.lock")).unwrap();
    std::fs::remove_file(world.path("b.tar")).unwrap();
    build(&world, &["rel"]);
    let ran = world.installer(&APPLY).ok();
    assert!(ran.stdout.contains("complete") || ran.stderr.contains("complete"), "{ran:?}");
    let place = |repository: &str| format!("{}/{}", registry.host(), mirrored(repository));
    cosign_takes_all(&world, &cosign, &names(&place, &pair));
}

/// A spec whose last step fails after the plan was made.
fn that_fails(registry: &RealRegistry) -> (World, Pair) {
    let pair = pair();
    let world = world(&pair);
    world.write("fails.sh", "#!/bin/sh\n[ $AIRLOCK_STEP = undo ]\n");
    let fails = "scripts: [{source: fails.sh, undo: fails.sh, when: after}]\n";
    world.spec("1.0.0", 1, &format!("{}{fails}", images()));
    build(&world, &["rel"]);
    target(&world, &registry.url(), "  scripts: {}\n");
    (world, pair)
}

#[test]
fn an_apply_that_fails_takes_the_signatures_away_again() {
    let Some(registry) = real(true) else { return };
    let (world, pair) = that_fails(&registry);
    let _ = world.installer(&APPLY).expect_exit(Exit::Undone);
    for (repository, image, tag) in
        [(BASE, &pair.base, "v1"), (MULTI, &pair.multi, "v2"), (MULTI, &pair.amd64, "v2")]
    {
        let repository = mirrored(repository);
        assert_eq!(tagged(&registry.url(), &repository, &signature_tag(&image.root.digest)), None);
        assert_eq!(tagged(&registry.url(), &repository, tag), None);
    }
}

#[test]
fn an_apply_that_fails_puts_back_the_signatures_that_were_there() {
    let Some(registry) = real(false) else { return };
    let (world, pair) = that_fails(&registry);
    // Everything is there, with signatures of somebody else.
    let others = image("none", &[layer(9, 10)]);
    let images = [(BASE, &pair.base, "v1"), (BASE, &pair.base, "stable"), (MULTI, &pair.multi, "v2")];
    for (repository, image, tag) in images {
        image.push(&registry.url(), &mirrored(repository), tag);
        for (descriptor, _) in &image.manifests {
            others.push(&registry.url(), &mirrored(repository), &signature_tag(&descriptor.digest));
        }
    }
    let plan = world.installer(&["plan", "b.tar"]).ok().stdout;
    assert!(plan.contains("+3 signatures, 3 in place of others"), "{plan}");
    let _ = world.installer(&APPLY).expect_exit(Exit::Undone);
    for (repository, image, tag) in images {
        let repository = mirrored(repository);
        assert_eq!(tagged(&registry.url(), &repository, tag), Some(image.root.digest));
        for (descriptor, _) in &image.manifests {
            let found = tagged(&registry.url(), &repository, &signature_tag(&descriptor.digest));
            assert_eq!(found, Some(others.root.digest));
        }
    }
}

#[test]
fn a_registry_that_does_not_delete_keeps_the_signatures_and_the_message_lists_them() {
    let Some(registry) = real(false) else { return };
    let (world, pair) = that_fails(&registry);
    let ran = world.installer(&APPLY).expect_exit(Exit::NotUndone);
    let mirror = mirrored(MULTI);
    for (descriptor, _) in &pair.multi.manifests {
        let name = format!("{mirror}:{}", signature_tag(&descriptor.digest));
        assert!(ran.stderr.contains(&name), "{}", ran.stderr);
    }
    assert!(ran.stderr.contains(&format!("{mirror}:v2")) && ran.stderr.contains(" stay"), "{}", ran.stderr);
}
