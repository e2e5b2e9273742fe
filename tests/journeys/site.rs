//! The targets that a site has without a registry: Python environments and files; who may apply what, in
//! which order; and what each command prints.

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

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use e2e::World;
use edge::Exit;
use ingredients::{IndexedFile, Pages};
use installer::apply::{ApplyError, PowerCut, Unwatched, Watch};
use installer::site::Site;
use installer::site::lock::SiteLock;
use onsite::{
    Python, a_step_that_fails, audit_holds, build, build_as_written, greeting, python_says, says, site_tree,
    site_yaml, tree, wheel, with_run, write_wheels,
};
use serde_json::json;

const APPLY: [&str; 3] = ["apply", "b.tar", "--yes"];

/// A world with trust, and a directory for files.
fn lab(targets: &[String]) -> World {
    let world = World::new();
    world.trust();
    std::fs::create_dir(world.path("root")).unwrap();
    site_yaml(&world, targets);
    world
}

fn files_target(world: &World) -> String {
    format!("files: {{root: {}}}", world.path("root").display())
}

/// A world whose site has files.
fn files_lab() -> World {
    let world = lab(&[]);
    site_yaml(&world, &[files_target(&world), "scripts: {}".to_string()]);
    world
}

/// A world whose site has Python and files.
fn python_lab(python: &Python) -> World {
    let world = lab(&[]);
    site_yaml(&world, &[python.as_target(&world), files_target(&world), "scripts: {}".to_string()]);
    world
}

const WHEELS: &str = "wheels: [{name: tools, source: wheels}]\n";

fn says_hello(world: &World) -> String {
    python_says(&world.path("venvs/tools/bin/python"), "import greet; print(greet.text())")
}

// ---- python -------------------------------------------------------------------------------------------

#[test]
fn a_wheelhouse_becomes_an_environment_under_its_name_in_which_imports_work() {
    let Some(python) = Python::find() else { return };
    let world = python_lab(&python);
    write_wheels(&world, "wheels", &greeting("1.0"));
    build(&world, "1", 1, WHEELS, "b.tar");
    world.installer(&APPLY).ok();
    assert_eq!(says_hello(&world), "hello from 1.0");
    assert_eq!(
        python_says(
            &world.path("venvs/tools/bin/python"),
            "import sys; print('%d.%d' % sys.version_info[:2])"
        ),
        python.minor
    );

    let before = (site_tree(&world), tree(&world, "venvs", &[]));
    let again = world.installer(&APPLY).ok();
    assert!(again.stdout.contains("everything is in place already"), "{}", again.stdout);
    assert!(before == (site_tree(&world), tree(&world, "venvs", &[])), "applying again changed something");
}

#[test]
fn pinned_requirements_become_an_environment_with_exactly_those_wheels() {
    let Some(python) = Python::find() else { return };
    let world = python_lab(&python);
    let wheels = greeting("2.5");
    let pins: String = wheels
        .iter()
        .map(|(name, bytes)| ingredients::pinned(name.split('-').next().unwrap(), "2.5", bytes))
        .collect();
    world.write("requirements.txt", pins);
    let index = ingredients::package_index(Pages::Json, wheels.map(IndexedFile::honest).to_vec());
    let targets = [python.target(&python.minor), python.target(python.other_minor())].join(", ");
    let url = index.url();
    build(
        &world,
        "1",
        1,
        &format!(
            "wheels: [{{name: tools, requirements: requirements.txt, index: {url}/simple/, targets: [{targets}]}}]\n"
        ),
        "b.tar",
    );
    let asked = index.requests().len();
    world.installer(&APPLY).ok();
    assert_eq!(says_hello(&world), "hello from 2.5");
    assert_eq!(index.requests().len(), asked, "the site reached out to the index");
}

#[test]
fn the_next_version_switches_the_link_at_once_and_keeps_the_old_environment() {
    let Some(python) = Python::find() else { return };
    let world = python_lab(&python);
    for (sequence, version) in [(1, "1.0"), (2, "2.0")] {
        write_wheels(&world, "wheels", &greeting(version));
        build(&world, version, sequence, WHEELS, &format!("{sequence}.tar"));
    }
    world.installer(&["apply", "1.tar", "--yes"]).ok();
    let old = std::fs::canonicalize(world.path("venvs/tools")).unwrap();
    let before = world.snapshot(old.to_str().unwrap());

    let (over, gone) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if !world.path("venvs/tools/bin/python").exists() {
                    gone.store(true, Ordering::Relaxed);
                }
            }
        });
        let ran = world.installer(&["apply", "2.tar", "--yes"]);
        over.store(true, Ordering::Relaxed);
        ran.ok();
    });
    assert!(!gone.into_inner(), "for a moment there was no environment under the name");
    assert_eq!(says_hello(&world), "hello from 2.0");
    assert_eq!(world.snapshot(old.to_str().unwrap()), before);
    assert_eq!(python_says(&old.join("bin/python"), "import greet; print(greet.text())"), "hello from 1.0");
}

