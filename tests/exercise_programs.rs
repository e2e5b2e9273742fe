//! The bodies of the fuzz targets of both programs' parsers, over honest inputs of every kind with pieces
//! changed, cut, doubled and mixed, and over random input, on every test run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::io::Write;
use std::sync::LazyLock;

use e2e::{World, parsers};
use manifests::Digest;
use manifests::oci::{ANNOTATION_REF_NAME, MEDIA_CONFIG, MEDIA_MANIFEST, OCI_LAYOUT};
use proptest::prelude::*;
use serde_json::json;
use testkit::sample::Forge;

/// A body, by the name of its target.
type Body = (&'static str, fn(&[u8]));

fn as_text(body: fn(&str), bytes: &[u8]) {
    body(&String::from_utf8_lossy(bytes));
}

/// Every target of `fuzz/` whose body is in `e2e::parsers`.
const BODIES: &[Body] = &[
    ("spec", |bytes| as_text(parsers::spec, bytes)),
    ("site_yaml", parsers::site_yaml),
    ("requirements", parsers::requirements),
    ("lock", parsers::lock),
    ("names", |bytes| as_text(parsers::names, bytes)),
    ("wheel", parsers::wheel),
    ("image_archive", parsers::image_archive),
    ("chart", parsers::chart),
    ("chart_index", parsers::chart_index),
    ("chart_provenance", parsers::chart_provenance),
    ("pylock", |bytes| as_text(parsers::pylock, bytes)),
    ("rendered", |bytes| as_text(parsers::rendered, bytes)),
    ("logins", parsers::logins),
    ("answers", |bytes| as_text(parsers::answers, bytes)),
    ("request", |bytes| as_text(parsers::request, bytes)),
    ("site_files", parsers::site_files),
];

// ---- honest inputs ------------------------------------------------------------------------------------

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

fn wheel() -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, text) in [
        ("tiny.py", "ANSWER = 42\n"),
        (
            "tiny-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\nRequires-Python: >=3.8,\n <4\n\nText\n",
        ),
    ] {
        archive.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(text.as_bytes()).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn chart() -> Vec<u8> {
    let mut forge = Forge::empty();
    forge.push("fraud/Chart.yaml", b"apiVersion: v2\nname: fraud\nversion: 1.0.0\nappVersion: '2'\ndependencies: [{name: base, version: 1.x}]\n");
    let mut base = Forge::empty();
    base.push("base/Chart.yaml", b"apiVersion: v2\nname: base\nversion: 1.0.0\n");
    base.push("base/Images.lock", b"images: [{name: a, image: 'r.example.com/a:v1'}]\n");
    forge.push("fraud/charts/base-1.0.0.tgz", &gzip(&base.bytes()));
    gzip(&forge.bytes())
}

/// One archive that is both: an image layout, and what `docker save` writes.
fn image_archive() -> Vec<u8> {
    let mut layer = Forge::empty();
    layer.push("hello", b"hello\n");
    let layer = layer.bytes();
    let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer)]}});
    let config = serde_json::to_vec(&config).unwrap();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MEDIA_MANIFEST,
        "config": manifests::Descriptor::of(MEDIA_CONFIG, &config),
        "layers": [manifests::Descriptor::of("application/vnd.oci.image.layer.v1.tar", &layer)],
    });
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let named = manifests::Descriptor::of(MEDIA_MANIFEST, &manifest)
        .annotated(ANNOTATION_REF_NAME, "r.example.com/a:v1");
    let place = |bytes: &[u8]| format!("blobs/sha256/{}", Digest::of(bytes).hex());
    let mut forge = Forge::empty();
    forge.push("oci-layout", OCI_LAYOUT);
    forge
        .push("index.json", &serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [named]})).unwrap());
    let saved =
        json!([{"Config": place(&config), "RepoTags": ["r.example.com/a:v1"], "Layers": [place(&layer)]}]);
    forge.push("manifest.json", &serde_json::to_vec(&saved).unwrap());
    for blob in [&config, &layer, &manifest] {
        forge.push(&place(blob), blob);
    }
    forge.bytes()
}

const SITE_YAML: &str = "apiVersion: airlock/v1\nkind: Site\nsite: lab\ngroups: [bank]\ntargets:\n  registry: {url: \"http://127.0.0.1:5000\", prefix: mirror}\n  python: {interpreter: /usr/bin/python3, venvs: /opt/venvs}\n  files: {root: /}\nkeep: 2\n";

