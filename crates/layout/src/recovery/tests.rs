//! Whole round trips: encode, damage, locate, repair, compare.

// A list of damaged ranges may have one.
#![allow(clippy::single_range_in_vec_init)]

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use manifests::Digest;
use manifests::bundle::BundleDigest;
use proptest::prelude::*;

use super::*;

const KIB: u64 = 1024;

fn bundle() -> BundleDigest {
    BundleDigest(Digest::of(b"bundle.json"))
}

/// Bytes that no other place or seed has.
fn noise(length: u64, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length as usize + 8);
    while (bytes.len() as u64) < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length as usize);
    bytes
}

/// Numbers below a bound, one after the other.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn flip(bytes: &mut [u8], dice: &mut Dice) {
    let bit = dice.below(bytes.len() as u64 * 8);
    bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
}

/// In memory where there is such a place: these tests make thousands of files.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

fn made(archive: &[u8], percent: u32, files: usize) -> (Geometry, Vec<Vec<u8>>) {
    let dir = directory();
    let path = |file: usize| dir.path().join(file_name("x", file as u32));
    let open: Vec<_> = (0..files).map(|file| Some(File::create(path(file)).unwrap())).collect();
    let percent = Percent::new(percent).unwrap();
    let mut passed = 0;
    let geometry =
        encode(archive, archive.len() as u64, bundle(), percent, &open, &mut |count| passed += count)
            .unwrap();
    assert_eq!(passed, archive.len() as u64);
    let files: Vec<Vec<u8>> = (0..files).map(|file| std::fs::read(path(file)).unwrap()).collect();
    for (file, bytes) in files.iter().enumerate() {
        assert_eq!(bytes.len() as u64, geometry.file_bytes(file as u32));
    }
    (geometry, files)
}

fn recovery_files(files: &[Vec<u8>]) -> Vec<RecoveryFile> {
    let file = |bytes: &Vec<u8>| RecoveryFile { size: bytes.len() as u64, source: Box::new(bytes.clone()) };
    files.iter().map(file).collect()
}

fn opened(files: &[Vec<u8>]) -> RecoverySet {
    RecoverySet::open(recovery_files(files), None).unwrap()
}

/// Bytes of which some cannot be read.
struct Scratched {
    bytes: Vec<u8>,
    bad: Vec<Range<u64>>,
}

impl Source for Scratched {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset + buffer.len() as u64;
        if self.bad.iter().any(|bad| bad.start < end && offset < bad.end) {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.bytes.read_at(buffer, offset)
    }
}

fn read(mut repaired: Repaired<impl Source>) -> Vec<u8> {
    let mut bytes = Vec::new();
    repaired.read_to_end(&mut bytes).unwrap();
    let middle = bytes.len() as u64 / 3;
    let mut again = vec![0; bytes.len() - middle as usize];
    repaired.read_at(&mut again, middle).unwrap();
    assert_eq!(again, bytes[middle as usize..]);
    assert!(repaired.read_at(&mut [0], bytes.len() as u64).is_err());
    bytes
}

/// Locates and repairs; the scratch directory must be empty afterwards.
fn restored(files: &[Vec<u8>], source: &(impl Source + ?Sized)) -> Result<(Vec<u8>, Margin), RepairError> {
    let dir = directory();
    let set = opened(files);
    let survey = survey(&set, source, &mut |_| {});
    let room = survey.scratch_bytes();
    let mut written = 0;
    let repaired = repair(&set, survey, source, dir.path(), &mut |count| written += count);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let repaired = repaired?;
    assert_eq!(written, room);
    let margin = repaired.margin();
    Ok((read(repaired), margin))
}

#[track_caller]
fn identical(archive: &[u8], found: Result<(Vec<u8>, Margin), RepairError>) -> Margin {
    let (bytes, margin) = found.unwrap_or_else(|error| panic!("{error}"));
    assert!(bytes == archive, "repaired, but to other bytes");
    margin
}

