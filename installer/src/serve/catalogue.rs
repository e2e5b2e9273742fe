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
use super::python::PythonIndex;
use super::repositories::Repositories;
use super::shelf::{PublishedBundle, Shelf};
use super::trouble::Trouble;

/// What the published bundles hold, by every name under which it is served.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    pub(super) bundles: Vec<Arc<PublishedBundle>>,
    pub(super) repositories: Repositories,
    pub(super) python: PythonIndex,
    pub(super) charts: ChartRepository,
    pub(super) files: FileSets,
}

impl Catalogue {
    /// Reads the manifests of images and the metadata of charts. What cannot be read is left out of
    /// what follows from it, and told.
    pub(super) fn build(shelf: &dyn Shelf, bundles: Vec<Arc<PublishedBundle>>) -> (Self, Vec<Trouble>) {
        let mut troubles = Vec::new();
        let mut catalogue = Self::default();
        for bundle in &bundles {
            catalogue.repositories.add(shelf, bundle, &mut troubles);
            catalogue.python.add(shelf, bundle, &mut troubles);
            catalogue.charts.add(shelf, bundle, &mut troubles);
            catalogue.files.add(bundle);
        }
        catalogue.repositories.finish();
        catalogue.bundles = bundles;
        (catalogue, troubles)
    }

    fn lists(&self, bundles: &[Arc<PublishedBundle>]) -> bool {
        self.bundles.len() == bundles.len() && self.bundles.iter().zip(bundles).all(|(a, b)| a.is_same(b))
    }
}

/// The catalogue in use. `serve` runs while an apply publishes, so it is renewed while requests come in.
pub(super) struct Library {
    shelf: Arc<dyn Shelf>,
    current: RwLock<Arc<Catalogue>>,
    /// When the list was last read. Who holds this lock renews; everybody else takes what is there.
    read: tokio::sync::Mutex<Instant>,
    refresh: Duration,
}

impl Library {
    /// Reads the bundles for the first time. Call this inside the runtime.
    ///
    /// # Errors
    /// The shelf cannot be read.
    pub(super) fn open(shelf: Arc<dyn Shelf>, refresh: Duration) -> io::Result<(Self, Vec<Trouble>)> {
        let (catalogue, troubles) = Catalogue::build(&*shelf, shelf.bundles()?);
        let current = RwLock::new(Arc::new(catalogue));
        Ok((Self { shelf, current, read: tokio::sync::Mutex::new(Instant::now()), refresh }, troubles))
    }

    /// The catalogue, renewed if it is older than the refresh interval and the bundles changed.
    pub(super) async fn current(&self, report: &(dyn Fn(Trouble) + Send + Sync)) -> Arc<Catalogue> {
        let known = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        let Ok(mut read) = self.read.try_lock() else { return known };
        if read.elapsed() < self.refresh {
            return known;
        }
        let shelf = Arc::clone(&self.shelf);
        let former = Arc::clone(&known);
        let renewed = tokio::task::spawn_blocking(move || {
            let bundles = shelf.bundles()?;
            let changed = !former.lists(&bundles);
            Ok::<_, io::Error>(changed.then(|| Catalogue::build(&*shelf, bundles)))
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

    /// The store.
    pub(super) fn shelf(&self) -> Arc<dyn Shelf> {
        Arc::clone(&self.shelf)
    }
}
