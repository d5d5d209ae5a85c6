//! What a database costs a request, and what a second gateway gives: `cargo bench --bench cluster`.
//!
//! docs/performance.md tells how to read the figures.

#![expect(clippy::print_stdout, reason = "the tables are what it is for")]

#[path = "../gateway/cpu.rs"]
mod cpu;
#[path = "../gateway/load.rs"]
mod load;
#[path = "../gateway/requests.rs"]
mod requests;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use clap::Parser;
use fault_token::{Fault, Rule, Settings, write_rules};
use hsmgate::cli::client::Target;
use load::Window;
use requests::{Requests, Signer, written};
use support::installation::{AccessKey, Installation, LABEL, Server};
use support::postgresql::{self, Database};
use support::process::until_async;

const PLAINTEXT_BYTES: usize = 32;
/// No burst takes longer; its requests are counted.
const LONGEST_BURST: Duration = Duration::from_mins(10);
/// What an encryption takes in the token, and the workers of each gateway, where two are compared with one.
const TOKEN_DELAYS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(2)];
/// The call that takes it. An encryption makes this one once, and C_Encrypt twice: for the length and for the
/// output.
const DELAYED_CALL: &str = "C_EncryptInit";
const WORKERS: usize = 4;
const CLIENTS: usize = 64;

/// What `cargo test` runs.
const TEST_RUN: [&str; 7] = ["cluster", "--bursts", "1", "--requests", "20", "--connections", "2"];

/// Encrypt with a store on SQLite and PostgreSQL, and with two gateways beside one.
#[derive(Debug, Parser)]
#[command(name = "cluster")]
struct Options {
    /// Requests of a burst
    #[arg(long, default_value_t = 1500)]
    requests: usize,
    /// Bursts to each gateway in turn; the tables show the medians
    #[arg(long, default_value_t = 15)]
    bursts: usize,
    /// Numbers of connections
    #[arg(long, num_args = 1.., default_values_t = [1, 16, 64])]
    connections: Vec<usize>,
    /// Cargo's word for "measure": without it this is a test run, as short as can be
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let is_measurement = std::env::args().any(|argument| argument == "--bench");
    let options = if is_measurement { Options::parse() } else { Options::parse_from(TEST_RUN) };
    compare_stores(&options)?;
    compare_copies(&options)?;
    compare_numbers(&options)
}

/// A gateway, and who signs for it.
struct Gateway {
    server: Server,
    signer: Signer,
    // Dropped after the server.
    _installation: Option<Installation>,
}

impl Gateway {
    fn new(
        server: Server,
        user: &AccessKey,
        key_id: &str,
        installation: Option<Installation>,
    ) -> anyhow::Result<Self> {
        let target = Target::new(&server.endpoint, &user.id, user.secret.clone().into())?;
        let signer = Signer::new(target, key_id.to_owned());
        Ok(Self { server, signer, _installation: installation })
    }

    /// On SQLite, with two copies of the PKCS#11 module for the same token: a group of two tokens for the
    /// gateway.
    fn with_two_copies() -> anyhow::Result<Self> {
        let installation = Installation::new();
        configure(&installation, None, "");
        let user = AccessKey::of(&installation.init().json());
        let copy = installation.path("copy.so");
        fs::copy(&installation.token.module, &copy)?;
        let pin_file = installation.path("pin");
        let second = format!(
            "[[token]]\nname = \"b\"\nmodule = \"{}\"\nlabel = \"{LABEL}\"\npin_file = \"{}\"\n",
            copy.display(),
            pin_file.display()
        );
        configure(&installation, None, &second);
        let file = installation.path("hsmgate.toml");
        let text = fs::read_to_string(&file)?;
        fs::write(&file, text.replace("[token]\n", "[[token]]\nname = \"a\"\n"))?;
        let server = installation.serve();
        let key_id = create_key(&server, &user)?;
        Self::new(server, &user, &key_id, Some(installation))
    }

