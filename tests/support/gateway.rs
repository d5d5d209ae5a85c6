//! A gateway for one test: `hsmgate dev` as a child process in a temporary directory, with a client
//! that signs like an SDK.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hsmgate::cli::client::Client;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use super::calls::refused;
use super::object_files::token_objects;
use super::process::{LIMIT, Process, within};
use super::softhsm::{self, scratch};

/// The line that `hsmgate dev --json` prints when it serves.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Dev {
    pub(crate) endpoint: String,
    pub(crate) region: String,
    pub(crate) account: String,
    pub(crate) access_key_id: String,
    pub(crate) access_key_secret: String,
    pub(crate) key_id: String,
    pub(crate) alias: String,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) client_key_file: Option<PathBuf>,
    pub(crate) client_key_password_file: Option<PathBuf>,
    pub(crate) admin: String,
}

/// A running gateway with its own token and directory. It is killed when dropped; [`Gateway::stop`]
/// stops it as an operator does.
pub(crate) struct Gateway {
    process: Process,
    dir: TempDir,
    dev_json: String,
    pub(crate) dev: Dev,
    /// Signs with the AccessKey of `dev`.
    pub(crate) client: Client,
}

impl Gateway {
    /// Starts a gateway on a free port.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// As [`Gateway::start`], with additional options of `hsmgate dev`.
    pub(crate) fn start_with(options: &[&str]) -> Self {
        Self::start_in(new_directory(), options)
    }

    /// As [`Gateway::start`], with another log filter.
    pub(crate) fn start_with_log(filter: &str) -> Self {
        let variables = [("HSMGATE_LOG", filter.as_ref())];
        Self::start_with_environment(new_directory(), &[], &variables)
    }

    /// Starts a gateway in the directory of an earlier one.
    pub(crate) fn start_in(dir: TempDir, options: &[&str]) -> Self {
        Self::start_with_environment(dir, options, &[])
    }

    /// As [`Gateway::start_in`], on the address of the earlier one.
    pub(crate) fn start_at(dir: TempDir, address: &str, options: &[&str]) -> Self {
        Self::start_process(dir, address, options, &[])
    }

    /// As [`Gateway::start_in`], with additional environment variables.
    pub(crate) fn start_with_environment(
        dir: TempDir,
        options: &[&str],
        variables: &[(&str, &OsStr)],
    ) -> Self {
        Self::start_process(dir, "127.0.0.1:0", options, variables)
    }

