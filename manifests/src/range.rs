//! Versions of charts, of Helm and of Kubernetes, and the ranges that Helm reads: `1.2.3`, `^1.2`, `~1.2.3`,
//! `1.x`, `>=1.2, <2`, `1.2 - 1.4`, several joined by `||`.
//!
//! They follow the library that Helm uses (Masterminds/semver 3), its readings of incomplete versions
//! included: `1.2` is any `1.2.x`, and a version before its release fits only where the range names one. The
//! `semver` crate compares single versions; its own ranges are Cargo's and mean other things.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;
use core::str::FromStr;

use semver::Version;

use crate::string_form::string_form;
use crate::text::printable;

/// Longer than any version of people.
const TEXT_BYTES_MAX: usize = 256;
/// As many versions are named to somebody who has asked for one that is not there.
const NEAREST: usize = 6;

/// A text that is no version, or no range of versions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is neither a version nor a range of versions, such as 1.2.3, ^1.2 or \">=1.2, <2\"")]
pub struct RangeError {
    /// The text, made printable.
    text: String,
}

/// A version as Helm takes it: a `v` before it and missing ends are allowed.
#[must_use]
pub fn version(text: &str) -> Option<Version> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let core = text.split(['-', '+']).next().filter(|_| text.len() <= TEXT_BYTES_MAX)?;
    let mut numbers = [0_u64; 3];
    let parts: Vec<&str> = core.split('.').collect();
    if parts.len() > numbers.len() {
        return None;
    }
    for (number, part) in numbers.iter_mut().zip(&parts) {
        *number = part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())??;
    }
    let [major, minor, patch] = numbers;
    let rest = text.get(core.len()..).unwrap_or_default();
    Version::parse(&format!("{major}.{minor}.{patch}{rest}")).ok()
}

/// Which versions somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    text: String,
    /// Any of these, each of which is all of its parts.
    groups: Vec<Vec<Part>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    operator: Operator,
    version: Version,
    /// What of the version was written.
    given: Given,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    Tilde,
    Caret,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    /// `*`
    Nothing,
    /// `1`, `1.x`
    Major,
    /// `1.2`, `1.2.x`
    Minor,
    /// `1.2.3`
    Patch,
}

impl FromStr for Range {
    type Err = RangeError;
    fn from_str(text: &str) -> Result<Self, RangeError> {
        let broken = || RangeError { text: printable(text) };
        let plain = |c: char| matches!(c, '!'..='~') || c.is_ascii_whitespace();
        if text.len() > TEXT_BYTES_MAX || !text.chars().all(plain) {
            return Err(broken());
        }
        // One kind of white space, so that it stands in a document as it is shown.
        let text = text.trim().replace(|c: char| c.is_ascii_whitespace(), " ");
        let groups = text.split("||").map(group).collect::<Option<Vec<_>>>().ok_or_else(broken)?;
        Ok(Self { text, groups })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

string_form!(Range);

/// Parts that all have to fit, with commas or spaces between them.
fn group(text: &str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    for piece in text.split(',') {
        let before = parts.len();
        let mut words = Words(piece.trim());
        while let Some((operator, word)) = words.next_part()? {
            if let Some(end) = words.end_of_span() {
                if !operator.is_empty() {
                    return None;
                }
                parts.push(part(Operator::GreaterOrEqual, word)?);
                parts.push(part(Operator::LessOrEqual, end)?);
                continue;
            }
            parts.push(part(operator_of(operator)?, word)?);
        }
        if parts.len() == before {
            return None;
        }
    }
    Some(parts)
}

/// The rest of a text that is read word by word.
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    /// An operator, which may be empty, and a version. `None` if it is neither that nor the end.
    fn next_part(&mut self) -> Option<Option<(&'a str, &'a str)>> {
        let text = self.0.trim_start();
        if text.is_empty() {
            return Some(None);
        }
        let end = text.find(|c| !"=!<>~^".contains(c))?;
        let (operator, rest) = text.split_at(end);
        let rest = rest.trim_start();
        let end = rest.find(|c: char| c.is_whitespace() || "=!<>~^".contains(c)).unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.0 = rest;
        (!word.is_empty()).then_some(Some((operator, word)))
    }

    /// What comes after a dash between two spaces.
    fn end_of_span(&mut self) -> Option<&'a str> {
        let rest = self.0.trim_start().strip_prefix('-')?;
        let rest = rest.strip_prefix(char::is_whitespace)?.trim_start();
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.0 = rest;
        Some(word)
    }
}

