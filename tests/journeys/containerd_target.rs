//! Images of a bundle in containerd on site: a real one, started here. Imported under tag and digest, with the
//! labels that keep the kubelet's garbage collector away; moved on, given back, and never taken from somebody
//! else in silence.

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

use daemons::{
    BASE, Containerd, Cut, GREETER, GREETING, MULTI, Moments, Rot, base, containerd, greeter, sender,
};
use e2e::World;
use edge::Exit;
use ingredients::{Image, image, index, layer, write_layout};
use installer::apply::{ApplyError, Run, Unwatched};
use installer::audit::AuditLog;
use installer::journal;
use installer::plan::Step;
use installer::site::Site;
use installer::targets::Context;
use manifests::Digest;
use onsite::{another_site, audit_holds, build, fails_alone, says, site_yaml, with_mounts, with_run};
use testkit::{RealRegistry, RealRegistryOptions};

const LABELS: &str = "io.cri-containerd.image=managed,io.cri-containerd.pinned=pinned";

fn site(sender: &World, containerd: &Containerd, more: &str) -> World {
    let world = another_site(sender);
    std::fs::create_dir(world.path("root")).unwrap();
    let files = format!("files: {{root: {}}}", world.path("root").display());
    site_yaml(&world, &[containerd.as_target(more), files, "scripts: {}".to_string()]);
    world
}

fn apply(sender: &World, site: &World, bundle: &str) -> e2e::Ran {
    site.installer(&["apply", sender.path(bundle).to_str().unwrap(), "--yes"])
}

/// What a name stands for when it is ours.
fn ours(image: &Image) -> (String, String) {
    (image.root.digest.to_string(), LABELS.to_string())
}

fn by_digest(name: &str, image: &Image) -> String {
    let repository = name.rsplit_once(':').unwrap().0;
    format!("{repository}@{}", image.root.digest)
}

#[test]
fn every_image_is_imported_by_tag_and_by_digest_pinned_and_whole_and_runs() {
    let Some(containerd) = containerd() else { return };
    let world = World::new();
    world.trust();
    let (plain, amd64) = (base(0), image("amd64", &[layer(1, 40_000), layer(3, 100)]));
    let multi = index(&[("arm64", &image("arm64", &[layer(4, 100)])), ("amd64", &amd64)]);
    write_layout(&world, "images", &[("plain", &plain), ("multi", &multi)]);
    let mut spec = format!(
        "images:\n  - {{source: \"oci:images:plain\", name: \"{BASE}\"}}\n  - {{source: \"oci:images:multi\", name: \"{MULTI}\"}}\n"
    );
    let runs = greeter(&world);
    if runs {
        spec.push_str(&format!("  - {{source: \"oci-archive:greeter.tar:greeter\", name: \"{GREETER}\"}}\n"));
    }
    build(&world, "1.0", 1, &spec, "b.tar");
    site_yaml(&world, &[containerd.as_target("")]);

    let planned = world.installer(&["plan", "b.tar"]).ok();
    assert!(planned.stdout.contains(&format!("load {BASE} as")), "{}", planned.stdout);
    assert!(planned.stdout.contains("nobody uses the namespace k8s.io yet"), "{}", planned.stdout);
    assert!(containerd.images().is_empty(), "a plan changed something");
    world.installer(&["apply", "b.tar", "--yes"]).ok();
    let images = containerd.images();
    for (name, image) in [(BASE, &plain), (MULTI, &multi)] {
        assert_eq!((&images[name], &images[&by_digest(name, image)]), (&ours(image), &ours(image)));
    }
    let content = containerd.run(&["content", "ls", "--quiet"]);
    for digest in plain.blobs.keys().chain(multi.blobs.keys()) {
        assert!(content.contains(&digest.to_string()), "{digest}: {content}");
    }
    let check = containerd.run(&["images", "check"]);
    assert!(check.lines().skip(1).all(|line| line.contains("complete")), "{check}");

    let again = world.installer(&["--output", "json", "apply", "b.tar", "--yes"]).ok().json();
    assert_eq!(again["plan"]["steps"], serde_json::json!([]));
    assert_eq!(containerd.images(), images);
    containerd.run(&["images", "label", BASE, "io.cri-containerd.pinned="]);
    let planned = world.installer(&["plan", "b.tar"]).ok();
    assert!(planned.stdout.contains(&format!("complete {BASE}")), "{}", planned.stdout);
    world.installer(&["apply", "b.tar", "--yes"]).ok();
    assert_eq!(containerd.images(), images, "the label is not back");
    if runs {
        greets(&containerd);
    }
}

