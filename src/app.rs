//! The parts, put together: a gateway that starts, serves and stops.

mod lock;

use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::audit::{AuditError, AuditLog, AuditSettings, Recorder};
use crate::authn::{
    AccessKeyError, Authenticator, ClientKeys, CredentialStore, LastJournal, ReplayError,
    ReplayGuard,
};
use crate::authz::Authorizer;
use crate::config::CertificateFiles;
use crate::jobs::Jobs;
use crate::keyring::{Keyring, KeyringError, KeyringSettings};
use crate::model::{Instance, InstanceId, RegionAccount, Time};
use crate::ops::{CallLimits, CallRates, CompatibilityOptions, Services};
use crate::pipeline::Pipeline;
use crate::store::{MetadataValue, Store, StoreError};
use crate::token::{Token, TokenError, TokenSettings};
use crate::wire;
use crate::wire::admin::{self, Health, MonitoredComponents};
pub use crate::wire::http::Stop;
use crate::wire::http::{self, ConnectionLimits, HttpSettings, Listener};
use crate::wire::tls::{ServerCertificate, TlsError, TlsServer};
use lock::GatewayLocks;
pub use lock::{LockError, ProcessLock};

/// How long requests that are under way may go on once no further ones are taken.
const IN_FLIGHT_TIMEOUT: Duration = Duration::from_secs(7);
/// How long a start waits for the time from which on it accepts requests, which is the next second.
const REPLAY_TRUST_TIMEOUT: Duration = Duration::from_secs(1);
const REPLAY_TRUST_POLL: Duration = Duration::from_millis(10);
/// The connections that the admin listener may have.
pub const ADMIN_CONNECTIONS: usize = 64;
/// How slow a client of the admin listener may be.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests of the admin listener may go on at the end.
const ADMIN_IN_FLIGHT_TIMEOUT: Duration = Duration::from_secs(1);
/// The facts of the instance in the store.
const INSTANCE_ID: &str = "instance-id";
const INSTANCE_CREATED: &str = "instance-created";
/// The facts that tell what a store belongs to.
/// The token, by its serial number.
pub const TOKEN_SERIAL: &str = "token-serial";
const REGION: &str = "region";
const ACCOUNT: &str = "account";
/// The fact that names the journal of nonces that the store was last served with. Empty is one that is
/// not known.
pub const REPLAY_JOURNAL: &str = "replay-journal";
/// The names of the facts that are the same in every copy of one store.
pub const BINDING_METADATA: &[&str] = &[TOKEN_SERIAL, REGION, ACCOUNT, INSTANCE_ID];

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
    BindingMismatch {
        /// What differs.
        what: &'static str,
        /// What the store says.
        stored: String,
        /// What the configuration or the token says.
        given: String,
    },
    /// Another gateway serves with the store or the state directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The AccessKeys cannot be loaded.
    #[error("the AccessKeys cannot be loaded")]
    AccessKeys(#[from] AccessKeyError),
    /// The replay journal cannot be used.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// What the last process left half done cannot be finished.
    #[error("what the last process left half done cannot be finished")]
    Reconcile(#[from] KeyringError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The audit cannot be kept.
    #[error("the audit cannot be kept")]
    Audit(#[from] AuditError),
    /// The listener cannot be used.
    #[error("the listener cannot be used")]
    Listen(#[from] std::io::Error),
}

/// Store and token, opened and found to belong together.
pub struct Backend {
    store: Store,
    token: Token,
    access_keys: Arc<CredentialStore>,
}

impl Backend {
    /// Opens store and token, without serving anything: what `init` and the AccessKey commands
    /// work with.
    ///
    /// # Errors
    /// When one of them cannot be used, or they do not belong together.
    pub async fn open(
        token: TokenSettings,
        store_url: &str,
        region_account: &RegionAccount,
    ) -> Result<Self, StartError> {
        let store = Store::open(store_url).await?;
        let token = open_token(token).await?;
        Self::of(store, token, region_account).await
    }

    async fn of(
        store: Store,
        token: Token,
        region_account: &RegionAccount,
    ) -> Result<Self, StartError> {
        check_binding(&store, &token, region_account, AccessMode::ReadWrite).await?;
        let access_keys = Arc::new(CredentialStore::open(store.clone(), token.clone()).await?);
        Ok(Self { store, token, access_keys })
    }

    /// Takes over what another process has changed since it was opened.
    async fn refresh(&self) -> Result<(), StartError> {
        self.access_keys.refresh().await?;
        self.store.refresh().await?;
        Ok(())
    }

    /// The AccessKeys.
    pub fn access_keys(&self) -> &CredentialStore {
        &self.access_keys
    }

    /// Keys, aliases and their facts.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Makes the keys of the gateway itself that are not there yet. That which encrypts AccessKeys is
    /// made when they are opened.
    ///
    /// # Errors
    /// When the key of the audit was there and is lost, and when token or store fail.
    pub async fn make_service_keys(&self) -> Result<(), StartError> {
        Ok(crate::audit::make_key(&self.store, &self.token).await?)
    }

    /// Closes sessions and connections.
    pub async fn close(self) -> ShutdownOutcome {
        let outcome = close_token(self.token).await;
        self.store.close().await;
        outcome
    }
}

/// How the token was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownOutcome {
    /// In an orderly way.
    Closed,
    /// With threads inside the PKCS#11 module, which did not let them go.
    Abandoned,
}

/// What somebody opens store and token for who cares for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessMode {
    /// To look; others may use the store, which has to be there.
    ReadOnly,
    /// To change things that no gateway may change meanwhile; a store that is not there is made.
    ReadWrite,
}

/// Store and token, found to belong together, before anything in them is relied on.
///
/// # Errors
/// When one of them cannot be used, they do not belong together, or somebody else uses the store
/// that is to be changed.
pub async fn open_offline(
    token: TokenSettings,
    store_url: &str,
    region_account: &RegionAccount,
    mode: AccessMode,
) -> Result<(Store, Token), StartError> {
    let store = match mode {
        AccessMode::ReadOnly => Store::open_existing(store_url).await?,
        AccessMode::ReadWrite => Store::open_exclusive(store_url).await?,
    };
    let token = open_token(token).await?;
    check_binding(&store, &token, region_account, mode).await?;
    Ok((store, token))
}

/// Closes what [`open_offline`] has opened.
pub async fn close(store: Store, token: Token) {
    close_token(token).await;
    store.close().await;
}

/// Whether another gateway serves on the same store at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartMode {
    /// None does.
    Exclusive,
    /// One does, and will end before this one takes over.
    Replacement,
}