fn operator_of(text: &str) -> Option<Operator> {
    Some(match text {
        "" | "=" => Operator::Equal,
        "!=" => Operator::NotEqual,
        ">" => Operator::Greater,
        "<" => Operator::Less,
        ">=" | "=>" => Operator::GreaterOrEqual,
        "<=" | "=<" => Operator::LessOrEqual,
        "~" | "~>" => Operator::Tilde,
        "^" => Operator::Caret,
        _ => return None,
    })
}

fn part(operator: Operator, word: &str) -> Option<Part> {
    let text = word.strip_prefix('v').unwrap_or(word);
    let core = text.split(['-', '+']).next()?;
    let rest = text.get(core.len()..).unwrap_or_default();
    let numbers: Vec<&str> = core.split('.').collect();
    let is_any = |part: &&str| matches!(*part, "x" | "X" | "*");
    let written = numbers.iter().take_while(|part| !is_any(part)).count();
    let plain = numbers.iter().all(|part| is_any(part) || part.bytes().all(|byte| byte.is_ascii_digit()));
    if numbers.len() > 3 || !plain || numbers.iter().any(|part| part.is_empty()) {
        return None;
    }
    let given = match written {
        0 => Given::Nothing,
        1 => Given::Major,
        2 => Given::Minor,
        _ => Given::Patch,
    };
    let core = numbers.get(..written)?.join(".");
    let core = if core.is_empty() { "0".to_string() } else { core };
    Some(Part { operator, version: version(&format!("{core}{rest}"))?, given })
}

impl Part {
    fn admits(&self, found: &Version) -> bool {
        let wanted = &self.version;
        let order = found.cmp_precedence(wanted);
        match self.operator {
            Operator::Equal if self.given == Given::Patch => order == Ordering::Equal,
            Operator::Equal | Operator::Tilde => self.near(found),
            Operator::NotEqual => match self.given {
                Given::Patch | Given::Nothing => order != Ordering::Equal,
                Given::Major => found.major != wanted.major,
                Given::Minor => (found.major, found.minor) != (wanted.major, wanted.minor),
            },
            Operator::Greater => match self.given {
                Given::Patch | Given::Nothing => order == Ordering::Greater,
                Given::Major => found.major > wanted.major,
                Given::Minor => (found.major, found.minor) > (wanted.major, wanted.minor),
            },
            Operator::Less => order == Ordering::Less,
            Operator::GreaterOrEqual => order != Ordering::Less,
            Operator::LessOrEqual => match self.given {
                Given::Patch => order != Ordering::Greater,
                Given::Major => found.major <= wanted.major,
                Given::Minor | Given::Nothing => (found.major, found.minor) <= (wanted.major, wanted.minor),
            },
            Operator::Caret => self.compatible(found),
        }
    }

    /// `~1.2.3`, and what `1.2` means without an operator.
    fn near(&self, found: &Version) -> bool {
        let wanted = &self.version;
        if found.cmp_precedence(wanted) == Ordering::Less {
            return false;
        }
        let zero = (wanted.major, wanted.minor, wanted.patch) == (0, 0, 0);
        match self.given {
            Given::Nothing => true,
            Given::Patch if zero => true,
            Given::Major => found.major == wanted.major,
            _ => (found.major, found.minor) == (wanted.major, wanted.minor),
        }
    }

    /// `^1.2.3`: the first number that is not zero stays.
    fn compatible(&self, found: &Version) -> bool {
        let wanted = &self.version;
        if found.cmp_precedence(wanted) == Ordering::Less || found.major != wanted.major {
            return false;
        }
        if wanted.major > 0 || self.given == Given::Major {
            return true;
        }
        if wanted.minor > 0 || self.given == Given::Minor {
            return found.minor == wanted.minor;
        }
        found.minor == 0 && found.patch == wanted.patch
    }
}

