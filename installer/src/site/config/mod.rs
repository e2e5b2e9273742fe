//! `site.yaml`: what a person writes about the site. Without it, or without `targets`, the embedded
//! default serves.

mod rules;
mod serve;
mod targets;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use edge::yaml::{self, YAML_BYTES_MAX, YamlError};
use edge::{Classified, Exit};
use manifests::text::Name;
use serde::Deserialize;

pub use rules::*;
pub use serve::*;
pub use targets::*;

/// The document.
#[derive(Debug, Clone, Default)]
pub struct SiteConfig {
    /// The site's name; a site without one gets only bundles for anybody.
    pub site: Option<Name>,
    /// Its groups.
    pub groups: BTreeSet<Name>,
    /// Where content goes beside the site's own store.
    pub targets: Targets,
    /// Values files of the site for a chart, by the name of its release or else its own; applied after those
    /// that the bundle brings.
    pub values: BTreeMap<Name, Vec<PathBuf>>,
    /// What a wrong clock and an expiry mean here.
    pub time: TimePolicy,
    /// When the site may be changed; always without any.
    pub windows: Vec<Window>,
    /// What has to be named for a change.
    pub change: Option<ChangePolicy>,
    /// How the checks before a change judge.
    pub preflight: PreflightPolicy,
    /// How many versions below the present one are kept of each product for a rollback.
    pub keep: Option<u32>,
    /// How the embedded server is run.
    pub serve: ServeConfig,
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
    values: BTreeMap<Name, Vec<PathBuf>>,
    #[serde(default)]
    windows: Vec<Window>,
    #[serde(default)]
    change: Option<ChangePolicy>,
    #[serde(default)]
    preflight: PreflightPolicy,
    #[serde(default)]
    time: TimePolicy,
    #[serde(default)]
    keep: Option<u32>,
    #[serde(default)]
    serve: ServeConfig,
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
    /// Nowhere for a mirror to lead.
    #[error("{}: `mirror` and `registries` of `targets.containerd` need `targets.registry`, or a `url` of their own", path.display())]
    Mirror {
        /// Which file.
        path: PathBuf,
    },
    /// No cluster for Helm to speak to.
    #[error("{}: `targets.helm` needs a `kubeconfig`, or that of `targets.kubernetes`", path.display())]
    Kubeconfig {
        /// Which file.
        path: PathBuf,
    },
    /// Nowhere for the names of images to lead.
    #[error("{}: `targets.{target}.images: {mode}` needs {needed}", path.display())]
    Images {
        /// Which file.
        path: PathBuf,
        /// Which target.
        target: &'static str,
        /// What was asked for.
        mode: &'static str,
        /// What is missing.
        needed: &'static str,
    },
    /// A file that people copy and show is no place for a password.
    #[error("{}: there is a login in `{key}`", path.display())]
    Login {
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
            Self::Yaml(_) => Some("the keys are listed in docs/operator.md".to_string()),
            Self::Login { .. } => Some(
                "take it out; `auth: docker-config` under `targets.registry` uses that of `docker login`"
                    .to_string(),
            ),
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
        document.check_paths(path)?;
        document.check_urls(path)?;
        let mirror = document.targets.containerd.as_ref().and_then(|containerd| containerd.mirror.as_ref());
        let registries =
            document.targets.containerd.as_ref().and_then(|containerd| containerd.registries.as_ref());
        let leads_nowhere = mirror.is_some_and(|mirror| mirror.url.is_none())
            || registries.is_some_and(|registries| registries.url.is_none());
        if leads_nowhere && document.targets.registry.is_none() {
            return Err(ConfigError::Mirror { path: path.to_path_buf() });
        }
        let Document {
            site, groups, mut targets, values, time, windows, change, preflight, keep, serve, ..
        } = document;
        let beside = path.parent().unwrap_or(Path::new(""));
        let values = values
            .into_iter()
            .map(|(name, files)| (name, files.iter().map(|file| beside.join(file)).collect()))
            .collect();
        if let Some(ca) = targets.registry.as_mut().and_then(|registry| registry.ca.as_mut()) {
            *ca = beside.join(&*ca);
        }
        if let Some(kubernetes) = &mut targets.kubernetes {
            kubernetes.kubeconfig = beside.join(&kubernetes.kubeconfig);
        }
        settle_helm(&mut targets, path)?;
        let serve = serve.beside(beside);
        Ok(Self { site: Some(site), groups, targets, values, time, windows, change, preflight, keep, serve })
    }
}

