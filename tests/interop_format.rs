//! A bundle is an ordinary tar archive, an OCI archive and a Docker archive, and its signatures are
//! ordinary signatures: programs that know nothing of us read the same out of it as we do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

#[allow(dead_code, reason = "each test file uses some of it")]
mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use layout::header::{self, BLOCK_BYTES, Block};
use manifests::inventory::Component;
use manifests::{ArchivePath, Digest, sigstore};
use testkit::real_part;
use testkit::sample::{Draft, IMAGE_NAME, SampleOptions, key, keyid, sample_bundle, sample_root};

fn run(dir: &Path, program: &Path, args: &[&str]) -> Output {
    Command::new(program).args(args).current_dir(dir).env("LC_ALL", "C").env("TZ", "UTC").output().unwrap()
}

/// Runs a program that must succeed, and gives what it printed.
fn ok(dir: &Path, program: &Path, args: &[&str]) -> String {
    let output = run(dir, program, args);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{} {args:?}: {errors}", program.display());
    assert!(errors.is_empty(), "{} {args:?} complains: {errors}", program.display());
    String::from_utf8(output.stdout).unwrap()
}

// What is in it.

/// Name and size of one entry.
type Listed = (String, u64);

/// What our own headers say.
fn listed_by_us(archive: &File) -> Vec<Listed> {
    let mut listed = Vec::new();
    let mut offset = 0;
    loop {
        let mut block: Block = [0; BLOCK_BYTES as usize];
        archive.read_exact_at(&mut block, offset).unwrap();
        if block == [0; BLOCK_BYTES as usize] {
            return listed;
        }
        let (path, size) = header::decode(&block).unwrap();
        listed.push((path.to_string(), size));
        offset += header::entry_bytes(size);
    }
}

/// What GNU tar says; every entry must be a plain file of root's from 1970.
fn listed_by_tar(tar: &Path, archive: &Path) -> Vec<Listed> {
    let text = ok(Path::new("/"), tar, &["--numeric-owner", "-tvf", archive.to_str().unwrap()]);
    let entry = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [mode, owner, size, date, time, name] = words[..] else { panic!("tar says {line:?}") };
        assert_eq!((mode, owner, date, time), ("-rw-r--r--", "0/0", "1970-01-01", "00:00"), "{line}");
        (name.to_string(), size.parse().unwrap())
    };
    text.lines().map(entry).collect()
}

/// What Python says, in the same way.
fn listed_by_python(python: &Path, archive: &Path) -> Vec<Listed> {
    const SCRIPT: &str = "import sys, tarfile
for m in tarfile.open(sys.argv[1], 'r:', errorlevel=2):
    assert m.isreg() and not m.issparse() and not m.pax_headers, m.name
    assert (m.mode, m.uid, m.gid, m.uname, m.gname, m.mtime) == (0o644, 0, 0, '', '', 0), m.name
    print(m.name, m.size)";
    let text = ok(Path::new("/"), python, &["-c", SCRIPT, archive.to_str().unwrap()]);
    let entry = |line: &str| {
        let (name, size) = line.split_once(' ').unwrap();
        (name.to_string(), size.parse().unwrap())
    };
    text.lines().map(entry).collect()
}

/// The funnel: everybody lists this archive alike.
fn lists_alike(archive: &Path) -> Vec<Listed> {
    let ours = listed_by_us(&File::open(archive).unwrap());
    if let Some(tar) = real_part("tar") {
        assert_eq!(listed_by_tar(&tar, archive), ours, "GNU tar");
    }
    if let Some(python) = real_part("python3") {
        assert_eq!(listed_by_python(&python, archive), ours, "Python");
    }
    ours
}

fn on_disk(archive: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sample-2.1.0.bundle.tar");
    std::fs::write(&path, archive).unwrap();
    (dir, path)
}

#[test]
fn tar_and_python_list_a_bundle_as_we_do() {
    let (_dir, path) = on_disk(&sample_bundle(&SampleOptions::default()).archive);
    let names: Vec<String> = lists_alike(&path).into_iter().map(|(name, _)| name).collect();
    let (signature, form) =
        (format!("signatures/{}.sig", keyid(1)), format!("signatures/{}.sigstore.json", keyid(1)));
    let head = ["bundle.json", &signature, &form, "signatures/.reserved", "SHA256SUMS"];
    assert_eq!(names[..5], head);
}

