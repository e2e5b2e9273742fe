//! `installer diagnose`: one file about a site, that a security officer can release line by line. It works where the
//! site is broken, says what could not be looked at, and no value of the site goes in.

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

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use e2e::World;
use edge::Exit;
use ingredients::{layer, write_layout};
use onsite::{audit_holds, output, site_tree, site_yaml, tree};
use testkit::real_part;
use versions::{apply, bundle, site};

/// The files of an archive, as the real tar takes them out.
fn unpacked(world: &World, archive: &str) -> BTreeMap<String, String> {
    let _ = real_part("tar").expect("tar is on every machine");
    let place = world.path(&format!("{archive}.d"));
    std::fs::create_dir_all(&place).unwrap();
    output(Command::new("tar").arg("-xf").arg(world.path(archive)).arg("-C").arg(&place));
    let listed = output(Command::new("tar").arg("-tf").arg(world.path(archive)));
    assert_eq!(listed.lines().next(), Some("CONTENTS.txt"), "{listed}");
    let read = |name: &str| (name.to_string(), std::fs::read_to_string(place.join(name)).unwrap());
    listed.lines().map(read).collect()
}

fn diagnosed(world: &World, more: &[&str]) -> BTreeMap<String, String> {
    let _ = std::fs::remove_file(world.path("d.tar"));
    let _ = std::fs::remove_dir_all(world.path("d.tar.d"));
    world.installer(&[&["diagnose", "--out", "d.tar"], more].concat()).ok();
    unpacked(world, "d.tar")
}

fn applied_once() -> World {
    let world = site(&[]);
    bundle(&world, "demo", 1, &[("a", "a"), ("b", "b")], "");
    apply(&world, "demo", 1).ok();
    world
}