    /// As [`Gateway::start_at`], with additional environment variables.
    pub(crate) fn start_process(
        dir: TempDir,
        address: &str,
        options: &[&str],
        variables: &[(&str, &OsStr)],
    ) -> Self {
        let log = File::options().create(true).append(true).open(dir.path().join("log"));
        let mut process = dev_command(dir.path(), address)
            .args(options)
            .env("HSMGATE_LOG", "")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.expect("a log file"))
            .spawn()
            .expect("hsmgate starts");
        let stdout = process.stdout.take().expect("standard output is piped");
        let process = Process::of(process);
        let mut lines = BufReader::new(stdout).lines();
        let Some(Some(Ok(dev_json))) = within(LIMIT, move || lines.next()) else {
            panic!("the gateway does not serve; its log:\n{}", log_in(&dir));
        };
        let dev: Dev = serde_json::from_str(&dev_json).expect("it introduces itself in JSON");
        let secret = SecretString::from(dev.access_key_secret.clone());
        let ca = dev.ca_file.as_deref();
        let client = Client::trusting(ca, &dev.endpoint, &dev.access_key_id, secret);
        Self { process, dir, dev_json, dev, client: client.expect("a client of the gateway") }
    }

    /// Stops the process and starts another one on the same state.
    pub(crate) fn restart(self) -> Self {
        Self::start_in(self.stop(), &[])
    }

    /// Kills the process and starts another one on the same state.
    pub(crate) fn kill_and_restart(self) -> Self {
        Self::start_in(self.kill(), &[])
    }

    /// Stops the process, changes its database, and starts another process on the same state. The
    /// statement must change something.
    pub(crate) async fn restart_with(self, change: &'static str) -> Self {
        let directory = self.stop();
        let database = directory.path().join("state/hsmgate.db");
        let url = format!("sqlite://{}", database.display());
        let pool = sqlx::SqlitePool::connect(&url).await.expect("the database opens");
        let changed = sqlx::query(change).execute(&pool).await.expect("the statement is good");
        assert!(changed.rows_affected() > 0, "{change}");
        pool.close().await;
        sign_rows(&directory.path().join("state"));
        Self::start_in(directory, &[])
    }

    /// The line that it printed when it served: endpoint, AccessKey and demo key, as JSON.
    pub(crate) fn dev_json(&self) -> &str {
        &self.dev_json
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// The lines that it has written to standard error so far.
    pub(crate) fn log(&self) -> String {
        log_in(&self.dir)
    }

    /// The directory of its token and store.
    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &str {
        self.dev.endpoint.strip_prefix("http://").expect("it speaks plain HTTP")
    }

    /// Sends SIGTERM, waits until it has ended, and returns its directory.
    pub(crate) fn stop(self) -> TempDir {
        self.terminate();
        self.ended()
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.process.signal("TERM");
    }

    /// Waits until it has ended with success, and returns its directory.
    pub(crate) fn ended(self) -> TempDir {
        let Self { process, dir, .. } = self;
        let ended = process.wait();
        assert!(ended.is_some_and(|status| status.success()), "{ended:?}\n{}", log_in(&dir));
        dir
    }

    /// Kills it, and returns its directory.
    pub(crate) fn kill(self) -> TempDir {
        let Self { process, dir, .. } = self;
        drop(process);
        dir
    }

    /// The number of keys in its SoftHSM2 token.
    pub(crate) fn token_objects(&self) -> usize {
        token_objects(&self.state().join("tokens"))
    }

    pub(crate) async fn call(&self, action: &str, params: &[(&str, &str)]) -> Value {
        match self.client.call(action, params).await {
            Ok(answer) => answer,
            Err(error) => panic!("{action} failed: {error:?}\n{}", self.log()),
        }
    }

    /// Status and code of a call that must be refused.
    pub(crate) async fn refused(&self, action: &str, params: &[(&str, &str)]) -> (u16, String) {
        refused(&self.client, action, params).await
    }

    /// Creates a key and returns its id.
    pub(crate) async fn create_key(&self) -> String {
        self.create_key_with(&[]).await
    }

    /// As [`Gateway::create_key`], with parameters of the key.
    pub(crate) async fn create_key_with(&self, params: &[(&str, &str)]) -> String {
        let answer = self.call("CreateKey", params).await;
        text(&answer["KeyMetadata"]["KeyId"]).to_owned()
    }

    /// The answer of DescribeKey.
    pub(crate) async fn describe(&self, key: &str) -> Value {
        self.call("DescribeKey", &[("KeyId", key)]).await["KeyMetadata"].clone()
    }
}

fn new_directory() -> TempDir {
    TempDir::new_in(scratch()).expect("a temporary directory")
}

fn log_in(dir: &TempDir) -> String {
    whole_lines(&dir.path().join("log"))
}

/// The lines of a file that a gateway may be writing. The last line may be written in part only, so it
/// does not count before its end.
pub(crate) fn whole_lines(file: &Path) -> String {
    let mut bytes = fs::read(file).expect("the file can be read");
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    bytes.truncate(end);
    String::from_utf8(bytes).expect("the file is text")
}

/// The command `hsmgate dev` with its state in a directory.
pub(crate) fn dev_command(dir: &Path, address: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hsmgate"));
    command.args(["dev", "--json", "--listen", address, "--dir"]).arg(dir.join("state"));
    command
}

/// Signs the rows of a gateway for development after a test has changed them by SQL, as if the gateway had
/// written them.
pub(crate) fn sign_rows(state: &Path) {
    let text = fs::read_to_string(state.join("hsmgate.toml")).expect("it is configured");
    // The command uses the token itself, whatever module the gateway uses.
    let module = format!("module = \"{}\"", softhsm::module().display());
    let is_module = |line: &str| line.starts_with("module = ");
    let lines = text.lines().map(|line| if is_module(line) { &*module } else { line });
    let text = lines.collect::<Vec<_>>().join("\n");
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("sign.toml");
    fs::write(&config, text).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hsmgate"));
    command
        .args(["store", "sign", "--reason", "a test", "--config"])
        .arg(config)
        .env("SOFTHSM2_CONF", state.join("softhsm2.conf"))
        .env("HSMGATE_ALLOW_ROOT", "1");
    let output = command.output().expect("hsmgate starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Status and code of an expected refusal.
pub(crate) fn refusal(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}
