//! Everything is looked at before anything changes, in one run. Each check has a site on which it fails and
//! nothing else does; afterwards targets and site are as they were, but for the log.

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

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use e2e::World;
use edge::Exit;
use ingredients::{Image, IndexedFile, Pages, image, layer, pinned, repository_at};
use installer::preflight::catalogue::{CHECKS, Rule};
use onsite::{
    Python, audit_holds, build, greeting, output, says, site_tree, wheel, with_mounts, write_wheels,
};
use serde_json::Value;
use testkit::certificates::Flaw;
use testkit::{FakeRegistry, Fault, RealRegistry, RealRegistryOptions, real_part};

const APPLY: [&str; 3] = ["apply", "b.tar", "--yes"];
const SITE: &str = "apiVersion: airlock/v1\nkind: Site\nsite: lab\n";
const FILES: &str = "files: [{source: config, dest: /etc/demo}]\n";

/// A site that trusts a publisher, and a bundle of theirs.
fn bundled(rest: &str) -> World {
    let world = World::new();
    world.trust();
    world.write("config/a.conf", "a\n");
    std::fs::create_dir(world.path("root")).unwrap();
    build(&world, "1.0.0", 1, rest, "b.tar");
    world
}

/// `site.yaml` with this after its head.
fn site(world: &World, rest: &str) {
    world.write("site/site.yaml", format!("{SITE}{rest}"));
}

fn files(world: &World) -> String {
    format!("targets: {{files: {{root: {}}}}}\n", world.path("root").display())
}

/// Runs `preflight`, and gives what it prints as JSON.
fn preflight(world: &World, args: &[&str]) -> (Exit, Value) {
    let before = (site_tree(world), world.snapshot("root"), world.snapshot("venvs"));
    let ran = world.installer(&[&["--output", "json", "preflight"], args].concat());
    let after = (site_tree(world), world.snapshot("root"), world.snapshot("venvs"));
    assert_eq!(before, after, "a look has changed something");
    (ran.exit, ran.json())
}

/// The ids of findings with this verdict, each once.
fn ids(report: &Value, verdict: &str) -> Vec<String> {
    let all = report["findings"].as_array().unwrap().iter();
    let mut ids: Vec<String> = all
        .filter(|finding| finding["verdict"] == verdict)
        .map(|finding| finding["id"].as_str().unwrap().to_string())
        .collect();
    ids.dedup();
    ids
}

fn fact(report: &Value, id: &str) -> String {
    let all = report["findings"].as_array().unwrap().iter();
    let mut facts =
        all.filter(|finding| finding["id"] == id).map(|finding| finding["fact"].as_str().unwrap());
    facts.next().unwrap_or_else(|| panic!("no {id}: {report}")).to_string()
}

/// Only this check fails.
fn only(world: &World, args: &[&str], id: &str, words: &str) {
    let (exit, report) = preflight(world, args);
    assert_eq!((exit, ids(&report, "fail")), (Exit::NotReady, vec![id.to_string()]), "{report}");
    let found = fact(&report, id);
    assert!(found.contains(words), "{id}: {found}");
}

/// Nothing fails.
fn none(world: &World, args: &[&str]) -> Value {
    let (exit, report) = preflight(world, args);
    assert_eq!((exit, ids(&report, "fail")), (Exit::Done, Vec::new()), "{report}");
    report
}