    /// On this database, or on SQLite.
    fn on(database: Option<&Database<'_>>, further: &str) -> anyhow::Result<Self> {
        let installation = Installation::new();
        configure(&installation, database, further);
        let user = AccessKey::of(&installation.init().json());
        let server = installation.serve();
        let key_id = create_key(&server, &user)?;
        Self::new(server, &user, &key_id, Some(installation))
    }

    fn requests(&self, count: usize) -> anyhow::Result<Requests> {
        let call = self.signer.encrypt(PLAINTEXT_BYTES);
        let requests = (0..count).map(|_index| written(&self.signer.sign(&call)?, b""));
        Ok(Requests(Arc::new(requests.collect::<anyhow::Result<_>>()?)))
    }

    fn burst(&self, count: usize, connections: usize) -> anyhow::Result<Window> {
        let requests = self.requests(count)?;
        self.send(&requests, connections)
    }

    /// Sends requests until `left` is used up.
    fn send_shared(
        &self,
        requests: &Requests,
        connections: usize,
        left: &AtomicUsize,
    ) -> anyhow::Result<Window> {
        let process = self.server.process_id().to_string();
        load::run_shared(&process, self.server.address().parse()?, requests, connections, left)
    }

    fn send(&self, requests: &Requests, connections: usize) -> anyhow::Result<Window> {
        let process = self.server.process_id().to_string();
        let address = self.server.address().parse()?;
        let window = load::run_in(&process, address, requests, connections, LONGEST_BURST, false)?;
        ensure!(window.count == requests.0.len(), "not every request was sent");
        Ok(window)
    }
}

/// Writes a configuration without limits.
fn configure(installation: &Installation, database: Option<&Database<'_>>, further: &str) {
    let file = format!("sqlite://{}", installation.path("hsmgate.db").display());
    installation.configure(|text| {
        if let Some(database) = database {
            *text = text.replace(&file, &database.url());
        }
        text.push_str("[limits]\ncalls_per_second = 0\n");
        text.push_str(further);
    });
}

fn create_key(server: &Server, user: &AccessKey) -> anyhow::Result<String> {
    let created = runtime()?.block_on(server.client(user).call("CreateKey", &[]))?;
    let id = created.pointer("/KeyMetadata/KeyId").and_then(serde_json::Value::as_str);
    Ok(id.context("no KeyId")?.to_owned())
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Four gateways, alive at the same time, with bursts to each in turn.
fn compare_stores(options: &Options) -> anyhow::Result<()> {
    let databases = [(); 3].map(|()| postgresql::server().create_database());
    let [alone, separate, shared] = &databases;
    let nonces = |scope| format!("[cluster]\nname = \"a\"\nnonces = \"{scope}\"\n");
    let gateways = [
        ("SQLite", Gateway::on(None, "")?),
        ("PostgreSQL", Gateway::on(Some(alone), "")?),
        ("PostgreSQL, `nonces = \"gateway\"`", Gateway::on(Some(separate), &nonces("gateway"))?),
        ("PostgreSQL, `nonces = \"cluster\"`", Gateway::on(Some(shared), &nonces("cluster"))?),
    ];
    compare(options, "store", &gateways)
}

/// One token behind one module, and behind two copies of the module.
fn compare_copies(options: &Options) -> anyhow::Result<()> {
    let gateways = [
        ("one", Gateway::on(None, "")?),
        ("one, another process", Gateway::on(None, "")?),
        ("two copies", Gateway::with_two_copies()?),
    ];
    compare(options, "PKCS#11 modules", &gateways)
}

/// Sends bursts to each gateway in turn, and prints the medians beside those of the first one.
fn compare<const N: usize>(
    options: &Options,
    title: &str,
    gateways: &[(&str, Gateway); N],
) -> anyhow::Result<()> {
    println!(
        "| {title} | connections | CPU µs | ratio | p50 ms | ratio | p99 ms | ratio | calls/s | ratio |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for &connections in &options.connections {
        for (_name, gateway) in gateways {
            gateway.burst(options.requests, connections)?;
        }
        let mut rounds = Vec::new();
        for round in 0..options.bursts {
            // Each round begins with another one, so that none always runs behind the same neighbor.
            let mut windows = [Window::default(); N];
            for turn in 0..N {
                let position = (round + turn) % N;
                if let (Some(window), Some((_name, gateway))) =
                    (windows.get_mut(position), gateways.get(position))
                {
                    *window = gateway.burst(options.requests, connections)?;
                }
            }
            rounds.push(windows);
        }
        for (position, (name, _gateway)) in gateways.iter().enumerate() {
            let row = Row { rounds: &rounds, position };
            println!("| {name} | {connections} | {row}");
        }
    }
    println!();
    Ok(())
}

/// The bursts to the gateway at a position, and to the first one.
struct Row<'r, const N: usize> {
    rounds: &'r [[Window; N]],
    position: usize,
}

