//! Writes a patch, if it is worth it.
//!
//! Two passes: one over the base, which hashes it and notes *anchors*, places that can be found again by what lies
//! before them; and one over the blob, which notes its own, sees by how much most of them have moved, and takes the
//! prefix of each segment from there. So what was put in or taken out before a place costs only itself.
//!
//! The same blob and the same base give the same bytes, as long as zstd is the same.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::LazyLock;

use manifests::bundle::Content;
use manifests::{Digest, Hasher};
use zstd::zstd_safe::{self, CCtx, CParameter};

use super::index::{ENTRY_BYTES, Index, Segment};
use super::{FRAME_BYTES_MAX, PREFIX_BYTES_MAX, RESULT_BYTES_MAX, SEGMENT_BYTES};
use crate::recovery::Source;

/// How hard zstd tries. Most of a segment is found in its prefix or is nowhere: more effort finds little more.
const LEVEL: i32 = 6;

/// The window of 8 MiB: a prefix and a segment.
const WINDOW_LOG: u32 = 23;

/// A place is an anchor if so many bits of its hash are zero: one of 32 Ki.
const ANCHOR_BITS: u32 = 15;

/// How much is read of the base at a time.
const SCAN_BYTES: u64 = 1024 * 1024;

/// What was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// The digest of its index.
    pub index: Digest,
    /// How long it is.
    pub size: u64,
}

/// How the writing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The patch lies in the output.
    Made(Made),
    /// It would be longer than it may be.
    Not,
    /// The base has other bytes than were expected.
    OtherBase,
    /// So has the blob.
    OtherBlob,
}

