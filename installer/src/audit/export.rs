//! The log in other forms: the lines as they are, CSV (RFC 4180), syslog (RFC 5424).
//!
//! Pure: an entry in, bytes out. Who calls has checked the chain. The forms are described, with what they
//! lose, in `docs/auditor.md`.

use std::fmt::Write as _;

use manifests::Digest;
use manifests::audit::{Entry, Outcome};
use manifests::text::printable_up_to;

use super::Line;

/// In which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// The lines of the log, byte for byte
    Jsonl,
    /// One row for each entry, by RFC 4180
    Csv,
    /// One message for each entry, by RFC 5424
    Syslog,
}

/// How one syslog message is told from the next, by RFC 6587.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Framing {
    /// A line feed ends each
    Lf,
    /// Its length in bytes and a space come before each
    OctetCounting,
}

/// The columns of the CSV form.
const COLUMNS: [&str; 12] = [
    "seq",
    "time",
    "event",
    "outcome",
    "uid",
    "user",
    "sudo_user",
    "host",
    "tool",
    "about",
    "prev",
    "digest",
];

/// RFC 5424, table 1: log audit.
const FACILITY: u8 = 13;
/// RFC 5424, §6: the longest MSGID and SD-NAME.
const NAME_BYTES_MAX: usize = 32;
/// RFC 5424, §6: the longest HOSTNAME.
const HOST_BYTES_MAX: usize = 255;
/// RFC 5424, §7 wants the number of an enterprise; this one is set aside for those who have none (RFC 5612).
const ENTERPRISE: &str = "32473";
/// Texts of the log are printable already; a log that was written by another program may have longer ones.
const VALUE_CHARACTERS_MAX: usize = 8192;

/// What stands before the first entry.
#[must_use]
pub fn head(format: Format) -> Vec<u8> {
    match format {
        Format::Csv => row(&COLUMNS.map(str::to_string)),
        Format::Jsonl | Format::Syslog => Vec::new(),
    }
}

/// One entry.
#[must_use]
pub fn entry(format: Format, framing: Framing, line: &Line<'_>) -> Vec<u8> {
    match format {
        Format::Jsonl => line.bytes.to_vec(),
        Format::Csv => csv(&line.entry, line.bytes),
        Format::Syslog => {
            let message = syslog(&line.entry, line.bytes);
            match framing {
                Framing::Lf => format!("{message}\n"),
                Framing::OctetCounting => format!("{} {message}", message.len()),
            }
            .into_bytes()
        }
    }
}

// ---- CSV ------------------------------------------------------------------------------------------------

fn csv(entry: &Entry, bytes: &[u8]) -> Vec<u8> {
    let (event, actor) = (&entry.event, &entry.event.actor);
    row(&[
        entry.seq.to_string(),
        event.time.to_string(),
        event.event.clone(),
        event.outcome.to_string(),
        actor.uid.to_string(),
        actor.user.clone(),
        actor.sudo_user.clone().unwrap_or_default(),
        actor.host.clone(),
        event.tool.clone(),
        // A map of texts is always JSON.
        serde_json::to_string(&event.about).unwrap_or_default(),
        entry.prev.clone(),
        Digest::of(bytes).hex(),
    ])
}

/// One row of CSV, which no spreadsheet takes a formula from.
pub(crate) fn row(cells: &[String]) -> Vec<u8> {
    let cells: Vec<String> = cells.iter().map(|text| cell(text)).collect();
    format!("{}\r\n", cells.join(",")).into_bytes()
}

/// A spreadsheet takes a cell that begins with one of these for a formula, and runs it. An apostrophe before
/// it makes it a text; one goes before an apostrophe too, so that taking one away always gives the text back.
fn cell(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\'']) { "'" } else { "" };
    if text.contains([',', '"', '\r', '\n']) || !guard.is_empty() {
        format!("\"{guard}{}\"", text.replace('"', "\"\""))
    } else {
        text.to_string()
    }
}

// ---- syslog ---------------------------------------------------------------------------------------------

/// RFC 5424, §6.2.1: numerical severities.
fn severity(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Failed => 3,
        Outcome::Refused | Outcome::Undone => 4,
        Outcome::Done => 5,
        Outcome::Intent => 6,
    }
}

fn syslog(entry: &Entry, bytes: &[u8]) -> String {
    let (event, actor) = (&entry.event, &entry.event.actor);
    let priority = u16::from(FACILITY) * 8 + u16::from(severity(event.outcome));
    let mut message = format!(
        "<{priority}>1 {} {} airlock - {}",
        event.time,
        name(&actor.host, HOST_BYTES_MAX),
        name(&event.event, NAME_BYTES_MAX),
    );
    message.push_str(&format!(" [airlock@{ENTERPRISE}"));
    let (seq, uid, digest) = (entry.seq.to_string(), actor.uid.to_string(), Digest::of(bytes).hex());
    let fixed = [
        ("seq", seq.as_str()),
        ("prev", &entry.prev),
        ("digest", &digest),
        ("event", &event.event),
        ("outcome", &event.outcome.to_string()),
        ("uid", &uid),
        ("user", &actor.user),
        ("tool", &event.tool),
    ];
    let sudo = actor.sudo_user.as_deref().map(|user| ("sudo_user", user));
    for (key, value) in fixed.into_iter().chain(sudo) {
        parameter(&mut message, key, value);
    }
    message.push(']');
    if !event.about.is_empty() {
        message.push_str(&format!("[about@{ENTERPRISE}"));
        for (key, value) in &event.about {
            parameter(&mut message, key, value);
        }
        message.push(']');
    }
    let _ = write!(message, " {} {}", name(&event.event, NAME_BYTES_MAX), event.outcome);
    message
}