fn greets(containerd: &Containerd) {
    let ran = containerd.ask(&["run", "--rm", GREETER, "greeter"]);
    let (said, words) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    // As in a sandbox. That the image was unpacked is known then, and that is what it is about.
    if !ran.status.success() && (words.contains("cgroup") || words.contains("runc")) {
        eprintln!("SKIPPED: no container can be started here, so the image was not run: {words}");
        return;
    }
    assert_eq!(said.trim(), GREETING, "{words}");
}

#[test]
fn a_newer_bundle_moves_our_own_name_and_a_rollback_moves_it_back_after_containerd_forgot_the_old_image() {
    let Some(containerd) = containerd() else { return };
    let sender = sender();
    let site = site(&sender, &containerd, "");
    apply(&sender, &site, "0.tar").ok();
    let planned = site.installer(&["plan", sender.path("2.tar").to_str().unwrap()]).ok();
    assert!(planned.stdout.contains(&format!("move {BASE}")), "{}", planned.stdout);
    assert!(!planned.stdout.contains("foreign-tag"), "{}", planned.stdout);
    apply(&sender, &site, "2.tar").ok();
    let images = containerd.images();
    assert_eq!(images[BASE], ours(&base(2)));
    // The site store keeps the old one for the way back; the node need not.
    assert_eq!(images[&by_digest(BASE, &base(0))].1, "io.cri-containerd.image=managed");
    assert!(!images.keys().any(|name| name.contains("airlock.invalid")), "{images:?}");

    containerd.run(&["images", "rm", "--sync", &by_digest(BASE, &base(0))]);
    let content = containerd.run(&["content", "ls", "--quiet"]);
    assert!(!content.contains(&base(0).root.digest.to_string()), "containerd has not forgotten it");
    site.installer(&["rollback", "--yes"]).ok();
    assert_eq!(containerd.images()[BASE], ours(&base(0)));
    audit_holds(&site);
}

#[test]
fn when_a_later_step_fails_every_name_stands_for_what_it_stood_for_with_its_labels() {
    let Some(containerd) = containerd() else { return };
    let sender = sender();
    let site = site(&sender, &containerd, "");
    let _ = apply(&sender, &site, "bad.tar").expect_exit(Exit::Undone);
    assert!(containerd.images().is_empty(), "{:?}", containerd.images());
    site.acknowledge();
    apply(&sender, &site, "0.tar").ok();
    containerd.run(&["images", "label", BASE, "site=mine", "io.cri-containerd.pinned="]);
    let before = containerd.images();
    let ran = apply(&sender, &site, "bad.tar").expect_exit(Exit::Undone);
    says(&ran, &["everything was undone"]);
    assert_eq!(containerd.images(), before);
    let check = containerd.run(&["images", "check"]);
    assert!(check.lines().skip(1).all(|line| line.contains("complete")), "{check}");
}

#[test]
fn a_name_of_somebody_elses_image_is_moved_only_where_the_site_says_so_and_its_image_is_kept() {
    let Some(containerd) = containerd() else { return };
    let sender = sender();
    let theirs = image("amd64", &[layer(77, 100)]);
    for (name, bytes) in ingredients::layout(&[("theirs", &theirs)]) {
        sender.write(&format!("theirs/{name}"), bytes);
    }
    let tar = sender.path("theirs.tar");
    onsite::output(
        std::process::Command::new("tar").arg("-C").arg(sender.path("theirs")).arg("-cf").arg(&tar).args([
            "oci-layout",
            "index.json",
            "blobs",
        ]),
    );
    containerd.run(&["images", "import", "--base-name", "x", "--no-unpack", tar.to_str().unwrap()]);
    let imported = containerd.images().into_keys().next().unwrap();
    containerd.run(&["images", "tag", &imported, BASE]);
    containerd.run(&["images", "rm", "--sync", &imported]);
    let before = containerd.images();
    assert_eq!(before[BASE].0, theirs.root.digest.to_string());

    let strict = site(&sender, &containerd, "");
    let ran = apply(&sender, &strict, "0.tar").expect_exit(Exit::NotReady);
    let digest = theirs.root.digest.to_string();
    says(&ran, &["containerd/foreign-tag", BASE, &digest, "targets.containerd.replace: true"]);
    fails_alone(&ran.stderr, "containerd/foreign-tag");
    assert_eq!(containerd.images(), before);

    let willing = site(&sender, &containerd, ", replace: true");
    let _ = apply(&sender, &willing, "bad.tar").expect_exit(Exit::Undone);
    assert_eq!(containerd.images(), before, "the name was not given back");
    willing.acknowledge();
    let ran = apply(&sender, &willing, "0.tar").ok();
    assert!(ran.stdout.contains("containerd/foreign-tag"), "{}", ran.stdout);
    let images = containerd.images();
    assert_eq!(images[BASE], ours(&base(0)));
    let kept = format!("airlock.invalid/kept:{}", theirs.root.digest.hex());
    assert_eq!(images[&kept].0, digest, "their image is gone: {images:?}");
}

