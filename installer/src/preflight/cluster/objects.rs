//! `cluster/objects`, `cluster/conflict` and `cluster/owner`: the API server would take each object of the sets of
//! manifests as it is, no field of it is somebody else's, and nothing there is another product's. Found by a dry
//! run, which changes nothing; of objects for which there is no place yet it can say nothing.

use serde_json::Value;

use super::{Finding, blind};
use crate::cluster::{Application, Cluster, ClusterError};
use crate::rendered::Object;
use crate::site::config::KubernetesTarget;
use crate::targets::kubernetes::{Owner, Sets, owner_of};

const ID: &str = "cluster/objects";
const CONFLICT: &str = "cluster/conflict";
const OWNER: &str = "cluster/owner";

/// Tries each object.
pub(super) fn check(
    cluster: &dyn Cluster,
    sets: &Sets,
    owner: &Owner,
    target: &KubernetesTarget,
) -> Vec<Finding> {
    let (mut findings, mut tried) = (Vec::new(), 0_usize);
    for (_, objects) in sets.iter() {
        for object in objects.iter().filter(|object| !sets.is_to_come(object)) {
            match attempt(cluster, sets, object, owner, target.force) {
                Ok(Some(found)) => findings.extend(found),
                Ok(None) => {}
                Err(error) => findings.push(blind(ID, &format!("{}, tried", object.id()), &error)),
            }
            tried = tried.saturating_add(1);
        }
    }
    if tried > 0 && findings.is_empty() {
        let fact = format!("the API server would take {tried} objects as they are");
        findings.push(Finding::pass(ID, fact, "objects that the API server takes"));
    }
    findings
}

fn attempt(
    cluster: &dyn Cluster,
    sets: &Sets,
    object: &Object,
    owner: &Owner,
    force: bool,
) -> Result<Option<Vec<Finding>>, ClusterError> {
    // A kind that is not served is a finding of its own.
    let Ok(path) = sets.path(object) else { return Ok(None) };
    let now = cluster.get(&path)?;
    let mut findings: Vec<Finding> =
        now.iter().filter_map(|now| foreign(object, now, owner, force)).collect();
    let desired = owner.marked(object, now.as_ref().map(|now| owner.of(now)).as_ref());
    match cluster.apply(&desired, Application { dry_run: true, force }) {
        Ok(_) => {}
        Err(ClusterError::Conflict { said, .. }) => findings.push(Finding::fail(
            CONFLICT,
            format!("{} has fields of somebody else: {said}", object.id()),
            "fields that nobody else manages",
            "find out who that is, and take the fields out of the manifest; `targets.kubernetes.force: true` in site.yaml takes them",
        )),
        // Its namespace comes with the bundle, or is missing, which is a finding of its own.
        Err(ClusterError::Missing { .. }) => {}
        Err(ClusterError::Refused { said, .. }) => findings.push(Finding::fail(
            ID,
            format!("the API server refuses {}: {said}", object.id()),
            "objects that the API server takes",
            "ask the sender; a field that cannot be changed needs the object deleted by hand first",
        )),
        Err(error) => return Err(error),
    }
    Ok(Some(findings))
}

/// An object that is there and did not come with this product.
fn foreign(object: &Object, now: &Value, owner: &Owner, force: bool) -> Option<Finding> {
    let id = object.id();
    match owner_of(now) {
        Some(other) if *other == owner.to_string() => None,
        Some(other) => {
            let fact = format!("{id} came with {}", manifests::text::printable(other));
            let needed = format!("{id} for {owner} alone");
            let remedy =
                "leave it out of one of the two; `targets.kubernetes.force: true` in site.yaml takes it";
            Some(if force {
                Finding::warn(OWNER, fact, needed, remedy)
            } else {
                Finding::fail(OWNER, fact, needed, remedy)
            })
        }
        None => Some(Finding::warn(
            OWNER,
            format!("{id} is there already and did not come with a bundle"),
            format!("{id} to be new, or of an earlier bundle"),
            "it is changed, and put back by an undo; no later version deletes it",
        )),
    }
}
