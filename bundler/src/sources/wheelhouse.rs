//! Wheelhouses: the glue between an entry of `bundle.yaml`, the package index and a component.
//!
//! No index's address is compiled into the program: if nothing names one, pip is asked for its own.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use edge::process::Program;
use edge::{Classified, Env, Exit};
use manifests::Digest;
use manifests::canonical::CanonicalError;
use manifests::inventory::{Component, Wheel, WheelTarget, Wheelhouse};
use manifests::oci::{ANNOTATION_TITLE, ARTIFACT_WHEELHOUSE, Descriptor, MEDIA_WHEEL};
use manifests::text::{Marking, TextError};
use registry::http::{Method, Request, Response};
use registry::{Http, HttpError, Url};

use super::wheels::requirements::REQUIREMENTS_BYTES_MAX;
use super::wheels::{
    Class, IndexNames, IndexTransport, IndexUrl, Page, Requirements, Target, TransportError, WheelFilename,
    WheelsError, wheels_in,
};
use super::{Resolved, World, author_artifact, wheels};
use crate::lock::{LockedBlob, Origin};
use crate::spec::WheelsSpec;

/// Why a wheelhouse cannot be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WheelhouseError {
    /// The requirements, the index, or the wheels themselves.
    #[error("wheels {name}")]
    Wheels {
        /// Which wheelhouse.
        name: String,
        /// What is wrong.
        source: WheelsError,
    },
    /// The requirements file is not there, or not readable.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A wheel whose length nobody states cannot be fetched.
    #[error("cannot fetch {filename}")]
    Fetch {
        /// Which wheel.
        filename: String,
        /// Why not.
        source: io::Error,
    },
    /// A wheel that is not for everybody. The lock holds no secret, so there is no login to send.
    #[error("{url} wants a login, and fetching wheels with a login is not there yet in version {}", env!("CARGO_PKG_VERSION"))]
    Login {
        /// Which wheel: after redirects, where it was asked for last.
        url: String,
    },
    /// A wheel came with other bytes than the requirements pin.
    #[error("{filename} has digest {found}, the requirements pin {expected}")]
    Digest {
        /// Which wheel.
        filename: String,
        /// What came.
        found: Digest,
        /// What is pinned.
        expected: Digest,
    },
    /// A name that cannot travel.
    #[error("wheels {name}")]
    Text {
        /// Which wheelhouse.
        name: String,
        /// What is wrong.
        source: TextError,
    },
    /// A document of ours that is not one.
    #[error(transparent)]
    Document(#[from] CanonicalError),
}

impl Classified for WheelhouseError {
    fn exit(&self) -> Exit {
        match self {
            Self::Wheels { source, .. } => match source.class() {
                Class::Spec | Class::NotYet => Exit::Usage,
                Class::Damaged => Exit::Damaged,
                Class::Unreachable => Exit::Unreachable,
            },
            Self::Read { .. } | Self::Fetch { .. } | Self::Login { .. } => Exit::Unreachable,
            Self::Digest { .. } => Exit::Damaged,
            Self::Text { .. } => Exit::Usage,
            Self::Document(_) => Exit::Unexpected,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Wheels { source: WheelsError::IndexUrl(_), .. } => {
                Some("name the package index with `index:` in bundle.yaml or in PIP_INDEX_URL".to_string())
            }
            Self::Wheels { source: WheelsError::Requirements(_), .. } => Some(
                "make the file with `uv pip compile --generate-hashes` or `pip-compile --generate-hashes`"
                    .to_string(),
            ),
            Self::Login { .. } => {
                Some("put the wheels into a directory and name it with `source:` in bundle.yaml".to_string())
            }
            Self::Digest { .. } => {
                Some("find out who changed the file before you pin another hash".to_string())
            }
            _ => None,
        }
    }
}

/// A wheel and where it will be read from.
struct Taken {
    filename: WheelFilename,
    digest: Digest,
    size: u64,
    requires_python: Option<String>,
    from: Origin,
    targets: Vec<usize>,
}

/// Resolves a wheelhouse to digests.
///
/// # Errors
/// See [`WheelhouseError`].
pub fn resolve(spec: &WheelsSpec, world: &World<'_>) -> Result<Resolved, WheelhouseError> {
    let (taken, source) = match (&spec.requirements, &spec.source) {
        (Some(file), _) => (from_index(spec, file, world)?, file),
        (None, source) => {
            let directory = source.as_deref().unwrap_or(Path::new("."));
            (from_directory(spec, directory, world)?, source.as_ref().unwrap_or(&world.base))
        }
    };
    component(spec, &source.display().to_string(), taken)
}