/// RFC 5424, §6.3: a value is UTF-8 with three characters escaped. No control character is in it, so that a
/// line feed always ends a message.
fn parameter(message: &mut String, key: &str, value: &str) {
    let key = name(&key.replace(['=', ']', '"'], "_"), NAME_BYTES_MAX);
    let _ = write!(message, " {key}=\"");
    for character in printable_up_to(value, VALUE_CHARACTERS_MAX).chars() {
        if matches!(character, '"' | '\\' | ']') {
            message.push('\\');
        }
        message.push(character);
    }
    message.push('"');
}

/// A name of the header or of a parameter: PRINTUSASCII, not empty.
fn name(text: &str, bytes_max: usize) -> String {
    let plain = |character| if matches!(character, '!'..='~') { character } else { '_' };
    let name: String = text.chars().map(plain).take(bytes_max).collect();
    if name.is_empty() { "-".to_string() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifests::audit::{Actor, Event, Head};
    use std::collections::BTreeMap;

    fn written(format: Format, framing: Framing, event: Event) -> String {
        let (bytes, head) = Head::default().append(event).unwrap();
        let (entry_read, _) = Head::default().follow(&bytes).unwrap();
        let line = Line { entry: entry_read, bytes: &bytes, head: &head };
        String::from_utf8(entry(format, framing, &line)).unwrap()
    }

    fn event(outcome: Outcome, about: &[(&str, &str)]) -> Event {
        Event {
            time: "2026-11-20T12:00:00Z".parse().unwrap(),
            event: "apply.step".into(),
            outcome,
            actor: Actor {
                uid: 0,
                user: "root".into(),
                sudo_user: Some("=kim".into()),
                host: "site 1".into(),
            },
            tool: "installer 0".into(),
            about: about
                .iter()
                .map(|(key, value)| ((*key).into(), (*value).into()))
                .collect::<BTreeMap<_, _>>(),
        }
    }

    #[test]
    fn a_cell_is_quoted_where_it_must_be_and_is_never_a_formula() {
        for (text, cell_text) in [
            ("plain", "plain"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("a \"b\"", "\"a \"\"b\"\"\""),
            ("a\nb", "\"a\nb\""),
            ("=1+1", "\"'=1+1\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("\t=1", "\"'\t=1\""),
            ("\r=1", "\"'\r=1\""),
            ("'=1", "\"''=1\""),
            ("a=1", "a=1"),
        ] {
            assert_eq!(cell(text), cell_text);
        }
    }

    #[test]
    fn a_row_has_a_cell_for_each_column() {
        let text = written(Format::Csv, Framing::Lf, event(Outcome::Done, &[("a", "x")]));
        assert!(text.starts_with("0,2026-11-20T12:00:00Z,apply.step,done,0,root,\"'=kim\",site 1,installer 0,\"{\"\"a\"\":\"\"x\"\"}\",0000"), "{text}");
        assert!(text.ends_with("\r\n"));
        assert_eq!(
            head(Format::Csv),
            b"seq,time,event,outcome,uid,user,sudo_user,host,tool,about,prev,digest\r\n"
        );
    }

    #[test]
    fn a_syslog_message_has_the_severity_of_its_outcome_and_escapes_what_the_rfc_names() {
        let about = [("a]=\"b c", "x\"y]z\\"), ("long", "line\nfeed é")];
        let text = written(Format::Syslog, Framing::Lf, event(Outcome::Failed, &about));
        assert!(
            text.starts_with(
                "<107>1 2026-11-20T12:00:00Z site_1 airlock - apply.step [airlock@32473 seq=\"0\""
            ),
            "{text}"
        );
        assert!(
            text.contains("[about@32473 a___b_c=\"x\\\"y\\]z\\\\\" long=\"line\\\\nfeed \\\\u{e9}\"]"),
            "{text}"
        );
        assert!(text.ends_with("] apply.step failed\n") && text.matches('\n').count() == 1, "{text}");
        for (outcome, priority) in
            [(Outcome::Intent, 110), (Outcome::Done, 109), (Outcome::Refused, 108), (Outcome::Undone, 108)]
        {
            let text = written(Format::Syslog, Framing::Lf, event(outcome, &[]));
            assert!(text.starts_with(&format!("<{priority}>1 ")) && !text.contains("about@"), "{text}");
        }
    }

    #[test]
    fn octets_are_counted_where_that_is_asked_for() {
        let plain = written(Format::Syslog, Framing::Lf, event(Outcome::Done, &[]));
        let counted = written(Format::Syslog, Framing::OctetCounting, event(Outcome::Done, &[]));
        let message = plain.trim_end_matches('\n');
        assert_eq!(counted, format!("{} {message}", message.len()));
    }
}
