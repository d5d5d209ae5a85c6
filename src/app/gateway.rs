//! The gateway: preparation, start on its listeners, service until the stop.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::backend::{Backend, ShutdownOutcome, close_token, open_token};
use super::lock::{GatewayLocks, LockError};
use super::metrics::Metrics;
use super::operator_calls::OperatorCalls;
use super::{Limits, Listeners, Settings, StartError};
use crate::api;
use crate::api::admin::{self, Health, MonitoredComponents, ReportPage};
use crate::audit::{AuditError, AuditLog, AuditMetrics, Recorder};
use crate::authn::{
    Authenticator, ClientKeys, ConfiguredProviders, CredentialStore, IdentityVerifier, ReplayGuard,
};
use crate::authz::Authorizer;
use crate::config::{KeyExchange, TlsSettings};
use crate::jobs::{JobContext, JobMetrics, Jobs};
use crate::keyring::store_counter::StoreCounter;
use crate::keyring::{Keyring, SecretDataKeys};
use crate::model::clock;
use crate::ops::{CallLimits, Services, WrongValues};
use crate::pipeline::Pipeline;
use crate::server::http::{self, ConnectionLimits, HttpApp, HttpSettings, Listener, Stop};
use crate::server::tls::{ServerCertificate, TlsServer};
use crate::server::{ServerMetrics, TrustedProxies};
use crate::store::{JobLease, LockedStore, Store, StoreMetrics};
use crate::telemetry::Exposition;
use crate::token::Token;

/// How long requests in progress may continue after the last one was accepted.
const IN_FLIGHT_TIMEOUT: Duration = Duration::from_secs(7);
/// How long a start waits for the time from which it accepts requests, which is the next second.
const REPLAY_TRUST_TIMEOUT: Duration = Duration::from_secs(1);
const REPLAY_TRUST_POLL: Duration = Duration::from_millis(10);
/// The maximum connections of the admin listener.
pub const ADMIN_CONNECTIONS: usize = 64;
/// The timeout for a client of the admin listener.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests of the admin listener may continue at the end.
const ADMIN_IN_FLIGHT_TIMEOUT: Duration = Duration::from_secs(1);
/// Whether another gateway uses the same store now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartMode {
    /// No other gateway does.
    Exclusive,
    /// Another one does, and ends before this one takes over.
    Replacement,
}

/// The components of a gateway that may be open twice: certificate, token and store. Nothing is
/// served or written yet.
pub struct Prepared {
    settings: Settings,
    /// `None` next to another gateway, which has them.
    locks: Option<GatewayLocks>,
    certificate: Option<Arc<ServerCertificate>>,
    tls: Option<TlsServer>,
    admin_tls: Option<TlsServer>,
    token: Token,
    metrics: Metrics,
    /// `None` if the tables have to be migrated first, while no other process uses them.
    backend: Option<Backend>,
}

