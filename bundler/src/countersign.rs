//! Counter-signing: each image, and each manifest below its index, gets a signature image as `cosign sign`
//! makes it, so that an admission controller on site that knows our public key takes it.
//!
//! The form is that of cosign's signature specification: one layer for each key, all of the same signed
//! text, with the signature in an annotation. The text names the image by the name that it has in the bundle
//! and by its digest; verifiers hold it to the digest.
//!
//! **What this module may never do:** write a signature that it has not verified, or a time. The same keys
//! and images give the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edge::{Classified, Exit};
use manifests::canonical::{self, CanonicalError};
use manifests::companion::{ANNOTATION_SIGNATURE, Companion, CompanionKind, MEDIA_SIMPLE_SIGNING};
use manifests::inventory::{Component, Image};
use manifests::key::KeyError;
use manifests::oci::{ImageManifest, MEDIA_CONFIG, MEDIA_MANIFEST, ManifestDocument, OciError};
use manifests::{Descriptor, Digest, KeyId, PublicKey, SecretKey};
use serde::Serialize;
use serde_json::json;

use crate::lock::{BundleLock, LockedBlob, Origin};

/// The time of every signature image: none.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// Why images cannot be counter-signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CountersignError {
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A signature that does not verify: a defect of the key or of what holds it.
    #[error("the signature that key {0} has made does not verify")]
    Wrong(KeyId),
    /// An image's manifest that no longer parses.
    #[error("the manifest {digest} of image {image} is not one")]
    Manifest {
        /// Which image.
        image: String,
        /// Its manifest.
        digest: Digest,
        /// What is wrong.
        source: OciError,
    },
    /// A document of ours that is not one.
    #[error(transparent)]
    Document(#[from] CanonicalError),
}

impl Classified for CountersignError {
    fn exit(&self) -> Exit {
        match self {
            Self::Key(_) => Exit::Usage,
            Self::Wrong(_) => Exit::Refused,
            Self::Manifest { .. } => Exit::Damaged,
            Self::Document(_) => Exit::Unexpected,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Manifest { .. } => Some("run `bundler lock` again".to_string()),
            _ => None,
        }
    }
}

/// What was counter-signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Countersigned {
    /// Images by name.
    pub images: usize,
    /// Signature images: one for each distinct manifest of a repository.
    pub companions: usize,
    /// By whom.
    pub by: Vec<KeyId>,
}

/// The keys that sign, each once, in the order of their ids.
pub struct Signers<'a>(BTreeMap<KeyId, (PublicKey, &'a SecretKey)>);

impl<'a> Signers<'a> {
    /// A key that is given twice signs once.
    ///
    /// # Errors
    /// A key that nobody should use.
    pub fn of(secrets: &'a [SecretKey]) -> Result<Self, CountersignError> {
        let mut signers = BTreeMap::new();
        for secret in secrets {
            let public = secret.public()?;
            signers.insert(public.id(), (public, secret));
        }
        Ok(Self(signers))
    }

    fn signatures(&self, text: &[u8]) -> Result<Vec<Vec<u8>>, CountersignError> {
        self.0.values().map(|(public, secret)| signature(public, secret, text)).collect()
    }
}

/// Signs, and verifies what came of it.
fn signature(public: &PublicKey, secret: &SecretKey, text: &[u8]) -> Result<Vec<u8>, CountersignError> {
    let raw = secret.sign(text)?;
    if public.verifies(text, &raw) { Ok(raw) } else { Err(CountersignError::Wrong(public.id())) }
}

/// Adds companions to every image of a lock, and their blobs. The file that the lock was read from stays as
/// it is. `documents` gives the bytes of image manifests.
///
/// # Errors
/// See [`CountersignError`].
pub fn countersign(
    mut lock: BundleLock,
    documents: &BTreeMap<Digest, Vec<u8>>,
    signers: &Signers<'_>,
) -> Result<(BundleLock, Countersigned), CountersignError> {
    // Two images of one repository may share a manifest; it is signed once.
    let mut made: BTreeMap<String, Signed> = BTreeMap::new();
    let mut images = 0_usize;
    for component in &mut lock.components {
        let Component::Image(image) = component else { continue };
        images = images.saturating_add(1);
        for of in carried(image, documents)? {
            let repository = image.name.repository();
            let name = format!("{repository} {of}");
            let upstream = upstream(image, &of, documents)?;
            let signed = match made.remove(&name) {
                Some(signed) => signed,
                None => Signed::new(&repository, of, signers, upstream.as_ref())?,
            };
            if let Some(upstream) = &upstream {
                upstream.take_from(image);
            }
            signed.add_to(image, &mut lock.blobs);
            made.insert(name, signed);
        }
        image.companions.sort_by_key(Companion::name_in_repository);
        let needed = needed(image, documents, &lock.blobs);
        image.blobs.retain(|blob| needed.contains(blob));
    }
    drop_unused(&mut lock);
    let by = signers.0.keys().copied().collect();
    Ok((lock, Countersigned { images, companions: made.len(), by }))
}

