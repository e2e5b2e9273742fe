//! What goes wrong at people's keyboards: each mistake has its exit code, says what and where, helps on
//! where it can, and leaves nothing half-written behind.

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

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use e2e::{Ran, World};
use edge::Exit;
use ingredients::{
    IndexedFile, Pages, docker_archive, image, index, layer, noise, package_index, pinned, tar_of, wheel,
    wheels_of, write_layout,
};
use manifests::Digest;
use onsite::Mount;
use testkit::{FakeRegistry, FakeServer, Fault, Reply};

const NAME: &str = "registry.example.com/team/app:v1";

/// Everything in the world's directory but the cache and the lock, which a failed run may leave.
fn files(world: &World) -> BTreeMap<PathBuf, String> {
    let mut found = world.snapshot("");
    found.retain(|path, _| !path.starts_with(world.path("cache")) && *path != world.path("bundle.lock"));
    found
}

/// `bundler` fails so, says all of this on stderr, and leaves nothing behind; with `--output json` it
/// says the same as one document on stdout.
fn fails(world: &World, args: &[&str], exit: Exit, says: &[&str]) {
    fails_in(world, args, exit, says, |world, args| world.bundler(args));
}

fn fails_in(world: &World, args: &[&str], exit: Exit, says: &[&str], run: impl Fn(&World, &[&str]) -> Ran) {
    let before = files(world);
    let ran = run(world, args).expect_exit(exit);
    assert!(ran.stderr.contains("error: ") && ran.stdout.is_empty(), "{args:?}: {ran:?}");
    for text in says {
        assert!(ran.stderr.contains(text), "{args:?} does not say `{text}`: {}", ran.stderr);
    }
    let json = run(world, &[&["--output", "json"], args].concat()).expect_exit(exit).json();
    assert_eq!(json["error"]["exit"], exit.code(), "{json}");
    assert_eq!(json["error"]["class"], exit.word(), "{json}");
    assert!(ran.stderr.contains(json["error"]["message"].as_str().unwrap()), "{json}");
    assert_eq!(files(world), before, "{args:?} has left something behind");
}

fn with_spec(rest: &str) -> World {
    let world = World::new();
    world.spec("1.0.0", 1, rest);
    world
}

fn with_file() -> World {
    let world = with_spec("files: [{source: configs, dest: /etc/demo}]\n");
    world.write("configs/a.yaml", "a: 1\n");
    world
}

// ---- bundle.yaml --------------------------------------------------------------------------------------

#[test]
fn a_spec_that_is_not_there_is_named() {
    for command in ["lock", "build"] {
        fails(
            &World::new(),
            &[command, "nowhere.yaml"],
            Exit::Unreachable,
            &["nowhere.yaml", "No such file"],
        );
        fails(&World::new(), &[command], Exit::Unreachable, &["bundle.yaml", "No such file"]);
    }
}

#[test]
fn an_unknown_key_is_named_with_line_and_column() {
    for (rest, place, key) in [
        ("colour: red\n", ":9:1", "colour"),
        ("images:\n  - source: oci:a\n    platfroms: [linux/amd64]\n", ":11:5", "platfroms"),
        ("files:\n  - {source: a, dest: /a, owner: root}\n", ":10:27", "owner"),
        ("charts: [{source: a, releese: x}]\n", ":9:22", "releese"),
        ("wheels:\n- name: a\n  source: b\n  pyhton: 3\n", ":12:3", "pyhton"),
    ] {
        fails(&with_spec(rest), &["build"], Exit::Usage, &[&format!("bundle.yaml{place}"), key, "hint:"]);
    }
}

#[test]
fn a_spec_that_is_no_yaml_or_says_a_thing_twice_is_refused_with_its_place() {
    for (rest, place) in [("images: [\n", ":9:9"), ("marking: SECRET\n", ":9:1"), ("files: {a: b}\n", ":9:8")]
    {
        fails(&with_spec(rest), &["lock"], Exit::Usage, &["bundle.yaml", place]);
    }
}

