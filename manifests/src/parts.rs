//! `parts.json`: how one archive was cut into parts, the same bytes on every disc of a set
//! (`docs/format.md` §14).
//!
//! *Nobody signs it.* What a part must hold follows from `bundle.json`, `SHA256SUMS` and `inventory.json`,
//! which are signed or hang from what is, and lie on each disc. The list says which bytes of the archive a part
//! is, and names damage that falls into a blob which goes on in another part. So a list that lies can make a
//! reader refuse, and nothing else.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use serde::{Deserialize, Serialize};

use crate::BundleManifest;
use crate::bundle::{BundleDigest, Content};
use crate::canonical::{self, CanonicalError};
use crate::text::FileName;

/// Three digits name a part.
pub const PARTS_MAX: usize = 999;

/// Bounds `parts.json`: a list of 999 parts is shorter.
pub const PARTS_BYTES_MAX: u64 = 128 * 1024;

/// The longest volume identifier of ISO 9660.
const VOLUME_ID_MAX: usize = 32;

/// The version of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartsSchema {
    /// This one.
    #[serde(rename = "airlock-parts/v1")]
    V1,
}

/// The document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    schema: PartsSchema,
    /// The name of the archive; that of a part has `.001` and so on behind it.
    archive: FileName,
    /// Which bundle.
    bundle: BundleDigest,
    /// Digest and size of each part, in order.
    parts: Vec<Content>,
}

/// How an archive was cut.
///
/// *Invariant:* there are 1 to [`PARTS_MAX`] parts, none is empty, and their sizes together fit 64 bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartsList {
    document: Document,
}

/// Why bytes are not such a list.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartsError {
    /// Not a canonical document of this kind.
    #[error(transparent)]
    Document(#[from] CanonicalError),
    /// None, or too many.
    #[error("it lists {found} parts, expected 1 to {PARTS_MAX}")]
    Count {
        /// How many.
        found: usize,
    },
    /// A part of no bytes, or sizes beyond all bounds.
    #[error("the sizes of its parts make no archive")]
    Sizes,
}

impl PartsList {
    /// The list of these parts.
    ///
    /// # Errors
    /// See [`PartsError`].
    pub fn new(archive: FileName, bundle: BundleDigest, parts: Vec<Content>) -> Result<Self, PartsError> {
        Self::checked(Document { schema: PartsSchema::V1, archive, bundle, parts })
    }

    /// Parses bytes that nobody has signed.
    ///
    /// # Errors
    /// See [`PartsError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PartsError> {
        Self::checked(canonical::from_canonical(bytes)?)
    }

    fn checked(document: Document) -> Result<Self, PartsError> {
        let found = document.parts.len();
        if found == 0 || found > PARTS_MAX {
            return Err(PartsError::Count { found });
        }
        let total = document.parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(part.size));
        if total.is_none() || document.parts.iter().any(|part| part.size == 0) {
            return Err(PartsError::Sizes);
        }
        Ok(Self { document })
    }

    /// Canonical bytes.
    ///
    /// # Errors
    /// None for a document of this type.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CanonicalError> {
        canonical::to_canonical(&self.document)
    }

    /// Which bundle it says it is of.
    #[must_use]
    pub fn bundle(&self) -> BundleDigest {
        self.document.bundle
    }

    /// The name of the archive.
    #[must_use]
    pub fn archive(&self) -> &FileName {
        &self.document.archive
    }

    /// How many parts there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.document.parts.len()
    }

    /// The length of the archive.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.document.parts.iter().fold(0, |sum, part| sum.saturating_add(part.size))
    }

    /// Digest and size of a part; the first one is number 1.
    #[must_use]
    pub fn part(&self, number: usize) -> Option<Content> {
        self.document.parts.get(number.checked_sub(1)?).copied()
    }

    /// The bytes of the archive that a part is.
    #[must_use]
    pub fn range(&self, number: usize) -> Option<Range<u64>> {
        let size = self.part(number)?.size;
        let before = self.document.parts.iter().take(number.saturating_sub(1));
        let start = before.fold(0_u64, |sum, part| sum.saturating_add(part.size));
        Some(start..start.saturating_add(size))
    }

    /// Every part: its number and its bytes of the archive.
    pub fn ranges(&self) -> impl Iterator<Item = (usize, Range<u64>)> + '_ {
        let mut end = 0_u64;
        self.document.parts.iter().enumerate().map(move |(position, part)| {
            let start = end;
            end = start.saturating_add(part.size);
            (position.saturating_add(1), start..end)
        })
    }

    /// The number of the part that an offset of the archive lies in; the last one beyond the end.
    #[must_use]
    pub fn part_at(&self, offset: u64) -> usize {
        let found = self.ranges().find(|(_, range)| range.contains(&offset));
        found.map_or(self.count(), |(number, _)| number)
    }

    /// The name of a part's file.
    #[must_use]
    pub fn file_name(&self, number: usize) -> String {
        file_name(&self.document.archive, number)
    }
}