#[test]
fn tar_and_python_list_blobs_beyond_eight_gib_as_we_do() {
    const GIB: u64 = 1 << 30;
    let sizes = [8 * GIB - 1, 8 * GIB, 9 * GIB + 1, 5];
    let draft = Draft::new(&SampleOptions::default());
    let mut head = draft.forge();
    head.entries.retain(|entry| !entry.header.starts_with(b"blobs/"));
    head.end.clear();
    let head = head.bytes();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large.bundle.tar");
    let archive = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    archive.write_all_at(&head, 0).unwrap();
    // Only the headers are written: the contents are holes.
    let mut offset = head.len() as u64;
    for size in sizes {
        let blob = ArchivePath::Blob(Digest::of(&size.to_be_bytes()));
        archive.write_all_at(&header::encode(&blob, size), offset).unwrap();
        offset += header::entry_bytes(size);
    }
    archive.set_len(offset + 2 * BLOCK_BYTES).unwrap();
    let listed = lists_alike(&path);
    let large: Vec<u64> = listed.iter().rev().take(sizes.len()).rev().map(|(_, size)| *size).collect();
    assert_eq!(large, sizes);
}

#[test]
fn tar_unpacks_the_very_bytes() {
    let Some(tar) = real_part("tar") else { return };
    let draft = Draft::new(&SampleOptions::default());
    let (dir, path) = on_disk(&draft.archive());
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    ok(&out, &tar, &["-xf", path.to_str().unwrap()]);
    for entry in &draft.forge().entries {
        let name = String::from_utf8(entry.header[..100].to_vec()).unwrap();
        let found = std::fs::read(out.join(name.trim_end_matches('\0'))).unwrap();
        assert!(found == entry.content, "{name} has other bytes");
    }
    let files = support::picture(&out).values().filter(|(mode, _)| mode & 0o170_000 == 0o100_000).count();
    assert_eq!(files, draft.forge().entries.len(), "tar has unpacked something else, too");
}

// What others make of its content.

#[test]
fn skopeo_reads_the_image_out_of_it() {
    let Some(skopeo) = real_part("skopeo") else { return };
    let bundle = sample_bundle(&SampleOptions::default());
    let (dir, path) = on_disk(&bundle.archive);
    let image = bundle.inventory.components.iter().find_map(|component| match component {
        Component::Image(image) => Some(image),
        _ => None,
    });
    let image = image.unwrap();
    for (transport, digest_stays) in [("oci-archive", true), ("docker-archive", false)] {
        let source = format!("{transport}:{}:{IMAGE_NAME}", path.display());
        let text = ok(dir.path(), &skopeo, &["inspect", &source]);
        let seen: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&seen["Architecture"], &seen["Os"]), (&"amd64".into(), &"linux".into()), "{transport}");
        // Docker's own archive format has no manifest, so none is kept.
        if digest_stays {
            assert_eq!(seen["Digest"], image.manifest.digest.to_string());
        }
        let copy = dir.path().join(transport);
        let target = format!("dir:{}", copy.display());
        ok(dir.path(), &skopeo, &["--insecure-policy", "copy", "--quiet", &source, &target]);
        for digest in &image.blobs[1..] {
            let copied = std::fs::read(copy.join(digest.hex())).unwrap();
            assert!(copied == bundle.blobs[digest], "{transport}: {digest} has other bytes");
        }
    }
}

#[test]
fn pip_installs_the_wheel_out_of_it() {
    let Some(python) = real_part("python3") else { return };
    let bundle = sample_bundle(&SampleOptions::default());
    let dir = tempfile::tempdir().unwrap();
    for component in &bundle.inventory.components {
        let Component::Wheelhouse(wheelhouse) = component else { continue };
        for wheel in &wheelhouse.wheels {
            std::fs::write(dir.path().join(wheel.filename.as_str()), &bundle.blobs[&wheel.digest]).unwrap();
        }
    }
    let install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-index",
        "--find-links",
        ".",
        "--target",
        "out",
        "tiny==1.0",
    ];
    let output = run(dir.path(), &python, &install);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = ok(&dir.path().join("out"), &python, &["-c", "import tiny; print(tiny.ANSWER)"]);
    assert_eq!(printed.trim(), "42");
}

