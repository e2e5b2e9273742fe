//! `docker-archive:`: what `docker save` writes. It has no manifest, so one is written here, once: the
//! configuration as it is, and each layer compressed once (or as it is, if it is gzip already).
//!
//! A layer is believed only if its uncompressed bytes have the `diff_id` of the configuration.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::PathBuf;

use flate2::GzBuilder;
use flate2::read::MultiGzDecoder;
use manifests::bundle::Content;
use manifests::oci::{
    Annotations, Descriptor, ImageManifest, MANIFEST_BYTES_MAX, MEDIA_CONFIG, MEDIA_LAYER_GZIP,
    MEDIA_MANIFEST,
};
use manifests::text::printable;
use manifests::{Digest, canonical};
use serde::Deserialize;

use super::super::World;
use super::layout_source::read_or_format;
use super::tar_index::{TarIndex, open_slice};
use super::{ImageContent, ImageError};
use crate::lock::{Origin, Slice};

/// The level of `gzip` and of Docker.
const LEVEL: u32 = 6;

/// One entry of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<Digest>,
}

/// One image of a `docker save` archive.
pub struct DockerArchive {
    place: String,
    manifest: Vec<u8>,
    config: Vec<u8>,
    origins: BTreeMap<Digest, Origin>,
}

impl DockerArchive {
    /// Reads the archive, and compresses what is not compressed, into the cache.
    ///
    /// # Errors
    /// Not readable, no such image, or a layer that is not what the configuration says.
    pub fn open(path: PathBuf, name: Option<String>, world: &World<'_>) -> Result<Self, ImageError> {
        let index = TarIndex::open(&world.path(&path), path.clone());
        let index = index.map_err(|error| read_or_format(&path, "docker-archive", error))?;
        let reader = Reader { path, index, world };
        let saved = reader.choose(name)?;
        let config_slice = reader.find(&saved.config)?;
        let config = reader.read(&config_slice)?;
        let parsed: Config = serde_json::from_slice(&config)
            .map_err(|error| reader.format(format!("{}: {error}", printable(&saved.config))))?;
        if parsed.rootfs.diff_ids.len() != saved.layers.len() {
            return Err(reader.format("its configuration lists another number of layers".to_string()));
        }
        let config_descriptor = Descriptor::of(MEDIA_CONFIG, &config);
        let mut origins = BTreeMap::from([(config_descriptor.digest, Origin::Slice(config_slice))]);
        let mut layers = Vec::new();
        for (layer, diff_id) in saved.layers.iter().zip(&parsed.rootfs.diff_ids) {
            let (descriptor, origin) = reader.layer(layer, diff_id)?;
            origins.insert(descriptor.digest, origin);
            layers.push(descriptor);
        }
        let manifest = ImageManifest {
            schema_version: 2,
            media_type: Some(MEDIA_MANIFEST.to_string()),
            artifact_type: None,
            config: config_descriptor,
            layers,
            subject: None,
            annotations: Annotations::default(),
        };
        let manifest =
            canonical::to_canonical(&manifest).map_err(|error| reader.format(error.to_string()))?;
        Ok(Self { place: reader.path.display().to_string(), manifest, config, origins })
    }
}

impl DockerArchive {
    /// With all its blobs in the cache, for a source whose archive is gone after this.
    pub(super) fn kept(
        mut self,
        place: String,
        origin: &Origin,
        world: &World<'_>,
    ) -> Result<Self, ImageError> {
        for from in self.origins.values_mut() {
            if let Origin::Slice(slice) = from {
                let copied = world.cache.add(&mut |out| {
                    let mut source = open_slice(&world.path(&slice.file), slice)?;
                    io::copy(&mut source, &mut &mut *out).map(|_| ())
                });
                copied.map_err(ImageError::Cache)?;
            }
            *from = origin.clone();
        }
        self.place = place;
        Ok(self)
    }
}

impl ImageContent for DockerArchive {
    fn root(&mut self) -> Result<Descriptor, ImageError> {
        Ok(Descriptor::of(MEDIA_MANIFEST, &self.manifest))
    }

    fn document(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        let found =
            [&self.manifest, &self.config].into_iter().find(|bytes| Digest::of(bytes) == descriptor.digest);
        found.cloned().ok_or_else(|| self.unknown(descriptor))
    }

