//! Helm charts from a directory or a `.tgz`, as standard Helm OCI artifacts: the chart's metadata as the
//! configuration, the archive as the one layer.
//!
//! An archive travels as it is. A directory is packed here, the same bytes each time: sorted names, no
//! times or owners, and what `.helmignore` says left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use edge::yaml::YamlError;
use edge::{Classified, Exit};
use flate2::GzBuilder;
use flate2::read::MultiGzDecoder;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use manifests::bundle::Content;
use manifests::canonical::CanonicalError;
use manifests::inventory::{Chart, Component, FileMode, SetFile, Values};
use manifests::oci::{
    ANNOTATION_TITLE, ARTIFACT_VALUES, Descriptor, MEDIA_FILE, MEDIA_HELM_CHART, MEDIA_HELM_CONFIG,
};
use manifests::text::{BundleVersion, Marking, Name, RelativePath, TextError, printable};
use serde::Deserialize;

use super::{Resolved, World, author_artifact, author_manifest, files, inline};
use crate::lock::{LockedBlob, Origin};
use crate::spec::ChartSpec;

/// Helm itself reads no larger chart by default.
const CHART_BYTES_MAX: u64 = 100 * 1024 * 1024;
/// `Chart.yaml` and `.helmignore`.
const SMALL_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The level of `helm package`.
const LEVEL: u32 = 6;

