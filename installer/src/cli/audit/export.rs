//! `installer audit export`: the log in another form, for whoever collects logs.
//!
//! All of it is checked before the first byte is written, and once more on the way out: nothing of a chain
//! that is broken ever leaves in a form that does not show it.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use edge::{Exit, Failure, Screen};
use manifests::Timestamp;
use manifests::audit::{ChainBreak, Head};
use serde::Serialize;

use super::since;
use crate::audit::export::{self, Format, Framing};
use crate::audit::{self, AuditError, Line, checkpoint};
use crate::site::Site;

/// The arguments of `audit export`.
#[derive(Debug, Args)]
pub(in crate::cli) struct ExportArgs {
    /// The form
    #[arg(long, value_enum)]
    format: Format,
    /// From this entry on; they count from 0
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    /// To this entry, and with it
    #[arg(long, value_name = "SEQ")]
    to: Option<u64>,
    /// Only entries from this time on, such as 2026-11-20T12:00:00Z or 2026-11-20 (UTC)
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
    /// How syslog messages are told from each other
    #[arg(long, value_enum, default_value = "lf")]
    framing: Framing,
    /// The file; nothing is overwritten. Without it, stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Serialize)]
struct Document {
    file: PathBuf,
    exported: u64,
    head: Head,
}

impl ExportArgs {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        site.trust()?;
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from > to
        {
            return Err(Failure::usage(format!("--from {from} is after --to {to}")));
        }
        if self.framing == Framing::OctetCounting && self.format != Format::Syslog {
            return Err(Failure::usage("--framing is for --format syslog"));
        }
        let head = checkpoint::judge_all(site, None)?.survey.head;
        let Some(out) = &self.out else {
            let exported = self.write(site, &head, &mut |bytes| screen.raw(bytes))?;
            screen.detail(&format!("{exported} of {} entries", head.entries));
            return Ok(());
        };
        let out = screen.env.path(out);
        let exported = self.write_file(site, &head, &out)?;
        let human = format!("{exported} of {} entries are in {}\n", head.entries, out.display());
        screen.result(&human, &Document { file: out, exported, head })
    }

    /// A new file, closed to others as the log is; gone again if it does not become whole.
    fn write_file(&self, site: &Site, head: &Head, out: &Path) -> Result<u64, Failure> {
        let failed = |source: io::Error| {
            let failure =
                Failure::new(Exit::Unreachable, format!("cannot write {}: {source}", out.display()));
            if source.kind() == io::ErrorKind::AlreadyExists {
                failure.hint("an export is never overwritten: choose another --out")
            } else {
                failure
            }
        };
        let file = File::options().write(true).create_new(true).mode(0o600).open(out).map_err(failed)?;
        let mut file = BufWriter::new(file);
        let written =
            self.write(site, head, &mut |bytes| file.write_all(bytes).map_err(failed)).and_then(|exported| {
                file.flush().and_then(|()| file.get_ref().sync_all()).map_err(failed)?;
                Ok(exported)
            });
        if written.is_err() {
            // The failure that is being reported matters more than this one.
            let _ = std::fs::remove_file(out);
        }
        written
    }

    /// Writes the entries that were asked for, of the log as it was when it was checked.
    fn write(
        &self,
        site: &Site,
        checked: &Head,
        out: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        out(&export::head(self.format))?;
        let (mut exported, mut outcome, mut end) = (0_u64, Ok(()), Head::default());
        audit::read_lines(&site.audit_path(), &mut |line| {
            if line.head.entries > checked.entries || outcome.is_err() {
                return;
            }
            end = line.head.clone();
            if self.wants(&line) {
                exported = exported.saturating_add(1);
                outcome = out(&export::entry(self.format, self.framing, &line));
            }
        })?;
        outcome?;
        if end != *checked {
            let source = ChainBreak::Link { line: end.entries };
            return Err(AuditError::Broken { path: site.audit_path(), source }.into());
        }
        Ok(exported)
    }

    fn wants(&self, line: &Line<'_>) -> bool {
        let seq = line.entry.seq;
        self.from.is_none_or(|from| seq >= from)
            && self.to.is_none_or(|to| seq <= to)
            && self.since.is_none_or(|since| line.entry.event.time >= since)
    }
}
