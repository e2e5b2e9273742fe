//! Key files: private keys are closed to others, and a file that is not is refused.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use edge::{Classified, Exit};
use manifests::key::{KEY_FILE_BYTES_MAX, KeyError};
use manifests::{PublicKey, SecretKey};

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// Not readable.
    #[error("cannot read the key {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Not writable.
    #[error("cannot write the key {}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Others can read it.
    #[error("the private key {} is open to others (mode {mode:04o})", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Not a key that we use.
    #[error("{} cannot be used", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
    /// No random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
}

impl Classified for KeyFileError {
    fn exit(&self) -> Exit {
        match self {
            Self::Read { .. } | Self::Write { .. } => Exit::Unreachable,
            Self::Key { .. } => Exit::Usage,
            Self::Open { .. } => Exit::Refused,
            Self::Random(_) => Exit::Unexpected,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Open { path, .. } => Some(format!(
                "if nobody else can have read it: chmod 600 {}; otherwise make a new key",
                path.display()
            )),
            Self::Write { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                Some("a key is never overwritten: choose another --name or --out".to_string())
            }
            _ => None,
        }
    }
}

/// Reads a private key.
///
/// # Errors
/// See [`KeyFileError`].
pub fn read_secret(path: &Path) -> Result<SecretKey, KeyFileError> {
    let failed = |source| KeyFileError::Read { path: path.to_path_buf(), source };
    let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Open { path: path.to_path_buf(), mode });
    }
    let text = read_text(path)?;
    SecretKey::from_pem(&text).map_err(|source| KeyFileError::Key { path: path.to_path_buf(), source })
}

/// Reads a public key.
///
/// # Errors
/// See [`KeyFileError`].
pub fn read_public(path: &Path) -> Result<PublicKey, KeyFileError> {
    let text = read_text(path)?;
    PublicKey::from_pem(&text).map_err(|source| KeyFileError::Key { path: path.to_path_buf(), source })
}

fn read_text(path: &Path) -> Result<String, KeyFileError> {
    let failed = |source| KeyFileError::Read { path: path.to_path_buf(), source };
    let bytes = layout::durable::read_bounded(path, KEY_FILE_BYTES_MAX).map_err(failed)?;
    String::from_utf8(bytes)
        .map_err(|_| failed(io::Error::new(io::ErrorKind::InvalidData, "not a text file")))
}

/// Makes a new key pair: `NAME.key.pem` for its owner only, and `NAME.pub.pem`.
///
/// # Errors
/// A file of that name is there already, or the directory cannot be written to.
pub fn create(dir: &Path, name: &str) -> Result<(PathBuf, PathBuf, PublicKey), KeyFileError> {
    let mut seed = [0_u8; 32];
    getrandom::fill(&mut seed).map_err(|error| KeyFileError::Random(error.to_string()))?;
    let secret = SecretKey::from_seed(&seed);
    let (private_path, public_path) =
        (dir.join(format!("{name}.key.pem")), dir.join(format!("{name}.pub.pem")));
    let key_error = |source| KeyFileError::Key { path: private_path.clone(), source };
    let (pem, public) = (secret.to_pem().map_err(key_error)?, secret.public().map_err(key_error)?);
    let dir_error = |source| KeyFileError::Write { path: dir.to_path_buf(), source };
    std::fs::create_dir_all(dir).map_err(dir_error)?;
    if public_path.exists() {
        let source = io::Error::from(io::ErrorKind::AlreadyExists);
        return Err(KeyFileError::Write { path: public_path, source });
    }
    write_new(&private_path, pem.as_bytes(), 0o600)?;
    write_new(&public_path, public.pem().as_bytes(), 0o644)?;
    Ok((private_path, public_path, public))
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<(), KeyFileError> {
    let failed = |source| KeyFileError::Write { path: path.to_path_buf(), source };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failed)
}
