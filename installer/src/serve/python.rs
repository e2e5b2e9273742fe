//! The Python index: PEP 503 in HTML, PEP 691 with PEP 700 in JSON, the wheels, and their metadata beside them
//! (PEP 658 under the names of PEP 714).
//!
//! Only wheels whose bytes are in a published bundle are listed, each with its SHA-256, so a client
//! checks again what was checked at admission.

use std::collections::{BTreeMap, BTreeSet};

use hyper::StatusCode;
use hyper::header::{HeaderValue, VARY};
use manifests::Digest;
use manifests::bundle::Content;
use manifests::inventory::{Component, Wheel};
use manifests::oci::MEDIA_FILE;
use minijinja::value::Serde;
use minijinja::{Environment, context};
use serde::Serialize;

use super::answer::{Address, Answer, octet_stream};
use super::metadata::{Metadata, Room};
use super::negotiate::{Form, choose};
use super::request::{Asked, encode};
use super::shelf::{PublishedBundle, Shelf};
use super::trouble::Trouble;

/// The template of both kinds of HTML page.
pub(super) const TEMPLATE: (&str, &str) = ("simple.html", include_str!("simple.html"));

/// Every project, and every wheel by digest.
#[derive(Debug, Default)]
pub(super) struct PythonIndex {
    projects: BTreeMap<String, BTreeMap<String, Offer>>,
    wheels: BTreeMap<(Digest, String), u64>,
    /// By the digest of the wheel.
    metadata: BTreeMap<Digest, Metadata>,
    room: Room,
}

/// A wheel as a project's page lists it.
#[derive(Debug)]
struct Offer {
    content: Content,
    version: String,
    requires_python: Option<String>,
}

#[derive(Serialize)]
struct Meta {
    #[serde(rename = "api-version")]
    api_version: &'static str,
}

/// PEP 691 with the fields of PEP 700.
const META: Meta = Meta { api_version: "1.1" };

#[derive(Serialize)]
struct ProjectList<'a> {
    meta: Meta,
    projects: Vec<ProjectName<'a>>,
}

#[derive(Serialize)]
struct ProjectName<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct ProjectDetail<'a> {
    meta: Meta,
    name: &'a str,
    versions: BTreeSet<&'a str>,
    files: Vec<ProjectFile<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ProjectFile<'a> {
    filename: &'a str,
    url: String,
    hashes: BTreeMap<&'static str, String>,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    requires_python: Option<&'a str>,
    /// Not under its first name as well: a pip that reads only that one stumbles over it (PEP 714).
    #[serde(skip_serializing_if = "Option::is_none")]
    core_metadata: Option<BTreeMap<&'static str, String>>,
}

#[derive(Serialize)]
struct Link<'a> {
    text: &'a str,
    href: String,
    requires_python: Option<&'a str>,
    /// The digest of its metadata.
    metadata: Option<String>,
}

impl PythonIndex {
    /// Adds the wheels of a bundle. A file name that is listed stays with the bundle that has it.
    pub(super) fn add(&mut self, shelf: &dyn Shelf, bundle: &PublishedBundle, troubles: &mut Vec<Trouble>) {
        for component in &bundle.inventory.components {
            let Component::Wheelhouse(wheelhouse) = component else { continue };
            for wheel in &wheelhouse.wheels {
                let filename = wheel.filename.to_string();
                self.add_metadata(shelf, wheel, troubles);
                self.wheels.insert((wheel.digest, filename.clone()), wheel.size);
                let project = self.projects.entry(normalised(wheel.project.as_str())).or_default();
                project.entry(filename).or_insert_with(|| offer(wheel));
            }
        }
    }

    /// Answers what is below `/simple/`; `path` is what follows.
    pub(super) fn answer(&self, path: &[&str], asked: &Asked, templates: &Environment<'_>) -> Answer {
        match path {
            [] if !asked.slash => Answer::redirect("/simple/"),
            [] => negotiated(asked, |form| self.list(form, templates)),
            [name] => {
                let normal = normalised(name);
                match self.projects.get(&normal) {
                    Some(offers) if asked.slash && *name == normal => {
                        negotiated(asked, |form| self.detail(&normal, offers, form, templates))
                    }
                    Some(_) => Answer::redirect(&format!("/simple/{}/", encode(&normal))),
                    None => {
                        Answer::problem(StatusCode::NOT_FOUND, "no such project in the published bundles")
                    }
                }
            }
            _ => Answer::problem(StatusCode::NOT_FOUND, "there is nothing at this address"),
        }
    }

    fn add_metadata(&mut self, shelf: &dyn Shelf, wheel: &Wheel, troubles: &mut Vec<Trouble>) {
        if self.metadata.contains_key(&wheel.digest) {
            return;
        }
        match self.room.read(shelf, wheel) {
            Ok(Some(metadata)) => {
                self.metadata.insert(wheel.digest, metadata);
            }
            Ok(None) => {}
            Err(trouble) => troubles.push(trouble),
        }
    }