#[test]
fn a_source_that_is_not_there_is_named() {
    for (rest, name) in [
        (format!("images: [{{source: \"oci:no/such\", name: \"{NAME}\"}}]\n"), "no/such"),
        (format!("images: [\"oci-archive:no/such.tar:{NAME}\"]\n"), "no/such.tar"),
        (format!("images: [\"docker-archive:no/such.tar:{NAME}\"]\n"), "no/such.tar"),
        ("charts: [{source: no/chart}]\n".to_string(), "no/chart"),
        ("charts: [{source: no/chart.tgz}]\n".to_string(), "no/chart.tgz"),
        ("files: [{source: no/configs, dest: /etc}]\n".to_string(), "no/configs"),
        ("wheels: [{name: a, source: no/wheels}]\n".to_string(), "no/wheels"),
        ("wheels: [{name: a, requirements: no.txt, index: \"http://127.0.0.1:9/\", targets: [{python: \"3.11\", platform: manylinux_2_28_x86_64}]}]\n".to_string(), "no.txt"),
    ] {
        fails(&with_spec(&rest), &["build"], Exit::Unreachable, &[name, "No such file"]);
    }
}

#[test]
fn an_image_source_of_an_unknown_kind_is_refused_with_the_kinds_there_are() {
    for source in ["ftp://example.com/a:v1", "nginx", "docker:nginx:1"] {
        let rest = format!("images: [\"{source}\"]\n");
        fails(&with_spec(&rest), &["build"], Exit::Usage, &[source, "docker://", "oci-archive:"]);
    }
}

#[test]
fn an_archive_that_is_something_else_is_damage_and_says_what_was_expected() {
    for kind in ["oci-archive", "docker-archive"] {
        let world = with_spec(&format!("images: [\"{kind}:a.tar:{NAME}\"]\n"));
        for content in [
            b"hello\n".to_vec(),
            ingredients::gzip(&tar_of(&[("a", "a")])),
            tar_of(&[("a", "a")]),
            Vec::new(),
        ] {
            world.write("a.tar", content);
            fails(&world, &["build"], Exit::Damaged, &["a.tar", kind]);
        }
    }
}

#[test]
fn an_image_without_the_platform_that_was_asked_for_names_those_it_has() {
    let world = with_spec(&format!(
        "images: [{{source: \"oci:app:app\", name: \"{NAME}\", platforms: [linux/s390x]}}]\n"
    ));
    let (amd64, arm64) = (image("amd64", &[layer(1, 10)]), image("arm64", &[layer(2, 10)]));
    write_layout(&world, "app", &[("app", &index(&[("amd64", &amd64), ("arm64", &arm64)]))]);
    fails(
        &world,
        &["build"],
        Exit::Unreachable,
        &[NAME, "linux/s390x", "linux/amd64", "linux/arm64", "hint:"],
    );
    std::fs::remove_dir_all(world.path("app")).unwrap();
    write_layout(&world, "app", &[("app", &amd64)]);
    fails(&world, &["build"], Exit::Unreachable, &["linux/s390x", "it has: linux/amd64"]);
}

#[test]
fn what_the_design_names_and_is_not_there_yet_says_so() {
    let world = with_spec("images: [\"containers-storage:nginx:1\"]\n");
    fails(&world, &["build"], Exit::Usage, &["containers-storage", "not there yet"]);
}

// ---- wheels -------------------------------------------------------------------------------------------

#[test]
fn a_hash_in_requirements_that_the_index_does_not_offer_is_damage() {
    for pages in [Pages::Json, Pages::Html] {
        let server = package_index(pages, vec![IndexedFile::honest(wheel("tiny", "1.0", "honest"))]);
        let world = with_spec(&wheels_of(&server));
        world.write("requirements.txt", pinned("tiny", "1.0", b"another wheel"));
        fails(&world, &["build"], Exit::Damaged, &["tiny 1.0", "pinned hash"]);
    }
}

#[test]
fn a_wheel_that_comes_with_other_bytes_than_its_pin_is_damage() {
    let (name, announced) = wheel("tiny", "1.0", "honest");
    for pages in [Pages::Json, Pages::Html] {
        for text in ["tamper", "tampered with"] {
            let sent = wheel("tiny", "1.0", text).1;
            let file = IndexedFile { name: name.clone(), announced: announced.clone(), sent };
            let server = package_index(pages, vec![file]);
            let world = with_spec(&wheels_of(&server));
            world.write("requirements.txt", pinned("tiny", "1.0", &announced));
            fails(&world, &["build"], Exit::Damaged, &[&Digest::of(&announced).to_string()]);
        }
    }
}

