//! The disk of the site directory is full, or becomes so in the middle: the work stops, what was begun is
//! taken back at once, and the log says so. The disks are real, and really full.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    missing_docs
)]

mod onsite;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Output;

use e2e::World;
use edge::{Classified, Exit};
use installer::apply::{ApplyError, PowerCut, Unwatched, Watch};
use installer::audit;
use manifests::audit::{Entry, Outcome};
use onsite::{Mount, audit_holds, build, program, says, site_yaml, tree, with_run};
use testkit::real_part;

/// Bundles 1 and 2, each with five files.
fn sender() -> World {
    let world = World::new();
    world.trust();
    for sequence in [1, 2] {
        for file in ["a", "b", "c", "d", "e"] {
            world.write(&format!("files/{file}"), format!("{file} of {sequence}"));
        }
        let rest = "files: [{source: files, dest: /etc/demo}]\n";
        build(&world, &sequence.to_string(), sequence, rest, &format!("{sequence}.tar"));
    }
    world
}

/// A site that runs bundle 1, on whatever lies at `site`.
fn receiver(sender: &World, world: World) -> World {
    let shown = sender.installer(&["--output", "json", "trust", "show"]).ok().json();
    let (root, fingerprint) = (sender.path("root.json"), shown["fingerprint"].as_str().unwrap());
    world.installer(&["trust", "init", root.to_str().unwrap(), "--expect-sha256", fingerprint]).ok();
    std::fs::create_dir(world.path("root")).unwrap();
    site_yaml(&world, &[format!("files: {{root: {}}}", world.path("root").display())]);
    for bundle in ["1.tar", "2.tar"] {
        std::fs::copy(sender.path(bundle), world.path(bundle)).unwrap();
    }
    world.installer(&["apply", "1.tar", "--yes"]).ok();
    world
}

/// The same, on a file system of its own.
fn on_a_small_disk(sender: &World) -> Option<(World, Mount)> {
    let world = World::new();
    let mount = Mount::tmpfs(&world, "site", "size=4m")?;
    Some((receiver(sender, world), mount))
}

/// Takes every byte that the disk still has.
fn fill(world: &World) {
    let mut file =
        std::fs::File::options().append(true).create(true).open(world.path("site/filler")).unwrap();
    for size in [65_536, 4096, 512, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

fn make_room(world: &World) {
    let filler = world.path("site/filler");
    // A program that another test is just starting may have it open: its name alone would free nothing.
    std::fs::File::options().write(true).truncate(true).open(&filler).unwrap();
    std::fs::remove_file(filler).unwrap();
}

type State = (BTreeMap<PathBuf, String>, BTreeMap<PathBuf, String>);

/// What an apply changes: the files, and what the site says of itself, times aside.
fn state(world: &World) -> State {
    let site = tree(
        world,
        "site",
        &["audit", "journal", "key", "lock", "filler", "site.yaml", "store/blobs", "store/bundles", "ledger"],
    );
    (tree(world, "root", &[]), site)
}

fn current(world: &World) -> String {
    let status = world.installer(&["--output", "json", "status"]).ok().json();
    assert!(status["interrupted"].is_null(), "{status}");
    status["products"][0]["current"]["version"].as_str().unwrap().to_string()
}

fn entries(world: &World) -> Vec<Entry> {
    let mut entries = Vec::new();
    audit::read(&world.path("site/audit/audit.jsonl"), &mut |entry| entries.push(entry)).unwrap();
    entries
}

/// Every line of every journal but the first is one of ours: nothing was glued to half a line.
fn journals_hold(world: &World) {
    for entry in std::fs::read_dir(world.path("site/journal")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.is_empty() || text.ends_with('\n'), "{text}");
            for line in text.lines().filter(|line| !line.is_empty()) {
                serde_json::from_str::<serde_json::Value>(line)
                    .unwrap_or_else(|error| panic!("{error}: {line}"));
            }
        }
    }
}

#[test]
fn an_apply_and_a_rollback_on_a_full_disk_do_nothing() {
    let sender = sender();
    let Some((world, _mount)) = on_a_small_disk(&sender) else { return };
    let before = (state(&world), world.snapshot("site/journal"), entries(&world).len());
    // Nothing was kept back: even the first line of the log has no room.
    std::fs::remove_file(world.path("site/audit/reserve")).unwrap();
    fill(&world);
    for args in [&["apply", "2.tar", "--yes"][..], &["rollback", "1", "--yes"], &["audit", "checkpoint"]] {
        let ran = world.installer(args).expect_exit(Exit::Unreachable);
        says(&ran, &["audit.jsonl", "No space left", "hint: nothing is done without its entry in the log"]);
        assert_eq!(
            (state(&world), world.snapshot("site/journal"), entries(&world).len()),
            before,
            "{args:?}"
        );
    }
    make_room(&world);
    world.installer(&["apply", "2.tar", "--yes"]).ok();
    assert_eq!(current(&world), "2");
    audit_holds(&world);
}

/// Fills the disk at one moment.
struct FillAt<'a> {
    world: &'a World,
    moment: &'static str,
    step: usize,
    hit: Cell<bool>,
}

