//! Writes an event as a line of JSON, field by field.
//!
//! Each request writes a line. The general formatter serializes it as a map, which took a tenth of the
//! instructions of a request.

use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::model::{Time, clock};

/// The targets of this program, whose lines are written here.
const TARGET: &str = "hsmgate";

/// Writes the events of this program, with the bytes that the general formatter writes; the general
/// formatter writes the events of other crates and those in spans.
pub(super) struct JsonLines<General>(General);

impl<General> JsonLines<General> {
    pub(super) fn beside(general: General) -> Self {
        Self(general)
    }
}

impl<S, N, General> FormatEvent<S, N> for JsonLines<General>
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
    General: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let is_in_span = || event.parent().is_some() || context.lookup_current().is_some();
        if !metadata.target().starts_with(TARGET) || is_in_span() {
            return self.0.format_event(context, writer, event);
        }
        writer.write_str("{\"timestamp\":\"")?;
        write_time(&mut writer, clock::unix_micros())?;
        writer.write_str("\",\"level\":\"")?;
        writer.write_str(metadata.level().as_str())?;
        writer.write_char('"')?;
        let mut members = Members { writer: &mut writer, written: Ok(()) };
        event.record(&mut members);
        members.written?;
        writer.write_str(",\"target\":\"")?;
        write_escaped(&mut writer, metadata.target())?;
        writer.write_str("\"}\n")
    }
}

/// Writes the fields of an event as members of an object.
struct Members<'a, 'w> {
    writer: &'a mut Writer<'w>,
    written: fmt::Result,
}

impl<'w> Members<'_, 'w> {
    fn write(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'w>) -> fmt::Result) {
        if self.written.is_ok() {
            self.written = self.write_member(field, value);
        }
    }

    fn write_member(
        &mut self,
        field: &Field,
        value: impl FnOnce(&mut Writer<'w>) -> fmt::Result,
    ) -> fmt::Result {
        self.writer.write_str(",\"")?;
        write_escaped(self.writer, field.name())?;
        self.writer.write_str("\":")?;
        value(self.writer)
    }
}

impl Visit for Members<'_, '_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.write(field, |writer| {
            writer.write_char('"')?;
            write_escaped(writer, value)?;
            writer.write_char('"')
        });
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.write(field, |writer| write!(writer, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.write(field, |writer| write!(writer, "{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no number for infinity and NaN.
        let json = serde_json::to_string(&value).map_err(|_unwritable| fmt::Error);
        self.write(field, |writer| writer.write_str(&json?));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.write(field, |writer| writer.write_str(if value { "true" } else { "false" }));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.write(field, |writer| {
            writer.write_char('"')?;
            write!(Escaping(writer), "{value:?}")?;
            writer.write_char('"')
        });
    }
}

/// Escapes what is written.
struct Escaping<'a, 'w>(&'a mut Writer<'w>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write_escaped(self.0, text)
    }
}

/// Writes a text as it stands in a string of JSON.
fn write_escaped(writer: &mut Writer<'_>, text: &str) -> fmt::Result {
    // Without a branch for each byte, the compiler checks many bytes at a time.
    let escaped = text.bytes().fold(0, |any, byte| {
        any | u8::from(byte < b' ') | u8::from(byte == b'"') | u8::from(byte == b'\\')
    });
    if escaped == 0 {
        return writer.write_str(text);
    }
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| matches!(byte, ..b' ' | b'"' | b'\\')) {
        let (plain, other) = rest.split_at_checked(at).unwrap_or((rest, ""));
        writer.write_str(plain)?;
        let mut chars = other.chars();
        match chars.next().unwrap_or_default() {
            '"' => writer.write_str("\\\"")?,
            '\\' => writer.write_str("\\\\")?,
            '\u{8}' => writer.write_str("\\b")?,
            '\t' => writer.write_str("\\t")?,
            '\n' => writer.write_str("\\n")?,
            '\u{c}' => writer.write_str("\\f")?,
            '\r' => writer.write_str("\\r")?,
            other => write!(writer, "\\u{:04x}", u32::from(other))?,
        }
        rest = chars.as_str();
    }
    writer.write_str(rest)
}

