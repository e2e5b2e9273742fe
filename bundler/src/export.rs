//! From a packed lock to an archive at its destination: the space is there before the first byte is
//! written, and the file has a name only when it is whole.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use edge::progress::Progress;
use edge::show::bytes;
use edge::{Classified, Exit};
use layout::split::PartsWriter;
use layout::writer::{ArchiveWriter, WriteError};
use manifests::Digest;
use manifests::bundle::Content;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::download::{self, DownloadError, Room};
use crate::lock::{BundleLock, LockedBlob, Origin};
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
    #[error("the archive was not begun")]
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
    interrupted: &dyn Fn() -> bool,
) -> Result<u64, ExportError> {
    must_not_exist(destination)?;
    let path = destination.to_path_buf();
    let directory =
        destination.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let needed = archive_bytes(packed);
    check_space(directory, needed)?;
    let unwritable = |source| ExportError::Destination { path: directory.to_path_buf(), source };
    download::missing(lock, packed, world, &Room { directory, bytes: needed })
        .map_err(|source| ExportError::Download { source })?;
    let file = Unnamed::create(directory).map_err(unwritable)?;
    let mut bar = world.shown.begin("writing", needed);
    write(destination, Counted { out: file.file(), bar: &mut *bar }, packed, lock, world, interrupted)?;
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
    download::missing(lock, packed, world, room).map_err(|source| ExportError::Download { source })?;
    let mut bar = cut.progress(world.shown.begin("writing", archive_bytes(packed)));
    write(destination, Counted { out: parts, bar: &mut *bar }, packed, lock, world, world.interrupted)
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

/// Writes the archive to where it goes.
fn write<W: Write>(
    path: &Path,
    out: W,
    packed: &Packed,
    lock: &BundleLock,
    world: &World<'_>,
    interrupted: &dyn Fn() -> bool,
) -> Result<(), ExportError> {
    let failed = |source| {
        if interrupted() {
            ExportError::Interrupted { path: path.to_path_buf() }
        } else {
            ExportError::Write { path: path.to_path_buf(), source }
        }
    };
    let out = BufWriter::with_capacity(layout::writer::CHUNK_BYTES, out);
    let mut writer = ArchiveWriter::begin(out, &packed.head).map_err(failed)?;
    for content in &packed.inventory.carried() {
        let open = match lock.blobs.get(&content.digest) {
            Some(blob) => open(*content, blob, world),
            None => patch(*content, packed, world),
        };
        let source = open.map_err(|source| failed(WriteError::Source { digest: content.digest, source }))?;
        let from_cache = lock
            .blobs
            .get(&content.digest)
            .is_none_or(|blob| matches!(cached(*content, blob, world), Ok(Some(_))));
        let mut source = Stoppable { source, interrupted };
        if let Err(error) = writer.blob(*content, &mut source, &mut |_| {}) {
            if matches!(error, WriteError::Changed { .. }) && from_cache {
                world.cache.remove(&content.digest);
                return Err(ExportError::Rotten { digest: content.digest });
            }
            return Err(failed(error));
        }
    }
    writer.finish().map_err(failed).map(|_| ())
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
pub(crate) struct Stoppable<'a> {
    pub(crate) source: Box<dyn Read>,
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

/// Opens a blob: in the cache if it is there, else where the lock says.
///
/// # Errors
/// It is in neither place.
pub fn open(content: Content, blob: &LockedBlob, world: &World<'_>) -> io::Result<Box<dyn Read>> {
    if let Some(file) = cached(content, blob, world)? {
        return Ok(Box::new(file));
    }
    match &blob.from {
        Origin::Inline(text) => Ok(Box::new(io::Cursor::new(text.clone().into_bytes()))),
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
        Origin::PackedChart(packed) => {
            charts::repack(packed, world)?;
            again(content, world).map_err(named(&packed.directory))
        }
        Origin::RegistryManifest(place) => {
            let raw = pull::manifest(world, place, &content.digest.into()).map_err(io::Error::other)?;
            Ok(Box::new(io::Cursor::new(raw.bytes)))
        }
        Origin::Registry(_) | Origin::Url(_) => {
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

/// Opens a patch, which was made into the cache.
fn patch(content: Content, packed: &Packed, world: &World<'_>) -> io::Result<Box<dyn Read>> {
    let is_one = packed.inventory.patches().iter().any(|patch| patch.patch == content);
    match world.cache.open(&content)?.filter(|_| is_one) {
        Some(file) => Ok(Box::new(file)),
        None => Err(io::Error::new(io::ErrorKind::NotFound, "it is not in the lock")),
    }
}

/// What the cache has of a blob that is kept there. Its size fits; its digest whoever reads it has to check.
fn cached(content: Content, blob: &LockedBlob, world: &World<'_>) -> io::Result<Option<File>> {
    if matches!(blob.from, Origin::Inline(_)) { Ok(None) } else { world.cache.open(&content) }
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