/// Why a chart cannot be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChartError {
    /// Not there, or not readable.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Not a chart.
    #[error("{} is not a Helm chart: {reason}", path.display())]
    NotAChart {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// `Chart.yaml` does not parse.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// A field of `Chart.yaml` that cannot go into a bundle.
    #[error("{}: Chart.yaml", path.display())]
    Field {
        /// Which chart.
        path: PathBuf,
        /// What is wrong.
        source: TextError,
    },
    /// A dependency that is not vendored.
    #[error("chart {chart} depends on `{dependency}`, which is not in its charts/ directory")]
    Dependency {
        /// Which chart.
        chart: Name,
        /// Which dependency.
        dependency: String,
    },
    /// The design has it and this version does not.
    #[error("{0} is not there yet in version {version}", version = env!("CARGO_PKG_VERSION"))]
    NotYet(String),
    /// A values file.
    #[error(transparent)]
    Values(#[from] files::FilesError),
    /// The cache.
    #[error("the cache cannot be written to")]
    Cache(#[source] io::Error),
    /// A document of ours that is not one.
    #[error(transparent)]
    Document(#[from] CanonicalError),
}

impl Classified for ChartError {
    fn exit(&self) -> Exit {
        match self {
            Self::Read { .. } | Self::Cache(_) | Self::Dependency { .. } => Exit::Unreachable,
            Self::NotAChart { .. } | Self::Yaml(_) | Self::Field { .. } | Self::NotYet(_) => Exit::Usage,
            Self::Values(error) => error.exit(),
            Self::Document(_) => Exit::Unexpected,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Dependency { .. } => {
                Some("run `helm dependency update` on the chart, then lock again".to_string())
            }
            _ => None,
        }
    }
}

/// What we need of `Chart.yaml`. Typed, because `version: 1.10` without a type is 1.1.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChartYaml {
    name: String,
    version: String,
    #[serde(default)]
    app_version: Option<String>,
    #[serde(default)]
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
}

/// Resolves a chart to digests.
///
/// # Errors
/// See [`ChartError`].
pub fn resolve(spec: &ChartSpec, world: &World<'_>) -> Result<Resolved, ChartError> {
    let shown = spec.source.clone().unwrap_or_default();
    if shown.to_string_lossy().starts_with("oci://") {
        return Err(ChartError::NotYet("a chart from oci://".to_string()));
    }
    let path = world.path(&shown);
    let read = |source| ChartError::Read { path: shown.clone(), source };
    let is_directory = std::fs::metadata(&path).map_err(read)?.is_dir();
    let (archive, origin) = if is_directory {
        (pack(&path, &shown, world)?, Origin::PackedChart(shown.clone()))
    } else {
        let content = layout::hashing::hash(&mut File::open(&path).map_err(read)?).map_err(read)?;
        (content, Origin::File(shown.clone()))
    };
    let file = if is_directory { world.cache.open(&archive).map_err(ChartError::Cache)? } else { None };
    let file = file.map_or_else(|| File::open(&path), Ok).map_err(read)?;
    let parts = Parts::read(file, &shown)?;
    let yaml: ChartYaml = edge::yaml::parse(&format!("{}/Chart.yaml", shown.display()), &parts.chart_yaml)?;
    let field = |source| ChartError::Field { path: shown.clone(), source };
    let name: Name = yaml.name.parse().map_err(field)?;
    let version: BundleVersion = yaml.version.parse().map_err(field)?;
    parts.check_dependencies(&name, &yaml)?;
    let metadata = metadata(&shown, &parts.chart_yaml, &yaml)?;

    let mut blobs = BTreeMap::from([(archive.digest, LockedBlob { size: archive.size, from: origin })]);
    inline(&mut blobs, &metadata);
    let layer = Descriptor::new(MEDIA_HELM_CHART, archive.digest, archive.size);
    let manifest =
        author_manifest(None, Descriptor::of(MEDIA_HELM_CONFIG, &metadata), vec![layer], &mut blobs)?;
    let values = values(&spec.values, world, &mut blobs)?;
    let source: Marking = shown.display().to_string().parse().map_err(field)?;
    let component = Component::Chart(Chart {
        name,
        version,
        source,
        manifest,
        archive,
        metadata: Content::of(&metadata),
        release: spec.release.clone(),
        namespace: spec.namespace.clone(),
        order: spec.order,
        values,
        images: Vec::new(),
    });
    Ok(Resolved { component, blobs })
}

/// `Chart.yaml` as JSON, the configuration of Helm's OCI artifact.
fn metadata(shown: &Path, text: &str, typed: &ChartYaml) -> Result<Vec<u8>, ChartError> {
    let mut value: serde_json::Value = edge::yaml::parse(&format!("{}/Chart.yaml", shown.display()), text)?;
    if let Some(map) = value.as_object_mut() {
        map.insert("version".to_string(), typed.version.clone().into());
        if let Some(app) = &typed.app_version {
            map.insert("appVersion".to_string(), app.clone().into());
        }
    }
    serde_json::to_vec(&value).map_err(|error| not_a_chart(shown, format!("Chart.yaml: {error}")))
}

fn not_a_chart(path: &Path, reason: String) -> ChartError {
    ChartError::NotAChart { path: path.to_path_buf(), reason }
}

/// What is looked at inside a chart's archive.
struct Parts {
    chart_yaml: String,
    vendored: Vec<String>,
}

impl Parts {
    /// Reads the archive to its very end: what is damaged behind the last entry is damaged too.
    fn read(file: File, shown: &Path) -> Result<Self, ChartError> {
        let limit = CHART_BYTES_MAX.saturating_add(1);
        let mut archive = tar::Archive::new(MultiGzDecoder::new(file).take(limit));
        let found = Self::entries(&mut archive, shown);
        let mut rest = archive.into_inner();
        let drained = io::copy(&mut rest, &mut io::sink());
        if rest.limit() == 0 {
            return Err(not_a_chart(shown, format!("it unpacks to more than {CHART_BYTES_MAX} bytes")));
        }
        let parts = found?;
        drained.map_err(|error| not_a_chart(shown, error.to_string()))?;
        Ok(parts)
    }

    fn entries<R: Read>(archive: &mut tar::Archive<R>, shown: &Path) -> Result<Self, ChartError> {
        let broken = |error: io::Error| not_a_chart(shown, error.to_string());
        let (mut chart_yaml, mut vendored, mut names) = (None, Vec::new(), BTreeSet::new());
        for entry in archive.entries().map_err(broken)? {
            let entry = entry.map_err(broken)?;
            if !(entry.header().entry_type().is_file() || entry.header().entry_type().is_dir()) {
                return Err(not_a_chart(shown, "it holds a link or a device".to_string()));
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if !stays_inside(&name) {
                let shown_name = printable(&name);
                return Err(not_a_chart(shown, format!("`{shown_name}` in it leads out of the chart")));
            }
            // Which of the two Helm takes depends on the file.
            if entry.header().entry_type().is_file() && !names.insert(name.clone()) {
                return Err(not_a_chart(shown, format!("it holds `{}` twice", printable(&name))));
            }
            let Some((_, inner)) = name.split_once('/') else { continue };
            if inner == "Chart.yaml" {
                // Helm takes the first part of a path for the chart's name, whatever it is.
                if chart_yaml.is_some() {
                    return Err(not_a_chart(shown, "it holds Chart.yaml twice".to_string()));
                }
                if entry.size() > SMALL_FILE_BYTES_MAX {
                    let reason = format!("its Chart.yaml is longer than {SMALL_FILE_BYTES_MAX} bytes");
                    return Err(not_a_chart(shown, reason));
                }
                let mut text = String::new();
                entry.take(SMALL_FILE_BYTES_MAX).read_to_string(&mut text).map_err(broken)?;
                chart_yaml = Some(text);
            } else if let Some(below) = inner.strip_prefix("charts/") {
                vendored.extend(below.split('/').next().map(ToString::to_string));
            }
        }
        let chart_yaml = chart_yaml.ok_or_else(|| not_a_chart(shown, "it has no Chart.yaml".to_string()))?;
        Ok(Self { chart_yaml, vendored })
    }

    /// A vendored dependency is a directory of its name, or an archive `NAME-VERSION.tgz`.
    fn check_dependencies(&self, chart: &Name, yaml: &ChartYaml) -> Result<(), ChartError> {
        let there = |name: &str| {
            self.vendored.iter().any(|vendored| {
                vendored == name
                    || vendored
                        .strip_prefix(name)
                        .is_some_and(|rest| rest.starts_with('-') && rest.ends_with(".tgz"))
            })
        };
        match yaml.dependencies.iter().find(|dependency| !there(&dependency.name)) {
            None => Ok(()),
            Some(missing) => {
                Err(ChartError::Dependency { chart: chart.clone(), dependency: printable(&missing.name) })
            }
        }
    }
}

/// Whether every system takes the name for the same place below the directory of unpacking.
fn stays_inside(name: &str) -> bool {
    !name.starts_with('/') && !name.contains(['\\', '\0']) && name.split('/').all(|part| part != "..")
}

/// Packs a chart's directory into the cache.
///
/// # Errors
/// See [`ChartError`].
pub fn pack(directory: &Path, shown: &Path, world: &World<'_>) -> Result<Content, ChartError> {
    let read = |path: &Path| {
        let path = path.to_path_buf();
        move |source| ChartError::Read { path, source }
    };
    let yaml_path = directory.join("Chart.yaml");
    let text = layout::durable::read_bounded(&yaml_path, SMALL_FILE_BYTES_MAX);
    let text = text.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => not_a_chart(shown, "it has no Chart.yaml".to_string()),
        _ => ChartError::Read { path: shown.join("Chart.yaml"), source: error },
    })?;
    let yaml: ChartYaml =
        edge::yaml::parse(&format!("{}/Chart.yaml", shown.display()), &String::from_utf8_lossy(&text))?;
    let name: Name =
        yaml.name.parse().map_err(|source| ChartError::Field { path: shown.to_path_buf(), source })?;
    let ignored = helmignore(directory).map_err(read(&shown.join(".helmignore")))?;
    let mut names = Vec::new();
    collect(directory, Path::new(""), &ignored, &mut names).map_err(read(shown))?;
    // Helm looks at the first entry to tell a chart, and `helm package` puts Chart.yaml there.
    names.sort_by_key(|name| (name.as_path() != Path::new("Chart.yaml"), name.clone()));
    let content = world.cache.add(&mut |out| write_archive(directory, name.as_str(), &names, out));
    content.map_err(ChartError::Cache)
}

fn write_archive(directory: &Path, chart: &str, names: &[PathBuf], out: &mut dyn Write) -> io::Result<()> {
    let encoder = GzBuilder::new().mtime(0).operating_system(255).write(out, flate2::Compression::new(LEVEL));
    let mut archive = tar::Builder::new(encoder);
    for name in names {
        let file = File::open(directory.join(name))?;
        let mut header = tar::Header::new_ustar();
        header.set_size(file.metadata()?.len());
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        archive.append_data(&mut header, Path::new(chart).join(name), file)?;
    }
    archive.into_inner()?.finish()?.flush()
}

fn helmignore(directory: &Path) -> io::Result<Gitignore> {
    let mut builder = GitignoreBuilder::new(directory);
    // Helm's own default rule.
    let added = builder.add_line(None, "templates/.?*").map(|_| ());
    let path = directory.join(".helmignore");
    let added =
        added.and_then(|()| if path.exists() { builder.add(&path).map_or(Ok(()), Err) } else { Ok(()) });
    added.and_then(|()| builder.build()).map_err(io::Error::other)
}

/// The files below a directory, by their path below it.
fn collect(root: &Path, below: &Path, ignored: &Gitignore, names: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(root.join(below))? {
        let entry = entry?;
        let name = below.join(entry.file_name());
        let kind = entry.file_type()?;
        if ignored.matched(&name, kind.is_dir()).is_ignore() {
            continue;
        }
        if kind.is_dir() {
            collect(root, &name, ignored, names)?;
        } else if kind.is_file() {
            names.push(name);
        } else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} is a link or a device", name.display()),
            ));
        }
    }
    Ok(())
}

