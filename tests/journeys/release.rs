//! One release of everything, from real parts: five images on a real registry (two that share layers, one for two
//! platforms, one that its publisher has signed), three sets of requirements of the real package index for machines
//! that are not this one, two charts with dependencies from a classic repository and from a registry. It is locked,
//! built, built again elsewhere to the same bytes, carried and applied; and what is missing is named.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

mod ingredients;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::World;
use edge::Exit;
use ingredients::{IndexedFile, Pages, entries, package_index, real_index, tool};
use manifests::Digest;
use serde_json::Value;
use testkit::{FakeServer, RealRegistry, RealRegistryOptions, Reply, real_part};

/// What the release is made with.
struct Tools {
    umoci: PathBuf,
    skopeo: PathBuf,
    cosign: PathBuf,
    helm: PathBuf,
}

fn tools() -> Option<Tools> {
    real_part("uv")?;
    real_part("python3")?;
    Some(Tools {
        umoci: real_part("umoci")?,
        skopeo: real_part("skopeo")?,
        cosign: real_part("cosign")?,
        helm: real_part("helm")?,
    })
}

/// Where everything comes from.
struct Upstream {
    world: World,
    registry: RealRegistry,
    charts: FakeServer,
    tools: Tools,
}

const SETS: [(&str, &str, [&str; 2]); 3] = [
    (
        "web",
        "fastapi\nuvicorn\nsqlalchemy\nexceptiongroup; python_version < '3.11'\n",
        [
            "{python: \"3.10\", platform: manylinux_2_28_aarch64}",
            "{python: \"3.12\", platform: musllinux_1_2_x86_64}",
        ],
    ),
    (
        "science",
        "numpy\npandas\nscikit-learn\n",
        [
            "{python: \"3.12\", platform: manylinux_2_28_aarch64}",
            "{python: \"3.13\", platform: manylinux_2_34_x86_64}",
        ],
    ),
    (
        "client",
        "httpx[http2]\ntenacity\norjson\n",
        [
            "{python: \"3.10\", platform: manylinux_2_28_aarch64}",
            "{python: \"3.12\", platform: musllinux_1_2_x86_64}",
        ],
    ),
];

impl Upstream {
    fn start() -> Option<Self> {
        let tools = tools()?;
        let registry = RealRegistry::start(RealRegistryOptions::default())?;
        let world = World::new();
        let repository = world.path("repository");
        std::fs::create_dir(&repository).unwrap();
        let served = repository.clone();
        let charts = FakeServer::start(move |request| {
            let name = request.path.trim_start_matches('/');
            match std::fs::read(served.join(name)) {
                Ok(bytes) if !name.contains('/') => Reply::ok(bytes),
                _ => Reply::status(404),
            }
        });
        let upstream = Self { world, registry, charts, tools };
        upstream.push_images();
        upstream.publish_charts();
        upstream.write_release(true);
        Some(upstream)
    }

    fn image(&self, name: &str) -> String {
        format!("{}/team/{name}:v1", self.registry.host())
    }

    fn run(&self, program: &Path, arguments: &[&str]) {
        tool(program, arguments, self.world.dir());
    }

    /// `base` below `web` and `worker`, so that these share its layer; `multi` for two platforms; `signed` by cosign.
    fn push_images(&self) {
        let umoci = |arguments: &[&str]| self.run(&self.tools.umoci, arguments);
        umoci(&["init", "--layout", "images"]);
        umoci(&["new", "--image", "images:base"]);
        self.add_layer("base", "base", "usr/share/base", 300_000);
        for (seed, name) in ["web", "worker", "tools", "signed"].iter().enumerate() {
            self.add_layer("base", name, &format!("opt/{name}"), 50_000 + seed);
        }
        for (name, architecture) in [("amd64", "amd64"), ("arm64", "arm64")] {
            self.add_layer("base", name, "opt/multi", 40_000);
            umoci(&["config", "--image", &format!("images:{name}"), "--architecture", architecture]);
        }
        for name in ["web", "worker", "tools", "signed"] {
            self.copy(&format!("oci:images:{name}"), &self.image(name));
        }
        self.push_multi();
        let cosign = |arguments: &[&str]| {
            let ran = Command::new(&self.tools.cosign)
                .args(arguments)
                .current_dir(self.world.dir())
                .env("COSIGN_PASSWORD", "")
                .output()
                .unwrap();
            assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        };
        cosign(&["generate-key-pair"]);
        let lax = ["--tlog-upload=false", "--allow-insecure-registry=true", "--yes"];
        cosign(&[&["sign", "--key", "cosign.key"], &lax[..], &[&self.image("signed")]].concat());
    }

