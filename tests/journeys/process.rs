//! The installer as a process: killed in earnest, piped into something that goes away, asked for help; and
//! its exit codes as another program sees them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

mod ingredients;
mod onsite;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use e2e::World;
use ingredients::{image, layer, noise};
use onsite::{another_site, audit_holds, build, bundler, installer, output, site_yaml, tree, with_mounts};
use rustix::process::{Pid, Signal, kill_process};
use testkit::{FakeRegistry, Fault, real_part};

// ---- kill -9 ------------------------------------------------------------------------------------------

const KILLS: u32 = 20;

/// A world with a bundle of 64 MiB in eight files.
fn sender() -> (World, PathBuf) {
    let world = World::new();
    world.trust();
    for seed in 1..=8 {
        world.write(&format!("data/{seed}/file"), noise(seed, 8 * 1024 * 1024));
    }
    build(&world, "1", 1, "files: [{source: data, dest: /opt/data}]\n", "b.tar");
    let bundle = world.path("b.tar");
    (world, bundle)
}

fn receiver(sender: &World) -> World {
    let world = another_site(sender);
    std::fs::create_dir(world.path("root")).unwrap();
    site_yaml(&world, &[format!("files: {{root: {}}}", world.path("root").display())]);
    world
}

type Tree = BTreeMap<PathBuf, String>;

/// Everything but the log, the journal and the times.
fn state(world: &World) -> (Tree, Tree, serde_json::Value) {
    let ledger = std::fs::read(world.path("site/ledger/acme.demo.json")).unwrap();
    let mut ledger: serde_json::Value = serde_json::from_slice(&ledger).unwrap();
    ledger["applied"][0]["time"].take();
    let site = tree(world, "site", &["audit", "journal", "key", "lock", "ledger", "site.yaml"]);
    (tree(world, "root", &[]), site, ledger)
}

#[test]
fn killed_at_any_time_the_next_run_finishes_as_if_nothing_had_happened() {
    let (sender, bundle) = sender();
    let apply = ["apply", bundle.to_str().unwrap(), "--yes"];
    let undisturbed = receiver(&sender);
    let started = Instant::now();
    output(&mut installer(&undisturbed, &apply));
    let whole = started.elapsed();
    let expected = state(&undisturbed);

    let mut killed = 0;
    for number in 0..KILLS {
        let world = receiver(&sender);
        let mut child =
            installer(&world, &apply).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole * number / KILLS);
        child.kill().unwrap();
        killed += u32::from(child.wait().unwrap().signal() == Some(9));
        output(&mut installer(&world, &apply));
        assert_eq!(state(&world), expected, "killed after {:?} of {whole:?}", whole * number / KILLS);
        audit_holds(&world);
    }
    assert!(killed >= KILLS / 4, "only {killed} of {KILLS} were killed while they ran");
}

// ---- standard streams ---------------------------------------------------------------------------------

