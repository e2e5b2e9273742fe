//! Plain Kubernetes manifests from a file, a directory or a glob. Each object is looked at while locking:
//! that it is one, and that no other of the bundle has its name. What a cluster would say of it, nobody asks
//! here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use edge::yaml::YamlError;
use edge::{Classified, Exit};
use manifests::Digest;
use manifests::bundle::Content;
use manifests::canonical::CanonicalError;
use manifests::inventory::Component;
use manifests::kubernetes::{ARTIFACT_KUBERNETES, KubernetesManifests, PlainFile};
use manifests::oci::{ANNOTATION_TITLE, Descriptor, MEDIA_FILE};
use manifests::text::{Name, TextError, printable};
use serde::Deserialize;
use serde_json::Value;

use super::files::{self, FilesError};
use super::select::{self, SelectError};
use super::{Resolved, World, author_artifact};
use crate::lock::{LockedBlob, Origin};
use crate::spec::ManifestsSpec;

/// Bounds one file: the largest sets of definitions that projects publish as one file are about 5 MiB.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Kinds of Kubernetes itself that live in no namespace: two of one name are one, whatever namespace is
/// written beside them.
const CLUSTER_KINDS: [(&str, &str); 16] = [
    ("", "Namespace"),
    ("", "Node"),
    ("", "PersistentVolume"),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("apiregistration.k8s.io", "APIService"),
    ("networking.k8s.io", "IngressClass"),
    ("node.k8s.io", "RuntimeClass"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ("scheduling.k8s.io", "PriorityClass"),
    ("storage.k8s.io", "CSIDriver"),
    ("storage.k8s.io", "StorageClass"),
];

/// Why manifests cannot be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KubernetesError {
    /// A file that cannot be taken.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// There is nothing to take.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// Not YAML.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// Not JSON, or not text.
    #[error("{}: {reason}", path.display())]
    Text {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A document that is no object of Kubernetes.
    #[error("{}: document {number} is not a Kubernetes object: {reason}", path.display())]
    Object {
        /// Which file.
        path: PathBuf,
        /// Which document of it, from 1. Empty ones do not count.
        number: usize,
        /// What is wrong.
        reason: String,
    },
    /// A file without an object.
    #[error("{} holds no Kubernetes objects", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
    /// One object twice.
    #[error("{object} is in {first} and again in {second}")]
    Twice {
        /// Which.
        object: String,
        /// File and document.
        first: String,
        /// File and document.
        second: String,
    },
    /// A name that cannot travel.
    #[error("{}", path.display())]
    Name {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: TextError,
    },
    /// A document of ours that is not one.
    #[error(transparent)]
    Document(#[from] CanonicalError),
}

impl Classified for KubernetesError {
    fn exit(&self) -> Exit {
        match self {
            Self::Files(error) => error.exit(),
            Self::Select(error) => error.exit(),
            Self::Document(_) => Exit::Unexpected,
            _ => Exit::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Files(error) => error.hint(),
            Self::Select(error) => error.hint(),
            Self::Object { .. } | Self::Empty { .. } | Self::Yaml(_) | Self::Text { .. } => Some(
                "leave the file out with `exclude`, or name those that are meant: k8s/*.yaml".to_string(),
            ),
            Self::Twice { .. } => Some("take it out of one of the two".to_string()),
            _ => None,
        }
    }
}

/// What the sets of a bundle have taken so far.
#[derive(Debug, Default)]
pub struct Taken {
    names: Vec<Name>,
    objects: BTreeMap<ObjectName, String>,
}

/// By what a cluster tells objects apart; versions of one group name the same object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct ObjectName {
    group: String,
    kind: String,
    namespace: Option<String>,
    name: String,
}

impl std::fmt::Display for ObjectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let group = if self.group.is_empty() { String::new() } else { format!(" of {}", self.group) };
        let place = self.namespace.as_ref().map(|name| format!(" in namespace {name}")).unwrap_or_default();
        f.write_str(&printable(&format!("{} {}{group}{place}", self.kind, self.name)))
    }
}

