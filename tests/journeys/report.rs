//! The auditor's report: what stands in it, that its commands are true when real tools run them, that nothing of it
//! is green where something is wrong, and that no text of a bundle changes the page.

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

use std::path::Path;
use std::process::Command;

use e2e::{Ran, World};
use edge::Exit;
use ingredients::{image, layer, write_layout};
use onsite::{build, says, site_yaml};
use serde_json::Value;
use testkit::{Chromium, Look, real_part};

/// A site with a root for files to which `demo` was applied: an image, wheels and files.
fn site() -> World {
    let world = versions::site(&[]);
    contents(&world);
    build(&world, "1.0", 1, REST, "1.tar");
    world.installer(&["apply", "1.tar", "--yes"]).ok();
    world
}

const REST: &str = "images: [{source: \"oci:image:v1\", name: \"registry.example.com/team/app:v1\"}]\nfiles: [{source: config, dest: /etc/app}]\n";

fn contents(world: &World) {
    write_layout(world, "image", &[("v1", &image("amd64", &[layer(1, 300)]))]);
    world.write("config/app.conf", "level = 1\n");
}

fn run(world: &World, line: &str) -> Ran {
    world.installer(&line.split(' ').collect::<Vec<_>>())
}

fn json(world: &World, path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(world.path(path)).unwrap()).unwrap()
}

fn text(world: &World, path: &str) -> String {
    std::fs::read_to_string(world.path(path)).unwrap()
}

/// The findings with this verdict, as `id: fact`.
fn findings(report: &Value, verdict: &str) -> Vec<String> {
    let all = report["findings"].as_array().unwrap().iter();
    let wanted = all.filter(|finding| finding["verdict"] == verdict);
    wanted.map(|f| format!("{}: {}", f["id"].as_str().unwrap(), f["fact"].as_str().unwrap())).collect()
}

fn last_entry(world: &World) -> Value {
    let shown = world.installer(&["--output", "json", "audit", "show", "--last", "1"]).ok().json();
    shown["entries"][0].clone()
}

/// Runs a script with nothing of ours on the path, in an empty directory.
fn shell(world: &World, script: &str, vars: &[(&str, &Path)]) -> Result<String, String> {
    let desk = world.path("desk");
    let _ = std::fs::remove_dir_all(&desk);
    std::fs::create_dir(&desk).unwrap();
    let mut command = Command::new("sh");
    command.args(["-eu", "-c", script]).current_dir(&desk).env("LC_ALL", "C");
    vars.iter().for_each(|(name, value)| {
        command.env(name, value);
    });
    let ran = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    if ran.status.success() { Ok(said) } else { Err(said) }
}

// ---- what stands in it ------------------------------------------------------------------------------------

#[test]
fn says_of_each_artifact_what_it_is_who_signed_it_and_what_was_read_back_where() {
    let world = site();
    let said = run(&world, "report --out report.json").ok();
    assert!(said.stdout.contains("verdict  in order"), "{}", said.stdout);
    let report = json(&world, "report.json");
    assert_eq!(
        (report["schema"].as_str(), report["about"].as_str()),
        (Some("airlock-report/v1"), Some("site"))
    );
    assert_eq!(report["markings"], serde_json::json!(["UNCLASSIFIED"]));
    assert_eq!(findings(&report, "fail"), [""; 0]);
    let bundle = &report["bundles"][0];
    assert_eq!((bundle["product"].as_str(), bundle["version"].as_str()), (Some("demo"), Some("1.0")));
    let threshold = &bundle["thresholds"][0];
    assert_eq!((threshold["needed"].as_u64(), threshold["reached"].as_u64()), (Some(1), Some(1)));
    let signature = &bundle["signatures"][0];
    assert_eq!(
        (signature["holder"].as_str(), signature["scheme"].as_str(), signature["verdict"].as_str()),
        (Some("rel"), Some("ed25519"), Some("good"))
    );
    let artifacts = bundle["artifacts"].as_array().unwrap();
    let files = artifacts.iter().find(|artifact| artifact["kind"] == "files").unwrap();
    let file = &files["files"][0];
    assert_eq!(file["digest"], manifests::Digest::of(b"level = 1\n").to_string());
    assert_eq!(files["placed"][0]["digest_read_back"], file["digest"]);
    assert!(files["placed"][0]["place"].as_str().unwrap().contains("etc/app/app.conf"));
    assert!(files["placed"][0]["time"].is_string());
    let steps = bundle["changes"]["steps"].as_array().unwrap();
    assert!(steps.iter().all(|step| step["outcome"] == "done"), "{steps:?}");
    assert_eq!(steps[0]["before"], "nothing");
    let gaps = report["not_checked"].to_string();
    for words in [
        "an upstream signature",
        "registry.example.com/team/app:v1",
        "malware",
        "no time authority",
        "not since it was applied",
    ] {
        assert!(gaps.contains(words), "{words}: {gaps}");
    }
    // The image went to no target, and that is said as well.
    assert!(gaps.contains("no journal says that they were put on a target"), "{gaps}");
    assert!(
        bundle["preflight"]
            .as_array()
            .unwrap()
            .iter()
            .any(|run| run["for"] == "apply" && run["ready"] == true)
    );
    assert_eq!(report["clock"]["time_authority_asked"], false);
}

