//! What travels beside an image: cosign's tags and OCI referrers, for every manifest that is carried, and for
//! what speaks about those in turn.
//!
//! Their bytes are taken as they are. What a bundle cannot carry (an index as a referrer) is said and left out.

use std::collections::{BTreeMap, BTreeSet};

use edge::{Classified, Exit};
use manifests::Digest;
use manifests::companion::{Companion, CompanionKind};
use manifests::oci::{Descriptor, ManifestDocument};

use super::{ImageError, Walk, plain};

/// A signature of an attestation of an attestation; nobody goes further.
const DEPTH_MAX: usize = 4;
/// More than anybody attaches to one image, all its platforms together.
const COMPANIONS_MAX: usize = 2000;

/// Why companions cannot be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompanionsError {
    /// A list without end, or an attack.
    #[error("over {COMPANIONS_MAX} signatures, attestations and referrers")]
    TooMany,
    /// A registry that lists what does not belong there.
    #[error("{digest} is listed as a referrer of {of}, and does not name it as its subject")]
    Subject {
        /// The referrer.
        digest: Digest,
        /// What it should speak about.
        of: Digest,
    },
}

impl Classified for CompanionsError {
    fn exit(&self) -> Exit {
        Exit::Damaged
    }

    fn hint(&self) -> Option<String> {
        Some("leave them behind with `signatures: false`".to_string())
    }
}

/// What was found so far, so that nobody is asked twice.
#[derive(Default)]
pub(super) struct Found(BTreeMap<Digest, Vec<Companion>>);

impl Walk<'_> {
    /// What the source has beside a manifest.
    pub(super) fn beside(&mut self, of: Digest) -> Result<Vec<Companion>, ImageError> {
        if let Some(known) = self.found.0.get(&of) {
            return Ok(known.clone());
        }
        let (carried, others): (Vec<Companion>, Vec<Companion>) =
            self.content.beside(&of)?.into_iter().partition(|companion| companion.manifest.is_manifest());
        for other in others {
            (self.world.note)(&format!(
                "note: {}: {} of {of} is `{}`, not an image manifest, and is left out",
                self.image,
                other.manifest.digest,
                manifests::text::printable(&other.manifest.media_type)
            ));
        }
        self.found.0.insert(of, carried.clone());
        Ok(carried)
    }

    /// Takes everything beside the manifests that were taken; sorted as the inventory has it.
    pub(super) fn companions(&mut self) -> Result<Vec<Companion>, ImageError> {
        let mut waiting: Vec<(Digest, usize)> = self.manifests.iter().map(|digest| (*digest, 0)).collect();
        let mut asked = BTreeSet::new();
        let mut all: BTreeMap<String, Companion> = BTreeMap::new();
        while let Some((of, depth)) = waiting.pop() {
            if !asked.insert(of) {
                continue;
            }
            for companion in self.beside(of)? {
                if all.len() >= COMPANIONS_MAX {
                    return Err(self.unusable(CompanionsError::TooMany));
                }
                self.companion(&companion)?;
                if depth < DEPTH_MAX {
                    waiting.push((companion.manifest.digest, depth.saturating_add(1)));
                }
                all.insert(companion.name_in_repository(), companion);
            }
        }
        // `:` comes before `@`, as in the full names.
        Ok(all.into_values().collect())
    }

    fn companion(&mut self, companion: &Companion) -> Result<(), ImageError> {
        let (bytes, document) = self.document(&companion.manifest)?;
        let ManifestDocument::Image(manifest) = document else { return Ok(()) };
        let subject = manifest.subject.as_ref().map(|subject| subject.digest);
        if companion.kind == CompanionKind::Referrer && subject != Some(companion.of) {
            let (digest, of) = (companion.manifest.digest, companion.of);
            return Err(self.unusable(CompanionsError::Subject { digest, of }));
        }
        self.keep_bytes(&companion.manifest, bytes)?;
        self.keep(&manifest.config)?;
        for layer in &manifest.layers {
            self.keep(layer)?;
        }
        Ok(())
    }

    fn unusable(&self, source: CompanionsError) -> ImageError {
        ImageError::Companions { image: self.image.clone(), source }
    }
}

/// A companion of a kind, by its manifest as a registry describes it.
#[must_use]
pub(super) fn companion(kind: CompanionKind, of: &Digest, manifest: &Descriptor) -> Companion {
    Companion { kind, of: *of, manifest: plain(manifest) }
}
