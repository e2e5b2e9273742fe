//! `registry/reachable`: the site registry answers, and lets us in.

use super::{Finding, Verdict};
use crate::site::config::RegistryTarget;
use crate::targets::{Context, registry};

/// Looks whether the registry answers.
#[must_use]
pub fn reachable(target: &RegistryTarget, context: &Context<'_>) -> Finding {
    let requirement = if target.auth.is_some() {
        "an OCI registry that answers, and takes our login"
    } else {
        "an OCI registry that answers without a login"
    }
    .to_string();
    let id = "registry/reachable";
    match registry::ping(target, context) {
        Ok(()) => {
            let fact = format!("{} answers", target.url);
            Finding { id, verdict: Verdict::Pass, fact, requirement, remedy: None }
        }
        Err(error) => Finding {
            id,
            verdict: Verdict::Fail,
            fact: crate::apply::chain(&error),
            requirement,
            remedy: Some("start the registry, or correct `targets.registry` in site.yaml: `url`, `ca`, and `auth: docker-config` with `docker login`".to_string()),
        },
    }
}
