//! Blobs that come as patches: made of what the site store holds, while the patch passes by.
//!
//! Who takes the content of a bundle is handed the blob in place of its patch, so nobody behind this file knows that
//! there are patches. Of discs, whose pieces come in any order, the patches are kept beside the blobs until all are there
//! (`incoming.rs`), and made into blobs then; where nothing may be kept, a patch that goes over several discs is followed
//! from one to the next.
//!
//! *Invariant:* what is made has the signed digest, or the bundle is not admitted. That a patch is damaged on the way is
//! said as of any other file: only one that has its signed digest is blamed for what it makes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;

use edge::progress::Progress;
use layout::parts::{Keep, Piece};
use layout::patch::{Decoder, PatchError, Wish};
use layout::reader::Sink;
use layout::store::Store;
use layout::writer::CHUNK_BYTES;
use manifests::bundle::Content;
use manifests::delta::Patch;
use manifests::verify::Contents;
use manifests::{ArchivePath, Digest};

use crate::incoming::Incoming;

/// Of patches that go on in another part so many are followed at once. Of discs that come in their order it is one.
const WAITING_MAX: usize = 8;

/// A patch that has its signed digest, and does not make its blob.
#[derive(Debug, thiserror::Error)]
#[error("the patch {patch} does not make {what} ({blob}): {reason}")]
pub struct Broken {
    /// Which.
    pub patch: Digest,
    /// The blob.
    pub blob: Digest,
    /// What that is to whom: `files /etc/app, model`.
    pub what: String,
    /// Why not.
    pub reason: String,
}

/// The patches of a bundle, by digest.
#[derive(Debug)]
struct Patches {
    store: Store,
    all: BTreeMap<Digest, (Wish, String)>,
}

impl Patches {
    fn of(store: Store, contents: &Contents) -> Self {
        let inventory = contents.inventory();
        let one = |(patch, result): (&Patch, Content)| {
            let what = contents.role(&result.digest).unwrap_or_else(|| "a blob".to_string());
            (patch.patch.digest, (Wish::of(patch, result), what))
        };
        Self { store, all: inventory.patches().iter().zip(inventory.patched()).map(one).collect() }
    }

    /// Begins with a patch; `None` for what is not one.
    fn begin(&self, path: &ArchivePath) -> io::Result<Option<Following>> {
        let ArchivePath::Blob(patch) = path else { return Ok(None) };
        let Some((wish, what)) = self.all.get(patch) else { return Ok(None) };
        let base = self.store.open(&wish.base.digest)?;
        let base = base.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "what it patches is gone"))?;
        let decoder = Decoder::new(*wish, Some(Arc::new(base)));
        Ok(Some(Following { patch: *patch, wish: *wish, what: what.clone(), decoder, failed: None }))
    }
}

/// A patch on its way.
#[derive(Debug, Clone)]
struct Following {
    patch: Digest,
    wish: Wish,
    what: String,
    decoder: Decoder<Arc<File>>,
    /// Nothing more is made of it. Whether that is its own fault its digest will tell.
    failed: Option<String>,
}

impl Following {
    fn push(&mut self, bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
        if self.failed.is_some() {
            return Ok(());
        }
        match self.decoder.push(bytes, out) {
            Err(PatchError::Output(error) | PatchError::Base(error)) => return Err(error),
            Err(error) => self.failed = Some(error.to_string()),
            Ok(()) => {}
        }
        Ok(())
    }

    /// It has passed, and has its digest.
    fn finish(self) -> Result<Content, Broken> {
        let Self { patch, wish, what, decoder, failed } = self;
        let made = match failed {
            Some(reason) => Err(reason),
            None => decoder.finish().map_err(|error| error.to_string()),
        };
        made.map_err(|reason| Broken { patch, blob: wish.result.digest, what, reason })
    }
}

/// Hands on blobs in place of their patches.
pub(crate) struct Rebuilding<'a> {
    patches: Patches,
    inner: &'a mut dyn Sink,
    current: Option<Following>,
    made: Vec<Content>,
}

impl<'a> Rebuilding<'a> {
    /// Of what is in the store.
    pub(crate) fn new(store: Store, contents: &Contents, inner: &'a mut dyn Sink) -> Self {
        Self { patches: Patches::of(store, contents), inner, current: None, made: Vec::new() }
    }

    /// What was made.
    pub(crate) fn made(self) -> Vec<Content> {
        self.made
    }
}

/// The next bytes of a blob, as a writer.
struct Into<'a>(&'a mut dyn Sink);

