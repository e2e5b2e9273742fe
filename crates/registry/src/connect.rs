//! A TCP connection and nothing more: the one place beside [`crate::http`] that opens one to a network.
//!
//! What it may never do: wait longer than it was told, the lookup of the name included.

use std::io::{Error, ErrorKind};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::time::Duration;

/// Connects to `HOST:PORT`, an IPv6 address in brackets: to the first of the name's addresses that answers.
///
/// # Errors
/// The name has no address, nobody listens on any of them, or `limit` is over.
pub fn connect(authority: &str, limit: Duration) -> Result<TcpStream, Error> {
    let clock = edge::env::system_clock();
    let began = clock.monotonic();
    let left = || limit.saturating_sub(clock.monotonic().saturating_sub(began));
    let mut last = Error::new(ErrorKind::NotFound, "the name has no address");
    for address in addresses(authority, limit)? {
        let left = left();
        if left.is_zero() {
            return Err(too_slow());
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The system's lookup has no time limit of ours, so it is left alone when it takes too long.
fn addresses(authority: &str, limit: Duration) -> Result<Vec<SocketAddr>, Error> {
    let (sender, receiver) = mpsc::channel();
    let authority = authority.to_string();
    std::thread::spawn(move || {
        // Nobody may be waiting any more.
        let _ = sender.send(authority.to_socket_addrs().map(Iterator::collect));
    });
    receiver.recv_timeout(limit).unwrap_or_else(|_| Err(too_slow()))
}

fn too_slow() -> Error {
    Error::new(ErrorKind::TimedOut, "no answer in time")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn tells_who_listens_from_who_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(connect(&address.to_string(), LIMIT).unwrap().peer_addr().unwrap(), address);
        assert!(
            connect(&format!("localhost:{}", address.port()), LIMIT).is_ok(),
            "by the second address if need be"
        );
        drop(listener);
        assert_eq!(connect(&address.to_string(), LIMIT).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert!(connect("no-such-host.invalid:1", LIMIT).is_err());
        assert!(connect("127.0.0.1:1", Duration::ZERO).is_err());
    }
}
