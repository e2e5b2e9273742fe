//! Which scripts have to run when a bundle is applied: its own, unless they have run already, and the undo of
//! those of newer versions.
//!
//! A script has no state that anybody could look at. What has run is what the ledger says: the versions that
//! were applied one above the other, without those that were gone back from. *Invariant:* the undo of an
//! earlier bundle is run only if the log knows that the bundle was applied here, and its signatures still
//! count.

use edge::{Classified, Exit};
use manifests::VerifiedBundle;
use manifests::inventory::{Component, Inventory};
use manifests::root::NotMet;
use manifests::script::{Script, Undo, When};
use manifests::text::{BundleVersion, Name};
use manifests::verify::Refusal;

use crate::admit::{self, AdmitError};
use crate::plan::{Direction, RunScript};
use crate::site::ledger::{Applied, Ledger};
use crate::site::{Site, SiteError};
use crate::witness::Judged;

/// Why it is not known which scripts have to run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DueError {
    /// The ledger.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// What was kept of an earlier bundle.
    #[error("the scripts of {version} cannot be taken back")]
    Kept {
        /// Its version.
        version: BundleVersion,
        /// Why not.
        source: AdmitError,
    },
    /// The ledger names a bundle that the log does not know.
    #[error("the ledger says that {0} was applied here, and the audit log does not")]
    Unknown(BundleVersion),
}

impl Classified for DueError {
    fn exit(&self) -> Exit {
        match self {
            Self::Site(error) => error.exit(),
            Self::Kept { source, .. } => source.exit(),
            Self::Unknown(_) => Exit::Refused,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Site(error) => error.hint(),
            Self::Kept { source, .. } => source.hint(),
            Self::Unknown(_) => Some("stop, and find out who changed the ledger".to_string()),
        }
    }
}

/// What has to run, in its order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Due {
    /// Before anything else is changed.
    pub before: Vec<RunScript>,
    /// After everything else was.
    pub after: Vec<RunScript>,
    /// What has run already.
    pub unchanged: Vec<String>,
    /// What cannot be taken back, in words.
    pub notes: Vec<String>,
    /// What the version that the site runs has brought, where that is another one and it is known.
    pub left: Option<Inventory>,
}

impl Due {
    /// All of it.
    pub fn all(&self) -> impl Iterator<Item = &RunScript> {
        self.before.iter().chain(&self.after)
    }
}

/// A version whose scripts have run and were not taken back.
struct InForce<'a> {
    applied: &'a Applied,
    /// What it came after.
    from: Option<BundleVersion>,
}

/// Finds out what a bundle makes due on a site.
///
/// # Errors
/// See [`DueError`].
pub fn due(bundle: &VerifiedBundle, judged: &Judged, site: &Site) -> Result<Due, DueError> {
    let manifest = bundle.manifest();
    let ledger = site.ledger(&manifest.publisher, &manifest.product)?;
    let mut below = in_force(ledger.as_ref());
    let mut due = Due { left: left(bundle, ledger.as_ref(), judged, site), ..Due::default() };
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    let mut is_present = true;
    while let Some(newer) = below.pop_if(|newer| newer.applied.order > manifest.order) {
        let (after, before) = undone(&newer, &manifest.product, judged, site, &mut due.notes)?;
        // The content changes between the two, as it did when they ran. Only for the present version: of
        // those before it the content went long ago.
        if is_present {
            first.extend(after)
        } else {
            rest.extend(after)
        }
        rest.extend(before);
        is_present = false;
    }
    let from = below.last().map(|version| version.applied.version.clone());
    let has_run = below.last().is_some_and(|present| present.applied.bundle == bundle.digest());
    let run = |script: &&Script| RunScript {
        bundle: bundle.digest(),
        product: manifest.product.clone(),
        version: manifest.version.clone(),
        from: from.clone(),
        direction: Direction::Do,
        script: (*script).clone(),
    };
    let (before, after) = of(bundle.inventory());
    if has_run {
        due.unchanged = before.iter().chain(&after).map(|script| format!("script {}", script.name)).collect();
        (due.before, due.after) = (first, rest);
    } else {
        due.before = first.into_iter().chain(rest).chain(before.iter().map(run)).collect();
        due.after = after.iter().map(run).collect();
    }
    Ok(due)
}

