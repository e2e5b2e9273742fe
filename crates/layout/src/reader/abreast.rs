//! Reading what follows the documents in several places at the same time. Where each entry lies follows from the signed
//! sizes before it, so whoever looks there finds the header that belongs there or an error; nothing is looked for.
//!
//! Each of a few workers takes the next entries that nobody has taken, reads, hashes and hands on their bytes, and tells
//! what it saw. One place ticks all of it off in the order of the archive, as if it had been read in that order: the
//! same checks, the same errors, the first one first. What a worker saw of a later entry is never looked at before.
//!
//! *What this module may never do:* take an entry for checked because a worker says so. It only hands on what was read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Mutex, PoisonError};

use manifests::ArchivePath;
use manifests::bundle::Content;
use manifests::verify::{CheckedContents, Checklist, Contents, MaybeManifest};

use super::cursor::Cursor;
use super::{ReadError, Sink, Sinks};
use crate::header;
use crate::writer::CHUNK_BYTES;

/// A worker takes so many bytes at least, if there are as many: small files are not worth a turn each.
const TURN_BYTES: u64 = 1024 * 1024;

/// So many pieces of news wait for the one who ticks off.
const NEWS_MAX: usize = 64;

/// A file of which several places can be read at the same time.
pub trait Places: Sync {
    /// Reads what is at `offset`, as much as it likes; nothing at the end.
    ///
    /// # Errors
    /// The medium fails.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl Places for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }
}

/// An entry, and where its header is.
struct Entry {
    offset: u64,
    path: ArchivePath,
    content: Content,
}

impl Entry {
    fn end(&self) -> u64 {
        self.offset.saturating_add(header::entry_bytes(self.content.size))
    }
}

fn entries(contents: &Contents, from: u64) -> Vec<Entry> {
    let mut offset = from;
    let place = |(path, content)| {
        let entry = Entry { offset, path, content };
        offset = entry.end();
        entry
    };
    contents.inventory().contents().map(place).collect()
}

/// What a worker saw of an entry. Thousands of them may wait for one that is large.
enum Seen {
    /// What belongs there, and its bytes if they may be a manifest.
    Right(MaybeManifest),
    /// Anything else, as far as it came.
    Wrong(Box<Wrong>),
}

/// What is wrong with an entry; the first of these that there is.
enum Wrong {
    /// Another header than the one that belongs there.
    Header(ArchivePath, u64),
    /// Another content, and where it ended.
    Content(Content, u64),
    /// What belongs there, and what became of it then.
    Rest(Content, u64, ReadError),
    /// It could not be read to its end.
    Unread(ReadError),
}

/// What a worker tells: how many bytes have gone by since it told last, and each entry that it is through with.
struct News {
    passed: u64,
    seen: Vec<(usize, Seen)>,
}

/// One who ticks off has gone: there was an error before.
struct Gone;

/// What the workers share.
struct Crew<'a> {
    file: &'a dyn Places,
    entries: &'a [Entry],
    /// The first entry that nobody has taken; none once something was wrong, as all before it are taken.
    next: Mutex<Option<usize>>,
    /// Nobody wants to know any more.
    over: AtomicBool,
}

impl<'a> Crew<'a> {
    fn section(&'a self, at: u64, to: u64) -> Section<'a> {
        Section { file: self.file, at, to, over: &self.over }
    }
}

impl Crew<'_> {
    fn claim(&self) -> Option<Range<usize>> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let (from, mut to, mut bytes) = ((*next)?, (*next)?, 0_u64);
        while bytes < TURN_BYTES
            && let Some(entry) = self.entries.get(to)
        {
            bytes = bytes.saturating_add(header::entry_bytes(entry.content.size));
            to = to.saturating_add(1);
        }
        *next = Some(to).filter(|to| *to < self.entries.len());
        (from < to).then_some(from..to)
    }

    fn close(&self) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn work(&self, sink: &mut dyn Sink, news: &SyncSender<News>) -> Result<(), Gone> {
        while let Some(turn) = self.claim() {
            let mine = self.entries.get(turn.clone()).unwrap_or_default();
            let (Some(first), Some(last)) = (mine.first(), mine.last()) else { return Ok(()) };
            let section = self.section(first.offset, last.end());
            let mut cursor = Cursor::new(BufReader::with_capacity(CHUNK_BYTES, section), first.offset);
            let mut told = Told { news, passed: 0 };
            let mut seen = Vec::new();
            for (number, entry) in turn.zip(mine) {
                match look(&mut cursor, entry, sink, &mut told) {
                    Ok(document) => seen.push((number, Seen::Right(document))),
                    Err(wrong) => {
                        seen.push((number, Seen::Wrong(Box::new(wrong))));
                        self.close();
                        break;
                    }
                }
            }
            told.tell(seen)?;
        }
        Ok(())
    }
}

/// What a worker has not told yet.
struct Told<'a> {
    news: &'a SyncSender<News>,
    passed: u64,
}

