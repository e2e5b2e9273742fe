//! What lies on a medium already, what it is formatted as, and whether there is room: before anything is written.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use layout::medium;
use rustix::fs::StatVfsMountFlags;

use super::plan::{Item, Plan};
use super::{PARTIAL, WriteError};

/// FAT keeps the length of a file in 32 bits.
const FAT_FILE_BYTES_MAX: u64 = u32::MAX as u64;

/// Files up to this length are compared before anything is written. A longer one is compared when its turn comes.
const SMALL_BYTES: u64 = 1024 * 1024;

/// How many names of a directory are looked at.
const NAMES_MAX: usize = 65_536;

/// What a medium is formatted as, as far as that matters or people want to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileSystem {
    /// FAT12, FAT16 or FAT32: no file of 4 GiB.
    Fat,
    /// exFAT.
    Exfat,
    /// NTFS.
    Ntfs,
    /// ext2, ext3 or ext4.
    Ext,
    /// UDF.
    Udf,
    /// ISO 9660.
    Iso9660,
    /// A program, and what is behind it is not known.
    Fuse,
    /// In memory.
    Tmpfs,
    /// Any other.
    Other,
}

impl FileSystem {
    /// By the number that the kernel has for it.
    fn of(stat: &rustix::fs::StatFs) -> Self {
        match stat.f_type {
            0x4d44 => Self::Fat,
            0x2011_bab0 => Self::Exfat,
            0x5346_544e | 0x7366_746e => Self::Ntfs,
            0xef53 => Self::Ext,
            0x1501_3346 => Self::Udf,
            0x9660 => Self::Iso9660,
            0x6573_5546 => Self::Fuse,
            0x0102_1994 => Self::Tmpfs,
            _ => Self::Other,
        }
    }

    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fat => "FAT",
            Self::Exfat => "exFAT",
            Self::Ntfs => "NTFS",
            Self::Ext => "ext",
            Self::Udf => "UDF",
            Self::Iso9660 => "ISO 9660",
            Self::Fuse => "FUSE",
            Self::Tmpfs => "tmpfs",
            Self::Other => "another file system",
        }
    }

    /// Whether a file of this length can be on it.
    fn takes(self, bytes: u64) -> bool {
        self != Self::Fat || bytes <= FAT_FILE_BYTES_MAX
    }
}

/// What lies at the place of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum There {
    /// Nothing.
    Nothing,
    /// What an earlier run has begun, and how many bytes of the disk that takes.
    Begun(u64),
    /// Something of the same name and length.
    Whole,
}

/// A directory that can be written to.
pub(super) struct Directory {
    path: PathBuf,
    pub(super) file_system: FileSystem,
    device: u64,
    /// What it gives out at once.
    block: u64,
    free: u64,
}

