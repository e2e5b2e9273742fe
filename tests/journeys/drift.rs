//! Is what runs what was shipped? Each kind of difference is found, by its own id, and nothing is changed.

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
mod versions;

use std::os::unix::fs::PermissionsExt;

use e2e::World;
use edge::Exit;
use ingredients::{image, layer, repository_at};
use onsite::{Python, audit_holds, greeting, site_yaml, write_wheels};
use serde_json::Value;
use testkit::{FakeRegistry, RealRegistry, RealRegistryOptions};
use versions::{apply, bundle, root, site};

/// What failed, as `id: fact`; the whole run must have changed nothing but the log.
fn drifted(world: &World) -> Vec<String> {
    let before = (root(world), onsite::site_tree(world));
    let ran = world.installer(&["--output", "json", "drift"]);
    assert_eq!((root(world), onsite::site_tree(world)), before);
    let json = ran.json();
    let findings = json["products"].as_array().unwrap().iter().flat_map(|product| {
        product["findings"].as_array().unwrap().iter().filter(|finding| finding["verdict"] == "fail").cloned()
    });
    let line = |finding: Value| {
        format!("{}: {}", finding["id"].as_str().unwrap(), finding["fact"].as_str().unwrap())
    };
    let found: Vec<String> = findings.map(line).collect();
    assert_eq!(ran.exit, if found.is_empty() { Exit::Done } else { Exit::NotReady }, "{found:?}");
    assert_eq!(json["failed"], found.len());
    found
}

/// Exactly one finding fails, with these words.
fn only(world: &World, words: &[&str]) {
    let found = drifted(world);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(words.iter().all(|word| found[0].contains(word)), "{words:?}: {found:?}");
}

#[test]
fn files_that_were_changed_lost_or_given_other_rights_are_found_and_put_back_without_a_medium() {
    let world = site(&[]);
    bundle(&world, "demo", 1, &[("a", "a"), ("b", "b")], "");
    apply(&world, "demo", 1).ok();
    let before = root(&world);
    assert_eq!(drifted(&world), [""; 0]);
    let shown = world.installer(&["drift"]).ok().stdout;
    assert!(shown.contains("2 of demo 1.0 are as shipped"), "{shown}");

    let path = world.path("root/etc/app/a");
    world.write("root/etc/app/a", "edited");
    only(&world, &["drift/files", "etc/app/a has other content"]);
    std::fs::remove_file(&path).unwrap();
    only(&world, &["drift/files", "etc/app/a is gone"]);
    world.installer(&["rollback", "1.0", "--yes"]).ok();
    assert_eq!(root(&world), before);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
    only(&world, &["drift/files", "has mode 0777"]);
    world.installer(&["rollback", "1.0", "--yes"]).ok();
    assert_eq!(drifted(&world), [""; 0]);
    audit_holds(&world);
    let log = world.installer(&["--output", "json", "audit", "show", "--last", "1"]).ok().json();
    assert_eq!(log["entries"][0]["event"], "drift");
}

#[test]
fn another_owner_is_a_warning() {
    if !rustix::process::getuid().is_root() {
        return;
    }
    let world = site(&[]);
    bundle(&world, "demo", 1, &[("a", "a")], "");
    apply(&world, "demo", 1).ok();
    std::os::unix::fs::chown(world.path("root/etc/app/a"), Some(12345), None).unwrap();
    assert_eq!(drifted(&world), [""; 0]);
    let shown = world.installer(&["drift"]).ok().stdout;
    assert!(shown.contains("drift/owner") && shown.contains("12345"), "{shown}");
}

