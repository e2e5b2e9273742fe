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
    assert_eq!(keys(&definitions["waiver"]), bundle("waivers: [{zzz: 1}]\n"));
    let verify = &definitions["chart"]["properties"]["verify"];
    assert_eq!(keys(verify), BTreeSet::from(["keyring".to_string()]));
    assert_eq!(keys(&definitions["files"]), bundle("files: [{zzz: 1}]\n"));
    assert_eq!(keys(&definitions["manifests"]), bundle("manifests: [{zzz: 1}]\n"));
    assert_eq!(keys(&definitions["script"]), bundle("scripts: [{zzz: 1}]\n"));
    assert_eq!(keys(&definitions["requires"]), bundle("requires: {zzz: 1}\n"));
    assert_eq!(keys(&definitions["health"]), bundle("health: [{zzz: 1}]\n"));
}

/// The keys of these objects are those of a definition: none that it does not name, each that it requires, and
/// over all of them each that it has.
fn holds(definition: &Value, objects: &[&Value]) {
    let mut seen = BTreeSet::new();
    for object in objects {
        let found: BTreeSet<String> = object.as_object().unwrap().keys().cloned().collect();
        let required = definition["required"].as_array().unwrap().iter();
        assert!(required.clone().all(|key| found.contains(key.as_str().unwrap())), "{object}");
        seen.extend(found);
    }
    assert_eq!(seen, keys(definition));
}

fn each<'a>(objects: &[&'a Value], key: &str) -> Vec<&'a Value> {
    objects.iter().filter_map(|object| object[key].as_array()).flatten().collect()
}

#[test]
fn the_schema_of_the_list_of_images_names_the_keys_that_bundler_prints() {
    if testkit::real_part("helm").is_none() {
        return;
    }
    let world = e2e::World::new();
    world.write("chart/Chart.yaml", "apiVersion: v2\nname: a\nversion: 1.0.0\n");
    let images = "kind: X\nmetadata: {name: x}\nimage: r.example.com/a:1\nother: r.example.com/b:1\n";
    world.write("chart/templates/a.yaml", images);
    world.write("values.yaml", "{}\n");
    let image = world.write("image/blobs/sha256/x", "");
    std::fs::remove_file(image).unwrap();
    let (manifest, config) = (manifest(), "{}");
    for bytes in [&*manifest, config] {
        let name = manifests::Digest::of(bytes.as_bytes()).hex();
        world.write(&format!("image/blobs/sha256/{name}"), bytes);
    }
    let digest = manifests::Digest::of(manifest.as_bytes());
    let media_type = manifests::oci::MEDIA_MANIFEST;
    world.write("image/oci-layout", manifests::oci::OCI_LAYOUT);
    world.write("image/index.json", format!("{{\"schemaVersion\":2,\"manifests\":[{{\"mediaType\":\"{media_type}\",\"digest\":\"{digest}\",\"size\":{}}}]}}", manifest.len()));
    world.spec("1", 1, "images: [{source: 'oci:image', name: 'r.example.com/a:1'}]\ncharts: [{source: chart, kubernetes: ['1.30'], profiles: {all: [values.yaml]}}]\nwaivers: [{image: 'r.example.com/b:1', reason: why}]\n");
    let json = world.bundler(&["--output", "json", "images"]).ok().json();
    let schema = schema("images.schema.json");
    let definitions = &schema["$defs"];
    holds(&schema, &[&json]);
    let components = each(&[&json], "components");
    holds(&definitions["component"], &components);
    let images = each(&components, "images");
    holds(&definitions["image"], &images);
    holds(&definitions["place"], &each(&images, "places"));
}

#[test]
fn the_schema_of_preflight_names_the_keys_that_installer_prints() {
    let world = e2e::World::new();
    world.trust();
    world.write("files/a.conf", "a\n");
    world.spec("1", 1, "files: [{source: files, dest: /etc}]\n");
    world.bundler(&["build", "--key", "keys/rel.key.pem", "--out", "b.tar"]).ok();
    let rules = "windows: [{deny: daily, timezone: UTC}]\nchange: {pattern: 'CHG-[0-9]+'}\n";
    world.write("site/site.yaml", format!("apiVersion: airlock/v1\nkind: Site\nsite: s\n{rules}"));
    let command = ["--output", "json", "preflight", "b.tar", "--override", "window/open", "--reason", "x"];
    let json = world.installer(&command).expect_exit(edge::Exit::NotReady).json();
    let schema = schema("preflight.schema.json");
    holds(&schema, &[&json]);
    holds(&schema["$defs"]["counts"], &[&json["counts"]]);
    holds(&schema["$defs"]["finding"], &each(&[&json], "findings"));
    assert_eq!((json["ready"].as_bool(), json["counts"]["overridden"].as_u64()), (Some(false), Some(1)));
    // Where another command stops at them, they are beside its message.
    let error = world.installer(&["--output", "json", "plan", "b.tar"]).json();
    holds(&schema["$defs"]["finding"], &each(&[&error["error"], &json], "findings"));
}

