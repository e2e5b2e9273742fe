//! What this program has put on the site and what was there before it ever came, read from the journals: each
//! holds the plan with every old value, and what of it was done.
//!
//! *Invariant:* nothing is taken away from a site that no journal says was put there. What a journal does not
//! know is somebody else's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use manifests::text::Name;

use crate::journal::{self, Found};
use crate::plan::{Before, FileState, FileTarget, Step, WriteFile};
use crate::site::{Site, SiteError};
use crate::targets::files;

/// A product, by its publisher and its name.
pub type Product = (Name, Name);

/// What was put where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    /// Files, by their place.
    pub files: BTreeMap<PathBuf, FileOrigin>,
    /// Directories that were made for them.
    pub directories: BTreeSet<PathBuf>,
    /// Links to environments, by their place.
    pub links: BTreeMap<PathBuf, LinkOrigin>,
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
                let new = LinkOrigin {
                    put: venv.venv.clone(),
                    before: venv.old.clone(),
                    by: BTreeSet::new(),
                };
                let origin = self.links.entry(venv.link.clone()).or_insert(new);
                origin.put.clone_from(&venv.venv);
                origin.by.insert(product.clone());
            }
            Step::Unlink(unlink) => {
                self.links.remove(&unlink.link);
            }
            _ => {}
        }
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
