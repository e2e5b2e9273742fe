//! Whatever happens to a bundle on its way, a site refuses it and is as it was before: every byte changed,
//! one at a time; the file cut at every length; one byte added.
//!
//! Each of the hundred thousand cases goes the whole way, from the site's own trust root to its store.

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
use std::ops::Range;
use std::os::unix::fs::FileExt;

use edge::Exit;
use manifests::ArchivePath;
use support::{Picture, Scene, blames_the_bundle, message};
use testkit::sample::{SampleOptions, sample_bundle};

/// Two of two holders sign: with one signature more than needed, damage to it might be overlooked.
fn options() -> SampleOptions {
    SampleOptions::default().release(&[(1, "alice"), (2, "bob")], 2, &[1, 2])
}

/// A site, and the archive that lies before it, changed in place.
struct Bench {
    scene: Scene,
    archive: File,
    before: Picture,
}

impl Bench {
    fn new(archive: &[u8]) -> Self {
        let scene = Scene::new(&options());
        let archive = scene.carry(archive);
        let before = scene.picture();
        Self { scene, archive, before }
    }

    /// The funnel: whatever `case` is, the site says no and stays as it was.
    fn refuses(&self, case: &str) -> Exit {
        let failure = match self.scene.admit() {
            Ok(_) => panic!("{case}: admitted"),
            Err(failure) => failure,
        };
        assert!(blames_the_bundle(failure.exit()), "{case}: {:?}: {}", failure.exit(), message(&failure));
        assert!(self.scene.picture() == self.before, "{case}: the site has changed");
        failure.exit()
    }
}

/// Runs `work` on as many threads as there are processors; each gets a bench of its own and its share of
/// `cases`.
fn on_all_processors(
    archive: &[u8],
    cases: usize,
    work: impl Fn(&Bench, &mut dyn Iterator<Item = usize>) + Sync,
) {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for first in 0..workers {
            let work = &work;
            scope.spawn(move || work(&Bench::new(archive), &mut (first..cases).step_by(workers)));
        }
    });
}

/// Where the content of each entry before the reserved area lies.
fn first_ranges(archive: &[u8]) -> Vec<(ArchivePath, Range<usize>)> {
    let mut ranges = Vec::new();
    let mut offset = 0;
    loop {
        let header = archive[offset..offset + 512].try_into().unwrap();
        let (path, size) = layout::header::decode(&header).unwrap();
        if path == ArchivePath::Reserved {
            return ranges;
        }
        let start = offset + 512;
        ranges.push((path, start..start + usize::try_from(size).unwrap()));
        offset += usize::try_from(layout::header::entry_bytes(size)).unwrap();
    }
}

/// Where the signed document and the signatures lie. Damage there is a bad signature (exit code 3);
/// damage anywhere else is damage (exit code 4), also in what is derived from them.
fn signed_ranges(archive: &[u8]) -> Vec<Range<usize>> {
    let is_signed = |path: &ArchivePath| matches!(path, ArchivePath::Manifest | ArchivePath::Signature(_));
    let ranges = first_ranges(archive).into_iter().filter(|(path, _)| is_signed(path));
    let ranges: Vec<_> = ranges.map(|(_, range)| range).collect();
    assert_eq!(ranges.len(), 3, "the document and two signatures");
    ranges
}

/// Where the forms that are derived from the signatures lie.
fn derived_ranges(archive: &[u8]) -> Vec<Range<usize>> {
    let is_derived = |path: &ArchivePath| matches!(path, ArchivePath::Sigstore(_));
    let ranges = first_ranges(archive).into_iter().filter(|(path, _)| is_derived(path));
    let ranges: Vec<_> = ranges.map(|(_, range)| range).collect();
    assert_eq!(ranges.len(), 2, "one for each signature");
    ranges
}

fn every_byte_changed_by(mask: u8) {
    let archive = sample_bundle(&options()).archive;
    let signed = signed_ranges(&archive);
    on_all_processors(&archive, archive.len(), |bench, offsets| {
        for offset in offsets {
            let good = archive[offset];
            bench.archive.write_all_at(&[good ^ mask], offset as u64).unwrap();
            let exit = bench.refuses(&format!("byte {offset} changed by {mask:#04x}"));
            let expected = if signed.iter().any(|range| range.contains(&offset)) {
                Exit::Refused
            } else {
                Exit::Damaged
            };
            assert_eq!(exit, expected, "byte {offset} changed by {mask:#04x}");
            bench.archive.write_all_at(&[good], offset as u64).unwrap();
        }
        bench.scene.admit().expect("the archive is whole again");
    });
}

#[test]
fn refuses_the_bundle_with_the_lowest_bit_of_any_byte_changed() {
    every_byte_changed_by(0x01);
}

#[test]
fn refuses_the_bundle_with_the_highest_bit_of_any_byte_changed() {
    every_byte_changed_by(0x80);
}

#[test]
fn refuses_the_bundle_with_any_bit_of_some_bytes_changed() {
    // A prime, so that every position within a block has its turn.
    const STRIDE: usize = 61;
    let archive = sample_bundle(&options()).archive;
    on_all_processors(&archive, archive.len() / STRIDE, |bench, steps| {
        for offset in steps.map(|step| step * STRIDE) {
            let good = archive[offset];
            for mask in [0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0xff] {
                bench.archive.write_all_at(&[good ^ mask], offset as u64).unwrap();
                bench.refuses(&format!("byte {offset} changed by {mask:#04x}"));
            }
            bench.archive.write_all_at(&[good], offset as u64).unwrap();
        }
    });
}

#[test]
fn refuses_the_bundle_with_any_bit_of_a_derived_form_changed() {
    let archive = sample_bundle(&options()).archive;
    let bytes: Vec<usize> = derived_ranges(&archive).into_iter().flatten().collect();
    assert!(bytes.len() > 600, "{} bytes", bytes.len());
    on_all_processors(&archive, bytes.len(), |bench, places| {
        for offset in places.map(|place| bytes[place]) {
            let good = archive[offset];
            for bit in 0..8 {
                bench.archive.write_all_at(&[good ^ 1 << bit], offset as u64).unwrap();
                let exit = bench.refuses(&format!("bit {bit} of byte {offset} changed"));
                assert_eq!(exit, Exit::Damaged, "bit {bit} of byte {offset} changed");
            }
            bench.archive.write_all_at(&[good], offset as u64).unwrap();
        }
    });
}

#[test]
fn refuses_the_bundle_cut_at_any_length() {
    let archive = sample_bundle(&options()).archive;
    on_all_processors(&archive, archive.len(), |bench, cuts| {
        for cut in cuts {
            // The longest first: a file can only be cut shorter.
            let length = archive.len() - 1 - cut;
            bench.archive.set_len(length as u64).unwrap();
            let exit = bench.refuses(&format!("cut to {length} bytes"));
            // A cut is damage: it must not look like a bad signature.
            assert_eq!(exit, Exit::Damaged, "cut to {length} bytes");
        }
    });
}

#[test]
fn refuses_the_bundle_with_one_more_byte() {
    let archive = sample_bundle(&options()).archive;
    let bench = Bench::new(&archive);
    for byte in 0..=u8::MAX {
        bench.archive.write_all_at(&[byte], archive.len() as u64).unwrap();
        let exit = bench.refuses(&format!("with one more byte, {byte:#04x}"));
        assert_eq!(exit, Exit::Damaged);
    }
    bench.archive.set_len(archive.len() as u64).unwrap();
    bench.scene.admit().expect("the archive is whole again");
}
