//! The YAML that people write, as typed documents; an error names line and column.
//!
//! The one door to the YAML crate: it applies Helm's reading (YAML 1.1 booleans and octal numbers), and
//! refuses duplicate keys. Only typed documents, since `version: 1.10` read without a type is 1.1.

use serde::de::DeserializeOwned;
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};

/// Bounds a file that a person wrote.
pub const YAML_BYTES_MAX: u64 = 1024 * 1024;

/// The bounds of [`parse_large`]: 64 MiB of index have about five million nodes.
const LARGE_EVENTS_MAX: usize = 32_000_000;
const LARGE_SCALAR_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Where and why a document does not parse.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct YamlError {
    /// As the person named it.
    pub file: String,
    /// Counted from 1; 0 if the reader could not tell.
    pub line: u64,
    /// Counted from 1; 0 if the reader could not tell.
    pub column: u64,
    /// What is wrong.
    pub message: String,
}

/// Parses a document.
///
/// # Errors
/// Not YAML, an unknown or duplicate key, or a value of another type.
pub fn parse<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, YamlError> {
    parse_with(file, text, serde_saphyr::Options::default())
}

/// Parses a document that a program wrote and that may be far larger than what people write. Anchors and
/// aliases, which let a short text stand for a long one, are bounded as for [`parse`].
///
/// # Errors
/// As for [`parse`].
pub fn parse_large<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, YamlError> {
    let budget = serde_saphyr::budget! {
        max_events: LARGE_EVENTS_MAX,
        max_nodes: LARGE_EVENTS_MAX,
        max_total_scalar_bytes: LARGE_SCALAR_BYTES_MAX,
    };
    parse_with(file, text, serde_saphyr::options! { budget: budget })
}

fn parse_with<T: DeserializeOwned>(
    file: &str,
    text: &str,
    options: serde_saphyr::Options,
) -> Result<T, YamlError> {
    serde_saphyr::from_str_with_options(text, options).map_err(|error| failed(file, &error))
}

/// Parses every document of a file; empty ones are passed over. For files that hold more than a person
/// writes by hand: the caller bounds their bytes.
///
/// # Errors
/// As [`parse`].
pub fn parse_all<T: DeserializeOwned>(file: &str, text: &str) -> Result<Vec<T>, YamlError> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 8_000_000,
            max_nodes: 4_000_000,
            max_documents: 20_000,
        },
    };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| failed(file, &error))
}

/// How deep a document of [`parse_foreign`] may be nested. The deepest definitions of custom resources in
/// the field have about 40 levels.
const FOREIGN_DEPTH_MAX: usize = 100;
/// How many values one may hold.
const FOREIGN_NODES_MAX: usize = 1_000_000;
/// How many of them may come from aliases.
const FOREIGN_REPLAYED_MAX: usize = 100_000;
/// A reader that goes down a hundred levels needs more than the two megabytes of a thread.
const FOREIGN_STACK_BYTES: usize = 32 * 1024 * 1024;

/// Parses one document that no person wrote for us and that Kubernetes would take: a key may be there twice (a
/// map sees both), tags are passed over, and what is not a number is a text. Depth, size and what aliases
/// blow up are bounded. For free trees: a caller that knows the keys uses [`parse`].
///
/// # Errors
/// Not YAML, or beyond a bound.
pub fn parse_foreign<T: DeserializeOwned + Send>(file: &str, text: &str) -> Result<T, YamlError> {
    let broken = |message: &str| YamlError {
        file: file.to_string(),
        line: 0,
        column: 0,
        message: message.to_string(),
    };
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().stack_size(FOREIGN_STACK_BYTES);
        let reader = builder
            .spawn_scoped(scope, || foreign(file, text))
            .map_err(|error| broken(&format!("no thread to read it: {error}")))?;
        reader.join().unwrap_or_else(|_| Err(broken("the reader gave up")))
    })
}

fn foreign<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, YamlError> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: FOREIGN_DEPTH_MAX,
            max_nodes: FOREIGN_NODES_MAX,
            max_events: FOREIGN_NODES_MAX.saturating_mul(2),
        },
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: FOREIGN_REPLAYED_MAX,
        },
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        ignore_binary_tag_for_string: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| failed(file, &error))
}

fn failed(file: &str, error: &serde_saphyr::Error) -> YamlError {
    let location = error.location();
    YamlError {
        file: file.to_string(),
        line: location.as_ref().map_or(0, |at| at.line()),
        column: location.as_ref().map_or(0, |at| at.column()),
        message: first_line(&error.without_snippet().to_string()),
    }
}

/// Without the place at its end: that stands before the message already.
fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    manifests::text::printable_up_to(line.split(" at line ").next().unwrap_or_default(), 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        version: String,
        #[serde(default)]
        inner: Option<Box<Sample>>,
    }

    #[test]
    fn a_version_stays_text() {
        let sample: Sample = parse("x", "version: 1.10\n").unwrap();
        assert_eq!(sample.version, "1.10");
        assert!(sample.inner.is_none());
    }

    #[test]
    fn an_unknown_key_is_named_with_line_and_column() {
        let error = parse::<Sample>("bundle.yaml", "version: '1'\ninner:\n  version: '2'\n  colour: red\n")
            .unwrap_err();
        assert_eq!((error.line, error.column), (4, 3), "{error}");
        assert!(error.to_string().contains("colour"), "{error}");
    }

    #[test]
    fn a_duplicate_key_is_refused() {
        assert!(parse::<Sample>("x", "version: a\nversion: b\n").is_err());
    }
}
