//! What the journeys share: a world in a directory of its own, in which both programs run in this
//! process with a clock that is set, an environment that is given and output that is kept.
//!
//! It is for tests: it panics where a test should fail.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

pub mod parsers;

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edge::terminal::{AskError, Passphrase, Terminal};
use edge::{Clock, Env, Exit, Stderr};
use manifests::Timestamp;

/// When journeys happen.
pub const NOW: &str = "2026-11-20T12:00:00Z";

/// A directory, an environment and a clock.
pub struct World {
    dir: tempfile::TempDir,
    /// The environment variables of both programs.
    pub vars: BTreeMap<OsString, OsString>,
    /// What their clocks show.
    pub now: Timestamp,
    /// What a person types when a program asks, from the start of each run. Without it nobody is there.
    pub typed: Vec<String>,
}

/// Somebody at the terminal who types what was agreed before.
struct Typist {
    answers: VecDeque<String>,
    screen: Stderr,
}

impl Terminal for Typist {
    fn ask(&mut self, prompt: &str) -> Result<Passphrase, AskError> {
        let answer = self.answers.pop_front().ok_or(AskError::NoTerminal)?;
        self.screen.say(prompt);
        Ok(Passphrase::new(answer.into_bytes()))
    }
    fn is_there(&self) -> bool {
        !self.answers.is_empty()
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// What was printed, while it is being printed.
pub type Printed = Arc<Mutex<Vec<u8>>>;

/// How a run ended and what it printed.
#[derive(Debug)]
pub struct Ran {
    /// The exit code.
    pub exit: Exit,
    /// stdout.
    pub stdout: String,
    /// stderr.
    pub stderr: String,
}

impl Ran {
    /// stdout as one JSON document.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails the test unless the run ended so.
    #[must_use]
    pub fn expect_exit(self, exit: Exit) -> Self {
        assert_eq!(self.exit, exit, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Fails the test unless the run ended with 0.
    pub fn ok(self) -> Self {
        self.expect_exit(Exit::Done)
    }
}

impl World {
    /// An empty directory, `PATH` and `HOME` of this process, a cache of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::in_directory(tempfile::tempdir().unwrap())
    }

    /// As [`World::new`], in a directory that was chosen for it.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the tools that tests use are on the PATH of the test run")]
    pub fn in_directory(dir: tempfile::TempDir) -> Self {
        let mut vars = BTreeMap::new();
        for name in ["PATH", "SSL_CERT_FILE", "LD_LIBRARY_PATH", "PIP_INDEX_URL"] {
            if let Some(value) = std::env::var_os(name) {
                vars.insert(OsString::from(name), value);
            }
        }
        vars.insert("HOME".into(), dir.path().join("home").into());
        vars.insert("USER".into(), "tester".into());
        vars.insert("AIRLOCK_CACHE".into(), dir.path().join("cache").into());
        if !has_helm() && !std::env::var("CI").is_ok_and(|value| value == "true") {
            vars.insert("AIRLOCK_HELM".into(), blind_helm(dir.path()).into());
        }
        Self { dir, vars, now: NOW.parse().unwrap(), typed: Vec::new() }
    }

    /// Its directory, which relative paths start from.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A path in it.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.dir().join(path)
    }

    /// Writes a file in it, with its directories.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Runs `bundler` in this process.
    #[must_use]
    pub fn bundler(&self, args: &[&str]) -> Ran {
        self.run("bundler", args, bundler::run)
    }

    /// Runs `installer` in this process, on the site `site` in this directory.
    #[must_use]
    pub fn installer(&self, args: &[&str]) -> Ran {
        let mut all = vec!["--site", "site"];
        all.extend(args);
        self.run("installer", &all, installer::run)
    }

    /// The world of one run, and what it prints.
    #[must_use]
    pub fn env(&self, program: &str, args: &[&str]) -> (Env, Printed, Printed) {
        let (stdout, stderr) = (Arc::default(), Arc::default());
        let env = Env {
            args: std::iter::once(program).chain(args.iter().copied()).map(OsString::from).collect(),
            vars: self.vars.clone(),
            cwd: self.dir().to_path_buf(),
            program: installer_program(),
            stdin: Box::new(std::io::empty()),
            stdout: Box::new(Kept(Arc::clone(&stdout))),
            stderr: Stderr::new(Box::new(Kept(Arc::clone(&stderr)))),
            stderr_is_terminal: false,
            terminal: Box::new(Typist {
                answers: self.typed.clone().into(),
                screen: Stderr::new(Box::new(Kept(Arc::clone(&stderr)))),
            }),
            clock: std::sync::Arc::new(SetClock(self.now)),
            uid: 1000,
            host: "testhost".to_string(),
        };
        (env, stdout, stderr)
    }

    fn run(&self, program: &str, args: &[&str], run: fn(&mut Env) -> Exit) -> Ran {
        let (mut env, stdout, stderr) = self.env(program, args);
        let exit = run(&mut env);
        let text = |kept: &Mutex<Vec<u8>>| String::from_utf8(kept.lock().unwrap().clone()).unwrap();
        Ran { exit, stdout: text(&stdout), stderr: text(&stderr) }
    }

    /// Makes keys and a trust root for publisher `acme` (release key `keys/rel.key.pem`, holder `rel`),
    /// and starts the site's trust with it.
    pub fn trust(&self) {
        for name in ["rel", "alice", "bob"] {
            self.bundler(&["key", "new", "--name", name, "--out", "keys"]).ok();
        }
        let root = self
            .bundler(&[
                "--output",
                "json",
                "trust",
                "new",
                "--publisher",
                "acme",
                "--release-key",
                "keys/rel.pub.pem",
                "--root-key",
                "keys/alice.pub.pem",
                "--root-key",
                "keys/bob.pub.pem",
                "--sign",
                "keys/alice.key.pem",
                "--sign",
                "keys/bob.key.pem",
                "--out",
                "root.json",
            ])
            .ok();
        let fingerprint = root.json()["fingerprint"].as_str().unwrap().to_string();
        self.installer(&["trust", "init", "root.json", "--expect-sha256", &fingerprint]).ok();
    }

    /// Writes `bundle.yaml` with the usual head and this rest.
    pub fn spec(&self, version: &str, sequence: u64, rest: &str) {
        let head = format!(
            "apiVersion: airlock/v1\nkind: Bundle\npublisher: acme\nproduct: demo\nversion: {version}\nsequence: {sequence}\naudience: [\"*\"]\nmarking: UNCLASSIFIED\n"
        );
        self.write("bundle.yaml", format!("{head}{rest}"));
    }

    /// Says that somebody has looked at what failed, so that the next bundle is taken again.
    pub fn acknowledge(&self) {
        self.installer(&["acknowledge", "--reason", "the test has looked at it"]).ok();
    }

    /// Every file, directory and link below a directory: path, kind, mode and content. Equal snapshots
    /// are equal trees.
    #[must_use]
    pub fn snapshot(&self, below: &str) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        collect(&self.path(below), &mut found);
        found
    }
}

/// The installer as a program of its own, which Helm starts for us: beside the directory of the tests.
fn installer_program() -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    test.ancestors().nth(2).unwrap_or(Path::new("/")).join("e2e-installer")
}