#[test]
fn archives_of_every_length_at_the_seams_of_the_layout_come_back() {
    let lengths = [0, 1, 2, 1023, 1024, 1025, 2047, 2048, 100_000, 1 << 20, (8192 * KIB) + 1, 9 << 20];
    for length in lengths {
        let archive = noise(length, length);
        for (percent, files) in [(1, 1), (10, 3), (100, 2)] {
            let (geometry, made) = made(&archive, percent, files);
            let survey = survey(&opened(&made), &archive, &mut |_| {});
            assert!(survey.is_whole() && survey.recovery_damaged() == 0 && survey.unjudged() == 0);
            assert_eq!(survey.margin().blocks as u64, geometry.recovery_rows(), "{length}");
            let mut damaged = archive.clone();
            if let Some(byte) = damaged.last_mut() {
                *byte ^= 1;
            }
            identical(&archive, restored(&made, &damaged));
            let nothing_left = Scratched { bytes: Vec::new(), bad: vec![0..u64::MAX] };
            if percent == 100 {
                identical(&archive, restored(&made, &nothing_left));
            }
        }
    }
}

#[test]
fn the_same_archive_gives_the_same_files() {
    let archive = noise(3 << 20, 7);
    assert_eq!(made(&archive, 7, 5), made(&archive, 7, 5));
}

#[test]
fn a_file_that_is_made_alone_is_the_same() {
    let archive = noise(300_001, 62);
    let (geometry, files) = made(&archive, 10, 5);
    let dir = directory();
    for (number, wanted) in files.iter().enumerate() {
        let path = dir.path().join(number.to_string());
        let open: Vec<_> =
            (0..5).map(|file| (file == number).then(|| File::create(&path).unwrap())).collect();
        encode(&archive, 300_001, bundle(), geometry.percent(), &open, &mut |_| {}).unwrap();
        assert!(std::fs::read(path).unwrap() == *wanted, "{number}");
        assert!(wanted.len() as u64 <= geometry.file_bytes_max());
    }
}

/// What an archive of more than 12 GiB needs, whose blocks are longer than the pieces that are worked on.
#[test]
fn blocks_longer_than_the_memory_give_the_same_bytes_and_come_back() {
    let archive = noise(3_000_001, 61);
    let (geometry, files) = made(&archive, 10, 2);
    let dir = directory();
    let path = |file: usize| dir.path().join(file_name("x", file as u32));
    let open: Vec<_> = (0..2).map(|file| Some(File::create(path(file)).unwrap())).collect();
    let percent = geometry.percent();
    let encoded = encode::encode_within(1, &archive, 3_000_001, bundle(), percent, &open, &mut |_| {});
    assert_eq!(encoded.unwrap(), geometry);
    assert!((0..2).all(|file| std::fs::read(path(file)).unwrap() == files[file]));
    let source =
        Scratched { bytes: archive.clone(), bad: vec![0..1, 2_000_000..2_200_000, 3_000_000..3_000_001] };
    let mut damaged = files.clone();
    damaged[0][100_000..150_000].fill(0);
    damaged[1].truncate(130_000);
    let set = opened(&damaged);
    for (chunk, memory) in [(100, (1, 1)), (256, (256 * geometry.rows(), 1)), (3000, (1, 1 << 30))] {
        let found = survey::survey_within(chunk, &set, &source, &mut |_| {});
        let whole = survey(&set, &source, &mut |_| {});
        assert_eq!((found.damaged(), found.margin()), (whole.damaged(), whole.margin()));
        let repaired = repair::repair_within(memory, &set, found, &source, dir.path(), &mut |_| {}).unwrap();
        assert!(read(repaired) == archive, "{chunk}");
    }
}

#[test]
fn the_bytes_of_version_1_do_not_change() {
    let (_, files) = made(&noise(300_000, 1), 10, 2);
    let digests: Vec<String> = files.iter().map(|bytes| Digest::of(bytes).short()).collect();
    assert_eq!(digests, ["3f06beba7028", "ec0f22a7506d"]);
}

