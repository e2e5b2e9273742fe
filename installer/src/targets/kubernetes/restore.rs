//! The way back of one object: what was there is kept before anything touches it, and put back whole, with
//! its specification, labels and annotations, and with who manages which field. So a later version finds the
//! fields it had, and nobody else has gained or lost one.
//!
//! Why not apply the earlier version's manifest instead: the object may never have been ours, and fields that
//! were changed by hand would be lost. Why twice: a server books every replaced field under whoever replaces it;
//! only a replacement that changes nothing but that booking leaves it as it is given.

use std::path::{Path, PathBuf};

use manifests::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::TargetError;
use super::live::{content, owner_of, uid};
use super::{Owner, Patience};
use crate::cluster::{Cluster, ClusterError, FIELD_MANAGER};
use crate::plan::{ObjectChange, PlannedObject};

/// Bounds what is kept of one object: an API server takes none that is larger than a few megabytes.
const KEPT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How often an object is put back that somebody changes meanwhile, as controllers do.
const TRIES: usize = 20;
/// Labels that a server gives to the pods of a job, and takes from nobody else.
const JOB_LABELS: [&str; 4] =
    ["batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name"];

/// An object as it was found; none if there was none. It may hold secrets.
#[derive(Serialize, Deserialize)]
struct Kept {
    path: String,
    old: Option<Value>,
}

/// Where the old value of an object is kept.
fn kept_path(kept: &Path, planned: &PlannedObject) -> PathBuf {
    kept.join(format!("object-{}.json", Digest::of(planned.path.as_bytes()).hex()))
}

fn read(kept: &Path, planned: &PlannedObject) -> Result<Option<Kept>, TargetError> {
    let path = kept_path(kept, planned);
    let failed = |source| TargetError::Io { doing: "cannot read", path: path.clone(), source };
    match layout::durable::read_bounded(&path, KEPT_BYTES_MAX) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        bytes => serde_json::from_slice(&bytes.map_err(failed)?).map(Some).map_err(|_| {
            failed(std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not what was kept"))
        }),
    }
}

/// Keeps what is there, unless an earlier run, which may have changed it since, has kept it already.
///
/// # Errors
/// The disk; or the object is not the one that the plan was made for.
pub(super) fn keep(planned: &PlannedObject, cluster: &dyn Cluster, kept: &Path) -> Result<(), TargetError> {
    if read(kept, planned)?.is_some() {
        return Ok(());
    }
    let now = match (planned.change, &planned.old) {
        // Its kind may not be served yet.
        (ObjectChange::Apply, None) => cluster.get(&planned.path)?,
        (_, Some(old)) => {
            let now = cluster.get(&planned.path)?.filter(|now| uid(now) == old.uid);
            Some(now.ok_or_else(|| TargetError::Moved { name: planned.title() })?)
        }
        (ObjectChange::Delete, None) => None,
    };
    let appeared = planned.old.is_none() && now.is_some();
    if appeared || now.as_ref().is_some_and(is_going) {
        return Err(TargetError::Moved { name: planned.title() });
    }
    let path = kept_path(kept, planned);
    let text =
        serde_json::to_vec(&Kept { path: planned.path.clone(), old: now }).map_err(std::io::Error::other);
    text.and_then(|text| {
        layout::durable::make_directory(kept)?;
        layout::durable::replace(&path, &text, 0o600)
    })
    .map_err(|source| TargetError::Io { doing: "cannot write", path, source })
}

/// Whether an object is being deleted.
fn is_going(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null())
}

/// Deletes an object, and waits until it and what it owns are gone.
///
/// # Errors
/// The cluster refuses, or it does not go in time.
pub(super) fn delete(
    planned: &PlannedObject,
    uid: &str,
    cluster: &dyn Cluster,
    patience: &Patience<'_>,
) -> Result<(), TargetError> {
    match cluster.get(&planned.path)? {
        Some(now) if super::live::uid(&now) == uid => {
            if !is_going(&now) {
                cluster.delete(&planned.path, uid)?;
            }
        }
        _ => return Ok(()),
    }
    wait_until_gone(planned, uid, cluster, patience)
}

