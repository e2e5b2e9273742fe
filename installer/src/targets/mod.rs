//! Where content is applied. Each kind of target can look (for the plan), do, undo, and tell whether a
//! step is done (`probe`). `do` and `undo` may be run twice: after a crash nobody knows how far they came.

pub mod away;
pub mod containerd;
pub mod docker;
pub mod files;
pub mod helm;
pub mod images;
pub mod kubernetes;
pub mod mirror;
pub mod publish;
pub mod pushes;
pub mod python;
pub mod registries;
pub mod registry;
pub mod scripts;

use std::io;
use std::path::PathBuf;

use edge::process::ProcessError;
use edge::{Classified, Env, Exit};
use manifests::Digest;
use manifests::text::{Marking, Name};

use crate::audit::About;
use crate::cluster::ClusterError;
use crate::health;
use crate::plan::{Push, Step};
use crate::site::config::SiteConfig;
use crate::site::{Site, SiteError};

/// What targets may use.
pub struct Context<'a> {
    /// The site.
    pub site: &'a Site,
    /// What a person wrote about it.
    pub config: &'a SiteConfig,
    /// The world of this run.
    pub env: &'a Env,
    /// The one HTTP client.
    pub http: &'a ::registry::Http,
}

/// Why a target could not be looked at, changed or changed back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// The registry.
    #[error("registry {url}")]
    Registry {
        /// Its address.
        url: String,
        /// What happened.
        source: ::registry::RegistryError,
    },
    /// Tags that were not there before and cannot be taken away.
    #[error("registry {url} does not delete: {} {}", staying.join(", "), if staying.len() == 1 { "stays" } else { "stay" })]
    CannotDelete {
        /// Its address.
        url: String,
        /// Repository and tag of each.
        staying: Vec<String>,
    },
    /// The Docker Engine.
    #[error("Docker Engine at {host}")]
    Engine {
        /// Its address.
        host: String,
        /// What happened.
        source: ::registry::engine::EngineError,
    },
    /// A daemon on this machine that is spoken to through a program.
    #[error("nobody answers on {}", address.display())]
    Silent {
        /// Its socket.
        address: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A name of an image that stands for something else than it did.
    #[error("{name} is not what it was when the plan was made, and is left alone")]
    Moved {
        /// Which.
        name: String,
    },
    /// A manifest in the store that is not one, or not one that is needed.
    #[error("the manifest {digest} in the site store cannot be used: {reason}")]
    Manifest {
        /// Which.
        digest: Digest,
        /// What is wrong.
        reason: String,
    },
    /// A file or directory.
    #[error("{doing} {}", path.display())]
    Io {
        /// `cannot write`, …
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something is in the way that is not ours.
    #[error("{} is {what}, and is left alone", path.display())]
    InTheWay {
        /// Which.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A program could not be run.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A program failed.
    #[error("{doing} failed (exit code {code}): {last_words}")]
    Program {
        /// What it was for.
        doing: String,
        /// Its exit code.
        code: String,
        /// The end of what it said.
        last_words: String,
    },
    /// A script did not come to its end, or ended badly.
    #[error("script {name} {how}: {}", said.last_lines)]
    Script {
        /// Which.
        name: Name,
        /// What became of it.
        how: String,
        /// What it said.
        said: Box<scripts::Said>,
    },
    /// A release that Helm could not bring to where it shall be.
    #[error("release {release} in {namespace} {how}: {said}{}", unready.iter().map(|line| format!("; {line}")).collect::<String>())]
    Release {
        /// Which.
        release: Name,
        /// Where.
        namespace: String,
        /// What became of it.
        how: String,
        /// Helm's words.
        said: String,
        /// What was not ready in the namespace.
        unready: Vec<String>,
    },
    /// Helm's answer is not what it should be.
    #[error("{doing}: helm's answer cannot be understood: {reason}")]
    HelmAnswer {
        /// What was asked.
        doing: String,
        /// Why not.
        reason: String,
    },
    /// A values file of the site that is not what it was.
    #[error("{} is not what it was when the plan was made", path.display())]
    Overlay {
        /// Which.
        path: PathBuf,
    },
    /// A script that has no undo.
    #[error("nothing takes script {name} back: {reason}")]
    Irreversible {
        /// Which.
        name: Name,
        /// Why not.
        reason: Marking,
    },
    /// A script of a run that was killed has not ended, or Helm.
    #[error("a program of an earlier run still runs, as process {process}")]
    StillRuns {
        /// Its number, and that of its group.
        process: u32,
    },
    /// The site does not allow scripts, or not any more.
    #[error("script {name} may not run here")]
    ScriptNotAllowed {
        /// Which.
        name: Name,
    },
    /// A health check that does not hold.
    #[error("{check} {how}: {}", seen.text)]
    Unhealthy {
        /// What is checked.
        check: String,
        /// What became of it.
        how: String,
        /// What was seen last.
        seen: Box<health::Seen>,
    },
    /// A health check for which `site.yaml` lacks something, or does by now.
    #[error("{check} cannot be checked here: site.yaml has no `targets.{key}`")]
    CannotCheck {
        /// What would be checked.
        check: String,
        /// What is missing.
        key: &'static str,
    },
    /// A Kubernetes cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Images in manifests that cannot get their names on site.
    #[error("the images of {set}: {reason}")]
    Images {
        /// Which set.
        set: String,
        /// Why not.
        reason: String,
    },
    /// Workloads that do not get where they should.
    #[error("not ready in time: {}", waiting.join("; "))]
    Rollout {
        /// Which, and why.
        waiting: Vec<String>,
    },
    /// Objects of a cluster that are not as they were.
    #[error("{}", objects.join("; "))]
    NotRestored {
        /// Which, and why.
        objects: Vec<String>,
        /// Whether one of them may be put back later.
        may_pass: bool,
    },
    /// The site.
    #[error(transparent)]
    Site(#[from] SiteError),
}

impl Classified for TargetError {
    fn exit(&self) -> Exit {
        match self {
            Self::Site(error) => error.exit(),
            Self::Cluster(error) => error.exit(),
            Self::InTheWay { .. }
            | Self::Moved { .. }
            | Self::Overlay { .. }
            | Self::ScriptNotAllowed { .. }
            | Self::CannotCheck { .. }
            | Self::StillRuns { .. } => Exit::NotReady,
            Self::Manifest { .. } => Exit::Damaged,
            Self::Registry { source, .. } if source.is_damage() => Exit::Damaged,
            _ => Exit::Unreachable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Registry { source, .. } if source.is_login() => Some(
                "log in with `docker login` or `podman login` as the user who runs this, with `auth: docker-config` under `targets.registry` in site.yaml"
                    .to_string(),
            ),
            Self::Registry { source: ::registry::RegistryError::Refused { status: 409 | 412, .. }, .. } => Some(
                "a registry that moves no tags: with `targets.registry.immutable: true` in site.yaml a tag in the way is found before anything changes; ask the sender for other tags"
                    .to_string(),
            ),
            Self::Registry { .. } => {
                Some("check `targets.registry` in site.yaml, and that the registry is running".to_string())
            }
            Self::Engine { .. } => Some(
                "check `targets.docker` in site.yaml, that the Engine is running, and `docker ps` for what uses an image"
                    .to_string(),
            ),
            Self::Silent { .. } => {
                Some("start containerd or k3s, or correct `targets.containerd` in site.yaml".to_string())
            }
            Self::Moved { .. } => Some("look at the new plan, and apply again".to_string()),
            Self::InTheWay { .. } => Some("move it away, or choose another place in site.yaml".to_string()),
            Self::ScriptNotAllowed { .. } => {
                Some("write `scripts: {}` under `targets` in site.yaml, if they shall run".to_string())
            }
            Self::StillRuns { process } => {
                Some(format!("wait for it, or end it and all it started: kill -- -{process}"))
            }
            Self::Script { said, .. } => Some(format!(
                "what it said is in {}",
                said.path.display()
            )),
            Self::Release { release, namespace, .. } => Some(format!(
                "look at it with `helm history {release} -n {namespace}` and `kubectl get pods,events -n {namespace}`; mend the cause and run the same command again"
            )),
            Self::Overlay { .. } => Some("look at the new plan, and apply again".to_string()),
            Self::Unhealthy { .. } => Some(
                "what was checked was taken back; look at it before the next try, and ask the sender for more time (`within`) if it is only slow"
                    .to_string(),
            ),
            Self::CannotDelete { .. } => Some("delete the tag with the registry's own tools".to_string()),
            Self::Site(error) => error.hint(),
            Self::Cluster(error) => error.hint(),
            Self::Rollout { .. } => Some(
                "look at those objects and their pods with `kubectl describe`; `targets.kubernetes.within` is how long is waited"
                    .to_string(),
            ),
            _ => None,
        }
    }
}

impl TargetError {
    /// Whether the same thing may work later: somebody could not be reached, or the disk was full.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Registry { source, .. } => source.may_pass(),
            Self::Engine { source, .. } => source.may_pass(),
            Self::Silent { .. } => true,
            Self::Io { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            Self::ScriptNotAllowed { .. } => true,
            Self::Cluster(error) => error.may_pass(),
            Self::NotRestored { may_pass, .. } => *may_pass,
            _ => false,
        }
    }

    /// What the log gets beside the message.
    #[must_use]
    pub fn facts(&self) -> About {
        match self {
            Self::Script { said, .. } => said.facts(),
            Self::Unhealthy { seen, .. } => seen.facts(),
            _ => About::new(),
        }
    }
}

/// Whether a step is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The new value is in place.
    New,
    /// It is not.
    NotNew,
}

/// Whether a step may be done at the same time as the one before it: blobs of many images are sent together.
#[must_use]
pub fn go_together(before: &Step, step: &Step) -> bool {
    matches!((before, step), (Step::Push(before), Step::Push(push)) if pushes::go_together(before, push))
}

/// What failed of several, counted from 0, and why.
pub type Failed = (usize, TargetError);

/// The pushes of a group of steps that are nothing else.
fn all_pushes<'a>(steps: &[&'a Step]) -> Option<Vec<&'a Push>> {
    let push = |step: &&'a Step| match step {
        Step::Push(push) => Some(push),
        _ => None,
    };
    steps.iter().map(push).collect()
}

