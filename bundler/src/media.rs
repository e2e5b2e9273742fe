//! What media hold, and how an archive is cut for them.
//!
//! *Invariant:* the same archive, the same signed documents and the same `--media` give the same cut, however
//! many signatures were added meanwhile: so a single part can be made again.

use std::fmt;
use std::str::FromStr;

use edge::progress::{InParts, Progress};
use edge::show::bytes;
use edge::{Classified, Exit};
use manifests::parts::{PARTS_BYTES_MAX, PARTS_MAX};
use manifests::root::SIGNATURES_MAX;

/// Parts begin where a sector of an optical disc does.
const SECTOR_BYTES: u64 = 2048;

/// FAT32 keeps the length of a file in 32 bits.
const FAT32_FILE_BYTES: u64 = 4 * 1024 * 1024 * 1024 - 1;

/// What file systems of discs need for themselves: ISO 9660 with Rock Ridge and Joliet takes less than a fifth
/// of it for these few files; UDF takes about as much.
const FILE_SYSTEM_BYTES: u64 = 512 * 1024;

/// The text for people on each disc.
const LABEL_BYTES: u64 = 2 * SECTOR_BYTES;

/// What a first part must hold at least: `bundle.json` and all signatures.
const FIRST_PART_BYTES: u64 = 128 * 1024;

/// The presets: name, and bytes of a medium; of two kinds that people do not tell apart, the smaller one.
const PRESETS: [(&str, u64); 4] = [
    // DVD+R, 2,295,104 sectors; DVD-R has 2,298,496.
    ("dvd", 4_700_372_992),
    // DVD-R DL, 4,171,712 sectors; DVD+R DL has 4,173,824.
    ("dvd-dl", 8_543_666_176),
    // BD-R SL as it is formatted by default, without spare areas: 12,219,392 sectors.
    ("bd25", 25_025_314_816),
    // BD-R DL: 24,438,784 sectors.
    ("bd50", 50_050_629_632),
];

/// One kind of medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Medium {
    /// So many bytes, its file system included: one part on each.
    Disc(u64),
    /// A stick of any size, whose files are below 4 GiB: all parts that are left go on one.
    Fat32,
}

/// The media that an archive is cut for. The last one repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    list: Vec<Medium>,
    text: String,
}

/// Why there is no cut for these media.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MediaError {
    /// Not a medium.
    #[error("`{0}` is no medium: expected dvd, dvd-dl, bd25, bd50, fat32, or a size such as 650MB or 4GiB")]
    Unknown(String),
    /// It has no room for the small files and a part.
    #[error(
        "a medium of {} is too small for this bundle: each disc carries {} of small files beside its part",
        bytes(*capacity),
        bytes(*small)
    )]
    TooSmall {
        /// Its size.
        capacity: u64,
        /// What lies on every disc.
        small: u64,
    },
    /// More parts than three digits count.
    #[error("the bundle needs more than {PARTS_MAX} of these media")]
    TooMany,
}

impl Classified for MediaError {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown(_) => {
                Some("several are a list, of which the last repeats: --media bd25,dvd".to_string())
            }
            _ => Some("take larger media".to_string()),
        }
    }
}

impl FromStr for Media {
    type Err = MediaError;

    fn from_str(text: &str) -> Result<Self, MediaError> {
        let list = text.split(',').map(|one| medium(one.trim())).collect::<Result<_, _>>()?;
        Ok(Self { list, text: text.to_string() })
    }
}

impl fmt::Display for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn medium(text: &str) -> Result<Medium, MediaError> {
    if text == "fat32" {
        return Ok(Medium::Fat32);
    }
    let preset = PRESETS.iter().find(|(name, _)| *name == text).map(|(_, size)| *size);
    let size = preset.or_else(|| size(text)).filter(|size| *size > 0);
    size.map(Medium::Disc).ok_or_else(|| MediaError::Unknown(manifests::text::printable(text)))
}

/// `650MB`, `4GiB`, `1000000`.
pub(crate) fn size(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 9] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("B", 1),
    ];
    let unit =
        UNITS.iter().find_map(|(unit, factor)| text.strip_suffix(unit).map(|digits| (digits, *factor)));
    let (digits, factor) = unit.unwrap_or((text, 1));
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse::<u64>().ok().filter(|_| plain)?.checked_mul(factor)
}

/// How an archive is cut: for each disc the lengths of its parts, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The discs.
    pub discs: Vec<Vec<u64>>,
}

impl Cut {
    /// The number of parts.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.discs.iter().map(Vec::len).sum()
    }

    /// Progress that says which part is being written, of an archive that is written from its beginning.
    #[must_use]
    pub fn progress(&self, progress: Box<dyn Progress>) -> Box<dyn Progress> {
        let count = self.parts();
        let named = |(at, size): (usize, &u64)| (format!("part {} of {count}", at.saturating_add(1)), *size);
        Box::new(InParts::of(progress, self.discs.iter().flatten().enumerate().map(named)))
    }

    /// The position of the disc that a part lies on, from 0.
    #[must_use]
    pub fn disc_of(&self, part: usize) -> usize {
        let mut before = 0_usize;
        let holds = |parts: &Vec<u64>| {
            before = before.saturating_add(parts.len());
            part <= before
        };
        self.discs.iter().position(holds).unwrap_or(0)
    }
}

