//! The plan: every change, with the old value beside the new one, before anything changes. Applying makes
//! no choices and undoing needs no thought.
//!
//! *Invariant:* a plan is made from a [`VerifiedBundle`], so there is none for bytes that were not
//! checked.

mod away;
mod removal;
mod step;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use edge::show::bytes;
use manifests::bundle::{BundleDigest, Counts, Sequence};
use manifests::companion::Companion;
use manifests::inventory::{Chart, Component, FileSet, Image, Inventory, Wheelhouse};
use manifests::text::{BundleVersion, Marking, Name};
use manifests::{Descriptor, Digest, VerifiedBundle};
use serde::{Deserialize, Serialize};

use crate::charts;
use crate::cluster::Kubectl;
use crate::due::Due;
use crate::references;
use crate::retire::Leaving;
use crate::site::SiteError;
use crate::site::config::{ChangeId, HelmTarget, ImageReferences, SiteConfig};
use crate::site::ledger::{Applied, Ledger, Signer};
use crate::targets::{
    Context, TargetError, containerd, docker, files, helm, kubernetes, mirror, pushes, python, registries,
    registry,
};

pub use away::*;
pub use removal::removal;
pub use step::*;

/// The version of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlanSchema {
    /// This one.
    #[serde(rename = "airlock-plan/v1")]
    V1,
}

/// What becomes of a product.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlanKind {
    /// A bundle of it is put in place.
    #[default]
    Apply,
    /// It is taken off the site.
    Remove,
}

impl PlanKind {
    fn is_apply(&self) -> bool {
        *self == Self::Apply
    }

    /// The word for it in the log.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Remove => "remove",
        }
    }
}

/// What an apply will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What this is.
    pub schema: PlanSchema,
    /// What becomes of the product.
    #[serde(default, skip_serializing_if = "PlanKind::is_apply")]
    pub kind: PlanKind,
    /// The bundle.
    pub bundle: BundleDigest,
    /// Who publishes it.
    pub publisher: Name,
    /// Its product.
    pub product: Name,
    /// Its label.
    pub version: BundleVersion,
    /// Its order.
    pub order: Sequence,
    /// Its marking.
    pub marking: Marking,
    /// The ticket that was named for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeId>,
    /// What the site runs of this product now.
    pub from: Option<BundleVersion>,
    /// The changes, in their order.
    pub steps: Vec<Step>,
    /// What is in place already, in words.
    pub unchanged: Vec<String>,
    /// What a person has to know beside the steps, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Places that were put in place by an earlier plan and are nobody's business any more, whatever is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub released: Vec<PathBuf>,
}

/// Why a plan cannot be made. These are errors: a thing could not be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The site.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// A target.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A chart that cannot be rendered for this site.
    #[error("{chart}")]
    Chart {
        /// Which.
        chart: String,
        /// Why not.
        source: charts::ChartError,
    },
    /// The images of a chart cannot be looked for.
    #[error("{chart}")]
    References {
        /// Which.
        chart: String,
        /// Why not.
        source: references::ReferencesError,
    },
    /// There is no Helm that could render charts.
    #[error("charts cannot be rendered")]
    Helm(#[source] discovery::helm::HelmError),
}

impl edge::Classified for PlanError {
    fn exit(&self) -> edge::Exit {
        match self {
            Self::Site(error) => error.exit(),
            Self::Target(error) => error.exit(),
            Self::Chart { .. } | Self::References { .. } | Self::Helm(_) => edge::Exit::NotReady,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Site(error) => error.hint(),
            Self::Target(error) => error.hint(),
            Self::Chart { .. } | Self::References { .. } | Self::Helm(_) => {
                Some("see `targets.helm` and `values` in site.yaml".to_string())
            }
        }
    }
}

