//! Copies one file: the source is read once; what lies on the medium already is compared with it, and the rest is
//! written, flushed and read back.
//!
//! What was read is remembered as one digest for each piece, so that a medium that gives back something else is
//! found out without reading the source again.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use edge::progress::Progress;
use layout::disk;
use layout::durable;
use layout::medium;
use layout::reader::{BundleReader, Discard, ReadError};
use layout::split::Tee;
use layout::writer::CHUNK_BYTES;
use manifests::{BundleManifest, Digest, Hasher};
use rustix::fs::OFlags;

use super::plan::{Item, Must, Plan};
use super::survey::{There, partial};
use super::{Became, ReadBack, WriteError};

/// A piece is at least so long; and there are at most [`PIECES_MAX`] of them.
const PIECE_BYTES: u64 = 4 * 1024 * 1024;

/// So that a terabyte is remembered in two megabytes.
const PIECES_MAX: u64 = 65_536;

/// How much is written before the medium has to have it: so that the progress is that of the medium.
const FLUSH_BYTES: u64 = 64 * 1024 * 1024;

/// What reading around the cache has to start at, in memory and in the file.
const ALIGNMENT: usize = 4096;

/// So many places where a medium differs are named.
const DIFFERENCES_MAX: usize = 8;

/// Makes the directories that are not there yet.
pub(super) fn directories(destination: &Path, plan: &Plan) -> Result<(), WriteError> {
    for directory in &plan.directories {
        let path = destination.join(directory);
        match std::fs::DirBuilder::new().mode(0o755).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(WriteError::Write { path, at: 0, source: error });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Everything that is not on the medium yet goes there.
pub(super) fn flush(destination: &Path) -> Result<(), WriteError> {
    let failed = |source| WriteError::Write { path: destination.to_path_buf(), at: 0, source };
    let directory = File::open(destination).map_err(failed)?;
    rustix::fs::syncfs(directory).map_err(|error| failed(error.into()))
}

/// Brings one file onto the medium, or finds it there.
pub(super) fn item(
    destination: &Path,
    item: &Item,
    there: There,
    progress: &mut dyn Progress,
    interrupted: &dyn Fn() -> bool,
) -> Result<super::File, WriteError> {
    let path = destination.join(&item.name);
    let (target, became) = match there {
        There::Whole => (Target::compare(&path)?, Became::WasThere),
        There::Begun(_) => (Target::open(&path, item.bytes)?, Became::Continued),
        There::Nothing => (Target::open(&path, item.bytes)?, Became::Written),
    };
    let mut copy = Copy { target, item, at: 0, whole: Hasher::new(), pieces: Pieces::of(item.bytes) };
    let reader = Reader { file: medium::open(&item.from)?.0, interrupted };
    let passed = |count| progress.advance(count);
    copy.run(reader, passed, interrupted)?;
    copy.finish(path, became, progress, interrupted)
}

/// The digests of the pieces of a file.
struct Pieces {
    length: u64,
    done: Vec<Digest>,
    current: Hasher,
}

impl Pieces {
    fn of(total: u64) -> Self {
        let length = total.div_ceil(PIECES_MAX).next_power_of_two().max(PIECE_BYTES);
        Self { length, done: Vec::new(), current: Hasher::new() }
    }

    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.length.saturating_sub(self.current.size());
            let count = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
            let (now, later) = bytes.split_at(count);
            self.current.update(now);
            if self.current.size() == self.length {
                self.done.push(std::mem::take(&mut self.current).finish());
            }
            bytes = later;
        }
    }

    fn finish(mut self) -> Vec<Digest> {
        if self.current.size() > 0 {
            self.done.push(self.current.finish());
        }
        self.done
    }
}

/// The file on the medium.
enum Target {
    /// It is there and only compared: when everything is read back.
    Whole,
    /// It is being written.
    Partial {
        file: File,
        path: PathBuf,
        /// How much of what an earlier run has left may still be the same.
        left: u64,
        /// How many bytes were written.
        written: u64,
        /// Of these, those that the medium need not have yet.
        unflushed: u64,
    },
}

impl Target {
    fn compare(path: &Path) -> Result<Self, WriteError> {
        medium::open(path)?;
        Ok(Self::Whole)
    }

