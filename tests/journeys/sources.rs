//! Every kind of source into an archive: what travels as it is, what is made once and comes out the same
//! each time, and what a signature may be made with.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    missing_docs
)]

mod ingredients;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use e2e::World;
use edge::Exit;
use ingredients::{
    Image, IndexedFile, Pages, docker_archive, entries, gunzip, image, index, layer, layout, package_index,
    pinned, tar_of, tool, wheel, wheels_of, write_layout,
};
use manifests::Digest;
use manifests::oci::{ImageIndex, ImageManifest};
use serde_json::Value;
use testkit::real_part;

const NAME: &str = "registry.example.com/team/app:v1";

fn two_layers(architecture: &str, seed: u64) -> Image {
    image(architecture, &[layer(1, 20_000), layer(seed, 5000)])
}

/// Locks, builds and inspects: the components, and the archive's files by name.
fn built(world: &World) -> (Vec<Value>, BTreeMap<String, Vec<u8>>) {
    world.bundler(&["lock"]).ok();
    world.bundler(&["build", "--out", "b.tar"]).ok();
    let seen = world.bundler(&["--output", "json", "inspect", "b.tar"]).ok().json();
    (seen["inventory"]["components"].as_array().unwrap().clone(), entries(&world.path("b.tar")))
}

fn blob<'a>(archive: &'a BTreeMap<String, Vec<u8>>, digest: &str) -> &'a [u8] {
    &archive[&format!("blobs/sha256/{}", digest.strip_prefix("sha256:").unwrap())]
}

fn digest_of(component: &Value) -> &str {
    component["manifest"]["digest"].as_str().unwrap()
}

/// The image is in the archive with its own digests.
fn holds(archive: &BTreeMap<String, Vec<u8>>, image: &Image) {
    let manifests = image.manifests.iter().map(|(_, bytes)| bytes);
    for bytes in manifests.chain(image.blobs.values()) {
        assert_eq!(blob(archive, &Digest::of(bytes).to_string()), bytes);
    }
}

/// The bill of materials, its manifest and the empty configuration.
const SBOM_BLOBS: usize = 3;

// ---- images -------------------------------------------------------------------------------------------

#[test]
fn an_image_of_an_oci_directory_keeps_its_digests() {
    let (world, app) = (World::new(), two_layers("amd64", 2));
    write_layout(&world, "images/app", &[("app:v1", &app), ("other:v1", &two_layers("amd64", 3))]);
    world.spec("1.0.0", 1, &format!("images: [{{source: \"oci:images/app:app:v1\", name: \"{NAME}\"}}]\n"));
    let (components, archive) = built(&world);
    assert_eq!((components.len(), digest_of(&components[0])), (1, app.root.digest.to_string().as_str()));
    holds(&archive, &app);
    assert_eq!(archive.keys().filter(|name| name.starts_with("blobs/")).count(), 4 + SBOM_BLOBS);
}

#[test]
fn an_image_of_an_oci_archive_keeps_its_digests() {
    let (world, app) = (World::new(), two_layers("amd64", 2));
    let files: Vec<_> = layout(&[(NAME, &app)]).into_iter().collect();
    world.write("app.tar", tar_of(&files));
    world.spec("1.0.0", 1, &format!("images: [\"oci-archive:app.tar:{NAME}\"]\n"));
    let (components, archive) = built(&world);
    assert_eq!(
        (components[0]["name"].as_str(), digest_of(&components[0])),
        (Some(NAME), app.root.digest.to_string().as_str())
    );
    holds(&archive, &app);
}

