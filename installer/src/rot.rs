//! What the audit log knows of blobs that `serve` has withdrawn: it is the record, so that a server that starts
//! anew serves none of them, and says nothing twice.

use std::collections::BTreeSet;
use std::io;

use edge::Env;
use manifests::Digest;
use manifests::audit::{Entry, Outcome};

use crate::audit::checkpoint::{self, LastLine, SealError};
use crate::audit::{AuditLog, about};
use crate::serve::{Note, Record, still_withdrawn};
use crate::site::Site;

const WITHDRAW: &str = "serve.withdraw";
const RESTORE: &str = "serve.restore";

/// The blobs that were withdrawn and have not been whole since.
///
/// # Errors
/// The log is not readable, or broken, or not what was signed.
pub fn withdrawn(site: &Site) -> Result<BTreeSet<Digest>, SealError> {
    let mut notes = Vec::new();
    let newest = checkpoint::newest(site)?;
    checkpoint::survey(site, newest.as_slice(), LastLine::MayBeCutOff, &mut |line| {
        notes.extend(note(&line.entry));
    })?;
    Ok(still_withdrawn(notes.into_iter()))
}

fn note(entry: &Entry) -> Option<Note> {
    let about = &entry.event.about;
    let blob = about.get("blob")?.parse().ok()?;
    match entry.event.event.as_str() {
        WITHDRAW => Some(Note::Withdrawn { blob, reason: about.get("reason").cloned().unwrap_or_default() }),
        RESTORE => Some(Note::Restored { blob }),
        _ => None,
    }
}

/// Writes into the log what becomes of blobs. An apply may write into it at the same time: each entry is made
/// under the lock of the log itself.
#[must_use]
pub fn record(site: &Site, env: &Env) -> Record {
    let log = AuditLog::of(site, env);
    let clock = edge::env::system_clock();
    Box::new(move |note| {
        let (event, facts) = match note {
            Note::Withdrawn { blob, reason } => {
                (WITHDRAW, about([("blob", blob.to_string()), ("reason", reason.clone())]))
            }
            Note::Restored { blob } => (RESTORE, about([("blob", blob.to_string())])),
        };
        log.append_by(&*clock, event, Outcome::Done, facts).map_err(io::Error::other)
    })
}