/// Entries of the log with this event: what each was about.
fn logged(world: &World, event: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(world.path("site/audit/audit.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["event"] == event).map(|line| line["about"].clone()).collect()
}

// ---- the registry -------------------------------------------------------------------------------------

fn one_image() -> Image {
    image("amd64", &[layer(1, 1000)])
}

/// A bundle with an image, and the host that it was pulled from as it is spelled in the mirror.
fn with_an_image() -> (World, String) {
    let source = FakeRegistry::start();
    one_image().store_in(&source, "team/base", "v1");
    let world = bundled(&format!("images: [\"docker://{}/team/base:v1\"]\n", source.host()));
    (world, format!("mirror/{}/team/base", source.host().replace(':', "-")))
}

fn registry(world: &World, keys: &str) {
    site(world, &format!("targets: {{registry: {{prefix: mirror, {keys}}}}}\n"));
}

fn log_in(world: &mut World, host: &str, password: &str) {
    use base64::Engine;
    let login = format!("{}:{password}", testkit::REAL_USER);
    let auth = base64::engine::general_purpose::STANDARD.encode(login);
    let file = world.write("auth.json", format!("{{\"auths\":{{\"{host}\":{{\"auth\":\"{auth}\"}}}}}}"));
    world.vars.insert("REGISTRY_AUTH_FILE".into(), file.into());
}

#[test]
fn what_is_wrong_with_a_registry_is_told_apart_and_a_right_one_passes_with_nothing_left_in_it() {
    let options = RealRegistryOptions { tls: true, htpasswd: true, delete: false };
    let Some(target) = RealRegistry::start(options) else { return };
    let (mut world, _) = with_an_image();
    let host = target.host().to_string();
    world.write("site/ca.pem", std::fs::read(target.ca_path()).unwrap());
    let whole = format!("url: \"https://{host}\", ca: ca.pem, auth: docker-config");
    registry(&world, &whole);
    log_in(&mut world, &host, testkit::REAL_PASSWORD);
    let report = none(&world, &["b.tar"]);
    assert_eq!(ids(&report, "warn"), Vec::<String>::new(), "{report}");
    assert!(fact(&report, "registry/push").contains("no blob and no tag stays"), "{report}");
    let stored = target.storage().join("docker/registry/v2");
    let blobs = stored.join("blobs");
    assert!(!blobs.exists(), "a look has stored a blob");
    // This registry keeps the empty shell of an upload that was cancelled, and neither its data nor its date.
    let uploads =
        Command::new("find").arg(&stored).args(["-path", "*_uploads/*", "-type", "f"]).output().unwrap();
    let left = String::from_utf8(uploads.stdout).unwrap();
    assert!(
        left.lines().all(|file| file.ends_with("/hashstates/sha256/0")),
        "an upload was left open: {left}"
    );
    let manifests = Command::new("find").arg(&stored).args(["-name", "_manifests"]).output().unwrap();
    assert!(manifests.stdout.is_empty(), "a manifest or tag was left");

    log_in(&mut world, &host, "sesame");
    only(&world, &["b.tar"], "registry/login", "does not take the login");
    registry(&world, &format!("url: \"https://{host}\", auth: docker-config"));
    only(&world, &["b.tar"], "registry/tls", "authority that is not known");
    registry(&world, &whole.replace("ca.pem", "gone.pem"));
    only(&world, &["b.tar"], "registry/tls", "gone.pem");
    let closed = FakeRegistry::start().url();
    registry(&world, &format!("url: \"{closed}\""));
    only(&world, &["b.tar"], "registry/reachable", "cannot reach");
}

#[test]
fn a_certificate_that_has_expired_or_is_for_another_name_fails_and_one_that_ends_soon_warns() {
    let (world, _) = with_an_image();
    let options = RealRegistryOptions { tls: true, ..RealRegistryOptions::default() };
    for (flaw, words) in [
        (Flaw::Expired, "its certificate has expired on 20"),
        (Flaw::ExpiredAuthority, "the authority in `targets.registry.ca` has expired on 20"),
        (Flaw::OtherName, "for another name"),
        (Flaw::EndsSoon, "trusted until 20"),
    ] {
        let Some(target) = RealRegistry::start_with(options, flaw) else { return };
        world.write("site/ca.pem", std::fs::read(target.ca_path()).unwrap());
        registry(&world, &format!("url: \"{}\", ca: ca.pem", target.url()));
        if flaw == Flaw::EndsSoon {
            let report = none(&world, &["b.tar"]);
            assert_eq!(ids(&report, "warn"), ["registry/tls"]);
            assert!(fact(&report, "registry/tls").contains(words));
        } else {
            only(&world, &["b.tar"], "registry/tls", words);
        }
    }
}

#[test]
fn a_registry_that_lets_nobody_push_is_found_by_beginning_an_upload() {
    let (world, mirror) = with_an_image();
    let target = FakeRegistry::start();
    registry(&world, &format!("url: \"{}\"", target.url()));
    target.fault_on(Fault::Status(403), None, "POST", "/blobs/uploads/");
    only(&world, &["b.tar"], "registry/push", &mirror);
    target.clear_faults();
    none(&world, &["b.tar"]);
    assert_eq!(target.open_uploads(), 0);
    // Where everything is in place nothing is tried.
    world.installer(&APPLY).ok();
    let asked = target.requests().len();
    none(&world, &["b.tar"]);
    let later = target.requests().split_off(asked);
    assert!(later.iter().all(|request| matches!(request.method.as_str(), "GET" | "HEAD")), "{later:?}");
}

#[test]
fn a_tag_in_the_way_of_a_registry_that_moves_none_is_found_before_anything_is_sent() {
    let (world, mirror) = with_an_image();
    let target = FakeRegistry::start();
    let other = image("amd64", &[layer(9, 500)]);
    other.store_in(&target, &mirror, "v1");
    target.fault(Fault::ImmutableTags);
    let url = format!("url: \"{}\"", target.url());
    registry(&world, &format!("{url}, immutable: true"));
    only(&world, &["b.tar"], "registry/immutable", &format!("{mirror}:v1"));
    let ran = world.installer(&APPLY).expect_exit(Exit::NotReady);
    says(&ran, &["registry/immutable", "name something else", "hint: this registry does not move tags"]);
    assert!(target.requests().iter().all(|request| request.method != "PUT"));

    // Who does not say so in site.yaml is warned, and gets everything back when the registry refuses.
    registry(&world, &url);
    assert_eq!(ids(&none(&world, &["b.tar"]), "warn"), ["registry/immutable"]);
    let ran = world.installer(&APPLY).expect_exit(Exit::Undone);
    says(&ran, &["412", "everything was undone", "targets.registry.immutable: true"]);
    let tagged = repository_at(&target.url(), &mirror).head_manifest(&"v1".parse().unwrap()).unwrap();
    assert_eq!(tagged.unwrap().digest, other.root.digest);
    audit_holds(&world);
}

#[test]
fn an_image_that_a_registry_of_immutable_tags_has_already_is_not_sent_again() {
    let (world, mirror) = with_an_image();
    let target = FakeRegistry::start();
    one_image().store_in(&target, &mirror, "v1");
    target.fault(Fault::ImmutableTags);
    registry(&world, &format!("url: \"{}\", immutable: true", target.url()));
    none(&world, &["b.tar"]);
    world.installer(&APPLY).ok();
    assert!(target.requests().iter().all(|request| matches!(request.method.as_str(), "GET" | "HEAD")));
}

// ---- room ---------------------------------------------------------------------------------------------

#[test]
fn each_disk_that_is_too_small_is_named_before_the_first_byte_is_copied() {
    let Some(python) = Python::find() else { return };
    let world = World::new();
    world.trust();
    world.write("config/a.bin", ingredients::noise(7, 3_000_000));
    for number in 0..40 {
        world.write(&format!("config/many/{number}"), "x");
    }
    write_wheels(&world, "wheels", &greeting("1.0"));
    let rest = format!("wheels: [{{name: tools, source: wheels}}]\n{FILES}");
    build(&world, "1.0.0", 1, &rest, "b.tar");
    site(
        &world,
        &format!(
            "targets:\n  files: {{root: {}}}\n  {}\n",
            world.path("root").display(),
            python.as_target(&world)
        ),
    );
    for directory in ["site/store", "root", "venvs"] {
        std::fs::create_dir_all(world.path(directory)).unwrap();
    }
    let look = "\"$0\" --site site --output json preflight b.tar";
    let small = |place: &str, options: &str, report: &str| {
        format!(
            "mount -t tmpfs -o {options} tmpfs {place} && {{ {look} > {report}; echo $? >> exits; umount {place}; }}\n"
        )
    };
    let script = [
        small("site/store", "size=2m", "store.json"),
        small("root", "size=2m", "files.json"),
        small("venvs", "size=4m", "venvs.json"),
        small("root", "size=64m,nr_inodes=20", "inodes.json"),
        // What `apply` finds too late to copy is found before it copies.
        "mount -t tmpfs -o size=2m tmpfs root && \"$0\" --site site apply b.tar --yes 2> apply.txt; echo $? >> exits; ls site/store/blobs/sha256 > left\n".to_string(),
    ]
    .concat();
    let Some(ran) = with_mounts(&world, &script) else { return };
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    let text = |name: &str| std::fs::read_to_string(world.path(name)).unwrap();
    for (name, id) in [
        ("store.json", "disk/site-store"),
        ("files.json", "disk/files"),
        ("venvs.json", "disk/venvs"),
        ("inodes.json", "disk/inodes"),
    ] {
        let report: Value =
            serde_json::from_str(&text(name)).unwrap_or_else(|error| panic!("{error}: {said}"));
        assert_eq!(ids(&report, "fail"), [id], "{report}");
        assert!(
            fact(&report, id).contains(if id == "disk/inodes" { "files needed" } else { "free" }),
            "{report}"
        );
    }
    assert_eq!(text("exits"), "5\n".repeat(5));
    assert!(text("apply.txt").contains("disk/files"), "{}", text("apply.txt"));
    assert_eq!(text("left"), "", "something was copied all the same");
}

// ---- Python -------------------------------------------------------------------------------------------

fn python_site(world: &World, interpreter: &std::path::Path) {
    let venvs = world.path("venvs");
    let target = format!("{{interpreter: {}, venvs: {}}}", interpreter.display(), venvs.display());
    site(world, &format!("targets: {{python: {target}}}\n"));
}

const WHEELS: &str = "wheels: [{name: tools, source: wheels}]\n";

fn with_wheels(wheels: &[(String, Vec<u8>)]) -> World {
    let world = World::new();
    world.trust();
    write_wheels(&world, "wheels", wheels);
    build(&world, "1.0.0", 1, WHEELS, "b.tar");
    world
}

#[test]
fn an_interpreter_that_is_missing_or_of_another_version_or_abi_is_found_without_an_environment() {
    let Some(python) = Python::find() else { return };
    let world = with_wheels(&greeting("1.0"));
    python_site(&world, std::path::Path::new("/no/such/python"));
    only(&world, &["b.tar"], "python/interpreter", "/no/such/python");
    python_site(&world, &python.path);
    let report = none(&world, &["b.tar"]);
    assert!(fact(&report, "python/resolve").contains("would install 2 wheels"), "{report}");

    // An interpreter that says that it is another one, in front of a real one.
    let (name, bytes) = wheel("words", "1.0", &[], "VERSION = '1.0'\n");
    let world = World::new();
    world.trust();
    world.write("requirements.txt", pinned("words", "1.0", &bytes));
    let index = ingredients::package_index(Pages::Json, vec![IndexedFile::honest((name, bytes))]);
    let target = python.target(&python.minor);
    let rest = format!(
        "wheels: [{{name: tools, requirements: requirements.txt, index: {}/simple/, targets: [{target}]}}]\n",
        index.url()
    );
    if real_part("uv").is_some() {
        build(&world, "1.0.0", 1, &rest, "b.tar");
        let other = world.write(
            "other-python",
            format!(
                "#!/bin/sh\ncase \"$*\" in *version_info*) echo {} {} True True;; *) exec {} \"$@\";; esac\n",
                python.other_minor(),
                python.machine,
                python.path.display()
            ),
        );
        std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o755)).unwrap();
        python_site(&world, &other);
        only(&world, &["b.tar"], "python/target", python.other_minor());
    }

    // Wheels that were taken as they are, for an implementation that this is not.
    let (_, bytes) = wheel("words", "1.0", &[], "VERSION = '1.0'\n");
    let world = with_wheels(&[("words-1.0-pp27-pypy_41-linux_x86_64.whl".to_string(), bytes)]);
    python_site(&world, &python.path);
    only(&world, &["b.tar"], "python/abi", "words-1.0-pp27-pypy_41-linux_x86_64.whl");
}

