//! What an image's publisher has attached to it: signatures, attestations, bills of materials and referrers are
//! found, checked where somebody asks for it, carried, pushed and put back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

mod ingredients;

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use e2e::{Ran, World};
use edge::Exit;
use ingredients::{Image, image, index, layer, repository_at, to_json, tool, write_layout};
use manifests::companion::{ANNOTATION_SIGNATURE, CompanionKind, MEDIA_SIMPLE_SIGNING};
use manifests::oci::{EMPTY_CONFIG, MEDIA_CONFIG, MEDIA_EMPTY, MEDIA_MANIFEST};
use manifests::{Descriptor, Digest};
use serde_json::{Value, json};
use testkit::{FakeRegistry, Fault, RealRegistry, RealRegistryOptions, real_part};

const PATH: &str = "team/app";

struct Multi {
    amd64: Image,
    arm64: Image,
    whole: Image,
}

fn multi() -> Multi {
    let (amd64, arm64) = (image("amd64", &[layer(1, 3000)]), image("arm64", &[layer(2, 3000)]));
    let whole = index(&[("amd64", &amd64), ("arm64", &arm64)]);
    Multi { amd64, arm64, whole }
}

fn spec(world: &World, host: &str, more: &str) {
    world.spec("1.0.0", 1, &format!("images: [{{source: \"docker://{host}/{PATH}:v1\"{more}}}]\n"));
}

fn locked(world: &World) -> Value {
    world.bundler(&["lock"]).ok();
    serde_json::from_slice(&std::fs::read(world.path("bundle.lock")).unwrap()).unwrap()
}

