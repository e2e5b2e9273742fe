//! Pushes to an OCI registry, several images at once: the blobs of all of them by a few threads, then every manifest
//! from the leaves up, then what goes beside the images, their tags last. So no name changes before all is there
//! that any of them needs.
//!
//! A blob is sent to a registry once: what a repository has is left, what another one has is mounted, and only where
//! the registry does not mount is it sent again. (OCI distribution spec 1.1.)
//!
//! **What this module may never do:** hold a blob in memory, go on with what comes later once something has failed,
//! or let it be seen which thread was faster: of several failures the first in the plan is told.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use edge::at_once::{Turn, until_failure};
use layout::store::Store;
use manifests::oci::{MANIFEST_BYTES_MAX, ManifestDocument};
use manifests::{Descriptor, Digest};

use super::registry::{self, Place};
use super::{Context, Failed, TargetError, images};
use crate::plan::Push;

/// Requests to a registry at one time: enough to fill a line, few enough for one that others use as well. Each has
/// buffers of its own, some hundred kilobytes.
pub const AT_ONCE: usize = 4;
/// An index in an index in an index was refused when the bundle was made.
const NESTING_MAX: usize = 4;

/// Whether two pushes share a registry, and how it is reached.
#[must_use]
pub fn go_together(one: &Push, other: &Push) -> bool {
    (&one.url, &one.ca, one.auth) == (&other.url, &other.ca, other.auth)
}

/// Sends what the registry lacks, and moves the images' tags last.
///
/// # Errors
/// The registry, or the store: the first push, in their order, that fails.
pub fn perform(pushes: &[&Push], context: &Context<'_>) -> Result<(), Failed> {
    let work = Work::of(pushes, context)?;
    let lacking = work.blobs()?;
    work.mounts(&lacking)?;
    work.manifests()?;
    work.tags()
}

/// Fills in what the registry has now. Tells for each whether the image and its companions are in place already.
///
/// # Errors
/// The registry.
pub fn look(pushes: &mut [Push], context: &Context<'_>) -> Result<Vec<bool>, TargetError> {
    let all: Vec<&Push> = pushes.iter().collect();
    let places = Place::all(&all, context).map_err(|(_, error)| error)?;
    let pairs: Vec<(&Push, Place)> = all.into_iter().zip(places).collect();
    let looked = until_failure(AT_ONCE, &pairs, |(push, place), _| {
        let mut push = (*push).clone();
        registry::look_at(&mut push, place).map(|in_place| (push, in_place))
    })?;
    let mut in_place = Vec::new();
    for (push, (found, is_in_place)) in pushes.iter_mut().zip(looked) {
        *push = found;
        in_place.push(is_in_place);
    }
    Ok(in_place)
}

/// Whether the registry names each image and its companions by their tags, or has it by its digest.
///
/// # Errors
/// The registry.
pub fn are_new(pushes: &[&Push], context: &Context<'_>) -> Result<Vec<bool>, Failed> {
    let places = Place::all(pushes, context)?;
    let pairs: Vec<(usize, (&&Push, Place))> = pushes.iter().zip(places).enumerate().collect();
    until_failure(AT_ONCE, &pairs, |(number, (push, place)), _| {
        registry::is_new(push, place).map_err(|error| (*number, error))
    })
}

/// One push: where it goes, and what is in it.
struct Item<'a> {
    push: &'a Push,
    place: Place,
    blobs: Vec<Descriptor>,
    /// Each after all that it needs.
    manifests: Vec<Descriptor>,
}

/// Several, and the store that all of it comes from.
struct Work<'a> {
    items: Vec<Item<'a>>,
    store: Store,
}

/// A blob, and the items, by number, whose repositories are to hold it.
struct Wanted {
    blob: Descriptor,
    by: Vec<usize>,
}

/// A blob that one repository holds, and an item whose repository does not.
struct Lacking {
    blob: Descriptor,
    by: usize,
    holder: String,
}

