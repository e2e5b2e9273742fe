//! Takes away what earlier plans had put in place: a file only while it is what was put there, a directory only
//! while it is empty, a link only while it points where it was pointed to. What was there before comes back.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Context, TargetError, containerd, docker, files, pushes, python, registry};
use crate::audit::{About, about};
use crate::plan::{OldDirectory, OldFile, Unlink, Unwrite, Withdraw};

const CHANGED: &str = "not what it was when the plan was made";

fn before(unwrite: &Unwrite) -> Option<OldFile> {
    unwrite.before.as_ref().map(|before| before.file)
}

/// Keeps what is there, takes it away, and puts back what was there before.
///
/// # Errors
/// The disk, or a file that has changed since the plan was made.
pub fn unwrite(unwrite: &Unwrite, kept: &Path) -> Result<(), TargetError> {
    let path = &unwrite.path;
    let now = files::state(path)?;
    if now == before(unwrite) {
        // Done by a run that was cut off, but for the directories perhaps.
        return remove_directories(&unwrite.directories);
    }
    if now != Some(unwrite.old) {
        return Err(TargetError::InTheWay { path: path.clone(), what: CHANGED });
    }
    files::begin(kept, path)?;
    files::keep(kept, path, &unwrite.old)?;
    match &unwrite.before {
        Some(before) => files::put(&before.kept, path, &before.file)?,
        None => remove(path)?,
    }
    remove_directories(&unwrite.directories)
}

/// Puts the file back as it was, in the directories that it was in.
///
/// # Errors
/// The disk, or another file that is there meanwhile.
pub fn rewrite(unwrite: &Unwrite, kept: &Path) -> Result<(), TargetError> {
    let path = &unwrite.path;
    if !files::was_begun(kept, path) {
        return Ok(());
    }
    files::remove_half_made(path)?;
    for directory in unwrite.directories.iter().rev() {
        files::remove_half_made(&directory.path)?;
        make_again(directory)?;
    }
    let now = files::state(path)?;
    if now == Some(unwrite.old) {
        return Ok(());
    }
    if now != before(unwrite) {
        return Err(TargetError::InTheWay { path: path.clone(), what: "not what was left there" });
    }
    files::put(&files::kept_path(kept, &unwrite.old.digest), path, &unwrite.old)
}

/// Whether the file is gone, or what was there before is there.
///
/// # Errors
/// It cannot be looked at.
pub fn is_unwritten(unwrite: &Unwrite) -> Result<bool, TargetError> {
    Ok(files::state(&unwrite.path)? == before(unwrite))
}

fn remove(path: &Path) -> Result<(), TargetError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    std::fs::remove_file(path)
        .and_then(|()| layout::durable::flush_directory(parent))
        .map_err(|source| TargetError::Io { doing: "cannot remove", path: path.to_path_buf(), source })
}

/// A directory that somebody has put something into meanwhile stays.
fn remove_directories(directories: &[OldDirectory]) -> Result<(), TargetError> {
    directories.iter().try_for_each(|directory| files::remove_directory(&directory.path))
}

fn make_again(directory: &OldDirectory) -> Result<(), TargetError> {
    if directory.path.is_dir() {
        return Ok(());
    }
    files::make(&directory.path)?;
    let set = || -> io::Result<()> {
        std::os::unix::fs::chown(&directory.path, Some(directory.uid), Some(directory.gid))?;
        std::fs::set_permissions(&directory.path, Permissions::from_mode(directory.mode))
    };
    set().map_err(|source| TargetError::Io { doing: "cannot make", path: directory.path.clone(), source })
}

/// Takes the link away, or points it where it pointed before.
///
/// # Errors
/// The disk, or a link that points elsewhere meanwhile.
pub fn unlink(unlink: &Unlink) -> Result<(), TargetError> {
    point(&unlink.link, Some(&unlink.old), unlink.before.as_deref())
}

/// Points the link where it pointed.
///
/// # Errors
/// As [`unlink`].
pub fn relink(unlink: &Unlink) -> Result<(), TargetError> {
    point(&unlink.link, unlink.before.as_deref(), Some(&unlink.old))
}

/// Whether the link is gone, or points where it pointed before.
///
/// # Errors
/// It cannot be read.
pub fn is_unlinked(unlink: &Unlink) -> Result<bool, TargetError> {
    Ok(python::link_target(&unlink.link)?.as_deref() == unlink.before.as_deref())
}

fn point(link: &Path, from: Option<&Path>, to: Option<&Path>) -> Result<(), TargetError> {
    let now = python::link_target(link)?;
    if now.as_deref() == to {
        return Ok(());
    }
    if now.as_deref() != from {
        return Err(TargetError::InTheWay { path: link.to_path_buf(), what: CHANGED });
    }
    to.map_or_else(|| remove(link), |to| python::switch(link, to))
}

/// Takes away what was pushed or loaded. What a registry does not delete stays: that is told, and no failure, as
/// nothing else depends on it.
///
/// # Errors
/// A target, or an image that a container uses.
pub fn withdraw(withdraw: &Withdraw, context: &Context<'_>) -> Result<About, TargetError> {
    match withdraw {
        Withdraw::Push(push) => match registry::undo(push, context) {
            Err(TargetError::CannotDelete { staying, .. }) => {
                return Ok(about([("stays", staying.join(", "))]));
            }
            undone => undone?,
        },
        Withdraw::Load(load) => docker::undo(load, context)?,
        Withdraw::Import(import) => containerd::undo(import, context)?,
    }
    Ok(About::new())
}

/// Pushes or loads it again, from the site store.
///
/// # Errors
/// A target, or the store.
pub fn bring_back(withdraw: &Withdraw, context: &Context<'_>) -> Result<(), TargetError> {
    match withdraw {
        Withdraw::Push(push) => pushes::perform(&[push], context).map_err(|(_, error)| error),
        Withdraw::Load(load) => docker::perform(load, context),
        Withdraw::Import(import) => containerd::perform(import, context),
    }
}