#[test]
fn the_schema_of_a_diagnosis_names_the_keys_that_installer_prints() {
    let world = e2e::World::new();
    world.write("site/site.yaml", "apiVersion: airlock/v1\nkind: Site\nsite: secret\n");
    let schema = schema("diagnose.schema.json");
    let printed =
        |args: &[&str]| world.installer(&[&["--output", "json", "diagnose"], args].concat()).ok().json();
    for json in [printed(&["--list"]), printed(&["--out", "d.tar"])] {
        holds(&schema, &[&json]);
        holds(&schema["$defs"]["file"], &each(&[&json], "files"));
        holds(&schema["$defs"]["gap"], &each(&[&json], "not_looked_at"));
    }
    let archive = &schema["properties"]["archive"]["oneOf"][1];
    let json = printed(&["--out", "e.tar"]);
    holds(archive, &[&json["archive"]]);
    let ids = schema["$defs"]["file"]["properties"]["id"]["enum"].as_array().unwrap();
    let known = installer::diagnose::Section::ALL.map(installer::diagnose::Section::id);
    assert_eq!(ids.iter().map(|id| id.as_str().unwrap()).collect::<Vec<_>>(), known);
}

#[test]
fn the_schema_of_write_names_the_keys_that_bundler_prints() {
    let world = e2e::World::new();
    world.trust();
    world.write("files/a.conf", "a\n");
    world.spec("1", 1, "files: [{source: files, dest: /etc}]\n");
    world.bundler(&["build", "--key", "keys/rel.key.pem", "--out", "b.tar"]).ok();
    std::fs::create_dir(world.path("stick")).unwrap();
    let json = world.bundler(&["--output", "json", "write", "b.tar", "stick"]).ok().json();
    let schema = schema("write.schema.json");
    fits(&schema, &schema, &json, "write");
    holds(&schema, &[&json]);
    holds(&schema["$defs"]["file"], &each(&[&json], "files"));
}

/// A site on which two versions were applied, then a third failed in its script, and a file was changed by hand.
fn lived_in() -> e2e::World {
    let world = e2e::World::new();
    world.trust();
    std::fs::create_dir(world.path("root")).unwrap();
    let targets = format!("targets: {{files: {{root: {}}}, scripts: {{}}}}", world.path("root").display());
    world.write(
        "site/site.yaml",
        format!("apiVersion: airlock/v1\nkind: Site\nsite: lab\nkeep: 0\n{targets}\n"),
    );
    world.write("fails.sh", "#!/bin/sh\nexit 1\n");
    for sequence in 1..=3 {
        world.write("config/a", sequence.to_string());
        let script = if sequence == 3 { "scripts: [{source: fails.sh, undo: fails.sh}]\n" } else { "" };
        let rest = format!("files: [{{source: config, dest: /etc/demo}}]\n{script}");
        world.spec(&sequence.to_string(), sequence, &rest);
        world.bundler(&["lock"]).ok();
        world.bundler(&["build", "--key", "keys/rel.key.pem", "--out", &format!("{sequence}.tar")]).ok();
        let exit = if sequence == 3 { edge::Exit::NotUndone } else { edge::Exit::Done };
        let _ = world.installer(&["apply", &format!("{sequence}.tar"), "--yes"]).expect_exit(exit);
    }
    world
}

fn definition<'a>(schema: &'a Value, name: &str) -> &'a Value {
    &schema["$defs"][name]
}

