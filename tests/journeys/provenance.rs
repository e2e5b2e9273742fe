//! `bundler attest`: the statement names every input, it is the same whoever makes it, several people sign
//! it, and the tools that it is made for take it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

mod ingredients;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use e2e::World;
use edge::Exit;
use ingredients::{image, index, layer, tool, wheel, write_layout};
use manifests::{Digest, PublicKey};
use serde_json::Value;
use testkit::real_part;

const FILE: &str = "medium/demo-1.0.0.provenance.dsse.json";

/// One of each kind, and of some two.
fn spec(world: &World) {
    let (amd64, arm64) = (image("amd64", &[layer(1, 100)]), image("arm64", &[layer(2, 100)]));
    write_layout(world, "both", &[("app:1", &index(&[("amd64", &amd64), ("arm64", &arm64)]))]);
    write_layout(world, "one", &[("db:15", &amd64)]);
    for (name, bytes) in [wheel("alpha", "1.0", "a"), wheel("beta", "2.0", "b")] {
        world.write(&format!("wheels/{name}"), bytes);
    }
    world.write("chart/Chart.yaml", "apiVersion: v2\nname: fraud\nversion: 1.0.0+b1\n");
    world.write("values.yaml", "a: 1\n");
    world.write("config/a.conf", "a\n");
    world.write("config/sub/b.conf", "b\n");
    world.spec(
        "1.0.0",
        7,
        "images:
  - {source: 'oci:both:app:1', name: registry.example.com/fraud/app:1}
  - {source: 'oci:one:db:15', name: registry.example.com/fraud/db:15}
wheels: [{name: tools, source: wheels}]
charts: [{source: chart, values: [values.yaml]}]
files: [{source: config, dest: /etc/fraud}]
",
    );
}

/// A world with keys and a bundle, signed by `rel`.
fn world() -> World {
    let mut world = World::new();
    world.vars.insert("SOURCE_DATE_EPOCH".into(), "1700000000".into());
    world.trust();
    spec(&world);
    std::fs::create_dir(world.path("medium")).unwrap();
    world.bundler(&["build", "--out", "medium/b.tar", "--key", "keys/rel.key.pem"]).ok();
    world
}

fn attest(world: &World, bundle: &str, keys: &[&str]) {
    let mut args = vec!["attest", bundle];
    let keys: Vec<String> = keys.iter().map(|name| format!("keys/{name}.key.pem")).collect();
    args.extend(keys.iter().flat_map(|path| ["--key", path]));
    world.bundler(&args).ok();
}

fn envelope(world: &World, file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(world.path(file)).unwrap()).unwrap()
}

fn payload(world: &World, file: &str) -> Vec<u8> {
    from_base64(envelope(world, file)["payload"].as_str().unwrap())
}

fn from_base64(text: &str) -> Vec<u8> {
    let mut child = Command::new("base64")
        .arg("-d")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let text = text.to_string();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut input, text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    output.stdout
}

fn public(world: &World, name: &str) -> PublicKey {
    let pem = std::fs::read_to_string(world.path(&format!("keys/{name}.pub.pem"))).unwrap();
    PublicKey::from_pem(&pem).unwrap()
}

/// The bundle's own words about each input: name, source, digest.
fn inputs_by_inventory(inventory: &Value) -> BTreeMap<String, (Option<String>, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_string();
    let mut found = BTreeMap::new();
    for component in inventory["components"].as_array().unwrap() {
        let (source, name) = (Some(text(&component["source"])), text(&component["name"]));
        let mut put = |name: String, source: &Option<String>, digest: &Value| {
            let digest = text(digest).replace("sha256:", "");
            assert!(found.insert(name.clone(), (source.clone(), digest)).is_none(), "{name} twice");
        };
        let list = |value: &Value| value.as_array().unwrap().clone();
        match text(&component["kind"]).as_str() {
            "image" => put(name, &source, &component["manifest"]["digest"]),
            "wheelhouse" => {
                for wheel in list(&component["wheels"]) {
                    let name = format!("wheelhouses/{name}/{}", text(&wheel["filename"]));
                    put(name, &source, &wheel["digest"]);
                }
            }
            "chart" => {
                let name = format!("charts/{name}:{}", text(&component["version"]).replace('+', "_"));
                put(name.clone(), &source, &component["archive"]["digest"]);
                for file in list(&component["values"]["files"]) {
                    put(format!("{name}.values/{}", text(&file["path"])), &None, &file["digest"]);
                }
            }
            "file-set" => {
                for file in list(&component["files"]) {
                    put(format!("files/{name}/{}", text(&file["path"])), &source, &file["digest"]);
                }
            }
            other => panic!("{other} is new: say what its inputs are"),
        }
    }
    found
}

