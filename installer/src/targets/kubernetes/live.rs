//! Objects as a cluster has them, compared with objects as they are wanted. Nobody but the API server knows what
//! an object will look like with its defaults, so it is asked: it tries to apply the object, and nothing
//! may change by that.

use serde_json::Value;

use super::super::TargetError;
use super::OWNER;
use crate::cluster::{Application, Cluster, ClusterError};
use crate::rendered::Object;

/// How often an object is read again that somebody changes meanwhile.
const TRIES: usize = 3;
/// As many differences are named.
const NAMED_MAX: usize = 8;

/// Whose objects are: `PUBLISHER/PRODUCT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner(pub(super) String);

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether what runs is what was shipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drift {
    /// It is.
    AsShipped,
    /// Nothing of that name is there.
    Missing,
    /// Fields that were shipped have other values; here are their paths.
    Changed(Vec<String>),
}

pub(super) fn uid(object: &Value) -> &str {
    object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default()
}

/// Who has marked an object as theirs.
pub(crate) fn owner_of(object: &Value) -> Option<&str> {
    object.pointer("/metadata/annotations")?.get(OWNER)?.as_str()
}

/// What of an object people and bundles say: without what the server counts and what controllers report.
pub(super) fn content(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for counted in
            ["resourceVersion", "uid", "generation", "managedFields", "creationTimestamp", "selfLink"]
        {
            metadata.remove(counted);
        }
    }
    object
}

/// Whether an object is as it is wanted: whether applying it would change nothing.
pub(super) fn is_as(
    cluster: &dyn Cluster,
    path: &str,
    mut now: Value,
    desired: &Object,
    force: bool,
) -> Result<bool, TargetError> {
    for _ in 0..TRIES {
        let then = match cluster.apply(desired, Application { dry_run: true, force }) {
            // Somebody else has other values in its fields.
            Err(ClusterError::Conflict { .. }) => return Ok(false),
            then => then?,
        };
        if content(&then) == content(&now) {
            return Ok(true);
        }
        // A controller may have written between the two answers.
        match cluster.get(path)? {
            Some(again) if content(&again) != content(&now) => now = again,
            _ => return Ok(false),
        }
    }
    Ok(false)
}

/// What of an object is not as it was shipped.
pub(super) fn drift(
    cluster: &dyn Cluster,
    path: &str,
    now: Option<Value>,
    object: &Object,
    owner: &Owner,
) -> Result<Drift, TargetError> {
    let Some(mut now) = now else { return Ok(Drift::Missing) };
    let desired = owner.marked(object, Some(&owner.of(&now)));
    for _ in 0..TRIES {
        // With force, as a field that somebody else has taken since is what is looked for.
        let then = cluster.apply(&desired, Application { dry_run: true, force: true })?;
        let differences = differences(&content(&now), &content(&then));
        if differences.is_empty() {
            return Ok(Drift::AsShipped);
        }
        match cluster.get(path)? {
            None => return Ok(Drift::Missing),
            Some(again) if content(&again) != content(&now) => now = again,
            Some(_) => return Ok(Drift::Changed(differences)),
        }
    }
    Ok(Drift::Changed(differences(&content(&now), &Value::Null)))
}

/// The paths at which two documents differ, without what is there.
fn differences(left: &Value, right: &Value) -> Vec<String> {
    let mut found = Vec::new();
    differ(left, right, String::new(), &mut found);
    found.truncate(NAMED_MAX);
    found
}

fn differ(left: &Value, right: &Value, path: String, found: &mut Vec<String>) {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            let mut keys: Vec<&String> = left.keys().chain(right.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let (left, right) = (left.get(key), right.get(key));
                differ(
                    left.unwrap_or(&Value::Null),
                    right.unwrap_or(&Value::Null),
                    format!("{path}.{key}"),
                    found,
                );
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (number, (left, right)) in left.iter().zip(right).enumerate() {
                differ(left, right, format!("{path}[{number}]"), found);
            }
        }
        (left, right) if left != right => found.push(manifests::text::printable(&path)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_are_named_by_their_place_and_not_by_their_value() {
        let left = json!({"a": {"b": [1, {"c": "secret"}]}, "d": 1});
        let right = json!({"a": {"b": [1, {"c": "hidden"}]}, "e": 1});
        assert_eq!(differences(&left, &right), [".a.b[1].c", ".d", ".e"]);
        assert!(differences(&left, &left.clone()).is_empty());
    }

    #[test]
    fn what_a_server_counts_is_no_content() {
        let before = json!({"metadata": {"name": "x", "uid": "1", "resourceVersion": "5"}, "status": {"a": 1}, "spec": 1});
        assert_eq!(content(&before), json!({"metadata": {"name": "x"}, "spec": 1}));
    }
}
