//! The numbers of this process: one registry, and a method for each thing that is counted.
//!
//! It knows names, labels and help; `docs/reference/metrics.md` is written from the same lines. It
//! must not know who counts, nor have a label with a value that a caller chooses: no key id, no
//! user, no address.

use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

/// The media type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds in seconds: a software token answers in under a millisecond, a deadline is seconds.
const BUCKETS: [f64; 14] =
    [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0];

/// How a request ended, as a class of its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the values as they stand in the text")]
pub enum RequestOutcome {
    /// It was answered with success.
    ok,
    /// The caller was refused: any status from 400 to 499 but 429.
    refused,
    /// The caller asked too often: 429.
    throttled,
    /// The gateway could not do it: 500 and above.
    failed,
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

/// Which limit a new connection came up against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the values as they stand in the text")]
pub enum ConnectionLimit {
    /// That of all connections.
    connections,
    /// That of its source.
    source,
}

/// Why a connection came to no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the values as they stand in the text")]
pub enum ConnectionFailure {
    /// The client's alert: it does not know the CA.
    unknown_ca,
    /// The client's alert: it refuses the certificate.
    certificate_refused,
    /// No version of TLS that both sides speak.
    no_shared_version,
    /// No cipher, group or signature scheme that both sides take.
    no_shared_cipher,
    /// No protocol inside TLS that both sides speak.
    no_shared_protocol,
    /// No certificate of the client, or one that is not let in.
    client_certificate,
    /// Another fault of a TLS handshake.
    handshake_failed,
    /// The client ended it after its first bytes.
    closed,
    /// The client did not go on in time after its first bytes.
    timeout,
    /// Plain HTTP where TLS is spoken.
    plain_http,
    /// A TLS greeting where HTTP is spoken.
    tls_client_hello,
    /// A header of the PROXY protocol.
    proxy_header,
    /// HTTP/2.
    http2,
    /// Another protocol.
    not_http,
    /// A head that cannot be read.
    malformed_request,
    /// A head that is too large.
    header_too_large,
}

impl fmt::Display for ConnectionFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The variants are named as the label's values.
        fmt::Debug::fmt(self, f)
    }
}

/// What came of a key version's invocation budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the values as they stand in the text")]
pub enum BudgetEvent {
    /// It is worn so far that operators should know.
    warned,
    /// It is leased to its end.
    exhausted,
}

/// Which of the token's queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the values as they stand in the text")]
pub enum Queue {
    /// That of everything that uses keys.
    calls,
    /// That of making and destroying keys.
    changes,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    operation: &'static str,
    outcome: RequestOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit: Limit,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectionLimitLabels {
    limit: ConnectionLimit,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectionFailureLabels {
    reason: ConnectionFailure,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BudgetEventLabels {
    event: BudgetEvent,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabels {
    queue: Queue,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

/// For a metric that may be absent, which only a family can be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NoLabels {}

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    descriptions: Vec<Description>,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<OperationLabels, Histogram>,
    token_seconds: Family<OperationLabels, Histogram>,
    throttled: Family<LimitLabels, Counter>,
    authentication_failures: Family<CodeLabels, Counter>,
    replay_journal_errors: Counter,
    iv_budget: Family<BudgetEventLabels, Counter>,
    panics: Counter,
    policy_out_of_steps: Counter,
    connections: Gauge,
    connections_refused: Family<ConnectionLimitLabels, Counter>,
    connections_evicted: Counter,
    connection_failures: Family<ConnectionFailureLabels, Counter>,
    resent_requests: Counter,
    aggregated_refusals: Counter,
    tls_handshake_failures: Counter,
    tls_reload_failures: Counter,
    certificate_days_left: Family<NoLabels, Gauge<f64, AtomicU64>>,
    token_ready: Gauge,
    unverified_ciphertexts: Counter,
    random_generator_failures: Counter,
    token_disconnects: Counter,
    token_sessions: Gauge,
    token_queue: Family<QueueLabels, Gauge>,
    store_ready: Gauge,
    store_write_failures: Counter,
    damaged_rows: Gauge,
    store_stale: Gauge,
    clock_jumps: Counter,
    destruction_hold_seconds: Gauge,
    audit_sequence: Gauge,
    audit_waiting: Gauge,
    audit_pending_outcomes: Gauge,
    audit_failures: Counter,
    audit_file_renamed: Gauge,
    audit_discontinued: Gauge,
    audit_forward_waiting: Gauge,
    audit_forward_lost: Counter,
}

/// How the audit does, when somebody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditState {
    /// The number of the last record on disk.
    pub sequence: u64,
    /// Records that wait to be written.
    pub waiting: usize,
    /// Outcomes of changes that could not be written yet.
    pub pending_outcomes: u64,
    /// Writes that failed.
    pub failures: u64,
    /// Whether its path leads to another file than the one that is written.
    pub is_moved: bool,
    /// Whether this process began without records that the store knows of.
    pub is_discontinued: bool,
    /// Writes that the forwarding target has not taken yet.
    pub forward_waiting: u64,
    /// Writes that the forwarding target never got.
    pub forward_lost: u64,
}

/// A metric as its page tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// The whole name.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says, in a sentence.
    pub help: &'static str,
}

/// The metrics of this process.
pub fn metrics() -> &'static Metrics {
    static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);
    &METRICS
}

