//! What of a text may leave the site: an allow-list of words (docs/adr/0030-diagnose.md).
//!
//! A piece of a text goes in only if it is a word of a public list (`words.txt`), a name that the sender of a
//! bundle knows already, a small number, a time, or the digest of something. Everything else is replaced by a
//! marker with its kind, its number and the class of its length: `<path#3 17-32>`. The same value has the same
//! number all over one archive, so that whoever reads it sees what belongs together.
//!
//! *It may never* show a part of what it replaces, nor what stands behind a word such as `password=`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use manifests::Timestamp;
use manifests::text::printable;

use crate::preflight::catalogue;

/// Words that say nothing about a site: those of this program and its manual, and those that tools and kernels
/// use in their messages.
const WORDS: &str = include_str!("words.txt");
/// What parts a text into pieces, and goes in as it is.
const PARTING: [char; 18] =
    ['=', ':', ',', ';', '(', ')', '[', ']', '{', '}', '<', '>', '|', '"', '\'', '`', '!', '?'];
/// What may stand around a word.
const AROUND: [char; 4] = ['.', '…', '*', '-'];
/// Longer numbers may be more than a count.
const DIGITS_MAX: usize = 5;
/// What numbers are followed by.
const UNITS: [&str; 20] = [
    "", "%", "s", "m", "h", "d", "ms", "us", "ns", "B", "kB", "MB", "GB", "KiB", "MiB", "GiB", "TiB", "Ki",
    "Mi", "Gi",
];
/// Behind one of these, or what ends with one of them, nothing of a line goes in.
const SECRET_KEYS: [&str; 14] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "pass",
    "secret",
    "token",
    "key",
    "authorization",
    "auth",
    "credential",
    "credentials",
    "cookie",
    "bearer",
];
/// The letters of names that a cluster makes up (`k8s.io/apimachinery/pkg/util/rand`).
const MADE_UP: &str = "bcdfghjklmnpqrstvwxz2456789";

/// Decides what goes in, and remembers what was replaced while one archive is made.
pub(super) struct Redactor {
    words: HashSet<&'static str>,
    names: BTreeSet<String>,
    replaced: HashMap<String, usize>,
    /// How much was replaced since somebody last asked, by kind.
    counts: BTreeMap<&'static str, usize>,
}

impl Default for Redactor {
    fn default() -> Self {
        let words = WORDS.lines().filter(|line| !line.starts_with('#')).collect();
        Self { words, names: BTreeSet::new(), replaced: HashMap::new(), counts: BTreeMap::new() }
    }
}

impl Redactor {
    /// A name that whoever sent a bundle knows.
    pub(super) fn knows(&mut self, name: impl Into<String>) {
        let name = name.into();
        if !name.is_empty() {
            self.names.insert(name);
        }
    }

    /// A value of which nothing goes in, whatever it is.
    pub(super) fn value(&mut self, value: &str) -> String {
        let kind = kind(value);
        let next = self.replaced.len().saturating_add(1);
        let number = *self.replaced.entry(value.to_string()).or_insert(next);
        let count = self.counts.entry(kind).or_default();
        *count = count.saturating_add(1);
        format!("<{kind}#{number} {}>", class(value.chars().count()))
    }

    /// A value that goes in if the whole of it is on the list.
    pub(super) fn word(&mut self, value: &str) -> String {
        if self.admits(value) { value.to_string() } else { self.value(value) }
    }

    /// A text, line by line and piece by piece.
    pub(super) fn text(&mut self, text: &str) -> String {
        let lines: Vec<String> = text.lines().map(|line| self.line(line)).collect();
        lines.join("\n")
    }

