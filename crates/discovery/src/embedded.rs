//! Images inside texts: documents in a ConfigMap, arguments, scripts.
//!
//! *May never* fail: a text may be anything. What cannot be read as a document is looked through word by word.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use manifests::Reference;

use crate::node::{self, Node};
use crate::reference::Hint;

/// Bounds a text that is read as documents.
const DOCUMENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A part of a text.
#[derive(Debug)]
pub enum Inside {
    /// A map or a list.
    Document(Node),
    /// What is neither.
    Text(String),
}

/// The documents of a text, if it holds a map or a list of some size.
#[must_use]
pub fn documents(text: &str) -> Option<Vec<Inside>> {
    let trimmed = text.trim();
    let like_json = trimmed.starts_with(['{', '[']) && trimmed.ends_with(['}', ']']);
    let like_yaml = text.contains('\n') && trimmed.contains(':');
    if text.len() > DOCUMENT_BYTES_MAX || !(like_json || like_yaml) {
        return None;
    }
    let inside = |chunk: node::Chunk<'_>| match node::parse_perhaps(chunk.text) {
        Some(node @ (Node::Map(_) | Node::List(_))) => Inside::Document(node),
        _ => Inside::Text(chunk.text.to_string()),
    };
    let found: Vec<Inside> = node::chunks(text).into_iter().map(inside).collect();
    found.iter().any(|part| matches!(part, Inside::Document(_))).then_some(found)
}

/// A text in base64.
#[must_use]
pub fn base64_text(text: &str) -> Option<String> {
    let packed: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let bytes = STANDARD.decode(packed).ok()?;
    String::from_utf8(bytes).ok().filter(|text| !text.trim().is_empty())
}

/// Finds an image in a word, given what stands before it.
pub type Reader = fn(&str, Hint) -> Option<Reference>;

/// The images among the words of a text: arguments such as `--image=redis:7`, scripts, lines of TOML. `hint` is
/// what the key of the whole text says; in a longer text it counts only for lines of one word.
#[must_use]
pub fn words(text: &str, hint: Hint, reader: Reader) -> Vec<Reference> {
    let hint = if matches!(hint, Hint::Exactly | Hint::Named) { Hint::Image } else { hint };
    let one_line = text.trim().lines().count() < 2;
    let mut found = Vec::new();
    for line in text.lines() {
        let words = of_line(line);
        let hint = if one_line || words.len() == 1 { hint } else { Hint::None };
        found.extend(Line { text: line, hint, reader }.images(&words));
    }
    found
}

/// The words of a line, and whether a comma stands before.
fn of_line(line: &str) -> Vec<(bool, &str)> {
    let separates = |c: char| c.is_whitespace() || c.is_control() || SEPARATORS.contains(&c);
    let mut words = Vec::new();
    let mut comma = false;
    for piece in line.split_inclusive(separates) {
        let word = piece.trim_end_matches(separates);
        if !word.is_empty() {
            words.push((comma, word));
            comma = false;
        }
        comma |= piece.ends_with(',');
    }
    words
}

struct Line<'a> {
    text: &'a str,
    hint: Hint,
    reader: Reader,
}

impl Line<'_> {
    fn images(&self, words: &[(bool, &str)]) -> Vec<Reference> {
        let mut found = Vec::new();
        let (mut before, mut of_the_last) = (self.hint, self.hint);
        for (comma, word) in words {
            if word.contains("://") && !word.contains("docker://") && !word.contains("oci://") {
                before = self.hint;
                continue;
            }
            if *comma {
                before = of_the_last;
            }
            for piece in pieces(word) {
                let bare = piece.trim_end_matches(['.', ':', '!', '?']).trim_start_matches('@');
                if bare.is_empty() {
                    continue;
                }
                if let Some(image) = (self.reader)(bare, before) {
                    found.push(image);
                    of_the_last = before;
                }
                before = self.said(word, piece, bare);
            }
        }
        found
    }

    /// What a piece says of the next one. In prose it is nothing: only a flag, a key or a variable speaks.
    fn said(&self, word: &str, piece: &str, bare: &str) -> Hint {
        let says = piece.starts_with('-') || piece.ends_with(':') || piece.len() < word.len();
        let toml = piece.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && self.text.trim_start().starts_with(piece)
            && self.text.contains('=');
        match Hint::of(bare.trim_start_matches('-')) {
            // A word of a text is never an image just because `image` stands before it.
            Hint::Exactly if says || toml => Hint::Named,
            hint if hint != Hint::None && (says || toml) => hint,
            _ => self.hint,
        }
    }
}