#[test]
fn a_step_that_fails_after_the_switch_switches_back_and_removes_the_new_environment() {
    let Some(python) = Python::find() else { return };
    let world = python_lab(&python);
    write_wheels(&world, "wheels", &greeting("1.0"));
    build(&world, "1", 1, WHEELS, "b.tar");
    world.installer(&APPLY).ok();
    let before = (tree(&world, "venvs", &[]), tree(&world, "root", &[]), tree(&world, "site/ledger", &[]));

    write_wheels(&world, "wheels", &greeting("2.0"));
    let rest = format!("{WHEELS}{}", a_step_that_fails(&world));
    build(&world, "2", 2, &rest, "b.tar");
    let ran = world.installer(&APPLY).expect_exit(Exit::Undone);
    says(&ran, &["everything was undone", "script fails"]);
    assert_eq!(says_hello(&world), "hello from 1.0");
    let after = (tree(&world, "venvs", &[]), tree(&world, "root", &[]), tree(&world, "site/ledger", &[]));
    assert!(before == after, "something was left");
    audit_holds(&world);
}

#[test]
fn a_wheel_that_pip_takes_and_cannot_unpack_fails_and_leaves_nothing() {
    let Some(python) = Python::find() else { return };
    let world = python_lab(&python);
    write_wheels(&world, "wheels", &[with_a_broken_module()]);
    build(&world, "1", 1, WHEELS, "b.tar");
    let ran = world.installer(&APPLY).expect_exit(Exit::Undone);
    says(&ran, &["pip install"]);
    assert!(tree(&world, "venvs", &[]).is_empty());
    assert!(tree(&world, "site/ledger", &[]).is_empty());
}

/// A wheel whose metadata is right, so that pip resolves it, and whose module has another checksum than its archive
/// says.
fn with_a_broken_module() -> (String, Vec<u8>) {
    let (name, mut bytes) = wheel("words", "1.0", &[], "VERSION = '1.0'\n");
    let module = bytes.windows(8).position(|window| window == b"words.py").unwrap();
    bytes[module + 8 + 3] ^= 0x55;
    (name, bytes)
}

#[test]
fn an_environment_that_failed_leaves_no_working_directory_in_the_store() {
    let Some(python) = Python::find() else { return };
    let world = python_lab(&python);
    write_wheels(&world, "wheels", &[with_a_broken_module()]);
    build(&world, "1", 1, WHEELS, "b.tar");
    world.installer(&APPLY).expect_exit(Exit::Undone).stderr.clear();
    let left: Vec<_> = tree(&world, "site/store", &["blobs", "bundles"]).into_keys().collect();
    assert_eq!(left, [std::path::PathBuf::from("oci-layout")]);
}

#[test]
fn an_interpreter_of_another_version_stops_the_apply_before_any_change_and_both_are_named() {
    let Some(python) = Python::find() else { return };
    let world = python_lab(&python);
    let (name, bytes) = wheel("words", "1.0", &[], "VERSION = '1.0'\n");
    world.write("requirements.txt", ingredients::pinned("words", "1.0", &bytes));
    let index = ingredients::package_index(Pages::Json, vec![IndexedFile::honest((name, bytes))]);
    let (target, url) = (python.target(python.other_minor()), index.url());
    let rest = format!(
        "wheels: [{{name: tools, requirements: requirements.txt, index: {url}/simple/, targets: [{target}]}}]\n"
    );
    build(&world, "1", 1, &rest, "b.tar");
    let ran = world.installer(&APPLY).expect_exit(Exit::NotReady);
    says(
        &ran,
        &[
            "python/target",
            &format!("Python {}", python.minor),
            &format!("Python {}", python.other_minor()),
            "hint:",
        ],
    );
    assert!(!world.path("venvs").exists());
    assert!(
        tree(&world, "site", &["audit", "key", "lock", "store", "trust", "site.yaml"])
            .values()
            .all(|what| what.contains("directory"))
    );
}

