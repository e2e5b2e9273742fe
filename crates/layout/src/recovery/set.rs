//! Recovery files, told apart and brought together: the files of one set, whatever else lies beside them.

use manifests::bundle::BundleDigest;

use super::block::Seal;
use super::geometry::{Geometry, HEADER_BYTES, SEAL_BYTES};
use super::header::{Header, HeaderBytes, HeaderError};
use super::source::Source;

/// A file that may be recovery data.
pub struct RecoveryFile {
    /// Its bytes.
    pub source: Box<dyn Source>,
    /// Its length.
    pub size: u64,
}

/// Why there is no set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// No file is usable.
    #[error("none of {files} files is recovery data of this bundle")]
    None {
        /// How many were looked at.
        files: usize,
        /// Why the first one is not.
        source: Option<HeaderError>,
    },
    /// Files of several archives.
    #[error("the recovery files are of several archives: of bundle {first} and of bundle {second}")]
    Several {
        /// One of them.
        first: BundleDigest,
        /// Another one, of the same bundle if only its signatures differ.
        second: BundleDigest,
    },
}

/// The recovery files of one archive, as far as they are there.
pub struct RecoverySet {
    header: Header,
    /// By number.
    files: Vec<Option<Box<dyn Source>>>,
    ignored: Vec<usize>,
}

/// The header at a file's start, or else the one at its end.
///
/// # Errors
/// Neither can be read. Of two reasons the one for the first.
pub fn read_header(file: &RecoveryFile) -> Result<Header, HeaderError> {
    let read = |offset: Option<u64>| {
        let mut bytes: HeaderBytes = [0; HEADER_BYTES as usize];
        let there = offset.is_some_and(|offset| file.source.read_at(&mut bytes, offset).is_ok());
        if there { Header::decode(&bytes) } else { Err(HeaderError::Damaged) }
    };
    read(Some(0)).or_else(|error| read(file.size.checked_sub(HEADER_BYTES)).map_err(|_| error))
}

impl RecoverySet {
    /// Brings together the files of one set. With `wanted` files of other bundles are passed over.
    ///
    /// # Errors
    /// See [`SetError`].
    pub fn open(files: Vec<RecoveryFile>, wanted: Option<BundleDigest>) -> Result<Self, SetError> {
        let (count, mut reason) = (files.len(), None);
        let mut set: Option<Self> = None;
        let mut ignored = Vec::new();
        for (position, file) in files.into_iter().enumerate() {
            let header = match read_header(&file) {
                Ok(header) if wanted.is_none_or(|wanted| wanted == header.bundle) => header,
                found => {
                    reason = reason.or(found.err());
                    ignored.push(position);
                    continue;
                }
            };
            let set = set.get_or_insert_with(|| Self::empty(header));
            if !set.header.same_set(&header) {
                return Err(SetError::Several { first: set.header.bundle, second: header.bundle });
            }
            // A second copy of a file adds nothing.
            match usize::try_from(header.file).ok().and_then(|file| set.files.get_mut(file)) {
                Some(place @ None) => *place = Some(file.source),
                _ => ignored.push(position),
            }
        }
        let mut set = set.ok_or(SetError::None { files: count, source: reason })?;
        set.ignored = ignored;
        Ok(set)
    }

    fn empty(header: Header) -> Self {
        let files = (0..header.geometry.files()).map(|_| None).collect();
        Self { header, files, ignored: Vec::new() }
    }

    /// The header that all have, but for the number.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The layout.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.header.geometry
    }

    /// Which files are missing, counted from 1.
    pub fn missing(&self) -> impl Iterator<Item = u32> + '_ {
        (1_u32..).zip(&self.files).filter(|(_, file)| file.is_none()).map(|(number, _)| number)
    }

    /// Positions of the files that were passed over: unreadable, of another bundle, or there already.
    #[must_use]
    pub fn ignored(&self) -> &[usize] {
        &self.ignored
    }

    fn file(&self, file: u32) -> Option<&dyn Source> {
        self.files.get(usize::try_from(file).ok()?)?.as_deref()
    }

    /// Reads a recovery row, seals included, from a place inside it. `inside` counts without seals.
    pub(super) fn read_recovery(&self, buffer: &mut [u8], row: u64, inside: u64) -> Option<()> {
        let (file, offset) = self.geometry().recovery_offset(row, inside)?;
        self.file(file)?.read_at(buffer, offset).ok()
    }

    /// Reads the seal of a recovery block.
    pub(super) fn read_seal(&self, seal: &mut Seal, row: u64, column: u64) -> Option<()> {
        let block = self.geometry().block_bytes();
        let (file, offset) = self.geometry().recovery_offset(row, column * block)?;
        self.file(file)?.read_at(seal, offset + block).ok()
    }

    /// Each copy of these entries of a slice of the index that can be read. Any of them may be damaged.
    pub(super) fn read_index(&self, slice: u32, blocks: &std::ops::Range<u64>) -> Vec<Vec<Seal>> {
        let geometry = self.geometry();
        let before = blocks.start.saturating_sub(geometry.slice(slice).start) * SEAL_BYTES;
        let count = usize::try_from(blocks.end.saturating_sub(blocks.start)).unwrap_or(0);
        let mut copies = Vec::new();
        for (file, number) in self.files.iter().zip(0_u32..) {
            let Some(file) = file else { continue };
            let holds = geometry.index_offsets(number).into_iter().filter(|(holds, _)| *holds == slice);
            for (_, offset) in holds {
                let mut entries = vec![[0; SEAL_BYTES as usize]; count];
                if file.read_at(entries.as_flattened_mut(), offset + before).is_ok() {
                    copies.push(entries);
                }
            }
        }
        copies
    }
}
