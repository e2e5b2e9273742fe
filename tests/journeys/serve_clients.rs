//! The tools of a site pull from `installer serve`, real ones: Docker Engine, containerd with the server as a
//! mirror, skopeo, pip, uv, Helm 3 and Helm 4. What they get is what was sent, digest for digest.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    missing_docs
)]

mod daemons;
mod ingredients;
mod onsite;
mod serve_site;
#[path = "../../installer/tests/serve_support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the server's own tests use all of it")]
mod serve_support;

use std::path::{Path, PathBuf};

use daemons::{containerd, docker};
use e2e::World;
use ingredients::entries;
use manifests::Digest;
use onsite::{Python, greeting, output, program, python_says};
use serve_site::{APP, Served, serve, served, tool};
use serve_support::client::request;
use testkit::{FakeServer, Reply, real_part};

// ---- images -------------------------------------------------------------------------------------------

#[test]
fn docker_engine_pulls_by_tag_and_by_digest() {
    let Some(docker) = docker() else { return };
    let Served { world, v1, others, .. } = served();
    let (_running, url) = serve(&world);
    let host = url.trim_start_matches("http://");
    let amd64 = v1.manifests.iter().find(|(_, bytes)| is_for(bytes, &v1, "amd64")).unwrap();
    let platform = ingredients::Image { root: amd64.0.clone(), manifests: vec![amd64.clone()], ..v1.clone() };
    for (reference, image, platform) in [
        (format!("{host}/{APP}:v1"), &v1, &platform),
        (format!("{host}/team/app:v2"), &others[0], &others[0]),
        (format!("{host}/{APP}@{}", others[1].root.digest), &others[1], &others[1]),
    ] {
        docker.run(&["pull", &reference], world.dir());
        let format = "{{.Id}} {{range .RepoDigests}}{{.}} {{end}}";
        let found = docker.run(&["image", "inspect", "--format", format, &reference], world.dir());
        let (id, digests) = found.trim().split_once(' ').unwrap();
        assert_eq!(id, docker.id_of(image, platform), "{reference}");
        assert!(digests.contains(&image.root.digest.to_string()), "{reference}: {digests}");
    }
}

/// Whether a manifest's configuration is for this architecture.
fn is_for(manifest: &[u8], image: &ingredients::Image, architecture: &str) -> bool {
    let manifest: serde_json::Value = serde_json::from_slice(manifest).unwrap();
    let Some(config) = manifest["config"]["digest"].as_str() else { return false };
    let config: serde_json::Value = serde_json::from_slice(&image.blobs[&config.parse().unwrap()]).unwrap();
    config["architecture"] == architecture
}

#[test]
fn containerd_pulls_by_the_original_name_with_the_server_as_a_mirror() {
    let Some(containerd) = containerd() else { return };
    let Served { world, v1, others, .. } = served();
    let (_running, url) = serve(&world);
    // Its host does not exist, so all that comes is from the mirror.
    let mirror = format!(
        "server = \"https://registry.example.com\"\n[host.\"{url}\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
    );
    world.write("hosts/registry.example.com/hosts.toml", mirror);
    let hosts = world.path("hosts");
    let fetch = ["content", "fetch", "--all-platforms", "--hosts-dir", hosts.to_str().unwrap()];
    for (tag, image) in [("v1", &v1), ("v2", &others[0])] {
        let name = format!("{APP}:{tag}");
        containerd.run(&[&fetch[..], &[&name]].concat());
        assert_eq!(containerd.images()[&name].0, image.root.digest.to_string());
        let content = containerd.run(&["content", "ls", "--quiet"]);
        let manifests = image.manifests.iter().map(|(descriptor, _)| &descriptor.digest);
        for digest in manifests.chain(image.blobs.keys()) {
            assert!(content.contains(&digest.to_string()), "{tag}: {digest} is not in {content}");
        }
    }
    // A mirror answers for the host that is asked for, and for no other.
    world.write("hosts/other.example.com/hosts.toml", format!("server = \"{url}\"\n[host.\"{url}\"]\n"));
    let other = [&fetch[..], &["other.example.com/team/app:v1"]].concat();
    assert!(!containerd.ask(&other).status.success(), "an image of another host was taken");
}

#[test]
fn skopeo_lists_the_tags_and_copies_every_image_with_its_digest() {
    let Some(skopeo) = real_part("skopeo") else { return };
    let Served { world, v1, others, .. } = served();
    let (_running, url) = serve(&world);
    let repository = format!("docker://{}/{APP}", url.trim_start_matches("http://"));
    let listed = tool(&world, &skopeo, &["list-tags", "--tls-verify=false", &repository]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["Tags"], serde_json::json!(["stable", "v1", "v2"]));
    for (tag, image) in [("v1", &v1), ("v2", &others[0]), ("stable", &others[1])] {
        let (source, out) = (format!("{repository}:{tag}"), format!("dir:{tag}"));
        let copy = ["--insecure-policy", "copy", "--all", "--preserve-digests", "--src-tls-verify=false"];
        tool(&world, &skopeo, &[&copy[..], &[&source, &out]].concat());
        assert_eq!(std::fs::read(world.path(tag).join("manifest.json")).unwrap(), image.root_bytes());
        for (digest, bytes) in &image.blobs {
            assert_eq!(&std::fs::read(world.path(tag).join(digest.hex())).unwrap(), bytes);
        }
    }
}

