//! From a packed lock to an archive at its destination: the space is there before the first byte is
//! written, and the file has a name only when it is whole.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use edge::progress::Progress;
use edge::show::bytes;
use edge::{Classified, Exit};
use layout::split::PartsWriter;
use layout::writer::{ArchiveWriter, WriteError};
use manifests::bundle::Content;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::cache::Partial;
use crate::lock::{BundleLock, LockedBlob, Origin};
use crate::pack::Packed;
use crate::sources::images::{docker_archive, docker_daemon, pull, tar_index};
use crate::sources::wheels::fetch::{FetchError, Fetcher};
use crate::sources::wheels::{Class, fetch};
use crate::sources::{World, charts, closure};

/// Before each blob.
const HEADER_BYTES: u64 = 512;

/// Why an archive could not be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// There is something already.
    #[error("{} is there already", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// It would not fit.
    #[error("{} has {} free, the bundle needs {}", path.display(), bytes(*free), bytes(*needed))]
    Space {
        /// The directory.
        path: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that the archive needs.
        needed: u64,
    },
    /// The destination cannot be written to.
    #[error("cannot write to {}", path.display())]
    Destination {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The writing broke off.
    #[error("{} was not written", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        source: WriteError,
    },
    /// What the lock names could not be fetched from its server.
    #[error("the archive was not begun")]
    Fetch {
        /// What, and why not.
        source: FetchError,
    },
    /// The lock has an address that is none.
    #[error("the lock has an address that cannot be followed")]
    Address {
        /// What is wrong with it.
        source: io::Error,
    },
    /// Somebody pressed Ctrl-C.
    #[error("interrupted; nothing was left at {}", path.display())]
    Interrupted {
        /// Where.
        path: PathBuf,
    },
}

impl Classified for ExportError {
    fn exit(&self) -> Exit {
        match self {
            Self::Exists { .. } => Exit::Usage,
            Self::Write { source, .. } if is_damage(source) => Exit::Damaged,
            Self::Fetch { source } if source.class() == Class::Damaged => Exit::Damaged,
            Self::Interrupted { .. } => Exit::Unexpected,
            _ => Exit::Unreachable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Exists { .. } => {
                Some("move it away or choose another --out: it may hold signatures".to_string())
            }
            Self::Fetch { source } => source.hint(),
            Self::Space { .. } => Some("free some space or choose another --out".to_string()),
            Self::Write { source, .. } if is_damage(source) => {
                Some("the source has changed since it was locked: run `bundler lock` again".to_string())
            }
            _ => None,
        }
    }
}

/// Whether a source gave other bytes than were locked. Readers that check digests say so with the kind of
/// their error, registries with an error of their own.
fn is_damage(error: &WriteError) -> bool {
    match error {
        WriteError::Changed { .. } => true,
        WriteError::Source { source, .. } => {
            let registry = source.get_ref().and_then(|error| error.downcast_ref::<registry::RegistryError>());
            source.kind() == io::ErrorKind::InvalidData
                || registry.is_some_and(registry::RegistryError::is_damage)
        }
        _ => false,
    }
}

/// Writes the archive.
///
/// # Errors
/// See [`ExportError`]; nothing is left at the destination then.
pub fn export(
    destination: &Path,
    packed: &Packed,
    lock: &BundleLock,
    world: &World<'_>,
    progress: &mut dyn Progress,
    interrupted: &dyn Fn() -> bool,
) -> Result<u64, ExportError> {
    let path = destination.to_path_buf();
    if destination.symlink_metadata().is_ok() {
        return Err(ExportError::Exists { path });
    }
    let directory =
        destination.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let needed = archive_bytes(packed);
    check_space(directory, needed)?;
    let unwritable = |source| ExportError::Destination { path: directory.to_path_buf(), source };
    fetch_missing(lock, packed, world)?;
    let file = Unnamed::create(directory).map_err(unwritable)?;
    let mut places = Vec::new();
    let out = file.file();
    if let Err(error) = write(&path, out, packed, lock, world, progress, interrupted, &mut places) {
        if error.exit() != Exit::Damaged {
            rescue(file.file(), &places, lock, world);
        }
        return Err(error);
    }
    file.name(destination).map_err(|source| ExportError::Destination { path, source })?;
    Ok(needed)
}