/// `NAME-VERSION.bundle.tar.001`
#[must_use]
pub fn file_name(archive: &FileName, number: usize) -> String {
    format!("{archive}.{number:03}")
}

/// What a disc is called in a question: `sample 2.1.0, part 2 of 4`.
#[must_use]
pub fn label(manifest: &BundleManifest, number: usize, count: usize) -> String {
    format!("{} {}, part {number} of {count}", manifest.product, manifest.version)
}

/// The name of a disc's file system: `SAMPLE_2_1_0_002_OF_004`, of the letters that ISO 9660 allows, with as
/// much of product and version as there is room for.
#[must_use]
pub fn volume_id(manifest: &BundleManifest, number: usize, count: usize) -> String {
    let end = format!("_{number:03}_OF_{count:03}");
    let name = format!("{}_{}", manifest.product, manifest.version);
    let letters = name.chars().map(|letter| match letter {
        'a'..='z' | 'A'..='Z' | '0'..='9' => letter.to_ascii_uppercase(),
        _ => '_',
    });
    let mut id: String = letters.take(VOLUME_ID_MAX.saturating_sub(end.len())).collect();
    id.push_str(&end);
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;
    use alloc::vec;

    fn sizes(sizes: &[u64]) -> Vec<Content> {
        sizes.iter().map(|size| Content { digest: Digest::of(b""), size: *size }).collect()
    }

    fn list(parts: &[u64]) -> Result<PartsList, PartsError> {
        let bundle = BundleDigest(Digest::of(b"bundle"));
        PartsList::new("demo-1.0.bundle.tar".parse().unwrap(), bundle, sizes(parts))
    }

    #[test]
    fn says_which_bytes_each_part_is() {
        let list = list(&[10, 20, 5]).unwrap();
        let ranges: Vec<_> = list.ranges().collect();
        assert_eq!(ranges, vec![(1, 0..10), (2, 10..30), (3, 30..35)]);
        assert_eq!((list.range(2), list.range(0), list.range(4)), (Some(10..30), None, None));
        assert_eq!((list.total(), list.count()), (35, 3));
        assert_eq!([0, 9, 10, 29, 30, 34, 99].map(|offset| list.part_at(offset)), [1, 1, 2, 2, 3, 3, 3]);
        assert_eq!(list.file_name(2), "demo-1.0.bundle.tar.002");
        assert_eq!(PartsList::from_bytes(&list.to_bytes().unwrap()).unwrap(), list);
    }

    #[test]
    fn the_longest_list_is_within_the_limit() {
        let long = "x".repeat(255).parse().unwrap();
        let parts = sizes(&vec![u64::MAX / 1000; PARTS_MAX]);
        let list = PartsList::new(long, BundleDigest(Digest::of(b"")), parts).unwrap();
        assert!(list.to_bytes().unwrap().len() as u64 <= PARTS_BYTES_MAX);
    }

    #[test]
    fn refuses_lists_that_make_no_archive() {
        assert!(matches!(list(&[]), Err(PartsError::Count { found: 0 })));
        assert!(matches!(list(&vec![1; 1000]), Err(PartsError::Count { found: 1000 })));
        assert!(matches!(list(&[1, 0]), Err(PartsError::Sizes)));
        assert!(matches!(list(&[u64::MAX, 1]), Err(PartsError::Sizes)));
        for bad in ["{}\n", "[]\n", "", "{\"schema\":\"airlock-parts/v2\"}\n"] {
            assert!(matches!(PartsList::from_bytes(bad.as_bytes()), Err(PartsError::Document(_))), "{bad}");
        }
    }
}
