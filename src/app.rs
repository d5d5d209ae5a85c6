//! The parts, put together: what a gateway and the commands beside it start from.

mod backend;
mod error;
mod gateway;
mod lock;
mod offline;

use std::net::TcpListener;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

pub use backend::{Backend, ShutdownOutcome};
pub use error::StartError;
pub use gateway::{ADMIN_CONNECTIONS, Gateway, Prepared, StartMode};
pub use lock::{LockError, ProcessLock};
pub use offline::{close, find_other_gateway, open_offline};

use crate::config::{AuditSettings, CertificateFiles, CompatibilityOptions, KeyringSettings};
use crate::model::RegionAccount;
use crate::ops::CallRates;
use crate::server::http::ConnectionLimits;
pub use crate::server::http::Stop;
use crate::token::TokenSettings;

/// What a gateway needs to know.
#[derive(Debug)]
pub struct Settings {
    /// The region and account to serve.
    pub region_account: RegionAccount,
    /// The token.
    pub token: TokenSettings,
    /// The store's URL.
    pub store_url: String,
    /// A directory for the replay journal.
    pub state_directory: PathBuf,
    /// The certificate; none is plain HTTP.
    pub tls: Option<CertificateFiles>,
    /// Whose clients the admin listener lets in, by mutual TLS; none is plain HTTP.
    pub admin_client_ca: Option<PathBuf>,
    /// How much a caller may ask for.
    pub limits: Limits,
    /// What operations accept.
    pub compatibility: CompatibilityOptions,
    /// How long destructions that are due wait after a jump of the clock.
    pub destruction_hold: Duration,
    /// How the audit is kept; none is no audit, for measurements only.
    pub audit: Option<AuditSettings>,
}

/// The sockets that a gateway serves on.
#[derive(Debug)]
pub struct Listeners {
    /// For the API.
    pub api: TcpListener,
    /// For health and metrics, where they are wanted.
    pub admin: Option<TcpListener>,
}

/// How much a caller may ask for, and how long things may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How often cryptographic operations may be called.
    pub call_rates: CallRates,
    /// Requests a second of a source that may fail to prove who sent them; none is no limit.
    pub authentication_failures: Option<NonZeroU32>,
    /// For a whole request.
    pub request_time: Duration,
    /// For a request's head, then for its body, then for its answer to be taken.
    pub header_time: Duration,
    /// Open at once.
    pub connections: ConnectionLimits,
    /// How long connections and requests are still taken once a stop was asked for.
    pub drain: Duration,
    /// How keys are used.
    pub keyring: KeyringSettings,
}
