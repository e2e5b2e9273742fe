//! A wheel's file name, after the binary distribution format (PEP 427, PEP 491):
//! `{distribution}-{version}(-{build})?-{python}-{abi}-{platform}.whl`.
//!
//! *Invariant:* a [`WheelFilename`] is a plain file name: no path, no option, no escape sequence.

use std::fmt;
use std::str::FromStr;

use manifests::Name;
use manifests::text::{FileName, printable};

use super::version::Version;

/// The name of a wheel file, taken apart. `Display` gives it back as it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WheelFilename {
    text: FileName,
    project: Name,
    version: Version,
    build: Option<BuildTag>,
    python: Vec<String>,
    abi: Vec<String>,
    platform: Vec<String>,
}

/// The build tag: it tells apart two builds of one version. The higher one wins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BuildTag {
    /// The digits it starts with.
    pub number: u64,
    /// What follows them.
    pub suffix: String,
}

/// Why a text is not a wheel's file name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WheelFilenameError {
    /// It ends in something else.
    #[error("`{filename}` is not a wheel: its name does not end in `.whl`")]
    Extension {
        /// The text, made printable.
        filename: String,
    },
    /// Something that a file name of ours cannot hold.
    #[error("`{filename}` is not a plain file name")]
    Characters {
        /// The text, made printable.
        filename: String,
    },
    /// Not five parts, nor six with a build tag.
    #[error("`{filename}` has {found} parts between its dashes, expected 5, or 6 with a build tag")]
    Parts {
        /// The text, made printable.
        filename: String,
        /// How many there were.
        found: usize,
    },
    /// A part that is not what its place asks for.
    #[error("`{filename}` has `{part}` where its {what} should be")]
    Part {
        /// The text, made printable.
        filename: String,
        /// The part.
        part: String,
        /// `project name`, `version`, `build tag`, …
        what: &'static str,
    },
}

impl WheelFilename {
    /// The file name as it was.
    #[must_use]
    pub fn file_name(&self) -> &FileName {
        &self.text
    }

    /// The project's name, normalised by PEP 503.
    #[must_use]
    pub fn project(&self) -> &Name {
        &self.project
    }

    /// The version; its text is the file name's own spelling.
    #[must_use]
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The build tag, if there is one.
    #[must_use]
    pub fn build(&self) -> Option<&BuildTag> {
        self.build.as_ref()
    }

    /// The interpreters, in lower case: `cp311`, `py3`.
    #[must_use]
    pub fn python_tags(&self) -> &[String] {
        &self.python
    }

    /// The binary interfaces, in lower case: `cp311`, `abi3`, `none`.
    #[must_use]
    pub fn abi_tags(&self) -> &[String] {
        &self.abi
    }

    /// The platforms, in lower case: `manylinux_2_17_x86_64`, `any`.
    #[must_use]
    pub fn platform_tags(&self) -> &[String] {
        &self.platform
    }

    /// The three tag sets as the file name writes them, `cp311-cp311-win_amd64`.
    #[must_use]
    pub fn tags(&self) -> String {
        format!("{}-{}-{}", self.python.join("."), self.abi.join("."), self.platform.join("."))
    }
}

impl fmt::Display for WheelFilename {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.text, f)
    }
}

impl FromStr for WheelFilename {
    type Err = WheelFilenameError;
    fn from_str(text: &str) -> Result<Self, WheelFilenameError> {
        let filename = printable(text);
        let Some(stem) = text.strip_suffix(".whl") else {
            return Err(WheelFilenameError::Extension { filename });
        };
        let Ok(file_name) = text.parse() else {
            return Err(WheelFilenameError::Characters { filename });
        };
        let parts: Vec<&str> = stem.split('-').collect();
        let (distribution, version, build, tags) = match parts.as_slice() {
            [distribution, version, tags @ ..] if tags.len() == 3 => (*distribution, *version, None, tags),
            [distribution, version, build, tags @ ..] if tags.len() == 3 => {
                (*distribution, *version, Some(*build), tags)
            }
            _ => return Err(WheelFilenameError::Parts { filename, found: parts.len() }),
        };
        let wrong = |what, part: &str| WheelFilenameError::Part {
            filename: filename.clone(),
            part: part.to_owned(),
            what,
        };
        let [python, abi, platform] = tags else {
            return Err(WheelFilenameError::Parts { filename, found: parts.len() });
        };
        Ok(Self {
            text: file_name,
            project: project_name(distribution).map_err(|_| wrong("project name", distribution))?,
            version: version.parse().map_err(|_| wrong("version", version))?,
            build: match build {
                Some(build) => Some(build_tag(build).ok_or_else(|| wrong("build tag", build))?),
                None => None,
            },
            python: tag_set(python).ok_or_else(|| wrong("python tag", python))?,
            abi: tag_set(abi).ok_or_else(|| wrong("abi tag", abi))?,
            platform: tag_set(platform).ok_or_else(|| wrong("platform tag", platform))?,
        })
    }
}

fn build_tag(text: &str) -> Option<BuildTag> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, suffix) = text.split_at_checked(end)?;
    Some(BuildTag { number: digits.parse().ok()?, suffix: suffix.to_owned() })
}

/// A compressed tag set: `py2.py3`.
fn tag_set(text: &str) -> Option<Vec<String>> {
    let good =
        |tag: &str| !tag.is_empty() && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    text.split('.').map(|tag| good(tag).then(|| tag.to_ascii_lowercase())).collect()
}