#[test]
fn a_containerd_that_does_not_answer_or_an_image_for_another_machine_stops_before_anything_changes() {
    let Some(containerd) = containerd() else { return };
    let sender = sender();
    let site = another_site(&sender);
    for (target, words) in [
        (
            "containerd: {address: /nowhere/containerd.sock}".to_string(),
            ["/nowhere/containerd.sock", "No such file"],
        ),
        (containerd.as_target(", ctr: /nowhere/ctr"), ["cannot start", "/nowhere/ctr"]),
    ] {
        site_yaml(&site, &[target]);
        let ran = apply(&sender, &site, "0.tar").expect_exit(Exit::NotReady);
        says(&ran, &["containerd/reachable", words[0], words[1], "start containerd or k3s"]);
        fails_alone(&ran.stderr, "containerd/reachable");
    }
    let world = World::new();
    world.trust();
    write_layout(&world, "images", &[("foreign", &image("s390x", &[layer(5, 100)]))]);
    let spec = "images: [{source: \"oci:images:foreign\", name: \"r.example.com/foreign:v1\"}]\n";
    build(&world, "1.0", 1, spec, "b.tar");
    site_yaml(&world, &[containerd.as_target("")]);
    let ran = world.installer(&["apply", "b.tar", "--yes"]).expect_exit(Exit::NotReady);
    says(&ran, &["containerd/image", "carried for linux/s390x"]);
    fails_alone(&ran.stderr, "containerd/image");
    assert!(containerd.images().is_empty());
}

#[test]
fn a_blob_of_the_store_that_has_rotted_is_never_imported() {
    let Some(containerd) = containerd() else { return };
    let sender = sender();
    let site = site(&sender, &containerd, "");
    let own = Digest::of(&ingredients::gzip(&layer(10, 500)));
    let watch = Rot(site.path(&format!("site/store/blobs/sha256/{}", own.hex())));
    let ended = with_run(&site, &sender.path("0.tar"), &watch, |run, plan| run.start(&plan));
    assert!(matches!(&ended, Err(ApplyError::Undone { .. })), "{ended:?}");
    assert!(containerd.images().is_empty());
}