#[test]
fn the_layers_of_a_docker_archive_are_compressed_once_and_come_out_the_same_each_time() {
    let (world, layers) = (World::new(), [layer(1, 90_000), layer(2, 100)]);
    world.write("app.tar", docker_archive(NAME, &layers));
    world.spec("1.0.0", 1, &format!("images: [\"docker-archive:app.tar:{NAME}\"]\n"));
    let (components, archive) = built(&world);
    let manifest: ImageManifest = serde_json::from_slice(blob(&archive, digest_of(&components[0]))).unwrap();
    let plain: Vec<Vec<u8>> =
        manifest.layers.iter().map(|layer| gunzip(blob(&archive, &layer.digest.to_string()))).collect();
    assert_eq!(plain, layers);
    let config = blob(&archive, &manifest.config.digest.to_string());
    assert_eq!(config, ingredients::config("amd64", &layers));

    std::fs::remove_dir_all(world.path("cache")).unwrap();
    std::fs::remove_file(world.path("b.tar")).unwrap();
    assert_eq!(built(&world).1, archive);
}

#[test]
fn a_docker_archive_of_the_real_skopeo_with_linked_layers_is_taken() {
    let Some(skopeo) = real_part("skopeo") else { return };
    let (world, twice) = (World::new(), layer(1, 4000));
    write_layout(&world, "app", &[("app", &image("amd64", &[twice.clone(), layer(2, 100), twice.clone()]))]);
    tool(
        &skopeo,
        &["copy", "--quiet", "--insecure-policy", "oci:app:app", &format!("docker-archive:app.tar:{NAME}")],
        world.dir(),
    );
    world.spec("1.0.0", 1, &format!("images: [\"docker-archive:app.tar:{NAME}\"]\n"));
    let (components, archive) = built(&world);
    let manifest: ImageManifest = serde_json::from_slice(blob(&archive, digest_of(&components[0]))).unwrap();
    let plain: Vec<Vec<u8>> =
        manifest.layers.iter().map(|layer| gunzip(blob(&archive, &layer.digest.to_string()))).collect();
    assert_eq!(plain, [twice.clone(), layer(2, 100), twice]);
}

#[test]
fn a_layer_that_docker_save_has_linked_to_its_twin_is_followed() {
    let (world, twice) = (World::new(), layer(1, 4000));
    let mut archive =
        tar::Archive::new(std::io::Cursor::new(docker_archive(NAME, &[twice.clone(), twice.clone()])));
    let mut linked = tar::Builder::new(Vec::new());
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let mut header = entry.header().clone();
        if entry.path().unwrap() == Path::new("1/layer.tar") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            linked.append_link(&mut header, "1/layer.tar", "../0/layer.tar").unwrap();
        } else {
            linked.append(&header, entry).unwrap();
        }
    }
    world.write("app.tar", linked.into_inner().unwrap());
    world.spec("1.0.0", 1, &format!("images: [\"docker-archive:app.tar:{NAME}\"]\n"));
    let (components, archive) = built(&world);
    let manifest: ImageManifest = serde_json::from_slice(blob(&archive, digest_of(&components[0]))).unwrap();
    assert_eq!(manifest.layers.len(), 2);
    assert_eq!(manifest.layers[0], manifest.layers[1]);
    assert_eq!(gunzip(blob(&archive, &manifest.layers[1].digest.to_string())), twice);
}

#[test]
fn a_layer_of_a_docker_archive_that_is_not_what_its_configuration_says_is_damage() {
    let (world, honest) = (World::new(), layer(1, 4000));
    let mut archive = docker_archive(NAME, &[honest]);
    archive[2000] ^= 1;
    world.write("app.tar", archive);
    world.spec("1.0.0", 1, &format!("images: [\"docker-archive:app.tar:{NAME}\"]\n"));
    let ran = world.bundler(&["build"]).expect_exit(Exit::Damaged);
    assert!(ran.stderr.contains("app.tar") && ran.stderr.contains("0/layer.tar"), "{}", ran.stderr);
}