/// Everything of a gateway that may be open twice: certificate, token and store. Nothing is served
/// or written yet.
pub struct Prepared {
    settings: Settings,
    /// None beside another gateway, which has them.
    locks: Option<GatewayLocks>,
    certificate: Option<Arc<ServerCertificate>>,
    tls: Option<TlsServer>,
    admin_tls: Option<TlsServer>,
    token: Token,
    /// None where the tables have to be brought to this program's form first, while nobody uses them.
    backend: Option<Backend>,
}

impl Prepared {
    /// Opens certificate, token and store. Who is to be alone takes the locks before that: to open a
    /// store brings its tables to this program's form, which must not happen under another gateway.
    /// Beside another gateway it also looks whether that can be used which is opened when the other one
    /// has ended: there is no way back by then.
    ///
    /// # Errors
    /// When one of them cannot be used, they do not belong together, or there is another gateway.
    pub async fn open(settings: Settings, mode: StartMode) -> Result<Self, StartError> {
        let locks = match mode {
            StartMode::Exclusive => Some(take_locks(&settings)?),
            StartMode::Replacement => None,
        };
        let certificate = settings.tls.clone().map(ServerCertificate::open).transpose()?;
        let tls = certificate
            .as_ref()
            .map(|certificate| TlsServer::without_client_auth(Arc::clone(certificate)));
        let tls = tls.transpose()?;
        let admin_tls = match (&settings.admin_client_ca, &certificate) {
            (Some(ca), Some(certificate)) => {
                Some(TlsServer::with_client_ca(ca, Arc::clone(certificate))?)
            }
            _ => None,
        };
        let url = &settings.store_url;
        let must_wait = mode == StartMode::Replacement && Store::needs_migration(url).await?;
        let store = if must_wait { None } else { Some(Store::open(url).await?) };
        let token = open_token(settings.token.clone()).await?;
        let backend = match store {
            Some(store) => Some(Backend::of(store, token.clone(), &settings.region_account).await?),
            None => None,
        };
        if mode == StartMode::Replacement {
            check_prerequisites(&settings, backend.as_ref()).await?;
        }
        Ok(Self { settings, locks, certificate, tls, admin_tls, token, backend })
    }

