//! `cluster/quota`: what is brought fits into the quotas of its namespaces, and leaves room.
//!
//! What counts is the difference: what the objects ask for now is subtracted, so an upgrade that asks for no more
//! passes. After it a quota may be used up to the headroom (60 % unless `site.yaml` says otherwise); more is a
//! fail if this bundle adds to it, and a warning if it does not. What a rolling update needs for a while beside
//! that is what the headroom is for.

use std::collections::BTreeMap;

use serde_json::Value;

use super::pods::{Defaults, Demand, claims, demand, replicas, storage};
use super::quantity::{Quantities, Quantity, add, quantities};
use super::{Wanted, blind, list, name_of};
use crate::cluster::{Cluster, ClusterError};
use crate::preflight::Finding;
use crate::rendered::{Object, ObjectId};

const ID: &str = "cluster/quota";

/// Looks at the quotas of each namespace.
pub(super) fn check(
    cluster: &dyn Cluster,
    wanted: &Wanted<'_>,
    now: &BTreeMap<ObjectId, Object>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for namespace in wanted.namespaces() {
        match of_namespace(cluster, wanted, now, namespace) {
            Ok(found) => findings.extend(found),
            Err(error) => findings.push(blind(ID, &format!("the quotas of namespace {namespace}"), &error)),
        }
    }
    findings
}

fn of_namespace(
    cluster: &dyn Cluster,
    wanted: &Wanted<'_>,
    now: &BTreeMap<ObjectId, Object>,
    namespace: &str,
) -> Result<Vec<Finding>, ClusterError> {
    let mut quotas = list(cluster, "v1", "resourcequotas", Some(namespace))?;
    // Those that come with the bundle hold from the start.
    let brought = wanted
        .objects()
        .filter(|object| object.kind() == "ResourceQuota" && object.namespace() == Some(namespace));
    quotas.extend(
        brought
            .filter(|object| !quotas_has(&quotas, object.name()))
            .map(|object| object.value().clone())
            .collect::<Vec<_>>(),
    );
    if quotas.is_empty() {
        return Ok(Vec::new());
    }
    let mut ranges = list(cluster, "v1", "limitranges", Some(namespace))?;
    let brought = wanted
        .objects()
        .filter(|object| object.kind() == "LimitRange" && object.namespace() == Some(namespace));
    ranges.extend(brought.map(|object| object.value().clone()));
    let defaults = Defaults::of(&ranges);
    let nodes = if wanted.objects().any(|object| object.kind() == "DaemonSet") {
        list(cluster, "v1", "nodes", None)?.len() as u64
    } else {
        0
    };
    let there = |object: &&Object| object.namespace() == Some(namespace);
    let objects: Vec<&Object> = wanted.objects().filter(there).collect();
    let findings = quotas.iter().flat_map(|quota| {
        let counted =
            |objects: &mut dyn Iterator<Item = &Object>| usage(objects, wanted, quota, &defaults, nodes);
        let after = counted(&mut objects.iter().copied());
        let before = counted(&mut objects.iter().filter_map(|object| now.get(&object.id())));
        let mut findings = without_numbers(quota, &objects, &defaults);
        findings.extend(judge(quota, namespace, &after, &before, wanted.headroom));
        findings
    });
    Ok(findings.collect())
}

fn quotas_has(quotas: &[Value], name: &str) -> bool {
    quotas.iter().any(|quota| name_of(quota) == name)
}

/// Compares what a quota allows with what will be used.
fn judge(
    quota: &Value,
    namespace: &str,
    after: &Quantities,
    before: &Quantities,
    headroom: u8,
) -> Vec<Finding> {
    let title = format!("quota {} of namespace {namespace}", name_of(quota));
    let used = quantities(quota.pointer("/status/used"));
    let mut findings = Vec::new();
    for (resource, hard) in quantities(quota.pointer("/spec/hard")) {
        let key = plain(&resource);
        let of = |map: &Quantities| map.get(key).copied().unwrap_or_default();
        let more = of(after).minus(of(before));
        let used = used.get(&resource).copied().unwrap_or_default();
        let then = used.plus(more);
        if then.is_within(headroom, hard) {
            continue;
        }
        let show = |quantity: Quantity| quantity.show(&resource);
        let fact = format!(
            "{title}: {resource} is used up to {} of {}, and would be up to {}",
            show(used),
            show(hard),
            show(then)
        );
        let needed = format!("at most {headroom} % of {resource} in use afterwards");
        let remedy = "have the quota raised, ask for less in the site's values, or set `preflight.headroom` in site.yaml";
        findings.push(if more > Quantity::default() {
            Finding::fail(ID, fact, needed, remedy)
        } else {
            Finding::warn(ID, format!("{fact}; this bundle adds nothing"), needed, remedy)
        });
    }
    if findings.is_empty() {
        let fact = format!("{title} has room");
        findings.push(Finding::pass(
            ID,
            fact,
            format!("at most {headroom} % of each quota in use afterwards"),
        ));
    }
    findings
}

