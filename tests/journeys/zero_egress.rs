//! Nothing leaves by itself: every command of `installer` does its work in a network namespace in which there is
//! nothing, and a trace of its system calls has no connection but to the targets that `site.yaml` names, and no
//! question to a name server. A command that is new and has no case here fails the first test.

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
mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use e2e::World;
use ingredients::{image, layer};
use onsite::{Python, greeting, installer, output, program, site_yaml, write_wheels};
use rustix::process::{Pid, Signal, kill_process};
use testkit::{FakeRegistry, RealRegistry, RealRegistryOptions, real_part};
use versions::{apply, bundle, site};

/// Every command, with the arguments of each run that is looked at, and the exit code with which it ends.
const CASES: &[(&str, &[(&str, i32)])] = &[
    ("trust init", &[("root.json --expect-sha256 FINGERPRINT", 0)]),
    ("trust show", &[("", 0)]),
    ("trust update", &[(".", 0), ("paper", 8)]),
    ("trust key show", &[("", 0)]),
    ("trust key new", &[("", 3)]),
    ("trust key rotate", &[("", 0)]),
    ("verify", &[("demo-3.tar", 0), ("damaged.tar", 4)]),
    ("inspect", &[("demo-3.tar", 0)]),
    ("preflight", &[("demo-3.tar", 0), ("--rollback", 0)]),
    ("plan", &[("demo-3.tar", 0)]),
    ("apply", &[("demo-3.tar --yes", 0), ("demo-1.tar --yes", 3)]),
    ("rollback", &[("--yes", 0)]),
    ("remove", &[("demo --yes", 0)]),
    ("gc", &[("--yes", 0)]),
    ("drift", &[("", 0)]),
    ("abandon", &[("", 2)]),
    ("acknowledge", &[("--reason looked", 2)]),
    ("status", &[("", 0)]),
    ("history", &[("", 0)]),
    ("audit show", &[("", 0)]),
    ("audit verify", &[("", 0)]),
    ("audit checkpoint", &[("--out OUT", 0)]),
    ("audit export", &[("--format jsonl --out OUT", 0)]),
    ("audit explain", &[("demo-3.tar", 0)]),
    ("report", &[("--out OUT.json --evidence OUT.evidence", 0), ("demo-3.tar --out OUT.html", 0)]),
    ("receipt", &[("--out OUT.json --check", 0), ("--out OUT.html", 0)]),
    ("diagnose", &[("--list", 0), ("--out OUT --pod-logs", 0)]),
    ("completions", &[("bash", 0)]),
    ("man", &[("apply", 0), ("--out OUT.pages", 0)]),
];

/// What these say changes from run to run: keys that are made, how long it took, and how full the disk is.
const VARIES: [&str; 7] =
    ["trust init", "trust key rotate", "preflight", "plan", "apply", "rollback", "diagnose"];

/// A server, which has a test of its own.
const SERVERS: [&str; 1] = ["serve"];

/// Sockets of this machine that the C library asks for users and names, in programs that are started: nobody else is
/// behind them than a daemon of this machine.
const LOCAL_SOCKETS: [&str; 2] = ["/var/run/nscd/socket", "/run/nscd/socket"];

// ---- a site, and copies of it -------------------------------------------------------------------------

/// A site on which two versions were applied, and a third is at hand.
fn template() -> World {
    let world = site(&[]);
    for sequence in 1..=3 {
        bundle(&world, "demo", sequence, &[("a", &sequence.to_string())], "");
    }
    apply(&world, "demo", 1).ok();
    apply(&world, "demo", 2).ok();
    let mut damaged = std::fs::read(world.path("demo-3.tar")).unwrap();
    damaged.truncate(damaged.len() - 1);
    world.write("damaged.tar", damaged);
    std::fs::create_dir(world.path("paper")).unwrap();
    world
}

/// Makes the site and what it has put in place what they were.
fn reset(world: &World, template: &Path) {
    for name in ["site", "root"] {
        let _ = std::fs::remove_dir_all(world.path(name));
        output(Command::new("cp").arg("-a").arg(template.join(name)).arg(world.dir()));
    }
    for entry in std::fs::read_dir(world.dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("out") {
            let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        }
    }
    std::fs::create_dir(world.path("out.pages")).unwrap();
}

fn fingerprint(world: &World) -> String {
    let shown = world.installer(&["--output", "json", "trust", "show"]).ok().json();
    shown["fingerprint"].as_str().unwrap().to_string()
}

