//! The plan: every change, with the old value beside the new one, before anything changes. Applying makes
//! no choices and undoing needs no thought.
//!
//! *Invariant:* a plan is made from a [`VerifiedBundle`], so there is none for bytes that were not
//! checked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use manifests::bundle::{BundleDigest, Sequence};
use manifests::companion::{self, Companion, CompanionKind};
use manifests::inventory::{Chart, Component, FileMode, FileSet, Image, Wheelhouse};
use manifests::script::{Script, ScriptFile, Undo};
use manifests::text::{BundleVersion, FileName, Marking, Name, PackageVersion};
use manifests::{Descriptor, Digest, VerifiedBundle};
use serde::{Deserialize, Serialize};

use crate::due::Due;
use crate::site::SiteError;
use crate::site::config::SiteConfig;
use crate::site::ledger::{Applied, Ledger, Signer};
use crate::targets::{Context, TargetError, files, python, registry};

/// The version of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlanSchema {
    /// This one.
    #[serde(rename = "airlock-plan/v1")]
    V1,
}

/// What an apply will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What this is.
    pub schema: PlanSchema,
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
}

/// One change, with what it takes to take it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// Push an image or a chart to the site registry.
    Push(Push),
    /// Make a virtual environment and switch to it.
    Venv(Venv),
    /// Write a file.
    File(WriteFile),
    /// Run a script.
    Script(RunScript),
    /// Show the bundle in the embedded server.
    Publish(Publish),
    /// Write down that it was applied.
    Record(Record),
}

/// Push an image or a chart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Push {
    /// What people call it.
    pub title: String,
    /// The registry: an undo is for this one, whatever `site.yaml` names by then.
    pub url: String,
    /// The repository's path on the registry.
    pub repository: String,
    /// The tag, if the image has one.
    pub tag: Option<String>,
    /// The manifest or index.
    pub manifest: Descriptor,
    /// Every blob that belongs to it.
    pub blobs: Vec<Digest>,
    /// Repositories of earlier steps that hold some of them by then, each with those it holds.
    pub mount_from: BTreeMap<String, Vec<Digest>>,
    /// What the tag names now.
    pub old: Option<Digest>,
    /// Whether the repository has the manifest already.
    pub was_there: bool,
    /// What goes beside it in the repository.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub companions: Vec<PushCompanion>,
}

/// A companion of an image or chart that is pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushCompanion {
    /// Its tag and manifest.
    pub companion: Companion,
    /// What the tag names now.
    pub old: Option<Digest>,
    /// Whether the repository has the manifest already.
    pub was_there: bool,
    /// Whether the registry lists it as a referrer of what it speaks about already.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub was_listed: bool,
}

impl PushCompanion {
    fn new(companion: Companion) -> Self {
        Self { companion, old: None, was_there: false, was_listed: false }
    }

    /// What it is a referrer of, if it is one.
    #[must_use]
    pub fn subject(&self) -> Option<Digest> {
        (self.companion.kind == CompanionKind::Referrer).then_some(self.companion.of)
    }
}

/// One manifest of a push, the name that it gets, and what was found there.
#[derive(Debug)]
pub struct Placing<'a> {
    /// The tag, if it gets one.
    pub tag: Option<String>,
    /// The manifest.
    pub manifest: &'a Descriptor,
    /// What the tag named.
    pub old: Option<Digest>,
    /// Whether the repository had the manifest.
    pub was_there: bool,
    /// Whose referrer it is.
    pub about: Option<Digest>,
    /// Whether the registry listed it as one.
    pub was_listed: bool,
}

impl Placing<'_> {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        match (&self.tag, &self.about) {
            (Some(_), _) => self.old == Some(self.manifest.digest),
            (None, Some(_)) => self.was_there && self.was_listed,
            (None, None) => self.was_there,
        }
    }
}

impl Push {
    /// The image or chart itself.
    #[must_use]
    pub fn own(&self) -> Placing<'_> {
        Placing {
            tag: self.tag.clone(),
            manifest: &self.manifest,
            old: self.old,
            was_there: self.was_there,
            about: None,
            was_listed: false,
        }
    }

    /// What goes beside it, in the order of its tags.
    pub fn beside(&self) -> impl Iterator<Item = Placing<'_>> {
        self.companions.iter().map(|beside| Placing {
            tag: beside.companion.tag(),
            manifest: &beside.companion.manifest,
            old: beside.old,
            was_there: beside.was_there,
            about: beside.subject(),
            was_listed: beside.was_listed,
        })
    }

    /// `, +2 signatures`, and how many of them push others away.
    fn beside_in_words(&self) -> String {
        let companions = self.companions.iter().map(|beside| &beside.companion);
        let Some(count) = companion::count(companions) else { return String::new() };
        let replaces = |placing: &Placing<'_>| placing.old.is_some_and(|old| old != placing.manifest.digest);
        match self.beside().filter(replaces).count() {
            0 => format!(", +{count}"),
            others => format!(", +{count}, {others} in place of others"),
        }
    }

    /// Everything that the repository gets a name for, in the order in which it gets them: whoever sees the
    /// image's tag finds its signatures.
    #[must_use]
    pub fn placings(&self) -> Vec<Placing<'_>> {
        self.beside().chain([self.own()]).collect()
    }
}

