//! The transaction over versions: what an upgrade and a rollback take away, and what they leave alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

mod onsite;
mod versions;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use e2e::{Ran, World};
use edge::Exit;
use installer::apply::ApplyError;
use onsite::{
    Python, Running, audit_holds, build, greeting, installer, python_says, says, site_yaml, wait_until,
    with_run, write_wheels,
};
use versions::{Cut, Moments, apply, bundle, root, site};

fn rollback(world: &World) -> Ran {
    world.installer(&["rollback", "--yes", "--product", "demo", "--reason", "test"])
}

/// Two versions: the second has no `old/deep/a`, and `new/b` instead.
fn two_versions(world: &World) {
    bundle(world, "demo", 1, &[("same", "same"), ("changed", "1"), ("old/deep/a", "a")], "");
    bundle(world, "demo", 2, &[("same", "same"), ("changed", "2"), ("new/b", "b")], "");
}

#[test]
fn what_the_next_version_has_not_is_taken_away_and_a_rollback_brings_it_back_byte_for_byte() {
    let world = site(&[]);
    two_versions(&world);
    world.write("root/etc/own", "the site's own");
    apply(&world, "demo", 1).ok();
    let first = root(&world);
    let upgraded = apply(&world, "demo", 2).ok();
    assert!(upgraded.stdout.contains("remove "), "{}", upgraded.stdout);
    assert!(!world.path("root/etc/app/old").exists(), "{:?}", root(&world));
    let second = root(&world);
    rollback(&world).ok();
    assert_eq!(root(&world), first);
    apply(&world, "demo", 2).ok();
    assert_eq!(root(&world), second);
    rollback(&world).ok();
    assert_eq!(root(&world), first);
    let again = apply(&world, "demo", 2).ok();
    assert!(again.stdout.contains("remove "), "{}", again.stdout);
    let again = apply(&world, "demo", 2).ok();
    assert!(again.stdout.contains("everything is in place already"), "{}", again.stdout);
    audit_holds(&world);
}

#[test]
fn what_was_there_before_the_first_version_comes_back_with_its_mode() {
    let world = site(&[]);
    two_versions(&world);
    world.write("root/etc/app/old/deep/a", "the site's own");
    let path = world.path("root/etc/app/old/deep/a");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o604)).unwrap();
    let before = root(&world)[&PathBuf::from("etc/app/old/deep/a")].clone();
    apply(&world, "demo", 1).ok();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a");
    apply(&world, "demo", 2).ok();
    assert_eq!(root(&world)[&PathBuf::from("etc/app/old/deep/a")], before);
    // It is the site's own again: nobody touches it when the version changes once more.
    bundle(&world, "demo", 3, &[("same", "same")], "");
    apply(&world, "demo", 3).ok();
    assert_eq!(root(&world)[&PathBuf::from("etc/app/old/deep/a")], before);
}

#[test]
fn what_somebody_has_changed_since_is_left_alone_and_the_plan_says_so_once() {
    let world = site(&[]);
    two_versions(&world);
    apply(&world, "demo", 1).ok();
    world.write("root/etc/app/old/deep/a", "edited on site");
    let note = "old/deep/a is left alone: somebody has changed it";
    let upgraded = apply(&world, "demo", 2).ok();
    assert!(upgraded.stdout.contains(note), "{}", upgraded.stdout);
    assert_eq!(std::fs::read_to_string(world.path("root/etc/app/old/deep/a")).unwrap(), "edited on site");
    bundle(&world, "demo", 3, &[("same", "same")], "");
    let third = apply(&world, "demo", 3).ok();
    assert!(!third.stdout.contains(note), "{}", third.stdout);
    // What was there when the file comes anew is now what was there before.
    bundle(&world, "demo", 4, &[("old/deep/a", "a4")], "");
    bundle(&world, "demo", 5, &[("same", "same")], "");
    apply(&world, "demo", 4).ok();
    apply(&world, "demo", 5).ok();
    assert_eq!(std::fs::read_to_string(world.path("root/etc/app/old/deep/a")).unwrap(), "edited on site");
}

#[test]
fn a_file_that_was_there_already_was_never_ours_and_stays() {
    let world = site(&[]);
    two_versions(&world);
    world.write("root/etc/app/old/deep/a", "a");
    std::fs::set_permissions(world.path("root/etc/app/old/deep/a"), PermissionsExt::from_mode(0o644))
        .unwrap();
    apply(&world, "demo", 1).ok();
    apply(&world, "demo", 2).ok();
    assert_eq!(std::fs::read_to_string(world.path("root/etc/app/old/deep/a")).unwrap(), "a");
}

