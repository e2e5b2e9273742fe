//! How an archive is laid out for recovery. Everything follows from three numbers: the length of the archive,
//! the percentage, and the number of recovery files (`docs/recovery.md` §2).
//!
//! The archive is written in rows of equal length, one under the other; a *column* is one block of each row.
//! Recovery rows are added below, and a column survives the loss of as many blocks as there are recovery rows.
//! Neighbouring blocks are in different columns, so a contiguous loss is spread evenly over all of them.
//!
//! *Invariant:* counts are bounded whatever the three numbers are: at most 2^18 blocks, 8192 rows, 257 columns.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// The longest archive that recovery data can be made of: 1 PiB.
pub const LENGTH_MAX: u64 = 1 << 50;

/// How many recovery files a set may have.
pub const FILES_MAX: u32 = 999;

/// An archive has no more blocks than this; longer archives have longer blocks.
pub const BLOCKS_MAX: u64 = 1 << 18;

/// The shortest block, in bytes.
pub const BLOCK_BYTES_MIN: u64 = 1024;

/// Up to this length an archive has many short rows: any damage of that share is repaired, wherever it is.
pub const SMALL_BYTES: u64 = 64 << 20;

/// Rows of a small archive.
pub const SMALL_ROWS: u64 = 8192;

/// Rows of any other: few enough that reading one column of each is reading long pieces.
pub const ROWS: u64 = 1024;

/// The first bytes of a SHA-256 digest, which tell damage from none.
pub const SEAL_BYTES: u64 = 8;

/// The length of a header.
pub const HEADER_BYTES: u64 = 512;

/// Each entry of the index is in so many files, if there are as many.
const COPIES_MAX: u32 = 4;

/// How much of an archive may be lost: 1 to 100 per cent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u8);

/// Why no recovery data can be laid out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GeometryError {
    /// Not a percentage.
    #[error("`{found}` is not a percentage from 1% to 100%")]
    Percent {
        /// What was there.
        found: String,
    },
    /// Too long.
    #[error("an archive of {found} bytes is too long for recovery data, the limit is {LENGTH_MAX}")]
    Length {
        /// How long it is.
        found: u64,
    },
    /// No file, or too many.
    #[error("recovery data goes into 1 to {FILES_MAX} files, not {found}")]
    Files {
        /// How many.
        found: u64,
    },
}

impl Percent {
    /// From a number.
    ///
    /// # Errors
    /// It is not within 1 and 100.
    pub fn new(number: u32) -> Result<Self, GeometryError> {
        let bounded = u8::try_from(number).ok().filter(|number| (1..=100).contains(number));
        bounded.map(Self).ok_or_else(|| GeometryError::Percent { found: number.to_string() })
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> u32 {
        u32::from(self.0)
    }

    /// This share of a length, rounded up.
    #[must_use]
    pub fn of(self, length: u64) -> u64 {
        let share = (u128::from(length) * u128::from(self.0)).div_ceil(100);
        u64::try_from(share).unwrap_or(length)
    }
}

impl FromStr for Percent {
    type Err = GeometryError;
    /// `10%`, or `10`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_suffix('%').unwrap_or(text);
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
        let number = digits.parse().ok().filter(|_| plain).and_then(|number| Self::new(number).ok());
        let printable = || manifests::text::printable(text);
        number.ok_or_else(|| GeometryError::Percent { found: printable() })
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// The layout of recovery data. Numbers of rows, columns, blocks and files count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    length: u64,
    percent: Percent,
    files: u32,
    block: u64,
    blocks: u64,
    columns: u64,
    rows: u64,
    recovery_rows: u64,
}

impl Geometry {
    /// The layout for an archive of `length` bytes.
    ///
    /// # Errors
    /// See [`GeometryError`].
    pub fn new(length: u64, percent: Percent, files: u32) -> Result<Self, GeometryError> {
        if length > LENGTH_MAX {
            return Err(GeometryError::Length { found: length });
        }
        if !(1..=FILES_MAX).contains(&files) {
            return Err(GeometryError::Files { found: u64::from(files) });
        }
        let block = length.div_ceil(BLOCKS_MAX).next_power_of_two().max(BLOCK_BYTES_MIN);
        let blocks = length.div_ceil(block);
        let rows_max = if length <= SMALL_BYTES { SMALL_ROWS } else { ROWS };
        let columns = blocks.div_ceil(rows_max);
        let rows = if columns == 0 { 0 } else { blocks.div_ceil(columns) };
        // A contiguous loss touches one block more than it is long, if it starts within one.
        let lost = percent.of(length).div_ceil(block).saturating_add(1).min(blocks);
        let recovery_rows = if columns == 0 { 0 } else { lost.div_ceil(columns) };
        Ok(Self { length, percent, files, block, blocks, columns, rows, recovery_rows })
    }

