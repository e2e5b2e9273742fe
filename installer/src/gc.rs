//! Removes what no rollback needs. Of each product the present version stays, and the `keep` versions below it;
//! everything that is only of other versions goes: blobs, environments, tags and images, old journals.
//!
//! *Invariants:* trust, ledger, log and the signed originals of every bundle stay. What cannot be read makes
//! nothing go: if it is not known what a version holds, there is no collection. May be killed at any moment and run
//! again, also while `serve` runs: what is shown goes from the list before its blobs go from the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use edge::{Classified, Exit};
use manifests::Digest;
use manifests::audit::Outcome;
use manifests::bundle::BundleDigest;
use manifests::inventory::Inventory;
use serde::Serialize;

use crate::apply::{PowerCut, Watch, chain};
use crate::audit::{AuditError, AuditLog, about};
use crate::holdings::Holdings;
use crate::journal::{self, Found};
use crate::origins::Origins;
use crate::plan::Withdraw;
use crate::site::ledger::{Applied, Ledger};
use crate::site::{Site, SiteError};
use crate::stock::{Foreign, Stock};
use crate::targets::{Context, TargetError, away, python};

/// How many versions below the present one are kept where `site.yaml` does not say.
pub const KEEP: u32 = 2;

/// Why nothing was collected, or not everything.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GcError {
    /// A run was cut off: its journal and what it holds are needed.
    #[error("an apply of {0} was cut off, and nothing is collected before it is dealt with")]
    Unfinished(BundleDigest),
    /// It is not known what a version holds.
    #[error("it is not known what is to be kept")]
    Unknown(#[source] SiteError),
    /// A target.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The site.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// Some of it is still there.
    #[error("not everything could be removed: {}", left.join("; "))]
    Left {
        /// What, and why.
        left: Vec<String>,
    },
    /// Only in tests.
    #[error(transparent)]
    PowerCut(#[from] PowerCut),
}

impl Classified for GcError {
    fn exit(&self) -> Exit {
        match self {
            Self::Unfinished(_) => Exit::NotReady,
            Self::Unknown(error) | Self::Site(error) => error.exit(),
            Self::Target(error) => error.exit(),
            Self::Audit(error) => error.exit(),
            Self::Left { .. } => Exit::Unreachable,
            Self::PowerCut(_) => Exit::Unexpected,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unfinished(_) => Some(
                "finish it with the same `installer apply`, or take it back: installer abandon".to_string(),
            ),
            Self::Left { .. } => Some("mend the cause and run it again".to_string()),
            Self::Unknown(error) | Self::Site(error) => error.hint(),
            Self::Target(error) => error.hint(),
            Self::Audit(error) => error.hint(),
            Self::PowerCut(_) => None,
        }
    }
}

/// What kind of thing goes, in the order in which they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A bundle that `serve` shows.
    Shown,
    /// A tag in the site's registry.
    Tag,
    /// An image in an engine.
    Image,
    /// A virtual environment.
    Environment,
    /// A blob of the site store.
    Blob,
    /// Previous content of files, or a whole journal.
    Journal,
    /// What a run that was killed has left.
    Quarantine,
}

impl Kind {
    /// For people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Shown => "bundles that `serve` shows",
            Self::Tag => "tags in the registry",
            Self::Image => "images in engines",
            Self::Environment => "virtual environments",
            Self::Blob => "blobs of the site store",
            Self::Journal => "old journals and what they kept",
            Self::Quarantine => "left by killed runs",
        }
    }
}

/// One thing that goes.
#[derive(Debug, Clone, Serialize)]
pub struct Item {
    /// What kind.
    pub kind: Kind,
    /// Which.
    pub what: String,
    /// How much is free without it, where that is ours to know.
    pub bytes: u64,
    #[serde(skip)]
    how: How,
}

#[derive(Debug, Clone)]
enum How {
    Hide(BundleDigest),
    Withdraw(Box<Withdraw>),
    Environment(PathBuf),
    File(PathBuf),
    Directory(PathBuf),
}