#[test]
fn blobs_that_images_share_are_in_the_archive_once() {
    let (world, one, two) = (World::new(), two_layers("amd64", 2), two_layers("amd64", 3));
    write_layout(&world, "one", &[("one", &one)]);
    let files: Vec<_> = layout(&[("two", &two)]).into_iter().collect();
    world.write("two.tar", tar_of(&files));
    world.spec("1.0.0", 1, "images:\n  - {source: \"oci:one:one\", name: \"r.example.com/one:v1\"}\n  - {source: \"oci-archive:two.tar:two\", name: \"r.example.com/two:v1\"}\n");
    // `entries` fails at a name that comes twice.
    let (_, archive) = built(&world);
    holds(&archive, &one);
    holds(&archive, &two);
    assert_eq!(archive.keys().filter(|name| name.starts_with("blobs/")).count(), 7 + SBOM_BLOBS);
}

/// A world whose image is for three platforms.
fn three_platforms(platforms: &str) -> (World, Image, BTreeMap<&'static str, Image>) {
    let world = World::new();
    let children = BTreeMap::from(
        ["amd64", "arm64", "s390x"]
            .map(|name| (name, two_layers(name, name.len() as u64 + u64::from(name.as_bytes()[0])))),
    );
    let list: Vec<(&str, &Image)> = children.iter().map(|(name, image)| (*name, image)).collect();
    let all = index(&list);
    write_layout(&world, "app", &[("app", &all)]);
    world.spec("1.0.0", 1, &format!("images: [{{source: \"oci:app:app\", name: \"{NAME}\"{platforms}}}]\n"));
    (world, all, children)
}

#[test]
fn of_an_image_for_several_platforms_all_travel_if_none_is_named() {
    let (world, all, _) = three_platforms("");
    let (components, archive) = built(&world);
    assert_eq!(digest_of(&components[0]), all.root.digest.to_string());
    assert_eq!(components[0]["platforms"].as_array().unwrap().len(), 3);
    holds(&archive, &all);
}

#[test]
fn of_an_image_for_several_platforms_one_that_is_named_travels_with_its_own_digest() {
    let (world, _, children) = three_platforms(", platforms: [linux/arm64]");
    let (components, archive) = built(&world);
    assert_eq!(digest_of(&components[0]), children["arm64"].root.digest.to_string());
    assert_eq!(archive.keys().filter(|name| name.starts_with("blobs/")).count(), 4 + SBOM_BLOBS);
    holds(&archive, &children["arm64"]);
}

#[test]
fn of_an_image_for_several_platforms_two_travel_in_an_index_of_two_and_the_person_is_told() {
    let (world, all, children) = three_platforms(", platforms: [linux/amd64, linux/s390x]");
    let locked = world.bundler(&["lock"]).ok();
    assert!(locked.stderr.contains("note:") && locked.stderr.contains("2 of the 3"), "{}", locked.stderr);
    let (components, archive) = built(&world);
    let subset: ImageIndex = serde_json::from_slice(blob(&archive, digest_of(&components[0]))).unwrap();
    let digests: Vec<Digest> = subset.manifests.iter().map(|child| child.digest).collect();
    assert_eq!(digests, [children["amd64"].root.digest, children["s390x"].root.digest]);
    assert_ne!(digest_of(&components[0]), all.root.digest.to_string());
    assert!(!archive.contains_key(&format!("blobs/sha256/{}", children["arm64"].root.digest.hex())));
}

#[test]
fn a_platform_that_an_image_lacks_is_an_error_that_names_those_it_has() {
    let (world, ..) = three_platforms(", platforms: [linux/amd64, linux/riscv64]");
    let ran = world.bundler(&["build"]).expect_exit(Exit::Unreachable);
    for text in [NAME, "linux/riscv64", "linux/amd64", "linux/arm64", "linux/s390x", "hint:"] {
        assert!(ran.stderr.contains(text), "{text}: {}", ran.stderr);
    }
}

// ---- charts -------------------------------------------------------------------------------------------

const IGNORED: &str = "# comment\n*.bak\n/private.txt\nnotes/\n.git/\n";

