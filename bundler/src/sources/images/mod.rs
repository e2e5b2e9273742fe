//! Images: from a registry, a Docker Engine, an OCI layout, an OCI archive or a `docker save` archive, to a component and
//! the places of its blobs.
//!
//! A manifest's bytes are its identity: they travel as they are. A new manifest is written only where the
//! source has none (`docker-archive:`) or where `platforms` takes a part of an index.

pub mod companions;
pub mod docker_archive;
pub mod docker_daemon;
pub mod layout_source;
pub mod list;
pub mod pull;
pub mod registry_source;
pub mod tar_index;
pub mod transport;
pub mod upstream;

use std::collections::BTreeMap;
use std::path::PathBuf;

use edge::{Classified, Exit};
use manifests::companion::Companion;
use manifests::inventory::{Component, Image, UpstreamSignature};
use manifests::oci::{Descriptor, ImageIndex, ManifestDocument, OciError, Platform};
use manifests::reference::ReferenceError;
use manifests::text::{LongLine, printable};
use manifests::{Digest, Reference, canonical};
use serde::Deserialize;

use super::{Resolved, World};
use crate::lock::{LockedBlob, Origin};
use crate::registries::RegistriesError;
use crate::spec::ImageSpec;
use transport::ImageSource;

/// An index in an index in an index is nobody's image.
const NESTING_MAX: usize = 3;

/// Why an image cannot be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// Not a source.
    #[error(
        "`{}` is not an image source: expected docker://, docker-daemon:, oci:, oci-archive: or docker-archive:",
        printable(source_text)
    )]
    Transport {
        /// As written.
        source_text: String,
    },
    /// Not a reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The design has it and this version does not.
    #[error("{0} is not there yet in version {version}", version = env!("CARGO_PKG_VERSION"))]
    NotYet(String),
    /// Nobody has said what the image is called.
    #[error("image `{0}` has no full name: add `name: HOST/PATH:TAG`, the name that the charts use")]
    Unnamed(String),
    /// A file of the source cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not what its transport says.
    #[error("{} is not a valid {kind}: {reason}", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// The transport.
        kind: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The archive or layout holds other images.
    #[error("{} has no image {wanted}; it has: {}", path.display(), list(found))]
    NoSuchImage {
        /// Which file.
        path: PathBuf,
        /// What was asked for.
        wanted: String,
        /// What is there.
        found: Vec<String>,
    },
    /// The image does not run on what was asked for.
    #[error("image {image} has no platform {wanted}; it has: {}", list(found))]
    NoSuchPlatform {
        /// The image.
        image: String,
        /// What was asked for.
        wanted: String,
        /// What is there.
        found: Vec<String>,
    },
    /// A manifest that we do not carry.
    #[error("image {image}, manifest {digest}")]
    Manifest {
        /// The image.
        image: String,
        /// Its manifest.
        digest: Digest,
        /// What is wrong.
        source: OciError,
    },
    /// Content that is not what a descriptor says.
    #[error("{place}: blob {digest} is damaged or missing: {reason}")]
    Blob {
        /// Where it was looked for.
        place: String,
        /// Which.
        digest: Digest,
        /// What is wrong.
        reason: String,
    },
    /// The registry.
    #[error("image {image}")]
    Registry {
        /// The image.
        image: String,
        /// What happened.
        source: registry::RegistryError,
    },
    /// How the registry is reached.
    #[error("image {image}")]
    Registries {
        /// The image.
        image: String,
        /// What is wrong.
        source: RegistriesError,
    },
    /// The Docker Engine, or what it says.
    #[error("cannot get image {image} from the Docker Engine at {}", socket.display())]
    Daemon {
        /// Where it was looked for.
        socket: PathBuf,
        /// The image.
        image: String,
        /// What happened.
        source: std::io::Error,
    },
    /// An Engine on another machine.
    #[error(
        "DOCKER_HOST is `{host}`, and `docker-daemon:` takes images only from a socket of this machine (unix://…)"
    )]
    DaemonHost {
        /// Made printable.
        host: String,
    },
    /// What travels beside it.
    #[error("image {image}")]
    Companions {
        /// The image.
        image: String,
        /// What is wrong.
        source: companions::CompanionsError,
    },
    /// It is not signed by whom it must be.
    #[error(transparent)]
    Upstream(#[from] upstream::UpstreamError),
    /// The cache.
    #[error("the cache cannot be written to")]
    Cache(#[source] std::io::Error),
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_string() } else { names.join(", ") }
}

