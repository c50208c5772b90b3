//! The settings file as a whole: text, its name, and what overrides it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::path::Path;

use serde::Serialize;
use serde::de::{DeserializeOwned, DeserializeSeed};
use serde_yaml::{Location, Value};

use super::Whole;
use super::error::{Place, SettingsError};
use super::section::Section;
use super::walk::{self, Fault};

/// No settings file is longer than this; a device or a log given by mistake is.
const MAX_BYTES: u64 = 1 << 20;
/// What errors call settings that came from no file.
const DEFAULTS: &str = "the default settings";

/// A settings file that is known to be YAML and to hold no key twice, but whose sections are not checked yet.
///
/// Overrides stand above the file: the environment first, then the flags. A later one wins.
#[derive(Clone)]
pub struct Document {
    origin: String,
    text: String,
    overrides: Vec<Override>,
}

#[derive(Clone)]
struct Override {
    key: String,
    value: String,
    source: String,
}

impl Document {
    /// Reads the file at `path`, at most one MiB of it.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is longer, or is not a document as [`Document::parse`] takes it.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, SettingsError> {
        let path = path.as_ref();
        let text = read(path).map_err(|source| SettingsError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(text, path.display().to_string())
    }

    /// Takes `text`, which errors call `origin`. An empty text stands for defaults everywhere.
    ///
    /// # Errors
    ///
    /// The text is not YAML, not a mapping, or holds a key twice.
    pub fn parse(
        text: impl Into<String>,
        origin: impl Into<String>,
    ) -> Result<Self, SettingsError> {
        let document = Self {
            origin: origin.into(),
            text: text.into(),
            overrides: Vec::new(),
        };
        walk::check(&document.text).map_err(|fault| match fault {
            Fault::DuplicateKey(key, location) => SettingsError::DuplicateKey {
                place: document.place(location),
                key,
            },
            Fault::NotYaml(error) => document.not_yaml(&error),
        })?;
        let root: Value =
            serde_yaml::from_str(&document.text).map_err(|error| document.not_yaml(&error))?;
        match root {
            Value::Mapping(_) | Value::Null => Ok(document),
            other => Err(SettingsError::NotAMapping {
                place: document.place(None),
                found: match other {
                    Value::Sequence(_) => "a list",
                    Value::Tagged(_) => "a tagged value",
                    _ => "a single value",
                },
            }),
        }
    }

    /// Lets `value` take the place of what the file says at `key`, such as `logger.level`; `source` is what errors call it,
    /// such as `environment variable GRPC_PORT` or `--listen`.
    ///
    /// The value is checked when its section is read with [`Document::section_or_default`], by the same rules as in the file; where
    /// a number or a truth value is expected it is read as YAML.
    #[must_use]
    pub fn with_override(
        mut self,
        key: impl Into<String>,
        value: impl Into<String>,
        source: impl Into<String>,
    ) -> Self {
        self.overrides.push(Override {
            key: key.into(),
            value: value.into(),
            source: source.into(),
        });
        self
    }

    /// Reads the top-level section `name` of the file, without overrides; `None` if there is none.
    ///
    /// # Errors
    ///
    /// The section does not have the shape of `T`. The error tells the line.
    pub fn section<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, SettingsError> {
        // From the whole text each time, because positions are lost once a value is taken out of it.
        Section::named(name)
            .deserialize(serde_yaml::Deserializer::from_str(&self.text))
            .map_err(|error| self.wrong_shape(name, &error))
    }

