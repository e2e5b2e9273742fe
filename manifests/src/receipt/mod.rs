//! Receipts: what a site holds and runs, signed by the site's own key and carried back to the connected side
//! (`docs/receipt.md`).
//!
//! A receipt is a statement of one moment. Whoever makes a delta from it saves room on media, and nothing else: the
//! site checks again what it holds before it writes anything. So a receipt that is old or wrong makes a bundle that is
//! refused, never one that is trusted.
//!
//! *Order of checks:* the file's two lines are told apart, the signature is checked over the first of them as it lies
//! there, then its canonical form, then the key that it names, then whether its parts fit. Nothing of what the
//! document says is read before its signature was good.

mod blobs;
mod file;
pub mod pieces;

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

pub use blobs::{BlobList, BlobListError, Blobs};
pub use file::{FormError, RECEIPT_BYTES_MAX, SignedReceipt, looks_like_receipt};

use crate::bundle::{BundleDigest, Sequence};
use crate::canonical::{self, CanonicalError};
use crate::digest::Digest;
use crate::key::{KeyId, PublicKey};
use crate::text::{BundleVersion, Name};
use crate::timestamp::Timestamp;

/// The version of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReceiptSchema {
    /// This one.
    #[serde(rename = "airlock-receipt/v1")]
    V1,
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptDocument {
    /// What these bytes are: the site's key signs other documents as well.
    pub schema: ReceiptSchema,
    /// The site's name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Name>,
    /// Its groups.
    pub groups: BTreeSet<Name>,
    /// The key that signs.
    pub keyid: KeyId,
    /// The site's clock.
    pub time: Timestamp,
    /// Whom the site trusts.
    pub trust: TrustState,
    /// The audit log as it was.
    pub log: LogState,
    /// How closely the blobs were looked at.
    pub checked: Checked,
    /// What the site runs and keeps, by publisher and product.
    pub products: Vec<Product>,
    /// The blobs of every version that is whole.
    pub blobs: Blobs,
    /// A bundle whose apply was cut off and not yet finished or taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupted: Option<BundleDigest>,
}

/// How closely the blobs were looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Checked {
    /// Each is there and has its size.
    Sizes,
    /// Every byte of each was read again.
    Digests,
}

/// The trust root and the revocations that hold at a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustState {
    /// The version of the root.
    pub version: u64,
    /// Its fingerprint.
    pub root: Digest,
    /// The revocations, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocations: Option<ListState>,
}

/// Which list of revocations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListState {
    /// Its epoch.
    pub epoch: u64,
    /// Its version.
    pub version: u64,
    /// SHA-256 of the list.
    pub digest: Digest,
}

/// How long the audit log was, its first line and its last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogState {
    /// How many lines it had.
    pub entries: u64,
    /// The first of them, with its line feed: which log it is.
    pub first: Digest,
    /// The last of them, with its line feed.
    pub head: Digest,
}

/// One product at a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Product {
    /// Who publishes it.
    pub publisher: Name,
    /// The product.
    pub product: Name,
    /// The highest order that was ever applied: what is below it is refused.
    pub highest: Sequence,
    /// What runs and what is kept for a rollback.
    pub versions: Vec<HeldVersion>,
}

/// One version that a site keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldVersion {
    /// Its bundle.
    pub bundle: BundleDigest,
    /// Its label.
    pub version: BundleVersion,
    /// Its order.
    pub order: Sequence,
    /// Whether the site runs it.
    pub runs: bool,
    /// How many of its blobs are not there, or not as they were. A version that lacks any is no base.
    pub lacks: u64,
}

/// A receipt that the site's key has signed.
///
/// *Invariant:* the document is the one whose exact bytes were signed by the key that it names, and that key was asked
/// for. What it lists fits together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedReceipt {
    document: ReceiptDocument,
    digest: Digest,
}

