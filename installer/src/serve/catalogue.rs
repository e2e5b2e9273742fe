//! Everything that can be served, as maps from names to digests, and the rule by which it is renewed.
//!
//! *Invariant:* an answer comes from one catalogue, so a client never sees half of one list of bundles
//! and half of the next.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use super::charts::ChartRepository;
use super::files::FileSets;
use super::prune;
use super::python::PythonIndex;
use super::repositories::Repositories;
use super::shelf::{PublishedBundle, Shelf};
use super::trouble::Trouble;
use super::withdrawn::Withdrawn;

/// What the published bundles hold, by every name under which it is served.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    /// Without what is withdrawn.
    pub(super) bundles: Vec<Arc<PublishedBundle>>,
    pub(super) repositories: Repositories,
    pub(super) python: PythonIndex,
    pub(super) charts: ChartRepository,
    pub(super) files: FileSets,
    /// As they were published.
    published: Vec<Arc<PublishedBundle>>,
    /// What was withdrawn when this was made.
    generation: u64,
}

impl Catalogue {
    /// Reads the manifests of images and the metadata of charts. What cannot be read is left out of
    /// what follows from it, and told; what is rotten is withdrawn, and the catalogue made without it.
    fn build(
        shelf: &dyn Shelf,
        bundles: Vec<Arc<PublishedBundle>>,
        withdrawn: &Withdrawn,
    ) -> (Self, Vec<Trouble>) {
        loop {
            let (catalogue, troubles) = Self::try_build(shelf, &bundles, withdrawn);
            let (rotten, others): (Vec<Trouble>, Vec<Trouble>) =
                troubles.into_iter().partition(|trouble| trouble.rotten().is_some());
            let mut found = false;
            for trouble in rotten {
                found |= withdrawn.doubt(shelf, &trouble);
            }
            // Each round withdraws another blob, and there are so many.
            if !found {
                return (catalogue, others);
            }
        }
    }

    fn try_build(
        shelf: &dyn Shelf,
        bundles: &[Arc<PublishedBundle>],
        withdrawn: &Withdrawn,
    ) -> (Self, Vec<Trouble>) {
        let mut troubles = Vec::new();
        let (without, generation) = withdrawn.list();
        let pruned = prune::without(bundles, &without);
        let repositories = Repositories::without(without);
        let published = bundles.to_vec();
        let mut catalogue = Self { published, generation, repositories, ..Self::default() };
        for (bundle, pruned) in bundles.iter().zip(&pruned) {
            catalogue.repositories.add(shelf, bundle, &mut troubles);
            catalogue.python.add(shelf, pruned, &mut troubles);
            catalogue.charts.add(shelf, pruned, &mut troubles);
            catalogue.files.add(pruned);
        }
        catalogue.repositories.finish();
        catalogue.bundles = pruned;
        (catalogue, troubles)
    }

    fn lists(&self, bundles: &[Arc<PublishedBundle>]) -> bool {
        self.published.len() == bundles.len() && self.published.iter().zip(bundles).all(|(a, b)| a.is_same(b))
    }
}

/// The catalogue in use. `serve` runs while an apply publishes, so it is renewed while requests come in.
pub(super) struct Library {
    shelf: Arc<dyn Shelf>,
    current: RwLock<Arc<Catalogue>>,
    /// When the list was last read. Who holds this lock renews; everybody else takes what is there, unless
    /// something was withdrawn since.
    read: tokio::sync::Mutex<Instant>,
    refresh: Duration,
    pub(super) withdrawn: Arc<Withdrawn>,
}

impl Library {
    /// Reads the bundles for the first time. Call this inside the runtime.
    ///
    /// # Errors
    /// The shelf cannot be read.
    pub(super) fn open(
        shelf: Arc<dyn Shelf>,
        refresh: Duration,
        withdrawn: Arc<Withdrawn>,
    ) -> io::Result<(Self, Vec<Trouble>)> {
        let (catalogue, troubles) = Catalogue::build(&*shelf, shelf.bundles()?, &withdrawn);
        let current = RwLock::new(Arc::new(catalogue));
        let read = tokio::sync::Mutex::new(Instant::now());
        Ok((Self { shelf, current, read, refresh, withdrawn }, troubles))
    }

    /// The catalogue, renewed if it is older than the refresh interval and the bundles changed, or if
    /// something was withdrawn or is served again since it was made.
    pub(super) async fn current(&self, report: &(dyn Fn(Trouble) + Send + Sync)) -> Arc<Catalogue> {
        let mut read = match self.read.try_lock() {
            Ok(read) => read,
            Err(_) if self.is_right(&self.known()) => return self.known(),
            Err(_) => self.read.lock().await,
        };
        let known = self.known();
        if read.elapsed() < self.refresh && self.is_right(&known) {
            return known;
        }
        let (shelf, withdrawn) = (Arc::clone(&self.shelf), Arc::clone(&self.withdrawn));
        let former = Arc::clone(&known);
        let renewed = tokio::task::spawn_blocking(move || {
            let bundles = shelf.bundles()?;
            let changed = former.generation != withdrawn.generation() || !former.lists(&bundles);
            Ok::<_, io::Error>(changed.then(|| Catalogue::build(&*shelf, bundles, &withdrawn)))
        });
        let renewed = renewed.await.unwrap_or_else(|stopped| Err(io::Error::other(stopped)));
        *read = Instant::now();
        match renewed {
            Ok(None) => known,
            Ok(Some((catalogue, troubles))) => {
                troubles.into_iter().for_each(report);
                let catalogue = Arc::new(catalogue);
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&catalogue);
                catalogue
            }
            Err(error) => {
                report(Trouble::Bundles(error));
                known
            }
        }
    }

    fn known(&self) -> Arc<Catalogue> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether nothing was withdrawn since a catalogue was made.
    fn is_right(&self, catalogue: &Catalogue) -> bool {
        catalogue.generation == self.withdrawn.generation()
    }

    /// The store.
    pub(super) fn shelf(&self) -> Arc<dyn Shelf> {
        Arc::clone(&self.shelf)
    }
}
