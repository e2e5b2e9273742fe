//! Checks the parts of an archive, each alone and in any order, in one pass over each.
//!
//! Everything in an archive but the content of its blobs follows from the small signed documents that lie on
//! each disc, and so does the place of each blob. So each byte of a part is either compared with what it must
//! be, or hashed as a part of a blob whose digest was signed. A blob that goes on in the next part is hashed on
//! where the part before ended, if that was read before in the same run.
//!
//! Whatever is wrong, the rest of the part is read all the same: its place does not depend on what was read.
//! So one look tells everything that is wrong with a disc. *What it never does:* write to the medium, or hand
//! out a blob as checked before its last byte had passed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use manifests::bundle::{BundleDigest, Content};
use manifests::root::FoundSignature;
use manifests::verify::{CheckedContents, Contents, Damage, Tally};
use manifests::{ArchivePath, BundleManifest, Digest, Hasher, PartsList};

use crate::carried::{Carried, Carry};
use crate::hashing::ManifestKeeper;
use crate::header;
use crate::map::{ArchiveMap, Placed, Ranges, Region};
use crate::reader::BundleReader;
use crate::writer::CHUNK_BYTES;

/// What an optical drive reads at once.
const SECTOR_BYTES: u64 = 2048;

/// After so many unreadable places nothing more is tried: a drive takes minutes for each.
const UNREADABLE_MAX: usize = 8;

/// So many places of damage are told; the others are only counted.
const DAMAGES_MAX: usize = 16;

/// Takes the content of blobs while it is being checked. Nothing of a blob may be used before it was settled.
pub trait Keep {
    /// A piece of a blob starts at byte `from` of its content, and goes on to its end or that of the part.
    ///
    /// # Errors
    /// It cannot be taken.
    fn begin(&mut self, path: &ArchivePath, content: Content, from: u64) -> io::Result<()>;
    /// The next bytes of it.
    ///
    /// # Errors
    /// They cannot be taken.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// The piece ends here.
    ///
    /// # Errors
    /// It cannot be kept.
    fn end(&mut self, piece: Piece) -> io::Result<()>;
}

/// What became of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// The blob was read to its end and has the signed digest.
    Settled,
    /// The blob begins before it or goes on after it: only the whole will tell.
    Open,
    /// It is damaged.
    Damaged,
}

/// Takes nothing: for a check without a copy.
pub struct Nothing;

impl Keep for Nothing {
    fn begin(&mut self, _path: &ArchivePath, _content: Content, _from: u64) -> io::Result<()> {
        Ok(())
    }
    fn write(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }
    fn end(&mut self, _piece: Piece) -> io::Result<()> {
        Ok(())
    }
}

/// What is wrong at one place of a part.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Wrong {
    /// Bytes that follow from the signed documents are others.
    #[error("other bytes than a bundle has there")]
    Bytes,
    /// A blob does not have its digest.
    #[error("it does not have the digest that was signed")]
    Digest,
    /// A blob that began in a part before does not have its digest, though each part is as `parts.json` says.
    #[error("together with the parts before, it does not have the digest that was signed")]
    Joined,
    /// A piece of a blob that goes on in another part is not what `parts.json` says of the part.
    #[error("it is not what parts.json says, and no blob that lies wholly in this part is damaged")]
    Piece,
    /// The signatures in the archive are damaged, or not those of the disc.
    #[error("{0}")]
    Signatures(String),
    /// The medium fails.
    #[error("the medium cannot be read there: {0}")]
    Unreadable(io::Error),
    /// The file is shorter or longer.
    #[error("the file is {found} bytes long, expected {expected}")]
    Size {
        /// Its length.
        found: u64,
        /// That of the part.
        expected: u64,
    },
    /// It is another part of the same set.
    #[error("this is part {0} under another part's name")]
    Swapped(usize),
}

/// One place of damage.
#[derive(Debug)]
pub struct PartDamage {
    /// Bytes of the part, from its first.
    pub range: Range<u64>,
    /// What lies there: `image HOST/PATH:TAG, layer 2`.
    pub what: String,
    /// What is wrong with it.
    pub wrong: Wrong,
}

/// What reading a part has shown.
#[derive(Debug, Default)]
pub struct PartVerdict {
    /// Everything that is wrong, as far as it was looked at; empty for a part that is whole.
    pub damages: Vec<PartDamage>,
    /// How many more places of damage there are.
    pub more: usize,
    /// Bytes of the archive at the part's start that belong to a blob whose beginning was not read in this run.
    pub open: Option<Range<u64>>,
    /// How many bytes only `parts.json` speaks for: of blobs that began before the part or go on after it.
    pub edges: u64,
}