fn wait_until_gone(
    planned: &PlannedObject,
    uid: &str,
    cluster: &dyn Cluster,
    patience: &Patience<'_>,
) -> Result<(), TargetError> {
    while cluster.get(&planned.path)?.is_some_and(|now| super::live::uid(&now) == uid) {
        if !patience.pause() {
            return Err(TargetError::Rollout {
                waiting: vec![format!("{} is still being deleted", planned.title())],
            });
        }
    }
    Ok(())
}

/// Puts one object back as it was kept. Without a kept value it was never touched.
///
/// # Errors
/// The cluster refuses, or another object has taken its name.
pub(super) fn undo(
    planned: &PlannedObject,
    owner: &Owner,
    cluster: &dyn Cluster,
    kept: &Path,
    patience: &Patience<'_>,
) -> Result<(), TargetError> {
    let Some(found) = read(kept, planned)? else { return Ok(()) };
    match found.old {
        Some(old) => put_back(planned, &old, owner, cluster, patience),
        None => take_away(planned, owner, cluster, patience),
    }
}

/// Deletes what was not there before, if it is ours.
fn take_away(
    planned: &PlannedObject,
    owner: &Owner,
    cluster: &dyn Cluster,
    patience: &Patience<'_>,
) -> Result<(), TargetError> {
    let Some(now) = cluster.get(&planned.path)? else { return Ok(()) };
    if owner_of(&now) != Some(&owner.0) {
        return Err(TargetError::Moved { name: planned.title() });
    }
    delete(planned, uid(&now), cluster, patience)
}

