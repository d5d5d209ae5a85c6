//! Connections that carry no request.
//!
//! Their clients report an error, but no audit record or request log mentions it. So each is
//! counted by its reason, and the log has one line for each source and minute, without the bytes
//! that the client sent.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::{AlertDescription, PeerIncompatible};
use tokio::time::Instant;

use super::metrics::{ConnectionFailure, ConnectionFailureLabels, ServerMetrics};
use crate::model::{clock, source_of};

/// The minimum time between two log lines of a source.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// The maximum number of remembered sources, 64 KiB, and so of log lines in a minute. Failures of
/// other sources are counted in the next line.
const MAX_SOURCES: usize = 1024;

/// The number of bytes that identify the protocol of a client.
const PREFIX_BYTES: usize = 16;

/// The start of a PROXY protocol header, version 2.
pub(super) const PROXY_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The start of a PROXY protocol header, version 1.
const PROXY_V1: &[u8] = b"PROXY ";
/// The start of the HTTP/2 preface.
pub(super) const HTTP_2: &[u8] = b"PRI * HTTP/2";
/// The start of every TLS handshake record.
const TLS_HANDSHAKE: &[u8] = b"\x16\x03";

/// The failures on one listener.
#[derive(Debug)]
pub(super) struct Failures {
    /// `api` or `admin`.
    listener: &'static str,
    log: Mutex<FailureLog>,
    metrics: ServerMetrics,
}

#[derive(Debug, Default)]
struct FailureLog {
    sources: HashMap<IpAddr, Source>,
    /// Failures of sources that are not remembered.
    others: u64,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Source {
    /// The time of the last log line.
    at: Instant,
    /// Failures since then.
    more: u64,
}

/// The failures without a log line, which the next line counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LogEntry {
    more: u64,
    others: u64,
}

impl Failures {
    pub(super) fn new(listener: &'static str, metrics: ServerMetrics) -> Self {
        Self { listener, log: Mutex::default(), metrics }
    }

    /// Counts a failure, and logs it unless the source had a line within the last minute.
    pub(super) fn note(
        &self,
        peer: IpAddr,
        failure: ConnectionFailure,
        cause: Option<&(dyn Error + 'static)>,
    ) {
        let labels = ConnectionFailureLabels { reason: failure };
        self.metrics.connection_failures.get_or_create(&labels).inc();
        let line = {
            let mut log = self.log.lock();
            log.line(source_of(peer), clock::timer())
        };
        let Some(LogEntry { more, others }) = line else { return };
        tracing::warn!(
            event = "connection.failed",
            listener = self.listener,
            %peer,
            reason = %failure,
            cause = cause.map(tracing::field::display),
            more,
            others,
            "no request arrived on a connection: {}",
            advice(failure)
        );
    }
}

impl FailureLog {
    /// Returns the log line that is due for a source, if any.
    fn line(&mut self, source: IpAddr, now: Instant) -> Option<LogEntry> {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < LOG_INTERVAL;
        let more = match self.sources.get_mut(&source) {
            Some(known) if is_recent(known.at) => {
                known.more = known.more.saturating_add(1);
                return None;
            }
            Some(known) => std::mem::take(&mut known.more),
            None => {
                if !self.has_room(now) {
                    self.others = self.others.saturating_add(1);
                    return None;
                }
                0
            }
        };
        self.sources.insert(source, Source { at: now, more: 0 });
        Some(LogEntry { more, others: std::mem::take(&mut self.others) })
    }