#[test]
fn an_index_without_the_project_or_the_version_says_what_it_was_asked_for() {
    let server = package_index(Pages::Json, vec![IndexedFile::honest(wheel("tiny", "1.0", "x"))]);
    let world = with_spec(&wheels_of(&server));
    world.write("requirements.txt", pinned("tiny", "9.0", b"x"));
    fails(&world, &["build"], Exit::Unreachable, &["tiny==9.0", "no version of tiny==9.0"]);
    let empty = FakeServer::start(|_| Reply::status(404));
    let gone = with_spec(&wheels_of(&empty));
    gone.write("requirements.txt", pinned("tiny", "1.0", b"x"));
    fails(&gone, &["build"], Exit::Unreachable, &["tiny"]);
}

#[test]
fn requirements_that_cannot_be_read_or_travel_are_refused_with_what_is_wrong() {
    let server = package_index(Pages::Json, Vec::new());
    let world = with_spec(&wheels_of(&server));
    for (text, says) in [
        ("# ok\ntiny==1.0 --hash=sha256:00\n", "requirements.txt:2"),
        ("tiny==1.0 --hash=md5:00\n", "expected sha256"),
        ("tiny==x==y\n", "tiny==x==y"),
        ("-e ./nothing\n", "nothing"),
    ] {
        world.write("requirements.txt", text);
        let ran = world.bundler(&["build"]);
        assert!(matches!(ran.exit, Exit::Usage | Exit::Unreachable), "{text}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{says:?}: {}", ran.stderr);
    }
}

#[test]
fn without_uv_the_person_is_told_how_to_get_it() {
    let mut world = with_spec(&wheels_of(&package_index(Pages::Json, Vec::new())));
    world.write("requirements.txt", "tiny\n");
    world.vars.insert("AIRLOCK_UV".into(), "/nowhere/uv".into());
    fails(&world, &["lock"], Exit::Unreachable, &["cannot start `/nowhere/uv`", "hint: install it"]);
    let old = world.write("old-uv", "#!/bin/sh\necho uv 0.1.2\n");
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o755)).unwrap();
    world.vars.insert("AIRLOCK_UV".into(), old.into());
    fails(&world, &["lock"], Exit::Unreachable, &["uv 0.1.2", "or newer", "hint: install it"]);
}

// ---- registries ---------------------------------------------------------------------------------------

fn app_in(registry: &FakeRegistry) -> World {
    image("amd64", &[layer(1, 50_000)]).store_in(registry, "team/app", "v1");
    with_spec(&format!("images: [\"docker://{}/team/app:v1\"]\n", registry.host()))
}

#[test]
fn a_registry_that_is_not_there_is_named() {
    let world = with_spec("");
    let host = {
        let registry = FakeRegistry::start();
        registry.host()
    };
    world.spec("1.0.0", 1, &format!("images: [\"docker://{host}/team/app:v1\"]\n"));
    fails(&world, &["build"], Exit::Unreachable, &[&host, "team/app:v1", "hint:"]);
}

#[test]
fn a_registry_without_the_image_is_named_with_the_image() {
    let registry = FakeRegistry::start();
    let world = with_spec(&format!("images: [\"docker://{}/team/app:v1\"]\n", registry.host()));
    fails(&world, &["build"], Exit::Unreachable, &["team/app:v1", "not there", "hint:"]);
}

#[test]
fn a_registry_that_wants_a_login_is_told_from_one_that_is_not_there() {
    let registry = FakeRegistry::start();
    let world = app_in(&registry);
    registry.fault(Fault::Status(401));
    fails(&world, &["build"], Exit::Unreachable, &[&registry.host(), "asks for a login, and there is none"]);
    registry.clear_faults();
    registry.fault(Fault::Status(403));
    fails(&world, &["build"], Exit::Unreachable, &["team/app", "denied"]);
}

/// An image that was locked while its registry was honest.
fn locked_from(registry: &FakeRegistry) -> World {
    let world = app_in(registry);
    world.bundler(&["lock"]).ok();
    world
}

#[test]
fn a_registry_that_lies_about_a_blob_when_the_bundle_is_built_is_found_out() {
    for fault in [Fault::WrongBlobBytes, Fault::LongChunkedBlob] {
        let registry = FakeRegistry::start();
        let world = locked_from(&registry);
        registry.fault(fault);
        fails(&world, &["build"], Exit::Damaged, &["blob sha256:"]);
    }
}