    fn add_layer(&self, from: &str, name: &str, file: &str, length: usize) {
        let rootfs = self.world.path("unpacked");
        let _ = std::fs::remove_dir_all(&rootfs);
        let umoci = |arguments: &[&str]| self.run(&self.tools.umoci, arguments);
        umoci(&["unpack", "--image", &format!("images:{from}"), "unpacked"]);
        let path = rootfs.join("rootfs").join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, ingredients::noise(length as u64, length)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        umoci(&["repack", "--image", &format!("images:{name}"), "unpacked"]);
    }

    fn copy(&self, from: &str, to: &str) {
        let to = format!("docker://{to}");
        self.run(&self.tools.skopeo, &["copy", "--quiet", "--dest-tls-verify=false", from, &to]);
    }

    /// Both platforms by digest, and an index of them under the tag.
    fn push_multi(&self) {
        let mut list = Vec::new();
        for architecture in ["amd64", "arm64"] {
            let place = format!("{}/team/multi:{architecture}", self.registry.host());
            self.copy(&format!("oci:images:{architecture}"), &place);
            let raw = ["inspect", "--raw", "--tls-verify=false", &format!("docker://{place}")];
            let manifest = tool(&self.tools.skopeo, &raw, self.world.dir()).stdout;
            list.push(serde_json::json!({
                "mediaType": manifests::oci::MEDIA_MANIFEST, "digest": Digest::of(&manifest),
                "size": manifest.len(), "platform": {"architecture": architecture, "os": "linux"},
            }));
        }
        let index = serde_json::json!({
            "schemaVersion": 2, "mediaType": manifests::oci::MEDIA_INDEX, "manifests": list,
        });
        let bytes = ingredients::to_json(&index);
        let place = ingredients::repository_at(&self.registry.url(), "team/multi");
        place.put_manifest(&"v1".parse().unwrap(), manifests::oci::MEDIA_INDEX, &bytes).unwrap();
    }

