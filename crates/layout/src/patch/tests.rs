use std::io::Cursor;

use manifests::Digest;
use manifests::bundle::Content;
use proptest::prelude::*;

use super::index::{HEAD_BYTES, Segment};
use super::*;

/// Bytes in which nothing is the same twice.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    std::iter::repeat_with(|| next().to_le_bytes()).flatten().take(length).collect()
}

fn written(base: &[u8], blob: &[u8], worth: u64) -> (Written, Vec<u8>) {
    let mut out = Vec::new();
    let (wanted, of) = (Content::of(blob), Content::of(base));
    let mut source = blob;
    let base = base.to_vec();
    let room = Cursor::new(Vec::new());
    let written = write((&mut source, wanted), (&base, of), worth, room, &mut out).unwrap();
    (written, out)
}

fn made(base: &[u8], blob: &[u8]) -> (Wish, Vec<u8>) {
    let (written, patch) = written(base, blob, u64::MAX);
    let Written::Made(made) = written else { panic!("{written:?}") };
    assert_eq!(made.size, patch.len() as u64);
    (Wish { result: Content::of(blob), base: Content::of(base), index: made.index }, patch)
}

/// Pushes a patch in pieces of this length; what came out of it in any case.
fn decoded(wish: Wish, base: &[u8], patch: &[u8], piece: usize) -> (Vec<u8>, Result<Content, PatchError>) {
    let mut out = Vec::new();
    let mut decoder = Decoder::new(wish, Some(base.to_vec()));
    for piece in patch.chunks(piece) {
        if let Err(error) = decoder.push(piece, &mut out) {
            return (out, Err(error));
        }
    }
    (out, decoder.finish())
}

/// What only looks at the form of a patch.
fn checked(wish: Wish, patch: &[u8]) -> Result<Content, PatchError> {
    let mut out = Vec::new();
    let mut decoder: Decoder<Vec<u8>> = Decoder::new(wish, None);
    decoder.push(patch, &mut out)?;
    assert!(out.is_empty());
    decoder.finish()
}

fn holds(base: &[u8], blob: &[u8]) -> usize {
    let (wish, patch) = made(base, blob);
    let (out, end) = decoded(wish, base, &patch, 70_001);
    assert_eq!(end.unwrap(), Content::of(blob));
    assert!(out == blob, "it makes something else");
    checked(wish, &patch).unwrap();
    patch.len()
}

/// The same patch with an index that was changed, and signed so.
fn with_index(base: &[u8], blob: &[u8], change: impl FnOnce(&mut Index)) -> (Wish, Vec<u8>) {
    let (mut wish, patch) = made(base, blob);
    let length = usize::try_from(wish.index_bytes().unwrap()).unwrap();
    let mut index = Index::decode(&patch[..length], &wish).unwrap();
    change(&mut index);
    let head = index.encode();
    wish.index = Digest::of(&head);
    (wish, [head.as_slice(), &patch[length..]].concat())
}

