//! A value of the configuration, and reading it into a type.

use std::fmt;

use serde::de::DeserializeOwned;

/// A value of the configuration: bytes, which most often are a text.
///
/// ```
/// use million::etcd_service::ConfigValue;
/// use serde::Deserialize;
///
/// #[derive(Debug, Deserialize, PartialEq)]
/// #[serde(deny_unknown_fields)]
/// struct Limits {
///     users: u32,
/// }
///
/// let value = ConfigValue::new("limits", "{ users: 10 }");
/// assert_eq!(value.parse(), Ok(Limits { users: 10 }));
///
/// let wrong = ConfigValue::new("limits", "{ users: many }").parse::<Limits>().unwrap_err();
/// assert!(wrong.to_string().starts_with("the configuration `limits`"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigValue {
    path: String,
    bytes: Vec<u8>,
}

impl ConfigValue {
    /// A value at a path, for tests of what reads it.
    pub fn new(path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.into(),
            bytes: bytes.into(),
        }
    }

    /// Where it stands, without the root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value as it is. It may be empty, which is not the same as no value.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The value, moved out.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The value as a text.
    ///
    /// # Errors
    ///
    /// It is not UTF-8.
    pub fn text(&self) -> Result<&str, ConfigValueError> {
        std::str::from_utf8(&self.bytes).map_err(|error| self.error(error.to_string()))
    }

    /// The value, read as YAML, which JSON, numbers and plain texts are as well. For a text as it stands use [`text`](Self::text).
    ///
    /// # Errors
    ///
    /// It is not UTF-8, no YAML, or not what `T` wants. The error names the path and what is wrong, for which it may show a
    /// part of the value.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigValueError> {
        serde_yaml::from_str(self.text()?).map_err(|error| self.error(error.to_string()))
    }

    fn error(&self, problem: String) -> ConfigValueError {
        ConfigValueError {
            path: self.path.clone(),
            problem,
        }
    }
}

/// Without the value itself, which may be a secret.
impl fmt::Debug for ConfigValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigValue")
            .field("path", &self.path)
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// A value of the configuration is not what was expected there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration `{path}` cannot be used: {problem}; set it to what is expected there")]
pub struct ConfigValueError {
    /// Where the value stands, without the root.
    pub path: String,
    /// What is wrong with it.
    pub problem: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_read_as_what_they_look_like() {
        let value = |text: &str| ConfigValue::new("p", text);
        assert_eq!(value("10").parse::<u32>(), Ok(10));
        assert_eq!(value("true").parse::<bool>(), Ok(true));
        assert_eq!(value("[1, 2]").parse::<Vec<u8>>(), Ok(vec![1, 2]));
        assert_eq!(value("").parse::<Option<u8>>(), Ok(None));
        assert_eq!(value(" as it is ").text(), Ok(" as it is "));
    }

    #[test]
    fn an_error_names_the_path_and_what_is_wrong() {
        let error = ConfigValue::new("a/b", "ten").parse::<u32>().unwrap_err();
        assert_eq!(error.path, "a/b");
        assert!(error.problem.contains("u32"), "{error}");
        let error = ConfigValue::new("a/b", b"\xff").text().unwrap_err();
        assert!(error.problem.contains("utf-8"), "{error}");
    }

    #[test]
    fn a_value_is_not_shown_by_debug() {
        let shown = format!("{:?}", ConfigValue::new("p", "secret"));
        assert!(!shown.contains("secret"), "{shown}");
    }
}
