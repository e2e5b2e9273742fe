//! A bundle on discs, from `bundler split` to a site with one drive: what is written on each, who can check it
//! with what, and what happens when a disc is damaged, missing, of something else, or taken out.

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
mod writing;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use e2e::{Ran, World};
use edge::Exit;
use edge::terminal::{AskError, Passphrase, Terminal};
use ingredients::noise;
use onsite::{another_site, audit_holds, build, tree};
use testkit::real_part;

const PART: &str = "demo-1.0.bundle.tar";

/// A bundle of eight files of 300 KB, the archive and its discs of 1.5 MB: four parts, and a file that goes over
/// each edge.
fn sender() -> &'static World {
    static SENDER: LazyLock<World> = LazyLock::new(|| {
        let world = World::new();
        world.trust();
        for seed in 1..=8 {
            world.write(&format!("data/file{seed}"), noise(seed, 300_000));
        }
        build(&world, "1.0", 1, "files: [{source: data, dest: /opt/data}]\n", "b.tar");
        world.bundler(&["split", "b.tar", "--media", "1500kB", "--out", "discs"]).ok();
        world.write("data/file8", noise(9, 300_000));
        build(&world, "1.1", 2, "files: [{source: data, dest: /opt/data}]\n", "other.tar");
        world.bundler(&["split", "other.tar", "--media", "1500kB", "--out", "others"]).ok();
        world
    });
    &SENDER
}

const COUNT: usize = 4;

fn disc(number: usize) -> PathBuf {
    sender().path(&format!("discs/disc-{number:03}"))
}

fn discs() -> Vec<PathBuf> {
    (1..=COUNT).map(disc).collect()
}

