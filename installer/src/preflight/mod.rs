//! What is looked at before anything changes. All findings come at once; one that fails blocks.

pub mod clock;
pub mod python;
pub mod registry;
pub mod scripts;

use edge::{Classified, Env, Exit};
use manifests::clock::ClockStatement;
use manifests::inventory::Component;
use manifests::{Timestamp, VerifiedBundle};
use serde::Serialize;

use crate::due::Due;
use crate::site::config::SiteConfig;
use crate::targets::Context;
use crate::witness::Judged;
use clock::Times;

/// What a check reports. Not an error: an error means that the check could not look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A stable id, such as `registry/reachable`.
    pub id: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// What was found.
    pub fact: String,
    /// What is needed.
    pub requirement: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// The verdict of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Pass,
    /// Not as it should be, and no reason to stop.
    Warn,
    /// A reason to stop.
    Fail,
}

/// Findings that block.
#[derive(Debug, thiserror::Error)]
#[error("not ready: {}", failed.iter().map(|finding| format!("{}: {}", finding.id, finding.fact)).collect::<Vec<_>>().join("; "))]
pub struct NotReady {
    /// Those that failed.
    pub failed: Vec<Finding>,
}

impl Classified for NotReady {
    fn exit(&self) -> Exit {
        Exit::NotReady
    }

    fn hint(&self) -> Option<String> {
        let remedies: Vec<String> = self.failed.iter().filter_map(|finding| finding.remedy.clone()).collect();
        (!remedies.is_empty()).then(|| remedies.join("; "))
    }
}

/// Looks at everything that this bundle, which makes these scripts due, needs of this site.
#[must_use]
pub fn check(
    bundle: &VerifiedBundle,
    judged: &Judged,
    due: &Due,
    config: &SiteConfig,
    context: &Context<'_>,
) -> Vec<Finding> {
    let mut findings = clock::check(&times(bundle, judged, context.env), &config.time);
    let components = &bundle.inventory().components;
    if let Some(target) = &config.targets.registry {
        findings.push(registry::reachable(target, context));
    }
    let wheelhouses: Vec<_> = components
        .iter()
        .filter_map(|component| match component {
            Component::Wheelhouse(wheelhouse) => Some(wheelhouse),
            _ => None,
        })
        .collect();
    if let Some(target) = config.targets.python.as_ref().filter(|_| !wheelhouses.is_empty()) {
        findings.extend(python::check(&wheelhouses, target, context));
    }
    findings.extend(scripts::check(due, config, context));
    findings
}

/// Stops at findings that fail.
///
/// # Errors
/// Some fail.
pub fn require(findings: &[Finding]) -> Result<(), NotReady> {
    let failed: Vec<Finding> =
        findings.iter().filter(|finding| finding.verdict == Verdict::Fail).cloned().collect();
    if failed.is_empty() { Ok(()) } else { Err(NotReady { failed }) }
}

/// The floor is the latest of what was signed for this site and accepted: roots, revocations, every bundle
/// that was applied, and this one.
#[must_use]
pub fn times(bundle: &VerifiedBundle, judged: &Judged, env: &Env) -> Times {
    let floor = judged.applied.iter().copied().fold(judged.trust.not_before(), Timestamp::max);
    let floor = floor.max(bundle.manifest().created);
    Times {
        statement: ClockStatement { clock: env.clock.now(), floor },
        last_entry: judged.remembered.last,
        bundle: bundle.manifest().expires,
        root: judged.trust.root().document().expires,
        trust: judged.trust.not_before(),
    }
}
