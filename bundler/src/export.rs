//! From a packed lock to an archive at its destination: the space is there before the first byte is
//! written, and the file has a name only when it is whole.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use edge::at_once;
use edge::progress::Progress;
use edge::show::bytes;
use edge::{Classified, Exit};
use layout::disk;
use layout::filling::Filling;
use layout::medium;
use layout::split::PartsWriter;
use layout::writer::{ArchiveWriter, WriteError};
use manifests::Digest;
use manifests::bundle::Content;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::cache::Cache;
use crate::download::{self, DownloadError, Room};
use crate::lock::{BundleLock, LockedBlob, Origin, Slice};
use crate::media::Cut;
use crate::pack::Packed;
use crate::sources::images::{docker_archive, docker_daemon, pull, tar_index};
use crate::sources::{World, charts, closure};

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
    /// What the lock names could not be fetched.
    #[error("the archive was not written")]
    Download {
        /// What, and why not.
        source: DownloadError,
    },
    /// What was fetched or made before has changed since in the cache.
    #[error("{digest} has rotted in the cache, and was taken out of it")]
    Rotten {
        /// Which blob.
        digest: Digest,
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
            Self::Download { source } => source.exit(),
            Self::Rotten { .. } => Exit::Damaged,
            Self::Interrupted { .. } => Exit::Unexpected,
            _ => Exit::Unreachable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Exists { .. } => {
                Some("move it away or choose another --out: it may hold signatures".to_string())
            }
            Self::Download { source } => source.hint(),
            Self::Rotten { .. } => Some(
                "run it again: it comes from where it came from, and have a look at that disk".to_string(),
            ),
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

/// Whether a destination is free: asked again before anything is written, and before anything that takes long.
///
/// # Errors
/// [`ExportError::Exists`]
pub fn must_not_exist(destination: &Path) -> Result<(), ExportError> {
    let path = destination.to_path_buf();
    if destination.symlink_metadata().is_ok() { Err(ExportError::Exists { path }) } else { Ok(()) }
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
) -> Result<u64, ExportError> {
    must_not_exist(destination)?;
    let path = destination.to_path_buf();
    let directory =
        destination.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let needed = archive_bytes(packed);
    check_space(directory, needed)?;
    let unwritable = |source| ExportError::Destination { path: directory.to_path_buf(), source };
    let file = Unnamed::create(directory).map_err(unwritable)?;
    let room = Room { directory, bytes: needed };
    let blobs = Blobs { path: destination, packed, lock, world };
    match &file {
        Unnamed::Nameless(file) => blobs.fill(file, &room)?,
        // Where a place cannot be left out for later, nothing is written twice: one after the other.
        Unnamed::Hidden(file) => {
            blobs.download(&room, None)?;
            let mut bar = world.shown.begin("writing", needed);
            blobs.write(Counted { out: file.as_file(), bar: &mut *bar })?;
        }
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

/// Writes the archive straight into parts, cut like this, for which there is to be `room`. `destination` is only named
/// in messages.
///
/// # Errors
/// See [`ExportError`].
pub fn export_parts(
    destination: &Path,
    (parts, cut): (&mut PartsWriter, &Cut),
    packed: &Packed,
    lock: &BundleLock,
    world: &World<'_>,
    room: &Room<'_>,
) -> Result<(), ExportError> {
    let blobs = Blobs { path: destination, packed, lock, world };
    blobs.download(room, None)?;
    let mut bar = cut.progress(world.shown.begin("writing", archive_bytes(packed)));
    blobs.write(Counted { out: parts, bar: &mut *bar })
}

/// Says of what passes how much it is.
struct Counted<'a, W> {
    out: W,
    bar: &'a mut dyn Progress,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.bar.advance(count as u64);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Everything of an archive, on its way to where it goes.
struct Blobs<'a> {
    /// For messages.
    path: &'a Path,
    packed: &'a Packed,
    lock: &'a BundleLock,
    world: &'a World<'a>,
}

impl Blobs<'_> {
    fn download(&self, room: &Room<'_>, into: Option<&Filling<'_>>) -> Result<(), ExportError> {
        download::missing(self.lock, self.packed, self.world, room, into)
            .map_err(|source| ExportError::Download { source })
    }

    /// Writes the archive in several places at the same time: what comes over the network goes straight to its place.
    fn fill(&self, file: &File, room: &Room<'_>) -> Result<(), ExportError> {
        let filling = Filling::begin(file, &self.packed.head, self.packed.inventory.carried());
        let filling = filling.map_err(|error| self.failed(error))?;
        self.download(room, Some(&filling))?;
        let left = filling.lacks();
        let total = left.iter().map(|content| content.size).fold(0, u64::saturating_add);
        let bar = Mutex::new(self.world.shown.begin("writing", total));
        let advance = |count| bar.lock().unwrap_or_else(PoisonError::into_inner).advance(count);
        let mut at_hand = Vec::new();
        for content in left {
            if self.at_hand().find(content).is_some() {
                at_hand.push(content);
                continue;
            }
            // What has to be made first may be made of the same thing as what comes next: not at the same time.
            let mut source = self.source(content).map_err(|error| self.failed(error))?;
            place(&filling, content, &mut source, &advance).map_err(|error| self.failed(error))?;
        }
        let (here, interrupted) = (self.at_hand(), self.world.interrupted);
        let threads = medium::readers(room.directory);
        let placed = at_once::until_failure(threads, &at_hand, |content, _| {
            let from = here.find(*content);
            let from_cache = from.as_ref().is_some_and(Source::is_cached);
            let source = from.map_or_else(|| Err(gone()), |from| from.open());
            let copied =
                source.map_err(|source| WriteError::Source { digest: content.digest, source }).and_then(
                    |source| place(&filling, *content, &mut Stoppable { source, interrupted }, &advance),
                );
            // In a box, because there is one answer for each of many thousands.
            copied.map_err(|error| Box::new((error, content.digest, from_cache)))
        });
        placed.map_err(|wrong| {
            let (error, digest, from_cache) = *wrong;
            self.judged(error, digest, from_cache)
        })?;
        filling.finish().map_err(|error| self.failed(error))
    }

    fn at_hand(&self) -> AtHand<'_> {
        AtHand { packed: self.packed, lock: self.lock, cache: self.world.cache, base: &self.world.base }
    }

    /// Writes the archive from its beginning to its end.
    fn write<W: Write>(&self, out: W) -> Result<(), ExportError> {
        let out = BufWriter::with_capacity(layout::writer::CHUNK_BYTES, out);
        let mut writer = ArchiveWriter::begin(out, &self.packed.head).map_err(|error| self.failed(error))?;
        for content in &self.packed.inventory.carried() {
            let from_cache = self.at_hand().find(*content).is_some_and(|from| from.is_cached());
            let mut source = self.source(*content).map_err(|error| self.failed(error))?;
            let written = writer.blob(*content, &mut source, &mut |_| {});
            written.map_err(|error| self.judged(error, content.digest, from_cache))?;
        }
        writer.finish().map_err(|error| self.failed(error)).map(|_| ())
    }

    fn source(&self, content: Content) -> Result<Stoppable<'_>, WriteError> {
        let open = match self.lock.blobs.get(&content.digest) {
            Some(blob) => open(content, blob, self.world),
            None => self.at_hand().find(content).map_or_else(|| Err(gone()), |patch| patch.open()),
        };
        let source = open.map_err(|source| WriteError::Source { digest: content.digest, source })?;
        Ok(Stoppable { source, interrupted: self.world.interrupted })
    }

    /// What rotted in the cache is thrown away, so that the next run has it anew.
    fn judged(&self, error: WriteError, digest: Digest, from_cache: bool) -> ExportError {
        if matches!(error, WriteError::Changed { .. }) && from_cache {
            self.world.cache.remove(&digest);
            return ExportError::Rotten { digest };
        }
        self.failed(error)
    }

    fn failed(&self, source: WriteError) -> ExportError {
        let path = self.path.to_path_buf();
        if (self.world.interrupted)() {
            ExportError::Interrupted { path }
        } else {
            ExportError::Write { path, source }
        }
    }
}

