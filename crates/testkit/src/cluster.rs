//! A real Kubernetes API for tests, on the loopback interface: etcd, API server, controllers and scheduler, and
//! simulated nodes, on which pods are scheduled and become ready without any container being started.
//! `scripts/cluster` starts it and says how; `scripts/cluster.d/simulation.yaml` says how a test makes a pod
//! crash, hang or fail.
//!
//! What it may never do: outlive the tests. A pipe ties it to this process, so that it ends even if the
//! process is killed.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::real::real_part;

/// What has to be installed.
const PROGRAMS: [&str; 7] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok", "openssl"];
/// How often something is looked at that has to come true.
const PAUSE: Duration = Duration::from_millis(200);
/// How often in all: two minutes and what looking takes. Nothing is measured by it; on an idle machine
/// everything comes true within seconds.
const LOOKS_MAX: u32 = 600;

/// A simulated node, with quantities in Kubernetes' notation.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    /// Its name.
    pub name: &'a str,
    /// `amd64`, `arm64`, …: what images have to be for.
    pub architecture: &'a str,
    /// Cores, such as `8` or `500m`.
    pub cpu: &'a str,
    /// Such as `32Gi`.
    pub memory: &'a str,
    /// Ephemeral storage, such as `100Gi`.
    pub storage: &'a str,
    /// How many pods fit.
    pub pods: &'a str,
}

impl Default for Node<'_> {
    fn default() -> Self {
        let (cpu, memory, storage, pods) = ("8", "32Gi", "100Gi", "110");
        Self { name: "node-1", architecture: "amd64", cpu, memory, storage, pods }
    }
}

impl Node<'_> {
    fn object(&self) -> Value {
        let room = json!({
            "cpu": self.cpu, "memory": self.memory, "ephemeral-storage": self.storage, "pods": self.pods,
        });
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": {
                "kubernetes.io/hostname": self.name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": self.architecture,
            }},
            "status": {"capacity": room, "allocatable": room},
        })
    }
}

/// A running cluster. Stopped when dropped, and when this process ends.
pub struct Cluster {
    /// Read by a watchdog until it ends, which is when this process does.
    alive: Option<ChildStdin>,
    kubectl: PathBuf,
    namespaces: AtomicU32,
    directory: TempDir,
}

