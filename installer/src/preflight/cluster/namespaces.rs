//! `cluster/namespace` and `cluster/namespace-health`: the places where objects go are there, or come along, and
//! nothing in them is in trouble already.

use serde_json::Value;

use super::{Wanted, blind, list, name_of};
use crate::cluster::kinds::path;
use crate::cluster::{Cluster, ClusterError};
use crate::preflight::Finding;
use crate::targets::kubernetes::rollout::{Progress, progress, trouble};

const ID: &str = "cluster/namespace";
const HEALTH: &str = "cluster/namespace-health";

/// Looks at each namespace once.
pub(super) fn check(cluster: &dyn Cluster, wanted: &Wanted<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for namespace in wanted.namespaces() {
        let needed = format!("namespace {namespace}");
        match cluster.get(&path("v1", "namespaces", None, namespace)) {
            Ok(Some(found)) if is_going(&found) => findings.push(Finding::fail(
                ID,
                format!("namespace {namespace} is being deleted"),
                needed,
                "wait until it is gone, and find out what holds it: kubectl describe namespace",
            )),
            Ok(Some(_)) => {
                findings.push(Finding::pass(ID, format!("namespace {namespace} is there"), needed));
                findings.push(health(cluster, namespace));
            }
            Ok(None) if comes_along(wanted, namespace) => {
                findings.push(Finding::pass(
                    ID,
                    format!("namespace {namespace} comes with the bundle"),
                    needed,
                ));
            }
            Ok(None) => findings.push(Finding::fail(
                ID,
                format!("there is no namespace {namespace}, and the bundle does not bring it"),
                needed,
                format!("make it: kubectl create namespace {namespace}"),
            )),
            Err(error) => findings.push(blind(ID, &needed, &error)),
        }
    }
    findings
}

fn is_going(namespace: &Value) -> bool {
    namespace.pointer("/status/phase").and_then(Value::as_str) == Some("Terminating")
        || namespace.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null())
}

fn comes_along(wanted: &Wanted<'_>, namespace: &str) -> bool {
    let is_made = |release: &super::ReleasePlace| release.creates && release.namespace == namespace;
    wanted.brings("Namespace", None, namespace) || wanted.releases.iter().any(is_made)
}

/// Whether everything in a namespace runs.
fn health(cluster: &dyn Cluster, namespace: &str) -> Finding {
    let needed = format!("nothing in trouble in namespace {namespace} before something is added to it");
    match troubles(cluster, namespace) {
        Ok(troubles) if troubles.is_empty() => {
            Finding::pass(HEALTH, format!("everything in namespace {namespace} runs"), needed)
        }
        Ok(troubles) => Finding::fail(
            HEALTH,
            manifests::text::printable_up_to(
                &format!("in namespace {namespace}: {}", troubles.join("; ")),
                800,
            ),
            needed,
            "mend it first, or what breaks afterwards cannot be told from what was broken before",
        ),
        Err(error) => blind(HEALTH, &needed, &error),
    }
}

fn troubles(cluster: &dyn Cluster, namespace: &str) -> Result<Vec<String>, ClusterError> {
    let pods = list(cluster, "v1", "pods", Some(namespace))?;
    // The pods of a job that has failed once and then done its work are its history.
    let of_job = |pod: &&Value| {
        let owners = pod.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        owners.into_iter().flatten().any(|owner| owner.get("kind").and_then(Value::as_str) == Some("Job"))
    };
    let mut troubles: Vec<String> = pods.iter().filter(|pod| !of_job(pod)).filter_map(trouble).collect();
    for (kind, plural) in
        [("Deployment", "deployments"), ("StatefulSet", "statefulsets"), ("DaemonSet", "daemonsets")]
    {
        for mut workload in list(cluster, "apps/v1", plural, Some(namespace))? {
            let name = name_of(&workload).to_string();
            // Members of a list do not say what they are.
            if let Some(workload) = workload.as_object_mut() {
                workload.insert("kind".to_string(), kind.into());
            }
            if let Progress::Waiting(why) | Progress::Failed(why) = progress(&workload) {
                troubles.push(format!("{kind} {name}: {why}"));
            }
        }
    }
    troubles.sort();
    troubles.dedup();
    Ok(troubles)
}
