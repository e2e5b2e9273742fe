//! The first look at a manifest: what tells the two documents apart, and what two readers would read in two ways. It
//! goes through the text once and keeps a few words of it, however long it is.
//!
//! Refused here is what parses and is still no document that everybody reads alike: keys of the spec twice or in another
//! case (readers written in Go take both for the same, and the last one for the right one), lists that stand for objects,
//! digests of other algorithms, and anything that is nested more deeply than readers go along with.

use alloc::string::{String, ToString};
use core::cell::RefCell;
use core::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{OciError, shape};
use crate::text::printable;

/// The keys that readers act on.
const KEYS: [&str; 14] = [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "manifests",
    "subject",
    "digest",
    "size",
    "urls",
    "platform",
    "architecture",
    "os",
    "variant",
];

/// What a document says of itself.
#[derive(Debug, Default)]
pub(super) struct Scan {
    schema_version: Option<u32>,
    media_type: Option<String>,
    has_manifests: bool,
    has_image: bool,
    /// What is read in two ways, the first such thing.
    odd: Option<OciError>,
    /// The first digest that is none of sha256.
    other_algorithm: Option<String>,
}

impl Scan {
    /// Goes through a document.
    ///
    /// # Errors
    /// It is not JSON, or not of the shape.
    pub(super) fn of(bytes: &[u8]) -> Result<Self, OciError> {
        let found = RefCell::new(Self::default());
        let mut input = serde_json::Deserializer::from_slice(bytes);
        (&mut input).deserialize_any(Document(&found)).map_err(shape)?;
        input.end().map_err(shape)?;
        Ok(found.into_inner())
    }

    /// The first thing that is wrong with it as a document of this media type.
    pub(super) fn judge(self, media_type: &str) -> Result<(), OciError> {
        match self.schema_version {
            None => return Err(OciError::Shape("missing field `schemaVersion`".to_string())),
            Some(2) => {}
            Some(other) => return Err(OciError::Schema(other)),
        }
        if self.has_manifests && self.has_image {
            return Err(OciError::Ambiguous);
        }
        if let Some(inside) = self.media_type.filter(|inside| inside != media_type) {
            return Err(OciError::MediaType { inside: printable(&inside), outside: printable(media_type) });
        }
        if let Some(odd) = self.odd {
            return Err(odd);
        }
        self.other_algorithm.map_or(Ok(()), |digest| Err(OciError::Algorithm(printable(&digest))))
    }

    fn key(&mut self, key: &str) {
        let is_odd = KEYS.iter().any(|known| known.eq_ignore_ascii_case(key) && *known != key);
        if is_odd && self.odd.is_none() {
            self.odd = Some(OciError::Case(printable(key)));
        }
    }

    fn no_object(&mut self) {
        if self.odd.is_none() {
            self.odd = Some(OciError::Shape("something else stands where an object must".to_string()));
        }
    }

    fn digest(&mut self, digest: String) {
        if self.other_algorithm.is_none() && !digest.starts_with("sha256:") {
            self.other_algorithm = Some(digest);
        }
    }
}

/// The document itself.
struct Document<'a>(&'a RefCell<Scan>);

impl<'de> Visitor<'de> for Document<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = Seen::default();
        while let Some(key) = map.next_key::<String>()? {
            self.0.borrow_mut().key(&key);
            seen.once(&key)?;
            let named = |place| Named { scan: self.0, place };
            match key.as_str() {
                "schemaVersion" => self.0.borrow_mut().schema_version = Some(map.next_value()?),
                "mediaType" => self.0.borrow_mut().media_type = map.next_value()?,
                "manifests" => {
                    let is_there = map.next_value_seed(named(Place::List))?;
                    self.0.borrow_mut().has_manifests = is_there;
                }
                "layers" | "config" => {
                    let place = if key == "layers" { Place::List } else { Place::Optional };
                    let is_there = map.next_value_seed(named(place))?;
                    self.0.borrow_mut().has_image |= is_there;
                }
                "subject" => {
                    map.next_value_seed(named(Place::Optional))?;
                }
                _ => {
                    map.next_value::<Skipped>()?;
                }
            }
        }
        Ok(())
    }
}

/// Which of the keys that readers act on an object has had.
#[derive(Default)]
struct Seen(u16);

impl Seen {
    fn once<E: serde::de::Error>(&mut self, key: &str) -> Result<(), E> {
        let Some(place) = KEYS.iter().position(|known| *known == key) else { return Ok(()) };
        let bit = 1_u16.checked_shl(u32::try_from(place).unwrap_or(u32::MAX)).unwrap_or(0);
        let name = KEYS.get(place).copied().unwrap_or_default();
        if self.0 & bit != 0 {
            return Err(E::duplicate_field(name));
        }
        self.0 |= bit;
        Ok(())
    }
}

/// A text, or what is refused by whoever parses it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Word {
    Text(String),
    Other(Skipped),
}

/// Anything, of which nothing is kept; unlike serde's own it goes no deeper than serde's parser does for what is kept.
struct Skipped;

impl<'de> Deserialize<'de> for Skipped {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Skipped {
    type Value = Self;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }
}

/// What may stand in a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Objects in a list. Anything but a list is refused later, by whoever parses it.
    List,
    /// An object.
    Object,
    /// An object, or nothing.
    Optional,
}

/// Goes through descriptors, or through the platform of one, and tells whether anything is there.
struct Named<'a> {
    scan: &'a RefCell<Scan>,
    place: Place,
}

impl Named<'_> {
    fn other<E>(self) -> Result<bool, E> {
        if self.place != Place::List {
            self.scan.borrow_mut().no_object();
        }
        Ok(true)
    }
}

impl<'de> DeserializeSeed<'de> for Named<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<bool, D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Named<'_> {
    type Value = bool;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("descriptors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut seen = Seen::default();
        while let Some(key) = map.next_key::<String>()? {
            self.scan.borrow_mut().key(&key);
            seen.once(&key)?;
            match key.as_str() {
                "digest" => {
                    if let Word::Text(digest) = map.next_value()? {
                        self.scan.borrow_mut().digest(digest);
                    }
                }
                "platform" => {
                    map.next_value_seed(Self { scan: self.scan, place: Place::Optional })?;
                }
                _ => {
                    map.next_value::<Skipped>()?;
                }
            }
        }
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<bool, A::Error> {
        if self.place == Place::List {
            while list.next_element_seed(Self { scan: self.scan, place: Place::Object })?.is_some() {}
            return Ok(true);
        }
        while list.next_element::<Skipped>()?.is_some() {}
        self.other()
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        match self.place {
            Place::Object => self.other(),
            Place::List | Place::Optional => Ok(false),
        }
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        self.other()
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        self.other()
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        self.other()
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        self.other()
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        self.other()
    }
}