    /// Length of the archive, in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The percentage.
    #[must_use]
    pub fn percent(&self) -> Percent {
        self.percent
    }

    /// How many recovery files there are.
    #[must_use]
    pub fn files(&self) -> u32 {
        self.files
    }

    /// Length of a block, in bytes: a power of two. The last one is shorter in the archive, and counts as if
    /// zeros followed.
    #[must_use]
    pub fn block_bytes(&self) -> u64 {
        self.block
    }

    /// How many blocks the archive has.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// How many columns there are, that is, blocks in a row.
    #[must_use]
    pub fn columns(&self) -> u64 {
        self.columns
    }

    /// Rows of the archive. What the last one lacks counts as zeros.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Rows of recovery blocks: how many blocks each column may lose.
    #[must_use]
    pub fn recovery_rows(&self) -> u64 {
        self.recovery_rows
    }

    /// Length of a row, in bytes.
    #[must_use]
    pub fn row_bytes(&self) -> u64 {
        self.columns * self.block
    }

    /// The block at a place, unless the archive has ended before.
    #[must_use]
    pub fn block_at(&self, row: u64, column: u64) -> Option<u64> {
        Some(row * self.columns + column).filter(|block| *block < self.blocks)
    }

    /// The column of a block.
    #[must_use]
    pub fn column_of(&self, block: u64) -> u64 {
        block.checked_rem(self.columns).unwrap_or(0)
    }

    /// The bytes of the archive that a block is.
    #[must_use]
    pub fn block_range(&self, block: u64) -> Range<u64> {
        let start = block.saturating_mul(self.block).min(self.length);
        start..start.saturating_add(self.block).min(self.length)
    }

    /// The recovery rows that a file holds.
    #[must_use]
    pub fn rows_of(&self, file: u32) -> Range<u64> {
        share(self.recovery_rows, file, self.files)
    }

    /// The file that holds a recovery row, and how many rows are before it there.
    #[must_use]
    pub fn file_of(&self, row: u64) -> Option<(u32, u64)> {
        // The first file whose rows end behind this one.
        let file = (row.checked_add(1)? * u64::from(self.files) - 1).checked_div(self.recovery_rows)?;
        let file = u32::try_from(file).ok().filter(|file| *file < self.files)?;
        Some((file, row - self.rows_of(file).start))
    }

    /// How many copies of the index there are.
    #[must_use]
    pub fn copies(&self) -> u32 {
        self.files.clamp(2, COPIES_MAX)
    }

    /// The blocks of a slice of the index; there are as many slices as files.
    #[must_use]
    pub fn slice(&self, slice: u32) -> Range<u64> {
        share(self.blocks, slice, self.files)
    }

    /// The slices of the index that a file holds, in order: half of them before its rows, half behind.
    #[must_use]
    pub fn slices_of(&self, file: u32) -> (Vec<u32>, Vec<u32>) {
        let step = (self.files / self.copies()).max(1);
        let slice = |copy: u32| (file + copy * step) % self.files;
        let before = self.copies().div_ceil(2);
        ((0..before).map(slice).collect(), (before..self.copies()).map(slice).collect())
    }

    fn slice_bytes(&self, slices: &[u32]) -> u64 {
        let entries = slices.iter().map(|slice| self.slice(*slice)).map(|range| range.end - range.start);
        entries.sum::<u64>() * SEAL_BYTES
    }

