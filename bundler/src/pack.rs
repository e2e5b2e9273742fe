//! From a lock to everything of an archive that comes before the blobs.

use std::collections::BTreeMap;

use edge::{Classified, Exit};
use layout::writer::Head;
use manifests::bundle::{BundleSchema, Content, Sequence};
use manifests::canonical::CanonicalError;
use manifests::delta::Patch;
use manifests::inventory::{BundleSbom, Component, Image, InventoryError};
use manifests::oci::{ImageManifest, ManifestDocument};
use manifests::{ArchivePath, BundleManifest, Digest, Inventory};
use serde::Serialize;

use crate::delta::Held;
use crate::lock::BundleLock;
use crate::spec::BundleSpec;

/// Why a lock cannot be packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// The lock contradicts itself.
    #[error("bundle.lock is not consistent")]
    Inventory(#[from] InventoryError),
    /// A document of ours that is not one.
    #[error(transparent)]
    Document(#[from] CanonicalError),
    /// An image's manifest that no longer parses.
    #[error("the manifest {digest} of image {image} is not one: {reason}")]
    Manifest {
        /// Which image.
        image: String,
        /// Its manifest.
        digest: Digest,
        /// What is wrong.
        reason: String,
    },
}

impl Classified for PackError {
    fn exit(&self) -> Exit {
        match self {
            Self::Inventory(_) => Exit::Usage,
            Self::Manifest { .. } => Exit::Damaged,
            Self::Document(_) => Exit::Unexpected,
        }
    }

    fn hint(&self) -> Option<String> {
        Some("run `bundler lock` again".to_string())
    }
}

/// An archive that lacks only its blobs and signatures.
#[derive(Debug)]
pub struct Packed {
    /// The small documents.
    pub head: Head,
    /// `bundle.json`, parsed.
    pub manifest: BundleManifest,
    /// `inventory.json`, parsed.
    pub inventory: Inventory,
}

/// One entry of the list that `docker load` reads.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    layers: Vec<String>,
    repo_tags: Option<Vec<String>>,
}

/// Packs a lock with its bill of materials. `documents` gives the bytes of image manifests, `held` what a site has, and
/// `patches` what is made of that.
///
/// # Errors
/// See [`PackError`].
pub fn pack(
    spec: &BundleSpec,
    lock: &BundleLock,
    sbom: BundleSbom,
    documents: &BTreeMap<Digest, Vec<u8>>,
    (held, patches): (Option<&Held>, Vec<Patch>),
) -> Result<Packed, PackError> {
    let sizes = lock.blobs.iter().map(|(digest, blob)| (*digest, blob.size)).collect();
    let docker_manifest = docker_manifest(&lock.components, documents)?;
    let mut inventory = Inventory::assemble(lock.components.clone(), Some(sbom), sizes, &docker_manifest)?;
    inventory.requires = lock.requires.clone();
    inventory.health = lock.health.clone();
    let delta = held.and_then(|held| held.delta(&inventory, documents, patches));
    let inventory = inventory.with_delta(delta).map_err(InventoryError::Delta)?;
    let inventory_bytes = inventory.to_bytes()?;
    let checksums = inventory.checksums(Digest::of(&inventory_bytes)).into_bytes();
    let manifest = BundleManifest {
        schema: BundleSchema::V1,
        publisher: spec.publisher.clone(),
        product: spec.product.clone(),
        version: spec.version.clone(),
        order: Sequence { epoch: spec.epoch, sequence: spec.sequence },
        audience: spec.audience.clone(),
        marking: spec.marking.clone(),
        created: lock.created,
        expires: spec.expires,
        root_version: spec.root_version,
        features: inventory.features(),
        bases: inventory.bases(),
        checksums: Content::of(&checksums),
        inventory: Content::of(&inventory_bytes),
        counts: inventory.counts(),
    };
    let head = Head {
        manifest: manifest.to_bytes()?,
        signatures: Vec::new(),
        checksums,
        oci_index: inventory.oci_index()?,
        inventory: inventory_bytes,
        docker_manifest,
    };
    Ok(Packed { head, manifest, inventory })
}

/// `manifest.json`: each image that `docker load` can take, once. Of an image for several platforms it
/// gets linux/amd64, or else the first one; an image with layers that are neither gzip nor plain tar is
/// left out, because one of those makes `docker load` refuse the whole file.
fn docker_manifest(
    components: &[Component],
    documents: &BTreeMap<Digest, Vec<u8>>,
) -> Result<Vec<u8>, PackError> {
    let mut list = Vec::new();
    for component in components {
        let Component::Image(image) = component else { continue };
        let Some(manifest) = loadable(image, documents)? else { continue };
        let blob = |digest: Digest| ArchivePath::Blob(digest).to_string();
        let tag = image.name.tag().map(|tag| vec![format!("{}:{tag}", image.name.repository())]);
        list.push(DockerImage {
            config: blob(manifest.config.digest),
            layers: manifest.layers.iter().map(|layer| blob(layer.digest)).collect(),
            repo_tags: tag,
        });
    }
    Ok(manifests::canonical::to_canonical(&list)?)
}

fn loadable(
    image: &Image,
    documents: &BTreeMap<Digest, Vec<u8>>,
) -> Result<Option<ImageManifest>, PackError> {
    let broken = |digest: Digest, reason: String| PackError::Manifest {
        image: image.name.to_string(),
        digest,
        reason,
    };
    let mut descriptor = image.manifest.clone();
    // An index may name an index; the walk that made the lock has bounded how deep.
    for _ in 0..4 {
        let digest = descriptor.digest;
        let bytes = documents.get(&digest).ok_or_else(|| broken(digest, "it is missing".to_string()))?;
        let parsed = ManifestDocument::parse(bytes, &descriptor.media_type);
        match parsed.map_err(|error| broken(digest, error.to_string()))? {
            ManifestDocument::Image(manifest) => {
                let plain = |kind: &str| kind.ends_with("tar") || kind.ends_with("gzip");
                let image_like = !manifest.layers.is_empty()
                    && manifest.config.media_type.contains("image")
                    && manifest.layers.iter().all(|layer| plain(&layer.media_type));
                return Ok(image_like.then_some(manifest));
            }
            ManifestDocument::Index(index) => {
                let known = |d: &&manifests::Descriptor| d.platform.as_ref().is_none_or(|p| !p.is_unknown());
                let amd64 = |d: &&manifests::Descriptor| {
                    d.platform.as_ref().is_some_and(|p| p.matches("linux/amd64"))
                };
                let mut children = index.manifests.iter().filter(known);
                let first = index.manifests.iter().find(amd64).or_else(|| children.next());
                match first {
                    Some(child) => descriptor = child.clone(),
                    None => return Ok(None),
                }
            }
        }
    }
    Ok(None)
}