impl Metrics {
    #[expect(clippy::too_many_lines, reason = "a table, metric by metric")]
    fn new() -> Self {
        let mut registrar = Registrar::default();
        let build = Family::<BuildLabels, Gauge>::default();
        build.get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION") }).set(1);
        registrar.gauge(
            "hsmgate_build_info",
            &["version"],
            "1, with the version of the program",
            &build,
        );
        Self {
            requests: registrar.counter(
                "hsmgate_requests_total",
                &["operation", "outcome"],
                "Requests that were answered; operation is - where none was found, outcome is ok, \
                 refused (4xx), throttled (429) or failed (5xx)",
            ),
            request_seconds: registrar.histogram(
                "hsmgate_request_duration_seconds",
                "Time from a whole head to the answer",
            ),
            token_seconds: registrar.histogram(
                "hsmgate_request_token_duration_seconds",
                "The part of it in which a thread worked in the token, waiting in the queue apart; \
                 requests that never came to the token are left out",
            ),
            throttled: registrar.counter(
                "hsmgate_throttled_total",
                &["limit"],
                "Requests refused as too many; limit is calls (of an account and operation), \
                 principal_calls (of a principal and operation), \
                 authentication (failures of a source), token (calls that wait for it) or key_pairs \
                 (data key pairs at one time)",
            ),
            authentication_failures: registrar.counter(
                "hsmgate_authentication_failures_total",
                &["code"],
                "Requests refused before it was proven who sent them, over either protocol, by the \
                 code of the answer: signature, AccessKey or client key, time, nonce, or a request that \
                 could not be read so far",
            ),
            replay_journal_errors: registrar.counter(
                "hsmgate_replay_journal_errors_total",
                &[],
                "Nonces that could not be written down; their requests were refused with 503",
            ),
            iv_budget: registrar.counter(
                "hsmgate_iv_budget_events_total",
                &["event"],
                "Key versions, since the start, that have encrypted as often as crypto.iv_warn_at \
                 (event is warned), or that will soon encrypt no more because of \
                 crypto.iv_refuse_at (exhausted); the log names them",
            ),
            connections: registrar.plain_gauge(
                "hsmgate_connections",
                "Connections that are open, those of the admin listener included",
            ),
            connections_refused: registrar.counter(
                "hsmgate_connections_refused_total",
                &["limit"],
                "Connections closed at once; limit is connections (limits.connections) or source \
                 (limits.connections_per_source)",
            ),
            connections_evicted: registrar.counter(
                "hsmgate_connections_evicted_total",
                &[],
                "Idle connections closed to make room for new ones",
            ),
            connection_failures: registrar.counter(
                "hsmgate_connection_failures_total",
                &["reason"],
                "Connections whose client has sent something that came to no request; reason is \
                 unknown_ca or certificate_refused (an alert of the client about the certificate), \
                 no_shared_version, no_shared_cipher, no_shared_protocol, client_certificate (none, or one \
                 that admin.client_ca does not let in), handshake_failed, closed or timeout (by the \
                 client), plain_http (to a TLS port), tls_client_hello (to a plain port), proxy_header, http2, \
                 not_http, malformed_request or header_too_large; the log has a line a source and minute \
                 (connection.failed)",
            ),
            resent_requests: registrar.counter(
                "hsmgate_resent_requests_total",
                &[],
                "Requests refused with SignatureNonceUsed that came on another connection within the \
                 minute before: a client sent them again after a connection was cut",
            ),
            aggregated_refusals: registrar.counter(
                "hsmgate_audit_aggregated_refusals_total",
                &[],
                "Refused requests of unproven callers that are counted in a record of their minute in \
                 place of having one of their own",
            ),
            tls_handshake_failures: registrar.counter(
                "hsmgate_tls_handshake_failures_total",
                &[],
                "TLS handshakes that failed or did not end in time",
            ),
            tls_reload_failures: registrar.counter(
                "hsmgate_tls_reload_failures_total",
                &[],
                "Certificate files that could not be used; the old ones are still served",
            ),
            certificate_days_left: registrar.days(
                "hsmgate_certificate_days_left",
                "Days until the TLS certificate runs out; absent over plain HTTP",
            ),
            token_ready: registrar.plain_gauge(
                "hsmgate_token_ready",
                "1 while calls go to the token, 0 while it is away",
            ),
            random_generator_failures: registrar.counter(
                "hsmgate_token_random_failures_total",
                &[],
                "Draws from the token's random generator that no living generator gives; the token \
                 is not used until its draws are well again",
            ),
            unverified_ciphertexts: registrar.counter(
                "hsmgate_token_unverified_ciphertexts_total",
                &[],
                "Ciphertexts that the token made and did not open again; nobody got them",
            ),
            panics: registrar.counter(
                "hsmgate_panics_total",
                &[],
                "Requests that failed in a panic, which is a defect of the gateway; their outcome is not \
                 known, and they are not in hsmgate_requests_total",
            ),
            policy_out_of_steps: registrar.counter(
                "hsmgate_policy_out_of_steps_total",
                &[],
                "Decisions that were denials because the policies of principal, session and key take \
                 more steps than a decision has; the log names them",
            ),
            token_disconnects: registrar.counter(
                "hsmgate_token_disconnects_total",
                &[],
                "Times that the token was lost and had to be brought back",
            ),
            token_sessions: registrar.plain_gauge(
                "hsmgate_token_sessions",
                "Threads that work in the token, each with a session of its own; 0 while it is \
                 brought back",
            ),
            token_queue: registrar.family_gauge(
                "hsmgate_token_queue_depth",
                &["queue"],
                "Jobs that wait for a token thread; queue is calls or changes",
            ),
            store_ready: registrar.plain_gauge(
                "hsmgate_store_ready",
                "1 while the store keeps changes, 0 from the first that could not be written until one \
                 is, and while its file is gone, another one or damaged",
            ),
            store_write_failures: registrar.counter(
                "hsmgate_store_write_failures_total",
                &[],
                "Changes that the store could not write, those included that the gateway tries to find \
                 out whether it can again",
            ),
            damaged_rows: registrar.plain_gauge(
                "hsmgate_store_damaged_rows",
                "Rows of the database that cannot be read and are left out; hsmgate doctor names them",
            ),
            store_stale: registrar.plain_gauge(
                "hsmgate_store_stale",
                "1 while what other processes have changed cannot all be taken over: what they took away \
                 may still be in force",
            ),
            clock_jumps: registrar.counter(
                "hsmgate_clock_jumps_total",
                &[],
                "Jumps of the clock: by more than an hour while the gateway runs, or by more than 7 \
                 days between the last recorded time and a start",
            ),
            destruction_hold_seconds: registrar.plain_gauge(
                "hsmgate_destruction_hold_seconds",
                "Seconds of running time for which destructions whose date has come still wait, \
                 after a jump of the clock; 0 is no wait",
            ),
            audit_sequence: registrar.plain_gauge(
                "hsmgate_audit_sequence",
                "The number of the last audit record on disk; 0 without an audit",
            ),
            audit_waiting: registrar.plain_gauge(
                "hsmgate_audit_waiting_records",
                "Audit records that wait to be written, each with an answer behind it",
            ),
            audit_pending_outcomes: registrar.plain_gauge(
                "hsmgate_audit_pending_outcomes",
                "Outcomes of changes that could not be recorded yet and are kept in memory",
            ),
            audit_failures: registrar.counter(
                "hsmgate_audit_write_failures_total",
                &[],
                "Writes of audit records that failed; their requests were refused with 503",
            ),
            audit_file_renamed: registrar.plain_gauge(
                "hsmgate_audit_file_renamed",
                "1 while records go to a file that was renamed or removed and not yet rotated",
            ),
            audit_discontinued: registrar.plain_gauge(
                "hsmgate_audit_discontinued",
                "1 when this start found an audit file without the records that the store knows of",
            ),
            audit_forward_waiting: registrar.plain_gauge(
                "hsmgate_audit_forward_waiting_writes",
                "Writes that the target of audit.forward_to has not taken yet",
            ),
            audit_forward_lost: registrar.counter(
                "hsmgate_audit_forward_lost_writes_total",
                &[],
                "Writes that the target of audit.forward_to never received",
            ),
            registry: registrar.registry,
            descriptions: registrar.descriptions,
        }
    }

