//! The header of a recovery file (`docs/recovery.md` §3): the same 512 bytes at its start and at its end.
//!
//! Like a header of the archive it is never interpreted further than to its three numbers and two digests: the
//! block that they make is made again and compared whole.

use manifests::Digest;
use manifests::bundle::BundleDigest;

use super::geometry::{Geometry, GeometryError, HEADER_BYTES, Percent};

/// What a recovery file starts with.
pub const MAGIC: &[u8; 16] = b"airlock-recovery";

/// The version of the format.
const VERSION: u32 = 1;

/// Where the digest of the header itself is.
const SEAL_AT: usize = HEADER_BYTES as usize - 32;

/// The bytes of a header.
pub type HeaderBytes = [u8; HEADER_BYTES as usize];

/// What a recovery file says of itself. Untrusted, but bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The layout.
    pub geometry: Geometry,
    /// Which file of its set, counted from 0.
    pub file: u32,
    /// Digest of the `bundle.json` in the archive.
    pub bundle: BundleDigest,
    /// Digest of the whole index: it identifies the archive to the byte.
    pub index: Digest,
}

/// Why a block is not such a header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Of something else.
    #[error("it does not start as recovery data does")]
    Magic,
    /// Of a later version.
    #[error("it is recovery data of version {found}, and this program knows version {VERSION}")]
    Version {
        /// Which.
        found: u32,
    },
    /// Numbers that make no layout.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// Changed.
    #[error("its header is damaged")]
    Damaged,
}

impl Header {
    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> HeaderBytes {
        let mut content = Vec::with_capacity(HEADER_BYTES as usize);
        content.extend_from_slice(MAGIC);
        for number in
            [VERSION, self.geometry.percent().number(), self.geometry.files(), self.file.saturating_add(1)]
        {
            content.extend_from_slice(&number.to_be_bytes());
        }
        content.extend_from_slice(&self.geometry.length().to_be_bytes());
        content.extend_from_slice(self.bundle.0.as_bytes());
        content.extend_from_slice(self.index.as_bytes());
        content.resize(SEAL_AT, 0);
        let digest = Digest::of(&content);
        content.extend_from_slice(digest.as_bytes());
        content.try_into().unwrap_or([0; HEADER_BYTES as usize])
    }

    /// Reads one.
    ///
    /// # Errors
    /// See [`HeaderError`].
    pub fn decode(bytes: &HeaderBytes) -> Result<Self, HeaderError> {
        let (magic, rest) = take::<16>(bytes)?;
        if magic != *MAGIC {
            return Err(HeaderError::Magic);
        }
        // The digest comes first: what chance has changed is not worth a reason.
        let (content, digest) = bytes.split_at(SEAL_AT);
        if Digest::of(content).as_bytes().as_slice() != digest {
            return Err(HeaderError::Damaged);
        }
        let (version, rest) = take::<4>(rest)?;
        if u32::from_be_bytes(version) != VERSION {
            return Err(HeaderError::Version { found: u32::from_be_bytes(version) });
        }
        let (percent, rest) = take::<4>(rest)?;
        let (files, rest) = take::<4>(rest)?;
        let (number, rest) = take::<4>(rest)?;
        let (length, rest) = take::<8>(rest)?;
        let (bundle, rest) = take::<32>(rest)?;
        let (index, _) = take::<32>(rest)?;
        let percent = Percent::new(u32::from_be_bytes(percent))?;
        let geometry = Geometry::new(u64::from_be_bytes(length), percent, u32::from_be_bytes(files))?;
        let file = u32::from_be_bytes(number).checked_sub(1).filter(|file| *file < geometry.files());
        let bundle = BundleDigest(Digest::from_bytes(bundle));
        let file = file.ok_or(HeaderError::Damaged)?;
        let header = Self { geometry, file, bundle, index: Digest::from_bytes(index) };
        if header.encode() != *bytes {
            return Err(HeaderError::Damaged);
        }
        Ok(header)
    }

    /// Whether two files are of one set.
    #[must_use]
    pub fn same_set(&self, other: &Self) -> bool {
        Self { file: 0, ..*self } == Self { file: 0, ..*other }
    }
}

fn take<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), HeaderError> {
    bytes.split_first_chunk::<N>().map(|(first, rest)| (*first, rest)).ok_or(HeaderError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(file: u32) -> Header {
        let geometry = Geometry::new(3 << 30, Percent::new(10).unwrap(), 4).unwrap();
        let digest = |text: &str| Digest::of(text.as_bytes());
        Header { geometry, file, bundle: BundleDigest(digest("bundle")), index: digest("index") }
    }

    #[test]
    fn says_again_what_was_written_and_nothing_when_a_bit_is_another() {
        let bytes = header(3).encode();
        assert_eq!(Header::decode(&bytes).unwrap(), header(3));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn refuses_what_is_whole_but_makes_no_sense() {
        let forged = |at: usize, bytes: &[u8]| {
            let mut block = header(0).encode();
            block[at..at + bytes.len()].copy_from_slice(bytes);
            let digest = Digest::of(&block[..SEAL_AT]);
            block[SEAL_AT..].copy_from_slice(digest.as_bytes());
            Header::decode(&block).unwrap_err()
        };
        assert_eq!(forged(16, &[0, 0, 0, 2]), HeaderError::Version { found: 2 });
        assert!(matches!(forged(20, &[0, 0, 0, 0]), HeaderError::Geometry(_)));
        assert!(matches!(forged(24, &[0xff; 4]), HeaderError::Geometry(_)));
        assert!(matches!(forged(32, &[0xff; 8]), HeaderError::Geometry(_)));
        for at in [28, 31, 200] {
            assert_eq!(forged(at, &[9]), HeaderError::Damaged, "{at}");
        }
        assert_eq!(forged(28, &[0, 0, 0, 0]), HeaderError::Damaged);
    }

    #[test]
    fn files_of_one_set_differ_in_their_number_only() {
        assert!(header(0).same_set(&header(3)));
        assert!(!header(0).same_set(&Header { index: Digest::of(b"other"), ..header(0) }));
    }
}