/// Make a virtual environment and switch to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Venv {
    /// The wheelhouse.
    pub name: Name,
    /// What makes the environment.
    pub interpreter: PathBuf,
    /// The new environment.
    pub venv: PathBuf,
    /// The link that names the one in use.
    pub link: PathBuf,
    /// Where the link points now.
    pub old: Option<PathBuf>,
    /// Whether the new environment is there already, complete.
    pub was_complete: bool,
    /// What is installed.
    pub wheels: Vec<PlannedWheel>,
}

/// One wheel of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedWheel {
    /// Its file name.
    pub filename: FileName,
    /// Its project.
    pub project: Name,
    /// Its version.
    pub version: PackageVersion,
    /// Its digest, in the store and for pip.
    pub digest: Digest,
}

/// Write a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteFile {
    /// Where.
    pub path: PathBuf,
    /// What is there now.
    pub old: Option<OldFile>,
    /// What will be there.
    pub new: FileState,
    /// Directories that have to be made, the outermost first.
    pub new_directories: Vec<PathBuf>,
}

/// Content and permission bits of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileState {
    /// Its content.
    pub digest: Digest,
    /// Its permission bits.
    pub mode: FileMode,
}

/// A file as it was found: what an undo puts back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OldFile {
    /// Its content.
    pub digest: Digest,
    /// Its permission bits, set-uid, set-gid and sticky included.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl OldFile {
    /// Whether it is what the bundle carries. Owner and group are the site's business.
    #[must_use]
    pub fn is(&self, new: FileState) -> bool {
        self.digest == new.digest && self.mode == new.mode.bits()
    }
}

/// Run a script, or take one back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunScript {
    /// The bundle that brought it.
    pub bundle: BundleDigest,
    /// Its product.
    pub product: Name,
    /// Its version.
    pub version: BundleVersion,
    /// The version that was in place before that one.
    pub from: Option<BundleVersion>,
    /// Whether it is done, or a done one is taken back.
    pub direction: Direction,
    /// The script.
    pub script: Script,
}

/// What a script is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// What it is there for.
    Do,
    /// To take that back.
    Undo,
}

impl Direction {
    /// The other one: what takes a step back.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Do => Self::Undo,
            Self::Undo => Self::Do,
        }
    }

    /// As scripts are told.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Do => "do",
            Self::Undo => "undo",
        }
    }
}

impl RunScript {
    /// What is run in this direction, if anything takes the script back.
    #[must_use]
    pub fn file(&self, direction: Direction) -> Option<&ScriptFile> {
        match direction {
            Direction::Do => Some(&self.script.file),
            Direction::Undo => self.script.undo.file(),
        }
    }

    fn subject(&self) -> String {
        let (script, file) = (&self.script, self.file(self.direction));
        let digest = file.map(|file| file.digest.short()).unwrap_or_default();
        let mut text = format!("{} of {} ({digest}, {})", script.name, self.version, script.when);
        if let (Direction::Do, Undo::Irreversible(reason)) = (self.direction, &script.undo) {
            text.push_str(&format!(" CANNOT BE TAKEN BACK: {reason}"));
        }
        text
    }
}

/// Show a bundle in the embedded server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// What is shown now.
    pub old: Vec<BundleDigest>,
    /// What will be shown.
    pub new: Vec<BundleDigest>,
}

/// Write down that a bundle was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The ledger as it is.
    pub old: Option<Ledger>,
    /// The ledger as it will be.
    pub new: Ledger,
}