/// The two sides of `A=b`, and of a shell's `A:-b`, `A:+b` and `A:=b`.
fn pieces(word: &str) -> impl Iterator<Item = &str> {
    word.split('=').flat_map(|side| side.split(":-")).flat_map(|side| side.split(":+"))
}

/// What stands between words, beside spaces.
const SEPARATORS: [char; 15] = ['\'', '"', '`', ',', ';', '|', '(', ')', '[', ']', '{', '}', '<', '>', '\\'];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;

    fn images(text: &str) -> Vec<String> {
        hinted(text, Hint::None)
    }

    fn hinted(text: &str, hint: Hint) -> Vec<String> {
        words(text, hint, reference::hinted).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn words_of_arguments_and_scripts_are_looked_at() {
        for (text, expected) in [
            ("--image=redis:7", "docker.io/library/redis:7"),
            ("--reloader-image redis:7", "docker.io/library/redis:7"),
            ("--images=redis:7,nginx:1", "docker.io/library/redis:7 docker.io/library/nginx:1"),
            ("--image=busybox", "docker.io/library/busybox:latest"),
            ("images = [\"redis:7\", \"nginx:1\"]", "docker.io/library/redis:7 docker.io/library/nginx:1"),
            ("run ${IMAGE:-quay.io/shell/default:7} x", "quay.io/shell/default:7"),
            ("run ${PROXY_IMAGE:=redis:7}", "docker.io/library/redis:7"),
            ("run ${X:+quay.io/shell/default:7}", "quay.io/shell/default:7"),
            ("--images=a=quay.io/a/b:7,c=host:5000/a:1", "quay.io/a/b:7 host:5000/a:1"),
            ("-Dproxy.image=quay.io/a/b", "quay.io/a/b:latest"),
            ("PROXY_IMAGE=a/b:7 run", "docker.io/a/b:7"),
            ("docker run --rm 'host:5000/a:1' sh -c 'x'", "host:5000/a:1"),
            ("sandbox_image = \"registry.k8s.io/pause:3.9\"", "registry.k8s.io/pause:3.9"),
            ("sandbox_image = \"pause:3.9\"", "docker.io/library/pause:3.9"),
            ("pull quay.io/a/b:7.", "quay.io/a/b:7"),
            ("skopeo copy docker://redis:7 oci:x", "docker.io/library/redis:7"),
            ("  - image: redis:7", "docker.io/library/redis:7"),
        ] {
            assert_eq!(images(text).join(" "), expected, "{text}");
        }
    }

    #[test]
    fn what_the_key_of_the_text_says_counts_for_each_word() {
        for text in ["redis:7,nginx:1", "redis:7 nginx:1", "a=redis:7;b=nginx:1", "redis:7\nnginx:1\n"] {
            let expected = ["docker.io/library/redis:7", "docker.io/library/nginx:1"];
            assert_eq!(hinted(text, Hint::Several), expected, "{text}");
        }
        assert!(hinted("set -e\nmkdir usr/bin\necho a:b\n", Hint::Image).is_empty());
        assert!(hinted("see that image", Hint::Exactly).is_empty());
    }

    #[test]
    fn words_that_are_none_are_not() {
        for text in [
            "curl https://quay.io/a/b:7",
            "see http://host:5000/a:1, or example.com/path",
            "the image redis:7 is old",
            "listen 0.0.0.0:8080;",
            "--image=Always --use-image=true --image=IfNotPresent",
            "--address=:8080 --config=/etc/a/b.yaml",
            "go get github.com/a/b@v1.2.3",
            "- key: value\n  time: 12:30",
            "user@host.example.com:/path",
            "",
        ] {
            assert!(images(text).is_empty(), "{text}: {:?}", images(text));
        }
    }

    #[test]
    fn documents_are_told_from_prose() {
        assert!(documents("{\"image\": \"a\"}").is_some());
        assert!(documents("a: 1\nb: 2\n").is_some());
        assert!(documents("a: 1\n---\n#!/bin/sh\necho: 'x\n").is_some_and(|parts| parts.len() == 2));
        assert!(documents("#!/bin/sh\nset -e\necho \"a: b\"\n").is_none());
        assert!(documents("plain").is_none());
        assert!(documents("[section]\nkey = 1\na: b\n").is_none());
    }

    proptest::proptest! {
        #[test]
        fn any_text_can_be_looked_through(text in "(\\PC|\\n){0,200}") {
            let _ = (words(&text, Hint::Several, reference::hinted), documents(&text), base64_text(&text));
        }
    }
}