/// A quota's own name for what is counted here under one.
fn plain(resource: &str) -> &str {
    match resource {
        "cpu" => "requests.cpu",
        "memory" => "requests.memory",
        "ephemeral-storage" => "requests.ephemeral-storage",
        other => other,
    }
}

/// Pods that a quota refuses because they do not say how much they want.
fn without_numbers(quota: &Value, objects: &[&Object], defaults: &Defaults) -> Vec<Finding> {
    let hard = quantities(quota.pointer("/spec/hard"));
    let mut findings = Vec::new();
    for object in objects {
        let Some(asked) =
            object.pod_spec().filter(|spec| counts(quota, spec)).map(|spec| demand(spec, defaults))
        else {
            continue;
        };
        let lacking = |prefix: &str, names: &[String]| -> Vec<String> {
            let wanted =
                |name: &&String| hard.keys().any(|resource| plain(resource) == format!("{prefix}.{name}"));
            names.iter().filter(wanted).map(|name| format!("{prefix}.{name}")).collect()
        };
        let mut missing = lacking("requests", &asked.unrequested);
        missing.extend(lacking("limits", &asked.unlimited));
        if !missing.is_empty() {
            let missing = missing.join(" and ");
            findings.push(Finding::fail(
                ID,
                format!("a container of {} says nothing of {missing}", object.id()),
                format!("{missing} for every container, as quota {} counts them", name_of(quota)),
                "name them in the site's values, or have a LimitRange with defaults made in the namespace",
            ));
        }
    }
    findings
}

/// Whether a quota is about pods like this: those without any numbers, or those with some.
fn counts(quota: &Value, spec: &Value) -> bool {
    let scopes = quota.pointer("/spec/scopes").and_then(Value::as_array).into_iter().flatten();
    let asked: Demand = demand(spec, &Defaults::default());
    let best_effort = asked.requests.is_empty() && asked.limits.is_empty();
    let ends = spec.get("activeDeadlineSeconds").is_some();
    scopes.filter_map(Value::as_str).all(|scope| match scope {
        "BestEffort" => best_effort,
        "NotBestEffort" => !best_effort,
        "Terminating" => ends,
        "NotTerminating" => !ends,
        // One of a class that we know nothing of: better counted than not.
        _ => true,
    })
}

/// What a quota counts of objects.
fn usage(
    objects: &mut dyn Iterator<Item = &Object>,
    wanted: &Wanted<'_>,
    quota: &Value,
    defaults: &Defaults,
    nodes: u64,
) -> Quantities {
    let mut usage = Quantities::new();
    let mut count = |name: String, quantity: Quantity| {
        add(&mut usage, &Quantities::from([(name, quantity)]));
    };
    for object in objects {
        let one = Quantity::count(1);
        if let Some(served) = wanted.kinds.served(object) {
            let group = object.group();
            let dot = if group.is_empty() { String::new() } else { format!(".{group}") };
            count(format!("count/{}{dot}", served.plural), one);
            if group.is_empty() {
                count(served.plural.clone(), one);
            }
        }
        match object
            .value()
            .pointer("/spec/type")
            .and_then(Value::as_str)
            .filter(|_| object.kind() == "Service")
        {
            Some("LoadBalancer") => count("services.loadbalancers".to_string(), one),
            Some("NodePort") => count("services.nodeports".to_string(), one),
            _ => {}
        }
        if let Some(spec) = object.pod_spec().filter(|spec| counts(quota, spec)) {
            let (pods, asked) = (replicas(object, nodes), demand(spec, defaults));
            if object.kind() != "Pod" {
                count("pods".to_string(), Quantity::count(pods));
                count("count/pods".to_string(), Quantity::count(pods));
            }
            for (prefix, quantities) in [("requests", &asked.requests), ("limits", &asked.limits)] {
                for (name, quantity) in quantities {
                    count(format!("{prefix}.{name}"), quantity.times(pods));
                }
            }
        }
        for (claim, volumes) in claims(object) {
            let size = storage(claim).times(volumes);
            count("requests.storage".to_string(), size);
            if object.kind() != "PersistentVolumeClaim" {
                count("persistentvolumeclaims".to_string(), Quantity::count(volumes));
            }
            if let Some(class) = claim.get("storageClassName").and_then(Value::as_str) {
                let of_class = format!("{class}.storageclass.storage.k8s.io");
                count(format!("{of_class}/requests.storage"), size);
                count(format!("{of_class}/persistentvolumeclaims"), Quantity::count(volumes));
            }
        }
    }
    usage
}
