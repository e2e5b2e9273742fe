//! Where a chart is, as an entry of `charts:` says it.

use std::path::PathBuf;

use manifests::Digest;
use manifests::text::Name;

use crate::spec::ChartSpec;
use manifests::range::{self, Range};

/// How an address of a registry begins.
pub(super) const OCI: &str = "oci://";

/// Where a chart is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChartPlace {
    /// A directory or an archive.
    Path(PathBuf),
    /// A classic repository.
    Repository {
        /// Its address, perhaps with a login: **a secret**.
        url: String,
        /// The chart.
        name: Name,
        /// Which versions will do.
        version: Range,
    },
    /// A repository of a registry.
    Oci(OciPlace),
}

/// A chart in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OciPlace {
    /// `HOST[:PORT]`
    pub host: String,
    /// The path of the repository.
    pub path: String,
    /// Which of its manifests.
    pub wanted: OciWish,
}

/// Which manifest of a repository is the chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OciWish {
    /// The one with this tag.
    Tag(String),
    /// The one with this digest, and the tag beside it that says its version.
    Digest(Digest, Option<String>),
    /// One whose tag is a version that will do.
    Version(Range),
}

impl ChartPlace {
    /// Reads an entry.
    ///
    /// # Errors
    /// What is missing, too much, or not what it should be.
    pub fn of(spec: &ChartSpec) -> Result<Self, String> {
        let version = spec.version.as_deref().map(str::parse::<Range>).transpose();
        let version = version.map_err(|error| format!("has a `version` that is none: {error}"))?;
        match (&spec.source, &spec.repo) {
            (Some(_), Some(_)) => Err("has `source` and `repo`: take one of them out".to_string()),
            (None, None) => Err("needs `source`, or `repo` with `name` and `version`".to_string()),
            (None, Some(url)) => match (&spec.name, version) {
                (Some(name), Some(version)) => {
                    Ok(Self::Repository { url: url.clone(), name: name.clone(), version })
                }
                _ => Err("has a `repo` and needs `name` and `version` with it".to_string()),
            },
            (Some(_), None) if spec.name.is_some() => {
                Err("has a `name`, which belongs to a `repo`".to_string())
            }
            (Some(_), None) if spec.password_file.is_some() => {
                Err("has a `passwordFile`, which belongs to a `repo`".to_string())
            }
            (Some(source), None) => match source.to_string_lossy().strip_prefix(OCI) {
                Some(rest) => Ok(Self::Oci(OciPlace::parse(rest, version)?)),
                None if version.is_some() => {
                    Err("has a `version`, which belongs to a `repo` or to `oci://`".to_string())
                }
                None => Ok(Self::Path(source.clone())),
            },
        }
    }
}

impl OciPlace {
    /// `None` if these are no host and path.
    pub(super) fn at(host: &str, path: &str, wanted: OciWish) -> Option<Self> {
        let parsed = format!("{host}/{path}:0").parse::<manifests::Reference>().ok()?;
        (parsed.host() == host).then(|| Self { host: host.to_string(), path: path.to_string(), wanted })
    }

    /// `HOST[:PORT]/PATH[:TAG][@sha256:…]`, with the version that may stand for the tag.
    fn parse(text: &str, version: Option<Range>) -> Result<Self, String> {
        let odd = |what: &str| {
            format!("has a `source` that is none: {what}, expected oci://HOST[:PORT]/PATH[:VERSION]")
        };
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => {
                let digest = digest.parse::<Digest>().map_err(|_| odd("its digest is not of sha256"))?;
                (name, Some(digest))
            }
            None => (text, None),
        };
        let (host, rest) = name.split_once('/').ok_or_else(|| odd("it has no path"))?;
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag.replace('+', "_"))),
            None => (rest, None),
        };
        // A host without a dot or port would be Docker Hub's in a reference of an image.
        let reference = format!("{host}/{path}:{}", tag.as_deref().unwrap_or("0"));
        let parsed = reference.parse::<manifests::Reference>().map_err(|error| odd(&error.to_string()))?;
        if parsed.host() != host {
            return Err(odd("it begins with no host"));
        }
        let wanted = match (digest, tag, version) {
            (Some(digest), tag, None) => OciWish::Digest(digest, tag),
            (None, Some(tag), None) => OciWish::Tag(tag),
            (None, None, Some(version)) => OciWish::Version(version),
            (None, None, None) => {
                return Err("needs a version: `version: 1.2.3`, or \"*\" for the newest".to_string());
            }
            _ => return Err("says its version twice, in `source` and in `version`".to_string()),
        };
        Ok(Self { host: host.to_string(), path: path.to_string(), wanted })
    }
}

/// The version that a tag stands for, if it is one: tags have `_` for `+`.
#[must_use]
pub fn version_of(tag: &str) -> Option<String> {
    let text = tag.replace('_', "+");
    range::version(&text).map(|_| text)
}

/// The tag of a version.
#[must_use]
pub fn tag_of(version: &str) -> String {
    version.replace('+', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Result<ChartPlace, String> {
        ChartPlace::of(&edge::yaml::parse("x", text).unwrap())
    }

    #[test]
    fn a_chart_is_a_path_an_entry_of_a_repository_or_a_manifest_of_a_registry() {
        assert_eq!(place("source: charts/a").unwrap(), ChartPlace::Path("charts/a".into()));
        let repository = place("{repo: \"https://h/c\", name: a, version: ^1.2}").unwrap();
        assert!(matches!(repository, ChartPlace::Repository { name, .. } if name.as_str() == "a"));
        let oci = |text: &str| match place(text).unwrap() {
            ChartPlace::Oci(place) => place,
            other => panic!("{other:?}"),
        };
        let tagged = oci("source: oci://h.example:5000/c/a:1.2.3+b");
        assert_eq!(tagged.wanted, OciWish::Tag("1.2.3_b".to_string()));
        assert_eq!((tagged.host.as_str(), tagged.path.as_str()), ("h.example:5000", "c/a"));
        assert!(matches!(oci("{source: \"oci://h.example/a\", version: ^1}").wanted, OciWish::Version(_)));
        let digest = Digest::of(b"x");
        let pinned = oci(&format!("source: oci://h.example/a:1.0.0@{digest}"));
        assert_eq!(pinned.wanted, OciWish::Digest(digest, Some("1.0.0".to_string())));
    }

    #[test]
    fn an_entry_that_contradicts_itself_is_refused() {
        for (text, says) in [
            ("{}", "needs `source`"),
            ("{source: a, repo: \"https://h\"}", "take one of them out"),
            ("{repo: \"https://h\", name: a}", "needs `name` and `version`"),
            ("{repo: \"https://h\", name: a, version: latest}", "neither a version"),
            ("{source: a, version: 1.0.0}", "belongs to a `repo` or to `oci://`"),
            ("{source: a, name: a}", "belongs to a `repo`"),
            ("{source: \"oci://h.example/a\"}", "needs a version"),
            ("{source: \"oci://h.example/a:1.0.0\", version: 1.0.0}", "twice"),
            ("{source: \"oci://h/a:1.0.0\"}", "begins with no host"),
            ("{source: \"oci://h.example\"}", "no path"),
            ("{source: \"oci://h.example/A:1.0.0\"}", "lower-case"),
            ("{source: \"oci://h.example/a@sha512:00\"}", "not of sha256"),
            ("{source: \"oci://h.example/a:1.0.0\", passwordFile: x}", "belongs to a `repo`"),
        ] {
            let error = place(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
