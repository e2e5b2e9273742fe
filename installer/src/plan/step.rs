//! The steps of a plan: what each one changes, the old value beside the new one, and its words for people.
//! Nothing here looks at a target or changes one: that is [`crate::targets`]'s.

use std::collections::BTreeMap;
use std::path::PathBuf;

use manifests::bundle::{BundleDigest, Content};
use manifests::companion::{self, Companion, CompanionKind};
use manifests::health::HealthCheck;
use manifests::inventory::{FileMode, Wheel};
use manifests::kubernetes::PlainFile;
use manifests::script::{Script, ScriptFile, Undo, Within};
use manifests::text::{BundleVersion, FileName, Name, PackageVersion, printable};
use manifests::{Descriptor, Digest};
use serde::{Deserialize, Serialize};

use super::away::{Unlink, Unwrite, Withdraw};
use crate::site::config::{KubernetesTarget, Namespace, RegistryAuth};
use crate::site::ledger::Ledger;

/// One change, with what it takes to take it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// Push an image or a chart to the site registry.
    Push(Push),
    /// Load an image into a Docker Engine.
    Load(Load),
    /// Import an image into containerd.
    Import(Import),
    /// Tell containerd where the site has an upstream registry's images.
    Mirror(Mirror),
    /// Make a virtual environment and switch to it.
    Venv(Venv),
    /// Write a file.
    File(WriteFile),
    /// Take a file away.
    Unwrite(Unwrite),
    /// Take the link to an environment away.
    Unlink(Unlink),
    /// Take away what was pushed or loaded.
    Withdraw(Withdraw),
    /// Apply a set of Kubernetes manifests, or delete objects of one.
    Objects(Objects),
    /// Install, upgrade or uninstall a release of Helm.
    Release(Release),
    /// Run a script.
    Script(RunScript),
    /// Look whether what was put in place works.
    Health(HealthStep),
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
    /// Certificates that its own hangs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Where a login for it is looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<RegistryAuth>,
    /// The repository's path on the registry.
    pub repository: String,
    /// The tag, if the image has one.
    pub tag: Option<String>,
    /// The manifest or index.
    pub manifest: Descriptor,
    /// Every blob that belongs to it.
    pub blobs: Vec<Digest>,
    /// Repositories that hold some of them, by images that are in place already, each with those it holds.
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
    pub(super) fn new(companion: Companion) -> Self {
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

/// Load an image into a Docker Engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// What people call it.
    pub title: String,
    /// The Engine: an undo is for this one, whatever `site.yaml` names by then.
    pub host: String,
    /// `HOST/PATH:TAG`; an image that is named by its digest only gets no name in an Engine.
    pub name: Option<String>,
    /// In which form it is sent.
    pub form: LoadForm,
    /// What the Engine knows the image by.
    pub id: Digest,
    /// What is sent: the manifest for the Engine's platform, or the index.
    pub manifest: Descriptor,
    /// What the name stands for now.
    pub old: Option<Digest>,
    /// Whether the Engine has the image already.
    pub was_there: bool,
}

/// In which form an Engine takes an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoadForm {
    /// As `docker save` has always written it; the image is known by its configuration.
    DockerArchive,
    /// As an image layout, where the Engine keeps images in containerd; it is known by its manifest or index.
    Layout,
}

/// Import an image into containerd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// What people call it.
    pub title: String,
    /// `ctr`, or `k3s`.
    pub ctr: PathBuf,
    /// The socket: an undo is for this one, whatever `site.yaml` names by then.
    pub address: PathBuf,
    /// The namespace in containerd.
    pub namespace: Namespace,
    /// The manifest or index.
    pub manifest: Descriptor,
    /// What it is called there.
    pub names: Vec<ImportName>,
    /// Every name that it has there now.
    pub beside: Vec<String>,
    /// The name by digest of our image that it takes the place of. The garbage collector may have that one:
    /// the site store keeps it for the way back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<String>,
}