#[test]
fn the_log_names_the_digest_of_what_was_written_and_nothing_else_changes() {
    let world = site();
    let before = (onsite::site_tree(&world), versions::root(&world));
    run(&world, "report --out report.html --evidence evidence").ok();
    assert_eq!((onsite::site_tree(&world), versions::root(&world)), before);
    let about = &last_entry(&world)["about"];
    assert_eq!(
        about["digest"],
        manifests::Digest::of(&std::fs::read(world.path("report.html")).unwrap()).hex()
    );
    assert_eq!(
        about["evidence_digest"],
        manifests::Digest::of(&std::fs::read(world.path("evidence/SHA256SUMS")).unwrap()).hex()
    );
    assert_eq!(about["verdict"], "pass");
    // One that is written afterwards says that a run of `drift` has asked the targets.
    run(&world, "drift").ok();
    run(&world, "report --out later.json").ok();
    let gaps = json(&world, "later.json")["not_checked"].to_string();
    assert!(
        gaps.contains("not since the run of `installer drift` at 2026-11-20T12:00:00Z, which found nothing"),
        "{gaps}"
    );
}

#[test]
fn is_about_the_product_and_the_version_that_were_asked_for() {
    let world = site();
    world.write("config/app.conf", "level = 2\n");
    build(&world, "2.0", 2, REST, "2.tar");
    world.installer(&["apply", "2.tar", "--yes"]).ok();
    run(&world, "report --out now.json").ok();
    let now = json(&world, "now.json");
    assert_eq!(
        (now["bundles"][0]["version"].as_str(), now["history"].as_array().unwrap().len()),
        (Some("2.0"), 2)
    );
    let file = &now["bundles"][0]["changes"]["steps"][0];
    assert!(
        file["before"].as_str().unwrap().contains(&manifests::Digest::of(b"level = 1\n").to_string()),
        "{file}"
    );
    // What was in place already was put there by the version before.
    run(&world, "report --version 1.0 --out then.json").ok();
    let then = json(&world, "then.json");
    assert_eq!(then["bundles"][0]["applied"]["current"], false);
    assert_eq!(then["bundles"][0]["changes"]["after"], "1.0");
    says(
        &run(&world, "report --version 9 --out x.json").expect_exit(Exit::Refused),
        &["was never applied here"],
    );
    says(
        &run(&world, "report --product other --out x.json").expect_exit(Exit::Refused),
        &["does not run other"],
    );
    assert!(!world.path("x.json").exists());
}