/// What is typed for a case.
fn typed(command: &str, rest: &str, fingerprint: &str) -> Vec<String> {
    let line = format!("{command} {rest}").replace("FINGERPRINT", fingerprint).replace("OUT", "out");
    line.split_whitespace().map(str::to_string).collect()
}

// ---- who can be typed ---------------------------------------------------------------------------------

/// The words below `Commands:`.
fn below(world: &World, words: &[String]) -> Vec<String> {
    let mut args: Vec<&str> = words.iter().map(String::as_str).collect();
    args.push("--help");
    let help = output(&mut installer(world, &args));
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    list.take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_string))
        .filter(|word| word != "help")
        .collect()
}

/// Every command that ends a line, by the program's own help.
fn commands(world: &World) -> BTreeSet<String> {
    let (mut found, mut open) = (BTreeSet::new(), vec![Vec::new()]);
    while let Some(words) = open.pop() {
        let more = below(world, &words);
        if more.is_empty() {
            found.insert(words.join(" "));
        }
        open.extend(more.into_iter().map(|word| [&words[..], &[word]].concat()));
    }
    found
}

#[test]
fn every_command_that_can_be_typed_has_a_case() {
    let known: BTreeSet<String> =
        CASES.iter().map(|(command, _)| *command).chain(SERVERS).map(str::to_string).collect();
    assert_eq!(commands(&World::new()), known);
}

// ---- a namespace in which there is nothing ------------------------------------------------------------

/// Runs it where there is no network, not even a loopback interface; nothing, after saying so, where the machine
/// forbids that.
fn without_network(world: &World, args: &[String]) -> Option<Output> {
    let unshare = real_part("unshare")?;
    let flags = if rustix::process::getuid().is_root() { "-n" } else { "-rn" };
    let tried = Command::new(&unshare).args([flags, "true"]).output().unwrap();
    if !tried.status.success() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "no network namespaces here, and CI=true");
        eprintln!("SKIPPED: this machine gives no network namespaces");
        return None;
    }
    let mut command =
        program(world, unshare, &[flags, env!("CARGO_BIN_EXE_e2e-installer"), "--site", "site"]);
    Some(command.args(args).output().unwrap())
}

/// What a run printed, without its times and what follows from them.
fn said(output: &Output) -> String {
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let hex = |word: &str| word.len() >= 8 && word.chars().all(|c| c.is_ascii_hexdigit());
    let word = |word: &str| {
        if hex(word) { "H".to_string() } else { word.replace(|c: char| c.is_ascii_digit(), "0") }
    };
    let mut shown = String::new();
    for piece in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let end = piece.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(piece.len());
        shown.push_str(&word(&piece[..end]));
        shown.push_str(&piece[end..]);
    }
    shown
}

#[test]
fn in_an_empty_network_namespace_each_command_ends_and_says_the_same() {
    let template = template();
    let kept = tempfile::tempdir().unwrap();
    for name in ["site", "root"] {
        output(Command::new("cp").arg("-a").arg(template.path(name)).arg(kept.path()));
    }
    let world = template;
    let fingerprint = fingerprint(&world);
    for (command, runs) in CASES {
        for (rest, exit) in *runs {
            let args = typed(command, rest, &fingerprint);
            let words: Vec<&str> = args.iter().map(String::as_str).collect();
            let start = || {
                reset(&world, kept.path());
                if *command == "trust init" {
                    std::fs::remove_dir_all(world.path("site")).unwrap();
                }
            };
            start();
            let with = installer(&world, &words).output().unwrap();
            assert_eq!(
                with.status.code(),
                Some(*exit),
                "{words:?}: {}",
                String::from_utf8_lossy(&with.stderr)
            );
            start();
            let Some(without) = without_network(&world, &args) else { return };
            assert_eq!(
                without.status.code(),
                Some(*exit),
                "{words:?}: {}",
                String::from_utf8_lossy(&without.stderr)
            );
            if !VARIES.contains(command) {
                assert_eq!(said(&without), said(&with), "{words:?}");
            }
        }
    }
}

// ---- a trace of system calls --------------------------------------------------------------------------

/// Who was spoken to, by a trace of `strace -f -e trace=network`: addresses, and sockets of this machine.
#[derive(Debug, Default, PartialEq, Eq)]
struct Contacts {
    addresses: BTreeSet<String>,
    sockets: BTreeSet<String>,
}