/// The kinds and subjects of what travels beside the only image.
fn beside(lock: &Value) -> Vec<(String, String)> {
    let companions = lock["components"][0]["companions"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap().to_string();
    companions.iter().map(|companion| (text(&companion["kind"]), text(&companion["of"]))).collect()
}

/// A manifest that speaks about another.
fn referrer(of: &Descriptor, artifact_type: &str, text: &[u8]) -> (Descriptor, Vec<u8>) {
    let manifest = to_json(&json!({
        "schemaVersion": 2, "mediaType": MEDIA_MANIFEST, "artifactType": artifact_type,
        "config": Descriptor::of(MEDIA_EMPTY, EMPTY_CONFIG),
        "layers": [Descriptor::of("text/plain", text)],
        "subject": Descriptor::new(&of.media_type, of.digest, of.size),
        "annotations": {"org.opencontainers.image.created": "2026-01-01T00:00:00Z"},
    }));
    (Descriptor::of(MEDIA_MANIFEST, &manifest), manifest)
}

/// Stores a referrer as a client without the API does: with the list under the fallback tag.
fn attach(registry: &FakeRegistry, of: &Descriptor, text: &[u8], api: bool) -> Descriptor {
    let (descriptor, bytes) = referrer(of, "application/vnd.example.note", text);
    registry.store_blob(PATH, EMPTY_CONFIG);
    registry.store_blob(PATH, text);
    registry.store_manifest(PATH, "attached", MEDIA_MANIFEST, &bytes);
    if !api {
        let place = repository_at(&registry.url(), PATH);
        let entry = registry::referrers::entry(&descriptor, &bytes).unwrap();
        place.add_referrer(&of.digest, entry).unwrap();
    }
    descriptor
}

/// A `.sig` image with one signed text, as a hand makes it.
fn sign_with(registry: &FakeRegistry, of: &Digest, text: &[u8], signature: &[u8]) {
    let signature = base64::engine::general_purpose::STANDARD.encode(signature);
    let layer = Descriptor::of(MEDIA_SIMPLE_SIGNING, text).annotated(ANNOTATION_SIGNATURE, &signature);
    let manifest = to_json(&json!({
        "schemaVersion": 2, "mediaType": MEDIA_MANIFEST,
        "config": Descriptor::of(MEDIA_CONFIG, b"{}"), "layers": [layer],
    }));
    registry.store_blob(PATH, b"{}");
    registry.store_blob(PATH, text);
    let tag = CompanionKind::CosignSignature.tag(of).unwrap();
    registry.store_manifest(PATH, &tag, MEDIA_MANIFEST, &manifest);
}

fn signed_text(of: &Digest) -> Vec<u8> {
    format!("{{\"critical\":{{\"identity\":{{\"docker-reference\":\"upstream.example.com/app\"}},\"image\":{{\"docker-manifest-digest\":\"{of}\"}},\"type\":\"cosign container image signature\"}},\"optional\":null}}").into_bytes()
}

fn target(world: &World, url: &str) {
    let head = "apiVersion: airlock/v1\nkind: Site\nsite: lab\ntargets:\n";
    world.write("site/site.yaml", format!("{head}  registry: {{url: \"{url}\", prefix: mirror}}\n"));
}

fn carried_to(world: &World, url: &str) -> Ran {
    world.trust();
    target(world, url);
    world.bundler(&["build", "--key", "keys/rel.key.pem", "--out", "b.tar"]).ok();
    world.installer(&["apply", "b.tar", "--yes"]).ok()
}

#[test]
fn a_signature_that_openssl_made_is_checked_for_each_scheme() {
    let Some(openssl) = real_part("openssl") else { return };
    for algorithm in [
        &["-algorithm", "ed25519"][..],
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
    ] {
        let (registry, world, multi) = (FakeRegistry::start(), World::new(), multi());
        multi.whole.store_in(&registry, PATH, "v1");
        let run = |args: &[&str]| tool(&openssl, args, world.dir());
        run(&[&["genpkey"], algorithm, &["-out", "up.key.pem"]].concat());
        run(&["pkey", "-in", "up.key.pem", "-pubout", "-out", "up.pub.pem"]);
        let text = signed_text(&multi.whole.root.digest);
        world.write("text", &text);
        if algorithm[1] == "ed25519" {
            run(&["pkeyutl", "-sign", "-inkey", "up.key.pem", "-rawin", "-in", "text", "-out", "sig"]);
        } else {
            let hash = if algorithm[3].ends_with("384") { "-sha384" } else { "-sha256" };
            run(&["dgst", hash, "-sign", "up.key.pem", "-out", "sig", "text"]);
        }
        let signature = std::fs::read(world.path("sig")).unwrap();
        sign_with(&registry, &multi.whole.root.digest, &text, &signature);
        spec(&world, &registry.host(), ", verify: {key: up.pub.pem}");
        let ran = world.bundler(&["lock"]).ok();
        assert!(
            ran.stderr.contains("signed by key") && ran.stderr.contains("`upstream.example.com/app`"),
            "{}",
            ran.stderr
        );
        let verdict = &locked(&world)["components"][0]["upstream_signature"]["verified"];
        assert_eq!(verdict["manifest"], multi.whole.root.digest.to_string());
        let der = run(&["pkey", "-pubin", "-in", "up.pub.pem", "-outform", "DER"]).stdout;
        assert_eq!(verdict["key"], Digest::of(&der).hex());
    }
}

#[test]
fn an_image_without_the_signature_that_it_must_have_is_not_locked() {
    let (registry, world, multi) = (FakeRegistry::start(), World::new(), multi());
    multi.whole.store_in(&registry, PATH, "v1");
    world.trust();
    spec(&world, &registry.host(), ", verify: {key: keys/alice.pub.pem}");
    let refused = |words: &[&str]| {
        let ran = world.bundler(&["lock"]).expect_exit(Exit::Refused);
        for word in words.iter().chain(&["keys/alice.pub.pem", PATH]) {
            assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
        }
        assert!(!world.path("bundle.lock").exists());
    };
    refused(&["has no signature"]);
    let of = multi.whole.root.digest;
    let sign = |key: &str, text: &[u8]| {
        let pem = std::fs::read_to_string(world.path(&format!("keys/{key}.key.pem"))).unwrap();
        manifests::SecretKey::from_pem(&pem).unwrap().sign(text).unwrap()
    };
    let text = signed_text(&of);
    sign_with(&registry, &of, &text, &sign("bob", &text));
    refused(&["none of the 1 signatures", "not of this key"]);
    let other = signed_text(&multi.amd64.root.digest);
    sign_with(&registry, &of, &other, &sign("alice", &other));
    refused(&["names another image"]);
    sign_with(&registry, &of, &text, &sign("alice", &text));
    assert_eq!(beside(&locked(&world)), [("cosign-signature".to_string(), of.to_string())]);
}

#[test]
fn what_the_real_cosign_attached_is_checked_carried_and_taken_by_cosign_on_site() {
    let (Some(cosign), Some(upstream), Some(site)) = (
        real_part("cosign"),
        RealRegistry::start(RealRegistryOptions::default()),
        RealRegistry::start(RealRegistryOptions::default()),
    ) else {
        return;
    };
    let (world, multi) = (World::new(), multi());
    multi.whole.push(&upstream.url(), PATH, "v1");
    let run = |args: &[&str]| {
        let output = Command::new(&cosign)
            .args(args)
            .current_dir(world.dir())
            .env("COSIGN_PASSWORD", "")
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["generate-key-pair"]);
    world.write("predicate.json", "{\"made\": \"here\"}");
    world.write("sbom.json", "{\"spdxVersion\": \"SPDX-2.3\"}");
    let at = |host: &str, path: &str, digest: &Digest| format!("{host}/{path}@{digest}");
    let whole = at(upstream.host(), PATH, &multi.whole.root.digest);
    let arm64 = at(upstream.host(), PATH, &multi.arm64.root.digest);
    let quiet = ["--tlog-upload=false", "--allow-insecure-registry=true", "--yes"];
    run(&[&["sign", "--recursive", "--key", "cosign.key"], &quiet[..], &[&whole]].concat());
    run(&[&["attest", "--key", "cosign.key", "--predicate", "predicate.json"], &quiet[..], &[&arm64]]
        .concat());
    run(&["attach", "sbom", "--allow-insecure-registry=true", "--sbom", "sbom.json", &whole]);

    spec(&world, upstream.host(), ", verify: {key: cosign.pub}");
    let found = beside(&locked(&world));
    let count = |kind: &str| found.iter().filter(|(found, _)| found == kind).count();
    assert_eq!(
        (count("cosign-signature"), count("cosign-attestation"), count("cosign-sbom")),
        (3, 1, 1),
        "{found:?}"
    );

    // Counter-signed too: our signatures lie beside those of the publisher.
    world.trust();
    target(&world, &site.url());
    let build = ["build", "--key", "keys/rel.key.pem", "--countersign", "keys/rel.key.pem", "--out", "b.tar"];
    world.bundler(&build).ok();
    world.bundler(&["verify", "b.tar", "--trust", "root.json"]).ok();
    world.installer(&["apply", "b.tar", "--yes"]).ok();
    let mirrored = format!("mirror/{}/{PATH}", upstream.host().replace(':', "-"));
    let lax = ["--insecure-ignore-tlog=true", "--allow-insecure-registry=true"];
    for digest in [&multi.whole, &multi.amd64, &multi.arm64].map(|image| image.root.digest) {
        for key in ["cosign.pub", "keys/rel.pub.pem"] {
            run(&[&["verify", "--key", key], &lax[..], &[&at(site.host(), &mirrored, &digest)]].concat());
        }
    }
    run(&[
        &["verify-attestation", "--key", "cosign.pub"],
        &lax[..],
        &[&at(site.host(), &mirrored, &multi.arm64.root.digest)],
    ]
    .concat());

    // Of one platform, its own signature travels and the index's stays behind, and both are said.
    spec(&world, upstream.host(), ", verify: {key: cosign.pub}, platforms: linux/arm64");
    let ran = world.bundler(&["lock"]).ok();
    assert!(ran.stderr.contains("signatures over that index cannot be verified on site"), "{}", ran.stderr);
    let lock = locked(&world);
    assert_eq!(lock["components"][0]["part_of"], multi.whole.root.digest.to_string());
    let of = multi.arm64.root.digest.to_string();
    assert_eq!(
        beside(&lock),
        [("cosign-attestation".to_string(), of.clone()), ("cosign-signature".to_string(), of)]
    );
}

/// A note on an image, and a note on that note.
fn noted(api: bool) -> (FakeRegistry, World, Multi, Descriptor, Descriptor) {
    let (registry, world, multi) = (FakeRegistry::start(), World::new(), multi());
    if api {
        registry.fault(Fault::ReferrersApi);
    }
    multi.whole.store_in(&registry, PATH, "v1");
    let note = attach(&registry, &multi.amd64.root, b"a note", api);
    let second = attach(&registry, &note, b"a note on a note", api);
    spec(&world, &registry.host(), "");
    (registry, world, multi, note, second)
}

#[test]
fn referrers_are_found_by_the_api_and_by_the_fallback_tag_and_travel() {
    for (upstream_api, site_api) in [(true, true), (false, false), (true, false)] {
        let (upstream, world, multi, note, second) = noted(upstream_api);
        let site = FakeRegistry::start();
        if site_api {
            site.fault(Fault::ReferrersApi);
        }
        let found = beside(&locked(&world));
        assert_eq!(found.len(), 2, "{found:?}");
        carried_to(&world, &site.url());
        world.bundler(&["verify", "b.tar", "--trust", "root.json"]).ok();
        let mirrored = format!("mirror/{}/{PATH}", upstream.host().replace(':', "-"));
        let place = repository_at(&site.url(), &mirrored);
        for (of, expected) in [(multi.amd64.root.digest, &note), (note.digest, &second)] {
            let found = place.referrers(&of).unwrap();
            assert_eq!(found.api, site_api);
            assert_eq!(found.manifests.len(), 1);
            assert_eq!(found.manifests[0].digest, expected.digest);
            assert_eq!(found.manifests[0].artifact_type.as_deref(), Some("application/vnd.example.note"));
        }
        let fallback = registry::referrers::fallback_tag(&multi.amd64.root.digest);
        assert_eq!(site.manifest(&mirrored, &fallback).is_some(), !site_api);
        // A second time there is nothing to do.
        let plan = world.installer(&["plan", "b.tar"]).ok();
        assert!(!plan.stdout.contains("registry: "), "{}", plan.stdout);
    }
}

#[test]
fn the_real_registry_keeps_referrers_under_the_fallback_tag_and_gives_them_up_again() {
    let options = RealRegistryOptions { delete: true, ..RealRegistryOptions::default() };
    let Some(site) = RealRegistry::start(options) else { return };
    let (upstream, world, multi, note, _) = noted(false);
    carried_to(&world, &site.url());
    let mirrored = format!("mirror/{}/{PATH}", upstream.host().replace(':', "-"));
    let place = repository_at(&site.url(), &mirrored);
    let found = place.referrers(&multi.amd64.root.digest).unwrap();
    assert_eq!((found.api, found.manifests[0].digest), (false, note.digest));
    place.remove_referrer(&multi.amd64.root.digest, &note.digest).unwrap();
    assert!(place.referrers(&multi.amd64.root.digest).unwrap().manifests.is_empty());
}

#[test]
fn signatures_false_leaves_everything_behind() {
    let (registry, world, ..) = noted(true);
    spec(&world, &registry.host(), ", signatures: false");
    assert!(beside(&locked(&world)).is_empty());
    assert_eq!(registry.count("GET", "/referrers/"), 0);
}

#[test]
fn a_list_of_referrers_that_lies_or_has_no_end_is_refused() {
    let (registry, world, multi) = (FakeRegistry::start(), World::new(), multi());
    multi.whole.store_in(&registry, PATH, "v1");
    // A note on another image, listed as one on this.
    let (descriptor, bytes) = referrer(&multi.arm64.root, "x/y", b"note");
    registry.store_blob(PATH, EMPTY_CONFIG);
    registry.store_blob(PATH, b"note");
    registry.store_manifest(PATH, "attached", MEDIA_MANIFEST, &bytes);
    let place = repository_at(&registry.url(), PATH);
    place.add_referrer(&multi.amd64.root.digest, descriptor).unwrap();
    spec(&world, &registry.host(), "");
    let ran = world.bundler(&["lock"]).expect_exit(Exit::Damaged);
    assert!(ran.stderr.contains("does not name it as its subject"), "{}", ran.stderr);
}

#[test]
fn signatures_of_a_layout_travel() {
    let (world, app) = (World::new(), image("amd64", &[layer(1, 500)]));
    let signature = image("", &[b"signed text".to_vec()]);
    let tag = CompanionKind::CosignSignature.tag(&app.root.digest).unwrap();
    write_layout(&world, "images", &[("app", &app), (&tag, &signature)]);
    world.spec("1.0.0", 1, "images: [{source: \"oci:images:app\", name: registry.example.com/app:v1}]\n");
    assert_eq!(beside(&locked(&world)), [("cosign-signature".to_string(), app.root.digest.to_string())]);
    world.bundler(&["build", "--out", "b.tar"]).ok();
    assert!(Path::new(&world.path("b.tar")).is_file());
}