    /// Counts a request that was answered. `token` is the time in the token, zero for none.
    pub fn request(
        &self,
        operation: &'static str,
        outcome: RequestOutcome,
        total: Duration,
        token: Duration,
    ) {
        self.requests.get_or_create(&RequestLabels { operation, outcome }).inc();
        let labels = OperationLabels { operation };
        self.request_seconds.get_or_create(&labels).observe(total.as_secs_f64());
        if !token.is_zero() {
            self.token_seconds.get_or_create(&labels).observe(token.as_secs_f64());
        }
    }

    /// Counts a request that came up against a limit.
    pub fn throttled(&self, limit: Limit) {
        self.throttled.get_or_create(&LimitLabels { limit }).inc();
    }

    /// Counts a caller who did not prove to be who it claims to be.
    pub fn authentication_failed(&self, code: &'static str) {
        self.authentication_failures.get_or_create(&CodeLabels { code }).inc();
    }

    /// Counts a nonce that could not be written down.
    pub fn replay_journal_failed(&self) {
        self.replay_journal_errors.inc();
    }

    /// Counts a key version that came to a threshold of its invocation budget.
    pub fn iv_budget(&self, event: BudgetEvent) {
        self.iv_budget.get_or_create(&BudgetEventLabels { event }).inc();
    }

