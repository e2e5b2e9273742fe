//! Which blobs of a delta travel as patches: large ones that are not compressed, of which a site has an older form. The
//! older form is read here, where a bundle that somebody names or the cache has it.
//!
//! A layer that Go's gzip has written cannot be made again bit for bit from what is in it, so nothing that is compressed
//! is tried: it travels whole.
//!
//! *What this module may never do:* take a base that the site was not found to hold ([`Held`]), or believe that a base
//! has the bytes that it is named for: each is hashed on the way.

use std::collections::BTreeMap;
use std::io::{self, Read};

use edge::{Classified, Exit};
use layout::map::ArchiveMap;
use layout::parts::{Keep, Piece};
use layout::patch::{self, Decoder, Made, PatchError, Wish, Written};
use layout::reader::Sink;
use layout::recovery::{Pieces, Source};
use manifests::bundle::Content;
use manifests::delta::Patch;
use manifests::inventory::Component;
use manifests::oci::{MEDIA_MANIFEST, ManifestDocument};
use manifests::{ArchivePath, BundleManifest, Digest, Inventory};

use crate::delta::{Held, Known};
use crate::download::{self, DownloadError, Room};
use crate::export;
use crate::lock::BundleLock;
use crate::pack::Packed;
use crate::parted;
use crate::sources::World;

/// A smaller blob travels whole: it is not worth what a site has to look up for it.
const BLOB_BYTES_MIN: u64 = 1024 * 1024;

/// So many bases are tried for a blob, the likeliest first.
const TRIED_MAX: usize = 2;

/// Why patches could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PatchesError {
    /// The blobs could not be fetched.
    #[error("the archive was not begun")]
    Download {
        /// What, and why not.
        source: DownloadError,
    },
    /// One could not be made.
    #[error("the patch of {blob} could not be made in the cache {cache}")]
    Write {
        /// Of which blob.
        blob: Digest,
        /// Where.
        cache: String,
        /// Why not.
        source: io::Error,
    },
}

impl Classified for PatchesError {
    fn exit(&self) -> Exit {
        match self {
            Self::Download { source } => source.exit(),
            Self::Write { .. } => Exit::Unreachable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Download { source } => source.hint(),
            Self::Write { .. } => Some("see whether the disk of the cache is full or read-only".to_string()),
        }
    }
}

/// A bundle that can be read at any place.
#[derive(Debug, Clone)]
pub struct Archive {
    map: ArchiveMap,
    source: parted::Source,
}

impl Archive {
    /// The bundle of these documents.
    #[must_use]
    pub fn of(
        manifest_bytes: u64,
        manifest: &BundleManifest,
        inventory: &Inventory,
        source: parted::Source,
    ) -> Self {
        Self { map: ArchiveMap::new(manifest_bytes, manifest, inventory), source }
    }

    /// A blob of it; `None` if it is not carried, or cannot be opened any more.
    pub(crate) fn blob(&self, content: &Content) -> Option<Stretch> {
        let placed = self.map.find(&ArchivePath::Blob(content.digest))?.content();
        let fits = placed.end.saturating_sub(placed.start) == content.size;
        let pieces = self.source.pieces().ok().filter(|_| fits)?;
        Some(Stretch { pieces, start: placed.start })
    }
}

/// A blob where it lies in an archive. Nobody reads beyond its end: its size is known.
pub(crate) struct Stretch {
    pieces: Pieces<std::fs::File>,
    start: u64,
}

impl Source for Stretch {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.pieces.read_at(buffer, self.start.saturating_add(offset))
    }
}

/// Makes the patches that pay, for a delta that has none yet. Each lies in the cache afterwards.
///
/// # Errors
/// See [`PatchesError`]. A base that cannot be read, or is not what it was, is none.
pub fn make(
    held: &Held,
    packed: &Packed,
    lock: &BundleLock,
    documents: &BTreeMap<Digest, Vec<u8>>,
    world: &World<'_>,
) -> Result<Vec<Patch>, PatchesError> {
    let wanted = wanted(held, &packed.inventory, documents);
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let room = Room { directory: world.cache.root(), bytes: 0 };
    download::missing(lock, packed, world, &room, None)
        .map_err(|source| PatchesError::Download { source })?;
    let bytes = wanted.iter().map(|(blob, _)| blob.size).fold(0, u64::saturating_add);
    let mut bar = world.shown.begin("patching", bytes);
    let mut patches = Vec::new();
    for (blob, bases) in wanted {
        let failed = |source| {
            let cache = world.cache.root().display().to_string();
            PatchesError::Write { blob: blob.digest, cache, source }
        };
        patches.extend(first(blob, &bases, held, lock, world).map_err(failed)?);
        bar.advance(blob.size);
    }
    Ok(patches)
}