fn write_chart(world: &World, directory: &str) {
    let files = [
        ("Chart.yaml", "apiVersion: v2\nname: fraud\nversion: 1.10.0\nappVersion: \"2\"\n"),
        ("values.yaml", "replicas: 1\n"),
        (".helmignore", IGNORED),
        ("templates/deployment.yaml", "kind: Deployment\n"),
        ("templates/_helpers.tpl", "{{/* nothing */}}\n"),
        ("templates/.hidden.yaml", "never\n"),
        ("templates/private.txt", "kept: the rule is for the root\n"),
        ("private.txt", "never\n"),
        ("values.yaml.bak", "never\n"),
        ("notes/a.md", "never\n"),
        (".git/config", "never\n"),
        ("files/data.txt", "kept\n"),
    ];
    for (name, text) in files {
        world.write(&format!("{directory}/{name}"), text);
    }
}

fn chart_files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let plain = gunzip(archive);
    let mut tar = tar::Archive::new(plain.as_slice());
    let files = tar.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        (entry.path().unwrap().display().to_string(), bytes)
    });
    files.collect()
}

/// The bytes of the archive's one chart.
fn packed_chart(world: &World) -> Vec<u8> {
    let (components, archive) = built(world);
    let chart = components.iter().find(|component| component["kind"] == "chart").unwrap();
    blob(&archive, chart["archive"]["digest"].as_str().unwrap()).to_vec()
}

#[test]
fn a_charts_directory_is_packed_without_what_helmignore_says() {
    let world = World::new();
    write_chart(&world, "charts/fraud");
    world.spec("1.0.0", 1, "charts: [{source: charts/fraud, release: fraud, namespace: fraud}]\n");
    let files = chart_files(&packed_chart(&world));
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    let wanted = [
        "fraud/.helmignore",
        "fraud/Chart.yaml",
        "fraud/files/data.txt",
        "fraud/templates/_helpers.tpl",
        "fraud/templates/deployment.yaml",
        "fraud/templates/private.txt",
        "fraud/values.yaml",
    ];
    assert_eq!(names, wanted);
}

#[test]
fn a_charts_directory_is_packed_with_the_files_that_the_real_helm_packs() {
    let Some(helm) = real_part("helm") else { return };
    let world = World::new();
    write_chart(&world, "charts/fraud");
    world.spec("1.0.0", 1, "charts: [{source: charts/fraud}]\n");
    tool(&helm, &["package", "charts/fraud"], world.dir());
    let helms = chart_files(&std::fs::read(world.path("fraud-1.10.0.tgz")).unwrap());
    let ours = chart_files(&packed_chart(&world));
    assert_eq!(ours.keys().collect::<Vec<_>>(), helms.keys().collect::<Vec<_>>());
    assert_eq!(ours["fraud/values.yaml"], helms["fraud/values.yaml"]);

    std::fs::write(world.path("ours.tgz"), packed_chart_again(&world)).unwrap();
    let shown = tool(&helm, &["show", "chart", "ours.tgz"], world.dir()).stdout;
    assert!(String::from_utf8_lossy(&shown).contains("version: 1.10.0"));
    let rendered = tool(&helm, &["template", "x", "ours.tgz"], world.dir()).stdout;
    assert!(String::from_utf8_lossy(&rendered).contains("kind: Deployment"));
}

fn packed_chart_again(world: &World) -> Vec<u8> {
    std::fs::remove_file(world.path("b.tar")).unwrap();
    packed_chart(world)
}

