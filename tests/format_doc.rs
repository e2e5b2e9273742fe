//! `docs/format.md` and the other pages under `docs/` are specifications: what they show is what the
//! programs write, and what they state is what the code does.
//!
//! The example bundle of `docs/format.md` is made here by `bundler` itself, from the sources that the
//! page shows. After a deliberate change of the format, write the derived examples anew with
//! `cargo test -p e2e --test format_doc -- --ignored write_the_examples_anew`, and read the difference. So does
//! `write_the_hints_anew` for the list of hints in `docs/operator.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    missing_docs
)]

mod hints;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use layout::header;
use layout::reader::{BundleReader, Discard};
use layout::writer::{ArchiveWriter, Head};
use manifests::audit::{self, Actor, Event, Outcome};
use manifests::bundle::{BundleDigest, Content};
use manifests::checkpoint::{CheckpointDocument, Comparison};
use manifests::companion::Companion;
use manifests::delta::Delta;
use manifests::inventory::{Component, ImageClass, NeededImage, WheelTarget};
use manifests::root::FoundSignature;
use manifests::verify::{SignedManifest, Standing, VerifiedBundle};
use manifests::{
    ArchivePath, BundleManifest, Digest, Inventory, PartsList, PublicKey, SecretKey, Timestamp, Trust,
    TrustRoot, canonical,
};
use serde_json::Value;

// ---- pages and their blocks ---------------------------------------------------------------------------

fn page_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

fn page(name: &str) -> String {
    fs::read_to_string(page_path(name)).unwrap()
}

/// A fenced block whose info string names it: `json file=bundle.json`.
#[derive(Debug, Clone)]
struct Block {
    flags: String,
    text: String,
}

impl Block {
    /// The bytes that the block stands for.
    fn bytes(&self) -> Vec<u8> {
        let has = |flag: &str| self.flags.split(' ').any(|word| word == flag);
        if has("base64") {
            return from_base64(&self.text);
        }
        if has("indented") {
            let value: Value = serde_json::from_str(&self.text).unwrap();
            return canonical::to_canonical(&value).unwrap();
        }
        let text = if has("no-final-newline") { self.text.trim_end_matches('\n') } else { &self.text };
        text.as_bytes().to_vec()
    }
}

fn blocks(page: &str) -> BTreeMap<String, Block> {
    let mut found = BTreeMap::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(flags) = line.strip_prefix("```") else { continue };
        let mut text = String::new();
        for line in lines.by_ref().take_while(|line| *line != "```") {
            text.push_str(line);
            text.push('\n');
        }
        if let Some(name) = flags.split(' ').find_map(|word| word.strip_prefix("file=")) {
            let block = Block { flags: flags.to_string(), text };
            assert!(found.insert(name.to_string(), block).is_none(), "two blocks are called {name}");
        }
    }
    found
}

fn from_base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes().filter(|byte| !byte.is_ascii_whitespace() && *byte != b'=') {
        let value = ALPHABET.iter().position(|letter| *letter == byte).unwrap();
        bits = bits << 6 | u32::try_from(value).unwrap();
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).unwrap());
        }
    }
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

// ---- the example, made by `bundler` -------------------------------------------------------------------

const ARCHIVE: &str = "greeter-1.0.0.bundle.tar";
/// 2026-01-01T12:00:00Z
const CREATED: &str = "1767268800";

struct FixedClock;

impl edge::Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_seconds(CREATED.parse().unwrap()).unwrap()
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

fn bundler(dir: &Path, arguments: &[&str]) {
    let mut env = edge::Env::real();
    env.args = std::iter::once("bundler").chain(arguments.iter().copied()).map(Into::into).collect();
    env.vars = BTreeMap::from([
        ("SOURCE_DATE_EPOCH".into(), CREATED.into()),
        ("AIRLOCK_CACHE".into(), dir.join("cache").into()),
    ]);
    // Helm renders the example's chart.
    env.vars.extend(std::env::var_os("PATH").map(|path| ("PATH".into(), path)));
    env.cwd = dir.to_path_buf();
    env.clock = std::sync::Arc::new(FixedClock);
    env.stdout = Box::new(std::io::sink());
    env.stderr = edge::Stderr::new(Box::new(std::io::stderr()));
    assert_eq!(bundler::run(&mut env), edge::Exit::Done, "bundler {arguments:?}");
}

