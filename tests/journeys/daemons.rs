//! Docker Engines and containerds of the tests' own, in directories of their own: the machine's are left
//! alone. They need root; without it a test says what it skipped, and on CI it fails.

#![allow(dead_code, reason = "each journey is a crate of its own and uses a part of this")]
#![allow(clippy::print_stderr, reason = "a test that skips something says so")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use e2e::World;
use installer::apply::{PowerCut, Watch};
use serde_json::Value;
use testkit::real_part;

use crate::ingredients::{Image, image, layer, tool, write_layout};
use crate::onsite::{a_step_that_fails, build};

pub(crate) const GREETING: &str = "hello from the other side";

/// A daemon of the test's own; asked to end when dropped, and waited for, so that it unmounts what it
/// has mounted.
pub(crate) struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// Starts a daemon and waits until `ready` succeeds; nothing, after saying so, without root.
fn daemon(program: &Path, arguments: &[String], log: &Path, ready: impl Fn() -> bool) -> Option<Daemon> {
    if !rustix::process::getuid().is_root() {
        let ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!ci, "not root, and CI=true forbids to skip what needs {}", program.display());
        eprintln!("SKIPPED: not root, so no {} was started", program.display());
        return None;
    }
    let output = std::fs::File::create(log).unwrap();
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
    let mut daemon = Daemon(command.spawn().unwrap());
    for _ in 0..600 {
        let ended = daemon.0.try_wait().unwrap();
        assert!(ended.is_none(), "{} ended: {}", program.display(), std::fs::read_to_string(log).unwrap());
        if ready() {
            return Some(daemon);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{} is not ready after a minute: {}", program.display(), std::fs::read_to_string(log).unwrap());
}

pub(crate) struct Docker {
    pub(crate) client: PathBuf,
    pub(crate) socket: String,
    // The daemon ends before its directory is removed.
    _daemon: Daemon,
    _directory: tempfile::TempDir,
}

pub(crate) fn docker() -> Option<Docker> {
    let (program, client) = (real_part("dockerd")?, real_part("docker")?);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let socket = format!("unix://{}", path("docker.sock"));
    let arguments = [
        vec!["--data-root".to_string(), path("data"), "--exec-root".to_string(), path("exec")],
        vec!["-H".to_string(), socket.clone(), "--pidfile".to_string(), path("pid")],
        // The machine's network is not the test's to change.
        vec!["--bridge=none".to_string(), "--iptables=false".to_string(), "--ip-forward=false".to_string()],
    ];
    let answers = || {
        let ask = Command::new(&client).args(["-H", &socket, "version"]).output();
        ask.is_ok_and(|output| output.status.success())
    };
    let daemon = daemon(&program, &arguments.concat(), &directory.path().join("log"), answers)?;
    Some(Docker { client, socket, _daemon: daemon, _directory: directory })
}

impl Docker {
    pub(crate) fn run(&self, arguments: &[&str], directory: &Path) -> String {
        let arguments = [&["-H", self.socket.as_str()], arguments].concat();
        String::from_utf8(tool(&self.client, &arguments, directory).stdout).unwrap()
    }

    /// Whether it keeps images in containerd: then it knows them by their manifest or index.
    pub(crate) fn is_in_containerd(&self) -> bool {
        let info = self.run(&["info", "--format", "{{.DriverStatus}}"], Path::new("/"));
        info.contains("io.containerd.snapshotter")
    }

    /// What it knows an image by, `platform` being what of it is for this machine.
    pub(crate) fn id_of(&self, image: &Image, platform: &Image) -> String {
        if self.is_in_containerd() { image.root.digest.to_string() } else { config_of(platform) }
    }

    /// Every name with what it stands for; images without a name by their id.
    pub(crate) fn images(&self) -> BTreeMap<String, String> {
        let format = "{{.Repository}}:{{.Tag}} {{.ID}}";
        let listed = self.run(&["images", "--all", "--no-trunc", "--format", format], Path::new("/"));
        let entry = |line: &str| {
            let (name, id) = line.split_once(' ').unwrap();
            let name = if name.starts_with("<none>") { format!("<none> {id}") } else { name.to_string() };
            (name, id.to_string())
        };
        listed.lines().map(entry).collect()
    }

    /// The line of `site.yaml`.
    pub(crate) fn as_target(&self, more: &str) -> String {
        format!("docker: {{host: \"{}\"{more}}}", self.socket)
    }

    pub(crate) fn remove_all(&self) {
        for id in self.images().into_values() {
            let arguments = ["-H", &self.socket, "image", "rm", "--force", &id];
            Command::new(&self.client).args(arguments).output().unwrap();
        }
        assert!(self.images().is_empty());
    }
}

pub(crate) struct Containerd {
    pub(crate) ctr: PathBuf,
    pub(crate) socket: String,
    _daemon: Daemon,
    _directory: tempfile::TempDir,
}

pub(crate) fn containerd() -> Option<Containerd> {
    let (program, ctr) = (real_part("containerd")?, real_part("ctr")?);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let config = format!(
        "version = 2\nroot = \"{}\"\nstate = \"{}\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{}\"\n",
        path("root"),
        path("state"),
        path("sock")
    );
    std::fs::write(path("config.toml"), config).unwrap();
    let (socket, log) = (path("sock"), path("log"));
    let ready = || {
        let ask = Command::new(&ctr).args(["--address", &socket, "version"]).output();
        ask.is_ok_and(|output| output.status.success())
    };
    let daemon = daemon(&program, &["--config".to_string(), path("config.toml")], Path::new(&log), ready)?;
    Some(Containerd { ctr, socket, _daemon: daemon, _directory: directory })
}

impl Containerd {
    pub(crate) fn ask(&self, arguments: &[&str]) -> Output {
        Command::new(&self.ctr)
            .args(["--address", &self.socket, "--namespace", "k8s.io"])
            .args(arguments)
            .output()
            .unwrap()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = self.ask(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Every name with what it stands for and its labels.
    pub(crate) fn images(&self) -> BTreeMap<String, (String, String)> {
        let listed = self.run(&["images", "ls"]);
        let entry = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (words[0].to_string(), (words[2].to_string(), words[words.len() - 1].to_string()))
        };
        listed.lines().skip(1).map(entry).collect()
    }

    /// The line of `site.yaml`.
    pub(crate) fn as_target(&self, more: &str) -> String {
        format!("containerd: {{address: {}{more}}}", self.socket)
    }

    pub(crate) fn remove_all(&self) {
        for name in self.images().into_keys() {
            self.run(&["images", "rm", "--sync", &name]);
        }
    }
}

/// The digest of an image's configuration, which is what Docker calls it by.
pub(crate) fn config_of(image: &Image) -> String {
    let manifest: Value = serde_json::from_slice(image.root_bytes()).unwrap();
    manifest["config"]["digest"].as_str().unwrap().to_string()
}

/// Makes `greeter.tar`, an image of one static program; nothing where no compiler is there.
pub(crate) fn greeter(world: &World) -> bool {
    let (Some(rustc), Some(python)) = (real_part("rustc"), real_part("python3")) else { return false };
    world.write("greeter.rs", format!("fn main() {{ println!(\"{GREETING}\") }}\n"));
    let static_program =
        ["-C", "target-feature=+crt-static", "-C", "strip=symbols", "-o", "greeter", "greeter.rs"];
    tool(rustc, &static_program, world.dir());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/demo/make_image.py");
    tool(python, &[script.to_str().unwrap(), "greeter", "greeter.tar", "greeter"], world.dir());
    true
}

// ---- three versions of one product --------------------------------------------------------------------

pub(crate) const BASE: &str = "registry.example.com/team/base:stable";
pub(crate) const EXTRA: &str = "registry.example.com/team/extra:stable";
pub(crate) const MULTI: &str = "registry.example.com/team/multi:v1";
pub(crate) const GREETER: &str = "registry.example.com/demo/greeter:v1";

/// Its lowest layer is the same in every version.
pub(crate) fn base(version: u64) -> Image {
    image("amd64", &[layer(1, 40_000), layer(10 + version, 500)])
}

pub(crate) fn extra() -> Image {
    image("amd64", &[layer(20, 300)])
}

/// A sender with versions 0, 1 and 2 of one product, in `0.tar` to `2.tar`. Version 1 has one image more, and
/// `bad.tar` is version 3, whose last step fails.
pub(crate) fn sender() -> World {
    let world = World::new();
    world.trust();
    let (v0, v1, v2, more) = (base(0), base(1), base(2), extra());
    write_layout(&world, "images", &[("v0", &v0), ("v1", &v1), ("v2", &v2), ("extra", &more)]);
    let entry = |tag: &str, name: &str| format!("  - {{source: \"oci:images:{tag}\", name: \"{name}\"}}\n");
    let extra = entry("extra", EXTRA);
    build(&world, "0.0", 1, &format!("images:\n{}", entry("v0", BASE)), "0.tar");
    build(&world, "1.0", 2, &format!("images:\n{}{extra}", entry("v1", BASE)), "1.tar");
    build(&world, "2.0", 3, &format!("images:\n{}", entry("v2", BASE)), "2.tar");
    let fails = a_step_that_fails(&world);
    build(&world, "3.0", 4, &format!("images:\n{}{extra}{fails}", entry("v1", BASE)), "bad.tar");
    world
}

// ---- what happens to a run ----------------------------------------------------------------------------

/// Cuts the power at one moment.
pub(crate) struct Cut(pub(crate) &'static str, pub(crate) usize);

impl Watch for Cut {
    fn at(&self, moment: &'static str, step: usize) -> Result<(), PowerCut> {
        if (moment, step) == (self.0, self.1) { Err(PowerCut) } else { Ok(()) }
    }
}

/// Writes down the moments of a run.
#[derive(Default)]
pub(crate) struct Moments(pub(crate) RefCell<Vec<(&'static str, usize)>>);

impl Watch for Moments {
    fn at(&self, moment: &'static str, step: usize) -> Result<(), PowerCut> {
        self.0.borrow_mut().push((moment, step));
        Ok(())
    }
}

/// Flips a bit of a file before the first step.
pub(crate) struct Rot(pub(crate) PathBuf);

impl Watch for Rot {
    fn at(&self, moment: &'static str, step: usize) -> Result<(), PowerCut> {
        if (moment, step) == ("begun", 0) {
            let mut bytes = std::fs::read(&self.0).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            std::fs::write(&self.0, bytes).unwrap();
        }
        Ok(())
    }
}