#[test]
fn the_statement_names_every_image_wheel_chart_and_file_with_source_and_digest() {
    let world = world();
    attest(&world, "medium/b.tar", &["rel"]);
    let bytes = payload(&world, FILE);
    let statement: Value = manifests::canonical::from_canonical(&bytes).unwrap();
    let inspect = world.bundler(&["--output", "json", "inspect", "medium/b.tar"]).ok().json();

    let bundle = inspect["bundle"].as_str().unwrap().replace("sha256:", "");
    let subject = serde_json::json!([{"name": "bundle.json", "digest": {"sha256": bundle}}]);
    assert_eq!(statement["subject"], subject);
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    let definition = &statement["predicate"]["buildDefinition"];
    for name in ["publisher", "product", "version", "order", "audience"] {
        assert_eq!(definition["externalParameters"][name], inspect["manifest"][name], "{name}");
    }
    let builder = &statement["predicate"]["runDetails"]["builder"];
    assert_eq!(builder["version"]["bundler"], env!("CARGO_PKG_VERSION"));

    let expected = inputs_by_inventory(&inspect["inventory"]);
    assert_eq!(expected.len(), 2 + 2 + 2 + 2, "images, wheels, the chart and its values, files");
    let stated = definition["resolvedDependencies"].as_array().unwrap();
    let stated: BTreeMap<String, (Option<String>, String)> = stated
        .iter()
        .map(|input| {
            let uri = input.get("uri").map(|uri| uri.as_str().unwrap().to_string());
            let digest = input["digest"]["sha256"].as_str().unwrap().to_string();
            (input["name"].as_str().unwrap().to_string(), (uri, digest))
        })
        .collect();
    assert_eq!(stated, expected);
}

#[test]
fn the_same_inputs_give_the_same_statement_whoever_signs() {
    let world = world();
    attest(&world, "medium/b.tar", &["rel"]);
    let first = std::fs::read(world.path(FILE)).unwrap();
    // Built again, signed by somebody else, and stated by somebody else at another place.
    world.bundler(&["build", "--out", "again.tar", "--key", "keys/alice.key.pem"]).ok();
    attest(&world, "again.tar", &["bob"]);
    assert_eq!(payload(&world, FILE), payload(&world, "demo-1.0.0.provenance.dsse.json"));
    // Ed25519 is deterministic, so that even the files are the same for the same key.
    std::fs::remove_file(world.path(FILE)).unwrap();
    attest(&world, "medium/b.tar", &["rel"]);
    assert_eq!(std::fs::read(world.path(FILE)).unwrap(), first);
}

#[test]
fn several_people_sign_one_statement_and_each_counts_once() {
    let world = world();
    attest(&world, "medium/b.tar", &["rel", "alice"]);
    let two = std::fs::read(world.path(FILE)).unwrap();
    attest(&world, "medium/b.tar", &["bob"]);
    let keyids: Vec<Value> =
        envelope(&world, FILE)["signatures"].as_array().unwrap().iter().map(|s| s["keyid"].clone()).collect();
    let expected: Vec<String> =
        ["rel", "alice", "bob"].iter().map(|name| public(&world, name).id().to_string()).collect();
    assert_eq!(keyids, expected);
    let three = std::fs::read(world.path(FILE)).unwrap();
    assert_ne!(two, three);
    let args = ["--output", "json", "attest", "medium/b.tar", "--key", "keys/alice.key.pem"];
    assert_eq!(world.bundler(&args).ok().json()["signatures"][0]["attached"], false);
    assert_eq!(std::fs::read(world.path(FILE)).unwrap(), three, "signing twice has changed the file");
}

#[test]
fn a_signature_that_is_no_good_gives_way_to_a_good_one_of_the_same_key() {
    let world = world();
    attest(&world, "medium/b.tar", &["rel", "alice"]);
    let good = std::fs::read_to_string(world.path(FILE)).unwrap();
    let envelope = envelope(&world, FILE);
    let (of_rel, of_alice) = (&envelope["signatures"][0]["sig"], &envelope["signatures"][1]["sig"]);
    let bad = good.replace(of_alice.as_str().unwrap(), of_rel.as_str().unwrap());
    world.write(FILE, bad);
    attest(&world, "medium/b.tar", &["alice"]);
    assert_eq!(std::fs::read_to_string(world.path(FILE)).unwrap(), good);
}

