//! Whether what runs is what was shipped: for each product the plan of the very bundle that the site runs, which
//! has nothing to do while everything is as it was put there; and what such a plan does not look at: the inside of
//! environments, and the owners of files.
//!
//! *What it never does:* change anything, or believe the site store. What was kept is checked byte by byte first,
//! as for a rollback.

use std::os::unix::fs::MetadataExt;

use edge::progress::Progress;
use manifests::VerifiedBundle;
use manifests::inventory::Component;

use crate::admit::{self, AdmitError};
use crate::apply::chain;
use crate::due;
use crate::holdings::Holdings;
use crate::origins::Origins;
use crate::plan::{self, Plan, Step};
use crate::preflight::Finding;
use crate::site::ledger::{Applied, Ledger};
use crate::targets::{Context, files, kubernetes, python};
use crate::witness::Judged;

/// The ids, by the words that steps have for their targets.
const IDS: [(&str, &str); 9] = [
    ("registry", "drift/registry"),
    ("docker", "drift/docker"),
    ("containerd", "drift/containerd"),
    ("python", "drift/python"),
    ("files", "drift/files"),
    ("scripts", "drift/scripts"),
    ("helm", "drift/helm"),
    ("kubernetes", "drift/kubernetes"),
    ("serve", "drift/serve"),
];

fn id(target: &str) -> &'static str {
    IDS.iter().find(|(word, _)| *word == target).map_or("drift/other", |(_, id)| id)
}

/// Looks at one product. Every finding is there at once; what could not be looked at is one as well.
#[must_use]
pub fn look(
    ledger: &Ledger,
    current: &Applied,
    judged: &Judged,
    context: &Context<'_>,
    progress: &mut dyn Progress,
) -> Vec<Finding> {
    let title = format!("{} {}", ledger.product, current.version);
    if !judged.remembered.has_applied(current.bundle, current.root_version) {
        return vec![Finding::fail(
            "drift/ledger",
            format!("the ledger says that {title} was applied here, and the audit log does not"),
            "a ledger that the log bears out",
            "stop, and find out who changed the ledger",
        )];
    }
    let bundle = match admit::readmit(context.site, &judged.trust, context.config, current, progress) {
        Ok(bundle) => bundle,
        Err(error) => return vec![not_kept(&title, &error)],
    };
    let mut findings = vec![Finding::pass(
        "drift/store",
        format!("the site store has every blob of {title}"),
        "what was shipped, byte for byte",
    )];
    let planned = due::due(&bundle, judged, context.site)
        .map_err(|error| chain(&error))
        .and_then(|due| plan::plan(&bundle, &due, context.config, context).map_err(|error| chain(&error)));
    match planned {
        Ok(plan) => findings.extend(compared(&plan, &title)),
        Err(error) => findings.push(Finding::fail(
            "drift/unknown",
            format!("a target of {title} could not be looked at: {error}"),
            "targets that answer",
            "start it, or correct `targets` in site.yaml, and look again",
        )),
    }
    findings.extend(objects(&bundle, context));
    findings.extend(shown(current, &title, context));
    findings.extend(environments(&bundle, &title, context));
    findings.extend(owners(&bundle, context));
    findings
}

fn not_kept(title: &str, error: &AdmitError) -> Finding {
    let cause = chain(error);
    match error {
        AdmitError::Refused { .. } => Finding::fail(
            "drift/trust",
            format!("{title} would not be taken any more: {cause}"),
            "a version that the publisher stands by",
            "ask the sender for a current one",
        ),
        _ => Finding::fail(
            "drift/store",
            format!("what was kept of {title} is not what was shipped: {cause}"),
            "what was shipped, byte for byte",
            "apply it again from its medium, which replaces what has rotted; and look at the disk",
        ),
    }
}

/// What a plan of the bundle that runs already would do is what has drifted.
fn compared(plan: &Plan, title: &str) -> Vec<Finding> {
    let remedy = format!("find out who changed it; installer rollback {} --yes puts it back", plan.version);
    let mut findings = Vec::new();
    for target in IDS.iter().map(|(word, _)| *word).filter(|word| !matches!(*word, "serve" | "kubernetes")) {
        let prefix = format!("{target}: ");
        let same = plan.unchanged.iter().filter(|line| line.starts_with(&prefix)).count();
        if same > 0 {
            let fact = format!("{same} of {title} {} as shipped", if same == 1 { "is" } else { "are" });
            findings.push(Finding::pass(id(target), fact, "what was shipped"));
        }
    }
    // What `serve` shows depends on other products as well, and of objects single fields are compared: both for
    // themselves.
    let apart = |step: &&Step| matches!(step, Step::Publish(_) | Step::Record(_) | Step::Objects(_));
    let steps = plan.steps.iter().filter(|step| !apart(step));
    findings
        .extend(steps.map(|step| Finding::fail(id(step.target()), fact(step), "what was shipped", &*remedy)));
    let notes = plan.notes.iter().filter(|note| note.contains(" is left alone: "));
    findings.extend(notes.map(|note| Finding::warn("drift/files", note, "what was shipped", "look at it")));
    findings
}

