//! Charts as this site gets them: the archive and the values of the bundle, the values of the site over them, and
//! what Helm renders from these. Preflight looks at that, a plan fixes it, and nobody else asks Helm to render.
//!
//! *It may never* reach the cluster: what a chart looks up there (`lookup`) is not there while it is rendered, and
//! its capabilities are those that somebody has read from the cluster before.

use std::path::{Path, PathBuf};

use discovery::helm::{Helm, HelmError, Question};
use discovery::node;
use edge::yaml::{self, YAML_BYTES_MAX, YamlError};
use manifests::bundle::Content;
use manifests::inventory::{Chart, Component, LOOKED_INTO_BYTES_MAX};
use manifests::text::{BundleVersion, Name};
use manifests::{Digest, VerifiedBundle};

use crate::rendered::{Object, Rendered};
use crate::site::config::{HelmTarget, SiteConfig};
use crate::targets::{Context, TargetError};

/// The archive's name in a scratch directory.
pub const ARCHIVE: &str = "chart.tgz";
/// Where charts go that say no namespace.
const DEFAULT_NAMESPACE: &str = "default";

/// Why a chart cannot be rendered for this site.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChartError {
    /// Helm refuses, or is not there.
    #[error(transparent)]
    Helm(#[from] HelmError),
    /// A values file of the site cannot be used.
    #[error("values of the site: {}", path.display())]
    Overlay {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A values file of the site is no map of values.
    #[error("values of the site: {0}")]
    OverlayText(#[source] YamlError),
    /// What is in the bundle cannot be looked at.
    #[error("{what} cannot be read: {reason}")]
    Content {
        /// What.
        what: String,
        /// Why not.
        reason: String,
    },
    /// What Helm renders is not YAML.
    #[error("what Helm renders cannot be read")]
    Output(#[source] YamlError),
    /// A document is no object.
    #[error("what {template} renders to is no object of Kubernetes")]
    NoObject {
        /// The template.
        template: String,
    },
    /// The scratch directory.
    #[error(transparent)]
    Scratch(#[from] TargetError),
}

/// A values file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValuesFile {
    /// Where on this site it is, if the bundle does not bring it.
    pub overlay: Option<PathBuf>,
    /// Its content.
    pub content: Content,
}

/// A chart that is to become a release.
#[derive(Debug, Clone)]
pub struct ToInstall<'a> {
    /// The chart.
    pub chart: &'a Chart,
    /// The release's name.
    pub release: &'a Name,
    /// Its namespace.
    pub namespace: String,
    /// Later files win; those of the site come last.
    pub values: Vec<ValuesFile>,
}

impl ToInstall<'_> {
    /// What people call it: `chart fraud 1.2.3`.
    #[must_use]
    pub fn title(&self) -> String {
        format!("chart {} {}", self.chart.name, self.chart.version)
    }
}

/// The charts of a bundle that become releases, in the order in which they are applied. A chart without a
/// `release` is carried for others and becomes none.
///
/// # Errors
/// A values file of the site cannot be read; with the chart that needs it.
pub fn to_install<'a>(
    bundle: &'a VerifiedBundle,
    config: &SiteConfig,
) -> Vec<(ToInstall<'a>, Result<(), ChartError>)> {
    let charts = bundle.inventory().components.iter().filter_map(|component| match component {
        Component::Chart(chart) => Some((chart, chart.release.as_ref()?)),
        _ => None,
    });
    let mut charts: Vec<_> = charts.collect();
    charts.sort_by_key(|(chart, _)| chart.order);
    charts.into_iter().map(|(chart, release)| one(chart, release, config)).collect()
}

fn one<'a>(
    chart: &'a Chart,
    release: &'a Name,
    config: &SiteConfig,
) -> (ToInstall<'a>, Result<(), ChartError>) {
    let own = chart.values.iter().flat_map(|values| &values.files);
    let own = own
        .map(|file| ValuesFile { overlay: None, content: Content { digest: file.digest, size: file.size } });
    let mut values: Vec<ValuesFile> = own.collect();
    let mut result = Ok(());
    for path in overlays(chart, release, config) {
        match overlay(path) {
            Ok(content) => values.push(ValuesFile { overlay: Some(path.clone()), content }),
            Err(error) => result = result.and(Err(error)),
        }
    }
    let namespace = chart.namespace.as_ref().map_or(DEFAULT_NAMESPACE, Name::as_str).to_string();
    (ToInstall { chart, release, namespace, values }, result)
}

