//! A package index that wants a login: where `user:password@` of its address goes, and where it never does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edge::{Clock, Env, Exit, Stderr};
use manifests::{Digest, Timestamp};
use testkit::{FakeServer, Reply, Request};

/// As it stands in an address.
const LOGIN: &str = "ci%40corp:p%40ss%2Fword";
/// `ci@corp:p@ss/word`, as RFC 7617 sends it.
const BASIC: &str = "Basic Y2lAY29ycDpwQHNzL3dvcmQ=";
/// What no lock, message or other host may see.
const SECRETS: [&str; 3] = ["p%40ss", "p@ss", "Y2lAY29ycDpwQHNzL3dvcmQ"];

const WHEEL: &str = "tiny-1.0-py3-none-any.whl";

#[test]
fn the_login_of_the_address_opens_pages_and_files_of_the_index() {
    let index = demanding(BASIC, |request| file_or_page(request, ""));
    let Some(project) = Project::new(&with_login(&index)) else { return };
    project.run(&["lock"]).expect_exit(Exit::Done);
    assert!(project.lock().contains(&format!("\"{}/files/{WHEEL}?v=1\"", index.url())));
}

#[test]
fn a_build_with_an_empty_cache_uses_the_login_again() {
    let index = demanding(BASIC, |request| file_or_page(request, ""));
    let Some(project) = Project::new(&with_login(&index)) else { return };
    project.run(&["lock"]).expect_exit(Exit::Done);
    project.run(&["build", "--out", "a.tar"]).expect_exit(Exit::Done);
    std::fs::remove_dir_all(project.path("cache")).unwrap();
    project.run(&["build", "--out", "b.tar"]).expect_exit(Exit::Done);
    let read = |name: &str| std::fs::read(project.path(name)).unwrap();
    assert!(read("a.tar") == read("b.tar"), "the two archives differ");
    let asked = index.requests().len();
    project.run(&["build", "--out", "c.tar"]).expect_exit(Exit::Done);
    assert_eq!(index.requests().len(), asked, "it was fetched once more");
    without_secrets(&String::from_utf8_lossy(&read("a.tar")));
}

#[test]
fn a_password_file_gives_the_password_and_is_for_its_owner_alone() {
    let index = demanding(BASIC, |request| file_or_page(request, ""));
    let address = format!("http://ci%40corp@{}/simple/", index.host());
    let Some(project) = Project::with(&address, "passwordFile: index.password") else { return };
    project.write("index.password", "p@ss/word\n", 0o600);
    project.run(&["lock"]).expect_exit(Exit::Done);
    project.lock();
    std::fs::remove_dir_all(project.path("cache")).unwrap();
    project.run(&["build", "--out", "x.tar"]).expect_exit(Exit::Done);
    project.write("index.password", "p@ss/word\n", 0o644);
    project.run(&["lock"]).expect_exit(Exit::Usage).says("index.password is open to others (mode 0644)");
}

#[test]
fn the_users_netrc_file_opens_the_index_while_locking_and_building() {
    let index = demanding(BASIC, |request| file_or_page(request, ""));
    let Some(mut project) = Project::new(&format!("{}/simple/", index.url())) else { return };
    project.write("netrc", "machine 127.0.0.1 login ci@corp password p@ss/word\n", 0o600);
    project.netrc = true;
    project.run(&["lock"]).expect_exit(Exit::Done);
    project.lock();
    std::fs::remove_dir_all(project.path("cache")).unwrap();
    project.run(&["build", "--out", "x.tar"]).expect_exit(Exit::Done);
    project.netrc = false;
    std::fs::remove_dir_all(project.path("cache")).unwrap();
    let ran = project.run(&["build", "--out", "y.tar"]).expect_exit(Exit::Unreachable);
    ran.says(&format!("{}/files/{WHEEL}?*** wants a login", index.url()));
    ran.says("netrc");
    assert!(!project.path("y.tar").exists());
}

#[test]
fn no_program_gets_the_login_on_its_command_line() {
    let index = demanding(BASIC, |request| file_or_page(request, ""));
    let Some(project) = Project::new(&with_login(&index)) else { return };
    // Stands before the real one and writes down what everybody could read in the list of processes.
    let script =
        format!("#!/bin/sh\necho \"$@\" >>{}\nexec uv \"$@\"\n", project.path("arguments").display());
    project.write("noting-uv", &script, 0o755);
    let noting = project.path("noting-uv");
    project.run_with(&["lock"], &[("AIRLOCK_UV", noting.to_str().unwrap())]).expect_exit(Exit::Done);
    let arguments = std::fs::read_to_string(project.path("arguments")).unwrap();
    assert!(arguments.contains("pip compile"), "{arguments}");
    without_secrets(&arguments);
}