#[test]
fn a_charts_directory_gives_the_same_bytes_whenever_and_wherever_it_is_packed() {
    let (one, two) = (World::new(), World::new());
    for (world, directory) in [(&one, "charts/fraud"), (&two, "elsewhere/fraud")] {
        write_chart(world, directory);
        world.spec("1.0.0", 1, &format!("charts: [{{source: {directory}}}]\n"));
    }
    let values = two.path("elsewhere/fraud/values.yaml");
    std::fs::set_permissions(&values, std::fs::Permissions::from_mode(0o600)).unwrap();
    let past = std::time::UNIX_EPOCH + std::time::Duration::from_secs(86_400);
    std::fs::File::options().write(true).open(&values).unwrap().set_modified(past).unwrap();
    assert_eq!(packed_chart(&one), packed_chart(&two));
}

#[test]
fn a_charts_archive_travels_as_it_is() {
    let world = World::new();
    let chart = "apiVersion: v2\nname: fraud\nversion: 1.10.0\n";
    let archive = ingredients::gzip(&tar_of(&[("fraud/Chart.yaml", chart), ("fraud/values.yaml", "a: 1\n")]));
    world.write("fraud.tgz", &archive);
    world.spec("1.0.0", 1, "charts: [{source: fraud.tgz}]\n");
    assert_eq!(packed_chart(&world), archive);
}

// ---- files --------------------------------------------------------------------------------------------

#[test]
fn files_travel_with_the_mode_that_was_asked_for_or_one_of_two() {
    let world = World::new();
    world.write("configs/a.yaml", "a\n");
    let script = world.write("configs/bin/run", "#!/bin/sh\n");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o775)).unwrap();
    let odd = world.write("configs/z", "z\n");
    std::fs::set_permissions(&odd, std::fs::Permissions::from_mode(0o604)).unwrap();
    world.spec("1.0.0", 1, "files:\n  - {source: configs, dest: /etc/one}\n  - {source: configs, dest: /etc/two, mode: \"0640\"}\n  - {source: configs/a.yaml, dest: /etc/three}\n");
    let (components, archive) = built(&world);
    let listed = |number: usize| -> Vec<(String, String)> {
        let files = components[number]["files"].as_array().unwrap();
        files
            .iter()
            .map(|file| (file["path"].as_str().unwrap().into(), file["mode"].as_str().unwrap().into()))
            .collect()
    };
    let pairs =
        |list: &[(&str, &str)]| list.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect::<Vec<_>>();
    let by_dest = |dest: &str| components.iter().position(|component| component["dest"] == dest).unwrap();
    assert_eq!(listed(by_dest("/etc/one")), pairs(&[("a.yaml", "0644"), ("bin/run", "0755"), ("z", "0644")]));
    assert_eq!(listed(by_dest("/etc/two")), pairs(&[("a.yaml", "0640"), ("bin/run", "0640"), ("z", "0640")]));
    assert_eq!(listed(by_dest("/etc/three")), pairs(&[("a.yaml", "0644")]));
    assert_eq!(blob(&archive, &Digest::of(b"a\n").to_string()), b"a\n");
}

// ---- wheels -------------------------------------------------------------------------------------------

#[test]
fn more_files_than_one_manifest_lists_travel_in_several_sets_for_the_same_place() {
    let world = World::new();
    world.trust();
    for number in 0..20_000 {
        world.write(&format!("data/{number:05}.conf"), "x");
    }
    world.spec("1.0.0", 1, "files: [{source: data, dest: /opt/data}]\n");
    let (components, _) = built(&world);
    let sets = &components;
    assert_eq!(sets.iter().map(|set| &set["name"]).collect::<Vec<_>>(), ["opt-data", "opt-data-2"]);
    assert!(sets.iter().all(|set| set["dest"] == "/opt/data"));
    let paths =
        sets.iter().flat_map(|set| set["files"].as_array().unwrap()).map(|file| file["path"].as_str());
    let paths: Vec<&str> = paths.map(Option::unwrap).collect();
    assert!(paths.len() == 20_000 && paths.is_sorted() && paths[19_999] == "19999.conf");
    world.bundler(&["build", "--out", "signed.tar", "--key", "keys/rel.key.pem"]).ok();
    world.installer(&["verify", "signed.tar"]).ok();
}

