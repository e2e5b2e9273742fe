//! The loop of docs/auditor.md and `installer audit verify` say the same of a log, whatever was done to it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

mod onsite;

use e2e::World;
use edge::Exit;
use onsite::{build, program};

const PAGE: &str = include_str!("../../docs/auditor.md");

/// The fenced block with this file name.
fn block(file: &str) -> String {
    let (_, rest) = PAGE.split_once(&format!("```sh file={file}\n")).unwrap();
    rest.split_once("```\n").unwrap().0.to_string()
}

/// A site with the log of two applies, one of which failed, and of a refusal.
fn site_with_a_history() -> World {
    let world = World::new();
    world.trust();
    for (sequence, text) in [(1, "1"), (2, "2")] {
        world.write("note", text);
        build(&world, text, sequence, "files: [{source: note, dest: /etc/demo}]\n", &format!("{text}.tar"));
    }
    for bundle in ["1.tar", "2.tar"] {
        world.installer(&["apply", bundle, "--yes"]).ok();
    }
    let _ = world.installer(&["apply", "1.tar", "--yes"]).expect_exit(Exit::Refused);
    world.write("check-audit.sh", block("check-audit.sh"));
    world
}

/// What both say: whether the log is intact, and the line or the head.
fn both(world: &World) -> [(bool, String); 2] {
    let shell = program(world, "sh", &["check-audit.sh", "site/audit/audit.jsonl"]).output().unwrap();
    let ours = world.installer(&["audit", "verify"]);
    assert!(matches!(ours.exit, Exit::Done | Exit::Refused), "{ours:?}");
    let shell_said = String::from_utf8(shell.stdout).unwrap();
    [(shell.status.success(), shell_said), (ours.exit == Exit::Done, ours.stdout + &ours.stderr)]
}

/// Each single change to a log of so many lines that leaves something to find.
fn changes(lines: &[String]) -> Vec<(String, usize, Vec<String>)> {
    let mut changes = Vec::new();
    for number in 0..lines.len() {
        let changed = |what: &str, found_at: usize, edit: &dyn Fn(&mut Vec<String>)| {
            let mut lines = lines.to_vec();
            edit(&mut lines);
            (format!("{what} {}", number + 1), found_at + 1, lines)
        };
        // A change to the last line shows only against a head that was noted elsewhere.
        if number + 1 < lines.len() {
            changes.push(changed("edited", number + 1, &|lines| {
                lines[number] = lines[number].replace("testhost", "otherhost");
            }));
            changes.push(changed("deleted", number, &|lines| drop(lines.remove(number))));
            changes.push(changed("swapped", number, &|lines| lines.swap(number, number + 1)));
            changes.push(changed("doubled", number + 1, &|lines| {
                lines.insert(number, lines[number].clone());
            }));
        }
        changes.push(changed("renumbered", number, &|lines| {
            lines[number] = lines[number].replace(&format!("\"seq\":{number},"), "\"seq\":99,");
        }));
    }
    changes
}

#[test]
fn the_loop_and_audit_verify_agree_on_an_intact_log() {
    let world = site_with_a_history();
    let head = world.installer(&["--output", "json", "audit", "verify"]).ok().json()["head"].clone();
    for (intact, said) in both(&world) {
        let digest = head["digest"].as_str().unwrap();
        assert!(intact && said.contains(digest) && said.contains(&head["entries"].to_string()), "{said}");
    }
}

#[test]
fn the_loop_and_audit_verify_name_the_same_line_of_a_log_that_was_changed() {
    let world = site_with_a_history();
    let path = world.path("site/audit/audit.jsonl");
    let lines: Vec<String> =
        std::fs::read_to_string(&path).unwrap().lines().map(|line| format!("{line}\n")).collect();
    for (what, line, changed) in changes(&lines) {
        std::fs::write(&path, changed.concat()).unwrap();
        for (intact, said) in both(&world) {
            assert!(!intact && said.contains(&format!("line {line}")), "{what}, not line {line}: {said}");
        }
    }
}

#[test]
fn the_loop_and_audit_verify_both_see_a_last_line_that_was_cut_off() {
    let world = site_with_a_history();
    let path = world.path("site/audit/audit.jsonl");
    let whole = std::fs::read(&path).unwrap();
    for cut in [1, 2, 50] {
        std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
        let lines = whole.iter().filter(|byte| **byte == b'\n').count();
        for (intact, said) in both(&world) {
            assert!(!intact && said.contains(&format!("line {lines}")), "{cut}: {said}");
        }
    }
}

#[test]
fn the_loop_is_ten_lines() {
    let lines = block("check-audit.sh").lines().count();
    assert!(lines <= 10, "{lines}");
}
