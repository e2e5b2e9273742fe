//! A site's receipt on the connected side: read from a file, from typed lines or from what a scanner has read, and
//! taken only if a key has signed it that somebody here has named.
//!
//! *Whom to believe.* No receipt brings its key along, and no trust root lists one: the publisher has no say in a
//! site's key. Somebody gets the public half once and compares its id with the one that the site has on paper
//! (`installer trust key show`). Then it is named, or lies in a directory of known sites as `SITE.pub.pem`. Without a
//! key nothing is taken.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use edge::{Classified, Exit};
use layout::medium;
use manifests::receipt::pieces::{PieceError, Pieces};
use manifests::receipt::{FormError, RECEIPT_BYTES_MAX, ReceiptError, SignedReceipt};
use manifests::{KeyId, Name, PublicKey, VerifiedReceipt};

use crate::keys::{self, KeyFileError};

/// How many sites a directory may have.
const SITES_MAX: usize = 10_000;

/// Why a receipt is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptFileError {
    /// A file or directory cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is no receipt, or not all of one.
    #[error("{}", path.display())]
    Form {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: FormError,
    },
    /// A text or scanned codes.
    #[error("{}", path.display())]
    Pieces {
        /// Which file, or the last of several.
        path: PathBuf,
        /// What is wrong.
        source: PieceError,
    },
    /// A whole receipt beside other files.
    #[error("{} is a whole receipt, and there are other files beside it", path.display())]
    Beside {
        /// Which file.
        path: PathBuf,
    },
    /// It must not be gone by.
    #[error("{} is refused", path.display())]
    Refused {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: ReceiptError,
    },
    /// The key is one site's, and the receipt names another.
    #[error("{} is refused: it is signed with the key of the site {key_of}, and says that it is of {named}", path.display())]
    AnotherSite {
        /// Which file.
        path: PathBuf,
        /// Whose key it is.
        key_of: Name,
        /// What the receipt says.
        named: String,
    },
    /// A directory without keys.
    #[error("{} has no key of a site: no file NAME.pub.pem", dir.display())]
    NoSites {
        /// Which directory.
        dir: PathBuf,
    },
    /// The file of a key.
    #[error(transparent)]
    Key(#[from] KeyFileError),
}

impl Classified for ReceiptFileError {
    fn exit(&self) -> Exit {
        match self {
            Self::Read { .. } => Exit::Unreachable,
            Self::Form { source, .. } | Self::Pieces { source: PieceError::Form(source), .. } => match source
            {
                FormError::NotAReceipt => Exit::Usage,
                _ => Exit::Damaged,
            },
            Self::Pieces { source: PieceError::NotAReceipt | PieceError::TwoReceipts { .. }, .. } => {
                Exit::Usage
            }
            Self::Pieces { .. } => Exit::Damaged,
            Self::Beside { .. } | Self::NoSites { .. } => Exit::Usage,
            Self::Refused { .. } | Self::AnotherSite { .. } => Exit::Refused,
            Self::Key(error) => error.exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Refused { source: ReceiptError::AnotherKey { .. }, .. } => {
                "compare the key's id with the one that the site has on paper; a site whose key was replaced has to say so on that same way"
            }
            Self::Refused { .. } | Self::AnotherSite { .. } => {
                "do not go by it; ask the site for another one, and find out who changed this one"
            }
            Self::Pieces { source: PieceError::Missing { .. }, .. } => {
                "scan or type these too, and give all files together"
            }
            Self::Pieces { source: PieceError::Line { .. } | PieceError::Check { .. }, .. } => {
                "compare that line with the paper, character by character; a remark begins with #"
            }
            Self::Pieces { source: PieceError::TwoReceipts { .. }, .. } => {
                "give the pieces of one receipt at a time"
            }
            Self::Form { source: FormError::NotAReceipt, .. }
            | Self::Pieces { source: PieceError::NotAReceipt, .. } => {
                "give the file that `installer receipt` wrote, its lines typed again, or what a scanner read of its codes"
            }
            Self::Form { .. } | Self::Pieces { .. } => "copy it again from where it was whole",
            Self::Beside { .. } => "give one whole receipt, or pieces of one",
            Self::Key(error) => return error.hint(),
            Self::Read { .. } | Self::NoSites { .. } => return None,
        };
        Some(hint.to_string())
    }
}

