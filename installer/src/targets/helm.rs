//! Releases of Helm, version 3 or 4. Helm does one change at a time, and taking it back is ours, so that a plan is
//! undone as a whole: an undo brings a release back to the very revision that it was at, or takes it away.
//!
//! *Invariant:* what is installed is the chart and the values that the plan names by digest, under a mark that says
//! so in Helm's history. A release that was left `pending` by a run of ours that was killed is first brought back
//! to where it was; one that somebody else has left so is never touched.
//!
//! *It may never* use anything of the user's Helm: no plugins, no repositories, no cache; nor another cluster than
//! the plan names.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use discovery::helm::{self, Helm};
use edge::process::{GroupEnd, Program, last_lines};
use manifests::Digest;
use manifests::bundle::Content;
use manifests::text::{printable, printable_up_to};
use serde::Deserialize;

use super::scripts::{self, Interruption};
use super::{Context, TargetError};
use crate::audit::{About, about};
use crate::charts;
use crate::cli::post_render::{MAP_NAME, Map};
use crate::cluster::{Cluster, Kubectl};
use crate::plan::{InstallRelease, OldRelease, Release, ReleaseAction};
use crate::site::config::KubernetesTarget;

/// What a description of ours starts with; the digest of chart, values and images follows.
pub const MARK: &str = "airlock ";
/// How Helm describes what it has rolled back.
const ROLLED_BACK: &str = "Rollback to ";
/// How long a question to Helm may take.
const QUESTION_LIMIT: Duration = Duration::from_secs(120);
/// What Helm may answer: the objects of the largest charts are some megabytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Helm waits for several things one after the other, each as long as it is told.
const TIMEOUTS: u32 = 4;
/// The plugin's name for Helm 4, which takes no post-renderer but a plugin.
const PLUGIN: &str = "airlock-images";
/// What is shown of pods and events.
const UNREADY_SHOWN: usize = 6;

/// One revision of a release.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Revision {
    /// Its number.
    pub revision: u64,
    /// `deployed`, `failed`, `pending-upgrade`, …
    pub status: String,
    /// `NAME-VERSION`
    pub chart: String,
    /// What it says of itself.
    #[serde(default)]
    pub description: String,
}

impl Revision {
    /// Whether somebody is at work on it, or was killed at it.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.status.starts_with("pending") || self.status == "uninstalling"
    }
}

/// What Helm knows of a release, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History(pub Vec<Revision>);

impl History {
    /// The last revision.
    #[must_use]
    pub fn last(&self) -> Option<&Revision> {
        self.0.last()
    }

    /// The mark of the last revision, also of one that was rolled back to.
    #[must_use]
    pub fn mark(&self) -> Option<&str> {
        let mut revision = self.last()?;
        for _ in 0..self.0.len() {
            if revision.description.starts_with(MARK) {
                return Some(&revision.description);
            }
            let number: u64 = revision.description.strip_prefix(ROLLED_BACK)?.trim().parse().ok()?;
            revision = self.0.iter().find(|other| other.revision == number)?;
        }
        None
    }

    /// Whether any revision came from a bundle.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.0.iter().any(|revision| revision.description.starts_with(MARK))
    }
}

/// Helm, for one release.
pub struct Cli<'a> {
    step: &'a Release,
    context: &'a Context<'a>,
}

impl<'a> Cli<'a> {
    /// For the release of a step.
    #[must_use]
    pub fn of(step: &'a Release, context: &'a Context<'a>) -> Self {
        Self { step, context }
    }

    /// A place of Helm's own for this run.
    fn home(&self) -> PathBuf {
        self.context.site.run_dir().join("helm")
    }

    fn program(&self) -> Program {
        let home = self.home();
        let mut program = helm::at_home(Program::new(&self.step.helm, self.context.site.dir()), &home)
            .var("KUBECACHEDIR", home.join("kube"));
        // What a login helper in the kubeconfig needs to be found; nothing that could name another cluster.
        for name in ["PATH", "HOME"] {
            if let Some(value) = self.context.env.var(name) {
                program = program.var(name, value);
            }
        }
        program.time_limit = QUESTION_LIMIT;
        program.whole_output = Some(ANSWER_BYTES_MAX);
        program
    }

    fn placed(&self, program: Program) -> Program {
        let step = self.step;
        let program =
            program.arg("--namespace").arg(&step.namespace).arg("--kubeconfig").arg(&step.kubeconfig);
        match &step.context {
            Some(context) => program.arg("--kube-context").arg(context),
            None => program,
        }
    }

