//! What can be read at any place and may fail at some: an archive on a medium, or the parts of one, of which
//! some may be missing.
//!
//! *What it never does:* tell one failure from another. Bytes that cannot be had are lost, whatever the reason.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Bytes at places.
pub trait Source {
    /// Fills the buffer from an offset.
    ///
    /// # Errors
    /// Not all of these bytes can be had: they are missing, beyond the end, or the medium fails.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl Source for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }
}

impl Source for [u8] {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = self.get(start..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl Source for Vec<u8> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.as_slice().read_at(buffer, offset)
    }
}

impl<S: Source + ?Sized> Source for &S {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_at(buffer, offset)
    }
}

impl<S: Source + ?Sized> Source for std::sync::Arc<S> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_at(buffer, offset)
    }
}

impl<S: Source + ?Sized> Source for Box<S> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_at(buffer, offset)
    }
}

/// Several files that are one archive. What no piece has is missing.
#[derive(Debug, Default)]
pub struct Pieces<S> {
    /// Ascending and disjoint.
    pieces: Vec<(Range<u64>, S)>,
}

impl<S: Source> Pieces<S> {
    /// No piece yet.
    #[must_use]
    pub fn new() -> Self {
        Self { pieces: Vec::new() }
    }

    /// Adds what has these bytes of the archive. Of two pieces for the same bytes the first one counts.
    pub fn add(&mut self, range: Range<u64>, source: S) {
        let apart = |(has, _): &(Range<u64>, S)| has.end <= range.start || range.end <= has.start;
        if !range.is_empty() && self.pieces.iter().all(apart) {
            let place = self.pieces.partition_point(|(has, _)| has.end <= range.start);
            self.pieces.insert(place, (range, source));
        }
    }

    fn piece_at(&self, offset: u64) -> io::Result<&(Range<u64>, S)> {
        let place = self.pieces.partition_point(|(has, _)| has.end <= offset);
        let found = self.pieces.get(place).filter(|(has, _)| has.contains(&offset));
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl<S: Source> Source for Pieces<S> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let (mut rest, mut offset) = (buffer, offset);
        while !rest.is_empty() {
            let (range, source) = self.piece_at(offset)?;
            let here = usize::try_from(range.end - offset).unwrap_or(usize::MAX).min(rest.len());
            let (now, later) = rest.split_at_mut(here);
            source.read_at(now, offset - range.start)?;
            offset += here as u64;
            rest = later;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_read_across_their_seams_and_fail_where_one_is_missing() {
        let mut pieces = Pieces::new();
        pieces.add(6..9, b"678".to_vec());
        pieces.add(0..3, b"012".to_vec());
        pieces.add(3..5, b"34".to_vec());
        pieces.add(4..6, b"xx".to_vec());
        let read = |range: Range<u64>| {
            let mut buffer = vec![0; (range.end - range.start) as usize];
            pieces.read_at(&mut buffer, range.start).map(|()| String::from_utf8(buffer).unwrap())
        };
        assert_eq!(read(1..5).unwrap(), "1234");
        assert_eq!(read(6..9).unwrap(), "678");
        for missing in [4..6, 5..6, 8..10, 100..101] {
            assert!(read(missing).is_err());
        }
        assert_eq!(read(9..9).unwrap(), "");
    }
}
