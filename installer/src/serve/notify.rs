//! Telling systemd that the server is ready: `sd_notify(3)`, one datagram to the socket that it names.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The environment variable in which systemd names its socket.
pub const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// Says that connections are taken.
///
/// # Errors
/// Nobody listens there.
pub fn ready(socket: &str) -> io::Result<()> {
    let address = match socket.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_listens_on_a_path_or_under_a_name_hears_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("airlock-{}", path.display());
        let by_name = SocketAddr::from_abstract_name(&name).unwrap();
        for (heard, socket) in [
            (UnixDatagram::bind(&path).unwrap(), path.display().to_string()),
            (UnixDatagram::bind_addr(&by_name).unwrap(), format!("@{name}")),
        ] {
            ready(&socket).unwrap();
            let mut said = [0; 64];
            let length = heard.recv(&mut said).unwrap();
            assert_eq!(&said[..length], b"READY=1");
        }
        assert!(ready("/nowhere/notify").is_err());
    }
}
