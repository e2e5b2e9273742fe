//! Everything that a build has to bring from elsewhere: blobs of registries and files of servers, several at a time,
//! into the cache, and blobs at the same time to their places in the archive. One bar shows them all.
//!
//! A run that is killed loses nothing of what was whole by then, and the next one goes on in the middle of what was
//! not. A second build of the same lock fetches nothing.
//!
//! **What this module may never do:** look up a name. It has digests, and takes nothing else for them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use edge::progress::Progress;
use edge::show::bytes;
use edge::{Classified, Exit};
use layout::disk;
use layout::filling::Filling;
use manifests::Digest;
use manifests::bundle::Content;

use crate::lock::{BundleLock, Origin};
use crate::pack::Packed;
use crate::registries::{RegistriesError, Source};
use crate::sources::fetch::{FetchError, Fetcher, Wanted, at_once};
use crate::sources::images::pull::{self, Puller};
use crate::sources::logins::Logins;
use crate::sources::wheels::Class;
use crate::sources::{World, charts, closure};

/// Why something could not be brought.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// A blob of a registry.
    #[error("{blob} of {component}")]
    Blob {
        /// The blob.
        blob: Digest,
        /// What needs it.
        component: String,
        /// Why not.
        source: io::Error,
    },
    /// A file of a server.
    #[error(transparent)]
    File(#[from] FetchError),
    /// How a registry is reached.
    #[error(transparent)]
    Registries(#[from] RegistriesError),
    /// The lock has an address that is none.
    #[error("the lock has an address that cannot be followed")]
    Address(#[source] io::Error),
    /// Where it would go.
    #[error("the cache {root} cannot be written to")]
    Cache {
        /// Its directory.
        root: String,
        /// Why not.
        source: io::Error,
    },
    /// It would not fit.
    #[error("the file system of the cache {root} has {} free, and {} will be written to it", bytes(*free), bytes(*needed))]
    Space {
        /// The cache's directory.
        root: String,
        /// Bytes that are free.
        free: u64,
        /// Bytes that are to be fetched, with the archive's if they share a file system.
        needed: u64,
    },
    /// Somebody pressed Ctrl-C.
    #[error("interrupted; what was fetched is kept for the next run")]
    Interrupted,
}

impl Classified for DownloadError {
    fn exit(&self) -> Exit {
        match self {
            Self::Blob { source, .. } if pull::is_damage(source) => Exit::Damaged,
            Self::File(error) if error.class() == Class::Damaged => Exit::Damaged,
            Self::Registries(error) => error.exit(),
            Self::Interrupted => Exit::Unexpected,
            _ => Exit::Unreachable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Registries(error) => error.hint(),
            Self::Blob { source, .. } if pull::is_damage(source) => {
                Some("the source has changed since it was locked: run `bundler lock` again".to_string())
            }
            Self::Blob { .. } => Some("run it again: what was fetched is kept".to_string()),
            Self::Cache { .. } | Self::Space { .. } => {
                Some("AIRLOCK_CACHE names another directory; an old one can be removed".to_string())
            }
            _ => None,
        }
    }
}

/// One thing to bring.
enum Job {
    /// A blob, and who may have it.
    Blob { content: Content, sources: Vec<Source> },
    /// A file.
    File(Wanted),
}

impl Job {
    fn digest(&self) -> Digest {
        match self {
            Self::Blob { content, .. } => content.digest,
            Self::File(wanted) => wanted.digest,
        }
    }

    fn size(&self) -> u64 {
        match self {
            Self::Blob { content, .. } => content.size,
            Self::File(wanted) => wanted.size.unwrap_or(0),
        }
    }
}

/// What will be written afterwards, perhaps on the cache's own file system.
#[derive(Debug, Clone, Copy)]
pub struct Room<'a> {
    /// The directory.
    pub directory: &'a Path,
    /// How many bytes.
    pub bytes: u64,
}

/// Brings what the cache does not have; blobs of registries also `into` an archive.
///
/// # Errors
/// The first thing that could not be brought; the others are named in notes.
pub fn missing(
    lock: &BundleLock,
    packed: &Packed,
    world: &World<'_>,
    archive: &Room<'_>,
    into: Option<&Filling<'_>>,
) -> Result<(), DownloadError> {
    let mut jobs = jobs(lock, packed, world)?;
    if jobs.is_empty() {
        return Ok(());
    }
    let root = world.cache.root().display().to_string();
    world.cache.create().map_err(|source| DownloadError::Cache { root: root.clone(), source })?;
    let total = jobs.iter().map(Job::size).fold(0_u64, u64::saturating_add);
    check_space(world, total, archive)?;
    // The large ones first, so that none of them is left alone at the end.
    jobs.sort_by_key(|job| std::cmp::Reverse(job.size()));
    (world.note)(&format!("fetching {}, {}", counted(jobs.len()), bytes(total)));
    let mut logins = Logins::of_user(world.env);
    closure::add_logins(world, &mut logins);
    charts::add_logins(world, &mut logins);
    let shared = Shared {
        puller: world.puller(),
        fetcher: Fetcher { http: world.registries, cache: world.cache, logins: &logins, limit: u64::MAX },
        owners: owners(packed),
        into,
        bar: Mutex::new((world.shown.begin("fetching", total), 0)),
        jobs: jobs.len(),
    };
    let mut failed = at_once(&jobs, |job| shared.bring(job)).into_iter().filter_map(Result::err);
    let Some(first) = failed.next() else { return Ok(()) };
    if (world.interrupted)() {
        return Err(DownloadError::Interrupted);
    }
    failed.for_each(|error| (world.note)(&format!("note: not fetched either: {error}")));
    Err(first)
}

fn counted(count: usize) -> String {
    format!("{count} file{}", if count == 1 { "" } else { "s" })
}

fn jobs(lock: &BundleLock, packed: &Packed, world: &World<'_>) -> Result<Vec<Job>, DownloadError> {
    let mut jobs = Vec::new();
    for content in &packed.inventory.carried() {
        let Some(blob) = lock.blobs.get(&content.digest) else { continue };
        if world.cache.has(content) {
            continue;
        }
        // What is packed here is packed of charts that are elsewhere.
        if let Origin::PackedChart(packed) = &blob.from {
            for dependency in &packed.dependencies {
                let content = Content { digest: dependency.sha256, size: dependency.size };
                if !world.cache.has(&content) {
                    jobs.extend(job(content, &dependency.from, world)?);
                }
            }
        }
        jobs.extend(job(*content, &blob.from, world)?);
    }
    // Two charts may be packed of the same one.
    let mut seen = BTreeSet::new();
    jobs.retain(|job| seen.insert(job.digest()));
    Ok(jobs)
}

/// Nothing for what is on this machine.
fn job(content: Content, from: &Origin, world: &World<'_>) -> Result<Option<Job>, DownloadError> {
    Ok(match from {
        Origin::Registry(place) => Some(Job::Blob { content, sources: world.registries.sources(place)? }),
        Origin::Url(url) => Some(Job::File(closure::wanted(url, content).map_err(DownloadError::Address)?)),
        _ => None,
    })
}

/// Who needs a blob: a person knows images, not digests.
fn owners(packed: &Packed) -> BTreeMap<Digest, String> {
    let mut owners = BTreeMap::new();
    for component in &packed.inventory.components {
        for (digest, _) in component.blobs() {
            owners.entry(digest).or_insert_with(|| component.title());
        }
    }
    owners
}

fn check_space(world: &World<'_>, fetched: u64, archive: &Room<'_>) -> Result<(), DownloadError> {
    let root = world.cache.root();
    let shown = root.display().to_string();
    let device = |path: &Path| std::fs::metadata(path).ok().map(|metadata| metadata.dev());
    let shared = device(root) == device(archive.directory);
    let needed = if shared { fetched.saturating_add(archive.bytes) } else { fetched };
    let free =
        disk::free_bytes(root).map_err(|source| DownloadError::Cache { root: shown.clone(), source })?;
    if free < needed { Err(DownloadError::Space { root: shown, free, needed }) } else { Ok(()) }
}

/// What the threads share.
struct Shared<'a> {
    puller: Puller<'a>,
    fetcher: Fetcher<'a>,
    owners: BTreeMap<Digest, String>,
    into: Option<&'a Filling<'a>>,
    /// The bar, and how many are done.
    bar: Mutex<(Box<dyn Progress>, usize)>,
    jobs: usize,
}

impl Shared<'_> {
    fn bring(&self, job: &Job) -> Result<(), DownloadError> {
        if (self.puller.interrupted)() {
            return Err(DownloadError::Interrupted);
        }
        let advance = |count: u64| self.with_bar(|(bar, _)| bar.advance(count));
        match job {
            Job::Blob { content, sources } => {
                let place = self.into.and_then(|archive| archive.place(*content));
                self.puller.blob(sources, *content, place, &advance).map_err(|source| {
                    let component = self.owners.get(&content.digest).cloned().unwrap_or_default();
                    DownloadError::Blob { blob: content.digest, component, source }
                })?;
            }
            Job::File(wanted) => drop(self.fetcher.one(wanted, &advance)?),
        }
        self.with_bar(|(bar, done)| {
            *done = done.saturating_add(1);
            bar.about(&format!("{done} of {}", counted(self.jobs)));
        });
        Ok(())
    }

    fn with_bar(&self, act: impl FnOnce(&mut (Box<dyn Progress>, usize))) {
        act(&mut self.bar.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
