//! What a signed request costs the gateway, beside the minimal program that is given as many bytes:
//! processor time and ratios (`make bench`), or instructions (`make bench-instructions`).
//!
//! docs/performance.md tells how to read the figures.

#![expect(clippy::print_stdout, reason = "the tables are what it is for")]

mod callgrind;
mod calls;
#[path = "../gateway/cpu.rs"]
mod cpu;
mod instructions;
#[path = "../gateway/load.rs"]
mod load;
mod memory;
#[path = "../gateway/module.rs"]
mod module;
#[path = "../gateway/requests.rs"]
mod requests;
mod servers;

use std::path::{Path, PathBuf};
use std::time::Duration;

use calls::{Operation, requests};
use clap::Parser;
use load::Window;
use memory::Memory;
use servers::{Program, Servers};

const PLAINTEXT_BYTES: usize = 32;
/// No window takes longer; its requests are counted.
const LONGEST_WINDOW: Duration = Duration::from_mins(10);

/// Requests of a window under callgrind in a test run.
const COUNTED_REQUESTS: usize = 50;

/// What `cargo test` runs.
const TEST_RUN: [&str; 7] = ["cost", "--bursts", "1", "--requests", "20", "--connections", "2"];

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
    /// Another build of hsmgate to measure
    #[arg(long, value_name = "FILE")]
    gateway: Option<PathBuf>,
    /// Cargo's word for "measure": without it this is a test run, as short as can be
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let is_measurement = std::env::args().any(|argument| argument == "--bench");
    let options = if is_measurement { Options::parse() } else { Options::parse_from(TEST_RUN) };
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let home = tempfile::Builder::new().prefix("hsmgate-cost-").tempdir_in(parent)?;
    let home = home.path().canonicalize()?;
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

/// Prints processor time and ratios.
fn measure(options: &Options, home: &Path) -> anyhow::Result<()> {
    let servers = Servers::start(home, options.gateway.as_deref(), &[])?;
    let mut memory = Memory::default();
    // A test run does not wait.
    let rest = |time| std::thread::sleep(if options.bench { time } else { Duration::ZERO });
    rest(memory::AFTER_START);
    memory.add("10 s after the start", &servers)?;
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "\n{} bursts of {} requests to each in turn, medians; {PLAINTEXT_BYTES} B; {processors} \
         processors, shared with the load; audit and log in memory; µs a request\n",
        options.bursts, options.requests
    );
    println!(
        "| operation | connections | CPU: gateway | minimal | ratio | p50: gateway | minimal \
         | ratio | p99: gateway | minimal | ratio | requests/s: gateway | minimal |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for operation in Operation::ALL {
        for &connections in &options.connections {
            let row = Row::measure(options, &servers, operation, connections)?;
            println!("| {} | {connections} | {row}", operation.name());
        }
    }
    memory.add("after the load", &servers)?;
    rest(memory::AFTER_LOAD);
    memory.add("60 s later", &servers)?;
    println!("{memory}");
    Ok(())
}

/// The bursts of one operation, each to the gateway and to the minimal program.
struct Row(Vec<(Window, Window)>);

impl Row {
    fn measure(
        options: &Options,
        servers: &Servers,
        operation: Operation,
        connections: usize,
    ) -> anyhow::Result<Self> {
        let burst = |program| burst(servers, operation, program, options.requests, connections);
        Program::BOTH.into_iter().try_for_each(|program| burst(program).map(drop))?;
        let pairs = (0..options.bursts)
            .map(|_burst| Ok((burst(Program::Gateway)?, burst(Program::Minimal)?)));
        Ok(Self(pairs.collect::<anyhow::Result<_>>()?))
    }

    /// The medians of a figure, and of the ratios of each pair.
    fn medians(&self, of: impl Fn(&Window) -> f64) -> (f64, f64, f64) {
        let median = |figure: &dyn Fn(&(Window, Window)) -> f64| {
            let mut figures: Vec<f64> = self.0.iter().map(figure).collect();
            figures.sort_unstable_by(f64::total_cmp);
            figures.get(figures.len() / 2).copied().unwrap_or_default()
        };
        let ratio = median(&|(gateway, minimal)| of(gateway) / of(minimal));
        (median(&|(gateway, _)| of(gateway)), median(&|(_, minimal)| of(minimal)), ratio)
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let times: [fn(&Window) -> Duration; 3] = [
            |window| window.cpu.token + window.cpu.server,
            |window| window.p50,
            |window| window.p99,
        ];
        for time in times {
            let (gateway, minimal, ratio) = self.medians(|window| time(window).as_secs_f64() * 1e6);
            write!(f, "{gateway:.1} | {minimal:.1} | {ratio:.2} | ")?;
        }
        let (gateway, minimal, _ratio) = self.medians(|window| window.rate);
        write!(f, "{gateway:.0} | {minimal:.0} |")
    }
}

fn burst(
    servers: &Servers,
    operation: Operation,
    program: Program,
    count: usize,
    connections: usize,
) -> anyhow::Result<Window> {
    let requests = requests(servers, operation, program, count)?;
    let server = servers.of(program);
    let (process, address) = (server.process(), server.address);
    let window = load::run_in(&process, address, &requests, connections, LONGEST_WINDOW, false)?;
    anyhow::ensure!(window.count == count, "not every request was sent");
    Ok(window)
}
