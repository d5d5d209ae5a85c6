//! A stopped gateway with audit files, and what an attacker with write access makes of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hsmgate::audit::{AuditKey, Head};
use serde_json::Value;

use super::gateway::text;
use super::installation::{AccessKey, Installation, Outcome, Server, run};
use super::process::{signal, until};

/// A production gateway that has recorded something, with its audit file and public key.
pub(crate) struct Recorded {
    pub(crate) installation: Installation,
    pub(crate) admin: AccessKey,
    pub(crate) public_key: PathBuf,
}

impl Recorded {
    pub(crate) async fn stopped() -> Self {
        let (installation, admin) = Installation::prepared();
        Self::stopped_with(installation, admin).await
    }

    /// As [`Recorded::stopped`], with a prepared installation.
    pub(crate) async fn stopped_with(installation: Installation, admin: AccessKey) -> Self {
        let server = installation.serve();
        let client = server.client(&admin);
        client.call("CreateKey", &[]).await.unwrap();
        client.call("ListKeys", &[]).await.unwrap();
        assert_eq!(server.stop(), Some(0));
        let bundle = installation.path("bundle");
        installation.configured(&["audit", "export", "--out", bundle.to_str().unwrap()]).done();
        let public_key = bundle.join("public-key.pem");
        Self { installation, admin, public_key }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.installation.audit_file()
    }

    /// The lines of the audit file, each with its newline.
    pub(crate) fn lines(&self) -> Vec<String> {
        lines(&self.file())
    }

    pub(crate) fn key(&self) -> AuditKey {
        AuditKey::from_pem(&fs::read_to_string(&self.public_key).unwrap()).unwrap()
    }

    /// Makes calls that the audit records.
    pub(crate) async fn record(&self, server: &Server, calls: usize) {
        let client = server.client(&self.admin);
        for _ in 0..calls {
            client.call("ListKeys", &[]).await.unwrap();
        }
    }

    /// Serves, makes calls, and stops in order.
    pub(crate) async fn run(&self, calls: usize) {
        let server = self.installation.serve();
        self.record(&server, calls).await;
        assert_eq!(server.stop(), Some(0));
    }

    /// Serves, makes calls, and kills the gateway.
    pub(crate) async fn run_and_kill(&self, calls: usize) {
        let server = self.installation.serve();
        self.record(&server, calls).await;
        signal("KILL", &server.process_id());
        server.wait();
    }

    /// Serves, makes calls, renames the file and begins the next one, and stops in order.
    pub(crate) async fn rotate(&self, calls: usize, name: &str) -> PathBuf {
        let rotated = self.file().with_file_name(name);
        let server = self.installation.serve();
        self.record(&server, calls).await;
        fs::rename(self.file(), &rotated).unwrap();
        server.signal("HUP");
        until(|| server.has_logged("audit.reopened")).await;
        self.record(&server, calls).await;
        assert_eq!(server.stop(), Some(0));
        rotated
    }

    /// `audit verify` with the public key, and more options.
    pub(crate) fn verify(&self, files: &[&Path], options: &[&str]) -> Outcome {
        let files = files.iter().map(|file| file.to_str().unwrap());
        let key = ["--public-key", self.public_key.to_str().unwrap(), "--json"];
        let arguments = ["audit", "verify"].into_iter().chain(files).chain(key);
        let arguments: Vec<_> = arguments.chain(options.iter().copied()).collect();
        run(self.installation.command(&arguments), b"")
    }

    /// The kinds of the faults that `audit verify` finds with the public key, and more options.
    pub(crate) fn faults(&self, files: &[&Path], options: &[&str]) -> Vec<String> {
        let outcome = self.verify(files, options);
        let report = Self::report(&outcome);
        let kinds: Vec<_> = fault_kinds(&report).into_iter().map(str::to_owned).collect();
        assert_eq!(outcome.code, Some(i32::from(!kinds.is_empty())), "{outcome:?}");
        kinds
    }

    pub(crate) fn report(outcome: &Outcome) -> Value {
        serde_json::from_slice(&outcome.stdout).unwrap()
    }

    /// Whether a start finds that the file does not continue the known records.
    pub(crate) fn is_found_by_start(&self) -> bool {
        let server = self.installation.serve();
        let is_found = server.has_logged("event=\"audit.discontinued\"");
        signal("KILL", &server.process_id());
        server.wait();
        is_found
    }

    /// A copy of everything: database, audit, state and token.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let copy = tempfile::TempDir::new_in(super::softhsm::scratch()).unwrap();
        copy_all(&self.installation.path("."), copy.path());
        Snapshot(copy)
    }

    /// Puts a copy back.
    pub(crate) fn put_back(&self, snapshot: &Snapshot) {
        let root = self.installation.path(".");
        for entry in fs::read_dir(&root).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                fs::remove_dir_all(path).unwrap();
            } else {
                fs::remove_file(path).unwrap();
            }
        }
        copy_all(snapshot.0.path(), &root);
    }
}

/// A copy of an installation.
pub(crate) struct Snapshot(tempfile::TempDir);

fn copy_all(from: &Path, to: &Path) {
    let from = from.join(".");
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

/// The lines of a file, each with its newline.
pub(crate) fn lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    text.split_inclusive('\n').map(str::to_owned).collect()
}

pub(crate) fn fault_kinds(report: &Value) -> Vec<&str> {
    report["faults"].as_array().unwrap().iter().map(|fault| text(&fault["kind"])).collect()
}

/// The head that a line states.
pub(crate) fn head_of(line: &str) -> Head {
    let line: Value = serde_json::from_str(line).unwrap();
    let chain = text(&line["chain"]).parse().unwrap();
    Head { sequence: line["sequence"].as_u64().unwrap(), chain }
}

/// The record after `head` with these members, and its head: what a process that can write the file
/// can compute.
pub(crate) fn invented(head: Head, members: &str) -> (String, Head) {
    let number = head.sequence + 1;
    let covered = format!("{{\"sequence\":{number},{members}");
    let next = head.followed_by(covered.as_bytes());
    (format!("{covered},\"chain\":\"{}\"}}\n", next.chain), next)
}

/// Gives the lines new numbers and a new chain after `head`, as a process that can write the file
/// can.
pub(crate) fn rechained<'a>(head: Head, lines: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut head = head;
    let mut made = Vec::new();
    for line in lines {
        let (covered, _chain) = line.rsplit_once(",\"chain\":").unwrap();
        let (_number, rest) = covered.split_once(",\"record\"").unwrap();
        let mut members = format!("\"record\"{rest}");
        if let Some((before, rest)) = members.split_once("\"previous\":") {
            let (_previous, rest) = rest.split_once('}').unwrap();
            let previous = serde_json::to_string(&head).unwrap();
            members = format!("{before}\"previous\":{previous}{rest}");
        }
        let (line, next) = invented(head, &members);
        made.push(line);
        head = next;
    }
    made
}

pub(crate) fn is_checkpoint(line: &str) -> bool {
    line.contains("\"record\":\"checkpoint\"")
}

/// What an attacker who may write the file makes of it: other contents, without checkpoints, with
/// their own numbers and chain.
pub(crate) fn forged(file: &Path) -> String {
    let lines = lines(file);
    let lines = lines.iter().filter(|line| !is_checkpoint(line));
    let lines: Vec<_> = lines
        .map(|line| line.replace("\"userName\":\"admin\"", "\"userName\":\"nobody\""))
        .collect();
    rechained(Head::START, lines.iter().map(String::as_str)).concat()
}