#[test]
fn k3s_is_spoken_to_through_its_own_ctr() {
    let Some(containerd) = containerd() else { return };
    let sender = sender();
    let site = site(&sender, &containerd, "");
    // k3s is one program with `ctr` as a subcommand.
    let script =
        format!("#!/bin/sh\n[ \"$1\" = ctr ] && shift || exit 9\nexec {} \"$@\"\n", containerd.ctr.display());
    let k3s = site.write("k3s", script);
    std::fs::set_permissions(&k3s, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    site_yaml(&site, &[containerd.as_target(&format!(", ctr: {}", k3s.display()))]);
    apply(&sender, &site, "0.tar").ok();
    assert_eq!(containerd.images()[BASE], ours(&base(0)));
}

#[test]
fn an_undo_that_containerd_has_missed_is_done_once_it_is_back() {
    let Some(containerd) = containerd() else { return };
    let sender = sender();
    let site = site(&sender, &containerd, "");
    apply(&sender, &site, "0.tar").ok();
    let before = containerd.images();
    let ended = with_run(&site, &sender.path("1.tar"), &Cut("performed", 1), |run, plan| run.start(&plan));
    assert!(matches!(ended, Err(ApplyError::PowerCut(_))), "{ended:?}");
    let found = journal::unfinished(&Site::at(site.path("site"))).unwrap().unwrap();
    let aside = format!("{}.aside", containerd.socket);
    std::fs::rename(&containerd.socket, &aside).unwrap();
    let ended = with_run_of(&site, |run| run.take_back(&found));
    let Err(ApplyError::LeftOver { stuck, .. }) = ended else { panic!("{ended:?}") };
    assert!(stuck.iter().all(|step| step.contains("nobody answers")), "{stuck:?}");
    std::fs::rename(&aside, &containerd.socket).unwrap();
    let _ = site.installer(&["apply", "no-bundle-at-hand.tar", "--yes"]).expect_exit(Exit::Damaged);
    assert_eq!(containerd.images(), before);
}

/// Does `act` with a run that has made no plan.
fn with_run_of<T>(world: &World, act: impl FnOnce(&Run<'_>) -> T) -> T {
    let (env, _, _) = world.env("installer", &[]);
    let site = Site::at(world.path("site"));
    let config = site.config().unwrap();
    let http = registry::Http::new(&registry::HttpSettings::default()).unwrap();
    let context = Context { site: &site, config: &config, env: &env, http: &http };
    let audit = AuditLog::of(&site, &env);
    act(&Run { context: &context, audit: &audit, watch: &Unwatched, say: &|_| {} })
}

#[test]
fn a_node_finds_images_in_the_sites_registry_under_their_own_names() {
    let options = RealRegistryOptions { delete: true, ..RealRegistryOptions::default() };
    let (Some(containerd), Some(registry)) = (containerd(), RealRegistry::start(options)) else {
        return;
    };
    let sender = sender();
    let world = another_site(&sender);
    std::fs::create_dir(world.path("root")).unwrap();
    let certs = world.path("etc/containerd/certs.d");
    let site = |more: &str| {
        let mirror = format!(", mirror: {{directory: {}}}{more}", certs.display());
        let registry = format!("registry: {{url: \"{}\", prefix: mirror}}", registry.url());
        let files = format!("files: {{root: {}}}", world.path("root").display());
        let scripts = "scripts: {}".to_string();
        site_yaml(&world, &[registry, containerd.as_target(&mirror), files, scripts]);
    };
    site("");
    let _ = apply(&sender, &world, "bad.tar").expect_exit(Exit::Undone);
    assert!(!certs.exists(), "the directory that was made for the mirror is still there");
    world.acknowledge();
    apply(&sender, &world, "0.tar").ok();
    let file = certs.join("registry.example.com/hosts.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(
        text.contains(&format!("[host.\"{}/v2/mirror/registry.example.com\"]", registry.url())),
        "{text}"
    );
    apply(&sender, &world, "2.tar").ok();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);

    // As a node that has imported nothing: only the mirror has it, as the name's host is nowhere.
    containerd.remove_all();
    containerd.run(&["images", "pull", "--hosts-dir", certs.to_str().unwrap(), BASE]);
    assert_eq!(containerd.images()[BASE].0, base(2).root.digest.to_string());

    std::fs::write(&file, "server = \"https://elsewhere\"\n").unwrap();
    let ran = world.installer(&["rollback", "--yes"]).expect_exit(Exit::NotReady);
    says(&ran, &["containerd/mirror", "hosts.toml was written by somebody else"]);
    fails_alone(&ran.stderr, "containerd/mirror");
    site(", replace: true");
    world.installer(&["rollback", "--yes"]).ok();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn k3s_is_told_of_the_sites_registry_beside_what_others_have_told_it() {
    let options = RealRegistryOptions { delete: true, ..RealRegistryOptions::default() };
    let (Some(containerd), Some(registry)) = (containerd(), RealRegistry::start(options)) else {
        return;
    };
    let sender = sender();
    let world = another_site(&sender);
    std::fs::create_dir(world.path("root")).unwrap();
    let file = world.path("etc/rancher/k3s/registries.yaml");
    let more = format!(", registries: {{file: {}}}", file.display());
    let target = format!("registry: {{url: \"{}\", prefix: mirror}}", registry.url());
    let files = format!("files: {{root: {}}}", world.path("root").display());
    site_yaml(&world, &[target, containerd.as_target(&more), files, "scripts: {}".to_string()]);
    let theirs = "# by hand\nmirrors:\n    docker.io: {endpoint: ['https://cache:5000']} # the cache\nconfigs:\n    'cache:5000': {auth: {username: a, password: '1.10'}}\n";
    world.write("etc/rancher/k3s/registries.yaml", theirs);
    let _ = apply(&sender, &world, "bad.tar").expect_exit(Exit::Undone);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), theirs, "an undo gives the old file back");
    world.acknowledge();
    let ran = apply(&sender, &world, "0.tar").ok();
    assert!(ran.stdout.contains("start it anew afterwards"), "{}", ran.stdout);
    let text = std::fs::read_to_string(&file).unwrap();
    for line in theirs.lines() {
        assert!(text.contains(line), "{line}: {text}");
    }
    let read: serde_json::Value = edge::yaml::parse("registries.yaml", &text).unwrap();
    let entry = &read["mirrors"]["registry.example.com"];
    assert_eq!(entry["endpoint"][0], registry.url());
    assert_eq!(entry["rewrite"]["^(.*)$"], "mirror/registry.example.com/$1");
    apply(&sender, &world, "2.tar").ok();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    // An entry of somebody else for the same registry is theirs.
    let taken = "mirrors:\n  registry.example.com: {endpoint: ['https://cache:5000']}\n";
    std::fs::write(&file, taken).unwrap();
    let ran = world.installer(&["rollback", "--yes"]).expect_exit(Exit::NotReady);
    says(&ran, &["containerd/registries", "entries of somebody else for registry.example.com"]);
    fails_alone(&ran.stderr, "containerd/registries");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), taken);
}