#[test]
fn an_interpreter_that_is_not_there_stops_the_apply_before_any_change() {
    let world = lab(&[]);
    let target =
        format!("python: {{interpreter: /nowhere/python3, venvs: {}}}", world.path("venvs").display());
    site_yaml(&world, &[target]);
    write_wheels(&world, "wheels", &greeting("1.0"));
    build(&world, "1", 1, WHEELS, "b.tar");
    let ran = world.installer(&APPLY).expect_exit(Exit::NotReady);
    says(&ran, &["python/interpreter", "/nowhere/python3", "hint:"]);
    assert!(!world.path("venvs").exists());
}

#[test]
fn a_directory_under_the_environments_name_is_left_alone() {
    let Some(python) = Python::find() else { return };
    let world = python_lab(&python);
    world.write("venvs/tools/mine", "precious");
    write_wheels(&world, "wheels", &greeting("1.0"));
    build(&world, "1", 1, WHEELS, "b.tar");
    let before = tree(&world, "venvs", &[]);
    says(&world.installer(&APPLY).expect_exit(Exit::NotReady), &["venvs/tools", "left alone", "hint:"]);
    assert_eq!(tree(&world, "venvs", &[]), before);
}

// ---- files --------------------------------------------------------------------------------------------

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn put(world: &World, path: &str, content: &str, mode: u32) {
    let path = world.write(path, content);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// `/etc/demo` with `a` and `new/deep/b`, mode 0640, and `/opt/demo/run`, which is executable.
fn demo_files(world: &World, content: &str) -> &'static str {
    put(world, "config/a", content, 0o600);
    put(world, "config/new/deep/b", "b", 0o600);
    put(world, "bin/run", "#!/bin/sh\n", 0o744);
    "files: [{source: config, dest: /etc/demo, mode: \"0640\"}, {source: bin, dest: /opt/demo}]\n"
}

#[test]
fn files_come_with_the_mode_that_was_asked_for_into_directories_for_everybody() {
    let world = files_lab();
    build(&world, "1", 1, demo_files(&world, "a"), "b.tar");
    world.installer(&APPLY).ok();
    for (path, content, bits) in [
        ("root/etc/demo/a", "a", 0o640),
        ("root/etc/demo/new/deep/b", "b", 0o640),
        ("root/opt/demo/run", "#!/bin/sh\n", 0o755),
    ] {
        assert_eq!(std::fs::read_to_string(world.path(path)).unwrap(), content);
        assert_eq!(mode(&world.path(path)), bits, "{path}");
    }
    for path in ["root/etc", "root/etc/demo", "root/etc/demo/new/deep", "root/opt/demo"] {
        assert_eq!(mode(&world.path(path)), 0o755, "{path}");
    }
}

#[test]
fn a_file_that_is_as_it_should_be_is_not_written_and_one_with_another_mode_is() {
    let world = files_lab();
    build(&world, "1", 1, demo_files(&world, "a"), "b.tar");
    put(&world, "root/etc/demo/a", "a", 0o640);
    put(&world, "root/opt/demo/run", "#!/bin/sh\n", 0o700);
    let written = std::fs::metadata(world.path("root/etc/demo/a")).unwrap().modified().unwrap();
    let ran = world.installer(&["--output", "json", "apply", "b.tar", "--yes"]).ok().json();
    let unchanged = ran["plan"]["unchanged"].as_array().unwrap();
    assert!(unchanged.len() == 1 && unchanged[0].as_str().unwrap().contains("/etc/demo/a"), "{unchanged:?}");
    assert_eq!(std::fs::metadata(world.path("root/etc/demo/a")).unwrap().modified().unwrap(), written);
    assert_eq!(mode(&world.path("root/opt/demo/run")), 0o755);
}

#[test]
fn when_a_later_step_fails_old_content_and_mode_are_back_and_new_directories_are_gone() {
    let world = files_lab();
    put(&world, "root/etc/demo/a", "old", 0o604);
    put(&world, "root/etc/demo/mine", "mine", 0o600);
    let rest = format!("{}{}", demo_files(&world, "new"), a_step_that_fails(&world));
    build(&world, "1", 1, &rest, "b.tar");
    let before = tree(&world, "root", &[]);
    let ran = world.installer(&APPLY).expect_exit(Exit::Undone);
    says(&ran, &["everything was undone", "script fails"]);
    assert_eq!(tree(&world, "root", &[]), before);
    world.acknowledge();
    let plan = world.installer(&["--output", "json", "plan", "b.tar"]).ok().json();
    assert_eq!(plan["plan"]["unchanged"], json!([]), "the failing step was to be the last one");
}

