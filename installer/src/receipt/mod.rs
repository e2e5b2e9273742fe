//! Receipts: what this site holds and runs, composed from the ledger, the signed originals and the store, and signed
//! with the site's key (`docs/receipt.md`).
//!
//! *Invariant:* only what was looked at is claimed. A version whose blobs are not all there says how many it lacks,
//! and none of its blobs is counted. What cannot be read makes no receipt.

mod page;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use edge::progress::Progress;
use edge::{Classified, Exit};
use manifests::bundle::Content;
use manifests::canonical::CanonicalError;
use manifests::checkpoint::Checkpoint;
use manifests::receipt::pieces::PieceError;
use manifests::receipt::{
    Blobs, Checked, HeldVersion, ListState, LogState, Product, ReceiptDocument, ReceiptError, ReceiptSchema,
    SignedReceipt, TrustState, VerifiedReceipt,
};
use manifests::{Digest, Inventory, Timestamp, Trust};

use crate::gc;
use crate::journal;
use crate::site::config::SiteConfig;
use crate::site::key::{SiteKey, SiteKeyError};
use crate::site::ledger::Ledger;
use crate::site::{Site, SiteError};

pub use page::page;
pub use text::text;

/// Why there is no receipt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComposeError {
    /// A blob is there and cannot be read.
    #[error("cannot read {}", path.display())]
    Blob {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It cannot be cut into lines or codes.
    #[error("it cannot be printed")]
    Pieces(#[from] PieceError),
    /// A code cannot be drawn, or the page not be filled in.
    #[error("the page cannot be made: {0}")]
    Page(String),
    /// What was signed does not verify; a defect of ours.
    #[error("the receipt that was made is none")]
    Made(#[from] ReceiptError),
    /// The same.
    #[error(transparent)]
    Document(#[from] CanonicalError),
    /// The key.
    #[error(transparent)]
    Key(#[from] SiteKeyError),
    /// The site.
    #[error(transparent)]
    Site(#[from] SiteError),
}

impl Classified for ComposeError {
    fn exit(&self) -> Exit {
        match self {
            Self::Blob { .. } => Exit::Unreachable,
            Self::Pieces(_) => Exit::Usage,
            Self::Page(_) | Self::Made(_) | Self::Document(_) => Exit::Unexpected,
            Self::Key(error) => error.exit(),
            Self::Site(error) => error.exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Blob { .. } => Some("check the disk, and the rights of the site's store".to_string()),
            Self::Pieces(_) => Some("leave the list of blobs out: --blobs digest".to_string()),
            Self::Key(error) => error.hint(),
            Self::Site(error) => error.hint(),
            Self::Page(_) | Self::Made(_) | Self::Document(_) => None,
        }
    }
}

/// How closely the store is looked at, and how much of it is said.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Whether every byte is read.
    pub checked: Checked,
    /// Whether each blob is named.
    pub listed: bool,
}

/// What holds while a receipt is made.
pub struct Moment<'a> {
    /// Whom the site trusts.
    pub trust: &'a Trust,
    /// The audit log, as it was just signed.
    pub sealed: &'a Checkpoint,
    /// The site's clock.
    pub time: Timestamp,
}

/// The versions that the site keeps, and what each of them consists of.
#[derive(Debug)]
pub struct Kept {
    config: SiteConfig,
    products: Vec<KeptProduct>,
}

type KeptProduct = (Ledger, Vec<(HeldVersion, Inventory)>);

impl Kept {
    /// What runs, and what is kept for a rollback as `installer gc` keeps it.
    ///
    /// # Errors
    /// It is not known what a version consists of.
    pub fn of(site: &Site) -> Result<Self, SiteError> {
        let config = site.config()?;
        let keep = config.keep.unwrap_or(gc::KEEP);
        let mut products = Vec::new();
        for ledger in site.ledgers()? {
            let mut versions = Vec::new();
            for (number, applied) in gc::kept(&ledger, keep).into_iter().enumerate() {
                let (_, inventory) = site.evidence(applied.bundle)?;
                let (bundle, version) = (applied.bundle, applied.version.clone());
                let held = HeldVersion { bundle, version, order: applied.order, runs: number == 0, lacks: 0 };
                versions.push((held, inventory));
            }
            products.push((ledger, versions));
        }
        Ok(Self { config, products })
    }

    fn inventories(&self) -> impl Iterator<Item = &Inventory> {
        self.products.iter().flat_map(|(_, versions)| versions).map(|(_, inventory)| inventory)
    }

    /// How many bytes their blobs have, each counted once.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let blobs: BTreeMap<Digest, u64> =
            self.inventories().flat_map(|found| &found.blobs).map(|blob| (blob.digest, blob.size)).collect();
        blobs.values().fold(0, |sum, size| sum.saturating_add(*size))
    }
}

/// Looks for each blob once.
fn look(
    products: Vec<KeptProduct>,
    site: &Site,
    extent: Extent,
    bar: &mut dyn Progress,
) -> Result<(Vec<Product>, Blobs), ComposeError> {
    let mut seen = Seen { site, checked: extent.checked, found: BTreeMap::new() };
    let (mut found, mut whole) = (Vec::new(), BTreeSet::new());
    for (ledger, versions) in products {
        let mut held = Vec::new();
        for (mut version, inventory) in versions {
            for blob in &inventory.blobs {
                if !seen.is_there(blob, bar)? {
                    version.lacks = version.lacks.saturating_add(1);
                }
            }
            if version.lacks == 0 {
                whole.extend(inventory.blobs.iter().map(|blob| blob.digest));
            }
            held.push(version);
        }
        let Ledger { publisher, product, highest, .. } = ledger;
        found.push(Product { publisher, product, highest: highest.order, versions: held });
    }
    Ok((found, Blobs::of(&whole, extent.listed)))
}

/// The blobs that were looked for.
struct Seen<'a> {
    site: &'a Site,
    checked: Checked,
    found: BTreeMap<Digest, bool>,
}

impl Seen<'_> {
    fn is_there(&mut self, blob: &Content, bar: &mut dyn Progress) -> Result<bool, ComposeError> {
        if let Some(found) = self.found.get(&blob.digest) {
            return Ok(*found);
        }
        let store = self.site.store();
        let found = match self.checked {
            Checked::Sizes => store.has(blob),
            Checked::Digests => store
                .is_whole(blob)
                .map_err(|source| ComposeError::Blob { path: store.blob_path(&blob.digest), source })?,
        };
        bar.advance(blob.size);
        self.found.insert(blob.digest, found);
        Ok(found)
    }
}

