//! `bundler` as a process: signals, pipes, exit codes, and how many bytes it really moves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use manifests::oci::{MEDIA_CONFIG, MEDIA_LAYER_GZIP, MEDIA_MANIFEST};
use manifests::{Descriptor, Digest};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use testkit::{FakeRegistry, Fault};

// ---- a directory, the program in it, and a registry that can be slow -----------------------------------

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Without any variable of the test's own environment.
    fn bundler(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bundler"));
        command.args(arguments).current_dir(self.0.path()).env_clear();
        command.env("AIRLOCK_CACHE", self.path("cache")).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn spec(&self, rest: &str) {
        let head = "apiVersion: airlock/v1\nkind: Bundle\npublisher: acme\nproduct: demo\nversion: 1.0.0\nsequence: 1\naudience: [\"*\"]\nmarking: UNCLASSIFIED\n";
        std::fs::write(self.path("bundle.yaml"), format!("{head}{rest}")).unwrap();
    }

    /// A spec with one small file.
    fn with_file(self) -> Self {
        self.spec("files: [{source: a, dest: /a}]\n");
        std::fs::write(self.path("a"), "a").unwrap();
        self
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// An image of one layer in a registry; the layer's digest.
fn image_in(registry: &FakeRegistry, length: usize) -> Digest {
    let layer: Vec<u8> =
        (0..length as u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let config =
        json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}})
            .to_string();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MEDIA_MANIFEST,
        "config": Descriptor::of(MEDIA_CONFIG, config.as_bytes()),
        "layers": [Descriptor::of(MEDIA_LAYER_GZIP, &layer)],
    });
    registry.store_blob("app", config.as_bytes());
    registry.store_manifest("app", "v1", MEDIA_MANIFEST, manifest.to_string().as_bytes());
    registry.store_blob("app", &layer)
}

/// A line to a registry that carries about half a megabyte in a second; gives its `HOST:PORT`.
fn slow_line_to(host: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, host) = (listener.local_addr().unwrap().to_string(), host.to_string());
    // The thread ends with the test's process.
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(&host).unwrap();
            let (to_server, to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || pump(client, to_server, Duration::ZERO));
            std::thread::spawn(move || pump(server, to_client, Duration::from_millis(8)));
        }
    });
    address
}

fn pump(mut from: TcpStream, mut to: TcpStream, pause: Duration) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
        std::thread::sleep(pause);
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// A build that is reading its layer.
struct Midway {
    place: Place,
    child: Child,
    before: Vec<String>,
    _registry: FakeRegistry,
}

fn midway(length: usize, host: impl Fn(&FakeRegistry) -> String) -> Midway {
    let (place, registry) = (Place::new(), FakeRegistry::start());
    let layer = image_in(&registry, length);
    place.spec(&format!("images: [\"docker://{}/app:v1\"]\n", host(&registry)));
    assert!(place.bundler(&["lock"]).status().unwrap().success());
    let before = place.names();
    let child = place.bundler(&["build", "--out", "b.tar"]).spawn().unwrap();
    let asked = format!("/blobs/{layer}");
    wait_until("the layer is asked for", || registry.count("GET", &asked) > 0);
    Midway { place, child, before, _registry: registry }
}

fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let started = Instant::now();
    while !happened() {
        assert!(started.elapsed() < Duration::from_secs(30), "not within 30 seconds: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), signal).unwrap();
}

/// What a process has read from files and sockets, as the kernel counts it.
fn bytes_read(child: &Child) -> String {
    let counts = std::fs::read_to_string(format!("/proc/{}/io", child.id())).unwrap();
    counts.lines().find(|line| line.starts_with("rchar:")).unwrap().to_string()
}

fn ended(child: &mut Child) -> (ExitStatus, String) {
    let mut status = None;
    wait_until("the program ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    let mut words = String::new();
    child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
    (status.unwrap(), words)
}

// ---- signals ------------------------------------------------------------------------------------------

#[test]
fn a_build_that_is_killed_leaves_no_archive() {
    let mut build = midway(2_000_000, |registry| slow_line_to(&registry.host()));
    signal(&build.child, Signal::KILL);
    assert_eq!(ended(&mut build.child).0.signal(), Some(9));
    assert_eq!(build.place.names(), build.before);
}

#[test]
fn a_build_that_is_interrupted_says_so_and_leaves_no_archive() {
    for asked in [Signal::INT, Signal::TERM] {
        let mut build = midway(2_000_000, |registry| slow_line_to(&registry.host()));
        signal(&build.child, asked);
        let (status, words) = ended(&mut build.child);
        assert!(status.code().is_some_and(|code| code != 0), "{asked:?}: {status}");
        assert!(words.contains("interrupted; what was fetched is kept for the next run"), "{words}");
        assert_eq!(build.place.names(), build.before);
    }
}

#[test]
fn a_second_interruption_ends_a_build_whose_source_is_silent() {
    let mut build = midway(100_000, |registry| {
        registry.fault(Fault::StallBlobAfter(50_000));
        registry.host()
    });
    // A build that still has something to read sees the first signal by itself, and ends.
    let mut read_so_far = bytes_read(&build.child);
    wait_until("the build reads nothing more", || {
        std::thread::sleep(Duration::from_millis(200));
        let before = std::mem::replace(&mut read_so_far, bytes_read(&build.child));
        before == read_so_far
    });
    signal(&build.child, Signal::INT);
    // Nothing is seen from outside when the first one was taken note of.
    std::thread::sleep(Duration::from_millis(300));
    signal(&build.child, Signal::INT);
    let (status, words) = ended(&mut build.child);
    assert_eq!(status.code(), Some(130), "{words}");
    assert_eq!(build.place.names(), build.before);
}

// ---- pipes and exit codes -----------------------------------------------------------------------------

/// A pipe that nobody reads any more, as of `| head -c 10`.
fn broken_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let place = Place::new().with_file();
    for arguments in [
        &["build", "--out", "b.tar"][..],
        &["inspect", "b.tar"],
        &["--output", "json", "inspect", "b.tar"],
        &["lock"],
        &["--help"],
        &["build", "--help"],
        &["--version"],
    ] {
        let output = place.bundler(arguments).stdout(broken_pipe()).output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {words}");
        assert!(!words.contains("panicked"), "{words}");
    }
    let unread = place.bundler(&["frobnicate"]).stdout(broken_pipe()).stderr(broken_pipe()).status();
    assert_eq!(unread.unwrap().code(), Some(2), "an error that nobody reads keeps its exit code");
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let place = Place::new().with_file();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = place.bundler(&["lock"]).stdout(full).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && words.contains("could not be printed"), "{words}");
}

