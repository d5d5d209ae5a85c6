//! `hsmgate dev`: a gateway for development with its own SoftHSM2 token, in one directory.

mod banner;
mod client_key;
mod configuration;
mod demo;
pub(super) mod directory;
mod module;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use secrecy::SecretString;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use super::alias;
use super::apply;
use super::client::Client;
use super::client_file::ClientFile;
use super::connection::reachable;
use super::exit::CliError;
use super::operator::{LocalCommands, OperatorServer};
use super::output;
use super::serve::bind;
use super::settings;
use super::signals::{StopSignals, UserSignals};
use super::tls::certificate::Name;
use crate::app::{self, Gateway, Listeners, Stop};
use crate::config::secret::read_private_file;
use crate::config::{Config, Log, LogFormat, MAX_RATE, Operators};
use crate::model::policy::{AttachedPolicy, FULL_ACCESS};
use crate::model::{AccessKeyId, AccountId, OperatorAlias, PrincipalName, Region, RegionAccount};
use crate::store::{LockedStore, Store};
use crate::telemetry;
use crate::token::{Token, TokenGroupSettings};
use banner::Banner;
use directory::DevDirectory;

/// The user of the AccessKey of a gateway for development.
const USER: &str = "dev";
const REGION: &str = "cn-hangzhou";
const ACCOUNT: &str = "1234567890123456";
/// As `limits.connections` has it by default.
const CONNECTIONS: usize = 1024;
const TOKEN_LABEL: &str = "hsmgate-dev";

/// Creates token, database, AccessKey and a demo key at the first start, and reuses them later. Serves
/// until Ctrl-C, on loopback unless it is told otherwise.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct Dev {
    /// The directory of token, PINs, database and AccessKey
    #[arg(long, default_value = ".hsmgate", value_name = "DIR")]
    dir: PathBuf,
    /// The address to listen on; port 0 selects a free port
    #[arg(long, default_value = "127.0.0.1:8200", value_name = "ADDR")]
    listen: SocketAddr,
    /// Allow addresses that other machines and containers reach. Who reaches the port and knows the AccessKey
    /// uses the keys, and without --tls everyone between reads what is sent
    #[arg(long)]
    listen_beyond_loopback: bool,
    /// The account, a part of each ARN, at the first start [default: 1234567890123456]
    #[arg(long, value_name = "ID")]
    account: Option<AccountId>,
    /// The region, a part of each ARN, at the first start [default: cn-hangzhou]
    #[arg(long, value_name = "NAME")]
    region: Option<Region>,
    /// The PKCS#11 module of SoftHSM2 [default: where distributions install it]
    #[arg(long, env = "SOFTHSM2_MODULE", value_name = "PATH")]
    module: Option<PathBuf>,
    /// An AccessKey to use instead of a generated one
    #[arg(
        long,
        env = "HSMGATE_DEV_ACCESS_KEY_ID",
        value_name = "ID",
        requires = "secret_of_access_key"
    )]
    access_key_id: Option<AccessKeyId>,
    /// Its secret. As an argument, other users of the machine can see it: for development only
    #[arg(
        long,
        env = "HSMGATE_DEV_ACCESS_KEY_SECRET",
        hide_env_values = true,
        value_name = "SECRET",
        group = "secret_of_access_key",
        requires = "access_key_id",
        value_parser = secret
    )]
    access_key_secret: Option<SecretString>,
    /// A file with its secret
    #[arg(
        long,
        value_name = "FILE",
        group = "secret_of_access_key",
        requires = "access_key_id",
        conflicts_with = "access_key_secret"
    )]
    access_key_secret_file: Option<PathBuf>,
    /// Calls per second for each cryptographic operation, by default as in the public service; 0 means
    /// no limit, the default of `hsmgate serve`
    #[arg(long, default_value_t = 750, value_name = "N", value_parser = rate())]
    calls_per_second: u32,
    /// Failed authentications per second for each source; 0 means no limit
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = rate())]
    authentication_failures_per_second: u32,
    /// Let Encrypt accept a Plaintext that is not Base64, as Terraform's provider and Nacos send it
    #[arg(long)]
    accept_non_base64_plaintext: bool,
    /// Another alias of the demo key (may be repeated), also a reserved name such as alias/acs/mse, which
    /// Nacos uses; existing aliases stay unchanged
    #[arg(long = "alias", value_name = "NAME", value_parser = alias::parse::<OperatorAlias>)]
    aliases: Vec<OperatorAlias>,
    /// Use TLS, with a certificate that is created at the first start and kept in the directory
    #[arg(long)]
    tls: bool,
    /// Another name of the certificate, such as kms.cn-hangzhou.aliyuncs.com or
    /// *.cryptoservice.kms.aliyuncs.com (may be repeated). An existing certificate without it is not
    /// replaced: the start is refused
    #[arg(long, value_name = "NAME", requires = "tls")]
    tls_name: Vec<Name>,
    /// The address of health and metrics; port 0 selects a free port
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR")]
    admin: SocketAddr,
    /// The file of the audit [default: audit.jsonl in the directory]
    #[arg(long, value_name = "FILE")]
    audit_file: Option<PathBuf>,
    /// A file with keys, users, AccessKeys, roles, access points and secrets that exist before it serves
    /// (docs/seed.md)
    #[arg(long, env = "HSMGATE_DEV_SEED", value_name = "FILE")]
    seed: Option<PathBuf>,
    /// Write no audit, to measure its cost
    #[arg(long, hide = true)]
    no_audit: bool,
    /// Write the log as JSON, as `hsmgate serve` does, to measure its cost
    #[arg(long, hide = true)]
    json_log: bool,
    /// Print one line of JSON on standard output when it serves
    #[arg(long, conflicts_with = "env")]
    json: bool,
    /// Print the variables of a client as `export` lines on standard output when it serves
    #[arg(long)]
    env: bool,
    /// Print nothing else than warnings, and what --json or --env prints
    #[arg(long)]
    quiet: bool,
}

