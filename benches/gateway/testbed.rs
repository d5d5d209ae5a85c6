//! What is measured, running: a gateway, its baselines and a token, all in this process.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hsmgate::app::{Gateway, Limits, Listeners, Settings};
use hsmgate::cli::client::{Client, Target};
use hsmgate::config::{
    AuditSettings, CompatibilityOptions, KeyringSettings, Log, LogFormat, OutageRules,
    TokenTimeouts,
};
use hsmgate::model::policy::{AttachedPolicy, FULL_ACCESS};
use hsmgate::model::{IvBudget, KeySpec, PrincipalName, RegionAccount, VerificationRate};
use hsmgate::ops::CallRates;
use hsmgate::server::http::{self, ConnectionLimits, HttpApp, HttpSettings, Stop};
use hsmgate::store::Store;
use hsmgate::telemetry;
use hsmgate::token::{KeyIdentity, Token, TokenSelector, TokenSettings, Worker};
use secrecy::SecretString;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::identity::Issuer;
use crate::instance::Caller;
use crate::load::Window;
use crate::others::{self, Job, Other};
use crate::requests::{self, Signer};
use crate::{Case, Subject, baseline, module, secrets};

const LABEL: &str = "hsmgate-bench";
const PIN: &str = "482915";
const SO_PIN: &str = "91528471";
const HEADER_TIME: Duration = Duration::from_secs(10);
const REQUEST_TIME: Duration = Duration::from_secs(15);
const CONNECTIONS: usize = 1024;

/// Everything that runs.
pub(crate) struct Testbed {
    /// Signs for the gateway, with its one key.
    pub(crate) signer: Signer,
    /// Signs for the same key in the protocol of KMS instances.
    pub(crate) caller: Caller,
    /// Issues tokens for sessions.
    pub(crate) issuer: Issuer,
    runtime: Runtime,
    /// The baselines' own door to the token: another thread and session like the gateway's.
    token: Token,
    key: KeyIdentity,
    others: Vec<Other>,
    values: Vec<secrets::Value>,
    full: SocketAddr,
    audited: Option<ExtraGateway>,
    /// It verifies encryptions and no data keys: the opposite of the defaults.
    opposite: ExtraGateway,
    empty: SocketAddr,
    stop: watch::Sender<bool>,
    servers: Vec<JoinHandle<()>>,
}

/// A gateway with other settings on the same token and a copy of the store: a store has one gateway.
struct ExtraGateway {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl ExtraGateway {
    async fn start(settings: Settings) -> anyhow::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let (address, server, _access_key) = Box::pin(start(settings, stopped, None)).await?;
        Ok(Self { address, stop, server })
    }

    async fn close(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.server.await {
            tracing::error!(%error, "a gateway with other settings failed");
        }
    }
}