fn put(path: PathBuf, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// The keys of the example. Nobody may use them for anything else: they are here for all to read.
fn example_keys() -> [(&'static str, SecretKey); 3] {
    [("release", 1), ("alice", 2), ("bob", 3)].map(|(name, seed)| (name, SecretKey::from_seed(&[seed; 32])))
}

/// Lays out the sources that the page shows, as a release engineer would have them.
fn write_sources(dir: &Path, blocks: &BTreeMap<String, Block>) {
    let bytes = |name: &str| blocks.get(name).unwrap_or_else(|| panic!("no block file={name}")).bytes();
    let texts = ["k8s/greeter.yaml", "migrate.sh", "unmigrate.sh"];
    for name in ["bundle.yaml", "values.yaml", "config/greeter.conf"].into_iter().chain(texts) {
        put(dir.join(name), &bytes(name));
    }
    put(dir.join("charts/greeter-1.0.0.tgz"), &bytes("chart.tgz"));
    put(dir.join("wheels/greeter-1.0.0-py3-none-any.whl"), &bytes("wheel.whl"));
    for name in ["layer.tar.gz", "image-config.json", "image-manifest.json"] {
        let content = bytes(name);
        put(dir.join("image/blobs/sha256").join(Digest::of(&content).hex()), &content);
    }
    let manifest = Content::of(&bytes("image-manifest.json"));
    let index = format!(
        "{{\"schemaVersion\":2,\"manifests\":[{{\"mediaType\":\"{}\",\"digest\":\"{}\",\"size\":{}}}]}}",
        manifests::oci::MEDIA_MANIFEST,
        manifest.digest,
        manifest.size
    );
    put(dir.join("image/index.json"), index.as_bytes());
    put(dir.join("image/oci-layout"), manifests::oci::OCI_LAYOUT);
    for (name, key) in example_keys() {
        let private = dir.join(format!("{name}.key.pem"));
        put(private.clone(), key.to_pem().unwrap().as_bytes());
        fs::set_permissions(private, fs::Permissions::from_mode(0o600)).unwrap();
        put(dir.join(format!("{name}.pub.pem")), key.public().unwrap().pem().as_bytes());
    }
}

/// Builds the example and returns its archive.
fn build_example(dir: &Path, blocks: &BTreeMap<String, Block>) -> Vec<u8> {
    write_sources(dir, blocks);
    bundler(dir, &["build", "bundle.yaml", "--key", "release.key.pem"]);
    bundler(
        dir,
        &[
            "trust",
            "new",
            "--publisher",
            "example",
            "--release-key",
            "release.pub.pem",
            "--root-key",
            "alice.pub.pem",
            "--root-key",
            "bob.pub.pem",
            "--root-threshold",
            "2",
            "--sign",
            "alice.key.pem",
            "--sign",
            "bob.key.pem",
            "--out",
            "root.json",
        ],
    );
    let both = ["--sign", "alice.key.pem", "--sign", "bob.key.pem"];
    let keyid = example_keys()[0].1.public().unwrap().id().to_string();
    let rotate = ["trust", "rotate", "root.json", "--new-epoch", "--out", "2.root.json"];
    bundler(dir, &[&rotate[..], &both].concat());
    let revoke = ["trust", "revoke", "root.json", "--key", &keyid, "--below", "greeter=1.2"];
    let why = ["--reason", "laptop stolen", "--out", "revocations.json"];
    bundler(dir, &[&revoke[..], &why, &both].concat());
    fs::read(dir.join(ARCHIVE)).unwrap()
}

/// What the page must show, by the names of its blocks.
fn derived(dir: &Path, archive: &[u8]) -> BTreeMap<String, String> {
    let mut reader = BundleReader::open(archive).unwrap();
    let head = reader.head().clone();
    let manifest = BundleManifest::from_bytes(&head.manifest).unwrap();
    let (contents, documents) = reader.contents(&manifest).unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let indented = |bytes: &[u8]| {
        let value: Value = serde_json::from_slice(bytes).unwrap();
        serde_json::to_string_pretty(&value).unwrap() + "\n"
    };
    let mut shown = BTreeMap::from([
        ("bundle.json".to_string(), text(head.manifest.clone())),
        ("inventory.json".to_string(), indented(&documents.inventory)),
        ("SHA256SUMS".to_string(), text(documents.checksums.clone())),
        ("index.json".to_string(), indented(&contents.inventory().oci_index().unwrap())),
        ("oci-layout".to_string(), text(manifests::oci::OCI_LAYOUT.to_vec()) + "\n"),
        ("root.json".to_string(), fs::read_to_string(dir.join("root.json")).unwrap()),
        ("revocations.json".to_string(), fs::read_to_string(dir.join("revocations.json")).unwrap()),
        ("succession".to_string(), succession(dir)),
        ("header".to_string(), dump(&header::encode(&ArchivePath::Manifest, head.manifest.len() as u64))),
        ("facts".to_string(), facts(archive, &head.manifest, &documents.inventory)),
        ("audit.jsonl".to_string(), text(audit_example())),
        ("checkpoint.json".to_string(), text(checkpoint_example())),
    ]);
    let inventory = contents.inventory().clone();
    let mut taken = Take(Vec::new());
    reader.stream(contents, &mut taken, &mut |_| {}).unwrap();
    shown.insert("manifest.json".to_string(), indented(&taken.of("manifest.json")));
    for (name, digest) in authored(&inventory) {
        let bytes = text(taken.of(&ArchivePath::Blob(digest).to_string()));
        shown.insert(name.to_string(), if bytes.ends_with('\n') { bytes } else { bytes + "\n" });
    }
    for (name, key) in example_keys() {
        let public = key.public().unwrap();
        shown.insert(format!("{name}.pub.pem"), public.pem().to_string());
        let raw = match name {
            "release" => head.signatures[0].bytes.clone(),
            _ => fs::read(dir.join(format!("root.json.sigs/{}.sig", public.id()))).unwrap(),
        };
        shown
            .insert(format!("{name}.sig"), format!("keyid      {}\nsignature  {}\n", public.id(), hex(&raw)));
    }
    let release = &head.signatures[0];
    let form = manifests::sigstore::derive(release.claimed, &release.bytes, &head.manifest).unwrap();
    shown.insert("release.sigstore.json".to_string(), text(form));
    let parts = archive.split_at(40960);
    let contents = [parts.0, parts.1].map(Content::of).to_vec();
    let list = PartsList::new("greeter-1.0.0.bundle.tar".parse().unwrap(), head.bundle_digest(), contents);
    shown.insert("parts.json".to_string(), text(list.unwrap().to_bytes().unwrap()));
    shown
}

/// The blobs that `bundler` has made, by the names of their blocks.
fn authored(inventory: &Inventory) -> Vec<(&'static str, Digest)> {
    let sbom = inventory.sbom.as_ref().unwrap();
    let mut found = vec![("sbom-manifest", sbom.manifest.digest), ("sbom.cdx.json", sbom.document.digest)];
    for component in &inventory.components {
        match component {
            Component::Image(_) => {}
            Component::Wheelhouse(wheelhouse) => {
                found.push(("wheelhouse-manifest", wheelhouse.manifest.digest))
            }
            Component::FileSet(set) => found.push(("files-manifest", set.manifest.digest)),
            Component::KubernetesManifests(set) => found.push(("kubernetes-manifest", set.manifest.digest)),
            Component::Script(script) => found.push(("script-manifest", script.manifest.digest)),
            Component::Chart(chart) => {
                found.push(("chart-manifest", chart.manifest.digest));
                found.push(("chart-metadata", chart.metadata.digest));
                found.push(("values-manifest", chart.values.as_ref().unwrap().manifest.digest));
            }
        }
    }
    found
}

/// What the second root says of the first one.
fn succession(dir: &Path) -> String {
    let next: Value = serde_json::from_slice(&fs::read(dir.join("2.root.json")).unwrap()).unwrap();
    let row = |key: &str| format!("{key:<9} {}\n", next[key]);
    ["version", "epoch", "previous"].map(row).concat()
}

fn facts(archive: &[u8], manifest: &[u8], inventory: &[u8]) -> String {
    let row = |what: &str, bytes: &[u8]| {
        format!("{what:<16} {:>6} bytes  {}\n", bytes.len(), Digest::of(bytes).hex())
    };
    row("bundle.json", manifest) + &row("inventory.json", inventory) + &row("the archive", archive)
}

/// Rows of sixteen bytes; rows of zeros are left out.
fn dump(block: &[u8]) -> String {
    let mut text = String::new();
    for (row, bytes) in block.chunks(16).enumerate().filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0))
    {
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let shown: String =
            bytes.iter().map(|b| if b.is_ascii_graphic() { char::from(*b) } else { '.' }).collect();
        text.push_str(&format!("{:03x}  {}  {shown}\n", row * 16, hex.join(" ")));
    }
    text
}