    fn open(path: &Path, bytes: u64) -> Result<Self, WriteError> {
        let path = partial(path);
        let failed = |source| WriteError::Write { path: path.clone(), at: 0, source };
        let mut options = OpenOptions::new();
        // Never through a link; what an earlier run has left is compared.
        let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o644);
        let file = options.custom_flags(flags).open(&path).map_err(failed)?;
        disk::forget(&file);
        let left = file.metadata().map_err(failed)?.len().min(bytes);
        Ok(Self::Partial { file, path, left, written: 0, unflushed: 0 })
    }

    /// Takes the next bytes, which belong at `at`.
    fn take(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        let Self::Partial { file, left, written, unflushed, .. } = self else { return Ok(()) };
        let same = match at < *left {
            true => same_so_far(file, bytes, at, *left),
            false => 0,
        };
        let rest = bytes.get(same..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        // From the first difference on, nothing of the earlier run counts.
        *left = 0;
        file.write_all_at(rest, at.saturating_add(same as u64))?;
        let count = rest.len() as u64;
        *written = written.saturating_add(count);
        *unflushed = unflushed.saturating_add(count);
        if *unflushed >= FLUSH_BYTES {
            file.sync_data()?;
            *unflushed = 0;
        }
        Ok(())
    }
}

/// How many of these bytes the file has already.
fn same_so_far(file: &File, bytes: &[u8], at: u64, left: u64) -> usize {
    let count = usize::try_from(left.saturating_sub(at)).unwrap_or(usize::MAX).min(bytes.len());
    let mut found = vec![0; count];
    // What cannot be read is written anew.
    if file.read_exact_at(&mut found, at).is_err() {
        return 0;
    }
    found.iter().zip(bytes).position(|(found, wanted)| found != wanted).unwrap_or(count)
}

/// A file that cannot be read any more once somebody has pressed Ctrl-C.
struct Reader<'a> {
    file: File,
    interrupted: &'a dyn Fn() -> bool,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.interrupted)() { Err(io::Error::other("interrupted")) } else { self.file.read(buffer) }
    }
}

struct Copy<'a> {
    target: Target,
    item: &'a Item,
    at: u64,
    whole: Hasher,
    pieces: Pieces,
}

impl Write for Copy<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.target.take(bytes, self.at)?;
        self.whole.update(bytes);
        self.pieces.update(bytes);
        self.at = self.at.saturating_add(bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Copy<'_> {
    /// Reads the source to its end.
    fn run(
        &mut self,
        reader: Reader<'_>,
        mut passed: impl FnMut(u64),
        interrupted: &dyn Fn() -> bool,
    ) -> Result<(), WriteError> {
        let item = self.item;
        let unwritten = Cell::new(None);
        let source = BufReader::with_capacity(CHUNK_BYTES, reader);
        let tee = Tee::new(source, &mut *self, &unwritten);
        let copied = match item.must {
            Must::Archive => checked(tee, &item.from, &mut passed),
            _ => plain(tee, &item.from, &mut passed),
        };
        if interrupted() {
            return Err(WriteError::Interrupted);
        }
        if let Some(source) = unwritten.take() {
            return Err(self.unwritten(source));
        }
        copied?;
        if self.at != item.bytes {
            let source = io::Error::other("its length has changed");
            return Err(WriteError::Source { path: item.from.clone(), at: self.at, source });
        }
        match item.must {
            Must::Have(digest, by) if self.whole.clone().finish() != digest => {
                Err(WriteError::Listed { path: item.from.clone(), by })
            }
            _ => Ok(()),
        }
    }

    /// Why the medium has not taken something.
    fn unwritten(&self, source: io::Error) -> WriteError {
        let path = match &self.target {
            Target::Partial { path, .. } => path.clone(),
            Target::Whole => self.item.name.clone(),
        };
        if source.kind() == io::ErrorKind::FileTooLarge {
            let (file, size) = (self.item.name.clone(), self.item.bytes);
            let path = path.parent().map(Path::to_path_buf).unwrap_or_default();
            return WriteError::Fat { path, file, size };
        }
        WriteError::Write { path, at: self.at, source }
    }

    /// Everything was read and, where it was not there, written: flushes, reads back and gives the file its name.
    fn finish(
        self,
        path: PathBuf,
        became: Became,
        progress: &mut dyn Progress,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<super::File, WriteError> {
        let Self { target, item, whole, pieces, .. } = self;
        let (bytes, length) = (item.bytes, pieces.length);
        let wanted = pieces.finish();
        let (place, written) = match target {
            Target::Whole => (path.clone(), 0),
            Target::Partial { file, path: place, written, .. } => {
                let failed = |source| WriteError::Write { path: place.clone(), at: bytes, source };
                // Some file systems cannot do it, and what was just written is as long as it should be.
                let found = file.metadata().map_err(failed)?.len();
                let cut = if found == bytes { Ok(()) } else { file.set_len(bytes) };
                cut.and_then(|()| file.sync_all()).map_err(failed)?;
                (place, written)
            }
        };
        let mut back = Back::open(&place)?;
        let mut found = Pieces::of(bytes);
        back.read(&place, bytes, &mut |chunk| {
            found.update(chunk);
            progress.advance(chunk.len() as u64);
            if interrupted() { Err(WriteError::Interrupted) } else { Ok(()) }
        })?;
        let found = found.finish();
        if found != wanted {
            let (ranges, more) = differences(&place, &item.from, bytes, length, (&found, &wanted));
            return Err(match became {
                Became::WasThere => WriteError::Stale { path, ranges, more },
                _ => WriteError::Differs { path: place, ranges, more },
            });
        }
        if place != path {
            let failed = |source| WriteError::Write { path: path.clone(), at: bytes, source };
            durable::rename_new(&place, &path).map_err(failed)?;
            let directory = path.parent().unwrap_or(Path::new("."));
            durable::flush_directory(directory).map_err(failed)?;
        }
        let read_back = back.how();
        Ok(super::File { path: item.name.clone(), bytes, digest: whole.finish(), became, written, read_back })
    }
}

/// Reads an archive once and checks every byte of it.
fn checked(input: impl Read, path: &Path, passed: &mut dyn FnMut(u64)) -> Result<(), WriteError> {
    let damaged = |source| WriteError::Rotten { path: path.to_path_buf(), source };
    let mut reader = BundleReader::open(input).map_err(damaged)?;
    let manifest = BundleManifest::from_bytes(&reader.head().manifest)
        .map_err(|source| WriteError::Manifest { path: path.to_path_buf(), source })?;
    let (contents, _) = reader.contents(&manifest).map_err(damaged)?;
    let streamed: Result<_, ReadError> = reader.stream(contents, &mut Discard, passed);
    streamed.map(|_| ()).map_err(damaged)
}

fn plain(mut input: impl Read, path: &Path, passed: &mut dyn FnMut(u64)) -> Result<(), WriteError> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut at = 0_u64;
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                at = at.saturating_add(count as u64);
                passed(count as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(WriteError::Source { path: path.to_path_buf(), at, source }),
        }
    }
}