/// What both programs write for themselves and read again: a spec, its lock, and the files of a site.
fn written() -> &'static Vec<Vec<u8>> {
    static WRITTEN: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let world = World::new();
        world.trust();
        world.write("note", "text");
        world.write("chart.tgz", chart());
        world.write("wheels/tiny-1.0-py3-none-any.whl", wheel());
        let rest = "files: [{source: note, dest: /etc/demo, mode: \"0640\"}]\ncharts: [{source: chart.tgz, release: fraud, order: -1}]\nwheels: [{name: tools, source: wheels}]\nwaivers: [{image: r.example.com/a:v1, reason: switched off}]\n";
        world.spec("1.0.0", 1, rest);
        world.bundler(&["lock"]).ok();
        world.bundler(&["build", "--key", "keys/rel.key.pem", "--out", "b.tar"]).ok();
        let root = world.path("root");
        std::fs::create_dir(&root).unwrap();
        world.write(
            "site/site.yaml",
            SITE_YAML.split("targets:").next().unwrap().to_string()
                + &format!("targets: {{files: {{root: {}}}}}\n", root.display()),
        );
        world.installer(&["apply", "b.tar", "--yes"]).ok();
        let journal = std::fs::read_dir(world.path("site/journal")).unwrap();
        let journal = journal.map(|entry| entry.unwrap().path()).find(|path| path.is_file()).unwrap();
        let journal = journal.strip_prefix(world.dir()).unwrap().to_str().unwrap().to_string();
        let paths = [
            "bundle.yaml",
            "bundle.lock",
            "site/ledger/acme.demo.json",
            "site/store/published.json",
            "site/store/index.json",
            "site/audit/audit.jsonl",
            &journal,
        ];
        paths.iter().map(|path| std::fs::read(world.path(path)).unwrap()).collect()
    });
    &WRITTEN
}

/// What Helm renders.
const RENDERED: &str = "---\n# Source: fraud/templates/a.yaml\napiVersion: v1\nkind: List\nitems:\n  - kind: Deployment\n    metadata: &m {name: web, namespace: prod}\n    spec: {template: {spec: {containers: [{name: a, image: 'r.example.com:5000/a:1', args: ['--image=redis:7'], env: [{name: RELATED_IMAGE_X, value: quay.io/a/b}]}], volumes: [{image: {reference: a}}]}}}\n  - {kind: Secret, metadata: *m, data: {x: aW1hZ2U6IHF1YXkuaW8vYS9iOjcK}}\n---\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  pod.yaml: |\n    image: {registry: quay.io, repository: a/b, tag: 7}\n  odd: =\n";

/// What a site must have and what has to hold afterwards, of every kind.
const CONDITIONS: &str = "apiVersion: airlock/v1\nkind: Bundle\npublisher: a\nproduct: a\nversion: '1'\nsequence: 1\naudience: ['*']\nmarking: X\nfiles: [{source: a, dest: /a}]\nrequires:\n  disk: 2GiB\n  memory: 500MB\n  kubernetes: '>=1.28 || ^2'\n  helm: 3.14 - 4\n  secrets: [a/b, 'a/b:c']\n  storageClasses: [fast]\n  ports: [8080, '127.0.0.1:9090', '[::1]:9090']\n  apis: [monitoring.coreos.com/v1/ServiceMonitor, v1/Secret]\n  commands: [psql]\nhealth:\n  - {http: 'http://127.0.0.1:8080/healthz?full=1', status: 204, contains: ok, name: front, within: 2m}\n  - {tcp: 'db.site:5432', within: 90s}\n  - {command: [pg_isready, -d, 'a b']}\n  - {rollout: statefulset/db, namespace: fraud}\n";

const TEXTS: &[&str] = &[
    RENDERED,
    CONDITIONS,
    "http://[::1]:8080/a?b=c",
    "tiny-1.0-py3-none-any.whl",
    "zope.interface-6.4.post1-1build-cp311.cp312-abi3.cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "1!2.0.0rc1.post3.dev4+local.7",
    ">=3.8, !=3.9.*, ~=3.10.1, <4",
    "3.11 manylinux_2_28_x86_64",
    "3.9 macosx_11_0_arm64",
    "musllinux_1_2_aarch64",
    "docker://registry.example.com:5000/a/b:v1",
    "oci-archive:images/postgres.tar:r.example.com/postgres:15",
    "docker-archive:x.tar:a/b:c",
    "https://user:secret@index.example:8443/simple/../a%2Fb/?q=x#f",
    "../../c/./d?x=1&y=%41",
    "//other.example/x",
    "[::1]:8080",
    "<https://registry.example.com/v2/a/tags/list?last=x&n=100>; rel=\"next\"",
    "bytes 5-9/10",
    "bytes=0-499",
    "bytes=-500",
    "W/\"a\", \"b\", *",
    "application/vnd.pypi.simple.v1+json;q=0.5, text/html; q=0.01, */*",
    "/v2/registry.example.com/a/manifests/sha256:0000?ns=docker.io&n=2",
    "/files/set/a%20b/%2e%2e/x",
    "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"no\",\"detail\":{}}]}",
    "--index-url https://index.example/simple\nflask==3.0.0 ; python_version > '3' \\\n    --hash=sha256:0000000000000000000000000000000000000000000000000000000000000000\n",
    "apiVersion: v1\nentries:\n  fraud:\n  - {name: fraud, version: 1.2.3, urls: [fraud-1.2.3.tgz], digest: 4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865}\n  - {version: v1.3, urls: [\"https://files.example/x\"]}\n",
    "{\"entries\":{\"a\":[{\"version\":\"1.0.0\",\"urls\":[\"a\"]}]}}",
    "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nname: fraud\n- -x\n\n...\nfiles:\n  fraud-1.0.0.tgz: sha256:00\n-----BEGIN PGP SIGNATURE-----\n\nwsBc\n-----END PGP SIGNATURE-----\n",
    ">=1.2.3-0, <2 || ~3.1 || 4.x || 5.1 - 5.4 || != 6",
    "lock-version = \"1.0\"\ncreated-by = \"uv\"\nrequires-python = \">=3.9\"\n[[packages]]\nname = \"tiny\"\nversion = \"1.0\"\nmarker = \"os_name == 'posix'\"\nwheels = [{name = \"tiny-1.0-py3-none-any.whl\", url = \"https://index.example/t.whl\", size = 1, hashes = {sha256 = \"00\"}}]\n",
    "{\"auths\":{\"registry.example.com/team\":{\"auth\":\"dXNlcjpwYXNz\"},\"https://registry.example.com:5000/v1/\":{\"identitytoken\":\"t\"}},\"credHelpers\":{\"registry.example.com\":\"pass\"},\"credsStore\":\"secretservice\"}",
    SITE_YAML,
];