#[test]
fn the_schemas_of_what_looks_at_a_site_name_the_keys_that_installer_prints() {
    let world = lived_in();
    let json = |args: &[&str]| world.installer(&[&["--output", "json"], args].concat()).json();
    let (status, form) = (json(&["status"]), schema("status.schema.json"));
    holds(&form, &[&status]);
    holds(definition(&form, "key"), &[&status["site_key"]]);
    holds(definition(&form, "product"), &each(&[&status], "products"));
    let failed = each(&[&status], "failed");
    holds(definition(&form, "failed"), &failed);
    holds(definition(&form, "stuck"), &each(&failed, "stuck"));

    let (drift, form) = (json(&["drift"]), schema("drift.schema.json"));
    holds(&form, &[&drift]);
    let products = each(&[&drift], "products");
    holds(definition(&form, "product"), &products);
    world.write("root/etc/demo/a", "edited");
    let drift = json(&["drift"]);
    holds(definition(&form, "finding"), &each(&each(&[&drift], "products"), "findings"));

    let (gc, form) = (json(&["gc"]), schema("gc.schema.json"));
    holds(&form, &[&gc]);
    holds(definition(&form, "kept"), &each(&[&gc], "keeps"));
    holds(definition(&form, "item"), &each(&[&gc], "items"));

    let (inspect, form) = (json(&["inspect", "2.tar"]), schema("inspect.schema.json"));
    holds(&form, &[&inspect]);
    holds(definition(&form, "signature"), &each(&[&inspect], "signatures"));

    world.acknowledge();
    let _ = world.installer(&["remove", "demo", "--yes"]).ok();
    let (history, form) = (json(&["history"]), schema("history.schema.json"));
    holds(&form, &[&history]);
    let products = each(&[&history], "products");
    holds(definition(&form, "product"), &products);
    let applied = each(&products, "applied");
    holds(definition(&form, "applied"), &applied);
    let marks: Vec<&Value> = products.iter().map(|product| &product["highest"]).collect();
    holds(definition(&form, "mark"), &marks);
    holds(definition(&form, "order"), &[&marks[0]["order"]]);
    holds(definition(&form, "signer"), &each(&applied, "signers"));
}

#[test]
fn what_people_see_fits_into_80_columns() {
    let world = lived_in();
    let mut shown = vec![("preflight", world.installer(&["preflight", "3.tar"]).stdout)];
    world.acknowledge();
    world.write("root/etc/demo/a", "edited");
    for line in ["drift", "status", "history", "inspect 3.tar", "plan 3.tar", "gc", "diagnose --list"] {
        shown.push((line, world.installer(&line.split(' ').collect::<Vec<_>>()).stdout));
    }
    for (command, text) in shown {
        assert!(!text.is_empty(), "{command}");
        for line in text.lines() {
            // A path or a digest stays whole.
            let fits = line.chars().count() <= edge::show::COLUMNS || line.trim().split(' ').count() <= 2;
            assert!(fits, "{command}: {line}");
        }
    }
}

/// An image without layers.
fn manifest() -> String {
    let config = manifests::Digest::of(b"{}");
    format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{}\",\"config\":{{\"mediaType\":\"{}\",\"digest\":\"{config}\",\"size\":2}},\"layers\":[]}}",
        manifests::oci::MEDIA_MANIFEST,
        manifests::oci::MEDIA_CONFIG
    )
}

#[test]
fn the_schema_of_site_yaml_names_the_keys_that_installer_takes() {
    let schema = schema("site.schema.json");
    assert_eq!(keys(&schema), site("zzz: 1\n"));
    let targets = &schema["properties"]["targets"];
    assert_eq!(keys(targets), site("targets: {zzz: 1}\n"));
    assert_eq!(keys(&schema["properties"]["time"]), site("time: {zzz: 1}\n"));
    assert_eq!(keys(&schema["properties"]["windows"]["items"]), site("windows: [{zzz: 1}]\n"));
    assert_eq!(keys(&schema["properties"]["change"]), site("change: {zzz: 1}\n"));
    assert_eq!(keys(&schema["properties"]["preflight"]), BTreeSet::from(["headroom".to_string()]));
    for name in ["registry", "docker", "containerd", "python", "helm"] {
        assert_eq!(keys(&targets["properties"][name]), site(&format!("targets: {{{name}: {{zzz: 1}}}}\n")));
    }
    let serve = &schema["properties"]["serve"];
    assert_eq!(keys(serve), site("serve: {zzz: 1}\n"));
    let [every, rate] = ["every", "rate"].map(str::to_string);
    assert_eq!(keys(&serve["properties"]["rehash"]), BTreeSet::from([every, rate]));
    let [certificate, key] = ["certificate", "key"].map(str::to_string);
    assert_eq!(keys(&serve["properties"]["tls"]), BTreeSet::from([certificate, key]));
    let mirror = &targets["properties"]["containerd"]["properties"]["mirror"];
    assert_eq!(keys(mirror), site("targets: {containerd: {mirror: {zzz: 1}}}\n"));
    let registries = &targets["properties"]["containerd"]["properties"]["registries"];
    assert_eq!(keys(registries), site("targets: {containerd: {registries: {zzz: 1}}}\n"));
}

