//! What the audit log bears witness to, compared with the state of the site.
//!
//! The ledger says how far the site has come, and the trust directory whom it trusts. Whoever puts an
//! older copy of either back makes the site accept an older bundle, or a key that was taken away. The log
//! remembers both, and it is chained: so state that is behind the log is refused, and so is a log that does
//! not know of the state, or that is behind what of it was signed.
//!
//! *What it cannot find:* a disk that was restored as a whole, log and checkpoints included. Against that
//! stands only a checkpoint that was carried elsewhere.

use std::collections::BTreeMap;
use std::path::PathBuf;

use edge::{Classified, Exit};
use manifests::audit::{Entry, Outcome};
use manifests::bundle::{BundleDigest, Sequence};
use manifests::checkpoint::KeyHistory;
use manifests::text::Name;
use manifests::{Digest, PublicKey, Timestamp, Trust};
use serde::Serialize;

use crate::audit::checkpoint::{self, LastLine, SealError};
use crate::site::key::SiteKeyError;
use crate::site::ledger::Ledger;
use crate::site::{Site, SiteError};

/// Why the site's state is not believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WitnessError {
    /// The state is behind the log.
    #[error("the site was set back: the audit log says {log}, and {} says {state}", path.display())]
    SetBack {
        /// The file whose state it is.
        path: PathBuf,
        /// What the log says.
        log: String,
        /// What the state says.
        state: String,
    },
    /// The log is behind the state.
    #[error("the audit log {} was cut or replaced: it does not know of {what}", path.display())]
    Forgotten {
        /// The log.
        path: PathBuf,
        /// What the site has and the log has not.
        what: String,
    },
    /// The log, and what of it was signed.
    #[error(transparent)]
    Log(#[from] SealError),
    /// The site's keys.
    #[error(transparent)]
    Key(#[from] SiteKeyError),
    /// The site.
    #[error(transparent)]
    Site(#[from] SiteError),
}

impl WitnessError {
    /// Whether it says that two things of the site do not agree. To somebody who looks while another process
    /// changes both it may only seem so.
    #[must_use]
    pub fn is_disagreement(&self) -> bool {
        match self {
            Self::SetBack { .. } | Self::Forgotten { .. } => true,
            Self::Log(error) => error.is_disagreement(),
            Self::Key(_) | Self::Site(_) => false,
        }
    }
}

impl Classified for WitnessError {
    fn exit(&self) -> Exit {
        match self {
            Self::SetBack { .. } | Self::Forgotten { .. } => Exit::Refused,
            Self::Log(error) => error.exit(),
            Self::Key(error) => error.exit(),
            Self::Site(error) => error.exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::SetBack { .. } | Self::Forgotten { .. } => Some(
                "stop, keep a copy of the site directory, and find out who changed it; nothing is judged by it until it agrees with its log"
                    .to_string(),
            ),
            Self::Log(error) => error.hint(),
            Self::Key(error) => error.hint(),
            Self::Site(error) => error.hint(),
        }
    }
}

/// What a log remembers.
#[derive(Debug, Default)]
pub struct Remembered {
    /// Every root that was taken or was about to be, by its version.
    roots: BTreeMap<u64, Digest>,
    /// The newest root that was taken for certain.
    root: Option<u64>,
    /// Every list of revocations that was taken or was about to be, by its epoch and version.
    lists: BTreeMap<(u64, u64), Digest>,
    /// Epoch and version of the newest revocations that were taken for certain.
    revocations: Option<(u64, u64)>,
    /// Every bundle that was applied or was being applied, with the version of the root that judged it.
    applied: BTreeMap<BundleDigest, Option<u64>>,
    /// By publisher and product: the highest order that was applied for certain, and its bundle.
    highest: BTreeMap<(String, String), (Sequence, BundleDigest)>,
    /// Every bundle that was admitted, with the version of the root that judged it.
    judged: BTreeMap<BundleDigest, u64>,
    /// By product: what has failed and nobody has looked at since.
    failed: BTreeMap<String, Failed>,
    /// The site's keys.
    pub keys: KeyHistory,
    /// The time of the last entry.
    pub last: Option<Timestamp>,
}

/// A run in which something failed, as the log has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failed {
    /// The product.
    pub product: String,
    /// The version that was being applied, gone back to or removed.
    pub version: String,
    /// Its bundle.
    pub bundle: String,
    /// When it failed.
    pub time: Timestamp,
    /// The step that failed.
    pub action: String,
    /// Why.
    pub cause: String,
    /// What could not be taken back since.
    pub stuck: Vec<Stuck>,
}

/// A step that could not be taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stuck {
    /// Its number, and how many there were.
    pub step: String,
    /// What it was.
    pub action: String,
    /// Why not.
    pub cause: String,
}