fn seeds() -> &'static Vec<Vec<u8>> {
    static SEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let mut seeds = vec![wheel(), chart(), image_archive()];
        seeds.extend(written().iter().cloned());
        seeds.extend(TEXTS.iter().map(|text| text.as_bytes().to_vec()));
        seeds
    });
    &SEEDS
}

// ---- dishonest ones -----------------------------------------------------------------------------------

/// Pieces that matter to one parser or another.
const PIECES: &[&[u8]] = &[
    b"\0",
    b"\n",
    b"\r\n",
    b"\\",
    b"/",
    b"../",
    b"%2e%2e%2f",
    b"%",
    b"\"",
    b"'",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"-",
    b"+",
    b"..",
    b"*",
    b"&a",
    b"*a",
    b"<<: ",
    b"!!binary ",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\x1b[2J",
    b"\xe2\x80\xae",
    b"18446744073709551615",
    b"18446744073709551616",
    b"-1",
    b"1e999",
    b"null",
    b"\\u0000",
    b"\\ud800",
    b"sha256:",
    b"sha512:",
    b"://",
    b"@",
    b"#",
    b"?",
    b";",
    b"=",
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"\x1f\x8b\x08",
    b"ustar\x0000",
    b"PK\x06\x06",
];

/// Numbers that are the same on every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap()
    }
}

/// One to four changes.
fn changed(good: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..=chance.below(4) {
        let at = chance.below(bytes.len() + 1);
        let end = (at + chance.below(64)).min(bytes.len());
        match chance.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let piece = bytes[at..end].to_vec();
                let place = chance.below(bytes.len() + 1);
                bytes.splice(place..place, piece);
            }
            3 => bytes.truncate(at),
            4 if at < bytes.len() => bytes[at] = u8::try_from(chance.below(256)).unwrap(),
            _ => {
                let piece = PIECES[chance.below(PIECES.len())];
                let replaced = if chance.below(2) == 0 { at } else { end };
                bytes.splice(at..replaced, piece.iter().copied());
            }
        }
    }
    bytes
}

#[test]
fn no_parser_breaks_its_promise_on_honest_input_of_any_kind() {
    for seed in seeds() {
        for (_, body) in BODIES {
            body(seed);
        }
    }
}

/// How often each seed is changed for each body.
const ROUNDS: usize = 60;

#[test]
fn no_parser_breaks_its_promise_on_honest_input_that_was_changed() {
    for (number, (name, body)) in BODIES.iter().enumerate() {
        let mut chance = Chance(0x9e37_79b9_7f4a_7c15 ^ (number as u64 + 1));
        for seed in seeds() {
            for round in 0..ROUNDS {
                let input = changed(seed, &mut chance);
                let outcome = std::panic::catch_unwind(|| body(&input));
                assert!(outcome.is_ok(), "{name}, round {round}: {:?}", String::from_utf8_lossy(&input));
            }
        }
    }
}

#[test]
fn every_target_of_the_fuzz_workspace_has_a_body_that_runs_here_and_the_other_way_round() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let listed = std::fs::read_to_string(dir.join("Cargo.toml")).unwrap();
    let mut bodies = String::new();
    for entry in std::fs::read_dir(dir.join("fuzz_targets")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_string();
        let source = std::fs::read_to_string(&path).unwrap();
        assert!(listed.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml does not list {name}");
        assert!(source.contains(&format!("::{name}(")), "{name} runs another body than {name}");
        bodies.push_str(&source);
    }
    for (name, _) in BODIES {
        assert!(bodies.contains(&format!("parsers::{name}(")), "no fuzz target runs {name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_parser_breaks_its_promise_on_random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..1024)) {
        for (_, body) in BODIES {
            body(&bytes);
        }
    }

    #[test]
    fn no_parser_breaks_its_promise_on_text(text in "\\PC{0,200}") {
        for (_, body) in BODIES {
            body(text.as_bytes());
        }
    }
}
