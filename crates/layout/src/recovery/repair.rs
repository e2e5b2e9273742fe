//! Repairs: computes each lost block again, into a scratch file, and reads the archive as it was from there and
//! from what is good on the medium.
//!
//! The recovery data is read once more, and of the archive the columns that have lost something. At the end the
//! seals of all blocks, kept and repaired, must give the digest that the headers have for the whole index: so
//! recovery data that does not belong together is found out.
//!
//! *Invariant:* a [`Repaired`] exists only if that digest was right. *What it never does:* write to the medium,
//! or leave its scratch file behind: that has no name from the moment it is there.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use manifests::{Digest, Hasher};

use super::block::{self, Seal};
use super::codec::{self, CodecError, Decoder};
use super::geometry::Geometry;
use super::set::RecoverySet;
use super::source::Source;
use super::survey::{self, Margin, Survey};

/// How many bytes of the archive are held at a time.
const HELD_BYTES: u64 = 12 << 20;

/// What the decoder works on at a time, in bytes.
const WORK_BYTES: u64 = 16 << 20;

/// How many damaged ranges an error names.
const NAMED_MAX: usize = 4;

/// Why an archive cannot be repaired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// More is lost than there is recovery data for.
    #[error(
        "too much is damaged: the worst column of {} recovery blocks lacks {} of them, and these bytes of \
         the archive cannot be repaired: {}", margin.of, margin.blocks.unsigned_abs(), named(ranges)
    )]
    TooMuch {
        /// The bytes.
        ranges: Vec<Range<u64>>,
        /// By how much it misses.
        margin: Margin,
    },
    /// The pieces contradict each other.
    #[error("the recovery data does not make the archive that it was made of")]
    Inconsistent,
    /// A block that could be read before.
    #[error("byte {offset} of the archive could be read before, and now it cannot")]
    Read {
        /// Where.
        offset: u64,
        /// Why not.
        source: io::Error,
    },
    /// A recovery block that could be read before.
    #[error("row {row} of the recovery data could be read before, and now it cannot")]
    ReadRecovery {
        /// Which.
        row: u64,
    },
    /// No room, or no right, for the scratch file.
    #[error("cannot use a scratch file in {}", dir.display())]
    Scratch {
        /// Where.
        dir: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The codes cannot be computed.
    #[error("the lost blocks cannot be computed")]
    Codec(#[from] CodecError),
}

/// Ranges of bytes for people, the first few of them.
fn named(ranges: &[Range<u64>]) -> String {
    let mut text = String::new();
    for (position, range) in ranges.iter().take(NAMED_MAX).enumerate() {
        let between = if position == 0 { "" } else { ", " };
        // Writing to a text cannot fail.
        let _ = write!(text, "{between}{} to {}", range.start, range.end.saturating_sub(1));
    }
    let more = ranges.len().saturating_sub(NAMED_MAX);
    if more > 0 {
        let _ = write!(text, " and {more} more");
    }
    text
}

/// An archive as it was when the recovery data was made.
#[derive(Debug)]
pub struct Repaired<S> {
    source: S,
    geometry: Geometry,
    scratch: Scratch,
    margin: Margin,
    position: u64,
}

/// Repairs what a survey of the same set and source has found. `scratch` is a directory with room for
/// [`Survey::scratch_bytes`]; nothing is left there. `passed` is told how many bytes were made again.
///
/// # Errors
/// See [`RepairError`].
pub fn repair<S: Source>(
    set: &RecoverySet,
    survey: Survey,
    source: S,
    scratch: &Path,
    passed: &mut dyn FnMut(u64),
) -> Result<Repaired<S>, RepairError> {
    repair_within((HELD_BYTES, WORK_BYTES), set, survey, source, scratch, passed)
}

/// The same with less memory, or more, for what is held and for the decoder.
pub(super) fn repair_within<S: Source>(
    memory: (u64, u64),
    set: &RecoverySet,
    mut survey: Survey,
    source: S,
    scratch: &Path,
    passed: &mut dyn FnMut(u64),
) -> Result<Repaired<S>, RepairError> {
    let margin = survey.margin();
    if margin.blocks < 0 {
        return Err(RepairError::TooMuch { ranges: survey.unrepairable(), margin });
    }
    let geometry = *survey.geometry();
    let scratch = Scratch::new(&geometry, survey.lost_blocks(), scratch)?;
    if !scratch.lost.is_empty() {
        let run = Run { set, survey: &survey, source: &source, scratch: &scratch, geometry, memory };
        let made = run.columns(passed)?;
        for (block, seal) in made {
            let place = usize::try_from(block).ok().and_then(|block| survey.seals.get_mut(block));
            if let Some(place) = place {
                *place = Some(seal);
            }
        }
    }
    let index: Vec<Seal> = survey.seals.into_iter().flatten().collect();
    if Digest::of(index.as_flattened()) != set.header().index {
        // What was taken as good without an entry may have been damaged after all.
        return Err(survey
            .doubted
            .map_or(RepairError::Inconsistent, |(ranges, margin)| RepairError::TooMuch { ranges, margin }));
    }
    Ok(Repaired { source, geometry, scratch, margin, position: 0 })
}

/// Repaired blocks, one behind the other.
#[derive(Debug)]
struct Scratch {
    /// Ascending.
    lost: Vec<u64>,
    /// None if nothing is lost.
    file: Option<File>,
    dir: PathBuf,
    block: u64,
}

impl Scratch {
    fn new(geometry: &Geometry, lost: Vec<u64>, dir: &Path) -> Result<Self, RepairError> {
        let failed = |source| RepairError::Scratch { dir: dir.to_path_buf(), source };
        let file = if lost.is_empty() { None } else { Some(nameless(dir).map_err(failed)?) };
        let scratch = Self { lost, file, dir: dir.to_path_buf(), block: geometry.block_bytes() };
        Ok(scratch)
    }

    /// Where a byte of a lost block is.
    fn place(&self, block: u64, inside: u64) -> Option<(&File, u64)> {
        let slot = self.lost.binary_search(&block).ok()?;
        Some((self.file.as_ref()?, slot as u64 * self.block + inside))
    }

    fn write(&self, block: u64, inside: u64, bytes: &[u8]) -> Result<(), RepairError> {
        let written = match self.place(block, inside) {
            Some((file, offset)) => file.write_all_at(bytes, offset),
            None => Ok(()),
        };
        written.map_err(|source| RepairError::Scratch { dir: self.dir.clone(), source })
    }
}

/// A file without a name: it goes when it is closed, however the program ends.
fn nameless(dir: &Path) -> io::Result<File> {
    let mut last = io::ErrorKind::AlreadyExists.into();
    for number in 0..64_u32 {
        let path = dir.join(format!(".recovery-{number}"));
        match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => return std::fs::remove_file(&path).map(|()| file),
            // Of a program that was killed between the two, or of one that is just there.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

struct Run<'a, S> {
    set: &'a RecoverySet,
    survey: &'a Survey,
    source: &'a S,
    scratch: &'a Scratch,
    geometry: Geometry,
    memory: (u64, u64),
}

/// A piece of every row, side by side.
struct Held {
    bytes: Vec<u8>,
    /// Length of each.
    piece: u64,
    /// Where in the rows it starts.
    inside: u64,
}

impl Held {
    fn range(&self, row: u64, from: u64, bytes: u64) -> Range<usize> {
        let start = usize::try_from(row * self.piece + from - self.inside).unwrap_or(usize::MAX);
        start..start.saturating_add(usize::try_from(bytes).unwrap_or(0))
    }
}

/// What becomes of the lost blocks.
struct Making<'a> {
    decoder: Decoder,
    /// Blocks of which a part is there.
    begun: BTreeMap<u64, Hasher>,
    /// Blocks and their seals.
    made: Vec<(u64, Seal)>,
    passed: &'a mut dyn FnMut(u64),
}

impl<S: Source> Run<'_, S> {
    /// Makes every lost block again, and gives their seals.
    fn columns(&self, passed: &mut dyn FnMut(u64)) -> Result<Vec<(u64, Seal)>, RepairError> {
        let (geometry, rows) = (&self.geometry, self.geometry.rows());
        let step = codec::piece_bytes(geometry, rows, self.memory.0);
        let unit = codec::piece_bytes(geometry, codec::decoder_rows(geometry), self.memory.1);
        let unit = unit.min(geometry.block_bytes()).min(step);
        let decoder = Decoder::new(*geometry, usize::try_from(unit).unwrap_or(0))?;
        let mut making = Making { decoder, begun: BTreeMap::new(), made: Vec::new(), passed };
        let bytes = vec![0; usize::try_from(rows * step).unwrap_or(0)];
        let mut held = Held { bytes, piece: step, inside: 0 };
        while held.inside < geometry.row_bytes() {
            held.piece = step.min(geometry.row_bytes() - held.inside);
            let end = held.inside + held.piece;
            let columns = held.inside / geometry.block_bytes()..end.div_ceil(geometry.block_bytes());
            if columns.clone().any(|column| !self.lost_rows(column).is_empty()) {
                self.hold(&mut held, &columns)?;
                let mut from = held.inside;
                while from < end {
                    self.make(&held, from, unit, &mut making)?;
                    from += unit;
                }
            }
            held.inside = end;
        }
        Ok(making.made)
    }

    fn lost_rows(&self, column: u64) -> Vec<u64> {
        let lost =
            |row: &u64| self.geometry.block_at(*row, column).is_some_and(|block| self.survey.lost(block));
        (0..self.geometry.rows()).filter(lost).collect()
    }

    /// Reads a piece of each row: in one read where nothing of it is lost, else what is good of it.
    fn hold(&self, held: &mut Held, columns: &Range<u64>) -> Result<(), RepairError> {
        let block = self.geometry.block_bytes();
        let (start, end) = (held.inside, held.inside + held.piece);
        for row in 0..self.geometry.rows() {
            let lost = |column: u64| {
                self.geometry.block_at(row, column).is_some_and(|block| self.survey.lost(block))
            };
            if !columns.clone().any(lost) {
                self.read(held, row, start..end)?;
                continue;
            }
            for column in columns.clone().filter(|column| !lost(*column)) {
                self.read(held, row, (column * block).max(start)..((column + 1) * block).min(end))?;
            }
        }
        Ok(())
    }

    fn read(&self, held: &mut Held, row: u64, inside: Range<u64>) -> Result<(), RepairError> {
        let place = held.range(row, inside.start, inside.end - inside.start);
        let offset = row * self.geometry.row_bytes() + inside.start;
        let buffer = held.bytes.get_mut(place).unwrap_or_default();
        block::read_padded(self.source, &self.geometry, buffer, offset)
            .map_err(|source| RepairError::Read { offset, source })
    }

    /// Makes what is lost in one column again, or in a piece of one.
    fn make(&self, held: &Held, from: u64, unit: u64, making: &mut Making<'_>) -> Result<(), RepairError> {
        let column = from / self.geometry.block_bytes();
        let lost = self.lost_rows(column);
        if lost.is_empty() {
            return Ok(());
        }
        for row in (0..self.geometry.rows()).filter(|row| lost.binary_search(row).is_err()) {
            making.decoder.row(row, held.bytes.get(held.range(row, from, unit)).unwrap_or_default())?;
        }
        let mut piece = vec![0_u8; usize::try_from(unit).unwrap_or(0)];
        for row in self.survey.good_rows(column).take(lost.len()) {
            let read = self.set.read_recovery(&mut piece, row, from);
            read.ok_or(RepairError::ReadRecovery { row })?;
            making.decoder.recovery_row(row, &piece)?;
        }
        let inside = from % self.geometry.block_bytes();
        let found = making.decoder.decode()?;
        for row in lost {
            let bytes = usize::try_from(row).ok().and_then(|row| found.restored_original(row));
            let (Some(bytes), Some(block)) = (bytes, self.geometry.block_at(row, column)) else { continue };
            self.scratch.write(block, inside, bytes)?;
            (making.passed)(bytes.len() as u64);
            let hasher = making.begun.entry(block).or_default();
            hasher.update(bytes);
            if inside + unit == self.geometry.block_bytes() {
                let hasher = making.begun.remove(&block);
                making.made.extend(hasher.map(|hasher| (block, block::seal(hasher))));
            }
        }
        Ok(())
    }
}

