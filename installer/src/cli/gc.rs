//! `installer gc`: removes what no rollback needs; without `--yes` it shows what that is.

use clap::Args;
use edge::show::{bytes, table};
use edge::{Failure, Screen};
use manifests::audit::Outcome;
use serde::Serialize;

use super::apply::close;
use crate::apply::Unwatched;
use crate::audit::{About, AuditLog, about};
use crate::gc::{self, Item, KeptVersion, Survey};
use crate::site::Site;
use crate::site::lock::SiteLock;
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
        let _lock = if self.yes { Some(SiteLock::take(site, screen.env)?) } else { None };
        if self.yes {
            super::judged_under_lock(site, screen.env)?;
        } else {
            super::judged(site, screen.env)?;
        }
        scripts::refuse_while_running(site)?;
        let (config, http) = (site.config()?, super::client()?);
        let context = Context { site, config: &config, env: screen.env, http: &http };
        let survey = gc::survey(&context)?;
        if self.yes {
            let log = AuditLog::of(site, context.env);
            let facts = facts(&survey);
            log.append(context.env, "gc", Outcome::Intent, facts.clone())?;
            if let Err(error) = gc::collect(&survey, &context, &log, &Unwatched) {
                return Err(close(error.into(), "gc", &log, screen, facts));
            }
            log.append(context.env, "gc", Outcome::Done, facts)?;
        }
        let human = human(&survey, self.yes);
        let bytes = survey.items.iter().fold(0_u64, |sum, item| sum.saturating_add(item.bytes));
        let document = Document { keeps: &survey.keeps, items: &survey.items, bytes, removed: self.yes };
        screen.result(&human, &document)
    }
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
        text.push_str(&format!("  - {}\n", item.what));
    }
    if !removed {
        text.push_str("nothing was changed: add --yes\n");
    }
    text
}
