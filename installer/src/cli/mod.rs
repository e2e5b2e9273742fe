//! The command line of `installer`: what can be typed. One file for each subcommand.

mod abandon;
mod acknowledge;
mod apply;
mod audit;
mod change;
mod checks;
mod diagnose;
mod difference;
mod drift;
mod drive;
mod gc;
mod history;
mod inspect;
mod plan;
pub(crate) mod post_render;
mod preflight;
mod receipt;
mod remove;
mod report;
mod review;
mod rollback;
mod serve;
mod status;
mod text_diff;
mod trust;
mod verify;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use edge::manual::{CompletionsArgs, ManArgs};
use edge::show::{self, Common};
use edge::{Env, Exit, Failure, Screen};
use manifests::audit::Outcome;
use manifests::bundle::BundleDigest;
use registry::{Http, HttpSettings};

use crate::audit::{AuditLog, about};
use crate::site::lock::SiteLock;
use crate::site::{DEFAULT_DIR, Site};
use crate::witness::{self, Judged};

/// Verifies a bundle that crossed an air gap, loads it, and applies it.
#[derive(Debug, Parser)]
#[command(name = "installer", version, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    /// The site's directory
    #[arg(long, global = true, default_value = DEFAULT_DIR)]
    site: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Whom this site trusts
    #[command(subcommand)]
    Trust(trust::TrustCommand),
    /// Check a whole bundle; writes nothing but the entry in the audit log
    Verify(verify::VerifyArgs),
    /// Show what is in a bundle, after its signatures were checked
    Inspect(inspect::InspectArgs),
    /// Look at everything that applying a bundle, or going back, needs of this site; changes nothing
    Preflight(preflight::PreflightArgs),
    /// Check a whole bundle and show what applying it would change
    Plan(plan::PlanArgs),
    /// Check a bundle, load it and apply it
    Apply(apply::ApplyArgs),
    /// Go back to a version that was applied here before; needs no medium
    Rollback(rollback::RollbackArgs),
    /// Take a whole product off this site
    Remove(remove::RemoveArgs),
    /// Remove what no rollback needs
    Gc(gc::GcArgs),
    /// Look whether what runs is what was shipped
    Drift(drift::DriftArgs),
    /// Take back what was cut off by a power cut or a kill; needs no bundle and no medium
    Abandon(abandon::AbandonArgs),
    /// Say that somebody has looked at what failed, so that it may go on
    Acknowledge(acknowledge::AcknowledgeArgs),
    /// What this site runs
    Status(status::StatusArgs),
    /// What was applied here, and when
    History(history::HistoryArgs),
    /// Serve what was applied: an OCI registry, a Python index, a Helm repository, files
    Serve(serve::ServeArgs),
    /// The audit log
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Write what an auditor files: a page or a document about this site, or about a bundle
    Report(report::ReportArgs),
    /// State what this site holds and runs, signed with its key, to be carried back
    Receipt(receipt::ReceiptArgs),
    /// Collect what a diagnosis needs, redacted, into one file; sends nothing
    Diagnose(diagnose::DiagnoseArgs),
    /// Print what lets a shell complete commands and options
    Completions(CompletionsArgs),
    /// Print a manual page, or write all of them
    Man(ManArgs),
    /// What Helm starts to give images their names on this site
    #[command(hide = true)]
    PostRender(post_render::PostRenderArgs),
}

/// Runs the program in a world.
pub fn run(env: &mut Env) -> Exit {
    show::run(env, |arguments: &Arguments| arguments.common.output, dispatch)
}

