//! Plain Kubernetes manifests: the very files that travel, walked as they are.

use std::collections::BTreeMap;
use std::io;

use edge::yaml::YamlError;
use edge::{Classified, Exit};
use manifests::Digest;
use manifests::bundle::Content;
use manifests::kubernetes::{KubernetesManifests, PlainFile};

use crate::lock::LockedBlob;
use crate::sources::World;
use discovery::hit::{Hit, Hits, TooMany};
use discovery::walk;

/// Why manifests cannot be looked through.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlainError {
    /// A file cannot be read.
    #[error("Kubernetes manifests {set}: cannot read {file}")]
    Read {
        /// Which set.
        set: String,
        /// Which file.
        file: String,
        /// Why not.
        source: io::Error,
    },
    /// A file is not YAML, or not JSON.
    #[error("Kubernetes manifests {set} cannot be looked through")]
    Document {
        /// Which set.
        set: String,
        /// Where and why not.
        source: YamlError,
    },
    /// They name too many images.
    #[error("Kubernetes manifests {set}")]
    TooMany {
        /// Which set.
        set: String,
        /// How many.
        source: TooMany,
    },
}

impl Classified for PlainError {
    fn exit(&self) -> Exit {
        match self {
            Self::Read { .. } => Exit::Unreachable,
            Self::Document { .. } | Self::TooMany { .. } => Exit::Usage,
        }
    }
}

/// Finds the images of a set.
///
/// # Errors
/// See [`PlainError`].
pub fn look(
    set: &KubernetesManifests,
    blobs: &BTreeMap<Digest, LockedBlob>,
    world: &World<'_>,
) -> Result<Vec<Hit>, PlainError> {
    let name = || set.name.to_string();
    let mut hits = Hits::default();
    for file in &set.files {
        let text = read(file, blobs, world).map_err(|source| PlainError::Read {
            set: name(),
            file: file.path.to_string(),
            source,
        })?;
        let path = file.path.as_str();
        // As it is told apart while locking.
        let found = match path.rsplit_once('.') {
            Some((_, "json")) => walk::json(path, &text, &mut hits),
            _ => walk::stream(path, &text, &mut hits),
        };
        found.map_err(|source| PlainError::Document { set: name(), source })?;
    }
    hits.finish().map_err(|source| PlainError::TooMany { set: name(), source })
}

fn read(file: &PlainFile, blobs: &BTreeMap<Digest, LockedBlob>, world: &World<'_>) -> io::Result<String> {
    let blob = blobs.get(&file.digest);
    let blob = blob.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it is not in the lock"))?;
    let content = Content { digest: file.digest, size: file.size };
    let bytes = crate::export::document(content, blob, world)?;
    String::from_utf8(bytes).map_err(io::Error::other)
}
