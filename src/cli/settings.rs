//! Converts the configuration file to the settings of `app`, and opens store and token for commands.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;

use super::exit::CliError;
use super::open_files;
use super::reason::Reason;
use crate::app::{self, Backend};
use crate::config::ownership::{InsecurePermissions, Role, check_permissions};
use crate::config::{
    Config, KeySource, Log, LogFormat, TokenConfig, TokenGroupConfig, TokenName, tls_files,
};
use crate::model::RegionAccount;
use crate::ops::CallRates;
use crate::server::TrustedProxies;
use crate::server::http::ConnectionLimits;
use crate::store::{AccessMode, LockedStore, Store};
use crate::telemetry;
use crate::token::{Token, TokenError, TokenGroupSettings, TokenSelector, TokenSettings};

/// The beginning of the name of the file that says that a token disagrees with the others of its group.
const DISAGREEMENT: &str = "token-disagrees";
/// The file of the state directory that records a refused PIN.
const PIN_REFUSAL: &str = "pin-refused";

/// Where packages install the configuration.
const CONFIG_FILE: &str = "/etc/hsmgate/hsmgate.toml";

/// The configuration file.
#[derive(Debug, Args)]
pub(super) struct ConfigFile {
    /// The configuration file (docs/configuration.md)
    #[arg(long, env = "HSMGATE_CONFIG", value_name = "FILE", default_value = CONFIG_FILE)]
    config: PathBuf,
}

/// The configuration file, and the format of the output.
#[derive(Debug, Args)]
pub(super) struct ConfigAndFormat {
    #[command(flatten)]
    pub(super) file: ConfigFile,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// The configuration file, and why a command is run.
#[derive(Debug, Args)]
pub(super) struct ConfigAndReason {
    #[command(flatten)]
    pub(super) file: ConfigFile,
    /// Why the command is run, for the audit
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<Reason>,
}

/// The arguments of a command that changes something: the configuration file, why it is run, and the format
/// of the output.
#[derive(Debug, Args)]
pub(super) struct ChangeArgs {
    #[command(flatten)]
    pub(super) common: ConfigAndReason,
    /// Print what was changed as a JSON object
    #[arg(long)]
    pub(super) json: bool,
}

impl ConfigFile {
    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.config
    }

    /// Loads the configuration and starts the log of a command, which shows warnings and errors.
    ///
    /// # Errors
    /// With all faults of the file.
    pub(super) fn load(&self) -> anyhow::Result<Config> {
        let config = Config::load(&self.config)?;
        telemetry::init(&Log { format: LogFormat::Text, filter: "warn".to_owned() })?;
        Ok(config)
    }

    /// Loads the configuration and starts the log of a gateway.
    ///
    /// # Errors
    /// With all faults of the file.
    pub(super) fn load_of_gateway(&self) -> anyhow::Result<Config> {
        let config = Config::load(&self.config)?;
        telemetry::init(&config.log)?;
        Ok(config)
    }
}

/// Whether no slot has the configured token.
pub(super) fn has_no_token(error: &anyhow::Error) -> bool {
    let of_token = |cause: &TokenError| matches!(cause, TokenError::Selection { found: 0, .. });
    error.chain().filter_map(|cause| cause.downcast_ref()).any(of_token)
}

/// What a gateway needs, with the PIN read.
///
/// # Errors
/// When other users can change a file that the gateway trusts, the PIN cannot be read, or the system
/// allows too few open files.
pub(super) fn settings(config: Config) -> anyhow::Result<app::Settings> {
    check_store_permissions(&config)?;
    for (path, role) in protected_gateway_paths(&config) {
        check_permissions(&path, role)?;
    }
    check_token_permissions(&config.token, &config.state_directory)?;
    without_permission_checks(config)
}

/// As [`settings`], for files that other users may be able to change: those of a gateway for
/// development.
///
/// # Errors
/// When the PIN cannot be read, or the system allows too few open files.
pub(super) fn without_permission_checks(config: Config) -> anyhow::Result<app::Settings> {
    let connections = connection_limits(&config)?;
    let token = read_token_settings(config.token, &config.state_directory)?;
    Ok(app::Settings {
        region_account: config.region_account,
        store_url: config.store_url,
        shares_nonces: config.shares_nonces,
        outage: config.outage,
        state_directory: config.state_directory,
        tls: config.tls,
        admin_client_ca: config.admin.client_ca,
        limits: app::Limits {
            call_rates: CallRates {
                per_account: NonZeroU32::new(config.limits.calls_per_second),
                per_principal: NonZeroU32::new(config.limits.calls_per_second_per_principal),
            },
            authentication_failures: NonZeroU32::new(
                config.limits.authentication_failures_per_second,
            ),
            request_time: config.limits.request_timeout,
            header_time: config.limits.header_timeout,
            connections,
            proxies: TrustedProxies {
                proxy_protocol: config.proxies.proxy_protocol.into(),
                forwarded_for: config.proxies.forwarded_for.into(),
            },
            drain: config.drain,
            keyring: config.keyring,
        },
        compatibility: config.compatibility,
        quotas: config.quotas,
        identity_providers: config.identity_providers,
        approvals: config.approvals,
        destruction_hold: config.destruction_hold,
        rewraps_secrets: config.rewraps_secrets,
        audit: Some(config.audit),
        token,
    })
}