    /// Whether one more source can be remembered. If the map is full, sources that may have a new
    /// line are removed, at most once a second.
    fn has_room(&mut self, now: Instant) -> bool {
        let is_due = self.swept.is_none_or(|swept| now > swept + Duration::from_secs(1));
        if self.sources.len() >= MAX_SOURCES && is_due {
            self.swept = Some(now);
            self.sources
                .retain(|_source, known| now.saturating_duration_since(known.at) < LOG_INTERVAL);
        }
        self.sources.len() < MAX_SOURCES
    }
}

/// The probable cause, for the operator.
fn advice(failure: ConnectionFailure) -> &'static str {
    match failure {
        ConnectionFailure::unknown_ca => {
            "the client does not trust the CA of this gateway's certificate"
        }
        ConnectionFailure::certificate_refused => {
            "the client refuses this gateway's certificate: its CA, its date, or that it lacks the name \
             which the client uses"
        }
        ConnectionFailure::no_shared_version => "the client speaks none of TLS 1.3 and TLS 1.2",
        ConnectionFailure::no_shared_cipher => {
            "the client offers no cipher, group or signature scheme that this gateway supports"
        }
        ConnectionFailure::no_shared_protocol => {
            "the client requires another protocol inside TLS than HTTP/1.1 (ALPN)"
        }
        ConnectionFailure::client_certificate => {
            "the client presented no certificate of the CA in admin.client_ca"
        }
        ConnectionFailure::handshake_failed => "the TLS handshake failed",
        ConnectionFailure::closed => {
            "the client closed it; during a TLS handshake perhaps because it rejects the certificate"
        }
        ConnectionFailure::timeout => "the client sent nothing within the timeout",
        ConnectionFailure::plain_http => "the client sent plain HTTP to a TLS port: use https",
        ConnectionFailure::tls_client_hello => {
            "the client sent a TLS ClientHello to a plain HTTP port: use http, or configure [tls]"
        }
        ConnectionFailure::proxy_header => {
            "a header of the PROXY protocol is malformed, or missing from a trusted proxy, or comes \
             from a client that is not in listen.proxy_protocol_from"
        }
        ConnectionFailure::http2 => "the client sent HTTP/2; only HTTP/1.1 is supported",
        ConnectionFailure::not_http => "the client did not send HTTP",
        ConnectionFailure::malformed_request => "the head of the first request is malformed",
        ConnectionFailure::header_too_large => "the head of the first request is too large",
    }
}

fn of_incompatibility(reason: &PeerIncompatible) -> ConnectionFailure {
    match reason {
        // A client without TLS 1.2 does not send it, and this extension is checked first.
        PeerIncompatible::SignatureAlgorithmsExtensionRequired
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig => {
            ConnectionFailure::no_shared_version
        }
        _ => ConnectionFailure::no_shared_cipher,
    }
}

/// Why a handshake failed.
pub(super) fn of_handshake(error: &io::Error) -> ConnectionFailure {
    let Some(fault) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
    else {
        return of_fault(error);
    };
    match fault {
        rustls::Error::AlertReceived(alert) => of_alert(*alert),
        rustls::Error::PeerIncompatible(reason) => of_incompatibility(reason),
        rustls::Error::NoApplicationProtocol => ConnectionFailure::no_shared_protocol,
        rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_) => {
            ConnectionFailure::client_certificate
        }
        _ => ConnectionFailure::handshake_failed,
    }
}

fn of_alert(alert: AlertDescription) -> ConnectionFailure {
    match alert {
        AlertDescription::UnknownCA => ConnectionFailure::unknown_ca,
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown => ConnectionFailure::certificate_refused,
        AlertDescription::ProtocolVersion => ConnectionFailure::no_shared_version,
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            ConnectionFailure::no_shared_cipher
        }
        AlertDescription::NoApplicationProtocol => ConnectionFailure::no_shared_protocol,
        AlertDescription::UserCanceled | AlertDescription::CloseNotify => ConnectionFailure::closed,
        _ => ConnectionFailure::handshake_failed,
    }
}

/// Why a connection failed after it sent its first bytes.
pub(super) fn of_fault(error: &(dyn Error + 'static)) -> ConnectionFailure {
    let mut inner = Some(error);
    while let Some(error) = inner {
        if error.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::TimedOut)
        {
            return ConnectionFailure::timeout;
        }
        inner = error.source();
    }
    ConnectionFailure::closed
}

/// Whether a client with this first byte may speak TLS: a record of version 3, or the SSL 2.0
/// ClientHello of old clients.
pub(super) fn may_be_tls(first: u8) -> bool {
    matches!(first, 0x14..=0x17 | 0x80..)
}

