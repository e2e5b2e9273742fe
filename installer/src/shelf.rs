//! The site store as the server sees it: the published bundles and their blobs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use manifests::Digest;
use manifests::bundle::BundleDigest;

use crate::serve::{PublishedBundle, Shelf};
use crate::site::ledger::Applied;
use crate::site::{Site, SiteError};

/// A site's shelf. Originals are read and checked once for each bundle.
pub struct SiteShelf {
    site: Site,
    known: Mutex<BTreeMap<BundleDigest, Arc<PublishedBundle>>>,
}

impl SiteShelf {
    /// The shelf of a site.
    #[must_use]
    pub fn of(site: Site) -> Self {
        Self { site, known: Mutex::new(BTreeMap::new()) }
    }

    fn read(&self) -> Result<Vec<Arc<PublishedBundle>>, SiteError> {
        let published = self.site.published()?;
        let applied: Vec<Applied> =
            self.site.ledgers()?.into_iter().flat_map(|ledger| ledger.applied).collect();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut shelf = Vec::new();
        for digest in published {
            // While an apply runs, a bundle is published a moment before it is in the ledger.
            let Some(entry) = applied.iter().rev().find(|entry| entry.bundle == digest) else { continue };
            let bundle = match known.get(&digest) {
                Some(bundle) if bundle.applied == entry.time => Arc::clone(bundle),
                _ => Arc::new(self.load(digest, entry)?),
            };
            known.insert(digest, Arc::clone(&bundle));
            shelf.push(bundle);
        }
        Ok(shelf)
    }

    fn load(&self, digest: BundleDigest, entry: &Applied) -> Result<PublishedBundle, SiteError> {
        let (manifest, inventory) = self.site.evidence(digest)?;
        let signers =
            entry.signers.iter().map(|signer| format!("{} ({})", signer.holder, signer.keyid.short()));
        Ok(PublishedBundle { digest, manifest, inventory, applied: entry.time, signers: signers.collect() })
    }
}

impl Shelf for SiteShelf {
    fn bundles(&self) -> io::Result<Vec<Arc<PublishedBundle>>> {
        self.read().map_err(io::Error::other)
    }

    fn open_blob(&self, digest: &Digest) -> io::Result<Option<File>> {
        self.site.store().open(digest)
    }
}
