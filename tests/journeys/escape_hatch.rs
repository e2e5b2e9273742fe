//! The way out that needs nothing of ours: the archive as Docker, skopeo and containerd read it, when
//! `installer` is the thing that does not work.

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

use std::process::Command;

use daemons::{GREETING, config_of, containerd, docker, greeter};
use e2e::World;
use ingredients::{Image, entries, image, index, layer, tar_of, tool, write_layout};
use manifests::Digest;
use serde_json::Value;
use testkit::real_part;

const APP: &str = "registry.example.com/team/app:v1";
const MULTI: &str = "registry.example.com/team/multi:v2";
const GREETER: &str = "registry.example.com/demo/greeter:v1";

/// An archive with an image, an image for two platforms that shares a layer with it, an image whose
/// program runs (where a compiler is there), and things that are no images.
struct Carried {
    world: World,
    app: Image,
    amd64: Image,
    multi: Image,
    has_greeter: bool,
}

fn carried() -> Carried {
    let world = World::new();
    let app = image("amd64", &[layer(1, 40_000), layer(2, 100)]);
    let (amd64, arm64) =
        (image("amd64", &[layer(1, 40_000), layer(3, 100)]), image("arm64", &[layer(4, 100)]));
    let multi = index(&[("amd64", &amd64), ("arm64", &arm64)]);
    write_layout(&world, "images", &[("app", &app), ("multi", &multi)]);
    world.write("config/a.yaml", "a: 1\n");
    let chart = tar_of(&[("fraud/Chart.yaml", "apiVersion: v2\nname: fraud\nversion: 1.0.0\n")]);
    world.write("fraud.tgz", ingredients::gzip(&chart));
    let has_greeter = greeter(&world);
    let greeter = if has_greeter {
        format!("  - {{source: \"oci-archive:greeter.tar:greeter\", name: \"{GREETER}\"}}\n")
    } else {
        String::new()
    };
    world.spec("1.0.0", 1, &format!("images:\n  - {{source: \"oci:images:app\", name: \"{APP}\"}}\n  - {{source: \"oci:images:multi\", name: \"{MULTI}\"}}\n{greeter}charts: [{{source: fraud.tgz}}]\nfiles: [{{source: config, dest: /etc/demo}}]\n"));
    world.trust();
    let keys = ["--key", "keys/rel.key.pem", "--countersign", "keys/rel.key.pem"];
    world.bundler(&[&["build", "--out", "b.tar"], &keys[..]].concat()).ok();
    Carried { world, app, amd64, multi, has_greeter }
}

#[test]
fn skopeo_copies_every_image_out_of_the_archive_with_its_digests() {
    let Some(skopeo) = real_part("skopeo") else { return };
    let Carried { world, app, multi, .. } = carried();
    for (name, image, out) in [(APP, &app, "app-out"), (MULTI, &multi, "multi-out")] {
        let (from, to) = (format!("oci-archive:b.tar:{name}"), format!("dir:{out}"));
        tool(&skopeo, &["copy", "--quiet", "--insecure-policy", "--all", &from, &to], world.dir());
        assert_eq!(std::fs::read(world.path(&format!("{out}/manifest.json"))).unwrap(), image.root_bytes());
        for (digest, bytes) in &image.blobs {
            assert_eq!(&std::fs::read(world.path(&format!("{out}/{}", digest.hex()))).unwrap(), bytes);
        }
    }
}

#[test]
fn skopeo_copies_charts_and_files_out_of_the_archive_as_well() {
    let Some(skopeo) = real_part("skopeo") else { return };
    let Carried { world, .. } = carried();
    for (name, content) in [
        ("charts/fraud:1.0.0", std::fs::read(world.path("fraud.tgz")).unwrap()),
        ("files/etc-demo", b"a: 1\n".to_vec()),
    ] {
        let (from, to) =
            (format!("oci-archive:b.tar:{name}"), format!("dir:{}", name.replace(['/', ':'], "-")));
        tool(&skopeo, &["copy", "--quiet", "--insecure-policy", &from, &to], world.dir());
        let out = world.path(to.strip_prefix("dir:").unwrap()).join(Digest::of(&content).hex());
        assert_eq!(std::fs::read(out).unwrap(), content);
    }
}