#[test]
fn a_registry_that_states_another_length_of_a_blob_when_the_bundle_is_built_is_found_out() {
    for fault in [Fault::LongBlob, Fault::ShortBlob] {
        let registry = FakeRegistry::start();
        let world = locked_from(&registry);
        registry.fault(fault);
        fails(&world, &["build"], Exit::Damaged, &["bytes long, its descriptor says"]);
    }
}

#[test]
fn a_registry_that_lies_about_a_configuration_is_found_out() {
    let registry = FakeRegistry::start();
    let world = app_in(&registry);
    registry.fault(Fault::WrongBlobBytes);
    fails(&world, &["lock"], Exit::Damaged, &["team/app:v1", "has digest"]);
    assert!(!world.path("bundle.lock").exists());
}

#[test]
fn a_registry_that_lies_about_a_manifest_is_found_out() {
    for fault in [Fault::WrongManifestBytes, Fault::WrongDigestHeader] {
        let registry = FakeRegistry::start();
        let world = app_in(&registry);
        registry.fault(fault);
        fails(&world, &["lock"], Exit::Damaged, &["team/app:v1", "has digest"]);
        assert!(!world.path("bundle.lock").exists());
    }
}

#[test]
fn a_connection_that_breaks_in_every_try_leaves_no_archive() {
    let registry = FakeRegistry::start();
    let world = app_in(&registry);
    world.bundler(&["lock"]).ok();
    registry.fault(Fault::TruncateBlobAfter(100));
    registry.fault(Fault::IgnoreRange);
    let before = files(&world);
    let ran = world.bundler(&["build"]).expect_exit(Exit::Unreachable);
    assert!(ran.stderr.contains("blob sha256:"), "{}", ran.stderr);
    assert_eq!(files(&world), before);
}

// ---- destinations -------------------------------------------------------------------------------------

#[test]
fn a_destination_without_room_is_refused_with_the_numbers_before_anything_is_written() {
    let world = with_spec("files: [{source: big, dest: /big}]\n");
    world.write("big", noise(1, 2_000_000));
    let Some(_mount) = Mount::tmpfs(&world, "mount", "size=256k") else { return };
    fails(
        &world,
        &["build", "--out", "mount/b.tar"],
        Exit::Unreachable,
        &["mount has 256.0 KiB free", "needs 1.9 MiB", "hint:"],
    );
}

#[test]
fn a_disk_that_fills_up_while_the_archive_is_written_leaves_nothing_on_it() {
    let (name, bytes) = wheel(
        "tiny",
        "1.0",
        &noise(2, 600_000).iter().map(|byte| char::from(b'a' + byte % 26)).collect::<String>(),
    );
    let world = World::new();
    let Some(_mount) = Mount::tmpfs(&world, "mount", "size=4m") else { return };
    let (hex, size, filler) = (Digest::of(&bytes).hex(), bytes.len(), world.path("mount/filler"));
    let (page, sent) = (
        format!(
            "{{\"meta\":{{\"api-version\":\"1.0\"}},\"files\":[{{\"filename\":\"{name}\",\"url\":\"/files/{name}\",\"hashes\":{{\"sha256\":\"{hex}\"}},\"size\":{size}}}]}}"
        ),
        bytes.clone(),
    );
    let locked = world.path("bundle.lock");
    let server = FakeServer::start(move |request| {
        if request.path.starts_with("/files/") {
            if locked.exists() {
                // Until the disk is full.
                let _ = std::fs::write(&filler, noise(3, 5_000_000));
            }
            Reply::ok(sent.clone())
        } else {
            Reply::ok(page.clone()).header("Content-Type", "application/vnd.pypi.simple.v1+json")
        }
    });
    world.spec("1.0.0", 1, &wheels_of(&server));
    world.write("requirements.txt", pinned("tiny", "1.0", &bytes));
    world.bundler(&["lock"]).ok();
    std::fs::remove_dir_all(world.path("cache")).unwrap();
    let ran = world.bundler(&["build", "--out", "mount/b.tar"]).expect_exit(Exit::Unreachable);
    assert!(ran.stderr.contains("mount/b.tar") && ran.stderr.contains("No space left"), "{}", ran.stderr);
    let left: Vec<_> =
        std::fs::read_dir(world.path("mount")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["filler"]);
}

