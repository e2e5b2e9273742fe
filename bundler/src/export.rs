//! From a packed lock to an archive at its destination: the space is there before the first byte is
//! written, and the file has a name only when it is whole.

use std::fs::File;
use std::io::{self, BufWriter, Read};
use std::path::{Path, PathBuf};

use edge::progress::Progress;
use edge::show::bytes;
use edge::{Classified, Exit};
use layout::writer::{ArchiveWriter, WriteError};
use manifests::bundle::Content;
use registry::Url;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::lock::{BundleLock, LockedBlob, Origin};
use crate::pack::Packed;
use crate::sources::images::{docker_archive, registry_source, tar_index};
use crate::sources::{World, charts};

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
            Self::Write { source: WriteError::Changed { .. }, .. } => Exit::Damaged,
            // A reader that checks digests says so with this kind.
            Self::Write { source: WriteError::Source { source, .. }, .. }
                if source.kind() == io::ErrorKind::InvalidData =>
            {
                Exit::Damaged
            }
            Self::Interrupted { .. } => Exit::Unexpected,
            _ => Exit::Unreachable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Exists { .. } => {
                Some("move it away or choose another --out: it may hold signatures".to_string())
            }
            Self::Space { .. } => Some("free some space or choose another --out".to_string()),
            Self::Write { source: WriteError::Changed { .. }, .. } => {
                Some("the source has changed since it was locked: run `bundler lock` again".to_string())
            }
            _ => None,
        }
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
    let head = &packed.head;
    let (manifest, checksums, inventory) = (head.manifest.len(), head.checksums.len(), head.inventory.len());
    let needed =
        layout::writer::archive_bytes(manifest as u64, checksums as u64, inventory as u64, &packed.inventory);
    check_space(directory, needed)?;
    let unwritable = |source| ExportError::Destination { path: directory.to_path_buf(), source };
    let file = Unnamed::create(directory).map_err(unwritable)?;
    let failed = |source| {
        if interrupted() {
            ExportError::Interrupted { path: path.clone() }
        } else {
            ExportError::Write { path: path.clone(), source }
        }
    };
    let out = BufWriter::with_capacity(layout::writer::CHUNK_BYTES, &file.file);
    let mut writer = ArchiveWriter::begin(out, head).map_err(failed)?;
    for content in &packed.inventory.blobs {
        let open = lock.blobs.get(&content.digest).map_or_else(
            || Err(io::Error::new(io::ErrorKind::NotFound, "it is not in the lock")),
            |blob| open(*content, blob, world),
        );
        let source = open.map_err(|source| failed(WriteError::Source { digest: content.digest, source }))?;
        let mut source = Stoppable { source, interrupted };
        writer.blob(*content, &mut source, &mut |count| progress.advance(count)).map_err(failed)?;
    }
    let out = writer.finish().map_err(failed)?;
    drop(out);
    file.name(destination).map_err(|source| ExportError::Destination { path, source })?;
    Ok(needed)
}

fn check_space(directory: &Path, needed: u64) -> Result<(), ExportError> {
    let path = directory.to_path_buf();
    let stat = rustix::fs::statvfs(directory)
        .map_err(|error| ExportError::Destination { path: path.clone(), source: error.into() })?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < needed { Err(ExportError::Space { path, free, needed }) } else { Ok(()) }
}

/// A file that has no name until it is whole: a run that is killed leaves nothing behind. Where the file
/// system cannot do that (FAT), a hidden name that is removed on failure.
struct Unnamed {
    file: File,
    temporary: Option<PathBuf>,
}

impl Unnamed {
    fn create(directory: &Path) -> io::Result<Self> {
        let mode = Mode::from_raw_mode(0o644);
        match rustix::fs::open(directory, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode) {
            Ok(descriptor) => Ok(Self { file: File::from(descriptor), temporary: None }),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => {
                let path = directory.join(".bundle.partial");
                let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
                Ok(Self { file, temporary: Some(path) })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn name(mut self, destination: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        match self.temporary.take() {
            Some(temporary) => std::fs::rename(temporary, destination)?,
            None => {
                use std::os::fd::AsRawFd;
                let descriptor = format!("/proc/self/fd/{}", self.file.as_raw_fd());
                rustix::fs::linkat(CWD, descriptor.as_str(), CWD, destination, AtFlags::SYMLINK_FOLLOW)?;
            }
        }
        let parent = destination.parent().filter(|parent| !parent.as_os_str().is_empty());
        layout::durable::flush_directory(parent.unwrap_or(Path::new(".")))
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        if let Some(path) = &self.temporary {
            let _ = std::fs::remove_file(path);
        }
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
        Origin::File(path) => Ok(Box::new(File::open(world.path(path))?)),
        Origin::Slice(slice) => Ok(Box::new(tar_index::open_slice(&world.path(&slice.file), slice)?)),
        Origin::Gzip(slice) => {
            docker_archive::compress(world, slice)?;
            again(content, world)
        }
        Origin::PackedChart(directory) => {
            charts::pack(&world.path(directory), directory, world).map_err(io::Error::other)?;
            again(content, world)
        }
        Origin::Registry(place) => {
            let repository =
                registry_source::open(world, &place.url, &place.repository).map_err(io::Error::other)?;
            Ok(Box::new(repository.open_blob(&content.digest, content.size).map_err(io::Error::other)?))
        }
        Origin::RegistryManifest(place) => {
            let repository =
                registry_source::open(world, &place.url, &place.repository).map_err(io::Error::other)?;
            let raw = repository.get_manifest(&content.digest.into()).map_err(io::Error::other)?;
            Ok(Box::new(io::Cursor::new(raw.bytes)))
        }
        Origin::Url(url) => {
            let url: Url = url.parse().map_err(io::Error::other)?;
            Ok(Box::new(world.http.get(&url).map_err(io::Error::other)?.body))
        }
    }
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

/// Reads every manifest of the lock's images, which the packer needs in memory.
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
        let mut wanted = vec![image.manifest.clone()];
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