impl Contacts {
    /// Every address that a system call names, whatever it is called. What somebody is bound to is not spoken to.
    fn of(trace: &str) -> Self {
        let mut found = Self::default();
        for line in trace.lines() {
            let call = line.split_once('(').map_or("", |(call, _)| call);
            let speaks = ["connect", "sendto", "sendmsg", "sendmmsg"].iter().any(|name| call.ends_with(name));
            if !speaks || !line.contains("sa_family=") {
                continue;
            }
            let between =
                |from: &str, to: &str| line.split_once(from)?.1.split_once(to).map(|(found, _)| found);
            let family = between("sa_family=", ",").or_else(|| between("sa_family=", "}")).unwrap();
            match family {
                "AF_UNIX" => {
                    found
                        .sockets
                        .insert(between("sun_path=", "}").unwrap_or_default().trim_matches('"').to_string());
                }
                "AF_INET" => {
                    let (port, host) =
                        (between("htons(", ")").unwrap(), between("inet_addr(\"", "\")").unwrap());
                    found.addresses.insert(format!("{host}:{port}"));
                }
                // To the kernel, about interfaces and addresses: getaddrinfo(3) asks that.
                "AF_NETLINK" => {}
                _ => {
                    found.addresses.insert(line.to_string());
                }
            }
        }
        found.sockets.retain(|path| !LOCAL_SOCKETS.contains(&path.as_str()));
        found
    }
}

/// The installer below a tracer, and where the trace goes.
fn traced(world: &World, args: &[&str]) -> Option<Command> {
    let strace = real_part("strace")?;
    // With the filter in the kernel only these calls stop, and everything else is as fast as ever.
    let how = ["-f", "--seccomp-bpf", "-qq", "-e", "trace=network", "-o", "trace"];
    let fixed = [&how[..], &[env!("CARGO_BIN_EXE_e2e-installer"), "--site", "site"]].concat();
    let mut command = program(world, strace, &fixed);
    command.args(args);
    Some(command)
}

fn contacts(world: &World) -> Contacts {
    Contacts::of(&std::fs::read_to_string(world.path("trace")).unwrap())
}

#[test]
fn a_trace_is_read_as_strace_writes_it() {
    let trace = "12 socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_TCP) = 3\n\
        12 connect(3, {sa_family=AF_INET, sin_port=htons(5000), sin_addr=inet_addr(\"127.0.0.1\")}, 16) = 0\n\
        12 connect(4, {sa_family=AF_UNIX, sun_path=\"/var/run/docker.sock\"}, 110) = 0\n\
        12 connect(4, {sa_family=AF_UNIX, sun_path=\"/var/run/nscd/socket\"}, 110) = -1 ENOENT (No such file)\n\
        13 sendto(5, [{nlmsg_len=20}], 20, 0, {sa_family=AF_NETLINK, nl_pid=0, nl_groups=00000000}, 12) = 20\n\
        13 sendto(6, \"x\", 1, MSG_NOSIGNAL, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr(\"9.9.9.9\")}, 16) = 1\n\
        13 connect(7, {sa_family=AF_INET6, sin6_port=htons(443), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, \"::1\", &sin6_addr), sin6_scope_id=0}, 28) = 0\n\
        13 sendto(3, \"GET / HTTP/1.1\", 14, MSG_NOSIGNAL, NULL, 0) = 14\n\
        13 bind(8, {sa_family=AF_INET, sin_port=htons(0), sin_addr=inet_addr(\"127.0.0.1\")}, 16) = 0\n";
    let found = Contacts::of(trace);
    assert_eq!(found.sockets.iter().collect::<Vec<_>>(), ["/var/run/docker.sock"]);
    let addresses: Vec<&String> = found.addresses.iter().collect();
    assert_eq!(addresses.len(), 3, "{addresses:?}");
    assert!(
        addresses.contains(&&"127.0.0.1:5000".to_string()) && addresses.contains(&&"9.9.9.9:53".to_string())
    );
}

#[test]
fn without_targets_no_command_speaks_to_anybody() {
    let world = template();
    let kept = tempfile::tempdir().unwrap();
    for name in ["site", "root"] {
        output(Command::new("cp").arg("-a").arg(world.path(name)).arg(kept.path()));
    }
    let fingerprint = fingerprint(&world);
    for (command, runs) in CASES {
        for (rest, exit) in *runs {
            let args = typed(command, rest, &fingerprint);
            let words: Vec<&str> = args.iter().map(String::as_str).collect();
            reset(&world, kept.path());
            if *command == "trust init" {
                std::fs::remove_dir_all(world.path("site")).unwrap();
            }
            let Some(mut run) = traced(&world, &words) else { return };
            let ran = run.output().unwrap();
            assert_eq!(ran.status.code(), Some(*exit), "{words:?}: {}", String::from_utf8_lossy(&ran.stderr));
            assert_eq!(contacts(&world), Contacts::default(), "{words:?}");
        }
    }
}

