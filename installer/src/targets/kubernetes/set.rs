//! The objects of sets of manifests: read from the site store, with the namespaces that they will have, in the
//! order in which a cluster needs them.

use std::collections::BTreeMap;

use layout::store::Store;
use manifests::VerifiedBundle;
use manifests::inventory::{Component, Inventory};
use manifests::kubernetes::{KubernetesManifests, PlainFile};

use manifests::text::Name;

use super::super::{Context, TargetError};
use super::images::{self, SetImages};
use crate::cluster::kinds::Kinds;
use crate::cluster::{Cluster, ClusterError};
use crate::plan::{ObjectChange, Objects, PlannedObject};
use crate::rendered::{self, FILE_BYTES_MAX, Object, ObjectId, Rendered};
use crate::site::config::{ImageReferences, KubernetesTarget};

/// Where objects go if neither they nor their set name a namespace. Not where a kubeconfig's context points: the
/// same bundle goes to the same place whoever applies it.
const NAMESPACE_DEFAULT: &str = "default";

/// What others need comes first: places, permissions and what is mounted, then what runs, then what other
/// programs act upon. Kinds that are not here, custom resources among them, come in between.
const ORDER: [&[&str]; 9] = [
    &["Namespace"],
    &["CustomResourceDefinition"],
    &["PriorityClass", "RuntimeClass", "StorageClass", "ResourceQuota", "LimitRange", "NetworkPolicy"],
    &["ServiceAccount", "Secret", "ConfigMap", "PersistentVolume", "PersistentVolumeClaim"],
    &["ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding"],
    &["Service"],
    &["Pod", "ReplicationController", "ReplicaSet", "Deployment", "StatefulSet", "DaemonSet"],
    &["Job", "CronJob", "HorizontalPodAutoscaler", "PodDisruptionBudget", "IngressClass", "Ingress"],
    // They stand before every request, and answer only once something runs.
    &["APIService", "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"],
];
/// Where kinds come that are not in the list: custom resources before what uses them.
const OTHERS: usize = 5;

/// Where in the order a kind comes.
#[must_use]
pub fn order(kind: &str) -> usize {
    ORDER.iter().position(|kinds| kinds.contains(&kind)).unwrap_or(OTHERS)
}

/// The sets of a bundle version, by their order.
#[derive(Debug)]
pub struct Sets {
    sets: Vec<(KubernetesManifests, Vec<Object>)>,
    kinds: Kinds,
    images: BTreeMap<Name, SetImages>,
}

/// Where a set's objects go that name no namespace.
pub(super) fn namespace_of(set: &KubernetesManifests) -> String {
    set.namespace.as_ref().map_or(NAMESPACE_DEFAULT.to_string(), ToString::to_string)
}

impl Sets {
    /// Reads all sets of a version, and asks the cluster which kinds it serves.
    ///
    /// # Errors
    /// The store has lost a file, or the cluster cannot be asked.
    pub fn read(inventory: &Inventory, store: &Store, cluster: &dyn Cluster) -> Result<Self, TargetError> {
        let mut sets = Vec::new();
        for component in &inventory.components {
            if let Component::KubernetesManifests(set) = component {
                sets.push((set.clone(), read(&set.files, store)?));
            }
        }
        sets.sort_by_key(|(set, _)| set.order);
        let kinds = Kinds::for_objects(cluster, sets.iter().flat_map(|(_, objects)| objects))?;
        for (set, objects) in &mut sets {
            let namespace = namespace_of(set);
            objects.iter_mut().for_each(|object| kinds.place(object, &namespace));
        }
        Ok(Self { sets, kinds, images: BTreeMap::new() })
    }

    /// The same with the names that images have on this site, if it wants that.
    ///
    /// # Errors
    /// An image is nowhere, or its name cannot be replaced where it stands.
    pub fn renamed(
        mut self,
        bundle: &VerifiedBundle,
        target: &KubernetesTarget,
        context: &Context<'_>,
    ) -> Result<Self, TargetError> {
        if target.images != ImageReferences::Rewrite {
            return Ok(self);
        }
        for (set, objects) in &mut self.sets {
            let found = images::resolve(set, objects, bundle, context)?;
            let title = format!("manifests {}", set.name);
            let renamed = objects.iter().map(|object| images::rewritten(&title, object, &found));
            *objects = renamed.collect::<Result<_, _>>()?;
            self.images.insert(set.name.clone(), found);
        }
        Ok(self)
    }

