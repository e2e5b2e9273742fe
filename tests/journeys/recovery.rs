//! Recovery data from `bundler build --recovery` to `installer verify --repair` and `apply --repair`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

use std::path::{Path, PathBuf};

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
        for args in [["build", "--out", "other.tar"], ["split", ARCHIVE, "--media=dvd"]] {
            let ran = world.bundler(&[&args[..], &["--recovery", bad]].concat()).expect_exit(Exit::Usage);
            assert!(ran.stderr.contains("is not a percentage"), "{}", ran.stderr);
        }
        assert!(!world.path("other.tar").exists() && !world.path("demo-1.0.0.discs").exists());
    }
}

// ---- discs ------------------------------------------------------------------------------------------------

const PART: &str = "demo-1.0.0.bundle.tar";

/// A signed bundle of so many MiB, `demo.tar`, and its discs in `discs`, with so much recovery data on them.
fn with_discs(mib: usize, media: &str, percent: &str) -> (World, Vec<PathBuf>) {
    let world = World::new();
    world.trust();
    world.write("configs/big.bin", noise(mib << 20));
    world.spec("1.0.0", 1, "files: [{source: configs, dest: /etc/demo}]\n");
    world.bundler(&["lock"]).ok();
    world.bundler(&["build", "--key", "keys/rel.key.pem", "--out", "demo.tar"]).ok();
    world.bundler(&["split", "demo.tar", "--media", media, "--recovery", percent, "--out", "discs"]).ok();
    let mut discs: Vec<PathBuf> =
        std::fs::read_dir(world.path("discs")).unwrap().map(|disc| disc.unwrap().path()).collect();
    discs.sort();
    (world, discs)
}

fn part_of(disc: &Path) -> PathBuf {
    let number = disc.to_str().unwrap().rsplit('-').next().unwrap().to_string();
    disc.join(format!("{PART}.{number}"))
}

fn recovery_of(disc: &Path) -> PathBuf {
    let number = disc.to_str().unwrap().rsplit('-').next().unwrap().to_string();
    disc.join(format!("{PART}.r{number}"))
}

fn stored(world: &World, mib: usize) -> bool {
    let name = manifests::Digest::of(&noise(mib << 20)).hex();
    std::fs::read(world.path("site/store/blobs/sha256").join(name))
        .is_ok_and(|bytes| bytes == noise(mib << 20))
}

#[test]
fn one_disc_is_gone_and_a_thousand_bits_elsewhere_are_wrong_and_all_of_it_comes_back() {
    let (world, discs) = with_discs(32, "2600kB", "10%");
    assert!((18..=22).contains(&discs.len()), "{}", discs.len());
    // The first: with it the head of the archive and its recovery file.
    std::fs::remove_dir_all(&discs[0]).unwrap();
    let mut state = 7_u64;
    let mut below = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % bound
    };
    for flips in [1000, 20] {
        for _ in 0..flips {
            let disc = &discs[1 + below(discs.len() - 1)];
            let path = if flips == 20 { recovery_of(disc) } else { part_of(disc) };
            change(&path, |bytes| {
                let at = below(bytes.len());
                bytes[at] ^= 1 << below(8);
            });
        }
    }
    let before = (world.snapshot("discs"), world.snapshot("site/store"));
    let ran = world.installer(&["verify", "discs"]).expect_exit(Exit::Damaged);
    assert!(ran.stderr.contains("--repair"), "{}", ran.stderr);
    let shown = world.installer(&["verify", "--repair", "discs"]).ok().stdout;
    for word in ["verified: every signature", "repaired   part 1, bytes 0 to ", "more places", "margin "] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    let json = world.installer(&["--output", "json", "verify", "--repair", "discs"]).ok().json();
    assert_eq!(json["repair"]["parts"][0], 1, "{json}");
    assert!(json["repair"]["margin"].as_i64().unwrap() > 0, "{json}");
    assert_eq!((world.snapshot("discs"), world.snapshot("site/store")), before);
    world.installer(&["preflight", "--repair", "discs"]).ok();
    world.installer(&["apply", "--repair", "--yes", "discs"]).ok();
    assert!(stored(&world, 32) && world.snapshot("discs") == before.0);
    world.installer(&["audit", "verify"]).ok();
}