#[test]
fn a_tag_that_was_moved_or_is_gone_from_a_real_registry_is_found() {
    let options = RealRegistryOptions { delete: true, ..RealRegistryOptions::default() };
    let Some(target) = RealRegistry::start(options) else { return };
    let (world, upstream) = (site(&[]), FakeRegistry::start());
    site_yaml(&world, &[format!("registry: {{url: \"{}\", prefix: mirror}}", target.url())]);
    let shipped = image("amd64", &[layer(1, 500)]);
    shipped.store_in(&upstream, "team/app", "v1");
    let source = format!("docker://{}/team/app:v1", upstream.host());
    let image_line =
        format!("images: [{{source: \"{source}\", name: \"registry.example.com/team/app:v1\"}}]\n");
    bundle(&world, "demo", 1, &[], &image_line);
    apply(&world, "demo", 1).ok();
    assert_eq!(drifted(&world), [""; 0]);
    let repository = "mirror/registry.example.com/team/app";
    let other = image("amd64", &[layer(2, 500)]);
    other.push(&target.url(), repository, "v1");
    only(
        &world,
        &["drift/registry", "team/app:v1", &other.root.digest.short(), &shipped.root.digest.short()],
    );
    let place = repository_at(&target.url(), repository);
    place.delete_manifest(&other.root.digest.into()).unwrap();
    only(&world, &["drift/registry", "is not there"]);
    world.installer(&["rollback", "1.0", "--yes"]).ok();
    assert_eq!(drifted(&world), [""; 0]);
}

#[test]
fn an_environment_with_a_changed_file_or_a_missing_project_is_found() {
    let Some(python) = Python::find() else { return };
    let world = site(&[]);
    site_yaml(&world, &[python.as_target(&world)]);
    write_wheels(&world, "wheels", &greeting("1.0"));
    bundle(&world, "demo", 1, &[], "wheels: [{name: tools, source: wheels}]\n");
    apply(&world, "demo", 1).ok();
    assert_eq!(drifted(&world), [""; 0]);
    let packages = world.path("venvs/tools/lib").join(format!("python{}/site-packages", python.minor));
    let module = packages.join("greet.py");
    let code = std::fs::read(&module).unwrap();
    std::fs::write(&module, "def text(): return 'patched'\n").unwrap();
    only(&world, &["drift/python", "greet.py was changed"]);
    std::fs::write(&module, code).unwrap();
    std::fs::remove_dir_all(packages.join("words-1.0.dist-info")).unwrap();
    let found = drifted(&world);
    assert!(found.iter().any(|found| found.contains("pip check") && found.contains("words")), "{found:?}");
    std::fs::remove_file(world.path("venvs/tools")).unwrap();
    assert!(drifted(&world).iter().any(|found| found.contains("is not the environment of this version")));
}

#[test]
fn a_rotten_blob_is_found_and_an_apply_from_the_medium_replaces_it() {
    let world = site(&[]);
    bundle(&world, "demo", 1, &[("a", "content a")], "");
    apply(&world, "demo", 1).ok();
    let digest = manifests::Digest::of(b"content a");
    let blob = world.path("site/store/blobs/sha256").join(digest.hex());
    // Of the same size: only its digest tells.
    std::fs::write(&blob, b"content b").unwrap();
    only(&world, &["drift/store", "rotted"]);
    let lost = world.installer(&["rollback", "1.0", "--yes"]).expect_exit(Exit::Damaged);
    assert!(lost.stderr.contains("rotted"), "{}", lost.stderr);
    apply(&world, "demo", 1).ok();
    assert_eq!(std::fs::read(&blob).unwrap(), b"content a");
    assert_eq!(drifted(&world), [""; 0]);
}

#[test]
fn what_serve_does_not_show_any_more_is_found() {
    let world = site(&[]);
    bundle(&world, "demo", 1, &[("a", "a")], "");
    apply(&world, "demo", 1).ok();
    installer::site::Site::at(world.path("site")).publish(&[]).unwrap();
    only(&world, &["drift/serve", "does not show demo 1.0"]);
}

#[test]
fn a_site_that_runs_nothing_has_not_drifted() {
    let world = site(&[]);
    assert_eq!(drifted(&world), [""; 0]);
    let _ = world.installer(&["drift", "--product", "none"]).expect_exit(Exit::Refused);
}
