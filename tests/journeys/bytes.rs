//! What the work costs, in counts that are the same on every machine: bytes and memory, as the kernel counts them for
//! a process of its own (`verify` reads the archive once and writes only its line in the log; `apply` reads it once
//! and writes each blob once; neither needs memory for it; the medium is never touched), system calls and flushes, and
//! instructions. Seconds are nothing for a test: `scripts/bench` has them.

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

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::World;
use ingredients::{Image, image, layer, noise, write_layout};
use onsite::{another_site, build, bundler, installer, program, site_yaml, with_mounts};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use testkit::{FakeRegistry, RealRegistry, RealRegistryOptions, real_part};

const MIB: u64 = 1024 * 1024;
/// The trust root, `site.yaml`, the site's own documents, and what the loader reads of shared libraries.
const READ_BESIDE: u64 = MIB / 2;
/// A line in the log, and the result.
const WRITTEN_BESIDE: u64 = 16 * 1024;
/// The signed originals, the journal, the ledger, a line in the log for each step.
const DOCUMENTS: u64 = 64 * 1024;
const PEAK_MAX: u64 = 64 * MIB;

/// What a process took.
#[derive(Debug)]
struct Took {
    read: u64,
    written: u64,
    peak: u64,
}

/// `KEY: NUMBER` in one of the kernel's texts.
fn number(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse().ok())
}

/// Runs a program to its end, and asks the kernel before the last trace of it is gone. A process that has
/// ended keeps its counters until it is waited for; its memory it does not, so that is looked at all along.
fn took(mut command: Command) -> Took {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let about = |what: &str| std::fs::read_to_string(format!("/proc/{}/{what}", child.id()));
    let pid = Pid::from_child(&child);
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    let mut peak = 0;
    while waitid(WaitId::Pid(pid), ended).unwrap().is_none() {
        peak = about("status").ok().and_then(|text| number(&text, "VmHWM:")).unwrap_or(0).max(peak);
        std::thread::sleep(Duration::from_millis(1));
    }
    let io = about("io").unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    Took { read: number(&io, "rchar:").unwrap(), written: number(&io, "wchar:").unwrap(), peak: peak * 1024 }
}

/// A world with a bundle of 300 MiB of files, the archive's size, and its blobs' size.
fn large() -> (World, u64, u64) {
    let world = World::new();
    world.trust();
    for seed in 1..=6 {
        world.write(&format!("data/{seed}"), noise(seed, 50 * MIB as usize));
    }
    build(&world, "1", 1, "files: [{source: data, dest: /opt/data}]\n", "medium/b.tar");
    let inspect = world.installer(&["--output", "json", "inspect", "medium/b.tar"]).ok().json();
    let blobs = inspect["manifest"]["counts"]["blob_bytes"].as_u64().unwrap();
    let archive = std::fs::metadata(world.path("medium/b.tar")).unwrap().len();
    assert!(blobs > 300 * MIB && archive > blobs);
    (world, archive, blobs)
}

fn within(what: &str, found: u64, least: u64, most: u64) {
    assert!((least..=most).contains(&found), "{what}: {found} bytes, should be {least} to {most}");
}

#[test]
fn every_byte_is_read_once_and_written_once_in_little_memory() {
    let (sender, archive, blobs) = large();
    let medium = sender.snapshot("medium");
    let touched = || std::fs::metadata(sender.path("medium/b.tar")).unwrap().modified().unwrap();
    let (before, bundle) = (touched(), sender.path("medium/b.tar"));
    let world = another_site(&sender);
    let run = |args: &[&str]| took(installer(&world, &[args, &[bundle.to_str().unwrap()]].concat()));

    let verify = run(&["verify"]);
    within("verify reads", verify.read, archive, archive + READ_BESIDE);
    within("verify writes", verify.written, 100, WRITTEN_BESIDE);
    let inspect = run(&["inspect"]);
    within("inspect reads", inspect.read, 1, 2 * MIB);
    let apply = run(&["apply", "--yes"]);
    within("apply reads", apply.read, archive, archive + READ_BESIDE);
    within("apply writes", apply.written, blobs, blobs + DOCUMENTS);
    let again = run(&["apply", "--yes"]);
    // What is in the store already is looked through as well: a blob that has rotted there is replaced from the
    // medium, which is the only moment at which there is something to replace it with.
    within("applying again reads", again.read, archive + blobs, archive + blobs + READ_BESIDE);
    within("applying again writes", again.written, 100, WRITTEN_BESIDE);
    for (what, took) in [("verify", &verify), ("apply", &apply), ("apply again", &again)] {
        within(&format!("{what} at its peak"), took.peak, MIB, PEAK_MAX);
    }
    eprintln!(
        "archive {archive}, blobs {blobs}\nverify {verify:?}\ninspect {inspect:?}\napply {apply:?}\nagain {again:?}"
    );

    assert_eq!(touched(), before);
    assert_eq!(sender.snapshot("medium"), medium);
}

