//! Versions of Python projects and the ranges that `Requires-Python` states, after PEP 440.
//!
//! Two spellings of one version are equal, versions have an order, and a range admits a CPython release or
//! does not. Choosing among versions is not done here: `uv` does that.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use manifests::text::printable;

use super::tags::PythonVersion;

/// Bounds a version's text. The longest in real use have dates and commit hashes and stay below 100.
const VERSION_BYTES_MAX: usize = 256;

/// A version by PEP 440. Equal means the same version, however it is spelled: `1.0` is `1.0.0`.
#[derive(Debug, Clone)]
pub struct Version {
    text: String,
    /// As spelled, with the zeros at its end.
    release: Vec<u64>,
    key: Key,
}

/// What makes up the order of versions; the order of the fields and variants is that of PEP 440.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    epoch: u64,
    release: Vec<u64>,
    pre: Pre,
    post: Option<u64>,
    dev: Dev,
    local: Option<Vec<LocalPart>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Pre {
    DevelopmentOnly,
    Alpha(u64),
    Beta(u64),
    Candidate(u64),
    Final,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Dev {
    Number(u64),
    Released,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum LocalPart {
    Text(String),
    Number(u64),
}

/// A text that is not a version by PEP 440.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{shown}` is not a version by PEP 440")]
pub struct VersionError {
    /// The text, made printable.
    shown: String,
}

impl Version {
    /// As it was spelled.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// A final release of CPython.
    fn of_python(python: PythonVersion, patch: u64) -> Self {
        let release = vec![3, u64::from(python.minor()), patch];
        let key = Key {
            epoch: 0,
            release: without_zeros(&release),
            pre: Pre::Final,
            post: None,
            dev: Dev::Released,
            local: None,
        };
        Self { text: format!("{python}.{patch}"), release, key }
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

impl Hash for Version {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl FromStr for Version {
    type Err = VersionError;
    fn from_str(text: &str) -> Result<Self, VersionError> {
        let refused = || VersionError { shown: printable(text) };
        if text.len() > VERSION_BYTES_MAX {
            return Err(refused());
        }
        let lower = text.to_ascii_lowercase();
        let mut scanner = Scanner { rest: lower.strip_prefix('v').unwrap_or(&lower) };
        let (release, key) = scanner.version().ok_or_else(refused)?;
        if scanner.rest.is_empty() {
            Ok(Self { text: text.to_owned(), release, key })
        } else {
            Err(refused())
        }
    }
}

fn without_zeros(release: &[u64]) -> Vec<u64> {
    let kept = release.iter().rposition(|part| *part != 0).map_or(0, |last| last + 1);
    release.iter().take(kept).copied().collect()
}

/// Takes a version apart from the left. `None` means a number too large to be meant.
struct Scanner<'a> {
    rest: &'a str,
}

impl Scanner<'_> {
    fn version(&mut self) -> Option<(Vec<u64>, Key)> {
        let mut first = self.number()?;
        let mut epoch = 0;
        if self.take("!") {
            epoch = first;
            first = self.number()?;
        }
        let mut release = vec![first];
        while self.rest.strip_prefix('.').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
            self.take(".");
            release.push(self.number()?);
        }
        let pre = self.pre()?;
        let post = self.post()?;
        let dev =
            if self.word(&["dev"]).is_some() { Dev::Number(self.suffix_number()?) } else { Dev::Released };
        let pre = match (pre, post, dev) {
            (Some(pre), ..) => pre,
            (None, None, Dev::Number(_)) => Pre::DevelopmentOnly,
            (None, ..) => Pre::Final,
        };
        let local = if self.take("+") { Some(self.local()?) } else { None };
        let key = Key { epoch, release: without_zeros(&release), pre, post, dev, local };
        Some((release, key))
    }

    fn pre(&mut self) -> Option<Option<Pre>> {
        let word = self.word(&["alpha", "a", "beta", "b", "preview", "pre", "c", "rc"]);
        let kind: fn(u64) -> Pre = match word {
            None => return Some(None),
            Some("alpha" | "a") => Pre::Alpha,
            Some("beta" | "b") => Pre::Beta,
            Some(_) => Pre::Candidate,
        };
        Some(Some(kind(self.suffix_number()?)))
    }

    fn post(&mut self) -> Option<Option<u64>> {
        if self.rest.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
            self.take("-");
            return Some(Some(self.number()?));
        }
        if self.word(&["post", "rev", "r"]).is_some() {
            return Some(Some(self.suffix_number()?));
        }
        Some(None)
    }

    fn local(&mut self) -> Option<Vec<LocalPart>> {
        let mut parts = Vec::new();
        for part in std::mem::take(&mut self.rest).split(['.', '-', '_']) {
            if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                return None;
            }
            let numeric = part.bytes().all(|byte| byte.is_ascii_digit());
            parts.push(if numeric {
                LocalPart::Number(part.parse().ok()?)
            } else {
                LocalPart::Text(part.to_owned())
            });
        }
        Some(parts)
    }

    fn take(&mut self, prefix: &str) -> bool {
        let rest = self.rest.strip_prefix(prefix);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// One of the words, with the separator that may stand before it.
    fn word(&mut self, words: &[&'static str]) -> Option<&'static str> {
        let start = self.rest.strip_prefix(['.', '-', '_']).unwrap_or(self.rest);
        let (word, rest) = words.iter().find_map(|word| Some((*word, start.strip_prefix(*word)?)))?;
        self.rest = rest;
        Some(word)
    }

    /// The number after a word, with the separator that may stand between them; 0 if there is none.
    fn suffix_number(&mut self) -> Option<u64> {
        let start = self.rest.strip_prefix(['.', '-', '_']).unwrap_or(self.rest);
        if !start.starts_with(|c: char| c.is_ascii_digit()) {
            return Some(0);
        }
        self.rest = start;
        self.number()
    }

    fn number(&mut self) -> Option<u64> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        digits.parse().ok()
    }
}

/// `Requires-Python`: the CPython releases that a wheel says it runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonRange(Vec<Clause>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Clause {
    operator: Operator,
    version: Version,
    /// Whether `.*` followed.
    wildcard: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Compatible,
    Equal,
    NotEqual,
    AtMost,
    AtLeast,
    Below,
    Above,
}

/// A text that is not a list of version specifiers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{shown}` is not a list of version specifiers by PEP 440")]
pub struct PythonRangeError {
    /// The text, made printable.
    shown: String,
}

impl PythonRange {
    /// Whether some patch release of this interpreter is in the range. A target names no patch release,
    /// and `!=3.9.0,!=3.9.1` must not shut out every 3.9; the site's own preflight knows which it has.
    #[must_use]
    pub fn admits(&self, python: PythonVersion) -> bool {
        // CPython has never come near a hundred patch releases of one minor version.
        (0..100).any(|patch| {
            let release = Version::of_python(python, patch);
            self.0.iter().all(|clause| clause.admits(&release))
        })
    }
}

impl Clause {
    /// Exact for final releases, the only ones asked about.
    fn admits(&self, release: &Version) -> bool {
        match (self.operator, self.wildcard) {
            (Operator::Equal, true) => self.is_prefix_of(release, self.version.release.len()),
            (Operator::NotEqual, true) => !self.is_prefix_of(release, self.version.release.len()),
            (Operator::Equal, false) => *release == self.version,
            (Operator::NotEqual, false) => *release != self.version,
            (Operator::AtMost, _) => *release <= self.version,
            (Operator::AtLeast, _) => *release >= self.version,
            (Operator::Below, _) => *release < self.version,
            (Operator::Above, _) => *release > self.version,
            (Operator::Compatible, _) => {
                let series = self.version.release.len().saturating_sub(1);
                *release >= self.version && self.is_prefix_of(release, series)
            }
        }
    }

    fn is_prefix_of(&self, release: &Version, parts: usize) -> bool {
        let padded = release.release.iter().copied().chain(std::iter::repeat(0));
        self.version.key.epoch == 0
            && self.version.release.iter().take(parts).zip(padded).all(|(ours, theirs)| *ours == theirs)
    }
}

impl FromStr for PythonRange {
    type Err = PythonRangeError;
    fn from_str(text: &str) -> Result<Self, PythonRangeError> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let clauses: Option<Vec<Clause>> = parts.map(clause).collect();
        clauses.map(Self).ok_or_else(|| PythonRangeError { shown: printable(text) })
    }
}