    /// What became of the images of a set.
    #[must_use]
    pub fn images(&self, set: &KubernetesManifests) -> SetImages {
        self.images.get(&set.name).cloned().unwrap_or_default()
    }

    /// The sets with their objects, in the order in which they are applied.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &(KubernetesManifests, Vec<Object>)> {
        self.sets.iter()
    }

    /// The objects of a set.
    #[must_use]
    pub fn of(&self, set: &KubernetesManifests) -> &[Object] {
        let found = self.sets.iter().find(|(other, _)| other.name == set.name);
        found.map_or(&[], |(_, objects)| objects.as_slice())
    }

    /// What tells all their objects from others.
    #[must_use]
    pub fn ids(&self) -> Vec<ObjectId> {
        self.sets.iter().flat_map(|(_, objects)| objects).map(Object::id).collect()
    }

    /// As preflight checks look at them.
    #[must_use]
    pub fn rendered(&self) -> Vec<Rendered> {
        let rendered = |(set, objects): &(KubernetesManifests, Vec<Object>)| Rendered {
            from: format!("manifests {}", set.name),
            namespace: namespace_of(set),
            objects: objects.clone(),
        };
        self.sets.iter().map(rendered).collect()
    }

    /// Whether the cluster learns of an object's kind from these sets only.
    #[must_use]
    pub fn is_to_come(&self, object: &Object) -> bool {
        self.kinds.served(object).is_some_and(|served| served.to_come)
    }

    /// Where the API has an object.
    ///
    /// # Errors
    /// Its kind is not served.
    pub fn path(&self, object: &Object) -> Result<String, TargetError> {
        let missing = || ClusterError::Missing {
            doing: format!("looking for {}", object.id()),
            said: format!("the cluster does not serve {} of {}", object.kind(), object.api_version()),
        };
        Ok(self.kinds.path(object).ok_or_else(missing)?)
    }
}

/// The objects of files in the order in which they are applied, without their namespaces.
fn read(files: &[PlainFile], store: &Store) -> Result<Vec<Object>, TargetError> {
    let mut objects = Vec::new();
    for file in files {
        let path = store.blob_path(&file.digest);
        let bytes = store.read(&file.digest, FILE_BYTES_MAX);
        let bytes = bytes.map_err(|source| TargetError::Io { doing: "cannot read", path, source })?;
        let broken = |reason: String| TargetError::Manifest {
            digest: file.digest,
            reason: format!("{}: {reason}", file.path),
        };
        objects.extend(rendered::objects_of(file, &bytes).map_err(broken)?);
    }
    objects.sort_by_key(|object| order(object.kind()));
    Ok(objects)
}

/// For each object of a step what is to be there, or nothing if it is to be gone.
pub(super) fn desired(step: &Objects, store: &Store) -> Result<Vec<Option<Object>>, TargetError> {
    let objects = read(&step.files, store)?;
    let names = SetImages { renamed: step.images.clone(), left: step.left.clone() };
    let find = |planned: &PlannedObject| {
        if planned.change == ObjectChange::Delete {
            return Ok(None);
        }
        let is = |object: &&Object| {
            let place = object.namespace().unwrap_or(&step.namespace);
            object.api_version() == planned.api_version
                && object.kind() == planned.kind
                && object.name() == planned.name
                && planned.namespace.as_ref().is_none_or(|namespace| namespace == place)
        };
        let moved = || TargetError::Moved { name: planned.title() };
        let mut object = objects.iter().find(is).ok_or_else(moved)?.clone();
        object.set_namespace(planned.namespace.as_deref());
        Ok(Some(images::rewritten(&step.title, &object, &names)?))
    };
    step.objects.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_before_what_lives_there_and_definitions_before_what_they_define() {
        let kinds = [
            "MutatingWebhookConfiguration",
            "Widget",
            "Deployment",
            "Secret",
            "Namespace",
            "CustomResourceDefinition",
        ];
        let mut sorted = kinds;
        sorted.sort_by_key(|kind| order(kind));
        let wanted = [
            "Namespace",
            "CustomResourceDefinition",
            "Secret",
            "Widget",
            "Deployment",
            "MutatingWebhookConfiguration",
        ];
        assert_eq!(sorted, wanted);
    }
}