/// Writes so many microseconds after 1970 as `YYYY-MM-DDTHH:MM:SS.ffffffZ`.
fn write_time(writer: &mut impl Write, unix_micros: i64) -> fmt::Result {
    let (second, micros) = (unix_micros.div_euclid(1_000_000), unix_micros.rem_euclid(1_000_000));
    let text = Time::from_unix(second).to_ascii();
    writer.write_str(std::str::from_utf8(&text).unwrap_or_default().trim_end_matches('Z'))?;
    write!(writer, ".{micros:06}Z")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Captured {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    /// The lines of `work`, each without its time, which is checked.
    fn written(is_direct: bool, work: &dyn Fn()) -> Vec<String> {
        let lines = Captured::default();
        let json = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(lines.clone())
            .json()
            .flatten_event(true)
            .with_span_list(false);
        if is_direct {
            tracing::subscriber::with_default(
                json.map_event_format(JsonLines::beside).finish(),
                work,
            );
        } else {
            tracing::subscriber::with_default(json.finish(), work);
        }
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let line = |line: &str| {
            let rest = line.strip_prefix("{\"timestamp\":\"").unwrap();
            let (time, rest) = rest.split_at("2026-11-28T03:04:05.678901Z".len());
            assert!(time.ends_with('Z') && time.as_bytes()[19] == b'.', "{time}");
            assert!((Time::with_offset(time).unwrap().unix() - clock::now().unix()).abs() < 60);
            rest.to_owned()
        };
        text.split_inclusive('\n').map(line).collect()
    }

    fn assert_same(count: usize, work: impl Fn()) {
        let (direct, general) = (written(true, &work), written(false, &work));
        assert_eq!(direct, general);
        assert_eq!(direct.len(), count);
    }

    #[derive(Debug, thiserror::Error)]
    #[error("outer \"quoted\"")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_request_line_has_the_bytes_of_the_general_formatter() {
        let failure = Outer(std::io::Error::other("inner\nline"));
        let cause: Option<&(dyn std::error::Error + 'static)> = Some(&failure);
        for (user, cause) in [(Some("alice"), None), (None, cause)] {
            assert_same(1, || {
                tracing::error!(
                    target: "hsmgate::request",
                    request_id = %"2ab1a983-7072-4bbc-a582-584b5bd8f1c2",
                    action = "Encrypt",
                    source = %std::net::IpAddr::from([127, 0, 0, 1]),
                    user,
                    outcome = "ok",
                    cause,
                    token_us = Some(17_u64),
                    total_us = u64::MAX,
                    withheld = None::<u64>,
                    "request"
                );
            });
        }
    }

    #[test]
    fn every_kind_of_value_has_the_bytes_of_the_general_formatter() {
        let every: String =
            (0..=0x2ff).filter_map(char::from_u32).chain(['\u{2028}', '😀']).collect();
        assert_same(4, || {
            tracing::info!(text = every, shown = ?every, signed = -7, yes = true, no = false, "{every}");
            tracing::warn!(
                fraction = 0.1,
                large = 1e300,
                infinite = f64::INFINITY,
                none = f64::NAN
            );
            tracing::debug!(wide = u128::MAX, narrow = i128::MIN, list = ?[1, 2]);
            tracing::trace!(event = "dotted.name", "a.b" = 1, r#type = "raw");
        });
    }

    #[test]
    fn events_in_spans_and_of_other_crates_are_written_by_the_general_formatter() {
        assert_same(2, || {
            tracing::info_span!("outer", number = 1).in_scope(|| tracing::info!("inside"));
            tracing::info!(target: "sqlx::query", rows = 3, "other");
        });
    }

    #[test]
    fn a_time_is_written_with_microseconds() {
        for (micros, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (1_709_281_800_000_001, "2024-03-01T08:30:00.000001Z"),
            (1_709_281_800_999_999, "2024-03-01T08:30:00.999999Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
        ] {
            let mut text = String::new();
            write_time(&mut text, micros).unwrap();
            assert_eq!(text, expected);
        }
    }
}
