//! Images of a bundle in a Docker Engine on site: a real one, started here. Loaded, named, moved on, given
//! back when something fails, and never taken from somebody else in silence.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    missing_docs
)]

mod daemons;
mod ingredients;
mod onsite;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use daemons::{
    BASE, Cut, Docker, GREETER, GREETING, MULTI, Moments, Rot, base, config_of, docker, extra, greeter,
    sender,
};
use e2e::World;
use edge::Exit;
use ingredients::{docker_archive, image, index, layer, write_layout};
use installer::apply::{ApplyError, PowerCut, Watch};
use installer::plan::Step;
use manifests::Digest;
use onsite::{another_site, audit_holds, build, fails_alone, says, site_yaml, with_mounts, with_run};

/// A site with the Engine as its target, and files.
fn site(sender: &World, docker: &Docker, more: &str) -> World {
    let world = another_site(sender);
    std::fs::create_dir(world.path("root")).unwrap();
    let files = format!("files: {{root: {}}}", world.path("root").display());
    site_yaml(&world, &[docker.as_target(more), files, "scripts: {}".to_string()]);
    world
}

fn apply(sender: &World, site: &World, bundle: &str) -> e2e::Ran {
    site.installer(&["apply", sender.path(bundle).to_str().unwrap(), "--yes"])
}

fn steps(sender: &World, site: &World, bundle: &str) -> usize {
    let bundle = sender.path(bundle);
    let ran = site.installer(&["--output", "json", "plan", bundle.to_str().unwrap()]).ok().json();
    ran["plan"]["steps"].as_array().unwrap().len()
}

#[test]
fn every_image_is_loaded_under_its_name_with_its_digest_and_runs() {
    let Some(docker) = docker() else { return };
    let world = World::new();
    world.trust();
    let (plain, amd64) = (base(0), image("amd64", &[layer(1, 40_000), layer(3, 100)]));
    let multi = index(&[("arm64", &image("arm64", &[layer(4, 100)])), ("amd64", &amd64)]);
    write_layout(&world, "images", &[("plain", &plain), ("multi", &multi)]);
    let pinned = format!("registry.example.com/team/pinned@{}", amd64.root.digest);
    write_layout(&world, "pinned", &[("pinned", &amd64)]);
    let mut spec = format!(
        "images:\n  - {{source: \"oci:images:plain\", name: \"{BASE}\"}}\n  - {{source: \"oci:images:multi\", name: \"{MULTI}\"}}\n  - {{source: \"oci:pinned:pinned\", name: \"{pinned}\"}}\n"
    );
    let runs = greeter(&world);
    if runs {
        spec.push_str(&format!("  - {{source: \"oci-archive:greeter.tar:greeter\", name: \"{GREETER}\"}}\n"));
    }
    build(&world, "1.0", 1, &spec, "b.tar");
    site_yaml(&world, &[docker.as_target("")]);

    let planned = world.installer(&["plan", "b.tar"]).ok();
    assert!(planned.stdout.contains(&format!("load {BASE} as")), "{}", planned.stdout);
    assert!(docker.images().is_empty(), "a plan changed something");
    let applied = world.installer(&["apply", "b.tar", "--yes"]).ok();
    assert!(applied.stdout.contains("named by its digest"), "{}", applied.stdout);
    let images = docker.images();
    let ids = (docker.id_of(&plain, &plain), docker.id_of(&multi, &amd64));
    assert_eq!((&images[BASE], &images[MULTI]), (&ids.0, &ids.1));

    let again = world.installer(&["--output", "json", "apply", "b.tar", "--yes"]).ok().json();
    assert_eq!(again["plan"]["steps"], serde_json::json!([]));
    assert_eq!(docker.images(), images);
    docker.run(&["image", "rm", BASE], world.dir());
    world.installer(&["apply", "b.tar", "--yes"]).ok();
    assert_eq!(docker.images(), images, "what somebody took away is not back");
    if runs {
        greets(&docker);
    }
}