/// The number of connections that the limit of open files allows, in total and for one source.
///
/// # Errors
/// When the system allows too few open files.
fn connection_limits(config: &Config) -> anyhow::Result<ConnectionLimits> {
    let limits = &config.limits;
    let total = open_files::raise_limit_for(limits.connections)?;
    let per_source = limits.connections_per_source.unwrap_or_else(|| total.div_ceil(2)).min(total);
    // The connections of an HTTP proxy are those of many clients.
    let shared = limits.shared_sources.iter().chain(&config.proxies.forwarded_for).cloned();
    Ok(ConnectionLimits { total, per_source, shared_sources: shared.collect() })
}

/// Opens store and token, whether a gateway runs or not.
///
/// # Errors
/// When one of them cannot be used.
pub(super) async fn backend(config: Config) -> anyhow::Result<Backend> {
    check_store_permissions(&config)?;
    let token = token_settings(config.token, &config.state_directory)?;
    let backend = Backend::open(token, &config.store_url, &config.region_account).await?;
    backend.store().set_operator(operator());
    Ok(backend)
}

/// Opens the store without the token, does the work, and closes the store, even after an error. Its rows
/// are not checked: for commands that show something, and for those that take rights away, which must
/// work while the token is unavailable.
///
/// # Errors
/// When the store cannot be used or belongs to another region or account, and the errors of `work`.
pub(super) async fn with_store(
    config: Config,
    work: impl AsyncFnOnce(&Store) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let locked = LockedStore::open_existing(&config.store_url).await;
    let locked = locked.context("the store cannot be used")?;
    let outcome = async {
        let store = locked.unchecked();
        store.check_region_account(&config.region_account).await?;
        store.set_operator(operator());
        work(store).await
    };
    let outcome = outcome.await;
    locked.close().await;
    outcome
}

/// Opens store and token without a gateway, does the work, and closes them, even after an error.
///
/// # Errors
/// When one of them cannot be used, they do not belong together, or another process uses a store that
/// `mode` may change; and the errors of `work`.
pub(super) async fn with_offline<T>(
    token: TokenGroupSettings,
    store_url: &str,
    region_account: &RegionAccount,
    mode: AccessMode,
    work: impl AsyncFnOnce(&Store, &Token) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let (store, token) = app::open_offline(token, store_url, region_account, mode).await?;
    store.set_operator(operator());
    let outcome = work(&store, &token).await;
    app::close(store, token).await;
    outcome
}

/// Identifies the operator for the audit: the user id of the process, and the user names from the
/// environment, including the caller of `sudo`.
pub(super) fn operator() -> String {
    let named = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    let mut text = format!("uid:{}", rustix::process::getuid().as_raw());
    for name in ["USER", "SUDO_USER"] {
        if let Some(value) = named(name) {
            text.extend([" ", name, "=", &value]);
        }
    }
    text
}

/// Refuses a database that other users can change: it defines who may use which key.
pub(super) fn check_store_permissions(config: &Config) -> Result<(), InsecurePermissions> {
    check_database_permissions(&config.store_url)
}

/// As [`check_store_permissions`], for the database at a URL.
pub(super) fn check_database_permissions(url: &str) -> Result<(), InsecurePermissions> {
    store_files(url).iter().try_for_each(|file| check_permissions(file, Role::Data))
}

