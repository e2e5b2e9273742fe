//! Repair in flight: finds the recovery data of a bundle, says what is damaged and what margin is left, and gives
//! the archive as it was, to be verified like any other (`docs/recovery.md`).
//!
//! *What it never does:* write to the medium, or vouch for anything. What it reads is believed by nobody before
//! the checks of [`crate::admit`]; what it computes goes into a file without a name in the site store, and is
//! gone with the run.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use edge::progress::Progress;
use edge::show::bytes;
use edge::{Classified, Exit};
use layout::disc::{Disc, recovery_number_of};
use layout::medium;
use layout::recovery::{
    Margin, Pieces, RecoveryFile, RecoverySet, RepairError, Repaired, SetError, Source, repair, survey,
};
use manifests::PartsList;
use manifests::bundle::BundleDigest;
use serde::Serialize;

use crate::admit::AdmitError;
use crate::discs;
use crate::site::Site;

/// How many names of a directory are looked at.
const NAMES_MAX: usize = 4096;

/// How many ranges are shown to people.
const SHOWN_MAX: usize = 8;

/// Why a bundle was not repaired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairFailure {
    /// The discs cannot be looked at.
    #[error(transparent)]
    Discs(Box<AdmitError>),
    /// No disc says how the bundle was cut.
    #[error("no disc at {} has a parts.json that can be read", path.display())]
    NoList {
        /// Where.
        path: PathBuf,
    },
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
    #[error("{} cannot be repaired{}", path.display(), gone(absent))]
    Repair {
        /// What.
        path: PathBuf,
        /// The parts that were not there.
        absent: Vec<usize>,
        /// Why not.
        source: RepairError,
    },
}

/// `; these parts were not there: 1, 4`
fn gone(absent: &[usize]) -> String {
    if absent.is_empty() {
        return String::new();
    }
    format!("; these parts were not there: {}", discs::numbers(absent))
}