/// A text that is not a project's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{shown}` is not a project name: expected letters and digits with `.`, `_` and `-` between them, up to 63"
)]
pub struct ProjectNameError {
    /// The text, made printable.
    shown: String,
}

/// A project's name in its one normal form (PEP 503): `Zope.Interface` is `zope-interface`.
///
/// # Errors
/// A text that cannot name a project.
pub fn project_name(text: &str) -> Result<Name, ProjectNameError> {
    let refused = || ProjectNameError { shown: printable(text) };
    let mut normal = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '-' | '_' | '.' if normal.ends_with('-') => {}
            '-' | '_' | '.' => normal.push('-'),
            'a'..='z' | 'A'..='Z' | '0'..='9' => normal.push(character.to_ascii_lowercase()),
            _ => return Err(refused()),
        }
    }
    if normal.ends_with('-') {
        return Err(refused());
    }
    normal.parse().map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> WheelFilename {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn takes_the_names_that_real_wheels_have() {
        for (text, project, version) in [
            ("numpy-1.26.4-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", "numpy", "1.26.4"),
            (
                "pydantic_core-2.18.2-cp311-cp311-manylinux_2_5_i686.manylinux1_i686.manylinux_2_17_i686.whl",
                "pydantic-core",
                "2.18.2",
            ),
            ("cryptography-42.0.8-cp39-abi3-manylinux_2_28_x86_64.whl", "cryptography", "42.0.8"),
            ("zope.interface-6.4-cp311-cp311-win_amd64.whl", "zope-interface", "6.4"),
            ("ruamel.yaml-0.18.6-py3-none-any.whl", "ruamel-yaml", "0.18.6"),
            ("PyYAML-6.0.1-cp311-cp311-musllinux_1_1_x86_64.whl", "pyyaml", "6.0.1"),
            ("torch-2.3.0+cpu.cxx11.abi-cp311-cp311-linux_x86_64.whl", "torch", "2.3.0+cpu.cxx11.abi"),
            ("odd-1!2.0-py2.py3-none-any.whl", "odd", "1!2.0"),
            ("six-1.16.0-1-py2.py3-none-any.whl", "six", "1.16.0"),
        ] {
            let name = parse(text);
            assert_eq!(name.project().as_str(), project);
            assert_eq!(name.version().as_str(), version);
            assert_eq!(name.to_string(), text);
        }
        let three = parse("x-1-cp311.cp312-abi3.none-a_1.b_2.c_3.whl");
        assert_eq!(three.platform_tags(), ["a_1", "b_2", "c_3"]);
        assert_eq!(three.abi_tags(), ["abi3", "none"]);
        assert_eq!(three.python_tags(), ["cp311", "cp312"]);
        assert_eq!(three.tags(), "cp311.cp312-abi3.none-a_1.b_2.c_3");
    }

    #[test]
    fn a_build_tag_counts_by_its_number_and_then_by_its_text() {
        let build = |tag: &str| parse(&format!("x-1-{tag}-py3-none-any.whl")).build().cloned();
        assert_eq!(parse("x-1-py3-none-any.whl").build(), None);
        assert!(build("2") < build("10"));
        assert!(build("1") < build("1_local"));
        assert!(None < build("0"));
    }

    #[test]
    fn refuses_names_that_are_not_wheels_and_says_what_is_wrong() {
        let error = |text: &str| text.parse::<WheelFilename>().unwrap_err().to_string();
        assert!(error("x-1.tar.gz").contains("does not end in `.whl`"));
        assert!(error("../x-1-py3-none-any.whl").contains("plain file name"));
        assert!(error("-rf-1-py3-none-any.whl").contains("plain file name"));
        assert!(error("x-1-none-any.whl").contains("4 parts"));
        assert!(error("x-1-2-3-py3-none-any.whl").contains("7 parts"));
        assert!(error("x-latest-py3-none-any.whl").contains("`latest` where its version"));
        assert!(error("x-1-b1-py3-none-any.whl").contains("`b1` where its build tag"));
        assert!(error("x-1-py3..py2-none-any.whl").contains("python tag"));
        assert!(error("_-1-py3-none-any.whl").contains("project name"));
        assert!(error("x-1-py3-none-.whl").contains("platform tag"));
        assert!(!error("x\u{1b}[2J-1-py3-none-any.whl").contains('\u{1b}'));
    }

    #[test]
    fn a_project_name_has_one_normal_form() {
        for text in ["Friendly-Bard", "FRIENDLY.BARD", "friendly_bard", "FrIeNdLy-._.-bArD"] {
            assert_eq!(project_name(text).unwrap().as_str(), "friendly-bard");
        }
        for bad in ["", "-x", "x-", "x y", "x/y", "é", &"x".repeat(64)] {
            assert!(project_name(bad).is_err(), "accepted {bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_parses_comes_back_as_it_was(
            text in "[A-Za-z][A-Za-z0-9_.]{0,8}-[0-9]{1,3}(\\.[0-9]{1,3}){0,3}(\\+[a-z0-9]{1,4})?(-[0-9][a-z]{0,2})?-(py3|cp311|py2\\.py3)-(none|abi3)-(any|win32|a\\.b\\.c)\\.whl"
        ) {
            if let Ok(name) = text.parse::<WheelFilename>() {
                proptest::prop_assert_eq!(name.to_string(), text);
            }
        }

        #[test]
        fn any_text_is_a_name_or_refused(text in ".{0,60}") {
            let _ = text.parse::<WheelFilename>();
            let _ = format!("{text}-1-py3-none-any.whl").parse::<WheelFilename>();
        }
    }
}
