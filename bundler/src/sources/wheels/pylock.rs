//! `pylock.toml`, the lock of Python projects (PEP 751): which files of which projects.
//!
//! Only what names files is read here. Markers are `uv`'s to evaluate, so that there is one reading of
//! them. Every file needs a sha256: what has none cannot be pinned.

use std::collections::BTreeMap;
use std::path::PathBuf;

use manifests::text::printable;
use manifests::{Digest, Name};
use registry::Url;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Class;
use super::filename::{WheelFilename, project_name};
use super::tags::PythonVersion;
use super::version::{PythonRange, Version};

/// Bounds the file. A universal lock of a large application has about 5 MiB.
pub const PYLOCK_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Why a text is not a lock that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PylockError {
    /// Not TOML, or not in the form of PEP 751.
    #[error("{file}:{line}: this is not a lock by PEP 751: {reason}")]
    Form {
        /// The file.
        file: String,
        /// Counted from 1.
        line: usize,
        /// Where it differs. Never the line itself, which may hold a password.
        reason: String,
    },
    /// A later version of the format.
    #[error("{file} has lock-version `{version}`, expected 1.0")]
    Version {
        /// The file.
        file: String,
        /// Made printable.
        version: String,
    },
    /// Not from an index: there is no file with a digest.
    #[error("{file} takes {project} from {kind}: only wheels with a sha256 can be carried")]
    Kind {
        /// The file.
        file: String,
        /// The project.
        project: String,
        /// `a directory`, `version control`, `an archive by address`.
        kind: &'static str,
    },
    /// A value that is not what its key asks for.
    #[error("{file} has `{shown}` as the {what} of {project}")]
    Value {
        /// The file.
        file: String,
        /// The project.
        project: String,
        /// `name`, `version`, `sha256`, `address`.
        what: &'static str,
        /// Made printable.
        shown: String,
    },
    /// The lock excludes the interpreter.
    #[error("{file} needs Python {requires}, the target has {python}")]
    RequiresPython {
        /// The file.
        file: String,
        /// `>=3.12`
        requires: String,
        /// What the target has.
        python: PythonVersion,
    },
}

impl PylockError {
    /// Which kind of failure it is.
    #[must_use]
    pub fn class(&self) -> Class {
        Class::Spec
    }
}

/// A lock.
#[derive(Debug, Clone)]
pub struct Pylock {
    file: String,
    requires_python: Option<String>,
    /// Its packages, in the order of the file. One project may be there more than once, for other markers.
    pub packages: Vec<Package>,
}

/// A project at a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// The project.
    pub project: Name,
    /// Its version; source trees may have none, and those are refused.
    pub version: Version,
    /// Its wheels. Files whose names are not those of wheels are left out: no target takes them.
    pub wheels: Vec<LockedWheel>,
    /// Its source distribution.
    pub sdist: Option<LockedFile>,
}

/// A wheel of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedWheel {
    /// Its name.
    pub filename: WheelFilename,
    /// Where it is.
    pub file: LockedFile,
}

/// A file of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedFile {
    /// Its name: not yet known to be a plain file name.
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// Its digest.
    pub sha256: Digest,
    /// Bytes, if the lock states them.
    pub size: Option<u64>,
}

/// Where a file of a lock is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// On a server; without user information.
    Url(Url),
    /// On this machine: absolute, or relative to the lock.
    Path(PathBuf),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    lock_version: String,
    #[serde(default)]
    requires_python: Option<String>,
    #[serde(default)]
    packages: Vec<RawPackage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawPackage {
    name: String,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    vcs: Option<IgnoredAny>,
    #[serde(default)]
    directory: Option<IgnoredAny>,
    #[serde(default)]
    archive: Option<IgnoredAny>,
    #[serde(default)]
    sdist: Option<RawFile>,
    #[serde(default)]
    wheels: Vec<RawFile>,
}

#[derive(Deserialize)]
struct RawFile {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
}

