//! `health/allowed` and `health/cluster`: whether the health checks of a bundle can be made on this site at all.

use manifests::Inventory;
use manifests::health::Check;

use super::Finding;
use crate::site::config::SiteConfig;

/// Looks whether each check can be made.
#[must_use]
pub fn check(inventory: &Inventory, config: &SiteConfig) -> Vec<Finding> {
    let shown = |wanted: fn(&Check) -> bool| -> Vec<String> {
        let checks = inventory.health.iter().map(|check| &check.check);
        checks.filter(|check| wanted(check)).map(ToString::to_string).collect()
    };
    let mut findings = Vec::new();
    let programs = shown(|check| matches!(check, Check::Command(_)));
    if !programs.is_empty() {
        let fact = format!("programs are to be run here to see whether it works: {}", programs.join(", "));
        let needed = "a site.yaml with `targets: {scripts: {}}`";
        let remedy =
            "read which programs these are, and allow them in site.yaml, or ask for a bundle without";
        findings.push(match config.targets.scripts {
            Some(_) => Finding::pass("health/allowed", fact, needed),
            None => Finding::fail("health/allowed", fact, needed, remedy),
        });
    }
    let rollouts = shown(|check| matches!(check, Check::Rollout(_)));
    if !rollouts.is_empty() {
        let fact = format!("a cluster is to be asked whether it works: {}", rollouts.join(", "));
        let needed = "a cluster in site.yaml: `targets.kubernetes`, or `targets.helm`";
        let remedy = "write `targets: {kubernetes: {kubeconfig: FILE}}` into site.yaml";
        findings.push(match config.targets.cluster() {
            Some(_) => Finding::pass("health/cluster", fact, needed),
            None => Finding::fail("health/cluster", fact, needed, remedy),
        });
    }
    findings
}
