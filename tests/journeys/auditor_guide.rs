//! Every command of `docs/auditor.md`, run in the order of the page by a shell at an auditor's desk: the
//! files that the page speaks of are there, and nothing of ours is on the path.

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

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::World;
use ingredients::{image, layer, write_layout};
use testkit::real_part;

const PAGE: &str = include_str!("../../docs/auditor.md");

/// A block of shell: the name of the file it is, if it is one, and its text.
struct Block {
    line: usize,
    file: Option<String>,
    text: String,
}

fn blocks() -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = PAGE.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(flags) = line.strip_prefix("```") else { continue };
        let text: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        assert!(flags.starts_with("sh"), "line {}: a block that is no shell would not be run", number + 1);
        let file = flags.split(' ').find_map(|word| word.strip_prefix("file=")).map(str::to_string);
        found.push(Block { line: number + 1, file, text: text.join("\n") + "\n" });
    }
    found
}

fn line(world: &World, line: &str) {
    world.bundler(&line.split(' ').collect::<Vec<_>>()).ok();
}

fn keyid(world: &World, public: &str) -> String {
    let text = std::fs::read_to_string(world.path(public)).unwrap();
    manifests::PublicKey::read(&text).unwrap().id().to_string()
}

fn ssh_keygen(args: &[&str], path: PathBuf) {
    let status = Command::new("ssh-keygen").args(args).arg(path).status().unwrap();
    assert!(status.success());
}

/// A bundle that three people have signed, in three ways, an image of it counter-signed; its roots; a site
/// that has applied it. Returns the variables that the page uses.
fn delivery(world: &World) -> BTreeMap<&'static str, String> {
    for name in ["release", "alice", "bob"] {
        line(world, &format!("key new --name {name} --out ."));
    }
    line(world, "key new --name office --out . --scheme ecdsa-p384-sha384");
    ssh_keygen(&["-q", "-t", "ed25519", "-N", "", "-C", "carol", "-f"], world.path("carol"));
    line(
        world,
        "trust new --publisher acme --release-key release.pub.pem --release-key office.pub.pem --release-key carol.pub --threshold 3 --root-key alice.pub.pem --root-key bob.pub.pem --root-threshold 2 --sign alice.key.pem --sign bob.key.pem --out root.json",
    );
    let both = "--sign alice.key.pem --sign bob.key.pem";
    std::fs::create_dir(world.path("roots")).unwrap();
    std::fs::copy(world.path("root.json"), world.path("roots/1.root.json")).unwrap();
    line(world, &format!("trust rotate root.json --threshold 2 {both} --out roots/2.root.json"));
    line(
        world,
        &format!(
            "trust revoke roots/2.root.json --below demo=1.1 --reason old {both} --out roots/revocations.json"
        ),
    );
    let root = manifests::Digest::of(&std::fs::read(world.path("root.json")).unwrap());
    world.installer(&["trust", "init", "root.json", "--expect-sha256", &root.hex()]).ok();
    world.installer(&["trust", "update", "roots/2.root.json", "roots/revocations.json"]).ok();

    let image = image("amd64", &[layer(1, 100)]);
    write_layout(world, "image", &[("v1", &image)]);
    world.spec(
        "1.0.0",
        7,
        "images: [{source: \"oci:image:v1\", name: \"registry.example.com/team/app:v1\"}]\nfiles: [{source: configs, dest: /etc/demo}]\n",
    );
    world.write("configs/a.yaml", "a: 1\n");
    line(
        world,
        "build --out X.bundle.tar --key release.key.pem --key office.key.pem --countersign release.key.pem",
    );
    line(world, "sign X.bundle.tar --prepare ceremony");
    ssh_keygen(
        &["-q", "-Y", "sign", "-n", "airlock", "-f", world.path("carol").to_str().unwrap()],
        world.path("ceremony/bundle.json"),
    );
    line(world, "sign X.bundle.tar --signature ceremony/bundle.json.sig --public-key carol.pub");
    line(world, "attest X.bundle.tar --key release.key.pem --out demo-1.0.0.provenance.dsse.json");
    line(world, "split X.bundle.tar --media 1MB --out discs");
    world.installer(&["apply", "X.bundle.tar", "--yes"]).ok();
    world.installer(&["audit", "checkpoint", "--out", "head.json"]).ok();
    world.installer(&["inspect", "X.bundle.tar"]).ok();

    let carol = std::fs::read_to_string(world.path("carol.pub")).unwrap();
    let carol = manifests::PublicKey::read(&carol).unwrap();
    world.write("carol.pub.pem", carol.pem());
    let reader =
        layout::reader::BundleReader::open(std::fs::File::open(world.path("X.bundle.tar")).unwrap()).unwrap();
    BTreeMap::from([
        ("KEYID", keyid(world, "release.pub.pem")),
        ("ALICE", keyid(world, "alice.pub.pem")),
        ("OFFICE", keyid(world, "office.pub.pem")),
        ("CAROL", carol.id().to_string()),
        ("DIGEST", reader.head().bundle_digest().0.hex()),
        ("IMAGE", image.root.digest.to_string()),
        ("NAME", "demo-1.0.0".to_string()),
        ("MEDIUM", ".".to_string()),
    ])
}

