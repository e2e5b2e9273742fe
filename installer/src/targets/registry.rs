//! An OCI registry: what a place in it holds now, and taking back what [`super::pushes`] has put there.
//!
//! **What this module may never do:** change a tag that names something else than we have made it name.

use std::path::Path;
use std::sync::Arc;

use manifests::inventory::Chart;
use manifests::{Descriptor, Digest};
use registry::{Deleted, Http, HttpSettings, Registry, RegistryError, Repository, TagOrDigest, UserLogins};

use super::{Context, Failed, TargetError, pushes};
use crate::plan::{Placing, Push};
use crate::site::config::{RegistryAuth, RegistryTarget};

/// Certificates of people are a few kilobytes.
const PEM_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A repository of a push, and its registry's address.
pub(super) struct Place {
    url: String,
    pub(super) repository: Repository,
}

impl Place {
    fn of(push: &Push, context: &Context<'_>) -> Result<Self, TargetError> {
        let registry = reached(&push.url, push.ca.as_deref(), push.auth, context)?;
        Self::at(&registry, push)
    }

    /// In a registry that is reached already: with its connections and its tokens.
    fn at(registry: &Registry, push: &Push) -> Result<Self, TargetError> {
        let url = push.url.clone();
        match registry.repository(&push.repository) {
            Ok(repository) => Ok(Self { url, repository }),
            Err(source) => Err(TargetError::Registry { url, source }),
        }
    }

    /// The places of several pushes; those in one registry share its connections and its tokens.
    pub(super) fn all(pushes: &[&Push], context: &Context<'_>) -> Result<Vec<Self>, Failed> {
        let mut last: Option<(&Push, Registry)> = None;
        let mut places = Vec::new();
        for (number, push) in pushes.iter().copied().enumerate() {
            let failed = |error| (number, error);
            let registry = match last.take() {
                Some((before, registry)) if pushes::go_together(before, push) => registry,
                _ => reached(&push.url, push.ca.as_deref(), push.auth, context).map_err(failed)?,
            };
            places.push(Self::at(&registry, push).map_err(failed)?);
            last = Some((push, registry));
        }
        Ok(places)
    }

    pub(super) fn failed(&self, source: RegistryError) -> TargetError {
        TargetError::Registry { url: self.url.clone(), source }
    }

    fn reference(&self, text: &str) -> Result<TagOrDigest, TargetError> {
        text.parse().map_err(|error| self.failed(error))
    }

    /// What a manifest is called in the end.
    fn name(&self, placing: &Placing<'_>) -> Result<TagOrDigest, TargetError> {
        match &placing.tag {
            Some(tag) => self.reference(tag),
            None => Ok(placing.manifest.digest.into()),
        }
    }

    /// What a tag names now, and whether the repository has the manifest that it will name.
    fn now(&self, tag: Option<&str>, manifest: &Descriptor) -> Result<(Option<Digest>, bool), TargetError> {
        let was_there = self.head(&manifest.digest.into())?.is_some();
        let Some(tag) = tag else { return Ok((None, was_there)) };
        let old = self.head(&self.reference(tag)?)?.map(|found| found.digest);
        Ok((old, was_there))
    }

    /// Gives a manifest that was sent its tag, if it gets one.
    pub(super) fn tag(&self, placing: &Placing<'_>, bytes: &[u8]) -> Result<(), TargetError> {
        let Some(tag) = &placing.tag else { return Ok(()) };
        let name = self.reference(tag)?;
        let names_it = || -> Result<bool, TargetError> {
            Ok(self.head(&name)?.is_some_and(|found| found.digest == placing.manifest.digest))
        };
        // A registry whose tags cannot be moved refuses one that it has, also to what it names already: by the plan,
        // or since a run that was cut off.
        if placing.old == Some(placing.manifest.digest) && names_it()? {
            return Ok(());
        }
        match self.repository.put_manifest(&name, &placing.manifest.media_type, bytes) {
            Err(RegistryError::Refused { .. }) if names_it()? => Ok(()),
            stored => stored.map(|_| ()).map_err(|error| self.failed(error)),
        }
    }

