//! `cluster/storage-class`: the storage classes that the bundle requires and that its volumes name are there, and
//! a default one if a volume names none.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Wanted, blind, list, listed, name_of, pods};
use crate::cluster::Cluster;
use crate::preflight::Finding;

const ID: &str = "cluster/storage-class";
const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

/// Looks at the classes once.
pub(super) fn check(cluster: &dyn Cluster, wanted: &Wanted<'_>) -> Vec<Finding> {
    // None stands for the default one.
    let mut needed: BTreeMap<Option<String>, BTreeSet<String>> = BTreeMap::new();
    for class in wanted.requires.storage_classes.iter() {
        needed.entry(Some(class.to_string())).or_default().insert("the bundle".to_string());
    }
    for object in wanted.objects() {
        for (claim, _) in pods::claims(object) {
            let is_bound =
                claim.get("volumeName").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
            let class = claim.get("storageClassName").and_then(Value::as_str);
            // An empty name is for volumes that somebody has made beforehand.
            if class != Some("") && !(is_bound && class.is_none()) {
                let whom = object.id().to_string();
                needed.entry(class.map(ToString::to_string)).or_default().insert(whom);
            }
        }
    }
    if needed.is_empty() {
        return Vec::new();
    }
    let classes = match list(cluster, "storage.k8s.io/v1", "storageclasses", None) {
        Ok(classes) => classes,
        Err(error) => return vec![blind(ID, "the storage classes that volumes name", &error)],
    };
    let brought = |name: &str| wanted.brings("StorageClass", None, name);
    let is_default = |class: &Value| {
        let annotations = class.pointer("/metadata/annotations");
        annotations.and_then(|all| all.get(DEFAULT)).and_then(Value::as_str) == Some("true")
    };
    let brings_default =
        wanted.objects().any(|object| object.kind() == "StorageClass" && is_default(object.value()));
    let names = listed(classes.iter().map(name_of));
    let mut findings = Vec::new();
    for (class, whom) in &needed {
        let there = match class {
            Some(name) => classes.iter().any(|class| name_of(class) == name) || brought(name),
            None => classes.iter().any(is_default) || brings_default,
        };
        let title = class
            .as_ref()
            .map_or("a default storage class".to_string(), |name| format!("storage class {name}"));
        if !there {
            let has = if names.is_empty() { "none".to_string() } else { names.clone() };
            findings.push(Finding::fail(
                ID,
                format!("there is no {}; the cluster has {has}", title.strip_prefix("a ").unwrap_or(&title)),
                format!("{title}, for {}", listed(whom)),
                "have whoever runs the cluster add it, or name another in the site's values",
            ));
        }
    }
    if findings.is_empty() {
        let fact = format!("the storage classes that are needed are there, of {names}");
        findings.push(Finding::pass(ID, fact, "the storage classes that volumes name"));
    }
    findings
}
