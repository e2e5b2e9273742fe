//! Files: written beside their place and renamed into it; what was there before is kept first.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use manifests::Digest;
use manifests::inventory::{FileSet, SetFile};

use super::{Context, TargetError};
use crate::plan::{OldFile, WriteFile};
use crate::site::config::FilesTarget;

/// The longest name of a file on every file system that is in use.
const NAME_BYTES_MAX: usize = 255;
const TEMPORARY_SUFFIX: &str = ".airlock-new";

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

/// Where a file of a set is.
#[must_use]
pub fn place(target: &FilesTarget, set: &FileSet, file: &SetFile) -> PathBuf {
    let below = Path::new(set.dest.as_str().trim_start_matches('/')).join(file.path.as_str());
    target.root.join(below)
}

/// As [`state`], of a file that is reached from `root` over directories only: what is behind a link is not ours.
///
/// # Errors
/// As [`state`], and a link on the way.
pub fn state_below(root: &Path, path: &Path) -> Result<Option<OldFile>, TargetError> {
    for directory in path.ancestors().skip(1).take_while(|directory| *directory != root) {
        let is_link = std::fs::symlink_metadata(directory).is_ok_and(|found| found.is_symlink());
        if is_link {
            return Err(TargetError::InTheWay { path: directory.to_path_buf(), what: "a link" });
        }
    }
    state(path)
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

/// Where content of this digest is kept.
pub(crate) fn kept_path(kept: &Path, digest: &Digest) -> PathBuf {
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
    begin(kept, &write.path)?;
    if let Some(old) = &write.old {
        keep(kept, &write.path, old)?;
    }
    for directory in &write.new_directories {
        make(directory)?;
    }
    put(source, &write.path, &owned(write))
}

/// Notes that this file's step may have changed something.
pub(super) fn begin(kept: &Path, path: &Path) -> Result<(), TargetError> {
    layout::durable::make_directory(kept)
        .and_then(|()| layout::durable::replace(&begun_path(kept, path), b"", 0o600))
        .map_err(|source| TargetError::Io { doing: "cannot make", path: kept.to_path_buf(), source })
}

/// Whether this file's step may have changed anything: an undo without it leaves everything alone.
pub(super) fn was_begun(kept: &Path, path: &Path) -> bool {
    begun_path(kept, path).exists()
}

fn begun_path(kept: &Path, path: &Path) -> PathBuf {
    kept.join(format!("{}.begun", Digest::of(path.as_os_str().as_encoded_bytes()).hex()))
}

/// Keeps a file's content, which must still be this.
pub(super) fn keep(kept: &Path, path: &Path, old: &OldFile) -> Result<(), TargetError> {
    let ours = OldFile {
        mode: 0o600,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        ..*old
    };
    put(path, &kept_path(kept, &old.digest), &ours)
}

/// Where something is made before it is renamed into its place: the name with something before and after it, or,
/// where that would be longer than a file system takes, a digest of it.
pub(super) fn temporary(path: &Path) -> PathBuf {
    let own = path.file_name().unwrap_or_default();
    let mut name = std::ffi::OsString::from(".");
    if own.len().saturating_add(TEMPORARY_SUFFIX.len()) < NAME_BYTES_MAX {
        name.push(own);
    } else {
        name.push(Digest::of(own.as_encoded_bytes()).hex());
    }
    name.push(TEMPORARY_SUFFIX);
    path.with_file_name(name)
}

/// Directories of a site are for everybody, whatever the umask of the person who installs; a directory
/// appears with its mode.
pub(super) fn make(directory: &Path) -> Result<(), TargetError> {
    let new = temporary(directory);
    // Whatever has that name is removed, never followed: it may be a link.
    remove_whatever_is(&new)?;
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
pub(super) fn put(from: &Path, to: &Path, state: &OldFile) -> Result<(), TargetError> {
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
    if !was_begun(kept, &write.path) {
        return Ok(());
    }
    for half_made in std::iter::once(&write.path).chain(&write.new_directories) {
        remove_half_made(half_made)?;
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
pub(super) fn remove_half_made(path: &Path) -> Result<(), TargetError> {
    remove_whatever_is(&temporary(path))
}

fn remove_whatever_is(path: &Path) -> Result<(), TargetError> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir(path),
        Ok(_) => std::fs::remove_file(path),
        Err(_) => return Ok(()),
    };
    removed.map_err(|source| TargetError::Io { doing: "cannot remove", path: path.to_path_buf(), source })
}

fn remove_directories(write: &WriteFile) -> Result<(), TargetError> {
    write.new_directories.iter().rev().try_for_each(|directory| remove_directory(directory))
}

/// Removes a directory; one that somebody else has put something into stays.
pub(super) fn remove_directory(directory: &Path) -> Result<(), TargetError> {
    match std::fs::remove_dir(directory) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
            Ok(())
        }
        removed => removed.map_err(|source| TargetError::Io {
            doing: "cannot remove",
            path: directory.to_path_buf(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_there_is_has_a_temporary_one_that_is_not_longer() {
        for length in [1, 241, 242, 243, 255] {
            let name = "n".repeat(length);
            let new = temporary(&Path::new("/d").join(&name));
            assert!(new.file_name().unwrap().len() <= NAME_BYTES_MAX, "{length}");
            assert_ne!(new.file_name().unwrap(), name.as_str());
        }
    }
}