impl Cluster {
    /// The one that all tests of this test program share, each in a [`Self::namespace`] of its own. Nothing, after
    /// saying so, where a part of it is not installed.
    ///
    /// # Panics
    /// See [`Self::start`].
    #[must_use]
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&[Node::default()])).as_ref()
    }

    /// Starts one with these nodes, which takes some ten seconds, and returns when it is usable. Nothing, after
    /// saying so, where a part of it is not installed.
    ///
    /// # Panics
    /// Where a part is missing and `CI` is `true`, or where it does not start.
    #[must_use]
    pub fn start(nodes: &[Node<'_>]) -> Option<Self> {
        let mut kubectl = PathBuf::new();
        for program in PROGRAMS {
            let path = real_part(program)?;
            if program == "kubectl" {
                kubectl = path;
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let items: Vec<Value> = nodes.iter().map(Node::object).collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        fs::write(directory.path().join("nodes.yaml"), list.to_string()).unwrap();
        let mut starting = script("start", directory.path())
            .arg("--while-stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let alive = starting.stdin.take();
        let output = starting.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(Self { alive, kubectl, namespaces: AtomicU32::new(0), directory })
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.path().join("kubeconfig")
    }

    /// Everything of the cluster is below it: certificates, logs, the numbers of its processes.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The kubeconfig of somebody with this name in these groups, who may do nothing until a role is bound to
    /// one of them.
    ///
    /// # Panics
    /// Where it cannot be made.
    #[must_use]
    pub fn user(&self, name: &str, groups: &[&str]) -> PathBuf {
        let output = script("user", self.path()).arg(name).args(groups).output().unwrap();
        self.succeeded(output).trim_end().into()
    }

    /// Makes a namespace that no other test has, in which pods can be made at once.
    ///
    /// # Panics
    /// Where that fails.
    #[must_use]
    pub fn namespace(&self, name: &str) -> String {
        let name = format!("{name}-{}", self.namespaces.fetch_add(1, Ordering::Relaxed));
        self.kubectl(&["create", "namespace", &name]);
        self.wait_until(&format!("namespace {name} has its default service account"), || {
            self.try_kubectl(&["get", "serviceaccount", "default", "--namespace", &name]).is_ok()
        });
        name
    }

    /// Adds a node and waits until it is ready.
    ///
    /// # Panics
    /// Where that fails.
    pub fn add_node(&self, node: &Node<'_>) {
        self.apply(&node.object().to_string());
        self.kubectl(&["wait", "--for=condition=Ready", "--timeout=120s", "node", node.name]);
    }

    /// What `kubectl` prints, as the administrator.
    ///
    /// # Panics
    /// Where it fails.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments)
            .unwrap_or_else(|said| self.fail(&format!("kubectl {arguments:?}: {said}")))
    }

    /// What `kubectl` prints, as the administrator, or what it said when it failed.
    ///
    /// # Errors
    /// It failed.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        self.kubectl_as(&self.kubeconfig(), arguments)
    }

    /// As somebody else: see [`Self::user`].
    ///
    /// # Errors
    /// It failed.
    pub fn kubectl_as(&self, kubeconfig: &Path, arguments: &[&str]) -> Result<String, String> {
        let output = self.kubectl_command(kubeconfig).args(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// `kubectl get … -o json`, as the administrator.
    ///
    /// # Panics
    /// Where it fails.
    #[must_use]
    pub fn get(&self, arguments: &[&str]) -> Value {
        let arguments = [&["get", "--output=json"], arguments].concat();
        serde_json::from_str(&self.kubectl(&arguments)).unwrap()
    }

    /// Applies these objects, in YAML or JSON, as the administrator.
    ///
    /// # Panics
    /// Where they are refused.
    pub fn apply(&self, objects: &str) {
        let mut process = self
            .kubectl_command(&self.kubeconfig())
            .args(["apply", "--filename=-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        process.stdin.take().unwrap().write_all(objects.as_bytes()).unwrap();
        self.succeeded(process.wait_with_output().unwrap());
    }

    /// Waits until something holds; what holds at once costs one look.
    ///
    /// # Panics
    /// Where it does not within minutes.
    pub fn wait_until(&self, what: &str, holds: impl Fn() -> bool) {
        for _ in 0..LOOKS_MAX {
            if holds() {
                return;
            }
            std::thread::sleep(PAUSE);
        }
        self.fail(&format!("waited in vain: {what}"));
    }

    /// What a person would look at first: pods, events, and the last words of each program.
    #[must_use]
    pub fn diagnosis(&self) -> String {
        let ask = |arguments: &[&str]| self.try_kubectl(arguments).unwrap_or_else(|said| said);
        let mut text = ask(&["get", "pods", "--all-namespaces", "--output=wide"]);
        text.push_str(&ask(&["get", "events", "--all-namespaces", "--sort-by=.lastTimestamp"]));
        let logs = fs::read_dir(self.path().join("logs")).into_iter().flatten().flatten();
        for log in logs.map(|entry| entry.path()) {
            let lines = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
            let last: Vec<&str> = lines.lines().rev().take(5).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            text.push_str(&format!("\n==> {} <==\n{}\n", log.display(), last.join("\n")));
        }
        text
    }

    fn kubectl_command(&self, kubeconfig: &Path) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.env("KUBECACHEDIR", self.path().join("cache")).arg("--kubeconfig").arg(kubeconfig);
        command
    }

    fn succeeded(&self, output: Output) -> String {
        if !output.status.success() {
            self.fail(&String::from_utf8_lossy(&output.stderr));
        }
        String::from_utf8(output.stdout).unwrap()
    }

    fn fail(&self, what: &str) -> ! {
        panic!("{what}\n{}", self.diagnosis())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Waits until it has ended, which the watchdog cannot do for us; a failure is no reason to fail a test
        // that is over.
        let _ = script("stop", self.path()).stdin(Stdio::null()).output();
        drop(self.alive.take());
    }
}

/// `scripts/cluster COMMAND DIRECTORY`
fn script(command: &str, directory: &Path) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/cluster");
    let mut script = Command::new(path);
    script.arg(command).arg(directory);
    script
}
