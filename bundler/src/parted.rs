//! A bundle as it is named on the command line: one archive, or the discs of a set that is complete.
//!
//! *What it never does:* judge. A stream of parts is an archive like any other, and read by the same reader.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use edge::{Classified, Exit};
use layout::disc::{self, Disc, DiscError, Named};
use layout::medium::{self, Input, MediumError};
use layout::recovery::Pieces;
use layout::split::Joined;

/// Why a bundle cannot be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartedError {
    /// It cannot be opened.
    #[error(transparent)]
    Medium(#[from] MediumError),
    /// The small files of a disc.
    #[error(transparent)]
    Disc(#[from] DiscError),
    /// A directory without a disc.
    #[error("{} holds no part of a bundle", path.display())]
    Nothing {
        /// Which.
        path: PathBuf,
    },
    /// Archives and discs side by side, or several archives.
    #[error("several bundles were named, expected one archive, or the discs of one set")]
    Several,
    /// Discs of two sets.
    #[error("{} is not a disc of the same set as {}", other.display(), first.display())]
    Mixed {
        /// One.
        first: PathBuf,
        /// The other.
        other: PathBuf,
    },
    /// Not all parts are there.
    #[error("of {count} parts these are missing: {}", list(missing))]
    Missing {
        /// How many there should be.
        count: usize,
        /// The numbers.
        missing: Vec<usize>,
    },
}

/// `1, 3, 4`
fn list(numbers: &[usize]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Classified for PartedError {
    fn exit(&self) -> Exit {
        match self {
            Self::Several => Exit::Usage,
            _ => Exit::Damaged,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { .. } => Some("name every disc: the directories, side by side".to_string()),
            _ => None,
        }
    }
}

/// A bundle that was found and not read.
#[derive(Debug, Clone)]
pub struct Source {
    /// What people call it.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    parts: Vec<PathBuf>,
    /// The discs, if it is in parts.
    pub discs: Vec<Disc>,
}

impl Source {
    /// Whether it is in parts.
    #[must_use]
    pub fn is_parted(&self) -> bool {
        !self.discs.is_empty()
    }

    /// The archive from its first byte.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn stream(&self) -> Result<Box<dyn Read>, PartedError> {
        if self.is_parted() {
            return Ok(Box::new(Joined::new(self.parts.clone())));
        }
        Ok(Box::new(medium::open(&self.path)?.0))
    }

    /// The archive from its first byte, or in several places at the same time where that is no burden.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn input(&self) -> Result<Input, PartedError> {
        if self.is_parted() { Ok(Input::Forward(self.stream()?)) } else { Ok(Input::open(&self.path)?) }
    }

    /// The archive at any place.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn pieces(&self) -> Result<Pieces<File>, PartedError> {
        let whole = std::slice::from_ref(&self.path);
        let files = if self.is_parted() { self.parts.as_slice() } else { whole };
        let (mut pieces, mut start) = (Pieces::new(), 0_u64);
        for path in files {
            let (file, length) = medium::open(path)?;
            let end = start.saturating_add(length);
            pieces.add(start..end, file);
            start = end;
        }
        Ok(pieces)
    }
}

/// Finds the bundle that these paths name.
///
/// # Errors
/// See [`PartedError`].
pub fn open(paths: &[PathBuf]) -> Result<Source, PartedError> {
    let mut discs = Vec::new();
    for path in paths {
        match disc::look(path)? {
            Named::Archive(path) if paths.len() == 1 => {
                let (_, bytes) = medium::open(&path)?;
                return Ok(Source { path, bytes, parts: Vec::new(), discs });
            }
            Named::Archive(_) => return Err(PartedError::Several),
            Named::Discs(found) if found.is_empty() => {
                return Err(PartedError::Nothing { path: path.clone() });
            }
            Named::Discs(found) => discs.extend(found),
        }
    }
    joined(discs)
}

fn joined(discs: Vec<Disc>) -> Result<Source, PartedError> {
    let first = discs.first().ok_or(PartedError::Several)?;
    let list = first.parts_list()?;
    let mut found: Vec<Option<PathBuf>> = vec![None; list.count()];
    for disc in &discs {
        if disc.parts_list()? != list {
            let (first, other) = (first.dir().to_path_buf(), disc.dir().to_path_buf());
            return Err(PartedError::Mixed { first, other });
        }
        for part in disc.parts(&list)? {
            if let Some(place) = part.number.checked_sub(1).and_then(|place| found.get_mut(place)) {
                *place = Some(part.path);
            }
        }
    }
    let missing: Vec<usize> =
        (1..=list.count()).filter(|number| found.get(number - 1).is_none_or(Option::is_none)).collect();
    if !missing.is_empty() {
        return Err(PartedError::Missing { count: list.count(), missing });
    }
    let path = common(first.dir(), discs.len());
    Ok(Source { path, bytes: list.total(), parts: found.into_iter().flatten().collect(), discs })
}

/// What several discs are called together.
fn common(first: &Path, discs: usize) -> PathBuf {
    match first.parent() {
        Some(parent) if discs > 1 => parent.to_path_buf(),
        _ => first.to_path_buf(),
    }
}
