//! `oci://`: a chart in a registry, pulled as images are. Its manifest keeps its bytes and digest; what Helm
//! does not put into one is refused by name.

use std::io;

use manifests::Reference;
use manifests::bundle::Content;
use manifests::oci::{
    Descriptor, ImageManifest, MEDIA_HELM_CHART, MEDIA_HELM_CONFIG, MEDIA_HELM_PROVENANCE, ManifestDocument,
};
use manifests::text::printable;
use registry::RegistryError;

use super::super::World;
use super::super::fetch::content_of;
use super::super::images::{self, Artifact, ImageError};
use super::CHART_BYTES_MAX;
use super::SMALL_FILE_BYTES_MAX;
use super::error::ChartError;
use super::place::{OCI, OciPlace, OciWish, tag_of, version_of};
use super::provenance::PROVENANCE_BYTES_MAX;
use crate::cache::Cache;
use crate::lock::RegistryPlace;
use crate::registries::{Registries, RegistriesError};
use manifests::range::Range;

/// What Helm called the layer in its first releases with registries.
const MEDIA_HELM_CHART_OLD: &str = "application/tar+gzip";

/// A chart's manifest in a registry.
pub(super) struct OciChart {
    /// With the tag that was found, or the digest.
    pub(super) reference: Reference,
    /// Where its blobs are.
    pub(super) place: RegistryPlace,
    /// The version that was asked for, if one was.
    pub(super) version: Option<String>,
    pub(super) manifest: Descriptor,
    pub(super) config: Content,
    pub(super) archive: Content,
    pub(super) provenance: Option<Content>,
}

/// Finds a chart. Nothing but its manifest is fetched.
///
/// # Errors
/// There is none, or it is something else.
pub(super) fn find(place: &OciPlace, world: &World<'_>) -> Result<OciChart, ChartError> {
    let at = world.registries.place(&place.host, &place.path);
    let shown = format!("{OCI}{}/{}", place.host, place.path);
    let (suffix, version) = match &place.wanted {
        OciWish::Tag(tag) => (format!(":{tag}"), version_of(tag)),
        OciWish::Digest(digest, tag) => (format!("@{digest}"), tag.as_deref().and_then(version_of)),
        OciWish::Version(range) => {
            let version = match range.exact() {
                Some(exact) => exact.to_string(),
                None => newest(&at, &shown, range, world)?,
            };
            (format!(":{}", tag_of(&version)), Some(version))
        }
    };
    let reference: Reference = format!("{}/{}{suffix}", place.host, place.path)
        .parse()
        .map_err(|error: manifests::reference::ReferenceError| ChartError::Place(error.to_string()))?;
    let artifact = images::look(&reference, world).map_err(|error| match (&place.wanted, error) {
        (OciWish::Version(range), ImageError::Registry { source: RegistryError::NotFound { .. }, .. }) => {
            let near = tags(&at, &shown, world).unwrap_or_default();
            let near = range.nearest(near.iter().map(String::as_str));
            ChartError::NoSuchVersion { chart: shown.clone(), wanted: range.to_string(), near }
        }
        (_, error) => failed(&reference, error),
    })?;
    parsed(reference, at, version, artifact)
}

/// The newest version among the tags that will do.
fn newest(at: &RegistryPlace, shown: &str, range: &Range, world: &World<'_>) -> Result<String, ChartError> {
    let versions = tags(at, shown, world)?;
    let all = versions.iter().map(String::as_str);
    let chosen = range.choose(all.clone()).and_then(|place| versions.get(place)).cloned();
    chosen.ok_or_else(|| ChartError::NoSuchVersion {
        chart: shown.to_string(),
        wanted: range.to_string(),
        near: range.nearest(all),
    })
}

/// The versions that a repository's tags stand for, of the first host that lists them.
fn tags(at: &RegistryPlace, shown: &str, world: &World<'_>) -> Result<Vec<String>, ChartError> {
    let broken = |source| ChartError::Registries { chart: shown.to_string(), source };
    let mut refusal = None;
    for source in world.registries.sources(at).map_err(broken)? {
        match source.repository.list_tags() {
            Ok(tags) => return Ok(tags.iter().filter_map(|tag| version_of(tag)).collect()),
            Err(error) => {
                if let Some(mirror) = &source.mirror {
                    (world.note)(&format!("note: the mirror {mirror} is passed over: {error}"));
                }
                refusal = Some(error);
            }
        }
    }
    let chart = shown.to_string();
    Err(refusal.map_or_else(
        || ChartError::Damaged { what: chart.clone(), reason: "no host has it".to_string() },
        |source| ChartError::Registry { chart: chart.clone(), source },
    ))
}

