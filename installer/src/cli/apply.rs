//! `installer apply`

use std::path::PathBuf;

use clap::Args;
use edge::progress::Shown;
use edge::{Exit, Failure, Screen};
use layout::medium::Input;
use manifests::audit::Outcome;
use manifests::bundle::BundleDigest;
use manifests::{Inventory, VerifiedBundle};

use super::change::{change, conduct};
use super::checks::{Asked, CheckArgs, stopped};
use super::drive::AtTheDrive;
use super::plan::{Document, show};
use super::verify::Lent;
use crate::admit::{self, AdmitError};
use crate::apply::{Run, applied_facts};
use crate::audit::{About, AuditLog, about};
use crate::discs::{self, Given};
use crate::due;
use crate::journal;
use crate::plan::{self, Plan, PlanKind};
use crate::preflight::report::Report;
use crate::site::Site;
use crate::targets::Context;
use crate::witness::Judged;

/// The arguments of `apply`.
#[derive(Debug, Args)]
pub(super) struct ApplyArgs {
    /// The bundle: an archive, or directories of its discs; on a terminal the next one is asked for
    #[arg(required = true)]
    bundle: Vec<PathBuf>,
    /// Go ahead; without it the plan is shown and nothing is changed
    #[arg(long)]
    yes: bool,
    /// Repair what is damaged, from the recovery data beside the bundle or on its discs, while it is loaded; nothing
    /// is written to the medium
    #[arg(long)]
    repair: bool,
    #[command(flatten)]
    checks: CheckArgs,
}

impl ApplyArgs {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let asked = self.checks.asked()?;
        let given = super::verify::given(&self.bundle, screen)?;
        // A site without trust has no log either: nothing is written then.
        site.trust()?;
        if !self.yes {
            let judged = super::judged(site, screen.env)?;
            return self.show_only(site, &judged, screen, &given, &asked);
        }
        change(site, screen, |screen, judged, log| {
            let medium = given.title().display().to_string();
            let mut facts = about([("medium", medium)]);
            facts.extend(asked.facts());
            log.append(screen.env, "apply", Outcome::Intent, facts.clone())?;
            let shown = screen.progress();
            let changer = AtTheDrive::of(screen);
            let load = |context: &Context<'_>| {
                admitted(context, &shown, &given, self.repair, (&changer, log, &asked))
            };
            let from = Source { load: &load, command: "apply" };
            carry_out(site, judged, screen, log, &from, &asked)
                .map_err(|failure| close(failure, "apply", log, screen, facts))
        })
    }

    fn show_only(
        &self,
        site: &Site,
        judged: &Judged,
        screen: &mut Screen<'_>,
        given: &Given,
        asked: &Asked,
    ) -> Result<(), Failure> {
        let Lent { bundle, loan } = super::verify::lent(site, screen, given, self.repair, "plan")?;
        show_plan(&loan.to(site), judged, screen, &bundle, "apply", asked)
    }
}

/// What would be done, for somebody who has not said `--yes`.
pub(super) fn show_plan(
    site: &Site,
    judged: &Judged,
    screen: &mut Screen<'_>,
    bundle: &VerifiedBundle,
    command: &str,
    asked: &Asked,
) -> Result<(), Failure> {
    let (config, http) = (site.config()?, super::client()?);
    let context = Context { site, config: &config, env: screen.env, http: &http };
    let due = due::due(bundle, judged, site)?;
    let findings = asked.look(bundle, judged, &due, &context);
    let command = format!("{command} without --yes");
    let log = AuditLog::of(site, context.env);
    asked.log(&findings, Some(bundle.digest()), &command, &log, context.env)?;
    if let Err(blocked) = findings.require() {
        screen.note(findings.table().trim_end());
        return Err(stopped(blocked, &findings));
    }
    let plan = Plan { change: asked.change.clone(), ..plan::plan(bundle, &due, &config, &context)? };
    screen.note(&format!("{}\n{}", findings.table(), show(&plan)));
    Err(Failure::new(Exit::Usage, "nothing was changed").hint("add --yes to apply this plan"))
}

/// An intent in the log has an outcome, whatever became of it; only a power cut leaves it without. A run
/// that undid something has written its own.
pub(super) fn close(
    failure: Failure,
    event: &str,
    log: &AuditLog,
    screen: &Screen<'_>,
    mut facts: About,
) -> Failure {
    let outcome = match failure.exit() {
        Exit::Undone | Exit::NotUndone => return failure,
        Exit::Refused | Exit::NotReady => Outcome::Refused,
        _ => Outcome::Failed,
    };
    facts.extend(about([("error", failure.messages().join(": "))]));
    match log.insist(|| log.append(screen.env, event, outcome, facts.clone())) {
        Ok(()) => failure,
        Err(error) => failure.and(&error.to_string()),
    }
}

/// Where a bundle comes from: a medium, or what the site has kept.
pub(super) type Load<'a> = dyn Fn(&Context<'_>) -> Result<VerifiedBundle, Failure> + 'a;