    fn has_manifests(&self) -> bool {
        false
    }

    fn origin(&mut self, descriptor: &Descriptor) -> Result<Origin, ImageError> {
        self.origins.get(&descriptor.digest).cloned().ok_or_else(|| self.unknown(descriptor))
    }
}

impl DockerArchive {
    fn unknown(&self, descriptor: &Descriptor) -> ImageError {
        ImageError::Blob {
            place: self.place.clone(),
            digest: descriptor.digest,
            reason: "it is not there".to_string(),
        }
    }
}

struct Reader<'a> {
    path: PathBuf,
    index: TarIndex,
    world: &'a World<'a>,
}

impl Reader<'_> {
    fn format(&self, reason: String) -> ImageError {
        ImageError::Format { path: self.path.clone(), kind: "docker-archive", reason }
    }

    fn find(&self, name: &str) -> Result<Slice, ImageError> {
        self.index.find(name).ok_or_else(|| self.format(format!("it has no {}", printable(name))))
    }

    fn open(&self, slice: &Slice) -> Result<io::Take<std::fs::File>, ImageError> {
        open_slice(&self.world.path(&slice.file), slice)
            .map_err(|source| ImageError::Read { path: self.path.clone(), source })
    }

    fn read(&self, slice: &Slice) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::new();
        let read = self.open(slice)?.take(MANIFEST_BYTES_MAX).read_to_end(&mut bytes);
        read.map_err(|source| ImageError::Read { path: self.path.clone(), source })?;
        Ok(bytes)
    }

    fn choose(&self, name: Option<String>) -> Result<SavedImage, ImageError> {
        let bytes = self.read(&self.find("manifest.json")?)?;
        let images: Vec<SavedImage> =
            serde_json::from_slice(&bytes).map_err(|error| self.format(format!("manifest.json: {error}")))?;
        let tags = |image: &SavedImage| image.repo_tags.clone().unwrap_or_default();
        let found: Vec<String> = images.iter().flat_map(tags).map(|tag| printable(&tag)).collect();
        let mut chosen =
            images.into_iter().filter(|image| name.as_ref().is_none_or(|name| tags(image).contains(name)));
        match (chosen.next(), chosen.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(ImageError::NoSuchImage {
                path: self.path.clone(),
                wanted: name.as_deref().map_or("without a name (several are there)".to_string(), printable),
                found,
            }),
        }
    }

    /// A layer's descriptor and where it will be read from.
    fn layer(&self, name: &str, diff_id: &Digest) -> Result<(Descriptor, Origin), ImageError> {
        let slice = self.find(name)?;
        let mut magic = [0_u8; 2];
        let compressed = self.open(&slice)?.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
        let failed = |source| ImageError::Read { path: self.path.clone(), source };
        let (content, found, origin) = if compressed {
            let content = layout::hashing::hash(&mut self.open(&slice)?).map_err(failed)?;
            let plain =
                layout::hashing::hash(&mut MultiGzDecoder::new(self.open(&slice)?)).map_err(failed)?;
            (content, plain.digest, Origin::Slice(slice))
        } else {
            let (content, found) = compress(self.world, &slice).map_err(failed)?;
            (content, found, Origin::Gzip(slice))
        };
        if found != *diff_id {
            let reason = format!("layer {} has digest {found}", printable(name));
            return Err(ImageError::Blob {
                place: self.path.display().to_string(),
                digest: *diff_id,
                reason,
            });
        }
        Ok((Descriptor::new(MEDIA_LAYER_GZIP, content.digest, content.size), origin))
    }
}

/// Compresses a stretch of a file into the cache; tells what came out and the digest of what went in.
/// The same input gives the same output: the gzip header holds neither name nor time.
///
/// # Errors
/// The file or the cache fails.
pub fn compress(world: &World<'_>, slice: &Slice) -> io::Result<(Content, Digest)> {
    let mut plain = Digest::of(b"");
    let content = world.cache.add(&mut |out| {
        let mut source = open_slice(&world.path(&slice.file), slice)?;
        let encoder =
            GzBuilder::new().mtime(0).operating_system(255).write(out, flate2::Compression::new(LEVEL));
        let (input, encoder) = layout::hashing::copy(&mut source, encoder)?;
        plain = input.digest;
        encoder.finish().map(|_| ())
    })?;
    Ok((content, plain))
}