/// Puts on the desk what the auditor got, and the site as the name `SITE`.
fn desk(world: &World) -> PathBuf {
    let desk = world.path("desk");
    std::fs::create_dir(&desk).unwrap();
    let got = "root.json root.json.sigs roots X.bundle.tar discs demo-1.0.0.provenance.dsse.json head.json head.json.sigs release.pub.pem alice.pub.pem office.pub.pem carol.pub.pem";
    for name in got.split(' ') {
        let status = Command::new("cp").arg("-r").arg(world.path(name)).arg(&desk).status().unwrap();
        assert!(status.success());
    }
    std::fs::copy(desk.join("release.pub.pem"), desk.join("images.pub.pem")).unwrap();
    let status =
        Command::new("cp").arg("-r").arg(world.path("site")).arg(desk.join("SITE")).status().unwrap();
    assert!(status.success());
    desk
}

/// Runs one block; every line of it must hold.
fn run(desk: &Path, text: &str, vars: &BTreeMap<&str, String>) -> Result<String, String> {
    let script = text.replace("sha256:…", "$IMAGE");
    let ran = Command::new("sh")
        .args(["-eu", "-c", &script])
        .current_dir(desk)
        .envs(vars.iter().map(|(name, value)| (*name, value.as_str())))
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    if ran.status.success() { Ok(said) } else { Err(format!("{}: {said}", ran.status)) }
}

#[test]
fn every_command_of_the_auditors_guide_does_what_the_guide_says() {
    let tools = ["openssl", "cosign", "ssh-keygen", "python3"];
    if tools.iter().any(|tool| real_part(tool).is_none()) {
        return;
    }
    let world = World::new();
    let vars = delivery(&world);
    let desk = desk(&world);
    let mut said = String::new();
    for block in blocks() {
        // Programs that later blocks call by name; the others are run as they stand.
        if let Some(name @ ("check-audit.sh" | "check-checkpoints.sh" | "check-image.sh")) =
            block.file.as_deref()
        {
            std::fs::write(desk.join(name), &block.text).unwrap();
            continue;
        }
        match run(&desk, &block.text, &vars) {
            Ok(output) => said.push_str(&output),
            Err(error) => panic!("docs/auditor.md, line {}: {error}\n{}", block.line, block.text),
        }
    }
    for (words, times) in [
        ("Signature Verified Successfully", 8),
        ("Verified OK", 4),
        ("Good \"airlock\" signature for carol", 1),
        ("complete\n", 1),
        (&vars["DIGEST"], 1),
        ("lines, the last one is", 1),
        ("lines are as they were signed with", 2),
    ] {
        assert!(said.matches(words).count() >= times, "`{words}` is not there {times} times:\n{said}");
    }
}