/// Signatures that came with an image.
struct Upstream {
    descriptor: Descriptor,
    manifest: ImageManifest,
}

/// What the image's publisher has under the tag that we need: our signatures go beside those.
fn upstream(
    image: &Image,
    of: &Digest,
    documents: &BTreeMap<Digest, Vec<u8>>,
) -> Result<Option<Upstream>, CountersignError> {
    let signature = |there: &&Companion| there.kind == CompanionKind::CosignSignature && there.of == *of;
    let Some(there) = image.companions.iter().find(signature) else { return Ok(None) };
    let (digest, bytes) = (there.manifest.digest, documents.get(&there.manifest.digest));
    let broken = |source| CountersignError::Manifest { image: image.name.to_string(), digest, source };
    let bytes = bytes.ok_or_else(|| broken(OciError::Shape("it is missing".to_string())))?;
    match ManifestDocument::parse(bytes, &there.manifest.media_type).map_err(broken)? {
        ManifestDocument::Image(manifest) => {
            Ok(Some(Upstream { descriptor: there.manifest.clone(), manifest }))
        }
        ManifestDocument::Index(_) => Err(broken(OciError::Shape("it is an index".to_string()))),
    }
}

impl Upstream {
    /// It gives way to one with our signatures too.
    fn take_from(&self, image: &mut Image) {
        image.companions.retain(|companion| companion.manifest.digest != self.descriptor.digest);
    }
}

/// Everything that an image's manifests and those beside it name.
fn needed(
    image: &Image,
    documents: &BTreeMap<Digest, Vec<u8>>,
    blobs: &BTreeMap<Digest, LockedBlob>,
) -> BTreeSet<Digest> {
    let mut found = BTreeSet::new();
    let mut waiting: Vec<Descriptor> = image.companions.iter().map(|c| c.manifest.clone()).collect();
    waiting.push(image.manifest.clone());
    while let Some(descriptor) = waiting.pop() {
        if !found.insert(descriptor.digest) {
            continue;
        }
        let ours = blobs.get(&descriptor.digest).and_then(|blob| match &blob.from {
            Origin::Inline(text) => Some(text.as_bytes()),
            _ => None,
        });
        let bytes = documents.get(&descriptor.digest).map(Vec::as_slice).or(ours).unwrap_or_default();
        match ManifestDocument::parse(bytes, &descriptor.media_type) {
            Ok(ManifestDocument::Index(index)) => waiting.extend(index.manifests),
            Ok(ManifestDocument::Image(manifest)) => {
                found.insert(manifest.config.digest);
                found.extend(manifest.layers.iter().map(|layer| layer.digest));
            }
            Err(_) => {}
        }
    }
    found
}

/// What no component needs any more is in no archive.
fn drop_unused(lock: &mut BundleLock) {
    let used: BTreeSet<Digest> =
        lock.components.iter().flat_map(Component::blobs).map(|(digest, _)| digest).collect();
    lock.blobs.retain(|digest, _| used.contains(digest));
}

/// The manifests of an image that are here: its own and those below it.
fn carried(
    image: &Image,
    documents: &BTreeMap<Digest, Vec<u8>>,
) -> Result<BTreeSet<Digest>, CountersignError> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![image.manifest.clone()];
    while let Some(descriptor) = waiting.pop() {
        let digest = descriptor.digest;
        let Some(bytes) = documents.get(&digest) else { continue };
        if !found.insert(digest) {
            continue;
        }
        let parsed = ManifestDocument::parse(bytes, &descriptor.media_type);
        let image = || image.name.to_string();
        match parsed.map_err(|source| CountersignError::Manifest { image: image(), digest, source })? {
            ManifestDocument::Index(index) => waiting.extend(index.manifests),
            ManifestDocument::Image(_) => {}
        }
    }
    Ok(found)
}

/// A signature image.
struct Signed {
    companion: Companion,
    /// Its manifest, its configuration and the signed text.
    blobs: Vec<(Descriptor, String)>,
}

