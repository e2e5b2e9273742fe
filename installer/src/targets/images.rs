//! What the targets that run containers share: the part of an image that suits a machine, and an image as a
//! stream of tar that is made from the site store while it is read.
//!
//! **What this module may never do:** make a copy of an image, or send a blob without hashing it once more.

use std::collections::BTreeSet;
use std::io::{self, Write};

use layout::header;
use layout::store::Store;
use layout::writer::{ArchiveWriter, WriteError};
use manifests::bundle::Content;
use manifests::inventory::Image;
use manifests::oci::{
    ANNOTATION_CONTAINERD_NAME, ImageManifest, MANIFEST_BYTES_MAX, MEDIA_INDEX, MEDIA_MANIFEST,
    ManifestDocument, OCI_LAYOUT, Platform,
};
use manifests::{ArchivePath, Descriptor, Digest, VerifiedBundle};
use serde_json::json;

use super::TargetError;

/// An index in an index in an index was refused when the bundle was made.
const NESTING_MAX: usize = 4;

/// A machine, in the OCI spec's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// `linux`
    pub os: String,
    /// `amd64`
    pub architecture: String,
    /// The variants that run on it, the best first; one that says none always does.
    pub variants: Vec<&'static str>,
}

impl Machine {
    /// By what Go programs call it, and what the kernel does.
    #[must_use]
    pub fn new(os: &str, architecture: &str, kernel: &str) -> Self {
        let variants = match (architecture, kernel) {
            ("arm64", _) => vec!["v8"],
            ("amd64", _) => vec!["v1"],
            ("arm", "armv6l") => vec!["v6", "v5"],
            ("arm", "armv5tel" | "armv5tejl") => vec!["v5"],
            ("arm", _) => vec!["v7", "v6", "v5"],
            _ => Vec::new(),
        };
        Self { os: os.to_string(), architecture: architecture.to_string(), variants }
    }

    /// The machine that this program runs on.
    #[must_use]
    pub fn here() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self::new(std::env::consts::OS, architecture, "")
    }

    /// How well something for this platform runs: the lower the better, and not at all.
    #[must_use]
    pub fn rank(&self, platform: &Platform) -> Option<usize> {
        if platform.os != self.os || platform.architecture != self.architecture {
            return None;
        }
        let Some(variant) = &platform.variant else { return Some(0) };
        self.variants.iter().position(|known| known == variant)
    }

    /// Whether an image has something for it. An image that names no platform is taken at its word.
    #[must_use]
    pub fn suits(&self, image: &Image) -> bool {
        image.platforms.is_empty() || image.platforms.iter().any(|platform| self.rank(platform).is_some())
    }
}

impl core::fmt::Display for Machine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)
    }
}

/// The manifest of an image that suits a machine.
#[must_use]
pub fn for_machine(
    bundle: &VerifiedBundle,
    image: &Image,
    machine: &Machine,
) -> Option<(Descriptor, ImageManifest)> {
    let mut descriptor = image.manifest.clone();
    for _ in 0..=NESTING_MAX {
        match bundle.document(&descriptor)? {
            ManifestDocument::Image(manifest) => {
                return machine.suits(image).then_some((descriptor, manifest));
            }
            ManifestDocument::Index(index) => {
                let ranked = index.manifests.into_iter().filter_map(|child| {
                    let platform = child.platform.clone();
                    let rank = platform.map_or(Some(usize::MAX), |platform| machine.rank(&platform))?;
                    Some((rank, child))
                });
                descriptor = ranked.min_by_key(|(rank, _)| *rank)?.1;
            }
        }
    }
    None
}

/// Whether a manifest is that of a container image, and not of something else that a registry holds.
#[must_use]
pub fn is_runnable(manifest: &ImageManifest) -> bool {
    !manifest.layers.is_empty() && manifest.config.media_type.contains("image")
}

/// One image as a tar archive that is made while it is written. What says what is in it comes last: an
/// archive that broke off is none.
#[derive(Debug, Default)]
pub struct ImageStream {
    blobs: Vec<Content>,
    documents: Vec<(ArchivePath, Vec<u8>)>,
}

impl ImageStream {
    /// What `docker load` reads, with no name: configuration and layers, without the layers in `left_out`.
    #[must_use]
    pub fn docker_archive(manifest: &ImageManifest, left_out: &BTreeSet<Digest>) -> Self {
        let mut stream = Self::default();
        stream.add(&manifest.config);
        manifest.layers.iter().filter(|layer| !left_out.contains(&layer.digest)).for_each(|l| stream.add(l));
        let path = |descriptor: &Descriptor| ArchivePath::Blob(descriptor.digest).to_string();
        let list = json!([{
            "Config": path(&manifest.config),
            "RepoTags": null,
            "Layers": manifest.layers.iter().map(path).collect::<Vec<_>>(),
        }]);
        stream.documents.push((ArchivePath::DockerManifest, list.to_string().into_bytes()));
        stream
    }

