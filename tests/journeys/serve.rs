//! From `bundle.yaml` to the tools of a site: built, applied, and served by `installer serve` as a process
//! of its own to skopeo, pip, helm and curl, byte for byte what was sent.

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
mod serve_site;

use std::process::Command;
use std::time::Duration;

use e2e::World;
use ingredients::{Image, entries};
use manifests::Digest;
use onsite::{Python, build, greeting, installer, output, program, python_says, wait_until, write_wheels};
use rustix::process::{Pid, Signal, kill_process};
use serve_site::{Served, get, serve, served, tool};
use testkit::real_part;

/// A site to which an image for two platforms, two wheels, a chart and files were applied, among others.
fn site() -> (World, Image) {
    let Served { world, v1, .. } = served();
    (world, v1)
}

#[test]
fn skopeo_copies_an_image_from_the_served_registry_with_every_digest_kept() {
    let Some(skopeo) = real_part("skopeo") else { return };
    let (world, app) = site();
    let (_running, url) = serve(&world);
    let host = url.trim_start_matches("http://");
    for name in ["registry.example.com/team/app:v1", "team/app:v1"] {
        let source = format!("docker://{host}/{name}");
        let copy = ["--insecure-policy", "copy", "--all", "--preserve-digests", "--src-tls-verify=false"];
        tool(&world, &skopeo, &[&copy[..], &[&source, "dir:out"]].concat());
        assert_eq!(std::fs::read(world.path("out/manifest.json")).unwrap(), app.root_bytes(), "{name}");
        for (digest, bytes) in &app.blobs {
            assert_eq!(&std::fs::read(world.path("out").join(digest.hex())).unwrap(), bytes);
        }
        let raw = tool(&world, &skopeo, &["inspect", "--raw", "--tls-verify=false", &source]);
        assert_eq!(raw.as_bytes(), app.root_bytes());
        std::fs::remove_dir_all(world.path("out")).unwrap();
    }
}

#[test]
fn pip_installs_from_the_served_index_with_no_other_network() {
    let Some(python) = Python::find() else { return };
    let (world, _) = site();
    let (_running, url) = serve(&world);
    tool(&world, &python.path, &["-m", "venv", "fresh"]);
    let inside = world.path("fresh/bin/python");
    let index = format!("{url}/simple/");
    // A proxy that is not there: whatever pip asks of another host fails.
    let mut pip = program(&world, &inside, &["-m", "pip", "install", "--isolated", "--no-cache-dir"]);
    pip.args(["--disable-pip-version-check", "--proxy", "", "--index-url", &index, "greet==1.0"]);
    pip.env("https_proxy", "http://127.0.0.1:1").env("no_proxy", "127.0.0.1");
    output(&mut pip);
    assert_eq!(python_says(&inside, "import greet; print(greet.text())"), "hello from 1.0");
}

/// The chart's archive as it travelled.
fn chart(world: &World) -> Vec<u8> {
    let inspect = world.installer(&["--output", "json", "inspect", "1.tar"]).ok().json();
    let components = inspect["inventory"]["components"].as_array().unwrap();
    let text = components.iter().map(ToString::to_string).find(|text| text.contains("\"fraud\"")).unwrap();
    let all = entries(&world.path("1.tar")).into_iter();
    let mut archives = all
        .filter(|(name, bytes)| {
            bytes.starts_with(&[0x1f, 0x8b]) && text.contains(name.rsplit('/').next().unwrap())
        })
        .map(|(_, bytes)| bytes);
    let archive = archives.next().unwrap();
    assert!(archives.next().is_none());
    archive
}

#[test]
fn helm_pulls_the_chart_byte_for_byte() {
    let Some(helm) = real_part("helm") else { return };
    let (world, _) = site();
    let (_running, url) = serve(&world);
    let repository = format!("{url}/charts");
    tool(
        &world,
        &helm,
        &["pull", "fraud", "--repo", &repository, "--version", "1.10.0", "--destination", "."],
    );
    assert_eq!(std::fs::read(world.path("fraud-1.10.0.tgz")).unwrap(), chart(&world));
    let host = url.trim_start_matches("http://");
    std::fs::create_dir(world.path("oci")).unwrap();
    let reference = format!("oci://{host}/charts/fraud");
    tool(&world, &helm, &["pull", &reference, "--version", "1.10.0", "--plain-http", "--destination", "oci"]);
    assert_eq!(std::fs::read(world.path("oci/fraud-1.10.0.tgz")).unwrap(), chart(&world));
}

#[test]
fn curl_finds_the_chart_by_index_yaml_and_the_files_by_their_names() {
    let Some(curl) = real_part("curl") else { return };
    let (world, _) = site();
    let (_running, url) = serve(&world);
    let index: serde_json::Value =
        serde_json::from_slice(&get(&world, &curl, &format!("{url}/charts/index.yaml"))).unwrap();
    let entry = &index["entries"]["fraud"][0];
    let place = entry["urls"][0].as_str().unwrap();
    let found = get(&world, &curl, &format!("{url}/charts/{place}"));
    assert_eq!(found, chart(&world));
    assert_eq!(entry["digest"], Digest::of(&found).hex());
    let page = String::from_utf8(get(&world, &curl, &format!("{url}/"))).unwrap();
    let page = page.replace("&#x2f;", "/");
    assert!(page.contains("UNCLASSIFIED") && page.contains("registry.example.com/team/app"), "{page}");
    let file = page.split('"').find(|text| text.ends_with("/app.conf")).unwrap_or_else(|| panic!("{page}"));
    assert_eq!(get(&world, &curl, &format!("{url}{file}")), b"level = 1\n");
}

#[test]
fn a_bundle_that_is_applied_while_the_server_runs_appears_within_two_seconds() {
    let Some(curl) = real_part("curl") else { return };
    let (world, _) = site();
    let (_running, url) = serve(&world);
    let has = |file: &str| {
        String::from_utf8(get(&world, &curl, &format!("{url}/simple/greet/"))).unwrap().contains(file)
    };
    assert!(has("greet-1.0-py3-none-any.whl") && !has("greet-2.0-py3-none-any.whl"));
    write_wheels(&world, "wheels", &greeting("2.0"));
    build(&world, "2", 2, "wheels: [{name: tools, source: wheels}]\n", "2.tar");
    world.installer(&["apply", "2.tar", "--yes"]).ok();
    wait_until(Duration::from_secs(2), "the new wheel is listed", || has("greet-2.0-py3-none-any.whl"));
    assert!(has("greet-1.0-py3-none-any.whl"), "the earlier bundle is gone");
}

#[test]
fn sigterm_and_sigint_end_the_server_with_0() {
    let (world, _) = site();
    for signal in [Signal::TERM, Signal::INT] {
        let (mut running, url) = serve(&world);
        kill_process(Pid::from_child(&running.0), signal).unwrap();
        assert_eq!(running.0.wait().unwrap().code(), Some(0), "{signal:?}");
        let address = url.trim_start_matches("http://");
        assert!(std::net::TcpStream::connect(address).is_err(), "{url} still answers");
    }
}

#[test]
fn an_address_that_is_taken_ends_with_8_and_the_way_out() {
    let (world, _) = site();
    let (_running, url) = serve(&world);
    let mut second: Command = installer(&world, &["serve", "--listen", url.trim_start_matches("http://")]);
    let ran = second.output().unwrap();
    let stderr = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(8), "{stderr}");
    assert!(stderr.contains("hint: choose another address"), "{stderr}");
}
