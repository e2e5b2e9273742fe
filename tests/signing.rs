//! Signing an archive in place: a few blocks of the signature area are written, in an order in which a
//! power cut never leaves anything that is read as signed and is not.

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

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use bundler::sign::{Candidate, SignError, Signed};
use edge::{Classified, Exit};
use layout::header::{self, BLOCK_BYTES};
use layout::reader::{BundleReader, Head, ReadError};
use layout::signatures::{AREA_BYTES, AttachError};
use manifests::{ArchivePath, KeyId, sigstore};
use support::{Scene, message};
use testkit::sample::{Draft, Field, SampleOptions, key, keyid, sample_bundle, signature};

/// Three of three holders must sign.
fn options(signers: &[u8]) -> SampleOptions {
    SampleOptions::default().release(&[(1, "alice"), (2, "bob"), (3, "carol")], 3, signers)
}

fn read(archive: &[u8]) -> Result<Head, ReadError> {
    BundleReader::open(archive).map(|reader| reader.head().clone())
}

fn signers(head: &Head) -> Vec<KeyId> {
    head.signatures.iter().map(|signature| signature.claimed).collect()
}

/// Where the signature area starts, and where what follows it does.
fn area(archive: &[u8]) -> (usize, usize) {
    let head = read(archive).unwrap();
    let start = header::entry_bytes(head.manifest.len() as u64);
    let end = start + BLOCK_BYTES + AREA_BYTES;
    (usize::try_from(start).unwrap(), usize::try_from(end).unwrap())
}

/// An archive in a file of its own.
fn on_disk(archive: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = support::fast_dir();
    let path = dir.path().join("bundle.tar");
    std::fs::write(&path, archive).unwrap();
    (dir, path)
}

fn sign(path: &Path, seed: u8) -> Result<Signed, SignError> {
    Candidate::open(path)?.sign(&key(seed))
}

#[test]
fn a_second_and_a_third_signature_change_only_the_signature_area() {
    let before = sample_bundle(&options(&[1])).archive;
    let (start, end) = area(&before);
    let (_dir, path) = on_disk(&before);
    for (seed, so_far) in [(2, vec![1, 2]), (3, vec![1, 2, 3])] {
        assert_eq!(sign(&path, seed).unwrap(), Signed::Attached);
        let after = std::fs::read(&path).unwrap();
        assert_eq!(after.len(), before.len());
        assert!(after[..start] == before[..start], "bundle.json has changed");
        assert!(after[end..] == before[end..], "something after the signature area has changed");
        let expected: Vec<KeyId> = so_far.iter().map(|seed| keyid(*seed)).collect();
        assert_eq!(signers(&read(&after).unwrap()), expected);
        // Signing later gives the bytes that signing at once gives.
        assert!(after == sample_bundle(&options(&so_far)).archive);
    }
}

#[test]
fn a_site_takes_the_bundle_only_when_the_last_signature_is_in_it() {
    let scene = Scene::new(&options(&[1]));
    scene.carry(&sample_bundle(&options(&[1])).archive);
    for seed in [2, 3] {
        let failure = scene.admit().unwrap_err();
        assert_eq!(failure.exit(), Exit::Refused);
        assert!(message(&failure).contains("of 3 needed holders have signed"), "{failure:?}");
        sign(&scene.bundle, seed).unwrap();
    }
    scene.admit().unwrap();
}

#[test]
fn signing_twice_with_one_key_changes_nothing() {
    let archive = sample_bundle(&options(&[1])).archive;
    let (_dir, path) = on_disk(&archive);
    assert_eq!(sign(&path, 1).unwrap(), Signed::AlreadyThere);
    assert!(std::fs::read(&path).unwrap() == archive);
}

