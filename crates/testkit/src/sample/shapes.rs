//! Bundles of other shapes than the sample's: any number of files of any length, and an image whose
//! manifest is whatever a test says.

use std::collections::BTreeMap;

use manifests::bundle::Content;
use manifests::inventory::{Component, FileMode, FileSet, Inventory, SetFile};
use manifests::oci::{
    ANNOTATION_TITLE, ARTIFACT_FILES, Annotations, EMPTY_CONFIG, ImageManifest, MEDIA_EMPTY, MEDIA_FILE,
    MEDIA_MANIFEST,
};
use manifests::{Descriptor, Digest, canonical};
use serde_json::Value;

use super::{Draft, SampleOptions};

/// The draft of an honest bundle with these files in one set, by path, and nothing else. Without files
/// it has no component and no blob.
#[must_use]
pub fn draft_of_files(options: &SampleOptions, files: &BTreeMap<String, Vec<u8>>) -> Draft {
    let mut draft = Draft::new(options);
    draft.blobs.clear();
    let mut components = Vec::new();
    if !files.is_empty() {
        components.push(file_set(files, &mut draft.blobs));
    }
    draft.docker_manifest = canonical::to_canonical(&Value::Array(Vec::new())).unwrap();
    let sizes = draft.blobs.iter().map(|(digest, bytes)| (*digest, bytes.len() as u64)).collect();
    draft.inventory = Inventory::assemble(components, None, sizes, &draft.docker_manifest).unwrap();
    draft.oci_index = draft.inventory.oci_index().unwrap();
    draft.redo_inventory();
    draft
}

fn file_set(files: &BTreeMap<String, Vec<u8>>, blobs: &mut BTreeMap<Digest, Vec<u8>>) -> Component {
    let mut add = |media_type: &str, bytes: &[u8]| {
        let descriptor = Descriptor::of(media_type, bytes);
        blobs.insert(descriptor.digest, bytes.to_vec());
        descriptor
    };
    let config = add(MEDIA_EMPTY, EMPTY_CONFIG);
    let layers: Vec<Descriptor> =
        files.iter().map(|(path, bytes)| add(MEDIA_FILE, bytes).annotated(ANNOTATION_TITLE, path)).collect();
    let file = |(path, layer): (&String, &Descriptor)| SetFile {
        path: path.parse().unwrap(),
        digest: layer.digest,
        size: layer.size,
        mode: FileMode::new(0o640).unwrap(),
    };
    let listed = files.keys().zip(&layers).map(file).collect();
    let manifest = ImageManifest {
        schema_version: 2,
        media_type: Some(MEDIA_MANIFEST.to_string()),
        artifact_type: Some(ARTIFACT_FILES.to_string()),
        config,
        layers,
        subject: None,
        annotations: Annotations::default(),
    };
    let mut manifest = add(MEDIA_MANIFEST, &canonical::to_canonical(&manifest).unwrap());
    manifest.artifact_type = Some(ARTIFACT_FILES.to_string());
    Component::FileSet(FileSet {
        name: "data".parse().unwrap(),
        source: "data/".parse().unwrap(),
        dest: "/data/".parse().unwrap(),
        files: listed,
        manifest,
    })
}

/// The sample's image, to be changed. Its manifest is honest to begin with.
#[derive(Debug, Clone)]
pub struct ImageParts {
    /// What the inventory says the manifest is.
    pub media_type: String,
    /// The manifest.
    pub manifest: Vec<u8>,
    /// Every other blob of the image that travels.
    pub blobs: BTreeMap<Digest, Vec<u8>>,
    /// What the inventory lists for the image after its manifest.
    pub listed: Vec<Digest>,
}

impl ImageParts {
    /// The manifest as JSON.
    #[must_use]
    pub fn document(&self) -> Value {
        serde_json::from_slice(&self.manifest).unwrap()
    }

    /// Takes another manifest.
    pub fn set_document(&mut self, document: &Value) {
        self.manifest = canonical::to_canonical(document).unwrap();
    }

    /// Adds a blob that travels and is listed.
    pub fn add(&mut self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(media_type, bytes);
        self.blobs.insert(descriptor.digest, bytes.to_vec());
        self.listed.push(descriptor.digest);
        descriptor
    }
}

/// Changes the image of a draft of the sample, and redoes whatever hangs from it, up to the signatures.
pub fn put_image(draft: &mut Draft, change: impl FnOnce(&mut ImageParts)) {
    let components = draft.inventory.components.iter_mut();
    let mut images = components.filter_map(|component| match component {
        Component::Image(image) => Some(image),
        _ => None,
    });
    let image = images.next().unwrap();
    let mut own = Vec::new();
    for digest in &image.blobs {
        own.push((*digest, draft.blobs.remove(digest).unwrap()));
    }
    let (_, manifest) = own.remove(0);
    let mut parts = ImageParts {
        media_type: image.manifest.media_type.clone(),
        manifest,
        listed: own.iter().map(|(digest, _)| *digest).collect(),
        blobs: own.into_iter().collect(),
    };
    change(&mut parts);
    image.manifest = Descriptor::of(&parts.media_type, &parts.manifest);
    image.blobs = std::iter::once(image.manifest.digest).chain(parts.listed).collect();
    draft.blobs.extend(parts.blobs);
    draft.blobs.insert(image.manifest.digest, parts.manifest);
    draft.inventory.blobs = draft.blobs.values().map(|bytes| Content::of(bytes)).collect();
    draft.oci_index = draft.inventory.oci_index().unwrap();
    draft.inventory.files.oci_index = Content::of(&draft.oci_index);
    draft.redo_inventory();
}
