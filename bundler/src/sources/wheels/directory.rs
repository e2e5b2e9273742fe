//! Wheels from a directory, taken as they are. Whatever else lies there is an error and not passed over:
//! a source distribution that is silently left behind is missed on site.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use manifests::text::printable;
use manifests::{Digest, Hasher};

use super::filename::{WheelFilename, WheelFilenameError};
use super::metadata::{MetadataError, WheelMetadata};
use super::{Class, enumeration};

const CHUNK_BYTES: usize = 128 * 1024;

/// A wheel on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalWheel {
    /// Its name.
    pub filename: WheelFilename,
    /// Where it is.
    pub path: PathBuf,
    /// The digest of its bytes when they were read here. Whoever reads them again checks it again.
    pub sha256: Digest,
    /// Bytes.
    pub size: u64,
    /// What it says of itself.
    pub metadata: WheelMetadata,
}

/// Why a directory cannot be taken as a wheelhouse.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// It cannot be listed, or a file in it cannot be read.
    #[error("cannot read {}", .path.display())]
    Unreadable {
        /// The directory or the file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No wheel at all.
    #[error("{} holds no wheels", .path.display())]
    Empty {
        /// The directory.
        path: PathBuf,
    },
    /// Source distributions: they would have to be built on site.
    #[error("{} holds source distributions, which cannot be installed on site: {names}; build wheels of them first", .path.display())]
    SourceDistributions {
        /// The directory.
        path: PathBuf,
        /// Some of them.
        names: String,
    },
    /// Files or directories that are not wheels.
    #[error("{} holds more than wheels: {names}; take them out", .path.display())]
    OtherFiles {
        /// The directory.
        path: PathBuf,
        /// Some of them.
        names: String,
    },
    /// A file that ends in `.whl` and is not named as a wheel.
    #[error(transparent)]
    Filename(#[from] WheelFilenameError),
    /// A wheel that is not what its name says.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

impl DirectoryError {
    /// Which kind of failure it is.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Unreadable { .. } => Class::Unreachable,
            Self::Metadata(error) => error.class(),
            _ => Class::Spec,
        }
    }
}

/// The wheels that lie in a directory, sorted by file name. Each is read once to its end. Hidden files
/// are passed over, directories below are not looked into.
///
/// # Errors
/// The directory cannot be read, holds something else than wheels, or holds none.
pub fn wheels_in(directory: &Path) -> Result<Vec<LocalWheel>, DirectoryError> {
    let names = wheel_names(directory)?;
    if names.is_empty() {
        return Err(DirectoryError::Empty { path: directory.to_owned() });
    }
    let filenames: Result<Vec<WheelFilename>, _> = names.iter().map(|name| name.parse()).collect();
    let mut filenames = filenames?;
    filenames.sort();
    filenames.into_iter().map(|filename| local_wheel(directory, filename)).collect()
}

/// The names of the wheels; everything else that is not hidden is reported.
fn wheel_names(directory: &Path) -> Result<Vec<String>, DirectoryError> {
    let unreadable = |source| DirectoryError::Unreadable { path: directory.to_owned(), source };
    let (mut wheels, mut sources, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        // Through a symbolic link: what it points at is what will be packed.
        let is_file = fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file());
        let is_source = [".tar.gz", ".zip", ".tar.bz2", ".tgz"].iter().any(|end| name.ends_with(end));
        match (is_file, name.ends_with(".whl")) {
            (true, true) => wheels.push(name),
            (true, false) if is_source => sources.push(printable(&name)),
            _ => others.push(printable(&name)),
        }
    }
    sources.sort_unstable();
    others.sort_unstable();
    let path = directory.to_owned();
    if !sources.is_empty() {
        return Err(DirectoryError::SourceDistributions { path, names: enumeration(&sources, 8) });
    }
    if !others.is_empty() {
        return Err(DirectoryError::OtherFiles { path, names: enumeration(&others, 8) });
    }
    Ok(wheels)
}

