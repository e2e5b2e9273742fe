//! Everything that a report is made of, read once. What cannot be read, or is not what it was, is a fact as well.

use std::collections::BTreeSet;
use std::path::PathBuf;

use edge::Env;
use edge::progress::Progress;
use manifests::audit::Actor;
use manifests::bundle::BundleDigest;
use manifests::root::SignatureVerdict;
use manifests::text::Name;
use manifests::verify::SignedManifest;
use manifests::{BundleManifest, Inventory, PublicKey, Timestamp, Trust, VerifiedBundle};

use super::log::{LogFacts, Trouble};
use crate::admit::{self, AdmitError};
use crate::journal::{self, Found};
use crate::plan::Step;
use crate::site::config::SiteConfig;
use crate::site::ledger::{Applied, Ledger};
use crate::site::{Site, SiteError};
use crate::witness::{Failed, Judged};

/// What was read.
pub(crate) struct Facts {
    pub(crate) now: Timestamp,
    pub(crate) tool: String,
    pub(crate) actor: Actor,
    pub(crate) directory: PathBuf,
    pub(crate) config: SiteConfig,
    pub(crate) keys: Vec<PublicKey>,
    pub(crate) trust: Trust,
    /// That the site's state and its log do not agree.
    pub(crate) disagreement: Option<Trouble>,
    /// What has failed here and nobody has looked at since.
    pub(crate) failed: Vec<Failed>,
    /// A run that was cut off.
    pub(crate) interrupted: Option<BundleDigest>,
    pub(crate) ledgers: Vec<Ledger>,
    pub(crate) log: LogFacts,
    pub(crate) bundles: Vec<BundleFacts>,
    /// Whether it is about what the site has, or about a medium.
    pub(crate) of_medium: bool,
}

/// What was read of one bundle.
pub(crate) struct BundleFacts {
    pub(crate) bundle: BundleDigest,
    /// The signed document and the list, each with its digest.
    pub(crate) documents: Result<(BundleManifest, Inventory), Trouble>,
    pub(crate) root_version: u64,
    pub(crate) signatures: Result<Vec<SignatureVerdict>, Trouble>,
    /// Whether every byte was read and is what was signed.
    pub(crate) content: Result<(), Trouble>,
    pub(crate) medium: Option<PathBuf>,
    pub(crate) product: Name,
    pub(crate) publisher: Name,
    pub(crate) applied: Option<AppliedFacts>,
    /// Every journal of its product, the oldest first.
    pub(crate) journals: Vec<Found>,
}

/// What the site says of its application.
#[derive(Debug, Clone)]
pub(crate) struct AppliedFacts {
    pub(crate) applied: Applied,
    pub(crate) current: bool,
    pub(crate) in_log: bool,
    /// When the same bundle was applied the next time.
    pub(crate) until: Option<Timestamp>,
}

/// One application that a report is about.
pub(crate) struct Chosen {
    pub(crate) ledger: Ledger,
    pub(crate) applied: Applied,
}

/// A bundle on a medium, verified.
pub(crate) struct OnMedium {
    pub(crate) bundle: VerifiedBundle,
    pub(crate) path: PathBuf,
}

/// The site's state, judged or not.
pub(crate) struct State {
    trust: Trust,
    judged: Result<Judged, Trouble>,
}

impl State {
    /// Of a site whose state and log were compared.
    ///
    /// # Errors
    /// There is no trust to judge anything by.
    pub(crate) fn of(site: &Site, judged: Result<Judged, Trouble>) -> Result<Self, SiteError> {
        let trust = match &judged {
            Ok(judged) => judged.trust.clone(),
            Err(_) => site.trust()?,
        };
        Ok(Self { trust, judged })
    }

    fn has_applied(&self, applied: &Applied) -> bool {
        let knows = |judged: &Judged| judged.remembered.has_applied(applied.bundle, applied.root_version);
        self.judged.as_ref().is_ok_and(knows)
    }
}

impl Facts {
    /// Reads what the site has kept of these applications.
    ///
    /// # Errors
    /// A file of the site that nothing can be said without.
    pub(crate) fn of_site(
        site: &Site,
        env: &Env,
        state: State,
        chosen: Vec<Chosen>,
        progress: &mut dyn Progress,
    ) -> Result<Self, SiteError> {
        let config = site.config()?;
        let bundles: BTreeSet<BundleDigest> = chosen.iter().map(|chosen| chosen.applied.bundle).collect();
        let mut found = Vec::new();
        for chosen in chosen {
            found.push(kept(site, &config, &state, chosen, progress)?);
        }
        Self::with(site, env, state, config, &bundles, found, false)
    }

    /// The same for a bundle on a medium.
    ///
    /// # Errors
    /// As [`Facts::of_site`].
    pub(crate) fn of_medium(
        site: &Site,
        env: &Env,
        state: State,
        medium: OnMedium,
    ) -> Result<Self, SiteError> {
        let config = site.config()?;
        let (bundle, manifest) = (medium.bundle.digest(), medium.bundle.manifest().clone());
        let ledger = site.ledger(&manifest.publisher, &manifest.product)?;
        let last = |ledger: &Ledger| ledger.applied.iter().rfind(|applied| applied.bundle == bundle).cloned();
        let applied = ledger.as_ref().and_then(|ledger| applied_facts(ledger, &last(ledger)?, &state));
        let facts = BundleFacts {
            bundle,
            root_version: medium.bundle.root_version(),
            signatures: Ok(medium.bundle.signatures().to_vec()),
            content: Ok(()),
            medium: Some(medium.path),
            applied,
            journals: journals(site, &manifest.publisher, &manifest.product)?,
            product: manifest.product.clone(),
            publisher: manifest.publisher.clone(),
            documents: Ok((manifest, medium.bundle.inventory().clone())),
        };
        Self::with(site, env, state, config, &BTreeSet::from([bundle]), vec![facts], true)
    }

