//! `installer preflight`: everything that is looked at before a change, in one run, and nothing else. It is the
//! same set as before `apply`; with `--rollback` as before `rollback`.

use std::path::PathBuf;

use clap::Args;
use edge::{Exit, Failure, Screen};
use manifests::bundle::BundleDigest;
use manifests::text::{BundleVersion, Name};
use manifests::{Timestamp, VerifiedBundle};
use serde::Serialize;

use super::checks::{Asked, CheckArgs};
use super::rollback;
use crate::audit::AuditLog;
use crate::due;
use crate::preflight::report::{Counts, Report};
use crate::preflight::{self, junit};
use crate::site::Site;
use crate::site::config::ChangeId;
use crate::site::ledger::Applied;
use crate::targets::Context;
use crate::witness::Judged;

/// The arguments of `preflight`.
#[derive(Debug, Args)]
pub(super) struct PreflightArgs {
    /// The bundle: an archive, or directories of its discs
    #[arg(required_unless_present = "rollback", conflicts_with = "rollback")]
    bundle: Vec<PathBuf>,
    /// Look at what a rollback needs, to the version before the present one or to this one; needs no medium
    #[arg(long, value_name = "VERSION", num_args = 0..=1)]
    rollback: Option<Option<String>>,
    /// With --rollback: the product, if the site has several
    #[arg(long, requires = "rollback")]
    product: Option<Name>,
    /// Repair what is damaged, from the recovery data beside the bundle or on its discs, while it is read; nothing
    /// is written to the medium
    #[arg(long, conflicts_with = "rollback")]
    repair: bool,
    /// Write the findings into this file as well, as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    #[command(flatten)]
    checks: CheckArgs,
}

/// What is printed as JSON; `docs/schema/preflight.schema.json`.
#[derive(Serialize)]
struct Document<'a> {
    /// What would be done.
    #[serde(rename = "for")]
    purpose: &'static str,
    bundle: BundleDigest,
    product: &'a Name,
    version: &'a BundleVersion,
    time: Timestamp,
    change: Option<&'a ChangeId>,
    ready: bool,
    counts: Counts,
    findings: &'a Report,
}

/// The version that was looked at.
struct Title {
    bundle: BundleDigest,
    product: Name,
    version: BundleVersion,
}

impl Title {
    fn of(bundle: &VerifiedBundle) -> Self {
        let manifest = bundle.manifest();
        Self { bundle: bundle.digest(), product: manifest.product.clone(), version: manifest.version.clone() }
    }
}

impl PreflightArgs {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let asked = self.checks.asked()?;
        // A site without trust has no log either: nothing is written then.
        site.trust()?;
        let (title, report) = match &self.rollback {
            Some(version) => self.before_rollback(version.as_deref(), &asked, site, screen)?,
            None => self.before_apply(&asked, site, screen)?,
        };
        let purpose = if self.rollback.is_some() { "rollback" } else { "apply" };
        let log = AuditLog::of(site, screen.env);
        asked.log(&report, Some(title.bundle), &format!("preflight of {purpose}"), &log, screen.env)?;
        self.show(purpose, &title, &report, &asked, screen)
    }

    fn before_apply(
        &self,
        asked: &Asked,
        site: &Site,
        screen: &mut Screen<'_>,
    ) -> Result<(Title, Report), Failure> {
        let given = super::verify::given(&self.bundle, screen)?;
        let judged = super::judged(site, screen.env)?;
        let verified = super::verify::lent(site, screen, &given, self.repair, "verify")?;
        let site = verified.loan.to(site);
        let report = look(asked, &verified.bundle, &judged, &site, screen)?;
        Ok((Title::of(&verified.bundle), report))
    }

    fn before_rollback(
        &self,
        version: Option<&str>,
        asked: &Asked,
        site: &Site,
        screen: &mut Screen<'_>,
    ) -> Result<(Title, Report), Failure> {
        let judged = super::judged(site, screen.env)?;
        let target = rollback::target(version, self.product.as_ref(), site, &judged)?;
        match rollback::load(site, &judged, &target, screen) {
            Ok(bundle) => Ok((Title::of(&bundle), look(asked, &bundle, &judged, site, screen)?)),
            Err(failure) if failure.exit() == Exit::Damaged => {
                self.lost(&target, &failure, asked, site, screen)
            }
            Err(failure) => Err(failure),
        }
    }

    /// What the site has kept is not what it was: that is a finding here, and beside it stands what can be said
    /// without it.
    fn lost(
        &self,
        target: &Applied,
        failure: &Failure,
        asked: &Asked,
        site: &Site,
        screen: &mut Screen<'_>,
    ) -> Result<(Title, Report), Failure> {
        let ledger = rollback::ledger(self.product.as_ref(), site)?;
        let (config, http) = (site.config()?, super::client()?);
        let context = Context { site, config: &config, env: screen.env, http: &http };
        let now = context.env.clock.now();
        let mut findings = preflight::rules::check(&config, asked.change.as_ref(), now);
        let why = failure.messages().join(": ");
        findings.push(preflight::rollback::cannot_go_back(target.version.as_str(), &why));
        let title = Title { bundle: target.bundle, product: ledger.product, version: target.version.clone() };
        Ok((title, asked.report(findings)))
    }

    fn show(
        &self,
        purpose: &'static str,
        title: &Title,
        report: &Report,
        asked: &Asked,
        screen: &mut Screen<'_>,
    ) -> Result<(), Failure> {
        let time = screen.env.clock.now();
        if let Some(path) = &self.junit {
            let path = screen.env.path(path);
            std::fs::write(&path, junit::document(report, time)).map_err(|error| {
                Failure::new(Exit::Unreachable, format!("cannot write {}: {error}", path.display()))
            })?;
        }
        let document = Document {
            purpose,
            bundle: title.bundle,
            product: &title.product,
            version: &title.version,
            time,
            change: asked.change.as_ref(),
            ready: report.is_ready(),
            counts: report.counts(),
            findings: report,
        };
        let human = format!(
            "{} {}: what {purpose} needs of this site\n\n{}",
            title.product,
            title.version,
            report.table()
        );
        screen.result(&human, &document)?;
        report.require().map_err(|blocked| Failure::from(blocked).is_in_result())
    }
}

fn look(
    asked: &Asked,
    bundle: &VerifiedBundle,
    judged: &Judged,
    site: &Site,
    screen: &Screen<'_>,
) -> Result<Report, Failure> {
    let (config, http) = (site.config()?, super::client()?);
    let context = Context { site, config: &config, env: screen.env, http: &http };
    let due = due::due(bundle, judged, site)?;
    Ok(asked.look(bundle, judged, &due, &context))
}
