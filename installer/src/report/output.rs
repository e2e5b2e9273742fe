//! What a report writes outside the site: a file or a directory that is there whole or not at all, and never in the
//! place of something else. It is made beside its place under a name of its own, and gets its name at the end.

use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use edge::{Classified, Exit};

/// Why it cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", path.display())]
pub(crate) struct OutputError {
    path: PathBuf,
    source: io::Error,
}

impl OutputError {
    pub(crate) fn of(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self { path: path.to_path_buf(), source }
    }
}

impl Classified for OutputError {
    fn exit(&self) -> Exit {
        Exit::Unreachable
    }

    fn hint(&self) -> Option<String> {
        let hint = match self.source.kind() {
            io::ErrorKind::AlreadyExists => "nothing is overwritten: choose another place",
            _ => "make room or permission for it, and see that its directory is there",
        };
        Some(hint.to_string())
    }
}

/// Something that has not got its name yet; gone again if it never gets it.
#[derive(Debug)]
pub(crate) struct Staged {
    place: PathBuf,
    made: PathBuf,
    kept: bool,
}

impl Staged {
    fn beside(place: &Path) -> Result<Self, OutputError> {
        let failed = |source| OutputError::of(place)(source);
        if place.symlink_metadata().is_ok() {
            return Err(failed(io::Error::from(io::ErrorKind::AlreadyExists)));
        }
        let name = place.file_name().ok_or_else(|| failed(io::Error::from(io::ErrorKind::InvalidInput)))?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(".new");
        let made = place.with_file_name(hidden);
        // What a run that was killed has left.
        let _ = std::fs::remove_file(&made);
        let _ = std::fs::remove_dir_all(&made);
        Ok(Self { place: place.to_path_buf(), made, kept: false })
    }

    /// A file, closed to others as the log is, and where to write it.
    ///
    /// # Errors
    /// Something is there already, or it cannot be made.
    pub(crate) fn file(place: &Path) -> Result<(Self, File), OutputError> {
        let staged = Self::beside(place)?;
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&staged.made);
        Ok((staged, file.map_err(OutputError::of(place))?))
    }

    /// A file with this content.
    ///
    /// # Errors
    /// As [`Staged::file`].
    pub(crate) fn file_of(place: &Path, content: &[u8]) -> Result<Self, OutputError> {
        let (staged, mut file) = Self::file(place)?;
        file.write_all(content).and_then(|()| file.sync_all()).map_err(OutputError::of(place))?;
        Ok(staged)
    }

    /// A directory, closed to others.
    ///
    /// # Errors
    /// As [`Staged::file`].
    pub(crate) fn directory(place: &Path) -> Result<Self, OutputError> {
        let staged = Self::beside(place)?;
        DirBuilder::new().mode(0o700).create(&staged.made).map_err(OutputError::of(place))?;
        Ok(staged)
    }

    /// Where it is while it has no name.
    pub(crate) fn made(&self) -> &Path {
        &self.made
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// Something is there by now, or the disk fails.
    pub(crate) fn keep(mut self) -> Result<(), OutputError> {
        let failed = |source| OutputError::of(&self.place)(source);
        if self.place.symlink_metadata().is_ok() {
            return Err(failed(io::Error::from(io::ErrorKind::AlreadyExists)));
        }
        std::fs::rename(&self.made, &self.place).map_err(failed)?;
        self.kept = true;
        let parent = self.place.parent().filter(|parent| !parent.as_os_str().is_empty());
        parent
            .map_or(Ok(()), layout::durable::flush_directory)
            .map_err(|source| OutputError::of(&self.place)(source))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.kept {
            // The failure that is being reported matters more than this one.
            let _ = std::fs::remove_file(&self.made);
            let _ = std::fs::remove_dir_all(&self.made);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_never_gets_its_name_leaves_nothing_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("report.html");
        drop(Staged::file_of(&place, b"half").unwrap());
        assert_eq!(names(dir.path()), [""; 0]);
        let staged = Staged::file_of(&place, b"whole").unwrap();
        std::fs::write(&place, "somebody else's").unwrap();
        assert!(staged.keep().is_err());
        assert!(Staged::file_of(&place, b"x").is_err());
        assert_eq!(
            (names(dir.path()), std::fs::read(&place).unwrap()),
            (vec!["report.html".to_string()], b"somebody else's".to_vec())
        );
        let directory = Staged::directory(&dir.path().join("evidence")).unwrap();
        std::fs::write(directory.made().join("a"), "a").unwrap();
        directory.keep().unwrap();
        assert_eq!(names(dir.path()), ["evidence", "report.html"]);
    }
}
