//! `bundle.lock`, the BundleLock: every name in the spec resolved to a digest, and where each blob comes
//! from. `build` uses nothing but this: it never looks up a name again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use edge::{Classified, Exit};
use manifests::health::HealthChecks;
use manifests::inventory::Component;
use manifests::requires::Requires;
use manifests::text::{BundleVersion, FileName};
use manifests::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

/// Bounds a lock file: 100,000 blobs need about 40 MiB.
const LOCK_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// The version of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LockSchema {
    /// This one.
    #[serde(rename = "airlock-lock/v1")]
    V1,
}

/// The document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleLock {
    /// What this is.
    pub schema: LockSchema,
    /// SHA-256 of the `bundle.yaml` that it was made from.
    pub spec: Digest,
    /// The bundle's `created`.
    pub created: Timestamp,
    /// The components, as they will stand in the inventory.
    pub components: Vec<Component>,
    /// What a site must have, as it will stand in the inventory.
    #[serde(default, skip_serializing_if = "Requires::is_empty")]
    pub requires: Requires,
    /// What has to hold afterwards, as it will stand in the inventory.
    #[serde(default, skip_serializing_if = "HealthChecks::is_empty")]
    pub health: HealthChecks,
    /// Every blob, and where to get it.
    pub blobs: BTreeMap<Digest, LockedBlob>,
}

/// A blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedBlob {
    /// Bytes.
    pub size: u64,
    /// Where to get it.
    pub from: Origin,
}

/// Where a blob comes from. Paths are relative to `bundle.yaml` or absolute, as they were written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Origin {
    /// A small document that we made while locking: its text.
    Inline(String),
    /// A registry's blob.
    Registry(RegistryPlace),
    /// A registry's manifest.
    RegistryManifest(RegistryPlace),
    /// A file.
    File(PathBuf),
    /// A stretch of a file: an entry of an archive.
    Slice(Slice),
    /// A stretch of a file, compressed once: a layer that `docker save` wrote uncompressed.
    Gzip(Slice),
    /// An image of the Docker Engine on this machine, by its name: what it saved is in the cache.
    Daemon(String),
    /// A chart's directory, packed once.
    PackedChart(PackedChart),
    /// A file on a server.
    Url(String),
    /// A wheel that was built while locking, because the spec asks for it.
    BuiltWheel(BuiltWheel),
}

/// The source distribution that a wheel was built of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuiltWheel {
    /// Where it is.
    pub url: String,
    /// Its digest.
    pub sha256: Digest,
    /// Bytes.
    pub size: u64,
}

/// A chart's directory, and what is packed with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackedChart {
    /// The directory.
    pub directory: PathBuf,
    /// The charts that it lacks in its `charts/`, sorted by name and version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<PackedDependency>,
}

/// A chart that is packed into another one as `charts/NAME-VERSION.tgz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackedDependency {
    /// Its name.
    pub name: FileName,
    /// Its version.
    pub version: BundleVersion,
    /// Where its archive is.
    pub from: Origin,
    /// The archive's digest.
    pub sha256: Digest,
    /// Bytes.
    pub size: u64,
}

/// A repository of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryPlace {
    /// `http://127.0.0.1:5000`
    pub url: String,
    /// The repository's path.
    pub repository: String,
}

/// A stretch of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slice {
    /// The file.
    pub file: PathBuf,
    /// Where it starts.
    pub offset: u64,
    /// Its length.
    pub size: u64,
}

/// Why a lock cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Not readable.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Not writable.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It does not parse.
    #[error("{} is not a lock of ours: {reason}", path.display())]
    Shape {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The spec has changed since.
    #[error("{} was made from another text of {}", path.display(), spec.display())]
    Stale {
        /// The lock.
        path: PathBuf,
        /// The spec.
        spec: PathBuf,
    },
}

impl Classified for LockError {
    fn exit(&self) -> Exit {
        match self {
            Self::Read { .. } | Self::Write { .. } => Exit::Unreachable,
            Self::Shape { .. } | Self::Stale { .. } => Exit::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Stale { spec, .. } => Some(format!("run `bundler lock {}`", spec.display())),
            Self::Shape { .. } => Some("remove it and run `bundler lock` again".to_string()),
            _ => None,
        }
    }
}

/// `bundle.lock` beside `bundle.yaml`.
#[must_use]
pub fn path_for(spec: &Path) -> PathBuf {
    spec.with_extension("lock")
}

impl BundleLock {
    /// Reads a lock.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn read(path: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::Read { path: path.to_path_buf(), source };
        let bytes = layout::durable::read_bounded(path, LOCK_BYTES_MAX).map_err(failed)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| LockError::Shape { path: path.to_path_buf(), reason: error.to_string() })
    }

    /// Writes it, indented for people who read its changes.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn write(&self, path: &Path) -> Result<(), LockError> {
        let shape = |error: serde_json::Error| LockError::Shape {
            path: path.to_path_buf(),
            reason: error.to_string(),
        };
        let mut text = serde_json::to_string_pretty(self).map_err(shape)?;
        text.push('\n');
        let failed = |source| LockError::Write { path: path.to_path_buf(), source };
        layout::durable::replace(path, text.as_bytes(), 0o644).map_err(failed)
    }
}
