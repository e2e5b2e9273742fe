//! One chart: the very archive that travels is rendered in each profile for each version of Kubernetes, and
//! everything in it that can name an image is looked through.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use edge::yaml::YamlError;
use edge::{Classified, Env, Exit};
use layout::hashing::HashingWriter;
use manifests::Digest;
use manifests::bundle::Content;
use manifests::inventory::Chart;
use manifests::text::{BundleVersion, Name};

use super::annotations;
use super::archive::{self, ChartFile, FileKind};
use crate::lock::LockedBlob;
use crate::sources::World;
use crate::spec::ChartSpec;
use discovery::helm::{Helm, HelmError, Question};
use discovery::hit::{Hit, Hits, Render, TooMany, Wanted};
use discovery::node::{self, Node};
use discovery::walk;

/// Bounds a values file of a profile.
const VALUES_BYTES_MAX: u64 = 5 * 1024 * 1024;
/// The name of Helm's own for a release without one.
const RELEASE: &str = "release-name";

/// Why a chart cannot be looked through.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// It does not render.
    #[error("chart {chart} cannot be rendered{how}")]
    Render {
        /// Which chart.
        chart: String,
        /// In which profile, for which Kubernetes.
        how: String,
        /// Why not.
        source: HelmError,
    },
    /// There is nothing to render it with.
    #[error("chart {chart} cannot be looked through")]
    NoHelm {
        /// Which chart.
        chart: String,
        /// Why not.
        source: HelmError,
    },
    /// What it renders to is not YAML, or a file in it is not.
    #[error("chart {chart}{how} cannot be looked through")]
    Document {
        /// Which chart.
        chart: String,
        /// In which profile, for which Kubernetes.
        how: String,
        /// Where and why not.
        source: YamlError,
    },
    /// An image is another one each time.
    #[error("chart {chart}{how} needs {image} in one render and not in the next")]
    Varies {
        /// Which chart.
        chart: String,
        /// In which profile, for which Kubernetes.
        how: String,
        /// Which image.
        image: Wanted,
    },
    /// It names too many images.
    #[error("chart {chart}")]
    TooMany {
        /// Which chart.
        chart: String,
        /// How many.
        source: TooMany,
    },
    /// Its archive cannot be read.
    #[error("chart {chart}: cannot read its archive")]
    Archive {
        /// Which chart.
        chart: String,
        /// Why not.
        source: io::Error,
    },
    /// A values file cannot be read.
    #[error("chart {chart}: cannot read {}", path.display())]
    Values {
        /// Which chart.
        chart: String,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The temporary directory cannot be written to.
    #[error("cannot write to a temporary directory")]
    Scratch(#[source] io::Error),
}

impl Classified for RenderError {
    fn exit(&self) -> Exit {
        match self {
            Self::Render { source, .. } | Self::NoHelm { source, .. } => source.exit(),
            Self::Document { .. } | Self::Varies { .. } | Self::TooMany { .. } => Exit::Usage,
            Self::Archive { source, .. } if source.kind() == io::ErrorKind::InvalidData => Exit::Usage,
            Self::Archive { .. } | Self::Values { .. } | Self::Scratch(_) => Exit::Unreachable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Render { source, .. } | Self::NoHelm { source, .. } => source.hint(),
            _ => None,
        }
    }
}

/// Helm, looked for once a chart needs it.
pub struct OnceHelm<'a> {
    env: &'a Env,
    found: OnceCell<Helm<'a>>,
}

impl<'a> OnceHelm<'a> {
    /// In the world of a run.
    #[must_use]
    pub fn new(env: &'a Env) -> Self {
        Self { env, found: OnceCell::new() }
    }

    /// Whether a chart had something to render.
    #[must_use]
    pub fn was_needed(&self) -> bool {
        self.found.get().is_some()
    }

    fn get(&self) -> Result<&Helm<'a>, HelmError> {
        if let Some(found) = self.found.get() {
            return Ok(found);
        }
        let found = Helm::find(self.env)?;
        Ok(self.found.get_or_init(|| found))
    }
}

