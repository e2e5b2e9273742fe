//! Free text by key. A map for few keys: most descriptors have one, and a set of files has as many descriptors as files,
//! so what nobody uses of a tree's node would be most of the memory that a manifest takes.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};

/// `annotations` of the OCI image spec. *Invariant:* the keys ascend, so there is one order in which they are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Annotations(Vec<(String, String)>);

impl Annotations {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&String> {
        let place = self.place(key).ok()?;
        self.0.get(place).map(|(_, text)| text)
    }

    /// Sets the text of a key; what it had is gone.
    pub fn insert(&mut self, key: String, text: String) {
        match self.place(&key) {
            Ok(place) => {
                if let Some(entry) = self.0.get_mut(place) {
                    entry.1 = text;
                }
            }
            Err(place) => {
                self.0.reserve_exact(1);
                self.0.insert(place, (key, text));
            }
        }
    }

    /// Every key with its text, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter().map(|(key, text)| (key, text))
    }

    fn place(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(own, _)| own.as_str().cmp(key))
    }
}

impl Serialize for Annotations {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_map(Texts)
    }
}

struct Texts;

impl<'de> Visitor<'de> for Texts {
    type Value = Annotations;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("texts by key")
    }

    /// Of a key that stands there twice the last text counts, as it does for readers written in Go.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Annotations, A::Error> {
        let mut entries: Vec<(String, String)> = Vec::with_capacity(1);
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        // Stable, so of equal keys the last one stays the last one.
        entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        entries.reverse();
        entries.dedup_by(|later, kept| later.0 == kept.0);
        entries.reverse();
        entries.shrink_to_fit();
        Ok(Annotations(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use alloc::string::ToString;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn they_are_the_map_that_they_stand_for(
            acts in proptest::collection::vec(("[a-d]{0,2}", "[a-z]{0,3}"), 0..12)
        ) {
            let mut text = "{".to_string();
            let (mut map, mut annotations) = (BTreeMap::new(), Annotations::default());
            for (place, (key, value)) in acts.iter().enumerate() {
                text += if place == 0 { "" } else { "," };
                text += &alloc::format!("\"{key}\":\"{value}\"");
                map.insert(key.clone(), value.clone());
                annotations.insert(key.clone(), value.clone());
            }
            text.push('}');
            prop_assert_eq!(&serde_json::from_str::<Annotations>(&text).unwrap(), &annotations);
            prop_assert_eq!(serde_json::to_string(&annotations).unwrap(), serde_json::to_string(&map).unwrap());
            prop_assert_eq!(annotations.is_empty(), map.is_empty());
            for key in ["", "a", "bb", "dd", "x"] {
                prop_assert_eq!(annotations.get(key), map.get(key));
            }
        }
    }

    #[test]
    fn what_is_no_text_is_refused() {
        for bad in ["[]", "7", "{\"a\":1}", "{\"a\":null}"] {
            assert!(serde_json::from_str::<Annotations>(bad).is_err(), "{bad}");
        }
    }
}
