//! Writes an archive in several places at the same time: where each entry lies follows from the sizes before it, so
//! blobs may come in any order, from several threads, straight from the network.
//!
//! *Invariant:* an archive that [`Filling::finish`] has returned from holds exactly what its inventory says, the same
//! bytes as [`crate::writer`] writes one after the other. Until then it is nobody's: the file has no name yet.
//!
//! *What this module may never do:* take a blob for whole that was not hashed on its way to its place; write outside
//! the place of a blob.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek};
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

use manifests::bundle::Content;
use manifests::{ArchivePath, Digest};

use crate::disk::Writeback;
use crate::header::{self, BLOCK_BYTES};
use crate::writer::{ArchiveWriter, CHUNK_BYTES, Head, WriteError, must_be, pass};

/// An archive that is being filled.
#[derive(Debug)]
pub struct Filling<'a> {
    file: &'a File,
    blobs: Vec<Content>,
    /// Where the header of each blob is; those that are whole are taken out.
    lacking: Mutex<BTreeMap<Digest, u64>>,
}

impl<'a> Filling<'a> {
    /// Writes everything but the blobs into a file that is empty, and gives it its length: what nobody writes, which
    /// is the padding, is zero.
    ///
    /// # Errors
    /// The destination fails, or there are too many signatures.
    pub fn begin(file: &'a File, head: &Head, blobs: Vec<Content>) -> Result<Self, WriteError> {
        let out = BufWriter::with_capacity(CHUNK_BYTES, file);
        ArchiveWriter::begin(out, head)?.into_inner()?;
        let mut out = file;
        let mut end = out.stream_position().map_err(WriteError::Destination)?;
        let mut lacking = BTreeMap::new();
        for content in &blobs {
            lacking.insert(content.digest, end);
            end = end.saturating_add(header::entry_bytes(content.size));
        }
        let length = end.saturating_add(2 * BLOCK_BYTES);
        file.set_len(length).map_err(WriteError::Destination)?;
        Ok(Self { file, blobs, lacking: Mutex::new(lacking) })
    }

    /// The blobs that are not whole yet, in the order of the archive.
    #[must_use]
    pub fn lacks(&self) -> Vec<Content> {
        let lacking = self.lacking.lock().unwrap_or_else(PoisonError::into_inner);
        self.blobs.iter().filter(|content| lacking.contains_key(&content.digest)).copied().collect()
    }

    /// The place of a blob; nothing if it has none here, or is whole already.
    #[must_use]
    pub fn place(&self, expected: Content) -> Option<Place<'_>> {
        let lacking = self.lacking.lock().unwrap_or_else(PoisonError::into_inner);
        let start = *lacking.get(&expected.digest)?;
        let room = usize::try_from(header::entry_bytes(expected.size)).unwrap_or(CHUNK_BYTES);
        let buffer = Vec::with_capacity(room.min(CHUNK_BYTES));
        let writeback = Writeback::default();
        let mut place = Place { filling: self, expected, start, buffer, written: 0, writeback };
        place.restart();
        Some(place)
    }

    /// Ends the writing.
    ///
    /// # Errors
    /// A blob is lacking, which nobody should have forgotten.
    pub fn finish(self) -> Result<(), WriteError> {
        match self.lacks().first() {
            None => Ok(()),
            Some(content) => {
                let source = io::Error::new(io::ErrorKind::NotFound, "nobody has brought it");
                Err(WriteError::Source { digest: content.digest, source })
            }
        }
    }
}

/// Where a blob goes. Dropped before [`Place::settle`], the archive lacks it still.
#[derive(Debug)]
pub struct Place<'a> {
    filling: &'a Filling<'a>,
    expected: Content,
    start: u64,
    /// What is written next: small blobs go with their header in one piece.
    buffer: Vec<u8>,
    /// So much is in the file.
    written: u64,
    writeback: Writeback,
}