#[test]
fn help_and_version_are_results() {
    let place = Place::new();
    let commands = [
        &[][..],
        &["key"],
        &["key", "new"],
        &["trust", "new"],
        &["lock"],
        &["build"],
        &["sign"],
        &["inspect"],
        &["verify"],
    ];
    for command in commands {
        let output = place.bundler(&[command, &["--help"]].concat()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains("Usage: bundler"), "{command:?}: {text}");
        assert!(output.stderr.is_empty() && !text.contains("not there yet"), "{command:?}: {text}");
    }
    let version = place.bundler(&["--version"]).output().unwrap();
    assert_eq!(
        String::from_utf8(version.stdout).unwrap().trim(),
        concat!("bundler ", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn the_exit_code_is_that_of_the_failure() {
    let place = Place::new();
    for (arguments, code) in
        [(&["build"][..], 8), (&["build", "--nonsense"], 2), (&[], 2), (&["diff", "a", "b"], 4)]
    {
        let output = place.bundler(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_control_character_of_a_file_name_never_reaches_the_terminal() {
    let not_text = std::ffi::OsStr::from_bytes(b"no\xff\x1b[2Jsuch.yaml");
    let output = Place::new().bundler(&["build"]).arg(not_text).output().unwrap();
    assert_eq!(output.status.code(), Some(8));
    assert!(!output.stderr.contains(&0x1b), "{}", output.stderr.escape_ascii());
}

// ---- bytes --------------------------------------------------------------------------------------------

/// What a program has read and written in all its system calls but those on sockets, from its end on.
struct Moved {
    read: u64,
    written: u64,
}

fn moved(mut child: Child) -> Moved {
    let process = Path::new("/proc").join(child.id().to_string());
    let file = |name: &str| std::fs::read_to_string(process.join(name)).unwrap();
    // Its accounts can be read from when it has ended until it is waited for.
    wait_until("the program ends", || {
        file("stat").rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
    });
    let accounts = file("io");
    let field = |name: &str| -> u64 {
        let line = accounts.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let moved = Moved { read: field("rchar:"), written: field("wchar:") };
    assert!(child.wait().unwrap().success());
    moved
}

const LAYER: usize = 20_000_000;
/// Documents, the program's own libraries, what it prints.
const SMALL_CHANGE: u64 = 4_000_000;
/// The most that lies between the entries of these archives.
const PADDING: u64 = 16 * 512;

#[test]
fn a_build_from_a_registry_writes_each_byte_into_the_cache_and_the_archive_and_reads_none_of_them_back() {
    let (place, registry) = (Place::new(), FakeRegistry::start());
    let layer = image_in(&registry, LAYER);
    place.spec(&format!("images: [\"docker://{}/app:v1\"]\n", registry.host()));
    let lock = moved(place.bundler(&["lock"]).spawn().unwrap());
    assert!(lock.written < SMALL_CHANGE, "lock wrote {} bytes", lock.written);
    let near = |bytes: u64, expected: u64| {
        assert!((expected..expected + SMALL_CHANGE).contains(&bytes), "{bytes} of {expected}");
    };
    let build = moved(place.bundler(&["build", "--out", "b.tar"]).spawn().unwrap());
    let size = std::fs::metadata(place.path("b.tar")).unwrap().len();
    // What lies between the entries is not written: nobody has to.
    near(build.written + PADDING, size + LAYER as u64);
    near(build.read, 0);
    assert_eq!(registry.traffic(&layer).bytes_sent, LAYER as u64);
    let again = moved(place.bundler(&["build", "--out", "again.tar"]).spawn().unwrap());
    near(again.written + PADDING, size);
    near(again.read, LAYER as u64);
    assert_eq!(registry.traffic(&layer).bytes_sent, LAYER as u64);
}

#[test]
fn a_build_from_files_reads_each_byte_once_and_writes_it_once() {
    let place = Place::new();
    std::fs::write(place.path("a"), vec![7; LAYER]).unwrap();
    place.spec("files: [{source: a, dest: /a}]\n");
    let lock = moved(place.bundler(&["lock"]).spawn().unwrap());
    // A digest has to be known before it can be written down.
    assert!(lock.read < LAYER as u64 + SMALL_CHANGE && lock.written < SMALL_CHANGE);
    let build = moved(place.bundler(&["build", "--out", "b.tar"]).spawn().unwrap());
    let size = std::fs::metadata(place.path("b.tar")).unwrap().len();
    assert!((size - PADDING..size + SMALL_CHANGE).contains(&build.written), "{} of {size}", build.written);
    assert!((size - SMALL_CHANGE..size + SMALL_CHANGE).contains(&build.read), "{} of {size}", build.read);
}