/// A bundle that is to be loaded.
pub(super) struct Source<'a> {
    /// Loads it.
    pub(super) load: &'a Load<'a>,
    /// What somebody has typed.
    pub(super) command: &'static str,
}

/// Loads the bundle, and applies it.
pub(super) fn carry_out(
    site: &Site,
    judged: &Judged,
    screen: &mut Screen<'_>,
    log: &AuditLog,
    from: &Source<'_>,
    asked: &Asked,
) -> Result<(), Failure> {
    let (Applied { plan, findings, resumed }, seconds) =
        conduct(site, screen, log, |run| load_and_apply(judged, run, from, asked))?;
    let what = if from.command == "rollback" { "rolled back" } else { "applied" };
    let first = if resumed { "an interrupted apply was dealt with first\n" } else { "" };
    let last = if plan.steps.is_empty() { "was in place already" } else { "is in place" };
    let human = format!(
        "{}\n{}\n{first}{what}: {} {} {last} ({seconds:.1} s)\n",
        findings.table(),
        show(&plan),
        plan.product,
        plan.version
    );
    let document = Document { plan: &plan, findings: &findings, applied: true, seconds: Some(seconds) };
    screen.result(&human, &document)
}

/// What was done.
struct Applied {
    plan: Plan,
    findings: Report,
    /// Whether a run that was cut off was dealt with first.
    resumed: bool,
}

fn load_and_apply(
    judged: &Judged,
    run: &Run<'_>,
    from: &Source<'_>,
    asked: &Asked,
) -> Result<Applied, Failure> {
    let context = run.context;
    let (site, config) = (context.site, context.config);
    // An undo that was cut off needs no bundle: it is finished before anything is read from the medium.
    let undone = match journal::unfinished(site)?.filter(journal::Found::is_undoing) {
        Some(found) => run.take_back(&found).map(|()| true)?,
        None => false,
    };
    asked.before_reading(from.command, run.audit, context)?;
    let bundle = (from.load)(context)?;
    let mut due = due::due(&bundle, judged, site)?;
    let findings = asked.look(&bundle, judged, &due, context);
    asked.obey(&findings, bundle.digest(), from.command, run)?;
    // After the checks: a registry that is down must not cost the way back.
    let recovered = recover(site, run, bundle.digest())?;
    if recovered {
        // What was cut off may have run its scripts meanwhile.
        due = due::due(&bundle, judged, site)?;
    }
    let plan = Plan { change: asked.change.clone(), ..plan::plan(&bundle, &due, config, context)? };
    let outcome = if plan.steps.is_empty() {
        let mut facts = applied_facts(&plan);
        facts.insert("steps".to_string(), "0".to_string());
        run.audit.append(context.env, "apply", Outcome::Done, facts).map_err(Failure::from)
    } else {
        run.start(&plan).map_err(Failure::from)
    };
    // Whoever is told of a failure sees what was being done.
    outcome.inspect_err(|_| context.env.stderr.say(&format!("{}\n{}", findings.table(), show(&plan))))?;
    Ok(Applied { plan, findings, resumed: recovered || undone })
}

/// Verifies and loads the bundle, and logs how that ended.
fn admitted(
    context: &Context<'_>,
    shown: &Shown,
    given: &Given,
    repair: bool,
    (changer, log, asked): (&AtTheDrive, &AuditLog, &Asked),
) -> Result<VerifiedBundle, Failure> {
    let (site, config) = (context.site, context.config);
    let gate = |bundle, inventory: &Inventory| asked.before_copying(bundle, inventory, log, context);
    let bar = || shown.begin("loading", given.bytes());
    let verdict = match given {
        _ if repair => {
            super::verify::repaired(site, context.env, log, given, shown).and_then(|(input, report)| {
                context.env.stderr.say(report.text().trim_end());
                let title = given.title();
                let input = Input::Forward(input);
                admit::admit_input(site, config, &title, input, &gate, &mut *bar()).map_err(Failure::from)
            })
        }
        Given::Archive(path) => Input::open(path)
            .map_err(AdmitError::from)
            .and_then(|input| admit::admit_input(site, config, path, input, &gate, &mut *bar()))
            .map_err(Failure::from),
        Given::Discs(places) => {
            discs::admit_through(site, config, places, changer, &gate, &mut *bar()).map_err(Failure::from)
        }
    };
    super::log_verdict("admit", log, context.env, &given.title(), verdict, |bundle| {
        (bundle.digest(), bundle.root_version())
    })
}

/// Deals with a run that was cut off: an apply of the same bundle is gone on with, everything else is taken back.
fn recover(site: &Site, run: &Run<'_>, bundle: BundleDigest) -> Result<bool, Failure> {
    let Some(found) = journal::unfinished(site)? else { return Ok(false) };
    if found.plan.bundle == bundle && found.plan.kind == PlanKind::Apply {
        run.resume(&found)?;
    } else {
        run.take_back(&found)?;
    }
    Ok(true)
}
