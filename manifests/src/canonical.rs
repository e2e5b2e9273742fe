//! The one canonical form of our JSON documents.
//!
//! UTF-8, no white space, object keys sorted by their bytes, strings escaped as RFC 8785 does, whole
//! numbers only, and one `\n` at the end. Python writes the same with
//! `json.dumps(d, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"`.
//!
//! A reader parses, serialises again and requires equal bytes ([`from_canonical`]). That one check
//! refuses duplicate keys, odd numbers, arrays in place of objects, needless escapes, a byte-order mark
//! and anything after the end.

use alloc::string::String;
use alloc::vec::Vec;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Why bytes are not a document of ours.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CanonicalError {
    /// Not JSON, or not of this shape.
    #[error("not a document of this kind: {0}")]
    Shape(alloc::string::String),
    /// Right shape, wrong bytes: it was not written by us.
    #[error("not in canonical form: first difference at byte {offset}")]
    NotCanonical {
        /// The first byte that differs from the canonical form.
        offset: usize,
    },
    /// A number that is not whole; a defect of ours, as no document type has one.
    #[error("a number that is not whole cannot be written in canonical form")]
    Number,
}

/// The canonical bytes of a document.
///
/// # Errors
/// Only for a type of ours that cannot be JSON: a defect that the tests of that type find.
pub fn to_canonical<T: Serialize>(document: &T) -> Result<Vec<u8>, CanonicalError> {
    let mut out = to_canonical_line(document)?;
    out.push(b'\n');
    Ok(out)
}

/// The canonical bytes without the final line feed.
///
/// # Errors
/// As [`to_canonical`].
pub fn to_canonical_line<T: Serialize>(document: &T) -> Result<Vec<u8>, CanonicalError> {
    let value = serde_json::to_value(document).map_err(shape)?;
    let mut out = Vec::new();
    write(&value, &mut out)?;
    Ok(out)
}

/// Parses bytes that must be in canonical form.
///
/// # Errors
/// Another shape, or other bytes than the canonical ones.
pub fn from_canonical<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, CanonicalError> {
    let document: T = serde_json::from_slice(bytes).map_err(shape)?;
    let canonical = to_canonical(&document)?;
    if canonical == bytes {
        return Ok(document);
    }
    let offset = canonical.iter().zip(bytes).take_while(|(ours, theirs)| ours == theirs).count();
    Err(CanonicalError::NotCanonical { offset })
}

fn shape(error: serde_json::Error) -> CanonicalError {
    CanonicalError::Shape(alloc::format!("{error}"))
}

fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    match value {
        Value::Object(map) => {
            // Sorted here and not left to the map type: a dependency's `preserve_order` feature would
            // change that type for the whole build.
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_by(|left, right| left.0.as_bytes().cmp(right.0.as_bytes()));
            out.push(b'{');
            for (position, (key, item)) in entries.into_iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write(&Value::String(key.clone()), out)?;
                out.push(b':');
                write(item, out)?;
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write(item, out)?;
            }
            out.push(b']');
        }
        Value::Number(number) if !(number.is_u64() || number.is_i64()) => return Err(CanonicalError::Number),
        scalar => out.extend(serde_json::to_vec(scalar).map_err(shape)?),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        zeta: u64,
        alpha: String,
    }

    const GOOD: &[u8] = b"{\"alpha\":\"a\xc3\xa9\\n\",\"zeta\":5}\n";

    #[test]
    fn keys_are_sorted_and_nothing_is_added() {
        let sample = Sample { zeta: 5, alpha: "aé\n".into() };
        assert_eq!(to_canonical(&sample).unwrap(), GOOD);
        assert_eq!(from_canonical::<Sample>(GOOD).unwrap(), sample);
    }

    #[test]
    fn refuses_every_other_spelling_of_the_same_document() {
        for other in [
            &b"{\"zeta\":5,\"alpha\":\"a\"}\n"[..],
            b"{\"alpha\":\"a\",\"zeta\":5}",
            b"{\"alpha\":\"a\",\"zeta\":5}\n\n",
            b"{\"alpha\":\"a\", \"zeta\":5}\n",
            b"{\"alpha\":\"\\u0061\",\"zeta\":5}\n",
            b"[\"a\",5]\n",
            b"[5,\"a\"]\n",
            b"\xef\xbb\xbf{\"alpha\":\"a\",\"zeta\":5}\n",
            b"{\"alpha\":\"a\",\"zeta\":5.0}\n",
            b"{\"alpha\":\"a\",\"zeta\":5e0}\n",
            b"{\"alpha\":\"a\",\"zeta\":18446744073709551616}\n",
            b"{\"alpha\":\"a\",\"zeta\":-1}\n",
            b"{\"alpha\":\"a\",\"alpha\":\"a\",\"zeta\":5}\n",
            b"{\"alpha\":\"a\",\"beta\":1,\"zeta\":5}\n",
            b"{\"alpha\":\"a\",\"zeta\":5}{}\n",
            b"",
        ] {
            assert!(from_canonical::<Sample>(other).is_err(), "accepted {:?}", std::str::from_utf8(other));
        }
    }

    #[test]
    fn refuses_numbers_that_are_not_whole() {
        assert!(matches!(to_canonical(&1.5_f64), Err(CanonicalError::Number)));
    }
}
