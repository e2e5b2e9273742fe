//! Which blobs a bundle leaves out because a site has them, and which bundles these are in. What a site has is known
//! from the bundles that somebody names, or from what the site has signed about itself; from nowhere else.
//!
//! Of each bundle that is built here its two small documents stay in the cache, by digest. A receipt names bundles by
//! digest, so they are found again, and nobody can put others in their place. Losing them costs room on a medium.
//!
//! *What this module may never do:* leave out a manifest. Whoever checks a bundle follows those.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use edge::{Classified, Exit};
use layout::recovery::Source;
use manifests::bundle::{BundleDigest, Content};
use manifests::delta::{Base, Delta, LeftOut, Patch};
use manifests::oci::EMPTY_CONFIG;
use manifests::receipt::{HeldVersion, Product};
use manifests::verify::Contents;
use manifests::{BundleManifest, Digest, Inventory, VerifiedReceipt};

use crate::cache::Cache;
use crate::pack::Packed;
use crate::patches::Archive;

/// Why nothing can be left out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeltaError {
    /// A bundle that was named, and that the site does not hold.
    #[error("the receipt does not say that the site holds {base}")]
    NotHeld {
        /// Which.
        base: Base,
    },
    /// Nothing is known here of what the receipt names.
    #[error("the receipt does not list its blobs, and none of its bundles is known here: {}", titles(bases))]
    Unknown {
        /// What it names.
        bases: Vec<Base>,
    },
    /// The same names, and not the same blobs.
    #[error("the site means other blobs than those of the bundles that its receipt names")]
    OtherBlobs,
}