impl Prepared {
    /// Opens certificate, token and store. An exclusive start takes the locks first: opening a
    /// store migrates its tables, which must not happen while another gateway uses them. Next to
    /// another gateway it also checks what it can open only after the end of the other one, because
    /// there is no way back then.
    ///
    /// # Errors
    /// When one of them cannot be used, they do not belong together, or another gateway is running.
    pub async fn open(settings: Settings, mode: StartMode) -> Result<Self, StartError> {
        let locks = match mode {
            StartMode::Exclusive => Some(take_locks(&settings)?),
            StartMode::Replacement => None,
        };
        let metrics = Metrics::register();
        let key_exchange = settings.tls.as_ref().map_or(KeyExchange::Any, |tls| tls.key_exchange);
        let open =
            |tls: TlsSettings| ServerCertificate::open_with(tls.files, metrics.server.clone());
        let certificate = settings.tls.clone().map(open).transpose()?;
        let of_api = |certificate| TlsServer::without_client_auth(certificate, key_exchange);
        let tls = certificate.clone().map(of_api).transpose()?;
        let of_admin = |(ca, server)| TlsServer::with_client_ca(ca, server, key_exchange);
        let admin_ca = settings.admin_client_ca.as_deref().zip(certificate.clone());
        let admin_tls = admin_ca.map(of_admin).transpose()?;
        // Both take long with many keys, and neither needs the other.
        let (store, token) = tokio::join!(
            Box::pin(open_store(&settings, mode, metrics.store.clone())),
            open_token(settings.token.clone(), metrics.token.clone())
        );
        let (store, token) = match (store, token) {
            (Ok(store), Ok(token)) => (store, token),
            (Err(error), Ok(token)) => {
                close_token(token).await;
                return Err(error);
            }
            (Err(error), Err(_)) | (Ok(_), Err(error)) => return Err(error),
        };
        check_caller_iv(&settings, &token)?;
        let backend = match store {
            Some(store) => Some(Backend::of(store, token.clone(), &settings.region_account).await?),
            None => None,
        };
        if mode == StartMode::Replacement {
            check_prerequisites(&settings, backend.as_ref()).await?;
        }
        Ok(Self { settings, locks, certificate, tls, admin_tls, token, metrics, backend })
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
    identity_providers: Arc<ConfiguredProviders>,
    replay: Arc<ReplayGuard>,
    audit: Option<AuditLog>,
    services: Arc<Services>,
    address: SocketAddr,
    certificate: Option<Arc<ServerCertificate>>,
    listener: Listener,
    admin: Option<AdminServer>,
    api: HttpApp,
    http: HttpSettings,
    destruction_hold: Duration,
    rewraps_secrets: bool,
    job_metrics: JobMetrics,
    counter: Arc<StoreCounter>,
    lease: Arc<JobLease>,
    is_for_development: bool,
}

/// The server of health and metrics.
struct AdminServer {
    address: SocketAddr,
    listener: Listener,
    health: Arc<Health>,
    report: Option<ReportPage>,
}

impl Gateway {
    /// Opens all components, completes the unfinished work of the last process, and is then ready
    /// to serve on the listeners.
    ///
    /// # Errors
    /// When a component cannot be used.
    pub async fn start(settings: Settings, listeners: Listeners) -> Result<Self, StartError> {
        let prepared = Prepared::open(settings, StartMode::Exclusive).await?;
        Box::pin(Self::take_over(prepared, listeners)).await
    }

    /// Completes the unfinished work of the last process, and is then ready to serve on the
    /// listeners. The gateway of [`StartMode::Replacement`] must have ended.
    ///
    /// # Errors
    /// When a component cannot be used.
    pub async fn take_over(prepared: Prepared, listeners: Listeners) -> Result<Self, StartError> {
        let Prepared { settings, locks, certificate, tls, admin_tls, token, metrics, backend } =
            prepared;
        let locks = locks.map_or_else(|| take_locks(&settings), Ok)?;
        let address = listeners.api.local_addr()?;
        let socket = open_listener(listeners.api)?;
        let listener = Listener::new("api", socket, tls, metrics.server.clone());
        let backend = current_backend(backend, &settings, token, metrics.store.clone()).await?;
        let (store, token) = (backend.store.clone(), backend.token.clone());
        store.set_quotas(settings.quotas);
        store.set_outage_rules(settings.outage);
        let keyring = Keyring::new(store, token, settings.limits.keyring, metrics.keyring.clone());
        let counter = StoreCounter::open(backend.store.clone(), backend.token.clone()).await?;
        let replay = take_over(&settings.state_directory, &backend, &keyring).await?;
        crate::authz::log_costly_policies(&backend.store).await?;
        let region_account = settings.region_account.clone();
        let account = region_account.account.clone();
        let client_keys = Arc::new(ClientKeys::new(account.clone(), backend.store.clone()));
        let identity_providers = ConfiguredProviders::open(
            settings.identity_providers.clone(),
            &backend.store,
            metrics.authn.clone(),
        )
        .await?;
        backend.access_keys.set_configured_providers(Arc::clone(&identity_providers));
        let audit = start_audit(&settings, &backend, metrics.audit.clone()).await?;
        let recorder = audit.as_ref().map_or(Recorder::off(), AuditLog::recorder);
        let http = http_settings(&settings.limits);
        let failures = settings.limits.authentication_failures;
        let destruction_hold = settings.destruction_hold;
        let rewraps_secrets = settings.rewraps_secrets;
        let token = backend.token.clone();
        let shared_nonces = if settings.shares_nonces {
            backend.store.share_nonces(move || token.expected_wait())
        } else {
            None
        };
        let services = Arc::new(services(settings, &backend, keyring, &metrics).await?);
        let components = MonitoredComponents {
            token: backend.token.clone(),
            store: backend.store.clone(),
            audit: recorder.clone(),
            certificate: certificate.clone(),
            replay: Arc::clone(&replay),
            identity_providers: Arc::clone(&identity_providers),
            exposition: Exposition::new(metrics.registry, metrics.process),
        };
        let open_admin =
            |listener| AdminServer::open(listener, admin_tls, components, metrics.server);
        let admin = listeners.admin.map(open_admin).transpose()?;
        let pipeline = Pipeline::new(Arc::clone(&services), recorder, failures, metrics.pipeline);
        let identities = IdentityVerifier::new(
            account,
            backend.store.clone(),
            Arc::clone(&identity_providers),
            Arc::clone(&replay),
            shared_nonces.clone(),
        );
        let authenticator = Authenticator::new(
            region_account,
            Arc::clone(&backend.access_keys),
            Arc::clone(&client_keys),
            Arc::clone(&replay),
            shared_nonces,
            metrics.authn,
        );
        let api = api::app(pipeline, authenticator, identities, Arc::clone(&client_keys));
        let lease = Arc::new(JobLease::new(backend.store.clone()));
        if !backend.store.is_standby() {
            lease.renew().await?;
        }
        backend.store.end_start().await?;
        Ok(Self {
            locks,
            backend,
            client_keys,
            identity_providers,
            replay,
            audit,
            services,
            address,
            certificate,
            listener,
            admin,
            api,
            http,
            destruction_hold,
            rewraps_secrets,
            job_metrics: metrics.jobs,
            counter: Arc::new(counter),
            lease,
            is_for_development: false,
        })
    }

