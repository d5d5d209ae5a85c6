//! The parts, put together: a gateway that starts, serves and stops.

use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::audit::{Audit, AuditError, AuditSettings, Recorder};
use crate::authn::{
    AccessKeyError, AccessKeys, Authenticator, ClientKeys, ReplayError, ReplayGuard,
};
use crate::authz::Authorizer;
use crate::gate::Gate;
use crate::jobs::Jobs;
use crate::keyring::{Keyring, KeyringError, TokenTimes};
use crate::model::{Instance, InstanceId, Place, Time};
use crate::ops::{Acceptance, Services};
use crate::store::{Store, StoreError};
use crate::token::{Token, TokenError, TokenSettings};
use crate::wire;
use crate::wire::http::{self, HttpSettings};

/// How long requests that are under way may go on after a stop was asked for.
const DRAIN: Duration = Duration::from_secs(8);
/// The facts of the instance in the store.
const INSTANCE_ID: &str = "instance-id";
const INSTANCE_CREATED: &str = "instance-created";

/// What a gateway needs to know.
#[derive(Debug)]
pub struct Settings {
    /// The region and account to serve.
    pub place: Place,
    /// The token.
    pub token: TokenSettings,
    /// The store's URL.
    pub store_url: String,
    /// A directory for the replay journal.
    pub state_directory: PathBuf,
    /// How much a caller may ask for.
    pub limits: Limits,
    /// What operations accept.
    pub acceptance: Acceptance,
    /// How the audit is kept; none is no audit, for measurements only.
    pub audit: Option<AuditSettings>,
}

