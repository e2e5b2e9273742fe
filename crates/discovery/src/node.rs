//! A document as a tree: what Kubernetes would see of it, with nothing thrown away. A key that is there twice
//! keeps both values, because which of them counts is up to whoever reads it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use edge::yaml::{self, YamlError};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// Nothing.
    Null,
    /// A text.
    Text(String),
    /// A number or a truth, as it is printed.
    Plain(String),
    /// A list.
    List(Vec<Node>),
    /// Keys and values, as they stand.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The last value of a key, as Kubernetes takes it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(pairs) => pairs.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// A text that is not empty.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) if !text.trim().is_empty() => Some(text.trim()),
            _ => None,
        }
    }

    /// A text or a number, that is not empty.
    #[must_use]
    pub fn scalar(&self) -> Option<&str> {
        match self {
            Self::Plain(text) => Some(text),
            _ => self.text(),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_string()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Text(value))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Node, E> {
        Ok(Node::Text(String::from_utf8_lossy(value).into_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(Node::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut pairs = Vec::new();
        while let Some((key, value)) = map.next_entry::<Node, Node>()? {
            let key = match key {
                Node::Text(text) | Node::Plain(text) => text,
                Node::Null => "null".to_string(),
                Node::List(_) | Node::Map(_) => "?".to_string(),
            };
            pairs.push((key, value));
        }
        Ok(Node::Map(pairs))
    }
}

/// One document of a stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// The file that Helm says it comes from, or else that of the one before it.
    pub source: Option<&'a str>,
    /// The line of the stream that it starts at, counted from 1.
    pub line: usize,
    /// Its text.
    pub text: &'a str,
}

/// The documents of a stream, cut where a line starts with `---`, which nothing inside a document may.
#[must_use]
pub fn chunks(stream: &str) -> Vec<Chunk<'_>> {
    let mut chunks = Vec::new();
    let (mut source, mut start, mut line, mut first) = (None, 0, 1_usize, 1);
    let mut position = 0_usize;
    let mut cut = |from: usize, to: usize, first: usize| {
        let text = stream.get(from..to).unwrap_or_default();
        let named = text.lines().map(str::trim).take_while(|line| line.is_empty() || line.starts_with('#'));
        source = named.filter_map(|line| line.strip_prefix("# Source: ")).last().or(source);
        if !text.trim().is_empty() {
            chunks.push(Chunk { source, line: first, text });
        }
    };
    for piece in stream.split_inclusive('\n') {
        let bare = piece.trim_end();
        if bare == "---" || piece.starts_with("--- ") || piece.starts_with("---\t") || bare == "..." {
            cut(start, position, first);
            // What stands behind the dashes belongs to the document.
            start = position.saturating_add(3);
            first = line;
        }
        position = position.saturating_add(piece.len());
        line = line.saturating_add(1);
    }
    cut(start, position, first);
    chunks
}

/// Reads one document.
///
/// # Errors
/// It is no YAML.
pub fn parse(name: &str, text: &str) -> Result<Node, YamlError> {
    yaml::parse_foreign(name, text)
}

/// Reads a document that may well be none: JSON if it looks like that, or else YAML.
#[must_use]
pub fn parse_perhaps(text: &str) -> Option<Node> {
    if text.trim_start().starts_with(['{', '['])
        && let Ok(node) = serde_json::from_str(text)
    {
        return Some(node);
    }
    yaml::parse_foreign("text", text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_cut_apart_and_know_their_template() {
        let stream = "---\n# Source: c/a.yaml\na: 1\n---\nb: |\n  ---\n  x\n--- # c\nc: 3\n...\n---\n\n# Source: c/d.yaml\nd: 4\n";
        let found: Vec<(Option<&str>, usize)> =
            chunks(stream).iter().map(|chunk| (chunk.source, chunk.line)).collect();
        assert_eq!(
            found,
            [(Some("c/a.yaml"), 1), (Some("c/a.yaml"), 4), (Some("c/a.yaml"), 8), (Some("c/d.yaml"), 11)]
        );
        for chunk in chunks(stream) {
            assert!(matches!(parse("x", chunk.text), Ok(Node::Map(pairs)) if pairs.len() == 1), "{chunk:?}");
        }
    }

    #[test]
    fn yaml_as_helm_writes_it_is_read() {
        let text =
            "a: =\nb: !custom x\nc: .inf\n1: on\nd: 0x1F\na: twice\ne: ~\nf: !!binary aGk=\n? [g]\n: 1\n";
        let Node::Map(pairs) = parse("x", text).unwrap() else { panic!() };
        let keys: Vec<&str> = pairs.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["a", "b", "c", "1", "d", "a", "e", "f", "?"]);
        assert_eq!(pairs[0].1, Node::Text("=".to_string()));
        assert_eq!(pairs[1].1, Node::Text("x".to_string()));
        assert_eq!(pairs[5].1, Node::Text("twice".to_string()));
    }

    #[test]
    fn a_bomb_and_a_tower_are_errors() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_string();
        for level in 1..9 {
            let before = level - 1;
            let aliases = vec![format!("*a{before}"); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        assert!(parse("x", &bomb).is_err());
        assert!(parse("x", &"[".repeat(100_000)).is_err());
        assert!(parse("x", &format!("{}1{}", "[".repeat(150), "]".repeat(150))).is_err());
        assert!(parse_perhaps(&"{\"a\":".repeat(100_000)).is_none());
        let deep: String = (0..300).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
        assert!(parse("x", &deep).is_err());
    }
}