/// The length of the archive.
#[must_use]
pub fn archive_bytes(packed: &Packed) -> u64 {
    let head = &packed.head;
    let (manifest, checksums, inventory) = (head.manifest.len(), head.checksums.len(), head.inventory.len());
    layout::writer::archive_bytes(manifest as u64, checksums as u64, inventory as u64, &packed.inventory)
}

/// Writes the archive straight into parts. `destination` is only named in messages.
///
/// # Errors
/// See [`ExportError`].
pub fn export_parts(
    destination: &Path,
    parts: &mut PartsWriter,
    packed: &Packed,
    lock: &BundleLock,
    world: &World<'_>,
    progress: &mut dyn Progress,
    interrupted: &dyn Fn() -> bool,
) -> Result<(), ExportError> {
    fetch_missing(lock, packed, world)?;
    let mut places = Vec::new();
    let written = write(destination, &mut *parts, packed, lock, world, progress, interrupted, &mut places);
    if let Err(error) = &written
        && error.exit() != Exit::Damaged
    {
        rescue(&*parts, &places, lock, world);
    }
    written
}

/// Writes the archive to where it goes, and notes in `places` where the content of each blob starts.
#[expect(clippy::too_many_arguments, reason = "all that an archive is made of, and who is told about it")]
fn write<W: Write>(
    path: &Path,
    out: W,
    packed: &Packed,
    lock: &BundleLock,
    world: &World<'_>,
    progress: &mut dyn Progress,
    interrupted: &dyn Fn() -> bool,
    places: &mut Vec<(Content, u64)>,
) -> Result<(), ExportError> {
    let failed = |source| {
        if interrupted() {
            ExportError::Interrupted { path: path.to_path_buf() }
        } else {
            ExportError::Write { path: path.to_path_buf(), source }
        }
    };
    let written = Cell::new(0_u64);
    let out = BufWriter::with_capacity(layout::writer::CHUNK_BYTES, out);
    let out = Counted { out, written: &written };
    let mut writer = ArchiveWriter::begin(out, &packed.head).map_err(failed)?;
    let mut blobs = || -> Result<(), ExportError> {
        for content in &packed.inventory.blobs {
            places.push((*content, written.get().saturating_add(HEADER_BYTES)));
            let open = lock.blobs.get(&content.digest).map_or_else(
                || Err(io::Error::new(io::ErrorKind::NotFound, "it is not in the lock")),
                |blob| open(*content, blob, world),
            );
            let source =
                open.map_err(|source| failed(WriteError::Source { digest: content.digest, source }))?;
            let mut source = Stoppable { source, interrupted };
            writer.blob(*content, &mut source, &mut |count| progress.advance(count)).map_err(failed)?;
        }
        Ok(())
    };
    // A writer that is dropped flushes what is there.
    blobs()?;
    writer.finish().map_err(failed).map(|_| ())
}

/// An archive that was begun and can be read.
trait Begun {
    /// How much of it is there.
    fn length(&self) -> u64;
    /// Reads at an offset.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl Begun for File {
    fn length(&self) -> u64 {
        self.metadata().map_or(0, |metadata| metadata.len())
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }
}

impl Begun for PartsWriter {
    fn length(&self) -> u64 {
        self.written()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Self::read_at(self, buffer, offset)
    }
}

/// Counts what passes.
struct Counted<'a, W> {
    out: W,
    written: &'a Cell<u64>,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.written.set(self.written.get().saturating_add(count as u64));
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Of an archive that will not be finished, what came from registries goes into the cache: whole blobs as such,
/// the last one as what the next run goes on from. Nobody is told if that fails, because nothing is lost then
/// but time.
fn rescue(archive: &dyn Begun, places: &[(Content, u64)], lock: &BundleLock, world: &World<'_>) {
    let length = archive.length();
    let last = places.last().map(|(content, _)| content.digest);
    for (content, start) in places {
        let fetched = lock.blobs.get(&content.digest).map(|blob| &blob.from);
        let there = length.saturating_sub(*start).min(content.size);
        if there > 0 && matches!(fetched, Some(Origin::Registry(_))) {
            // A blob that is followed by another one was whole, and its digest right.
            let verified = last != Some(content.digest);
            let _ = saved(archive, *start, there, *content, verified, world);
        }
    }
}

