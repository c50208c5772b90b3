//! One section out of a text, read in place so that errors keep their positions.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_yaml::Value;

/// Reads one section of a text, and skips the others.
pub(super) struct Section<'a, T> {
    name: &'a str,
    shape: PhantomData<T>,
}

impl<'a, T> Section<'a, T> {
    pub(super) fn named(name: &'a str) -> Self {
        Self {
            name,
            shape: PhantomData,
        }
    }
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Section<'_, T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Section<'_, T> {
    type Value = Option<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a mapping of sections")
    }

    fn visit_unit<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_none<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut sections: A) -> Result<Option<T>, A::Error> {
        let mut section = None;
        while let Some(name) = sections.next_key::<Value>()? {
            if name.as_str() == Some(self.name) {
                section = Some(sections.next_value()?);
            } else {
                sections.next_value::<IgnoredAny>()?;
            }
        }
        Ok(section)
    }
}
