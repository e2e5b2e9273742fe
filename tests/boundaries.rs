//! Who may depend on whom, read from what cargo itself resolves. A failure says what to do.
//!
//! The disconnected program cannot contain a fetcher, the pure crate cannot touch the world, and the
//! asynchronous runtime stays inside `installer`: these hold because the build has no way around them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;

/// What of ours each crate may depend on, its tests apart.
const ALLOWED: &[(&str, &[&str])] = &[
    ("manifests", &[]),
    ("edge", &["manifests"]),
    ("discovery", &["manifests", "edge"]),
    ("layout", &["manifests"]),
    ("registry", &["manifests", "edge", "layout"]),
    ("bundler", &["manifests", "discovery", "edge", "layout", "registry"]),
    ("installer", &["manifests", "discovery", "edge", "layout", "registry"]),
];

/// Not part of a program: nothing but tests may depend on them.
const FOR_TESTS: &[&str] = &["testkit", "e2e"];

/// The asynchronous world, and the only crate that may have it.
const RUNTIME: &[&str] =
    &["tokio", "tokio-rustls", "hyper", "hyper-util", "async-std", "smol", "futures-executor"];
const RUNTIME_OWNER: &str = "installer";

struct Workspace {
    root: PathBuf,
    /// Members by name: their manifests' directories and licences.
    members: BTreeMap<String, Member>,
    /// The resolved graph without dev-dependencies: package id to the ids it depends on.
    normal: BTreeMap<String, BTreeSet<String>>,
    /// The name of each package id.
    names: BTreeMap<String, String>,
}

struct Member {
    id: String,
    manifest: PathBuf,
    license: Option<String>,
}

static WORKSPACE: LazyLock<Workspace> = LazyLock::new(read_workspace);

/// The host: cargo then needs no packages of other systems, so this works without a network.
fn host() -> String {
    let output =
        Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV").output();
    let text = String::from_utf8(output.expect("rustc is there").stdout).unwrap();
    text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_string()
}

fn read_workspace() -> Workspace {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--offline", "--locked", "--filter-platform", &host()])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_string();
    let list = |value: &Value| value.as_array().unwrap().clone();

    let ours: BTreeSet<String> = list(&metadata["workspace_members"]).iter().map(text).collect();
    let mut names = BTreeMap::new();
    let mut members = BTreeMap::new();
    for package in list(&metadata["packages"]) {
        let (id, name) = (text(&package["id"]), text(&package["name"]));
        names.insert(id.clone(), name.clone());
        if ours.contains(&id) {
            let manifest = PathBuf::from(text(&package["manifest_path"]));
            members
                .insert(name, Member { id, manifest, license: package["license"].as_str().map(Into::into) });
        }
    }
    let mut normal = BTreeMap::new();
    for node in list(&metadata["resolve"]["nodes"]) {
        let dependencies = list(&node["deps"]);
        // A kind of null is a normal dependency; `build` scripts run on the builder's machine and count too.
        let shipped =
            |dependency: &&Value| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev");
        let ids = dependencies.iter().filter(shipped).map(|dependency| text(&dependency["pkg"])).collect();
        normal.insert(text(&node["id"]), ids);
    }
    let root = PathBuf::from(text(&metadata["workspace_root"]));
    Workspace { root, members, normal, names }
}

impl Workspace {
    /// Everything that becomes part of this crate's program, by name, with one way there.
    fn tree(&self, name: &str) -> BTreeMap<String, String> {
        let start = self.members[name].id.clone();
        let mut found = BTreeMap::new();
        let mut open = vec![(start.clone(), name.to_string())];
        let mut seen = BTreeSet::from([start]);
        while let Some((id, way)) = open.pop() {
            for next in &self.normal[&id] {
                let name = &self.names[next];
                let way = format!("{way} → {name}");
                found.entry(name.clone()).or_insert_with(|| way.clone());
                if seen.insert(next.clone()) {
                    open.push((next.clone(), way));
                }
            }
        }
        found
    }

    fn source(&self, name: &str, path: &str) -> String {
        std::fs::read_to_string(self.members[name].manifest.parent().unwrap().join(path)).unwrap()
    }
}

/// The funnel: no sentence, no failure.
fn require(sentences: Vec<String>) {
    assert!(sentences.is_empty(), "\n{}\n", sentences.join("\n"));
}

#[test]
fn each_crate_depends_only_on_what_it_may() {
    let workspace = &*WORKSPACE;
    let mut sentences = Vec::new();
    for name in workspace.members.keys().filter(|name| !FOR_TESTS.contains(&name.as_str())) {
        let Some((_, allowed)) = ALLOWED.iter().find(|(crate_name, _)| crate_name == name) else {
            sentences.push(format!(
                "`{name}` is new: say in ALLOWED of tests/boundaries.rs, and in ARCHITECTURE.md, what it may depend on"
            ));
            continue;
        };
        for (other, way) in workspace.tree(name) {
            if workspace.members.contains_key(&other) && !allowed.contains(&other.as_str()) {
                sentences.push(format!(
                    "`{name}` must not depend on `{other}` ({way}): move what it needs into {}, or hand it in as an argument",
                    if allowed.is_empty() { "itself".to_string() } else { allowed.join(", ") }
                ));
            }
        }
    }
    require(sentences);
}

