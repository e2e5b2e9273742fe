//! Writes the canonical form without a tree of values in between: an inventory of a hundred thousand files would need
//! ten times its own length for one. What is written is what `serde_json::to_value` would hold, keys sorted.
//!
//! The values of an object are written as they come and put in order when it ends.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Display;
use core::ops::Range;

use serde::Serialize;
use serde::ser::{self, Serializer};
use serde_json::Value;

use super::CanonicalError;

impl ser::Error for CanonicalError {
    fn custom<T: Display>(message: T) -> Self {
        Self::Shape(message.to_string())
    }
}

/// Where one value goes.
pub(super) struct Writer<'a>(pub(super) &'a mut Vec<u8>);

type Done = Result<(), CanonicalError>;

/// A text, a number or the like, which has one form only.
fn scalar<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Done {
    out.extend(serde_json::to_vec(value).map_err(super::shape)?);
    Ok(())
}

/// A number that may be too large, or not whole.
fn number<T: Serialize>(out: &mut Vec<u8>, value: &T) -> Done {
    match serde_json::to_value(value).map_err(super::shape)? {
        Value::Number(number) if !(number.is_u64() || number.is_i64()) => Err(CanonicalError::Number),
        value => scalar(out, &value),
    }
}

/// `{"Variant":`, what is in front of a variant's content.
fn open_variant(out: &mut Vec<u8>, variant: &'static str) -> Done {
    out.push(b'{');
    scalar(out, variant)?;
    out.push(b':');
    Ok(())
}

impl<'a> Serializer for Writer<'a> {
    type Ok = ();
    type Error = CanonicalError;
    type SerializeSeq = List<'a>;
    type SerializeTuple = List<'a>;
    type SerializeTupleStruct = List<'a>;
    type SerializeTupleVariant = List<'a>;
    type SerializeMap = Object<'a>;
    type SerializeStruct = Object<'a>;
    type SerializeStructVariant = Object<'a>;

    fn serialize_bool(self, value: bool) -> Done {
        scalar(self.0, &value)
    }
    fn serialize_i8(self, value: i8) -> Done {
        scalar(self.0, &value)
    }
    fn serialize_i16(self, value: i16) -> Done {
        scalar(self.0, &value)
    }
    fn serialize_i32(self, value: i32) -> Done {
        scalar(self.0, &value)
    }
    fn serialize_i64(self, value: i64) -> Done {
        scalar(self.0, &value)
    }
    fn serialize_i128(self, value: i128) -> Done {
        number(self.0, &value)
    }
    fn serialize_u8(self, value: u8) -> Done {
        scalar(self.0, &value)
    }
    fn serialize_u16(self, value: u16) -> Done {
        scalar(self.0, &value)
    }
    fn serialize_u32(self, value: u32) -> Done {
        scalar(self.0, &value)
    }
    fn serialize_u64(self, value: u64) -> Done {
        scalar(self.0, &value)
    }
    fn serialize_u128(self, value: u128) -> Done {
        number(self.0, &value)
    }
    fn serialize_f32(self, value: f32) -> Done {
        number(self.0, &value)
    }
    fn serialize_f64(self, value: f64) -> Done {
        number(self.0, &value)
    }
    fn serialize_char(self, value: char) -> Done {
        scalar(self.0, &value)
    }
    fn serialize_str(self, value: &str) -> Done {
        scalar(self.0, value)
    }
    fn serialize_bytes(self, value: &[u8]) -> Done {
        scalar(self.0, value)
    }
    fn serialize_none(self) -> Done {
        self.serialize_unit()
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Done {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Done {
        self.0.extend(b"null");
        Ok(())
    }
    fn serialize_unit_struct(self, _name: &'static str) -> Done {
        self.serialize_unit()
    }
    fn serialize_unit_variant(self, _name: &'static str, _index: u32, variant: &'static str) -> Done {
        scalar(self.0, variant)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, value: &T) -> Done {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Done {
        open_variant(self.0, variant)?;
        value.serialize(Writer(&mut *self.0))?;
        self.0.push(b'}');
        Ok(())
    }
    fn serialize_seq(self, _length: Option<usize>) -> Result<List<'a>, CanonicalError> {
        self.0.push(b'[');
        Ok(List { out: self.0, is_first: true, end: b"]" })
    }
    fn serialize_tuple(self, length: usize) -> Result<List<'a>, CanonicalError> {
        self.serialize_seq(Some(length))
    }
    fn serialize_tuple_struct(self, _name: &'static str, length: usize) -> Result<List<'a>, CanonicalError> {
        self.serialize_seq(Some(length))
    }
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _length: usize,
    ) -> Result<List<'a>, CanonicalError> {
        open_variant(self.0, variant)?;
        self.0.push(b'[');
        Ok(List { out: self.0, is_first: true, end: b"]}" })
    }
    fn serialize_map(self, _length: Option<usize>) -> Result<Object<'a>, CanonicalError> {
        Ok(Object { start: self.0.len(), out: self.0, key: String::new(), entries: Vec::new(), end: b"" })
    }
    fn serialize_struct(self, _name: &'static str, length: usize) -> Result<Object<'a>, CanonicalError> {
        self.serialize_map(Some(length))
    }
    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Object<'a>, CanonicalError> {
        open_variant(self.0, variant)?;
        Ok(Object { end: b"}", ..self.serialize_map(Some(length))? })
    }
}