#[test]
fn a_wheelhouse_that_lacks_what_a_wheel_needs_is_found_by_pip_itself() {
    let Some(python) = Python::find() else { return };
    let world = with_wheels(&greeting("1.0")[..1]);
    python_site(&world, &python.path);
    only(&world, &["b.tar"], "python/resolve", "words");
    let _ = world.installer(&APPLY).expect_exit(Exit::NotReady);
    assert!(!world.path("venvs").exists() && !world.path("site/scratch").exists());
}

// ---- windows and tickets ------------------------------------------------------------------------------

/// A Friday at noon in UTC.
const WINDOW: &str = "windows: [{allow: \"Sun 02:00-06:00\", timezone: Europe/Berlin}]\n";

#[test]
fn a_closed_window_stops_before_the_medium_is_copied_and_an_open_one_does_not() {
    let mut world = bundled(FILES);
    site(&world, &format!("{}{WINDOW}", files(&world)));
    only(&world, &["b.tar"], "window/open", "the next opens Sun 2026-11-22 02:00 Europe/Berlin");
    let before = site_tree(&world);
    let ran = world.installer(&APPLY).expect_exit(Exit::NotReady);
    says(
        &ran,
        &[
            "FAIL window/open (may be overridden)",
            "the bundle was not read",
            "hint: wait, or let whoever decides",
        ],
    );
    assert_eq!(site_tree(&world), before, "something was copied although the window is closed");
    assert!(world.snapshot("root").is_empty());

    world.now = "2026-11-22T01:00:00Z".parse().unwrap();
    let report = none(&world, &["b.tar"]);
    assert_eq!(fact(&report, "window/open"), "open until Sun 2026-11-22 06:00 Europe/Berlin");
    world.installer(&APPLY).ok();
    world.now = "2026-11-22T05:00:00Z".parse().unwrap();
    let _ = world.installer(&["rollback", "--yes"]).expect_exit(Exit::Refused);
}

