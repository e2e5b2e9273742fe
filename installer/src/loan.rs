//! What checks have to read of a bundle that is not in the site store yet: the wheels that pip is asked about,
//! the charts that are rendered, the manifests that a cluster is
//! asked about. It is kept while the bundle is verified, in its one pass, and gone with the run.
//!
//! *Invariant:* a loan is handed out only after the whole bundle was verified, and nothing that changes a target
//! reads from it: what is applied comes from the site store.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use layout::reader::{Sink, Sinks};
use manifests::bundle::Content;
use manifests::inventory::{Component, SetFile};
use manifests::{ArchivePath, Digest, Inventory};

use crate::site::Site;
use crate::site::config::SiteConfig;
use crate::site::scratch::Scratch;

/// So much of the disk stays free, whatever is lent.
const SPARE_BYTES: u64 = 64 * 1024 * 1024;

/// A text that somebody may want to see the changes of is not longer.
pub const TEXT_BYTES_MAX: u64 = 64 * 1024;
/// So many of them are lent.
const TEXTS_MAX: usize = 500;

/// Whether a file with these permission bits may be shown: everybody on the site may read it anyway.
#[must_use]
pub fn is_for_everybody(mode: u32) -> bool {
    mode & 0o004 != 0
}

/// Content that is kept for a run.
#[derive(Debug, Default)]
pub struct Loan {
    /// Gone as soon as something could not be written to it.
    scratch: Mutex<Option<Scratch>>,
    wanted: BTreeSet<Digest>,
}

impl Loan {
    /// Whatever of this bundle the site's targets make checks read, and the store lacks. Nothing at all if there
    /// is no room for it: the checks say so then.
    #[must_use]
    pub fn prepare(site: &Site, config: &SiteConfig, inventory: &Inventory) -> Self {
        let wanted: BTreeSet<Digest> =
            inventory.components.iter().flat_map(|component| read_by_checks(component, config)).collect();
        let store = site.store();
        let missing = inventory.blobs.iter().filter(|blob| wanted.contains(&blob.digest) && !store.has(blob));
        let missing: Vec<&Content> = missing.collect();
        let needed = missing.iter().fold(SPARE_BYTES, |sum, blob| sum.saturating_add(blob.size));
        let fits = layout::disk::free_bytes(site.dir()).is_ok_and(|free| free > needed);
        if missing.is_empty() || !fits {
            return Self::default();
        }
        let wanted = missing.iter().map(|blob| blob.digest).collect();
        Self { scratch: Mutex::new(Scratch::make(site, "loan").ok()), wanted }
    }

    /// The site with what was lent.
    #[must_use]
    pub fn to(&self, site: &Site) -> Site {
        self.place().map_or_else(|| site.clone(), |place| site.lent(&place))
    }

    fn place(&self) -> Option<PathBuf> {
        let scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        scratch.as_ref().map(|scratch| scratch.path().to_path_buf())
    }

    /// Whatever is lent is only for checks, which say what they could not look at: a disk that is full is no reason
    /// to stop verifying.
    fn give_up(&self) {
        *self.scratch.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn read_by_checks(component: &Component, config: &SiteConfig) -> Vec<Digest> {
    match component {
        Component::Wheelhouse(wheelhouse) if config.targets.python.is_some() => {
            wheelhouse.wheels.iter().map(|wheel| wheel.digest).collect()
        }
        Component::Chart(chart) if config.targets.helm.is_some() => {
            let values = chart.values.iter().flat_map(|values| &values.files);
            values.map(|file| file.digest).chain([chart.archive.digest]).collect()
        }
        // For the differences that `plan -v` shows.
        Component::FileSet(set) if config.targets.files.is_some() => {
            let shown = |file: &&SetFile| file.size <= TEXT_BYTES_MAX && is_for_everybody(file.mode.bits());
            set.files.iter().filter(shown).take(TEXTS_MAX).map(|file| file.digest).collect()
        }
        Component::KubernetesManifests(set) if config.targets.kubernetes.is_some() => {
            set.files.iter().map(|file| file.digest).collect()
        }
        _ => Vec::new(),
    }
}

impl Sinks for Loan {
    type Sink<'a> = Lending<'a>;

    fn sink(&self) -> Lending<'_> {
        Lending { loan: self, current: None }
    }
}

/// Lends one blob after the other.
#[derive(Debug)]
pub struct Lending<'a> {
    loan: &'a Loan,
    current: Option<File>,
}

impl Sink for Lending<'_> {
    fn begin(&mut self, path: &ArchivePath, content: Content) -> io::Result<()> {
        let wanted = matches!(path, ArchivePath::Blob(_)) && self.loan.wanted.contains(&content.digest);
        self.current = match self.loan.place() {
            Some(place) if wanted => {
                let path = place.join(content.digest.hex());
                // Somebody else may have given up meanwhile.
                File::options().write(true).create(true).truncate(true).mode(0o600).open(path).ok()
            }
            _ => None,
        };
        if wanted && self.current.is_none() {
            self.loan.give_up();
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.current.as_mut().is_some_and(|file| file.write_all(bytes).is_err()) {
            self.loan.give_up();
            self.current = None;
        }
        Ok(())
    }

    fn end(&mut self, _found: Content) -> io::Result<()> {
        self.current = None;
        Ok(())
    }
}
