//! The receivers of forwarded records, and the form in which each gets them.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderValue;
use secrecy::ExposeSecret as _;

use super::AuditError;
use super::line::is_checkpoint;
use crate::config::secret::read_private_file;
use crate::config::{ForwardSettings, ForwardTarget, SecretError};
use crate::model::clock;
use crate::server::outbound::{HttpReceiver, MessageStream, TlsClient, UNACKNOWLEDGED_TIMEOUT};

/// Maximum time that a rotation may take between the rename and the signal.
const ROTATION_GRACE: Duration = Duration::from_secs(2);
/// Maximum time that one message waits for the syslog daemon.
const DATAGRAM_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum time that a server may take for one batch.
const SERVER_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that were sent this long ago on a connection that still exists were received.
const RECEIVED_AFTER: Duration = UNACKNOWLEDGED_TIMEOUT.saturating_add(Duration::from_secs(2));
/// Maximum time that the end of a connection may take.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);
/// Facility local0, severity informational (RFC 3164, section 4.1.1).
const DATAGRAM_PREFIX: &[u8] = b"<134>hsmgate: ";
const LINES_OF_JSON: &str = "application/x-ndjson";

/// A receiver, connected when it is needed.
pub(super) enum Receiver {
    Path(PathReceiver),
    Syslog(SyslogReceiver),
    Http(HttpReceiver),
}

impl Receiver {
    pub(super) fn new(
        target: &ForwardTarget,
        settings: &ForwardSettings,
    ) -> Result<Self, AuditError> {
        let tls = || TlsClient::trusting(settings.ca.as_deref());
        Ok(match target {
            ForwardTarget::Path(path) => Self::Path(PathReceiver::new(path.clone())),
            ForwardTarget::Syslog { host, port, is_tls } => Self::Syslog(SyslogReceiver {
                host: host.clone(),
                port: *port,
                tls: is_tls.then(tls).transpose()?,
                header: syslog_header(),
                stream: None,
            }),
            ForwardTarget::Http(uri) => {
                Self::Http(HttpReceiver::new(uri.clone(), authorization(settings)?, &tls()?))
            }
        })
    }

    /// How long after a successful send the lines are known to be received.
    pub(super) const fn received_after(&self) -> Duration {
        match self {
            Self::Path(_) | Self::Http(_) => Duration::ZERO,
            Self::Syslog(_) => RECEIVED_AFTER,
        }
    }

    /// Sends lines, each with its newline.
    pub(super) async fn send(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Path(receiver) => receiver.send(lines),
            Self::Syslog(receiver) => in_time(receiver.send(lines)).await,
            Self::Http(receiver) => {
                in_time(receiver.post(LINES_OF_JSON, Bytes::copy_from_slice(lines))).await
            }
        }
    }

    /// Checks the connection, if there is one.
    pub(super) async fn check(&mut self) -> io::Result<()> {
        match self {
            Self::Syslog(receiver) => receiver.check().await,
            Self::Path(_) | Self::Http(_) => Ok(()),
        }
    }

    /// Opens a file again, after a rotation.
    pub(super) fn reopen(&mut self) {
        if let Self::Path(receiver) = self {
            receiver.target = None;
        }
    }

    /// Ends the connection. Returns whether everything that was sent was received.
    pub(super) async fn close(self) -> bool {
        match self {
            Self::Path(_) | Self::Http(_) => true,
            Self::Syslog(SyslogReceiver { stream: Some(stream), .. }) => {
                let closed = tokio::time::timeout(CLOSE_TIMEOUT, stream.close()).await;
                matches!(closed, Ok(Ok(())))
            }
            Self::Syslog(_) => false,
        }
    }
}

async fn in_time(sent: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    let outcome = tokio::time::timeout(SERVER_TIMEOUT, sent).await;
    outcome.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
}

fn authorization(settings: &ForwardSettings) -> Result<Option<HeaderValue>, AuditError> {
    let Some(path) = &settings.authorization_file else { return Ok(None) };
    let secret = read_private_file(path)?;
    let mut value = HeaderValue::from_str(secret.expose_secret().trim())
        .map_err(|_form| SecretError::Form(path.clone()))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// A syslog server: RFC 5424, with octet counting (RFC 6587, RFC 5425).
pub(super) struct SyslogReceiver {
    host: String,
    port: u16,
    tls: Option<TlsClient>,
    /// Host name, program and process id.
    header: String,
    stream: Option<MessageStream>,
}

impl SyslogReceiver {
    async fn send(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => MessageStream::connect(&self.host, self.port, self.tls.as_ref()).await?,
        };
        stream.send(&self.messages(lines)).await?;
        self.stream = Some(stream);
        Ok(())
    }

    async fn check(&mut self) -> io::Result<()> {
        let Some(mut stream) = self.stream.take() else { return Ok(()) };
        stream.check().await?;
        self.stream = Some(stream);
        Ok(())
    }

    fn messages(&self, lines: &[u8]) -> Vec<u8> {
        let mut messages = Vec::with_capacity(lines.len() + lines.len() / 4);
        let time = clock::now();
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let kind = if is_checkpoint(line) { "checkpoint" } else { "record" };
            let head = format!("<134>1 {time} {} {kind} - ", self.header);
            messages.extend_from_slice(format!("{} ", head.len() + line.len()).as_bytes());
            messages.extend_from_slice(head.as_bytes());
            messages.extend_from_slice(line);
        }
        messages
    }
}