impl<S: Source> Repaired<S> {
    /// The length of the archive.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.geometry.length()
    }

    /// The bytes that come from recovery data: whole blocks, and what touches is one.
    #[must_use]
    pub fn repaired(&self) -> Vec<Range<u64>> {
        survey::ranges(&self.geometry, self.scratch.lost.iter().copied())
    }

    /// How much more could have been lost.
    #[must_use]
    pub fn margin(&self) -> Margin {
        self.margin
    }

    /// Reads within one run of blocks that are repaired, or of blocks that are not; nothing at the end.
    fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = self.length().saturating_sub(offset);
        let block = offset / self.geometry.block_bytes();
        let next = self.scratch.lost.partition_point(|lost| *lost < block);
        let next = self.scratch.lost.get(next).copied();
        let end = match next {
            Some(lost) if lost == block => self.geometry.block_range(block).end,
            Some(lost) => self.geometry.block_range(lost).start,
            None => self.length(),
        };
        let here = end.saturating_sub(offset).min(left).min(buffer.len() as u64);
        let here = usize::try_from(here).unwrap_or(0);
        let buffer = buffer.get_mut(..here).unwrap_or_default();
        if !buffer.is_empty() {
            match self.scratch.place(block, offset % self.geometry.block_bytes()) {
                Some((file, place)) => file.read_exact_at(buffer, place)?,
                None => self.source.read_at(buffer, offset)?,
            }
        }
        Ok(here)
    }
}

impl<S: Source> Source for Repaired<S> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let (mut rest, mut offset) = (buffer, offset);
        while !rest.is_empty() {
            let count = self.read_some(rest, offset)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            rest = rest.get_mut(count..).unwrap_or_default();
            offset = offset.saturating_add(count as u64);
        }
        Ok(())
    }
}

impl<S: Source> Read for Repaired<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.read_some(buffer, self.position)?;
        self.position = self.position.saturating_add(count as u64);
        Ok(count)
    }
}