    /// Closes token and store again.
    pub async fn close(self) -> ShutdownOutcome {
        match self.backend {
            Some(backend) => backend.close().await,
            None => close_token(self.token).await,
        }
    }
}

/// A gateway that is ready to serve.
pub struct Gateway {
    locks: GatewayLocks,
    backend: Backend,
    client_keys: Arc<ClientKeys>,
    replay: Arc<ReplayGuard>,
    audit: Option<AuditLog>,
    services: Arc<Services>,
    address: SocketAddr,
    certificate: Option<Arc<ServerCertificate>>,
    listener: Listener,
    admin: Option<AdminServer>,
    router: axum::Router,
    http: HttpSettings,
    destruction_hold: Duration,
}

/// Where health and metrics are told.
struct AdminServer {
    address: SocketAddr,
    listener: Listener,
    health: Arc<Health>,
}

impl Gateway {
    /// Opens everything, finishes what the last process left half done, and is then ready to
    /// serve on the listeners.
    ///
    /// # Errors
    /// When any part cannot be used.
    pub async fn start(settings: Settings, listeners: Listeners) -> Result<Self, StartError> {
        Self::take_over(Prepared::open(settings, StartMode::Exclusive).await?, listeners).await
    }

    /// Finishes what the last process left half done, and is then ready to serve on the listeners.
    /// A gateway that was [`StartMode`] has to have ended.
    ///
    /// # Errors
    /// When any part cannot be used.
    pub async fn take_over(prepared: Prepared, listeners: Listeners) -> Result<Self, StartError> {
        let Prepared { settings, locks, certificate, tls, admin_tls, token, backend } = prepared;
        let locks = match locks {
            Some(locks) => locks,
            None => take_locks(&settings)?,
        };
        let address = listeners.api.local_addr()?;
        let listener = Listener::new("api", open_listener(listeners.api)?, tls);
        let backend = match backend {
            Some(backend) => {
                // After the locks were taken: the gateway before may have changed something at its end.
                backend.refresh().await?;
                backend
            }
            None => {
                Backend::of(
                    Store::open(&settings.store_url).await?,
                    token,
                    &settings.region_account,
                )
                .await?
            }
        };
        let keyring =
            Keyring::new(backend.store.clone(), backend.token.clone(), settings.limits.keyring);
        let replay = take_over(&settings.state_directory, &backend, &keyring).await?;
        let account = settings.region_account.account.clone();
        let client_keys = Arc::new(ClientKeys::new(account.clone(), backend.store.clone()));
        crate::authz::log_costly_policies(&backend.store).await?;
        let authenticator = Authenticator::new(
            account,
            Arc::clone(&backend.access_keys),
            Arc::clone(&client_keys),
            Arc::clone(&replay),
        );
        let audit = match settings.audit {
            Some(audit) => Some(start_audit(audit, &settings.region_account, &backend).await?),
            None => None,
        };
        let recorder = audit.as_ref().map_or(Recorder::off(), AuditLog::recorder);
        let services = Arc::new(Services {
            authorizer: Authorizer::new(settings.region_account.clone(), backend.store.clone()),
            region_account: settings.region_account,
            instance: instance(&backend.store).await?,
            store: backend.store.clone(),
            keyring,
            compatibility: settings.compatibility,
            call_limits: CallLimits::new(settings.limits.call_rates),
        });
        let failures = settings.limits.authentication_failures;
        let pipeline = Pipeline::new(Arc::clone(&services), recorder.clone(), failures);
        let admin = match listeners.admin {
            Some(listener) => {
                let (token, store) = (backend.token.clone(), backend.store.clone());
                let (certificate, audit) = (certificate.clone(), recorder.clone());
                let replay = Arc::clone(&replay);
                let components = MonitoredComponents { token, store, audit, certificate, replay };
                Some(AdminServer::open(listener, admin_tls, components)?)
            }
            None => None,
        };
        let http = HttpSettings {
            connections: settings.limits.connections.clone(),
            header_timeout: settings.limits.header_time,
            // Making a key may take longer than any other request.
            request_timeout: settings
                .limits
                .request_time
                .max(max_generation_time(&settings.limits)),
            drain: settings.limits.drain,
            finish: IN_FLIGHT_TIMEOUT,
        };
        let router = wire::router(pipeline, authenticator, Arc::clone(&client_keys));
        Ok(Self {
            locks,
            backend,
            client_keys,
            replay,
            audit,
            services,
            address,
            certificate,
            listener,
            admin,
            router,
            http,
            destruction_hold: settings.destruction_hold,
        })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of the admin listener, where there is one.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|admin| admin.address)
    }

    /// The certificate that it shows; none over plain HTTP.
    pub fn certificate(&self) -> Option<Arc<ServerCertificate>> {
        self.certificate.clone()
    }

    /// The AccessKeys.
    pub fn access_keys(&self) -> &CredentialStore {
        self.backend.access_keys()
    }

    /// Keys, aliases and their facts.
    pub fn store(&self) -> &Store {
        self.backend.store()
    }

    /// The token.
    pub fn token(&self) -> &Token {
        &self.backend.token
    }

    /// Serves until `stop` completes, and then stops as that says: finishes the requests that are
    /// under way, and closes every session. `/readyz` tells of a stop from its first moment, except of
    /// one after which another process goes on: the service stays.
    pub async fn serve_until(
        self,
        stop: impl Future<Output = Stop> + Send + 'static,
    ) -> ShutdownOutcome {
        // Until store and token are closed.
        let _locks = self.locks;
        let jobs = Jobs::start(
            &self.services.keyring,
            Arc::clone(&self.backend.access_keys),
            Arc::clone(&self.client_keys),
            self.replay,
            self.backend.store.clone(),
            self.audit.as_ref().map_or(Recorder::off(), AuditLog::recorder),
            self.destruction_hold,
        );
        let certificate_watch =
            self.certificate.map(|certificate| tokio::spawn(certificate.watch_files()));
        let (stop_sender, stopped) = oneshot::channel();
        let health = self.admin.as_ref().map(|admin| Arc::clone(&admin.health));
        let admin = self.admin.map(|admin| tokio::spawn(admin.serve_until(stopped)));
        let stop = async move {
            let stop = stop.await;
            if let (Some(health), Stop::Drain | Stop::AtOnce) = (health, stop) {
                health.stop();
            }
            stop
        };
        let stop = http::serve(self.listener, self.router, self.http, stop).await;
        // Nobody listens where the admin listener has failed.
        let _ = stop_sender.send(stop);
        if let Some(certificate_watch) = certificate_watch {
            certificate_watch.abort();
        }
        if let Some(admin) = admin
            && let Err(error) = admin.await
        {
            tracing::error!(%error, "the admin listener failed");
        }
        jobs.stop().await;
        if let Some(audit) = self.audit {
            audit.stop().await;
        }
        if let Err(error) = self.services.keyring.return_leases().await {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::warn!(error, "key versions count for more encryptions than they have done");
        }
        if let Err(error) = self.backend.access_keys.flush_last_used().await {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::warn!(error, "the last uses of AccessKeys are not written down");
        }
        if let Err(error) = self.client_keys.flush_last_used().await {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::warn!(error, "the last uses of client keys are not written down");
        }
        self.backend.close().await
    }
}

