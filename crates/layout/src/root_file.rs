//! A trust root as files: `root.json`, and beside it the directory `root.json.sigs` with one raw
//! signature for each signer, `<keyid>.sig`. An auditor checks them as those of a bundle.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use manifests::root::{FoundSignature, ROOT_BYTES_MAX, SIGNATURE_BYTES_MAX, SIGNATURES_MAX};
use manifests::{Digest, KeyId, TrustRoot};

use crate::{durable, medium};

/// A root and its signatures as they lie there; nothing is checked.
#[derive(Debug, Clone)]
pub struct RootFile {
    /// `root.json`
    pub bytes: Vec<u8>,
    /// Every `<keyid>.sig` beside it.
    pub signatures: Vec<FoundSignature>,
}

/// Why a root file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootFileError {
    /// Not readable.
    #[error("cannot read the trust root {}", path.display())]
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
}

/// The directory of a root's signatures.
#[must_use]
pub fn signature_dir(root: &Path) -> PathBuf {
    let mut name = OsString::from(root.as_os_str());
    name.push(".sigs");
    PathBuf::from(name)
}

/// Reads a root and its signatures.
///
/// # Errors
/// A file is not readable or over its limit. A root without signatures is read: judging it comes later.
pub fn read(path: &Path) -> Result<RootFile, RootFileError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| RootFileError::Read { path, source }
    };
    let bytes = medium::read_bounded(path, ROOT_BYTES_MAX).map_err(failed(path))?;
    let dir = signature_dir(path);
    let mut signatures = Vec::new();
    let entries = match std::fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(RootFile { bytes, signatures }),
        entries => entries.map_err(failed(&dir))?,
    };
    for entry in entries.take(SIGNATURES_MAX) {
        let entry = entry.map_err(failed(&dir))?.path();
        if let Some(claimed) = claimed_key(&entry) {
            let bytes = medium::read_bounded(&entry, SIGNATURE_BYTES_MAX).map_err(failed(&entry))?;
            signatures.push(FoundSignature { claimed, bytes });
        }
    }
    signatures.sort_by_key(|signature| signature.claimed);
    Ok(RootFile { bytes, signatures })
}

fn claimed_key(path: &Path) -> Option<KeyId> {
    path.file_name()?.to_str()?.strip_suffix(".sig")?.parse().ok()
}

/// Writes a root and its signatures.
///
/// # Errors
/// The place cannot be written to.
pub fn write(path: &Path, root: &RootFile) -> io::Result<()> {
    let dir = signature_dir(path);
    durable::make_directory(&dir)?;
    for signature in &root.signatures {
        durable::replace(&dir.join(format!("{}.sig", signature.claimed)), &signature.bytes, 0o644)?;
    }
    durable::replace(path, &root.bytes, 0o644)
}

impl RootFile {
    /// Takes it as a root whose fingerprint came on another channel.
    ///
    /// # Errors
    /// It is another one, or no valid one.
    pub fn pinned(&self, path: &Path, expected: Digest) -> Result<TrustRoot, RootFileError> {
        let root = TrustRoot::pinned(&self.bytes, &self.signatures, expected);
        root.map_err(|source| RootFileError::Root { path: path.to_path_buf(), source })
    }

    /// Takes it as a root that lies where only its owner can write.
    ///
    /// # Errors
    /// It is no valid one.
    pub fn trusted(&self, path: &Path) -> Result<TrustRoot, RootFileError> {
        let root = TrustRoot::from_trusted_place(&self.bytes, &self.signatures);
        root.map_err(|source| RootFileError::Root { path: path.to_path_buf(), source })
    }
}