impl Range {
    /// The one version that this is and no other, if it is one: all its three numbers are written.
    #[must_use]
    pub fn exact(&self) -> Option<&str> {
        match self.groups.as_slice() {
            [group] => match group.as_slice() {
                [only] if only.operator == Operator::Equal && only.given == Given::Patch => {
                    Some(self.text.trim_start_matches('=').trim_start())
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether a version fits. What is no version does not.
    #[must_use]
    pub fn admits(&self, text: &str) -> bool {
        version(text).is_some_and(|found| self.fits(&found))
    }

    fn fits(&self, found: &Version) -> bool {
        self.groups.iter().any(|group| {
            // A version before its release is taken only by who has named one.
            let early = group.iter().any(|part| !part.version.pre.is_empty());
            (found.pre.is_empty() || early) && group.iter().all(|part| part.admits(found))
        })
    }

    /// The place of the version to take: the one that is spelled so, or else the highest that fits.
    #[must_use]
    pub fn choose<'a>(&self, versions: impl Iterator<Item = &'a str> + Clone) -> Option<usize> {
        if let Some(place) = versions.clone().position(|text| text == self.text) {
            return Some(place);
        }
        let parsed = versions.enumerate().filter_map(|(place, text)| Some((place, version(text)?)));
        let fitting = parsed.filter(|(_, found)| self.fits(found));
        // Of two that differ in what counts for nothing (`+…`), the first.
        fitting
            .reduce(
                |best, next| if next.1.cmp_precedence(&best.1) == Ordering::Greater { next } else { best },
            )
            .map(|(place, _)| place)
    }

    /// The versions around what was asked for, the highest first: for somebody who has asked for one that is
    /// not there.
    #[must_use]
    pub fn nearest<'a>(&self, versions: impl Iterator<Item = &'a str>) -> Vec<String> {
        let mut known: Vec<(Version, &str)> =
            versions.filter_map(|text| Some((version(text)?, text))).collect();
        known.sort_by(|left, right| right.0.cmp_precedence(&left.0).then(left.1.cmp(right.1)));
        known.dedup_by(|left, right| left.1 == right.1);
        let anchor = self.groups.first().and_then(|group| group.first()).map(|part| &part.version);
        let above = anchor.map_or(0, |anchor| {
            known.iter().filter(|(found, _)| found.cmp_precedence(anchor) == Ordering::Greater).count()
        });
        let start = above.saturating_sub(NEAREST / 2).min(known.len().saturating_sub(NEAREST));
        known.iter().skip(start).take(NEAREST).map(|(_, text)| printable(text)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Range {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn ranges_mean_what_helm_takes_them_for() {
        for (text, fits, not) in [
            ("1.2.3", &["1.2.3", "v1.2.3", "1.2.3+x"][..], &["1.2.4", "1.2.3-rc.1"][..]),
            ("1.2", &["1.2.0", "1.2.9"], &["1.3.0", "1.1.9", "1.2.0-rc.1"]),
            ("1", &["1.0.0", "1.9.9"], &["2.0.0", "0.9.0"]),
            ("*", &["0.0.1", "9.0.0"], &["1.0.0-rc.1"]),
            ("1.2.x", &["1.2.7"], &["1.3.0"]),
            ("1.*", &["1.2.7"], &["2.0.0"]),
            ("^1.2.3", &["1.2.3", "1.9.0"], &["1.2.2", "2.0.0"]),
            ("^0.2.3", &["0.2.3", "0.2.9"], &["0.3.0", "0.2.2"]),
            ("^0.0.3", &["0.0.3"], &["0.0.4", "0.1.0"]),
            ("^0.0", &["0.0.0", "0.0.9"], &["0.1.0"]),
            ("^0", &["0.0.0", "0.9.0"], &["1.0.0"]),
            ("~1.2.3", &["1.2.3", "1.2.9"], &["1.3.0", "1.2.2"]),
            ("~1.2", &["1.2.0"], &["1.3.0"]),
            ("~1", &["1.0.0", "1.9.0"], &["2.0.0"]),
            ("~>1.2", &["1.2.5"], &["1.3.0"]),
            (">=1.2, <2", &["1.2.0", "1.9.9"], &["2.0.0", "1.1.0"]),
            (">= 1.2 < 2", &["1.2.0", "1.9.9"], &["2.0.0", "1.1.0"]),
            (">1.2", &["1.3.0", "2.0.0"], &["1.2.0", "1.2.9"]),
            (">11", &["12.0.0"], &["11.1.0"]),
            ("<=1.2", &["1.2.9", "0.1.0"], &["1.3.0"]),
            ("<=1", &["1.2.9"], &["2.0.0"]),
            ("!=1.2.3", &["1.2.4"], &["1.2.3"]),
            ("!=1.2", &["1.3.0"], &["1.2.3"]),
            ("1.2 - 1.4.5", &["1.2.0", "1.4.5"], &["1.4.6", "1.1.0"]),
            ("1.2 - 1.4", &["1.4.9"], &["1.5.0"]),
            ("1.x || >=3.1", &["1.5.0", "3.1.0"], &["2.0.0", "3.0.0"]),
            (">=1.2.0-0", &["1.2.0-rc.1", "1.3.0-alpha", "1.2.0"], &["1.1.0"]),
            ("^1.2.0-0, !=1.3.0", &["1.4.0-rc.1"], &["1.3.0"]),
        ] {
            let parsed = range(text);
            for found in fits {
                assert!(parsed.admits(found), "{found} fits {text}");
            }
            for found in not {
                assert!(!parsed.admits(found), "{found} does not fit {text}");
            }
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in
            ["", " ", "latest", "1.2.3.4", "1..2", ">=", ">= , 1", "1.2,", "^^1", "1.2 -1 x", "||", "1 || "]
        {
            assert!(text.parse::<Range>().is_err(), "{text}");
        }
        assert!(">=1\u{a0}<2".parse::<Range>().is_err(), "Helm knows no such white space");
        let error = "\u{1b}[2J".parse::<Range>().unwrap_err();
        assert!(!error.to_string().contains('\u{1b}'));
    }

    #[test]
    fn a_range_stands_in_a_document_as_it_was_written() {
        for (text, shown) in [(" >=1.28 ", ">=1.28"), (">=1.2,\t<2", ">=1.2, <2")] {
            let json = serde_json::to_string(&range(text)).unwrap();
            assert_eq!(json, format!("\"{shown}\""));
            assert_eq!(serde_json::from_str::<Range>(&json).unwrap(), range(text));
        }
        assert!(serde_json::from_str::<Range>("\"newest\"").is_err());
    }

    #[test]
    fn the_spelling_counts_first_and_then_the_highest_that_fits() {
        let all = ["1.0.0", "1.10.0", "1.9.0", "2.0.0-rc.1", "1.10.0+b", "nonsense"];
        let chosen = |text: &str| range(text).choose(all.iter().copied()).map(|place| all[place]);
        assert_eq!(chosen("^1"), Some("1.10.0"));
        assert_eq!(chosen("1.10.0+b"), Some("1.10.0+b"));
        assert_eq!(chosen(">=2.0.0-0"), Some("2.0.0-rc.1"));
        assert_eq!(chosen("3.x"), None);
        assert_eq!(range("^1.9.5").nearest(all.iter().copied().take(3)), ["1.10.0", "1.9.0", "1.0.0"]);
        let many: Vec<String> = (0..50).map(|minor| format!("1.{minor}.0")).collect();
        let nearest = range("1.20.1").nearest(many.iter().map(String::as_str));
        assert_eq!(nearest, ["1.23.0", "1.22.0", "1.21.0", "1.20.0", "1.19.0", "1.18.0"]);
    }

    #[test]
    fn only_a_whole_version_is_exact() {
        assert_eq!(range("1.2.3").exact(), Some("1.2.3"));
        assert_eq!(range("= 1.2.3+x").exact(), Some("1.2.3+x"));
        for text in ["1.2", "^1.2.3", "1.2.x", "1.2.3 || 1.2.4", "*"] {
            assert_eq!(range(text).exact(), None, "{text}");
        }
    }
}