/// What is otherwise, by what would have to be done.
fn fact(step: &Step) -> String {
    match step {
        Step::File(write) => match &write.old {
            None => format!("{} is gone", write.path.display()),
            Some(old) if old.digest == write.new.digest => {
                format!("{} has mode {:04o}, not {}", write.path.display(), old.mode, write.new.mode)
            }
            Some(old) => {
                let (found, shipped) = (old.digest.short(), write.new.digest.short());
                format!("{} has other content: {found}, not {shipped}", write.path.display())
            }
        },
        Step::Venv(venv) => format!("{} is not the environment of this version", venv.link.display()),
        Step::Push(push) => match push.old {
            Some(old) if old != push.manifest.digest => {
                format!("{} stands for {}, not {}", step.subject(), old.short(), push.manifest.digest.short())
            }
            _ => format!("{} is not there, or not all of it", step.subject()),
        },
        Step::Unwrite(_) | Step::Unlink(_) | Step::Withdraw(_) => {
            format!("{} is of another version", step.subject())
        }
        other => format!("not in place: {}", other.subject()),
    }
}

/// Objects of a cluster: the fields that were shipped, whatever else others have written beside them.
fn objects(bundle: &VerifiedBundle, context: &Context<'_>) -> Vec<Finding> {
    let Some(target) = &context.config.targets.kubernetes else { return Vec::new() };
    let is_set = |part: &Component| matches!(part, Component::KubernetesManifests(_));
    if !bundle.inventory().components.iter().any(is_set) {
        return Vec::new();
    }
    let manifest = bundle.manifest();
    let owner = kubernetes::owner(&manifest.publisher, &manifest.product);
    let required = "the fields that were shipped";
    let remedy =
        format!("find out who changed it; installer rollback {} --yes puts it back", manifest.version);
    let fail = |fact: String| Finding::fail("drift/kubernetes", fact, required, &*remedy);
    match kubernetes::drift(bundle, &owner, target, context) {
        Err(error) => vec![fail(format!("the cluster cannot be asked: {}", chain(&error)))],
        Ok(found) => found
            .into_iter()
            .map(|(id, drift)| match drift {
                kubernetes::Drift::AsShipped => {
                    Finding::pass("drift/kubernetes", format!("{id} is as shipped"), required)
                }
                kubernetes::Drift::Missing => fail(format!("{id} is gone")),
                kubernetes::Drift::Changed(fields) => {
                    fail(format!("{id} has changed: {}", fields.join(", ")))
                }
            })
            .collect(),
    }
}

fn shown(current: &Applied, title: &str, context: &Context<'_>) -> Option<Finding> {
    let required = "every version that the site runs";
    Some(match context.site.published() {
        Ok(shown) if shown.contains(&current.bundle) => {
            Finding::pass("drift/serve", format!("`serve` shows {title}"), required)
        }
        Ok(_) => Finding::fail(
            "drift/serve",
            format!("`serve` does not show {title}"),
            required,
            format!("installer rollback {} --yes", current.version),
        ),
        Err(error) => Finding::fail("drift/serve", chain(&error), required, "find out who changed it"),
    })
}

/// The inside of the environments that are in use.
fn environments(bundle: &VerifiedBundle, title: &str, context: &Context<'_>) -> Vec<Finding> {
    let Some(target) = &context.config.targets.python else { return Vec::new() };
    let required = "what is in the wheels that were shipped";
    let mut findings = Vec::new();
    for (wheelhouse, venv, _) in python::environments(target, bundle.digest(), bundle.inventory()) {
        if !venv.is_dir() {
            // That it is gone was said already.
            continue;
        }
        let version = &bundle.manifest().version;
        let remedy =
            format!("remove {}, and installer rollback {version} --yes makes it anew", venv.display());
        let altered = python::version(target, context)
            .and_then(|version| python::altered(&venv, wheelhouse, &version, context));
        match altered {
            Ok(altered) if altered.is_empty() => findings.push(Finding::pass(
                "drift/python",
                format!("{} is as pip has left it", venv.display()),
                required,
            )),
            Ok(altered) => findings.extend(altered.into_iter().take(FILES_SHOWN_MAX).map(|file| {
                Finding::fail("drift/python", format!("{}: {file}", venv.display()), required, &*remedy)
            })),
            Err(error) => findings.push(Finding::fail(
                "drift/python",
                format!("the environment of {title} cannot be looked at: {}", chain(&error)),
                required,
                remedy,
            )),
        }
    }
    findings
}

/// How many files of one environment are named.
const FILES_SHOWN_MAX: usize = 20;

/// Files belong to whom they belonged before they were replaced; new ones to whoever owns the site.
fn owners(bundle: &VerifiedBundle, context: &Context<'_>) -> Vec<Finding> {
    let (Ok(origins), Ok(site)) = (Origins::of(context.site), std::fs::symlink_metadata(context.site.dir()))
    else {
        return Vec::new();
    };
    let has_files = bundle.inventory().components.iter().any(|part| matches!(part, Component::FileSet(_)));
    let held =
        if has_files { Holdings::of(bundle.inventory(), context.config).files } else { Default::default() };
    let mut findings = Vec::new();
    for path in held {
        let Some(origin) = origins.files.get(&path) else { continue };
        let wanted = origin.before.as_ref().map_or((site.uid(), site.gid()), |b| (b.file.uid, b.file.gid));
        if let Ok(Some(now)) = files::state(&path)
            && (now.uid, now.gid) != wanted
        {
            findings.push(Finding::warn(
                "drift/owner",
                format!(
                    "{} belongs to {}:{}, not {}:{}",
                    path.display(),
                    now.uid,
                    now.gid,
                    wanted.0,
                    wanted.1
                ),
                "the owner that it had when it was put there",
                format!("find out who changed it; chown {}:{} {}", wanted.0, wanted.1, path.display()),
            ));
        }
    }
    findings
}