    /// Everything that Helm knows of the release.
    ///
    /// # Errors
    /// Helm or the cluster cannot be asked.
    pub fn history(&self) -> Result<History, TargetError> {
        let doing = format!("reading the history of release {}", self.step.release);
        let args = ["history", self.step.release.as_str(), "--max", "256", "--output", "json"];
        let finished = self.placed(self.program().args(args)).run(&*self.context.env.clock)?;
        if finished.succeeded() {
            let parsed: Vec<Revision> = serde_json::from_str(&finished.stdout)
                .map_err(|error| TargetError::HelmAnswer { doing, reason: printable(&error.to_string()) })?;
            return Ok(History(parsed));
        }
        // Helm has no other way to say it, in any of its versions.
        if finished.stderr.contains("release: not found") {
            return Ok(History::default());
        }
        Err(TargetError::Program {
            doing,
            code: finished.code.map_or("none".to_string(), |code| code.to_string()),
            last_words: finished.last_words(),
        })
    }

    /// The digest of the objects of a revision, as Helm keeps them. That it can be read shows that a rollback can.
    ///
    /// # Errors
    /// Helm or the cluster cannot be asked, or it is gone.
    pub fn manifest(&self, revision: u64) -> Result<Digest, TargetError> {
        let number = revision.to_string();
        let args = ["get", "manifest", self.step.release.as_str(), "--revision", &number];
        let finished = self.placed(self.program().args(args)).run(&*self.context.env.clock)?;
        if finished.succeeded() {
            return Ok(Digest::of(finished.stdout.as_bytes()));
        }
        Err(TargetError::Program {
            doing: format!("reading revision {revision} of release {}", self.step.release),
            code: finished.code.map_or("none".to_string(), |code| code.to_string()),
            last_words: finished.last_words(),
        })
    }

    /// Changes something, and waits for it. `stop` ends Helm with all it has started.
    fn change(&self, doing: &str, args: &[&str], stop: &dyn Fn() -> bool) -> Result<(), TargetError> {
        let timeout = format!("{}s", self.step.timeout.seconds());
        let program = self.program().args(args).args(["--wait", "--timeout", &timeout]);
        let mut program = self.placed(program);
        let limit = Duration::from_secs(self.step.timeout.seconds());
        program.time_limit = limit.saturating_mul(TIMEOUTS).saturating_add(QUESTION_LIMIT);
        let run = self.context.site.run_dir();
        layout::durable::make_directory(&run).map_err(|source| TargetError::Io {
            doing: "cannot make",
            path: run.clone(),
            source,
        })?;
        let mut started = |group: u32| scripts::note_process(&run, group);
        let finished = program.run_group(&*self.context.env.clock, &mut started, stop)?;
        // It has ended: whoever comes after a kill need not wait for it.
        drop(std::fs::remove_file(run.join("process")));
        let how = match finished.end {
            GroupEnd::Code(0) => return Ok(()),
            GroupEnd::Code(code) => format!("{doing} failed (exit code {code})"),
            GroupEnd::Signal(signal) => format!("{doing} was ended by signal {signal}"),
            GroupEnd::TimeLimit => format!("{doing} did not end in time"),
            GroupEnd::Stopped => format!("{doing} was stopped"),
        };
        Err(TargetError::Release {
            release: self.step.release.clone(),
            namespace: self.step.namespace.clone(),
            how,
            said: words(&finished.said),
            unready: Vec::new(),
        })
    }

    /// Brings the release back to where it was, from wherever it is. May be run again.
    fn restore(&self) -> Result<(), TargetError> {
        let name = self.step.release.as_str();
        let now = self.history()?;
        let never = || false;
        let Some(last) = now.last() else {
            return match self.step.installed() {
                None => Ok(()),
                Some(_) => Err(self.moved()),
            };
        };
        if self.is_back(&now)? {
            return Ok(());
        }
        self.must_be_ours(&now, last)?;
        match &self.step.old {
            None => self.change("uninstalling", &["uninstall", name], &never)?,
            Some(old) if old.is_uninstalled() => {
                self.change("uninstalling", &keeping_history(name, Some(old)), &never)?;
            }
            Some(old) => {
                // Cut off in the middle it has no mark: that comes with its end.
                if last.status == "uninstalling" {
                    self.change("uninstalling", &keeping_history(name, Some(old)), &never)?;
                }
                let revision = old.revision.to_string();
                self.change("rolling back", &["rollback", name, &revision], &never)?;
            }
        }
        if self.is_back(&self.history()?)? { Ok(()) } else { Err(self.moved()) }
    }