/// Reads a file from its medium, and not from memory where that can be helped.
struct Back {
    file: File,
    direct: bool,
}

impl Back {
    fn open(path: &Path) -> Result<Self, WriteError> {
        let (file, _) = medium::open(path)?;
        disk::forget(&file);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::DIRECT;
        match rustix::fs::open(path, flags, rustix::fs::Mode::empty()) {
            Ok(direct) => Ok(Self { file: File::from(direct), direct: true }),
            // A file system that has no such thing.
            Err(_) => Ok(Self { file, direct: false }),
        }
    }

    fn how(&self) -> ReadBack {
        if self.direct { ReadBack::Direct } else { ReadBack::CacheDropped }
    }

    /// Hands out every byte.
    fn read(
        &mut self,
        path: &Path,
        bytes: u64,
        take: &mut dyn FnMut(&[u8]) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        let mut memory = vec![0_u8; CHUNK_BYTES.saturating_add(ALIGNMENT)];
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        let mut at = 0_u64;
        while at < bytes {
            let buffer = memory.get_mut(start..start.saturating_add(CHUNK_BYTES)).unwrap_or_default();
            let count = match self.file.read_at(buffer, at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // It could be opened so, but not read.
                Err(error) if self.direct && error.kind() == io::ErrorKind::InvalidInput => {
                    let (file, _) = medium::open(path)?;
                    disk::forget(&file);
                    *self = Self { file, direct: false };
                    continue;
                }
                other => other.map_err(|source| WriteError::ReadBack { path: path.into(), at, source })?,
            };
            if count == 0 {
                let source = io::ErrorKind::UnexpectedEof.into();
                return Err(WriteError::ReadBack { path: path.into(), at, source });
            }
            let left = usize::try_from(bytes.saturating_sub(at)).unwrap_or(usize::MAX);
            let count = count.min(left);
            take(buffer.get(..count).unwrap_or_default())?;
            at = at.saturating_add(count as u64);
            // Around the cache a file is read in whole blocks: only its end is not one.
            if self.direct && count % ALIGNMENT != 0 && at < bytes {
                let (file, _) = medium::open(path)?;
                disk::forget(&file);
                *self = Self { file, direct: false };
            }
        }
        Ok(())
    }
}

