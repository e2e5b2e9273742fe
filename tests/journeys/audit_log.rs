//! The audit log as evidence: the site's own key, checkpoints that are carried away, what they find, and the
//! log in other forms.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    missing_docs
)]

mod onsite;

use std::os::unix::fs::PermissionsExt;

use e2e::{Ran, World};
use edge::Exit;
use installer::audit::{self, AuditLog, about};
use installer::site::Site;
use manifests::audit::{Entry, Event, Head, Outcome};
use manifests::checkpoint::KEY_EVENT;
use manifests::{Digest, Scheme};
use onsite::{build, output, program, says};
use serde_json::Value;
use testkit::real_part;

const LOG: &str = "site/audit/audit.jsonl";

/// A site to which bundle 1 was applied; bundle 2 is there as well.
fn site() -> World {
    let world = World::new();
    world.trust();
    for sequence in [1, 2] {
        world.write("note", sequence.to_string());
        let version = sequence.to_string();
        build(
            &world,
            &version,
            sequence,
            "files: [{source: note, dest: /etc/demo}]\n",
            &format!("{sequence}.tar"),
        );
    }
    world.installer(&["apply", "1.tar", "--yes"]).ok();
    world
}

fn run(world: &World, line: &str) -> Ran {
    world.installer(&line.split(' ').collect::<Vec<_>>())
}

fn json(world: &World, line: &str) -> Value {
    run(world, &format!("--output json {line}")).ok().json()
}

fn refused(world: &World, line: &str, words: &[&str]) {
    says(&run(world, line).expect_exit(Exit::Refused), words);
}

fn entries(world: &World) -> Vec<Entry> {
    let mut entries = Vec::new();
    audit::read(&world.path(LOG), &mut |entry| entries.push(entry)).unwrap();
    entries
}

/// The numbers of lines of which there is a checkpoint.
fn checkpoints(world: &World) -> Vec<u64> {
    Site::at(world.path("site")).checkpoints().unwrap()
}

fn keyid(world: &World) -> String {
    json(world, "trust key show")["site_key"]["keyid"].as_str().unwrap().to_string()
}

/// Carries a checkpoint and the public key away from the site, to `away/`.
fn carry(world: &World) {
    std::fs::create_dir_all(world.path("away")).unwrap();
    run(world, "audit checkpoint --out away/head.json").ok();
    std::fs::copy(world.path("site/key/1.pub.pem"), world.path("away/site.pub.pem")).unwrap();
}

const COMPARE: &str = "audit verify --checkpoint away/head.json --public-key away/site.pub.pem";

/// Writes the whole log anew, as whoever knows how the chain is made can, with these changes.
fn write_anew(world: &World, change: impl Fn(&mut Vec<Event>)) {
    let mut events: Vec<Event> = entries(world).into_iter().map(|entry| entry.event).collect();
    change(&mut events);
    let (mut head, mut log) = (Head::default(), Vec::new());
    for event in events {
        let (line, next) = head.append(event).unwrap();
        log.extend(line);
        head = next;
    }
    world.write(LOG, log);
}

/// Cuts the log to so many lines.
fn cut(world: &World, lines: usize) {
    let log = std::fs::read_to_string(world.path(LOG)).unwrap();
    world.write(LOG, log.split_inclusive('\n').take(lines).collect::<String>());
}

/// Every command that judges anything by the site's state.
const JUDGING: [&str; 9] = [
    "verify 2.tar",
    "inspect 2.tar",
    "plan 2.tar",
    "apply 2.tar",
    "apply 2.tar --yes",
    "rollback --yes",
    "trust show",
    "trust key show",
    "audit checkpoint",
];

fn every_command_refuses(world: &World, words: &str) {
    for line in JUDGING {
        refused(world, line, &[words, "hint: stop"]);
    }
    refused(world, "audit verify", &[words]);
    let log = entries(world);
    let last = &log.last().unwrap().event;
    assert_eq!((last.event.as_str(), last.outcome), ("site.check", Outcome::Refused));
}

// ---- the key ------------------------------------------------------------------------------------------

#[test]
fn a_site_has_a_key_from_its_first_day_closed_to_others_and_shown_by_its_id() {
    let world = World::new();
    world.trust();
    let mode = world.path("site/key/1.key.pem").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let id = keyid(&world);
    for line in ["trust show", "trust key show", "status"] {
        assert!(run(&world, line).ok().stdout.contains(&id), "{line}");
    }
    assert_eq!(json(&world, "status")["site_key"]["keyid"], id);
    assert_eq!(json(&world, "trust show")["site_key"]["scheme"], "ed25519");
    let pem = json(&world, "trust key show")["public_key"].as_str().unwrap().to_string();
    assert_eq!(std::fs::read_to_string(world.path("site/key/1.pub.pem")).unwrap(), pem);
    let key: Vec<Event> = entries(&world).into_iter().map(|entry| entry.event).collect();
    let of_key: Vec<_> = key.iter().filter(|event| event.event == KEY_EVENT).collect();
    assert_eq!(
        of_key.iter().map(|event| event.outcome).collect::<Vec<_>>(),
        [Outcome::Intent, Outcome::Done]
    );
    assert!(of_key.iter().all(|event| event.about["keyid"] == id));
    if let Some(openssl) = real_part("openssl") {
        let mut command = program(&world, openssl, &["pkey", "-in", "site/key/1.key.pem", "-pubout"]);
        assert_eq!(output(&mut command), pem);
    }
}