#[test]
fn a_lost_tenth_is_repaired_wherever_it_is() {
    for length in [70_000_u64, 1_000_003, 12 << 20] {
        let archive = noise(length, 3);
        let (_, files) = made(&archive, 10, 1);
        let lost = length.div_ceil(10);
        let positions = if length > 2 << 20 { 7 } else { 97 };
        for position in 0..=positions {
            let start = (length - lost) * position / positions;
            let source = Scratched { bytes: archive.clone(), bad: vec![start..start + lost] };
            identical(&archive, restored(&files, &source));
        }
    }
}

#[test]
fn a_large_archive_has_columns_and_the_worst_of_them_counts() {
    let archive = noise((64 << 20) + 5000, 9);
    let (geometry, files) = made(&archive, 2, 1);
    assert_eq!((geometry.rows(), geometry.columns(), geometry.recovery_rows()), (1009, 65, 21));
    let column = |row: u64| geometry.block_range(geometry.block_at(row, 17).unwrap());
    let bad: Vec<_> = (0..21).map(|row| column(row * 40)).collect();
    let source = Scratched { bytes: archive.clone(), bad: bad.clone() };
    assert_eq!(identical(&archive, restored(&files, &source)).blocks, 0);
    let one_more = Scratched { bytes: archive, bad: [bad, vec![column(999)]].concat() };
    let error = restored(&files, &one_more).unwrap_err();
    let RepairError::TooMuch { ranges, margin } = &error else { panic!("{error}") };
    assert_eq!((ranges.len(), margin.blocks, margin.of), (22, -1, 21));
    assert!(error.to_string().contains("17408 to 18431"), "{error}");
}

#[test]
fn one_whole_part_and_a_thousand_flipped_bits_elsewhere() {
    let archive = noise(40 << 20, 11);
    let (_, files) = made(&archive, 10, 2);
    let part = archive.len() / 16;
    let mut dice = Dice(5);
    let lost = part * 6..part * 7;
    let (mut before, mut after) = (archive[..lost.start].to_vec(), archive[lost.end..].to_vec());
    let mut files = files;
    let total = before.len() + after.len() + files[0].len() + files[1].len();
    for _ in 0..1000 {
        let place = dice.below(total as u64) as usize;
        let bytes = if place < before.len() {
            &mut before
        } else if place < before.len() + after.len() {
            &mut after
        } else {
            &mut files[place % 2]
        };
        flip(bytes, &mut dice);
    }
    let mut pieces = Pieces::new();
    pieces.add(0..lost.start as u64, before);
    pieces.add(lost.end as u64..archive.len() as u64, after);
    let margin = identical(&archive, restored(&files, &pieces));
    assert!(margin.blocks > 0 && margin.contiguous_bytes > 0, "{margin:?}");
}

#[test]
fn the_head_of_the_archive_may_be_what_is_lost() {
    let archive = noise(2 << 20, 13);
    let (_, files) = made(&archive, 5, 1);
    let mut damaged = archive.clone();
    damaged[..100_000].fill(0);
    let set = opened(&files);
    assert_eq!((set.header().bundle, set.geometry().length()), (bundle(), 2 << 20));
    let found = survey(&set, &damaged, &mut |_| {});
    assert_eq!(found.damaged(), vec![0..100_352]);
    identical(&archive, restored(&files, &damaged));
}

#[test]
fn an_archive_that_was_cut_or_has_grown_is_put_right() {
    let archive = noise(500_000, 17);
    let (_, files) = made(&archive, 10, 1);
    identical(&archive, restored(&files, &archive[..460_000].to_vec()));
    identical(&archive, restored(&files, &[archive.as_slice(), b"and more"].concat()));
    let cut = restored(&files, &archive[..440_000].to_vec());
    assert!(matches!(cut, Err(RepairError::TooMuch { .. })));
}