/// The site's values files for a chart: those for its release, or else those for the chart.
fn overlays<'a>(chart: &Chart, release: &Name, config: &'a SiteConfig) -> &'a [PathBuf] {
    let of = |name| config.values.get(name).map(Vec::as_slice);
    of(release).or_else(|| of(&chart.name)).unwrap_or_default()
}

/// The site's values files for a chart, whether they can be read or not.
#[must_use]
pub fn overlay_paths<'a>(chart: &ToInstall<'_>, config: &'a SiteConfig) -> &'a [PathBuf] {
    overlays(chart.chart, chart.release, config)
}

/// Reads a values file of the site.
///
/// # Errors
/// It is not there, or too long.
pub fn overlay_bytes(path: &Path) -> Result<Vec<u8>, ChartError> {
    layout::durable::read_bounded(path, YAML_BYTES_MAX)
        .map_err(|source| ChartError::Overlay { path: path.to_path_buf(), source })
}

fn overlay(path: &Path) -> Result<Content, ChartError> {
    let bytes = overlay_bytes(path)?;
    let name = path.display().to_string();
    let text = String::from_utf8_lossy(&bytes);
    let broken = |message: &str| {
        ChartError::OverlayText(YamlError {
            file: name.clone(),
            line: 1,
            column: 1,
            message: message.to_string(),
        })
    };
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Content::of(&bytes));
    }
    match yaml::parse_foreign::<serde_json::Value>(&name, &text).map_err(ChartError::OverlayText)? {
        serde_json::Value::Object(_) | serde_json::Value::Null => Ok(Content::of(&bytes)),
        _ => Err(broken("values are keys and values")),
    }
}

/// What a cluster can do, as templates ask for it.
#[derive(Debug, Clone, Default)]
pub struct Capabilities {
    /// Its version; Helm's own if nobody could ask.
    pub kubernetes: Option<BundleVersion>,
    /// What it has beyond what every cluster has.
    pub api_versions: Vec<String>,
}

/// A chart as it will come to the cluster.
#[derive(Debug)]
pub struct RenderedChart {
    /// What Helm wrote: hooks, tests and definitions included.
    pub text: String,
    /// The objects in it.
    pub rendered: Rendered,
}

/// Renders charts.
pub struct Renderer<'a> {
    helm: Helm<'a>,
    bundle: &'a VerifiedBundle,
    context: &'a Context<'a>,
    capabilities: Capabilities,
}

impl<'a> Renderer<'a> {
    /// With the Helm that `site.yaml` names.
    ///
    /// # Errors
    /// There is none.
    pub fn new(
        target: &HelmTarget,
        bundle: &'a VerifiedBundle,
        capabilities: Capabilities,
        context: &'a Context<'a>,
    ) -> Result<Self, HelmError> {
        let helm = Helm::at(target.program().to_path_buf(), context.env)?;
        Ok(Self { helm, bundle, context, capabilities })
    }

