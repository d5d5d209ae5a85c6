//! The identity providers of the configuration. Their keys are read beside the requests, at an interval
//! and soon after a token has named a key that is not known, and are kept if that fails.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::identity_keys::{KeySetFault, MAX_KEY_SET_BYTES, check_key_set};
use super::metrics::{AuthnMetrics, ProviderLabels};
use crate::config::{KeySource, ProviderSettings};
use crate::model::{IdentityProvider, ProviderName, clock};
use crate::server::outbound::{HttpSource, TlsClient};
use crate::server::tls::TlsError;
use crate::store::Store;
use crate::telemetry::gauge_value;

/// Maximum time that a request for keys may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a start waits for the first keys: the first callers of a new pod are not refused then.
const START_TIMEOUT: Duration = Duration::from_secs(2);
/// Minimum time between two readings, so that tokens with unknown keys cause few.
const MIN_PAUSE: Duration = Duration::from_mins(1);
/// The same while there are no keys.
const MIN_PAUSE_WITHOUT_KEYS: Duration = Duration::from_secs(5);

/// Why a provider of the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfiguredProviderError {
    /// Its keys cannot be read.
    #[error("the keys of the identity provider {name} cannot be read")]
    Keys {
        /// The provider.
        name: ProviderName,
        /// The cause.
        source: Box<KeySourceError>,
    },
    /// The store has a provider with the same name.
    #[error(
        "the identity provider {0} is in the configuration and in the database; delete one of them, the \
         latter with `hsmgate identity-provider delete {0}`"
    )]
    Repeated(ProviderName),
}

/// Why a key set cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum KeySourceError {
    /// The file cannot be read.
    #[error("{}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The server cannot be reached, is not trusted, or refuses.
    #[error("the address of the keys")]
    Server(#[source] std::io::Error),
    /// The certificates of the trusted CAs cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// What was read is no usable key set.
    #[error(transparent)]
    Fault(#[from] KeySetFault),
}

/// The providers of the configuration, by name.
#[derive(Debug, Default)]
pub struct ConfiguredProviders {
    providers: BTreeMap<String, Arc<ConfiguredProvider>>,
    metrics: AuthnMetrics,
}

/// A provider of the configuration, with its keys as last read.
#[derive(Debug)]
pub struct ConfiguredProvider {
    settings: ProviderSettings,
    source: OpenSource,
    loaded: ArcSwapOption<Loaded>,
    is_wanted: Notify,
}

#[derive(Debug)]
struct Loaded {
    provider: Arc<IdentityProvider>,
    at: Instant,
}

enum OpenSource {
    File(PathBuf),
    Url(Box<HttpSource>),
}

impl std::fmt::Debug for OpenSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::File(_) => "File",
            Self::Url(_) => "Url",
        })
    }
}

impl ConfiguredProviders {
    /// Opens the providers. The keys in files must be usable; for those at addresses it waits a short
    /// time, and refuses tokens until they are there.
    ///
    /// # Errors
    /// When keys cannot be used, or the store has a provider with the same name.
    pub async fn open(
        settings: Vec<ProviderSettings>,
        store: &Store,
        metrics: AuthnMetrics,
    ) -> Result<Arc<Self>, ConfiguredProviderError> {
        let mut providers = BTreeMap::new();
        let mut first = JoinSet::new();
        for settings in settings {
            let name = settings.provider.name.clone();
            if store.document::<IdentityProvider>(name.as_str()).is_some() {
                return Err(ConfiguredProviderError::Repeated(name));
            }
            let failed = |source| ConfiguredProviderError::Keys {
                name: name.clone(),
                source: Box::new(source),
            };
            let source = OpenSource::new(&settings.keys).map_err(failed)?;
            let (loaded, is_wanted) = (ArcSwapOption::empty(), Notify::new());
            let provider = Arc::new(ConfiguredProvider { settings, source, loaded, is_wanted });
            if matches!(provider.source, OpenSource::File(_)) {
                provider.read().await.map_err(failed)?;
            } else {
                let provider = Arc::clone(&provider);
                first.spawn(async move { provider.read().await });
            }
            providers.insert(name.to_string(), provider);
        }
        // What is not there in time is read, and its failure logged, by the first run of `watch`.
        let _late = tokio::time::timeout(START_TIMEOUT, first.join_all()).await;
        Ok(Arc::new(Self { providers, metrics }))
    }

    /// The provider with this name.
    pub fn find(&self, name: &str) -> Option<&Arc<ConfiguredProvider>> {
        self.providers.get(name)
    }

    /// Reads the keys of all providers at their intervals. It does not end.
    pub async fn watch(self: Arc<Self>) {
        let mut watches = JoinSet::new();
        for provider in self.providers.values() {
            let (provider, metrics) = (Arc::clone(provider), self.metrics.clone());
            watches.spawn(async move { provider.watch(&metrics).await });
        }
        while watches.join_next().await.is_some() {}
    }

    /// Sets the metrics that are read on demand.
    pub fn observe(&self) {
        for (name, provider) in &self.providers {
            if let Some(age) = provider.age() {
                let labels = ProviderLabels { provider: name.clone() };
                let seconds = gauge_value(age.as_secs());
                self.metrics.identity_keys_age.get_or_create(&labels).set(seconds);
            }
        }
    }
}