    /// Where a file's recovery rows start.
    #[must_use]
    pub fn rows_offset(&self, file: u32) -> u64 {
        HEADER_BYTES + self.slice_bytes(&self.slices_of(file).0)
    }

    /// Length of a recovery row in a file, in bytes: each block is followed by its seal.
    #[must_use]
    pub fn sealed_row_bytes(&self) -> u64 {
        self.columns * (self.block + SEAL_BYTES)
    }

    /// Where a byte of a recovery row is in its file. `inside` counts bytes of the row without seals.
    #[must_use]
    pub fn recovery_offset(&self, row: u64, inside: u64) -> Option<(u32, u64)> {
        let (file, before) = self.file_of(row)?;
        let column = inside.checked_div(self.block)?;
        let offset = self.rows_offset(file) + before * self.sealed_row_bytes() + inside + column * SEAL_BYTES;
        Some((file, offset))
    }

    /// Each copy of a slice in a file: which slice, and where it starts.
    #[must_use]
    pub fn index_offsets(&self, file: u32) -> Vec<(u32, u64)> {
        let (before, behind) = self.slices_of(file);
        let rows = self.rows_of(file);
        let rows_bytes = (rows.end - rows.start) * self.sealed_row_bytes();
        let mut offset = HEADER_BYTES;
        let mut placed = Vec::new();
        for (position, slice) in before.iter().chain(&behind).enumerate() {
            if position == before.len() {
                offset += rows_bytes;
            }
            placed.push((*slice, offset));
            offset += self.slice_bytes(&[*slice]);
        }
        placed
    }

    /// The length of a file, in bytes.
    #[must_use]
    pub fn file_bytes(&self, file: u32) -> u64 {
        let (before, behind) = self.slices_of(file);
        let rows = self.rows_of(file);
        let rows_bytes = (rows.end - rows.start) * self.sealed_row_bytes();
        2 * HEADER_BYTES + self.slice_bytes(&before) + rows_bytes + self.slice_bytes(&behind)
    }

    /// No file is longer.
    #[must_use]
    pub fn file_bytes_max(&self) -> u64 {
        let share = |total: u64| total.div_ceil(u64::from(self.files.max(1)));
        let index = share(self.blocks) * SEAL_BYTES * u64::from(self.copies());
        2 * HEADER_BYTES + index + share(self.recovery_rows) * self.sealed_row_bytes()
    }

    /// Whether a set can lose these bytes of the archive, in one piece, and these of its own files at once.
    #[must_use]
    pub fn withstands(&self, lost: &Range<u64>, files: &Range<u32>) -> bool {
        let first = lost.start.checked_div(self.block).unwrap_or(0);
        let blocks = lost.end.div_ceil(self.block).saturating_sub(first);
        let in_a_column = blocks.div_ceil(self.columns.max(1));
        let rows = |file: u32| self.rows_of(file).end.saturating_sub(self.rows_of(file).start);
        let gone: u64 = files.clone().map(rows).sum();
        lost.is_empty() || in_a_column <= self.recovery_rows.saturating_sub(gone)
    }

    /// The length of all files together, in bytes.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        (0..self.files).map(|file| self.file_bytes(file)).sum()
    }
}

