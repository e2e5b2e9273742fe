//! `site.yaml`: what a person writes about the site. Without it, or without `targets`, the embedded
//! default serves.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use edge::yaml::{self, YAML_BYTES_MAX, YamlError};
use edge::{Classified, Exit};
use manifests::text::Name;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The document.
#[derive(Debug, Clone, Default)]
pub struct SiteConfig {
    /// The site's name; a site without one gets only bundles for anybody.
    pub site: Option<Name>,
    /// Its groups.
    pub groups: BTreeSet<Name>,
    /// Where content goes beside the site's own store.
    pub targets: Targets,
    /// What a wrong clock and an expiry mean here.
    pub time: TimePolicy,
    /// How many versions are kept for a rollback. Nothing is ever removed in this version.
    pub keep: Option<u32>,
}

/// What a wrong clock and an expiry mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimePolicy {
    /// A clock more than a day before something that was signed for this site.
    #[serde(default = "enforce")]
    pub clock: Force,
    /// A bundle or a trust root that has expired.
    #[serde(default = "warn")]
    pub expiry: Force,
}

/// Whether a finding stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Force {
    /// It does.
    Enforce,
    /// It is shown and written down.
    Warn,
}

impl Force {
    /// Whether it stops.
    #[must_use]
    pub fn is_enforced(self) -> bool {
        self == Self::Enforce
    }
}

fn enforce() -> Force {
    Force::Enforce
}

fn warn() -> Force {
    Force::Warn
}

impl Default for TimePolicy {
    fn default() -> Self {
        Self { clock: enforce(), expiry: warn() }
    }
}

/// Where content goes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    /// An OCI registry.
    #[serde(default)]
    pub registry: Option<RegistryTarget>,
    /// Virtual environments.
    #[serde(default)]
    pub python: Option<PythonTarget>,
    /// A directory tree.
    #[serde(default)]
    pub files: Option<FilesTarget>,
    /// Scripts run here, as whoever runs the program.
    #[serde(default)]
    pub scripts: Option<ScriptsTarget>,
    #[serde(default)]
    docker: Option<IgnoredAny>,
    #[serde(default)]
    containerd: Option<IgnoredAny>,
    #[serde(default)]
    helm: Option<IgnoredAny>,
}

/// An OCI registry.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryTarget {
    /// `http://127.0.0.1:5000`
    pub url: String,
    /// A path before every repository.
    #[serde(default)]
    pub prefix: Option<String>,
    #[serde(default)]
    ca: Option<IgnoredAny>,
    #[serde(default)]
    auth: Option<IgnoredAny>,
}

/// Virtual environments.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PythonTarget {
    /// The interpreter that makes them.
    pub interpreter: PathBuf,
    /// Their directory.
    pub venvs: PathBuf,
}

/// A directory tree.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesTarget {
    /// What every destination lies below.
    pub root: PathBuf,
}

/// That scripts may run. There is nothing more to say about it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptsTarget {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Document {
    #[serde(rename = "apiVersion")]
    _api_version: ApiVersion,
    #[serde(rename = "kind")]
    _kind: Kind,
    site: Name,
    #[serde(default)]
    groups: BTreeSet<Name>,
    #[serde(default)]
    targets: Targets,
    #[serde(default)]
    values: Option<IgnoredAny>,
    #[serde(default)]
    windows: Option<IgnoredAny>,
    #[serde(default)]
    time: TimePolicy,
    #[serde(default)]
    keep: Option<u32>,
}

#[derive(Deserialize)]
enum ApiVersion {
    #[serde(rename = "airlock/v1")]
    V1,
}

#[derive(Deserialize)]
enum Kind {
    Site,
}

/// Why `site.yaml` cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not readable.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It does not parse.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// The design has it and this version does not.
    #[error("{}: `{key}` is not there yet in version {}", path.display(), env!("CARGO_PKG_VERSION"))]
    NotYet {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key: &'static str,
    },
    /// A path that is not absolute would depend on where the program was started.
    #[error("{}: `{key}` must be an absolute path", path.display())]
    Relative {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key: &'static str,
    },
}

