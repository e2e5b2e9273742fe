//! `installer serve`: what a site holds, for the tools that a site has. A read-only OCI registry, a
//! Python index, a Helm repository, a file server and a page for people, straight from the verified
//! store.
//!
//! **What this module may never do:** write to the store, reach out to any other host, follow a path
//! that a request spelled. A request is split into keys, the keys are looked up in the [`catalogue`],
//! and only a digest ever reaches the [`shelf`].
//!
//! It follows the OCI distribution spec 1.1 (pull), PEP 503, PEP 658, PEP 691, PEP 700 and PEP 714, Helm's chart
//! repository guide, and RFC 9110 for ranges, conditions and negotiation. Who gets in is up to the [`door`]:
//! addresses, TLS, logins.
//!
//! Nothing is served that is not what was admitted: blobs are hashed again on a schedule ([`rehash`]) and
//! while they are sent ([`body`]), and those that are rotten are [`withdrawn`].
//!
//! This is the one place with an async runtime. Read in this order: [`shelf`] (what is needed of the
//! store), [`catalogue`], [`routes`], then one file per endpoint, then [`deliver`], [`door`] and [`connection`].
//!
//! *Invariant:* memory is bounded by [`Limits`] and the inventories, never by what clients ask for.

mod answer;
mod body;
mod catalogue;
mod charts;
mod connection;
mod deliver;
pub mod door;
mod files;
mod metadata;
mod negotiate;
mod network;
pub mod notify;
mod page;
pub mod parsers;
mod prune;
mod python;
mod range;
mod registry;
mod rehash;
mod repositories;
mod request;
mod routes;
pub mod shelf;
mod tls;
mod trouble;
mod users;
mod withdrawn;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use manifests::Digest;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};

use body::Slots;
use catalogue::Library;
use deliver::Site;
pub use door::{Door, DoorError, DoorPlan};
pub use network::{Network, NetworkError};
use rehash::Rehasher;
pub use rehash::{RehashPolicy, still_withdrawn};
use routes::Templates;
pub use shelf::{Judgement, PublishedBundle, Shelf, SignedBy};
pub use tls::{TlsError, TlsFiles};
pub use trouble::Trouble;
pub use users::UsersError;
use withdrawn::Withdrawn;
pub use withdrawn::{Note, Record};

/// What clients may take of the machine.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open connections; the next ones wait in the kernel's queue. Well below the 1024 file descriptors
    /// that a process usually has.
    pub connections_max: usize,
    /// Downloads of large blobs at one time. They share 24 MiB of memory: the more there are, the less each
    /// reads at a time. Each has a file open beside its connection.
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
            downloads_max: 400,
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
/// How long is waited for the last line of the record.
const REHASHER_END_MAX: Duration = Duration::from_secs(5);

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

/// How a server is run.
pub struct Options {
    /// What clients may take of the machine.
    pub limits: Limits,
    /// Who gets in.
    pub door: Door,
    /// How blobs are hashed again.
    pub rehash: RehashPolicy,
    /// Blobs that were withdrawn when the server last ran.
    pub withdrawn: BTreeSet<Digest>,
    /// Hears what is withdrawn and what is served again.
    pub record: Record,
}

/// For everybody on this machine, with a look only at blobs that are in doubt, and without a record.
impl From<Limits> for Options {
    fn from(limits: Limits) -> Self {
        let rehash = RehashPolicy { every: None, ..RehashPolicy::default() };
        let record = Box::new(|_: &Note| Ok(()));
        Self { limits, door: Door::open_to_all(), rehash, withdrawn: BTreeSet::new(), record }
    }
}

/// Serves until [`Stop::now`], `SIGINT` or `SIGTERM`. A second signal ends it at once. `SIGHUP` reads
/// certificate and users again.
///
/// `ready` hears the address once connections are taken: port 0 stands for a free one. `report` hears
/// what goes wrong meanwhile, from any thread.
///
/// # Errors
/// Only before `ready` is called; see [`ServeError`].
pub fn run(
    shelf: Arc<dyn Shelf>,
    listen: SocketAddr,
    options: impl Into<Options>,
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
    let served = runtime.block_on(serve(shelf, listen, options.into(), ready, stop, Arc::new(report)));
    // A read that hangs on a dead disk must not keep the program from ending.
    runtime.shutdown_background();
    served
}

