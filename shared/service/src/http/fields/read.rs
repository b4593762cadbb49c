//! Reads fields from JSON without a copy of it in between: what a type does not ask for is skipped, and nothing is kept for it.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

use super::{Content, Field, UnknownFields};
use crate::http::objects::Objects;

/// A name that no field has is kept up to this length.
const MAX_NAME_CHARS: usize = 100;

impl<'de, T: Content> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_option(Present(PhantomData))
    }
}

/// Tells what is absent from what was sent.
struct Present<T>(PhantomData<T>);

impl<'de, T: Content> Visitor<'de> for Present<T> {
    type Value = Field<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field")
    }

    fn visit_none<E>(self) -> Result<Field<T>, E> {
        Ok(Field::Missing)
    }

    fn visit_unit<E>(self) -> Result<Field<T>, E> {
        Ok(Field::Missing)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Field<T>, D::Error> {
        deserializer.deserialize_any(Sent(PhantomData))
    }
}

/// Reads what was sent as a `T`, or skips it.
struct Sent<T>(PhantomData<T>);

impl<T: Content> Sent<T> {
    /// A value without parts.
    fn plain<'de, E: serde::de::Error>(value: impl IntoDeserializer<'de, E>) -> Field<T> {
        T::deserialize(value.into_deserializer()).map_or(Field::Mistyped, Field::Sent)
    }
}

impl<'de, T: Content> Visitor<'de> for Sent<T> {
    type Value = Field<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Field<T>, E> {
        Ok(Self::plain::<E>(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Field<T>, E> {
        Ok(Self::plain::<E>(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Field<T>, E> {
        Ok(Self::plain::<E>(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Field<T>, E> {
        Ok(Self::plain::<E>(value))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Field<T>, E> {
        Ok(Self::plain::<E>(value))
    }

    fn visit_unit<E>(self) -> Result<Field<T>, E> {
        Ok(Field::Missing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Field<T>, A::Error> {
        let mut array = Array { items: &mut items, has_failed: false };
        match T::deserialize(Objects(&mut array)) {
            Ok(value) => Ok(Field::Sent(value)),
            Err(error) if array.has_failed => Err(error),
            Err(_) => {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Field::Mistyped)
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Field<T>, A::Error> {
        let mut object = Object {
            entries: &mut entries,
            name: String::new(),
            known: Vec::new(),
            unknown: UnknownFields::default(),
            has_failed: false,
        };
        match T::deserialize(&mut object) {
            Ok(mut value) => {
                let unknown = std::mem::take(&mut object.unknown);
                if let Some(kept) = value.unknown() {
                    *kept = unknown;
                }
                Ok(Field::Sent(value))
            }
            Err(error) if object.has_failed => Err(error),
            Err(_) => {
                while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Field::Mistyped)
            }
        }
    }
}

/// An array.
struct Array<'a, A> {
    items: &'a mut A,
    /// Whether the body itself failed, and not the type.
    has_failed: bool,
}

impl<'de, A: SeqAccess<'de>> Deserializer<'de> for &mut Array<'_, A> {
    type Error = A::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, A::Error> {
        visitor.visit_seq(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for &mut Array<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let element = self.items.next_element_seed(seed);
        self.has_failed |= element.is_err();
        element
    }
}

/// An object, whose fields that its type does not have are noted, and so are those that stand in it twice.
struct Object<'a, A> {
    entries: &'a mut A,
    /// That of the entry at hand.
    name: String,
    known: Vec<String>,
    unknown: UnknownFields,
    /// Whether the body itself failed, and not the type.
    has_failed: bool,
}

impl<'de, A: MapAccess<'de>> Deserializer<'de> for &mut Object<'_, A> {
    type Error = A::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, A::Error> {
        visitor.visit_map(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for &mut Object<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        loop {
            let name = self.entries.next_key::<Name>();
            self.has_failed |= name.is_err();
            let Some(Name(name)) = name? else { return Ok(None) };
            if self.known.contains(&name) {
                // The first is what counts, and the request is refused.
                let skipped = self.entries.next_value::<IgnoredAny>();
                self.has_failed |= skipped.is_err();
                skipped?;
                self.unknown.twice(name);
                continue;
            }
            self.name = name;
            return seed.deserialize(StrDeserializer::new(&self.name)).map(Some);
        }
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let mut is_ignored = false;
        let value = self.entries.next_value_seed(Noticed { seed, is_ignored: &mut is_ignored });
        self.has_failed |= value.is_err();
        let name = std::mem::take(&mut self.name);
        if is_ignored {
            self.unknown.add(name);
        } else {
            self.known.push(name);
        }
        value
    }
}

/// A name, of which no more is kept than can be a field's.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Short;
        impl Visitor<'_> for Short {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_str<E>(self, name: &str) -> Result<Name, E> {
                Ok(Name(name.chars().take(MAX_NAME_CHARS).collect()))
            }
        }
        deserializer.deserialize_identifier(Short)
    }
}

/// A value, and whether the type that it is for ignores it.
struct Noticed<'a, S> {
    seed: S,
    is_ignored: &'a mut bool,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Noticed<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.seed.deserialize(Noticing { deserializer, is_ignored: self.is_ignored })
    }
}

struct Noticing<'a, D> {
    deserializer: D,
    is_ignored: &'a mut bool,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Noticing<'_, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.deserializer.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.deserializer.deserialize_option(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        *self.is_ignored = true;
        self.deserializer.deserialize_ignored_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier
    }
}
