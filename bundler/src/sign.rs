//! Signing: a signature is made or taken from a file, verified against its public key, and only then put
//! into the archive, in place.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use edge::{Classified, Exit};
use layout::medium::{self, MediumError};
use layout::reader::{BundleReader, Head, RESERVED_AREA, ReadError};
use layout::signatures::{self, AttachError};
use manifests::canonical::CanonicalError;
use manifests::key::KeyError;
use manifests::{BundleManifest, KeyId, PublicKey, SecretKey};

/// Why a bundle cannot be signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The archive cannot be opened.
    #[error(transparent)]
    Medium(#[from] MediumError),
    /// The archive cannot be opened for writing.
    #[error("cannot write to {}", path.display())]
    ReadOnly {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is not an archive of ours.
    #[error("{}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: ReadError,
    },
    /// Its `bundle.json` is not one: nobody should sign that.
    #[error("{}: bundle.json is not one", path.display())]
    Manifest {
        /// Which archive.
        path: PathBuf,
        /// What is wrong.
        source: CanonicalError,
    },
    /// The signature is not this key's over this bundle.
    #[error("the signature is not one of key {0} over this bundle.json")]
    Wrong(KeyId),
    /// The archive says that the key has signed already, and it is not so.
    #[error("the archive has a signature under key {0} already, and it is not one of this key over it")]
    Spoiled(KeyId),
    /// What a signer needs cannot be written.
    #[error("cannot write {}", path.display())]
    Prepare {
        /// The directory, or a file in it.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It cannot be put into the archive.
    #[error(transparent)]
    Attach(#[from] AttachError),
}

impl Classified for SignError {
    fn exit(&self) -> Exit {
        match self {
            Self::Prepare { source, .. } if source.kind() == ErrorKind::AlreadyExists => Exit::Usage,
            Self::Medium(_) | Self::ReadOnly { .. } | Self::Attach(_) | Self::Prepare { .. } => {
                Exit::Unreachable
            }
            Self::Read { .. } | Self::Manifest { .. } | Self::Spoiled(_) => Exit::Damaged,
            Self::Key(KeyError::SelfCheck) => Exit::Unexpected,
            Self::Wrong(_) => Exit::Refused,
            Self::Key(_) => Exit::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Wrong(_) => Some(
                "sign the very bytes of bundle.json: openssl pkeyutl -sign -inkey KEY -rawin -in bundle.json -out SIG"
                    .to_string(),
            ),
            Self::Prepare { source, .. } if source.kind() == ErrorKind::AlreadyExists => {
                Some("nothing is overwritten: name a directory that is not there yet".to_string())
            }
            Self::Spoiled(_) => {
                Some("if the key is an SSH key, give it as an SSH line; else take another copy of the archive".to_string())
            }
            Self::Key(error) => error.hint().map(str::to_string),
            _ => None,
        }
    }
}

/// What became of a request to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signed {
    /// The signature is in the archive now.
    Attached,
    /// The key has signed already: a second signature of one key is refused on site, and ECDSA makes
    /// another one each time.
    AlreadyThere,
}

/// An archive that is about to be signed.
pub struct Candidate {
    path: PathBuf,
    head: Head,
    /// What will be signed, parsed: it is shown to the person who signs.
    pub manifest: BundleManifest,
}

impl Candidate {
    /// Opens an archive. What a signature that was cut off has left in it is cleaned away.
    ///
    /// # Errors
    /// See [`SignError`].
    pub fn open(path: &Path) -> Result<Self, SignError> {
        let head = match read_head(path) {
            Err(SignError::Read { source: ReadError::NotZero { place: RESERVED_AREA, .. }, .. }) => {
                clean(path)?;
                read_head(path)?
            }
            other => other?,
        };
        let manifest = BundleManifest::from_bytes(&head.manifest)
            .map_err(|source| SignError::Manifest { path: path.to_path_buf(), source })?;
        Ok(Self { path: path.to_path_buf(), head, manifest })
    }

    /// The bytes that are signed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.head.manifest
    }

    /// Checks a signature and puts it into the archive.
    ///
    /// # Errors
    /// See [`SignError`].
    pub fn attach(&mut self, key: &PublicKey, raw: &[u8]) -> Result<Signed, SignError> {
        if !key.verifies(&self.head.manifest, raw) {
            return Err(SignError::Wrong(key.id()));
        }
        if let Some(found) = self.head.signatures.iter().find(|found| found.claimed == key.id()) {
            let good = key.verifies(&self.head.manifest, &found.bytes);
            return if good { Ok(Signed::AlreadyThere) } else { Err(SignError::Spoiled(key.id())) };
        }
        let archive = open_writable(&self.path)?;
        signatures::attach(&archive, &self.head, key.id(), raw)?;
        self.head = read_head(&self.path)?;
        Ok(Signed::Attached)
    }

    /// Signs with a private key, checks the signature, and puts it into the archive.
    ///
    /// # Errors
    /// See [`SignError`].
    pub fn sign(&mut self, key: &SecretKey) -> Result<Signed, SignError> {
        let raw = key.sign(&self.head.manifest)?;
        self.attach(&key.public()?, &raw)
    }
}

fn read_head(path: &Path) -> Result<Head, SignError> {
    let (file, _) = medium::open(path)?;
    let reader = BundleReader::open(file);
    let reader = reader.map_err(|source| SignError::Read { path: path.to_path_buf(), source })?;
    Ok(reader.head().clone())
}

fn open_writable(path: &Path) -> Result<File, SignError> {
    let file = File::options().read(true).write(true).open(path);
    file.map_err(|source| SignError::ReadOnly { path: path.to_path_buf(), source })
}

/// Zeros the rest of the signature area of an archive whose reader stumbles over it.
fn clean(path: &Path) -> Result<(), SignError> {
    let archive = open_writable(path)?;
    let (offset, size) = layout::reader::find_reserved(&archive)
        .map_err(|source| SignError::Read { path: path.to_path_buf(), source })?;
    Ok(signatures::clean(&archive, offset, size)?)
}