#[test]
fn recovery_files_may_be_lost_too_as_long_as_enough_is_left() {
    let archive = noise(2_000_000, 19);
    let (geometry, files) = made(&archive, 20, 9);
    let mut damaged = archive.clone();
    damaged[1_000_000..1_150_000].fill(0xff);
    for lost in 0..9 {
        let left: Vec<_> =
            (0..9).filter(|file| file % 2 == lost % 2).map(|file| files[file].clone()).collect();
        let set = opened(&left);
        assert_eq!(set.missing().count() + left.len(), 9);
        let margin = identical(&archive, restored(&left, &damaged));
        assert!(margin.blocks < geometry.recovery_rows() as i64);
    }
    let two = [files[3].clone(), files[4].clone()];
    assert!(restored(&two, &damaged).is_err());
}

#[test]
fn blocks_without_an_entry_are_taken_as_good_only_if_the_whole_comes_out_right() {
    let archive = noise(2_000_000, 20);
    let (geometry, files) = made(&archive, 20, 9);
    // Nobody has slice 7 any more: it is in files 7, 5, 3 and 1.
    let left: Vec<_> = [0, 2, 4, 6, 8].map(|file: usize| files[file].clone()).to_vec();
    let mut damaged = archive.clone();
    damaged[100_000..270_000].fill(0xff);
    let found = survey(&opened(&left), &damaged, &mut |_| {});
    assert!(found.unjudged() > 200);
    identical(&archive, restored(&left, &damaged));
    damaged[geometry.block_range(geometry.slice(7).start).start as usize] ^= 1;
    assert!(matches!(restored(&left, &damaged), Err(RepairError::TooMuch { .. })));
}

#[test]
fn one_file_of_four_locates_all_damage() {
    let archive = noise(1_000_000, 21);
    let (_, files) = made(&archive, 40, 4);
    let mut damaged = archive.clone();
    damaged[700_000..750_000].fill(0);
    for file in files {
        identical(&archive, restored(&[file], &damaged));
    }
}

#[test]
fn the_order_of_the_files_and_a_second_copy_of_one_do_not_matter() {
    let archive = noise(300_000, 23);
    let (_, mut files) = made(&archive, 10, 3);
    files.push(files[1].clone());
    files.reverse();
    let set = opened(&files);
    assert_eq!((set.ignored(), set.missing().count()), ([2].as_slice(), 0));
    identical(&archive, restored(&files, &archive[..290_000].to_vec()));
}

#[test]
fn files_of_another_archive_are_told_apart_by_their_headers() {
    let (one, other) = (noise(300_000, 1), noise(300_000, 2));
    let (_, files) = made(&one, 10, 2);
    let (_, strange) = made(&other, 10, 2);
    // The same bundle, other bytes: signed by somebody else, say.
    let mixed = [files[0].clone(), strange[1].clone()];
    assert!(matches!(
        RecoverySet::open(recovery_files(&mixed), Some(bundle())),
        Err(SetError::Several { .. })
    ));
    let other_bundle = BundleDigest(Digest::of(b"another"));
    let none = RecoverySet::open(recovery_files(&files), Some(other_bundle));
    assert!(matches!(none, Err(SetError::None { files: 2, source: None })));
    let set =
        RecoverySet::open(recovery_files(&[noise(2000, 1), Vec::new(), files[1].clone()]), Some(bundle()));
    assert_eq!(set.unwrap().ignored(), [0, 1]);
    let nothing = RecoverySet::open(recovery_files(&[noise(2000, 1)]), None);
    assert!(matches!(nothing, Err(SetError::None { source: Some(header::HeaderError::Magic), .. })));
}

#[test]
fn a_block_that_was_swapped_for_another_good_one_does_not_pass() {
    let archive = noise(300_000, 29);
    let (geometry, mut files) = made(&archive, 10, 1);
    let (sealed, start) = (geometry.sealed_row_bytes() as usize, geometry.rows_offset(0) as usize);
    let rows: Vec<u8> = files[0][start..start + 2 * sealed].to_vec();
    files[0][start..start + sealed].copy_from_slice(&rows[sealed..]);
    files[0][start + sealed..start + 2 * sealed].copy_from_slice(&rows[..sealed]);
    let found = survey(&opened(&files), &archive, &mut |_| {});
    assert_eq!(found.recovery_damaged(), 2);
}

