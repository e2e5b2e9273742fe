//! Companions of an image: manifests that lie beside it in its repository, under a tag that follows from
//! the manifest they speak about. Today these are cosign's signatures, `sha256-<hex>.sig`.
//!
//! The tags, media types and annotations are those of cosign's signature specification; the payload is that
//! of the container signature format ("simple signing"). This module names them and never signs or verifies.
//!
//! *Invariant:* a [`Companion`] has no tag of its own. A document whose tag is not the one that follows from
//! `of` and `kind` does not parse.

use alloc::format;
use alloc::string::{String, ToString};

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
}

impl CompanionKind {
    /// The tag of a companion of this kind that speaks about this manifest.
    #[must_use]
    pub fn tag(self, of: &Digest) -> String {
        let end = match self {
            Self::CosignSignature => "sig",
        };
        format!("sha256-{}.{end}", of.hex())
    }
}

/// A manifest beside an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
pub struct Companion {
    /// What it is.
    pub kind: CompanionKind,
    /// The manifest that it speaks about: the image's own or one below it.
    pub of: Digest,
    /// Its own manifest.
    pub manifest: Descriptor,
}

impl Companion {
    /// Its tag in the image's repository.
    #[must_use]
    pub fn tag(&self) -> String {
        self.kind.tag(&self.of)
    }
}

/// The form in the inventory.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    tag: String,
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
            return Err(CompanionError::Tag { found: crate::text::printable(&tag), expected });
        }
        if !manifest.is_manifest() {
            let found = crate::text::printable(&manifest.media_type).to_string();
            return Err(CompanionError::MediaType { tag, found });
        }
        Ok(Self { kind, of, manifest })
    }
}

/// Why a document is not a companion.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompanionError {
    /// A tag that does not follow from what the companion speaks about.
    #[error("the companion's tag is `{found}`, and that of its kind and digest is `{expected}`")]
    Tag {
        /// What stands there.
        found: String,
        /// What must stand there.
        expected: String,
    },
    /// Signatures are in an image manifest.
    #[error("the companion {tag} is `{found}` and not an image manifest")]
    MediaType {
        /// Which.
        tag: String,
        /// What it says it is.
        found: String,
    },
}

/// `1 signature`, `3 signatures`; nothing for none. For people.
#[must_use]
pub fn count<'a>(companions: impl IntoIterator<Item = &'a Companion>) -> Option<String> {
    let signatures = companions.into_iter().filter(|c| c.kind == CompanionKind::CosignSignature).count();
    match signatures {
        0 => None,
        1 => Some("1 signature".to_string()),
        many => Some(format!("{many} signatures")),
    }
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
            ("kind", json!("cosign-attestation"), "unknown variant"),
            ("more", json!(1), "unknown field"),
        ] {
            let mut wrong = document();
            wrong[field] = value;
            let message = refusal(wrong);
            assert!(message.contains(words), "{message}");
        }
    }
}
