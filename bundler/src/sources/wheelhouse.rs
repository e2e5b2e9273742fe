//! Wheelhouses: the glue between an entry of `bundle.yaml`, the wheels that it leads to and a component.
//!
//! No index's address is compiled into the program: if nothing names one, pip is asked for its own.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use edge::{Classified, Exit};
use manifests::Digest;
use manifests::canonical::CanonicalError;
use manifests::inventory::{Component, Wheel, WheelTarget, Wheelhouse};
use manifests::oci::{ANNOTATION_TITLE, ARTIFACT_WHEELHOUSE, Descriptor, MEDIA_WHEEL};
use manifests::text::{Marking, TextError};

use super::logins::PasswordError;
use super::wheels::{self, Class, WheelFilename, WheelsError, wheels_in};
use super::{Resolved, World, author_artifact, closure};
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
    /// An offline resolve against the wheelhouse finds it incomplete.
    #[error("wheels {name} would not install on {target}: the wheelhouse is not complete")]
    Incomplete {
        /// Which wheelhouse.
        name: String,
        /// Which target.
        target: String,
        /// What is missing, and who requires it.
        source: WheelsError,
    },
    /// An offline resolve against the wheelhouse gives another set of projects.
    #[error("wheels {name}: for {target} a second resolve, offline, does not agree about {project}")]
    Unsettled {
        /// Which wheelhouse.
        name: String,
        /// Which target.
        target: String,
        /// The first project that is only in one of the two.
        project: String,
    },
    /// There is nothing to build.
    #[error("wheels {name}: there is no source distribution of {pin} to build")]
    NoSource {
        /// Which wheelhouse.
        name: String,
        /// `docopt==0.6.2`
        pin: String,
    },
    /// What was built will not do.
    #[error("wheels {name}: {pin} cannot be built for other machines: {what}")]
    Build {
        /// Which wheelhouse.
        name: String,
        /// `docopt==0.6.2`
        pin: String,
        /// What is wrong.
        what: String,
    },
    /// The file of a password.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// A password belongs to a user.
    #[error(
        "wheels {name}: `passwordFile` needs an `index` with a user and no password, such as https://USER@…"
    )]
    NoUser {
        /// Which wheelhouse.
        name: String,
    },
    /// A file is not there, or not readable.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no room for temporary files.
    #[error("cannot write to the directory for temporary files")]
    Scratch {
        /// Why not.
        source: io::Error,
    },
    /// A wheel has other bytes than the lock pins.
    #[error("{filename} has digest {found}, the lock pins {expected}")]
    Digest {
        /// Which wheel.
        filename: String,
        /// What is there.
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
                Class::Spec => Exit::Usage,
                Class::Damaged => Exit::Damaged,
                Class::Unreachable => Exit::Unreachable,
            },
            Self::Incomplete { .. }
            | Self::Unsettled { .. }
            | Self::NoSource { .. }
            | Self::Build { .. }
            | Self::Read { .. }
            | Self::Scratch { .. } => Exit::Unreachable,
            Self::Digest { .. } => Exit::Damaged,
            Self::Password(error) => error.exit(),
            Self::Text { .. } | Self::NoUser { .. } => Exit::Usage,
            Self::Document(_) => Exit::Unexpected,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Wheels { source, .. } => source.hint(),
            Self::Build { .. } => Some(
                "build it on a machine like the target and name the directory of the wheel with `source:`"
                    .to_string(),
            ),
            Self::Password(error) => error.hint(),
            Self::Unsettled { .. } => Some("lock again: the index may have changed meanwhile".to_string()),
            Self::Digest { .. } => {
                Some("find out who changed the file before you pin another hash".to_string())
            }
            _ => None,
        }
    }
}

/// A wheel and where it will be read from.
pub(super) struct Taken {
    pub(super) filename: WheelFilename,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) requires_python: Option<String>,
    pub(super) from: Origin,
    /// Where its bytes are now.
    pub(super) path: PathBuf,
    /// Places in the list of targets.
    pub(super) targets: Vec<usize>,
}

/// Resolves a wheelhouse to digests.
///
/// # Errors
/// See [`WheelhouseError`].
pub fn resolve(spec: &WheelsSpec, world: &World<'_>) -> Result<Resolved, WheelhouseError> {
    let (taken, source) = match spec.requirements.as_deref().or(spec.lock.as_deref()) {
        Some(file) => (closure::wheels(spec, world)?, file),
        None => {
            let directory = spec.source.as_deref().unwrap_or(Path::new("."));
            (from_directory(spec, directory, world)?, directory)
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
        path: wheel.path,
        targets: Vec::new(),
    };
    Ok(found.into_iter().map(take).collect())
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
        // Advice for pip; the wheel says it again itself.
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
