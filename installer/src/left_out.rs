//! What a delta builds on, which is what it leaves out and what its patches are made for: whether the site store has it,
//! and whether every byte of it is still as it was signed.
//!
//! Both is asked once the signed lists are known and before anything is written. So a site that lacks a base is
//! what it was, and knows exactly what it lacks. What has rotted on this disk is found here as well, not by the
//! step that would have used it.

use std::collections::BTreeSet;
use std::fmt;

use edge::progress::Progress;
use edge::show::bytes;
use manifests::bundle::{BundleDigest, BundleManifest, Content};
use manifests::verify::{CheckedContents, Contents};
use manifests::{Digest, Inventory};

use crate::admit::AdmitError;
use crate::reread;
use crate::site::Site;

/// So many blobs are listed; the others are only counted.
const LISTED_MAX: usize = 50;

/// A blob that a delta builds on and the site cannot supply.
#[derive(Debug)]
pub struct Lacking {
    /// What it is to whom: `image HOST/PATH:TAG, layer 2`.
    pub what: String,
    /// The blob.
    pub content: Content,
    /// Whether it is there with other bytes than were signed.
    pub rotten: bool,
    /// The bases that hold it, and whether each was here before.
    pub bases: Vec<String>,
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, content, rotten, bases } = self;
        let word = if *rotten { "rotten" } else { "missing" };
        write!(f, "{word}: {what} ({}, {}), which is in ", bytes(content.size), content.digest)?;
        f.write_str(&bases.join(" or in "))
    }
}

/// Every such blob, a line for each.
pub(crate) fn lines(lacking: &[Lacking]) -> String {
    let mut text: String = lacking.iter().take(LISTED_MAX).map(|lacking| format!("\n{lacking}")).collect();
    if let Some(more) = lacking.len().checked_sub(LISTED_MAX).filter(|more| *more > 0) {
        text.push_str(&format!("\nand {more} more"));
    }
    text
}

/// What a delta builds on, read in the store and found to be what was signed.
#[derive(Debug, Default)]
pub(crate) struct Read(Vec<Content>);

impl Read {
    /// Completes contents with it, and with the blobs that were made of patches.
    ///
    /// # Errors
    /// It was read for other contents: a defect of ours.
    pub(crate) fn complete(
        self,
        mut checked: CheckedContents,
        made: Vec<Content>,
    ) -> Result<CheckedContents, AdmitError> {
        for content in self.0.into_iter().chain(made) {
            checked.settle_elsewhere(content.digest, content).map_err(AdmitError::Mixed)?;
        }
        Ok(checked)
    }
}

/// Looks whether the store has every blob that the delta builds on, with its size. Reads none.
///
/// # Errors
/// [`AdmitError::LeftOut`] names each that it lacks.
pub(crate) fn look(site: &Site, manifest: &BundleManifest, contents: &Contents) -> Result<(), AdmitError> {
    let store = site.store();
    let missing = contents.inventory().held().into_iter().filter(|content| !store.has(content));
    refuse(site, manifest, contents, missing.map(|content| (content, false)).collect())
}

/// Reads every blob that the delta builds on, once.
///
/// # Errors
/// [`AdmitError::LeftOut`] names each that is not what was signed, or no longer there.
pub(crate) fn read(
    site: &Site,
    manifest: &BundleManifest,
    contents: &Contents,
    progress: &mut dyn Progress,
) -> Result<Read, AdmitError> {
    let store = site.store();
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    let held = contents.inventory().held();
    progress.longer(held.iter().map(|content| content.size).fold(0, u64::saturating_add));
    for (content, found) in held.iter().zip(reread::blobs(&store, &held, progress)) {
        match found.map_err(AdmitError::Store)? {
            Some(found) if found.content == *content => good.push(*content),
            found => bad.push((*content, found.is_some())),
        }
    }
    refuse(site, manifest, contents, bad)?;
    Ok(Read(good))
}

fn refuse(
    site: &Site,
    manifest: &BundleManifest,
    contents: &Contents,
    blobs: Vec<(Content, bool)>,
) -> Result<(), AdmitError> {
    if blobs.is_empty() {
        return Ok(());
    }
    let ledgers = site.ledgers()?;
    let applied = ledgers.iter().flat_map(|ledger| &ledger.applied).map(|applied| applied.bundle);
    let applied: BTreeSet<BundleDigest> = applied.collect();
    let lacking = blobs.into_iter().map(|(content, rotten)| Lacking {
        what: contents.role(&content.digest).unwrap_or_else(|| "a blob".to_string()),
        content,
        rotten,
        bases: bases(contents.inventory(), &content.digest, |base| !rotten && applied.contains(&base)),
    });
    let title = format!("{} {}", manifest.product, manifest.version);
    Err(AdmitError::LeftOut { title, lacking: lacking.collect() })
}

fn bases(inventory: &Inventory, blob: &Digest, is_gone: impl Fn(BundleDigest) -> bool) -> Vec<String> {
    let known = |base| if is_gone(base) { "; it was here, and what only it needed is gone" } else { "" };
    let bases = inventory.bases_of(blob).into_iter();
    bases.map(|base| format!("{base}{}", known(base.bundle))).collect()
}
