//! What is looked at inside a chart's archive: the few documents that say what it is and what it needs, and
//! the same of the charts in its `charts/`. Nothing is unpacked to disk.
//!
//! The archive is read to its very end: what is damaged behind the last entry is damaged too. What different
//! readers would see differently (links, a file twice, a path that leads out) is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use manifests::bundle::Content;
use manifests::text::printable;
use serde::Deserialize;

use super::error::{ChartError, not_a_chart};
use super::{CHART_BYTES_MAX, SMALL_FILE_BYTES_MAX};

/// Everything that is unpacked of one chart and the archives inside it.
const TOTAL_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// A chart in a chart in a chart; nobody goes further.
const NESTING_MAX: usize = 8;

/// What we need of `Chart.yaml`. Typed, because `version: 1.10` without a type is 1.1.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ChartYaml {
    pub(super) name: String,
    pub(super) version: String,
    #[serde(default)]
    pub(super) app_version: Option<String>,
    #[serde(default)]
    dependencies: Option<Vec<Dependency>>,
}

/// What a chart says of one that it needs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Dependency {
    pub(super) name: String,
    #[serde(default)]
    pub(super) version: Option<String>,
    #[serde(default)]
    pub(super) repository: Option<String>,
}

/// `Chart.lock`, and `requirements.yaml` of charts for Helm 2.
#[derive(Debug, Clone, Deserialize)]
struct DependencyList {
    #[serde(default)]
    dependencies: Option<Vec<Dependency>>,
}

/// A chart as its files say it is.
#[derive(Debug)]
pub(super) struct Inside {
    /// `Chart.yaml`
    pub(super) text: String,
    pub(super) yaml: ChartYaml,
    /// What it needs.
    pub(super) needs: Vec<Dependency>,
    /// What its lock file pins, if it has one.
    pub(super) lock: Option<Vec<Dependency>>,
    /// The charts in its `charts/`.
    pub(super) charts: Vec<Vendored>,
}

/// A chart in a chart's `charts/`.
#[derive(Debug)]
pub(super) struct Vendored {
    /// Its archive, unless it is a directory.
    pub(super) archive: Option<Content>,
    pub(super) chart: Inside,
}

/// The documents of one chart, before they are parsed.
#[derive(Debug, Default)]
struct Documents {
    chart: Option<String>,
    lock: Option<String>,
    requirements: Option<String>,
    requirements_lock: Option<String>,
    archives: BTreeMap<String, (Content, Inside)>,
}

impl Inside {
    /// Reads an archive; `shown` is its name in messages.
    ///
    /// # Errors
    /// It is no chart that every reader would see in the same way, or unpacks to too much.
    pub(super) fn read(archive: impl Read, shown: &Path) -> Result<Self, ChartError> {
        let mut left = TOTAL_BYTES_MAX;
        Self::nested(archive, shown, NESTING_MAX, &mut left)
    }

    fn nested(archive: impl Read, shown: &Path, nesting: usize, left: &mut u64) -> Result<Self, ChartError> {
        let most = CHART_BYTES_MAX.min(*left);
        let limit = most.saturating_add(1);
        let mut archive = tar::Archive::new(MultiGzDecoder::new(archive).take(limit));
        let mut inner_left = *left;
        let found = entries(&mut archive, shown, nesting, &mut inner_left);
        let mut rest = archive.into_inner();
        let drained = io::copy(&mut rest, &mut io::sink());
        if rest.limit() == 0 {
            return Err(not_a_chart(shown, format!("it unpacks to more than {most} bytes")));
        }
        *left = inner_left.saturating_sub(limit.saturating_sub(rest.limit()));
        let found = found?;
        drained.map_err(|error| not_a_chart(shown, error.to_string()))?;
        assemble(found, "", shown)
    }

    /// The dependencies that are not in its `charts/`, by name.
    pub(super) fn missing(&self) -> Vec<&Dependency> {
        self.needs
            .iter()
            .filter(|need| !self.charts.iter().any(|found| found.chart.yaml.name == need.name))
            .collect()
    }

    /// A dependency of a chart inside it that is not there: Helm does not mind, and renders without it.
    pub(super) fn missing_below(&self) -> Vec<(&str, &str)> {
        let mut found = Vec::new();
        for vendored in &self.charts {
            let name = vendored.chart.yaml.name.as_str();
            found.extend(vendored.chart.missing().into_iter().map(|need| (name, need.name.as_str())));
            found.extend(vendored.chart.missing_below());
        }
        found
    }
}