/// A site, and copies of the discs that it may damage.
fn receiver() -> World {
    let world = another_site(sender());
    copy(&sender().path("discs"), &world.path("discs"));
    world
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").args(["-r", "--"]).arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

fn part(world: &World, number: usize) -> PathBuf {
    world.path(&format!("discs/disc-{number:03}/{PART}.{number:03}"))
}

fn flip(path: &Path, at: u64) {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// What is applied: the ledger's word, and the blobs of the store, each of which is what its name says.
fn applied(world: &World) -> (Vec<String>, BTreeSet<String>) {
    let ledger = std::fs::read(world.path("site/ledger/acme.demo.json")).unwrap_or(b"{}".to_vec());
    let ledger: serde_json::Value = serde_json::from_slice(&ledger).unwrap();
    let versions = ledger["applied"].as_array().map_or(Vec::new(), |list| {
        list.iter().map(|one| one["version"].as_str().unwrap().to_string()).collect()
    });
    let mut blobs = BTreeSet::new();
    for (path, what) in tree(world, "site/store/blobs/sha256", &[]) {
        let name = path.to_str().unwrap().to_string();
        assert!(what.contains(&format!("sha256:{name}")), "{path:?} {what}");
        blobs.insert(name);
    }
    (versions, blobs)
}

/// What a site has that took the whole archive.
fn expected() -> BTreeSet<String> {
    let world = another_site(sender());
    world.installer(&["apply", sender().path("b.tar").to_str().unwrap(), "--yes"]).ok();
    applied(&world).1
}

fn says(ran: &Ran, words: &[&str]) {
    for word in words {
        assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
    }
}

// ---- writing discs ----------------------------------------------------------------------------------------

#[test]
fn every_disc_carries_its_part_and_all_that_is_needed_to_check_it() {
    let world = sender();
    let archive = std::fs::read(world.path("b.tar")).unwrap();
    let parts: Vec<Vec<u8>> =
        (1..=COUNT).map(|n| std::fs::read(disc(n).join(format!("{PART}.{n:03}"))).unwrap()).collect();
    assert_eq!(parts.concat(), archive);
    assert!(!disc(COUNT + 1).exists());
    for number in 1..=COUNT {
        let names: Vec<String> = tree(world, &format!("discs/disc-{number:03}"), &["signatures"])
            .into_keys()
            .map(|path| path.to_str().unwrap().to_string())
            .collect();
        let part = format!("{PART}.{number:03}");
        assert_eq!(names, ["LABEL.txt", "SHA256SUMS", "bundle.json", &part, "inventory.json", "parts.json"]);
        assert_eq!(std::fs::read_dir(disc(number).join("signatures")).unwrap().count(), 1);
        let label = std::fs::read_to_string(disc(number).join("LABEL.txt")).unwrap();
        let digest = manifests::Digest::of(&parts[number - 1]).hex();
        let volume = format!("DEMO_1_0_00{number}_OF_004");
        for word in ["UNCLASSIFIED", "demo 1.0", &format!("{number} of 4"), &digest, &volume, &part] {
            assert!(label.contains(word), "{word}: {label}");
        }
        let used: u64 = tree_bytes(&disc(number));
        assert!(used <= 1_500_000, "{used}");
    }
}

fn tree_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(
            |entry| {
                if entry.path().is_dir() {
                    tree_bytes(&entry.path())
                } else {
                    entry.metadata().unwrap().len()
                }
            },
        )
        .sum()
}

#[test]
fn building_for_media_splitting_and_splitting_discs_again_give_the_same_discs() {
    let world = World::new();
    for name in ["keys", "data"] {
        copy(&sender().path(name), &world.path(name));
    }
    world.write("data/file8", noise(8, 300_000));
    world.spec("1.0", 1, "files: [{source: data, dest: /opt/data}]\n");
    world.bundler(&["build", "--key", "keys/rel.key.pem", "--media", "1500kB", "--out", "built"]).ok();
    world.bundler(&["build", "--key", "keys/rel.key.pem", "--out", "b.tar"]).ok();
    world.bundler(&["split", "b.tar", "--media", "1500kB", "--out", "split"]).ok();
    assert_eq!(tree(&world, "built", &[]), tree(&world, "split", &[]));
    world.bundler(&["split", "split", "--media", "2MB,1500kB", "--out", "other"]).ok();
    world.bundler(&["split", "other", "--media", "1500kB", "--out", "back"]).ok();
    assert_eq!(tree(&world, "back", &[]), tree(&world, "split", &[]));
    assert_ne!(tree(&world, "other", &[]), tree(&world, "split", &[]));
    let json = world.bundler(&["--output", "json", "split", "b.tar", "--media", "fat32", "--out", "stick"]);
    let json = json.ok().json();
    assert_eq!((json["parts"].as_u64(), json["discs"][0]["parts"][0]["number"].as_u64()), (Some(1), Some(1)));
    let root = sender().path("root.json");
    for set in ["split", "other", "stick", "stick/disc-001"] {
        world.bundler(&["verify", set, "--trust", root.to_str().unwrap()]).ok();
        world.bundler(&["inspect", set]).ok();
    }
}

#[test]
fn a_single_part_is_made_again_bit_for_bit_also_after_another_signature() {
    let world = World::new();
    copy(&sender().path("b.tar"), &world.path("b.tar"));
    copy(&sender().path("keys"), &world.path("keys"));
    world.bundler(&["split", "b.tar", "--media", "1500kB", "--only", "3", "--out", "again"]).ok();
    assert_eq!(tree(&world, "again/disc-003", &[]), tree(sender(), "discs/disc-003", &[]));
    assert_eq!(std::fs::read_dir(world.path("again")).unwrap().count(), 1);
    world.bundler(&["sign", "b.tar", "--key", "keys/bob.key.pem"]).ok();
    world.bundler(&["split", "b.tar", "--media", "1500kB", "--only", "3", "--out", "signed"]).ok();
    let part = |set: &str| std::fs::read(world.path(&format!("{set}/disc-003/{PART}.003"))).unwrap();
    assert_eq!(part("signed"), part("again"));
}

#[test]
fn an_image_is_made_again_bit_for_bit_and_holds_the_disc() {
    let Some(xorriso) = real_part("xorriso") else { return };
    let world = World::new();
    let archive = sender().path("b.tar");
    let split = |more: &[&str]| {
        let all = [&["split", archive.to_str().unwrap(), "--media", "1500kB", "--iso"], more].concat();
        world.bundler(&all).ok();
    };
    split(&["--out", "images"]);
    let names: Vec<_> = tree(&world, "images", &[]).into_keys().collect();
    assert_eq!(names.len(), 2 * COUNT, "{names:?}");
    // From another directory, with other time stamps.
    std::fs::create_dir(world.path("elsewhere")).unwrap();
    split(&["--only", "3", "--out", "elsewhere/again"]);
    let image = |set: &str| std::fs::read(world.path(&format!("{set}/disc-003.iso"))).unwrap();
    assert!(image("images") == image("elsewhere/again"), "the images differ");
    assert!(image("images").len() <= 1_500_000);
    let volume = |at: usize| String::from_utf8(image("images")[at..at + 32].to_vec()).unwrap();
    assert_eq!(volume(16 * 2048 + 40).trim(), "DEMO_1_0_003_OF_004");
    // What a drive would show. Below /dev, where directories of tests may be, a file has to be called one.
    let out = world.path("out");
    let extracted = Command::new(xorriso)
        .args(["-osirrox", "on", "-indev"])
        .arg(format!("stdio:{}", world.path("images/disc-003.iso").display()))
        .args(["-extract", "/"])
        .arg(&out)
        .output()
        .unwrap();
    assert!(extracted.status.success(), "{extracted:?}");
    let content = |root: &Path, name: &str| std::fs::read(root.join(name)).unwrap();
    let part = format!("{PART}.003");
    for name in ["bundle.json", "SHA256SUMS", "inventory.json", "parts.json", "LABEL.txt", &part] {
        assert!(content(&out, name) == content(&disc(3), name), "{name}");
    }
    let site = another_site(sender());
    assert!(
        site.installer(&["verify", out.to_str().unwrap()]).ok().stdout.starts_with("part 3 of 4 is whole")
    );
    assert!(Command::new("chmod").args(["-R", "u+w"]).arg(&out).status().unwrap().success());
}

#[test]
fn what_cannot_be_written_is_refused_before_anything_is() {
    let world = World::new();
    copy(&sender().path("b.tar"), &world.path("b.tar"));
    copy(&sender().path("keys"), &world.path("keys"));
    copy(&sender().path("discs"), &world.path("discs"));
    world.write("f", "x");
    world.spec("1.0", 1, "files: [{source: f, dest: /f}]\n");
    world.bundler(&["build", "--out", "unsigned.tar"]).ok();
    let before = world.snapshot("");
    for (line, exit, words) in [
        ("split b.tar --media floppy", Exit::Usage, &["`floppy` is no medium", "650MB"][..]),
        ("split b.tar --media 100kB", Exit::Usage, &["is too small for this bundle", "small files"]),
        ("split b.tar --media fat32 --iso", Exit::Usage, &["--iso", "stick"]),
        ("split b.tar --media 1500kB --only 5", Exit::Usage, &["there is no part 5", "has 4"]),
        ("split b.tar --media 1500kB --only 0", Exit::Usage, &["there is no part 0"]),
        ("split b.tar --media dvd --out discs", Exit::Usage, &["discs is there already"]),
        ("split unsigned.tar --media dvd", Exit::Usage, &["is not signed", "bundler sign"]),
        ("split discs/disc-001 --media dvd", Exit::Damaged, &["missing: 2, 3, 4"]),
        ("split b.tar discs --media dvd", Exit::Usage, &["several bundles"]),
        ("split keys --media dvd", Exit::Damaged, &["holds no part of a bundle"]),
        ("sign discs --key keys/bob.key.pem", Exit::Usage, &["discs are not signed", "cat"]),
        ("build --media dvd", Exit::Usage, &["--key"]),
        ("build --iso", Exit::Usage, &["--media"]),
        ("build --media nonsense --key keys/rel.key.pem", Exit::Usage, &["`nonsense` is no medium"]),
    ] {
        let ran = world.bundler(&line.split(' ').collect::<Vec<_>>()).expect_exit(exit);
        says(&ran, words);
        assert_eq!(world.snapshot(""), before, "{line}");
    }
    let mut bare = World::new();
    bare.vars.insert("PATH".into(), "/nowhere".into());
    let archive = sender().path("b.tar");
    let ran = bare.bundler(&["split", archive.to_str().unwrap(), "--media", "dvd", "--iso"]);
    says(&ran.expect_exit(Exit::Unreachable), &["xorriso", "hint: install xorriso"]);
    assert!(bare.snapshot("").is_empty());
}

#[test]
fn an_archive_that_has_rotted_is_not_split() {
    let world = World::new();
    copy(&sender().path("b.tar"), &world.path("b.tar"));
    flip(&world.path("b.tar"), 1_200_000);
    let ran = world.bundler(&["split", "b.tar", "--media", "1500kB"]).expect_exit(Exit::Damaged);
    says(&ran, &["has digest", "files /opt/data"]);
    assert_eq!(world.snapshot("").len(), 1);
}

// ---- checking discs ---------------------------------------------------------------------------------------

#[test]
fn one_disc_alone_gets_a_verdict_of_its_own_and_never_one_on_the_bundle() {
    let world = receiver();
    for number in 1..=COUNT {
        let path = disc(number);
        let ran = world.installer(&["verify", path.to_str().unwrap()]).ok();
        assert!(
            ran.stdout.starts_with(&format!("part {number} of 4 is whole; not looked at: ")),
            "{}",
            ran.stdout
        );
        assert!(ran.stdout.contains("This says nothing about the bundle as a whole."));
        assert!(!ran.stdout.contains("verified"), "{}", ran.stdout);
        let named = path.join(format!("{PART}.{number:03}"));
        let json = world.installer(&["--output", "json", "verify", named.to_str().unwrap()]).ok().json();
        assert_eq!(json["verified"], false);
        assert_eq!(json["parts"]["whole"], serde_json::json!([number]));
        assert_eq!(json["parts"]["not_looked_at"].as_array().unwrap().len(), 3);
    }
    let log = world.installer(&["--output", "json", "audit", "show"]).ok().stdout;
    assert!(log.contains("verify.part") && !log.contains("\"verify\""), "{log}");
    // For a plan one is not enough.
    let ran = world.installer(&["plan", disc(2).to_str().unwrap()]).expect_exit(Exit::Damaged);
    says(&ran, &["part 1 of 4 (DEMO_1_0_001_OF_004)", "part 4 of 4"]);
    world.installer(&["inspect", disc(2).to_str().unwrap()]).ok();
}

#[test]
fn somebody_with_sha256sum_and_cat_comes_to_the_same_verdict() {
    let world = sender();
    for number in 1..=COUNT {
        let script = format!(
            "grep -c \"$(sha256sum {PART}.{number:03} | cut -d' ' -f1)\" parts.json LABEL.txt && \
             grep -c \"$(sha256sum SHA256SUMS | cut -d' ' -f1)\" bundle.json && \
             sha256sum --check --strict --quiet --ignore-missing SHA256SUMS"
        );
        let ran = Command::new("sh").args(["-euc", &script]).current_dir(disc(number)).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
    }
    let mut joined = Command::new("sh");
    joined.args(["-c", "cat discs/disc-*/*.tar.0* | cmp - b.tar"]).current_dir(world.dir());
    assert!(joined.status().unwrap().success());
}

#[test]
fn the_auditors_script_takes_the_discs_as_they_are() {
    let world = receiver();
    let script = world.installer(&["audit", "explain", "discs"]).ok().stdout;
    assert!(script.contains("cat ") && script.contains("| tar -C bundle -xf -"), "{script}");
    world.write("script", &script);
    std::fs::create_dir(world.path("empty")).unwrap();
    let ran = Command::new("sh").arg(world.path("script")).current_dir(world.path("empty")).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let ran = world.installer(&["audit", "explain", "discs/disc-002"]).expect_exit(Exit::Damaged);
    says(&ran, &["part 1 of 4"]);
}

#[test]
fn several_places_are_read_as_one_bundle_in_whatever_order_they_are_named() {
    for order in [[1, 2, 3, 4], [4, 3, 2, 1], [3, 1, 4, 2]] {
        let world = receiver();
        let before = tree(&world, "discs", &[]);
        let paths: Vec<String> = order.iter().map(|n| format!("discs/disc-{n:03}")).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let verified = world.installer(&[&["verify"], paths.as_slice()].concat()).ok();
        assert!(verified.stdout.starts_with("verified: every signature, every digest, every byte"));
        world.installer(&[&["plan"], paths.as_slice()].concat()).ok();
        world.installer(&[&["apply", "--yes"], paths.as_slice()].concat()).ok();
        assert_eq!(applied(&world), (vec!["1.0".to_string()], expected()));
        assert!(!world.path("site/store/incoming").exists());
        assert_eq!(tree(&world, "discs", &[]), before, "a disc was touched");
        audit_holds(&world);
    }
}

#[test]
fn a_missing_part_is_listed_by_its_label_and_only_that_one_is_needed_later() {
    let world = receiver();
    let ran = world.installer(&["verify", "discs/disc-001", "discs/disc-003"]).expect_exit(Exit::Damaged);
    says(&ran, &["part 2 of 4 (DEMO_1_0_002_OF_004)", "part 4 of 4 (DEMO_1_0_004_OF_004)"]);
    std::fs::rename(world.path("discs/disc-003"), world.path("found-later")).unwrap();
    let ran = world.installer(&["apply", "discs", "--yes"]).expect_exit(Exit::Damaged);
    says(&ran, &["part 3 of 4", "is kept and is not asked for again"]);
    assert_eq!(applied(&world).0, Vec::<String>::new());
    std::fs::remove_dir_all(world.path("discs")).unwrap();
    world.installer(&["apply", "found-later", "--yes"]).ok();
    assert_eq!(applied(&world), (vec!["1.0".to_string()], expected()));
}

// ---- one drive --------------------------------------------------------------------------------------------

/// Somebody who changes the disc each time the program asks. The drive is a link that leads to it.
struct Drive {
    link: PathBuf,
    next: VecDeque<PathBuf>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Terminal for Drive {
    fn ask(&mut self, prompt: &str) -> Result<Passphrase, AskError> {
        self.asked.lock().unwrap().push(prompt.to_string());
        let next = self.next.pop_front().ok_or(AskError::Interrupted)?;
        insert(&self.link, &next);
        Ok(Passphrase::new(Vec::new()))
    }
    fn is_there(&self) -> bool {
        true
    }
}

fn insert(link: &Path, disc: &Path) {
    let _ = std::fs::remove_file(link);
    std::os::unix::fs::symlink(disc, link).unwrap();
}

/// Runs the installer on the one drive, with these discs one after the other.
fn at_the_drive(world: &World, args: &[&str], discs: &[PathBuf]) -> (Ran, Vec<String>) {
    let link = world.path("drive");
    insert(&link, &discs[0]);
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let all = [&["--site", "site"], args, &["drive"]].concat();
    let (mut env, stdout, stderr) = world.env("installer", &all);
    env.terminal =
        Box::new(Drive { link, next: discs[1..].iter().cloned().collect(), asked: Arc::clone(&asked) });
    let exit = installer::run(&mut env);
    let text = |printed: &Mutex<Vec<u8>>| String::from_utf8(printed.lock().unwrap().clone()).unwrap();
    let ran = Ran { exit, stdout: text(&stdout), stderr: text(&stderr) };
    let asked = asked.lock().unwrap().clone();
    (ran, asked)
}

#[test]
fn with_one_drive_the_next_disc_is_asked_for_by_its_label() {
    let world = receiver();
    let (ran, asked) = at_the_drive(&world, &["apply", "--yes"], &discs());
    let ran = ran.ok();
    assert!(ran.stdout.contains("applied: demo 1.0"), "{}", ran.stdout);
    assert_eq!(
        asked,
        [
            "put in demo 1.0, part 2 of 4 (DEMO_1_0_002_OF_004), or any of 3, 4, then press Enter (Ctrl-D ends)",
            "put in demo 1.0, part 3 of 4 (DEMO_1_0_003_OF_004), or any of 4, then press Enter (Ctrl-D ends)",
            "put in demo 1.0, part 4 of 4 (DEMO_1_0_004_OF_004), then press Enter (Ctrl-D ends)",
        ]
    );
    assert_eq!(applied(&world).1, expected());
    let (ran, asked) = at_the_drive(&world, &["verify"], &discs());
    assert!(ran.ok().stdout.starts_with("verified:") && asked.len() == 3);
}

#[test]
fn wrong_discs_an_empty_drive_and_one_that_was_read_cost_nothing_but_a_question() {
    let world = receiver();
    std::fs::create_dir(world.path("empty")).unwrap();
    world.write("rubbish/parts.json", "nothing");
    let other = sender().path("others/disc-002");
    let order =
        [disc(3), world.path("empty"), disc(3), other, world.path("rubbish"), disc(1), disc(4), disc(2)];
    let (ran, asked) = at_the_drive(&world, &["apply", "--yes"], &order);
    let ran = ran.ok();
    assert_eq!(asked.len(), 7);
    says(&ran, &["is a disc of another bundle: demo 1.1", "drive has no bundle.json"]);
    assert_eq!(applied(&world), (vec!["1.0".to_string()], expected()));
}

#[test]
fn a_drive_that_is_empty_at_first_is_waited_for() {
    let world = receiver();
    std::fs::create_dir(world.path("empty")).unwrap();
    let order = [&[world.path("empty")], discs().as_slice()].concat();
    let (ran, asked) = at_the_drive(&world, &["apply", "--yes"], &order);
    let _ = ran.ok();
    assert!(asked[0].starts_with("put in a disc of the bundle"), "{asked:?}");
    let ran = world.installer(&["verify", "empty"]).expect_exit(Exit::Damaged);
    says(&ran, &["there is no part of a bundle at", "hint:"]);
}

#[test]
fn who_stops_looking_gets_a_verdict_on_what_was_looked_at() {
    let world = receiver();
    let (ran, asked) = at_the_drive(&world, &["verify"], &[disc(2), disc(4)]);
    assert!(ran.ok().stdout.starts_with("parts 2, 4 of 4 are whole; not looked at: 1, 3"));
    assert_eq!(asked.len(), 2);
    let (ran, _) = at_the_drive(&world, &["apply", "--yes"], &[disc(2), disc(4)]);
    says(&ran.expect_exit(Exit::Damaged), &["part 1 of 4", "part 3 of 4", "is kept"]);
    // Nobody is asked where the result is for a program.
    let (ran, asked) = at_the_drive(&world, &["--output", "json", "verify"], &[disc(2), disc(4)]);
    assert!(ran.ok().json()["verified"] == false && asked.is_empty());
    // Two days later.
    let (ran, asked) = at_the_drive(&world, &["apply", "--yes"], &[disc(3), disc(1)]);
    assert!(ran.ok().stdout.contains("applied: demo 1.0") && asked.len() == 1, "{asked:?}");
}

// ---- faults -----------------------------------------------------------------------------------------------

/// Damages the discs, and sees that they are refused with these words; then somebody puts it right.
fn damaged(what: &str, words: &[&str], damage: impl Fn(&World)) {
    let world = receiver();
    damage(&world);
    let before = tree(&world, "site", &["audit", "lock"]);
    let said = world.installer(&["verify", "discs"]).expect_exit(Exit::Damaged);
    says(&said, words);
    assert_eq!(tree(&world, "site", &["audit", "lock"]), before, "{what}: looking has changed the site");
    let said = world.installer(&["apply", "discs", "--yes"]).expect_exit(Exit::Damaged);
    says(&said, words);
    assert_eq!(applied(&world), (vec![], BTreeSet::new()), "{what}: something is in the store");
    std::fs::remove_dir_all(world.path("discs")).unwrap();
    copy(&sender().path("discs"), &world.path("discs"));
    world.installer(&["apply", "discs", "--yes"]).ok();
    assert_eq!(applied(&world), (vec!["1.0".to_string()], expected()), "{what}");
    audit_holds(&world);
}

#[test]
fn one_flipped_bit_is_named_with_its_part_its_bytes_and_its_component() {
    damaged("a blob", &["disc-003", "part 3, bytes ", "files /opt/data, file", "--only 3"], |world| {
        flip(&part(world, 3), 400_000);
    });
    damaged(
        "a piece at the end",
        &["part 2, bytes ", "files /opt/data, file", "parts.json", "--only 2"],
        |world| {
            let length = std::fs::metadata(part(world, 2)).unwrap().len();
            flip(&part(world, 2), length - 1);
        },
    );
    damaged("a piece at the start", &["part 2, bytes ", "--only 2"], |world| flip(&part(world, 2), 0));
    damaged("the reserved area", &["part 1, bytes ", "the signatures", "not zero"], |world| {
        flip(&part(world, 1), 20_000);
    });
    damaged("the very end", &["part 4, bytes ", "the end of the archive"], |world| {
        let length = std::fs::metadata(part(world, 4)).unwrap().len();
        flip(&part(world, 4), length - 1);
    });
    damaged("the list of parts", &["disc-002", "parts.json"], |world| {
        flip(&world.path("discs/disc-002/parts.json"), 200);
    });
}

#[test]
fn a_signed_document_that_was_changed_on_one_disc_is_refused() {
    let world = receiver();
    flip(&world.path("discs/disc-002/bundle.json"), 300);
    let before = tree(&world, "site", &["audit", "lock"]);
    for args in [["verify", "discs", "-v"], ["apply", "discs", "--yes"]] {
        let ran = world.installer(&args).expect_exit(Exit::Refused);
        says(&ran, &["disc-002 is refused", "signature"]);
    }
    assert_eq!(tree(&world, "site", &["audit", "lock"]), before);
}

#[test]
fn a_truncated_part_and_one_that_is_too_long_are_named_with_both_lengths() {
    damaged("truncated", &["part 2, bytes 700,000 to", "is 700000 bytes long, expected"], |world| {
        std::fs::File::options().write(true).open(part(world, 2)).unwrap().set_len(700_000).unwrap();
    });
    damaged("too long", &["part 2, bytes ", "bytes long, expected"], |world| {
        let file = std::fs::File::options().append(true).open(part(world, 2)).unwrap();
        file.write_all_at(b"x", 0).unwrap_or(());
        file.set_len(file.metadata().unwrap().len() + 1).unwrap();
    });
}

#[test]
fn parts_that_were_exchanged_are_told_apart() {
    let words = [
        "part 2, bytes",
        "this is part 3 under another part's name",
        "this is part 2 under another part's name",
    ];
    damaged("swapped", &words, |world| {
        let (two, three, aside) = (part(world, 2), part(world, 3), world.path("aside"));
        std::fs::rename(&two, &aside).unwrap();
        std::fs::rename(&three, &two).unwrap();
        std::fs::rename(&aside, &three).unwrap();
    });
}

#[test]
fn parts_of_two_bundles_are_told_apart() {
    let world = receiver();
    let other = sender().path("others/disc-002");
    let before = tree(&world, "site", &["audit", "lock"]);
    let args = ["apply", "--yes", "discs/disc-001", other.to_str().unwrap()];
    let ran = world.installer(&args).expect_exit(Exit::Damaged);
    says(&ran, &["is a disc of another bundle: demo 1.1", "hint: take that disc out"]);
    assert_eq!(tree(&world, "site", &["audit", "lock"]), before);
    // Or only the file.
    damaged("another bundle's part", &["part 2, bytes"], |world| {
        std::fs::copy(sender().path("others/disc-002/demo-1.1.bundle.tar.002"), part(world, 2)).unwrap();
    });
}

#[test]
fn after_damage_only_the_damaged_disc_is_needed_again_and_any_split_will_do() {
    let world = receiver();
    flip(&part(&world, 3), 500_000);
    let ran = world.installer(&["apply", "discs", "--yes"]).expect_exit(Exit::Damaged);
    says(&ran, &["the parts that were whole are kept and are not asked for again"]);
    // The good discs are gone; the sender has made one anew.
    std::fs::remove_dir_all(world.path("discs")).unwrap();
    let archive = sender().path("b.tar");
    let split = ["split", archive.to_str().unwrap(), "--media", "1500kB", "--only", "3", "--out", "again"];
    world.bundler(&split).ok();
    world.installer(&["apply", "again", "--yes"]).ok();
    assert_eq!(applied(&world), (vec!["1.0".to_string()], expected()));

    let world = receiver();
    flip(&part(&world, 3), 500_000);
    let _ = world.installer(&["apply", "discs", "--yes"]).expect_exit(Exit::Damaged);
    world.bundler(&["split", archive.to_str().unwrap(), "--media", "2MB", "--out", "larger"]).ok();
    // The second of the larger ones has all that is missing.
    world.installer(&["apply", "larger/disc-002", "--yes"]).ok();
    assert_eq!(applied(&world).1, expected());
}

#[test]
fn what_was_begun_is_forgotten_when_another_bundle_is_loaded() {
    let world = receiver();
    let _ = world.installer(&["apply", "discs/disc-001", "--yes"]).expect_exit(Exit::Damaged);
    assert!(world.path("site/store/incoming").exists());
    world.installer(&["apply", sender().path("other.tar").to_str().unwrap(), "--yes"]).ok();
    assert!(!world.path("site/store/incoming").exists());
    let _ = world.installer(&["apply", "discs", "--yes"]).expect_exit(Exit::Refused);
}

#[test]
fn what_rots_on_the_site_meanwhile_is_noticed_and_read_again() {
    let world = receiver();
    let _ = world.installer(&["apply", "discs/disc-002", "--yes"]).expect_exit(Exit::Damaged);
    let incoming = tree(&world, "site/store/incoming", &[]);
    let blob = incoming.keys().find(|path| path.extension().is_none() && incoming[*path].contains("file"));
    flip(&world.path("site/store/incoming").join(blob.unwrap()), 100);
    // The journal lost its end as well.
    let journal = incoming.keys().find(|path| path.ends_with("done.jsonl")).unwrap();
    let journal = world.path("site/store/incoming").join(journal);
    let mut lines = std::fs::read(&journal).unwrap();
    lines.extend(b"{\"from\":12,\"t");
    std::fs::write(&journal, lines).unwrap();
    let others = ["apply", "--yes", "discs/disc-001", "discs/disc-003", "discs/disc-004"];
    let ran = world.installer(&others).expect_exit(Exit::Damaged);
    says(&ran, &["part 2 of 4"]);
    world.installer(&["apply", "--yes", "discs/disc-002"]).ok();
    assert_eq!(applied(&world).1, expected());
}

// ---- a real process ---------------------------------------------------------------------------------------

/// The installer as a process, under `strace` with these options.
fn traced(world: &World, options: &[&str], args: &[&str]) -> Output {
    let mut command = Command::new(real_part("strace").unwrap());
    command.args(["-f", "-y", "-qq", "-e", "signal=none"]).args(options);
    command.arg(env!("CARGO_BIN_EXE_e2e-installer")).args(["--site", "site"]).args(args);
    command.current_dir(world.dir()).env_clear().envs(&world.vars).stdin(Stdio::null());
    command.output().unwrap()
}

/// How many bytes were read of each part, by a whole run.
fn read_of_parts(world: &World, args: &[&str]) -> (Output, BTreeMap<usize, u64>) {
    let trace = world.path("trace");
    let options = ["-o", trace.to_str().unwrap(), "-e", "trace=read,pread64"];
    let ran = traced(world, &options, args);
    let mut read = BTreeMap::new();
    for line in std::fs::read_to_string(&trace).unwrap().lines() {
        let Some((_, rest)) = line.split_once(&format!("/{PART}.")) else { continue };
        let number: usize = rest[..3].parse().unwrap();
        let count: u64 = line.rsplit("= ").next().and_then(|count| count.trim().parse().ok()).unwrap_or(0);
        *read.entry(number).or_insert(0) += count;
    }
    std::fs::remove_file(trace).unwrap();
    (ran, read)
}

#[test]
fn every_byte_of_every_part_is_read_once_and_the_medium_is_only_ever_read() {
    if real_part("strace").is_none() {
        return;
    }
    for args in [&["verify", "discs"][..], &["apply", "discs", "--yes"]] {
        let world = receiver();
        let (ran, read) = read_of_parts(&world, args);
        assert_eq!(ran.status.code(), Some(0), "{ran:?}");
        for number in 1..=COUNT {
            assert_eq!(
                read[&number],
                std::fs::metadata(part(&world, number)).unwrap().len(),
                "part {number}"
            );
        }
        // Every call that names something on a disc.
        let world = receiver();
        let trace = world.path("trace");
        let ran = traced(&world, &["-o", trace.to_str().unwrap(), "-e", "trace=file"], args);
        assert_eq!(ran.status.code(), Some(0), "{ran:?}");
        for line in std::fs::read_to_string(&trace).unwrap().lines().filter(|line| line.contains("discs/")) {
            let reads =
                ["open(", "openat(", "stat", "readlink", "access("].iter().any(|call| line.contains(call));
            let writes = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|flag| line.contains(flag));
            assert!(reads && !writes, "{line}");
        }
    }
}

#[test]
fn an_unreadable_sector_is_named_and_the_rest_of_the_set_is_kept() {
    if real_part("strace").is_none() {
        return;
    }
    let world = receiver();
    let bad = part(&world, 2).canonicalize().unwrap();
    let options = |calls: &str, when: &str| {
        vec![
            "-o".to_string(),
            "/dev/null".into(),
            "-P".into(),
            bad.to_str().unwrap().into(),
            "-e".into(),
            "trace=read,pread64".into(),
            "-e".into(),
            format!("inject={calls}:error=EIO:when={when}"),
        ]
    };
    // One that can be read the second time is no damage.
    let once = options("read", "3");
    let once: Vec<&str> = once.iter().map(String::as_str).collect();
    assert_eq!(traced(&world, &once, &["verify", "discs"]).status.code(), Some(0));
    let before = tree(&world, "discs", &[]);
    let always = options("read,pread64", "3+");
    let always: Vec<&str> = always.iter().map(String::as_str).collect();
    for args in [&["verify", "discs"][..], &["apply", "discs", "--yes"]] {
        let ran = traced(&world, &always, args);
        let said = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(4), "{said}");
        for word in
            ["disc-002", "part 2, bytes ", "files /opt/data, file", "cannot be read there", "--only 2"]
        {
            assert!(said.contains(word), "{word}: {said}");
        }
    }
    assert_eq!(tree(&world, "discs", &[]), before);
    world.installer(&["apply", "discs/disc-002", "--yes"]).ok();
    assert_eq!(applied(&world), (vec!["1.0".to_string()], expected()));
}

