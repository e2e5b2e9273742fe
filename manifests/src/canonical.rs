//! The one canonical form of our JSON documents.
//!
//! UTF-8, no white space, object keys sorted by their bytes, strings escaped as RFC 8785 does, whole
//! numbers only, and one `\n` at the end. Python writes the same with
//! `json.dumps(d, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"`.
//!
//! A reader parses, serialises again and requires equal bytes ([`from_canonical`]). That one check
//! refuses duplicate keys, odd numbers, arrays in place of objects, needless escapes, a byte-order mark
//! and anything after the end.

mod writer;

use alloc::vec::Vec;

use serde::Serialize;
use serde::de::DeserializeOwned;

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
    let mut out = Vec::new();
    document.serialize(writer::Writer(&mut out))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use alloc::string::String;
    use alloc::vec;
    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_json::Value;

    /// The same by way of a tree of values, as it is easy to see that it is right.
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
            Value::Number(number) if !(number.is_u64() || number.is_i64()) => {
                return Err(CanonicalError::Number);
            }
            scalar => out.extend(serde_json::to_vec(scalar).map_err(shape)?),
        }
        Ok(())
    }

    fn by_a_tree<T: Serialize>(document: &T) -> Vec<u8> {
        let (value, mut out) = (serde_json::to_value(document).unwrap(), Vec::new());
        write(&value, &mut out).unwrap();
        out
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_document_is_written_as_by_way_of_a_tree(value in any_value()) {
            prop_assert_eq!(to_canonical_line(&value).unwrap(), by_a_tree(&value));
        }
    }

    #[derive(Serialize)]
    struct Flat {
        zeta: Option<u8>,
        #[serde(flatten)]
        rest: BTreeMap<String, i32>,
        alpha: (char, u128, [u16; 2]),
        unit: (),
    }

    #[derive(Serialize)]
    struct Wrapped(String);

    #[derive(Serialize)]
    enum Kind {
        Unit,
        One(Wrapped),
        Two(i8, bool),
        Fields { zulu: f32, able: Vec<Self> },
    }

    #[derive(Serialize)]
    #[serde(tag = "kind", rename_all = "lowercase")]
    enum Tagged {
        First(Sample),
        Second { beta: u8 },
    }

    #[test]
    fn every_shape_of_a_type_is_written_as_by_way_of_a_tree() {
        let rest = BTreeMap::from([("zeta".into(), 1), ("beta".into(), -2)]);
        let flat = Flat { zeta: None, rest, alpha: ('é', 7, [1, 2]), unit: () };
        assert_eq!(to_canonical_line(&flat).unwrap(), by_a_tree(&flat));
        let fields = Kind::Fields { zulu: f32::NAN, able: vec![Kind::Unit, Kind::Two(-1, true)] };
        let kinds = vec![fields, Kind::One(Wrapped("\u{1}\"".into())), Kind::Unit];
        assert_eq!(to_canonical_line(&kinds).unwrap(), by_a_tree(&kinds));
        let tagged = (Tagged::First(Sample { zeta: 5, alpha: "a".into() }), Tagged::Second { beta: 1 });
        assert_eq!(to_canonical_line(&tagged).unwrap(), by_a_tree(&tagged));
        let numbers = BTreeMap::from([(10_u8, true), (9, false)]);
        assert_eq!(to_canonical_line(&numbers).unwrap(), by_a_tree(&numbers));
        assert!(
            to_canonical_line(&u128::MAX).is_err() && to_canonical_line(&BTreeMap::from([((), 1)])).is_err()
        );
    }

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