impl Watch for FillAt<'_> {
    fn at(&self, moment: &'static str, step: usize) -> Result<(), PowerCut> {
        if (moment, step) == (self.moment, self.step) && !self.hit.replace(true) {
            fill(self.world);
        }
        Ok(())
    }
}

fn moments(sender: &World) -> Vec<(&'static str, usize)> {
    let world = receiver(sender, World::new());
    let steps = with_run(&world, &world.path("2.tar"), &Unwatched, |_, plan| plan.steps.len());
    assert!(steps > 5, "{steps}");
    (0..steps).flat_map(|step| ["begun", "performed", "done"].map(|moment| (moment, step))).collect()
}

#[test]
fn a_disk_that_fills_up_at_any_moment_of_an_apply_leads_to_the_undo_of_all_of_it_and_the_log_says_so() {
    let sender = sender();
    let (mut undone, mut done) = (0, 0);
    for (moment, step) in moments(&sender) {
        let Some((world, _mount)) = on_a_small_disk(&sender) else { return };
        let before = state(&world);
        let known = entries(&world).len();
        let watch = FillAt { world: &world, moment, step, hit: Cell::new(false) };
        let ended = with_run(&world, &world.path("2.tar"), &watch, |run, plan| run.start(&plan));
        let what = format!("{moment} {step}: {ended:?}");
        assert!(watch.hit.get(), "{what}");
        journals_hold(&world);
        let news: Vec<Entry> = entries(&world).split_off(known);
        let said = |event: &str, outcome| {
            news.iter().filter(|entry| entry.event.event == event && entry.event.outcome == outcome).count()
        };
        match &ended {
            Ok(()) => {
                // Only the last words were left, and there was room for them.
                assert_eq!((current(&world).as_str(), said("apply", Outcome::Done)), ("2", 1), "{what}");
                done += 1;
            }
            Err(error @ ApplyError::Undone { .. }) => {
                assert_eq!(error.exit(), Exit::Undone);
                assert_eq!((state(&world), current(&world).as_str()), (before.clone(), "1"), "{what}");
                // The room that was kept has taken all of it.
                let steps = said("apply.step", Outcome::Undone);
                assert_eq!((said("apply", Outcome::Undone), said("apply", Outcome::Done)), (1, 0), "{what}");
                assert!(steps >= step && steps <= step + 2, "{steps} of {what}");
                let text = installer_says(error);
                assert!(!text.contains("and the log or journal could not be written"), "{text}");
                assert!(
                    text.contains("could not be written, and nothing is done without it")
                        || text.contains("No space left"),
                    "{text}"
                );
                undone += 1;
            }
            other => panic!("{moment} {step}: {other:?}"),
        }
        make_room(&world);
        if ended.is_err() {
            world.acknowledge();
        }
        world.installer(&["apply", "2.tar", "--yes"]).ok();
        assert_eq!(current(&world), "2", "{what}");
        audit_holds(&world);
    }
    assert!(undone > 6 && done < undone, "{undone} were undone, {done} were done");
}

fn installer_says(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// The installer as a process of its own, whose files may have so many blocks of 512 bytes and not a byte
/// more: what is over that is written in part, as on a disk that is just full.
fn limited(world: &World, blocks: u64, args: &str) -> Output {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" --site site {args}");
    program(world, "sh", &["-c", &script, env!("CARGO_BIN_EXE_e2e-installer")]).output().unwrap()
}

#[test]
fn a_line_of_which_only_a_part_can_be_written_leaves_no_trace_wherever_it_happens() {
    if real_part("sh").is_none() {
        return;
    }
    let sender = sender();
    let peaceful = receiver(&sender, World::new());
    let before = state(&peaceful);
    let blocks = |path: &Path| path.metadata().unwrap().len() / 512;
    let from = blocks(&peaceful.path("site/audit/audit.jsonl"));
    peaceful.installer(&["apply", "2.tar", "--yes"]).ok();
    let after = state(&peaceful);
    let to = blocks(&peaceful.path("site/audit/audit.jsonl")) + 2;
    let mut seen = BTreeMap::new();
    for limit in from..=to {
        let world = receiver(&sender, World::new());
        // The reserve is there already, and is longer than any of these files may be.
        let ran = limited(&world, limit, "apply 2.tar --yes");
        let code = ran.status.code().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        let what = format!("{limit} blocks: {code}: {said}");
        *seen.entry(code).or_insert(0) += 1;
        match code {
            0 | 8 if state(&world) == after => {}
            6 | 8 if state(&world) == before => {}
            _ => panic!("{what}"),
        }
        if code != 0 {
            assert!(said.contains("File too large") || said.contains("could not be written"), "{what}");
        }
        journals_hold(&world);
        // What was cut off is whole again with the next entry.
        world.installer(&["inspect", "2.tar"]).ok();
        audit_holds(&world);
        // The line that says what failed may be one of those that could not be written.
        let looked = world.installer(&["acknowledge", "--reason", "made room"]);
        assert!(matches!(looked.exit, Exit::Done | Exit::Usage), "{what}: {looked:?}");
        world.installer(&["apply", "2.tar", "--yes"]).ok();
        assert_eq!(state(&world), after, "{what}");
        audit_holds(&world);
    }
    assert!(seen.contains_key(&6) && seen.contains_key(&8) && seen.contains_key(&0), "{seen:?}");
}
