//! Deltas: a bundle that leaves out what a site has, by the bundles that the sender names or by the site's own
//! receipt. A site that lacks something learns what, and what would supply it, before a byte is written.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    missing_docs
)]

mod ingredients;
mod onsite;
mod versions;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use e2e::{Ran, World};
use edge::Exit;
use ingredients::{Image, gzip, image, layer, noise, tar_of, write_layout};
use installer::discs::Changer;
use installer::site::Site;
use manifests::bundle::BundleDigest;
use manifests::oci::{MEDIA_LAYER_GZIP, MEDIA_MANIFEST};
use manifests::{Descriptor, Digest, Inventory};
use onsite::{another_site, audit_holds, says, site_tree, tree};
use versions::{Cut, Moments, apply, root, site};

const KEY: &str = "site/key/1.pub.pem";
const NAME: &str = "registry.example.com/app:1";

/// An image of two gzip layers, the second of which grows from `seed`.
fn app(seed: u64) -> Image {
    image("amd64", &[gzip(&layer(1, 200_000)), gzip(&layer(seed, 20_000))])
}

/// Writes what version `sequence` of the product is made of.
fn sources(world: &World, sequence: u64, seed: u64) {
    let _ = std::fs::remove_dir_all(world.path("oci"));
    write_layout(world, "oci", &[("app", &app(seed))]);
    world.write("data/model", noise(100, 300_000));
    world.write("data/note", if seed == 0 { "one note".to_string() } else { format!("note {seed}") });
    let rest = format!(
        "images: [{{source: 'oci:oci:app', name: '{NAME}'}}]\nfiles: [{{source: data, dest: /etc/app}}]\n"
    );
    world.spec(&format!("{sequence}.0"), sequence, &rest);
}

/// Builds `demo-SEQUENCE.tar` with these arguments, of which `seed` says what changed.
fn make(world: &World, sequence: u64, seed: u64, args: &[&str]) -> Ran {
    sources(world, sequence, seed);
    world.bundler(&["lock"]).ok();
    built(world, &format!("demo-{sequence}.tar"), args)
}

fn built(world: &World, out: &str, args: &[&str]) -> Ran {
    let mut all = vec!["--output", "json", "build", "--key", "keys/rel.key.pem", "--out", out];
    all.extend(args);
    world.bundler(&all)
}

fn length(world: &World, path: &str) -> u64 {
    std::fs::metadata(world.path(path)).unwrap().len()
}

/// A site that runs version 1, whole.
fn first() -> World {
    let world = site(&[]);
    make(&world, 1, 2, &[]).ok();
    apply(&world, "demo", 1).ok();
    world
}

fn blobs(world: &World) -> BTreeMap<PathBuf, String> {
    tree(world, "site/store/blobs/sha256", &[])
}

/// What a site has that took these archives, one after the other, from this sender.
fn taken(sender: &World, archives: &[&str]) -> World {
    let world = another_site(sender);
    std::fs::create_dir(world.path("root")).unwrap();
    onsite::site_yaml(&world, &[format!("files: {{root: {}}}", world.path("root").display())]);
    for archive in archives {
        world.installer(&["apply", sender.path(archive).to_str().unwrap(), "--yes"]).ok();
    }
    world
}

fn receipt(world: &World, out: &str, blobs: &str) {
    world.installer(&["receipt", "--out", out, "--blobs", blobs]).ok();
}

fn store_path(world: &World, digest: &Digest) -> PathBuf {
    Site::at(world.path("site")).store().blob_path(digest)
}

/// What a delta leaves out, by the bundler's own word.
fn inventory(world: &World, archive: &str) -> Inventory {
    let shown = world.bundler(&["--output", "json", "inspect", archive]).ok().json();
    serde_json::from_value(shown["inventory"].clone()).unwrap()
}

// ---- what travels -------------------------------------------------------------------------------------

