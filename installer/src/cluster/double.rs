//! A cluster for unit tests: what its paths hold, what it forbids, and what was asked of it. What a real API
//! server does with objects is not played here: journeys have a real one.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Application, Cluster, ClusterError};
use crate::rendered::Object;

/// Kinds that every cluster serves, as far as tests need them.
const SERVED: [(&str, &str, &str, bool); 21] = [
    ("v1", "Namespace", "namespaces", false),
    ("v1", "Node", "nodes", false),
    ("v1", "Pod", "pods", true),
    ("v1", "Secret", "secrets", true),
    ("v1", "ConfigMap", "configmaps", true),
    ("v1", "Service", "services", true),
    ("v1", "ServiceAccount", "serviceaccounts", true),
    ("v1", "PersistentVolumeClaim", "persistentvolumeclaims", true),
    ("v1", "ResourceQuota", "resourcequotas", true),
    ("v1", "LimitRange", "limitranges", true),
    ("apps/v1", "Deployment", "deployments", true),
    ("apps/v1", "StatefulSet", "statefulsets", true),
    ("apps/v1", "DaemonSet", "daemonsets", true),
    ("batch/v1", "Job", "jobs", true),
    ("batch/v1", "CronJob", "cronjobs", true),
    ("storage.k8s.io/v1", "StorageClass", "storageclasses", false),
    ("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", false),
    ("rbac.authorization.k8s.io/v1", "Role", "roles", true),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", false),
    ("networking.k8s.io/v1", "Ingress", "ingresses", true),
    ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", true),
];

/// A cluster that is no more than this.
#[derive(Default)]
pub struct Double {
    /// What paths hold.
    pub holds: BTreeMap<String, Value>,
    /// Paths that nobody may read.
    pub forbidden: BTreeSet<String>,
    /// `VERB RESOURCE` that we may not, or `VERB RESOURCE in NAMESPACE`.
    pub denied: BTreeSet<String>,
    /// Paths that were read, and objects that were created.
    pub asked: RefCell<Vec<String>>,
}

impl Double {
    /// With this at a path.
    pub fn with(mut self, path: &str, value: Value) -> Self {
        self.holds.insert(path.to_string(), value);
        self
    }

    /// With these in a list at a path.
    pub fn with_items(self, path: &str, items: &[Value]) -> Self {
        self.with(path, json!({"items": items}))
    }

    fn served(api_version: &str) -> Option<Value> {
        let resources: Vec<Value> = SERVED
            .iter()
            .filter(|(version, ..)| *version == api_version)
            .map(|(_, kind, name, namespaced)| json!({"kind": kind, "name": name, "namespaced": namespaced}))
            .collect();
        (!resources.is_empty()).then(|| json!({"resources": resources}))
    }
}

impl Cluster for Double {
    fn get(&self, path: &str) -> Result<Option<Value>, ClusterError> {
        self.asked.borrow_mut().push(path.to_string());
        if self.forbidden.contains(path) {
            return Err(ClusterError::Forbidden { doing: format!("get {path}"), said: "no".to_string() });
        }
        if let Some(value) = self.holds.get(path) {
            return Ok(Some(value.clone()));
        }
        let version = path.strip_prefix("/apis/").or_else(|| path.strip_prefix("/api/"));
        Ok(version.and_then(Self::served))
    }

    fn text(&self, path: &str, _bytes_max: usize) -> Result<Option<String>, ClusterError> {
        Ok(self.get(path)?.and_then(|value| value.as_str().map(str::to_string)))
    }

    fn create(&self, path: &str, object: &Value) -> Result<Value, ClusterError> {
        self.asked.borrow_mut().push(path.to_string());
        let text = |key: &str| {
            let value = object.pointer(&format!("/spec/resourceAttributes/{key}")).and_then(Value::as_str);
            value.unwrap_or_default().to_string()
        };
        let asked = format!("{} {}", text("verb"), text("resource"));
        let placed = format!("{asked} in {}", text("namespace"));
        // Who may not do everything is asked for each thing.
        let denied = if text("verb") == "*" {
            !self.denied.is_empty()
        } else {
            self.denied.contains(&asked) || self.denied.contains(&placed)
        };
        Ok(json!({"status": {"allowed": !denied}}))
    }

    fn replace(&self, path: &str, _object: &Value) -> Result<Value, ClusterError> {
        unreachable!("nothing in unit tests replaces {path}")
    }

    fn delete(&self, path: &str, _uid: &str) -> Result<bool, ClusterError> {
        unreachable!("nothing in unit tests deletes {path}")
    }

    fn apply(&self, object: &Object, _how: Application) -> Result<Value, ClusterError> {
        unreachable!("nothing in unit tests applies {}", object.id())
    }
}
