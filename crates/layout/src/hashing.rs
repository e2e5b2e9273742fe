//! Digest and size of what passes by: one writer for every place that copies and hashes in one pass.

use std::io::{self, Read, Write};

use manifests::Hasher;
use manifests::bundle::Content;

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
