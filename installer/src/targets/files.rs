//! Files: written beside their place and renamed into it; what was there before is kept first.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use manifests::Digest;

use super::{Context, TargetError};
use crate::plan::{OldFile, WriteFile};

/// Content and mode of a file; `None` if it is not there.
///
/// # Errors
/// Something else than a regular file is there, or it is not readable.
pub fn state(path: &Path) -> Result<Option<OldFile>, TargetError> {
    let failed = |source| TargetError::Io { doing: "cannot read", path: path.to_path_buf(), source };
    let metadata = match std::fs::symlink_metadata(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        metadata => metadata.map_err(failed)?,
    };
    if !metadata.is_file() {
        return Err(TargetError::InTheWay { path: path.to_path_buf(), what: "not a regular file" });
    }
    let content = layout::hashing::hash(&mut File::open(path).map_err(failed)?).map_err(failed)?;
    Ok(Some(OldFile {
        digest: content.digest,
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
    }))
}

/// Fills in what is there now. Tells whether the file is in place already.
///
/// # Errors
/// A link or another thing is in the way: what is behind it is not ours to change.
pub fn look(write: &mut WriteFile, root: &Path) -> Result<bool, TargetError> {
    let below = write.path.strip_prefix(root).unwrap_or(&write.path);
    let mut directory = root.to_path_buf();
    for part in below.parent().unwrap_or(Path::new("")).components() {
        directory.push(part);
        match std::fs::symlink_metadata(&directory) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(TargetError::InTheWay { path: directory, what: "not a directory" }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                write.new_directories.push(directory.clone())
            }
            Err(source) => return Err(TargetError::Io { doing: "cannot look at", path: directory, source }),
        }
    }
    write.old = state(&write.path)?;
    Ok(write.old.is_some_and(|old| old.is(write.new)))
}

fn kept_path(kept: &Path, digest: &Digest) -> PathBuf {
    kept.join(digest.hex())
}

/// Keeps the old content, then puts the new content in place.
///
/// # Errors
/// The disk, or a file that has changed since the plan was made.
pub fn perform(write: &WriteFile, kept: &Path, context: &Context<'_>) -> Result<(), TargetError> {
    perform_from(write, kept, &context.site.store().blob_path(&write.new.digest))
}

/// The same with the new content from a file, which is hashed once more as it is copied.
///
/// # Errors
/// As [`perform`].
pub fn perform_from(write: &WriteFile, kept: &Path, source: &Path) -> Result<(), TargetError> {
    let now = state(&write.path)?;
    if now.is_some_and(|now| now.is(write.new)) {
        return Ok(());
    }
    if now != write.old {
        return Err(TargetError::InTheWay {
            path: write.path.clone(),
            what: "not what it was when the plan was made",
        });
    }
    layout::durable::make_directory(kept)
        .and_then(|()| layout::durable::replace(&begun_path(kept, write), b"", 0o600))
        .map_err(|source| TargetError::Io { doing: "cannot make", path: kept.to_path_buf(), source })?;
    if let Some(old) = &write.old {
        let ours = OldFile {
            mode: 0o600,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            ..*old
        };
        put(&write.path, &kept_path(kept, &old.digest), &ours)?;
    }
    for directory in &write.new_directories {
        make(directory)?;
    }
    put(source, &write.path, &owned(write))
}

/// There once this file's step may have changed anything: an undo without it leaves everything alone.
fn begun_path(kept: &Path, write: &WriteFile) -> PathBuf {
    kept.join(format!("{}.begun", Digest::of(write.path.as_os_str().as_encoded_bytes()).hex()))
}

/// Where something is made before it is renamed into its place.
fn temporary(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".airlock-new");
    path.with_file_name(name)
}