#[test]
fn cosign_takes_it_for_each_signer_and_for_nobody_else() {
    let Some(cosign) = real_part("cosign") else { return };
    let world = world();
    attest(&world, "medium/b.tar", &["rel", "alice"]);
    tool("tar", &["-xf", "medium/b.tar", "bundle.json", "inventory.json"], world.dir());
    let takes = |key: &str, blob: &str, kind: &str| {
        let key = format!("keys/{key}.pub.pem");
        let what = ["verify-blob-attestation", "--key", &key, "--signature", FILE, "--type", kind];
        let mut command = Command::new(&cosign);
        command.args(what).args(["--insecure-ignore-tlog=true", blob]).current_dir(world.dir());
        command.output().unwrap().status.success()
    };
    assert!(takes("rel", "bundle.json", "slsaprovenance1"));
    assert!(takes("alice", "bundle.json", "slsaprovenance1"));
    assert!(!takes("bob", "bundle.json", "slsaprovenance1"), "a key that has not signed");
    assert!(!takes("rel", "inventory.json", "slsaprovenance1"), "another file");
    assert!(!takes("rel", "bundle.json", "spdx"), "another kind of statement");
}

/// A block of a page, by its name.
fn block(page: &str, name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    let text = std::fs::read_to_string(path).unwrap();
    let start = format!("file={name}\n");
    let (_, rest) = text.split_once(&start).unwrap_or_else(|| panic!("{page} has no block {name}"));
    rest.split_once("```").unwrap().0.to_string()
}