    /// Whether the registry lists a manifest as a referrer of another.
    fn lists(&self, of: &Digest, referrer: &Digest) -> Result<bool, TargetError> {
        let found = self.repository.referrers(of).map_err(|error| self.failed(error))?;
        Ok(found.manifests.iter().any(|found| found.digest == *referrer))
    }

    /// A registry without the referrers API does not list what was sent: then the list under the fallback tag
    /// is ours to keep, as the distribution spec has it.
    pub(super) fn list(&self, of: &Digest, referrer: &Descriptor, bytes: &[u8]) -> Result<(), TargetError> {
        let failed = |error| self.failed(error);
        if self.lists(of, &referrer.digest)? {
            return Ok(());
        }
        let entry = registry::referrers::entry(referrer, bytes).map_err(failed)?;
        self.repository.add_referrer(of, entry).map_err(failed)
    }

    fn head(&self, reference: &TagOrDigest) -> Result<Option<Descriptor>, TargetError> {
        self.repository.head_manifest(reference).map_err(|error| self.failed(error))
    }
}

/// A registry as the site reaches it: with the certificates that its own hangs on, and our login.
fn reached(
    url: &str,
    ca: Option<&Path>,
    auth: Option<RegistryAuth>,
    context: &Context<'_>,
) -> Result<Registry, TargetError> {
    let failed = |source| TargetError::Registry { url: url.to_string(), source };
    let http = match ca {
        None => context.http.clone(),
        Some(ca) => {
            let pem = pem_of(ca)?;
            let settings =
                HttpSettings { ca_pem: Some(pem), environment_proxy: false, ..HttpSettings::default() };
            Http::new(&settings).map_err(|error| failed(error.into()))?
        }
    };
    let registry = Registry::new(http, url).map_err(failed)?;
    Ok(match auth {
        None => registry,
        Some(RegistryAuth::DockerConfig) => {
            registry.with_logins(Arc::new(UserLogins::of(context.env)), false)
        }
    })
}

/// The registry that `site.yaml` names.
///
/// # Errors
/// Its URL, or the authority that was named for it, cannot be used.
pub fn at(target: &RegistryTarget, context: &Context<'_>) -> Result<Registry, TargetError> {
    reached(target.url.trim_end_matches('/'), target.ca.as_deref(), target.auth, context)
}

/// The certificates that the registry's own hangs on, if some were named.
///
/// # Errors
/// The file cannot be read.
pub fn authorities(target: &RegistryTarget) -> Result<Option<Vec<u8>>, TargetError> {
    target.ca.as_deref().map(pem_of).transpose()
}

fn pem_of(ca: &Path) -> Result<Vec<u8>, TargetError> {
    let unreadable = |source| TargetError::Io { doing: "cannot read", path: ca.to_path_buf(), source };
    layout::durable::read_bounded(ca, PEM_BYTES_MAX).map_err(unreadable)
}

/// The repository of a path, below the site's prefix.
#[must_use]
pub fn repository(target: &RegistryTarget, path: &str) -> String {
    match &target.prefix {
        Some(prefix) => format!("{}/{path}", prefix.trim_matches('/')),
        None => path.to_string(),
    }
}

/// The path of a chart, and its tag: `+` is no letter of one.
#[must_use]
pub fn chart_place(chart: &Chart) -> (String, String) {
    (format!("charts/{}", chart.name), chart.version.as_str().replace('+', "_"))
}

/// What a registry names by a tag or digest.
///
/// # Errors
/// The registry.
pub fn find(
    target: &RegistryTarget,
    repository: &str,
    name: &str,
    context: &Context<'_>,
) -> Result<Option<Digest>, TargetError> {
    let url = target.url.trim_end_matches('/');
    let failed = |source| TargetError::Registry { url: url.to_string(), source };
    let registry = reached(url, target.ca.as_deref(), target.auth, context)?;
    let repository = registry.repository(repository).map_err(failed)?;
    let name: TagOrDigest = name.parse().map_err(failed)?;
    Ok(repository.head_manifest(&name).map_err(failed)?.map(|found| found.digest))
}

