//! `scripts/allowed`: whether this site runs what a bundle brings along.

use manifests::inventory::Component;

use super::{Finding, Verdict};

/// Looks whether there are scripts, and whether they may run.
#[must_use]
pub fn check(components: &[Component]) -> Option<Finding> {
    let scripts = components.iter().filter(|component| matches!(component, Component::Script(_)));
    let count = scripts.count();
    (count > 0).then(|| Finding {
        id: "scripts/allowed",
        verdict: Verdict::Fail,
        fact: format!("the bundle has {count} scripts to be run here"),
        requirement: "a bundle without scripts: this version runs none".to_string(),
        remedy: Some("ask the sender for a bundle without scripts".to_string()),
    })
}