/// A chart, how it is asked for, and where its bytes are.
pub struct Subject<'a> {
    /// As it will stand in the inventory.
    pub chart: &'a Chart,
    /// As the spec has it.
    pub spec: &'a ChartSpec,
    /// Where each blob is.
    pub blobs: &'a BTreeMap<Digest, LockedBlob>,
}

/// Finds the images of a chart.
///
/// # Errors
/// See [`RenderError`].
pub fn look(subject: &Subject<'_>, helm: &OnceHelm<'_>, world: &World<'_>) -> Result<Vec<Hit>, RenderError> {
    let chart = format!("{} {}", subject.chart.name, subject.chart.version);
    let scratch = tempfile::tempdir().map_err(RenderError::Scratch)?;
    let stage = Stage { subject, world, chart: &chart, directory: scratch.path() };
    let mut hits = Hits::default();
    let archive = stage.archive()?;
    let contents = archive::read(archive).map_err(|source| stage.broken(source))?;
    for file in &contents.files {
        let found = annotations::find(file, &mut hits);
        found.map_err(|source| stage.unreadable(String::new(), source))?;
    }
    // A library has nothing that Helm would install.
    if contents.renders && !is_library(&contents.files) {
        let helm = helm.get().map_err(|source| RenderError::NoHelm { chart: chart.clone(), source })?;
        stage.render(helm, contents.varies, &mut hits)?;
    }
    hits.finish().map_err(|source| RenderError::TooMany { chart, source })
}

fn is_library(files: &[ChartFile]) -> bool {
    let own = files.iter().find(|file| file.own && file.kind == FileKind::Chart);
    let document = own.and_then(|file| node::parse(&file.path, &file.text).ok());
    document.as_ref().and_then(|document| document.get("type")).and_then(Node::text) == Some("library")
}

struct Stage<'a> {
    subject: &'a Subject<'a>,
    world: &'a World<'a>,
    chart: &'a str,
    directory: &'a Path,
}

/// The archive's name in the scratch directory.
const ARCHIVE: &str = "chart.tgz";

