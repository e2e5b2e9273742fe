//! The classic Helm repository: `index.yaml` and the chart archives beside it, with their provenance files.
//!
//! `index.yaml` is written as JSON, which is YAML. What it says of a chart comes from the `Chart.yaml`
//! that travelled as JSON in the chart's own artifact.

use std::collections::BTreeMap;

use hyper::header::HeaderValue;
use manifests::bundle::Content;
use manifests::inventory::{Chart, Component};
use manifests::{Digest, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value};

use super::answer::{Address, Answer};
use super::request::encode;
use super::shelf::{PublishedBundle, Shelf};
use super::trouble::{Trouble, read_document};

/// Bounds a chart's metadata: it is one screen of text, and Helm itself takes 5 MiB for any file.
const METADATA_BYTES_MAX: u64 = 1024 * 1024;

/// What `/charts/` answers.
#[derive(Debug, Default)]
pub(super) struct ChartRepository {
    entries: BTreeMap<String, Vec<ChartEntry>>,
    archives: BTreeMap<String, Content>,
    /// `helm pull --prov` asks for the archive's address with `.prov` behind it.
    provenances: BTreeMap<String, Content>,
    generated: Option<Timestamp>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IndexFile<'a> {
    api_version: &'static str,
    entries: &'a BTreeMap<String, Vec<ChartEntry>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generated: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ChartEntry {
    api_version: String,
    name: String,
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kube_version: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    digest: String,
    urls: Vec<String>,
    created: Timestamp,
}

impl ChartRepository {
    /// Adds the charts of a bundle. A name and version that is taken stays with the bundle that has it.
    pub(super) fn add(&mut self, shelf: &dyn Shelf, bundle: &PublishedBundle, troubles: &mut Vec<Trouble>) {
        self.generated = self.generated.max(Some(bundle.applied));
        for component in &bundle.inventory.components {
            let Component::Chart(chart) = component else { continue };
            let file = archive_name(chart);
            if self.archives.contains_key(&file) {
                continue;
            }
            let metadata = metadata(shelf, chart).unwrap_or_else(|trouble| {
                troubles.push(trouble);
                Map::new()
            });
            self.entries.entry(chart.name.to_string()).or_default().push(entry(
                chart,
                &file,
                &metadata,
                bundle.applied,
            ));
            if let Some(provenance) = chart.provenance {
                self.provenances.insert(format!("{file}.prov"), provenance);
            }
            self.archives.insert(file, chart.archive);
        }
    }

    /// `index.yaml`
    pub(super) fn index(&self) -> Answer {
        let index = IndexFile { api_version: "v1", entries: &self.entries, generated: self.generated };
        Answer::json("application/yaml", &index)
    }

    /// A chart's archive, or its provenance file.
    pub(super) fn file(&self, file: &str) -> Option<Answer> {
        let answer = |content: &Content, media_type: &'static str| {
            Answer::blob(*content, HeaderValue::from_static(media_type), Address::Name)
        };
        let archive = self.archives.get(file).map(|content| answer(content, "application/gzip"));
        archive.or_else(|| self.provenances.get(file).map(|content| answer(content, "text/plain")))
    }

    /// Whether this chart is the one that its name and version stand for.
    pub(super) fn offers(&self, chart: &Chart) -> bool {
        self.archives.get(&archive_name(chart)).is_some_and(|content| is(content, &chart.archive.digest))
    }
}

fn is(content: &Content, digest: &Digest) -> bool {
    content.digest == *digest
}

/// The file name of a chart's archive, as `helm package` makes it.
pub(super) fn archive_name(chart: &Chart) -> String {
    format!("{}-{}.tgz", chart.name, chart.version)
}

fn metadata(shelf: &dyn Shelf, chart: &Chart) -> Result<Map<String, Value>, Trouble> {
    let bytes = read_document(shelf, chart.metadata, METADATA_BYTES_MAX)?;
    serde_json::from_slice(&bytes).map_err(|_| Trouble::ChartMetadata(chart.metadata.digest))
}

fn entry(chart: &Chart, file: &str, metadata: &Map<String, Value>, created: Timestamp) -> ChartEntry {
    let text = |key: &str| metadata.get(key).and_then(Value::as_str).map(str::to_string);
    ChartEntry {
        // Helm drops an entry without one; v2 is what every chart of Helm 3 has.
        api_version: text("apiVersion").unwrap_or_else(|| "v2".to_string()),
        name: chart.name.to_string(),
        version: chart.version.to_string(),
        app_version: text("appVersion"),
        description: text("description"),
        kube_version: text("kubeVersion"),
        kind: text("type"),
        digest: chart.archive.digest.hex(),
        urls: vec![encode(file)],
        created,
    }
}
