//! What this program has put on the site and what was there before it ever came, read from the journals: each
//! holds the plan with every old value, and what of it was done.
//!
//! *Invariant:* nothing is taken away from a site that no journal says was put there. What a journal does not
//! know is somebody else's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use manifests::Digest;
use manifests::text::Name;

use crate::journal::{self, Found};
use crate::plan::{Before, FileState, FileTarget, Import, Load, OldName, Push, Step, Withdraw, WriteFile};
use crate::site::{Site, SiteError};
use crate::targets::files;

/// A product, by its publisher and its name.
pub type Product = (Name, Name);

/// A step that has put something somewhere, and the products that have.
pub type Put<T> = (T, BTreeSet<Product>);
/// Registry, repository, tag and digest.
pub type PushKey = (String, String, Option<String>, Digest);
/// Engine, name and id.
pub type LoadKey = (String, Option<String>, Digest);

/// What was put where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    /// Files, by their place.
    pub files: BTreeMap<PathBuf, FileOrigin>,
    /// Directories that were made for them.
    pub directories: BTreeSet<PathBuf>,
    /// Links to environments, by their place.
    pub links: BTreeMap<PathBuf, LinkOrigin>,
    /// What was pushed: registry, repository, tag and digest.
    pub pushes: BTreeMap<PushKey, Put<Push>>,
    /// What was loaded: engine, name and id.
    pub loads: BTreeMap<LoadKey, Put<Load>>,
    /// What was imported: socket, namespace and digest.
    pub imports: BTreeMap<(PathBuf, String, Digest), Put<Import>>,
    /// What tags stood for before: registry, repository, tag.
    tags: BTreeMap<(String, String, String), Option<Digest>>,
    /// Whether repositories had manifests before: registry, repository, digest.
    manifests: BTreeMap<(String, String, Digest), bool>,
    /// Whether registries listed them as referrers before.
    listed: BTreeMap<(String, String, Digest), bool>,
    /// What names stood for in engines before: engine, name.
    engine_names: BTreeMap<(String, String), Option<Digest>>,
    /// Whether engines had images before: engine, id.
    engine_ids: BTreeMap<(String, Digest), bool>,
    /// What names stood for in containerd before: socket, namespace, name.
    containerd_names: BTreeMap<(PathBuf, String, String), Option<OldName>>,
    /// Which names images had in containerd before: socket, namespace, digest.
    containerd_images: BTreeMap<(PathBuf, String, Digest), Vec<String>>,
}

/// A file that was put somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOrigin {
    /// For which target.
    pub of: FileTarget,
    /// What was put there last.
    pub put: FileState,
    /// What was there before.
    pub before: Option<Before>,
    /// The products that have written it.
    pub by: BTreeSet<Product>,
}

/// A link that was put somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkOrigin {
    /// The environment that it was pointed to last.
    pub put: PathBuf,
    /// Where it pointed before.
    pub before: Option<PathBuf>,
    /// The products that have pointed it somewhere.
    pub by: BTreeSet<Product>,
}

impl Origins {
    /// Reads every journal of a site, the oldest first.
    ///
    /// # Errors
    /// One is not readable.
    pub fn of(site: &Site) -> Result<Self, SiteError> {
        let mut origins = Self::default();
        for path in journal::paths(site)? {
            if let Some(found) = journal::read(&path)? {
                origins.note(&found);
            }
        }
        Ok(origins)
    }

    /// Takes in what one run has done.
    pub fn note(&mut self, found: &Found) {
        let product = (found.plan.publisher.clone(), found.plan.product.clone());
        let kept = journal::kept_dir(&found.path);
        for (number, step) in found.plan.steps.iter().enumerate() {
            if found.has_effect(number) {
                self.note_step(step, &product, &kept);
            }
        }
        if found.is_committed() {
            for path in &found.plan.released {
                self.files.remove(path);
                self.links.remove(path);
            }
        }
    }

    fn note_step(&mut self, step: &Step, product: &Product, kept: &Path) {
        match step {
            Step::File(write) => self.note_file(FileTarget::Files, write, product, kept),
            Step::Mirror(mirror) => self.note_file(FileTarget::Mirror, &mirror.write, product, kept),
            Step::Unwrite(unwrite) => {
                self.files.remove(&unwrite.path);
                for directory in &unwrite.directories {
                    self.directories.remove(&directory.path);
                }
            }
            Step::Venv(venv) => {
                let new =
                    LinkOrigin { put: venv.venv.clone(), before: venv.old.clone(), by: BTreeSet::new() };
                let origin = self.links.entry(venv.link.clone()).or_insert(new);
                origin.put.clone_from(&venv.venv);
                origin.by.insert(product.clone());
            }
            Step::Unlink(unlink) => {
                self.links.remove(&unlink.link);
            }
            Step::Push(push) => self.note_push(push, product),
            Step::Load(load) => self.note_load(load, product),
            Step::Import(import) => self.note_import(import, product),
            Step::Withdraw(withdraw) => self.forget(withdraw),
            _ => {}
        }
    }

    fn note_push(&mut self, push: &Push, product: &Product) {
        let (url, repository) = (&push.url, &push.repository);
        for placing in push.placings() {
            let digest = placing.manifest.digest;
            let at = (url.clone(), repository.clone(), digest);
            self.manifests.entry(at.clone()).or_insert(placing.was_there);
            self.listed.entry(at).or_insert(placing.was_listed);
            if let Some(tag) = placing.tag {
                let old = placing.old.filter(|old| *old != digest);
                self.tags.entry((url.clone(), repository.clone(), tag)).or_insert(old);
            }
        }
        let key = (url.clone(), repository.clone(), push.tag.clone(), push.manifest.digest);
        let known = self.pushes.entry(key).or_insert_with(|| (push.clone(), BTreeSet::new()));
        known.0.clone_from(push);
        known.1.insert(product.clone());
    }

