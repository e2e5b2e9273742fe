//! A signed document as files: `root.json` or `revocations.json`, and beside it a directory of the same
//! name with `.sigs` at its end, which has one raw signature for each signer, `<keyid>.sig`. An auditor
//! checks them as those of a bundle.
//!
//! *What it never does:* judge. The bytes go to [`manifests::root`] or [`manifests::trust`].

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use manifests::root::{FoundSignature, SIGNATURE_BYTES_MAX, SIGNATURES_MAX};
use manifests::{Digest, KeyId, TrustRoot};

use crate::{durable, medium};

/// How many names of a directory of signatures are looked at.
const NAMES_MAX: usize = 4096;

/// A document and its signatures as they lie there; nothing is checked.
#[derive(Debug, Clone)]
pub struct SignedFile {
    /// The document.
    pub bytes: Vec<u8>,
    /// Every `<keyid>.sig` beside it.
    pub signatures: Vec<FoundSignature>,
}

/// Why a signed file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignedFileError {
    /// Not readable, or over its limit.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Read, and not a root that may be trusted.
    #[error("{}", path.display())]
    Root {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: manifests::root::RootError,
    },
    /// Read, and not revocations that may be taken.
    #[error("{}", path.display())]
    Revocations {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: manifests::revocation::RevocationError,
    },
}

/// The directory of a document's signatures.
#[must_use]
pub fn signature_dir(document: &Path) -> PathBuf {
    let mut name = OsString::from(document.as_os_str());
    name.push(".sigs");
    PathBuf::from(name)
}

/// Reads a document of at most `limit` bytes, and its signatures.
///
/// # Errors
/// A file is not readable or over its limit. A document without signatures is read: judging it comes
/// later.
pub fn read(path: &Path, limit: u64) -> Result<SignedFile, SignedFileError> {
    let bytes = medium::read_bounded(path, limit).map_err(|source| unreadable(path, source))?;
    Ok(SignedFile { bytes, signatures: read_signatures(&signature_dir(path))? })
}

/// Reads every `<keyid>.sig` of a directory, in the order of their names; none if it is not there.
///
/// # Errors
/// One is not readable or over its limit.
pub fn read_signatures(dir: &Path) -> Result<Vec<FoundSignature>, SignedFileError> {
    let mut signatures = Vec::new();
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(signatures),
        entries => entries.map_err(|source| unreadable(dir, source))?,
    };
    for entry in entries.take(NAMES_MAX) {
        let entry = entry.map_err(|source| unreadable(dir, source))?.path();
        if let Some(claimed) = claimed_key(&entry) {
            if signatures.len() == SIGNATURES_MAX {
                let reason = format!("more than {SIGNATURES_MAX} signatures");
                return Err(unreadable(dir, io::Error::new(io::ErrorKind::InvalidData, reason)));
            }
            let bytes = medium::read_bounded(&entry, SIGNATURE_BYTES_MAX)
                .map_err(|source| unreadable(&entry, source))?;
            signatures.push(FoundSignature { claimed, bytes });
        }
    }
    signatures.sort_by_key(|signature| signature.claimed);
    Ok(signatures)
}

fn unreadable(path: &Path, source: io::Error) -> SignedFileError {
    SignedFileError::Read { path: path.to_path_buf(), source }
}

fn claimed_key(path: &Path) -> Option<KeyId> {
    path.file_name()?.to_str()?.strip_suffix(".sig")?.parse().ok()
}

/// Writes a document and its signatures; the document last, so that one that is there has its
/// signatures. A signature of another document that was left in the directory would make this one bad: it
/// goes.
///
/// # Errors
/// The place cannot be written to.
pub fn write(path: &Path, file: &SignedFile) -> io::Result<()> {
    let dir = signature_dir(path);
    durable::make_directory(&dir)?;
    for entry in std::fs::read_dir(&dir)? {
        let entry = entry?.path();
        let stale = |keyid| file.signatures.iter().all(|signature| signature.claimed != keyid);
        if claimed_key(&entry).is_some_and(stale) {
            std::fs::remove_file(entry)?;
        }
    }
    for signature in &file.signatures {
        durable::replace(&dir.join(format!("{}.sig", signature.claimed)), &signature.bytes, 0o644)?;
    }
    durable::replace(path, &file.bytes, 0o644)
}

impl SignedFile {
    /// Takes it as a root whose fingerprint came on another channel.
    ///
    /// # Errors
    /// It is another one, or no valid one.
    pub fn pinned_root(&self, path: &Path, expected: Digest) -> Result<TrustRoot, SignedFileError> {
        let root = TrustRoot::pinned(&self.bytes, &self.signatures, expected);
        root.map_err(|source| SignedFileError::Root { path: path.to_path_buf(), source })
    }

    /// Takes it as a root that lies where only its owner can write.
    ///
    /// # Errors
    /// It is no valid one.
    pub fn trusted_root(&self, path: &Path) -> Result<TrustRoot, SignedFileError> {
        let root = TrustRoot::from_trusted_place(&self.bytes, &self.signatures);
        root.map_err(|source| SignedFileError::Root { path: path.to_path_buf(), source })
    }
}
