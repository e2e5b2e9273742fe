//! A place in an archive that moves forward: headers, small documents, contents and zeros, each checked for its form
//! as it goes by. What they should be, the reader knows.

use std::io::{self, BufRead};

use manifests::bundle::Content;
use manifests::{ArchivePath, Digest, Hasher};

use super::{ReadError, Sink};
use crate::hashing::ManifestKeeper;
use crate::header::{self, BLOCK_BYTES, Block};

/// Where somebody is in an archive.
pub(super) struct Cursor<R> {
    input: R,
    offset: u64,
}

impl<R: BufRead> Cursor<R> {
    /// At `offset` of the archive, where `input` goes on.
    pub(super) fn new(input: R, offset: u64) -> Self {
        Self { input, offset }
    }

    /// How far it is.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn header(&mut self, inside: &str) -> Result<(ArchivePath, u64), ReadError> {
        let offset = self.offset;
        let mut block: Block = [0; BLOCK_BYTES as usize];
        self.fill(&mut block, inside)?;
        header::decode(&block).map_err(|source| ReadError::Header { offset, source })
    }

    /// A small document with its padding.
    pub(super) fn document(
        &mut self,
        path: ArchivePath,
        size: u64,
        limit: u64,
    ) -> Result<Vec<u8>, ReadError> {
        if size > limit {
            return Err(ReadError::TooLarge { path, size, limit });
        }
        let mut content = vec![0_u8; usize::try_from(size).unwrap_or(0)];
        self.fill(&mut content, &path.to_string())?;
        self.zeros(header::padding(size), "between entries")?;
        Ok(content)
    }

    /// Streams one entry; gives what passed, and the bytes of what may be a manifest. The bytes are hashed and handed
    /// on where they were read to.
    pub(super) fn content(
        &mut self,
        path: &ArchivePath,
        size: u64,
        sink: &mut dyn Sink,
        passed: &mut dyn FnMut(u64),
    ) -> Result<(Content, Vec<u8>), ReadError> {
        let failed = |source| ReadError::Sink { path: path.clone(), source };
        let digest = match path {
            ArchivePath::Blob(digest) => *digest,
            // Only for the sink's book-keeping; the checklist has the signed one.
            _ => Digest::of(b""),
        };
        sink.begin(path, Content { digest, size }).map_err(failed)?;
        let (mut hasher, mut document) = (Hasher::new(), ManifestKeeper::of_size(size));
        let mut left = size;
        while left > 0 {
            let (offset, inside) = (self.offset, || path.to_string());
            let there = buffered(&mut self.input, offset, inside)?;
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(there.len());
            let chunk = there.get(..count).unwrap_or_default();
            hasher.update(chunk);
            sink.write(chunk).map_err(failed)?;
            document.pass(chunk);
            self.input.consume(count);
            self.offset = self.offset.saturating_add(count as u64);
            passed(count as u64);
            left = left.saturating_sub(count as u64);
        }
        Ok((Content { size: hasher.size(), digest: hasher.finish() }, document.finish()))
    }

    /// The end of the archive, and nothing after it.
    pub(super) fn end(&mut self) -> Result<(), ReadError> {
        self.zeros(2 * BLOCK_BYTES, "at the end")?;
        match buffered(&mut self.input, self.offset, String::new) {
            Ok(_) => Err(ReadError::Trailing { offset: self.offset }),
            Err(ReadError::Truncated { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn zeros(&mut self, count: u64, place: &'static str) -> Result<(), ReadError> {
        let mut block: Block = [0; BLOCK_BYTES as usize];
        let mut left = count;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
            let offset = self.offset;
            let chunk = block.get_mut(..wanted).unwrap_or_default();
            self.fill(chunk, "padding")?;
            if let Some(position) = chunk.iter().position(|byte| *byte != 0) {
                return Err(ReadError::NotZero { offset: offset.saturating_add(position as u64), place });
            }
            left = left.saturating_sub(wanted as u64);
        }
        Ok(())
    }

    fn fill(&mut self, buffer: &mut [u8], inside: &str) -> Result<(), ReadError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.input.read(rest) {
                Ok(0) => {
                    return Err(ReadError::Truncated { offset: self.offset, inside: inside.to_string() });
                }
                Ok(count) => {
                    filled = filled.saturating_add(count);
                    self.offset = self.offset.saturating_add(count as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ReadError::Medium { offset: self.offset, source }),
            }
        }
        Ok(())
    }
}

/// What can be had without another read, or else by one; at least one byte.
fn buffered<R: BufRead>(input: &mut R, offset: u64, inside: impl Fn() -> String) -> Result<&[u8], ReadError> {
    loop {
        match input.fill_buf() {
            Ok([]) => return Err(ReadError::Truncated { offset, inside: inside() }),
            // Asked again below: a buffer that is filled is handed out without a read.
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(ReadError::Medium { offset, source }),
        }
    }
    input.fill_buf().map_err(|source| ReadError::Medium { offset, source })
}
