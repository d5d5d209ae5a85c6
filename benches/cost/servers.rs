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

use crate::instance::Caller;
use crate::requests::{Signer, plaintext};
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
    /// A ciphertext blob of its own. Empty with TLS.
    pub(crate) blob: String,
}

/// A gateway, and who signs for it.
pub(crate) struct Gateway {
    pub(crate) server: Server,
    pub(crate) signer: Signer,
    /// The id and the secret of the AccessKey.
    pub(crate) access_key: (String, String),
    /// The ids of its keys, which are used in turn.
    pub(crate) keys: Vec<String>,
    /// Signs in the protocol of KMS instances.
    pub(crate) caller: Option<Caller>,
}

/// How a gateway is started.
#[derive(Clone, Default)]
pub(crate) struct Start<'a> {
    /// Another build.
    pub(crate) program: Option<&'a Path>,
    /// Another PKCS#11 module than SoftHSM2.
    pub(crate) module: Option<&'a Path>,
    /// Further options of `hsmgate dev`.
    pub(crate) options: Vec<&'a str>,
    pub(crate) environment: Vec<(&'static str, &'a Path)>,
    pub(crate) is_counted: bool,
}

/// Both programs, each with a token of the same module.
pub(crate) struct Servers {
    pub(crate) gateway: Gateway,
    pub(crate) minimal: Server,
}

impl Servers {
    /// Starts both in `home`, some under callgrind; the gateway may be another build.
    pub(crate) fn start(
        home: &Path,
        gateway: Option<&Path>,
        counted: &[Program],
    ) -> anyhow::Result<Self> {
        let is_counted = counted.contains(&Program::Gateway);
        let start = Start { program: gateway, is_counted, ..Start::default() };
        Self::start_with(home, start, counted.contains(&Program::Minimal))
    }

    /// Starts both in `home`.
    pub(crate) fn start_with(
        home: &Path,
        start: Start<'_>,
        is_minimal_counted: bool,
    ) -> anyhow::Result<Self> {
        let module = start.module.map_or_else(module::find, |module| Ok(module.to_owned()))?;
        let gateway = Gateway::start(&home.join("gateway"), start)?;
        let state = home.join("minimal");
        let mut command = prepared(&minimal()?, &state, is_minimal_counted)?;
        let text = plaintext(PLAINTEXT_BYTES);
        let command = command.arg(module).args([gateway.signer.key_id.as_str(), &text]);
        let (process, line) = started(command, &state)?;
        let (address, blob) = line.split_once(' ').context("not a line of minimal")?;
        let (address, blob) = (address.parse()?, blob.to_owned());
        let minimal = Server { process, address, home: state, blob };
        Ok(Self { gateway, minimal })
    }

    pub(crate) fn of(&self, program: Program) -> &Server {
        match program {
            Program::Gateway => &self.gateway.server,
            Program::Minimal => &self.minimal,
        }
    }
}

impl Gateway {
    pub(crate) fn start(state: &Path, start: Start<'_>) -> anyhow::Result<Self> {
        let own = || Path::new(env!("CARGO_BIN_EXE_hsmgate"));
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
        let mut command = prepared(start.program.unwrap_or_else(own), state, start.is_counted)?;
        command.args(options).arg(state).args(start.options).envs(start.environment);
        if let Some(module) = start.module {
            command.arg("--module").arg(module);
        }
        let (process, line) = started(&mut command, state)?;
        let line: Value = serde_json::from_str(&line)?;
        let text = |name| line.get(name).and_then(Value::as_str).context("not a line of dev");
        let (endpoint, key_id) = (text("endpoint")?, text("key_id")?.to_owned());
        let (scheme, address) =
            endpoint.split_once("://").context("an endpoint without a scheme")?;
        let (id, secret) = (text("access_key_id")?, text("access_key_secret")?);
        let target = Target::new(endpoint, id, SecretString::from(secret))?;
        let keys = vec![key_id.clone()];
        let signer = Signer::new(target, key_id);
        let server = Server {
            process,
            address: address.parse()?,
            home: state.to_owned(),
            blob: String::new(),
        };
        let access_key = (id.to_owned(), secret.to_owned());
        let mut gateway = Self { server, signer, access_key, keys, caller: None };
        if scheme == "http" {
            gateway.server.blob = gateway.encrypt()?;
        }
        Ok(gateway)
    }

    /// Creates a client key, so that it is called in the protocol of KMS instances too.
    pub(crate) fn create_client_key(&mut self) -> anyhow::Result<()> {
        let (client, key_id) = (self.client()?, &self.signer.key_id);
        let caller = runtime()?.block_on(Caller::prepare(&client, self.server.address, key_id))?;
        self.caller = Some(caller);
        Ok(())
    }

    /// Creates keys until it has so many.
    pub(crate) fn create_keys(&mut self, count: usize) -> anyhow::Result<()> {
        let (client, runtime) = (self.client()?, runtime()?);
        while self.keys.len() < count {
            let answer = runtime.block_on(client.call("CreateKey", &[]))?;
            let key_id = answer.pointer("/KeyMetadata/KeyId").and_then(Value::as_str);
            self.keys.push(key_id.context("no KeyId")?.to_owned());
        }
        Ok(())
    }

    /// A ciphertext blob.
    fn encrypt(&self) -> anyhow::Result<String> {
        let call = self.signer.encrypt(PLAINTEXT_BYTES);
        let params: Vec<_> =
            call.params.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = runtime()?.block_on(self.client()?.call(call.action, &params))?;
        let blob = answer.get("CiphertextBlob").and_then(Value::as_str);
        blob.map(ToOwned::to_owned).context("no CiphertextBlob")
    }

    fn client(&self) -> anyhow::Result<Client> {
        let (id, secret) = &self.access_key;
        let endpoint = format!("http://{}", self.server.address);
        Ok(Client::new(&endpoint, id, SecretString::from(secret.as_str()))?)
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

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
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