/// Copies a blob to its place, if it is not there.
fn place(
    filling: &Filling<'_>,
    content: Content,
    source: &mut dyn Read,
    advance: &dyn Fn(u64),
) -> Result<(), WriteError> {
    filling.place(content).map_or(Ok(()), |place| place.fill(source, advance))
}

fn check_space(directory: &Path, needed: u64) -> Result<(), ExportError> {
    let path = directory.to_path_buf();
    let free = disk::free_bytes(directory)
        .map_err(|source| ExportError::Destination { path: path.clone(), source })?;
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

    /// Never takes the place of what is there.
    fn name(self, destination: &Path) -> io::Result<()> {
        match self {
            Self::Nameless(file) => {
                file.sync_all()?;
                use std::os::fd::AsRawFd;
                let descriptor = format!("/proc/self/fd/{}", file.as_raw_fd());
                rustix::fs::linkat(CWD, descriptor.as_str(), CWD, destination, AtFlags::SYMLINK_FOLLOW)?;
            }
            Self::Hidden(file) => {
                file.as_file().sync_all()?;
                file.persist_noclobber(destination).map_err(|error| error.error)?;
            }
        }
        let parent = destination.parent().filter(|parent| !parent.as_os_str().is_empty());
        layout::durable::flush_directory(parent.unwrap_or(Path::new(".")))
    }
}