// The auditor, who trusts none of our programs.

const UNPACK: &str = "tar -xf X.bundle.tar";
const SIGNATURE: &str = "openssl pkeyutl -verify -pubin -inkey release.pub.pem -rawin -in bundle.json -sigfile signatures/$KEYID.sig";
const CHECKSUMS_SIGNED: &str = "grep -c \"$(sha256sum SHA256SUMS | cut -d' ' -f1)\" bundle.json";
const CHECKSUMS: &str = "sha256sum --check --strict --quiet SHA256SUMS";
const SECOND_OPINION: &str = "cosign verify-blob --key release.pub.pem --signature signatures/$KEYID.sig --insecure-ignore-tlog=true bundle.json";

/// An auditor's desk: a bundle, the publisher's public key that came on another channel, a shell.
struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    fn with(archive: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("X.bundle.tar"), archive).unwrap();
        std::fs::write(dir.path().join("release.pub.pem"), key(1).public().unwrap().pem()).unwrap();
        Self { dir }
    }

    /// Runs a line of the procedure, and tells whether it succeeded and what it printed.
    fn shell(&self, line: &str) -> (bool, String) {
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(self.dir.path());
        let output = command.env("KEYID", keyid(1).to_string()).env("LC_ALL", "C").output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).trim().to_string())
    }

    /// The steps that fail, of those whose tool is here.
    fn complaints(&self) -> Vec<&'static str> {
        PROCEDURE.iter().copied().filter(|line| !self.shell(line).0).collect()
    }
}

/// The steps whose tool is here; asked once, so that a missing tool is mentioned once.
static PROCEDURE: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let steps = [
        ("tar", UNPACK),
        ("openssl", SIGNATURE),
        ("grep", CHECKSUMS_SIGNED),
        ("sha256sum", CHECKSUMS),
        ("cosign", SECOND_OPINION),
    ];
    steps.into_iter().filter(|(tool, _)| real_part(tool).is_some()).map(|(_, line)| line).collect()
});