    /// How many values were replaced since the last time, by kind.
    pub(super) fn counted(&mut self) -> BTreeMap<&'static str, usize> {
        std::mem::take(&mut self.counts)
    }

    fn line(&mut self, line: &str) -> String {
        let mut shown = String::new();
        let mut rest = line;
        while !rest.is_empty() {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (chunk, behind) = rest.split_at(end);
            if let Some(end) = self.chunk(chunk, &mut shown) {
                let hidden = format!("{}{behind}", chunk.get(end..).unwrap_or_default());
                if !hidden.trim().is_empty() {
                    shown.push_str(&self.value(hidden.trim()));
                }
                return shown;
            }
            let spaces = behind.find(|c: char| !c.is_whitespace()).unwrap_or(behind.len());
            if spaces > 0 {
                shown.push(' ');
            }
            rest = behind.get(spaces..).unwrap_or_default();
        }
        shown
    }

    /// One piece between spaces. Gives where a secret begins in it, if it names one.
    fn chunk(&mut self, chunk: &str, shown: &mut String) -> Option<usize> {
        let (before, core, after) = core(chunk, |c| PARTING.contains(&c) || AROUND.contains(&c));
        if core.is_empty() || (self.admits(core) && !names_a_secret(core)) {
            shown.push_str(chunk);
            return None;
        }
        if core.contains("://") || core.starts_with(['/', '~', '.']) {
            shown.push_str(&format!("{before}{}{after}", self.value(core)));
            return None;
        }
        let (mut at, mut is_secret) = (0_usize, false);
        for piece in chunk.split_inclusive(PARTING) {
            let parting = piece.chars().last().filter(|last| PARTING.contains(last));
            let text = piece.strip_suffix(PARTING).unwrap_or(piece);
            if !text.is_empty() {
                is_secret = names_a_secret(text);
                shown.push_str(&self.piece(text));
            }
            shown.extend(parting);
            at = at.saturating_add(piece.len());
            if is_secret && matches!(parting, Some('=' | ':')) {
                return Some(at);
            }
        }
        None
    }

    fn piece(&mut self, piece: &str) -> String {
        let (before, core, after) = core(piece, |c| AROUND.contains(&c));
        if core.is_empty() || self.admits(core) {
            piece.to_string()
        } else {
            format!("{before}{}{after}", self.value(core))
        }
    }

    fn admits(&self, piece: &str) -> bool {
        self.names.contains(piece)
            || self.words.contains(piece.to_ascii_lowercase().as_str())
            || is_number(piece)
            || piece.split_once('/').is_some_and(|(part, all)| is_number(part) && is_number(all))
            || is_time(piece)
            || is_digest(piece)
            || catalogue::of(piece).is_some()
            || self.is_made_from_a_name(piece)
    }

    /// `web-6d4cf56db6-x7k2p` of `web`: a pod has the name of what made it, and an ending that was made up.
    fn is_made_from_a_name(&self, piece: &str) -> bool {
        let mut rest = piece;
        for _ in 0..2 {
            let Some((before, ending)) = rest.rsplit_once('-') else { return false };
            let length = (5..=10).contains(&ending.len());
            let drawn = ending.chars().all(|c| MADE_UP.contains(c) || c.is_ascii_hexdigit());
            if !length || !drawn || ending.chars().all(char::is_alphabetic) && ending.len() > 5 {
                return false;
            }
            if self.names.contains(before) {
                return true;
            }
            rest = before;
        }
        false
    }
}

/// What stands around a piece, and the piece.
fn core(text: &str, is_around: impl Fn(char) -> bool) -> (&str, &str, &str) {
    let start = text.find(|c| !is_around(c)).unwrap_or(text.len());
    let (before, rest) = text.split_at(start);
    let end = rest.trim_end_matches(is_around).len();
    let (core, after) = rest.split_at(end);
    (before, core, after)
}

fn names_a_secret(piece: &str) -> bool {
    let piece = piece.trim_matches(AROUND).to_ascii_lowercase();
    SECRET_KEYS.iter().any(|key| piece.ends_with(key))
}

fn kind(value: &str) -> &'static str {
    if value.contains("://") {
        "url"
    } else if value.starts_with(['/', '~']) {
        "path"
    } else if value.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | ':' | '-' | '+')) {
        "number"
    } else {
        "text"
    }
}

fn class(characters: usize) -> &'static str {
    match characters {
        0 => "0",
        1..=8 => "1-8",
        9..=16 => "9-16",
        17..=32 => "17-32",
        33..=64 => "33-64",
        _ => "65+",
    }
}

/// A count, a port, a size, a percentage or a version with three numbers: not an address, not a long number.
fn is_number(piece: &str) -> bool {
    let digits_end = piece.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(piece.len());
    let (number, unit) = piece.split_at(digits_end);
    let parts: Vec<&str> = number.split('.').collect();
    let small = |part: &&str| (1..=DIGITS_MAX).contains(&part.len());
    let digits = number.chars().filter(char::is_ascii_digit).count();
    UNITS.contains(&unit) && parts.len() <= 3 && parts.iter().all(small) && digits <= DIGITS_MAX
}