impl<const N: usize> Row<'_, N> {
    /// The medians of a figure, and of its ratios to the first gateway.
    fn medians(&self, of: impl Fn(&Window) -> f64) -> (f64, f64) {
        let figures = |ratio: bool| {
            let pairs = self.rounds.iter().filter_map(|windows| {
                let (first, own) = (windows.first()?, windows.get(self.position)?);
                Some(if ratio { of(own) / of(first) } else { of(own) })
            });
            median(pairs.collect())
        };
        (figures(false), figures(true))
    }
}

impl<const N: usize> std::fmt::Display for Row<'_, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let processor =
            |window: &Window| (window.cpu.token + window.cpu.server).as_secs_f64() * 1e6;
        let (figure, ratio) = self.medians(processor);
        write!(f, "{figure:.0} | {ratio:.2} | ")?;
        let times: [fn(&Window) -> Duration; 2] = [|window| window.p50, |window| window.p99];
        for time in times {
            let (figure, ratio) = self.medians(|window| time(window).as_secs_f64() * 1e3);
            write!(f, "{figure:.2} | {ratio:.2} | ")?;
        }
        let (figure, ratio) = self.medians(|window| window.rate);
        write!(f, "{figure:.0} | {ratio:.2} |")
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

/// Two gateways of a cluster beside one of them, for both scopes of nonces.
fn compare_numbers(options: &Options) -> anyhow::Result<()> {
    let clients = if options.bench { CLIENTS } else { 2 };
    println!("{WORKERS} workers a gateway, {clients} connections:");
    println!();
    println!(
        "| nonces | an encryption takes | one, calls/s | two, calls/s | ratio | processors of one | of two |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for scope in ["gateway", "cluster"] {
        compare_numbers_with(options, scope, clients)?;
    }
    Ok(())
}

