//! Every blob is read again and hashed, one after the other, the one first that was not looked at for longest.
//! A disk that loses bytes is noticed so before a client does.
//!
//! It is a thread of its own, of the lowest priority, that reads no faster than it is told. Before a blob is read,
//! the kernel is asked to forget what it holds of it: its memory says nothing about the disk.
//!
//! The same thread writes down what is withdrawn and what is served again, so that no request waits for that.
//!
//! *What it may never do:* write to the store. A blob becomes good again when somebody puts it right, by an apply.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime};

use edge::Clock;
use layout::disk;
use manifests::bundle::Content;
use manifests::{Digest, Hasher};

use super::shelf::Shelf;
use super::trouble::{Trouble, open};
use super::withdrawn::{Look, News, Note, Record, Withdrawn, was_taken_away};

/// How blobs are hashed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RehashPolicy {
    /// How long a blob is trusted after it was looked at; without it none is looked at but those in doubt.
    pub every: Option<Duration>,
    /// The most that is read in a second.
    pub bytes_per_second: u64,
}

impl Default for RehashPolicy {
    fn default() -> Self {
        Self { every: Some(Duration::from_secs(24 * 60 * 60)), bytes_per_second: 32 * 1024 * 1024 }
    }
}

const CHUNK_BYTES: usize = 256 * 1024;
/// Shorter pauses than this are saved up.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// How soon a withdrawn blob that was replaced is looked at, and a record that failed is tried again.
const SOON: Duration = Duration::from_secs(1);
/// How soon the blobs of a new bundle are known.
const LIST_AGE_MAX: Duration = Duration::from_secs(60);
/// The lowest priority.
const NICE: i32 = 19;

/// A blob that is named by a published bundle.
#[derive(Debug, Clone, Copy)]
struct Known {
    size: u64,
    /// When this server last read it; before that, when it was written.
    looked: Option<Duration>,
    written: Option<SystemTime>,
}

/// What a look at a blob found.
enum Found {
    Whole,
    Rotten(Trouble, Look),
    /// It could not be looked at, for a reason that is not its own.
    Nothing(Trouble),
}

/// The thread's state.
pub(super) struct Rehasher {
    pub(super) shelf: Arc<dyn Shelf>,
    pub(super) withdrawn: Arc<Withdrawn>,
    pub(super) policy: RehashPolicy,
    pub(super) clock: Box<dyn Clock>,
    pub(super) record: Record,
    pub(super) report: Arc<dyn Fn(Trouble) + Send + Sync>,
    pub(super) news: Receiver<News>,
    pub(super) state: State,
}

/// What it remembers between rounds.
#[derive(Default)]
pub(super) struct State {
    blobs: BTreeMap<Digest, Known>,
    listed: Option<Duration>,
    unsaid: VecDeque<Note>,
    record_failed: bool,
    /// Pauses that are due.
    owed: Duration,
}

impl Rehasher {
    /// Runs until the server ends.
    pub(super) fn run(mut self) {
        // Where that is not allowed, it is the rate that keeps it out of the way. Of the thread, not of the process.
        let _ = rustix::process::setpriority_process(None, NICE);
        while self.round().is_continue() {
            let idle = self.idle();
            if self.wait(idle).is_break() {
                break;
            }
        }
        self.write_down();
    }

    fn round(&mut self) -> ControlFlow<()> {
        self.write_down();
        self.list();
        for content in self.in_doubt() {
            self.look(content)?;
        }
        match self.due() {
            Some((content, left)) if left.is_zero() => self.look(content),
            _ => ControlFlow::Continue(()),
        }
    }

    /// How long there is nothing to do.
    fn idle(&self) -> Duration {
        let due = self.due().map_or(LIST_AGE_MAX, |(_, left)| left);
        let waits = !self.state.unsaid.is_empty() || !self.withdrawn.looks().is_empty();
        due.min(if waits { SOON } else { LIST_AGE_MAX })
    }