#[test]
fn an_override_needs_a_reason_stays_visible_and_is_an_event_of_its_own() {
    let world = bundled(FILES);
    site(&world, &format!("{}{WINDOW}", files(&world)));
    let over = ["--override", "window/open", "--reason", "the fraud service is down"];
    let report = none_blocks(&world, &[&["b.tar"], &over[..]].concat());
    assert_eq!(report["findings"][0]["overridden"], "the fraud service is down");
    let ran = world.installer(&[&APPLY[..], &over].concat()).ok();
    assert!(
        ran.stdout.contains("over  window/open") && ran.stdout.contains("reason  the fraud service is down")
    );
    let events = logged(&world, "preflight.override");
    let last = events.last().unwrap();
    assert_eq!((events.len(), &last["id"], &last["for"]), (2, &"window/open".into(), &"apply".into()));
    assert!(last["fact"].as_str().unwrap().contains("no window allows a change now"), "{last}");
    assert_eq!(last["reason"], "the fraud service is down");
    let looks = logged(&world, "preflight");
    assert_eq!(looks.last().unwrap()["overridden"], "window/open");
    audit_holds(&world);
}

/// Something failed, and somebody has overridden it.
fn none_blocks(world: &World, args: &[&str]) -> Value {
    let (exit, report) = preflight(world, args);
    assert_eq!((exit, &report["ready"]), (Exit::Done, &Value::Bool(true)), "{report}");
    report
}

