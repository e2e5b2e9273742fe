//! A wire with scissors: passes bytes between a client and a real server, and cuts connections after as
//! many bytes as a test says.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

/// Forwards connections until it is dropped.
pub struct CuttingProxy {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    stopping: Arc<AtomicBool>,
    listening: Option<JoinHandle<()>>,
}

impl CuttingProxy {
    /// Forwards to `upstream` (`HOST:PORT`). The n-th connection is cut when so many bytes have come back
    /// as the n-th entry of `cuts` says; `None`, and all later ones, never.
    ///
    /// # Panics
    /// Where there is no loopback interface.
    #[must_use]
    pub fn start(upstream: &str, cuts: &[Option<u64>]) -> Self {
        Self::cutting(upstream, cuts, |cut| (u64::MAX, cut))
    }

    /// The same, and it is what goes to the server that is counted.
    ///
    /// # Panics
    /// Where there is no loopback interface.
    #[must_use]
    pub fn start_on_the_way_there(upstream: &str, cuts: &[Option<u64>]) -> Self {
        Self::cutting(upstream, cuts, |cut| (cut, u64::MAX))
    }

    /// `ways` says how much goes to the server and back.
    fn cutting(upstream: &str, cuts: &[Option<u64>], ways: fn(u64) -> (u64, u64)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let stopping = Arc::new(AtomicBool::new(false));
        let (upstream, cuts) = (upstream.to_string(), cuts.to_vec());
        let (counter, stop) = (Arc::clone(&accepted), Arc::clone(&stopping));
        let listening = std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let cut = cuts.get(counter.fetch_add(1, Ordering::SeqCst)).copied().flatten();
                let server = TcpStream::connect(&upstream).unwrap();
                std::thread::spawn(move || forward(&client, &server, ways(cut.unwrap_or(u64::MAX))));
            }
        });
        Self { address, accepted, stopping, listening: Some(listening) }
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections were accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for CuttingProxy {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // Wakes the listener from its wait for a connection.
        let _ = TcpStream::connect(self.address);
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
    }
}

fn forward(client: &TcpStream, server: &TcpStream, (there, back): (u64, u64)) {
    std::thread::scope(|scope| {
        scope.spawn(|| pump(client, server, there));
        pump(server, client, back);
    });
}

/// Copies until the end, the limit or an error, and then ends both connections, whichever it was.
fn pump(mut from: &TcpStream, mut to: &TcpStream, mut left: u64) {
    let mut buffer = vec![0; 64 * 1024];
    while left > 0 {
        let Ok(count @ 1..) = from.read(&mut buffer) else { break };
        let passed = usize::try_from(left).map_or(count, |left| left.min(count));
        if to.write_all(&buffer[..passed]).is_err() {
            break;
        }
        left -= passed as u64;
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