// ---- wheels -------------------------------------------------------------------------------------------

/// A server between a tool and ours that remembers what was asked for.
fn between(url: &str) -> FakeServer {
    let address: std::net::SocketAddr = url.trim_start_matches("http://").parse().unwrap();
    FakeServer::start(move |asked| {
        let accept = asked.header("accept").unwrap_or("*/*");
        let answer = request(address, &asked.method, &asked.path, &[("Accept", accept)]);
        let mut reply = Reply::status(answer.status).body(answer.body.clone());
        for name in ["content-type", "location"] {
            if let Some(value) = answer.header(name) {
                reply = reply.header(name, value);
            }
        }
        reply
    })
}

/// The names of the metadata files that were fetched, by whether each was the one that its page announced.
fn metadata_fetched(between: &FakeServer, url: &str) -> Vec<String> {
    let address: std::net::SocketAddr = url.trim_start_matches("http://").parse().unwrap();
    let json = [("Accept", "application/vnd.pypi.simple.v1+json")];
    let mut names = Vec::new();
    for asked in between.requests() {
        let Some(wheel) = asked.path.strip_suffix(".metadata") else { continue };
        let name = wheel.rsplit('/').next().unwrap().to_string();
        let project = name.split('-').next().unwrap();
        let page = request(address, "GET", &format!("/simple/{project}/"), &json).json();
        let announced = &page["files"][0]["core-metadata"]["sha256"];
        let sent = request(address, "GET", &asked.path, &[]);
        assert_eq!((sent.status, announced), (200, &serde_json::json!(Digest::of(&sent.body).hex())));
        names.push(name);
    }
    names.sort();
    names.dedup();
    names
}

const WHEELS: [&str; 2] = ["greet-1.0-py3-none-any.whl", "words-1.0-py3-none-any.whl"];

/// The digests that stand for the wheels, in a tool's own words.
fn hashed_requirements() -> String {
    let line = |(name, bytes): &(String, Vec<u8>)| {
        let project = name.split('-').next().unwrap();
        format!("{project}==1.0 --hash=sha256:{}\n", Digest::of(bytes).hex())
    };
    greeting("1.0").iter().map(line).collect()
}

/// A fresh environment's interpreter.
fn environment(world: &World, python: &Python, name: &str) -> PathBuf {
    tool(world, &python.path, &["-m", "venv", name]);
    world.path(name).join("bin/python")
}

/// pip with no other network than this index, and the digests of what it installed.
fn pip(world: &World, inside: &Path, index: &str, arguments: &[&str]) -> serde_json::Value {
    let report = world.path("report.json");
    let mut pip =
        program(world, inside, &["-m", "pip", "install", "--isolated", "--no-cache-dir", "--quiet"]);
    pip.args(["--disable-pip-version-check", "--proxy", "", "--index-url", index, "--report"]);
    pip.arg(&report).args(arguments);
    pip.env("https_proxy", "http://127.0.0.1:1").env("no_proxy", "127.0.0.1");
    output(&mut pip);
    serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap()
}

#[test]
fn pip_resolves_by_the_metadata_and_installs_the_very_wheels() {
    let Some(python) = Python::find() else { return };
    let Served { world, .. } = served();
    let (_running, url) = serve(&world);
    let between = between(&url);
    let inside = environment(&world, &python, "fresh");
    let index = format!("{}/simple/", between.url());
    let report = pip(&world, &inside, &index, &["greet"]);
    for (name, bytes) in greeting("1.0") {
        let is_it = |entry: &&serde_json::Value| {
            entry["download_info"]["url"].as_str().is_some_and(|url| url.ends_with(&name))
        };
        let entry = report["install"].as_array().unwrap().iter().find(is_it).unwrap();
        let hash = &entry["download_info"]["archive_info"]["hashes"]["sha256"];
        assert_eq!(hash, &serde_json::json!(Digest::of(&bytes).hex()), "{name}");
    }
    assert_eq!(python_says(&inside, "import greet; print(greet.text())"), "hello from 1.0");
    let version = python_says(&inside, "import pip; print(*pip.__version__.split('.')[:2])");
    let version: Vec<u32> = version.split(' ').map(|part| part.parse().unwrap()).collect();
    if version < vec![23, 2] {
        eprintln!(
            "SKIPPED: pip {version:?} reads PEP 658 under its first name only, so that was not looked at"
        );
        return;
    }
    assert_eq!(metadata_fetched(&between, &url), WHEELS);
}

