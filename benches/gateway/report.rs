//! The tables.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::load::Window;
use crate::{Case, Options, Subject};

/// All windows so far.
#[derive(Default)]
pub(crate) struct Measured {
    windows: BTreeMap<(Case, Subject), Vec<Window>>,
    loops: BTreeMap<usize, Vec<f64>>,
}

impl Measured {
    pub(crate) fn note(&mut self, case: Case, subject: Subject, window: Window) {
        self.windows.entry((case, subject)).or_default().push(window);
    }

    pub(crate) fn note_loop(&mut self, bytes: usize, rate: f64) {
        self.loops.entry(bytes).or_default().push(rate);
    }

    /// The median of each figure of a subject.
    fn median(&self, case: Case, subject: Subject) -> Option<Window> {
        let windows = self.windows.get(&(case, subject))?;
        let time = |of: fn(&Window) -> Duration| median(windows.iter().map(of), Duration::cmp);
        Some(Window {
            count: windows.iter().map(|window| window.count).sum(),
            rate: median(windows.iter().map(|window| window.rate), f64::total_cmp),
            p50: time(|window| window.p50),
            p99: time(|window| window.p99),
            cpu: crate::cpu::Shares {
                token: time(|window| window.cpu.token),
                server: time(|window| window.cpu.server),
            },
        })
    }
}

pub(crate) fn median<T: Copy + Default>(
    values: impl Iterator<Item = T>,
    order: impl FnMut(&T, &T) -> std::cmp::Ordering,
) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable_by(order);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Everything that was measured, to be read.
pub(crate) struct Tables<'a> {
    pub(crate) options: &'a Options,
    pub(crate) measured: &'a Measured,
}

impl fmt::Display for Tables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        let audit = self.options.audit.as_ref().map_or_else(
            || "no audit".to_owned(),
            |file| format!("no audit but where it is named, in {}", file.display()),
        );
        writeln!(f)?;
        writeln!(
            f,
            "Encrypt, signed ACS3-HMAC-SHA256; {} windows of {} s each, medians; {processors} \
             processors, shared with the load; the log goes as JSON to a file in memory; {audit}",
            self.options.rounds, self.options.seconds,
        )?;
        self.figures(f)?;
        self.ratios(f)
    }
}

impl Tables<'_> {
    fn figures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        writeln!(
            f,
            "|  bytes | connections | subject  |  calls/s | p50 µs | p99 µs | CPU µs/call: server | token |"
        )?;
        writeln!(
            f,
            "|-------:|------------:|----------|---------:|-------:|-------:|--------------------:|------:|"
        )?;
        for case in self.options.cases() {
            for subject in Subject::ALL {
                let Some(window) = self.measured.median(case, subject) else { continue };
                writeln!(
                    f,
                    "| {:6} | {:11} | {:8} | {:8.0} | {:6} | {:6} | {:19.1} | {:5.1} |",
                    case.bytes,
                    case.connections,
                    format!("{subject:?}").to_lowercase(),
                    window.rate,
                    window.p50.as_micros(),
                    window.p99.as_micros(),
                    micros(window.cpu.server),
                    micros(window.cpu.token),
                )?;
            }
        }
        writeln!(f)?;
        for (bytes, rates) in &self.measured.loops {
            let rate = median(rates.iter().copied(), f64::total_cmp);
            writeln!(f, "The token alone, {bytes} bytes in a plain loop: {rate:.0} calls/s")?;
        }
        Ok(())
    }

    fn ratios(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        writeln!(
            f,
            "|  bytes | connections | audited/full | full/empty | full/raw | instance/full | instance/raw |"
        )?;
        writeln!(
            f,
            "|-------:|------------:|-------------:|-----------:|---------:|--------------:|-------------:|"
        )?;
        for case in self.options.cases() {
            let rate = |subject| self.measured.median(case, subject).map(|window| window.rate);
            let ratio = |subject, other| match (rate(subject), rate(other)) {
                (Some(one), Some(other)) => format!("{:.0} %", 100.0 * one / other),
                _ => "-".to_owned(),
            };
            writeln!(
                f,
                "| {:6} | {:11} | {:>12} | {:>10} | {:>8} | {:>13} | {:>12} |",
                case.bytes,
                case.connections,
                ratio(Subject::Audited, Subject::Full),
                ratio(Subject::Full, Subject::Empty),
                ratio(Subject::Full, Subject::Raw),
                ratio(Subject::Instance, Subject::Full),
                ratio(Subject::Instance, Subject::Raw),
            )?;
        }
        Ok(())
    }
}

pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
