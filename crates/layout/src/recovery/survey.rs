//! Locates damage: compares each block of the archive with the index and each recovery block with its seal,
//! in one pass over both, without decoding. Then counts for each column what it has lost and what it has left.
//!
//! *What it never does:* keep content. A block is good if its seal is the entry of any copy of the index, so an
//! index that is damaged by chance can make good blocks count as lost, and nothing else.

use std::ops::Range;

use manifests::Hasher;

use super::block::{self, CHUNK_BYTES, Seal};
use super::geometry::{Geometry, SEAL_BYTES};
use super::set::RecoverySet;
use super::source::Source;

/// How many entries of the index are held at a time.
const ENTRIES: u64 = 4096;

/// How many more blocks may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Margin {
    /// In the worst column; below zero, how many it lacks.
    pub blocks: i64,
    /// How many a column may lose if nothing is.
    pub of: u64,
    /// How long a contiguous loss, anywhere, could be repaired in addition. Bytes of the archive.
    pub contiguous_bytes: u64,
}

/// Where an archive and its recovery data are damaged.
#[derive(Debug, Clone)]
pub struct Survey {
    pub(super) geometry: Geometry,
    /// The seal that each block has; none if it is lost.
    pub(super) seals: Vec<Option<Seal>>,
    /// By row, then by column: whether a recovery block is good.
    recovery: Vec<bool>,
    /// Blocks that can be read and that no copy of the index has an entry for.
    unjudged: Vec<(u64, Seal)>,
    /// What could not be repaired if all of those were lost.
    pub(super) doubted: Option<(Vec<Range<u64>>, Margin)>,
}

/// Reads the archive and the recovery data. `passed` is told how many bytes have gone by, of
/// [`Survey::bytes`] in all. What cannot be read is lost, so this does not fail.
#[must_use]
pub fn survey(set: &RecoverySet, source: &(impl Source + ?Sized), passed: &mut dyn FnMut(u64)) -> Survey {
    survey_within(CHUNK_BYTES, set, source, passed)
}

/// The same, read in shorter pieces.
pub(super) fn survey_within(
    chunk: u64,
    set: &RecoverySet,
    source: &(impl Source + ?Sized),
    passed: &mut dyn FnMut(u64),
) -> Survey {
    let geometry = *set.geometry();
    let mut survey =
        Survey { geometry, seals: Vec::new(), recovery: Vec::new(), unjudged: Vec::new(), doubted: None };
    let mut buffer = vec![0_u8; usize::try_from(chunk).unwrap_or(0)];
    for slice in 0..geometry.files() {
        let blocks = geometry.slice(slice);
        let mut first = blocks.start;
        while first < blocks.end {
            let next = (first + ENTRIES).min(blocks.end);
            survey.judge(set, source, slice, first..next, &mut buffer);
            passed(geometry.block_range(next - 1).end - geometry.block_range(first).start);
            first = next;
        }
    }
    for row in 0..geometry.recovery_rows() {
        survey.recovery_row(set, row, &mut buffer);
        passed(geometry.sealed_row_bytes());
    }
    survey.give_the_benefit_of_the_doubt();
    survey
}

/// How many blocks of this length are read at a time.
fn run_blocks(buffer: &[u8], block: u64) -> u64 {
    (buffer.len() as u64 / block).max(1)
}

impl Survey {
    /// How much there is to read: the archive and the recovery rows.
    #[must_use]
    pub fn bytes(geometry: &Geometry) -> u64 {
        geometry.length() + geometry.recovery_rows() * geometry.sealed_row_bytes()
    }

    fn judge(
        &mut self,
        set: &RecoverySet,
        source: &(impl Source + ?Sized),
        slice: u32,
        blocks: Range<u64>,
        buffer: &mut [u8],
    ) {
        let copies = set.read_index(slice, &blocks);
        let run = run_blocks(buffer, self.geometry.block_bytes());
        for first in blocks.clone().step_by(usize::try_from(run).unwrap_or(1)) {
            let found = seals(&self.geometry, source, first..(first + run).min(blocks.end), buffer);
            for (position, found) in (first - blocks.start..).zip(found) {
                let position = usize::try_from(position).unwrap_or(usize::MAX);
                let is_entry = |seal: &Seal| copies.iter().any(|copy| copy.get(position) == Some(seal));
                if let Some(seal) = found.filter(|_| copies.is_empty()) {
                    self.unjudged.push((self.seals.len() as u64, seal));
                }
                self.seals.push(found.filter(is_entry));
            }
        }
    }

