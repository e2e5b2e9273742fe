//! Writes an archive in one pass: the small documents first, then each blob straight from its source.
//!
//! *Invariant:* an archive that [`ArchiveWriter::finish`] has returned from holds exactly what its
//! inventory says, in its order; a source that gives other bytes ends the writing.

use std::io::{self, Read, Write};

use manifests::bundle::Content;
use manifests::{ArchivePath, Digest, Hasher, Inventory, KeyId, sigstore};

use crate::header::{self, BLOCK_BYTES};
use crate::signatures::AREA_BYTES;

/// How much is moved at a time. Large enough that system calls do not matter, small enough for cache.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// Everything before the blobs.
#[derive(Debug, Clone)]
pub struct Head {
    /// `bundle.json`
    pub manifest: Vec<u8>,
    /// Raw signatures over it.
    pub signatures: Vec<(KeyId, Vec<u8>)>,
    /// `SHA256SUMS`
    pub checksums: Vec<u8>,
    /// `inventory.json`
    pub inventory: Vec<u8>,
    /// `index.json`
    pub oci_index: Vec<u8>,
    /// `manifest.json`
    pub docker_manifest: Vec<u8>,
}

/// Why an archive could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The destination.
    #[error("the archive cannot be written")]
    Destination(#[source] io::Error),
    /// A source broke off.
    #[error("blob {digest} cannot be read from its source")]
    Source {
        /// Which blob.
        digest: Digest,
        /// Why.
        source: io::Error,
    },
    /// A source gave other bytes than were locked.
    #[error(
        "blob {expected} has changed at its source: it is {found} now ({found_size} bytes, {expected_size} were expected)"
    )]
    Changed {
        /// What was locked.
        expected: Digest,
        /// Its length.
        expected_size: u64,
        /// What came.
        found: Digest,
        /// How much of it.
        found_size: u64,
    },
    /// More signatures than the area holds.
    #[error("the archive has no room for {0} signatures")]
    Signatures(usize),
}

/// The length of the archive, to the byte.
#[must_use]
pub fn archive_bytes(manifest: u64, checksums: u64, inventory_document: u64, inventory: &Inventory) -> u64 {
    let entries = [manifest, checksums, inventory_document].into_iter();
    let contents = inventory.contents().map(|(_, content)| content.size);
    let entries: u64 = entries.chain(contents).map(header::entry_bytes).fold(0, u64::saturating_add);
    entries.saturating_add(BLOCK_BYTES + AREA_BYTES).saturating_add(2 * BLOCK_BYTES)
}

/// Writes one archive.
pub struct ArchiveWriter<W> {
    out: W,
    buffer: Vec<u8>,
}

impl<W: Write> ArchiveWriter<W> {
    /// Writes everything before the blobs.
    ///
    /// # Errors
    /// The destination fails, or there are too many signatures.
    pub fn begin(out: W, head: &Head) -> Result<Self, WriteError> {
        let mut writer = Self::of_image(out);
        writer.document(&ArchivePath::Manifest, &head.manifest)?;
        writer.signature_area(head)?;
        writer.document(&ArchivePath::Checksums, &head.checksums)?;
        writer.document(&ArchivePath::Inventory, &head.inventory)?;
        writer.document(&ArchivePath::OciLayout, manifests::oci::OCI_LAYOUT)?;
        writer.document(&ArchivePath::OciIndex, &head.oci_index)?;
        writer.document(&ArchivePath::DockerManifest, &head.docker_manifest)?;
        Ok(writer)
    }

    /// Writes no bundle but one image of it, for a program that takes such an archive: what goes in, and in
    /// which order, is the caller's business.
    pub fn of_image(out: W) -> Self {
        Self { out, buffer: vec![0; CHUNK_BYTES] }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.out.write_all(bytes).map_err(WriteError::Destination)
    }

    fn zeros(&mut self, count: u64) -> Result<(), WriteError> {
        io::copy(&mut io::repeat(0).take(count), &mut self.out).map_err(WriteError::Destination)?;
        Ok(())
    }

