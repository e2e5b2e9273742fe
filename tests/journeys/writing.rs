//! A bundle on its way to a medium: `bundler write`, from an empty stick to one that is full, locked, formatted
//! for short files only, pulled out, or does not keep what it is given.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use e2e::World;
use edge::Exit;
use rustix::process::getuid;
use testkit::real_part;

use super::onsite::{another_site, tree};
use super::{Mount, PART, copy, flip, says, sender};

/// A bundle in one file and in discs, and an empty medium.
fn at_the_desk() -> World {
    let world = another_site(sender());
    std::fs::copy(sender().path("b.tar"), world.path("b.tar")).unwrap();
    copy(&sender().path("discs"), &world.path("discs"));
    std::fs::create_dir(world.path("stick")).unwrap();
    world
}

fn archive_bytes() -> u64 {
    std::fs::metadata(sender().path("b.tar")).unwrap().len()
}

fn json(world: &World, bundle: &str) -> serde_json::Value {
    world.bundler(&["--output", "json", "write", bundle, "stick"]).ok().json()
}

/// `bundler write b.tar stick` as a process of its own, with what `strace` does to it.
fn traced(world: &World, options: &[&str]) -> Output {
    let mut command = Command::new(real_part("strace").unwrap());
    command.args(["-f", "-qq", "-e", "signal=none", "-o", "/dev/null"]).args(options);
    command.arg(env!("CARGO_BIN_EXE_e2e-bundler")).args(["write", "b.tar", "stick"]);
    command.current_dir(world.dir()).env_clear().envs(&world.vars).stdin(Stdio::null());
    command.output().unwrap()
}

/// The options for a fault of these calls on what is being written.
fn fault(world: &World, calls: &str, fault: &str) -> Vec<String> {
    let on = world.path("stick").canonicalize().unwrap().join("b.tar.partial");
    let (on, calls) = (on.to_str().unwrap().to_string(), calls.to_string());
    let inject = format!("inject={calls}:{fault}");
    ["-P".to_string(), on, "-e".into(), format!("trace={calls}"), "-e".into(), inject].into()
}