/// What we look at of an object.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    #[serde(default)]
    api_version: Option<String>,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    metadata: Option<Metadata>,
    #[serde(default)]
    items: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    generate_name: Option<String>,
    #[serde(default)]
    namespace: Option<String>,
}

/// Resolves a set of manifests to digests.
///
/// # Errors
/// See [`KubernetesError`].
pub fn resolve(
    spec: &ManifestsSpec,
    world: &World<'_>,
    taken: &mut Taken,
) -> Result<Resolved, KubernetesError> {
    let shown = &spec.source;
    let mut blobs = BTreeMap::new();
    let mut files = Vec::new();
    for (below, path) in choose(spec, world)? {
        files.push(take(spec, world, &below, path, taken, &mut blobs)?);
    }
    files.sort_by(|left, right| left.path.cmp(&right.path));
    let layer = |file: &PlainFile| {
        Descriptor::new(MEDIA_FILE, file.digest, file.size).annotated(ANNOTATION_TITLE, file.path.as_str())
    };
    let manifest = author_artifact(ARTIFACT_KUBERNETES, files.iter().map(layer).collect(), &mut blobs)?;
    let text = |source| KubernetesError::Name { path: shown.clone(), source };
    let source = shown.display().to_string().parse().map_err(text)?;
    let name = match &spec.name {
        Some(name) => name.clone(),
        None => files::set_name(&derived_name(shown), &taken.names).map_err(text)?,
    };
    taken.names.push(name.clone());
    let component = Component::KubernetesManifests(KubernetesManifests {
        images: Vec::new(),
        name,
        source,
        namespace: spec.namespace.clone(),
        order: spec.order,
        files,
        manifest,
    });
    Ok(Resolved { component, blobs })
}

