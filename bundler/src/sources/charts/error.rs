//! Why a chart cannot be locked.

use std::io;
use std::path::{Path, PathBuf};

use edge::yaml::YamlError;
use edge::{Classified, Exit};
use manifests::canonical::CanonicalError;
use manifests::oci::OciError;
use manifests::text::TextError;
use registry::RegistryError;

use super::super::fetch::FetchError;
use super::super::files;
use super::super::images::{ImageError, companions::CompanionsError};
use super::super::logins::PasswordError;
use super::super::wheels::{Class, index_url::IndexUrlError};
use super::index::IndexError;
use super::provenance::ProvenanceError;
use crate::registries::RegistriesError;
use discovery::helm::HelmError;
use manifests::range::RangeError;

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
    /// What a server gave is not a chart.
    #[error("{what} is not a Helm chart: {reason}")]
    Damaged {
        /// What was fetched.
        what: String,
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
    /// An entry of `charts:` that contradicts itself.
    #[error("a chart {0}")]
    Place(String),
    /// The address of a repository.
    #[error("a chart's repository")]
    Address(#[from] IndexUrlError),
    /// An address that would be asked without encryption.
    #[error("{0} is not encrypted, and `registries` does not say that its host is `insecure`")]
    Unencrypted(String),
    /// The file of a password.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// A password belongs to a user.
    #[error("`passwordFile` needs a `repo` with a user and no password, such as https://USER@…")]
    NoUser,
    /// A file of a server.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A repository's index.
    #[error("{address} is not the index of a chart repository")]
    Index {
        /// Where it was found.
        address: String,
        /// What is wrong.
        source: IndexError,
    },
    /// The repository has no chart of that name.
    #[error("{repository} has no chart `{chart}`; {}", nearest(near))]
    NoSuchChart {
        /// Which repository.
        repository: String,
        /// The chart.
        chart: String,
        /// Those that are called nearly so.
        near: Vec<String>,
    },
    /// The chart has no such version.
    #[error("{chart} has no version {wanted}; {}", nearest(near))]
    NoSuchVersion {
        /// The chart and where it was looked for.
        chart: String,
        /// What was asked for.
        wanted: String,
        /// Those around it.
        near: Vec<String>,
    },
    /// Another chart than the one that was asked for.
    #[error("{what} holds {found}, and {asked} was asked for")]
    Other {
        /// What was fetched.
        what: String,
        /// What it is.
        found: String,
        /// What it should be.
        asked: String,
    },
    /// The registry.
    #[error("chart {chart}")]
    Registry {
        /// The chart.
        chart: String,
        /// What happened.
        source: RegistryError,
    },
    /// How the registry is reached.
    #[error("chart {chart}")]
    Registries {
        /// The chart.
        chart: String,
        /// What is wrong.
        source: RegistriesError,
    },
    /// A manifest that we do not carry.
    #[error("the manifest of chart {chart}")]
    Manifest {
        /// The chart.
        chart: String,
        /// What is wrong.
        source: OciError,
    },
    /// What travels beside it.
    #[error("chart {chart}")]
    Companions {
        /// The chart.
        chart: String,
        /// What is wrong.
        source: CompanionsError,
    },
    /// The rest of a chart's artifact.
    #[error(transparent)]
    Artifact(ImageError),
    /// A dependency that is not vendored.
    #[error("chart {chart} depends on {}, which {} not in its charts/ directory", quoted(dependencies), if dependencies.len() == 1 { "is" } else { "are" })]
    Dependency {
        /// Which chart.
        chart: String,
        /// Which dependencies.
        dependencies: Vec<String>,
    },
    /// A dependency is vendored in a version that `Chart.yaml` does not want.
    #[error(
        "chart {chart} has {dependency} {found} in its charts/ directory, and its Chart.yaml asks for {wanted}"
    )]
    Stale {
        /// Which chart.
        chart: String,
        /// Which dependency.
        dependency: String,
        /// What is there.
        found: String,
        /// What is wanted.
        wanted: String,
    },
    /// `Chart.lock` is for another `Chart.yaml`.
    #[error("the Chart.lock of chart {chart} does not fit its Chart.yaml: {reason}")]
    Lock {
        /// Which chart.
        chart: String,
        /// What does not fit.
        reason: String,
    },
    /// A repository by a name that only this machine's Helm knows.
    #[error("{dependency} is in the repository `{alias}`, a name that only this machine's Helm knows")]
    Alias {
        /// Which dependency.
        dependency: String,
        /// As written, made printable.
        alias: String,
    },
    /// A repository that cannot be asked.
    #[error("{dependency} is in `{repository}`, which is neither https://, oci:// nor file://")]
    Repository {
        /// Which dependency.
        dependency: String,
        /// As written, made printable.
        repository: String,
    },
    /// An address with a query: it may be a key to the file, and it would be written into the lock.
    #[error(
        "the index of {repository} gives {chart} by an address with a query, which would be written into the lock"
    )]
    Query {
        /// The repository, without a login.
        repository: String,
        /// Which chart.
        chart: String,
    },
    /// A password where it would travel along.
    #[error("{dependency} has a login in the address of its repository, and Chart.yaml travels")]
    Secret {
        /// Which dependency.
        dependency: String,
    },
    /// The version of a dependency.
    #[error("{dependency}")]
    Range {
        /// Which dependency.
        dependency: String,
        /// What is wrong.
        source: RangeError,
    },
    /// A dependency could not be taken.
    #[error("dependency `{dependency}` of chart {chart}")]
    Need {
        /// Which chart.
        chart: String,
        /// Which dependency.
        dependency: String,
        /// What happened.
        source: Box<ChartError>,
    },
    /// A provenance file.
    #[error("the provenance file {what}")]
    Provenance {
        /// Which.
        what: String,
        /// What is wrong.
        source: ProvenanceError,
    },
    /// There is no provenance, and somebody must have signed.
    #[error("chart {chart} has no provenance file, and a key of {} must have signed it", keyring.display())]
    Unsigned {
        /// Which chart.
        chart: String,
        /// The keyring's file.
        keyring: PathBuf,
    },
    /// The provenance is not signed by a key of the keyring.
    #[error("the provenance of chart {chart} does not hold with the keys of {}: {words}", keyring.display())]
    Signature {
        /// Which chart.
        chart: String,
        /// The keyring's file.
        keyring: PathBuf,
        /// Helm's words.
        words: String,
    },
    /// Helm, which checks provenance.
    #[error("the chart's provenance cannot be checked")]
    Helm(#[source] HelmError),
    /// There is no room for temporary files.
    #[error("cannot write to the directory for temporary files")]
    Scratch(#[source] io::Error),
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

fn nearest(near: &[String]) -> String {
    if near.is_empty() { "it has none at all".to_string() } else { format!("it has {}", near.join(", ")) }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

impl Classified for ChartError {
    fn exit(&self) -> Exit {
        match self {
            Self::Damaged { .. }
            | Self::Index { .. }
            | Self::Other { .. }
            | Self::Manifest { .. }
            | Self::Provenance { .. } => Exit::Damaged,
            Self::Registry { source, .. } if source.is_damage() => Exit::Damaged,
            Self::Unsigned { .. } | Self::Signature { .. } => Exit::Refused,
            Self::NotAChart { .. }
            | Self::Yaml(_)
            | Self::Field { .. }
            | Self::Place(_)
            | Self::Address(_)
            | Self::Unencrypted(_)
            | Self::NoUser
            | Self::Stale { .. }
            | Self::Lock { .. }
            | Self::Alias { .. }
            | Self::Repository { .. }
            | Self::Secret { .. }
            | Self::Query { .. }
            | Self::Range { .. } => Exit::Usage,
            Self::Password(error) => error.exit(),
            Self::Fetch(error) => match error.class() {
                Class::Spec => Exit::Usage,
                Class::Damaged => Exit::Damaged,
                Class::Unreachable => Exit::Unreachable,
            },
            Self::Registries { source, .. } => source.exit(),
            Self::Companions { source, .. } => source.exit(),
            Self::Artifact(error) => error.exit(),
            Self::Need { source, .. } => source.exit(),
            Self::Values(error) => error.exit(),
            Self::Document(_) => Exit::Unexpected,
            Self::Read { .. }
            | Self::NoSuchChart { .. }
            | Self::NoSuchVersion { .. }
            | Self::Registry { .. }
            | Self::Dependency { .. }
            | Self::Helm(_)
            | Self::Scratch(_)
            | Self::Cache(_) => Exit::Unreachable,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Dependency { .. } | Self::Stale { .. } | Self::Lock { .. } => {
                "run `helm dependency update` on the chart, then lock again"
            }
            Self::Alias { .. } => "write the repository's address into Chart.yaml",
            Self::Query { .. } => {
                "such addresses are often signed, and end: fetch the archive and name it as `source`"
            }
            Self::Secret { .. } => "take it out of Chart.yaml and write it into ~/.netrc",
            Self::Registry { source, .. } if source.is_damage() => {
                "do not use this chart: the registry gives other bytes than it names"
            }
            Self::Registry { source, .. } if source.is_login() => {
                "log in with `docker login` or `podman login`, or name a file of logins in REGISTRY_AUTH_FILE"
            }
            Self::Registry { .. } => "check that the registry is running and has the chart",
            Self::Unsigned { .. } | Self::Signature { .. } => {
                "ask the publisher of the chart for its key and its provenance file"
            }
            Self::Helm(_) => "install helm, and put it on PATH or its path into AIRLOCK_HELM",
            Self::Password(error) => return error.hint(),
            Self::Fetch(error) => return error.hint(),
            Self::Need { source, .. } => return source.hint(),
            _ => return None,
        };
        Some(text.to_string())
    }
}

impl ChartError {
    /// The same of what a server gave: it is damaged, and not a mistake of whoever wrote the spec.
    pub(super) fn of_a_server(self) -> Self {
        match self {
            Self::NotAChart { path, reason } => Self::Damaged { what: path.display().to_string(), reason },
            other => other,
        }
    }
}

pub(super) fn not_a_chart(path: &Path, reason: String) -> ChartError {
    ChartError::NotAChart { path: path.to_path_buf(), reason }
}
