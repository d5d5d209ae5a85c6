//! The configuration: parses strict TOML into a checked [`Config`].
//!
//! Defines the settings with their types and limits, and reads secret files. Does not know what
//! other modules do with a setting.

mod check;
mod environment;
mod faults;
mod forward;
mod identity_providers;
mod operators;
pub mod ownership;
pub(crate) mod postgresql;
mod reader;
pub mod secret;
pub(crate) mod server_url;
pub mod settings;
mod value;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use faults::{ConfigError, ConfigFaults, Fault};
pub use forward::{ForwardSettings, ForwardTarget};
pub use identity_providers::{KeySource, ProviderSettings};
pub use operators::{Duty, Operators, SocketPathTooLong};
pub use postgresql::{has_notify_url, is_in_clear, store_url, tls_files};
pub use secret::{PinSource, SecretError, read_pin_file};
pub use settings::{MAX_RATE, SETTINGS, Setting};
pub use value::{EffectiveSetting, Origin};

use crate::model::{
    AddressRange, ApprovalRules, IvBudget, Quotas, RegionAccount, VerificationRate,
};
use environment::Environment;
use reader::Reader;

/// What a gateway does while its PostgreSQL database does not respond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutageRules {
    /// How long it serves what needs no change, as if the database responded.
    pub limit: Duration,
    /// Whether it is ready until then.
    pub is_ready_meanwhile: bool,
    /// Whether it refuses every request after that.
    pub refuses_after: bool,
}

/// A configuration whose settings are all checked, alone and against each other.
#[derive(Debug, Clone)]
pub struct Config {
    /// The listen address. Not a loopback address only with TLS, or if the operator allows plain
    /// HTTP.
    pub listen: SocketAddr,
    /// The trusted proxies.
    pub proxies: ProxyNetworks,
    /// How long a stopping gateway still accepts connections and requests.
    pub drain: Duration,
    /// TLS of the listeners. `None` means plain HTTP.
    pub tls: Option<TlsSettings>,
    /// The listener for health and metrics.
    pub admin: AdminConfig,
    /// The region and account that the gateway serves.
    pub region_account: RegionAccount,
    /// The token and its use.
    pub token: TokenGroupConfig,
    /// The database URL, as `sqlx` expects it.
    pub store_url: String,
    /// Whether a nonce is accepted once in the whole cluster, if there is one.
    pub shares_nonces: bool,
    /// What happens while a PostgreSQL database does not respond.
    pub outage: OutageRules,
    /// The directory of the small files that must survive a restart.
    pub state_directory: PathBuf,
    /// The limits.
    pub limits: Limits,
    /// The maximum numbers of objects.
    pub quotas: Quotas,
    /// The file with identity providers.
    pub identity_providers_file: Option<PathBuf>,
    /// The file with the objects that exist when it serves.
    pub seed_file: Option<PathBuf>,
    /// The identity providers of the configuration.
    pub identity_providers: Vec<ProviderSettings>,
    /// The operations that need an approval.
    pub approvals: ApprovalRules,
    /// The socket for commands of operators, and their duties.
    pub operators: Operators,
    /// What operations accept in addition to the API.
    pub compatibility: CompatibilityOptions,
    /// The settings of the keyring.
    pub keyring: KeyringSettings,
    /// How long due destructions wait after a jump of the clock.
    pub destruction_hold: Duration,
    /// Whether data keys of secrets are encrypted again after a rotation of their key.
    pub rewraps_secrets: bool,
    /// The audit settings.
    pub audit: AuditSettings,
    /// The log settings.
    pub log: Log,
}

/// The networks of trusted proxies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyNetworks {
    /// Their connections begin with a header of the PROXY protocol, version 2.
    pub proxy_protocol: Vec<AddressRange>,
    /// Their requests name the source in X-Forwarded-For.
    pub forwarded_for: Vec<AddressRange>,
}

/// TLS of the listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificate and its key.
    pub files: CertificateFiles,
    /// The accepted key exchanges.
    pub key_exchange: KeyExchange,
}

/// The key exchanges of TLS that a client may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyExchange {
    /// All that are secure today; X25519MLKEM768 is preferred.
    Any,
    /// X25519MLKEM768 alone (draft-ietf-tls-ecdhe-mlkem), which needs TLS 1.3.
    Hybrid,
}

/// Paths of a certificate and its key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The server certificate, then the intermediate certificates, without the root CA.
    pub certificate: PathBuf,
    /// The private key, readable only by its owner.
    pub key: PathBuf,
}

/// The listener for health and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// The listen address. `None` disables it.
    pub address: Option<SocketAddr>,
    /// The CA of the allowed clients (mutual TLS). `None` means plain HTTP.
    pub client_ca: Option<PathBuf>,
    /// Whether it shows the report to these clients.
    pub shows_report: bool,
}

/// The token, or several that hold the same keys.
#[derive(Debug, Clone)]
pub struct TokenGroupConfig {
    /// The first token.
    pub first: TokenConfig,
    /// The others.
    pub others: Vec<TokenConfig>,
    /// How long a new key may take to appear in every required token.
    pub replication: Duration,
    /// How long the modules may block every thread before a new process is considered.
    pub hang_timeout: Duration,
}

