//! `cluster/capacity`: the nodes have room for what is brought, and leave some; and for every workload there is
//! at least one node that its pods can run on.
//!
//! Counted as a scheduler counts: by what pods request, not by what they use. The rule about the headroom is the
//! one of `cluster/quota`. Of a node's conditions its readiness, taints, labels and free room are looked at;
//! rules about pods beside pods are the scheduler's.

use std::collections::BTreeMap;

use serde_json::Value;

use super::pods::{Defaults, demand, replicas};
use super::quantity::{Quantities, Quantity, add, quantities};
use super::{Wanted, blind, list, listed, name_of};
use crate::cluster::{Cluster, ClusterError};
use crate::preflight::Finding;
use crate::rendered::{Object, ObjectId};

const ID: &str = "cluster/capacity";

/// A node that may get pods.
struct Node {
    object: Value,
    allocatable: Quantities,
    /// The pods that run there: namespace, labels, and what they request.
    pods: Vec<(String, Value, Quantities)>,
}

/// Looks at all nodes and all pods, once.
pub(super) fn check(
    cluster: &dyn Cluster,
    wanted: &Wanted<'_>,
    now: &BTreeMap<ObjectId, Object>,
) -> Vec<Finding> {
    let workloads: Vec<&Object> = wanted.objects().filter(|object| object.pod_spec().is_some()).collect();
    if workloads.is_empty() {
        return Vec::new();
    }
    let looked = nodes(cluster).and_then(|nodes| Ok((nodes, defaults(cluster, &workloads)?)));
    let (nodes, defaults) = match looked {
        Ok(looked) => looked,
        Err(error) => return vec![blind(ID, "the room that the nodes have", &error)],
    };
    let mut findings: Vec<Finding> =
        workloads.iter().filter_map(|workload| fits(workload, &nodes, &defaults)).collect();
    findings.extend(together(&workloads, now, &nodes, &defaults, wanted.headroom));
    if findings.is_empty() {
        let fact = format!("{} nodes have room for {} workloads", nodes.len(), workloads.len());
        let needed = format!(
            "at most {} % of the nodes requested afterwards, and a node for each pod",
            wanted.headroom
        );
        findings.push(Finding::pass(ID, fact, needed));
    }
    findings
}

/// What namespaces give to pods that ask for nothing.
fn defaults(
    cluster: &dyn Cluster,
    workloads: &[&Object],
) -> Result<BTreeMap<String, Defaults>, ClusterError> {
    let mut found = BTreeMap::new();
    for namespace in workloads.iter().filter_map(|workload| workload.namespace()) {
        if !found.contains_key(namespace) {
            let ranges = list(cluster, "v1", "limitranges", Some(namespace))?;
            found.insert(namespace.to_string(), Defaults::of(&ranges));
        }
    }
    Ok(found)
}

/// The nodes that are ready and take pods, with what runs there.
fn nodes(cluster: &dyn Cluster) -> Result<Vec<Node>, ClusterError> {
    let mut nodes: BTreeMap<String, Node> = BTreeMap::new();
    for node in list(cluster, "v1", "nodes", None)?.into_iter().filter(takes_pods) {
        let allocatable = quantities(node.pointer("/status/allocatable"));
        nodes.insert(name_of(&node).to_string(), Node { object: node, allocatable, pods: Vec::new() });
    }
    for pod in list(cluster, "v1", "pods", None)? {
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if matches!(text("/status/phase"), "Succeeded" | "Failed") {
            continue;
        }
        if let Some(node) = nodes.get_mut(text("/spec/nodeName")) {
            let spec = pod.get("spec").unwrap_or(&Value::Null);
            let labels = pod.pointer("/metadata/labels").cloned().unwrap_or_default();
            let mut requests = demand(spec, &Defaults::default()).requests;
            requests.insert("pods".to_string(), Quantity::count(1));
            node.pods.push((text("/metadata/namespace").to_string(), labels, requests));
        }
    }
    Ok(nodes.into_values().collect())
}