/// The parameters of a gateway's start.
struct Start {
    settings: app::Settings,
    listeners: Listeners,
    operators: Operators,
    /// Shows the log lines of requests from now on.
    show_requests: Box<dyn FnOnce()>,
}

impl Dev {
    pub(super) fn run(self) -> anyhow::Result<()> {
        for address in [self.listen, self.admin] {
            if !address.ip().is_loopback() && !self.listen_beyond_loopback {
                let what = format!(
                    "{address} is not a loopback address: add --listen-beyond-loopback to serve other \
                     machines and containers too"
                );
                return Err(CliError::usage(what).into());
            }
        }
        let module = module::find(self.module.as_deref())?;
        let dev_directory = DevDirectory::prepare(&self.dir)?;
        dev_directory.reexec_with_softhsm()?;
        let format = if self.json_log { LogFormat::Json } else { LogFormat::Text };
        let filter = if self.quiet { "warn" } else { "info" };
        let show_requests = begin_log(&Log { format, filter: filter.to_owned() })?;
        if self.listen_beyond_loopback {
            tracing::warn!(
                event = "dev.beyond_loopback",
                address = %self.listen,
                "a gateway for development listens beyond loopback: its PINs are stored beside its token"
            );
        }
        let listeners = Listeners { api: bind(self.listen)?, admin: Some(bind(self.admin)?) };
        let runtime = Runtime::new()?;
        let bound_token =
            runtime.block_on(LockedStore::token_serial(&dev_directory.store_url()?))?;
        // Only the token of the store has its keys: a new one in its place would be of no use.
        if bound_token.is_none() {
            let (so_pin, pin) = (dev_directory.so_pin()?, dev_directory.pin()?);
            Token::initialize(&module, None, TOKEN_LABEL, &so_pin, &pin)
                .context("cannot create the token")?;
        }
        let tls = self
            .tls
            .then(|| dev_directory.certificate(self.listen.ip(), &self.tls_name))
            .transpose()?;
        let config = self.configuration(&dev_directory, &module, tls.as_ref())?;
        let operators = config.operators.clone();
        let mut settings = settings::without_permission_checks(config)?;
        if self.no_audit {
            settings.audit = None;
        }
        let ca_file = tls.map(|files| files.ca);
        let start = Start { settings, listeners, operators, show_requests };
        runtime.block_on(self.serve(&dev_directory, start, ca_file)).map_err(|error| {
            if !settings::has_no_token(&error) {
                return error;
            }
            let directory = dev_directory.directory().display();
            error.context(format!(
                "the token of {directory} is missing or damaged. If the process was killed while it logged in, \
                 SoftHSM2 may have lost the token (softhsm/README.md). Restore {directory}/tokens from a copy, \
                 or choose a new directory with --dir"
            ))
        })
    }

    async fn serve(
        &self,
        dev_directory: &DevDirectory,
        start: Start,
        ca_file: Option<PathBuf>,
    ) -> anyhow::Result<()> {
        let Start { settings, listeners, operators, show_requests } = start;
        let mut signals = StopSignals::catch()?;
        let ignoring = tokio::spawn(UserSignals::catch()?.ignore());
        let region_account = settings.region_account.clone();
        let mut gateway = Box::pin(Gateway::start(settings, listeners)).await?;
        gateway.set_for_development();
        // Who waits until it is ready expects the demo key.
        let health = gateway.health();
        if let Some(health) = &health {
            health.set_starting(true);
        }
        let commands = LocalCommands::of(&gateway, operators.clone());
        let operator_server = OperatorServer::open(&gateway, operators)?;
        let file = self.access_key(dev_directory, &gateway, region_account, ca_file).await?;
        if let Some(seed) = &self.seed {
            apply::apply_at_start(seed, commands).await?;
        }
        let store = gateway.store().clone();
        let failed = Arc::new(Notify::new());
        let has_failed = Arc::clone(&failed);
        let stop = async move {
            tokio::select! {
                () = signals.received() => {}
                () = has_failed.notified() => {}
            }
            Stop::Drain
        };
        let serving = gateway.serve_until(OperatorServer::stop_with(operator_server, stop));
        let opening = async {
            let opened = self.prepare_demo(dev_directory, &file, &store).await;
            show_requests();
            match (&opened, health) {
                (Ok(()), Some(health)) => health.set_starting(false),
                (Ok(()), None) => {}
                (Err(_), _) => failed.notify_one(),
            }
            opened
        };
        let (_outcome, opened) = tokio::join!(serving, opening);
        ignoring.abort();
        opened
    }