impl Told<'_> {
    fn passed(&mut self, count: u64) {
        self.passed = self.passed.saturating_add(count);
        if self.passed >= TURN_BYTES {
            // If there is nobody to tell, the next read says so.
            let _ = self.tell(Vec::new());
        }
    }

    fn tell(&mut self, seen: Vec<(usize, Seen)>) -> Result<(), Gone> {
        let passed = std::mem::take(&mut self.passed);
        self.news.send(News { passed, seen }).map_err(|_| Gone)
    }
}

/// Reads one entry, and tells its bytes if they may be a manifest. They are kept only if they are the signed ones.
fn look(
    cursor: &mut Cursor<BufReader<Section<'_>>>,
    entry: &Entry,
    sink: &mut dyn Sink,
    told: &mut Told<'_>,
) -> Result<MaybeManifest, Wrong> {
    let (path, size) = cursor.header("a header").map_err(Wrong::Unread)?;
    if path != entry.path || size != entry.content.size {
        return Err(Wrong::Header(path, size));
    }
    let mut passed = |count| told.passed(count);
    let passing = cursor.content(&entry.path, entry.content.size, sink, &mut passed);
    let (found, document) = passing.map_err(Wrong::Unread)?;
    let end = cursor.offset();
    if found != entry.content {
        return Err(Wrong::Content(found, end));
    }
    // Others wait until all before them is ticked off: no more of them than is kept anyway.
    let document = MaybeManifest::of(document);
    let kept = sink.end(found).map_err(|source| ReadError::Sink { path: entry.path.clone(), source });
    let rest = kept.and_then(|()| cursor.zeros(header::padding(entry.content.size), "between entries"));
    rest.map_err(|error| Wrong::Rest(found, end, error)).map(|()| document)
}

/// Reads from where the first entry after the documents begins to the end.
pub(super) fn stream<S: Sinks>(
    (from, file): (u64, &dyn Places),
    workers: usize,
    contents: Contents,
    sinks: &S,
    passed: &mut dyn FnMut(u64),
) -> Result<CheckedContents, ReadError> {
    let entries = entries(&contents, from);
    let crew = Crew { file, entries: &entries, next: Mutex::new(Some(0)), over: AtomicBool::new(false) };
    let mut checklist = contents.checklist();
    std::thread::scope(|scope| {
        let (sender, news) = mpsc::sync_channel(NEWS_MAX);
        for _ in 0..workers.min(entries.len()) {
            let (crew, sender) = (&crew, sender.clone());
            scope.spawn(move || crew.work(&mut sinks.sink(), &sender));
        }
        drop(sender);
        tick_off(&entries, &news, &mut checklist, passed).inspect_err(|_| {
            crew.close();
            crew.over.store(true, Ordering::Relaxed);
        })
    })?;
    let end = entries.last().map_or(from, Entry::end);
    let mut cursor = Cursor::new(BufReader::new(crew.section(end, u64::MAX)), end);
    cursor.end()?;
    checklist.finish().map_err(|damage| ReadError::Damaged { offset: cursor.offset(), damage })
}

/// In the order of the archive, whatever comes first.
fn tick_off(
    entries: &[Entry],
    news: &Receiver<News>,
    checklist: &mut Checklist,
    passed: &mut dyn FnMut(u64),
) -> Result<(), ReadError> {
    let mut waiting = BTreeMap::new();
    let mut next = 0;
    for News { passed: count, seen } in news {
        passed(count);
        waiting.extend(seen);
        while let Some(seen) = waiting.remove(&next) {
            if let Some(entry) = entries.get(next) {
                tick(entry, seen, checklist)?;
            }
            next = next.saturating_add(1);
        }
    }
    Ok(())
}

fn tick(entry: &Entry, seen: Seen, checklist: &mut Checklist) -> Result<(), ReadError> {
    let damaged = |offset, damage| ReadError::Damaged { offset, damage };
    let mut begin = |path: &ArchivePath, size| {
        checklist.begin(path, size).map_err(|damage| damaged(entry.offset, damage))
    };
    let end = entry.offset.saturating_add(header::BLOCK_BYTES).saturating_add(entry.content.size);
    let (found, document, end, rest) = match seen {
        Seen::Right(document) => (entry.content, Some(document), end, Ok(())),
        Seen::Wrong(wrong) => match *wrong {
            Wrong::Unread(error) => return Err(error),
            Wrong::Header(path, size) => return begin(&path, size),
            Wrong::Content(found, end) => (found, None, end, Ok(())),
            Wrong::Rest(found, end, error) => (found, None, end, Err(error)),
        },
    };
    begin(&entry.path, entry.content.size)?;
    checklist.settle(found).map_err(|damage| damaged(end, damage))?;
    if let Some(document) = document {
        checklist.remember(found.digest, document);
    }
    rest
}

/// A stretch of a file.
struct Section<'a> {
    file: &'a dyn Places,
    at: u64,
    to: u64,
    over: &'a AtomicBool,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.over.load(Ordering::Relaxed) {
            return Err(io::Error::other("an entry before this one was refused"));
        }
        let left = usize::try_from(self.to.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let count = self.file.read_at(buffer.get_mut(..wanted).unwrap_or_default(), self.at)?;
        self.at = self.at.saturating_add(count as u64);
        Ok(count)
    }
}
