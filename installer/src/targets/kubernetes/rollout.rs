//! Whether what was applied has got where it should: pods run, jobs are done, kinds are served. What is looked at
//! is what controllers write into the status of each object, in the way of `kubectl rollout status` and of
//! Helm's `--wait`.

use serde_json::Value;

use super::super::TargetError;
use super::Patience;
use crate::cluster::kinds::{self, DEFINITION};
use crate::cluster::{Cluster, items};
use crate::plan::{ObjectChange, Objects, PlannedObject};
use crate::rendered::group_of;

/// How far a workload is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It is there, or there is nothing to wait for.
    Ready,
    /// It is on its way.
    Waiting(String),
    /// It will not get there.
    Failed(String),
}

/// Waits until all workloads of a step are ready.
///
/// # Errors
/// One has failed, or is not ready in time; all that are not are named.
pub(super) fn wait(
    step: &Objects,
    cluster: &dyn Cluster,
    patience: &Patience<'_>,
) -> Result<(), TargetError> {
    let is_workload = |planned: &&PlannedObject| {
        planned.change == ObjectChange::Apply && has_rollout(&planned.api_version, &planned.kind)
    };
    let mut open: Vec<&PlannedObject> = step.objects.iter().filter(is_workload).collect();
    loop {
        let (mut waiting, mut failed) = (Vec::new(), false);
        let mut next = Vec::new();
        for planned in open {
            let now = cluster.get(&planned.path)?;
            let why = match now.as_ref().map(progress) {
                Some(Progress::Ready) => continue,
                Some(Progress::Waiting(why)) => why,
                Some(Progress::Failed(why)) => {
                    failed = true;
                    why
                }
                None => "it is not there any more".to_string(),
            };
            waiting.push((planned, now, why));
            next.push(planned);
        }
        if next.is_empty() {
            return Ok(());
        }
        if failed || !patience.pause() {
            let told = waiting.iter().map(|(planned, now, why)| told(planned, now.as_ref(), why, cluster));
            return Err(TargetError::Rollout { waiting: told.collect() });
        }
        open = next;
    }
}

/// Waits until the cluster serves a kind that was defined, if this is a definition.
///
/// # Errors
/// It does not in time.
pub(super) fn wait_for_definition(
    planned: &PlannedObject,
    cluster: &dyn Cluster,
    patience: &Patience<'_>,
) -> Result<(), TargetError> {
    if (group_of(&planned.api_version), planned.kind.as_str()) != DEFINITION {
        return Ok(());
    }
    loop {
        let now = cluster.get(&planned.path)?;
        if now.as_ref().is_some_and(|now| condition(now, "Established").is_some_and(|(holds, _)| holds)) {
            return Ok(());
        }
        if !patience.pause() {
            let why = now.as_ref().and_then(|now| condition(now, "NamesAccepted")).map(|(_, why)| why);
            let why = why.filter(|why| !why.is_empty()).unwrap_or("it is not established".to_string());
            return Err(TargetError::Rollout { waiting: vec![format!("{}: {why}", planned.title())] });
        }
    }
}

/// The object, why it is not ready, and what its pods say.
fn told(planned: &PlannedObject, now: Option<&Value>, why: &str, cluster: &dyn Cluster) -> String {
    let pods = now.and_then(|now| pods_of(now, cluster)).unwrap_or_default();
    let mut reasons: Vec<String> = pods.iter().filter_map(trouble).collect();
    reasons.sort();
    reasons.dedup();
    reasons.truncate(3);
    let text = match reasons.is_empty() {
        true => format!("{}: {why}", planned.title()),
        false => format!("{}: {why} ({})", planned.title(), reasons.join("; ")),
    };
    manifests::text::printable_up_to(&text, 600)
}

/// The pods of a workload, if they may be looked at.
pub(crate) fn pods_of(workload: &Value, cluster: &dyn Cluster) -> Option<Vec<Value>> {
    let namespace = workload.pointer("/metadata/namespace")?.as_str()?;
    let selector = workload.pointer("/spec/selector/matchLabels")?.as_object()?;
    let list = cluster.get(&kinds::collection("v1", "pods", Some(namespace))).ok()?;
    let fits = |pod: &Value| {
        let labels = pod.pointer("/metadata/labels");
        selector.iter().all(|(name, value)| labels.and_then(|labels| labels.get(name)) == Some(value))
    };
    Some(items(list).into_iter().filter(fits).collect())
}

