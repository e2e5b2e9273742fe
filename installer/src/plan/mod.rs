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

use manifests::bundle::{BundleDigest, Sequence};
use manifests::companion::Companion;
use manifests::inventory::{Chart, Component, FileSet, Image, Wheelhouse};
use manifests::text::{BundleVersion, Marking, Name};
use manifests::{Descriptor, Digest, VerifiedBundle};
use serde::{Deserialize, Serialize};

use crate::due::Due;
use crate::retire::Leaving;
use crate::site::SiteError;
use crate::site::config::SiteConfig;
use crate::site::ledger::{Applied, Ledger, Signer};
use crate::targets::{Context, TargetError, containerd, docker, files, mirror, python, registry};

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
}

impl edge::Classified for PlanError {
    fn exit(&self) -> edge::Exit {
        match self {
            Self::Site(error) => error.exit(),
            Self::Target(error) => error.exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Site(error) => error.hint(),
            Self::Target(error) => error.hint(),
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
    for component in &bundle.inventory().components {
        match component {
            Component::Image(image) => {
                steps.image(image, config, context)?;
                steps.load(image, bundle, config)?;
                steps.import(image, config, context)?;
            }
            Component::Chart(chart) => steps.chart(chart, config, context)?,
            Component::Wheelhouse(wheelhouse) => {
                steps.wheelhouse(wheelhouse, bundle.digest(), config, context)?
            }
            Component::FileSet(set) => steps.file_set(set, config)?,
            Component::KubernetesManifests(_) | Component::Script(_) => {}
        }
    }
    steps.mirrors(bundle, config)?;
    steps.retire(bundle, due, config, context)?;
    steps.changes.extend(due.after.iter().cloned().map(Step::Script));
    steps.publish(bundle, ledger.as_ref(), context)?;
    let current = ledger.as_ref().and_then(Ledger::current);
    if !steps.changes.is_empty() || current.is_none_or(|current| current.bundle != bundle.digest()) {
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
        from: current.map(|current| current.version.clone()),
        steps: steps.changes,
        unchanged: steps.unchanged,
        notes: due
            .notes
            .iter()
            .cloned()
            .chain(bundle.inventory().components.iter().filter_map(left_to_people))
            .chain(steps.notes)
            .collect(),
        released: steps.released,
    })
}

/// What this version brings to a site and does not carry out there.
fn left_to_people(component: &Component) -> Option<String> {
    let what = match component {
        Component::Chart(_) => "installed",
        Component::KubernetesManifests(_) => "applied to a cluster",
        _ => return None,
    };
    Some(format!("{} is published here and not {what}: that is left to you", component.title()))
}

/// The plan while it is being made.
#[derive(Default)]
struct Steps {
    changes: Vec<Step>,
    unchanged: Vec<String>,
    pushed: Vec<(String, Vec<Digest>)>,
    engine: Option<docker::Facts>,
    notes: Vec<String>,
    released: Vec<PathBuf>,
}

impl Steps {
    fn image(&mut self, image: &Image, config: &SiteConfig, context: &Context<'_>) -> Result<(), PlanError> {
        let tag = image.name.tag().map(ToString::to_string);
        let push = (format!("image {}", image.name), image.name.site_path(), tag);
        self.push(push, &image.manifest, image.blobs.clone(), &image.companions, config, context)
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
        let files = config.targets.containerd.as_ref().and_then(|containerd| containerd.mirror.as_ref());
        let Some(files) = files else { return Ok(()) };
        let images = bundle.inventory().components.iter().filter_map(|component| match component {
            Component::Image(image) => Some(image),
            _ => None,
        });
        for wanted in mirror::wanted(&images.collect::<Vec<_>>(), files, config) {
            let (in_place, mut step) = mirror::look(wanted, files)?;
            let made: Vec<PathBuf> = self.new_directories();
            step.write.new_directories.retain(|directory| !made.contains(directory));
            self.add(in_place, Step::Mirror(step));
        }
        Ok(())
    }

    fn chart(&mut self, chart: &Chart, config: &SiteConfig, context: &Context<'_>) -> Result<(), PlanError> {
        let (path, tag) = registry::chart_place(chart);
        let push = (format!("chart {}", chart.name), path, Some(tag));
        let own = [chart.manifest.digest, chart.metadata.digest, chart.archive.digest];
        let mut blobs = own.to_vec();
        blobs.extend(chart.provenance.map(|file| file.digest));
        blobs.extend(chart.companions.iter().map(|companion| companion.manifest.digest));
        blobs.extend(&chart.companion_blobs);
        self.push(push, &chart.manifest, blobs, &chart.companions, config, context)
    }

    fn push(
        &mut self,
        (title, path, tag): (String, String, Option<String>),
        manifest: &Descriptor,
        blobs: Vec<Digest>,
        companions: &[Companion],
        config: &SiteConfig,
        context: &Context<'_>,
    ) -> Result<(), PlanError> {
        let Some(target) = &config.targets.registry else { return Ok(()) };
        let repository = registry::repository(target, &path);
        let mut mount_from = BTreeMap::new();
        for (other, theirs) in self.pushed.iter().filter(|(other, _)| *other != repository) {
            let shared: Vec<Digest> =
                theirs.iter().filter(|digest| blobs.contains(digest)).copied().collect();
            if !shared.is_empty() {
                mount_from.insert(other.clone(), shared);
            }
        }
        let mut push = Push {
            url: target.url.trim_end_matches('/').to_string(),
            ca: target.ca.clone(),
            auth: target.auth,
            title,
            repository,
            tag,
            manifest: manifest.clone(),
            blobs,
            mount_from,
            old: None,
            was_there: false,
            companions: companions.iter().cloned().map(PushCompanion::new).collect(),
        };
        let in_place = registry::look(&mut push, context)?;
        self.pushed.push((push.repository.clone(), push.blobs.clone()));
        self.add(in_place, Step::Push(push));
        Ok(())
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
        let chosen = python::choose(wheelhouse, &version);
        let wheels = chosen.into_iter().map(|wheel| PlannedWheel {
            filename: wheel.filename.clone(),
            project: wheel.project.clone(),
            version: wheel.version.clone(),
            digest: wheel.digest,
        });
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