fn local_wheel(directory: &Path, filename: WheelFilename) -> Result<LocalWheel, DirectoryError> {
    let path = directory.join(filename.file_name().as_str());
    let unreadable = |source| DirectoryError::Unreadable { path: path.clone(), source };
    let mut file = File::open(&path).map_err(unreadable)?;
    let (sha256, size) = digest_of(&mut file).map_err(unreadable)?;
    file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    let metadata = WheelMetadata::read(BufReader::new(file), &filename)?;
    Ok(LocalWheel { filename, path, sha256, size, metadata })
}

fn digest_of(file: &mut File) -> io::Result<(Digest, u64)> {
    let mut hasher = Hasher::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = match file.read(&mut chunk) {
            Ok(0) => return Ok((hasher.clone().finish(), hasher.size())),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(chunk.get(..read).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::super::metadata::tests::{METADATA, wheel};
    use super::*;

    const ZOPE: &str = "zope.interface-6.4-cp311-cp311-win_amd64.whl";

    fn directory(files: &[&str]) -> (tempfile::TempDir, Vec<u8>) {
        let directory = tempfile::tempdir().unwrap();
        let bytes = wheel(&[("zope_interface-6.4.dist-info/METADATA", METADATA)]);
        for name in files {
            fs::write(directory.path().join(name), &bytes).unwrap();
        }
        (directory, bytes)
    }

    fn refusal(files: &[&str]) -> DirectoryError {
        let (directory, _) = directory(files);
        wheels_in(directory.path()).unwrap_err()
    }

    #[test]
    fn takes_every_wheel_with_its_digest_and_its_size() {
        let other = "zope.interface-6.4-cp311-cp311-macosx_11_0_arm64.whl";
        let (directory, bytes) = directory(&[ZOPE, other, ".hidden"]);
        let found = wheels_in(directory.path()).unwrap();
        let names: Vec<String> = found.iter().map(|wheel| wheel.filename.to_string()).collect();
        assert_eq!(names, [other, ZOPE]);
        for wheel in &found {
            assert_eq!((wheel.sha256, wheel.size), (Digest::of(&bytes), bytes.len() as u64));
            assert_eq!(wheel.metadata.requires_python.as_deref(), Some(">=3.7, <4"));
            assert_eq!(wheel.path, directory.path().join(wheel.filename.to_string()));
        }
    }

    #[test]
    fn names_what_is_not_a_wheel() {
        let error = refusal(&[ZOPE, "docopt-0.6.2.tar.gz"]);
        assert!(
            matches!(&error, DirectoryError::SourceDistributions { names, .. } if names == "docopt-0.6.2.tar.gz")
        );
        assert_eq!(error.class(), Class::Spec);
        let error = refusal(&[ZOPE, "b.txt", "a.WHL"]);
        assert!(matches!(&error, DirectoryError::OtherFiles { names, .. } if names == "a.WHL, b.txt"));
        assert!(matches!(refusal(&["x.whl"]), DirectoryError::Filename(_)));
        assert!(matches!(refusal(&[]), DirectoryError::Empty { .. }));
        let (directory, _) = directory(&[ZOPE]);
        fs::create_dir(directory.path().join("more.whl")).unwrap();
        assert!(matches!(wheels_in(directory.path()), Err(DirectoryError::OtherFiles { .. })));
    }

    #[test]
    fn refuses_a_wheel_under_another_name() {
        let error = refusal(&["zope.interface-6.5-py3-none-any.whl"]);
        assert!(matches!(error, DirectoryError::Metadata(_)));
        assert_eq!(error.class(), Class::Damaged);
    }

    #[test]
    fn a_directory_that_is_not_there_is_out_of_reach() {
        let (directory, _) = directory(&[]);
        let error = wheels_in(&directory.path().join("nothing")).unwrap_err();
        assert!(matches!(error, DirectoryError::Unreadable { .. }));
        assert_eq!(error.class(), Class::Unreachable);
    }
}
