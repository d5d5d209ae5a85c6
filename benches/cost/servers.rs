//! The gateway and the minimal program as processes, each with its files in memory.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use hsmgate::cli::client::{Client, Target};
use secrecy::SecretString;
use serde_json::Value;

use crate::calls::Operation;
use crate::requests::{Call, Signer, plaintext};
use crate::{PLAINTEXT_BYTES, callgrind, module};

const SOFTHSM2_CONF: &str = include_str!("../../softhsm/softhsm2.conf.in");

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Program {
    Gateway,
    Minimal,
}

impl Program {
    pub(crate) const BOTH: [Self; 2] = [Self::Gateway, Self::Minimal];
}

/// A running server; it is killed when dropped.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: SocketAddr,
    pub(crate) home: PathBuf,
    /// A ciphertext blob of its own.
    blob: String,
}

/// Both programs, and who signs for the gateway.
pub(crate) struct Servers {
    pub(crate) gateway: Server,
    pub(crate) minimal: Server,
    pub(crate) signer: Signer,
    key_id: String,
}

impl Servers {
    /// Starts both in `home`, some under callgrind; the gateway may be another build.
    pub(crate) fn start(
        home: &Path,
        gateway: Option<&Path>,
        counted: &[Program],
    ) -> anyhow::Result<Self> {
        let program = gateway.unwrap_or_else(|| Path::new(env!("CARGO_BIN_EXE_hsmgate")));
        let state = home.join("gateway");
        let options = [
            "dev",
            "--json",
            "--json-log",
            "--listen",
            "127.0.0.1:0",
            // Limits that are counted and never reached.
            "--calls-per-second=1000000",
            "--authentication-failures-per-second=1000",
            "--dir",
        ];
        let mut command = prepared(program, &state, counted.contains(&Program::Gateway))?;
        let (process, line) = started(command.args(options).arg(&state), &state)?;
        let line: Value = serde_json::from_str(&line)?;
        let text = |name| line.get(name).and_then(Value::as_str).context("not a line of dev");
        let (endpoint, key_id) = (text("endpoint")?, text("key_id")?.to_owned());
        let (id, secret) = (text("access_key_id")?, text("access_key_secret")?);
        let client = Client::new(endpoint, id, SecretString::from(secret))?;
        let signer =
            Signer::new(Target::new(endpoint, id, SecretString::from(secret))?, key_id.clone());
        let address = endpoint.trim_start_matches("http://").parse()?;
        let text = plaintext(PLAINTEXT_BYTES);
        let blob = encrypt(&client, &key_id, &text)?;
        let gateway = Server { process, address, home: state, blob };

        let state = home.join("minimal");
        let mut command = prepared(&minimal()?, &state, counted.contains(&Program::Minimal))?;
        let command = command.arg(module::find()?).args([key_id.as_str(), &text]);
        let (process, line) = started(command, &state)?;
        let (address, blob) = line.split_once(' ').context("not a line of minimal")?;
        let (address, blob) = (address.parse()?, blob.to_owned());
        let minimal = Server { process, address, home: state, blob };
        Ok(Self { gateway, minimal, signer, key_id })
    }

    pub(crate) fn of(&self, program: Program) -> &Server {
        match program {
            Program::Gateway => &self.gateway,
            Program::Minimal => &self.minimal,
        }
    }

    /// What a program is asked for.
    pub(crate) fn call(&self, operation: Operation, program: Program) -> Call {
        let key = ("KeyId", self.key_id.clone());
        let params = match operation {
            Operation::Encrypt => return self.signer.encrypt(PLAINTEXT_BYTES),
            Operation::Decrypt => vec![("CiphertextBlob", self.of(program).blob.clone())],
            Operation::GenerateDataKey => vec![key],
        };
        Call { action: operation.name(), params }
    }
}

impl Server {
    pub(crate) fn process(&self) -> String {
        self.process.id().to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Beside this program, where cargo puts examples.
fn minimal() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let directory = own.parent().and_then(Path::parent).context("this program has no place")?;
    let program = directory.join("examples/minimal");
    ensure!(
        program.is_file(),
        "{} is not built: cargo build --example minimal, with --release for a benchmark",
        program.display()
    );
    Ok(program)
}

/// A program whose SoftHSM2 has its tokens in `state`.
fn prepared(program: &Path, state: &Path, is_counted: bool) -> anyhow::Result<Command> {
    fs::create_dir_all(state.join("tokens"))?;
    let configuration = state.join("softhsm2.conf");
    let text = state.to_str().context("the directory is no text")?;
    fs::write(&configuration, SOFTHSM2_CONF.replace("@DIR@", text))?;
    let mut command =
        if is_counted { callgrind::command(program, state) } else { Command::new(program) };
    command.env("SOFTHSM2_CONF", configuration).env("HSMGATE_LOG", "");
    Ok(command)
}

/// Starts a program and waits for its first line.
fn started(command: &mut Command, state: &Path) -> anyhow::Result<(Child, String)> {
    let log = state.join("log");
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log)?);
    let mut process = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let mut line = String::new();
    BufReader::new(process.stdout.take().context("no standard output")?).read_line(&mut line)?;
    if line.is_empty() {
        bail!("{command:?} does not serve; its log:\n{}", fs::read_to_string(log)?);
    }
    Ok((process, line.trim_end().to_owned()))
}

/// A ciphertext blob of the gateway.
fn encrypt(client: &Client, key_id: &str, text: &str) -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let params = [("KeyId", key_id), ("Plaintext", text)];
    let answer = runtime.block_on(client.call("Encrypt", &params))?;
    let blob = answer.get("CiphertextBlob").and_then(Value::as_str);
    blob.map(ToOwned::to_owned).context("no CiphertextBlob")
}