#[test]
fn recovery_blocks_with_a_right_seal_and_wrong_bytes_are_found_out_at_the_end() {
    let archive = noise(300_000, 31);
    let (geometry, mut files) = made(&archive, 10, 1);
    let start = geometry.rows_offset(0) as usize;
    let block = geometry.block_bytes() as usize;
    files[0][start] ^= 1;
    let mut hasher = manifests::Hasher::new();
    hasher.update(&files[0][start..start + block]);
    let seal = block::recovery_seal(hasher, 0, 0);
    files[0][start + block..start + block + 8].copy_from_slice(&seal);
    let mut damaged = archive.clone();
    damaged[5] ^= 1;
    assert!(matches!(restored(&files, &damaged), Err(RepairError::Inconsistent)));
}

#[test]
fn an_index_that_was_replaced_is_found_out_even_if_nothing_is_damaged() {
    let archive = noise(100_000, 37);
    let (geometry, files) = made(&archive, 10, 1);
    let (_, strange) = made(&noise(100_000, 38), 10, 1);
    let mut forged = files.clone();
    for (_, offset) in geometry.index_offsets(0) {
        let range = offset as usize..offset as usize + geometry.blocks() as usize * 8;
        forged[0][range.clone()].copy_from_slice(&strange[0][range]);
    }
    assert!(matches!(restored(&forged, &noise(100_000, 38)), Err(RepairError::Inconsistent)));
    assert!(matches!(restored(&forged, &archive), Err(RepairError::TooMuch { .. })));
}

#[test]
fn a_flipped_bit_in_any_byte_of_a_recovery_file_never_leads_to_wrong_bytes() {
    let archive = noise(2500, 41);
    let (_, files) = made(&archive, 40, 1);
    let mut damaged = archive.clone();
    damaged[1500] ^= 4;
    for position in 0..files[0].len() {
        let mut bad = files.clone();
        bad[0][position] ^= 1 << (position % 8);
        identical(&archive, restored(&bad, &damaged));
    }
}

