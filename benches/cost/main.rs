//! What a signed request costs the gateway, beside the minimal program that is given as many bytes:
//! processor time and ratios (`make bench`), or instructions (`make bench-instructions`).
//!
//! docs/performance.md tells how to read the figures.

#![expect(clippy::print_stdout, reason = "the tables are what it is for")]

mod callgrind;
mod calls;
mod contenders;
#[path = "../gateway/cpu.rs"]
mod cpu;
mod delayed_token;
#[path = "../gateway/instance.rs"]
mod instance;
mod instructions;
#[path = "../gateway/load.rs"]
mod load;
mod memory;
#[path = "../gateway/module.rs"]
mod module;
mod picture;
mod report;
#[path = "../gateway/requests.rs"]
mod requests;
mod rows;
mod servers;
mod slow_sync;
#[path = "../../tests/support/mod.rs"]
mod support;
mod tls;
mod verification;

use std::path::{Path, PathBuf};
use std::time::Duration;

use calls::{Case, Operation};
use clap::Parser;
use contenders::Contenders;
use load::Window;
use memory::Memory;
use report::Line;
use rows::{Bursts, Extent, Row};
use servers::{Program, Servers};
use support::client_key;

const PLAINTEXT_BYTES: usize = 32;
/// No window takes longer; its requests are counted.
const LONGEST_WINDOW: Duration = Duration::from_mins(10);

/// Requests of a window under callgrind in a test run.
const COUNTED_REQUESTS: usize = 50;

/// What `cargo test` runs.
const TEST_RUN: [&str; 11] = [
    "cost",
    "--bursts",
    "1",
    "--requests",
    "20",
    "--connections",
    "2",
    "--keys",
    "5",
    "--handshakes",
    "3",
];

/// The cost of signed requests, beside the minimal program in the same run.
#[derive(Debug, Parser)]
#[command(name = "cost")]
struct Options {
    /// Count instructions under callgrind: one connection, one server thread
    #[arg(long)]
    instructions: bool,
    /// Requests of a burst, or of a window under callgrind
    #[arg(long, default_value_t = 1000)]
    requests: usize,
    /// Bursts to each program in turn; the table shows the medians
    #[arg(long, default_value_t = 21)]
    bursts: usize,
    /// Numbers of connections
    #[arg(long, num_args = 1.., default_values_t = [1, 16, 64])]
    connections: Vec<usize>,
    /// What to measure
    #[arg(long, num_args = 1.., value_enum, default_values_t = Row::ALL)]
    rows: Vec<Row>,
    /// Keys of the gateway with many keys
    #[arg(long, default_value_t = 10_000)]
    keys: usize,
    /// Connections of a window, with TLS and without; 0 measures none
    #[arg(long, default_value_t = 300)]
    handshakes: usize,
    /// Draw the ratios into this SVG file
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
    /// Another build of hsmgate to measure
    #[arg(long, value_name = "FILE")]
    gateway: Option<PathBuf>,
    /// Cargo's word for "measure": without it this is a test run, as short as can be
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let is_measurement = std::env::args().any(|argument| argument == "--bench");
    let mut options = if is_measurement { Options::parse() } else { Options::parse_from(TEST_RUN) };
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let home = tempfile::Builder::new().prefix("hsmgate-cost-").tempdir_in(parent)?;
    let home = home.path().canonicalize()?;
    if !is_measurement {
        options.picture = Some(home.join("picture.svg"));
    }
    if options.instructions {
        return instructions::count(&options, &home, &Program::BOTH, &Operation::ALL);
    }
    measure(&options, &home)?;
    if !is_measurement {
        if callgrind::is_there() {
            let options = Options { requests: COUNTED_REQUESTS, ..options };
            instructions::count(&options, &home.join("counted"), &Program::BOTH, &Operation::ALL)?;
        } else {
            anyhow::ensure!(std::env::var_os("CI").is_none(), "valgrind is needed: make setup");
            println!(
                "not tested: the instructions of a request cannot be counted without valgrind"
            );
        }
    }
    Ok(())
}

/// Prints processor time and ratios, and draws them.
fn measure(options: &Options, home: &Path) -> anyhow::Result<()> {
    let contenders =
        Contenders::start(home, options.gateway.as_deref(), &options.rows, options.keys)?;
    let mut memory = Memory::default();
    // A test run does not wait.
    let rest = |time| std::thread::sleep(if options.bench { time } else { Duration::ZERO });
    rest(memory::AFTER_START);
    memory.add("10 s after the start", &contenders.servers)?;
    rest(memory::CAPABILITY_TESTS);
    let lines = compare(options, &contenders)?;
    if let Some(file) = &options.picture {
        picture::draw(file, &lines)?;
    }
    if options.handshakes > 0 {
        let (plain, program) = (&contenders.servers.gateway, options.gateway.as_deref());
        tls::compare(plain, home, program, options.bursts, options.handshakes)?;
    }
    memory.add("after the load", &contenders.servers)?;
    rest(memory::AFTER_LOAD);
    memory.add("60 s later", &contenders.servers)?;
    println!("{memory}");
    Ok(())
}

/// Prints the table.
fn compare(options: &Options, contenders: &Contenders) -> anyhow::Result<Vec<Line>> {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "\n{} bursts of {} requests to each in turn (a quarter of them over one connection): medians, and \
         quartiles of the ratios; {PLAINTEXT_BYTES} B where no size is given; {processors} processors, shared \
         with the load; audit and log in memory; µs a request\n\n{}",
        options.bursts,
        options.requests,
        report::HEAD
    );
    let extent = Extent {
        rounds: options.bursts,
        calls: options.requests,
        connections: &options.connections,
        keys: options.keys,
    };
    let (mut lines, mut durable) = (Vec::new(), Vec::new());
    for row in &options.rows {
        for connections in row.connections(&options.connections) {
            let bursts = Bursts::measure(contenders, *row, connections, &extent)?;
            let measured = Line::all(&bursts);
            for line in &measured {
                println!("{line}");
            }
            if !bursts.verifications.is_empty() {
                println!("{}", report::verification_row(&bursts.verifications));
            }
            durable.extend(report::durable(&bursts, &measured));
            lines.extend(measured);
        }
    }
    if !durable.is_empty() {
        println!(
            "\nCalls/s with a durable audit whose syncs take 1 ms, share of those without (goal: 0.70)"
        );
        for share in durable {
            println!("- {share}");
        }
    }
    Ok(lines)
}

/// A burst of the calls whose instructions are counted.
fn burst(
    servers: &Servers,
    operation: Operation,
    program: Program,
    count: usize,
    connections: usize,
) -> anyhow::Result<Window> {
    let case = Case::of(operation);
    let requests = match program {
        Program::Gateway => case.signed(&servers.gateway, count)?,
        Program::Minimal => case.bare(&servers.gateway, &servers.minimal, count)?,
    };
    contenders::send(servers.of(program), &requests, connections)
}