#[test]
fn a_disc_that_is_taken_out_while_it_is_read_is_asked_for_again() {
    if real_part("strace").is_none() {
        return;
    }
    let world = receiver();
    // From some read on, the kernel says that the device is gone.
    let bad = part(&world, 3).canonicalize().unwrap();
    let fault = "inject=read,pread64:error=ENODEV:when=2+";
    let options = ["-o", "/dev/null", "-P", bad.to_str().unwrap(), "-e", "trace=read,pread64", "-e", fault];
    let ran = traced(&world, &options, &["apply", "discs", "--yes"]);
    let said = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(4), "{said}");
    assert!(said.contains("part 3, bytes ") && said.contains("No such device"), "{said}");
    let (ran, asked) = at_the_drive(&world, &["apply", "--yes"], &[disc(1), disc(3)]);
    let _ = ran.ok();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].starts_with("put in demo 1.0, part 3 of 4"), "{asked:?}");
    assert_eq!(applied(&world).1, expected());
}

#[test]
fn after_a_power_cut_nothing_that_was_done_is_read_again() {
    if real_part("strace").is_none() {
        return;
    }
    // How often it writes content.
    let world = receiver();
    let trace = world.path("trace");
    let options = ["-o", trace.to_str().unwrap(), "-e", "trace=pwrite64,rename"];
    assert_eq!(traced(&world, &options, &["apply", "discs", "--yes"]).status.code(), Some(0));
    let calls = std::fs::read_to_string(&trace).unwrap();
    let count = |call: &str| calls.lines().filter(|line| line.contains(&format!(" {call}("))).count();
    let mut saved = 0;
    for (call, step) in [("pwrite64", 3), ("rename", 2), ("fsync", 2), ("syncfs", 1)] {
        let times = match call {
            "fsync" => 14,
            "syncfs" => 5,
            call => count(call),
        };
        for when in (1..=times).step_by(step) {
            let world = receiver();
            let (only, fault) = (format!("trace={call}"), format!("inject={call}:signal=KILL:when={when}"));
            let options = ["-o", "/dev/null", "-e", &only, "-e", &fault];
            let killed = traced(&world, &options, &["apply", "discs", "--yes"]);
            if killed.status.code() == Some(0) {
                continue;
            }
            // Discs that the journal has need not be there any more.
            let journal = tree(&world, "site/store/incoming", &[]);
            let journal = journal.keys().find(|path| path.ends_with("done.jsonl"));
            let done = journal.map_or(String::new(), |path| {
                std::fs::read_to_string(world.path("site/store/incoming").join(path)).unwrap()
            });
            let end: u64 = done
                .lines()
                .filter(|line| line.contains("\"from\":0,"))
                .find_map(|line| line.split("\"to\":").nth(1)?.trim_end_matches('}').parse().ok())
                .unwrap_or(0);
            let mut from = 0;
            let mut whole = Vec::new();
            for number in 1..=COUNT {
                from += std::fs::metadata(part(&world, number)).unwrap().len();
                if from <= end {
                    whole.push(number);
                }
            }
            let (ran, read) = read_of_parts(&world, &["apply", "discs", "--yes"]);
            assert_eq!(ran.status.code(), Some(0), "{call} {when}: {ran:?}");
            let none = world.path("site/journal").exists() && read.is_empty();
            for number in &whole {
                assert!(none || !read.contains_key(number), "{call} {when}: part {number} was read again");
            }
            let total: u64 = read.values().sum();
            let all: u64 = (1..=COUNT).map(|n| std::fs::metadata(part(&world, n)).unwrap().len()).sum();
            saved += all.saturating_sub(total);
            assert_eq!(applied(&world), (vec!["1.0".to_string()], expected()), "{call} {when}");
            assert!(!world.path("site/store/incoming").exists(), "{call} {when}");
            audit_holds(&world);
        }
    }
    assert!(saved > 1_000_000, "nothing was saved: {saved}");
}

