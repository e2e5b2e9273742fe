//! The published schemas name exactly the keys that the programs take: each object of a schema is tried
//! with a key that nobody knows, and the keys that the program says it expects are compared.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn schema(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn keys(object: &Value) -> BTreeSet<String> {
    assert_eq!(object["additionalProperties"], false);
    object["properties"].as_object().unwrap().keys().cloned().collect()
}

/// The keys in the message about one that nobody knows: `…: unknown field `zzz`, expected one of a, b`.
fn expected(message: &str) -> BTreeSet<String> {
    let (_, list) = message.split_once("expected one of ").unwrap_or_else(|| panic!("{message}"));
    list.split(", ").map(|name| name.trim_matches('`').to_string()).collect()
}

fn write(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file.yaml");
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

fn bundle(text: &str) -> BTreeSet<String> {
    let (_dir, path) = write(text);
    expected(&bundler::spec::load(&path).unwrap_err().to_string())
}

fn site(text: &str) -> BTreeSet<String> {
    let (_dir, path) = write(text);
    expected(&installer::site::config::SiteConfig::load(&path).unwrap_err().to_string())
}

#[test]
fn the_schema_of_bundle_yaml_names_the_keys_that_bundler_takes() {
    let schema = schema("bundle.schema.json");
    assert_eq!(keys(&schema), bundle("zzz: 1\n"));
    let definitions = &schema["$defs"];
    assert_eq!(keys(&definitions["image"]), bundle("images: [{zzz: 1}]\n"));
    assert_eq!(keys(&definitions["registry"]), bundle("registries: {h: {zzz: 1}}\n"));
    assert_eq!(keys(&definitions["wheels"]), bundle("wheels: [{zzz: 1}]\n"));
    let target = &definitions["wheels"]["properties"]["targets"]["items"];
    assert_eq!(keys(target), bundle("wheels: [{targets: [{zzz: 1}]}]\n"));
    assert_eq!(keys(&definitions["chart"]), bundle("charts: [{zzz: 1}]\n"));
    assert_eq!(keys(&definitions["files"]), bundle("files: [{zzz: 1}]\n"));
}

#[test]
fn the_schema_of_site_yaml_names_the_keys_that_installer_takes() {
    let schema = schema("site.schema.json");
    assert_eq!(keys(&schema), site("zzz: 1\n"));
    let targets = &schema["properties"]["targets"];
    assert_eq!(keys(targets), site("targets: {zzz: 1}\n"));
    assert_eq!(keys(&schema["properties"]["time"]), site("time: {zzz: 1}\n"));
    for name in ["registry", "docker", "containerd", "python"] {
        assert_eq!(keys(&targets["properties"][name]), site(&format!("targets: {{{name}: {{zzz: 1}}}}\n")));
    }
    let mirror = &targets["properties"]["containerd"]["properties"]["mirror"];
    assert_eq!(keys(mirror), site("targets: {containerd: {mirror: {zzz: 1}}}\n"));
}