#[test]
fn a_read_only_destination_is_named() {
    let world = with_file();
    let Some(_mount) = Mount::tmpfs(&world, "mount", "ro") else { return };
    fails(&world, &["build", "--out", "mount/b.tar"], Exit::Unreachable, &["mount", "Read-only file system"]);
    fails(&world, &["build", "--out", "mount"], Exit::Unreachable, &["mount", "Read-only file system"]);
}

#[test]
fn a_destination_directory_that_is_not_there_is_named() {
    fails(
        &with_file(),
        &["build", "--out", "no/such/b.tar"],
        Exit::Unreachable,
        &["no/such", "No such file"],
    );
}

#[test]
fn a_destination_that_exists_is_never_overwritten() {
    let world = with_file();
    world.write("b.tar", "signed by three people");
    fails(&world, &["build", "--out", "b.tar"], Exit::Usage, &["b.tar", "is there already", "hint:"]);
    std::os::unix::fs::symlink("nowhere", world.path("link.tar")).unwrap();
    fails(&world, &["build", "--out", "link.tar"], Exit::Usage, &["link.tar", "is there already"]);
}

// ---- keys ---------------------------------------------------------------------------------------------

#[test]
fn a_private_key_that_others_can_read_is_refused() {
    let world = with_file();
    world.trust();
    world.bundler(&["build", "--out", "b.tar"]).ok();
    for mode in [0o640, 0o604] {
        std::fs::set_permissions(world.path("keys/rel.key.pem"), std::fs::Permissions::from_mode(mode))
            .unwrap();
        for args in [
            ["build", "--key", "keys/rel.key.pem"].as_slice(),
            &["sign", "b.tar", "--key", "keys/rel.key.pem"],
            &["attest", "b.tar", "--key", "keys/rel.key.pem"],
        ] {
            fails(&world, args, Exit::Refused, &["rel.key.pem", "open to others", "chmod 600"]);
        }
    }
}

#[test]
fn a_key_that_is_missing_or_is_none_is_named() {
    let world = with_file();
    world.trust();
    fails(&world, &["build", "--key", "no.pem"], Exit::Unreachable, &["no.pem", "No such file"]);
    let public = std::fs::read(world.path("keys/rel.pub.pem")).unwrap();
    for (name, content) in
        [("text.pem", b"hello\n".to_vec()), ("public.pem", public), ("empty.pem", Vec::new())]
    {
        let path = world.write(name, content);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        fails(&world, &["build", "--key", name], Exit::Usage, &[name]);
    }
}

#[test]
fn nothing_that_exists_is_overwritten_by_a_new_key_or_root() {
    let world = World::new();
    world.trust();
    fails(
        &world,
        &["key", "new", "--name", "rel", "--out", "keys"],
        Exit::Unreachable,
        &["rel.pub.pem", "hint:"],
    );
    let root = "trust new --publisher acme --release-key keys/rel.pub.pem --root-key keys/bob.pub.pem --sign keys/bob.key.pem --out root.json";
    fails(&world, &root.split(' ').collect::<Vec<_>>(), Exit::Usage, &["root.json", "is there already"]);
}

// ---- locks --------------------------------------------------------------------------------------------

#[test]
fn a_lock_for_another_text_of_the_spec_is_stale() {
    let world = with_file();
    world.bundler(&["lock"]).ok();
    world.spec("1.0.1", 2, "files: [{source: configs, dest: /etc/demo}]\n");
    fails(&world, &["build"], Exit::Usage, &["bundle.lock", "bundle.yaml", "hint: run `bundler lock"]);
}

#[test]
fn a_damaged_lock_is_refused() {
    let world = with_file();
    world.bundler(&["lock"]).ok();
    let whole = std::fs::read_to_string(world.path("bundle.lock")).unwrap();
    let mut without_blobs: serde_json::Value = serde_json::from_str(&whole).unwrap();
    without_blobs["blobs"] = serde_json::json!({});
    let cut = &whole[..whole.len() / 2];
    for text in
        [cut, "", "{}", &whole.replace("airlock-lock/v1", "airlock-lock/v9"), &without_blobs.to_string()]
    {
        world.write("bundle.lock", text);
        fails(&world, &["build"], Exit::Usage, &["bundle.lock", "hint:", "bundler lock"]);
    }
}

