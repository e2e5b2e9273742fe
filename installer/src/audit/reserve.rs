//! Room on the disk that is kept for the last words of a run.
//!
//! A full disk stops the work, and what was begun is taken back. That has to be written down as well, on
//! the very disk that is full: so a file of some size lies beside the log, and is removed when its room is
//! needed. The next run makes it again before it begins anything.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// For an apply of a few hundred steps, and a checkpoint.
const BYTES: u64 = 256 * 1024;
/// An entry of the log and a line of the journal for each step that is undone.
const BYTES_FOR_EACH_STEP: u64 = 1024;
/// For a plan of many thousand files not all of it is kept.
const BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The file that keeps the room.
#[derive(Debug, Clone)]
pub(super) struct Reserve {
    path: PathBuf,
}

impl Reserve {
    /// That of a log.
    pub(super) fn beside(log: &Path) -> Self {
        Self { path: log.with_file_name("reserve") }
    }

    /// Makes the file, or makes it longer.
    pub(super) fn fill(&self, steps: usize) -> io::Result<()> {
        let wanted = BYTES.saturating_add(BYTES_FOR_EACH_STEP.saturating_mul(steps as u64)).min(BYTES_MAX);
        if self.path.symlink_metadata().is_ok_and(|found| found.is_file() && found.len() >= wanted) {
            return Ok(());
        }
        let filled = self.allocate(wanted);
        if filled.is_err() {
            // Half of it helps nobody, and the failure that is being reported matters more.
            let _ = std::fs::remove_file(&self.path);
        }
        filled
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let mut options = File::options();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&self.path)?;
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            // Where a file system cannot set room aside, it is filled.
            Err(Errno::NOTSUP | Errno::NOSYS) => {
                let zeros = [0; 4096];
                for _ in 0..bytes.div_ceil(zeros.len() as u64) {
                    file.write_all(&zeros)?;
                }
            }
            allocated => allocated?,
        }
        file.sync_all()
    }

    /// Gives the room up, if there is any.
    pub(super) fn release(&self) {
        if let (Ok(()), Some(directory)) = (std::fs::remove_file(&self.path), self.path.parent()) {
            // Some file systems hand the room out again only then.
            let _ = layout::durable::flush_directory(directory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn the_room_is_really_taken_grows_with_the_plan_and_is_given_up_once() {
        let dir = tempfile::tempdir().unwrap();
        let reserve = Reserve::beside(&dir.path().join("audit.jsonl"));
        reserve.release();
        reserve.fill(0).unwrap();
        let taken = |reserve: &Reserve| {
            let found = reserve.path.metadata().unwrap();
            assert!(found.blocks() * 512 >= found.len(), "a file without blocks keeps no room");
            found.len()
        };
        assert_eq!(taken(&reserve), BYTES);
        reserve.fill(100).unwrap();
        assert_eq!(taken(&reserve), BYTES + 100 * BYTES_FOR_EACH_STEP);
        reserve.fill(1).unwrap();
        assert_eq!(taken(&reserve), BYTES + 100 * BYTES_FOR_EACH_STEP);
        reserve.fill(usize::MAX).unwrap();
        assert_eq!(taken(&reserve), BYTES_MAX);
        reserve.release();
        assert!(!reserve.path.exists());
    }
}