#[test]
fn a_server_answers_and_speaks_to_nobody_by_itself() {
    let world = template();
    let Some(mut run) = traced(&world, &["serve", "--listen", "127.0.0.1:0"]) else { return };
    let mut tracer = onsite::Running(run.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(tracer.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address =
        line.trim().strip_prefix("serving http://").unwrap_or_else(|| panic!("{line}")).trim_end_matches('/');
    let mut connection = std::net::TcpStream::connect(address).unwrap();
    std::io::Write::write_all(&mut connection, b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut connection, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // The tracer waits for what it traces, whatever it is told itself.
    let children = format!("/proc/{0}/task/{0}/children", tracer.0.id());
    let served: i32 = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
    kill_process(Pid::from_raw(served).unwrap(), Signal::TERM).unwrap();
    tracer.0.wait().unwrap();
    assert_eq!(contacts(&world), Contacts::default());
}

#[test]
fn with_targets_each_command_speaks_to_them_and_to_nobody_else() {
    let options = RealRegistryOptions { delete: true, ..RealRegistryOptions::default() };
    let Some(target) = RealRegistry::start(options) else { return };
    let (world, upstream) = (site(&[]), FakeRegistry::start());
    let files = format!("files: {{root: {}}}", world.path("root").display());
    let registry = format!("registry: {{url: \"{}\", prefix: mirror}}", target.url());
    let docker = format!("docker: {{host: \"unix://{}\"}}", world.path("no.sock").display());
    site_yaml(&world, &[files.clone(), registry]);
    image("amd64", &[layer(1, 500)]).store_in(&upstream, "team/app", "v1");
    let source = format!("docker://{}/team/app:v1", upstream.host());
    let rest = format!("images: [{{source: \"{source}\", name: \"registry.example.com/team/app:v1\"}}]\n");
    bundle(&world, "demo", 1, &[("a", "1")], &rest);
    bundle(&world, "demo", 2, &[("a", "2")], &rest);
    drop(upstream);
    let only = BTreeSet::from([target.host().to_string()]);
    let spoken: BTreeMap<&str, bool> = BTreeMap::from([
        ("verify demo-1.tar", false),
        ("preflight demo-1.tar", true),
        ("plan demo-1.tar", true),
        ("apply demo-1.tar --yes", true),
    ]);
    let later = [
        "drift",
        "diagnose --list",
        "status",
        "apply demo-2.tar --yes",
        "rollback --yes",
        "gc --yes",
        "remove demo --yes",
    ];
    // In their order: what is looked at last needs what was done first.
    let order = ["verify demo-1.tar", "preflight demo-1.tar", "plan demo-1.tar", "apply demo-1.tar --yes"];
    for line in order.into_iter().chain(later) {
        let words: Vec<&str> = line.split(' ').collect();
        let Some(mut run) = traced(&world, &words) else { return };
        let ran = run.output().unwrap();
        assert!(ran.status.success(), "{line}: {}", String::from_utf8_lossy(&ran.stderr));
        let found = contacts(&world);
        assert!(found.addresses.is_subset(&only) && found.sockets.is_empty(), "{line}: {found:?}");
        if let Some(speaks) = spoken.get(line) {
            assert_eq!(!found.addresses.is_empty(), *speaks, "{line}: {found:?}");
        }
    }
    // A socket of this machine counts as well.
    site_yaml(&world, &[files, docker]);
    let Some(mut run) = traced(&world, &["diagnose", "--list"]) else { return };
    assert!(run.output().unwrap().status.success());
    let socket = world.path("no.sock").display().to_string();
    assert_eq!(contacts(&world), Contacts { sockets: BTreeSet::from([socket]), addresses: BTreeSet::new() });
}

#[test]
fn pip_asks_nobody_when_an_environment_is_made() {
    let Some(python) = Python::find() else { return };
    let world = site(&[]);
    site_yaml(&world, &[python.as_target(&world)]);
    write_wheels(&world, "wheels", &greeting("1.0"));
    bundle(&world, "demo", 1, &[], "wheels: [{name: tools, source: wheels}]\n");
    let Some(mut run) = traced(&world, &["apply", "demo-1.tar", "--yes"]) else { return };
    let ran = run.output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let says =
        onsite::python_says(&world.path("venvs/tools/bin/python"), "import greet; print(greet.text())");
    assert_eq!((says.as_str(), contacts(&world)), ("hello from 1.0", Contacts::default()));
}