#[test]
fn a_delta_over_an_unchanged_release_is_kilobytes_and_the_site_is_as_with_the_whole_bundle() {
    let world = first();
    let made = make(&world, 2, 2, &["--base", "demo-1.tar"]).ok().json();
    assert!(length(&world, "demo-1.tar") > 500_000);
    assert!(length(&world, "demo-2.tar") < 70_000, "{}", length(&world, "demo-2.tar"));
    assert_eq!(made["bases"][0]["version"], "1.0");
    // The bill of materials names the version, so it travels; so do all manifests.
    let counts = &made["counts"];
    let (left, all) = (counts["left_out"].as_u64().unwrap(), counts["blobs"].as_u64().unwrap());
    assert!(left >= 5 && left < all, "{counts}");
    let verified = world.installer(&["verify", "demo-2.tar"]).ok().stdout;
    assert!(
        verified.contains("of what is left out every byte") && verified.contains("acme demo 1.0"),
        "{verified}"
    );
    for shown in [world.bundler(&["inspect", "demo-2.tar"]), world.installer(&["inspect", "demo-2.tar"])] {
        let shown = shown.ok().stdout;
        assert!(shown.contains("leaves out") && shown.contains("acme demo 1.0"), "{shown}");
    }
    let plan = world.installer(&["plan", "demo-2.tar"]).ok().stdout;
    assert!(plan.contains(&format!("a delta: {left} of {all} blobs")), "{plan}");
    built(&world, "whole.tar", &[]).ok();
    let other = taken(&world, &["demo-1.tar", "whole.tar"]);
    apply(&world, "demo", 2).ok();
    assert_eq!((blobs(&world), root(&world)), (blobs(&other), root(&other)));
    // Everything that works with a version works with one that came so.
    world.installer(&["drift"]).ok();
    for out in ["report.json", "report.html"] {
        world.installer(&["report", "--out", out]).ok();
    }
    let report = std::fs::read(world.path("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    let delta = &report["bundles"][0]["delta"];
    assert_eq!((delta["left_out"].as_u64(), delta["blobs"].as_u64()), (Some(left), Some(all)), "{delta}");
    assert!(delta["bases"][0].as_str().unwrap().contains("acme demo 1.0"), "{delta}");
    let page = std::fs::read_to_string(world.path("report.html")).unwrap();
    assert!(page.contains(&format!("{left} of {all} blobs")), "the page says nothing of the delta");
    world.installer(&["rollback", "--yes", "--reason", "test"]).ok();
    world.installer(&["apply", "demo-2.tar", "--yes"]).ok();
    audit_holds(&world);
}

#[test]
fn one_layer_that_changed_travels_alone_and_the_same_inputs_give_the_same_bytes() {
    let world = first();
    make(&world, 2, 3, &["--base", "demo-1.tar"]).ok();
    let size = length(&world, "demo-2.tar");
    assert!((20_000..100_000).contains(&size), "{size}");
    built(&world, "again.tar", &["--base", "demo-1.tar"]).ok();
    assert_eq!(
        std::fs::read(world.path("again.tar")).unwrap(),
        std::fs::read(world.path("demo-2.tar")).unwrap()
    );
    apply(&world, "demo", 2).ok();
    assert_eq!(std::fs::read(world.path("root/etc/app/note")).unwrap(), b"note 3");
    // What no base holds makes no delta, and then the bundle is a whole one that any reader takes.
    world.write("other/file", "another");
    world.spec("3.0", 3, "files: [{source: other, dest: /etc/other}]\n");
    world.bundler(&["lock"]).ok();
    built(&world, "demo-3.tar", &["--base", "demo-1.tar"]).ok();
    assert_eq!(inventory(&world, "demo-3.tar").delta, None);
}

#[test]
fn each_blob_has_the_base_that_holds_it_and_a_delta_may_build_on_a_delta() {
    let world = first();
    make(&world, 2, 3, &["--base", "demo-1.tar"]).ok();
    apply(&world, "demo", 2).ok();
    make(&world, 3, 3, &["--base", "demo-1.tar", "--base", "demo-2.tar"]).ok();
    let delta = inventory(&world, "demo-3.tar").delta.unwrap();
    let versions: Vec<String> = delta.bases.iter().map(|base| base.version.to_string()).collect();
    assert_eq!(delta.left_out.len(), 2);
    assert!(versions.contains(&"1.0".to_string()) && versions.contains(&"2.0".to_string()), "{versions:?}");
    // The delta alone, on the delta before: what that one left out is held by who has it.
    built(&world, "on-two.tar", &["--base", "demo-2.tar"]).ok();
    assert_eq!(inventory(&world, "on-two.tar").delta.unwrap().bases.len(), 1);
    world.installer(&["verify", "on-two.tar"]).ok();
    apply(&world, "demo", 3).ok();
    assert!(length(&world, "demo-3.tar") < 70_000);
}

#[test]
fn a_site_that_took_deltas_keeps_what_they_need_and_lets_the_rest_go() {
    let world = first();
    for sequence in 2..=4 {
        let base = format!("demo-{}.tar", sequence - 1);
        make(&world, sequence, sequence + 1, &["--base", &base]).ok();
        apply(&world, "demo", sequence).ok();
    }
    world.installer(&["gc", "--yes"]).ok();
    let kept = blobs(&world);
    for number in [4, 3] {
        let inventory = inventory(&world, &format!("demo-{number}.tar"));
        for blob in &inventory.blobs {
            assert!(kept.contains_key(&PathBuf::from(blob.digest.hex())), "{number}: {}", blob.digest);
        }
    }
    let gone = inventory(&world, "demo-1.tar");
    assert!(gone.blobs.iter().any(|blob| !kept.contains_key(&PathBuf::from(blob.digest.hex()))));
    world.installer(&["rollback", "--yes", "--reason", "test"]).ok();
    assert_eq!(std::fs::read(world.path("root/etc/app/note")).unwrap(), b"note 4");
    world.installer(&["receipt", "--out", "r.json", "--check"]).ok();
    audit_holds(&world);
}

// ---- what a site says of itself -----------------------------------------------------------------------

#[test]
fn build_for_a_receipt_finds_the_bases_by_itself() {
    let world = first();
    receipt(&world, "short.json", "digest");
    receipt(&world, "list.json", "list");
    // This machine has built the bundle, so it knows what is in it.
    make(&world, 2, 2, &["--for", "short.json", "--site-key", KEY]).ok();
    assert!(length(&world, "demo-2.tar") < 70_000);
    built(&world, "as-base.tar", &["--base", "list.json", "--site-key", KEY]).ok();
    let same = |path: &str| std::fs::read(world.path(path)).unwrap();
    assert_eq!(same("as-base.tar"), same("demo-2.tar"));
    // Another one does not. A list is enough, and so is the bundle itself; neither is too little.
    std::fs::remove_dir_all(world.path("cache")).unwrap();
    says(
        &built(&world, "none.tar", &["--for", "short.json", "--site-key", KEY]).expect_exit(Exit::Usage),
        &["does not list its blobs", "acme demo 1.0", "--blobs list"],
    );
    built(&world, "listed.tar", &["--for", "list.json", "--site-key", KEY]).ok();
    assert!(length(&world, "listed.tar") < 70_000);
    std::fs::remove_dir_all(world.path("cache")).unwrap();
    built(&world, "named.tar", &["--for", "short.json", "--base", "demo-1.tar", "--site-key", KEY]).ok();
    assert_eq!(same("named.tar"), same("demo-2.tar"));
    apply(&world, "demo", 2).ok();
    // By now the site holds both, and the text form of a receipt says so as well.
    world.installer(&["receipt", "--out", "r.txt"]).ok();
    make(
        &world,
        3,
        2,
        &["--for", "r.txt", "--site-key", KEY, "--base", "demo-1.tar", "--base", "demo-2.tar"],
    )
    .ok();
    apply(&world, "demo", 3).ok();
}

#[test]
fn a_receipt_counts_only_with_its_sites_key_and_a_base_only_if_the_receipt_names_it() {
    let world = first();
    receipt(&world, "r.json", "list");
    let other = first();
    std::fs::copy(other.path(KEY), world.path("other.pub.pem")).unwrap();
    sources(&world, 2, 2);
    let build = |args: &[&str], exit: Exit, said: &[&str]| {
        says(&built(&world, "b.tar", args).expect_exit(exit), said);
        assert!(!world.path("b.tar").exists());
    };
    build(&["--for", "r.json"], Exit::Usage, &["only with the key of its site", "--site-key"]);
    build(&["--base", "r.json"], Exit::Usage, &["only with the key of its site"]);
    build(&["--for", "r.json", "--site-key", "other.pub.pem"], Exit::Refused, &["another key"]);
    build(&["--base", "demo-1.tar", "--site-key", KEY], Exit::Usage, &["no receipt"]);
    build(&["--for", "r.json", "--base", "r.json", "--site-key", KEY], Exit::Usage, &["both"]);
    make(&other, 7, 9, &[]).ok();
    std::fs::copy(other.path("demo-7.tar"), world.path("stray.tar")).unwrap();
    sources(&world, 2, 2);
    build(
        &["--for", "r.json", "--site-key", KEY, "--base", "stray.tar"],
        Exit::Usage,
        &["does not say that the site holds acme demo 7.0"],
    );
    let cut = &std::fs::read(world.path("demo-1.tar")).unwrap()[..40_000];
    world.write("cut.tar", cut);
    build(&["--base", "cut.tar"], Exit::Damaged, &["cut.tar"]);
}

// ---- a site that lacks something ----------------------------------------------------------------------

#[test]
fn a_site_without_the_base_learns_what_is_missing_and_what_would_supply_it_and_stays_as_it_was() {
    let world = first();
    make(&world, 2, 3, &["--base", "demo-1.tar"]).ok();
    world.bundler(&["split", "demo-2.tar", "--media", "1MB", "--out", "discs"]).ok();
    let other = taken(&world, &[]);
    // The first change makes the site's key, whatever becomes of it.
    let site = |world: &World| tree(world, "site", &["audit", "lock", "key"]);
    let before = site(&other);
    let base = format!("acme demo 1.0 (order 1.1, {})", world_bundle(&world, "demo-1.tar"));
    let words = ["demo 2.0 is a delta", "missing: image registry.example.com/app:1, layer 1", &base];
    let archive = world.path("demo-2.tar");
    let discs = world.path("discs");
    for (command, more) in [("verify", None), ("preflight", None), ("plan", None), ("apply", Some("--yes"))] {
        for medium in [&archive, &discs] {
            let mut args = vec![command, medium.to_str().unwrap()];
            args.extend(more);
            let ran = other.installer(&args).expect_exit(Exit::NotReady);
            says(&ran, &words);
            says(&ran, &["model", "nothing was written", "installer receipt"]);
        }
    }
    other.installer(&["inspect", archive.to_str().unwrap()]).ok();
    assert_eq!(site(&other), before);
    audit_holds(&other);
    // With the base it goes on.
    other.installer(&["apply", world.path("demo-1.tar").to_str().unwrap(), "--yes"]).ok();
    other.installer(&["apply", archive.to_str().unwrap(), "--yes"]).ok();
    assert_eq!(std::fs::read(other.path("root/etc/app/note")).unwrap(), b"note 3");
}

fn world_bundle(world: &World, archive: &str) -> BundleDigest {
    let shown = world.bundler(&["--output", "json", "inspect", archive]).ok().json();
    shown["bundle"].as_str().unwrap().parse().unwrap()
}

#[test]
fn a_blob_of_the_base_that_has_rotted_is_found_before_anything_is_written() {
    let world = first();
    make(&world, 2, 3, &["--base", "demo-1.tar"]).ok();
    let model = Digest::of(&noise(100, 300_000));
    let path = store_path(&world, &model);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let before = site_tree(&world);
    for command in ["verify", "apply"] {
        let mut args = vec![command, "demo-2.tar"];
        args.extend((command == "apply").then_some("--yes"));
        says(
            &world.installer(&args).expect_exit(Exit::NotReady),
            &["rotten: files /etc/app", "model", "acme demo 1.0"],
        );
    }
    assert_eq!(site_tree(&world), before);
    // The whole base mends it, as it is the version that runs; then the delta fits.
    apply(&world, "demo", 1).ok();
    apply(&world, "demo", 2).ok();
}

#[test]
fn the_connected_side_says_what_it_did_not_look_at_and_looks_where_it_is_told_to() {
    let world = first();
    make(&world, 2, 3, &["--base", "demo-1.tar"]).ok();
    let verify = |args: &[&str]| {
        let mut all = vec!["verify", "demo-2.tar", "--trust", "root.json"];
        all.extend(args);
        world.bundler(&all)
    };
    let alone = verify(&[]).ok().stdout;
    assert!(
        alone.contains("not checked here: what is left out") && alone.contains("acme demo 1.0"),
        "{alone}"
    );
    let held = verify(&["--base", "demo-1.tar"]).ok().stdout;
    assert!(held.contains("hold all of it"), "{held}");
    world.write("other/file", "another");
    world.spec("9.0", 9, "files: [{source: other, dest: /etc/other}]\n");
    world.bundler(&["lock"]).ok();
    built(&world, "other.tar", &[]).ok();
    says(
        &verify(&["--base", "other.tar"]).expect_exit(Exit::NotReady),
        &["do not hold all", "acme demo 1.0"],
    );
}

// ---- discs, and what was cut off ----------------------------------------------------------------------

#[test]
fn a_delta_on_discs_is_admitted_as_the_archive_is() {
    let world = first();
    world.write("data/more", noise(7, 300_000));
    make(&world, 2, 3, &["--base", "demo-1.tar"]).ok();
    let twin = taken(&world, &["demo-1.tar", "demo-2.tar"]);
    world.bundler(&["split", "demo-2.tar", "--media", "1MB", "--out", "discs"]).ok();
    world.bundler(&["verify", "discs", "--trust", "root.json"]).ok();
    world.installer(&["verify", "discs"]).ok();
    assert!(world.path("discs/disc-002").is_dir());
    world.installer(&["verify", "discs/disc-001"]).ok();
    world.installer(&["apply", "discs", "--yes"]).ok();
    assert_eq!((blobs(&world), root(&world)), (blobs(&twin), root(&twin)));
}

// ---- patches ------------------------------------------------------------------------------------------

const MIB: usize = 1024 * 1024;

/// An image of a gzip layer that never changes, a plain one, and a gzip one of the same content.
fn plain_app(content: &[u8]) -> Image {
    let mut image = image("amd64", &[layer(1, 1000)]);
    let (plain, zipped) = (tar_of(&[("data", content)]), gzip(&tar_of(&[("data", content)])));
    let mut manifest: serde_json::Value = serde_json::from_slice(image.root_bytes()).unwrap();
    for (media_type, bytes) in [("application/vnd.oci.image.layer.v1.tar", plain), (MEDIA_LAYER_GZIP, zipped)]
    {
        let descriptor = Descriptor::of(media_type, &bytes);
        manifest["layers"].as_array_mut().unwrap().push(serde_json::to_value(&descriptor).unwrap());
        image.blobs.insert(descriptor.digest, bytes);
    }
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let root = Descriptor::of(MEDIA_MANIFEST, &bytes);
    Image { manifests: vec![(root.clone(), bytes)], root, ..image }
}

/// What is in version `sequence`: a model of 8 MiB that changes in a hundred bytes, and a layer of 5 MiB into which
/// version 2 puts one MiB near the start.
fn large(sequence: u64) -> (Vec<u8>, Vec<u8>) {
    let (mut model, mut data) = (noise(100, 8 * MIB), noise(200, 5 * MIB));
    if sequence > 1 {
        model[5_000_000..5_000_100].copy_from_slice(&noise(sequence, 100));
        data.splice(10_000..10_000, noise(300 + sequence, MIB));
    }
    (model, data)
}

fn large_sources(world: &World, sequence: u64) {
    let (model, data) = large(sequence);
    let _ = std::fs::remove_dir_all(world.path("oci"));
    write_layout(world, "oci", &[("app", &plain_app(&data))]);
    world.write("data/model", model);
    let rest = format!(
        "images: [{{source: 'oci:oci:app', name: '{NAME}'}}]\nfiles: [{{source: data, dest: /etc/app}}]\n"
    );
    world.spec(&format!("{sequence}.0"), sequence, &rest);
    world.bundler(&["lock"]).ok();
}

/// A site that runs version 1 of what is large, and a delta with patches.
fn patched() -> World {
    let world = site(&[]);
    large_sources(&world, 1);
    built(&world, "demo-1.tar", &[]).ok();
    apply(&world, "demo", 1).ok();
    large_sources(&world, 2);
    built(&world, "demo-2.tar", &["--base", "demo-1.tar"]).ok();
    world
}

#[test]
fn what_changed_a_little_travels_as_a_patch_and_the_site_is_as_with_the_whole_bundle() {
    let world = patched();
    built(&world, "whole.tar", &[]).ok();
    let made = built(&world, "again.tar", &["--base", "demo-1.tar"]).ok().json();
    let (delta, whole) = (length(&world, "demo-2.tar"), length(&world, "whole.tar"));
    // 8 MiB of a model, 6 MiB of a layer, and the same 6 MiB zipped, which nobody can make again bit for bit.
    assert!(whole > 20 * MIB as u64, "{whole}");
    assert!(delta > 7 * MIB as u64 && delta < 7 * MIB as u64 + 500_000, "{delta}");
    let patches = made["patches"].as_array().unwrap();
    let mut saved: Vec<u64> = patches.iter().map(|patch| patch["saved_bytes"].as_u64().unwrap()).collect();
    saved.sort_unstable();
    assert!(saved.len() == 2 && saved[0] > 4_900_000 && saved[1] > 8_300_000, "{patches:?}");
    assert_eq!(made["counts"]["patched"], 2);
    assert_eq!(
        std::fs::read(world.path("again.tar")).unwrap(),
        std::fs::read(world.path("demo-2.tar")).unwrap()
    );
    let inspected = inventory(&world, "demo-2.tar");
    let (model, data) = large(2);
    let layer = tar_of(&[("data", &data)]);
    let of: Vec<Digest> = inspected.patches().iter().map(|patch| patch.blob).collect();
    assert!(of.len() == 2 && of.contains(&Digest::of(&model)) && of.contains(&Digest::of(&layer)), "{of:?}");
    for shown in [world.bundler(&["inspect", "demo-2.tar"]), world.installer(&["inspect", "demo-2.tar"])] {
        let shown = shown.ok().stdout;
        assert!(shown.contains("patches") && shown.contains("2 blobs of 14.0 MiB as 1.0 MiB"), "{shown}");
    }
    // The connected side looks at the form of each, and with the base at what it makes.
    let verify = ["verify", "demo-2.tar", "--trust", "root.json"];
    let form = world.bundler(&verify).ok().stdout;
    assert!(form.contains("not checked here: what 2 of the patches make"), "{form}");
    let made = world.bundler(&[&verify[..], &["--base", "demo-1.tar"]].concat()).ok().stdout;
    assert!(made.contains("hold all of it") && !made.contains("of the patches make"), "{made}");
    // `verify` makes the blobs, and keeps nothing.
    let before = site_tree(&world);
    let verified = world.installer(&["verify", "demo-2.tar"]).ok().stdout;
    assert!(verified.contains("each patch makes the blob that was signed"), "{verified}");
    assert_eq!(site_tree(&world), before);
    let twin = taken(&world, &["demo-1.tar", "whole.tar"]);
    apply(&world, "demo", 2).ok();
    assert_eq!((blobs(&world), root(&world)), (blobs(&twin), root(&twin)));
    assert_eq!(std::fs::read(store_path(&world, &Digest::of(&layer))).unwrap(), layer);
    assert_eq!(std::fs::read(world.path("root/etc/app/model")).unwrap(), model);
    for patch in inspected.patches() {
        assert!(!store_path(&world, &patch.patch.digest).exists(), "a patch was kept");
    }
    // Everything that works with a version works with one that came so.
    world.installer(&["drift"]).ok();
    world.installer(&["inspect", "demo-2.tar", "--review", "review.json"]).ok();
    let review = std::fs::read_to_string(world.path("review.json")).unwrap();
    assert!(review.contains(&Digest::of(&model).hex()), "the list of files lacks what was made");
    let rechecked = || {
        let script: serde_json::Value =
            serde_json::from_slice(&std::fs::read(world.path("report.json")).unwrap()).unwrap();
        let script = script["recheck"]["script"].as_str().unwrap().to_string();
        // As the report asks for: in an empty directory.
        let desk = world.path("desk");
        let _ = std::fs::remove_dir_all(&desk);
        std::fs::create_dir(&desk).unwrap();
        std::process::Command::new("sh").args(["-c", &script]).current_dir(desk).output().unwrap()
    };
    world.installer(&["report", "--out", "report.json"]).ok();
    assert!(rechecked().status.success(), "{:?}", rechecked());
    let path = store_path(&world, &Digest::of(&model));
    std::fs::write(&path, &model[1..]).unwrap();
    assert!(!rechecked().status.success(), "what was made of a patch is not checked");
    std::fs::write(&path, &model).unwrap();
    world.installer(&["rollback", "--yes", "--reason", "test"]).ok();
    assert_eq!(std::fs::read(world.path("root/etc/app/model")).unwrap(), large(1).0);
    world.installer(&["apply", "demo-2.tar", "--yes"]).ok();
    audit_holds(&world);
}

#[test]
fn patches_on_discs_make_the_same_blobs_in_whatever_order_the_discs_come() {
    let world = patched();
    let twin = taken(&world, &["demo-1.tar", "demo-2.tar"]);
    world.bundler(&["split", "demo-2.tar", "--media", "1MB", "--out", "discs"]).ok();
    world.bundler(&["verify", "discs", "--trust", "root.json"]).ok();
    let before = site_tree(&world);
    world.installer(&["verify", "discs"]).ok();
    assert_eq!(site_tree(&world), before);
    // A run that lacks a disc keeps what it has read; the next one takes that up.
    std::fs::rename(world.path("discs/disc-002"), world.path("late")).unwrap();
    says(&world.installer(&["apply", "discs", "--yes"]).expect_exit(Exit::Damaged), &["part 2 of"]);
    world.installer(&["apply", "late", "discs", "--yes"]).ok();
    assert_eq!((blobs(&world), root(&world)), (blobs(&twin), root(&twin)));
    assert!(!world.path("site/store/incoming").exists());
    audit_holds(&world);
}

/// Somebody at a drive who puts in these discs, one after the other.
struct Person {
    drive: PathBuf,
    discs: RefCell<Vec<PathBuf>>,
}

impl Changer for Person {
    fn say(&self, _text: &str) {}
    fn change(&self, _wanted: &str) -> bool {
        let Some(disc) = self.discs.borrow_mut().pop() else { return false };
        let _ = std::fs::remove_file(&self.drive);
        std::os::unix::fs::symlink(disc, &self.drive).is_ok()
    }
    fn is_there(&self) -> bool {
        true
    }
}

#[test]
fn patches_that_go_over_discs_are_proved_when_the_last_disc_comes_first() {
    let world = patched();
    world.bundler(&["split", "demo-2.tar", "--media", "1MB", "--out", "discs"]).ok();
    let mut discs: Vec<PathBuf> = std::fs::read_dir(world.path("discs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    discs.sort();
    assert!(discs.len() >= 8, "{discs:?}");
    // From the last one to the first, and then, as they are asked for, in their order.
    let backwards: Vec<PathBuf> = discs.iter().rev().cloned().collect();
    let all = [backwards.clone(), discs].concat();
    let drive = world.path("drive");
    let person = Person { drive: drive.clone(), discs: RefCell::new(all.into_iter().rev().collect()) };
    assert!(person.change("the first one"));
    let site = Site::at(world.path("site"));
    let before = site_tree(&world);
    let config = site.config().unwrap();
    let looked =
        installer::discs::verify(&site, &config, &[drive], &person, &mut edge::progress::Silent).unwrap();
    assert!(matches!(looked, installer::discs::Looked::Whole(_)), "{looked:?}");
    assert_eq!(site_tree(&world), before);
}

#[test]
fn what_is_patched_is_looked_for_before_anything_is_written() {
    let world = patched();
    let (old, _) = large(1);
    let archive = world.path("demo-2.tar");
    // Without the base.
    let other = taken(&world, &[]);
    let site = |world: &World| tree(world, "site", &["audit", "lock", "key"]);
    let before = site(&other);
    for (command, more) in [("verify", None), ("preflight", None), ("plan", None), ("apply", Some("--yes"))] {
        let mut args = vec![command, archive.to_str().unwrap()];
        args.extend(more);
        says(
            &other.installer(&args).expect_exit(Exit::NotReady),
            &["missing: what is patched to files /etc/app", "model", "acme demo 1.0", "nothing was written"],
        );
    }
    assert_eq!(site(&other), before);
    // With one that has rotted.
    let path = store_path(&world, &Digest::of(&old));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[7_000_000] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let before = site_tree(&world);
    for (command, more) in [("verify", None), ("apply", Some("--yes"))] {
        let mut args = vec![command, "demo-2.tar"];
        args.extend(more);
        says(
            &world.installer(&args).expect_exit(Exit::NotReady),
            &["rotten: what is patched to files /etc/app", "acme demo 1.0"],
        );
    }
    assert_eq!(site_tree(&world), before);
}

#[test]
fn a_medium_that_is_damaged_inside_a_patch_is_named_as_any_other() {
    let world = patched();
    let inventory = inventory(&world, "demo-2.tar");
    let mut bytes = std::fs::read(world.path("demo-2.tar")).unwrap();
    let patch = &inventory.patches()[0].patch;
    let name = format!("blobs/sha256/{}", patch.digest.hex());
    let header = bytes.chunks(512).position(|block| block.starts_with(name.as_bytes())).unwrap();
    bytes[(header + 1) * 512 + 200] ^= 1;
    world.write("bad.tar", bytes);
    let before = site_tree(&world);
    for (command, more) in [("verify", None), ("apply", Some("--yes"))] {
        let mut args = vec![command, "bad.tar"];
        args.extend(more);
        says(
            &world.installer(&args).expect_exit(Exit::Damaged),
            &[&name, "the patch of", "has digest", "clean the medium"],
        );
    }
    let verify = ["verify", "bad.tar", "--trust", "root.json"];
    says(&world.bundler(&verify).expect_exit(Exit::Damaged), &[&name, "the patch of"]);
    assert_eq!(site_tree(&world), before);
}

#[test]
fn a_sender_without_the_bytes_of_a_base_or_without_a_gain_sends_the_blob_whole() {
    let world = patched();
    receipt(&world, "list.json", "list");
    // The receipt alone, and neither the bundle nor anything of it in the cache but its documents.
    built(&world, "listed.tar", &["--for", "list.json", "--site-key", KEY]).ok();
    assert_eq!(inventory(&world, "listed.tar").patches(), []);
    // With the bundle beside it there is something to read.
    built(&world, "named.tar", &["--for", "list.json", "--base", "demo-1.tar", "--site-key", KEY]).ok();
    assert_eq!(inventory(&world, "named.tar").patches().len(), 2);
    // A delta brings no bytes of what it leaves out or patches.
    apply(&world, "demo", 2).ok();
    large_sources(&world, 3);
    built(&world, "on-two.tar", &["--base", "demo-2.tar"]).ok();
    assert_eq!(inventory(&world, "on-two.tar").patches(), []);
    built(&world, "demo-3.tar", &["--base", "demo-2.tar", "--base", "demo-1.tar"]).ok();
    assert_eq!(inventory(&world, "demo-3.tar").patches().len(), 2);
    apply(&world, "demo", 3).ok();
    assert_eq!(std::fs::read(world.path("root/etc/app/model")).unwrap(), large(3).0);
    // Nothing of it is the same.
    world.write("data/model", noise(999, 8 * MIB));
    world.spec("4.0", 4, "files: [{source: data, dest: /etc/app}]\n");
    world.bundler(&["lock"]).ok();
    built(&world, "demo-4.tar", &["--base", "demo-1.tar"]).ok();
    assert_eq!(inventory(&world, "demo-4.tar").delta, None);
}

/// What a site is after an apply, however that went.
fn state(world: &World) -> (BTreeMap<PathBuf, String>, BTreeMap<PathBuf, String>) {
    (tree(world, "site/store", &[]), root(world))
}

#[test]
fn a_power_cut_at_any_moment_of_applying_patches_leaves_what_the_next_run_finishes() {
    let sender = patched();
    let undisturbed = taken(&sender, &["demo-1.tar", "demo-2.tar"]);
    let bundle = sender.path("demo-2.tar");
    let moments = Moments::default();
    let begun = || taken(&sender, &["demo-1.tar"]);
    onsite::with_run(&begun(), &bundle, &moments, |run, plan| run.start(&plan)).unwrap();
    let moments = moments.0.into_inner();
    assert!(moments.len() >= 6, "{moments:?}");
    for moment in moments {
        let world = begun();
        let ended = onsite::with_run(&world, &bundle, &Cut::at(moment), |run, plan| run.start(&plan));
        assert!(ended.is_err(), "{moment:?}");
        world.installer(&["apply", bundle.to_str().unwrap(), "--yes"]).ok();
        assert_eq!(state(&world), state(&undisturbed), "{moment:?}");
        audit_holds(&world);
    }
}

#[test]
fn killed_at_any_time_while_patches_are_made_the_next_run_finishes_as_if_nothing_had_happened() {
    const KILLS: u32 = 8;
    let sender = patched();
    sender.bundler(&["split", "demo-2.tar", "--media", "3MB", "--out", "discs"]).ok();
    let undisturbed = state(&taken(&sender, &["demo-1.tar", "demo-2.tar"]));
    for medium in ["demo-2.tar", "discs"] {
        let path = sender.path(medium);
        let apply = ["apply", path.to_str().unwrap(), "--yes"];
        let started = std::time::Instant::now();
        onsite::output(&mut onsite::installer(&taken(&sender, &["demo-1.tar"]), &apply));
        let whole = started.elapsed();
        let mut killed = 0;
        for number in 0..KILLS {
            let world = taken(&sender, &["demo-1.tar"]);
            let mut child = onsite::installer(&world, &apply)
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(whole * number / KILLS);
            child.kill().unwrap();
            let ended = child.wait().unwrap();
            killed += u32::from(std::os::unix::process::ExitStatusExt::signal(&ended) == Some(9));
            onsite::output(&mut onsite::installer(&world, &apply));
            assert_eq!(state(&world), undisturbed, "{medium}, killed after {number} of {KILLS}");
            audit_holds(&world);
        }
        assert!(killed >= KILLS / 4, "{medium}: only {killed} were killed while they ran");
    }
}