#[test]
fn an_override_stands_there_with_its_reason_and_makes_the_verdict_one_with_remarks() {
    let world = World::new();
    world.trust();
    contents(&world);
    let yaml = "apiVersion: airlock/v1\nkind: Site\nsite: lab\nwindows: [{deny: daily, timezone: UTC}]\n";
    world.write("site/site.yaml", yaml);
    build(&world, "1.0", 1, REST, "1.tar");
    let reason = "the line stands still";
    world.installer(&["apply", "1.tar", "--yes", "--override", "window/open", "--reason", reason]).ok();
    run(&world, "report --out report.json").ok();
    let report = json(&world, "report.json");
    let line = &report["bundles"][0]["overrides"][0];
    assert_eq!((line["id"].as_str(), line["reason"].as_str()), (Some("window/open"), Some(reason)));
    assert_eq!(report["verdict"], "warn");
    run(&world, "report --out report.html").ok();
    let page = text(&world, "report.html");
    assert!(page.contains("IN ORDER, WITH REMARKS") && page.contains(reason), "{page}");
}

#[test]
fn a_medium_is_verified_whole_before_anything_is_said_of_it() {
    let world = site();
    world.write("config/app.conf", "level = 2\n");
    build(&world, "2.0", 2, REST, "2.tar");
    run(&world, "report 2.tar --out medium.json").ok();
    let report = json(&world, "medium.json");
    assert_eq!((report["about"].as_str(), report["bundles"][0]["applied"].is_null()), (Some("medium"), true));
    assert!(report["not_checked"].to_string().contains("this bundle was never applied here"));
    let mut bytes = std::fs::read(world.path("2.tar")).unwrap();
    let at = bytes.len() - 2000;
    bytes[at] ^= 1;
    world.write("bad.tar", bytes);
    let _ = run(&world, "report bad.tar --out bad.json --evidence bad").expect_exit(Exit::Damaged);
    assert!(!world.path("bad.json").exists() && !world.path("bad").exists());
    assert_eq!(last_entry(&world)["event"], "verify");
}

// ---- the commands -----------------------------------------------------------------------------------------