fn saved(
    archive: &dyn Begun,
    start: u64,
    there: u64,
    content: Content,
    verified: bool,
    world: &World<'_>,
) -> io::Result<()> {
    // What is there whole was taken from there, or need not be saved.
    if world.cache.open(&content)?.is_some() {
        return Ok(());
    }
    let Some(mut partial) = world.cache.partial(&content)?.filter(Partial::is_empty) else { return Ok(()) };
    let mut buffer = vec![0_u8; layout::writer::CHUNK_BYTES];
    let mut done = 0_u64;
    while done < there {
        let left = usize::try_from(there.saturating_sub(done)).unwrap_or(usize::MAX).min(buffer.len());
        let count =
            archive.read_at(buffer.get_mut(..left).unwrap_or_default(), start.saturating_add(done))?;
        if count == 0 {
            break;
        }
        partial.append(buffer.get(..count).unwrap_or_default())?;
        done = done.saturating_add(count as u64);
    }
    if verified && done == content.size { partial.finish() } else { Ok(()) }
}

fn check_space(directory: &Path, needed: u64) -> Result<(), ExportError> {
    let path = directory.to_path_buf();
    let stat = rustix::fs::statvfs(directory)
        .map_err(|error| ExportError::Destination { path: path.clone(), source: error.into() })?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < needed { Err(ExportError::Space { path, free, needed }) } else { Ok(()) }
}

/// A file that has no name until it is whole: a run that is killed leaves nothing behind. Where the file
/// system cannot do that (FAT), a hidden name of its own that is removed on failure.
enum Unnamed {
    Nameless(File),
    Hidden(tempfile::NamedTempFile),
}

impl Unnamed {
    fn create(directory: &Path) -> io::Result<Self> {
        let mode = Mode::from_raw_mode(0o644);
        match rustix::fs::open(directory, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode) {
            Ok(descriptor) => Ok(Self::Nameless(File::from(descriptor))),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => {
                tempfile::Builder::new().prefix(".bundle-").tempfile_in(directory).map(Self::Hidden)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn file(&self) -> &File {
        match self {
            Self::Nameless(file) => file,
            Self::Hidden(file) => file.as_file(),
        }
    }

    /// Never takes the place of what is there.
    fn name(self, destination: &Path) -> io::Result<()> {
        self.file().sync_all()?;
        match self {
            Self::Nameless(file) => {
                use std::os::fd::AsRawFd;
                let descriptor = format!("/proc/self/fd/{}", file.as_raw_fd());
                rustix::fs::linkat(CWD, descriptor.as_str(), CWD, destination, AtFlags::SYMLINK_FOLLOW)?;
            }
            Self::Hidden(file) => {
                file.persist_noclobber(destination).map_err(|error| error.error)?;
            }
        }
        let parent = destination.parent().filter(|parent| !parent.as_os_str().is_empty());
        layout::durable::flush_directory(parent.unwrap_or(Path::new(".")))
    }
}

/// Stops between two reads when somebody asked for it.
struct Stoppable<'a> {
    source: Box<dyn Read>,
    interrupted: &'a dyn Fn() -> bool,
}

impl Read for Stoppable<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.interrupted)() {
            return Err(io::Error::other("interrupted"));
        }
        self.source.read(buffer)
    }
}

