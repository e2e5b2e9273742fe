//! `installer inspect`: what is in a bundle, after its signatures were checked. It reads kilobytes.

use std::path::PathBuf;

use clap::Args;
use edge::show::{bytes, delta_rows, table};
use edge::{Failure, Screen};
use manifests::bundle::BundleDigest;
use manifests::companion;
use manifests::inventory::Component;
use manifests::root::SignatureVerdict;
use manifests::{BundleManifest, Inventory};
use serde::Serialize;

use crate::admit;
use crate::audit::AuditLog;
use crate::discs::{self, Given};
use crate::site::Site;

/// The arguments of `inspect`.
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// The bundle: an archive, or a directory of one of its discs
    #[arg(required = true)]
    bundle: Vec<PathBuf>,
    /// Verify the whole bundle, and write a list of every file in it and in the archives inside it, with type, size,
    /// SHA-256 and active content: for whoever lets it across. FILE is .csv, .json or .html; nothing is overwritten
    #[arg(long, value_name = "FILE")]
    review: Option<PathBuf>,
}

#[derive(Serialize)]
struct Document<'a> {
    bundle: BundleDigest,
    /// The signatures and the inventory, not the blobs.
    signatures_verified: bool,
    signatures: &'a [SignatureVerdict],
    manifest: &'a BundleManifest,
    inventory: &'a Inventory,
}

impl InspectArgs {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let given = super::verify::given(&self.bundle, screen)?;
        super::judged(site, screen.env)?;
        if let Some(out) = &self.review {
            return super::review::run(site, screen, &given, out);
        }
        let config = site.config()?;
        let log = AuditLog::of(site, screen.env);
        let verdict = match &given {
            Given::Archive(path) => admit::inspect(site, &config, path),
            Given::Discs(places) => discs::inspect(site, &config, places),
        };
        let verdict = verdict.map_err(Failure::from);
        let name = |found: &(manifests::verify::AcceptedManifest, _)| {
            (found.0.signed().digest(), found.0.signed().root_version())
        };
        let (accepted, contents) =
            super::log_verdict("inspect", &log, screen.env, &given.title(), verdict, name)?;
        let signed = accepted.signed();
        let (manifest, inventory) = (signed.manifest(), contents.inventory());
        let rows: Vec<Vec<String>> =
            inventory.components.iter().map(|component| row(component, inventory)).collect();
        let conditions: String =
            inventory.conditions().iter().map(|(head, line)| format!("{head}  {line}\n")).collect();
        let human = format!(
            "{}\n{} {} {} (order {})\nbundle {}\nsignatures good; contents not read (`installer verify` does)\n{}{}{conditions}",
            manifest.marking,
            manifest.publisher,
            manifest.product,
            manifest.version,
            manifest.order,
            signed.digest(),
            delta_rows(inventory, 7),
            table(&rows),
        );
        let document = Document {
            bundle: signed.digest(),
            signatures_verified: true,
            signatures: signed.signatures(),
            manifest,
            inventory,
        };
        screen.result(&human, &document)
    }
}

fn row(component: &Component, inventory: &Inventory) -> Vec<String> {
    let mut blobs = component.blobs();
    blobs.sort();
    blobs.dedup_by_key(|blob| blob.0);
    let size =
        blobs.iter().filter_map(|(digest, _)| inventory.blob_size(digest)).fold(0_u64, u64::saturating_add);
    let digest = component.manifests().first().map_or(String::new(), |manifest| manifest.digest.short());
    let mut beside: Vec<String> = companion::count(component.companions()).into_iter().collect();
    if let Component::Chart(chart) = component {
        beside.extend(chart.provenance.map(|_| "provenance".to_string()));
    }
    let beside = if beside.is_empty() { String::new() } else { format!("+{}", beside.join(", ")) };
    vec![manifests::text::printable(&component.title()), bytes(size), digest, beside]
}