fn small_site() -> World {
    let world = World::new();
    world.trust();
    world.write("note", "text");
    build(&world, "1", 1, "files: [{source: note, dest: /etc/demo}]\n", "b.tar");
    world
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_reader_that_goes_away_is_no_failure_and_no_panic() {
    let world = small_site();
    for _ in 0..300 {
        world.installer(&["inspect", "b.tar"]).ok();
    }
    for args in [&["audit", "show"][..], &["--output", "json", "audit", "show"], &["--help"], &["status"]] {
        let mut child =
            installer(&world, args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let Output { status, stderr, .. } = child.wait_with_output().unwrap();
        assert_eq!((status.code(), text(&stderr)), (Some(0), String::new()), "{args:?}");
    }
}

#[test]
fn a_result_that_cannot_be_printed_is_said_to_be_so() {
    let world = small_site();
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    for args in [&["status"][..], &["verify", "b.tar"]] {
        let ran = installer(&world, args).stdout(full()).output().unwrap();
        assert_eq!(ran.status.code(), Some(1), "{args:?}");
        assert!(text(&ran.stderr).contains("could not be printed"), "{}", text(&ran.stderr));
    }
}

#[test]
fn without_any_open_stream_a_command_still_does_its_work() {
    let world = small_site();
    let script =
        format!("exec {} --site site apply b.tar --yes 0<&- 1>&- 2>&-", env!("CARGO_BIN_EXE_e2e-installer"));
    output(&mut onsite::program(&world, "sh", &["-c", &script]));
    assert!(world.installer(&["status"]).ok().stdout.contains("acme demo"));
}

#[test]
fn arguments_that_are_no_text_are_files_that_are_not_there() {
    let world = small_site();
    let ran = installer(&world, &["verify"]).arg(OsStr::from_bytes(b"b\xff.tar")).output().unwrap();
    assert_eq!(ran.status.code(), Some(4), "{}", text(&ran.stderr));
}

// ---- help ---------------------------------------------------------------------------------------------

/// The words that stand first on the lines below `Commands:`.
fn commands(help: &str) -> Vec<String> {
    let list =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    list.filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| *word != "help")
        .map(str::to_string)
        .collect()
}

#[test]
fn every_command_has_a_help_that_fits_a_screen() {
    let world = World::new();
    for (program, names) in [
        (
            "installer",
            "trust verify inspect preflight plan apply rollback remove gc drift abandon acknowledge status history serve audit report receipt diagnose completions man",
        ),
        (
            "bundler",
            "key trust lock images build split write sign attest inspect verify diff receipt completions man",
        ),
    ] {
        let run = |args: &[&str]| {
            let mut command =
                if program == "installer" { installer(&world, args) } else { bundler(&world, args) };
            let ran = command.output().unwrap();
            assert_eq!((ran.status.code(), text(&ran.stderr)), (Some(0), String::new()), "{args:?}");
            let shown = text(&ran.stdout);
            let mut lines = shown.lines().filter(|line| !line.starts_with("Usage: "));
            let long = lines.find(|line| line.chars().count() > 100);
            assert_eq!(long, None, "{program} {args:?}");
            shown
        };
        let names: Vec<&str> = names.split(' ').collect();
        let help = run(&["--help"]);
        assert_eq!(commands(&help), names, "{help}");
        assert!(run(&["--version"]).starts_with(&format!("{program} 0.")));
        for name in names {
            let help = run(&[name, "--help"]);
            assert!(help.contains("Usage: "), "{help}");
            for below in commands(&help) {
                run(&[name, &below, "--help"]);
            }
        }
    }
}

#[test]
fn without_a_command_the_help_is_an_error() {
    let world = World::new();
    for args in [&[][..], &["nonsense"], &["apply"], &["--output", "xml", "status"]] {
        let ran = installer(&world, args).output().unwrap();
        assert_eq!((ran.status.code(), text(&ran.stdout)), (Some(2), String::new()), "{args:?}");
        assert!(text(&ran.stderr).contains("--help") || text(&ran.stderr).contains("Usage"), "{args:?}");
    }
}

// ---- exit codes ---------------------------------------------------------------------------------------

fn ends_with(world: &World, args: &[&str], code: i32) {
    let ran = installer(world, args).output().unwrap();
    assert_eq!(ran.status.code(), Some(code), "{args:?}: {}", text(&ran.stderr));
    if code != 0 {
        let first = text(&ran.stderr).lines().any(|line| line.starts_with("error: "));
        assert!(first, "{args:?}: {}", text(&ran.stderr));
    }
}

#[test]
fn exit_codes_are_those_of_the_contract() {
    let world = small_site();
    let mut damaged = std::fs::read(world.path("b.tar")).unwrap();
    damaged.truncate(damaged.len() - 1);
    world.write("damaged.tar", damaged);
    ends_with(&world, &["verify", "b.tar"], 0);
    ends_with(&world, &["apply", "b.tar"], 2);
    ends_with(&world, &["report"], 2);
    ends_with(&world, &["rollback"], 3);
    ends_with(&world, &["--site", "elsewhere", "verify", "b.tar"], 2);
    ends_with(&World::new(), &["status"], 3);
    ends_with(&world, &["verify", "damaged.tar"], 4);
    ends_with(&world, &["verify", "/"], 4);
    ends_with(&world, &["verify", "/dev/null"], 4);
    site_yaml(&world, &["registry: {url: \"http://127.0.0.1:1\"}".to_string()]);
    ends_with(&world, &["apply", "b.tar", "--yes"], 5);
    ends_with(&world, &["trust", "init", "nothing.json", "--expect-sha256", &"0".repeat(64)], 8);
}

#[test]
fn a_failed_apply_ends_with_6_and_one_that_could_not_be_undone_with_7() {
    let (world, registry) = (World::new(), FakeRegistry::start());
    world.trust();
    image("amd64", &[layer(1, 100)]).store_in(&registry, "team/app", "v1");
    let rest = format!(
        "images: [\"docker://{}/team/app:v1\"]\n{}",
        registry.host(),
        onsite::a_step_that_fails(&world)
    );
    build(&world, "1", 1, &rest, "b.tar");
    let target = FakeRegistry::start();
    site_yaml(&world, &[format!("registry: {{url: \"{}\"}}", target.url()), "scripts: {}".to_string()]);
    ends_with(&world, &["apply", "b.tar", "--yes"], 6);
    // Until somebody has looked it does not even begin.
    ends_with(&world, &["apply", "b.tar", "--yes"], 5);
    ends_with(&world, &["acknowledge", "--reason", "looked"], 0);
    target.fault_on(Fault::Status(405), None, "DELETE", "");
    ends_with(&world, &["apply", "b.tar", "--yes"], 7);
}

#[test]
fn a_site_that_cannot_be_written_to_ends_with_8_and_looking_still_works() {
    let world = small_site();
    let before = world.snapshot("site");
    let script = "
        mount --bind site site && mount -o remount,bind,ro site || exit 99
        for command in 'verify b.tar' 'apply b.tar --yes' status history 'audit verify'; do
            \"$0\" --site site $command >/dev/null; echo $?
        done";
    let Some(ran) = with_mounts(&world, script) else { return };
    assert_eq!(text(&ran.stdout), "8\n8\n0\n0\n0\n", "{}", text(&ran.stderr));
    assert!(text(&ran.stderr).contains("Read-only file system"), "{}", text(&ran.stderr));
    assert_eq!(world.snapshot("site"), before);
}

#[test]
fn a_killed_apply_lets_go_of_the_lock() {
    let (sender, bundle) = sender();
    let world = receiver(&sender);
    let apply = ["apply", bundle.to_str().unwrap(), "--yes"];
    let mut child = installer(&world, &apply).stdout(Stdio::null()).spawn().unwrap();
    onsite::wait_until(Duration::from_secs(30), "the lock is taken", || {
        // `trust init` has left its own line there.
        let holder = format!("process {} ", child.id());
        std::fs::read_to_string(world.path("site/lock")).is_ok_and(|text| text.contains(&holder))
    });
    kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
    let second = installer(&world, &apply).output().unwrap();
    assert_eq!(second.status.code(), Some(5), "{}", text(&second.stderr));
    let holder = format!("process {} of tester on ", child.id());
    assert!(text(&second.stderr).contains(&holder), "{}", text(&second.stderr));
    assert!(text(&second.stderr).contains(": installer --site site apply "), "{}", text(&second.stderr));
    child.kill().unwrap();
    child.wait().unwrap();
    output(&mut installer(&world, &apply));
}

// ---- a terminal ---------------------------------------------------------------------------------------

/// What a terminal of eighty columns gets to see of a command.
fn on_a_terminal(world: &World, args: &str) -> Option<String> {
    let script = real_part("script")?;
    let installer = env!("CARGO_BIN_EXE_e2e-installer");
    let line = format!("stty cols 80; exec {installer} --site site {args}");
    let mut command =
        onsite::program(world, script, &["--quiet", "--return", "--command", &line, "/dev/null"]);
    Some(output(command.env("TERM", "xterm")))
}

#[test]
fn a_terminal_shows_a_bar_for_the_disc_and_one_for_the_whole_and_nothing_stays_of_them() {
    let (world, bundle) = sender();
    bundler(&world, &["split", bundle.to_str().unwrap(), "--media", "20MB", "--out", "discs"])
        .output()
        .unwrap();
    let places = (1..=4).map(|number| format!("discs/disc-{number:03}")).collect::<Vec<_>>().join(" ");
    let Some(seen) = on_a_terminal(&world, &format!("verify {places}")) else { return };
    let bar = |name: &str, of: &str| seen.lines().any(|line| line.contains(name) && line.contains(of));
    assert!(bar("part 2 of 4", "MiB/18.") && bar("verifying", "/64."), "{seen:?}");
    let last = seen.rsplit("\u{1b}[2K").next().unwrap();
    assert!(!last.contains("part ") && last.contains("signature"), "{seen:?}");
    let silent = on_a_terminal(&world, &format!("--no-progress verify {places}")).unwrap();
    assert!(!silent.contains('\u{1b}') && silent.contains("signature"), "{silent:?}");
}