/// A name in containerd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportName {
    /// `HOST/PATH:TAG` or `HOST/PATH@DIGEST`
    pub name: String,
    /// What it stands for now.
    pub old: Option<OldName>,
}

/// What a name in containerd stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OldName {
    /// The manifest or index.
    pub digest: Digest,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// Tell containerd where the site has an upstream registry's images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// The upstream registry.
    pub host: String,
    /// What the file will say.
    pub text: String,
    /// The file.
    pub write: WriteFile,
}

impl Import {
    /// What the first name stands for, if that is another image.
    fn replaced(&self) -> Option<Digest> {
        let old = self.names.first()?.old.as_ref()?.digest;
        (old != self.manifest.digest).then_some(old)
    }
}

/// ` in place of sha256:…`, for people to see what goes.
fn in_place_of(old: Option<Digest>) -> String {
    old.map_or(String::new(), |old| format!(", in place of {}", old.short()))
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

impl PlannedWheel {
    /// A wheel of the bundle.
    #[must_use]
    pub fn of(wheel: &Wheel) -> Self {
        Self {
            filename: wheel.filename.clone(),
            project: wheel.project.clone(),
            version: wheel.version.clone(),
            digest: wheel.digest,
        }
    }
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

/// Apply objects to a Kubernetes cluster, or delete what an earlier version had there. The old value of each
/// object is kept beside the journal before it is touched: it may hold secrets, and a plan is shown to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objects {
    /// What people call them: the set.
    pub title: String,
    /// The cluster: an undo is for this one, whatever `site.yaml` names by then.
    pub cluster: KubernetesTarget,
    /// Whose they are: publisher and product.
    pub owner: String,
    /// Where objects go that name no namespace.
    pub namespace: String,
    /// The files of the set, in the site store; none if everything is deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<PlainFile>,
    /// Images that get other names, each with the new one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<RenamedImage>,
    /// Names of images that stay what they are. None if all do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
    /// What is changed, in its order.
    pub objects: Vec<PlannedObject>,
}

/// One object of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedObject {
    /// `apps/v1`
    pub api_version: String,
    /// `Deployment`
    pub kind: String,
    /// None for an object of the whole cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Where the API has it.
    pub path: String,
    /// What becomes of it.
    pub change: ObjectChange,
    /// What is there now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<OldObject>,
}

/// What becomes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectChange {
    /// It is applied.
    Apply,
    /// It is deleted.
    Delete,
}

/// An object that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OldObject {
    /// Which one it is: another of the same name has another UID.
    pub uid: String,
    /// Whether it came from a bundle of this product. What did not is changed and never deleted.
    pub ours: bool,
}

impl PlannedObject {
    /// `Deployment web/front`
    #[must_use]
    pub fn title(&self) -> String {
        let place = self.namespace.as_ref().map(|name| format!("{name}/")).unwrap_or_default();
        printable(&format!("{} {place}{}", self.kind, self.name))
    }
}

impl Objects {
    /// As many are named in a line for people.
    const NAMED_MAX: usize = 6;

    /// Whether nothing is applied.
    #[must_use]
    pub fn is_removal(&self) -> bool {
        self.objects.iter().all(|object| object.change == ObjectChange::Delete)
    }

    fn subject(&self) -> String {
        let named: Vec<String> =
            self.objects.iter().take(Self::NAMED_MAX).map(PlannedObject::title).collect();
        let more = match self.objects.len().saturating_sub(named.len()) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("{}{more}  ({})", named.join(", "), self.title)
    }

    fn verb(&self) -> &'static str {
        match (self.is_removal(), self.objects.iter().any(|object| object.old.is_some())) {
            (true, _) => "delete",
            (false, true) => "change",
            (false, false) => "add",
        }
    }
}