fn unescaped(text: &str) -> String {
    let pairs =
        [("&#x2f;", "/"), ("&#x27;", "'"), ("&quot;", "\""), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")];
    pairs.iter().fold(text.to_string(), |text, (from, to)| text.replace(from, to))
}

/// The commands as they stand on the page.
fn commands_of(page: &str) -> Vec<String> {
    let parts = page.split("<pre class=\"command\">").skip(1);
    parts.map(|part| unescaped(part.split("</pre>").next().unwrap())).collect()
}

#[test]
fn every_command_of_the_page_holds_when_real_tools_run_it_and_finds_what_was_changed() {
    if real_part("openssl").is_none() {
        return;
    }
    let world = site();
    run(&world, "report --out report.html").ok();
    run(&world, "report --out report.json").ok();
    let document = json(&world, "report.json");
    let page = commands_of(&text(&world, "report.html"));
    let listed = |report: &Value| -> Vec<String> {
        let checks = report["recheck"]["checks"].as_array().unwrap().iter();
        checks.map(|check| check["command"].as_str().unwrap().to_string()).collect()
    };
    assert_eq!(page.len(), listed(&document).len());
    shell(&world, &page.join("\n"), &[]).unwrap();
    let script = document["recheck"]["script"].as_str().unwrap();
    let said = shell(&world, script, &[]).unwrap();
    assert!(
        said.contains("Signature Verified Successfully") && said.ends_with("all of it holds\n"),
        "{said}"
    );
    for path in
        ["store/blobs/sha256", "trust/1.root.json", "audit/audit.jsonl", "store/bundles", "report.json"]
    {
        let place =
            if path == "report.json" { world.path(path) } else { first_file(&world.path("site").join(path)) };
        let honest = std::fs::read(&place).unwrap();
        let mut bent = honest.clone();
        bent[honest.len() / 2] ^= 1;
        std::fs::write(&place, bent).unwrap();
        let found = shell(&world, script, &[]).unwrap_err();
        assert!(found.contains("does not hold: "), "{path}: {found}");
        std::fs::write(&place, honest).unwrap();
    }
    shell(&world, script, &[]).unwrap();
}

/// A file below a path, or the file that it is.
fn first_file(path: &Path) -> std::path::PathBuf {
    let mut path = path.to_path_buf();
    while path.is_dir() {
        let mut names: Vec<_> =
            std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        path = names.swap_remove(0);
    }
    path
}

#[test]
fn the_commands_of_a_report_about_a_medium_check_that_medium() {
    if real_part("openssl").is_none() {
        return;
    }
    let world = site();
    run(&world, "report 1.tar --out medium.html").ok();
    shell(&world, &commands_of(&text(&world, "medium.html")).join("\n"), &[]).unwrap();
}

#[test]
fn the_evidence_is_whole_and_its_own_commands_hold_elsewhere() {
    if real_part("openssl").is_none() {
        return;
    }
    let world = site();
    for (command, name) in
        [("report --out a.json --evidence a", "a"), ("report 1.tar --out b.json --evidence b", "b")]
    {
        run(&world, command).ok();
        let readme = text(&world, &format!("{name}/README.md"));
        let block = readme.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
        let elsewhere = world.path(&format!("{name}-elsewhere"));
        let moved = format!("cp -r {} {}", world.path(name).display(), elsewhere.display());
        shell(&world, &moved, &[]).unwrap();
        std::fs::rename(world.path("site"), world.path("gone")).unwrap();
        let said = shell(&world, &format!("cd {}\n{block}", elsewhere.display()), &[]).unwrap();
        assert!(
            said.contains("all of it holds") && said.contains("not checked, as the site's store is not here"),
            "{said}"
        );
        std::fs::rename(world.path("gone"), world.path("site")).unwrap();
        for path in [
            "audit/audit.jsonl",
            "trust/1.root.json",
            "key/1.pub.pem",
            "report.json",
            "ledger/acme.demo.json",
        ] {
            assert!(elsewhere.join(path).is_file(), "{path}");
        }
        let tree = world.snapshot(name);
        assert!(!tree.keys().any(|path| path.to_string_lossy().contains(".key.pem")), "a private key");
        assert!(!tree.keys().any(|path| path.to_string_lossy().contains("blobs")), "a blob");
    }
    let journal = std::fs::read_dir(world.path("a/journal")).unwrap().count();
    assert_eq!(journal, 1);
    assert!(text(&world, "a/preflight.jsonl").contains("\"event\":\"preflight\""));
}

#[test]
fn nothing_is_overwritten_and_what_fails_leaves_nothing() {
    let world = site();
    world.write("there.html", "somebody's");
    world.write("there/file", "somebody's");
    for line in [
        "report --out there.html",
        "report --out new.html --evidence there",
        "report --out none/new.html --evidence new",
    ] {
        says(&run(&world, line).expect_exit(Exit::Unreachable), &["cannot write", "hint:"]);
    }
    assert_eq!(
        (text(&world, "there.html"), text(&world, "there/file")),
        ("somebody's".into(), "somebody's".into())
    );
    assert!(!world.path("new.html").exists() && !world.path("new").exists());
    let left = std::fs::read_dir(world.dir()).unwrap();
    assert!(
        left.map(|entry| entry.unwrap().file_name()).all(|name| !name.to_string_lossy().ends_with(".new"))
    );
    says(&run(&world, "report --out report.pdf").expect_exit(Exit::Usage), &["FILE.html"]);
}

// ---- nothing is green that is not ---------------------------------------------------------------------------

fn not_in_order(world: &World, exit: Exit, id: &str) {
    let _ = std::fs::remove_file(world.path("bad.json"));
    let _ = std::fs::remove_file(world.path("bad.html"));
    let ran = run(world, "report --out bad.html").expect_exit(exit);
    assert!(ran.stdout.contains("NOT IN ORDER"), "{}", ran.stdout);
    let page = text(world, "bad.html");
    assert!(page.contains("NOT IN ORDER") && !page.contains("✓ IN ORDER"), "{page}");
    let _ = run(world, "report --out bad.json").expect_exit(exit);
    let report = json(world, "bad.json");
    assert_eq!(report["verdict"], "fail");
    let failed = findings(&report, "fail");
    assert!(failed.iter().any(|finding| finding.starts_with(id)), "{id}: {failed:?}");
}

#[test]
fn a_log_that_was_changed_is_the_verdict_of_a_report_that_is_written_all_the_same() {
    let world = site();
    let path = "site/audit/audit.jsonl";
    let honest = text(&world, path);
    let line = honest.lines().nth(2).unwrap().to_string();
    world.write(path, honest.replace(&line, &line.replace("testhost", "otherhost")));
    not_in_order(&world, Exit::Refused, "audit/chain");
    assert_eq!(json(&world, "bad.json")["audit"]["intact"], false);
    let controls = json(&world, "bad.json")["controls"].clone();
    let au9 = controls.as_array().unwrap().iter().find(|control| control["id"] == "AU-9").unwrap();
    assert_eq!(au9["state"], "none");
    // A log that takes no line any more.
    let last = honest.lines().last().unwrap();
    world.write(path, honest.replace(last, "{}"));
    not_in_order(&world, Exit::Refused, "audit/chain");
    // A log that is behind what was signed of it.
    let lines: Vec<&str> = honest.split_inclusive('\n').collect();
    world.write(path, lines[..lines.len() - 3].concat());
    not_in_order(&world, Exit::Refused, "audit/chain");
}

#[test]
fn a_blob_that_has_rotted_and_a_ledger_that_the_log_does_not_know_are_verdicts() {
    let world = site();
    let blob = first_file(&world.path("site/store/blobs/sha256"));
    let honest = std::fs::read(&blob).unwrap();
    std::fs::write(&blob, "rotten").unwrap();
    not_in_order(&world, Exit::Damaged, "bundle/content");
    std::fs::write(&blob, honest).unwrap();
    let ledger = text(&world, "site/ledger/acme.demo.json");
    world.write("site/ledger/acme.demo.json", ledger.replace("\"sequence\":1", "\"sequence\":0"));
    not_in_order(&world, Exit::Refused, "site/agreement");
}

#[test]
fn a_bundle_that_was_revoked_since_is_a_verdict() {
    let world = site();
    world
        .bundler(&[
            "trust",
            "revoke",
            "root.json",
            "--below",
            "demo=1.2",
            "--reason",
            "withdrawn",
            "--sign",
            "keys/alice.key.pem",
            "--out",
            "revocations.json",
        ])
        .ok();
    world.installer(&["trust", "update", "revocations.json"]).ok();
    not_in_order(&world, Exit::Refused, "bundle/signatures");
    let report = json(&world, "bad.json");
    assert_eq!(report["trust"]["revocations"]["minimums"], 1);
    assert_eq!(report["bundles"][0]["signatures_verified"], false);
}

#[test]
fn an_apply_that_was_cut_off_is_a_verdict() {
    let world = site();
    build(&world, "2.0", 2, "files: [{source: config, dest: /etc/other}]\n", "2.tar");
    onsite::with_run(&world, &world.path("2.tar"), &versions::Cut::at(("begun", 0)), |run, plan| {
        run.start(&plan).unwrap_err();
    });
    not_in_order(&world, Exit::NotReady, "site/interrupted");
}

#[test]
fn a_site_without_trust_gets_no_report() {
    let world = World::new();
    let _ = run(&world, "report --out report.html").expect_exit(Exit::Refused);
    assert!(!world.path("report.html").exists() && !world.path("site").exists());
}

// ---- nothing of a bundle changes the page, and no secret is on it ------------------------------------------

const HOSTILE: &str =
    "</style><script>alert(1)</script><img src=http://example.com/x onerror=alert(2)> '\\\" {{7*7}} $(id)";

#[test]
fn hostile_texts_of_a_bundle_are_text_on_the_page() {
    let world = versions::site(&[]);
    world.write("config/<b>&'\"$(id).conf", "x\n");
    world.spec("1.0", 1, "files: [{source: config, dest: \"/etc/<i>app\"}]\n");
    let spec = text(&world, "bundle.yaml")
        .replace("marking: UNCLASSIFIED", &format!("marking: '{}'", HOSTILE.replace('\'', "''")));
    world.write("bundle.yaml", spec);
    onsite::build_as_written(&world, "1.tar");
    let reason = "<script>alert(3)</script>";
    world.installer(&["apply", "1.tar", "--yes"]).ok();
    let _ = world.installer(&["acknowledge", "--reason", reason]);
    run(&world, "report --out report.html --evidence evidence").ok();
    let page = text(&world, "report.html");
    for forbidden in ["<script", "<img", "<b>", "<i>", "</style><"] {
        assert!(!page.contains(forbidden), "{forbidden} is on the page");
    }
    assert!(
        page.contains("&lt;script&gt;alert(1)&lt;&#x2f;script&gt;") && page.contains("{{7*7}}"),
        "{page}"
    );
    assert!(!page.chars().any(|c| c != '\n' && c.is_control()), "a control character");
    if real_part("openssl").is_some() {
        shell(&world, &commands_of(&page).join("\n"), &[]).unwrap();
    }
}

#[test]
fn a_planted_secret_is_in_no_report_and_in_no_evidence() {
    const SECRET: &str = "hunter2-canary";
    let world = versions::site(&[]);
    world.write(
        "home/.docker/config.json",
        format!("{{\"auths\":{{\"registry.site\":{{\"auth\":\"{SECRET}\"}}}}}}"),
    );
    let manifest =
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: db}}\nstringData: {{password: {SECRET}}}\n");
    world.write("k8s/secret.yaml", manifest);
    world.write("config/app.conf", format!("password = {SECRET}\n"));
    build(
        &world,
        "1.0",
        1,
        "manifests: [{source: k8s/, namespace: demo}]\nfiles: [{source: config, dest: /etc/app, mode: \"0600\"}]\n",
        "1.tar",
    );
    world.installer(&["apply", "1.tar", "--yes"]).ok();
    run(&world, "report --out report.html --evidence evidence").ok();
    run(&world, "report 1.tar --out medium.json --evidence medium").ok();
    let mut places = vec![
        world.path("report.html"),
        world.path("medium.json"),
        world.path("evidence"),
        world.path("medium"),
    ];
    let mut looked = 0;
    while let Some(place) = places.pop() {
        if place.is_dir() {
            places.extend(std::fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let bytes = std::fs::read(&place).unwrap();
            let found = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
            assert!(!found, "{}", place.display());
            looked += 1;
        }
    }
    assert!(looked > 20, "{looked}");
}

