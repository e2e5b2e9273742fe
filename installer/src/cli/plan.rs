//! `installer plan`

use std::path::PathBuf;

use clap::Args;
use edge::{Failure, Screen};
use serde::Serialize;

use crate::due;
use crate::plan::{self, Plan};
use crate::preflight::{self, Finding, Verdict};
use crate::site::Site;
use crate::targets::Context;

/// The arguments of `plan`.
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// The bundle: an archive, or directories of its discs
    #[arg(required = true)]
    bundle: Vec<PathBuf>,
}

/// What `plan` and `apply` show.
#[derive(Serialize)]
pub(super) struct Document<'a> {
    pub(super) plan: &'a Plan,
    pub(super) findings: &'a [Finding],
    pub(super) applied: bool,
    /// How long it took, from the first check to the last step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seconds: Option<f64>,
}

impl PlanArgs {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let given = super::verify::given(&self.bundle, screen)?;
        let judged = super::judged(site, screen.env)?;
        let bundle = super::verify::verified(site, screen, &given, false, "plan")?.0;
        let config = site.config()?;
        let http = super::client()?;
        let context = Context { site, config: &config, env: screen.env, http: &http };
        let due = due::due(&bundle, &judged, site)?;
        let findings = preflight::check(&bundle, &judged, &due, &config, &context);
        let blocked = preflight::require(&findings);
        if let Err(not_ready) = blocked {
            screen.note(&show_findings(&findings));
            return Err(not_ready.into());
        }
        let plan = plan::plan(&bundle, &due, &config, &context)?;
        let human = format!("{}{}\nnothing was changed\n", show_findings(&findings), show(&plan));
        screen.result(&human, &Document { plan: &plan, findings: &findings, applied: false, seconds: None })
    }
}

/// Findings for people; passes in one word each.
pub(super) fn show_findings(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let word = match finding.verdict {
            Verdict::Pass => "pass",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        let mut text = format!("{word}  {:<20} {}\n", finding.id, finding.fact);
        if finding.verdict != Verdict::Pass {
            text.push_str(&format!("      {:<20} needed: {}\n", "", finding.requirement));
        }
        if let Some(remedy) = &finding.remedy {
            text.push_str(&format!("      {:<20} remedy: {remedy}\n", ""));
        }
        text
    };
    findings.iter().map(line).collect()
}

/// A plan for people.
pub(super) fn show(plan: &Plan) -> String {
    let from = plan.from.as_ref().map_or("nothing".to_string(), ToString::to_string);
    let mut text = format!(
        "{}\nplan for {} {}: from {from} to {} (order {})\nbundle {}\n",
        plan.marking, plan.publisher, plan.product, plan.version, plan.order, plan.bundle
    );
    for (number, step) in plan.steps.iter().enumerate() {
        text.push_str(&format!(
            "  {:>3}. {:<9} {}\n",
            number.saturating_add(1),
            step.target(),
            step.action()
        ));
    }
    if plan.steps.is_empty() {
        text.push_str("  everything is in place already\n");
    } else if !plan.unchanged.is_empty() {
        text.push_str(&format!("  {} more are in place already\n", plan.unchanged.len()));
    }
    for note in &plan.notes {
        text.push_str(&format!("  note: {note}\n"));
    }
    text
}