fn greets(docker: &Docker) {
    let run = ["-H", &docker.socket, "run", "--rm", "--network=none", GREETER];
    let ran = Command::new(&docker.client).args(run).output().unwrap();
    let words = String::from_utf8_lossy(&ran.stderr);
    // 125: Docker itself could not, as in a sandbox; 126 and 127 would be about the image.
    if ran.status.code() == Some(125) {
        eprintln!("SKIPPED: no container can be started here, so the image was not run: {words}");
        return;
    }
    assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), GREETING, "{words}");
}

/// Takes a layer out of the store before a step begins.
struct Without(PathBuf);

impl Watch for Without {
    fn at(&self, moment: &'static str, step: usize) -> Result<(), PowerCut> {
        if (moment, step) == ("begun", 0) {
            std::fs::remove_file(&self.0).unwrap();
        }
        Ok(())
    }
}

#[test]
fn a_newer_bundle_moves_our_own_name_and_sends_only_the_layers_that_the_engine_lacks() {
    let Some(docker) = docker() else { return };
    let sender = sender();
    let site = site(&sender, &docker, "");
    apply(&sender, &site, "0.tar").ok();
    let planned = site.installer(&["plan", sender.path("2.tar").to_str().unwrap()]).ok();
    let old: Digest = docker.id_of(&base(0), &base(0)).parse().unwrap();
    assert!(planned.stdout.contains(&format!("move {BASE}")), "{}", planned.stdout);
    assert!(planned.stdout.contains(&format!("{} → ", old.short())), "{}", planned.stdout);
    assert!(!planned.stdout.contains("foreign-tag"), "{}", planned.stdout);

    if docker.is_in_containerd() {
        // Nobody can ask it for its layers: it gets all, and keeps those that it lacks.
        apply(&sender, &site, "2.tar").ok();
        assert_eq!(docker.images()[BASE], docker.id_of(&base(2), &base(2)));
        return;
    }
    let shared = Digest::of(&ingredients::gzip(&layer(1, 40_000)));
    let watch = Without(site.path(&format!("site/store/blobs/sha256/{}", shared.hex())));
    with_run(&site, &sender.path("2.tar"), &watch, |run, plan| run.start(&plan)).unwrap();
    assert_eq!(docker.images()[BASE], docker.id_of(&base(2), &base(2)));
}

#[test]
fn a_blob_of_the_store_that_has_rotted_is_never_loaded() {
    let Some(docker) = docker() else { return };
    let sender = sender();
    let site = site(&sender, &docker, "");
    let own = Digest::of(&ingredients::gzip(&layer(10, 500)));
    let watch = Rot(site.path(&format!("site/store/blobs/sha256/{}", own.hex())));
    let ended = with_run(&site, &sender.path("0.tar"), &watch, |run, plan| run.start(&plan));
    assert!(matches!(&ended, Err(ApplyError::Undone { .. })), "{ended:?}");
    assert!(docker.images().is_empty());
}

#[test]
fn when_a_later_step_fails_every_name_stands_for_what_it_stood_for() {
    let Some(docker) = docker() else { return };
    let sender = sender();
    let site = site(&sender, &docker, "");
    apply(&sender, &site, "0.tar").ok();
    let before = docker.images();
    let ran = apply(&sender, &site, "bad.tar").expect_exit(Exit::Undone);
    says(&ran, &["everything was undone"]);
    assert_eq!(docker.images(), before);

    site.acknowledge();
    // An image that was there without a name stays, also without it.
    sender.write("loose.tar", docker_archive("r.example.com/loose:v1", &[layer(20, 300)]));
    docker.run(&["load", "-i", "loose.tar"], sender.dir());
    docker.run(&["tag", "r.example.com/loose:v1", "r.example.com/other:v1"], sender.dir());
    let before = docker.images();
    if !docker.is_in_containerd() {
        assert_eq!(before["r.example.com/loose:v1"], config_of(&extra()));
    }
    let _ = apply(&sender, &site, "bad.tar").expect_exit(Exit::Undone);
    assert_eq!(docker.images(), before);
}

