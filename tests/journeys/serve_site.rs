//! What the journeys of `installer serve` share: a site with something of each kind, and the server as a process
//! of its own.

#![allow(dead_code, reason = "each journey is a crate of its own and uses a part of this")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use e2e::World;
use manifests::Descriptor;
use manifests::oci::{EMPTY_CONFIG, MEDIA_EMPTY, MEDIA_MANIFEST};
use serde_json::json;
use testkit::{FakeRegistry, Fault};

use crate::ingredients::{Image, image, index, layer, to_json};
use crate::onsite::{Running, build, greeting, installer, output, program, write_wheels};

/// Where the images are, as the charts name it.
pub(crate) const APP: &str = "registry.example.com/team/app";
/// What the note on the first image is.
pub(crate) const NOTE: &str = "application/vnd.example.note";
const REST: &str = "wheels: [{name: tools, source: wheels}]\ncharts: [{source: chart}]\nfiles: [{source: config, dest: /etc/demo}]\n";

/// A site to which a bundle was applied, and what is known of it.
pub(crate) struct Served {
    pub(crate) world: World,
    /// `v1`, an index of two platforms.
    pub(crate) v1: Image,
    /// `v2`, one manifest, and `stable`, another one.
    pub(crate) others: [Image; 2],
    /// A referrer of `v1`.
    pub(crate) note: Descriptor,
}

/// The site: three images in one repository, one with a referrer, two wheels, a chart and files.
pub(crate) fn served() -> Served {
    let (world, upstream) = (World::new(), FakeRegistry::start());
    upstream.fault(Fault::ReferrersApi);
    world.trust();
    let shared = layer(1, 300_000);
    let (amd64, arm64) =
        (image("amd64", &[shared.clone(), layer(2, 100)]), image("arm64", &[shared.clone(), layer(3, 100)]));
    let v1 = index(&[("amd64", &amd64), ("arm64", &arm64)]);
    let others = [image("amd64", &[shared, layer(4, 200)]), image("amd64", &[layer(5, 200)])];
    v1.store_in(&upstream, "team/app", "v1");
    others[0].store_in(&upstream, "team/app", "v2");
    others[1].store_in(&upstream, "team/app", "stable");
    let note = attach(&upstream, &v1.root);
    write_wheels(&world, "wheels", &greeting("1.0"));
    world.write("chart/Chart.yaml", "apiVersion: v2\nname: fraud\nversion: 1.10.0\n");
    world.write("chart/templates/config.yaml", "kind: ConfigMap\n");
    world.write("config/app.conf", "level = 1\n");
    let entry = |tag: &str| {
        format!("  - {{source: \"docker://{}/team/app:{tag}\", name: \"{APP}:{tag}\"}}\n", upstream.host())
    };
    let images: String = ["v1", "v2", "stable"].map(entry).concat();
    build(&world, "1", 1, &format!("images:\n{images}{REST}"), "1.tar");
    world.installer(&["apply", "1.tar", "--yes"]).ok();
    Served { world, v1, others, note }
}

/// Stores a manifest that is about another.
fn attach(registry: &FakeRegistry, of: &Descriptor) -> Descriptor {
    let text = b"looks good";
    let manifest = to_json(&json!({
        "schemaVersion": 2, "mediaType": MEDIA_MANIFEST, "artifactType": NOTE,
        "config": Descriptor::of(MEDIA_EMPTY, EMPTY_CONFIG), "layers": [Descriptor::of("text/plain", text)],
        "subject": Descriptor::new(&of.media_type, of.digest, of.size),
        "annotations": {"org.example.author": "somebody"},
    }));
    registry.store_blob("team/app", EMPTY_CONFIG);
    registry.store_blob("team/app", text);
    registry.store_manifest("team/app", "attached", MEDIA_MANIFEST, &manifest);
    Descriptor::of(MEDIA_MANIFEST, &manifest)
}

/// The server, and its `http://127.0.0.1:PORT`.
pub(crate) fn serve(world: &World) -> (Running, String) {
    let mut command = installer(world, &["serve", "--listen", "127.0.0.1:0"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    let running = Running(child);
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let url = line.trim_end().strip_prefix("serving ").and_then(|url| url.strip_suffix('/'));
    (running, url.unwrap_or_else(|| panic!("{line}")).to_string())
}

/// Runs a tool in a world's directory without a proxy and with a home of its own; its stdout.
pub(crate) fn tool(world: &World, path: &Path, args: &[&str]) -> String {
    output(&mut program(world, path, args))
}

/// The bytes at an address.
pub(crate) fn get(world: &World, curl: &Path, url: &str) -> Vec<u8> {
    let ran = program(world, curl, &["-sSf", "--noproxy", "*", url]).output().unwrap();
    assert!(ran.status.success(), "{url}: {}", String::from_utf8_lossy(&ran.stderr));
    ran.stdout
}