    /// Lets time pass, or less of it if something happens meanwhile.
    fn wait(&mut self, duration: Duration) -> ControlFlow<()> {
        match self.news.recv_timeout(duration) {
            Ok(News::Note(note)) => {
                self.state.unsaid.push_back(note);
                self.write_down();
            }
            Err(RecvTimeoutError::Timeout) => {}
            Ok(News::Stop) | Err(RecvTimeoutError::Disconnected) => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    /// Hands on what is not written down yet, in its order.
    fn write_down(&mut self) {
        while let Some(note) = self.state.unsaid.front() {
            if let Err(error) = (self.record)(note) {
                if !std::mem::replace(&mut self.state.record_failed, true) {
                    (self.report)(Trouble::Record(error));
                }
                return;
            }
            self.state.record_failed = false;
            self.state.unsaid.pop_front();
        }
    }

    /// Learns which blobs there are, if that is some time ago.
    fn list(&mut self) {
        let now = self.clock.monotonic();
        let fresh = if self.withdrawn.looks().is_empty() { LIST_AGE_MAX } else { SOON };
        if self.state.listed.is_some_and(|listed| now.saturating_sub(listed) < fresh) {
            return;
        }
        // A list that cannot be read is told by whoever serves from it.
        let Ok(bundles) = self.shelf.bundles() else { return };
        self.state.listed = Some(now);
        let named = bundles.iter().flat_map(|bundle| &bundle.inventory.blobs);
        let known = named.map(|content| {
            let known = self.state.blobs.get(&content.digest).copied();
            let fresh = || Known { size: content.size, looked: None, written: self.written(content) };
            (content.digest, known.unwrap_or_else(fresh))
        });
        self.state.blobs = known.collect();
    }

    fn written(&self, content: &Content) -> Option<SystemTime> {
        let file = self.shelf.open_blob(&content.digest).ok().flatten()?;
        file.metadata().ok()?.modified().ok()
    }

    /// Withdrawn blobs whose file is another one, or was not looked at since they were withdrawn.
    fn in_doubt(&self) -> Vec<Content> {
        let looks = self.withdrawn.looks();
        let changed = looks.into_iter().filter(|(digest, known)| {
            let now = match self.shelf.open_blob(digest) {
                Ok(Some(file)) => file.metadata().map_or(*known, |metadata| Look::of(&metadata)),
                Ok(None) => Look::Missing,
                Err(_) => *known,
            };
            now != *known
        });
        let named = changed.filter_map(|(digest, _)| Some((digest, self.state.blobs.get(&digest)?.size)));
        named.map(|(digest, size)| Content { digest, size }).collect()
    }

    /// The blob that was not looked at for longest, and how long it is trusted still.
    fn due(&self) -> Option<(Content, Duration)> {
        let every = self.policy.every?;
        let oldest = self.state.blobs.iter().min_by_key(|(_, known)| (known.looked, known.written));
        let (digest, known) = oldest?;
        let until = known.looked.map_or(Duration::ZERO, |looked| looked.saturating_add(every));
        let left = until.saturating_sub(self.clock.monotonic());
        Some((Content { digest: *digest, size: known.size }, left))
    }

    fn look(&mut self, content: Content) -> ControlFlow<()> {
        match self.read(content)? {
            Found::Whole => self.withdrawn.restore(content.digest),
            Found::Rotten(trouble, _) if was_taken_away(&*self.shelf, &trouble) => self.state.listed = None,
            Found::Rotten(trouble, look) => self.withdrawn.add(content.digest, look, &trouble),
            Found::Nothing(trouble) => (self.report)(trouble),
        }
        if let Some(known) = self.state.blobs.get_mut(&content.digest) {
            known.looked = Some(self.clock.monotonic());
        }
        ControlFlow::Continue(())
    }

    fn read(&mut self, content: Content) -> ControlFlow<(), Found> {
        let mut file = match open(&*self.shelf, content) {
            Ok(file) => file,
            Err(trouble) => return ControlFlow::Continue(self.unreadable(content, trouble, None)),
        };
        disk::forget(&file);
        let mut hasher = Hasher::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match file.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => {
                    hasher.update(chunk.get(..read).unwrap_or_default());
                    self.pace(read)?;
                }
                Err(source) => {
                    let trouble = Trouble::BlobRead { digest: content.digest, source };
                    return ControlFlow::Continue(self.unreadable(content, trouble, Some(&file)));
                }
            }
        }
        disk::forget(&file);
        if hasher.finish() == content.digest {
            return ControlFlow::Continue(Found::Whole);
        }
        let trouble = Trouble::BlobDigest(content.digest);
        ControlFlow::Continue(self.unreadable(content, trouble, Some(&file)))
    }

    /// What a trouble says of a blob.
    fn unreadable(&self, content: Content, trouble: Trouble, file: Option<&File>) -> Found {
        if trouble.rotten().is_none() {
            return Found::Nothing(trouble);
        }
        let reopened = || self.shelf.open_blob(&content.digest).ok().flatten();
        let metadata = match file {
            Some(file) => file.metadata().ok(),
            None => reopened().and_then(|file| file.metadata().ok()),
        };
        let look = metadata.map_or(Look::Missing, |metadata| Look::of(&metadata));
        Found::Rotten(trouble, look)
    }

    /// Reads no faster than it may.
    fn pace(&mut self, read: usize) -> ControlFlow<()> {
        let nanoseconds =
            (read as u128).saturating_mul(1_000_000_000) / u128::from(self.policy.bytes_per_second.max(1));
        let pause = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        self.state.owed = self.state.owed.saturating_add(pause);
        if self.state.owed < PAUSE_MIN {
            return ControlFlow::Continue(());
        }
        let owed = std::mem::take(&mut self.state.owed);
        self.wait(owed)
    }
}

/// The blobs that a record says are withdrawn still: the last word on each counts.
#[must_use]
pub fn still_withdrawn(notes: impl Iterator<Item = Note>) -> BTreeSet<Digest> {
    let mut withdrawn = BTreeSet::new();
    for note in notes {
        match note {
            Note::Withdrawn { blob, .. } => withdrawn.insert(blob),
            Note::Restored { blob } => withdrawn.remove(&blob),
        };
    }
    withdrawn
}
