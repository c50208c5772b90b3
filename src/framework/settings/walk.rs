//! Walks through a YAML text for what the parser does not tell: keys that stand twice, and where a key stands.
//!
//! The parser keeps the last of two equal keys without a word, and gives positions with its errors only. So both walks
//! end with an error made on purpose, at the very key that they look for.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IgnoredAny, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde_yaml::Location;

/// What is wrong with a text.
pub(super) enum Fault {
    /// It is not YAML.
    NotYaml(serde_yaml::Error),
    /// This key stands for the second time at this place.
    DuplicateKey(String, Option<Location>),
}

/// Whether the text is YAML in which no mapping holds a key twice.
pub(super) fn check(text: &str) -> Result<(), Fault> {
    let duplicate = RefCell::new(None);
    let walk = Check {
        duplicate: &duplicate,
    };
    walk.deserialize(serde_yaml::Deserializer::from_str(text))
        .map_err(|error| match duplicate.take() {
            Some(key) => Fault::DuplicateKey(key, error.location()),
            None => Fault::NotYaml(error),
        })
}

/// Where the key at `path` stands, or else the nearest key above it. `text` must have passed [`check`].
pub(super) fn locate(text: &str, path: &[&str]) -> Option<Location> {
    (1..=path.len()).rev().find_map(|depth| {
        let walk = Locate {
            path: &path[..depth],
        };
        walk.deserialize(serde_yaml::Deserializer::from_str(text))
            .err()?
            .location()
    })
}

#[derive(Clone, Copy)]
struct Check<'a> {
    duplicate: &'a RefCell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for Check<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Implements the visits of scalars by one expression that takes each as text with a mark of its type before it.
macro_rules! scalars {
    (|$self:ident, $value:ident| $body:expr) => {
        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("YAML")
        }
        fn visit_str<E: de::Error>($self, $value: &str) -> Result<Self::Value, E> { $body }
        // A number and the same digits in quotes are two keys: the mark, which no YAML holds, keeps them apart.
        fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
            self.visit_str(&format!("\0{value}"))
        }
        fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
            self.visit_str(&format!("\0{value}"))
        }
        fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
            self.visit_str(&format!("\0{value}"))
        }
        fn visit_i128<E: de::Error>(self, value: i128) -> Result<Self::Value, E> {
            self.visit_str(&format!("\0{value}"))
        }
        fn visit_u128<E: de::Error>(self, value: u128) -> Result<Self::Value, E> {
            self.visit_str(&format!("\0{value}"))
        }
        fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
            self.visit_str(&format!("\0{value}"))
        }
        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            self.visit_str("\0null")
        }
        fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
            self.visit_str("\0null")
        }
    };
}

impl<'de> Visitor<'de> for Check<'_> {
    type Value = ();

    scalars!(|self, _value| Ok(()));

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while entries
            .next_key_seed(NewKey {
                seen: &mut seen,
                duplicate: self.duplicate,
            })?
            .is_some()
        {
            entries.next_value_seed(self)?;
        }
        Ok(())
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<(), A::Error> {
        let (IgnoredAny, value) = tagged.variant()?;
        value.newtype_variant_seed(self)
    }
}

/// A key that must not have been seen in its mapping.
struct NewKey<'a> {
    seen: &'a mut HashSet<String>,
    duplicate: &'a RefCell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for NewKey<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NewKey<'_> {
    type Value = ();

    scalars!(|self, key| {
        if self.seen.insert(key.to_owned()) {
            return Ok(());
        }
        self.duplicate
            .replace(Some(key.trim_start_matches('\0').to_owned()));
        Err(de::Error::custom("duplicate key"))
    });

    // Keys that are themselves collections are not compared: no section here has them.
    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<(), A::Error> {
        IgnoredAny.visit_seq(items).map(drop)
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<(), A::Error> {
        IgnoredAny.visit_map(entries).map(drop)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<(), A::Error> {
        let (IgnoredAny, value) = tagged.variant()?;
        value.newtype_variant::<IgnoredAny>().map(drop)
    }
}

/// Fails at the last key of `path`; succeeds where the path leads nowhere.
#[derive(Clone, Copy)]
struct Locate<'a> {
    path: &'a [&'a str],
}

impl<'de> DeserializeSeed<'de> for Locate<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Locate<'_> {
    type Value = ();

    scalars!(|self, _value| Ok(()));

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<(), A::Error> {
        IgnoredAny.visit_seq(items).map(drop)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(matches) = entries.next_key_seed(KeyAt(self))? {
            if matches {
                entries.next_value_seed(Locate {
                    path: &self.path[1..],
                })?;
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<(), A::Error> {
        let (IgnoredAny, value) = tagged.variant()?;
        value.newtype_variant::<IgnoredAny>().map(drop)
    }
}

/// Whether a key is the first of the path; fails if it is also the last.
struct KeyAt<'a>(Locate<'a>);

impl<'de> DeserializeSeed<'de> for KeyAt<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for KeyAt<'_> {
    type Value = bool;

    scalars!(|self, key| {
        match self.0.path {
            [last] if *last == key => Err(de::Error::custom("here")),
            [first, ..] => Ok(*first == key),
            [] => Ok(false),
        }
    });

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<bool, A::Error> {
        IgnoredAny.visit_seq(items).map(|_| false)
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<bool, A::Error> {
        IgnoredAny.visit_map(entries).map(|_| false)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<bool, A::Error> {
        let (IgnoredAny, value) = tagged.variant()?;
        value.newtype_variant::<IgnoredAny>().map(|_| false)
    }
}