// ---- file systems -----------------------------------------------------------------------------------------

/// Something that is mounted until this is dropped.
struct Mount(PathBuf);

impl Mount {
    /// Nothing, after saying so, where nothing can be mounted.
    fn new(what: &str, args: &[&str], place: PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&place).unwrap();
        let mounted = Command::new("mount").args(args).arg(&place).output().unwrap();
        if !mounted.status.success() {
            let said = String::from_utf8_lossy(&mounted.stderr);
            eprintln!("SKIPPED: {what} cannot be mounted here: {}", said.trim());
            return None;
        }
        Some(Self(place))
    }

    /// An image of a file system: by the kernel if it knows that one, else by a program, through FUSE.
    fn image(what: &str, image: &Path, read_only: bool, place: PathBuf) -> Option<Self> {
        let options = if read_only { "loop,ro" } else { "loop" };
        if kernel_has(what) {
            return Self::new(what, &["-t", what, "-o", options, image.to_str().unwrap()], place);
        }
        let (program, options) = match what {
            "vfat" => ("fusefat", Some(if read_only { "ro" } else { "rw+" })),
            "iso9660" => ("fuseiso", None),
            _ => {
                eprintln!("SKIPPED: neither this kernel nor a program that we know mounts {what}");
                return None;
            }
        };
        let program = real_part(program)?;
        std::fs::create_dir_all(&place).unwrap();
        let mut command = Command::new(program);
        if let Some(options) = options {
            command.args(["-o", options]);
        }
        let mounted = command.arg(image).arg(&place).stdin(Stdio::null()).output().unwrap();
        if !mounted.status.success() {
            let said = String::from_utf8_lossy(&mounted.stderr);
            eprintln!("SKIPPED: {what} cannot be mounted here through FUSE: {}", said.trim());
            return None;
        }
        Some(Self(place))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Whether the kernel knows this file system.
fn kernel_has(file_system: &str) -> bool {
    let list = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    list.lines().any(|line| line.trim_start_matches("nodev").trim() == file_system)
}

#[test]
fn a_full_disk_of_the_site_is_found_before_the_first_byte_of_a_part() {
    let world = receiver();
    if !rustix::process::getuid().is_root() {
        eprintln!("SKIPPED: not root, so nothing was mounted to be full");
        return;
    }
    let store = world.path("site/store");
    let Some(_mount) = Mount::new("tmpfs", &["-t", "tmpfs", "-o", "size=1m", "tmpfs"], store.clone()) else {
        return;
    };
    let (ran, read) = read_of_parts(&world, &["apply", "discs", "--yes"]);
    let said = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(5), "{said}");
    assert!(said.contains("disk/site-store") && said.contains("blobs that the site store lacks"), "{said}");
    assert!(read.is_empty(), "{read:?}");
    assert!(!store.join("incoming").exists());
}

