//! What a command writes outside the site (reports, receipts, lists, diagnoses): a file or a directory that is there whole or not at all, and never in the
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
            io::ErrorKind::AlreadyExists => "what is there is never overwritten: choose another place",
            _ => "make room or permission for it, and see that its directory is there",
        };
        Some(hint.to_string())
    }
}

/// A file that only its owner reads, as the log is.
pub(crate) const PRIVATE: u32 = 0o600;

/// A file to be carried away, with nothing in it that its reader must not see.
pub(crate) const FOR_OTHERS: u32 = 0o644;

/// Something that has not got its name yet; gone again if it never gets it.
#[derive(Debug)]
pub(crate) struct Staged {
    place: PathBuf,
    made: PathBuf,
    kept: bool,
}

impl Staged {
    /// Whether the place is free, for whoever has a long way to go before it is needed.
    ///
    /// # Errors
    /// Something is there already.
    pub(crate) fn must_be_free(place: &Path) -> Result<(), OutputError> {
        match place.symlink_metadata() {
            Ok(_) => Err(OutputError::of(place)(io::ErrorKind::AlreadyExists.into())),
            Err(_) => Ok(()),
        }
    }

    fn beside(place: &Path) -> Result<Self, OutputError> {
        let failed = |source| OutputError::of(place)(source);
        Self::must_be_free(place)?;
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

    /// A file, and where to write it.
    ///
    /// # Errors
    /// Something is there already, or it cannot be made.
    pub(crate) fn file(place: &Path, mode: u32) -> Result<(Self, File), OutputError> {
        let staged = Self::beside(place)?;
        let file = File::options().read(true).write(true).create_new(true).mode(mode).open(&staged.made);
        Ok((staged, file.map_err(OutputError::of(place))?))
    }

    /// A file with this content.
    ///
    /// # Errors
    /// As [`Staged::file`].
    pub(crate) fn file_of(place: &Path, content: &[u8], mode: u32) -> Result<Self, OutputError> {
        let (staged, mut file) = Self::file(place, mode)?;
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
        layout::durable::rename_new(&self.made, &self.place).map_err(failed)?;
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
        drop(Staged::file_of(&place, b"half", PRIVATE).unwrap());
        assert_eq!(names(dir.path()), [""; 0]);
        let staged = Staged::file_of(&place, b"whole", PRIVATE).unwrap();
        std::fs::write(&place, "somebody else's").unwrap();
        assert!(staged.keep().is_err());
        assert!(Staged::file_of(&place, b"x", PRIVATE).is_err());
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
