//! Where audit records are sent besides the audit file.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use http::Uri;

use crate::model::InvalidId;

/// The ports of syslog over TCP and over TLS (IANA; RFC 5425).
const SYSLOG_PORT: u16 = 601;
const SYSLOG_TLS_PORT: u16 = 6514;

/// Where audit records and checkpoints are sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForwardSettings {
    /// The target of all records.
    pub records: Option<ForwardTarget>,
    /// The target of checkpoints.
    pub checkpoints: Option<ForwardTarget>,
    /// The CAs that are trusted over TLS, as a PEM file. `None` means those of the system.
    pub ca: Option<PathBuf>,
    /// A file with the value of the HTTP header `Authorization`.
    pub authorization_file: Option<PathBuf>,
    /// The directory of the positions up to which records were received.
    pub directory: PathBuf,
}

impl ForwardSettings {
    /// The files and sockets among the targets.
    pub fn paths(&self) -> Vec<PathBuf> {
        let targets = self.records.iter().chain(&self.checkpoints);
        let path = |target: &ForwardTarget| match target {
            ForwardTarget::Path(path) => Some(path.clone()),
            ForwardTarget::Syslog { .. } | ForwardTarget::Http(_) => None,
        };
        targets.filter_map(path).collect()
    }
}

/// A receiver of audit records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardTarget {
    /// A file, or a datagram socket that accepts syslog messages.
    Path(PathBuf),
    /// A syslog server.
    Syslog {
        /// Its name or address.
        host: String,
        /// Its port.
        port: u16,
        /// Whether it is reached over TLS.
        is_tls: bool,
    },
    /// An HTTP server that accepts lines of JSON by POST.
    Http(Uri),
}

impl fmt::Display for ForwardTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Syslog { host, port, is_tls: false } => write!(f, "syslog+tcp://{host}:{port}"),
            Self::Syslog { host, port, is_tls: true } => write!(f, "syslog+tls://{host}:{port}"),
            // Path and query may contain a secret.
            Self::Http(uri) => {
                let scheme = uri.scheme_str().unwrap_or_default();
                write!(f, "{scheme}://{}", uri.authority().map_or("", |to| to.as_str()))
            }
        }
    }
}

impl FromStr for ForwardTarget {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if text.starts_with('/') {
            return Ok(Self::Path(text.into()));
        }
        let invalid = || InvalidId("forwarding target");
        let uri: Uri = text.parse().map_err(|_form| invalid())?;
        let authority = uri.authority().ok_or_else(invalid)?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(invalid());
        }
        let (is_tls, port) = match uri.scheme_str() {
            Some("http" | "https") => return Ok(Self::Http(uri)),
            Some("syslog+tcp") => (false, SYSLOG_PORT),
            Some("syslog+tls") => (true, SYSLOG_TLS_PORT),
            _ => return Err(invalid()),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(invalid());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self::Syslog { host, port: authority.port_u16().unwrap_or(port), is_tls })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_path_or_a_url() {
        let syslog = |host: &str, port, is_tls| {
            Ok(ForwardTarget::Syslog { host: host.to_owned(), port, is_tls })
        };
        for (text, target) in [
            ("/dev/log", Ok(ForwardTarget::Path("/dev/log".into()))),
            ("syslog+tcp://log.example", syslog("log.example", 601, false)),
            ("syslog+tls://log.example", syslog("log.example", 6514, true)),
            ("syslog+tls://[::1]:7000/", syslog("::1", 7000, true)),
        ] {
            assert_eq!(text.parse(), target, "{text}");
        }
        let http: ForwardTarget = "https://log.example:8443/audit?key=secret".parse().unwrap();
        assert_eq!(http.to_string(), "https://log.example:8443");
        for wrong in [
            "log",
            "",
            "http://",
            "ftp://log.example",
            "syslog+tls://log.example/path",
            "https://user:password@log.example",
        ] {
            assert!(wrong.parse::<ForwardTarget>().is_err(), "{wrong}");
        }
    }
}