/// Reads every entry, sorted by the chart inside the chart that it belongs to: `charts/NAME/`, and `` for the
/// chart itself.
fn entries<R: Read>(
    archive: &mut tar::Archive<R>,
    shown: &Path,
    nesting: usize,
    left: &mut u64,
) -> Result<BTreeMap<String, Documents>, ChartError> {
    let broken = |error: io::Error| not_a_chart(shown, error.to_string());
    let (mut found, mut names) = (BTreeMap::<String, Documents>::new(), BTreeSet::new());
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let kind = entry.header().entry_type();
        if !(kind.is_file() || kind.is_dir()) {
            return Err(not_a_chart(shown, "it holds a link or a device".to_string()));
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !stays_inside(&name) {
            return Err(not_a_chart(shown, format!("`{}` in it leads out of the chart", printable(&name))));
        }
        // Which of the two Helm takes depends on the file.
        if kind.is_file() && !names.insert(name.clone()) {
            return Err(not_a_chart(shown, format!("it holds `{}` twice", printable(&name))));
        }
        // Helm takes the first part of a path for the chart's name, whatever it is.
        let Some((_, inner)) = name.split_once('/').filter(|_| kind.is_file()) else { continue };
        let (below, file) = split(inner);
        let documents = found.entry(below.to_string()).or_default();
        if let Some(document) = documents.by_name(file) {
            let text = small(&mut entry, file, shown)?;
            if document.replace(text).is_some() {
                return Err(not_a_chart(shown, format!("it holds {} twice", printable(inner))));
            }
        } else if let Some(packed) = vendored_archive(file) {
            if nesting == 0 {
                return Err(not_a_chart(shown, "its charts are nested too deeply".to_string()));
            }
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(broken)?;
            let inside = Inside::nested(bytes.as_slice(), &shown.join(file), nesting - 1, left)?;
            documents.archives.insert(packed.to_string(), (Content::of(&bytes), inside));
        }
    }
    Ok(found)
}

impl Documents {
    fn by_name(&mut self, file: &str) -> Option<&mut Option<String>> {
        match file {
            "Chart.yaml" => Some(&mut self.chart),
            "Chart.lock" => Some(&mut self.lock),
            "requirements.yaml" => Some(&mut self.requirements),
            "requirements.lock" => Some(&mut self.requirements_lock),
            _ => None,
        }
    }
}

fn small(entry: &mut impl Read, file: &str, shown: &Path) -> Result<String, ChartError> {
    let mut bytes = Vec::new();
    let read = entry.take(SMALL_FILE_BYTES_MAX.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| not_a_chart(shown, error.to_string()))?;
    if bytes.len() as u64 > SMALL_FILE_BYTES_MAX {
        return Err(not_a_chart(shown, format!("its {file} is longer than {SMALL_FILE_BYTES_MAX} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| not_a_chart(shown, format!("its {file} is not UTF-8 text")))
}

/// The directory of the chart that a file belongs to, and its name in there.
fn split(inner: &str) -> (&str, &str) {
    let mut end = 0;
    while let Some(rest) = inner.get(end..).and_then(|rest| rest.strip_prefix("charts/")) {
        match rest.split_once('/') {
            Some((name, _)) if is_taken(name) && !name.ends_with(".tgz") => {
                end = end.saturating_add("charts/".len()).saturating_add(name.len()).saturating_add(1);
            }
            _ => break,
        }
    }
    inner.split_at(end)
}

/// The file name of an archive that lies in `charts/` itself.
fn vendored_archive(file: &str) -> Option<&str> {
    file.strip_prefix("charts/")
        .filter(|name| !name.contains('/') && name.ends_with(".tgz") && is_taken(name))
}

/// Helm passes over what is hidden.
fn is_taken(name: &str) -> bool {
    !name.starts_with(['_', '.'])
}

/// Whether every system takes the name for the same place below the directory of unpacking.
fn stays_inside(name: &str) -> bool {
    !name.starts_with('/') && !name.contains(['\\', '\0']) && name.split('/').all(|part| part != "..")
}

/// The chart of a directory, with those below it.
fn assemble(mut all: BTreeMap<String, Documents>, below: &str, shown: &Path) -> Result<Inside, ChartError> {
    let own = all.remove(below).unwrap_or_default();
    let text = own.chart.ok_or_else(|| not_a_chart(shown, "it has no Chart.yaml".to_string()))?;
    let place = |file: &str| format!("{}/{file}", shown.join(below).display());
    let yaml: ChartYaml = edge::yaml::parse(&place("Chart.yaml"), &text)?;
    let list = |file: &str, text: Option<String>| -> Result<Option<Vec<Dependency>>, ChartError> {
        let Some(text) = text else { return Ok(None) };
        let list: DependencyList = edge::yaml::parse(&place(file), &text)?;
        Ok(Some(list.dependencies.unwrap_or_default()))
    };
    let requirements = list("requirements.yaml", own.requirements)?;
    let needs = requirements.or_else(|| yaml.dependencies.clone()).unwrap_or_default();
    let lock = list("requirements.lock", own.requirements_lock)?;
    let lock = list("Chart.lock", own.lock)?.or(lock);
    let archives = own.archives.into_values();
    let mut charts: Vec<Vendored> =
        archives.map(|(archive, chart)| Vendored { archive: Some(archive), chart }).collect();
    let start = format!("{below}charts/");
    let directories: Vec<String> =
        all.keys().filter(|key| key.strip_prefix(&start).is_some_and(is_one_directory)).cloned().collect();
    for directory in directories {
        // A directory without one is no chart.
        if all.get(&directory).is_none_or(|documents| documents.chart.is_none()) {
            continue;
        }
        let inner = all.keys().filter(|key| key.starts_with(&directory)).cloned().collect::<Vec<_>>();
        let inner = inner.into_iter().filter_map(|key| Some((key.clone(), all.remove(&key)?))).collect();
        charts.push(Vendored { archive: None, chart: assemble(inner, &directory, shown)? });
    }
    Ok(Inside { text, yaml, needs, lock, charts })
}

fn is_one_directory(rest: &str) -> bool {
    rest.find('/') == rest.len().checked_sub(1)
}
