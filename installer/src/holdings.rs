//! Where a bundle's content is on a site, by its inventory and `site.yaml`: what a version holds, and what other
//! products hold beside it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use manifests::inventory::{Component, Image, Inventory};

use crate::origins::Product;
use crate::site::config::SiteConfig;
use crate::site::{Site, SiteError};
use crate::targets::{files, mirror, python};

/// The places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Files, those of mirrors too.
    pub files: BTreeSet<PathBuf>,
    /// Links to environments.
    pub links: BTreeSet<PathBuf>,
}

impl Holdings {
    /// What a bundle with this inventory holds.
    #[must_use]
    pub fn of(inventory: &Inventory, config: &SiteConfig) -> Self {
        let mut held = Self::default();
        let mut images: Vec<&Image> = Vec::new();
        for component in &inventory.components {
            match component {
                Component::Image(image) => images.push(image),
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
            held.files.extend(wanted.iter().map(|wanted| mirror::place(mirrors, wanted)));
        }
        held
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

    fn join(&mut self, other: Self) {
        self.files.extend(other.files);
        self.links.extend(other.links);
    }
}