#[test]
fn a_lock_that_cannot_be_made_leaves_the_one_before_as_it_was() {
    let world = with_file();
    world.bundler(&["lock"]).ok();
    let before = std::fs::read(world.path("bundle.lock")).unwrap();
    std::fs::remove_dir_all(world.path("configs")).unwrap();
    fails(&world, &["lock"], Exit::Unreachable, &["configs"]);
    assert_eq!(std::fs::read(world.path("bundle.lock")).unwrap(), before);
}

/// Locks, changes a source, empties the cache, and expects the build to notice.
fn changed_since(world: &World, exit: Exit, change: impl Fn(&World)) {
    world.bundler(&["lock"]).ok();
    change(world);
    let _ = std::fs::remove_dir_all(world.path("cache"));
    fails(world, &["build"], exit, &["hint:", "bundler lock"]);
}

#[test]
fn a_file_that_has_changed_since_it_was_locked_is_damage() {
    for text in ["a: 2\n", "a: 1\nb: 2\n", ""] {
        changed_since(&with_file(), Exit::Damaged, |world| {
            world.write("configs/a.yaml", text);
        });
    }
}

#[test]
fn a_layer_of_a_layout_that_has_changed_since_it_was_locked_is_damage() {
    let world = with_spec(&format!("images: [{{source: \"oci:app:app\", name: \"{NAME}\"}}]\n"));
    let app = image("amd64", &[layer(1, 5000)]);
    write_layout(&world, "app", &[("app", &app)]);
    let largest = app.blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap().0.hex();
    changed_since(&world, Exit::Damaged, |world| {
        world.write(&format!("app/blobs/sha256/{largest}"), noise(5, 10));
    });
}

#[test]
fn a_manifest_of_a_layout_that_has_changed_since_it_was_locked_is_damage() {
    for text in ["{}", "not even JSON"] {
        let world = with_spec(&format!("images: [{{source: \"oci:app:app\", name: \"{NAME}\"}}]\n"));
        let app = image("amd64", &[layer(1, 5000)]);
        write_layout(&world, "app", &[("app", &app)]);
        changed_since(&world, Exit::Damaged, |world| {
            world.write(&format!("app/blobs/sha256/{}", app.root.digest.hex()), text);
        });
    }
}

#[test]
fn a_docker_archive_that_has_changed_since_it_was_locked_is_damage() {
    let world = with_spec(&format!("images: [\"docker-archive:app.tar:{NAME}\"]\n"));
    world.write("app.tar", docker_archive(NAME, &[layer(1, 5000)]));
    changed_since(&world, Exit::Damaged, |world| {
        world.write("app.tar", docker_archive(NAME, &[layer(2, 5000)]));
    });
}

#[test]
fn a_charts_directory_that_has_changed_since_it_was_locked_is_damage() {
    let world = with_spec("charts: [{source: chart}]\n");
    world.write("chart/Chart.yaml", "apiVersion: v2\nname: a\nversion: 1.0.0\n");
    changed_since(&world, Exit::Damaged, |world| {
        world.write("chart/values.yaml", "new: true\n");
    });
}

#[test]
fn a_wheel_that_has_changed_since_it_was_locked_is_damage() {
    let world = with_spec("wheels: [{name: tools, source: wheels}]\n");
    let (name, bytes) = wheel("tiny", "1.0", "x");
    world.write(&format!("wheels/{name}"), bytes);
    changed_since(&world, Exit::Damaged, |world| {
        world.write(&format!("wheels/{name}"), wheel("tiny", "1.0", "y").1);
    });
}

#[test]
fn a_file_that_is_gone_since_it_was_locked_is_named() {
    let world = with_file();
    world.bundler(&["lock"]).ok();
    std::fs::remove_file(world.path("configs/a.yaml")).unwrap();
    fails(&world, &["build"], Exit::Unreachable, &["No such file", "a.yaml"]);
}

// ---- commands -----------------------------------------------------------------------------------------

