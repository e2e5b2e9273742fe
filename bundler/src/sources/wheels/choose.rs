//! Which wheel of a project is taken for a target: among those that a lock names and the requirements pin,
//! the one that pip and `uv` would take.
//!
//! *Invariant:* the wheel that is given suits the target and has a digest that was pinned, if any
//! was. Whether the bytes have that digest is for whoever fetches them to check.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use manifests::{Digest, Name};

use super::filename::WheelFilename;
use super::pylock::{LockedWheel, Package};
use super::tags::{SupportedTags, Target};
use super::{Class, enumeration};

/// Why no wheel can be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChooseError {
    /// It would have to be built on site.
    #[error("{project} {version} is there as a source distribution only, which cannot be installed on site")]
    OnlySourceDistribution {
        /// The project.
        project: Name,
        /// Its version.
        version: String,
    },
    /// No wheel suits the target.
    #[error("no wheel of {project} {version} is for {target}; there are {available}")]
    NoWheelForTarget {
        /// The project.
        project: Name,
        /// Its version.
        version: String,
        /// Which target.
        target: Target,
        /// The tags of the wheels that there are.
        available: String,
    },
    /// Others are pinned, and this one is needed as well.
    #[error("{project} {version} is needed for {target} and has no `--hash`, while others have")]
    NoHash {
        /// The project.
        project: Name,
        /// Its version.
        version: String,
        /// Which target.
        target: Target,
    },
    /// The index offers other files than those that were looked at when the hashes were written.
    #[error("none of the wheels of {project} {version} for {target} has a pinned hash: there is {offered}")]
    HashNotOffered {
        /// The project.
        project: Name,
        /// Its version.
        version: String,
        /// Which target.
        target: Target,
        /// Some of the wheels and their digests.
        offered: String,
    },
}

impl ChooseError {
    /// Which kind of failure it is.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::OnlySourceDistribution { .. } | Self::NoWheelForTarget { .. } => Class::Unreachable,
            Self::NoHash { .. } => Class::Spec,
            Self::HashNotOffered { .. } => Class::Damaged,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::OnlySourceDistribution { project, version } => Some(format!(
                "name a directory that has its wheel with `source:`, or build one with `build: [\"{project}=={version}\"]`"
            )),
            Self::NoHash { .. } => {
                Some("write the hashes again, such as with `uv pip compile --generate-hashes`".to_string())
            }
            Self::HashNotOffered { .. } => Some(
                "find out who changed the file, or write the hashes again if you trust the new ones"
                    .to_string(),
            ),
            Self::NoWheelForTarget { .. } => None,
        }
    }
}

/// The digests that requirements pin; empty if they pin none.
pub type Pins = BTreeMap<Name, BTreeSet<Digest>>;

