//! `installer rollback`: back to a bundle version that was applied here before, on purpose.
//!
//! It needs no medium: the site has kept the signed originals and every blob. All of it is checked again,
//! as a medium would be. The highest order stays what it is, so `apply` goes on refusing what is older.

use std::path::PathBuf;

use clap::Args;
use edge::progress::Shown;
use edge::{Exit, Failure, Screen};
use manifests::VerifiedBundle;
use manifests::audit::Outcome;
use manifests::text::{Name, printable};

use super::apply::{Source, carry_out, close, show_plan};
use super::change::change;
use super::checks::CheckArgs;
use crate::admit;
use crate::audit::{AuditLog, about};
use crate::site::Site;
use crate::site::ledger::{Applied, Ledger};
use crate::targets::Context;
use crate::witness::Judged;

/// The arguments of `rollback`.
#[derive(Debug, Args)]
pub(super) struct RollbackArgs {
    /// The version to go back to, or the digest of its bundle; by default the one before the present one
    version: Option<String>,
    /// The product, if the site has several
    #[arg(long)]
    product: Option<Name>,
    /// Go ahead; without it the plan is shown and nothing is changed
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    checks: CheckArgs,
}

impl RollbackArgs {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        let asked = self.checks.asked()?;
        // A site without trust has no log either: nothing is written then.
        site.trust()?;
        if !self.yes {
            let judged = super::judged(site, screen.env)?;
            let target = target(self.version.as_deref(), self.product.as_ref(), site, &judged)?;
            let bundle = load(site, &judged, &target, screen)?;
            return show_plan(site, &judged, screen, &bundle, "rollback", &asked);
        }
        change(site, screen, |screen, judged, log| {
            let target = target(self.version.as_deref(), self.product.as_ref(), site, judged)?;
            let mut facts =
                about([("bundle", target.bundle.to_string()), ("to", target.version.to_string())]);
            facts.extend(asked.facts());
            log.append(screen.env, "rollback", Outcome::Intent, facts.clone())?;
            let shown = screen.progress();
            let load = |context: &Context<'_>| readmit(context, judged, &target, &shown);
            let from = Source { load: &load, command: "rollback" };
            carry_out(site, judged, screen, log, &from, &asked)
                .map_err(|failure| close(failure, "rollback", log, screen, facts.clone()))?;
            log.insist(|| log.append(screen.env, "rollback", Outcome::Done, facts.clone()))?;
            Ok(())
        })
    }
}

/// The bundle to go back to: the ledger names it, and the log knows that it was applied.
pub(super) fn target(
    version: Option<&str>,
    product: Option<&Name>,
    site: &Site,
    judged: &Judged,
) -> Result<Applied, Failure> {
    let ledger = ledger(product, site)?;
    let target = named(version, &ledger)?;
    if judged.remembered.has_applied(target.bundle, target.root_version) {
        return Ok(target);
    }
    Err(Failure::new(
        Exit::Refused,
        format!(
            "{} {}: the ledger says that it was applied here, judged by trust root version {}, and the audit log does not",
            ledger.product, target.version, target.root_version
        ),
    )
    .hint("stop, and find out who changed the ledger"))
}

fn named(version: Option<&str>, ledger: &Ledger) -> Result<Applied, Failure> {
    let found = match version {
        Some(wanted) => ledger
            .applied
            .iter()
            .rev()
            .find(|applied| applied.version.as_str() == wanted || applied.bundle.to_string() == wanted),
        // By order and not by time: after going back once, the next one before is further back.
        None => ledger.current().and_then(|current| {
            ledger.applied.iter().filter(|applied| applied.order < current.order).max_by_key(|a| a.order)
        }),
    };
    found.cloned().ok_or_else(|| {
        let what = match version {
            Some(wanted) => format!("{} was never applied here", printable(wanted)),
            None => "nothing older was applied here".to_string(),
        };
        Failure::new(Exit::Refused, format!("{}: {what}", ledger.product))
            .hint("`installer history` lists what was")
    })
}

/// The ledger of a product, or of the only one.
pub(super) fn ledger(product: Option<&Name>, site: &Site) -> Result<Ledger, Failure> {
    let mut ledgers = site.ledgers()?;
    if let Some(product) = product {
        ledgers.retain(|ledger| ledger.product == *product);
    }
    match (ledgers.len(), ledgers.pop()) {
        (1, Some(ledger)) => Ok(ledger),
        (0, _) => Err(Failure::new(Exit::Refused, "nothing of it was ever applied here")
            .hint("`installer history` lists what was")),
        _ => Err(Failure::usage("the site has several products").hint("say which: --product NAME")),
    }
}

pub(super) fn load(
    site: &Site,
    judged: &Judged,
    target: &Applied,
    screen: &mut Screen<'_>,
) -> Result<VerifiedBundle, Failure> {
    let (config, http, shown) = (site.config()?, super::client()?, screen.progress());
    let context = Context { site, config: &config, env: screen.env, http: &http };
    readmit(&context, judged, target, &shown)
}

fn readmit(
    context: &Context<'_>,
    judged: &Judged,
    target: &Applied,
    shown: &Shown,
) -> Result<VerifiedBundle, Failure> {
    let mut bar = shown.begin("checking what was kept", 0);
    let verdict = admit::readmit(context.site, &judged.trust, context.config, target, &mut *bar);
    drop(bar);
    let (log, place) = (AuditLog::of(context.site, context.env), PathBuf::from("the site store"));
    super::log_verdict("readmit", &log, context.env, &place, verdict.map_err(Failure::from), |bundle| {
        (bundle.digest(), bundle.root_version())
    })
    .map_err(|failure| match failure.exit() {
        Exit::Refused => {
            failure.hint("`installer history` lists what else was applied: installer rollback VERSION")
        }
        _ => failure,
    })
}