fn undump(text: &str) -> Vec<u8> {
    let mut block = vec![0; 512];
    for line in text.lines() {
        let at = usize::from_str_radix(&line[..3], 16).unwrap();
        for (position, byte) in line[5..52].split(' ').enumerate() {
            block[at + position] = u8::from_str_radix(byte, 16).unwrap();
        }
    }
    block
}

fn audit_example() -> Vec<u8> {
    let actor = Actor { uid: 0, user: "root".into(), sudo_user: Some("kim".into()), host: "site-1".into() };
    let mut head = audit::Head::default();
    let mut log = Vec::new();
    for (name, outcome, seconds) in
        [("verify", Outcome::Done, 0), ("apply", Outcome::Intent, 60), ("apply", Outcome::Done, 95)]
    {
        let about = BTreeMap::from([("product".to_string(), "greeter".to_string())]);
        let time = Timestamp::from_unix_seconds(CREATED.parse::<i64>().unwrap() + seconds).unwrap();
        let tool = "installer 0.1.0".to_string();
        let event = Event { time, event: name.to_string(), outcome, actor: actor.clone(), tool, about };
        let (line, next) = head.append(event).unwrap();
        log.extend(line);
        head = next;
    }
    log
}

/// About the log of the example, by a key of the example.
fn checkpoint_example() -> Vec<u8> {
    let (log, mut head, mut comparison) = (audit_example(), audit::Head::default(), Comparison::default());
    for line in log.split_inclusive(|byte| *byte == b'\n') {
        head = head.follow(line).unwrap().1;
        comparison.follow(&head).unwrap();
    }
    let (keyid, time) = (example_keys()[0].1.public().unwrap().id(), "2026-01-01T12:01:35Z".parse().unwrap());
    let (site, first) = (Some("site-1".parse().unwrap()), comparison.first().unwrap());
    CheckpointDocument::about(site, keyid, first, &head, time).unwrap().to_bytes().unwrap()
}

/// Keeps every entry in memory.
struct Take(Vec<(String, Vec<u8>)>);

impl Take {
    fn of(&self, name: &str) -> Vec<u8> {
        self.0.iter().find(|(path, _)| path == name).unwrap().1.clone()
    }
}

impl layout::reader::Sink for Take {
    fn begin(&mut self, path: &ArchivePath, _content: Content) -> std::io::Result<()> {
        self.0.push((path.to_string(), Vec::new()));
        Ok(())
    }
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.last_mut().unwrap().1.extend_from_slice(bytes);
        Ok(())
    }
    fn end(&mut self, _found: Content) -> std::io::Result<()> {
        Ok(())
    }
}

// ---- the page against the programs --------------------------------------------------------------------

#[test]
#[ignore = "it changes docs/format.md and docs/provenance.md"]
fn write_the_examples_anew() {
    let dir = tempfile::tempdir().unwrap();
    let archive = build_example(dir.path(), &blocks(&page("format.md")));
    write_anew("format.md", derived(dir.path(), &archive));
    write_anew("provenance.md", BTreeMap::from([("statement".to_string(), statement(dir.path()))]));
}

fn write_anew(name: &str, mut shown: BTreeMap<String, String>) {
    let old = page(name);
    let mut new = String::new();
    let mut skipping = false;
    for line in old.lines() {
        if skipping && line != "```" {
            continue;
        }
        skipping = false;
        new.push_str(line);
        new.push('\n');
        let block =
            line.strip_prefix("```").and_then(|flags| flags.split(' ').find_map(|w| w.strip_prefix("file=")));
        if let Some(text) = block.and_then(|block| shown.remove(block)) {
            new.push_str(&text);
            skipping = true;
        }
    }
    assert!(shown.is_empty(), "{name} has no block for {:?}", shown.keys());
    fs::write(page_path(name), new).unwrap();
}

/// The statement about the example's provenance, as the page shows it.
fn statement(dir: &Path) -> String {
    bundler(dir, &["attest", ARCHIVE, "--key", "release.key.pem"]);
    let envelope = fs::read(dir.join("greeter-1.0.0.provenance.dsse.json")).unwrap();
    let envelope: Value = serde_json::from_slice(&envelope).unwrap();
    let statement: Value =
        serde_json::from_slice(&from_base64(envelope["payload"].as_str().unwrap())).unwrap();
    serde_json::to_string_pretty(&statement).unwrap() + "\n"
}

#[test]
fn the_statement_on_the_page_about_provenance_is_what_bundler_writes() {
    let Some(_) = testkit::real_part("helm") else { return };
    let dir = tempfile::tempdir().unwrap();
    build_example(dir.path(), &blocks(&page("format.md")));
    assert_eq!(blocks(&page("provenance.md"))["statement"].text, statement(dir.path()));
}