    /// Counts a draw that shows the token's random generator dead or stuck.
    pub fn random_generator_failed(&self) {
        self.random_generator_failures.inc();
    }

    /// Counts a fresh ciphertext that does not open.
    pub fn ciphertext_unverified(&self) {
        self.unverified_ciphertexts.inc();
    }

    /// Counts a connection for as long as what it gives lives.
    pub fn connection(&'static self) -> OpenConnection {
        self.connections.inc();
        OpenConnection(&self.connections)
    }

    /// Counts a connection beyond a limit.
    pub fn connection_refused(&self, limit: ConnectionLimit) {
        self.connections_refused.get_or_create(&ConnectionLimitLabels { limit }).inc();
    }

    /// Counts an idle connection that was closed to make room.
    pub fn connection_evicted(&self) {
        self.connections_evicted.inc();
    }

    /// Counts a connection that came to no request.
    pub fn connection_failed(&self, reason: ConnectionFailure) {
        self.connection_failures.get_or_create(&ConnectionFailureLabels { reason }).inc();
    }

    /// Counts a request that was sent again on another connection.
    pub fn request_resent(&self) {
        self.resent_requests.inc();
    }

    /// Counts a refusal without a record of its own.
    pub fn refusal_aggregated(&self) {
        self.aggregated_refusals.inc();
    }