#[test]
fn an_override_of_what_is_strict_unknown_unexplained_or_well_is_refused() {
    let world = bundled(FILES);
    site(&world, &format!("{}{WINDOW}change: {{required: false}}\n", files(&world)));
    let reason = ["--reason", "because"];
    for command in [&["preflight", "b.tar"][..], &["plan", "b.tar"], &APPLY, &["rollback", "--yes"]] {
        for (over, words) in [
            (&["--override", "disk/files", "--reason", "x"][..], "this check is strict"),
            (&["--override", "window/closed", "--reason", "x"], "there is no such check"),
            (&["--override", "window/open"], "needs a reason"),
        ] {
            let before = std::fs::read(world.path("site/audit/audit.jsonl")).unwrap();
            let ran = world.installer(&[command, over].concat()).expect_exit(Exit::Usage);
            says(&ran, &[words, "hint:"]);
            assert_eq!(std::fs::read(world.path("site/audit/audit.jsonl")).unwrap(), before);
        }
    }
    let well = ["--override", "window/open", "--override", "change/ticket"];
    let ran = world.installer(&[&APPLY[..], &well, &reason].concat()).expect_exit(Exit::NotReady);
    says(&ran, &["--override change/ticket: that did not fail"]);
    assert!(world.snapshot("root").is_empty());
}

#[test]
fn a_ticket_that_the_site_wants_is_asked_for_and_stands_in_plan_journal_and_log() {
    let world = bundled(FILES);
    site(&world, &format!("{}change: {{pattern: 'CHG-[0-9]+'}}\n", files(&world)));
    only(&world, &["b.tar"], "change/ticket", "no ticket was named");
    only(&world, &["b.tar", "--change", "CHG-12b"], "change/ticket", "the ticket is CHG-12b");
    let report = none(&world, &["b.tar", "--change", "CHG-12"]);
    assert_eq!(report["change"], "CHG-12");
    let plan = world.installer(&["--output", "json", "plan", "b.tar", "--change", "CHG-12"]).ok().json();
    assert_eq!(plan["plan"]["change"], "CHG-12");
    let ran = world.installer(&["apply", "b.tar", "--yes", "--change", "CHG-12"]).ok();
    assert!(ran.stdout.contains("ticket: CHG-12"), "{}", ran.stdout);
    let applied = logged(&world, "apply");
    assert!(applied.iter().all(|about| about["change"] == "CHG-12") && applied.len() > 1, "{applied:?}");
    audit_holds(&world);
}

// ---- the way back -------------------------------------------------------------------------------------

/// Removes from the store a file of the bundle with this content.
fn lose(world: &World, content: &str) {
    let digest = manifests::Digest::of(content.as_bytes());
    std::fs::remove_file(world.path("site/store/blobs/sha256").join(digest.hex())).unwrap();
}

#[test]
fn what_a_way_back_needs_is_looked_at_before_an_upgrade_and_before_a_rollback() {
    let world = bundled(FILES);
    site(&world, &files(&world));
    world.installer(&APPLY).ok();
    world.write("config/a.conf", "b\n");
    build(&world, "2.0.0", 2, FILES, "b.tar");
    let report = none(&world, &["b.tar"]);
    assert!(fact(&report, "rollback/material").starts_with("1.0.0 could be put back"), "{report}");
    world.installer(&APPLY).ok();
    let (exit, report) = preflight(&world, &["--rollback"]);
    assert_eq!((exit, &report["for"], &report["version"]), (Exit::Done, &"rollback".into(), &"1.0.0".into()));
    lose(&world, "a\n");
    only(&world, &["--rollback"], "rollback/material", "1.0.0");
    only(&world, &["--rollback", "1.0.0"], "rollback/material", "1.0.0");
    lose(&world, "b\n");
    world.write("config/a.conf", "c\n");
    build(&world, "3.0.0", 3, FILES, "b.tar");
    let report = none(&world, &["b.tar"]);
    assert_eq!(ids(&report, "warn"), ["rollback/material"]);
    assert!(fact(&report, "rollback/material").contains("1 blobs are missing"), "{report}");
}