/// Host name, program and process id (RFC 5424, section 6.2).
fn syslog_header() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let is_valid = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic());
    format!("{} hsmgate {}", if is_valid { host } else { "-" }, std::process::id())
}

/// A file, or a datagram socket such as `/dev/log`.
pub(super) struct PathReceiver {
    path: PathBuf,
    target: Option<PathTarget>,
    /// Since when the path leads to another file than the open one, or to none.
    moved_since: Option<Instant>,
}

enum PathTarget {
    File(File),
    Datagram(UnixDatagram),
}

impl PathReceiver {
    const fn new(path: PathBuf) -> Self {
        Self { path, target: None, moved_since: None }
    }

    fn send(&mut self, lines: &[u8]) -> io::Result<()> {
        self.close_renamed_file();
        let mut target = match self.target.take() {
            Some(target) => target,
            None => PathTarget::open(&self.path)?,
        };
        target.write(lines)?;
        self.target = Some(target);
        Ok(())
    }

    /// A rotation renames the file and then sends a signal. If the signal does not come, the next
    /// file is started, because records in a renamed file would not be found.
    fn close_renamed_file(&mut self) {
        let is_moved = match &self.target {
            Some(PathTarget::File(file)) => !is_at(file, &self.path),
            _ => false,
        };
        if !is_moved {
            self.moved_since = None;
        } else if clock::since(*self.moved_since.get_or_insert_with(clock::monotonic))
            >= ROTATION_GRACE
        {
            tracing::warn!(
                event = "audit.forward_file_renamed",
                path = %self.path.display(),
                "the forwarded audit file was renamed or removed; a new one is started"
            );
            self.target = None;
            self.moved_since = None;
        }
    }
}

/// Whether the path leads to this file.
fn is_at(file: &File, path: &Path) -> bool {
    let target = |found: io::Result<Metadata>| found.map(|found| (found.dev(), found.ino())).ok();
    target(file.metadata()) == target(std::fs::metadata(path))
}

impl PathTarget {
    fn open(path: &Path) -> io::Result<Self> {
        if std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
            let socket = UnixDatagram::unbound()?;
            socket.set_write_timeout(Some(DATAGRAM_TIMEOUT))?;
            socket.connect(path)?;
            return Ok(Self::Datagram(socket));
        }
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).mode(0o600).open(path)?;
        if ends_within_line(&mut file)? {
            // A failed write has left a part of a line.
            file.write_all(b"\n")?;
        }
        Ok(Self::File(file))
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.write_all(lines),
            Self::Datagram(socket) => lines
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
                .try_for_each(|line| socket.send(&[DATAGRAM_PREFIX, line].concat()).map(drop)),
        }
    }
}

/// Whether the last line has no newline. A pipe has no end.
fn ends_within_line(file: &mut File) -> io::Result<bool> {
    if !file.metadata()?.is_file() || file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renamed_file_is_closed_even_without_a_signal() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("second.jsonl");
        let mut receiver = PathReceiver::new(path.clone());
        receiver.send(b"one\n").unwrap();
        let renamed = directory.path().join("renamed");
        std::fs::rename(&path, &renamed).unwrap();
        receiver.send(b"two\n").unwrap();
        assert!(!path.exists(), "a rotation that is about to be signaled");
        receiver.moved_since = Instant::now().checked_sub(ROTATION_GRACE);
        receiver.send(b"three\n").unwrap();
        receiver.send(b"four\n").unwrap();
        assert_eq!(std::fs::read_to_string(&renamed).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\nfour\n");
    }

    #[test]
    fn a_part_of_a_line_is_ended_before_the_next() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("second.jsonl");
        std::fs::write(&path, b"one\ntw").unwrap();
        let mut receiver = PathReceiver::new(path.clone());
        receiver.send(b"two\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntw\ntwo\n");
    }

    #[test]
    fn a_syslog_message_states_its_length() {
        let receiver = SyslogReceiver {
            host: String::new(),
            port: 0,
            tls: None,
            header: "kms hsmgate 7".to_owned(),
            stream: None,
        };
        let lines =
            b"{\"sequence\":1,\"record\":\"event\"}\n{\"sequence\":2,\"record\":\"checkpoint\"}\n";
        let text = String::from_utf8(receiver.messages(lines)).unwrap();
        let mut rest = text.as_str();
        for (kind, line) in ["record", "checkpoint"].iter().zip(lines.split(|byte| *byte == b'\n'))
        {
            let (length, message) = rest.split_once(' ').unwrap();
            let (message, next) = message.split_at(length.parse().unwrap());
            let mut fields = message.splitn(8, ' ');
            assert_eq!(fields.next(), Some("<134>1"));
            assert!(fields.next().unwrap().ends_with('Z'));
            let named: Vec<_> = fields.by_ref().take(5).collect();
            assert_eq!(named, ["kms", "hsmgate", "7", kind, "-"]);
            assert_eq!(fields.next().unwrap().as_bytes(), line);
            rest = next;
        }
        assert_eq!(rest, "");
    }
}