#[test]
fn a_link_or_a_directory_in_the_way_is_left_alone_and_nothing_is_changed() {
    let world = files_lab();
    build(&world, "1", 1, demo_files(&world, "new"), "b.tar");
    let elsewhere = world.write("elsewhere/a", "precious");
    type Obstacle<'a> = (&'a str, Box<dyn Fn(&Path) + 'a>);
    let link = |to: &Path| {
        let to = to.to_path_buf();
        Box::new(move |at: &Path| std::os::unix::fs::symlink(&to, at).unwrap())
    };
    let obstacles: Vec<Obstacle<'_>> = vec![
        ("root/etc/demo/a", link(&elsewhere)),
        ("root/etc/demo/a", link(Path::new("/nowhere"))),
        ("root/etc/demo", link(elsewhere.parent().unwrap())),
        ("root/etc/demo/new", Box::new(|at| std::fs::write(at, "a file").unwrap())),
        ("root/etc/demo/a", Box::new(|at| std::fs::create_dir(at).unwrap())),
    ];
    for (path, obstruct) in obstacles {
        let at = world.path(path);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        obstruct(&at);
        let before = (tree(&world, "root", &[]), tree(&world, "elsewhere", &[]));
        let ran = world.installer(&APPLY).expect_exit(Exit::NotReady);
        says(&ran, &[path, "left alone", "hint:"]);
        assert!(before == (tree(&world, "root", &[]), tree(&world, "elsewhere", &[])), "{path}");
        std::fs::remove_dir_all(world.path("root")).unwrap();
    }
}

/// Applies `b.tar` with `meanwhile` between the plan and its first step.
fn apply_with(world: &World, watch: &dyn Watch, meanwhile: impl FnOnce()) -> Result<(), ApplyError> {
    with_run(world, &world.path("b.tar"), watch, |run, plan| {
        meanwhile();
        run.start(&plan)
    })
}

#[test]
fn a_file_that_was_changed_after_the_plan_was_made_stays_as_it_was_changed() {
    let world = files_lab();
    put(&world, "root/etc/demo/a", "old", 0o640);
    build(&world, "1", 1, demo_files(&world, "new"), "b.tar");
    let outcome = apply_with(&world, &Unwatched, || put(&world, "root/etc/demo/a", "edited", 0o640));
    assert!(matches!(outcome, Err(ApplyError::Undone { .. } | ApplyError::NotUndone { .. })), "{outcome:?}");
    let files = tree(&world, "root", &[]);
    assert_eq!(std::fs::read_to_string(world.path("root/etc/demo/a")).unwrap(), "edited");
    assert_eq!(files.len(), 3, "{files:?}");
    assert!(matches!(outcome, Err(ApplyError::Undone { .. })), "nothing of ours was left: {outcome:?}");
}

#[test]
fn a_file_that_is_replaced_keeps_its_owner_and_an_undo_gives_back_every_bit_of_its_mode() {
    use std::os::unix::fs::{MetadataExt, chown};
    let world = files_lab();
    put(&world, "root/etc/demo/a", "old", 0o640);
    let path = world.path("root/etc/demo/a");
    if chown(&path, Some(1234), Some(2345)).is_err() {
        eprintln!("SKIPPED: only root can give a file to somebody else");
        return;
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o4755)).unwrap();
    let facts = || {
        let metadata = std::fs::metadata(&path).unwrap();
        let content = std::fs::read_to_string(&path).unwrap();
        (content, metadata.uid(), metadata.gid(), metadata.mode() & 0o7777)
    };
    let before = facts();
    let rest = demo_files(&world, "new");
    let failing = format!("{rest}{}", a_step_that_fails(&world));
    build(&world, "1", 1, &failing, "b.tar");
    let _ = world.installer(&APPLY).expect_exit(Exit::Undone);
    assert_eq!(facts(), before);
    world.acknowledge();

    build(&world, "2", 2, rest, "good.tar");
    world.installer(&["apply", "good.tar", "--yes"]).ok();
    let (content, uid, gid, mode) = facts();
    assert_eq!((uid, gid, mode & 0o7000), (1234, 2345, 0));
    assert_ne!(content, before.0);
}

