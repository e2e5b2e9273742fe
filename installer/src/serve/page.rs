//! The page for people: what is here, who signed it, and the command that fetches each thing.
//!
//! Everything on it is escaped by the template engine, and every command is made of checked names and
//! percent-encoded paths, so pasting one runs nothing else. The page loads nothing and runs nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{CONTENT_SECURITY_POLICY, HeaderValue};
use manifests::Digest;
use manifests::inventory::{Chart, Component, Image, Wheelhouse};
use minijinja::context;
use minijinja::value::Serde;
use serde::Serialize;

use super::answer::Answer;
use super::catalogue::Catalogue;
use super::files::{file_path, files_of};
use super::python::wheel_path;
use super::repositories::{Lookup, repository_name, tag_of};
use super::request::encode_path;
use super::routes::Templates;
use super::shelf::PublishedBundle;

/// The template.
pub(super) const TEMPLATE: (&str, &str) = ("page.html", include_str!("page.html"));

/// Bounds what the page lists of one component: a file set may hold 100,000 files.
const ENTRIES_MAX: usize = 300;

#[derive(Serialize)]
struct BundleView {
    product: String,
    version: String,
    publisher: String,
    marking: String,
    digest: String,
    created: String,
    applied: String,
    expires: Option<String>,
    signers: Vec<String>,
    is_current: bool,
    images: Vec<ImageView>,
    charts: Vec<ChartView>,
    sets: Vec<SetView>,
}

#[derive(Serialize)]
struct ImageView {
    name: String,
    platforms: String,
    digest: String,
    command: String,
}

#[derive(Serialize)]
struct ChartView {
    name: String,
    version: String,
    size: String,
    command: String,
    download: String,
}

/// A wheelhouse, or what is nothing but files.
#[derive(Serialize)]
struct SetView {
    title: String,
    detail: String,
    entries: Vec<EntryView>,
    /// Entries that the page leaves out.
    more: usize,
}

#[derive(Serialize)]
struct EntryView {
    name: String,
    href: String,
    size: String,
    command: String,
}

/// `/`, with commands that use `host`, which is of a checked alphabet.
pub(super) fn answer(catalogue: &Catalogue, host: &str, templates: &Templates) -> Answer {
    let mut products = std::collections::BTreeSet::new();
    let view = |bundle: &std::sync::Arc<PublishedBundle>| {
        let manifest = &bundle.manifest;
        let is_current = products.insert((manifest.publisher.clone(), manifest.product.clone()));
        bundle_view(catalogue, bundle, host, is_current)
    };
    let bundles: Vec<BundleView> = catalogue.bundles.iter().map(view).collect();
    let page = templates
        .environment
        .get_template(TEMPLATE.0)
        .and_then(|template| template.render(context! { host, bundles => Serde(bundles) }));
    match page {
        Ok(page) => Answer::document("text/html; charset=utf-8", page)
            .with(CONTENT_SECURITY_POLICY, templates.page_policy.clone()),
        Err(error) => Answer::problem_of(&error),
    }
}