impl Testbed {
    /// Makes token, key and AccessKey in `home` and starts to serve.
    pub(crate) fn prepare(home: &Path, audit: Option<AuditSettings>) -> anyhow::Result<Self> {
        telemetry::init(&Log { format: LogFormat::Json, filter: "info".to_owned() })?;
        let module = module::find()?;
        Token::initialize(
            &module,
            None,
            LABEL,
            &SecretString::from(SO_PIN),
            &SecretString::from(PIN),
        )?;
        let runtime = Runtime::new()?;
        let issuer = Issuer::new()?;
        let (stop, stopped) = watch::channel(false);
        let of_full = settings(home, token_settings(&module), None)?;
        let (full, gateway, target) =
            runtime.block_on(start(of_full, stopped.clone(), Some(&issuer)))?;
        let client = Client::new(&format!("http://{full}"), &target.0, target.1.clone())?;
        let (key_id, key) = runtime.block_on(make_key(&client))?;
        let others = runtime.block_on(others::prepare(&client, &key_id, key))?;
        let values = runtime.block_on(secrets::prepare(&client, &key_id))?;
        let caller = runtime.block_on(Caller::prepare(&client, full, &key_id))?;
        let audited = match audit {
            Some(audit) => {
                let state = home.join("audited");
                runtime.block_on(copy_store(home, &state))?;
                let settings = settings(&state, token_settings(&module), Some(audit))?;
                Some(runtime.block_on(ExtraGateway::start(settings))?)
            }
            None => None,
        };
        let state = home.join("opposite");
        runtime.block_on(copy_store(home, &state))?;
        let mut of_opposite = settings(&state, token_settings(&module), None)?;
        of_opposite.limits.keyring.verify_data_keys = false;
        of_opposite.limits.keyring.verify_encryptions = VerificationRate::All;
        let opposite = runtime.block_on(ExtraGateway::start(of_opposite))?;
        let token = Token::open(token_settings(&module))?;
        let mut servers = vec![gateway];
        let mut serve = |router: axum::Router| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            let stopped = stopped.clone();
            servers.push(runtime.spawn(async move {
                match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => {
                        let application = Arc::new(router);
                        let app = HttpApp { application, errors: hsmgate::api::ERRORS };
                        http::serve(listener, app, http_settings(), ended(stopped)).await;
                    }
                    Err(error) => tracing::error!(%error, "a baseline does not serve"),
                }
            }));
            anyhow::Ok(address)
        };
        let empty = serve(baseline::empty())?;
        let target = Target::new(&format!("http://{full}"), &target.0, target.1)?;
        let signer = Signer::new(target, key_id);
        Ok(Self {
            signer,
            caller,
            issuer,
            runtime,
            token,
            key,
            others,
            values,
            full,
            audited,
            opposite,
            empty,
            stop,
            servers,
        })
    }

    /// Where a subject listens. The token alone does not, and stands for the gateway here.
    pub(crate) fn address(&self, subject: Subject) -> SocketAddr {
        match subject {
            Subject::Empty => self.empty,
            Subject::Full | Subject::Instance | Subject::Raw => self.full,
            Subject::Audited => self.audited.as_ref().map_or(self.full, |one| one.address),
        }
    }

    /// Where the gateway listens that verifies encryptions and no data keys.
    pub(crate) fn opposite(&self) -> SocketAddr {
        self.opposite.address
    }

    /// Token calls from as many tasks as the case has connections.
    pub(crate) fn raw_encrypt(&self, case: Case, length: Duration) -> anyhow::Result<Window> {
        let (key, text) = (self.key, requests::plaintext(case.bytes));
        let job =
            move |worker: &mut Worker<'_>| worker.encrypt(key, None, text.as_bytes()).map(drop);
        let job: Job = Arc::new(job);
        self.raw(&job, case.connections, length)
    }

    /// Token work from so many tasks at once.
    pub(crate) fn raw(&self, job: &Job, tasks: usize, length: Duration) -> anyhow::Result<Window> {
        self.runtime.block_on(baseline::raw(&self.token, job, tasks, length))
    }

    /// The values that are read.
    pub(crate) fn values(&self) -> &[secrets::Value] {
        &self.values
    }

    /// The operations beside Encrypt.
    pub(crate) fn others(&self) -> &[Other] {
        &self.others
    }

    /// Token calls in a plain loop on the token thread, for so long: their number a second.
    pub(crate) fn token_loop(&self, bytes: usize, length: Duration) -> anyhow::Result<f64> {
        let text = requests::plaintext(bytes);
        self.runtime.block_on(baseline::token_loop(&self.token, self.key, text, length))
    }

    /// Stops everything.
    pub(crate) fn close(self) {
        // The gateway came first and ends the module, so it goes last.
        self.token.close();
        for forward_to in self.audited.into_iter().chain([self.opposite]) {
            self.runtime.block_on(forward_to.close());
        }
        self.stop.send_replace(true);
        for server in self.servers {
            if let Err(error) = self.runtime.block_on(server) {
                tracing::error!(%error, "a server failed");
            }
        }
    }
}

