//! `installer audit`: `show`, `verify` and `explain`; `export` is not there yet.

mod explain;

use clap::Subcommand;
use edge::show::NotYetArgs;
use edge::show::table;
use edge::{Failure, Screen};
use manifests::audit::{Entry, Head};
use serde::Serialize;

use crate::audit;
use crate::site::Site;

/// What can be done with the log.
#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Show the log, after its chain was checked
    Show {
        /// Only the last entries
        #[arg(long, value_name = "N")]
        last: Option<usize>,
    },
    /// Check the chain from the first line to the last
    Verify,
    /// Write the log in another form (not there yet)
    #[command(hide = true)]
    Export(NotYetArgs),
    /// Print the exact commands that recheck a bundle with public tools: a script for an auditor
    Explain(explain::ExplainArgs),
}

#[derive(Serialize)]
struct Log {
    head: Head,
    entries: Vec<Entry>,
}

#[derive(Serialize)]
struct Verdict {
    intact: bool,
    head: Head,
}

impl AuditCommand {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        match self {
            Self::Show { last } => show(site, screen, last),
            Self::Verify => verify(site, screen),
            Self::Export(_) => Err(Failure::not_yet("`installer audit export`")),
            Self::Explain(args) => args.run(site, screen),
        }
    }
}

fn show(site: &Site, screen: &mut Screen<'_>, last: Option<usize>) -> Result<(), Failure> {
    site.trust()?;
    let mut entries = Vec::new();
    let head = audit::read(&site.audit_path(), &mut |entry| entries.push(entry))?;
    let skipped = last.map_or(0, |last| entries.len().saturating_sub(last));
    let entries: Vec<Entry> = entries.into_iter().skip(skipped).collect();
    let row = |entry: &Entry| {
        let about: Vec<String> =
            entry.event.about.iter().map(|(key, value)| format!("{key}={value}")).collect();
        vec![
            entry.seq.to_string(),
            entry.event.time.to_string(),
            entry.event.event.clone(),
            entry.event.outcome.to_string(),
            entry.event.actor.user.clone(),
            about.join(" "),
        ]
    };
    let human = table(&entries.iter().map(row).collect::<Vec<_>>());
    screen.result(&human, &Log { head, entries })
}

fn verify(site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
    site.trust()?;
    let head = audit::read(&site.audit_path(), &mut |_| {})?;
    let human = format!(
        "the chain holds: {} entries, the last one is {}\nlines missing at the end show only against a head that was noted elsewhere\n",
        head.entries, head.digest
    );
    screen.result(&human, &Verdict { intact: true, head })
}