/// Finds out which scripts take a product off a site: those that undo all of its versions, the newest first.
///
/// # Errors
/// See [`DueError`].
pub fn due_for_removal(ledger: &Ledger, judged: &Judged, site: &Site) -> Result<Due, DueError> {
    let mut due = Due::default();
    let mut is_present = true;
    for version in in_force(Some(ledger)).iter().rev() {
        let (after, before) = undone(version, &ledger.product, judged, site, &mut due.notes)?;
        if is_present {
            due.before.extend(after);
        } else {
            due.after.extend(after);
        }
        due.after.extend(before);
        is_present = false;
    }
    Ok(due)
}

/// What the present version has brought. What was kept of it and cannot be believed is as if it were not there:
/// less is known of what may be taken away then, and nothing is taken away that is not known.
fn left(bundle: &VerifiedBundle, ledger: Option<&Ledger>, judged: &Judged, site: &Site) -> Option<Inventory> {
    let current = ledger?.current().filter(|current| current.bundle != bundle.digest())?;
    let known = judged.remembered.has_applied(current.bundle, current.root_version);
    known.then(|| admit::kept_inventory(site, &judged.trust, current).ok()).flatten()
}

/// The versions whose scripts are in force, the newest last: going back to one took those above it away.
fn in_force(ledger: Option<&Ledger>) -> Vec<InForce<'_>> {
    let mut versions: Vec<InForce<'_>> = Vec::new();
    for applied in ledger.iter().flat_map(|ledger| &ledger.applied) {
        while versions.pop_if(|newer| newer.applied.order > applied.order).is_some() {}
        if versions.last().is_none_or(|present| present.applied.bundle != applied.bundle) {
            let from = versions.last().map(|present| present.applied.version.clone());
            versions.push(InForce { applied, from });
        }
        if applied.removed.is_some() {
            versions.clear();
        }
    }
    versions
}

/// The scripts that run before the content and those that run after it, each in its order.
fn of(inventory: &Inventory) -> (Vec<&Script>, Vec<&Script>) {
    let mut scripts: Vec<&Script> = Vec::new();
    for component in &inventory.components {
        if let Component::Script(script) = component {
            scripts.push(script);
        }
    }
    scripts.sort_by_key(|script| script.position);
    scripts.into_iter().partition(|script| script.when == When::Before)
}

/// What takes a version's scripts back, the last first: those that ran after the content, and those that
/// ran before it.
fn undone(
    newer: &InForce<'_>,
    product: &Name,
    judged: &Judged,
    site: &Site,
    notes: &mut Vec<String>,
) -> Result<(Vec<RunScript>, Vec<RunScript>), DueError> {
    let applied = newer.applied;
    let version = &applied.version;
    if !judged.remembered.has_applied(applied.bundle, applied.root_version) {
        return Err(DueError::Unknown(version.clone()));
    }
    let lost = match admit::kept_inventory(site, &judged.trust, applied) {
        Ok(inventory) => return Ok(taken_back(newer, product, &inventory, notes)),
        Err(AdmitError::Refused { source, .. }) if is_revoked(&source) => "it was revoked".to_string(),
        // A disk that fails must not cost the way back.
        Err(error @ (AdmitError::Rotten(_) | AdmitError::Site(_))) => format!("{error}"),
        Err(source) => return Err(DueError::Kept { version: version.clone(), source }),
    };
    notes.push(format!("scripts of {version}, if it has any, are NOT TAKEN BACK: {lost}"));
    Ok((Vec::new(), Vec::new()))
}

fn taken_back(
    newer: &InForce<'_>,
    product: &Name,
    inventory: &Inventory,
    notes: &mut Vec<String>,
) -> (Vec<RunScript>, Vec<RunScript>) {
    let Applied { bundle, version, .. } = newer.applied;
    let mut undo = |script: &&Script| match &script.undo {
        Undo::Script(_) => Some(RunScript {
            bundle: *bundle,
            product: product.clone(),
            version: version.clone(),
            from: newer.from.clone(),
            direction: Direction::Undo,
            script: (*script).clone(),
        }),
        Undo::Irreversible(reason) => {
            notes.push(format!("script {} of {version} is NOT TAKEN BACK: {reason}", script.name));
            None
        }
    };
    let (before, after) = of(inventory);
    let after = after.iter().rev().filter_map(&mut undo).collect();
    (after, before.iter().rev().filter_map(&mut undo).collect())
}

fn is_revoked(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Revoked(_) | Refusal::BelowMinimum { .. } | Refusal::Signatures(NotMet::Revoked { .. })
    )
}
