//! A change is on disk before its answer: the system calls of the real gateway, in order.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::gateway::text;
use crate::support::installation::Installation;
use crate::support::process::until;

/// What has to be on disk, by the end of its path.
const FILES: [&str; 2] = ["/hsmgate.db-wal>", "/.audit.jsonl.journal>"];

/// How often a file was written, and how much of that is on disk.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Written {
    begun: usize,
    synced: usize,
}

/// What a trace tells.
#[derive(Debug, Default)]
struct Trace {
    files: [Written; 2],
    /// Threads in the middle of a sync, with the file and what it covers.
    syncing: HashMap<String, (usize, usize)>,
    answers: usize,
    /// Answers that went out while something was written and not on disk.
    early: Vec<String>,
}

impl Trace {
    /// Follows one line of `strace -f -y`.
    fn follow(&mut self, line: &str) {
        let (thread, call) = line.split_once(' ').unwrap();
        let call = call.trim_start();
        if call.starts_with("<...") {
            if call.contains("sync resumed>") {
                self.end_sync(thread, call);
            }
            return;
        }
        let Some((name, rest)) = call.split_once('(') else { return };
        let file = rest.split(',').next().unwrap_or_default();
        // A call that another thread interrupts in the trace has no parenthesis yet.
        let file = file.split([')', ' ']).next().unwrap_or_default();
        let place = FILES.iter().position(|end| file.ends_with(end));
        match (name, place) {
            ("write" | "writev" | "pwrite64" | "pwritev", Some(place)) => {
                self.files[place].begun += 1;
            }
            ("fsync" | "fdatasync", Some(place)) => {
                self.syncing.insert(thread.to_owned(), (place, self.files[place].begun));
                if !call.ends_with("<unfinished ...>") {
                    self.end_sync(thread, call);
                }
            }
            ("write" | "writev" | "sendto" | "sendmsg", None) if rest.contains("\"HTTP/1.1 ") => {
                self.answers += 1;
                for (file, name) in self.files.iter().zip(FILES) {
                    if file.begun != file.synced {
                        self.early.push(format!("answer {}: {name} {file:?}", self.answers));
                    }
                }
            }
            _ => {}
        }
    }

    fn end_sync(&mut self, thread: &str, call: &str) {
        let Some((place, covered)) = self.syncing.remove(thread) else { return };
        assert!(call.ends_with("= 0"), "a sync failed: {call}");
        self.files[place].synced = self.files[place].synced.max(covered);
    }
}

/// Whether processes may be traced here: some containers forbid it.
fn can_trace(log: &Path) -> bool {
    let mut strace = Command::new("strace");
    let strace = strace.args(["-o", log.to_str().unwrap(), "true"]).stderr(Stdio::null());
    strace.status().is_ok_and(|status| status.success())
}

/// Work of the gateway's own may be under way at the moment of an answer; a change that is answered
/// too early is so every time.
const RUNS: usize = 3;

#[tokio::test]
async fn no_change_is_answered_before_it_is_on_disk() {
    let mut early = Vec::new();
    for _ in 0..RUNS {
        let Some(trace) = trace_of_changes().await else {
            println!("not run: strace is missing, or may not trace");
            return;
        };
        if trace.early.is_empty() {
            return;
        }
        early.push(trace.early);
    }
    panic!("{early:#?}");
}

/// What a gateway does while a client changes its keys.
async fn trace_of_changes() -> Option<Trace> {
    let (test_account, user) = Installation::prepared();
    let log = test_account.path("trace");
    if !can_trace(&log) {
        return None;
    }
    let calls = "trace=write,writev,pwrite64,pwritev,sendto,sendmsg,fsync,fdatasync";
    let strace = ["strace", "-D", "-f", "-y", "-o", log.to_str().unwrap(), "-e", calls];
    let server = test_account.serve_under(&strace, &[]);
    let client = server.client(&user);
    let call = async |action: &str, params: &[(&str, &str)]| -> Value {
        client.call(action, params).await.unwrap()
    };
    let mut calls = 0;
    for round in ["alias/a", "alias/b", "alias/c"] {
        let key = call("CreateKey", &[]).await;
        let key = ("KeyId", text(&key["KeyMetadata"]["KeyId"]));
        let plaintext = ("Plaintext", "SGVsbG8=");
        for (action, params) in [
            ("CreateAlias", &[key, ("AliasName", round)][..]),
            ("Encrypt", &[key, plaintext]),
            ("GenerateDataKey", &[key]),
            ("CreateKeyVersion", &[key]),
            ("UpdateKeyDescription", &[key, ("Description", "told")]),
            ("DisableKey", &[key]),
            ("ListKeys", &[]),
            ("ScheduleKeyDeletion", &[key, ("PendingWindowInDays", "7")]),
        ] {
            call(action, params).await;
            calls += 1;
        }
        calls += 1;
    }
    assert_eq!(server.stop(), Some(0));
    until(|| fs::read_to_string(&log).unwrap().trim_end().ends_with("exited with 0 +++")).await;
    let mut trace = Trace::default();
    fs::read_to_string(&log).unwrap().lines().for_each(|line| trace.follow(line));
    assert_eq!(trace.answers, calls, "{trace:?}");
    assert!(trace.files.iter().all(|file| file.synced >= calls / 2), "{trace:?}");
    Some(trace)
}