/// Makes the plan for a bundle that makes these scripts due. Looks at every target, changes nothing.
///
/// # Errors
/// A target or the site could not be looked at.
pub fn plan(
    bundle: &VerifiedBundle,
    due: &Due,
    config: &SiteConfig,
    context: &Context<'_>,
) -> Result<Plan, PlanError> {
    let manifest = bundle.manifest();
    let ledger = context.site.ledger(&manifest.publisher, &manifest.product)?;
    let mut steps = Steps { unchanged: due.unchanged.clone(), ..Steps::default() };
    steps.changes.extend(due.before.iter().cloned().map(Step::Script));
    steps.pushed(bundle, config, context)?;
    for component in &bundle.inventory().components {
        match component {
            Component::Image(image) => {
                steps.load(image, bundle, config)?;
                steps.import(image, config, context)?;
            }
            Component::Wheelhouse(wheelhouse) => {
                steps.wheelhouse(wheelhouse, bundle.digest(), config, context)?
            }
            Component::FileSet(set) => steps.file_set(set, config)?,
            Component::Chart(_) | Component::KubernetesManifests(_) | Component::Script(_) => {}
        }
    }
    steps.mirrors(bundle, config)?;
    steps.cluster(bundle, config, context)?;
    steps.retire(bundle, due, config, context)?;
    steps.remove_objects(bundle, due, config, context)?;
    steps.changes.extend(due.after.iter().cloned().map(Step::Script));
    let before_publishing = steps.changes.len();
    steps.publish(bundle, ledger.as_ref(), context)?;
    let current = ledger.as_ref().and_then(Ledger::current);
    if !steps.changes.is_empty() || current.is_none_or(|current| current.bundle != bundle.digest()) {
        steps.health(bundle, before_publishing);
        steps.record(bundle, ledger.as_ref(), context);
    }
    Ok(Plan {
        schema: PlanSchema::V1,
        kind: PlanKind::Apply,
        bundle: bundle.digest(),
        publisher: manifest.publisher.clone(),
        product: manifest.product.clone(),
        version: manifest.version.clone(),
        order: manifest.order,
        marking: manifest.marking.clone(),
        change: None,
        from: current.map(|current| current.version.clone()),
        steps: steps.changes,
        unchanged: steps.unchanged,
        notes: due
            .notes
            .iter()
            .cloned()
            .chain(of_delta(bundle.inventory()))
            .chain(
                bundle
                    .inventory()
                    .components
                    .iter()
                    .filter_map(|component| left_to_people(component, config)),
            )
            .chain(steps.notes)
            .collect(),
        released: steps.released,
    })
}

/// What this version brings to a site and does not carry out there.
fn left_to_people(component: &Component, config: &SiteConfig) -> Option<String> {
    let what = match component {
        Component::Chart(chart) if config.targets.helm.is_some() && chart.release.is_some() => return None,
        Component::Chart(_) => "installed",
        Component::KubernetesManifests(_) if config.targets.kubernetes.is_none() => "applied to a cluster",
        _ => return None,
    };
    Some(format!("{} is published here and not {what}: that is left to you", component.title()))
}

/// The step for a chart, without what is there now.
fn release(
    chart: &charts::ToInstall<'_>,
    resolved: &references::Resolved,
    target: &HelmTarget,
    config: &SiteConfig,
) -> Release {
    let rewrite = target.images == ImageReferences::Rewrite;
    let renamed = resolved.decisions.replaced.iter().filter(|_| rewrite);
    let images: Vec<RenamedImage> =
        renamed.map(|(from, to)| RenamedImage { from: from.to_string(), to: to.clone() }).collect();
    let pairs: Vec<(String, String)> =
        images.iter().map(|image| (image.from.clone(), image.to.clone())).collect();
    let values = chart.values.iter();
    let new = InstallRelease {
        title: chart.title(),
        chart: format!("{}-{}", chart.chart.name, chart.chart.version),
        archive: chart.chart.archive,
        values: values
            .map(|file| PlannedValues { content: file.content, overlay: file.overlay.clone() })
            .collect(),
        create_namespace: target.create_namespace,
        images,
        left: if rewrite { resolved.decisions.left.iter().cloned().collect() } else { Vec::new() },
        rewrite,
        mark: format!("{}{}", helm::MARK, charts::fingerprint(chart, &pairs)),
    };
    Release {
        action: ReleaseAction::Install(new),
        ..no_release(chart.release.clone(), chart.namespace.clone(), target, config)
    }
}

/// A step that takes a release away, for a cluster of `site.yaml`, without what is there now.
pub(crate) fn no_release(
    release: Name,
    namespace: String,
    target: &HelmTarget,
    config: &SiteConfig,
) -> Release {
    let kubernetes = config.targets.kubernetes.as_ref();
    Release {
        helm: target.program().to_path_buf(),
        kubeconfig: target.kubeconfig().to_path_buf(),
        context: target.context().map(ToString::to_string),
        kubectl: kubernetes.and_then(|kubernetes| kubernetes.kubectl.clone()),
        release,
        namespace,
        timeout: target.timeout,
        action: ReleaseAction::Uninstall,
        old: None,
    }
}