fn put_back(
    planned: &PlannedObject,
    old: &Value,
    owner: &Owner,
    cluster: &dyn Cluster,
    patience: &Patience<'_>,
) -> Result<(), TargetError> {
    let path = format!("{}?fieldManager={FIELD_MANAGER}", planned.path);
    let (mut again, mut content_is_back) = (false, false);
    for _ in 0..TRIES {
        let now = match cluster.get(&planned.path)? {
            Some(now) if is_going(&now) => {
                wait_until_gone(planned, uid(&now), cluster, patience)?;
                None
            }
            now => now,
        };
        let Some(now) = now else {
            let (collection, _) = planned.path.rsplit_once('/').unwrap_or_default();
            cluster.create(&format!("{collection}?fieldManager={FIELD_MANAGER}"), &anew(old))?;
            again = true;
            continue;
        };
        let is_same = uid(&now) == uid(old);
        // One that was created again has another UID; one that somebody else has made is left alone.
        let is_ours = planned.change == ObjectChange::Delete && owner_of(&now) == Some(&owner.0);
        if !is_same && !again && !is_ours {
            return Err(TargetError::Moved { name: planned.title() });
        }
        let wanted = if is_same { old.clone() } else { as_created(old, &now) };
        // Once it is back, whatever controllers write into it since is theirs.
        let differs = !content_is_back && content(&now) != content(&wanted);
        if !differs && entries(&now, false) == entries(old, false) {
            return Ok(());
        }
        let whole = if differs { &wanted } else { &now };
        match cluster.replace(&path, &over(whole, &now, managers_of(old, &now))) {
            Ok(_) if differs => content_is_back = true,
            Ok(_) => return Ok(()),
            Err(ClusterError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(TargetError::Moved { name: planned.title() })
}

/// Who manages which field: as it was, and what controllers have reported since.
fn managers_of(old: &Value, now: &Value) -> Value {
    let mut all = entries(old, false);
    all.extend(entries(now, true));
    Value::Array(all)
}

/// The entries of an object's managers: those of parts such as its status, or the others.
fn entries(object: &Value, of_parts: bool) -> Vec<Value> {
    let all = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    let is_part = |entry: &&Value| entry.get("subresource").is_some_and(|part| part != "");
    all.into_iter().flatten().filter(|entry| is_part(entry) == of_parts).cloned().collect()
}

/// An object in place of the one that is there now.
fn over(wanted: &Value, now: &Value, managers: Value) -> Value {
    let mut object = wanted.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for ours in ["uid", "resourceVersion", "creationTimestamp"] {
            match now.pointer(&format!("/metadata/{ours}")) {
                Some(value) => metadata.insert(ours.to_string(), value.clone()),
                None => metadata.remove(ours),
            };
        }
        metadata.insert("managedFields".to_string(), managers);
    }
    if let (Some(object), Some(status)) = (object.as_object_mut(), now.get("status")) {
        object.insert("status".to_string(), status.clone());
    }
    object
}

/// An object as it is created again after it was deleted.
fn anew(old: &Value) -> Value {
    let mut object = content(old);
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("deletionGracePeriodSeconds");
    }
    if is_job(old) {
        job_anew(&mut object, old);
    }
    object
}

/// What a created object is compared with: a server gives some fields of a job anew.
fn as_created(old: &Value, now: &Value) -> Value {
    let mut wanted = anew(old);
    if is_job(old) {
        for given in ["/spec/selector", "/spec/template/metadata/labels"] {
            if let (Some(wanted), Some(now)) = (wanted.pointer_mut(given), now.pointer(given)) {
                *wanted = now.clone();
            }
        }
        if let (Some(spec), Some(selector)) =
            (wanted.get_mut("spec").and_then(Value::as_object_mut), now.pointer("/spec/selector"))
        {
            spec.insert("selector".to_string(), selector.clone());
        }
        if let (Some(wanted), Some(now)) = (wanted.get_mut("metadata"), now.get("metadata")) {
            copy_labels(wanted, now);
        }
        if let (Some(wanted), Some(now)) =
            (wanted.pointer_mut("/spec/template/metadata"), now.pointer("/spec/template/metadata"))
        {
            copy_labels(wanted, now);
        }
    }
    wanted
}

fn copy_labels(wanted: &mut Value, now: &Value) {
    if let (Some(wanted), Some(labels)) = (wanted.as_object_mut(), now.get("labels")) {
        wanted.insert("labels".to_string(), labels.clone());
    }
}

fn is_job(object: &Value) -> bool {
    object.get("kind").and_then(Value::as_str) == Some("Job")
        && object.pointer("/spec/manualSelector").and_then(Value::as_bool) != Some(true)
}

/// A job that had finished comes back suspended: what it was there for must not be done twice.
fn job_anew(object: &mut Value, old: &Value) {
    for pointer in ["/metadata/labels", "/spec/template/metadata/labels"] {
        if let Some(labels) = object.pointer_mut(pointer).and_then(Value::as_object_mut) {
            JOB_LABELS.iter().for_each(|label| drop(labels.remove(*label)));
        }
    }
    let finished =
        old.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten().any(|condition| {
            matches!(condition.get("type").and_then(Value::as_str), Some("Complete" | "Failed"))
                && condition.get("status").and_then(Value::as_str) == Some("True")
        });
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("selector");
        if finished {
            spec.insert("suspend".to_string(), json!(true));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finished_job_comes_back_suspended_and_without_what_a_server_gives() {
        let labels = json!({"app": "x", "controller-uid": "1", "batch.kubernetes.io/controller-uid": "1"});
        let job = |conditions: Value| {
            json!({"kind": "Job", "metadata": {"name": "j", "uid": "1"}, "status": {"conditions": conditions},
                "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}}})
        };
        let anew_of = |conditions| anew(&job(conditions));
        let created = anew_of(json!([{"type": "Complete", "status": "True"}]));
        assert_eq!(
            created["spec"],
            json!({"suspend": true, "template": {"metadata": {"labels": {"app": "x"}}}})
        );
        assert!(created["metadata"].get("uid").is_none() && created.get("status").is_none());
        assert!(anew_of(json!([]))["spec"].get("suspend").is_none());
    }

    #[test]
    fn managers_are_those_of_before_and_controllers_keep_what_they_have_reported() {
        let entry = |manager: &str, part: &str| json!({"manager": manager, "subresource": part});
        let object = |entries: Value| json!({"metadata": {"managedFields": entries}});
        let old = object(json!([entry("airlock", ""), entry("controller", "status")]));
        let now =
            object(json!([entry("replace", ""), entry("controller", "status"), entry("kubelet", "status")]));
        let wanted = json!([entry("airlock", ""), entry("controller", "status"), entry("kubelet", "status")]);
        assert_eq!(managers_of(&old, &now), wanted);
    }
}