/// Images of the discs, mounted read-only, each in a place of its own.
fn mounted(world: &World, what: &str, image: impl Fn(usize) -> PathBuf) -> Option<Vec<Mount>> {
    let mount = |number: usize| {
        let image = image(number);
        Mount::image(what, &image, true, world.path(&format!("{what}-{number}")))
    };
    (1..=COUNT).map(mount).collect()
}

fn from_mounts(what: &str, image: impl Fn(&World, usize) -> PathBuf) {
    if !rustix::process::getuid().is_root() {
        eprintln!("SKIPPED: not root, so no {what} was mounted");
        return;
    }
    let world = another_site(sender());
    let Some(mounts) = mounted(&world, what, |number| image(&world, number)) else {
        assert!(!kernel_has(what), "the kernel knows {what}, and yet it cannot be mounted");
        return;
    };
    let paths: Vec<&str> = mounts.iter().map(|mount| mount.0.to_str().unwrap()).collect();
    world.installer(&[&["verify"], paths.as_slice()].concat()).ok();
    world.installer(&[&["apply", "--yes"], paths.as_slice()].concat()).ok();
    assert_eq!(applied(&world), (vec!["1.0".to_string()], expected()));
}

#[test]
fn discs_of_ext4_are_read() {
    let Some(mkfs) = real_part_of_the_system("mke2fs") else { return };
    from_mounts("ext4", |world, number| {
        let image = world.path(&format!("{number}.ext4"));
        let made = Command::new(&mkfs)
            .args(["-q", "-t", "ext4", "-d"])
            .arg(disc(number))
            .arg(&image)
            .arg("4M")
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        image
    });
}

