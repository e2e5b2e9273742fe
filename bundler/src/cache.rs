//! What was fetched or made once and may be used again, by digest: manifests, configurations, compressed
//! layers, packed charts. Losing it costs time and nothing else; what it gives is hashed again when it is
//! written into an archive.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use edge::Env;
use layout::hashing::HashingWriter;
use layout::store::Store;
use manifests::bundle::Content;
use manifests::{Digest, Hasher};
use rustix::fs::FlockOperation;

/// Bounds a document that is read from the cache whole.
const DOCUMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How the names of files begin that are being written.
const BEGUN: &str = "begun-";

/// A directory of content by digest.
#[derive(Debug, Clone)]
pub struct Cache {
    store: Store,
}

impl Cache {
    /// `$AIRLOCK_CACHE`, or `airlock` in the user's cache directory.
    #[must_use]
    pub fn of(env: &Env) -> Self {
        let root = match (env.var("AIRLOCK_CACHE"), env.var("XDG_CACHE_HOME"), env.var("HOME")) {
            (Some(own), _, _) => PathBuf::from(own),
            (None, Some(cache), _) => Path::new(cache).join("airlock"),
            (None, None, Some(home)) => Path::new(home).join(".cache/airlock"),
            (None, None, None) => env.cwd.join(".airlock-cache"),
        };
        Self::at(root)
    }

    /// In a directory.
    #[must_use]
    pub fn at(root: PathBuf) -> Self {
        Self { store: Store::at(root) }
    }

    /// Its directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.store.root()
    }

    /// Where content is, or would be.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.store.blob_path(digest)
    }

    /// Makes its directories: once, before several threads add to it.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn create(&self) -> io::Result<()> {
        self.store.create()?;
        self.sweep();
        Ok(())
    }

    /// Takes away what runs that were killed have left without a name. Whoever writes one holds a lock on it.
    fn sweep(&self) {
        let Ok(entries) = std::fs::read_dir(self.store.root()) else { return };
        for entry in entries.flatten() {
            let begun = entry.file_name().to_string_lossy().starts_with(BEGUN);
            let unlocked = |path: &Path| {
                let file = File::open(path)?;
                Ok::<bool, io::Error>(
                    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok(),
                )
            };
            if begun && unlocked(&entry.path()).unwrap_or(false) {
                // What cannot be removed is tried again by the next run.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// Keeps these bytes.
    ///
    /// # Errors
    /// The cache cannot be written to.
    pub fn put(&self, bytes: &[u8]) -> io::Result<Content> {
        let content = Content::of(bytes);
        if !self.has(&content) {
            self.add(&mut |out| out.write_all(bytes))?;
        }
        Ok(content)
    }

    /// Keeps what `produce` writes, and tells what it was.
    ///
    /// # Errors
    /// The cache cannot be written to, or `produce` fails.
    pub fn add(&self, produce: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<Content> {
        self.store.create()?;
        let mut file = tempfile::Builder::new().prefix(BEGUN).tempfile_in(self.store.root())?;
        rustix::fs::flock(file.as_file(), FlockOperation::NonBlockingLockExclusive)?;
        let mut out = HashingWriter::new(io::BufWriter::new(file.as_file_mut()));
        produce(&mut out)?;
        out.flush()?;
        let (content, out) = out.finish();
        drop(out);
        file.persist(self.store.blob_path(&content.digest)).map_err(|error| error.error)?;
        Ok(content)
    }

    /// Whether it has content in this size.
    #[must_use]
    pub fn has(&self, content: &Content) -> bool {
        self.store.has(content)
    }

    /// Opens content; `None` if the cache does not have it in this size.
    ///
    /// # Errors
    /// It is there and cannot be opened.
    pub fn open(&self, content: &Content) -> io::Result<Option<File>> {
        if self.has(content) { self.store.open(&content.digest) } else { Ok(None) }
    }

    /// Forgets content. Nobody is told if that fails: it is found to be wrong again.
    pub fn remove(&self, digest: &Digest) {
        let _ = std::fs::remove_file(self.store.blob_path(digest));
    }

    /// The beginning of content that an earlier run has left, or an empty one. `None` while another run has it.
    ///
    /// # Errors
    /// The cache cannot be written to.
    pub fn partial(&self, content: &Content) -> io::Result<Option<Partial>> {
        self.store.create()?;
        let path = self.store.root().join(format!("partial-{}", content.digest.hex()));
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(None);
        }
        // Whoever had it before may have finished it meanwhile: then this is no longer the file of that name.
        let (ours, named) = (file.metadata()?, std::fs::metadata(&path));
        if named.map_or(true, |named| named.ino() != ours.ino()) {
            return Ok(None);
        }
        // More than all of it is no beginning of it.
        let size = if ours.len() > content.size { 0 } else { ours.len() };
        file.set_len(size)?;
        Ok(Some(Partial { file, size, path, whole: self.store.blob_path(&content.digest) }))
    }

    /// Reads a document; `None` if the cache does not have it, or has it rotten.
    #[must_use]
    pub fn document(&self, digest: &Digest) -> Option<Vec<u8>> {
        self.store.read(digest, DOCUMENT_BYTES_MAX).ok()
    }
}

/// Content that is being fetched, or was once. What it holds is worth nothing until its digest is checked at the
/// end; it stays for the next run if it is dropped before that.
pub struct Partial {
    file: File,
    size: u64,
    path: PathBuf,
    whole: PathBuf,
}

impl Partial {
    /// Whether there is nothing to go on from.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// What has seen all that is there; `seen` sees it too. From here on only the end is written to.
    ///
    /// # Errors
    /// It cannot be read, or `seen` fails.
    pub fn hasher(&mut self, seen: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<Hasher> {
        let mut hasher = Hasher::new();
        let mut buffer = vec![0_u8; layout::writer::CHUNK_BYTES];
        loop {
            let count = self.file.read(&mut buffer)?;
            if count == 0 {
                return Ok(hasher);
            }
            let bytes = buffer.get(..count).unwrap_or_default();
            hasher.update(bytes);
            seen(bytes)?;
        }
    }

    /// Adds to its end.
    ///
    /// # Errors
    /// The disk is full, for instance.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.size = self.size.saturating_add(bytes.len() as u64);
        Ok(())
    }

    /// Puts it among the content of the cache: its digest was checked.
    ///
    /// # Errors
    /// The cache cannot be written to.
    pub fn finish(self) -> io::Result<()> {
        std::fs::rename(&self.path, &self.whole)
    }

    /// Throws it away.
    pub fn discard(self) {
        // What cannot be removed is found to be wrong again.
        let _ = std::fs::remove_file(&self.path);
    }
}