fn titles(bases: &[Base]) -> String {
    bases.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Classified for DeltaError {
    fn exit(&self) -> Exit {
        match self {
            Self::NotHeld { .. } | Self::Unknown { .. } => Exit::Usage,
            Self::OtherBlobs => Exit::Damaged,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotHeld { .. } => "leave that --base out: what only it holds has to travel",
            Self::Unknown { .. } => {
                "name them with --base, or ask the site for a receipt with its list: installer receipt --blobs list"
            }
            Self::OtherBlobs => "ask the site for another receipt",
        };
        Some(hint.to_string())
    }
}

/// A bundle whose inventory is known here.
#[derive(Debug, Clone)]
pub struct Known {
    /// Which.
    pub base: Base,
    /// What it holds.
    pub inventory: Inventory,
    /// Where it can be read, if somebody has named it.
    pub archive: Option<Archive>,
}

impl Known {
    /// A bundle by its documents, which agree with each other.
    #[must_use]
    pub fn of(bundle: BundleDigest, manifest: &BundleManifest, inventory: Inventory) -> Self {
        let BundleManifest { publisher, product, version, order, .. } = manifest.clone();
        let base = Base { bundle, publisher, product, version, order };
        Self { base, inventory, archive: None }
    }

    /// A bundle that was built here, by its digest, if the cache has its documents still.
    #[must_use]
    pub fn remembered(cache: &Cache, bundle: BundleDigest) -> Option<Self> {
        let manifest = BundleManifest::from_bytes(&cache.document(&bundle.0)?).ok()?;
        let bytes = cache.document(&manifest.inventory.digest)?;
        let inventory = Inventory::from_bytes(&bytes).ok()?;
        let checksums = inventory.checksums(manifest.inventory.digest);
        let contents = Contents::agree(&manifest, bundle, checksums.as_bytes(), &bytes).ok()?;
        Some(Self::of(bundle, &manifest, contents.inventory().clone()))
    }
}

/// Keeps the documents of a bundle that was built.
///
/// # Errors
/// The cache cannot be written to.
pub fn remember(cache: &Cache, packed: &Packed) -> io::Result<()> {
    cache.put(&packed.head.manifest)?;
    cache.put(&packed.head.inventory)?;
    Ok(())
}

/// What a site holds.
#[derive(Debug, Default)]
pub struct Held {
    bases: BTreeMap<BundleDigest, Base>,
    /// Each blob, and the bases that may hold it: one, or all of which nothing more is known.
    blobs: BTreeMap<Digest, Vec<BundleDigest>>,
    /// The bundles whose inventory is known here.
    known: Vec<Known>,
    /// What somebody should know about it.
    pub notes: Vec<String>,
}

impl Held {
    /// What is in these bundles. Of two that hold a blob, the first is its base.
    #[must_use]
    pub fn of_bundles(known: &[Known]) -> Self {
        let mut held = Self::default();
        for known in known {
            held.bases.insert(known.base.bundle, known.base.clone());
            for blob in &known.inventory.blobs {
                held.blobs.entry(blob.digest).or_insert_with(|| vec![known.base.bundle]);
            }
        }
        held.known = known.to_vec();
        held
    }

    /// What a site has signed that it holds, as far as anybody here knows what that is.
    ///
    /// # Errors
    /// See [`DeltaError`].
    pub fn of_receipt(
        receipt: &VerifiedReceipt,
        named: &[Known],
        remembered: &dyn Fn(BundleDigest) -> Option<Known>,
    ) -> Result<Self, DeltaError> {
        let bases = bases_of(receipt);
        let is_held = |base: &Base| bases.iter().any(|held| held.bundle == base.bundle);
        if let Some(stray) = named.iter().find(|known| !is_held(&known.base)) {
            return Err(DeltaError::NotHeld { base: stray.base.clone() });
        }
        let find = |base: &Base| {
            let named = named.iter().find(|known| known.base.bundle == base.bundle).cloned();
            named.or_else(|| remembered(base.bundle))
        };
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for base in bases {
            match find(&base) {
                Some(found) => known.push(found),
                None => unknown.push(base),
            }
        }
        let mut held = Self::of_bundles(&known);
        match receipt.blobs() {
            Some(list) => held.restrict_to(list, &unknown),
            None => held.hold_to(receipt, &unknown)?,
        }
        Ok(held)
    }

    /// The receipt lists each blob: what is in no bundle that is known here is in one of the others.
    fn restrict_to(&mut self, list: &[Digest], unknown: &[Base]) {
        let mut known = std::mem::take(&mut self.blobs);
        let mut others: Vec<BundleDigest> = unknown.iter().map(|base| base.bundle).collect();
        others.sort();
        self.bases.extend(unknown.iter().map(|base| (base.bundle, base.clone())));
        for blob in list {
            let bases = known.remove(blob).unwrap_or_else(|| others.clone());
            if !bases.is_empty() {
                self.blobs.insert(*blob, bases);
            }
        }
    }

    /// The receipt has only one digest over all blobs.
    fn hold_to(&mut self, receipt: &VerifiedReceipt, unknown: &[Base]) -> Result<(), DeltaError> {
        if unknown.is_empty() {
            let all: BTreeSet<Digest> = self.blobs.keys().copied().collect();
            let same = receipt.document().blobs.are(&all);
            return if same { Ok(()) } else { Err(DeltaError::OtherBlobs) };
        }
        if self.bases.is_empty() {
            return Err(DeltaError::Unknown { bases: unknown.to_vec() });
        }
        let note = |base: &Base| format!("note: what only {base} holds travels: it is not known here");
        self.notes.extend(unknown.iter().map(note));
        Ok(())
    }

    /// The bundles whose inventory is known here.
    #[must_use]
    pub fn known(&self) -> &[Known] {
        &self.known
    }

    /// The bases that may hold a blob; none for one that the site was not found to hold.
    #[must_use]
    pub fn bases_of(&self, blob: &Digest) -> Vec<BundleDigest> {
        self.blobs.get(blob).cloned().unwrap_or_default()
    }

    /// Where a blob can be read: in bundles that were named, and in the cache. What it is nobody has looked at.
    ///
    /// # Errors
    /// The cache has it and cannot open it.
    pub fn sources(&self, blob: &Content, cache: &Cache) -> io::Result<Vec<Box<dyn Source>>> {
        let archives = self.known.iter().filter_map(|known| known.archive.as_ref()?.blob(blob));
        let mut sources: Vec<Box<dyn Source>> =
            archives.map(|blob| Box::new(blob) as Box<dyn Source>).collect();
        sources.extend(cache.open(blob)?.map(|file| Box::new(file) as Box<dyn Source>));
        Ok(sources)
    }

    /// What to leave out of a bundle beside what these patches make, if anything. `documents` are the manifests of its
    /// images.
    #[must_use]
    pub fn delta(
        &self,
        inventory: &Inventory,
        documents: &BTreeMap<Digest, Vec<u8>>,
        patches: Vec<Patch>,
    ) -> Option<Delta> {
        // With the two bytes that many components share no bundle becomes a delta.
        let mut always = inventory.manifests();
        always.insert(Digest::of(EMPTY_CONFIG));
        let mut groups: BTreeMap<&[BundleDigest], Vec<Digest>> = BTreeMap::new();
        for blob in &inventory.blobs {
            let travels = always.contains(&blob.digest) || documents.contains_key(&blob.digest);
            if let Some(bases) = self.blobs.get(&blob.digest).filter(|_| !travels) {
                groups.entry(bases).or_default().push(blob.digest);
            }
        }
        let of_patches = patches.iter().flat_map(|patch| &patch.bases);
        let used: BTreeSet<BundleDigest> =
            groups.keys().copied().flatten().chain(of_patches).copied().collect();
        let bases = self.bases.iter().filter(|(bundle, _)| used.contains(*bundle));
        let bases: Vec<Base> = bases.map(|(_, base)| base.clone()).collect();
        let left_out: Vec<LeftOut> =
            groups.into_iter().map(|(bases, blobs)| LeftOut { bases: bases.to_vec(), blobs }).collect();
        (!bases.is_empty()).then_some(Delta { bases, left_out, patches })
    }
}

/// The versions that a site holds whole, as it lists them: of each product what runs first.
fn bases_of(receipt: &VerifiedReceipt) -> Vec<Base> {
    let base = |product: &Product, version: &HeldVersion| Base {
        bundle: version.bundle,
        publisher: product.publisher.clone(),
        product: product.product.clone(),
        version: version.version.clone(),
        order: version.order,
    };
    let products = receipt.document().products.iter();
    products
        .flat_map(|product| product.versions.iter().map(move |version| (product, version)))
        .filter(|(_, version)| version.lacks == 0)
        .map(|(product, version)| base(product, version))
        .collect()
}
