//! `cluster/…`: whether a Kubernetes cluster can take what a bundle brings it, from plain manifests and from
//! charts alike. Everything is asked, whatever was found before, unless nobody answers at all.
//!
//! A check that is not allowed to look says so, as a warning: what it would have found is not known. *It may
//! never* change anything (reviews and dry runs leave nothing behind), nor show a value of a Secret.

mod access;
mod apis;
mod capacity;
mod namespaces;
mod objects;
mod pods;
mod quantity;
mod quota;
mod secrets;
mod storage;

use std::collections::{BTreeMap, BTreeSet};

use manifests::inventory::Component;
use manifests::requires::Requires;
use manifests::{Inventory, VerifiedBundle};
use serde_json::Value;

use super::Finding;
use crate::apply::chain;
use crate::charts;
use crate::cluster::kinds::{Kinds, collection};
use crate::cluster::{Cluster, ClusterError, Kubectl, items};
use crate::rendered::{Object, ObjectId, Rendered};
use crate::site::config::SiteConfig;
use crate::targets::kubernetes::{Sets, owner};
use crate::targets::{Context, TargetError};

/// What a chart's release adds to what is looked at.
#[derive(Debug, Clone)]
pub struct ReleasePlace {
    /// Its namespace.
    pub namespace: String,
    /// Whether the namespace is made if it is not there.
    pub creates: bool,
}

/// What is brought to a cluster, and what it has to be like.
pub struct Wanted<'a> {
    /// The objects, with the namespaces that they will have.
    pub rendered: Vec<Rendered>,
    /// Which kinds are served.
    pub kinds: Kinds,
    /// What the bundle says that it requires.
    pub requires: &'a Requires,
    /// Percent of a limit that may be used up.
    pub headroom: u8,
    /// Where Helm will keep what it knows of releases.
    pub releases: Vec<ReleasePlace>,
}

impl<'a> Wanted<'a> {
    /// Asks the cluster which kinds it serves, and gives each object its namespace.
    ///
    /// # Errors
    /// The cluster cannot be asked.
    pub fn new(
        mut rendered: Vec<Rendered>,
        requires: &'a Requires,
        releases: Vec<ReleasePlace>,
        headroom: u8,
        cluster: &dyn Cluster,
    ) -> Result<Self, ClusterError> {
        let objects = rendered.iter().flat_map(|set| &set.objects);
        let mut kinds = Kinds::of(cluster, COUNTED.iter().map(|(version, _)| *version))?;
        kinds.extend(Kinds::for_objects(cluster, objects)?);
        for set in &mut rendered {
            let namespace = set.namespace.clone();
            set.objects.iter_mut().for_each(|object| kinds.place(object, &namespace));
        }
        Ok(Self { rendered, kinds, requires, headroom, releases })
    }

    /// All objects.
    fn objects(&self) -> impl Iterator<Item = &Object> + Clone {
        self.rendered.iter().flat_map(|set| &set.objects)
    }

    /// Whether an object of this kind and name is brought along.
    fn brings(&self, kind: &str, namespace: Option<&str>, name: &str) -> bool {
        self.objects()
            .any(|object| object.kind() == kind && object.name() == name && object.namespace() == namespace)
    }

    /// Every namespace that an object goes into, or a release.
    fn namespaces(&self) -> BTreeSet<&str> {
        let of_objects = self.objects().filter_map(Object::namespace);
        of_objects.chain(self.releases.iter().map(|release| release.namespace.as_str())).collect()
    }

    /// What is in place now of the objects that count against limits: `None` for each that is new.
    fn now(&self, cluster: &dyn Cluster) -> Result<BTreeMap<ObjectId, Object>, ClusterError> {
        let mut now = BTreeMap::new();
        let counts = |object: &&Object| {
            object.pod_spec().is_some()
                || COUNTED.contains(&(object.api_version(), object.kind()))
                || !pods::claims(object).is_empty()
        };
        for object in self.objects().filter(counts) {
            if let Some(path) = self.kinds.path(object)
                && let Some(found) = cluster.get(&path)?.and_then(Object::new)
            {
                now.insert(object.id(), found);
            }
        }
        Ok(now)
    }
}

/// Kinds without pods that quotas count, and that checks list.
const COUNTED: [(&str, &str); 4] =
    [("v1", "Service"), ("v1", "Secret"), ("v1", "ConfigMap"), ("v1", "PersistentVolumeClaim")];

/// Whether a bundle has anything to do with a cluster.
#[must_use]
pub fn concerns(inventory: &Inventory) -> bool {
    let goes_there =
        |component: &Component| matches!(component, Component::KubernetesManifests(_) | Component::Chart(_));
    inventory.components.iter().any(goes_there) || inventory.requires.needs_cluster()
}