impl PartVerdict {
    /// Whether nothing is wrong with the part itself.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.damages.is_empty()
    }
}

impl PartVerdict {
    /// A line for each place of damage: the part, its bytes, what lies there and what is wrong with it.
    #[must_use]
    pub fn lines(&self, number: usize) -> Vec<String> {
        let line = |damage: &PartDamage| {
            let (first, last) = (damage.range.start, damage.range.end.saturating_sub(1));
            let last = last.max(first);
            let bytes = format!("bytes {} to {}", grouped(first), grouped(last));
            format!("part {number}, {bytes}: {}: {}", damage.what, damage.wrong)
        };
        let mut lines: Vec<String> = self.damages.iter().map(line).collect();
        if self.more > 0 {
            lines.push(format!("part {number}: {} more places", self.more));
        }
        lines
    }
}

/// `1,048,576`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && digits.len().saturating_sub(position) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What an archive must be, from the small files of one disc. Whether they are signed is the caller's to ask.
#[derive(Debug, Clone)]
pub struct Expected {
    map: ArchiveMap,
    bundle: BundleDigest,
    /// Every document whose bytes are known beforehand.
    known: BTreeMap<ArchivePath, Vec<u8>>,
    signatures: Vec<FoundSignature>,
}

impl Expected {
    /// From the documents of a disc, which agree with one another.
    ///
    /// # Errors
    /// None for contents that agree.
    pub fn new(
        manifest_bytes: &[u8],
        manifest: &BundleManifest,
        signatures: &[FoundSignature],
        checksums: &[u8],
        inventory_bytes: &[u8],
        contents: &Contents,
    ) -> Result<Self, Damage> {
        let inventory = contents.inventory();
        let index = inventory.oci_index().map_err(manifests::inventory::InventoryError::Document)?;
        let known = BTreeMap::from([
            (ArchivePath::Manifest, manifest_bytes.to_vec()),
            (ArchivePath::Checksums, checksums.to_vec()),
            (ArchivePath::Inventory, inventory_bytes.to_vec()),
            (ArchivePath::OciLayout, manifests::oci::OCI_LAYOUT.to_vec()),
            (ArchivePath::OciIndex, index),
        ]);
        let mut signatures = signatures.to_vec();
        sort(&mut signatures);
        let map = ArchiveMap::new(manifest_bytes.len() as u64, manifest, inventory);
        Ok(Self { map, bundle: BundleDigest(Digest::of(manifest_bytes)), known, signatures })
    }

    /// Where everything lies.
    #[must_use]
    pub fn map(&self) -> &ArchiveMap {
        &self.map
    }

    /// Whether a list of parts can be one of this archive: its bundle, its length, and a first part that holds
    /// all signatures.
    #[must_use]
    pub fn fits(&self, list: &PartsList) -> bool {
        let first = list.part(1).map_or(0, |part| part.size);
        list.bundle() == self.bundle && list.total() == self.map.total() && first >= self.map.head_bytes()
    }
}

fn sort(signatures: &mut [FoundSignature]) {
    signatures.sort_by(|a, b| (a.claimed, &a.bytes).cmp(&(b.claimed, &b.bytes)));
}

/// An archive whose parts come one after the other.
#[derive(Debug)]
pub struct Assembly {
    expected: Expected,
    tally: Tally,
    carried: Carried,
    /// What an earlier run has kept, and need not be read from the medium again.
    kept: BTreeSet<ArchivePath>,
}

/// A place where reading stopped.
enum Stop {
    Unreadable(Range<u64>, io::Error),
    Ended(u64),
    Keep(io::Error),
}

impl Assembly {
    /// Nothing was read yet.
    #[must_use]
    pub fn new(expected: Expected, contents: Contents) -> Self {
        Self { expected, tally: contents.tally(), carried: Carried::default(), kept: BTreeSet::new() }
    }

    /// What the archive must be.
    #[must_use]
    pub fn expected(&self) -> &Expected {
        &self.expected
    }

    /// What was seen and what was not.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Settles an entry that does not come from a medium in this run: its bytes were kept by an earlier one, or
    /// its pieces were put together, and were hashed again. Its content will not be read from the medium.
    ///
    /// # Errors
    /// They are not the signed ones.
    pub fn settle_kept(
        &mut self,
        path: &ArchivePath,
        found: Content,
        document: Vec<u8>,
    ) -> Result<(), Damage> {
        self.tally.settle(path, found, document)?;
        self.kept.insert(path.clone());
        Ok(())
    }