    /// Takes blocks that nobody can judge as good where a column could not be repaired without them. Whether they
    /// are, the digest of the whole index tells at the end.
    fn give_the_benefit_of_the_doubt(&mut self) {
        let margin = self.margin();
        if margin.blocks >= 0 || self.unjudged.is_empty() {
            return;
        }
        self.doubted = Some((self.unrepairable(), margin));
        let margins = self.margins();
        for (block, seal) in &self.unjudged {
            let column = usize::try_from(self.geometry.column_of(*block)).ok();
            let short = column.and_then(|column| margins.get(column)).is_some_and(|left| *left < 0);
            let place = usize::try_from(*block).ok().and_then(|block| self.seals.get_mut(block));
            if let Some(place) = place.filter(|_| short) {
                *place = Some(*seal);
            }
        }
    }

    fn recovery_row(&mut self, set: &RecoverySet, row: u64, buffer: &mut [u8]) {
        let geometry = self.geometry;
        let run = run_blocks(buffer, geometry.block_bytes() + SEAL_BYTES);
        let mut column = 0;
        while column < geometry.columns() {
            let columns = column..(column + run).min(geometry.columns());
            column = columns.end;
            match sealed_blocks(set, row, columns.clone(), buffer) {
                Some(good) => self.recovery.extend(good),
                // One bad place must not cost its neighbours.
                None => self.recovery.extend(columns.map(|column| sealed_block(set, row, column, buffer))),
            }
        }
    }

    /// The layout.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Whether a block is lost.
    pub(super) fn lost(&self, block: u64) -> bool {
        let seal = usize::try_from(block).ok().and_then(|block| self.seals.get(block));
        seal.is_some_and(Option::is_none)
    }

    /// The lost blocks, ascending.
    pub(super) fn lost_blocks(&self) -> Vec<u64> {
        (0_u64..).zip(&self.seals).filter(|(_, seal)| seal.is_none()).map(|(block, _)| block).collect()
    }

    /// The good recovery rows of a column.
    pub(super) fn good_rows(&self, column: u64) -> impl Iterator<Item = u64> + '_ {
        let place = move |row: u64| usize::try_from(row * self.geometry.columns() + column).ok();
        let good = move |row: &u64| place(*row).and_then(|place| self.recovery.get(place)) == Some(&true);
        (0..self.geometry.recovery_rows()).filter(good)
    }

    /// The bytes of the archive that are damaged: whole blocks, and what touches is one.
    #[must_use]
    pub fn damaged(&self) -> Vec<Range<u64>> {
        ranges(&self.geometry, self.lost_blocks().into_iter())
    }

    /// Whether the archive is as it was.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.seals.iter().all(Option::is_some)
    }

    /// How many recovery blocks are damaged or missing.
    #[must_use]
    pub fn recovery_damaged(&self) -> u64 {
        self.recovery.iter().filter(|good| !**good).count() as u64
    }

    /// How many blocks cannot be judged, because every copy of their part of the index is missing. They count as
    /// lost where a column can afford that, and else as good.
    #[must_use]
    pub fn unjudged(&self) -> u64 {
        self.unjudged.len() as u64
    }

    /// How much room in a scratch directory a repair needs, in bytes.
    #[must_use]
    pub fn scratch_bytes(&self) -> u64 {
        self.lost_blocks().len() as u64 * self.geometry.block_bytes()
    }

    /// For each column, how many more blocks it may lose.
    fn margins(&self) -> Vec<i64> {
        let mut margins = vec![0_i64; usize::try_from(self.geometry.columns()).unwrap_or(0)];
        let mut count = |column: u64, by: i64| {
            if let Some(margin) = usize::try_from(column).ok().and_then(|column| margins.get_mut(column)) {
                *margin += by;
            }
        };
        for (place, _) in (0_u64..).zip(&self.recovery).filter(|(_, good)| **good) {
            count(self.geometry.column_of(place), 1);
        }
        for block in self.lost_blocks() {
            count(self.geometry.column_of(block), -1);
        }
        margins
    }

    /// How much margin is left. Below zero there is no repair.
    #[must_use]
    pub fn margin(&self) -> Margin {
        let of = self.geometry.recovery_rows();
        let blocks = self.margins().into_iter().min().unwrap_or(0);
        let free = u64::try_from(blocks).unwrap_or(0) * self.geometry.columns();
        let contiguous_bytes = free.saturating_sub(1) * self.geometry.block_bytes();
        Margin { blocks, of, contiguous_bytes: contiguous_bytes.min(self.geometry.length()) }
    }

    /// The damaged bytes that cannot be repaired.
    #[must_use]
    pub fn unrepairable(&self) -> Vec<Range<u64>> {
        let margins = self.margins();
        let column = |block: u64| usize::try_from(self.geometry.column_of(block)).ok();
        let short =
            |block: &u64| column(*block).and_then(|column| margins.get(column)).is_some_and(|left| *left < 0);
        ranges(&self.geometry, self.lost_blocks().into_iter().filter(short))
    }
}