#[test]
fn neither_program_contains_the_other() {
    let mut sentences = Vec::new();
    for (name, other, why) in [
        ("installer", "bundler", "the disconnected program cannot contain a fetcher"),
        ("bundler", "installer", "the connected program has no business on a site"),
    ] {
        if let Some(way) = WORKSPACE.tree(name).get(other) {
            sentences.push(format!(
                "{way}: {why}; take that dependency out, and move what both need into `layout` or `manifests`"
            ));
        }
    }
    require(sentences);
}

#[test]
fn the_asynchronous_runtime_is_in_the_installer_alone() {
    let mut sentences = Vec::new();
    let members = WORKSPACE.members.keys().map(String::as_str);
    for name in members.filter(|name| *name != RUNTIME_OWNER && !FOR_TESTS.contains(name)) {
        let tree = WORKSPACE.tree(name);
        for way in RUNTIME.iter().filter_map(|runtime| tree.get(*runtime)) {
            sentences.push(format!(
                "{way}: no asynchronous runtime outside `installer serve`; use std::io and threads, or another crate or feature of it"
            ));
        }
    }
    require(sentences);
    let owner = WORKSPACE.tree(RUNTIME_OWNER);
    assert!(owner.contains_key("tokio"), "this test no longer sees tokio where it is: put the test right");
}

#[test]
fn test_doubles_are_in_no_program() {
    let mut sentences = Vec::new();
    for name in WORKSPACE.members.keys().filter(|name| !FOR_TESTS.contains(&name.as_str())) {
        let tree = WORKSPACE.tree(name);
        for way in FOR_TESTS.iter().filter_map(|double| tree.get(*double)) {
            sentences.push(format!("{way}: move it to [dev-dependencies]"));
        }
    }
    require(sentences);
}

#[test]
fn every_member_is_under_the_workspaces_lints_and_licence() {
    let mut sentences = Vec::new();
    for (name, member) in &WORKSPACE.members {
        let manifest = std::fs::read_to_string(&member.manifest).unwrap();
        let lints = manifest.split("[lints]").nth(1).and_then(|rest| rest.trim_start().lines().next());
        if lints.map(str::trim) != Some("workspace = true") {
            sentences.push(format!("`{name}`: add `[lints]` with `workspace = true` to its Cargo.toml"));
        }
        if member.license.as_deref() != Some("Apache-2.0") {
            sentences.push(format!("`{name}`: set `license.workspace = true` in its Cargo.toml"));
        }
    }
    let licence = WORKSPACE.root.join("LICENSE");
    let has_text = std::fs::read_to_string(&licence).is_ok_and(|text| text.contains("Apache License"));
    if !has_text {
        sentences.push(
            "put the text of the Apache License 2.0 into LICENSE beside the root Cargo.toml".to_string(),
        );
    }
    require(sentences);
}

#[test]
fn the_pure_crate_cannot_reach_the_world() {
    let mut sentences = Vec::new();
    let source = WORKSPACE.source("manifests", "src/lib.rs");
    if !source.lines().any(|line| line == "#![no_std]") {
        sentences.push(
            "manifests/src/lib.rs must say `#![no_std]`: with it the compiler keeps files, network, clock and processes out"
                .to_string(),
        );
    }
    let lines: Vec<&str> = source.lines().collect();
    for pair in lines.windows(2).filter(|pair| pair[1].contains("extern crate std")) {
        if pair[0] != "#[cfg(test)]" {
            sentences.push(
                "manifests/src/lib.rs: `extern crate std` is for tests only; put `#[cfg(test)]` before it"
                    .to_string(),
            );
        }
    }
    require(sentences);
}

#[test]
fn only_one_crate_opens_the_doors_that_clippy_keeps_shut() {
    // `clippy.toml` bans the clock, the environment and processes; an `allow` would open a second door.
    let mut sentences = Vec::new();
    for (name, member) in &WORKSPACE.members {
        if name == "edge" || FOR_TESTS.contains(&name.as_str()) {
            continue;
        }
        for file in rust_files(&member.manifest.parent().unwrap().join("src")) {
            let text = std::fs::read_to_string(&file).unwrap();
            // What only tests compile may start real tools to compare with.
            if text.contains("disallowed_methods") && !is_test_module(&file) {
                sentences.push(format!(
                    "{}: go through `edge` instead of allowing a disallowed method",
                    file.strip_prefix(&WORKSPACE.root).unwrap().display()
                ));
            }
        }
    }
    require(sentences);
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Whether a file's parent module declares it for tests only.
fn is_test_module(file: &Path) -> bool {
    let dir = file.parent().unwrap();
    let declaration = format!("mod {};", file.file_stem().unwrap().to_str().unwrap());
    let parents = [dir.join("mod.rs"), dir.join("lib.rs"), dir.with_extension("rs")];
    parents.iter().filter_map(|parent| std::fs::read_to_string(parent).ok()).any(|text| {
        let lines: Vec<&str> = text.lines().collect();
        lines.windows(2).any(|pair| pair[0].trim() == "#[cfg(test)]" && pair[1].trim() == declaration)
    })
}
