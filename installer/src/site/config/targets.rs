//! `targets` of `site.yaml`: where content goes beside the site's own store, one type for each kind.

use std::path::{Path, PathBuf};

use manifests::script::Within;
use serde::{Deserialize, Serialize};

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
    /// A Docker Engine.
    #[serde(default)]
    pub docker: Option<DockerTarget>,
    /// containerd, or k3s.
    #[serde(default)]
    pub containerd: Option<ContainerdTarget>,
    /// A Kubernetes cluster, for manifests and for what is looked at in it.
    #[serde(default)]
    pub kubernetes: Option<KubernetesTarget>,
    /// Helm, for charts.
    #[serde(default)]
    pub helm: Option<HelmTarget>,
}

impl Targets {
    /// The cluster of the site: that of `kubernetes`, or else Helm's.
    #[must_use]
    pub fn cluster(&self) -> Option<KubernetesTarget> {
        let helms = || self.helm.as_ref().map(|helm| helm.cluster(None));
        self.kubernetes.clone().or_else(helms)
    }
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
    /// Certificates that its own hangs on, beside the machine's; a relative path starts at `site.yaml`.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Who we are to it; nobody without this.
    #[serde(default)]
    pub auth: Option<RegistryAuth>,
    /// Whether it refuses to move a tag to another image.
    #[serde(default)]
    pub immutable: bool,
}

/// Where a login for the registry is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegistryAuth {
    /// Where `docker login` and `podman login` have left it, for the user who runs the program.
    DockerConfig,
}

/// A Docker Engine on this machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DockerTarget {
    /// Where it listens.
    #[serde(default)]
    pub host: EngineHost,
    /// Whether a name may be moved away from an image that did not come from a bundle.
    #[serde(default)]
    pub replace: bool,
}

/// `unix:///var/run/docker.sock`: a socket of this machine, which an image needs no login and no network for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct EngineHost(String);

impl Default for EngineHost {
    fn default() -> Self {
        Self(format!("unix://{}", registry::engine::SOCKET))
    }
}

impl TryFrom<String> for EngineHost {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.starts_with("unix:///") { Ok(Self(text)) } else { Err("the host must be `unix:///PATH`") }
    }
}

impl core::fmt::Display for EngineHost {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

/// containerd on this machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerdTarget {
    /// Its socket.
    #[serde(default = "containerd_socket")]
    pub address: PathBuf,
    /// The namespace in it; Kubernetes uses `k8s.io`.
    #[serde(default)]
    pub namespace: Namespace,
    #[serde(default)]
    pub(super) ctr: Option<PathBuf>,
    /// Whether a name may be moved away from an image that did not come from a bundle, and a mirror's file be
    /// taken from whoever wrote it.
    #[serde(default)]
    pub replace: bool,
    /// Where containerd reads which registry has an upstream registry's images.
    #[serde(default)]
    pub mirror: Option<MirrorFiles>,
    /// Where k3s reads the same.
    #[serde(default)]
    pub registries: Option<RegistriesFile>,
}

/// The file by which k3s finds images in the site's registry under their own names.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistriesFile {
    /// The file.
    #[serde(default = "k3s_registries")]
    pub file: PathBuf,
    /// `installer serve`, as the node reaches it; without it `targets.registry`.
    #[serde(default)]
    pub url: Option<String>,
}

fn k3s_registries() -> PathBuf {
    PathBuf::from("/etc/rancher/k3s/registries.yaml")
}

/// Files by which containerd finds images in the site's registry under their own names.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MirrorFiles {
    /// containerd's `config_path`, such as `/etc/containerd/certs.d`.
    pub directory: PathBuf,
    /// `installer serve`, as the node reaches it; without it `targets.registry`.
    #[serde(default)]
    pub url: Option<String>,
}

impl ContainerdTarget {
    /// The program that speaks to it: `ctr`, or `k3s`, which has it as a subcommand.
    #[must_use]
    pub fn ctr(&self) -> &Path {
        let usual = if self.address.starts_with("/run/k3s") { "k3s" } else { "ctr" };
        self.ctr.as_deref().unwrap_or(Path::new(usual))
    }
}

fn containerd_socket() -> PathBuf {
    PathBuf::from("/run/containerd/containerd.sock")
}

/// A namespace in containerd, in its own spelling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Namespace(String);