#[test]
fn pip_checks_the_hashes_of_a_requirements_file() {
    let Some(python) = Python::find() else { return };
    let Served { world, .. } = served();
    let (_running, url) = serve(&world);
    let inside = environment(&world, &python, "fresh");
    world.write("requirements.txt", hashed_requirements());
    let index = format!("{url}/simple/");
    pip(&world, &inside, &index, &["--require-hashes", "--requirement", "requirements.txt"]);
    assert_eq!(python_says(&inside, "import greet; print(greet.text())"), "hello from 1.0");
}

#[test]
fn uv_resolves_by_the_metadata_and_installs_the_very_wheels() {
    let (Some(python), Some(uv)) = (Python::find(), real_part("uv")) else { return };
    let Served { world, .. } = served();
    let (_running, url) = serve(&world);
    let between = between(&url);
    let inside = environment(&world, &python, "fresh");
    world.write("requirements.in", "greet\n");
    let index = format!("{}/simple/", between.url());
    let uv = |arguments: &[&str]| {
        let mut uv = program(&world, &uv, arguments);
        uv.args(["--default-index", &index, "--python"]).arg(&inside);
        uv.env("UV_CACHE_DIR", world.path("uv-cache")).env("UV_PYTHON_DOWNLOADS", "never");
        uv.env("https_proxy", "http://127.0.0.1:1").env("no_proxy", "127.0.0.1");
        output(&mut uv)
    };
    let compiled = uv(&["pip", "compile", "--quiet", "--generate-hashes", "requirements.in"]);
    for (name, bytes) in greeting("1.0") {
        assert!(compiled.contains(&Digest::of(&bytes).hex()), "{name} is not in {compiled}");
    }
    let fetched = |end: &str| between.requests().iter().filter(|asked| asked.path.ends_with(end)).count();
    assert_eq!((metadata_fetched(&between, &url), fetched(".whl")), (WHEELS.map(String::from).to_vec(), 0));
    world.write("requirements.txt", hashed_requirements());
    uv(&["pip", "install", "--quiet", "--require-hashes", "--requirement", "requirements.txt"]);
    assert_eq!(python_says(&inside, "import greet; print(greet.text())"), "hello from 1.0");
    assert_eq!(fetched(".whl"), 2);
}

// ---- charts -------------------------------------------------------------------------------------------

/// The chart's archive as it travelled.
fn chart(world: &World) -> Vec<u8> {
    let inspect = world.installer(&["--output", "json", "inspect", "1.tar"]).ok().json();
    let components = inspect["inventory"]["components"].as_array().unwrap();
    let text = components.iter().map(ToString::to_string).find(|text| text.contains("\"fraud\"")).unwrap();
    let is_archive = |(name, bytes): &(String, Vec<u8>)| {
        bytes.starts_with(&[0x1f, 0x8b]) && text.contains(name.rsplit('/').next().unwrap())
    };
    let mut archives = entries(&world.path("1.tar")).into_iter().filter(is_archive);
    let archive = archives.next().unwrap().1;
    assert!(archives.next().is_none());
    archive
}

/// Both ways to a chart, with one version of Helm.
fn helm_pulls(helm: &Path) {
    let Served { world, .. } = served();
    let (_running, url) = serve(&world);
    let host = url.trim_start_matches("http://");
    let sent = chart(&world);
    let helm = |arguments: &[&str]| output(&mut program(&world, helm, arguments));
    helm(&["repo", "add", "site", &format!("{url}/charts")]);
    helm(&["repo", "update", "site"]);
    let found = helm(&["search", "repo", "site/fraud", "--output", "json"]);
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!((&found[0]["name"], &found[0]["version"]), (&"site/fraud".into(), &"1.10.0".into()));
    let repository = format!("oci://{host}/charts/fraud");
    let ways: [(&str, &[&str]); 2] = [
        ("repo", &["site/fraud", "--version", "1.10.0"]),
        ("oci", &[&repository, "--version", "1.10.0", "--plain-http"]),
    ];
    for (way, chart) in ways {
        std::fs::create_dir(world.path(way)).unwrap();
        let said = helm(&[&["pull"], chart, &["--destination", way]].concat());
        assert_eq!(std::fs::read(world.path(way).join("fraud-1.10.0.tgz")).unwrap(), sent, "{way}: {said}");
    }
}

#[test]
fn helm_3_pulls_the_chart_from_the_repository_and_from_the_registry() {
    let Some(helm) = real_part("helm") else { return };
    helm_pulls(&helm);
}

#[test]
fn helm_4_pulls_the_chart_from_the_repository_and_from_the_registry() {
    let Some(helm) = real_part("helm4") else { return };
    helm_pulls(&helm);
}
