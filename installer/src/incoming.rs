//! What came from the discs of a set while not all of them were read: checked content on its way into the site
//! store, kept over a power cut and over days, so that no disc is read again that was read.
//!
//! ```text
//! SITE/store/incoming/<bundle>/<hex>           a blob or a patch that was read to its end, with the signed digest
//! SITE/store/incoming/<bundle>/<hex>.pieces    pieces of one that goes over several parts, each in its place
//! SITE/store/incoming/<bundle>/done.jsonl      the ranges of the archive that were read
//! ```
//!
//! *Invariant:* nothing here is visible to anybody before every byte of the bundle was checked. Nothing here is
//! believed either: what an earlier run has left is hashed again, and a range counts as read only as long as
//! everything that came with it is there. The journal is written after what it speaks of.
//!
//! Of headers, padding and the documents that every disc carries nothing is kept, so for these the journal is the
//! only word. That decides what is read, and nothing else: where a blob lies follows from the signed documents of
//! the disc that is in now, what goes into the store is what was hashed, and what is filed as evidence are those
//! documents. A journal that lies can hide a damaged header of a disc, which nobody needs any more.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use edge::progress::{Progress, Silent};
use layout::durable;
use layout::hashing::HashingWriter;
use layout::map::{Placed, Ranges, Region};
use layout::parts::{Assembly, Keep, Piece};
use layout::store::Store;
use manifests::bundle::{BundleDigest, Content};
use manifests::{ArchivePath, Digest, canonical};
use serde::{Deserialize, Serialize};

use crate::reread;

/// A journal of 999 parts, some of them read twice, is shorter.
const JOURNAL_BYTES_MAX: u64 = 1024 * 1024;

/// The name of the journal.
const JOURNAL: &str = "done.jsonl";

/// What the names of pieces end with.
const PIECES: &str = ".pieces";

/// One line of the journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Done {
    /// The first byte of the archive.
    from: u64,
    /// The one after the last.
    to: u64,
}

/// What is being kept of one bundle.
#[derive(Debug)]
pub struct Incoming<'a> {
    store: &'a Store,
    dir: PathBuf,
    current: Current,
    /// Whether the journal has a line, so that a failure leaves something worth keeping.
    noted: bool,
    /// The blobs that were looked for in the store, and whether they are there as they were.
    looked_at: BTreeMap<Digest, bool>,
}

#[derive(Debug)]
enum Current {
    Nothing,
    /// The store has it: hashed on the way, not kept.
    Skipped,
    /// A blob or a piece of it.
    Taken {
        file: File,
        content: Content,
        /// Where in the blob this piece begins.
        from: u64,
        /// Where it goes on.
        at: u64,
    },
}

/// The directory of everything that is on its way.
fn root(store: &Store) -> PathBuf {
    store.root().join("incoming")
}

/// The bytes on the disk of everything that was begun: of discs, and of a run that was killed. The next load either
/// goes on with it or removes it first, so it is room as well.
#[must_use]
pub fn bytes_begun(store: &Store) -> u64 {
    let mut directories = vec![root(store), store.root().join("quarantine")];
    let mut bytes = 0_u64;
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            use std::os::unix::fs::MetadataExt;
            match entry.metadata() {
                Ok(found) if found.is_dir() => directories.push(entry.path()),
                Ok(found) => bytes = bytes.saturating_add(found.blocks().saturating_mul(512)),
                Err(_) => {}
            }
        }
    }
    bytes
}

/// Forgets what was begun, of whatever bundle: another one was loaded meanwhile.
///
/// # Errors
/// The store cannot be written to.
pub fn forget(store: &Store) -> io::Result<()> {
    remove(&root(store))
}

/// Removes what is there, whatever it is.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes what is no directory, so that there can be one.
fn make_way(dir: &Path) -> io::Result<()> {
    match dir.symlink_metadata() {
        Ok(found) if !found.is_dir() => remove(dir),
        _ => Ok(()),
    }
}

/// Whether a file of this name is one of ours.
fn is_ours(name: &OsStr) -> bool {
    let name = name.to_str().unwrap_or_default();
    let hex = name.strip_suffix(PIECES).unwrap_or(name);
    name == JOURNAL || Digest::from_hex(hex).is_ok()
}

