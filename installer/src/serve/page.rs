//! The page for people: what is here, who signed it and what came of judging that, and the command that fetches
//! each thing. It says everything in words: colours only repeat them.
//!
//! Everything on it is escaped by the template engine, and every command is made of checked names and
//! percent-encoded paths, so pasting one runs nothing else. The page loads nothing and runs nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{CONTENT_SECURITY_POLICY, HeaderValue};
use manifests::inventory::{Chart, Component, Image, Wheelhouse};
use manifests::{Digest, Inventory};
use minijinja::context;
use minijinja::value::Serde;
use serde::Serialize;

use super::answer::Answer;
use super::catalogue::Catalogue;
use super::files::{file_path, files_of};
use super::python::wheel_path;
use super::repositories::{Found, Lookup, repository_name, tag_of};
use super::request::encode_path;
use super::routes::Templates;
use super::shelf::{Judgement, PublishedBundle, SignedBy};

/// The template.
pub(super) const TEMPLATE: (&str, &str) = ("page.html", include_str!("page.html"));

/// Bounds what the page lists of one set: it may hold 100,000 files. Images, charts and wheels are all listed.
const ENTRIES_MAX: usize = 300;

/// How commands name this server.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    host: &'a str,
    transport: Transport,
}

/// What the server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// HTTP as it is: tools want to be told that this is meant.
    Plain,
    /// HTTP in TLS.
    Tls,
}

impl Place<'_> {
    fn url(self) -> String {
        let scheme = if self.transport == Transport::Tls { "https" } else { "http" };
        format!("{scheme}://{}", self.host)
    }

    /// An option that a tool needs only without TLS.
    fn plain(self, option: &str) -> String {
        if self.transport == Transport::Plain { format!(" {option}") } else { String::new() }
    }
}

#[derive(Serialize)]
struct BundleView {
    /// Of its article on the page.
    anchor: String,
    summary: String,
    product: String,
    version: String,
    publisher: String,
    marking: String,
    digest: String,
    created: String,
    applied: String,
    expires: Option<String>,
    verdict: VerdictView,
    is_current: bool,
    images: Vec<ImageView>,
    charts: Vec<ChartView>,
    sets: Vec<SetView>,
}

#[derive(Serialize)]
struct VerdictView {
    refused: Option<String>,
    signers: Vec<SignerView>,
    needed: Vec<String>,
    root: String,
    fingerprint: Option<String>,
    revocations: String,
}

#[derive(Serialize)]
struct SignerView {
    holder: String,
    keyid: String,
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
    digest: String,
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
    digest: String,
    command: String,
}

