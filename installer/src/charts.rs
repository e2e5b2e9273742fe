//! Charts as this site gets them: the archive and the values of the bundle, the values of the site over them, and
//! what Helm renders from these. Preflight looks at that, a plan fixes it, and nobody else asks Helm to render.
//!
//! *It may never* reach the cluster: what a chart looks up there (`lookup`) is not there while it is rendered, and
//! its capabilities are those that somebody has read from the cluster before.

use std::io::Read;
use std::path::{Path, PathBuf};

use discovery::helm::{Helm, HelmError, Question};
use discovery::node;
use edge::yaml::{self, YAML_BYTES_MAX, YamlError};
use manifests::bundle::Content;
use manifests::inventory::{Chart, Component};
use manifests::text::{BundleVersion, Name};
use manifests::{Digest, VerifiedBundle};

use crate::cluster::Cluster;
use crate::rendered::{Object, Rendered};
use crate::site::config::{HelmTarget, SiteConfig};
use crate::site::scratch::Scratch;
use crate::targets::Context;

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
    #[error("cannot write to the site directory")]
    Scratch(#[source] std::io::Error),
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
    (ToInstall { chart, release, namespace: namespace(chart).to_string(), values }, result)
}

/// The namespace of a chart's release.
#[must_use]
pub fn namespace(chart: &Chart) -> &str {
    chart.namespace.as_ref().map_or(DEFAULT_NAMESPACE, Name::as_str)
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

impl Capabilities {
    /// Those of a cluster; what cannot be asked is left to Helm.
    #[must_use]
    pub fn of(cluster: &dyn Cluster) -> Self {
        let get = |path: &str| cluster.get(path).ok().flatten().unwrap_or_default();
        let version = get("/version");
        let version = version.get("gitVersion").and_then(serde_json::Value::as_str);
        let kubernetes = version.and_then(|version| version.parse().ok());
        let mut api_versions = Vec::new();
        for group in list(&get("/apis"), "groups") {
            let name = group.get("name").and_then(serde_json::Value::as_str).unwrap_or_default();
            // Helm knows the kinds of those that every cluster has.
            let own = name.contains('.') && !name.ends_with(".k8s.io");
            for version in list(&group, "versions") {
                let version = version.get("groupVersion").and_then(serde_json::Value::as_str);
                let Some(version) = version else { continue };
                api_versions.push(version.to_string());
                let resources = if own { get(&format!("/apis/{version}")) } else { Default::default() };
                for resource in list(&resources, "resources") {
                    let kind = resource.get("kind").and_then(serde_json::Value::as_str).unwrap_or_default();
                    api_versions.push(format!("{version}/{kind}"));
                }
            }
        }
        api_versions.sort();
        api_versions.dedup();
        Self { kubernetes, api_versions }
    }
}

fn list(value: &serde_json::Value, key: &str) -> Vec<serde_json::Value> {
    value.get(key).and_then(serde_json::Value::as_array).cloned().unwrap_or_default()
}

/// A chart as it will come to the cluster.
#[derive(Debug)]
pub struct RenderedChart {
    /// What Helm wrote: hooks, tests and definitions included.
    pub text: String,
    /// The objects in it.
    pub rendered: Rendered,
    /// How many of them are definitions that Helm installs and never removes.
    pub definitions: usize,
}

/// What makes an object a hook, and which.
const HOOK: &str = "helm.sh/hook";

/// Whether an object is a hook that runs when a release is installed, changed or removed. A test runs only when
/// somebody asks for it.
#[must_use]
pub fn is_hook(object: &Object) -> bool {
    let when = object.annotation(HOOK).unwrap_or_default();
    when.split(',').map(str::trim).any(|when| !when.is_empty() && !when.starts_with("test"))
}

impl RenderedChart {
    /// What Helm does not take back, in words.
    #[must_use]
    pub fn stays(&self, chart: &ToInstall<'_>) -> Vec<String> {
        let title = chart.title();
        let objects = &self.rendered.objects;
        let names = |found: Vec<&Object>| -> Option<String> {
            let names: Vec<String> = found.iter().map(|object| object.id().to_string()).collect();
            (!names.is_empty()).then(|| names.join(", "))
        };
        let mut notes = Vec::new();
        if self.definitions > 0 {
            notes.push(format!(
                "{title} brings {} definitions of resources; Helm installs them and never takes them away",
                self.definitions
            ));
        }
        if let Some(hooks) = names(objects.iter().filter(|object| is_hook(object)).collect()) {
            notes.push(format!("{title} has hooks ({hooks}); what they do is not taken back"));
        }
        let claims = |object: &&Object| object.value().pointer("/spec/volumeClaimTemplates").is_some();
        if let Some(sets) = names(objects.iter().filter(claims).collect()) {
            notes.push(format!("the volumes that {sets} claims stay when {title} goes"));
        }
        let kept = |object: &&Object| object.annotation("helm.sh/resource-policy") == Some("keep");
        if let Some(kept) = names(objects.iter().filter(kept).collect()) {
            notes.push(format!("{kept} stays when {title} goes, as the chart says"));
        }
        notes
    }
}

/// Renders charts.
pub struct Renderer<'a> {
    helm: Helm<'a>,
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
        capabilities: Capabilities,
        context: &'a Context<'a>,
    ) -> Result<Self, HelmError> {
        let helm = Helm::at(target.program().to_path_buf(), context.env)?;
        Ok(Self { helm, context, capabilities })
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
        let scratch = Scratch::make(self.context.site, "helm").map_err(ChartError::Scratch)?;
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(scratch.path().join(name), bytes).map_err(ChartError::Scratch)
        };
        write(ARCHIVE, &self.content(chart.chart.archive, chart.title())?)?;
        let mut values = Vec::new();
        for (position, file) in chart.values.iter().enumerate() {
            let name = values_name(position);
            let bytes = match &file.overlay {
                Some(path) => overlay_bytes(path)?,
                None => self.content(file.content, format!("values of {}", chart.title()))?,
            };
            write(&name, &bytes)?;
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
        let from = format!("chart {}", chart.chart.name);
        let rendered = Rendered { from, namespace: chart.namespace.clone(), objects };
        let definitions = node::chunks(&text)
            .iter()
            .filter(|chunk| chunk.source.is_some_and(|source| source.contains("/crds/")))
            .count();
        Ok(RenderedChart { text, rendered, definitions })
    }

    /// A blob of the bundle, from the store or from what is lent.
    fn content(&self, content: Content, what: String) -> Result<Vec<u8>, ChartError> {
        let failed =
            |error: std::io::Error| ChartError::Content { what: what.clone(), reason: error.to_string() };
        let file = self.context.site.store().open(&content.digest).map_err(failed)?;
        let file = file.ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
        let mut bytes = Vec::new();
        file.take(content.size.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
        if Content::of(&bytes) == content {
            return Ok(bytes);
        }
        Err(failed(std::io::Error::new(std::io::ErrorKind::InvalidData, "it has changed")))
    }
}

