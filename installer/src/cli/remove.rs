//! `installer remove`: takes a whole product off the site, as one plan with undo. Environments, blobs and journals
//! stay until `installer gc`; the signed originals and the log stay for good.

use clap::Args;
use edge::{Exit, Failure, Screen};
use manifests::audit::Outcome;
use manifests::inventory::Inventory;
use manifests::text::Name;

use super::apply::close;
use super::change::{change, conduct};
use super::checks::{Asked, CheckArgs, stopped};
use super::plan::{Document, show};
use crate::admit;
use crate::apply::Run;
use crate::audit::{AuditLog, about};
use crate::due;
use crate::journal;
use crate::plan::{self, Plan, PlanKind};
use crate::preflight::report::Report;
use crate::preflight::{self, rules};
use crate::site::Site;
use crate::site::ledger::{Applied, Ledger};
use crate::targets::Context;
use crate::witness::Judged;

/// The arguments of `remove`.
#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// The product
    product: Name,
    /// Go ahead; without it the plan is shown and nothing is changed
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    checks: CheckArgs,
}

/// What is to be removed.
struct Wanted {
    ledger: Ledger,
    current: Applied,
}

impl RemoveArgs {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let asked = self.checks.asked()?;
        // A site without trust has no log either: nothing is written then.
        site.trust()?;
        if !self.yes {
            let judged = super::judged(site, screen.env)?;
            let wanted = self.wanted(site, &judged)?;
            let (config, http) = (site.config()?, super::client()?);
            let context = Context { site, config: &config, env: screen.env, http: &http };
            let (plan, findings) = planned(&wanted, &judged, &asked, &context)?;
            screen.note(&format!("{}\n{}", findings.table(), show(&plan)));
            findings.require().map_err(|blocked| stopped(blocked, &findings))?;
            return Err(Failure::new(Exit::Usage, "nothing was changed").hint("add --yes to remove it"));
        }
        change(site, screen, |screen, judged, log| {
            let mut facts = about([("product", self.product.to_string())]);
            facts.extend(asked.facts());
            log.append(screen.env, "remove", Outcome::Intent, facts.clone())?;
            self.carry_out(site, judged, screen, log, &asked)
                .map_err(|failure| close(failure, "remove", log, screen, facts))
        })
    }

    fn carry_out(
        &self,
        site: &Site,
        judged: &Judged,
        screen: &mut Screen<'_>,
        log: &AuditLog,
        asked: &Asked,
    ) -> Result<(), Failure> {
        let ((plan, findings), seconds) =
            conduct(site, screen, log, |run| self.take_off(judged, run, asked))?;
        let (table, shown) = (findings.table(), show(&plan));
        let title = format!("{} {}", plan.product, plan.version);
        let human = format!("{table}\n{shown}\nremoved: {title} ({seconds:.1} s)\n");
        let document = Document { plan: &plan, findings: &findings, applied: true, seconds: Some(seconds) };
        screen.result(&human, &document)
    }

    fn take_off(&self, judged: &Judged, run: &Run<'_>, asked: &Asked) -> Result<(Plan, Report), Failure> {
        let site = run.context.site;
        match journal::unfinished(site)? {
            Some(found) if self.is_this(&found) => {
                run.resume(&found)?;
                return Ok((found.plan, asked.report(Vec::new())));
            }
            Some(found) => run.take_back(&found)?,
            None => {}
        }
        // Only now: what was cut off may have been of this very product.
        let wanted = self.wanted(site, judged)?;
        let (plan, findings) = planned(&wanted, judged, asked, run.context)?;
        asked.obey(&findings, plan.bundle, "remove", run)?;
        run.start(&plan)?;
        Ok((plan, findings))
    }

    /// Whether a run that was cut off was removing this.
    fn is_this(&self, found: &journal::Found) -> bool {
        found.plan.kind == PlanKind::Remove && found.plan.product == self.product && !found.is_undoing()
    }

    /// The product as the site runs it: the ledger names it, and the log knows that it was applied.
    fn wanted(&self, site: &Site, judged: &Judged) -> Result<Wanted, Failure> {
        let ledger = site.ledgers()?.into_iter().find(|ledger| ledger.product == self.product);
        let wanted = ledger.and_then(|ledger| {
            let current = ledger.current().cloned()?;
            Some(Wanted { ledger, current })
        });
        let Some(wanted) = wanted else {
            return Err(Failure::new(Exit::Refused, format!("the site does not run {}", self.product))
                .hint("`installer status` says what it runs"));
        };
        if judged.remembered.has_applied(wanted.current.bundle, wanted.current.root_version) {
            return Ok(wanted);
        }
        Err(due::DueError::Unknown(wanted.current.version).into())
    }
}

fn planned(
    wanted: &Wanted,
    judged: &Judged,
    asked: &Asked,
    context: &Context<'_>,
) -> Result<(Plan, Report), Failure> {
    let Wanted { ledger, current } = wanted;
    let due = due::due_for_removal(ledger, judged, context.site)?;
    let mut findings = rules::check(context.config, asked.change.as_ref(), context.env.clock.now());
    findings.extend(preflight::scripts::check(&due, context.config, context));
    // What cannot be believed any more is as if it were not there: less is known then, and less is taken away.
    let left: Option<Inventory> = admit::kept_inventory(context.site, &judged.trust, current).ok();
    let plan = plan::removal(ledger, current, left.as_ref(), &due, context.config, context)?;
    Ok((Plan { change: asked.change.clone(), ..plan }, asked.report(findings)))
}