/// The files that hold manifests. Of a directory or a glob those that say so by their name; what is asked
/// for by its own name is taken whatever it is called.
fn choose(spec: &ManifestsSpec, world: &World<'_>) -> Result<BTreeMap<PathBuf, PathBuf>, KubernetesError> {
    let mut selection = select::select(&spec.source, &spec.exclude, &world.base)?;
    if !selection.is_one_file {
        selection.found.retain(|below, path| {
            let is_manifest = matches!(extension(below), "yaml" | "yml" | "json");
            if !is_manifest {
                (world.note)(&format!(
                    "note: {} is not called .yaml, .yml or .json, and stays behind",
                    path.display()
                ));
            }
            is_manifest
        });
    }
    if selection.found.is_empty() {
        return Err(KubernetesError::Empty { path: spec.source.clone() });
    }
    Ok(selection.found)
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

fn take(
    spec: &ManifestsSpec,
    world: &World<'_>,
    below: &Path,
    path: PathBuf,
    taken: &mut Taken,
    blobs: &mut BTreeMap<Digest, LockedBlob>,
) -> Result<PlainFile, KubernetesError> {
    files::regular(world, &path)?;
    let bytes = layout::durable::read_bounded(&world.path(&path), FILE_BYTES_MAX)
        .map_err(|source| FilesError::Read { path: path.clone(), source })?;
    for (number, name) in objects(&path, &bytes, spec.namespace.as_ref())? {
        let place = format!("{} (document {number})", path.display());
        if let Some(first) = taken.objects.insert(name.clone(), place.clone()) {
            return Err(KubernetesError::Twice { object: name.to_string(), first, second: place });
        }
    }
    let content = Content::of(&bytes);
    let name = below.to_string_lossy().parse();
    let name = name.map_err(|source| KubernetesError::Name { path: path.clone(), source })?;
    blobs.insert(content.digest, LockedBlob { size: content.size, from: Origin::File(path) });
    Ok(PlainFile { path: name, digest: content.digest, size: content.size })
}

/// The objects of a file, each with the number of its document.
fn objects(
    path: &Path,
    bytes: &[u8],
    namespace: Option<&Name>,
) -> Result<Vec<(usize, ObjectName)>, KubernetesError> {
    let mut named = Vec::new();
    for (position, document) in documents(path, bytes)?.into_iter().enumerate() {
        let number = position.saturating_add(1);
        let broken = |reason| KubernetesError::Object { path: path.to_path_buf(), number, reason };
        for object in Object::read(document).and_then(Object::members).map_err(broken)? {
            named.push((number, object.named(namespace).map_err(broken)?));
        }
    }
    if named.is_empty() {
        return Err(KubernetesError::Empty { path: path.to_path_buf() });
    }
    Ok(named)
}

/// Read whole, so that a template of Helm's is no manifest wherever its braces are.
fn documents(path: &Path, bytes: &[u8]) -> Result<Vec<Value>, KubernetesError> {
    let broken = |reason: String| KubernetesError::Text { path: path.to_path_buf(), reason };
    if extension(path) == "json" {
        let documents = serde_json::Deserializer::from_slice(bytes).into_iter::<Value>();
        let documents: Result<Vec<Value>, _> = documents.collect();
        return documents.map_err(|error| broken(printable(&error.to_string())));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| broken(format!("it is not UTF-8 text after byte {}", error.valid_up_to())))?;
    Ok(edge::yaml::parse_all(&path.display().to_string(), text)?)
}

impl Object {
    fn read(document: Value) -> Result<Self, String> {
        serde_json::from_value(document).map_err(|error| printable(&error.to_string()))
    }

    /// The object itself, or those of a list.
    fn members(self) -> Result<Vec<Self>, String> {
        let is_list = self.kind.as_ref().is_some_and(|kind| kind.ends_with("List"));
        match self.items {
            Some(Value::Array(items)) if is_list => items.into_iter().map(Self::read).collect(),
            _ => Ok(vec![self]),
        }
    }

    fn named(self, namespace: Option<&Name>) -> Result<ObjectName, String> {
        let text = |value: Option<String>, what: &str| {
            value.filter(|text| !text.is_empty()).ok_or_else(|| format!("it has no `{what}`"))
        };
        let version = text(self.api_version, "apiVersion")?;
        let kind = text(self.kind, "kind")?;
        let metadata = self.metadata.ok_or_else(|| "it has no `metadata`".to_string())?;
        if metadata.name.is_none() && metadata.generate_name.is_some() {
            return Err("`generateName` makes another object each time it is applied".to_string());
        }
        let name = text(metadata.name, "metadata.name")?;
        let group = version.split_once('/').map(|(group, _)| group.to_string()).unwrap_or_default();
        let is_of_a_cluster = CLUSTER_KINDS.contains(&(group.as_str(), kind.as_str()));
        let namespace = metadata.namespace.or_else(|| namespace.map(ToString::to_string));
        Ok(ObjectName { group, kind, namespace: namespace.filter(|_| !is_of_a_cluster), name })
    }
}

/// `k8s/` and `k8s/*.yaml` are `k8s`, `deploy/web.yaml` is `web`.
fn derived_name(source: &Path) -> String {
    let text = source.to_string_lossy();
    let names = text.split('/').filter(|part| !matches!(*part, "" | "." | ".."));
    let last = names.take_while(|part| !part.contains(['*', '?', '[', '{'])).last();
    let last = last.unwrap_or("manifests");
    last.strip_suffix(".yaml")
        .or(last.strip_suffix(".yml"))
        .or(last.strip_suffix(".json"))
        .unwrap_or(last)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(file: &str, text: &str) -> Result<Vec<String>, String> {
        let default: Name = "shop".parse().unwrap();
        let found = objects(Path::new(file), text.as_bytes(), Some(&default));
        Ok(found.map_err(|e| e.to_string())?.iter().map(|(n, name)| format!("{n} {name}")).collect())
    }

    const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n";

    #[test]
    fn every_document_of_a_file_is_an_object() {
        let text = format!(
            "# a comment\n---\n{POD}---\n---\n# nothing\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  namespace: other\nspec: {{on: yes, a: [=, \"x\"]}}\n..."
        );
        assert_eq!(
            named("x.yaml", &text).unwrap(),
            ["1 Pod a in namespace shop", "2 Deployment web of apps in namespace other"]
        );
    }

    #[test]
    fn json_is_one_object_or_several() {
        let pod = "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\"}}";
        assert_eq!(named("x.json", pod).unwrap(), ["1 Pod a in namespace shop"]);
        assert_eq!(named("x.json", &format!("{pod}\n{pod}")).unwrap().len(), 2);
        assert!(named("x.json", "{\"kind\":").unwrap_err().starts_with("x.json: EOF"));
    }

    #[test]
    fn a_list_is_its_items_and_no_list_in_a_list() {
        let list = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: s}}\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}\n";
        assert_eq!(
            named("x.yml", list).unwrap(),
            ["1 Secret s in namespace shop", "1 ConfigMap c in namespace shop"]
        );
        let nested = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: List, items: []}\n";
        assert!(named("x.yaml", nested).unwrap_err().contains("document 1"));
        // What another kind has under that name is its own business.
        let other = "apiVersion: a/v1\nkind: Menu\nmetadata: {name: m}\nitems: {soup: 1}\n";
        assert_eq!(named("x.yaml", other).unwrap(), ["1 Menu m of a in namespace shop"]);
    }

    #[test]
    fn what_lives_in_no_namespace_gets_none() {
        let role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: r}\n";
        assert_eq!(named("x.yaml", role).unwrap(), ["1 ClusterRole r of rbac.authorization.k8s.io"]);
    }

    #[test]
    fn what_is_no_object_is_named_with_file_and_document() {
        for (text, reason) in [
            (
                "kind: Pod\nmetadata: {name: a}\n",
                "document 2 is not a Kubernetes object: it has no `apiVersion`",
            ),
            ("apiVersion: v1\nmetadata: {name: a}\n", "it has no `kind`"),
            ("apiVersion: v1\nkind: Pod\n", "it has no `metadata`"),
            ("apiVersion: v1\nkind: Pod\nmetadata: {labels: {}}\n", "it has no `metadata.name`"),
            ("apiVersion: v1\nkind: Pod\nmetadata: {name: \"\"}\n", "it has no `metadata.name`"),
            ("apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: x-}\n", "`generateName`"),
            ("apiVersion: v1\nkind: Pod\nmetadata: {name: 1}\n", "invalid type: integer `1`"),
            ("just a text\n", "invalid type: string"),
            ("- a\n- list\n", "document 2 is not"),
            ("spec: {replicas: {{ .Values.count }}}\n", "x.yaml:5:"),
            ("kind: Pod\nkind: Pod\n", "x.yaml:6:1: "),
        ] {
            let error = named("x.yaml", &format!("{POD}---\n{text}")).unwrap_err();
            assert!(error.contains(reason) && error.starts_with("x.yaml"), "{text}: {error}");
        }
        assert_eq!(named("x.yaml", "# nothing\n---\n").unwrap_err(), "x.yaml holds no Kubernetes objects");
    }

    #[test]
    fn a_bomb_is_refused_and_a_deep_definition_is_not() {
        let mut bomb = format!("{POD}a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let before = format!("*a{}", level - 1);
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(", ")));
        }
        assert!(named("x.yaml", &bomb).unwrap_err().starts_with("x.yaml:"));
        let deep = |levels: usize| format!("{POD}spec: {}{}\n", "{a: ".repeat(levels), "}".repeat(levels));
        assert_eq!(named("x.yaml", &deep(60)).unwrap().len(), 1);
        assert!(named("x.yaml", &deep(10_000)).is_err());
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(named("x.json", &deep).is_err());
    }

    #[test]
    fn a_sets_name_comes_from_its_source() {
        for (source, name) in [
            ("k8s/", "k8s"),
            ("deploy/k8s/*.yaml", "k8s"),
            ("deploy/web.yaml", "web"),
            ("*.yaml", "manifests"),
            ("../x/**", "x"),
        ] {
            assert_eq!(derived_name(Path::new(source)), name, "{source}");
        }
    }
}
