//! One 512-byte tar header, in the only form we write: POSIX ustar, a regular file, mode 0644, owner 0,
//! time 0.
//!
//! Reading takes the name and the size out of a header, makes the header that we would have written for
//! them and requires equal bytes. So there is nothing to interpret: links, devices, PAX and GNU
//! extensions, odd numbers and wrong checksums are all just other bytes.

use manifests::ArchivePath;

/// The unit of a tar archive.
pub const BLOCK_BYTES: u64 = 512;

/// The largest size that fits 11 octal digits: 8 GiB − 1. Beyond it the size field holds the number in
/// base 256 with the top bit set, which GNU tar, Python, Go and libarchive read alike.
const OCTAL_SIZE_MAX: u64 = 0o77_777_777_777;

const NAME: std::ops::Range<usize> = 0..100;
const MODE: std::ops::Range<usize> = 100..108;
const UID: std::ops::Range<usize> = 108..116;
const GID: std::ops::Range<usize> = 116..124;
const SIZE: std::ops::Range<usize> = 124..136;
const MTIME: std::ops::Range<usize> = 136..148;
const CHECKSUM: std::ops::Range<usize> = 148..156;
const TYPE: std::ops::Range<usize> = 156..157;
const MAGIC: std::ops::Range<usize> = 257..265;

/// One header.
pub type Block = [u8; BLOCK_BYTES as usize];

/// Why a block is not a header of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Nothing in it: the archive ends where an entry should be.
    #[error("it is empty: the archive ends here, and entries are missing")]
    Empty,
    /// No name in it.
    #[error("it has no readable file name")]
    Name,
    /// A name that no bundle holds.
    #[error(transparent)]
    UnknownName(#[from] manifests::archive_path::ArchivePathError),
    /// No number in the size field.
    #[error("it has no readable size")]
    Size,
    /// Any other difference.
    #[error(
        "byte {offset} of it is not what a bundle has there (file type, mode, owner, time, checksum or format)"
    )]
    Other {
        /// Counted from the start of the header.
        offset: usize,
    },
}

fn put(block: &mut Block, field: std::ops::Range<usize>, bytes: &[u8]) {
    if let Some(field) = block.get_mut(field) {
        for (to, from) in field.iter_mut().zip(bytes) {
            *to = *from;
        }
    }
}

/// The header of a file.
#[must_use]
pub fn encode(path: &ArchivePath, size: u64) -> Block {
    of_name(&path.to_string(), size)
}

/// The header of a file of an archive that is no bundle, in the same form; nothing for a name that does not fit.
#[must_use]
pub fn encode_named(name: &str, size: u64) -> Option<Block> {
    (1..=NAME.len()).contains(&name.len()).then(|| of_name(name, size))
}

fn of_name(name: &str, size: u64) -> Block {
    let mut block = [0_u8; BLOCK_BYTES as usize];
    put(&mut block, NAME, name.as_bytes());
    put(&mut block, MODE, b"0000644\0");
    put(&mut block, UID, b"0000000\0");
    put(&mut block, GID, b"0000000\0");
    put(&mut block, SIZE, &encode_size(size));
    put(&mut block, MTIME, b"00000000000\0");
    put(&mut block, CHECKSUM, b"        ");
    put(&mut block, TYPE, b"0");
    put(&mut block, MAGIC, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut block, CHECKSUM, format!("{sum:06o}\0 ").as_bytes());
    block
}

fn encode_size(size: u64) -> [u8; 12] {
    let mut field = [0_u8; 12];
    if size <= OCTAL_SIZE_MAX {
        let digits = format!("{size:011o}\0");
        for (to, from) in field.iter_mut().zip(digits.as_bytes()) {
            *to = *from;
        }
    } else {
        for (to, from) in field.iter_mut().rev().zip(size.to_be_bytes().iter().rev()) {
            *to = *from;
        }
        if let Some(first) = field.first_mut() {
            *first = 0x80;
        }
    }
    field
}

fn decode_size(field: &[u8]) -> Option<u64> {
    let (first, rest) = field.split_first()?;
    if *first == 0x80 {
        let (high, low) = rest.split_at_checked(3)?;
        return high
            .iter()
            .all(|byte| *byte == 0)
            .then(|| low.iter().fold(0, |size, byte| size << 8 | u64::from(*byte)));
    }
    let digits = field.strip_suffix(b"\0")?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

/// The name and size in a header that is exactly one of ours.
///
/// # Errors
/// See [`HeaderError`].
pub fn decode(block: &Block) -> Result<(ArchivePath, u64), HeaderError> {
    if block.iter().all(|byte| *byte == 0) {
        return Err(HeaderError::Empty);
    }
    let name = block.get(NAME).and_then(|field| field.split(|byte| *byte == 0).next()).unwrap_or_default();
    let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty()).ok_or(HeaderError::Name)?;
    let path: ArchivePath = name.parse()?;
    let size = block.get(SIZE).and_then(decode_size).ok_or(HeaderError::Size)?;
    let ours = encode(&path, size);
    let mut differences = (0..ours.len()).filter(|offset| ours.get(*offset) != block.get(*offset)).peekable();
    let first = differences.peek().copied();
    // Whatever differs changes the checksum too; the field behind it says more.
    match differences.find(|offset| !CHECKSUM.contains(offset)).or(first) {
        Some(offset) => Err(HeaderError::Other { offset }),
        None => Ok((path, size)),
    }
}

/// How many zero bytes follow content of this size.
#[must_use]
pub fn padding(size: u64) -> u64 {
    (BLOCK_BYTES - size % BLOCK_BYTES) % BLOCK_BYTES
}

/// Bytes that an entry takes in the archive: header, content, padding. Saturates, so that a wild size
/// cannot wrap around.
#[must_use]
pub fn entry_bytes(size: u64) -> u64 {
    BLOCK_BYTES.saturating_add(size).saturating_add(padding(size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifests::Digest;

    #[test]
    fn sizes_beyond_eight_gib_are_kept() {
        let path = ArchivePath::Blob(Digest::of(b"x"));
        for size in [0, 1, 511, 512, OCTAL_SIZE_MAX, OCTAL_SIZE_MAX + 1, 1 << 40, u64::MAX] {
            assert_eq!(decode(&encode(&path, size)), Ok((path.clone(), size)));
        }
    }

    #[test]
    fn any_changed_byte_is_refused() {
        let good = encode(&ArchivePath::Manifest, 1234);
        for position in 0..good.len() {
            for flip in [1, 0x20, 0x80] {
                let mut bad = good;
                bad[position] ^= flip;
                let found = decode(&bad);
                assert!(found.is_err(), "byte {position} ^ {flip:#x} gave {found:?}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn reading_any_block_never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 512)) {
            let block: Block = bytes.try_into().unwrap();
            let _ = decode(&block);
        }
    }
}