impl Namespace {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self("k8s.io".to_string())
    }
}

impl TryFrom<String> for Namespace {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
        if text.len() <= 76 && text.split(['.', '_', '-']).all(word) {
            Ok(Self(text))
        } else {
            Err("a namespace of containerd is letters and digits with single . _ or - between them")
        }
    }
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

/// A Kubernetes cluster, as `kubectl` reaches it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubernetesTarget {
    /// The file that says where it is and who we are to it; a relative path starts at `site.yaml`.
    pub kubeconfig: PathBuf,
    /// A context in that file; its current one without this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The program, if it is not `kubectl` on the `PATH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubectl: Option<PathBuf>,
    /// Whether fields are taken that somebody else manages, and objects of another product.
    #[serde(default)]
    pub force: bool,
    /// What becomes of the names of images in manifests.
    #[serde(default)]
    pub images: ImageReferences,
    /// How long what was applied may take to be rolled out, and what was deleted to go.
    #[serde(default = "five_minutes", with = "time_limit")]
    pub within: Within,
}

impl KubernetesTarget {
    /// A cluster as this file describes it, with nothing else said about it.
    #[must_use]
    pub fn at(kubeconfig: PathBuf) -> Self {
        Self {
            kubeconfig,
            context: None,
            kubectl: None,
            force: false,
            images: ImageReferences::Keep,
            within: five_minutes(),
        }
    }
}

/// As long as Helm waits.
fn five_minutes() -> Within {
    Within::of_text("5m").unwrap_or_default()
}

/// A time limit as people write it.
mod time_limit {
    use manifests::script::Within;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(within: &Within, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}s", within.seconds()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Within, D::Error> {
        let text = String::deserialize(deserializer)?;
        Within::of_text(&text)
            .ok_or_else(|| D::Error::custom("a time limit is like 90s, 10m or 2h, at most a day"))
    }
}

/// A Kubernetes cluster, as Helm reaches it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HelmTarget {
    /// The file that says where it is and who we are to it; a relative path starts at `site.yaml`. That of
    /// `targets.kubernetes` without this.
    #[serde(default)]
    pub(super) kubeconfig: Option<PathBuf>,
    /// A context in that file; its current one without this.
    #[serde(default)]
    pub(super) context: Option<String>,
    /// The program, if it is not `helm` on the `PATH`.
    #[serde(default)]
    pub helm: Option<PathBuf>,
    /// What becomes of the names of images.
    #[serde(default)]
    pub images: ImageReferences,
    /// `HOST[:PORT][/PREFIX]`, as nodes name the site's registry; what `targets.registry` says without this.
    #[serde(default)]
    pub pull: Option<String>,
    /// How long Helm waits until everything of a chart is ready.
    #[serde(default = "five_minutes", with = "time_limit")]
    pub timeout: Within,
    /// Whether a namespace that is not there is made.
    #[serde(default = "yes")]
    pub create_namespace: bool,
    /// Whether a release that somebody else has installed may be taken over.
    #[serde(default)]
    pub replace: bool,
}

impl HelmTarget {
    /// The file that says where the cluster is.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        self.kubeconfig.as_deref().unwrap_or(Path::new(""))
    }

    /// A context in it.
    #[must_use]
    pub fn context(&self) -> Option<&str> {
        self.context.as_deref()
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Path {
        self.helm.as_deref().unwrap_or(Path::new("helm"))
    }

    /// The same cluster for `kubectl`, which may be another program where `targets.kubernetes` says so.
    #[must_use]
    pub fn cluster(&self, kubernetes: Option<&KubernetesTarget>) -> KubernetesTarget {
        KubernetesTarget {
            kubeconfig: self.kubeconfig().to_path_buf(),
            context: self.context.clone(),
            kubectl: kubernetes.and_then(|kubernetes| kubernetes.kubectl.clone()),
            ..kubernetes.cloned().unwrap_or_else(|| KubernetesTarget::at(PathBuf::new()))
        }
    }
}

fn yes() -> bool {
    true
}

/// What becomes of the names of images in charts and manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageReferences {
    /// They stay, and the nodes find the images by themselves.
    #[default]
    Keep,
    /// They stay, and the nodes find the images through the mirrors that were written for them.
    Mirror,
    /// Each becomes that of the site's registry, with its digest.
    Rewrite,
}
