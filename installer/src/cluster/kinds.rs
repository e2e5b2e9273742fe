//! Which kinds of objects a cluster serves, and below which path of its API each is found. Definitions of custom
//! resources that a bundle brings along count as served: they come before what needs them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Cluster, ClusterError};
use crate::rendered::{Object, group_of};

/// The kind by which a cluster learns of other kinds.
pub const DEFINITION: (&str, &str) = ("apiextensions.k8s.io", "CustomResourceDefinition");

/// How a kind is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// Its name in paths: `deployments`.
    pub plural: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Whether the cluster has yet to learn of it from the bundle.
    pub to_come: bool,
}

/// What is known of some versions of groups.
#[derive(Debug, Clone, Default)]
pub struct Kinds {
    served: BTreeMap<(String, String), Served>,
    asked: BTreeSet<String>,
}

impl Kinds {
    /// Asks a cluster for these versions of groups, such as `v1` and `apps/v1`.
    ///
    /// # Errors
    /// It cannot be asked.
    pub fn of<'a>(
        cluster: &dyn Cluster,
        api_versions: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, ClusterError> {
        let mut kinds = Self::default();
        for api_version in api_versions {
            kinds.ask(cluster, api_version)?;
        }
        Ok(kinds)
    }

    /// What these objects need, by the cluster's word and by the definitions among them.
    ///
    /// # Errors
    /// It cannot be asked.
    pub fn for_objects<'a>(
        cluster: &dyn Cluster,
        objects: impl IntoIterator<Item = &'a Object> + Clone,
    ) -> Result<Self, ClusterError> {
        let mut kinds = Self::of(cluster, objects.clone().into_iter().map(Object::api_version))?;
        for object in objects {
            kinds.learn(object);
        }
        Ok(kinds)
    }

    fn ask(&mut self, cluster: &dyn Cluster, api_version: &str) -> Result<(), ClusterError> {
        if !self.asked.insert(api_version.to_string()) {
            return Ok(());
        }
        let list = cluster.get(&base(api_version))?;
        let resources = list.as_ref().and_then(|list| list.get("resources")).and_then(Value::as_array);
        for resource in resources.into_iter().flatten() {
            let text = |key| resource.get(key).and_then(Value::as_str).unwrap_or_default();
            // `pods/log` and the like are parts of an object and no kind of their own.
            if text("kind").is_empty() || text("name").is_empty() || text("name").contains('/') {
                continue;
            }
            let served = Served {
                plural: text("name").to_string(),
                namespaced: resource.get("namespaced").and_then(Value::as_bool).unwrap_or_default(),
                to_come: false,
            };
            self.served.insert((api_version.to_string(), text("kind").to_string()), served);
        }
        Ok(())
    }

    /// Takes up what others know as well.
    pub fn extend(&mut self, other: Self) {
        self.asked.extend(other.asked);
        for (kind, served) in other.served {
            self.served.entry(kind).or_insert(served);
        }
    }

    /// Learns of a kind from its definition, as a cluster will.
    pub fn learn(&mut self, object: &Object) {
        if (object.group(), object.kind()) != DEFINITION {
            return;
        }
        let text =
            |pointer: &str| object.value().pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (group, kind) = (text("/spec/group"), text("/spec/names/kind"));
        let versions = object.value().pointer("/spec/versions").and_then(Value::as_array);
        for version in versions.into_iter().flatten() {
            let is_served = version.get("served").and_then(Value::as_bool).unwrap_or_default();
            let name = version.get("name").and_then(Value::as_str).unwrap_or_default();
            if is_served {
                let served = Served {
                    plural: text("/spec/names/plural").to_string(),
                    namespaced: text("/spec/scope") == "Namespaced",
                    to_come: true,
                };
                self.served.entry((format!("{group}/{name}"), kind.to_string())).or_insert(served);
            }
        }
    }

    /// How a kind is served; `None` if it is not.
    #[must_use]
    pub fn get(&self, api_version: &str, kind: &str) -> Option<&Served> {
        self.served.get(&(api_version.to_string(), kind.to_string()))
    }

    /// How an object's kind is served; `None` if it is not.
    #[must_use]
    pub fn served(&self, object: &Object) -> Option<&Served> {
        self.get(object.api_version(), object.kind())
    }

    /// Gives an object the namespace that it will have: its own, or this one, or none.
    pub fn place(&self, object: &mut Object, namespace: &str) {
        match self.served(object) {
            Some(served) if !served.namespaced => object.set_namespace(None),
            Some(_) if object.namespace().is_none() => object.set_namespace(Some(namespace)),
            _ => {}
        }
    }

    /// The path of an object that has its namespace.
    #[must_use]
    pub fn path(&self, object: &Object) -> Option<String> {
        let served = self.served(object)?;
        Some(path(object.api_version(), &served.plural, object.namespace(), object.name()))
    }
}

/// Where a version of a group begins.
#[must_use]
pub fn base(api_version: &str) -> String {
    let version = encoded(api_version).replace("%2F", "/");
    if group_of(api_version).is_empty() { format!("/api/{version}") } else { format!("/apis/{version}") }
}

/// The path of an object.
#[must_use]
pub fn path(api_version: &str, plural: &str, namespace: Option<&str>, name: &str) -> String {
    format!("{}/{}", collection(api_version, plural, namespace), encoded(name))
}

/// The path of all objects of a kind.
#[must_use]
pub fn collection(api_version: &str, plural: &str, namespace: Option<&str>) -> String {
    let place = namespace.map(|name| format!("/namespaces/{}", encoded(name))).unwrap_or_default();
    format!("{}{place}/{}", base(api_version), encoded(plural))
}

/// A name as one part of a path. What is no name of Kubernetes stays one part, for the server to refuse.
fn encoded(name: &str) -> String {
    if name.bytes().all(|byte| byte == b'.') {
        return name.replace('.', "%2E");
    }
    let mut text = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._:~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::double::Double;
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Object {
        Object::new(value).unwrap()
    }

    #[test]
    fn an_object_has_one_path_whatever_is_in_its_name() {
        let cluster = Double::default();
        let kinds = Kinds::of(&cluster, ["v1", "apps/v1", "rbac.authorization.k8s.io/v1"]).unwrap();
        let path = |value| {
            let mut object = object(value);
            kinds.place(&mut object, "here");
            kinds.path(&object).unwrap()
        };
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}});
        assert_eq!(path(deployment), "/apis/apps/v1/namespaces/here/deployments/web");
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x", "namespace": "y"}});
        assert_eq!(path(namespace), "/api/v1/namespaces/x");
        let bad =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "../a?b", "namespace": ".."}});
        assert_eq!(path(bad), "/api/v1/namespaces/%2E%2E/secrets/..%2Fa%3Fb");
    }

    #[test]
    fn a_kind_that_the_bundle_defines_counts_as_served() {
        let definition = object(json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.example.org"},
            "spec": {"group": "example.org", "scope": "Namespaced", "names": {"kind": "Widget", "plural": "widgets"},
                "versions": [{"name": "v1", "served": true}, {"name": "v0", "served": false}]},
        }));
        let widget =
            object(json!({"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w"}}));
        let cluster = Double::default();
        let kinds = Kinds::for_objects(&cluster, [&definition, &widget]).unwrap();
        assert!(kinds.served(&widget).unwrap().to_come);
        assert!(kinds.get("example.org/v0", "Widget").is_none());
        assert!(!kinds.served(&definition).unwrap().to_come);
    }
}
