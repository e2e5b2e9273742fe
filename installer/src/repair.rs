//! Repair in flight: finds the recovery data of a bundle, says what is damaged and what margin is left, and gives
//! the archive as it was, to be verified like any other (`docs/recovery.md`).
//!
//! *What it never does:* write to the medium, or vouch for anything. What it reads is believed by nobody before
//! the checks of [`crate::admit`]; what it computes goes into a file without a name in the site store, and is
//! gone with the run.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use edge::progress::Progress;
use edge::show::bytes;
use edge::{Classified, Exit};
use layout::medium;
use layout::recovery::{
    Margin, Pieces, RecoveryFile, RecoverySet, RepairError, Repaired, SetError, Source, repair, survey,
};
use manifests::bundle::BundleDigest;
use serde::Serialize;

use crate::site::Site;

/// How many names of a directory are looked at.
const NAMES_MAX: usize = 4096;

/// How many ranges are shown to people.
const SHOWN_MAX: usize = 8;

/// Why a bundle was not repaired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairFailure {
    /// There is none.
    #[error("there is no recovery data beside {}", path.display())]
    NoData {
        /// What it should be beside.
        path: PathBuf,
    },
    /// What there is does not go together.
    #[error("the recovery data beside {} cannot be used", path.display())]
    Set {
        /// What it is beside.
        path: PathBuf,
        /// Why not.
        source: SetError,
    },
    /// No room for what is repaired.
    #[error("the site store has {} free, the repair needs {}", bytes(*free), bytes(*needed))]
    Space {
        /// Bytes that are free.
        free: u64,
        /// Bytes that are needed.
        needed: u64,
    },
    /// The site store.
    #[error("the site store cannot be written to")]
    Store(#[source] io::Error),
    /// It cannot be repaired.
    #[error("{} cannot be repaired", path.display())]
    Repair {
        /// What.
        path: PathBuf,
        /// Why not.
        source: RepairError,
    },
}

impl Classified for RepairFailure {
    fn exit(&self) -> Exit {
        match self {
            Self::Space { .. } => Exit::NotReady,
            Self::Store(_) | Self::Repair { source: RepairError::Scratch { .. }, .. } => Exit::Unreachable,
            _ => Exit::Damaged,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoData { .. } => "copy its .r001, .r002 … beside it, or leave out --repair",
            Self::Set { .. } => "leave only the recovery files of this bundle there",
            Self::Space { .. } => "free some space, or put the site directory on a larger disk",
            Self::Store(_) | Self::Repair { source: RepairError::Scratch { .. }, .. } => {
                "see whether the disk of the site directory is full or read-only"
            }
            Self::Repair { source: RepairError::TooMuch { .. }, .. } => {
                "clean the media and try again; if it stays so, ask the sender for another copy"
            }
            Self::Repair { .. } => "copy everything to a disk and try again there",
        };
        Some(hint.to_string())
    }
}

/// What a repair has found and done.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The bytes of the archive that came from recovery data: the first, and the one after the last.
    pub repaired: Vec<Range<u64>>,
    /// How many bytes that are.
    pub repaired_bytes: u64,
    /// Recovery blocks that were damaged or missing themselves.
    pub recovery_damaged: u64,
    /// How many more blocks the worst column could lose.
    pub margin: i64,
    /// How many a column may lose in all.
    pub of: u64,
    /// How long a contiguous damage could have come on top, in bytes.
    pub contiguous_bytes: u64,
}

impl Report {
    fn new<S: Source>(repaired: &Repaired<S>, recovery_damaged: u64) -> Self {
        let Margin { blocks: margin, of, contiguous_bytes } = repaired.margin();
        let repaired = repaired.repaired();
        let repaired_bytes = repaired.iter().map(|range| range.end.saturating_sub(range.start)).sum();
        Self { repaired, repaired_bytes, recovery_damaged, margin, of, contiguous_bytes }
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if self.repaired.is_empty() {
            text.push_str("repaired   nothing: the archive is not damaged\n");
        }
        for range in self.repaired.iter().take(SHOWN_MAX) {
            let last = range.end.saturating_sub(1);
            text.push_str(&format!("repaired   bytes {} to {last} of the archive\n", range.start));
        }
        if let Some(more) = self.repaired.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
            let all = bytes(self.repaired_bytes);
            text.push_str(&format!("           and {more} more places, {all} in all\n"));
        }
        if self.recovery_damaged > 0 {
            let damaged = self.recovery_damaged;
            text.push_str(&format!("           {damaged} recovery blocks are damaged or missing\n"));
        }
        text.push_str(&format!(
            "margin     {} of {} blocks in the worst place; {} more in one piece could be lost\n",
            self.margin,
            self.of,
            bytes(self.contiguous_bytes)
        ));
        text
    }
}

