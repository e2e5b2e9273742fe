//! What a delta leaves out, and which bundles hold it. The inventory of a delta lists every blob of the release, as
//! ever; beside that it says which of them do not travel, and of which bundles a site has them, and of which only the
//! difference to another blob travels, a *patch*.
//!
//! Who makes a delta believes that a site holds something. Nothing here depends on whether that is true: a site looks
//! for each blob itself, and hashes it, before anything else of the bundle is used (`docs/format.md` §5.11).

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::bundle::{BundleDigest, Content, Feature, Sequence};
use crate::digest::Digest;
use crate::inventory::Inventory;
use crate::text::{BundleVersion, Name};

/// What does not travel as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delta {
    /// The bundles that it builds on, sorted by digest.
    pub bases: Vec<Base>,
    /// The blobs that do not travel, sorted by the bases that hold them.
    pub left_out: Vec<LeftOut>,
    /// The blobs that travel as patches, sorted by digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<Patch>,
}

/// A bundle that a delta builds on. Its digest is what it is; the rest is what people call it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// SHA-256 of its `bundle.json`.
    pub bundle: BundleDigest,
    /// Whose it is.
    pub publisher: Name,
    /// What it is a version of.
    pub product: Name,
    /// Its label.
    pub version: BundleVersion,
    /// Its place in the product's history.
    pub order: Sequence,
}

impl core::fmt::Display for Base {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { bundle, publisher, product, version, order } = self;
        write!(f, "{publisher} {product} {version} (order {order}, {bundle})")
    }
}

/// Blobs that do not travel because these bases hold them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// Which bases, sorted. More than one if the sender knows only that one of them does.
    pub bases: Vec<BundleDigest>,
    /// The blobs, sorted.
    pub blobs: Vec<Digest>,
}

/// A blob that is made on site of another one that the site holds, and of a patch that travels in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    /// The blob that comes of it.
    pub blob: Digest,
    /// The blob that it is made of.
    pub base: Content,
    /// Which bases hold that, sorted. More than one if the sender knows only that one of them does.
    pub bases: Vec<BundleDigest>,
    /// SHA-256 of the patch's index: nothing of the patch is used that does not hang from it.
    pub index: Digest,
    /// The patch, as it lies among the blobs.
    pub patch: Content,
}

/// Why a delta contradicts itself or the inventory around it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeltaError {
    /// Not in order, or twice.
    #[error("{0} is out of order or there twice")]
    Order(String),
    /// It leaves out nothing and patches nothing.
    #[error("it leaves out nothing")]
    Nothing,
    /// A group without bases or without blobs, or a patch without bases.
    #[error("it has a group without bases or without blobs, or a patch without bases")]
    Empty,
    /// A base that is not in the list.
    #[error("it leaves out blobs for base {0}, which it does not name")]
    UnknownBase(BundleDigest),
    /// A base that holds nothing of it.
    #[error("it names base {0} and leaves out nothing for it")]
    IdleBase(BundleDigest),
    /// A blob that is not one of the bundle.
    #[error("it leaves out {0}, which is no blob of the bundle")]
    UnknownBlob(Digest),
    /// A document, which always travels.
    #[error("it leaves out {0}, which is a manifest: those always travel")]
    Manifest(Digest),
    /// A blob that is left out and patched.
    #[error("it patches {0}, which it leaves out")]
    PatchLeftOut(Digest),
    /// A patch that is a blob of the bundle as well, or the patch of two.
    #[error("its patch {0} is a blob of the bundle, or the patch of two blobs")]
    PatchIsBlob(Digest),
    /// A blob that travels, as what a site must hold already.
    #[error(
        "it makes {blob} of {base}, which is a blob of the bundle that travels, or has another size there"
    )]
    BaseTravels {
        /// What is made.
        blob: Digest,
        /// Of what.
        base: Digest,
    },
    /// A patch that saves nothing.
    #[error("its patch of {0} is as large as the blob")]
    NoGain(Digest),
}