    /// The address of the API listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The health that its admin listener shows, if it has one.
    pub fn health(&self) -> Option<Arc<Health>> {
        self.admin.as_ref().map(|admin| Arc::clone(&admin.health))
    }

    /// The address of the admin listener, if any.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|admin| admin.address)
    }

    /// The server certificate; `None` over plain HTTP.
    pub fn certificate(&self) -> Option<Arc<ServerCertificate>> {
        self.certificate.clone()
    }

    /// Store and token, for commands of operators.
    pub fn backend(&self) -> Backend {
        let operator_calls = OperatorCalls::new(
            Arc::clone(&self.services),
            self.recorder(),
            self.is_for_development,
        );
        Backend {
            data_keys: Some(self.data_keys()),
            operator_calls: Some(operator_calls),
            ..self.backend.clone()
        }
    }

    /// Lets operators choose the ids and the material of keys, and write secrets into files: the gateway
    /// protects nothing.
    pub fn set_for_development(&mut self) {
        self.is_for_development = true;
    }

    /// Shows this page on the admin listener, if there is one.
    pub fn show_report(&mut self, page: ReportPage) {
        if let Some(admin) = &mut self.admin {
            admin.report = Some(page);
        }
    }

    fn data_keys(&self) -> SecretDataKeys {
        let Services { keyring, instance, region_account, .. } = &*self.services;
        SecretDataKeys::new(keyring.clone(), instance.id.clone(), region_account.clone())
    }

    /// The recorder of the audit.
    pub fn recorder(&self) -> Recorder {
        self.audit.as_ref().map_or(Recorder::off(), AuditLog::recorder)
    }

    /// The AccessKeys.
    pub fn access_keys(&self) -> &CredentialStore {
        self.backend.access_keys()
    }

    /// Keys, aliases and their metadata.
    pub fn store(&self) -> &Store {
        self.backend.store()
    }

    /// The token.
    pub fn token(&self) -> &Token {
        &self.backend.token
    }

