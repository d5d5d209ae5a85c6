//! Requests a second of the gateway beside baselines in the same run: `make bench`.
//!
//! docs/performance.md tells what each baseline is and how to read the figures.

#![expect(clippy::print_stdout, reason = "the tables are what it is for")]

mod baseline;
#[path = "../../tests/support/client_key.rs"]
mod client_key;
mod cpu;
mod identity;
mod instance;
mod load;
mod module;
mod others;
mod process;
mod report;
mod requests;
mod secrets;
mod testbed;

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use clap::Parser;
use hsmgate::config::{AuditSettings, ForwardSettings};
use http::Request;
use http_body_util::Full;

use load::Window;
use requests::Requests;
use testbed::Testbed;
use tikv_jemallocator::Jemalloc;
use zeroizing_alloc::ZeroAlloc;

/// The allocator of the program, which the PKCS#11 module uses too.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<Jemalloc> = ZeroAlloc(Jemalloc);

/// A signature is good for a quarter of an hour, and what is signed has to fit into memory.
const LONGEST_WINDOW_SECONDS: f64 = 60.0;
/// Requests a second that are signed while nobody knows how many the gateway will want.
const WARM_UP_RATE: f64 = 20_000.0;

/// Signed beyond what is expected: a window that is short of requests ends early.
const SPARE: f64 = 1.3;

/// What `cargo test` runs: each window once, so that a benchmark that cannot run is a failed test.
const TEST_RUN: [&str; 10] = [
    "gateway",
    "--seconds",
    "0.04",
    "--rounds",
    "1",
    "--connections",
    "2",
    "--bytes",
    "32",
    "--sessions=20",
];

/// Signed Encrypt calls against a gateway in this process, beside its parts alone.
#[derive(Debug, Parser)]
#[command(name = "gateway")]
struct Options {
    /// The length of one window
    #[arg(long, default_value_t = 0.6)]
    seconds: f64,
    /// Windows of each kind; the tables show the medians
    #[arg(long, default_value = "5")]
    rounds: NonZeroUsize,
    /// Numbers of connections
    #[arg(long, num_args = 1.., default_values_t = [1, 16, 64])]
    connections: Vec<usize>,
    /// Sizes of plaintexts, 1 to 6144 bytes
    #[arg(long, num_args = 1.., default_values_t = [32, 6144])]
    bytes: Vec<usize>,
    /// What to measure
    #[arg(long, num_args = 1.., value_enum, default_values_t = Subject::ALL)]
    subjects: Vec<Subject>,
    /// Measure a gateway with an audit in this new file too: a record is on disk before each answer
    #[arg(long, value_name = "FILE")]
    audit: Option<PathBuf>,
    /// The size of the audit's journal in MiB; 0 is none
    #[arg(long, default_value_t = 16)]
    journal_mib: u64,
    /// Sessions that are alive
    #[arg(long, default_value_t = 10_000)]
    sessions: usize,
    /// The tables
    #[arg(long, num_args = 1.., value_enum, default_values_t = Table::ALL)]
    tables: Vec<Table>,
    /// Cargo's word for "measure": without it this is a test run, as short as can be
    #[arg(long, hide = true)]
    bench: bool,
}

/// A table of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Table {
    /// Encrypt, for each of the subjects.
    Encrypt,
    /// Other operations.
    Operations,
    /// `GetSecretValue` beside Decrypt.
    Secrets,
    /// Encrypt with sessions, and the exchange of tokens.
    Sessions,
}

impl Table {
    const ALL: [Self; 4] = [Self::Encrypt, Self::Operations, Self::Secrets, Self::Sessions];
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
enum Subject {
    /// The HTTP stack around a handler that does nothing.
    Empty,
    /// The gateway.
    Full,
    /// The gateway with an audit, where --audit names a file for it.
    Audited,
    /// The gateway through the protocol of KMS instances.
    Instance,
    /// The token call alone, from as many tasks as there are connections.
    Raw,
}

impl Subject {
    const ALL: [Self; 5] = [Self::Empty, Self::Full, Self::Audited, Self::Instance, Self::Raw];

    /// Whether it refuses a nonce that was used.
    fn takes_once(self) -> bool {
        matches!(self, Self::Full | Self::Audited)
    }
}

/// One row of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Case {
    bytes: usize,
    connections: usize,
}

impl Options {
    /// The audit as the sample configuration has it, in the named file.
    fn audit(&self) -> Option<AuditSettings> {
        self.audit.clone().map(|file| AuditSettings {
            file,
            journal_bytes: self.journal_mib * 1024 * 1024,
            timeout: Duration::from_secs(1),
            required: true,
            checkpoint_records: 10_000,
            checkpoint_interval: Duration::from_mins(1),
            forward: ForwardSettings::default(),
        })
    }

    fn cases(&self) -> impl Iterator<Item = Case> {
        self.bytes.iter().flat_map(move |&bytes| {
            self.connections.iter().map(move |&connections| Case { bytes, connections })
        })
    }
}