    /// Settles the documents that follow from the inventory, of a range that an earlier run has read.
    ///
    /// # Errors
    /// None.
    pub fn settle_known(&mut self, path: &ArchivePath) -> Result<(), Damage> {
        let bytes = self.expected.known.get(path).cloned().unwrap_or_default();
        self.settle_kept(path, Content::of(&bytes), Vec::new())
    }

    /// Everything was seen: the contents are checked.
    ///
    /// # Errors
    /// It was not, or a component is not whole.
    pub fn finish(self) -> Result<CheckedContents, Damage> {
        self.tally.finish()
    }

    /// What lies at an offset of the archive, for people.
    #[must_use]
    pub fn name(&self, placed: &Placed) -> String {
        match &placed.region {
            Region::Entry { path: ArchivePath::Blob(digest), .. } => {
                self.tally.role(digest).unwrap_or_else(|| format!("blob {digest}"))
            }
            Region::Entry { path, .. } => path.to_string(),
            Region::Signatures => "the signatures".to_string(),
            Region::End => "the end of the archive".to_string(),
        }
    }

    /// Reads a part once, but for what lies in `done`: that was seen before. `length` is that of its file.
    /// `passed` is told how many bytes have gone by.
    ///
    /// # Errors
    /// What takes the content fails. Whatever is wrong with the part is in the verdict.
    pub fn read_part(
        &mut self,
        (file, length): (File, u64),
        list: &PartsList,
        number: usize,
        done: &Ranges,
        keep: &mut dyn Keep,
        passed: &mut dyn FnMut(u64),
    ) -> io::Result<PartVerdict> {
        let (Some(listed), Some(range)) = (list.part(number), list.range(number)) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is no such part"));
        };
        if length != listed.size {
            let wrong = Wrong::Size { found: length, expected: listed.size };
            let shorter = length.min(listed.size)..listed.size.max(length);
            let first = self.expected.map.within(&(range.start.saturating_add(length)..range.end));
            let what = first.first().map_or("nothing".to_string(), |placed| self.name(placed));
            let damages = vec![PartDamage { range: shorter, what, wrong }];
            return Ok(PartVerdict { damages, ..PartVerdict::default() });
        }
        let source = Source::new(file);
        let verdict = PartVerdict::default();
        let (hasher, carried, pieces) = (Some(Hasher::new()), None, Vec::new());
        let assembly = self;
        let mut pass = Pass { assembly, source, range, done, hasher, carried, verdict, pieces, keep, passed };
        pass.run()?;
        pass.verdict.edges = pass.pieces.iter().fold(0, |sum, (range, _)| sum + (range.end - range.start));
        pass.compare(list, number);
        let Pass { assembly, verdict, carried, .. } = pass;
        if let (true, Some((offset, carry))) = (verdict.is_whole(), carried) {
            assembly.carried.insert(offset, carry);
        }
        Ok(verdict)
    }
}

/// One pass over one part.
struct Pass<'a> {
    assembly: &'a mut Assembly,
    source: Source,
    /// The bytes of the archive that the part is.
    range: Range<u64>,
    /// What need not be read again.
    done: &'a Ranges,
    /// Of the whole part, as long as all of it was read.
    hasher: Option<Hasher>,
    /// How far the blob at the end of the part was hashed.
    carried: Option<(u64, Carry)>,
    verdict: PartVerdict,
    /// The pieces that only the part's own digest speaks for: bytes of the part.
    pieces: Vec<(Range<u64>, String)>,
    keep: &'a mut dyn Keep,
    passed: &'a mut dyn FnMut(u64),
}