impl Step {
    /// The kind of target.
    #[must_use]
    pub fn target(&self) -> &'static str {
        match self {
            Self::Push(_) => "registry",
            Self::Venv(_) => "python",
            Self::File(_) => "files",
            Self::Script(_) => "scripts",
            Self::Publish(_) => "serve",
            Self::Record(_) => "ledger",
        }
    }

    /// What is changed: a repository, an environment, a file.
    #[must_use]
    pub fn subject(&self) -> String {
        match self {
            Self::Push(push) => {
                let tag = push.tag.as_ref().map_or(String::new(), |tag| format!(":{tag}"));
                format!("{}{tag}  ({}{})", push.repository, push.title, push.beside_in_words())
            }
            Self::Venv(venv) => format!("{} with {} wheels", venv.link.display(), venv.wheels.len()),
            Self::File(file) => format!("{} (mode {})", file.path.display(), file.new.mode),
            Self::Script(run) => run.subject(),
            Self::Publish(publish) => {
                let shown = publish.new.first().map(|bundle| bundle.0.short()).unwrap_or_default();
                match publish.new.len().saturating_sub(1) {
                    0 => format!("bundle {shown}"),
                    others => format!("bundle {shown}, before {others} of earlier"),
                }
            }
            Self::Record(record) => {
                let version =
                    record.new.current().map(|applied| applied.version.to_string()).unwrap_or_default();
                format!("{} {version} as applied", record.new.product)
            }
        }
    }

    /// What will be done with it.
    #[must_use]
    pub fn action(&self) -> String {
        let verb = match self {
            Self::Push(push) if push.own().is_in_place() => "complete",
            Self::Push(Push { old: Some(_), .. }) | Self::Venv(Venv { old: Some(_), .. }) => "replace",
            Self::File(WriteFile { old: Some(_), .. }) => "replace",
            Self::Push(_) | Self::Venv(_) | Self::File(_) => "add",
            Self::Script(RunScript { direction: Direction::Do, .. }) => "run",
            Self::Script(_) => "undo",
            Self::Publish(_) => "show",
            Self::Record(_) => "record",
        };
        format!("{verb} {}", self.subject())
    }

    /// One line: `files: add /etc/x (mode 0640)`.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}: {}", self.target(), self.action())
    }
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
            Component::Image(image) => steps.image(image, config, context)?,
            Component::Chart(chart) => steps.chart(chart, config, context)?,
            Component::Wheelhouse(wheelhouse) => {
                steps.wheelhouse(wheelhouse, bundle.digest(), config, context)?
            }
            Component::FileSet(set) => steps.file_set(set, config)?,
            Component::KubernetesManifests(_) | Component::Script(_) => {}
        }
    }
    steps.changes.extend(due.after.iter().cloned().map(Step::Script));
    steps.publish(bundle.digest(), context)?;
    let current = ledger.as_ref().and_then(Ledger::current);
    if !steps.changes.is_empty() || current.is_none_or(|current| current.bundle != bundle.digest()) {
        steps.record(bundle, ledger.as_ref(), context);
    }
    Ok(Plan {
        schema: PlanSchema::V1,
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
            .collect(),
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
}

impl Steps {
    fn image(&mut self, image: &Image, config: &SiteConfig, context: &Context<'_>) -> Result<(), PlanError> {
        let tag = image.name.tag().map(ToString::to_string);
        let push = (format!("image {}", image.name), image.name.site_path(), tag);
        self.push(push, &image.manifest, image.blobs.clone(), &image.companions, config, context)
    }

    fn chart(&mut self, chart: &Chart, config: &SiteConfig, context: &Context<'_>) -> Result<(), PlanError> {
        let tag = chart.version.as_str().replace('+', "_");
        let push = (format!("chart {}", chart.name), format!("charts/{}", chart.name), Some(tag));
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
        let repository = target
            .prefix
            .as_ref()
            .map_or(path.clone(), |prefix| format!("{}/{path}", prefix.trim_matches('/')));
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
            venv: target.venvs.join(format!(".{}-{}", wheelhouse.name, bundle.0.short())),
            link: target.venvs.join(wheelhouse.name.as_str()),
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
            let below = Path::new(set.dest.as_str().trim_start_matches('/')).join(file.path.as_str());
            let new = FileState { digest: file.digest, mode: file.mode };
            let mut write =
                WriteFile { path: target.root.join(below), old: None, new, new_directories: Vec::new() };
            let in_place = files::look(&mut write, &target.root)?;
            // Two files of one plan may need the same new directory; only the first makes it.
            let made: Vec<PathBuf> = self.new_directories();
            write.new_directories.retain(|directory| !made.contains(directory));
            self.add(in_place, Step::File(write));
        }
        Ok(())
    }

    fn new_directories(&self) -> Vec<PathBuf> {
        let of = |step: &Step| match step {
            Step::File(file) => file.new_directories.clone(),
            _ => Vec::new(),
        };
        self.changes.iter().flat_map(of).collect()
    }

    /// The newest first; what was shown before stays behind it.
    fn publish(&mut self, bundle: BundleDigest, context: &Context<'_>) -> Result<(), PlanError> {
        let old = context.site.published()?;
        let mut new = vec![bundle];
        new.extend(old.iter().copied().filter(|shown| *shown != bundle));
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
