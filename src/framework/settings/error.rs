//! What can be wrong with settings, and where.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why settings cannot be used. Each message names the place, the key, and what is expected there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file is missing, too long, not text, or may not be read.
    #[error("cannot read the settings file {}: {source}; name a file that exists and is readable", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The text is not YAML.
    #[error("{place}: this is not YAML: {problem}; correct the line, or the one before it")]
    NotYaml {
        /// Where the reader stopped.
        place: Place,
        /// What the reader met.
        problem: String,
    },
    /// The text is YAML, but not a mapping of section names to sections.
    #[error(
        "{place}: the settings must be sections, each with its name, such as `logger: {{ level: info }}`, but this is {found}"
    )]
    NotAMapping {
        /// The file.
        place: Place,
        /// What it holds.
        found: &'static str,
    },
    /// A key stands twice in one mapping, and one of the two would be lost without a word.
    #[error("{place}: the key `{key}` stands here for the second time; remove one of the two")]
    DuplicateKey {
        /// Where it stands for the second time.
        place: Place,
        /// The key, without those above it.
        key: String,
    },
    /// A section that this project owns has a key that nobody reads.
    #[error("{place}: unknown key `{key}`; the keys known here are {known}")]
    UnknownKey {
        /// Where the key stands.
        place: Place,
        /// The key with those above it, such as `worker_mgr.nmu`.
        key: String,
        /// The keys known at that place, separated by commas.
        known: String,
    },
    /// A value has the wrong type, is out of range, or contradicts another.
    #[error("{place}: `{key}`: {problem}")]
    Invalid {
        /// Where the key stands, or the nearest one above it.
        place: Place,
        /// The key with those above it, such as `worker_mgr.num`.
        key: String,
        /// What is wrong and what to write.
        problem: String,
    },
}

/// Where a setting came from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// A line of the file, counted from 1.
    Line {
        /// The file, or what the text was called.
        origin: String,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// The file as a whole, or a default that no line overrides.
    Whole {
        /// The file, or what the text was called.
        origin: String,
    },
    /// Something that overrides the file, such as `environment variable GRPC_PORT` or `--listen`.
    Override {
        /// Its name.
        source: String,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line {
                origin,
                line,
                column,
            } => write!(formatter, "{origin}:{line}:{column}"),
            Self::Whole { origin } => formatter.write_str(origin),
            Self::Override { source } => formatter.write_str(source),
        }
    }
}