/// What is wrong with a pod, if something is: why a container does not run, or why it has no place.
#[must_use]
pub fn trouble(pod: &Value) -> Option<String> {
    let name = pod.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let statuses = ["/status/initContainerStatuses", "/status/containerStatuses"];
    for container in statuses.iter().flat_map(|place| pod.pointer(place).and_then(Value::as_array)).flatten()
    {
        let Some(reason) = container.pointer("/state/waiting/reason").and_then(Value::as_str) else {
            continue;
        };
        if !matches!(reason, "ContainerCreating" | "PodInitializing") {
            let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
            let which = container.get("name").and_then(Value::as_str).unwrap_or_default();
            let about = if reason.contains("Image") { format!(" {image}") } else { String::new() };
            return Some(format!("pod {name}, container {which}: {reason}{about}"));
        }
    }
    let unplaced = conditions(pod).find(|condition| {
        text(condition, "type") == "PodScheduled" && text(condition, "reason") == "Unschedulable"
    });
    if let Some(unplaced) = unplaced {
        return Some(format!("pod {name} has no node: {}", text(unplaced, "message")));
    }
    let phase = pod.pointer("/status/phase").and_then(Value::as_str);
    (phase == Some("Failed")).then(|| {
        let reason = pod.pointer("/status/reason").and_then(Value::as_str).unwrap_or("it has failed");
        format!("pod {name}: {reason}")
    })
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn conditions(object: &Value) -> impl Iterator<Item = &Value> {
    object.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten()
}

/// Whether a condition holds, and what is said about it.
fn condition(object: &Value, kind: &str) -> Option<(bool, String)> {
    let found = conditions(object).find(|condition| text(condition, "type") == kind)?;
    let said = match text(found, "message") {
        "" => text(found, "reason"),
        message => message,
    };
    Some((text(found, "status") == "True", said.to_string()))
}

/// Whether there is something to wait for with this kind.
#[must_use]
pub fn has_rollout(api_version: &str, kind: &str) -> bool {
    matches!(
        (group_of(api_version), kind),
        ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") | ("batch", "Job") | ("", "Pod")
    )
}

/// How far an object is, by its status.
#[must_use]
pub fn progress(object: &Value) -> Progress {
    match text(object, "kind") {
        "Job" => job(object),
        "Pod" => pod(object),
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" => workload(object),
        _ => Progress::Ready,
    }
}

fn number(object: &Value, pointer: &str) -> u64 {
    object.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}

/// How many pods of a workload there shall be, are of the present template, and are ready.
fn counts(object: &Value) -> (u64, u64, u64) {
    if text(object, "kind") == "DaemonSet" {
        return (
            number(object, "/status/desiredNumberScheduled"),
            number(object, "/status/updatedNumberScheduled"),
            number(object, "/status/numberAvailable"),
        );
    }
    let wanted = object.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1);
    match text(object, "kind") {
        "Deployment" => {
            (wanted, number(object, "/status/updatedReplicas"), number(object, "/status/availableReplicas"))
        }
        "StatefulSet" => {
            // Pods below the partition stay as they are, on purpose.
            let stay = number(object, "/spec/updateStrategy/rollingUpdate/partition").min(wanted);
            let updated = number(object, "/status/updatedReplicas").saturating_add(stay).min(wanted);
            (wanted, updated, number(object, "/status/readyReplicas"))
        }
        _ => (wanted, wanted, number(object, "/status/readyReplicas")),
    }
}

fn workload(object: &Value) -> Progress {
    let stuck = conditions(object).find(|condition| {
        text(condition, "type") == "Progressing" && text(condition, "reason") == "ProgressDeadlineExceeded"
    });
    let refused = condition(object, "ReplicaFailure").filter(|(holds, _)| *holds);
    let is_seen = number(object, "/status/observedGeneration") >= number(object, "/metadata/generation");
    if !is_seen {
        return Progress::Waiting("no controller has looked at it yet".to_string());
    }
    let (wanted, updated, ready) = counts(object);
    // Who replaces pods only when they are deleted has no rollout to wait for.
    let by_hand = text(object.pointer("/spec/updateStrategy").unwrap_or(&Value::Null), "type") == "OnDelete";
    let old_ones = text(object, "kind") == "Deployment" && number(object, "/status/replicas") > updated;
    if (by_hand || (updated >= wanted && !old_ones)) && ready >= wanted {
        return Progress::Ready;
    }
    let far = format!("{updated} of {wanted} updated, {ready} ready");
    match (stuck, refused) {
        (Some(stuck), _) => Progress::Failed(format!("{far}; {}", text(stuck, "message"))),
        (None, Some((_, why))) => Progress::Waiting(format!("{far}; {why}")),
        (None, None) => Progress::Waiting(far),
    }
}