/// The writes of attaching a signature of `seed`, in their order: offset and bytes.
fn writes(archive: &[u8], seed: u8) -> Vec<(usize, Vec<u8>)> {
    let head = read(archive).unwrap();
    let (keyid, raw) = signature(seed, &head.manifest);
    let at = usize::try_from(head.reserved_offset).unwrap();
    let form = sigstore::derive(keyid, &raw, &head.manifest).unwrap();
    let of_form = header::encode(&ArchivePath::Sigstore(keyid), form.len() as u64).to_vec();
    let content = [block(raw), of_form, block(form)].concat();
    let taken = 512 + content.len();
    let rest = header::encode(&ArchivePath::Reserved, head.reserved_bytes - taken as u64);
    let first = header::encode(&ArchivePath::Signature(keyid), 64);
    vec![(at + taken, rest.to_vec()), (at + 512, content), (at, first.to_vec())]
}

/// One block that starts so.
fn block(mut content: Vec<u8>) -> Vec<u8> {
    content.resize(512, 0);
    content
}

fn apply(archive: &[u8], writes: &[(usize, Vec<u8>)]) -> Vec<u8> {
    let mut archive = archive.to_vec();
    for (offset, bytes) in writes {
        archive[*offset..offset + bytes.len()].copy_from_slice(bytes);
    }
    archive
}

#[test]
fn the_writes_of_these_tests_are_those_of_the_program() {
    let archive = sample_bundle(&options(&[1])).archive;
    let (_dir, path) = on_disk(&archive);
    sign(&path, 2).unwrap();
    assert!(apply(&archive, &writes(&archive, 2)) == std::fs::read(&path).unwrap());
}

#[test]
fn the_header_that_makes_a_signature_count_is_written_last() {
    // Somebody looks all the time, on a disk whose flushes leave time to look: whenever the header is
    // there, everything that it announces must be.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle.tar");
    std::fs::write(&path, sample_bundle(&options(&[])).archive).unwrap();
    for seed in 1..=16 {
        let writes = writes(&std::fs::read(&path).unwrap(), seed);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watcher = scope.spawn(|| watch(&path, &writes, &done));
            let signed = sign(&path, seed);
            done.store(true, Ordering::SeqCst);
            watcher.join().unwrap();
            assert_eq!(signed.unwrap(), Signed::Attached);
        });
    }
}

fn watch(path: &Path, writes: &[(usize, Vec<u8>)], done: &AtomicBool) {
    let archive = File::open(path).unwrap();
    let there = |(offset, bytes): &(usize, Vec<u8>)| {
        let mut found = vec![0; bytes.len()];
        archive.read_exact_at(&mut found, *offset as u64).unwrap();
        found == *bytes
    };
    let [announced @ .., header] = writes else { unreachable!() };
    while !done.load(Ordering::SeqCst) {
        if there(header) {
            assert!(announced.iter().all(there), "the header is there before what it announces");
        }
    }
}

/// What a power cut leaves is the old archive, or it is refused because its area is not all zeros; and
/// whoever signs next puts it right.
fn survives_a_cut(old: &[u8], cut: &[u8], seed: u8, case: &str) {
    match read(cut) {
        Ok(head) => assert!(cut == old, "{case}: reads as signed by {:?}", signers(&head)),
        Err(ReadError::NotZero { place, .. }) => {
            assert_eq!(place, "in the area reserved for signatures", "{case}")
        }
        Err(other) => panic!("{case}: {other}"),
    }
    let (_dir, path) = on_disk(cut);
    let candidate = Candidate::open(&path).unwrap_or_else(|error| panic!("{case}: {error}"));
    drop(candidate);
    assert!(std::fs::read(&path).unwrap() == old, "{case}: opening it has not brought the old archive back");
    sign(&path, seed).unwrap();
    assert!(
        std::fs::read(&path).unwrap() == apply(old, &writes(old, seed)),
        "{case}: the next signature differs"
    );
}