#[test]
fn a_name_of_somebody_elses_image_is_moved_only_where_the_site_says_so_and_given_back() {
    let Some(docker) = docker() else { return };
    let sender = sender();
    sender.write("theirs.tar", docker_archive(BASE, &[layer(77, 100)]));
    docker.run(&["load", "-i", "theirs.tar"], sender.dir());
    let theirs = docker.images();

    let strict = site(&sender, &docker, "");
    let ran = apply(&sender, &strict, "0.tar").expect_exit(Exit::NotReady);
    says(
        &ran,
        &[
            "docker/foreign-tag",
            BASE,
            &theirs[BASE],
            &docker.id_of(&base(0), &base(0)),
            "targets.docker.replace: true",
        ],
    );
    fails_alone(&ran.stderr, "docker/foreign-tag");
    assert_eq!(docker.images(), theirs);

    let willing = site(&sender, &docker, ", replace: true");
    let _ = apply(&sender, &willing, "bad.tar").expect_exit(Exit::Undone);
    assert_eq!(docker.images(), theirs, "the name was not given back");
    willing.acknowledge();
    let ran = apply(&sender, &willing, "0.tar").ok();
    assert!(ran.stdout.contains("docker/foreign-tag"), "{}", ran.stdout);
    let images = docker.images();
    assert_eq!(images[BASE], docker.id_of(&base(0), &base(0)));
    assert!(images.contains_key(&format!("<none> {}", theirs[BASE])), "their image is gone: {images:?}");
}

#[test]
fn a_rollback_moves_the_name_back_and_needs_no_medium() {
    let Some(docker) = docker() else { return };
    let sender = sender();
    let site = site(&sender, &docker, "");
    apply(&sender, &site, "0.tar").ok();
    apply(&sender, &site, "2.tar").ok();
    // Not even what the Engine has kept.
    docker.run(&["image", "prune", "--force"], sender.dir());
    site.installer(&["rollback", "--yes"]).ok();
    assert_eq!(docker.images()[BASE], docker.id_of(&base(0), &base(0)));
    audit_holds(&site);
}

#[test]
fn an_engine_that_does_not_answer_or_cannot_take_an_image_stops_before_anything_changes() {
    let Some(docker) = docker() else { return };
    let sender = sender();
    let site = another_site(&sender);
    site_yaml(&site, &["docker: {host: \"unix:///nowhere/docker.sock\"}".to_string()]);
    let ran = apply(&sender, &site, "0.tar").expect_exit(Exit::NotReady);
    says(
        &ran,
        &["docker/reachable", "unix:///nowhere/docker.sock", "No such file", "start the Docker Engine"],
    );
    fails_alone(&ran.stderr, "docker/reachable");

    let world = World::new();
    world.trust();
    let foreign = image("s390x", &[layer(5, 100)]);
    let mut zstd = image("amd64", &[layer(6, 100)]);
    let text = String::from_utf8(zstd.root_bytes().to_vec()).unwrap().replace("tar+gzip", "tar+zstd");
    zstd.root = manifests::Descriptor::of(&zstd.root.media_type.clone(), text.as_bytes());
    zstd.manifests = vec![(zstd.root.clone(), text.into_bytes())];
    write_layout(&world, "images", &[("foreign", &foreign), ("zstd", &zstd)]);
    let entry =
        |tag: &str| format!("  - {{source: \"oci:images:{tag}\", name: \"r.example.com/{tag}:v1\"}}\n");
    build(&world, "1.0", 1, &format!("images:\n{}{}", entry("foreign"), entry("zstd")), "b.tar");
    site_yaml(&world, &[docker.as_target("")]);
    let ran = world.installer(&["apply", "b.tar", "--yes"]).expect_exit(Exit::NotReady);
    says(&ran, &["docker/image", "carried for linux/s390x", "linux/amd64"]);
    fails_alone(&ran.stderr, "docker/image");
    let version = docker.run(&["version", "--format", "{{.Server.Version}}"], world.dir());
    if version.split('.').next().unwrap().parse::<u32>().unwrap() < 23 {
        says(&ran, &["compressed with zstd"]);
    }
    assert!(docker.images().is_empty());
}

