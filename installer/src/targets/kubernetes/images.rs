//! Image references in plain manifests, under their names on site: by the very walk and the same table as for
//! charts, with nothing else of an object changed (docs/adr/0020-image-references.md).

use discovery::reference;
use discovery::rewrite::{self, Decisions};
use manifests::VerifiedBundle;
use manifests::kubernetes::KubernetesManifests;

use super::super::{Context, TargetError};
use crate::apply::chain;
use crate::plan::RenamedImage;
use crate::references;
use crate::rendered::Object;

/// What becomes of the images of one set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetImages {
    /// Those that get other names, each with the new one.
    pub renamed: Vec<RenamedImage>,
    /// Those that stay what they are.
    pub left: Vec<String>,
}

fn broken(set: &str, reason: impl std::fmt::Display) -> TargetError {
    TargetError::Images { set: set.to_string(), reason: manifests::text::printable(&reason.to_string()) }
}

/// Finds out what becomes of the images in the objects of a set.
pub(super) fn resolve(
    set: &KubernetesManifests,
    objects: &[Object],
    bundle: &VerifiedBundle,
    context: &Context<'_>,
) -> Result<SetImages, TargetError> {
    let title = format!("manifests {}", set.name);
    let text: Vec<String> = objects.iter().map(|object| object.value().to_string()).collect();
    let text = text.join("\n---\n");
    let resolved = references::resolve(&text, &set.images, bundle, context)
        .map_err(|error| broken(&title, chain(&error)))?;
    if let Some(missing) = resolved.certainly_missing().next() {
        let reason = format!("{} is neither in the bundle nor in the site's registry", missing.image);
        return Err(broken(&title, reason));
    }
    let renamed = resolved.decisions.replaced.iter();
    Ok(SetImages {
        renamed: renamed.map(|(from, to)| RenamedImage { from: from.to_string(), to: to.clone() }).collect(),
        left: resolved.decisions.left.into_iter().collect(),
    })
}

/// The object with the names on site.
pub(super) fn rewritten(set: &str, object: &Object, images: &SetImages) -> Result<Object, TargetError> {
    if images.renamed.is_empty() {
        return Ok(object.clone());
    }
    let pair = |image: &RenamedImage| Some((reference::parse(&image.from)?, image.to.clone()));
    let replaced = images.renamed.iter().map(pair).collect::<Option<_>>();
    let replaced = replaced.ok_or_else(|| broken(set, "an image has no name that can be read"))?;
    let decisions = Decisions { replaced, left: images.left.iter().cloned().collect() };
    let id = object.id();
    let done = rewrite::stream(&id.to_string(), &object.value().to_string(), &decisions)
        .map_err(|error| broken(set, format!("{id}: {}", chain(&error))))?;
    if let Some(hidden) = done.hidden.first() {
        return Err(broken(set, format!("{hidden} cannot be replaced where it stands")));
    }
    let value = serde_json::from_str(&done.text).ok().and_then(Object::new);
    value.ok_or_else(|| broken(set, format!("{id} is not an object any more")))
}
