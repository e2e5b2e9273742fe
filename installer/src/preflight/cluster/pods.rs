//! What pods ask for, and how many of them a workload makes: the arithmetic of the Kubernetes scheduler and of
//! its quotas. Start-up containers run one after the other and count once; those that keep running count beside
//! the others.

use serde_json::Value;

use super::quantity::{Quantities, Quantity, add, at_least, quantities};
use crate::rendered::Object;

/// What a namespace's `LimitRange` gives to containers that ask for nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Defaults {
    requests: Quantities,
    limits: Quantities,
}

/// What one pod asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Demand {
    /// What is set aside for it.
    pub(super) requests: Quantities,
    /// What it never gets more than.
    pub(super) limits: Quantities,
    /// Resources that one of its containers asks nothing of, and so has no limit to either.
    pub(super) unlimited: Vec<String>,
    /// Resources that one of its containers requests nothing of.
    pub(super) unrequested: Vec<String>,
}

/// The resources that quotas ask every container about.
const ASKED: [&str; 2] = ["cpu", "memory"];

impl Defaults {
    /// Of the `LimitRange`s of a namespace.
    #[must_use]
    pub(super) fn of(ranges: &[Value]) -> Self {
        let mut defaults = Self::default();
        let limits = ranges.iter().filter_map(|range| range.pointer("/spec/limits")?.as_array()).flatten();
        for limit in limits.filter(|limit| limit.get("type").and_then(Value::as_str) == Some("Container")) {
            defaults.limits.extend(quantities(limit.get("default")));
            defaults.requests.extend(quantities(limit.get("defaultRequest")));
        }
        defaults
    }

    /// What a container asks for with these.
    fn container(&self, container: &Value) -> Demand {
        let mut limits = quantities(container.pointer("/resources/limits"));
        let mut requests = quantities(container.pointer("/resources/requests"));
        let named = limits.clone();
        for (name, value) in &self.limits {
            limits.entry(name.clone()).or_insert(*value);
        }
        // A limit that is written down is a request too, before the namespace's default is.
        for (name, value) in named.iter().chain(&self.requests).chain(&self.limits) {
            requests.entry(name.clone()).or_insert(*value);
        }
        let without = |map: &Quantities| {
            ASKED.iter().filter(|name| !map.contains_key(**name)).map(ToString::to_string).collect()
        };
        Demand { unlimited: without(&limits), unrequested: without(&requests), limits, requests }
    }
}

/// What a pod with this specification asks for.
#[must_use]
pub(super) fn demand(spec: &Value, defaults: &Defaults) -> Demand {
    let containers = |key: &str| spec.get(key).and_then(Value::as_array).into_iter().flatten();
    let (mut running, mut at_start) = (Demand::default(), Demand::default());
    for container in containers("initContainers") {
        let asked = defaults.container(container);
        if container.get("restartPolicy").and_then(Value::as_str) == Some("Always") {
            running.run(&asked);
            at_start.need(&running);
        } else {
            let mut meanwhile = running.clone();
            meanwhile.run(&asked);
            at_start.need(&meanwhile);
        }
    }
    for container in containers("containers") {
        running.run(&defaults.container(container));
    }
    running.need(&at_start);
    let overhead = quantities(spec.get("overhead"));
    add(&mut running.requests, &overhead);
    // A pod may say it for all its containers.
    running.requests.extend(quantities(spec.pointer("/resources/requests")));
    running.limits.extend(quantities(spec.pointer("/resources/limits")));
    running
}

impl Demand {
    fn run(&mut self, container: &Self) {
        add(&mut self.requests, &container.requests);
        add(&mut self.limits, &container.limits);
        self.note(container);
    }

    fn need(&mut self, other: &Self) {
        at_least(&mut self.requests, &other.requests);
        at_least(&mut self.limits, &other.limits);
        self.note(other);
    }

    fn note(&mut self, other: &Self) {
        for (mine, theirs) in
            [(&mut self.unlimited, &other.unlimited), (&mut self.unrequested, &other.unrequested)]
        {
            mine.extend(theirs.iter().cloned());
            mine.sort();
            mine.dedup();
        }
    }
}