#[test]
fn wheels_of_a_directory_travel_as_they_are() {
    let (world, (name, bytes)) = (World::new(), wheel("tiny", "1.0", "x"));
    world.write(&format!("wheels/{name}"), &bytes);
    world.spec("1.0.0", 1, "wheels: [{name: tools, source: wheels}]\n");
    let (components, archive) = built(&world);
    assert_eq!(components[0]["wheels"][0]["filename"], name);
    assert_eq!(blob(&archive, &Digest::of(&bytes).to_string()), bytes);
}

#[test]
fn pinned_wheels_are_fetched_once_from_an_index_that_speaks_json_or_html() {
    for pages in [Pages::Json, Pages::Html] {
        let (world, wanted, newer) = (World::new(), wheel("tiny", "1.0", "x"), wheel("tiny", "2.0", "x"));
        let files = [&wanted, &newer].map(|file| IndexedFile::honest(file.clone()));
        let server = package_index(pages, files.to_vec());
        world.write("requirements.txt", pinned("tiny", "1.0", &wanted.1));
        world.spec("1.0.0", 1, &wheels_of(&server));
        let (components, archive) = built(&world);
        assert_eq!(components[0]["wheels"].as_array().unwrap().len(), 1);
        assert_eq!(components[0]["targets"][0]["wheels"][0], wanted.0.as_str());
        assert_eq!(blob(&archive, &Digest::of(&wanted.1).to_string()), wanted.1);
        let fetched = server.requests().into_iter().filter(|r| r.method == "GET" && r.path.ends_with(".whl"));
        assert_eq!(fetched.count(), 1, "{pages:?}");
    }
}

#[test]
fn a_wheel_of_the_real_index_travels_with_the_bytes_that_pip_downloads() {
    let Some(python) = real_part("python3") else { return };
    let world = World::new();
    let arguments = [
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--retries=0",
        "--timeout=10",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--dest=pip",
        "six==1.16.0",
    ];
    let pip = std::process::Command::new(python).args(arguments).current_dir(world.dir()).output().unwrap();
    if !pip.status.success() {
        eprintln!(
            "SKIPPED: pip cannot download six, so no wheel of the real index was bundled: {}",
            String::from_utf8_lossy(&pip.stderr)
        );
        return;
    }
    let file = std::fs::read_dir(world.path("pip")).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&file).unwrap();
    world.write("requirements.txt", pinned("six", "1.16.0", &bytes));
    world.spec("1.0.0", 1, "wheels:\n  - name: tools\n    requirements: requirements.txt\n    targets: [{python: \"3.11\", platform: manylinux_2_28_x86_64}]\n");
    let (components, archive) = built(&world);
    assert_eq!(components[0]["wheels"][0]["filename"], file.file_name().unwrap().to_str().unwrap());
    assert_eq!(blob(&archive, &Digest::of(&bytes).to_string()), bytes);
}

// ---- the same inputs, the same bytes -------------------------------------------------------------------

/// Everything that this version carries, in one spec.
fn everything(world: &World, server: &testkit::FakeServer, tiny: &[u8]) {
    write_layout(world, "images/app", &[("app", &two_layers("amd64", 2))]);
    let files: Vec<_> = layout(&[("two", &two_layers("amd64", 3))]).into_iter().collect();
    world.write("images/two.tar", tar_of(&files));
    world.write("images/saved.tar", docker_archive("r.example.com/saved:v1", &[layer(7, 60_000)]));
    write_chart(world, "charts/fraud");
    world.write("configs/a.yaml", "a: 1\n");
    let (name, bytes) = wheel("local", "3.1", "y");
    world.write(&format!("wheels/{name}"), bytes);
    world.write("requirements.txt", pinned("tiny", "1.0", tiny));
    let rest = format!(
        "images:\n  - {{source: \"oci:images/app:app\", name: \"{NAME}\"}}\n  - {{source: \"oci-archive:images/two.tar:two\", name: \"r.example.com/two:v1\"}}\n  - docker-archive:images/saved.tar:r.example.com/saved:v1\n\
         charts: [{{source: charts/fraud, values: [configs/a.yaml], order: 20}}]\n\
         files: [{{source: configs, dest: /etc/demo, mode: \"0640\"}}]\n{}  - {{name: local, source: wheels}}\n",
        wheels_of(server)
    );
    world.spec("2.1.0", 7, &rest);
}

