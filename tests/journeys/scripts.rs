//! Scripts on site: when they run, with what, how they are taken back, and what happens when they fail, take
//! too long, are stopped or meet a power cut.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

mod onsite;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use e2e::{Ran, World};
use edge::Exit;
use installer::apply::{ApplyError, PowerCut, Watch};
use installer::plan::{Plan, Step};
use manifests::Digest;
use onsite::{
    Running, audit_holds, build, fails_alone, installer, says, site_yaml, tree, wait_until, with_mounts,
    with_run,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

// ---- a site that writes down what is run on it --------------------------------------------------------

/// A script that adds a line to the file `trace`: what for, its name, its version, and which content is in
/// place. It fails where `fail/NAME.do` or `fail/NAME.undo` is.
fn script(world: &World, name: &str) -> String {
    let dir = world.dir().display();
    let text = format!(
        "#!/bin/sh\nset -eu\nin_place=$(cat {dir}/root/etc/demo/version 2>/dev/null || echo none)\necho \"$AIRLOCK_STEP {name} $AIRLOCK_VERSION over $in_place\" >>{dir}/trace\nif [ -e {dir}/fail/{name}.$AIRLOCK_STEP ]; then echo \"{name} is broken\" >&2; exit 3; fi\necho \"{name} said this\"\n"
    );
    world.write(&format!("scripts/{name}.sh"), text);
    format!("scripts/{name}.sh")
}

/// An entry of `scripts` that is its own undo.
fn entry(world: &World, name: &str, when: &str) -> String {
    let path = script(world, name);
    format!("{{source: {path}, undo: {path}, when: {when}}}")
}

fn bundle(world: &World, version: &str, sequence: u64, scripts: &[String]) {
    world.write("config/version", version);
    let rest = format!("files: [{{source: config, dest: /etc/demo}}]\nscripts: [{}]\n", scripts.join(", "));
    build(world, version, sequence, &rest, &format!("{version}.tar"));
}

/// A site that allows scripts and has a root for files.
fn site() -> World {
    let world = World::new();
    world.trust();
    std::fs::create_dir(world.path("root")).unwrap();
    std::fs::create_dir(world.path("fail")).unwrap();
    allow(&world, true);
    world
}

fn allow(world: &World, scripts: bool) {
    let mut targets = vec![format!("files: {{root: {}}}", world.path("root").display())];
    targets.extend(scripts.then(|| "scripts: {}".to_string()));
    site_yaml(world, &targets);
}

/// Versions 1, 2 and 3: each has its own scripts before and after the content.
fn three_versions() -> World {
    let world = site();
    for number in 1..=3_u64 {
        let before =
            [entry(&world, &format!("a{number}"), "before"), entry(&world, &format!("b{number}"), "before")];
        let after =
            [entry(&world, &format!("y{number}"), "after"), entry(&world, &format!("z{number}"), "after")];
        let scripts = [&after[..], &before[..]].concat();
        bundle(&world, &format!("{number}.0"), number, &scripts);
    }
    world
}

/// What was run since the last time somebody asked.
fn ran(world: &World) -> Vec<String> {
    let text = std::fs::read_to_string(world.path("trace")).unwrap_or_default();
    let _ = std::fs::remove_file(world.path("trace"));
    text.lines().map(str::to_string).collect()
}

fn apply(world: &World, version: &str) -> Ran {
    world.installer(&["apply", &format!("{version}.tar"), "--yes"])
}

fn fails(world: &World, script: &str) {
    world.write(&format!("fail/{script}"), "");
}

fn content(world: &World) -> String {
    std::fs::read_to_string(world.path("root/etc/demo/version")).unwrap_or("none".to_string())
}

fn log(world: &World) -> Vec<Value> {
    let log = world.installer(&["--output", "json", "audit", "show"]).ok().json();
    log["entries"].as_array().unwrap().clone()
}

// ---- doing --------------------------------------------------------------------------------------------

#[test]
fn scripts_run_before_and_after_the_content_each_in_the_order_of_the_file() {
    let world = three_versions();
    let plan = world.installer(&["plan", "1.0.tar"]).ok().stdout;
    let steps: Vec<&str> = plan.lines().filter(|line| line.contains(". ")).collect();
    let order = ["run a1", "run b1", "add ", "run y1", "run z1", "show ", "record "];
    assert_eq!(steps.len(), order.len(), "{plan}");
    for (step, words) in steps.iter().zip(order) {
        assert!(step.contains(words), "{words}: {plan}");
    }
    assert_eq!(ran(&world), [""; 0]);
    apply(&world, "1.0").ok();
    let first = ["do a1 1.0 over none", "do b1 1.0 over none", "do y1 1.0 over 1.0", "do z1 1.0 over 1.0"];
    assert_eq!(ran(&world), first);
    apply(&world, "2.0").ok();
    assert_eq!(ran(&world)[..3], ["do a2 2.0 over 1.0", "do b2 2.0 over 1.0", "do y2 2.0 over 2.0"]);
    assert!(!world.path("site/run").exists());
    audit_holds(&world);
}

#[test]
fn the_same_bundle_again_runs_nothing_also_when_something_else_has_to_be_put_back() {
    let world = three_versions();
    apply(&world, "1.0").ok();
    ran(&world);
    let again = apply(&world, "1.0").ok();
    assert!(again.stdout.contains("everything is in place already"), "{}", again.stdout);
    world.write("root/etc/demo/version", "changed");
    let again = apply(&world, "1.0").ok();
    assert!(again.stdout.contains("replace") && content(&world) == "1.0", "{}", again.stdout);
    assert_eq!(ran(&world), [""; 0]);
}

#[test]
fn a_script_gets_these_variables_and_no_others_and_nothing_to_read() {
    let mut world = site();
    world.vars.insert("SECRET".into(), "x".into());
    let dir = world.dir().display().to_string();
    world.write(
        "scripts/look.sh",
        format!("#!/bin/sh\ntr '\\0' '\\n' </proc/$$/environ | sort >{dir}/env.$AIRLOCK_STEP\npwd >{dir}/pwd\nls -a >>{dir}/pwd\ncat >{dir}/read\nstat -c %a \"$0\" >{dir}/mode\n"),
    );
    let scripts = ["{source: scripts/look.sh, undo: scripts/look.sh}".to_string()];
    bundle(&world, "1.0", 1, &[]);
    bundle(&world, "2.0", 2, &scripts);
    apply(&world, "1.0").ok();
    apply(&world, "2.0").ok();
    let seen = world.bundler(&["--output", "json", "inspect", "2.0.tar"]).ok().json();
    let expected = |step: &str| {
        let mut lines = vec![
            "AIRLOCK_ATTEMPT=1".to_string(),
            format!("AIRLOCK_BUNDLE={}", seen["bundle"].as_str().unwrap()),
            "AIRLOCK_FROM=1.0".to_string(),
            "AIRLOCK_PRODUCT=demo".to_string(),
            format!("AIRLOCK_SITE={}", world.path("site").display()),
            format!("AIRLOCK_STEP={step}"),
            "AIRLOCK_VERSION=2.0".to_string(),
            format!("HOME={}", world.path("home").display()),
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_string(),
        ];
        lines.sort();
        lines.join("\n") + "\n"
    };
    let read = |name: &str| std::fs::read_to_string(world.path(name)).unwrap();
    assert_eq!(read("env.do"), expected("do"));
    assert_eq!(read("pwd"), format!("{}\n.\n..\n", world.path("site/run/work").display()));
    assert_eq!((read("read").as_str(), read("mode").as_str()), ("", "700\n"));
    world.installer(&["rollback", "--yes"]).ok();
    assert_eq!(read("env.undo"), expected("undo"));
    // The page that promises them names the same.
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operator.md")).unwrap();
    let rows = page.lines().skip_while(|line| !line.starts_with("| variable |")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let mut named: Vec<String> = rows.flat_map(|row| row.split('`').nth(1).map(str::to_string)).collect();
    named.sort();
    let text = expected("do");
    let variables: Vec<&str> = text.lines().map(|line| line.split('=').next().unwrap()).collect();
    assert_eq!(named, variables);
}

#[test]
fn a_program_in_machine_code_runs_as_well() {
    let world = site();
    let program = std::fs::read("/bin/true").unwrap();
    world.write("scripts/program", program);
    bundle(&world, "1.0", 1, &["{source: scripts/program, irreversible: it does nothing}".to_string()]);
    apply(&world, "1.0").ok();
    let seen = world.bundler(&["--output", "json", "inspect", "1.0.tar"]).ok().json();
    let components = seen["inventory"]["components"].as_array().unwrap();
    let script = components.iter().find(|component| component["kind"] == "script").unwrap();
    assert!(script["file"].get("interpreter").is_none());
    assert_eq!(seen["manifest"]["counts"]["scripts"], 1);
}

#[test]
fn the_log_has_what_was_run_and_what_it_said() {
    let world = three_versions();
    apply(&world, "1.0").ok();
    let entries = log(&world);
    let done = entries.iter().find(|entry| {
        entry["outcome"] == "done" && entry["about"]["action"].as_str().is_some_and(|a| a.contains("run a1"))
    });
    let about = &done.unwrap()["about"];
    assert_eq!((&about["said"], &about["attempt"]), (&"a1 said this".into(), &"1".into()));
    let text = std::fs::read(world.path("scripts/a1.sh")).unwrap();
    assert_eq!(about["script"], Digest::of(&text).to_string());
    let kept = tree(&world, "site/journal", &[]);
    let output = kept.keys().find(|path| path.to_string_lossy().ends_with("do.output")).unwrap();
    let output = std::fs::read(world.path("site/journal").join(output)).unwrap();
    assert_eq!(about["output"], Digest::of(&output).to_string());
    assert_eq!(output, b"a1 said this\n");
}

// ---- a site that does not want to, or cannot ----------------------------------------------------------

#[test]
fn a_site_that_does_not_allow_scripts_refuses_the_bundle_and_runs_nothing() {
    let world = three_versions();
    allow(&world, false);
    for arguments in [&["plan", "1.0.tar"][..], &["apply", "1.0.tar"], &["apply", "1.0.tar", "--yes"]] {
        let ran = world.installer(arguments).expect_exit(Exit::NotReady);
        says(&ran, &["scripts/allowed", "a1", "targets: {scripts: {}}"]);
        fails_alone(&ran.stderr, "scripts/allowed");
    }
    assert_eq!((ran(&world).len(), content(&world).as_str()), (0, "none"));
    // Without a site.yaml it is the same.
    std::fs::remove_file(world.path("site/site.yaml")).unwrap();
    let _ = apply(&world, "1.0").expect_exit(Exit::NotReady);
    // Once they have run, the same bundle needs no leave; going back from it does.
    allow(&world, true);
    apply(&world, "1.0").ok();
    apply(&world, "2.0").ok();
    allow(&world, false);
    apply(&world, "2.0").ok();
    ran(&world);
    let refused = world.installer(&["rollback", "--yes"]).expect_exit(Exit::NotReady);
    says(&refused, &["scripts/allowed", "z2"]);
    assert_eq!((ran(&world).len(), content(&world).as_str()), (0, "2.0"));
}

#[test]
fn an_interpreter_that_is_not_there_is_found_before_anything_changes() {
    let world = site();
    for (first, missing) in
        [("#!/no/such/shell", "/no/such/shell"), ("#!/usr/bin/env no-such-shell", "no-such-shell")]
    {
        world.write("scripts/x.sh", format!("{first}\n"));
        bundle(&world, "1.0", 1, &["{source: scripts/x.sh, irreversible: x}".to_string()]);
        let ran = apply(&world, "1.0").expect_exit(Exit::NotReady);
        says(&ran, &["scripts/interpreter", missing]);
        fails_alone(&ran.stderr, "scripts/interpreter");
    }
}

#[test]
fn a_site_on_a_disk_from_which_nothing_is_run_is_found_before_anything_changes() {
    let world = site();
    world.write("scripts/x.sh", "#!/bin/sh\n");
    bundle(&world, "1.0", 1, &["{source: scripts/x.sh, irreversible: x}".to_string()]);
    let script =
        "mount --bind site site && mount -o remount,bind,noexec site && \"$0\" --site site preflight 1.0.tar";
    let Some(ran) = with_mounts(&world, script) else { return };
    let shown = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(ran.status.code(), Some(5), "{shown}");
    fails_alone(&shown, "scripts/place");
}

#[test]
fn what_cannot_be_run_is_not_even_locked() {
    let world = World::new();
    world.write("ok.sh", "#!/bin/sh\n");
    world.write("d/ok.sh", "#!/bin/sh\nexit\n");
    std::os::unix::fs::symlink("ok.sh", world.path("link.sh")).unwrap();
    for (text, entry, exit, words) in [
        ("echo\n", "{source: x.sh, undo: ok.sh}", Exit::Usage, "x.sh cannot be run: it starts neither"),
        ("#!/bin/sh\r\n", "{source: x.sh, undo: ok.sh}", Exit::Usage, "carriage return"),
        ("#!sh\n", "{source: x.sh, undo: ok.sh}", Exit::Usage, "no absolute path"),
        ("", "{source: ok.sh, undo: x.sh}", Exit::Usage, "x.sh cannot be run"),
        ("", "{source: none.sh, undo: ok.sh}", Exit::Unreachable, "none.sh"),
        ("", "{source: link.sh, undo: ok.sh}", Exit::Unreachable, "link.sh is a link"),
        ("", "{source: ok.sh, undo: d/ok.sh}", Exit::Usage, "have the same file name"),
        ("", "{source: ok.sh, undo: ok.sh}, {source: d/ok.sh, undo: d/ok.sh}", Exit::Usage, "twice"),
    ] {
        world.write("x.sh", text);
        world.spec("1", 1, &format!("scripts: [{entry}]\n"));
        says(&world.bundler(&["lock"]).expect_exit(exit), &[words]);
    }
    world.spec("1", 1, "scripts: [{source: ok.sh, undo: ok.sh, when: before}]\n");
    let locked = world.bundler(&["lock"]).ok();
    assert!(locked.stdout.contains("before, undone by ok.sh"), "{}", locked.stdout);
}

// ---- failing ------------------------------------------------------------------------------------------

#[test]
fn a_script_that_fails_is_taken_back_with_everything_before_it() {
    let world = three_versions();
    apply(&world, "1.0").ok();
    ran(&world);
    fails(&world, "z2.do");
    let failed = apply(&world, "2.0").expect_exit(Exit::Undone);
    says(&failed, &["script z2 failed with exit code 3", "z2 is broken", "do.output"]);
    assert_eq!(content(&world), "1.0");
    assert_eq!(
        ran(&world),
        [
            "do a2 2.0 over 1.0",
            "do b2 2.0 over 1.0",
            "do y2 2.0 over 2.0",
            "do z2 2.0 over 2.0",
            "undo z2 2.0 over 2.0",
            "undo y2 2.0 over 2.0",
            "undo b2 2.0 over 1.0",
            "undo a2 2.0 over 1.0"
        ]
    );
    let status = world.installer(&["status"]).ok().stdout;
    assert!(status.contains("1.0") && !status.contains("cut off"), "{status}");
    let entries = log(&world);
    let failed = entries.iter().find(|entry| entry["outcome"] == "failed").unwrap();
    assert_eq!(failed["about"]["said"], "z2 is broken");
    audit_holds(&world);
    // Mended, it runs as if nothing had been.
    std::fs::remove_file(world.path("fail/z2.do")).unwrap();
    world.acknowledge();
    apply(&world, "2.0").ok();
    assert_eq!(ran(&world).len(), 4);
}

#[test]
fn an_undo_that_fails_is_named_and_the_rest_is_still_taken_back() {
    let world = three_versions();
    apply(&world, "1.0").ok();
    ran(&world);
    fails(&world, "z2.do");
    fails(&world, "y2.undo");
    let failed = apply(&world, "2.0").expect_exit(Exit::NotUndone);
    says(&failed, &["script y2 (its undo) failed with exit code 3: y2 is broken", "run y2 of 2.0"]);
    assert_eq!(content(&world), "1.0");
    assert_eq!(
        ran(&world)[4..],
        ["undo z2 2.0 over 2.0", "undo y2 2.0 over 2.0", "undo b2 2.0 over 1.0", "undo a2 2.0 over 1.0"]
    );
}

#[test]
fn what_nothing_takes_back_is_shown_before_and_named_after() {
    let world = site();
    let (mail, last) = (script(&world, "mail"), entry(&world, "last", "after"));
    bundle(&world, "1.0", 1, &[]);
    bundle(&world, "2.0", 2, &[format!("{{source: {mail}, irreversible: it sends a mail}}"), last]);
    apply(&world, "1.0").ok();
    let plan = world.installer(&["plan", "2.0.tar"]).ok().stdout;
    // Lines are broken between words.
    let plan = plan.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(plan.contains("mail of 2.0") && plan.contains("CANNOT BE TAKEN BACK: it sends a mail"), "{plan}");
    fails(&world, "last.do");
    let failed = apply(&world, "2.0").expect_exit(Exit::NotUndone);
    says(&failed, &["nothing takes script mail back: it sends a mail"]);
    assert_eq!(content(&world), "1.0");
    std::fs::remove_file(world.path("fail/last.do")).unwrap();
    world.acknowledge();
    apply(&world, "2.0").ok();
    ran(&world);
    let shown = world.installer(&["rollback"]).expect_exit(Exit::Usage);
    says(&shown, &["script mail of 2.0 is NOT TAKEN BACK: it sends a mail", "undo last of 2.0"]);
    world.installer(&["rollback", "--yes"]).ok();
    assert_eq!(ran(&world), ["undo last 2.0 over 2.0"]);
}

#[test]
fn at_its_time_limit_a_script_ends_with_everything_it_started_and_is_taken_back() {
    let world = site();
    let dir = world.dir().display().to_string();
    world.write(
        "scripts/slow.sh",
        format!("#!/bin/sh\necho $AIRLOCK_STEP >>{dir}/trace\n[ $AIRLOCK_STEP = undo ] && exit\necho waiting\nsleep 600 &\necho $! >{dir}/child\nsleep 600\n"),
    );
    bundle(&world, "1.0", 1, &["{source: scripts/slow.sh, undo: scripts/slow.sh, within: 1s}".to_string()]);
    let failed = apply(&world, "1.0").expect_exit(Exit::Undone);
    says(&failed, &["script slow did not end within 1 seconds: waiting"]);
    assert_eq!(ran(&world), ["do", "undo"]);
    wait_until(Duration::from_secs(20), "the child is gone", || !is_running(&world, "child"));
}

/// Whether the process whose number is in a file runs.
fn is_running(world: &World, file: &str) -> bool {
    let Ok(number) = std::fs::read_to_string(world.path(file)) else { return false };
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", number.trim())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

// ---- going back ---------------------------------------------------------------------------------------

#[test]
fn going_back_takes_the_scripts_of_the_newer_version_back_in_reverse() {
    let world = three_versions();
    apply(&world, "1.0").ok();
    apply(&world, "2.0").ok();
    ran(&world);
    let shown = world.installer(&["rollback"]).expect_exit(Exit::Usage);
    says(&shown, &["undo z2 of 2.0", "undo a2 of 2.0"]);
    assert_eq!(ran(&world), [""; 0]);
    world.installer(&["rollback", "--yes"]).ok();
    assert_eq!(
        ran(&world),
        ["undo z2 2.0 over 2.0", "undo y2 2.0 over 2.0", "undo b2 2.0 over 1.0", "undo a2 2.0 over 1.0"]
    );
    // The newer one again: its scripts were taken back, so they run again.
    apply(&world, "2.0").ok();
    assert_eq!(ran(&world)[0], "do a2 2.0 over 1.0");
    audit_holds(&world);
}

#[test]
fn going_back_over_two_versions_takes_both_back_the_newest_first() {
    let world = three_versions();
    for version in ["1.0", "2.0", "3.0"] {
        apply(&world, version).ok();
    }
    ran(&world);
    world.installer(&["rollback", "1.0", "--yes"]).ok();
    assert_eq!(
        ran(&world),
        [
            "undo z3 3.0 over 3.0",
            "undo y3 3.0 over 3.0",
            "undo b3 3.0 over 1.0",
            "undo a3 3.0 over 1.0",
            "undo z2 2.0 over 1.0",
            "undo y2 2.0 over 1.0",
            "undo b2 2.0 over 1.0",
            "undo a2 2.0 over 1.0"
        ]
    );
    // What was gone back from is not below the next one.
    apply(&world, "3.0").ok();
    ran(&world);
    world.installer(&["rollback", "1.0", "--yes"]).ok();
    assert_eq!(ran(&world).len(), 4);
}

#[test]
fn going_to_a_version_that_is_not_in_force_runs_its_own_scripts() {
    let world = three_versions();
    for version in ["1.0", "2.0"] {
        apply(&world, version).ok();
    }
    world.installer(&["rollback", "--yes"]).ok();
    apply(&world, "3.0").ok();
    ran(&world);
    world.installer(&["rollback", "2.0", "--yes"]).ok();
    assert_eq!(
        ran(&world),
        [
            "undo z3 3.0 over 3.0",
            "undo y3 3.0 over 3.0",
            "undo b3 3.0 over 3.0",
            "undo a3 3.0 over 3.0",
            "do a2 2.0 over 3.0",
            "do b2 2.0 over 3.0",
            "do y2 2.0 over 2.0",
            "do z2 2.0 over 2.0"
        ]
    );
}

#[test]
fn going_back_that_fails_leaves_the_newer_version_with_its_scripts_done() {
    let world = three_versions();
    for version in ["1.0", "2.0"] {
        apply(&world, version).ok();
    }
    ran(&world);
    fails(&world, "b2.undo");
    let failed = world.installer(&["rollback", "--yes"]).expect_exit(Exit::Undone);
    says(&failed, &["undo b2 of 2.0"]);
    assert_eq!(content(&world), "2.0");
    assert_eq!(
        ran(&world)[2..],
        ["undo b2 2.0 over 1.0", "do b2 2.0 over 1.0", "do y2 2.0 over 2.0", "do z2 2.0 over 2.0"]
    );
    std::fs::remove_file(world.path("fail/b2.undo")).unwrap();
    world.installer(&["rollback", "--yes"]).ok();
    assert_eq!(content(&world), "1.0");
}

#[test]
fn scripts_of_a_revoked_version_are_not_run_and_the_plan_says_so() {
    let world = three_versions();
    for version in ["1.0", "2.0"] {
        apply(&world, version).ok();
    }
    ran(&world);
    let seen = world.bundler(&["--output", "json", "inspect", "2.0.tar"]).ok().json();
    let bundle = seen["bundle"].as_str().unwrap();
    let revoke = ["trust", "revoke", "root.json", "--bundle", bundle, "--reason", "stolen"];
    let by =
        ["--sign", "keys/alice.key.pem", "--sign", "keys/bob.key.pem", "--out", "list/1.revocations.json"];
    std::fs::create_dir(world.path("list")).unwrap();
    world.bundler(&[&revoke[..], &by].concat()).ok();
    world.installer(&["trust", "update", "list"]).ok();
    let gone = world.installer(&["rollback", "--yes"]).ok();
    let note = "scripts of 2.0, if it has any, are NOT TAKEN BACK: it was revoked";
    assert!(gone.stdout.contains(note), "{}", gone.stdout);
    assert_eq!((ran(&world).len(), content(&world).as_str()), (0, "1.0"));
}

#[test]
fn a_version_that_only_the_ledger_knows_runs_nothing() {
    let world = three_versions();
    for version in ["1.0", "2.0", "3.0"] {
        apply(&world, version).ok();
    }
    let seen = world.bundler(&["--output", "json", "inspect", "2.0.tar"]).ok().json();
    let (bundle, other) = (seen["bundle"].as_str().unwrap(), format!("sha256:{}", "ab".repeat(32)));
    let path = world.path("site/ledger/acme.demo.json");
    let ledger = std::fs::read_to_string(&path).unwrap();
    ran(&world);
    std::fs::write(&path, ledger.replace(bundle, &other)).unwrap();
    let refused = world.installer(&["rollback", "1.0", "--yes"]).expect_exit(Exit::Refused);
    says(&refused, &["2.0 was applied here, and the audit log does not"]);
    // Its originals without their signatures, which nobody believes.
    std::fs::write(&path, &ledger).unwrap();
    let kept = world.path(&format!("site/store/bundles/{}/signatures", &bundle["sha256:".len()..]));
    std::fs::remove_dir_all(&kept).unwrap();
    std::fs::create_dir(&kept).unwrap();
    let refused = world.installer(&["rollback", "1.0", "--yes"]).expect_exit(Exit::Refused);
    says(&refused, &["the scripts of 2.0 cannot be taken back"]);
    assert_eq!((ran(&world).len(), content(&world).as_str()), (0, "3.0"));
}

#[test]
fn a_script_that_has_changed_in_the_store_is_not_run() {
    let world = three_versions();
    for version in ["1.0", "2.0"] {
        apply(&world, version).ok();
    }
    ran(&world);
    let text = std::fs::read(world.path("scripts/z2.sh")).unwrap();
    let blob = world.path(&format!("site/store/blobs/sha256/{}", Digest::of(&text).hex()));
    std::fs::write(&blob, [&text[..], b"touch evil\n"].concat()).unwrap();
    let failed = world.installer(&["rollback", "--yes"]).expect_exit(Exit::Undone);
    says(&failed, &["what was kept of it has changed"]);
    assert_eq!((ran(&world).len(), content(&world).as_str()), (0, "2.0"));
}

// ---- power cuts ---------------------------------------------------------------------------------------

struct Cut {
    moment: &'static str,
    step: usize,
    /// Where something fails by itself, so that everything is undone.
    fails: Option<PathBuf>,
    hit: Cell<bool>,
}

impl Watch for Cut {
    fn at(&self, moment: &'static str, step: usize) -> Result<(), PowerCut> {
        if (moment, step) == (self.moment, self.step) {
            self.hit.set(true);
            return Err(PowerCut);
        }
        Ok(())
    }
}

#[derive(Default)]
struct Moments(RefCell<Vec<(&'static str, usize)>>);

impl Watch for Moments {
    fn at(&self, moment: &'static str, step: usize) -> Result<(), PowerCut> {
        self.0.borrow_mut().push((moment, step));
        Ok(())
    }
}

/// Two versions on a site that runs the first one. Each script keeps its version in a file `state/NAME`, so
/// that what is in force can be seen however often it ran.
fn stateful() -> World {
    let world = site();
    std::fs::create_dir(world.path("state")).unwrap();
    for (sequence, version) in [(1, "1.0"), (2, "2.0"), (3, "3.0")] {
        let dir = world.dir().display();
        let entry = |name: &str, when: &str| {
            let text = format!(
                "#!/bin/sh\necho $AIRLOCK_STEP {name} $AIRLOCK_VERSION attempt $AIRLOCK_ATTEMPT >>{dir}/trace\nif [ $AIRLOCK_STEP = do ]; then [ ! -e {dir}/fail/{name}.do ] || exit 1; echo $AIRLOCK_VERSION; else echo $AIRLOCK_FROM; fi >{dir}/state/{name}\n"
            );
            world.write(&format!("scripts/{name}.sh"), text);
            format!("{{source: scripts/{name}.sh, undo: scripts/{name}.sh, when: {when}}}")
        };
        bundle(&world, version, sequence, &[entry("before", "before"), entry("after", "after")]);
    }
    apply(&world, "1.0").ok();
    ran(&world);
    world
}

/// What the scripts and the content of a site say is in force.
fn in_force(world: &World) -> BTreeMap<String, String> {
    let mut found = BTreeMap::from([("content".to_string(), content(world))]);
    for entry in std::fs::read_dir(world.path("state")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap().trim().to_string();
        found.insert(path.file_name().unwrap().to_str().unwrap().to_string(), text);
    }
    found
}

fn all_at(version: &str) -> BTreeMap<String, String> {
    ["after", "before", "content"].map(|name| (name.to_string(), version.to_string())).into()
}

fn cut_at(world: &World, cut: &Cut) -> Plan {
    if let Some(path) = &cut.fails {
        std::fs::write(path, "").unwrap();
    }
    let plan = with_run(world, &world.path("2.0.tar"), cut, |run, plan| {
        let ended = run.start(&plan);
        assert!(matches!(ended, Err(ApplyError::PowerCut(_))), "{} {}: {ended:?}", cut.moment, cut.step);
        plan
    });
    assert!(cut.hit.get());
    if let Some(path) = &cut.fails {
        std::fs::remove_file(path).unwrap();
    }
    plan
}

/// Every moment at which the power can go, forwards, and while everything is undone because the last
/// script has failed.
fn cuts(world: &World) -> Vec<Cut> {
    let moments = Moments::default();
    let steps = with_run(world, &world.path("2.0.tar"), &moments, |run, plan| {
        run.start(&plan).unwrap();
        plan.steps
    });
    let last = steps.iter().rposition(|step| matches!(step, Step::Script(_))).unwrap();
    assert_eq!((steps.len(), last), (5, 2), "{steps:?}");
    let forward = moments.0.into_inner().into_iter();
    let forward = forward.map(|(moment, step)| Cut { moment, step, fails: None, hit: Cell::new(false) });
    let undoing = (0..=last).map(|step| Cut {
        moment: "undoing",
        step,
        fails: Some(PathBuf::new()),
        hit: Cell::new(false),
    });
    forward.chain(undoing).collect()
}

#[test]
fn cut_off_anywhere_the_same_bundle_ends_with_its_scripts_done() {
    for cut in cuts(&stateful()) {
        let world = stateful();
        let cut = Cut { fails: cut.fails.map(|_| world.path("fail/after.do")), ..cut };
        let when = format!("{} {}", cut.moment, cut.step);
        cut_at(&world, &cut);
        if cut.fails.is_some() {
            world.acknowledge();
        }
        apply(&world, "2.0").ok();
        assert_eq!(in_force(&world), all_at("2.0"), "{when}");
        assert!(!world.path("site/run").exists(), "{when}");
        audit_holds(&world);
        ran(&world);
        apply(&world, "2.0").ok();
        assert_eq!(ran(&world), [""; 0], "{when}");
        world.installer(&["rollback", "--yes"]).ok();
        assert_eq!(in_force(&world), all_at("1.0"), "{when}");
    }
}

#[test]
fn cut_off_anywhere_another_bundle_comes_after_its_scripts_were_taken_back() {
    for cut in cuts(&stateful()) {
        let world = stateful();
        let cut = Cut { fails: cut.fails.map(|_| world.path("fail/after.do")), ..cut };
        let when = format!("{} {}", cut.moment, cut.step);
        let plan = cut_at(&world, &cut);
        let began = ran(&world);
        if cut.fails.is_some() {
            world.acknowledge();
        }
        apply(&world, "3.0").ok();
        assert_eq!(in_force(&world), all_at("3.0"), "{when}");
        audit_holds(&world);
        // A script that was begun, and no other, is taken back before the next one runs.
        let later = ran(&world);
        let recorded = plan.steps.len() - 1;
        let was_applied = cut.step == recorded && cut.moment == "done";
        for name in ["before", "after"] {
            let begun = began.iter().any(|line| line.starts_with(&format!("do {name} 2.0")));
            let undone =
                |lines: &[String]| lines.iter().any(|line| line.starts_with(&format!("undo {name} 2.0")));
            if begun && !was_applied {
                assert!(undone(&began) || undone(&later), "{when}: {began:?} {later:?}");
            }
        }
    }
}

#[test]
fn a_script_that_is_run_again_is_told_and_an_undo_of_what_never_began_runs_nothing() {
    let world = stateful();
    cut_at(&world, &Cut { moment: "performed", step: 0, fails: None, hit: Cell::new(false) });
    apply(&world, "2.0").ok();
    assert_eq!(ran(&world)[..2], ["do before 2.0 attempt 1", "do before 2.0 attempt 2"]);
    let world = stateful();
    cut_at(&world, &Cut { moment: "begun", step: 0, fails: None, hit: Cell::new(false) });
    apply(&world, "3.0").ok();
    assert_eq!(ran(&world), ["do before 3.0 attempt 1", "do after 3.0 attempt 1"]);
}

#[test]
fn scripts_that_are_not_allowed_any_more_are_taken_back_once_they_are_again() {
    let world = stateful();
    cut_at(&world, &Cut { moment: "done", step: 2, fails: None, hit: Cell::new(false) });
    ran(&world);
    bundle(&world, "4.0", 4, &[]);
    allow(&world, false);
    let stuck = apply(&world, "4.0").expect_exit(Exit::NotUndone);
    says(&stuck, &["script after may not run here"]);
    assert_eq!(ran(&world), [""; 0]);
    allow(&world, true);
    // The undoing is finished first; that something failed stands until somebody has looked.
    let _ = apply(&world, "4.0").expect_exit(Exit::NotReady);
    world.acknowledge();
    apply(&world, "4.0").ok();
    assert_eq!(ran(&world), ["undo after 2.0 attempt 1", "undo before 2.0 attempt 1"]);
    assert_eq!(content(&world), "4.0");
}

// ---- the installer as a process -----------------------------------------------------------------------

/// A bundle with a script that waits, and says so first.
fn waiting() -> World {
    let world = site();
    let dir = world.dir().display().to_string();
    world.write(
        "scripts/wait.sh",
        format!("#!/bin/sh\necho $AIRLOCK_STEP >>{dir}/trace\n[ $AIRLOCK_STEP = undo ] && exit\necho $$ >{dir}/child.new\nmv {dir}/child.new {dir}/child\n[ $AIRLOCK_ATTEMPT = 1 ] && sleep 600\nexit 0\n"),
    );
    bundle(&world, "1.0", 1, &["{source: scripts/wait.sh, undo: scripts/wait.sh}".to_string()]);
    world
}

fn start(world: &World) -> Running {
    let mut command = installer(world, &["apply", "1.0.tar", "--yes"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until(Duration::from_secs(60), "the script runs", || world.path("child").exists());
    Running(child)
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn a_script_that_somebody_stops_with_the_keyboard_is_ended_and_everything_undone() {
    for how in [Signal::INT, Signal::TERM, Signal::HUP] {
        let world = waiting();
        let mut running = start(&world);
        signal(&running.0, how);
        assert_eq!(running.0.wait().unwrap().code(), Some(6), "{how:?}");
        assert_eq!((ran(&world), content(&world).as_str()), (vec!["do".into(), "undo".into()], "none"));
        wait_until(Duration::from_secs(20), "the script is gone", || !is_running(&world, "child"));
        audit_holds(&world);
    }
}

#[test]
fn while_a_script_of_a_killed_run_still_runs_nobody_starts_another_one() {
    let world = waiting();
    let mut running = start(&world);
    signal(&running.0, Signal::KILL);
    running.0.wait().unwrap();
    assert!(is_running(&world, "child"));
    let refused = apply(&world, "1.0").expect_exit(Exit::NotReady);
    says(&refused, &["a program of an earlier run still runs", "kill -- -"]);
    let number = std::fs::read_to_string(world.path("child")).unwrap();
    let group = Pid::from_raw(number.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process_group(group, Signal::KILL).unwrap();
    wait_until(Duration::from_secs(20), "the script is gone", || !is_running(&world, "child"));
    apply(&world, "1.0").ok();
    assert_eq!(ran(&world), ["do", "do"]);
}