impl Remembered {
    /// Reads the log of a site, checks its chain, and holds the newest checkpoint against it.
    ///
    /// # Errors
    /// It is not readable, or broken, or not what was signed.
    pub fn of(site: &Site) -> Result<Self, SealError> {
        let mut remembered = Self::default();
        let newest = checkpoint::newest(site)?;
        let survey = checkpoint::survey(site, newest.as_slice(), LastLine::MayBeCutOff, &mut |line| {
            remembered.note(&line.entry);
        })?;
        remembered.keys = survey.keys;
        Ok(remembered)
    }

    fn note(&mut self, entry: &Entry) {
        let event = &entry.event;
        self.last = Some(event.time);
        self.note_failure(entry);
        let done = event.outcome == Outcome::Done;
        if !done && event.outcome != Outcome::Intent {
            return;
        }
        match event.event.as_str() {
            "trust.init" | "trust.update" => self.note_trust(entry, done),
            "admit" if done => self.note_judged(entry),
            // Also what was only begun: a power cut may come between the last step and the last line.
            "apply.step" => self.note_begun(entry),
            "apply" if done => {
                self.note_begun(entry);
                self.note_applied(entry);
            }
            _ => {}
        }
    }

    /// What failed is remembered from the line that says so until the line that says who has looked at it.
    fn note_failure(&mut self, entry: &Entry) {
        let event = &entry.event;
        let text = |key: &str| event.about.get(key).cloned().unwrap_or_default();
        let titled = text("product");
        let (product, version) = titled.split_once(' ').unwrap_or((&titled, ""));
        let undo_failed = event.about.contains_key("undo");
        match (event.event.as_str(), event.outcome) {
            ("acknowledge", Outcome::Done) => {
                self.failed.remove(product);
            }
            ("apply.step" | "remove.step", Outcome::Failed) => {
                let failed = Failed {
                    product: product.to_string(),
                    version: version.to_string(),
                    bundle: text("bundle"),
                    time: event.time,
                    action: text("action"),
                    cause: text("cause"),
                    stuck: Vec::new(),
                };
                if !undo_failed {
                    self.failed.insert(product.to_string(), failed);
                    return;
                }
                let failed = self.failed.entry(product.to_string()).or_insert(failed);
                failed.stuck.retain(|stuck| stuck.step != text("step"));
                failed.stuck.push(Stuck { step: text("step"), action: text("action"), cause: text("cause") });
            }
            ("apply.step" | "remove.step", Outcome::Undone) => {
                if let Some(failed) = self.failed.get_mut(product) {
                    failed.stuck.retain(|stuck| stuck.step != text("step"));
                }
            }
            _ => {}
        }
    }

    /// What has failed of a product and nobody has looked at since.
    #[must_use]
    pub fn failed(&self, product: &Name) -> Option<&Failed> {
        self.failed.get(product.as_str())
    }

    /// The same of all products.
    pub fn all_failed(&self) -> impl Iterator<Item = &Failed> {
        self.failed.values()
    }

    fn note_judged(&mut self, entry: &Entry) {
        if let (Some(bundle), Some(version)) = (bundle_of(entry), number(entry, "root_version")) {
            self.judged.insert(bundle, version);
        }
    }

    fn note_begun(&mut self, entry: &Entry) {
        if let Some(bundle) = bundle_of(entry) {
            let judged = self.judged.get(&bundle).copied();
            self.applied.insert(bundle, judged);
        }
    }

    /// Whether the log knows that this was applied here, judged by this root.
    #[must_use]
    pub fn has_applied(&self, bundle: BundleDigest, root_version: u64) -> bool {
        self.applied.get(&bundle) == Some(&Some(root_version))
    }

    fn note_trust(&mut self, entry: &Entry, done: bool) {
        let Some(version) = number(entry, "version") else { return };
        if let Some(root) = entry.event.about.get("root").and_then(|text| text.parse().ok()) {
            self.roots.insert(version, root);
            if done {
                self.root = self.root.max(Some(version));
            }
        } else if let Some(epoch) = number(entry, "epoch") {
            if let Some(list) = entry.event.about.get("revocations").and_then(|text| text.parse().ok()) {
                self.lists.insert((epoch, version), list);
            }
            if done {
                self.revocations = self.revocations.max(Some((epoch, version)));
            }
        }
    }

    fn note_applied(&mut self, entry: &Entry) {
        let about = &entry.event.about;
        let (Some(publisher), Some(product), Some(bundle), Some(epoch), Some(sequence)) = (
            about.get("publisher"),
            about.get("product").and_then(|text| text.split(' ').next()),
            bundle_of(entry),
            number(entry, "epoch"),
            number(entry, "sequence"),
        ) else {
            return;
        };
        let (key, order) = ((publisher.clone(), product.to_string()), Sequence { epoch, sequence });
        let known = self.highest.entry(key).or_insert((order, bundle));
        if order > known.0 {
            *known = (order, bundle);
        }
    }