impl Pylock {
    /// Reads a lock; `file` is its name for messages.
    ///
    /// # Errors
    /// See [`PylockError`].
    pub fn parse(file: &str, text: &str) -> Result<Self, PylockError> {
        let form = |error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            PylockError::Form { file: file.to_string(), line, reason: printable(error.message()) }
        };
        let document: Document = toml::from_str(text).map_err(form)?;
        if document.lock_version.split('.').next() != Some("1") {
            let version = printable(&document.lock_version);
            return Err(PylockError::Version { file: file.to_string(), version });
        }
        let packages =
            document.packages.into_iter().map(|raw| package(file, raw)).collect::<Result<_, _>>()?;
        Ok(Self { file: file.to_string(), requires_python: document.requires_python, packages })
    }

    /// Whether the lock is for this interpreter. What cannot be read excludes none, as in pip.
    ///
    /// # Errors
    /// It is not.
    pub fn admits(&self, python: PythonVersion) -> Result<(), PylockError> {
        let Some(requires) = &self.requires_python else { return Ok(()) };
        let range: Option<PythonRange> = requires.parse().ok();
        if range.is_none_or(|range| range.admits(python)) {
            return Ok(());
        }
        let (file, requires) = (self.file.clone(), printable(requires));
        Err(PylockError::RequiresPython { file, requires, python })
    }

    /// What the lock says of a project at a version: its files from all entries that name both.
    #[must_use]
    pub fn find(&self, project: &Name, version: &Version) -> Option<Package> {
        let mut entries =
            self.packages.iter().filter(|entry| entry.project == *project && entry.version == *version);
        let mut found = entries.next()?.clone();
        for more in entries {
            found.wheels.extend(more.wheels.iter().cloned());
            found.sdist = found.sdist.or_else(|| more.sdist.clone());
        }
        Some(found)
    }
}

fn package(file: &str, raw: RawPackage) -> Result<Package, PylockError> {
    let shown = printable(&raw.name);
    let value = |what, text: &str| PylockError::Value {
        file: file.to_string(),
        project: shown.clone(),
        what,
        shown: printable(text),
    };
    let kinds = [
        ("version control", raw.vcs.is_some()),
        ("a directory", raw.directory.is_some()),
        ("an archive by address", raw.archive.is_some()),
    ];
    if let Some((kind, _)) = kinds.into_iter().find(|(_, there)| *there) {
        return Err(PylockError::Kind { file: file.to_string(), project: shown, kind });
    }
    let version = raw.version.unwrap_or_default();
    let mut wheels = Vec::new();
    for raw in raw.wheels {
        let file = locked_file(raw, &value)?;
        if let Ok(filename) = file.name.parse() {
            wheels.push(LockedWheel { filename, file });
        }
    }
    Ok(Package {
        project: project_name(&raw.name).map_err(|_| value("name", &raw.name))?,
        version: version.parse().map_err(|_| value("version", &version))?,
        wheels,
        sdist: raw.sdist.map(|raw| locked_file(raw, &value)).transpose()?,
    })
}

