//! Plain Kubernetes manifests: files of objects, for `kubectl apply` or whatever a site has for it.
//!
//! This module knows the files and not what is in them: `bundler` has read every object before it packed
//! them.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::inventory::NeededImage;
use crate::oci::Descriptor;
use crate::text::{Marking, Name, RelativePath};

/// The kind of artifact that holds a set of Kubernetes manifests.
pub const ARTIFACT_KUBERNETES: &str = "application/vnd.airlock.kubernetes.v1";

/// A set of Kubernetes manifests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubernetesManifests {
    /// Its name, unique in the bundle.
    pub name: Name,
    /// Where it came from.
    pub source: Marking,
    /// The namespace of objects that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Name>,
    /// Sets and charts are applied from the lowest to the highest.
    pub order: i64,
    /// The files, sorted by path.
    pub files: Vec<PlainFile>,
    /// The images that were found in them when the bundle was locked, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<NeededImage>,
    /// Its OCI artifact.
    pub manifest: Descriptor,
}

/// A file that is never written to the site's file system, and so has no permission bits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlainFile {
    /// Below the set's source.
    pub path: RelativePath,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}