/// The first bytes of a connection, as far as they identify the protocol.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ClientPrefix {
    bytes: [u8; PREFIX_BYTES],
    count: usize,
}

impl ClientPrefix {
    /// Appends bytes that have arrived.
    pub(super) fn push(&mut self, arrived: &[u8]) {
        for (place, byte) in self.bytes.iter_mut().skip(self.count).zip(arrived) {
            *place = *byte;
            self.count += 1;
        }
    }

    /// Whether nothing has arrived.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether it is the preface of HTTP/2.
    pub(super) fn is_http_2(&self) -> bool {
        self.received().starts_with(HTTP_2)
    }

    /// The protocol, if it is not a request of HTTP/1.
    pub(super) fn failure(&self) -> Option<ConnectionFailure> {
        let received = self.received();
        let method = received.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
        if received.starts_with(TLS_HANDSHAKE) {
            Some(ConnectionFailure::tls_client_hello)
        } else if received.starts_with(PROXY_V1) || received.starts_with(PROXY_V2) {
            Some(ConnectionFailure::proxy_header)
        } else if self.is_http_2() {
            Some(ConnectionFailure::http2)
        } else if method > 0 && matches!(received.get(method), None | Some(b' ')) {
            None
        } else {
            Some(ConnectionFailure::not_http)
        }
    }

    fn received(&self) -> &[u8] {
        self.bytes.get(..self.count).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    const NONE_BEFORE: Option<LogEntry> = Some(LogEntry { more: 0, others: 0 });

    #[test]
    fn a_source_has_one_log_line_a_minute_with_the_count_of_others() {
        let (mut log, now) = (FailureLog::default(), Instant::now());
        assert_eq!(log.line(v4(1), now), NONE_BEFORE);
        for second in 0..59 {
            assert_eq!(log.line(v4(1), now + Duration::from_secs(second)), None);
        }
        assert_eq!(log.line(v4(2), now), NONE_BEFORE, "another source has its own");
        let later = now + LOG_INTERVAL;
        assert_eq!(log.line(v4(1), later), Some(LogEntry { more: 59, others: 0 }));
        assert_eq!(log.line(v4(1), later + LOG_INTERVAL), NONE_BEFORE);
    }

    #[test]
    fn no_number_of_sources_fills_memory_or_log() {
        let (mut log, now) = (FailureLog::default(), Instant::now());
        let lines = (0..40_000).filter(|number| log.line(v4(*number), now).is_some()).count();
        assert_eq!((lines, log.sources.len()), (MAX_SOURCES, MAX_SOURCES));
        let others = 40_000 - u64::try_from(MAX_SOURCES).unwrap();
        let later = now + LOG_INTERVAL;
        assert_eq!(log.line(v4(50_000), later), Some(LogEntry { more: 0, others }));
        assert_eq!(log.sources.len(), 1, "those that may have a line again are forgotten");
    }

    #[test]
    fn the_first_bytes_identify_the_protocol_of_a_client() {
        for (bytes, failure) in [
            (&b"\x16\x03\x01\x02\x00\x01"[..], Some(ConnectionFailure::tls_client_hello)),
            (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n", Some(ConnectionFailure::proxy_header)),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c", Some(ConnectionFailure::proxy_header)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(ConnectionFailure::http2)),
            (b"SSH-2.0-OpenSSH_9.2\r\n", Some(ConnectionFailure::not_http)),
            (b"\0\0\0\0", Some(ConnectionFailure::not_http)),
            (b"GET / HTTP/1.1\r\n", None),
            (b"PROPFINDPROPFINDPROPFIND", None),
            (b"PO", None),
        ] {
            let mut whole = ClientPrefix::default();
            whole.push(bytes);
            let mut in_pieces = ClientPrefix::default();
            for byte in bytes {
                in_pieces.push(&[*byte]);
            }
            assert_eq!((whole.failure(), in_pieces.failure()), (failure, failure), "{bytes:?}");
        }
        assert!(ClientPrefix::default().is_empty());
    }
}