#[test]
fn a_name_of_a_site_and_its_key_stand_in_it() {
    let world = site();
    site_yaml(&world, &[]);
    run(&world, "report --out report.json").ok();
    let report = json(&world, "report.json");
    let shown = world.installer(&["--output", "json", "trust", "key", "show"]).ok().json();
    assert_eq!(report["site"]["name"], "lab");
    assert_eq!(report["site"]["keys"][0]["keyid"], shown["site_key"]["keyid"]);
    assert_eq!(report["audit"]["checkpoint"]["keyid"], shown["site_key"]["keyid"]);
}

// ---- every file, for a guard station ----------------------------------------------------------------------

/// A bundle with things that a guard looks for, in a layer, in a chart's place, in files.
fn suspicious(world: &World) {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, content: &[u8], mode: u32| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        builder.append_data(&mut header, name, content).unwrap();
    };
    add("bin/su", b"\x7fELF\x02\x01\x01", 0o4755);
    add("opt/=cmd|' -C calc'!A1", b"#!/bin/sh\n", 0o755);
    add("srv/<b>page.html", b"<html><script>alert(1)</script>", 0o644);
    add("srv/inner.zip", b"PK\x03\x04rest", 0o644);
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    builder.append_link(&mut link, "etc/shadow2", "/etc/shadow").unwrap();
    let layer = builder.into_inner().unwrap();
    write_layout(world, "image", &[("v1", &image("amd64", &[layer]))]);
    onsite::write_wheels(world, "wheels", &onsite::greeting("1.0"));
    world.write("config/report.docm", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1");
    world.write("config/app.conf", "level = 1\n");
    build(world, "1.0", 1, &format!("wheels: [{{name: tools, source: wheels}}]\n{REST}"), "1.tar");
}

