//! What a disk is asked and told: how much room it has, to begin with what was written, to forget what was read.
//!
//! It says nothing about what lies there, and none of what it tells the kernel changes a byte.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::path::Path;

use rustix::fs::{Advice, fadvise, statvfs};

/// So much is worth a system call, and a stretch that a disk likes.
const WRITEBACK_BYTES: u64 = 8 * 1024 * 1024;

/// How many bytes the file system of a directory has for whoever runs this.
///
/// # Errors
/// The directory is not there.
pub fn free_bytes(directory: &Path) -> io::Result<u64> {
    let stat = statvfs(directory)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Tells the kernel that nobody needs what it has of a file in memory. It drops what is on the disk already; that is a
/// wish, and some file systems do not hear it.
pub fn forget(file: &File) {
    let _ = fadvise(file, 0, None, Advice::DontNeed);
}

/// Makes the disk begin with what was written of a large file, while more of it comes: a flush at the end has little
/// left to wait for.
///
/// The kernel does so when it is told that what was written is not needed in memory (`POSIX_FADV_DONTNEED`). It drops
/// only what is on the disk already, and of what was only just written nothing is.
#[derive(Debug, Default)]
pub struct Writeback {
    from: u64,
    bytes: u64,
}

impl Writeback {
    /// `count` bytes were written at `at`, after those of the last time.
    pub fn wrote(&mut self, file: &File, at: u64, count: u64) {
        if self.from.saturating_add(self.bytes) != at {
            (self.from, self.bytes) = (at, 0);
        }
        self.bytes = self.bytes.saturating_add(count);
        if self.bytes >= WRITEBACK_BYTES {
            // Advice: where it is not taken, the flush takes longer.
            let _ = fadvise(file, self.from, NonZeroU64::new(self.bytes), Advice::DontNeed);
            (self.from, self.bytes) = (at.saturating_add(count), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn what_the_disk_is_told_changes_nothing() {
        let file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..3 * 1024 * 1024).map(|at| (at * 7 / 3) as u8).collect();
        let mut writeback = Writeback::default();
        for nth in 0..6 {
            let at = nth * bytes.len() as u64;
            file.write_all_at(&bytes, at).unwrap();
            writeback.wrote(&file, at, bytes.len() as u64);
        }
        forget(&file);
        let mut read = vec![0; bytes.len()];
        for nth in 0..6 {
            file.read_exact_at(&mut read, nth * bytes.len() as u64).unwrap();
            assert!(read == bytes);
        }
    }

    #[test]
    fn room_is_told_of_what_is_there() {
        assert!(free_bytes(&std::env::temp_dir()).unwrap() > 0);
        assert_eq!(free_bytes(Path::new("/nowhere/at/all")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