#[test]
fn the_lock_never_holds_the_login_even_if_the_page_repeats_it() {
    let index = FakeServer::start(|request| {
        let host = request.header("host").unwrap();
        let reply = || file_or_page(request, &format!("http://{LOGIN}@{host}"));
        if request.header("authorization") == Some(BASIC) { reply() } else { refused() }
    });
    let Some(project) = Project::new(&with_login(&index)) else { return };
    project.run(&["lock"]).expect_exit(Exit::Done);
    let lock = project.lock();
    assert!(lock.contains(&format!("\"{}/files/{WHEEL}?v=1\"", index.url())), "{lock}");
    assert!(!lock.contains('@'), "{lock}");
}

#[test]
fn without_the_right_login_the_index_is_out_of_reach_and_nothing_is_told() {
    let index = demanding("Basic of somebody else", |request| file_or_page(request, ""));
    for address in [with_login(&index), format!("{}/simple/", index.url())] {
        let Some(project) = Project::new(&address) else { return };
        project.run(&["lock"]).expect_exit(Exit::Unreachable).says("tiny");
    }
}

#[test]
fn an_unusable_address_is_refused_without_showing_it() {
    for address in [format!("ftp://{LOGIN}@host/"), format!("http://{LOGIN}@a b/"), format!("{LOGIN}@host")] {
        let Some(project) = Project::new(&address) else { return };
        project.run(&["lock"]).expect_exit(Exit::Usage).says("the index address is not usable");
    }
}

#[test]
fn the_login_does_not_go_to_another_host_that_has_the_files() {
    let files = FakeServer::start(move |request| file_or_page(request, ""));
    let origin = files.url();
    let index = demanding(BASIC, move |request| file_or_page(request, &origin));
    let Some(project) = Project::new(&with_login(&index)) else { return };
    project.run(&["lock"]).expect_exit(Exit::Done);
    assert!(!files.requests().is_empty());
    assert!(files.requests().iter().all(|request| request.header("authorization").is_none()));
    assert!(project.lock().contains(&format!("\"{}/files/{WHEEL}?v=1\"", files.url())));
}

#[test]
fn the_login_does_not_go_along_with_a_redirect_to_another_host() {
    let mirror = FakeServer::start(|request| file_or_page(request, ""));
    let origin = mirror.url();
    let index = demanding(BASIC, move |request| {
        Reply::status(302).header("Location", format!("{origin}{}", request.path))
    });
    let Some(project) = Project::new(&with_login(&index)) else { return };
    project.run(&["lock"]).expect_exit(Exit::Done);
    assert!(mirror.requests().iter().any(|request| request.path == "/simple/tiny/"));
    assert!(mirror.requests().iter().all(|request| request.header("authorization").is_none()));
}

#[test]
fn the_login_stays_through_a_redirect_on_the_indexs_own_origin() {
    let index = FakeServer::start(|request| {
        let origin = format!("http://{}", request.header("host").unwrap());
        match (request.header("authorization"), request.path.strip_prefix("/simple/")) {
            (Some(BASIC), Some(page)) => {
                Reply::status(301).header("Location", format!("{origin}/moved/{page}"))
            }
            (Some(BASIC), None) => file_or_page(request, ""),
            _ => refused(),
        }
    });
    let Some(project) = Project::new(&with_login(&index)) else { return };
    project.run(&["lock"]).expect_exit(Exit::Done);
    assert!(index.requests().iter().any(|request| request.path == "/moved/tiny/"));
}

// ---- an index -----------------------------------------------------------------------------------------

fn refused() -> Reply {
    Reply::status(401).header("WWW-Authenticate", "Basic realm=\"index\"")
}

fn demanding(login: &'static str, answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> FakeServer {
    FakeServer::start(move |request| {
        if request.header("authorization") == Some(login) { answer(request) } else { refused() }
    })
}

fn with_login(index: &FakeServer) -> String {
    format!("http://{LOGIN}@{}/simple/", index.host())
}

