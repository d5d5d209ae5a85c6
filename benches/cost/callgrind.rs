//! Instructions that a process has executed, counted by callgrind.
//!
//! The counters are set to zero and written out while the process runs (vgdb), so start and warm-up do
//! not count. Only instructions of the program are counted, not the kernel's.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::servers::Server;

/// One arena, and no memory given back by the clock: what the allocator does is the same in each run.
const ALLOCATOR: &str = "narenas:1,dirty_decay_ms:-1,muzzy_decay_ms:-1";
const FILE: &str = "callgrind";

/// Instructions by where they were executed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) total: f64,
    /// In the block function of SHA-256. Processors with instructions for SHA need far fewer than
    /// callgrind, which knows none, makes the program execute: they say nothing of its time.
    pub(crate) sha256: f64,
    /// In SoftHSM2 and its libraries, without the allocator.
    pub(crate) module: f64,
}

impl Counts {
    /// All but SHA-256.
    pub(crate) fn rest(&self) -> f64 {
        self.total - self.sha256
    }

    /// Without what is done in so many seconds anyway.
    pub(crate) fn without(self, each_second: &Self, seconds: f64) -> Self {
        self.combined(each_second, |count, rate| rate.mul_add(-seconds, count))
    }

    pub(crate) fn for_each_of(self, requests: usize) -> Self {
        let requests = u32::try_from(requests).unwrap_or(u32::MAX);
        self.divided_by(f64::from(requests))
    }

    pub(crate) fn divided_by(self, parts: f64) -> Self {
        self.combined(&self, |count, _| count / parts)
    }

    fn combined(self, other: &Self, with: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            total: with(self.total, other.total),
            sha256: with(self.sha256, other.sha256),
            module: with(self.module, other.module),
        }
    }
}

/// A program under callgrind, with one server thread.
pub(crate) fn command(program: &Path, state: &Path) -> Command {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--fair-sched=yes", "--quiet"])
        .arg(format!("--callgrind-out-file={}", state.join(FILE).display()))
        .arg(program)
        .env("MALLOC_CONF", ALLOCATOR)
        .env("TOKIO_WORKER_THREADS", "1");
    command
}

/// Whether it is installed.
pub(crate) fn is_there() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// The counters of one process, written out into one file after the other.
pub(crate) struct Counters<'a> {
    server: &'a Server,
    parts: u32,
}

impl<'a> Counters<'a> {
    pub(crate) fn of(server: &'a Server) -> Self {
        Self { server, parts: 0 }
    }

    /// Starts to count from zero.
    pub(crate) fn zero(&self) -> anyhow::Result<()> {
        self.tell("zero")
    }

    /// What was counted since the last time.
    pub(crate) fn take(&mut self) -> anyhow::Result<Counts> {
        self.tell("dump")?;
        self.parts += 1;
        let file =
            PathBuf::from(format!("{}.{}", self.server.home.join(FILE).display(), self.parts));
        let text = fs::read_to_string(&file).with_context(|| format!("no {}", file.display()))?;
        parse(&text)
    }

    fn tell(&self, command: &str) -> anyhow::Result<()> {
        let process = format!("--pid={}", self.server.process());
        let output = Command::new("vgdb").args([process.as_str(), command]).output()?;
        ensure!(output.status.success(), "vgdb: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

/// Sums the cost of each function itself. The format is told in the manual of callgrind: a name is
/// given with its number once, and by the number later; the line after `calls=` is the cost of the
/// function that was called.
fn parse(text: &str) -> anyhow::Result<Counts> {
    let (mut functions, mut objects) = (HashMap::new(), HashMap::new());
    let (mut is_sha256, mut is_module, mut is_of_call) = (false, false, false);
    let mut counts = Counts::default();
    for line in text.lines() {
        if let Some((key, value)) = line.split_once('=') {
            match key {
                "fn" => is_sha256 = name(&mut functions, value).contains("sha256_block"),
                "cfn" => _ = name(&mut functions, value),
                "ob" => is_module = is_of_module(name(&mut objects, value)),
                "cob" => _ = name(&mut objects, value),
                "calls" => is_of_call = true,
                _ => {}
            }
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first))
            && !std::mem::take(&mut is_of_call)
        {
            let cost = line.split(' ').nth(1).map_or(Ok(0.0), str::parse::<f64>)?;
            counts.total += cost;
            counts.sha256 += if is_sha256 { cost } else { 0.0 };
            counts.module += if is_module { cost } else { 0.0 };
        }
    }
    Ok(counts)
}

fn name<'t>(names: &mut HashMap<&'t str, &'t str>, value: &'t str) -> &'t str {
    let (number, name) = value.split_once(' ').unwrap_or((value, ""));
    names.entry(number).or_insert(name)
}

fn is_of_module(object: &str) -> bool {
    ["softhsm", "libcrypto", "libstdc++"].iter().any(|part| object.contains(part))
}
