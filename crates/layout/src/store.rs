//! A blob store: content by digest, in the shape of an OCI image layout.
//!
//! *Invariant:* a file below `blobs/sha256/` was hashed on its way in and has the digest that its name
//! says. New content is written below `quarantine/` and renamed once it was checked and flushed; what a
//! failed run leaves in quarantine is never visible, and is removed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use manifests::Digest;
use manifests::bundle::Content;

use crate::disk::Writeback;
use crate::durable;

/// A directory of blobs.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    /// Where verified content is that was not kept: read from if the store lacks it.
    beside: Option<PathBuf>,
}

impl Store {
    /// The store in this directory, whether it is there yet or not.
    #[must_use]
    pub fn at(root: PathBuf) -> Self {
        Self { root, beside: None }
    }

    /// The same store, which also reads from another directory, by `<hex>`. What lies there is not in the store:
    /// [`Store::has`] knows nothing of it.
    #[must_use]
    pub fn beside(mut self, directory: PathBuf) -> Self {
        self.beside = Some(directory);
        self
    }

    /// Its directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes what is missing of it.
    ///
    /// # Errors
    /// The directory cannot be written to.
    pub fn create(&self) -> io::Result<()> {
        durable::make_directory(&self.root.join("blobs/sha256"))?;
        let marker = self.root.join("oci-layout");
        if !marker.exists() {
            durable::replace(&marker, manifests::oci::OCI_LAYOUT, 0o644)?;
        }
        Ok(())
    }

    /// Where a blob is, or would be.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        let own = self.own_path(digest);
        let lent = self.beside.as_ref().map(|directory| directory.join(digest.hex()));
        lent.filter(|lent| !own.exists() && lent.exists()).unwrap_or(own)
    }

    fn own_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    /// Whether it has a blob of this size.
    #[must_use]
    pub fn has(&self, content: &Content) -> bool {
        std::fs::symlink_metadata(self.own_path(&content.digest))
            .is_ok_and(|metadata| metadata.is_file() && metadata.len() == content.size)
    }

    /// Whether it has a blob, and every byte of it is still as it was: it is read to its end.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn is_whole(&self, content: &Content) -> io::Result<bool> {
        if !self.has(content) {
            return Ok(false);
        }
        Ok(crate::hashing::hash(&mut File::open(self.blob_path(&content.digest))?)? == *content)
    }

    /// Opens a blob; `None` if it is not there.
    ///
    /// # Errors
    /// It is there and cannot be opened.
    pub fn open(&self, digest: &Digest) -> io::Result<Option<File>> {
        match File::open(self.blob_path(digest)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a small blob, and checks its digest again.
    ///
    /// # Errors
    /// It is not there, longer than `limit`, or no longer what its name says.
    pub fn read(&self, digest: &Digest, limit: u64) -> io::Result<Vec<u8>> {
        let content = durable::read_bounded(&self.blob_path(digest), limit)?;
        if Digest::of(&content) == *digest {
            Ok(content)
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("blob {digest} in {} has rotted", self.root.display()),
            ))
        }
    }

    /// Opens a quarantine; whatever an earlier run left in it is removed.
    ///
    /// # Errors
    /// The directory cannot be written to.
    pub fn quarantine(&self) -> io::Result<Quarantine<'_>> {
        self.create()?;
        let dir = self.root.join("quarantine");
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => durable::make_directory(&dir)?,
        }
        Ok(Quarantine { store: self, dir, admitted: Mutex::default() })
    }
}

/// Content on its way into a store, several blobs at the same time. Dropped without [`Quarantine::release`], it leaves
/// nothing behind.
#[derive(Debug)]
pub struct Quarantine<'a> {
    store: &'a Store,
    dir: PathBuf,
    admitted: Mutex<Vec<Digest>>,
}

impl Quarantine<'_> {
    /// Starts the blob that is to have this digest and size.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn blob(&self, expected: Content) -> io::Result<BlobWriter> {
        let path = self.dir.join(format!(".{}", expected.digest.hex()));
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&path)?;
        Ok(BlobWriter { file, path, written: 0, expected, writeback: Writeback::default() })
    }

    /// Keeps a blob of which `found` was written, as whoever read it has hashed it.
    ///
    /// # Errors
    /// It is something else, or not all of it was written, or the disk fails.
    pub fn keep(&self, writer: BlobWriter, found: Content) -> io::Result<()> {
        let BlobWriter { path, written, expected, .. } = writer;
        if found != expected || written != expected.size {
            let message = format!("blob {} arrived as {} ({written} bytes)", expected.digest, found.digest);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        std::fs::rename(path, self.dir.join(expected.digest.hex()))?;
        self.admitted.lock().unwrap_or_else(PoisonError::into_inner).push(expected.digest);
        Ok(())
    }

    /// Makes everything durable, then visible.
    ///
    /// # Errors
    /// The disk fails. Blobs that were renamed before that are whole and right, so they may stay.
    pub fn release(self) -> io::Result<usize> {
        let admitted = self.admitted.lock().unwrap_or_else(PoisonError::into_inner);
        if admitted.is_empty() {
            return Ok(0);
        }
        // One flush of the file system instead of one for each of thousands of files.
        rustix::fs::syncfs(File::open(&self.dir)?)?;
        for digest in admitted.iter() {
            std::fs::rename(self.dir.join(digest.hex()), self.store.blob_path(digest))?;
        }
        durable::flush_directory(&self.store.root.join("blobs/sha256"))?;
        Ok(admitted.len())
    }
}

impl Drop for Quarantine<'_> {
    fn drop(&mut self) {
        // Whatever is still in it was not admitted; the next run removes it if this one cannot.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// One blob on its way in. Whoever writes it has hashed the very bytes; they are not hashed again.
#[derive(Debug)]
pub struct BlobWriter {
    file: File,
    path: PathBuf,
    written: u64,
    expected: Content,
    writeback: Writeback,
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.writeback.wrote(&self.file, self.written, count as u64);
        self.written = self.written.saturating_add(count as u64);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_blob_is_visible_only_after_release() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path().join("store"));
        let content = Content::of(b"hello");
        let quarantine = store.quarantine().unwrap();
        let mut writer = quarantine.blob(content).unwrap();
        writer.write_all(b"hello").unwrap();
        quarantine.keep(writer, content).unwrap();
        assert!(!store.has(&content));
        assert_eq!(quarantine.release().unwrap(), 1);
        assert!(store.has(&content));
        assert_eq!(store.read(&content.digest, 100).unwrap(), b"hello");
        assert_eq!(names(store.root()), ["blobs", "oci-layout"]);
    }

    #[test]
    fn other_bytes_than_expected_are_never_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path().join("store"));
        let quarantine = store.quarantine().unwrap();
        for (bytes, found) in [("hellO", Content::of(b"hellO")), ("hell", Content::of(b"hello"))] {
            let mut writer = quarantine.blob(Content::of(b"hello")).unwrap();
            writer.write_all(bytes.as_bytes()).unwrap();
            assert!(quarantine.keep(writer, found).is_err());
        }
        drop(quarantine);
        assert!(names(&store.root().join("blobs/sha256")).is_empty());
        assert_eq!(names(store.root()), ["blobs", "oci-layout"]);
    }

    #[test]
    fn a_rotten_blob_is_noticed_when_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path().to_path_buf());
        store.create().unwrap();
        let digest = Digest::of(b"hello");
        std::fs::write(store.blob_path(&digest), b"hellO").unwrap();
        assert!(store.read(&digest, 100).unwrap_err().to_string().contains("rotted"));
    }
}