    /// The program.
    #[must_use]
    pub fn helm(&self) -> &Helm<'a> {
        &self.helm
    }

    /// Renders one. `upgrade` tells the chart that the release is there already.
    ///
    /// # Errors
    /// See [`ChartError`].
    pub fn render(&self, chart: &ToInstall<'_>, upgrade: bool) -> Result<RenderedChart, ChartError> {
        let scratch = Scratch::new(self.context)?;
        let content = |what: String, content: Content| bytes(self.bundle, content, what, self.context);
        scratch.write(ARCHIVE, &content(chart.title(), chart.chart.archive)?)?;
        let mut values = Vec::new();
        for (position, file) in chart.values.iter().enumerate() {
            let name = values_name(position);
            let bytes = match &file.overlay {
                Some(path) => overlay_bytes(path)?,
                None => content(format!("values of {}", chart.title()), file.content)?,
            };
            scratch.write(&name, &bytes)?;
            values.push(name);
        }
        let question = Question {
            chart: ARCHIVE,
            release: chart.release.as_str(),
            namespace: Some(&chart.namespace),
            values,
            kubernetes: self.capabilities.kubernetes.as_ref(),
            api_versions: &self.capabilities.api_versions,
            upgrade,
        };
        let text = self.helm.template(&question, scratch.path())?;
        let objects = objects(&text)?;
        let rendered = Rendered {
            from: format!("chart {}", chart.chart.name),
            namespace: chart.namespace.clone(),
            objects,
        };
        Ok(RenderedChart { text, rendered })
    }
}

/// Everything that the charts of a bundle bring to the cluster of this site. Charts that cannot be rendered are
/// left out: `helm/render` says which.
#[must_use]
pub fn rendered(bundle: &VerifiedBundle, capabilities: Capabilities, context: &Context<'_>) -> Vec<Rendered> {
    let Some(target) = &context.config.targets.helm else { return Vec::new() };
    let Ok(renderer) = Renderer::new(target, bundle, capabilities, context) else { return Vec::new() };
    let charts = to_install(bundle, context.config).into_iter();
    charts
        .filter(|(_, overlays)| overlays.is_ok())
        .filter_map(|(chart, _)| Some(renderer.render(&chart, false).ok()?.rendered))
        .collect()
}

/// What a values file is called in a scratch directory.
#[must_use]
pub fn values_name(position: usize) -> String {
    format!("values-{position:03}.yaml")
}

/// The objects of a stream that Helm wrote.
fn objects(text: &str) -> Result<Vec<Object>, ChartError> {
    let mut objects = Vec::new();
    for chunk in node::chunks(text) {
        let template = chunk.source.unwrap_or("helm's output");
        let value: serde_json::Value =
            yaml::parse_foreign(template, chunk.text).map_err(ChartError::Output)?;
        if value.is_null() {
            continue;
        }
        for member in crate::rendered::members(value) {
            let no_object = || ChartError::NoObject { template: manifests::text::printable(template) };
            objects.push(Object::new(member).ok_or_else(no_object)?);
        }
    }
    Ok(objects)
}

/// A blob of the bundle, as it passed by, or from the site store.
fn bytes(
    bundle: &VerifiedBundle,
    content: Content,
    what: String,
    context: &Context<'_>,
) -> Result<Vec<u8>, ChartError> {
    if let Some(bytes) = bundle.looked_into(&content.digest) {
        return Ok(bytes.to_vec());
    }
    let limit = LOOKED_INTO_BYTES_MAX.max(content.size);
    let read = context.site.store().read(&content.digest, limit);
    read.map_err(|error| ChartError::Content { what, reason: error.to_string() })
}

/// A directory for one question to Helm, gone with it. Values are in it, so it is for its owner only.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new(context: &Context<'_>) -> Result<Self, ChartError> {
        let parent = context.site.run_dir();
        let failed = |source| TargetError::Io { doing: "cannot write to", path: parent.clone(), source };
        layout::durable::make_directory(&parent).map_err(failed)?;
        Ok(Self(tempfile::Builder::new().prefix("render-").tempdir_in(&parent).map_err(failed)?))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ChartError> {
        let path = self.path().join(name);
        let written = std::fs::write(&path, bytes);
        written.map_err(|source| TargetError::Io { doing: "cannot write", path, source }.into())
    }
}

/// What tells one release from another with the same name: the chart, its values and the images in them.
#[must_use]
pub fn fingerprint(chart: &ToInstall<'_>, rewrites: &[(String, String)]) -> Digest {
    let values: Vec<Digest> = chart.values.iter().map(|file| file.content.digest).collect();
    let parts = (chart.chart.archive.digest, values, rewrites);
    Digest::of(&serde_json::to_vec(&parts).unwrap_or_default())
}