/// A list that is being written.
pub(super) struct List<'a> {
    out: &'a mut Vec<u8>,
    is_first: bool,
    end: &'static [u8],
}

impl List<'_> {
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        if !core::mem::replace(&mut self.is_first, false) {
            self.out.push(b',');
        }
        value.serialize(Writer(&mut *self.out))
    }

    fn close(self) -> Done {
        self.out.extend(self.end);
        Ok(())
    }
}

/// An object that is being written: its values lie in `out` from `start` on, in the order in which they came.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    key: String,
    entries: Vec<(String, Range<usize>)>,
    end: &'static [u8],
}

impl Object<'_> {
    fn value<T: Serialize + ?Sized>(&mut self, key: String, value: &T) -> Done {
        let from = self.out.len();
        value.serialize(Writer(&mut *self.out))?;
        self.entries.push((key, from..self.out.len()));
        Ok(())
    }

    /// Puts the values in the order of their keys. Of two of one key the later one counts, as in a map.
    fn close(mut self) -> Done {
        self.entries.sort_by(|left, right| left.0.as_bytes().cmp(right.0.as_bytes()));
        let mut object = Vec::with_capacity(self.out.len().saturating_sub(self.start));
        object.push(b'{');
        let mut entries = self.entries.iter().peekable();
        while let Some((key, range)) = entries.next() {
            if entries.peek().is_some_and(|(next, _)| next == key) {
                continue;
            }
            if object.len() > 1 {
                object.push(b',');
            }
            scalar(&mut object, key)?;
            object.push(b':');
            object.extend(self.out.get(range.clone()).unwrap_or_default());
        }
        object.push(b'}');
        self.out.truncate(self.start);
        self.out.extend(object);
        self.out.extend(self.end);
        Ok(())
    }
}

/// serde has a trait for each kind of list, all alike but for the name of one function.
macro_rules! lists {
    ($($kind:ident $add:ident),*) => {$(
        impl ser::$kind for List<'_> {
            type Ok = ();
            type Error = CanonicalError;
            fn $add<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
                self.item(value)
            }
            fn end(self) -> Done {
                self.close()
            }
        }
    )*};
}

lists!(
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field
);

impl ser::SerializeMap for Object<'_> {
    type Ok = ();
    type Error = CanonicalError;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Done {
        self.key = match serde_json::to_value(key).map_err(super::shape)? {
            Value::String(text) => text,
            Value::Number(number) if number.is_u64() || number.is_i64() => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            _ => return Err(CanonicalError::Shape("a key is not a text".to_string())),
        };
        Ok(())
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        let key = core::mem::take(&mut self.key);
        self.value(key, value)
    }
    fn end(self) -> Done {
        self.close()
    }
}

/// And one for each kind of object whose keys are known.
macro_rules! objects {
    ($($kind:ident),*) => {$(
        impl ser::$kind for Object<'_> {
            type Ok = ();
            type Error = CanonicalError;
            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Done {
                self.value(key.to_string(), value)
            }
            fn end(self) -> Done {
                self.close()
            }
        }
    )*};
}

objects!(SerializeStruct, SerializeStructVariant);