/// A moment, a day or a time of day.
fn is_time(piece: &str) -> bool {
    let shaped = |shape: &str| {
        let fits = |(c, wanted): (char, char)| if wanted == '0' { c.is_ascii_digit() } else { c == wanted };
        piece.len() == shape.len() && piece.chars().zip(shape.chars()).all(fits)
    };
    piece.parse::<Timestamp>().is_ok() || shaped("0000-00-00") || shaped("00:00") || shaped("00:00:00")
}

/// The digest of something: it says nothing but whether two things are the same.
fn is_digest(piece: &str) -> bool {
    piece.parse::<manifests::Digest>().is_ok()
}

/// Text of others in one line, before it is redacted: control characters part no lines and move no cursor.
#[must_use]
pub(super) fn one_line(text: &str) -> String {
    printable(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor() -> Redactor {
        let mut redactor = Redactor::default();
        redactor.knows("fraud-detection");
        redactor.knows("registry.example.com/fraud/service:v2.1.0");
        redactor
    }

    fn shown(text: &str) -> String {
        redactor().text(text)
    }

    #[test]
    fn words_of_the_list_names_of_the_bundle_counts_and_times_go_in() {
        for text in [
            "cannot read the file: permission denied",
            "fraud-detection: 2 of 3 steps failed (exit code 7)",
            "image registry.example.com/fraud/service:v2.1.0 cannot be pulled",
            "Back-off restarting failed container",
            "since 2026-11-20T12:00:00Z, 02:00 on 2026-11-20",
            "disk/site-store needs 12.5 GiB, 80%, 30s, step 3/12",
            "fraud-detection-6d4cf56db6-x7k2p is Pending",
        ] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn everything_else_is_replaced_by_its_kind_and_the_class_of_its_length() {
        for (text, wanted) in [
            ("cannot read /srv/files/x9", "cannot read <path#1 9-16>"),
            ("https://anna:hunter2@registry.site/v2/: refused", "<url#1 33-64>: refused"),
            ("connection to 10.11.12.13:5000 refused", "connection to <number#1 9-16>:5000 refused"),
            ("1234567 bytes", "<number#1 1-8> bytes"),
            ("hunter2 hunter2 other9", "<text#1 1-8> <text#1 1-8> <text#2 1-8>"),
            ("correct-horse-battery", "<text#1 17-32>"),
            ("fraud-detection-password", "<text#1 17-32>"),
        ] {
            assert_eq!(shown(text), wanted, "{text}");
        }
    }

    #[test]
    fn nothing_goes_in_that_stands_behind_the_name_of_a_secret() {
        for (text, wanted) in [
            ("password=registry", "password=<text#1 1-8>"),
            ("Authorization: Bearer registry failed", "Authorization:<text#1 17-32>"),
            ("{\"token\":\"registry\"}", "{\"token\":<text#1 9-16>"),
            ("DB_PASSWORD: image", "<text#1 9-16>:<text#2 1-8>"),
        ] {
            let found = shown(text);
            assert!(!found.contains("registry") && !found.contains("image"), "{found}");
            assert!(found.starts_with(wanted.split('<').next().unwrap()), "{found}, {wanted}");
        }
    }

    #[test]
    fn a_value_is_replaced_even_if_it_is_a_word_and_counted() {
        let mut redactor = redactor();
        assert_eq!(redactor.value("registry"), "<text#1 1-8>");
        assert_eq!(redactor.value("/registry"), "<path#2 9-16>");
        assert_eq!(redactor.counted(), BTreeMap::from([("path", 1), ("text", 1)]));
        assert!(redactor.counted().is_empty());
    }

    proptest::proptest! {
        #[test]
        fn no_random_token_ever_goes_in(
            token in "[A-Za-z0-9+/_]{12,40}", around in "[ =:\"'(),]{0,3}", word in "(failed|error|image)",
        ) {
            let text = format!("{word}{around} {token}{around}{word}");
            proptest::prop_assert!(!shown(&text).contains(&token), "{}", shown(&text));
        }
    }
}