#[test]
fn the_first_file_names_every_other_with_its_size_and_digest() {
    let world = applied_once();
    let files = diagnosed(&world, &[]);
    let contents = &files["CONTENTS.txt"];
    for (name, text) in files.iter().filter(|(name, _)| *name != "CONTENTS.txt") {
        let digest = manifests::Digest::of(text.as_bytes()).hex();
        let (_, entry) =
            contents.split_once(&format!(". {name}\n")).unwrap_or_else(|| panic!("{name}: {contents}"));
        let entry = entry.split("\n\n").next().unwrap();
        assert!(entry.contains(&digest) && entry.contains(&format!("{} bytes", text.len())), "{entry}");
        assert!(entry.contains("goes in") && entry.contains("replaced"), "{entry}");
    }
    let long: Vec<&str> = contents.lines().filter(|line| line.chars().count() > 80).collect();
    assert_eq!(long, [""; 0]);
    assert_eq!(
        files.keys().map(String::as_str).collect::<Vec<_>>(),
        [
            "CONTENTS.txt",
            "audit-log.jsonl",
            "configuration.txt",
            "findings.txt",
            "journals/000001.txt",
            "resources.txt",
            "status.txt",
            "targets.txt",
            "versions.txt"
        ]
    );
    let mode = std::fs::metadata(world.path("d.tar")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn it_says_what_runs_whether_it_is_there_and_what_was_done() {
    let world = applied_once();
    world.write("root/etc/app/a", "edited");
    let files = diagnosed(&world, &[]);
    assert!(files["status.txt"].contains("acme demo") && files["status.txt"].contains("runs here"));
    assert!(files["versions.txt"].contains(&format!("installer    {}", env!("CARGO_PKG_VERSION"))));
    let targets = &files["targets.txt"];
    assert_eq!(targets.matches("NOT IN PLACE").count(), 1, "{targets}");
    assert!(targets.contains("files: add <path#"), "{targets}");
    let journal = &files["journals/000001.txt"];
    assert!(
        journal.contains("apply of acme demo 1.0") && journal.contains("everything was done"),
        "{journal}"
    );
    assert!(files["findings.txt"].contains("pass  site/log"), "{}", files["findings.txt"]);
    assert!(files["resources.txt"].contains("MemAvailable"));
    let log = &files["audit-log.jsonl"];
    let entries: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        entries.iter().any(|entry| entry["event"] == "apply.step" && entry["outcome"] == "done"),
        "{log}"
    );
    // It is an event of its own, with the digest of what was made.
    audit_holds(&world);
    let digest = manifests::Digest::of(&std::fs::read(world.path("d.tar")).unwrap()).to_string();
    let log = world.installer(&["--output", "json", "audit", "show"]).ok().json();
    let last = log["entries"].as_array().unwrap().iter().rfind(|entry| entry["event"] == "diagnose").unwrap();
    assert_eq!(last["about"]["digest"], digest);
}

#[test]
fn no_path_host_user_or_name_of_the_site_goes_in() {
    let world = site(&[]);
    let config = "registry: {url: \"http://127.0.0.1:1\", prefix: canary-prefix, ca: canary-ca.pem}";
    site_yaml(&world, &[config.to_string(), format!("files: {{root: {}}}", world.path("root").display())]);
    bundle(&world, "demo", 1, &[("a", "a")], "");
    let _ = apply(&world, "demo", 1);
    world.write("canary-ca.pem", "");
    let files = diagnosed(&world, &["--exclude", "resources"]);
    let place = world.dir().display().to_string();
    for (name, text) in &files {
        for secret in [place.as_str(), "canary", "127.0.0.1", "testhost", "tester", "lab", "bank"] {
            let found = text.split(|c: char| !c.is_alphanumeric()).any(|word| word == secret);
            assert!(!found && (secret.len() < 6 || !text.contains(secret)), "{secret} in {name}: {text}");
        }
    }
    let shown = &files["configuration.txt"];
    assert!(shown.contains("targets.registry.url: <url#"), "{shown}");
    assert!(shown.contains("kind: Site\n"), "{shown}");
}

#[test]
fn of_site_yaml_only_fixed_words_numbers_and_yes_or_no_go_in() {
    let world = site(&[]);
    let text = "apiVersion: airlock/v1\nkind: Site\nsite: canary1\ngroups: [canary2]\nkeep: 3\ntargets:\n  registry: {url: \"https://canary3:canary4@canary5.example\", auth: docker-config, immutable: true}\n  helm: {kubeconfig: canary6, images: rewrite, timeout: 10m, pull: canary7}\nwindows: [{allow: \"Sun 02:00-06:00\", timezone: Europe/Berlin}]\ncanary8: canary9\n";
    world.write("site/site.yaml", text);
    let shown = &diagnosed(&world, &["--only", "configuration"])["configuration.txt"];
    assert!(!shown.contains("canary") && !shown.contains("Berlin"), "{shown}");
    for line in [
        "keep: 3",
        "targets.registry.auth: docker-config",
        "targets.registry.immutable: true",
        "targets.helm.images: rewrite",
        "targets.helm.timeout: 10m",
        "windows[0].allow: Sun 02:00-06:00",
    ] {
        assert!(shown.contains(&format!("{line}\n")), "{line}: {shown}");
    }
}

#[test]
fn a_file_that_is_there_is_never_overwritten_and_one_that_cannot_be_written_leaves_nothing() {
    let world = applied_once();
    world.write("there", "mine");
    let refused = world.installer(&["diagnose", "--out", "there"]).expect_exit(Exit::Unreachable);
    assert!(refused.stderr.contains("never overwritten"), "{}", refused.stderr);
    assert_eq!(std::fs::read_to_string(world.path("there")).unwrap(), "mine");
    let before = tree(&world, "", &["site"]);
    let _ = world.installer(&["diagnose", "--out", "no/such/directory"]).expect_exit(Exit::Unreachable);
    assert_eq!(tree(&world, "", &["site"]), before);
    let _ = world.installer(&["diagnose"]).expect_exit(Exit::Usage);
}

#[test]
fn a_list_writes_nothing_at_all() {
    let world = applied_once();
    let before = tree(&world, "", &[]);
    let shown = world.installer(&["diagnose", "--list"]).ok().stdout;
    assert!(shown.contains("journals/000001.txt") && shown.contains("nothing was written"), "{shown}");
    assert_eq!(tree(&world, "", &[]), before);
}

#[test]
fn what_is_named_is_left_out_or_taken_alone_and_what_is_not_there_is_an_error() {
    let world = applied_once();
    let names = |more: &[&str]| diagnosed(&world, more).into_keys().collect::<Vec<_>>();
    assert_eq!(
        names(&["--only", "status", "--only", "journals/000001.txt"]),
        ["CONTENTS.txt", "journals/000001.txt", "status.txt"]
    );
    let without = names(&["--exclude", "audit-log", "--exclude", "journals/000001.txt"]);
    assert!(
        !without.iter().any(|name| name.starts_with("journals") || name.starts_with("audit")),
        "{without:?}"
    );
    let said = std::fs::read_to_string(world.path("d.tar.d/CONTENTS.txt")).unwrap();
    assert!(said.contains("- audit-log\n") && said.contains("- journals/000001.txt\n"), "{said}");
    for id in ["nonsense", "journals/000009.txt"] {
        let ran = world.installer(&["diagnose", "--list", "--exclude", id]).expect_exit(Exit::Usage);
        assert!(ran.stderr.contains(id) && ran.stderr.contains("--list"), "{}", ran.stderr);
    }
}

#[test]
fn the_same_site_gives_the_same_bytes() {
    let world = applied_once();
    let read = || {
        // Memory and the log change with each run.
        diagnosed(&world, &["--exclude", "resources", "--exclude", "audit-log"]);
        std::fs::read(world.path("d.tar")).unwrap()
    };
    assert_eq!(read(), read());
}

// ---- a site that is broken ----------------------------------------------------------------------------

#[test]
fn a_site_without_trust_is_told_of_as_well() {
    let world = World::new();
    let files = diagnosed(&world, &[]);
    assert!(files["findings.txt"].contains("FAIL  site/trust"), "{}", files["findings.txt"]);
    assert!(files["CONTENTS.txt"].contains("the trust root:"), "{}", files["CONTENTS.txt"]);
    // Not even a directory is made.
    assert!(!world.path("site").exists());
}

#[test]
fn a_log_that_was_changed_is_told_of_and_left_as_it_is() {
    let world = applied_once();
    let path = world.path("site/audit/audit.jsonl");
    let log = std::fs::read_to_string(&path).unwrap().replacen("tester", "nobody", 1);
    std::fs::write(&path, &log).unwrap();
    let before = site_tree(&world);
    let files = diagnosed(&world, &[]);
    assert!(files["findings.txt"].contains("FAIL  site/log"), "{}", files["findings.txt"]);
    assert!(files["status.txt"].contains("acme demo"), "{}", files["status.txt"]);
    assert_eq!(files["audit-log.jsonl"].lines().count(), log.lines().count());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), log);
    assert_eq!(site_tree(&world), before);
}

