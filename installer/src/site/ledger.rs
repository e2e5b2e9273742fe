//! The ledger: for each product what was applied here, and the highest order that ever was.
//!
//! The highest order goes up with the last step of an apply. Only taking back that very apply, cut off
//! before it was over, puts the old one back: it had not been applied then.

use std::path::PathBuf;

use manifests::bundle::{BundleDigest, Sequence};
use manifests::root::SignatureVerdict;
use manifests::text::{BundleVersion, Marking, Name};
use manifests::{KeyId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Site, SiteError, read_document, write_document};

/// Bounds one product's ledger: some ten thousand entries.
const LEDGER_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The version of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LedgerSchema {
    /// This one.
    #[serde(rename = "airlock-ledger/v1")]
    V1,
}

/// What a site knows of one product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// What this is.
    pub schema: LedgerSchema,
    /// Who publishes it.
    pub publisher: Name,
    /// The product.
    pub product: Name,
    /// The highest order that was ever applied, and the bundle that had it.
    pub highest: Mark,
    /// What was applied, the newest last. The last one is what the site runs, unless it was removed.
    pub applied: Vec<Applied>,
}

/// An order and the bundle that had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The order.
    pub order: Sequence,
    /// The bundle.
    pub bundle: BundleDigest,
}

/// One application of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Applied {
    /// The bundle.
    pub bundle: BundleDigest,
    /// Its label.
    pub version: BundleVersion,
    /// Its order.
    pub order: Sequence,
    /// Its marking.
    pub marking: Marking,
    /// When its publisher made it: the site cannot be earlier than that.
    pub created: Timestamp,
    /// When it was applied, by the site's clock.
    pub time: Timestamp,
    /// The version of the trust root that judged it.
    pub root_version: u64,
    /// Whose signatures counted.
    pub signers: Vec<Signer>,
    /// When it was taken off the site, by the site's clock, if nothing was applied in between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<Timestamp>,
}

/// Whose signature counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signer {
    /// The key.
    pub keyid: KeyId,
    /// Its holder.
    pub holder: Name,
}

impl Signer {
    /// Those whose signatures counted.
    #[must_use]
    pub fn of(verdicts: &[SignatureVerdict]) -> Vec<Self> {
        let good = verdicts.iter().filter(|verdict| verdict.verdict == manifests::root::Verdict::Good);
        good.filter_map(|verdict| Some(Self { keyid: verdict.keyid, holder: verdict.holder.clone()? }))
            .collect()
    }
}

impl Ledger {
    /// The ledger with one more application.
    #[must_use]
    pub fn with(before: Option<&Self>, publisher: &Name, product: &Name, applied: Applied) -> Self {
        let mark = Mark { order: applied.order, bundle: applied.bundle };
        let highest =
            before.map(|before| before.highest).filter(|before| before.order > mark.order).unwrap_or(mark);
        let mut all = before.map(|before| before.applied.clone()).unwrap_or_default();
        all.push(applied);
        Self {
            schema: LedgerSchema::V1,
            publisher: publisher.clone(),
            product: product.clone(),
            highest,
            applied: all,
        }
    }

    /// The ledger with what the site runs taken off it. The highest order stays: what is older is refused as
    /// before.
    #[must_use]
    pub fn without(before: &Self, time: Timestamp) -> Self {
        let mut new = before.clone();
        if let Some(last) = new.applied.last_mut() {
            last.removed = Some(time);
        }
        new
    }

    /// What the site runs.
    #[must_use]
    pub fn current(&self) -> Option<&Applied> {
        self.applied.last().filter(|applied| applied.removed.is_none())
    }
}

impl Site {
    fn ledger_path(&self, publisher: &Name, product: &Name) -> PathBuf {
        self.dir().join("ledger").join(format!("{publisher}.{product}.json"))
    }

    /// What the site knows of a product; `None` if nothing of it was ever applied.
    ///
    /// # Errors
    /// It is not readable, or not what we wrote.
    pub fn ledger(&self, publisher: &Name, product: &Name) -> Result<Option<Ledger>, SiteError> {
        let path = self.ledger_path(publisher, product);
        let ledger: Option<Ledger> = read_document(&path, LEDGER_BYTES_MAX)?;
        match &ledger {
            Some(found) if found.publisher != *publisher || found.product != *product => {
                Err(SiteError::Tampered { path, reason: "it is another product's".to_string() })
            }
            _ => Ok(ledger),
        }
    }

    /// Writes a product's ledger, or removes it if it was undone to nothing.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_ledger(
        &self,
        publisher: &Name,
        product: &Name,
        ledger: Option<&Ledger>,
    ) -> Result<(), SiteError> {
        let path = self.ledger_path(publisher, product);
        match ledger {
            Some(ledger) => write_document(&path, ledger),
            None => match std::fs::remove_file(&path) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    Err(SiteError::Io { doing: "cannot remove", path, source })
                }
                _ => Ok(()),
            },
        }
    }

    /// Every product's ledger, by name.
    ///
    /// # Errors
    /// One is not readable, or not what we wrote.
    pub fn ledgers(&self) -> Result<Vec<Ledger>, SiteError> {
        let dir = self.dir().join("ledger");
        let failed = |source| SiteError::Io { doing: "cannot read", path: dir.clone(), source };
        let entries = match std::fs::read_dir(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut ledgers = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "json")
                && let Some(ledger) = read_document::<Ledger>(&path, LEDGER_BYTES_MAX)?
            {
                ledgers.push(ledger);
            }
        }
        ledgers
            .sort_by(|left, right| (&left.publisher, &left.product).cmp(&(&right.publisher, &right.product)));
        Ok(ledgers)
    }
}