impl Pass<'_> {
    fn run(&mut self) -> io::Result<()> {
        let mut unreadable = 0;
        let regions = self.assembly.expected.map.within(&self.range).to_vec();
        let head = self.assembly.expected.map.head_bytes();
        if self.done.covers(&(self.range.start..head)) {
            self.skip_to(head);
        } else if self.range.start < head {
            match self.head(head) {
                Err(Stop::Keep(error)) => return Err(error),
                Err(stop) => {
                    unreadable += usize::from(self.stopped(stop, "the signatures"));
                    self.skip_to(head);
                }
                Ok(()) => {}
            }
        }
        for placed in regions.iter().filter(|placed| placed.range.start >= head) {
            let here = placed.range.start.max(self.range.start)..placed.range.end.min(self.range.end);
            if self.done.covers(&here) {
                self.skip_to(here.end);
                continue;
            }
            let Err(stop) = self.region(placed) else { continue };
            let name = self.assembly.name(placed);
            match stop {
                Stop::Keep(error) => return Err(error),
                stop => unreadable += usize::from(self.stopped(stop, &name)),
            }
            if unreadable >= UNREADABLE_MAX || self.source.ended {
                break;
            }
            self.skip_to(placed.range.end);
        }
        Ok(())
    }

    /// Notes why reading stopped; whether a medium is to blame.
    fn stopped(&mut self, stop: Stop, what: &str) -> bool {
        self.hasher = None;
        match stop {
            Stop::Unreadable(range, error) => {
                self.damage(range, what, Wrong::Unreadable(error));
                true
            }
            Stop::Ended(found) => {
                let expected = self.range.end.saturating_sub(self.range.start);
                self.damage(found..expected, what, Wrong::Size { found, expected });
                false
            }
            Stop::Keep(_) => false,
        }
    }

    fn damage(&mut self, range: Range<u64>, what: &str, wrong: Wrong) {
        if self.verdict.damages.len() < DAMAGES_MAX {
            self.verdict.damages.push(PartDamage { range, what: what.to_string(), wrong });
        } else {
            self.verdict.more = self.verdict.more.saturating_add(1);
        }
    }

    /// Where in the archive the next byte is.
    fn at(&self) -> u64 {
        self.range.start.saturating_add(self.source.at)
    }

    /// A range of the archive as bytes of the part.
    fn local(&self, range: &Range<u64>) -> Range<u64> {
        let local = |offset: u64| offset.clamp(self.range.start, self.range.end) - self.range.start;
        local(range.start)..local(range.end)
    }

    /// Goes on at this offset of the archive, or at the end of the part; what lies between is not read.
    fn skip_to(&mut self, offset: u64) {
        let to = offset.min(self.range.end).saturating_sub(self.range.start);
        if to > self.source.at {
            self.hasher = None;
            (self.passed)(to.saturating_sub(self.source.at));
            self.source.skip_to(to);
        }
    }

    fn take(&mut self, chunk: &mut [u8]) -> Result<(), Stop> {
        self.source.fill(chunk)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(chunk);
        }
        (self.passed)(chunk.len() as u64);
        Ok(())
    }

    /// `bundle.json` and the signatures, which lie in the first part.
    fn head(&mut self, length: u64) -> Result<(), Stop> {
        let mut found = vec![0_u8; usize::try_from(length).unwrap_or(0)];
        self.take(&mut found)?;
        let expected = &self.assembly.expected;
        let manifest = expected.known.get(&ArchivePath::Manifest).cloned().unwrap_or_default();
        let size = manifest.len() as u64;
        let mut entry = header::encode(&ArchivePath::Manifest, size).to_vec();
        entry.extend(manifest);
        entry.resize(usize::try_from(header::entry_bytes(size)).unwrap_or(0), 0);
        let area = entry.len() as u64..length;
        if let Some(range) = difference(&entry, &found) {
            self.damage(range, "bundle.json", Wrong::Bytes);
            return Ok(());
        }
        let reason = match BundleReader::open(found.as_slice()) {
            Err(error) => Some(error.to_string()),
            Ok(mut reader) => match reader.take_odd_form() {
                Some(error) => Some(error.to_string()),
                None => {
                    let mut signatures = reader.head().signatures.clone();
                    sort(&mut signatures);
                    let same = signatures == expected.signatures;
                    (!same).then(|| "they are not the signatures that lie on the disc".to_string())
                }
            },
        };
        if let Some(reason) = reason {
            self.damage(area, "the signatures", Wrong::Signatures(reason));
        }
        Ok(())
    }

    fn region(&mut self, placed: &Placed) -> Result<(), Stop> {
        let Region::Entry { path, content } = &placed.region else {
            return self.exact(&vec![0; 1024], placed.range.start, placed);
        };
        self.exact(&header::encode(path, content.size), placed.range.start, placed)?;
        let bytes = placed.content();
        match self.assembly.expected.known.get(path).cloned() {
            Some(known) => {
                let before = self.verdict.damages.len();
                self.exact(&known, bytes.start, placed)?;
                self.settle_whole(path, placed, before);
            }
            None => self.content(path, *content, placed)?,
        }
        let padding = usize::try_from(header::padding(content.size)).unwrap_or(0);
        self.exact(&vec![0; padding], bytes.end, placed)
    }

    /// A document that was compared: its end lies in this part.
    fn settle_whole(&mut self, path: &ArchivePath, placed: &Placed, damages_before: usize) {
        let ends_here = self.range.contains(&placed.content().end.saturating_sub(1));
        let inside = matches!(path, ArchivePath::OciLayout | ArchivePath::OciIndex);
        let good = self.verdict.damages.len() == damages_before;
        if inside && good && ends_here && !self.assembly.tally.is_settled(path) {
            let known = self.assembly.expected.known.get(path).cloned().unwrap_or_default();
            // Their digests were compared when the contents agreed.
            let _ = self.assembly.tally.settle(path, Content::of(&known), Vec::new());
        }
    }

    /// Compares what lies in this part of bytes that start at an offset of the archive.
    fn exact(&mut self, expected: &[u8], offset: u64, placed: &Placed) -> Result<(), Stop> {
        let end = offset.saturating_add(expected.len() as u64).min(self.range.end);
        let start = offset.max(self.range.start);
        if start >= end {
            return Ok(());
        }
        let cut = |at: u64| usize::try_from(at.saturating_sub(offset)).unwrap_or(usize::MAX);
        let expected = expected.get(cut(start)..cut(end)).unwrap_or_default();
        let mut found = vec![0_u8; expected.len()];
        self.take(&mut found)?;
        if let Some(range) = difference(expected, &found) {
            let base = start.saturating_sub(self.range.start);
            let what = self.assembly.name(placed);
            let range = base.saturating_add(range.start)..base.saturating_add(range.end);
            self.damage(range, &what, Wrong::Bytes);
        }
        Ok(())
    }

    /// What lies in this part of the content of a blob.
    fn content(&mut self, path: &ArchivePath, content: Content, placed: &Placed) -> Result<(), Stop> {
        let bytes = placed.content();
        let here = bytes.start.max(self.range.start)..bytes.end.min(self.range.end);
        if here.start > here.end || self.at() != here.start {
            return Ok(());
        }
        // A part that starts where the content ends has nothing of it. Content of no bytes goes with its header.
        let last = bytes.start.saturating_sub(1);
        if here.is_empty() && !(content.size == 0 && self.range.contains(&last)) {
            return Ok(());
        }
        if self.assembly.kept.contains(path) {
            self.skip_to(here.end);
            return Ok(());
        }
        let whole = here == bytes;
        let state = match here.start == bytes.start {
            true => Some(Carry { hasher: Hasher::new(), document: ManifestKeeper::of_size(content.size) }),
            false => self.assembly.carried.get(here.start),
        };
        let wanted = !self.assembly.tally.is_settled(path);
        if wanted {
            let from = here.start.saturating_sub(bytes.start);
            self.keep.begin(path, content, from).map_err(Stop::Keep)?;
        }
        let state = match self.hashed(&here, wanted, state) {
            Ok(state) => state,
            Err(stop) => {
                if wanted && !matches!(stop, Stop::Keep(_)) {
                    self.keep.end(Piece::Damaged).map_err(Stop::Keep)?;
                }
                return Err(stop);
            }
        };
        let piece = self.piece(path, content, placed, &here, whole, state);
        if wanted { self.keep.end(piece).map_err(Stop::Keep) } else { Ok(()) }
    }

    fn hashed(
        &mut self,
        here: &Range<u64>,
        wanted: bool,
        mut state: Option<Carry>,
    ) -> Result<Option<Carry>, Stop> {
        let mut buffer = std::mem::take(&mut self.source.buffer);
        let mut left = here.end.saturating_sub(here.start);
        let mut result = Ok(());
        while left > 0 && result.is_ok() {
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let chunk = buffer.get_mut(..count).unwrap_or_default();
            result = self.take(chunk);
            if result.is_ok() {
                if let Some(state) = &mut state {
                    state.hasher.update(chunk);
                    state.document.pass(chunk);
                }
                if wanted {
                    result = self.keep.write(chunk).map_err(Stop::Keep);
                }
            }
            left = left.saturating_sub(count as u64);
        }
        self.source.buffer = buffer;
        result.map(|()| state)
    }

    /// A piece was read: is the blob settled by it?
    fn piece(
        &mut self,
        path: &ArchivePath,
        content: Content,
        placed: &Placed,
        here: &Range<u64>,
        whole: bool,
        state: Option<Carry>,
    ) -> Piece {
        let (local, name) = (self.local(here), self.assembly.name(placed));
        if !whole {
            self.pieces.push((local.clone(), name.clone()));
        }
        let Some(state) = state else {
            self.verdict.open = Some(here.clone());
            return Piece::Open;
        };
        if here.end < placed.content().end {
            self.carried = Some((here.end, state));
            return Piece::Open;
        }
        let found = Content { size: state.hasher.size(), digest: state.hasher.finish() };
        let settled = match self.assembly.tally.is_settled(path) {
            true => found == content,
            false => self.assembly.tally.settle(path, found, state.document.finish()).is_ok(),
        };
        if settled {
            // What the signed digest speaks for needs nobody else.
            self.pieces.retain(|(range, _)| *range != local);
            self.assembly.carried.settled(&placed.content());
            return Piece::Settled;
        }
        self.damage(local, &name, if whole { Wrong::Digest } else { Wrong::Joined });
        Piece::Damaged
    }

    /// Compares the part with what the list says of it.
    fn compare(&mut self, list: &PartsList, number: usize) {
        let Some(hasher) = self.hasher.take() else { return };
        let found = Content { size: hasher.size(), digest: hasher.finish() };
        if list.part(number) == Some(found) {
            return;
        }
        let is_other = list.ranges().find(|(other, _)| list.part(*other) == Some(found));
        let all = 0..self.range.end.saturating_sub(self.range.start);
        if let Some((other, _)) = is_other {
            self.verdict.damages.clear();
            self.verdict.more = 0;
            self.damage(all, "everything", Wrong::Swapped(other));
        } else if self.verdict.damages.iter().all(|damage| matches!(damage.wrong, Wrong::Joined)) {
            // The piece that did not fit is as likely the damaged one as any other.
            let pieces = std::mem::take(&mut self.pieces);
            if pieces.is_empty() {
                self.damage(all, "parts.json", Wrong::Piece);
            }
            for (range, name) in pieces {
                if self.verdict.damages.iter().all(|damage| damage.range != range) {
                    self.damage(range, &name, Wrong::Piece);
                }
            }
        }
    }
}

