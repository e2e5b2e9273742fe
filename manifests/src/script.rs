//! Scripts: programs that a bundle brings and a site that allows it runs, each with another one that takes
//! it back.
//!
//! *Invariant:* a [`Script`] says how it is taken back, or that it cannot be and why. There is no third
//! way to write one down.

use alloc::format;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::oci::Descriptor;
use crate::text::{FileName, Marking, Name};

/// The kind of artifact that holds a script and its undo.
pub const ARTIFACT_SCRIPT: &str = "application/vnd.airlock.script.v1";

/// The longest time that a script may take: a day.
pub const WITHIN_SECONDS_MAX: u64 = 24 * 60 * 60;

/// A script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Its name, unique in the bundle.
    pub name: Name,
    /// Where it came from.
    pub source: Marking,
    /// Its place among the scripts of the bundle, from 0. Each has its own.
    pub position: u64,
    /// When it runs.
    pub when: When,
    /// How long it, and its undo, may take.
    pub within: Within,
    /// What is run.
    pub file: ScriptFile,
    /// How it is taken back.
    pub undo: Undo,
    /// Its OCI artifact.
    pub manifest: Descriptor,
}

impl Script {
    /// Its own file, and the one that takes it back if that is another.
    #[must_use]
    pub fn files(&self) -> Vec<&ScriptFile> {
        let undo = self.undo.file().filter(|undo| *undo != &self.file);
        core::iter::once(&self.file).chain(undo).collect()
    }
}

/// When a script runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// Before anything else of the bundle is put in place.
    Before,
    /// After everything else was.
    After,
}

impl core::fmt::Display for When {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Before => "before",
            Self::After => "after",
        })
    }
}

/// How a script is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undo {
    /// By another script, or by the same one, which is told what it is run for.
    Script(ScriptFile),
    /// Not at all. Why not, for the person who decides.
    Irreversible(Marking),
}

impl Undo {
    /// The script that takes it back, if there is one.
    #[must_use]
    pub fn file(&self) -> Option<&ScriptFile> {
        match self {
            Self::Script(file) => Some(file),
            Self::Irreversible(_) => None,
        }
    }
}

/// A file that can be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptFile {
    /// Its file name.
    pub filename: FileName,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// What follows `#!` in its first line, so that a site can look for it beforehand; none for a program
    /// in machine code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<Marking>,
}

/// A time limit in seconds, 1 to [`WITHIN_SECONDS_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Within(u64);

impl Within {
    /// Sixty seconds.
    pub const MINUTE: Self = Self(60);

    /// `None` for no time at all, or more than a day.
    #[must_use]
    pub fn new(seconds: u64) -> Option<Self> {
        (1..=WITHIN_SECONDS_MAX).contains(&seconds).then_some(Self(seconds))
    }

    /// `90s`, `10m` or `2h`, as people write it.
    #[must_use]
    pub fn of_text(text: &str) -> Option<Self> {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let unit = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return None,
        };
        let number =
            number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse::<u64>().ok())??;
        Self::new(number.checked_mul(unit)?)
    }

    /// The seconds.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0
    }
}

impl Default for Within {
    /// Ten minutes.
    fn default() -> Self {
        Self(600)
    }
}

impl TryFrom<u64> for Within {
    type Error = alloc::string::String;
    fn try_from(seconds: u64) -> Result<Self, Self::Error> {
        Self::new(seconds).ok_or_else(|| format!("a time limit is 1 to {WITHIN_SECONDS_MAX} seconds"))
    }
}

impl From<Within> for u64 {
    fn from(within: Within) -> Self {
        within.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_taken_back_by_one_thing_only() {
        let parse = |text: &str| serde_json::from_str::<Undo>(text);
        let file = format!("{{\"digest\":\"{}\",\"filename\":\"x.sh\",\"size\":1}}", Digest::of(b"x"));
        assert!(matches!(parse(&format!("{{\"script\":{file}}}")), Ok(Undo::Script(_))));
        assert!(matches!(parse("{\"irreversible\":\"drops a table\"}"), Ok(Undo::Irreversible(_))));
        for bad in [format!("{{\"irreversible\":\"x\",\"script\":{file}}}"), "{}".into(), "null".into()] {
            assert!(parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_limit_is_some_time_and_at_most_a_day() {
        let parse = |text: &str| serde_json::from_str::<Within>(text).map(Within::seconds).ok();
        assert_eq!((parse("1"), parse("86400")), (Some(1), Some(86400)));
        assert_eq!((parse("0"), parse("86401"), parse("-1")), (None, None, None));
        let text = |text: &str| Within::of_text(text).map(Within::seconds);
        assert_eq!((text("90s"), text("10m"), text("2h")), (Some(90), Some(600), Some(7200)));
        assert_eq!(
            (text("s"), text("10"), text("+1m"), text("25h"), text("0s")),
            (None, None, None, None, None)
        );
    }
}
