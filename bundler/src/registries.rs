//! The registries of a run: how each is reached, what it is trusted by, who we are to it, and which mirrors
//! stand in for it.
//!
//! How a registry is reached follows from `registries` in `bundle.yaml` and from the directories where
//! Docker and Podman keep certificates. Nothing is asked before something is pulled.
//!
//! **What this module may never do:** switch off the check of a certificate.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use edge::{Classified, Env, Exit};
use manifests::text::printable;
use registry::http::Identity;
use registry::login::SharedLogins;
use registry::url::Scheme;
use registry::{Http, HttpError, HttpSettings, Registry, RegistryError, Repository, Url};

use crate::lock::RegistryPlace;
use crate::logins::UserLogins;
use crate::spec::RegistrySpec;

/// Docker's hub, which is not where its name says.
const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";
/// Certificates of people are a few kilobytes.
const PEM_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// More than anybody has for one registry.
const CERTIFICATE_FILES_MAX: usize = 64;

/// Why a registry cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistriesError {
    /// A certificate or key.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The certificates are none.
    #[error("cannot use the certificates for {registry}")]
    Certificates {
        /// Whose.
        registry: String,
        /// What is wrong.
        source: HttpError,
    },
    /// A mirror that is none.
    #[error("`{mirror}` is not a mirror of {registry}: {problem}")]
    Mirror {
        /// Made printable, without secrets.
        mirror: String,
        /// Of which registry.
        registry: String,
        /// What is wrong.
        problem: String,
    },
    /// Its name.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl Classified for RegistriesError {
    fn exit(&self) -> Exit {
        match self {
            Self::Read { .. } => Exit::Unreachable,
            _ => Exit::Usage,
        }
    }
}

/// A repository on one of the hosts that have it.
pub struct Source {
    /// Where to ask.
    pub repository: Repository,
    /// The mirror's URL, if it is one.
    pub mirror: Option<String>,
}

/// Every registry of a run.
pub struct Registries {
    settings: HttpSettings,
    plain: Http,
    logins: SharedLogins,
    base: PathBuf,
    /// By `HOST[:PORT]` as it is connected to.
    specs: BTreeMap<String, RegistrySpec>,
    certificates: Vec<PathBuf>,
    /// By URL. They keep their connections and tokens.
    open: Mutex<BTreeMap<String, Registry>>,
    /// By `HOST[:PORT]`: the clients of other servers.
    clients: Mutex<BTreeMap<String, Http>>,
}

impl Registries {
    /// `plain` is the client for registries without certificates of their own; `base` is what the paths in
    /// `specs` start from.
    #[must_use]
    pub fn new(
        env: &Env,
        settings: HttpSettings,
        plain: Http,
        base: &Path,
        specs: &BTreeMap<String, RegistrySpec>,
    ) -> Self {
        let home = env.var("HOME").map(|home| Path::new(home).join(".config/containers/certs.d"));
        let machine = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
        let specs = specs.iter().map(|(host, spec)| (connected(host).to_string(), spec.clone()));
        Self {
            settings,
            plain,
            logins: Arc::new(UserLogins::of(env)),
            base: base.to_path_buf(),
            specs: specs.collect(),
            certificates: home.into_iter().chain(machine).collect(),
            open: Mutex::default(),
            clients: Mutex::default(),
        }
    }

    /// Where the repository of a reference is: what a lock says of it.
    #[must_use]
    pub fn place(&self, host: &str, path: &str) -> RegistryPlace {
        let host = connected(host);
        let spec = self.specs.get(host);
        let loopback = format!("http://{host}").parse::<Url>().is_ok_and(|url| url.is_loopback());
        let certified = spec.is_some_and(|spec| spec.ca.is_some()) || self.directory(host).is_some();
        let encrypted = !spec.is_some_and(|spec| spec.insecure) && (!loopback || certified);
        let scheme = if encrypted { "https" } else { "http" };
        RegistryPlace { url: format!("{scheme}://{host}"), repository: path.to_string() }
    }