/// Install, upgrade or uninstall a release of Helm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Helm, as a path or a name.
    pub helm: PathBuf,
    /// The cluster: an undo is for this one, whatever `site.yaml` names by then.
    pub kubeconfig: PathBuf,
    /// A context in that file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// `kubectl`, if it is not found by its name: it says what was not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubectl: Option<PathBuf>,
    /// The release's name.
    pub release: Name,
    /// Its namespace.
    pub namespace: String,
    /// How long Helm waits for it, each way.
    pub timeout: Within,
    /// What becomes of it.
    pub action: ReleaseAction,
    /// As it is now; nothing if Helm knows none of this name.
    pub old: Option<OldRelease>,
}

/// What becomes of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReleaseAction {
    /// It is that of this chart.
    Install(InstallRelease),
    /// It goes. Its history stays in the cluster, so that it can come back.
    Uninstall,
}

/// What a release is made of. All of it is fixed by digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstallRelease {
    /// The bundle's chart, for people: `chart fraud 1.2.3`.
    pub title: String,
    /// `NAME-VERSION`, as Helm writes it.
    pub chart: String,
    /// The chart's archive, in the store.
    pub archive: Content,
    /// Values files; later ones win.
    pub values: Vec<PlannedValues>,
    /// Whether the namespace is made if it is not there.
    pub create_namespace: bool,
    /// Images that get other names, each with the new one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<RenamedImage>,
    /// Names of images that stay what they are. None if all do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
    /// Whether a post-renderer runs at all.
    pub rewrite: bool,
    /// By this the release is known as ours: its description in Helm's history.
    pub mark: String,
}

/// A values file of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedValues {
    /// Its content: in the store, or what the file of the site must hold.
    pub content: Content,
    /// The file of the site, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlay: Option<PathBuf>,
}

/// An image under another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenamedImage {
    /// As the chart or the manifest names it, with Docker's defaults written out.
    pub from: String,
    /// As the cluster gets it.
    pub to: String,
}

/// A release as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OldRelease {
    /// Its last revision.
    pub revision: u64,
    /// `deployed`, `failed`, `uninstalled`, …
    pub status: String,
    /// `NAME-VERSION`
    pub chart: String,
    /// What it says of itself.
    pub description: String,
    /// The digest of the objects of that revision, as Helm keeps them.
    pub manifest: Digest,
}

impl OldRelease {
    /// Whether only its history is there.
    #[must_use]
    pub fn is_uninstalled(&self) -> bool {
        self.status == "uninstalled"
    }
}

impl Release {
    /// As it is now, if it is more than a history.
    #[must_use]
    pub fn installed(&self) -> Option<&OldRelease> {
        self.old.as_ref().filter(|old| !old.is_uninstalled())
    }

    fn subject(&self) -> String {
        let place = format!("{} in {}", self.release, self.namespace);
        let from = |old: &OldRelease| format!(", now {} (revision {})", old.chart, old.revision);
        let now = self.installed().map_or(String::new(), from);
        match &self.action {
            ReleaseAction::Uninstall => format!("{place}{now}"),
            ReleaseAction::Install(new) => {
                let images = match new.images.len() {
                    0 => String::new(),
                    1 => ", 1 image under its name here".to_string(),
                    count => format!(", {count} images under their names here"),
                };
                format!("{place} with {}{now}{images}", new.title)
            }
        }
    }