fn takes_pods(node: &Value) -> bool {
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let is_ready = conditions.into_iter().any(|condition| {
        condition.get("type").and_then(Value::as_str) == Some("Ready")
            && condition.get("status").and_then(Value::as_str) == Some("True")
    });
    is_ready && node.pointer("/spec/unschedulable").and_then(Value::as_bool) != Some(true)
}

fn one_pod(workload: &Object, defaults: &BTreeMap<String, Defaults>) -> Quantities {
    let none = Defaults::default();
    let defaults = workload.namespace().and_then(|namespace| defaults.get(namespace)).unwrap_or(&none);
    let mut requests = workload.pod_spec().map(|spec| demand(spec, defaults).requests).unwrap_or_default();
    requests.insert("pods".to_string(), Quantity::count(1));
    requests
}

/// Whether all of it fits on all nodes together, and leaves room.
fn together(
    workloads: &[&Object],
    now: &BTreeMap<ObjectId, Object>,
    nodes: &[Node],
    defaults: &BTreeMap<String, Defaults>,
    headroom: u8,
) -> Vec<Finding> {
    let sum = |workloads: &mut dyn Iterator<Item = &Object>| {
        let mut sum = Quantities::new();
        for workload in workloads {
            let pods = replicas(workload, nodes.len() as u64);
            let all = one_pod(workload, defaults).into_iter().map(|(name, one)| (name, one.times(pods)));
            add(&mut sum, &all.collect());
        }
        sum
    };
    let after = sum(&mut workloads.iter().copied());
    let before = sum(&mut workloads.iter().filter_map(|workload| now.get(&workload.id())));
    let (mut has, mut used) = (Quantities::new(), Quantities::new());
    for node in nodes {
        add(&mut has, &node.allocatable);
        node.pods.iter().for_each(|(_, _, requests)| add(&mut used, requests));
    }
    let mut findings = Vec::new();
    for (resource, asked) in &after {
        let of = |map: &Quantities| map.get(resource).copied().unwrap_or_default();
        let more = asked.minus(of(&before));
        let then = of(&used).plus(more);
        if then.is_within(headroom, of(&has)) {
            continue;
        }
        let show = |quantity: Quantity| quantity.show(resource);
        let fact = format!(
            "{resource}: {} of the nodes' {} are requested, and {} would be",
            show(of(&used)),
            show(of(&has)),
            show(then)
        );
        let needed = format!("at most {headroom} % of the nodes' {resource} requested afterwards");
        let remedy = "add nodes, ask for less in the site's values, or set `preflight.headroom` in site.yaml";
        findings.push(if more > Quantity::default() {
            Finding::fail(ID, fact, needed, remedy)
        } else {
            Finding::warn(ID, format!("{fact}; this bundle adds nothing"), needed, remedy)
        });
    }
    findings
}

/// Whether there is a node for one pod of a workload.
fn fits(workload: &Object, nodes: &[Node], defaults: &BTreeMap<String, Defaults>) -> Option<Finding> {
    let spec = workload.pod_spec()?;
    let asked = one_pod(workload, defaults);
    let suitable: Vec<&Node> = nodes.iter().filter(|node| suits(spec, &node.object)).collect();
    if suitable.is_empty() {
        let wishes = wishes(spec);
        return Some(Finding::fail(
            ID,
            format!("none of the {} nodes takes pods of {}", nodes.len(), workload.id()),
            format!("a ready node without taints that the pods do not tolerate{wishes}"),
            "label, uncordon or add a node, or choose others in the site's values",
        ));
    }
    let template = workload.value().pointer("/spec/template/metadata/labels");
    let lacks = |node: &&Node| -> Vec<String> {
        let free = free(node, workload.namespace(), template);
        let short = |(name, wanted): (&String, &Quantity)| {
            let free = free.get(name).copied().unwrap_or_default();
            (*wanted > free).then(|| {
                format!("{name} {} ({} is free)", wanted.show(name), free.max(Quantity::default()).show(name))
            })
        };
        asked.iter().filter_map(short).collect()
    };
    let lacking: Vec<(&str, Vec<String>)> =
        suitable.iter().map(|node| (name_of(&node.object), lacks(node))).collect();
    if lacking.iter().any(|(_, lacks)| lacks.is_empty()) {
        return None;
    }
    let told = lacking.iter().map(|(node, lacks)| format!("{node} lacks {}", lacks.join(", ")));
    Some(Finding::fail(
        ID,
        format!("no node has room for a pod of {}: {}", workload.id(), listed(told.collect::<Vec<_>>())),
        "a node that has what one pod requests",
        "add a larger node, free one, or ask for less in the site's values",
    ))
}