#[test]
fn a_power_cut_between_the_writes_leaves_the_old_archive_or_a_refused_one() {
    for present in [vec![1], vec![1, 2]] {
        let old = sample_bundle(&options(&present)).archive;
        let writes = writes(&old, 3);
        for done in 0..writes.len() {
            survives_a_cut(
                &old,
                &apply(&old, &writes[..done]),
                3,
                &format!("{present:?}, {done} writes done"),
            );
        }
    }
}

#[test]
fn a_power_cut_inside_a_write_leaves_the_old_archive_or_a_refused_one() {
    // The last write is one aligned block, which a disk writes whole or not at all.
    let old = sample_bundle(&options(&[1])).archive;
    let writes = writes(&old, 2);
    for whole in 0..2 {
        for bytes in 1..writes[whole].1.len() {
            let mut torn = writes[..=whole].to_vec();
            torn[whole].1.truncate(bytes);
            survives_a_cut(&old, &apply(&old, &torn), 2, &format!("{bytes} bytes of write {whole}"));
        }
    }
}

#[test]
fn writes_that_a_disk_has_reordered_are_refused_until_the_header_is_there() {
    // Without a flush between them, the second write can be there without the first.
    let old = sample_bundle(&options(&[1])).archive;
    let writes = writes(&old, 2);
    survives_a_cut(&old, &apply(&old, &writes[1..2]), 2, "only the second write");
    // Of the second write's blocks any may be there: the signature, its form's header, the form.
    let (offset, content) = &writes[1];
    let blocks: Vec<(usize, Vec<u8>)> =
        content.chunks(512).enumerate().map(|(n, block)| (offset + n * 512, block.to_vec())).collect();
    assert_eq!(blocks.len(), 3);
    for there in 1..1 << blocks.len() {
        let some = blocks.iter().enumerate().filter(|(n, _)| there >> n & 1 == 1).map(|(_, b)| b.clone());
        let some: Vec<_> = some.collect();
        for first in [&writes[..0], &writes[..1]] {
            let cut = apply(&apply(&old, first), &some);
            survives_a_cut(&old, &cut, 2, &format!("blocks {there:#b} after {} writes", first.len()));
        }
    }
}

#[test]
fn a_full_area_says_so_and_stays_as_it_is() {
    let room = u8::try_from(AREA_BYTES / (2 * header::entry_bytes(64))).unwrap();
    let (_dir, path) = on_disk(&sample_bundle(&options(&[])).archive);
    for seed in 1..=room {
        assert_eq!(sign(&path, seed).unwrap(), Signed::Attached, "signature {seed}");
    }
    let full = std::fs::read(&path).unwrap();
    assert_eq!(read(&full).unwrap().signatures.len(), usize::from(room));
    let error = sign(&path, room + 1).unwrap_err();
    assert!(matches!(error, SignError::Attach(AttachError::Full(0))), "{error}");
    assert!(error.to_string().contains("no room for another signature"), "{error}");
    assert!(std::fs::read(&path).unwrap() == full);
    // The area's last signature counts as its first.
    let scene = Scene::new(&SampleOptions::default().release(&[(room, "zoe")], 1, &[]));
    scene.carry(&full);
    scene.admit().unwrap();
}

/// Which signatures have their derived form, in the order of the archive.
fn forms(archive: &[u8]) -> Vec<(KeyId, bool)> {
    let mut found: Vec<(KeyId, bool)> = Vec::new();
    let mut offset = area(archive).0;
    loop {
        let header = archive[offset..offset + 512].try_into().unwrap();
        let (path, size) = header::decode(&header).unwrap();
        match path {
            ArchivePath::Signature(keyid) => found.push((keyid, false)),
            ArchivePath::Sigstore(keyid) => *found.last_mut().unwrap() = (keyid, true),
            _ => return found,
        }
        offset += usize::try_from(header::entry_bytes(size)).unwrap();
    }
}

