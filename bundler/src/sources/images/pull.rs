//! Pulling: mirrors first, the registry itself last, and what was half fetched by an earlier run goes on
//! where it stopped.
//!
//! The name and the digest are those of the registry, whoever gives the bytes: a blob or manifest is taken
//! only if its bytes have the digest that was asked for.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};

use layout::filling::Place;
use manifests::bundle::Content;
use manifests::{Descriptor, Digest};
use registry::{BlobReader, RawManifest, RegistryError, TagOrDigest};

use super::super::World;
use crate::cache::{Cache, Partial};
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

/// What pulling a blob needs. Several threads share it.
pub struct Puller<'a> {
    /// Where blobs go.
    pub cache: &'a Cache,
    /// Says something to the person at the keyboard.
    pub note: &'a (dyn Fn(&str) + Sync),
    /// Whether somebody wants the run to stop.
    pub interrupted: &'a (dyn Fn() -> bool + Sync),
}

/// A small blob, through the cache.
///
/// # Errors
/// Nobody gives it, or the cache cannot be written to.
pub fn blob(world: &World<'_>, place: &RegistryPlace, content: Content) -> io::Result<File> {
    let sources = world.registries.sources(place).map_err(io::Error::other)?;
    world.puller().blob(&sources, content, None, &|_| {})?;
    world.cache.open(&content)?.ok_or_else(|| io::Error::other("the cache has lost it"))
}

impl Puller<'_> {
    /// Brings a blob into the cache, from one host after the other, and goes on where an earlier run has stopped.
    /// What turns out to be wrong is thrown away and fetched anew: bytes of an earlier run, or of a mirror, spoil
    /// nothing. The bytes go to their place in an archive as well, if it has one. `advance` is told of bytes as they
    /// are there.
    ///
    /// # Errors
    /// Nobody gives it, or the cache or the archive cannot be written to.
    pub fn blob(
        &self,
        sources: &[Source],
        content: Content,
        place: Option<Place<'_>>,
        advance: &dyn Fn(u64),
    ) -> io::Result<()> {
        let mut beside = Beside(place);
        self.brought(sources, content, &mut beside, advance)?;
        beside.settle(content)
    }

    fn brought(
        &self,
        sources: &[Source],
        content: Content,
        beside: &mut Beside<'_>,
        advance: &dyn Fn(u64),
    ) -> io::Result<()> {
        let mut refusal = None;
        for source in sources {
            // A second try is for what an earlier run has left.
            for _ in 0..2 {
                beside.restart();
                // While another run fetches the same, ours keeps what it gets under no name.
                let Some(mut part) = self.cache.partial(&content)? else {
                    match self.alone(source, content, beside, advance) {
                        Ok(()) => return Ok(()),
                        Err(error) => refusal = Some(error),
                    }
                    break;
                };
                let resumed = !part.is_empty();
                let hasher = part.hasher(&mut |bytes| beside.write(bytes))?;
                advance(hasher.size());
                let read = source.repository.resume_blob(&content.digest, content.size, hasher);
                let drained = read
                    .map_err(io::Error::from)
                    .and_then(|reader| self.drain(reader, part, beside, advance));
                match drained {
                    Ok(()) => return Ok(()),
                    Err(error) if resumed && is_damage(&error) => refusal = Some(error),
                    // No other host helps against a full disk.
                    Err(error) if is_full(&error) => return Err(error),
                    Err(error) => {
                        refusal = Some(error);
                        break;
                    }
                }
            }
            if let (Some(mirror), Some(error)) = (&source.mirror, &refusal) {
                (self.note)(&format!("note: the mirror {mirror} is passed over: {error}"));
            }
            if (self.interrupted)() {
                break;
            }
        }
        Err(refusal.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
    }

    fn drain(
        &self,
        reader: BlobReader,
        mut part: Partial,
        beside: &mut Beside<'_>,
        advance: &dyn Fn(u64),
    ) -> io::Result<()> {
        let kept = self.pass(reader, &mut |bytes| {
            part.append(bytes)?;
            beside.write(bytes)?;
            advance(bytes.len() as u64);
            Ok(())
        });
        match kept {
            Ok(()) => part.finish(),
            Err(error) => {
                if is_damage(&error) {
                    part.discard();
                }
                Err(error)
            }
        }
    }

    fn alone(
        &self,
        source: &Source,
        content: Content,
        beside: &mut Beside<'_>,
        advance: &dyn Fn(u64),
    ) -> io::Result<()> {
        self.cache.add(&mut |out| {
            let reader = source.repository.open_blob(&content.digest, content.size)?;
            self.pass(reader, &mut |bytes| {
                out.write_all(bytes)?;
                beside.write(bytes)
            })
        })?;
        advance(content.size);
        Ok(())
    }

    /// Hands on what comes, in large pieces, until the reader says that it was right. What came before an error is
    /// handed on too: the next run goes on from there.
    fn pass(&self, mut reader: BlobReader, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut buffer = vec![0_u8; layout::writer::CHUNK_BYTES];
        loop {
            let mut filled = 0;
            let ended = loop {
                if (self.interrupted)() {
                    break Err(io::Error::other("interrupted"));
                }
                match reader.read(buffer.get_mut(filled..).unwrap_or_default()) {
                    Ok(0) => break Ok(filled < buffer.len()),
                    Ok(count) => filled = filled.saturating_add(count),
                    Err(error) => break Err(error),
                }
            };
            take(buffer.get(..filled).unwrap_or_default())?;
            if ended? {
                return Ok(());
            }
        }
    }
}

/// Where the bytes of a blob go beside the cache.
struct Beside<'a>(Option<Place<'a>>);

impl Beside<'_> {
    fn restart(&mut self) {
        if let Some(place) = &mut self.0 {
            place.restart();
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.as_mut().map_or(Ok(()), |place| place.write(bytes))
    }

    fn settle(self, content: Content) -> io::Result<()> {
        self.0.map_or(Ok(()), |place| place.settle(content).map_err(io::Error::other))
    }
}

/// Whether it is our own disk that is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether the bytes were wrong, and not only missing.
pub(crate) fn is_damage(error: &io::Error) -> bool {
    let registry = error.get_ref().and_then(|inner| inner.downcast_ref::<RegistryError>());
    registry.is_some_and(RegistryError::is_damage)
}