/// A version that stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptVersion {
    /// The product.
    pub product: String,
    /// The version.
    pub version: String,
    /// Its bundle.
    pub bundle: BundleDigest,
    /// Whether the site runs it.
    pub current: bool,
}

/// What goes and what stays.
#[derive(Debug, Serialize)]
pub struct Survey {
    /// What stays.
    pub keeps: Vec<KeptVersion>,
    /// What goes, in the order in which it goes.
    pub items: Vec<Item>,
}

impl Survey {
    /// How many of each kind, and how many bytes.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<Kind, (u64, u64)> {
        let mut totals: BTreeMap<Kind, (u64, u64)> = BTreeMap::new();
        for item in &self.items {
            let total = totals.entry(item.kind).or_default();
            total.0 = total.0.saturating_add(1);
            total.1 = total.1.saturating_add(item.bytes);
        }
        totals
    }
}

/// The versions of a product that stay: the present one first, then those below it, the highest first. Nothing of
/// one that was removed.
#[must_use]
pub fn kept(ledger: &Ledger, keep: u32) -> Vec<&Applied> {
    let Some(current) = ledger.current() else { return Vec::new() };
    let mut below: Vec<&Applied> =
        ledger.applied.iter().filter(|applied| applied.order < current.order).collect();
    below.sort_by_key(|applied| std::cmp::Reverse((applied.order, applied.time)));
    below.dedup_by_key(|applied| applied.bundle);
    let below = below.into_iter().take(usize::try_from(keep).unwrap_or(usize::MAX));
    std::iter::once(current).chain(below).collect()
}

/// Looks what goes and what stays, and changes nothing.
///
/// # Errors
/// See [`GcError`].
pub fn survey(context: &Context<'_>) -> Result<Survey, GcError> {
    let site = context.site;
    if let Some(found) = journal::unfinished(site)? {
        return Err(GcError::Unfinished(found.plan.bundle));
    }
    let ledgers = site.ledgers()?;
    let keep = context.config.keep.unwrap_or(KEEP);
    let (mut keeps, mut inventories) = (Vec::new(), BTreeMap::new());
    for ledger in &ledgers {
        for (number, applied) in kept(ledger, keep).into_iter().enumerate() {
            let (_, inventory) = site.evidence(applied.bundle).map_err(GcError::Unknown)?;
            inventories.insert(applied.bundle, inventory);
            keeps.push(KeptVersion {
                product: ledger.product.to_string(),
                version: applied.version.to_string(),
                bundle: applied.bundle,
                current: number == 0,
            });
        }
    }
    let mut items = hidden(site, &inventories)?;
    items.extend(stock(&inventories, context)?);
    items.extend(environments(&ledgers, &inventories, context)?);
    items.extend(blobs(site, &inventories)?);
    items.extend(journals(site)?);
    items.extend(quarantine(site));
    items.sort_by_key(|item| item.kind);
    Ok(Survey { keeps, items })
}

type Inventories = BTreeMap<BundleDigest, Inventory>;

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SiteError {
    let path = path.to_path_buf();
    move |source| SiteError::Io { doing, path, source }
}

fn hidden(site: &Site, kept: &Inventories) -> Result<Vec<Item>, GcError> {
    let shown = site.published()?.into_iter().filter(|bundle| !kept.contains_key(bundle));
    let item = |bundle: BundleDigest| Item {
        kind: Kind::Shown,
        what: bundle.to_string(),
        bytes: 0,
        how: How::Hide(bundle),
    };
    Ok(shown.map(item).collect())
}