/// Fills in what Helm shares with other targets.
fn settle_helm(targets: &mut Targets, path: &Path) -> Result<(), ConfigError> {
    let kubernetes = targets.kubernetes.clone();
    let (registry, mirrors) = (targets.registry.is_some(), has_mirrors(targets));
    let pull = targets.helm.as_ref().is_some_and(|helm| helm.pull.is_some());
    let rewrites = kubernetes.as_ref().is_some_and(|target| target.images == ImageReferences::Rewrite);
    if rewrites && !registry && !pull {
        let needed = "`targets.registry`, or `targets.helm.pull`";
        let path = path.to_path_buf();
        return Err(ConfigError::Images { path, target: "kubernetes", mode: "rewrite", needed });
    }
    let Some(helm) = &mut targets.helm else { return Ok(()) };
    match (&helm.kubeconfig, kubernetes) {
        (Some(own), _) => {
            helm.kubeconfig = Some(path.parent().unwrap_or(Path::new("")).join(own));
        }
        (None, Some(kubernetes)) => {
            helm.kubeconfig = Some(kubernetes.kubeconfig);
            helm.context = helm.context.take().or(kubernetes.context);
        }
        (None, None) => return Err(ConfigError::Kubeconfig { path: path.to_path_buf() }),
    }
    let lacks = |target, mode, needed| ConfigError::Images { path: path.to_path_buf(), target, mode, needed };
    match helm.images {
        ImageReferences::Rewrite if !registry && helm.pull.is_none() => {
            Err(lacks("helm", "rewrite", "`targets.registry`, or `pull`"))
        }
        ImageReferences::Mirror if !mirrors => {
            Err(lacks("helm", "mirror", "`mirror` or `registries` under `targets.containerd`"))
        }
        _ => Ok(()),
    }
}

fn has_mirrors(targets: &Targets) -> bool {
    let containerd = targets.containerd.as_ref();
    containerd.is_some_and(|containerd| containerd.mirror.is_some())
}

impl Document {
    /// An address is shown in plans, findings and the log.
    fn check_urls(&self, path: &Path) -> Result<(), ConfigError> {
        let containerd = self.targets.containerd.as_ref();
        let urls = [
            ("targets.registry.url", self.targets.registry.as_ref().map(|registry| &registry.url)),
            (
                "targets.containerd.mirror.url",
                containerd.and_then(|containerd| containerd.mirror.as_ref()?.url.as_ref()),
            ),
            (
                "targets.containerd.registries.url",
                containerd.and_then(|containerd| containerd.registries.as_ref()?.url.as_ref()),
            ),
            ("targets.helm.pull", self.targets.helm.as_ref().and_then(|helm| helm.pull.as_ref())),
        ];
        match urls.into_iter().find(|(_, given)| given.is_some_and(|given| given.contains('@'))) {
            Some((key, _)) => Err(ConfigError::Login { path: path.to_path_buf(), key }),
            None => Ok(()),
        }
    }