impl Delta {
    /// Holds it to the inventory around it.
    pub(crate) fn check(&self, inventory: &Inventory) -> Result<(), DeltaError> {
        if self.left_out.is_empty() && self.patches.is_empty() {
            return Err(DeltaError::Nothing);
        }
        ascending(self.bases.iter().map(|base| base.bundle))?;
        let known: BTreeSet<BundleDigest> = self.bases.iter().map(|base| base.bundle).collect();
        let manifests = inventory.manifests();
        let (mut used, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut before: Option<&[BundleDigest]> = None;
        for LeftOut { bases, blobs } in &self.left_out {
            let (Some(first), false) = (bases.first(), blobs.is_empty()) else {
                return Err(DeltaError::Empty);
            };
            if before.is_some_and(|before| before >= bases.as_slice()) {
                return Err(DeltaError::Order(alloc::format!("the group of base {first}")));
            }
            before = Some(bases);
            check_bases(bases, &known, &mut used)?;
            ascending(blobs.iter().copied())?;
            for blob in blobs {
                check_blob(inventory, &manifests, blob)?;
                if !seen.insert(*blob) {
                    return Err(DeltaError::Order(alloc::format!("{blob}")));
                }
            }
        }
        for patch in &self.patches {
            check_bases(&patch.bases, &known, &mut used)?;
        }
        self.check_patches(inventory, &manifests, &seen)?;
        match known.difference(&used).next() {
            Some(idle) => Err(DeltaError::IdleBase(*idle)),
            None => Ok(()),
        }
    }

    /// What each patch says must fit the blobs around it: those of the bundle, and those that are left out.
    fn check_patches(
        &self,
        inventory: &Inventory,
        manifests: &BTreeSet<Digest>,
        left_out: &BTreeSet<Digest>,
    ) -> Result<(), DeltaError> {
        ascending(self.patches.iter().map(|patch| patch.blob))?;
        let mut patches = BTreeSet::new();
        for Patch { blob, base, patch, .. } in &self.patches {
            check_blob(inventory, manifests, blob)?;
            if left_out.contains(blob) {
                return Err(DeltaError::PatchLeftOut(*blob));
            }
            if inventory.blob_size(&patch.digest).is_some() || !patches.insert(patch.digest) {
                return Err(DeltaError::PatchIsBlob(patch.digest));
            }
            let travels = inventory.blob_size(&base.digest);
            if travels.is_some_and(|size| size != base.size || !left_out.contains(&base.digest)) {
                return Err(DeltaError::BaseTravels { blob: *blob, base: base.digest });
            }
            if inventory.blob_size(blob).is_none_or(|size| patch.size >= size) {
                return Err(DeltaError::NoGain(*blob));
            }
        }
        Ok(())
    }

    /// The blobs that do not travel, in whatever form.
    #[must_use]
    pub fn blobs(&self) -> BTreeSet<Digest> {
        self.left_out.iter().flat_map(|group| &group.blobs).copied().collect()
    }

    /// A base by its digest.
    #[must_use]
    pub fn base(&self, bundle: BundleDigest) -> Option<&Base> {
        self.bases.iter().find(|base| base.bundle == bundle)
    }
}

fn check_bases(
    bases: &[BundleDigest],
    known: &BTreeSet<BundleDigest>,
    used: &mut BTreeSet<BundleDigest>,
) -> Result<(), DeltaError> {
    if bases.is_empty() {
        return Err(DeltaError::Empty);
    }
    ascending(bases.iter().copied())?;
    if let Some(unknown) = bases.iter().find(|base| !known.contains(*base)) {
        return Err(DeltaError::UnknownBase(*unknown));
    }
    used.extend(bases.iter().copied());
    Ok(())
}

fn check_blob(inventory: &Inventory, manifests: &BTreeSet<Digest>, blob: &Digest) -> Result<(), DeltaError> {
    if inventory.blob_size(blob).is_none() {
        return Err(DeltaError::UnknownBlob(*blob));
    }
    if manifests.contains(blob) {
        return Err(DeltaError::Manifest(*blob));
    }
    Ok(())
}

fn ascending<T: PartialOrd + core::fmt::Display>(items: impl Iterator<Item = T>) -> Result<(), DeltaError> {
    let mut before: Option<T> = None;
    for item in items {
        if before.as_ref().is_some_and(|before| *before >= item) {
            return Err(DeltaError::Order(alloc::format!("{item}")));
        }
        before = Some(item);
    }
    Ok(())
}

impl Inventory {
    /// The same bundle as a delta.
    ///
    /// # Errors
    /// What is left out does not fit.
    pub fn with_delta(mut self, delta: Option<Delta>) -> Result<Self, DeltaError> {
        if let Some(delta) = &delta {
            delta.check(&self)?;
        }
        self.delta = delta;
        Ok(self)
    }

