//! `revocations.json`: what must not be believed any more, although it was signed. Keys, single bundles,
//! and everything of a product below an order.
//!
//! The list is signed as roots and bundles are. It is judged by the current root's `revocation` role, or
//! by its `root` role if there is none. It has a version of its own; within one epoch it only grows, so an
//! older list, or one that forgets something, is refused. A new epoch, which only a new root can start,
//! may begin another list: that is how a publisher gets out of a list that a thief has signed.
//!
//! *What it can never do:* add a key, lower a threshold, or touch the root role. Keys of the root role are
//! taken away by the next root.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::bundle::{BundleDigest, Sequence};
use crate::canonical::{self, CanonicalError};
use crate::digest::Digest;
use crate::key::KeyId;
use crate::root::{FoundSignature, NotMet, RoleName, SignatureVerdict, TrustRoot};
use crate::text::{Marking, Name};
use crate::timestamp::Timestamp;

/// Bounds `revocations.json`: some two thousand entries.
pub const REVOCATIONS_BYTES_MAX: u64 = 512 * 1024;

/// The version of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RevocationSchema {
    /// This one.
    #[serde(rename = "airlock-revocations/v1")]
    V1,
}

/// `revocations.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationDocument {
    /// What these bytes are.
    pub schema: RevocationSchema,
    /// Whose bundles it speaks about.
    pub publisher: Name,
    /// The epoch of the root that it belongs to.
    pub epoch: u64,
    /// Counts up within the epoch, from 1.
    pub version: u64,
    /// When it was made.
    pub created: Timestamp,
    /// Keys whose signatures over bundles do not count any more.
    pub keys: BTreeMap<KeyId, RevokedKey>,
    /// Bundles that must not be used.
    pub bundles: BTreeMap<BundleDigest, RevokedBundle>,
    /// By product: the lowest order that may be used.
    pub minimums: BTreeMap<Name, Minimum>,
}

/// One revoked key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokedKey {
    /// Why, for people.
    pub reason: Marking,
    /// Bundles that the publisher knows to have signed with it: for those it still counts, so that a
    /// site keeps its way back.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub except: BTreeSet<BundleDigest>,
}

/// One revoked bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokedBundle {
    /// Why, for people.
    pub reason: Marking,
}

/// Everything of a product below this is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Minimum {
    /// The lowest order that may still be used.
    pub order: Sequence,
    /// Why, for people.
    pub reason: Marking,
}

/// Why a list of revocations is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RevocationError {
    /// Not signed by those who may revoke.
    #[error("the revocations are not signed by those who may revoke: {0}")]
    Signatures(NotMet),
    /// Signed, and yet not a document that we would have written.
    #[error("revocations.json is signed, but it is not valid")]
    Document(#[from] CanonicalError),
    /// Another publisher's.
    #[error("the revocations are `{found}`'s, and this trust root judges only `{expected}`'s")]
    Publisher {
        /// The list's.
        found: Name,
        /// The root's.
        expected: Name,
    },
    /// Made for another epoch than the root's.
    #[error("the revocations are of epoch {found}, and the trust root is of epoch {expected}")]
    Epoch {
        /// The list's.
        found: u64,
        /// The root's.
        expected: u64,
    },
    /// Not newer than the one that is known.
    #[error(
        "revocations version {found} of epoch {epoch} is not newer than version {known}, which is known here"
    )]
    NotNewer {
        /// The list's.
        found: u64,
        /// The one that is known.
        known: u64,
        /// The epoch of both.
        epoch: u64,
    },
    /// The same version with other content.
    #[error("equivocation: two lists of revocations, both signed, are version {0}")]
    Equivocation(u64),
    /// It takes a part of a revocation back, which only the root role may.
    #[error(
        "the revocations except another bundle from the revocation of key {0}, and only the root role may do that"
    )]
    Spares(KeyId),
    /// It leaves out what an earlier one of its epoch had revoked.
    #[error("revocations version {found} forgets what version {known} has revoked: {what}")]
    Forgets {
        /// The list's version.
        found: u64,
        /// The version of the one that is known.
        known: u64,
        /// What is missing.
        what: &'static str,
    },
}