/// `/`, with commands that use `host`, which is of a checked alphabet.
pub(super) fn answer(catalogue: &Catalogue, host: &str, templates: &Templates) -> Answer {
    let mut products = std::collections::BTreeSet::new();
    let place = Place { host, transport: templates.transport };
    let view = |bundle: &std::sync::Arc<PublishedBundle>| {
        let manifest = &bundle.manifest;
        let is_current = products.insert((manifest.publisher.clone(), manifest.product.clone()));
        bundle_view(catalogue, bundle, place, is_current)
    };
    let bundles: Vec<BundleView> = catalogue.bundles.iter().map(view).collect();
    let page = templates.environment.get_template(TEMPLATE.0).and_then(|template| {
        let (url, is_plain) = (place.url(), place.transport == Transport::Plain);
        template.render(context! { host, url, is_plain, bundles => Serde(bundles) })
    });
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

fn bundle_view(
    catalogue: &Catalogue,
    bundle: &PublishedBundle,
    place: Place<'_>,
    is_current: bool,
) -> BundleView {
    let manifest = &bundle.manifest;
    let mut view = BundleView {
        anchor: format!("bundle-{}", bundle.digest.0.hex()),
        summary: summary(&bundle.inventory),
        product: manifest.product.to_string(),
        version: manifest.version.to_string(),
        publisher: manifest.publisher.to_string(),
        marking: manifest.marking.to_string(),
        digest: bundle.digest.to_string(),
        created: manifest.created.to_string(),
        applied: bundle.applied.to_string(),
        expires: manifest.expires.map(|time| time.to_string()),
        verdict: verdict_view(&bundle.judgement),
        is_current,
        images: Vec::new(),
        charts: Vec::new(),
        sets: Vec::new(),
    };
    for component in &bundle.inventory.components {
        match component {
            Component::Image(image) => view.images.push(image_view(catalogue, component, image, place)),
            Component::Wheelhouse(wheelhouse) => view.sets.push(wheelhouse_view(wheelhouse, place)),
            Component::Chart(chart) => view.charts.push(chart_view(catalogue, component, chart, place)),
            Component::FileSet(_) | Component::KubernetesManifests(_) | Component::Script(_) => {
                let is_served = catalogue.files.offers(&component.ref_name(), bundle.digest);
                view.sets.push(files_view(component, place, is_served));
            }
        }
    }
    view
}

fn verdict_view(judgement: &Judgement) -> VerdictView {
    let signer =
        |signed: &SignedBy| SignerView { holder: signed.holder.clone(), keyid: signed.keyid.clone() };
    VerdictView {
        refused: judgement.refused.clone(),
        signers: judgement.signers.iter().map(signer).collect(),
        needed: judgement.needed.clone(),
        root: judgement.root.clone(),
        fingerprint: judgement.fingerprint.map(|digest| digest.to_string()),
        revocations: judgement.revocations.clone(),
    }
}

/// `2 images, 1 chart, 14 wheels`
fn summary(inventory: &Inventory) -> String {
    let (mut images, mut charts, mut wheels, mut others) = (0, 0, 0, 0);
    for component in &inventory.components {
        match component {
            Component::Image(_) => images += 1,
            Component::Chart(_) => charts += 1,
            Component::Wheelhouse(wheelhouse) => wheels += wheelhouse.wheels.len(),
            Component::FileSet(_) | Component::KubernetesManifests(_) | Component::Script(_) => others += 1,
        }
    }
    let counts = [(images, "image"), (charts, "chart"), (wheels, "wheel"), (others, "set of files")];
    let words = counts.into_iter().filter_map(|(count, one)| match (count, one) {
        (0, _) => None,
        (1, one) => Some(format!("1 {one}")),
        (many, "set of files") => Some(format!("{many} sets of files")),
        (many, one) => Some(format!("{many} {one}s")),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// Whether this repository's tag still points at this manifest, and not at another bundle's.
fn is_tagged(catalogue: &Catalogue, repository: &str, tag: &str, digest: Digest) -> bool {
    match catalogue.repositories.find(repository, None) {
        Lookup::Found(repository) => {
            matches!(repository.tagged(tag), Some(Found::Held(held)) if held.content.digest == digest)
        }
        Lookup::Unknown | Lookup::Ambiguous(_) => false,
    }
}

fn image_view(catalogue: &Catalogue, component: &Component, image: &Image, place: Place<'_>) -> ImageView {
    let repository = repository_name(component);
    let digest = image.manifest.digest;
    let tag = image.name.tag().filter(|tag| is_tagged(catalogue, &repository, tag, digest));
    let end = tag.map_or_else(|| format!("@{digest}"), |tag| format!(":{tag}"));
    let platforms: Vec<String> = image.platforms.iter().map(ToString::to_string).collect();
    ImageView {
        name: image.name.to_string(),
        platforms: platforms.join(", "),
        digest: digest.to_string(),
        command: format!("docker pull {}/{repository}{end}", place.host),
    }
}

fn wheelhouse_view(wheelhouse: &Wheelhouse, place: Place<'_>) -> SetView {
    let targets = wheelhouse.targets.iter();
    let targets: Vec<String> = targets.map(|t| format!("Python {} on {}", t.python, t.platform)).collect();
    let trusted = place.plain(&format!("--trusted-host '{}'", place.host));
    let entries = wheelhouse.wheels.iter().map(|wheel| EntryView {
        name: wheel.filename.to_string(),
        href: wheel_path(&wheel.digest, wheel.filename.as_str()),
        size: people_size(wheel.size),
        digest: wheel.digest.to_string(),
        command: format!(
            "pip install --index-url {}/simple/{trusted} '{}=={}'",
            place.url(),
            wheel.project,
            wheel.version
        ),
    });
    SetView {
        title: format!("Python wheels: {}", wheelhouse.name),
        detail: targets.join(", "),
        entries: entries.collect(),
        more: 0,
    }
}

fn chart_view(catalogue: &Catalogue, component: &Component, chart: &Chart, place: Place<'_>) -> ChartView {
    let repository = repository_name(component);
    let archive = super::charts::archive_name(chart);
    let by_digest = blob_path(&repository, &chart.archive.digest);
    let is_offered = catalogue.charts.offers(chart);
    let tag = tag_of(chart.version.as_str());
    let command = if is_tagged(catalogue, &repository, &tag, chart.manifest.digest) {
        let plain = place.plain("--plain-http");
        format!("helm pull oci://{}/{repository} --version '{}'{plain}", place.host, chart.version)
    } else {
        format!("curl -f -o '{archive}' '{}{by_digest}'", place.url())
    };
    ChartView {
        name: chart.name.to_string(),
        version: chart.version.to_string(),
        size: people_size(chart.archive.size),
        digest: chart.archive.digest.to_string(),
        command,
        download: if is_offered { format!("/charts/{}", encode_path(&archive)) } else { by_digest },
    }
}

fn files_view(component: &Component, place: Place<'_>, is_served: bool) -> SetView {
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
            digest: content.digest.to_string(),
            command: format!("curl -f -O '{}{href}'", place.url()),
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
    fn only_plain_http_needs_options_that_say_so() {
        let at = |transport| Place { host: "site", transport };
        assert_eq!(at(Transport::Plain).url() + &at(Transport::Plain).plain("-x"), "http://site -x");
        assert_eq!(at(Transport::Tls).url() + &at(Transport::Tls).plain("-x"), "https://site");
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
