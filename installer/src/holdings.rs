//! Where a bundle's content is on a site, by its inventory and `site.yaml`: what a version holds, and what other
//! products hold beside it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use manifests::companion::Companion;
use manifests::inventory::{Component, Image, Inventory};
use manifests::{Descriptor, Digest};

use crate::origins::Product;
use crate::site::config::SiteConfig;
use crate::site::{Site, SiteError};
use crate::targets::{containerd, files, mirror, python, registry};

/// The places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Files, those of mirrors too.
    pub files: BTreeSet<PathBuf>,
    /// Links to environments.
    pub links: BTreeSet<PathBuf>,
    /// Names in the site's registry: repository and tag.
    pub tags: BTreeSet<(String, Option<String>)>,
    /// What they stand for, and what is attached to it: repository and digest.
    pub manifests: BTreeSet<(String, Digest)>,
    /// Names of images in engines.
    pub names: BTreeSet<String>,
    /// Images, and what they consist of.
    pub images: BTreeSet<Digest>,
}

impl Holdings {
    /// What a bundle with this inventory holds.
    #[must_use]
    pub fn of(inventory: &Inventory, config: &SiteConfig) -> Self {
        let mut held = Self::default();
        let mut images: Vec<&Image> = Vec::new();
        for component in &inventory.components {
            match component {
                Component::Image(image) => {
                    images.push(image);
                    let tag = image.name.tag().map(str::to_string);
                    held.names.extend(containerd::names(image));
                    held.images.extend(&image.blobs);
                    held.images.insert(image.manifest.digest);
                    held.in_registry(
                        config,
                        &image.name.site_path(),
                        tag,
                        &image.manifest,
                        &image.companions,
                    );
                }
                Component::Chart(chart) => {
                    let (path, tag) = registry::chart_place(chart);
                    held.in_registry(config, &path, Some(tag), &chart.manifest, &chart.companions);
                }
                Component::Wheelhouse(wheelhouse) => {
                    let target = config.targets.python.as_ref();
                    held.links.extend(target.map(|target| python::link(target, &wheelhouse.name)));
                }
                Component::FileSet(set) => {
                    if let Some(target) = &config.targets.files {
                        held.files.extend(set.files.iter().map(|file| files::place(target, set, file)));
                    }
                }
                _ => {}
            }
        }
        let mirrors = config.targets.containerd.as_ref().and_then(|target| target.mirror.as_ref());
        if let Some(mirrors) = mirrors {
            let wanted = mirror::wanted(&images, mirrors, config);
            held.files.extend(wanted.iter().map(|wanted| mirror::file(mirrors, wanted)));
        }
        held
    }

    fn in_registry(
        &mut self,
        config: &SiteConfig,
        path: &str,
        tag: Option<String>,
        manifest: &Descriptor,
        companions: &[Companion],
    ) {
        let Some(target) = &config.targets.registry else { return };
        let repository = registry::repository(target, path);
        self.tags.insert((repository.clone(), tag));
        for companion in companions {
            self.tags.extend(companion.tag().map(|tag| (repository.clone(), Some(tag))));
            self.manifests.insert((repository.clone(), companion.manifest.digest));
        }
        self.manifests.insert((repository, manifest.digest));
    }

    /// What the present versions of all products but this one hold.
    ///
    /// # Errors
    /// One of them cannot be read: then it is not known what may be taken away.
    pub fn of_others(product: &Product, site: &Site, config: &SiteConfig) -> Result<Self, SiteError> {
        let mut held = Self::default();
        for ledger in site.ledgers()? {
            if (&ledger.publisher, &ledger.product) == (&product.0, &product.1) {
                continue;
            }
            if let Some(current) = ledger.current() {
                let (_, inventory) = site.evidence(current.bundle)?;
                held.join(Self::of(&inventory, config));
            }
        }
        Ok(held)
    }

    /// Both together.
    pub fn join(&mut self, other: Self) {
        self.files.extend(other.files);
        self.links.extend(other.links);
        self.tags.extend(other.tags);
        self.manifests.extend(other.manifests);
        self.names.extend(other.names);
        self.images.extend(other.images);
    }
}
