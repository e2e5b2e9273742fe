//! Writes an archive as parts, in one pass: each part is a plain range of its bytes, in a file of its own.
//!
//! *Invariant:* the parts that [`PartsWriter::finish`] has returned are on the disk, and what `cat` makes of
//! them is what was written.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use manifests::Hasher;
use manifests::bundle::Content;

/// Where a part goes, and how long it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its file; a part without one is hashed and not kept.
    pub path: Option<PathBuf>,
    /// Its length.
    pub size: u64,
}

/// Takes an archive and writes its parts.
#[derive(Debug)]
pub struct PartsWriter {
    planned: Vec<Planned>,
    done: Vec<Content>,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    file: Option<File>,
    hasher: Hasher,
    size: u64,
}

impl PartsWriter {
    /// Will write these parts. The directories are there, the files are not.
    #[must_use]
    pub fn new(planned: Vec<Planned>) -> Self {
        Self { planned, done: Vec::new(), current: None }
    }

    /// Goes on to the next part if none is being written.
    fn current(&mut self) -> io::Result<&mut Current> {
        let next = match self.current.take() {
            Some(current) => current,
            None => {
                let planned = self.planned.get(self.done.len());
                let planned =
                    planned.ok_or_else(|| io::Error::other("the archive is longer than its parts"))?;
                let mut options = OpenOptions::new();
                let options = options.write(true).create_new(true).mode(0o644);
                let file = planned.path.as_ref().map(|path| options.open(path)).transpose()?;
                Current { file, hasher: Hasher::new(), size: planned.size }
            }
        };
        Ok(self.current.insert(next))
    }

    fn close_if_full(&mut self) -> io::Result<()> {
        let full = |current: &mut Current| current.hasher.size() == current.size;
        if let Some(current) = self.current.take_if(full) {
            if let Some(file) = current.file {
                file.sync_all()?;
            }
            self.done.push(Content { size: current.hasher.size(), digest: current.hasher.finish() });
        }
        Ok(())
    }

    /// Digest and size of each part.
    ///
    /// # Errors
    /// Less was written than the parts hold.
    pub fn finish(self) -> io::Result<Vec<Content>> {
        if self.current.is_some() || self.done.len() != self.planned.len() {
            return Err(io::Error::other("the archive is shorter than its parts"));
        }
        Ok(self.done)
    }
}

impl Write for PartsWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let current = self.current()?;
        let room = current.size.saturating_sub(current.hasher.size());
        let count = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        let bytes = bytes.get(..count).unwrap_or_default();
        let written = match &mut current.file {
            Some(file) => file.write(bytes)?,
            None => count,
        };
        current.hasher.update(bytes.get(..written).unwrap_or_default());
        self.close_if_full()?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The parts of an archive as one stream, opened one after the other.
#[derive(Debug)]
pub struct Joined {
    rest: std::vec::IntoIter<PathBuf>,
    current: Option<File>,
}

impl Joined {
    /// These files, in this order.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self { rest: paths.into_iter(), current: None }
    }
}

impl Read for Joined {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(file) = &mut self.current {
                let count = file.read(buffer)?;
                if count > 0 || buffer.is_empty() {
                    return Ok(count);
                }
            }
            match self.rest.next() {
                None => return Ok(0),
                Some(path) => self.current = Some(crate::medium::open(&path).map_err(io::Error::other)?.0),
            }
        }
    }
}

/// Passes on what is read, and gives a copy of it to a writer. Whoever reads learns only that it failed; what
/// the writer said of it is kept apart, so that the medium is not blamed for it.
pub struct Tee<'a, R, W> {
    input: R,
    copy: W,
    failed: &'a Cell<Option<io::Error>>,
}

impl<'a, R: Read, W: Write> Tee<'a, R, W> {
    /// Reads `input`.
    pub fn new(input: R, copy: W, failed: &'a Cell<Option<io::Error>>) -> Self {
        Self { input, copy, failed }
    }
}

impl<R: Read, W: Write> Read for Tee<'_, R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        let copied = self.copy.write_all(buffer.get(..count).unwrap_or_default());
        copied.map_err(|error| {
            self.failed.set(Some(error));
            io::Error::other("its copy cannot be written")
        })?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifests::Digest;

    proptest::proptest! {
        #[test]
        fn what_cat_makes_of_the_parts_is_what_was_written(
            archive in proptest::collection::vec(proptest::num::u8::ANY, 1..4000),
            cuts in proptest::collection::vec(1_u64..4000, 0..8),
            piece in 1_usize..700,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let total = archive.len() as u64;
            let mut ends: Vec<u64> = cuts.into_iter().filter(|cut| *cut < total).chain([total]).collect();
            ends.sort_unstable();
            ends.dedup();
            let mut start = 0;
            let mut planned = Vec::new();
            for (number, end) in ends.into_iter().enumerate() {
                planned.push(Planned { path: Some(dir.path().join(number.to_string())), size: end - start });
                start = end;
            }
            let mut writer = PartsWriter::new(planned.clone());
            for chunk in archive.chunks(piece) {
                writer.write_all(chunk).unwrap();
            }
            assert!(writer.write(b"x").is_err());
            let parts = writer.finish().unwrap();
            let paths: Vec<PathBuf> = planned.iter().map(|planned| planned.path.clone().unwrap()).collect();
            let read: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
            assert_eq!(read.concat(), archive);
            for (part, bytes) in parts.iter().zip(&read) {
                assert_eq!((part.size, part.digest), (bytes.len() as u64, Digest::of(bytes)));
            }
            let mut joined = Vec::new();
            Joined::new(paths).read_to_end(&mut joined).unwrap();
            assert_eq!(joined, archive);
        }
    }

    #[test]
    fn less_than_planned_is_no_set_of_parts() {
        let mut writer = PartsWriter::new(vec![Planned { path: None, size: 5 }]);
        writer.write_all(b"four").unwrap();
        assert!(writer.finish().is_err());
    }
}