fn file<'a>(list: &'a Value, member: &str) -> &'a Value {
    let files = list["files"].as_array().unwrap();
    files.iter().find(|file| file["member"] == member).unwrap_or_else(|| panic!("{member}: {list}"))
}

#[test]
fn a_review_lists_every_file_and_every_member_with_its_type_digest_and_active_content() {
    let world = World::new();
    world.trust();
    suspicious(&world);
    run(&world, "inspect 1.tar --review list.json").ok();
    let list = json(&world, "list.json");
    let files = list["files"].as_array().unwrap();
    // Each file of the archive, but for what follows from another one.
    let entries = ingredients::entries(&world.path("1.tar")).into_iter();
    let listed =
        entries.filter(|(name, _)| !name.ends_with(".sigstore.json") && !name.ends_with(".reserved"));
    let mut expected: Vec<(String, String, u64)> = listed
        .map(|(name, bytes)| (name, manifests::Digest::of(&bytes).to_string(), bytes.len() as u64))
        .collect();
    expected.sort();
    let own = files.iter().filter(|file| file["member"].is_null());
    let mut found: Vec<(String, String, u64)> = own
        .map(|file| {
            let text = |key: &str| file[key].as_str().unwrap().to_string();
            (text("path"), text("sha256"), file["bytes"].as_u64().unwrap())
        })
        .collect();
    found.sort();
    assert_eq!(found, expected);
    let su = file(&list, "bin/su");
    assert_eq!((su["type"].as_str(), su["mode"].as_str()), (Some("program (ELF)"), Some("4755")));
    assert_eq!(su["active"], serde_json::json!(["program", "set-uid"]));
    assert_eq!(su["sha256"], manifests::Digest::of(b"\x7fELF\x02\x01\x01").to_string());
    assert!(su["belongs_to"].is_array());
    assert_eq!(file(&list, "opt/=cmd|' -C calc'!A1")["active"], serde_json::json!(["script"]));
    assert_eq!(file(&list, "srv/<b>page.html")["active"], serde_json::json!(["web page"]));
    assert_eq!(file(&list, "srv/inner.zip")["active"], serde_json::json!(["archive"]));
    assert_eq!(file(&list, "etc/shadow2")["note"], "leads to /etc/shadow");
    assert_eq!(file(&list, "greet.py")["active"], serde_json::json!(["script"]));
    let macros = files.iter().find(|file| file["names"][0] == "report.docm").unwrap();
    assert_eq!(macros["active"], serde_json::json!(["may hold macros"]));
    assert_eq!(macros["belongs_to"][0], "files /etc/app");
    assert_eq!(list["counts"]["not_looked_into"], 0);
    assert!(!world.path("site/scratch").exists());
    let entry = last_entry(&world);
    assert_eq!(entry["event"], "review");
    assert_eq!(
        entry["about"]["digest"],
        manifests::Digest::of(&std::fs::read(world.path("list.json")).unwrap()).hex()
    );
}