/// Opens a blob: in the cache if it is there, else where the lock says.
///
/// # Errors
/// It is in neither place.
pub fn open(content: Content, blob: &LockedBlob, world: &World<'_>) -> io::Result<Box<dyn Read>> {
    if let Origin::Inline(text) = &blob.from {
        return Ok(Box::new(io::Cursor::new(text.clone().into_bytes())));
    }
    if let Some(file) = world.cache.open(&content)? {
        return Ok(Box::new(file));
    }
    match &blob.from {
        Origin::Inline(_) => Err(io::Error::other("handled above")),
        Origin::File(path) => Ok(Box::new(File::open(world.path(path)).map_err(named(path))?)),
        Origin::Slice(slice) => {
            let opened = tar_index::open_slice(&world.path(&slice.file), slice);
            Ok(Box::new(opened.map_err(named(&slice.file))?))
        }
        Origin::Gzip(slice) => {
            docker_archive::compress(world, slice).map_err(named(&slice.file))?;
            again(content, world).map_err(named(&slice.file))
        }
        Origin::Daemon(name) => {
            docker_daemon::open(name, world).map_err(io::Error::other)?;
            again(content, world)
        }
        Origin::PackedChart(directory) => {
            charts::pack(&world.path(directory), directory, world).map_err(io::Error::other)?;
            again(content, world).map_err(named(directory))
        }
        Origin::Registry(place) => pull::blob(world, place, content),
        Origin::RegistryManifest(place) => {
            let raw = pull::manifest(world, place, &content.digest.into()).map_err(io::Error::other)?;
            Ok(Box::new(io::Cursor::new(raw.bytes)))
        }
        Origin::Url(_) => {
            Err(io::Error::new(io::ErrorKind::NotFound, "it was fetched and is gone from the cache"))
        }
        Origin::BuiltWheel(built) => {
            let path = built.url.split('?').next().unwrap_or_default();
            let name = PathBuf::from(path.rsplit('/').next().unwrap_or_default());
            closure::rebuild(built, world).map_err(io::Error::other)?;
            again(content, world).map_err(named(&name))
        }
    }
}

/// Brings the files of servers that are not in the cache into it, several at a time.
fn fetch_missing(lock: &BundleLock, packed: &Packed, world: &World<'_>) -> Result<(), ExportError> {
    let missing =
        packed.inventory.blobs.iter().filter_map(|content| match &lock.blobs.get(&content.digest)?.from {
            Origin::Url(url) if !matches!(world.cache.open(content), Ok(Some(_))) => Some((url, *content)),
            _ => None,
        });
    let wanted: Vec<fetch::Wanted> = missing
        .map(|(url, content)| closure::wanted(url, content))
        .collect::<io::Result<_>>()
        .map_err(|source| ExportError::Address { source })?;
    if wanted.is_empty() {
        return Ok(());
    }
    let logins = closure::logins(world);
    let total = wanted.iter().filter_map(|one| one.size).fold(0_u64, u64::saturating_add);
    let mut bar = edge::progress::new(world.bars, "fetching", total);
    let fetcher = Fetcher { http: world.http, cache: world.cache, logins: &logins };
    fetcher.all(&wanted, &mut *bar).map(|_| ()).map_err(|source| ExportError::Fetch { source })
}

/// A digest says nothing to a person: the file does.
fn named(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    let path = path.display().to_string();
    move |error| io::Error::new(error.kind(), format!("{path}: {error}"))
}

/// What was made a second time must be what it was the first time.
fn again(content: Content, world: &World<'_>) -> io::Result<Box<dyn Read>> {
    match world.cache.open(&content)? {
        Some(file) => Ok(Box::new(file)),
        None => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it comes out differently than when it was locked",
        )),
    }
}

/// Reads every manifest of the lock's images and of what goes beside them, which the packer needs in memory.
///
/// # Errors
/// One cannot be read.
pub fn documents(
    lock: &BundleLock,
    world: &World<'_>,
) -> Result<std::collections::BTreeMap<manifests::Digest, Vec<u8>>, WriteError> {
    use manifests::inventory::Component;
    use manifests::oci::{MANIFEST_BYTES_MAX, ManifestDocument};
    let mut documents = std::collections::BTreeMap::new();
    for component in &lock.components {
        let Component::Image(image) = component else { continue };
        let beside = image.companions.iter();
        let mut wanted: Vec<_> = beside.map(|companion| companion.manifest.clone()).collect();
        wanted.push(image.manifest.clone());
        while let Some(descriptor) = wanted.pop() {
            let Some(blob) = lock.blobs.get(&descriptor.digest) else { continue };
            let failed = |source| WriteError::Source { digest: descriptor.digest, source };
            let content = Content { digest: descriptor.digest, size: blob.size };
            let mut bytes = Vec::new();
            let source = open(content, blob, world).map_err(failed)?;
            source.take(MANIFEST_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
            // From now on it is in the cache, so that it is fetched once.
            world.cache.put(&bytes).map_err(failed)?;
            if let Ok(ManifestDocument::Index(index)) =
                ManifestDocument::parse(&bytes, &descriptor.media_type)
            {
                wanted.extend(index.manifests);
            }
            documents.insert(descriptor.digest, bytes);
        }
    }
    Ok(documents)
}
