//! The audit log's lines and their chain.
//!
//! One canonical JSON object on each line. Every line has a number (`seq`, from 0) and the SHA-256 of the
//! line before it with its line feed (`prev`; 64 zeros in the first). So a line that was changed, taken
//! out, put in or moved breaks the chain, and ten lines of shell with `sha256sum` find where.
//!
//! What the chain alone cannot show is that lines are missing at the end: for that there are checkpoints
//! ([`crate::checkpoint`]).

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::canonical::{self, CanonicalError};
use crate::digest::Digest;
use crate::timestamp::Timestamp;

/// Bounds one line.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// `prev` of the first line.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Counts from 0.
    pub seq: u64,
    /// SHA-256 of the line before, in hex.
    pub prev: String,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened, before it has its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The site's clock, UTC.
    pub time: Timestamp,
    /// `verify`, `apply`, `step`, `trust.init`, …
    pub event: String,
    /// `intent` before an act; `done`, `failed`, `refused`, `undone` after it.
    pub outcome: Outcome,
    /// Who ran the program.
    pub actor: Actor,
    /// The program and its version.
    pub tool: String,
    /// What it was about: keys and values in the event's own words.
    pub about: BTreeMap<String, String>,
}

/// Who ran the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// Numeric user id.
    pub uid: u32,
    /// The login name, as the environment states it.
    pub user: String,
    /// The user behind `sudo`, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sudo_user: Option<String>,
    /// The host.
    pub host: String,
}

/// Where in its life an act is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// About to be done.
    Intent,
    /// Done.
    Done,
    /// Not done, by a decision.
    Refused,
    /// Tried and not done.
    Failed,
    /// Taken back.
    Undone,
}

impl core::fmt::Display for Outcome {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(match self {
            Self::Intent => "intent",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Undone => "undone",
        })
    }
}

/// The end of the chain so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Head {
    /// How many lines there are.
    pub entries: u64,
    /// SHA-256 of the last line, in hex; 64 zeros if there is none.
    pub digest: String,
}

/// Where the chain is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainBreak {
    /// Not a line that we would have written.
    #[error("line {line} is not an audit entry: {reason}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// Why.
        reason: String,
    },
    /// It does not follow from the line before.
    #[error("line {line} does not follow from the line before it: a line was changed, taken out or put in")]
    Link {
        /// Counted from 1.
        line: u64,
    },
    /// The last line has no line feed.
    #[error("line {line} was cut off")]
    CutOff {
        /// Counted from 1.
        line: u64,
    },
}

/// Why an event has no place in the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// It cannot be written at all.
    #[error(transparent)]
    Document(#[from] CanonicalError),
    /// Its line would be one that no reader takes.
    #[error("its entry would have {bytes} bytes, and a line of the log has at most {LINE_BYTES_MAX}")]
    TooLong {
        /// How long it would be.
        bytes: usize,
    },
}

impl Default for Head {
    fn default() -> Self {
        Self { entries: 0, digest: GENESIS.to_string() }
    }
}

impl Head {
    /// The next line, with its line feed, and the head after it.
    ///
    /// # Errors
    /// An event that is longer than a line may be.
    pub fn append(&self, event: Event) -> Result<(Vec<u8>, Self), AppendError> {
        let line = canonical::to_canonical(&Entry { seq: self.entries, prev: self.digest.clone(), event })?;
        if line.len() > LINE_BYTES_MAX {
            return Err(AppendError::TooLong { bytes: line.len() });
        }
        let head = Self { entries: self.entries.saturating_add(1), digest: Digest::of(&line).hex() };
        Ok((line, head))
    }

    /// Takes the next line as it was read, line feed included.
    ///
    /// # Errors
    /// Where and how the chain is broken.
    pub fn follow(&self, line: &[u8]) -> Result<(Entry, Self), ChainBreak> {
        let number = self.entries.saturating_add(1);
        if line.last() != Some(&b'\n') {
            return Err(ChainBreak::CutOff { line: number });
        }
        let entry: Entry = canonical::from_canonical(line)
            .map_err(|error| ChainBreak::Line { line: number, reason: error.to_string() })?;
        if entry.seq != self.entries || entry.prev != self.digest {
            return Err(ChainBreak::Link { line: number });
        }
        Ok((entry, Self { entries: number, digest: Digest::of(line).hex() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str) -> Event {
        Event {
            time: Timestamp::from_unix_seconds(0).unwrap(),
            event: name.into(),
            outcome: Outcome::Done,
            actor: Actor { uid: 0, user: "root".into(), sudo_user: None, host: "h".into() },
            tool: "installer 0".into(),
            about: BTreeMap::new(),
        }
    }

    fn chain(names: &[&str]) -> Vec<Vec<u8>> {
        let mut head = Head::default();
        let mut lines = Vec::new();
        for name in names {
            let (line, next) = head.append(event(name)).unwrap();
            lines.push(line);
            head = next;
        }
        lines
    }

    fn verify(lines: &[Vec<u8>]) -> Result<Head, ChainBreak> {
        lines.iter().try_fold(Head::default(), |head, line| head.follow(line).map(|(_, next)| next))
    }

    #[test]
    fn an_untouched_chain_holds() {
        assert_eq!(verify(&chain(&["a", "b", "c"])).unwrap().entries, 3);
    }

    #[test]
    fn an_event_that_no_reader_would_take_is_not_written() {
        let mut long = event("a");
        long.about.insert("k".into(), "x".repeat(LINE_BYTES_MAX));
        assert!(matches!(Head::default().append(long), Err(AppendError::TooLong { .. })));
    }

    #[test]
    fn an_edited_a_deleted_a_moved_and_a_cut_line_are_each_found_where_they_are() {
        let good = chain(&["a", "b", "c"]);
        let mut edited = good.clone();
        edited[1] =
            std::string::String::from_utf8(edited[1].clone()).unwrap().replace("\"b\"", "\"x\"").into_bytes();
        assert_eq!(verify(&edited), Err(ChainBreak::Link { line: 3 }));
        let deleted = std::vec![good[0].clone(), good[2].clone()];
        assert_eq!(verify(&deleted), Err(ChainBreak::Link { line: 2 }));
        let moved = std::vec![good[1].clone(), good[0].clone(), good[2].clone()];
        assert_eq!(verify(&moved), Err(ChainBreak::Link { line: 1 }));
        let mut cut = good.clone();
        cut[2].pop();
        assert_eq!(verify(&cut), Err(ChainBreak::CutOff { line: 3 }));
        let mut spaced = good;
        spaced[0].insert(1, b' ');
        assert!(matches!(verify(&spaced), Err(ChainBreak::Line { line: 1, .. })));
    }
}