impl Signed {
    fn new(
        repository: &str,
        of: Digest,
        signers: &Signers<'_>,
        upstream: Option<&Upstream>,
    ) -> Result<Self, CountersignError> {
        let text = signed_text(repository, &of)?;
        let layer = Descriptor::of(MEDIA_SIMPLE_SIGNING, text.as_bytes());
        let mut layers: Vec<Descriptor> =
            upstream.map(|upstream| upstream.manifest.layers.clone()).unwrap_or_default();
        for raw in signers.signatures(text.as_bytes())? {
            let ours = layer.clone().annotated(ANNOTATION_SIGNATURE, &STANDARD.encode(raw));
            if !layers.contains(&ours) {
                layers.push(ours);
            }
        }
        let config = configuration(&layers)?;
        let manifest = ImageManifest {
            schema_version: 2,
            media_type: Some(MEDIA_MANIFEST.to_string()),
            artifact_type: None,
            config: Descriptor::of(MEDIA_CONFIG, config.as_bytes()),
            layers,
            subject: None,
            annotations: upstream.map(|upstream| upstream.manifest.annotations.clone()).unwrap_or_default(),
        };
        let written = canonical_text(&manifest)?;
        let descriptor = Descriptor::of(MEDIA_MANIFEST, written.as_bytes());
        let companion = Companion { kind: CompanionKind::CosignSignature, of, manifest: descriptor.clone() };
        Ok(Self { companion, blobs: vec![(descriptor, written), (manifest.config, config), (layer, text)] })
    }

    fn add_to(&self, image: &mut Image, blobs: &mut BTreeMap<Digest, LockedBlob>) {
        for (descriptor, text) in &self.blobs {
            if !image.blobs.contains(&descriptor.digest) {
                image.blobs.push(descriptor.digest);
            }
            let blob = || LockedBlob { size: descriptor.size, from: Origin::Inline(text.clone()) };
            blobs.entry(descriptor.digest).or_insert_with(blob);
        }
        image.companions.push(self.companion.clone());
    }
}

/// What is signed. Byte for byte what cosign signs.
fn signed_text(repository: &str, of: &Digest) -> Result<String, CanonicalError> {
    let text = canonical::to_canonical_line(&json!({
        "critical": {
            "identity": {"docker-reference": repository},
            "image": {"docker-manifest-digest": of},
            "type": "cosign container image signature",
        },
        "optional": null,
    }))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The configuration that makes it an image: cosign reads it when it adds a signature of its own.
fn configuration(layers: &[Descriptor]) -> Result<String, CanonicalError> {
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.digest).collect();
    let history: Vec<_> = layers.iter().map(|_| json!({"created": NO_TIME})).collect();
    canonical_text(&json!({
        "architecture": "",
        "config": {},
        "created": NO_TIME,
        "history": history,
        "os": "",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }))
}

fn canonical_text<T: Serialize>(document: &T) -> Result<String, CanonicalError> {
    Ok(String::from_utf8_lossy(&canonical::to_canonical(document)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of() -> Digest {
        Digest::of(b"an image")
    }

    #[test]
    fn the_signed_text_is_cosigns_to_the_byte() {
        // Field order and `null` as in what `cosign sign` 2.5 uploads.
        let expected = format!(
            "{{\"critical\":{{\"identity\":{{\"docker-reference\":\"r.example.com:5000/team/app\"}},\"image\":{{\"docker-manifest-digest\":\"{}\"}},\"type\":\"cosign container image signature\"}},\"optional\":null}}",
            of()
        );
        assert_eq!(signed_text("r.example.com:5000/team/app", &of()).unwrap(), expected);
    }

    #[test]
    fn each_key_gives_one_layer_whatever_the_order_and_however_often_it_is_given() {
        let secret = |seed| SecretKey::from_seed(&[seed; 32]);
        let make = |seeds: &[u8]| {
            let secrets: Vec<SecretKey> = seeds.iter().map(|seed| secret(*seed)).collect();
            Signed::new("r.example.com/app", of(), &Signers::of(&secrets).unwrap(), None).unwrap()
        };
        let (one, two) = (make(&[1]), make(&[1, 2]));
        assert_ne!(one.blobs, two.blobs);
        assert_eq!(two.blobs, make(&[2, 1, 2]).blobs);
        let manifest: ImageManifest = serde_json::from_str(&two.blobs[0].1).unwrap();
        assert_eq!(manifest.layers.len(), 2);
        let mut keys: Vec<PublicKey> = [1, 2].iter().map(|seed| secret(*seed).public().unwrap()).collect();
        keys.sort_by_key(PublicKey::id);
        for (layer, key) in manifest.layers.iter().zip(keys) {
            let raw = STANDARD.decode(layer.annotations.get(ANNOTATION_SIGNATURE).unwrap()).unwrap();
            assert!(key.verifies(two.blobs[2].1.as_bytes(), &raw));
        }
    }

    #[test]
    fn every_blob_of_a_signature_image_has_the_digest_that_names_it() {
        let secrets = [SecretKey::from_seed(&[1; 32])];
        let signed = Signed::new("r.example.com/app", of(), &Signers::of(&secrets).unwrap(), None).unwrap();
        for (descriptor, text) in &signed.blobs {
            assert_eq!(Descriptor::of(&descriptor.media_type, text.as_bytes()), *descriptor);
        }
        assert_eq!(signed.companion.tag().unwrap(), format!("sha256-{}.sig", of().hex()));
    }
}