#[test]
fn a_target_that_lacks_what_it_needs_is_named_before_a_bundle_is_read() {
    let world = with_file();
    world.trust();
    world.bundler(&["build", "--out", "b.tar", "--key", "keys/rel.key.pem"]).ok();
    for (text, words) in [
        (
            "targets: {helm: {kubeconfig: /etc/kubeconfig, images: rewrite}}\n",
            ["targets.helm.images: rewrite", "targets.registry"],
        ),
        ("targets: {kubernetes: {}}\n", ["site.yaml:4", "kubeconfig"]),
        ("targets: {nomad: {}}\n", ["site.yaml:4", "nomad"]),
    ] {
        world.write("site/site.yaml", format!("apiVersion: airlock/v1\nkind: Site\nsite: lab\n{text}"));
        for command in ["verify", "plan"] {
            let ran = world.installer(&[command, "b.tar"]).expect_exit(Exit::Usage);
            assert!(words.iter().all(|word| ran.stderr.contains(word)), "{words:?}: {}", ran.stderr);
        }
    }
}

#[test]
fn with_output_json_every_result_is_one_document() {
    let world = with_file();
    world.trust();
    let run = |run: Ran| run.ok().json();
    for line in [
        "key new --name carol --out keys",
        "trust new --publisher acme --release-key keys/rel.pub.pem --root-key keys/bob.pub.pem --sign keys/bob.key.pem --out other.json",
        "lock",
        "build --out b.tar",
        "sign b.tar --key keys/rel.key.pem",
        "inspect b.tar",
        "verify b.tar --trust root.json",
    ] {
        assert!(
            run(world
                .bundler(&[&["--output", "json"], line.split(' ').collect::<Vec<_>>().as_slice()].concat()))
            .is_object()
        );
    }
    for line in [
        "trust show",
        "verify b.tar",
        "inspect b.tar",
        "plan b.tar",
        "apply b.tar --yes",
        "status",
        "history",
        "audit show",
        "audit verify",
    ] {
        assert!(
            run(world.installer(
                &[&["--output", "json"], line.split(' ').collect::<Vec<_>>().as_slice()].concat()
            ))
            .is_object()
        );
    }
}

#[test]
fn with_output_json_a_command_line_that_does_not_parse_is_one_document_as_well() {
    let world = World::new();
    for args in [
        ["--output", "json", "build", "--nonsense"].as_slice(),
        &["--output", "json", "frobnicate"],
        &["--output=json", "sign"],
    ] {
        let ran = world.bundler(args).expect_exit(Exit::Usage);
        assert_eq!(ran.json()["error"]["exit"], 2);
    }
}

#[test]
fn an_archive_that_is_none_is_damage_for_every_command_that_reads_one() {
    let world = World::new();
    world.trust();
    world.write("text.tar", "hello\n");
    world.write("empty.tar", "");
    world.write("foreign.tar", tar_of(&[("a", "a")]));
    for name in ["text.tar", "empty.tar", "foreign.tar"] {
        for args in [
            ["inspect", name].as_slice(),
            &["verify", name, "--trust", "root.json"],
            &["sign", name, "--key", "keys/rel.key.pem"],
            &["attest", name, "--key", "keys/rel.key.pem"],
        ] {
            fails(&world, args, Exit::Damaged, &[name]);
        }
    }
    for args in [
        ["inspect", "no.tar"].as_slice(),
        &["verify", "no.tar", "--trust", "root.json"],
        &["sign", "no.tar", "--key", "keys/rel.key.pem"],
        &["attest", "no.tar", "--key", "keys/rel.key.pem"],
    ] {
        let ran = world.bundler(args);
        assert!(
            matches!(ran.exit, Exit::Damaged | Exit::Unreachable) && ran.stderr.contains("no.tar"),
            "{ran:?}"
        );
    }
}

#[test]
fn a_control_character_in_a_mediums_file_name_never_reaches_the_terminal() {
    let world = World::new();
    world.trust();
    let name = "evil\u{1b}[2J.tar";
    world.write(name, "no bundle");
    for args in [["verify", name].as_slice(), &["inspect", name], &["plan", name], &["apply", name, "--yes"]]
    {
        let ran = world.installer(args).expect_exit(Exit::Damaged);
        assert!(!ran.stderr.contains('\u{1b}'), "{args:?}: {}", ran.stderr.escape_debug());
    }
    let log = world.installer(&["audit", "show"]).ok().stdout;
    assert!(!log.contains('\u{1b}'), "{}", log.escape_debug());
}
