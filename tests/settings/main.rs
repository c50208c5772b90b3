//! Settings: the file, the environment, and everything that can be wrong with them.

mod any_text;
mod configuration;
mod etcd;
mod file;
mod logging;
mod wrong;

use million::framework::settings::{Document, SettingsError};
use million::services::settings::Configuration;

/// Checks every section of `text` as the program does, under the name `f.yaml`.
fn configure(text: &str) -> Result<Configuration, SettingsError> {
    Configuration::from_document(Document::parse(text, "f.yaml")?)
}

/// The message with which `text` is refused.
fn refusal(text: &str) -> String {
    configure(text).expect_err("the text is wrong").to_string()
}
