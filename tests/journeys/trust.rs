//! Trust by the command line alone: ceremonies on several machines, rotation, revocation, going back,
//! clocks, and the script that an auditor gets.

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
use std::process::Command;

use e2e::{Ran, World};
use edge::Exit;
use serde_json::Value;

// ---- helpers -------------------------------------------------------------------------------------------

fn bundler(world: &World, line: &str) -> Ran {
    world.bundler(&line.split(' ').collect::<Vec<_>>())
}

fn installer(world: &World, line: &str) -> Ran {
    world.installer(&line.split(' ').collect::<Vec<_>>())
}

fn json(world: &World, line: &str) -> Value {
    bundler(world, &format!("--output json {line}")).ok().json()
}

fn keys(world: &World, names: &str) {
    for name in names.split(' ') {
        bundler(world, &format!("key new --name {name} --out keys")).ok();
    }
}

fn keyid(world: &World, name: &str) -> String {
    let pem = std::fs::read_to_string(world.path(&format!("keys/{name}.pub.pem"))).unwrap();
    manifests::PublicKey::from_pem(&pem).unwrap().id().to_string()
}

/// A publisher with two root keys and one release key, and a site that trusts it.
fn publisher() -> World {
    let world = World::new();
    keys(&world, "alice bob rel");
    let made = json(
        &world,
        "trust new --publisher acme --release-key keys/rel.pub.pem --root-key keys/alice.pub.pem --root-key keys/bob.pub.pem --root-threshold 2 --sign keys/alice.key.pem --sign keys/bob.key.pem --out trust/1.root.json",
    );
    assert_eq!(made["complete"], true);
    let fingerprint = made["fingerprint"].as_str().unwrap();
    world.installer(&["trust", "init", "trust/1.root.json", "--expect-sha256", fingerprint]).ok();
    world
}

/// Builds a bundle with one file whose content is its version.
fn build(world: &World, version: &str, sequence: u64, more: &str, keys: &str) -> String {
    world.spec(version, sequence, &format!("{more}files: [{{source: configs, dest: /etc/demo}}]\n"));
    world.write("configs/version", version);
    let _ = std::fs::remove_file(world.path("bundle.lock"));
    let archive = format!("{version}.tar");
    let signers: String = keys.split_whitespace().map(|key| format!(" --key keys/{key}.key.pem")).collect();
    bundler(world, &format!("build --out {archive}{signers}")).ok();
    archive
}

const BOTH: &str = "--sign keys/alice.key.pem --sign keys/bob.key.pem";

// ---- ceremonies ----------------------------------------------------------------------------------------