impl Write for Into<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Rebuilding<'_> {
    fn begin(&mut self, path: &ArchivePath, content: Content) -> io::Result<()> {
        self.current = self.patches.begin(path)?;
        match &self.current {
            Some(Following { wish, .. }) => {
                self.inner.begin(&ArchivePath::Blob(wish.result.digest), wish.result)
            }
            None => self.inner.begin(path, content),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.current {
            Some(following) => following.push(bytes, &mut Into(self.inner)),
            None => self.inner.write(bytes),
        }
    }

    fn end(&mut self, found: Content) -> io::Result<()> {
        let Some(following) = self.current.take() else { return self.inner.end(found) };
        let made = following.finish().map_err(|broken| io::Error::new(io::ErrorKind::InvalidData, broken))?;
        self.made.push(made);
        self.inner.end(made)
    }
}

/// The patch that is to blame for an error of [`Rebuilding`], if one is.
pub(crate) fn blamed(error: io::Error) -> Result<Broken, io::Error> {
    error.downcast::<Broken>()
}

/// Follows patches over the parts of a set, and keeps nothing.
pub(crate) struct Proving {
    patches: Patches,
    current: Option<(Following, u64)>,
    /// Those that go on in another part, by where.
    waiting: Vec<(Digest, u64, Following)>,
    made: BTreeMap<Digest, Content>,
    broken: Vec<Broken>,
}

impl Proving {
    /// Of what is in the store.
    pub(crate) fn new(store: Store, contents: &Contents) -> Self {
        let patches = Patches::of(store, contents);
        Self { patches, current: None, waiting: Vec::new(), made: BTreeMap::new(), broken: Vec::new() }
    }

    /// The first patch that does not make its blob, if one was found.
    pub(crate) fn take_broken(&mut self) -> Option<Broken> {
        self.broken.pop()
    }

    /// Every part was read: what was made, or the blobs whose patches were not followed from their beginning to their
    /// end.
    pub(crate) fn made(self) -> Result<Vec<Content>, Vec<String>> {
        let missed = self.patches.all.iter().filter(|(patch, _)| !self.made.contains_key(*patch));
        let missed: Vec<String> = missed.map(|(_, (_, what))| what.clone()).collect();
        if missed.is_empty() { Ok(self.made.into_values().collect()) } else { Err(missed) }
    }
}

impl Keep for Proving {
    fn begin(&mut self, path: &ArchivePath, _content: Content, from: u64) -> io::Result<()> {
        let following = match path {
            _ if from == 0 => self.patches.begin(path)?,
            ArchivePath::Blob(patch) => {
                let waits = |(of, at, _): &&(Digest, u64, Following)| (*of, *at) == (*patch, from);
                self.waiting.iter().find(waits).map(|(_, _, following)| following.clone())
            }
            _ => None,
        };
        self.current = following.map(|following| (following, from));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some((following, at)) = &mut self.current else { return Ok(()) };
        *at = at.saturating_add(bytes.len() as u64);
        following.push(bytes, &mut io::sink())
    }

    fn end(&mut self, piece: Piece) -> io::Result<()> {
        let Some((following, at)) = self.current.take() else { return Ok(()) };
        let patch = following.patch;
        match piece {
            Piece::Settled => match following.finish() {
                Ok(made) => drop(self.made.insert(patch, made)),
                Err(broken) => self.broken.push(broken),
            },
            Piece::Open => {
                self.waiting.retain(|(of, place, _)| (*of, *place) != (patch, at));
                self.waiting.push((patch, at, following));
                if self.waiting.len() > WAITING_MAX {
                    self.waiting.remove(0);
                }
            }
            Piece::Damaged => {}
        }
        Ok(())
    }
}

/// Why the blobs of a set could not be made.
pub(crate) enum Unmade {
    Broken(Broken),
    Store(io::Error),
}

