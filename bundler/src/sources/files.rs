//! Plain files from a file, a directory or a glob.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use edge::{Classified, Exit};
use manifests::Digest;
use manifests::bundle::Content;
use manifests::canonical::{self, CanonicalError};
use manifests::inventory::{Component, FileMode, FileSet, SetFile};
use manifests::oci::{ANNOTATION_TITLE, ARTIFACT_FILES, Descriptor, MANIFEST_BYTES_MAX, MEDIA_FILE};
use manifests::text::{Name, TextError};

use super::select::{self, SelectError};
use super::{Resolved, World, author_artifact};
use crate::lock::{LockedBlob, Origin};
use crate::spec::FilesSpec;

/// Our annotation for permission bits; the OCI spec has none.
const ANNOTATION_MODE: &str = "io.airlock.file.mode";

/// The layers of a manifest, so that it is no longer than one may be with all that is around them.
const LAYERS_BYTES_MAX: u64 = MANIFEST_BYTES_MAX - 64 * 1024;

/// Why files cannot be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// Not there, or not readable.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A link, pipe or device: a bundle carries regular files only.
    #[error("{} is a link, a pipe or a device: a bundle carries regular files only", path.display())]
    NotAFile {
        /// Which.
        path: PathBuf,
    },
    /// There is nothing to take.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// A name that cannot travel.
    #[error("{}", path.display())]
    Name {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: TextError,
    },
    /// A document of ours that is not one.
    #[error(transparent)]
    Document(#[from] CanonicalError),
}

impl Classified for FilesError {
    fn exit(&self) -> Exit {
        match self {
            Self::Read { .. } | Self::NotAFile { .. } => Exit::Unreachable,
            Self::Select(error) => error.exit(),
            Self::Name { .. } => Exit::Usage,
            Self::Document(_) => Exit::Unexpected,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotAFile { .. } => Some("copy the file that the link points to into its place".to_string()),
            Self::Select(error) => error.hint(),
            _ => None,
        }
    }
}

/// Digest and size of a file.
///
/// # Errors
/// Not readable.
pub fn hash(world: &World<'_>, shown: &Path) -> Result<Content, FilesError> {
    let failed = |source| FilesError::Read { path: shown.to_path_buf(), source };
    let mut file = File::open(world.path(shown)).map_err(failed)?;
    layout::hashing::hash(&mut file).map_err(failed)
}

/// Resolves a file set to digests. `taken` are the names of the sets before it. One manifest lists some fifteen thousand
/// files; of more than that, several sets are made for the same place.
///
/// # Errors
/// See [`FilesError`].
pub fn resolve(spec: &FilesSpec, world: &World<'_>, taken: &[Name]) -> Result<Vec<Resolved>, FilesError> {
    let shown = &spec.source;
    let found = select::select(shown, &spec.exclude, &world.base)?.found;
    let mut files = Vec::new();
    for (below, path) in found {
        files.push(take(spec, world, &below, path)?);
    }
    files.sort_by(|(left, _), (right, _)| left.path.cmp(&right.path));
    let (mut taken, mut sets) = (taken.to_vec(), Vec::new());
    for portion in portions(files)? {
        let text = |source| FilesError::Name { path: shown.clone(), source };
        let name = set_name(spec.dest.as_str(), &taken).map_err(text)?;
        taken.push(name.clone());
        let mut blobs: BTreeMap<Digest, LockedBlob> =
            portion.iter().map(|(file, blob)| (file.digest, blob.clone())).collect();
        let files: Vec<SetFile> = portion.into_iter().map(|(file, _)| file).collect();
        let manifest = author_artifact(ARTIFACT_FILES, files.iter().map(layer).collect(), &mut blobs)?;
        let source = shown.display().to_string().parse().map_err(text)?;
        let set = FileSet { name, source, dest: spec.dest.clone(), files, manifest };
        sets.push(Resolved { component: Component::FileSet(set), blobs });
    }
    Ok(sets)
}

/// A file as the manifest of its set lists it.
fn layer(file: &SetFile) -> Descriptor {
    Descriptor::new(MEDIA_FILE, file.digest, file.size)
        .annotated(ANNOTATION_TITLE, file.path.as_str())
        .annotated(ANNOTATION_MODE, &file.mode.to_string())
}

/// Files and where they are.
type Portion = Vec<(SetFile, LockedBlob)>;

/// As many files in each as a manifest can list, in their order.
fn portions(files: Portion) -> Result<Vec<Portion>, CanonicalError> {
    let (mut portions, mut bytes) = (vec![Portion::new()], 0);
    for file in files {
        let length = canonical::to_canonical(&layer(&file.0))?.len() as u64;
        if bytes + length > LAYERS_BYTES_MAX {
            portions.push(Portion::new());
            bytes = 0;
        }
        bytes += length;
        if let Some(portion) = portions.last_mut() {
            portion.push(file);
        }
    }
    Ok(portions)
}

fn take(
    spec: &FilesSpec,
    world: &World<'_>,
    below: &Path,
    path: PathBuf,
) -> Result<(SetFile, LockedBlob), FilesError> {
    let metadata = regular(world, &path)?;
    let content = hash(world, &path)?;
    // Two modes only, as Git has them: the umask of whoever checked the files out must not show.
    let bits = if metadata.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 };
    let mode =
        spec.mode.or_else(|| FileMode::new(bits)).unwrap_or_else(|| unreachable!("both are within 0777"));
    let name = below.to_string_lossy().parse();
    let name = name.map_err(|source| FilesError::Name { path: path.clone(), source })?;
    let file = SetFile { path: name, digest: content.digest, size: content.size, mode };
    Ok((file, LockedBlob { size: content.size, from: Origin::File(path) }))
}

/// What is known of a file, which has to be one.
///
/// # Errors
/// Not readable, or a link, a pipe or a device.
pub(super) fn regular(world: &World<'_>, shown: &Path) -> Result<std::fs::Metadata, FilesError> {
    let path = shown.to_path_buf();
    match std::fs::symlink_metadata(world.path(shown)) {
        Ok(metadata) if metadata.is_file() => Ok(metadata),
        Ok(_) => Err(FilesError::NotAFile { path }),
        Err(source) => Err(FilesError::Read { path, source }),
    }
}

/// A name made from the destination: `/etc/fraud/` is `etc-fraud`. A second set for the same place gets a
/// number.
pub(super) fn set_name(dest: &str, taken: &[Name]) -> Result<Name, TextError> {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c.to_ascii_lowercase() } else { '-' }
    };
    let slug: String = dest.trim_matches('/').chars().map(plain).take(56).collect();
    let slug = slug.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    let slug = if slug.is_empty() { "root" } else { slug };
    let mut number = 1_usize;
    loop {
        let text = if number == 1 { slug.to_string() } else { format!("{slug}-{number}") };
        let name: Name = text.parse()?;
        if !taken.contains(&name) {
            return Ok(name);
        }
        number = number.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sets_name_comes_from_its_destination() {
        let name = |dest: &str, taken: &[Name]| set_name(dest, taken).unwrap().to_string();
        assert_eq!(name("/etc/fraud/", &[]), "etc-fraud");
        assert_eq!(name("/", &[]), "root");
        assert_eq!(name("/Opt/.Hidden X", &[]), "opt-.hidden-x");
        assert_eq!(name("/etc/fraud", &["etc-fraud".parse().unwrap()]), "etc-fraud-2");
    }
}
