//! `installer serve`: what a site holds, for the tools that a site has. A read-only OCI registry, a
//! Python index, a Helm repository, a file server and a page for people, straight from the verified
//! store.
//!
//! **What this module may never do:** write to the store, reach out to any other host, follow a path
//! that a request spelled. A request is split into keys, the keys are looked up in the [`catalogue`],
//! and only a digest ever reaches the [`shelf`].
//!
//! It follows the OCI distribution spec 1.1 (pull), PEP 503, PEP 658, PEP 691, PEP 700 and PEP 714, Helm's chart
//! repository guide, and RFC 9110 for ranges, conditions and negotiation. It speaks plain HTTP: what
//! crosses the wire was signed, and each of its clients checks digests again.
//!
//! This is the one place with an async runtime. Read in this order: [`shelf`] (what is needed of the
//! store), [`catalogue`], [`routes`], then one file per endpoint, then [`deliver`] and [`connection`].
//!
//! *Invariant:* memory is bounded by [`Limits`] and the inventories, never by what clients ask for.

mod answer;
mod body;
mod catalogue;
mod charts;
mod connection;
mod deliver;
mod files;
mod metadata;
mod negotiate;
mod page;
pub mod parsers;
mod python;
mod range;
mod registry;
mod repositories;
mod request;
mod routes;
pub mod shelf;
mod trouble;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, watch};

use catalogue::Library;
use deliver::Site;
use routes::Templates;
pub use shelf::{Judgement, PublishedBundle, Shelf, SignedBy};
pub use trouble::Trouble;

/// What clients may take of the machine.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open connections; the next ones wait in the kernel's queue. Well below the 1024 file descriptors
    /// that a process usually has.
    pub connections_max: usize,
    /// Downloads of large blobs at one time, each with up to 1.5 MiB in memory.
    pub downloads_max: usize,
    /// How long a download waits for its turn before it is told to try again.
    pub download_wait_max: Duration,
    /// How long a connection may take to send a request, or be idle between two.
    pub header_read_max: Duration,
    /// How long a client may take no byte of an answer.
    pub stall_max: Duration,
    /// How long running answers have when the server is told to stop.
    pub drain_max: Duration,
    /// How old the list of bundles may be.
    pub refresh: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 512,
            downloads_max: 64,
            download_wait_max: Duration::from_secs(120),
            header_read_max: Duration::from_secs(30),
            stall_max: Duration::from_secs(60),
            drain_max: Duration::from_secs(10),
            refresh: Duration::from_secs(1),
        }
    }
}

/// Threads that read from the disk.
const READERS_MAX: usize = 16;

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address is taken, or not one of this machine's.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Threads or signal handlers could not be set up.
    #[error("cannot start the server's threads and signal handlers")]
    Start(#[source] io::Error),
    /// The list of published bundles cannot be read.
    #[error("cannot read the published bundles of the site store")]
    Bundles(#[source] io::Error),
    /// A template does not parse: a defect of ours.
    #[error("the server's own page does not parse")]
    Template(#[source] minijinja::Error),
}

/// Ends a running server from another thread, as `SIGTERM` would.
#[derive(Debug, Clone)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Stop {
    /// For one server.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::channel(false).0))
    }

    /// Running answers come to their end, within [`Limits::drain_max`]; new ones are not begun.
    pub fn now(&self) {
        self.0.send_replace(true);
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

/// Serves until [`Stop::now`], `SIGINT` or `SIGTERM`. A second signal ends it at once.
///
/// `ready` hears the address once connections are taken: port 0 stands for a free one. `report` hears
/// what goes wrong meanwhile, from any thread.
///
/// # Errors
/// Only before `ready` is called; see [`ServeError`].
pub fn run(
    shelf: Arc<dyn Shelf>,
    listen: SocketAddr,
    limits: Limits,
    ready: impl FnOnce(SocketAddr),
    stop: &Stop,
    report: impl Fn(Trouble) + Send + Sync + 'static,
) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(READERS_MAX)
        .thread_name("serve")
        .build()
        .map_err(ServeError::Start)?;
    let served = runtime.block_on(serve(shelf, listen, limits, ready, stop, Arc::new(report)));
    // A read that hangs on a dead disk must not keep the program from ending.
    runtime.shutdown_background();
    served
}

async fn serve(
    shelf: Arc<dyn Shelf>,
    listen: SocketAddr,
    limits: Limits,
    ready: impl FnOnce(SocketAddr),
    stop: &Stop,
    report: Arc<dyn Fn(Trouble) + Send + Sync>,
) -> Result<(), ServeError> {
    let at = |source| ServeError::Listen { address: listen, source };
    let templates = Templates::new(page::Transport::Plain).map_err(ServeError::Template)?;
    let (library, troubles) = Library::open(shelf, limits.refresh).map_err(ServeError::Bundles)?;
    troubles.into_iter().for_each(|trouble| report(trouble));
    let mut signals = Signals::new().map_err(ServeError::Start)?;
    let listener = TcpListener::bind(listen).await.map_err(at)?;
    let address = listener.local_addr().map_err(at)?;
    let downloads = Arc::new(Semaphore::new(limits.downloads_max));
    let site = Arc::new(Site { library, templates, limits, downloads, report });
    ready(address);

    let first = stop.clone();
    let hurry = async move {
        signals.next().await;
        first.now();
        signals.next().await;
    };
    connection::accept(listener, site, stop.0.subscribe(), hurry).await;
    Ok(())
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