/// Starts a gateway and makes an AccessKey.
async fn start(
    settings: Settings,
    stopped: watch::Receiver<bool>,
    issuer: Option<&Issuer>,
) -> anyhow::Result<(SocketAddr, JoinHandle<()>, (String, SecretString))> {
    let api = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let gateway = Box::pin(Gateway::start(settings, Listeners { api, admin: None })).await?;
    let user = PrincipalName::user("bench")?;
    let full_access = vec![AttachedPolicy::system(FULL_ACCESS)?];
    gateway.access_keys().ensure_principal(&user, full_access).await?;
    let access_key = gateway.access_keys().create(&user).await?;
    if let Some(issuer) = issuer {
        issuer.register(gateway.store()).await?;
        gateway.access_keys().refresh().await?;
    }
    let address = gateway.address();
    let serving = tokio::spawn(async move {
        gateway.serve_until(ended(stopped)).await;
    });
    Ok((address, serving, (access_key.id.to_string(), access_key.secret.clone())))
}

/// Makes a key; gives its id and the identity of its one version.
async fn make_key(client: &Client) -> anyhow::Result<(String, KeyIdentity)> {
    let made = client.call("CreateKey", &[]).await?;
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    let key_id = made.pointer("/KeyMetadata/KeyId").and_then(text).context("no KeyId")?;
    let version = made.pointer("/KeyMetadata/PrimaryKeyVersion").and_then(text);
    let version = version.context("no PrimaryKeyVersion")?.parse()?;
    let key = KeyIdentity::of_key(key_id.parse()?, KeySpec::Aes256, 1, version);
    Ok((key_id, key))
}

async fn ended(mut stopped: watch::Receiver<bool>) -> Stop {
    // A sender that is gone has stopped, too.
    let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
    Stop::AtOnce
}

fn token_settings(module: &Path) -> TokenSettings {
    TokenSettings::new(module.to_owned(), TokenSelector::Label(LABEL.to_owned()), PIN.into())
}

fn settings(
    home: &Path,
    token: TokenSettings,
    audit: Option<AuditSettings>,
) -> anyhow::Result<Settings> {
    Ok(Settings {
        region_account: RegionAccount {
            region: "cn-hangzhou".parse()?,
            account: "1234567890123456".parse()?,
        },
        token: token.into(),
        store_url: store_url(home),
        shares_nonces: false,
        outage: OutageRules {
            limit: Duration::from_mins(1),
            is_ready_meanwhile: true,
            refuses_after: false,
        },
        state_directory: home.to_owned(),
        tls: None,
        admin_client_ca: None,
        limits: Limits {
            call_rates: CallRates::default(),
            authentication_failures: None,
            request_time: REQUEST_TIME,
            header_time: HEADER_TIME,
            connections: ConnectionLimits::of_all(CONNECTIONS),
            proxies: hsmgate::server::TrustedProxies::default(),
            drain: Duration::ZERO,
            keyring: KeyringSettings {
                timeouts: TokenTimeouts {
                    call: Duration::from_secs(5),
                    generate: Duration::from_secs(30),
                },
                iv_budget: IvBudget::default(),
                verify_data_keys: true,
                verify_encryptions: VerificationRate::Off,
            },
        },
        compatibility: CompatibilityOptions::default(),
        quotas: hsmgate::model::Quotas::default(),
        identity_providers: Vec::new(),
        approvals: hsmgate::model::ApprovalRules::default(),
        destruction_hold: Duration::ZERO,
        rewraps_secrets: false,
        audit,
    })
}

fn store_url(home: &Path) -> String {
    format!("sqlite://{}", home.join("hsmgate.db").display())
}

/// Makes the directory of another gateway, with the principals and keys of the one in `home`.
async fn copy_store(home: &Path, state: &Path) -> anyhow::Result<()> {
    std::fs::create_dir(state)?;
    Ok(Store::backup(&store_url(home), &state.join("hsmgate.db"), false).await?)
}

fn http_settings() -> HttpSettings {
    HttpSettings {
        connections: ConnectionLimits::of_all(CONNECTIONS),
        header_timeout: HEADER_TIME,
        request_timeout: REQUEST_TIME,
        drain: Duration::ZERO,
        finish: Duration::from_secs(1),
        proxies: hsmgate::server::TrustedProxies::default(),
    }
}