    fn check_paths(&self, path: &Path) -> Result<(), ConfigError> {
        let python = self.targets.python.as_ref();
        let containerd = self.targets.containerd.as_ref();
        let paths = [
            ("targets.containerd.address", containerd.map(|containerd| &containerd.address)),
            ("targets.containerd.ctr", containerd.and_then(|containerd| containerd.ctr.as_ref())),
            (
                "targets.containerd.mirror.directory",
                containerd.and_then(|containerd| Some(&containerd.mirror.as_ref()?.directory)),
            ),
            (
                "targets.containerd.registries.file",
                containerd.and_then(|containerd| Some(&containerd.registries.as_ref()?.file)),
            ),
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
    fn targets_for_containers_need_no_more_than_their_name() {
        let targets = load(&format!("{HEAD}targets: {{docker: {{}}, containerd: {{}}}}\n")).unwrap().targets;
        let (docker, containerd) = (targets.docker.unwrap(), targets.containerd.unwrap());
        assert_eq!(
            (docker.host.to_string().as_str(), docker.replace),
            ("unix:///var/run/docker.sock", false)
        );
        assert_eq!((containerd.namespace.as_str(), containerd.ctr()), ("k8s.io", Path::new("ctr")));
        let k3s = "containerd: {address: /run/k3s/containerd/containerd.sock}";
        let targets = load(&format!("{HEAD}targets: {{{k3s}}}\n")).unwrap().targets;
        assert_eq!(targets.containerd.unwrap().ctr(), Path::new("k3s"));
    }

    #[test]
    fn what_would_not_reach_an_engine_of_this_machine_is_refused() {
        for text in [
            "docker: {host: \"tcp://10.0.0.1:2375\"}",
            "docker: {host: \"unix://docker.sock\"}",
            "containerd: {address: run/containerd.sock}",
            "containerd: {namespace: \"--help\"}",
            "containerd: {ctr: k3s}",
            "containerd: {mirror: {directory: /etc/containerd/certs.d}}",
            "containerd: {mirror: {directory: certs.d, url: \"http://127.0.0.1:8080\"}}",
            "registry: {url: \"http://127.0.0.1:5000\", auth: plain}",
        ] {
            assert!(load(&format!("{HEAD}targets: {{{text}}}\n")).is_err(), "{text}");
        }
    }

    #[test]
    fn a_registrys_certificate_lies_beside_the_file_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("site.yaml");
        let text = "targets: {registry: {url: \"https://r:5000\", ca: ca.pem, auth: docker-config}}\n";
        std::fs::write(&path, format!("{HEAD}{text}")).unwrap();
        let registry = SiteConfig::load(&path).unwrap().targets.registry.unwrap();
        assert_eq!(registry.ca, Some(dir.path().join("ca.pem")));
        assert_eq!(registry.auth, Some(RegistryAuth::DockerConfig));
    }

    #[test]
    fn windows_and_rules_of_change_are_read_and_what_is_wrong_in_them_is_named_with_its_place() {
        let text = "windows:\n- {allow: 'Sun 02:00-06:00', timezone: Europe/Berlin}\n- {deny: 2026-12-24..2026-12-27, timezone: UTC}\nchange: {pattern: 'CHG-[0-9]+'}\npreflight: {headroom: 80}\n";
        let config = load(&format!("{HEAD}{text}")).unwrap();
        assert_eq!((config.windows.len(), config.preflight.headroom.get()), (2, 80));
        assert!(config.change.unwrap().required, "who writes of tickets wants them");
        assert_eq!(load(HEAD).unwrap().preflight.headroom.get(), 60);
        for (text, wanted) in [
            ("windows: [{allow: Sun, timezone: Europe/Atlantis}]\n", "Europe/Atlantis"),
            ("windows: [{allow: Sun}]\n", "timezone"),
            ("windows: [{allow: 'Sun 2-6', timezone: UTC}]\n", "Sun 2-6"),
            ("change: {pattern: '['}\n", "regular expression"),
            ("preflight: {headroom: 0}\n", "1 to 100"),
        ] {
            let error = load(&format!("{HEAD}{text}")).unwrap_err().to_string();
            assert!(error.contains("site.yaml:4:") && error.contains(wanted), "{error}");
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
