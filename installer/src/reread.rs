//! Blobs that the site store has, read once more: what a delta leaves out, and what a way back needs. Several at the same
//! time, where the disk does not have to look for them.
//!
//! *What this module may never do:* judge. It tells what was found, in the order in which it was asked for.

use std::fs::File;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use edge::at_once::at_once;
use edge::progress::Progress;
use layout::hashing::{self, ManifestKeeper};
use layout::medium;
use layout::store::Store;
use manifests::bundle::Content;
use manifests::verify::MaybeManifest;

/// What a blob is now.
#[derive(Debug)]
pub(crate) struct Found {
    /// Its size and digest.
    pub(crate) content: Content,
    /// Its bytes, if they are those of a manifest.
    pub(crate) document: MaybeManifest,
}

/// Who is told how far it is, by whoever has read something.
type Told<'a> = Mutex<&'a mut dyn Progress>;

/// Reads each of these blobs to its end; `None` for one that is not there.
pub(crate) fn blobs(
    store: &Store,
    blobs: &[Content],
    progress: &mut dyn Progress,
) -> Vec<io::Result<Option<Found>>> {
    let told = Mutex::new(progress);
    at_once(medium::readers(store.root()), blobs, |blob| one(store, blob, &told))
}

fn one(store: &Store, blob: &Content, told: &Told<'_>) -> io::Result<Option<Found>> {
    let Some(file) = store.open(&blob.digest)? else { return Ok(None) };
    let (content, document) = hashed(file, blob.size, told)?;
    Ok(Some(Found { content, document: MaybeManifest::of(document) }))
}

/// Reads a file that should be so long, and keeps the bytes of what may be a manifest.
pub(crate) fn file(file: File, size: u64, progress: &mut dyn Progress) -> io::Result<(Content, Vec<u8>)> {
    hashed(file, size, &Mutex::new(progress))
}

fn hashed(file: File, size: u64, told: &Told<'_>) -> io::Result<(Content, Vec<u8>)> {
    let (content, keeper) = hashing::copy(&mut Watched { file, told }, ManifestKeeper::of_size(size))?;
    Ok((content, keeper.finish()))
}

/// Tells how much was read.
struct Watched<'a, 'b> {
    file: File,
    told: &'a Told<'b>,
}

impl Read for Watched<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.told.lock().unwrap_or_else(PoisonError::into_inner).advance(count as u64);
        Ok(count)
    }
}