    /// What containerd imports: an image layout of everything below a manifest or index, under these names.
    ///
    /// # Errors
    /// The store has lost something, or holds something else.
    pub fn layout(root: &Descriptor, names: &[&str], store: &Store) -> Result<Self, TargetError> {
        let mut stream = Self::default();
        stream.add_below(root, NESTING_MAX, store)?;
        let entry = Descriptor::new(&root.media_type, root.digest, root.size);
        let mut entries: Vec<Descriptor> =
            names.iter().map(|name| entry.clone().annotated(ANNOTATION_CONTAINERD_NAME, name)).collect();
        if entries.is_empty() {
            entries.push(entry);
        }
        let index = json!({"schemaVersion": 2, "mediaType": MEDIA_INDEX, "manifests": entries});
        stream.documents.push((ArchivePath::OciLayout, OCI_LAYOUT.to_vec()));
        stream.documents.push((ArchivePath::OciIndex, index.to_string().into_bytes()));
        Ok(stream)
    }

    fn add(&mut self, descriptor: &Descriptor) {
        let content = Content { size: descriptor.size, digest: descriptor.digest };
        if !self.blobs.contains(&content) {
            self.blobs.push(content);
        }
    }

    fn add_below(
        &mut self,
        descriptor: &Descriptor,
        nesting: usize,
        store: &Store,
    ) -> Result<(), TargetError> {
        match read(descriptor, store)? {
            ManifestDocument::Image(manifest) => {
                self.add(&manifest.config);
                manifest.layers.iter().for_each(|layer| self.add(layer));
            }
            ManifestDocument::Index(index) if nesting > 0 => {
                for child in &index.manifests {
                    self.add_below(child, nesting - 1, store)?;
                }
            }
            ManifestDocument::Index(_) => {
                let reason = "indexes are nested too deeply".to_string();
                return Err(TargetError::Manifest { digest: descriptor.digest, reason });
            }
        }
        self.add(descriptor);
        Ok(())
    }

    /// Its length, to the byte.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let documents = self.documents.iter().map(|(_, bytes)| bytes.len() as u64);
        let sizes = self.blobs.iter().map(|blob| blob.size).chain(documents);
        sizes.map(header::entry_bytes).fold(2 * header::BLOCK_BYTES, u64::saturating_add)
    }

    /// Writes it, each blob straight from the store.
    ///
    /// # Errors
    /// Those of `out`; of the kind [`io::ErrorKind::InvalidData`] if the store has lost a blob or it has
    /// rotted.
    pub fn write(&self, store: &Store, out: &mut dyn Write) -> io::Result<()> {
        let written = || -> Result<(), WriteError> {
            let mut archive = ArchiveWriter::of_image(out);
            for blob in &self.blobs {
                let lost = |source| WriteError::Source { digest: blob.digest, source };
                let file = store.open(&blob.digest).map_err(lost)?;
                let mut file = file.ok_or_else(|| lost(io::ErrorKind::NotFound.into()))?;
                archive.blob(*blob, &mut file, &mut |_| {})?;
            }
            for (path, bytes) in &self.documents {
                archive.document(path, bytes)?;
            }
            archive.finish().map(|_| ())
        };
        written().map_err(|error| match error {
            WriteError::Destination(error) => error,
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        })
    }
}

/// A manifest of the store.
///
/// # Errors
/// It is not there, has rotted, or is none.
pub fn read(descriptor: &Descriptor, store: &Store) -> Result<ManifestDocument, TargetError> {
    let broken = |reason: String| TargetError::Manifest { digest: descriptor.digest, reason };
    let bytes = store.read(&descriptor.digest, MANIFEST_BYTES_MAX);
    let bytes = bytes.map_err(|error| broken(error.to_string()))?;
    ManifestDocument::parse(&bytes, &descriptor.media_type).map_err(|error| broken(error.to_string()))
}

/// The descriptor of a manifest of which only the digest is known. What a document says of itself is
/// believed; one that says nothing is OCI's.
///
/// # Errors
/// As [`read`].
pub fn of_store(digest: &Digest, store: &Store) -> Result<Descriptor, TargetError> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Said {
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    let broken = |reason: String| TargetError::Manifest { digest: *digest, reason };
    let bytes = store.read(digest, MANIFEST_BYTES_MAX).map_err(|error| broken(error.to_string()))?;
    let said: Said = serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
    let usual = if said.manifests.is_some() { MEDIA_INDEX } else { MEDIA_MANIFEST };
    Ok(Descriptor::of(said.media_type.as_deref().unwrap_or(usual), &bytes))
}