    /// A wheel, by both parts of its address, or with `.metadata` behind them what it says of itself.
    pub(super) fn wheel(&self, hex: &str, filename: &str) -> Option<Answer> {
        let digest = Digest::from_hex(hex).ok()?;
        if let Some(of) = filename.strip_suffix(".metadata") {
            self.wheels.get(&(digest, of.to_string()))?;
            return Some(Answer::document(MEDIA_FILE, self.metadata.get(&digest)?.bytes.clone()));
        }
        let size = *self.wheels.get(&(digest, filename.to_string()))?;
        Some(Answer::blob(Content { digest, size }, octet_stream(), Address::Digest))
    }

    fn list(&self, form: Form, templates: &Environment<'_>) -> Answer {
        let names = self.projects.keys().map(String::as_str);
        if form == Form::JsonV1 {
            let projects = names.map(|name| ProjectName { name }).collect();
            return Answer::json(form.media_type(), &ProjectList { meta: META, projects });
        }
        let link = |name| Link {
            text: name,
            href: format!("{}/", encode(name)),
            requires_python: None,
            metadata: None,
        };
        html("projects", names.map(link).collect(), form, templates)
    }

    fn detail(
        &self,
        name: &str,
        offers: &BTreeMap<String, Offer>,
        form: Form,
        templates: &Environment<'_>,
    ) -> Answer {
        // Relative, so that the index also works below a proxy's prefix.
        let url = |file: &str, offer: &Offer| format!("../..{}", wheel_path(&offer.content.digest, file));
        let metadata = |offer: &Offer| Some(self.metadata.get(&offer.content.digest)?.digest.hex());
        if form == Form::JsonV1 {
            let files = offers.iter().map(|(filename, offer)| ProjectFile {
                filename,
                url: url(filename, offer),
                hashes: BTreeMap::from([("sha256", offer.content.digest.hex())]),
                size: offer.content.size,
                requires_python: offer.requires_python.as_deref(),
                core_metadata: metadata(offer).map(|hex| BTreeMap::from([("sha256", hex)])),
            });
            let versions = offers.values().map(|offer| offer.version.as_str()).collect();
            let detail = ProjectDetail { meta: META, name, versions, files: files.collect() };
            return Answer::json(form.media_type(), &detail);
        }
        let links = offers.iter().map(|(filename, offer)| Link {
            text: filename,
            href: format!("{}#sha256={}", url(filename, offer), offer.content.digest.hex()),
            requires_python: offer.requires_python.as_deref(),
            metadata: metadata(offer),
        });
        html(name, links.collect(), form, templates)
    }
}

fn offer(wheel: &Wheel) -> Offer {
    Offer {
        content: Content { digest: wheel.digest, size: wheel.size },
        version: wheel.version.to_string(),
        requires_python: wheel.requires_python.as_ref().map(ToString::to_string),
    }
}

/// Where a wheel is served.
pub(super) fn wheel_path(digest: &Digest, filename: &str) -> String {
    format!("/wheels/{}/{}", digest.hex(), encode(filename))
}

fn html(title: &str, links: Vec<Link<'_>>, form: Form, templates: &Environment<'_>) -> Answer {
    let page = templates
        .get_template(TEMPLATE.0)
        .and_then(|template| template.render(context! { title, links => Serde(links) }));
    match page {
        Ok(page) => Answer::document(form.media_type(), page),
        Err(error) => Answer::problem_of(&error),
    }
}

fn negotiated(asked: &Asked, answer: impl FnOnce(Form) -> Answer) -> Answer {
    let form = choose(asked.accept().as_deref());
    let sentence = "this index speaks text/html, application/vnd.pypi.simple.v1+html and \
                    application/vnd.pypi.simple.v1+json";
    form.map_or_else(|| Answer::problem(StatusCode::NOT_ACCEPTABLE, sentence), answer)
        .with(VARY, HeaderValue::from_static("Accept"))
}

/// PEP 503: lower case, and one dash for each run of `-`, `_` and `.`.
fn normalised(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '-' | '_' | '.' if normal.ends_with('-') => {}
            '-' | '_' | '.' => normal.push('-'),
            other => normal.push(other.to_ascii_lowercase()),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::normalised;

    #[test]
    fn a_project_has_one_name_however_it_is_spelled() {
        for name in ["friendly-bard", "Friendly-Bard", "FRIENDLY_BARD", "friendly.bard", "friendly_-.bard"] {
            assert_eq!(normalised(name), "friendly-bard", "{name}");
        }
        assert_eq!(normalised("zope.interface"), "zope-interface");
    }
}