/// With tokens that take [`TOKEN_DELAYS`] for an encryption.
fn compare_numbers_with(options: &Options, scope: &str, clients: usize) -> anyhow::Result<()> {
    let database = postgresql::server().create_database();
    let installation = Installation::new();
    configure(&installation, Some(&database), "");
    let user = AccessKey::of(&installation.init().json());
    let control = installation.path("control.json");
    let settings = Settings {
        module: installation.token.module.clone(),
        control: Some(control.clone()),
        ..Settings::default()
    };
    let module = settings.install(&installation.path(""));
    let text = fs::read_to_string(installation.path("hsmgate.toml"))?;
    // A burst waits for the token longer than the default allows.
    let workers = format!("[token]\nworkers = {WORKERS}\nmax_queue_wait_ms = 4000\n");
    let text = text
        .replace(&installation.token.module.display().to_string(), &module.display().to_string())
        .replace("[token]\n", &workers);
    let mut servers = Vec::new();
    for name in ["a", "b"] {
        let own = text.replace("/state\"", &format!("/state-{name}\""));
        let file = format!("{name}.toml");
        let cluster = format!("[cluster]\nname = \"{name}\"\nnonces = \"{scope}\"\n");
        fs::write(installation.path(&file), own + &cluster)?;
        servers.push(installation.serve_file(&file, &[], &[]));
    }
    let key_id = create_key(servers.first().context("no gateway")?, &user)?;
    let mut gateways = Vec::new();
    for server in servers {
        let params = [("KeyId", key_id.as_str()), ("Plaintext", "SGVsbG8=")];
        let client = server.client(&user);
        runtime()?.block_on(until_async(async || client.call("Encrypt", &params).await.is_ok()));
        gateways.push(Gateway::new(server, &user, &key_id, None)?);
    }
    let [first, second] = gateways.as_slice() else { return Err(anyhow!("two gateways")) };
    for delay in TOKEN_DELAYS {
        write_rules(&control, &[Rule::on(&[DELAYED_CALL], Fault::delay(delay))]);
        let (mut of_one, mut of_two) = (Vec::new(), Vec::new());
        for round in 0..=options.bursts {
            let one = burst_to_all(&[first], options.requests, clients)?;
            let two = burst_to_all(&[first, second], options.requests, clients)?;
            // The first round opens sessions and copies the key.
            if round > 0 || options.bursts == 0 {
                of_one.push(one);
                of_two.push(two);
            }
        }
        let ratios = of_one.iter().zip(&of_two).map(|(one, two)| two.rate / one.rate).collect();
        let medians = [of_one, of_two].map(|all| {
            let rates = all.iter().map(|burst| burst.rate).collect();
            (median(rates), median(all.iter().map(|burst| burst.processors).collect()))
        });
        let [one, two] = medians;
        let ratio = median(ratios);
        println!(
            "| {scope} | {delay:?} | {:.0} | {:.0} | {ratio:.2} | {:.2} | {:.2} |",
            one.0, two.0, one.1, two.1
        );
    }
    Ok(())
}

/// What gateways did together.
struct Burst {
    /// Calls a second, from the first one to the last.
    rate: f64,
    /// The processors that the processes of the gateways kept busy.
    processors: f64,
}

/// A burst of so many calls for each gateway, to all at once. The connections are divided, and the calls go to whoever
/// answers, as behind a load balancer.
fn burst_to_all(gateways: &[&Gateway], count: usize, clients: usize) -> anyhow::Result<Burst> {
    let left = AtomicUsize::new(count * gateways.len());
    // A gateway that is faster answers more.
    let signed = gateways.iter().map(|gateway| Ok((*gateway, gateway.requests(count * 2)?)));
    let signed = signed.collect::<anyhow::Result<Vec<_>>>()?;
    let clients = clients / gateways.len();
    let windows = thread::scope(|scope| {
        let bursts = signed.iter().map(|(gateway, requests)| {
            scope.spawn(|| gateway.send_shared(requests, clients, &left))
        });
        let bursts: Vec<_> = bursts.collect();
        let windows = bursts.into_iter().map(thread::ScopedJoinHandle::join);
        let windows =
            windows.map(|window| window.map_err(|_panic| anyhow!("the load panicked"))?);
        windows.collect::<anyhow::Result<Vec<Window>>>()
    })?;
    // They begin together.
    let length = |window: &Window| as_number(window.count) / window.rate;
    let length = windows.iter().map(length).fold(0.0, f64::max);
    let answered: usize = windows.iter().map(|window| window.count).sum();
    ensure!(answered == count * gateways.len(), "not every request was sent");
    let computed = windows.iter().map(|window| {
        (window.cpu.token + window.cpu.server).as_secs_f64() * as_number(window.count)
    });
    let computed: f64 = computed.sum();
    Ok(Burst { rate: as_number(answered) / length, processors: computed / length })
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn as_number(count: usize) -> f64 {
    count as f64
}