#[test]
fn a_root_is_signed_on_two_machines_and_no_site_takes_the_draft_in_between() {
    let world = World::new();
    keys(&world, "alice bob rel");
    let new = "trust new --publisher acme --release-key keys/rel.pub.pem --root-key keys/alice.pub.pem --root-key keys/bob.pub.pem --root-threshold 2 --sign keys/alice.key.pem --out root.json";
    let ran = bundler(&world, new).expect_exit(Exit::Usage);
    assert!(ran.stderr.contains("1 of 2 needed holders") && ran.stderr.contains("--draft"), "{}", ran.stderr);
    assert!(!world.path("root.json").exists());
    let draft = json(&world, &format!("{new} --draft"));
    assert_eq!(draft["complete"], false);
    assert!(draft["missing"].as_str().unwrap().contains("1 of 2 needed holders"));
    let fingerprint = draft["fingerprint"].as_str().unwrap().to_string();
    let take = format!("trust init root.json --expect-sha256 {fingerprint}");
    let _ = installer(&world, &take).expect_exit(Exit::Refused);

    // The other machine has the document and Bob's key, and shows him what he signs.
    let other = World::new();
    other.write("root.json", std::fs::read(world.path("root.json")).unwrap());
    other.write("bob.key.pem", std::fs::read(world.path("keys/bob.key.pem")).unwrap());
    std::fs::set_permissions(other.path("bob.key.pem"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let shown = bundler(&other, "trust show root.json").ok().stdout;
    assert!(shown.contains("nobody yet") && shown.contains("roots       2 of"), "{shown}");
    let ran = bundler(&other, "trust sign root.json --key bob.key.pem").ok();
    assert!(ran.stderr.contains("acme, root version 1"), "{}", ran.stderr);

    // His signature is a file, and comes back as one.
    let (bob, name) = (keyid(&world, "bob"), |id: &str| format!("root.json.sigs/{id}.sig"));
    std::fs::copy(other.path(&name(&bob)), world.path("bob.sig")).unwrap();
    let signed = json(&world, "trust sign root.json --signature bob.sig --public-key keys/bob.pub.pem");
    assert_eq!(
        (signed["complete"].as_bool(), signed["fingerprint"].as_str()),
        (Some(true), Some(&*fingerprint))
    );
    installer(&world, &take).ok();
}

#[test]
fn a_signature_that_is_wrong_or_by_a_stranger_is_not_added_to_a_root() {
    let world = publisher();
    keys(&world, "eve");
    let before = world.snapshot("trust");
    let ran = bundler(&world, "trust sign trust/1.root.json --key keys/eve.key.pem").expect_exit(Exit::Usage);
    assert!(ran.stderr.contains("in no role that signs this"), "{}", ran.stderr);
    world.write("bad.sig", [7; 64]);
    let wrong = "trust sign trust/1.root.json --signature bad.sig --public-key keys/bob.pub.pem";
    let _ = bundler(&world, wrong).expect_exit(Exit::Refused);
    world.write("other.json", "{}\n");
    let _ = bundler(&world, "trust sign other.json --key keys/bob.key.pem").expect_exit(Exit::Usage);
    assert_eq!(world.snapshot("trust"), before);
}

#[test]
fn roots_and_revocations_are_never_overwritten() {
    let world = publisher();
    let again = format!("trust rotate trust/1.root.json --new-epoch {BOTH} --out trust/1.root.json");
    let ran = bundler(&world, &again).expect_exit(Exit::Usage);
    assert!(ran.stderr.contains("is there already"), "{}", ran.stderr);
}

#[test]
fn a_key_in_two_roles_is_warned_of() {
    let world = World::new();
    keys(&world, "solo");
    let ran = bundler(&world, "trust new --publisher acme --release-key keys/solo.pub.pem --root-key keys/solo.pub.pem --sign keys/solo.key.pem --out root.json").ok();
    assert!(ran.stderr.contains("may sign bundles and roots"), "{}", ran.stderr);
}

#[test]
fn a_key_cannot_be_listed_for_two_schemes_or_two_people() {
    let world = World::new();
    keys(&world, "alice rel");
    let rel = std::fs::read_to_string(world.path("keys/rel.pub.pem")).unwrap();
    let rel = manifests::PublicKey::from_pem(&rel).unwrap();
    world.write("rel.pub", format!("{} rel\n", rel.openssh().unwrap()));
    world.write("other.pub.pem", rel.pem());
    let new = "trust new --publisher acme --release-key keys/rel.pub.pem --root-key keys/alice.pub.pem --sign keys/alice.key.pem --out root.json";
    for (second, words) in [("rel.pub", "two schemes"), ("other.pub.pem", "two holders")] {
        let ran = bundler(&world, &format!("{new} --release-key {second}")).expect_exit(Exit::Usage);
        assert!(ran.stderr.contains(words), "{}", ran.stderr);
        assert!(!world.path("root.json").exists());
    }
}

#[test]
fn an_encrypted_root_key_signs_a_root_with_its_passphrase() {
    let world = World::new();
    keys(&world, "rel");
    world.write("pass", "correct horse\n");
    std::fs::set_permissions(world.path("pass"), std::fs::Permissions::from_mode(0o600)).unwrap();
    bundler(&world, "key new --name alice --out keys --passphrase-file pass").ok();
    let new = "trust new --publisher acme --release-key keys/rel.pub.pem --root-key keys/alice.pub.pem --sign keys/alice.key.pem --out root.json";
    let ran = bundler(&world, new).expect_exit(Exit::Usage);
    assert!(ran.stderr.contains("--passphrase-file"), "{}", ran.stderr);
    assert_eq!(json(&world, &format!("{new} --passphrase-file pass"))["complete"], true);
}

#[test]
fn a_root_asks_for_one_signature_of_each_scheme() {
    let world = World::new();
    keys(&world, "alice ed");
    bundler(&world, "key new --name fips --out keys --scheme ecdsa-p384-sha384").ok();
    let made = json(
        &world,
        "trust new --publisher acme --release-clause 1:keys/ed.pub.pem --release-clause 1:keys/fips.pub.pem --root-key keys/alice.pub.pem --sign keys/alice.key.pem --out root.json",
    );
    let init = format!("trust init root.json --expect-sha256 {}", made["fingerprint"].as_str().unwrap());
    installer(&world, &init).ok();
    for (version, keys, exit) in
        [("1.0.0", "ed", Exit::Refused), ("1.0.1", "fips", Exit::Refused), ("1.0.2", "ed fips", Exit::Done)]
    {
        let archive = build(&world, version, 1, "", keys);
        let _ = installer(&world, &format!("verify {archive}")).expect_exit(exit);
    }
}

// ---- rotation and revocation ---------------------------------------------------------------------------

#[test]
fn a_compromise_is_played_through_with_the_command_line() {
    let world = publisher();
    installer(&world, &format!("apply {} --yes", build(&world, "1.0.0", 1, "", "rel"))).ok();
    let stolen = build(&world, "6.6.6", 666, "", "rel");
    keys(&world, "rel2");
    let rotated = json(
        &world,
        &format!(
            "trust rotate trust/1.root.json --remove-key keys/rel.pub.pem --add-release-key keys/rel2.pub.pem {BOTH} --out trust/2.root.json"
        ),
    );
    assert_eq!((rotated["version"].as_u64(), rotated["complete"].as_bool()), (Some(2), Some(true)));
    let old = keyid(&world, "rel");
    let revoked = format!(
        "trust revoke trust/2.root.json --key {old} --reason stolen {BOTH} --out trust/revocations.json"
    );
    assert_eq!(json(&world, &revoked)["version"], 1);

    // On the connected side already.
    let verify = format!("verify {stolen} --trust trust/1.root.json");
    bundler(&world, &verify).ok();
    // Revocations are judged by the root that they were made for.
    let _ =
        bundler(&world, &format!("{verify} --revocations trust/revocations.json")).expect_exit(Exit::Refused);
    let _ = bundler(&world, &format!("verify {stolen} --trust trust/2.root.json")).expect_exit(Exit::Refused);

    // The medium.
    let good = build(&world, "1.1.0", 2, "", "rel2");
    installer(&world, "trust update trust").ok();
    let ran = installer(&world, &format!("apply {stolen} --yes")).expect_exit(Exit::Refused);
    assert!(ran.stderr.contains("hint:"), "{}", ran.stderr);
    installer(&world, &format!("apply {good} --yes")).ok();
    let shown = installer(&world, "trust show").ok().stdout;
    assert!(shown.contains("stolen") && shown.contains("today"), "{shown}");
    installer(&world, "audit verify").ok();
}

#[test]
fn a_removed_root_key_signs_its_own_removal_and_nothing_after_it() {
    let world = publisher();
    keys(&world, "carol");
    let change = "trust rotate trust/1.root.json --remove-key keys/bob.pub.pem --add-root-key keys/carol.pub.pem --sign keys/alice.key.pem --sign keys/carol.key.pem";
    let ran = bundler(&world, &format!("{change} --out trust/2.root.json")).expect_exit(Exit::Usage);
    assert!(ran.stderr.contains("is not signed by the root role of version 1"), "{}", ran.stderr);
    bundler(&world, &format!("{change} --sign keys/bob.key.pem --out trust/2.root.json")).ok();
    let next = "trust rotate trust/2.root.json --new-epoch --sign keys/alice.key.pem";
    let ran = bundler(&world, &format!("{next} --sign keys/bob.key.pem --out trust/3.root.json"))
        .expect_exit(Exit::Usage);
    assert!(ran.stderr.contains("1 of 2 needed holders"), "{}", ran.stderr);
    bundler(&world, &format!("{next} --sign keys/carol.key.pem --out trust/3.root.json")).ok();
    installer(&world, "trust update trust").ok();
    let shown = installer(&world, "--output json trust show").ok().json();
    assert_eq!((shown["root"]["version"].as_u64(), shown["root"]["epoch"].as_u64()), (Some(3), Some(2)));
}

#[test]
fn an_outgoing_root_key_signs_a_draft_when_the_old_root_is_named() {
    let world = publisher();
    keys(&world, "carol");
    bundler(&world, "trust rotate trust/1.root.json --remove-key keys/bob.pub.pem --add-root-key keys/carol.pub.pem --sign keys/alice.key.pem --sign keys/carol.key.pem --draft --out trust/2.root.json").ok();
    let sign = "trust sign trust/2.root.json --key keys/bob.key.pem";
    let ran = bundler(&world, sign).expect_exit(Exit::Usage);
    assert!(ran.stderr.contains("--trust OLD-ROOT"), "{}", ran.stderr);
    assert_eq!(json(&world, &format!("{sign} --trust trust/1.root.json"))["complete"], true);
    installer(&world, "trust update trust").ok();
}

#[test]
fn a_rotation_that_no_bundle_could_satisfy_is_refused_when_it_is_made() {
    let world = publisher();
    for (change, words) in [
        ("--remove-key keys/rel.pub.pem", "needs more holders than its keys have"),
        ("--threshold 2", "needs more holders than its keys have"),
        ("--remove-key keys/bob.pub.pem", "needs more holders than its keys have"),
        ("--release-clause two:keys/rel.pub.pem", "is not N:PUB"),
    ] {
        let line = format!("trust rotate trust/1.root.json {change} {BOTH} --out trust/2.root.json");
        let ran = bundler(&world, &line).expect_exit(Exit::Usage);
        assert!(ran.stderr.contains(words), "{change}: {}", ran.stderr);
        assert!(!world.path("trust/2.root.json").exists());
    }
    keys(&world, "eve");
    let line = format!(
        "trust rotate trust/1.root.json --remove-key keys/eve.pub.pem {BOTH} --out trust/2.root.json"
    );
    let ran = bundler(&world, &line).expect_exit(Exit::Usage);
    assert!(ran.stderr.contains("has no key"), "{}", ran.stderr);
}

#[test]
fn a_second_list_of_revocations_keeps_what_the_first_one_had() {
    let world = publisher();
    let bad = build(&world, "1.0.0", 1, "", "rel");
    let good = build(&world, "1.1.0", 2, "", "rel");
    let old = build(&world, "0.9.0", 0, "", "rel");
    bundler(&world, &format!("trust revoke trust/1.root.json --bundle {bad} --reason flaw {BOTH} --out trust/r1.revocations.json")).ok();
    bundler(&world, &format!("trust revoke trust/1.root.json --after trust/r1.revocations.json --below demo=1.1 --reason old {BOTH} --out trust/r2.revocations.json")).ok();
    installer(&world, "trust update trust").ok();
    let ran = installer(&world, &format!("verify {bad}")).expect_exit(Exit::Refused);
    assert!(ran.stderr.contains("the bundle is revoked: flaw"), "{}", ran.stderr);
    let ran = installer(&world, &format!("verify {old}")).expect_exit(Exit::Refused);
    assert!(ran.stderr.contains("is below 1.1"), "{}", ran.stderr);
    installer(&world, &format!("verify {good}")).ok();
    let nothing = format!("trust revoke trust/1.root.json --reason x {BOTH} --out r.json");
    let _ = bundler(&world, &nothing).expect_exit(Exit::Usage);
    for below in ["demo", "demo=1", "demo=1.x", "Demo=1.1"] {
        let line = format!("trust revoke trust/1.root.json --below {below} --reason x {BOTH} --out r.json");
        let _ = bundler(&world, &line).expect_exit(Exit::Usage);
    }
}

#[test]
fn in_a_later_epoch_a_list_starts_from_the_last_one_or_says_that_it_starts_anew() {
    let world = publisher();
    let bad = build(&world, "1.0.0", 1, "", "rel");
    bundler(&world, &format!("trust revoke trust/1.root.json --bundle {bad} --reason flaw {BOTH} --out trust/r1.revocations.json")).ok();
    bundler(&world, &format!("trust rotate trust/1.root.json --new-epoch {BOTH} --out trust/2.root.json"))
        .ok();
    let revoke = format!("trust revoke trust/2.root.json --below demo=2.1 --reason old {BOTH}");
    let ran = bundler(&world, &format!("{revoke} --out trust/r2.revocations.json")).expect_exit(Exit::Usage);
    assert!(ran.stderr.contains("--after") && ran.stderr.contains("--start-anew"), "{}", ran.stderr);
    let kept =
        json(&world, &format!("{revoke} --after trust/r1.revocations.json --out trust/r2.revocations.json"));
    assert_eq!((kept["version"].as_u64(), kept["complete"].as_bool()), (Some(1), Some(true)));
    let shown = bundler(&world, "trust show trust/r2.revocations.json --trust trust/2.root.json").ok().stdout;
    assert!(shown.contains("flaw") && shown.contains("epoch 2"), "{shown}");
    let empty = format!(
        "trust revoke trust/2.root.json --start-anew --reason anew {BOTH} --out anew.revocations.json"
    );
    assert_eq!(json(&world, &empty)["complete"], true);
}

#[test]
fn one_of_several_root_keys_that_is_enough_is_warned_of() {
    let world = World::new();
    keys(&world, "alice bob rel");
    let ran = bundler(&world, "trust new --publisher acme --release-key keys/rel.pub.pem --root-key keys/alice.pub.pem --root-key keys/bob.pub.pem --sign keys/alice.key.pem --out root.json").ok();
    assert!(ran.stderr.contains("one root key alone can replace the trust"), "{}", ran.stderr);
}

// ---- going back ----------------------------------------------------------------------------------------

/// A site with a file root on which 1.0.0 and then 1.1.0 were applied; the media are gone.
fn upgraded() -> World {
    let world = publisher();
    std::fs::create_dir(world.path("root")).unwrap();
    onsite::site_yaml(&world, &[format!("files: {{root: {}}}", world.path("root").display())]);
    for (version, sequence) in [("1.0.0", 1), ("1.1.0", 2)] {
        let archive = build(&world, version, sequence, "", "rel");
        installer(&world, &format!("apply {archive} --yes")).ok();
        std::fs::rename(world.path(&archive), world.path(&format!("gone-{archive}"))).unwrap();
    }
    world
}

fn installed(world: &World) -> String {
    std::fs::read_to_string(world.path("root/etc/demo/version")).unwrap()
}

fn current(world: &World) -> String {
    let status = installer(world, "--output json status").ok().json();
    status["products"][0]["current"]["version"].as_str().unwrap().to_string()
}

#[test]
fn rollback_goes_back_without_a_medium_and_the_highest_order_stays() {
    let world = upgraded();
    let ran = installer(&world, "rollback").expect_exit(Exit::Usage);
    assert!(ran.stderr.contains("plan for acme demo: from 1.1.0 to 1.0.0"), "{}", ran.stderr);
    assert_eq!(installed(&world), "1.1.0");
    world.installer(&["rollback", "--yes", "--reason", "the new one does not start"]).ok();
    assert_eq!((installed(&world).as_str(), current(&world).as_str()), ("1.0.0", "1.0.0"));
    // Through `apply` the old one stays refused, and the newer one may come again.
    let ran = installer(&world, "apply gone-1.0.0.tar --yes").expect_exit(Exit::Refused);
    assert!(ran.stderr.contains("installer rollback"), "{}", ran.stderr);
    let status = installer(&world, "--output json status").ok().json();
    assert_eq!(status["products"][0]["highest"]["order"]["sequence"], 2);
    installer(&world, "apply gone-1.1.0.tar --yes").ok();
    assert_eq!(installed(&world), "1.1.0");
    let log = installer(&world, "audit show").ok().stdout;
    assert!(log.contains("rollback") && log.contains("reason=the new one does not start"), "{log}");
    installer(&world, "audit verify").ok();
}

#[test]
fn rollback_to_what_was_never_here_is_refused() {
    let world = upgraded();
    for line in ["rollback 3.0.0 --yes", "rollback --product other --yes"] {
        let ran = installer(&world, line).expect_exit(Exit::Refused);
        assert!(ran.stderr.contains("installer history"), "{}", ran.stderr);
    }
    installer(&world, "rollback 1.0.0 --yes").ok();
    let ran = installer(&world, "rollback --yes").expect_exit(Exit::Refused);
    assert!(ran.stderr.contains("nothing older was applied here"), "{}", ran.stderr);
    installer(&world, "rollback 1.1.0 --yes").ok();
    assert_eq!(installed(&world), "1.1.0");
}

#[test]
fn rollback_by_way_of_a_doctored_ledger_is_refused() {
    // Somebody writes a bundle into the ledger that was never applied: its originals are not here, or
    // nobody has signed them.
    let world = upgraded();
    let path = world.path("site/ledger/acme.demo.json");
    let ledger = std::fs::read_to_string(&path).unwrap();
    let parsed: Value = serde_json::from_str(&ledger).unwrap();
    let first = parsed["applied"][0]["bundle"].as_str().unwrap();
    let other = format!("sha256:{}", "ab".repeat(32));
    std::fs::write(&path, ledger.replace(first, &other)).unwrap();
    let ran = installer(&world, "rollback --yes").expect_exit(Exit::Refused);
    assert!(ran.stderr.contains("and the audit log does not"), "{}", ran.stderr);
    let (evidence, hex) =
        (world.path("site/store/bundles"), |digest: &str| digest["sha256:".len()..].to_string());
    std::fs::rename(evidence.join(hex(first)), evidence.join(hex(&other))).unwrap();
    let ran = installer(&world, "rollback --yes").expect_exit(Exit::Refused);
    assert!(ran.stderr.contains("and the audit log does not"), "{}", ran.stderr);
    // Or it was applied here, and judged by another root than somebody now says.
    std::fs::write(&path, ledger.replacen("\"root_version\":1", "\"root_version\":7", 1)).unwrap();
    let ran = installer(&world, "rollback --yes").expect_exit(Exit::Refused);
    assert!(ran.stderr.contains("judged by trust root version 7"), "{}", ran.stderr);
    assert_eq!(installed(&world), "1.1.0");
}

#[test]
fn rollback_reads_every_kept_byte_again_and_stops_at_a_rotten_one() {
    let world = upgraded();
    let blobs = world.path("site/store/blobs/sha256");
    let old = std::fs::read_dir(&blobs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| std::fs::read(path).unwrap() == b"1.0.0")
        .unwrap();
    std::fs::write(&old, "1.0.x").unwrap();
    let ran = installer(&world, "rollback --yes").expect_exit(Exit::Damaged);
    assert!(ran.stderr.contains("the site store has rotted"), "{}", ran.stderr);
    std::fs::remove_file(&old).unwrap();
    let _ = installer(&world, "rollback --yes").expect_exit(Exit::Damaged);
    assert_eq!((installed(&world).as_str(), current(&world).as_str()), ("1.1.0", "1.1.0"));
    let signatures = std::fs::read_dir(world.path("site/store/bundles")).unwrap();
    for bundle in signatures {
        let dir = bundle.unwrap().path().join("signatures");
        for signature in std::fs::read_dir(dir).unwrap() {
            std::fs::remove_file(signature.unwrap().path()).unwrap();
        }
    }
    let ran = installer(&world, "rollback --yes").expect_exit(Exit::Refused);
    assert!(ran.stderr.contains("there is no signature"), "{}", ran.stderr);
}

#[test]
fn rollback_to_what_an_outgoing_key_has_signed_still_works_after_rotation() {
    let world = upgraded();
    keys(&world, "rel2");
    bundler(&world, &format!("trust rotate trust/1.root.json --new-epoch --remove-key keys/rel.pub.pem --add-release-key keys/rel2.pub.pem {BOTH} --out trust/2.root.json")).ok();
    installer(&world, "trust update trust").ok();
    let _ = installer(&world, "verify gone-1.1.0.tar").expect_exit(Exit::Refused);
    installer(&world, "rollback --yes").ok();
    assert_eq!(installed(&world), "1.0.0");
}

// ---- clocks --------------------------------------------------------------------------------------------

fn finding(document: &Value, id: &str) -> (String, String) {
    let findings = document["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["id"] == id).unwrap_or_else(|| panic!("no {id}"));
    let text = |key: &str| found[key].as_str().unwrap().to_string();
    (text("verdict"), text("fact"))
}

#[test]
fn a_wrong_clock_is_called_a_wrong_clock_and_stops_an_apply() {
    let mut world = publisher();
    let archive = build(&world, "1.0.0", 1, "expires: 2026-12-01T00:00:00Z\n", "rel");
    world.now = "2021-01-01T00:00:00Z".parse().unwrap();
    let verified = installer(&world, &format!("--output json verify {archive}")).ok().json();
    let (verdict, fact) = finding(&verified, "clock/plausible");
    assert_eq!(verdict, "fail");
    assert!(fact.starts_with("the clock is wrong: it says 2021-01-01T00:00:00Z"), "{fact}");
    assert_eq!(finding(&verified, "bundle/expiry").0, "pass");
    let before = world.snapshot("site/ledger");
    let ran = installer(&world, &format!("apply {archive} --yes")).expect_exit(Exit::NotReady);
    assert!(ran.stderr.contains("set the clock"), "{}", ran.stderr);
    onsite::fails_alone(&ran.stderr, "clock/plausible");
    assert_eq!(world.snapshot("site/ledger"), before);
    onsite::site_yaml(&world, &[]);
    let site = std::fs::read_to_string(world.path("site/site.yaml")).unwrap();
    world.write("site/site.yaml", format!("{site}time: {{clock: warn}}\n"));
    installer(&world, &format!("apply {archive} --yes")).ok();
    // Set right, the clock goes back before nothing; set wrong again, the log shows that it went back.
    world.now = "2026-11-21T00:00:00Z".parse().unwrap();
    let right = installer(&world, &format!("--output json verify {archive}")).ok().json();
    assert_eq!(finding(&right, "clock/forwards").0, "pass");
    world.now = "2026-11-20T23:00:00Z".parse().unwrap();
    let back = installer(&world, &format!("--output json verify {archive}")).ok().json();
    assert_eq!(finding(&back, "clock/forwards").0, "warn");
}

#[test]
fn an_expired_bundle_warns_and_stops_where_the_site_says_so() {
    let mut world = publisher();
    let archive = build(&world, "1.0.0", 1, "expires: 2026-11-21T00:00:00Z\n", "rel");
    world.now = "2026-11-22T00:00:00Z".parse().unwrap();
    let verified = installer(&world, &format!("--output json verify {archive}")).ok().json();
    assert_eq!(finding(&verified, "bundle/expiry").0, "warn");
    onsite::site_yaml(&world, &[]);
    let site = std::fs::read_to_string(world.path("site/site.yaml")).unwrap();
    world.write("site/site.yaml", format!("{site}time: {{expiry: enforce}}\n"));
    let ran = installer(&world, &format!("apply {archive} --yes")).expect_exit(Exit::NotReady);
    onsite::fails_alone(&ran.stderr, "bundle/expiry");
    world.write("site/site.yaml", format!("{site}time: {{expiry: warn}}\n"));
    installer(&world, &format!("apply {archive} --yes")).ok();
}

#[test]
fn an_expired_root_warns_and_stops_where_the_site_says_so() {
    let mut world = World::new();
    keys(&world, "alice rel");
    let made = json(
        &world,
        "trust new --publisher acme --release-key keys/rel.pub.pem --root-key keys/alice.pub.pem --expires 2026-11-21T00:00:00Z --sign keys/alice.key.pem --out trust/1.root.json",
    );
    let fingerprint = made["fingerprint"].as_str().unwrap();
    world.installer(&["trust", "init", "trust/1.root.json", "--expect-sha256", fingerprint]).ok();
    let archive = build(&world, "1.0.0", 1, "", "rel");
    world.now = "2026-11-22T00:00:00Z".parse().unwrap();
    let verified = installer(&world, &format!("--output json verify {archive}")).ok().json();
    assert_eq!(finding(&verified, "trust/expiry").0, "warn");
    onsite::site_yaml(&world, &[]);
    let site = std::fs::read_to_string(world.path("site/site.yaml")).unwrap();
    world.write("site/site.yaml", format!("{site}time: {{expiry: enforce}}\n"));
    let ran = installer(&world, &format!("apply {archive} --yes")).expect_exit(Exit::NotReady);
    onsite::fails_alone(&ran.stderr, "trust/expiry");
}

#[test]
fn a_clock_behind_something_accepted_earlier_cannot_bring_an_expired_bundle_back() {
    let mut world = publisher();
    let old = build(&world, "1.0.0", 1, "expires: 2026-11-25T00:00:00Z\n", "rel");
    world.now = "2026-11-27T00:00:00Z".parse().unwrap();
    installer(&world, &format!("apply {} --yes", build(&world, "1.1.0", 2, "", "rel"))).ok();
    world.now = "2026-11-20T13:00:00Z".parse().unwrap();
    let ran = installer(&world, &format!("verify {old}")).expect_exit(Exit::Refused);
    assert!(ran.stderr.contains("below"), "{}", ran.stderr);
    let other = World::new();
    drop(other);
    // Also one that is not older by its order: the floor is what was accepted, not the clock.
    let newer = build(&world, "1.2.0", 3, "expires: 2026-11-25T00:00:00Z\n", "rel");
    let verified = installer(&world, &format!("--output json verify {newer}")).ok().json();
    assert_eq!(finding(&verified, "bundle/expiry").0, "warn");
}

// ---- the auditor's script ------------------------------------------------------------------------------

fn run_script(world: &World, script: &str, dir: &str) -> (bool, String) {
    let dir = world.path(dir);
    std::fs::create_dir(&dir).unwrap();
    let ran = Command::new("sh").args(["-c", script]).current_dir(&dir).env("LC_ALL", "C").output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (ran.status.success(), format!("{}{}", text(&ran.stdout), text(&ran.stderr)))
}

#[test]
fn the_script_of_audit_explain_holds_for_the_bundle_and_for_no_changed_one() {
    if ["openssl", "ssh-keygen"].iter().any(|tool| testkit::real_part(tool).is_none()) {
        return;
    }
    let world = World::new();
    keys(&world, "alice ed");
    for (name, scheme) in [("p256", "ecdsa-p256-sha256"), ("p384", "ecdsa-p384-sha384")] {
        bundler(&world, &format!("key new --name {name} --out keys --scheme {scheme}")).ok();
    }
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "carol", "-f"])
        .arg(world.path("keys/carol"))
        .status()
        .unwrap();
    assert!(made.success());
    let root = json(
        &world,
        "trust new --publisher acme --release-key keys/ed.pub.pem --release-key keys/p256.pub.pem --release-key keys/p384.pub.pem --release-key keys/carol.pub --threshold 4 --root-key keys/alice.pub.pem --sign keys/alice.key.pem --out root.json",
    );
    let fingerprint = root["fingerprint"].as_str().unwrap();
    installer(&world, &format!("trust init root.json --expect-sha256 {fingerprint}")).ok();
    let archive = build(&world, "1.0.0", 1, "", "ed p256 p384");
    bundler(&world, &format!("sign {archive} --prepare ceremony")).ok();
    let signed = Command::new("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", "airlock", "-f"])
        .arg(world.path("keys/carol"))
        .arg(world.path("ceremony/bundle.json"))
        .status()
        .unwrap();
    assert!(signed.success());
    bundler(
        &world,
        &format!("sign {archive} --signature ceremony/bundle.json.sig --public-key keys/carol.pub"),
    )
    .ok();

    let explained = installer(&world, &format!("--output json audit explain {archive}")).ok().json();
    let script = explained["script"].as_str().unwrap();
    assert_eq!(installer(&world, &format!("audit explain {archive}")).ok().stdout, script);
    for words in
        ["needed     4 of", "UNCLASSIFIED", "carol has signed bundle.json", &fingerprint["sha256:".len()..]]
    {
        assert!(script.contains(words), "{words}: {script}");
    }
    let (holds, said) = run_script(&world, script, "auditor");
    assert!(holds && said.contains("all of it holds: signed by carol, ed, p256, p384"), "{said}\n{script}");

    // A byte of each region, the signatures first: the script stops.
    let honest = std::fs::read(world.path(&archive)).unwrap();
    let reader = layout::reader::BundleReader::open(honest.as_slice()).unwrap();
    let places: Vec<Vec<u8>> = reader.head().signatures.iter().map(|found| found.bytes.clone()).collect();
    let mut needles: Vec<&[u8]> = places.iter().map(|bytes| &bytes[bytes.len() / 2..][..16]).collect();
    needles.extend([b"\"product\":\"demo\"".as_slice(), b"1.0.0", b"\"components\""]);
    for (number, needle) in needles.into_iter().enumerate() {
        let at = honest.windows(needle.len()).rposition(|window| window == needle).unwrap();
        let mut changed = honest.clone();
        changed[at + 1] ^= 1;
        world.write(&archive, &changed);
        let (holds, said) = run_script(&world, script, &format!("auditor-{number}"));
        assert!(!holds && !said.contains("all of it holds"), "change {number}: {said}");
        assert!(said.contains("does not hold: "), "change {number}: {said}");
    }
}

