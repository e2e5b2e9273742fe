//! What the journeys on the site share: wheels that depend on each other, bundles, a site with targets,
//! and the installer as a process of its own.

#![allow(dead_code, reason = "each journey is a crate of its own and uses a part of this")]
#![allow(clippy::print_stderr, reason = "a test that skips something says so")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use e2e::{Ran, World};
use installer::admit;
use installer::apply::{Run, Watch};
use installer::audit::AuditLog;
use installer::due;
use installer::plan::{self, Plan};
use installer::site::Site;
use installer::targets::Context;
use installer::witness;
use testkit::real_part;

/// A wheel by its file name, and its bytes: one module with this code, and what it needs.
pub(crate) fn wheel(project: &str, version: &str, needs: &[&str], code: &str) -> (String, Vec<u8>) {
    let info = format!("{project}-{version}.dist-info");
    let needs: String = needs.iter().map(|need| format!("Requires-Dist: {need}\n")).collect();
    let files = [
        (format!("{project}.py"), code.to_string()),
        (
            format!("{info}/METADATA"),
            format!("Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n{needs}"),
        ),
        (format!("{info}/WHEEL"), "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n".into()),
        (format!("{info}/RECORD"), String::new()),
    ];
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let plain = zip::write::SimpleFileOptions::default().last_modified_time(zip::DateTime::default());
    for (name, content) in files {
        archive.start_file(name, plain).unwrap();
        archive.write_all(content.as_bytes()).unwrap();
    }
    (format!("{project}-{version}-py3-none-any.whl"), archive.finish().unwrap().into_inner())
}

/// `greet`, which needs `words`, both of this version: `greet.text()` is `hello from VERSION`.
pub(crate) fn greeting(version: &str) -> [(String, Vec<u8>); 2] {
    let greet = "import words\n\ndef text():\n    return 'hello from ' + words.VERSION\n";
    [
        wheel("greet", version, &["words"], greet),
        wheel("words", version, &[], &format!("VERSION = '{version}'\n")),
    ]
}

pub(crate) fn write_wheels(world: &World, directory: &str, wheels: &[(String, Vec<u8>)]) {
    let _ = std::fs::remove_dir_all(world.path(directory));
    for (name, bytes) in wheels {
        world.write(&format!("{directory}/{name}"), bytes);
    }
}

/// Locks, builds and signs a bundle of `demo` with this in it.
pub(crate) fn build(world: &World, version: &str, sequence: u64, rest: &str, out: &str) {
    world.spec(version, sequence, rest);
    build_as_written(world, out);
}

/// The last step of a plan before it is shown and recorded, which always fails, and can be taken back. For
/// `bundle.yaml`; the site has to allow scripts.
pub(crate) fn a_step_that_fails(world: &World) -> &'static str {
    world.write("fails.sh", "#!/bin/sh\n[ $AIRLOCK_STEP = undo ]\n");
    "scripts: [{source: fails.sh, undo: fails.sh, when: after}]\n"
}

/// Locks, builds and signs `bundle.yaml` as it lies there.
pub(crate) fn build_as_written(world: &World, out: &str) {
    std::fs::create_dir_all(world.path(out).parent().unwrap()).unwrap();
    let _ = std::fs::remove_file(world.path(out));
    world.bundler(&["lock"]).ok();
    world.bundler(&["build", "--key", "keys/rel.key.pem", "--out", out]).ok();
}

/// A world with a site that trusts whom the site of `sender` trusts.
pub(crate) fn another_site(sender: &World) -> World {
    let world = World::new();
    let shown = sender.installer(&["--output", "json", "trust", "show"]).ok().json();
    let (root, fingerprint) = (sender.path("root.json"), shown["fingerprint"].as_str().unwrap());
    world.installer(&["trust", "init", root.to_str().unwrap(), "--expect-sha256", fingerprint]).ok();
    world
}

/// `site.yaml` of the site `lab` with these targets, one on each line.
pub(crate) fn site_yaml(world: &World, targets: &[String]) {
    let targets: String = targets.iter().map(|target| format!("  {target}\n")).collect();
    let head = "apiVersion: airlock/v1\nkind: Site\nsite: lab\ngroups: [bank]\n";
    let targets = if targets.is_empty() { targets } else { format!("targets:\n{targets}") };
    world.write("site/site.yaml", format!("{head}{targets}"));
}

/// A tree below `below`, by path from there, without what starts with one of `left_out`.
pub(crate) fn tree(world: &World, below: &str, left_out: &[&str]) -> BTreeMap<PathBuf, String> {
    let root = world.path(below);
    let found = world.snapshot(below).into_iter();
    let found = found.map(|(path, what)| (path.strip_prefix(&root).unwrap().to_path_buf(), what));
    found.filter(|(path, _)| !left_out.iter().any(|out| path.starts_with(out))).collect()
}

/// The site as it is, without the log, which grows with every command.
pub(crate) fn site_tree(world: &World) -> BTreeMap<PathBuf, String> {
    tree(world, "site", &["audit", "lock"])
}

/// The log holds together, by the installer's own word.
pub(crate) fn audit_holds(world: &World) {
    world.installer(&["audit", "verify"]).ok();
}