impl<'a> Work<'a> {
    fn of(pushes: &[&'a Push], context: &Context<'_>) -> Result<Self, Failed> {
        let places = Place::all(pushes, context)?;
        let mut work = Self { items: Vec::new(), store: context.site.store() };
        for (number, (push, place)) in pushes.iter().copied().zip(places).enumerate() {
            let mut item = Item { push, place, blobs: Vec::new(), manifests: Vec::new() };
            let beside = push.companions.iter().map(|beside| &beside.companion.manifest);
            for root in [&push.manifest].into_iter().chain(beside) {
                item.add_below(root, NESTING_MAX, &work.store).map_err(|error| (number, error))?;
            }
            work.items.push(item);
        }
        Ok(work)
    }

    /// Every blob once, in the order of the plan, with one item for each repository that needs it.
    fn wanted(&self) -> Vec<Wanted> {
        let (mut wanted, mut places): (Vec<Wanted>, BTreeMap<Digest, usize>) = Default::default();
        for (number, item) in self.items.iter().enumerate() {
            for blob in &item.blobs {
                let place = *places.entry(blob.digest).or_insert(wanted.len());
                let Some(known) = wanted.get_mut(place) else {
                    wanted.push(Wanted { blob: blob.clone(), by: vec![number] });
                    continue;
                };
                let mut others = known.by.iter().filter_map(|other| self.items.get(*other));
                if others.all(|other| other.path() != item.path()) {
                    known.by.push(number);
                }
            }
        }
        wanted
    }

    /// Brings every blob to one repository. Gives those that others lack.
    fn blobs(&self) -> Result<Vec<Lacking>, Failed> {
        let lacking = until_failure(AT_ONCE, &self.wanted(), |wanted, turn| self.bring(wanted, turn))?;
        Ok(lacking.into_iter().flatten().collect())
    }

    fn bring(&self, Wanted { blob, by }: &Wanted, turn: &Turn<'_>) -> Result<Vec<Lacking>, Failed> {
        let (mut holder, mut without) = (None, Vec::new());
        for (number, item) in self.of_these(by) {
            let has = item.place.repository.has_blob(&blob.digest);
            if has.map_err(|error| (number, item.place.failed(error)))? {
                holder = Some(item.path());
            } else {
                without.push((number, item));
            }
        }
        let mut without = without.into_iter();
        let first = if holder.is_none() { without.next() } else { None };
        if let Some((number, item)) = first {
            let held = self.mounted_from_elsewhere(item, blob, by).map_err(|error| (number, error))?;
            if !held {
                self.send(item, blob, turn).map_err(|error| (number, error))?;
            }
            holder = Some(item.path());
        }
        let holder = holder.unwrap_or_default();
        Ok(without.map(|(by, _)| Lacking { blob: blob.clone(), by, holder: holder.to_string() }).collect())
    }

    fn of_these(&self, numbers: &[usize]) -> Vec<(usize, &Item<'a>)> {
        numbers.iter().filter_map(|number| Some((*number, self.items.get(*number)?))).collect()
    }

    /// Mounts a blob that a repository holds which is none of those that lack it: that of an image which was in place
    /// before.
    fn mounted_from_elsewhere(
        &self,
        item: &Item<'_>,
        blob: &Descriptor,
        by: &[usize],
    ) -> Result<bool, TargetError> {
        let lack: Vec<&str> = self.of_these(by).into_iter().map(|(_, item)| item.path()).collect();
        for (other, blobs) in &item.push.mount_from {
            if blobs.contains(&blob.digest) && !lack.contains(&other.as_str()) && item.mount(blob, other)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Brings blobs from the repository that holds them to those that lack them.
    fn mounts(&self, lacking: &[Lacking]) -> Result<(), Failed> {
        until_failure(AT_ONCE, lacking, |Lacking { blob, by, holder }, turn| {
            let Some(item) = self.items.get(*by) else { return Ok(()) };
            let mounted = item.mount(blob, holder).map_err(|error| (*by, error))?;
            if mounted { Ok(()) } else { self.send(item, blob, turn).map_err(|error| (*by, error)) }
        })?;
        Ok(())
    }

    fn send(&self, item: &Item<'_>, blob: &Descriptor, turn: &Turn<'_>) -> Result<(), TargetError> {
        let open = |offset| -> io::Result<Wanting<'_>> {
            let lost = || io::Error::new(io::ErrorKind::NotFound, "the site store has lost it");
            let mut file = self.store.open(&blob.digest)?.ok_or_else(lost)?;
            file.seek(SeekFrom::Start(offset))?;
            Ok(Wanting { file, turn })
        };
        let sent = item.place.repository.upload_blob_from(&blob.digest, blob.size, open);
        sent.map_err(|error| item.place.failed(error))
    }

    fn manifests(&self) -> Result<(), Failed> {
        let items: Vec<(usize, &Item<'_>)> = self.items.iter().enumerate().collect();
        until_failure(AT_ONCE, &items, |(number, item), _| {
            let put = |manifest| item.put(manifest, &self.store);
            item.manifests.iter().try_for_each(put).map_err(|error| (*number, error))
        })?;
        Ok(())
    }

    /// One repository after the other in each thread, as the list of referrers that some registries leave to us is
    /// read, changed and written.
    fn tags(&self) -> Result<(), Failed> {
        let mut repositories: Vec<Vec<usize>> = Vec::new();
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for (number, item) in self.items.iter().enumerate() {
            let place = *places.entry(item.path()).or_insert(repositories.len());
            match repositories.get_mut(place) {
                Some(numbers) => numbers.push(number),
                None => repositories.push(vec![number]),
            }
        }
        until_failure(AT_ONCE, &repositories, |numbers, _| {
            let name =
                |(number, item): (usize, &Item<'_>)| item.name(&self.store).map_err(|error| (number, error));
            self.of_these(numbers).into_iter().try_for_each(name)
        })?;
        Ok(())
    }
}

impl Item<'_> {
    fn path(&self) -> &str {
        self.place.repository.path()
    }

    fn add_below(&mut self, root: &Descriptor, nesting: usize, store: &Store) -> Result<(), TargetError> {
        let broken = |reason: String| TargetError::Manifest { digest: root.digest, reason };
        let document = images::read(root, store)?;
        for child in document.children() {
            if !self.push.blobs.contains(&child.digest) {
                let reason = format!("it needs {}, which the bundle does not list for it", child.digest);
                return Err(broken(reason));
            }
            match &document {
                ManifestDocument::Image(_) if self.blobs.iter().any(|blob| blob.digest == child.digest) => {}
                ManifestDocument::Image(_) => self.blobs.push(child),
                ManifestDocument::Index(_) if nesting > 0 => self.add_below(&child, nesting - 1, store)?,
                ManifestDocument::Index(_) => {
                    return Err(broken("indexes are nested too deeply".to_string()));
                }
            }
        }
        self.manifests.push(root.clone());
        Ok(())
    }

    fn mount(&self, blob: &Descriptor, from: &str) -> Result<bool, TargetError> {
        let mounted = self.place.repository.mount_blob(&blob.digest, from);
        mounted.map_err(|error| self.place.failed(error))
    }

    fn put(&self, manifest: &Descriptor, store: &Store) -> Result<(), TargetError> {
        let bytes = bytes(manifest, store)?;
        let (name, repository) = (manifest.digest.into(), &self.place.repository);
        let stored = repository.put_manifest(&name, &manifest.media_type, &bytes);
        stored.map(|_| ()).map_err(|error| self.place.failed(error))
    }

    /// Gives the names: whoever sees the image's tag finds what goes beside it.
    fn name(&self, store: &Store) -> Result<(), TargetError> {
        for placing in self.push.placings() {
            let bytes = bytes(placing.manifest, store)?;
            match &placing.about {
                Some(of) => self.place.list(of, placing.manifest, &bytes)?,
                None => self.place.tag(&placing, &bytes)?,
            }
        }
        Ok(())
    }
}

fn bytes(manifest: &Descriptor, store: &Store) -> Result<Vec<u8>, TargetError> {
    let read = store.read(&manifest.digest, MANIFEST_BYTES_MAX);
    read.map_err(|error| TargetError::Manifest { digest: manifest.digest, reason: error.to_string() })
}

/// A blob on its way, as long as it is wanted.
struct Wanting<'a> {
    file: File,
    turn: &'a Turn<'a>,
}

impl Read for Wanting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.turn.is_over() {
            return Err(io::Error::other("something before it has failed"));
        }
        self.file.read(buffer)
    }
}