/// The patch of a blob against the first base with which it pays.
fn first(
    blob: Content,
    bases: &[Content],
    held: &Held,
    lock: &BundleLock,
    world: &World<'_>,
) -> io::Result<Option<Patch>> {
    let mut tried = 0;
    for base in bases {
        let sources = held.sources(base, world.cache)?;
        tried += usize::from(!sources.is_empty());
        if tried > TRIED_MAX {
            break;
        }
        if let Some((index, patch)) = one(blob, *base, &sources, lock, world)? {
            let bases = held.bases_of(&base.digest);
            return Ok(Some(Patch { blob: blob.digest, base: *base, bases, index, patch }));
        }
    }
    Ok(None)
}

/// A blob is worth a patch that is not longer: three quarters of it.
fn worth(blob: u64) -> u64 {
    blob.saturating_sub(blob.div_ceil(4))
}

/// The patch of a blob against one base, and the digest of its index, if it pays.
fn one(
    blob: Content,
    base: Content,
    sources: &[Box<dyn Source>],
    lock: &BundleLock,
    world: &World<'_>,
) -> io::Result<Option<(Digest, Content)>> {
    let Some(locked) = lock.blobs.get(&blob.digest) else { return Ok(None) };
    for old in sources {
        let new = export::open(blob, locked, world)?;
        let mut new = export::Stoppable { source: new, interrupted: world.interrupted };
        let (written, content) = written((&mut new, blob), (old.as_ref(), base), world)?;
        match (written, content) {
            (Written::Made(Made { index, .. }), Some(patch)) => return Ok(Some((index, patch))),
            // Perhaps it is whole elsewhere.
            (Written::OtherBase, _) => {}
            // Whoever writes the archive says what is wrong with a blob that has changed.
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// Writes a patch into the cache, or leaves nothing there.
fn written(
    (new, blob): (&mut dyn Read, Content),
    (old, base): (&dyn Source, Content),
    world: &World<'_>,
) -> io::Result<(Written, Option<Content>)> {
    let mut ended = None;
    let added = world.cache.add(&mut |out| {
        let room = tempfile::tempfile_in(world.cache.root())?;
        let written = patch::write((&mut *new, blob), (&old, base), worth(blob.size), room, out)?;
        ended = Some(written);
        if matches!(written, Written::Made(_)) { Ok(()) } else { Err(io::ErrorKind::Other.into()) }
    });
    match (ended, added) {
        (Some(written @ Written::Made(_)), added) => added.map(|content| (written, Some(content))),
        (Some(written), _) => Ok((written, None)),
        (None, Err(error)) => Err(error),
        (None, Ok(_)) => Ok((Written::Not, None)),
    }
}

/// The blobs that may be worth a patch, each with the bases to try, the likeliest first.
fn wanted(
    held: &Held,
    inventory: &Inventory,
    documents: &BTreeMap<Digest, Vec<u8>>,
) -> Vec<(Content, Vec<Content>)> {
    let mut plain: BTreeMap<Digest, Vec<Place>> = BTreeMap::new();
    for component in &inventory.components {
        for (digest, place) in places(component, documents) {
            plain.entry(digest).or_default().push(place);
        }
    }
    let left_out = inventory.left_out();
    let is_one = |base: &Content, blob: &Content| {
        let travels = inventory.blob_size(&base.digest).is_some() && !left_out.contains(base);
        let held = !held.bases_of(&base.digest).is_empty();
        // With less of it than a quarter nothing can be saved that pays.
        !travels && held && base.size > 0 && base.size >= blob.size / 4
    };
    let large = inventory.carried().into_iter().filter(|blob| blob.size >= BLOB_BYTES_MIN);
    let with_bases = large.filter_map(|blob| {
        let mut bases: Vec<Content> = Vec::new();
        let places = plain.get(&blob.digest)?;
        let found =
            places.iter().flat_map(|place| held.known().iter().flat_map(|known| before(place, blob, known)));
        for base in found.filter(|base| is_one(base, &blob)) {
            if !bases.contains(&base) {
                bases.push(base);
            }
        }
        (!bases.is_empty()).then_some((blob, bases))
    });
    with_bases.collect()
}

/// Where a blob is in a bundle.
enum Place {
    /// A file of a component, by the names of both.
    File(String, String),
    /// In the list of blobs of an image.
    Layer(String, usize),
}

/// Where the blobs of a component are that are not compressed.
fn places(component: &Component, documents: &BTreeMap<Digest, Vec<u8>>) -> Vec<(Digest, Place)> {
    let name = component.ref_name();
    let Component::Image(image) = component else {
        let files = files(component).into_iter();
        return files.map(|(file, content)| (content.digest, Place::File(name.clone(), file))).collect();
    };
    let mut found = Vec::new();
    for bytes in image.blobs.iter().filter_map(|blob| documents.get(blob)) {
        let Ok(ManifestDocument::Image(manifest)) = ManifestDocument::parse(bytes, MEDIA_MANIFEST) else {
            continue;
        };
        for layer in manifest.layers.iter().filter(|layer| layer.media_type.ends_with("tar")) {
            let place = image.blobs.iter().position(|blob| *blob == layer.digest);
            found.extend(place.map(|place| (layer.digest, Place::Layer(name.clone(), place))));
        }
    }
    found
}

/// The files of a component that is made of plain ones, by name.
fn files(component: &Component) -> Vec<(String, Content)> {
    let content = |digest, size| Content { digest, size };
    match component {
        Component::FileSet(set) => {
            set.files.iter().map(|file| (file.path.to_string(), content(file.digest, file.size))).collect()
        }
        Component::KubernetesManifests(set) => {
            set.files.iter().map(|file| (file.path.to_string(), content(file.digest, file.size))).collect()
        }
        Component::Script(script) => {
            let files = script.files().into_iter();
            files.map(|file| (file.filename.to_string(), content(file.digest, file.size))).collect()
        }
        Component::Image(_) | Component::Wheelhouse(_) | Component::Chart(_) => Vec::new(),
    }
}

/// What was at this place in an older bundle; of an image then the blob that is most alike in size.
fn before(place: &Place, blob: Content, known: &Known) -> Vec<Content> {
    let inventory = &known.inventory;
    let component = |name: &String| inventory.components.iter().find(|other| other.ref_name() == *name);
    match place {
        Place::File(name, file) => {
            let files = component(name).map(files).unwrap_or_default();
            files.into_iter().filter(|(other, _)| other == file).map(|(_, content)| content).collect()
        }
        Place::Layer(name, place) => {
            let Some(Component::Image(image)) = component(name) else { return Vec::new() };
            let sized =
                |digest: &Digest| Some(Content { digest: *digest, size: inventory.blob_size(digest)? });
            let manifests = inventory.manifests();
            let same = image.blobs.get(*place).and_then(sized);
            let mut others: Vec<Content> = image.blobs.iter().filter_map(sized).collect();
            others.sort_by_key(|other| (other.size.abs_diff(blob.size), other.digest));
            same.into_iter().chain(others).filter(|base| !manifests.contains(&base.digest)).collect()
        }
    }
}

/// Looks at patches as they pass by: at their form, and where somebody has what they are made for, at what they make. The
/// parts of a set come in their order.
pub struct Checking<'a> {
    wishes: BTreeMap<Digest, Wish>,
    base: &'a dyn Fn(&Content) -> Option<Box<dyn Source>>,
    current: Option<(Digest, Decoder<Box<dyn Source>>)>,
    /// A patch that does not make its blob, and why not.
    broken: Vec<(Digest, PatchError)>,
    /// How many were made into their blobs.
    made: usize,
}

impl<'a> Checking<'a> {
    /// The patches of a bundle, for what `base` opens.
    #[must_use]
    pub fn of(inventory: &Inventory, base: &'a dyn Fn(&Content) -> Option<Box<dyn Source>>) -> Self {
        let one = |(patch, result): (&Patch, Content)| (patch.patch.digest, Wish::of(patch, result));
        let wishes = inventory.patches().iter().zip(inventory.patched()).map(one).collect();
        Self { wishes, base, current: None, broken: Vec::new(), made: 0 }
    }

    /// A line for each patch that does not make its blob, or else how many were made.
    ///
    /// # Errors
    /// These lines.
    pub fn finish(self) -> Result<usize, Vec<String>> {
        let line = |(patch, error): &(Digest, PatchError)| format!("the patch {patch}: {error}");
        if self.broken.is_empty() { Ok(self.made) } else { Err(self.broken.iter().map(line).collect()) }
    }

    fn start(&mut self, path: &ArchivePath) {
        let ArchivePath::Blob(patch) = path else { return };
        self.current =
            self.wishes.get(patch).map(|wish| (*patch, Decoder::new(*wish, (self.base)(&wish.base))));
    }

    fn pass(&mut self, bytes: &[u8]) {
        if let Some((patch, decoder)) = &mut self.current
            && let Err(error) = decoder.push(bytes, &mut io::sink())
        {
            self.broken.push((*patch, error));
            self.current = None;
        }
    }

    fn stop(&mut self) {
        let Some((patch, decoder)) = self.current.take() else { return };
        let made = decoder.makes();
        match decoder.finish() {
            Ok(_) => self.made = self.made.saturating_add(usize::from(made)),
            Err(error) => self.broken.push((patch, error)),
        }
    }
}

impl Sink for Checking<'_> {
    fn begin(&mut self, path: &ArchivePath, _content: Content) -> io::Result<()> {
        self.start(path);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.pass(bytes);
        Ok(())
    }

    fn end(&mut self, _found: Content) -> io::Result<()> {
        self.stop();
        Ok(())
    }
}

impl Keep for Checking<'_> {
    fn begin(&mut self, path: &ArchivePath, _content: Content, from: u64) -> io::Result<()> {
        if from == 0 {
            self.start(path);
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.pass(bytes);
        Ok(())
    }

    fn end(&mut self, piece: Piece) -> io::Result<()> {
        match piece {
            Piece::Settled => self.stop(),
            Piece::Damaged => self.current = None,
            // It goes on in the next part.
            Piece::Open => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_pays_if_it_is_not_longer_than_three_quarters_of_its_blob() {
        assert_eq!([worth(0), worth(1), worth(4), worth(5), worth(1000)], [0, 0, 3, 3, 750]);
    }
}
