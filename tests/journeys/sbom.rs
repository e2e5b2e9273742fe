//! The bill of materials inside a bundle: it names everything that is carried, CycloneDX's own validator takes it,
//! and it links what publishers have attached to their images.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

mod ingredients;

use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::World;
use edge::Exit;
use ingredients::{Image, image, index, layer, to_json, wheel, write_layout};
use manifests::oci::{MEDIA_INDEX, MEDIA_MANIFEST};
use manifests::{Descriptor, Digest};
use serde_json::{Value, json};
use testkit::real_part;

/// One of each kind.
fn world() -> World {
    let mut world = World::new();
    world.vars.insert("SOURCE_DATE_EPOCH".into(), "1700000000".into());
    let (amd64, arm64) = (image("amd64", &[layer(1, 100)]), image("arm64", &[layer(2, 100)]));
    let both = with_attestation(&index(&[("amd64", &amd64), ("arm64", &arm64)]), &amd64);
    write_layout(&world, "both", &[("app:1", &both)]);
    for (name, bytes) in [wheel("alpha", "1.0", "a"), wheel("Beta_Two", "2.0", "b")] {
        world.write(&format!("wheels/{name}"), bytes);
    }
    world.write("chart/Chart.yaml", "apiVersion: v2\nname: fraud\nversion: 1.0.0+b1\n");
    world.write("values.yaml", "a: 1\n");
    world.write("config/a b.conf", "a\n");
    world.write("k8s/map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n");
    world.write("migrate.sh", "#!/bin/sh\n");
    world.write("back.sh", "#!/bin/sh\nexit 0\n");
    world.spec(
        "1.0.0",
        7,
        "images: [{source: 'oci:both:app:1', name: 'registry.example.com:5000/fraud/app:1'}]
wheels: [{name: tools, source: wheels}]
charts: [{source: chart, values: [values.yaml]}]
files: [{source: config, dest: /etc/fraud}]
manifests: [{source: k8s}]
scripts: [{source: migrate.sh, undo: back.sh}]
",
    );
    world.bundler(&["build", "--out", "b.tar"]).ok();
    world
}

/// The index as BuildKit writes it: one child more, which states of another what it is made of.
fn with_attestation(whole: &Image, of: &Image) -> Image {
    let mut whole = whole.clone();
    let statement = to_json(&json!({"predicateType": "https://spdx.dev/Document", "predicate": {}}));
    let mut layer = Descriptor::of("application/vnd.in-toto+json", &statement);
    layer.annotations.insert("in-toto.io/predicate-type".into(), "https://spdx.dev/Document".into());
    let config = to_json(&json!({"architecture": "unknown", "os": "unknown", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]}}));
    let manifest = to_json(&json!({"schemaVersion": 2, "mediaType": MEDIA_MANIFEST,
        "config": Descriptor::of("application/vnd.oci.image.config.v1+json", &config), "layers": [layer]}));
    let mut entry = serde_json::to_value(Descriptor::of(MEDIA_MANIFEST, &manifest)).unwrap();
    entry["platform"] = json!({"architecture": "unknown", "os": "unknown"});
    entry["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": of.root.digest});
    let mut document: Value = serde_json::from_slice(whole.root_bytes()).unwrap();
    document["manifests"].as_array_mut().unwrap().push(entry);
    whole.blobs.extend([(Digest::of(&statement), statement), (Digest::of(&config), config)]);
    let child = Descriptor::of(MEDIA_MANIFEST, &manifest);
    let bytes = to_json(&document);
    whole.root = Descriptor::of(MEDIA_INDEX, &bytes);
    whole.manifests.pop();
    whole.manifests.extend([(child, manifest), (whole.root.clone(), bytes)]);
    whole
}

fn inventory(world: &World, archive: &str) -> Value {
    world.bundler(&["--output", "json", "inspect", archive]).ok().json()["inventory"].clone()
}

/// The document, taken out as an auditor would.
fn document(world: &World, archive: &str) -> Vec<u8> {
    let digest = inventory(world, archive)["sbom"]["document"]["digest"].as_str().unwrap().to_string();
    let entry = format!("blobs/sha256/{}", digest.strip_prefix("sha256:").unwrap());
    let ran = Command::new("tar").arg("-xOf").arg(world.path(archive)).arg(entry).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!(Digest::of(&ran.stdout).to_string(), digest);
    ran.stdout
}

fn named<'a>(parts: &'a Value, name: &str) -> &'a Value {
    let found = parts.as_array().unwrap().iter().find(|part| part["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is not in {parts}"))
}

#[test]
fn the_bill_of_materials_names_everything_that_is_carried() {
    let world = world();
    let bom: Value = serde_json::from_slice(&document(&world, "b.tar")).unwrap();
    assert_eq!((&bom["bomFormat"], &bom["specVersion"]), (&json!("CycloneDX"), &json!("1.6")));
    assert_eq!(bom["metadata"]["component"]["version"], "1.0.0");
    assert_eq!(bom["metadata"]["timestamp"], "2023-11-14T22:13:20Z");
    let inventory = inventory(&world, "b.tar");
    let components = &bom["components"];
    let app = named(components, "registry.example.com:5000/fraud/app");
    let digest = inventory["components"].as_array().unwrap().iter().find(|c| c["kind"] == "image").unwrap();
    let digest = digest["manifest"]["digest"].as_str().unwrap();
    let purl = app["purl"].as_str().unwrap();
    assert!(purl.starts_with(&format!("pkg:oci/app@{digest}?")), "{purl}");
    assert!(purl.contains("repository_url=registry.example.com") && purl.contains("tag=1"), "{purl}");
    let wheels = &named(components, "tools")["components"];
    let beta = named(wheels, "beta-two");
    assert!(beta["purl"].as_str().unwrap().starts_with("pkg:pypi/beta-two@2.0?file_name="), "{beta}");
    let chart = named(components, "fraud");
    assert_eq!(chart["purl"], "pkg:helm/fraud@1.0.0%2Bb1");
    let file = named(&named(components, "/etc/fraud")["components"], "a b.conf");
    assert_eq!(file["hashes"][0]["content"], Digest::of(b"a\n").hex());
    let script = named(&named(components, "migrate")["components"], "back.sh");
    assert_eq!(script["hashes"][0]["content"], Digest::of(b"#!/bin/sh\nexit 0\n").hex());
    named(&named(components, "k8s")["components"], "map.yaml");
}

