//! Admission: a bundle's bytes from the medium, through every check, into the site store.
//!
//! This file is the order of checks of `docs/format.md` as a reader of the code meets it. The medium is
//! read once, forward where it spins, and never written to; what was checked is what is kept.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use edge::progress::Progress;
use edge::{Classified, Exit};
use layout::disc::DiscError;
use layout::medium::{self, Input, MediumError};
use layout::reader::{BundleReader, Discard, Documents, Head, Places, ReadError, Sink, Sinks};
use layout::store::{BlobWriter, Quarantine, Store};
use manifests::bundle::{BundleDigest, Content};
use manifests::delta::Patch;
use manifests::root::NotMet;
use manifests::verify::{
    AcceptedManifest, CheckedContents, Contents, Damage, Refusal, SignedManifest, Standing,
};
use manifests::{ArchivePath, BundleManifest, Digest, Inventory, Trust, VerifiedBundle};

use crate::left_out::{self, Lacking};
use crate::loan::Loan;
use crate::patches::{self, Broken, Rebuilding};
use crate::preflight::report::NotReady;
use crate::reread::{self, Found};
use crate::site::config::SiteConfig;
use crate::site::ledger::Applied;
use crate::site::{Site, SiteError};

/// Why a bundle is not admitted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdmitError {
    /// It cannot be opened.
    #[error(transparent)]
    Medium(#[from] MediumError),
    /// It is damaged.
    #[error("{}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: ReadError,
    },
    /// It must not be used here.
    #[error("{} is refused", path.display())]
    Refused {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Refusal,
    },
    /// The site.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The store.
    #[error("the site store cannot be written to")]
    Store(#[source] io::Error),
    /// It would not fit.
    #[error("the site store has {} free, the bundle needs {} more", edge::show::bytes(*free), edge::show::bytes(*needed))]
    Space {
        /// Bytes that are free.
        free: u64,
        /// Bytes that are missing from the store.
        needed: u64,
    },
    /// A check stops it.
    #[error(transparent)]
    NotReady(#[from] NotReady),
    /// What the site has kept is not what was admitted.
    #[error("the site store has rotted")]
    Rotten(#[source] Damage),
    /// The small files of a disc.
    #[error(transparent)]
    Disc(#[from] DiscError),
    /// No disc where one should be.
    #[error("there is no part of a bundle at {}", paths_of(paths))]
    NoDisc {
        /// Where somebody looked.
        paths: Vec<PathBuf>,
    },
    /// More than one bundle.
    #[error("several bundles were named, expected one archive, or the discs of one set")]
    Several,
    /// The lists on a disc contradict each other or `bundle.json`.
    #[error("{}: {damage}", path.display())]
    Lists {
        /// Which disc.
        path: PathBuf,
        /// What is wrong.
        damage: Damage,
    },
    /// `parts.json` cannot be one of this bundle.
    #[error("{}: parts.json does not agree with the signed documents beside it", path.display())]
    List {
        /// Which disc.
        path: PathBuf,
    },
    /// A disc of another bundle.
    #[error("{} is a disc of another bundle: {title} ({bundle})", path.display())]
    OtherBundle {
        /// Which disc.
        path: PathBuf,
        /// Product and version.
        title: String,
        /// Which.
        bundle: BundleDigest,
    },
    /// A disc of another split of the same bundle.
    #[error("{} is of the same bundle, but its parts.json is not that of the other discs", path.display())]
    OtherSplit {
        /// Which disc.
        path: PathBuf,
    },
    /// Parts are damaged.
    #[error("{}", lines.join("\n"))]
    Parts {
        /// Every place of damage.
        lines: Vec<String>,
        /// The numbers of the parts.
        parts: Vec<usize>,
        /// Whether the site has kept what came from the others.
        kept: bool,
    },
    /// Parts are missing.
    #[error("of {title} these are missing: {}", missing.join(", "))]
    Missing {
        /// Product and version.
        title: String,
        /// What each is called.
        missing: Vec<String>,
        /// Whether the site has kept what came from the others.
        kept: bool,
    },
    /// A delta, and the site does not hold what it leaves out.
    #[error(
        "{title} is a delta, and this site does not hold all that it leaves out:{}",
        left_out::lines(lacking)
    )]
    LeftOut {
        /// Product and version.
        title: String,
        /// Every blob that is missing or rotten.
        lacking: Vec<Lacking>,
    },
    /// A patch is the one that was signed, and does not make its blob.
    #[error("{}: {broken}", path.display())]
    Patch {
        /// Which bundle.
        path: PathBuf,
        /// What is wrong.
        broken: Broken,
    },
    /// Discs that did not come in their order, of which nothing was kept.
    #[error("not every patch was read from its beginning to its end in one go, so nobody knows yet what they make of: {}", what.join(", "))]
    OutOfTurn {
        /// The blobs.
        what: Vec<String>,
    },
    /// All parts are what they must be, and the bundle is not whole.
    #[error("the bundle is not whole: {damage}")]
    Whole {
        /// What is wrong.
        damage: Damage,
    },
    /// A defect of ours: contents of another bundle.
    #[error("{0}")]
    Mixed(Damage),
}

impl Classified for AdmitError {
    fn exit(&self) -> Exit {
        match self {
            Self::Damaged { source: ReadError::Sink { .. }, .. } | Self::Store(_) => Exit::Unreachable,
            Self::Medium(_) | Self::Damaged { .. } | Self::Mixed(_) | Self::Rotten(_) => Exit::Damaged,
            Self::Disc(_) | Self::NoDisc { .. } | Self::Lists { .. } | Self::List { .. } => Exit::Damaged,
            Self::OtherBundle { .. } | Self::OtherSplit { .. } | Self::Parts { .. } => Exit::Damaged,
            Self::Missing { .. } | Self::Whole { .. } | Self::Patch { .. } => Exit::Damaged,
            Self::Several => Exit::Usage,
            Self::Refused { .. } => Exit::Refused,
            Self::Site(error) => error.exit(),
            Self::Space { .. } | Self::NotReady(_) => Exit::NotReady,
            Self::LeftOut { .. } | Self::OutOfTurn { .. } => Exit::NotReady,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Damaged { source: ReadError::Sink { .. }, .. } | Self::Store(_) => {
                Some("see whether the disk of the site directory is full or read-only".to_string())
            }
            Self::Damaged { .. } => Some(
                "clean the medium and try again; if it stays so, ask the sender for another copy".to_string(),
            ),
            Self::Parts { parts, kept, .. } => Some(again(parts, *kept)),
            Self::Missing { kept, .. } => Some(format!(
                "name every disc, or put them in one after the other on a terminal; with recovery data on the discs, one that is lost may be repaired: --repair{}",
                if *kept { "; what was read is kept and is not asked for again" } else { "" }
            )),
            Self::OtherBundle { .. } | Self::OtherSplit { .. } => Some("take that disc out".to_string()),
            Self::NoDisc { .. } => Some("mount a disc there, or name where it is".to_string()),
            Self::Refused { source, .. } => hint_for(source),
            Self::Rotten(_) => Some(
                "the way back needs that bundle's medium; the disk of the site should be looked at"
                    .to_string(),
            ),
            Self::Space { .. } => {
                Some("free some space, or put the site directory on a larger disk".to_string())
            }
            Self::LeftOut { .. } => Some(
                "nothing was written; apply the base first if its order is above what runs here, or ask the sender for a whole bundle, or for a delta for a receipt of today: installer receipt"
                    .to_string(),
            ),
            Self::Patch { .. } => Some(
                "nothing was written; the medium is as it was signed, so another copy does not help: ask the sender for a whole bundle"
                    .to_string(),
            ),
            Self::OutOfTurn { .. } => Some(
                "verify the discs once more, in the order of their numbers; `apply` takes them in any order"
                    .to_string(),
            ),
            Self::Site(error) => error.hint(),
            Self::NotReady(error) => error.hint(),
            _ => None,
        }
    }
}

/// What to do about damaged parts.
fn again(parts: &[usize], kept: bool) -> String {
    let only: Vec<String> = parts.iter().map(|part| format!("--only {part}")).collect();
    format!(
        "clean the disc and try again; with recovery data on the discs: --repair, with all of them; if it stays so, ask the sender for that part alone: bundler split … {}{}",
        only.join(", "),
        if kept { "; the parts that were whole are kept and are not asked for again" } else { "" }
    )
}

fn paths_of(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// An error and its causes in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// The same for what happened on admission.
pub(crate) fn message(error: &AdmitError) -> String {
    with_causes(error)
}

fn hint_for(refusal: &Refusal) -> Option<String> {
    let hint = match refusal {
        Refusal::Signatures(NotMet::Revoked { .. }) => {
            "the publisher does not stand by that key any more; ask the sender for a bundle of other signers"
        }
        Refusal::Signatures(_) | Refusal::Publisher { .. } => {
            "do not use this medium; ask the sender who signed it, and compare with `installer trust show`"
        }
        Refusal::Audience { .. } => "this bundle was made for another site; ask the sender for the right one",
        Refusal::Rollback { .. } => {
            "`apply` takes no older bundle; ask the sender for a newer one, or go back on purpose: installer rollback"
        }
        Refusal::Equivocation { .. } => {
            "somebody has signed two different bundles with one number: report it"
        }
        Refusal::RootVersion { .. } => {
            "take the newer trust root first: installer trust update MEDIUM; it comes from the sender"
        }
        Refusal::Epoch { found, expected } if found < expected => {
            "the bundle was made before the publisher started anew; ask the sender for a current one"
        }
        Refusal::Epoch { .. } => {
            "take the newer trust root first: installer trust update MEDIUM; it comes from the sender"
        }
        Refusal::Revoked(_) | Refusal::BelowMinimum { .. } => {
            "the publisher has taken this bundle back; ask the sender for a current one"
        }
        Refusal::NeverHere(_) => "`installer history` lists what was applied here",
        _ => return None,
    };
    Some(hint.to_string())
}

/// A bundle whose signatures were checked and that this site may use; its contents were not read yet.
struct Opened {
    reader: BundleReader<Box<dyn Read>>,
    /// The same file, if several places of it may be read at the same time.
    places: Option<Arc<File>>,
    accepted: AcceptedManifest,
}

/// The first five checks.
fn open(site: &Site, config: &SiteConfig, path: &Path) -> Result<Opened, AdmitError> {
    open_input(site, config, path, Input::open(path)?)
}

/// The same of what was opened already, for which `path` stands in messages.
fn open_input(site: &Site, config: &SiteConfig, path: &Path, input: Input) -> Result<Opened, AdmitError> {
    let refused = |source| AdmitError::Refused { path: path.to_path_buf(), source };
    let trust = site.trust()?;
    // 1. read at most the limit of bundle.json and signatures
    let (input, places) = input.into_parts();
    let reader = BundleReader::open(input)
        .map_err(|source| AdmitError::Damaged { path: path.to_path_buf(), source })?;
    // 2.–4. signatures over those very bytes; then parse them; then require canonical form; then
    // publisher, root version, epoch and revocations
    let head = reader.head();
    let signed = SignedManifest::authenticate(&trust, &head.manifest, &head.signatures).map_err(refused)?;
    // 5. audience, order
    let standing = standing(site, config, signed.manifest())?;
    let accepted = signed.accept(&standing).map_err(refused)?;
    Ok(Opened { reader, places, accepted })
}

/// What the site is, and what it knows of this product.
pub(crate) fn standing(
    site: &Site,
    config: &SiteConfig,
    manifest: &BundleManifest,
) -> Result<Standing, SiteError> {
    let ledger = site.ledger(&manifest.publisher, &manifest.product)?;
    Ok(Standing {
        site: config.site.clone(),
        groups: config.groups.clone(),
        highest: ledger.as_ref().map(|ledger| (ledger.highest.order, ledger.highest.bundle)),
        applied: ledger.iter().flat_map(|ledger| &ledger.applied).map(|applied| applied.bundle).collect(),
    })
}

/// Checks the signatures alone, and whether the bundle is revoked: what an auditor wants explained need
/// not be for this site.
///
/// # Errors
/// See [`AdmitError`].
pub fn authenticate(trust: &Trust, path: &Path) -> Result<SignedManifest, AdmitError> {
    let (file, _) = medium::open(path)?;
    let reader = BundleReader::open(file)
        .map_err(|source| AdmitError::Damaged { path: path.to_path_buf(), source })?;
    let head = reader.head();
    SignedManifest::authenticate(trust, &head.manifest, &head.signatures)
        .map_err(|source| AdmitError::Refused { path: path.to_path_buf(), source })
}

/// Checks a whole bundle and keeps nothing.
///
/// # Errors
/// See [`AdmitError`].
pub fn verify(
    site: &Site,
    config: &SiteConfig,
    path: &Path,
    progress: &mut dyn Progress,
) -> Result<VerifiedBundle, AdmitError> {
    verify_input(site, config, path, Input::open(path)?, progress)
}

/// The same of what was opened already, for which `path` stands in messages.
///
/// # Errors
/// See [`AdmitError`].
pub fn verify_input(
    site: &Site,
    config: &SiteConfig,
    path: &Path,
    input: Input,
    progress: &mut dyn Progress,
) -> Result<VerifiedBundle, AdmitError> {
    verify_into(site, config, path, input, progress, |_| Discard).map(|(bundle, _)| bundle)
}

/// The same, while what checks have to read is kept for them.
///
/// # Errors
/// See [`AdmitError`].
pub fn verify_lending(
    site: &Site,
    config: &SiteConfig,
    path: &Path,
    input: Input,
    progress: &mut dyn Progress,
) -> Result<(VerifiedBundle, Loan), AdmitError> {
    verify_into(site, config, path, input, progress, |inventory| Loan::prepare(site, config, inventory))
}

/// Checks a whole bundle while somebody looks at what passes by, who is told the signed lists first. What was seen
/// may be used only once this has returned.
///
/// # Errors
/// See [`AdmitError`].
pub fn verify_watched<S: Sink>(
    site: &Site,
    config: &SiteConfig,
    path: &Path,
    progress: &mut dyn Progress,
    watcher: impl FnOnce(&Head, &Documents, &Inventory) -> S,
) -> Result<(VerifiedBundle, S), AdmitError> {
    let damaged = |source| AdmitError::Damaged { path: path.to_path_buf(), source };
    let Opened { mut reader, accepted, .. } = open(site, config, path)?;
    let head = reader.head().clone();
    let (contents, documents) = reader.contents(accepted.signed().manifest()).map_err(damaged)?;
    let left_out = complete(site, &accepted, &contents, progress)?;
    let mut watcher = watcher(&head, &documents, contents.inventory());
    let checked = streamed(reader, contents, (site, path), left_out, &mut watcher, progress)?;
    let bundle = VerifiedBundle::new(accepted, checked).map_err(AdmitError::Mixed)?;
    Ok((bundle, watcher))
}

fn verify_into<S: Sinks>(
    site: &Site,
    config: &SiteConfig,
    path: &Path,
    input: Input,
    progress: &mut dyn Progress,
    sinks: impl FnOnce(&Inventory) -> S,
) -> Result<(VerifiedBundle, S), AdmitError> {
    let damaged = |source| AdmitError::Damaged { path: path.to_path_buf(), source };
    let Opened { mut reader, places, accepted } = open_input(site, config, path, input)?;
    // 6. SHA256SUMS and inventory by digest, and each agrees with the other
    let (contents, _) = reader.contents(accepted.signed().manifest()).map_err(damaged)?;
    // what a delta leaves out, in the site store
    let left_out = complete(site, &accepted, &contents, progress)?;
    let sinks = sinks(contents.inventory());
    // 7. blobs
    let source = (reader, places.as_deref());
    let checked = read_all(source, contents, (site, path), left_out, &sinks, progress)?;
    let bundle = VerifiedBundle::new(accepted, checked).map_err(AdmitError::Mixed)?;
    Ok((bundle, sinks))
}

/// Everything after the lists, wherever it may be read. What has patches is read forward.
fn read_all<S: Sinks>(
    (reader, places): (BundleReader<Box<dyn Read>>, Option<&File>),
    contents: Contents,
    (site, path): (&Site, &Path),
    left_out: left_out::Read,
    sinks: &S,
    progress: &mut dyn Progress,
) -> Result<CheckedContents, AdmitError> {
    if !contents.inventory().patches().is_empty() {
        return streamed(reader, contents, (site, path), left_out, &mut sinks.sink(), progress);
    }
    let places = places.map(|file| file as &dyn Places);
    let checked = reader.stream_abreast(contents, places, sinks, &mut |count| progress.advance(count));
    let checked = checked.map_err(|source| AdmitError::Damaged { path: path.to_path_buf(), source })?;
    left_out.complete(checked, Vec::new())
}

/// Everything after the lists, in one pass: each byte is hashed, what is a patch becomes its blob, and `sink` takes the
/// content.
fn streamed(
    reader: BundleReader<Box<dyn Read>>,
    contents: Contents,
    (site, path): (&Site, &Path),
    left_out: left_out::Read,
    sink: &mut dyn Sink,
    progress: &mut dyn Progress,
) -> Result<CheckedContents, AdmitError> {
    let path = || path.to_path_buf();
    let mut rebuilding = Rebuilding::new(site.store(), &contents, sink);
    let checked = reader.stream(contents, &mut rebuilding, &mut |count| progress.advance(count));
    let checked = checked.map_err(|error| match error {
        ReadError::Sink { path: entry, source } => match patches::blamed(source) {
            Ok(broken) => AdmitError::Patch { path: path(), broken },
            Err(source) => {
                AdmitError::Damaged { path: path(), source: ReadError::Sink { path: entry, source } }
            }
        },
        source => AdmitError::Damaged { path: path(), source },
    })?;
    left_out.complete(checked, rebuilding.made())
}

/// What a delta leaves out, looked for and then read in the site store.
pub(crate) fn complete(
    site: &Site,
    accepted: &AcceptedManifest,
    contents: &Contents,
    progress: &mut dyn Progress,
) -> Result<left_out::Read, AdmitError> {
    let manifest = accepted.signed().manifest();
    left_out::look(site, manifest, contents)?;
    left_out::read(site, manifest, contents, progress)
}

/// What `inspect` needs: signatures, site and inventory checked, blobs not read.
///
/// # Errors
/// See [`AdmitError`].
pub fn inspect(
    site: &Site,
    config: &SiteConfig,
    path: &Path,
) -> Result<(AcceptedManifest, Contents), AdmitError> {
    let damaged = |source| AdmitError::Damaged { path: path.to_path_buf(), source };
    let Opened { mut reader, accepted, .. } = open(site, config, path)?;
    let (contents, _) = reader.contents(accepted.signed().manifest()).map_err(damaged)?;
    Ok((accepted, contents))
}

/// Checks a whole bundle while copying what the store lacks into quarantine, and makes it visible once
/// every check has passed. On failure the store is as it was.
///
/// # Errors
/// See [`AdmitError`].
pub fn admit(
    site: &Site,
    config: &SiteConfig,
    path: &Path,
    progress: &mut dyn Progress,
) -> Result<VerifiedBundle, AdmitError> {
    admit_input(site, config, path, Input::open(path)?, &|_, _| Ok(()), progress)
}

/// Asked once the signed lists are known, before the first byte is copied: whether anything stops that.
pub type Gate<'a> = dyn Fn(BundleDigest, &Inventory) -> Result<(), NotReady> + 'a;

/// The same of what was opened already, for which `path` stands in messages, if the gate lets it in.
///
/// # Errors
/// See [`AdmitError`].
pub fn admit_input(
    site: &Site,
    config: &SiteConfig,
    path: &Path,
    input: Input,
    gate: &Gate<'_>,
    progress: &mut dyn Progress,
) -> Result<VerifiedBundle, AdmitError> {
    let damaged = |source| AdmitError::Damaged { path: path.to_path_buf(), source };
    let Opened { mut reader, places, accepted } = open_input(site, config, path, input)?;
    let head = reader.head().clone();
    let (contents, documents) = reader.contents(accepted.signed().manifest()).map_err(damaged)?;
    let store = site.store();
    left_out::look(site, accepted.signed().manifest(), &contents)?;
    gate(accepted.signed().digest(), contents.inventory())?;
    check_space(&store, contents.inventory(), &[], |_| 0)?;
    let left_out = left_out::read(site, accepted.signed().manifest(), &contents, progress)?;
    let quarantine = store.quarantine().map_err(AdmitError::Store)?;
    let sinks = IntoQuarantine { store: &store, quarantine: &quarantine };
    let source = (reader, places.as_deref());
    let checked = read_all(source, contents, (site, path), left_out, &sinks, progress)?;
    let bundle = VerifiedBundle::new(accepted, checked).map_err(AdmitError::Mixed)?;
    quarantine.release().map_err(AdmitError::Store)?;
    crate::incoming::forget(&store).map_err(AdmitError::Store)?;
    site.keep_evidence(&head, &documents)?;
    Ok(bundle)
}

/// Checks a bundle that was applied here before, from what the site has kept of it: its signatures by the
/// root of that day and the revocations of today, its lists, and every blob in the store, byte by byte.
///
/// # Errors
/// See [`AdmitError`].
pub fn readmit(
    site: &Site,
    trust: &Trust,
    config: &SiteConfig,
    applied: &Applied,
    progress: &mut dyn Progress,
) -> Result<VerifiedBundle, AdmitError> {
    let refused = |source| AdmitError::Refused { path: site.evidence_dir(applied.bundle), source };
    let kept = site.originals(applied.bundle)?;
    let signed =
        SignedManifest::authenticate_again(trust, applied.root_version, &kept.manifest, &kept.signatures);
    let signed = signed.map_err(refused)?;
    let standing = standing(site, config, signed.manifest())?;
    let accepted = signed.accept_again(&standing).map_err(refused)?;
    let (manifest, digest) = (accepted.signed().manifest(), accepted.signed().digest());
    let contents =
        Contents::agree(manifest, digest, &kept.checksums, &kept.inventory).map_err(AdmitError::Rotten)?;
    let checked = reread(&site.store(), contents, progress)?;
    VerifiedBundle::new(accepted, checked).map_err(AdmitError::Mixed)
}

/// What a bundle that was applied here brought along, from what the site has kept of it: its signatures are
/// checked as [`readmit`] does, and its lists. Whether its blobs are still what they were, whoever uses one
/// looks himself.
///
/// # Errors
/// See [`AdmitError`].
pub fn kept_inventory(site: &Site, trust: &Trust, applied: &Applied) -> Result<Inventory, AdmitError> {
    let refused = |source| AdmitError::Refused { path: site.evidence_dir(applied.bundle), source };
    let kept = site.originals(applied.bundle)?;
    let signed =
        SignedManifest::authenticate_again(trust, applied.root_version, &kept.manifest, &kept.signatures);
    let signed = signed.map_err(refused)?;
    let contents = Contents::agree(signed.manifest(), signed.digest(), &kept.checksums, &kept.inventory);
    Ok(contents.map_err(AdmitError::Rotten)?.inventory().clone())
}

fn reread(
    store: &Store,
    contents: Contents,
    progress: &mut dyn Progress,
) -> Result<CheckedContents, AdmitError> {
    progress.total(contents.inventory().blobs.iter().map(|blob| blob.size).fold(0, u64::saturating_add));
    let mut checklist = contents.checklist_of_blobs();
    let blobs = checklist.inventory().blobs.clone();
    for found in reread::blobs(store, &blobs, progress) {
        let Some((path, _)) = checklist.next() else { break };
        let missing = || Damage::Unexpected { found: "nothing".to_string(), expected: path.to_string() };
        let found = found.map_err(AdmitError::Store)?;
        let Found { content, document } = found.ok_or_else(|| AdmitError::Rotten(missing()))?;
        checklist.begin(&path, content.size).map_err(AdmitError::Rotten)?;
        checklist.settle(content).map_err(AdmitError::Rotten)?;
        checklist.remember(content.digest, document);
    }
    checklist.finish().map_err(AdmitError::Rotten)
}

/// The blobs that the store lacks, with their sizes.
pub(crate) fn missing(store: &Store, inventory: &Inventory) -> BTreeSet<(Digest, u64)> {
    inventory.blobs.iter().filter(|blob| !store.has(blob)).map(|blob| (blob.digest, blob.size)).collect()
}

/// The formula: what the store lacks, and as much again as one file system block for each file of it. `patches` are kept
/// for a while beside what they make; `here` are the bytes of a blob that are on the same disk already.
pub(crate) fn check_space(
    store: &Store,
    inventory: &Inventory,
    patches: &[Patch],
    here: impl Fn(&Content) -> u64,
) -> Result<(), AdmitError> {
    let patches = patches.iter().map(|patch| (patch.patch.digest, patch.patch.size));
    let missing = missing(store, inventory).into_iter().chain(patches);
    let missing: Vec<(Digest, u64)> = missing
        .map(|(digest, size)| (digest, size.saturating_sub(here(&Content { digest, size }))))
        .collect();
    let stat = rustix::fs::statvfs(store.root()).map_err(|error| AdmitError::Store(error.into()))?;
    let needed =
        missing.iter().fold(0_u64, |sum, (_, size)| sum.saturating_add(*size).saturating_add(stat.f_bsize));
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < needed { Err(AdmitError::Space { free, needed }) } else { Ok(()) }
}

/// Copies what the store lacks.
struct IntoQuarantine<'a> {
    store: &'a Store,
    quarantine: &'a Quarantine<'a>,
}

impl Sinks for IntoQuarantine<'_> {
    type Sink<'b>
        = Copy<'b>
    where
        Self: 'b;

    fn sink(&self) -> Copy<'_> {
        Copy { into: self, current: Current::Nothing }
    }
}

/// Copies one blob after the other.
struct Copy<'a> {
    into: &'a IntoQuarantine<'a>,
    current: Current,
}

enum Current {
    Nothing,
    /// The store has it, or it is one of the fixed documents: hashed on the way, not kept.
    Skipped,
    Kept(BlobWriter),
}

impl Sink for Copy<'_> {
    fn begin(&mut self, path: &ArchivePath, content: Content) -> io::Result<()> {
        self.current = match path {
            // One that has rotted on this disk keeps its size: with the medium at hand it is replaced.
            ArchivePath::Blob(_) if !self.into.store.is_whole(&content).unwrap_or(false) => {
                Current::Kept(self.into.quarantine.blob(content)?)
            }
            _ => Current::Skipped,
        };
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.current {
            Current::Kept(writer) => writer.write_all(bytes),
            Current::Nothing | Current::Skipped => Ok(()),
        }
    }

    fn end(&mut self, found: Content) -> io::Result<()> {
        match std::mem::replace(&mut self.current, Current::Nothing) {
            Current::Kept(writer) => self.into.quarantine.keep(writer, found),
            Current::Nothing | Current::Skipped => Ok(()),
        }
    }
}
