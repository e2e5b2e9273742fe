//! Wheelhouses: the glue between an entry of `bundle.yaml`, the package index and a component.
//!
//! No index's address is compiled into the program: if nothing names one, pip is asked for its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use edge::process::Program;
use edge::{Classified, Env, Exit};
use manifests::Digest;
use manifests::canonical::CanonicalError;
use manifests::inventory::{Component, Wheel, WheelTarget, Wheelhouse};
use manifests::oci::{ANNOTATION_TITLE, ARTIFACT_WHEELHOUSE, Descriptor, MEDIA_WHEEL};
use manifests::text::{Marking, TextError};
use registry::{Http, HttpError, Url};

use super::wheels::requirements::REQUIREMENTS_BYTES_MAX;
use super::wheels::{
    Class, IndexNames, IndexTransport, Page, Requirements, Target, TransportError, WheelFilename,
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
        source: std::io::Error,
    },
    /// A wheel whose length nobody states cannot be fetched.
    #[error("cannot fetch {filename}")]
    Fetch {
        /// Which wheel.
        filename: String,
        /// Why not.
        source: std::io::Error,
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
            Self::Read { .. } | Self::Fetch { .. } => Exit::Unreachable,
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
    let transport = HttpTransport { http: world.http.clone() };
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
            None => fetch(&wheel, world)?,
        };
        taken.push(Taken {
            digest: wheel.sha256,
            size,
            requires_python: wheel.requires_python,
            from: Origin::Url(wheel.url),
            targets: wheel.targets,
            filename: wheel.filename,
        });
    }
    Ok(taken)
}

/// Fetches a wheel whose length nobody states; it is in the cache then.
fn fetch(wheel: &wheels::ChosenWheel, world: &World<'_>) -> Result<u64, WheelhouseError> {
    let filename = wheel.filename.to_string();
    let failed = |source| WheelhouseError::Fetch { filename: filename.clone(), source };
    let url: Url = wheel.url.parse().map_err(|error| failed(std::io::Error::other(error)))?;
    let mut body = world.http.get(&url).map_err(|error| failed(std::io::Error::other(error)))?.body;
    let content = world.cache.add(&mut |out| std::io::copy(&mut body, out).map(|_| ())).map_err(failed)?;
    if content.digest != wheel.sha256 {
        return Err(WheelhouseError::Digest { filename, found: content.digest, expected: wheel.sha256 });
    }
    Ok(content.size)
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
struct HttpTransport {
    http: Http,
}

impl HttpTransport {
    fn url(url: &str) -> Result<Url, TransportError> {
        url.parse().map_err(|error| TransportError::Failed(Box::new(error)))
    }
}

fn failed(error: HttpError) -> TransportError {
    match error {
        HttpError::Status { status: 404 | 410, .. } => TransportError::NotFound,
        HttpError::TooLarge { .. } => TransportError::TooLarge,
        other => TransportError::Failed(Box::new(other)),
    }
}

impl IndexTransport for HttpTransport {
    fn page(&self, url: &str, accept: &str) -> Result<Page, TransportError> {
        let fetched =
            self.http.get_bytes(&Self::url(url)?, accept, wheels::index::PAGE_BYTES_MAX).map_err(failed)?;
        Ok(Page {
            content_type: fetched.content_type.unwrap_or_default(),
            final_url: fetched.url.to_wire(),
            bytes: fetched.bytes,
        })
    }

    fn size(&self, url: &str) -> Result<Option<u64>, TransportError> {
        let request = registry::http::Request::new(registry::http::Method::Head, Self::url(url)?);
        match self.http.send(request).map_err(failed)?.successful() {
            Ok(response) => Ok(response.headers.content_length()),
            // Some servers answer no such question.
            Err(_) => Ok(None),
        }
    }
}
