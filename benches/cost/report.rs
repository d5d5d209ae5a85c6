//! The table: medians, and ratios with their spread.

use std::fmt;
use std::time::Duration;

use crate::contenders::Contender;
use crate::load::Window;
use crate::rows::{Bursts, Row};

/// The median of ratios, with the quartiles around it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

/// What a line compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// The gateway and the minimal program.
    Gateway,
    /// The same, without the time of an RSA verification.
    LessVerification,
    /// Two processes of the gateway: the noise.
    Again,
    /// A gateway with a durable audit, and the gateway.
    Durable,
    /// A gateway with many keys, which are used in turn, and the gateway, of which one key is used.
    ManyKeys,
}

/// A figure of a line: the medians of both contenders, and the ratio of each pair of bursts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    own: f64,
    base: f64,
    pub(crate) ratio: Spread,
}

/// A line of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    pub(crate) row: Row,
    pub(crate) connections: usize,
    pub(crate) comparison: Comparison,
    /// Processor time of a call.
    pub(crate) cpu: Figure,
    /// p50, p99 and calls a second.
    others: Option<[Figure; 3]>,
}

pub(crate) const HEAD: &str = "\
| call | connections | compared | CPU µs | ratio | p50 µs | ratio | p99 µs | ratio | calls/s | ratio |
|---|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|";

impl Spread {
    pub(crate) fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_unstable_by(f64::total_cmp);
        let at = |index: usize| figures.get(index).copied().unwrap_or_default();
        let last = figures.len().saturating_sub(1);
        // A quartile that falls between two figures is interpolated.
        let quartile = |number: usize| {
            let (index, quarters) = (last * number / 4, last * number % 4);
            let (lower, upper) = (at(index), at((index + 1).min(last)));
            lower
                + (upper - lower)
                    * [0.0, 0.25, 0.5, 0.75].get(quarters).copied().unwrap_or_default()
        };
        Self { low: quartile(1), median: quartile(2), high: quartile(3) }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2}–{:.2})", self.median, self.low, self.high)
    }
}

impl Figure {
    fn of(pairs: &[(Window, Window)], of: impl Fn(&Window) -> f64) -> Self {
        let median = |figures: Vec<f64>| Spread::of(figures).median;
        Self {
            own: median(pairs.iter().map(|(own, _base)| of(own)).collect()),
            base: median(pairs.iter().map(|(_own, base)| of(base)).collect()),
            ratio: Spread::of(pairs.iter().map(|(own, base)| of(own) / of(base)).collect()),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = usize::from(self.base < 100.0);
        write!(f, " {:.digits$} / {:.digits$} | {} |", self.own, self.base, self.ratio)
    }
}

impl Comparison {
    fn of(contender: Contender) -> Option<Self> {
        match contender {
            Contender::Gateway => Some(Self::Gateway),
            Contender::Again => Some(Self::Again),
            Contender::Durable => Some(Self::Durable),
            Contender::ManyKeys => Some(Self::ManyKeys),
            Contender::Minimal => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway / minimal",
            Self::LessVerification => "gateway less one RSA-2048 verification / minimal",
            Self::Again => "gateway again / gateway",
            Self::Durable => "gateway, durable audit / gateway",
            Self::ManyKeys => "gateway, many keys / gateway, one key",
        }
    }
}

impl Line {
    /// The lines of a row.
    pub(crate) fn all(bursts: &Bursts) -> Vec<Self> {
        let mut lines = Vec::new();
        for (contender, own) in &bursts.windows {
            let base = contender.base().and_then(|base| bursts.windows.get(&base));
            let (Some(base), Some(comparison)) = (base, Comparison::of(*contender)) else {
                continue;
            };
            let pairs: Vec<_> = own.iter().copied().zip(base.iter().copied()).collect();
            let line = |comparison, cpu, others| Self {
                row: bursts.row,
                connections: bursts.connections,
                comparison,
                cpu,
                others,
            };
            let others = [
                Figure::of(&pairs, |window| micros(window.p50)),
                Figure::of(&pairs, |window| micros(window.p99)),
                Figure::of(&pairs, |window| window.rate),
            ];
            lines.push(line(comparison, Figure::of(&pairs, cpu), Some(others)));
            if comparison == Comparison::Gateway && !bursts.verifications.is_empty() {
                let less = pairs.iter().zip(&bursts.verifications);
                let less = less.map(|((own, base), time)| (without(*own, *time), *base));
                let less: Vec<_> = less.collect();
                lines.push(line(Comparison::LessVerification, Figure::of(&less, cpu), None));
            }
        }
        lines
    }

    /// The ratio of the calls a second.
    pub(crate) fn rate(&self) -> Option<Spread> {
        self.others.map(|[_p50, _p99, rate]| rate.ratio)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (call, compared) = (self.row.name(), self.comparison.name());
        write!(f, "| {call} | {} | {compared} |{}", self.connections, self.cpu)?;
        match &self.others {
            Some(others) => others.iter().try_for_each(|figure| figure.fmt(f)),
            None => f.write_str(" | | | | | |"),
        }
    }
}

/// The row with the time of an RSA verification alone.
pub(crate) fn verification_row(times: &[Duration]) -> String {
    let Spread { low, median, high } = Spread::of(times.iter().copied().map(micros).collect());
    format!("| one RSA-2048 verification | | | {median:.1} ({low:.1}–{high:.1}) | | | | | | | |")
}

/// The share of the calls a second that a durable audit leaves.
pub(crate) fn durable(bursts: &Bursts, lines: &[Line]) -> Option<String> {
    let line = lines.iter().find(|line| line.comparison == Comparison::Durable)?;
    let (share, calls) = (line.rate()?, bursts.calls_a_sync?);
    Some(format!("{}: {share}, {calls:.1} calls a sync", line.row.name()))
}

fn cpu(window: &Window) -> f64 {
    micros(window.cpu.token + window.cpu.server)
}

fn without(mut window: Window, time: Duration) -> Window {
    window.cpu.server = window.cpu.server.saturating_sub(time);
    window
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