#[test]
fn a_link_planted_where_something_is_made_is_never_followed() {
    let world = files_lab();
    std::fs::create_dir_all(world.path("root/etc/demo")).unwrap();
    std::fs::create_dir(world.path("elsewhere")).unwrap();
    put(&world, "elsewhere/secret", "secret", 0o600);
    for (name, target) in [(".a.airlock-new", "elsewhere/secret"), (".new.airlock-new", "elsewhere")] {
        std::os::unix::fs::symlink(world.path(target), world.path("root/etc/demo").join(name)).unwrap();
    }
    let before = tree(&world, "elsewhere", &[]);
    build(&world, "1", 1, demo_files(&world, "new"), "b.tar");
    world.installer(&APPLY).ok();
    assert!(before == tree(&world, "elsewhere", &[]), "something behind a link was changed");
    assert!(world.path("root/etc/demo/a").is_file());
}

/// Does something to a file once a step is done.
struct Edits<'a>(usize, &'a dyn Fn());

impl Watch for Edits<'_> {
    fn at(&self, moment: &'static str, step: usize) -> Result<(), PowerCut> {
        if (moment, step) == ("done", self.0) {
            (self.1)();
        }
        Ok(())
    }
}

#[test]
fn a_file_that_somebody_changed_after_it_was_written_is_not_undone_and_is_named() {
    let world = files_lab();
    let rest = format!("{}{}", demo_files(&world, "new"), a_step_that_fails(&world));
    build(&world, "1", 1, &rest, "b.tar");
    let edit = || put(&world, "root/etc/demo/a", "edited", 0o640);
    let outcome = apply_with(&world, &Edits(0, &edit), || ());
    let Err(ApplyError::NotUndone { stuck, .. }) = outcome else { panic!("{outcome:?}") };
    assert!(stuck.len() == 1 && stuck[0].contains("/etc/demo/a"), "{stuck:?}");
    let files: Vec<_> = tree(&world, "root", &[]).into_keys().collect();
    assert_eq!(files, ["etc", "etc/demo", "etc/demo/a"].map(std::path::PathBuf::from));
    audit_holds(&world);
}

// ---- order, audience, trust ---------------------------------------------------------------------------

fn one_file(world: &World, content: &str) -> &'static str {
    world.write("note", content);
    "files: [{source: note, dest: /etc/demo}]\n"
}

#[test]
fn an_older_version_is_refused_and_so_is_another_bundle_with_the_same_number() {
    let world = files_lab();
    build(&world, "1", 1, one_file(&world, "1"), "1.tar");
    build(&world, "2", 2, one_file(&world, "2"), "2.tar");
    build(&world, "2", 2, one_file(&world, "other"), "twin.tar");
    for (bundle, content) in [("1.tar", "1"), ("2.tar", "2")] {
        world.installer(&["apply", bundle, "--yes"]).ok();
        assert_eq!(std::fs::read_to_string(world.path("root/etc/demo/note")).unwrap(), content);
    }
    let before = (site_tree(&world), tree(&world, "root", &[]));
    for (bundle, words) in
        [("1.tar", ["1.1", "1.2", "older"]), ("twin.tar", ["1.2", "two different", "report"])]
    {
        for command in
            [&["verify", bundle][..], &["plan", bundle], &["apply", bundle, "--yes"], &["inspect", bundle]]
        {
            let ran = world.installer(command).expect_exit(Exit::Refused);
            says(&ran, &words);
        }
    }
    assert!(before == (site_tree(&world), tree(&world, "root", &[])), "a refusal changed something");
    world.installer(&["apply", "2.tar", "--yes"]).ok();
}

#[test]
fn a_bundle_is_for_its_audience_only() {
    let world = files_lab();
    let bundle_for = |audience: &str| {
        world.spec("1", 1, one_file(&world, "1"));
        let spec = std::fs::read_to_string(world.path("bundle.yaml")).unwrap();
        world.write("bundle.yaml", spec.replace("[\"*\"]", audience));
        build_as_written(&world, "b.tar");
    };
    for (audience, exit) in [
        ("[acme-site]", Exit::Refused),
        ("[acme-site, lab]", Exit::Done),
        ("[bank]", Exit::Done),
        ("[\"*\"]", Exit::Done),
    ] {
        bundle_for(audience);
        let ran = world.installer(&["verify", "b.tar"]).expect_exit(exit);
        if exit == Exit::Refused {
            says(&ran, &["acme-site", "lab", "hint:"]);
        }
    }
    bundle_for("[acme-site]");
    std::fs::remove_file(world.path("site/site.yaml")).unwrap();
    says(&world.installer(&["verify", "b.tar"]).expect_exit(Exit::Refused), &["acme-site", "hint:"]);
}