impl TokenGroupConfig {
    /// All tokens, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &TokenConfig> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

/// The token, the login, and limits of its use.
#[derive(Debug, Clone)]
pub struct TokenConfig {
    /// Its name, if there are several.
    pub group_name: Option<String>,
    /// Whether a key is only used after this token has it.
    pub is_required: bool,
    /// The PKCS#11 module, a shared library.
    pub module: PathBuf,
    /// The argument of C_Initialize, for modules that require one.
    pub init_arguments: Option<String>,
    /// Which token of the module.
    pub name: TokenName,
    /// The source of the user PIN.
    pub pin: PinSource,
    /// Whether keys are made with `CKA_MODIFIABLE` true.
    pub is_modifiable: bool,
    /// Worker threads. If absent, `token` chooses.
    pub workers: Option<NonZeroUsize>,
    /// Maximum number of calls that wait for a worker.
    pub queue_size: NonZeroUsize,
    /// Maximum time that a call may have to wait for a worker.
    pub max_queue_wait: Duration,
}

/// How a token is identified. Never by a slot number, because slot numbers change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenName {
    /// Its label, 1 to 32 bytes.
    Label(String),
    /// Its serial number, 1 to 16 bytes.
    Serial(String),
}

/// The limits of the gateway's work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Calls per second for an account and a cryptographic operation. 0 means no limit.
    pub calls_per_second: u32,
    /// Calls per second for a principal and a cryptographic operation. 0 means no limit.
    pub calls_per_second_per_principal: u32,
    /// Maximum duration of a request.
    pub request_timeout: Duration,
    /// Maximum time to receive the head of a request, then its body, then to send its response.
    pub header_timeout: Duration,
    /// Maximum number of open connections.
    pub connections: usize,
    /// Maximum connections of one source. If absent, half of `connections`.
    pub connections_per_source: Option<usize>,
    /// Sources without that limit, because many clients share them.
    pub shared_sources: Vec<AddressRange>,
    /// Failed authentications per second from one source. 0 means no limit.
    pub authentication_failures_per_second: u32,
}

/// The settings of the keyring.
#[derive(Debug, Clone, Copy)]
pub struct KeyringSettings {
    /// The timeouts of the token.
    pub timeouts: TokenTimeouts,
    /// The number of encryptions that a key version may make.
    pub iv_budget: IvBudget,
    /// Whether the encrypted form of a data key is decrypted before the key is returned.
    pub verify_data_keys: bool,
    /// Which ciphertexts are decrypted before they are returned.
    pub verify_encryptions: VerificationRate,
}

/// The timeouts of the token.
#[derive(Debug, Clone, Copy)]
pub struct TokenTimeouts {
    /// For a call that uses a key, including its wait.
    pub call: Duration,
    /// For generating a key. RSA key pairs take seconds.
    pub generate: Duration,
}

/// Settings that change what an operation accepts.
#[derive(Debug, Clone, Copy, Default)]
pub struct CompatibilityOptions {
    /// Accept plaintexts that are not Base64 unchanged (Terraform's provider sends them).
    pub non_base64_plaintext: bool,
    /// Accept IVs chosen by callers of the KMS instance protocol.
    pub caller_iv: bool,
}

/// The audit settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditSettings {
    /// The record file.
    pub file: PathBuf,
    /// The size of its journal in bytes, through which records reach the disk sooner. 0 disables it.
    pub journal_bytes: u64,
    /// How long an operation waits for its record to be on disk.
    pub timeout: Duration,
    /// Whether an operation is refused if its record is not on disk by then. Otherwise it
    /// succeeds, and the log reports the missing record.
    pub required: bool,
    /// Maximum number of records between two checkpoints.
    pub checkpoint_records: u64,
    /// Maximum time between a record and the checkpoint that covers it.
    pub checkpoint_interval: Duration,
    /// Where records and checkpoints are sent.
    pub forward: ForwardSettings,
}

/// The log settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The line format.
    pub format: LogFormat,
    /// The filter: a level, or directives such as `info,hsmgate::token=debug`.
    pub filter: String,
}

/// The format of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

impl Config {
    /// Parses a configuration, without the environment.
    ///
    /// # Errors
    /// All faults together, each with its line and setting.
    pub fn parse(text: &str) -> Result<Self, ConfigFaults> {
        Self::parse_with(text, &Environment::default())
    }

    fn parse_with(text: &str, environment: &Environment) -> Result<Self, ConfigFaults> {
        let mut reader = Reader::new(text, environment);
        let config = check::config(&mut reader);
        match (config, reader.into_faults()) {
            (Some(config), faults) if faults.is_empty() => Ok(config),
            (_, faults) => Err(ConfigFaults::new(faults)),
        }
    }

    /// Loads a configuration file, and the settings of the environment, which replace those of the file.
    ///
    /// # Errors
    /// When the file cannot be read, other users can change it, or it has faults.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        ownership::check_permissions(path, ownership::Role::Data)?;
        Self::read(path)
    }

    /// As [`Config::load`], for a file that other users may be able to change.
    ///
    /// # Errors
    /// When the file cannot be read or has faults.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::parse_with(&text_of(path)?, &Environment::of_process())
            .map_err(|faults| faults.of_file(path).into())
    }
}

/// Every setting as a configuration file and the environment have it.
///
/// # Errors
/// As [`Config::load`].
pub fn effective_settings(path: &Path) -> Result<Vec<EffectiveSetting>, ConfigError> {
    ownership::check_permissions(path, ownership::Role::Data)?;
    let (text, environment) = (text_of(path)?, Environment::of_process());
    Config::parse_with(&text, &environment).map_err(|faults| faults.of_file(path))?;
    Ok(Reader::new(&text, &environment).effective())
}

fn text_of(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
