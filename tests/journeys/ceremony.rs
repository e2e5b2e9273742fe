//! Signing by several people on several machines, with keys that are encrypted: what is asked, what is
//! shown, what is refused, and that a passphrase is seen nowhere.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use e2e::World;
use edge::Exit;
use manifests::{Digest, PublicKey};
use testkit::real_part;
use testkit::sample::{SampleOptions, key, sample_bundle, sample_root};

const SECRET: &str = "correct horse battery";

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn close(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A world with an unsigned bundle.
fn world() -> World {
    let world = World::new();
    world.write(
        "bundle.tar",
        sample_bundle(&SampleOptions { signers: Vec::new(), ..SampleOptions::default() }).archive,
    );
    world
}

/// A world with an unsigned bundle and an encrypted key, and the key's passphrase in a file.
fn closed_world() -> World {
    let world = world();
    close(&world.write("passphrase", format!("{SECRET}\n")));
    let new = ["key", "new", "--name", "signer", "--out", "keys", "--passphrase-file", "passphrase"];
    let made = world.bundler(&new).ok();
    assert!(made.stdout.contains("(encrypted)") && !made.stdout.contains(SECRET), "{made:?}");
    world
}

const SIGN: [&str; 4] = ["sign", "bundle.tar", "--key", "keys/signer.key.pem"];

// Keys.

#[test]
fn a_new_key_has_the_scheme_that_was_asked_for_and_is_closed() {
    let world = World::new();
    for scheme in ["ed25519", "ecdsa-p384-sha384", "ecdsa-p256-sha256"] {
        let new = ["--output", "json", "key", "new", "--name", scheme, "--out", "keys", "--scheme", scheme];
        let made = world.bundler(&new).ok().json();
        assert_eq!((&made["scheme"], &made["encrypted"]), (&scheme.into(), &false.into()));
        let public = std::fs::read_to_string(world.path(&format!("keys/{scheme}.pub.pem"))).unwrap();
        let public = PublicKey::from_pem(&public).unwrap();
        assert_eq!(made["keyid"], public.id().to_string());
        assert_eq!(public.scheme().as_str(), scheme);
        assert_eq!(mode(&world.path(&format!("keys/{scheme}.key.pem"))), 0o600);
    }
    let none = ["key", "new", "--name", "ssh", "--out", "keys", "--scheme", "sshsig-ed25519"];
    let _ = world.bundler(&none).expect_exit(Exit::Usage);
    let again = ["key", "new", "--name", "ed25519", "--out", "keys"];
    let again = world.bundler(&again).expect_exit(Exit::Unreachable);
    assert!(again.stderr.contains("never overwritten"), "{}", again.stderr);
}

#[test]
fn a_passphrase_is_typed_twice_for_a_new_key_and_once_to_sign() {
    let mut world = world();
    let new = ["key", "new", "--name", "signer", "--out", "keys", "--encrypt"];
    world.typed = vec![SECRET.into(), "another".into()];
    let differ = world.bundler(&new).expect_exit(Exit::Usage);
    assert!(differ.stderr.contains("differ"), "{}", differ.stderr);
    world.typed = vec![String::new(), String::new()];
    let empty = world.bundler(&new).expect_exit(Exit::Usage);
    assert!(empty.stderr.contains("passphrase is empty"), "{}", empty.stderr);
    assert!(!world.path("keys").exists(), "a key was made nevertheless");
    world.typed = vec![SECRET.into(), SECRET.into()];
    world.bundler(&new).ok();
    let text = std::fs::read_to_string(world.path("keys/signer.key.pem")).unwrap();
    assert!(text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"), "{text}");

    world.typed = vec!["mistyped".into(), SECRET.into()];
    let signed = world.bundler(&SIGN).ok();
    assert_eq!(signed.stderr.matches("passphrase for").count(), 2);
    assert!(signed.stderr.contains("keys/signer.key.pem"), "the prompt names the key: {}", signed.stderr);
    world.typed = vec!["wrong".into(); 9];
    let refused = world.bundler(&SIGN).expect_exit(Exit::Usage);
    assert_eq!(refused.stderr.matches("passphrase for").count(), 3, "{}", refused.stderr);
    assert!(refused.stderr.contains("the passphrase is wrong"), "{}", refused.stderr);
}

#[test]
fn without_a_terminal_and_a_passphrase_file_it_says_what_to_do() {
    let world = closed_world();
    world.write("bundle.yaml", "");
    let new = ["key", "new", "--name", "other", "--out", "keys", "--encrypt"];
    let build = ["build", "bundle.yaml", "--key", "keys/signer.key.pem"];
    for (args, key) in [(&SIGN[..], "signer.key.pem"), (&build, "signer.key.pem"), (&new, "other.key.pem")] {
        let refused = world.bundler(args).expect_exit(Exit::Usage);
        assert!(refused.stderr.contains(key), "{}", refused.stderr);
        assert!(refused.stderr.contains("--passphrase-file"), "{}", refused.stderr);
    }
    assert!(!world.path("keys/other.key.pem").exists());
}

#[test]
fn build_and_sign_take_the_passphrase_from_a_closed_file_only() {
    let world = closed_world();
    world.spec("1", 1, "files: [{source: data, dest: /opt/data}]\n");
    world.write("data/file", "x");
    let from_file = ["--passphrase-file", "passphrase"];
    let build = ["build", "bundle.yaml", "--out", "built.tar", "--key", "keys/signer.key.pem"];
    world.bundler(&[build.as_slice(), &from_file].concat()).ok();
    world.bundler(&[SIGN.as_slice(), &from_file].concat()).ok();

    let wrong = world.write("wrong", "no\n");
    close(&wrong);
    let refused = world.bundler(&[SIGN.as_slice(), &["--passphrase-file", "wrong"]].concat());
    let refused = refused.expect_exit(Exit::Usage);
    assert!(refused.stderr.contains("the passphrase is wrong"), "{}", refused.stderr);
    for (content, part) in [("", "passphrase is wrong"), (SECRET, "")] {
        close(&world.write("odd", content));
        let ran = world.bundler(&[SIGN.as_slice(), &["--passphrase-file", "odd"]].concat());
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
        assert_eq!(ran.exit, if part.is_empty() { Exit::Done } else { Exit::Usage });
    }
    std::fs::set_permissions(world.path("passphrase"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let open = world.bundler(&[SIGN.as_slice(), &from_file].concat()).expect_exit(Exit::Refused);
    assert!(open.stderr.contains("passphrase file") && open.stderr.contains("0640"), "{}", open.stderr);
    assert!(!open.stderr.contains(SECRET));
}

#[test]
fn no_run_shows_a_passphrase_whatever_goes_wrong() {
    let mut world = closed_world();
    world.typed = vec![SECRET.into(); 9];
    let damaged = std::fs::read_to_string(world.path("keys/signer.key.pem")).unwrap().replacen('A', "B", 3);
    close(&world.write("keys/damaged.key.pem", damaged));
    for key in ["keys/signer.key.pem", "keys/damaged.key.pem"] {
        for output in ["human", "json"] {
            for bundle in ["bundle.tar", "not-there.tar", "passphrase"] {
                let ran = world.bundler(&["-vv", "--output", output, "sign", bundle, "--key", key]);
                assert!(!ran.stdout.contains(SECRET) && !ran.stderr.contains(SECRET), "{ran:?}");
            }
        }
    }
}

/// Runs the program on a terminal of its own, types when it asks, and gives what the terminal has shown.
fn on_a_terminal(world: &World, args: &str, dialogue: &[(&str, &str)]) -> Option<(bool, String)> {
    let script = real_part("script")?;
    let program = env!("CARGO_BIN_EXE_e2e-bundler");
    let mut child = Command::new(script)
        .args(["-q", "-e", "-f", "-c", &format!("{program} {args}"), "/dev/null"])
        .current_dir(world.dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut keys, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut shown = Vec::new();
    let mut seen = 0;
    for (prompt, answer) in dialogue {
        let mut byte = [0_u8];
        while !String::from_utf8_lossy(&shown[seen..]).contains(prompt) {
            assert_eq!(screen.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&shown));
            shown.push(byte[0]);
        }
        seen = shown.len();
        keys.write_all(answer.as_bytes()).unwrap();
    }
    // A terminal whose program has ended gives an error instead of an end.
    let _ = screen.read_to_end(&mut shown);
    let ended = child.wait().unwrap();
    drop(keys);
    Some((ended.success(), String::from_utf8_lossy(&shown).into_owned()))
}

#[test]
fn a_real_terminal_shows_the_prompts_and_nothing_of_what_is_typed() {
    let world = world();
    let typed = format!("{SECRET}\r");
    let asked = [("new passphrase for", typed.as_str()), ("the same again", typed.as_str())];
    let Some((done, shown)) = on_a_terminal(&world, "key new --name signer --out keys --encrypt", &asked)
    else {
        return;
    };
    assert!(done && !shown.contains("horse"), "{shown}");
    let correcting = format!("nonsense\u{15}{SECRET}x\u{7f}\r");
    let asked = [("passphrase for", correcting.as_str())];
    let (done, shown) = on_a_terminal(&world, &SIGN.join(" "), &asked).unwrap();
    assert!(done && shown.contains("signed") && !shown.contains("horse"), "{shown}");
    // Ctrl-C ends it, and the terminal shows again what is typed.
    let after = format!("{}; echo ended; read answer", SIGN.join(" "));
    let asked = [("passphrase for", "hor\u{3}"), ("ended", "visible\r")];
    let (_, shown) = on_a_terminal(&world, &after, &asked).unwrap();
    assert!(shown.contains("nothing was typed") && shown.contains("visible"), "{shown}");
    assert!(!shown.contains("hor\r") && !shown.contains("horv"), "{shown}");
}

// Prepare.

#[test]
fn what_a_signer_is_given_is_the_very_document_and_says_what_it_is() {
    let world = world();
    let before = std::fs::read(world.path("bundle.tar")).unwrap();
    let shown = world.bundler(&["sign", "bundle.tar", "--prepare", "ceremony"]).ok();
    assert!(shown.stdout.contains("UNCLASSIFIED") && shown.stdout.contains("Nothing was signed"));
    assert!(std::fs::read(world.path("bundle.tar")).unwrap() == before, "the bundle was changed");

    let head = layout::reader::BundleReader::open(before.as_slice()).unwrap().head().clone();
    let read = |name: &str| std::fs::read(world.path(&format!("ceremony/{name}"))).unwrap();
    assert!(read("bundle.json") == head.manifest);
    let manifest = manifests::BundleManifest::from_bytes(&read("bundle.json")).unwrap();
    assert_eq!(Digest::of(&read("SHA256SUMS")), manifest.checksums.digest);
    assert_eq!(Digest::of(&read("inventory.json")), manifest.inventory.digest);
    let note = String::from_utf8(read("SIGN.txt")).unwrap();
    let digest = Digest::of(&head.manifest).hex();
    let groups: Vec<&str> = (0..8).map(|group| &digest[group * 8..group * 8 + 8]).collect();
    for part in [
        "sample",
        "2.1.0",
        "1.42",
        "UNCLASSIFIED",
        manifest.created.to_string().as_str(),
        format!("{} bytes", before.len()).as_str(),
        groups[..4].join(" ").as_str(),
        groups[4..].join(" ").as_str(),
        "openssl pkeyutl -sign -inkey KEY -rawin -in bundle.json -out bundle.json.sig",
        "openssl dgst -sha384 -sign KEY -out bundle.json.sig bundle.json",
        "openssl dgst -sha256 -sign KEY -out bundle.json.sig bundle.json",
        "pkcs11-tool --module MODULE --login --id ID --sign -m EDDSA",
        "pkcs11-tool --module MODULE --login --id ID --sign -m ECDSA",
        "cosign sign-blob --key KEY --tlog-upload=false --output-signature bundle.json.sig bundle.json",
        "ssh-keygen -Y sign -n airlock -f KEY bundle.json",
        "bundler sign bundle.tar --signature bundle.json.sig --public-key PUBLIC-KEY",
    ] {
        assert!(note.contains(part), "{part} is missing in:\n{note}");
    }
    assert!(note.lines().all(|line| line.len() <= 110), "{note}");
}

#[test]
fn the_checks_in_the_note_hold() {
    let world = world();
    world.bundler(&["sign", "bundle.tar", "--prepare", "ceremony"]).ok();
    let note = std::fs::read_to_string(world.path("ceremony/SIGN.txt")).unwrap();
    let checks: Vec<&str> = note.lines().filter(|line| line.starts_with("  grep -c")).collect();
    assert_eq!(checks.len(), 2);
    for check in checks {
        let output =
            Command::new("sh").args(["-c", check]).current_dir(world.path("ceremony")).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n", "{check}");
    }
}

#[test]
fn preparing_overwrites_nothing_and_signs_nothing() {
    let world = world();
    let prepare = ["--output", "json", "sign", "bundle.tar", "--prepare", "ceremony"];
    let document = world.bundler(&prepare).ok().json();
    assert_eq!(document["product"], "sample");
    assert_eq!(document["files"].as_array().unwrap().len(), 4);
    let note = std::fs::read(world.path("ceremony/SIGN.txt")).unwrap();
    let again = world.bundler(&prepare).expect_exit(Exit::Usage);
    assert!(again.stderr.contains("nothing is overwritten"), "{}", again.stderr);
    assert_eq!(std::fs::read(world.path("ceremony/SIGN.txt")).unwrap(), note);
    for args in [
        ["--prepare", "other", "--key", "k"].as_slice(),
        &["--prepare", "other", "--signature", "s", "--public-key", "p"],
        &[],
        &["--signature", "s"],
        &["--signature", "s", "--signature", "t", "--public-key", "p"],
    ] {
        let _ = world.bundler(&[["sign", "bundle.tar"].as_slice(), args].concat()).expect_exit(Exit::Usage);
    }
    assert!(!world.path("other").exists());
    world.write("damaged.tar", &std::fs::read(world.path("bundle.tar")).unwrap()[..40_000]);
    let damaged = ["sign", "damaged.tar", "--prepare", "other"];
    let _ = world.bundler(&damaged).expect_exit(Exit::Damaged);
    assert!(!world.path("other").exists());
}

// Several people.

#[test]
fn two_of_three_sign_one_in_place_on_another_machine() {
    let options = SampleOptions::default().release(&[(1, "alice"), (2, "bob"), (3, "carol")], 2, &[]);
    let here = World::new();
    here.write("bundle.tar", sample_bundle(&options).archive);
    let root = sample_root(&options);
    layout::signed_file::write(&here.path("root.json"), &root).unwrap();
    let fingerprint = Digest::of(&root.bytes).hex();
    here.installer(&["trust", "init", "root.json", "--expect-sha256", &fingerprint]).ok();
    for seed in [1, 2] {
        close(&here.write(&format!("{seed}.key.pem"), key(seed).to_pem().unwrap().as_bytes()));
        here.write(&format!("{seed}.pub.pem"), key(seed).public().unwrap().pem());
    }
    here.bundler(&["sign", "bundle.tar", "--key", "1.key.pem"]).ok();
    let refused = here.installer(&["verify", "bundle.tar"]).expect_exit(Exit::Refused);
    assert!(refused.stderr.contains("1 of 2"), "{}", refused.stderr);

    // Bob signs a copy on his own machine, and only his signature comes back.
    let there = World::new();
    std::fs::copy(here.path("bundle.tar"), there.path("copy.tar")).unwrap();
    std::fs::rename(here.path("2.key.pem"), there.path("2.key.pem")).unwrap();
    there.bundler(&["sign", "copy.tar", "--key", "2.key.pem"]).ok();
    let signed = std::fs::read(there.path("copy.tar")).unwrap();
    let head = layout::reader::BundleReader::open(signed.as_slice()).unwrap().head().clone();
    let bob = key(2).public().unwrap().id();
    let found = head.signatures.iter().find(|signature| signature.claimed == bob).unwrap();
    here.write("bob.sig", &found.bytes);
    let attach = ["sign", "bundle.tar", "--signature", "bob.sig", "--public-key", "2.pub.pem"];
    assert!(here.bundler(&attach).ok().stdout.contains("signed"));
    assert!(std::fs::read(here.path("bundle.tar")).unwrap() == signed, "both ways give the same archive");
    assert!(here.bundler(&attach).ok().stdout.contains("had signed already"));
    here.installer(&["verify", "bundle.tar"]).ok();
}

#[test]
fn several_signatures_come_in_together_and_all_of_them_or_none() {
    let world = world();
    let document = {
        world.bundler(&["sign", "bundle.tar", "--prepare", "ceremony"]).ok();
        std::fs::read(world.path("ceremony/bundle.json")).unwrap()
    };
    for seed in [1, 2] {
        world.write(&format!("{seed}.sig"), key(seed).sign(&document).unwrap());
        world.write(&format!("{seed}.pub.pem"), key(seed).public().unwrap().pem());
    }
    close(&world.write("3.key.pem", key(3).to_pem().unwrap().as_bytes()));
    let before = std::fs::read(world.path("bundle.tar")).unwrap();
    let together = |first: &str, second: &str| {
        world.bundler(&[
            "--output",
            "json",
            "sign",
            "bundle.tar",
            "--key",
            "3.key.pem",
            "--signature",
            first,
            "--public-key",
            "1.pub.pem",
            "--signature",
            second,
            "--public-key",
            "2.pub.pem",
        ])
    };
    let refused = together("2.sig", "1.sig").expect_exit(Exit::Refused);
    assert!(refused.stderr.contains("another key, or over another file"), "{}", refused.stderr);
    assert!(std::fs::read(world.path("bundle.tar")).unwrap() == before, "some were written");
    let done = together("1.sig", "2.sig").ok().json();
    assert_eq!(done["signatures"].as_array().unwrap().len(), 3);
}

#[test]
fn a_second_signature_of_one_ecdsa_key_is_not_added() {
    // ECDSA of other tools differs each time, and a site refuses a bundle that one key has signed twice.
    let Some(openssl) = real_part("openssl") else { return };
    let world = world();
    world.bundler(&["sign", "bundle.tar", "--prepare", "ceremony"]).ok();
    let new = ["key", "new", "--name", "signer", "--out", "keys", "--scheme", "ecdsa-p256-sha256"];
    world.bundler(&new).ok();
    world.bundler(&SIGN).ok();
    let once = std::fs::read(world.path("bundle.tar")).unwrap();
    let sign = ["dgst", "-sha256", "-sign", "keys/signer.key.pem", "-out", "sig", "ceremony/bundle.json"];
    assert!(Command::new(openssl).args(sign).current_dir(world.dir()).status().unwrap().success());
    let attach = ["sign", "bundle.tar", "--signature", "sig", "--public-key", "keys/signer.pub.pem"];
    assert!(world.bundler(&attach).ok().stdout.contains("had signed already"));
    assert!(std::fs::read(world.path("bundle.tar")).unwrap() == once);
}