/// A world whose site does not trust anybody yet, and the root's fingerprint.
fn untrusting() -> (World, String) {
    let world = World::new();
    world.trust();
    let shown = world.installer(&["--output", "json", "trust", "show"]).ok().json();
    std::fs::remove_dir_all(world.path("site")).unwrap();
    (world, shown["fingerprint"].as_str().unwrap().to_string())
}

#[test]
fn a_root_with_another_fingerprint_is_refused_and_nothing_is_written() {
    let (world, fingerprint) = untrusting();
    let wrong = "0".repeat(64);
    let ran = world.installer(&["trust", "init", "root.json", "--expect-sha256", &wrong]);
    says(&ran.expect_exit(Exit::Refused), &["fingerprint", "hint:"]);
    assert!(!world.path("site").exists());
    for short in ["", "abc", &fingerprint[..fingerprint.len() - 1]] {
        let ran = world.installer(&["trust", "init", "root.json", "--expect-sha256", short]);
        says(&ran.expect_exit(Exit::Usage), &["--expect-sha256", "hint:"]);
    }
    assert!(!world.path("site").exists());
}

#[test]
fn a_fingerprint_may_be_typed_as_it_is_printed_and_a_second_start_is_refused() {
    let (world, fingerprint) = untrusting();
    let hex = fingerprint.trim_start_matches("sha256:");
    let groups: Vec<String> =
        hex.as_bytes().chunks(4).map(|four| String::from_utf8_lossy(four).to_uppercase()).collect();
    world.installer(&["trust", "init", "root.json", "--expect-sha256", &groups.join(" ")]).ok();
    let before = tree(&world, "site", &[]);
    for typed in [&*fingerprint, &groups.join(" "), hex] {
        let ran = world.installer(&["trust", "init", "root.json", "--expect-sha256", typed]);
        says(&ran.expect_exit(Exit::Refused), &["trust root already"]);
    }
    assert_eq!(tree(&world, "site", &[]), before);
}

#[test]
fn the_prefix_of_a_fingerprint_may_be_typed_in_upper_case_and_with_spaces() {
    let (world, fingerprint) = untrusting();
    let typed = format!(" {} ", fingerprint.to_uppercase().replace(':', ": "));
    world.installer(&["trust", "init", "root.json", "--expect-sha256", &typed]).ok();
}

#[test]
fn without_trust_every_command_is_refused_with_the_way_to_get_it() {
    let (world, _) = untrusting();
    build(&world, "1", 1, one_file(&world, "1"), "b.tar");
    for command in [
        &["verify", "b.tar"][..],
        &["inspect", "b.tar"],
        &["plan", "b.tar"],
        &["apply", "b.tar"],
        &["apply", "b.tar", "--yes"],
        &["status"],
        &["history"],
        &["trust", "show"],
        &["serve", "--listen", "127.0.0.1:0"],
        &["audit", "show"],
        &["audit", "verify"],
    ] {
        let ran = world.installer(command).expect_exit(Exit::Refused);
        says(&ran, &["no trust root", "hint: run `installer trust init"]);
        assert!(!world.path("site").exists(), "{command:?}");
    }
}

#[test]
fn while_somebody_changes_the_site_another_apply_is_told_who_it_is() {
    let world = files_lab();
    build(&world, "1", 1, one_file(&world, "1"), "b.tar");
    let (env, _, _) = world.env("installer", &[]);
    let lock = SiteLock::take(&Site::at(world.path("site")), &env).unwrap();
    let before = tree(&world, "site", &[]);
    let ran = world.installer(&APPLY).expect_exit(Exit::NotReady);
    let process = format!("process {}", std::process::id());
    says(&ran, &["somebody else is changing this site", &process, "tester", e2e::NOW, "hint:"]);
    assert_eq!(tree(&world, "site", &[]), before);
    world.installer(&["verify", "b.tar"]).ok();
    drop(lock);
    world.installer(&APPLY).ok();
}