/// The same patch with other frames, each of which the index speaks of.
fn with_frame(base: &[u8], blob: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> (Wish, Vec<u8>) {
    let mut frame = Vec::new();
    let (mut wish, patch) = with_index(base, blob, |_| {});
    let length = usize::try_from(wish.index_bytes().unwrap()).unwrap();
    frame.extend_from_slice(&patch[length..]);
    change(&mut frame);
    let mut index = Index::decode(&patch[..length], &wish).unwrap();
    index.segments[0] = Segment {
        frame: u32::try_from(frame.len()).unwrap(),
        digest: Digest::of(&frame),
        ..index.segments[0]
    };
    let head = index.encode();
    wish.index = Digest::of(&head);
    (wish, [head, frame].concat())
}

// ---- what it saves ------------------------------------------------------------------------------------

const MIB: usize = 1024 * 1024;

#[test]
fn a_change_of_a_few_bytes_costs_kilobytes() {
    let base = noise(1, 8 * MIB);
    let mut blob = base.clone();
    blob[5_000_000..5_000_100].copy_from_slice(&noise(2, 100));
    let size = holds(&base, &blob);
    assert!(size < 8_000, "{size}");
}

#[test]
fn what_was_put_in_or_taken_out_near_the_start_costs_only_itself() {
    let base = noise(1, 20 * MIB);
    let inserted = [&base[..1000], &noise(2, 9 * MIB), &base[1000..]].concat();
    let size = holds(&base, &inserted);
    assert!(size > 9 * MIB && size < 9 * MIB + 100_000, "{size}");
    let deleted = [&base[..1000], &base[9 * MIB..]].concat();
    let size = holds(&base, &deleted);
    assert!(size < 20_000, "{size}");
}

#[test]
fn the_same_blob_and_base_give_the_same_bytes() {
    let base = noise(1, 3 * MIB);
    let blob = [&base[100..], b"and more".as_slice()].concat();
    assert_eq!(made(&base, &blob), made(&base, &blob));
}

#[test]
fn what_does_not_pay_is_given_up_and_what_has_changed_meanwhile_is_noticed() {
    let (base, blob) = (noise(1, MIB), noise(2, 5 * MIB));
    assert_eq!(written(&base, &blob, blob.len() as u64 * 3 / 4), (Written::Not, Vec::new()));
    let write = |blob: &[u8], wanted: Content, base: &[u8], of: Content| {
        let mut source = blob;
        let room = Cursor::new(Vec::new());
        write((&mut source, wanted), (&base.to_vec(), of), u64::MAX, room, &mut Vec::new()).unwrap()
    };
    let (of, wanted) = (Content::of(&base), Content::of(&blob));
    assert_eq!(write(&blob, wanted, &noise(3, MIB), of), Written::OtherBase);
    for other in [&blob[1..], &noise(3, 5 * MIB), &[&blob[..], b"x"].concat()] {
        assert_eq!(write(other, wanted, &base, of), Written::OtherBlob);
    }
    assert_eq!(write(b"", Content::of(b""), &base, of), Written::Not);
}

#[test]
fn what_is_the_same_all_over_has_few_anchors_and_no_end() {
    let (base, blob) = (vec![0_u8; 5 * MIB], vec![0_u8; 7 * MIB]);
    let size = holds(&base, &blob);
    assert!(size < 4_000, "{size}");
}

// ---- any edit -----------------------------------------------------------------------------------------

/// Something was done to a file.
#[derive(Debug, Clone)]
enum Edit {
    Overwrite(usize, Vec<u8>),
    Insert(usize, Vec<u8>),
    Delete(usize, usize),
    Truncate(usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let bytes = || (any::<u64>(), 1_usize..60_000).prop_map(|(seed, length)| noise(seed, length));
    prop_oneof![
        (any::<usize>(), bytes()).prop_map(|(at, bytes)| Edit::Overwrite(at, bytes)),
        (any::<usize>(), bytes()).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (any::<usize>(), 1_usize..3 * MIB).prop_map(|(at, length)| Edit::Delete(at, length)),
        any::<usize>().prop_map(Edit::Truncate),
    ]
}

fn edited(mut bytes: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    for edit in edits {
        let length = bytes.len().max(1);
        match edit {
            Edit::Overwrite(at, new) => {
                let at = at % length;
                let end = bytes.len().min(at + new.len());
                bytes.splice(at..end, new.iter().copied().take(end - at));
            }
            Edit::Insert(at, new) => drop(bytes.splice(at % length..at % length, new.iter().copied())),
            Edit::Delete(at, count) => {
                let at = at % length;
                bytes.drain(at..bytes.len().min(at + count));
            }
            Edit::Truncate(at) => bytes.truncate(at % length + 1),
        }
        if bytes.is_empty() {
            bytes.push(7);
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_done_to_a_file_its_patch_makes_it_again(
        seed in any::<u64>(),
        length in 1_usize..5 * MIB,
        edits in proptest::collection::vec(edit(), 0..6),
        piece in 1_usize..300_000,
    ) {
        let base = noise(seed, length);
        let blob = edited(base.clone(), &edits);
        let (wish, patch) = made(&base, &blob);
        let (out, end) = decoded(wish, &base, &patch, piece);
        prop_assert_eq!(end.unwrap(), Content::of(&blob));
        prop_assert!(out == blob);
    }

    #[test]
    fn any_bytes_at_all_are_refused_and_nothing_is_made_of_them(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let wish = Wish { result: Content::of(b"result"), base: Content::of(b"base"), index: Digest::of(&bytes) };
        let (out, end) = decoded(wish, b"base", &bytes, 100);
        prop_assert!(end.is_err() && out.is_empty());
    }
}

// ---- damage -------------------------------------------------------------------------------------------

#[test]
fn every_single_bit_that_flips_is_noticed_before_anything_is_decompressed() {
    let base = noise(1, 3000);
    let blob = [&base[500..], b"the end".as_slice()].concat();
    let (wish, patch) = made(&base, &blob);
    for bit in 0..patch.len() * 8 {
        let mut flipped = patch.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let (out, end) = decoded(wish, &base, &flipped, 4096);
        let by_digest = matches!(end, Err(PatchError::IndexDigest(_) | PatchError::FrameDigest { .. }));
        assert!(by_digest && out.is_empty(), "bit {bit}: {end:?}");
    }
}

#[test]
fn every_single_bit_that_is_signed_so_makes_something_else_or_nothing() {
    let base = noise(1, 3000);
    let blob = [&base[500..], b"the end".as_slice()].concat();
    let (wish, patch) = made(&base, &blob);
    let length = usize::try_from(wish.index_bytes().unwrap()).unwrap();
    for bit in 0..length * 8 {
        let mut flipped = patch.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let wish = Wish { index: Digest::of(&flipped[..length]), ..wish };
        let (_, end) = decoded(wish, &base, &flipped, 4096);
        assert!(end.is_err(), "bit {bit} of the index");
    }
    let frame = patch.len() - length;
    let mut made_it = 0;
    for bit in 0..frame * 8 {
        let (wish, patch) = with_frame(&base, &blob, |frame| frame[bit / 8] ^= 1 << (bit % 8));
        let (out, end) = decoded(wish, &base, &patch, 4096);
        // A frame may say the same in another way, and then it is the blob.
        assert_eq!(end.is_ok(), out == blob, "bit {bit} of the frame");
        made_it += usize::from(end.is_ok());
    }
    assert!(made_it < frame, "{made_it} of {} bits mean nothing", frame * 8);
}

#[test]
fn a_patch_that_is_cut_off_anywhere_makes_nothing() {
    let base = noise(1, 3000);
    let (wish, patch) = made(&base, &base[10..]);
    for length in 0..patch.len() {
        let (out, end) = decoded(wish, &base, &patch[..length], 4096);
        assert!(matches!(end, Err(PatchError::Short(_))) && out.is_empty(), "{length}: {end:?}");
    }
}

// ---- lies that somebody has signed --------------------------------------------------------------------

fn lie() -> (Vec<u8>, Vec<u8>) {
    let base = noise(1, 5000);
    let blob = [&base[500..], b"the end".as_slice()].concat();
    (base, blob)
}

fn refused((wish, patch): (Wish, Vec<u8>), words: &str) {
    let (base, _) = lie();
    let (out, end) = decoded(wish, &base, &patch, 4096);
    let error = end.unwrap_err();
    // What follows the last frame is seen when all was made.
    let late = matches!(error, PatchError::Trailing);
    assert!((late || out.is_empty()) && error.to_string().contains(words), "{error:?}");
    // What a connected machine sees without the base.
    assert!(checked(wish, &patch).is_err());
}

#[test]
fn an_index_that_lies_is_refused_by_its_words() {
    let (base, blob) = lie();
    let (base, blob) = (base.as_slice(), blob.as_slice());
    refused(with_index(base, blob, |index| index.result.size += 1), "head");
    refused(with_index(base, blob, |index| index.result.digest = Digest::of(b"")), "head");
    refused(with_index(base, blob, |index| index.base.size -= 1), "head");
    refused(with_index(base, blob, |index| index.segments[0].offset = u64::MAX), "refers to bytes");
    refused(with_index(base, blob, |index| index.segments[0].prefix += 1), "of a base of 5000");
    refused(with_index(base, blob, |index| index.segments[0].prefix = PREFIX_BYTES_MAX + 1), "at most");
    refused(with_index(base, blob, |index| index.segments[0].frame = FRAME_BYTES_MAX + 1), "at most");
    refused(with_index(base, blob, |index| index.segments[0].frame = 0), "it is empty");
    refused(with_index(base, blob, |index| index.segments[0].frame += 1), "it ends before frame 1");
    refused(with_index(base, blob, |index| index.segments[0].frame -= 1), "frame 1 has digest");
    let (mut wish, mut patch) = made(base, blob);
    patch.push(0);
    refused((wish, patch.clone()), "goes on after its last frame");
    patch.pop();
    patch[0] = b'A';
    wish.index = Digest::of(&patch[..usize::try_from(wish.index_bytes().unwrap()).unwrap()]);
    refused((wish, patch), "does not start as a patch does");
}

#[test]
fn a_frame_of_another_form_is_refused_however_well_it_decompresses() {
    let (base, blob) = lie();
    let (base, blob) = (base.as_slice(), blob.as_slice());
    let plain = |bytes: &[u8]| zstd::bulk::compress(bytes, 3).unwrap();
    refused(with_frame(base, blob, |frame| frame.push(0)), "something follows it");
    refused(with_frame(base, blob, |frame| frame.extend(plain(b"more"))), "something follows it");
    refused(with_frame(base, blob, |frame| *frame = plain(&blob[1..])), "does not state");
    refused(with_frame(base, blob, |frame| *frame = plain(&[blob, b"x"].concat())), "does not state");
    refused(with_frame(base, blob, |frame| *frame = b"no frame at all".to_vec()), "not a frame");
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
    refused(with_frame(base, blob, |frame| *frame = [&skippable, frame.as_slice()].concat()), "not a frame");
    refused(with_frame(base, blob, |frame| *frame = zstd::encode_all(blob, 3).unwrap()), "not a frame");
    // With a checksum, which we do not write.
    refused(with_frame(base, blob, |frame| frame[4] |= 0b0000_0100), "not a frame");
    refused(with_frame(base, blob, |frame| frame[4] |= 0b0000_0001), "not a frame");
}

#[test]
fn another_base_or_other_content_of_the_same_length_gives_another_digest() {
    let (base, blob) = lie();
    let (wish, patch) = made(&base, &blob);
    let (_, end) = decoded(wish, &noise(9, base.len()), &patch, 4096);
    assert!(matches!(end, Err(PatchError::Result(_))), "{end:?}");
    let (_, end) = decoded(wish, &base[..100], &patch, 4096);
    assert!(matches!(end, Err(PatchError::Base(_))), "{end:?}");
    let other = noise(9, blob.len());
    let forged = with_frame(&base, &blob, |frame| *frame = zstd::bulk::compress(&other, 3).unwrap());
    let (_, end) = decoded(forged.0, &base, &forged.1, 4096);
    assert!(matches!(end, Err(PatchError::Result(_))), "{end:?}");
}

#[test]
fn no_length_is_believed_before_it_was_checked() {
    // A result of exabytes has no index, and one with a huge one never gets beyond its first bytes.
    let huge = |size| Wish {
        result: Content { digest: Digest::of(b""), size },
        base: Content::of(b"base"),
        index: Digest::of(b""),
    };
    for size in [0, RESULT_BYTES_MAX + 1, u64::MAX] {
        let (_, end) = decoded(huge(size), b"base", &[0; 1000], 100);
        assert!(matches!(end, Err(PatchError::Index(IndexError::Size(_)))), "{end:?}");
    }
    let largest = huge(RESULT_BYTES_MAX).index_bytes().unwrap();
    assert!(largest < 4 * 1024 * 1024 + HEAD_BYTES, "{largest}");
    let bytes = vec![0; usize::try_from(largest).unwrap()];
    let wish = Wish { index: Digest::of(&bytes), ..huge(RESULT_BYTES_MAX) };
    let (_, end) = decoded(wish, b"base", &bytes, 100_000);
    assert!(matches!(end, Err(PatchError::Index(IndexError::Magic))), "{end:?}");
}