    /// Counts a handshake that came to nothing.
    pub fn tls_handshake_failed(&self) {
        self.tls_handshake_failures.inc();
    }

    /// Counts a certificate that could not be read anew.
    pub fn tls_reload_failed(&self) {
        self.tls_reload_failures.inc();
    }

    /// Counts a request that failed in a panic.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// Counts a decision that was a denial for what its policies cost.
    pub fn policy_out_of_steps(&self) {
        self.policy_out_of_steps.inc();
    }

    /// Counts a loss of the token.
    pub fn token_lost(&self) {
        self.token_disconnects.inc();
    }

    /// Counts a jump of the clock.
    pub fn clock_jumped(&self) {
        self.clock_jumps.inc();
    }

    /// Sets how long due destructions still wait.
    pub fn set_destruction_hold(&self, left: Duration) {
        self.destruction_hold_seconds.set(i64::try_from(left.as_secs()).unwrap_or(i64::MAX));
    }

    /// Sets what is only looked at when somebody asks: the days of the certificate.
    pub fn set_certificate_days_left(&self, days: f64) {
        self.certificate_days_left.get_or_create(&NoLabels {}).set(days);
    }

    /// Sets what is only looked at when somebody asks: the state of the token.
    pub fn set_token(&self, is_ready: bool, sessions: usize, waiting: [(Queue, usize); 2]) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.token_ready.set(i64::from(is_ready));
        self.token_sessions.set(number(sessions));
        for (queue, count) in waiting {
            self.token_queue.get_or_create(&QueueLabels { queue }).set(number(count));
        }
    }

    /// Counts a change that the store could not write.
    pub fn store_write_failed(&self) {
        self.store_write_failures.inc();
    }

    /// Sets what is only looked at when somebody asks: whether the store keeps changes.
    pub fn set_store_ready(&self, is_ready: bool) {
        self.store_ready.set(i64::from(is_ready));
    }

    /// Sets what is only looked at when somebody asks: how many rows of the database are damaged, and
    /// whether changes of other processes cannot be taken over.
    pub fn set_store(&self, damaged_rows: usize, is_stale: bool) {
        self.damaged_rows.set(i64::try_from(damaged_rows).unwrap_or(i64::MAX));
        self.store_stale.set(i64::from(is_stale));
    }

    /// Sets what is only looked at when somebody asks: how the audit does.
    pub fn set_audit(&self, state: &AuditState) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.audit_sequence.set(number(state.sequence));
        self.audit_waiting.set(i64::try_from(state.waiting).unwrap_or(i64::MAX));
        self.audit_pending_outcomes.set(number(state.pending_outcomes));
        self.audit_failures.inner().store(state.failures, Ordering::Relaxed);
        self.audit_file_renamed.set(i64::from(state.is_moved));
        self.audit_discontinued.set(i64::from(state.is_discontinued));
        self.audit_forward_waiting.set(number(state.forward_waiting));
        self.audit_forward_lost.inner().store(state.forward_lost, Ordering::Relaxed);
    }

    /// All metrics in the text form of OpenMetrics, which Prometheus reads.
    ///
    /// # Errors
    /// Never, as far as the library keeps its word.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Every metric.
    pub fn descriptions(&self) -> &[Description] {
        &self.descriptions
    }
}