    /// Whether a release is where it was: the same revision, or one with the same objects.
    fn is_back(&self, now: &History) -> Result<bool, TargetError> {
        let Some(last) = now.last() else { return Ok(self.step.old.is_none()) };
        let Some(old) = &self.step.old else { return Ok(false) };
        if (last.revision, &last.status) == (old.revision, &old.status) {
            return Ok(true);
        }
        if old.is_uninstalled() || last.status != "deployed" {
            return Ok(old.is_uninstalled() && last.status == "uninstalled");
        }
        let new = match &self.step.action {
            ReleaseAction::Install(new) => Some(new.mark.as_str()),
            ReleaseAction::Uninstall => None,
        };
        let is_new = last.description.starts_with(MARK) && Some(last.description.as_str()) == new;
        Ok(!is_new && self.manifest(last.revision)? == old.manifest)
    }

    /// What somebody else has made of a release meanwhile is not taken back.
    fn must_be_ours(&self, now: &History, last: &Revision) -> Result<(), TargetError> {
        let ours = match &self.step.action {
            ReleaseAction::Uninstall => last.status == "uninstalled" || last.is_pending(),
            ReleaseAction::Install(new) => {
                let of_an_undo = self.step.old.as_ref().is_some_and(|old| {
                    last.chart == old.chart && last.revision > old.revision && last.status != "deployed"
                });
                now.mark() == Some(&new.mark) || last.chart == new.chart || of_an_undo
            }
        };
        if ours { Ok(()) } else { Err(self.moved()) }
    }

    fn moved(&self) -> TargetError {
        TargetError::Moved { name: format!("release {} in {}", self.step.release, self.step.namespace) }
    }

    /// What in the namespace is not as it should be: pods, and what the cluster says of them. In few words, and
    /// nothing if nobody can be asked.
    fn unready(&self) -> Vec<String> {
        let target = KubernetesTarget {
            context: self.step.context.clone(),
            kubectl: self.step.kubectl.clone(),
            ..KubernetesTarget::at(self.step.kubeconfig.clone())
        };
        let cluster = Kubectl::of(&target, self.context.env);
        let namespace = &self.step.namespace;
        let items = |path: String| {
            let list = cluster.get(&path).ok().flatten().unwrap_or_default();
            list.get("items").and_then(serde_json::Value::as_array).cloned().unwrap_or_default()
        };
        let pods = items(format!("/api/v1/namespaces/{namespace}/pods"));
        let mut lines: Vec<String> = pods.iter().filter_map(unready_pod).collect();
        let events = items(format!("/api/v1/namespaces/{namespace}/events"));
        let mut said: Vec<String> = events.iter().filter_map(warning).collect();
        said.dedup();
        lines.truncate(UNREADY_SHOWN);
        lines.extend(said.into_iter().rev().take(UNREADY_SHOWN));
        lines
    }
}

/// The arguments that leave a history. Helm writes over the description of the last revision, which is the mark of
/// ours: it stays what it is.
fn keeping_history<'a>(name: &'a str, old: Option<&'a OldRelease>) -> Vec<&'a str> {
    let mut args = vec!["uninstall", name, "--keep-history"];
    if let Some(old) = old {
        args.extend(["--description", &old.description]);
    }
    args
}

fn text<'a>(value: &'a serde_json::Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or_default()
}

/// `pod x: Pending, container a: ImagePullBackOff (…)`
fn unready_pod(pod: &serde_json::Value) -> Option<String> {
    let list = |pointer: &str| pod.pointer(pointer).and_then(serde_json::Value::as_array);
    let is_ready = list("/status/conditions")
        .into_iter()
        .flatten()
        .any(|condition| text(condition, "/type") == "Ready" && text(condition, "/status") == "True");
    let phase = text(pod, "/status/phase");
    if is_ready || phase == "Succeeded" {
        return None;
    }
    let mut line =
        format!("pod {}: {}", text(pod, "/metadata/name"), if phase.is_empty() { "new" } else { phase });
    for container in list("/status/containerStatuses").into_iter().flatten() {
        for state in ["waiting", "terminated"] {
            let reason = text(container, &format!("/state/{state}/reason"));
            if !reason.is_empty() && reason != "Completed" {
                line.push_str(&format!(", container {}: {reason}", text(container, "/name")));
            }
        }
    }
    let unscheduled = list("/status/conditions").into_iter().flatten();
    for condition in unscheduled.filter(|condition| text(condition, "/type") == "PodScheduled") {
        if text(condition, "/status") == "False" {
            line.push_str(&format!(", {}", text(condition, "/message")));
        }
    }
    Some(printable_up_to(&line, 300))
}