    /// Reads the top-level section `name`, with overrides. What the file leaves out is taken from `T::default()`, and so are
    /// the names of the keys that may stand there: another one is an error. An empty mapping in the default takes any key.
    ///
    /// `T` needs `#[serde(default)]`.
    ///
    /// # Errors
    ///
    /// The section holds an unknown key, or does not have the shape of `T`, or an override does not.
    pub fn section_or_default<T>(&self, name: &str) -> Result<T, SettingsError>
    where
        T: Default + Serialize + DeserializeOwned,
    {
        let defaults = serde_yaml::to_value(T::default()).map_err(|error| {
            self.invalid(name, format!("the default cannot be written: {error}"))
        })?;
        if let Some(found) = self.section::<Value>(name)? {
            self.known_keys(&mut vec![name], &found, &defaults)?;
        }
        let mut section = self
            .section::<Option<T>>(name)?
            .flatten()
            .unwrap_or_default();
        for change in &self.overrides {
            if let Some(path) = change
                .key
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('.'))
            {
                section = change.apply(path, &section, &defaults)?;
            }
        }
        Ok(section)
    }

    /// An error about the value at `key`, such as `shop.name`, at the place where it stands or was overridden. `problem` tells what is
    /// wrong and what to write.
    pub fn invalid(&self, key: &str, problem: impl Into<String>) -> SettingsError {
        SettingsError::Invalid {
            place: self.place_of(key),
            key: key.to_owned(),
            problem: problem.into(),
        }
    }

    /// The number at `key`, if it lies within `range`.
    pub(crate) fn in_range(
        &self,
        key: &str,
        Whole(value): Whole,
        range: RangeInclusive<u64>,
    ) -> Result<u64, SettingsError> {
        u64::try_from(value)
            .ok()
            .filter(|value| range.contains(value))
            .ok_or_else(|| {
                let (low, high) = range.into_inner();
                self.invalid(
                    key,
                    format!("must be between {low} and {high}, but is {value}"),
                )
            })
    }

    /// Where `key` stands, or what overrides it.
    fn place_of(&self, key: &str) -> Place {
        match self.overrides.iter().rev().find(|change| change.key == key) {
            Some(change) => change.place(),
            None => {
                let path: Vec<&str> = key.split('.').collect();
                self.place(walk::locate(&self.text, &path))
            }
        }
    }

    fn place(&self, location: Option<Location>) -> Place {
        let origin = self.origin.clone();
        match location {
            Some(at) => Place::Line {
                origin,
                line: at.line(),
                column: at.column(),
            },
            None => Place::Whole { origin },
        }
    }

    fn not_yaml(&self, error: &serde_yaml::Error) -> SettingsError {
        SettingsError::NotYaml {
            place: self.place(error.location()),
            problem: without_position(error),
        }
    }

    fn wrong_shape(&self, name: &str, error: &serde_yaml::Error) -> SettingsError {
        let message = without_position(error);
        // The parser puts the path to the value before its message.
        let (key, problem) = match message.split_once(": ") {
            Some((path, problem)) if path.starts_with(name) => (path, problem),
            _ => (name, message.as_str()),
        };
        SettingsError::Invalid {
            place: self.place(error.location()),
            key: key.to_owned(),
            problem: problem.to_owned(),
        }
    }

    /// Whether every key of `found` is in `defaults`, at every depth.
    fn known_keys<'a>(
        &self,
        path: &mut Vec<&'a str>,
        found: &'a Value,
        defaults: &Value,
    ) -> Result<(), SettingsError> {
        let (Value::Mapping(found), Value::Mapping(defaults)) = (found, defaults) else {
            return Ok(());
        };
        if defaults.is_empty() {
            return Ok(());
        }
        for (key, value) in found {
            // A key that is no text is unknown to every section, and serde says so with its position.
            let Value::String(key) = key else { continue };
            path.push(key);
            let Some(default) = defaults.get(key) else {
                return Err(SettingsError::UnknownKey {
                    place: self.place(walk::locate(&self.text, path)),
                    key: path.join("."),
                    known: names(defaults),
                });
            };
            self.known_keys(path, value, default)?;
            path.pop();
        }
        Ok(())
    }
}

/// A document in which nothing is set.
impl Default for Document {
    fn default() -> Self {
        Self {
            origin: DEFAULTS.to_owned(),
            text: String::new(),
            overrides: Vec::new(),
        }
    }
}

/// Shows where the settings came from, and no value: among them are passwords.
impl fmt::Debug for Document {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let overridden: Vec<&str> = self
            .overrides
            .iter()
            .map(|change| change.key.as_str())
            .collect();
        formatter
            .debug_struct("Document")
            .field("origin", &self.origin)
            .field("overridden", &overridden)
            .finish_non_exhaustive()
    }
}

impl Override {
    fn place(&self) -> Place {
        Place::Override {
            source: self.source.clone(),
        }
    }

    /// The section with this value at `path`, which leads from the section down to a leaf.
    fn apply<T>(&self, path: &str, section: &T, defaults: &Value) -> Result<T, SettingsError>
    where
        T: Serialize + DeserializeOwned,
    {
        let invalid = |problem: String| SettingsError::Invalid {
            place: self.place(),
            key: self.key.clone(),
            problem,
        };
        let mut changed =
            serde_yaml::to_value(section).map_err(|error| invalid(error.to_string()))?;
        let (mut slot, mut default) = (&mut changed, defaults);
        for name in path.split('.') {
            let inner = default.get(name).zip(slot.get_mut(name));
            (default, slot) = inner.ok_or_else(|| SettingsError::UnknownKey {
                place: self.place(),
                key: self.key.clone(),
                known: default.as_mapping().map(names).unwrap_or_default(),
            })?;
        }
        *slot = match default {
            Value::String(_) => Value::String(self.value.clone()),
            _ => serde_yaml::from_str(&self.value).map_err(|error| invalid(error.to_string()))?,
        };
        serde_yaml::from_value(changed).map_err(|error| invalid(error.to_string()))
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is longer than {MAX_BYTES} bytes"),
        ));
    }
    Ok(text)
}

fn names(mapping: &serde_yaml::Mapping) -> String {
    let names: Vec<&str> = mapping.keys().filter_map(Value::as_str).collect();
    names.join(", ")
}

/// The parser's message without the position at its end, which the place tells already.
fn without_position(error: &serde_yaml::Error) -> String {
    let message = error.to_string();
    let position = error
        .location()
        .map(|at| format!(" at line {} column {}", at.line(), at.column()))
        .unwrap_or_default();
    message
        .strip_suffix(&position)
        .unwrap_or(&message)
        .to_owned()
}
