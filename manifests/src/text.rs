//! The short texts of our documents, each with its own alphabet, so that none can carry an escape
//! sequence to a terminal, a path to a file system or an option to a command line.

use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;

use crate::string_form::string_form;

/// Why a text is not of the wanted form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}: expected {rule}")]
pub struct TextError {
    /// The text, made printable.
    text: String,
    /// What it should have been.
    what: &'static str,
    /// The rule in words.
    rule: &'static str,
}

impl TextError {
    pub(crate) fn new(text: &str, what: &'static str, rule: &'static str) -> Self {
        Self { text: printable(text), what, rule }
    }
}

/// A text from outside as it may be shown: control characters, direction marks and everything that is
/// not ASCII become escapes, and it is cut after 200 characters.
#[must_use]
pub fn printable(text: &str) -> String {
    printable_up_to(text, 200)
}

/// As [`printable`], cut after so many characters.
#[must_use]
pub fn printable_up_to(text: &str, characters_max: usize) -> String {
    let mut shown = String::new();
    for (position, character) in text.chars().enumerate() {
        if position == characters_max {
            shown.push('…');
            break;
        }
        match character {
            ' '..='~' => shown.push(character),
            other => shown.extend(other.escape_default()),
        }
    }
    shown
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $accepts:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = TextError;
            fn from_str(text: &str) -> Result<Self, TextError> {
                let accepts: fn(&str) -> bool = $accepts;
                if accepts(text) { Ok(Self(text.to_string())) } else { Err(TextError::new(text, $what, $rule)) }
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
        string_form!($name);
    };
}

fn starts_alphanumeric(text: &str) -> bool {
    text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
}

text_type!(
    /// The name of a publisher, a product, a holder, a site, a group or a component.
    Name,
    "name",
    "1 to 63 of a-z 0-9 . _ - that start with a letter or digit",
    |text| {
        text.len() <= 63
            && starts_alphanumeric(text)
            && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
    }
);

text_type!(
    /// A bundle's version, as its publisher spells it. It is a label: the order of bundles is their
    /// epoch and sequence, never this.
    BundleVersion,
    "bundle version",
    "1 to 64 of A-Z a-z 0-9 . _ + - that start with a letter or digit",
    |text| {
        text.len() <= 64
            && starts_alphanumeric(text)
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'+' | b'-'))
    }
);

text_type!(
    /// The version of a Python package, in any spelling of PEP 440 that a wheel's file name can have.
    PackageVersion,
    "package version",
    "1 to 128 of A-Z a-z 0-9 . _ + ! - that start with a letter or digit",
    |text| {
        text.len() <= 128
            && starts_alphanumeric(text)
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'+' | b'!' | b'-'))
    }
);

text_type!(
    /// A classification marking or another line for people.
    Marking,
    "marking",
    "1 to 128 printable ASCII characters",
    |text| !text.is_empty() && text.len() <= 128 && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
);

text_type!(
    /// A line of somebody else's that we pass on: an image's name as a chart spells it, a path inside a
    /// chart, a reason.
    LongLine,
    "line",
    "1 to 512 printable ASCII characters",
    |text| !text.is_empty() && text.len() <= 512 && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
);

impl LongLine {
    /// A text from outside as it may be shown, cut where it gets too long. `-` for an empty one.
    #[must_use]
    pub fn printable(text: &str) -> Self {
        const MAX: usize = 512;
        let mut shown = String::new();
        for character in text.chars() {
            let escaped = printable(character.encode_utf8(&mut [0; 4]));
            if shown.len() + escaped.len() > MAX - 3 {
                shown.push_str("...");
                break;
            }
            shown.push_str(&escaped);
        }
        Self(if shown.is_empty() { "-".to_string() } else { shown })
    }
}

text_type!(
    /// The file name of one thing inside a component: a wheel, a chart archive, a file.
    FileName,
    "file name",
    "1 to 255 of A-Z a-z 0-9 . _ + - ! ~ @ that do not start with a dot or a dash",
    |text| {
        text.len() <= 255
            && !text.starts_with(['.', '-'])
            && !text.is_empty()
            && text.bytes().all(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'+' | b'-' | b'!' | b'~' | b'@')
            })
    }
);

text_type!(
    /// The path of one file below its file set's destination, `/` between its parts.
    RelativePath,
    "relative path",
    "1 to 1024 printable characters without a backslash, in parts that are neither empty nor `.` nor `..`",
    |text| {
        text.len() <= 1024
            && text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'\\')
            && text.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && part.len() <= 255)
    }
);

text_type!(
    /// Where a file set goes, below the site's `files.root`: absolute, and every part a plain name.
    Destination,
    "destination",
    "an absolute path of printable characters whose parts are neither empty nor `.` nor `..`",
    |text| {
        let below = |rest: &str| rest.strip_suffix('/').unwrap_or(rest).parse::<RelativePath>().is_ok();
        text == "/" || text.strip_prefix('/').is_some_and(below)
    }
);

text_type!(
    /// The fingerprint of an OpenPGP key.
    Fingerprint,
    "fingerprint of an OpenPGP key",
    "40 or 64 of 0-9 A-F",
    |text| matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'))
);

