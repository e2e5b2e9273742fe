//! What is looked at before anything changes. All findings come at once; one that fails blocks, unless a person
//! has overridden it.
//!
//! One file for each area; [`catalogue`] has a row for each id. Most checks need a verified bundle; [`rules`] need
//! none, and [`disk`] needs its signed lists only. [`report`] is what people, the log and other programs get.

pub mod catalogue;
pub mod clock;
pub mod cluster;
pub mod containerd;
pub mod disk;
pub mod docker;
pub mod failed;
pub mod health;
pub mod helm;
pub mod junit;
pub mod overrides;
pub mod python;
pub mod registry;
pub mod report;
pub mod requires;
pub mod rollback;
pub mod rules;
pub mod scripts;
pub mod zip_directory;

use edge::Env;
use manifests::bundle::BundleDigest;
use manifests::clock::ClockStatement;
use manifests::inventory::Component;
use manifests::{Digest, Inventory, Timestamp, VerifiedBundle};
use serde::Serialize;

use crate::due::Due;
use crate::plan::Step;
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

impl Finding {
    /// As it should be.
    #[must_use]
    pub fn pass(id: &'static str, fact: impl Into<String>, requirement: impl Into<String>) -> Self {
        Self { id, verdict: Verdict::Pass, fact: fact.into(), requirement: requirement.into(), remedy: None }
    }

    /// Not as it should be, and no reason to stop.
    #[must_use]
    pub fn warn(
        id: &'static str,
        fact: impl Into<String>,
        requirement: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { verdict: Verdict::Warn, remedy: Some(remedy.into()), ..Self::pass(id, fact, requirement) }
    }

    /// A reason to stop.
    #[must_use]
    pub fn fail(
        id: &'static str,
        fact: impl Into<String>,
        requirement: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { verdict: Verdict::Fail, ..Self::warn(id, fact, requirement, remedy) }
    }
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
    findings.extend(failed::check(bundle, judged, context));
    let components = &bundle.inventory().components;
    findings.extend(disk::check(bundle.inventory(), bundle.digest(), context));
    if let Some(target) = &config.targets.registry {
        findings.extend(registry::check(components, target, context));
    }
    let wheelhouses: Vec<_> = components
        .iter()
        .filter_map(|component| match component {
            Component::Wheelhouse(wheelhouse) => Some(wheelhouse),
            _ => None,
        })
        .collect();
    if let Some(target) = config.targets.python.as_ref().filter(|_| !wheelhouses.is_empty()) {
        findings.extend(python::check(&wheelhouses, bundle.digest(), target, context));
    }
    let images: Vec<_> = components
        .iter()
        .filter_map(|component| match component {
            Component::Image(image) => Some(image),
            _ => None,
        })
        .collect();
    if let Some(target) = config.targets.docker.as_ref().filter(|_| !images.is_empty()) {
        findings.extend(docker::check(&images, bundle, target, context));
    }
    if let Some(target) = config.targets.containerd.as_ref().filter(|_| !images.is_empty()) {
        findings.extend(containerd::check(&images, bundle.inventory(), target, context));
    }
    findings.extend(
        cluster::check(bundle, config, context).into_iter().map(|finding| after_a_cut(finding, context)),
    );
    if let Some(target) = &config.targets.helm {
        findings.extend(helm::check(bundle, target, context));
    }
    findings.extend(scripts::check(due, config, context));
    findings.extend(requires::check(bundle, judged, context));
    findings.extend(health::check(bundle.inventory(), config));
    findings.extend(rollback::check(bundle, judged, context));
    findings
}

/// What a run of ours that was cut off has left in a cluster is no reason not to go on with it, or back.
fn after_a_cut(finding: Finding, context: &Context<'_>) -> Finding {
    let is_trouble = finding.id == "cluster/namespace-health" && finding.verdict == Verdict::Fail;
    if !is_trouble {
        return finding;
    }
    let Ok(Some(found)) = crate::journal::unfinished(context.site) else { return finding };
    let in_a_cluster = |(number, step): (usize, &Step)| {
        matches!(step, Step::Release(_) | Step::Objects(_)) && found.was_begun(number)
    };
    if !found.plan.steps.iter().enumerate().any(in_a_cluster) {
        return finding;
    }
    let remedy = "nothing, if it is what the run that was cut off has left: that is dealt with first";
    Finding { verdict: Verdict::Warn, remedy: Some(remedy.to_string()), ..finding }
}

/// What can be told by the signed lists alone, before the first byte is copied: room, what the bundle requires of
/// this machine, and whether its health checks could be made.
#[must_use]
pub fn before_copying(bundle: BundleDigest, inventory: &Inventory, context: &Context<'_>) -> Vec<Finding> {
    let mut findings = disk::check(inventory, bundle, context);
    findings.extend(requires::early(inventory, bundle, context));
    findings.extend(health::check(inventory, context.config));
    findings
}

/// A name that we want, of an image that did not come from a bundle.
struct ForeignName {
    id: &'static str,
    /// What in `site.yaml` allows to move it.
    key: &'static str,
    name: String,
    old: Digest,
    new: Digest,
    allowed: bool,
}

/// Such a name is never moved silently, and not at all without a word in `site.yaml`.
fn foreign_name(found: Option<ForeignName>) -> Option<Finding> {
    let ForeignName { id, key, name, old, new, allowed } = found?;
    Some(Finding {
        id,
        verdict: if allowed { Verdict::Warn } else { Verdict::Fail },
        fact: format!("{name} names {old}, which came from no bundle, and would name {new}"),
        requirement: "a name that stands for nothing, or for an image of an earlier bundle".to_string(),
        remedy: Some(if allowed {
            format!("`{key}` allows it; an undo gives the name back")
        } else {
            format!("find out whose it is; `{key}: true` in site.yaml moves it")
        }),
    })
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