fn job(object: &Value) -> Progress {
    if object.pointer("/spec/suspend").and_then(Value::as_bool) == Some(true) {
        return Progress::Ready;
    }
    if let Some((true, why)) = condition(object, "Failed") {
        return Progress::Failed(format!("it has failed: {why}"));
    }
    match condition(object, "Complete") {
        Some((true, _)) => Progress::Ready,
        _ => Progress::Waiting(format!("{} of its pods have succeeded", number(object, "/status/succeeded"))),
    }
}

fn pod(object: &Value) -> Progress {
    match object.pointer("/status/phase").and_then(Value::as_str) {
        Some("Succeeded") => Progress::Ready,
        Some("Failed") => Progress::Failed(trouble(object).unwrap_or_default()),
        phase => match condition(object, "Ready") {
            Some((true, _)) => Progress::Ready,
            _ => Progress::Waiting(trouble(object).unwrap_or(phase.unwrap_or("not seen yet").to_string())),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment(status: Value) -> Value {
        json!({"kind": "Deployment", "metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": status})
    }

    #[test]
    fn a_deployment_is_ready_when_all_its_pods_are_new_and_available_and_no_old_one_is_left() {
        let ready =
            json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2});
        assert_eq!(progress(&deployment(ready.clone())), Progress::Ready);
        for (key, value) in
            [("observedGeneration", 1), ("replicas", 3), ("updatedReplicas", 1), ("availableReplicas", 1)]
        {
            let mut status = ready.clone();
            status[key] = json!(value);
            assert!(matches!(progress(&deployment(status)), Progress::Waiting(_)), "{key}");
        }
        let late = json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 1,
            "conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "late"}]});
        assert_eq!(
            progress(&deployment(late)),
            Progress::Failed("1 of 2 updated, 0 ready; late".to_string())
        );
    }

    #[test]
    fn a_stateful_set_leaves_what_is_below_its_partition() {
        let is_ready = |partition: u64, updated: u64, ready: u64| {
            let set = json!({
                "kind": "StatefulSet",
                "metadata": {"generation": 1},
                "spec": {"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": partition}}},
                "status": {"observedGeneration": 1, "updatedReplicas": updated, "readyReplicas": ready},
            });
            progress(&set) == Progress::Ready
        };
        assert!(is_ready(0, 3, 3) && is_ready(2, 1, 3));
        assert!(!is_ready(0, 1, 3) && !is_ready(2, 0, 3) && !is_ready(0, 3, 2));
    }

    #[test]
    fn a_job_is_done_failed_or_waited_for() {
        let job = |status: Value| progress(&json!({"kind": "Job", "spec": {}, "status": status}));
        assert_eq!(job(json!({"conditions": [{"type": "Complete", "status": "True"}]})), Progress::Ready);
        assert!(matches!(
            job(json!({"conditions": [{"type": "Failed", "status": "True"}]})),
            Progress::Failed(_)
        ));
        assert!(matches!(job(json!({})), Progress::Waiting(_)));
    }

    #[test]
    fn what_is_wrong_with_a_pod_is_named() {
        let pod = |status: Value| trouble(&json!({"metadata": {"name": "p"}, "status": status}));
        let waits = |reason: &str| json!({"containerStatuses": [{"name": "c", "image": "r/i:1", "state": {"waiting": {"reason": reason}}}]});
        assert_eq!(pod(waits("CrashLoopBackOff")).unwrap(), "pod p, container c: CrashLoopBackOff");
        assert_eq!(pod(waits("ImagePullBackOff")).unwrap(), "pod p, container c: ImagePullBackOff r/i:1");
        assert_eq!(pod(waits("ContainerCreating")), None);
        let unplaced = json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]});
        assert_eq!(pod(unplaced).unwrap(), "pod p has no node: 0/1 nodes");
        assert_eq!(pod(json!({"phase": "Running"})), None);
    }
}
