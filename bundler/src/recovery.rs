//! Recovery data of an archive, in files beside it or on the discs of it: `NAME.bundle.tar.r001` and so on
//! (`docs/recovery.md`).
//!
//! It is made last, of the archive with all its signatures; `bundler sign` makes it anew beside an archive.
//!
//! *Invariant:* a recovery file has its name only when it is whole.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use edge::progress::Progress;
use edge::show::bytes;
use edge::{Classified, Exit};
use layout::disk;
use layout::durable;
use layout::medium::{self, MediumError};
use layout::recovery::{
    self, EncodeError, Geometry, GeometryError, Header, Percent, RecoveryFile, Source, set,
};
use manifests::bundle::BundleDigest;
use serde::Serialize;

/// Why there is no recovery data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// It was asked for in a way that cannot be.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The archive cannot be opened.
    #[error(transparent)]
    Medium(#[from] MediumError),
    /// There is something already.
    #[error("{} is there already", path.display())]
    Exists {
        /// What.
        path: PathBuf,
    },
    /// It would not fit.
    #[error("{} has {} free, the recovery data needs {}", path.display(), bytes(*free), bytes(*needed))]
    Space {
        /// The directory.
        path: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that are needed.
        needed: u64,
    },
    /// The destination cannot be written to.
    #[error("cannot write recovery data to {}", path.display())]
    Write {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It cannot be made.
    #[error("the recovery data of {} was not made", path.display())]
    Encode {
        /// The archive.
        path: PathBuf,
        /// Why not.
        source: EncodeError,
    },
    /// Somebody pressed Ctrl-C.
    #[error("interrupted; {} is whole, and has no recovery data of its present bytes", path.display())]
    Interrupted {
        /// The archive.
        path: PathBuf,
    },
}

impl Classified for RecoveryError {
    fn exit(&self) -> Exit {
        match self {
            Self::Geometry(_) | Self::Exists { .. } => Exit::Usage,
            Self::Encode { source: EncodeError::Geometry(_), .. } => Exit::Usage,
            Self::Encode { source: EncodeError::Read { .. }, .. } | Self::Medium(_) => Exit::Damaged,
            Self::Interrupted { .. } => Exit::Unexpected,
            _ => Exit::Unreachable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Exists { .. } => Some("move it away or choose another --out".to_string()),
            Self::Space { .. } => Some("free some space, or ask for less recovery data".to_string()),
            _ => None,
        }
    }
}

/// A recovery file that was written.
#[derive(Debug, Clone, Serialize)]
pub struct Written {
    /// Where.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
}

/// One line for people.
#[must_use]
pub fn row(written: &Written) -> String {
    format!("recovery {} ({})\n", written.path.display(), bytes(written.bytes))
}

/// The name of a recovery file beside an archive.
fn beside(archive: &Path, file: u32) -> PathBuf {
    let name = archive.file_name().unwrap_or_default().to_string_lossy();
    archive.with_file_name(recovery::file_name(&name, file.saturating_add(1)))
}

fn directory(archive: &Path) -> &Path {
    archive.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Refuses if the first recovery file is there before the archive is: nobody should wait for that.
///
/// # Errors
/// It is there.
pub fn must_not_exist(archive: &Path) -> Result<(), RecoveryError> {
    let path = beside(archive, 0);
    if path.symlink_metadata().is_ok() { Err(RecoveryError::Exists { path }) } else { Ok(()) }
}

/// Makes the recovery data of an archive, in so many files beside it. What has their names is replaced.
///
/// # Errors
/// See [`RecoveryError`]; nothing new is left then.
pub fn make(
    archive: &Path,
    bundle: BundleDigest,
    percent: Percent,
    files: u32,
    progress: &mut dyn Progress,
    interrupted: &dyn Fn() -> bool,
) -> Result<Vec<Written>, RecoveryError> {
    let (source, length) = medium::open(archive)?;
    let geometry = Geometry::new(length, percent, files)?;
    let dir = directory(archive);
    check_space(dir, geometry.total_bytes())?;
    let failed = |source| RecoveryError::Write { path: dir.to_path_buf(), source };
    let new = |_| tempfile::Builder::new().prefix(".recovery-").tempfile_in(dir);
    let staged = (0..files).map(new).collect::<io::Result<Vec<_>>>().map_err(failed)?;
    let open = staged.iter().map(|file| file.reopen().map(Some)).collect::<io::Result<Vec<_>>>();
    let open = open.map_err(failed)?;
    let source = Stoppable { source, interrupted };
    recovery::encode(&source, length, bundle, percent, &open, &mut |count| progress.advance(count)).map_err(
        |source| match interrupted() {
            true => RecoveryError::Interrupted { path: archive.to_path_buf() },
            false => RecoveryError::Encode { path: archive.to_path_buf(), source },
        },
    )?;
    let mut written = Vec::new();
    for (staged, file) in staged.into_iter().zip(0_u32..) {
        let path = beside(archive, file);
        staged.as_file().set_permissions(Permissions::from_mode(0o644)).map_err(failed)?;
        staged.persist(&path).map_err(|error| failed(error.error))?;
        written.push(Written { path, bytes: geometry.file_bytes(file) });
    }
    durable::flush_directory(dir).map_err(failed)?;
    Ok(written)
}

/// Makes the recovery data of an archive that is read from `source`, in new files with these names. A file that
/// nobody wants has none. `title` is what messages call the archive.
///
/// # Errors
/// See [`RecoveryError`]; whoever made the directory clears up.
pub fn make_files(
    source: &impl Source,
    title: &Path,
    geometry: &Geometry,
    bundle: BundleDigest,
    names: &[Option<PathBuf>],
    progress: &mut dyn Progress,
    interrupted: &dyn Fn() -> bool,
) -> Result<(), RecoveryError> {
    let new = |path: &Option<PathBuf>| path.as_ref().map(File::create_new).transpose();
    let files = names.iter().map(new).collect::<io::Result<Vec<_>>>();
    let files = files.map_err(|source| RecoveryError::Write { path: title.to_path_buf(), source })?;
    let source = Stoppable { source, interrupted };
    let (length, percent) = (geometry.length(), geometry.percent());
    let made =
        recovery::encode(&source, length, bundle, percent, &files, &mut |count| progress.advance(count));
    made.map(|_| ()).map_err(|source| RecoveryError::Encode { path: title.to_path_buf(), source })
}

/// Makes recovery data anew if there is some beside the archive: a signature was added to it. Files that are
/// not readable, or of another bundle, are left alone.
///
/// # Errors
/// See [`RecoveryError`].
pub fn renew(
    archive: &Path,
    bundle: BundleDigest,
    progress: &mut dyn Progress,
    interrupted: &dyn Fn() -> bool,
) -> Result<Vec<Written>, RecoveryError> {
    let mut found =
        (0..recovery::geometry::FILES_MAX).map_while(|file| header(&beside(archive, file))).flatten();
    let Some(header) = found.find(|header| header.bundle == bundle) else { return Ok(Vec::new()) };
    let geometry = header.geometry;
    make(archive, bundle, geometry.percent(), geometry.files(), progress, interrupted)
}

/// What is at a path, if anything; and its header, if it has one.
fn header(path: &Path) -> Option<Option<Header>> {
    let (source, size) = medium::open(path).ok()?;
    Some(set::read_header(&RecoveryFile { source: Box::new(source), size }).ok())
}

/// An archive that cannot be read any more once somebody has pressed Ctrl-C.
struct Stoppable<'a, S> {
    source: S,
    interrupted: &'a dyn Fn() -> bool,
}

impl<S: Source> Source for Stoppable<'_, S> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if (self.interrupted)() {
            return Err(io::Error::other("interrupted"));
        }
        self.source.read_at(buffer, offset)
    }
}

fn check_space(dir: &Path, needed: u64) -> Result<(), RecoveryError> {
    let path = dir.to_path_buf();
    let free = disk::free_bytes(dir).map_err(|source| RecoveryError::Write { path: path.clone(), source })?;
    if free < needed { Err(RecoveryError::Space { path, free, needed }) } else { Ok(()) }
}