#[test]
fn a_file_of_another_product_stays_until_that_one_lets_it_go() {
    let world = site(&[]);
    two_versions(&world);
    bundle(&world, "other", 1, &[("old/deep/a", "a")], "");
    bundle(&world, "other", 2, &[("its/own", "x")], "");
    apply(&world, "demo", 1).ok();
    apply(&world, "other", 1).ok();
    apply(&world, "demo", 2).ok();
    assert!(world.path("root/etc/app/old/deep/a").exists());
    apply(&world, "other", 2).ok();
    assert!(!world.path("root/etc/app/old").exists(), "{:?}", root(&world));
}

#[test]
fn a_directory_with_something_of_the_sites_own_in_it_stays() {
    let world = site(&[]);
    two_versions(&world);
    apply(&world, "demo", 1).ok();
    world.write("root/etc/app/old/mine", "mine");
    apply(&world, "demo", 2).ok();
    assert!(!world.path("root/etc/app/old/deep").exists());
    assert_eq!(std::fs::read_to_string(world.path("root/etc/app/old/mine")).unwrap(), "mine");
}

#[test]
fn without_its_journals_nothing_is_taken_away() {
    let world = site(&[]);
    two_versions(&world);
    apply(&world, "demo", 1).ok();
    std::fs::remove_dir_all(world.path("site/journal")).unwrap();
    std::fs::create_dir(world.path("site/journal")).unwrap();
    apply(&world, "demo", 2).ok();
    assert_eq!(std::fs::read_to_string(world.path("root/etc/app/old/deep/a")).unwrap(), "a");
}

#[test]
fn when_a_later_step_fails_what_was_taken_away_is_there_again() {
    let world = site(&[]);
    two_versions(&world);
    let yaml = std::fs::read_to_string(world.path("site/site.yaml")).unwrap();
    world.write("site/site.yaml", format!("{yaml}  scripts: {{}}\n"));
    world.write("fails.sh", "#!/bin/sh\n[ $AIRLOCK_STEP = undo ]\n");
    let scripts = "scripts: [{source: fails.sh, undo: fails.sh, when: after}]\n";
    bundle(&world, "demo", 3, &[("same", "same")], scripts);
    apply(&world, "demo", 1).ok();
    std::fs::set_permissions(world.path("root/etc/app/old"), PermissionsExt::from_mode(0o710)).unwrap();
    let before = root(&world);
    let _ = apply(&world, "demo", 3).expect_exit(Exit::Undone);
    assert_eq!(root(&world), before);
}

#[test]
fn an_environment_that_the_next_version_has_not_loses_its_link_and_gets_it_back() {
    let Some(python) = Python::find() else { return };
    let world = site(&[]);
    let files = format!("files: {{root: {}}}", world.path("root").display());
    site_yaml(&world, &[files, python.as_target(&world)]);
    write_wheels(&world, "wheels", &greeting("1.0"));
    build(&world, "1.0", 1, "wheels: [{name: tools, source: wheels}]\n", "demo-1.tar");
    bundle(&world, "demo", 2, &[("same", "same")], "");
    apply(&world, "demo", 1).ok();
    let link = world.path("venvs/tools");
    apply(&world, "demo", 2).ok();
    assert!(std::fs::symlink_metadata(&link).is_err());
    let back = rollback(&world).ok();
    assert_eq!(python_says(&link.join("bin/python"), "import greet; print(greet.text())"), "hello from 1.0");
    assert!(back.stdout.contains("rolled back: demo 1.0 is in place ("), "{}", back.stdout);
    audit_holds(&world);
}

#[test]
fn the_longest_file_name_there_is_is_written_and_taken_away() {
    let world = site(&[]);
    // The archive takes names of this length, and a file system takes no longer ones.
    let long = "n".repeat(255);
    bundle(&world, "demo", 1, &[("same", "same")], "");
    bundle(&world, "demo", 2, &[("same", "same"), (&long, "x")], "");
    apply(&world, "demo", 1).ok();
    apply(&world, "demo", 2).ok();
    assert_eq!(std::fs::read_to_string(world.path("root/etc/app").join(&long)).unwrap(), "x");
    rollback(&world).ok();
    assert!(!world.path("root/etc/app").join(&long).exists());
}