/// The releases that the version which is left had and the new one has not: each goes, the last first. Those that
/// are gone already are left out.
///
/// # Errors
/// Helm or the cluster cannot be asked.
pub fn releases_to_remove(
    left: &Inventory,
    new: Option<&Inventory>,
    config: &SiteConfig,
    context: &Context<'_>,
) -> Result<Vec<Release>, PlanError> {
    let Some(target) = &config.targets.helm else { return Ok(Vec::new()) };
    let of = |inventory: &Inventory| -> Vec<(i64, Name, String)> {
        let charts = inventory.components.iter().filter_map(|component| match component {
            Component::Chart(chart) => {
                let namespace = charts::namespace(chart).to_string();
                Some((chart.order, chart.release.clone()?, namespace))
            }
            _ => None,
        });
        charts.collect()
    };
    let stays: Vec<(i64, Name, String)> = new.map(of).unwrap_or_default();
    let mut goes = of(left);
    goes.retain(|(_, name, place)| !stays.iter().any(|(_, other, there)| (other, there) == (name, place)));
    goes.sort_by_key(|(order, ..)| core::cmp::Reverse(*order));
    let mut steps = Vec::new();
    for (_, name, namespace) in goes {
        let mut step = no_release(name, namespace, target, config);
        if !helm::look(&mut step, context)? {
            steps.push(step);
        }
    }
    Ok(steps)
}

/// The objects that the version which is left had in its sets of manifests and the new one has not.
///
/// # Errors
/// The cluster cannot be asked, or a file of a set is not in the store.
pub fn objects_to_remove(
    left: &Inventory,
    new: Option<&Inventory>,
    owner: &kubernetes::Owner,
    config: &SiteConfig,
    context: &Context<'_>,
) -> Result<kubernetes::Removal, PlanError> {
    let is_set = |component: &Component| matches!(component, Component::KubernetesManifests(_));
    match &config.targets.kubernetes {
        Some(target) if left.components.iter().any(is_set) => {
            Ok(kubernetes::removal(left, new, owner, target, context)?)
        }
        _ => Ok(kubernetes::Removal::default()),
    }
}

/// What the site itself had to have.
fn of_delta(inventory: &Inventory) -> Option<String> {
    inventory.delta.as_ref()?;
    let Counts { blobs, left_out, left_out_bytes, patched, .. } = inventory.counts();
    let patches = if patched > 0 { format!(", {patched} more came as patches") } else { String::new() };
    let size = bytes(left_out_bytes);
    Some(format!(
        "a delta: {left_out} of {blobs} blobs ({size}) did not travel{patches}; the site had the rest"
    ))
}

/// The blobs of what is in place already, each with a repository that has it. What the pushes of a plan have in common
/// they find by themselves.
fn held(pushes: &[Push], in_place: &[bool]) -> BTreeMap<Digest, String> {
    let mut held = BTreeMap::new();
    for (push, _) in pushes.iter().zip(in_place).filter(|(_, in_place)| **in_place) {
        for blob in &push.blobs {
            held.entry(*blob).or_insert_with(|| push.repository.clone());
        }
    }
    held
}

/// The plan while it is being made.
#[derive(Default)]
struct Steps {
    changes: Vec<Step>,
    unchanged: Vec<String>,
    notes: Vec<String>,
    pushes: Vec<Push>,
    engine: Option<docker::Facts>,
    released: Vec<PathBuf>,
}

impl Steps {
    /// What goes to the registry, first of all and next to each other: so it is pushed at once.
    fn pushed(
        &mut self,
        bundle: &VerifiedBundle,
        config: &SiteConfig,
        context: &Context<'_>,
    ) -> Result<(), PlanError> {
        for component in &bundle.inventory().components {
            match component {
                Component::Image(image) => self.image(image, config),
                Component::Chart(chart) => self.chart(chart, config),
                _ => {}
            }
        }
        let mut pushes = std::mem::take(&mut self.pushes);
        let in_place = pushes::look(&mut pushes, context)?;
        let held = held(&pushes, &in_place);
        for (mut push, in_place) in pushes.into_iter().zip(in_place) {
            for blob in push.blobs.iter().filter(|_| !in_place) {
                if let Some(other) = held.get(blob).filter(|other| **other != push.repository) {
                    push.mount_from.entry(other.clone()).or_default().push(*blob);
                }
            }
            self.add(in_place, Step::Push(push));
        }
        Ok(())
    }