/// How much a caller may ask for, and how long things may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// For each account and cryptographic operation; none is no limit.
    pub calls_per_second: Option<NonZeroU32>,
    /// For a whole request.
    pub request_time: Duration,
    /// For a request's head.
    pub header_time: Duration,
    /// Open at once.
    pub connections: usize,
    /// Time in the token.
    pub token: TokenTimes,
}

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The token cannot be used.
    #[error("the token cannot be used")]
    Token(#[from] TokenError),
    /// The store cannot be used.
    #[error("the store cannot be used")]
    Store(#[from] StoreError),
    /// The store belongs to another token, region or account.
    #[error("the store belongs to {what} {stored:?}, not to {given:?}")]
    Foreign {
        /// What differs.
        what: &'static str,
        /// What the store says.
        stored: String,
        /// What the configuration or the token says.
        given: String,
    },
    /// The AccessKeys cannot be loaded.
    #[error("the AccessKeys cannot be loaded")]
    AccessKeys(#[from] AccessKeyError),
    /// The replay journal cannot be used.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// What the last process left half done cannot be finished.
    #[error("what the last process left half done cannot be finished")]
    Reconcile(#[from] KeyringError),
    /// The audit cannot be kept.
    #[error("the audit cannot be kept")]
    Audit(#[from] AuditError),
    /// The listener cannot be used.
    #[error("the listener cannot be used")]
    Listen(#[from] std::io::Error),
}

/// Store and token, opened and found to belong together.
pub struct Vault {
    store: Store,
    token: Token,
    access_keys: Arc<AccessKeys>,
}

impl Vault {
    /// Opens store and token, without serving anything: what `init` and the AccessKey commands
    /// work with.
    ///
    /// # Errors
    /// When one of them cannot be used, or they do not belong together.
    pub async fn open(
        token: TokenSettings,
        store_url: &str,
        place: &Place,
    ) -> Result<Self, StartError> {
        let store = Store::open(store_url).await?;
        let token = open_token(token).await?;
        check_belonging(&store, &token, place).await?;
        let access_keys = Arc::new(AccessKeys::open(store.clone(), token.clone()).await?);
        Ok(Self { store, token, access_keys })
    }

    /// The AccessKeys.
    pub fn access_keys(&self) -> &AccessKeys {
        &self.access_keys
    }

    /// Keys, aliases and their facts.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Closes sessions and connections.
    pub async fn close(self) {
        close_token(self.token).await;
        self.store.close().await;
    }
}

/// A gateway that is ready to serve.
pub struct Gateway {
    vault: Vault,
    audit: Option<Audit>,
    services: Arc<Services>,
    listener: tokio::net::TcpListener,
    router: axum::Router,
    http: HttpSettings,
}

impl Gateway {
    /// Opens everything, finishes what the last process left half done, and is then ready to
    /// serve on `listener`.
    ///
    /// # Errors
    /// When any part cannot be used.
    pub async fn start(settings: Settings, listener: TcpListener) -> Result<Self, StartError> {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let vault = Vault::open(settings.token, &settings.store_url, &settings.place).await?;
        let keyring = Keyring::new(vault.store.clone(), vault.token.clone(), settings.limits.token);
        keyring.reconcile().await?;
        let replay = ReplayGuard::open(&settings.state_directory.join("replay"), Time::now())?;
        let authenticator = Authenticator::new(
            settings.place.account.clone(),
            Arc::clone(&vault.access_keys),
            replay,
        );
        let audit = match settings.audit {
            Some(audit) => Some(start_audit(audit, &settings.place, &vault).await?),
            None => None,
        };
        let recorder = audit.as_ref().map_or(Recorder::off(), Audit::recorder);
        let services = Arc::new(Services {
            authorizer: Authorizer::new(settings.place.clone(), vault.store.clone()),
            place: settings.place,
            instance: instance(&vault.store).await?,
            store: vault.store.clone(),
            keyring,
            acceptance: settings.acceptance,
        });
        let gate = Gate::new(Arc::clone(&services), recorder, settings.limits.calls_per_second);
        let http = HttpSettings {
            connections: settings.limits.connections,
            header_timeout: settings.limits.header_time,
            // Making a key may take longer than any other request.
            request_timeout: settings.limits.request_time.max(longest_generation(&settings.limits)),
            drain: DRAIN,
        };
        let client_keys = ClientKeys::new(services.place.account.clone(), vault.store.clone());
        let router = wire::router(gate, authenticator, client_keys);
        Ok(Self { vault, audit, services, listener, router, http })
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The AccessKeys.
    pub fn access_keys(&self) -> &AccessKeys {
        self.vault.access_keys()
    }

    /// Serves until `stop` completes; then takes no new connection, finishes the requests that
    /// are under way, and closes every session.
    pub async fn serve_until(self, stop: impl Future<Output = ()> + Send + 'static) {
        let jobs = Jobs::start(self.services.keyring.clone(), Arc::clone(&self.vault.access_keys));
        http::serve(self.listener, self.router, self.http, stop).await;
        jobs.stop().await;
        if let Some(audit) = self.audit {
            audit.stop().await;
        }
        if let Err(error) = self.vault.access_keys.write_uses().await {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::warn!(error, "the last uses of AccessKeys are not written down");
        }
        self.vault.close().await;
    }
}

async fn start_audit(
    settings: AuditSettings,
    place: &Place,
    vault: &Vault,
) -> Result<Audit, AuditError> {
    Audit::start(settings, place.clone(), vault.store.clone(), vault.token.clone()).await
}

/// How long a request that makes a key may take: its time in the token, and that of taking a
/// failure back.
fn longest_generation(limits: &Limits) -> Duration {
    limits.token.generate + limits.token.call
}

/// The instance that the store belongs to; the first start names it.
async fn instance(store: &Store) -> Result<Instance, StoreError> {
    let id = store.fact(INSTANCE_ID).await?.and_then(|id| id.parse().ok());
    let created = store.fact(INSTANCE_CREATED).await?.and_then(|created| created.parse().ok());
    if let (Some(id), Some(created)) = (id, created) {
        return Ok(Instance { id, created });
    }
    let new = Instance { id: InstanceId::random(), created: Time::now() };
    store.set_fact(INSTANCE_CREATED, &new.created.to_string()).await?;
    store.set_fact(INSTANCE_ID, new.id.as_str()).await?;
    Ok(new)
}

async fn open_token(settings: TokenSettings) -> Result<Token, StartError> {
    match tokio::task::spawn_blocking(move || Token::open(settings)).await {
        Ok(opened) => Ok(opened?),
        Err(panicked) => Err(StartError::Listen(panicked.into())),
    }
}

async fn close_token(token: Token) {
    // A panic of the module at the very end changes nothing.
    let _ = tokio::task::spawn_blocking(move || token.close()).await;
}

/// A store belongs to one token and one place, for good: with another token its keys would all
/// be gone, in another place its ARNs would lie.
async fn check_belonging(store: &Store, token: &Token, place: &Place) -> Result<(), StartError> {
    let given = [
        ("token serial", "token-serial", token.info().serial.clone()),
        ("region", "region", place.region.to_string()),
        ("account", "account", place.account.to_string()),
    ];
    for (what, fact, given) in given {
        match store.fact(fact).await? {
            Some(stored) if stored == given => {}
            Some(stored) => return Err(StartError::Foreign { what, stored, given }),
            None => store.set_fact(fact, &given).await?,
        }
    }
    Ok(())
}