    /// `common` and `operator` (with `common` inside it) in the classic repository, `cache` on the registry.
    fn publish_charts(&self) {
        let chart = |name: &str, yaml: &str, template: &str| {
            let yaml = format!("apiVersion: v2\nname: {name}\n{yaml}");
            self.world.write(&format!("src/{name}/Chart.yaml"), yaml);
            self.world.write(&format!("src/{name}/templates/all.yaml"), template);
        };
        let helm = |arguments: &[&str]| {
            let ran = Command::new(&self.tools.helm)
                .args(arguments)
                .current_dir(self.world.dir())
                .env("HOME", self.world.path("home"))
                .output()
                .unwrap();
            assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
        };
        let pod = |name: &str, image: &str| {
            format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  containers: [{{name: a, image: \"{image}\"}}]\n"
            )
        };
        chart("common", "version: 1.2.0\n", "{{- if .Values.on }}\nkind: None\n{{- end }}\n");
        self.world.write("src/common/values.yaml", "on: false\n");
        helm(&["package", "src/common", "-d", "repository"]);
        chart("cache", "version: 3.1.4\n", &pod("cache", &self.image("worker")));
        helm(&["package", "src/cache", "-d", "src"]);
        let oci = format!("oci://{}/charts", self.registry.host());
        helm(&["push", "--plain-http", "src/cache-3.1.4.tgz", &oci]);
        // Vendored, as a chart that is published has to be.
        let needs = "dependencies: [{name: common, version: 1.2.0, repository: \"\"}]\n";
        let hidden = format!(
            "apiVersion: example.com/v1\nkind: Runner\nmetadata: {{name: runner}}\nspec:\n  env: [{{name: RUNNER, value: \"{}\"}}]\n",
            self.image("tools")
        );
        let related = format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: operator}}\nspec:\n  template:\n    spec:\n      containers:\n        - {{name: a, image: \"{}\", env: [{{name: RELATED_IMAGE_MULTI, value: \"{}\"}}]}}\n",
            self.image("signed"),
            self.image("multi")
        );
        chart("operator", &format!("version: 0.9.1\n{needs}"), &format!("{hidden}---\n{related}"));
        std::fs::create_dir(self.world.path("src/operator/charts")).unwrap();
        std::fs::copy(
            self.world.path("repository/common-1.2.0.tgz"),
            self.world.path("src/operator/charts/common-1.2.0.tgz"),
        )
        .unwrap();
        helm(&["package", "src/operator", "-d", "repository"]);
        helm(&["repo", "index", "repository"]);
        // Ours: a directory whose dependencies are elsewhere.
        let needs = format!(
            "dependencies:\n  - {{name: common, version: 1.x, repository: \"{}\"}}\n  - {{name: cache, version: ^3.1.0, repository: \"{oci}\"}}\n",
            self.charts.url()
        );
        self.world.write(
            "charts/store/Chart.yaml",
            format!("apiVersion: v2\nname: store\nversion: 2.0.0\n{needs}"),
        );
        self.world.write("charts/store/values.yaml", "image: nowhere.example.com/none:v0\n");
        self.world.write("charts/store/templates/pod.yaml", pod("store", "{{ .Values.image }}"));
        self.world.write("configs/store.yaml", format!("image: \"{}\"\n", self.image("web")));
    }

    /// `bundle.yaml`; without the image that only a custom resource names unless `complete`.
    fn write_release(&self, complete: bool) {
        let mut rest = String::from("images:\n");
        for name in ["web", "worker", "multi"] {
            rest += &format!("  - docker://{}\n", self.image(name));
        }
        if complete {
            rest += &format!("  - docker://{}\n", self.image("tools"));
        }
        rest +=
            &format!("  - {{source: \"docker://{}\", verify: {{key: cosign.pub}}}}\n", self.image("signed"));
        rest += "wheels:\n";
        for (name, requirements, targets) in SETS {
            self.world.write(&format!("{name}.txt"), requirements);
            rest += &format!(
                "  - {{name: {name}, requirements: {name}.txt, targets: [{}]}}\n",
                targets.join(", ")
            );
        }
        rest += &format!(
            "charts:\n  - {{source: charts/store, release: store, values: [configs/store.yaml]}}\n  - {{repo: \"{}\", name: operator, version: 0.x, release: operator}}\n",
            self.charts.url()
        );
        self.world.spec("1.0.0", 1, &rest);
    }
}

fn lock(world: &World) -> Value {
    serde_json::from_slice(&std::fs::read(world.path("bundle.lock")).unwrap()).unwrap()
}

fn digest(world: &World, name: &str) -> Digest {
    Digest::of(&std::fs::read(world.path(name)).unwrap())
}

#[test]
fn a_release_of_images_wheels_and_charts_is_locked_built_and_built_again_to_the_same_bytes() {
    let Some(upstream) = Upstream::start() else { return };
    if !real_index(Path::new("python3")) {
        return;
    }
    let world = &upstream.world;
    world.trust();
    world.bundler(&["lock"]).ok();
    let locked = lock(world);
    let kinds: Vec<&str> =
        locked["components"].as_array().unwrap().iter().map(|c| c["kind"].as_str().unwrap()).collect();
    let count = |kind: &str| kinds.iter().filter(|found| **found == kind).count();
    assert_eq!((count("image"), count("wheelhouse"), count("chart")), (5, 3, 2), "{kinds:?}");
    world.bundler(&["build", "--key", "keys/rel.key.pem", "--out", "a.tar"]).ok();

    // Again with nothing in the cache, and again with the sources out of reach.
    std::fs::remove_dir_all(world.path("cache")).unwrap();
    world.bundler(&["build", "--key", "keys/rel.key.pem", "--out", "b.tar"]).ok();
    assert_eq!(digest(world, "a.tar"), digest(world, "b.tar"));
    let host = upstream.registry.host().to_string();
    let Upstream { world, registry, charts, .. } = upstream;
    drop((registry, charts));
    world.bundler(&["build", "--key", "keys/rel.key.pem", "--out", "c.tar"]).ok();
    assert_eq!(digest(&world, "a.tar"), digest(&world, "c.tar"));

    // Layers that two images share are there once, both platforms are, and the publisher's signature is.
    let archive = entries(&world.path("a.tar"));
    let inventory: Value = serde_json::from_slice(&archive["inventory.json"]).unwrap();
    let image = |name: &str| {
        let name = format!("{host}/team/{name}:v1");
        inventory["components"].as_array().unwrap().iter().find(|c| c["name"] == *name).unwrap().clone()
    };
    let blobs = |name: &str| {
        let blobs = image(name)["blobs"].as_array().unwrap().clone();
        blobs.into_iter().collect::<std::collections::HashSet<_>>()
    };
    assert_eq!(blobs("web").intersection(&blobs("worker")).count(), 1);
    assert_eq!(image("multi")["platforms"].as_array().unwrap().len(), 2);
    assert_eq!(image("signed")["companions"][0]["kind"], "cosign-signature");
    assert!(image("signed")["upstream_signature"]["verified"].is_object());

    // And a site takes it, with nothing of all that in reach.
    world.installer(&["verify", "a.tar"]).ok();
    world.installer(&["apply", "a.tar", "--yes"]).ok();
    let shown = world.installer(&["status"]).ok().stdout;
    assert!(shown.contains("1.0.0"), "{shown}");
}

#[test]
fn an_image_that_only_an_environment_variable_of_a_custom_resource_names_is_found() {
    let Some(upstream) = Upstream::start() else { return };
    upstream.write_release(false);
    let ran = upstream.world.bundler(&["lock"]).expect_exit(Exit::Usage);
    let line = format!("- docker://{}", upstream.image("tools"));
    assert!(
        ran.stderr.contains(&line) && ran.stderr.contains("Runner/runner spec.env[0].value"),
        "{}",
        ran.stderr
    );
    assert!(!upstream.world.path("bundle.lock").exists());
    // The line that is proposed is the one that is missing.
    let text = std::fs::read_to_string(upstream.world.path("bundle.yaml")).unwrap();
    upstream.world.write("bundle.yaml", text.replacen("images:\n", &format!("images:\n  {line}\n"), 1));
    if real_index(Path::new("python3")) {
        upstream.world.bundler(&["lock"]).ok();
    }
}

#[test]
fn a_wheel_of_the_closure_that_is_gone_from_the_index_is_named() {
    if real_part("uv").is_none() || real_part("python3").is_none() || !real_index(Path::new("python3")) {
        return;
    }
    let world = World::new();
    let (name, requirements, targets) = SETS[2];
    world.write("requirements.txt", requirements);
    let spec = |index: &str| {
        let targets = targets.join(", ");
        format!("wheels: [{{name: {name}, requirements: requirements.txt, targets: [{targets}]{index}}}]\n")
    };
    world.spec("1.0.0", 1, &spec(""));
    world.bundler(&["lock"]).ok();
    // The same wheels on an index of our own, with all of them and with one less.
    let wheels: Vec<(String, Vec<u8>)> = lock(&world)["components"][0]["wheels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|wheel| {
            let hex = wheel["digest"].as_str().unwrap().trim_start_matches("sha256:").to_string();
            let bytes = std::fs::read(world.path(&format!("cache/blobs/sha256/{hex}"))).unwrap();
            (wheel["filename"].as_str().unwrap().to_string(), bytes)
        })
        .collect();
    let publish = |wheels: &[(String, Vec<u8>)]| {
        package_index(Pages::Json, wheels.iter().cloned().map(IndexedFile::honest).collect())
    };
    let whole = publish(&wheels);
    world.spec("1.0.0", 1, &spec(&format!(", index: \"{}/simple/\"", whole.url())));
    world.bundler(&["lock"]).ok();
    let before = std::fs::read(world.path("bundle.lock")).unwrap();
    let without: Vec<_> = wheels.into_iter().filter(|(name, _)| !name.starts_with("h11-")).collect();
    let index = publish(&without);
    world.spec("1.0.0", 1, &spec(&format!(", index: \"{}/simple/\"", index.url())));
    let ran = world.bundler(&["lock"]).expect_exit(Exit::Unreachable);
    assert!(ran.stderr.contains("h11"), "{}", ran.stderr);
    assert_eq!(std::fs::read(world.path("bundle.lock")).unwrap(), before);
}