    fn image(&mut self, image: &Image, config: &SiteConfig) {
        let tag = image.name.tag().map(ToString::to_string);
        let push = (format!("image {}", image.name), image.name.site_path(), tag);
        self.push(push, &image.manifest, image.blobs.clone(), &image.companions, config);
    }

    fn load(&mut self, image: &Image, bundle: &VerifiedBundle, config: &SiteConfig) -> Result<(), PlanError> {
        let Some(target) = &config.targets.docker else { return Ok(()) };
        let facts = match self.engine.take() {
            Some(facts) => facts,
            None => docker::facts(target)?,
        };
        if let Some(load) = docker::look(bundle, image, target, &facts)? {
            let in_place = if load.name.is_some() { load.old == Some(load.id) } else { load.was_there };
            self.add(in_place, Step::Load(load));
        }
        self.engine = Some(facts);
        Ok(())
    }

    fn import(&mut self, image: &Image, config: &SiteConfig, context: &Context<'_>) -> Result<(), PlanError> {
        let Some(target) = &config.targets.containerd else { return Ok(()) };
        let (in_place, import) = containerd::look(image, target, context)?;
        self.add(in_place, Step::Import(import));
        Ok(())
    }

    fn mirrors(&mut self, bundle: &VerifiedBundle, config: &SiteConfig) -> Result<(), PlanError> {
        let Some(containerd) = &config.targets.containerd else { return Ok(()) };
        let images = bundle.inventory().components.iter().filter_map(|component| match component {
            Component::Image(image) => Some(image),
            _ => None,
        });
        let images: Vec<&Image> = images.collect();
        if let Some(files) = &containerd.mirror {
            for wanted in mirror::wanted(&images, files, config) {
                let (in_place, step) = mirror::look(wanted, files)?;
                self.mirror(in_place, step);
            }
        }
        let Some(file) = &containerd.registries else { return Ok(()) };
        if let Some(looked) = registries::look(&images, file, config)? {
            if !looked.in_place {
                let path = looked.step.write.path.display();
                self.notes.push(format!(
                    "k3s reads {path} when it starts: start it anew afterwards, and after an undo"
                ));
            }
            self.mirror(looked.in_place, looked.step);
        }
        Ok(())
    }

    fn mirror(&mut self, in_place: bool, mut step: Mirror) {
        let made: Vec<PathBuf> = self.new_directories();
        step.write.new_directories.retain(|directory| !made.contains(directory));
        self.add(in_place, Step::Mirror(step));
    }

    fn chart(&mut self, chart: &Chart, config: &SiteConfig) {
        let (path, tag) = registry::chart_place(chart);
        let push = (format!("chart {}", chart.name), path, Some(tag));
        let own = [chart.manifest.digest, chart.metadata.digest, chart.archive.digest];
        let mut blobs = own.to_vec();
        blobs.extend(chart.provenance.map(|file| file.digest));
        blobs.extend(chart.companions.iter().map(|companion| companion.manifest.digest));
        blobs.extend(&chart.companion_blobs);
        self.push(push, &chart.manifest, blobs, &chart.companions, config);
    }

    fn push(
        &mut self,
        (title, path, tag): (String, String, Option<String>),
        manifest: &Descriptor,
        blobs: Vec<Digest>,
        companions: &[Companion],
        config: &SiteConfig,
    ) {
        let Some(target) = &config.targets.registry else { return };
        let repository = registry::repository(target, &path);
        let push = Push {
            url: target.url.trim_end_matches('/').to_string(),
            ca: target.ca.clone(),
            auth: target.auth,
            title,
            repository,
            tag,
            manifest: manifest.clone(),
            blobs,
            mount_from: BTreeMap::new(),
            old: None,
            was_there: false,
            companions: companions.iter().cloned().map(PushCompanion::new).collect(),
        };
        self.pushes.push(push);
    }

    /// What goes to a cluster, from the lowest `order` to the highest.
    fn cluster(
        &mut self,
        bundle: &VerifiedBundle,
        config: &SiteConfig,
        context: &Context<'_>,
    ) -> Result<(), PlanError> {
        let mut ordered: Vec<(i64, bool, Step)> = Vec::new();
        for (order, objects) in self.objects(bundle, config, context)? {
            ordered.push((order, false, Step::Objects(objects)));
        }
        for (order, mut release) in self.releases(bundle, config, context)? {
            let in_place = helm::look(&mut release, context)?;
            ordered.push((order, in_place, Step::Release(release)));
        }
        ordered.sort_by_key(|(order, ..)| *order);
        ordered.into_iter().for_each(|(_, in_place, step)| self.add(in_place, step));
        Ok(())
    }

