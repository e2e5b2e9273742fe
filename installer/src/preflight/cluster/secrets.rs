//! `cluster/secrets`: the secrets that the bundle requires, and those that its pods will ask for, are in the
//! cluster or come along. Only names and keys are looked at, and nothing else of them is ever shown.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Wanted, blind, listed};
use crate::cluster::Cluster;
use crate::cluster::kinds::path;
use crate::preflight::Finding;
use crate::rendered::Object;

const ID: &str = "cluster/secrets";

/// A secret, and which of its keys are asked for by whom.
type Asked = BTreeMap<(String, String), BTreeMap<Option<String>, BTreeSet<String>>>;

/// Looks for each secret once.
pub(super) fn check(cluster: &dyn Cluster, wanted: &Wanted<'_>) -> Vec<Finding> {
    let asked = asked(wanted);
    if asked.is_empty() {
        return Vec::new();
    }
    let (mut findings, mut found) = (Vec::new(), 0_usize);
    for ((namespace, name), keys) in &asked {
        let title = format!("{namespace}/{name}");
        let there = match brought(wanted, namespace, name) {
            Some(brought) => Ok(Some(brought.value().clone())),
            None => cluster.get(&path("v1", "secrets", Some(namespace), name)),
        };
        match there {
            Err(error) => findings.push(blind(ID, &format!("secret {title}"), &error)),
            Ok(None) => {
                let whom = listed(keys.values().flatten().collect::<BTreeSet<_>>());
                findings.push(Finding::fail(
                    ID,
                    format!("there is no secret {title}"),
                    format!("secret {title}, for {whom}"),
                    format!("make it in the cluster: kubectl create secret … --namespace {namespace} {name}"),
                ));
            }
            Ok(Some(secret)) => {
                let lacks = |key: &&Option<String>| key.as_ref().is_some_and(|key| !has(&secret, key));
                let missing: Vec<String> = keys.keys().filter(lacks).flatten().cloned().collect();
                if missing.is_empty() {
                    found = found.saturating_add(1);
                } else {
                    let missing = listed(missing);
                    findings.push(Finding::fail(
                        ID,
                        format!("secret {title} has no key {missing}"),
                        format!("secret {title} with {missing}"),
                        "add the key to the secret",
                    ));
                }
            }
        }
    }
    if found > 0 && findings.is_empty() {
        let fact = format!("{found} secrets are there or come along, with the keys that are asked for");
        findings.push(Finding::pass(ID, fact, "every secret that is required or that pods ask for"));
    }
    findings
}

fn has(secret: &Value, key: &str) -> bool {
    ["data", "stringData"].iter().any(|data| secret.get(data).is_some_and(|data| data.get(key).is_some()))
}

fn brought<'a>(wanted: &'a Wanted<'_>, namespace: &str, name: &str) -> Option<&'a Object> {
    wanted.objects().find(|object| {
        object.kind() == "Secret" && object.name() == name && object.namespace() == Some(namespace)
    })
}

fn asked(wanted: &Wanted<'_>) -> Asked {
    let mut asked = Asked::new();
    let mut ask = |namespace: &str, name: &str, key: Option<&str>, whom: &str| {
        let keys = asked.entry((namespace.to_string(), name.to_string())).or_default();
        keys.entry(key.map(ToString::to_string)).or_default().insert(whom.to_string());
    };
    for secret in wanted.requires.secrets.iter() {
        let key = secret.key.as_ref().map(ToString::to_string);
        ask(&secret.namespace.to_string(), &secret.name.to_string(), key.as_deref(), "the bundle");
    }
    for object in wanted.objects() {
        let (Some(spec), Some(namespace)) = (object.pod_spec(), object.namespace()) else { continue };
        let whom = object.id().to_string();
        for (name, key) in of_pods(spec) {
            ask(namespace, name, key, &whom);
        }
    }
    asked
}

/// The secrets that pods of this specification cannot start without, and the keys.
fn of_pods(spec: &Value) -> Vec<(&str, Option<&str>)> {
    fn each<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
        value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
    }
    fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
        value.get(key)?.as_str().filter(|text| !text.is_empty())
    }
    let is_needed = |value: &Value| value.get("optional").and_then(Value::as_bool) != Some(true);
    let mut found = Vec::new();
    found.extend(each(spec, "/imagePullSecrets").filter_map(|secret| Some((text(secret, "name")?, None))));
    for container in each(spec, "/initContainers").chain(each(spec, "/containers")) {
        for variable in each(container, "/env") {
            let reference = variable.pointer("/valueFrom/secretKeyRef").filter(|value| is_needed(value));
            found.extend(
                reference.and_then(|reference| Some((text(reference, "name")?, text(reference, "key")))),
            );
        }
        for source in each(container, "/envFrom").filter_map(|source| source.get("secretRef")) {
            found.extend(text(source, "name").filter(|_| is_needed(source)).map(|name| (name, None)));
        }
    }
    for volume in each(spec, "/volumes") {
        if let Some(secret) = volume.get("secret").filter(|secret| is_needed(secret)) {
            found.extend(keys_of(secret, "secretName"));
        }
        for source in each(volume, "/projected/sources").filter_map(|source| source.get("secret")) {
            if is_needed(source) {
                found.extend(keys_of(source, "name"));
            }
        }
    }
    found
}

/// A secret that is mounted, with the keys that are named.
fn keys_of<'a>(source: &'a Value, name: &str) -> Vec<(&'a str, Option<&'a str>)> {
    let Some(name) = source.get(name).and_then(Value::as_str) else { return Vec::new() };
    let items = source.get("items").and_then(Value::as_array).into_iter().flatten();
    let keys: Vec<_> = items.filter_map(|item| Some((name, Some(item.get("key")?.as_str()?)))).collect();
    if keys.is_empty() { vec![(name, None)] } else { keys }
}