// ---- all of it at once --------------------------------------------------------------------------------

/// A site on which much is wrong, of several kinds.
fn much_is_wrong() -> World {
    let (world, _) = with_an_image();
    write_wheels(&world, "wheels", &greeting("1.0"));
    world.write("unscript.sh", "#!/bin/sh\n");
    world.write("script.sh", "#!/bin/sh\n");
    let source = FakeRegistry::start();
    one_image().store_in(&source, "team/base", "v1");
    let rest = format!(
        "images: [\"docker://{}/team/base:v1\"]\n{WHEELS}{FILES}scripts: [{{source: script.sh, undo: unscript.sh, when: before}}]\n",
        source.host()
    );
    build(&world, "1.0.0", 1, &rest, "b.tar");
    let closed = FakeRegistry::start().url();
    let targets = format!(
        "targets:\n  registry: {{url: \"{closed}\"}}\n  python: {{interpreter: /no/such/python, venvs: {}}}\n  files: {{root: {}}}\n  docker: {{host: \"unix:///no/such.sock\"}}\n  containerd: {{address: /no/such/containerd.sock}}\n",
        world.path("venvs").display(),
        world.path("root").display(),
    );
    site(&world, &format!("{targets}{WINDOW}change: {{pattern: 'CHG-[0-9]+'}}\n"));
    world
}

const WRONG: [&str; 7] = [
    "window/open",
    "change/ticket",
    "registry/reachable",
    "python/interpreter",
    "docker/reachable",
    "containerd/reachable",
    "scripts/allowed",
];

#[test]
fn everything_that_is_wrong_is_found_in_one_run_and_the_log_names_it() {
    let world = much_is_wrong();
    let (exit, report) = preflight(&world, &["b.tar"]);
    assert_eq!((exit, ids(&report, "fail")), (Exit::NotReady, WRONG.map(String::from).to_vec()), "{report}");
    let looks = logged(&world, "preflight");
    let named = looks.last().unwrap()["failed"].as_str().unwrap();
    assert!(WRONG.iter().all(|id| named.split(' ').any(|other| other == *id)), "{named}");
    let ran = world.installer(&["preflight", "b.tar"]).expect_exit(Exit::NotReady);
    for line in ran.stdout.lines() {
        let fits = line.chars().count() <= 80 || line.trim().split(' ').count() <= 2;
        assert!(fits, "{line}");
    }
    assert!(ran.stdout.trim_end().lines().last().unwrap().starts_with("checks: 7 failed"), "{}", ran.stdout);
    let plan = world.installer(&["plan", "b.tar"]).expect_exit(Exit::NotReady);
    // Free space may change between two looks, and nothing else.
    let table = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.starts_with("FAIL") || line.starts_with("pass"));
        lines.map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect()
    };
    let (shown, planned) = (table(&ran.stdout), table(&plan.stderr));
    assert!(
        shown.len() > WRONG.len() && shown == planned,
        "two commands show two tables: {shown:?} {planned:?}"
    );
}

/// What Python's own reader makes of a JUnit file: each case with its children.
const READ_JUNIT: &str = "
import sys, xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
for suite in root:
    cases = list(suite)
    assert int(suite.get('tests')) == len(cases)
    assert int(suite.get('failures')) == sum(case.find('failure') is not None for case in cases)
    assert len({case.get('name') for case in cases}) == len(cases)
    for case in cases:
        print(suite.get('name'), case.get('name'), *sorted(child.tag for child in case))
";

#[test]
fn the_junit_file_is_what_a_reader_of_xml_takes_and_names_the_same() {
    let Some(python) = real_part("python3") else { return };
    let world = much_is_wrong();
    let over = ["--override", "window/open", "--reason", "<now> & \"here\""];
    let args = [&["preflight", "b.tar", "--junit", "out.xml"], &over[..]].concat();
    let _ = world.installer(&args).expect_exit(Exit::NotReady);
    let read = output(Command::new(python).args(["-c", READ_JUNIT]).arg(world.path("out.xml")));
    let lines: Vec<&str> = read.lines().collect();
    assert!(lines.contains(&"window window/open skipped system-out"), "{read}");
    assert!(lines.contains(&"registry registry/reachable failure"), "{read}");
    assert!(lines.contains(&"clock clock/plausible"), "{read}");
    let failed = lines.iter().filter(|line| line.ends_with(" failure")).count();
    assert_eq!(failed, WRONG.len() - 1, "{read}");
}