/// The keys of sites that somebody here has named.
#[derive(Debug)]
pub struct KnownSites {
    keys: Vec<PublicKey>,
    /// Whose key it is, where a directory says so.
    names: BTreeMap<KeyId, Name>,
}

impl KnownSites {
    /// These keys, whichever site they are of.
    ///
    /// # Errors
    /// One cannot be used.
    pub fn keys(paths: &[PathBuf]) -> Result<Self, ReceiptFileError> {
        let keys = paths.iter().map(|path| keys::read_public(path)).collect::<Result<_, _>>()?;
        Ok(Self { keys, names: BTreeMap::new() })
    }

    /// Each `SITE.pub.pem` of a directory: a key for the receipts of that site only.
    ///
    /// # Errors
    /// One cannot be used, or there is none.
    pub fn directory(dir: &Path) -> Result<Self, ReceiptFileError> {
        let failed = |source| ReceiptFileError::Read { path: dir.to_path_buf(), source };
        let (mut keys, mut names) = (Vec::new(), BTreeMap::new());
        for entry in std::fs::read_dir(dir).map_err(failed)?.take(SITES_MAX) {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".pub.pem"));
            if let Some(name) = name.and_then(|name| name.parse().ok()) {
                let key = keys::read_public(&path)?;
                names.insert(key.id(), name);
                keys.push(key);
            }
        }
        if keys.is_empty() {
            return Err(ReceiptFileError::NoSites { dir: dir.to_path_buf() });
        }
        Ok(Self { keys, names })
    }

    /// Whose key it is, where a directory says so.
    #[must_use]
    pub fn name(&self, keyid: KeyId) -> Option<&Name> {
        self.names.get(&keyid)
    }
}

/// Reads a receipt: one file, or pieces in several, in any order. Its signature is not checked.
///
/// # Errors
/// See [`ReceiptFileError`].
pub fn read(paths: &[PathBuf]) -> Result<SignedReceipt, ReceiptFileError> {
    let mut pieces = Pieces::default();
    for path in paths {
        let failed = |source| ReceiptFileError::Read { path: path.clone(), source };
        let bytes = medium::read_bounded(path, RECEIPT_BYTES_MAX).map_err(failed)?;
        if bytes.starts_with(b"{") {
            let signed = SignedReceipt::from_bytes(&bytes);
            let signed = signed.map_err(|source| ReceiptFileError::Form { path: path.clone(), source })?;
            return if paths.len() == 1 {
                Ok(signed)
            } else {
                Err(ReceiptFileError::Beside { path: path.clone() })
            };
        }
        let wrong = |source| ReceiptFileError::Pieces { path: path.clone(), source };
        let text = std::str::from_utf8(&bytes).map_err(|_| wrong(PieceError::NotAReceipt))?;
        pieces.read(text).map_err(wrong)?;
    }
    let path = paths.last().cloned().unwrap_or_default();
    pieces.finish().map_err(|source| ReceiptFileError::Pieces { path, source })
}

/// Reads a receipt and takes it, if a known site's key has signed it and it is of that site.
///
/// # Errors
/// See [`ReceiptFileError`].
pub fn verify(paths: &[PathBuf], known: &KnownSites) -> Result<VerifiedReceipt, ReceiptFileError> {
    let signed = read(paths)?;
    let path = || paths.first().cloned().unwrap_or_default();
    let receipt = VerifiedReceipt::verify(&signed, &known.keys)
        .map_err(|source| ReceiptFileError::Refused { path: path(), source })?;
    let document = receipt.document();
    if let Some(name) = known.name(document.keyid)
        && document.site.as_ref() != Some(name)
    {
        let named = document.site.as_ref().map_or("a site without a name".to_string(), ToString::to_string);
        return Err(ReceiptFileError::AnotherSite { path: path(), key_of: name.clone(), named });
    }
    Ok(receipt)
}