impl AdminServer {
    fn open(
        listener: TcpListener,
        tls: Option<TlsServer>,
        components: MonitoredComponents,
    ) -> Result<Self, StartError> {
        let address = listener.local_addr()?;
        let listener = Listener::new("admin", open_listener(listener)?, tls);
        Ok(Self { address, listener, health: Arc::new(Health::new(components)) })
    }

    /// Answers until the API has stopped, and then stops in the same way: so it can tell that the
    /// gateway is stopping.
    async fn serve_until(self, stopped: oneshot::Receiver<Stop>) {
        let stop = async { stopped.await.unwrap_or(Stop::AtOnce) };
        let settings = HttpSettings {
            connections: ConnectionLimits::of_all(ADMIN_CONNECTIONS),
            header_timeout: ADMIN_TIMEOUT,
            request_timeout: ADMIN_TIMEOUT,
            drain: Duration::ZERO,
            finish: ADMIN_IN_FLIGHT_TIMEOUT,
        };
        http::serve(self.listener, admin::router(self.health), settings, stop).await;
    }
}

fn open_listener(listener: TcpListener) -> std::io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

/// Looks whether state directory and audit can be used, and changes nothing.
async fn check_prerequisites(
    settings: &Settings,
    backend: Option<&Backend>,
) -> Result<(), StartError> {
    GatewayLocks::check(&settings.state_directory)?;
    let Some(audit) = &settings.audit else { return Ok(()) };
    crate::audit::check_file(&audit.file)?;
    if let Some(backend) = backend {
        crate::audit::check_key(&backend.store, &backend.token).await?;
    }
    Ok(())
}

