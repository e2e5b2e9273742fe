//! Makes the recovery files of an archive: each byte of it is read once, and each byte of them written once.
//!
//! Rows are read side by side, a piece of each at a time; so the archive must allow reading at any place.
//! *Invariant:* a file whose header is there is whole: headers are written last.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use manifests::bundle::BundleDigest;
use manifests::{Digest, Hasher};

use super::block::{self, Seal};
use super::codec::{self, CodecError, Encoder};
use super::geometry::{Geometry, GeometryError, HEADER_BYTES, Percent, SEAL_BYTES};
use super::header::Header;
use super::source::Source;

/// What the encoder works on at a time, in bytes.
const WORK_BYTES: u64 = 32 << 20;

/// Why no recovery data was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// It cannot be laid out.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The archive cannot be read.
    #[error("the archive cannot be read at byte {offset}")]
    Read {
        /// Where.
        offset: u64,
        /// Why not.
        source: io::Error,
    },
    /// A recovery file cannot be written.
    #[error("recovery file {number} cannot be written")]
    Write {
        /// Which, counted from 1.
        number: u32,
        /// Why not.
        source: io::Error,
    },
    /// The codes cannot be computed.
    #[error("the recovery data cannot be computed")]
    Codec(#[from] CodecError),
}

/// Writes the recovery data of an archive of `length` bytes into these files, which are empty, and flushes them
/// to the disk. A file that nobody wants is none. The same archive, percentage and number of files give the same bytes. `passed` is told how many
/// bytes of the archive have gone by.
///
/// # Errors
/// See [`EncodeError`].
pub fn encode(
    source: &(impl Source + ?Sized),
    length: u64,
    bundle: BundleDigest,
    percent: Percent,
    files: &[Option<File>],
    passed: &mut dyn FnMut(u64),
) -> Result<Geometry, EncodeError> {
    encode_within(WORK_BYTES, source, length, bundle, percent, files, passed)
}

/// The same with less memory, or more: the bytes do not depend on it.
pub(super) fn encode_within(
    work_bytes: u64,
    source: &(impl Source + ?Sized),
    length: u64,
    bundle: BundleDigest,
    percent: Percent,
    files: &[Option<File>],
    passed: &mut dyn FnMut(u64),
) -> Result<Geometry, EncodeError> {
    let geometry = Geometry::new(length, percent, u32::try_from(files.len()).unwrap_or(u32::MAX))?;
    let rows = usize::try_from(geometry.rows()).unwrap_or(0);
    let recovery_rows = usize::try_from(geometry.recovery_rows()).unwrap_or(0);
    let entries = usize::try_from(geometry.blocks()).unwrap_or(0);
    let mut run = Run {
        geometry,
        files,
        work_bytes,
        index: vec![[0; SEAL_BYTES as usize]; entries],
        blocks: vec![Hasher::new(); rows],
        recovery_blocks: vec![Hasher::new(); recovery_rows],
    };
    if length > 0 {
        run.rows(source, passed)?;
    }
    run.finish(bundle)?;
    Ok(geometry)
}

struct Run<'a> {
    geometry: Geometry,
    files: &'a [Option<File>],
    work_bytes: u64,
    /// The seal of each block.
    index: Vec<Seal>,
    /// For each row, the block that is passing.
    blocks: Vec<Hasher>,
    recovery_blocks: Vec<Hasher>,
}