// ---- each alone ---------------------------------------------------------------------------------------

/// Each check that can fail, and the test in which it fails and nothing else does: by area, file and name.
const ALONE: &[(&str, &str, &str)] = &[
    (
        "window/open",
        "preflight",
        "a_closed_window_stops_before_the_medium_is_copied_and_an_open_one_does_not",
    ),
    (
        "change/ticket",
        "preflight",
        "a_ticket_that_the_site_wants_is_asked_for_and_stands_in_plan_journal_and_log",
    ),
    (
        "site/failed-before",
        "transaction",
        "after_a_failure_nothing_of_the_product_is_applied_until_somebody_has_looked",
    ),
    ("clock/plausible", "trust", "a_wrong_clock_is_called_a_wrong_clock_and_stops_an_apply"),
    ("bundle/expiry", "trust", "an_expired_bundle_warns_and_stops_where_the_site_says_so"),
    ("trust/expiry", "trust", "an_expired_root_warns_and_stops_where_the_site_says_so"),
    ("disk/site-store", "preflight", "each_disk_that_is_too_small_is_named_before_the_first_byte_is_copied"),
    ("disk/files", "preflight", "each_disk_that_is_too_small_is_named_before_the_first_byte_is_copied"),
    ("disk/venvs", "preflight", "each_disk_that_is_too_small_is_named_before_the_first_byte_is_copied"),
    ("disk/inodes", "preflight", "each_disk_that_is_too_small_is_named_before_the_first_byte_is_copied"),
    (
        "disk/containerd",
        "containerd_target",
        "a_disk_of_containerd_without_room_for_the_images_is_found_before_anything_is_imported",
    ),
    (
        "requires/disk",
        "requires",
        "each_requirement_that_is_not_met_is_found_alone_and_before_anything_is_copied",
    ),
    (
        "requires/memory",
        "requires",
        "each_requirement_that_is_not_met_is_found_alone_and_before_anything_is_copied",
    ),
    (
        "requires/commands",
        "requires",
        "each_requirement_that_is_not_met_is_found_alone_and_before_anything_is_copied",
    ),
    (
        "requires/ports",
        "requires",
        "each_requirement_that_is_not_met_is_found_alone_and_before_anything_is_copied",
    ),
    (
        "requires/helm",
        "requires",
        "each_requirement_that_is_not_met_is_found_alone_and_before_anything_is_copied",
    ),
    (
        "registry/reachable",
        "preflight",
        "what_is_wrong_with_a_registry_is_told_apart_and_a_right_one_passes_with_nothing_left_in_it",
    ),
    (
        "registry/tls",
        "preflight",
        "a_certificate_that_has_expired_or_is_for_another_name_fails_and_one_that_ends_soon_warns",
    ),
    (
        "registry/login",
        "preflight",
        "what_is_wrong_with_a_registry_is_told_apart_and_a_right_one_passes_with_nothing_left_in_it",
    ),
    ("registry/push", "preflight", "a_registry_that_lets_nobody_push_is_found_by_beginning_an_upload"),
    (
        "registry/immutable",
        "preflight",
        "a_tag_in_the_way_of_a_registry_that_moves_none_is_found_before_anything_is_sent",
    ),
    (
        "docker/reachable",
        "docker_target",
        "an_engine_that_does_not_answer_or_cannot_take_an_image_stops_before_anything_changes",
    ),
    (
        "docker/image",
        "docker_target",
        "an_engine_that_does_not_answer_or_cannot_take_an_image_stops_before_anything_changes",
    ),
    (
        "docker/foreign-tag",
        "docker_target",
        "a_name_of_somebody_elses_image_is_moved_only_where_the_site_says_so_and_given_back",
    ),
    (
        "docker/space",
        "docker_target",
        "an_engine_without_room_for_the_images_is_found_before_anything_is_loaded",
    ),
    (
        "containerd/reachable",
        "containerd_target",
        "a_containerd_that_does_not_answer_or_an_image_for_another_machine_stops_before_anything_changes",
    ),
    (
        "containerd/image",
        "containerd_target",
        "a_containerd_that_does_not_answer_or_an_image_for_another_machine_stops_before_anything_changes",
    ),
    (
        "containerd/foreign-tag",
        "containerd_target",
        "a_name_of_somebody_elses_image_is_moved_only_where_the_site_says_so_and_its_image_is_kept",
    ),
    (
        "containerd/mirror",
        "containerd_target",
        "a_node_finds_images_in_the_sites_registry_under_their_own_names",
    ),
    (
        "containerd/registries",
        "containerd_target",
        "k3s_is_told_of_the_sites_registry_beside_what_others_have_told_it",
    ),
    (
        "python/interpreter",
        "preflight",
        "an_interpreter_that_is_missing_or_of_another_version_or_abi_is_found_without_an_environment",
    ),
    (
        "python/target",
        "preflight",
        "an_interpreter_that_is_missing_or_of_another_version_or_abi_is_found_without_an_environment",
    ),
    (
        "python/abi",
        "preflight",
        "an_interpreter_that_is_missing_or_of_another_version_or_abi_is_found_without_an_environment",
    ),
    ("python/resolve", "preflight", "a_wheelhouse_that_lacks_what_a_wheel_needs_is_found_by_pip_itself"),
    ("scripts/allowed", "scripts", "a_site_that_does_not_allow_scripts_refuses_the_bundle_and_runs_nothing"),
    (
        "scripts/place",
        "scripts",
        "a_site_on_a_disk_from_which_nothing_is_run_is_found_before_anything_changes",
    ),
    ("scripts/interpreter", "scripts", "an_interpreter_that_is_not_there_is_found_before_anything_changes"),
    ("health/allowed", "health", "a_check_that_could_not_be_made_here_is_found_before_anything_changes"),
    ("health/cluster", "health", "a_check_that_could_not_be_made_here_is_found_before_anything_changes"),
    ("helm/version", "helm", "each_check_of_helm_fails_alone"),
    ("helm/reachable", "helm", "each_check_of_helm_fails_alone"),
    ("helm/pending", "helm", "each_check_of_helm_fails_alone"),
    ("helm/release", "helm", "each_check_of_helm_fails_alone"),
    ("helm/render", "helm", "each_check_of_helm_fails_alone"),
    ("helm/images", "helm", "each_check_of_helm_fails_alone"),
    (
        "cluster/reachable",
        "cluster_checks",
        "a_cluster_that_does_not_answer_a_foreign_certificate_and_a_login_that_does_not_count_are_told_apart",
    ),
    ("cluster/version", "cluster_checks", "what_the_bundle_requires_of_a_cluster_is_looked_for_there"),
    ("cluster/apis", "cluster_checks", "a_kind_that_the_cluster_does_not_serve_is_found"),
    ("cluster/rbac", "cluster_checks", "what_we_may_not_do_is_found_for_each_kind_and_verb"),
    ("cluster/namespace", "cluster_checks", "a_namespace_that_nobody_makes_is_found"),
    ("cluster/namespace-health", "cluster_checks", "a_pod_that_crashes_in_the_namespace_is_found"),
    ("cluster/quota", "cluster_checks", "a_quota_that_is_too_small_is_found"),
    ("cluster/capacity", "cluster_checks", "pods_that_fit_on_no_node_are_found"),
    ("cluster/secrets", "cluster_checks", "a_secret_that_is_not_there_is_found_and_one_without_the_key"),
    ("cluster/storage-class", "cluster_checks", "a_storage_class_that_is_not_there_is_found"),
    ("cluster/objects", "cluster_checks", "an_object_that_the_api_server_refuses_is_found"),
    (
        "cluster/conflict",
        "kubernetes_target",
        "a_field_of_somebody_else_fails_the_checks_by_name_and_is_taken_only_with_force",
    ),
    ("cluster/owner", "kubernetes_target", "an_object_of_another_product_is_left_to_it"),
    (
        "rollback/material",
        "preflight",
        "what_a_way_back_needs_is_looked_at_before_an_upgrade_and_before_a_rollback",
    ),
];

#[test]
fn every_check_that_can_fail_has_a_test_in_which_it_fails_alone() {
    let journeys = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("journeys");
    for (id, file, test) in ALONE {
        let text = std::fs::read_to_string(journeys.join(format!("{file}.rs"))).unwrap();
        let Some((_, rest)) = text.split_once(&format!("fn {test}()")) else { panic!("{file}: no {test}") };
        let body = rest.split("\n}\n").next().unwrap();
        let compares = ["fails_alone(", "only(", "only_fails(", "ids(&", "failed", "failing"];
        assert!(
            body.contains(&format!("\"{id}\"")) && compares.iter().any(|how| body.contains(how)),
            "{test} does not say that only {id} fails"
        );
    }
    let can_fail = CHECKS.iter().filter(|check| !matches!(check.rule, Rule::Open("it never stops anything")));
    let wanted: Vec<&str> = can_fail.map(|check| check.id).collect();
    let listed: Vec<&str> = ALONE.iter().map(|(id, ..)| *id).collect();
    let missing: Vec<&&str> = wanted.iter().filter(|id| !listed.contains(id)).collect();
    assert!(missing.is_empty(), "these checks fail alone nowhere: {missing:?}");
}