fn warning(event: &serde_json::Value) -> Option<String> {
    if text(event, "/type") != "Warning" {
        return None;
    }
    let line = format!(
        "{} {}: {} {}",
        text(event, "/involvedObject/kind").to_lowercase(),
        text(event, "/involvedObject/name"),
        text(event, "/reason"),
        text(event, "/message")
    );
    Some(printable_up_to(&line, 300))
}

/// Helm's words without what it says to everybody.
fn words(said: &str) -> String {
    let lines: Vec<&str> = helm::words(said).collect();
    printable_up_to(last_lines(&lines.join("\n")).trim_start_matches("Error: "), 1000)
}

/// Fills in what is there now. Tells whether the release is in place already.
///
/// # Errors
/// Helm or the cluster cannot be asked.
pub fn look(step: &mut Release, context: &Context<'_>) -> Result<bool, TargetError> {
    let cli = Cli::of(step, context);
    let history = cli.history()?;
    let old = match history.last() {
        None => None,
        Some(last) => Some(OldRelease {
            revision: last.revision,
            status: last.status.clone(),
            chart: last.chart.clone(),
            description: last.description.clone(),
            manifest: cli.manifest(last.revision)?,
        }),
    };
    let in_place = holds(step, &history);
    step.old = old;
    Ok(in_place)
}

/// Whether the release is what the step makes of it.
fn holds(step: &Release, history: &History) -> bool {
    match (&step.action, history.last()) {
        (ReleaseAction::Uninstall, last) => last.is_none_or(|last| last.status == "uninstalled"),
        (ReleaseAction::Install(new), Some(last)) => {
            last.status == "deployed" && history.mark() == Some(&new.mark)
        }
        (ReleaseAction::Install(_), None) => false,
    }
}

/// Whether there is more of a release than a history.
///
/// # Errors
/// Helm or the cluster cannot be asked.
pub fn is_installed(step: &Release, context: &Context<'_>) -> Result<bool, TargetError> {
    let history = Cli::of(step, context).history()?;
    Ok(history.last().is_some_and(|last| last.status != "uninstalled"))
}

/// Whether the release is deployed with our chart, our values and our images, or is gone.
///
/// # Errors
/// Helm or the cluster cannot be asked.
pub fn is_new(step: &Release, context: &Context<'_>) -> Result<bool, TargetError> {
    Ok(holds(step, &Cli::of(step, context).history()?))
}

/// There once a step may have changed anything: an undo without it leaves everything alone.
fn begun_path(kept: &Path, step: &Release) -> PathBuf {
    let name = format!("{}/{}", step.namespace, step.release);
    kept.join(format!("release-{}.begun", Digest::of(name.as_bytes()).hex()))
}

/// Where a values file of the site is kept: what is installed again must be the same.
fn kept_values(kept: &Path, digest: &Digest) -> PathBuf {
    kept.join(format!("{}.values", digest.hex()))
}