#[test]
fn every_example_is_what_bundler_writes() {
    let Some(_) = testkit::real_part("helm") else { return };
    let blocks = blocks(&page("format.md"));
    let dir = tempfile::tempdir().unwrap();
    let archive = build_example(dir.path(), &blocks);
    for (name, text) in derived(dir.path(), &archive) {
        let found = blocks.get(&name).unwrap_or_else(|| panic!("no block file={name}"));
        assert_eq!(found.text, text, "file={name}");
    }
}

/// The archive, put together from nothing but what the page shows.
fn assembled(blocks: &BTreeMap<String, Block>) -> Vec<u8> {
    let bytes = |name: &str| blocks[name].bytes();
    let inventory = Inventory::from_bytes(&bytes("inventory.json")).unwrap();
    let head = Head {
        manifest: bytes("bundle.json"),
        signatures: vec![signature(blocks, "release.sig")]
            .into_iter()
            .map(|s| (s.claimed, s.bytes))
            .collect(),
        checksums: bytes("SHA256SUMS"),
        inventory: bytes("inventory.json"),
        oci_index: bytes("index.json"),
        docker_manifest: bytes("manifest.json"),
    };
    let content: BTreeMap<Digest, Vec<u8>> =
        blocks.values().map(Block::bytes).map(|bytes| (Digest::of(&bytes), bytes)).collect();
    let mut writer = ArchiveWriter::begin(Vec::new(), &head).unwrap();
    for blob in &inventory.blobs {
        let bytes =
            content.get(&blob.digest).unwrap_or_else(|| panic!("no block holds blob {}", blob.digest));
        writer.blob(*blob, &mut bytes.as_slice(), &mut |_| {}).unwrap();
    }
    writer.finish().unwrap()
}

fn signature(blocks: &BTreeMap<String, Block>, name: &str) -> FoundSignature {
    let words: Vec<&str> = blocks[name].text.split_whitespace().collect();
    let raw = words[3]
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
    FoundSignature { claimed: words[1].parse().unwrap(), bytes: raw.collect() }
}

#[test]
fn the_page_alone_gives_the_archive_and_it_verifies() {
    let Some(_) = testkit::real_part("helm") else { return };
    let blocks = blocks(&page("format.md"));
    let root_bytes = blocks["root.json"].bytes();
    let root_signatures = [signature(&blocks, "alice.sig"), signature(&blocks, "bob.sig")];
    let root = TrustRoot::pinned(&root_bytes, &root_signatures, Digest::of(&root_bytes)).unwrap();
    for name in ["release", "alice", "bob"] {
        let key = PublicKey::from_pem(&blocks[&format!("{name}.pub.pem")].text).unwrap();
        assert_eq!(root.document().keys[&key.id()].pem, key.pem());
    }
    let archive = assembled(&blocks);
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(archive, build_example(dir.path(), &blocks));

    let mut reader = BundleReader::open(archive.as_slice()).unwrap();
    let head = reader.head().clone();
    let signed =
        SignedManifest::authenticate(&Trust::starting_with(root), &head.manifest, &head.signatures).unwrap();
    assert_eq!(signed.digest(), BundleDigest(Digest::of(&blocks["bundle.json"].bytes())));
    let accepted = signed.accept(&Standing::default()).unwrap();
    let (contents, _) = reader.contents(accepted.signed().manifest()).unwrap();
    let checked = reader.stream(contents, &mut Discard, &mut |_| {}).unwrap();
    let bundle = VerifiedBundle::new(accepted, checked).unwrap();
    let kind = |component: &Component| {
        serde_json::to_value(component).unwrap()["kind"].as_str().unwrap().to_string()
    };
    let mut kinds: Vec<String> = bundle.inventory().components.iter().map(kind).collect();
    kinds.sort();
    let all = ["chart", "file-set", "image", "kubernetes-manifests", "script", "wheelhouse"];
    assert_eq!(kinds, all, "the example shows every kind");
}

#[test]
fn a_fragment_is_a_wheel_target_as_the_inventory_has_it() {
    let fragment = blocks(&page("format.md"))["wheel-target"].bytes();
    let target: WheelTarget = serde_json::from_slice(&fragment).unwrap();
    assert_eq!(canonical::to_canonical(&target).unwrap(), fragment);
}

#[test]
fn a_fragment_is_a_companion_as_the_inventory_has_it() {
    let fragment = blocks(&page("format.md"))["companion"].bytes();
    let companion: Companion = serde_json::from_slice(&fragment).unwrap();
    assert_eq!(canonical::to_canonical(&companion).unwrap(), fragment);
}

#[test]
fn a_fragment_is_a_needed_image_as_the_inventory_has_it() {
    let image: NeededImage =
        canonical::from_canonical(&blocks(&page("format.md"))["needed-image"].bytes()).unwrap();
    assert_eq!(image.class, ImageClass::Probable);
    assert_eq!(image.places.len() as u64, image.places_total);
}

#[test]
fn a_fragment_is_a_delta_as_the_inventory_has_it() {
    let blocks = blocks(&page("format.md"));
    let delta: Delta = canonical::from_canonical(&blocks["delta"].bytes()).unwrap();
    let whole = Inventory::from_bytes(&blocks["inventory.json"].bytes()).unwrap();
    let bundle = Digest::of(&blocks["bundle.json"].bytes());
    let inventory = whole.with_delta(Some(delta)).unwrap();
    assert_eq!((inventory.left_out().len(), inventory.bases()), (1, vec![bundle]));
}

