//! The log: lines to standard error, as text or as JSON.
//!
//! Knows how lines are written and which of them. Must not know what they say: each room names its
//! own fields, and keeps plaintexts, secrets and signatures out of them.

mod lines;

use std::io::{self, IsTerminal, Stderr};
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{Log, LogFormat};
use lines::Lines;

/// The environment variable that takes the place of the configured filter.
pub const FILTER_VARIABLE: &str = "HSMGATE_LOG";

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
static LINES: OnceLock<Lines<Stderr>> = OnceLock::new();

/// Starts the log of this process, once. `HSMGATE_LOG` takes the place of the filter.
///
/// # Errors
/// When the filter cannot be understood, or the log has been started before.
pub fn init(log: &Log) -> Result<(), TelemetryError> {
    let filter = filter(log, std::env::var(FILTER_VARIABLE).ok().as_deref())?;
    let lines = Lines::start(io::stderr()).map_err(TelemetryError::Thread)?;
    let lines = LINES.get_or_init(|| lines).clone();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines);
    match log.format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).try_init(),
    }
    .map_err(TelemetryError::Started)
}

/// Writes what has been logged so far, at the end of the process.
pub fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush();
    }
}

fn filter(log: &Log, variable: Option<&str>) -> Result<EnvFilter, TelemetryError> {
    let (origin, text) = match variable {
        Some(text) if !text.is_empty() => (FILTER_VARIABLE, text),
        _ => ("log.filter", log.filter.as_str()),
    };
    EnvFilter::try_new(text).map_err(|source| TelemetryError::Filter { origin, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_takes_the_place_of_the_setting() {
        let log = Log { format: LogFormat::Text, filter: "info".to_owned() };
        assert_eq!(filter(&log, None).unwrap().to_string(), "info");
        assert_eq!(filter(&log, Some("")).unwrap().to_string(), "info");
        assert_eq!(filter(&log, Some("debug")).unwrap().to_string(), "debug");
        let error = filter(&log, Some("=,=")).unwrap_err();
        assert_eq!(error.to_string(), "HSMGATE_LOG is not a log filter");
    }
}
