//! `verify:`: whether an image was signed by a key that somebody named, as `cosign sign --key` signs.
//!
//! It follows cosign's signature specification: a signed text is a layer of the manifest under the tag
//! `sha256-<hex>.sig`, and its signature an annotation of that layer. What counts is that the text names the
//! digest of the image's manifest. The name in the text is reported and not held against anything, because
//! images are copied; cosign does the same.
//!
//! **What this module may never do:** take a signature over another digest, or no signature at all, for one.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edge::{Classified, Exit};
use manifests::companion::{ANNOTATION_SIGNATURE, CompanionKind, MEDIA_SIMPLE_SIGNING};
use manifests::inventory::{UpstreamSignature, UpstreamVerdict};
use manifests::key::KeyError;
use manifests::oci::{Descriptor, ManifestDocument};
use manifests::text::printable;
use manifests::{Digest, KeyId, PublicKey};
use serde::Deserialize;

use super::{ImageError, Walk};
use crate::spec::VerifySpec;

/// Bounds a public key.
const KEY_BYTES_MAX: u64 = 64 * 1024;
/// A signed text is a few hundred bytes; annotations of people go into it too.
const TEXT_BYTES_MAX: u64 = 1024 * 1024;
/// What such a text says it is.
const TYPE: &str = "cosign container image signature";

/// Why an image does not count as signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// The key.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The key is none of ours.
    #[error("{} is not a public key", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
    /// There is no signature at all.
    #[error("image {image} ({manifest}) has no signature, and key {key} ({}) must have signed it", path.display())]
    Absent {
        /// The image.
        image: String,
        /// Its manifest.
        manifest: Digest,
        /// Who must have signed.
        key: KeyId,
        /// The key's file.
        path: PathBuf,
    },
    /// There are others.
    #[error("none of the {count} signatures of image {image} ({manifest}) is one of key {key} ({}): {reason}", path.display())]
    Wrong {
        /// The image.
        image: String,
        /// Its manifest.
        manifest: Digest,
        /// How many were looked at.
        count: usize,
        /// Who must have signed.
        key: KeyId,
        /// The key's file.
        path: PathBuf,
        /// What was wrong with the last one.
        reason: &'static str,
    },
}

impl Classified for UpstreamError {
    fn exit(&self) -> Exit {
        match self {
            Self::Read { .. } => Exit::Unreachable,
            Self::Key { .. } => Exit::Usage,
            Self::Absent { .. } | Self::Wrong { .. } => Exit::Refused,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Key { source, .. } => source.hint().map(str::to_string),
            Self::Absent { .. } | Self::Wrong { .. } => {
                Some("ask the publisher of the image for its key and its signature".to_string())
            }
            Self::Read { .. } => None,
        }
    }
}

/// The signed text, as far as it matters.
#[derive(Deserialize)]
struct SignedText {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    #[serde(default)]
    identity: Identity,
    image: SignedImage,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize, Default)]
struct Identity {
    #[serde(rename = "docker-reference", default)]
    reference: String,
}

#[derive(Deserialize)]
struct SignedImage {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

impl Walk<'_> {
    /// Checks what the source has beside the manifest that it named.
    pub(super) fn verify(
        &mut self,
        wanted: &VerifySpec,
        root: &Descriptor,
    ) -> Result<UpstreamSignature, ImageError> {
        let path = wanted.key.clone();
        let text = layout::durable::read_bounded(&self.world.path(&path), KEY_BYTES_MAX);
        let text = text.map_err(|source| UpstreamError::Read { path: path.clone(), source })?;
        let key = PublicKey::read(&String::from_utf8_lossy(&text))
            .map_err(|source| UpstreamError::Key { path: path.clone(), source })?;
        let (image, manifest) = (self.image.clone(), root.digest);
        let (mut count, mut reason) = (0_usize, "");
        for layer in self.signed_texts(root)? {
            count = count.saturating_add(1);
            let text = self.signed_text(&layer)?;
            match judged(&key, &layer, &text, &manifest) {
                Ok(reference) => {
                    (self.world.note)(&format!(
                        "note: {image}: signed by key {}, as `{}`",
                        key.id(),
                        printable(&reference)
                    ));
                    return Ok(UpstreamSignature::Verified(UpstreamVerdict { key: key.id(), manifest }));
                }
                Err(wrong) => reason = wrong,
            }
        }
        let key = key.id();
        Err(match count {
            0 => UpstreamError::Absent { image, manifest, key, path },
            _ => UpstreamError::Wrong { image, manifest, count, key, path, reason },
        }
        .into())
    }

