//! Records and checkpoints that are sent to other places: they never delay a request, and arrive
//! whole after an outage of the receiver or of the gateway.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hsmgate::audit::{Expectation, Verifier};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::support::audit_file::records;
use crate::support::installation::{AccessKey, Installation, Server};
use crate::support::process::{signal, until};
use crate::support::recorded::{Recorded, lines};
use crate::support::tls_server::acceptor;

/// What a collector has received.
type Received = Arc<Mutex<Vec<String>>>;

#[derive(Clone)]
enum Protocol {
    Syslog,
    SyslogTls(TlsAcceptor),
    /// Answers with this status.
    Http(u16),
}

/// A receiver of records on its own port. It ends when it is dropped.
struct Collector {
    port: u16,
    received: Received,
    tasks: JoinSet<()>,
}

impl Collector {
    /// Listens on a port; 0 means any free one.
    async fn start(port: u16, protocol: Protocol, received: &Received) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut tasks = JoinSet::new();
        let kept = Arc::clone(received);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _peer) = listener.accept().await.unwrap();
                let (kept, protocol) = (Arc::clone(&kept), protocol.clone());
                connections.spawn(async move {
                    match protocol {
                        Protocol::Syslog => read_syslog(stream, &kept).await,
                        Protocol::SyslogTls(acceptor) => {
                            let Ok(stream) = acceptor.accept(stream).await else { return };
                            read_syslog(stream, &kept).await;
                        }
                        Protocol::Http(status) => read_http(stream, status, &kept).await,
                    }
                });
            }
        });
        Self { port, received: Arc::clone(received), tasks }
    }

    /// Ends it and its connections. Its port is free then.
    async fn stop(mut self) {
        self.tasks.shutdown().await;
    }

    /// The records by their numbers. A record that was sent twice is the same.
    fn records(&self) -> BTreeMap<u64, String> {
        let mut records = BTreeMap::new();
        for line in self.received.lock().iter() {
            let record: Value = serde_json::from_str(line).unwrap();
            let other = records.insert(record["sequence"].as_u64().unwrap(), line.clone());
            assert!(other.is_none_or(|other| other == *line), "{line}");
        }
        records
    }

    /// Waits until it has every record of these files, in their form.
    async fn has_all(&self, files: &[&Path]) {
        let wanted =
            || files.iter().flat_map(|file| lines(file)).map(|line| line.trim_end().to_owned());
        until(|| self.records().into_values().eq(wanted())).await;
    }
}

async fn read_syslog(stream: impl AsyncRead + Unpin, received: &Received) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = Vec::new();
        if stream.read_until(b' ', &mut length).await.is_err() || !length.ends_with(b" ") {
            return;
        }
        let length = std::str::from_utf8(&length).unwrap().trim_end().parse().unwrap();
        let mut message = vec![0; length];
        if stream.read_exact(&mut message).await.is_err() {
            return;
        }
        let message = String::from_utf8(message).unwrap();
        assert!(message.starts_with("<134>1 "), "{message}");
        let (_head, record) = message.split_once(" - ").unwrap();
        received.lock().push(record.to_owned());
    }
}

async fn read_http(stream: impl AsyncRead + AsyncWrite + Unpin, status: u16, received: &Received) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or_default() == 0 {
                return;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        if status == 200 {
            let body = String::from_utf8(body).unwrap();
            received.lock().extend(body.lines().map(str::to_owned));
        }
        let response = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(response.as_bytes()).await.unwrap();
    }
}

/// A gateway whose records go to this target.
fn forwarding(target: &str, more: &str) -> (Installation, AccessKey) {
    let (installation, admin) = Installation::prepared();
    installation.configure(|text| {
        let section = format!("[audit]\nforward_to = \"{target}\"\n{more}");
        text.push_str(&section);
    });
    (installation, admin)
}

async fn call(server: &Server, admin: &AccessKey, count: usize) {
    let client = server.client(admin);
    for _ in 0..count {
        client.call("ListKeys", &[]).await.unwrap();
    }
}