impl<'a> Incoming<'a> {
    /// The place of one bundle. What was begun of another one is forgotten: a site loads one at a time.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub fn open(store: &'a Store, bundle: BundleDigest) -> io::Result<Self> {
        store.create()?;
        let dir = root(store).join(bundle.0.hex());
        make_way(&root(store))?;
        make_way(&dir)?;
        for entry in std::fs::read_dir(root(store)).into_iter().flatten() {
            let entry = entry?.path();
            if entry != dir {
                remove(&entry)?;
            }
        }
        // What is none of ours, or not a file, is nothing to go on with, and must not be in the way.
        for entry in std::fs::read_dir(&dir).into_iter().flatten() {
            let entry = entry?;
            if !(is_ours(&entry.file_name()) && entry.file_type()?.is_file()) {
                remove(&entry.path())?;
            }
        }
        durable::make_directory(&dir)?;
        Ok(Self { store, dir, current: Current::Nothing, noted: false, looked_at: BTreeMap::new() })
    }

    fn whole(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.hex())
    }

    fn pieces(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{}{PIECES}", digest.hex()))
    }

    fn journal(&self) -> PathBuf {
        self.dir.join(JOURNAL)
    }

    /// The bytes that are here of a blob already.
    #[must_use]
    pub fn has_bytes(&self, content: &Content) -> u64 {
        let length = |path: PathBuf| std::fs::symlink_metadata(path).map_or(0, |found| found.len());
        let blocks = |path: PathBuf| {
            use std::os::unix::fs::MetadataExt;
            std::fs::symlink_metadata(path).map_or(0, |found| found.blocks().saturating_mul(512))
        };
        length(self.whole(&content.digest)).max(blocks(self.pieces(&content.digest))).min(content.size)
    }

    /// Takes up what an earlier run has left: hashes it, settles it, and gives the ranges that need not be read
    /// again.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn resume(&mut self, assembly: &mut Assembly, progress: &mut dyn Progress) -> io::Result<Ranges> {
        let mut done = self.read_journal()?;
        self.noted = !done.as_slice().is_empty();
        for placed in assembly.expected().map().regions().to_vec() {
            let Region::Entry { path, content } = &placed.region else { continue };
            match path {
                ArchivePath::OciLayout | ArchivePath::OciIndex if done.covers(&placed.decisive()) => {
                    assembly.settle_known(path).map_err(io::Error::other)?;
                }
                ArchivePath::DockerManifest | ArchivePath::Blob(_) => {
                    let settled = self.settle(assembly, path, *content, &done, &placed, progress)?;
                    if !settled && (done.covers(&placed.decisive()) || !self.has_pieces(content)) {
                        done.remove(&placed.range);
                    }
                }
                _ => {}
            }
        }
        Ok(done)
    }

    /// Whether the store has it as it was; one that has rotted is taken anew. Asked once for all pieces of it.
    fn has_whole(&mut self, content: &Content) -> bool {
        let store = self.store;
        *self.looked_at.entry(content.digest).or_insert_with(|| store.is_whole(content).unwrap_or(false))
    }

    fn has_pieces(&self, content: &Content) -> bool {
        self.store.has(content) || self.pieces(&content.digest).exists()
    }

    /// Settles a blob from a file of an earlier run, or from the store if all of it was read then.
    fn settle(
        &self,
        assembly: &mut Assembly,
        path: &ArchivePath,
        content: Content,
        done: &Ranges,
        placed: &Placed,
        progress: &mut dyn Progress,
    ) -> io::Result<bool> {
        let (whole, pieces) = (self.whole(&content.digest), self.pieces(&content.digest));
        if settled_by(assembly, path, content, &whole, progress)? {
            return Ok(true);
        }
        remove(&whole)?;
        if !done.covers(&placed.decisive()) {
            return Ok(false);
        }
        if settled_by(assembly, path, content, &pieces, progress)? {
            std::fs::rename(pieces, whole)?;
            return Ok(true);
        }
        remove(&pieces)?;
        settled_by(assembly, path, content, &self.store.blob_path(&content.digest), progress)
    }

    /// A journal whose last line was cut off ends before it; one that is none is not there.
    fn read_journal(&self) -> io::Result<Ranges> {
        let mut done = Ranges::default();
        let bytes = match durable::read_bounded(&self.journal(), JOURNAL_BYTES_MAX) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::FileTooLarge) => {
                return Ok(done);
            }
            other => other?,
        };
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let Ok(Done { from, to }) = canonical::from_canonical(line) else { break };
            done.add(from..to.max(from));
        }
        Ok(done)
    }

    fn write_journal(&self, done: &Ranges) -> io::Result<()> {
        let mut lines = Vec::new();
        for range in done.as_slice() {
            let line = Done { from: range.start, to: range.end };
            lines.extend(canonical::to_canonical(&line).map_err(io::Error::other)?);
        }
        durable::replace(&self.journal(), &lines, 0o600)
    }

    /// A part was read and nothing is wrong with it: makes what came with it durable, then says so. Blobs of
    /// which that was the last piece are put together; gives the ranges of those that turned out to be others.
    ///
    /// # Errors
    /// The disk fails.
    pub fn note(
        &mut self,
        assembly: &mut Assembly,
        done: &mut Ranges,
        progress: &mut dyn Progress,
    ) -> io::Result<Vec<Placed>> {
        rustix::fs::syncfs(File::open(&self.dir)?)?;
        let bad = self.join(assembly, done, progress)?;
        self.write_journal(done)?;
        self.noted = true;
        Ok(bad)
    }

    fn join(
        &self,
        assembly: &mut Assembly,
        done: &mut Ranges,
        progress: &mut dyn Progress,
    ) -> io::Result<Vec<Placed>> {
        let mut bad = Vec::new();
        for placed in assembly.expected().map().regions().to_vec() {
            let Region::Entry { path, content } = &placed.region else { continue };
            let blob = matches!(path, ArchivePath::DockerManifest | ArchivePath::Blob(_));
            if !blob || assembly.tally().is_settled(path) || !done.covers(&placed.decisive()) {
                continue;
            }
            if !self.settle(assembly, path, *content, done, &placed, progress)? {
                done.remove(&placed.range);
                bad.push(placed);
            }
        }
        Ok(bad)
    }

    /// Every byte of the bundle was checked: makes its blobs durable, then visible.
    ///
    /// # Errors
    /// The disk fails. Blobs that were renamed before that are whole and right, so they may stay.
    pub fn release(&mut self, blobs: &[Content]) -> io::Result<()> {
        rustix::fs::syncfs(File::open(&self.dir)?)?;
        for blob in blobs {
            match std::fs::rename(self.whole(&blob.digest), self.store.blob_path(&blob.digest)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        durable::flush_directory(&self.store.root().join("blobs/sha256"))
    }

    /// A patch that was read, whole.
    ///
    /// # Errors
    /// It is not there.
    pub fn kept(&self, patch: &Digest) -> io::Result<File> {
        File::open(self.whole(patch)).or_else(|_| File::open(self.store.blob_path(patch)))
    }

    /// Keeps a blob that is made of a patch, or lets it pass if the store has it. `produce` fails if what it writes is
    /// not the blob.
    ///
    /// # Errors
    /// It does, or the disk fails.
    pub fn make(
        &self,
        blob: &Content,
        produce: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.store.is_whole(blob).unwrap_or(false) {
            return produce(&mut io::sink());
        }
        let (begun, whole) = (self.pieces(&blob.digest), self.whole(&blob.digest));
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&begun)?;
        let mut out = HashingWriter::new(file);
        let produced = produce(&mut out);
        if produced.is_ok() && out.finish().0 == *blob {
            return std::fs::rename(begun, whole);
        }
        remove(&begun)?;
        produced.and(Err(io::Error::new(io::ErrorKind::InvalidData, "a patch made another blob")))
    }

    /// Whether something is worth keeping for the next run.
    #[must_use]
    pub fn is_noted(&self) -> bool {
        self.noted
    }

    /// Nothing of it is needed any more.
    ///
    /// # Errors
    /// The disk fails.
    pub fn dismiss(self) -> io::Result<()> {
        forget(self.store)
    }
}