fn clause(text: &str) -> Option<Clause> {
    const OPERATORS: [(&str, Operator); 7] = [
        ("~=", Operator::Compatible),
        ("==", Operator::Equal),
        ("!=", Operator::NotEqual),
        ("<=", Operator::AtMost),
        (">=", Operator::AtLeast),
        ("<", Operator::Below),
        (">", Operator::Above),
    ];
    let (operator, rest) = OPERATORS.iter().find_map(|(sign, it)| Some((*it, text.strip_prefix(sign)?)))?;
    let rest = rest.trim();
    let (version, wildcard) = match rest.strip_suffix(".*") {
        Some(version) => (version, true),
        None => (rest, false),
    };
    let version: Version = version.parse().ok()?;
    let takes_wildcard = matches!(operator, Operator::Equal | Operator::NotEqual);
    let long_enough = operator != Operator::Compatible || version.release.len() > 1;
    (long_enough && (takes_wildcard || !wildcard)).then_some(Clause { operator, version, wildcard })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn two_spellings_of_one_version_are_equal() {
        for (left, right) in [
            ("1.0", "1.0.0"),
            ("1", "1.0.0.0"),
            ("v1.2", "1.2"),
            ("1.0ALPHA1", "1.0a1"),
            ("1.0-beta.2", "1.0b2"),
            ("1.0c3", "1.0rc3"),
            ("1.0pre", "1.0rc0"),
            ("1.0-1", "1.0.post1"),
            ("1.0rev4", "1.0.post4"),
            ("1.0dev", "1.0.dev0"),
            ("1.0+ubuntu-1", "1.0+Ubuntu.1"),
            ("0!1.0", "1.0"),
            ("2024.07.04", "2024.7.4"),
        ] {
            assert_eq!(version(left), version(right), "{left} {right}");
        }
        for (left, right) in [("1.0", "1.0.1"), ("1!1.0", "1.0"), ("1.0", "1.0.post0"), ("1.0", "1.0+cpu")] {
            assert_ne!(version(left), version(right), "{left} {right}");
        }
    }

    #[test]
    fn versions_have_the_order_of_pep_440() {
        let sorted = [
            "1.0.dev456",
            "1.0a1",
            "1.0a2.dev456",
            "1.0a12.dev456",
            "1.0a12",
            "1.0b1.dev456",
            "1.0b2",
            "1.0b2.post345.dev456",
            "1.0b2.post345",
            "1.0rc1.dev456",
            "1.0rc1",
            "1.0",
            "1.0+abc.5",
            "1.0+abc.7",
            "1.0+5",
            "1.0.post456.dev34",
            "1.0.post456",
            "1.1.dev1",
            "1.2",
            "1.10",
            "1!0.1",
        ];
        for pair in sorted.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_version() {
        for bad in [
            "",
            "v",
            "1.0.*",
            "1..0",
            "1.0+",
            "1.0+a..b",
            "latest",
            "1.0 ",
            "1.0-",
            "1!",
            "99999999999999999999",
        ] {
            assert!(bad.parse::<Version>().is_err(), "accepted {bad:?}");
        }
    }

    #[test]
    fn a_range_admits_an_interpreter_if_some_patch_release_is_in_it() {
        let python = |minor: &str| minor.parse::<PythonVersion>().unwrap();
        for (range, minor, admitted) in [
            (">=3.8", "3.11", true),
            (">=3.8,<3.11", "3.11", false),
            (">=3.8, <4", "3.11", true),
            ("<3.12,>=3.9", "3.11", true),
            ("!=3.9.0,!=3.9.1,>=3.8", "3.9", true),
            (">=3.11.4", "3.11", true),
            (">3.11", "3.11", true),
            (">=3.12", "3.11", false),
            ("~=3.7", "3.11", true),
            ("~=3.7.1", "3.11", false),
            ("==3.*", "3.11", true),
            ("!=3.11.*", "3.11", false),
            ("==3.11.*", "3.11", true),
            ("", "3.11", true),
            (">=2.7,!=3.0.*,!=3.1.*,!=3.2.*", "3.11", true),
        ] {
            let parsed: PythonRange = range.parse().unwrap();
            assert_eq!(parsed.admits(python(minor)), admitted, "{range} {minor}");
        }
        for bad in ["3.8", ">=", ">=3.6.*", "=>3.6", "~=3", "===3.8"] {
            assert!(bad.parse::<PythonRange>().is_err(), "accepted {bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_version_or_refused(text in ".{0,40}") {
            let _ = text.parse::<Version>();
            let _ = text.parse::<PythonRange>();
        }

        #[test]
        fn zeros_at_the_end_change_nothing(release in proptest::collection::vec(0_u64..1000, 1..5), zeros in 0_usize..4) {
            let short = release.iter().map(u64::to_string).collect::<Vec<_>>().join(".");
            let long = format!("{short}{}", ".0".repeat(zeros));
            proptest::prop_assert_eq!(version(&short), version(&long));
        }
    }
}