/// What a node has left, without what pods of the same workload have now.
fn free(node: &Node, namespace: Option<&str>, template: Option<&Value>) -> Quantities {
    let is_same = |labels: &Value| {
        let template = template.and_then(Value::as_object).filter(|template| !template.is_empty());
        template.is_some_and(|template| template.iter().all(|(name, value)| labels.get(name) == Some(value)))
    };
    let mut free = node.allocatable.clone();
    for (_, _, requests) in
        node.pods.iter().filter(|(place, labels, _)| !(Some(place.as_str()) == namespace && is_same(labels)))
    {
        for (name, value) in requests {
            let left = free.entry(name.clone()).or_default();
            *left = left.minus(*value);
        }
    }
    free
}

/// What pods want of a node, in words.
fn wishes(spec: &Value) -> String {
    let selector = spec.get("nodeSelector").and_then(Value::as_object).into_iter().flatten();
    let labels: Vec<String> =
        selector.map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default())).collect();
    if labels.is_empty() { String::new() } else { format!(", with {}", listed(labels)) }
}

fn suits(spec: &Value, node: &Value) -> bool {
    let label = |name: &str| {
        node.pointer("/metadata/labels").and_then(|labels| labels.get(name)).and_then(Value::as_str)
    };
    let selector = spec.get("nodeSelector").and_then(Value::as_object).into_iter().flatten();
    let selected = selector.into_iter().all(|(name, value)| label(name) == value.as_str());
    let pinned = spec.get("nodeName").and_then(Value::as_str).is_none_or(|name| name == name_of(node));
    let terms = "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    let wanted = spec.pointer(terms).and_then(Value::as_array);
    let affine = wanted.is_none_or(|terms| {
        terms.iter().any(|term| {
            let rules = term.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
            rules.into_iter().all(|rule| holds(rule, &label))
        })
    });
    selected && pinned && affine && tolerates(spec, node)
}

fn holds<'a>(rule: &Value, label: &dyn Fn(&str) -> Option<&'a str>) -> bool {
    let text = |key: &str| rule.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut values =
        rule.get("values").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    match (text("operator"), label(text("key"))) {
        ("In", found) => found.is_some_and(|found| values.any(|value| value == found)),
        ("NotIn", found) => found.is_none_or(|found| values.all(|value| value != found)),
        ("Exists", found) => found.is_some(),
        ("DoesNotExist", found) => found.is_none(),
        // Of numbers: the scheduler's business.
        _ => true,
    }
}

fn tolerates(spec: &Value, node: &Value) -> bool {
    fn text<'a>(value: &'a Value, key: &str) -> &'a str {
        value.get(key).and_then(Value::as_str).unwrap_or_default()
    }
    let tolerations: Vec<&Value> =
        spec.get("tolerations").and_then(Value::as_array).into_iter().flatten().collect();
    let taints = node.pointer("/spec/taints").and_then(Value::as_array).into_iter().flatten();
    let mut hard = taints.filter(|taint| matches!(text(taint, "effect"), "NoSchedule" | "NoExecute"));
    hard.all(|taint| {
        tolerations.iter().any(|toleration| {
            let key = text(toleration, "key");
            let effect = text(toleration, "effect");
            (effect.is_empty() || effect == text(taint, "effect"))
                && match text(toleration, "operator") {
                    "Exists" => key.is_empty() || key == text(taint, "key"),
                    _ => key == text(taint, "key") && text(toleration, "value") == text(taint, "value"),
                }
        })
    })
}