fn is_whole(lines: impl IntoIterator<Item = String>) {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("received");
    let lines: Vec<_> = lines.into_iter().map(|line| line + "\n").collect();
    fs::write(&path, lines.concat()).unwrap();
    let report = Verifier::new(None, Expectation::default()).files(&[path]).unwrap();
    assert_eq!(report.faults, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_syslog_server_gets_every_record_after_its_outage() {
    let received = Received::default();
    let collector = Collector::start(0, Protocol::Syslog, &received).await;
    let port = collector.port;
    let (installation, admin) = forwarding(&format!("syslog+tcp://127.0.0.1:{port}"), "");
    let file = installation.audit_file();
    let server = installation.serve();
    call(&server, &admin, 20).await;
    collector.has_all(&[&file]).await;
    collector.stop().await;
    // Requests go on.
    call(&server, &admin, 20).await;
    until(|| server.has_logged("event=\"audit.forward_failed\"")).await;
    call(&server, &admin, 20).await;
    let collector = Collector::start(port, Protocol::Syslog, &received).await;
    collector.has_all(&[&file]).await;
    until(|| server.has_logged("event=\"audit.forward_recovered\"")).await;
    is_whole(collector.records().into_values());
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_may_outlast_the_gateway_and_its_files() {
    let received = Received::default();
    let collector = Collector::start(0, Protocol::Http(503), &received).await;
    let port = collector.port;
    let (installation, admin) = forwarding(&format!("http://127.0.0.1:{port}/audit"), "");
    let file = installation.audit_file();
    let server = installation.serve();
    call(&server, &admin, 5).await;
    until(|| server.has_logged("event=\"audit.forward_failed\"")).await;
    let rotated = file.with_file_name("audit.1");
    fs::rename(&file, &rotated).unwrap();
    server.signal("HUP");
    until(|| server.has_logged("audit.reopened")).await;
    call(&server, &admin, 5).await;
    signal("KILL", &server.process_id());
    server.wait();
    assert_eq!(received.lock().len(), 0);
    collector.stop().await;
    let collector = Collector::start(port, Protocol::Http(200), &received).await;
    let server = installation.serve();
    call(&server, &admin, 5).await;
    collector.has_all(&[&rotated, &file]).await;
    assert_eq!(server.stop(), Some(0));
    // A stopped and started gateway does not begin again.
    let server = installation.serve();
    call(&server, &admin, 5).await;
    collector.has_all(&[&rotated, &file]).await;
    let first = &lines(&rotated)[0];
    let count = received.lock().iter().filter(|line| *line == first.trim_end()).count();
    assert_eq!(count, 1);
    is_whole(collector.records().into_values());
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn syslog_over_tls_trusts_only_the_given_ca() {
    let (installation, admin) = Installation::prepared();
    let directory = installation.path("tls");
    let received = Received::default();
    let protocol = Protocol::SyslogTls(acceptor(&installation, &directory));
    let collector = Collector::start(0, protocol, &received).await;
    let port = collector.port;
    let configure = |ca: &str| {
        installation.configure(|text| {
            let section = format!("[audit]\nforward_to = \"syslog+tls://127.0.0.1:{port}\"\n{ca}");
            text.push_str(&section);
        });
    };
    configure("");
    let server = installation.serve();
    until(|| server.has_logged("event=\"audit.forward_failed\"")).await;
    assert_eq!(server.stop(), Some(0));
    assert_eq!(received.lock().len(), 0, "the system does not trust this CA");
    let ca = directory.join("ca.pem");
    configure(&format!("forward_ca = \"{}\"\n", ca.display()));
    let server = installation.serve();
    call(&server, &admin, 5).await;
    collector.has_all(&[&installation.audit_file()]).await;
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_are_sent_when_they_are_made_and_are_witnesses() {
    let (installation, admin) = Installation::prepared();
    let kept = installation.path("checkpoints.jsonl");
    installation.configure(|text| {
        let section =
            format!("[audit]\ncheckpoint_records = 5\ncheckpoints_to = \"{}\"\n", kept.display());
        text.push_str(&section);
    });
    let recorded = Recorded::stopped_with(installation, admin).await;
    recorded.run(20).await;
    let file = recorded.file();
    let made = || {
        let mut checkpoints = lines(&file);
        checkpoints.retain(|line| line.contains("\"record\":\"checkpoint\""));
        checkpoints
    };
    let (sent, made) = (lines(&kept), made());
    assert!(sent.len() > 3 && made.starts_with(&sent), "{sent:?}");
    let heads = ["--heads", kept.to_str().unwrap()];
    assert_eq!(recorded.faults(&[&file], &heads), [""; 0]);
    let report = Recorded::report(&recorded.verify(&[&file], &heads));
    let last: Value = serde_json::from_str(sent.last().unwrap()).unwrap();
    assert_eq!(report["witnessedThrough"], last["sequence"]);
    // Truncated after a checkpoint, the file alone shows nothing.
    let all = lines(&file);
    let middle = all.iter().position(|line| *line == sent[1]).unwrap();
    fs::write(&file, all[..=middle].concat()).unwrap();
    assert_eq!(recorded.faults(&[&file], &[]), [""; 0]);
    assert_eq!(recorded.faults(&[&file], &heads), ["truncated"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_never_answers_delays_neither_requests_nor_the_stop() {
    // It accepts no connection: the queue of the listener is never read.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (installation, admin) = forwarding(&format!("http://127.0.0.1:{port}/"), "");
    let server = installation.serve();
    let answered = tokio::time::timeout(Duration::from_mins(1), call(&server, &admin, 50)).await;
    assert!(answered.is_ok(), "requests do not wait");
    assert_eq!(server.stop(), Some(0));
    assert_eq!(records(&installation.audit_file()).last().unwrap()["record"], "close");
}
