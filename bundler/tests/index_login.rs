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
const BYTES: &[u8] = b"the bytes of a wheel";

#[test]
fn the_login_of_the_address_opens_pages_and_files_of_the_index() {
    for (heads, files_fetched) in [(true, 0), (false, 1)] {
        let index = demanding(BASIC, move |request| file_or_page(request, "", heads));
        let project = Project::new(&with_login(&index));
        project.run(&["lock"]).expect_exit(Exit::Done);
        let fetched = |request: &&Request| request.method == "GET" && request.path.starts_with("/files/");
        assert_eq!(index.requests().iter().filter(fetched).count(), files_fetched, "heads: {heads}");
        assert!(project.lock().contains(&format!("\"{}/files/{WHEEL}?v=1\"", index.url())));
    }
}

#[test]
fn the_lock_never_holds_the_login_even_if_the_page_repeats_it() {
    let index = FakeServer::start(|request| {
        let host = request.header("host").unwrap();
        let reply = || file_or_page(request, &format!("http://{LOGIN}@{host}"), true);
        if request.header("authorization") == Some(BASIC) { reply() } else { refused() }
    });
    let project = Project::new(&with_login(&index));
    project.run(&["lock"]).expect_exit(Exit::Done);
    let lock = project.lock();
    assert!(lock.contains(&format!("\"{}/files/{WHEEL}?v=1\"", index.url())), "{lock}");
    assert!(!lock.contains('@'), "{lock}");
}

#[test]
fn without_the_right_login_the_index_is_out_of_reach_and_nothing_is_told() {
    let index = demanding("Basic of somebody else", |request| file_or_page(request, "", true));
    for address in [with_login(&index), format!("{}/simple/", index.url())] {
        let ran = Project::new(&address).run(&["lock"]);
        ran.expect_exit(Exit::Unreachable).says("/simple/tiny/ answered 401 Unauthorized");
    }
}

#[test]
fn an_unusable_address_is_refused_without_showing_it() {
    for address in [format!("ftp://{LOGIN}@host/"), format!("http://{LOGIN}@a b/"), format!("{LOGIN}@host")] {
        Project::new(&address)
            .run(&["lock"])
            .expect_exit(Exit::Usage)
            .says("the index address is not usable");
    }
}

#[test]
fn the_login_does_not_go_to_another_host_that_has_the_files() {
    for heads in [true, false] {
        let files = FakeServer::start(move |request| file_or_page(request, "", heads));
        let origin = files.url();
        let index = demanding(BASIC, move |request| file_or_page(request, &origin, true));
        let project = Project::new(&with_login(&index));
        project.run(&["lock"]).expect_exit(Exit::Done);
        assert!(!files.requests().is_empty());
        assert!(files.requests().iter().all(|request| request.header("authorization").is_none()));
        assert!(project.lock().contains(&format!("\"{}/files/{WHEEL}?v=1\"", files.url())));
    }
}

#[test]
fn the_login_does_not_go_along_with_a_redirect_to_another_host() {
    let mirror = FakeServer::start(|request| file_or_page(request, "", false));
    let origin = mirror.url();
    let index = demanding(BASIC, move |request| {
        Reply::status(302).header("Location", format!("{origin}{}", request.path))
    });
    Project::new(&with_login(&index)).run(&["lock"]).expect_exit(Exit::Done);
    assert!(index.requests().iter().all(|request| request.header("authorization") == Some(BASIC)));
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
            (Some(BASIC), None) => file_or_page(request, "", true),
            _ => refused(),
        }
    });
    Project::new(&with_login(&index)).run(&["lock"]).expect_exit(Exit::Done);
    assert!(index.requests().iter().any(|request| request.path == "/moved/tiny/"));
}

#[test]
fn a_build_without_the_login_is_out_of_reach_and_leaves_nothing() {
    let index = demanding(BASIC, |request| file_or_page(request, "", true));
    let project = Project::new(&with_login(&index));
    project.run(&["lock"]).expect_exit(Exit::Done);
    let ran = project.run(&["build", "--out", "x.tar"]).expect_exit(Exit::Unreachable);
    let wants = format!(
        "{}/files/{WHEEL}?*** wants a login, and fetching wheels with a login is not there yet",
        index.url()
    );
    ran.says(&wants);
    assert!(!project.path("x.tar").exists());
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
fn file_or_page(request: &Request, origin: &str, heads: bool) -> Reply {
    if request.path.starts_with("/files/") {
        return if request.method == "HEAD" && !heads { Reply::status(405) } else { Reply::ok(BYTES) };
    }
    let link = format!("<a href=\"{origin}/files/{WHEEL}?v=1#sha256={}\">x</a>", Digest::of(BYTES).hex());
    Reply::ok(link).header("Content-Type", "text/html")
}

// ---- a run --------------------------------------------------------------------------------------------

struct Project {
    dir: tempfile::TempDir,
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
    fn new(index: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spec = format!(
            "apiVersion: airlock/v1\nkind: Bundle\npublisher: acme\nproduct: demo\nversion: 1.0.0\n\
             sequence: 1\naudience: [\"*\"]\nmarking: UNCLASSIFIED\nwheels:\n  - name: tools\n    \
             requirements: requirements.txt\n    index: \"{index}\"\n    \
             targets: [{{python: \"3.11\", platform: manylinux_2_28_x86_64}}]\n"
        );
        std::fs::write(dir.path().join("bundle.yaml"), spec).unwrap();
        let pin = format!("tiny==1.0 --hash=sha256:{}\n", Digest::of(BYTES).hex());
        std::fs::write(dir.path().join("requirements.txt"), pin).unwrap();
        Self { dir }
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
        let printed = Kept::default();
        let mut env = Env {
            args: std::iter::once("bundler").chain(args.iter().copied()).map(Into::into).collect(),
            vars: [("AIRLOCK_CACHE".into(), self.path("cache").into())].into(),
            cwd: self.dir.path().to_path_buf(),
            stdout: Box::new(printed.clone()),
            stderr: Stderr::new(Box::new(printed.clone())),
            stderr_is_terminal: false,
            terminal: Box::new(edge::terminal::NoTerminal),
            clock: Box::new(SetClock),
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