async fn serve(
    shelf: Arc<dyn Shelf>,
    listen: SocketAddr,
    options: Options,
    ready: impl FnOnce(SocketAddr),
    stop: &Stop,
    report: Arc<dyn Fn(Trouble) + Send + Sync>,
) -> Result<(), ServeError> {
    let Options { limits, door, rehash, withdrawn, record } = options;
    let at = |source| ServeError::Listen { address: listen, source };
    let templates = Templates::new(door.transport()).map_err(ServeError::Template)?;
    let (withdrawn, news) = Withdrawn::new(withdrawn, Arc::clone(&report));
    let opened = Library::open(Arc::clone(&shelf), limits.refresh, Arc::clone(&withdrawn));
    let (library, troubles) = opened.map_err(ServeError::Bundles)?;
    troubles.into_iter().for_each(|trouble| report(trouble));
    let mut signals = Signals::new().map_err(ServeError::Start)?;
    let listener = TcpListener::bind(listen).await.map_err(at)?;
    let address = listener.local_addr().map_err(at)?;
    let rehasher = Rehasher {
        shelf,
        withdrawn: Arc::clone(&withdrawn),
        policy: rehash,
        clock: edge::env::system_clock(),
        record,
        report: Arc::clone(&report),
        news,
        state: rehash::State::default(),
    };
    let ended = spawn(rehasher).map_err(ServeError::Start)?;
    let door = Arc::new(door);
    if let Some(time) = door.ends_soon() {
        report(Trouble::EndsSoon(time));
    }
    let reloads = reload_on_hangup(Arc::clone(&door), Arc::clone(&report)).map_err(ServeError::Start)?;
    let downloads = Slots::new(limits.downloads_max);
    let site = Arc::new(Site { library, templates, limits, downloads, door, report });
    ready(address);

    let first = stop.clone();
    let hurry = async move {
        signals.next().await;
        first.now();
        signals.next().await;
    };
    connection::accept(listener, site, stop.0.subscribe(), hurry).await;
    reloads.abort();
    withdrawn.stop();
    // A line of the record that is being written must not be cut off; a disk that is dead is not waited for.
    let _ = tokio::time::timeout(REHASHER_END_MAX, ended).await;
    Ok(())
}

/// Starts the thread that hashes blobs again; the receiver hears when it has ended.
fn spawn(rehasher: Rehasher) -> io::Result<oneshot::Receiver<()>> {
    let (alive, ended) = oneshot::channel::<()>();
    std::thread::Builder::new().name("rehash".to_string()).spawn(move || {
        rehasher.run();
        drop(alive);
    })?;
    Ok(ended)
}

/// Reads the door's files again whenever `SIGHUP` comes. A server without any has no use for it, and ends with
/// its terminal.
fn reload_on_hangup(
    door: Arc<Door>,
    report: Arc<dyn Fn(Trouble) + Send + Sync>,
) -> io::Result<tokio::task::AbortHandle> {
    let hangup = door.has_files().then(|| signal(SignalKind::hangup())).transpose()?;
    let task = tokio::spawn(async move {
        let Some(mut hangup) = hangup else { return };
        while hangup.recv().await.is_some() {
            let again = Arc::clone(&door);
            match tokio::task::spawn_blocking(move || again.reload()).await {
                Ok(Err(error)) => report(Trouble::Reload(error)),
                Ok(Ok(())) => {
                    report(Trouble::Reloaded);
                    door.ends_soon().map(Trouble::EndsSoon).into_iter().for_each(|trouble| report(trouble));
                }
                Err(_) => {}
            }
        }
    });
    Ok(task.abort_handle())
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
