//! Writes a bundle to a medium: an archive with its recovery data, one disc, or all of a set.
//!
//! ```text
//! [plan]    what goes there, under which names, and what it must be
//! [survey]  what lies there already, and whether there is room: before anything is written
//! [copy]    one file after the other, each read back from the medium before it gets its name
//! ```
//!
//! While it is being written a file is called `NAME.partial`. A run that was cut off is gone on with: what lies
//! there is compared with the source as this is read, and continued where it ends or differs. What is not ours is
//! never written over.
//!
//! *Invariant:* a file has its name only after every byte of it was read back and was right. *What it never does:*
//! read a byte of a source twice, except to say where a medium differs; judge a bundle by its signatures: a site
//! does that.

mod copy;
mod error;
mod plan;
mod survey;

use std::path::{Path, PathBuf};

use edge::progress::Progress;
use manifests::bundle::BundleDigest;
use manifests::{BundleManifest, Digest};
use serde::Serialize;

pub use error::WriteError;
pub use survey::FileSystem;

use plan::Plan;
use survey::There;

/// What a file is called until it is whole.
pub const PARTIAL: &str = ".partial";

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Became {
    /// It was written.
    Written,
    /// An earlier run had begun it.
    Continued,
    /// It was there, and is the same.
    WasThere,
}

/// How the medium was read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadBack {
    /// Around the kernel's cache.
    Direct,
    /// After the kernel was told to drop what it had of the file.
    CacheDropped,
}

/// A file that is on the medium.
#[derive(Debug, Clone, Serialize)]
pub struct File {
    /// Its place below the destination.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Its digest, as it was read and as it was read back.
    pub digest: Digest,
    /// What became of it.
    pub became: Became,
    /// How many bytes of it were written in this run.
    pub written: u64,
    /// How it was read back.
    pub read_back: ReadBack,
}

/// What was looked at and fits: nothing was written yet.
#[derive(Debug)]
pub struct Prepared {
    plan: Plan,
    destination: PathBuf,
    file_system: FileSystem,
    there: Vec<There>,
    is_same_disk: bool,
}

/// Looks at the bundle, at the medium, and whether the one fits onto the other.
///
/// # Errors
/// See [`WriteError`]; nothing was written then.
pub fn prepare(bundle: &Path, destination: &Path) -> Result<Prepared, WriteError> {
    let directory = survey::Directory::open(destination)?;
    let plan = plan::of(bundle)?;
    let there = directory.survey(&plan)?;
    let is_same_disk = plan.items.iter().any(|item| directory.is_disk_of(&item.from));
    let file_system = directory.file_system;
    Ok(Prepared { plan, destination: destination.to_path_buf(), file_system, there, is_same_disk })
}

impl Prepared {
    /// The bundle.
    #[must_use]
    pub fn manifest(&self) -> &BundleManifest {
        &self.plan.manifest
    }

    /// Its digest.
    #[must_use]
    pub fn bundle(&self) -> BundleDigest {
        self.plan.bundle
    }

    /// Whether anybody has signed it.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.plan.signed
    }

    /// What the medium is formatted as.
    #[must_use]
    pub fn file_system(&self) -> FileSystem {
        self.file_system
    }

    /// Whether the destination lies on the disk that the bundle comes from: then nothing may be mounted there.
    #[must_use]
    pub fn is_same_disk(&self) -> bool {
        self.is_same_disk
    }

    /// How many bytes pass: each is read from its source, and read back.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.plan.items.iter().fold(0, |sum, item| sum.saturating_add(item.bytes.saturating_mul(2)))
    }

    /// Writes what is not there yet, and reads everything back.
    ///
    /// # Errors
    /// See [`WriteError`]; what is whole has its name then, and the same command goes on with the rest.
    pub fn write(
        self,
        progress: &mut dyn Progress,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Vec<File>, WriteError> {
        copy::directories(&self.destination, &self.plan)?;
        let mut done = Vec::new();
        for (item, there) in self.plan.items.iter().zip(&self.there) {
            progress.part(&item.name.display().to_string(), item.bytes.saturating_mul(2));
            done.push(copy::item(&self.destination, item, *there, progress, interrupted)?);
        }
        copy::flush(&self.destination)?;
        Ok(done)
    }
}
