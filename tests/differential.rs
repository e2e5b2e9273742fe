//! On every archive that we accept, GNU tar, Python's `tarfile` and the `tar` crate see the same: the same
//! names in the same order, with the same sizes and bytes, and nothing else.
//!
//! A bundle that two readers see in two ways would be one thing to the auditor and another to the site.

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
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use layout::header;
use layout::reader::{BundleReader, Sink};
use manifests::bundle::Content;
use manifests::{ArchivePath, BundleManifest, Digest};
use proptest::prelude::*;
use support::Scene;
use testkit::real_part;
use testkit::sample::{Draft, SampleOptions, UNKNOWN_SEED, draft_of_files};

/// Name, size and the digest of the bytes of one entry.
type Seen = (String, u64, String);

fn seen(name: String, bytes: &[u8]) -> Seen {
    (name, bytes.len() as u64, Digest::of(bytes).hex())
}

// ---- readers ------------------------------------------------------------------------------------------

/// What our own headers say, from the first entry to the end.
fn by_our_headers(archive: &[u8]) -> Vec<Seen> {
    let (mut found, mut offset) = (Vec::new(), 0);
    while let Ok((path, size)) = header::decode(archive[offset..offset + 512].try_into().unwrap()) {
        let length = usize::try_from(size).unwrap();
        found.push(seen(path.to_string(), &archive[offset + 512..offset + 512 + length]));
        offset += usize::try_from(header::entry_bytes(size)).unwrap();
    }
    assert_eq!(archive.len(), offset + 1024, "the archive goes on after its end");
    found
}

/// Keeps what our reader hands on.
#[derive(Default)]
struct Kept {
    found: Vec<Seen>,
    current: Option<(ArchivePath, Content, Vec<u8>)>,
}

impl Sink for Kept {
    fn begin(&mut self, path: &ArchivePath, content: Content) -> io::Result<()> {
        self.current = Some((path.clone(), content, Vec::new()));
        Ok(())
    }
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.current.as_mut().unwrap().2.extend_from_slice(bytes);
        Ok(())
    }
    fn end(&mut self, found: Content) -> io::Result<()> {
        let (path, content, bytes) = self.current.take().unwrap();
        assert_eq!(content.size, bytes.len() as u64);
        assert_eq!(found, Content::of(&bytes));
        self.found.push(seen(path.to_string(), &bytes));
        Ok(())
    }
}

/// What our reader hands on while it checks: documents, then contents.
fn by_our_reader(archive: &[u8]) -> Vec<Seen> {
    let mut reader = BundleReader::open(archive).unwrap();
    let manifest = BundleManifest::from_bytes(&reader.head().manifest).unwrap();
    let mut found = vec![seen("bundle.json".to_string(), &reader.head().manifest)];
    for signature in &reader.head().signatures {
        found.push(seen(format!("signatures/{}.sig", signature.claimed), &signature.bytes));
    }
    let (contents, documents) = reader.contents(&manifest).unwrap();
    found.push(seen("SHA256SUMS".to_string(), &documents.checksums));
    found.push(seen("inventory.json".to_string(), &documents.inventory));
    let mut kept = Kept::default();
    reader.stream(contents, &mut kept, &mut |_| {}).unwrap();
    found.extend(kept.found);
    found
}

fn lines(program: &Path, args: &[&str]) -> Vec<String> {
    let ran = Command::new(program).args(args).env("LC_ALL", "C").env("TZ", "UTC").output().unwrap();
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && errors.is_empty(), "{} {args:?}: {errors}", program.display());
    String::from_utf8(ran.stdout).unwrap().lines().map(str::to_string).collect()
}

/// `NAME SIZE DIGEST`
fn parsed(line: &str) -> Seen {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [name, size, digest] = words[..] else { panic!("{line:?}") };
    (name.to_string(), size.parse().unwrap(), digest.to_string())
}

/// GNU tar's list, with the bytes of what it unpacks.
fn by_gnu_tar(tar: &Path, archive: &str) -> Vec<Seen> {
    let list = lines(tar, &["--numeric-owner", "--list", "--verbose", "--file", archive]);
    let out = support::fast_dir();
    lines(tar, &["--extract", "--file", archive, "--directory", out.path().to_str().unwrap()]);
    let entry = |line: &String| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["-rw-r--r--", "0/0", size, "1970-01-01", "00:00", name] = words[..] else { panic!("{line:?}") };
        let unpacked = seen(name.to_string(), &std::fs::read(out.path().join(name)).unwrap());
        assert_eq!(unpacked.1.to_string(), size, "{name} is unpacked longer or shorter than it is listed");
        unpacked
    };
    let found: Vec<Seen> = list.iter().map(entry).collect();
    let files =
        support::picture(out.path()).values().filter(|(mode, _)| mode & 0o170_000 == 0o100_000).count();
    assert_eq!(files, found.len(), "GNU tar unpacks something that it does not list");
    found
}

fn by_python(python: &Path, archive: &str) -> Vec<Seen> {
    const SCRIPT: &str = "import hashlib, sys, tarfile
with tarfile.open(sys.argv[1], 'r:', errorlevel=2) as archive:
    for m in archive:
        assert m.isreg() and not m.issparse() and not m.pax_headers, m.name
        content = archive.extractfile(m).read()
        assert len(content) == m.size, m.name
        print(m.name, m.size, hashlib.sha256(content).hexdigest())";
    lines(python, &["-I", "-c", SCRIPT, archive]).iter().map(|line| parsed(line)).collect()
}