/// Every part was read: makes the blobs of the patches that were kept, beside them.
pub(crate) fn make(
    store: &Store,
    contents: &Contents,
    incoming: &Incoming<'_>,
    progress: &mut dyn Progress,
) -> Result<Vec<Content>, Unmade> {
    let patches = Patches::of(store.clone(), contents);
    progress.longer(patches.all.values().map(|(wish, _)| wish.result.size).fold(0, u64::saturating_add));
    let mut made = Vec::new();
    for patch in patches.all.keys() {
        let begun = patches.begin(&ArchivePath::Blob(*patch)).map_err(Unmade::Store)?;
        let Some(mut following) = begun else { continue };
        let result = following.wish.result;
        let mut source = incoming.kept(patch).map_err(Unmade::Store)?;
        let written = incoming.make(&result, &mut |out| {
            let mut buffer = vec![0; CHUNK_BYTES];
            loop {
                match source.read(&mut buffer)? {
                    0 => break,
                    count => following.push(buffer.get(..count).unwrap_or_default(), out)?,
                }
            }
            let made = following.clone().finish();
            made.map_err(|broken| io::Error::new(io::ErrorKind::InvalidData, broken)).map(drop)
        });
        written.map_err(|error| blamed(error).map_or_else(Unmade::Store, Unmade::Broken))?;
        progress.advance(result.size);
        made.push(result);
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many patches of one base that the store has, and their bytes.
    fn patches(count: u8) -> (tempfile::TempDir, Patches, Vec<Vec<u8>>) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path().to_path_buf());
        store.create().unwrap();
        let old: Vec<u8> = (0..2000_u32).flat_map(u32::to_le_bytes).collect();
        let base = Content::of(&old);
        std::fs::write(store.blob_path(&base.digest), &old).unwrap();
        let (mut all, mut bytes) = (BTreeMap::new(), Vec::new());
        for number in 0..count {
            let new = [&[number], old.as_slice()].concat();
            let result = Content::of(&new);
            let (mut out, mut source, room) = (Vec::new(), new.as_slice(), io::Cursor::new(Vec::new()));
            let written = layout::patch::write((&mut source, result), (&old, base), 4000, room, &mut out);
            let Ok(layout::patch::Written::Made(made)) = written else { panic!("{written:?}") };
            let wish = Wish { result, base, index: made.index };
            all.insert(Digest::of(&out), (wish, format!("file {number}")));
            bytes.push(out);
        }
        (dir, Patches { store, all }, bytes)
    }

    fn proving(patches: Patches) -> Proving {
        Proving { patches, current: None, waiting: Vec::new(), made: BTreeMap::new(), broken: Vec::new() }
    }

    fn pass(proving: &mut Proving, patch: &[u8], from: usize, to: usize, end: Piece) {
        let path = ArchivePath::Blob(Digest::of(patch));
        proving.begin(&path, Content::of(patch), from as u64).unwrap();
        proving.write(&patch[from..to]).unwrap();
        proving.end(end).unwrap();
    }

    #[test]
    fn a_patch_is_followed_over_parts_also_where_one_was_damaged_and_is_read_again() {
        let (_dir, patches, bytes) = patches(1);
        let (mut proving, patch, end) = (proving(patches), &bytes[0], bytes[0].len());
        pass(&mut proving, patch, 0, 100, Piece::Open);
        let mut bad = patch.clone();
        bad[110] ^= 1;
        proving.begin(&ArchivePath::Blob(Digest::of(patch)), Content::of(patch), 100).unwrap();
        proving.write(&bad[100..]).unwrap();
        proving.end(Piece::Damaged).unwrap();
        pass(&mut proving, patch, 100, 150, Piece::Open);
        pass(&mut proving, patch, 150, end, Piece::Settled);
        assert!(proving.take_broken().is_none());
        assert_eq!(proving.made().unwrap().len(), 1);
    }

    #[test]
    fn of_more_patches_than_are_followed_at_once_those_are_named_that_were_let_go() {
        let count = u8::try_from(WAITING_MAX).unwrap() + 2;
        let (_dir, patches, bytes) = patches(count);
        let mut proving = proving(patches);
        for patch in &bytes {
            pass(&mut proving, patch, 0, 100, Piece::Open);
        }
        for patch in &bytes {
            pass(&mut proving, patch, 100, patch.len(), Piece::Settled);
        }
        let mut missed = proving.made().unwrap_err();
        missed.sort();
        assert_eq!(missed, ["file 0", "file 1"]);
    }

    #[test]
    fn a_patch_that_is_what_was_signed_and_makes_another_blob_is_blamed() {
        let (_dir, mut patches, bytes) = patches(1);
        let wish = &mut patches.all.values_mut().next().unwrap().0;
        wish.index = Digest::of(b"another index");
        let mut proving = proving(patches);
        pass(&mut proving, &bytes[0], 0, bytes[0].len(), Piece::Settled);
        let broken = proving.take_broken().unwrap().to_string();
        assert!(broken.contains("file 0") && broken.contains("its index has digest"), "{broken}");
    }
}
