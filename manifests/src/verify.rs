//! The order of checks, as types. Each type can only be made from the one before it:
//!
//! 1. [`Trust`] judges the raw bytes of `bundle.json`, before anything parses them: role, thresholds,
//!    distinct holders, revoked keys;
//! 2. [`SignedManifest`]: those bytes parsed, and canonical; publisher, root version, epoch and
//!    revocations fit the trust;
//! 3. [`AcceptedManifest`]: audience and order fit this site;
//! 4. [`Contents`]: `inventory.json` and `SHA256SUMS` by digest, and each agrees with the other;
//! 5. [`Checklist`] and [`CheckedContents`]: every later byte seen, once, in order, with its digest;
//! 6. [`VerifiedBundle`]: 3 and 5 of the same manifest; of a delta also every blob that it leaves out, read where
//!    the site holds it, and every blob that it patches, made of what the site holds.
//!
//! Nothing here reads: whoever does (`layout::reader`) hands bytes in. *Invariant:* there is no other way
//! to a [`VerifiedBundle`], and a plan needs one.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::archive_path::ArchivePath;
use crate::bundle::{BundleDigest, BundleManifest, Content, Feature, Sequence};
use crate::canonical::CanonicalError;
use crate::closure::Manifests;
pub use crate::closure::MaybeManifest;
use crate::digest::Digest;
use crate::inventory::{Inventory, InventoryError};
use crate::oci::{Descriptor, ManifestDocument};
use crate::root::{FoundSignature, NotMet, RoleName, SignatureVerdict, TrustRoot};
use crate::text::{Audience, Marking, Name};
use crate::trust::Trust;

/// The bundle must not be used here, whatever state its bytes are in. Exit code 3.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The release role was not met.
    #[error("the bundle's signatures are not good enough: {0}")]
    Signatures(NotMet),
    /// Signed, and yet not a manifest that we would have written.
    #[error("bundle.json is signed, but {0}")]
    Document(CanonicalError),
    /// Another publisher's.
    #[error("the bundle is `{found}`'s, and this trust root judges only `{expected}`'s")]
    Publisher {
        /// The bundle's.
        found: Name,
        /// The root's.
        expected: Name,
    },
    /// For somebody else.
    #[error("the bundle is for {audience}, and {site}")]
    Audience {
        /// Whom it is for.
        audience: String,
        /// Who this is.
        site: String,
    },
    /// An older one than what was applied here before.
    #[error("the bundle's order {found} is below {highest}, which was applied here before")]
    Rollback {
        /// The bundle's.
        found: Sequence,
        /// The site's high-water mark.
        highest: Sequence,
    },
    /// The same order as one applied before, and not the same bundle.
    #[error("equivocation: order {order} was applied here as {known}, and this is {found}")]
    Equivocation {
        /// Both bundles'.
        order: Sequence,
        /// The one applied before.
        known: BundleDigest,
        /// This one.
        found: BundleDigest,
    },
    /// Made for a later trust root.
    #[error("the bundle needs trust root version {needed}, and this site has {have}")]
    RootVersion {
        /// The bundle's wish.
        needed: u64,
        /// The site's.
        have: u64,
    },
    /// Made under another epoch.
    #[error("the bundle is of epoch {found}, and the trust root is of epoch {expected}")]
    Epoch {
        /// The bundle's.
        found: u64,
        /// The root's.
        expected: u64,
    },
    /// Signed with good keys, and taken back by name.
    #[error("the bundle is revoked: {0}")]
    Revoked(Marking),
    /// Older than what the publisher still stands for.
    #[error("the bundle's order {found} is below {lowest}, the lowest that is not revoked: {reason}")]
    BelowMinimum {
        /// The bundle's.
        found: Sequence,
        /// The lowest that may be used.
        lowest: Sequence,
        /// The publisher's words.
        reason: Marking,
    },
    /// Going back is only possible to what was here.
    #[error("bundle {0} was never applied here, so there is no going back to it")]
    NeverHere(BundleDigest),
    /// A delta that does not say so, or a bundle that says it is one and names no bases.
    #[error("bundle.json names {bases} base(s), which does not fit its features")]
    Features {
        /// How many.
        bases: usize,
    },
}

