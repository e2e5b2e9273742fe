//! What the registry side can answer: repositories with their tags, manifests, blobs and referrers.
//!
//! The one thing here that no bundle carries are the indexes under the spec's referrers tag: the list of a
//! manifest's referrers, for clients that do not ask the referrers API. They are made from manifests that were
//! read, and a tag that a bundle has comes first.
//!
//! *Invariant:* a repository holds only what belongs to its own components in published bundles, so
//! knowing a digest opens nothing in a repository that does not have it.

use std::collections::{BTreeMap, BTreeSet};

use hyper::body::Bytes;
use hyper::header::HeaderValue;
use manifests::bundle::Content;
use manifests::inventory::Component;
use manifests::oci::{Annotations, Descriptor, ImageIndex, MANIFEST_BYTES_MAX, ManifestDocument};
use manifests::{Digest, Inventory};

use super::shelf::{PublishedBundle, Shelf};
use super::trouble::{Trouble, read_document};

/// All repositories by name.
#[derive(Debug, Default)]
pub(super) struct Repositories {
    by_name: BTreeMap<String, Repository>,
    /// An image's path without its host, and the full names that end so.
    by_path: BTreeMap<String, BTreeSet<String>>,
    /// `HOST/PATH` as charts and containerd spell it, and the name here.
    by_origin: BTreeMap<String, String>,
    /// Blobs that no repository answers for, whatever it is named by.
    withdrawn: BTreeSet<Digest>,
}

/// One repository.
#[derive(Debug, Default)]
pub(super) struct Repository {
    tags: BTreeMap<String, Digest>,
    manifests: BTreeMap<Digest, HeldManifest>,
    blobs: BTreeMap<Digest, u64>,
    /// Of each subject, in the order of their digests, each once.
    referrers: BTreeMap<Digest, Vec<Descriptor>>,
    /// The same as indexes, by the spec's referrers tag.
    made: BTreeMap<String, MadeIndex>,
}

