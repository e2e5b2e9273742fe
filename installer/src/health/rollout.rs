//! Whether a Deployment, StatefulSet or DaemonSet is rolled out, by its status: the cluster has seen its newest
//! form, every replica is of that form, and available. The rules are those of `kubectl rollout status`.

use manifests::health::{Rollout, RolloutKind};
use manifests::text::printable;
use serde_json::Value;

use super::Look;
use crate::apply::chain;
use crate::cluster::Cluster;
use crate::targets::helm::unready_pod;

/// As many pods are named.
const PODS_SHOWN: usize = 6;

/// Looks once.
pub(super) fn look(wanted: &Rollout, cluster: &dyn Cluster) -> Look {
    match object(wanted, cluster) {
        Ok(Some(object)) => judge(wanted.object.kind, &object),
        Ok(None) => Err(format!("there is no {} in {}", wanted.object, wanted.namespace)),
        Err(words) => Err(words),
    }
}

fn object(wanted: &Rollout, cluster: &dyn Cluster) -> Result<Option<Value>, String> {
    let path = format!(
        "/apis/apps/v1/namespaces/{}/{}s/{}",
        wanted.namespace,
        wanted.object.kind.as_str(),
        wanted.object.name
    );
    cluster.get(&path).map_err(|error| chain(&error))
}

fn number(object: &Value, pointer: &str) -> Option<u64> {
    object.pointer(pointer).and_then(Value::as_u64)
}

/// What a status says; a number that is left out is zero there.
fn judge(kind: RolloutKind, object: &Value) -> Look {
    let status = |key: &str| number(object, &format!("/status/{key}")).unwrap_or(0);
    let generation = number(object, "/metadata/generation").unwrap_or(0);
    if status("observedGeneration") < generation {
        return Err("the cluster has not looked at its newest form yet".to_string());
    }
    let (wanted, updated, available, all) = match kind {
        RolloutKind::Deployment => {
            let wanted = number(object, "/spec/replicas").unwrap_or(1);
            (wanted, status("updatedReplicas"), status("availableReplicas"), status("replicas"))
        }
        RolloutKind::StatefulSet => {
            let wanted = number(object, "/spec/replicas").unwrap_or(1);
            // Replicas below the partition stay as they are, on purpose.
            let stay =
                number(object, "/spec/updateStrategy/rollingUpdate/partition").unwrap_or(0).min(wanted);
            let updated = status("updatedReplicas").saturating_add(stay).min(wanted);
            let ready = status("readyReplicas");
            let available = number(object, "/status/availableReplicas").unwrap_or(ready).min(ready);
            (wanted, updated, available, status("replicas"))
        }
        RolloutKind::DaemonSet => {
            let wanted = status("desiredNumberScheduled");
            (wanted, status("updatedNumberScheduled"), status("numberAvailable"), wanted)
        }
    };
    if updated < wanted {
        return Err(format!("{updated} of {wanted} replicas are of the newest form{}", overdue(object)));
    }
    if all > wanted {
        return Err(format!("{} replicas of an older form are still there", all.saturating_sub(wanted)));
    }
    if available < wanted {
        return Err(format!("{available} of {wanted} replicas available{}", overdue(object)));
    }
    Ok(format!("{available} of {wanted} replicas available"))
}

/// Whether a Deployment's own patience is over.
fn overdue(object: &Value) -> String {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let late = conditions.into_iter().flatten().find(|condition| {
        condition.get("reason").and_then(Value::as_str) == Some("ProgressDeadlineExceeded")
    });
    let message = late.and_then(|condition| condition.get("message")).and_then(Value::as_str);
    message.map(|message| format!(" ({})", printable(message))).unwrap_or_default()
}

/// Its pods that are not ready, a line each; none if nobody can be asked.
pub(super) fn unready_pods(wanted: &Rollout, cluster: &dyn Cluster) -> Vec<String> {
    let Ok(Some(object)) = object(wanted, cluster) else { return Vec::new() };
    let pods = cluster.get(&format!("/api/v1/namespaces/{}/pods", wanted.namespace)).ok().flatten();
    let pods = pods.as_ref().and_then(|list| list.get("items")).and_then(Value::as_array);
    let own = pods.into_iter().flatten().filter(|pod| selects(&object, pod));
    own.filter_map(unready_pod).take(PODS_SHOWN).collect()
}

