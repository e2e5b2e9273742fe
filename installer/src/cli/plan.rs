//! `installer plan`

use std::path::PathBuf;

use clap::Args;
use edge::{Failure, Screen};
use serde::Serialize;

use super::checks::{CheckArgs, stopped};
use super::verify::Lent;
use super::{difference, text_diff};
use crate::audit::AuditLog;
use crate::due;
use crate::plan::{self, Plan};
use crate::preflight::report::Report;
use crate::site::Site;
use crate::targets::Context;

/// The arguments of `plan`.
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// The bundle: an archive, or directories of its discs
    #[arg(required = true)]
    bundle: Vec<PathBuf>,
    #[command(flatten)]
    checks: CheckArgs,
}

/// What `plan` and `apply` show.
#[derive(Serialize)]
pub(super) struct Document<'a> {
    pub(super) plan: &'a Plan,
    pub(super) findings: &'a Report,
    pub(super) applied: bool,
    /// How long it took, from the first check to the last step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seconds: Option<f64>,
}

impl PlanArgs {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let asked = self.checks.asked()?;
        let given = super::verify::given(&self.bundle, screen)?;
        let judged = super::judged(site, screen.env)?;
        let Lent { bundle, loan } = super::verify::lent(site, screen, &given, false, "plan")?;
        let site = &loan.to(site);
        let config = site.config()?;
        let http = super::client()?;
        let context = Context { site, config: &config, env: screen.env, http: &http };
        let due = due::due(&bundle, &judged, site)?;
        let findings = asked.look(&bundle, &judged, &due, &context);
        asked.log(&findings, Some(bundle.digest()), "plan", &AuditLog::of(site, context.env), context.env)?;
        if let Err(blocked) = findings.require() {
            screen.note(findings.table().trim_end());
            return Err(stopped(blocked, &findings));
        }
        let plan = Plan { change: asked.change.clone(), ..plan::plan(&bundle, &due, &config, &context)? };
        let texts = if screen.common.verbose > 0 { text_diff::texts(&plan, &context) } else { String::new() };
        let human = format!("{}\n{}{texts}\nnothing was changed\n", findings.table(), show(&plan));
        screen.result(&human, &Document { plan: &plan, findings: &findings, applied: false, seconds: None })
    }
}

/// A plan for people.
pub(super) fn show(plan: &Plan) -> String {
    let from = plan.from.as_ref().map_or("nothing".to_string(), ToString::to_string);
    let mut text = format!(
        "{}\nplan for {} {}: from {from} to {} (order {})\nbundle {}\n",
        plan.marking, plan.publisher, plan.product, plan.version, plan.order, plan.bundle
    );
    text.push_str(&difference::steps(plan));
    if plan.steps.is_empty() {
        text.push_str("  everything is in place already\n");
    }
    if let Some(change) = &plan.change {
        text.push_str(&format!("  ticket: {change}\n"));
    }
    for note in &plan.notes {
        text.push_str(&format!("  note: {note}\n"));
    }
    text
}
