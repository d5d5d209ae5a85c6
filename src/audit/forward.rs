//! Forwards the records to a second file or to syslog. It may lag, and never delays the audit file.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::model::clock;

/// Maximum number of commits that wait to be forwarded. Further ones are dropped and counted.
const QUEUE: usize = 4096;
/// Maximum time that a rotation may take between the rename and the signal.
const ROTATION_GRACE: Duration = Duration::from_secs(2);
/// Maximum time that one message waits for the syslog daemon.
const SYSLOG_TIMEOUT: Duration = Duration::from_secs(1);
/// Facility local0, severity informational (RFC 3164, section 4.1.1).
const SYSLOG_PREFIX: &[u8] = b"<134>hsmgate: ";

/// Passes records to the thread that writes them.
#[derive(Debug)]
pub(super) struct Forwarder {
    queue: Sender<Work>,
    ended: Receiver<()>,
    backlog: Arc<ForwardBacklog>,
}

/// How far forwarding lags.
#[derive(Debug, Default)]
pub(super) struct ForwardBacklog {
    /// Queued commits.
    pub(super) waiting: AtomicU64,
    /// Dropped commits.
    pub(super) lost: AtomicU64,
}

enum Work {
    Lines(Arc<[u8]>),
    Reopen,
}

impl Forwarder {
    /// Starts the thread. The target is opened with the first record, and again after a failure.
    pub(super) fn start(path: PathBuf) -> io::Result<Self> {
        let (queue, work) = bounded(QUEUE);
        let (end, ended) = bounded(1);
        let backlog = Arc::new(ForwardBacklog::default());
        let writer = ForwardWriter {
            path,
            backlog: Arc::clone(&backlog),
            target: None,
            moved_since: None,
            is_failing: false,
        };
        thread::Builder::new().name("audit-forward".to_owned()).spawn(move || {
            writer.run(&work);
            // The receiver may have timed out.
            let _ = end.send(());
        })?;
        Ok(Self { queue, ended, backlog })
    }

    /// Queues the lines of a commit, unless the queue is full.
    pub(super) fn offer(&self, lines: &[u8]) {
        self.backlog.waiting.fetch_add(1, Ordering::Relaxed);
        if self.queue.try_send(Work::Lines(lines.into())).is_err() {
            self.backlog.waiting.fetch_sub(1, Ordering::Relaxed);
            self.backlog.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Reopens the target after the queued lines.
    pub(super) fn reopen(&self) {
        // If the queue is full, the old file stays open until the next rotation.
        let _ = self.queue.try_send(Work::Reopen);
    }

    /// Accepts no more lines, and waits shortly for the queued ones.
    pub(super) fn finish(self) {
        drop(self.queue);
        let _ = self.ended.recv_timeout(SYSLOG_TIMEOUT);
    }

    /// How far it lags.
    pub(super) fn backlog(&self) -> Arc<ForwardBacklog> {
        Arc::clone(&self.backlog)
    }
}

enum ForwardTarget {
    File(File),
    Syslog(UnixDatagram),
}

struct ForwardWriter {
    path: PathBuf,
    backlog: Arc<ForwardBacklog>,
    target: Option<ForwardTarget>,
    /// Since when the path leads to another file than the open one, or to none.
    moved_since: Option<Instant>,
    is_failing: bool,
}

impl ForwardWriter {
    fn run(mut self, work: &Receiver<Work>) {
        for work in work {
            let Work::Lines(lines) = work else {
                self.target = None;
                continue;
            };
            let written = self.write(&lines);
            self.backlog.waiting.fetch_sub(1, Ordering::Relaxed);
            if let Err(error) = &written {
                self.target = None;
                self.backlog.lost.fetch_add(1, Ordering::Relaxed);
                if !self.is_failing {
                    tracing::error!(event = "audit.forward_failed", path = %self.path.display(), %error,
                        "could not forward audit records");
                }
            } else if self.is_failing {
                tracing::info!(event = "audit.forward_recovered", path = %self.path.display(),
                    "audit records are forwarded again");
            }
            self.is_failing = written.is_err();
        }
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.close_renamed_file();
        let target = match self.target.take() {
            Some(target) => target,
            None => ForwardTarget::open(&self.path)?,
        };
        self.target.insert(target).write(lines)
    }
}

impl ForwardWriter {
    /// A rotation renames the file and then sends a signal. If the signal does not come, the next
    /// file is started, because records in a renamed file would not be found.
    fn close_renamed_file(&mut self) {
        let is_moved = match &self.target {
            Some(ForwardTarget::File(file)) => !is_at(file, &self.path),
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

impl ForwardTarget {
    fn open(path: &Path) -> io::Result<Self> {
        if std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
            let socket = UnixDatagram::unbound()?;
            socket.set_write_timeout(Some(SYSLOG_TIMEOUT))?;
            socket.connect(path)?;
            return Ok(Self::Syslog(socket));
        }
        let mut options = OpenOptions::new();
        Ok(Self::File(options.append(true).create(true).mode(0o600).open(path)?))
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.write_all(lines),
            Self::Syslog(socket) => lines
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
                .try_for_each(|line| socket.send(&[SYSLOG_PREFIX, line].concat()).map(drop)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renamed_file_is_closed_even_without_a_signal() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("second.jsonl");
        let mut writer = ForwardWriter {
            path: path.clone(),
            backlog: Arc::default(),
            target: None,
            moved_since: None,
            is_failing: false,
        };
        writer.write(b"one\n").unwrap();
        let renamed = directory.path().join("renamed");
        std::fs::rename(&path, &renamed).unwrap();
        writer.write(b"two\n").unwrap();
        assert!(!path.exists(), "a rotation that is about to be signaled");
        writer.moved_since = Instant::now().checked_sub(ROTATION_GRACE);
        writer.write(b"three\n").unwrap();
        writer.write(b"four\n").unwrap();
        assert_eq!(std::fs::read_to_string(&renamed).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\nfour\n");
    }
}