fn by_the_tar_crate(archive: &[u8]) -> Vec<Seen> {
    let mut archive = tar::Archive::new(archive);
    let entry = |entry: io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        assert!(entry.header().entry_type().is_file());
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        seen(name, &bytes)
    };
    archive.entries().unwrap().map(entry).collect()
}

/// The tools that are here; asked once, so that a missing one is mentioned once.
static TOOLS: LazyLock<[Option<PathBuf>; 2]> = LazyLock::new(|| [real_part("tar"), real_part("python3")]);

/// The funnel: a site takes this archive, and everybody sees the same in it.
fn everybody_sees_the_same(options: &SampleOptions, archive: &[u8]) {
    let scene = Scene::new(options);
    scene.carry(archive);
    let bundle = scene.admit().unwrap();
    support::holds_exactly(&scene, &bundle);
    let ours = by_our_headers(archive);
    let handed_on = by_our_reader(archive);
    // What the reader passes over is checked whole: the reserved zeros, and what follows from a signature.
    let passed_over = |entry: &&Seen| !entry.0.starts_with("signatures/") || entry.0.ends_with(".sig");
    assert_eq!(ours.iter().filter(passed_over).cloned().collect::<Vec<_>>(), handed_on);
    assert_eq!(by_the_tar_crate(archive), ours, "the tar crate");
    let [tar, python] = &*TOOLS;
    let path = scene.bundle.to_str().unwrap();
    if let Some(tar) = tar {
        assert_eq!(by_gnu_tar(tar, path), ours, "GNU tar");
    }
    if let Some(python) = python {
        assert_eq!(by_python(python, path), ours, "Python");
    }
}

// ---- shapes -------------------------------------------------------------------------------------------

/// Lengths around those at which padding, a block or a record of tar begins or ends.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        prop::sample::select(vec![0, 1, 2, 510, 511, 512, 513, 1023, 1024, 1025, 10_239, 10_240, 10_241]),
        0_usize..4096,
    ]
}

/// Zeros are what the end of an archive looks like, and a header what its next entry does.
fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        length().prop_flat_map(|length| prop::collection::vec(any::<u8>(), length)),
        length().prop_map(|length| vec![0; length]),
        Just(header::encode(&ArchivePath::Manifest, 5).to_vec()),
        Just([header::encode(&ArchivePath::Checksums, 512).as_slice(), &[0; 1024]].concat()),
        Just(b"{\"schemaVersion\":2,\"layers\":[]}".to_vec()),
    ]
}

fn path() -> impl Strategy<Value = String> {
    "[a-z][a-zA-Z0-9 ._-]{0,99}(/[a-z0-9][a-zA-Z0-9 ._-]{0,99}){0,3}"
}

fn files() -> impl Strategy<Value = BTreeMap<String, Vec<u8>>> {
    let prefixed = prop::collection::vec((path(), content()), 0..7);
    // A number in front: no path is the directory of another one.
    prefixed.prop_map(|files| {
        let number = |(number, (path, bytes)): (usize, (String, Vec<u8>))| (format!("{number}{path}"), bytes);
        files.into_iter().enumerate().map(number).collect()
    })
}

/// One to three holders, all of whom sign, and sometimes somebody whom the site does not know.
fn signers() -> impl Strategy<Value = SampleOptions> {
    (1_u8..=3, any::<bool>(), 0_u64..=u64::MAX).prop_map(|(count, stranger, sequence)| {
        let names = ["alice", "bob", "carol"];
        let role: Vec<(u8, &str)> = (1..=count).zip(names).collect();
        let mut signing: Vec<u8> = (1..=count).collect();
        signing.extend(stranger.then_some(UNKNOWN_SEED));
        SampleOptions { sequence, ..SampleOptions::default().release(&role, count.into(), &signing) }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn everybody_sees_the_same_in_bundles_of_all_shapes(options in signers(), files in files()) {
        everybody_sees_the_same(&options, &draft_of_files(&options, &files).archive());
    }
}

#[test]
fn everybody_sees_the_same_in_a_bundle_of_every_kind_and_in_one_of_nothing() {
    let options = SampleOptions::default();
    everybody_sees_the_same(&options, &Draft::new(&options).archive());
    everybody_sees_the_same(&options, &draft_of_files(&options, &BTreeMap::new()).archive());
    let three = options.release(&[(1, "alice"), (2, "bob"), (3, "carol")], 2, &[3, 1]);
    everybody_sees_the_same(&three, &Draft::new(&three).archive());
}

#[test]
fn everybody_sees_the_same_in_a_bundle_whose_signature_area_is_full_of_strangers() {
    // The one part of an archive whose bytes nobody has signed: names and lengths are all there is to it.
    let options = SampleOptions::default();
    for length in [0, 1, 64, 511, 512] {
        let mut forge = Draft::new(&options).forge();
        for number in 0..8_u8 {
            let name = format!("signatures/{}.sig", Digest::of(&[number]).hex());
            let place = forge.position("signatures/.reserved");
            forge.entries.insert(place, testkit::sample::Entry::new(&name, &vec![number; length]));
        }
        forge.reserve_again();
        everybody_sees_the_same(&options, &forge.bytes());
    }
}

#[test]
fn a_bundle_of_more_than_a_record_of_files_is_seen_alike() {
    let options = SampleOptions::default();
    let files = (0..300).map(|number| (format!("f{number:03}"), vec![number as u8; number * 7])).collect();
    everybody_sees_the_same(&options, &draft_of_files(&options, &files).archive());
}
