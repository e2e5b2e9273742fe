//! `index.yaml` of a classic repository: which charts there are, in which versions, where their archives are
//! and what digests they have. It is YAML, or JSON, which Helm writes too.

use std::collections::BTreeMap;

use manifests::Digest;
use manifests::text::printable;
use serde::Deserialize;

use manifests::range::{Range, version};

/// Bounds an index. The largest public ones are about 25 MiB; one of this size takes a few seconds.
pub const INDEX_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// As many charts are named to somebody who has asked for one that is not there.
const NEAREST: usize = 5;

/// The document. Entries that Helm would pass over do not count.
#[derive(Debug, Default)]
pub struct Index {
    entries: BTreeMap<String, Vec<Entry>>,
}

/// A version of a chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As the index spells it.
    pub version: String,
    /// Where its archive is; relative to the repository if it has no scheme.
    pub url: String,
    /// Of the archive, as the index spells it.
    digest: Option<String>,
}

/// Why an index is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// Not text.
    #[error("it is not UTF-8 text")]
    Text,
    /// Not YAML of this shape.
    #[error(transparent)]
    Yaml(#[from] edge::yaml::YamlError),
    /// Not JSON of this shape.
    #[error("it is not an index: {0}")]
    Json(String),
    /// A digest that is none of SHA-256.
    #[error("it states `{digest}` for version {version}, which is no digest of sha256")]
    Digest {
        /// Which version, made printable.
        version: String,
        /// What it states, made printable.
        digest: String,
    },
}

/// Why there is no such chart.
#[derive(Debug)]
pub enum Lack {
    /// None of that name; those that are called nearly so.
    Chart(Vec<String>),
    /// None of a version that will do; those around it.
    Version(Vec<String>),
}

#[derive(Deserialize)]
struct Written {
    /// Not optional: a page that says something else is no index.
    entries: BTreeMap<String, Option<Vec<Option<WrittenEntry>>>>,
}

#[derive(Deserialize)]
struct WrittenEntry {
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    urls: Option<Vec<String>>,
    #[serde(default)]
    digest: Option<String>,
}

impl Index {
    /// Parses an index; `shown` is its address in messages.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub fn parse(shown: &str, bytes: &[u8]) -> Result<Self, IndexError> {
        let text = std::str::from_utf8(bytes).map_err(|_| IndexError::Text)?;
        let written: Written = if text.trim_start().starts_with('{') {
            serde_json::from_str(text).map_err(|error| IndexError::Json(printable(&error.to_string())))?
        } else {
            edge::yaml::parse_large(shown, text)?
        };
        let mut entries = BTreeMap::new();
        for (chart, versions) in written.entries {
            let versions = versions.into_iter().flatten().flatten();
            entries.insert(chart, versions.filter_map(WrittenEntry::read).collect());
        }
        Ok(Self { entries })
    }

    /// The version of a chart to take.
    ///
    /// # Errors
    /// There is none that will do.
    pub fn choose(&self, chart: &str, wanted: &Range) -> Result<&Entry, Lack> {
        let Some(versions) = self.entries.get(chart) else { return Err(Lack::Chart(self.like(chart))) };
        let texts = versions.iter().map(|entry| entry.version.as_str());
        let chosen = wanted.choose(texts.clone()).and_then(|place| versions.get(place));
        chosen.ok_or_else(|| Lack::Version(wanted.nearest(texts)))
    }

    fn like(&self, chart: &str) -> Vec<String> {
        let mut names: Vec<(usize, &String)> =
            self.entries.keys().map(|name| (distance(name, chart), name)).collect();
        names.sort();
        names.into_iter().take(NEAREST).map(|(_, name)| printable(name)).collect()
    }
}

impl WrittenEntry {
    /// `None` for what Helm passes over: an entry without a version or an address.
    fn read(self) -> Option<Entry> {
        let version = self.version.filter(|text| version(text).is_some())?;
        let url = self.urls.into_iter().flatten().next()?;
        Some(Entry { version, url, digest: self.digest.filter(|digest| !digest.is_empty()) })
    }
}

impl Entry {
    /// Of the archive, if the index states one.
    ///
    /// # Errors
    /// It states something else.
    pub fn digest(&self) -> Result<Option<Digest>, IndexError> {
        let Some(written) = &self.digest else { return Ok(None) };
        let hex = written.strip_prefix("sha256:").unwrap_or(written).to_ascii_lowercase();
        let digest = format!("sha256:{hex}").parse();
        digest
            .map(Some)
            .map_err(|_| IndexError::Digest { version: printable(&self.version), digest: printable(written) })
    }
}