impl Classified for ImageError {
    fn exit(&self) -> Exit {
        match self {
            Self::Transport { .. }
            | Self::Reference(_)
            | Self::NotYet(_)
            | Self::Unnamed(_)
            | Self::DaemonHost { .. } => Exit::Usage,
            Self::Format { .. } | Self::Manifest { .. } | Self::Blob { .. } => Exit::Damaged,
            Self::Registry { source, .. } if source.is_damage() => Exit::Damaged,
            Self::Registries { source, .. } => source.exit(),
            Self::Companions { source, .. } => source.exit(),
            Self::Upstream(source) => source.exit(),
            Self::Read { .. }
            | Self::NoSuchImage { .. }
            | Self::NoSuchPlatform { .. }
            | Self::Registry { .. }
            | Self::Daemon { .. }
            | Self::Cache(_) => Exit::Unreachable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoSuchPlatform { .. } => {
                Some("change `platforms`, or leave it out to carry all of them".to_string())
            }
            Self::Registry { source, .. } if source.is_damage() => {
                Some("do not use this image: the registry gives other bytes than it names".to_string())
            }
            Self::Companions { source, .. } => source.hint(),
            Self::Daemon { .. } => Some(
                "check `docker image ls`, or save the image and name the file with docker-archive:".to_string(),
            ),
            Self::Upstream(source) => source.hint(),
            Self::Registry { source, .. } if source.is_login() => Some(
                "log in with `docker login` or `podman login`, or name a file of logins in REGISTRY_AUTH_FILE"
                    .to_string(),
            ),
            Self::Registry { .. } => Some("check that the registry is running and has the image".to_string()),
            _ => None,
        }
    }
}

/// What a kind of source can do.
pub trait ImageContent {
    /// The descriptor of the manifest or index that was asked for.
    ///
    /// # Errors
    /// It is not there.
    fn root(&mut self) -> Result<Descriptor, ImageError>;
    /// A manifest's or configuration's bytes, with the digest checked.
    ///
    /// # Errors
    /// It is not there, or damaged.
    fn document(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError>;
    /// Whether the source has manifests, or one had to be made.
    fn has_manifests(&self) -> bool {
        true
    }
    /// Where a blob will be read from when the bundle is built.
    ///
    /// # Errors
    /// It is not there, or of another size.
    fn origin(&mut self, descriptor: &Descriptor) -> Result<Origin, ImageError>;
    /// What lies beside a manifest of the source. It need not be of a media type that can be carried.
    ///
    /// # Errors
    /// It cannot be looked for.
    fn beside(&mut self, _of: &Digest) -> Result<Vec<Companion>, ImageError> {
        Ok(Vec::new())
    }
}

/// Resolves an image to digests.
///
/// # Errors
/// See [`ImageError`].
pub fn resolve(spec: &ImageSpec, written: &LongLine, world: &World<'_>) -> Result<Resolved, ImageError> {
    let source = ImageSource::parse(written.as_str())?;
    let name = spec.name.clone().or_else(|| source.own_name());
    let name = name.ok_or_else(|| ImageError::Unnamed(written.to_string()))?;
    let mut content: Box<dyn ImageContent> = match source {
        ImageSource::Registry(reference) => {
            Box::new(registry_source::RegistrySource::new(&reference, world)?)
        }
        ImageSource::Layout { path, name } => {
            Box::new(layout_source::LayoutSource::directory(path, name, world))
        }
        ImageSource::OciArchive { path, name } => {
            Box::new(layout_source::LayoutSource::archive(path, name, world)?)
        }
        ImageSource::DockerArchive { path, name } => {
            Box::new(docker_archive::DockerArchive::open(path, name, world)?)
        }
        ImageSource::DockerDaemon { name } => Box::new(docker_daemon::open(&name, world)?),
    };
    let mut walk = Walk::new(name.to_string(), &mut *content, world);
    let root = walk.content.root()?;
    // First: of an image that is not signed by whom it must be nothing more is fetched.
    let upstream_signature = match &spec.verify {
        Some(wanted) => walk.verify(wanted, &root)?,
        None => UpstreamSignature::NotChecked,
    };
    let (manifest, platforms) = walk.image(&root, &spec.platforms)?;
    let beside = if spec.signatures { walk.companions()? } else { Vec::new() };
    let (blobs, order, part_of) = (walk.blobs, walk.order, walk.part_of);
    let component = Component::Image(Image {
        name,
        source: written.clone(),
        manifest,
        platforms,
        upstream_signature,
        sboms: Vec::new(),
        blobs: order,
        part_of,
        companions: beside,
    });
    Ok(Resolved { component, blobs })
}

/// Something in a registry that need not be an image, by its manifest's digest.
pub(crate) struct Artifact {
    /// Its manifest or index.
    pub(crate) manifest: Descriptor,
    /// The same, parsed.
    pub(crate) document: ManifestDocument,
}

/// Everything that belongs to an artifact, and what lies beside it.
pub(crate) struct Collected {
    /// Where each blob is.
    pub(crate) blobs: BTreeMap<Digest, LockedBlob>,
    /// In the order in which they were found.
    pub(crate) order: Vec<Digest>,
    /// Sorted as the inventory has them.
    pub(crate) companions: Vec<Companion>,
}

/// The manifest that a reference of a registry names, and nothing below it.
///
/// # Errors
/// It is not there, or is none.
pub(crate) fn look(reference: &Reference, world: &World<'_>) -> Result<Artifact, ImageError> {
    let mut content = registry_source::RegistrySource::new(reference, world)?;
    let manifest = content.root()?;
    let mut walk = Walk::new(reference.to_string(), &mut content, world);
    let (_, document) = walk.document(&manifest)?;
    Ok(Artifact { manifest, document })
}

/// What belongs to an artifact and lies beside it. Its configuration is fetched, its layers are not.
///
/// # Errors
/// Something is not there, or cannot be carried.
pub(crate) fn collect(
    reference: &Reference,
    manifest: &Descriptor,
    world: &World<'_>,
) -> Result<Collected, ImageError> {
    let mut content = registry_source::RegistrySource::new(reference, world)?;
    let mut walk = Walk::new(reference.to_string(), &mut content, world);
    walk.image(manifest, &[])?;
    let companions = walk.companions()?;
    Ok(Collected { blobs: walk.blobs, order: walk.order, companions })
}

/// Collects the blobs of one image.
struct Walk<'a> {
    image: String,
    content: &'a mut dyn ImageContent,
    world: &'a World<'a>,
    blobs: BTreeMap<Digest, LockedBlob>,
    order: Vec<Digest>,
    /// The source's manifests and indexes that were taken.
    manifests: Vec<Digest>,
    found: companions::Found,
    /// The index of which only a part was taken.
    part_of: Option<Digest>,
    /// The manifest that the source does not have, if there is one.
    made_here: Option<Digest>,
}