/// The wheel, or else the page of its project: HTML, which states no length, with links to `origin`.
fn file_or_page(request: &Request, origin: &str) -> Reply {
    if request.path.starts_with("/files/") {
        return Reply::ok(wheel());
    }
    let link = format!("<a href=\"{origin}/files/{WHEEL}?v=1#sha256={}\">x</a>", Digest::of(&wheel()).hex());
    Reply::ok(link).header("Content-Type", "text/html")
}

fn wheel() -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let plain = zip::write::SimpleFileOptions::default().last_modified_time(zip::DateTime::default());
    for (name, content) in [
        ("tiny.py", ""),
        ("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"),
        ("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
        ("tiny-1.0.dist-info/RECORD", ""),
    ] {
        archive.start_file(name, plain).unwrap();
        archive.write_all(content.as_bytes()).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

// ---- a run --------------------------------------------------------------------------------------------

struct Project {
    dir: tempfile::TempDir,
    netrc: bool,
}

struct Ran {
    exit: Exit,
    printed: String,
}

impl Ran {
    fn expect_exit(self, exit: Exit) -> Self {
        assert_eq!(self.exit, exit, "{}", self.printed);
        self
    }

    fn says(&self, text: &str) {
        assert!(self.printed.contains(text), "{text:?} is not in {}", self.printed);
    }
}

impl Project {
    fn new(index: &str) -> Option<Self> {
        Self::with(index, "")
    }

    /// Nothing where `uv` or an interpreter is missing.
    fn with(index: &str, more: &str) -> Option<Self> {
        testkit::real_part("uv")?;
        testkit::real_part("python3")?;
        let dir = tempfile::tempdir().unwrap();
        let spec = format!(
            "apiVersion: airlock/v1\nkind: Bundle\npublisher: acme\nproduct: demo\nversion: 1.0.0\n\
             sequence: 1\naudience: [\"*\"]\nmarking: UNCLASSIFIED\nwheels:\n  - name: tools\n    \
             requirements: requirements.txt\n    index: \"{index}\"\n    {more}\n    \
             targets: [{{python: \"3.11\", platform: manylinux_2_28_x86_64}}]\n"
        );
        std::fs::write(dir.path().join("bundle.yaml"), spec).unwrap();
        let pin = format!("tiny==1.0 --hash=sha256:{}\n", Digest::of(&wheel()).hex());
        std::fs::write(dir.path().join("requirements.txt"), pin).unwrap();
        Some(Self { dir, netrc: false })
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(self.path(name), text).unwrap();
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn lock(&self) -> String {
        let files = std::fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let lock = files.filter(|path| path.extension().is_some_and(|ending| ending == "lock")).last();
        let text = std::fs::read_to_string(lock.unwrap()).unwrap();
        without_secrets(&text);
        text
    }

    /// Runs the program in this process. Whatever it prints, it may not tell the login.
    fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, &[])
    }

    fn run_with(&self, args: &[&str], more: &[(&str, &str)]) -> Ran {
        let printed = Kept::default();
        let mut vars: std::collections::BTreeMap<std::ffi::OsString, std::ffi::OsString> =
            more.iter().map(|(name, value)| (name.into(), value.into())).collect();
        vars.insert("PATH".into(), std::env::var_os("PATH").unwrap());
        vars.insert("AIRLOCK_CACHE".into(), self.path("cache").into());
        if self.netrc {
            vars.insert("NETRC".into(), self.path("netrc").into());
        }
        let mut env = Env {
            args: std::iter::once("bundler").chain(args.iter().copied()).map(Into::into).collect(),
            vars,
            cwd: self.dir.path().to_path_buf(),
            program: PathBuf::new(),
            stdin: Box::new(std::io::empty()),
            stdout: Box::new(printed.clone()),
            stderr: Stderr::new(Box::new(printed.clone())),
            stderr_is_terminal: false,
            terminal: Box::new(edge::terminal::NoTerminal),
            clock: std::sync::Arc::new(SetClock),
            uid: 1000,
            host: "testhost".to_string(),
        };
        let exit = bundler::run(&mut env);
        let printed = String::from_utf8(printed.0.lock().unwrap().clone()).unwrap();
        without_secrets(&printed);
        Ran { exit, printed }
    }
}

fn without_secrets(text: &str) {
    assert!(!SECRETS.iter().any(|secret| text.contains(secret)), "{text}");
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct SetClock;

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        "2026-11-20T12:00:00Z".parse().unwrap()
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}
