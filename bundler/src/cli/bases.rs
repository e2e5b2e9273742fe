//! What `build` leaves out: bundles that somebody names, or what a site has signed that it holds.

use std::path::PathBuf;

use clap::Args;
use edge::{Failure, Screen};
use layout::medium;
use manifests::receipt::RECEIPT_BYTES_MAX;

use super::inspect::Opened;
use crate::cache::Cache;
use crate::delta::{Held, Known};
use crate::receipt::{self, KnownSites};

/// The arguments about what a site holds.
#[derive(Debug, Args)]
pub(super) struct BaseArgs {
    /// Leave out what this bundle holds: an archive, a directory of its discs, or a receipt of the site. Several: once
    /// for each
    #[arg(long, value_name = "BUNDLE|RECEIPT")]
    base: Vec<PathBuf>,
    /// Leave out what the site holds that signed this receipt; a receipt in several pieces: once for each. Bundles
    /// that were built here are known by themselves, others are named with --base
    #[arg(long = "for", value_name = "RECEIPT")]
    receipt: Vec<PathBuf>,
    /// The public key of the site, for its receipt
    #[arg(long, value_name = "PUB", conflicts_with = "sites")]
    site_key: Vec<PathBuf>,
    /// A directory of known sites, for a receipt: SITE.pub.pem is the key of SITE, and of no other site
    #[arg(long, value_name = "DIR")]
    sites: Option<PathBuf>,
}

impl BaseArgs {
    /// What the site holds; `None` for a whole bundle.
    pub(super) fn held(&self, screen: &mut Screen<'_>, cache: &Cache) -> Result<Option<Held>, Failure> {
        let (mut bundles, mut pieces) = (Vec::new(), Vec::new());
        for path in self.base.iter().map(|path| screen.env.path(path)) {
            if is_receipt(&path) { pieces.push(path) } else { bundles.push(path) }
        }
        if !pieces.is_empty() && !self.receipt.is_empty() {
            return Err(Failure::usage("there is a receipt both with --base and with --for"));
        }
        pieces.extend(self.receipt.iter().map(|path| screen.env.path(path)));
        if bundles.is_empty() && pieces.is_empty() {
            return self.no_receipt().map(|()| None);
        }
        let mut named = Vec::new();
        for path in bundles {
            let opened = Opened::read(&[path])?;
            let archive = Some(opened.archive_at_any_place());
            let Opened { bundle, manifest, inventory, .. } = opened;
            named.push(Known { archive, ..Known::of(bundle, &manifest, inventory) });
        }
        if pieces.is_empty() {
            self.no_receipt()?;
            return Ok(Some(Held::of_bundles(&named)));
        }
        let receipt = receipt::verify(&pieces, &self.known_sites(screen)?)?;
        let held = Held::of_receipt(&receipt, &named, &|bundle| Known::remembered(cache, bundle))?;
        held.notes.iter().for_each(|note| screen.note(note));
        Ok(Some(held))
    }

    fn no_receipt(&self) -> Result<(), Failure> {
        if self.site_key.is_empty() && self.sites.is_none() {
            return Ok(());
        }
        Err(Failure::usage("there is a site's key and no receipt").hint("name the receipt with --for"))
    }

    fn known_sites(&self, screen: &Screen<'_>) -> Result<KnownSites, Failure> {
        if let Some(dir) = &self.sites {
            return Ok(KnownSites::directory(&screen.env.path(dir))?);
        }
        if self.site_key.is_empty() {
            let hint = "name it with --site-key, or a directory of them with --sites";
            return Err(Failure::usage("a receipt counts only with the key of its site").hint(hint));
        }
        let keys: Vec<PathBuf> = self.site_key.iter().map(|path| screen.env.path(path)).collect();
        Ok(KnownSites::keys(&keys)?)
    }
}

/// By its content: an archive or a part of one is no text.
fn is_receipt(path: &std::path::Path) -> bool {
    let Ok(bytes) = medium::read_bounded(path, RECEIPT_BYTES_MAX) else { return false };
    std::str::from_utf8(&bytes).is_ok_and(|text| text.contains("airlock-receipt/v1"))
}