#[test]
fn the_auditors_lines_check_it_with_cosign_and_without() {
    let world = world();
    attest(&world, "medium/b.tar", &["rel", "alice"]);
    tool("tar", &["-xf", "medium/b.tar", "bundle.json"], world.dir());
    let shell = |script: &str, signer: &str, key: &str| {
        std::fs::copy(world.path(&format!("keys/{key}.pub.pem")), world.path("release.pub.pem")).unwrap();
        let variables =
            format!("KEYID={} NAME=demo-1.0.0 MEDIUM=medium\nset -e\n", public(&world, signer).id());
        let output = Command::new("sh")
            .args(["-c", &(variables + script)])
            .current_dir(world.dir())
            .env("PATH", &world.vars[std::ffi::OsStr::new("PATH")])
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let scripts = [("openssl", "openssl-provenance.sh"), ("cosign", "cosign-provenance.sh")];
    let scripts: Vec<(&str, String)> = scripts
        .into_iter()
        .filter(|(tool, _)| real_part(tool).is_some())
        .map(|(tool, name)| (tool, block("auditor.md", name)))
        .collect();
    for (tool, script) in &scripts {
        for signer in ["rel", "alice"] {
            let (holds, said) = shell(script, signer, signer);
            assert!(holds, "{tool}, {signer}: {said}");
            if *tool == "openssl" {
                assert_eq!(said, "Signature Verified Successfully\n1\n");
            }
        }
        assert!(!shell(script, "rel", "bob").0, "{tool} takes another key");
        assert!(!shell(script, "bob", "bob").0, "{tool} takes a key that has not signed");
    }
    let bundle = std::fs::read(world.path("bundle.json")).unwrap();
    world.write("bundle.json", [bundle.as_slice(), b" "].concat());
    for (tool, script) in &scripts {
        assert!(!shell(script, "rel", "rel").0, "{tool} takes another bundle.json");
    }
}

#[test]
fn a_signature_that_openssl_has_made_by_the_instructions_is_put_in() {
    let Some(openssl) = real_part("openssl") else { return };
    let world = world();
    let args = ["--output", "json", "attest", "medium/b.tar", "--prepare", "ceremony"];
    let said = world.bundler(&args).ok().json();
    assert!(!world.path(FILE).exists(), "preparing has signed");
    let bytes = std::fs::read(world.path("ceremony/demo-1.0.0.provenance.pae")).unwrap();
    assert_eq!(said["digest"], Digest::of(&bytes).to_string());
    let text = std::fs::read_to_string(world.path("ceremony/SIGN.txt")).unwrap();
    assert!(text.contains(&Digest::of(&bytes).hex()) && text.contains("UNCLASSIFIED"), "{text}");

    let line = text.lines().find(|line| line.contains("openssl pkeyutl")).unwrap();
    let line = line.replace("KEY.pem", "../keys/alice.key.pem");
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    tool(&openssl, &words, &world.path("ceremony"));
    let put = |public: &str| {
        let sig = "ceremony/demo-1.0.0.provenance.sig";
        world.bundler(&["attest", "medium/b.tar", "--signature", sig, "--public-key", public])
    };
    let ran = put("keys/bob.pub.pem").expect_exit(Exit::Refused);
    assert!(ran.stderr.contains("hint:") && ran.stderr.contains("--prepare"), "{}", ran.stderr);
    assert!(!world.path(FILE).exists(), "a wrong signature was written");
    put("keys/alice.pub.pem").ok();
    let by_openssl = std::fs::read(world.path(FILE)).unwrap();
    std::fs::remove_file(world.path(FILE)).unwrap();
    attest(&world, "medium/b.tar", &["alice"]);
    assert_eq!(std::fs::read(world.path(FILE)).unwrap(), by_openssl);
    // What is signed starts as DSSE says, and holds the statement.
    let statement = payload(&world, FILE);
    let head = format!("DSSEv1 28 application/vnd.in-toto+json {} ", statement.len());
    assert_eq!(bytes, [head.as_bytes(), &statement].concat());
}

#[test]
fn a_file_that_holds_something_else_is_refused_and_stays() {
    let world = world();
    attest(&world, "medium/b.tar", &["rel"]);
    let of_this = std::fs::read_to_string(world.path(FILE)).unwrap();
    spec(&world);
    world.write("config/a.conf", "changed\n");
    world.bundler(&["lock"]).ok();
    world.bundler(&["build", "--out", "medium/other.tar"]).ok();
    let cases = [
        ("medium/other.tar", of_this.clone(), Exit::Refused, "holds another statement"),
        ("medium/b.tar", of_this.replace("in-toto", "other"), Exit::Refused, "holds another statement"),
        ("medium/b.tar", of_this.trim_end().to_string(), Exit::Damaged, "is not an envelope of ours"),
        ("medium/b.tar", of_this.replacen(':', ": ", 1), Exit::Damaged, "is not an envelope of ours"),
        ("medium/b.tar", "hello".to_string(), Exit::Damaged, "is not an envelope of ours"),
    ];
    for (bundle, content, exit, words) in cases {
        world.write(FILE, &content);
        let ran = world.bundler(&["attest", bundle, "--key", "keys/alice.key.pem"]).expect_exit(exit);
        assert!(ran.stderr.contains(words), "{}", ran.stderr);
        assert_eq!(std::fs::read_to_string(world.path(FILE)).unwrap(), content, "{words}: it was written");
    }
    let out = ["attest", "medium/other.tar", "--key", "keys/alice.key.pem", "--out", "elsewhere.json"];
    world.bundler(&out).ok();
    assert_eq!(envelope(&world, "elsewhere.json")["payloadType"], "application/vnd.in-toto+json");
}

#[test]
fn an_inventory_that_is_not_the_signed_one_is_never_stated() {
    let world = world();
    let mut archive = std::fs::read(world.path("medium/b.tar")).unwrap();
    let place = archive.windows(9).position(|window| window == b"\"alpha-1.").unwrap();
    archive[place + 1] = b'b';
    world.write("medium/b.tar", archive);
    let args = ["attest", "medium/b.tar", "--key", "keys/rel.key.pem"];
    let ran = world.bundler(&args).expect_exit(Exit::Damaged);
    assert!(ran.stderr.contains("inventory.json"), "{}", ran.stderr);
    assert!(!world.path(FILE).exists());
}

#[test]
fn nothing_is_signed_without_saying_how() {
    let world = world();
    let both = ["attest", "medium/b.tar", "--key", "keys/rel.key.pem", "--prepare", "ceremony"];
    let lonely = ["attest", "medium/b.tar", "--signature", "x.sig"];
    for args in [["attest", "medium/b.tar"].as_slice(), &both, &lonely] {
        let _ = world.bundler(args).expect_exit(Exit::Usage);
    }
    assert!(!world.path(FILE).exists() && !world.path("ceremony").exists());
}
