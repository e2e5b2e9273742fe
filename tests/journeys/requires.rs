//! What a bundle requires of a site's machine: each requirement has a site on which only it is not met, and nothing
//! changes there; a person who knows better goes on, and the log says so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

mod onsite;

use std::net::TcpListener;

use e2e::World;
use edge::Exit;
use onsite::{audit_holds, build, says, site_tree, site_yaml};
use serde_json::Value;

/// A site that takes files, and a bundle with one.
fn bundled(requires: &str) -> World {
    let world = World::new();
    world.trust();
    std::fs::create_dir(world.path("root")).unwrap();
    site_yaml(&world, &[format!("files: {{root: {}}}", world.path("root").display())]);
    version(&world, 1, requires);
    world
}

fn version(world: &World, number: u64, requires: &str) {
    world.write("config/version", number.to_string());
    let rest = format!("files: [{{source: config, dest: /etc/demo}}]\nrequires: {{{requires}}}\n");
    build(world, &format!("{number}.0"), number, &rest, &format!("{number}.tar"));
}

/// Facts of findings with this verdict about requirements, by id.
fn findings(world: &World, bundle: &str, verdict: &str) -> Vec<(String, String)> {
    let before = (site_tree(world), world.snapshot("root"));
    let report = world.installer(&["--output", "json", "preflight", bundle]).json();
    assert_eq!(before, (site_tree(world), world.snapshot("root")), "a look has changed something");
    let all = report["findings"].as_array().unwrap().iter();
    let of = all.filter(|finding| finding["verdict"] == verdict);
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_string();
    let found = of.map(|finding| (text(finding, "id"), text(finding, "fact")));
    found.filter(|(id, _)| verdict == "fail" || id.starts_with("requires/")).collect()
}

#[test]
fn each_requirement_that_is_not_met_is_found_alone_and_before_anything_is_copied() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap();
    for (requires, id, words) in [
        ("disk: 9000TiB".to_string(), "requires/disk", "free"),
        ("memory: 9000TiB".to_string(), "requires/memory", "MemAvailable"),
        (format!("ports: [{}]", port.port()), "requires/ports", "somebody listens on 127.0.0.1:"),
        (format!("ports: ['{port}']"), "requires/ports", "somebody listens on 127.0.0.1:"),
        ("commands: [sh, no-such-program]".to_string(), "requires/commands", "no-such-program not found"),
        ("helm: '>=3'".to_string(), "requires/helm", "helm >=3 is required"),
    ] {
        let world = bundled(&requires);
        let failed = findings(&world, "1.tar", "fail");
        assert!(
            failed.len() == 1 && failed[0].0 == id && failed[0].1.contains(words),
            "{requires}: {failed:?}"
        );
        let before = (world.snapshot("root"), world.snapshot("site/store/blobs"));
        says(&world.installer(&["apply", "1.tar", "--yes"]).expect_exit(Exit::NotReady), &[id, words]);
        assert_eq!(before.0, world.snapshot("root"), "{requires}");
        let early = ["requires/disk", "requires/memory", "requires/commands"].contains(&id);
        assert_eq!(
            early,
            before.1 == world.snapshot("site/store/blobs"),
            "{requires}: what the lists tell is told at once"
        );
        // It is the sender's word about somebody else's house.
        world.installer(&["apply", "1.tar", "--yes", "--override", id, "--reason", "we know better"]).ok();
        audit_holds(&world);
    }
}

#[test]
fn what_is_met_passes_and_says_what_was_found() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let world = bundled(&format!("disk: 1MiB, memory: 1MiB, ports: [{free}], commands: [sh]"));
    let passed = findings(&world, "1.tar", "pass");
    let ids: Vec<&str> = passed.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["requires/disk", "requires/memory", "requires/commands", "requires/ports"]);
    assert!(passed[3].1.contains(&format!("nobody listens on {free}")), "{passed:?}");
    world.installer(&["apply", "1.tar", "--yes"]).ok();
}

#[test]
fn a_port_that_the_version_in_place_holds_is_no_reason_to_stop_its_successor() {
    let probe = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = probe.local_addr().unwrap().port();
    drop(probe);
    let world = bundled(&format!("ports: [{port}]"));
    world.installer(&["apply", "1.tar", "--yes"]).ok();
    let _service = TcpListener::bind(("127.0.0.1", port)).unwrap();
    version(&world, 2, &format!("ports: [{port}]"));
    let passed = findings(&world, "2.tar", "pass");
    assert!(passed[0].1.contains("which version 1.0 in place requires too"), "{passed:?}");
    world.installer(&["apply", "2.tar", "--yes"]).ok();
    // Whoever holds it while nothing of ours requires it is somebody else.
    version(&world, 3, "");
    world.installer(&["apply", "3.tar", "--yes"]).ok();
    version(&world, 4, &format!("ports: [{port}]"));
    assert_eq!(findings(&world, "4.tar", "fail").len(), 1);
}

#[test]
fn what_is_required_and_checked_is_shown_on_both_sides_and_compared() {
    let world = bundled("disk: 1MiB, kubernetes: '>=1.28', secrets: [a/b]");
    let rest = "files: [{source: config, dest: /etc/demo}]\nrequires: {disk: 2MiB, kubernetes: '>=1.28', ports: [8080]}\nhealth: [{tcp: '127.0.0.1:8080', within: 5s, name: front}, {command: [psql]}]\n";
    build(&world, "2.0", 2, rest, "2.tar");
    let shown = world.bundler(&["inspect", "2.tar"]).ok().stdout;
    for line in [
        "requires   disk 2MiB\n",
        "           kubernetes >=1.28\n",
        "           ports 8080\n",
        "health     front: tcp 127.0.0.1:8080 within 5s\n",
        "           command psql within 60s\n",
    ] {
        assert!(shown.contains(line.trim_start()), "{line}: {shown}");
    }
    let here = world.installer(&["inspect", "2.tar"]).ok().stdout;
    assert!(
        here.contains("requires  disk 2MiB\n") && here.contains("health  command psql within 60s\n"),
        "{here}"
    );
    let diff = world.bundler(&["--output", "json", "diff", "1.tar", "2.tar"]).ok().json();
    let names = |key: &str| -> Vec<String> {
        diff[key]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["name"].as_str().unwrap().to_string())
            .collect()
    };
    assert_eq!(names("requires"), ["disk", "ports 8080", "secrets a/b"]);
    assert_eq!(names("health"), ["command psql", "front"]);
    assert_eq!(diff["requires"][0]["from"], "1MiB");
    assert_eq!(diff["requires"][0]["to"], "2MiB");
    let words = world.bundler(&["diff", "1.tar", "2.tar"]).ok().stdout;
    assert!(words.contains("requires\n") && words.contains("1MiB -> 2MiB"), "{words}");
}