/// What a plan says of a key that nobody knows: `unknown field `zzz`, expected one of …`, or `expected `a` or `b``.
fn known_to_plans(json: &str) -> BTreeSet<String> {
    let message = serde_json::from_str::<installer::plan::Step>(json).unwrap_err().to_string();
    let (_, list) = message.split_once("expected ").unwrap_or_else(|| panic!("{message}"));
    list.split('`').skip(1).step_by(2).map(str::to_string).collect()
}

#[test]
fn the_schema_of_a_plan_names_every_kind_of_step_and_the_keys_of_each() {
    let schema = schema("plan.schema.json");
    let definitions = &schema["$defs"];
    let kinds = known_to_plans("{\"zzz\": {}}");
    assert_eq!(keys(&definitions["step"]), kinds);
    for kind in &kinds {
        let found = known_to_plans(&format!("{{\"{kind}\": {{\"zzz\": {{}}}}}}"));
        assert_eq!(keys(&definitions[kind]), found, "{kind}");
    }
    let message = serde_json::from_str::<installer::plan::Plan>("{\"zzz\": 1}").unwrap_err().to_string();
    assert_eq!(keys(&schema), expected(message.split(" at line").next().unwrap()));
}

#[test]
fn the_schema_of_a_receipt_names_the_keys_of_what_bundler_prints() {
    let world = e2e::World::new();
    world.trust();
    world.write("site/site.yaml", "apiVersion: airlock/v1\nkind: Site\nsite: lab\n");
    world.write("files/a.conf", "a\n");
    world.spec("1", 1, "files: [{source: files, dest: /etc}]\n");
    world.bundler(&["build", "--key", "keys/rel.key.pem", "--out", "b.tar"]).ok();
    world.installer(&["apply", "b.tar", "--yes"]).ok();
    world.installer(&["receipt", "--out", "r.json"]).ok();
    let verify = ["--output", "json", "receipt", "verify", "r.json", "--key", "site/key/1.pub.pem"];
    let json = world.bundler(&verify).ok().json();
    let schema = schema("receipt.schema.json");
    holds(&schema, &[&json]);
    let (definitions, receipt) = (&schema["$defs"], &json["receipt"]);
    // What only some receipts have: of those the parser says whether it knows the key.
    let whole = |with: &str, value: Value| {
        let mut receipt = receipt.clone();
        receipt[with] = value;
        serde_json::from_value::<manifests::receipt::ReceiptDocument>(receipt.clone()).unwrap();
        receipt
    };
    let revoked = serde_json::json!({"epoch": 1, "version": 1, "digest": receipt["trust"]["root"]});
    let mut trust = receipt["trust"].clone();
    trust["revocations"] = revoked.clone();
    let receipt = &whole("interrupted", receipt["trust"]["root"].clone());
    holds(&definitions["receipt"], &[receipt]);
    holds(&definitions["trust"], &[&whole("trust", trust)["trust"]]);
    holds(&definitions["revocations"], &[&revoked]);
    holds(&definitions["log"], &[&receipt["log"]]);
    holds(&definitions["blobs"], &[&receipt["blobs"]]);
    let products = each(&[receipt], "products");
    holds(&definitions["product"], &products);
    let versions = each(&products, "versions");
    holds(&definitions["version"], &versions);
    holds(&definitions["order"], &[&versions[0]["order"], &products[0]["highest"]]);
}

