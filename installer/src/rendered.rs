//! Objects as a cluster will get them, from plain manifests and from charts alike: what steps are made of and
//! what preflight checks count.
//!
//! *It may never* show a value of an object: Secrets and settings are among them. What has a name here is
//! what an API server shows of any object: its kind, its namespace and its name.

use std::fmt;

use manifests::kubernetes::PlainFile;
use manifests::text::printable;
use serde_json::Value;

/// Bounds one file of a set, as its packing does.
pub const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// One object.
#[derive(Clone, PartialEq)]
pub struct Object(Value);

/// By what a cluster tells objects apart; versions of one group name the same object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectId {
    /// Empty for the core group.
    pub group: String,
    /// `Deployment`
    pub kind: String,
    /// None for an object of the whole cluster, or one that leaves it to others.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.namespace.as_ref().map(|name| format!("{name}/")).unwrap_or_default();
        f.write_str(&printable(&format!("{} {place}{}", self.kind, self.name)))
    }
}

/// Without its values.
impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({})", self.id())
    }
}

/// The group of an `apiVersion`; empty for the core group.
#[must_use]
pub fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

impl Object {
    /// An object with a kind and a name.
    #[must_use]
    pub fn new(value: Value) -> Option<Self> {
        let text =
            |pointer| value.pointer(pointer).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        let whole = text("/apiVersion") && text("/kind") && text("/metadata/name");
        whole.then_some(Self(value))
    }

    fn text(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// `apps/v1`
    #[must_use]
    pub fn api_version(&self) -> &str {
        self.text("/apiVersion")
    }

    /// `apps`; empty for the core group.
    #[must_use]
    pub fn group(&self) -> &str {
        group_of(self.api_version())
    }

    /// `Deployment`
    #[must_use]
    pub fn kind(&self) -> &str {
        self.text("/kind")
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// The namespace that it names.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        Some(self.text("/metadata/namespace")).filter(|name| !name.is_empty())
    }

    /// What tells it from others.
    #[must_use]
    pub fn id(&self) -> ObjectId {
        ObjectId {
            group: self.group().to_string(),
            kind: self.kind().to_string(),
            namespace: self.namespace().map(ToString::to_string),
            name: self.name().to_string(),
        }
    }

    /// All of it.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// All of it, to be changed.
    pub fn value_mut(&mut self) -> &mut Value {
        &mut self.0
    }

    /// Gives it a namespace, or takes the one away that an object of the whole cluster has no use for.
    pub fn set_namespace(&mut self, namespace: Option<&str>) {
        let Some(metadata) = self.0.get_mut("metadata").and_then(Value::as_object_mut) else { return };
        match namespace {
            Some(name) => metadata.insert("namespace".to_string(), name.into()),
            None => metadata.remove("namespace"),
        };
    }

    /// Gives it an annotation.
    pub fn annotate(&mut self, name: &str, value: &str) {
        let Some(metadata) = self.0.get_mut("metadata").and_then(Value::as_object_mut) else { return };
        let annotations =
            metadata.entry("annotations").or_insert_with(|| Value::Object(serde_json::Map::new()));
        if !annotations.is_object() {
            *annotations = Value::Object(serde_json::Map::new());
        }
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.insert(name.to_string(), value.into());
        }
    }

    /// An annotation.
    #[must_use]
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.0.pointer("/metadata/annotations")?.get(name)?.as_str()
    }

    /// The specification of its pods, if it is or makes pods.
    #[must_use]
    pub fn pod_spec(&self) -> Option<&Value> {
        let pointer = match (self.group(), self.kind()) {
            ("", "Pod") => "/spec",
            ("batch", "CronJob") => "/spec/jobTemplate/spec/template/spec",
            ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
            | ("batch", "Job")
            | ("", "ReplicationController") => "/spec/template/spec",
            _ => return None,
        };
        self.0.pointer(pointer)
    }
}

/// The objects of one component, in the order in which they are written.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// What brings them: `manifests k8s`, `chart fraud`.
    pub from: String,
    /// Where objects go that name no namespace.
    pub namespace: String,
    /// They.
    pub objects: Vec<Object>,
}