#[test]
fn a_second_key_is_never_made_over_the_first() {
    let world = site();
    let before = world.snapshot("site/key");
    refused(&world, "trust key new", &["has a key already", "trust key rotate"]);
    refused(&world, "trust key new --scheme ecdsa-p384-sha384", &["has a key already"]);
    let _ = run(&world, "trust key rotate --lost --reason x").expect_exit(Exit::Usage);
    assert_eq!(world.snapshot("site/key"), before);
}

/// A site as `trust init` made it before sites had keys.
fn older_site(sender: &World) -> World {
    let world = World::new();
    let (env, _, _) = world.env("installer", &[]);
    let (site, path) = (Site::at(world.path("site")), sender.path("root.json"));
    let file = layout::signed_file::read(&path, 1 << 20).unwrap();
    let root = site.prepare(&path, &file, Digest::of(&file.bytes)).unwrap();
    let log = AuditLog::of(&site, &env);
    for outcome in [Outcome::Intent, Outcome::Done] {
        let facts = [("root", root.fingerprint().to_string()), ("version", "1".to_string())];
        log.append(&env, "trust.init", outcome, about(facts)).unwrap();
    }
    site.keep_root(1, &file).unwrap();
    world
}

#[test]
fn an_older_site_gets_its_key_with_the_next_change_or_when_somebody_asks_for_one() {
    let sender = site();
    let world = older_site(&sender);
    let bundle = sender.path("1.tar");
    let bundle = bundle.to_str().unwrap();
    run(&world, &format!("verify {bundle}")).ok();
    assert!(run(&world, "status").ok().stdout.contains("none yet"));
    assert!(run(&world, "audit verify").ok().stdout.contains("signed: nothing yet"));
    run(&world, &format!("apply {bundle} --yes")).ok();
    assert_eq!(json(&world, "audit verify")["unsigned"], 0);

    let world = older_site(&sender);
    run(&world, "trust key new --scheme ecdsa-p256-sha256").ok();
    assert_eq!(json(&world, "status")["site_key"]["scheme"], "ecdsa-p256-sha256");
    assert_eq!(json(&world, "audit verify")["unsigned"], 0);
    let before = keyid(&world);
    run(&world, &format!("apply {bundle} --yes")).ok();
    assert_eq!(keyid(&world), before);
}

#[test]
fn a_key_that_is_open_to_others_or_not_ours_stops_an_apply_before_the_first_step() {
    let world = site();
    let (private, public) = (world.path("site/key/1.key.pem"), world.path("site/key/1.pub.pem"));
    let pem = std::fs::read(&private).unwrap();
    std::fs::set_permissions(&private, PermissionsExt::from_mode(0o644)).unwrap();
    refused(&world, "apply 2.tar --yes", &["open to others (mode 0644)", "chmod 600"]);
    std::fs::set_permissions(&private, PermissionsExt::from_mode(0o600)).unwrap();
    let other = World::new();
    other.trust();
    std::fs::copy(other.path("site/key/1.key.pem"), &private).unwrap();
    refused(&world, "apply 2.tar --yes", &["not the private half"]);
    std::fs::remove_file(&private).unwrap();
    refused(&world, "apply 2.tar --yes", &["1.key.pem: it is gone", "trust key rotate --lost"]);
    // Both halves are another site's: the log knows better.
    std::fs::copy(other.path("site/key/1.key.pem"), &private).unwrap();
    let ours = std::fs::read(&public).unwrap();
    std::fs::copy(other.path("site/key/1.pub.pem"), &public).unwrap();
    refused(&world, "apply 2.tar --yes", &["signed with another key"]);
    std::fs::remove_dir_all(world.path("site/audit/checkpoints")).unwrap();
    refused(&world, "apply 2.tar --yes", &["the site's key 1", "was made", "it is"]);
    std::fs::remove_dir_all(world.path("site/key")).unwrap();
    refused(&world, "verify 2.tar", &["the site's key 1", "there is none"]);
    world.write("site/key/1.pub.pem", ours);
    world.write("site/key/1.key.pem", pem);
    std::fs::set_permissions(&private, PermissionsExt::from_mode(0o600)).unwrap();
    run(&world, "apply 2.tar --yes").ok();
}

