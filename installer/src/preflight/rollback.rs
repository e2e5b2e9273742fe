//! `rollback/material`: what a way back to the version in place needs is still here. Before an upgrade that is
//! what an undo or a later rollback uses; before a rollback, the way forth again. Blobs are looked at by their
//! sizes: a rollback itself reads each byte of them.

use manifests::VerifiedBundle;
use manifests::bundle::Content;
use manifests::inventory::Component;

use super::Finding;
use crate::admit;
use crate::apply::chain;
use crate::site::ledger::{Applied, Ledger};
use crate::targets::{Context, registry as target};
use crate::witness::Judged;

const ID: &str = "rollback/material";

/// Looks at what is in place now. Nothing is said where that is nothing, or this very bundle.
#[must_use]
pub fn check(bundle: &VerifiedBundle, judged: &Judged, context: &Context<'_>) -> Option<Finding> {
    let manifest = bundle.manifest();
    let requirement = "everything that putting the present version back would need";
    let ledger = match context.site.ledger(&manifest.publisher, &manifest.product) {
        Ok(ledger) => ledger,
        Err(error) => return Some(gone(chain(&error))),
    };
    let current = ledger.as_ref().and_then(Ledger::current).filter(|now| now.bundle != bundle.digest())?;
    match lacking(current, judged, context) {
        Ok(lacking) if lacking.is_empty() => {
            let fact =
                format!("{} could be put back: its originals and all its blobs are here", current.version);
            Some(Finding::pass(ID, fact, requirement))
        }
        Ok(lacking) => Some(gone(format!("of {}: {}", current.version, lacking.join("; ")))),
        Err(error) => Some(gone(format!("{}: {}", current.version, chain(&error)))),
    }
}

fn gone(fact: String) -> Finding {
    let requirement = "everything that putting the present version back would need";
    let remedy = "admit its medium again before you go on: without it there is no way back to that version";
    Finding::warn(ID, fact, requirement, remedy)
}

/// What a rollback to a version that cannot be read any more finds.
#[must_use]
pub fn cannot_go_back(version: &str, why: &str) -> Finding {
    let requirement = "everything that the site has kept of the version to go back to";
    let remedy = "`installer history` lists what else was applied; or apply that version's medium again";
    Finding::fail(ID, format!("{version}: {why}"), requirement, remedy)
}

fn lacking(
    current: &Applied,
    judged: &Judged,
    context: &Context<'_>,
) -> Result<Vec<String>, admit::AdmitError> {
    let inventory = admit::kept_inventory(context.site, &judged.trust, current)?;
    let store = context.site.store();
    let missing: Vec<&Content> = inventory.blobs.iter().filter(|blob| !store.has(blob)).collect();
    let mut lacking = Vec::new();
    if !missing.is_empty() {
        lacking
            .push(format!("{} blobs are missing from the site store, or have another size", missing.len()));
    }
    if let Some(config) = &context.config.targets.registry {
        let images = inventory.components.iter().filter_map(|component| match component {
            Component::Image(image) => Some(image),
            _ => None,
        });
        // A registry that does not answer has a finding of its own.
        let registry = target::at(config, context).ok();
        let gone = |image: &&manifests::inventory::Image| {
            let place = registry.as_ref().and_then(|registry| {
                registry.repository(&target::repository(config, &image.name.site_path())).ok()
            });
            place.is_some_and(|place| matches!(place.head_manifest(&image.manifest.digest.into()), Ok(None)))
        };
        let gone: Vec<String> = images.filter(gone).map(|image| image.name.to_string()).collect();
        if !gone.is_empty() {
            lacking.push(format!("the registry has lost {}", gone.join(", ")));
        }
    }
    Ok(lacking)
}
