//! Instructions a request, under callgrind.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::callgrind::{Counters, Counts};
use crate::calls::Operation;
use crate::servers::{Program, Servers};
use crate::{Options, burst};

/// Windows of an operation. The median is shown: a checkpoint of the audit falls into one of them,
/// and on a busy machine a thread looks more often whether there is work.
const WINDOWS: usize = 5;
/// How long the instructions of the program at rest are counted, which are not the requests'.
const PAUSE: Duration = Duration::from_secs(3);

/// How far above the documented number a request may be.
const TOLERANCE: f64 = 1.10;
const DOCUMENT: &str = include_str!("../../docs/performance.md");
/// The rows after it are the documented numbers of this kind of build.
const DOCUMENTED: &str = if cfg!(debug_assertions) {
    "| operation | instructions without SHA-256, test build |"
} else {
    "| operation | instructions without SHA-256 |"
};

/// Prints the table, and compares the gateway with the documented numbers.
pub(crate) fn count(
    options: &Options,
    home: &Path,
    programs: &[Program],
    operations: &[Operation],
) -> anyhow::Result<()> {
    let servers = Servers::start(home, options.gateway.as_deref(), programs)?;
    println!(
        "\nInstructions a request, in user space, under callgrind: one connection, median of {WINDOWS} windows of \
         {} requests\n",
        options.requests
    );
    println!(
        "| program | operation | all | SHA-256 | all but SHA-256 | of these in SoftHSM2 and OpenSSL | spread |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|");
    for &program in programs {
        let mut counters = Counters::of(servers.of(program));
        let at_rest = at_rest(&mut counters)?;
        for &operation in operations {
            // The first window warms up.
            let mut windows = Vec::new();
            for _window in 0..=WINDOWS {
                counters.zero()?;
                let start = Instant::now();
                burst(&servers, operation, program, options.requests, 1)?;
                let length = start.elapsed().as_secs_f64();
                windows
                    .push(counters.take()?.without(&at_rest, length).for_each_of(options.requests));
            }
            let counted = print(program, operation, windows.split_off(1));
            if program == Program::Gateway && options.gateway.is_none() {
                check(operation, counted)?;
            }
        }
    }
    Ok(())
}

fn check(operation: Operation, counted: f64) -> anyhow::Result<()> {
    let documented = documented(operation)?;
    ensure!(
        counted <= TOLERANCE * documented,
        "{} executes {counted:.0} instructions, and docs/performance.md allows {TOLERANCE} times {documented}",
        operation.name()
    );
    Ok(())
}

/// The documented instructions of an operation, without SHA-256.
fn documented(operation: Operation) -> anyhow::Result<f64> {
    let (_before, rows) = DOCUMENT.split_once(DOCUMENTED).context("no table of instructions")?;
    let row = rows.lines().find(|row| row.starts_with(&format!("| {} |", operation.name())));
    let number = row.and_then(|row| row.split('|').nth(2));
    let number = number.context("no documented number")?.replace([',', ' '], "");
    number.parse().with_context(|| format!("{number:?} is no number"))
}

/// What the program does in a second without requests.
fn at_rest(counters: &mut Counters<'_>) -> anyhow::Result<Counts> {
    counters.zero()?;
    let start = Instant::now();
    thread::sleep(PAUSE);
    Ok(counters.take()?.divided_by(start.elapsed().as_secs_f64()))
}

/// Prints a row with the median. Returns what is checked, without SHA-256: the median, and of the short windows of a
/// test build the least, because other programs on the machine add to them.
fn print(program: Program, operation: Operation, mut windows: Vec<Counts>) -> f64 {
    windows.sort_unstable_by(|one, other| one.rest().total_cmp(&other.rest()));
    let at = |index: usize| windows.get(index).copied().unwrap_or_default();
    let (least, median, most) = (at(0), at(windows.len() / 2), at(windows.len() - 1));
    println!(
        "| {} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.1} % |",
        format!("{program:?}").to_lowercase(),
        operation.name(),
        median.total,
        median.sha256,
        median.rest(),
        median.module,
        100.0 * (most.rest() - least.rest()) / median.rest(),
    );
    if cfg!(debug_assertions) { least.rest() } else { median.rest() }
}
