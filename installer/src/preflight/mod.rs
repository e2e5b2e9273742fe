//! What is looked at before anything changes. All findings come at once; one that fails blocks.

pub mod python;
pub mod registry;

use edge::{Classified, Exit};
use manifests::VerifiedBundle;
use manifests::inventory::Component;
use serde::Serialize;

use crate::site::config::SiteConfig;
use crate::targets::Context;

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

/// Looks at everything that this bundle needs of this site.
#[must_use]
pub fn check(bundle: &VerifiedBundle, config: &SiteConfig, context: &Context<'_>) -> Vec<Finding> {
    let mut findings = vec![clock(bundle, context)];
    if let Some(expiry) = expiry(bundle, context) {
        findings.push(expiry);
    }
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

/// A bundle from the future means that the clock is wrong, not the bundle.
fn clock(bundle: &VerifiedBundle, context: &Context<'_>) -> Finding {
    let (now, created) = (context.env.clock.now(), bundle.manifest().created);
    let wrong = now < created;
    Finding {
        id: "clock/plausible",
        verdict: if wrong { Verdict::Warn } else { Verdict::Pass },
        fact: format!("the clock says {now}, the bundle was made at {created}"),
        requirement: "a clock that is not before the bundle was made".to_string(),
        remedy: wrong.then(|| "set the clock: the audit log records its time".to_string()),
    }
}

/// Advisory: a site that is late is not a site that must stop.
fn expiry(bundle: &VerifiedBundle, context: &Context<'_>) -> Option<Finding> {
    let (now, expires) = (context.env.clock.now(), bundle.manifest().expires?);
    let late = now > expires;
    Some(Finding {
        id: "bundle/expiry",
        verdict: if late { Verdict::Warn } else { Verdict::Pass },
        fact: format!("the bundle expires at {expires}, the clock says {now}"),
        requirement: "a bundle that has not expired".to_string(),
        remedy: late.then(|| "ask the sender whether a newer bundle exists".to_string()),
    })
}