fn dispatch(arguments: Arguments, env: &mut Env) -> Result<(), Failure> {
    let site = Site::at(env.path(&arguments.site));
    let mut screen = Screen { env, common: arguments.common };
    match arguments.command {
        Command::Trust(command) => command.run(&site, &mut screen),
        Command::Verify(args) => args.run(&site, &mut screen),
        Command::Inspect(args) => args.run(&site, &mut screen),
        Command::Preflight(args) => args.run(&site, &mut screen),
        Command::Plan(args) => args.run(&site, &mut screen),
        Command::Apply(args) => args.run(&site, &mut screen),
        Command::Rollback(args) => args.run(&site, &mut screen),
        Command::Remove(args) => args.run(&site, &mut screen),
        Command::Gc(args) => args.run(&site, &mut screen),
        Command::Drift(args) => args.run(&site, &mut screen),
        Command::Abandon(args) => args.run(&site, &mut screen),
        Command::Acknowledge(args) => args.run(&site, &mut screen),
        Command::Status(args) => args.run(&site, &mut screen),
        Command::History(args) => args.run(&site, &mut screen),
        Command::Serve(args) => args.run(&site, &mut screen),
        Command::Audit(command) => command.run(&site, &mut screen),
        Command::Report(args) => args.run(&site, &mut screen),
        Command::Receipt(args) => args.run(&site, &mut screen),
        Command::Diagnose(args) => args.run(&site, &mut screen),
        Command::Completions(args) => args.run::<Arguments>(&mut screen),
        Command::Man(args) => args.run::<Arguments>(&mut screen),
        Command::PostRender(args) => args.run(&mut screen),
    }
}

/// The one HTTP client of a run.
fn client() -> Result<Http, Failure> {
    let settings = HttpSettings { environment_proxy: false, ..HttpSettings::default() };
    Http::new(&settings).map_err(|error| Failure::new(Exit::Unexpected, error.to_string()))
}

/// The site's trust, once state and log agree. For those who do not hold the site's lock: somebody may be
/// changing both this very moment, so a disagreement is looked at again under the lock.
fn judged(site: &Site, env: &Env) -> Result<Judged, Failure> {
    match witness::judge(site) {
        Err(error) if error.is_disagreement() => {
            let _lock = SiteLock::take(site, env)?;
            judged_under_lock(site, env)
        }
        other => Ok(other?),
    }
}

/// The same for those who hold the lock. That state and log do not agree is written down as well.
fn judged_under_lock(site: &Site, env: &Env) -> Result<Judged, Failure> {
    witness::judge(site).map_err(|error| {
        let disagree = error.is_disagreement();
        let failure = Failure::from(error);
        if !disagree {
            return failure;
        }
        let facts = about([("error", failure.messages().join(": "))]);
        match AuditLog::of(site, env).append(env, "site.check", Outcome::Refused, facts) {
            Ok(()) => failure,
            Err(error) => failure.and(&error.to_string()),
        }
    })
}

/// Writes into the log how a look at a bundle ended. A refusal is an event of its own.
fn log_verdict<T>(
    event: &str,
    log: &AuditLog,
    env: &Env,
    path: &std::path::Path,
    verdict: Result<T, Failure>,
    judged: impl FnOnce(&T) -> (BundleDigest, u64),
) -> Result<T, Failure> {
    let medium = path.display().to_string();
    match verdict {
        Ok(found) => {
            let (bundle, root_version) = judged(&found);
            let facts = about([
                ("medium", medium),
                ("bundle", bundle.to_string()),
                ("root_version", root_version.to_string()),
            ]);
            log.append(env, event, Outcome::Done, facts)?;
            Ok(found)
        }
        Err(failure) => {
            let is_decision = matches!(failure.exit(), Exit::Refused | Exit::NotReady);
            let outcome = if is_decision { Outcome::Refused } else { Outcome::Failed };
            let pairs = [
                ("medium", medium),
                ("error", failure.messages().join(": ")),
                ("class", failure.exit().word().to_string()),
            ];
            // The verdict on the medium matters more than a log that cannot be written.
            match log.append(env, event, outcome, about(pairs)) {
                Ok(()) => Err(failure),
                Err(error) => Err(failure.and(&error.to_string())),
            }
        }
    }
}