/// Does steps that go together, or one, and tells what the log should know of each. May be run again after it was
/// cut off.
///
/// # Errors
/// The first that could not be done; how far the others came is unknown.
pub fn perform_all(
    steps: &[&Step],
    kept: &std::path::Path,
    context: &Context<'_>,
) -> Result<Vec<About>, Failed> {
    if let Some(pushes) = all_pushes(steps) {
        pushes::perform(&pushes, context)?;
        return Ok(steps.iter().map(|_| About::new()).collect());
    }
    let one = |(place, step): (usize, &&Step)| perform(step, kept, context).map_err(|error| (place, error));
    steps.iter().enumerate().map(one).collect()
}

/// Looks whether each of these steps is done.
///
/// # Errors
/// The first that could not be looked at.
pub fn probe_all(steps: &[&Step], context: &Context<'_>) -> Result<Vec<State>, Failed> {
    if let Some(pushes) = all_pushes(steps) {
        let state = |new| if new { State::New } else { State::NotNew };
        return Ok(pushes::are_new(&pushes, context)?.into_iter().map(state).collect());
    }
    let one = |(place, step): (usize, &&Step)| probe(step, context).map_err(|error| (place, error));
    steps.iter().enumerate().map(one).collect()
}

/// Does a step, and tells what the log should know of it. May be run again after it was cut off.
///
/// # Errors
/// It could not be done; how far it came is unknown.
pub fn perform(step: &Step, kept: &std::path::Path, context: &Context<'_>) -> Result<About, TargetError> {
    match step {
        Step::Push(push) => pushes::perform(&[push], context).map_err(|(_, error)| error)?,
        Step::Load(load) => docker::perform(load, context)?,
        Step::Import(import) => containerd::perform(import, context)?,
        Step::Mirror(mirror) => mirror::perform(mirror, kept)?,
        Step::Venv(venv) => python::perform(venv, context)?,
        Step::File(file) => files::perform(file, kept, context)?,
        Step::Unwrite(unwrite) => away::unwrite(unwrite, kept)?,
        Step::Unlink(unlink) => away::unlink(unlink)?,
        Step::Withdraw(withdraw) => return away::withdraw(withdraw, context),
        Step::Objects(objects) => kubernetes::perform(objects, kept, context)?,
        Step::Release(release) => return helm::perform(release, kept, context),
        Step::Script(run) => return scripts::perform(run, kept, context),
        Step::Health(step) => return health::perform(step, context),
        Step::Publish(publish) => publish::perform(publish, context)?,
        Step::Record(record) => publish::record(record, context)?,
    }
    Ok(About::new())
}