async fn start_audit(
    settings: AuditSettings,
    region_account: &RegionAccount,
    backend: &Backend,
) -> Result<AuditLog, AuditError> {
    AuditLog::start(settings, region_account.clone(), backend.store.clone(), backend.token.clone())
        .await
}

/// Takes store and state directory for this gateway alone. The last one has to have ended before.
fn take_locks(settings: &Settings) -> Result<GatewayLocks, LockError> {
    GatewayLocks::take(&settings.state_directory, &settings.store_url)
}

/// Which other gateway keeps this one from starting, if any does.
///
/// # Errors
/// [`LockError::Taken`], and when a lock file cannot be used.
pub fn find_other_gateway(state_directory: &Path, store_url: &str) -> Result<(), LockError> {
    GatewayLocks::take(state_directory, store_url).map(drop)
}

/// Finishes what the last gateway left half done, and reads the nonces that it knew.
///
/// Where these nonces are lost, requests are trusted from the next second on, and the start waits for
/// that, so that no caller is refused who comes when the gateway serves.
async fn take_over(
    state_directory: &Path,
    backend: &Backend,
    keyring: &Keyring,
) -> Result<Arc<ReplayGuard>, StartError> {
    if backend.store.is_only_user().await? {
        keyring.reconcile().await?;
    }
    let (store, last) = (&backend.store, last_journal(&backend.store).await?);
    let replay = ReplayGuard::open(&state_directory.join("replay"), &last, Time::now())?;
    let journal = replay.journal();
    if last != LastJournal::Id(journal.clone()) {
        store.set_metadata(REPLAY_JOURNAL, &journal).await?;
    }
    let limit = Instant::now() + REPLAY_TRUST_TIMEOUT;
    while Time::now() < replay.trusted_from() && Instant::now() < limit {
        tokio::time::sleep(REPLAY_TRUST_POLL).await;
    }
    Ok(Arc::new(replay))
}

/// What the store tells of the journal of nonces. A store of version 0.1.0 does not name it, and has an
/// instance from its first start on.
async fn last_journal(store: &Store) -> Result<LastJournal, StoreError> {
    let text = |text: &str| Some(text.to_owned());
    Ok(match store.read_metadata(REPLAY_JOURNAL, text).await? {
        MetadataValue::Read(journal) => LastJournal::Id(journal),
        MetadataValue::Damaged => LastJournal::Unknown,
        MetadataValue::Absent
            if store.read_metadata(INSTANCE_ID, text).await? != MetadataValue::Absent =>
        {
            LastJournal::Unknown
        }
        MetadataValue::Absent => LastJournal::Absent,
    })
}

