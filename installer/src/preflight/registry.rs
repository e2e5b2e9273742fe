//! `registry/reachable`: the site registry answers, and lets us in.

use super::{Finding, Verdict};
use crate::site::config::RegistryTarget;
use crate::targets::{Context, registry};

/// Looks whether the registry answers.
#[must_use]
pub fn reachable(target: &RegistryTarget, context: &Context<'_>) -> Finding {
    let requirement = "an OCI registry that answers without a login".to_string();
    let id = "registry/reachable";
    match registry::ping(target, context) {
        Ok(()) => {
            let fact = format!("{} answers", target.url);
            Finding { id, verdict: Verdict::Pass, fact, requirement, remedy: None }
        }
        Err(error) => Finding {
            id,
            verdict: Verdict::Fail,
            fact: manifests::text::printable(&error.to_string()),
            requirement,
            remedy: Some("start the registry, or correct `targets.registry.url` in site.yaml".to_string()),
        },
    }
}