/// Why a receipt is not to be gone by.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// Signed, and by nobody who was asked for.
    #[error("it is signed with another key, {claimed}")]
    AnotherKey {
        /// What it claims.
        claimed: KeyId,
    },
    /// The key was asked for, and this is not its signature over these bytes.
    #[error("the signature of the key {claimed} is wrong: it was changed after it was signed")]
    Signature {
        /// What it claims.
        claimed: KeyId,
    },
    /// Signed, and not a document of this kind.
    #[error("it is signed, but it is not a receipt")]
    Document(#[from] CanonicalError),
    /// Signed, and it names another key.
    #[error("it names the key {named}, and {signed} has signed it")]
    Named {
        /// Which key the document names.
        named: KeyId,
        /// Which has signed.
        signed: KeyId,
    },
    /// Signed, and its parts contradict each other.
    #[error("it is signed, but it contradicts itself: {0}")]
    Contradiction(&'static str),
}

impl ReceiptDocument {
    /// The bytes that are signed.
    ///
    /// # Errors
    /// None for a document of this type.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CanonicalError> {
        canonical::to_canonical(self)
    }

    /// What it says, for people: a head and a value for each line.
    #[must_use]
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let site = self.site.as_ref().map_or("has no name".to_string(), ToString::to_string);
        let mut lines = Vec::from([("site", site)]);
        if !self.groups.is_empty() {
            let groups: Vec<&str> = self.groups.iter().map(Name::as_str).collect();
            lines.push(("groups", groups.join(", ")));
        }
        lines.push(("site key", self.keyid.to_string()));
        lines.push(("time", self.time.to_string()));
        lines.push(("trust root", format!("version {}, {}", self.trust.version, self.trust.root)));
        if let Some(list) = &self.trust.revocations {
            lines.push(("revoked", format!("list {}.{}, {}", list.epoch, list.version, list.digest)));
        }
        lines.push(("audit log", format!("{} entries, the last one {}", self.log.entries, self.log.head)));
        for product in &self.products {
            lines.push(("product", product.title()));
            lines.extend(product.versions.iter().map(|version| version.line()));
        }
        let looked = match self.checked {
            Checked::Sizes => "each is there and has its size",
            Checked::Digests => "every byte was read again",
        };
        let listed = if self.blobs.list.is_some() { "listed" } else { "not listed" };
        lines.push(("blobs", format!("{}, {listed}: {looked}", self.blobs.count)));
        if let Some(bundle) = self.interrupted {
            lines.push(("cut off", format!("an apply of {bundle}")));
        }
        lines
    }

    fn contradiction(&self) -> Option<&'static str> {
        let named = |product: &Product| (product.publisher.clone(), product.product.clone());
        if !self.products.iter().map(named).is_sorted_by(|left, right| left < right) {
            return Some("its products are not in order");
        }
        for product in &self.products {
            if product.versions.iter().filter(|version| version.runs).count() > 1 {
                return Some("a product runs in two versions");
            }
            let bundles: BTreeSet<BundleDigest> =
                product.versions.iter().map(|version| version.bundle).collect();
            if bundles.len() != product.versions.len() {
                return Some("a version is listed twice");
            }
        }
        if self.log.entries == 0 {
            return Some("its log has no entries");
        }
        if !self.blobs.is_consistent() {
            return Some("its list of blobs is not the one that it counts");
        }
        None
    }
}

impl Product {
    fn title(&self) -> String {
        format!("{} {}, highest order {}", self.publisher, self.product, self.highest)
    }
}

impl HeldVersion {
    fn line(&self) -> (&'static str, String) {
        let head = if self.runs { "  runs" } else { "  keeps" };
        let lacks = match self.lacks {
            0 => String::new(),
            lacks => format!(", LACKS {lacks} blobs"),
        };
        (head, format!("{} (order {}) {}{lacks}", self.version, self.order, self.bundle))
    }
}

impl VerifiedReceipt {
    /// Takes a receipt that one of these keys has signed.
    ///
    /// # Errors
    /// See [`ReceiptError`].
    pub fn verify(signed: &SignedReceipt, keys: &[PublicKey]) -> Result<Self, ReceiptError> {
        let claimed = signed.claimed();
        let Some(key) = keys.iter().find(|key| key.id() == claimed) else {
            return Err(ReceiptError::AnotherKey { claimed });
        };
        if !key.verifies(signed.document(), signed.signature()) {
            return Err(ReceiptError::Signature { claimed });
        }
        let document: ReceiptDocument = canonical::from_canonical(signed.document())?;
        let named = document.keyid;
        if named != claimed {
            return Err(ReceiptError::Named { named, signed: claimed });
        }
        if let Some(reason) = document.contradiction() {
            return Err(ReceiptError::Contradiction(reason));
        }
        Ok(Self { document, digest: signed.digest() })
    }

    /// The document.
    #[must_use]
    pub fn document(&self) -> &ReceiptDocument {
        &self.document
    }

    /// SHA-256 of the whole file, by which the site's log names it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The bundles that the site holds whole: what a delta may build on.
    pub fn bases(&self) -> impl Iterator<Item = BundleDigest> + '_ {
        let versions = self.document.products.iter().flat_map(|product| &product.versions);
        versions.filter(|version| version.lacks == 0).map(|version| version.bundle)
    }

    /// Every blob that the site holds, the lowest digest first, if the receipt lists them. If it does not, they are
    /// those of [`VerifiedReceipt::bases`], and [`Blobs::are`] says whether one has found them all.
    #[must_use]
    pub fn blobs(&self) -> Option<&[Digest]> {
        self.document.blobs.list.as_ref().map(BlobList::digests)
    }
}

#[cfg(test)]
mod tests;