/// Where a file on the medium differs from its source, within the pieces that do; and how many more places there
/// are.
fn differences(
    place: &Path,
    source: &Path,
    bytes: u64,
    length: u64,
    (found, wanted): (&[Digest], &[Digest]),
) -> (Vec<Range<u64>>, usize) {
    let mut ranges = Vec::new();
    let mut more = 0_usize;
    for (start, (found, wanted)) in
        (0..bytes).step_by(usize::try_from(length).unwrap_or(1)).zip(found.iter().zip(wanted))
    {
        if found == wanted {
            continue;
        }
        if ranges.len() == DIFFERENCES_MAX {
            more = more.saturating_add(1);
            continue;
        }
        let piece = start..start.saturating_add(length).min(bytes);
        ranges.push(difference(place, source, &piece).unwrap_or(piece));
    }
    (ranges, more)
}

/// The first and the last byte of a piece that differ, if both files can be read.
fn difference(place: &Path, source: &Path, piece: &Range<u64>) -> Option<Range<u64>> {
    let (place, source) = (Back::open(place).ok()?.file, medium::open(source).ok()?.0);
    let (mut first, mut last, mut at) = (None, None, piece.start);
    let mut memory = vec![0_u8; CHUNK_BYTES.saturating_add(ALIGNMENT)];
    let mut wanted = vec![0_u8; CHUNK_BYTES];
    let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
    while at < piece.end {
        let left = usize::try_from(piece.end.saturating_sub(at)).unwrap_or(usize::MAX);
        let found = memory.get_mut(start..start.saturating_add(CHUNK_BYTES))?;
        let count = place.read_at(found, at).ok()?.min(left);
        let count = source.read_at(wanted.get_mut(..count)?, at).ok()?;
        if count == 0 {
            break;
        }
        let pairs = || found.iter().zip(&wanted).take(count);
        let differs = |(found, wanted): (&u8, &u8)| found != wanted;
        first = first.or(pairs().position(differs).map(|position| at.saturating_add(position as u64)));
        let here = pairs().enumerate().rfind(|(_, pair)| differs(*pair));
        last = here.map(|(position, _)| at.saturating_add(position as u64)).or(last);
        at = at.saturating_add(count as u64);
    }
    Some(first?..last?.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge::progress::Silent;

    const BYTES: usize = 9_000_000;

    #[test]
    fn what_a_medium_gives_back_changed_is_named_by_its_bytes_and_gets_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let (from, path) = (dir.path().join("from"), dir.path().join("x"));
        let content: Vec<u8> = (0..BYTES).map(|at| (at * 31 / 7) as u8).collect();
        std::fs::write(&from, &content).unwrap();
        let bytes = BYTES as u64;
        let item = Item { from: from.clone(), name: "x".into(), bytes, must: Must::Anything };
        let target = Target::open(&path, bytes).unwrap();
        let mut copy = Copy { target, item: &item, at: 0, whole: Hasher::new(), pieces: Pieces::of(bytes) };
        let reader = Reader { file: File::open(&from).unwrap(), interrupted: &|| false };
        copy.run(reader, |_| {}, &|| false).unwrap();
        // A stick that keeps something else.
        let file = OpenOptions::new().write(true).open(partial(&path)).unwrap();
        for range in [5_000_000..5_000_001, 8_900_000..8_900_100] {
            let changed: Vec<u8> = content[range.clone()].iter().map(|byte| byte ^ 1).collect();
            file.write_all_at(&changed, range.start as u64).unwrap();
        }
        let error = copy.finish(path.clone(), Became::Written, &mut Silent, &|| false).unwrap_err();
        let WriteError::Differs { ranges, more, .. } = error else { panic!("{error:?}") };
        assert_eq!((ranges.as_slice(), more), ([5_000_000..5_000_001, 8_900_000..8_900_100].as_slice(), 0));
        assert!(!path.exists());
    }

    #[test]
    fn a_terabyte_is_remembered_in_few_pieces() {
        assert_eq!(Pieces::of(1).length, PIECE_BYTES);
        for total in [1 << 38, (1 << 38) + 1, 1 << 40, u64::MAX / 4] {
            assert!(total.div_ceil(Pieces::of(total).length) <= PIECES_MAX, "{total}");
        }
    }
}