    fn with(
        site: &Site,
        env: &Env,
        state: State,
        config: SiteConfig,
        bundles: &BTreeSet<BundleDigest>,
        found: Vec<BundleFacts>,
        of_medium: bool,
    ) -> Result<Self, SiteError> {
        let failed = match &state.judged {
            Ok(judged) => judged.remembered.all_failed().cloned().collect(),
            Err(_) => Vec::new(),
        };
        let interrupted = journal::unfinished(site)?.map(|found| found.plan.bundle);
        Ok(Self {
            now: env.clock.now(),
            tool: format!("installer {}", env!("CARGO_PKG_VERSION")),
            actor: crate::audit::AuditLog::actor(env),
            directory: site.dir().to_path_buf(),
            config,
            // Keys that cannot be read are what the comparison of state and log has found.
            keys: site.public_keys().unwrap_or_default(),
            failed,
            interrupted,
            // So is a ledger.
            ledgers: site.ledgers().unwrap_or_default(),
            log: LogFacts::read(site, bundles),
            bundles: found,
            of_medium,
            disagreement: state.judged.err(),
            trust: state.trust,
        })
    }

    /// The time before which it cannot be: of trust, of every bundle that was applied, and of those reported on.
    pub(crate) fn floor(&self) -> Timestamp {
        let applied = self.ledgers.iter().flat_map(|ledger| &ledger.applied).map(|applied| applied.created);
        let here = self.bundles.iter().filter_map(|facts| facts.documents.as_ref().ok());
        let here = here.map(|(manifest, _)| manifest.created);
        applied.chain(here).fold(self.trust.not_before(), Timestamp::max)
    }
}

/// What the site has kept of one application: its signatures are checked again, and every byte is read.
fn kept(
    site: &Site,
    config: &SiteConfig,
    state: &State,
    chosen: Chosen,
    progress: &mut dyn Progress,
) -> Result<BundleFacts, SiteError> {
    let Chosen { ledger, applied } = chosen;
    let signatures = site.originals(applied.bundle).map_err(AdmitError::from).and_then(|kept| {
        SignedManifest::authenticate_again(
            &state.trust,
            applied.root_version,
            &kept.manifest,
            &kept.signatures,
        )
        .map_err(|source| AdmitError::Refused { path: site.evidence_dir(applied.bundle), source })
    });
    let content = match applied.removed {
        Some(_) => {
            Err(Trouble { exit: edge::Exit::Done, text: "it was removed, and not read again".to_string() })
        }
        None => admit::readmit(site, &state.trust, config, &applied, progress)
            .map(|_| ())
            .map_err(|error| Trouble::of(&error)),
    };
    Ok(BundleFacts {
        bundle: applied.bundle,
        documents: site.evidence(applied.bundle).map_err(|error| Trouble::of(&error)),
        root_version: applied.root_version,
        signatures: signatures
            .map(|signed| signed.signatures().to_vec())
            .map_err(|error| Trouble::of(&error)),
        content,
        medium: None,
        product: ledger.product.clone(),
        publisher: ledger.publisher.clone(),
        journals: journals(site, &ledger.publisher, &ledger.product)?,
        applied: applied_facts(&ledger, &applied, state),
    })
}

fn applied_facts(ledger: &Ledger, applied: &Applied, state: &State) -> Option<AppliedFacts> {
    let at = ledger.applied.iter().rposition(|other| other == applied)?;
    let later = ledger.applied.iter().skip(at.saturating_add(1));
    let until = later.into_iter().find(|other| other.bundle == applied.bundle).map(|other| other.time);
    Some(AppliedFacts {
        applied: applied.clone(),
        current: ledger.current() == Some(applied),
        in_log: state.has_applied(applied),
        until,
    })
}

fn journals(site: &Site, publisher: &Name, product: &Name) -> Result<Vec<Found>, SiteError> {
    let mut found = Vec::new();
    for path in journal::paths(site)? {
        let read = journal::read(&path)?;
        let is_ours = |found: &Found| found.plan.publisher == *publisher && found.plan.product == *product;
        found.extend(read.filter(is_ours));
    }
    Ok(found)
}

impl BundleFacts {
    /// The journal of the application that the report is about: the one whose last step has written this very
    /// line of the ledger.
    pub(crate) fn journal(&self) -> Option<&Found> {
        let applied = &self.applied.as_ref()?.applied;
        self.journals.iter().rfind(|found| {
            found.plan.steps.iter().any(|step| match step {
                Step::Record(record) => record.new.applied.last().is_some_and(|recorded| {
                    (recorded.bundle, recorded.time) == (applied.bundle, applied.time)
                }),
                _ => false,
            })
        })
    }

    /// What people call it.
    pub(crate) fn title(&self) -> String {
        let version = match (&self.documents, &self.applied) {
            (Ok((manifest, _)), _) => manifest.version.to_string(),
            (Err(_), Some(applied)) => applied.applied.version.to_string(),
            (Err(_), None) => self.bundle.0.short(),
        };
        format!("{} {version}", self.product)
    }
}
