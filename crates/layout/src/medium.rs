//! Opening what lies on a medium: read-only, without following a link in the last step, without waiting
//! for a writer, and only regular files.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Why a file on a medium cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MediumError {
    /// Not there, or not readable.
    #[error("cannot open {}", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A directory, link, pipe or device.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// Which.
        path: PathBuf,
    },
}

/// Opens a regular file for reading, and tells its length.
///
/// # Errors
/// See [`MediumError`].
pub fn open(path: &Path) -> Result<(File, u64), MediumError> {
    let failed = |source| MediumError::Open { path: path.to_path_buf(), source };
    // NONBLOCK: opening a FIFO must not wait for somebody to write to it. NOATIME is not asked for, as
    // only a file's owner may; media are mounted read-only.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(descriptor) => File::from(descriptor),
        Err(rustix::io::Errno::LOOP) => return Err(MediumError::NotAFile { path: path.to_path_buf() }),
        Err(error) => return Err(failed(error.into())),
    };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(MediumError::NotAFile { path: path.to_path_buf() });
    }
    Ok((file, metadata.len()))
}

/// Reads a small file that may lie on a medium: at most `limit` bytes of a regular file, without waiting
/// for a writer. A link is followed: what this reads is compared with a fingerprint or a signature.
///
/// # Errors
/// Not readable, not a regular file (`InvalidInput`), or longer (`FileTooLarge`).
pub fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut content = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {limit} bytes")));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_small_files_and_links_to_them_and_never_waits_for_a_pipe() {
        let dir = tempfile::tempdir().unwrap();
        let [file, link, pipe] = ["file", "link", "pipe"].map(|name| dir.path().join(name));
        std::fs::write(&file, b"four").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let (kind, mode) = (rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600));
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
        assert_eq!(read_bounded(&file, 4).unwrap(), b"four");
        assert_eq!(read_bounded(&link, 4).unwrap(), b"four");
        for (bad, kind) in [
            (file.as_path(), io::ErrorKind::FileTooLarge),
            (&pipe, io::ErrorKind::InvalidInput),
            (dir.path(), io::ErrorKind::InvalidInput),
            (Path::new("/dev/zero"), io::ErrorKind::InvalidInput),
            (&dir.path().join("none"), io::ErrorKind::NotFound),
        ] {
            assert_eq!(read_bounded(bad, 3).unwrap_err().kind(), kind, "{}", bad.display());
        }
    }

    #[test]
    fn refuses_links_directories_and_pipes_without_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, b"x").unwrap();
        assert_eq!(open(&file).unwrap().1, 1);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        for bad in [link.as_path(), pipe.as_path(), dir.path()] {
            assert!(matches!(open(bad), Err(MediumError::NotAFile { .. })), "{}", bad.display());
        }
        assert!(matches!(open(&dir.path().join("none")), Err(MediumError::Open { .. })));
    }
}