/// Whether the name of a file is that of recovery data: `.r001` to `.r999` at its end, in any case, also with the
/// `;1` of bare ISO 9660.
fn is_recovery(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let end = name.strip_suffix(";1").unwrap_or(name).rsplit_once('.').map_or("", |(_, end)| end);
    let digits = end.strip_prefix(['r', 'R']).unwrap_or_default();
    digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The recovery files of a directory, of whatever bundle: their headers tell.
///
/// # Errors
/// It cannot be listed.
pub fn recovery_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)?.take(NAMES_MAX) {
        let entry = entry?;
        if is_recovery(&entry.file_name()) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// The archive that was at `path`, with the recovery data beside it. The archive itself may be gone.
///
/// # Errors
/// See [`RepairFailure`].
pub fn archive(
    site: &Site,
    path: &Path,
    progress: &mut dyn Progress,
) -> Result<(Repaired<Pieces<File>>, Report), RepairFailure> {
    let dir = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = recovery_files(dir).unwrap_or_default();
    // Other archives may lie there too.
    let folded = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let name = folded(path);
    let own: Vec<PathBuf> = beside.iter().filter(|file| folded(file).starts_with(&name)).cloned().collect();
    let mut pieces = Pieces::new();
    if let Ok((file, length)) = medium::open(path) {
        pieces.add(0..length, file);
    }
    pieces_of(site, path, pieces, if own.is_empty() { &beside } else { &own }, None, progress)
}

/// An archive of which these pieces are there, with these recovery files. `title` is what messages call it;
/// with `wanted` recovery data of other bundles is passed over.
///
/// # Errors
/// See [`RepairFailure`].
pub fn pieces_of(
    site: &Site,
    title: &Path,
    pieces: Pieces<File>,
    recovery: &[PathBuf],
    wanted: Option<BundleDigest>,
    progress: &mut dyn Progress,
) -> Result<(Repaired<Pieces<File>>, Report), RepairFailure> {
    let path = title.to_path_buf();
    let open = |path: &PathBuf| {
        let (source, size) = medium::open(path).ok()?;
        Some(RecoveryFile { source: Box::new(source), size })
    };
    let files: Vec<RecoveryFile> = recovery.iter().filter_map(open).collect();
    if files.is_empty() {
        return Err(RepairFailure::NoData { path });
    }
    let set = RecoverySet::open(files, wanted)
        .map_err(|source| RepairFailure::Set { path: path.clone(), source })?;
    let found = survey(&set, &pieces, &mut |count| progress.advance(count));
    let scratch = scratch_dir(site, found.scratch_bytes())?;
    let recovery_damaged = found.recovery_damaged();
    let repaired = repair(&set, found, pieces, &scratch, &mut |_| {})
        .map_err(|source| RepairFailure::Repair { path, source })?;
    let report = Report::new(&repaired, recovery_damaged);
    Ok((repaired, report))
}

/// Where so much room is: the site store, or the site that has none yet.
fn scratch_dir(site: &Site, needed: u64) -> Result<PathBuf, RepairFailure> {
    let store = site.store().root().to_path_buf();
    let dir = if store.is_dir() { store } else { site.dir().to_path_buf() };
    let stat = rustix::fs::statvfs(&dir).map_err(|error| RepairFailure::Store(error.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < needed { Err(RepairFailure::Space { free, needed }) } else { Ok(dir) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_recovery_files_by_the_end_of_their_names() {
        for good in ["x.bundle.tar.r001", "X_1_0.R999;1", ".r001"] {
            assert!(is_recovery(OsStr::new(good)), "{good}");
        }
        for bad in ["x.001", "x.r1", "x.r0001", "r001", "x.rabc", "x.bundle.tar"] {
            assert!(!is_recovery(OsStr::new(bad)), "{bad}");
        }
    }
}
