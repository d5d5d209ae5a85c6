//! Metrics of the HTTP server.

use std::fmt;

use prometheus_client::encoding::EncodeLabelValue;

use crate::telemetry::{Counter, Family, Gauge, NoLabels, label_sets, metrics};

/// The limit that refused a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the values as they stand in the text")]
pub(super) enum ConnectionLimit {
    /// The limit of all connections.
    connections,
    /// The limit of its source.
    source,
}

/// Why no request arrived on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the values as they stand in the text")]
pub(super) enum ConnectionFailure {
    /// The client's alert: it does not know the CA.
    unknown_ca,
    /// The client's alert: it refuses the certificate.
    certificate_refused,
    /// No TLS version that both sides support.
    no_shared_version,
    /// No cipher, group or signature scheme that both sides support.
    no_shared_cipher,
    /// No application protocol (ALPN) that both sides support.
    no_shared_protocol,
    /// The client certificate is missing or not accepted.
    client_certificate,
    /// Another failure of the TLS handshake.
    handshake_failed,
    /// The client closed it after its first bytes.
    closed,
    /// The client timed out after its first bytes.
    timeout,
    /// Plain HTTP on a TLS listener.
    plain_http,
    /// A TLS ClientHello on an HTTP listener.
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

label_sets! {
    ConnectionLimitLabels { limit: ConnectionLimit }
    ConnectionFailureLabels { reason: ConnectionFailure }
    HandshakeLabels { version: &'static str, group: &'static str }
}

metrics! {
    /// Metrics of the HTTP server.
    pub struct ServerMetrics {
        /// Open connections, including those of the admin listener
        connections: Gauge = "hsmgate_connections" [],
        /// Connections that were closed immediately; limit is connections (limits.connections) or
        /// source (limits.connections_per_source)
        connections_refused: Family<ConnectionLimitLabels, Counter> = "hsmgate_connections_refused_total" ["limit"],
        /// Idle connections that were closed for new ones
        connections_evicted: Counter = "hsmgate_connections_evicted_total" [],
        /// Connections on which a client sent something but no valid request; reason is unknown_ca
        /// or certificate_refused (an alert of the client about the certificate),
        /// no_shared_version, no_shared_cipher, no_shared_protocol, client_certificate (missing, or
        /// not accepted by admin.client_ca), handshake_failed, closed or timeout (by the client),
        /// plain_http (on a TLS port), tls_client_hello (on a plain port), proxy_header, http2,
        /// not_http, malformed_request or header_too_large; the log has one line per source and
        /// minute (connection.failed)
        connection_failures: Family<ConnectionFailureLabels, Counter> = "hsmgate_connection_failures_total" ["reason"],
        /// TLS handshakes, with the version and the group of the key exchange; X25519MLKEM768 resists
        /// quantum computers
        tls_handshakes: Family<HandshakeLabels, Counter> = "hsmgate_tls_handshakes_total" ["version", "group"],
        /// TLS handshakes that failed or timed out
        tls_handshake_failures: Counter = "hsmgate_tls_handshake_failures_total" [],
        /// Reloads of certificate files that failed; the previous certificate stays in use
        tls_reload_failures: Counter = "hsmgate_tls_reload_failures_total" [],
        /// Seconds until the TLS certificate expires; absent over plain HTTP
        certificate_left: Family<NoLabels, Gauge> = "hsmgate_certificate_left_seconds" [],
        /// Requests that failed in a panic, which is a defect of the gateway; their outcome is
        /// unknown, and hsmgate_requests_total does not count them
        panics: Counter = "hsmgate_panics_total" [],
    }
}

impl ServerMetrics {
    /// Counts a handshake.
    pub(super) fn count_handshake(&self, version: &'static str, group: &'static str) {
        self.tls_handshakes.get_or_create(&HandshakeLabels { version, group }).inc();
    }

    /// Sets the time until the certificate expires, in seconds.
    pub(super) fn set_certificate_left(&self, seconds: i64) {
        self.certificate_left.get_or_create(&NoLabels {}).set(seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{MetricsFormat, Registry};

    #[test]
    fn what_is_counted_stands_in_the_text_under_its_name() {
        let mut registry = Registry::default();
        let metrics = ServerMetrics::new(&mut registry);
        let text = |registry: &Registry| registry.text(MetricsFormat::Prometheus).unwrap();
        assert!(!text(&registry).contains("\nhsmgate_certificate_left_seconds "));
        metrics.set_certificate_left(1250);
        let text = text(&registry);
        assert!(text.contains("\nhsmgate_certificate_left_seconds 1250\n"), "{text}");
    }
}