/// Looks at the cluster of a site for a bundle: for its sets of manifests, and for what its charts render to.
#[must_use]
pub fn check(bundle: &VerifiedBundle, config: &SiteConfig, context: &Context<'_>) -> Vec<Finding> {
    let Some(target) = config.targets.cluster() else {
        return apis::no_cluster(&bundle.inventory().requires).into_iter().collect();
    };
    if !concerns(bundle.inventory()) {
        return Vec::new();
    }
    let cluster = Kubectl::of(&target, context.env);
    let (mut findings, is_there) = apis::reachable(&cluster, &bundle.inventory().requires);
    if is_there {
        findings.extend(look(bundle, config, &cluster, context).unwrap_or_else(|finding| vec![finding]));
    }
    findings
}

fn look(
    bundle: &VerifiedBundle,
    config: &SiteConfig,
    cluster: &Kubectl<'_>,
    context: &Context<'_>,
) -> Result<Vec<Finding>, Finding> {
    let read = || Sets::read(bundle.inventory(), &context.site.store(), cluster);
    let renamed = |target, sets: Sets| sets.renamed(bundle, target, context);
    let applied = match &config.targets.kubernetes {
        Some(target) => {
            let sets = read().and_then(|sets| renamed(target, sets));
            Some((target, sets.map_err(|error| unreadable(&error))?))
        }
        None => None,
    };
    let mut rendered = applied.as_ref().map(|(_, sets)| sets.rendered()).unwrap_or_default();
    let mut releases = Vec::new();
    if let Some(helm) = &config.targets.helm {
        rendered.extend(charts::rendered(bundle, context));
        let places = charts::to_install(bundle, config).into_iter();
        releases.extend(places.map(|(chart, _)| ReleasePlace {
            namespace: chart.namespace.to_string(),
            creates: helm.create_namespace,
        }));
    }
    let requires = &bundle.inventory().requires;
    let headroom = config.preflight.headroom.get();
    let wanted = Wanted::new(rendered, requires, releases, headroom, cluster)
        .map_err(|error| blind("cluster/apis", "kinds that the cluster serves", &error))?;
    let mut findings = on(cluster, &wanted);
    if let Some((target, sets)) = &applied {
        let owner = owner(&bundle.manifest().publisher, &bundle.manifest().product);
        findings.extend(objects::check(cluster, sets, &owner, target));
    }
    Ok(findings)
}

/// Everything that is asked of a cluster that answers.
#[must_use]
pub fn on(cluster: &dyn Cluster, wanted: &Wanted<'_>) -> Vec<Finding> {
    let mut findings = apis::served(cluster, wanted);
    findings.extend(namespaces::check(cluster, wanted));
    findings.extend(access::check(cluster, wanted));
    findings.extend(secrets::check(cluster, wanted));
    findings.extend(storage::check(cluster, wanted));
    match wanted.now(cluster) {
        Ok(now) => {
            findings.extend(quota::check(cluster, wanted, &now));
            findings.extend(capacity::check(cluster, wanted, &now));
        }
        Err(error) => {
            findings.push(blind("cluster/quota", "what is in place now, to count what is new", &error))
        }
    }
    findings
}

fn unreadable(error: &TargetError) -> Finding {
    Finding::fail(
        "cluster/objects",
        chain(error),
        "manifests that can be read, and a cluster that says which kinds it serves",
        "ask the sender, or whoever runs the cluster",
    )
}

/// A check could not look: a warning where we are not allowed to, and a fail where nobody answers.
fn blind(id: &'static str, what: &str, error: &ClusterError) -> Finding {
    let remedy = edge::Classified::hint(error)
        .unwrap_or_else(|| "look there with `kubectl`, as the user of the kubeconfig".to_string());
    match error {
        ClusterError::Forbidden { .. } => Finding::warn(
            id,
            format!("nobody may look here: {error}"),
            format!("{what}: not looked at"),
            "let this user get and list them, or have somebody look who may",
        ),
        error => Finding::fail(id, chain(error), what, remedy),
    }
}

/// All objects of a kind, of one namespace or of all.
fn list(
    cluster: &dyn Cluster,
    api_version: &str,
    plural: &str,
    namespace: Option<&str>,
) -> Result<Vec<Value>, ClusterError> {
    Ok(items(cluster.get(&collection(api_version, plural, namespace))?))
}

fn name_of(object: &Value) -> &str {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

/// Several names in a line.
fn listed<I: IntoIterator<Item = S>, S: AsRef<str>>(names: I) -> String {
    const NAMED_MAX: usize = 8;
    let names: Vec<S> = names.into_iter().collect();
    let mut text = names.iter().take(NAMED_MAX).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    if names.len() > NAMED_MAX {
        text.push_str(&format!(" and {} more", names.len().saturating_sub(NAMED_MAX)));
    }
    manifests::text::printable(&text)
}

#[cfg(test)]
mod tests;
