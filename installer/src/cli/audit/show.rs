//! `installer audit show`: the log for people, within the width of a terminal.

use std::collections::VecDeque;

use clap::Args;
use edge::{Failure, Screen};
use manifests::audit::{Entry, Head};
use manifests::{Digest, KeyId, Timestamp};
use serde::Serialize;

use super::since;
use crate::audit;
use crate::site::Site;

/// The width of a terminal.
const COLUMNS: usize = 80;
/// Before what an entry is about.
const INDENT: &str = "        ";

/// The arguments of `audit show`.
#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    /// Only the last entries, of those that the other options leave
    #[arg(long, value_name = "N")]
    last: Option<usize>,
    /// Only this event and what is below it: `apply` means `apply.step` as well; may be given again
    #[arg(long, value_name = "NAME")]
    event: Vec<String>,
    /// Only entries from this time on, such as 2026-11-20T12:00:00Z or 2026-11-20 (UTC)
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
}

#[derive(Serialize)]
struct Log {
    head: Head,
    entries: VecDeque<Entry>,
}

impl ShowArgs {
    pub(super) fn run(self, site: &Site, screen: &mut Screen<'_>) -> Result<(), Failure> {
        site.trust()?;
        let mut entries = VecDeque::new();
        let head = audit::read(&site.audit_path(), &mut |entry| {
            if self.wants(&entry) {
                entries.push_back(entry);
                if self.last.is_some_and(|last| entries.len() > last) {
                    entries.pop_front();
                }
            }
        })?;
        let human: String = entries.iter().map(for_people).collect();
        screen.result(&human, &Log { head, entries })
    }

    fn wants(&self, entry: &Entry) -> bool {
        let event = entry.event.event.as_str();
        let named = |name: &String| {
            event.strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        (self.event.is_empty() || self.event.iter().any(named))
            && self.since.is_none_or(|since| entry.event.time >= since)
    }
}

fn for_people(entry: &Entry) -> String {
    let (event, actor) = (&entry.event, &entry.event.actor);
    let sudo = actor.sudo_user.as_ref().map_or(String::new(), |user| format!(" (sudo by {user})"));
    let head = format!(
        "{:>6}  {}  {:<13} {:<8} {}{sudo}",
        entry.seq,
        event.time,
        event.event,
        event.outcome.to_string(),
        actor.user
    );
    let mut text = wrapped(&head, "", INDENT);
    for (key, value) in &event.about {
        text.push_str(&wrapped(&format!("{key}={}", shortened(value)), INDENT, &format!("{INDENT}  ")));
    }
    text
}

/// Digests and ids as people compare them at a glance; `--output json` has them whole.
fn shortened(value: &str) -> String {
    let short = |word: &str| {
        let digest = word.parse::<Digest>().map(|digest| format!("sha256:{}…", digest.short()));
        digest.or_else(|_| word.parse::<KeyId>().map(|id| format!("{}…", id.short())))
    };
    let words: Vec<String> =
        value.split(' ').map(|word| short(word).unwrap_or_else(|_| word.to_string())).collect();
    words.join(" ")
}

/// A text in lines of a terminal's width, broken between words where that is possible.
fn wrapped(text: &str, first: &str, others: &str) -> String {
    let (mut lines, mut line) = (String::new(), first.to_string());
    let mut is_empty = true;
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let space = usize::from(!is_empty);
            let room = COLUMNS.saturating_sub(line.chars().count()).saturating_sub(space);
            if word.len() <= room {
                line.extend((!is_empty).then_some(' '));
                line.extend(word);
                is_empty = false;
                break;
            }
            if is_empty {
                // Longer than a whole line.
                let rest = word.split_off(room);
                line.extend(word);
                word = rest;
            }
            lines.push_str(line.trim_end());
            lines.push('\n');
            (line, is_empty) = (others.to_string(), true);
        }
    }
    lines.push_str(line.trim_end());
    lines.push('\n');
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_a_terminal_and_nothing_is_lost() {
        let words = "a word and ".repeat(20);
        let path = "/x".repeat(200);
        for text in [words.as_str(), &path, "", "one", &format!("{words}{path} end")] {
            let shown = wrapped(text, INDENT, "  ");
            assert!(shown.lines().all(|line| line.chars().count() <= COLUMNS), "{shown}");
            let plain = |text: &str| text.split_whitespace().collect::<String>();
            assert_eq!(plain(&shown), plain(text));
        }
        assert_eq!(wrapped("a  b", "", ""), "a  b\n");
    }

    #[test]
    fn digests_and_key_ids_are_shortened_and_other_words_are_not() {
        let hex = "0123456789ab".to_string() + &"0".repeat(52);
        assert_eq!(
            shortened(&format!("of sha256:{hex} by {hex}")),
            "of sha256:0123456789ab… by 0123456789ab…"
        );
        assert_eq!(shortened("sha256:12 done"), "sha256:12 done");
    }
}