#[test]
fn where_the_area_has_no_room_for_a_derived_form_the_signature_comes_alone() {
    // One signature from before there were derived forms, so that an odd block pair is left at the end.
    let mut forge = Draft::new(&options(&[1])).forge();
    forge.entries.remove(forge.position(&ArchivePath::Sigstore(keyid(1)).to_string()));
    forge.reserve_again();
    let (_dir, path) = on_disk(&forge.bytes());
    for seed in 2..=17 {
        assert_eq!(sign(&path, seed).unwrap(), Signed::Attached, "signature {seed}");
    }
    let full = std::fs::read(&path).unwrap();
    let expected: Vec<_> = (1..=17).map(|seed| (keyid(seed), (2..17).contains(&seed))).collect();
    assert_eq!(forms(&full), expected);
    let scene = Scene::new(&SampleOptions::default().release(&[(1, "alice"), (17, "zoe")], 2, &[]));
    scene.carry(&full);
    scene.admit().unwrap();
}

#[test]
fn a_writer_gives_every_signature_its_place_before_any_derived_form() {
    for signers in [16, 20, 32] {
        let signers: Vec<u8> = (1..=signers).collect();
        let archive = sample_bundle(&options(&signers)).archive;
        let with_forms = 32 - signers.len();
        let expected: Vec<_> =
            signers.iter().enumerate().map(|(n, seed)| (keyid(*seed), n < with_forms)).collect();
        assert_eq!(forms(&archive), expected);
        let scene = Scene::new(&options(&[]));
        scene.carry(&archive);
        scene.admit().unwrap();
    }
}

#[test]
fn a_wrong_signature_is_refused_and_nothing_is_written() {
    let archive = sample_bundle(&options(&[1])).archive;
    let other = sample_bundle(&SampleOptions { sequence: 41, ..options(&[1]) });
    let (_dir, path) = on_disk(&archive);
    let mut candidate = Candidate::open(&path).unwrap();
    let good = signature(2, candidate.bytes()).1;
    let of_another = signature(2, &other.manifest.to_bytes().unwrap()).1;
    let mut flipped = good.clone();
    flipped[10] ^= 1;
    let long = [good.as_slice(), &[0]].concat();
    for (case, raw) in [
        ("another key's", signature(3, candidate.bytes()).1),
        ("over another bundle", of_another),
        ("with one bit changed", flipped),
        ("too short", good[..63].to_vec()),
        ("too long", long),
        ("empty", Vec::new()),
    ] {
        let error = candidate.attach(&key(2).public().unwrap(), &raw).unwrap_err();
        assert!(matches!(error, SignError::Wrong(found) if found == keyid(2)), "{case}: {error}");
        assert_eq!(error.exit(), Exit::Refused, "{case}");
        assert!(std::fs::read(&path).unwrap() == archive, "{case}: something was written");
    }
}

#[test]
fn an_archive_whose_area_does_not_add_up_is_never_written_to() {
    // Cleaning believes the size of the reserved entry: a wrong one would wipe what follows the area.
    let mut forge = Draft::new(&options(&[1])).forge();
    let size = format!("{AREA_BYTES:011o}\0");
    forge.entry("signatures/.reserved").set(Field::Size, size.as_bytes());
    *forge.entry("bundle.json").padding.last_mut().unwrap() = 1;
    let archive = forge.bytes();
    let (_dir, path) = on_disk(&archive);
    assert!(matches!(Candidate::open(&path), Err(SignError::Read { .. })));
    assert!(std::fs::read(&path).unwrap() == archive, "opening a damaged archive has changed it");
}

#[test]
fn damage_elsewhere_is_not_wiped_away_as_a_cut_signature() {
    let mut forge = Draft::new(&options(&[1])).forge();
    *forge.entry("bundle.json").padding.last_mut().unwrap() = 1;
    let archive = forge.bytes();
    let (_dir, path) = on_disk(&archive);
    let error = Candidate::open(&path).err().unwrap();
    assert_eq!(error.exit(), Exit::Damaged, "{error}");
    assert!(std::fs::read(&path).unwrap() == archive, "opening a damaged archive has changed it");
}