/// Whether a pod has the labels of the object's selector.
fn selects(object: &Value, pod: &Value) -> bool {
    let label = |key: &str| pod.pointer("/metadata/labels").and_then(|labels| labels.get(key));
    let wanted = object.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
    wanted.is_some_and(|wanted| wanted.iter().all(|(key, value)| label(key) == Some(value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ClusterError;
    use serde_json::json;
    use std::collections::BTreeMap;

    /// Answers with these objects, by path.
    struct Objects(BTreeMap<&'static str, Value>);

    impl Cluster for Objects {
        fn get(&self, path: &str) -> Result<Option<Value>, ClusterError> {
            Ok(self.0.get(path).cloned())
        }
        fn create(&self, _path: &str, _object: &Value) -> Result<Value, ClusterError> {
            panic!("a look changes nothing")
        }
    }

    fn wanted() -> Rollout {
        Rollout { object: "deployment/web".parse().unwrap(), namespace: "fraud".parse().unwrap() }
    }

    const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/fraud/deployments/web";
    const PODS: &str = "/api/v1/namespaces/fraud/pods";

    fn deployment(status: Value) -> Value {
        json!({
            "metadata": {"generation": 3},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}},
            "status": status,
        })
    }

    #[test]
    fn a_deployment_is_rolled_out_when_each_replica_is_new_and_available_and_no_old_one_is_left() {
        let seen = |status| look(&wanted(), &Objects(BTreeMap::from([(DEPLOYMENT, deployment(status))])));
        let good =
            json!({"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2});
        assert_eq!(seen(good.clone()), Ok("2 of 2 replicas available".to_string()));
        for (key, value, words) in [
            ("observedGeneration", json!(2), "newest form yet"),
            ("updatedReplicas", json!(1), "1 of 2 replicas are of the newest form"),
            ("replicas", json!(3), "1 replicas of an older form"),
            ("availableReplicas", json!(0), "0 of 2 replicas available"),
        ] {
            let mut status = good.clone();
            status[key] = value;
            let text = seen(status).unwrap_err();
            assert!(text.contains(words), "{key}: {text}");
        }
        assert!(seen(json!({})).is_err());
        let mut late = good;
        late["availableReplicas"] = json!(1);
        late["conditions"] = json!([{"reason": "ProgressDeadlineExceeded", "message": "timed out"}]);
        assert_eq!(seen(late), Err("1 of 2 replicas available (timed out)".to_string()));
        assert_eq!(
            look(&wanted(), &Objects(BTreeMap::new())),
            Err("there is no deployment/web in fraud".to_string())
        );
    }

    #[test]
    fn a_stateful_set_leaves_what_is_below_its_partition() {
        let set = |partition: u64, updated: u64, ready: u64| {
            judge(
                RolloutKind::StatefulSet,
                &json!({
                    "metadata": {"generation": 1},
                    "spec": {"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": partition}}},
                    "status": {"observedGeneration": 1, "replicas": 3, "updatedReplicas": updated, "readyReplicas": ready},
                }),
            )
        };
        assert!(set(0, 3, 3).is_ok() && set(2, 1, 3).is_ok());
        assert!(set(0, 1, 3).is_err() && set(2, 0, 3).is_err() && set(0, 3, 2).is_err());
    }

    #[test]
    fn a_daemon_set_runs_on_every_node_that_wants_it() {
        let set = |desired: u64, updated: u64, available: u64| {
            judge(
                RolloutKind::DaemonSet,
                &json!({
                    "metadata": {"generation": 1},
                    "status": {"observedGeneration": 1, "desiredNumberScheduled": desired, "updatedNumberScheduled": updated, "numberAvailable": available},
                }),
            )
        };
        assert!(set(3, 3, 3).is_ok() && set(0, 0, 0).is_ok());
        assert!(set(3, 2, 3).is_err() && set(3, 3, 2).is_err());
    }

    #[test]
    fn its_own_pods_that_are_not_ready_are_named() {
        let pod = |name: &str, app: &str, ready: &str| {
            json!({
                "metadata": {"name": name, "labels": {"app": app}},
                "status": {
                    "phase": "Running",
                    "conditions": [{"type": "Ready", "status": ready}],
                    "containerStatuses": [{"name": "c", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}],
                },
            })
        };
        let pods = json!({"items": [pod("web-1", "web", "False"), pod("web-2", "web", "True"), pod("db-1", "db", "False")]});
        let cluster = Objects(BTreeMap::from([(DEPLOYMENT, deployment(json!({}))), (PODS, pods)]));
        assert_eq!(unready_pods(&wanted(), &cluster), ["pod web-1: Running, container c: CrashLoopBackOff"]);
        assert!(unready_pods(&wanted(), &Objects(BTreeMap::new())).is_empty());
    }
}