#[test]
fn an_image_of_a_docker_engine_is_taken_as_docker_save_would_give_it() {
    let Some(docker) = docker() else { return };
    let mut world = World::new();
    world.vars.insert("DOCKER_HOST".into(), docker.socket.clone().into());
    let layers = [ingredients::layer(1, 300_000), ingredients::layer(2, 1000)];
    world.write("app.tar", ingredients::docker_archive("r.example.com/team/app:v1", &layers));
    docker.run(&["load", "-i", "app.tar"], world.dir());
    world.spec("1.0.0", 1, "images: [\"docker-daemon:r.example.com/team/app:v1\"]\n");
    world.bundler(&["build", "--out", "b.tar"]).ok();
    let id =
        docker.run(&["image", "inspect", "--format", "{{.Id}}", "r.example.com/team/app:v1"], world.dir());
    let archive = entries(&world.path("b.tar"));
    let blob = |digest: &str| archive.get(&format!("blobs/sha256/{}", digest.trim_start_matches("sha256:")));
    assert!(blob(id.trim()).is_some(), "the configuration is what Docker calls the image by");
    let plain: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let list: Value = serde_json::from_slice(&archive["manifest.json"]).unwrap();
    let carried = list[0]["Layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| Digest::of(&ingredients::gunzip(&archive[name.as_str().unwrap()])));
    assert_eq!(carried.collect::<Vec<_>>(), plain);

    // Without its cache it is asked again, and gives the same.
    let before = std::fs::read(world.path("b.tar")).unwrap();
    std::fs::remove_dir_all(world.path("cache")).unwrap();
    std::fs::remove_file(world.path("b.tar")).unwrap();
    world.bundler(&["build", "--out", "b.tar"]).ok();
    assert!(std::fs::read(world.path("b.tar")).unwrap() == before);

    world.spec("1.0.0", 1, "images: [\"docker-daemon:r.example.com/team/other:v1\"]\n");
    let ran = world.bundler(&["lock"]).expect_exit(edge::Exit::Unreachable);
    assert!(ran.stderr.contains("it answered 404") && ran.stderr.contains("team/other"), "{}", ran.stderr);
    world.vars.insert("DOCKER_HOST".into(), "tcp://127.0.0.1:1".into());
    let ran = world.bundler(&["lock"]).expect_exit(edge::Exit::Usage);
    assert!(ran.stderr.contains("DOCKER_HOST is `tcp://127.0.0.1:1`"), "{}", ran.stderr);
}

#[test]
fn docker_loads_every_image_of_the_archive_and_runs_one() {
    let Some(docker) = docker() else { return };
    let Carried { world, app, amd64, has_greeter, .. } = carried();
    let said = docker.run(&["load", "-i", "b.tar"], world.dir());
    let names = [Some(APP), Some(MULTI), has_greeter.then_some(GREETER)];
    for name in names.into_iter().flatten() {
        assert!(said.contains(name), "{name}: {said}");
    }
    for (name, image) in [(APP, &app), (MULTI, &amd64)] {
        let id = docker.run(&["image", "inspect", "--format", "{{.Id}}", name], world.dir());
        assert_eq!(id.trim(), config_of(image), "{name}");
    }
    if has_greeter {
        let run = ["-H", &docker.socket, "run", "--rm", "--network=none", GREETER];
        let ran = Command::new(&docker.client).args(run).output().unwrap();
        let words = String::from_utf8_lossy(&ran.stderr);
        // 125: Docker itself could not, as in a sandbox; 126 and 127 would be about the image.
        if ran.status.code() == Some(125) {
            eprintln!("SKIPPED: no container can be started here, so the image was not run: {words}");
            return;
        }
        assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), GREETING, "{words}");
    }
}

#[test]
fn containerd_imports_every_image_of_the_archive() {
    let Some(containerd) = containerd() else { return };
    let Carried { world, app, multi, .. } = carried();
    let archive = world.path("b.tar");
    let imported =
        containerd.ask(&["images", "import", "--all-platforms", "--no-unpack", archive.to_str().unwrap()]);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    let listed = containerd.run(&["images", "ls"]);
    for (name, image) in [(APP, &app), (MULTI, &multi)] {
        let line = listed.lines().find(|line| line.starts_with(&format!("{name} ")));
        assert!(line.is_some_and(|line| line.contains(&image.root.digest.to_string())), "{name}: {listed}");
    }
}