fn tiny_server() -> (testkit::FakeServer, Vec<u8>) {
    let tiny = wheel("tiny", "1.0", "x");
    (package_index(Pages::Html, vec![IndexedFile::honest(tiny.clone())]), tiny.1)
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_tree(&path, &target)
        } else {
            std::fs::copy(&path, target).map(|_| ()).unwrap()
        }
    }
}

#[test]
fn one_lock_gives_one_archive_here_and_elsewhere_with_a_full_cache_and_an_empty_one() {
    let ((server, tiny), mut world) = (tiny_server(), World::new());
    everything(&world, &server, &tiny);
    world.bundler(&["lock"]).ok();
    let build = |world: &World, out: &str| {
        world.bundler(&["build", "--out", out]).ok();
        std::fs::read(world.path(out)).unwrap()
    };
    let first = build(&world, "first.tar");
    assert_eq!(build(&world, "second.tar"), first, "built twice");
    std::fs::remove_dir_all(world.path("cache")).unwrap();
    world.now = "2031-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(build(&world, "third.tar"), first, "with an emptied cache, years later");

    let elsewhere = World::new();
    copy_tree(&world.path("images"), &elsewhere.path("deep/down/images"));
    for name in ["charts", "configs", "wheels"] {
        copy_tree(&world.path(name), &elsewhere.path("deep/down").join(name));
    }
    for name in ["bundle.yaml", "bundle.lock", "requirements.txt"] {
        std::fs::copy(world.path(name), elsewhere.path("deep/down").join(name)).unwrap();
    }
    elsewhere.bundler(&["build", "deep/down/bundle.yaml", "--out", "b.tar"]).ok();
    assert_eq!(std::fs::read(elsewhere.path("b.tar")).unwrap(), first, "in another directory");
    assert!(
        !String::from_utf8_lossy(&first).contains(world.dir().to_str().unwrap()),
        "the archive names the directory it was built in"
    );
}

#[test]
fn locking_twice_gives_the_same_lock() {
    let ((server, tiny), mut world) = (tiny_server(), World::new());
    everything(&world, &server, &tiny);
    world.bundler(&["lock"]).ok();
    let first = std::fs::read_to_string(world.path("bundle.lock")).unwrap();
    world.now = "2027-01-01T00:00:00Z".parse().unwrap();
    world.bundler(&["lock"]).ok();
    assert_eq!(std::fs::read_to_string(world.path("bundle.lock")).unwrap(), first);
    std::fs::remove_dir_all(world.path("cache")).unwrap();
    world.bundler(&["lock"]).ok();
    assert_eq!(std::fs::read_to_string(world.path("bundle.lock")).unwrap(), first, "with an emptied cache");
    assert!(!first.contains(world.dir().to_str().unwrap()), "the lock names the directory it was made in");
}

#[test]
fn source_date_epoch_is_when_the_bundle_was_created() {
    let mut world = World::new();
    world.write("a", "a");
    world.spec("1.0.0", 1, "files: [{source: a, dest: /a}]\n");
    world.vars.insert("SOURCE_DATE_EPOCH".into(), "1000000000".into());
    world.bundler(&["build", "--out", "b.tar"]).ok();
    let seen = world.bundler(&["--output", "json", "inspect", "b.tar"]).ok().json();
    assert_eq!(seen["manifest"]["created"], "2001-09-09T01:46:40Z");
    for wrong in ["yesterday", "-1000000000000000", "1.5"] {
        world.vars.insert("SOURCE_DATE_EPOCH".into(), wrong.into());
        let ran = world.bundler(&["lock"]).expect_exit(Exit::Usage);
        assert!(ran.stderr.contains("SOURCE_DATE_EPOCH"), "{wrong}: {}", ran.stderr);
    }
}

