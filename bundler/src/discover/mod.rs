//! Image discovery: every image that a chart needs, found by rendering it with the real `helm` and walking what
//! comes out by structure; and whether the bundle carries it.
//!
//! A bundle whose charts need an image that is not in it is found out on site, where nobody can fetch it. So
//! `bundler lock` writes nothing until each image is carried, or, where it only looks like one, waived with a
//! reason. What counts as *certain* and what as *probable* is decided in `docs/adr/0010-image-discovery.md`.
//!
//! In the order of work: [`render`] renders each chart and finds what is in it, with the crate [`discovery`];
//! [`archive`] and [`annotations`] look at what the chart says of itself → [`compare`] judges.
//!
//! **What this may never do:** pass over what it cannot read, or let a chart reach anything.

pub mod annotations;
pub mod archive;
pub mod compare;
pub mod plain;
pub mod render;

use std::collections::BTreeMap;

use edge::{Exit, Failure};
use manifests::Digest;
use manifests::inventory::{Component, ImageClass};
use manifests::text::LongLine;

use discovery::hit::place_line;

use self::compare::{Carried, Judged, Needs, Standing, Waivers};
use self::render::{OnceHelm, Subject};
use crate::lock::LockedBlob;
use crate::sources::World;
use crate::spec::{ChartSpec, WaiverSpec};

/// How many places of an image a message names.
const PLACES_SHOWN: usize = 3;

/// A chart or a set of Kubernetes manifests, and its images.
#[derive(Debug)]
pub struct Charted {
    /// What people call it.
    pub title: LongLine,
    /// The component's name in the inventory.
    pub ref_name: String,
    /// Its images, in order.
    pub images: Vec<Judged>,
}

/// Looks through every chart and judges what it needs. `specs` has the spec of each chart by the component's
/// name.
///
/// # Errors
/// Helm is not there, a chart does not render, or something cannot be read.
pub fn survey(
    components: &[Component],
    blobs: &BTreeMap<Digest, LockedBlob>,
    specs: &BTreeMap<String, &ChartSpec>,
    waivers: &[WaiverSpec],
    world: &World<'_>,
) -> Result<Vec<Charted>, Failure> {
    let asks =
        |component: &Component| matches!(component, Component::Chart(_) | Component::KubernetesManifests(_));
    let mut waivers = Waivers::of(waivers);
    let mut found = Vec::new();
    if components.iter().any(asks) {
        let helm = OnceHelm::new(world.env);
        let carried = Carried::of(components, blobs, world).map_err(|error| {
            Failure::new(Exit::Unreachable, format!("cannot read an image's index: {error}"))
        })?;
        for component in components {
            let ref_name = component.ref_name();
            let (hits, needs) = match component {
                Component::Chart(chart) => {
                    let Some(spec) = specs.get(&ref_name) else { continue };
                    (render::look(&Subject { chart, spec, blobs }, &helm, world)?, Needs::Chart(&chart.name))
                }
                Component::KubernetesManifests(set) => {
                    (plain::look(set, blobs, world)?, Needs::Manifests(&set.name))
                }
                _ => continue,
            };
            let images = compare::judge(hits, needs, &carried, &mut waivers);
            found.push(Charted { title: LongLine::printable(&component.title()), ref_name, images });
        }
        if helm.was_needed() {
            say_what_is_left_to_helm(specs, world);
        }
    }
    for waiver in waivers.unused() {
        (world.note)(&format!("note: the waiver for {} is for nothing that is named", waiver.image));
    }
    Ok(found)
}

fn say_what_is_left_to_helm(specs: &BTreeMap<String, &ChartSpec>, world: &World<'_>) {
    let unsaid: Vec<&str> = specs
        .iter()
        .filter(|(_, spec)| spec.kubernetes.is_empty())
        .map(|(name, _)| name.trim_start_matches("charts/"))
        .collect();
    if !unsaid.is_empty() {
        (world.note)(&format!(
            "note: helm chose the version of Kubernetes, as `kubernetes` names none for {}",
            unsaid.join(", ")
        ));
    }
}

/// Writes what was found into the inventory's charts; or says everything that is missing.
///
/// # Errors
/// The bundle lacks an image.
pub fn settle(components: &mut [Component], found: &[Charted]) -> Result<(), Failure> {
    if let Some(failure) = missing(found) {
        return Err(failure);
    }
    for component in components {
        let ref_name = component.ref_name();
        let images = match component {
            Component::Chart(chart) => &mut chart.images,
            Component::KubernetesManifests(set) => &mut set.images,
            _ => continue,
        };
        if let Some(charted) = found.iter().find(|charted| charted.ref_name == ref_name) {
            *images = charted.images.iter().map(Judged::needed).collect();
            images.sort_by(|a, b| a.image.cmp(&b.image));
        }
    }
    Ok(())
}

/// Everything that is missing, in one message.
fn missing(found: &[Charted]) -> Option<Failure> {
    let blocking = |charted: &Charted| charted.images.iter().filter(|image| image.blocks()).count();
    let count: usize = found.iter().map(blocking).sum();
    if count == 0 {
        return None;
    }
    let noun = if count == 1 { "an image that is needed is" } else { "images that are needed are" };
    let mut text = format!("{noun} not in the bundle");
    for charted in found.iter().filter(|charted| blocking(charted) > 0) {
        text.push_str(&format!("\n{}:", charted.title));
        for image in charted.images.iter().filter(|image| image.blocks()) {
            text.push_str(&entry(image));
        }
    }
    let mut hint = String::from("add each line to `images` in bundle.yaml");
    if found
        .iter()
        .flat_map(|charted| &charted.images)
        .any(|image| image.blocks() && image.hit.class == ImageClass::Probable)
    {
        hint.push_str("; what is probable and no image goes into `waivers`, with a reason");
    }
    Some(Failure::usage(text).hint(hint))
}

/// One image that blocks: what, how sure, where, and what to write.
fn entry(image: &Judged) -> String {
    let mut text = format!("\n  {} ({})", image.hit.image, image.hit.class);
    match &image.standing {
        Standing::OtherDigest(digest) => {
            text.push_str(&format!("\n    carried with another digest: {digest}"));
        }
        _ if image.waiver_refused => {
            text.push_str("\n    it has a waiver, and what is certain cannot be waived")
        }
        _ => {}
    }
    let places = image.hit.places();
    for place in places.iter().take(PLACES_SHOWN) {
        text.push_str(&format!("\n    at {}", place_line(place)));
    }
    if places.len() > PLACES_SHOWN {
        text.push_str(&format!("\n    and {} more places", places.len().saturating_sub(PLACES_SHOWN)));
    }
    if image.waiver_refused && matches!(image.standing, Standing::Carried(_)) {
        text.push_str("\n    take the waiver out");
        return text;
    }
    let line = image.line();
    if let Some(line) = &line {
        text.push_str(&format!("\n    images:   {line}"));
    }
    if image.hit.class == ImageClass::Probable {
        let or = if line.is_some() { "or waivers:" } else { "waivers:" };
        let name = image.hit.image.to_string().replace('\'', "''");
        text.push_str(&format!("\n    {or}   - {{image: '{name}', reason: …}}"));
    }
    text
}