/// The wheel of a project for a target. Ties are broken as in pip: the closer tag, then the higher build
/// tag; then by name, so that the same lock gives the same choice.
///
/// # Errors
/// None suits, or none that does is pinned.
pub fn choose<'a>(
    package: &'a Package,
    target: &Target,
    tags: &SupportedTags,
    pins: &Pins,
) -> Result<&'a LockedWheel, ChooseError> {
    let (project, version) = (package.project.clone(), package.version.to_string());
    let target = || target.clone();
    let is_it = |name: &WheelFilename| *name.project() == project && *name.version() == package.version;
    let named = package.wheels.iter().filter(|wheel| is_it(&wheel.filename));
    let suiting: Vec<(usize, &LockedWheel)> =
        named.filter_map(|wheel| Some((tags.rank(&wheel.filename)?, wheel))).collect();
    if suiting.is_empty() && package.wheels.is_empty() {
        return Err(ChooseError::OnlySourceDistribution { project, version });
    }
    if suiting.is_empty() {
        let mut available: Vec<String> = package.wheels.iter().map(|wheel| wheel.filename.tags()).collect();
        available.sort_unstable();
        available.dedup();
        let available = enumeration(&available, 12);
        return Err(ChooseError::NoWheelForTarget { project, version, target: target(), available });
    }
    if !pins.is_empty() && !pins.contains_key(&project) {
        return Err(ChooseError::NoHash { project, version, target: target() });
    }
    let pinned =
        |wheel: &LockedWheel| pins.get(&project).is_none_or(|digests| digests.contains(&wheel.file.sha256));
    let closest = suiting.iter().filter(|(_, wheel)| pinned(wheel)).min_by_key(|(rank, wheel)| {
        (*rank, Reverse(wheel.filename.build()), &wheel.filename, wheel.file.sha256)
    });
    closest.map(|(_, wheel)| *wheel).ok_or_else(|| {
        let offered =
            suiting.iter().map(|(_, wheel)| format!("{} with {}", wheel.filename, wheel.file.sha256));
        let offered = enumeration(&offered.collect::<Vec<_>>(), 2);
        ChooseError::HashNotOffered { project: project.clone(), version, target: target(), offered }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::wheels::pylock::{LockedFile, Place};

    const NEW: &str = "x-1.0-cp311-cp311-manylinux_2_28_x86_64.whl";
    const OLD: &str = "x-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl";
    const APPLE: &str = "x-1.0-cp312-cp312-macosx_11_0_arm64.whl";
    const PURE: &str = "x-1.0-py3-none-any.whl";

    fn file(name: &str) -> LockedFile {
        let url = format!("https://index.example/{name}").parse().unwrap();
        LockedFile {
            name: name.into(),
            place: Place::Url(url),
            sha256: Digest::of(name.as_bytes()),
            size: None,
        }
    }

    fn package(wheels: &[&str], sdist: bool) -> Package {
        let wheel = |name: &&str| LockedWheel { filename: name.parse().unwrap(), file: file(name) };
        Package {
            project: "x".parse().unwrap(),
            version: "1.0".parse().unwrap(),
            wheels: wheels.iter().map(wheel).collect(),
            sdist: sdist.then(|| file("x-1.0.tar.gz")),
        }
    }

    fn chosen(wheels: &[&str], pins: &[(&str, &[&str])]) -> Result<String, ChooseError> {
        let target = Target::parse("3.11", "manylinux_2_28_x86_64").unwrap();
        let digests = |names: &[&str]| names.iter().map(|name| Digest::of(name.as_bytes())).collect();
        let pins = pins.iter().map(|(name, files)| (name.parse().unwrap(), digests(files))).collect();
        let package = package(wheels, true);
        choose(&package, &target, &target.supported(), &pins).map(|wheel| wheel.filename.to_string())
    }

    #[test]
    fn takes_the_closest_wheel() {
        assert_eq!(chosen(&[PURE, OLD, NEW, APPLE], &[]).unwrap(), NEW);
        assert_eq!(chosen(&[PURE, OLD, APPLE], &[]).unwrap(), OLD);
        assert_eq!(chosen(&["x-1.1-cp311-cp311-manylinux_2_28_x86_64.whl", PURE], &[]).unwrap(), PURE);
        assert_eq!(chosen(&["y-1.0-cp311-cp311-manylinux_2_28_x86_64.whl", PURE], &[]).unwrap(), PURE);
    }

    #[test]
    fn a_higher_build_tag_breaks_a_tie_and_only_a_tie() {
        let (one, ten) = ("x-1.0-1-py3-none-any.whl", "x-1.0-10-py3-none-any.whl");
        assert_eq!(chosen(&[ten, one, PURE], &[]).unwrap(), ten);
        assert_eq!(chosen(&[ten, NEW], &[]).unwrap(), NEW);
    }

    #[test]
    fn never_takes_a_wheel_whose_hash_is_not_pinned() {
        assert_eq!(chosen(&[PURE, OLD, NEW], &[("x", &[OLD, PURE])]).unwrap(), OLD);
        let error = chosen(&[NEW], &[("x", &["another file"])]).unwrap_err();
        assert_eq!(error.class(), Class::Damaged);
        assert!(error.to_string().contains(&Digest::of(NEW.as_bytes()).hex()), "{error}");
        let error = chosen(&[NEW], &[("y", &[NEW])]).unwrap_err();
        assert_eq!(error.class(), Class::Spec);
        assert!(
            error.to_string().contains("x 1.0 is needed for Python 3.11 on manylinux_2_28_x86_64"),
            "{error}"
        );
    }

    #[test]
    fn says_what_there_is_instead() {
        let said = "no wheel of x 1.0 is for Python 3.11 on manylinux_2_28_x86_64; there are cp312-cp312-macosx_11_0_arm64";
        assert_eq!(chosen(&[APPLE], &[]).unwrap_err().to_string(), said);
        let error = chosen(&[], &[]).unwrap_err();
        assert!(matches!(error, ChooseError::OnlySourceDistribution { .. }));
        assert!(error.hint().unwrap().contains("x==1.0"));
    }
}
