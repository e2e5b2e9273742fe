//! `installer serve` on a network that is not all friends, and on a disk that forgets: who gets in, what is never
//! sent, and what it takes of the machine. Each server is a process of its own.

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

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use e2e::World;
use ingredients::{image, layer, noise};
use manifests::Digest;
use onsite::{
    Python, Running, build, greeting, installer, output, program, python_says, tree, wait_until, write_wheels,
};
use rustix::process::{Pid, Signal, kill_process};
use testkit::certificates::{Certificates, Flaw};
use testkit::{FakeRegistry, real_part};

/// Long enough for a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(120);
const PLANTED: &str = "planted-Passw0rd";

/// A site to which two wheels, a chart and files were applied from `1.tar`.
fn site() -> World {
    let world = World::new();
    world.trust();
    write_wheels(&world, "wheels", &greeting("1.0"));
    world.write("config/app.conf", "level = 1\n");
    world.write("config/big.bin", noise(5, 300_000));
    let rest = "wheels: [{name: tools, source: wheels}]\nfiles: [{source: config, dest: /etc/demo}]\n";
    build(&world, "1", 1, rest, "1.tar");
    world.installer(&["apply", "1.tar", "--yes"]).ok();
    world
}

fn site_yaml(world: &World, serve: &str) {
    world.write("site/site.yaml", format!("apiVersion: airlock/v1\nkind: Site\nsite: lab\nserve: {serve}\n"));
}

/// Applies in a process of its own: the server has written into the log by the clock of this machine.
fn apply(world: &World, bundle: &str) {
    output(&mut installer(world, &["apply", bundle, "--yes"]));
}

/// A server, its address, and what it has said so far.
struct Server {
    running: Running,
    scheme: String,
    address: SocketAddr,
    said: Arc<Mutex<String>>,
}

impl Server {
    fn start(world: &World, args: &[&str]) -> Self {
        let mut command = installer(world, &[&["serve", "--listen", "127.0.0.1:0"], args].concat());
        Self::spawn(&mut command)
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let running = Running(child);
        let said: Arc<Mutex<String>> = Arc::default();
        keep(stderr, &said);
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        said.lock().unwrap().push_str(&line);
        keep(stdout, &said);
        let url = line.trim_end().strip_prefix("serving ").and_then(|url| url.strip_suffix('/'));
        let Some((scheme, address)) = url.and_then(|url| url.split_once("://")) else {
            std::thread::sleep(Duration::from_millis(200));
            panic!("{line}{}", said.lock().unwrap());
        };
        Self { running, scheme: scheme.to_string(), address: address.parse().unwrap(), said }
    }

    fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.running.0), signal).unwrap();
    }

    fn end(mut self) -> String {
        self.signal(Signal::TERM);
        assert_eq!(self.running.0.wait().unwrap().code(), Some(0), "{}", self.said());
        self.said()
    }
}

/// Keeps what is read, line by line.
fn keep(from: impl Read + Send + 'static, said: &Arc<Mutex<String>>) {
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            said.lock().unwrap().push_str(&format!("{line}\n"));
        }
    });
}

/// The exit code and stderr of a server that must not start.
fn refused(world: &World, args: &[&str]) -> (Option<i32>, String) {
    let ran = installer(world, &[&["serve", "--listen", "127.0.0.1:0"], args].concat()).output().unwrap();
    assert!(ran.stdout.is_empty(), "{}", String::from_utf8_lossy(&ran.stdout));
    (
        ran.status.code(),
        String::from_utf8(ran.stderr).unwrap().split_whitespace().collect::<Vec<_>>().join(" "),
    )
}

/// `curl` with these arguments: the status and the body.
fn curl(world: &World, curl: &Path, args: &[&str]) -> (String, String) {
    let all = [&["-sS", "--noproxy", "*", "-w", "\n%{http_code}"], args].concat();
    let said = output(&mut program(world, curl, &all));
    let (body, status) = said.rsplit_once('\n').unwrap();
    (status.to_string(), body.to_string())
}