#[test]
fn the_power_may_go_at_any_point_while_the_key_is_made() {
    let sender = site();
    let bundle = sender.path("1.tar");
    let apply = format!("apply {} --yes", bundle.to_str().unwrap());
    for stage in ["announced", "private half", "both halves"] {
        let world = older_site(&sender);
        let (env, _, _) = world.env("installer", &[]);
        let site = Site::at(world.path("site"));
        let key = site.draw_key(Scheme::Ed25519).unwrap();
        let facts = about([("number", "1".to_string()), ("keyid", key.id().to_string())]);
        AuditLog::of(&site, &env).append(&env, KEY_EVENT, Outcome::Intent, facts).unwrap();
        if stage != "announced" {
            site.keep_key(&key).unwrap();
        }
        if stage == "private half" {
            std::fs::remove_file(world.path("site/key/1.pub.pem")).unwrap();
        }
        run(&world, &apply).ok();
        run(&world, "audit verify").ok();
        assert_eq!(keyid(&world) == key.id().to_string(), stage == "both halves", "{stage}");
        let done = entries(&world).iter().filter(|entry| entry.event.event == KEY_EVENT).count();
        assert_eq!(done, if stage == "both halves" { 2 } else { 3 }, "{stage}");
    }
}

// ---- checkpoints ----------------------------------------------------------------------------------------

#[test]
fn every_change_ends_with_a_checkpoint_however_it_ends_and_looking_makes_none() {
    let world = site();
    let mut known = checkpoints(&world);
    assert_eq!(known.last().copied(), Some(entries(&world).len() as u64));
    for line in ["verify 2.tar", "inspect 2.tar", "plan 2.tar", "status", "audit verify", "trust show"] {
        run(&world, line).ok();
        assert_eq!(checkpoints(&world), known, "{line}");
    }
    for (line, exit) in [
        ("apply 2.tar --yes", Exit::Done),
        ("apply 1.tar --yes", Exit::Refused),
        ("apply nothing.tar --yes", Exit::Damaged),
        ("rollback --yes", Exit::Done),
        ("trust update root.json", Exit::Done),
        ("audit checkpoint", Exit::Done),
    ] {
        run(&world, "inspect 2.tar").ok();
        let _ = run(&world, line).expect_exit(exit);
        let now = checkpoints(&world);
        assert_eq!(now.last().copied(), Some(entries(&world).len() as u64), "{line}");
        assert_eq!(now.len(), known.len() + 1, "{line}");
        known = now;
    }
    let verdict = json(&world, "audit verify");
    assert_eq!((&verdict["unsigned"], &verdict["checkpoints"]), (&0.into(), &known.len().into()));
    run(&world, "inspect 2.tar").ok();
    let shown = run(&world, "audit verify").ok().stdout;
    let last = entries(&world).len() - 1;
    assert!(shown.contains(&format!("not signed yet: entry {last}\n")), "{shown}");
    assert!(shown.contains(&format!("signed: entries 0 to {}, on {}", last - 1, e2e::NOW)), "{shown}");
}

#[test]
fn a_log_that_is_signed_already_is_not_signed_again() {
    let world = site();
    let before = world.snapshot("site/audit");
    let first = json(&world, "audit checkpoint");
    assert_eq!(json(&world, "audit checkpoint"), first);
    let mut after = world.snapshot("site/audit");
    after.retain(|path, _| before.contains_key(path));
    assert_eq!(after, before);
}

#[test]
fn openssl_alone_verifies_a_checkpoint_of_each_scheme() {
    let Some(openssl) = real_part("openssl") else { return };
    let sender = site();
    for (scheme, digest) in
        [("ed25519", None), ("ecdsa-p384-sha384", Some("sha384")), ("ecdsa-p256-sha256", Some("sha256"))]
    {
        let world = older_site(&sender);
        run(&world, &format!("trust key new --scheme {scheme}")).ok();
        let made = json(&world, "audit checkpoint --out head.json");
        let signature = made["signature"].as_str().unwrap();
        let mut args = vec!["pkeyutl", "-verify", "-pubin", "-inkey", "site/key/1.pub.pem", "-rawin"];
        args.extend(digest.iter().flat_map(|digest| ["-digest", digest]));
        args.extend(["-in", "head.json", "-sigfile", signature]);
        let said = output(&mut program(&world, &openssl, &args));
        assert!(said.contains("Signature Verified Successfully"), "{scheme}: {said}");
        let text = std::fs::read_to_string(world.path("head.json")).unwrap();
        world.write("head.json", text.replace("\"entries\":", "\"entries\":1"));
        assert!(!program(&world, &openssl, &args).output().unwrap().status.success(), "{scheme}");
    }
}

#[test]
fn a_checkpoint_that_is_carried_away_is_written_beside_nothing_that_is_there() {
    let world = site();
    carry(&world);
    let before = world.snapshot("away");
    let again = run(&world, "audit checkpoint --out away/head.json").expect_exit(Exit::Unreachable);
    says(&again, &["head.json", "exists"]);
    std::fs::remove_file(world.path("away/head.json")).unwrap();
    let _ = run(&world, "audit checkpoint --out away/head.json").expect_exit(Exit::Unreachable);
    let mut expected = before;
    expected.remove(&world.path("away/head.json"));
    assert_eq!(world.snapshot("away"), expected);
}