#[test]
fn a_review_has_no_formula_for_a_spreadsheet_and_no_mark_for_a_page() {
    let world = World::new();
    world.trust();
    suspicious(&world);
    run(&world, "inspect 1.tar --review list.csv").ok();
    let csv = text(&world, "list.csv");
    assert!(csv.starts_with("path,member,belongs_to,"), "{csv}");
    for line in csv.split("\r\n").filter(|line| !line.is_empty()) {
        for cell in line.split(',') {
            let inner = cell.trim_start_matches('"');
            assert!(!inner.starts_with(['=', '+', '-', '@', '\t']), "{line}");
        }
    }
    run(&world, "inspect 1.tar --review list.html").ok();
    let page = text(&world, "list.html");
    assert!(
        !page.contains("<b>") && !page.contains("<script") && page.contains("&lt;b&gt;page.html"),
        "{page}"
    );
    assert_eq!(page.matches("UNCLASSIFIED").count(), 2);
}

#[test]
fn a_review_of_what_does_not_verify_is_none() {
    let world = World::new();
    world.trust();
    suspicious(&world);
    let mut bytes = std::fs::read(world.path("1.tar")).unwrap();
    let at = bytes.len() - 2000;
    bytes[at] ^= 1;
    world.write("bad.tar", bytes);
    let _ = run(&world, "inspect bad.tar --review list.csv").expect_exit(Exit::Damaged);
    let left = std::fs::read_dir(world.dir()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().contains("list.csv")));
    assert!(!world.path("site/scratch").exists());
    says(&run(&world, "inspect 1.tar --review list.txt").expect_exit(Exit::Usage), &["FILE.csv"]);
    world.write("list.csv", "somebody's");
    let _ = run(&world, "inspect 1.tar --review list.csv").expect_exit(Exit::Unreachable);
    assert_eq!(text(&world, "list.csv"), "somebody's");
}

