//! What this machine says of itself in `/proc`: memory, load, and who listens for TCP connections (proc(5)). The one
//! place that reads these files. Sockets are looked at and never opened: a port that was tried out would be taken
//! for a moment, and low ports could not be tried by everybody.

use std::io::{Error, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// A machine with a million connections has 150 MB of them.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

fn text(path: &str) -> Result<String, Error> {
    let bytes = layout::durable::read_bounded(Path::new(path), FILE_BYTES_MAX)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Bytes of memory that programs can get without swapping.
///
/// # Errors
/// The kernel does not say.
pub fn memory_available() -> Result<u64, Error> {
    let found = available(&text("/proc/meminfo")?);
    found.ok_or_else(|| Error::new(ErrorKind::InvalidData, "/proc/meminfo has no MemAvailable"))
}

/// What `/proc/meminfo` says, in bytes, by the kernel's own words: `MemTotal`, `SwapFree`, …
///
/// # Errors
/// The kernel does not say.
pub fn memory() -> Result<Vec<(String, u64)>, Error> {
    let row = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        let bytes = rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)?;
        Some((name.to_string(), bytes))
    };
    Ok(text("/proc/meminfo")?.lines().filter_map(row).collect())
}

/// How many processes would have liked to run, on average of 1, 5 and 15 minutes: the first three numbers of
/// `/proc/loadavg`.
///
/// # Errors
/// The kernel does not say.
pub fn load() -> Result<Vec<f64>, Error> {
    Ok(text("/proc/loadavg")?.split_whitespace().take(3).filter_map(|number| number.parse().ok()).collect())
}

fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Where somebody listens for TCP connections.
///
/// # Errors
/// The kernel does not say.
pub fn listeners() -> Result<Vec<SocketAddr>, Error> {
    let mut found = listening(&text("/proc/net/tcp")?);
    match text("/proc/net/tcp6") {
        Ok(text) => found.extend(listening(&text)),
        // A kernel without IPv6.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(found)
}

/// The rows whose state is LISTEN.
fn listening(table: &str) -> Vec<SocketAddr> {
    const LISTEN: &str = "0A";
    let row = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, state) = (fields.next()?, fields.nth(1)?);
        let (address, port) = local.split_once(':')?;
        let address = SocketAddr::new(address_of(address)?, u16::from_str_radix(port, 16).ok()?);
        (state == LISTEN).then_some(address)
    };
    table.lines().skip(1).filter_map(row).collect()
}

/// Words of 32 bits in hexadecimal, each as it lies in this machine's memory.
fn address_of(hex: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for start in (0..hex.len()).step_by(8) {
        let word = u32::from_str_radix(hex.get(start..start.checked_add(8)?)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    if let Ok(four) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Some(IpAddr::V4(Ipv4Addr::from(four)));
    }
    let sixteen = <[u8; 16]>::try_from(bytes.as_slice()).ok()?;
    Some(Ipv6Addr::from(sixteen).to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_port_that_somebody_listens_on_is_seen_until_it_is_closed() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let address = listener.local_addr().unwrap();
            assert!(listeners().unwrap().contains(&address), "{address}");
            drop(listener);
            assert!(!listeners().unwrap().contains(&address), "{address}");
        }
    }

    #[test]
    fn only_what_listens_counts() {
        let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
        let (local, mapped) = (word([127, 0, 0, 1]), word([0, 0, 0xff, 0xff]));
        let table = format!(
            "  sl  local_address rem_address   st\n   0: {local}:1F90 00000000:0000 0A 0\n   1: {local}:1F91 {local}:0050 01 0\n   2: 0000000000000000{mapped}{local}:1F92 00000000000000000000000000000000:0000 0A 0\nnonsense\n"
        );
        let found: Vec<String> = listening(&table).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["127.0.0.1:8080", "127.0.0.1:8082"]);
    }

    #[test]
    fn memory_is_what_programs_can_get() {
        assert_eq!(available("MemTotal: 10 kB\nMemAvailable:    4 kB\n"), Some(4096));
        assert_eq!(available("MemTotal: 10 kB\n"), None);
        assert!(memory_available().unwrap() > 0);
    }
}