/// The first and the last byte that differ.
fn difference(expected: &[u8], found: &[u8]) -> Option<Range<u64>> {
    let differs = |(expected, found): (&u8, &u8)| expected != found;
    let first = expected.iter().zip(found).position(differs)?;
    let last = expected.iter().zip(found).rposition(differs)?;
    Some(first as u64..(last as u64).saturating_add(1))
}

/// A file that is read forward. Where the medium fails, it is tried once more, sector by sector.
struct Source {
    file: BufReader<File>,
    at: u64,
    /// Up to here the medium is read sector by sector.
    careful: u64,
    ended: bool,
    buffer: Vec<u8>,
}

impl Source {
    fn new(file: File) -> Self {
        let file = BufReader::with_capacity(CHUNK_BYTES, file);
        Self { file, at: 0, careful: 0, ended: false, buffer: vec![0; CHUNK_BYTES] }
    }

    fn skip_to(&mut self, at: u64) {
        let forward = i64::try_from(at.saturating_sub(self.at)).unwrap_or(i64::MAX);
        // A medium that cannot seek cannot be read either: the next read says so.
        let _ = self.file.seek_relative(forward);
        self.at = at;
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Stop> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let read = if self.at < self.careful { self.sector(rest) } else { self.file.read(rest) };
            match read {
                Ok(0) => {
                    self.ended = true;
                    return Err(Stop::Ended(self.at));
                }
                Ok(count) => {
                    filled = filled.saturating_add(count);
                    self.at = self.at.saturating_add(count as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if self.at < self.careful => {
                    let end = self.at.saturating_add(SECTOR_BYTES);
                    let end = end.saturating_sub(end % SECTOR_BYTES);
                    return Err(Stop::Unreadable(self.at..end, error));
                }
                Err(_) => self.careful = self.at.saturating_add(CHUNK_BYTES as u64),
            }
        }
        Ok(())
    }

    /// Reads no further than to the end of the sector, and leaves the file where the next byte is.
    fn sector(&mut self, rest: &mut [u8]) -> io::Result<usize> {
        let left = SECTOR_BYTES.saturating_sub(self.at % SECTOR_BYTES);
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
        let chunk = rest.get_mut(..count).unwrap_or_default();
        let count = self.file.get_ref().read_at(chunk, self.at)?;
        self.file.seek(SeekFrom::Start(self.at.saturating_add(count as u64)))?;
        Ok(count)
    }
}
