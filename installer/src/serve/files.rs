//! File sets, Kubernetes manifests and scripts, each under its name.
//!
//! A set is served whole from the first bundle that has one of that name: files of two bundles side by
//! side would be a set that nobody signed. Every other version is in the registry, under the same name.

use std::collections::BTreeMap;

use manifests::bundle::{BundleDigest, Content};
use manifests::inventory::{Component, SetFile};
use manifests::kubernetes::PlainFile;
use manifests::script::ScriptFile;

use super::answer::{Address, Answer, octet_stream};
use super::request::encode_path;
use super::shelf::PublishedBundle;

/// Every set by its name in the layout, such as `files/etc-fraud`.
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
            let Some(files) = files_of(component) else { continue };
            self.sets.entry(component.ref_name()).or_insert_with(|| ServedSet {
                bundle: bundle.digest,
                files: files.into_iter().map(|(path, content)| (path.to_string(), content)).collect(),
            });
        }
    }

    /// A file of a set.
    pub(super) fn file(&self, kind: &str, set: &str, path: &[&str]) -> Option<Answer> {
        let content = self.sets.get(&format!("{kind}/{set}"))?.files.get(&path.join("/"))?;
        Some(Answer::blob(*content, octet_stream(), Address::Name))
    }

    /// Whether the set of this name is this bundle's.
    pub(super) fn offers(&self, set: &str, bundle: BundleDigest) -> bool {
        self.sets.get(set).is_some_and(|served| served.bundle == bundle)
    }
}

/// The files of a component that is nothing but files.
pub(super) fn files_of(component: &Component) -> Option<Vec<(&str, Content)>> {
    let content = |digest, size| Content { digest, size };
    let of_a_set = |file: &'_ SetFile| content(file.digest, file.size);
    let plain = |file: &'_ PlainFile| content(file.digest, file.size);
    let script = |file: &'_ ScriptFile| content(file.digest, file.size);
    match component {
        Component::FileSet(set) => {
            Some(set.files.iter().map(|file| (file.path.as_str(), of_a_set(file))).collect())
        }
        Component::KubernetesManifests(set) => {
            Some(set.files.iter().map(|file| (file.path.as_str(), plain(file))).collect())
        }
        Component::Script(found) => {
            let files = found.files().into_iter();
            Some(files.map(|file| (file.filename.as_str(), script(file))).collect())
        }
        Component::Image(_) | Component::Wheelhouse(_) | Component::Chart(_) => None,
    }
}

/// Where a file of a set is served.
pub(super) fn file_path(set: &str, path: &str) -> String {
    format!("/{}/{}", encode_path(set), encode_path(path))
}
