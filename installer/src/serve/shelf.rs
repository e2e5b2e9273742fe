//! What the server needs of the site store: the published bundles and their blobs, to read.
//!
//! The server cannot write through this, and cannot ask for a file by name: a digest is the only key.

use std::fs::File;
use std::io;
use std::sync::Arc;

use manifests::bundle::BundleDigest;
use manifests::{BundleManifest, Digest, Inventory, Timestamp};

/// The verified side of a site store.
///
/// Both functions may block; the server calls them on threads made for that.
pub trait Shelf: Send + Sync + 'static {
    /// The published bundles, the current one of each product first. Where two of them claim one name,
    /// the earlier has it.
    ///
    /// Called about once a second while requests come in, so it should be cheap when nothing changed.
    ///
    /// # Errors
    /// The store cannot be read. The server then keeps what it knew.
    fn bundles(&self) -> io::Result<Vec<Arc<PublishedBundle>>>;

    /// A blob that was verified when it was admitted; `None` if the store does not have it. The file is
    /// positioned at its first byte.
    ///
    /// # Errors
    /// The store cannot be read.
    fn open_blob(&self, digest: &Digest) -> io::Result<Option<File>>;
}

/// A bundle that was applied and may be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedBundle {
    /// Its identity.
    pub digest: BundleDigest,
    /// The signed document.
    pub manifest: BundleManifest,
    /// What is inside.
    pub inventory: Inventory,
    /// When this site applied it.
    pub applied: Timestamp,
    /// What came of judging its signatures.
    pub judgement: Judgement,
}

/// What came of judging a bundle's signatures, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Whose signatures count.
    pub signers: Vec<SignedBy>,
    /// Who has to sign, each of these: `2 of alice, bob, carol`.
    pub needed: Vec<String>,
    /// The trust root that judged it.
    pub root: String,
    /// That root's digest, as it stands on paper; none if the site does not have it any more.
    pub fingerprint: Option<Digest>,
    /// What of revocations was known.
    pub revocations: String,
    /// Why it would not be taken today.
    pub refused: Option<String>,
}

/// A signature that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBy {
    /// The person.
    pub holder: String,
    /// The key.
    pub keyid: String,
}

impl PublishedBundle {
    /// Whether two published bundles would be served alike. A digest stands for manifest and inventory.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest && self.applied == other.applied && self.judgement == other.judgement
    }
}