/// A tool that lies where only administrators look.
fn real_part_of_the_system(tool: &str) -> Option<PathBuf> {
    let places = ["/usr/sbin", "/sbin", "/usr/bin"].map(|place| Path::new(place).join(tool));
    places.into_iter().find(|path| path.exists()).or_else(|| real_part(tool))
}

#[test]
fn discs_of_iso_9660_are_read() {
    if real_part("xorriso").is_none() {
        return;
    }
    let images = World::new();
    let archive = sender().path("b.tar");
    images
        .bundler(&["split", archive.to_str().unwrap(), "--media", "1500kB", "--iso", "--out", "images"])
        .ok();
    from_mounts("iso9660", |_, number| images.path(&format!("images/disc-{number:03}.iso")));
}

#[test]
fn sticks_of_fat_are_written_and_read() {
    // A kernel that has it as a module lists it once it was asked for.
    let _ = Command::new("modprobe").arg("vfat").output();
    let Some(mkfs) = real_part_of_the_system("mkfs.vfat") else { return };
    if !rustix::process::getuid().is_root() {
        eprintln!("SKIPPED: not root, so no stick was mounted");
        return;
    }
    let world = another_site(sender());
    let (image, stick) = (world.path("stick.fat"), world.path("stick"));
    std::fs::write(&image, vec![0; 16 << 20]).unwrap();
    assert!(Command::new(&mkfs).arg(&image).output().unwrap().status.success());
    let Some(mount) = Mount::image("vfat", &image, false, stick.clone()) else { return };
    let write = |bundle: &Path| {
        let args = ["--output", "json", "write", bundle.to_str().unwrap(), "stick"];
        world.bundler(&args).ok().json()["written"].as_u64().unwrap()
    };
    assert!(write(&sender().path("discs")) > 2_400_000);
    // Cut off in the middle, and a name that FAT takes for the same.
    let archive = sender().path("b.tar");
    let begun = std::fs::read(&archive).unwrap();
    std::fs::write(stick.join("B.TAR.PARTIAL"), &begun[..1_000_000]).unwrap();
    assert_eq!(write(&archive), begun.len() as u64 - 1_000_000);
    assert_eq!((write(&archive), write(&sender().path("discs"))), (0, 0));
    std::fs::rename(stick.join("b.tar"), stick.join("other.tar")).unwrap();
    std::fs::write(stick.join("B.TAR"), "another").unwrap();
    let ran = world.bundler(&["write", archive.to_str().unwrap(), "stick"]).expect_exit(Exit::Usage);
    says(&ran, &["is there already and is something else"]);
    drop(mount);
    let Some(_mount) = Mount::image("vfat", &image, true, stick) else { return };
    world.installer(&["verify", "stick/other.tar"]).ok();
    let discs: Vec<String> = (1..=COUNT).map(|number| format!("stick/disc-{number:03}")).collect();
    let discs: Vec<&str> = discs.iter().map(String::as_str).collect();
    world.installer(&[&["verify"], discs.as_slice()].concat()).ok();
    world.installer(&["apply", "--yes", "stick"]).ok();
    assert_eq!(applied(&world), (vec!["1.0".to_string()], expected()));
}