#[test]
fn an_engine_without_room_for_the_images_is_found_before_anything_is_loaded() {
    let Some(docker) = docker() else { return };
    let sender = sender();
    let site = site(&sender, &docker, "");
    let data = docker.run(&["info", "--format", "{{.DockerRootDir}}"], sender.dir());
    let bundle = sender.path("0.tar").display().to_string();
    // A small disk, as only the installer sees it.
    let script =
        format!("mount -t tmpfs -o size=16k tmpfs {} && \"$0\" --site site preflight {bundle}", data.trim());
    let Some(ran) = with_mounts(&site, &script) else { return };
    let shown = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(ran.status.code(), Some(5), "{shown}");
    fails_alone(&shown, "docker/space");
    assert!(docker.images().is_empty());
}

// ---- power cuts ---------------------------------------------------------------------------------------

/// A site of version 0 with nothing else in the Engine.
fn fresh(sender: &World, docker: &Docker) -> World {
    docker.remove_all();
    let site = site(sender, docker, "");
    apply(sender, &site, "0.tar").ok();
    site
}

fn undisturbed(sender: &World, docker: &Docker, bundle: &str) -> BTreeMap<String, String> {
    let site = fresh(sender, docker);
    apply(sender, &site, bundle).ok();
    docker.images()
}

#[test]
fn cut_off_at_any_moment_the_same_bundle_finishes_and_the_next_one_finds_nothing_of_it() {
    let Some(docker) = docker() else { return };
    let sender = sender();
    let (same, next) = (undisturbed(&sender, &docker, "1.tar"), undisturbed(&sender, &docker, "2.tar"));
    let moments = Moments::default();
    let site = fresh(&sender, &docker);
    with_run(&site, &sender.path("1.tar"), &moments, |run, plan| {
        let loads = plan.steps.iter().filter(|step| matches!(step, Step::Load(_))).count();
        assert_eq!(loads, 2, "{plan:?}");
        run.start(&plan)
    })
    .unwrap();
    for (moment, step) in moments.0.into_inner() {
        for (bundle, expected) in [("1.tar", &same), ("2.tar", &next)] {
            let site = fresh(&sender, &docker);
            let cut = Cut(moment, step);
            let ended = with_run(&site, &sender.path("1.tar"), &cut, |run, plan| run.start(&plan));
            assert!(matches!(ended, Err(ApplyError::PowerCut(_))), "{moment} {step}: {ended:?}");
            apply(&sender, &site, bundle).ok();
            assert_eq!(&docker.images(), expected, "{moment} {step}, {bundle}");
            assert_eq!(steps(&sender, &site, bundle), 0, "{moment} {step}, {bundle}");
            audit_holds(&site);
        }
    }
}

#[test]
fn cut_off_between_loading_and_naming_an_image_it_is_named_or_goes() {
    let Some(docker) = docker() else { return };
    if docker.is_in_containerd() {
        eprintln!("SKIPPED: this Engine gives what the test loads by hand another id");
        return;
    }
    let sender = sender();
    for (bundle, left) in [("1.tar", true), ("2.tar", false)] {
        let expected = undisturbed(&sender, &docker, bundle);
        let site = fresh(&sender, &docker);
        let ended = with_run(&site, &sender.path("1.tar"), &Cut("begun", 1), |run, plan| run.start(&plan));
        assert!(matches!(ended, Err(ApplyError::PowerCut(_))), "{ended:?}");
        let loose = docker_archive("r.example.com/loose:v1", &[layer(20, 300)]);
        sender.write("loose.tar", loose);
        docker.run(&["load", "-i", "loose.tar"], sender.dir());
        // As the Engine has it between the two: loaded, and without a name.
        docker.run(&["tag", "r.example.com/loose:v1", "r.example.com/moving:v1"], sender.dir());
        sender.write("moving.tar", docker_archive("r.example.com/moving:v1", &[layer(99, 30)]));
        docker.run(&["image", "rm", "r.example.com/loose:v1"], sender.dir());
        docker.run(&["load", "-i", "moving.tar"], sender.dir());
        docker.run(&["image", "rm", "r.example.com/moving:v1"], sender.dir());
        let id = config_of(&extra());
        assert!(docker.images().contains_key(&format!("<none> {id}")), "{:?}", docker.images());
        apply(&sender, &site, bundle).ok();
        assert_eq!(docker.images(), expected);
        assert_eq!(docker.images().values().any(|found| *found == id), left);
    }
}
