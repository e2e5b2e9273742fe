//! Where everything of an archive lies, to the byte, before anything of it was read: all of it follows from
//! the length of `bundle.json` and from the inventory (`docs/format.md` §2).
//!
//! It says what a range of bytes is to a person, and it lets a part of an archive be checked alone.

use std::ops::Range;

use manifests::bundle::Content;
use manifests::{ArchivePath, BundleManifest, Inventory};

use crate::header::{self, BLOCK_BYTES};
use crate::signatures::AREA_BYTES;

/// What a region of an archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Region {
    /// Header, content and padding of one entry. The digest in `content` is a placeholder for `bundle.json`,
    /// whose bytes are what is signed.
    Entry {
        /// Its name.
        path: ArchivePath,
        /// What its content must be.
        content: Content,
    },
    /// Signatures, in whatever number, and the room that is left.
    Signatures,
    /// The blocks after the last entry.
    End,
}

/// One region and its bytes of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// What it is.
    pub region: Region,
    /// Where it is.
    pub range: Range<u64>,
}

impl Placed {
    /// The bytes of an entry's content; of anything else, all of it.
    #[must_use]
    pub fn content(&self) -> Range<u64> {
        match &self.region {
            Region::Entry { content, .. } => {
                let start = self.range.start.saturating_add(BLOCK_BYTES);
                start..start.saturating_add(content.size)
            }
            _ => self.range.clone(),
        }
    }

    /// The bytes after which its content is known: all of it, or of content without any the last of the header.
    #[must_use]
    pub fn decisive(&self) -> Range<u64> {
        let content = self.content();
        if content.is_empty() { content.start.saturating_sub(1)..content.start } else { content }
    }
}

/// The regions of an archive, in order and without gaps.
#[derive(Debug, Clone)]
pub struct ArchiveMap {
    placed: Vec<Placed>,
    head: u64,
}

impl ArchiveMap {
    /// The map of the archive of these documents. `manifest_bytes` is the length of `bundle.json`.
    #[must_use]
    pub fn new(manifest_bytes: u64, manifest: &BundleManifest, inventory: &Inventory) -> Self {
        let mut map = Self { placed: Vec::new(), head: 0 };
        let placeholder = Content { size: manifest_bytes, ..manifest.inventory };
        map.entry(ArchivePath::Manifest, placeholder);
        map.put(Region::Signatures, BLOCK_BYTES.saturating_add(AREA_BYTES));
        map.head = map.total();
        map.entry(ArchivePath::Checksums, manifest.checksums);
        map.entry(ArchivePath::Inventory, manifest.inventory);
        for (path, content) in inventory.contents() {
            map.entry(path, content);
        }
        map.put(Region::End, 2 * BLOCK_BYTES);
        map
    }

    fn entry(&mut self, path: ArchivePath, content: Content) {
        let bytes = header::entry_bytes(content.size);
        self.put(Region::Entry { path, content }, bytes);
    }

    fn put(&mut self, region: Region, bytes: u64) {
        let start = self.total();
        self.placed.push(Placed { region, range: start..start.saturating_add(bytes) });
    }

    /// The length of the archive.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.placed.last().map_or(0, |placed| placed.range.end)
    }

    /// The end of the signatures. A first part is at least that long.
    #[must_use]
    pub fn head_bytes(&self) -> u64 {
        self.head
    }

    /// The regions that have a byte in this range.
    #[must_use]
    pub fn within(&self, range: &Range<u64>) -> &[Placed] {
        let first = self.placed.partition_point(|placed| placed.range.end <= range.start);
        let last = self.placed.partition_point(|placed| placed.range.start < range.end);
        self.placed.get(first..last.max(first)).unwrap_or_default()
    }

    /// Every region.
    #[must_use]
    pub fn regions(&self) -> &[Placed] {
        &self.placed
    }

    /// The region of an entry.
    #[must_use]
    pub fn find(&self, wanted: &ArchivePath) -> Option<&Placed> {
        self.placed.iter().find(|placed| match &placed.region {
            Region::Entry { path, .. } => path == wanted,
            _ => false,
        })
    }
}

/// Disjoint ranges of bytes, ascending; what touches is one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// Takes a range in.
    pub fn add(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let mut all = std::mem::take(&mut self.0);
        all.push(range);
        all.sort_by_key(|range| range.start);
        for range in all {
            match self.0.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => self.0.push(range),
            }
        }
    }

    /// Takes a range out.
    pub fn remove(&mut self, gone: &Range<u64>) {
        if gone.is_empty() {
            return;
        }
        let all = std::mem::take(&mut self.0);
        let halves = all.into_iter().flat_map(|range| {
            let before = range.start..range.end.min(gone.start);
            let after = range.start.max(gone.end)..range.end;
            [before, after]
        });
        self.0 = halves.filter(|half| !half.is_empty()).collect();
    }

    /// Whether it has all of a range.
    #[must_use]
    pub fn covers(&self, range: &Range<u64>) -> bool {
        range.is_empty() || self.0.iter().any(|has| has.start <= range.start && range.end <= has.end)
    }

    /// Whether it has some of a range.
    #[must_use]
    pub fn touches(&self, range: &Range<u64>) -> bool {
        self.0.iter().any(|has| has.start < range.end && range.start < has.end)
    }

    /// The ranges.
    #[must_use]
    pub fn as_slice(&self) -> &[Range<u64>] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn ranges_hold_what_was_put_in_and_not_taken_out(
            acts in proptest::collection::vec((0_u64..40, 0_u64..12, proptest::bool::ANY), 0..30)
        ) {
            let (mut ranges, mut bits) = (Ranges::default(), [false; 64]);
            for (start, length, add) in acts {
                let range = start..start + length;
                for bit in range.clone() {
                    bits[usize::try_from(bit).unwrap()] = add;
                }
                if add { ranges.add(range) } else { ranges.remove(&range) }
            }
            for (bit, there) in bits.iter().enumerate() {
                let bit = bit as u64;
                assert_eq!(ranges.covers(&(bit..bit + 1)), *there, "{bit} {ranges:?}");
            }
            assert!(ranges.as_slice().windows(2).all(|pair| pair[0].end < pair[1].start), "{ranges:?}");
        }
    }
}