/// The page's content security policy: its one style sheet, by hash, and nothing else.
pub(super) fn policy() -> HeaderValue {
    let style = TEMPLATE.1.split_once("<style>").and_then(|(_, rest)| rest.split_once("</style>"));
    let hash = STANDARD.encode(Digest::of(style.map_or("", |(style, _)| style).as_bytes()).as_bytes());
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

fn bundle_view(catalogue: &Catalogue, bundle: &PublishedBundle, host: &str, is_current: bool) -> BundleView {
    let manifest = &bundle.manifest;
    let mut view = BundleView {
        product: manifest.product.to_string(),
        version: manifest.version.to_string(),
        publisher: manifest.publisher.to_string(),
        marking: manifest.marking.to_string(),
        digest: bundle.digest.to_string(),
        created: manifest.created.to_string(),
        applied: bundle.applied.to_string(),
        expires: manifest.expires.map(|time| time.to_string()),
        signers: bundle.signers.clone(),
        is_current,
        images: Vec::new(),
        charts: Vec::new(),
        sets: Vec::new(),
    };
    for component in &bundle.inventory.components {
        match component {
            Component::Image(image) => view.images.push(image_view(catalogue, component, image, host)),
            Component::Wheelhouse(wheelhouse) => view.sets.push(wheelhouse_view(wheelhouse, host)),
            Component::Chart(chart) => view.charts.push(chart_view(catalogue, component, chart, host)),
            Component::FileSet(_) | Component::KubernetesManifests(_) | Component::Script(_) => {
                let is_served = catalogue.files.offers(&component.ref_name(), bundle.digest);
                view.sets.push(files_view(component, host, is_served));
            }
        }
    }
    view
}

/// Whether this repository's tag still points at this manifest, and not at another bundle's.
fn is_tagged(catalogue: &Catalogue, repository: &str, tag: &str, digest: Digest) -> bool {
    match catalogue.repositories.find(repository, None) {
        Lookup::Found(found) => found.tagged(tag) == Some(digest),
        Lookup::Unknown | Lookup::Ambiguous(_) => false,
    }
}

fn image_view(catalogue: &Catalogue, component: &Component, image: &Image, host: &str) -> ImageView {
    let repository = repository_name(component);
    let digest = image.manifest.digest;
    let tag = image.name.tag().filter(|tag| is_tagged(catalogue, &repository, tag, digest));
    let end = tag.map_or_else(|| format!("@{digest}"), |tag| format!(":{tag}"));
    let platforms: Vec<String> = image.platforms.iter().map(ToString::to_string).collect();
    ImageView {
        name: image.name.to_string(),
        platforms: platforms.join(", "),
        digest: digest.to_string(),
        command: format!("docker pull {host}/{repository}{end}"),
    }
}

fn wheelhouse_view(wheelhouse: &Wheelhouse, host: &str) -> SetView {
    let targets = wheelhouse.targets.iter();
    let targets: Vec<String> = targets.map(|t| format!("Python {} on {}", t.python, t.platform)).collect();
    let entries = wheelhouse.wheels.iter().take(ENTRIES_MAX).map(|wheel| EntryView {
        name: wheel.filename.to_string(),
        href: wheel_path(&wheel.digest, wheel.filename.as_str()),
        size: people_size(wheel.size),
        command: format!(
            "pip install --index-url http://{host}/simple/ --trusted-host '{host}' '{}=={}'",
            wheel.project, wheel.version
        ),
    });
    SetView {
        title: format!("Python wheels: {}", wheelhouse.name),
        detail: targets.join(", "),
        entries: entries.collect(),
        more: wheelhouse.wheels.len().saturating_sub(ENTRIES_MAX),
    }
}

fn chart_view(catalogue: &Catalogue, component: &Component, chart: &Chart, host: &str) -> ChartView {
    let repository = repository_name(component);
    let archive = super::charts::archive_name(chart);
    let by_digest = blob_path(&repository, &chart.archive.digest);
    let is_offered = catalogue.charts.offers(chart);
    let tag = tag_of(chart.version.as_str());
    let command = if is_tagged(catalogue, &repository, &tag, chart.manifest.digest) {
        format!("helm pull oci://{host}/{repository} --version '{}' --plain-http", chart.version)
    } else {
        format!("curl -f -o '{archive}' 'http://{host}{by_digest}'")
    };
    ChartView {
        name: chart.name.to_string(),
        version: chart.version.to_string(),
        size: people_size(chart.archive.size),
        command,
        download: if is_offered { format!("/charts/{}", encode_path(&archive)) } else { by_digest },
    }
}

fn files_view(component: &Component, host: &str, is_served: bool) -> SetView {
    let (repository, files) = (repository_name(component), files_of(component).unwrap_or_default());
    let (title, detail) = match component {
        Component::FileSet(set) => (format!("Files: {}", set.name), format!("for {}", set.dest)),
        Component::KubernetesManifests(set) => {
            let namespace = set.namespace.as_ref().map(|name| format!("for namespace {name}"));
            (format!("Kubernetes manifests: {}", set.name), namespace.unwrap_or_default())
        }
        Component::Script(script) => {
            (format!("Script: {}", script.name), format!("runs {} the rest is in place", script.when))
        }
        other => (other.title(), String::new()),
    };
    let more = files.len().saturating_sub(ENTRIES_MAX);
    let entries = files.into_iter().take(ENTRIES_MAX).map(|(path, content)| {
        let href = if is_served {
            file_path(&component.ref_name(), path)
        } else {
            blob_path(&repository, &content.digest)
        };
        EntryView {
            name: path.to_string(),
            size: people_size(content.size),
            command: format!("curl -f -O 'http://{host}{href}'"),
            href,
        }
    });
    SetView { title, detail, entries: entries.collect(), more }
}

/// Where a blob is served whatever other bundles claim its name.
fn blob_path(repository: &str, digest: &Digest) -> String {
    format!("/v2/{}/blobs/{digest}", encode_path(repository))
}

/// A length as people read it, in decimal units.
fn people_size(bytes: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "kB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_sizes_in_decimal_units() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1000, "1.0 kB"),
            (1_999_999, "1.9 MB"),
            (52_600_000_000, "52.6 GB"),
        ] {
            assert_eq!(people_size(bytes), text);
        }
    }

    #[test]
    fn the_policy_allows_one_style_sheet_and_nothing_else() {
        let policy = policy();
        let policy = policy.to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        let empty = STANDARD.encode(Digest::of(b"").as_bytes());
        assert!(!policy.contains(&empty), "the style sheet was not found in the page");
    }
}