    /// The manifests that the inventory names itself. The others are named by these, and whoever follows them needs
    /// their bytes, so they travel as well.
    #[must_use]
    pub fn manifests(&self) -> BTreeSet<Digest> {
        let of_components = self.components.iter().flat_map(|component| component.manifests());
        of_components
            .chain(self.sbom.iter().map(|sbom| &sbom.manifest))
            .map(|manifest| manifest.digest)
            .collect()
    }

    /// The blobs that do not travel, the lowest digest first.
    #[must_use]
    pub fn left_out(&self) -> Vec<Content> {
        let left_out = self.delta.as_ref().map(Delta::blobs).unwrap_or_default();
        self.blobs.iter().filter(|blob| left_out.contains(&blob.digest)).copied().collect()
    }

    /// What of the blobs travels, in the order of the archive: each as it is, or the patch that makes it.
    #[must_use]
    pub fn carried(&self) -> Vec<Content> {
        let elsewhere = self.delta.as_ref().map(Delta::blobs).unwrap_or_default();
        let patched: BTreeSet<Digest> = self.patches().iter().map(|patch| patch.blob).collect();
        let travels = |blob: &&Content| !elsewhere.contains(&blob.digest) && !patched.contains(&blob.digest);
        let mut carried: Vec<Content> = self.blobs.iter().filter(travels).copied().collect();
        carried.extend(self.patches().iter().map(|patch| patch.patch));
        carried.sort_by_key(|content| content.digest);
        carried
    }

    /// What travels as patches, the lowest digest of a blob first.
    #[must_use]
    pub fn patches(&self) -> &[Patch] {
        self.delta.as_ref().map(|delta| delta.patches.as_slice()).unwrap_or_default()
    }

    /// The blobs that are made of patches, the lowest digest first.
    #[must_use]
    pub fn patched(&self) -> Vec<Content> {
        let size = |patch: &Patch| self.blob_size(&patch.blob).unwrap_or_default();
        self.patches().iter().map(|patch| Content { digest: patch.blob, size: size(patch) }).collect()
    }

    /// What a site must hold before it takes the bundle: what is left out, and what patches are made for. The lowest
    /// digest first, each once.
    #[must_use]
    pub fn held(&self) -> Vec<Content> {
        let mut held = self.left_out();
        held.extend(self.patches().iter().map(|patch| patch.base));
        held.sort_by_key(|content| content.digest);
        held.dedup();
        held
    }

    /// What a reader must understand of a bundle with this inventory.
    #[must_use]
    pub fn features(&self) -> Vec<Feature> {
        let patch = (!self.patches().is_empty()).then_some(Feature::Patch);
        self.delta.iter().map(|_| Feature::Delta).chain(patch).collect()
    }

    /// The bundles that it builds on, by digest.
    #[must_use]
    pub fn bases(&self) -> Vec<Digest> {
        self.delta.iter().flat_map(|delta| &delta.bases).map(|base| base.bundle.0).collect()
    }

    /// The bases that hold a blob that is left out, or that a patch is made for.
    #[must_use]
    pub fn bases_of(&self, blob: &Digest) -> Vec<&Base> {
        let Some(delta) = &self.delta else { return Vec::new() };
        let group = delta.left_out.iter().find(|group| group.blobs.binary_search(blob).is_ok());
        let patch = delta.patches.iter().find(|patch| patch.base.digest == *blob);
        let bases = group.map(|group| &group.bases).or_else(|| patch.map(|patch| &patch.bases));
        bases.into_iter().flatten().filter_map(|base| delta.base(*base)).collect()
    }
}