impl ConfiguredProvider {
    /// Its id, which tells it from another one with the same name.
    pub fn id(&self) -> &str {
        &self.settings.provider.id
    }

    /// Whether a token is accepted only once.
    pub fn accepts_once(&self) -> bool {
        self.settings.accepts_once
    }

    /// The provider with its keys. `None` while they could not be read.
    pub fn with_keys(&self) -> Option<Arc<IdentityProvider>> {
        self.loaded.load().as_ref().map(|loaded| Arc::clone(&loaded.provider))
    }

    /// Reads the keys again soon: a token names one that is not known.
    pub fn want_keys(&self) {
        self.is_wanted.notify_one();
    }

    fn age(&self) -> Option<Duration> {
        self.loaded.load().as_ref().map(|loaded| clock::since(loaded.at))
    }

    async fn watch(&self, metrics: &AuthnMetrics) {
        loop {
            if let Err(error) = self.read().await {
                let labels = ProviderLabels { provider: self.settings.provider.name.to_string() };
                metrics.identity_key_failures.get_or_create(&labels).inc();
                self.log_failure(&error);
            }
            let has_keys = self.loaded.load().is_some();
            let pause = if has_keys { MIN_PAUSE } else { MIN_PAUSE_WITHOUT_KEYS };
            let pause = pause.min(self.settings.refresh);
            tokio::time::sleep(pause).await;
            if has_keys {
                tokio::select! {
                    () = tokio::time::sleep(self.settings.refresh.saturating_sub(pause)) => {}
                    () = self.is_wanted.notified() => {}
                }
            }
        }
    }

    async fn read(&self) -> Result<(), KeySourceError> {
        let keys = self.source.read().await?.keys;
        check_key_set(&keys)?;
        let provider = match self.with_keys() {
            Some(before) if before.keys == keys => before,
            _ => {
                tracing::info!(
                    event = "identity.keys_loaded",
                    provider = %self.settings.provider.name,
                    "loaded the keys of an identity provider"
                );
                Arc::new(IdentityProvider { keys, ..self.settings.provider.clone() })
            }
        };
        self.loaded.store(Some(Arc::new(Loaded { provider, at: clock::monotonic() })));
        Ok(())
    }

    fn log_failure(&self, error: &KeySourceError) {
        let (provider, error) = (&self.settings.provider.name, error as &dyn std::error::Error);
        if let Some(age) = self.age() {
            tracing::warn!(
                event = "identity.keys_not_loaded",
                %provider,
                age_seconds = age.as_secs(),
                error,
                "could not read the keys of an identity provider; the previous ones stay in use"
            );
        } else {
            tracing::error!(
                event = "identity.keys_not_loaded",
                %provider,
                error,
                "could not read the keys of an identity provider; its tokens are refused"
            );
        }
    }
}

impl OpenSource {
    fn new(source: &KeySource) -> Result<Self, KeySourceError> {
        Ok(match source {
            KeySource::File(path) => Self::File(path.clone()),
            KeySource::Url { url, ca } => {
                let tls = TlsClient::trusting(ca.as_deref())?;
                Self::Url(Box::new(HttpSource::new(url.clone(), &tls)))
            }
        })
    }

    async fn read(&self) -> Result<ReadKeys, KeySourceError> {
        match self {
            Self::File(path) => {
                let file = path.clone();
                let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(file)).await;
                let keys = read
                    .unwrap_or_else(|ended| Err(std::io::Error::other(ended)))
                    .map_err(|source| KeySourceError::File { path: path.clone(), source })?;
                Ok(ReadKeys { keys, date: None })
            }
            Self::Url(server) => {
                let read = server.get(MAX_KEY_SET_BYTES);
                let read = tokio::time::timeout(FETCH_TIMEOUT, read).await;
                let read = read.unwrap_or_else(|_late| Err(std::io::ErrorKind::TimedOut.into()));
                let read = read.map_err(KeySourceError::Server)?;
                let keys = String::from_utf8(read.body.to_vec());
                let keys = keys.map_err(|_form| KeySetFault::Malformed)?;
                Ok(ReadKeys { keys, date: read.date })
            }
        }
    }
}

/// A key set, as its source has given it.
struct ReadKeys {
    keys: String,
    /// The time of its server.
    date: Option<SystemTime>,
}

/// What a source of keys has given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckedKeySource {
    /// The number of keys that can verify tokens.
    pub keys: usize,
    /// How far the clock of its server is ahead of that of this machine, in whole seconds.
    pub ahead_seconds: Option<i64>,
}

impl CheckedKeySource {
    /// Reads the keys of a provider, and compares the clock of their server with `now`.
    ///
    /// # Errors
    /// When the keys cannot be read or used.
    pub async fn read(settings: &ProviderSettings) -> Result<Self, KeySourceError> {
        let read = OpenSource::new(&settings.keys)?.read().await?;
        let now = clock::now().unix();
        let ahead_seconds = read.date.and_then(|date| {
            let date = date.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
            i64::try_from(date).ok()?.checked_sub(now)
        });
        Ok(Self { keys: check_key_set(&read.keys)?, ahead_seconds })
    }
}