#[test]
fn the_schema_of_a_plan_holds_what_installer_prints() {
    let world = e2e::World::new();
    world.trust();
    std::fs::create_dir(world.path("root")).unwrap();
    let root = world.path("root");
    let yaml = "apiVersion: airlock/v1\nkind: Site\nsite: lab\n";
    world.write("site/site.yaml", format!("{yaml}targets: {{files: {{root: {}}}}}\n", root.display()));
    let mut seen = BTreeSet::new();
    let schema = schema("plan.schema.json");
    for (sequence, file) in [(1, "a"), (2, "b")] {
        world.write(&format!("config-{sequence}/{file}"), "x");
        let files = format!("files: [{{source: config-{sequence}, dest: /etc/demo}}]\n");
        world.spec(&sequence.to_string(), sequence, &files);
        world.bundler(&["lock"]).ok();
        world.bundler(&["build", "--key", "keys/rel.key.pem", "--out", &format!("{sequence}.tar")]).ok();
        let json =
            world.installer(&["--output", "json", "apply", &format!("{sequence}.tar"), "--yes"]).ok().json();
        let plan = &json["plan"];
        let found: BTreeSet<String> = plan.as_object().unwrap().keys().cloned().collect();
        assert!(found.is_subset(&keys(&schema)), "{plan}");
        for step in plan["steps"].as_array().unwrap() {
            let (kind, step) = step.as_object().unwrap().iter().next().unwrap();
            let found: BTreeSet<String> = step.as_object().unwrap().keys().cloned().collect();
            let definition = &schema["$defs"][kind];
            assert!(found.is_subset(&keys(definition)), "{kind}: {step}");
            let required = definition["required"].as_array().unwrap().iter();
            assert!(required.clone().all(|key| found.contains(key.as_str().unwrap())), "{kind}: {step}");
            seen.insert(kind.clone());
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["file", "publish", "record", "unwrite"]);
}

/// Every object of a document is one of its schema: no key that this does not name, and each that it requires.
fn fits(schema: &Value, root: &Value, value: &Value, place: &str) {
    let schema = match schema["$ref"].as_str() {
        Some(name) => &root["$defs"][name.rsplit('/').next().unwrap()],
        None => schema,
    };
    if let Some(choices) = schema["anyOf"].as_array() {
        if !value.is_null() {
            fits(&choices[0], root, value, place);
        }
        return;
    }
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{place}: {value}");
    }
    match value {
        Value::Object(map) => {
            for required in schema["required"].as_array().into_iter().flatten() {
                assert!(map.contains_key(required.as_str().unwrap()), "{place}: {required} is missing");
            }
            for (key, item) in map {
                let known = &schema["properties"][key];
                let known = if known.is_null() { &schema["additionalProperties"] } else { known };
                assert!(known.is_object(), "{place}: {key} is not in the schema");
                fits(known, root, item, &format!("{place}.{key}"));
            }
        }
        Value::Array(items) => items.iter().for_each(|item| fits(&schema["items"], root, item, place)),
        _ => {
            let types = &schema["type"];
            let word = match value {
                Value::String(_) => "string",
                Value::Number(_) => "integer",
                Value::Bool(_) => "boolean",
                _ => "null",
            };
            let named =
                types == word || types.as_array().is_some_and(|types| types.iter().any(|t| t == word));
            assert!(types.is_null() || named, "{place}: {value} is no {types}");
        }
    }
}

#[test]
fn the_schemas_of_a_report_and_of_a_review_hold_what_installer_writes() {
    let world = e2e::World::new();
    world.trust();
    std::fs::create_dir(world.path("root")).unwrap();
    let root = world.path("root");
    let yaml = "apiVersion: airlock/v1\nkind: Site\nsite: lab\nwindows: [{deny: daily, timezone: UTC}]\n";
    world.write("site/site.yaml", format!("{yaml}targets: {{files: {{root: {}}}}}\n", root.display()));
    world.write("files/a.conf", "a\n");
    world.spec("1", 1, "files: [{source: files, dest: /etc/demo}]\n");
    world.bundler(&["build", "--key", "keys/rel.key.pem", "--out", "b.tar"]).ok();
    world.installer(&["apply", "b.tar", "--yes", "--override", "window/open", "--reason", "x"]).ok();
    let report = schema("report.schema.json");
    for (arguments, file) in [(&["report"][..], "site.json"), (&["report", "b.tar"], "medium.json")] {
        world.installer(&[arguments, &["--out", file]].concat()).ok();
        let document: Value = serde_json::from_slice(&std::fs::read(world.path(file)).unwrap()).unwrap();
        fits(&report, &report, &document, "report");
    }
    let review = schema("review.schema.json");
    world.installer(&["inspect", "b.tar", "--review", "list.json"]).ok();
    let document: Value = serde_json::from_slice(&std::fs::read(world.path("list.json")).unwrap()).unwrap();
    fits(&review, &review, &document, "review");
}
