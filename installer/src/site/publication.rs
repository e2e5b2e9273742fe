//! Which bundles the site shows: `store/published.json`, and `store/index.json`, which follows from it.

use std::path::PathBuf;

use layout::durable;
use manifests::bundle::BundleDigest;
use manifests::oci::ImageIndex;
use serde::{Deserialize, Serialize};

use super::{Site, SiteError, read_document, write_document};

/// Bounds the list.
const LIST_BYTES_MAX: u64 = 1024 * 1024;

/// The version of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PublicationSchema {
    /// This one.
    #[serde(rename = "airlock-published/v1")]
    V1,
}

/// The bundles that `serve` shows, the newest first: where two claim one name, the newest has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Published {
    schema: PublicationSchema,
    bundles: Vec<BundleDigest>,
}

impl Site {
    /// The list's file.
    #[must_use]
    pub fn published_path(&self) -> PathBuf {
        self.dir().join("store/published.json")
    }

    /// The bundles that the site shows.
    ///
    /// # Errors
    /// The list is not readable, or not what we wrote.
    pub fn published(&self) -> Result<Vec<BundleDigest>, SiteError> {
        let list: Option<Published> = read_document(&self.published_path(), LIST_BYTES_MAX)?;
        Ok(list.map(|list| list.bundles).unwrap_or_default())
    }

    /// Shows exactly these bundles.
    ///
    /// # Errors
    /// One of them is not in the store, or the store cannot be written to.
    pub fn publish(&self, bundles: &[BundleDigest]) -> Result<(), SiteError> {
        let mut manifests: Vec<manifests::Descriptor> = Vec::new();
        for bundle in bundles {
            let (_, inventory) = self.evidence(*bundle)?;
            let index: Option<ImageIndex> =
                inventory.oci_index().ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
            for entry in index.map(|index| index.manifests).unwrap_or_default() {
                let name = entry.annotations.get(manifests::oci::ANNOTATION_REF_NAME);
                let taken = manifests
                    .iter()
                    .any(|kept| kept.annotations.get(manifests::oci::ANNOTATION_REF_NAME) == name);
                if !taken {
                    manifests.push(entry);
                }
            }
        }
        let index = ImageIndex::of(manifests);
        let path = self.dir().join("store/index.json");
        let failed = |source| SiteError::Io { doing: "cannot write", path: path.clone(), source };
        let bytes = manifests::canonical::to_canonical(&index)
            .map_err(|error| failed(std::io::Error::other(error)))?;
        durable::replace(&path, &bytes, 0o644).map_err(failed)?;
        // The list decides; the index before it may name more than the list for a moment, never less.
        write_document(
            &self.published_path(),
            &Published { schema: PublicationSchema::V1, bundles: bundles.to_vec() },
        )
    }
}