/// Bytes are not what the signed documents say they must be. Exit code 4.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// A file with other content.
    #[error("{path}{belongs_to} has digest {found}")]
    Digest {
        /// Which file.
        path: ArchivePath,
        /// The component that needs it, in brackets; empty for our own documents.
        belongs_to: String,
        /// What was read.
        found: Digest,
        /// What was signed.
        expected: Digest,
    },
    /// A file of another size.
    #[error("{path} is {found} bytes long, expected {expected}")]
    Size {
        /// Which file.
        path: ArchivePath,
        /// What the archive says.
        found: u64,
        /// What was signed.
        expected: u64,
    },
    /// Another file than the one that comes next.
    #[error("the archive holds {found} where {expected} comes next")]
    Unexpected {
        /// What was found.
        found: String,
        /// What comes next.
        expected: String,
    },
    /// The inventory contradicts itself.
    #[error("inventory.json: {0}")]
    Inventory(#[from] InventoryError),
    /// A component's manifests and the inventory contradict each other.
    #[error("{component}: {reason}")]
    Incomplete {
        /// Which component.
        component: String,
        /// What is wrong.
        reason: String,
    },
    /// Two signed documents contradict each other.
    #[error("{0} does not agree with inventory.json")]
    Disagreement(ArchivePath),
    /// A delta of which nobody has seen what it leaves out or patches.
    #[error("the bundle is a delta, and {0} of the blobs that it leaves out or patches were not looked at")]
    LeftOut(usize),
}

/// `bundle.json` whose signatures meet the root's release role, and that nobody has revoked.
#[derive(Debug, Clone)]
pub struct SignedManifest {
    manifest: BundleManifest,
    digest: BundleDigest,
    signatures: Vec<SignatureVerdict>,
    root_version: u64,
}

impl SignedManifest {
    /// Checks the signatures over the bytes as they were read, and only then parses them.
    ///
    /// # Errors
    /// See [`Refusal`]; everything but audience and order.
    pub fn authenticate(trust: &Trust, bytes: &[u8], signatures: &[FoundSignature]) -> Result<Self, Refusal> {
        Self::judged_by(trust.root(), trust, bytes, signatures)
    }

    /// Checks a bundle that was accepted earlier: by the root of that day, which may have been followed by
    /// another one since, and by the revocations of today.
    ///
    /// # Errors
    /// See [`Refusal`]; everything but audience and order.
    pub fn authenticate_again(
        trust: &Trust,
        root_version: u64,
        bytes: &[u8],
        signatures: &[FoundSignature],
    ) -> Result<Self, Refusal> {
        let have = trust.root().document().version;
        let root =
            trust.root_of_version(root_version).ok_or(Refusal::RootVersion { needed: root_version, have })?;
        Self::judged_by(root, trust, bytes, signatures)
    }

    fn judged_by(
        root: &TrustRoot,
        trust: &Trust,
        bytes: &[u8],
        signatures: &[FoundSignature],
    ) -> Result<Self, Refusal> {
        let digest = BundleDigest(Digest::of(bytes));
        let revocations = trust.revocations();
        let revoked = revocations.map(|list| list.keys_without(digest)).unwrap_or_default();
        let signatures = root
            .authorise_without(&revoked, RoleName::Release, bytes, signatures)
            .map_err(Refusal::Signatures)?;
        let manifest = BundleManifest::from_bytes(bytes).map_err(Refusal::Document)?;
        let signed = Self { manifest, digest, signatures, root_version: root.document().version };
        signed.check_root(root)?;
        signed.check_features()?;
        signed.check_revocations(trust)?;
        Ok(signed)
    }

    fn check_root(&self, root: &TrustRoot) -> Result<(), Refusal> {
        let (manifest, root) = (&self.manifest, root.document());
        if manifest.publisher != root.publisher {
            let (found, expected) = (manifest.publisher.clone(), root.publisher.clone());
            return Err(Refusal::Publisher { found, expected });
        }
        if manifest.root_version > root.version {
            return Err(Refusal::RootVersion { needed: manifest.root_version, have: root.version });
        }
        if manifest.order.epoch != root.epoch {
            return Err(Refusal::Epoch { found: manifest.order.epoch, expected: root.epoch });
        }
        Ok(())
    }

    /// A reader that does not know deltas refuses the feature by its name; one that does wants both or neither.
    fn check_features(&self) -> Result<(), Refusal> {
        let bases = self.manifest.bases.len();
        let has = |feature| self.manifest.features.contains(&feature);
        let fits = has(Feature::Delta) == (bases > 0) && (has(Feature::Delta) || !has(Feature::Patch));
        if fits { Ok(()) } else { Err(Refusal::Features { bases }) }
    }

