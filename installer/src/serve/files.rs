//! The file sets, each under its name.
//!
//! A set is served whole from the first bundle that has one of that name: files of two bundles side by
//! side would be a set that nobody signed. Every other version is in the registry, under `files/`.

use std::collections::BTreeMap;

use manifests::bundle::{BundleDigest, Content};
use manifests::inventory::Component;

use super::answer::{Address, Answer, octet_stream};
use super::request::{encode, encode_path};
use super::shelf::PublishedBundle;

/// Every set by name.
#[derive(Debug, Default)]
pub(super) struct FileSets {
    sets: BTreeMap<String, ServedSet>,
}

#[derive(Debug)]
struct ServedSet {
    bundle: BundleDigest,
    files: BTreeMap<String, Content>,
}

impl FileSets {
    /// Adds the sets of a bundle whose names are free.
    pub(super) fn add(&mut self, bundle: &PublishedBundle) {
        for component in &bundle.inventory.components {
            let Component::FileSet(set) = component else { continue };
            self.sets.entry(set.name.to_string()).or_insert_with(|| {
                let content = |file: &manifests::inventory::SetFile| {
                    (file.path.to_string(), Content { digest: file.digest, size: file.size })
                };
                ServedSet { bundle: bundle.digest, files: set.files.iter().map(content).collect() }
            });
        }
    }

    /// A file of a set.
    pub(super) fn file(&self, set: &str, path: &[&str]) -> Option<Answer> {
        let content = self.sets.get(set)?.files.get(&path.join("/"))?;
        Some(Answer::blob(*content, octet_stream(), Address::Name))
    }

    /// Whether the set of this name is this bundle's.
    pub(super) fn offers(&self, set: &str, bundle: BundleDigest) -> bool {
        self.sets.get(set).is_some_and(|served| served.bundle == bundle)
    }
}

/// Where a file is served.
pub(super) fn file_path(set: &str, path: &str) -> String {
    format!("/files/{}/{}", encode(set), encode_path(path))
}
