//! A gateway on a token that fails by rules.

use std::cell::Cell;
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use fault_token::{Entry, LATE, OVERLAP, Rule};
use serde_json::Value;
use tempfile::TempDir;

use crate::scale::report;
use crate::support::admin_client;
use crate::support::gateway::{Gateway, dev_command, text};
use crate::support::installation::{AccessKey, Installation};
pub(crate) use crate::support::key_model::PLAINTEXT;
use crate::support::process::LIMIT;
use crate::support::signed_calls::{Call, ParamLocation, Signing, SigningVariant};
use crate::support::softhsm::{self, scratch};

/// Options of every gateway here: the limit of calls is not what is tested.
const OPTIONS: [&str; 2] = ["--calls-per-second", "0"];

pub(crate) const ENCRYPT: [(&str, &str); 2] = [("KeyId", "alias/demo"), ("Plaintext", PLAINTEXT)];

/// The file in which SoftHSM2 keeps label, serial number, flags and encrypted PINs of a token.
pub(crate) const TOKEN_FILE: &str = "token.object";

/// The directory of the only token of a gateway for development.
pub(crate) fn token_directory(state: &Path) -> PathBuf {
    let mut entries = std::fs::read_dir(state.join("tokens")).unwrap();
    entries.next().unwrap().unwrap().path()
}

/// A running gateway, and what its token is told.
pub(crate) struct Setup {
    pub(crate) gateway: Gateway,
    pub(crate) token: FaultToken,
}

/// The token's control file and log, in the directory of the gateway.
#[derive(Debug, Clone)]
pub(crate) struct FaultToken {
    directory: PathBuf,
    rules: Vec<Rule>,
    last_number: u64,
    /// Where the log ended when it was last read.
    read: Cell<usize>,
}

/// An answer of the public API.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// The error code; empty of a success.
    pub(crate) code: String,
    /// In seconds.
    pub(crate) retry_after: Option<u64>,
    pub(crate) took: Duration,
    pub(crate) body: Value,
}

impl Setup {
    /// With a new token.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With more options of `hsmgate dev`.
    pub(crate) fn start_with(options: &[&str]) -> Self {
        let dir = TempDir::new_in(scratch()).unwrap();
        let token = FaultToken::new(dir.path());
        Self::start_in(dir, token, options)
    }

    /// In the directory of a gateway that has ended, with the rules that are in force.
    pub(crate) fn start_in(dir: TempDir, token: FaultToken, options: &[&str]) -> Self {
        let variables = token.environment();
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| (*name, OsStr::new(value))).collect();
        let options = [&OPTIONS, options].concat();
        let gateway = Gateway::start_with_environment(dir, &options, &variables);
        let state = gateway.state();
        std::fs::copy(token_directory(&state).join(TOKEN_FILE), state.join(TOKEN_FILE)).unwrap();
        Self { gateway, token }
    }

    /// What a gateway says that must not start in the directory of one that has ended.
    pub(crate) fn refuses_to_start_in(dir: &TempDir, token: &FaultToken) -> String {
        let mut process = dev_command(dir.path(), "127.0.0.1:0")
            .envs(token.environment())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A line says that it serves.
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        process.kill().unwrap();
        let output = process.wait_with_output().unwrap();
        assert_eq!(line, "", "it has started");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Stops the process and starts another one on the same state.
    pub(crate) fn restart(self) -> Self {
        Self::start_in(self.gateway.stop(), self.token, &[])
    }

    /// Kills the process, or waits for one that has killed itself, and starts another one on the
    /// same state without any rule. If SoftHSM2 was writing its token file (softhsm/README.md, durability),
    /// the copy of that is put back: no gateway can prevent this loss.
    pub(crate) fn kill_and_restart(mut self) -> Self {
        let dir = self.gateway.kill();
        let state = dir.path().join("state");
        let token_file = token_directory(&state).join(TOKEN_FILE);
        if std::fs::metadata(&token_file).unwrap().len() == 0 {
            report("  SoftHSM2 has lost the token in a login: its file is put back");
            std::fs::copy(state.join(TOKEN_FILE), token_file).unwrap();
        }
        self.token.clear();
        Self::start_in(dir, self.token, &[])
    }

    /// New keys, and a ciphertext of each.
    pub(crate) async fn encrypt_with_new_keys(&self, keys: usize) -> Vec<String> {
        let mut blobs = Vec::new();
        for _key in 0..keys {
            let key = self.gateway.create_key().await;
            let params = [("KeyId", &*key), ("Plaintext", PLAINTEXT)];
            let encrypted = self.gateway.call("Encrypt", &params).await;
            blobs.push(text(&encrypted["CiphertextBlob"]).to_owned());
        }
        blobs
    }

    /// Encrypts with the demo key, whatever the answer.
    pub(crate) async fn encrypt(&self) -> Reply {
        self.reply("Encrypt", &ENCRYPT).await
    }

    /// Every ciphertext opens.
    pub(crate) async fn decrypts_all(&self, blobs: &[String]) {
        for blob in blobs {
            let decrypted = self.gateway.call("Decrypt", &[("CiphertextBlob", blob)]).await;
            assert_eq!(decrypted["Plaintext"], PLAINTEXT);
        }
    }

    /// Encrypts with the demo key until that has another outcome than `outcome`, and gives this
    /// other one.
    pub(crate) async fn until_no_longer(&self, outcome: u16) -> Reply {
        let limit = Instant::now() + LIMIT;
        loop {
            let reply = self.encrypt().await;
            if reply.status != outcome {
                return reply;
            }
            assert!(Instant::now() < limit, "{reply:?}\n{}", self.gateway.log());
        }
    }

    /// Asks `/readyz` until it answers this, which it does a second late at most.
    pub(crate) async fn until_readiness(&self, status: u16) {
        let limit = Instant::now() + LIMIT;
        loop {
            let (found, body) = self.admin("/readyz").await;
            if found == status {
                return;
            }
            assert!(Instant::now() < limit, "{body}");
        }
    }

    /// Calls the public API, whatever the answer.
    pub(crate) async fn reply(&self, action: &str, params: &[(&str, &str)]) -> Reply {
        let way = SigningVariant(Signing::Acs3, ParamLocation::PostQuery);
        let call = Call::new(&self.gateway, way, action, params).signed();
        let start = Instant::now();
        let answer = call.send(&self.gateway).await;
        let took = start.elapsed();
        let body = answer.json();
        Reply {
            status: answer.status,
            code: body["Code"].as_str().unwrap_or_default().to_owned(),
            retry_after: answer.header("retry-after").parse().ok(),
            took,
            body,
        }
    }

    /// Status and body of `/livez`, `/readyz` or `/metrics`.
    pub(crate) async fn admin(&self, path: &str) -> (u16, String) {
        admin_client::get(&self.gateway.dev.admin, path).await
    }

    /// The value of a metric, named with its labels.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        admin_client::metric(&self.gateway, name).await
    }
}