/// How many letters have to be added, taken away or changed.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (position, letter) in left.chars().take(64).enumerate() {
        let mut diagonal = position;
        let mut before = position.saturating_add(1);
        for (cell, other) in row.iter_mut().skip(1).zip(&right) {
            let changed = diagonal.saturating_add(usize::from(letter != *other));
            diagonal = *cell;
            before = changed.min(diagonal.saturating_add(1)).min(before.saturating_add(1));
            *cell = before;
        }
        if let Some(first) = row.first_mut() {
            *first = position.saturating_add(1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "apiVersion: v1\nentries:\n  fraud:\n  - version: 1.10\n    urls: [fraud-1.10.tgz]\n    digest: \"4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865\"\n  - version: 1.9.0\n    urls: [https://files.example.com/a]\n  - version: nonsense\n    urls: [x]\n  - {version: 3.0.0, urls: []}\n  -\n  empty:\n  frauds: []\n";

    fn range(text: &str) -> Range {
        text.parse().unwrap()
    }

    #[test]
    fn an_index_gives_the_version_that_was_asked_for() {
        let index = Index::parse("x", TEXT.as_bytes()).unwrap();
        let found = index.choose("fraud", &range("^1")).unwrap();
        assert_eq!((found.version.as_str(), found.url.as_str()), ("1.10", "fraud-1.10.tgz"));
        assert_eq!(
            found.digest().unwrap(),
            Some("sha256:4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865".parse().unwrap())
        );
        assert_eq!(index.choose("fraud", &range("1.9.0")).unwrap().digest().unwrap(), None);
        assert!(
            matches!(index.choose("fraud", &range("3.x")), Err(Lack::Version(near)) if near == ["1.10", "1.9.0"])
        );
        assert!(matches!(index.choose("fruad", &range("*")), Err(Lack::Chart(near)) if near[0] == "fraud"));
    }

    #[test]
    fn an_index_may_be_json() {
        let text = r#" {"apiVersion":"v1","entries":{"a":[{"version":"1.0.0","urls":["a\/1.tgz"],"description":"\ud83d\ude00"}]}}"#;
        let index = Index::parse("x", text.as_bytes()).unwrap();
        assert_eq!(index.choose("a", &range("*")).unwrap().url, "a/1.tgz");
    }

    #[test]
    fn what_is_no_index_is_refused() {
        for text in [
            "<html></html>",
            "",
            "entries: 3",
            "{\"entries\": 3}",
            "- a",
            "apiVersion: v1\n",
            "a: &a [*a, *a]\nentries: {}",
        ] {
            assert!(Index::parse("x", text.as_bytes()).is_err(), "{text}");
        }
        assert!(matches!(Index::parse("x", b"\xff"), Err(IndexError::Text)));
        let md5 = TEXT.replace("4355a46b", "");
        let index = Index::parse("x", md5.as_bytes()).unwrap();
        let entry = index.choose("fraud", &range("1.10")).unwrap();
        assert!(matches!(entry.digest(), Err(IndexError::Digest { .. })));
    }

    #[test]
    fn the_distance_of_two_names_is_what_has_to_be_typed() {
        for (left, right, expected) in
            [("", "", 0), ("abc", "abc", 0), ("abc", "abd", 1), ("abc", "", 3), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(left, right), expected, "{left} {right}");
        }
    }

    #[test]
    fn an_index_as_large_as_the_largest_public_ones_is_read() {
        let mut text = "apiVersion: v1\nentries:\n".to_string();
        for chart in 0..100 {
            text.push_str(&format!("  chart-{chart}:\n"));
            for version in 0..300 {
                text.push_str(&format!(
                    "  - annotations:\n      category: Infrastructure\n      images: |\n        - name: a\n          image: docker.io/x/a:{version}\n    apiVersion: v2\n    appVersion: {version}.1.0\n    created: \"2025-01-01T00:00:00Z\"\n    dependencies:\n    - name: common\n      repository: https://charts.example.com\n      version: 2.x.x\n    description: A chart of the usual length with a few words about what it is for.\n    digest: 4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865\n    home: https://example.com\n    keywords: [a, b, c]\n    maintainers:\n    - name: Somebody\n      url: https://example.com\n    name: chart-{chart}\n    sources:\n    - https://example.com/source\n    urls:\n    - chart-{chart}-1.{version}.0.tgz\n    version: 1.{version}.0\n"
                ));
            }
        }
        assert!(text.len() > 20_000_000, "{}", text.len());
        let index = Index::parse("x", text.as_bytes()).unwrap();
        assert_eq!(index.choose("chart-7", &range("*")).unwrap().version, "1.299.0");
    }
}