fn closed(path: PathBuf) -> PathBuf {
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    path
}

/// A certificate in `directory` of a world, with a key that only its owner can read.
fn certificates(world: &World, directory: &str, flaw: Flaw) -> Option<Certificates> {
    std::fs::create_dir_all(world.path(directory)).unwrap();
    let made = Certificates::make_with(&world.path(directory), flaw)?;
    closed(made.key.clone());
    Some(made)
}

/// A users file made by Apache's own program.
fn htpasswd(world: &World, path: &str, users: &[(&str, &str)]) -> Option<PathBuf> {
    let htpasswd = real_part("htpasswd")?;
    let mut lines = String::new();
    for (name, password) in users {
        lines.push_str(&output(&mut program(world, &htpasswd, &["-nbB", "-C", "5", name, password])));
    }
    Some(closed(world.write(path, lines)))
}

/// The events of the log with this name.
fn events(world: &World, name: &str) -> Vec<serde_json::Value> {
    let log = std::fs::read_to_string(world.path("site/audit/audit.jsonl")).unwrap();
    let entries = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    entries.filter(|entry| entry["event"] == name).collect()
}

#[test]
fn tls_is_spoken_with_the_certificate_of_site_yaml_to_curl_openssl_and_skopeo() {
    let (Some(curl_path), Some(openssl)) = (real_part("curl"), real_part("openssl")) else { return };
    let Some(skopeo) = real_part("skopeo") else { return };
    let world = site();
    let made = certificates(&world, "site/tls", Flaw::None).unwrap();
    site_yaml(&world, "{tls: {certificate: tls/server.pem, key: tls/server.key}}");
    let server = Server::start(&world, &[]);
    assert_eq!(server.scheme, "https");
    let ca = made.ca.to_str().unwrap();
    let health = server.url("/healthz");
    assert_eq!(curl(&world, &curl_path, &["--cacert", ca, &health]), ("200".into(), "ok".into()));
    let untrusting = program(&world, &curl_path, &["-sS", "--noproxy", "*", &health]).output().unwrap();
    assert!(!untrusting.status.success(), "it was taken without its authority");
    let plain = health.replace("https", "http");
    assert!(
        !program(&world, &curl_path, &["-sS", "--noproxy", "*", &plain]).output().unwrap().status.success()
    );
    for (version, shown) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let address = server.address.to_string();
        let args =
            ["s_client", version, "-connect", &address, "-CAfile", ca, "-verify_return_error", "-brief"];
        let ran = program(&world, &openssl, &args).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success() && said.contains(shown), "{version}: {said}");
    }
    std::fs::create_dir(world.path("trusted")).unwrap();
    std::fs::copy(&made.ca, world.path("trusted/ca.crt")).unwrap();
    let source = format!("docker://{}/files/etc-demo:1", server.address);
    let inspect = ["inspect", "--raw", "--cert-dir", "trusted", &source];
    assert!(output(&mut program(&world, &skopeo, &inspect)).contains("manifest"));
}

