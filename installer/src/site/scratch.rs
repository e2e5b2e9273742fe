//! A directory of one run, for what checks need for a moment. It is below the site's own, so that nothing is
//! written anywhere else; it is gone with the run, and what a killed run has left goes with the next.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::Site;

/// The directory; removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    all: PathBuf,
    own: PathBuf,
}

impl Scratch {
    /// Makes one. The word tells several of one run apart.
    ///
    /// # Errors
    /// The site directory cannot be written to.
    pub fn make(site: &Site, word: &str) -> io::Result<Self> {
        let all = site.dir().join("scratch");
        remove_what_is_left(&all);
        let own = all.join(format!("{}-{word}", std::process::id()));
        match std::fs::remove_dir_all(&own) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&own)?;
        Ok(Self { all, own })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.own
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now goes with the next run; the upper one stays while others use it.
        let _ = std::fs::remove_dir_all(&self.own);
        let _ = std::fs::remove_dir(&self.all);
    }
}

/// Directories of processes that are gone.
fn remove_what_is_left(all: &Path) {
    let Ok(entries) = std::fs::read_dir(all) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let process: Option<u32> = name.split('-').next().and_then(|number| number.parse().ok());
        if process.is_some_and(|process| !Path::new("/proc").join(process.to_string()).exists()) {
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_directory_is_gone_with_its_run_and_what_a_killed_one_left_with_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let site = Site::at(dir.path().to_path_buf());
        let left = dir.path().join("scratch/4294967295-wheels");
        std::fs::create_dir_all(left.join("x")).unwrap();
        let scratch = Scratch::make(&site, "wheels").unwrap();
        let other = Scratch::make(&site, "python").unwrap();
        assert!(!left.exists() && scratch.path().is_dir());
        drop(scratch);
        assert!(other.path().is_dir());
        drop(other);
        assert!(!dir.path().join("scratch").exists());
    }
}