#[test]
fn discs_of_udf_are_read() {
    let _ = Command::new("modprobe").arg("udf").output();
    let Some(mkfs) = real_part_of_the_system("mkudffs") else { return };
    from_mounts("udf", |world, number| {
        let (image, place) = (world.path(&format!("{number}.udf")), world.path("writing"));
        std::fs::write(&image, vec![0; 8 << 20]).unwrap();
        assert!(Command::new(&mkfs).arg(&image).output().unwrap().status.success());
        if let Some(mount) = Mount::image("udf", &image, false, place.clone()) {
            world.bundler(&["write", disc(number).to_str().unwrap(), "writing"]).ok();
            drop(mount);
        }
        image
    });
}

// ---- what is seen meanwhile -------------------------------------------------------------------------------

/// A clock on which six seconds pass whenever somebody looks at it.
struct Hurried(Mutex<Duration>);

impl edge::Clock for Hurried {
    fn now(&self) -> manifests::Timestamp {
        e2e::NOW.parse().unwrap()
    }
    fn monotonic(&self) -> Duration {
        let mut now = self.0.lock().unwrap();
        *now += Duration::from_secs(6);
        *now
    }
}

/// What a slow `installer verify` of all discs says on stderr.
fn slowly_verified(world: &World, options: &[&str]) -> String {
    let places: Vec<String> = discs().iter().map(|disc| disc.display().to_string()).collect();
    let mut args = vec!["--site", "site"];
    args.extend(options);
    args.push("verify");
    args.extend(places.iter().map(String::as_str));
    let (mut env, _, stderr) = world.env("installer", &args);
    env.clock = Arc::new(Hurried(Mutex::default()));
    assert_eq!(installer::run(&mut env), Exit::Done);
    String::from_utf8(stderr.lock().unwrap().clone()).unwrap()
}

#[test]
fn where_nobody_sees_bars_a_line_from_time_to_time_says_what_is_left_of_the_disc_and_of_the_whole() {
    let world = another_site(sender());
    let said = slowly_verified(&world, &[]);
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("verifying, part ")).collect();
    assert!(lines.len() >= 2, "{said}");
    for line in lines {
        let (part, whole) = line.split_once("; in all: ").unwrap_or_else(|| panic!("{line}"));
        assert!(part.contains(" of 4: ") && whole.contains(" of 2.3 MiB, "), "{line}");
        for meter in [part, whole] {
            assert!(meter.contains(" of ") && meter.contains("/s, ") && meter.ends_with(" left"), "{line}");
        }
    }
    assert!(said.contains("\nverifying: 2.3 MiB in "), "{said}");
    assert_eq!(slowly_verified(&world, &["--no-progress"]), "");
    assert_eq!(slowly_verified(&world, &["--output", "json"]), "");
}