#[test]
fn the_script_of_audit_explain_writes_nothing_where_a_hostile_archive_leads_it() {
    if testkit::real_part("openssl").is_none() {
        return;
    }
    let world = publisher();
    let archive = build(&world, "1.0.0", 1, "", "rel");
    let honest = std::fs::read(world.path(&archive)).unwrap();
    world.write("canary", "untouched\n");
    world.write("more/keys/install.sh", "evil\n");
    world.write("more/signatures/README", "evil\n");
    world.write("more/bundle/found", "evil\n");
    std::os::unix::fs::symlink(world.path("canary"), world.path("more/keys/found")).unwrap();
    std::os::unix::fs::symlink(world.path("canary"), world.path("more/listed")).unwrap();
    for (number, added) in ["keys/found", "listed", "keys/install.sh", "signatures/README", "bundle/found"]
        .into_iter()
        .enumerate()
    {
        world.write(&archive, &honest);
        let status = Command::new("tar")
            .arg("--append")
            .arg("-f")
            .arg(world.path(&archive))
            .arg("-C")
            .arg(world.path("more"))
            .arg(added)
            .status()
            .unwrap();
        assert!(status.success());
        // The head is as it was, so there is a script; it is the script that finds the rest.
        let script = installer(&world, &format!("audit explain {archive}")).ok().stdout;
        let (holds, said) = run_script(&world, &script, &format!("desk-{number}"));
        assert!(!holds && said.contains("does not hold: "), "{added}: {said}");
        assert_eq!(std::fs::read_to_string(world.path("canary")).unwrap(), "untouched\n", "{added}");
    }
}

#[test]
fn audit_explain_of_a_bundle_that_is_not_signed_well_enough_is_refused() {
    let world = publisher();
    let archive = build(&world, "1.0.0", 1, "", "");
    let ran = installer(&world, &format!("audit explain {archive}")).expect_exit(Exit::Refused);
    assert!(ran.stderr.contains("there is no signature") && ran.stdout.is_empty(), "{}", ran.stderr);
}
