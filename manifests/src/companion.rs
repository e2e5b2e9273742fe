//! Companions of an image or chart: manifests that lie beside it in its repository. Either under a tag that follows from
//! the manifest they speak about, as cosign has it (`sha256-<hex>.sig`, `.att` and `.sbom`), or under no tag at
//! all, as the OCI specs have it: then they name that manifest as their `subject`, and are its *referrers*.
//!
//! The tags, media types and annotations are those of cosign's signature specification; the payload is that
//! of the container signature format ("simple signing"). This module names them and never signs or verifies.
//!
//! *Invariant:* a [`Companion`] has no tag of its own. A document whose tag is not the one that follows from
//! `of` and `kind` does not parse.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::oci::Descriptor;

/// A layer that is the signed text of a signature.
pub const MEDIA_SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// On such a layer: the signature over its bytes, in base64.
pub const ANNOTATION_SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// What a companion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CompanionKind {
    /// An image whose layers are signed texts, one for each signature.
    CosignSignature,
    /// An image whose layers are signed statements about it.
    CosignAttestation,
    /// An image whose layer is a bill of materials.
    CosignSbom,
    /// A manifest whose `subject` is what it speaks about. It has no tag.
    Referrer,
}

impl CompanionKind {
    /// Those that have tags.
    pub const TAGGED: [Self; 3] = [Self::CosignSignature, Self::CosignAttestation, Self::CosignSbom];

    /// The tag of a companion of this kind that speaks about this manifest, if the kind has tags.
    #[must_use]
    pub fn tag(self, of: &Digest) -> Option<String> {
        let end = match self {
            Self::CosignSignature => "sig",
            Self::CosignAttestation => "att",
            Self::CosignSbom => "sbom",
            Self::Referrer => return None,
        };
        Some(format!("sha256-{}.{end}", of.hex()))
    }

    /// For people: one of them.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::CosignSignature => "signature",
            Self::CosignAttestation => "attestation",
            Self::CosignSbom => "sbom",
            Self::Referrer => "referrer",
        }
    }
}

/// A manifest beside an image or chart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
pub struct Companion {
    /// What it is.
    pub kind: CompanionKind,
    /// The manifest that it speaks about: the image's own, one below it, or another companion's.
    pub of: Digest,
    /// Its own manifest.
    pub manifest: Descriptor,
}

impl Companion {
    /// Its tag in the image's repository, if it has one.
    #[must_use]
    pub fn tag(&self) -> Option<String> {
        self.kind.tag(&self.of)
    }

    /// What comes after the repository in its name: `:` and its tag, or `@` and its digest.
    #[must_use]
    pub fn name_in_repository(&self) -> String {
        self.tag().map_or_else(|| format!("@{}", self.manifest.digest), |tag| format!(":{tag}"))
    }
}

/// The form in the inventory.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    manifest: Descriptor,
    of: Digest,
    kind: CompanionKind,
}

impl From<Companion> for Document {
    fn from(companion: Companion) -> Self {
        let tag = companion.tag();
        Self { tag, manifest: companion.manifest, of: companion.of, kind: companion.kind }
    }
}

impl TryFrom<Document> for Companion {
    type Error = CompanionError;
    fn try_from(document: Document) -> Result<Self, CompanionError> {
        let Document { tag, manifest, of, kind } = document;
        let expected = kind.tag(&of);
        if tag != expected {
            let shown = |tag: Option<String>| {
                tag.map_or_else(|| "none".to_string(), |tag| format!("`{}`", crate::text::printable(&tag)))
            };
            return Err(CompanionError::Tag { found: shown(tag), expected: shown(expected) });
        }
        let companion = Self { kind, of, manifest };
        if !companion.manifest.is_manifest() {
            let found = crate::text::printable(&companion.manifest.media_type).to_string();
            return Err(CompanionError::MediaType { name: companion.name_in_repository(), found });
        }
        Ok(companion)
    }
}

