//! A gateway of its own for a test: `hsmgate dev` as a child process in a directory that goes away.

#![allow(dead_code, clippy::allow_attributes, reason = "each test crate uses a part of it")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a gateway may take to make its token and serve, on a busy machine.
pub(crate) const START_LIMIT: Duration = Duration::from_mins(1);

/// How long a gateway may take to end after SIGTERM.
pub(crate) const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A running gateway. It is killed when dropped; [`Gateway::stop`] ends it as an operator would.
pub(crate) struct Gateway {
    process: Option<Child>,
    dev_json: String,
    dir: TempDir,
}

impl Gateway {
    /// Starts `hsmgate dev` on a free port, with more options where a test needs them.
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::start_in(TempDir::new_in(scratch()).expect("a temporary directory"), options)
    }

    /// As [`Gateway::start`], with another filter of its log than the usual one.
    pub(crate) fn start_with_log(filter: &str) -> Self {
        let dir = TempDir::new_in(scratch()).expect("a temporary directory");
        Self::start_with_environment(dir, &[], &[("HSMGATE_LOG", filter.as_ref())])
    }

    /// As [`Gateway::start`], in the directory that an earlier one has left.
    pub(crate) fn start_in(dir: TempDir, options: &[&str]) -> Self {
        Self::start_with_environment(dir, options, &[])
    }

    /// As [`Gateway::start_in`], on the address that the earlier one had.
    pub(crate) fn start_at(dir: TempDir, address: &str, options: &[&str]) -> Self {
        Self::start_process(dir, address, options, &[])
    }

    /// As [`Gateway::start_in`], with more variables.
    pub(crate) fn start_with_environment(
        dir: TempDir,
        options: &[&str],
        variables: &[(&str, &OsStr)],
    ) -> Self {
        Self::start_process(dir, "127.0.0.1:0", options, variables)
    }

    /// As [`Gateway::start_at`], with more variables.
    pub(crate) fn start_process(
        dir: TempDir,
        address: &str,
        options: &[&str],
        variables: &[(&str, &OsStr)],
    ) -> Self {
        let log = File::options().create(true).append(true).open(dir.path().join("log"));
        let log = log.expect("a log file");
        let process = Command::new(env!("CARGO_BIN_EXE_hsmgate"))
            .args(["dev", "--json", "--listen", address, "--dir"])
            .arg(dir.path().join("state"))
            .args(options)
            .env("HSMGATE_LOG", "")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("hsmgate starts");
        let mut gateway = Self { process: Some(process), dev_json: String::new(), dir };
        gateway.dev_json = gateway.first_line();
        gateway
    }

    /// The line with which it introduced itself: endpoint, access key and demo key, as JSON.
    pub(crate) fn dev_json(&self) -> &str {
        &self.dev_json
    }

    /// The id of its process.
    pub(crate) fn id(&self) -> String {
        self.process.as_ref().expect("it runs until it is stopped").id().to_string()
    }

    /// What it wrote to standard error so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).expect("the log is text")
    }

    /// The id of its process.
    pub(crate) fn process_id(&self) -> u32 {
        self.process.as_ref().expect("it runs until it is stopped").id()
    }

    /// The directory of its token and its store.
    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Asks it to end with SIGTERM, waits until it has, and gives its directory.
    pub(crate) fn stop(self) -> TempDir {
        self.terminate();
        self.ended()
    }

    /// Asks it to end with SIGTERM.
    pub(crate) fn terminate(&self) {
        let process = self.process.as_ref().expect("it runs until it is stopped");
        signal("TERM", &process.id().to_string());
    }

    /// Waits until it has ended, as one that was asked to, and gives its directory.
    pub(crate) fn ended(mut self) -> TempDir {
        let mut process = self.process.take().expect("it runs until it is stopped");
        let id = process.id().to_string();
        let ended = within(STOP_LIMIT, move || process.wait().expect("a child can be waited for"));
        if ended.is_none() {
            signal("KILL", &id);
        }
        assert!(ended.is_some_and(|status| status.success()), "{ended:?}\n{}", self.log());
        self.into_directory()
    }

    /// Kills it where it stands, and gives its directory.
    pub(crate) fn kill(mut self) -> TempDir {
        let mut process = self.process.take().expect("it runs until it is stopped");
        process.kill().expect("a child can be killed");
        process.wait().expect("a child can be waited for");
        self.into_directory()
    }

    fn into_directory(mut self) -> TempDir {
        let unused = TempDir::new_in(scratch()).expect("a temporary directory");
        std::mem::replace(&mut self.dir, unused)
    }

    fn first_line(&mut self) -> String {
        let stdout = self.process.as_mut().and_then(|process| process.stdout.take());
        let mut lines = BufReader::new(stdout.expect("standard output is piped")).lines();
        match within(START_LIMIT, move || lines.next()) {
            Some(Some(Ok(line))) => line,
            _ => panic!("the gateway does not serve; its log:\n{}", self.log()),
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Fails only when it has ended already.
            process.kill().ok();
            process.wait().ok();
        }
    }
}

/// Memory where there is some: a token on disk makes keys fifteen times slower.
pub(crate) fn scratch() -> &'static Path {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory } else { Path::new("/tmp") }
}

pub(crate) fn signal(name: &str, process: &str) {
    let option = format!("-{name}");
    let status = Command::new("kill").args([option.as_str(), process]).status().expect("kill runs");
    assert!(status.success(), "kill {option} {process}: {status}");
}

/// The result of `work`, unless it takes longer than `limit`.
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, result) = mpsc::channel();
    // Nobody listens any more after the limit.
    thread::spawn(move || done.send(work()).ok());
    result.recv_timeout(limit).ok()
}

/// Whether a process runs.
pub(crate) fn is_alive(process: &str) -> bool {
    fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
}

/// Nothing that is waited for takes longer, on a busy machine.
const LIMIT: Duration = Duration::from_mins(2);

/// Waits until it holds.
#[track_caller]
pub(crate) fn until(mut holds: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let (caller, limit) = (Location::caller(), Instant::now() + LIMIT);
    async move {
        while !holds() {
            assert!(Instant::now() < limit, "it does not come to hold: {caller}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
