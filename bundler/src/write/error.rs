//! Why a bundle is not on a medium.

use std::io;
use std::ops::Range;
use std::path::PathBuf;

use edge::show::bytes;
use edge::{Classified, Exit};
use layout::disc::DiscError;
use layout::medium::MediumError;
use layout::reader::ReadError;

use crate::parted::PartedError;

/// Why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The bundle cannot be found.
    #[error(transparent)]
    Bundle(#[from] PartedError),
    /// The small files of a disc.
    #[error(transparent)]
    Disc(#[from] DiscError),
    /// A file of the bundle cannot be opened.
    #[error(transparent)]
    Medium(#[from] MediumError),
    /// The bundle is damaged: nobody should carry it.
    #[error("{}", path.display())]
    Rotten {
        /// Which archive.
        path: PathBuf,
        /// What is wrong.
        source: ReadError,
    },
    /// `bundle.json` is none.
    #[error("{}", path.display())]
    Manifest {
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        source: manifests::canonical::CanonicalError,
    },
    /// A file of a disc is not what the disc itself says.
    #[error("{} is damaged: it does not have the digest that {by} has for it", path.display())]
    Listed {
        /// Which file.
        path: PathBuf,
        /// What says so.
        by: &'static str,
    },
    /// Recovery data of something else.
    #[error("{} is no recovery data of this bundle, or it is damaged", path.display())]
    Recovery {
        /// Which file.
        path: PathBuf,
    },
    /// A source cannot be read.
    #[error("{} cannot be read at byte {at}", path.display())]
    Source {
        /// Which file.
        path: PathBuf,
        /// Where.
        at: u64,
        /// Why not.
        source: io::Error,
    },
    /// Not a directory.
    #[error("{} is not a directory", path.display())]
    NoDirectory {
        /// What was named.
        path: PathBuf,
    },
    /// A disk or a drive, and not what is mounted from it.
    #[error("{} is a device, and files are written to a directory", path.display())]
    Device {
        /// What was named.
        path: PathBuf,
    },
    /// Nobody writes there.
    #[error("{} is mounted read-only", path.display())]
    ReadOnly {
        /// The destination.
        path: PathBuf,
    },
    /// The bundle lies there itself.
    #[error("{} is where the bundle itself lies", path.display())]
    Itself {
        /// The destination.
        path: PathBuf,
    },
    /// Something else has a name of ours.
    #[error("{} is there already and is something else", path.display())]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// A name that many readers take for one of ours.
    #[error("{} is there already, and some systems take it for {name}", path.display())]
    Alike {
        /// What is there.
        path: PathBuf,
        /// What would be written.
        name: String,
    },
    /// FAT keeps the length of a file in 32 bits.
    #[error("{} is formatted as FAT, which has no files of 4 GiB or more, and {} has {}", path.display(), file.display(), bytes(*size))]
    Fat {
        /// The destination.
        path: PathBuf,
        /// The file that is too long.
        file: PathBuf,
        /// Its length.
        size: u64,
    },
    /// It would not fit.
    #[error("{} has {} free, and {} are needed", path.display(), bytes(*free), bytes(*needed))]
    Space {
        /// The destination.
        path: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that are needed.
        needed: u64,
    },
    /// The medium fails.
    #[error("{} cannot be written at byte {at}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Where in it.
        at: u64,
        /// Why not.
        source: io::Error,
    },
    /// The medium does not give back what was written.
    #[error("{} cannot be read back at byte {at}", path.display())]
    ReadBack {
        /// Which file.
        path: PathBuf,
        /// Where in it.
        at: u64,
        /// Why not.
        source: io::Error,
    },
    /// It gives something else.
    #[error("{} differs from what was written: {}", path.display(), named(ranges, *more))]
    Differs {
        /// Which file.
        path: PathBuf,
        /// The bytes: the first, and the one after the last.
        ranges: Vec<Range<u64>>,
        /// How many more places there are.
        more: usize,
    },
    /// What was there under its own name is not the same.
    #[error("{} is there already and differs: {}", path.display(), named(ranges, *more))]
    Stale {
        /// Which file.
        path: PathBuf,
        /// The bytes: the first, and the one after the last.
        ranges: Vec<Range<u64>>,
        /// How many more places there are.
        more: usize,
    },
    /// Somebody pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

/// `bytes 100 to 200, 300 to 300 and 2 more places`
fn named(ranges: &[Range<u64>], more: usize) -> String {
    let places: Vec<String> =
        ranges.iter().map(|range| format!("{} to {}", range.start, range.end.saturating_sub(1))).collect();
    let more = if more == 0 { String::new() } else { format!(" and {more} more places") };
    format!("bytes {}{more}", places.join(", "))
}

impl Classified for WriteError {
    fn exit(&self) -> Exit {
        match self {
            Self::Bundle(error) => error.exit(),
            Self::Disc(_)
            | Self::Medium(_)
            | Self::Rotten { .. }
            | Self::Manifest { .. }
            | Self::Listed { .. }
            | Self::Recovery { .. }
            | Self::Source { .. }
            | Self::ReadBack { .. }
            | Self::Differs { .. }
            | Self::Stale { .. } => Exit::Damaged,
            Self::NoDirectory { .. }
            | Self::Device { .. }
            | Self::Itself { .. }
            | Self::Exists { .. }
            | Self::Alike { .. } => Exit::Usage,
            Self::ReadOnly { .. } | Self::Fat { .. } | Self::Space { .. } | Self::Write { .. } => {
                Exit::Unreachable
            }
            Self::Interrupted => Exit::Unexpected,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Bundle(error) => return error.hint(),
            Self::Rotten { path, source: ReadError::NotABundle } if is_image(path) => {
                "an image is burnt: xorriso -as cdrecord -v dev=/dev/sr0 IMAGE"
            }
            Self::Rotten { .. } | Self::Listed { .. } | Self::Source { .. } => {
                "make it again, or take another copy of it"
            }
            Self::Recovery { .. } => "move it away, or make it again: bundler build --recovery",
            Self::NoDirectory { .. } => "mount the medium, and name the directory where it is",
            Self::Device { .. } => {
                "mount it and name the directory; a blank disc is burnt from an image (bundler split --iso): xorriso -as cdrecord -v dev=/dev/sr0 IMAGE"
            }
            Self::ReadOnly { .. } => {
                "see whether the medium is locked, and mount it so that it can be written to"
            }
            Self::Itself { .. } => "name the directory of a medium",
            Self::Exists { .. } | Self::Alike { .. } => {
                "move it away, or choose an empty directory of the medium"
            }
            Self::Fat { .. } => {
                "cut the bundle for it (bundler split BUNDLE --media fat32) and write that, or format the medium as exFAT"
            }
            Self::Space { .. } => {
                "take a larger medium, or cut the bundle for several: bundler split BUNDLE --media SIZE"
            }
            Self::Write { .. } => {
                "see whether the medium is still there; the same command goes on where it ended"
            }
            Self::ReadBack { .. } | Self::Differs { .. } => {
                "take another medium: this one does not keep what it is given"
            }
            Self::Stale { .. } => "remove it from the medium and write it again, or take another medium",
            Self::Interrupted => "the same command goes on where it ended",
            Self::Disc(_) | Self::Medium(_) | Self::Manifest { .. } => return None,
        };
        Some(hint.to_string())
    }
}

fn is_image(path: &std::path::Path) -> bool {
    path.extension().is_some_and(|end| end.eq_ignore_ascii_case("iso"))
}