fn parsed(
    reference: Reference,
    place: RegistryPlace,
    version: Option<String>,
    artifact: Artifact,
) -> Result<OciChart, ChartError> {
    let shown = format!("{OCI}{reference}");
    let odd = |reason: String| ChartError::Damaged { what: shown.clone(), reason };
    let ManifestDocument::Image(document) = artifact.document else {
        return Err(odd("its manifest is an index of several".to_string()));
    };
    if document.config.media_type != MEDIA_HELM_CONFIG {
        let found = printable(&document.config.media_type);
        return Err(odd(format!(
            "its configuration is `{found}`, and that of a chart is `{MEDIA_HELM_CONFIG}`"
        )));
    }
    let (archive, provenance) = layers(&document).map_err(&odd)?;
    let config = Content { digest: document.config.digest, size: document.config.size };
    for (what, content, most) in [
        ("configuration", Some(config), SMALL_FILE_BYTES_MAX),
        ("archive", Some(archive), CHART_BYTES_MAX),
        ("provenance file", provenance, PROVENANCE_BYTES_MAX),
    ] {
        if content.is_some_and(|content| content.size > most) {
            return Err(odd(format!("its {what} is larger than {most} bytes")));
        }
    }
    Ok(OciChart { reference, place, version, manifest: artifact.manifest, config, archive, provenance })
}

/// The archive and the provenance file of a manifest that has nothing else.
fn layers(document: &ImageManifest) -> Result<(Content, Option<Content>), String> {
    let (mut archive, mut provenance) = (None, None);
    for layer in &document.layers {
        let content = Content { digest: layer.digest, size: layer.size };
        let place = match layer.media_type.as_str() {
            MEDIA_HELM_CHART | MEDIA_HELM_CHART_OLD => &mut archive,
            MEDIA_HELM_PROVENANCE => &mut provenance,
            other => return Err(format!("it has a layer `{}`, which no chart has", printable(other))),
        };
        if place.replace(content).is_some() {
            return Err(format!("it has two layers `{}`", printable(&layer.media_type)));
        }
    }
    archive.map(|archive| (archive, provenance)).ok_or_else(|| "it has no layer with an archive".to_string())
}

/// What Helm says an artifact is, beside what its archive says.
pub(super) fn check_config(shown: &str, config: &[u8], name: &str, version: &str) -> Result<(), ChartError> {
    let value: serde_json::Value = serde_json::from_slice(config).unwrap_or_default();
    let text = |key: &str| value.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
    if (text("name"), text("version")) == (name, version) {
        return Ok(());
    }
    let (said, is) = (format!("{} {}", text("name"), text("version")), format!("{name} {version}"));
    let reason =
        format!("its configuration says {}, and its archive is {}", printable(&said), printable(&is));
    Err(ChartError::Damaged { what: shown.to_string(), reason })
}

/// Brings a layer into the cache, from the first host that has it. Charts are small: nothing is resumed.
///
/// # Errors
/// Nobody has it, or gives other bytes.
pub(super) fn layer(
    registries: &Registries,
    cache: &Cache,
    place: &RegistryPlace,
    content: Content,
) -> Result<(), LayerError> {
    let cached = cache.open(&content).ok().flatten().and_then(|mut file| content_of(&mut file).ok());
    if cached == Some(content) {
        return Ok(());
    }
    let mut refusal = None;
    for source in registries.sources(place)? {
        let read = source.repository.open_blob(&content.digest, content.size).map_err(io::Error::from);
        let kept = read.and_then(|mut blob| cache.add(&mut |out| io::copy(&mut blob, out).map(|_| ())));
        match kept {
            Ok(_) => return Ok(()),
            Err(error) => refusal = Some(error),
        }
    }
    Err(LayerError::Read(refusal.unwrap_or_else(|| io::ErrorKind::NotFound.into())))
}

/// Why a layer did not come.
#[derive(Debug, thiserror::Error)]
pub(super) enum LayerError {
    /// How the registry is reached.
    #[error(transparent)]
    Registries(#[from] RegistriesError),
    /// The registry, or the cache.
    #[error(transparent)]
    Read(io::Error),
}

impl LayerError {
    /// The same, with the chart.
    pub(super) fn of(self, chart: &str) -> ChartError {
        let chart = chart.to_string();
        match self {
            Self::Registries(source) => ChartError::Registries { chart, source },
            Self::Read(error) => {
                let error = error
                    .downcast::<RegistryError>()
                    .or_else(|error| error.downcast::<registry::HttpError>().map(RegistryError::from));
                match error {
                    Ok(source) => ChartError::Registry { chart, source },
                    Err(error) => ChartError::Cache(error),
                }
            }
        }
    }
}

/// An error of the images' code is about a chart here.
pub(super) fn failed(reference: &Reference, error: ImageError) -> ChartError {
    let chart = format!("{OCI}{reference}");
    match error {
        ImageError::Registry { source, .. } => ChartError::Registry { chart, source },
        ImageError::Registries { source, .. } => ChartError::Registries { chart, source },
        ImageError::Companions { source, .. } => ChartError::Companions { chart, source },
        ImageError::Manifest { source, .. } => ChartError::Manifest { chart, source },
        other => ChartError::Artifact(other),
    }
}