/// The files that decide what a database says: of SQLite the database, its log, and the index of the log; of
/// PostgreSQL the CA of the server, and the certificate and key of this client.
fn store_files(url: &str) -> Vec<PathBuf> {
    let beside = |file: &Path, suffix| {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let file = Store::file(url);
    file.map_or_else(
        || tls_files(url),
        |file| vec![beside(&file, "-wal"), beside(&file, "-shm"), file],
    )
}

/// The files that only a gateway trusts: the audit file, the CAs of forwarding targets and admin clients,
/// and the identity providers with their keys and CAs.
fn protected_gateway_paths(config: &Config) -> impl Iterator<Item = (PathBuf, Role)> {
    let files = [
        Some(config.audit.file.clone()),
        config.audit.forward.ca.clone(),
        config.admin.client_ca.clone(),
        config.identity_providers_file.clone(),
        config.seed_file.clone(),
    ];
    let providers = config.identity_providers.iter().filter_map(|one| match &one.keys {
        KeySource::File(path) => Some(path.clone()),
        KeySource::Url { ca, .. } => ca.clone(),
    });
    let files = files.into_iter().flatten().chain(providers);
    files.map(|file| (file, Role::Data)).collect::<Vec<_>>().into_iter()
}

/// The files and directories that other users must not be able to change.
pub(super) fn protected_paths(config: &Config) -> Vec<(PathBuf, Role)> {
    let data = store_files(&config.store_url).into_iter().chain([config.state_directory.clone()]);
    let modules = config.token.iter().map(|token| (token.module.clone(), Role::Code));
    modules
        .chain(data.map(|path| (path, Role::Data)))
        .chain(protected_gateway_paths(config))
        .collect()
}

/// What opens the token, or several, with the PINs read. A refused PIN is recorded in the state directory.
///
/// # Errors
/// When a PIN cannot be read, or other users can change a module or the state directory.
pub(super) fn token_settings(
    token: TokenGroupConfig,
    state_directory: &Path,
) -> anyhow::Result<TokenGroupSettings> {
    check_token_permissions(&token, state_directory)?;
    read_token_settings(token, state_directory)
}

/// Refuses a module or a state directory that other users can change.
pub(super) fn check_token_permissions(
    token: &TokenGroupConfig,
    state_directory: &Path,
) -> Result<(), InsecurePermissions> {
    for token in token.iter() {
        check_permissions(&token.module, Role::Code)?;
    }
    check_permissions(state_directory, Role::Data)
}

/// As [`token_settings`], without the checks of permissions.
///
/// # Errors
/// When a PIN cannot be read.
pub(super) fn read_token_settings(
    token: TokenGroupConfig,
    state_directory: &Path,
) -> anyhow::Result<TokenGroupSettings> {
    let others = token.others.into_iter();
    Ok(TokenGroupSettings {
        first: settings_of_one(token.first, state_directory)?,
        others: others
            .map(|one| settings_of_one(one, state_directory))
            .collect::<Result<_, _>>()?,
        replication: token.replication,
    })
}

/// The only token of a configuration, or the one of several with this name.
///
/// # Errors
/// When there is none with this name, or several without one.
pub(super) fn chosen_token<'a>(
    tokens: &'a TokenGroupConfig,
    name: Option<&str>,
) -> Result<&'a TokenConfig, CliError> {
    let Some(name) = name else {
        return if tokens.others.is_empty() {
            Ok(&tokens.first)
        } else {
            let what = "the configuration has several tokens: name one with --token";
            Err(CliError::usage(what))
        };
    };
    let named = tokens.iter().find(|token| token.group_name.as_deref() == Some(name));
    named.ok_or_else(|| {
        CliError::usage(format!("no [[token]] of the configuration has the name {name:?}"))
    })
}

/// The settings of one token.
///
/// # Errors
/// When the PIN cannot be read.
pub(super) fn settings_of_one(
    token: TokenConfig,
    state_directory: &Path,
) -> anyhow::Result<TokenSettings> {
    let (pin, pin_file) = (token.pin.read().context("cannot read the PIN")?, token.pin.file());
    let pin_refusal = match &token.group_name {
        Some(name) => format!("{PIN_REFUSAL}.{name}"),
        None => PIN_REFUSAL.to_owned(),
    };
    let of_group = token.group_name.as_deref();
    let disagreement = of_group.map(|name| state_directory.join(format!("{DISAGREEMENT}.{name}")));
    Ok(TokenSettings {
        disagreement,
        name: token.group_name.map(Arc::from),
        is_required: token.is_required,
        module: token.module,
        init_arguments: token.init_arguments,
        selector: match token.name {
            TokenName::Label(label) => TokenSelector::Label(label),
            TokenName::Serial(serial) => TokenSelector::Serial(serial),
        },
        pin,
        pin_file,
        pin_refusal: Some(state_directory.join(pin_refusal)),
        is_modifiable: token.is_modifiable,
        workers: token.workers,
        queue: token.queue_size,
        max_queue_wait: token.max_queue_wait,
    })
}
