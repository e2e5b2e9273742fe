//! `cluster/reachable`, `cluster/version` and `cluster/apis`: somebody answers and knows us, in a version that the
//! bundle can be used with, and serves every kind that is brought or required.

use std::collections::BTreeMap;

use manifests::requires::Requires;
use serde_json::Value;

use super::{Wanted, blind, listed};
use crate::cluster::kinds::Kinds;
use crate::cluster::{Cluster, may};
use crate::preflight::Finding;

/// The check without which no other makes sense.
const REACHABLE: &str = "cluster/reachable";
const NEEDED: &str = "a cluster that answers and knows who we are";

/// What a bundle requires of a cluster, nobody can look for where there is none.
pub(super) fn no_cluster(requires: &Requires) -> Option<Finding> {
    requires.needs_cluster().then(|| {
        let fact = "the bundle requires something of a cluster, and site.yaml names none";
        Finding::fail(REACHABLE, fact, NEEDED, "name it with `targets.kubernetes` in site.yaml")
    })
}

/// Asks for the version, which everybody may, and for a permission, which only those may ask whom it knows. Tells
/// whether both were answered.
pub(super) fn reachable(cluster: &dyn Cluster, requires: &Requires) -> (Vec<Finding>, bool) {
    let version = match cluster
        .get("/version")
        .and_then(|found| may(cluster, "get", ("", "pods"), None).map(|_| found))
    {
        Ok(version) => version.unwrap_or(Value::Null),
        Err(error) => {
            let remedy = edge::Classified::hint(&error)
                .unwrap_or_else(|| "check `targets.kubernetes` in site.yaml".to_string());
            return (vec![Finding::fail(REACHABLE, crate::apply::chain(&error), NEEDED, remedy)], false);
        }
    };
    let version = version.get("gitVersion").and_then(Value::as_str).unwrap_or_default().to_string();
    let mut findings = vec![Finding::pass(REACHABLE, format!("it is Kubernetes {version}"), NEEDED)];
    if let Some(range) = &requires.kubernetes {
        let needed = format!("Kubernetes {range}");
        // What a distributor puts behind the version, as in v1.30.2+k3s1, says nothing of what it can do.
        let plain = version.split('+').next().unwrap_or_default();
        let plain = plain.split_once('-').map_or(plain, |(release, _)| release);
        findings.push(if range.admits(plain) {
            Finding::pass("cluster/version", format!("it is Kubernetes {version}"), needed)
        } else {
            let remedy = "bring the cluster to that version, or ask the sender for a bundle for this one";
            Finding::fail("cluster/version", format!("it is Kubernetes {version}"), needed, remedy)
        });
    }
    (findings, true)
}

/// Whether every kind is served that is brought or required.
pub(super) fn served(cluster: &dyn Cluster, wanted: &Wanted<'_>) -> Vec<Finding> {
    const ID: &str = "cluster/apis";
    let mut missing: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for set in &wanted.rendered {
        for object in set.objects.iter().filter(|object| wanted.kinds.served(object).is_none()) {
            let kind = format!("{}/{}", object.api_version(), object.kind());
            let whom = format!("{} of {}", object.id(), set.from);
            missing.entry(kind).or_default().push(whom);
        }
    }
    let required: Vec<String> = wanted.requires.apis.iter().map(|api| api.api_version()).collect();
    let kinds = match Kinds::of(cluster, required.iter().map(String::as_str)) {
        Ok(kinds) => kinds,
        Err(error) => return vec![blind(ID, "kinds that the bundle requires", &error)],
    };
    for api in wanted.requires.apis.iter() {
        let (version, kind) = (api.api_version(), api.kind.to_string());
        if kinds.get(&version, &kind).is_none() && wanted.kinds.get(&version, &kind).is_none() {
            missing.entry(api.to_string()).or_default().push("the bundle requires it".to_string());
        }
    }
    if missing.is_empty() {
        let count = wanted.objects().count();
        return vec![Finding::pass(
            ID,
            format!("every kind of {count} objects is served"),
            "kinds that the cluster serves",
        )];
    }
    let fail = |(kind, whom): (String, Vec<String>)| {
        Finding::fail(
            ID,
            manifests::text::printable(&format!("the cluster does not serve {kind}")),
            format!("{kind}: {}", listed(whom)),
            "install what brings that kind (its custom resource definition), or ask the sender for a bundle for this version of Kubernetes",
        )
    };
    missing.into_iter().map(fail).collect()
}