    fn note_load(&mut self, load: &Load, product: &Product) {
        if let Some(name) = &load.name {
            let old = load.old.filter(|old| *old != load.id);
            self.engine_names.entry((load.host.clone(), name.clone())).or_insert(old);
        }
        self.engine_ids.entry((load.host.clone(), load.id)).or_insert(load.was_there);
        let key = (load.host.clone(), load.name.clone(), load.id);
        let known = self.loads.entry(key).or_insert_with(|| (load.clone(), BTreeSet::new()));
        known.1.insert(product.clone());
    }

    fn note_import(&mut self, import: &Import, product: &Product) {
        let (address, namespace) = (&import.address, import.namespace.as_str().to_string());
        for name in &import.names {
            let key = (address.clone(), namespace.clone(), name.name.clone());
            self.containerd_names.entry(key).or_insert(name.old.clone());
        }
        let key = (address.clone(), namespace, import.manifest.digest);
        self.containerd_images.entry(key.clone()).or_insert(import.beside.clone());
        let known = self.imports.entry(key).or_insert_with(|| (import.clone(), BTreeSet::new()));
        known.0.clone_from(import);
        known.1.insert(product.clone());
    }

    fn forget(&mut self, withdraw: &Withdraw) {
        match withdraw {
            Withdraw::Push(push) => {
                let (url, repository) = (&push.url, &push.repository);
                for placing in push.placings() {
                    let at = (url.clone(), repository.clone(), placing.manifest.digest);
                    self.manifests.remove(&at);
                    self.listed.remove(&at);
                    if let Some(tag) = placing.tag {
                        self.tags.remove(&(url.clone(), repository.clone(), tag));
                    }
                }
                self.pushes.remove(&(
                    url.clone(),
                    repository.clone(),
                    push.tag.clone(),
                    push.manifest.digest,
                ));
            }
            Withdraw::Load(load) => {
                self.loads.remove(&(load.host.clone(), load.name.clone(), load.id));
                self.engine_ids.remove(&(load.host.clone(), load.id));
                if let Some(name) = &load.name {
                    self.engine_names.remove(&(load.host.clone(), name.clone()));
                }
            }
            Withdraw::Import(import) => {
                let (address, namespace) = (&import.address, import.namespace.as_str().to_string());
                for name in &import.names {
                    let key = (address.clone(), namespace.clone(), name.name.clone());
                    self.containerd_names.remove(&key);
                }
                let key = (address.clone(), namespace, import.manifest.digest);
                self.containerd_images.remove(&key);
                self.imports.remove(&key);
            }
        }
    }

    /// What a tag of a push's repository stood for before we came.
    #[must_use]
    pub fn tag(&self, push: &Push, tag: Option<&str>) -> Option<Digest> {
        let key = (push.url.clone(), push.repository.clone(), tag?.to_string());
        self.tags.get(&key).copied().flatten()
    }

    /// Whether a push's repository had a manifest before we came; of what is not known it had.
    #[must_use]
    pub fn was_there(&self, push: &Push, digest: Digest) -> bool {
        let key = (push.url.clone(), push.repository.clone(), digest);
        self.manifests.get(&key).copied().unwrap_or(true)
    }

    /// Whether a push's registry listed a manifest as a referrer before we came; of what is not known it did.
    #[must_use]
    pub fn was_listed(&self, push: &Push, digest: Digest) -> bool {
        let key = (push.url.clone(), push.repository.clone(), digest);
        self.listed.get(&key).copied().unwrap_or(true)
    }

    /// What an image's name stood for in its engine before we came.
    #[must_use]
    pub fn engine_name(&self, load: &Load) -> Option<Digest> {
        let key = (load.host.clone(), load.name.clone()?);
        self.engine_names.get(&key).copied().flatten()
    }

    /// Whether an engine had an image before we came; of what is not known it had.
    #[must_use]
    pub fn engine_had(&self, load: &Load) -> bool {
        self.engine_ids.get(&(load.host.clone(), load.id)).copied().unwrap_or(true)
    }

    /// What a name stood for in containerd before we came.
    #[must_use]
    pub fn containerd_name(&self, import: &Import, name: &str) -> Option<OldName> {
        let namespace = import.namespace.as_str().to_string();
        let key = (import.address.clone(), namespace, name.to_string());
        self.containerd_names.get(&key).cloned().flatten()
    }

    /// The names that an image had in containerd before we came.
    #[must_use]
    pub fn containerd_beside(&self, import: &Import) -> Vec<String> {
        let namespace = import.namespace.as_str().to_string();
        let key = (import.address.clone(), namespace, import.manifest.digest);
        self.containerd_images.get(&key).cloned().unwrap_or_default()
    }

    fn note_file(&mut self, of: FileTarget, write: &WriteFile, product: &Product, kept: &Path) {
        let before = write.old.map(|file| Before { file, kept: files::kept_path(kept, &file.digest) });
        let new = FileOrigin { of, put: write.new, before, by: BTreeSet::new() };
        let origin = self.files.entry(write.path.clone()).or_insert(new);
        origin.put = write.new;
        origin.by.insert(product.clone());
        self.directories.extend(write.new_directories.iter().cloned());
    }
}