#[test]
fn a_files_target_writes_each_file_once_more_in_little_memory() {
    let (sender, archive, blobs) = large();
    let world = another_site(&sender);
    std::fs::create_dir(world.path("root")).unwrap();
    site_yaml(&world, &[format!("files: {{root: {}}}", world.path("root").display())]);
    let apply = took(installer(&world, &["apply", "--yes", sender.path("medium/b.tar").to_str().unwrap()]));
    within("apply writes", apply.written, 2 * blobs - MIB, 2 * blobs + 2 * DOCUMENTS);
    // From the medium, from the store, and once more to see that it is there.
    within("apply reads", apply.read, archive, 3 * archive + READ_BESIDE);
    within("apply at its peak", apply.peak, MIB, PEAK_MAX);
}

/// A site that pushes to this registry, and beside it a bundle of so many images on one base, each with a layer of
/// its own of this length. And how many bytes their blobs have.
fn site_with_images(url: &str, count: u64, length: usize) -> (World, u64) {
    let world = World::new();
    world.trust();
    let base = layer(1000, 10_000);
    let images: Vec<Image> =
        (0..count).map(|seed| image("amd64", &[base.clone(), layer(seed, length)])).collect();
    let names: Vec<String> = (0..count).map(|number| format!("app{number}")).collect();
    let named: Vec<(&str, &Image)> = names.iter().map(String::as_str).zip(&images).collect();
    write_layout(&world, "images", &named);
    let line =
        |name: &String| format!("  - {{source: 'oci:images:{name}', name: 'r.example.com/{name}:1'}}\n");
    build(&world, "1", 1, &format!("images:\n{}", names.iter().map(line).collect::<String>()), "b.tar");
    site_yaml(&world, &[format!("registry: {{url: \"{url}\"}}")]);
    let inspect = world.installer(&["--output", "json", "inspect", "b.tar"]).ok().json();
    (world, inspect["manifest"]["counts"]["blob_bytes"].as_u64().unwrap())
}

#[test]
fn images_that_are_pushed_at_once_are_read_once_more_from_the_store_and_none_of_them_is_held_in_memory() {
    let Some(registry) = RealRegistry::start(RealRegistryOptions::default()) else { return };
    let (world, blobs) = site_with_images(&registry.url(), 4, 24 * MIB as usize);
    let archive = std::fs::metadata(world.path("b.tar")).unwrap().len();
    let apply = took(installer(&world, &["apply", "--yes", "b.tar"]));
    within("apply reads", apply.read, archive + blobs, archive + blobs + READ_BESIDE);
    within("apply writes", apply.written, blobs, blobs + DOCUMENTS);
    within("apply at its peak", apply.peak, MIB, PEAK_MAX);
    eprintln!("archive {archive}, blobs {blobs}, apply {apply:?}");
}

#[test]
fn another_image_costs_a_registry_some_requests_and_the_site_no_flush_of_its_own() {
    let Some(strace) = real_part("strace") else { return };
    let [few, many] = [4, 12].map(|count| {
        let registry = FakeRegistry::start();
        let (world, _) = site_with_images(&registry.url(), count, 1000);
        let (_, flushes) = calls(&strace, &world, &["apply", "b.tar", "--yes"]);
        (registry.requests().len(), flushes)
    });
    eprintln!("requests and flushes: few {few:?}, many {many:?}");
    // Of a configuration, a layer of its own and one that it shares: whether it is there (3), sent and read back (6),
    // mounted (1); its manifest (3), its tag (5), and a try before all of it (2).
    assert_eq!((many.0 - few.0) / 8, 20, "requests");
    assert_eq!(few.1, many.1, "flushes");
}

/// A site, and beside it a bundle of so many files of this length.
fn site_beside(count: u64, length: usize) -> World {
    let world = World::new();
    world.trust();
    for seed in 0..count {
        world.write(&format!("data/{seed:04}"), noise(seed, length));
    }
    build(&world, "1", 1, "files: [{source: data, dest: /opt/data}]\n", "b.tar");
    world
}

#[test]
fn twenty_thousand_files_take_no_more_memory_than_is_allowed_to_large_ones() {
    let world = World::new();
    world.trust();
    for number in 0..20_000 {
        world.write(&format!("data/{}/{number}.conf", number % 100), format!("setting {number}\n"));
    }
    world.spec("1", 1, "files: [{source: data, dest: /opt/data}]\n");
    world.bundler(&["lock"]).ok();
    let build = took(bundler(&world, &["build", "--key", "keys/rel.key.pem", "--out", "b.tar"]));
    let on_site = |args: &[&str]| took(installer(&world, args));
    let verify = on_site(&["verify", "b.tar"]);
    let apply = on_site(&["apply", "b.tar", "--yes"]);
    let again = on_site(&["apply", "b.tar", "--yes"]);
    eprintln!("build {build:?}\nverify {verify:?}\napply {apply:?}\nagain {again:?}");
    for (what, took) in [("build", build), ("verify", verify), ("apply", apply), ("apply again", again)] {
        within(&format!("{what} at its peak"), took.peak, MIB, PEAK_MAX);
    }
}