fn stock(kept: &Inventories, context: &Context<'_>) -> Result<Vec<Item>, GcError> {
    let origins = Origins::of(context.site)?;
    let mut held = Holdings::default();
    for inventory in kept.values() {
        held.join(Holdings::of(inventory, context.config));
    }
    let config = context.config;
    let stock = Stock { origins: &origins, held: &held, config, context, foreign: Foreign::Leave };
    let item = |withdraw: Withdraw| Item {
        kind: if matches!(withdraw, Withdraw::Push(_)) { Kind::Tag } else { Kind::Image },
        what: withdraw.subject(),
        bytes: 0,
        how: How::Withdraw(Box::new(withdraw)),
    };
    Ok(stock.surplus(None)?.into_iter().map(item).collect())
}

/// The environments of versions that go; one that a link points to is in use.
fn environments(ledgers: &[Ledger], kept: &Inventories, context: &Context<'_>) -> Result<Vec<Item>, GcError> {
    let Some(target) = &context.config.targets.python else { return Ok(Vec::new()) };
    let stays: BTreeSet<PathBuf> = kept
        .iter()
        .flat_map(|(bundle, inventory)| python::environments(target, *bundle, inventory))
        .map(|(_, venv, _)| venv)
        .collect();
    let mut items: BTreeMap<PathBuf, Item> = BTreeMap::new();
    for applied in ledgers.iter().flat_map(|ledger| &ledger.applied) {
        // Of what was kept and cannot be read any more nothing goes.
        let Ok((_, inventory)) = context.site.evidence(applied.bundle) else { continue };
        for (_, venv, link) in python::environments(target, applied.bundle, &inventory) {
            let in_use = python::points_to(&link).is_ok_and(|to| to.is_some_and(|(_, to)| to == venv));
            if !in_use && venv.is_dir() && !stays.contains(&venv) {
                let (what, bytes) = (venv.display().to_string(), size_of(&venv));
                let how = How::Environment(venv.clone());
                items.insert(venv, Item { kind: Kind::Environment, what, bytes, how });
            }
        }
    }
    Ok(items.into_values().collect())
}

fn blobs(site: &Site, kept: &Inventories) -> Result<Vec<Item>, GcError> {
    let needed: BTreeSet<Digest> =
        kept.values().flat_map(|inventory| &inventory.blobs).map(|blob| blob.digest).collect();
    let directory = site.store().root().join("blobs/sha256");
    let mut items = Vec::new();
    for path in listed(&directory)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let digest: Option<Digest> = format!("sha256:{name}").parse().ok();
        if let Some(digest) = digest.filter(|digest| !needed.contains(digest)) {
            let (what, bytes) = (digest.to_string(), size_of(&path));
            items.push(Item { kind: Kind::Blob, what, bytes, how: How::File(path) });
        }
    }
    Ok(items)
}

/// Previous content of files that nothing puts back any more, and journals without which everything is known that
/// is known with them. The newest always stays, for its number.
fn journals(site: &Site) -> Result<Vec<Item>, GcError> {
    let paths = journal::paths(site)?;
    let mut found: Vec<Found> = Vec::new();
    for path in &paths {
        found.extend(journal::read(path)?);
    }
    let all = origins(&found);
    let needed: BTreeSet<PathBuf> =
        all.files.values().filter_map(|file| file.before.as_ref()).map(|b| b.kept.clone()).collect();
    let mut items = Vec::new();
    let mut number = 0;
    while found.len() > 1 && number < found.len().saturating_sub(1) {
        let without = found.remove(number);
        if origins(&found) == all {
            let kept = journal::kept_dir(&without.path);
            // Its directory first: one without a journal says nothing to anybody.
            items.extend(kept.is_dir().then(|| item_of(&kept, How::Directory(kept.clone()))));
            items.push(item_of(&without.path, How::File(without.path.clone())));
        } else {
            found.insert(number, without);
            number = number.saturating_add(1);
        }
    }
    for journal in &found {
        let kept = journal::kept_dir(&journal.path);
        let is_content = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let name = name.strip_suffix(".begun").or(name.strip_suffix(".new")).unwrap_or(name);
            name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let surplus = listed(&kept)?.into_iter().filter(is_content).filter(|path| !needed.contains(path));
        items.extend(surplus.map(|path| item_of(&path, How::File(path.clone()))));
    }
    Ok(items)
}