/// Everything that the charts of a bundle bring to the cluster of this site, one entry for each chart that becomes a
/// release. Charts that cannot be rendered are left out: `helm/render` says which.
#[must_use]
pub fn rendered(bundle: &VerifiedBundle, context: &Context<'_>) -> Vec<Rendered> {
    let Some(target) = &context.config.targets.helm else { return Vec::new() };
    let capabilities = capabilities(target, context);
    let Ok(renderer) = Renderer::new(target, capabilities, context) else { return Vec::new() };
    let charts = to_install(bundle, context.config).into_iter();
    charts
        .filter(|(_, overlays)| overlays.is_ok())
        .filter_map(|(chart, _)| Some(renderer.render(&chart, false).ok()?.rendered))
        .collect()
}

/// What the cluster of a target can do.
#[must_use]
pub fn capabilities(target: &HelmTarget, context: &Context<'_>) -> Capabilities {
    let cluster = target.cluster(context.config.targets.kubernetes.as_ref());
    Capabilities::of(&crate::cluster::Kubectl::of(&cluster, context.env))
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

/// What tells one release from another with the same name: the chart, its values and the images in them.
#[must_use]
pub fn fingerprint(chart: &ToInstall<'_>, rewrites: &[(String, String)]) -> Digest {
    let values: Vec<Digest> = chart.values.iter().map(|file| file.content.digest).collect();
    let parts = (chart.chart.archive.digest, values, rewrites);
    Digest::of(&serde_json::to_vec(&parts).unwrap_or_default())
}