#[test]
fn discs_with_recovery_data_are_the_same_however_they_are_made_and_one_is_made_again() {
    let (world, discs) = with_discs(6, "2MB", "30%");
    assert!(discs.len() > 4, "{}", discs.len());
    let archive = std::fs::read(world.path("demo.tar")).unwrap();
    let parts: Vec<u8> = discs.iter().flat_map(|disc| std::fs::read(part_of(disc)).unwrap()).collect();
    assert!(parts == archive);
    for disc in &discs {
        let used: u64 = world
            .snapshot(disc.strip_prefix(world.dir()).unwrap().to_str().unwrap())
            .keys()
            .map(|path| path.metadata().unwrap().len())
            .sum();
        assert!(used < 2_000_000 - 400_000, "{used}");
        let label = std::fs::read_to_string(disc.join("LABEL.txt")).unwrap();
        let digest = manifests::Digest::of(&std::fs::read(recovery_of(disc)).unwrap()).hex();
        assert!(label.contains(&digest) && label.contains("--repair") && label.len() < 4096, "{label}");
    }
    let relative = |below: &str| -> Vec<(PathBuf, String)> {
        let root = world.path(below);
        let found = world.snapshot(below).into_iter();
        found.map(|(path, what)| (path.strip_prefix(&root).unwrap().to_path_buf(), what)).collect()
    };
    let media = ["--media", "2MB", "--recovery", "30%"];
    let wanted = relative("discs");
    world.bundler(&[&["build", "--key", "keys/rel.key.pem", "--out", "built"][..], &media].concat()).ok();
    assert_eq!(relative("built"), wanted);
    world.bundler(&[&["split", "discs", "--out", "again"][..], &media].concat()).ok();
    assert_eq!(relative("again"), wanted);
    world.bundler(&[&["split", "demo.tar", "--only", "3", "--out", "third"][..], &media].concat()).ok();
    assert_eq!(relative("third/disc-003"), relative("discs/disc-003"));
    assert_eq!(std::fs::read_dir(world.path("third")).unwrap().count(), 1);
    // Without it, the same archive is cut otherwise and is the same bundle.
    world.bundler(&["split", "discs", "--media", "2MB", "--out", "plain"]).ok();
    world.installer(&["verify", "plain"]).ok();
    world.installer(&["verify", "discs"]).ok();
    world.installer(&["verify", "--repair", "discs"]).ok();
    let json = ["--output", "json", "split", "demo.tar", "--only", "1", "--out", "json"];
    let json = world.bundler(&[&json[..], &media].concat()).ok().json();
    assert_eq!(json["recovery"]["percent"], 30);
    assert_eq!(json["discs"][0]["recovery"][0]["file"], format!("{PART}.r001"));
}

#[test]
fn images_of_discs_with_recovery_data_fit_and_are_made_again_bit_for_bit() {
    if testkit::real_part("xorriso").is_none() {
        return;
    }
    let (world, discs) = with_discs(6, "2MB", "30%");
    let split = |more: &[&str]| {
        let all = ["split", "demo.tar", "--media", "2MB", "--recovery", "30%", "--iso"];
        world.bundler(&[&all[..], more].concat()).ok();
    };
    split(&["--out", "images"]);
    split(&["--out", "third", "--only", "3"]);
    let image = |set: &str, number: usize| std::fs::read(world.path(&format!("{set}/disc-{number:03}.iso")));
    assert!(image("images", 3).unwrap() == image("third", 3).unwrap());
    for number in 1..=discs.len() {
        assert!(image("images", number).unwrap().len() <= 2_000_000);
    }
}

#[test]
fn any_one_disc_may_be_lost_where_the_sender_was_told_so_and_two_are_named() {
    let (world, discs) = with_discs(6, "2MB", "30%");
    let said =
        world.bundler(&["split", "demo.tar", "--media", "2MB", "--recovery", "30%", "--out", "x"]).ok();
    assert!(said.stdout.contains("any one disc may be lost"), "{}", said.stdout);
    let said = world.bundler(&["split", "demo.tar", "--media", "2MB", "--recovery", "5%", "--out", "y"]).ok();
    assert!(said.stdout.contains("a whole disc may not be lost; that takes --recovery "), "{}", said.stdout);
    let aside = world.path("aside");
    for disc in &discs {
        std::fs::rename(disc, &aside).unwrap();
        world.installer(&["verify", "--repair", "discs"]).ok();
        std::fs::rename(&aside, disc).unwrap();
    }
    std::fs::remove_dir_all(&discs[1]).unwrap();
    std::fs::remove_dir_all(&discs[3]).unwrap();
    let before = world.snapshot("site/store");
    let ran = world.installer(&["verify", "--repair", "discs"]).expect_exit(Exit::Damaged);
    for word in ["cannot be repaired; these parts were not there: 2, 4", "lacks", "all discs at once"] {
        assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
    }
    assert_eq!(world.snapshot("site/store"), before);
}

/// What is done to the discs of a set.
type Harm = fn(&[PathBuf]);