#[test]
fn the_plan_shows_the_site_against_the_bundle_and_asked_for_more_the_texts_but_no_secrets() {
    let world = site(&[]);
    let text = |changed: &str| format!("one\ntwo\n{changed}\nfour\n");
    bundle(&world, "demo", 1, &[("text", &text("three")), ("gone", "x")], "");
    apply(&world, "demo", 1).ok();
    bundle(&world, "demo", 2, &[("text", &text("3")), ("new", "x")], "");
    let plan = world.installer(&["plan", "demo-2.tar"]).ok().stdout;
    let rest = plan.split_once("plan for acme demo").unwrap().1;
    for words in ["~   2. replace ", " 0644 → ", "+   1. add ", "-   3. remove ", "etc/app/gone", "  files\n"]
    {
        assert!(rest.contains(words), "`{words}`: {rest}");
    }
    assert!(!plan.contains("-three"), "{plan}");
    let more = world.installer(&["plan", "-v", "demo-2.tar"]).ok().stdout;
    assert!(more.contains("\n two\n-three\n+3\n four\n"), "{more}");
    // Before or after, a mode that keeps others out keeps the text out as well.
    std::fs::set_permissions(world.path("root/etc/app/text"), PermissionsExt::from_mode(0o600)).unwrap();
    let more = world.installer(&["plan", "-v", "demo-2.tar"]).ok().stdout;
    assert!(more.contains("not everybody may read it") && !more.contains("-three"), "{more}");
}

// ---- power cuts ---------------------------------------------------------------------------------------

/// Version 1 runs, over something of the site's own; version 2 takes some of it away.
fn upgraded_from() -> World {
    let world = site(&[]);
    world.write("root/etc/app/old/deep/b", "the site's own");
    bundle(
        &world,
        "demo",
        1,
        &[("same", "same"), ("old/deep/a", "a"), ("old/deep/b", "b"), ("gone/c", "c")],
        "",
    );
    bundle(&world, "demo", 2, &[("same", "same"), ("new/b", "b")], "");
    apply(&world, "demo", 1).ok();
    world
}

fn upgrading(world: &World, watch: &dyn installer::apply::Watch) -> Result<(), ApplyError> {
    with_run(world, &world.path("demo-2.tar"), watch, |run, plan| run.start(&plan))
}

#[test]
fn cut_off_anywhere_while_taking_away_it_is_finished_or_taken_back_without_a_bundle() {
    let first = root(&upgraded_from());
    let moments = Moments::default();
    let world = upgraded_from();
    upgrading(&world, &moments).unwrap();
    let second = root(&world);
    assert_ne!(first, second);
    for moment in moments.0.into_inner() {
        let world = upgraded_from();
        assert!(matches!(upgrading(&world, &Cut::at(moment)), Err(ApplyError::PowerCut(_))), "{moment:?}");
        apply(&world, "demo", 2).ok();
        assert_eq!(root(&world), second, "{moment:?}");
        audit_holds(&world);

        let world = upgraded_from();
        assert!(matches!(upgrading(&world, &Cut::at(moment)), Err(ApplyError::PowerCut(_))), "{moment:?}");
        // The medium is gone.
        std::fs::remove_file(world.path("demo-2.tar")).unwrap();
        let shown = world.installer(&["abandon"]).expect_exit(Exit::Usage);
        says(&shown, &["an apply of acme demo 2.0 was cut off", "take back: ", "--yes"]);
        world.installer(&["abandon", "--yes", "--reason", "the disk is with somebody else"]).ok();
        assert_eq!(root(&world), first, "{moment:?}");
        let status = world.installer(&["--output", "json", "status"]).ok().json();
        assert_eq!(status["products"][0]["current"]["version"], "1.0", "{moment:?}");
        assert!(status["interrupted"].is_null() && status["failed"] == serde_json::json!([]), "{status}");
        audit_holds(&world);
        let _ = world.installer(&["abandon", "--yes"]).expect_exit(Exit::Usage);
    }
}

// ---- after a failure ----------------------------------------------------------------------------------

/// Version 1 runs; version 2 has a script that fails as long as `broken` is there, and whose undo fails as long as
/// `stuck` is.
fn failing() -> World {
    let world = site(&["scripts: {}"]);
    let dir = world.dir().display();
    let text = format!(
        "#!/bin/sh\nif [ $AIRLOCK_STEP = do ]; then [ ! -e {dir}/broken ]; else [ ! -e {dir}/stuck ]; fi\n"
    );
    world.write("s.sh", text);
    bundle(&world, "demo", 1, &[("version", "1")], "");
    let scripts = "scripts: [{source: s.sh, undo: s.sh, when: after}]\n";
    bundle(&world, "demo", 2, &[("version", "2")], scripts);
    bundle(&world, "other", 1, &[("other", "x")], "");
    apply(&world, "demo", 1).ok();
    world.write("broken", "");
    world
}

