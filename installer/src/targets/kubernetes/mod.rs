//! Kubernetes manifests: each object is applied on the server's side under one field manager, waited for, and
//! taken back by what was kept of it. What the version that is left had, and this one has not, is deleted.
//!
//! How it goes follows Server-Side Apply of the Kubernetes API reference. *It may never*
//! - take a field that somebody else manages, or change what another product has marked, without `force`;
//! - delete what it has not made itself: such objects carry [`OWNER`], and nothing else is deleted;
//! - delete what holds data or what belongs to others: [`stays`] names those kinds;
//! - show a value of an object. What was there is kept in files that only their owner can read.

mod images;
mod live;
mod restore;
pub mod rollout;
mod set;

use std::path::Path;
use std::time::Duration;

use edge::Env;
use manifests::VerifiedBundle;
use manifests::inventory::Inventory;
use manifests::kubernetes::KubernetesManifests;
use manifests::text::Name;
use serde_json::Value;

use super::{Context, TargetError};
use crate::cluster::{Application, Cluster, ClusterError, Kubectl};
use crate::plan::{ObjectChange, Objects, OldObject, PlannedObject};
use crate::rendered::{Object, ObjectId};
use crate::site::config::KubernetesTarget;

pub use images::SetImages;
pub(crate) use live::owner_of;
pub use live::{Drift, Owner};
pub use set::{Sets, order};

/// The annotation that says whose an object is: `PUBLISHER/PRODUCT`. Only objects that came with a bundle have
/// it; one that was there before gets none, and so is never deleted.
pub const OWNER: &str = "airlock/product";

/// How often a cluster is asked whether something has come, or gone.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a cluster may take to serve a kind whose definition it has accepted.
const KIND_LIMIT: Duration = Duration::from_secs(30);

/// As publisher and product are written in [`OWNER`].
#[must_use]
pub fn owner(publisher: &Name, product: &Name) -> Owner {
    Owner(format!("{publisher}/{product}"))
}

/// Whether objects of this kind stay when a version without them comes: deleting them deletes data, or what
/// others have put there.
#[must_use]
pub fn stays(group: &str, kind: &str) -> bool {
    matches!(
        (group, kind),
        ("", "Namespace" | "PersistentVolume" | "PersistentVolumeClaim")
            | ("apiextensions.k8s.io", "CustomResourceDefinition")
    )
}

/// A step for what a set changes, and what is in place already.
#[derive(Debug)]
pub struct Looked {
    /// Without objects if everything is in place.
    pub step: Objects,
    /// In words.
    pub unchanged: Vec<String>,
}

/// Compares one set with the cluster.
///
/// # Errors
/// The cluster cannot be asked.
pub fn look(
    sets: &Sets,
    set: &KubernetesManifests,
    owner: &Owner,
    target: &KubernetesTarget,
    cluster: &dyn Cluster,
) -> Result<Looked, TargetError> {
    let (mut objects, mut unchanged) = (Vec::new(), Vec::new());
    for object in sets.of(set) {
        let (planned, in_place) = look_at(sets, object, owner, target, cluster)?;
        if in_place {
            unchanged.push(format!("kubernetes: {}", planned.title()));
        } else {
            objects.push(planned);
        }
    }
    let images = sets.images(set);
    let step = Objects {
        images: images.renamed,
        left: images.left,
        title: format!("manifests {}", set.name),
        cluster: target.clone(),
        owner: owner.0.clone(),
        namespace: set::namespace_of(set),
        files: set.files.clone(),
        objects,
    };
    Ok(Looked { step, unchanged })
}

fn look_at(
    sets: &Sets,
    object: &Object,
    owner: &Owner,
    target: &KubernetesTarget,
    cluster: &dyn Cluster,
) -> Result<(PlannedObject, bool), TargetError> {
    let path = sets.path(object)?;
    let now = if sets.is_to_come(object) { None } else { cluster.get(&path)? };
    let old = now.as_ref().map(|now| owner.of(now));
    let in_place = match &now {
        None => false,
        Some(now) => {
            let desired = owner.marked(object, old.as_ref());
            live::is_as(cluster, &path, now.clone(), &desired, target.force)?
        }
    };
    let planned = PlannedObject {
        api_version: object.api_version().to_string(),
        kind: object.kind().to_string(),
        namespace: object.namespace().map(ToString::to_string),
        name: object.name().to_string(),
        path,
        change: ObjectChange::Apply,
        old,
    };
    Ok((planned, in_place))
}