#[test]
fn a_log_that_has_grown_since_agrees_with_a_checkpoint_from_elsewhere() {
    let world = site();
    carry(&world);
    run(&world, "apply 2.tar --yes").ok();
    let shown = run(&world, COMPARE).ok().stdout;
    assert!(shown.contains("away/head.json agrees") && shown.contains("the given key"), "{shown}");
    let own = run(&world, "audit verify --checkpoint away/head.json").ok().stdout;
    assert!(own.contains("the site's own copy of the key"), "{own}");
    let verdict = json(&world, COMPARE);
    assert!(verdict["compared"]["entries"].as_u64() < verdict["head"]["entries"].as_u64());
    let _ = run(&world, "audit verify --public-key away/site.pub.pem").expect_exit(Exit::Usage);
}

#[test]
fn refuses_a_log_that_is_shorter_than_a_checkpoint_from_elsewhere() {
    let world = site();
    run(&world, "inspect 2.tar").ok();
    carry(&world);
    // Cut together with what the site itself has kept of it.
    let entries = entries(&world).len();
    std::fs::remove_file(world.path(&format!("site/audit/checkpoints/{entries}.checkpoint.json"))).unwrap();
    cut(&world, entries - 1);
    run(&world, "audit verify").ok();
    run(&world, "verify 2.tar").ok();
    cut(&world, entries - 1);
    let words = format!("the log was cut: it has {} entries, and {entries} were signed", entries - 1);
    refused(&world, COMPARE, &[&words, "away/head.json", "hint: stop"]);
}

#[test]
fn refuses_a_log_that_root_has_written_anew_and_signed_when_a_checkpoint_is_elsewhere() {
    let world = site();
    carry(&world);
    let last = entries(&world).len() - 1;
    write_anew(&world, |events| events[last].actor.user = "somebody else".to_string());
    std::fs::remove_dir_all(world.path("site/audit/checkpoints")).unwrap();
    run(&world, "audit checkpoint").ok();
    run(&world, "audit verify").ok();
    refused(&world, COMPARE, &["written anew", &format!("line {}", last + 1)]);
    write_anew(&world, |events| events[0].actor.user = "somebody else".to_string());
    std::fs::remove_dir_all(world.path("site/audit/checkpoints")).unwrap();
    run(&world, "audit checkpoint").ok();
    refused(&world, COMPARE, &["the log is another one"]);
}

#[test]
fn refuses_a_disk_that_was_restored_as_a_whole_when_a_checkpoint_is_elsewhere() {
    let world = site();
    let copy = |from: &str, to: &str| {
        let _ = std::fs::remove_dir_all(world.path(to));
        output(&mut program(&world, "cp", &["-a", from, to]));
    };
    copy("site", "backup");
    run(&world, "apply 2.tar --yes").ok();
    carry(&world);
    copy("backup", "site");
    // The restored disk agrees with itself.
    run(&world, "audit verify").ok();
    run(&world, "verify 2.tar").ok();
    refused(&world, COMPARE, &["the log was cut"]);
}

#[test]
fn refuses_a_checkpoint_of_another_site() {
    let (world, other) = (site(), site());
    for (from, to) in [(&other, &world), (&world, &world)] {
        carry(from);
        let _ = std::fs::remove_dir_all(to.path("theirs"));
        output(&mut program(&world, "cp", &["-r", from.path("away").to_str().unwrap(), "theirs"]));
        let line = "audit verify --checkpoint theirs/head.json --public-key theirs/site.pub.pem";
        if std::ptr::eq(from, to) {
            run(&world, line).ok();
        } else {
            refused(&world, line, &["the log is another one"]);
        }
        let _ = std::fs::remove_dir_all(world.path("theirs"));
    }
}

#[test]
fn refuses_a_checkpoint_of_another_key() {
    let (world, other) = (site(), site());
    carry(&other);
    output(&mut program(&world, "cp", &["-r", other.path("away").to_str().unwrap(), "away"]));
    std::fs::copy(world.path("site/key/1.pub.pem"), world.path("away/site.pub.pem")).unwrap();
    let id = keyid(&other);
    for line in [COMPARE, "audit verify --checkpoint away/head.json"] {
        refused(&world, line, &["signed with another key", &id, "trust key show"]);
    }
}

#[test]
fn refuses_a_checkpoint_with_a_wrong_signature_or_none() {
    let world = site();
    carry(&world);
    let path = world.path("away/head.json");
    let honest = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, honest.replace("\"time\":\"2026", "\"time\":\"2025")).unwrap();
    refused(&world, COMPARE, &["away/head.json", "the signature of the key", "is wrong"]);
    std::fs::write(&path, honest).unwrap();
    run(&world, COMPARE).ok();
    std::fs::remove_dir_all(world.path("away/head.json.sigs")).unwrap();
    refused(&world, COMPARE, &["nobody has signed it"]);
}