/// Looks at what is kept and says so, signed. For whoever holds the site's lock.
///
/// # Errors
/// See [`ComposeError`].
pub fn compose(
    site: &Site,
    kept: Kept,
    moment: &Moment<'_>,
    extent: Extent,
    bar: &mut dyn Progress,
) -> Result<(SignedReceipt, VerifiedReceipt), ComposeError> {
    let key: SiteKey = site.key()?.ok_or(SiteKeyError::None)?;
    let Kept { config, products } = kept;
    let (products, blobs) = look(products, site, extent, bar)?;
    let log = moment.sealed.document();
    let document = ReceiptDocument {
        schema: ReceiptSchema::V1,
        site: config.site,
        groups: config.groups,
        keyid: key.id(),
        time: moment.time,
        trust: trust_state(moment.trust),
        log: LogState { entries: log.entries, first: log.first, head: log.head },
        checked: extent.checked,
        products,
        blobs,
        interrupted: journal::unfinished(site)?.map(|found| found.plan.bundle),
    };
    let bytes = document.to_bytes()?;
    let signature = key.sign(&bytes)?;
    let signed = SignedReceipt::new(bytes, key.id(), signature)?;
    let verified = VerifiedReceipt::verify(&signed, std::slice::from_ref(key.public()))?;
    Ok((signed, verified))
}

fn trust_state(trust: &Trust) -> TrustState {
    let root = trust.root();
    let revocations = trust.revocations().map(|list| {
        let document = list.document();
        ListState { epoch: document.epoch, version: document.version, digest: list.digest() }
    });
    TrustState { version: root.document().version, root: root.fingerprint(), revocations }
}