    fn agrees_on_roots(&self, site: &Site, trust: &Trust) -> Result<(), WitnessError> {
        let current = trust.root().document().version;
        if let Some(newest) = self.root.filter(|newest| *newest > current) {
            return Err(WitnessError::SetBack {
                path: site.dir().join("trust"),
                log: format!("trust root version {newest} was taken"),
                state: format!("version {current} is the current one"),
            });
        }
        for root in trust.roots() {
            let version = root.document().version;
            if self.roots.get(&version) != Some(&root.fingerprint()) {
                let what = format!("trust root version {version}, {}", root.fingerprint());
                return Err(WitnessError::Forgotten { path: site.audit_path(), what });
            }
        }
        Ok(())
    }

    fn agrees_on_revocations(&self, site: &Site, trust: &Trust) -> Result<(), WitnessError> {
        let known = trust.revocations().map(|list| (list.document().epoch, list.document().version));
        if let (Some(list), Some(known)) = (trust.revocations(), known)
            && self.lists.get(&known) != Some(&list.digest())
        {
            let what = format!("revocations version {} of epoch {}, {}", known.1, known.0, list.digest());
            return Err(WitnessError::Forgotten { path: site.audit_path(), what });
        }
        match self.revocations.filter(|newest| known < Some(*newest)) {
            None => Ok(()),
            Some((epoch, version)) => Err(WitnessError::SetBack {
                path: site.dir().join("trust"),
                log: format!("revocations version {version} of epoch {epoch} were taken"),
                state: known.map_or("there are none".to_string(), |(epoch, version)| {
                    format!("version {version} of epoch {epoch} holds")
                }),
            }),
        }
    }

    fn agrees_on_keys(&self, site: &Site, keys: &[PublicKey]) -> Result<(), WitnessError> {
        for (number, made) in self.keys.made() {
            let place = usize::try_from(number.saturating_sub(1)).ok();
            let found = place.and_then(|place| keys.get(place)).map(PublicKey::id);
            if found != Some(made.keyid) {
                return Err(WitnessError::SetBack {
                    path: site.key_dir(),
                    log: format!("the site's key {number}, {}, was made", made.keyid),
                    state: found.map_or("there is none".to_string(), |keyid| format!("it is {keyid}")),
                });
            }
        }
        for (number, key) in (1..).zip(keys) {
            if !self.keys.knows(number, key.id()) {
                let what = format!("the site's key {number}, {}", key.id());
                return Err(WitnessError::Forgotten { path: site.audit_path(), what });
            }
        }
        Ok(())
    }

    fn agrees_on_orders(&self, site: &Site, ledgers: &[Ledger]) -> Result<(), WitnessError> {
        for ((publisher, product), (order, bundle)) in &self.highest {
            let ledger = ledgers
                .iter()
                .find(|ledger| ledger.publisher.as_str() == publisher && ledger.product.as_str() == product);
            let highest = ledger.map(|ledger| (ledger.highest.order, ledger.highest.bundle));
            let behind =
                highest.is_none_or(|(known, of)| known < *order || (known == *order && of != *bundle));
            if behind {
                return Err(WitnessError::SetBack {
                    path: site.dir().join(format!("ledger/{publisher}.{product}.json")),
                    log: format!("order {order} was applied as {bundle}"),
                    state: highest.map_or("nothing was".to_string(), |(order, bundle)| {
                        format!("the highest is {order}, {bundle}")
                    }),
                });
            }
        }
        Ok(())
    }
}

fn bundle_of(entry: &Entry) -> Option<BundleDigest> {
    entry.event.about.get("bundle")?.parse().ok()
}

fn number(entry: &Entry, key: &str) -> Option<u64> {
    entry.event.about.get(key)?.parse().ok()
}

/// Whether a site bears any mark of an earlier start of its trust: in its log, or in what of it was signed.
///
/// # Errors
/// The log is not readable, or broken.
pub fn has_trusted_before(site: &Site) -> Result<bool, WitnessError> {
    let remembered = Remembered::of(site)?;
    Ok(remembered.root.is_some() || !site.public_keys()?.is_empty())
}

/// A site's trust, and what its log remembers; the two agree.
#[derive(Debug)]
pub struct Judged {
    /// What bundles are judged by.
    pub trust: Trust,
    /// What the log remembers.
    pub remembered: Remembered,
    /// When each bundle that was applied here was made.
    pub applied: Vec<Timestamp>,
}

/// Refuses a site whose state and log do not agree.
///
/// # Errors
/// See [`WitnessError`].
pub fn judge(site: &Site) -> Result<Judged, WitnessError> {
    let (trust, keys) = (site.trust()?, site.public_keys()?);
    let remembered = Remembered::of(site)?;
    let ledgers = site.ledgers()?;
    remembered.agrees_on_roots(site, &trust)?;
    remembered.agrees_on_revocations(site, &trust)?;
    remembered.agrees_on_keys(site, &keys)?;
    remembered.agrees_on_orders(site, &ledgers)?;
    let applied = ledgers.iter().flat_map(|ledger| &ledger.applied).map(|applied| applied.created);
    Ok(Judged { applied: applied.collect(), trust, remembered })
}