/// Directories of a site are for everybody, whatever the umask of the person who installs; a directory
/// appears with its mode.
fn make(directory: &Path) -> Result<(), TargetError> {
    let new = temporary(directory);
    // Whatever has that name is removed, never followed: it may be a link.
    remove_half_made(&new)?;
    let make = || -> io::Result<()> {
        std::fs::create_dir(&new)?;
        std::fs::set_permissions(&new, Permissions::from_mode(0o755))?;
        match std::fs::symlink_metadata(directory) {
            Ok(_) => std::fs::remove_dir(&new),
            Err(_) => std::fs::rename(&new, directory),
        }
    };
    make().map_err(|source| TargetError::Io { doing: "cannot make", path: directory.to_path_buf(), source })
}

/// What will be there: a file that is replaced keeps its owner, a new one belongs to whoever installs.
fn owned(write: &WriteFile) -> OldFile {
    let (uid, gid) = match &write.old {
        Some(old) => (old.uid, old.gid),
        None => (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
    };
    OldFile { digest: write.new.digest, mode: write.new.mode.bits(), uid, gid }
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Copies a file beside its place, checks what was copied, and renames it.
fn put(from: &Path, to: &Path, state: &OldFile) -> Result<(), TargetError> {
    let parent = to.parent().unwrap_or(Path::new("/"));
    let failed = |source| TargetError::Io { doing: "cannot write", path: to.to_path_buf(), source };
    let temporary = temporary(to);
    let copy = || -> io::Result<()> {
        remove_stale(&temporary)?;
        // Nobody else can have put a link there, and nobody else can read it before it has its mode.
        let mut out = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
        let (content, _) = layout::hashing::copy(&mut File::open(from)?, &mut out)?;
        if content.digest != state.digest {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} has changed", from.display()),
            ));
        }
        let now = out.metadata()?;
        if (now.uid(), now.gid()) != (state.uid, state.gid) {
            std::os::unix::fs::fchown(&out, Some(state.uid), Some(state.gid))?;
        }
        // After the owner: changing the owner takes set-uid away.
        out.set_permissions(Permissions::from_mode(state.mode))?;
        out.sync_all()?;
        std::fs::rename(&temporary, to)?;
        layout::durable::flush_directory(parent)
    };
    copy().map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        failed(error)
    })
}

/// Puts the old content back, or takes the file away.
///
/// # Errors
/// The disk, or a file that somebody else has changed meanwhile.
pub fn undo(write: &WriteFile, kept: &Path) -> Result<(), TargetError> {
    if !begun_path(kept, write).exists() {
        return Ok(());
    }
    for half_made in std::iter::once(&write.path).chain(&write.new_directories) {
        remove_half_made(&temporary(half_made))?;
    }
    let now = state(&write.path)?;
    if now == write.old {
        return remove_directories(write);
    }
    if !now.is_some_and(|now| now.is(write.new)) {
        return Err(TargetError::InTheWay { path: write.path.clone(), what: "not what was written there" });
    }
    match &write.old {
        Some(old) => put(&kept_path(kept, &old.digest), &write.path, old)?,
        None => std::fs::remove_file(&write.path).map_err(|source| TargetError::Io {
            doing: "cannot remove",
            path: write.path.clone(),
            source,
        })?,
    }
    remove_directories(write)
}

/// What a kill left beside its place: a file, or an empty directory.
fn remove_half_made(path: &Path) -> Result<(), TargetError> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir(path),
        Ok(_) => std::fs::remove_file(path),
        Err(_) => return Ok(()),
    };
    removed.map_err(|source| TargetError::Io { doing: "cannot remove", path: path.to_path_buf(), source })
}

/// A directory that somebody else has put something into stays.
fn remove_directories(write: &WriteFile) -> Result<(), TargetError> {
    for directory in write.new_directories.iter().rev() {
        match std::fs::remove_dir(directory) {
            Ok(()) => {}
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {}
            Err(source) => {
                return Err(TargetError::Io { doing: "cannot remove", path: directory.clone(), source });
            }
        }
    }
    Ok(())
}