#[test]
fn without_yes_nothing_is_changed_and_the_plan_is_shown() {
    let world = files_lab();
    build(&world, "1", 1, one_file(&world, "1"), "b.tar");
    let before = (site_tree(&world), tree(&world, "root", &[]));
    let ran = world.installer(&["apply", "b.tar"]).expect_exit(Exit::Usage);
    says(&ran, &["/etc/demo/note", "nothing was changed", "hint: add --yes"]);
    world.installer(&["plan", "b.tar"]).ok();
    world.installer(&["verify", "b.tar"]).ok();
    world.installer(&["inspect", "b.tar"]).ok();
    assert!(before == (site_tree(&world), tree(&world, "root", &[])), "looking changed something");
    audit_holds(&world);
}

#[test]
fn whatever_becomes_of_an_apply_its_intent_has_an_outcome_in_the_log() {
    let world = files_lab();
    build(&world, "2", 2, one_file(&world, "2"), "2.tar");
    build(&world, "1", 1, one_file(&world, "1"), "1.tar");
    world.installer(&["apply", "2.tar", "--yes"]).ok();
    let mut damaged = std::fs::read(world.path("2.tar")).unwrap();
    let middle = damaged.len() - 2000;
    damaged[middle] ^= 1;
    world.write("damaged.tar", damaged);
    build(&world, "3", 3, demo_files(&world, "3"), "blocked.tar");
    std::os::unix::fs::symlink("/nowhere", world.path("root/etc/demo/a")).unwrap();
    let mut open = Vec::new();
    for (bundle, exit) in [
        ("1.tar", Exit::Refused),
        ("damaged.tar", Exit::Damaged),
        ("blocked.tar", Exit::NotReady),
        ("nothing.tar", Exit::Damaged),
    ] {
        let ran = world.installer(&["apply", bundle, "--yes"]);
        assert_eq!(ran.exit, exit, "{bundle}: {}", ran.stderr);
        let log = world.installer(&["--output", "json", "audit", "show"]).ok().json();
        let of_apply = |entry: &&serde_json::Value| entry["event"] == "apply";
        let last = log["entries"].as_array().unwrap().iter().rfind(of_apply).unwrap();
        if last["outcome"] == "intent" {
            open.push(bundle);
        }
    }
    assert!(open.is_empty(), "in the log these look like a power cut: {open:?}");
}

// ---- what is printed ----------------------------------------------------------------------------------

fn keys(value: &serde_json::Value) -> Vec<&str> {
    value.as_object().unwrap_or_else(|| panic!("{value}")).keys().map(String::as_str).collect()
}

/// A world in which `b.tar` may be applied, and the JSON that a command prints there.
fn printing() -> World {
    let world = files_lab();
    build(&world, "1", 1, one_file(&world, "1"), "b.tar");
    world
}

fn json_of(world: &World, command: &[&str]) -> serde_json::Value {
    world.installer(&[&["--output", "json"], command].concat()).ok().json()
}

#[test]
fn verify_and_inspect_print_who_signed_what_as_json() {
    let world = printing();
    let verify = json_of(&world, &["verify", "b.tar"]);
    assert_eq!(keys(&verify), ["bundle", "findings", "manifest", "root_version", "signatures", "verified"]);
    assert_eq!(verify["verified"], true);
    assert_eq!(keys(&verify["signatures"][0]), ["holder", "keyid", "scheme", "verdict"]);
    assert_eq!(
        (&verify["signatures"][0]["holder"], &verify["signatures"][0]["verdict"]),
        (&json!("rel"), &json!("good"))
    );
    let inspect = json_of(&world, &["inspect", "b.tar"]);
    assert_eq!(keys(&inspect), ["bundle", "inventory", "manifest", "signatures", "signatures_verified"]);
    for key in ["bundle", "manifest", "signatures"] {
        assert_eq!(inspect[key], verify[key]);
    }
    assert_eq!(inspect["manifest"]["counts"]["file_sets"], 1);
    assert_eq!(inspect["inventory"]["components"].as_array().unwrap().len(), 1);
}