#[test]
fn every_command_refuses_a_log_that_is_behind_what_the_site_has_signed() {
    let world = site();
    let lines = entries(&world).len();
    cut(&world, lines - 1);
    let words = format!("{lines} were signed");
    refused(&world, "audit verify", &["the log was cut", &words]);
    // Each refusal is a line of its own, so in time the log is as long as it was; it is not the same log.
    refused(&world, "verify 2.tar", &["the log was cut", &words]);
    cut(&world, lines - 2);
    every_command_refuses(&world, "does not agree with");
    refused(&world, "audit verify", &["the log was written anew"]);
}

#[test]
fn every_command_refuses_a_log_whose_signed_lines_were_written_anew() {
    let world = site();
    write_anew(&world, |events| {
        let actor = |event: &mut Event| event.actor.user = "somebody else".to_string();
        events.iter_mut().skip(1).for_each(actor);
    });
    every_command_refuses(&world, "the log was written anew");
    write_anew(&world, |events| events[0].actor.user = "somebody else".to_string());
    every_command_refuses(&world, "the log is another one");
}

#[test]
fn a_checkpoint_of_ours_that_was_changed_or_moved_is_refused() {
    let world = site();
    let lines = entries(&world).len();
    let path = world.path(&format!("site/audit/checkpoints/{lines}.checkpoint.json"));
    let honest = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, honest.replace("\"entries\":", "\"entries\":1")).unwrap();
    every_command_refuses(&world, "is wrong");
    std::fs::write(&path, honest).unwrap();
    // A later number in the name, so that a line that is gone is not missed.
    let moved = world.path("site/audit/checkpoints/99999.checkpoint.json");
    std::fs::rename(&path, &moved).unwrap();
    std::fs::rename(format!("{}.sigs", path.display()), format!("{}.sigs", moved.display())).unwrap();
    refused(&world, "verify 2.tar", &["another number of lines than its name says"]);
}

#[test]
fn nothing_is_signed_that_does_not_agree_with_what_was_signed_before() {
    let world = site();
    write_anew(&world, |events| events[3].actor.user = "somebody else".to_string());
    let before = world.snapshot("site/audit/checkpoints");
    refused(&world, "audit checkpoint", &["written anew"]);
    refused(&world, "apply 2.tar --yes", &["written anew"]);
    assert_eq!(world.snapshot("site/audit/checkpoints"), before);
}

// ---- another key ----------------------------------------------------------------------------------------

#[test]
fn a_key_is_replaced_by_one_that_it_has_signed_for_and_earlier_checkpoints_still_hold() {
    let world = site();
    carry(&world);
    let first = keyid(&world);
    let shown = run(&world, "trust key rotate --scheme ecdsa-p384-sha384").ok().stdout;
    let second = keyid(&world);
    assert!(shown.contains(&first) && shown.contains(&second) && first != second, "{shown}");
    assert!(!world.path("site/key/1.key.pem").exists() && world.path("site/key/1.pub.pem").exists());
    let of_key: Vec<Event> = entries(&world)
        .into_iter()
        .map(|entry| entry.event)
        .filter(|event| event.event == KEY_EVENT && event.about["number"] == "2")
        .collect();
    assert_eq!(of_key.len(), 2);
    assert!(of_key.iter().all(|event| event.about["keyid"] == second && event.about["previous"] == first));

    run(&world, "apply 2.tar --yes").ok();
    run(&world, COMPARE).ok();
    assert_eq!(json(&world, "audit verify")["signed"]["keyid"], second);
    carry_new(&world);
    run(&world, "audit verify --checkpoint away/new.json --public-key site/key/2.pub.pem").ok();
    refused(
        &world,
        "audit verify --checkpoint away/new.json --public-key away/site.pub.pem",
        &["signed with another key"],
    );
}

fn carry_new(world: &World) {
    run(world, "audit checkpoint --out away/new.json").ok();
}

#[test]
fn the_auditor_follows_from_the_key_on_paper_to_the_present_one_with_public_tools() {
    let Some(openssl) = real_part("openssl") else { return };
    let world = site();
    run(&world, "trust key rotate").ok();
    let announced = entries(&world)
        .into_iter()
        .find(|entry| entry.event.event == KEY_EVENT && entry.event.about["number"] == "2")
        .unwrap();
    let endorsement = format!("site/audit/checkpoints/{}.checkpoint.json", announced.seq + 1);
    let signature = format!("{endorsement}.sigs/{}.sig", announced.event.about["previous"]);
    let key = "site/key/1.pub.pem";
    let args = [
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        key,
        "-rawin",
        "-in",
        &endorsement,
        "-sigfile",
        &signature,
    ];
    output(&mut program(&world, openssl, &args));
}