/// The funnel: exactly these steps of the auditor's procedure fail on this archive.
fn the_auditor_objects(case: &str, archive: &[u8], expected: &[&'static str]) {
    let expected: Vec<_> = expected.iter().copied().filter(|line| PROCEDURE.contains(line)).collect();
    assert_eq!(Desk::with(archive).complaints(), expected, "{case}");
}

#[test]
fn the_auditors_five_commands_pass_on_a_good_bundle() {
    let desk = Desk::with(&sample_bundle(&SampleOptions::default()).archive);
    assert_eq!(desk.complaints(), Vec::<&str>::new());
    assert_eq!(desk.shell(SIGNATURE).1, "Signature Verified Successfully");
    assert_eq!(desk.shell(CHECKSUMS_SIGNED).1, "1");
    // The key's identity, as it stands on paper.
    let (_, line) = desk.shell("openssl pkey -pubin -in release.pub.pem -outform DER | sha256sum");
    assert_eq!(line, format!("{}  -", keyid(1)));
    // SHA256SUMS leaves nothing out but the signed document, the signatures and itself.
    let listed = "cut -c 67- SHA256SUMS | sort";
    let there =
        "tar -tf X.bundle.tar | grep -v -e '^bundle.json$' -e '^signatures/' -e '^SHA256SUMS$' | sort";
    assert_eq!(desk.shell(listed), desk.shell(there));
}

#[test]
fn each_of_the_auditors_commands_fails_on_what_it_is_there_for() {
    let draft = Draft::new(&SampleOptions::default());
    let with = |name: &str, change: fn(&mut Vec<u8>)| {
        let mut forge = draft.forge();
        change(&mut forge.entry(name).content);
        forge.bytes()
    };
    let flip: fn(&mut Vec<u8>) = |content| content[1] ^= 1;
    the_auditor_objects("bundle.json", &with("bundle.json", flip), &[SIGNATURE, SECOND_OPINION]);
    the_auditor_objects("the signature", &with("signatures/", flip), &[SIGNATURE, SECOND_OPINION]);
    // A digest in it that is not the file's: both checks see it.
    the_auditor_objects("SHA256SUMS", &with("SHA256SUMS", flip), &[CHECKSUMS_SIGNED, CHECKSUMS]);
    let shorter: fn(&mut Vec<u8>) = |content| {
        let last = content.len() - 1;
        content[last] = b' ';
    };
    the_auditor_objects(
        "the end of SHA256SUMS",
        &with("SHA256SUMS", shorter),
        &[CHECKSUMS_SIGNED, CHECKSUMS],
    );
    for name in ["inventory.json", "oci-layout", "index.json", "manifest.json", "blobs/"] {
        the_auditor_objects(name, &with(name, flip), &[CHECKSUMS]);
    }
    for digest in draft.blobs.keys() {
        let name = format!("blobs/sha256/{}", digest.hex());
        the_auditor_objects(&name, &with(&name, flip), &[CHECKSUMS]);
        let mut forge = draft.forge();
        forge.entries.remove(forge.position(&name));
        the_auditor_objects(&format!("without {name}"), &forge.bytes(), &[CHECKSUMS]);
    }
    let mut forge = draft.forge();
    forge.entry("SHA256SUMS").header[150] ^= 1;
    the_auditor_objects_first("a header with a wrong checksum", &forge.bytes(), UNPACK);
}

#[test]
fn the_auditor_refuses_another_key_and_a_bundle_that_was_cut() {
    let draft = Draft::new(&SampleOptions::default());
    let desk = Desk::with(&draft.archive());
    std::fs::write(desk.dir.path().join("release.pub.pem"), key(2).public().unwrap().pem()).unwrap();
    assert_eq!(desk.complaints().first(), Some(&SIGNATURE));
    // tar sees a cut inside a file; one between two files only the checksums show.
    let whole = draft.archive();
    let last = draft.forge().entries.pop().unwrap();
    let content = whole.len() - 1024 - last.padding.len() - last.content.len();
    the_auditor_objects_first("cut inside the last file", &whole[..=content], UNPACK);
    the_auditor_objects_first("cut before the last file", &whole[..content - 512], CHECKSUMS);
}

fn the_auditor_objects_first(case: &str, archive: &[u8], expected: &'static str) {
    assert_eq!(Desk::with(archive).complaints().first(), Some(&expected), "{case}");
}

/// Whether cosign takes a Sigstore bundle of the new format, with this key, over this file.
fn cosign_takes(dir: &Path, cosign: &Path, form: &str, key: &str, file: &str) -> bool {
    const NO_ROOT: &str = "{\"mediaType\":\"application/vnd.dev.sigstore.trustedroot+json;version=0.1\"}\n";
    std::fs::write(dir.join("empty.json"), NO_ROOT).unwrap();
    let root = ["--trusted-root", "empty.json", "--insecure-ignore-tlog=true"];
    let what = ["verify-blob", "--bundle", form, "--new-bundle-format", "--key", key];
    run(dir, cosign, &[what.as_slice(), &root, &[file]].concat()).status.success()
}

#[test]
fn cosign_verifies_the_derived_form_of_each_signer() {
    let (Some(cosign), Some(tar)) = (real_part("cosign"), real_part("tar")) else { return };
    let options = SampleOptions::default().release(&[(1, "alice"), (2, "bob")], 2, &[1, 2]);
    let (dir, path) = on_disk(&sample_bundle(&options).archive);
    let dir = dir.path();
    ok(dir, &tar, &["-xf", path.to_str().unwrap()]);
    for seed in [1, 2, 3] {
        std::fs::write(dir.join(format!("{seed}.pem")), key(seed).public().unwrap().pem()).unwrap();
    }
    let mut other = std::fs::read(dir.join("bundle.json")).unwrap();
    other[20] ^= 1;
    std::fs::write(dir.join("other.json"), other).unwrap();
    for seed in [1, 2] {
        let form = format!("signatures/{}.sigstore.json", keyid(seed));
        for by in [1, 2, 3] {
            let taken = cosign_takes(dir, &cosign, &form, &format!("{by}.pem"), "bundle.json");
            assert_eq!(taken, by == seed, "the form of {seed} with the key of {by}");
        }
        let taken = cosign_takes(dir, &cosign, &form, &format!("{seed}.pem"), "other.json");
        assert!(!taken, "another document");
    }
}

#[test]
fn cosign_verifies_the_form_that_is_derived_from_an_ecdsa_signature() {
    let (Some(cosign), Some(openssl)) = (real_part("cosign"), real_part("openssl")) else { return };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(dir.join("bundle.json"), "{}\n").unwrap();
    let curve = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    run(dir, &openssl, &[["genpkey", "-out", "key.pem"].as_slice(), &curve].concat());
    ok(dir, &openssl, &["pkey", "-in", "key.pem", "-pubout", "-out", "pub.pem"]);
    ok(dir, &openssl, &["pkey", "-in", "key.pem", "-pubout", "-outform", "DER", "-out", "pub.der"]);
    ok(dir, &openssl, &["dgst", "-sha256", "-sign", "key.pem", "-out", "sig", "bundle.json"]);
    let keyid = Digest::of(&std::fs::read(dir.join("pub.der")).unwrap()).hex().parse().unwrap();
    let raw = std::fs::read(dir.join("sig")).unwrap();
    std::fs::write(dir.join("form.json"), sigstore::derive(keyid, &raw, b"{}\n").unwrap()).unwrap();
    assert!(cosign_takes(dir, &cosign, "form.json", "pub.pem", "bundle.json"));
    std::fs::write(dir.join("form.json"), sigstore::derive(keyid, &raw, b"[]\n").unwrap()).unwrap();
    std::fs::write(dir.join("other.json"), "[]\n").unwrap();
    assert!(!cosign_takes(dir, &cosign, "form.json", "pub.pem", "other.json"));
}

#[test]
fn openssl_verifies_a_trust_root_as_it_does_a_bundle() {
    let Some(openssl) = real_part("openssl") else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("root.json");
    let root = sample_root(&SampleOptions::default());
    layout::signed_file::write(&path, &root).unwrap();
    let root_key = testkit::sample::ROOT_SEED;
    std::fs::write(dir.path().join("root.pub.pem"), key(root_key).public().unwrap().pem()).unwrap();
    let signature = format!("root.json.sigs/{}.sig", keyid(root_key));
    let verify = [
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        "root.pub.pem",
        "-rawin",
        "-in",
        "root.json",
        "-sigfile",
        &signature,
    ];
    assert!(ok(dir.path(), &openssl, &verify).contains("Signature Verified Successfully"));
    let mut changed = root.bytes;
    changed[10] ^= 1;
    std::fs::write(&path, changed).unwrap();
    assert!(!run(dir.path(), &openssl, &verify).status.success());
}

#[test]
fn openssl_signs_a_bundle_that_we_then_accept() {
    let Some(openssl) = real_part("openssl") else { return };
    let mut draft = Draft::new(&SampleOptions::default());
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("bundle.json"), &draft.manifest_bytes).unwrap();
    std::fs::write(dir.path().join("key.pem"), key(1).to_pem().unwrap()).unwrap();
    ok(
        dir.path(),
        &openssl,
        &["pkeyutl", "-sign", "-inkey", "key.pem", "-rawin", "-in", "bundle.json", "-out", "sig"],
    );
    let ours: BTreeMap<_, _> = draft.signatures.iter().cloned().collect();
    draft.signatures = vec![(keyid(1), std::fs::read(dir.path().join("sig")).unwrap())];
    assert_eq!(draft.signatures[0].1, ours[&keyid(1)], "Ed25519 has one signature for one message");
    let scene = support::Scene::new(&SampleOptions::default());
    scene.carry(&draft.archive());
    scene.admit().unwrap();
}