fn item_of(path: &Path, how: How) -> Item {
    Item { kind: Kind::Journal, what: path.display().to_string(), bytes: size_of(path), how }
}

fn origins(journals: &[Found]) -> Origins {
    let mut origins = Origins::default();
    journals.iter().for_each(|found| origins.note(found));
    origins
}

/// What came from the discs of a set of which some are missing is no rest: it is asked for again.
fn quarantine(site: &Site) -> Vec<Item> {
    let store = site.store();
    let places = ["quarantine", "quarantine-wheels"].map(|name| store.root().join(name));
    let left = places.into_iter().chain([site.run_dir()]).filter(|path| path.is_dir());
    let item = |path: PathBuf| Item {
        kind: Kind::Quarantine,
        what: path.display().to_string(),
        bytes: size_of(&path),
        how: How::Directory(path),
    };
    left.map(item).collect()
}

fn listed(directory: &Path) -> Result<Vec<PathBuf>, SiteError> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed("cannot read", directory))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(failed("cannot read", directory))?.path());
    }
    paths.sort();
    Ok(paths)
}

/// What a file, or everything below a directory, takes; links are not followed.
fn size_of(path: &Path) -> u64 {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return 0 };
    if !metadata.is_dir() {
        return metadata.len();
    }
    listed(path).unwrap_or_default().iter().fold(0, |sum, path| sum.saturating_add(size_of(path)))
}

/// Removes what was found. What cannot be removed is listed at the end, and the rest still goes.
///
/// # Errors
/// See [`GcError`].
pub fn collect(
    survey: &Survey,
    context: &Context<'_>,
    log: &AuditLog,
    watch: &dyn Watch,
) -> Result<(), GcError> {
    let mut left = Vec::new();
    for (number, item) in survey.items.iter().enumerate() {
        watch.at("collecting", number)?;
        // What lies outside the site's own directory has an entry of its own.
        let alone = matches!(item.kind, Kind::Shown | Kind::Tag | Kind::Image | Kind::Environment);
        let facts = about([("what", item.what.clone())]);
        if alone {
            log.append(context.env, "gc.item", Outcome::Intent, facts.clone())?;
        }
        match item.remove(context) {
            Ok(more) if alone => {
                let facts = facts.into_iter().chain(more).collect();
                log.append(context.env, "gc.item", Outcome::Done, facts)?;
            }
            Ok(_) => {}
            Err(error) => {
                let cause = chain(&error);
                let facts = facts.into_iter().chain(about([("cause", cause.clone())])).collect();
                log.append(context.env, "gc.item", Outcome::Failed, facts)?;
                left.push(format!("{} ({cause})", item.what));
            }
        }
        watch.at("collected", number)?;
    }
    let blobs = context.site.store().root().join("blobs/sha256");
    if blobs.is_dir() {
        layout::durable::flush_directory(&blobs).map_err(failed("cannot flush", &blobs))?;
    }
    if left.is_empty() { Ok(()) } else { Err(GcError::Left { left }) }
}

impl Item {
    fn remove(&self, context: &Context<'_>) -> Result<crate::audit::About, TargetError> {
        match &self.how {
            How::Hide(bundle) => {
                let mut shown = context.site.published()?;
                shown.retain(|known| known != bundle);
                context.site.publish(&shown)?;
            }
            How::Withdraw(withdraw) => return away::withdraw(withdraw, context),
            How::Environment(venv) => python::discard(venv)?,
            How::File(path) => gone(std::fs::remove_file(path), path)?,
            How::Directory(path) => gone(std::fs::remove_dir_all(path), path)?,
        }
        Ok(Default::default())
    }
}

fn gone(removed: io::Result<()>, path: &Path) -> Result<(), SiteError> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("cannot remove", path)(error)),
        _ => Ok(()),
    }
}