/// The share of `total` that the one of `parts` has: shares differ by one at most.
fn share(total: u64, one: u32, parts: u32) -> Range<u64> {
    let cut = |one: u64| (total * one).checked_div(u64::from(parts)).unwrap_or(0);
    cut(u64::from(one))..cut(u64::from(one) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(length: u64, percent: u32, files: u32) -> Geometry {
        Geometry::new(length, Percent::new(percent).unwrap(), files).unwrap()
    }

    #[test]
    fn a_percentage_is_from_1_to_100() {
        for good in ["1%", "10", "100%"] {
            assert!(good.parse::<Percent>().is_ok(), "{good}");
        }
        for bad in ["", "%", "0%", "101%", "5 %", "+5", "05%", "2.5%", "5%%", "\u{7}"] {
            let error = bad.parse::<Percent>().unwrap_err().to_string();
            assert!(!error.chars().any(char::is_control), "{error:?}");
        }
        assert_eq!(Percent::new(10).unwrap().of(101), 11);
    }

    #[test]
    fn the_examples_of_the_page() {
        let shape = |length, percent| {
            let found = geometry(length, percent, 1);
            (found.block_bytes(), found.blocks(), found.columns(), found.rows(), found.recovery_rows())
        };
        assert_eq!(shape(0, 10), (1024, 0, 0, 0, 0));
        assert_eq!(shape(1, 10), (1024, 1, 1, 1, 1));
        assert_eq!(shape(1 << 20, 10), (1024, 1024, 1, 1024, 104));
        assert_eq!(shape(32 << 20, 10), (1024, 32768, 4, 8192, 820));
        assert_eq!(shape(3 << 30, 10), (16384, 196_608, 192, 1024, 103));
        assert_eq!(shape(25 << 30, 5), (131_072, 204_800, 200, 1024, 52));
        assert_eq!(shape(LENGTH_MAX, 100), (1 << 32, 1 << 18, 256, 1024, 1024));
    }

    proptest::proptest! {
        #[test]
        fn every_layout_is_bounded_and_has_room_for_a_contiguous_loss_of_its_share(
            shift in 14_u32..64, noise: u64, percent in 1_u32..=100, files in 1_u32..=999,
        ) {
            let found = geometry(noise >> shift, percent, files);
            assert!(found.blocks() <= BLOCKS_MAX && found.rows() <= SMALL_ROWS);
            assert!(found.recovery_rows() <= found.rows());
            assert!(found.columns() <= BLOCKS_MAX / ROWS + 1);
            assert!(found.rows() * found.row_bytes() >= found.length());
            let lost = Percent::new(percent).unwrap().of(found.length()).div_ceil(found.block_bytes()) + 1;
            assert!(found.recovery_rows() * found.columns() >= lost.min(found.blocks()));
            let rows: u64 = (0..files).map(|file| found.rows_of(file)).map(|rows| rows.end - rows.start).sum();
            assert_eq!(rows, found.recovery_rows());
            for file in [0, files / 2, files - 1] {
                for row in found.rows_of(file).take(3) {
                    assert_eq!(found.file_of(row), Some((file, row - found.rows_of(file).start)));
                }
            }
            assert_eq!(found.file_of(found.recovery_rows()), None);
        }

        #[test]
        fn each_slice_of_the_index_is_in_as_many_files_as_there_are_copies(files in 1_u32..=999) {
            let found = geometry(1 << 30, 10, files);
            let mut holders = vec![Vec::new(); files as usize];
            for file in 0..files {
                for (slice, _) in found.index_offsets(file) {
                    holders[slice as usize].push(file);
                }
            }
            for mut files_of_slice in holders {
                assert_eq!(files_of_slice.len(), found.copies() as usize);
                files_of_slice.sort_unstable();
                files_of_slice.dedup();
                assert_eq!(files_of_slice.len(), found.copies().min(files) as usize);
            }
        }
    }

    #[test]
    fn a_set_of_up_to_four_files_has_a_whole_index_in_each() {
        for files in 1..=4 {
            let found = geometry(1 << 24, 10, files);
            for file in 0..files {
                let mut slices: Vec<u32> =
                    found.index_offsets(file).iter().map(|(slice, _)| *slice).collect();
                slices.sort_unstable();
                slices.dedup();
                assert_eq!(slices.len(), files as usize);
            }
        }
    }

    #[test]
    fn refuses_lengths_and_numbers_of_files_beyond_its_limits() {
        let percent = Percent::new(5).unwrap();
        let length = Geometry::new(LENGTH_MAX + 1, percent, 1);
        assert!(matches!(length, Err(GeometryError::Length { .. })));
        for files in [0, FILES_MAX + 1, u32::MAX] {
            assert!(matches!(Geometry::new(1, percent, files), Err(GeometryError::Files { .. })));
        }
    }
}
