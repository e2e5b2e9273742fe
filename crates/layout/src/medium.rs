//! Opening what lies on a medium: read-only, without following a link in the last step, without waiting
//! for a writer, and only regular files.

use std::fs::File;
use std::io;
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

#[cfg(test)]
mod tests {
    use super::*;

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