/// Hashes what was put together of pieces, and removes it if it is not the blob.
fn held_to(content: &Content, pieces: &Path) -> io::Result<()> {
    let found = File::open(pieces).and_then(|file| {
        let long = file.metadata()?.len() == content.size;
        Ok(long && reread::file(file, content.size, &mut Silent)?.0 == *content)
    })?;
    if found {
        return Ok(());
    }
    remove(pieces)?;
    let reason = format!(
        "what was kept of {} has changed on this disk since it was read: start again",
        content.digest
    );
    Err(io::Error::new(io::ErrorKind::InvalidData, reason))
}

/// Hashes a file, if it is there and as long as the blob.
fn settled_by(
    assembly: &mut Assembly,
    path: &ArchivePath,
    content: Content,
    file: &Path,
    progress: &mut dyn Progress,
) -> io::Result<bool> {
    let opened = match File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    let metadata = opened.metadata()?;
    if !metadata.is_file() || metadata.len() != content.size {
        return Ok(false);
    }
    let (found, document) = reread::file(opened, content.size, progress)?;
    Ok(found == content && assembly.settle_kept(path, found, document).is_ok())
}

impl Keep for Incoming<'_> {
    fn begin(&mut self, path: &ArchivePath, content: Content, from: u64) -> io::Result<()> {
        // `manifest.json` does not go into the store, but has to be there when a later run takes this up.
        let listed = matches!(path, ArchivePath::DockerManifest);
        if !listed && self.has_whole(&content) {
            self.current = Current::Skipped;
            return Ok(());
        }
        let mut options = OpenOptions::new();
        // Other pieces may be there already.
        let options = options.write(true).create(true).truncate(false).mode(0o644);
        let file = options.open(self.pieces(&content.digest))?;
        self.current = Current::Taken { file, content, from, at: from };
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Current::Taken { file, at, .. } = &mut self.current {
            file.write_all_at(bytes, *at)?;
            *at = at.saturating_add(bytes.len() as u64);
        }
        Ok(())
    }

    fn end(&mut self, piece: Piece) -> io::Result<()> {
        match std::mem::replace(&mut self.current, Current::Nothing) {
            Current::Taken { file, content, from, .. } if piece == Piece::Settled => {
                let pieces = self.pieces(&content.digest);
                if from == 0 {
                    // All of it passed just now. What an earlier run left may have been longer.
                    file.set_len(content.size)?;
                } else {
                    // The stream was the right one; whether the file is, only the file can say: an earlier piece of
                    // it may have been changed or removed since it passed.
                    drop(file);
                    held_to(&content, &pieces)?;
                }
                std::fs::rename(pieces, self.whole(&content.digest))
            }
            // What is open waits for its other pieces; what is damaged is written over or removed.
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, Store, Content) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path().join("store"));
        (dir, store, Content::of(b"first half, second half"))
    }

    fn piece(
        incoming: &mut Incoming<'_>,
        content: Content,
        from: u64,
        bytes: &[u8],
        end: Piece,
    ) -> io::Result<()> {
        let path = ArchivePath::Blob(content.digest);
        incoming.begin(&path, content, from)?;
        incoming.write(bytes)?;
        incoming.end(end)
    }

    #[test]
    fn a_blob_of_which_an_earlier_piece_has_changed_or_is_gone_is_never_whole() {
        for tamper in [Some(b"FIRST half, ".as_slice()), None] {
            let (_dir, store, content) = place();
            let mut incoming = Incoming::open(&store, BundleDigest(Digest::of(b"bundle"))).unwrap();
            piece(&mut incoming, content, 0, b"first half, ", Piece::Open).unwrap();
            let pieces = incoming.pieces(&content.digest);
            match tamper {
                Some(bytes) => std::fs::write(&pieces, bytes).unwrap(),
                None => std::fs::remove_file(&pieces).unwrap(),
            }
            // The stream was right: whoever hashed it saw the first half as it passed.
            let error = piece(&mut incoming, content, 12, b"second half", Piece::Settled).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(!pieces.exists() && !incoming.whole(&content.digest).exists());
        }
    }

    #[test]
    fn a_blob_of_honest_pieces_is_whole_and_one_that_passed_at_once_has_nothing_of_an_earlier_run() {
        let (_dir, store, content) = place();
        let mut incoming = Incoming::open(&store, BundleDigest(Digest::of(b"bundle"))).unwrap();
        piece(&mut incoming, content, 0, b"first half, ", Piece::Open).unwrap();
        piece(&mut incoming, content, 12, b"second half", Piece::Settled).unwrap();
        let whole = |incoming: &Incoming<'_>| std::fs::read(incoming.whole(&content.digest)).unwrap();
        assert_eq!(whole(&incoming), b"first half, second half");
        std::fs::write(incoming.pieces(&content.digest), [b'x'; 100]).unwrap();
        piece(&mut incoming, content, 0, b"first half, second half", Piece::Settled).unwrap();
        assert_eq!(whole(&incoming), b"first half, second half");
    }
}