#[expect(clippy::disallowed_methods, reason = "the tools that tests use are on the PATH of the test run")]
fn has_helm() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join("helm").is_file())
}

/// On a laptop without Helm: one that renders nothing, so that journeys with charts can go on.
fn blind_helm(dir: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    eprintln!("SKIPPED: `helm` is not installed, so no chart of this test is looked through for images");
    let path = dir.join("home/blind-helm");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "#!/bin/sh\n[ \"$1\" != version ] || echo v3.0.0\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn collect(dir: &Path, found: &mut BTreeMap<PathBuf, String>) {
    use std::os::unix::fs::PermissionsExt;
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        let mode = metadata.permissions().mode();
        let what = if metadata.is_dir() {
            collect(&path, found);
            "directory".to_string()
        } else if metadata.is_symlink() {
            format!("link to {}", std::fs::read_link(&path).unwrap().display())
        } else {
            format!("file {}", manifests::Digest::of(&std::fs::read(&path).unwrap()))
        };
        found.insert(path, format!("{mode:o} {what}"));
    }
}

struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A clock that stands still; its monotonic side goes on, so that time limits still work.
struct SetClock(Timestamp);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        self.0
    }
    #[expect(clippy::disallowed_methods, reason = "time limits of real programs run in real time")]
    fn monotonic(&self) -> Duration {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap()
    }
}
