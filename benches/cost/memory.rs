//! The resident memory of both programs: when they are ready, after the load, and some time later.

use std::fmt;
use std::fs;
use std::time::Duration;

use anyhow::Context as _;

use crate::servers::{Program, Servers};

/// The time between the start and the first row.
pub(crate) const AFTER_START: Duration = Duration::from_secs(10);
/// The time after that in which the gateways test what their tokens can do, with RSA keys that take seconds of
/// the processor.
pub(crate) const CAPABILITY_TESTS: Duration = Duration::from_secs(70);
/// The time between the load and the last row.
pub(crate) const AFTER_LOAD: Duration = Duration::from_mins(1);

/// The table.
#[derive(Default)]
pub(crate) struct Memory(Vec<(&'static str, [Resident; 2])>);

/// The resident memory of a process in MiB.
struct Resident {
    /// With the pages of files, which the system shares.
    all: u64,
    /// Of this process alone.
    own: u64,
}

impl Memory {
    /// Adds a row with the memory of now.
    pub(crate) fn add(&mut self, when: &'static str, servers: &Servers) -> anyhow::Result<()> {
        let [gateway, minimal] =
            Program::BOTH.map(|program| Resident::of(&servers.of(program).process()));
        self.0.push((when, [gateway?, minimal?]));
        Ok(())
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n| resident memory, MiB | gateway: VmRSS | RssAnon | minimal: VmRSS | RssAnon |"
        )?;
        writeln!(f, "|---|---:|---:|---:|---:|")?;
        for (when, [gateway, minimal]) in &self.0 {
            writeln!(
                f,
                "| {when} | {} | {} | {} | {} |",
                gateway.all, gateway.own, minimal.all, minimal.own
            )?;
        }
        Ok(())
    }
}

impl Resident {
    fn of(process: &str) -> anyhow::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let mebibytes = |name: &str| -> anyhow::Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kibibytes = line.context("no such line")?.trim().trim_end_matches(" kB");
            Ok(kibibytes.parse::<u64>()? / 1024)
        };
        Ok(Self { all: mebibytes("VmRSS:")?, own: mebibytes("RssAnon:")? })
    }
}