/// Installs, upgrades or uninstalls, and waits until everything is ready.
///
/// # Errors
/// Helm fails, or something is not ready in time; or the release is not what it was.
pub fn perform(step: &Release, kept: &Path, context: &Context<'_>) -> Result<About, TargetError> {
    let cli = Cli::of(step, context);
    let home = cli.home();
    let now = cli.history()?;
    if holds(step, &now) {
        return Ok(facts(step));
    }
    let note = begun_path(kept, step);
    if note.exists() {
        cli.restore()?;
    } else {
        let was = step.old.as_ref().map(|old| (old.revision, old.status.as_str()));
        if now.last().map(|last| (last.revision, last.status.as_str())) != was {
            return Err(cli.moved());
        }
    }
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| TargetError::Io { doing: "cannot write", path, source }
    };
    layout::durable::make_directory(kept).map_err(failed(kept))?;
    keep_overlays(step, kept)?;
    layout::durable::replace(&note, b"", 0o600).map_err(failed(&note))?;
    scripts::remove(&home)?;
    let interruption = Interruption::watch();
    let stop = || interruption.is_asked_for();
    let name = step.release.as_str();
    let done = match &step.action {
        ReleaseAction::Uninstall => {
            cli.change("uninstalling", &keeping_history(name, step.old.as_ref()), &stop)
        }
        ReleaseAction::Install(new) => stage(step, new, kept, context).and_then(|args| {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            cli.change(if step.installed().is_some() { "upgrading" } else { "installing" }, &args, &stop)
        }),
    };
    let done = done.map_err(|error| match error {
        TargetError::Release { release, namespace, how, said, .. } => {
            TargetError::Release { release, namespace, how, said, unready: cli.unready() }
        }
        other => other,
    });
    scripts::remove(&home)?;
    done.map(|()| facts(step))
}

/// What the log gets: every image that has another name now.
fn facts(step: &Release) -> About {
    let ReleaseAction::Install(new) = &step.action else { return About::new() };
    let mut facts = about([("release", new.mark.clone())]);
    for (number, image) in new.images.iter().enumerate() {
        let name = format!("image.{:03}", number.saturating_add(1));
        facts.insert(name, format!("{} -> {}", image.from, image.to));
    }
    facts
}

/// Keeps the values files of the site that the plan has looked at.
fn keep_overlays(step: &Release, kept: &Path) -> Result<(), TargetError> {
    let ReleaseAction::Install(new) = &step.action else { return Ok(()) };
    for file in &new.values {
        let Some(overlay) = &file.overlay else { continue };
        let place = kept_values(kept, &file.content.digest);
        if place.exists() {
            continue;
        }
        let read = |source| TargetError::Io { doing: "cannot read", path: overlay.clone(), source };
        let bytes = layout::durable::read_bounded(overlay, edge::yaml::YAML_BYTES_MAX).map_err(read)?;
        if Content::of(&bytes) != file.content {
            return Err(TargetError::Overlay { path: overlay.clone() });
        }
        layout::durable::replace(&place, &bytes, 0o600).map_err(|source| TargetError::Io {
            doing: "cannot write",
            path: place.clone(),
            source,
        })?;
    }
    Ok(())
}

/// Lays out what Helm reads, each file hashed once more, and gives the arguments.
fn stage(
    step: &Release,
    new: &InstallRelease,
    kept: &Path,
    context: &Context<'_>,
) -> Result<Vec<String>, TargetError> {
    let home = context.site.run_dir().join("helm");
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| TargetError::Io { doing: "cannot write", path, source }
    };
    layout::durable::make_directory(&home).map_err(failed(&home))?;
    let store = context.site.store();
    let archive = home.join(charts::ARCHIVE);
    copy(&store.blob_path(&new.archive.digest), &archive, new.archive)?;
    let shown = |path: &Path| path.display().to_string();
    let mut args: Vec<String> = ["upgrade", "--install", step.release.as_str()].map(String::from).to_vec();
    args.extend([shown(&archive), "--description".into(), new.mark.clone()]);
    if new.create_namespace {
        args.push("--create-namespace".into());
    }
    for (position, file) in new.values.iter().enumerate() {
        let from = match &file.overlay {
            Some(_) => kept_values(kept, &file.content.digest),
            None => store.blob_path(&file.content.digest),
        };
        let to = home.join(charts::values_name(position));
        copy(&from, &to, file.content)?;
        args.extend(["--values".into(), shown(&to)]);
    }
    if new.rewrite {
        args.extend(post_renderer(step, new, &home, context)?);
    }
    Ok(args)
}

fn copy(from: &Path, to: &Path, content: Content) -> Result<(), TargetError> {
    let failed = |source| TargetError::Io { doing: "cannot copy to", path: to.to_path_buf(), source };
    let mut out = std::fs::File::create(to).map_err(failed)?;
    let mut file = std::fs::File::open(from).map_err(failed)?;
    let (found, _) = layout::hashing::copy(&mut file, &mut out).map_err(failed)?;
    if found == content {
        return Ok(());
    }
    Err(failed(io::Error::new(io::ErrorKind::InvalidData, "what was kept of it has changed")))
}

