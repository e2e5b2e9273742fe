//! `docker://`: an image in a registry. In this version only on a loopback address and over plain HTTP.

use manifests::oci::Descriptor;
use manifests::text::printable;
use manifests::{Digest, Reference};
use registry::{Registry, RegistryError, Repository, TagOrDigest};

use super::super::World;
use super::{ImageContent, ImageError};
use crate::lock::{Origin, RegistryPlace};

/// An image in a registry.
pub struct RegistrySource<'a> {
    world: &'a World<'a>,
    image: String,
    wanted: TagOrDigest,
    place: RegistryPlace,
    repository: Repository,
}

/// The URL of a registry that needs neither TLS nor a login.
fn base_url(reference: &Reference) -> Result<String, ImageError> {
    let host = reference.host();
    let name = host.strip_prefix('[').map_or_else(|| host.split(':').next(), |rest| rest.split(']').next());
    let loopback = name.is_some_and(|name| name == "localhost" || name == "::1" || name.starts_with("127."));
    if loopback {
        Ok(format!("http://{host}"))
    } else {
        Err(ImageError::NotYet(format!("pulling from the registry {} (TLS and logins)", printable(host))))
    }
}

impl<'a> RegistrySource<'a> {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// A registry that is not on a loopback address.
    pub fn new(reference: &Reference, world: &'a World<'a>) -> Result<Self, ImageError> {
        let url = base_url(reference)?;
        let image = reference.to_string();
        let failed = |source| ImageError::Registry { image: image.clone(), source };
        let wanted = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => TagOrDigest::Digest(digest),
            (None, tag) => tag.unwrap_or("latest").parse().map_err(failed)?,
        };
        let repository = open(world, &url, reference.path()).map_err(failed)?;
        let place = RegistryPlace { url, repository: reference.path().to_string() };
        Ok(Self { world, image, wanted, place, repository })
    }

    fn failed(&self, source: RegistryError) -> ImageError {
        ImageError::Registry { image: self.image.clone(), source }
    }
}

/// A repository of a registry.
///
/// # Errors
/// A URL or path that is none.
pub fn open(world: &World<'_>, url: &str, path: &str) -> Result<Repository, RegistryError> {
    Registry::new(world.http.clone(), url)?.repository(path)
}

impl ImageContent for RegistrySource<'_> {
    fn root(&mut self) -> Result<Descriptor, ImageError> {
        let raw = self.repository.get_manifest(&self.wanted).map_err(|error| self.failed(error))?;
        self.world.cache.put(&raw.bytes).map_err(ImageError::Cache)?;
        Ok(Descriptor::of(&raw.media_type, &raw.bytes))
    }

    fn document(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        if let Some(cached) = self.world.cache.document(&descriptor.digest) {
            return Ok(cached);
        }
        let bytes = if descriptor.is_index() || descriptor.is_manifest() {
            let raw = self
                .repository
                .get_manifest(&descriptor.digest.into())
                .map_err(|error| self.failed(error))?;
            raw.bytes
        } else {
            let blob = self.repository.open_blob(&descriptor.digest, descriptor.size);
            let mut bytes = Vec::new();
            let limit = manifests::oci::MANIFEST_BYTES_MAX;
            let mut blob = std::io::Read::take(blob.map_err(|error| self.failed(error))?, limit);
            let read = std::io::Read::read_to_end(&mut blob, &mut bytes);
            read.map_err(|error| self.damaged(descriptor, &error.to_string()))?;
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
}

impl RegistrySource<'_> {
    fn damaged(&self, descriptor: &Descriptor, reason: &str) -> ImageError {
        ImageError::Blob { place: self.image.clone(), digest: descriptor.digest, reason: reason.to_string() }
    }
}
