//! `installer gc`: removes what no rollback needs; without `--yes` it shows what that is.

use clap::Args;
use edge::show::{bytes, table, wrap};
use edge::{Failure, Screen};
use manifests::audit::Outcome;
use serde::Serialize;

use super::apply::close;
use super::change::change;
use crate::apply::Unwatched;
use crate::audit::{About, AuditLog, about};
use crate::gc::{self, Item, KeptVersion, Survey};
use crate::site::Site;
use crate::targets::{Context, scripts};

/// The arguments of `gc`.
#[derive(Debug, Args)]
pub(super) struct GcArgs {
    /// Go ahead; without it what would go is shown and nothing is changed
    #[arg(long)]
    yes: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    keeps: &'a [KeptVersion],
    items: &'a [Item],
    /// Bytes that are free without them.
    bytes: u64,
    removed: bool,
}

impl GcArgs {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        // A site without trust has no log either: nothing is written then.
        site.trust()?;
        if self.yes {
            return change(site, screen, |screen, _, log| collect(site, screen, log));
        }
        super::judged(site, screen.env)?;
        let survey = look(site, screen)?;
        show(&survey, false, screen)
    }
}

fn look(site: &Site, screen: &Screen<'_>) -> Result<Survey, Failure> {
    let (config, http) = (site.config()?, super::client()?);
    Ok(gc::survey(&Context { site, config: &config, env: screen.env, http: &http })?)
}

fn collect(site: &Site, screen: &mut Screen<'_>, log: &AuditLog) -> Result<(), Failure> {
    scripts::refuse_while_running(site)?;
    let survey = look(site, screen)?;
    let facts = facts(&survey);
    log.append(screen.env, "gc", Outcome::Intent, facts.clone())?;
    let (config, http) = (site.config()?, super::client()?);
    let context = Context { site, config: &config, env: screen.env, http: &http };
    if let Err(error) = gc::collect(&survey, &context, log, &Unwatched) {
        return Err(close(error.into(), "gc", log, screen, facts));
    }
    log.append(screen.env, "gc", Outcome::Done, facts)?;
    show(&survey, true, screen)
}

fn show(survey: &Survey, removed: bool, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let human = human(survey, removed);
    let bytes = survey.items.iter().fold(0_u64, |sum, item| sum.saturating_add(item.bytes));
    screen.result(&human, &Document { keeps: &survey.keeps, items: &survey.items, bytes, removed })
}

/// What the log gets: how many of each kind, and how many bytes.
fn facts(survey: &Survey) -> About {
    let totals = survey.totals();
    let total =
        |(kind, (count, size)): (&gc::Kind, &(u64, u64))| format!("{count} {} ({size} bytes)", kind.words());
    let keeps: Vec<String> =
        survey.keeps.iter().map(|kept| format!("{} {}", kept.product, kept.version)).collect();
    about([("removes", totals.iter().map(total).collect::<Vec<_>>().join(", ")), ("keeps", keeps.join(", "))])
}

fn human(survey: &Survey, removed: bool) -> String {
    let kept = |kept: &KeptVersion| {
        let why = if kept.current { "the site runs it" } else { "for a rollback" };
        vec![kept.product.clone(), kept.version.clone(), kept.bundle.0.short(), why.to_string()]
    };
    let mut text = String::from("stays\n");
    text.push_str(&table(&survey.keeps.iter().map(kept).collect::<Vec<_>>()));
    if survey.items.is_empty() {
        text.push_str("nothing else is here\n");
        return text;
    }
    text.push_str(if removed { "removed\n" } else { "would go\n" });
    let row = |(kind, (count, size)): (gc::Kind, (u64, u64))| {
        let size = if size == 0 { String::new() } else { bytes(size) };
        vec![count.to_string(), kind.words().to_string(), size]
    };
    text.push_str(&table(&survey.totals().into_iter().map(row).collect::<Vec<_>>()));
    let outside = survey.items.iter().filter(|item| item.kind <= gc::Kind::Environment);
    for item in outside {
        text.push_str(&wrap("  -", 4, &item.what));
    }
    if !removed {
        text.push_str("nothing was changed: add --yes\n");
    }
    text
}