/// What an image configuration says of its platform.
#[derive(Deserialize)]
struct ConfigPlatform {
    architecture: Option<String>,
    os: Option<String>,
    variant: Option<String>,
    #[serde(rename = "os.version")]
    os_version: Option<String>,
}

impl<'a> Walk<'a> {
    fn new(image: String, content: &'a mut dyn ImageContent, world: &'a World<'a>) -> Self {
        Self {
            image,
            content,
            world,
            blobs: BTreeMap::new(),
            order: Vec::new(),
            manifests: Vec::new(),
            found: companions::Found::default(),
            part_of: None,
            made_here: None,
        }
    }
}

impl Walk<'_> {
    /// The descriptor that the bundle will carry, and what it runs on.
    fn image(
        &mut self,
        root: &Descriptor,
        wishes: &[String],
    ) -> Result<(Descriptor, Vec<Platform>), ImageError> {
        let (bytes, document) = self.document(root)?;
        let index = match document {
            ManifestDocument::Image(_) => {
                let platforms: Vec<Platform> = self.manifest(root, bytes)?.into_iter().collect();
                self.check_wishes(wishes, &platforms)?;
                return Ok((plain(root), platforms));
            }
            ManifestDocument::Index(index) => index,
        };
        let all: Vec<Platform> = index.manifests.iter().filter_map(|child| child.platform.clone()).collect();
        self.check_wishes(wishes, &all)?;
        let wanted = |child: &Descriptor| {
            wishes.is_empty()
                || child
                    .platform
                    .as_ref()
                    .is_some_and(|platform| wishes.iter().any(|wish| platform.matches(wish)))
        };
        let chosen: Vec<Descriptor> = index.manifests.iter().filter(|child| wanted(child)).cloned().collect();
        let platforms: Vec<Platform> = chosen
            .iter()
            .filter_map(|child| child.platform.clone())
            .filter(|platform| !platform.is_unknown())
            .collect();
        if chosen.len() < index.manifests.len() || !wishes.is_empty() && chosen.len() == 1 {
            self.part_of = Some(root.digest);
            (self.world.note)(&format!(
                "note: {}: `platforms` takes {} of the {} manifests of its index {}, so signatures over that index cannot be verified on site; those over the manifests taken can",
                self.image,
                chosen.len(),
                index.manifests.len(),
                root.digest
            ));
        }
        if let [only] = chosen.as_slice()
            && !wishes.is_empty()
        {
            let (bytes, _) = self.document(only)?;
            self.manifest(only, bytes)?;
            return Ok((plain(only), platforms));
        }
        if chosen.len() == index.manifests.len() {
            self.index(root, bytes, NESTING_MAX)?;
            return Ok((plain(root), platforms));
        }
        let subset = ImageIndex { manifests: chosen, ..index };
        let bytes = canonical::to_canonical(&subset).map_err(|error| ImageError::Blob {
            place: self.image.clone(),
            digest: root.digest,
            reason: error.to_string(),
        })?;
        let descriptor = Descriptor::of(&root.media_type, &bytes);
        self.made_here = Some(descriptor.digest);
        self.index(&descriptor, bytes, NESTING_MAX)?;
        Ok((descriptor, platforms))
    }

    fn check_wishes(&self, wishes: &[String], found: &[Platform]) -> Result<(), ImageError> {
        match wishes.iter().find(|wish| !found.iter().any(|platform| platform.matches(wish))) {
            None => Ok(()),
            Some(wanted) => Err(ImageError::NoSuchPlatform {
                image: self.image.clone(),
                wanted: printable(wanted),
                found: found.iter().map(|platform| printable(&platform.to_string())).collect(),
            }),
        }
    }

    fn document(&mut self, descriptor: &Descriptor) -> Result<(Vec<u8>, ManifestDocument), ImageError> {
        let bytes = self.content.document(descriptor)?;
        let document = ManifestDocument::parse(&bytes, &descriptor.media_type);
        let image = self.image.clone();
        let document =
            document.map_err(|source| ImageError::Manifest { image, digest: descriptor.digest, source })?;
        Ok((bytes, document))
    }

    /// Takes an index and everything below it.
    fn index(&mut self, descriptor: &Descriptor, bytes: Vec<u8>, nesting: usize) -> Result<(), ImageError> {
        let document = ManifestDocument::parse(&bytes, &descriptor.media_type);
        let image = self.image.clone();
        let document =
            document.map_err(|source| ImageError::Manifest { image, digest: descriptor.digest, source })?;
        self.keep_document(descriptor, bytes)?;
        for child in document.children() {
            let (bytes, document) = self.document(&child)?;
            match document {
                ManifestDocument::Image(_) => {
                    self.manifest(&child, bytes)?;
                }
                ManifestDocument::Index(_) if nesting > 0 => self.index(&child, bytes, nesting - 1)?,
                ManifestDocument::Index(_) => {
                    let reason = "indexes are nested too deeply".to_string();
                    return Err(ImageError::Blob { place: self.image.clone(), digest: child.digest, reason });
                }
            }
        }
        Ok(())
    }

    /// Takes one manifest, its configuration and its layers.
    fn manifest(&mut self, descriptor: &Descriptor, bytes: Vec<u8>) -> Result<Option<Platform>, ImageError> {
        let document = ManifestDocument::parse(&bytes, &descriptor.media_type);
        let image = self.image.clone();
        let document =
            document.map_err(|source| ImageError::Manifest { image, digest: descriptor.digest, source })?;
        self.keep_document(descriptor, bytes)?;
        let ManifestDocument::Image(manifest) = document else { return Ok(None) };
        let config = self.content.document(&manifest.config)?;
        let platform = platform_of(&config);
        self.keep(&manifest.config)?;
        self.world.cache.put(&config).map_err(ImageError::Cache)?;
        for layer in &manifest.layers {
            self.keep(layer)?;
        }
        Ok(platform)
    }

    /// Keeps a manifest or index of the image itself.
    fn keep_document(&mut self, descriptor: &Descriptor, bytes: Vec<u8>) -> Result<(), ImageError> {
        if self.made_here != Some(descriptor.digest) {
            self.manifests.push(descriptor.digest);
        }
        self.keep_bytes(descriptor, bytes)
    }

    /// A document's bytes go into the cache, so that a build need not fetch them again. One that was
    /// made here goes into the lock.
    fn keep_bytes(&mut self, descriptor: &Descriptor, bytes: Vec<u8>) -> Result<(), ImageError> {
        self.world.cache.put(&bytes).map_err(ImageError::Cache)?;
        if self.made_here == Some(descriptor.digest) || !self.content.has_manifests() {
            let from = Origin::Inline(String::from_utf8_lossy(&bytes).into_owned());
            self.insert(descriptor, from);
            return Ok(());
        }
        self.keep(descriptor)
    }

    fn keep(&mut self, descriptor: &Descriptor) -> Result<(), ImageError> {
        let from = self.content.origin(descriptor)?;
        self.insert(descriptor, from);
        Ok(())
    }

    fn insert(&mut self, descriptor: &Descriptor, from: Origin) {
        if self.blobs.insert(descriptor.digest, LockedBlob { size: descriptor.size, from }).is_none() {
            self.order.push(descriptor.digest);
        }
    }
}

/// Without what belongs to the place where it was found.
fn plain(descriptor: &Descriptor) -> Descriptor {
    Descriptor::new(&descriptor.media_type, descriptor.digest, descriptor.size)
}

fn platform_of(config: &[u8]) -> Option<Platform> {
    let found: ConfigPlatform = serde_json::from_slice(config).ok()?;
    let (architecture, os) = (found.architecture?, found.os?);
    Some(Platform { architecture, os, os_version: found.os_version, variant: found.variant })
}
