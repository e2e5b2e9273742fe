//! The whole of it on a real site: a release with a database image, a service that uses it, a chart, plain Kubernetes
//! objects, wheels, files and a migration, on a real registry, a real Kubernetes API and real Python. It is applied,
//! upgraded and rolled back, killed at every step, and fails in every way that a site fails; the end is the old
//! version or the new one.

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
mod onsite;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use e2e::{Ran, World};
use edge::Exit;
use ingredients::{noise, repository_at, tool};
use installer::apply::Unwatched;
use onsite::{
    Python, another_site, audit_holds, build, greeting, installer, python_says, says, site_yaml, tree,
    with_run, write_wheels,
};
use testkit::{Cluster, ImageNames, Node, RealRegistry, RealRegistryOptions, real_part, unresolved_images};

// ---- what is carried ----------------------------------------------------------------------------------

const UPSTREAM: &str = "registry.example.com";
/// The one namespace of the release: bundles name it, so every site of these tests is a cluster of its own.
const NAMESPACE: &str = "fraud-detection";

/// Where the bundles are made.
struct Sender {
    world: World,
    python: Python,
    umoci: PathBuf,
    skopeo: PathBuf,
    /// `helm` or `helm4`: the one of the site.
    helm: &'static str,
}

impl Sender {
    fn start(helm: &'static str) -> Option<Self> {
        let sender = Self {
            helm,
            world: World::new(),
            python: Python::find()?,
            umoci: real_part("umoci")?,
            skopeo: real_part("skopeo")?,
        };
        sender.world.trust();
        sender.database();
        for version in ["v1", "v2", "v3"] {
            sender.service(version);
        }
        Some(sender)
    }

    fn umoci(&self, arguments: &[&str]) {
        tool(&self.umoci, arguments, self.world.dir());
    }

    /// An image with this file in a layer on top of another one's.
    fn layer(&self, from: &str, name: &str, file: &str, content: &[u8]) {
        let unpacked = self.world.path("unpacked");
        let _ = std::fs::remove_dir_all(&unpacked);
        self.umoci(&["unpack", "--image", &format!("images:{from}"), "unpacked"]);
        let path = unpacked.join("rootfs").join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self.umoci(&["repack", "--image", &format!("images:{name}"), "unpacked"]);
    }

    fn archive(&self, image: &str, name: &str) {
        let archive = format!("oci-archive:{}.tar:{name}", image.replace(':', "-"));
        tool(&self.skopeo, &["copy", "--quiet", &format!("oci:images:{image}"), &archive], self.world.dir());
    }

    /// In the shape of PostgreSQL's own image: a system below, the server, an entrypoint, a volume, a port, a user.
    fn database(&self) {
        self.umoci(&["init", "--layout", "images"]);
        self.umoci(&["new", "--image", "images:system"]);
        self.layer("system", "system", "usr/lib/libc.so", &noise(1, 400_000));
        self.layer("system", "postgres", "usr/lib/postgresql/15/bin/postgres", &noise(2, 200_000));
        self.layer("postgres", "postgres", "usr/local/bin/docker-entrypoint.sh", b"#!/bin/sh\nexec \"$@\"\n");
        self.umoci(&[
            "config",
            "--image=images:postgres",
            "--config.entrypoint=docker-entrypoint.sh",
            "--config.cmd=postgres",
            "--config.exposedports=5432/tcp",
            "--config.volume=/var/lib/postgresql/data",
            "--config.env=PGDATA=/var/lib/postgresql/data",
            "--config.env=PG_MAJOR=15",
            "--config.user=postgres",
        ]);
        self.archive("postgres", "15");
    }

    fn service(&self, version: &str) {
        let image = format!("service-{version}");
        self.layer("system", &image, "opt/service/bin", format!("service {version}").as_bytes());
        self.archive(&image, version);
    }

