//! Whether a Deployment, StatefulSet or DaemonSet is rolled out: as for what a bundle applies itself, by its status.

use manifests::health::Rollout;
use serde_json::Value;

use super::Look;
use crate::apply::chain;
use crate::cluster::Cluster;
use crate::cluster::kinds::collection;
use crate::targets::kubernetes::rollout::{Progress, pods_of, progress, trouble};

/// As many pods are named.
const PODS_SHOWN: usize = 6;

/// Looks once. A Deployment whose own patience is over may recover until the check's time is.
pub(super) fn look(wanted: &Rollout, cluster: &dyn Cluster) -> Look {
    let object = object(wanted, cluster)?;
    let object = object.ok_or_else(|| format!("there is no {} in {}", wanted.object, wanted.namespace))?;
    match progress(&object) {
        Progress::Ready => Ok(format!("{} in {} is rolled out", wanted.object, wanted.namespace)),
        Progress::Waiting(why) | Progress::Failed(why) => Err(why),
    }
}

fn object(wanted: &Rollout, cluster: &dyn Cluster) -> Result<Option<Value>, String> {
    let plural = format!("{}s", wanted.object.kind.as_str());
    let list = collection("apps/v1", &plural, Some(wanted.namespace.as_str()));
    cluster.get(&format!("{list}/{}", wanted.object.name)).map_err(|error| chain(&error))
}

/// What is wrong with its pods, a line each; nothing if nobody can be asked.
pub(super) fn pods_in_trouble(wanted: &Rollout, cluster: &dyn Cluster) -> Vec<String> {
    let object = object(wanted, cluster).ok().flatten();
    let pods = object.and_then(|object| pods_of(&object, cluster)).unwrap_or_default();
    pods.iter().filter_map(trouble).take(PODS_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::double::Double;
    use serde_json::json;

    fn wanted() -> Rollout {
        Rollout { object: "deployment/web".parse().unwrap(), namespace: "fraud".parse().unwrap() }
    }

    fn cluster(available: u64) -> Double {
        let deployment = json!({
            "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "fraud", "generation": 3},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}},
            "status": {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": available},
        });
        let pod = |name: &str, app: &str| {
            json!({
                "metadata": {"name": name, "labels": {"app": app}},
                "status": {"phase": "Running", "containerStatuses": [
                    {"name": "c", "state": {"waiting": {"reason": "CrashLoopBackOff"}}},
                ]},
            })
        };
        Double::default()
            .with("/apis/apps/v1/namespaces/fraud/deployments/web", deployment)
            .with_items("/api/v1/namespaces/fraud/pods", &[pod("web-1", "web"), pod("db-1", "db")])
    }

    #[test]
    fn what_is_not_rolled_out_yet_says_how_far_it_is_and_which_of_its_pods_are_in_trouble() {
        assert_eq!(look(&wanted(), &cluster(2)), Ok("deployment/web in fraud is rolled out".to_string()));
        assert_eq!(look(&wanted(), &cluster(0)), Err("2 of 2 updated, 0 ready".to_string()));
        assert_eq!(pods_in_trouble(&wanted(), &cluster(0)), ["pod web-1, container c: CrashLoopBackOff"]);
    }

    #[test]
    fn what_is_not_there_is_not_rolled_out() {
        let missing = look(&wanted(), &Double::default());
        assert_eq!(missing, Err("there is no deployment/web in fraud".to_string()));
        assert!(pods_in_trouble(&wanted(), &Double::default()).is_empty());
    }
}