impl Directory {
    /// Looks at it.
    pub(super) fn open(path: &Path) -> Result<Self, WriteError> {
        let no = || WriteError::NoDirectory { path: path.to_path_buf() };
        let found = std::fs::metadata(path).map_err(|_| no())?;
        if found.file_type().is_block_device() || found.file_type().is_char_device() {
            return Err(WriteError::Device { path: path.to_path_buf() });
        }
        if !found.is_dir() {
            return Err(no());
        }
        let failed = |error: rustix::io::Errno| WriteError::Write {
            path: path.to_path_buf(),
            at: 0,
            source: error.into(),
        };
        let stat = rustix::fs::statvfs(path).map_err(failed)?;
        if stat.f_flag.contains(StatVfsMountFlags::RDONLY) {
            return Err(WriteError::ReadOnly { path: path.to_path_buf() });
        }
        Ok(Self {
            path: path.to_path_buf(),
            file_system: FileSystem::of(&rustix::fs::statfs(path).map_err(failed)?),
            device: found.dev(),
            block: stat.f_frsize.max(1),
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }

    /// Whether a file lies on the disk of this directory.
    pub(super) fn is_disk_of(&self, path: &Path) -> bool {
        std::fs::metadata(path).is_ok_and(|found| found.dev() == self.device)
    }

    /// What lies there of a plan.
    pub(super) fn survey(&self, plan: &Plan) -> Result<Vec<There>, WriteError> {
        if let Some(item) = plan.items.iter().find(|item| !self.file_system.takes(item.bytes)) {
            let (path, file) = (self.path.clone(), item.name.clone());
            return Err(WriteError::Fat { path, file, size: item.bytes });
        }
        let mut names = BTreeSet::new();
        for directory in std::iter::once(PathBuf::new()).chain(plan.directories.iter().cloned()) {
            self.look(&directory, &mut names)?;
        }
        for directory in &plan.directories {
            let found = self.at(directory, &names)?;
            if found.is_some_and(|found| !found.is_dir()) {
                return Err(WriteError::Exists { path: self.path.join(directory) });
            }
        }
        let there: Vec<There> =
            plan.items.iter().map(|item| self.there(item, &names)).collect::<Result<_, _>>()?;
        self.require_room(plan, &there)?;
        Ok(there)
    }

    /// The names in one directory, as paths below the destination.
    fn look(&self, directory: &Path, names: &mut BTreeSet<PathBuf>) -> Result<(), WriteError> {
        let path = self.path.join(directory);
        let failed = |source| WriteError::Write { path: path.clone(), at: 0, source };
        let entries = match std::fs::read_dir(&path) {
            // What is no directory is refused afterwards.
            Err(error) if is_absent(&error) => return Ok(()),
            other => other.map_err(failed)?,
        };
        for entry in entries.take(NAMES_MAX) {
            names.insert(directory.join(entry.map_err(failed)?.file_name()));
        }
        Ok(())
    }

    /// What has a name. One that differs only in the case of its letters is none of ours, unless the file system
    /// itself makes no difference.
    fn at(&self, name: &Path, names: &BTreeSet<PathBuf>) -> Result<Option<Metadata>, WriteError> {
        let path = self.path.join(name);
        match path.symlink_metadata() {
            Ok(found) => Ok(Some(found)),
            Err(error) if is_absent(&error) => {
                let folded = |path: &Path| path.to_string_lossy().to_ascii_lowercase();
                let alike = names.iter().find(|other| folded(other) == folded(name));
                let name = name.display().to_string();
                alike.map_or(Ok(None), |other| Err(WriteError::Alike { path: self.path.join(other), name }))
            }
            Err(source) => Err(WriteError::Write { path, at: 0, source }),
        }
    }

    fn there(&self, item: &Item, names: &BTreeSet<PathBuf>) -> Result<There, WriteError> {
        let path = self.path.join(&item.name);
        if let Some(found) = self.at(&item.name, names)? {
            let source = std::fs::metadata(&item.from).ok();
            if source.is_some_and(|source| (source.dev(), source.ino()) == (found.dev(), found.ino())) {
                return Err(WriteError::Itself { path: self.path.clone() });
            }
            let same = found.is_file() && found.len() == item.bytes;
            return match same && (item.bytes > SMALL_BYTES || same_bytes(&path, &item.from)) {
                true => Ok(There::Whole),
                false => Err(WriteError::Exists { path }),
            };
        }
        let partial = partial(&path);
        match partial.symlink_metadata() {
            Ok(found) if found.is_file() => Ok(There::Begun(found.blocks().saturating_mul(512))),
            Ok(_) => Err(WriteError::Exists { path: partial }),
            Err(_) => Ok(There::Nothing),
        }
    }

    /// The formula: what is not there yet, in whole blocks of the file system, and a block for each directory.
    fn require_room(&self, plan: &Plan, there: &[There]) -> Result<(), WriteError> {
        let block = self.block;
        let directories = (plan.directories.len() as u64).saturating_add(1).saturating_mul(block);
        let needed = plan.items.iter().zip(there).fold(directories, |sum, (item, there)| {
            let whole = item.bytes.div_ceil(block).saturating_mul(block);
            sum.saturating_add(match there {
                There::Nothing => whole,
                There::Begun(has) => whole.saturating_sub(*has),
                There::Whole => 0,
            })
        });
        if there.iter().all(|there| *there == There::Whole) || needed <= self.free {
            return Ok(());
        }
        Err(WriteError::Space { path: self.path.clone(), free: self.free, needed })
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

/// What a file is called until it is whole.
pub(super) fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(PARTIAL);
    name.into()
}

fn same_bytes(path: &Path, other: &Path) -> bool {
    let read = |path: &Path| {
        let mut content = Vec::new();
        let (file, _) = medium::open(path).ok()?;
        file.take(SMALL_BYTES).read_to_end(&mut content).ok()?;
        Some(content)
    };
    read(path).is_some_and(|content| read(other) == Some(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fat_takes_no_file_of_four_gib_and_others_do() {
        let four = 4 * 1024 * 1024 * 1024;
        assert!(FileSystem::Fat.takes(four - 1) && !FileSystem::Fat.takes(four));
        assert!(FileSystem::Exfat.takes(u64::MAX) && FileSystem::Ext.takes(four));
    }
}