/// Stops between two reads when somebody asked for it.
pub(crate) struct Stoppable<'a> {
    pub(crate) source: Box<dyn Read + 'a>,
    pub(crate) interrupted: &'a dyn Fn() -> bool,
}

impl Read for Stoppable<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.interrupted)() {
            return Err(io::Error::other("interrupted"));
        }
        self.source.read(buffer)
    }
}

/// What only has to be read. Threads may share it.
struct AtHand<'a> {
    packed: &'a Packed,
    lock: &'a BundleLock,
    cache: &'a Cache,
    base: &'a Path,
}

impl<'a> AtHand<'a> {
    fn find(&self, content: Content) -> Option<Source<'a>> {
        match self.lock.blobs.get(&content.digest) {
            Some(blob) => Source::at_hand(content, blob, self.cache, self.base),
            // Patches were made into the cache.
            None => {
                let is_one = self.packed.inventory.patches().iter().any(|patch| patch.patch == content);
                let is_there = is_one && self.cache.has(&content);
                is_there.then(|| Source::Cached(self.cache.path(&content.digest)))
            }
        }
    }
}

/// Where a blob is that only has to be read.
enum Source<'a> {
    /// The cache has it in its size; its digest whoever reads it has to check.
    Cached(PathBuf),
    Inline(&'a str),
    /// As the file system knows it, and as the lock names it.
    File(PathBuf, &'a Path),
    Slice(PathBuf, &'a Slice),
}

impl<'a> Source<'a> {
    fn at_hand(content: Content, blob: &'a LockedBlob, cache: &Cache, base: &Path) -> Option<Self> {
        match &blob.from {
            Origin::Inline(text) => Some(Self::Inline(text)),
            _ if cache.has(&content) => Some(Self::Cached(cache.path(&content.digest))),
            Origin::File(path) => Some(Self::File(base.join(path), path)),
            Origin::Slice(slice) => Some(Self::Slice(base.join(&slice.file), slice)),
            _ => None,
        }
    }

    fn is_cached(&self) -> bool {
        matches!(self, Self::Cached(_))
    }

    fn open(&self) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Cached(path) => Box::new(File::open(path)?),
            Self::Inline(text) => Box::new(text.as_bytes()),
            Self::File(path, shown) => Box::new(File::open(path).map_err(named(shown))?),
            Self::Slice(path, slice) => {
                Box::new(tar_index::open_slice(path, slice).map_err(named(&slice.file))?)
            }
        })
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "it was fetched or made, and is gone from the cache")
}

/// Opens a blob: in the cache if it is there, else where the lock says.
///
/// # Errors
/// It is in neither place.
pub fn open<'a>(content: Content, blob: &'a LockedBlob, world: &World<'_>) -> io::Result<Box<dyn Read + 'a>> {
    if let Some(source) = Source::at_hand(content, blob, world.cache, &world.base) {
        return source.open();
    }
    match &blob.from {
        Origin::Gzip(slice) => {
            docker_archive::compress(world, slice).map_err(named(&slice.file))?;
            again(content, world).map_err(named(&slice.file))
        }
        Origin::Daemon(name) => {
            docker_daemon::open(name, world).map_err(io::Error::other)?;
            again(content, world)
        }
        Origin::PackedChart(packed) => {
            charts::repack(packed, world)?;
            again(content, world).map_err(named(&packed.directory))
        }
        Origin::RegistryManifest(place) => {
            let raw = pull::manifest(world, place, &content.digest.into()).map_err(io::Error::other)?;
            Ok(Box::new(io::Cursor::new(raw.bytes)))
        }
        Origin::BuiltWheel(built) => {
            let path = built.url.split('?').next().unwrap_or_default();
            let name = PathBuf::from(path.rsplit('/').next().unwrap_or_default());
            closure::rebuild(built, world).map_err(io::Error::other)?;
            again(content, world).map_err(named(&name))
        }
        // What is on this machine is at hand.
        _ => Err(gone()),
    }
}

/// Reads a small blob whole and holds it to its digest. What has rotted in the cache is had again from where it came
/// from.
///
/// # Errors
/// It cannot be had, or is another one than was locked.
pub fn document(content: Content, blob: &LockedBlob, world: &World<'_>) -> io::Result<Vec<u8>> {
    for _ in 0..2 {
        let mut bytes = Vec::new();
        open(content, blob, world)?.take(content.size.saturating_add(1)).read_to_end(&mut bytes)?;
        if Content::of(&bytes) == content {
            return Ok(bytes);
        }
        world.cache.remove(&content.digest);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "it is another one than was locked"))
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
            if content.size > MANIFEST_BYTES_MAX {
                return Err(failed(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "it is too large for a manifest",
                )));
            }
            let bytes = document(content, blob, world).map_err(failed)?;
            // From now on it is in the cache, so that it is fetched once.
            world.cache.put(&bytes).map_err(|error| failed(named(world.cache.root())(error)))?;
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