#[test]
fn the_guide_finds_a_log_that_was_cut_or_written_anew_since_a_checkpoint_was_carried_away() {
    if real_part("openssl").is_none() {
        return;
    }
    let world = World::new();
    let vars = delivery(&world);
    let desk = desk(&world);
    let compare: Vec<Block> = blocks().into_iter().filter(|block| block.text.contains("head.json")).collect();
    assert_eq!(compare.len(), 1);
    let all =
        blocks().into_iter().find(|block| block.file.as_deref() == Some("check-checkpoints.sh")).unwrap();
    std::fs::write(desk.join("check-checkpoints.sh"), all.text).unwrap();
    let path = desk.join("SITE/audit/audit.jsonl");
    let honest = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = honest.split_inclusive('\n').collect();
    let changed = |number: usize| {
        let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_string()).collect();
        lines[number] = lines[number].replace("testhost", "otherhost");
        lines.concat()
    };
    // Line 0 is the first, and the last that was signed is the one before the last.
    let signed = lines.len() - 2;
    for (log, found) in [
        (honest.clone(), false),
        (changed(signed + 1), false),
        (changed(signed), true),
        (changed(0), true),
        (lines[..signed].concat(), true),
        (String::new(), true),
    ] {
        std::fs::write(&path, log).unwrap();
        assert_eq!(run(&desk, &compare[0].text, &vars).is_err(), found);
        let kept = run(&desk, "sh check-checkpoints.sh SITE", &vars).is_err();
        assert!(kept == found || log_begins_otherwise(&desk, &honest), "the program of the page");
    }
    std::fs::write(&path, &honest).unwrap();
    let document = std::fs::read_to_string(desk.join("head.json")).unwrap();
    std::fs::write(desk.join("head.json"), document.replace("\"time\":\"2026", "\"time\":\"2025")).unwrap();
    assert!(run(&desk, &compare[0].text, &vars).is_err());
}

/// The program for all checkpoints looks at the last line of each; the loop for the chain finds the others.
fn log_begins_otherwise(desk: &Path, honest: &str) -> bool {
    let log = std::fs::read_to_string(desk.join("SITE/audit/audit.jsonl")).unwrap();
    log.lines().next() != honest.lines().next()
}

#[test]
fn the_guide_finds_a_file_that_nobody_signed_and_one_that_was_changed() {
    if real_part("openssl").is_none() || real_part("cosign").is_none() {
        return;
    }
    let world = World::new();
    let vars = delivery(&world);
    let honest = std::fs::read(world.path("X.bundle.tar")).unwrap();
    let caught = |archive: &[u8]| {
        let _ = std::fs::remove_dir_all(world.path("desk"));
        world.write("X.bundle.tar", archive);
        let desk = desk(&world);
        let section: Vec<Block> =
            blocks().into_iter().filter(|block| block.text.contains("X.bundle.tar")).collect();
        assert_eq!(section.len(), 2);
        section.iter().any(|block| run(&desk, &block.text, &vars).is_err())
    };
    assert!(!caught(&honest));
    let at = |needle: &[u8]| honest.windows(needle.len()).rposition(|window| window == needle).unwrap();
    let mut changed = honest.clone();
    changed[at(b"a: 1\n")] = b'b';
    assert!(caught(&changed), "a changed file");
    let mut renamed = honest.clone();
    renamed[at(b"\"product\":\"demo\"") + 12] = b'x';
    assert!(caught(&renamed), "a changed bundle.json");
    let mut more = honest[..honest.len() - 1024].to_vec();
    let extra = manifests::Digest::of(b"extra");
    more.extend_from_slice(&layout::header::encode(&manifests::ArchivePath::Blob(extra), 5));
    more.extend_from_slice(b"extra");
    more.resize(more.len().next_multiple_of(512) + 1024, 0);
    assert!(caught(&more), "a file that nobody signed");
}