impl Place<'_> {
    /// From the beginning again: what came before was of somebody who does not have it.
    pub fn restart(&mut self) {
        self.written = 0;
        self.buffer.clear();
        let header = header::encode(&ArchivePath::Blob(self.expected.digest), self.expected.size);
        self.buffer.extend_from_slice(&header);
    }

    /// The next bytes of the blob.
    ///
    /// # Errors
    /// The destination fails, or there are more than the blob has.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let all = self.passed().saturating_add(bytes.len() as u64);
        if all > BLOCK_BYTES.saturating_add(self.expected.size) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "there is more of it than was locked"));
        }
        if self.buffer.len().saturating_add(bytes.len()) > CHUNK_BYTES {
            self.flush()?;
        }
        if bytes.len() < CHUNK_BYTES {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        self.put(bytes)
    }

    /// All of the blob from its source, hashed on its way. `passed` is told how many bytes have gone by.
    ///
    /// # Errors
    /// The destination or the source fails, or the source gives other bytes.
    pub fn fill(mut self, source: &mut dyn Read, passed: &dyn Fn(u64)) -> Result<(), WriteError> {
        let room = usize::try_from(self.expected.size).unwrap_or(usize::MAX).saturating_add(1);
        let mut buffer = vec![0; room.min(CHUNK_BYTES)];
        let found = pass(self.expected, source, &mut buffer, &mut |bytes| {
            self.write(bytes).map_err(WriteError::Destination)?;
            passed(bytes.len() as u64);
            Ok(())
        })?;
        self.settle(found)
    }

    /// Takes the blob for whole, of which `found` has passed, as whoever wrote it has hashed it.
    ///
    /// # Errors
    /// It is another one, or not all of it was written, or the destination fails.
    pub fn settle(mut self, found: Content) -> Result<(), WriteError> {
        self.flush().map_err(WriteError::Destination)?;
        must_be(self.expected, found)?;
        must_be(self.expected, Content { size: self.written.saturating_sub(BLOCK_BYTES), ..found })?;
        let mut lacking = self.filling.lacking.lock().unwrap_or_else(PoisonError::into_inner);
        lacking.remove(&self.expected.digest);
        Ok(())
    }

    fn passed(&self) -> u64 {
        self.written.saturating_add(self.buffer.len() as u64)
    }

    fn flush(&mut self) -> io::Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        self.put(&buffer)?;
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let at = self.start.saturating_add(self.written);
        self.filling.file.write_all_at(bytes, at)?;
        self.written = self.written.saturating_add(bytes.len() as u64);
        self.writeback.wrote(self.filling.file, at, bytes.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head() -> Head {
        let [manifest, checksums, inventory, oci_index, docker_manifest] =
            ["{}", "sums\n", "{\"a\":1}", "{}", "[]"].map(|text| text.as_bytes().to_vec());
        Head { manifest, signatures: Vec::new(), checksums, inventory, oci_index, docker_manifest }
    }

    fn blob(number: usize, size: usize) -> (Content, Vec<u8>) {
        let bytes: Vec<u8> = (0..size).map(|at| (at * 31 / 7 + number) as u8 | 1).collect();
        (Content::of(&bytes), bytes)
    }

    fn written(blobs: &[(Content, Vec<u8>)]) -> Vec<u8> {
        let mut writer = ArchiveWriter::begin(Vec::new(), &head()).unwrap();
        for (content, bytes) in blobs {
            writer.blob(*content, &mut bytes.as_slice(), &mut |_| {}).unwrap();
        }
        writer.finish().unwrap()
    }

    fn read(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    fn contents(blobs: &[(Content, Vec<u8>)]) -> Vec<Content> {
        blobs.iter().map(|(content, _)| *content).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn filled_by_threads_in_any_order_it_is_what_the_writer_writes(
            sizes in proptest::collection::vec(
                prop_oneof![
                    Just(0), Just(1), 500_usize..1040,
                    CHUNK_BYTES - 520..CHUNK_BYTES + 520, 0..3 * CHUNK_BYTES,
                ],
                1..6,
            ),
            backwards in any::<bool>(),
            piece in prop_oneof![1_usize..2000, CHUNK_BYTES - 1..2 * CHUNK_BYTES],
            spoilt in 0_usize..2000,
        ) {
            let mut blobs: Vec<_> = sizes.iter().enumerate().map(|(nth, size)| blob(nth, *size)).collect();
            blobs.sort_by_key(|(content, _)| content.digest);
            blobs.dedup();
            let file = tempfile::tempfile().unwrap();
            let filling = Filling::begin(&file, &head(), contents(&blobs)).unwrap();
            let fill = |(content, bytes): &(Content, Vec<u8>)| {
                let mut place = filling.place(*content).unwrap();
                // Somebody who did not have it.
                place.write(&vec![0xff; spoilt.min(bytes.len())]).unwrap();
                place.restart();
                bytes.chunks(piece).for_each(|piece| place.write(piece).unwrap());
                place.settle(*content).unwrap();
            };
            std::thread::scope(|scope| {
                let mut order: Vec<_> = blobs.iter().collect();
                if backwards {
                    order.reverse();
                }
                order.into_iter().for_each(|one| drop(scope.spawn(move || fill(one))));
            });
            assert!(filling.lacks().is_empty());
            filling.finish().unwrap();
            assert!(read(&file) == written(&blobs), "{sizes:?} in pieces of {piece}");
        }
    }

    #[test]
    fn an_archive_that_lacks_a_blob_is_not_finished() {
        let blobs = [blob(1, 10), blob(2, 20)];
        let file = tempfile::tempfile().unwrap();
        let filling = Filling::begin(&file, &head(), contents(&blobs)).unwrap();
        let mut place = filling.place(blobs[0].0).unwrap();
        place.write(&blobs[0].1).unwrap();
        place.settle(blobs[0].0).unwrap();
        assert!(filling.place(blobs[0].0).is_none(), "it is whole");
        assert!(filling.place(Content::of(b"another")).is_none(), "nobody wants it");
        // Written, and nobody says that it is right.
        filling.place(blobs[1].0).unwrap().write(&blobs[1].1).unwrap();
        assert_eq!(filling.lacks(), [blobs[1].0]);
        let error = filling.finish().unwrap_err();
        assert!(matches!(error, WriteError::Source { digest, .. } if digest == blobs[1].0.digest));
    }

    #[test]
    fn another_blob_a_shorter_and_a_longer_one_are_not_taken_and_nothing_else_is_touched() {
        let blobs = [blob(1, 300_000), blob(2, 20), blob(3, 700)];
        let file = tempfile::tempfile().unwrap();
        let filling = Filling::begin(&file, &head(), contents(&blobs)).unwrap();
        for nth in [0, 2] {
            let mut place = filling.place(blobs[nth].0).unwrap();
            place.write(&blobs[nth].1).unwrap();
            place.settle(blobs[nth].0).unwrap();
        }
        let (content, bytes) = &blobs[1];
        let place = || filling.place(*content).unwrap();
        let mut longer = place();
        longer.write(bytes).unwrap();
        assert_eq!(longer.write(b"x").unwrap_err().kind(), io::ErrorKind::InvalidData);
        let mut shorter = place();
        shorter.write(&bytes[1..]).unwrap();
        assert!(matches!(shorter.settle(*content), Err(WriteError::Changed { .. })));
        let mut other = place();
        other.write(bytes).unwrap();
        assert!(matches!(other.settle(Content::of(b"other")), Err(WriteError::Changed { .. })));
        assert_eq!(filling.lacks(), [*content]);
        let mut right = place();
        right.write(bytes).unwrap();
        right.settle(*content).unwrap();
        filling.finish().unwrap();
        assert!(read(&file) == written(&blobs));
    }
}
