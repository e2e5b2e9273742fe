//! What media hold, and how an archive is cut for them.
//!
//! *Invariant:* the same archive, the same signed documents and the same `--media` give the same cut, however
//! many signatures were added meanwhile: so a single part can be made again.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use edge::progress::{InParts, Progress};
use edge::show::bytes;
use edge::{Classified, Exit};
use layout::recovery::{Geometry, GeometryError, Percent, geometry};
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
    /// Recovery data that cannot be laid out.
    #[error(transparent)]
    Recovery(#[from] GeometryError),
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
            Self::Recovery(_) => None,
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
    /// The recovery data that goes along.
    pub recovery: Option<Along>,
}

/// Recovery data that lies on the discs of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Along {
    /// Its layout.
    pub geometry: Geometry,
    /// How many of its files each disc has. They are in the order of the discs.
    pub files: Vec<u32>,
}

impl Along {
    /// The recovery files of a disc, by position, counted from 0.
    #[must_use]
    pub fn of_disc(&self, disc: usize) -> Range<u32> {
        let count = |discs: &[u32]| discs.iter().fold(0_u32, |sum, files| sum.saturating_add(*files));
        let before = count(self.files.get(..disc).unwrap_or_default());
        before..before.saturating_add(self.files.get(disc).copied().unwrap_or(0))
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes_of_disc(&self, disc: usize) -> u64 {
        self.of_disc(disc).map(|file| self.geometry.file_bytes(file)).fold(0, u64::saturating_add)
    }
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

    /// Whether any one disc may be lost, with everything on it.
    #[must_use]
    pub fn withstands_a_lost_disc(&self) -> bool {
        let Some(along) = &self.recovery else { return false };
        let mut start = 0_u64;
        self.discs.iter().enumerate().all(|(disc, parts)| {
            let range = start..parts.iter().fold(start, |sum, part| sum.saturating_add(*part));
            start = range.end;
            along.geometry.withstands(&range, &along.of_disc(disc))
        })
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

/// The parts of each disc, and how many recovery files.
type Spread = (Vec<Vec<u64>>, Vec<u32>);

/// What a medium has for a part.
fn room(capacity: u64, small: u64) -> Result<u64, MediaError> {
    let room = capacity.saturating_sub(small);
    if room < FIRST_PART_BYTES {
        return Err(MediaError::TooSmall { capacity, small });
    }
    Ok(room - room % SECTOR_BYTES)
}

/// Parts for discs with these rooms, as long as each other as far as that goes; nothing if one would be empty.
fn evenly(total: u64, rooms: &[u64]) -> Option<Vec<u64>> {
    let whole = |bytes: u64| bytes.div_ceil(SECTOR_BYTES).saturating_mul(SECTOR_BYTES);
    let mut after = rooms.iter().fold(0_u64, |sum, room| sum.saturating_add(*room));
    let (mut left, mut parts) = (total, Vec::new());
    for (position, room) in rooms.iter().enumerate() {
        after = after.saturating_sub(*room);
        let discs = rooms.len().saturating_sub(position) as u64;
        let share = whole(left.div_ceil(discs.max(1))).max(whole(left.saturating_sub(after)));
        let least = if position == 0 { FIRST_PART_BYTES } else { 1 };
        let part = share.max(least).min(*room).min(left);
        left = left.saturating_sub(part);
        parts.push(part);
    }
    (left == 0 && parts.iter().all(|part| *part > 0)).then_some(parts)
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
                Medium::Disc(capacity) => (room(capacity, small)?, 1),
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
        Ok(Cut { discs, recovery: None })
    }

    /// The same, with recovery data on every disc: one file on each, on a stick as many as keep below its limit. The
    /// parts are as long as each other, as far as the media allow: so whichever disc is lost, as little as can be is.
    ///
    /// # Errors
    /// See [`MediaError`].
    pub fn cut_with_recovery(&self, total: u64, small: u64, percent: Percent) -> Result<Cut, MediaError> {
        let mut failed = MediaError::TooMany;
        for files in 1..=geometry::FILES_MAX {
            let geometry = Geometry::new(total, percent, files)?;
            let beside = geometry.file_bytes_max().div_ceil(SECTOR_BYTES).saturating_mul(SECTOR_BYTES);
            match self.spread(total, small.saturating_add(beside), beside, files) {
                Ok(Some((discs, files))) => {
                    return Ok(Cut { discs, recovery: Some(Along { geometry, files }) });
                }
                Ok(None) => {}
                // With more files each is shorter.
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// The least recovery data with which any one disc may be lost.
    #[must_use]
    pub fn percent_for_a_lost_disc(&self, total: u64, small: u64) -> Option<Percent> {
        let mut all = (1..=100).filter_map(|number| Percent::new(number).ok());
        all.find(|percent| {
            self.cut_with_recovery(total, small, *percent).is_ok_and(|cut| cut.withstands_a_lost_disc())
        })
    }

    /// Discs for so many recovery files, and how many of these each has; nothing if there must be more.
    fn spread(&self, total: u64, small: u64, beside: u64, files: u32) -> Result<Option<Spread>, MediaError> {
        let count = usize::try_from(files).unwrap_or(usize::MAX);
        let media = self.list.iter().chain(std::iter::repeat(self.list.last().unwrap_or(&Medium::Fat32)));
        let mut rooms = Vec::new();
        let mut stick = false;
        for medium in media.take(count) {
            match medium {
                Medium::Disc(capacity) => rooms.push(room(*capacity, small)?),
                Medium::Fat32 => {
                    stick = true;
                    break;
                }
            }
        }
        let fits = rooms.iter().fold(0_u64, |sum, room| sum.saturating_add(*room)) >= total;
        if rooms.len() == count && fits {
            return Ok(evenly(total, &rooms).map(|parts| {
                let ones = vec![1; parts.len()];
                (parts.into_iter().map(|part| vec![part]).collect(), ones)
            }));
        }
        if !stick || beside > FAT32_FILE_BYTES {
            return Ok(None);
        }
        let mut left = total;
        let mut discs: Vec<Vec<u64>> = Vec::new();
        for room in rooms {
            discs.push(vec![room.min(left)]);
            left = left.saturating_sub(room);
        }
        let (part, mut last) = (FAT32_FILE_BYTES - FAT32_FILE_BYTES % SECTOR_BYTES, Vec::new());
        while left > 0 && last.len() < PARTS_MAX {
            last.push(part.min(left));
            left = left.saturating_sub(part);
        }
        if left > 0 || discs.len().saturating_add(last.len()) > PARTS_MAX {
            return Err(MediaError::TooMany);
        }
        if discs.iter().flatten().any(|part| *part == 0) || last.is_empty() {
            return Ok(None);
        }
        let mut each = vec![1; discs.len()];
        each.push(files.saturating_sub(u32::try_from(discs.len()).unwrap_or(files)));
        discs.push(last);
        Ok(Some((discs, each)))
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
        let mixed = Cut { discs: cut("1MiB,fat32", 9 * GIB), recovery: None };
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

    fn recovered(media: &str, total: u64, percent: u32) -> Result<Cut, MediaError> {
        let percent = Percent::new(percent).unwrap();
        media.parse::<Media>().unwrap().cut_with_recovery(total, 100_000, percent)
    }

    #[test]
    fn with_recovery_data_the_discs_are_even_and_enough_of_it_stands_a_lost_one() {
        let cut = recovered("dvd", 20_000_000_000, 30).unwrap();
        let sizes: Vec<u64> = cut.discs.iter().flatten().copied().collect();
        let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
        assert!(sizes.len() == 6 && most - least < 20_000, "{sizes:?}");
        assert!(cut.withstands_a_lost_disc());
        assert!(!recovered("dvd", 20_000_000_000, 10).unwrap().withstands_a_lost_disc());
        let media: Media = "dvd".parse().unwrap();
        let least = media.percent_for_a_lost_disc(20_000_000_000, 100_000).unwrap().number();
        assert!((20..=26).contains(&least), "{least}");
        // A single disc that is lost is everything.
        assert!(!recovered("bd25", 1_000_000_000, 100).unwrap().withstands_a_lost_disc());
        assert_eq!(media.percent_for_a_lost_disc(1_000_000, 100_000), None);
    }

    #[test]
    fn a_stick_gets_as_many_recovery_files_as_keep_below_its_limit() {
        let along = |media: &str, total: u64, percent: u32| {
            let cut = recovered(media, total, percent).unwrap();
            let along = cut.recovery.unwrap();
            assert!(along.geometry.file_bytes_max() < 4 * GIB || !media.contains("fat32"));
            (cut.discs.len(), along.files)
        };
        assert_eq!(along("fat32", GIB, 10), (1, vec![1]));
        assert_eq!(along("fat32", 100 * GIB, 10), (1, vec![3]));
        assert_eq!(along("4GiB,fat32", 100 * GIB, 10), (2, vec![1, 2]));
        assert_eq!(along("4GiB,fat32", GIB, 10), (1, vec![1]));
    }

    proptest::proptest! {
        #[test]
        fn a_cut_with_recovery_data_loses_nothing_and_fits(
            total in (1_u64 << 20)..(1 << 30), percent in 1_u32..100,
            capacities in proptest::collection::vec((1_u64 << 23)..(1 << 28), 1..5)
        ) {
            let text: Vec<String> = capacities.iter().map(u64::to_string).collect();
            let small = small_bytes(&[5000, 70_000, 70_000]);
            let media: Media = text.join(",").parse().unwrap();
            let cut = media.cut_with_recovery(total, small, Percent::new(percent).unwrap()).unwrap();
            let along = cut.recovery.clone().unwrap();
            assert_eq!(cut.discs.iter().flatten().sum::<u64>(), total);
            assert_eq!(along.files.len(), cut.discs.len());
            assert_eq!(along.files.iter().sum::<u32>(), along.geometry.files());
            for (disc, parts) in cut.discs.iter().enumerate() {
                let capacity = capacities.get(disc).or(capacities.last()).unwrap();
                let used = parts[0] + along.bytes_of_disc(disc) + small;
                assert!(parts.len() == 1 && parts[0] > 0 && used <= *capacity, "{used} of {capacity}");
            }
            assert!(cut.discs[0][0] >= total.min(FIRST_PART_BYTES));
        }

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