#[test]
fn a_key_that_others_can_read_and_a_certificate_that_nobody_would_take_are_named_with_the_way_out() {
    let world = site();
    let Some(good) = certificates(&world, "good", Flaw::None) else { return };
    let other = certificates(&world, "other", Flaw::None).unwrap();
    let expired = certificates(&world, "expired", Flaw::Expired).unwrap();
    let with = |certificate: &Path, key: &Path| {
        let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
        refused(&world, &["--tls-certificate", certificate, "--tls-key", key])
    };
    let (code, said) = with(&good.certificate, &other.key);
    assert!(
        code == Some(2) && said.contains("is not for the key") && said.contains("hint:"),
        "{code:?} {said}"
    );
    let (code, said) = with(&expired.certificate, &expired.key);
    assert!(
        code == Some(5) && said.contains("has expired on") && said.contains("hint: get a new one"),
        "{said}"
    );
    let (code, said) = with(&good.key, &good.key);
    assert!(code == Some(2) && said.contains("holds no certificate"), "{code:?} {said}");
    let (code, said) = with(&good.certificate, &good.certificate);
    assert!(code == Some(3) || said.contains("holds no private key"), "{code:?} {said}");
    let (code, said) = with(&good.certificate, Path::new("nowhere.key"));
    assert!(code == Some(8) && said.contains("nowhere.key"), "{code:?} {said}");
    std::fs::set_permissions(&good.key, PermissionsExt::from_mode(0o640)).unwrap();
    let (code, said) = with(&good.certificate, &good.key);
    assert!(code == Some(3) && said.contains("open to others (mode 0640)"), "{code:?} {said}");
    assert!(said.contains("hint: if nobody else can have read it: chmod 600"), "{said}");
    let (code, _) = refused(&world, &["--tls-certificate", "a"]);
    assert_eq!(code, Some(2), "a certificate without a key");
}

#[test]
fn a_hangup_takes_the_new_certificate_and_a_bad_one_leaves_the_old_one_in_use() {
    let Some(curl_path) = real_part("curl") else { return };
    let world = site();
    let Some(first) = certificates(&world, "first", Flaw::None) else { return };
    let second = certificates(&world, "second", Flaw::EndsSoon).unwrap();
    let (certificate, key) = (world.path("server.pem"), world.path("server.key"));
    let put = |made: &Certificates| {
        std::fs::copy(&made.certificate, &certificate).unwrap();
        std::fs::copy(&made.key, &key).unwrap();
    };
    put(&first);
    let args = ["--tls-certificate", "server.pem", "--tls-key", "server.key"];
    let server = Server::start(&world, &args);
    let takes = |made: &Certificates| {
        let args = ["-sS", "--noproxy", "*", "--cacert", made.ca.to_str().unwrap(), &server.url("/healthz")];
        program(&world, &curl_path, &args).output().unwrap().status.success()
    };
    assert!(takes(&first) && !takes(&second));
    std::fs::write(&certificate, "no certificate").unwrap();
    server.signal(Signal::HUP);
    let kept = "the former certificate and users stay in use";
    wait_until(PATIENCE, kept, || {
        server.said().contains(kept) && server.said().contains("holds no certificate")
    });
    assert!(takes(&first) && !takes(&second));
    put(&second);
    server.signal(Signal::HUP);
    wait_until(PATIENCE, "the new certificate", || takes(&second));
    assert!(!takes(&first));
    wait_until(PATIENCE, "its end", || server.said().contains("the server's certificate ends on"));
    server.end();
}