fn from_directory(spec: &WheelsSpec, shown: &Path, world: &World<'_>) -> Result<Vec<Taken>, WheelhouseError> {
    let name = spec.name.to_string();
    let found = wheels_in(&world.path(shown))
        .map_err(|error| WheelhouseError::Wheels { name, source: error.into() })?;
    let take = |wheel: wheels::LocalWheel| Taken {
        from: Origin::File(shown.join(wheel.path.file_name().unwrap_or_default())),
        digest: wheel.sha256,
        size: wheel.size,
        requires_python: wheel.metadata.requires_python,
        filename: wheel.filename,
        targets: Vec::new(),
    };
    Ok(found.into_iter().map(take).collect())
}

fn from_index(spec: &WheelsSpec, file: &Path, world: &World<'_>) -> Result<Vec<Taken>, WheelhouseError> {
    let failed = |source: WheelsError| WheelhouseError::Wheels { name: spec.name.to_string(), source };
    let read = |source| WheelhouseError::Read { path: file.to_path_buf(), source };
    let bytes = layout::durable::read_bounded(&world.path(file), REQUIREMENTS_BYTES_MAX).map_err(read)?;
    let requirements =
        Requirements::parse(&file.display().to_string(), &bytes).map_err(|error| failed(error.into()))?;
    let target =
        |spec: &crate::spec::WheelTargetSpec| Target::parse(spec.python.as_str(), spec.platform.as_str());
    let targets: Result<Vec<Target>, _> = spec.targets.iter().map(target).collect();
    let targets = targets.map_err(|error| failed(error.into()))?;
    let names = IndexNames {
        spec: spec.index.as_deref(),
        requirements: requirements.index.as_ref(),
        environment: world.env.var("PIP_INDEX_URL"),
    };
    let (index, _) = names.choose(|| ask_pip(world.env)).map_err(|error| failed(error.into()))?;
    let transport = HttpTransport { http: world.http, index: &index };
    let chosen =
        wheels::resolve(&requirements, &targets, &index, &transport).map_err(|error| failed(error.into()))?;
    let mut taken = Vec::new();
    for wheel in chosen {
        if let Some(reason) = &wheel.yanked {
            let reason = manifests::text::printable(reason);
            (world.note)(&format!("note: the index has withdrawn {}: {reason}", wheel.filename));
        }
        let size = match wheel.size {
            Some(size) => size,
            None => fetch(&wheel, &index, world)?,
        };
        taken.push(Taken {
            digest: wheel.sha256,
            size,
            requires_python: wheel.requires_python,
            from: Origin::Url(wheel.url.to_wire()),
            targets: wheel.targets,
            filename: wheel.filename,
        });
    }
    Ok(taken)
}

/// Fetches a wheel whose length nobody states; it is in the cache then.
fn fetch(wheel: &wheels::ChosenWheel, index: &IndexUrl, world: &World<'_>) -> Result<u64, WheelhouseError> {
    let filename = wheel.filename.to_string();
    let failed = |source| WheelhouseError::Fetch { filename: filename.clone(), source };
    let response = world.http.send(request(Method::Get, &wheel.url, index)).and_then(Response::successful);
    let mut body = response.map_err(|error| failed(error.into()))?.body;
    let content = world.cache.add(&mut |out| io::copy(&mut body, out).map(|_| ())).map_err(failed)?;
    if content.digest != wheel.sha256 {
        return Err(WheelhouseError::Digest { filename, found: content.digest, expected: wheel.sha256 });
    }
    Ok(content.size)
}

/// Opens a wheel that is where the lock says, and is not in the cache.
///
/// # Errors
/// The server does not give it; [`WheelhouseError::Login`] inside if it wants a login for it.
pub fn open(url: &str, http: &Http) -> io::Result<Box<dyn Read>> {
    let url: Url = url.parse().map_err(io::Error::other)?;
    match http.get(&url) {
        Ok(response) => Ok(Box::new(response.body)),
        Err(HttpError::Status { status: 401, url, .. }) => {
            Err(io::Error::other(WheelhouseError::Login { url }))
        }
        Err(error) => Err(io::Error::other(error)),
    }
}