/// Takes a step back, wherever it was cut off, and tells what the log should know of it. May be run again.
///
/// # Errors
/// The old value could not be put back.
pub fn undo(step: &Step, kept: &std::path::Path, context: &Context<'_>) -> Result<About, TargetError> {
    match step {
        Step::Push(push) => registry::undo(push, context)?,
        Step::Load(load) => docker::undo(load, context)?,
        Step::Import(import) => containerd::undo(import, context)?,
        Step::Mirror(mirror) => files::undo(&mirror.write, kept)?,
        Step::Venv(venv) => python::undo(venv, context)?,
        Step::File(file) => files::undo(file, kept)?,
        Step::Unwrite(unwrite) => away::rewrite(unwrite, kept)?,
        Step::Unlink(unlink) => away::relink(unlink)?,
        Step::Withdraw(withdraw) => away::bring_back(withdraw, context)?,
        Step::Objects(objects) => kubernetes::undo(objects, kept, context)?,
        Step::Release(release) => helm::undo(release, kept, context)?,
        Step::Script(run) => return scripts::undo(run, kept, context),
        // A look changes nothing.
        Step::Health(_) => {}
        Step::Publish(publish) => publish::undo(publish, context)?,
        Step::Record(record) => publish::unrecord(record, context)?,
    }
    Ok(About::new())
}