/// Whether the site can put something back from its own store: then it is one of ours. Whatever else has a
/// name that we want is somebody else's.
#[must_use]
pub fn is_ours(digest: &Digest, store: &Store) -> bool {
    store.blob_path(digest).is_file()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn platform(text: &str) -> Platform {
        let mut parts = text.split('/').map(ToString::to_string);
        Platform {
            os: parts.next().unwrap(),
            architecture: parts.next().unwrap(),
            os_version: None,
            variant: parts.next(),
        }
    }

    #[test]
    fn a_machine_takes_the_best_variant_that_runs_on_it() {
        let arm = Machine::new("linux", "arm", "armv7l");
        let rank = |text: &str| arm.rank(&platform(text));
        assert_eq!(rank("linux/arm"), Some(0));
        assert!(rank("linux/arm/v7") < rank("linux/arm/v6"));
        assert_eq!((rank("linux/arm64/v8"), rank("linux/arm/v8"), rank("windows/arm")), (None, None, None));
        let old = Machine::new("linux", "arm", "armv6l");
        assert_eq!(old.rank(&platform("linux/arm/v7")), None);
        assert_eq!(Machine::new("linux", "amd64", "x86_64").rank(&platform("linux/amd64/v3")), None);
    }

    fn store_with(blobs: &[&[u8]]) -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path().to_path_buf());
        store.create().unwrap();
        for blob in blobs {
            std::fs::write(store.blob_path(&Digest::of(blob)), blob).unwrap();
        }
        (dir, store)
    }

    fn manifest(layers: &[&[u8]]) -> ImageManifest {
        let descriptor = |bytes: &&[u8]| Descriptor::of(manifests::oci::MEDIA_LAYER_GZIP, bytes);
        ImageManifest {
            schema_version: 2,
            media_type: None,
            artifact_type: None,
            config: Descriptor::of(manifests::oci::MEDIA_CONFIG, b"{}"),
            layers: layers.iter().map(descriptor).collect(),
            subject: None,
            annotations: Default::default(),
        }
    }

    #[test]
    fn a_stream_is_as_long_as_it_says_and_a_layer_is_in_it_once() {
        let (_dir, store) = store_with(&[b"{}", b"one", b"two"]);
        let stream = ImageStream::docker_archive(&manifest(&[b"one", b"two", b"one"]), &BTreeSet::new());
        let mut bytes = Vec::new();
        stream.write(&store, &mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, stream.bytes());
        let mut archive = tar::Archive::new(&bytes[..]);
        let names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names.len(), 4);
        assert_eq!(names[3], "manifest.json");
        let without = BTreeSet::from([Digest::of(b"one")]);
        let shorter = ImageStream::docker_archive(&manifest(&[b"one", b"two"]), &without);
        assert!(shorter.bytes() < stream.bytes());
    }

    #[test]
    fn a_blob_that_has_rotted_ends_the_stream_before_what_says_what_is_in_it() {
        let (_dir, store) = store_with(&[b"{}", b"one"]);
        std::fs::write(store.blob_path(&Digest::of(b"one")), b"onE").unwrap();
        let stream = ImageStream::docker_archive(&manifest(&[b"one"]), &BTreeSet::new());
        let mut bytes = Vec::new();
        let error = stream.write(&store, &mut bytes).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let mut text = String::new();
        let _ = (&bytes[..]).read_to_string(&mut text);
        assert!(!String::from_utf8_lossy(&bytes).contains("manifest.json"));
    }

    #[test]
    fn an_image_layout_has_every_manifest_and_every_name() {
        let image = serde_json::to_vec(&manifest(&[b"one"])).unwrap();
        let root = Descriptor::of(manifests::oci::MEDIA_MANIFEST, &image);
        let (_dir, store) = store_with(&[b"{}", b"one", &image]);
        let stream = ImageStream::layout(&root, &["r.example.com/a:1", "r.example.com/a:2"], &store).unwrap();
        let mut bytes = Vec::new();
        stream.write(&store, &mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, stream.bytes());
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(text.matches(ANNOTATION_CONTAINERD_NAME).count(), 2);
        let (_empty, nothing) = store_with(&[]);
        assert!(matches!(ImageStream::layout(&root, &[], &nothing), Err(TargetError::Manifest { .. })));
    }
}