#[test]
fn the_second_reader_takes_a_delta_and_says_what_it_leaves_out() {
    let Some(_) = testkit::real_part("helm") else { return };
    let blocks = blocks(&page("format.md"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let base = build_example(path, &blocks);
    put(path.join("base.tar"), &base);
    let delta =
        ["build", "bundle.yaml", "--key", "release.key.pem", "--base", "base.tar", "--out", "delta.tar"];
    bundler(path, &delta);
    put(path.join("reader.py"), &blocks["reader.py"].bytes());
    let (code, said) = run("python3", &["reader.py", "delta.tar", "release.pub.pem"], path);
    assert_eq!(code, Some(0), "{said}");
    let bundle = Digest::of(&blocks["bundle.json"].bytes()).to_string();
    let left_out: Vec<&str> = said.lines().filter(|line| line.starts_with("left out")).collect();
    assert!(left_out.len() > 5 && left_out.iter().all(|line| line.ends_with(&bundle)), "{said}");
    for (from, to, reason) in [
        ("\"left_out\": [{", "\"left_out\": [{\"bases\": [], \"blobs\": []}, {", "incomplete"),
        (
            "\"version\": \"1.0.0\"}], \"left_out\": [{",
            "\"version\": \"1.0.0\"}], \"left_out\": [], \"x\": [{",
            "leaves out nothing",
        ),
    ] {
        let script = format!(
            "import json, reader\nold, new = {from:?}, {to:?}\nparse = reader.parse\ndef other(data, what):\n    text = json.dumps(parse(data, what), sort_keys=True)\n    return json.loads(text.replace(old, new))\nreader.parse = other\nreader.verify(open('delta.tar', 'rb'), [])\n"
        );
        put(path.join("other.py"), script.as_bytes());
        let (code, said) = run("python3", &["other.py"], path);
        assert!(code != Some(0) && said.contains(reason), "{said}");
    }
}

#[test]
fn the_second_reader_takes_patches_and_no_delta_that_lies_about_them() {
    let Some(_) = testkit::real_part("python3") else { return };
    let world = e2e::World::new();
    world.trust();
    let mut state = 7_u64;
    let mut model: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    })
    .take(1 << 21)
    .collect();
    for (sequence, base) in [(1, None), (2, Some("1.tar"))] {
        world.write("data/model", &model);
        model[1000] ^= 1;
        world.spec(&format!("{sequence}.0"), sequence, "files: [{source: data, dest: /etc/app}]\n");
        world.bundler(&["lock"]).ok();
        let out = format!("{sequence}.tar");
        let mut build = vec!["build", "--key", "keys/rel.key.pem", "--out", &out];
        build.extend(base.iter().flat_map(|base| ["--base", base]));
        world.bundler(&build).ok();
    }
    world.write("reader.py", blocks(&page("format.md"))["reader.py"].bytes());
    let (code, said) = run("python3", &["reader.py", "2.tar", "keys/rel.pub.pem"], world.dir());
    assert!(code == Some(0) && said.contains("\npatched  sha256:"), "{said}");
    for (from, to, reason) in [
        ("\"features\": [\"delta\", \"patch\"]", "\"features\": [\"delta\"]", "other features"),
        ("\"patched\": 1", "\"patched\": 2", "the counts do not agree"),
        ("\"patches\": [{\"base\"", "\"patches\": [], \"x\": [{\"base\"", "leaves out nothing"),
    ] {
        let script = format!(
            "import json, reader\nold, new = {from:?}, {to:?}\nparse = reader.parse\ndef other(data, what):\n    text = json.dumps(parse(data, what), sort_keys=True)\n    return json.loads(text.replace(old, new))\nreader.parse = other\nreader.verify(open('2.tar', 'rb'), [])\n"
        );
        world.write("other.py", script);
        let (code, said) = run("python3", &["other.py"], world.dir());
        assert!(code != Some(0) && said.contains(reason), "{reason}: {said}");
    }
}