    /// Every host that has a repository: its mirrors first, itself last.
    ///
    /// # Errors
    /// See [`RegistriesError`].
    pub fn sources(&self, place: &RegistryPlace) -> Result<Vec<Source>, RegistriesError> {
        let mut sources = Vec::new();
        let host = authority(&place.url);
        let mirrors = self.specs.get(&host).map(|spec| spec.mirrors.as_slice()).unwrap_or_default();
        for mirror in mirrors {
            let failed = |problem: String| RegistriesError::Mirror {
                mirror: mirror.parse::<Url>().map_or_else(|_| printable(mirror), |url| url.to_string()),
                registry: host.clone(),
                problem,
            };
            let url: Url =
                mirror.parse().map_err(|error: registry::url::UrlError| failed(error.to_string()))?;
            let insecure = self.specs.get(&url.authority()).is_some_and(|spec| spec.insecure);
            if url.scheme() == Scheme::Http && !url.is_loopback() && !insecure {
                let entry = url.authority();
                return Err(failed(format!(
                    "it is not encrypted, and `registries` does not say `{entry}: {{insecure: true}}`"
                )));
            }
            let prefix = url.path().trim_matches('/').to_string();
            let path = if prefix.is_empty() {
                place.repository.clone()
            } else {
                format!("{prefix}/{}", place.repository)
            };
            let base = url.without_userinfo().at_path("/");
            let repository = self.registry(base.to_wire().trim_end_matches('/'))?.repository(&path)?;
            sources.push(Source { repository, mirror: Some(mirror.clone()) });
        }
        let repository = self.registry(&place.url)?.repository(&place.repository)?;
        sources.push(Source { repository, mirror: None });
        Ok(sources)
    }

    /// The registry itself, never a mirror of it.
    ///
    /// # Errors
    /// See [`RegistriesError`].
    pub fn origin(&self, place: &RegistryPlace) -> Result<Repository, RegistriesError> {
        Ok(self.registry(&place.url)?.repository(&place.repository)?)
    }

    fn registry(&self, url: &str) -> Result<Registry, RegistriesError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(registry) = open.get(url) {
            return Ok(registry.clone());
        }
        let host = authority(url);
        let insecure = self.specs.get(&host).is_some_and(|spec| spec.insecure);
        let registry =
            Registry::new(self.client(&host)?, url)?.with_logins(Arc::clone(&self.logins), insecure);
        open.insert(url.to_string(), registry.clone());
        Ok(registry)
    }

    /// The client for a server that is no registry: what is said of its host counts for it too.
    ///
    /// # Errors
    /// What its certificate hangs on cannot be used.
    pub fn http(&self, url: &Url) -> Result<Http, RegistriesError> {
        let host = url.authority();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&host) {
            return Ok(client.clone());
        }
        let client = self.client(&host)?;
        clients.insert(host, client.clone());
        Ok(client)
    }

    /// Whether an address may be asked: it is encrypted, or on this very machine, or `insecure` says so.
    #[must_use]
    pub fn admits(&self, url: &Url) -> bool {
        let insecure = || self.specs.get(&url.authority()).is_some_and(|spec| spec.insecure);
        url.scheme() == Scheme::Https || url.is_loopback() || insecure()
    }

    /// A client that trusts what this registry's certificate hangs on.
    fn client(&self, host: &str) -> Result<Http, RegistriesError> {
        let mut settings = self.settings.clone();
        let mut authorities = Vec::new();
        if let Some(ca) = self.specs.get(host).and_then(|spec| spec.ca.as_ref()) {
            authorities.extend(read(&self.base.join(ca))?);
        }
        if let Some(directory) = self.directory(host) {
            for path in files(&directory)? {
                match path.extension().and_then(|extension| extension.to_str()) {
                    Some("crt") => {
                        authorities.extend(read(&path)?);
                        authorities.push(b'\n');
                    }
                    Some("cert") => {
                        let key_pem = read(&path.with_extension("key"))?.into();
                        settings.identity = Some(Identity { certificate_pem: read(&path)?, key_pem });
                    }
                    _ => {}
                }
            }
        }
        if authorities.is_empty() && settings.identity.is_none() {
            return Ok(self.plain.clone());
        }
        settings.ca_pem = (!authorities.is_empty()).then_some(authorities);
        let failed = |source| RegistriesError::Certificates { registry: host.to_string(), source };
        Http::new(&settings).map_err(failed)
    }

    /// Where the certificates for a host are, if there are any.
    fn directory(&self, host: &str) -> Option<PathBuf> {
        self.certificates.iter().map(|directory| directory.join(host)).find(|directory| directory.is_dir())
    }
}

fn connected(host: &str) -> &str {
    if host == DOCKER_HUB { DOCKER_HUB_HOST } else { host }
}

fn authority(url: &str) -> String {
    url.parse::<Url>().map_or_else(|_| url.to_string(), |url| url.authority())
}

fn read(path: &Path) -> Result<Vec<u8>, RegistriesError> {
    layout::durable::read_bounded(path, PEM_BYTES_MAX)
        .map_err(|source| RegistriesError::Read { path: path.to_path_buf(), source })
}

fn files(directory: &Path) -> Result<Vec<PathBuf>, RegistriesError> {
    let failed = |source| RegistriesError::Read { path: directory.to_path_buf(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)?.take(CERTIFICATE_FILES_MAX) {
        found.push(entry.map_err(failed)?.path());
    }
    found.sort();
    Ok(found)
}
