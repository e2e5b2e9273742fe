//! Pulling: mirrors first, the registry itself last, and what was half fetched by an earlier run goes on
//! where it stopped.
//!
//! The name and the digest are those of the registry, whoever gives the bytes: a blob or manifest is taken
//! only if its bytes have the digest that was asked for.

use std::collections::BTreeMap;
use std::io::{self, Read};

use manifests::bundle::Content;
use manifests::{Descriptor, Digest};
use registry::{BlobReader, RawManifest, RegistryError, TagOrDigest};

use super::super::World;
use crate::cache::Partial;
use crate::lock::RegistryPlace;
use crate::registries::{RegistriesError, Source};

/// Why nothing could be pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// How the registry is reached.
    #[error(transparent)]
    Registries(#[from] RegistriesError),
    /// The last one that was asked.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// A manifest, of the first host that gives it.
///
/// # Errors
/// What the registry itself says.
pub fn manifest(
    world: &World<'_>,
    place: &RegistryPlace,
    reference: &TagOrDigest,
) -> Result<RawManifest, PullError> {
    let mut refusal = None;
    for source in world.registries.sources(place)? {
        match source.repository.get_manifest(reference) {
            Ok(raw) => {
                if let (Some(mirror), TagOrDigest::Tag(_)) = (&source.mirror, reference) {
                    let (name, digest) = (name(place), raw.digest);
                    (world.note)(&format!("note: {name}:{reference} is {digest}, says the mirror {mirror}"));
                }
                return Ok(raw);
            }
            Err(error) => refusal = Some(passed_over(world, &source, error)),
        }
    }
    Err(refusal.map_or_else(|| RegistriesError::Registry(nobody(place)).into(), PullError::Registry))
}

/// A manifest that need not be there.
///
/// # Errors
/// The registry itself says something else than there or not there.
pub fn find(
    world: &World<'_>,
    place: &RegistryPlace,
    reference: &TagOrDigest,
) -> Result<Option<RawManifest>, PullError> {
    let mut last = Ok(None);
    for source in world.registries.sources(place)? {
        last = match source.repository.get_manifest(reference) {
            Ok(raw) => return Ok(Some(raw)),
            Err(RegistryError::NotFound { .. }) => Ok(None),
            Err(error) => Err(PullError::Registry(passed_over(world, &source, error))),
        };
    }
    last
}

/// What speaks about a manifest, at every host that has it: a mirror may hold some and not all.
///
/// # Errors
/// What the registry itself says.
pub fn referrers(
    world: &World<'_>,
    place: &RegistryPlace,
    of: &Digest,
) -> Result<Vec<Descriptor>, PullError> {
    let mut found: BTreeMap<Digest, Descriptor> = BTreeMap::new();
    for source in world.registries.sources(place)? {
        match source.repository.referrers(of) {
            Ok(referrers) => found.extend(referrers.manifests.into_iter().map(|entry| (entry.digest, entry))),
            Err(error) if source.mirror.is_none() => return Err(error.into()),
            Err(error) => drop(passed_over(world, &source, error)),
        }
    }
    Ok(found.into_values().collect())
}

fn nobody(place: &RegistryPlace) -> RegistryError {
    RegistryError::NotFound { what: name(place), message: String::new() }
}

fn name(place: &RegistryPlace) -> String {
    let host = place.url.split_once("://").map_or(place.url.as_str(), |(_, host)| host);
    format!("{host}/{}", place.repository)
}

/// Says that a mirror was asked in vain.
fn passed_over(world: &World<'_>, source: &Source, error: RegistryError) -> RegistryError {
    if let Some(mirror) = &source.mirror {
        (world.note)(&format!("note: the mirror {mirror} is passed over: {error}"));
    }
    error
}

/// A blob as a stream that ends well only if it was the right one. One that an earlier run has half fetched, or that
/// there are mirrors of, is completed in the cache first, so that wrong bytes can still be thrown away.
///
/// # Errors
/// Nobody gives it. What happens later comes from the reader.
pub fn blob(world: &World<'_>, place: &RegistryPlace, content: Content) -> io::Result<Box<dyn Read>> {
    let mut sources = world.registries.sources(place).map_err(io::Error::other)?;
    let partial = world.cache.partial(&content).unwrap_or_default();
    let Some(last) = sources.pop() else { return Err(io::ErrorKind::NotFound.into()) };
    let Some(partial) = partial else {
        // Another run is fetching the same, or the cache cannot be written to: then nothing is kept.
        let reader = last.repository.open_blob(&content.digest, content.size).map_err(io::Error::other)?;
        return Ok(Box::new(reader));
    };
    if partial.is_empty() && sources.is_empty() {
        // Straight through: nothing is written twice. What an archive that fails has of it is saved then.
        partial.discard();
        let reader = last.repository.open_blob(&content.digest, content.size).map_err(io::Error::other)?;
        return Ok(Box::new(reader));
    }
    sources.push(last);
    complete(world, &sources, content, partial)?;
    match world.cache.open(&content)? {
        Some(file) => Ok(Box::new(file)),
        None => Err(io::Error::other("the cache has lost it")),
    }
}

/// Fetches what is missing into the cache, from one host after the other. What turns out to be wrong is thrown
/// away and fetched anew: bytes of an earlier run, or of a mirror, spoil nothing.
fn complete(world: &World<'_>, sources: &[Source], content: Content, partial: Partial) -> io::Result<()> {
    let mut partial = Some(partial);
    let mut refusal = None;
    for source in sources {
        // A second try is for what an earlier run has left.
        for _ in 0..2 {
            let taken = match partial.take() {
                Some(partial) => Some(partial),
                None => world.cache.partial(&content)?,
            };
            let Some(mut part) = taken else { return Err(io::ErrorKind::ResourceBusy.into()) };
            let resumed = !part.is_empty();
            let hasher = part.hasher()?;
            let read = source.repository.resume_blob(&content.digest, content.size, hasher);
            let outcome = read
                .map_err(io::Error::from)
                .and_then(|reader| drain(world, &mut Kept { reader, partial: Some(part) }));
            match outcome {
                Ok(()) => return Ok(()),
                Err(error) if resumed && is_damage(&error) => refusal = Some(error),
                Err(error) => {
                    refusal = Some(error);
                    break;
                }
            }
        }
        if let (Some(mirror), Some(error)) = (&source.mirror, &refusal) {
            (world.note)(&format!("note: the mirror {mirror} is passed over: {error}"));
        }
        if (world.interrupted)() {
            break;
        }
    }
    Err(refusal.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

fn drain(world: &World<'_>, reader: &mut Kept) -> io::Result<()> {
    let mut buffer = vec![0_u8; layout::writer::CHUNK_BYTES];
    while reader.read(&mut buffer)? > 0 {
        if (world.interrupted)() {
            return Err(io::Error::other("interrupted"));
        }
    }
    Ok(())
}

/// Whether the bytes were wrong, and not only missing.
fn is_damage(error: &io::Error) -> bool {
    let registry = error.get_ref().and_then(|inner| inner.downcast_ref::<RegistryError>());
    registry.is_some_and(RegistryError::is_damage)
}

/// Writes what passes into the cache. A cache that is full stops nobody.
struct Kept {
    reader: BlobReader,
    partial: Option<Partial>,
}

impl Read for Kept {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.reader.read(buffer) {
            Ok(0) if !buffer.is_empty() => {
                if let Some(partial) = self.partial.take() {
                    partial.finish()?;
                }
                Ok(0)
            }
            Ok(count) => {
                let bytes = buffer.get(..count).unwrap_or_default();
                if let Some(partial) = &mut self.partial
                    && partial.append(bytes).is_err()
                    && let Some(partial) = self.partial.take()
                {
                    partial.discard();
                }
                Ok(count)
            }
            Err(error) => {
                if let Some(partial) = self.partial.take().filter(|_| is_damage(&error)) {
                    partial.discard();
                }
                Err(error)
            }
        }
    }
}