#[test]
fn the_second_reader_takes_a_countersigned_bundle_and_no_other_companion() {
    let Some(_) = testkit::real_part("helm") else { return };
    let blocks = blocks(&page("format.md"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    write_sources(path, &blocks);
    let countersign = ["--countersign", "release.key.pem", "--countersign", "alice.key.pem"];
    bundler(path, &[&["build", "bundle.yaml", "--key", "release.key.pem"], &countersign[..]].concat());
    put(path.join("reader.py"), &blocks["reader.py"].bytes());
    let (code, said) = run("python3", &["reader.py", ARCHIVE, "release.pub.pem"], path);
    assert_eq!(code, Some(0), "{said}");
    for (from, to) in
        [("\"tag\": \"sha256-d", "\"tag\": \"sha256-e"), ("cosign-signature", "cosign-attestatio")]
    {
        let script = format!(
            "import json, reader\nold, new = {from:?}, {to:?}\nparse = reader.parse\ndef other(data, what):\n    text = json.dumps(parse(data, what))\n    return json.loads(text.replace(old, new))\nreader.parse = other\nreader.verify(open({ARCHIVE:?}, 'rb'), [])\n"
        );
        put(path.join("other.py"), script.as_bytes());
        let (code, said) = run("python3", &["other.py"], path);
        assert!(code != Some(0) && said.contains("companion"), "{to}: {said}");
    }
}

#[test]
fn the_header_and_the_size_field_are_as_shown() {
    let page = page("format.md");
    let blocks = blocks(&page);
    let manifest = blocks["bundle.json"].bytes();
    let shown: header::Block = undump(&blocks["header"].text).try_into().unwrap();
    assert_eq!(shown, header::encode(&ArchivePath::Manifest, manifest.len() as u64));
    let rows = rows(&page, "size in bytes");
    assert!(rows.len() >= 4);
    for row in rows {
        let block = header::encode(&ArchivePath::Manifest, row[0].parse().unwrap());
        let field: Vec<String> = block[124..136].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(row[1], field.join(" "), "size {}", row[0]);
    }
}

/// The cells of a table, found by the head of its first column; code marks are taken off.
fn rows(page: &str, head: &str) -> Vec<Vec<String>> {
    let mut lines = page.lines().skip_while(|line| !line.starts_with(&format!("| {head} |")));
    lines.next().unwrap_or_else(|| panic!("no table `{head}`"));
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|line| {
        line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`').to_string()).collect()
    })
    .collect()
}

#[test]
fn every_limit_is_the_one_in_the_code() {
    let code: BTreeMap<&str, u64> = BTreeMap::from([
        ("BLOCK_BYTES", header::BLOCK_BYTES),
        ("AREA_BYTES", layout::signatures::AREA_BYTES),
        ("bundle::MANIFEST_BYTES_MAX", manifests::bundle::MANIFEST_BYTES_MAX),
        ("INVENTORY_BYTES_MAX", manifests::inventory::INVENTORY_BYTES_MAX),
        ("SIGNATURE_BYTES_MAX", manifests::root::SIGNATURE_BYTES_MAX),
        ("FORM_BYTES_MAX", manifests::sigstore::FORM_BYTES_MAX),
        ("SIGNATURES_MAX", manifests::root::SIGNATURES_MAX as u64),
        ("ROOT_BYTES_MAX", manifests::root::ROOT_BYTES_MAX),
        ("REVOCATIONS_BYTES_MAX", manifests::revocation::REVOCATIONS_BYTES_MAX),
        ("CHAIN_MAX", manifests::trust::CHAIN_MAX as u64),
        ("ED25519_SIGNATURE_BYTES", manifests::key::ED25519_SIGNATURE_BYTES as u64),
        ("KEY_FILE_BYTES_MAX", manifests::key::KEY_FILE_BYTES_MAX),
        ("SIGNATURE_FILE_BYTES_MAX", manifests::key::SIGNATURE_FILE_BYTES_MAX),
        ("PBKDF2_ITERATIONS_MAX", manifests::key::PBKDF2_ITERATIONS_MAX.into()),
        ("SCRYPT_BYTES_MAX", manifests::key::SCRYPT_BYTES_MAX),
        ("oci::MANIFEST_BYTES_MAX", manifests::oci::MANIFEST_BYTES_MAX),
        ("LINE_BYTES_MAX", audit::LINE_BYTES_MAX as u64),
        ("CHECKPOINT_BYTES_MAX", manifests::checkpoint::CHECKPOINT_BYTES_MAX),
        ("PARTS_BYTES_MAX", manifests::parts::PARTS_BYTES_MAX),
        ("PARTS_MAX", manifests::parts::PARTS_MAX as u64),
        ("REQUIRED_MAX", manifests::requires::REQUIRED_MAX as u64),
        ("HEALTH_CHECKS_MAX", manifests::health::HEALTH_CHECKS_MAX as u64),
        ("COMMAND_WORDS_MAX", manifests::health::COMMAND_WORDS_MAX as u64),
        ("SEGMENT_BYTES", layout::patch::SEGMENT_BYTES.into()),
        ("PREFIX_BYTES_MAX", layout::patch::PREFIX_BYTES_MAX.into()),
        ("FRAME_BYTES_MAX", layout::patch::FRAME_BYTES_MAX.into()),
        ("RESULT_BYTES_MAX", layout::patch::RESULT_BYTES_MAX),
    ]);
    let rows = rows(&page("format.md"), "constant");
    let stated: BTreeMap<&str, u64> =
        rows.iter().map(|row| (row[0].as_str(), row[1].parse().unwrap())).collect();
    assert_eq!(stated, code);
}

#[test]
fn the_audit_example_is_an_unbroken_chain() {
    let log = blocks(&page("format.md"))["audit.jsonl"].bytes();
    let mut head = audit::Head::default();
    for line in log.split_inclusive(|byte| *byte == b'\n') {
        head = head.follow(line).unwrap().1;
    }
    assert_eq!(head.entries, 3);
}

// ---- programs that the pages show ---------------------------------------------------------------------

/// Runs one of the pages' programs, and tells its exit code and what it printed.
fn run(program: &str, arguments: &[&str], dir: &Path) -> (Option<i32>, String) {
    let output = Command::new(program).args(arguments).current_dir(dir).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// Flips bytes, cuts and prolongs the archive, and prints what the second reader took all the same.
const TORTURE: &str = r#"
import io, sys
import reader
good, keys = open(sys.argv[1], "rb").read(), sys.argv[2:]
def taken(data):
    try:
        reader.verify(io.BytesIO(data), keys)
        return True
    except (SystemExit, Exception):
        return False
assert taken(good), "the good archive"
end_of_area = 2048 + 512 + 32768
places = list(range(0, 4096, 7)) + list(range(4096, end_of_area, 1021)) + list(range(end_of_area, len(good), 13))
for at in places:
    if taken(good[:at] + bytes([good[at] ^ 1]) + good[at + 1:]):
        print("took a flip at", at)
for length in list(range(0, len(good), 509)) + [len(good) - 1, len(good) - 512, len(good) - 1024]:
    if taken(good[:length]):
        print("took a cut at", length)
for tail in (b"\0", b"\0" * 512, b"x"):
    if taken(good + tail):
        print("took a tail of", len(tail))
print("done", len(places))
"#;

#[test]
fn the_second_reader_takes_the_example_and_no_damaged_copy_of_it() {
    let blocks = blocks(&page("format.md"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    put(path.join("reader.py"), &blocks["reader.py"].bytes());
    put(path.join("torture.py"), TORTURE.as_bytes());
    put(path.join("release.pub.pem"), &blocks["release.pub.pem"].bytes());
    put(path.join("alice.pub.pem"), &blocks["alice.pub.pem"].bytes());
    put(path.join(ARCHIVE), &assembled(&blocks));

    let (code, said) = run("python3", &["reader.py", ARCHIVE, "release.pub.pem"], path);
    assert_eq!(code, Some(0), "{said}");
    for name in [
        "registry.example.com/greeter/hello:1.0.0",
        "wheelhouses/greeter",
        "charts/greeter:1.0.0",
        "files/etc-greeter",
        "kubernetes/k8s",
        "scripts/migrate",
    ] {
        assert!(said.contains(name), "{said}");
    }
    let (code, said) = run("python3", &["reader.py", ARCHIVE, "alice.pub.pem"], path);
    assert!(code != Some(0) && said.contains("has not signed"), "{said}");
    let (code, said) = run("python3", &["torture.py", ARCHIVE, "release.pub.pem"], path);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("done"), "{said}");
}

#[test]
fn the_second_reader_takes_an_archive_that_was_signed_in_place() {
    let blocks = blocks(&page("format.md"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    put(path.join("reader.py"), &blocks["reader.py"].bytes());
    put(path.join(ARCHIVE), &assembled(&blocks));
    for (name, key) in example_keys() {
        let file = fs::File::options().read(true).write(true).open(path.join(ARCHIVE)).unwrap();
        let head = BundleReader::open(&file).unwrap().head().clone();
        let public = key.public().unwrap();
        put(path.join(format!("{name}.pub.pem")), public.pem().as_bytes());
        if name != "release" {
            layout::signatures::attach(&file, &head, public.id(), &key.sign(&head.manifest).unwrap())
                .unwrap();
        }
    }
    let keys = ["reader.py", ARCHIVE, "release.pub.pem", "alice.pub.pem", "bob.pub.pem"];
    let (code, said) = run("python3", &keys, path);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn the_canonical_one_liner_gives_the_bytes_of_the_example() {
    let page = page("format.md");
    let blocks = blocks(&page);
    let dir = tempfile::tempdir().unwrap();
    put(dir.path().join("inventory.json"), blocks["inventory.json"].text.as_bytes());
    put(dir.path().join("canonical.py"), &blocks["canonical.py"].bytes());
    put(dir.path().join("out.py"), b"import sys, json\nfrom canonical import canonical\nsys.stdout.buffer.write(canonical(json.load(open('inventory.json'))))\n");
    let (code, said) = run("python3", &["out.py"], dir.path());
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.as_bytes(), blocks["inventory.json"].bytes());
}

// ---- the other pages ----------------------------------------------------------------------------------

#[test]
fn every_bundle_yaml_of_the_pages_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut count = 0;
    for name in ["format.md", "bundle-yaml.md", "../README.md"] {
        for (file, block) in blocks(&page(name)).iter().filter(|(file, _)| file.ends_with("bundle.yaml")) {
            let path = dir.path().join("bundle.yaml");
            fs::write(&path, block.bytes()).unwrap();
            let loaded = bundler::spec::load(&path);
            assert!(loaded.is_ok(), "{name}, {file}: {}", loaded.unwrap_err());
            count += 1;
        }
    }
    assert_eq!(count, 5);
}

#[test]
fn the_site_yaml_of_the_runbook_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("site.yaml");
    fs::write(&path, blocks(&page("operator.md"))["site.yaml"].bytes()).unwrap();
    let config = installer::site::config::SiteConfig::load(&path).unwrap();
    assert!(
        config.targets.registry.is_some()
            && config.targets.python.is_some()
            && config.targets.files.is_some()
    );
}

#[test]
fn the_runbook_lists_every_check_as_the_program_has_it() {
    use installer::preflight::catalogue::{CHECKS, Rule};
    let text = page("operator.md");
    let mut lines = text.lines().skip_while(|line| !line.starts_with("| id | what is looked at |"));
    let listed: Vec<&str> = lines.by_ref().skip(2).take_while(|line| line.starts_with('|')).collect();
    let row = |id: &str, meaning: &str, rule: &Rule| match rule {
        Rule::Strict(why) => format!("| `{id}` | {meaning} | no: {why} |"),
        Rule::Open(why) => format!("| `{id}` | {meaning} | yes: {why} |"),
    };
    let wanted: Vec<String> = CHECKS.iter().map(|check| row(check.id, check.meaning, &check.rule)).collect();
    assert_eq!(listed, wanted);
}

const HINTS: (&str, &str) = ("<!-- hints -->\n", "<!-- /hints -->\n");

/// What stands between the two marks of the runbook, and where.
fn listed_hints(page: &str) -> std::ops::Range<usize> {
    let begin = page.find(HINTS.0).unwrap() + HINTS.0.len();
    begin..page.find(HINTS.1).unwrap()
}

#[test]
fn the_runbook_lists_every_hint_of_the_program_and_no_other() {
    let (page, top) = (page("operator.md"), Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap());
    let (shown, is) = (&page[listed_hints(&page)], hints::list(top));
    let lines = |text: &str| text.lines().map(str::to_string).collect::<std::collections::BTreeSet<_>>();
    let (shown_lines, is_lines) = (lines(shown), lines(&is));
    assert!(is_lines.len() > 100, "{}", is_lines.len());
    let missing: Vec<_> = is_lines.difference(&shown_lines).collect();
    let gone: Vec<_> = shown_lines.difference(&is_lines).collect();
    assert_eq!((missing, gone), (vec![], vec![]), "write_the_hints_anew does that");
    assert_eq!(shown, is);
}

#[test]
#[ignore = "it changes docs/operator.md"]
fn write_the_hints_anew() {
    let (mut page, top) = (page("operator.md"), Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap());
    page.replace_range(listed_hints(&page), &hints::list(top));
    fs::write(page_path("operator.md"), page).unwrap();
}

#[test]
fn the_pages_list_every_exit_code() {
    let codes: Vec<String> = (0..=8).map(|code: u8| code.to_string()).collect();
    assert_eq!(edge::Exit::Unreachable.code(), 8, "the last one");
    for name in ["operator.md", "../README.md"] {
        let rows = rows(&page(name), "code");
        let listed: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
        assert_eq!(listed, codes, "{name}");
        if name == "../README.md" {
            let meanings: Vec<String> = rows.iter().map(|row| row[1].replace("**", "")).collect();
            assert_eq!(meanings, edge::Exit::ALL.map(edge::Exit::meaning), "as in the manual pages");
        }
    }
}

#[test]
fn every_link_of_the_pages_leads_to_a_file() {
    let mut pages: Vec<PathBuf> = vec![page_path("../README.md"), page_path("../ARCHITECTURE.md")];
    for dir in [page_path("."), page_path("adr")] {
        pages.extend(
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()),
        );
    }
    for path in pages {
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || link.contains("://") {
                continue;
            }
            assert!(path.with_file_name(target).exists(), "{}: {link}", path.display());
        }
    }
}

#[test]
fn the_auditors_lines_derive_the_sigstore_form_and_cosign_takes_it() {
    let (format, auditor) = (blocks(&page("format.md")), blocks(&page("auditor.md")));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    put(path.join(ARCHIVE), &assembled(&format));
    let release = signature(&format, "release.sig");
    let shell = |line: &str| run("sh", &["-c", &format!("KEYID={}\n{line}", release.claimed)], path);
    let derive = auditor["derive-form.sh"].text.as_str();
    assert_eq!(shell(&format!("tar -xf {ARCHIVE}")), (Some(0), String::new()));
    assert_eq!(shell(derive), (Some(0), String::new()));
    assert_eq!(fs::read(path.join("derived.json")).unwrap(), format["release.sigstore.json"].bytes());
    if testkit::real_part("cosign").is_some() {
        let verify = auditor["verify-form.sh"].text.as_str();
        for (key, takes) in [("release", true), ("alice", false)] {
            put(path.join("release.pub.pem"), &format[&format!("{key}.pub.pem")].bytes());
            let (code, said) = shell(verify);
            assert_eq!((code == Some(0), said.contains("Verified OK")), (takes, takes), "{key}: {said}");
        }
    }
    let form = path.join(format!("signatures/{}.sigstore.json", release.claimed));
    put(form.clone(), &[format["release.sigstore.json"].bytes().as_slice(), b" "].concat());
    assert_eq!(shell(derive).0, Some(1), "a form with one more byte");
    fs::remove_file(form).unwrap();
    assert_eq!(shell(derive).0, Some(2), "no form");
}

#[test]
fn the_auditors_lines_derive_the_form_of_a_p384_signature_as_the_page_says() {
    // No key is needed for this: a DER signature on P-384 has a length of its own.
    let raw: Vec<u8> = [0x30, 101].into_iter().chain(0..101).collect();
    let derive = blocks(&page("auditor.md"))["derive-form.sh"].text.clone();
    let derive = derive.replace("sha256sum", "sha384sum").replace("SHA2_256", "SHA2_384");
    let dir = tempfile::tempdir().unwrap();
    let keyid = example_keys()[0].1.public().unwrap().id();
    put(dir.path().join("bundle.json"), b"{}\n");
    put(dir.path().join(format!("signatures/{keyid}.sig")), &raw);
    let form = manifests::sigstore::derive(keyid, &raw, b"{}\n").unwrap();
    put(dir.path().join(format!("signatures/{keyid}.sigstore.json")), &form);
    assert_eq!(run("sh", &["-c", &format!("KEYID={keyid}\n{derive}")], dir.path()), (Some(0), String::new()));
}

#[test]
fn the_second_reader_knows_the_form_of_each_kind_of_signature() {
    const SCRIPT: &str = "import sys, reader
form = reader.sigstore(sys.argv[1], bytes.fromhex(sys.argv[2]), b'{}')
print('none' if form is None else form.decode(), end='')";
    let dir = tempfile::tempdir().unwrap();
    put(dir.path().join("reader.py"), &blocks(&page("format.md"))["reader.py"].bytes());
    let keyid = example_keys()[0].1.public().unwrap().id();
    let der = |length: u8| [0x30, length - 2].into_iter().chain(0..length - 2).collect::<Vec<u8>>();
    let kinds = [vec![7; 64], der(8), der(70), der(72), der(73), der(102), der(104), der(105)];
    let odd = [Vec::new(), vec![0x30], vec![7; 65], b"SSHSIG".to_vec(), [der(70), vec![0]].concat()];
    for raw in kinds.into_iter().chain(odd) {
        let ours = manifests::sigstore::derive(keyid, &raw, b"{}");
        let ours = ours.map_or("none".to_string(), |form| String::from_utf8(form).unwrap());
        let arguments = ["-c", SCRIPT, &keyid.to_string(), &hex(&raw)];
        assert_eq!(run("python3", &arguments, dir.path()), (Some(0), ours), "{raw:?}");
    }
}

#[test]
fn the_auditors_loop_finds_what_was_done_to_a_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    put(path.join("check-audit.sh"), &blocks(&page("auditor.md"))["check-audit.sh"].bytes());
    let log = audit_example();
    let lines: Vec<&[u8]> = log.split_inclusive(|byte| *byte == b'\n').collect();
    let check = |log: &[u8]| {
        fs::write(path.join("audit.jsonl"), log).unwrap();
        run("sh", &["check-audit.sh", "audit.jsonl"], path)
    };
    let (code, said) = check(&log);
    assert!(code == Some(0) && said.contains(&Digest::of(lines[2]).hex()) && said.contains('3'), "{said}");
    let edited = String::from_utf8(log.clone()).unwrap().replacen("\"done\"", "\"gone\"", 1).into_bytes();
    let torn = log[..log.len() - 1].to_vec();
    for (what, bad, line) in [
        ("an edited line", edited, "line 2"),
        ("a missing line", [lines[0], lines[2]].concat(), "line 2"),
        ("a missing first line", [lines[1], lines[2]].concat(), "line 1"),
        ("two lines swapped", [lines[1], lines[0], lines[2]].concat(), "line 1"),
        ("a line twice", [lines[0], lines[0], lines[1], lines[2]].concat(), "line 2"),
        ("a torn line", torn, "line 3"),
    ] {
        let (code, said) = check(&bad);
        assert!(code == Some(1) && said.contains(line), "{what}: {code:?} {said}");
    }
}

#[test]
fn every_threat_names_tests_that_exist() {
    let page = page("threats.md");
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    let named = |row: &str| -> Vec<(String, String)> {
        let words = row.split('`').filter(|word| word.contains(".rs::"));
        words.filter_map(|word| word.split_once("::")).map(|(f, t)| (f.to_string(), t.to_string())).collect()
    };
    for (number, row) in rows.iter().enumerate() {
        assert!(row.starts_with(&format!("| {} |", number + 1)), "{row}");
        let tests = named(row);
        assert!(!tests.is_empty(), "row {} names no test", number + 1);
        for (file, test) in tests {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(&file);
            let source = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(source.contains(&format!("fn {test}()")), "row {}: {file} has no {test}", number + 1);
        }
    }
    assert_eq!(rows.len(), 22);
}