    /// What the sets of manifests change. What is in place of them is noted.
    fn objects(
        &mut self,
        bundle: &VerifiedBundle,
        config: &SiteConfig,
        context: &Context<'_>,
    ) -> Result<Vec<(i64, Objects)>, PlanError> {
        let is_set = |component: &Component| matches!(component, Component::KubernetesManifests(_));
        let has_some = bundle.inventory().components.iter().any(is_set);
        let Some(target) = config.targets.kubernetes.as_ref().filter(|_| has_some) else {
            return Ok(Vec::new());
        };
        let cluster = Kubectl::of(target, context.env);
        let owner = kubernetes::owner(&bundle.manifest().publisher, &bundle.manifest().product);
        let sets = kubernetes::Sets::read(bundle.inventory(), &context.site.store(), &cluster)?
            .renamed(bundle, target, context)?;
        let mut steps = Vec::new();
        for (set, _) in sets.iter() {
            let looked = kubernetes::look(&sets, set, &owner, target, &cluster)?;
            let line = |image: &RenamedImage| {
                format!("manifests {}: image {} becomes {}", set.name, image.from, image.to)
            };
            self.notes.extend(looked.step.images.iter().map(line));
            self.unchanged.extend(looked.unchanged);
            if !looked.step.objects.is_empty() {
                steps.push((set.order, looked.step));
            }
        }
        Ok(steps)
    }

    /// Deletes what the version that is left had in the cluster and this one has not.
    fn remove_objects(
        &mut self,
        bundle: &VerifiedBundle,
        due: &Due,
        config: &SiteConfig,
        context: &Context<'_>,
    ) -> Result<(), PlanError> {
        let Some(left) = &due.left else { return Ok(()) };
        let owner = kubernetes::owner(&bundle.manifest().publisher, &bundle.manifest().product);
        let removal = objects_to_remove(left, Some(bundle.inventory()), &owner, config, context)?;
        self.changes.extend(removal.steps.into_iter().map(Step::Objects));
        self.notes.extend(removal.notes);
        Ok(())
    }

    /// The releases of a bundle as they shall be, with what people have to know of each.
    fn releases(
        &mut self,
        bundle: &VerifiedBundle,
        config: &SiteConfig,
        context: &Context<'_>,
    ) -> Result<Vec<(i64, Release)>, PlanError> {
        let charts = charts::to_install(bundle, config);
        let Some(target) = config.targets.helm.as_ref().filter(|_| !charts.is_empty()) else {
            return Ok(Vec::new());
        };
        let capabilities = charts::capabilities(target, context);
        let renderer = charts::Renderer::new(target, capabilities, context).map_err(PlanError::Helm)?;
        let mut releases = Vec::new();
        for (chart, overlays) in charts {
            let failed = |source| PlanError::Chart { chart: chart.title(), source };
            overlays.map_err(failed)?;
            let bare = no_release(chart.release.clone(), chart.namespace.clone(), target, config);
            let upgrade = helm::is_installed(&bare, context)?;
            let rendered = renderer.render(&chart, upgrade).map_err(failed)?;
            self.notes.extend(rendered.stays(&chart));
            let resolved = references::resolve(&rendered.text, &chart.chart.images, bundle, context)
                .map_err(|source| PlanError::References { chart: chart.title(), source })?;
            let release = release(&chart, &resolved, target, config);
            if let ReleaseAction::Install(new) = &release.action {
                let renamed = new.images.iter();
                let line = |image: &RenamedImage| {
                    format!("release {}: image {} becomes {}", release.release, image.from, image.to)
                };
                self.notes.extend(renamed.map(line));
            }
            releases.push((chart.chart.order, release));
        }
        Ok(releases)
    }

    fn wheelhouse(
        &mut self,
        wheelhouse: &Wheelhouse,
        bundle: BundleDigest,
        config: &SiteConfig,
        context: &Context<'_>,
    ) -> Result<(), PlanError> {
        let Some(target) = &config.targets.python else { return Ok(()) };
        let version = python::version(target, context)?;
        let wheels = python::choose(wheelhouse, &version).into_iter().map(PlannedWheel::of);
        let mut venv = Venv {
            name: wheelhouse.name.clone(),
            interpreter: target.interpreter.clone(),
            venv: python::place(target, &wheelhouse.name, bundle),
            link: python::link(target, &wheelhouse.name),
            old: None,
            was_complete: false,
            wheels: wheels.collect(),
        };
        let in_place = python::look(&mut venv)?;
        self.add(in_place, Step::Venv(venv));
        Ok(())
    }