/// What a reference stands for.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// A manifest of a bundle.
    Held(&'a HeldManifest),
    /// A list of referrers under their tag.
    Made(&'a MadeIndex),
}

/// An index that was made here.
#[derive(Debug)]
pub(super) struct MadeIndex {
    /// Of its bytes.
    pub(super) digest: Digest,
    pub(super) bytes: Bytes,
}

/// A manifest that can be served.
#[derive(Debug, Clone)]
pub(super) struct HeldManifest {
    /// Its bytes.
    pub(super) content: Content,
    /// What its descriptor says it is.
    pub(super) media_type: HeaderValue,
}

/// What a name in a request means.
#[derive(Debug)]
pub(super) enum Lookup<'a> {
    /// This one.
    Found(&'a Repository),
    /// None.
    Unknown,
    /// A path without a host that images of several hosts have.
    Ambiguous(&'a BTreeSet<String>),
}

impl Repositories {
    /// Repositories that will not answer for these blobs.
    pub(super) fn without(withdrawn: BTreeSet<Digest>) -> Self {
        Self { withdrawn, ..Self::default() }
    }

    /// The repository of a name. With `namespace`, containerd's `ns` query, the name is a path on that
    /// host and nothing else: an image of another host must never stand in for it.
    pub(super) fn find(&self, name: &str, namespace: Option<&str>) -> Lookup<'_> {
        let full = match namespace {
            Some(host) => self.by_origin.get(&format!("{host}/{name}")).map(String::as_str),
            None => Some(name),
        };
        if let Some(repository) = full.and_then(|full| self.by_name.get(full)) {
            return Lookup::Found(repository);
        }
        let Some(names) = self.by_path.get(name).filter(|_| namespace.is_none()) else {
            return Lookup::Unknown;
        };
        let mut all = names.iter();
        match (all.next().and_then(|only| self.by_name.get(only)), all.next()) {
            (Some(repository), None) => Lookup::Found(repository),
            _ => Lookup::Ambiguous(names),
        }
    }

    /// Every full name, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Adds what a bundle holds. Tags that are taken stay with the bundle that has them.
    pub(super) fn add(&mut self, shelf: &dyn Shelf, bundle: &PublishedBundle, troubles: &mut Vec<Trouble>) {
        let version = tag_of(bundle.manifest.version.as_str());
        for component in &bundle.inventory.components {
            let name = repository_name(component);
            let repository = self.by_name.entry(name.clone()).or_default();
            repository.add_blobs(component, &bundle.inventory, &self.withdrawn);
            let tag = match component {
                Component::Image(image) => image.name.tag().map(str::to_string),
                Component::Chart(chart) => Some(tag_of(chart.version.as_str())),
                Component::Wheelhouse(_)
                | Component::FileSet(_)
                | Component::KubernetesManifests(_)
                | Component::Script(_) => Some(version.clone()),
            };
            let manifests = component.manifests();
            if let Some((tag, first)) = tag.zip(manifests.first()) {
                repository.tags.entry(tag).or_insert(first.digest);
            }
            for companion in component.companions() {
                if let Some(tag) = companion.tag() {
                    repository.tags.entry(tag).or_insert(companion.manifest.digest);
                }
            }
            match component {
                Component::Image(image) => {
                    repository.add_manifests(shelf, component, &image.blobs, troubles);
                    self.by_path.entry(image.name.path().to_string()).or_default().insert(name.clone());
                    self.by_origin.entry(image.name.repository()).or_insert(name);
                }
                Component::Chart(chart) if !chart.companions.is_empty() => {
                    repository.add_manifests(shelf, component, &chart.companion_blobs, troubles);
                }
                _ => manifests.into_iter().for_each(|d| repository.hold(d, troubles)),
            }
        }
    }

    /// Makes the indexes under the referrers tags, once everything is added.
    pub(super) fn finish(&mut self) {
        self.by_name.values_mut().for_each(Repository::make_indexes);
    }
}

impl Repository {
    /// The tags, sorted. One whose manifest is withdrawn is none, and stands for no other manifest either.
    pub(super) fn tags(&self) -> impl Iterator<Item = &str> {
        let held = self.tags.iter().filter(|(_, digest)| self.manifests.contains_key(digest));
        held.map(|(tag, _)| tag.as_str())
    }

    /// What a tag stands for.
    pub(super) fn tagged(&self, tag: &str) -> Option<Found<'_>> {
        match self.tags.get(tag) {
            Some(digest) => self.manifests.get(digest).map(Found::Held),
            None => self.made.get(tag).map(Found::Made),
        }
    }

    /// A manifest of this repository.
    pub(super) fn manifest(&self, digest: &Digest) -> Option<Found<'_>> {
        let made = || self.made.values().find(|made| made.digest == *digest).map(Found::Made);
        self.manifests.get(digest).map(Found::Held).or_else(made)
    }

    /// A blob of this repository, with its size in bytes.
    pub(super) fn blob(&self, digest: &Digest) -> Option<Content> {
        self.blobs.get(digest).map(|size| Content { digest: *digest, size: *size })
    }

    /// The manifests whose subject has this digest.
    pub(super) fn referrers(&self, digest: &Digest) -> &[Descriptor] {
        self.referrers.get(digest).map_or(&[], Vec::as_slice)
    }

    fn add_blobs(&mut self, component: &Component, inventory: &Inventory, withdrawn: &BTreeSet<Digest>) {
        for (digest, size) in component.blobs().into_iter().filter(|(digest, _)| !withdrawn.contains(digest))
        {
            if let Some(size) = inventory.blob_size(&digest).or(size) {
                self.blobs.insert(digest, size);
            }
        }
    }

    /// Holds a component's manifests and, if one is an index, those below it. The blob list bounds the walk:
    /// what an index names but the component does not hold is not served.
    fn add_manifests(
        &mut self,
        shelf: &dyn Shelf,
        component: &Component,
        blobs: &[Digest],
        troubles: &mut Vec<Trouble>,
    ) {
        let own: BTreeSet<&Digest> = blobs.iter().collect();
        let mut seen = BTreeSet::new();
        let mut waiting: Vec<Descriptor> = component.manifests().into_iter().cloned().collect();
        while let Some(descriptor) = waiting.pop() {
            let content = Content { digest: descriptor.digest, size: descriptor.size };
            if !seen.insert(content.digest) || self.blob(&content.digest) != Some(content) {
                continue;
            }
            self.hold(&descriptor, troubles);
            let document = read_document(shelf, content, MANIFEST_BYTES_MAX).and_then(|bytes| {
                ManifestDocument::parse(&bytes, &descriptor.media_type)
                    .map_err(|source| Trouble::Manifest { digest: content.digest, source })
            });
            match document {
                Ok(ManifestDocument::Index(index)) => {
                    let about = (index.subject, index.artifact_type, index.annotations);
                    self.note_subject(&descriptor, about);
                    let manifests = index.manifests.into_iter().filter(|d| own.contains(&d.digest));
                    waiting.extend(manifests.filter(|d| d.is_index() || d.is_manifest()));
                }
                Ok(ManifestDocument::Image(manifest)) => {
                    let named = manifest.artifact_type.filter(|kind| !kind.is_empty());
                    let kind = named.unwrap_or(manifest.config.media_type);
                    self.note_subject(&descriptor, (manifest.subject, Some(kind), manifest.annotations));
                }
                Err(trouble) => troubles.push(trouble),
            }
        }
    }

    fn hold(&mut self, descriptor: &Descriptor, troubles: &mut Vec<Trouble>) {
        let content = Content { digest: descriptor.digest, size: descriptor.size };
        if self.blob(&content.digest) != Some(content) {
            return;
        }
        match HeaderValue::from_str(&descriptor.media_type) {
            Ok(media_type) => {
                self.manifests.entry(content.digest).or_insert(HeldManifest { content, media_type });
            }
            Err(_) => troubles.push(Trouble::MediaType(content.digest)),
        }
    }

    fn note_subject(&mut self, descriptor: &Descriptor, (subject, kind, annotations): About) {
        let Some(subject) = subject else { return };
        let mut entry = Descriptor::new(&descriptor.media_type, descriptor.digest, descriptor.size);
        entry.artifact_type = kind.filter(|kind| !kind.is_empty());
        entry.annotations = annotations;
        let referrers = self.referrers.entry(subject.digest).or_default();
        if let Err(place) = referrers.binary_search_by_key(&entry.digest, |known| known.digest) {
            referrers.insert(place, entry);
        }
    }

    fn make_indexes(&mut self) {
        for (subject, referrers) in &self.referrers {
            let Ok(bytes) = serde_json::to_vec(&ImageIndex::of(referrers.clone())) else { continue };
            if bytes.len() as u64 <= MANIFEST_BYTES_MAX {
                let made = MadeIndex { digest: Digest::of(&bytes), bytes: bytes.into() };
                self.made.insert(format!("sha256-{}", subject.hex()), made);
            }
        }
    }
}

/// What a manifest says of itself: its subject, the kind of artifact that it is, and its annotations.
type About = (Option<Descriptor>, Option<String>, Annotations);

/// Where a component is served.
pub(super) fn repository_name(component: &Component) -> String {
    match component {
        Component::Image(image) => image.name.site_path(),
        Component::Chart(chart) => format!("charts/{}", chart.name),
        Component::Wheelhouse(_)
        | Component::FileSet(_)
        | Component::KubernetesManifests(_)
        | Component::Script(_) => component.ref_name(),
    }
}

/// A version as a tag: Helm's rule for the `+` that tags cannot have.
pub(super) fn tag_of(version: &str) -> String {
    version.replace('+', "_")
}