/// Waits, and tells whether there is time for it.
pub(crate) struct Patience<'a> {
    env: &'a Env,
    end: Duration,
}

impl<'a> Patience<'a> {
    pub(crate) fn new(env: &'a Env, limit: Duration) -> Self {
        Self { env, end: env.clock.monotonic().saturating_add(limit) }
    }

    fn of(step: &Objects, env: &'a Env) -> Self {
        Self::new(env, Duration::from_secs(step.cluster.within.seconds()))
    }

    /// `false` once the time is over.
    pub(crate) fn pause(&self) -> bool {
        if self.env.clock.monotonic() >= self.end {
            return false;
        }
        std::thread::sleep(PAUSE);
        true
    }
}

/// Applies or deletes the objects of a step, and waits until the workloads among them run.
///
/// # Errors
/// The cluster refuses one; an object is another one than when the plan was made; a workload does not get
/// ready in time.
pub fn perform(step: &Objects, kept: &Path, context: &Context<'_>) -> Result<(), TargetError> {
    let cluster = Kubectl::of(&step.cluster, context.env);
    let desired = set::desired(step, &context.site.store())?;
    for (planned, object) in step.objects.iter().zip(&desired) {
        restore::keep(planned, &cluster, kept)?;
        match object {
            Some(object) => apply(step, planned, object, &cluster, context.env)?,
            None => delete(step, planned, &cluster, context.env)?,
        }
    }
    rollout::wait(step, &cluster, &Patience::of(step, context.env))
}

fn apply(
    step: &Objects,
    planned: &PlannedObject,
    object: &Object,
    cluster: &dyn Cluster,
    env: &Env,
) -> Result<(), TargetError> {
    let desired = Owner(step.owner.clone()).marked(object, planned.old.as_ref());
    let how = Application { dry_run: false, force: step.cluster.force };
    let patience = Patience::new(env, KIND_LIMIT);
    loop {
        match cluster.apply(&desired, how) {
            Ok(_) => break,
            // A kind is served a moment after its definition says so.
            Err(ClusterError::Missing { said, .. })
                if said.contains("no matches for kind") && patience.pause() => {}
            Err(error) => return Err(error.into()),
        }
    }
    rollout::wait_for_definition(planned, cluster, &Patience::of(step, env))
}

fn delete(
    step: &Objects,
    planned: &PlannedObject,
    cluster: &dyn Cluster,
    env: &Env,
) -> Result<(), TargetError> {
    let Some(old) = &planned.old else { return Ok(()) };
    restore::delete(planned, &old.uid, cluster, &Patience::of(step, env))
}

/// Takes a step back: what was not there is deleted, what was there is put back as it was kept. The rest is
/// taken back even if one object cannot be.
///
/// # Errors
/// Some could not be; they are listed.
pub fn undo(step: &Objects, kept: &Path, context: &Context<'_>) -> Result<(), TargetError> {
    let cluster = Kubectl::of(&step.cluster, context.env);
    let owner = Owner(step.owner.clone());
    let (mut stuck, mut may_pass) = (Vec::new(), false);
    for planned in step.objects.iter().rev() {
        let patience = Patience::of(step, context.env);
        if let Err(error) = restore::undo(planned, &owner, &cluster, kept, &patience) {
            may_pass |= error.may_pass();
            stuck.push(format!("{}: {}", planned.title(), crate::apply::chain(&error)));
        }
    }
    if stuck.is_empty() { Ok(()) } else { Err(TargetError::NotRestored { objects: stuck, may_pass }) }
}