#[test]
fn a_disk_of_containerd_without_room_for_the_images_is_found_before_anything_is_imported() {
    let Some(containerd) = containerd() else { return };
    let sender = sender();
    let site = site(&sender, &containerd, "");
    let bundle = sender.path("0.tar").display().to_string();
    // A small disk at containerd's usual place, as only the installer sees it.
    let script = format!(
        "mount -t tmpfs tmpfs /var/lib && mkdir /var/lib/containerd && mount -t tmpfs -o size=16k tmpfs /var/lib/containerd && \"$0\" --site site preflight {bundle}"
    );
    let Some(ran) = with_mounts(&site, &script) else { return };
    let shown = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(ran.status.code(), Some(5), "{shown}");
    fails_alone(&shown, "disk/containerd");
    assert!(containerd.images().is_empty());
}

// ---- power cuts ---------------------------------------------------------------------------------------

/// A site of version 0 with nothing else in containerd.
fn fresh(sender: &World, containerd: &Containerd) -> World {
    containerd.remove_all();
    let site = site(sender, containerd, "");
    apply(sender, &site, "0.tar").ok();
    site
}

fn undisturbed(sender: &World, containerd: &Containerd, bundle: &str) -> BTreeMap<String, (String, String)> {
    let site = fresh(sender, containerd);
    apply(sender, &site, bundle).ok();
    containerd.images()
}

#[test]
fn cut_off_at_any_moment_the_same_bundle_finishes_and_the_next_one_finds_nothing_of_it() {
    let Some(containerd) = containerd() else { return };
    let sender = sender();
    let same = undisturbed(&sender, &containerd, "1.tar");
    let next = undisturbed(&sender, &containerd, "2.tar");
    let moments = Moments::default();
    let site = fresh(&sender, &containerd);
    with_run(&site, &sender.path("1.tar"), &moments, |run, plan| {
        let imports = plan.steps.iter().filter(|step| matches!(step, Step::Import(_))).count();
        assert_eq!(imports, 2, "{plan:?}");
        run.start(&plan)
    })
    .unwrap();
    for (moment, step) in moments.0.into_inner() {
        for (bundle, expected) in [("1.tar", &same), ("2.tar", &next)] {
            let site = fresh(&sender, &containerd);
            let cut = Cut(moment, step);
            let ended = with_run(&site, &sender.path("1.tar"), &cut, |run, plan| run.start(&plan));
            assert!(matches!(ended, Err(ApplyError::PowerCut(_))), "{moment} {step}: {ended:?}");
            apply(&sender, &site, bundle).ok();
            assert_eq!(&containerd.images(), expected, "{moment} {step}, {bundle}");
            audit_holds(&site);
        }
    }
}