    /// Writes a document that is in memory.
    ///
    /// # Errors
    /// The destination fails.
    pub fn document(&mut self, path: &ArchivePath, content: &[u8]) -> Result<(), WriteError> {
        let size = content.len() as u64;
        self.write(&header::encode(path, size))?;
        self.write(content)?;
        self.zeros(header::padding(size))
    }

    /// Every signature has its place before any derived form has: a form can be made again.
    fn signature_area(&mut self, head: &Head) -> Result<(), WriteError> {
        let signatures = &head.signatures;
        let used: u64 = signatures.iter().map(|(_, raw)| header::entry_bytes(raw.len() as u64)).sum();
        let mut rest = AREA_BYTES.checked_sub(used).ok_or(WriteError::Signatures(signatures.len()))?;
        for (keyid, raw) in signatures {
            self.document(&ArchivePath::Signature(*keyid), raw)?;
            let Some(form) = sigstore::derive(*keyid, raw, &head.manifest) else { continue };
            if let Some(left) = rest.checked_sub(header::entry_bytes(form.len() as u64)) {
                self.document(&ArchivePath::Sigstore(*keyid), &form)?;
                rest = left;
            }
        }
        self.write(&header::encode(&ArchivePath::Reserved, rest))?;
        self.zeros(rest)
    }

    /// Writes the next blob of the inventory, straight from its source. `passed` is told how many bytes
    /// have gone by.
    ///
    /// # Errors
    /// The destination or the source fails, or the source gives other bytes.
    pub fn blob(
        &mut self,
        expected: Content,
        source: &mut dyn Read,
        passed: &mut dyn FnMut(u64),
    ) -> Result<(), WriteError> {
        self.write(&header::encode(&ArchivePath::Blob(expected.digest), expected.size))?;
        let Self { out, buffer } = self;
        let found = pass(expected, source, buffer, &mut |bytes| {
            out.write_all(bytes).map_err(WriteError::Destination)?;
            passed(bytes.len() as u64);
            Ok(())
        })?;
        must_be(expected, found)?;
        self.zeros(header::padding(expected.size))
    }

    /// What it writes to, after everything so far is there.
    pub(crate) fn into_inner(mut self) -> Result<W, WriteError> {
        self.out.flush().map_err(WriteError::Destination)?;
        Ok(self.out)
    }

    /// Writes the end of the archive: two empty blocks, and nothing after them.
    ///
    /// # Errors
    /// The destination fails.
    pub fn finish(mut self) -> Result<W, WriteError> {
        self.zeros(2 * BLOCK_BYTES)?;
        self.into_inner()
    }
}

/// Hands on a blob from its source, as far as it has the expected length, and tells what it was.
pub(crate) fn pass(
    expected: Content,
    source: &mut dyn Read,
    buffer: &mut [u8],
    take: &mut dyn FnMut(&[u8]) -> Result<(), WriteError>,
) -> Result<Content, WriteError> {
    let mut hasher = Hasher::new();
    // One byte more than expected, so that a source that has grown is noticed.
    let mut source = source.take(expected.size.saturating_add(1));
    loop {
        let read = source.read(buffer);
        let count = read.map_err(|source| WriteError::Source { digest: expected.digest, source })?;
        let bytes = buffer.get(..count).unwrap_or_default();
        hasher.update(bytes);
        if count == 0 || hasher.size() > expected.size {
            return Ok(Content { size: hasher.size(), digest: hasher.finish() });
        }
        take(bytes)?;
    }
}

/// Refuses another blob than the expected one.
pub(crate) fn must_be(expected: Content, found: Content) -> Result<(), WriteError> {
    if found == expected {
        return Ok(());
    }
    let (expected, expected_size) = (expected.digest, expected.size);
    Err(WriteError::Changed { expected, expected_size, found: found.digest, found_size: found.size })
}