impl Stage<'_> {
    fn broken(&self, source: io::Error) -> RenderError {
        let source = match source.kind() {
            // What a reader of archives says of one that is none.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput | io::ErrorKind::Other => {
                io::Error::new(io::ErrorKind::InvalidData, source)
            }
            _ => source,
        };
        RenderError::Archive { chart: self.chart.to_string(), source }
    }

    fn unreadable(&self, how: String, source: YamlError) -> RenderError {
        RenderError::Document { chart: self.chart.to_string(), how, source }
    }

    /// The bytes that travel, where Helm can read them.
    fn archive(&self) -> Result<File, RenderError> {
        let failed = |source| RenderError::Archive { chart: self.chart.to_string(), source };
        self.copy(self.subject.chart.archive, ARCHIVE).map_err(failed)?;
        File::open(self.directory.join(ARCHIVE)).map_err(failed)
    }

    /// Copies a blob of the chart, and holds it to its digest.
    fn copy(&self, content: Content, name: &str) -> io::Result<()> {
        let blob = self.subject.blobs.get(&content.digest);
        let blob = blob.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it is not in the lock"))?;
        let mut source = crate::export::open(content, blob, self.world)?;
        let file = BufWriter::new(File::create(self.directory.join(name))?);
        let mut out = HashingWriter::new(file);
        io::copy(&mut source, &mut out)?;
        out.flush()?;
        if out.finish().0 == content {
            Ok(())
        } else {
            Err(io::Error::other("it has changed since its digest was taken"))
        }
    }

    fn render(&self, helm: &Helm<'_>, varies: bool, hits: &mut Hits) -> Result<(), RenderError> {
        let spec = self.subject.spec;
        let base = self.values()?;
        let mut profiles: Vec<(Option<&Name>, Vec<String>)> = Vec::new();
        for (position, (name, files)) in spec.profiles.iter().enumerate() {
            let mut values = base.clone();
            values.extend(self.profile(position, files)?);
            profiles.push((Some(name), values));
        }
        if profiles.is_empty() {
            profiles.push((None, base));
        }
        let mut versions: Vec<Option<&BundleVersion>> = spec.kubernetes.iter().map(Some).collect();
        if versions.is_empty() {
            versions.push(None);
        }
        for (profile, values) in &profiles {
            for version in &versions {
                let render = Render { profile: profile.cloned(), kubernetes: version.cloned() };
                let one = self.once(&render, values, helm)?;
                // What differs between two renders would differ between two locks.
                let other = if varies { self.once(&render, values, helm)? } else { one.clone() };
                hits.take_steady(one, &other).map_err(|image| RenderError::Varies {
                    chart: self.chart.to_string(),
                    how: described(*profile, *version),
                    image,
                })?;
            }
        }
        Ok(())
    }

    fn once(&self, render: &Render, values: &[String], helm: &Helm<'_>) -> Result<Hits, RenderError> {
        let spec = self.subject.spec;
        let (profile, version) = (render.profile.as_ref(), render.kubernetes.as_ref());
        let how = described(profile, version);
        (self.world.note)(&format!("rendering chart {}{how}", self.chart));
        let name = spec.release.as_ref().map_or(self.subject.chart.name.as_str(), Name::as_str);
        let question = Question {
            chart: ARCHIVE,
            release: if spec.release.is_some() || release_name(name) { name } else { RELEASE },
            namespace: spec.namespace.as_ref().map(Name::as_str),
            values: values.to_vec(),
            kubernetes: version,
            api_versions: &spec.api_versions,
            upgrade: false,
        };
        let text = helm.template(&question, self.directory).map_err(|source| RenderError::Render {
            chart: self.chart.to_string(),
            how: how.clone(),
            source,
        })?;
        let mut hits = Hits::default();
        hits.rendered(render.clone());
        walk::stream("rendered", &text, &mut hits).map_err(|source| self.unreadable(how, source))?;
        Ok(hits)
    }

    /// The values that travel with the chart.
    fn values(&self) -> Result<Vec<String>, RenderError> {
        let mut names = Vec::new();
        let files = self.subject.chart.values.iter().flat_map(|values| &values.files);
        for (position, file) in files.enumerate() {
            let name = format!("values-{position:03}.yaml");
            let content = Content { digest: file.digest, size: file.size };
            self.copy(content, &name).map_err(|source| RenderError::Values {
                chart: self.chart.to_string(),
                path: PathBuf::from(file.path.as_str()),
                source,
            })?;
            names.push(name);
        }
        Ok(names)
    }

    /// The values of a profile, which stay here.
    fn profile(&self, profile: usize, files: &[PathBuf]) -> Result<Vec<String>, RenderError> {
        let mut names = Vec::new();
        for (position, path) in files.iter().enumerate() {
            let name = format!("profile-{profile:03}-{position:03}.yaml");
            let read = layout::durable::read_bounded(&self.world.path(path), VALUES_BYTES_MAX);
            read.and_then(|bytes| std::fs::write(self.directory.join(&name), bytes)).map_err(|source| {
                RenderError::Values { chart: self.chart.to_string(), path: path.clone(), source }
            })?;
            names.push(name);
        }
        Ok(names)
    }
}

/// ` (profile large, Kubernetes 1.31)`
fn described(profile: Option<&Name>, version: Option<&BundleVersion>) -> String {
    let profile = profile.map(|name| format!("profile {name}"));
    let version = version.map(|version| format!("Kubernetes {version}"));
    let parts: Vec<String> = [profile, version].into_iter().flatten().collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

/// Whether Helm takes a chart's name for a release's.
fn release_name(name: &str) -> bool {
    name.len() <= 53
        && name.split('.').all(|part| {
            !part.is_empty() && !part.contains('_') && !part.starts_with('-') && !part.ends_with('-')
        })
}