text_type!(
    /// A label of RFC 1123, such as the name of a namespace in Kubernetes.
    DnsLabel,
    "name",
    "1 to 63 of a-z 0-9 - that start and end with a letter or digit",
    is_dns_label
);

text_type!(
    /// A subdomain of RFC 1123: the name of a host, and of most objects in Kubernetes.
    DnsName,
    "name",
    "at most 253 of a-z 0-9 - . in labels of at most 63 that start and end with a letter or digit",
    |text| text.len() <= 253 && text.split('.').all(is_dns_label)
);

text_type!(
    /// A key in the data of a secret in Kubernetes.
    DataKey,
    "key",
    "1 to 253 of A-Z a-z 0-9 . _ -",
    |text| {
        (1..=253).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    }
);

text_type!(
    /// The kind of an object in Kubernetes.
    ApiKind,
    "kind",
    "1 to 63 of A-Z a-z 0-9 that start with a capital letter",
    |text| {
        text.len() <= 63
            && text.starts_with(|first: char| first.is_ascii_uppercase())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
    }
);

fn is_dns_label(text: &str) -> bool {
    let ends =
        |text: &str| starts_alphanumeric(text) && text.ends_with(|last: char| last.is_ascii_alphanumeric());
    text.len() <= 63
        && ends(text)
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// Whom a bundle is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Audience {
    /// `*`: any site. It has to be written out; a bundle without an audience is for nobody.
    Anyone,
    /// One site, or a group of sites.
    Named(Name),
}

impl FromStr for Audience {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        if text == "*" { Ok(Self::Anyone) } else { text.parse().map(Self::Named) }
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anyone => f.write_str("*"),
            Self::Named(name) => fmt::Display::fmt(name, f),
        }
    }
}

string_form!(Audience);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_carry_a_path_an_option_or_an_escape() {
        for bad in ["", "-rf", "../x", "a/b", "A", "a b", "a\u{1b}[2J", "a\u{202e}b", "é", &"x".repeat(64)] {
            assert!(bad.parse::<Name>().is_err(), "accepted {bad:?}");
        }
        for good in ["acme", "fraud-detection", "a.b_c", "0"] {
            assert!(good.parse::<Name>().is_ok(), "refused {good:?}");
        }
    }

    #[test]
    fn a_relative_path_stays_below_its_directory() {
        for bad in ["", "/etc/passwd", "..", "a/../b", "a//b", "a/", "./a", "a\\b", "a\nb", "a\0b"] {
            assert!(bad.parse::<RelativePath>().is_err(), "accepted {bad:?}");
        }
        for good in ["a", "a/b.yaml", ".hidden", "a b/c"] {
            assert!(good.parse::<RelativePath>().is_ok(), "refused {good:?}");
        }
        for bad in ["", "etc", "/etc/../x", "//", "/a//b"] {
            assert!(bad.parse::<Destination>().is_err(), "accepted {bad:?}");
        }
        for good in ["/", "/etc/fraud/", "/etc/fraud"] {
            assert!(good.parse::<Destination>().is_ok(), "refused {good:?}");
        }
    }

    #[test]
    fn what_is_shown_cannot_move_the_cursor() {
        assert_eq!(printable("a\u{1b}[2J\n\u{202e}"), "a\\u{1b}[2J\\n\\u{202e}");
        assert!(printable(&"x".repeat(500)).len() < 210);
    }

    #[test]
    fn a_text_from_outside_becomes_a_line() {
        for (text, line) in [("a b", "a b"), ("", "-"), ("a\u{1b}[2J", "a\\u{1b}[2J")] {
            assert_eq!(LongLine::printable(text).as_str(), line);
        }
        for text in ["x".repeat(600), "\u{1f600}".repeat(100), "é".repeat(300)] {
            let line = LongLine::printable(&text);
            assert!(line.as_str().ends_with("..."), "{line}");
            assert_eq!(line.as_str().parse(), Ok(line.clone()));
        }
    }

    #[test]
    fn names_of_kubernetes_are_what_it_takes() {
        for bad in ["", "A", "a.b", "-a", "a-", "a_b", "a/b", &"x".repeat(64)] {
            assert!(bad.parse::<DnsLabel>().is_err(), "accepted {bad:?}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", "a.-b", "a_b", "A", &"x.".repeat(127)] {
            assert!(bad.parse::<DnsName>().is_err(), "accepted {bad:?}");
        }
        assert!("a-1".parse::<DnsLabel>().is_ok() && "a-1.b".parse::<DnsName>().is_ok());
        assert!("DB_pass.1-x".parse::<DataKey>().is_ok() && "a b".parse::<DataKey>().is_err());
        assert!("ServiceMonitor".parse::<ApiKind>().is_ok() && "secret".parse::<ApiKind>().is_err());
    }

    #[test]
    fn an_audience_is_a_star_or_a_name() {
        assert_eq!("*".parse(), Ok(Audience::Anyone));
        assert!("".parse::<Audience>().is_err());
        assert!("**".parse::<Audience>().is_err());
    }
}
