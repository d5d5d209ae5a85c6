//! The registry of metrics.
//!
//! Each room declares its metrics with `metrics!` in its `metrics.rs`, and `app` registers all of them
//! in one registry. This room does not know what the rooms count. `docs/reference/metrics.md` is
//! generated from the same declarations.
//!
//! A label never has a value that a caller chooses: no key id, no user, no address.

use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use prometheus_client::encoding::{
    EncodeLabelSet, EncodeLabelValue, EncodeMetric, MetricEncoder, text,
};
use prometheus_client::metrics::MetricType;
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Metric;

/// A text format of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsFormat {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The older text format of Prometheus, in which a counter has its suffix in each line.
    Prometheus,
}

impl MetricsFormat {
    const OPEN_METRICS: &str = "application/openmetrics-text";

    /// The format for a client with this header `Accept`: OpenMetrics only if it asks for it.
    pub fn accepted_by(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains(Self::OPEN_METRICS) => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }

    /// Its media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The end of the name of each counter.
const COUNTER_SUFFIX: &str = "_total";

/// Upper bounds in seconds: a software token answers in under a millisecond, a deadline is seconds.
const BUCKETS: [f64; 14] =
    [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0];

/// Declares the metrics of a room: a struct with a field for each metric, which `new` registers.
/// The default of the struct is not registered: it counts, but no one reads it.
///
/// The comment of a field is the help text, without its full stop. The name of the metric and the
/// names of its labels follow the type. A line with `+` is a metric that several rooms share.
macro_rules! metrics {
    (
        $(#[$about:meta])*
        pub struct $Metrics:ident {
            $($(#[doc = $help:literal])+ $field:ident: $type:ty = $name:literal [$($label:literal),*],)+
            $(+ $shared:ident: $Shared:ty,)*
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Default)]
        pub struct $Metrics {
            $($(#[doc = $help])+ pub(super) $field: $type,)+
            $(pub(super) $shared: $Shared,)*
        }

        impl $Metrics {
            /// Registers all of them.
            pub fn new(registry: &mut crate::telemetry::Registry) -> Self {
                Self {
                    $($field: registry.register($name, &[$($label),*], concat!($($help),+)),)+
                    $($shared: registry.$shared(),)*
                }
            }
        }
    };
}
pub(crate) use metrics;

/// Declares sets of labels, each with its fields in one line.
macro_rules! label_sets {
    ($($(#[$about:meta])* $Set:ident { $($label:ident: $value:ty),* })+) => {$(
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, prometheus_client::encoding::EncodeLabelSet)]
        pub(super) struct $Set { $(pub(super) $label: $value),* }
    )+};
}
pub(crate) use label_sets;

/// For a metric that may be absent, which only a family can be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct NoLabels {}

/// The metrics of a process.
#[derive(Debug)]
pub struct Registry {
    metrics: prometheus_client::registry::Registry,
    descriptions: Vec<Description>,
    throttled: Throttled,
}

/// A metric as `docs/reference/metrics.md` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The whole name.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// Its meaning, in a sentence without a full stop.
    pub help: &'static str,
}

label_sets! {
    BuildLabels { version: &'static str }
    LimitLabels { limit: Limit }
}

impl Default for Registry {
    /// A registry with the version of the program and with [`Throttled`].
    fn default() -> Self {
        let (metrics, throttled) = Default::default();
        let mut registry = Self { metrics, descriptions: Vec::new(), throttled };
        let help = "1, with the version of the program";
        let build: Family<BuildLabels, Gauge> =
            registry.register("hsmgate_build_info", &["version"], help);
        build.get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.throttled = Throttled(registry.register(
            "hsmgate_throttled_total",
            &["limit"],
            "Requests that were refused because of a limit; limit is calls (of an account and \
             operation), principal_calls (of a principal and operation), authentication (failures \
             of a source), token (calls that wait for it) or key_pairs (data key pairs at one time)",
        ));
        registry
    }
}

impl Registry {
    /// A new metric, registered under a name with these labels.
    pub(crate) fn register<M: Metric + Default + Clone>(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> M {
        let (metric, help) = (M::default(), help.trim_start());
        // The library appends the suffix of a counter and the full stop of a help text.
        self.metrics.register(name.trim_end_matches(COUNTER_SUFFIX), help, metric.clone());
        let kind = metric.metric_type().as_str().to_owned();
        self.descriptions.push(Description { name, kind, labels, help });
        metric
    }

    /// The counter of refused requests, which several rooms share.
    pub fn throttled(&self) -> Throttled {
        self.throttled.clone()
    }

    /// All metrics as a text.
    ///
    /// # Errors
    /// When the library cannot write to a string.
    pub fn text(&self, format: MetricsFormat) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.metrics)?;
        Ok(match format {
            MetricsFormat::OpenMetrics => text,
            MetricsFormat::Prometheus => self.with_suffixes(&text),
        })
    }

    /// The text of OpenMetrics with the whole names of counters in the lines about them.
    fn with_suffixes(&self, text: &str) -> String {
        let counters: HashSet<&str> = self
            .descriptions
            .iter()
            .filter(|description| description.kind == MetricType::Counter.as_str())
            .filter_map(|description| description.name.strip_suffix(COUNTER_SUFFIX))
            .collect();
        let mut lines = String::with_capacity(text.len());
        for line in text.lines().filter(|line| *line != "# EOF") {
            let about = ["# HELP ", "# TYPE "].into_iter().find_map(|about| {
                line.strip_prefix(about)?.split_once(' ').map(|(name, rest)| (about, name, rest))
            });
            match about {
                Some((about, name, rest)) if counters.contains(name) => {
                    lines.extend([about, name, COUNTER_SUFFIX, " ", rest, "\n"]);
                }
                _ => lines.extend([line, "\n"]),
            }
        }
        lines
    }

    /// Every metric, in the order of registration.
    pub fn descriptions(&self) -> &[Description] {
        &self.descriptions
    }
}

/// Durations by label: a family of histograms.
#[derive(Debug, Clone)]
pub struct Seconds<L: Clone + Eq + Hash>(Family<L, Histogram>);

impl<L: Clone + Eq + Hash> Default for Seconds<L> {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(BUCKETS)))
    }
}

impl<L: Clone + Eq + Hash> Seconds<L> {
    /// Counts a duration.
    pub fn observe(&self, labels: &L, duration: Duration) {
        self.0.get_or_create(labels).observe(duration.as_secs_f64());
    }
}

impl<L: Clone + Eq + Hash + EncodeLabelSet> EncodeMetric for Seconds<L> {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        self.0.metric_type()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Which limit a caller came up against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the values as they stand in the text")]
pub enum Limit {
    /// Calls a second of an account and an operation.
    calls,
    /// Calls a second of a principal and an operation.
    principal_calls,
    /// Failed authentications a second of a source.
    authentication,
    /// Calls that wait for the token.
    token,
    /// Data key pairs being made at one time.
    key_pairs,
}

/// Counts requests that exceed a limit, in all rooms that have one.
#[derive(Debug, Clone, Default)]
pub struct Throttled(Family<LimitLabels, Counter>);

impl Throttled {
    /// Counts a request that exceeds a limit.
    pub fn count(&self, limit: Limit) {
        self.0.get_or_create(&LimitLabels { limit }).inc();
    }
}

/// The value of a gauge. A number that is too large becomes the maximum.
pub fn gauge_value(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