/// A number for each byte, from splitmix64: any fixed ones will do.
static NUMBERS: LazyLock<[u64; 256]> = LazyLock::new(|| {
    let mut state = 0x6169_726c_6f63_6b21_u64;
    std::array::from_fn(|_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
});

/// A rolling hash: each byte moves what was before it up by one bit, so that 64 bytes count.
struct Gear {
    numbers: &'static [u64; 256],
    hash: u64,
}

impl Gear {
    fn new() -> Self {
        Self { numbers: &NUMBERS, hash: 0 }
    }

    /// The hash of the place after this byte, if that is an anchor.
    fn roll(&mut self, byte: u8) -> Option<u64> {
        let number = self.numbers.get(usize::from(byte)).copied().unwrap_or_default();
        self.hash = (self.hash << 1).wrapping_add(number);
        (self.hash.leading_zeros() >= ANCHOR_BITS).then_some(self.hash)
    }
}

/// Where each anchor of the base is; `None` for one that is there twice and says nothing.
struct Anchors(HashMap<u64, Option<u64>>);

impl Anchors {
    /// Reads the base once; gives what it is as well.
    fn of(base: &impl Source, size: u64) -> io::Result<(Self, Content)> {
        let (mut anchors, mut gear, mut hasher) = (HashMap::new(), Gear::new(), Hasher::new());
        let (mut at, mut buffer) = (0_u64, Vec::new());
        while at < size {
            buffer.resize(usize::try_from(SCAN_BYTES.min(size.saturating_sub(at))).unwrap_or(0), 0);
            base.read_at(&mut buffer, at)?;
            hasher.update(&buffer);
            for (place, byte) in (at..).zip(&buffer) {
                if let Some(hash) = gear.roll(*byte) {
                    anchors.entry(hash).and_modify(|known| *known = None).or_insert(Some(place));
                }
            }
            at = at.saturating_add(buffer.len() as u64);
        }
        Ok((Self(anchors), Content { size, digest: hasher.finish() }))
    }

    /// By how much most of the anchors of this segment have moved; of several the one that moved least.
    fn moved(&self, gear: &mut Gear, start: u64, segment: &[u8]) -> Option<i128> {
        let mut votes: BTreeMap<i128, u32> = BTreeMap::new();
        for (place, byte) in (start..).zip(segment) {
            if let Some(hash) = gear.roll(*byte)
                && let Some(Some(known)) = self.0.get(&hash)
            {
                let count = votes.entry(i128::from(*known) - i128::from(place)).or_default();
                *count = count.saturating_add(1);
            }
        }
        votes.into_iter().max_by_key(|(moved, count)| (*count, -moved.abs())).map(|(moved, _)| moved)
    }
}

/// The prefix for a segment that starts here: what lies around where it came from, a segment's length before it and as
/// much after it.
fn prefix(start: u64, moved: i128, base: u64) -> (u64, u32) {
    let length = u64::from(PREFIX_BYTES_MAX).min(base);
    let from = i128::from(start) + moved - i128::from(SEGMENT_BYTES);
    let offset = u64::try_from(from.max(0)).unwrap_or(u64::MAX).min(base.saturating_sub(length));
    (offset, u32::try_from(length).unwrap_or(0))
}

fn compress(segment: &[u8], prefix: &[u8]) -> io::Result<Vec<u8>> {
    let mut context = CCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?;
    let named = |code| io::Error::other(zstd_safe::get_error_name(code));
    for parameter in [
        CParameter::CompressionLevel(LEVEL),
        CParameter::WindowLog(WINDOW_LOG),
        CParameter::ContentSizeFlag(true),
        CParameter::ChecksumFlag(false),
        CParameter::DictIdFlag(false),
        CParameter::EnableLongDistanceMatching(true),
    ] {
        context.set_parameter(parameter).map_err(named)?;
    }
    if !prefix.is_empty() {
        context.ref_prefix(prefix).map_err(named)?;
    }
    let mut frame = Vec::with_capacity(FRAME_BYTES_MAX as usize);
    context.compress2(&mut frame, segment).map_err(named)?;
    Ok(frame)
}

/// Writes the patch that makes `wanted`, which `blob` gives, of `base`. `room` is an empty file that has space for it: the
/// index goes first and is known last. The patch is not longer than `worth`.
///
/// # Errors
/// Something cannot be read or written.
pub fn write(
    (blob, wanted): (&mut dyn Read, Content),
    (base, of): (&impl Source, Content),
    worth: u64,
    mut room: impl Read + Write + Seek,
    out: &mut dyn Write,
) -> io::Result<Written> {
    if wanted.size == 0 || wanted.size > RESULT_BYTES_MAX || of.size == 0 {
        return Ok(Written::Not);
    }
    let (anchors, found) = Anchors::of(base, of.size)?;
    if found != of {
        return Ok(Written::OtherBase);
    }
    let mut index = Index { result: wanted, base: of, segments: Vec::new() };
    let (mut gear, mut hasher, mut moved) = (Gear::new(), Hasher::new(), 0_i128);
    let (mut segment, mut bytes, mut around) = (Vec::new(), index.encode().len() as u64, Vec::new());
    loop {
        segment.clear();
        Read::take(&mut *blob, u64::from(SEGMENT_BYTES)).read_to_end(&mut segment)?;
        if segment.is_empty() {
            break;
        }
        let start = hasher.size();
        hasher.update(&segment);
        moved = anchors.moved(&mut gear, start, &segment).unwrap_or(moved);
        let (offset, length) = prefix(start, moved, of.size);
        around.resize(length as usize, 0);
        base.read_at(&mut around, offset)?;
        let frame = compress(&segment, &around)?;
        room.write_all(&frame)?;
        let digest = Digest::of(&frame);
        let frame = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        index.segments.push(Segment { offset, prefix: length, frame, digest });
        bytes = bytes.saturating_add(u64::from(frame)).saturating_add(ENTRY_BYTES);
        if bytes > worth || hasher.size() > wanted.size {
            return Ok(if hasher.size() > wanted.size { Written::OtherBlob } else { Written::Not });
        }
    }
    if (Content { size: hasher.size(), digest: hasher.finish() }) != wanted {
        return Ok(Written::OtherBlob);
    }
    let head = index.encode();
    out.write_all(&head)?;
    room.seek(SeekFrom::Start(0))?;
    io::copy(&mut room, out)?;
    Ok(Written::Made(Made { index: Digest::of(&head), size: bytes }))
}
