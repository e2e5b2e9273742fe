//! What lies where in somebody else's tar file. Content is never unpacked: an entry is a stretch of the
//! file, and a link is a name to look up in the same index.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::lock::Slice;

/// An archive of a hundred images has a few thousand entries.
const ENTRIES_MAX: usize = 1_000_000;
/// `docker save` links a layer to its twin, never further.
const LINKS_MAX: usize = 4;

enum Entry {
    File { offset: u64, size: u64 },
    Link(String),
}

/// The entries of a tar file by name.
pub struct TarIndex {
    file: PathBuf,
    entries: BTreeMap<String, Entry>,
}

impl TarIndex {
    /// Reads all headers, skipping content. `shown` is how the path was written.
    ///
    /// # Errors
    /// Not readable, compressed, or no tar file.
    pub fn open(path: &Path, shown: PathBuf) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut magic = [0_u8; 4];
        let count = file.read(&mut magic)?;
        if count >= 2 && magic.starts_with(&[0x1f, 0x8b]) || magic == [0x28, 0xb5, 0x2f, 0xfd] {
            return Err(invalid("it is compressed; decompress it first (gunzip or zstd -d)"));
        }
        file.seek(SeekFrom::Start(0))?;
        let mut archive = tar::Archive::new(file);
        let mut entries = BTreeMap::new();
        for entry in archive.entries_with_seek()? {
            let entry = entry?;
            if entries.len() >= ENTRIES_MAX {
                return Err(invalid("it has too many entries"));
            }
            let Ok(name) = String::from_utf8(entry.path_bytes().into_owned()) else { continue };
            let name = normal(&name, None).ok_or_else(|| invalid("an entry's name leaves the archive"))?;
            let kind = entry.header().entry_type();
            let found = if kind.is_file() {
                Entry::File { offset: entry.raw_file_position(), size: entry.size() }
            } else if kind.is_symlink() || kind.is_hard_link() {
                let target =
                    entry.link_name_bytes().and_then(|target| String::from_utf8(target.into_owned()).ok());
                let base = if kind.is_symlink() { Some(name.as_str()) } else { None };
                let target = target.and_then(|target| normal(&target, base));
                Entry::Link(target.ok_or_else(|| invalid("a link leaves the archive"))?)
            } else {
                continue;
            };
            entries.insert(name, found);
        }
        Ok(Self { file: shown, entries })
    }

    /// The stretch that holds a file; links inside the archive are followed.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Slice> {
        let mut name = normal(name, None)?;
        for _ in 0..LINKS_MAX {
            match self.entries.get(&name)? {
                Entry::File { offset, size } => {
                    return Some(Slice { file: self.file.clone(), offset: *offset, size: *size });
                }
                Entry::Link(target) => name.clone_from(target),
            }
        }
        None
    }
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// A name without `.`, `..` and leading slashes; relative to the directory of `base` if there is one.
/// `None` if it leaves the archive.
fn normal(name: &str, base: Option<&str>) -> Option<String> {
    let mut parts: Vec<&str> = match base.and_then(|base| base.rsplit_once('/')) {
        Some((directory, _)) if !name.starts_with('/') => directory.split('/').collect(),
        _ => Vec::new(),
    };
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Opens a stretch of a file.
///
/// # Errors
/// Not readable.
pub fn open_slice(path: &Path, slice: &Slice) -> io::Result<io::Take<File>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(slice.offset))?;
    Ok(file.take(slice.size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_leaves_the_archive() {
        assert_eq!(normal("./blobs//sha256/x", None).as_deref(), Some("blobs/sha256/x"));
        assert_eq!(normal("../abc/layer.tar", Some("def/layer.tar")).as_deref(), Some("abc/layer.tar"));
        assert_eq!(normal("../../x", Some("def/layer.tar")), None);
        assert_eq!(normal("../x", None), None);
    }
}
