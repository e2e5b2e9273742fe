//! Where the texts of a YAML document stand: for whoever changes one and leaves every other byte as it is. It reads
//! with the parser that is inside of [`crate::yaml`], so both see the same document.

use std::collections::BTreeMap;
use std::ops::Range;

use granit_parser::{Event, Parser};

use crate::yaml::YamlError;

/// Bounds how deep a document may be nested, as for other documents that no person wrote for us.
const DEPTH_MAX: usize = 100;

/// One step from the top of a document down to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Below a key.
    Key(String),
    /// An element of a list, counted from 0.
    Item(usize),
}

/// A scalar of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    /// The way down to it.
    pub path: Vec<Part>,
    /// Its bytes in the document, quotes included; of an alias, those of what it stands for.
    pub place: Range<usize>,
    /// Whether it is written without quotes.
    pub plain: bool,
}

/// A list or a map that is being read.
enum Open {
    List(usize),
    Map(Option<String>),
    /// What lies in a key that is no text.
    Key(usize),
}

/// Every scalar of one document, without the keys.
///
/// # Errors
/// Not YAML, or nested too deeply.
pub fn scalars(file: &str, text: &str) -> Result<Vec<Scalar>, YamlError> {
    let failed = |line: usize, column: usize, message: &str| YamlError {
        file: file.to_string(),
        line: line as u64,
        column: column as u64,
        message: manifests::text::printable_up_to(message, 1000),
    };
    let mut reader = Reader::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            failed(error.marker().line(), error.marker().col().saturating_add(1), &error.info())
        })?;
        reader.take(event, span.byte_range());
        if reader.open.len() > DEPTH_MAX {
            return Err(failed(span.start.line(), 0, "it is nested too deeply"));
        }
    }
    Ok(reader.found)
}

#[derive(Default)]
struct Reader {
    open: Vec<Open>,
    anchors: BTreeMap<usize, (Range<usize>, bool)>,
    found: Vec<Scalar>,
}

impl Reader {
    fn take(&mut self, event: Event<'_>, place: Option<Range<usize>>) {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == granit_parser::ScalarStyle::Plain;
                if let (Some(place), true) = (&place, anchor > 0) {
                    self.anchors.insert(anchor, (place.clone(), plain));
                }
                self.scalar(Some(&text), place.map(|place| (place, plain)));
            }
            Event::Alias(anchor) => {
                let stands_for = self.anchors.get(&anchor).cloned();
                self.scalar(None, stands_for);
            }
            Event::SequenceStart(..) => self.begin(Open::List(0)),
            Event::MappingStart(..) => self.begin(Open::Map(None)),
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            _ => {}
        }
    }

    fn scalar(&mut self, text: Option<&str>, place: Option<(Range<usize>, bool)>) {
        match self.open.last_mut() {
            Some(Open::Map(key @ None)) => *key = Some(text.unwrap_or("?").to_string()),
            Some(Open::Key(_)) => {}
            _ => {
                if let Some((place, plain)) = place {
                    self.found.push(Scalar { path: self.path(), place, plain });
                }
                self.value_is_over();
            }
        }
    }

    fn begin(&mut self, what: Open) {
        match self.open.last_mut() {
            Some(Open::Key(depth)) => *depth = depth.saturating_add(1),
            Some(Open::Map(None)) => self.open.push(Open::Key(1)),
            _ => self.open.push(what),
        }
    }

    fn end(&mut self) {
        match self.open.last_mut() {
            Some(Open::Key(depth)) if *depth > 1 => *depth -= 1,
            Some(Open::Key(_)) => {
                self.open.pop();
                if let Some(Open::Map(key)) = self.open.last_mut() {
                    *key = Some("?".to_string());
                }
            }
            _ => {
                self.open.pop();
                self.value_is_over();
            }
        }
    }

    fn value_is_over(&mut self) {
        match self.open.last_mut() {
            Some(Open::List(position)) => *position = position.saturating_add(1),
            Some(Open::Map(key)) => *key = None,
            _ => {}
        }
    }

    fn path(&self) -> Vec<Part> {
        let part = |open: &Open| match open {
            Open::List(position) => Some(Part::Item(*position)),
            Open::Map(Some(key)) => Some(Part::Key(key.clone())),
            _ => None,
        };
        self.open.iter().filter_map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, &str)> {
        let path = |scalar: &Scalar| {
            let part = |part: &Part| match part {
                Part::Key(key) => format!(".{key}"),
                Part::Item(position) => format!("[{position}]"),
            };
            scalar.path.iter().map(part).collect::<String>()
        };
        let found = scalars("x", text).unwrap();
        found.iter().map(|scalar| (path(scalar), &text[scalar.place.clone()])).collect()
    }

    #[test]
    fn every_text_is_found_with_its_quotes_and_its_way() {
        let text = "a: x # c\nb:\n- 'y'\n- {c: \"z\", d: [1.10]}\n? [k]\n: v\ne: =\nü: w\n";
        let expected = [
            (".a", "x"),
            (".b[0]", "'y'"),
            (".b[1].c", "\"z\""),
            (".b[1].d[0]", "1.10"),
            (".?", "v"),
            (".e", "="),
            (".ü", "w"),
        ];
        let expected: Vec<(String, &str)> = expected.map(|(path, text)| (path.to_string(), text)).to_vec();
        assert_eq!(read(text), expected);
    }

    #[test]
    fn an_alias_is_where_its_anchor_is_and_a_block_is_whole() {
        let text = "a: &i x/y:1\nb: *i\nc: |\n  one\n  two\nd: after\n";
        let found = read(text);
        assert_eq!(found[0], (".a".to_string(), "x/y:1"));
        assert_eq!(found[1], (".b".to_string(), "x/y:1"));
        assert!(found[2].1.contains("one\n  two"), "{found:?}");
        assert_eq!(found[3].1, "after");
    }

    #[test]
    fn what_is_no_yaml_is_an_error_with_its_line() {
        let error = scalars("x", "a: 1\nb: [\n").unwrap_err();
        assert!(error.line >= 2, "{error}");
        assert!(scalars("x", &"[".repeat(1000)).is_err());
    }
}