/// Does `act` with what `apply` has once it has admitted a bundle and made the plan.
pub(crate) fn with_run<T>(
    world: &World,
    bundle: &Path,
    watch: &dyn Watch,
    act: impl FnOnce(&Run<'_>, Plan) -> T,
) -> T {
    let (env, _, _) = world.env("installer", &[]);
    let site = Site::at(world.path("site"));
    let config = site.config().unwrap();
    let admitted = admit::admit(&site, &config, bundle, &mut edge::progress::Silent).unwrap();
    let http = registry::Http::new(&registry::HttpSettings::default()).unwrap();
    let context = Context { site: &site, config: &config, env: &env, http: &http };
    let audit = AuditLog::of(&site, &env);
    let due = due::due(&admitted, &witness::judge(&site).unwrap(), &site).unwrap();
    let plan = plan::plan(&admitted, &due, &config, &context).unwrap();
    act(&Run { context: &context, audit: &audit, watch, say: &|_| {} }, plan)
}

/// Fails unless stderr has all of these words, wherever its lines are broken.
pub(crate) fn says(ran: &Ran, words: &[&str]) {
    let said = ran.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in words {
        assert!(said.contains(word), "`{word}` is missing: {}", ran.stderr);
    }
}

/// Fails unless of all checks in the table that a command has shown only this one failed.
pub(crate) fn fails_alone(shown: &str, id: &str) {
    let failed = shown.lines().filter_map(|line| line.strip_prefix("FAIL "));
    let failed: BTreeSet<&str> = failed.filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(failed.into_iter().collect::<Vec<_>>(), [id], "{shown}");
}

/// A real interpreter.
pub(crate) struct Python {
    pub(crate) path: PathBuf,
    pub(crate) minor: String,
    pub(crate) machine: String,
}

impl Python {
    /// That of the machine; nothing, after saying so, where there is none.
    pub(crate) fn find() -> Option<Self> {
        let question =
            "import sys, platform; print(sys.executable, '%d.%d' % sys.version_info[:2], platform.machine())";
        let said = output(Command::new(real_part("python3")?).args(["-c", question]));
        let mut words = said.split_whitespace().map(str::to_string);
        let mut next = || words.next().unwrap();
        Some(Self { path: next().into(), minor: next(), machine: next() })
    }

    /// Another version than its own.
    pub(crate) fn other_minor(&self) -> &'static str {
        if self.minor == "3.9" { "3.10" } else { "3.9" }
    }

    /// `bundle.yaml`'s entry for a wheel's target.
    pub(crate) fn target(&self, minor: &str) -> String {
        format!("{{python: \"{minor}\", platform: manylinux_2_28_{}}}", self.machine)
    }

    /// The line of `site.yaml`, with environments in `venvs`.
    pub(crate) fn as_target(&self, world: &World) -> String {
        format!("python: {{interpreter: {}, venvs: {}}}", self.path.display(), world.path("venvs").display())
    }
}

/// What an interpreter prints for this code.
pub(crate) fn python_says(interpreter: &Path, code: &str) -> String {
    output(Command::new(interpreter).args(["-I", "-c", code])).trim().to_string()
}

/// The stdout of a program, which must succeed.
pub(crate) fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// The installer as a process of its own, on the site of a world.
pub(crate) fn installer(world: &World, args: &[&str]) -> Command {
    let mut command = program(world, env!("CARGO_BIN_EXE_e2e-installer"), &["--site", "site"]);
    command.args(args);
    command
}

/// The bundler as a process of its own.
pub(crate) fn bundler(world: &World, args: &[&str]) -> Command {
    program(world, env!("CARGO_BIN_EXE_e2e-bundler"), args)
}

/// A program in a world's directory, with its environment only.
pub(crate) fn program(world: &World, program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(world.dir()).env_clear().envs(&world.vars).stdin(Stdio::null());
    command
}

/// Runs a shell script in which mounts are possible and end with it, with the installer as `$0`; nothing,
/// after saying so, where the machine forbids that.
pub(crate) fn with_mounts(world: &World, script: &str) -> Option<Output> {
    let (unshare, _) = (real_part("unshare")?, real_part("mount")?);
    let flags = if rustix::process::getuid().is_root() { "-m" } else { "-rm" };
    let tried = Command::new(&unshare).args([flags, "true"]).output().unwrap();
    if tried.status.success() {
        let installer = env!("CARGO_BIN_EXE_e2e-installer");
        return Some(program(world, unshare, &[flags, "sh", "-c", script, installer]).output().unwrap());
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "no mount namespaces here, and CI=true");
    eprintln!("SKIPPED: this machine gives no mount namespaces, so nothing was mounted read-only");
    None
}

/// Asks again until it is so.
pub(crate) fn wait_until(within: Duration, what: &str, mut so: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed() < within, "{what}: not within {within:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    started.elapsed()
}

/// A process that ends with the test, however the test ends.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A file system of the test's own; unmounted when dropped.
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// In memory, at this path; nothing, after saying so, where the machine forbids that.
    pub(crate) fn tmpfs(world: &World, path: &str, options: &str) -> Option<Self> {
        if !rustix::process::getuid().is_root() {
            eprintln!("SKIPPED: not root, so nothing was mounted to be full or read-only");
            return None;
        }
        let path = world.path(path);
        std::fs::create_dir_all(&path).unwrap();
        let path_text = path.to_str().unwrap();
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs", path_text]).output().unwrap();
        if !mount.status.success() {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "nothing can be mounted here, and CI=true");
            eprintln!("SKIPPED: nothing can be mounted here: {}", String::from_utf8_lossy(&mount.stderr));
            return None;
        }
        Some(Self(path))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
