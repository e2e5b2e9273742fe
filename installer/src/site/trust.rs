//! What the site trusts, as files: the chain of roots and the lists of revocations, all of which are kept.
//!
//! ```text
//! SITE/trust/1.root.json, 1.root.json.sigs/                  the one that was pinned; it may be a later one
//! SITE/trust/2.root.json, 2.root.json.sigs/                  … and each that followed
//! SITE/trust/1.3.revocations.json, 1.3.revocations.json.sigs/   epoch 1, version 3
//! ```
//!
//! *Invariant:* nothing in here is taken as it lies: the whole chain is followed again, signature by
//! signature, whenever it is read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use layout::durable;
use layout::signed_file::{self, SignedFile, SignedFileError};
use manifests::revocation::{REVOCATIONS_BYTES_MAX, RevocationDocument};
use manifests::root::ROOT_BYTES_MAX;
use manifests::{Digest, Trust, TrustRoot};

use super::{Site, SiteError, number};

impl Site {
    fn trust_dir(&self) -> PathBuf {
        self.dir().join("trust")
    }

    fn root_path(&self, version: u64) -> PathBuf {
        self.trust_dir().join(format!("{version}.root.json"))
    }

    fn revocations_path(&self, (epoch, version): (u64, u64)) -> PathBuf {
        self.trust_dir().join(format!("{epoch}.{version}.revocations.json"))
    }

    /// Whether there is a trust root.
    ///
    /// # Errors
    /// The site's directory cannot be looked at.
    pub fn is_initialised(&self) -> Result<bool, SiteError> {
        Ok(!self.root_versions()?.is_empty())
    }

    /// What bundles are judged by.
    ///
    /// # Errors
    /// There is nothing, or it is not valid any more.
    pub fn trust(&self) -> Result<Trust, SiteError> {
        self.follow().map_err(|error| match error {
            SiteError::Trust(source) => SiteError::TrustDamaged(source),
            other => other,
        })
    }

    fn follow(&self) -> Result<Trust, SiteError> {
        let versions = self.root_versions()?;
        let Some((first, later)) = versions.split_first() else {
            return Err(SiteError::Untrusting { dir: self.dir().to_path_buf() });
        };
        let mut trust = Trust::starting_with(self.first_root(*first)?);
        for version in later {
            let path = self.root_path(*version);
            let file = signed_file::read(&path, ROOT_BYTES_MAX)?;
            trust
                .advance(&file.bytes, &file.signatures)
                .map_err(|source| SignedFileError::Root { path: path.clone(), source })?;
        }
        if let Some(newest) = self.revocation_versions()?.into_iter().max() {
            let path = self.revocations_path(newest);
            let file = signed_file::read(&path, REVOCATIONS_BYTES_MAX)?;
            trust
                .recall(&file.bytes, &file.signatures)
                .map_err(|source| SignedFileError::Revocations { path: path.clone(), source })?;
            let found = trust.revocations().map(|list| list_version(list.document()));
            if found != Some(newest) {
                return Err(misnamed(path));
            }
        }
        Ok(trust)
    }

    fn first_root(&self, version: u64) -> Result<TrustRoot, SiteError> {
        let path = self.root_path(version);
        let root = signed_file::read(&path, ROOT_BYTES_MAX)?.trusted_root(&path)?;
        if root.document().version == version { Ok(root) } else { Err(misnamed(path)) }
    }

    /// The versions of the roots that are there, the lowest first.
    fn root_versions(&self) -> Result<Vec<u64>, SiteError> {
        let mut versions = self.names(|name| number(name.strip_suffix(".root.json")?))?;
        versions.sort_unstable();
        Ok(versions)
    }

    /// Epoch and version of each list of revocations that is there.
    fn revocation_versions(&self) -> Result<Vec<(u64, u64)>, SiteError> {
        self.names(|name| {
            let (epoch, version) = name.strip_suffix(".revocations.json")?.split_once('.')?;
            Some((number(epoch)?, number(version)?))
        })
    }

    fn names<T>(&self, read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, SiteError> {
        let dir = self.trust_dir();
        let failed = |source| SiteError::Io { doing: "cannot read", path: dir.clone(), source };
        let entries = match std::fs::read_dir(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut found = Vec::new();
        for entry in entries {
            found.extend(entry.map_err(failed)?.file_name().to_str().and_then(&read));
        }
        Ok(found)
    }

    /// Checks a root that is to start the site's trust, and makes the site's directories. The root itself
    /// is written by [`Site::keep_root`], once that intent is in the log.
    ///
    /// # Errors
    /// Another fingerprint, no valid root, or a root is there already. Nothing is written then.
    pub fn prepare(&self, path: &Path, file: &SignedFile, expected: Digest) -> Result<TrustRoot, SiteError> {
        let root = file.pinned_root(path, expected)?;
        if self.is_initialised()? {
            let title = self.trust()?.root().title();
            return Err(SiteError::TrustedAlready { dir: self.dir().to_path_buf(), title });
        }
        let failed = |source| self.unwritable(source);
        for part in ["trust", "ledger", "journal", "audit"] {
            durable::make_directory(&self.dir().join(part)).map_err(failed)?;
        }
        self.store().create().map_err(failed)?;
        Ok(root)
    }

    /// The digests of every list of revocations that was ever taken.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn kept_lists(&self) -> Result<BTreeSet<Digest>, SiteError> {
        let mut digests = BTreeSet::new();
        for version in self.revocation_versions()? {
            let path = self.revocations_path(version);
            digests.insert(Digest::of(&signed_file::read(&path, REVOCATIONS_BYTES_MAX)?.bytes));
        }
        Ok(digests)
    }

    /// Writes a root that was judged: from now on it is part of the site's trust.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep_root(&self, version: u64, file: &SignedFile) -> Result<(), SiteError> {
        signed_file::write(&self.root_path(version), file).map_err(|source| self.unwritable(source))
    }

    /// Writes a list of revocations that was judged: from now on it holds.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep_revocations(&self, list: &RevocationDocument, file: &SignedFile) -> Result<(), SiteError> {
        let path = self.revocations_path(list_version(list));
        signed_file::write(&path, file).map_err(|source| self.unwritable(source))
    }

    fn unwritable(&self, source: std::io::Error) -> SiteError {
        SiteError::Io { doing: "cannot write to the site", path: self.dir().to_path_buf(), source }
    }
}

fn list_version(list: &RevocationDocument) -> (u64, u64) {
    (list.epoch, list.version)
}

fn misnamed(path: PathBuf) -> SiteError {
    SiteError::Tampered { path, reason: "its version is not the one in its name".to_string() }
}
