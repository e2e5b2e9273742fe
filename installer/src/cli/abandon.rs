//! `installer abandon`: takes back a run that was cut off, from its journal alone. No bundle is needed for it,
//! and no medium.

use clap::Args;
use edge::{Exit, Failure, Screen};
use manifests::audit::Outcome;
use manifests::text::Marking;
use serde::Serialize;

use super::apply::close;
use super::change::{change, conduct};
use crate::audit::{AuditLog, about};
use crate::journal::{self, Found};
use crate::plan::{Plan, PlanKind};
use crate::site::Site;

/// The arguments of `abandon`.
#[derive(Debug, Args)]
pub(super) struct AbandonArgs {
    /// Why, for the log
    #[arg(long)]
    reason: Option<Marking>,
    /// Go ahead; without it what would be taken back is shown and nothing is changed
    #[arg(long)]
    yes: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    plan: &'a Plan,
    /// The steps that were begun, counted from 1.
    begun: Vec<usize>,
    abandoned: bool,
}

impl AbandonArgs {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        // A site without trust has no log either: nothing is written then.
        site.trust()?;
        if !self.yes {
            let found = unfinished(site)?;
            screen.note(&show(&found));
            return Err(Failure::new(Exit::Usage, "nothing was changed").hint("add --yes to take it back"));
        }
        change(site, screen, |screen, _, log| self.abandon(site, screen, log))
    }

    fn abandon(&self, site: &Site, screen: &mut Screen<'_>, log: &AuditLog) -> Result<(), Failure> {
        let found = unfinished(site)?;
        let mut facts = about([
            ("bundle", found.plan.bundle.to_string()),
            ("product", format!("{} {}", found.plan.product, found.plan.version)),
        ]);
        facts.extend(self.reason.iter().map(|reason| ("reason".to_string(), reason.to_string())));
        log.append(screen.env, "abandon", Outcome::Intent, facts.clone())?;
        conduct(site, screen, log, |run| Ok(run.take_back(&found)?))
            .map_err(|failure| close(failure, "abandon", log, screen, facts.clone()))?;
        log.append(screen.env, "abandon", Outcome::Done, facts)?;
        let human = format!("{}\nall of it was taken back\n", show(&found));
        screen.result(&human, &Document { plan: &found.plan, begun: begun(&found), abandoned: true })
    }
}

fn unfinished(site: &Site) -> Result<Found, Failure> {
    journal::unfinished(site)?.ok_or_else(|| {
        Failure::usage("nothing was cut off here").hint("`installer status` says what the site runs")
    })
}

fn begun(found: &Found) -> Vec<usize> {
    let steps = (0..found.plan.steps.len()).filter(|step| found.was_begun(*step) && !found.was_undone(*step));
    steps.map(|step| step.saturating_add(1)).collect()
}

/// What was begun, the last first, as it will be taken back.
fn show(found: &Found) -> String {
    let plan = &found.plan;
    let what = match (found.is_undoing(), plan.kind) {
        (true, _) => "the undoing of",
        (false, PlanKind::Apply) => "an apply of",
        (false, PlanKind::Remove) => "the removal of",
    };
    let mut text = format!(
        "{}\n{what} {} {} {} was cut off\nbundle {}\n",
        plan.marking, plan.publisher, plan.product, plan.version, plan.bundle
    );
    for number in begun(found).into_iter().rev() {
        if let Some(step) = plan.steps.get(number.saturating_sub(1)) {
            text.push_str(&format!("  {number:>3}. take back: {}\n", step.title()));
        }
    }
    text
}
