//! `cluster/rbac`: whether we may do with every kind that is brought what an apply, an undo and a later removal
//! will do with it, and with the secrets in which Helm keeps its releases.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Wanted, blind, listed};
use crate::cluster::{Cluster, ClusterError, may};
use crate::preflight::Finding;
use crate::rendered::group_of;

const ID: &str = "cluster/rbac";
/// Look, apply, put back, take away.
const VERBS: [&str; 5] = ["get", "create", "patch", "update", "delete"];
/// Helm also looks for the newest of a release.
const HELM_VERBS: [&str; 5] = ["get", "list", "create", "update", "delete"];

/// Group and name of a resource, and its namespace.
type Place = (String, String, Option<String>);

/// Asks for all verbs on all kinds in all places.
pub(super) fn check(cluster: &dyn Cluster, wanted: &Wanted<'_>) -> Vec<Finding> {
    match denied(cluster, &needed(wanted)) {
        Ok((count, denied)) if denied.is_empty() => {
            let needed = "permission to get, create, patch, update and delete what is brought";
            vec![Finding::pass(ID, format!("it is there, for {count} kinds in their places"), needed)]
        }
        Ok((_, denied)) => denied.into_iter().map(fail).collect(),
        Err(error) => vec![blind(ID, "what we may do, by the cluster's word", &error)],
    }
}

fn fail(((group, resource, namespace), verbs): (Place, BTreeSet<&'static str>)) -> Finding {
    let dot = if group.is_empty() { String::new() } else { format!(".{group}") };
    let place = namespace.map_or("in the whole cluster".to_string(), |name| format!("in namespace {name}"));
    let verbs = listed(verbs);
    Finding::fail(
        ID,
        manifests::text::printable(&format!("we may not {verbs} {resource}{dot} {place}")),
        manifests::text::printable(&format!("{verbs} on {resource}{dot} {place}")),
        "have whoever runs the cluster bind a role with these verbs to the user of the kubeconfig",
    )
}

/// Which verbs are needed where.
fn needed(wanted: &Wanted<'_>) -> BTreeMap<Place, BTreeSet<&'static str>> {
    let mut needed: BTreeMap<Place, BTreeSet<&'static str>> = BTreeMap::new();
    for object in wanted.objects() {
        let Some(served) = wanted.kinds.served(object) else { continue };
        let place = (
            group_of(object.api_version()).to_string(),
            served.plural.clone(),
            object.namespace().filter(|_| served.namespaced).map(ToString::to_string),
        );
        needed.entry(place).or_default().extend(VERBS);
    }
    for release in &wanted.releases {
        let place = (String::new(), "secrets".to_string(), Some(release.namespace.clone()));
        needed.entry(place).or_default().extend(HELM_VERBS);
    }
    needed
}

/// How many places were asked about, and what we may not.
#[allow(clippy::type_complexity, reason = "a map of sets, and a count beside it")]
fn denied(
    cluster: &dyn Cluster,
    needed: &BTreeMap<Place, BTreeSet<&'static str>>,
) -> Result<(usize, BTreeMap<Place, BTreeSet<&'static str>>), ClusterError> {
    let mut denied: BTreeMap<Place, BTreeSet<&'static str>> = BTreeMap::new();
    // Whoever may do everything everywhere is asked once.
    if needed.is_empty() || may(cluster, "*", ("*", "*"), None)? {
        return Ok((needed.len(), denied));
    }
    let mut rules: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (place, verbs) in needed {
        let (group, resource, namespace) = place;
        if let Some(namespace) = namespace
            && !rules.contains_key(namespace.as_str())
        {
            rules.insert(namespace, rules_in(cluster, namespace)?);
        }
        for verb in verbs {
            let known = namespace.as_ref().and_then(|namespace| rules.get(namespace.as_str()));
            // The rules of a namespace may be incomplete; what they do not allow is asked for by itself.
            let allowed = known.is_some_and(|rules| allow(rules, verb, group, resource))
                || may(cluster, verb, (group, resource), namespace.as_deref())?;
            if !allowed {
                denied.entry(place.clone()).or_default().insert(verb);
            }
        }
    }
    Ok((needed.len(), denied))
}

/// The rules that hold for us in a namespace, as far as the cluster can tell.
fn rules_in(cluster: &dyn Cluster, namespace: &str) -> Result<Vec<Value>, ClusterError> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    });
    let answer = cluster.create("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &review)?;
    let rules = answer.pointer("/status/resourceRules").and_then(Value::as_array);
    // Rules for objects of certain names do not allow to create any.
    let general = |rule: &&Value| {
        rule.get("resourceNames").is_none_or(|names| names.as_array().is_none_or(Vec::is_empty))
    };
    Ok(rules.into_iter().flatten().filter(general).cloned().collect())
}

fn allow(rules: &[Value], verb: &str, group: &str, resource: &str) -> bool {
    let has = |rule: &Value, key: &str, wanted: &str| {
        let found = rule.get(key).and_then(Value::as_array).into_iter().flatten();
        found.filter_map(Value::as_str).any(|found| found == "*" || found == wanted)
    };
    rules.iter().any(|rule| {
        has(rule, "verbs", verb) && has(rule, "apiGroups", group) && has(rule, "resources", resource)
    })
}