/// Whether a push's repository has a manifest.
///
/// # Errors
/// The registry.
pub fn has(push: &Push, digest: &Digest, context: &Context<'_>) -> Result<bool, TargetError> {
    Ok(Place::of(push, context)?.head(&(*digest).into())?.is_some())
}

/// Fills in what the registry has now. Tells whether the image and its companions are in place already.
///
/// # Errors
/// The registry.
pub fn look(push: &mut Push, context: &Context<'_>) -> Result<bool, TargetError> {
    let place = Place::of(push, context)?;
    look_at(push, &place)
}

/// [`look`], at a place that is reached already.
pub(super) fn look_at(push: &mut Push, place: &Place) -> Result<bool, TargetError> {
    (push.old, push.was_there) = place.now(push.tag.as_deref(), &push.manifest)?;
    for beside in &mut push.companions {
        let tag = beside.companion.tag();
        (beside.old, beside.was_there) = place.now(tag.as_deref(), &beside.companion.manifest)?;
        if let Some(of) = beside.subject() {
            beside.was_listed = place.lists(&of, &beside.companion.manifest.digest)?;
        }
    }
    Ok(push.placings().iter().all(Placing::is_in_place))
}

/// Whether the registry names the image and its companions by their tags, or has it by its digest.
pub(super) fn is_new(push: &Push, place: &Place) -> Result<bool, TargetError> {
    for placing in push.placings() {
        let found = place.head(&place.name(&placing)?)?;
        if found.is_none_or(|found| found.digest != placing.manifest.digest) {
            return Ok(false);
        }
        if let Some(of) = &placing.about
            && !place.lists(of, &placing.manifest.digest)?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Points each tag to what it named before, or takes it away; the image's own first.
///
/// # Errors
/// The registry; [`TargetError::CannotDelete`] with all that stays if it does not delete.
pub fn undo(push: &Push, context: &Context<'_>) -> Result<(), TargetError> {
    let place = Place::of(push, context)?;
    let mut staying = Vec::new();
    for placing in push.placings().iter().rev() {
        if !take_back(placing, &place)? {
            staying.push(format!("{}:{}", push.repository, place.name(placing)?));
        }
    }
    if staying.is_empty() { Ok(()) } else { Err(TargetError::CannotDelete { url: place.url, staying }) }
}

/// Tells whether it could be taken back.
fn take_back(placing: &Placing<'_>, place: &Place) -> Result<bool, TargetError> {
    let name = place.name(placing)?;
    if let Some(of) = placing.about.filter(|_| !placing.was_listed) {
        let removed = place.repository.remove_referrer(&of, &placing.manifest.digest);
        removed.map_err(|error| place.failed(error))?;
    }
    let now = place.head(&name)?.map(|found| found.digest);
    if placing.tag.is_none() {
        // Not there yet: a registry that does not delete is not asked to.
        return if now.is_none() { Ok(true) } else { remove(placing, place, &name) };
    }
    if now == placing.old || now != Some(placing.manifest.digest) {
        // Not moved yet, or moved on by somebody else: either way not ours to change.
        return Ok(true);
    }
    match placing.old {
        Some(old) => {
            let raw = place.repository.get_manifest(&old.into()).map_err(|error| place.failed(error))?;
            let stored = place.repository.put_manifest(&name, &raw.media_type, &raw.bytes);
            stored.map(|_| true).map_err(|error| place.failed(error))
        }
        None => remove(placing, place, &name),
    }
}

/// Deletes the tag; or, where a registry deletes only whole manifests, the manifest, if nobody else had
/// it there before. Tells whether it is gone.
fn remove(placing: &Placing<'_>, place: &Place, name: &TagOrDigest) -> Result<bool, TargetError> {
    let by_tag = matches!(name, TagOrDigest::Tag(_));
    let mut outcome = Deleted::Unsupported;
    if by_tag {
        outcome = place.repository.delete_manifest(name).map_err(|error| place.failed(error))?;
    }
    if outcome == Deleted::Unsupported && !placing.was_there {
        let digest = placing.manifest.digest.into();
        outcome = place.repository.delete_manifest(&digest).map_err(|error| place.failed(error))?;
    }
    Ok(outcome != Deleted::Unsupported || (!by_tag && placing.was_there))
}
