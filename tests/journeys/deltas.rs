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

use std::collections::BTreeMap;
use std::path::PathBuf;

use e2e::{Ran, World};
use edge::Exit;
use ingredients::{Image, gzip, image, layer, noise, write_layout};
use installer::site::Site;
use manifests::bundle::BundleDigest;
use manifests::{Digest, Inventory};
use onsite::{another_site, audit_holds, says, site_tree, tree};
use versions::{apply, root, site};

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
    built(&world, "whole.tar", &[]).ok();
    let other = taken(&world, &["demo-1.tar", "whole.tar"]);
    apply(&world, "demo", 2).ok();
    assert_eq!((blobs(&world), root(&world)), (blobs(&other), root(&other)));
    // Everything that works with a version works with one that came so.
    world.installer(&["drift"]).ok();
    world.installer(&["report", "--out", "report.json"]).ok();
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
