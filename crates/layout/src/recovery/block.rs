//! Blocks and their seals: what tells a damaged block from a good one.

use std::io;

use manifests::{Digest, Hasher};

use super::geometry::{Geometry, SEAL_BYTES};
use super::source::Source;

/// What is read in one piece, and the longest piece of a block that is hashed at a time.
pub(super) const CHUNK_BYTES: u64 = 1 << 20;

/// The first bytes of a digest.
pub(super) type Seal = [u8; SEAL_BYTES as usize];

fn cut(digest: Digest) -> Seal {
    digest.as_bytes().first_chunk().copied().unwrap_or_default()
}

/// The seal of a block of the archive that has passed a hasher; it is an entry of the index.
pub(super) fn seal(block: Hasher) -> Seal {
    cut(block.finish())
}

/// The seal of a recovery block: it is bound to its place, so that no other block passes for it.
pub(super) fn recovery_seal(mut block: Hasher, row: u64, column: u64) -> Seal {
    for number in [row, column] {
        block.update(&number.to_be_bytes());
    }
    cut(block.finish())
}

/// A piece of a row that lies in one block.
pub(super) struct Piece<'a> {
    /// The block's column.
    pub(super) column: u64,
    /// The bytes.
    pub(super) bytes: &'a [u8],
    /// Whether the block ends with it.
    pub(super) last: bool,
}

/// Cuts bytes of a row, which start at `inside`, where blocks end.
pub(super) fn pieces<'a>(
    geometry: &Geometry,
    inside: u64,
    bytes: &'a [u8],
) -> impl Iterator<Item = Piece<'a>> {
    let block = geometry.block_bytes();
    let (mut at, mut rest) = (inside, bytes);
    std::iter::from_fn(move || {
        let room = usize::try_from(block - at % block).unwrap_or(usize::MAX);
        let (bytes, later) = rest.split_at(room.min(rest.len()));
        let column = at / block;
        at += bytes.len() as u64;
        rest = later;
        (!bytes.is_empty()).then_some(Piece { column, bytes, last: at.is_multiple_of(block) })
    })
}

/// Reads bytes of the archive; zeros follow its end.
pub(super) fn read_padded(
    source: &(impl Source + ?Sized),
    geometry: &Geometry,
    buffer: &mut [u8],
    offset: u64,
) -> io::Result<()> {
    let there = geometry.length().saturating_sub(offset).min(buffer.len() as u64);
    let (content, padding) = buffer.split_at_mut(usize::try_from(there).unwrap_or(0));
    padding.fill(0);
    if content.is_empty() { Ok(()) } else { source.read_at(content, offset) }
}
