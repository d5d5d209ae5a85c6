//! The configuration: strict TOML in, a checked [`Config`] out.
//!
//! Knows the settings, their forms and limits, and how a secret file is read. Must not know what
//! the other rooms do with a setting.

mod check;
mod faults;
pub mod ownership;
mod reader;
pub mod secret;
pub mod settings;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use faults::{ConfigError, ConfigFaults, Fault};
pub use secret::{PinSource, SecretError};
pub use settings::{SETTINGS, Setting};

use crate::model::{AddressRange, IvBudget, RegionAccount, VerificationRate};
use reader::Reader;

/// A configuration in which every setting has been checked, alone and against the others.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the gateway listens. Beyond loopback only with TLS, or when the operator asked for
    /// plain HTTP.
    pub listen: SocketAddr,
    /// How long connections and requests are still taken once a stop was asked for.
    pub drain: Duration,
    /// The certificate; none is plain HTTP.
    pub tls: Option<CertificateFiles>,
    /// The listener for health and metrics.
    pub admin: AdminConfig,
    /// The region and the account that the gateway serves.
    pub region_account: RegionAccount,
    /// The token and how it is worked.
    pub token: TokenConfig,
    /// The database URL, as `sqlx` takes it.
    pub store_url: String,
    /// A directory for the small files that must survive a restart.
    pub state_directory: PathBuf,
    /// What bounds the work.
    pub limits: Limits,
    /// What operations accept.
    pub compatibility: CompatibilityOptions,
    /// How keys are used.
    pub keyring: KeyringSettings,
    /// How long destructions that are due wait after a jump of the clock.
    pub destruction_hold: Duration,
    /// How the audit is kept.
    pub audit: AuditSettings,
    /// How the log is written.
    pub log: Log,
}

/// Where a certificate and its key are, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate of the server, then those that lead to its CA, without the CA itself.
    pub certificate: PathBuf,
    /// Its private key, which only its owner may read.
    pub key: PathBuf,
}

/// The listener for health and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// Where it listens; none is off.
    pub address: Option<SocketAddr>,
    /// Whose clients it lets in, by mutual TLS; none is plain HTTP.
    pub client_ca: Option<PathBuf>,
}

/// Which token, how to log in, and how it is worked.
#[derive(Debug, Clone)]
pub struct TokenConfig {
    /// The PKCS#11 module, a shared library.
    pub module: PathBuf,
    /// Which of the module's tokens.
    pub name: TokenName,
    /// Where its user PIN comes from.
    pub pin: PinSource,
    /// Worker threads; the token room chooses when absent.
    pub workers: Option<NonZeroUsize>,
    /// Calls that may wait for a worker.
    pub queue_size: NonZeroUsize,
    /// How long a call may have to wait for a worker.
    pub max_queue_wait: Duration,
    /// How long the module may hold every thread before a new process is thought of.
    pub hang_timeout: Duration,
}

/// What a token is known by. Never a slot number: those move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenName {
    /// Its label, 1 to 32 bytes.
    Label(String),
    /// Its serial number, 1 to 16 bytes.
    Serial(String),
}

/// What bounds the work of the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Calls a second for an account and a cryptographic operation; 0 is no limit.
    pub calls_per_second: u32,
    /// Calls a second for a principal and a cryptographic operation; 0 is no limit.
    pub calls_per_second_per_principal: u32,
    /// How long a request may take as a whole.
    pub request_timeout: Duration,
    /// How long the head of a request may take to arrive, then its body, then its answer to be
    /// taken.
    pub header_timeout: Duration,
    /// Connections at a time.
    pub connections: usize,
    /// Connections of one source; absent, half of all.
    pub connections_per_source: Option<usize>,
    /// Sources without such a bound, because many clients share them.
    pub shared_sources: Vec<AddressRange>,
    /// Refused AccessKeys and signatures a second from one source; 0 is no limit.
    pub authentication_failures_per_second: u32,
}

/// How keys are used.
#[derive(Debug, Clone, Copy)]
pub struct KeyringSettings {
    /// How long the token may take.
    pub timeouts: TokenTimeouts,
    /// How often a key version may encrypt.
    pub iv_budget: IvBudget,
    /// Whether the encrypted form of a data key is opened again before anybody gets the key.
    pub verify_data_keys: bool,
    /// Which ciphertexts are opened again before anybody gets them.
    pub verify_encryptions: VerificationRate,
}

/// How long the token may take.
#[derive(Debug, Clone, Copy)]
pub struct TokenTimeouts {
    /// For a call that uses a key.
    pub call: Duration,
    /// For generating a key; RSA pairs take seconds.
    pub generate: Duration,
}

/// Settings that change what an operation accepts.
#[derive(Debug, Clone, Copy, Default)]
pub struct CompatibilityOptions {
    /// Take plaintexts that are not Base64 as they stand (Terraform's provider sends them).
    pub non_base64_plaintext: bool,
    /// Take IVs that callers of the KMS instance protocol have chosen.
    pub caller_iv: bool,
}

/// How the audit is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditSettings {
    /// The file of the records.
    pub file: PathBuf,
    /// The size of the journal beside it, through which records reach the disk sooner; 0 is none.
    pub journal_bytes: u64,
    /// How long an operation waits for its record to be on disk.
    pub timeout: Duration,
    /// Whether an operation whose record is not on disk by then is refused. Else it is answered,
    /// and the log tells.
    pub required: bool,
    /// Records between two signed checkpoints, at most.
    pub checkpoint_records: u64,
    /// Time between a record and the checkpoint that covers it, at most.
    pub checkpoint_interval: Duration,
    /// A second place for the records: a file, or a datagram socket that takes syslog messages.
    pub forward_to: Option<PathBuf>,
}

/// How the log is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// What is written: a level, or directives such as `info,hsmgate::token=debug`.
    pub filter: String,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// Reads a configuration from its text.
    ///
    /// # Errors
    /// All faults at once, each with its line and its setting.
    pub fn parse(text: &str) -> Result<Self, ConfigFaults> {
        let mut reader = Reader::new(text);
        let config = check::config(&mut reader);
        match (config, reader.into_faults()) {
            (Some(config), faults) if faults.is_empty() => Ok(config),
            (_, faults) => Err(ConfigFaults::new(faults)),
        }
    }

    /// Reads a configuration file.
    ///
    /// # Errors
    /// When the file cannot be read or others can change it, or with all of its faults.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        ownership::check_permissions(path, ownership::Role::Data)?;
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|faults| faults.of_file(path).into())
    }
}

#[cfg(test)]
mod tests;
