//! Every hint that `installer` can give, read out of the sources: what a text says after `hint:` is written where an
//! error is made, and nowhere else can all of them be seen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The headings of the runbook's list, and the sources whose hints stand below each: the first that fits.
const AREAS: [(&str, &[&str]); 9] = [
    (
        "Trust, keys and the state of the site",
        &[
            "installer/src/cli/trust",
            "installer/src/site/mod.rs",
            "installer/src/site/key.rs",
            "installer/src/witness.rs",
            "manifests/src/key",
            "installer/src/due.rs",
        ],
    ),
    (
        "Media and bundles",
        &[
            "installer/src/admit.rs",
            "installer/src/repair.rs",
            "installer/src/discs.rs",
            "installer/src/cli/verify.rs",
            "crates/layout",
        ],
    ),
    ("Checks and overrides", &["installer/src/preflight"]),
    (
        "Changing the site",
        &[
            "installer/src/apply.rs",
            "installer/src/plan",
            "installer/src/cli/apply.rs",
            "installer/src/cli/change.rs",
            "installer/src/cli/abandon.rs",
            "installer/src/cli/acknowledge.rs",
            "installer/src/cli/remove.rs",
            "installer/src/cli/rollback.rs",
            "installer/src/cli/drift.rs",
            "installer/src/gc.rs",
            "installer/src/site/lock.rs",
        ],
    ),
    ("Targets", &["installer/src/targets", "crates/registry"]),
    ("Clusters and charts", &["installer/src/cluster", "crates/discovery"]),
    ("`installer serve`", &["installer/src/serve", "installer/src/cli/serve.rs"]),
    (
        "The log, and what is written for others",
        &[
            "installer/src/audit",
            "installer/src/cli/audit",
            "installer/src/cli/report.rs",
            "installer/src/cli/review.rs",
            "installer/src/receipt",
            "installer/src/diagnose",
            "installer/src/output.rs",
        ],
    ),
    ("The command line and `site.yaml`", &["installer/src/site/config", "crates/edge", "installer/src/cli"]),
];

/// The list as it has to stand in the runbook.
pub(crate) fn list(top: &Path) -> String {
    let mut found: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for file in sources(top) {
        let name = file.strip_prefix(top).unwrap().to_str().unwrap().to_string();
        let hints = hints(&tokens(&std::fs::read_to_string(&file).unwrap()));
        if !hints.is_empty() {
            let area =
                AREAS.iter().position(|(_, places)| places.iter().any(|place| name.starts_with(place)));
            let area =
                area.unwrap_or_else(|| panic!("{name} gives hints: add it to an area in tests/hints.rs"));
            found.entry(area).or_default().extend(hints);
        }
    }
    let mut text = String::new();
    for (area, mut hints) in found {
        hints.sort();
        hints.dedup();
        text.push_str(&format!("\n**{}**\n\n", AREAS[area].0));
        hints.iter().for_each(|hint| text.push_str(&format!("- {hint}\n")));
    }
    text
}

fn sources(top: &Path) -> Vec<PathBuf> {
    let roots = ["installer/src", "crates/edge/src", "crates/layout/src", "crates/registry/src"];
    let mut left: Vec<PathBuf> =
        roots.iter().chain(&["crates/discovery/src", "manifests/src"]).map(|root| top.join(root)).collect();
    let mut files = Vec::new();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

/// As much of Rust as it takes to tell texts from code.
fn tokens(source: &str) -> Vec<Token> {
    let source = source.split("#[cfg(test)]\nmod ").next().unwrap();
    let (mut rest, mut found) = (source, Vec::new());
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if first == '"' {
            let length = text_bytes(rest);
            found.push(Token::Text(rest[1..length - 1].to_string()));
            length
        } else if let Some(length) = character_bytes(rest).or_else(|| raw_bytes(rest)) {
            length
        } else if first.is_alphanumeric() || first == '_' {
            let end = |c: char| !c.is_alphanumeric() && c != '_';
            let length = rest.find(end).unwrap_or(rest.len());
            found.push(Token::Word(rest[..length].to_string()));
            length
        } else {
            if !first.is_whitespace() {
                found.push(Token::Sign(first));
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    found
}

fn text_bytes(rest: &str) -> usize {
    let mut escaped = true;
    for (at, character) in rest.char_indices() {
        if character == '"' && !escaped {
            return at + 1;
        }
        escaped = at > 0 && character == '\\' && !escaped;
    }
    panic!("a text without an end: {rest:.80}");
}

/// The length of a literal such as `'"'`, and nothing for a lifetime.
fn character_bytes(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('\'')?;
    let escaped = inner.starts_with('\\');
    let first = if escaped { 2 } else { inner.chars().next()?.len_utf8() };
    let closing = inner.get(first..)?.find('\'')?;
    (escaped || closing == 0).then_some(1 + first + closing + 1)
}

/// The length of a text such as `r#"…"#`.
fn raw_bytes(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('r')?;
    let marks = inner.len() - inner.trim_start_matches('#').len();
    let begin = 1 + marks + 1;
    inner[marks..].starts_with('"').then(|| {
        let end = format!("\"{}", "#".repeat(marks));
        begin + rest[begin..].find(&end).unwrap() + end.len()
    })
}

/// A text as it is printed: a line that goes on is one line, and what is filled in is an ellipsis.
fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut pieces = text.split("\\\n");
    plain.push_str(pieces.next().unwrap());
    pieces.for_each(|piece| plain.push_str(piece.trim_start()));
    let plain = plain.replace("\\\"", "\"").replace("{{", "\u{1}").replace("}}", "\u{2}");
    let mut shown = String::new();
    let mut rest = plain.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        let (_, after) = after.split_once('}').unwrap();
        shown.push_str(before);
        shown.push('…');
        rest = after;
    }
    shown.push_str(rest);
    shown.replace('\u{1}', "{").replace('\u{2}', "}")
}

/// The texts inside of `fn hint` and of `.hint(…)`. What has less than three words is none, but compared with one.
fn hints(tokens: &[Token]) -> Vec<String> {
    let mut found = Vec::new();
    let word = |at: usize, text: &str| matches!(tokens.get(at), Some(Token::Word(found)) if found == text);
    for at in 1..tokens.len() {
        let is_function = word(at, "hint") && word(at - 1, "fn");
        let is_call = word(at, "hint") && tokens[at - 1] == Token::Sign('.');
        if is_function || is_call {
            let pair = if is_function { ('{', '}') } else { ('(', ')') };
            found.extend(inside(&tokens[at..], pair));
        }
    }
    found.retain(|text: &String| text.split_whitespace().count() >= 3);
    found.into_iter().map(|text| text.trim_start_matches("; ").to_string()).collect()
}

/// The texts up to the sign that closes the first pair.
fn inside(tokens: &[Token], (open, close): (char, char)) -> Vec<String> {
    let (mut depth, mut found) = (0, Vec::new());
    for token in tokens {
        match token {
            Token::Sign(sign) if *sign == open => depth += 1,
            Token::Sign(sign) if *sign == close && depth == 1 => break,
            Token::Sign(sign) if *sign == close => depth -= 1,
            Token::Text(text) if depth > 0 => found.push(unescaped(text)),
            _ => {}
        }
    }
    found
}
