//! The index of a patch: what comes of it, of what, and where each frame takes its prefix.
//!
//! As with other headers of ours nothing is interpreted that was not bounded, and what was read is written again and
//! compared: there is one form of each index.

use manifests::Digest;
use manifests::bundle::Content;
use manifests::delta::Patch;

use super::{FRAME_BYTES_MAX, PREFIX_BYTES_MAX, SEGMENT_BYTES};

/// What a patch starts with.
const MAGIC: &[u8; 16] = b"airlock-patch-v1";

/// The bytes before the first segment.
pub(super) const HEAD_BYTES: u64 = 104;

/// The bytes of a segment.
pub(super) const ENTRY_BYTES: u64 = 48;

/// So many segments at most, so that an index stays below 4 MiB.
const SEGMENTS_MAX: u64 = 87_000;

/// A blob that travels as a patch is not longer.
pub const RESULT_BYTES_MAX: u64 = SEGMENTS_MAX * SEGMENT_BYTES as u64;

/// What was signed of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// What has to come of it.
    pub result: Content,
    /// What it is made of.
    pub base: Content,
    /// The digest of the index.
    pub index: Digest,
}

/// How a segment is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where its prefix starts in the base.
    pub offset: u64,
    /// How long the prefix is.
    pub prefix: u32,
    /// How long its frame is.
    pub frame: u32,
    /// The digest of the frame.
    pub digest: Digest,
}

/// An index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// What comes of the patch.
    pub result: Content,
    /// What it is made of.
    pub base: Content,
    /// The segments, in order.
    pub segments: Vec<Segment>,
}

/// Why bytes are no index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// Of something else, or of a later version.
    #[error("it does not start as a patch does")]
    Magic,
    /// Of another blob, or cut otherwise.
    #[error("its {0} is not what was signed")]
    Other(&'static str),
    /// A segment with a length beyond its limit.
    #[error("segment {segment} states {found} bytes for its {what}, and has {limit} at most")]
    Length {
        /// Which, counted from 1.
        segment: usize,
        /// Of what.
        what: &'static str,
        /// What it states.
        found: u32,
        /// The limit.
        limit: u32,
    },
    /// A prefix that is not in the base.
    #[error("segment {segment} refers to bytes {offset} to {end} of a base of {base}")]
    Beyond {
        /// Which, counted from 1.
        segment: usize,
        /// Where its prefix starts.
        offset: u64,
        /// Where it ends.
        end: u64,
        /// How long the base is.
        base: u64,
    },
    /// Nothing to make, or more than any patch makes.
    #[error("a blob of {0} bytes does not travel as a patch")]
    Size(u64),
}

/// How many segments a blob has, if it may have so many.
fn segments(size: u64) -> Result<u64, IndexError> {
    if size == 0 || size > RESULT_BYTES_MAX {
        return Err(IndexError::Size(size));
    }
    Ok(size.div_ceil(u64::from(SEGMENT_BYTES)))
}

impl Wish {
    /// What is signed of this patch, which makes `result`.
    #[must_use]
    pub fn of(patch: &Patch, result: Content) -> Self {
        Self { result, base: patch.base, index: patch.index }
    }

    /// How long the index is.
    ///
    /// # Errors
    /// [`IndexError::Size`]
    pub fn index_bytes(&self) -> Result<u64, IndexError> {
        Ok(HEAD_BYTES.saturating_add(segments(self.result.size)?.saturating_mul(ENTRY_BYTES)))
    }
}

impl Index {
    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for content in [self.result, self.base] {
            out.extend_from_slice(content.digest.as_bytes());
            out.extend_from_slice(&content.size.to_be_bytes());
        }
        out.extend_from_slice(&SEGMENT_BYTES.to_be_bytes());
        let count = u32::try_from(self.segments.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&count.to_be_bytes());
        for segment in &self.segments {
            out.extend_from_slice(&segment.offset.to_be_bytes());
            out.extend_from_slice(&segment.prefix.to_be_bytes());
            out.extend_from_slice(&segment.frame.to_be_bytes());
            out.extend_from_slice(segment.digest.as_bytes());
        }
        out
    }

    /// Reads one that has to be this one.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub fn decode(bytes: &[u8], wish: &Wish) -> Result<Self, IndexError> {
        let count = segments(wish.result.size)?;
        if bytes.len() as u64 != wish.index_bytes()? {
            return Err(IndexError::Other("length"));
        }
        let (head, entries) = bytes.split_at_checked(HEAD_BYTES as usize).ok_or(IndexError::Magic)?;
        if !head.starts_with(MAGIC) {
            return Err(IndexError::Magic);
        }
        let mut segments = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        for (number, entry) in entries.chunks_exact(ENTRY_BYTES as usize).enumerate() {
            let segment = Segment::decode(entry).ok_or(IndexError::Other("length"))?;
            segment.check(number.saturating_add(1), wish.base.size)?;
            segments.push(segment);
        }
        let index = Self { result: wish.result, base: wish.base, segments };
        if index.encode() != bytes {
            return Err(IndexError::Other("head"));
        }
        Ok(index)
    }

    /// How long what a segment makes is.
    #[must_use]
    pub fn segment_bytes(&self, number: usize) -> usize {
        let before = (number as u64).saturating_mul(u64::from(SEGMENT_BYTES));
        let left = self.result.size.saturating_sub(before);
        usize::try_from(left.min(u64::from(SEGMENT_BYTES))).unwrap_or(0)
    }
}

impl Segment {
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (offset, rest) = bytes.split_first_chunk()?;
        let (prefix, rest) = rest.split_first_chunk()?;
        let (frame, rest) = rest.split_first_chunk()?;
        Some(Self {
            offset: u64::from_be_bytes(*offset),
            prefix: u32::from_be_bytes(*prefix),
            frame: u32::from_be_bytes(*frame),
            digest: Digest::from_bytes(rest.try_into().ok()?),
        })
    }

    fn check(&self, segment: usize, base: u64) -> Result<(), IndexError> {
        for (what, found, limit) in
            [("prefix", self.prefix, PREFIX_BYTES_MAX), ("frame", self.frame, FRAME_BYTES_MAX)]
        {
            if found > limit {
                return Err(IndexError::Length { segment, what, found, limit });
            }
        }
        let end = self.offset.saturating_add(u64::from(self.prefix));
        if end > base {
            return Err(IndexError::Beyond { segment, offset: self.offset, end, base });
        }
        Ok(())
    }
}
