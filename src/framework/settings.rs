//! The settings file: YAML, read once, checked once, and wrong nowhere after that.
//!
//! ```text
//! text ──▶ Document (YAML, no key twice) ──▶ raw section (serde) ──▶ Settings (ranges checked, units in types)
//!              ▲
//!              └── overrides: environment, flags
//! ```
//!
//! - A file written for a node of the C++ million framework loads as it is.
//! - Inside a section that this project owns, an unknown key is an error. A section that nobody here knows is left alone,
//!   and a service reads it with [`Settings::section`].
//! - Every error names the place (file, line and column, or the variable or flag that overrode it), the key, and what is expected.

mod address;
mod document;
mod error;
mod raw;
mod section;
mod walk;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tracing::level_filters::LevelFilter;

pub use address::{Address, AddressError};
pub use document::Document;
pub use error::{Place, SettingsError};
pub(crate) use raw::{RawFramework, Whole, text};

/// More workers than this are a slip of the keyboard: the pool gains nothing past the number of cores.
const MAX_WORKERS: u64 = 1024;
/// As for workers: IO threads wait for sockets, and a few serve thousands.
const MAX_IO_THREADS: u64 = 1024;
/// A tick of a minute is already too coarse for any timer.
const MAX_MS_PER_TICK: u64 = 60_000;
/// A call may wait a day at one second a tick.
const MAX_TIMEOUT_TICKS: u64 = 86_400;
/// An hour between two looks at calls that wait.
const MAX_SECONDS_PER_TICK: u64 = 3_600;

/// Settings of the framework, and the way to everything else in the same file.
///
/// ```
/// use million::framework::settings::Settings;
///
/// let settings = Settings::parse("worker_mgr: { num: 4 }\nshop: { name: corner }", "example")?;
/// assert_eq!(settings.workers(), 4);
///
/// #[derive(serde::Deserialize)]
/// struct Shop { name: String }
/// assert_eq!(settings.section::<Shop>("shop")?.unwrap().name, "corner");
/// # Ok::<(), million::framework::settings::SettingsError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Settings {
    document: Document,
    node_id: u32,
    workers: Option<NonZeroUsize>,
    io_threads: usize,
    tick: Duration,
    call_timeout: Duration,
    logger: Logger,
}