#[test]
fn refuses_a_new_key_that_the_old_one_has_not_signed_for_and_a_retired_one_that_signs() {
    let world = site();
    let retired = std::fs::read(world.path("site/key/1.key.pem")).unwrap();
    run(&world, "trust key rotate").ok();
    run(&world, "audit verify").ok();
    let announced = entries(&world)
        .into_iter()
        .find(|entry| entry.event.event == KEY_EVENT && entry.event.about["number"] == "2")
        .unwrap();
    let endorsement = world.path(&format!("site/audit/checkpoints/{}.checkpoint.json", announced.seq + 1));
    let aside = world.path("aside");
    std::fs::rename(&endorsement, &aside).unwrap();
    refused(&world, "audit verify", &["was never signed with"]);
    std::fs::rename(&aside, &endorsement).unwrap();
    run(&world, "audit verify").ok();

    // A thief has the old key and signs a log of their own making with it.
    run(&world, "inspect 2.tar").ok();
    let made = json(&world, "audit checkpoint");
    let document = made["checkpoint"].clone();
    let old = manifests::SecretKey::from_pem(std::str::from_utf8(&retired).unwrap()).unwrap();
    let id = old.public().unwrap().id().to_string();
    let mut forged = document;
    forged["keyid"] = id.clone().into();
    let bytes = manifests::canonical::to_canonical(&forged).unwrap();
    world.write("forged.json", &bytes);
    world.write(&format!("forged.json.sigs/{id}.sig"), old.sign(&bytes).unwrap());
    refused(&world, "audit verify --checkpoint forged.json", &["had been replaced by then"]);
}

#[test]
fn a_lost_key_is_replaced_with_a_reason_and_every_auditor_is_told() {
    let world = site();
    let first = keyid(&world);
    std::fs::remove_file(world.path("site/key/1.key.pem")).unwrap();
    refused(&world, "apply 2.tar --yes", &["it is gone", "rotate --lost --reason"]);
    let _ = run(&world, "trust key rotate --lost").expect_exit(Exit::Usage);
    refused(&world, "trust key rotate", &["it is gone"]);
    world.installer(&["trust", "key", "rotate", "--lost", "--reason", "the disk was bad"]).ok();
    run(&world, "apply 2.tar --yes").ok();
    let shown = run(&world, "audit verify").ok().stdout;
    let second = keyid(&world);
    assert!(shown.contains(&format!("nobody has signed for the key {second}")), "{shown}");
    assert_ne!(first, second);
    let lost = entries(&world)
        .iter()
        .filter(|entry| entry.event.about.get("lost").is_some_and(|why| why == "the disk was bad"))
        .count();
    assert_eq!(lost, 2);
}

// ---- other forms ----------------------------------------------------------------------------------------

/// A site whose log has what is hard to write: names from a hostile medium, a formula, many words.
fn eventful() -> World {
    let mut world = site();
    world.vars.insert("USER".into(), "=HYPERLINK(1)".into());
    world.vars.insert("SUDO_USER".into(), "@kim".into());
    for name in ["=cmd|' /C calc'!A0", "a,b\"c];\\\u{1b}[2J", "-x", "\u{202e}gnp", "long"] {
        let name = if name == "long" { "l".repeat(200) } else { name.to_string() };
        world.write(&name, "no bundle");
        let _ = world.installer(&["verify", "--", &name]).expect_exit(Exit::Damaged);
    }
    world
}

