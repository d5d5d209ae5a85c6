//! Encryptions per second with the default number of workers beside fixed numbers, for tokens that
//! take different times for a call: `make bench`.
//!
//! docs/performance.md tells how to read the figures.

#![expect(clippy::print_stdout, reason = "the table is what it is for")]

#[path = "../../tests/support/softhsm.rs"]
#[allow(clippy::expect_used, clippy::allow_attributes, reason = "shared with the tests")]
mod softhsm;
#[path = "../../tests/support/tokens.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::allow_attributes,
    reason = "shared with the tests"
)]
mod tokens;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs};

use fault_token::{Fault, Rule, Settings, write_rules};
use hsmgate::model::{IvLength, KeyId, KeySpec, KeyUsage, KeyVersionId};
use hsmgate::token::{
    Budget, KeyClass, KeyIdentity, ObjectName, ObjectOwner, Token, TokenSelector, TokenSettings,
};
use secrecy::SecretString;
use tokens::{PIN, Product, SO_PIN, TestToken};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const LABEL: &str = "hsmgate-bench";
/// The module of the token that this process was started for.
const MODULE: &str = "HSMGATE_BENCH_MODULE";
/// Callers at once.
const CALLERS: usize = 64;
/// What is added to each call of the module.
const DELAYS: [Duration; 3] =
    [Duration::ZERO, Duration::from_micros(500), Duration::from_millis(5)];
/// Numbers of workers; `None` is the default.
const WORKERS: [Option<usize>; 5] = [None, Some(1), Some(4), Some(16), Some(64)];
const CALL_TIME: Duration = Duration::from_secs(30);
const TEXT: &[u8] = b"32 bytes of plaintext for a call";

/// The lengths of a run.
#[derive(Debug, Clone, Copy)]
struct Lengths {
    window: Duration,
    rounds: usize,
}

fn main() -> anyhow::Result<()> {
    let is_measurement = env::args().any(|argument| argument == "--bench");
    let lengths = if is_measurement {
        Lengths { window: Duration::from_secs(1), rounds: 7 }
    } else {
        Lengths { window: Duration::from_millis(20), rounds: 1 }
    };
    if let Some(module) = env::var_os(MODULE) {
        return print_row("over p11-kit", Path::new(&module), lengths);
    }
    let home = tempfile::Builder::new().prefix("hsmgate-bench-").tempdir_in(softhsm::scratch())?;
    println!("Encryptions per second, {CALLERS} callers, {} B, medians", TEXT.len());
    println!();
    println!("| token | default | workers | 1 | 4 | 16 | 64 | default / best fixed |");
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for (index, delay) in DELAYS.into_iter().enumerate() {
        let module = install(&home.path().join(index.to_string()), delay)?;
        let name = format!("{} ms added to a call", delay.as_secs_f64() * 1e3);
        print_row(&name, &module, lengths)?;
    }
    measure_remote(&home.path().join("remote"))
}

/// The token behind a socket, if it is installed. Its programs run in a tree of their own.
fn measure_remote(directory: &Path) -> anyhow::Result<()> {
    if !Product::Remote.is_installed() {
        return Ok(());
    }
    fs::create_dir(directory)?;
    let token = TestToken::new(Product::Remote, directory, LABEL);
    let status = token
        .command(env::current_exe()?)
        .args(env::args_os().skip(1))
        .envs(token.environment())
        .env(MODULE, &token.module)
        .status()?;
    anyhow::ensure!(status.success(), "the measurement over p11-kit failed: {status}");
    Ok(())
}

/// Measures all numbers of workers in turn, several times, because other work may slow the machine.
fn print_row(name: &str, module: &Path, lengths: Lengths) -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    let key = runtime.block_on(make_key(module))?;
    let mut rates: [Vec<f64>; WORKERS.len()] = Default::default();
    let mut default = Vec::new();
    for _round in 0..lengths.rounds {
        for (workers, rates) in WORKERS.into_iter().zip(&mut rates) {
            let token = open(module, workers)?;
            // Sessions and copies of keys; the default also has to find its number.
            let before = lengths.window / 2 * if workers.is_none() { 5 } else { 1 };
            runtime.block_on(encryptions(&token, key, before))?;
            rates.push(runtime.block_on(encryptions(&token, key, lengths.window))?);
            if workers.is_none() {
                default.push(token.load().sessions.saturating_sub(1).to_string());
            }
            token.close();
        }
    }
    let [of_default, fixed @ ..] = rates.map(median);
    let best = fixed.iter().copied().fold(0.0, f64::max);
    let fixed: Vec<String> = fixed.iter().map(|rate| format!("{rate:.0}")).collect();
    println!(
        "| {name} | {of_default:.0} | {} | {} | {:.0} % |",
        default.join(" "),
        fixed.join(" | "),
        of_default / best * 100.0
    );
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The fault token before a SoftHSM2 token.
fn install(directory: &Path, delay: Duration) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(directory)?;
    let control = (!delay.is_zero()).then(|| directory.join("control"));
    let settings = Settings {
        module: softhsm::module(),
        environment: [("SOFTHSM2_CONF".to_owned(), softhsm::configure(directory))].into(),
        control: control.clone(),
        ..Settings::default()
    };
    let module = settings.install(directory);
    let pins: [SecretString; 2] = [SO_PIN.into(), PIN.into()];
    Token::initialize(&module, None, LABEL, &pins[0], &pins[1])?;
    if let Some(control) = control {
        write_rules(&control, &[Rule::on_all(Fault::delay(delay))]);
    }
    Ok(module)
}

fn open(module: &Path, workers: Option<usize>) -> anyhow::Result<Token> {
    let label = TokenSelector::Label(LABEL.to_owned());
    Ok(Token::open(TokenSettings {
        workers: workers.and_then(NonZeroUsize::new),
        max_queue_wait: CALL_TIME,
        ..TokenSettings::new(module.to_owned(), label, PIN.into())
    })?)
}

async fn make_key(module: &Path) -> anyhow::Result<KeyIdentity> {
    let token = open(module, None)?;
    let name = ObjectName {
        owner: ObjectOwner::Key(KeyId::random()),
        number: 1,
        version: KeyVersionId::random(),
        iv_length: IvLength::default(),
    };
    let budget = Budget::new(CALL_TIME);
    let make = token.change(&budget, move |worker| {
        worker.generate(&name, KeySpec::Aes256, KeyUsage::EncryptDecrypt)
    });
    make.await?;
    token.close();
    Ok(KeyIdentity { name, class: KeyClass::of(KeySpec::Aes256) })
}

/// Encryptions per second of all callers.
async fn encryptions(token: &Token, key: KeyIdentity, length: Duration) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut callers = JoinSet::new();
    for _caller in 0..CALLERS {
        let token = token.clone();
        callers.spawn(async move {
            let mut count = 0_u32;
            while start.elapsed() < length {
                let budget = Budget::new(CALL_TIME);
                let encrypt = token.run(&budget, move |worker| worker.encrypt(key, None, TEXT));
                encrypt.await?;
                count += 1;
            }
            anyhow::Ok(count)
        });
    }
    let mut total = 0;
    while let Some(count) = callers.join_next().await {
        total += count??;
    }
    Ok(f64::from(total) / start.elapsed().as_secs_f64())
}
