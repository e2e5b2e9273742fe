//! Recovery data from `bundler build --recovery` to `installer verify --repair` and `apply --repair`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

use std::path::Path;

use e2e::{Ran, World};
use edge::Exit;

const ARCHIVE: &str = "medium/demo.tar";
const RECOVERY: &str = "medium/demo.tar.r001";

/// Bytes that do not repeat.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A signed bundle of 12 MiB with a tenth of recovery data, as it lies on a medium.
fn world() -> World {
    let world = World::new();
    world.trust();
    world.write("configs/big.bin", noise(12 << 20));
    world.spec("1.0.0", 1, "files: [{source: configs, dest: /etc/demo}]\n");
    world.bundler(&["lock"]).ok();
    std::fs::create_dir_all(world.path("medium")).unwrap();
    let ran = build(&world).ok();
    assert!(ran.stdout.contains("demo.tar.r001"), "{}", ran.stdout);
    world
}

fn build(world: &World) -> Ran {
    world.bundler(&["build", "--key", "keys/rel.key.pem", "--out", ARCHIVE, "--recovery", "10%"])
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

/// A scratch over a fortieth of the archive, 700 bits anywhere in it, and 80 in the recovery data.
fn harm(world: &World) {
    let mut state = 7_u64;
    let mut below = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % bound
    };
    change(&world.path(ARCHIVE), |bytes| {
        let length = bytes.len();
        bytes[length / 3..length / 3 + length / 40].fill(0);
        for _ in 0..700 {
            bytes[below(length)] ^= 1 << below(8);
        }
    });
    change(&world.path(RECOVERY), |bytes| {
        for _ in 0..80 {
            let length = bytes.len();
            bytes[below(length)] ^= 1 << below(8);
        }
    });
}

#[test]
fn a_scratch_and_hundreds_of_bits_are_repaired_in_flight_and_the_medium_stays_as_it_is() {
    let world = world();
    harm(&world);
    let before = (world.snapshot("medium"), world.snapshot("site/store"));
    let _ = world.installer(&["verify", ARCHIVE]).expect_exit(Exit::Damaged);
    let shown = world.installer(&["verify", "--repair", ARCHIVE]).ok();
    assert!(shown.stdout.contains("verified: every signature"), "{}", shown.stdout);
    assert!(shown.stdout.contains("more places") && shown.stdout.contains("margin "), "{}", shown.stdout);
    let json = world.installer(&["--output", "json", "verify", "--repair", ARCHIVE]).ok().json();
    assert!(json["repair"]["repaired_bytes"].as_u64().unwrap() > 300_000, "{json}");
    assert!(json["repair"]["margin"].as_i64().unwrap() > 0, "{json}");
    assert_eq!((world.snapshot("medium"), world.snapshot("site/store")), before);

    let applied = world.installer(&["apply", "--repair", "--yes", ARCHIVE]).ok();
    assert!(applied.stderr.contains("margin "), "{}", applied.stderr);
    assert_eq!(world.snapshot("medium"), before.0);
    let stored = world.path("site/store/blobs/sha256").join(manifests::Digest::of(&noise(12 << 20)).hex());
    assert!(std::fs::read(stored).unwrap() == noise(12 << 20));
    let log = std::fs::read_to_string(world.path("site/audit/audit.jsonl")).unwrap();
    assert_eq!(log.matches("\"event\":\"repair\"").count(), 3, "{log}");
    world.installer(&["audit", "verify"]).ok();
}

#[test]
fn the_head_of_the_archive_may_be_gone_and_so_may_its_end() {
    let world = world();
    change(&world.path(ARCHIVE), |bytes| bytes[..200_000].fill(0));
    let _ = world.installer(&["verify", ARCHIVE]).expect_exit(Exit::Damaged);
    world.installer(&["verify", "--repair", ARCHIVE]).ok();
    change(&world.path(ARCHIVE), |bytes| bytes.truncate(bytes.len() - 500_000));
    world.installer(&["verify", "--repair", ARCHIVE]).ok();
}

