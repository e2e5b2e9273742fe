//! What becomes of the images that a chart names, on this site: each is carried by the bundle, is in the site's
//! registry already, was waived when the bundle was locked, or is missing.

use std::collections::BTreeMap;

use discovery::hit::{Hit, Hits, Wanted};
use discovery::reference;
use discovery::rewrite::Decisions;
use discovery::walk;
use edge::yaml::YamlError;
use manifests::inventory::{Component, Image, ImageClass, NeededImage};
use manifests::{Digest, Reference, VerifiedBundle};

use crate::site::config::SiteConfig;
use crate::targets::{Context, TargetError, registry};

/// What is known of the images of one chart.
#[derive(Debug, Default)]
pub struct Resolved {
    /// What becomes of each that is there.
    pub decisions: Decisions,
    /// How many images it asks for.
    pub count: usize,
    /// Those that are nowhere.
    pub missing: Vec<Hit>,
}

impl Resolved {
    /// Those of which Kubernetes itself says that they are images.
    pub fn certainly_missing(&self) -> impl Iterator<Item = &Hit> {
        self.missing.iter().filter(|hit| hit.class == ImageClass::Certain)
    }
}

/// Why the images of a chart cannot be looked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReferencesError {
    /// What Helm wrote cannot be read.
    #[error(transparent)]
    Document(#[from] YamlError),
    /// There are too many.
    #[error(transparent)]
    TooMany(#[from] discovery::hit::TooMany),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] TargetError),
}

/// How nodes name the site's registry: `HOST[:PORT][/PREFIX]`, if the site has one.
#[must_use]
pub fn base(config: &SiteConfig) -> Option<String> {
    if let Some(pull) = config.targets.helm.as_ref().and_then(|helm| helm.pull.as_deref()) {
        return Some(pull.trim_end_matches('/').to_string());
    }
    let registry = config.targets.registry.as_ref()?;
    let host = registry.url.split_once("://").map_or(registry.url.as_str(), |(_, host)| host);
    let host = host.trim_end_matches('/');
    let prefix = registry.prefix.as_deref().map(|prefix| prefix.trim_matches('/')).unwrap_or_default();
    Some(if prefix.is_empty() { host.to_string() } else { format!("{host}/{prefix}") })
}

/// Looks for every image in objects: of what a chart renders to, or of a set of manifests. `noted` is what was found
/// in them when the bundle was locked.
///
/// # Errors
/// See [`ReferencesError`].
pub fn resolve(
    text: &str,
    noted: &[NeededImage],
    bundle: &VerifiedBundle,
    context: &Context<'_>,
) -> Result<Resolved, ReferencesError> {
    let mut hits = Hits::default();
    walk::stream("helm's output", text, &mut hits)?;
    let site = Names { noted, images: images(bundle), base: base(context.config), context };
    let mut resolved = Resolved::default();
    for hit in hits.finish()? {
        resolved.count = resolved.count.saturating_add(1);
        match site.find(&hit)? {
            Found::As(image, name) => {
                resolved.decisions.replaced.insert(image, name);
            }
            Found::Stays => {
                resolved.decisions.left.insert(hit.image.to_string());
            }
            Found::Nowhere => resolved.missing.push(hit),
        }
    }
    Ok(resolved)
}

fn images(bundle: &VerifiedBundle) -> BTreeMap<String, Vec<&Image>> {
    let mut found: BTreeMap<String, Vec<&Image>> = BTreeMap::new();
    for component in &bundle.inventory().components {
        if let Component::Image(image) = component {
            found.entry(reference::normal(image.name.clone()).repository()).or_default().push(image);
        }
    }
    found
}

enum Found {
    /// It is in the site's registry under this name.
    As(Reference, String),
    /// Nobody needs to do anything about it.
    Stays,
    Nowhere,
}

struct Names<'a> {
    noted: &'a [NeededImage],
    images: BTreeMap<String, Vec<&'a Image>>,
    base: Option<String>,
    context: &'a Context<'a>,
}

impl Names<'_> {
    fn find(&self, hit: &Hit) -> Result<Found, TargetError> {
        let shown = hit.image.to_string();
        let noted = self.noted.iter().find(|needed| needed.image.as_str() == shown);
        let Wanted::Image(image) = &hit.image else {
            // What something on site fills in, or a text that was looked at when the bundle was locked.
            return Ok(Found::Stays);
        };
        let carried = self.carried(image).or_else(|| self.holding(noted?.carried?));
        if let Some((digest, path)) = carried {
            return Ok(self.named(image, digest, &path));
        }
        if noted.is_some_and(|needed| needed.waived.is_some()) {
            return Ok(Found::Stays);
        }
        self.on_site(image)
    }

    /// What the bundle has under this name, and its path on site.
    fn carried(&self, image: &Reference) -> Option<(Digest, String)> {
        let carried = self.images.get(&image.repository())?;
        carried.iter().find_map(|carried| {
            let digest = match image.digest() {
                Some(digest) => has(carried, &digest).then_some(digest),
                None => (carried.name.tag() == image.tag()).then_some(carried.manifest.digest),
            };
            Some((digest?, carried.name.site_path()))
        })
    }

    /// A manifest of the bundle, and the path of the image that holds it.
    fn holding(&self, digest: Digest) -> Option<(Digest, String)> {
        let holder = self.images.values().flatten().find(|image| has(image, &digest))?;
        Some((digest, holder.name.site_path()))
    }

    fn named(&self, image: &Reference, digest: Digest, path: &str) -> Found {
        match &self.base {
            Some(base) => Found::As(image.clone(), format!("{base}/{path}@{digest}")),
            None => Found::Stays,
        }
    }

    /// What the site's registry has, under the name that a bundle would have given it, or under its own.
    fn on_site(&self, image: &Reference) -> Result<Found, TargetError> {
        let Some(target) = &self.context.config.targets.registry else { return Ok(Found::Nowhere) };
        let name = match (image.digest(), image.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.to_string(),
            (None, None) => return Ok(Found::Nowhere),
        };
        let host = target.url.split_once("://").map_or("", |(_, host)| host).trim_end_matches('/');
        if image.host() == host {
            let there = registry::find(target, image.path(), &name, self.context)?.is_some();
            return Ok(if there { Found::Stays } else { Found::Nowhere });
        }
        let prefix = target.prefix.as_deref().map(|prefix| prefix.trim_matches('/')).unwrap_or_default();
        let path = image.site_path();
        let repository = if prefix.is_empty() { path.clone() } else { format!("{prefix}/{path}") };
        let found = registry::find(target, &repository, &name, self.context)?;
        Ok(found.map_or(Found::Nowhere, |digest| self.named(image, digest, &path)))
    }
}

fn has(image: &Image, digest: &Digest) -> bool {
    image.manifest.digest == *digest || image.blobs.contains(digest)
}