impl Run<'_> {
    fn rows(
        &mut self,
        source: &(impl Source + ?Sized),
        passed: &mut dyn FnMut(u64),
    ) -> Result<(), EncodeError> {
        let geometry = self.geometry;
        let step = codec::piece_bytes(&geometry, codec::encoder_rows(&geometry), self.work_bytes);
        let mut buffer = vec![0_u8; usize::try_from(step).unwrap_or(0)];
        let mut encoder = Encoder::new(geometry, buffer.len())?;
        let mut inside = 0;
        while inside < geometry.row_bytes() {
            let bytes = step.min(geometry.row_bytes() - inside);
            let piece = buffer.get_mut(..usize::try_from(bytes).unwrap_or(0)).unwrap_or_default();
            encoder.restart(piece.len())?;
            for row in 0..geometry.rows() {
                let offset = row * geometry.row_bytes() + inside;
                block::read_padded(source, &geometry, piece, offset)
                    .map_err(|source| EncodeError::Read { offset, source })?;
                self.hash_row(row, inside, piece);
                encoder.row(piece)?;
                passed(geometry.length().saturating_sub(offset).min(bytes));
            }
            let recovery = encoder.encode()?;
            for (row, piece) in (0_u64..).zip(recovery.recovery_iter()) {
                self.write_row(row, inside, piece)?;
            }
            inside += bytes;
        }
        Ok(())
    }

    fn hash_row(&mut self, row: u64, inside: u64, piece: &[u8]) {
        let hasher = usize::try_from(row).ok().and_then(|row| self.blocks.get_mut(row));
        let Some(hasher) = hasher else { return };
        for piece in block::pieces(&self.geometry, inside, piece) {
            hasher.update(piece.bytes);
            if piece.last {
                let seal = block::seal(std::mem::take(hasher));
                let block = self.geometry.block_at(row, piece.column);
                let entry = block.and_then(|block| self.index.get_mut(usize::try_from(block).ok()?));
                if let Some(entry) = entry {
                    *entry = seal;
                }
            }
        }
    }

    fn write_row(&mut self, row: u64, inside: u64, piece: &[u8]) -> Result<(), EncodeError> {
        let place = self.geometry.recovery_offset(row, inside);
        let hasher = usize::try_from(row).ok().and_then(|row| self.recovery_blocks.get_mut(row));
        let (Some(hasher), Some((file, offset))) = (hasher, place) else { return Ok(()) };
        let mut sealed = Vec::with_capacity(piece.len() + piece.len() / 64);
        for piece in block::pieces(&self.geometry, inside, piece) {
            hasher.update(piece.bytes);
            sealed.extend_from_slice(piece.bytes);
            if piece.last {
                let seal = block::recovery_seal(std::mem::take(hasher), row, piece.column);
                sealed.extend_from_slice(&seal);
            }
        }
        write(self.files, file, &sealed, offset)
    }

    /// Writes the index, then the headers, and flushes.
    fn finish(&self, bundle: BundleDigest) -> Result<(), EncodeError> {
        let geometry = self.geometry;
        let index = Digest::of(self.index.as_flattened());
        for file in 0..geometry.files() {
            for (slice, offset) in geometry.index_offsets(file) {
                let blocks = geometry.slice(slice);
                let range =
                    usize::try_from(blocks.start).unwrap_or(0)..usize::try_from(blocks.end).unwrap_or(0);
                let entries = self.index.get(range).unwrap_or_default();
                write(self.files, file, entries.as_flattened(), offset)?;
            }
        }
        for file in 0..geometry.files() {
            let header = Header { geometry, file, bundle, index }.encode();
            write(self.files, file, &header, geometry.file_bytes(file) - HEADER_BYTES)?;
            write(self.files, file, &header, 0)?;
        }
        for (number, file) in (1_u32..).zip(self.files) {
            let Some(file) = file else { continue };
            file.sync_all().map_err(|source| EncodeError::Write { number, source })?;
        }
        Ok(())
    }
}

fn write(files: &[Option<File>], file: u32, bytes: &[u8], offset: u64) -> Result<(), EncodeError> {
    let found = usize::try_from(file).ok().and_then(|file| files.get(file)).and_then(Option::as_ref);
    let written = found.map_or(Ok(()), |file| file.write_all_at(bytes, offset));
    written.map_err(|source| EncodeError::Write { number: file.saturating_add(1), source })
}