#[test]
fn too_much_damage_says_where_and_by_how_much_and_nothing_is_left() {
    let world = world();
    change(&world.path(ARCHIVE), |bytes| bytes[3_000_000..5_000_000].fill(0));
    let before = world.snapshot("site/store");
    let ran = world.installer(&["verify", "--repair", ARCHIVE]).expect_exit(Exit::Damaged);
    assert!(ran.stderr.contains("lacks") && ran.stderr.contains("2999296 to 5000191"), "{}", ran.stderr);
    assert_eq!(world.snapshot("site/store"), before);
    std::fs::remove_file(world.path(RECOVERY)).unwrap();
    let ran = world.installer(&["verify", "--repair", ARCHIVE]).expect_exit(Exit::Damaged);
    assert!(ran.stderr.contains("no recovery data"), "{}", ran.stderr);
}

#[test]
fn a_repaired_archive_is_checked_like_any_other() {
    let world = world();
    harm(&world);
    // Somebody else's site, which trusts somebody else.
    let other = World::new();
    other.trust();
    let medium = world.path(ARCHIVE);
    let args = ["verify", "--repair", medium.to_str().unwrap()];
    let _ = other.installer(&args).expect_exit(Exit::Refused);
}

#[test]
fn a_signature_that_is_added_makes_the_recovery_data_anew() {
    let world = World::new();
    world.trust();
    world.write("configs/a.bin", noise(300_000));
    world.spec("1.0.0", 1, "files: [{source: configs, dest: /etc/demo}]\n");
    world.bundler(&["lock"]).ok();
    std::fs::create_dir_all(world.path("medium")).unwrap();
    world.bundler(&["build", "--out", ARCHIVE, "--recovery", "20%"]).ok();
    let unsigned = std::fs::read(world.path(RECOVERY)).unwrap();
    let signed = world.bundler(&["sign", ARCHIVE, "--key", "keys/rel.key.pem"]).ok();
    assert!(signed.stdout.contains("recovery "), "{}", signed.stdout);
    assert_ne!(std::fs::read(world.path(RECOVERY)).unwrap(), unsigned);
    change(&world.path(ARCHIVE), |bytes| bytes[..50_000].fill(1));
    world.installer(&["verify", "--repair", ARCHIVE]).ok();
}

#[test]
fn what_is_no_percentage_or_there_already_is_refused_before_anything_is_built() {
    let world = world();
    let ran = build(&world).expect_exit(Exit::Usage);
    assert!(ran.stderr.contains("is there already"), "{}", ran.stderr);
    for bad in ["0%", "101%", "much"] {
        let ran = world.bundler(&["build", "--out", "other.tar", "--recovery", bad]).expect_exit(Exit::Usage);
        assert!(ran.stderr.contains("is not a percentage"), "{}", ran.stderr);
        assert!(!world.path("other.tar").exists());
    }
}

#[test]
fn discs_have_no_recovery_data_yet_and_parts_that_were_joined_are_repaired_like_any_archive() {
    let world = world();
    let args =
        ["build", "--key", "keys/rel.key.pem", "--out", "discs", "--media", "5MB", "--recovery", "10%"];
    let ran = world.bundler(&args).expect_exit(Exit::Usage);
    assert!(ran.stderr.contains("recovery data for parts is not there yet"), "{}", ran.stderr);
    assert!(ran.stderr.contains("bundler split"), "{}", ran.stderr);
    assert!(!world.path("discs").exists());

    world.bundler(&["split", ARCHIVE, "--media", "5MB", "--out", "discs"]).ok();
    for args in [["verify", "--repair", "discs"], ["apply", "--repair", "discs"]] {
        let ran = world.installer(&args).expect_exit(Exit::Usage);
        assert!(ran.stderr.contains("recovery data for parts is not there yet"), "{}", ran.stderr);
        assert!(ran.stderr.contains("join the parts"), "{}", ran.stderr);
    }
    let mut joined = Vec::new();
    for number in 1..=std::fs::read_dir(world.path("discs")).unwrap().count() {
        let part = format!("discs/disc-00{number}/demo-1.0.0.bundle.tar.00{number}");
        joined.extend(std::fs::read(world.path(&part)).unwrap());
    }
    assert!(joined == std::fs::read(world.path(ARCHIVE)).unwrap());
    joined[6_000_000..6_300_000].fill(0);
    world.write("joined/demo.tar", joined);
    std::fs::copy(world.path(RECOVERY), world.path("joined/demo.tar.r001")).unwrap();
    let _ = world.installer(&["verify", "joined/demo.tar"]).expect_exit(Exit::Damaged);
    world.installer(&["verify", "--repair", "joined/demo.tar"]).ok();
}