    /// Builds version `number`: the same shape, other content; some things come and go from one to the next.
    fn bundle(&self, number: u64, shape: Shape) -> PathBuf {
        let version = format!("v{number}");
        self.write_chart(&version, shape);
        self.write_objects(number);
        self.write_files(number);
        write_wheels(&self.world, "wheels", &greeting(&format!("{number}.0")));
        let undo = if shape == Shape::UndoFails { "scripts/broken.sh" } else { "scripts/migrate.sh" };
        let rest = format!(
            "images:
  - {{source: \"oci-archive:postgres.tar:15\", name: \"{UPSTREAM}/library/postgres:15\"}}
  - {{source: \"oci-archive:service-{version}.tar:{version}\", name: \"{UPSTREAM}/fraud/service:{version}\"}}
wheels:
  - {{name: scoring, source: wheels/}}
charts:
  - {{source: charts/fraud, release: fraud, namespace: {NAMESPACE}, values: [configs/base.yaml], order: 20}}
manifests: [{{source: k8s/, namespace: {NAMESPACE}}}]
files: [{{source: files/, dest: /etc/fraud/, mode: \"0640\"}}]
scripts: [{{source: scripts/migrate.sh, undo: {undo}, when: before}}]
requires: {{disk: 1MiB, kubernetes: \">=1.28\", secrets: [{NAMESPACE}/db-password]}}
health: [{{rollout: deployment/service, namespace: {NAMESPACE}, within: 60s}}]
"
        );
        let name = format!("{number}-{shape:?}.tar");
        build(&self.world, &format!("{number}.0.0"), number, &rest, &name);
        self.world.path(&name)
    }

    fn write_chart(&self, version: &str, shape: Shape) {
        let write = |path: &str, text: String| {
            self.world.write(&format!("charts/fraud/{path}"), text);
        };
        let pod = if shape == Shape::Good { "{}" } else { "{airlock.test/pod: never-ready}" };
        write("Chart.yaml", format!("apiVersion: v2\nname: fraud\nversion: 1.0.0\nappVersion: {version}\n"));
        write("values.yaml", "replicas: 1\nlog: info\n".to_string());
        write("templates/database.yaml", database_template());
        write("templates/service.yaml", service_template(version, pod));
        // Helm 3 hands hooks to no post-renderer, and a site that has it is told so before anything changes.
        let hook = if self.helm == "helm4" { hook_template(version) } else { String::new() };
        write("templates/hook.yaml", hook);
        self.world.write("configs/base.yaml", "replicas: 2\nlog: warn\n");
    }

    fn write_objects(&self, number: u64) {
        let map = |name: &str| {
            format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{version: \"{number}\"}}\n"
            )
        };
        let _ = std::fs::remove_dir_all(self.world.path("k8s"));
        self.world.write("k8s/settings.yaml", map("settings"));
        self.world.write(&format!("k8s/only-{number}.yaml"), map(&format!("only-{number}")));
    }

    fn write_files(&self, number: u64) {
        let _ = std::fs::remove_dir_all(self.world.path("files"));
        self.world.write("files/version", format!("{number}\n"));
        self.world.write("files/same", "the same in all\n");
        self.world.write(&format!("files/only-{number}/file"), "comes and goes\n");
        // The database is a file beside the site; the migration adds a line, its undo takes it away.
        let script = format!(
            "#!/bin/sh
set -eu
database=$AIRLOCK_SITE/../database
touch \"$database\"
grep -vx {number} \"$database\" >\"$database.new\" || true
[ \"$AIRLOCK_STEP\" = undo ] || echo {number} >>\"$database.new\"
mv \"$database.new\" \"$database\"
"
        );
        self.world.write("scripts/migrate.sh", script);
        self.world.write("scripts/broken.sh", "#!/bin/sh\necho 'no way back' >&2\nexit 9\n");
    }
}

/// In which way a bundle is good or bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Good,
    /// Its service never becomes ready.
    NeverReady,
    /// The same, and what takes its migration back fails.
    UndoFails,
}

fn database_template() -> String {
    format!(
        "apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: database}}
spec:
  serviceName: database
  replicas: 1
  selector: {{matchLabels: {{app: database}}}}
  template:
    metadata: {{labels: {{app: database}}}}
    spec:
      containers:
        - name: postgres
          image: {UPSTREAM}/library/postgres:15
          env: [{{name: POSTGRES_PASSWORD, valueFrom: {{secretKeyRef: {{name: db-password, key: password}}}}}}]
"
    )
}

fn service_template(version: &str, pod: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: service}}
spec:
  replicas: {{{{ .Values.replicas }}}}
  selector: {{matchLabels: {{app: service}}}}
  template:
    metadata:
      labels: {{app: service}}
      annotations: {pod}
    spec:
      initContainers: [{{name: wait, image: \"{UPSTREAM}/library/postgres:15\"}}]
      containers:
        - name: service
          image: {UPSTREAM}/fraud/service:{version}
          args: [\"--log={{{{ .Values.log }}}}\"]
"
    )
}

/// A hook has an image, too.
fn hook_template(version: &str) -> String {
    format!(
        "apiVersion: batch/v1
kind: Job
metadata:
  name: warm-up
  annotations: {{helm.sh/hook: \"post-install,post-upgrade\", helm.sh/hook-delete-policy: before-hook-creation}}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{{name: warm-up, image: \"{UPSTREAM}/fraud/service:{version}\"}}]
"
    )
}

// ---- where it arrives ---------------------------------------------------------------------------------

/// A site with everything.
struct Receiver {
    world: World,
    registry: RealRegistry,
    cluster: Cluster,
    helm: PathBuf,
}

/// What the site runs. Equal states are equal to the byte and to the digest.
#[derive(Debug, PartialEq)]
struct State {
    files: BTreeMap<PathBuf, String>,
    python: String,
    database: String,
    tags: BTreeMap<String, String>,
    manifest: String,
    values: String,
    maps: BTreeMap<String, String>,
    pods: Vec<String>,
    version: String,
}

impl Receiver {
    fn start(sender: &Sender) -> Option<Self> {
        let helm = real_part(sender.helm)?;
        let registry = RealRegistry::start(RealRegistryOptions { delete: true, ..Default::default() })?;
        let cluster = Cluster::start(&[Node::default()])?;
        let world = another_site(&sender.world);
        cluster.kubectl(&["create", "namespace", NAMESPACE]);
        let secret = ["create", "secret", "generic", "db-password", "--from-literal=password=hunter2"];
        cluster.kubectl(&[&secret[..], &["--namespace", NAMESPACE]].concat());
        std::fs::create_dir(world.path("root")).unwrap();
        site_yaml(
            &world,
            &[
                format!("registry: {{url: \"{}\", prefix: mirror}}", registry.url()),
                sender.python.as_target(&world),
                format!("files: {{root: {}}}", world.path("root").display()),
                "scripts: {}".to_string(),
                format!("kubernetes: {{kubeconfig: {}}}", cluster.kubeconfig().display()),
                format!("helm: {{helm: {}, images: rewrite, timeout: 60s}}", helm.display()),
            ],
        );
        let overlay = "values: {fraud: [overlay.yaml]}\npreflight: {headroom: 90}\n";
        let path = world.path("site/site.yaml");
        std::fs::write(&path, std::fs::read_to_string(&path).unwrap() + overlay).unwrap();
        world.write("site/overlay.yaml", "log: debug\n");
        Some(Self { world, registry, cluster, helm })
    }

    fn apply(&self, bundle: &Path) -> Ran {
        self.world.installer(&["apply", bundle.to_str().unwrap(), "--yes"])
    }

    /// What `helm` says about the release; nothing where there is none.
    fn helm(&self, what: &str) -> String {
        let kubeconfig = self.cluster.kubeconfig();
        let arguments = ["get", what, "fraud", "--namespace", NAMESPACE, "--kubeconfig"];
        let output = std::process::Command::new(&self.helm).args(arguments).arg(kubeconfig).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn state(&self) -> State {
        let python = self.world.path("venvs/scoring/bin/python");
        let maps = self.cluster.get(&["configmaps", "--namespace", NAMESPACE]);
        let maps = maps["items"].as_array().unwrap().iter();
        let maps = maps.filter(|map| map["metadata"]["name"] != "kube-root-ca.crt");
        let status = self.world.installer(&["--output", "json", "status"]).ok().json();
        let names = ["library/postgres:15", "fraud/service:v1"];
        State {
            files: tree(&self.world, "root", &[]),
            python: if python.exists() {
                python_says(&python, "import greet; print(greet.text())")
            } else {
                String::new()
            },
            database: std::fs::read_to_string(self.world.path("database")).unwrap_or_default(),
            tags: names.iter().map(|name| (name.to_string(), self.tag(name))).collect(),
            manifest: self.helm("manifest"),
            values: self.helm("values"),
            maps: maps.map(|map| (map["metadata"]["name"].to_string(), map["data"].to_string())).collect(),
            pods: self.images(),
            version: status["products"][0]["current"]["version"].to_string(),
        }
    }

    fn tag(&self, name: &str) -> String {
        let (path, tag) = name.rsplit_once(':').unwrap();
        let repository = repository_at(&self.registry.url(), &format!("mirror/{UPSTREAM}/{path}"));
        let found = repository.head_manifest(&tag.parse().unwrap()).unwrap();
        found.map_or("none".to_string(), |found| found.digest.to_string())
    }

    /// The images of every workload, as the cluster has them.
    fn images(&self) -> Vec<String> {
        let kinds = "deployments,statefulsets";
        let found = self.cluster.get(&[kinds, "--namespace", NAMESPACE]);
        let mut images = Vec::new();
        for item in found["items"].as_array().unwrap() {
            let pod = &item["spec"]["template"]["spec"];
            for containers in ["initContainers", "containers"] {
                let all = pod[containers].as_array().into_iter().flatten();
                images.extend(all.map(|container| container["image"].as_str().unwrap().to_string()));
            }
        }
        images.sort();
        images
    }
}

/// A site with version 1, and what it runs.
fn with_version_1(sender: &Sender) -> Option<(Receiver, PathBuf, State)> {
    let bundle = sender.bundle(1, Shape::Good);
    let receiver = Receiver::start(sender)?;
    receiver.apply(&bundle).ok();
    let state = receiver.state();
    Some((receiver, bundle, state))
}

// ---- forwards and back --------------------------------------------------------------------------------

fn applied_upgraded_and_rolled_back(helm: &'static str) {
    let Some(sender) = Sender::start(helm) else { return };
    let Some((receiver, _, first)) = with_version_1(&sender) else { return };
    assert_eq!((first.python.as_str(), first.database.as_str()), ("hello from 1.0", "1\n"));
    assert!(first.files.contains_key(Path::new("etc/fraud/only-1/file")));
    assert!(first.maps.contains_key("\"only-1\"") && first.values.contains("log: debug"));
    assert!(first.pods.iter().all(|image| image.contains("@sha256:")), "{:?}", first.pods);
    receiver.pods_can_be_pulled();

    let bundle = sender.bundle(2, Shape::Good);
    receiver.apply(&bundle).ok();
    let second = receiver.state();
    assert_eq!((second.python.as_str(), second.database.as_str()), ("hello from 2.0", "1\n2\n"));
    assert!(!second.files.contains_key(Path::new("etc/fraud/only-1")), "{:?}", second.files);
    assert!(second.maps.contains_key("\"only-2\"") && !second.maps.contains_key("\"only-1\""));
    assert_ne!(first.pods, second.pods);
    receiver.pods_can_be_pulled();

    let back = receiver.world.installer(&["rollback", "--yes", "--reason", "it was slow"]).ok();
    assert_eq!(receiver.state(), first);
    receiver.pods_can_be_pulled();
    let time = back.stdout.lines().find(|line| line.ends_with(" s)")).unwrap_or_else(|| panic!("{back:?}"));
    eprintln!("helm {helm}: {time}");
    audit_holds(&receiver.world);

    // And forwards again, as if nothing had happened.
    receiver.world.installer(&["rollback", "2.0.0", "--yes", "--reason", "it was not"]).ok();
    assert_eq!(receiver.state(), second);
    audit_holds(&receiver.world);
}

#[test]
fn a_release_is_applied_upgraded_and_rolled_back_digest_for_digest_with_helm_3() {
    applied_upgraded_and_rolled_back("helm");
}

#[test]
fn a_release_is_applied_upgraded_and_rolled_back_digest_for_digest_with_helm_4() {
    applied_upgraded_and_rolled_back("helm4");
}

// ---- failures -----------------------------------------------------------------------------------------

#[test]
fn a_chart_that_never_becomes_ready_is_taken_back_with_everything_else() {
    let Some(sender) = Sender::start("helm") else { return };
    let Some((receiver, _, first)) = with_version_1(&sender) else { return };
    receiver.patience("5s");
    let bad = sender.bundle(2, Shape::NeverReady);
    let ran = receiver.apply(&bad).expect_exit(Exit::Undone);
    says(&ran, &["fraud", "everything was undone"]);
    assert_eq!(receiver.state(), first);
    audit_holds(&receiver.world);
}

#[test]
fn an_undo_that_fails_is_listed_and_the_rest_is_undone() {
    let Some(sender) = Sender::start("helm") else { return };
    let Some((receiver, _, first)) = with_version_1(&sender) else { return };
    receiver.patience("5s");
    let bad = sender.bundle(2, Shape::UndoFails);
    let ran = receiver.apply(&bad).expect_exit(Exit::NotUndone);
    says(&ran, &["could not be undone", "migrate", "no way back"]);
    let left = receiver.state();
    assert_eq!(left.database, "1\n2\n");
    assert_eq!(State { database: first.database.clone(), ..left }, first);
    // Nobody goes on before somebody has looked.
    let again = receiver.apply(&sender.bundle(2, Shape::Good)).expect_exit(Exit::NotReady);
    says(&again, &["failed"]);
    audit_holds(&receiver.world);
}

// ---- killed -------------------------------------------------------------------------------------------

#[test]
fn killed_in_earnest_at_every_step_the_next_run_ends_at_the_new_version() {
    let Some(sender) = Sender::start("helm4") else { return };
    let Some((receiver, _, first)) = with_version_1(&sender) else { return };
    let bundle = sender.bundle(2, Shape::Good);
    receiver.apply(&bundle).ok();
    let second = receiver.state();
    receiver.back_to(&first);
    // Counted from here: what the registry has by now is not pushed again.
    let steps = with_run(&receiver.world, &bundle, &Unwatched, |_, plan| plan.steps.len());
    for step in 1..=steps {
        receiver.kill_at(&bundle, &format!("[{step}/"), Duration::from_millis(150 * (step as u64 % 3)));
        receiver.apply_once_all_has_ended(&bundle);
        assert_eq!(receiver.state(), second, "step {step}");
        audit_holds(&receiver.world);
        receiver.back_to(&first);
    }
}

impl Receiver {
    /// How long Helm waits before it gives up.
    fn patience(&self, timeout: &str) {
        let path = self.world.path("site/site.yaml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("timeout: 60s", &format!("timeout: {timeout}"))).unwrap();
    }

    fn back_to(&self, state: &State) {
        self.world.installer(&["rollback", "1.0.0", "--yes", "--reason", "once more"]).ok();
        assert_eq!(self.state(), *state);
    }

    /// Applies as somebody does who is told that what the killed one has started still runs: Helm may not be at its end.
    fn apply_once_all_has_ended(&self, bundle: &Path) {
        for _ in 0..120 {
            let ran = self.apply(bundle);
            if !ran.stderr.contains("a program of an earlier run still runs") {
                ran.ok();
                return;
            }
            assert_eq!(ran.exit, Exit::NotReady, "{}", ran.stderr);
            std::thread::sleep(Duration::from_millis(500));
        }
        panic!("what was started by the one that was killed does not end");
    }

    /// Kills a real process some time after it has said that it is at a step.
    fn kill_at(&self, bundle: &Path, words: &str, after: Duration) {
        let arguments = ["apply", bundle.to_str().unwrap(), "--yes", "-v"];
        let mut child =
            installer(&self.world, &arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut lines = lines.map_while(Result::ok);
        assert!(lines.any(|line| line.contains(words)), "never came to {words}");
        std::thread::sleep(after);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Simulated nodes pull nothing, so somebody has to look whether they could.
    fn pods_can_be_pulled(&self) {
        let http = registry::Http::new(&registry::HttpSettings::default()).unwrap();
        let registry = registry::Registry::new(http, &self.registry.url()).unwrap();
        let found = unresolved_images(&self.cluster, NAMESPACE, &registry, ImageNames::Rewritten);
        assert!(found.is_empty(), "{found:?}");
    }
}
