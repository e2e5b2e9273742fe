//! Trust roots and revocations by number: key 1 is held by `h1`, and so on. They can be as wrong as a test
//! wants, which is why they do not go through the program's own maker.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use layout::signed_file::SignedFile;
use manifests::bundle::BundleDigest;
use manifests::revocation::{Minimum, RevocationDocument, RevocationSchema, RevokedBundle, RevokedKey};
use manifests::root::{Clause, FoundSignature, Role, Roles, RootDocument, RootKey, RootSchema};
use manifests::{Digest, KeyId, Timestamp, canonical};

use super::{key, keyid, signature};

/// A root that is being made.
#[derive(Debug, Clone)]
pub struct RootDraft {
    /// The document.
    pub document: RootDocument,
    /// The keys that sign it, by their seeds.
    pub signers: Vec<u8>,
}

/// A role of one clause.
#[must_use]
pub fn role(seeds: &[u8], threshold: u32) -> Role {
    let mut keyids: Vec<KeyId> = seeds.iter().copied().map(keyid).collect();
    keyids.sort();
    Role { clauses: vec![Clause { keyids, threshold: NonZeroU32::new(threshold).unwrap() }] }
}

fn made(day: u64) -> Timestamp {
    format!("2026-11-{day:02}T12:00:00Z").parse().unwrap()
}

impl RootDraft {
    /// Version 1 of publisher `acme`: these root keys, and key 1 for releases.
    #[must_use]
    pub fn first(root: &[u8], threshold: u32, signers: &[u8]) -> Self {
        let document = RootDocument {
            schema: RootSchema::V1,
            version: 1,
            epoch: 1,
            publisher: "acme".parse().unwrap(),
            created: made(1),
            expires: None,
            keys: BTreeMap::new(),
            roles: Roles { root: role(root, threshold), release: role(&[1], 1), revocation: None },
            previous: None,
        };
        Self { document, signers: signers.to_vec() }.with_keys()
    }

    /// The next version, with the same roles and these signers.
    #[must_use]
    pub fn next(&self, signers: &[u8]) -> Self {
        let mut next = self.clone();
        next.document.previous = Some(Digest::of(&self.sign().bytes));
        next.document.version += 1;
        next.document.created = made(next.document.version.min(28));
        next.signers = signers.to_vec();
        next
    }

    /// With these root keys.
    #[must_use]
    pub fn root(mut self, seeds: &[u8], threshold: u32) -> Self {
        self.document.roles.root = role(seeds, threshold);
        self.with_keys()
    }

    /// With these release keys.
    #[must_use]
    pub fn release(mut self, seeds: &[u8], threshold: u32) -> Self {
        self.document.roles.release = role(seeds, threshold);
        self.with_keys()
    }

    /// With these keys for revocations.
    #[must_use]
    pub fn revocation(mut self, seeds: &[u8], threshold: u32) -> Self {
        self.document.roles.revocation = Some(role(seeds, threshold));
        self.with_keys()
    }

    /// Lists exactly the keys that a role uses.
    fn with_keys(mut self) -> Self {
        let roles = &self.document.roles;
        let roles = [Some(&roles.root), Some(&roles.release), roles.revocation.as_ref()];
        let used: BTreeSet<KeyId> = roles
            .into_iter()
            .flatten()
            .flat_map(|role| &role.clauses)
            .flat_map(|clause| clause.keyids.iter().copied())
            .collect();
        let listed = (0..=u8::MAX).filter(|seed| used.contains(&keyid(*seed))).map(|seed| {
            let public = key(seed).public().unwrap();
            let holder = format!("h{seed}").parse().unwrap();
            (public.id(), RootKey { scheme: public.scheme(), pem: public.pem().to_string(), holder })
        });
        self.document.keys = listed.collect();
        self
    }

    /// The bytes and their signatures; no rule is looked at.
    #[must_use]
    pub fn sign(&self) -> SignedFile {
        let bytes = canonical::to_canonical(&self.document).unwrap();
        let signatures = signed(&self.signers, &bytes);
        SignedFile { bytes, signatures }
    }
}

fn signed(seeds: &[u8], bytes: &[u8]) -> Vec<FoundSignature> {
    let found = seeds.iter().map(|seed| {
        let (claimed, bytes) = signature(*seed, bytes);
        FoundSignature { claimed, bytes }
    });
    found.collect()
}

/// A list of revocations that is being made.
#[derive(Debug, Clone)]
pub struct RevocationDraft {
    /// The document.
    pub document: RevocationDocument,
    /// The keys that sign it, by their seeds.
    pub signers: Vec<u8>,
}

impl RevocationDraft {
    /// An empty list of `acme`.
    #[must_use]
    pub fn new(epoch: u64, version: u64, signers: &[u8]) -> Self {
        let document = RevocationDocument {
            schema: RevocationSchema::V1,
            publisher: "acme".parse().unwrap(),
            epoch,
            version,
            created: made(20),
            keys: BTreeMap::new(),
            bundles: BTreeMap::new(),
            minimums: BTreeMap::new(),
        };
        Self { document, signers: signers.to_vec() }
    }

    /// Revokes a key.
    #[must_use]
    pub fn key(mut self, seed: u8, except: &[BundleDigest]) -> Self {
        let except = except.iter().copied().collect();
        self.document.keys.insert(keyid(seed), RevokedKey { reason: "lost".parse().unwrap(), except });
        self
    }

    /// Revokes a bundle.
    #[must_use]
    pub fn bundle(mut self, bundle: BundleDigest) -> Self {
        self.document.bundles.insert(bundle, RevokedBundle { reason: "has a flaw".parse().unwrap() });
        self
    }

    /// Revokes everything of a product below an order.
    #[must_use]
    pub fn below(mut self, product: &str, epoch: u64, sequence: u64) -> Self {
        let order = manifests::bundle::Sequence { epoch, sequence };
        let minimum = Minimum { order, reason: "too old".parse().unwrap() };
        self.document.minimums.insert(product.parse().unwrap(), minimum);
        self
    }

    /// The bytes and their signatures.
    #[must_use]
    pub fn sign(&self) -> SignedFile {
        let bytes = canonical::to_canonical(&self.document).unwrap();
        SignedFile { signatures: signed(&self.signers, &bytes), bytes }
    }
}
