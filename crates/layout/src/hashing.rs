//! Digest and size of what passes by: one writer for every place that copies and hashes in one pass.

use std::io::{self, Read, Write};

use manifests::Hasher;
use manifests::bundle::Content;
use manifests::oci::MANIFEST_BYTES_MAX;

use crate::writer::CHUNK_BYTES;

/// Hashes what is written through it.
#[derive(Debug)]
pub struct HashingWriter<W> {
    out: W,
    hasher: Hasher,
}

impl<W: Write> HashingWriter<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out, hasher: Hasher::new() }
    }

    /// What was written, and where it went.
    pub fn finish(self) -> (Content, W) {
        (Content { size: self.hasher.size(), digest: self.hasher.finish() }, self.out)
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hasher.update(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Keeps the bytes of what may be an image manifest as they pass by: a file that starts as a JSON object does
/// and is no longer than a manifest may be. Of anything else it keeps nothing.
#[derive(Debug, Clone)]
pub struct ManifestKeeper {
    may_be: bool,
    size: usize,
    bytes: Vec<u8>,
}

impl ManifestKeeper {
    /// For a file of this size.
    #[must_use]
    pub fn of_size(size: u64) -> Self {
        let may_be = size <= MANIFEST_BYTES_MAX;
        Self { may_be, size: usize::try_from(size).unwrap_or(0), bytes: Vec::new() }
    }

    /// Looks at the next bytes.
    pub fn pass(&mut self, bytes: &[u8]) {
        if self.bytes.is_empty() && !bytes.is_empty() {
            self.may_be &= bytes.first() == Some(&b'{');
            // All of it at once: a buffer that grows takes twice as much in the end.
            if self.may_be {
                self.bytes.reserve_exact(self.size.max(bytes.len()));
            }
        }
        // A file may be longer than whoever gave its size believed.
        let length = (self.bytes.len() as u64).saturating_add(bytes.len() as u64);
        if length > MANIFEST_BYTES_MAX {
            *self = Self { may_be: false, size: 0, bytes: Vec::new() };
        }
        if self.may_be {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// How much it keeps.
    #[must_use]
    pub fn kept_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// What was kept: the whole file, or nothing.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

impl Write for ManifestKeeper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pass(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Copies a stream to its end in large pieces, and tells what it was.
///
/// # Errors
/// Either side fails.
pub fn copy<W: Write>(source: &mut dyn Read, out: W) -> io::Result<(Content, W)> {
    let mut out = HashingWriter::new(out);
    let mut buffer = vec![0_u8; CHUNK_BYTES];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(out.finish()),
            Ok(count) => out.write_all(buffer.get(..count).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Hashes a stream to its end.
///
/// # Errors
/// The stream fails.
pub fn hash(source: &mut dyn Read) -> io::Result<Content> {
    copy(source, io::sink()).map(|(content, _)| content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_file_that_is_longer_than_was_said_nothing_is_kept_beyond_the_limit() {
        let mut keeper = ManifestKeeper::of_size(2);
        keeper.pass(b"{");
        keeper.pass(&vec![b' '; usize::try_from(MANIFEST_BYTES_MAX).unwrap()]);
        keeper.pass(b"{}");
        assert!(keeper.finish().is_empty());
        let mut keeper = ManifestKeeper::of_size(2);
        keeper.pass(b"{");
        keeper.pass(b"}");
        assert_eq!(keeper.finish(), b"{}");
    }
}