impl Classified for ConfigError {
    fn exit(&self) -> Exit {
        match self {
            Self::Read { .. } => Exit::Unreachable,
            _ => Exit::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotYet { key, .. } => Some(format!("take `{key}` out of the file")),
            Self::Yaml(_) => Some("the keys are listed in docs/operator.md".to_string()),
            _ => None,
        }
    }
}

impl SiteConfig {
    /// Reads the file; the default if it is not there.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let bytes = match layout::durable::read_bounded(path, YAML_BYTES_MAX) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            bytes => bytes.map_err(|source| ConfigError::Read { path: path.to_path_buf(), source })?,
        };
        let document: Document = yaml::parse(&path.display().to_string(), &String::from_utf8_lossy(&bytes))?;
        document.refuse_what_is_not_there_yet(path)?;
        document.check_paths(path)?;
        let Document { site, groups, targets, time, keep, .. } = document;
        Ok(Self { site: Some(site), groups, targets, time, keep })
    }
}

impl Document {
    fn refuse_what_is_not_there_yet(&self, path: &Path) -> Result<(), ConfigError> {
        let registry = self.targets.registry.as_ref();
        let keys = [
            ("values", self.values.is_some()),
            ("windows", self.windows.is_some()),
            ("targets.docker", self.targets.docker.is_some()),
            ("targets.containerd", self.targets.containerd.is_some()),
            ("targets.helm", self.targets.helm.is_some()),
            ("targets.registry.ca", registry.is_some_and(|registry| registry.ca.is_some())),
            ("targets.registry.auth", registry.is_some_and(|registry| registry.auth.is_some())),
        ];
        match keys.into_iter().find(|(_, there)| *there) {
            Some((key, _)) => Err(ConfigError::NotYet { path: path.to_path_buf(), key }),
            None => Ok(()),
        }
    }

    fn check_paths(&self, path: &Path) -> Result<(), ConfigError> {
        let python = self.targets.python.as_ref();
        let paths = [
            ("targets.python.interpreter", python.map(|python| &python.interpreter)),
            ("targets.python.venvs", python.map(|python| &python.venvs)),
            ("targets.files.root", self.targets.files.as_ref().map(|files| &files.root)),
        ];
        match paths.into_iter().find(|(_, given)| given.is_some_and(|given| !given.is_absolute())) {
            Some((key, _)) => Err(ConfigError::Relative { path: path.to_path_buf(), key }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: airlock/v1\nkind: Site\nsite: s\n";

    fn load(text: &str) -> Result<SiteConfig, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("site.yaml");
        std::fs::write(&path, text).unwrap();
        SiteConfig::load(&path)
    }

    #[test]
    fn a_site_without_a_file_is_nobody_in_particular() {
        let dir = tempfile::tempdir().unwrap();
        let config = SiteConfig::load(&dir.path().join("site.yaml")).unwrap();
        assert!(config.site.is_none() && config.targets.registry.is_none());
    }

    #[test]
    fn what_the_design_names_and_is_not_there_yet_is_refused_by_name() {
        for (text, wanted) in [
            ("values: {a: [b]}\n", "values"),
            ("windows: []\n", "windows"),
            ("targets: {docker: {}}\n", "targets.docker"),
            ("targets: {containerd: {address: x}}\n", "targets.containerd"),
            ("targets: {helm: {kubeconfig: x}}\n", "targets.helm"),
            (
                "targets: {registry: {url: \"http://127.0.0.1:5000\", auth: docker-config}}\n",
                "targets.registry.auth",
            ),
            ("targets: {registry: {url: \"http://127.0.0.1:5000\", ca: ca.pem}}\n", "targets.registry.ca"),
        ] {
            let error = load(&format!("{HEAD}{text}")).unwrap_err();
            assert!(matches!(&error, ConfigError::NotYet { key, .. } if *key == wanted), "{error}");
            assert_eq!(error.exit(), Exit::Usage);
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_its_place() {
        let error = load(&format!("{HEAD}colour: red\n")).unwrap_err().to_string();
        assert!(error.contains("site.yaml:4:1") && error.contains("colour"), "{error}");
    }

    #[test]
    fn a_relative_path_is_refused() {
        assert!(matches!(
            load(&format!("{HEAD}targets: {{files: {{root: etc}}}}\n")),
            Err(ConfigError::Relative { .. })
        ));
    }
}