#[test]
fn a_journal_that_was_cut_off_in_a_line_and_files_that_are_none_are_told_of() {
    let world = applied_once();
    let mut journals =
        std::fs::read_dir(world.path("site/journal")).unwrap().map(|entry| entry.unwrap().path());
    let journal = journals.find(|path| path.extension().is_some_and(|end| end == "jsonl")).unwrap();
    let mut text = std::fs::read_to_string(&journal).unwrap().replace("\"committed\"\n", "");
    text.push_str("{\"begi");
    std::fs::write(&journal, text).unwrap();
    std::fs::write(world.path("site/ledger/acme.demo.json"), "canary").unwrap();
    std::fs::write(world.path("site/site.yaml"), "canary: [").unwrap();
    std::fs::write(world.path("site/audit/audit.jsonl"), "canary\n").unwrap();
    let files = diagnosed(&world, &[]);
    let journal = &files["journals/000001.txt"];
    assert!(journal.contains("CUT OFF") && journal.contains("cut off after 6 bytes"), "{journal}");
    assert!(files["findings.txt"].contains("FAIL  site/configuration"), "{}", files["findings.txt"]);
    assert!(files["audit-log.jsonl"].contains("unreadable"), "{}", files["audit-log.jsonl"]);
    assert!(files["CONTENTS.txt"].contains("the ledgers:"), "{}", files["CONTENTS.txt"]);
    for (name, text) in &files {
        assert!(!text.contains("canary"), "{name}: {text}");
    }
}

#[test]
fn targets_that_do_not_answer_are_written_down_and_fail_nothing() {
    let world = site(&[
        "registry: {url: \"http://127.0.0.1:1\"}",
        "docker: {host: unix:///no/such/socket}",
        "containerd: {address: /no/such/socket}",
        "kubernetes: {kubeconfig: /no/such/file, kubectl: /no/such/kubectl}",
        "python: {interpreter: /no/such/python, venvs: /no/such/venvs}",
    ]);
    let files = diagnosed(&world, &[]);
    let findings = &files["findings.txt"];
    for id in [
        "registry/reachable",
        "docker/reachable",
        "containerd/reachable",
        "cluster/reachable",
        "python/interpreter",
    ] {
        assert!(findings.contains(&format!("FAIL  {id}")), "{id}: {findings}");
    }
    assert!(files["CONTENTS.txt"].contains("events of the cluster:"), "{}", files["CONTENTS.txt"]);
    assert!(!findings.contains("/no/such"), "{findings}");
}

// ---- a cluster ----------------------------------------------------------------------------------------

/// A program that answers as `kubectl get --raw` does, and writes down what it was asked.
fn kubectl(world: &World) -> String {
    let dir = world.dir().display();
    let script = format!(
        "#!/bin/sh\nfor last; do :; done\necho \"$last\" >>{dir}/asked\ncase \"$last\" in\n\
         */version) echo '{{\"gitVersion\":\"v1.31.2\"}}';;\n\
         */shop/events*) cat {dir}/events.json;;\n*/shop/pods?limit*) cat {dir}/pods.json;;\n\
         */log*) echo 'error: connection refused by canary-host, password=canary-password';;\n\
         *) echo 'Error from server (NotFound): not found' >&2; exit 1;;\nesac\n"
    );
    let path = world.write("kubectl", script);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path.display().to_string()
}

