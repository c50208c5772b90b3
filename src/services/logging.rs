//! Where log lines go: to the console, and to a file if the settings name one.
//!
//! The console is standard error, so that standard output holds results alone. Lines about messages tell sizes and names,
//! never payloads; what a password or a token is has a type that does not show it.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::framework::settings::Logger;

/// The variable that overrides both levels, in the form of `tracing`: `info,million=debug`.
const FILTER_VARIABLE: &str = "RUST_LOG";
/// Libraries of the network log every frame, headers with tokens among them, below `info`. The levels of the settings are
/// meant for this project and the services on it; who wants frames asks for them with the variable.
const LIBRARIES: &[&str] = &[
    "axum",
    "h2",
    "hyper",
    "hyper_util",
    "rustls",
    "tokio_tungstenite",
    "tonic",
    "tower",
    "tungstenite",
];

/// Sends the log lines of the whole process where `logger` says. Call it once, and keep the guard to the end.
///
/// # Errors
///
/// The file cannot be opened, `RUST_LOG` is not a filter, or logging was set up before.
pub fn init(logger: &Logger) -> Result<LogGuard, LoggingError> {
    let override_filter = std::env::var(FILTER_VARIABLE)
        .ok()
        .filter(|text| !text.is_empty());
    let colours = io::stderr().is_terminal();
    let (subscriber, guard) = build(logger, override_filter.as_deref(), io::stderr, colours)?;
    subscriber.try_init().map_err(LoggingError::Twice)?;
    Ok(guard)
}

/// Makes what was logged outlast the machine: when dropped, the file is written through to the disk.
#[derive(Debug)]
#[must_use = "dropped at once, it would write through before anything is logged"]
pub struct LogGuard {
    file: Option<Arc<File>>,
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            // The log is where a failure would be told, and it is the log that fails.
            let _ = file.sync_all();
        }
    }
}

/// Why logging cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoggingError {
    /// The log file, or the folder that it should be in, cannot be made or written.
    #[error("cannot write the log file {}: {source}; set logger.log_file to a path that can be written, or to nothing", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `RUST_LOG` is not a filter.
    #[error(
        "environment variable RUST_LOG: `{text}` is not a filter: {source}; write for example info,million=debug"
    )]
    Filter {
        /// What it holds.
        text: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Something else in this process set up logging before.
    #[error("logging is set up already; set it up once, at the start of the process")]
    Twice(#[source] TryInitError),
}

fn build<W>(
    logger: &Logger,
    override_filter: Option<&str>,
    console: W,
    colours: bool,
) -> Result<(impl Subscriber + Send + Sync + use<W>, LogGuard), LoggingError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = |level: LevelFilter| match override_filter {
        None => Ok(EnvFilter::new(directives(level))),
        Some(text) => EnvFilter::try_new(text).map_err(|source| LoggingError::Filter {
            text: text.to_owned(),
            source,
        }),
    };
    let file = logger.log_file().map(open).transpose()?;

    let console_layer = tracing_subscriber::fmt::layer()
        .with_writer(console)
        .with_ansi(colours)
        .with_filter(filter(logger.console_level())?);
    let file_layer = match &file {
        Some(file) => Some(
            tracing_subscriber::fmt::layer()
                // A line is one write to a file opened for appending: lines of several threads do not mix.
                .with_writer(Arc::clone(file))
                .with_ansi(false)
                .with_filter(filter(logger.level())?),
        ),
        None => None,
    };
    Ok((
        Registry::default().with(console_layer).with(file_layer),
        LogGuard { file },
    ))
}

fn directives(level: LevelFilter) -> String {
    let libraries = level.min(LevelFilter::INFO);
    LIBRARIES.iter().fold(level.to_string(), |text, library| {
        format!("{text},{library}={libraries}")
    })
}

fn open(path: &std::path::Path) -> Result<Arc<File>, LoggingError> {
    let open = || {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map(Arc::new)
    };
    open().map_err(|source| LoggingError::File {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::framework::settings::Settings;

    fn logger(text: &str) -> Logger {
        Settings::parse(text, "f.yaml").unwrap().logger().clone()
    }

    /// What reaches the console and the file when a line of each level is logged.
    fn logged(settings: &str, override_filter: Option<&str>) -> (String, String) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/folder/f.log");
        let logger = logger(&settings.replace("FILE", file.to_str().unwrap()));
        let console = Arc::new(Mutex::new(Vec::new()));
        let writer = Writer(Arc::clone(&console));
        let (subscriber, guard) =
            build(&logger, override_filter, move || writer.clone(), false).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!("one");
            tracing::info!("two");
            tracing::debug!("three");
            tracing::debug!(target: "h2::codec", "frame");
        });
        drop(guard);
        let console = String::from_utf8(console.lock().unwrap().clone()).unwrap();
        (console, std::fs::read_to_string(file).unwrap_or_default())
    }

    #[derive(Clone)]
    struct Writer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Writer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn console_and_file_have_a_level_each() {
        let (console, file) = logged(
            "logger: { log_file: FILE, level: debug, console_level: error }",
            None,
        );
        assert!(
            console.contains("one") && !console.contains("two"),
            "{console}"
        );
        assert!(file.contains("three") && !file.contains("frame"), "{file}");
    }

    #[test]
    fn off_silences_the_console() {
        let (console, file) = logged("logger: { console_level: off }", None);
        assert_eq!((console.as_str(), file.as_str()), ("", ""));
    }

    #[test]
    fn the_variable_overrides_both_levels() {
        let settings = "logger: { log_file: FILE, level: error, console_level: off }";
        let (console, file) = logged(settings, Some("info,h2=debug"));
        for text in [console, file] {
            assert!(
                text.contains("two") && !text.contains("three") && text.contains("frame"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_file_is_appended_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.log");
        std::fs::write(&path, "before\n").unwrap();
        let logger = logger(&format!("logger: {{ log_file: '{}' }}", path.display()));
        let (subscriber, guard) = build(&logger, None, io::sink, false).unwrap();
        tracing::subscriber::with_default(subscriber, || tracing::info!("after"));
        drop(guard);
        let text = std::fs::read_to_string(path).unwrap();
        assert!(
            text.starts_with("before\n") && text.contains("after"),
            "{text}"
        );
    }

    #[test]
    fn what_cannot_be_set_up_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let logger = logger(&format!(
            "logger: {{ log_file: '{}' }}",
            folder.path().display()
        ));
        let error = build(&logger, None, io::sink, false)
            .map(|_| ())
            .unwrap_err();
        assert!(error.to_string().contains("logger.log_file"), "{error}");

        let error = build(
            Settings::default().logger(),
            Some("million=loud"),
            io::sink,
            false,
        )
        .map(|_| ())
        .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("environment variable RUST_LOG"),
            "{error}"
        );
    }
}