/// A connection that is counted as open.
#[derive(Debug)]
pub struct OpenConnection(&'static Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Registers metrics, and keeps what their page says.
#[derive(Default)]
struct Registrar {
    registry: Registry,
    descriptions: Vec<Description>,
}

impl Registrar {
    fn add(&mut self, metric: impl Metric, description: Description) {
        // The library adds the ending of a counter, and a full stop to every help.
        let name = description.name.strip_suffix("_total").unwrap_or(description.name);
        self.registry.register(name, description.help, metric);
        self.descriptions.push(description);
    }

    fn counter<M: Metric + Default + Clone>(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> M {
        let metric = M::default();
        self.add(metric.clone(), Description { name, kind: "counter", labels, help });
        metric
    }

    fn histogram(
        &mut self,
        name: &'static str,
        help: &'static str,
    ) -> Family<OperationLabels, Histogram> {
        let metric =
            Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let labels = &["operation"];
        self.add(metric.clone(), Description { name, kind: "histogram", labels, help });
        metric
    }

    fn gauge(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
        metric: &(impl Metric + Clone),
    ) {
        self.add(metric.clone(), Description { name, kind: "gauge", labels, help });
    }

    fn plain_gauge(&mut self, name: &'static str, help: &'static str) -> Gauge {
        let metric = Gauge::default();
        self.gauge(name, &[], help, &metric);
        metric
    }

    fn family_gauge(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Family<QueueLabels, Gauge> {
        let metric = Family::default();
        self.gauge(name, labels, help, &metric);
        metric
    }

    fn days(
        &mut self,
        name: &'static str,
        help: &'static str,
    ) -> Family<NoLabels, Gauge<f64, AtomicU64>> {
        let metric = Family::default();
        self.gauge(name, &[], help, &metric);
        metric
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_stands_in_the_text_under_its_name() {
        let metrics = Metrics::new();
        let (total, token) = (Duration::from_millis(3), Duration::from_millis(1));
        metrics.request("Encrypt", RequestOutcome::ok, total, token);
        metrics.request("Encrypt", RequestOutcome::refused, total, Duration::ZERO);
        metrics.throttled(Limit::authentication);
        metrics.authentication_failed("SignatureDoesNotMatch");
        metrics.set_certificate_days_left(12.5);
        metrics.set_token(true, 4, [(Queue::calls, 2), (Queue::changes, 0)]);
        metrics.set_audit(&AuditState {
            sequence: 7,
            waiting: 1,
            pending_outcomes: 2,
            failures: 3,
            is_moved: true,
            is_discontinued: false,
            forward_waiting: 4,
            forward_lost: 5,
        });
        let text = metrics.text().unwrap();
        for line in [
            "hsmgate_requests_total{operation=\"Encrypt\",outcome=\"refused\"} 1",
            "hsmgate_request_duration_seconds_count{operation=\"Encrypt\"} 2",
            "hsmgate_request_token_duration_seconds_count{operation=\"Encrypt\"} 1",
            "hsmgate_throttled_total{limit=\"authentication\"} 1",
            "hsmgate_authentication_failures_total{code=\"SignatureDoesNotMatch\"} 1",
            "hsmgate_certificate_days_left 12.5",
            "hsmgate_token_queue_depth{queue=\"calls\"} 2",
            "hsmgate_token_sessions 4",
            "hsmgate_audit_sequence 7",
            "hsmgate_audit_waiting_records 1",
            "hsmgate_audit_pending_outcomes 2",
            "hsmgate_audit_write_failures_total 3",
            "hsmgate_audit_file_renamed 1",
            "hsmgate_audit_discontinued 0",
            "hsmgate_audit_forward_waiting_writes 4",
            "hsmgate_audit_forward_lost_writes_total 5",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
    }

    #[test]
    fn every_metric_in_the_text_is_described_with_its_kind() {
        let metrics = Metrics::new();
        metrics.request("Encrypt", RequestOutcome::ok, Duration::ZERO, Duration::from_millis(1));
        let text = metrics.text().unwrap();
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').unwrap();
            let is_it = |descriptions: &&Description| {
                descriptions.name.strip_suffix("_total").unwrap_or(descriptions.name) == name
            };
            let descriptions = metrics.descriptions().iter().find(is_it).unwrap();
            assert_eq!(descriptions.kind, kind, "{name}");
        }
    }
}