    fn file_set(&mut self, set: &FileSet, config: &SiteConfig) -> Result<(), PlanError> {
        let Some(target) = &config.targets.files else { return Ok(()) };
        for file in &set.files {
            let path = files::place(target, set, file);
            let new = FileState { digest: file.digest, mode: file.mode };
            let mut write = WriteFile { path, old: None, new, new_directories: Vec::new() };
            let in_place = files::look(&mut write, &target.root)?;
            // Two files of one plan may need the same new directory; only the first makes it.
            let made: Vec<PathBuf> = self.new_directories();
            write.new_directories.retain(|directory| !made.contains(directory));
            self.add(in_place, Step::File(write));
        }
        Ok(())
    }

    /// Takes away what the version that is left had put in place and this one has not.
    fn retire(
        &mut self,
        bundle: &VerifiedBundle,
        due: &Due,
        config: &SiteConfig,
        context: &Context<'_>,
    ) -> Result<(), PlanError> {
        let manifest = bundle.manifest();
        let product = (manifest.publisher.clone(), manifest.product.clone());
        let (left, new) = (due.left.as_ref(), Some(bundle.inventory()));
        let leaving = match Leaving::of(product, left, new, config, context) {
            Ok(leaving) => leaving,
            Err(error) => {
                let unknown = crate::apply::chain(&error);
                self.notes.push(format!("nothing of the version before is taken away: {unknown}"));
                return Ok(());
            }
        };
        let retired = leaving.retire()?;
        self.changes.extend(retired.steps);
        if let Some(left) = left {
            let releases = releases_to_remove(left, new, config, context)?;
            self.changes.extend(releases.into_iter().map(Step::Release));
        }
        self.notes.extend(retired.notes);
        self.released.extend(retired.released);
        Ok(())
    }

    fn new_directories(&self) -> Vec<PathBuf> {
        let of = |step: &Step| match step {
            Step::File(file) => file.new_directories.clone(),
            Step::Mirror(mirror) => mirror.write.new_directories.clone(),
            _ => Vec::new(),
        };
        self.changes.iter().flat_map(of).collect()
    }

    /// Where everything is in place already nothing is checked: there would be nothing to take back.
    fn health(&mut self, bundle: &VerifiedBundle, at: usize) {
        let manifest = bundle.manifest();
        let checks = bundle.inventory().health.iter().map(|check| {
            Step::Health(HealthStep {
                bundle: bundle.digest(),
                product: manifest.product.clone(),
                version: manifest.version.clone(),
                check: check.clone(),
            })
        });
        self.changes.splice(at..at, checks);
    }

    /// The newest first; what was shown before stays behind it, but for versions that are gone back from:
    /// somebody who asks for the newest would still get those.
    fn publish(
        &mut self,
        bundle: &VerifiedBundle,
        ledger: Option<&Ledger>,
        context: &Context<'_>,
    ) -> Result<(), PlanError> {
        let (digest, order) = (bundle.digest(), bundle.manifest().order);
        let left: BTreeSet<BundleDigest> = ledger
            .iter()
            .flat_map(|ledger| &ledger.applied)
            .filter(|applied| applied.order > order)
            .map(|applied| applied.bundle)
            .collect();
        let old = context.site.published()?;
        let mut new = vec![digest];
        new.extend(old.iter().copied().filter(|shown| *shown != digest && !left.contains(shown)));
        let in_place = old == new;
        self.add(in_place, Step::Publish(Publish { old, new }));
        Ok(())
    }

    fn record(&mut self, bundle: &VerifiedBundle, before: Option<&Ledger>, context: &Context<'_>) {
        let manifest = bundle.manifest();
        let applied = Applied {
            bundle: bundle.digest(),
            version: manifest.version.clone(),
            order: manifest.order,
            marking: manifest.marking.clone(),
            created: manifest.created,
            time: context.env.clock.now(),
            root_version: bundle.root_version(),
            signers: Signer::of(bundle.signatures()),
            removed: None,
        };
        let new = Ledger::with(before, &manifest.publisher, &manifest.product, applied);
        self.changes.push(Step::Record(Record { old: before.cloned(), new }));
    }

    fn add(&mut self, in_place: bool, step: Step) {
        if in_place {
            self.unchanged.push(format!("{}: {}", step.target(), step.subject()))
        } else {
            self.changes.push(step)
        }
    }
}
