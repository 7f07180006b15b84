// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Field names and types of a message as text: what a value's serializer is told, written down.

use serde::ser::{
    Error as _, Impossible, Serialize, SerializeStruct, SerializeTuple, SerializeTupleVariant, Serializer,
};
use std::fmt;

/// The schema of a value. Give one whose options are all filled.
pub(crate) fn schema<T: Serialize>(value: &T) -> String {
    value.serialize(Schema).expect("messages hold only types that the wire knows")
}

struct Schema;

/// A type that no message may hold.
#[derive(Debug)]
pub(crate) struct Unknown(String);

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unknown {}

impl serde::ser::Error for Unknown {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

type No = Impossible<String, Unknown>;

macro_rules! plain {
    ($($method:ident $type:ty),*) => {
        $(fn $method(self, _: $type) -> Result<String, Unknown> {
            Ok(stringify!($type).to_owned())
        })*
    };
}

impl Serializer for Schema {
    type Ok = String;
    type Error = Unknown;
    type SerializeSeq = Bytes;
    type SerializeTuple = Tuple;
    type SerializeTupleStruct = No;
    type SerializeTupleVariant = Fields;
    type SerializeMap = No;
    type SerializeStruct = Fields;
    type SerializeStructVariant = No;

    plain!(serialize_bool bool, serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64);
    plain!(serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64);

    fn serialize_str(self, _: &str) -> Result<String, Unknown> {
        Ok("text".to_owned())
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<String, Unknown> {
        Ok("bytes".to_owned())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Bytes, Unknown> {
        Ok(Bytes)
    }

    fn serialize_tuple(self, len: usize) -> Result<Tuple, Unknown> {
        Ok(Tuple { len, element: String::new() })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields, Unknown> {
        Ok(Fields(Vec::new()))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Fields, Unknown> {
        Ok(Fields(vec![variant.to_owned()]))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<String, Unknown> {
        Ok(format!("{name}({})", value.serialize(Self)?))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<String, Unknown> {
        Ok(format!("optional {}", value.serialize(Self)?))
    }

    fn serialize_none(self) -> Result<String, Unknown> {
        Err(Unknown::custom("the largest vector fills every option"))
    }

    fn serialize_unit_variant(self, name: &'static str, _: u32, _: &'static str) -> Result<String, Unknown> {
        Ok(format!("enum {name}"))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<String, Unknown> {
        Ok(format!("enum {name} {variant}({})", value.serialize(Self)?))
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, _: &T) -> Result<String, Unknown> {
        Ok("text".to_owned())
    }

    fn serialize_f32(self, _: f32) -> Result<String, Unknown> {
        Err(Unknown::custom("no floating point on the wire"))
    }

    fn serialize_f64(self, _: f64) -> Result<String, Unknown> {
        Err(Unknown::custom("no floating point on the wire"))
    }

    fn serialize_char(self, _: char) -> Result<String, Unknown> {
        Err(Unknown::custom("no characters on the wire"))
    }

    fn serialize_unit(self) -> Result<String, Unknown> {
        Err(Unknown::custom("no units on the wire"))
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<String, Unknown> {
        Err(Unknown::custom("no units on the wire"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<No, Unknown> {
        Err(Unknown::custom("no tuple structs on the wire"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<No, Unknown> {
        Err(Unknown::custom("no maps on the wire"))
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<No, Unknown> {
        Err(Unknown::custom("no struct variants on the wire"))
    }
}

/// A sequence: the wire knows only bytes; lists are packed into them.
pub(crate) struct Bytes;

impl serde::ser::SerializeSeq for Bytes {
    type Ok = String;
    type Error = Unknown;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unknown> {
        let element = value.serialize(Schema)?;
        if element == "u8" { Ok(()) } else { Err(Unknown::custom(format!("a list of {element} on the wire"))) }
    }

    fn end(self) -> Result<String, Unknown> {
        Ok("bytes".to_owned())
    }
}

/// A fixed number of elements of one type.
pub(crate) struct Tuple {
    len: usize,
    element: String,
}

impl SerializeTuple for Tuple {
    type Ok = String;
    type Error = Unknown;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unknown> {
        self.element = value.serialize(Schema)?;
        Ok(())
    }

    fn end(self) -> Result<String, Unknown> {
        Ok(format!("[{}; {}]", self.element, self.len))
    }
}

/// Named or numbered fields.
pub(crate) struct Fields(Vec<String>);

impl SerializeStruct for Fields {
    type Ok = String;
    type Error = Unknown;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Unknown> {
        self.0.push(format!("{name}: {}", value.serialize(Schema)?));
        Ok(())
    }

    fn end(self) -> Result<String, Unknown> {
        Ok(format!("{{{}}}", self.0.join(", ")))
    }
}

impl SerializeTupleVariant for Fields {
    type Ok = String;
    type Error = Unknown;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unknown> {
        self.0.push(value.serialize(Schema)?);
        Ok(())
    }

    fn end(self) -> Result<String, Unknown> {
        Ok(format!("({})", self.0.join(", ")))
    }
}
