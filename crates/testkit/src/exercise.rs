//! What every parser promises about any input at all: the bodies of the fuzz targets, as plain functions,
//! so that ordinary tests run them too. Each panics if a promise is broken and is silent otherwise.

use manifests::inventory::Inventory;
use manifests::oci::{
    MEDIA_DOCKER_LIST, MEDIA_DOCKER_MANIFEST, MEDIA_INDEX, MEDIA_MANIFEST, ManifestDocument,
};
use manifests::root::RootDocument;
use manifests::{ArchivePath, BundleManifest, Digest, PublicKey, Reference, Timestamp, audit, canonical};

/// Reading an archive never panics and never asks for more memory than its limits allow.
pub fn archive(bytes: &[u8]) {
    let Ok(reader) = layout::reader::BundleReader::open(bytes) else { return };
    let head = reader.head();
    assert!(head.manifest.len() as u64 <= manifests::bundle::MANIFEST_BYTES_MAX);
    let Ok(manifest) = BundleManifest::from_bytes(&head.manifest) else { return };
    let mut reader = reader;
    let Ok((contents, _)) = reader.contents(&manifest) else { return };
    let checked = reader.stream(contents, &mut layout::reader::Discard, &mut |_| {});
    if let Ok(checked) = checked {
        let size: u64 = checked.inventory().contents().map(|(_, content)| content.size).sum();
        assert!(size < bytes.len() as u64, "more content than the archive has bytes");
    }
}

/// A header that is accepted is the one that we would have written.
pub fn header(bytes: &[u8]) {
    let Ok(block) = <layout::header::Block>::try_from(bytes) else { return };
    if let Ok((path, size)) = layout::header::decode(&block) {
        assert_eq!(layout::header::encode(&path, size), block);
    }
}

/// A document that is accepted is canonical: writing it again gives the same bytes.
pub fn documents(bytes: &[u8]) {
    if let Ok(manifest) = BundleManifest::from_bytes(bytes) {
        assert_eq!(manifest.to_bytes().unwrap(), bytes);
    }
    if let Ok(inventory) = Inventory::from_bytes(bytes) {
        assert_eq!(inventory.to_bytes().unwrap(), bytes);
        let _ = inventory.oci_index().unwrap();
    }
    if let Ok(root) = canonical::from_canonical::<RootDocument>(bytes)
        && let Ok(written) = root.to_bytes()
    {
        assert_eq!(written, bytes);
    }
    if let Ok((entry, next)) = audit::Head::default().follow(bytes) {
        assert_eq!((entry.seq, next.entries), (0, 1));
    }
}

/// Somebody else's manifest: read without a panic, never both kinds at once.
pub fn oci(bytes: &[u8]) {
    let taken = |media_type| ManifestDocument::parse(bytes, media_type).ok();
    let image = taken(MEDIA_MANIFEST).or_else(|| taken(MEDIA_DOCKER_MANIFEST));
    let index = taken(MEDIA_INDEX).or_else(|| taken(MEDIA_DOCKER_LIST));
    assert!(image.is_none() || index.is_none(), "one document is an image manifest and an index");
    for child in image.iter().chain(&index).flat_map(ManifestDocument::children) {
        assert!(child.urls.is_empty(), "content that must not travel");
        let _ = child.platform.is_some_and(|platform| platform.matches("linux/arm/v7"));
    }
}

/// The short texts print back what they took.
pub fn texts(text: &str) {
    fn round<T: std::str::FromStr + std::fmt::Display + PartialEq + std::fmt::Debug>(text: &str) {
        if let Ok(value) = text.parse::<T>() {
            assert_eq!(value.to_string().parse::<T>().ok(), Some(value));
        }
    }
    round::<Digest>(text);
    round::<ArchivePath>(text);
    round::<Reference>(text);
    round::<Timestamp>(text);
    round::<manifests::KeyId>(text);
    round::<manifests::bundle::BundleDigest>(text);
    round::<manifests::inventory::FileMode>(text);
    round::<manifests::text::BundleVersion>(text);
    round::<manifests::text::PackageVersion>(text);
    round::<manifests::text::Marking>(text);
    round::<manifests::text::Name>(text);
    round::<manifests::text::RelativePath>(text);
    round::<manifests::text::Destination>(text);
    round::<manifests::text::FileName>(text);
    round::<manifests::text::Audience>(text);
    let shown = manifests::text::printable(text);
    assert!(shown.chars().all(|c| matches!(c, ' '..='~' | '…')));
    if let Ok(key) = PublicKey::from_pem(text) {
        assert_eq!(PublicKey::from_pem(key.pem()).map(|again| again.id()), Ok(key.id()));
    }
}
