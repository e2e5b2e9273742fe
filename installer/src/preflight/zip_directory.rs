//! How large a wheel is unpacked, and how many files that are: from the directory at the end of the archive
//! (PKWARE's APPNOTE, sections 4.3.12 and 4.3.16), for an estimate of room. Nothing is unpacked, and nothing is
//! believed for more than that.

use std::io::{self, Read, Seek, SeekFrom};

/// The end record and the longest comment after it.
const TAIL_BYTES: u64 = 22 + 65_535;
/// A directory of some hundred thousand names stays below it.
const DIRECTORY_BYTES_MAX: u64 = 64 * 1024 * 1024;
const END: [u8; 4] = *b"PK\x05\x06";
const ENTRY: [u8; 4] = *b"PK\x01\x02";
const ENTRY_BYTES: usize = 46;

/// Bytes and files of an archive, unpacked.
///
/// # Errors
/// It is not readable, or no such archive; one with sizes over 4 GiB is none either.
pub fn sizes(file: &mut (impl Read + Seek)) -> io::Result<(u64, u64)> {
    let length = file.seek(SeekFrom::End(0))?;
    let start = length.saturating_sub(TAIL_BYTES);
    let tail = read(file, start, length.saturating_sub(start))?;
    let end = tail.windows(END.len()).rposition(|window| window == END).ok_or_else(broken)?;
    let end = tail.get(end..).ok_or_else(broken)?;
    let (size, offset) = (number(end, 12, 4)?, number(end, 16, 4)?);
    if size > DIRECTORY_BYTES_MAX || offset == u64::from(u32::MAX) {
        return Err(broken());
    }
    let directory = read(file, offset, size)?;
    let mut rest = directory.as_slice();
    let (mut bytes, mut files) = (0_u64, 0_u64);
    while !rest.is_empty() {
        if !rest.starts_with(&ENTRY) {
            return Err(broken());
        }
        let unpacked = number(rest, 24, 4)?;
        if unpacked == u64::from(u32::MAX) {
            return Err(broken());
        }
        bytes = bytes.saturating_add(unpacked);
        files = files.saturating_add(1);
        let names = [number(rest, 28, 2)?, number(rest, 30, 2)?, number(rest, 32, 2)?].iter().sum::<u64>();
        let next = usize::try_from(names).map_err(|_| broken())?.saturating_add(ENTRY_BYTES);
        rest = rest.get(next..).ok_or_else(broken)?;
    }
    Ok((bytes, files))
}

fn read(file: &mut (impl Read + Seek), offset: u64, length: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A little-endian number.
fn number(bytes: &[u8], at: usize, width: usize) -> io::Result<u64> {
    let found = bytes.get(at..at.saturating_add(width)).ok_or_else(broken)?;
    Ok(found.iter().rev().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)))
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no directory of a zip archive that is read here")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Cursor, Write};

    #[test]
    fn a_wheel_is_as_large_as_its_files_and_what_is_none_is_nothing() {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default();
        for (name, size) in [("a.py", 100_000_usize), ("b/c.py", 5), ("d", 0)] {
            writer.start_file(name, options).unwrap();
            writer.write_all(&vec![b'x'; size]).unwrap();
        }
        let bytes = writer.finish().unwrap().into_inner();
        assert_eq!(sizes(&mut Cursor::new(&bytes)).unwrap(), (100_005, 3));
        for broken in [&b""[..], b"PK", &bytes[..bytes.len() - 10], b"PK\x05\x06", &[b'P'; 100]] {
            assert!(sizes(&mut Cursor::new(broken)).is_err());
        }
        for cut in 0..bytes.len() {
            let mut bent = bytes.clone();
            bent[cut] ^= 0xff;
            let _ = sizes(&mut Cursor::new(bent));
        }
    }
}
