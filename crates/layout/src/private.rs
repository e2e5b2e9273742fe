//! Files that nobody but their owner may read: private keys and passphrases.
//!
//! *Invariant:* what is looked at is what is read, and no copy of it is left in memory.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use zeroize::Zeroizing;

/// Why such a file is not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateError {
    /// Not readable, over its limit, or not a text.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// Others can read it, or write to it.
    #[error("it is open to others (mode {mode:04o})")]
    Open {
        /// Its mode.
        mode: u32,
    },
}

/// Reads a text of at most `limit` bytes that nobody else can read.
///
/// # Errors
/// See [`PrivateError`].
pub fn read(path: &Path, limit: u64) -> Result<Zeroizing<String>, PrivateError> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(PrivateError::Open { mode });
    }
    // All room at once: a text that grows leaves copies behind.
    let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let reason = format!("longer than {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason).into());
    }
    let text = std::str::from_utf8(&bytes);
    let text = text.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not a text file"))?;
    Ok(Zeroizing::new(text.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_anybody_else_could_read_or_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "secret").unwrap();
        for open in [0o640, 0o604, 0o620, 0o602, 0o644] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(open)).unwrap();
            assert!(matches!(read(&path, 10), Err(PrivateError::Open { mode }) if mode == open));
        }
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        assert_eq!(*read(&path, 6).unwrap(), "secret");
        assert!(matches!(read(&path, 5), Err(PrivateError::Read(_))));
        std::fs::write(&path, b"\xff").unwrap();
        assert!(matches!(read(&path, 10), Err(PrivateError::Read(_))));
    }
}
