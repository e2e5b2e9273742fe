//! The site store as the server sees it: the published bundles and their blobs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use manifests::bundle::BundleDigest;
use manifests::root::RootDocument;
use manifests::verify::{Refusal, SignedManifest};
use manifests::{Digest, Trust};

use crate::serve::{Judgement, PublishedBundle, Shelf, SignedBy};
use crate::site::ledger::{Applied, Signer};
use crate::site::{Site, SiteError};

/// A site's shelf. Originals are read and judged once for each bundle, and again when the site's trust has changed.
pub struct SiteShelf {
    site: Site,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The root and the revocations that judged them.
    trust: Option<(u64, String)>,
    bundles: BTreeMap<BundleDigest, Arc<PublishedBundle>>,
}

impl SiteShelf {
    /// The shelf of a site.
    #[must_use]
    pub fn of(site: Site) -> Self {
        Self { site, known: Mutex::default() }
    }

    fn read(&self) -> Result<Vec<Arc<PublishedBundle>>, SiteError> {
        let published = self.site.published()?;
        let applied: Vec<Applied> =
            self.site.ledgers()?.into_iter().flat_map(|ledger| ledger.applied).collect();
        let trust = self.site.trust()?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let judges = Some((trust.root().document().version, revocations(&trust)));
        if known.trust != judges {
            *known = Known { trust: judges, bundles: BTreeMap::new() };
        }
        let mut shelf = Vec::new();
        for digest in published {
            // While an apply runs, a bundle is published a moment before it is in the ledger.
            let Some(entry) = applied.iter().rev().find(|entry| entry.bundle == digest) else { continue };
            let bundle = match known.bundles.get(&digest) {
                Some(bundle) if bundle.applied == entry.time => Arc::clone(bundle),
                _ => Arc::new(self.load(digest, entry, &trust)?),
            };
            known.bundles.insert(digest, Arc::clone(&bundle));
            shelf.push(bundle);
        }
        Ok(shelf)
    }

    fn load(
        &self,
        digest: BundleDigest,
        entry: &Applied,
        trust: &Trust,
    ) -> Result<PublishedBundle, SiteError> {
        let kept = self.site.originals(digest)?;
        let (manifest, inventory) = self.site.evidence(digest)?;
        let judged =
            SignedManifest::authenticate_again(trust, entry.root_version, &kept.manifest, &kept.signatures);
        let judgement = judgement(judged, entry, trust);
        Ok(PublishedBundle { digest, manifest, inventory, applied: entry.time, judgement })
    }
}

/// Who signed, by the root of the day when it was applied and the revocations of today; if that is not enough any
/// more, whose signatures counted then.
fn judgement(judged: Result<SignedManifest, Refusal>, entry: &Applied, trust: &Trust) -> Judgement {
    let root = trust.root_of_version(entry.root_version);
    let (signers, refused) = match judged {
        Ok(signed) => (Signer::of(signed.signatures()), None),
        Err(refusal) => (entry.signers.clone(), Some(refusal.to_string())),
    };
    let signed_by =
        |signer: Signer| SignedBy { holder: signer.holder.to_string(), keyid: signer.keyid.to_string() };
    Judgement {
        signers: signers.into_iter().map(signed_by).collect(),
        needed: root.map(|root| needed(root.document())).unwrap_or_default(),
        root: root.map_or_else(|| format!("root version {}", entry.root_version), |root| root.title()),
        fingerprint: root.map(|root| root.fingerprint()),
        revocations: revocations(trust),
        refused,
    }
}

fn needed(root: &RootDocument) -> Vec<String> {
    let clauses = root.roles.release.clauses.iter();
    clauses.map(|clause| format!("{} of {}", clause.threshold, root.holders(clause))).collect()
}

fn revocations(trust: &Trust) -> String {
    let Some(list) = trust.revocations().map(|list| list.document()) else {
        return "no list was ever taken here".to_string();
    };
    format!("list {} of epoch {}, made {}", list.version, list.epoch, list.created)
}

impl Shelf for SiteShelf {
    fn bundles(&self) -> io::Result<Vec<Arc<PublishedBundle>>> {
        self.read().map_err(io::Error::other)
    }

    fn open_blob(&self, digest: &Digest) -> io::Result<Option<File>> {
        self.site.store().open(digest)
    }
}
