//! A wheel's core metadata, for whoever wants to know what it needs without fetching it (PEP 658, PEP 714): the
//! bytes of `METADATA` in its one `.dist-info` directory, read from the wheel in the store.
//!
//! *What is bounded:* the directory of the archive, the files in it, one wheel's metadata, and that of all wheels
//! together. A wheel over a limit is served all the same, and says nothing of metadata.
//!
//! It is no blob of a bundle, so nobody signed its digest by itself. It is a part of one, and whoever installs the
//! wheel checks that.

use std::io::{self, Read};

use hyper::body::Bytes;
use manifests::Digest;
use manifests::bundle::Content;
use manifests::inventory::Wheel;
use zip::ZipArchive;

use crate::preflight::zip_directory;

use super::shelf::Shelf;
use super::trouble::{Trouble, open};

/// The longest descriptions of projects have half of that.
const METADATA_BYTES_MAX: u64 = 512 * 1024;
/// Of all wheels. A thousand usual ones have half of that.
const ALL_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The largest wheels have about 30,000.
const FILES_MAX: u64 = 200_000;
const END: &str = ".dist-info/METADATA";

/// The bytes, and their digest.
#[derive(Debug)]
pub(super) struct Metadata {
    pub(super) bytes: Bytes,
    pub(super) digest: Digest,
}

/// How much room all metadata may still take.
#[derive(Debug)]
pub(super) struct Room(u64);

impl Default for Room {
    fn default() -> Self {
        Self(ALL_BYTES_MAX)
    }
}

impl Room {
    /// Reads a wheel's metadata; `None` if there is more of it than we keep.
    ///
    /// # Errors
    /// The wheel is not in the store, or is no wheel.
    pub(super) fn read(&mut self, shelf: &dyn Shelf, wheel: &Wheel) -> Result<Option<Metadata>, Trouble> {
        let content = Content { digest: wheel.digest, size: wheel.size };
        let file = open(shelf, content)?;
        let broken = |source| Trouble::WheelMetadata { digest: wheel.digest, source };
        let limit = self.0.min(METADATA_BYTES_MAX);
        let Some(bytes) = metadata(file, limit).map_err(broken)? else { return Ok(None) };
        self.0 = self.0.saturating_sub(bytes.len() as u64);
        Ok(Some(Metadata { digest: Digest::of(&bytes), bytes: bytes.into() }))
    }
}

fn metadata(mut file: impl Read + io::Seek, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let (_, files) = zip_directory::sizes(&mut file)?;
    if files > FILES_MAX {
        return Ok(None);
    }
    let mut archive = ZipArchive::new(file)?;
    let names = archive.file_names().filter_map(Result::ok);
    let mut found = names.filter(|name| name.strip_suffix(END).is_some_and(|rest| !rest.contains('/')));
    let (Some(name), None) = (found.next().map(|name| name.into_owned()), found.next()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "there is not one METADATA in it"));
    };
    drop(found);
    let mut bytes = Vec::new();
    // One byte more than allowed tells a longer file from one that just fits.
    archive.by_name(&name)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Write};

    fn wheel(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in files {
            archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(bytes).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    fn read(bytes: &[u8], limit: u64) -> io::Result<Option<Vec<u8>>> {
        metadata(Cursor::new(bytes), limit)
    }

    #[test]
    fn the_metadata_is_the_one_in_the_dist_info_directory_and_within_the_limit() {
        let text = b"Metadata-Version: 2.1\nName: demo\n";
        let files: [(&str, &[u8]); 3] = [
            ("demo.py", b"1"),
            ("demo-1.0.dist-info/METADATA", text),
            ("demo/vendored-1.0.dist-info/METADATA", b"another"),
        ];
        let bytes = wheel(&files);
        assert_eq!(read(&bytes, 100).unwrap().as_deref(), Some(&text[..]));
        assert_eq!(read(&bytes, text.len() as u64).unwrap().as_deref(), Some(&text[..]));
        assert_eq!(read(&bytes, text.len() as u64 - 1).unwrap(), None);
    }

    #[test]
    fn what_is_no_wheel_has_none() {
        let two: [(&str, &[u8]); 2] = [("a-1.dist-info/METADATA", b"a"), ("b-1.dist-info/METADATA", b"b")];
        for bytes in [wheel(&[("demo.py", b"1")]), wheel(&two), b"PK".to_vec(), Vec::new()] {
            assert!(read(&bytes, 100).is_err());
        }
    }

    #[test]
    fn a_flipped_bit_of_the_metadata_is_noticed() {
        let text = vec![b'x'; 2000];
        let good = wheel(&[("demo-1.0.dist-info/METADATA", &text)]);
        for place in 0..good.len() {
            let mut bent = good.clone();
            bent[place] ^= 1;
            if let Ok(Some(found)) = read(&bent, 1 << 20) {
                assert_eq!(found, text, "byte {place}");
            }
        }
    }
}