    fn check_revocations(&self, trust: &Trust) -> Result<(), Refusal> {
        let Some(list) = trust.revocations().map(|list| list.document()) else { return Ok(()) };
        if let Some(revoked) = list.bundles.get(&self.digest) {
            return Err(Refusal::Revoked(revoked.reason.clone()));
        }
        match list.minimums.get(&self.manifest.product) {
            Some(minimum) if self.manifest.order < minimum.order => Err(Refusal::BelowMinimum {
                found: self.manifest.order,
                lowest: minimum.order,
                reason: minimum.reason.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// The signed document.
    #[must_use]
    pub fn manifest(&self) -> &BundleManifest {
        &self.manifest
    }

    /// The digest of `bundle.json`.
    #[must_use]
    pub fn digest(&self) -> BundleDigest {
        self.digest
    }

    /// What became of each signature.
    #[must_use]
    pub fn signatures(&self) -> &[SignatureVerdict] {
        &self.signatures
    }

    /// The version of the root that judged it.
    #[must_use]
    pub fn root_version(&self) -> u64 {
        self.root_version
    }

    /// Checks what depends on the site.
    ///
    /// # Errors
    /// [`Refusal::Audience`], [`Refusal::Rollback`] or [`Refusal::Equivocation`].
    pub fn accept(self, standing: &Standing) -> Result<AcceptedManifest, Refusal> {
        let manifest = &self.manifest;
        standing.check_audience(&manifest.audience)?;
        standing.check_order(manifest.order, self.digest)?;
        Ok(AcceptedManifest { signed: self })
    }

    /// Checks what depends on the site for going back on purpose: to a bundle that was applied here, and to
    /// no other. The highest order stays what it is.
    ///
    /// # Errors
    /// [`Refusal::NeverHere`] or [`Refusal::Audience`].
    pub fn accept_again(self, standing: &Standing) -> Result<AcceptedManifest, Refusal> {
        if !standing.applied.contains(&self.digest) {
            return Err(Refusal::NeverHere(self.digest));
        }
        standing.check_audience(&self.manifest.audience)?;
        Ok(AcceptedManifest { signed: self })
    }
}

/// What a site knows of itself and of its past when a bundle arrives.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// The site's name, if it has a `site.yaml`. A site without one is nobody in particular, so only a
    /// bundle for anybody is for it.
    pub site: Option<Name>,
    /// Its groups.
    pub groups: BTreeSet<Name>,
    /// The highest order of this product that was applied here, and the bundle that had it.
    pub highest: Option<(Sequence, BundleDigest)>,
    /// Every bundle of this product that was applied here.
    pub applied: BTreeSet<BundleDigest>,
}

impl Standing {
    fn check_audience(&self, audience: &[Audience]) -> Result<(), Refusal> {
        let included = audience.iter().any(|entry| match entry {
            Audience::Anyone => true,
            Audience::Named(name) => self.site.as_ref() == Some(name) || self.groups.contains(name),
        });
        if included {
            return Ok(());
        }
        let list =
            |names: Vec<String>| if names.is_empty() { "nobody".to_string() } else { names.join(", ") };
        let site = match &self.site {
            Some(site) => format!(
                "this site is {}",
                list(core::iter::once(site).chain(&self.groups).map(ToString::to_string).collect())
            ),
            None => "this site has no site.yaml that names it".to_string(),
        };
        Err(Refusal::Audience { audience: list(audience.iter().map(ToString::to_string).collect()), site })
    }

    fn check_order(&self, order: Sequence, digest: BundleDigest) -> Result<(), Refusal> {
        match self.highest {
            Some((highest, _)) if order < highest => Err(Refusal::Rollback { found: order, highest }),
            Some((highest, known)) if order == highest && digest != known => {
                Err(Refusal::Equivocation { order, known, found: digest })
            }
            _ => Ok(()),
        }
    }
}

/// A signed manifest that this site may use.
#[derive(Debug, Clone)]
pub struct AcceptedManifest {
    signed: SignedManifest,
}

impl AcceptedManifest {
    /// The signed document.
    #[must_use]
    pub fn signed(&self) -> &SignedManifest {
        &self.signed
    }
}

/// The signed list of what follows, agreed with the checksum file.
#[derive(Debug, Clone)]
pub struct Contents {
    bundle: BundleDigest,
    inventory: Inventory,
}

impl Contents {
    /// Checks both documents by digest, then each against the other and against the manifest.
    ///
    /// It takes a manifest that need not be signed, so that `bundler inspect` can look at an unsigned
    /// bundle; what comes of it is bound to that manifest's digest and worth as much as the manifest is.
    ///
    /// # Errors
    /// See [`Damage`].
    pub fn agree(
        manifest: &BundleManifest,
        digest: BundleDigest,
        checksums: &[u8],
        inventory: &[u8],
    ) -> Result<Self, Damage> {
        check(ArchivePath::Checksums, Content::of(checksums), manifest.checksums)?;
        check(ArchivePath::Inventory, Content::of(inventory), manifest.inventory)?;
        let parsed = Inventory::from_bytes(inventory)?;
        if parsed.checksums(manifest.inventory.digest).as_bytes() != checksums {
            return Err(Damage::Disagreement(ArchivePath::Checksums));
        }
        if Content::of(crate::oci::OCI_LAYOUT) != parsed.files.oci_layout {
            return Err(Damage::Disagreement(ArchivePath::OciLayout));
        }
        let index = parsed.oci_index().map_err(InventoryError::Document)?;
        if Content::of(&index) != parsed.files.oci_index {
            return Err(Damage::Disagreement(ArchivePath::OciIndex));
        }
        let delta = (parsed.features(), parsed.bases());
        if parsed.counts() != manifest.counts || delta != (manifest.features.clone(), manifest.bases.clone())
        {
            return Err(Damage::Disagreement(ArchivePath::Manifest));
        }
        Ok(Self { bundle: digest, inventory: parsed })
    }

    /// The inventory.
    #[must_use]
    pub fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// What a blob is to the component that needs it, as far as the inventory alone tells.
    #[must_use]
    pub fn role(&self, digest: &Digest) -> Option<String> {
        role(&self.inventory, &Manifests::default(), digest)
    }

    /// What a delta does not bring as it is: nobody has looked at it yet.
    fn awaited(&self) -> BTreeMap<Digest, Content> {
        let all = self.inventory.held().into_iter().chain(self.inventory.patched());
        all.map(|content| (content.digest, content)).collect()
    }

    /// Starts ticking off what follows in the archive.
    #[must_use]
    pub fn checklist(self) -> Checklist {
        let expected: Vec<(ArchivePath, Content)> = self.inventory.contents().collect();
        let awaited = self.awaited();
        self.ticking_off(expected, awaited)
    }

    /// Starts ticking off what a site's store keeps of the archive: every blob, wherever it came from. The lists for other
    /// programs (`index.json` and its kin) are not kept, and nothing on site is made from them.
    #[must_use]
    pub fn checklist_of_blobs(self) -> Checklist {
        let blobs = self.inventory.blobs.iter().map(|blob| (ArchivePath::Blob(blob.digest), *blob));
        let expected: Vec<(ArchivePath, Content)> = blobs.collect();
        self.ticking_off(expected, BTreeMap::new())
    }

    /// Starts ticking off what comes in any order, as the discs of a set do.
    #[must_use]
    pub fn tally(self) -> Tally {
        let expected = self.inventory.contents().collect();
        let awaited = self.awaited();
        Tally { contents: self, expected, awaited, manifests: Manifests::default() }
    }

    fn ticking_off(
        self,
        expected: Vec<(ArchivePath, Content)>,
        awaited: BTreeMap<Digest, Content>,
    ) -> Checklist {
        Checklist {
            contents: self,
            expected: expected.into_iter(),
            awaited,
            current: None,
            manifests: Manifests::default(),
        }
    }
}

/// What a blob is to whoever needs it. A patch, and what it is made for, are what they make to the component that needs
/// that.
fn role(inventory: &Inventory, manifests: &Manifests, digest: &Digest) -> Option<String> {
    let own = manifests.role(inventory, digest);
    own.or_else(|| {
        let patches = inventory.patches();
        let patch = patches.iter().find(|patch| patch.patch.digest == *digest);
        let (word, patch) = match patch {
            Some(patch) => ("the patch of", patch),
            None => ("what is patched to", patches.iter().find(|patch| patch.base.digest == *digest)?),
        };
        Some(format!("{word} {}", manifests.role(inventory, &patch.blob)?))
    })
}

/// Compares what was read with what was signed.
fn check(path: ArchivePath, found: Content, expected: Content) -> Result<(), Damage> {
    let belongs_to = String::new();
    if found.size != expected.size {
        return Err(Damage::Size { path, found: found.size, expected: expected.size });
    }
    if found.digest != expected.digest {
        return Err(Damage::Digest { path, belongs_to, found: found.digest, expected: expected.digest });
    }
    Ok(())
}

/// Names the component whose blob is damaged: a person knows images, not digests.
fn named(damage: Damage, inventory: &Inventory, manifests: &Manifests) -> Damage {
    match damage {
        Damage::Digest { path: ArchivePath::Blob(digest), found, expected, .. } => {
            let role = role(inventory, manifests, &digest);
            let belongs_to = role.map_or(String::new(), |role| format!(" ({role})"));
            Damage::Digest { path: ArchivePath::Blob(digest), belongs_to, found, expected }
        }
        other => other,
    }
}

/// Every entry after `inventory.json` must be announced with [`Checklist::begin`] before its bytes are
/// read and settled with [`Checklist::settle`] after.
#[derive(Debug)]
pub struct Checklist {
    contents: Contents,
    expected: alloc::vec::IntoIter<(ArchivePath, Content)>,
    awaited: BTreeMap<Digest, Content>,
    current: Option<(ArchivePath, Content)>,
    manifests: Manifests,
}

impl Checklist {
    /// The inventory behind the list.
    #[must_use]
    pub fn inventory(&self) -> &Inventory {
        self.contents.inventory()
    }

    /// What comes next: a path and what was signed for it.
    #[must_use]
    pub fn next(&self) -> Option<(ArchivePath, Content)> {
        self.expected.as_slice().first().cloned()
    }

    /// An entry header was read: is it the one that comes next, with the signed size?
    ///
    /// # Errors
    /// Another entry, or another size.
    pub fn begin(&mut self, path: &ArchivePath, size: u64) -> Result<(), Damage> {
        let Some((next, content)) = self.expected.next() else {
            return Err(Damage::Unexpected { found: path.to_string(), expected: "the end".to_string() });
        };
        if *path != next {
            return Err(Damage::Unexpected { found: path.to_string(), expected: next.to_string() });
        }
        if size != content.size {
            return Err(Damage::Size { path: next, found: size, expected: content.size });
        }
        self.current = Some((next, content));
        Ok(())
    }

    /// Its bytes were read: are they the signed ones?
    ///
    /// # Errors
    /// Other bytes, or no entry begun.
    pub fn settle(&mut self, found: Content) -> Result<(), Damage> {
        match self.current.take() {
            Some((path, expected)) => check(path, found, expected).map_err(|damage| self.named(damage)),
            None => {
                Err(Damage::Unexpected { found: "content".to_string(), expected: "an entry".to_string() })
            }
        }
    }

    /// Keeps the bytes of a settled blob if they are a manifest: when everything was seen, each component
    /// is followed from its manifest to its last layer.
    pub fn remember(&mut self, digest: Digest, document: MaybeManifest) {
        self.manifests.remember(digest, document);
    }

    fn named(&self, damage: Damage) -> Damage {
        named(damage, &self.contents.inventory, &self.manifests)
    }

    /// The archive has ended: was everything there, and does every manifest lead to blobs that are?
    ///
    /// # Errors
    /// An entry that is missing or was not settled, or a component that is not whole.
    pub fn finish(mut self) -> Result<CheckedContents, Damage> {
        match self.current.take().or_else(|| self.expected.next()) {
            Some((path, _)) => {
                Err(Damage::Unexpected { found: "the end".to_string(), expected: path.to_string() })
            }
            None => {
                self.manifests.check(&self.contents.inventory)?;
                let Self { contents, manifests, awaited, .. } = self;
                Ok(CheckedContents { contents, manifests, awaited })
            }
        }
    }
}

/// As [`Checklist`], for entries that come in any order: each must be settled once with what was read of it.
#[derive(Debug)]
pub struct Tally {
    contents: Contents,
    expected: BTreeMap<ArchivePath, Content>,
    awaited: BTreeMap<Digest, Content>,
    manifests: Manifests,
}

impl Tally {
    /// The inventory behind it.
    #[must_use]
    pub fn inventory(&self) -> &Inventory {
        self.contents.inventory()
    }

    /// Whether an entry was settled.
    #[must_use]
    pub fn is_settled(&self, path: &ArchivePath) -> bool {
        !self.expected.contains_key(path)
    }

    /// Whether all were.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.expected.is_empty()
    }

    /// An entry was read: are its bytes the signed ones? `document` are those bytes if they may be a manifest:
    /// when everything was seen, each component is followed from its manifest to its last layer.
    ///
    /// # Errors
    /// Other bytes, or an entry that is settled or was never expected.
    pub fn settle(&mut self, path: &ArchivePath, found: Content, document: Vec<u8>) -> Result<(), Damage> {
        let expected = self.expected.get(path).copied().ok_or_else(|| Damage::Unexpected {
            found: path.to_string(),
            expected: "something that is still missing".to_string(),
        })?;
        check(path.clone(), found, expected)
            .map_err(|damage| named(damage, &self.contents.inventory, &self.manifests))?;
        self.expected.remove(path);
        self.manifests.remember(found.digest, MaybeManifest::of(document));
        Ok(())
    }

    /// What a blob is to the component that needs it: `image HOST/PATH:TAG, layer 2`. Exact where the image's
    /// manifest was seen already.
    #[must_use]
    pub fn role(&self, digest: &Digest) -> Option<String> {
        role(&self.contents.inventory, &self.manifests, digest)
    }

    /// Was everything there, and does every manifest lead to blobs that are?
    ///
    /// # Errors
    /// An entry that was not settled, or a component that is not whole.
    pub fn finish(self) -> Result<CheckedContents, Damage> {
        match self.expected.into_keys().next() {
            Some(path) => {
                Err(Damage::Unexpected { found: "the end".to_string(), expected: path.to_string() })
            }
            None => {
                self.manifests.check(&self.contents.inventory)?;
                let Self { contents, manifests, awaited, .. } = self;
                Ok(CheckedContents { contents, manifests, awaited })
            }
        }
    }
}

/// Contents of which every byte that travels was seen and had the signed digest.
#[derive(Debug, Clone)]
pub struct CheckedContents {
    contents: Contents,
    manifests: Manifests,
    /// What a delta does not bring as it is, and nobody has looked at.
    awaited: BTreeMap<Digest, Content>,
}

impl CheckedContents {
    /// The inventory.
    #[must_use]
    pub fn inventory(&self) -> &Inventory {
        self.contents.inventory()
    }

    /// A blob that a delta leaves out, or makes a patch for, was read where the site holds it, or one was made of a
    /// patch: is it the signed one?
    ///
    /// # Errors
    /// Other bytes, or a blob that nobody waits for.
    pub fn settle_elsewhere(&mut self, expected: Digest, found: Content) -> Result<(), Damage> {
        let path = ArchivePath::Blob(expected);
        let Some(content) = self.awaited.get(&expected).copied() else {
            let (found, expected) = (path.to_string(), "a blob that is not carried".to_string());
            return Err(Damage::Unexpected { found, expected });
        };
        check(path, found, content)
            .map_err(|damage| named(damage, &self.contents.inventory, &self.manifests))?;
        self.awaited.remove(&expected);
        Ok(())
    }
}

/// A bundle that this site may use and whose every byte was checked.
#[derive(Debug, Clone)]
pub struct VerifiedBundle {
    accepted: AcceptedManifest,
    contents: CheckedContents,
}

impl VerifiedBundle {
    /// The only way to one.
    ///
    /// # Errors
    /// The contents of another bundle, or a delta of which something that it leaves out was not looked at.
    pub fn new(accepted: AcceptedManifest, contents: CheckedContents) -> Result<Self, Damage> {
        if accepted.signed.digest() != contents.contents.bundle {
            return Err(Damage::Disagreement(ArchivePath::Manifest));
        }
        if !contents.awaited.is_empty() {
            return Err(Damage::LeftOut(contents.awaited.len()));
        }
        Ok(Self { accepted, contents })
    }

    /// The signed document.
    #[must_use]
    pub fn manifest(&self) -> &BundleManifest {
        self.accepted.signed.manifest()
    }

    /// The digest of `bundle.json`.
    #[must_use]
    pub fn digest(&self) -> BundleDigest {
        self.accepted.signed.digest()
    }

    /// What became of each signature.
    #[must_use]
    pub fn signatures(&self) -> &[SignatureVerdict] {
        self.accepted.signed.signatures()
    }

    /// The version of the root that judged it.
    #[must_use]
    pub fn root_version(&self) -> u64 {
        self.accepted.signed.root_version
    }

    /// What is inside.
    #[must_use]
    pub fn inventory(&self) -> &Inventory {
        self.contents.inventory()
    }

    /// A manifest or index of one of its images, as it passed by: a plan needs some before anything is kept.
    #[must_use]
    pub fn document(&self, descriptor: &Descriptor) -> Option<ManifestDocument> {
        self.contents.manifests.get(descriptor)
    }
}