    /// Serves until `stop` completes, and then stops accordingly: finishes the requests in
    /// progress, and closes every session. `/readyz` reports the stop at once, except if another
    /// process takes over: the service continues.
    pub async fn serve_until(
        self,
        stop: impl Future<Output = Stop> + Send + 'static,
    ) -> ShutdownOutcome {
        let data_keys = self.rewraps_secrets.then(|| self.data_keys());
        // Held until store and token are closed.
        let _locks = self.locks;
        let jobs = Jobs::start(&JobContext {
            keyring: self.services.keyring.clone(),
            access_keys: Arc::clone(&self.backend.access_keys),
            client_keys: Arc::clone(&self.client_keys),
            replay: self.replay,
            store: self.backend.store.clone(),
            audit: self.audit.as_ref().map_or(Recorder::off(), AuditLog::recorder),
            destruction_hold: self.destruction_hold,
            data_keys,
            metrics: self.job_metrics,
            counter: Arc::clone(&self.counter),
            lease: Arc::clone(&self.lease),
            certificate: self.certificate.clone(),
        });
        let certificate_watch =
            self.certificate.map(|certificate| tokio::spawn(certificate.watch_files()));
        let key_watch = tokio::spawn(self.identity_providers.watch());
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
        let stop = http::serve(self.listener, self.api, self.http, stop).await;
        // The receiver is gone if the admin listener has failed.
        let _ = stop_sender.send(stop);
        if let Some(certificate_watch) = certificate_watch {
            certificate_watch.abort();
        }
        key_watch.abort();
        if let Some(admin) = admin
            && let Err(error) = admin.await
        {
            tracing::error!(event = "admin.failed", %error, "the admin listener failed");
        }
        jobs.stop().await;
        if let Some(audit) = self.audit {
            audit.stop().await;
        }
        let returned = self.services.keyring.return_leases().await;
        warn_failed(returned, "iv_budget.leases_not_returned", "return unused IV leases");
        let stored = self.services.keyring.store_learned_answers().await;
        warn_failed(stored, "key.answers_not_stored", "store what key versions answer");
        let stored = self.backend.access_keys.flush_last_used().await;
        warn_failed(stored, "access_key.last_use_not_stored", "store the last uses of AccessKeys");
        let stored = self.client_keys.flush_last_used().await;
        warn_failed(stored, "client_key.last_use_not_stored", "store the last uses of client keys");
        let stored = self.backend.store.flush_version_uses().await;
        warn_failed(stored, "key.last_use_not_stored", "store the last uses of key versions");
        let raised = if self.lease.store().is_some() { self.counter.raise().await } else { Ok(()) };
        let released = self.lease.release().await;
        warn_failed(released, "cluster.jobs_not_released", "release the lease of the jobs");
        warn_failed(raised, "store.counter_not_raised", "raise the counter of the database");
        self.backend.close().await
    }
}

impl AdminServer {
    fn open(
        listener: TcpListener,
        tls: Option<TlsServer>,
        components: MonitoredComponents,
        metrics: ServerMetrics,
    ) -> Result<Self, StartError> {
        let address = listener.local_addr()?;
        let listener = Listener::new("admin", open_listener(listener)?, tls, metrics);
        Ok(Self { address, listener, health: Arc::new(Health::new(components)), report: None })
    }

    /// Serves until the API has stopped, and then stops in the same way, so that it reports the
    /// stop of the gateway.
    async fn serve_until(self, stopped: oneshot::Receiver<Stop>) {
        let stop = async { stopped.await.unwrap_or(Stop::AtOnce) };
        let settings = HttpSettings {
            connections: ConnectionLimits::of_all(ADMIN_CONNECTIONS),
            header_timeout: ADMIN_TIMEOUT,
            request_timeout: ADMIN_TIMEOUT,
            drain: Duration::ZERO,
            finish: ADMIN_IN_FLIGHT_TIMEOUT,
            proxies: TrustedProxies::default(),
        };
        let router = admin::router(self.health, self.report);
        let app = HttpApp { application: Arc::new(router), errors: api::ERRORS };
        http::serve(self.listener, app, settings, stop).await;
    }
}

/// Logs what a stop could not do. The next start works all the same.
fn warn_failed<E: std::error::Error + 'static>(
    outcome: Result<(), E>,
    event: &'static str,
    attempt: &'static str,
) {
    if let Err(error) = outcome {
        tracing::warn!(event, error = &error as &dyn std::error::Error, "could not {attempt}");
    }
}

fn open_listener(listener: TcpListener) -> std::io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

/// A caller's IV that is accepted must be the one that is used.
fn check_caller_iv(settings: &Settings, token: &Token) -> Result<(), StartError> {
    if settings.compatibility.caller_iv && token.gcm_form().token_makes_iv() {
        return Err(StartError::CallerIv);
    }
    Ok(())
}

/// Checks that state directory and audit can be used, and changes nothing.
async fn check_prerequisites(
    settings: &Settings,
    backend: Option<&Backend>,
) -> Result<(), StartError> {
    GatewayLocks::check(&settings.state_directory)?;
    let Some(audit) = &settings.audit else { return Ok(()) };
    crate::audit::check_file(&audit.file)?;
    crate::audit::check_forwarding(&audit.forward)?;
    if let Some(backend) = backend {
        crate::audit::check_key(&backend.store, &backend.token).await?;
    }
    Ok(())
}

/// Opens the store; `None` if its tables have to be migrated first, while no other gateway uses them.
async fn open_store(
    settings: &Settings,
    mode: StartMode,
    metrics: StoreMetrics,
) -> Result<Option<LockedStore>, StartError> {
    let url = &settings.store_url;
    if mode == StartMode::Replacement && Store::needs_migration(url).await? {
        return Ok(None);
    }
    let store = LockedStore::open_to_unlock(url, metrics).await?;
    if mode == StartMode::Exclusive {
        store.unchecked().become_gateway().await?;
    }
    store.unchecked().remember_in(&settings.state_directory).await?;
    Ok(Some(store))
}