/// Whether everything is as the step wants it.
///
/// # Errors
/// The cluster cannot be asked.
pub fn is_new(step: &Objects, context: &Context<'_>) -> Result<bool, TargetError> {
    let cluster = Kubectl::of(&step.cluster, context.env);
    let desired = set::desired(step, &context.site.store())?;
    for (planned, object) in step.objects.iter().zip(&desired) {
        let now = cluster.get(&planned.path)?;
        let done = match (object, now) {
            (Some(object), Some(now)) => {
                let desired = Owner(step.owner.clone()).marked(object, planned.old.as_ref());
                live::is_as(&cluster, &planned.path, now, &desired, step.cluster.force)?
            }
            (Some(_), None) => false,
            (None, now) => now.as_ref().map(live::uid) != planned.old.as_ref().map(|old| old.uid.as_str()),
        };
        if !done {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What of an earlier version has to go because a later one, or none, takes its place.
#[derive(Debug, Default)]
pub struct Removal {
    /// One step for each set, the last applied first; none without objects.
    pub steps: Vec<Objects>,
    /// What stays, and why, in words.
    pub notes: Vec<String>,
}

/// Compares what the version that is left had with what stays, and with the cluster. Nothing stays where a product
/// goes.
///
/// # Errors
/// The cluster cannot be asked, or the store has lost a file of the set.
pub fn removal(
    left: &Inventory,
    staying: Option<&Inventory>,
    owner: &Owner,
    target: &KubernetesTarget,
    context: &Context<'_>,
) -> Result<Removal, TargetError> {
    let cluster = Kubectl::of(target, context.env);
    let store = context.site.store();
    let stay: Vec<ObjectId> = match staying {
        Some(staying) => Sets::read(staying, &store, &cluster)?.ids(),
        None => Vec::new(),
    };
    let sets = Sets::read(left, &store, &cluster)?;
    let mut removal = Removal::default();
    for (set, objects) in sets.iter().rev() {
        let mut gone = Vec::new();
        for object in objects.iter().rev().filter(|object| !stay.contains(&object.id())) {
            gone.extend(remove(&sets, object, owner, &cluster, &mut removal.notes)?);
        }
        if !gone.is_empty() {
            removal.steps.push(Objects {
                title: format!("manifests {}", set.name),
                cluster: target.clone(),
                owner: owner.0.clone(),
                namespace: set::namespace_of(set),
                files: Vec::new(),
                images: Vec::new(),
                left: Vec::new(),
                objects: gone,
            });
        }
    }
    Ok(removal)
}

fn remove(
    sets: &Sets,
    object: &Object,
    owner: &Owner,
    cluster: &dyn Cluster,
    notes: &mut Vec<String>,
) -> Result<Option<PlannedObject>, TargetError> {
    // A kind that is served no more has no objects; one that only the set defines has none yet.
    if sets.is_to_come(object) {
        return Ok(None);
    }
    let Ok(path) = sets.path(object) else { return Ok(None) };
    let Some(now) = cluster.get(&path)? else { return Ok(None) };
    let old = owner.of(&now);
    let id = object.id();
    if stays(&id.group, &id.kind) {
        notes.push(format!("{id} stays: deleting it would delete data, or what others have there"));
        return Ok(None);
    }
    if !old.ours {
        notes.push(format!("{id} stays: it did not come with {}", owner.0));
        return Ok(None);
    }
    Ok(Some(PlannedObject {
        api_version: object.api_version().to_string(),
        kind: id.kind,
        namespace: id.namespace,
        name: id.name,
        path,
        change: ObjectChange::Delete,
        old: Some(old),
    }))
}

/// Whether what runs is what was shipped, for each object of a version that is in place.
///
/// # Errors
/// The cluster cannot be asked, or the store has lost a file of a set.
pub fn drift(
    shipped: &VerifiedBundle,
    owner: &Owner,
    target: &KubernetesTarget,
    context: &Context<'_>,
) -> Result<Vec<(ObjectId, Drift)>, TargetError> {
    let cluster = Kubectl::of(target, context.env);
    let sets = Sets::read(shipped.inventory(), &context.site.store(), &cluster)?;
    let sets = sets.renamed(shipped, target, context)?;
    let mut found = Vec::new();
    for (_, objects) in sets.iter() {
        for object in objects {
            let path = sets.path(object)?;
            let now = if sets.is_to_come(object) { None } else { cluster.get(&path)? };
            found.push((object.id(), live::drift(&cluster, &path, now, object, owner)?));
        }
    }
    Ok(found)
}

impl Owner {
    /// What an object that is there is to this owner.
    #[must_use]
    pub fn of(&self, now: &Value) -> OldObject {
        OldObject { uid: live::uid(now).to_string(), ours: live::owner_of(now) == Some(&self.0) }
    }

    /// The object as it is applied: marked, unless it was there without being ours.
    #[must_use]
    pub fn marked(&self, object: &Object, old: Option<&OldObject>) -> Object {
        let mut object = object.clone();
        if old.is_none_or(|old| old.ours) {
            object.annotate(OWNER, &self.0);
        }
        object
    }
}
