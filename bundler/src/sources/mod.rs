//! Where content comes from. Each kind of source turns one entry of `bundle.yaml` into a component of the
//! inventory and the places of its blobs; nothing large is read before `build`, except what has to be
//! hashed or compressed to know its digest.

pub mod charts;
pub(crate) mod closure;
pub mod fetch;
pub mod files;
pub mod images;
pub mod kubernetes;
pub mod logins;
pub mod scripts;
pub mod select;
pub mod wheelhouse;
pub mod wheels;

use edge::progress::Shown;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use manifests::inventory::Component;
use manifests::oci::{Annotations, Descriptor, EMPTY_CONFIG, ImageManifest, MEDIA_EMPTY, MEDIA_MANIFEST};
use manifests::{Digest, canonical};

use crate::cache::Cache;
use crate::lock::{LockedBlob, Origin};
use crate::registries::Registries;

/// What a source may use.
pub struct World<'a> {
    /// What relative paths start from.
    pub base: PathBuf,
    /// What was made before.
    pub cache: &'a Cache,
    /// The one HTTP client.
    pub http: &'a registry::Http,
    /// The registries, each with its own client.
    pub registries: &'a Registries,
    /// Whether somebody wants the run to stop.
    pub interrupted: &'a (dyn Fn() -> bool + Sync),
    /// The world of this run.
    pub env: &'a edge::Env,
    /// Says something to the person at the keyboard.
    pub note: &'a (dyn Fn(&str) + Sync),
    /// How progress is shown.
    pub shown: Shown,
    /// The wheelhouses of the spec: their indexes may want a login.
    pub wheels: &'a [crate::spec::WheelsSpec],
    /// The charts of the spec: their repositories may want one too.
    pub charts: &'a [crate::spec::ChartSpec],
}

impl World<'_> {
    /// A path of the spec as the file system knows it.
    #[must_use]
    pub fn path(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }

    /// What pulling blobs needs.
    #[must_use]
    pub fn puller(&self) -> images::pull::Puller<'_> {
        images::pull::Puller { cache: self.cache, note: self.note, interrupted: self.interrupted }
    }
}

/// A component and its blobs.
#[derive(Debug)]
pub struct Resolved {
    /// As it will stand in the inventory.
    pub component: Component,
    /// Where each of its blobs is.
    pub blobs: BTreeMap<Digest, LockedBlob>,
}

/// An artifact that we author: an OCI manifest with an empty configuration and titled layers.
///
/// # Errors
/// None for documents of these types.
pub fn author_artifact(
    artifact_type: &str,
    layers: Vec<Descriptor>,
    blobs: &mut BTreeMap<Digest, LockedBlob>,
) -> Result<Descriptor, canonical::CanonicalError> {
    let config = Descriptor::of(MEDIA_EMPTY, EMPTY_CONFIG);
    inline(blobs, EMPTY_CONFIG);
    author_manifest(Some(artifact_type), config, layers, blobs)
}

/// An OCI manifest that we author.
///
/// # Errors
/// None for documents of these types.
pub fn author_manifest(
    artifact_type: Option<&str>,
    config: Descriptor,
    layers: Vec<Descriptor>,
    blobs: &mut BTreeMap<Digest, LockedBlob>,
) -> Result<Descriptor, canonical::CanonicalError> {
    let manifest = ImageManifest {
        schema_version: 2,
        media_type: Some(MEDIA_MANIFEST.to_string()),
        artifact_type: artifact_type.map(ToString::to_string),
        config,
        layers,
        subject: None,
        annotations: Annotations::default(),
    };
    let bytes = canonical::to_canonical(&manifest)?;
    inline(blobs, &bytes);
    let mut descriptor = Descriptor::of(MEDIA_MANIFEST, &bytes);
    descriptor.artifact_type = artifact_type.map(ToString::to_string);
    Ok(descriptor)
}

/// Adds a small document that we made.
pub fn inline(blobs: &mut BTreeMap<Digest, LockedBlob>, bytes: &[u8]) {
    let from = Origin::Inline(String::from_utf8_lossy(bytes).into_owned());
    blobs.insert(Digest::of(bytes), LockedBlob { size: bytes.len() as u64, from });
}