impl Settings {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is not YAML, or one of the framework's sections is wrong.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, SettingsError> {
        Self::from_document(Document::load(path)?)
    }

    /// Checks `text`; `origin` is what errors call it, such as the name of the file it came from.
    ///
    /// # Errors
    ///
    /// The text is not YAML, or one of the framework's sections is wrong.
    pub fn parse(
        text: impl Into<String>,
        origin: impl Into<String>,
    ) -> Result<Self, SettingsError> {
        Self::from_document(Document::parse(text, origin)?)
    }

    /// Checks the framework's sections of a document, with its overrides.
    ///
    /// # Errors
    ///
    /// One of the framework's sections is wrong.
    pub fn from_document(document: Document) -> Result<Self, SettingsError> {
        let raw = RawFramework {
            node: document.section_or_default("node")?,
            worker_mgr: document.section_or_default("worker_mgr")?,
            io_context_mgr: document.section_or_default("io_context_mgr")?,
            timer: document.section_or_default("timer")?,
            session_monitor: document.section_or_default("session_monitor")?,
            logger: document.section_or_default("logger")?,
        };
        let count = |key: &str, value, range| {
            document.in_range(key, value, range).map(|number| {
                usize::try_from(number).expect("the ranges given here fit into a usize")
            })
        };

        let node_id = document.in_range("node.id", raw.node.id, 0..=u64::from(u32::MAX))?;
        let workers = count("worker_mgr.num", raw.worker_mgr.num, 0..=MAX_WORKERS)?;
        let io_threads = count(
            "io_context_mgr.num",
            raw.io_context_mgr.num,
            1..=MAX_IO_THREADS,
        )?;
        let tick = document.in_range(
            "timer.ms_per_tick",
            raw.timer.ms_per_tick,
            1..=MAX_MS_PER_TICK,
        )?;
        let timeout_ticks = document.in_range(
            "session_monitor.timeout_tick",
            raw.session_monitor.timeout_tick,
            1..=MAX_TIMEOUT_TICKS,
        )?;
        let seconds_per_tick = document.in_range(
            "session_monitor.s_per_tick",
            raw.session_monitor.s_per_tick,
            1..=MAX_SECONDS_PER_TICK,
        )?;
        let level = |key: &str, name: &str| {
            parse_level(name).ok_or_else(|| {
                document.invalid(
                    key,
                    format!(
                        "`{name}` is not a level; write trace, debug, info, warn, error or off"
                    ),
                )
            })
        };
        let logger = Logger {
            level: level("logger.level", &raw.logger.level)?,
            console_level: level("logger.console_level", &raw.logger.console_level)?,
            log_file: Some(raw.logger.log_file)
                .filter(|file| !file.is_empty())
                .map(PathBuf::from),
        };

        Ok(Self {
            node_id: u32::try_from(node_id).expect("the range above ends at u32::MAX"),
            workers: NonZeroUsize::new(workers),
            io_threads,
            tick: Duration::from_millis(tick),
            call_timeout: Duration::from_secs(timeout_ticks * seconds_per_tick),
            logger,
            document,
        })
    }

    /// Number of this node among others (`node.id`).
    pub fn node_id(&self) -> u32 {
        self.node_id
    }

    /// Threads of the worker pool (`worker_mgr.num`), at least one. The setting 0, the default, means as many as the
    /// process may use cores.
    pub fn workers(&self) -> usize {
        self.workers
            .or_else(|| std::thread::available_parallelism().ok())
            .map_or(1, NonZeroUsize::get)
    }

    /// Threads of the IO runtime (`io_context_mgr.num`), at least one.
    pub fn io_threads(&self) -> usize {
        self.io_threads
    }

    /// Length of a timer tick (`timer.ms_per_tick`).
    pub fn tick(&self) -> Duration {
        self.tick
    }

    /// How long a call waits that names no time-out itself (`session_monitor.timeout_tick` × `s_per_tick`).
    pub fn call_timeout(&self) -> Duration {
        self.call_timeout
    }

    /// Where log lines go, and which.
    pub fn logger(&self) -> &Logger {
        &self.logger
    }

    /// The file that these settings came from, with its overrides.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Reads the top-level section `name`; see [`Document::section`].
    ///
    /// # Errors
    ///
    /// The section does not have the shape of `T`.
    pub fn section<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, SettingsError> {
        self.document.section(name)
    }
}

/// What a node runs with when nobody says otherwise.
impl Default for Settings {
    fn default() -> Self {
        Self::from_document(Document::default())
            .expect("the defaults are valid, which a test holds")
    }
}

/// Where log lines go, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logger {
    log_file: Option<PathBuf>,
    level: LevelFilter,
    console_level: LevelFilter,
}

impl Logger {
    /// The file that lines are appended to; none by default.
    pub fn log_file(&self) -> Option<&Path> {
        self.log_file.as_deref()
    }

    /// The least important level that the file receives.
    pub fn level(&self) -> LevelFilter {
        self.level
    }

    /// The least important level that the console receives.
    pub fn console_level(&self) -> LevelFilter {
        self.console_level
    }
}

fn parse_level(name: &str) -> Option<LevelFilter> {
    Some(match name.to_ascii_lowercase().as_str() {
        "trace" => LevelFilter::TRACE,
        "debug" => LevelFilter::DEBUG,
        "info" => LevelFilter::INFO,
        "warn" => LevelFilter::WARN,
        "error" => LevelFilter::ERROR,
        "off" => LevelFilter::OFF,
        _ => return None,
    })
}