/// Looks whether a step is done.
///
/// # Errors
/// It could not be looked at.
pub fn probe(step: &Step, context: &Context<'_>) -> Result<State, TargetError> {
    let new = match step {
        Step::Push(push) => pushes::are_new(&[push], context).map_err(|(_, error)| error)? == [true],
        Step::Load(load) => docker::is_new(load)?,
        Step::Import(import) => containerd::is_new(import, context)?,
        Step::Mirror(mirror) => files::state(&mirror.write.path)?.is_some_and(|now| now.is(mirror.write.new)),
        Step::Venv(venv) => python::is_new(venv)?,
        Step::File(file) => files::state(&file.path)?.is_some_and(|now| now.is(file.new)),
        Step::Unwrite(unwrite) => away::is_unwritten(unwrite)?,
        Step::Unlink(unlink) => away::is_unlinked(unlink)?,
        // What a registry does not delete stays, and the log says so.
        Step::Withdraw(_) => true,
        Step::Objects(objects) => kubernetes::is_new(objects, context)?,
        Step::Release(release) => helm::is_new(release, context)?,
        // There is nothing to look at: it is done when it has said so, and the journal keeps that.
        Step::Script(_) | Step::Health(_) => true,
        Step::Publish(publish) => context.site.published()? == publish.new,
        Step::Record(record) => {
            let (publisher, product) = (&record.new.publisher, &record.new.product);
            context.site.ledger(publisher, product)?.as_ref() == Some(&record.new)
        }
    };
    Ok(if new { State::New } else { State::NotNew })
}