/// The objects of a file of plain manifests. Lists are taken apart; what was refused while the bundle was
/// locked is an error here, too.
///
/// # Errors
/// The text is no YAML or JSON, or a document is no object; without any value of it.
pub fn objects_of(file: &PlainFile, bytes: &[u8]) -> Result<Vec<Object>, String> {
    let is_json = file.path.as_str().ends_with(".json");
    let documents: Vec<Value> = if is_json {
        serde_json::Deserializer::from_slice(bytes)
            .into_iter()
            .collect::<Result<_, _>>()
            .map_err(|error| format!("line {}, column {}: not JSON", error.line(), error.column()))?
    } else {
        let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_string())?;
        edge::yaml::parse_all(file.path.as_str(), text)
            .map_err(|error| format!("line {}, column {}: not YAML", error.line, error.column))?
    };
    let mut objects = Vec::new();
    for (number, document) in documents.into_iter().enumerate() {
        let no_object = || format!("document {} is no object of Kubernetes", number.saturating_add(1));
        for member in members(document) {
            objects.push(Object::new(member).ok_or_else(no_object)?);
        }
    }
    Ok(objects)
}

/// The document itself, or what a list holds.
#[must_use]
pub fn members(document: Value) -> Vec<Value> {
    let text = |key: &str| document.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
    let (version, kind) = (text("apiVersion"), text("kind"));
    let Some(item_kind) = kind.strip_suffix("List") else { return vec![document] };
    let Some(items) = document.get("items").and_then(Value::as_array) else { return vec![document] };
    if !items.iter().all(Value::is_object) {
        return vec![document];
    }
    let complete = |item: &Value| {
        let mut item = item.clone();
        // An API server leaves out what the list says of all of them.
        if let Some(item) = item.as_object_mut().filter(|_| !item_kind.is_empty()) {
            item.entry("kind").or_insert_with(|| item_kind.into());
            item.entry("apiVersion").or_insert_with(|| version.as_str().into());
        }
        item
    };
    items.iter().map(complete).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> Result<Vec<Object>, String> {
        let digest = manifests::Digest::of(text.as_bytes());
        let file = PlainFile { path: path.parse().unwrap(), digest, size: text.len() as u64 };
        objects_of(&file, text.as_bytes())
    }

    #[test]
    fn lists_are_taken_apart_and_json_is_read_like_yaml() {
        let yaml = "apiVersion: v1\nkind: ConfigMapList\nitems:\n- metadata: {name: a}\n---\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: b, namespace: shop}\n";
        let objects = file("x.yaml", yaml).unwrap();
        let ids: Vec<String> = objects.iter().map(|object| object.id().to_string()).collect();
        assert_eq!(ids, ["ConfigMap a", "Deployment shop/b"]);
        assert_eq!((objects[0].api_version(), objects[1].group()), ("v1", "apps"));
        let json = "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{\"name\":\"s\"}}";
        assert_eq!(file("x.json", json).unwrap()[0].kind(), "Secret");
    }

    #[test]
    fn an_error_says_where_and_shows_no_value() {
        let error = file("x.yaml", "apiVersion: v1\nkind: Secret\nstringData: {a: hunter2}\n").unwrap_err();
        assert_eq!(error, "document 1 is no object of Kubernetes");
        let error = file("x.json", "{\"a\": hunter2}").unwrap_err();
        assert!(!error.contains("hunter2") && error.contains("line 1"), "{error}");
        let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: hunter2}\n";
        assert!(!format!("{:?}", file("x.yaml", secret).unwrap()).contains("hunter2"));
    }

    #[test]
    fn pods_are_found_where_each_kind_has_them() {
        let cron = "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: c}\nspec: {jobTemplate: {spec: {template: {spec: {containers: []}}}}}\n";
        assert!(file("x.yaml", cron).unwrap()[0].pod_spec().is_some());
        let other = "apiVersion: example.org/v1\nkind: Deployment\nmetadata: {name: c}\nspec: {template: {spec: {}}}\n";
        assert!(file("x.yaml", other).unwrap()[0].pod_spec().is_none());
    }
}
