//! Small files that must survive a power cut whole: written beside their place, flushed, renamed into
//! it, and the directory flushed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Replaces a file, or makes it. Readers see the old content or the new, never less.
///
/// # Errors
/// The place cannot be written to; the old content is still there then.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let parent = path.parent().ok_or_else(|| io::Error::other("a file needs a directory"))?;
    let name = path.file_name().ok_or_else(|| io::Error::other("a file needs a name"))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(".new");
    let temporary = parent.join(temporary);
    let written = write_new(&temporary, content, mode).and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // The failure that is already being reported matters more than this one.
        let _ = std::fs::remove_file(&temporary);
    }
    written.and_then(|()| flush_directory(parent))
}

/// Gives something its name, which takes the place of nothing: what is there already stays as it is.
///
/// # Errors
/// The place cannot be written to, or there is something (`AlreadyExists`).
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system that cannot promise it, such as NFS.
        Err(Errno::INVAL | Errno::NOSYS) if !to.try_exists()? => std::fs::rename(from, to),
        Err(Errno::INVAL | Errno::NOSYS) => Err(io::ErrorKind::AlreadyExists.into()),
        renamed => Ok(renamed?),
    }
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Makes the names in a directory durable.
///
/// # Errors
/// The directory is gone or the disk fails.
pub fn flush_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes a directory and its parents, durable and closed to others.
///
/// # Errors
/// It cannot be made.
pub fn make_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if path.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), flush_directory)
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// Not readable, or longer (`FileTooLarge`).
pub fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut content = Vec::new();
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {limit} bytes")));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_replacement_leaves_the_old_content_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        replace(&path, b"old", 0o600).unwrap();
        replace(&path, b"new", 0o600).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert!(replace(&dir.path().join("none/state"), b"x", 0o600).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(read_bounded(&path, 2).is_err());
        assert_eq!(read_bounded(&path, 3).unwrap(), b"new");
    }

    #[test]
    fn a_new_name_takes_the_place_of_nothing_not_even_of_a_link_to_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second, link) = (dir.path().join("1"), dir.path().join("2"), dir.path().join("link"));
        std::fs::write(&first, "first").unwrap();
        std::fs::write(&second, "second").unwrap();
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        for taken in [&second, &link] {
            assert_eq!(rename_new(&first, taken).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(
            (std::fs::read(&first).unwrap(), std::fs::read(&second).unwrap()),
            (b"first".to_vec(), b"second".to_vec())
        );
        rename_new(&first, &dir.path().join("3")).unwrap();
        assert_eq!(std::fs::read(dir.path().join("3")).unwrap(), b"first");
    }
}
