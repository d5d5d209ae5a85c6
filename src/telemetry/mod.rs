//! The log: lines to standard error, as text or as JSON; and the metrics.
//!
//! Knows how lines are written and which of them. Must not know what they say: each room names its
//! own fields, and keeps plaintexts, secrets and signatures out of them.

mod exposition;
mod json_line;
mod process;
mod registry;
mod writer;

use std::io::{self, IsTerminal, Stderr};
use std::sync::OnceLock;

use tracing::Dispatch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use exposition::Exposition;
pub use process::ProcessMetrics;
pub use registry::{
    Counter, Description, Family, Gauge, Limit, MetricsFormat, NoLabels, Registry, Seconds,
    Throttled, gauge_value,
};
pub(crate) use registry::{label_sets, metrics};

use crate::config::{Log, LogFormat};
use json_line::JsonLines;
use writer::NonBlockingWriter;

/// The environment variable that takes the place of the configured filter.
pub const FILTER_VARIABLE: &str = "HSMGATE_LOG";

/// Comes before every filter, which may name the crate again. `cryptoki` writes an error for each
/// mechanism of a token that it has no name for, though nothing is wrong; its real failures are
/// values that the token room reports.
const ALWAYS: &str = "cryptoki=off";

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be understood.
    #[error("{origin} is not a log filter")]
    Filter {
        /// The setting or the variable that holds it.
        origin: &'static str,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Something else in this process has begun to log.
    #[error("the log has been started before")]
    Started(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is no thread to write it.
    #[error("the log has no thread")]
    Thread(#[source] io::Error),
}

/// The log of this process, once it has begun.
static WRITER: OnceLock<NonBlockingWriter<Stderr>> = OnceLock::new();

/// Starts the log of this process, once. `HSMGATE_LOG` takes the place of the filter.
///
/// # Errors
/// When the filter cannot be understood, or the log has been started before.
pub fn init(log: &Log) -> Result<(), TelemetryError> {
    let filter = filter(log, variable().as_deref())?;
    let lines = writer()?;
    dispatch(log, filter, lines, has_colors())
        .try_init()
        .map_err(|source| TelemetryError::Started(source.into()))
}

/// As [`init`], as text, but with the filter `first` until the returned function is called.
///
/// # Errors
/// As [`init`].
pub fn init_with_first_filter(
    log: &Log,
    first: &str,
) -> Result<impl FnOnce() + Send + use<>, TelemetryError> {
    let first = Log { format: LogFormat::Text, filter: first.to_owned() };
    let (first, filter) =
        (filter(&first, variable().as_deref())?, filter(log, variable().as_deref())?);
    let lines = tracing_subscriber::fmt().with_env_filter(first).with_writer(writer()?);
    let lines = lines.with_ansi(has_colors()).with_filter_reloading();
    let handle = lines.reload_handle();
    lines.try_init().map_err(TelemetryError::Started)?;
    Ok(move || {
        // It fails only if there is no log any more.
        let _ = handle.reload(filter);
    })
}

fn variable() -> Option<String> {
    std::env::var(FILTER_VARIABLE).ok()
}

fn writer() -> Result<NonBlockingWriter<Stderr>, TelemetryError> {
    let lines = NonBlockingWriter::start(io::stderr()).map_err(TelemetryError::Thread)?;
    Ok(WRITER.get_or_init(|| lines).clone())
}

/// <https://no-color.org>
fn has_colors() -> bool {
    let may = std::env::var_os("NO_COLOR").is_none_or(|text| text.is_empty());
    may && io::stderr().is_terminal()
}

/// What writes the lines that pass the filter.
fn dispatch(
    log: &Log,
    filter: EnvFilter,
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
    has_colors: bool,
) -> Dispatch {
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match log.format {
        LogFormat::Text => lines.with_ansi(has_colors).into(),
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_span_list(false);
            lines.map_event_format(JsonLines::beside).into()
        }
    }
}

/// Writes what has been logged so far, at the end of the process.
pub fn flush() {
    if let Some(lines) = WRITER.get() {
        lines.flush();
    }
}

fn filter(log: &Log, variable: Option<&str>) -> Result<EnvFilter, TelemetryError> {
    let (origin, text) = match variable {
        Some(text) if !text.is_empty() => (FILTER_VARIABLE, text),
        _ => ("log.filter", log.filter.as_str()),
    };
    // The text is read by itself first: the error of a wrong one shall name nothing else.
    EnvFilter::try_new(text)
        .and_then(|_read| EnvFilter::try_new(format!("{ALWAYS},{text}")))
        .map_err(|source| TelemetryError::Filter { origin, source })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    fn settings(format: LogFormat, filter: &str) -> Log {
        Log { format, filter: filter.to_owned() }
    }

    /// Where the lines of a test go.
    #[derive(Clone, Default)]
    struct NonBlockingWriter(Arc<Mutex<Vec<u8>>>);

    impl NonBlockingWriter {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for NonBlockingWriter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written of the events of `work`.
    fn written(log: &Log, work: impl FnOnce()) -> String {
        let lines = NonBlockingWriter::default();
        let writer = lines.clone();
        let dispatch = dispatch(log, filter(log, None).unwrap(), move || writer.clone(), false);
        tracing::dispatcher::with_default(&dispatch, work);
        lines.text()
    }

    /// The names of the events of `work` that are logged, in order.
    pub(crate) fn events(work: impl FnOnce()) -> Vec<String> {
        let text = written(&settings(LogFormat::Json, "info"), work);
        let event = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["event"].as_str().unwrap().to_owned()
        };
        text.lines().map(event).collect()
    }

    #[test]
    fn the_variable_takes_the_place_of_the_setting() {
        let log = settings(LogFormat::Text, "info");
        assert_eq!(filter(&log, None).unwrap().to_string(), "cryptoki=off,info");
        assert_eq!(filter(&log, Some("")).unwrap().to_string(), "cryptoki=off,info");
        assert_eq!(filter(&log, Some("debug")).unwrap().to_string(), "cryptoki=off,debug");
        let error = filter(&log, Some("=,=")).unwrap_err();
        assert_eq!(error.to_string(), "HSMGATE_LOG is not a log filter");
    }

    #[test]
    fn the_pkcs11_crate_is_silent_until_a_filter_names_it() {
        let speak = || tracing::error!(target: "cryptoki::mechanism", "not supported");
        assert_eq!(written(&settings(LogFormat::Text, "trace"), speak), "");
        let named = settings(LogFormat::Text, "info,cryptoki=error");
        assert!(written(&named, speak).contains("not supported"));
    }

    #[test]
    fn a_line_of_json_is_one_flat_object() {
        let log = settings(LogFormat::Json, "info");
        let text = written(&log, || {
            tracing::info!(target: "hsmgate::request", action = "Encrypt", total_us = 7, "request");
            tracing::info!("line one\nline \"two\"");
        });
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["level"], "INFO");
        assert_eq!(lines[0]["target"], "hsmgate::request");
        assert_eq!(lines[0]["action"], "Encrypt");
        assert_eq!(lines[0]["total_us"], 7);
        assert_eq!(lines[1]["message"], "line one\nline \"two\"");
    }

    #[test]
    fn a_line_of_text_stays_one_line() {
        let log = settings(LogFormat::Text, "info");
        let text = written(&log, || tracing::info!(host = "a\nb", "request"));
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}