fn with_fault(world: &World, calls: &str, injected: &str) -> Output {
    let options = fault(world, calls, injected);
    traced(world, &options.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn an_archive_is_written_read_back_and_not_written_twice() {
    let world = at_the_desk();
    let ran = world.bundler(&["write", "b.tar", "stick"]).ok();
    for word in ["UNCLASSIFIED", "demo 1.0", "b.tar", "written", "is the same", "Unmount"] {
        assert!(ran.stdout.contains(word), "{word}: {}", ran.stdout);
    }
    says(&ran, &["is on the same disk as the bundle: is the medium mounted there?"]);
    assert_eq!(tree(&world, "stick", &[]).len(), 1);
    assert!(std::fs::read(world.path("stick/b.tar")).unwrap() == std::fs::read(world.path("b.tar")).unwrap());
    world.installer(&["verify", "stick/b.tar"]).ok();
    let before = std::fs::metadata(world.path("stick/b.tar")).unwrap().modified().unwrap();
    let again = json(&world, "b.tar");
    assert_eq!((&again["written"], &again["files"][0]["became"]), (&0.into(), &"was-there".into()));
    assert_eq!(again["bytes"], archive_bytes());
    assert_eq!(std::fs::metadata(world.path("stick/b.tar")).unwrap().modified().unwrap(), before);
}

#[test]
fn recovery_files_go_along_and_those_of_another_bundle_are_refused() {
    let world = at_the_desk();
    for name in ["keys", "data"] {
        copy(&sender().path(name), &world.path(name));
    }
    world.spec("1.2", 3, "files: [{source: data, dest: /opt/data}]\n");
    world.bundler(&["build", "--key", "keys/rel.key.pem", "--out", "r.tar", "--recovery", "5%"]).ok();
    let written = json(&world, "r.tar");
    assert_eq!(written["files"][1]["path"], "r.tar.r001");
    let same = |name: &str| {
        std::fs::read(world.path(name)).unwrap() == std::fs::read(world.path("stick").join(name)).unwrap()
    };
    assert!(same("r.tar") && same("r.tar.r001"));
    world.installer(&["verify", "--repair", "stick/r.tar"]).ok();
    std::fs::rename(world.path("r.tar.r001"), world.path("b.tar.r001")).unwrap();
    let ran = world.bundler(&["write", "b.tar", "stick"]).expect_exit(Exit::Damaged);
    says(&ran, &["b.tar.r001 is no recovery data of this bundle"]);
    assert!(!world.path("stick/b.tar").exists());
}

#[test]
fn a_disc_and_a_set_of_discs_are_written_as_they_are_and_nothing_else_is() {
    let world = at_the_desk();
    world.write("discs/disc-002/notes.txt", "not ours");
    world.bundler(&["write", "discs/disc-002", "stick"]).ok();
    assert_eq!(tree(&world, "stick", &[]), tree(sender(), "discs/disc-002", &[]));
    let ran = world.installer(&["verify", "stick"]).ok();
    assert!(ran.stdout.starts_with("part 2 of 4 is whole"), "{}", ran.stdout);
    // All of them, into an empty one.
    std::fs::remove_dir_all(world.path("stick")).unwrap();
    std::fs::create_dir(world.path("stick")).unwrap();
    world.bundler(&["write", "discs", "stick"]).ok();
    assert_eq!(tree(&world, "stick", &[]), tree(sender(), "discs", &[]));
    world.installer(&["verify", "stick"]).ok();
    assert_eq!(json(&world, "discs")["written"], 0);
    // Another disc where one is.
    let ran = world.bundler(&["write", "discs/disc-002", "stick/disc-001"]).expect_exit(Exit::Usage);
    says(&ran, &["LABEL.txt is there already and is something else", "hint:"]);
    assert_eq!(tree(&world, "stick", &[]), tree(sender(), "discs", &[]));
}

#[test]
fn what_was_begun_is_compared_and_gone_on_with() {
    let world = at_the_desk();
    let mut begun = std::fs::read(world.path("b.tar")).unwrap();
    begun.truncate(1_500_000);
    world.write("stick/b.tar.partial", &begun);
    let written = json(&world, "b.tar");
    assert_eq!(written["files"][0]["became"], "continued");
    assert_eq!(written["written"], archive_bytes() - 1_500_000);
    std::fs::rename(world.path("stick/b.tar"), world.path("stick/b.tar.partial")).unwrap();
    // The end of it never came to the medium, and it is too long.
    let mut torn = std::fs::read(world.path("b.tar")).unwrap();
    torn[2_000_000..].fill(0);
    torn.extend([0; 5000]);
    world.write("stick/b.tar.partial", &torn);
    let written = json(&world, "b.tar")["written"].as_u64().unwrap();
    assert!((1..=archive_bytes() - 2_000_000).contains(&written), "{written}");
    assert!(std::fs::read(world.path("stick/b.tar")).unwrap() == std::fs::read(world.path("b.tar")).unwrap());
    assert_eq!(tree(&world, "stick", &[]).len(), 1);
}

#[test]
fn what_cannot_be_written_is_refused_before_the_first_byte() {
    let world = at_the_desk();
    let stale = std::fs::read(world.path("b.tar")).unwrap();
    for (name, put) in [
        ("there", ("b.tar", b"something else".as_slice())),
        ("alike", ("B.TAR", b"x".as_slice())),
        ("link", ("other", stale.as_slice())),
    ] {
        world.write(&format!("{name}/{}", put.0), put.1);
    }
    std::os::unix::fs::symlink("other", world.path("link/b.tar")).unwrap();
    world.write("disc.iso", vec![0; 40_000]);
    let before = world.snapshot("");
    for (line, exit, words) in [
        ("write b.tar nowhere", Exit::Usage, &["nowhere is not a directory", "mount the medium"][..]),
        ("write b.tar disc.iso", Exit::Usage, &["is not a directory"]),
        ("write b.tar /dev/null", Exit::Usage, &["is a device", "xorriso", "mount it"]),
        ("write b.tar .", Exit::Usage, &["is where the bundle itself lies"]),
        ("write b.tar there", Exit::Usage, &["b.tar is there already and is something else"]),
        ("write b.tar alike", Exit::Usage, &["B.TAR is there already, and some systems take it for b.tar"]),
        ("write b.tar link", Exit::Usage, &["b.tar is there already and is something else"]),
        ("write missing.tar stick", Exit::Damaged, &["cannot open", "missing.tar"]),
        ("write disc.iso stick", Exit::Damaged, &["this is not a bundle", "cdrecord"]),
        ("write stick there", Exit::Damaged, &["holds no part of a bundle"]),
    ] {
        let ran = world.bundler(&line.split(' ').collect::<Vec<_>>()).expect_exit(exit);
        says(&ran, words);
        assert_eq!(world.snapshot(""), before, "{line}");
    }
}

#[test]
fn a_medium_that_is_too_small_or_locked_is_seen_before_the_first_byte() {
    let world = at_the_desk();
    if !getuid().is_root() {
        eprintln!("SKIPPED: not root, so nothing was mounted to be full");
        return;
    }
    let stick = world.path("stick");
    let small = ["-t", "tmpfs", "-o", "size=2m", "tmpfs"];
    let Some(mount) = Mount::new("tmpfs", &small, stick.clone()) else { return };
    let ran = world.bundler(&["write", "b.tar", "stick"]).expect_exit(Exit::Unreachable);
    says(&ran, &["stick has 2.0 MiB free, and 2.", "take a larger medium", "split"]);
    assert!(tree(&world, "stick", &[]).is_empty());
    // What is there already needs no room.
    let mut begun = std::fs::read(world.path("b.tar")).unwrap();
    begun.truncate(1_000_000);
    drop(mount);
    let size = format!("size={}k", archive_bytes() / 1024 + 100);
    let Some(mount) = Mount::new("tmpfs", &["-t", "tmpfs", "-o", &size, "tmpfs"], stick.clone()) else {
        return;
    };
    world.write("stick/b.tar.partial", &begun);
    let written = json(&world, "b.tar");
    assert_eq!(
        (&written["files"][0]["became"], &written["file_system"]),
        (&"continued".into(), &"tmpfs".into())
    );
    drop(mount);
    let locked = ["-t", "tmpfs", "-o", "ro", "tmpfs"];
    let Some(_mount) = Mount::new("tmpfs", &locked, stick) else { return };
    let ran = world.bundler(&["write", "b.tar", "stick"]).expect_exit(Exit::Unreachable);
    says(&ran, &["stick is mounted read-only", "locked"]);
}

#[test]
fn what_has_rotted_at_home_is_not_carried() {
    let world = at_the_desk();
    flip(&world.path("b.tar"), 1_200_000);
    let ran = world.bundler(&["write", "b.tar", "stick"]).expect_exit(Exit::Damaged);
    says(&ran, &["b.tar", "files /opt/data", "has digest"]);
    assert!(!world.path("stick/b.tar").exists());
    flip(&world.path("b.tar"), 1_200_000);
    json(&world, "b.tar");
    std::fs::remove_file(world.path("stick/b.tar")).unwrap();
    flip(&super::part(&world, 3), 400_000);
    let ran = world.bundler(&["write", "discs/disc-003", "stick"]).expect_exit(Exit::Damaged);
    says(&ran, &[&format!("{PART}.003 is damaged"), "parts.json", "make it again"]);
    // So nobody takes it for a disc.
    let ran = world.installer(&["verify", "stick"]).expect_exit(Exit::Damaged);
    says(&ran, &["there is no part of a bundle"]);
}

#[test]
fn where_a_medium_differs_is_named_by_file_and_bytes() {
    let world = at_the_desk();
    json(&world, "b.tar");
    flip(&world.path("stick/b.tar"), 1_234_567);
    let ran = world.bundler(&["write", "b.tar", "stick"]).expect_exit(Exit::Damaged);
    says(&ran, &["stick/b.tar is there already and differs: bytes 1234567 to 1234567", "remove it"]);
    // It is as it was found.
    std::fs::remove_file(world.path("stick/b.tar")).unwrap();
    assert_eq!(json(&world, "b.tar")["written"], archive_bytes());
}

#[test]
fn a_medium_that_fails_or_takes_no_long_files_is_named_and_nothing_passes_for_whole() {
    if real_part("strace").is_none() {
        return;
    }
    for (calls, injected, code, words) in [
        ("pwrite64", "error=EFBIG:when=3+", 8, &["is formatted as FAT", "--media fat32", "exFAT"][..]),
        ("pwrite64", "error=EIO:when=3+", 8, &["b.tar.partial cannot be written at byte", "goes on"]),
        ("pwrite64", "error=ENOSPC:when=5+", 8, &["cannot be written at byte", "No space"]),
        ("fsync", "error=EIO:when=1+", 8, &["b.tar.partial cannot be written"]),
        ("pread64", "error=EIO:when=4+", 4, &["b.tar.partial cannot be read back at byte", "another medium"]),
    ] {
        let world = at_the_desk();
        let ran = with_fault(&world, calls, injected);
        let said = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(code), "{calls}: {said}");
        for word in words {
            assert!(said.contains(word), "{calls}: {word}: {said}");
        }
        assert!(!world.path("stick/b.tar").exists(), "{calls}");
        let _ = world.installer(&["verify", "stick"]).expect_exit(Exit::Damaged);
        // Once it works again, the same command goes on.
        json(&world, "b.tar");
        world.installer(&["verify", "stick/b.tar"]).ok();
    }
}

#[test]
fn a_file_system_without_direct_reading_is_read_back_all_the_same() {
    if real_part("strace").is_none() {
        return;
    }
    let world = at_the_desk();
    let ran = with_fault(&world, "pread64", "error=EINVAL:when=1");
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    let said = String::from_utf8(ran.stdout).unwrap();
    assert!(said.contains("read back"), "{said}");
}

#[test]
fn killed_at_any_time_nothing_half_passes_for_whole_and_the_next_run_goes_on() {
    if real_part("strace").is_none() {
        return;
    }
    for (call, when) in [("pwrite64", 1), ("pwrite64", 4), ("fsync", 1), ("rename,renameat2", 1)] {
        let world = at_the_desk();
        let (only, fault) = (format!("trace={call}"), format!("inject={call}:signal=KILL:when={when}"));
        let ran = traced(&world, &["-e", &only, "-e", &fault]);
        assert_ne!(ran.status.code(), Some(0), "{call}");
        let there = world.path("stick/b.tar");
        let same = |path: &Path| std::fs::read(path).unwrap() == std::fs::read(world.path("b.tar")).unwrap();
        assert!(!there.exists() || same(&there), "{call}");
        let written = json(&world, "b.tar");
        assert!(written["written"].as_u64().unwrap() < archive_bytes() || when == 1, "{written}");
        assert!(same(&there), "{call}");
        assert_eq!(tree(&world, "stick", &[]).len(), 1, "{call}");
    }
}

#[test]
fn sticks_that_were_written_are_taken_by_a_site() {
    let world = at_the_desk();
    world.bundler(&["write", "discs", "stick"]).ok();
    world.installer(&["apply", "stick", "--yes"]).ok();
    assert_eq!(super::applied(&world), (vec!["1.0".to_string()], super::expected()));
}
