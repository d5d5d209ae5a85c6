//! Composes the components of the gateway and of its commands.

mod backend;
mod binding;
mod error;
mod gateway;
mod lock;
mod metrics;
mod offline;
mod operator_calls;

use std::net::TcpListener;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

pub use backend::{Backend, ShutdownOutcome, close_token, open_token_alone};
pub use binding::check_binding;
pub use error::StartError;
pub use gateway::{ADMIN_CONNECTIONS, Gateway, Prepared, StartMode};
pub use lock::{LockError, ProcessLock};
pub use metrics::Metrics;
pub use offline::{close, find_other_gateway, open_locked, open_offline};
pub use operator_calls::OperatorCalls;

use crate::config::{
    AuditSettings, CompatibilityOptions, KeyringSettings, OutageRules, ProviderSettings,
    TlsSettings,
};
use crate::model::{ApprovalRules, Quotas, RegionAccount};
use crate::ops::CallRates;
use crate::server::TrustedProxies;
use crate::server::http::ConnectionLimits;
pub use crate::server::http::Stop;
use crate::token::TokenGroupSettings;

/// The settings of a gateway.
#[derive(Debug)]
pub struct Settings {
    /// The region and account of the gateway.
    pub region_account: RegionAccount,
    /// The token.
    pub token: TokenGroupSettings,
    /// The store's URL.
    pub store_url: String,
    /// Whether a nonce is accepted once in the whole cluster, if there is one.
    pub shares_nonces: bool,
    /// What happens while a PostgreSQL database does not respond.
    pub outage: OutageRules,
    /// A directory for the replay journal.
    pub state_directory: PathBuf,
    /// TLS of the listeners; `None` is plain HTTP.
    pub tls: Option<TlsSettings>,
    /// The CA of the clients of the admin listener, for mutual TLS; `None` is plain HTTP.
    pub admin_client_ca: Option<PathBuf>,
    /// The limits for callers.
    pub limits: Limits,
    /// The maximum numbers of objects.
    pub quotas: Quotas,
    /// The identity providers of the configuration.
    pub identity_providers: Vec<ProviderSettings>,
    /// The operations that need an approval.
    pub approvals: ApprovalRules,
    /// The options for compatibility.
    pub compatibility: CompatibilityOptions,
    /// How long due destructions wait after a jump of the clock.
    pub destruction_hold: Duration,
    /// Whether data keys of secrets are encrypted again after a rotation of their key.
    pub rewraps_secrets: bool,
    /// The audit settings; `None` is no audit, for measurements only.
    pub audit: Option<AuditSettings>,
}

/// The sockets of a gateway.
#[derive(Debug)]
pub struct Listeners {
    /// For the API.
    pub api: TcpListener,
    /// For health and metrics, if configured.
    pub admin: Option<TcpListener>,
}

/// The limits for callers, and the timeouts.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The rate limits of cryptographic operations.
    pub call_rates: CallRates,
    /// Permitted failed authentications a second from one source; `None` is no limit.
    pub authentication_failures: Option<NonZeroU32>,
    /// The timeout of a whole request.
    pub request_time: Duration,
    /// The timeout of a request's head, then of its body, then of reading the response.
    pub header_time: Duration,
    /// The limits of open connections.
    pub connections: ConnectionLimits,
    /// The proxies that name the source of a connection or a request.
    pub proxies: TrustedProxies,
    /// How long connections and requests are still accepted after a stop request.
    pub drain: Duration,
    /// The settings of the keyring.
    pub keyring: KeyringSettings,
}