/// Bytes of ascending blocks.
pub(super) fn ranges(geometry: &Geometry, blocks: impl Iterator<Item = u64>) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for range in blocks.map(|block| geometry.block_range(block)) {
        match ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => ranges.push(range),
        }
    }
    ranges
}

/// The seals of neighbouring blocks, as they are; none of what cannot be read.
fn seals(
    geometry: &Geometry,
    source: &(impl Source + ?Sized),
    blocks: Range<u64>,
    buffer: &mut [u8],
) -> Vec<Option<Seal>> {
    let block = geometry.block_bytes();
    let bytes = usize::try_from((blocks.end - blocks.start) * block).unwrap_or(usize::MAX);
    if let Some(run) = buffer.get_mut(..bytes)
        && block::read_padded(source, geometry, run, blocks.start * block).is_ok()
    {
        let hash = |bytes: &[u8]| {
            let mut hasher = Hasher::new();
            hasher.update(bytes);
            Some(block::seal(hasher))
        };
        return run.chunks_exact(usize::try_from(block).unwrap_or(1)).map(hash).collect();
    }
    blocks.map(|block| seal_alone(geometry, source, block, buffer)).collect()
}

fn seal_alone(
    geometry: &Geometry,
    source: &(impl Source + ?Sized),
    block: u64,
    buffer: &mut [u8],
) -> Option<Seal> {
    let mut hasher = Hasher::new();
    let (start, block) = (block * geometry.block_bytes(), geometry.block_bytes());
    let mut done = 0;
    while done < block {
        let wanted = usize::try_from(block - done).unwrap_or(usize::MAX).min(buffer.len());
        let piece = buffer.get_mut(..wanted)?;
        block::read_padded(source, geometry, piece, start + done).ok()?;
        hasher.update(piece);
        done += wanted as u64;
    }
    Some(block::seal(hasher))
}

/// Which of some recovery blocks of a row are good, read in one piece; none if that fails or is too long.
fn sealed_blocks(set: &RecoverySet, row: u64, columns: Range<u64>, buffer: &mut [u8]) -> Option<Vec<bool>> {
    let (block, sealed) = (set.geometry().block_bytes(), set.geometry().block_bytes() + SEAL_BYTES);
    let bytes = usize::try_from((columns.end - columns.start) * sealed).ok()?;
    let run = buffer.get_mut(..bytes)?;
    set.read_recovery(run, row, columns.start * block)?;
    let blocks = run.chunks_exact(usize::try_from(sealed).ok()?).zip(columns);
    let good = blocks.map(|(bytes, column)| {
        let (content, found) = bytes.split_at(usize::try_from(block).unwrap_or(0));
        let mut hasher = Hasher::new();
        hasher.update(content);
        block::recovery_seal(hasher, row, column) == found
    });
    Some(good.collect())
}

/// Whether one recovery block is good.
fn sealed_block(set: &RecoverySet, row: u64, column: u64, buffer: &mut [u8]) -> bool {
    let block = set.geometry().block_bytes();
    let (mut hasher, mut done) = (Hasher::new(), 0);
    while done < block {
        let wanted = usize::try_from(block - done).unwrap_or(usize::MAX).min(buffer.len());
        let piece = buffer.get_mut(..wanted).unwrap_or_default();
        if set.read_recovery(piece, row, column * block + done).is_none() {
            return false;
        }
        hasher.update(piece);
        done += wanted as u64;
    }
    let mut found: Seal = [0; SEAL_BYTES as usize];
    let read = set.read_seal(&mut found, row, column);
    read.is_some() && block::recovery_seal(hasher, row, column) == found
}