/// Why a document is not a companion.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompanionError {
    /// A tag that does not follow from what the companion speaks about.
    #[error("the companion's tag is {found}, and that of its kind and digest is {expected}")]
    Tag {
        /// What stands there, quoted.
        found: String,
        /// What must stand there, quoted.
        expected: String,
    },
    /// Signatures are in an image manifest.
    #[error("the companion {name} is `{found}` and not an image manifest")]
    MediaType {
        /// Which.
        name: String,
        /// What it says it is.
        found: String,
    },
}

/// `1 signature`, `3 signatures, 1 sbom`; nothing for none. For people.
#[must_use]
pub fn count<'a>(companions: impl IntoIterator<Item = &'a Companion>) -> Option<String> {
    let kinds: Vec<CompanionKind> = companions.into_iter().map(|companion| companion.kind).collect();
    let all = CompanionKind::TAGGED.into_iter().chain([CompanionKind::Referrer]);
    let words: Vec<String> = all
        .filter_map(|kind| match kinds.iter().filter(|found| **found == kind).count() {
            0 => None,
            1 => Some(format!("1 {}", kind.noun())),
            many => Some(format!("{many} {}s", kind.noun())),
        })
        .collect();
    (!words.is_empty()).then(|| words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{MEDIA_INDEX, MEDIA_MANIFEST};
    use serde_json::json;

    fn document() -> serde_json::Value {
        let of = Digest::of(b"image");
        json!({
            "tag": format!("sha256-{}.sig", of.hex()),
            "of": of,
            "kind": "cosign-signature",
            "manifest": Descriptor::of(MEDIA_MANIFEST, b"signature"),
        })
    }

    fn refusal(document: serde_json::Value) -> String {
        serde_json::from_value::<Companion>(document).unwrap_err().to_string()
    }

    #[test]
    fn a_companion_survives_its_document() {
        let companion: Companion = serde_json::from_value(document()).unwrap();
        assert_eq!(serde_json::to_value(&companion).unwrap(), document());
        assert_eq!(count([&companion]).as_deref(), Some("1 signature"));
        assert_eq!(count([&companion, &companion]).as_deref(), Some("2 signatures"));
        assert_eq!(count([]), None);
    }

    #[test]
    fn a_referrer_has_no_tag_and_is_named_by_its_digest() {
        let of = Digest::of(b"image");
        let manifest = Descriptor::of(MEDIA_MANIFEST, b"referrer");
        let document = json!({"of": of, "kind": "referrer", "manifest": manifest});
        let companion: Companion = serde_json::from_value(document.clone()).unwrap();
        assert_eq!(serde_json::to_value(&companion).unwrap(), document);
        assert_eq!(companion.name_in_repository(), format!("@{}", manifest.digest));
        assert_eq!(count([&companion]).as_deref(), Some("1 referrer"));
    }

    #[test]
    fn refuses_a_tag_that_is_not_that_of_its_digest_and_kind() {
        let hex = Digest::of(b"image").hex();
        let other = Digest::of(b"other").hex();
        for tag in [format!("sha256-{other}.sig"), format!("sha256-{hex}.att"), "v1\u{1b}[2J".to_string()] {
            let mut wrong = document();
            wrong["tag"] = json!(tag);
            let message = refusal(wrong);
            assert!(message.contains("the companion's tag is"), "{message}");
            assert!(!message.chars().any(char::is_control), "{message:?}");
        }
    }

    #[test]
    fn refuses_an_index_an_unknown_kind_and_an_unknown_field() {
        for (field, value, words) in [
            ("manifest", json!(Descriptor::of(MEDIA_INDEX, b"x")), "not an image manifest"),
            ("kind", json!("cosign-vision"), "unknown variant"),
            ("kind", json!("cosign-attestation"), "the companion's tag is"),
            ("kind", json!("referrer"), "that of its kind and digest is none"),
            ("more", json!(1), "unknown field"),
        ] {
            let mut wrong = document();
            wrong[field] = value;
            let message = refusal(wrong);
            assert!(message.contains(words), "{message}");
        }
    }
}