#[test]
fn beyond_this_machine_plain_http_has_to_be_said_and_a_login_never_crosses_in_the_clear() {
    let world = site();
    let listen = ["--listen", "0.0.0.0:0"];
    let run = |args: &[&str]| {
        let ran = installer(&world, &[&["serve"], &listen[..], args].concat()).output().unwrap();
        (ran.status.code(), String::from_utf8(ran.stderr).unwrap())
    };
    let (code, said) = run(&[]);
    assert!(code == Some(2) && said.contains("there is no TLS") && said.contains("--plain-http"), "{said}");
    let (code, said) = run(&["--plain-http", "--users", "htpasswd"]);
    assert!(code == Some(2) && said.contains("in the clear") && said.contains("hint:"), "{said}");
    site_yaml(&world, "{listen: '0.0.0.0:0', plainHttp: true}");
    let server = Server::spawn(&mut installer(&world, &["serve"]));
    let local = SocketAddr::from(([127, 0, 0, 1], server.address.port()));
    assert!(get(local, "/healthz").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_login_of_the_users_file_opens_everything_and_without_one_only_health_answers() {
    let (Some(curl_path), Some(skopeo)) = (real_part("curl"), real_part("skopeo")) else { return };
    let world = site();
    let Some(_) = htpasswd(&world, "site/htpasswd", &[("farm", PLANTED), ("eve", "other")]) else { return };
    site_yaml(&world, "{users: htpasswd}");
    let server = Server::start(&world, &[]);
    let ask = |args: &[&str], path: &str| curl(&world, &curl_path, &[args, &[&server.url(path)]].concat());
    let good = format!("farm:{PLANTED}");
    for path in ["/", "/v2/", "/simple/", "/charts/index.yaml", "/v2/files/etc-demo/tags/list", "/nowhere"] {
        let (status, body) = ask(&[], path);
        assert_eq!(status, "401", "{path}");
        assert_eq!(path.starts_with("/v2/"), body.contains("\"code\":\"UNAUTHORIZED\""), "{path}: {body}");
        assert_ne!(ask(&["-u", &good], path).0, "401", "{path}");
        for wrong in ["farm:other", "nobody:other", "farm:", ":"] {
            assert_eq!(ask(&["-u", wrong], path).0, "401", "{path} {wrong}");
        }
    }
    let head = ask(&["-I"], "/v2/").1.to_lowercase();
    assert!(head.contains("www-authenticate: basic realm=\"airlock\""), "{head}");
    assert_eq!(ask(&["-X", "POST"], "/v2/").0, "401");
    assert_eq!(ask(&[], "/healthz"), ("200".into(), "ok".into()));
    let source = format!("docker://{}/files/etc-demo:1", server.address);
    let creds = ["inspect", "--raw", "--tls-verify=false", "--creds", &good, &source];
    assert!(output(&mut program(&world, &skopeo, &creds)).contains("manifest"));
    if let Some(python) = Python::find() {
        output(&mut program(&world, &python.path, &["-m", "venv", "fresh"]));
        let inside = world.path("fresh/bin/python");
        let index = format!("http://{good}@{}/simple/", server.address);
        let pip = ["-m", "pip", "install", "--isolated", "--no-cache-dir", "--disable-pip-version-check"];
        let mut pip =
            program(&world, &inside, &[&pip[..], &["--proxy", "", "--index-url", &index, "greet"]].concat());
        output(pip.env("no_proxy", "127.0.0.1"));
        assert_eq!(python_says(&inside, "import greet; print(greet.text())"), "hello from 1.0");
    }
    // Who is taken out is out with the next hangup, although the password was right a moment ago.
    htpasswd(&world, "site/htpasswd", &[("eve", "other")]).unwrap();
    server.signal(Signal::HUP);
    wait_until(PATIENCE, "the login is no more", || ask(&["-u", &good], "/v2/").0 == "401");
    assert_eq!(ask(&["-u", "eve:other"], "/v2/").0, "200");
    let said = server.end();
    assert!(said.contains("logins were refused, the last one from 127.0.0.1"), "{said}");
    let log = std::fs::read_to_string(world.path("site/audit/audit.jsonl")).unwrap();
    for text in [&said, &log] {
        assert!(!text.contains(PLANTED) && !text.contains("$2y$"), "a planted password: {text}");
    }
}

#[test]
fn a_users_file_that_is_open_or_not_bcrypt_is_refused_without_a_word_of_its_content() {
    let world = site();
    let users = world.write("htpasswd", format!("farm:{PLANTED}\n"));
    let (code, said) = refused(&world, &["--users", "htpasswd"]);
    assert!(code == Some(3) && said.contains("open to others") && said.contains("hint: chmod 600"), "{said}");
    closed(users);
    let (code, said) = refused(&world, &["--users", "htpasswd"]);
    assert!(code == Some(2) && said.contains("the hash in line 1 is not bcrypt"), "{said}");
    assert!(!said.contains(PLANTED) && !said.contains("farm") && said.contains("htpasswd -B"), "{said}");
    let (code, _) = refused(&world, &["--users", "nowhere"]);
    assert_eq!(code, Some(8));
}

#[test]
fn an_address_that_is_not_allowed_is_hung_up_on_before_it_says_a_word() {
    let world = site();
    let server = Server::start(&world, &["--allow", "192.0.2.0/24", "--allow", "fd00::/8"]);
    // The other side's word may come before ours: either way there is no answer.
    let mut stream = TcpStream::connect(server.address).unwrap();
    let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    drop(server);
    site_yaml(&world, "{allow: [192.0.2.0/24, 127.0.0.0/8]}");
    let server = Server::start(&world, &[]);
    assert!(get(server.address, "/healthz").starts_with("HTTP/1.1 200"));
    let (code, said) = refused(&world, &["--allow", "10.1.2.3/8"]);
    assert!(code == Some(2) && said.contains("the network is 10.0.0.0/8"), "{said}");
}

/// The whole answer to a request, as far as it came.
fn get(address: SocketAddr, target: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // A connection that is cut off is an answer as well.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn is(answer: &str, status: u16) -> bool {
    answer.starts_with(&format!("HTTP/1.1 {status} "))
}

fn blob(world: &World, digest: &Digest) -> PathBuf {
    world.path("site/store/blobs/sha256").join(digest.hex())
}

/// Changes one byte, as a disk does: the length stays.
fn rot(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_blob_that_rots_is_withdrawn_from_every_list_reported_and_logged_once_and_back_after_an_apply() {
    let world = site();
    site_yaml(&world, "{rehash: {every: 1s, rate: 1GiB}}");
    let (name, bytes) = greeting("1.0").into_iter().next().unwrap();
    let wheel = Digest::of(&bytes);
    let before = tree(&world, "site", &["audit", "site.yaml"]);
    let server = Server::start(&world, &[]);
    let file = format!("/wheels/{}/{name}", wheel.hex());
    let in_registry = format!("/v2/wheelhouses/tools/blobs/{wheel}");
    assert!(is(&get(server.address, &file), 200) && is(&get(server.address, &in_registry), 200));
    rot(&blob(&world, &wheel));
    wait_until(PATIENCE, "the wheel is withdrawn", || is(&get(server.address, &file), 404));
    let answer = get(server.address, &in_registry);
    assert!(is(&answer, 404) && answer.contains("BLOB_UNKNOWN"), "{answer}");
    for list in ["/simple/greet/", "/"] {
        assert!(!get(server.address, list).contains(&name), "{list} lists what is withdrawn");
    }
    assert!(is(&get(server.address, "/files/etc-demo/app.conf"), 200), "the rest is served");
    // The second one is found by a later pass, which finds the first again.
    let conf = Digest::of(b"level = 1\n");
    rot(&blob(&world, &conf));
    wait_until(PATIENCE, "the file is withdrawn", || {
        is(&get(server.address, "/files/etc-demo/app.conf"), 404)
    });
    wait_until(PATIENCE, "both are in the log", || events(&world, "serve.withdraw").len() == 2);
    let said = server.end();
    for digest in [wheel, conf] {
        let digest = digest.to_string();
        let told = said.lines().filter(|line| line.contains(&digest) && line.contains("withdrawn until"));
        assert_eq!(told.count(), 1, "{said}");
    }
    // A server that starts anew knows, and says nothing twice.
    let server = Server::start(&world, &[]);
    assert!(is(&get(server.address, &file), 404), "served before it was looked at");
    apply(&world, "1.tar");
    for path in [&file, "/files/etc-demo/app.conf"] {
        wait_until(PATIENCE, "it is served again", || is(&get(server.address, path), 200));
    }
    wait_until(PATIENCE, "the log says so", || events(&world, "serve.restore").len() == 2);
    let said = server.end();
    assert!(!said.contains("withdrawn until") && said.contains("is whole again"), "{said}");
    let logged = events(&world, "serve.withdraw");
    let blobs: Vec<&str> = logged.iter().map(|entry| entry["about"]["blob"].as_str().unwrap()).collect();
    assert_eq!(blobs, [wheel.to_string(), conf.to_string()]);
    assert!(logged[0]["about"]["reason"].as_str().unwrap().contains("does not have that digest any more"));
    world.installer(&["audit", "verify"]).ok();
    let after = tree(&world, "site", &["audit", "site.yaml"]);
    let stores = |tree: &std::collections::BTreeMap<PathBuf, String>| {
        tree.iter()
            .filter(|(path, _)| path.starts_with("store"))
            .map(|(p, w)| (p.clone(), w.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(stores(&before), stores(&after), "serve has written into the store");
}

#[test]
fn a_blob_that_was_taken_away_and_comes_back_is_withdrawn_meanwhile() {
    let world = site();
    site_yaml(&world, "{rehash: {every: 1s, rate: 1GiB}}");
    let server = Server::start(&world, &[]);
    let path = blob(&world, &Digest::of(b"level = 1\n"));
    std::fs::rename(&path, world.path("aside")).unwrap();
    let answer = get(server.address, "/files/etc-demo/app.conf");
    assert!(is(&answer, 404), "{answer}");
    std::fs::rename(world.path("aside"), &path).unwrap();
    wait_until(PATIENCE, "it is back", || is(&get(server.address, "/files/etc-demo/app.conf"), 200));
    let said = server.end();
    assert!(said.contains("is missing from the site store") && said.contains("is whole again"), "{said}");
    assert_eq!((events(&world, "serve.withdraw").len(), events(&world, "serve.restore").len()), (1, 1));
}

#[test]
fn an_apply_and_the_server_write_into_one_log_and_its_chain_holds() {
    let world = site();
    site_yaml(&world, "{rehash: {every: 1s, rate: 1GiB}}");
    let server = Server::start(&world, &[]);
    let conf = blob(&world, &Digest::of(b"level = 1\n"));
    let (good, mut rotten) = (std::fs::read(&conf).unwrap(), std::fs::read(&conf).unwrap());
    rotten[0] ^= 1;
    world.write("config/more.conf", "more = 1\n");
    build(&world, "2", 2, "files: [{source: config, dest: /etc/demo}]\n", "2.tar");
    let ended = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Until the apply is over the blob is bad and good in turn, and each turn is an entry.
            for turn in 0.. {
                std::fs::write(&conf, if turn % 2 == 0 { &rotten } else { &good }).unwrap();
                let status = if turn % 2 == 0 { 404 } else { 200 };
                wait_until(PATIENCE, "its turn", || {
                    is(&get(server.address, "/files/etc-demo/app.conf"), status)
                });
                if ended.load(std::sync::atomic::Ordering::Acquire) && turn % 2 == 1 {
                    break;
                }
            }
        });
        let applied = installer(&world, &["apply", "2.tar", "--yes"]).output().unwrap();
        ended.store(true, std::sync::atomic::Ordering::Release);
        assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    });
    server.end();
    world.installer(&["audit", "verify"]).ok();
    assert!(!events(&world, "serve.withdraw").is_empty() && events(&world, "apply").len() >= 4);
    assert_eq!(events(&world, "serve.withdraw").len(), events(&world, "serve.restore").len());
}

#[test]
fn two_hundred_pulls_of_one_large_layer_at_once_take_less_than_64_mib_and_every_byte_is_right() {
    const PULLS: usize = 200;
    let (world, upstream) = (World::new(), FakeRegistry::start());
    world.trust();
    let large = layer(9, 64 * 1024 * 1024);
    let app = image("amd64", std::slice::from_ref(&large));
    app.store_in(&upstream, "team/app", "v1");
    let source = format!("docker://{}/team/app:v1", upstream.host());
    build(
        &world,
        "1",
        1,
        &format!("images: [{{source: \"{source}\", name: \"r.example.com/team/app:v1\"}}]\n"),
        "1.tar",
    );
    world.installer(&["apply", "1.tar", "--yes"]).ok();
    let (digest, bytes) = app.blobs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    assert!(bytes.len() >= 64 * 1024 * 1024, "the layer is not large");
    let server = Server::start(&world, &[]);
    let target = format!("/v2/r.example.com/team/app/blobs/{digest}");
    std::thread::scope(|scope| {
        for _ in 0..PULLS {
            scope.spawn(|| assert!(pulls(server.address, &target, bytes), "other bytes"));
        }
    });
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.running.0.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    eprintln!("{PULLS} pulls of {} bytes: at most {peak} KiB of memory", bytes.len());
    assert!(peak <= 64 * 1024, "{peak} KiB");
    server.end();
}

/// Whether a pull brings exactly these bytes.
fn pulls(address: SocketAddr, target: &str, wanted: &[u8]) -> bool {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut stream = BufReader::with_capacity(64 * 1024, stream);
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    assert!(is(&line, 200), "{line}");
    while line.trim_end() != "" {
        line.clear();
        stream.read_line(&mut line).unwrap();
    }
    let mut rest = wanted;
    loop {
        let found = stream.fill_buf().unwrap();
        if found.is_empty() {
            return rest.is_empty();
        }
        let length = found.len();
        if rest.get(..length) != Some(found) {
            return false;
        }
        rest = &rest[length..];
        stream.consume(length);
    }
}

#[test]
fn systemd_is_told_once_connections_are_taken() {
    let world = site();
    let socket = std::os::unix::net::UnixDatagram::bind(world.path("notify")).unwrap();
    let mut command = installer(&world, &["serve", "--listen", "127.0.0.1:0"]);
    let server = Server::spawn(command.env("NOTIFY_SOCKET", world.path("notify")));
    let mut said = [0; 64];
    let length = socket.recv(&mut said).unwrap();
    assert_eq!(&said[..length], b"READY=1");
    assert!(get(server.address, "/healthz").starts_with("HTTP/1.1 200"));
}

fn unit() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/airlock-serve.service");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_unit_of_systemd_starts_what_there_is_and_takes_away_what_it_does_not_need() {
    let unit = unit();
    let value = |key: &str| {
        let all: Vec<&str> =
            unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect();
        all.join(" ")
    };
    let started = value("ExecStart");
    let words: Vec<&str> = started.split(' ').skip(1).collect();
    assert_eq!(words, ["--site", installer::site::DEFAULT_DIR, "serve"]);
    for (key, wanted) in [
        ("Type", "notify"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("ReadOnlyPaths", installer::site::DEFAULT_DIR),
        ("ReadWritePaths", "/var/lib/airlock/audit"),
        ("CapabilityBoundingSet", ""),
        ("PrivateTmp", "yes"),
        ("ExecReload", "/bin/kill -HUP $MAINPID"),
    ] {
        assert_eq!(value(key), wanted, "{key}");
    }
    assert!(!unit.contains("DynamicUser="), "the site's files are root's");
}

#[test]
fn systemd_itself_takes_the_unit_and_finds_little_exposed() {
    let Some(analyze) = real_part("systemd-analyze") else { return };
    let world = World::new();
    let unit = unit().replace("/usr/local/bin/installer", env!("CARGO_BIN_EXE_e2e-installer"));
    let path = world.write("airlock-serve.service", unit);
    let path = path.to_str().unwrap();
    let ran = program(&world, &analyze, &["verify", "--man=no", path]).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success() && !said.contains("airlock-serve"), "{said}");
    let security = ["security", "--no-pager", "--offline=true", "--threshold=25", path];
    let ran = program(&world, &analyze, &security).output().unwrap();
    let table = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{table}{}", String::from_utf8_lossy(&ran.stderr));
}
