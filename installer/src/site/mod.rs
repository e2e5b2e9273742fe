//! The site: everything that this program keeps, below one directory.
//!
//! ```text
//! SITE/trust/                                   whom we trust: every root, every list of revocations
//! SITE/site.yaml                                what a person wrote about the site
//! SITE/key/                                     the site's own key, and its earlier public halves
//! SITE/store/                                   an OCI layout: every blob that was verified
//! SITE/store/bundles/<hex>/                     the signed originals of each admitted bundle
//! SITE/store/published.json                     which bundles `serve` shows, the newest first
//! SITE/ledger/<publisher>.<product>.json        what was applied, and the highest order ever applied
//! SITE/journal/<number>-<hex>.jsonl             the steps of each apply, as they happened
//! SITE/journal/<number>-<hex>.kept/             previous content of files
//! SITE/run/                                     a script while it runs
//! SITE/scratch/                                 what checks need for a moment
//! SITE/audit/audit.jsonl                        the hash-chained log
//! SITE/audit/checkpoints/                       what of it was signed with the site's key
//! SITE/audit/reserve                            room on the disk for the last words of a run
//! SITE/lock                                     held by whoever changes the site
//! ```

pub mod config;
pub mod evidence;
pub mod key;
pub mod ledger;
pub mod lock;
pub mod publication;
pub mod scratch;
pub mod trust;

use std::io;
use std::path::{Path, PathBuf};

use edge::{Classified, Exit};
use layout::durable;
use layout::signed_file::SignedFileError;
use layout::store::Store;
use manifests::root::RootError;

use config::{ConfigError, SiteConfig};

/// Where a site is if nobody says otherwise.
pub const DEFAULT_DIR: &str = "/var/lib/airlock";

/// A site's directory.
#[derive(Debug, Clone)]
pub struct Site {
    dir: PathBuf,
    /// Where content is that checks read and the store lacks.
    lent: Option<PathBuf>,
}

/// Why a site cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SiteError {
    /// It trusts nobody yet.
    #[error("the site {} has no trust root", dir.display())]
    Untrusting {
        /// Which.
        dir: PathBuf,
    },
    /// It has one already.
    #[error("the site {} has a trust root already: {title}", dir.display())]
    TrustedAlready {
        /// Which.
        dir: PathBuf,
        /// The root it has.
        title: String,
    },
    /// A root or a list of revocations cannot be used.
    #[error(transparent)]
    Trust(#[from] SignedFileError),
    /// The site's own roots or revocations are not what they were.
    #[error("the site's own trust is damaged")]
    TrustDamaged(#[source] SignedFileError),
    /// `site.yaml` cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file of the site cannot be read or written.
    #[error("{doing} {}", path.display())]
    Io {
        /// `cannot read`, …
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of the site was changed by somebody else.
    #[error("{} is not what this program wrote: {reason}", path.display())]
    Tampered {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl Classified for SiteError {
    fn exit(&self) -> Exit {
        match self {
            Self::Untrusting { .. } | Self::TrustedAlready { .. } | Self::Tampered { .. } => Exit::Refused,
            Self::Trust(SignedFileError::Read { .. }) | Self::Io { .. } => Exit::Unreachable,
            Self::TrustDamaged(SignedFileError::Read { .. }) => Exit::Unreachable,
            Self::Trust(_) | Self::TrustDamaged(_) => Exit::Refused,
            Self::Config(error) => error.exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Untrusting { .. } => Some(
                "run `installer trust init root.json --expect-sha256 HEX` with the fingerprint from paper"
                    .to_string(),
            ),
            Self::TrustedAlready { .. } => {
                Some("a later root of the same publisher is taken with `installer trust update`".to_string())
            }
            Self::Trust(SignedFileError::Root { source: RootError::Fingerprint { .. }, .. }) => Some(
                "compare the fingerprint with the one that came on paper; do not go on if it differs"
                    .to_string(),
            ),
            Self::Trust(SignedFileError::Root { source: RootError::Succession { .. }, .. }) => Some(
                "every root between is needed, in its order: ask the sender for those that are missing"
                    .to_string(),
            ),
            Self::Trust(SignedFileError::Root { .. } | SignedFileError::Revocations { .. }) => Some(
                "nothing was taken; compare with `installer trust show`, and ask the sender who signed it"
                    .to_string(),
            ),
            Self::TrustDamaged(_) => Some(
                "find out who changed it, and put the file back from a backup of the site directory; nothing is judged until then"
                    .to_string(),
            ),
            Self::Config(error) => error.hint(),
            Self::Tampered { .. } => Some("stop, and find out who changed it".to_string()),
            Self::Io { .. } => Some("run as the user who owns the site directory, usually root".to_string()),
            _ => None,
        }
    }
}

impl Site {
    /// The site in this directory, whether it is there yet or not.
    #[must_use]
    pub fn at(dir: PathBuf) -> Self {
        Self { dir, lent: None }
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its store.
    #[must_use]
    pub fn store(&self) -> Store {
        let store = Store::at(self.dir.join("store"));
        match &self.lent {
            Some(lent) => store.beside(lent.clone()),
            None => store,
        }
    }

    /// The same site, whose store also reads from this directory: only for checks.
    #[must_use]
    pub fn lent(&self, directory: &Path) -> Self {
        Self { dir: self.dir.clone(), lent: Some(directory.to_path_buf()) }
    }

    /// The directory of journals.
    #[must_use]
    pub fn journal_dir(&self) -> PathBuf {
        self.dir.join("journal")
    }

    /// Where a script lies while it runs.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// The audit log.
    #[must_use]
    pub fn audit_path(&self) -> PathBuf {
        self.dir.join("audit/audit.jsonl")
    }

    /// `site.yaml`, or what holds without one.
    ///
    /// # Errors
    /// It is there and cannot be used.
    pub fn config(&self) -> Result<SiteConfig, SiteError> {
        Ok(SiteConfig::load(&self.dir.join("site.yaml"))?)
    }
}

/// A number as we write it into names: no sign, no leading zero.
pub(crate) fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

/// Reads one of our own canonical JSON documents; `None` if it is not there.
///
/// # Errors
/// It is not readable, or not what we wrote.
fn read_document<T: serde::Serialize + serde::de::DeserializeOwned>(
    path: &Path,
    limit: u64,
) -> Result<Option<T>, SiteError> {
    match durable::read_bounded(path, limit) {
        Ok(bytes) => manifests::canonical::from_canonical(&bytes)
            .map(Some)
            .map_err(|error| SiteError::Tampered { path: path.to_path_buf(), reason: error.to_string() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SiteError::Io { doing: "cannot read", path: path.to_path_buf(), source }),
    }
}

/// Writes one of our own documents, durably.
///
/// # Errors
/// The place cannot be written to.
fn write_document<T: serde::Serialize>(path: &Path, document: &T) -> Result<(), SiteError> {
    let failed = |source| SiteError::Io { doing: "cannot write", path: path.to_path_buf(), source };
    let bytes =
        manifests::canonical::to_canonical(document).map_err(|error| failed(io::Error::other(error)))?;
    durable::replace(path, &bytes, 0o600).map_err(failed)
}