/// How long a request that makes a key may take: its time in the token, and that of taking a
/// failure back.
fn max_generation_time(limits: &Limits) -> Duration {
    limits.keyring.timeouts.generate + limits.keyring.timeouts.call
}

/// The instance that the store belongs to; the first start names it. What cannot be read is named anew,
/// and that alone.
async fn instance(store: &Store) -> Result<Instance, StoreError> {
    let created = store.read_metadata(INSTANCE_CREATED, |text| text.parse().ok()).await?.value();
    let id = store.read_metadata(INSTANCE_ID, |text| text.parse().ok()).await?.value();
    let instance = Instance {
        id: id.clone().unwrap_or_else(InstanceId::random),
        created: created.unwrap_or_else(Time::now),
    };
    if created.is_none() {
        store.set_metadata(INSTANCE_CREATED, &instance.created.to_string()).await?;
    }
    if id.is_none() {
        store.set_metadata(INSTANCE_ID, instance.id.as_str()).await?;
    }
    Ok(instance)
}

async fn open_token(settings: TokenSettings) -> Result<Token, StartError> {
    match tokio::task::spawn_blocking(move || Token::open(settings)).await {
        Ok(opened) => Ok(opened?),
        Err(panicked) => Err(StartError::Listen(panicked.into())),
    }
}

async fn close_token(token: Token) -> ShutdownOutcome {
    // A panic of the module at the very end changes nothing.
    match tokio::task::spawn_blocking(move || token.close()).await {
        Ok(true) => ShutdownOutcome::Closed,
        Ok(false) | Err(_) => ShutdownOutcome::Abandoned,
    }
}

/// As [`check_binding`], as far as it can be told without the token. A fact that cannot be read keeps
/// nobody from taking rights away; the log tells of it.
///
/// # Errors
/// When the store belongs to another region or account, or cannot be read.
pub async fn check_region_account(
    store: &Store,
    region_account: &RegionAccount,
) -> Result<(), StartError> {
    for (what, name, given) in metadata_of(region_account) {
        match store.read_metadata(name, |text| Some(text.to_owned())).await? {
            MetadataValue::Read(stored) if stored != given => {
                return Err(StartError::BindingMismatch { what, stored, given });
            }
            MetadataValue::Read(_) | MetadataValue::Absent | MetadataValue::Damaged => {}
        }
    }
    Ok(())
}

fn metadata_of(region_account: &RegionAccount) -> [(&'static str, &'static str, String); 2] {
    [
        ("region", REGION, region_account.region.to_string()),
        ("account", ACCOUNT, region_account.account.to_string()),
    ]
}

/// A store belongs to one token and one place, for good: with another token its keys would all
/// be gone, in another place its ARNs would lie. A fact that cannot be read is written anew where another
/// one says that they belong together.
///
/// # Errors
/// When it belongs to others, or cannot be read.
pub async fn check_binding(
    store: &Store,
    token: &Token,
    region_account: &RegionAccount,
    mode: AccessMode,
) -> Result<(), StartError> {
    let serial = ("token serial", TOKEN_SERIAL, token.info().serial.clone());
    let (mut is_bound, mut damaged) = (false, Vec::new());
    for (what, name, given) in std::iter::once(serial).chain(metadata_of(region_account)) {
        match store.read_metadata(name, |text| Some(text.to_owned())).await? {
            MetadataValue::Read(stored) if stored == given => is_bound = true,
            MetadataValue::Read(stored) => {
                return Err(StartError::BindingMismatch { what, stored, given });
            }
            MetadataValue::Damaged => damaged.push((name, given)),
            MetadataValue::Absent if mode == AccessMode::ReadOnly => {}
            MetadataValue::Absent => store.set_metadata(name, &given).await?,
        }
    }
    for (name, given) in damaged {
        if !is_bound {
            // Says that it is damaged.
            store.metadata(name).await?;
        } else if mode == AccessMode::ReadWrite {
            store.set_metadata(name, &given).await?;
        }
    }
    Ok(())
}