// ---- how it looks -----------------------------------------------------------------------------------------

/// A report and a list of files, both with hostile texts in them.
fn pages(world: &World) -> [String; 2] {
    suspicious(world);
    let spec = text(world, "bundle.yaml")
        .replace("marking: UNCLASSIFIED", &format!("marking: '{}'", HOSTILE.replace('\'', "''")));
    world.write("bundle.yaml", spec);
    onsite::build_as_written(world, "1.tar");
    world.installer(&["apply", "1.tar", "--yes"]).ok();
    run(world, "report --out report.html").ok();
    run(world, "inspect 1.tar --review list.html").ok();
    ["report.html", "list.html"].map(|page| format!("file://{}", world.path(page).display()))
}

#[test]
fn a_browser_shows_both_pages_at_any_width_in_light_and_dark_with_no_error_and_no_request() {
    let Some(chromium) = Chromium::find() else { return };
    let world = versions::site(&[]);
    for url in pages(&world) {
        let mut pictures = Vec::new();
        for (width, dark) in [(1280, false), (1280, true), (390, false), (390, true)] {
            let seen = chromium.look(&url, Look { width, height: 900, dark });
            assert_eq!(seen.console, [""; 0], "{url}");
            assert_eq!(seen.requests, std::slice::from_ref(&url));
            assert!(
                seen.content_width <= u64::from(width),
                "{url} is {} wide in {width}",
                seen.content_width
            );
            assert!(seen.text.contains("<script>alert(1)</script>"), "{}", seen.text);
            pictures.push(seen.screenshot);
        }
        assert!(pictures[0] != pictures[1] && pictures[2] != pictures[3], "dark is as light");
    }
}

#[test]
fn each_sheet_of_paper_has_the_marking_at_its_top_and_at_its_bottom() {
    let (Some(chromium), Some(pdftotext)) = (real_part("chromium"), real_part("pdftotext")) else { return };
    let world = site();
    run(&world, "report --out report.html").ok();
    let print = format!("--print-to-pdf={}", world.path("report.pdf").display());
    let profile = format!("--user-data-dir={}", world.path("profile").display());
    let page = format!("file://{}", world.path("report.html").display());
    let flags =
        ["--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer", &profile, &print, &page];
    let ran = Command::new(chromium).args(flags).env("HOME", world.dir()).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let ran = Command::new(pdftotext)
        .args(["-layout", "report.pdf", "-"])
        .current_dir(world.dir())
        .output()
        .unwrap();
    let text = String::from_utf8(ran.stdout).unwrap();
    let sheets: Vec<&str> = text.split('\u{c}').filter(|sheet| !sheet.trim().is_empty()).collect();
    assert!(sheets.len() > 3, "{text}");
    for sheet in sheets {
        let lines: Vec<&str> = sheet.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert_eq!(lines[0], "UNCLASSIFIED", "{sheet}");
        let marked = lines.iter().rev().take(3).any(|line| line.contains("UNCLASSIFIED"));
        assert!(marked, "{sheet}");
    }
}