/// How many pods an object has at a time, where one is made for each of so many nodes if it makes one for each.
#[must_use]
pub(super) fn replicas(object: &Object, nodes: u64) -> u64 {
    let number = |pointer: &str| object.value().pointer(pointer).and_then(Value::as_u64);
    match (object.group(), object.kind()) {
        ("", "Pod") => 1,
        ("apps", "DaemonSet") => nodes,
        ("batch", "Job") if number("/spec/completions").is_some() => {
            number("/spec/parallelism").unwrap_or(1).min(number("/spec/completions").unwrap_or(1))
        }
        ("batch", "Job") => number("/spec/parallelism").unwrap_or(1),
        ("batch", "CronJob") => number("/spec/jobTemplate/spec/parallelism").unwrap_or(1),
        _ => number("/spec/replicas").unwrap_or(1),
    }
}

/// The volumes that an object claims: its own specification, or one for each pod of a stateful set, with how many
/// of each.
#[must_use]
pub(super) fn claims(object: &Object) -> Vec<(&Value, u64)> {
    match (object.group(), object.kind()) {
        ("", "PersistentVolumeClaim") => {
            object.value().get("spec").map(|spec| (spec, 1)).into_iter().collect()
        }
        ("apps", "StatefulSet") => {
            let templates = object.value().pointer("/spec/volumeClaimTemplates").and_then(Value::as_array);
            let count = replicas(object, 0);
            let specs = templates.into_iter().flatten().filter_map(|template| template.get("spec"));
            specs.map(|spec| (spec, count)).collect()
        }
        _ => Vec::new(),
    }
}

/// How much a claim asks for.
#[must_use]
pub(super) fn storage(claim: &Value) -> Quantity {
    claim.pointer("/resources/requests/storage").and_then(Quantity::of).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cpu(millis: i128) -> Quantity {
        Quantity(millis)
    }

    fn container(requests: &str) -> Value {
        json!({"resources": {"requests": {"cpu": requests}}})
    }

    #[test]
    fn containers_of_the_start_count_once_and_those_that_stay_beside_the_others() {
        let always = |requests: &str| {
            let mut container = container(requests);
            container["restartPolicy"] = json!("Always");
            container
        };
        let spec = json!({"initContainers": [container("1"), always("100m"), container("2")], "containers": [container("300m"), container("300m")], "overhead": {"cpu": "50m"}});
        assert_eq!(demand(&spec, &Defaults::default()).requests["cpu"], cpu(2150));
        let spec = json!({"initContainers": [always("100m")], "containers": [container("300m")]});
        assert_eq!(demand(&spec, &Defaults::default()).requests["cpu"], cpu(400));
    }

    #[test]
    fn a_namespace_gives_defaults_and_a_limit_is_a_request_too() {
        let range = json!({"spec": {"limits": [{"type": "Container", "default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "200m"}}]}});
        let defaults = Defaults::of(&[range]);
        let asked = demand(&json!({"containers": [{}]}), &defaults);
        assert_eq!((asked.requests["cpu"], asked.limits["cpu"]), (cpu(200), cpu(1000)));
        assert_eq!(asked.requests["memory"], asked.limits["memory"]);
        assert!(asked.unlimited.is_empty() && asked.unrequested.is_empty());
        let limited = json!({"containers": [{"resources": {"limits": {"cpu": "3"}}}]});
        assert_eq!(demand(&limited, &defaults).requests["cpu"], cpu(3000));
        let open = demand(&limited, &Defaults::default());
        assert_eq!(
            (open.unlimited, open.unrequested),
            (vec!["memory".to_string()], vec!["memory".to_string()])
        );
    }

    #[test]
    fn each_kind_has_its_own_number_of_pods_and_volumes() {
        let object = |kind: &str, version: &str, spec: Value| {
            Object::new(json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}, "spec": spec}))
                .unwrap()
        };
        assert_eq!(replicas(&object("Deployment", "apps/v1", json!({})), 9), 1);
        assert_eq!(replicas(&object("DaemonSet", "apps/v1", json!({})), 9), 9);
        assert_eq!(replicas(&object("Job", "batch/v1", json!({"parallelism": 5, "completions": 3})), 9), 3);
        let set = object(
            "StatefulSet",
            "apps/v1",
            json!({"replicas": 3, "volumeClaimTemplates": [{"spec": {"resources": {"requests": {"storage": "1Gi"}}}}]}),
        );
        let claimed = claims(&set);
        assert_eq!(
            (claimed.len(), claimed[0].1, storage(claimed[0].0)),
            (1, 3, Quantity::of(&json!("1Gi")).unwrap())
        );
    }
}
