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

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use e2e::{Ran, World};
use onsite::{Python, audit_holds, build, greeting, python_says, site_yaml, tree, write_wheels};

/// A site with a root for files, and with environments where there is a Python.
fn site(python: Option<&Python>) -> World {
    let world = World::new();
    world.trust();
    std::fs::create_dir(world.path("root")).unwrap();
    let mut targets = vec![format!("files: {{root: {}}}", world.path("root").display())];
    targets.extend(python.map(|python| python.as_target(&world)));
    site_yaml(&world, &targets);
    world
}

/// A bundle of files, by path below `etc`; and of `demo` or another product.
fn bundle(world: &World, product: &str, sequence: u64, files: &[(&str, &str)], rest: &str) {
    let source = format!("{product}-{sequence}");
    let _ = std::fs::remove_dir_all(world.path(&source));
    for (path, content) in files {
        world.write(&format!("{source}/{path}"), content);
    }
    let files = if files.is_empty() {
        String::new()
    } else {
        format!("files: [{{source: {source}, dest: /etc/app}}]\n")
    };
    let version = format!("{sequence}.0");
    world.spec(&version, sequence, &format!("{files}{rest}"));
    let spec = std::fs::read_to_string(world.path("bundle.yaml")).unwrap();
    world.write("bundle.yaml", spec.replace("product: demo", &format!("product: {product}")));
    onsite::build_as_written(world, &format!("{product}-{sequence}.tar"));
}

fn apply(world: &World, product: &str, sequence: u64) -> Ran {
    world.installer(&["apply", &format!("{product}-{sequence}.tar"), "--yes"])
}

fn rollback(world: &World) -> Ran {
    world.installer(&["rollback", "--yes", "--product", "demo", "--reason", "test"])
}

fn root(world: &World) -> BTreeMap<PathBuf, String> {
    tree(world, "root", &[])
}

/// Two versions: the second has no `old/deep/a`, and `new/b` instead.
fn two_versions(world: &World) {
    bundle(world, "demo", 1, &[("same", "same"), ("changed", "1"), ("old/deep/a", "a")], "");
    bundle(world, "demo", 2, &[("same", "same"), ("changed", "2"), ("new/b", "b")], "");
}

#[test]
fn what_the_next_version_has_not_is_taken_away_and_a_rollback_brings_it_back_byte_for_byte() {
    let world = site(None);
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
    let world = site(None);
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
    let world = site(None);
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
    let world = site(None);
    two_versions(&world);
    world.write("root/etc/app/old/deep/a", "a");
    std::fs::set_permissions(world.path("root/etc/app/old/deep/a"), PermissionsExt::from_mode(0o644)).unwrap();
    apply(&world, "demo", 1).ok();
    apply(&world, "demo", 2).ok();
    assert_eq!(std::fs::read_to_string(world.path("root/etc/app/old/deep/a")).unwrap(), "a");
}

#[test]
fn a_file_of_another_product_stays_until_that_one_lets_it_go() {
    let world = site(None);
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
    let world = site(None);
    two_versions(&world);
    apply(&world, "demo", 1).ok();
    world.write("root/etc/app/old/mine", "mine");
    apply(&world, "demo", 2).ok();
    assert!(!world.path("root/etc/app/old/deep").exists());
    assert_eq!(std::fs::read_to_string(world.path("root/etc/app/old/mine")).unwrap(), "mine");
}

#[test]
fn without_its_journals_nothing_is_taken_away() {
    let world = site(None);
    two_versions(&world);
    apply(&world, "demo", 1).ok();
    std::fs::remove_dir_all(world.path("site/journal")).unwrap();
    std::fs::create_dir(world.path("site/journal")).unwrap();
    apply(&world, "demo", 2).ok();
    assert_eq!(std::fs::read_to_string(world.path("root/etc/app/old/deep/a")).unwrap(), "a");
}

#[test]
fn when_a_later_step_fails_what_was_taken_away_is_there_again() {
    let world = site(None);
    two_versions(&world);
    let yaml = std::fs::read_to_string(world.path("site/site.yaml")).unwrap();
    world.write("site/site.yaml", format!("{yaml}  scripts: {{}}\n"));
    world.write("fails.sh", "#!/bin/sh\n[ $AIRLOCK_STEP = undo ]\n");
    let scripts = "scripts: [{source: fails.sh, undo: fails.sh, when: after}]\n";
    bundle(&world, "demo", 3, &[("same", "same")], scripts);
    apply(&world, "demo", 1).ok();
    std::fs::set_permissions(world.path("root/etc/app/old"), PermissionsExt::from_mode(0o710)).unwrap();
    let before = root(&world);
    apply(&world, "demo", 3).expect_exit(edge::Exit::Undone);
    assert_eq!(root(&world), before);
}

#[test]
fn an_environment_that_the_next_version_has_not_loses_its_link_and_gets_it_back() {
    let Some(python) = Python::find() else { return };
    let world = site(Some(&python));
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
    let world = site(None);
    let name = "n".repeat(255);
    bundle(&world, "demo", 1, &[("same", "same"), ("second", "x")], "");
    let long = "n".repeat(240);
    bundle(&world, "demo", 2, &[("same", "same"), (&long, "x")], "");
    assert!(name.len() > long.len());
    apply(&world, "demo", 1).ok();
    apply(&world, "demo", 2).ok();
    assert_eq!(std::fs::read_to_string(world.path("root/etc/app").join(&long)).unwrap(), "x");
    rollback(&world).ok();
    assert!(!world.path("root/etc/app").join(&long).exists());
}
