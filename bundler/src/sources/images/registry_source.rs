//! `docker://`: an image in a registry.

use manifests::bundle::Content;
use manifests::companion::{Companion, CompanionKind};
use manifests::oci::Descriptor;
use manifests::{Digest, Reference};
use registry::{RawManifest, RegistryError, TagOrDigest};

use super::super::World;
use super::pull::{self, PullError};
use super::{ImageContent, ImageError, companions};
use crate::lock::{Origin, RegistryPlace};

/// An image in a registry.
pub struct RegistrySource<'a> {
    world: &'a World<'a>,
    image: String,
    wanted: TagOrDigest,
    place: RegistryPlace,
}

impl<'a> RegistrySource<'a> {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// A tag that is none.
    pub fn new(reference: &Reference, world: &'a World<'a>) -> Result<Self, ImageError> {
        let image = reference.to_string();
        let failed = |source| ImageError::Registry { image: image.clone(), source };
        let wanted = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => TagOrDigest::Digest(digest),
            (None, tag) => tag.unwrap_or("latest").parse().map_err(failed)?,
        };
        let place = world.registries.place(reference.host(), reference.path());
        Ok(Self { world, image, wanted, place })
    }

    fn failed(&self, source: PullError) -> ImageError {
        let image = self.image.clone();
        match source {
            PullError::Registry(source) => ImageError::Registry { image, source },
            PullError::Registries(source) => ImageError::Registries { image, source },
        }
    }

    fn manifest(&self, wanted: &TagOrDigest) -> Result<RawManifest, ImageError> {
        pull::manifest(self.world, &self.place, wanted).map_err(|error| self.failed(error))
    }
}

impl ImageContent for RegistrySource<'_> {
    fn root(&mut self) -> Result<Descriptor, ImageError> {
        let raw = self.manifest(&self.wanted)?;
        self.world.cache.put(&raw.bytes).map_err(ImageError::Cache)?;
        Ok(Descriptor::of(&raw.media_type, &raw.bytes))
    }

    fn document(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        if let Some(cached) = self.world.cache.document(&descriptor.digest) {
            return Ok(cached);
        }
        let bytes = if descriptor.is_index() || descriptor.is_manifest() {
            self.manifest(&descriptor.digest.into())?.bytes
        } else if descriptor.size > manifests::oci::MANIFEST_BYTES_MAX {
            return Err(self.damaged(descriptor, "it is larger than a configuration may be"));
        } else {
            let content = Content { digest: descriptor.digest, size: descriptor.size };
            let mut bytes = Vec::new();
            let read = pull::blob(self.world, &self.place, content)
                .and_then(|mut blob| std::io::Read::read_to_end(&mut blob, &mut bytes));
            read.map_err(|error| self.unread(descriptor, error))?;
            bytes
        };
        if Digest::of(&bytes) != descriptor.digest {
            return Err(self.damaged(descriptor, "it has another digest"));
        }
        Ok(bytes)
    }

    fn origin(&mut self, descriptor: &Descriptor) -> Result<Origin, ImageError> {
        Ok(if descriptor.is_index() || descriptor.is_manifest() {
            Origin::RegistryManifest(self.place.clone())
        } else {
            Origin::Registry(self.place.clone())
        })
    }

    fn beside(&mut self, of: &Digest) -> Result<Vec<Companion>, ImageError> {
        let mut found = Vec::new();
        for kind in CompanionKind::TAGGED {
            found.extend(self.beside_with_tag(kind, of)?);
        }
        let referrers = pull::referrers(self.world, &self.place, of).map_err(|error| self.failed(error))?;
        let referrer = |entry: &Descriptor| companions::companion(CompanionKind::Referrer, of, entry);
        found.extend(referrers.iter().map(referrer));
        Ok(found)
    }
}

impl RegistrySource<'_> {
    fn beside_with_tag(&self, kind: CompanionKind, of: &Digest) -> Result<Option<Companion>, ImageError> {
        let Some(tag) = kind.tag(of) else { return Ok(None) };
        let failed = |source| ImageError::Registry { image: self.image.clone(), source };
        let tag: TagOrDigest = tag.parse().map_err(failed)?;
        let found = pull::find(self.world, &self.place, &tag).map_err(|error| self.failed(error))?;
        let Some(raw) = found else { return Ok(None) };
        self.world.cache.put(&raw.bytes).map_err(ImageError::Cache)?;
        Ok(Some(companions::companion(kind, of, &Descriptor::of(&raw.media_type, &raw.bytes))))
    }

    fn unread(&self, descriptor: &Descriptor, error: std::io::Error) -> ImageError {
        match error.downcast::<RegistryError>() {
            Ok(source) => ImageError::Registry { image: self.image.clone(), source },
            Err(error) => self.damaged(descriptor, &error.to_string()),
        }
    }

    fn damaged(&self, descriptor: &Descriptor, reason: &str) -> ImageError {
        ImageError::Blob { place: self.image.clone(), digest: descriptor.digest, reason: reason.to_string() }
    }
}
