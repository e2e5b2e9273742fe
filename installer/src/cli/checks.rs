//! The checks before a change, as every command shows them, logs them and obeys them: `preflight`, `plan`,
//! `apply` and `rollback` ask, override and name a ticket in the same words.

use clap::Args;
use edge::{Env, Failure};
use manifests::audit::Outcome;
use manifests::bundle::BundleDigest;
use manifests::text::LongLine;
use manifests::{Inventory, VerifiedBundle};

use crate::apply::Run;
use crate::audit::{About, AuditLog, about};
use crate::due::Due;
use crate::preflight::overrides::Overrides;
use crate::preflight::report::{NotReady, Report};
use crate::preflight::{self, Finding, rules};
use crate::site::config::ChangeId;
use crate::targets::Context;
use crate::witness::Judged;

/// What somebody learns who was stopped before everything was looked at.
const REST: &str = "`installer preflight` looks at everything in one run";

/// What a person says about the checks.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Go on in spite of a check that failed and is not strict; needs --reason. Several: once for each
    #[arg(long = "override", value_name = "ID")]
    overrides: Vec<String>,
    /// Why, for the log: one for all overrides, or one for each in their order
    #[arg(long, value_name = "TEXT")]
    reason: Vec<LongLine>,
    /// The ticket in the site's own system, for the log and for `change` of site.yaml
    #[arg(long, value_name = "ID")]
    change: Option<ChangeId>,
}

/// The same, once it makes sense.
#[derive(Debug)]
pub(super) struct Asked {
    overrides: Overrides,
    reason: Vec<LongLine>,
    /// The ticket.
    pub(super) change: Option<ChangeId>,
}

impl CheckArgs {
    pub(super) fn asked(&self) -> Result<Asked, Failure> {
        let overrides = Overrides::of(&self.overrides, &self.reason)?;
        Ok(Asked { overrides, reason: self.reason.clone(), change: self.change.clone() })
    }
}

impl Asked {
    /// What an event in the log says of it.
    pub(super) fn facts(&self) -> About {
        let mut facts = About::new();
        if let Some(change) = &self.change {
            facts.extend(about([("change", change.to_string())]));
        }
        let reasons: Vec<&str> = self.reason.iter().map(LongLine::as_str).collect();
        if !reasons.is_empty() {
            facts.extend(about([("reason", reasons.join("; "))]));
        }
        facts
    }

    /// Judges findings.
    pub(super) fn report(&self, findings: Vec<Finding>) -> Report {
        Report::of(findings, &self.overrides)
    }

    /// Looks at everything.
    pub(super) fn look(
        &self,
        bundle: &VerifiedBundle,
        judged: &Judged,
        due: &Due,
        context: &Context<'_>,
    ) -> Report {
        let mut findings = rules::check(context.config, self.change.as_ref(), context.env.clock.now());
        findings.extend(preflight::check(bundle, judged, due, context.config, context));
        self.report(findings)
    }

    /// Judges the site's own rules, before a medium is read, and stops at them.
    pub(super) fn before_reading(
        &self,
        command: &str,
        log: &AuditLog,
        context: &Context<'_>,
    ) -> Result<(), Failure> {
        let now = context.env.clock.now();
        let report = self.report(rules::check(context.config, self.change.as_ref(), now));
        let Err(blocked) = report.require_so_far() else { return Ok(()) };
        self.log(&report, None, command, log, context.env)?;
        context.env.stderr.say(&format!("{}\nthe bundle was not read: {REST}", report.table()));
        Err(stopped(blocked, &report))
    }

    /// Looks at what the signed lists tell, such as whether there is room, before the first byte is copied.
    pub(super) fn before_copying(
        &self,
        bundle: BundleDigest,
        inventory: &Inventory,
        log: &AuditLog,
        context: &Context<'_>,
    ) -> Result<(), NotReady> {
        let report = self.report(preflight::before_copying(bundle, inventory, context));
        let Err(blocked) = report.require_so_far() else { return Ok(()) };
        context.env.stderr.say(&format!("{}\nnothing was copied: {REST}", report.table()));
        // A log that cannot be written is no reason to go on either, and the run ends here anyway.
        if let Err(failure) = self.log(&report, Some(bundle), "apply", log, context.env) {
            context.env.stderr.say(&failure.messages().join(": "));
        }
        Err(blocked)
    }

    /// Writes into the log what was found, and stops at what stands in the way.
    pub(super) fn obey(
        &self,
        report: &Report,
        bundle: BundleDigest,
        command: &str,
        run: &Run<'_>,
    ) -> Result<(), Failure> {
        let env = run.context.env;
        self.log(report, Some(bundle), command, run.audit, env)?;
        report.require().map_err(|blocked| {
            env.stderr.say(report.table().trim_end());
            stopped(blocked, report)
        })
    }

    /// Writes into the log what was found, and each finding that somebody went on in spite of.
    pub(super) fn log(
        &self,
        report: &Report,
        bundle: Option<BundleDigest>,
        command: &str,
        log: &AuditLog,
        env: &Env,
    ) -> Result<(), Failure> {
        let mut common = about([("for", command.to_string())]);
        if let Some(bundle) = bundle {
            common.extend(about([("bundle", bundle.to_string())]));
        }
        if let Some(change) = &self.change {
            common.extend(about([("change", change.to_string())]));
        }
        for (finding, reason) in report.overridden() {
            let mut facts = about([
                ("id", finding.id.to_string()),
                ("fact", finding.fact.clone()),
                ("reason", reason.to_string()),
            ]);
            facts.extend(common.clone());
            log.append(env, "preflight.override", Outcome::Done, facts)?;
        }
        let outcome = if report.is_ready() { Outcome::Done } else { Outcome::Refused };
        let mut facts = report.facts();
        facts.extend(common);
        log.append(env, "preflight", outcome, facts)?;
        Ok(())
    }
}

/// A failure that has the findings for whoever reads JSON.
pub(super) fn stopped(blocked: NotReady, report: &Report) -> Failure {
    Failure::from(blocked).with("findings", report)
}
