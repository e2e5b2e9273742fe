//! Blobs that a bundle names and that are not served, as their bytes are not what was admitted: from the moment
//! that this is noticed until they have been read whole and right again.
//!
//! *Invariant:* a blob is withdrawn once, however often it is found: once in the list, once on stderr, once for
//! whoever keeps the record.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use manifests::Digest;

use super::shelf::{PublishedBundle, Shelf};
use super::trouble::Trouble;

/// What becomes of a blob, for whoever keeps a record of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// It is not served any more.
    Withdrawn {
        /// Which.
        blob: Digest,
        /// What is wrong with it.
        reason: String,
    },
    /// It was read whole and right, and is served again.
    Restored {
        /// Which.
        blob: Digest,
    },
}

/// What the thread that hashes blobs again hears of.
#[derive(Debug)]
pub(super) enum News {
    /// Something to write down.
    Note(Note),
    /// The server ends.
    Stop,
}

/// What a withdrawn blob's file looked like when its bytes were last read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Not looked at since it was withdrawn.
    Unknown,
    /// There is none.
    Missing,
    /// A file that is replaced or written to looks different.
    File { device: u64, inode: u64, size: u64, changed: (i64, i64) },
}

impl Look {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self::File {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// The withdrawn blobs of one server.
pub(super) struct Withdrawn {
    blobs: Mutex<BTreeMap<Digest, Look>>,
    /// Counts changes, so that whoever has a list knows whether it is still right.
    generation: AtomicU64,
    news: Sender<News>,
    report: Arc<dyn Fn(Trouble) + Send + Sync>,
}

impl Withdrawn {
    /// With those that were withdrawn when the server last ran.
    pub(super) fn new(
        known: BTreeSet<Digest>,
        report: Arc<dyn Fn(Trouble) + Send + Sync>,
    ) -> (Arc<Self>, Receiver<News>) {
        let (news, heard) = channel();
        let blobs = Mutex::new(known.into_iter().map(|blob| (blob, Look::Unknown)).collect());
        (Arc::new(Self { blobs, generation: AtomicU64::new(0), news, report }), heard)
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// All of them, and the count of changes from which on this is true.
    pub(super) fn list(&self) -> (BTreeSet<Digest>, u64) {
        let generation = self.generation();
        (self.lock().keys().copied().collect(), generation)
    }

    pub(super) fn looks(&self) -> BTreeMap<Digest, Look> {
        self.lock().clone()
    }

    pub(super) fn has(&self, blob: &Digest) -> bool {
        self.lock().contains_key(blob)
    }

    /// Withdraws the blob of a trouble, if it is one of a blob's bytes; says whether. It may read the list of
    /// bundles, so call it where blocking is allowed.
    pub(super) fn doubt(&self, shelf: &dyn Shelf, trouble: &Trouble) -> bool {
        let Some(blob) = trouble.rotten() else { return false };
        if was_taken_away(shelf, trouble) {
            return false;
        }
        self.add(blob, Look::Unknown, trouble);
        true
    }

    /// Withdraws a blob that looked so when it was read.
    pub(super) fn add(&self, blob: Digest, look: Look, trouble: &Trouble) {
        let reason = trouble.reason();
        {
            let mut blobs = self.lock();
            if blobs.insert(blob, look).is_some() {
                return;
            }
            self.tell(Note::Withdrawn { blob, reason: reason.clone() });
        }
        self.generation.fetch_add(1, Ordering::AcqRel);
        (self.report)(Trouble::Withdrawn { blob, reason });
    }

    /// Serves a blob again.
    pub(super) fn restore(&self, blob: Digest) {
        {
            let mut blobs = self.lock();
            if blobs.remove(&blob).is_none() {
                return;
            }
            self.tell(Note::Restored { blob });
        }
        self.generation.fetch_add(1, Ordering::AcqRel);
        (self.report)(Trouble::Restored(blob));
    }

    /// Says that the server ends.
    pub(super) fn stop(&self) {
        let _ = self.news.send(News::Stop);
    }

    /// Called while the list is held: what anybody sees of it was told before, in the order in which it happened.
    fn tell(&self, note: Note) {
        // Nobody listens once the server ends, and what is found then is found again.
        let _ = self.news.send(News::Note(note));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Digest, Look>> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a blob is missing because the bundle that named it is not published any more.
pub(super) fn was_taken_away(shelf: &dyn Shelf, trouble: &Trouble) -> bool {
    let Trouble::BlobMissing(blob) = trouble else { return false };
    let names = |bundle: &Arc<PublishedBundle>| bundle.inventory.blob_size(blob).is_some();
    // A list that cannot be read says nothing, so the blob is what it seems to be.
    shelf.bundles().is_ok_and(|bundles| !bundles.iter().any(names))
}

/// Keeps the record of withdrawn blobs. It may block, and is asked again for what it could not write down.
pub type Record = Box<dyn Fn(&Note) -> io::Result<()> + Send>;