/// Store and token as they are once the locks are taken: the previous gateway may have changed
/// something at its end.
async fn current_backend(
    backend: Option<Backend>,
    settings: &Settings,
    token: Token,
    metrics: StoreMetrics,
) -> Result<Backend, StartError> {
    if let Some(backend) = backend {
        backend.store.await_comparison().await?;
        backend.refresh().await?;
        return Ok(backend);
    }
    let store = LockedStore::open_to_unlock(&settings.store_url, metrics).await?;
    store.unchecked().remember_in(&settings.state_directory).await?;
    Backend::of(store, token, &settings.region_account).await
}

/// The services of the operations.
async fn services(
    settings: Settings,
    backend: &Backend,
    keyring: Keyring,
    metrics: &Metrics,
) -> Result<Services, StartError> {
    let store = &backend.store;
    Ok(Services {
        authorizer: Authorizer::new(
            settings.region_account.clone(),
            store.clone(),
            metrics.authz.clone(),
        ),
        credentials: Arc::clone(&backend.access_keys),
        region_account: settings.region_account,
        instance: store.instance().await?,
        store: store.clone(),
        keyring,
        approvals: settings.approvals,
        compatibility: settings.compatibility,
        call_limits: CallLimits::new(
            settings.limits.call_rates,
            store.live_gateways(),
            metrics.registry.throttled(),
        ),
        wrong_values: WrongValues::default(),
    })
}

fn http_settings(limits: &Limits) -> HttpSettings {
    HttpSettings {
        connections: limits.connections.clone(),
        header_timeout: limits.header_time,
        // Generation of a key may take longer than any other request.
        request_timeout: limits.request_time.max(max_generation_time(limits)),
        drain: limits.drain,
        finish: IN_FLIGHT_TIMEOUT,
        proxies: limits.proxies.clone(),
    }
}

async fn start_audit(
    settings: &Settings,
    backend: &Backend,
    metrics: AuditMetrics,
) -> Result<Option<AuditLog>, AuditError> {
    let Some(audit) = settings.audit.clone() else { return Ok(None) };
    let (store, token) = (backend.store.clone(), backend.token.clone());
    let region_account = settings.region_account.clone();
    if store.follows_promotion() && store.noted_lost_changes().await?.is_some() {
        crate::audit::accept_older_database(&store).await?;
    }
    Ok(Some(AuditLog::start(audit, region_account, store, token, metrics).await?))
}

/// Takes the locks of store and state directory. The previous gateway must have ended.
fn take_locks(settings: &Settings) -> Result<GatewayLocks, LockError> {
    GatewayLocks::take(&settings.state_directory, &settings.store_url)
}

/// Completes the unfinished work of the previous gateway, and reads the nonces that it accepted.
///
/// If these nonces are lost, requests are accepted from the next second on, and the start waits for
/// that, so that no caller is rejected once the gateway serves.
async fn take_over(
    state_directory: &Path,
    backend: &Backend,
    keyring: &Keyring,
) -> Result<Arc<ReplayGuard>, StartError> {
    let store = &backend.store;
    store.become_gateway().await?;
    // A row of an older state must not have a good key destroyed.
    // At a standby, the gateways at its primary may be making keys.
    let may_remove = store.lost_changes().is_none() && !store.is_standby();
    if may_remove && store.is_only_user().await? {
        if store.follows_promotion() {
            // A key that is incomplete in an older row may have been completed in the token since.
            store.delete_incomplete_rows().await?;
        } else {
            keyring.reconcile().await?;
        }
    }
    let directory = state_directory.join("replay");
    let replay = ReplayGuard::open_for(store, &directory, clock::now()).await?;
    if store.lost_changes().is_some() {
        replay.refuse_older(clock::now())?;
    }
    let limit = clock::monotonic() + REPLAY_TRUST_TIMEOUT;
    while clock::now() < replay.trusted_from() && clock::monotonic() < limit {
        tokio::time::sleep(REPLAY_TRUST_POLL).await;
    }
    Ok(Arc::new(replay))
}

/// The timeout of a request that generates a key: its time in the token, and the time to remove a
/// failed key.
fn max_generation_time(limits: &Limits) -> Duration {
    limits.keyring.timeouts.generate + limits.keyring.timeouts.call
}