/// How often a command asks the kernel for anything, and how often for a flush.
fn calls(strace: &Path, world: &World, args: &[&str]) -> (u64, u64) {
    let all = ["-f", "-c", "-o", "counts", env!("CARGO_BIN_EXE_e2e-installer"), "--site", "site"];
    let ran = program(world, strace, &[&all, args].concat()).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let table = std::fs::read_to_string(world.path("counts")).unwrap();
    let row = |line: &str| -> Option<(String, u64)> {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some((words.last()?.to_string(), words.get(3)?.parse().ok()?))
    };
    let rows: Vec<(String, u64)> = table.lines().filter_map(row).collect();
    let flushes = ["fsync", "fdatasync", "syncfs", "sync"];
    let of =
        |is: &dyn Fn(&str) -> bool| rows.iter().filter(|(name, _)| is(name)).map(|(_, count)| count).sum();
    (of(&|name| name == "total"), of(&|name| flushes.contains(&name)))
}

#[test]
fn another_file_costs_a_dozen_system_calls_and_no_flush_of_its_own() {
    let Some(strace) = real_part("strace") else { return };
    let [few, many] = [100, 300].map(|count| {
        let world = site_beside(count, 1024);
        [&["verify", "b.tar"][..], &["apply", "b.tar", "--yes"]].map(|args| calls(&strace, &world, args))
    });
    // Threads wait for each other now more often and now less: of few files that may be more than the files cost.
    let [verify, apply] = [0, 1].map(|at| many[at].0.saturating_sub(few[at].0));
    eprintln!("few {few:?}, many {many:?}");
    // Not the files: the heap of a thread grows by pages when it parses the longer manifest of the set.
    assert!(few[0].0 > 100 && verify <= 200, "verify: {verify} for 200 files");
    assert!(few[1].0 > 1000 && apply <= 200 * 12, "apply: {apply} for 200 files");
    assert_eq!((few[0].1, many[0].1), (1, 1), "verify flushes its line in the log");
    assert!(few[1].1 == many[1].1 && (10..=45).contains(&few[1].1), "{} and {}", few[1].1, many[1].1);
}

/// How many instructions a `verify` takes, all of them of ours: the kernel's are not counted.
fn instructions(valgrind: &Path, count: u64, length: usize) -> u64 {
    let world = site_beside(count, length);
    let all = ["--tool=callgrind", "--callgrind-out-file=/dev/null", env!("CARGO_BIN_EXE_e2e-installer")];
    let args = [&all[..], &["--site", "site", "verify", "b.tar"]].concat();
    let ran = program(&world, valgrind, &args).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{said}");
    said.lines().find_map(|line| line.split("Collected : ").nth(1)?.trim().parse().ok()).expect(&said)
}

/// The hash takes 53 instructions a byte where the processor has none for it, which is what valgrind pretends.
#[test]
fn instructions_grow_with_bytes_and_with_files_and_no_faster() {
    let Some(valgrind) = real_part("valgrind") else { return };
    let of = |count, length| instructions(&valgrind, count, length);
    let per_byte = (of(1, 3 * MIB as usize) - of(1, MIB as usize)) / (2 * MIB);
    assert!((20..=60).contains(&per_byte), "{per_byte} for a byte");
    let [few, more, many] = [100, 300, 900].map(|count| of(count, 1024));
    let [first, later] = [(more - few) / 200, (many - more) / 600];
    eprintln!("{per_byte} for a byte, {first} and then {later} for a file of 1 KiB");
    assert!(first <= 260_000, "{first} for a file");
    assert!(later <= first + first / 10, "{first} for a file at first, and then {later}");
}

#[test]
fn a_bundle_on_a_medium_that_is_mounted_read_only_is_verified_and_applied() {
    let world = World::new();
    world.trust();
    world.write("note", "text");
    build(&world, "1", 1, "files: [{source: note, dest: /etc/demo}]\n", "medium/b.tar");
    std::fs::create_dir(world.path("mnt")).unwrap();
    let script = "set -e
        mount --bind medium mnt
        mount -o remount,bind,ro mnt
        if touch mnt/x 2>/dev/null; then echo 'not read-only'; exit 99; fi
        for command in verify inspect plan 'apply --yes'; do \"$0\" --site site $command mnt/b.tar; done";
    let Some(ran) = with_mounts(&world, script) else { return };
    let said = String::from_utf8(ran.stdout).unwrap() + &String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
    assert!(said.contains("verified") && said.contains("applied: demo 1"), "{said}");
}