#[test]
fn plan_and_apply_print_the_same_steps_as_json() {
    let world = printing();
    let plan = json_of(&world, &["plan", "b.tar"]);
    assert_eq!(keys(&plan), ["applied", "findings", "plan"]);
    assert_eq!(
        keys(&plan["plan"]),
        [
            "bundle",
            "from",
            "marking",
            "order",
            "product",
            "publisher",
            "schema",
            "steps",
            "unchanged",
            "version"
        ]
    );
    assert_eq!((&plan["applied"], &plan["plan"]["from"]), (&json!(false), &json!(null)));
    assert_eq!(keys(&plan["findings"][0]), ["area", "fact", "id", "requirement", "strict", "verdict"]);
    let kinds: Vec<_> =
        plan["plan"]["steps"].as_array().unwrap().iter().map(|step| keys(step)[0].to_string()).collect();
    assert_eq!(kinds, ["file", "publish", "record"]);
    let apply = json_of(&world, &["apply", "b.tar", "--yes"]);
    assert_eq!(apply["applied"], true);
    assert_eq!(apply["plan"], plan["plan"]);
    assert!(apply["seconds"].is_number(), "{apply}");
    // What is found is the same, but for the room on a disk that has the bundle by then.
    let found = |document: &serde_json::Value| -> Vec<(String, String)> {
        let all = document["findings"].as_array().unwrap().iter();
        all.map(|found| (found["id"].to_string(), found["verdict"].to_string())).collect()
    };
    assert_eq!(found(&apply), found(&plan));
}

#[test]
fn status_and_history_print_what_the_site_runs_as_json() {
    let world = printing();
    assert_eq!(json_of(&world, &["status"])["products"], json!([]));
    assert_eq!(json_of(&world, &["history"]), json!({"products": []}));
    let bundle = json_of(&world, &["apply", "b.tar", "--yes"])["plan"]["bundle"].clone();
    let status = json_of(&world, &["status"]);
    assert_eq!(
        keys(&status),
        ["failed", "fingerprint", "interrupted", "products", "site", "site_key", "trust_root"]
    );
    let product = &status["products"][0];
    assert_eq!(keys(product), ["current", "highest", "product", "published", "publisher"]);
    assert_eq!((&product["current"]["bundle"], &product["published"]), (&bundle, &json!(true)));
    let history = json_of(&world, &["history"]);
    let applied = &history["products"][0]["applied"];
    assert_eq!(
        keys(&applied[0]),
        ["bundle", "created", "marking", "order", "root_version", "signers", "time", "version"]
    );
    assert_eq!((applied.as_array().unwrap().len(), &applied[0]["time"]), (1, &json!(e2e::NOW)));
}

#[test]
fn the_audit_log_is_printed_as_it_lies_on_the_disk() {
    let world = printing();
    world.installer(&APPLY).ok();
    let show = json_of(&world, &["audit", "show"]);
    let log = std::fs::read_to_string(world.path("site/audit/audit.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(show["entries"], json!(lines));
    assert_eq!(keys(&show), ["entries", "head"]);
    let last = json_of(&world, &["audit", "show", "--last", "2"]);
    assert_eq!(last["entries"], json!(lines[lines.len() - 2..]));
    let verify = json_of(&world, &["audit", "verify"]);
    assert_eq!(
        keys(&verify),
        ["checkpoints", "compared", "head", "intact", "signed", "unendorsed", "unsigned"]
    );
    assert_eq!((&verify["intact"], &verify["head"]), (&json!(true), &show["head"]));
    assert_eq!(verify["head"]["entries"], lines.len());
    assert_eq!(keys(&verify["signed"]), ["entries", "keyid", "time"]);
    assert_eq!((&verify["signed"]["entries"], &verify["unsigned"]), (&json!(lines.len()), &json!(0)));
}

#[test]
fn an_error_is_a_json_document_too() {
    let world = printing();
    let ran = world.installer(&["--output", "json", "apply", "b.tar"]).expect_exit(Exit::Usage);
    let error = &ran.json()["error"];
    assert_eq!(keys(error), ["causes", "class", "exit", "hint", "message"]);
    assert_eq!((&error["exit"], &error["class"]), (&json!(2), &json!("usage")));
}

#[test]
fn the_marking_is_printed_wherever_a_bundle_is_named() {
    let world = printing();
    for command in [
        &["verify", "b.tar"][..],
        &["inspect", "b.tar"],
        &["plan", "b.tar"],
        &["apply", "b.tar", "--yes"],
        &["status"],
        &["history"],
    ] {
        let shown = world.installer(command).ok().stdout;
        assert!(shown.contains("UNCLASSIFIED"), "{command:?} names a bundle without its marking:\n{shown}");
    }
}