/// Values files, as an artifact beside the chart's.
fn values(
    paths: &[PathBuf],
    world: &World<'_>,
    blobs: &mut BTreeMap<manifests::Digest, LockedBlob>,
) -> Result<Option<Values>, ChartError> {
    if paths.is_empty() {
        return Ok(None);
    }
    let mut set = Vec::new();
    for (position, shown) in paths.iter().enumerate() {
        let content = files::hash(world, shown)?;
        // Two files may have one name in two directories; the number keeps them apart and in order.
        let name = shown.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let path: RelativePath = format!("{position:02}-{name}")
            .parse()
            .map_err(|source| ChartError::Field { path: shown.clone(), source })?;
        let mode = FileMode::new(0o644).unwrap_or_else(|| unreachable!("0644 is within 0777"));
        blobs.insert(content.digest, LockedBlob { size: content.size, from: Origin::File(shown.clone()) });
        set.push(SetFile { path, digest: content.digest, size: content.size, mode });
    }
    let layer = |file: &SetFile| {
        Descriptor::new(MEDIA_FILE, file.digest, file.size).annotated(ANNOTATION_TITLE, file.path.as_str())
    };
    let manifest = author_artifact(ARTIFACT_VALUES, set.iter().map(layer).collect(), blobs)?;
    Ok(Some(Values { files: set, manifest }))
}