impl Classified for RepairFailure {
    fn exit(&self) -> Exit {
        match self {
            Self::Discs(error) => error.exit(),
            Self::Space { .. } => Exit::NotReady,
            Self::Store(_) | Self::Repair { source: RepairError::Scratch { .. }, .. } => Exit::Unreachable,
            _ => Exit::Damaged,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Discs(error) => return error.hint(),
            Self::NoList { .. } => "name the directories of all discs, side by side",
            Self::Repair { absent, source: RepairError::TooMuch { .. }, .. } if !absent.is_empty() => {
                "name the directories of all discs at once: a repair needs as many as there are within reach"
            }
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
    /// Of discs: the parts that something was repaired of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<usize>,
    /// Of these parts the bytes that were repaired.
    #[serde(skip)]
    places: Vec<(usize, Range<u64>)>,
}

impl Report {
    fn new<S: Source>(repaired: &Repaired<S>, recovery_damaged: u64) -> Self {
        let Margin { blocks: margin, of, contiguous_bytes } = repaired.margin();
        let repaired = repaired.repaired();
        let repaired_bytes = repaired.iter().map(|range| range.end.saturating_sub(range.start)).sum();
        let (parts, places) = (Vec::new(), Vec::new());
        Self { repaired, repaired_bytes, recovery_damaged, margin, of, contiguous_bytes, parts, places }
    }

    /// With the places in the parts that were cut so.
    fn in_parts(mut self, list: &PartsList) -> Self {
        for (number, part) in list.ranges() {
            for range in &self.repaired {
                let here = range.start.max(part.start)..range.end.min(part.end);
                if !here.is_empty() {
                    self.places.push((number, here.start - part.start..here.end - part.start));
                }
            }
        }
        self.parts = self.places.iter().map(|(number, _)| *number).collect();
        self.parts.dedup();
        self
    }

    /// Each place that was repaired, for people.
    fn shown(&self) -> Vec<String> {
        let bytes = |range: &Range<u64>| format!("bytes {} to {}", range.start, range.end.saturating_sub(1));
        if self.places.is_empty() {
            return self.repaired.iter().map(|range| format!("{} of the archive", bytes(range))).collect();
        }
        self.places.iter().map(|(number, range)| format!("part {number}, {}", bytes(range))).collect()
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if self.repaired.is_empty() {
            text.push_str("repaired   nothing: the archive is not damaged\n");
        }
        let shown = self.shown();
        for place in shown.iter().take(SHOWN_MAX) {
            text.push_str(&format!("repaired   {place}\n"));
        }
        if let Some(more) = shown.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
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

/// The recovery files of a directory, of whatever bundle: their headers tell.
///
/// # Errors
/// It cannot be listed.
pub fn recovery_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)?.take(NAMES_MAX) {
        let entry = entry?;
        if recovery_number_of(&entry.file_name()).is_some() {
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
    let recovery = if own.is_empty() { &beside } else { &own };
    pieces_of(site, path, (pieces, &[]), recovery, None, progress)
}

/// The archive that the discs at these places are of, of which some may be missing, also the first one.
///
/// Nothing of a disc is believed: its `parts.json` says where its part belongs, and a part that is another one is
/// damage like any other.
///
/// # Errors
/// See [`RepairFailure`].
pub fn of_discs(
    site: &Site,
    title: &Path,
    places: &[PathBuf],
    progress: &mut dyn Progress,
) -> Result<(Repaired<Pieces<File>>, Report), RepairFailure> {
    let found = discs::discs_at(places).map_err(|error| RepairFailure::Discs(Box::new(error)))?;
    if found.is_empty() {
        let error = AdmitError::NoDisc { paths: places.to_vec() };
        return Err(RepairFailure::Discs(Box::new(error)));
    }
    let list = common_list(&found).ok_or_else(|| RepairFailure::NoList { path: title.to_path_buf() })?;
    // Those that have this very list first: of two files for one part the first counts.
    let (own, others): (Vec<&Disc>, Vec<&Disc>) =
        found.iter().partition(|disc| disc.parts_list().is_ok_and(|other| other == list));
    let (mut pieces, mut recovery) = (Pieces::new(), Vec::new());
    let mut absent: Vec<usize> = list.ranges().map(|(number, _)| number).collect();
    for disc in own.into_iter().chain(others) {
        recovery.extend(disc.recovery());
        for part in disc.parts(&list).unwrap_or_default() {
            let (Some(range), Ok((file, length))) = (list.range(part.number), medium::open(&part.path))
            else {
                continue;
            };
            pieces.add(range.start..range.end.min(range.start.saturating_add(length)), file);
            absent.retain(|number| *number != part.number);
        }
    }
    let wanted = Some(list.bundle());
    let (repaired, report) = pieces_of(site, title, (pieces, &absent), &recovery, wanted, progress)?;
    Ok((repaired, report.in_parts(&list)))
}

/// The list that most discs have: one of them may be damaged. Of as many the first.
fn common_list(discs: &[Disc]) -> Option<PartsList> {
    let mut lists: Vec<(PartsList, usize)> = Vec::new();
    for list in discs.iter().filter_map(|disc| disc.parts_list().ok()) {
        match lists.iter_mut().find(|(other, _)| *other == list) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => lists.push((list, 1)),
        }
    }
    let most = lists.iter().map(|(_, count)| *count).max()?;
    lists.into_iter().find(|(_, count)| *count == most).map(|(list, _)| list)
}

/// An archive of which these pieces are there, and these parts are not, with these recovery files. `title` is what
/// messages call it; with `wanted` recovery data of other bundles is passed over.
fn pieces_of(
    site: &Site,
    title: &Path,
    (pieces, absent): (Pieces<File>, &[usize]),
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
        .map_err(|source| RepairFailure::Repair { path, absent: absent.to_vec(), source })?;
    let report = Report::new(&repaired, recovery_damaged);
    Ok((repaired, report))
}

/// Where so much room is: the site store, or the site that has none yet.
fn scratch_dir(site: &Site, needed: u64) -> Result<PathBuf, RepairFailure> {
    let store = site.store().root().to_path_buf();
    let dir = if store.is_dir() { store } else { site.dir().to_path_buf() };
    let free = layout::disk::free_bytes(&dir).map_err(RepairFailure::Store)?;
    if free < needed { Err(RepairFailure::Space { free, needed }) } else { Ok(dir) }
}
