//! An OCI registry: blobs first, then manifests from the leaves up, the tag last. Every blob is sent once:
//! what the repository has is left, what a repository of an earlier step has is mounted.

use std::io::{self, Read};

use manifests::Descriptor;
use manifests::oci::{MANIFEST_BYTES_MAX, ManifestDocument};
use registry::{Deleted, Registry, RegistryError, Repository, TagOrDigest};

use super::{Context, TargetError};
use crate::plan::Push;
use crate::site::config::RegistryTarget;

/// An index in an index in an index was refused when the bundle was made.
const NESTING_MAX: usize = 4;

struct Place {
    url: String,
    repository: Repository,
}

impl Place {
    fn of(push: &Push, context: &Context<'_>) -> Result<Self, TargetError> {
        let url = push.url.clone();
        let failed = |source| TargetError::Registry { url: url.clone(), source };
        let registry = Registry::new(context.http.clone(), &url).map_err(failed)?;
        let repository = registry.repository(&push.repository).map_err(failed)?;
        Ok(Self { url, repository })
    }

    fn failed(&self, source: RegistryError) -> TargetError {
        TargetError::Registry { url: self.url.clone(), source }
    }

    fn reference(&self, text: &str) -> Result<TagOrDigest, TargetError> {
        text.parse().map_err(|error| self.failed(error))
    }

    fn head(&self, reference: &TagOrDigest) -> Result<Option<Descriptor>, TargetError> {
        self.repository.head_manifest(reference).map_err(|error| self.failed(error))
    }
}

/// Whether a registry answers at all.
///
/// # Errors
/// It does not, or wants to know who we are.
pub fn ping(target: &RegistryTarget, context: &Context<'_>) -> Result<(), RegistryError> {
    Registry::new(context.http.clone(), target.url.trim_end_matches('/'))?.ping()
}

/// Fills in what the registry has now. Tells whether the image is in place already.
///
/// # Errors
/// The registry.
pub fn look(push: &mut Push, context: &Context<'_>) -> Result<bool, TargetError> {
    let place = Place::of(push, context)?;
    push.was_there = place.head(&push.manifest.digest.into())?.is_some();
    let Some(tag) = &push.tag else { return Ok(push.was_there) };
    push.old = place.head(&place.reference(tag)?)?.map(|found| found.digest);
    Ok(push.old == Some(push.manifest.digest))
}

/// Whether the registry names this image by its tag, or has it by its digest.
///
/// # Errors
/// The registry.
pub fn is_new(push: &Push, context: &Context<'_>) -> Result<bool, TargetError> {
    let place = Place::of(push, context)?;
    let reference = match &push.tag {
        Some(tag) => place.reference(tag)?,
        None => push.manifest.digest.into(),
    };
    Ok(place.head(&reference)?.is_some_and(|found| found.digest == push.manifest.digest))
}

/// Sends what the registry lacks, and moves the tag last.
///
/// # Errors
/// The registry, or the store.
pub fn perform(push: &Push, context: &Context<'_>) -> Result<(), TargetError> {
    let place = Place::of(push, context)?;
    let bytes = send(push, &place, &push.manifest, NESTING_MAX, context)?;
    if let Some(tag) = &push.tag {
        let stored = place.repository.put_manifest(&place.reference(tag)?, &push.manifest.media_type, &bytes);
        stored.map_err(|error| place.failed(error))?;
    }
    Ok(())
}

/// Sends a manifest by digest after everything below it; gives its bytes.
fn send(
    push: &Push,
    place: &Place,
    descriptor: &Descriptor,
    nesting: usize,
    context: &Context<'_>,
) -> Result<Vec<u8>, TargetError> {
    let broken = |reason: String| TargetError::Manifest { digest: descriptor.digest, reason };
    let bytes = context.site.store().read(&descriptor.digest, MANIFEST_BYTES_MAX);
    let bytes = bytes.map_err(|error| broken(error.to_string()))?;
    let document = ManifestDocument::parse(&bytes, &descriptor.media_type);
    let document = document.map_err(|error| broken(error.to_string()))?;
    for child in document.children() {
        if !push.blobs.contains(&child.digest) {
            return Err(broken(format!("it needs {}, which the bundle does not list for it", child.digest)));
        }
        match &document {
            ManifestDocument::Image(_) => blob(push, place, &child, context)?,
            ManifestDocument::Index(_) if nesting > 0 => {
                send(push, place, &child, nesting - 1, context)?;
            }
            ManifestDocument::Index(_) => return Err(broken("indexes are nested too deeply".to_string())),
        }
    }
    let stored = place.repository.put_manifest(&descriptor.digest.into(), &descriptor.media_type, &bytes);
    stored.map_err(|error| place.failed(error))?;
    Ok(bytes)
}

fn blob(
    push: &Push,
    place: &Place,
    descriptor: &Descriptor,
    context: &Context<'_>,
) -> Result<(), TargetError> {
    let failed = |error| place.failed(error);
    let repository = &place.repository;
    if repository.has_blob(&descriptor.digest).map_err(failed)? {
        return Ok(());
    }
    let holds = |(_, blobs): &(&String, &Vec<manifests::Digest>)| blobs.contains(&descriptor.digest);
    for (other, _) in push.mount_from.iter().filter(holds) {
        if repository.mount_blob(&descriptor.digest, other).map_err(failed)? {
            return Ok(());
        }
    }
    let store = context.site.store();
    let open = || -> io::Result<Box<dyn Read>> {
        let file = store.open(&descriptor.digest)?;
        file.map(|file| Box::new(file) as Box<dyn Read>)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the site store has lost it"))
    };
    repository.upload_blob_from(&descriptor.digest, descriptor.size, open).map_err(failed)
}

/// Points the tag to what it named before, or takes it away.
///
/// # Errors
/// The registry; [`TargetError::CannotDelete`] if it does not delete.
pub fn undo(push: &Push, context: &Context<'_>) -> Result<(), TargetError> {
    let place = Place::of(push, context)?;
    let Some(tag) = &push.tag else { return remove(push, &place, &push.manifest.digest.into()) };
    let reference = place.reference(tag)?;
    let now = place.head(&reference)?.map(|found| found.digest);
    if now == push.old || now != Some(push.manifest.digest) {
        // Not moved yet, or moved on by somebody else: either way not ours to change.
        return Ok(());
    }
    match push.old {
        Some(old) => {
            let raw = place.repository.get_manifest(&old.into()).map_err(|error| place.failed(error))?;
            let stored = place.repository.put_manifest(&reference, &raw.media_type, &raw.bytes);
            stored.map(|_| ()).map_err(|error| place.failed(error))
        }
        None => remove(push, &place, &reference),
    }
}

/// Deletes the tag; or, where a registry deletes only whole manifests, the manifest, if nobody else had
/// it there before.
fn remove(push: &Push, place: &Place, reference: &TagOrDigest) -> Result<(), TargetError> {
    let by_tag = matches!(reference, TagOrDigest::Tag(_));
    let mut outcome = Deleted::Unsupported;
    if by_tag {
        outcome = place.repository.delete_manifest(reference).map_err(|error| place.failed(error))?;
    }
    if outcome == Deleted::Unsupported && !push.was_there {
        let digest = push.manifest.digest.into();
        outcome = place.repository.delete_manifest(&digest).map_err(|error| place.failed(error))?;
    }
    if outcome == Deleted::Unsupported && (by_tag || !push.was_there) {
        let what = format!("{}:{reference}", push.repository);
        return Err(TargetError::CannotDelete { url: place.url.clone(), what });
    }
    Ok(())
}