/// A list that somebody who may has signed.
#[derive(Debug, Clone)]
pub struct Revocations {
    document: RevocationDocument,
    digest: Digest,
    signed_as_root: bool,
    signatures: Vec<SignatureVerdict>,
}

impl RevocationDocument {
    /// The bytes that are signed.
    ///
    /// # Errors
    /// None for a document of this type.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CanonicalError> {
        canonical::to_canonical(self)
    }

    /// Parses a list that is not judged: to show it, or to make the next one from it.
    ///
    /// # Errors
    /// Another shape, or bytes that are not canonical.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CanonicalError> {
        canonical::from_canonical(bytes)
    }

    /// A key for which this list excepts a bundle that an earlier one did not: that takes a part of a
    /// revocation back.
    fn spares(&self, earlier: &Self) -> Option<KeyId> {
        let grew = |(keyid, before): (&KeyId, &RevokedKey)| {
            let now = self.keys.get(keyid)?;
            (!now.except.is_subset(&before.except)).then_some(*keyid)
        };
        earlier.keys.iter().find_map(grew)
    }

    /// What an earlier list has and this one has not, if there is any.
    fn forgets(&self, earlier: &Self) -> Option<&'static str> {
        if earlier.keys.keys().any(|keyid| !self.keys.contains_key(keyid)) {
            return Some("a key");
        }
        if earlier.bundles.keys().any(|bundle| !self.bundles.contains_key(bundle)) {
            return Some("a bundle");
        }
        let lowered = |(product, before): (&Name, &Minimum)| {
            self.minimums.get(product).is_none_or(|now| now.order < before.order)
        };
        earlier.minimums.iter().any(lowered).then_some("the lowest order of a product")
    }
}

impl Revocations {
    /// SHA-256 of the list.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Checks the signatures over the bytes as they were read, and only then parses them.
    ///
    /// # Errors
    /// The root's role is not met, the document is none, or another publisher's.
    pub(crate) fn authenticate(
        root: &TrustRoot,
        bytes: &[u8],
        found: &[FoundSignature],
    ) -> Result<Self, RevocationError> {
        let signatures =
            root.authorise(RoleName::Revocation, bytes, found).map_err(RevocationError::Signatures)?;
        let document = RevocationDocument::from_bytes(bytes)?;
        let expected = &root.document().publisher;
        if document.publisher != *expected {
            return Err(RevocationError::Publisher { found: document.publisher, expected: expected.clone() });
        }
        // The root role may do what only the root role may, whichever role has made the list.
        let signed_as_root = root.authorise(RoleName::Root, bytes, found).is_ok();
        Ok(Self { document, digest: Digest::of(bytes), signed_as_root, signatures })
    }

    /// Whether this list may take the place of the one that is known.
    pub(crate) fn follows(&self, root: &TrustRoot, known: Option<&Self>) -> Result<(), RevocationError> {
        let (document, epoch) = (&self.document, root.document().epoch);
        if document.epoch != epoch {
            return Err(RevocationError::Epoch { found: document.epoch, expected: epoch });
        }
        let Some(known) = known.map(|known| &known.document).filter(|known| known.epoch == epoch) else {
            return Ok(());
        };
        let (found, version) = (document.version, known.version);
        if found == version && document != known {
            return Err(RevocationError::Equivocation(version));
        }
        if found <= version {
            return Err(RevocationError::NotNewer { found, known: version, epoch });
        }
        if let Some(what) = document.forgets(known) {
            return Err(RevocationError::Forgets { found, known: version, what });
        }
        match document.spares(known) {
            Some(keyid) if !self.signed_as_root => Err(RevocationError::Spares(keyid)),
            _ => Ok(()),
        }
    }

    /// The document.
    #[must_use]
    pub fn document(&self) -> &RevocationDocument {
        &self.document
    }

    /// Who has signed it.
    #[must_use]
    pub fn signatures(&self) -> &[SignatureVerdict] {
        &self.signatures
    }

    /// The keys that do not count for this bundle.
    pub(crate) fn keys_without(&self, bundle: BundleDigest) -> BTreeSet<KeyId> {
        let revoked = self.document.keys.iter().filter(|(_, key)| !key.except.contains(&bundle));
        revoked.map(|(keyid, _)| *keyid).collect()
    }
}