fn locked_file(
    raw: RawFile,
    value: &dyn Fn(&'static str, &str) -> PylockError,
) -> Result<LockedFile, PylockError> {
    let hex = raw.hashes.get("sha256").map(String::as_str).unwrap_or_default();
    let sha256 = Digest::from_hex(&hex.to_ascii_lowercase()).map_err(|_| value("sha256", hex))?;
    let place = match (raw.url.as_deref(), raw.path) {
        (_, Some(path)) => Place::Path(PathBuf::from(path)),
        (Some(url), None) => match url.strip_prefix("file://") {
            Some(path) => Place::Path(PathBuf::from(String::from_utf8_lossy(&unescaped(path)).into_owned())),
            // Not shown: it may hold a password.
            None => {
                let url: Url = url.parse().map_err(|_| value("address", "…"))?;
                Place::Url(url.without_userinfo())
            }
        },
        (None, None) => return Err(value("address", "")),
    };
    let last = match &place {
        Place::Url(url) => url.file_name(),
        Place::Path(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    };
    Ok(LockedFile { name: raw.name.unwrap_or(last), place, sha256, size: raw.size })
}

/// Percent escapes taken back.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let pair = after.get(..2).filter(|_| *first == b'%').and_then(|pair| std::str::from_utf8(pair).ok());
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";

    fn lock(packages: &str) -> Result<Pylock, PylockError> {
        Pylock::parse("pylock.toml", &format!("lock-version = \"1.0\"\ncreated-by = \"x\"\n{packages}"))
    }

    fn refusal(packages: &str) -> String {
        lock(packages).unwrap_err().to_string()
    }

    #[test]
    fn reads_what_names_files() {
        let text = format!(
            "requires-python = '>=3.9'\nenvironments = [\"sys_platform == 'linux'\"]\n\
             [[packages]]\nname = 'Zope.Interface'\nversion = '6.4'\nmarker = \"python_version < '3.13'\"\n\
             requires-python = '>=3.7'\ndependencies = [{{name = 'setuptools'}}]\nindex = 'https://u:hunter2@x/simple'\n\
             sdist = {{name = 'zope.interface-6.4.tar.gz', url = 'https://x/z.tar.gz', hashes = {{sha256 = '{HEX}'}}}}\n\
             wheels = [{{url = 'https://u:hunter2@x/zope.interface-6.4-py3-none-any.whl', upload-time = 2026-11-10T18:17:10Z, size = 7, hashes = {{sha256 = '{HEX}', md5 = '0'}}}},\n\
             {{path = 'w/zope.interface-6.4-cp311-cp311-win_amd64.whl', hashes = {{sha256 = '{HEX}'}}}},\n\
             {{url = 'file:///a%20b/zope.interface-6.4-cp312-cp312-win_amd64.whl', hashes = {{sha256 = '{HEX}'}}}},\n\
             {{name = 'zope.interface-6.4.egg', url = 'https://x/e', hashes = {{sha256 = '{HEX}'}}}}]\n"
        );
        let lock = lock(&text).unwrap();
        let version = "6.4.0".parse().unwrap();
        let found = lock.find(&"zope-interface".parse().unwrap(), &version).unwrap();
        assert_eq!(found.wheels.len(), 3);
        assert_eq!(found.wheels[0].file.size, Some(7));
        assert!(matches!(&found.wheels[0].file.place, Place::Url(url) if !url.to_wire().contains("hunter2")));
        assert_eq!(
            found.wheels[1].file.place,
            Place::Path("w/zope.interface-6.4-cp311-cp311-win_amd64.whl".into())
        );
        assert!(matches!(&found.wheels[2].file.place, Place::Path(path) if path.starts_with("/a b")));
        assert_eq!(found.sdist.unwrap().name, "zope.interface-6.4.tar.gz");
        assert!(lock.admits("3.9".parse().unwrap()).is_ok());
        let error = lock.admits("3.8".parse().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "pylock.toml needs Python >=3.9, the target has 3.8");
    }

    #[test]
    fn refuses_by_name_what_is_no_file_with_a_digest() {
        let says = |kind: &str| refusal(&format!("[[packages]]\nname = 'x'\nversion = '1'\n{kind}\n"));
        assert!(says("directory = {path = '.'}").contains("takes x from a directory"));
        assert!(says("vcs = {type = 'git', url = 'https://x', commit-id = '1'}").contains("version control"));
        assert!(says("archive = {url = 'https://x/x.zip'}").contains("an archive by address"));
        assert!(
            says("wheels = [{url = 'https://x/x-1-py3-none-any.whl', hashes = {md5 = '0'}}]")
                .contains("sha256")
        );
        let hidden = says(&format!("sdist = {{url = 'ftp://u:hunter2@x/y', hashes = {{sha256 = '{HEX}'}}}}"));
        assert!(hidden.contains("address of x") && !hidden.contains("hunter2"), "{hidden}");
    }

    #[test]
    fn refuses_what_is_not_a_lock_of_this_version() {
        let two = Pylock::parse("p", "lock-version = \"2.0\"\n").unwrap_err();
        assert_eq!(two.to_string(), "p has lock-version `2.0`, expected 1.0");
        let error =
            Pylock::parse("p", "lock-version = '1.0'\nx = 'https://u:hunter2@x\n").unwrap_err().to_string();
        assert!(error.starts_with("p:2: ") && !error.contains("hunter2"), "{error}");
        assert!(matches!(Pylock::parse("p", ""), Err(PylockError::Form { .. })));
        assert!(refusal("[[packages]]\nname = '-'\nversion = '1'\n").contains("name"));
        assert!(refusal("[[packages]]\nname = 'x'\n").contains("version"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
            let _ = lock(&text);
        }
    }
}