/// This program as the post-renderer: for Helm 3 as an executable, for Helm 4 as a plugin.
fn post_renderer(
    step: &Release,
    new: &InstallRelease,
    home: &Path,
    context: &Context<'_>,
) -> Result<Vec<String>, TargetError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| TargetError::Io { doing: "cannot write", path, source }
    };
    let map = home.join(MAP_NAME);
    let text = serde_json::to_vec(&Map::of(new)).map_err(|error| failed(&map)(io::Error::other(error)))?;
    std::fs::write(&map, text).map_err(failed(&map))?;
    let ours = context.env.program.display().to_string();
    let args = ["post-render".to_string(), "--map".to_string(), map.display().to_string()];
    let helm = Helm::at(step.helm.clone(), context.env).map_err(|error| TargetError::HelmAnswer {
        doing: "asking for its version".to_string(),
        reason: crate::apply::chain(&error),
    })?;
    if helm.major() == 3 {
        let mut all = vec!["--post-renderer".to_string(), ours];
        for arg in args {
            all.extend(["--post-renderer-args".to_string(), arg]);
        }
        return Ok(all);
    }
    let directory = home.join("plugins").join(PLUGIN);
    std::fs::create_dir_all(&directory).map_err(failed(&directory))?;
    let command = serde_json::json!({"command": ours, "args": args});
    let plugin = serde_json::json!({
        "apiVersion": "v1",
        "name": PLUGIN,
        "version": "1.0.0",
        "type": "postrenderer/v1",
        "runtime": "subprocess",
        "runtimeConfig": {"platformCommand": [command]},
    });
    let path = directory.join("plugin.yaml");
    // JSON is YAML, and needs no quoting of ours.
    std::fs::write(&path, plugin.to_string()).map_err(failed(&path))?;
    Ok(vec!["--post-renderer".to_string(), PLUGIN.to_string()])
}

/// Brings the release back to what it was, wherever the step was cut off. May be run again.
///
/// # Errors
/// Helm fails, or somebody else has changed the release meanwhile.
pub fn undo(step: &Release, kept: &Path, context: &Context<'_>) -> Result<(), TargetError> {
    let cli = Cli::of(step, context);
    scripts::remove(&cli.home())?;
    if !begun_path(kept, step).exists() {
        return Ok(());
    }
    let _held = Interruption::watch();
    let restored = cli.restore();
    scripts::remove(&cli.home())?;
    restored
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(revision: u64, status: &str, description: &str) -> Revision {
        let (status, description) = (status.to_string(), description.to_string());
        Revision { revision, status, chart: "c-1.0.0".to_string(), description }
    }

    #[test]
    fn a_mark_is_found_behind_rollbacks_and_nowhere_else() {
        let history = |last: Revision| {
            History(vec![
                revision(1, "superseded", "airlock sha256:a"),
                revision(2, "superseded", "airlock sha256:b"),
                revision(3, "superseded", "Rollback to 1"),
                last,
            ])
        };
        assert_eq!(history(revision(4, "deployed", "Rollback to 3")).mark(), Some("airlock sha256:a"));
        assert_eq!(history(revision(4, "deployed", "Rollback to 2")).mark(), Some("airlock sha256:b"));
        assert_eq!(history(revision(4, "deployed", "Upgrade complete")).mark(), None);
        assert_eq!(history(revision(4, "deployed", "Rollback to 4")).mark(), None);
        assert!(history(revision(4, "deployed", "Upgrade complete")).is_ours());
        assert!(!History(vec![revision(1, "deployed", "Install complete")]).is_ours());
    }

    #[test]
    fn a_pod_that_is_not_ready_is_told_in_few_words() {
        let pod = serde_json::json!({
            "metadata": {"name": "web-0"},
            "status": {
                "phase": "Pending",
                "conditions": [{"type": "Ready", "status": "False"}],
                "containerStatuses": [{"name": "web", "state": {"waiting": {"reason": "ImagePullBackOff"}}}],
            },
        });
        assert_eq!(unready_pod(&pod).unwrap(), "pod web-0: Pending, container web: ImagePullBackOff");
        let ready = serde_json::json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        assert_eq!(unready_pod(&ready), None);
        let event = serde_json::json!({"type": "Warning", "reason": "Failed", "message": "no such image",
            "involvedObject": {"kind": "Pod", "name": "web-0"}});
        assert_eq!(warning(&event).unwrap(), "pod web-0: Failed no such image");
    }
}