#[test]
fn whatever_is_wrong_with_one_disc_the_others_tell_what_it_was() {
    let (world, discs) = with_discs(6, "2MB", "30%");
    let good: Vec<(PathBuf, Vec<u8>)> = world
        .snapshot("discs")
        .into_keys()
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), std::fs::read(&path).unwrap()))
        .collect();
    let harms: [(&str, Harm); 7] = [
        ("a list that lies", |discs| {
            change(&discs[0].join("parts.json"), |bytes| {
                let at = bytes.len() - 60;
                bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
            });
        }),
        ("no list", |discs| std::fs::write(discs[0].join("parts.json"), "x").unwrap()),
        ("documents", |discs| {
            change(&discs[0].join("bundle.json"), |bytes| bytes[100] ^= 1);
            change(&discs[0].join("inventory.json"), |bytes| bytes[100] ^= 1);
        }),
        ("truncated", |discs| change(&part_of(&discs[2]), |bytes| bytes.truncate(bytes.len() / 3))),
        ("too long", |discs| change(&part_of(&discs[2]), |bytes| bytes.extend([1; 4000]))),
        ("swapped", |discs| {
            let short = |path: &Path| std::fs::read(path).unwrap()[..40_000].to_vec();
            let (two, three) = (short(&part_of(&discs[1])), short(&part_of(&discs[2])));
            change(&part_of(&discs[1]), |bytes| bytes[..40_000].copy_from_slice(&three));
            change(&part_of(&discs[2]), |bytes| bytes[..40_000].copy_from_slice(&two));
        }),
        ("both heads of one recovery file", |discs| {
            change(&recovery_of(&discs[1]), |bytes| {
                let length = bytes.len();
                bytes[..512].fill(0);
                bytes[length - 512..].fill(0);
            });
            change(&part_of(&discs[2]), |bytes| bytes[1000] ^= 1);
        }),
    ];
    for (what, harm) in harms {
        harm(&discs);
        let ran = world.installer(&["verify", "--repair", "discs"]);
        assert_eq!(ran.exit, Exit::Done, "{what}: {}", ran.stderr);
        for (path, bytes) in &good {
            std::fs::write(path, bytes).unwrap();
        }
    }
}

#[test]
fn discs_that_were_repaired_are_checked_like_any_other() {
    let (world, discs) = with_discs(6, "2MB", "30%");
    std::fs::remove_dir_all(&discs[0]).unwrap();
    let other = World::new();
    other.trust();
    let places = world.path("discs");
    let _ = other.installer(&["verify", "--repair", places.to_str().unwrap()]).expect_exit(Exit::Refused);
    let ran = world.installer(&["apply", "--repair", "--yes", "discs/disc-002", "discs/disc-003"]);
    let _ = ran.expect_exit(Exit::Damaged);
    std::fs::remove_dir_all(&discs[1]).unwrap();
    for disc in &discs[2..] {
        std::fs::remove_file(recovery_of(disc)).unwrap();
    }
    let ran = world.installer(&["verify", "--repair", "discs"]).expect_exit(Exit::Damaged);
    assert!(ran.stderr.contains("there is no recovery data beside"), "{}", ran.stderr);
    std::fs::create_dir(world.path("empty")).unwrap();
    let ran = world.installer(&["verify", "--repair", "empty"]).expect_exit(Exit::Damaged);
    assert!(ran.stderr.contains("there is no part of a bundle"), "{}", ran.stderr);
}

#[test]
fn after_another_signature_all_discs_are_made_anew_and_old_recovery_files_are_told_apart() {
    let (world, _) = with_discs(6, "2MB", "30%");
    let ran = world.bundler(&["sign", "discs", "--key", "keys/bob.key.pem"]).expect_exit(Exit::Usage);
    assert!(
        ran.stderr.contains("discs are not signed") && ran.stderr.contains("split it again"),
        "{}",
        ran.stderr
    );
    world.bundler(&["sign", "demo.tar", "--key", "keys/bob.key.pem"]).ok();
    world.bundler(&["split", "demo.tar", "--media", "2MB", "--recovery", "30%", "--out", "new"]).ok();
    let content =
        |set: &str, name: &str| std::fs::read(world.path(&format!("{set}/disc-003/{PART}.{name}"))).unwrap();
    assert!(content("new", "003") == content("discs", "003"));
    assert!(content("new", "r003") != content("discs", "r003"));
    world.installer(&["verify", "--repair", "new"]).ok();
    std::fs::remove_dir_all(world.path("new/disc-003")).unwrap();
    std::fs::rename(world.path("discs/disc-003"), world.path("new/disc-003")).unwrap();
    let ran = world.installer(&["verify", "--repair", "new"]).expect_exit(Exit::Damaged);
    assert!(ran.stderr.contains("the recovery files are of several archives"), "{}", ran.stderr);
}

#[test]
fn parts_that_were_joined_are_repaired_with_the_recovery_files_of_their_discs() {
    let (world, discs) = with_discs(6, "2MB", "30%");
    let mut joined: Vec<u8> = discs.iter().flat_map(|disc| std::fs::read(part_of(disc)).unwrap()).collect();
    joined[3_000_000..3_300_000].fill(0);
    world.write("joined/demo.tar", joined);
    for disc in &discs {
        let name = recovery_of(disc).file_name().unwrap().to_str().unwrap().replace(PART, "demo.tar");
        std::fs::copy(recovery_of(disc), world.path("joined").join(name)).unwrap();
    }
    let _ = world.installer(&["verify", "joined/demo.tar"]).expect_exit(Exit::Damaged);
    world.installer(&["verify", "--repair", "joined/demo.tar"]).ok();
}