fn component(spec: &WheelsSpec, source: &str, taken: Vec<Taken>) -> Result<Resolved, WheelhouseError> {
    let text = |source: TextError| WheelhouseError::Text { name: spec.name.to_string(), source };
    let mut blobs = BTreeMap::new();
    let mut wheels = Vec::new();
    let mut targets: Vec<WheelTarget> = spec
        .targets
        .iter()
        .map(|target| WheelTarget {
            python: target.python.clone(),
            platform: target.platform.clone(),
            wheels: Vec::new(),
        })
        .collect();
    for one in taken {
        let filename: manifests::text::FileName = one.filename.to_string().parse().map_err(text)?;
        for target in one.targets {
            if let Some(target) = targets.get_mut(target) {
                target.wheels.push(filename.clone());
            }
        }
        blobs.insert(one.digest, LockedBlob { size: one.size, from: one.from });
        let version = one.filename.version().to_string().parse().map_err(text)?;
        // What the index says of interpreters is advice for pip; a wheel says it again itself.
        let requires_python: Option<Marking> = one.requires_python.and_then(|range| range.parse().ok());
        let project = one.filename.project().clone();
        wheels.push(Wheel {
            filename,
            digest: one.digest,
            size: one.size,
            project,
            version,
            requires_python,
        });
    }
    wheels.sort_by(|left, right| left.filename.cmp(&right.filename));
    let layer = |wheel: &Wheel| {
        Descriptor::new(MEDIA_WHEEL, wheel.digest, wheel.size)
            .annotated(ANNOTATION_TITLE, wheel.filename.as_str())
    };
    let manifest = author_artifact(ARTIFACT_WHEELHOUSE, wheels.iter().map(layer).collect(), &mut blobs)?;
    let source = source.parse().map_err(text)?;
    let component =
        Component::Wheelhouse(Wheelhouse { name: spec.name.clone(), source, targets, wheels, manifest });
    Ok(Resolved { component, blobs })
}

/// The index that pip uses on this machine: the one it is configured with, or its own default.
fn ask_pip(env: &Env) -> Option<String> {
    let default = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)";
    let questions = [vec!["-m", "pip", "config", "get", "global.index-url"], vec!["-c", default]];
    for args in questions {
        let mut program = Program::new("python3", &env.cwd).args(args);
        for name in ["PATH", "HOME", "XDG_CONFIG_HOME", "PIP_CONFIG_FILE"] {
            if let Some(value) = env.var(name) {
                program = program.var(name, value);
            }
        }
        let answer = program.run(&*env.clock).ok().filter(edge::process::Finished::succeeded);
        let answer =
            answer.map(|answer| answer.stdout.trim().to_string()).filter(|answer| !answer.is_empty());
        if answer.is_some() {
            return answer;
        }
    }
    None
}

/// The index, over the one HTTP client.
struct HttpTransport<'a> {
    http: &'a Http,
    index: &'a IndexUrl,
}

/// With the index's login where it belongs. The client drops it on the way to another origin.
fn request(method: Method, url: &Url, index: &IndexUrl) -> Request<'static> {
    let request = Request::new(method, url.clone());
    match index.authorization_for(url) {
        Some(login) => request.header("authorization", login),
        None => request,
    }
}

fn failed(error: HttpError) -> TransportError {
    match error {
        HttpError::Status { status: 404 | 410, .. } => TransportError::NotFound,
        HttpError::TooLarge { .. } => TransportError::TooLarge,
        other => TransportError::Failed(Box::new(other)),
    }
}

impl IndexTransport for HttpTransport<'_> {
    fn page(&self, url: &Url, accept: &str) -> Result<Page, TransportError> {
        let request = request(Method::Get, url, self.index).header("accept", accept);
        let response = self.http.send(request).and_then(Response::successful).map_err(failed)?;
        Ok(Page {
            content_type: response.headers.media_type().unwrap_or_default(),
            final_url: response.url.clone(),
            bytes: response.bytes(wheels::index::PAGE_BYTES_MAX).map_err(failed)?,
        })
    }

    fn size(&self, url: &Url) -> Result<Option<u64>, TransportError> {
        match self.http.send(request(Method::Head, url, self.index)).map_err(failed)?.successful() {
            Ok(response) => Ok(response.headers.content_length()),
            // Some servers answer no such question.
            Err(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry::HttpSettings;
    use testkit::{FakeServer, Reply};

    fn http() -> Http {
        Http::new(&HttpSettings { retries: 0, ..HttpSettings::default() }).unwrap()
    }

    #[test]
    fn a_locked_wheel_behind_a_login_is_what_is_not_there_yet() {
        let server = FakeServer::start(|_| Reply::status(401));
        let url = format!("{}/x-1-py3-none-any.whl", server.url());
        let Err(error) = open(&format!("{url}?token=hunter2"), &http()) else { panic!("it was opened") };
        let error = error.downcast::<WheelhouseError>().unwrap();
        assert_eq!(error.exit(), Exit::Unreachable);
        let expected = format!(
            "{url}?*** wants a login, and fetching wheels with a login is not there yet in version {}",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_locked_wheel_that_is_gone_is_told_from_one_behind_a_login() {
        let server = FakeServer::start(|_| Reply::status(404));
        let Err(error) = open(&server.url(), &http()) else { panic!("it was opened") };
        assert!(error.to_string().contains("answered 404 Not Found"), "{error}");
    }

    #[test]
    fn a_locked_wheel_for_everybody_is_read() {
        let server = FakeServer::start(|_| Reply::ok("bytes"));
        let mut text = String::new();
        open(&server.url(), &http()).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "bytes");
    }
}
