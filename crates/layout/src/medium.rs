//! Opening what lies on a medium: read-only, without following a link in the last step, without waiting
//! for a writer, and only regular files.
//!
//! Whether several places of a file may be read at the same time is asked here as well. Only what is known not to have
//! to look for its places is read so: file systems that lie on disks, on a disk that does not spin, or in memory. A
//! disc in a drive, a stick, a share, whatever the kernel does not tell about: those are read forward.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

/// `f_type` of tmpfs and ramfs, by `linux/magic.h`.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
/// Of ext2 to ext4, XFS and F2FS: file systems that lie on one block device, which the kernel names.
const ON_A_DISK: [u64; 3] = [0xef53, 0x5846_5342, 0xf2f5_2010];

/// More do not make a disk faster, and each needs its buffer.
const WORKERS_MAX: usize = 8;

/// What is read ahead of documents at most.
const AHEAD_BYTES: usize = 64 * 1024;

/// Where the bytes of an archive come from.
pub enum Input {
    /// They are read from the first to the last.
    Forward(Box<dyn Read>),
    /// Several places may be read at the same time.
    Anywhere(Arc<File>),
}

impl Input {
    /// A regular file, as [`open`] opens it.
    ///
    /// # Errors
    /// See [`MediumError`].
    pub fn open(path: &Path) -> Result<Self, MediumError> {
        let (file, _) = open(path)?;
        Ok(if is_read_anywhere(&file) {
            Self::Anywhere(Arc::new(file))
        } else {
            Self::Forward(Box::new(file))
        })
    }

    /// The bytes from the first to the last, and the file if several places of it may be read at the same time.
    #[must_use]
    pub fn into_parts(self) -> (Box<dyn Read>, Option<Arc<File>>) {
        match self {
            Self::Forward(input) => (input, None),
            Self::Anywhere(file) => (Box::new(Documents(Arc::clone(&file))), Some(file)),
        }
    }
}

/// A file of which only the documents are read forward: not much is read ahead, which would be read again.
struct Documents(Arc<File>);

impl Read for Documents {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(AHEAD_BYTES);
        self.0.read(buffer.get_mut(..wanted).unwrap_or_default())
    }
}

/// How many files below this directory are best read at the same time: one where a disk would have to look for them.
#[must_use]
pub fn readers(directory: &Path) -> usize {
    if File::open(directory).is_ok_and(|directory| is_read_anywhere(&directory)) { workers() } else { 1 }
}

/// As many as are worth it on this machine.
pub(crate) fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX)
}

/// Whether reading several places at the same time is known to cost this file's disk nothing.
fn is_read_anywhere(file: &File) -> bool {
    let Ok(stat) = rustix::fs::fstatfs(file) else { return false };
    let kind = u64::try_from(stat.f_type).unwrap_or_default();
    if IN_MEMORY.contains(&kind) {
        return true;
    }
    let device = rustix::fs::fstat(file).map(|stat| stat.st_dev);
    ON_A_DISK.contains(&kind) && device.is_ok_and(|device| !spins(device))
}

/// Whether a disk spins, or may. Disks of virtual machines say that they do without knowing: they are files of the
/// host, or parts of an array.
fn spins(device: u64) -> bool {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let Ok(place) = std::fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")) else { return true };
    if place.components().any(|part| part.as_os_str().to_string_lossy().starts_with("virtio")) {
        return false;
    }
    // A partition has no queue of its own.
    let said = [place.join("queue/rotational"), place.join("../queue/rotational")]
        .iter()
        .find_map(|file| read_bounded(file, 16).ok());
    said.as_deref().map(<[u8]>::trim_ascii) != Some(b"0")
}

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
    fn only_what_is_known_not_to_spin_is_read_in_several_places() {
        // No file system of files on a disk, and no device of the kernel's.
        assert!(!is_read_anywhere(&File::open("/proc/self/status").unwrap()));
        assert!(spins(rustix::fs::makedev(0, 0)));
        if Path::new("/dev/shm").is_dir() {
            let file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
            assert!(is_read_anywhere(file.as_file()));
            let Input::Anywhere(opened) = Input::open(file.path()).unwrap() else { panic!("forward") };
            assert_eq!(opened.metadata().unwrap().len(), 0);
        }
    }

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