/// A site on which a set of manifests for the namespace `shop` was published, and a cluster was added after that.
fn with_cluster() -> World {
    let world = site(&[]);
    world.write("k8s/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\n");
    bundle(&world, "demo", 1, &[("a", "a")], "manifests: [{source: k8s, namespace: shop}]\n");
    apply(&world, "demo", 1).ok();
    let program = kubectl(&world);
    site_yaml(&world, &[format!("kubernetes: {{kubeconfig: kubeconfig, kubectl: {program}}}")]);
    world.write(
        "events.json",
        r#"{"items": [{"type": "Warning", "reason": "BackOff", "count": 3, "lastTimestamp": "2026-11-20T12:00:00Z",
        "involvedObject": {"kind": "Pod", "name": "canary-pod-6d4cf56db6-x7k2p"},
        "message": "Back-off restarting failed container canary-container in pod canary-pod"}]}"#,
    );
    world.write(
        "pods.json",
        r#"{"items": [{"metadata": {"name": "canary-pod"}, "spec": {"containers": [{"env": [{"name": "A", "value": "canary-env"}]}]},
        "status": {"phase": "Running", "containerStatuses": [{"name": "main", "image": "canary/image:1", "ready": false,
        "restartCount": 0, "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off canary"}}}]}}]}"#,
    );
    world
}

#[test]
fn events_and_pods_of_the_bundles_namespaces_go_in_word_by_word() {
    let world = with_cluster();
    let files = diagnosed(&world, &[]);
    let events = &files["kubernetes/01/events.txt"];
    assert!(events.starts_with("namespace shop\n"), "{events}");
    assert!(events.contains("2026-11-20T12:00:00Z 3x Warning BackOff Pod <text#"), "{events}");
    assert!(events.contains("Back-off restarting failed container <text#"), "{events}");
    let pods = &files["kubernetes/01/pods.txt"];
    assert!(pods.contains("ready false restarts 0") && pods.contains("CrashLoopBackOff"), "{pods}");
    for (name, text) in &files {
        assert!(!text.contains("canary"), "{name}: {text}");
    }
    let asked = std::fs::read_to_string(world.path("asked")).unwrap();
    assert!(!asked.contains("/log"), "{asked}");
    assert!(files["CONTENTS.txt"].contains("pod-logs (they go in with --pod-logs only)"));
}

#[test]
fn logs_of_pods_go_in_only_if_they_are_asked_for_and_word_by_word() {
    let world = with_cluster();
    let files = diagnosed(&world, &["--pod-logs"]);
    let log = &files["kubernetes/01/logs/001.txt"];
    assert!(log.contains("error: connection refused by <text#"), "{log}");
    assert!(!log.contains("canary"), "{log}");
    assert!(files["CONTENTS.txt"].contains("READ IT WHOLE"), "{}", files["CONTENTS.txt"]);
}

#[test]
fn a_real_cluster_tells_of_its_events_and_pods() {
    let Some(cluster) = testkit::Cluster::shared() else { return };
    let namespace = cluster.namespace("diagnosed");
    let other = cluster.namespace("elsewhere");
    let world = site(&[&format!("kubernetes: {{kubeconfig: {}}}", cluster.kubeconfig().display())]);
    let image = "registry.example.com/web:1";
    write_layout(&world, "images", &[("web", &ingredients::image("amd64", &[layer(1, 500)]))]);
    world.write(
        "k8s/a.yaml",
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: front}}\nspec: {{containers: [{{name: main, image: '{image}'}}]}}\n"
        ),
    );
    let rest = format!(
        "images: [{{source: 'oci:images:web', name: '{image}'}}]\nmanifests: [{{source: k8s, namespace: {namespace}}}]\n"
    );
    bundle(&world, "demo", 1, &[], &rest);
    apply(&world, "demo", 1).ok();
    cluster.kubectl(&["run", "stranger", "--image=x", "--namespace", &other]);
    let files = diagnosed(&world, &[]);
    assert!(files["findings.txt"].contains("pass  cluster/reachable"), "{}", files["findings.txt"]);
    let pods = &files["kubernetes/01/pods.txt"];
    assert!(pods.starts_with(&format!("namespace {namespace}\npod front Running")), "{pods}");
    let events = &files["kubernetes/01/events.txt"];
    assert!(events.contains("Normal Scheduled Pod front: Successfully assigned"), "{events}");
    assert!(files.values().all(|text| !text.contains("stranger")));
    assert!(files["targets.txt"].contains("in place     kubernetes: "), "{}", files["targets.txt"]);
}