#[test]
fn json_lines_are_the_bytes_of_the_log_and_the_auditors_loop_takes_them() {
    let world = eventful();
    let log = std::fs::read_to_string(world.path(LOG)).unwrap();
    assert_eq!(run(&world, "audit export --format jsonl").ok().stdout, log);
    let said = run(&world, "audit export --format jsonl --out log.jsonl").ok().stdout;
    let count = entries(&world).len();
    assert!(said.contains(&format!("{count} of {count} entries")), "{said}");
    assert_eq!(std::fs::read_to_string(world.path("log.jsonl")).unwrap(), log);
    assert_eq!(world.path("log.jsonl").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let page = include_str!("../../docs/auditor.md");
    let (_, rest) = page.split_once("```sh file=check-audit.sh\n").unwrap();
    world.write("check-audit.sh", rest.split_once("```\n").unwrap().0);
    let said = output(&mut program(&world, "sh", &["check-audit.sh", "log.jsonl"]));
    assert!(said.contains(&format!("{count} lines")), "{said}");
}

#[test]
fn a_part_of_the_log_is_what_was_asked_for() {
    let mut world = site();
    world.now = "2026-11-21T09:00:00Z".parse().unwrap();
    run(&world, "inspect 2.tar").ok();
    let log = std::fs::read_to_string(world.path(LOG)).unwrap();
    let lines: Vec<&str> = log.split_inclusive('\n').collect();
    let last = lines.len() - 1;
    let export = |rest: &str| run(&world, &format!("audit export --format jsonl {rest}")).ok().stdout;
    assert_eq!(export("--from 2 --to 4"), lines[2..=4].concat());
    assert_eq!(export("--from 3"), lines[3..].concat());
    assert_eq!(export("--to 0"), lines[0]);
    assert_eq!(export("--since 2026-11-21"), lines[last]);
    assert_eq!(export("--since 2026-11-21T09:00:00Z"), lines[last]);
    assert_eq!(export("--since 2026-11-21T09:00:01Z"), "");
    assert_eq!(export(&format!("--from {}", last + 1)), "");
    for wrong in ["--from 4 --to 3", "--since yesterday", "--framing octet-counting"] {
        let _ = run(&world, &format!("audit export --format jsonl {wrong}")).expect_exit(Exit::Usage);
    }
}

#[test]
fn a_spreadsheets_parser_reads_every_row_and_no_cell_is_a_formula() {
    let Some(python) = real_part("python3") else { return };
    let world = eventful();
    run(&world, "audit export --format csv --out log.csv").ok();
    let code = "import csv, json, sys\nrows = list(csv.reader(open('log.csv', newline='', encoding='utf-8'), strict=True))\njson.dump(rows, sys.stdout)";
    let rows = output(&mut program(&world, python, &["-c", code]));
    let rows: Vec<Vec<String>> = serde_json::from_str(&rows).unwrap();
    let (columns, rows) = rows.split_first().unwrap();
    let entries = entries(&world);
    assert_eq!(rows.len(), entries.len());
    for (row, entry) in rows.iter().zip(&entries) {
        assert_eq!(row.len(), columns.len());
        assert!(!row.iter().any(|cell| cell.starts_with(['=', '+', '-', '@', '\t', '\r'])), "{row:?}");
        let cell = |name: &str| {
            let cell = &row[columns.iter().position(|column| column == name).unwrap()];
            cell.strip_prefix('\'').unwrap_or(cell).to_string()
        };
        assert_eq!(cell("seq"), entry.seq.to_string());
        assert_eq!(
            (cell("event"), cell("outcome")),
            (entry.event.event.clone(), entry.event.outcome.to_string())
        );
        assert_eq!(cell("prev"), entry.prev);
        let about: std::collections::BTreeMap<String, String> = serde_json::from_str(&cell("about")).unwrap();
        assert_eq!(about, entry.event.about);
    }
}

/// A strict reader of RFC 5424: header, parameters by element, message.
fn syslog(message: &str) -> (Vec<String>, Vec<(String, String)>, String) {
    assert!(message.chars().all(|character| matches!(character, ' '..='~')), "{message:?}");
    let mut header: Vec<String> = Vec::new();
    let mut rest = message;
    for _ in 0..6 {
        let (word, after) = rest.split_once(' ').unwrap();
        assert!(!word.is_empty(), "{message}");
        header.push(word.to_string());
        rest = after;
    }
    let mut parameters = Vec::new();
    while let Some(element) = rest.strip_prefix('[') {
        let end = element.find([' ', ']']).unwrap();
        let (id, mut after) = element.split_at(end);
        assert!(id.ends_with("@32473") && id.len() <= 32, "{id}");
        while let Some(parameter) = after.strip_prefix(' ') {
            let (name, value) = parameter.split_once("=\"").unwrap();
            assert!(!name.is_empty() && name.len() <= 32 && !name.contains([' ', ']', '"', '=']), "{name}");
            let (mut text, mut characters) = (String::new(), value.char_indices());
            let end = loop {
                match characters.next().unwrap() {
                    (_, '\\') => {
                        text.push(characters.next().map(|(_, c)| c).filter(|c| "\"\\]".contains(*c)).unwrap())
                    }
                    (_, ']') => panic!("a bracket that is not escaped: {message}"),
                    (at, '"') => break at,
                    (_, character) => text.push(character),
                }
            };
            parameters.push((format!("{id} {name}"), text));
            after = &value[end + 1..];
        }
        rest = after.strip_prefix(']').unwrap();
    }
    (header, parameters, rest.strip_prefix(' ').unwrap().to_string())
}

#[test]
fn a_strict_reader_of_syslog_takes_every_message_whichever_way_they_are_told_apart() {
    let world = eventful();
    let entries = entries(&world);
    let text = run(&world, "audit export --format syslog").ok().stdout;
    assert_eq!(text.lines().count(), entries.len());
    for (message, entry) in text.lines().zip(&entries) {
        let (header, parameters, last) = syslog(message);
        let expected = match entry.event.outcome {
            Outcome::Failed => "<107>1",
            Outcome::Refused | Outcome::Undone => "<108>1",
            Outcome::Done => "<109>1",
            Outcome::Intent => "<110>1",
        };
        assert_eq!(header, [expected, e2e::NOW, "testhost", "airlock", "-", &entry.event.event]);
        let value = |name: &str| parameters.iter().find(|(key, _)| key == name).unwrap().1.clone();
        assert_eq!(value("airlock@32473 seq"), entry.seq.to_string());
        for (key, text) in &entry.event.about {
            assert_eq!(value(&format!("about@32473 {key}")), *text);
        }
        assert!(last.starts_with(&entry.event.event), "{last}");
    }
    let counted = run(&world, "audit export --format syslog --framing octet-counting").ok().stdout;
    let (mut rest, mut found) = (counted.as_str(), Vec::new());
    while let Some((length, after)) = rest.split_once(' ') {
        let (message, next) = after.split_at(length.parse().unwrap());
        found.push(message);
        rest = next;
    }
    assert_eq!(found, text.lines().collect::<Vec<_>>());
}

#[test]
fn a_log_that_is_broken_cut_or_written_anew_is_not_exported_in_any_form() {
    let world = site();
    let honest = std::fs::read_to_string(world.path(LOG)).unwrap();
    let edited = honest.replacen("testhost", "otherhost", 1);
    let lines: Vec<&str> = honest.split_inclusive('\n').collect();
    let signed_away = lines[..lines.len() - 1].concat();
    let torn = honest[..honest.len() - 10].to_string();
    for (what, log) in [("edited", edited), ("cut", signed_away), ("torn", torn)] {
        world.write(LOG, log);
        for format in ["jsonl", "csv", "syslog"] {
            for out in ["", " --out out"] {
                let ran = run(&world, &format!("audit export --format {format}{out}"));
                let ran = ran.expect_exit(Exit::Refused);
                assert!(ran.stdout.is_empty() && !world.path("out").exists(), "{what}, {format}: {ran:?}");
            }
        }
    }
    world.write(LOG, honest);
    run(&world, "audit export --format csv --out out").ok();
}

#[test]
fn an_export_is_never_written_over_a_file() {
    let world = site();
    world.write("out", "mine");
    let ran = run(&world, "audit export --format csv --out out").expect_exit(Exit::Unreachable);
    says(&ran, &["out", "hint: an export is never overwritten"]);
    assert_eq!(std::fs::read(world.path("out")).unwrap(), b"mine");
}

#[test]
fn an_export_whose_reader_goes_away_is_no_failure() {
    let world = site();
    for format in ["jsonl", "csv", "syslog"] {
        let script = format!("\"$0\" --site site audit export --format {format} | head -c 10 >/dev/null");
        let mut command = program(&world, "sh", &["-c", &script, env!("CARGO_BIN_EXE_e2e-installer")]);
        let ran = command.output().unwrap();
        assert!(ran.status.success() && ran.stderr.is_empty(), "{ran:?}");
    }
}

// ---- looking --------------------------------------------------------------------------------------------

#[test]
fn the_log_is_shown_within_eighty_columns() {
    let world = eventful();
    let shown = run(&world, "audit show").ok().stdout;
    for line in shown.lines() {
        assert!(line.chars().count() <= 80, "{}: {line}", line.chars().count());
    }
    for entry in entries(&world) {
        assert!(shown.contains(&format!("{:>6}  {}", entry.seq, entry.event.time)), "{shown}");
    }
}

#[test]
fn the_log_is_shown_by_event_by_time_and_from_its_end() {
    let mut world = site();
    world.now = "2026-11-21T09:00:00Z".parse().unwrap();
    run(&world, "inspect 2.tar").ok();
    let shown = |filter: &str| -> Vec<String> {
        let log = json(&world, &format!("audit show {filter}"));
        let entries = log["entries"].as_array().unwrap().clone();
        entries.iter().map(|entry| entry["event"].as_str().unwrap().to_string()).collect()
    };
    let all: Vec<String> = entries(&world).into_iter().map(|entry| entry.event.event).collect();
    assert_eq!(shown("--last 3"), all[all.len() - 3..]);
    let steps = shown("--event apply");
    assert!(steps.contains(&"apply".to_string()) && steps.contains(&"apply.step".to_string()));
    assert!(steps.iter().all(|event| event == "apply" || event.starts_with("apply.")), "{steps:?}");
    assert!(shown("--event apply.step").iter().all(|event| event == "apply.step"));
    assert_eq!(shown("--event app"), Vec::<String>::new());
    assert_eq!(shown("--event inspect --event admit"), ["admit", "inspect"]);
    assert_eq!(shown("--since 2026-11-21"), ["inspect"]);
    assert_eq!(shown("--event apply --last 1"), ["apply"]);
    assert_eq!(shown("--event apply --since 2026-11-21"), Vec::<String>::new());
}

#[test]
fn an_event_of_any_kind_finds_its_place_in_the_log() {
    let world = site();
    let (env, _, _) = world.env("installer", &[]);
    let log = AuditLog::of(&Site::at(world.path("site")), &env);
    let facts = about([("id", "disk/site-store".to_string()), ("reason", "the disk is new".to_string())]);
    log.append(&env, "preflight.override", Outcome::Done, facts).unwrap();
    let last = json(&world, "audit show --last 1")["entries"][0].clone();
    assert_eq!(
        (&last["event"], &last["about"]["reason"]),
        (&"preflight.override".into(), &"the disk is new".into())
    );
    // One that no reader would take is not written, and the log goes on.
    let endless = (0..100).map(|number| (number.to_string(), "x".repeat(2000))).collect();
    assert!(log.append(&env, "preflight.override", Outcome::Done, endless).is_err());
    run(&world, "audit verify").ok();
    run(&world, "audit show").ok();
}

#[test]
fn nothing_of_the_key_and_the_log_is_readable_by_others() {
    let world = site();
    let closed = |path: &str| world.path(path).metadata().unwrap().permissions().mode() & 0o077 == 0;
    for path in
        ["site/key", "site/audit", "site/audit/checkpoints", "site/audit/reserve", LOG, "site/key/1.key.pem"]
    {
        assert!(closed(path), "{path}");
    }
}