// ---- signatures ---------------------------------------------------------------------------------------

/// An archive that nobody has signed.
fn unsigned(world: &World) -> PathBuf {
    world.write("a", "a");
    world.spec("1.0.0", 1, "files: [{source: a, dest: /a}]\n");
    let ran = world.bundler(&["build", "--out", "b.tar"]).ok();
    assert!(ran.stdout.contains("nobody yet"), "{}", ran.stdout);
    world.path("b.tar")
}

#[test]
fn an_archive_can_be_signed_after_it_was_built() {
    let world = World::new();
    world.trust();
    let archive = unsigned(&world);
    let size = std::fs::metadata(&archive).unwrap().len();
    let _ = world.bundler(&["verify", "b.tar", "--trust", "root.json"]).expect_exit(Exit::Refused);
    let _ = world.installer(&["verify", "b.tar"]).expect_exit(Exit::Refused);
    world.bundler(&["sign", "b.tar", "--key", "keys/rel.key.pem"]).ok();
    world.bundler(&["verify", "b.tar", "--trust", "root.json"]).ok();
    world.installer(&["verify", "b.tar"]).ok();
    assert_eq!(std::fs::metadata(&archive).unwrap().len(), size, "signing rewrote the archive");

    world.bundler(&["build", "--out", "at-once.tar", "--key", "keys/rel.key.pem"]).ok();
    assert_eq!(std::fs::read(&archive).unwrap(), std::fs::read(world.path("at-once.tar")).unwrap());
}

#[test]
fn a_signature_that_the_real_openssl_has_made_is_attached_and_verifies() {
    let Some(openssl) = real_part("openssl") else { return };
    let world = World::new();
    unsigned(&world);
    let ssl = |arguments: &str| tool(&openssl, &arguments.split(' ').collect::<Vec<_>>(), world.dir());
    for name in ["hsm", "root"] {
        ssl(&format!("genpkey -algorithm ed25519 -out {name}.pem"));
        ssl(&format!("pkey -in {name}.pem -pubout -out {name}.pub.pem"));
        std::fs::set_permissions(world.path(&format!("{name}.pem")), std::fs::Permissions::from_mode(0o600))
            .unwrap();
    }
    tool("/bin/tar", &["-xf", "b.tar", "bundle.json"], world.dir());
    ssl("pkeyutl -sign -inkey hsm.pem -rawin -in bundle.json -out good.sig");
    ssl("pkeyutl -sign -inkey root.pem -rawin -in bundle.json -out other.sig");
    world.bundler(&"trust new --publisher acme --release-key hsm.pub.pem --root-key root.pub.pem --sign root.pem --out root.json".split(' ').collect::<Vec<_>>()).ok();

    let before = std::fs::read(world.path("b.tar")).unwrap();
    let sign = |signature: &str| {
        world.bundler(&["sign", "b.tar", "--signature", signature, "--public-key", "hsm.pub.pem"])
    };
    let ran = sign("other.sig").expect_exit(Exit::Refused);
    assert!(ran.stderr.contains("hint:") && ran.stderr.contains("openssl pkeyutl -sign"), "{}", ran.stderr);
    assert_eq!(std::fs::read(world.path("b.tar")).unwrap(), before, "a wrong signature was written");
    sign("good.sig").ok();
    world.bundler(&["verify", "b.tar", "--trust", "root.json"]).ok();
    assert!(sign("good.sig").ok().stdout.contains("had signed already"));
}