    fn verb(&self) -> &'static str {
        match (&self.action, self.installed()) {
            (ReleaseAction::Uninstall, _) => "uninstall",
            (ReleaseAction::Install(_), Some(_)) => "upgrade",
            (ReleaseAction::Install(_), None) => "install",
        }
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

/// Look whether what was put in place works. It changes nothing, so there is nothing to take back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthStep {
    /// The bundle that brought the check.
    pub bundle: BundleDigest,
    /// Its product.
    pub product: Name,
    /// Its version.
    pub version: BundleVersion,
    /// The check.
    pub check: HealthCheck,
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

impl Publish {
    /// Whether bundles are hidden and none is shown anew or before others.
    fn withdraws(&self) -> bool {
        self.old.len() > self.new.len() && self.old.iter().filter(|old| self.new.contains(old)).eq(&self.new)
    }
}

impl Step {
    /// The kind of target.
    #[must_use]
    pub fn target(&self) -> &'static str {
        match self {
            Self::Push(_) => "registry",
            Self::Load(_) => "docker",
            Self::Import(_) | Self::Mirror(_) => "containerd",
            Self::Venv(_) | Self::Unlink(_) => "python",
            Self::Unwrite(unwrite) => unwrite.target(),
            Self::Withdraw(withdraw) => withdraw.target(),
            Self::File(_) => "files",
            Self::Objects(_) => "kubernetes",
            Self::Release(_) => "helm",
            Self::Script(_) => "scripts",
            Self::Health(_) => "health",
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
            Self::Load(load) => {
                let name = load.name.as_ref().unwrap_or(&load.title);
                format!("{name} as {}{}", load.id.short(), in_place_of(load.old))
            }
            Self::Import(import) => {
                let name = import.names.first().map_or(&import.title, |name| &name.name);
                format!("{name} as {}{}", import.manifest.digest.short(), in_place_of(import.replaced()))
            }
            Self::Mirror(mirror) => {
                format!("{} as the mirror of {}", mirror.write.path.display(), mirror.host)
            }
            Self::Venv(venv) => format!("{} with {} wheels", venv.link.display(), venv.wheels.len()),
            Self::File(file) => format!("{} (mode {})", file.path.display(), file.new.mode),
            Self::Unwrite(unwrite) => unwrite.subject(),
            Self::Unlink(unlink) => unlink.subject(),
            Self::Withdraw(withdraw) => withdraw.subject(),
            Self::Objects(objects) => objects.subject(),
            Self::Release(release) => release.subject(),
            Self::Script(run) => run.subject(),
            Self::Health(step) => step.check.to_string(),
            Self::Publish(publish) if publish.withdraws() => {
                let gone: Vec<String> = publish
                    .old
                    .iter()
                    .filter(|old| !publish.new.contains(old))
                    .map(|bundle| bundle.0.short())
                    .collect();
                format!("bundle {}", gone.join(", "))
            }
            Self::Publish(publish) => {
                let shown = publish.new.first().map(|bundle| bundle.0.short()).unwrap_or_default();
                match publish.new.len().saturating_sub(1) {
                    0 => format!("bundle {shown}"),
                    others => format!("bundle {shown}, before {others} of earlier"),
                }
            }
            Self::Record(record) => {
                let product = &record.new.product;
                record.new.current().map_or_else(
                    || format!("{product} as removed"),
                    |current| format!("{product} {} as applied", current.version),
                )
            }
        }
    }

    /// What will be done with it.
    #[must_use]
    pub fn action(&self) -> String {
        let verb = match self {
            Self::Push(push) if push.own().is_in_place() => "complete",
            Self::Push(Push { old: Some(_), .. }) | Self::Venv(Venv { old: Some(_), .. }) => "replace",
            Self::File(WriteFile { old: Some(_), .. })
            | Self::Mirror(Mirror { write: WriteFile { old: Some(_), .. }, .. }) => "replace",
            Self::Load(Load { old: Some(_), .. }) => "move",
            Self::Import(import) if import.replaced().is_some() => "move",
            Self::Import(import) if import.names.iter().any(|name| name.old.is_some()) => "complete",
            Self::Load(_) | Self::Import(_) => "load",
            Self::Push(_) | Self::Venv(_) | Self::File(_) | Self::Mirror(_) => "add",
            Self::Objects(objects) => objects.verb(),
            Self::Release(release) => release.verb(),
            Self::Script(RunScript { direction: Direction::Do, .. }) => "run",
            Self::Script(_) => "undo",
            Self::Health(_) => "check",
            Self::Unwrite(_) | Self::Unlink(_) | Self::Withdraw(_) => "remove",
            Self::Publish(publish) if publish.withdraws() => "hide",
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
