//! The blobs of a receipt: how many, one digest over all of them, and perhaps each of them.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Hasher};
use crate::string_form::string_form;

/// Which blobs a site holds. Whoever has the inventories of the bundles that a receipt names needs no list: the
/// digest says whether the right ones were found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blobs {
    /// How many.
    pub count: u64,
    /// SHA-256 over their SHA-256 digests, 32 bytes each, the lowest first.
    pub digest: Digest,
    /// Each of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<BlobList>,
}

/// The digests of blobs, the lowest first and none twice. In a document they are the base64 of 32 bytes each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobList(Vec<Digest>);

/// Why a text is not a list of blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlobListError {
    /// Not base64.
    #[error("a list of blobs is not base64")]
    Base64,
    /// Not whole digests.
    #[error("a list of blobs has {0} bytes, which is no multiple of 32")]
    Length(usize),
    /// Not in order.
    #[error("a list of blobs is not in order")]
    Order,
}

impl Blobs {
    /// These blobs, each of them named or not.
    #[must_use]
    pub fn of(blobs: &BTreeSet<Digest>, listed: bool) -> Self {
        Self {
            count: blobs.len() as u64,
            digest: digest_of(blobs),
            list: listed.then(|| BlobList(blobs.iter().copied().collect())),
        }
    }

    /// Whether they are these.
    #[must_use]
    pub fn are(&self, blobs: &BTreeSet<Digest>) -> bool {
        self.count == blobs.len() as u64 && self.digest == digest_of(blobs)
    }

    /// Whether the list, if there is one, is that of the count and the digest.
    pub(super) fn is_consistent(&self) -> bool {
        self.list.as_ref().is_none_or(|list| {
            self.count == list.digests().len() as u64 && self.digest == digest_of(list.digests())
        })
    }
}

fn digest_of<'a>(blobs: impl IntoIterator<Item = &'a Digest>) -> Digest {
    let mut hasher = Hasher::default();
    blobs.into_iter().for_each(|blob| hasher.update(blob.as_bytes()));
    hasher.finish()
}

impl BlobList {
    /// The digests.
    #[must_use]
    pub fn digests(&self) -> &[Digest] {
        &self.0
    }
}

impl fmt::Display for BlobList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: Vec<u8> = self.0.iter().flat_map(|digest| *digest.as_bytes()).collect();
        let text: String = STANDARD.encode(bytes);
        f.write_str(&text)
    }
}

impl FromStr for BlobList {
    type Err = BlobListError;
    fn from_str(text: &str) -> Result<Self, BlobListError> {
        let bytes = STANDARD.decode(text).map_err(|_| BlobListError::Base64)?;
        let (digests, rest) = bytes.as_chunks::<32>();
        if !rest.is_empty() {
            return Err(BlobListError::Length(bytes.len()));
        }
        let digests: Vec<Digest> = digests.iter().map(|bytes| Digest::from_bytes(*bytes)).collect();
        if !digests.is_sorted_by(|left, right| left < right) {
            return Err(BlobListError::Order);
        }
        Ok(Self(digests))
    }
}

string_form!(BlobList);

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_list_is_what_an_auditor_hashes_and_in_one_order_only() {
        let blobs: BTreeSet<Digest> = [b"a", b"b", b"c"].iter().map(|bytes| Digest::of(*bytes)).collect();
        let listed = Blobs::of(&blobs, true);
        let text = listed.list.as_ref().unwrap().to_string();
        assert_eq!(Digest::of(&STANDARD.decode(&text).unwrap()), listed.digest);
        assert!(listed.is_consistent() && listed.are(&blobs) && Blobs::of(&blobs, false).are(&blobs));
        assert_eq!(text.parse(), Ok(listed.list.clone().unwrap()));
        let bytes = STANDARD.decode(&text).unwrap();
        for (wrong, error) in [
            (STANDARD.encode(&bytes[..95]), BlobListError::Length(95)),
            (STANDARD.encode([&bytes[32..64], &bytes[..32]].concat()), BlobListError::Order),
            (STANDARD.encode([&bytes[..32], &bytes[..32]].concat()), BlobListError::Order),
            ("a b".to_string(), BlobListError::Base64),
        ] {
            assert_eq!(wrong.parse::<BlobList>(), Err(error));
        }
        let fewer: BTreeSet<Digest> = blobs.iter().copied().skip(1).collect();
        assert!(!listed.are(&fewer));
        let other = Blobs { list: Blobs::of(&fewer, true).list, ..listed };
        assert!(!other.is_consistent());
    }
}
