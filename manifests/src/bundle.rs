//! `bundle.json`, the BundleManifest: the small document whose exact bytes are signed. Everything else in
//! the archive is named by a digest that hangs from here.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::canonical::{self, CanonicalError};
use crate::digest::Digest;
use crate::string_form::string_form;
use crate::text::{Audience, BundleVersion, Marking, Name};
use crate::timestamp::Timestamp;

/// Bounds what is read before anything is trusted. A manifest with every field full stays below 8 KiB;
/// 64 KiB still fits a hardware token.
pub const MANIFEST_BYTES_MAX: u64 = 64 * 1024;

/// The version of the document. It comes with domain separation: a raw signature has no prefix, so the
/// bytes themselves must say what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BundleSchema {
    /// This one.
    #[serde(rename = "airlock-bundle/v1")]
    V1,
}

/// Something a reader must understand or refuse the bundle. Any other name is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feature {
    /// Blobs are left out that other bundles hold.
    Delta,
    /// Blobs are made on site, of a patch and of a blob that another bundle holds.
    Patch,
}

/// A file by content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

impl Content {
    /// Digest and size of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self { digest: Digest::of(bytes), size: bytes.len() as u64 }
    }
}

/// How much is inside, so that a person who signs can see it and a reader can check it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Images by name.
    pub images: u64,
    /// Wheelhouses.
    pub wheelhouses: u64,
    /// Charts.
    pub charts: u64,
    /// File sets.
    pub file_sets: u64,
    /// Sets of Kubernetes manifests.
    pub kubernetes_manifests: u64,
    /// Scripts.
    pub scripts: u64,
    /// Distinct blobs.
    pub blobs: u64,
    /// Their lengths together.
    pub blob_bytes: u64,
    /// How many of these blobs a delta leaves out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// Their lengths together.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out_bytes: u64,
    /// How many of the blobs travel as patches.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub patched: u64,
    /// Their lengths together.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub patched_bytes: u64,
    /// The lengths of their patches together.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub patch_bytes: u64,
}

impl Counts {
    /// The lengths of what travels of the blobs, together.
    #[must_use]
    pub fn carried_bytes(&self) -> u64 {
        let whole = self.blob_bytes.saturating_sub(self.left_out_bytes).saturating_sub(self.patched_bytes);
        whole.saturating_add(self.patch_bytes)
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The order of the bundles of one product. The epoch comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sequence {
    /// Raised only by a new trust root, so that a stolen release key cannot lock a site out by signing
    /// the highest number there is.
    pub epoch: u64,
    /// Grows with every bundle of the product.
    pub sequence: u64,
}

impl core::fmt::Display for Sequence {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{}", self.epoch, self.sequence)
    }
}

/// The signed document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleManifest {
    /// What these bytes are.
    pub schema: BundleSchema,
    /// Whose trust root this falls under.
    pub publisher: Name,
    /// What the sequence counts.
    pub product: Name,
    /// The label people use.
    pub version: BundleVersion,
    /// The position in the product's history.
    pub order: Sequence,
    /// For whom: at least one entry.
    pub audience: Vec<Audience>,
    /// Printed wherever the bundle is named.
    pub marking: Marking,
    /// From `SOURCE_DATE_EPOCH` or the lock; never the time of the build.
    pub created: Timestamp,
    /// Advisory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// The lowest version of the trust root that may judge this bundle.
    pub root_version: u64,
    /// What a reader must understand.
    pub features: Vec<Feature>,
    /// The bundles that a delta builds on, by the digest of their `bundle.json`.
    pub bases: Vec<Digest>,
    /// `SHA256SUMS`
    pub checksums: Content,
    /// `inventory.json`
    pub inventory: Content,
    /// How much is inside.
    pub counts: Counts,
}

/// The identity of a bundle: the digest of its `bundle.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleDigest(pub Digest);

impl core::fmt::Display for BundleDigest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(&self.0, f)
    }
}

impl core::str::FromStr for BundleDigest {
    type Err = crate::digest::DigestError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

string_form!(BundleDigest);

impl BundleManifest {
    /// The bytes that are signed.
    ///
    /// # Errors
    /// None for a document of this type.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CanonicalError> {
        canonical::to_canonical(self)
    }

    /// Parses bytes **whose signatures were checked**.
    ///
    /// # Errors
    /// Another shape, or bytes that are not canonical.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CanonicalError> {
        canonical::from_canonical(bytes)
    }
}