#[test]
fn what_the_builder_of_an_image_says_it_is_made_of_is_linked_by_digest() {
    let world = world();
    let bom: Value = serde_json::from_slice(&document(&world, "b.tar")).unwrap();
    let app = named(&bom["components"], "registry.example.com:5000/fraud/app");
    let links = app["externalReferences"].as_array().unwrap();
    let link = links.iter().find(|link| link["type"] == "bom").unwrap();
    let inventory = inventory(&world, "b.tar");
    let components = inventory["components"].as_array().unwrap();
    let sbom = &components.iter().find(|c| c["kind"] == "image").unwrap()["sboms"][0];
    assert_eq!((&sbom["format"], &sbom["form"]), (&json!("spdx"), &json!("attestation")));
    assert_eq!(sbom["of"], image("amd64", &[layer(1, 100)]).root.digest.to_string());
    let hex = sbom["blob"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    assert_eq!(link["url"], format!("blobs/sha256/{hex}"));
}

#[test]
fn the_same_lock_gives_the_same_bill_of_materials_and_another_content_another_number() {
    let world = world();
    let first = document(&world, "b.tar");
    world.bundler(&["build", "--out", "again.tar"]).ok();
    assert_eq!(document(&world, "again.tar"), first);
    world.write("config/a b.conf", "other\n");
    world.bundler(&["lock"]).ok();
    world.bundler(&["build", "--out", "other.tar"]).ok();
    let number = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap()["serialNumber"].clone();
    assert_ne!(number(&document(&world, "other.tar")), number(&first));
}

/// The validator of the CycloneDX project, strict: an unknown key is an error.
const VALIDATE: &str = "
import sys
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation import make_schemabased_validator
validator = make_schemabased_validator(OutputFormat.JSON, SchemaVersion.V1_6)
errors = list(validator.validate_str(open(sys.argv[1]).read(), all_errors=True) or [])
print(errors)
sys.exit(1 if errors else 0)
";

#[test]
fn the_validator_of_cyclonedx_takes_the_bill_of_materials() {
    let world = world();
    let document = document(&world, "b.tar");
    let Some(python) = real_part("cyclonedx-python") else { return };
    let judge = |name: &str, text: &[u8]| {
        let path = world.write(name, text);
        Command::new(&python).args(["-c", VALIDATE]).arg(path).output().unwrap()
    };
    let ran = judge("good.cdx.json", &document);
    assert!(ran.status.success(), "{ran:?}");
    // And it does look.
    let text = String::from_utf8(document).unwrap().replacen("\"container\"", "\"crate\"", 1);
    assert!(!judge("bad.cdx.json", text.as_bytes()).status.success());
}

#[test]
fn the_bill_of_materials_arrives_with_the_bundle() {
    let world = world();
    world.trust();
    world.bundler(&["sign", "b.tar", "--key", "keys/rel.key.pem"]).ok();
    world.installer(&["verify", "b.tar"]).ok();
    let text = std::fs::read_to_string(world.path("bundle.yaml")).unwrap();
    let text = text.split("scripts:").next().unwrap().to_string();
    world.write("bundle.yaml", text.replace("sequence: 7", "sequence: 8"));
    world.bundler(&["lock"]).ok();
    std::fs::remove_file(world.path("b.tar")).unwrap();
    world.bundler(&["build", "--out", "b.tar", "--key", "keys/rel.key.pem"]).ok();
    world.installer(&["apply", "b.tar", "--yes"]).ok();
    let digest = inventory(&world, "b.tar")["sbom"]["document"]["digest"].as_str().unwrap().to_string();
    let hex = digest.strip_prefix("sha256:").unwrap();
    let stored = std::fs::read(world.path(&format!("site/store/blobs/sha256/{hex}"))).unwrap();
    assert_eq!(stored, document(&world, "b.tar"));
    let shown = world.bundler(&["inspect", "b.tar"]).ok().stdout;
    assert!(shown.contains(&format!("sbom       CycloneDX, blobs/sha256/{hex}")), "{shown}");
}

#[test]
fn a_damaged_bill_of_materials_is_called_that() {
    let world = world();
    world.trust();
    world.bundler(&["sign", "b.tar", "--key", "keys/rel.key.pem"]).ok();
    world.bundler(&["split", "b.tar", "--media", "1MB", "--out", "discs"]).ok();
    let document = document(&world, "b.tar");
    for path in files_below(&world.path("discs")).into_iter().chain([world.path("b.tar")]) {
        let mut bytes = std::fs::read(&path).unwrap();
        if let Some(place) = bytes.windows(64).position(|window| window == &document[..64]) {
            bytes[place + 10] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
    }
    for named in ["b.tar", "discs"] {
        let ran = world.installer(&["verify", named]).expect_exit(Exit::Damaged);
        assert!(ran.stderr.contains("the bill of materials"), "{named}: {}", ran.stderr);
    }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