    /// The given AccessKey, or that of the first start. It is stored for the client commands.
    async fn access_key(
        &self,
        dev_directory: &DevDirectory,
        gateway: &Gateway,
        region_account: RegionAccount,
        ca_file: Option<PathBuf>,
    ) -> anyhow::Result<ClientFile> {
        let secret = match &self.access_key_secret_file {
            Some(file) => Some(read_private_file(file)?),
            None => self.access_key_secret.clone(),
        };
        let given = self.access_key_id.clone().zip(secret);
        let kept = match dev_directory.client_file()? {
            Some(file) => Some((file.access_key_id.parse()?, file.access_key_secret)),
            None => None,
        };
        let keys = gateway.access_keys();
        let user = PrincipalName::user(USER)?;
        keys.ensure_principal(&user, vec![AttachedPolicy::system(FULL_ACCESS)?]).await?;
        let key = match given.or(kept) {
            Some((id, secret)) => keys.ensure(id, &user, secret).await?,
            None => keys.create(&user).await?,
        };
        let scheme = if ca_file.is_some() { "https" } else { "http" };
        let file = ClientFile {
            endpoint: format!("{scheme}://{}", reachable(gateway.address())),
            region: region_account.region.to_string(),
            account: region_account.account.to_string(),
            access_key_id: key.id.to_string(),
            access_key_secret: key.secret.clone(),
            ca_file,
            admin: gateway.admin_address().map(|at| format!("http://{}", reachable(at))),
        };
        file.save(&dev_directory.client_path())?;
        Ok(file)
    }

    /// Creates and uses the demo key, and with TLS a client key, through the running gateway, and prints
    /// the banner. Further aliases are created without the API, which creates no reserved ones.
    async fn prepare_demo(
        &self,
        dev_directory: &DevDirectory,
        file: &ClientFile,
        store: &Store,
    ) -> anyhow::Result<()> {
        let client = Client::trusting(
            file.ca_file.as_deref(),
            &file.endpoint,
            &file.access_key_id,
            file.access_key_secret.clone(),
        )?;
        let key_id = demo::key(&client).await?;
        if !self.aliases.is_empty() {
            let url = dev_directory.store_url()?;
            alias::ensure(store, &url, &self.aliases, key_id.parse()?).await?;
            store.refresh().await?;
        }
        let first_use = demo::first_use(&client).await?;
        let client_key = if self.tls {
            Some(client_key::files(&client, &dev_directory.client_key_directory()).await?)
        } else {
            None
        };
        let banner = Banner {
            file,
            client_key: client_key.as_ref(),
            key_id: &key_id,
            alias: demo::ALIAS,
            first_use: &first_use,
            dir: &self.dir,
        };
        dev_directory.write_examples(client_key.is_some())?;
        if !self.quiet {
            telemetry::flush();
            output::print_note(&banner.to_string());
        }
        if self.json {
            output::json(&banner)?;
        }
        if self.env {
            output::line(&banner.exports())?;
        }
        Ok(())
    }
}

/// Begins the log. The lines of the requests of this command itself, the first of which asks for a key that
/// does not exist yet, are withheld until the returned function is called.
fn begin_log(log: &Log) -> anyhow::Result<Box<dyn FnOnce()>> {
    if log.format == LogFormat::Text && log.filter == "info" {
        let first = "info,hsmgate::request=warn";
        return Ok(Box::new(telemetry::init_with_first_filter(log, first)?));
    }
    telemetry::init(log)?;
    Ok(Box::new(|| ()))
}

/// The settings that open the token of a gateway for development, in a process whose SoftHSM2 finds it.
///
/// # Errors
/// When the directory, its configuration or the module does not exist.
pub(super) fn token_in(dir: &Path, module: Option<&Path>) -> anyhow::Result<TokenGroupSettings> {
    let module = module::find(module)?;
    let dev_directory = DevDirectory::find(dir)?;
    dev_directory.reexec_with_softhsm()?;
    // As hsmgate dev itself, without a check of the permissions.
    let config = Config::read(&dev_directory.configuration_path())
        .context("hsmgate dev writes the configuration at each start")?;
    let mut token = config.token;
    token.first.module = module;
    settings::read_token_settings(token, &config.state_directory)
}

fn rate() -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(..=MAX_RATE)
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of a value parser")]
fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(SecretString::from(text))
}