#[test]
fn a_recovery_file_that_was_cut_anywhere_helps_or_is_refused() {
    let archive = noise(2500, 43);
    let (_, files) = made(&archive, 40, 1);
    let mut damaged = archive.clone();
    damaged[0] ^= 1;
    let mut repaired = 0;
    for length in (0..files[0].len()).step_by(7) {
        for cut in [files[0][..length].to_vec(), files[0][length..].to_vec()] {
            let Ok(set) = RecoverySet::open(recovery_files(std::slice::from_ref(&cut)), None) else {
                continue;
            };
            drop(set);
            match restored(&[cut], &damaged) {
                Ok((bytes, _)) => {
                    assert!(bytes == archive);
                    repaired += 1;
                }
                Err(RepairError::TooMuch { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(repaired > 100, "{repaired}");
}

#[test]
fn what_fails_between_locating_and_repairing_is_an_error() {
    use std::cell::Cell;
    struct Worse(Vec<u8>, Cell<u32>);
    impl Source for Worse {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            self.1.set(self.1.get() + 1);
            if self.1.get() > 1 {
                Err(io::Error::from_raw_os_error(5))
            } else {
                self.0.read_at(buffer, offset)
            }
        }
    }
    let archive = noise(100_000, 47);
    let (_, files) = made(&archive, 10, 1);
    let mut damaged = archive.clone();
    damaged[99] ^= 1;
    let error = restored(&files, &Worse(damaged, Cell::new(0))).unwrap_err();
    assert!(matches!(error, RepairError::Read { .. }), "{error}");
}

#[test]
fn a_scratch_directory_that_is_not_there_is_named_and_one_with_leftovers_is_used() {
    let archive = noise(100_000, 53);
    let (_, files) = made(&archive, 10, 1);
    let mut damaged = archive.clone();
    damaged[99] ^= 1;
    let set = opened(&files);
    let found = survey(&set, &damaged, &mut |_| {});
    let error =
        repair(&set, found.clone(), &damaged, Path::new("/nonexistent/scratch"), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/scratch"), "{error}");
    let dir = directory();
    std::fs::write(dir.path().join(".recovery-0"), b"of a program that was killed").unwrap();
    let repaired = repair(&set, found, &damaged, dir.path(), &mut |_| {}).unwrap();
    assert_eq!(repaired.repaired(), vec![0..1024]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    assert!(read(repaired) == archive);
}

#[test]
fn a_header_of_a_petabyte_costs_nothing_that_is_not_there() {
    let geometry = Geometry::new(geometry::LENGTH_MAX, Percent::new(100).unwrap(), 999).unwrap();
    let header = Header { geometry, file: 0, bundle: bundle(), index: Digest::of(b"") };
    let set = opened(&[header.encode().to_vec()]);
    let found = survey(&set, &noise(10_000, 1), &mut |_| {});
    assert_eq!(found.margin().blocks, -1024);
    assert_eq!(found.damaged(), vec![0..geometry::LENGTH_MAX]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The promise: no column has lost more than it has recovery blocks for, so it comes back; with one more
    /// anywhere it is an error and never other bytes.
    #[test]
    fn damage_up_to_the_promised_share_is_repaired_and_one_block_more_is_refused(
        length in 1_u64..400_000, percent in 1_u32..=60, files in 1_usize..6, seed: u64, unreadable: bool,
    ) {
        let archive = noise(length, seed);
        let (geometry, mut recovery) = made(&archive, percent, files);
        let mut dice = Dice(seed);
        let mut order: Vec<u64> = (0..geometry.blocks() + geometry.recovery_rows()).collect();
        for position in (1..order.len()).rev() {
            order.swap(position, dice.below(position as u64 + 1) as usize);
        }
        prop_assert_eq!(geometry.columns(), 1);
        let mut source = Scratched { bytes: archive.clone(), bad: Vec::new() };
        let mut damage = |place: u64, dice: &mut Dice| {
            if let Some(row) = place.checked_sub(geometry.blocks()) {
                let (file, offset) = geometry.recovery_offset(row, 0).unwrap();
                let block = &mut recovery[file as usize][offset as usize..][..geometry.block_bytes() as usize + 8];
                flip(block, dice);
            } else if unreadable {
                source.bad.push(geometry.block_range(place));
            } else {
                let range = geometry.block_range(place);
                flip(&mut source.bytes[range.start as usize..range.end as usize], dice);
            }
            (recovery.clone(), Scratched { bytes: source.bytes.clone(), bad: source.bad.clone() })
        };
        let mut last = None;
        for place in order.iter().take(geometry.recovery_rows() as usize) {
            last = Some(damage(*place, &mut dice));
        }
        let (files, damaged) = last.unwrap();
        let (found, margin) = restored(&files, &damaged).unwrap();
        prop_assert!(found == archive);
        prop_assert_eq!(margin.blocks, 0);
        let next = order[geometry.recovery_rows() as usize];
        let (files, damaged) = damage(next, &mut dice);
        let is_too_much = matches!(restored(&files, &damaged), Err(RepairError::TooMuch { .. }));
        prop_assert!(is_too_much);
    }

    /// Whatever is done to both, success means the right bytes.
    #[test]
    fn any_damage_at_all_is_repaired_or_refused(
        length in 1_u64..60_000, percent in 1_u32..=100, files in 1_usize..4, seed: u64, harm in 0_u64..400,
    ) {
        let archive = noise(length, seed);
        let (_, mut recovery) = made(&archive, percent, files);
        let mut dice = Dice(seed);
        let mut damaged = archive.clone();
        for _ in 0..harm {
            let choice = dice.below(files as u64 * 2) as usize;
            flip(recovery.get_mut(choice).unwrap_or(&mut damaged), &mut dice);
        }
        if RecoverySet::open(recovery_files(&recovery), None).is_ok() {
            match restored(&recovery, &damaged) {
                Ok((found, _)) => prop_assert!(found == archive),
                Err(error) => prop_assert!(matches!(error, RepairError::TooMuch { .. }), "{error}"),
            }
        }
    }
}