impl FaultToken {
    /// Nothing goes wrong yet.
    pub(crate) fn new(directory: &Path) -> Self {
        let directory = directory.to_owned();
        Self { directory, rules: Vec::new(), last_number: 0, read: Cell::new(0) }
    }

    /// What a process that works with the token has to find in its environment.
    pub(crate) fn environment(&self) -> [(&'static str, PathBuf); 4] {
        [
            ("SOFTHSM2_MODULE", fault_token::library()),
            (fault_token::MODULE_VARIABLE, softhsm::module()),
            (fault_token::CONTROL_VARIABLE, self.control()),
            (fault_token::LOG_VARIABLE, self.log_file()),
        ]
    }

    /// An installation whose commands work with the token, with its configuration changed by `edit`,
    /// and its user.
    pub(crate) fn installation(&self, edit: impl FnOnce(&mut String)) -> (Installation, AccessKey) {
        let (mut installation, user) = Installation::prepared();
        installation.environment = self.environment().to_vec();
        installation.configure(|text| {
            let (softhsm, module) = (softhsm::module(), fault_token::library());
            *text = text.replace(softhsm.to_str().unwrap(), module.to_str().unwrap());
            edit(text);
        });
        (installation, user)
    }

    fn control(&self) -> PathBuf {
        self.directory.join("fault-control.json")
    }

    fn log_file(&self) -> PathBuf {
        self.directory.join("fault-log.jsonl")
    }

    /// Puts a rule into force beside the others, and gives its number. Its calls are counted from
    /// now on.
    pub(crate) fn add(&mut self, rule: Rule) -> u64 {
        self.last_number += 1;
        self.rules.push(Rule { number: self.last_number, ..rule });
        self.put();
        self.last_number
    }

    /// Ends a rule.
    pub(crate) fn remove(&mut self, number: u64) {
        self.rules.retain(|rule| rule.number != number);
        self.put();
    }

    /// Ends a rule and puts another one into force at once, so that no call is without both. Returns its
    /// number.
    pub(crate) fn replace(&mut self, number: u64, rule: Rule) -> u64 {
        self.rules.retain(|rule| rule.number != number);
        self.add(rule)
    }

    /// Ends all rules.
    pub(crate) fn clear(&mut self) {
        self.rules.clear();
        self.put();
    }

    fn put(&self) {
        fault_token::write_rules(&self.control(), &self.rules);
    }

    /// The calls since the log was last read, none of them beside C_Finalize, and no thread behind the
    /// end of its process.
    pub(crate) fn calls(&self) -> Vec<Entry> {
        let (entries, end) = fault_token::read_log(&self.log_file(), self.read.get());
        self.read.set(end);
        let overlap = entries.iter().find(|entry| entry.return_code == OVERLAP);
        assert!(overlap.is_none(), "a call beside C_Finalize: {overlap:?}");
        let late = entries.iter().find(|entry| entry.return_code == LATE);
        assert!(late.is_none(), "a process ended before its threads: {late:?}");
        entries
    }

    /// All calls from the first on.
    pub(crate) fn all_calls(&self) -> Vec<Entry> {
        self.read.set(0);
        self.calls()
    }
}

/// How many of the calls are of this function.
pub(crate) fn count(calls: &[Entry], function: &str) -> usize {
    calls.iter().filter(|call| call.function == function).count()
}