    /// The layers that are signed texts.
    fn signed_texts(&mut self, root: &Descriptor) -> Result<Vec<Descriptor>, ImageError> {
        let mut texts = Vec::new();
        for companion in self.beside(root.digest)? {
            if companion.kind != CompanionKind::CosignSignature {
                continue;
            }
            if let (_, ManifestDocument::Image(manifest)) = self.document(&companion.manifest)? {
                let signed = |layer: &Descriptor| layer.media_type == MEDIA_SIMPLE_SIGNING;
                texts.extend(manifest.layers.into_iter().filter(signed));
            }
        }
        Ok(texts)
    }

    fn signed_text(&mut self, layer: &Descriptor) -> Result<Vec<u8>, ImageError> {
        if layer.size > TEXT_BYTES_MAX {
            return Ok(Vec::new());
        }
        self.content.document(layer)
    }
}

/// The name in the text, if this key has signed this manifest with it.
fn judged(
    key: &PublicKey,
    layer: &Descriptor,
    text: &[u8],
    manifest: &Digest,
) -> Result<String, &'static str> {
    let signature = layer.annotations.get(ANNOTATION_SIGNATURE).and_then(|text| STANDARD.decode(text).ok());
    let signature = signature.ok_or("it is not in base64")?;
    // The text is not looked into before it is known to be the signer's.
    if !key.verifies(text, &signature) {
        return Err("it is not of this key, or over another text");
    }
    let signed: SignedText = serde_json::from_slice(text).map_err(|_| "its text is not one of cosign's")?;
    if signed.critical.kind != TYPE {
        return Err("its text is about something else than an image");
    }
    if signed.critical.image.digest != manifest.to_string() {
        return Err("its text names another image");
    }
    Ok(signed.critical.identity.reference)
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifests::SecretKey;

    fn text(kind: &str, of: &Digest) -> Vec<u8> {
        format!(
            "{{\"critical\":{{\"identity\":{{\"docker-reference\":\"r/a\"}},\"image\":{{\"docker-manifest-digest\":\"{of}\"}},\"type\":\"{kind}\"}},\"optional\":null}}"
        )
        .into_bytes()
    }

    fn layer(text: &[u8], signature: &[u8]) -> Descriptor {
        Descriptor::of(MEDIA_SIMPLE_SIGNING, text)
            .annotated(ANNOTATION_SIGNATURE, &STANDARD.encode(signature))
    }

    #[test]
    fn only_a_signature_of_the_key_over_a_text_about_this_manifest_counts() {
        let (secret, other) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
        let key = secret.public().unwrap();
        let manifest = Digest::of(b"image");
        let judge = |secret: &SecretKey, text: &[u8]| {
            judged(&key, &layer(text, &secret.sign(text).unwrap()), text, &manifest)
        };
        assert_eq!(judge(&secret, &text(TYPE, &manifest)), Ok("r/a".to_string()));
        assert!(judge(&other, &text(TYPE, &manifest)).is_err());
        assert!(judge(&secret, &text(TYPE, &Digest::of(b"x"))).unwrap_err().contains("another image"));
        assert!(judge(&secret, &text("else", &manifest)).unwrap_err().contains("something else"));
        assert!(judge(&secret, b"{}").unwrap_err().contains("not one of cosign's"));
        let good = text(TYPE, &manifest);
        let unsigned = Descriptor::of(MEDIA_SIMPLE_SIGNING, &good);
        assert!(judged(&key, &unsigned, &good, &manifest).is_err());
    }
}