/// What lies on every disc beside its part, at most. `documents` are the lengths of `bundle.json`,
/// `SHA256SUMS` and `inventory.json`. There is room for as many signatures as a bundle may have, so that the
/// cut does not depend on their number.
#[must_use]
pub fn small_bytes(documents: &[u64]) -> u64 {
    let signatures = (SIGNATURES_MAX as u64).saturating_mul(SECTOR_BYTES);
    let fixed = signatures + PARTS_BYTES_MAX + LABEL_BYTES + FILE_SYSTEM_BYTES;
    documents
        .iter()
        .fold(fixed, |sum, size| sum.saturating_add(size.div_ceil(SECTOR_BYTES).saturating_mul(SECTOR_BYTES)))
}

impl Media {
    /// Whether a file system image of a disc makes sense for all of them.
    #[must_use]
    pub fn are_discs(&self) -> bool {
        self.list.iter().all(|medium| matches!(medium, Medium::Disc(_)))
    }

    /// Cuts an archive of `total` bytes, with `small` bytes beside each part.
    ///
    /// # Errors
    /// [`MediaError::TooSmall`] or [`MediaError::TooMany`].
    pub fn cut(&self, total: u64, small: u64) -> Result<Cut, MediaError> {
        let (mut discs, mut parts, mut left) = (Vec::new(), 0_usize, total);
        let mut media = self.list.iter();
        let mut medium = Medium::Fat32;
        while left > 0 {
            medium = media.next().copied().unwrap_or(medium);
            let (room, most) = match medium {
                Medium::Disc(capacity) => {
                    let room = capacity.saturating_sub(small);
                    if room < FIRST_PART_BYTES {
                        return Err(MediaError::TooSmall { capacity, small });
                    }
                    (room, 1)
                }
                Medium::Fat32 => (FAT32_FILE_BYTES, PARTS_MAX),
            };
            let room = room.saturating_sub(room % SECTOR_BYTES);
            let mut disc = Vec::new();
            while left > 0 && disc.len() < most {
                disc.push(room.min(left));
                left = left.saturating_sub(room);
            }
            parts = parts.saturating_add(disc.len());
            discs.push(disc);
            if parts > PARTS_MAX || (parts == PARTS_MAX && left > 0) {
                return Err(MediaError::TooMany);
            }
        }
        Ok(Cut { discs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn cut(media: &str, total: u64) -> Vec<Vec<u64>> {
        media.parse::<Media>().unwrap().cut(total, 0).unwrap().discs
    }

    #[test]
    fn reads_presets_sizes_and_lists() {
        for (text, size) in [("650MB", 650_000_000), ("4GiB", 4 * GIB), ("1000000", 1_000_000), ("2kB", 2000)]
        {
            assert_eq!(medium(text).unwrap(), Medium::Disc(size), "{text}");
        }
        assert_eq!(medium("dvd").unwrap(), Medium::Disc(4_700_372_992));
        for bad in [
            "",
            "cd",
            "0",
            "-1",
            "+5",
            "4 GiB",
            "4gib",
            "1.5GiB",
            "99999999999999999999",
            "99999999TiB",
            "dvd,",
        ] {
            assert!(bad.parse::<Media>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_last_of_mixed_media_repeats() {
        let discs = cut("1MiB,256KiB", (1 << 20) + 600 * 1024);
        assert_eq!(discs, [vec![1 << 20], vec![256 << 10], vec![256 << 10], vec![88 << 10]]);
    }

    #[test]
    fn a_stick_takes_all_parts_that_are_left() {
        let part = 4 * GIB - 2048;
        assert_eq!(cut("fat32", 9 * GIB), [vec![part, part, 9 * GIB - 2 * part]]);
        assert_eq!(cut("fat32", 5), [vec![5]]);
        let mixed = Cut { discs: cut("1MiB,fat32", 9 * GIB) };
        assert_eq!((mixed.discs.len(), mixed.parts()), (2, 4));
        assert_eq!([1, 2, 4].map(|part| mixed.disc_of(part)), [0, 1, 1]);
    }

    #[test]
    fn media_without_room_are_refused_before_anything_is_written() {
        let small = small_bytes(&[1, 2049, 100_000]);
        assert_eq!(small % SECTOR_BYTES, 0);
        let media: Media = "1MB".parse().unwrap();
        assert!(matches!(media.cut(1, 900_000), Err(MediaError::TooSmall { .. })));
        assert!(matches!(media.cut(u64::MAX, 0), Err(MediaError::TooMany)));
        let most = 999 * (1_000_000 - 1_000_000 % SECTOR_BYTES);
        assert_eq!(media.cut(most, 0).unwrap().parts(), 999);
        assert!(matches!(media.cut(most + 1, 0), Err(MediaError::TooMany)));
    }

    proptest::proptest! {
        #[test]
        fn a_cut_loses_nothing_and_fits(
            total in 1_u64..(1 << 30), capacities in proptest::collection::vec((1_u64 << 23)..(1 << 28), 1..5)
        ) {
            let text: Vec<String> = capacities.iter().map(u64::to_string).collect();
            let small = small_bytes(&[5000, 70_000, 70_000]);
            let cut = text.join(",").parse::<Media>().unwrap().cut(total, small).unwrap();
            assert_eq!(cut.discs.iter().flatten().sum::<u64>(), total);
            for (disc, parts) in cut.discs.iter().enumerate() {
                let capacity = capacities.get(disc).or(capacities.last()).unwrap();
                assert!(parts.len() == 1 && parts[0] > 0 && parts[0] + small <= *capacity);
            }
        }
    }
}