#[test]
fn after_a_failure_nothing_of_the_product_is_applied_until_somebody_has_looked() {
    let world = failing();
    let failed = apply(&world, "demo", 2).expect_exit(Exit::Undone);
    says(&failed, &["installer acknowledge --reason"]);
    std::fs::remove_file(world.path("broken")).unwrap();

    let before = root(&world);
    for args in [&["apply", "demo-2.tar", "--yes"][..], &["apply", "demo-2.tar"], &["plan", "demo-2.tar"]] {
        let refused = world.installer(args).expect_exit(Exit::NotReady);
        says(
            &refused,
            &["site/failed-before", "demo 2.0 failed on ", "everything was taken back", "acknowledge"],
        );
        onsite::fails_alone(&refused.stderr, "site/failed-before");
    }
    assert_eq!(root(&world), before);
    let status = world.installer(&["status"]).ok().stdout;
    assert!(status.contains("demo 2.0 failed on ") && status.contains("acknowledge"), "{status}");
    // Another product is not concerned.
    apply(&world, "other", 1).ok();

    let _ = world.installer(&["acknowledge"]).expect_exit(Exit::Usage);
    let looked = world.installer(&["acknowledge", "--reason", "a full disk; made room"]).ok();
    assert!(looked.stdout.contains("acknowledged: a full disk"), "{}", looked.stdout);
    let _ = world.installer(&["acknowledge", "--reason", "again"]).expect_exit(Exit::Usage);
    let log = world.installer(&["audit", "show"]).ok().stdout;
    assert!(log.contains("acknowledge") && log.contains("a full disk; made room"), "{log}");
    apply(&world, "demo", 2).ok();
    let status = world.installer(&["--output", "json", "status"]).ok().json();
    assert_eq!(status["failed"], serde_json::json!([]));
    audit_holds(&world);
}

#[test]
fn what_could_not_be_taken_back_is_in_the_status_and_the_way_back_is_open() {
    let world = failing();
    world.write("stuck", "");
    let failed = apply(&world, "demo", 2).expect_exit(Exit::NotUndone);
    says(&failed, &["could not be undone", "s of 2.0"]);
    let status = world.installer(&["--output", "json", "status"]).ok().json();
    let found = &status["failed"][0];
    assert_eq!((&found["product"], &found["version"]), (&"demo".into(), &"2.0".into()), "{status}");
    assert!(found["stuck"][0]["action"].as_str().unwrap().contains("s of 2.0"), "{status}");
    let refused = apply(&world, "demo", 2).expect_exit(Exit::NotReady);
    says(&refused, &["site/failed-before", "this could not be taken back: ", "s of 2.0"]);
    world.installer(&["acknowledge", "--reason", "undid by hand"]).ok();
    std::fs::remove_file(world.path("broken")).unwrap();
    apply(&world, "demo", 2).ok();

    // From here on a failure must not close the way back.
    bundle(&world, "demo", 3, &[("version", "3")], "scripts: [{source: s.sh, undo: s.sh, when: after}]\n");
    world.write("broken", "");
    let _ = apply(&world, "demo", 3).expect_exit(Exit::NotUndone);
    std::fs::remove_file(world.path("stuck")).unwrap();
    let back = rollback(&world).ok();
    assert!(back.stdout.contains("warn") && back.stdout.contains("site/failed-before"), "{}", back.stdout);
    assert_eq!(std::fs::read_to_string(world.path("root/etc/app/version")).unwrap(), "1");
    audit_holds(&world);
}

// ---- two at once --------------------------------------------------------------------------------------

#[test]
fn the_second_of_two_installers_is_told_who_is_at_work_and_a_killed_one_leaves_no_lock() {
    let world = site(&["scripts: {}"]);
    let dir = world.dir().display();
    world.write(
        "slow.sh",
        format!("#!/bin/sh\ntouch {dir}/started\nwhile [ ! -e {dir}/go-on ]; do sleep 0.05; done\n"),
    );
    let scripts = "scripts: [{source: slow.sh, undo: slow.sh}]\n";
    bundle(&world, "demo", 1, &[("version", "1")], scripts);
    bundle(&world, "other", 1, &[("other", "x")], "");
    let mut command = installer(&world, &["apply", "demo-1.tar", "--yes"]);
    let mut first = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait_until(Duration::from_secs(60), "the script", || world.path("started").exists());

    let second = installer(&world, &["apply", "other-1.tar", "--yes"]).output().unwrap();
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(5), "{told}");
    let words = [
        "somebody else is changing this site",
        &format!("process {} of ", first.0.id()),
        " on ",
        " since 20",
        ": installer --site site apply demo-1.tar --yes",
    ];
    for word in words {
        assert!(told.contains(word), "{word}: {told}");
    }
    // Whoever only looks is not stopped.
    assert!(installer(&world, &["status"]).output().unwrap().status.success());

    first.0.kill().unwrap();
    first.0.wait().unwrap();
    world.write("go-on", "");
    let free = || installer(&world, &["apply", "demo-1.tar", "--yes"]).output().unwrap().status.success();
    wait_until(Duration::from_secs(60), "the second run", free);
    installer(&world, &["apply", "other-1.tar", "--yes"]).output().unwrap();
    assert!(world.path("root/etc/app/other").exists());
    audit_holds(&world);
}