fn main() -> anyhow::Result<()> {
    let mut options =
        if is_measurement() { Options::parse() } else { Options::parse_from(TEST_RUN) };
    options.subjects.retain(|subject| *subject != Subject::Audited || options.audit.is_some());
    let seconds = options.seconds;
    ensure!(seconds > 0.0 && seconds <= LONGEST_WINDOW_SECONDS, "--seconds is 0 to 60");
    ensure!(options.bytes.iter().all(|bytes| (1..=6144).contains(bytes)), "--bytes is 1 to 6144");
    ensure!(!options.connections.contains(&0), "--connections begins with 1");
    let Some(home) = process::home() else { return process::start_anew() };
    let outcome =
        Testbed::prepare(&home, options.audit()).and_then(|testbed| measure(&options, testbed));
    hsmgate::telemetry::flush();
    outcome
}

/// Cargo gives its word to a benchmark, and none to a test.
fn is_measurement() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

fn measure(options: &Options, testbed: Testbed) -> anyhow::Result<()> {
    let length = Duration::from_secs_f64(options.seconds);
    let mut measured = report::Measured::default();
    let is_wanted = |table| options.tables.contains(&table);
    let mut needed = warm_up(options, &testbed, length / 4)?;
    let rounds = if is_wanted(Table::Encrypt) { options.rounds.get() } else { 0 };
    for round in 0..rounds {
        for &bytes in &options.bytes {
            measured.note_loop(bytes, testbed.token_loop(bytes, length)?);
        }
        for case in options.cases() {
            let rate = needed.get(&case).copied().unwrap_or_default();
            let call = testbed.signer.encrypt(case.bytes);
            let requests = signed(rate, length, || testbed.signer.sign(&call))?;
            for subject in in_turn(&options.subjects, round) {
                let window = window(&testbed, subject, case, &requests, length)?;
                if subject == Subject::Full {
                    needed.insert(case, rate.max(window.rate));
                }
                measured.note(case, subject, window);
            }
        }
    }
    let mut others = Vec::<Box<dyn fmt::Display>>::new();
    if is_wanted(Table::Operations) {
        others.push(Box::new(others::measure(options, &testbed, length)?));
    }
    if is_wanted(Table::Secrets) {
        others.push(Box::new(secrets::measure(options, &testbed, length)?));
    }
    if is_wanted(Table::Sessions) {
        others.push(Box::new(identity::measure(options, &testbed, length)?));
    }
    testbed.close();
    if is_wanted(Table::Encrypt) {
        println!("{}", report::Tables { options, measured: &measured });
    }
    for table in others {
        println!("{table}");
    }
    Ok(())
}

/// Runs everything once; tells how many requests a second the gateway will want.
fn warm_up(
    options: &Options,
    testbed: &Testbed,
    length: Duration,
) -> anyhow::Result<BTreeMap<Case, f64>> {
    let mut rates = BTreeMap::new();
    for case in options.cases() {
        let call = testbed.signer.encrypt(case.bytes);
        let requests = signed(WARM_UP_RATE, length, || testbed.signer.sign(&call))?;
        for subject in options.subjects.iter().copied() {
            let window = window(testbed, subject, case, &requests, length)?;
            if subject == Subject::Full {
                rates.insert(case, window.rate);
            }
        }
    }
    Ok(rates)
}

/// What `sign` gives, often enough for a window with so many a second.
fn signed(
    rate: f64,
    length: Duration,
    mut sign: impl FnMut() -> anyhow::Result<Request<Full<Bytes>>>,
) -> anyhow::Result<Requests> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small positive number"
    )]
    let count = (rate * length.as_secs_f64() * SPARE) as usize + 1;
    let requests = (0..count).map(|_index| requests::written(&sign()?, b""));
    let requests: anyhow::Result<_> = requests.collect();
    Ok(Requests(Arc::new(requests?)))
}

/// Each round begins with another one, so that none always runs behind the same neighbour.
fn in_turn(subjects: &[Subject], round: usize) -> impl Iterator<Item = Subject> {
    subjects.iter().copied().cycle().skip(round % subjects.len().max(1)).take(subjects.len())
}

fn window(
    testbed: &Testbed,
    subject: Subject,
    case: Case,
    requests: &Requests,
    length: Duration,
) -> anyhow::Result<Window> {
    let before = cpu::Times::of("self")?;
    let mut window = match subject {
        Subject::Raw => testbed.raw_encrypt(case, length)?,
        Subject::Instance => {
            let request = testbed.caller.encrypt(case.bytes);
            let requests = Requests(Arc::new(vec![requests::written(&request, request.body())?]));
            load::run(testbed.address(subject), &requests, case.connections, length, true)?
        }
        _ => {
            let may_repeat = !subject.takes_once();
            load::run(testbed.address(subject), requests, case.connections, length, may_repeat)?
        }
    };
    window.cpu = cpu::Times::of("self")?.since(&before).for_each_of(window.count);
    Ok(window)
}
