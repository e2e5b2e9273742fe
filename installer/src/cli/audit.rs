//! `installer audit`: `show`, `verify`, `checkpoint`, `export` and `explain`.

mod checkpoint;
mod explain;
mod export;
mod show;
mod verify;

use clap::Subcommand;
use edge::{Failure, Screen};
use manifests::Timestamp;

use crate::site::Site;

/// What can be done with the log.
#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Show the log, after its chain was checked
    Show(show::ShowArgs),
    /// Check the chain from the first line to the last, and every checkpoint of it
    Verify(verify::VerifyArgs),
    /// Sign the log as it is with the site's key, and write a copy to carry away
    Checkpoint(checkpoint::CheckpointArgs),
    /// Write the log in another form, after all of it was checked
    Export(export::ExportArgs),
    /// Print the exact commands that recheck a bundle with public tools: a script for an auditor
    Explain(explain::ExplainArgs),
}

impl AuditCommand {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        match self {
            Self::Show(args) => args.run(site, screen),
            Self::Verify(args) => args.run(site, screen),
            Self::Checkpoint(args) => args.run(site, screen),
            Self::Export(args) => args.run(site, screen),
            Self::Explain(args) => args.run(site, screen),
        }
    }
}

/// A time as people type it: to the second, or a whole day from its start, in UTC.
fn since(text: &str) -> Result<Timestamp, String> {
    let start_of_day = format!("{text}T00:00:00Z");
    text.parse()
        .or_else(|_| start_of_day.parse())
        .map_err(|_| "not a time of the form 2026-11-20T12:00:00Z or 2026-11-20".to_string())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_day_begins_at_midnight_in_utc() {
        assert_eq!(super::since("2026-11-20").unwrap().to_string(), "2026-11-20T00:00:00Z");
        assert_eq!(super::since("2026-11-20T12:00:00Z").unwrap().to_string(), "2026-11-20T12:00:00Z");
        for wrong in ["", "yesterday", "2026-11-31", "2026-11-20 12:00"] {
            assert!(super::since(wrong).is_err(), "{wrong}");
        }
    }
}
