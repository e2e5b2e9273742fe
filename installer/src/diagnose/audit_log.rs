//! `audit-log.jsonl`: the last entries of the audit log, one JSON object on each line with the fields of the log.
//! Times, events, outcomes and digests go in; who it was and on which host is replaced; what an event was about goes
//! in word by word. The chain cannot be checked from it: for that the log itself has to be carried out.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use manifests::audit::Entry;
use serde_json::{Map, Value, json};

use super::{Ground, Piece, Section};

/// So much of its end is read.
const TAIL_BYTES: u64 = 512 * 1024;
/// The newest so many entries.
const ENTRIES_MAX: usize = 500;

pub(super) fn piece(ground: &mut Ground<'_>) -> Piece {
    let read = match tail(&ground.site.audit_path()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    };
    let bytes = ground.or_gap("the audit log", read).unwrap_or_default();
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let from = lines.len().saturating_sub(ENTRIES_MAX);
    let text: String = lines.iter().skip(from).map(|line| format!("{}\n", told(ground, line))).collect();
    ground.piece(Section::AuditLog, "audit-log.jsonl", text)
}

/// Whole lines from the end of a file, and what may have been cut off behind them.
fn tail(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let start = length.saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    if start > 0 {
        let first = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |end| end.saturating_add(1));
        bytes.drain(..first);
    }
    Ok(bytes)
}

fn told(ground: &mut Ground<'_>, line: &[u8]) -> Value {
    let Ok(entry) = serde_json::from_slice::<Entry>(line) else {
        return json!({"unreadable": format!("{} bytes that are no entry", line.len())});
    };
    let (event, redactor) = (&entry.event, &mut ground.redactor);
    let about: Map<String, Value> = event
        .about
        .iter()
        .map(|(key, value)| {
            (redactor.text(&key.replace('_', " ")).replace(' ', "_"), redactor.text(value).into())
        })
        .collect();
    let sudo = event.actor.sudo_user.as_ref().map(|user| redactor.value(user));
    json!({
        "seq": entry.seq,
        "prev": if is_hex(&entry.prev) { entry.prev.clone() } else { redactor.value(&entry.prev) },
        "time": event.time,
        "event": redactor.text(&event.event.replace('.', " ")).replace(' ', "."),
        "outcome": event.outcome,
        "uid": event.actor.uid,
        "user": redactor.value(&event.actor.user),
        "sudo_user": sudo,
        "host": redactor.value(&event.actor.host),
        "tool": redactor.text(&event.tool),
        "about": about,
    })
}

fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
