//! `hsmgate serve`: runs a gateway, or a supervisor of gateways.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use clap::builder::FalseyValueParser;
use tokio::runtime::{self, Runtime};

use super::apply;
use super::changed_settings::StartSettings;
use super::exit::is_pin_refused;
use super::handover::{Report, SupervisorChannel};
use super::operator::{LocalCommands, OperatorServer};
use super::settings::{self, ConfigFile};
use super::shutdown_timeout::{STOP_LIMIT, end_at_once, end_within};
use super::signals::{ServerSignals, StopSignals};
use super::{hardening, report, restart_on_hang, service_status, supervise};
use crate::app::{
    self, Gateway, Listeners, LockError, Prepared, Settings, ShutdownOutcome, StartMode, Stop,
};
use crate::config::{Config, Operators};
use crate::model::RegionAccount;
use crate::ops::CallRates;
use crate::token::Token;

/// Timeout of a stop because of a module that hangs: no request makes progress.
const RESTART_TIMEOUT: Duration = Duration::from_secs(1);
/// Timeout of blocking work after the gateway has stopped.
const RUNTIME_END: Duration = Duration::from_millis(500);

/// Serves until SIGTERM, SIGINT or SIGQUIT, then completes the requests in progress.
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    file: ConfigFile,
    /// Allow serving as root
    #[arg(long, env = "HSMGATE_ALLOW_ROOT", value_parser = FalseyValueParser::new())]
    allow_root: bool,
    /// Run as a supervisor that restarts the gateway after a failure, and replaces it on SIGUSR2 without
    /// refusing a connection
    #[arg(long)]
    supervise: bool,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let is_supervisor = self.supervise && !supervise::is_supervised();
        let runtime = if is_supervisor {
            runtime::Builder::new_current_thread().enable_all().build()?
        } else {
            Runtime::new()?
        };
        let entered = runtime.enter();
        // Before anything else, because a signal without a handler ends the process.
        let signals = ServerSignals::catch()?;
        let config = self.file.load_of_gateway()?;
        hardening::refuse_root(self.allow_root)?;
        if !hardening::lock_memory() {
            tracing::warn!(
                event = "memory.unlocked",
                "memory is not locked and may be swapped out: set LimitMEMLOCK=infinity"
            );
        }
        let outcome = if is_supervisor {
            let listeners = bind_all(&config)?;
            runtime.block_on(supervise::run(listeners, signals))
        } else {
            let (supervisor, listeners, mode) = match supervise::receive()? {
                Some((supervisor, listeners, mode)) => (Some(supervisor), listeners, mode),
                None => (None, bind_all(&config)?, StartMode::Exclusive),
            };
            warn_of_changed_addresses(&config, &listeners);
            let (hang_timeout, drain) = (config.token.hang_timeout, config.drain);
            let (operators, seed_file) = (config.operators.clone(), config.seed_file.clone());
            let report_on = config.admin.shows_report.then(|| config.clone());
            let settings = settings::settings(config)?;
            let start = Start { settings, listeners, mode, operators, seed_file, report_on };
            runtime.block_on(self.serve(start, supervisor, signals, Limits { hang_timeout, drain }))
        };
        drop(entered);
        runtime.shutdown_timeout(RUNTIME_END);
        outcome
    }

    async fn serve(
        &self,
        start: Start,
        mut supervisor: Option<SupervisorChannel>,
        signals: ServerSignals,
        limits: Limits,
    ) -> anyhow::Result<()> {
        let ServerSignals { mut stop, hangups, user } = signals;
        let ignoring = tokio::spawn(user.ignore());
        let start_settings = StartSettings::read(self.file.path())?;
        let region_account = start.settings.region_account.clone();
        let call_rates = start.settings.limits.call_rates;
        let (operators, seed_file) = (start.operators.clone(), start.seed_file.clone());
        let report_on = start.report_on.clone();
        let mut gateway = match Box::pin(start.gateway(supervisor.as_mut(), &mut stop)).await {
            Ok(Some(gateway)) => gateway,
            Ok(None) => return Ok(()),
            Err(error) => {
                if let Some(supervisor) = &mut supervisor
                    && is_pin_refused(&error)
                {
                    supervisor.send(Report::PinRefused).await?;
                }
                return Err(error);
            }
        };
        if let Some(file) = seed_file.as_ref().filter(|_file| !gateway.store().accepts_changes()) {
            tracing::warn!(
                event = "seed.not_applied",
                file = %file.display(),
                "the seed file is not applied: the database accepts no changes now"
            );
        } else if let Some(file) = &seed_file {
            apply::apply_at_start(file, LocalCommands::of(&gateway, operators.clone())).await?;
        }
        if let Some(config) = report_on {
            let (store, token) = (gateway.store().clone(), gateway.token().clone());
            gateway.show_report(report::page(config, store, token, gateway.recorder()));
        }
        let operator_server = OperatorServer::open(&gateway, operators)?;
        log_start(&gateway, &region_account, call_rates);
        if let Some(supervisor) = &mut supervisor {
            supervisor.send(Report::Serving).await.context("the supervisor has ended")?;
        } else {
            service_status::serving();
        }
        let certificate = gateway.certificate();
        let reloads = tokio::spawn(hangups.each(move || {
            if let Some(certificate) = &certificate {
                certificate.request_reload();
            }
            start_settings.log_changes();
        }));
        let is_restarting = Arc::new(AtomicBool::new(false));
        let token = gateway.token().clone();
        let stop = self.stop(stop, supervisor, token, limits, &is_restarting);
        let stop = OperatorServer::stop_with(operator_server, stop);
        let outcome = Box::pin(gateway.serve_until(stop)).await;
        reloads.abort();
        ignoring.abort();
        tracing::info!(event = "gateway.stopped", "stopped");
        if outcome == ShutdownOutcome::Abandoned {
            end_at_once();
        }
        anyhow::ensure!(!is_restarting.load(Ordering::Relaxed), "a new process must take over");
        Ok(())
    }

    /// Completes when the gateway must stop, and limits the duration of the stop.
    fn stop(
        &self,
        mut signals: StopSignals,
        mut supervisor: Option<SupervisorChannel>,
        token: Token,
        limits: Limits,
        is_restarting: &Arc<AtomicBool>,
    ) -> impl Future<Output = Stop> + Send + 'static {
        let (config, is_restarting) = (self.file.path().to_owned(), Arc::clone(is_restarting));
        async move {
            let successor = async {
                match &mut supervisor {
                    Some(supervisor) => {
                        supervisor.hand_over_requested(supervise::heartbeat()).await;
                    }
                    None => service_status::keep_alive().await,
                }
            };
            tokio::select! {
                () = signals.received() => {
                    if !supervise::is_supervised() {
                        service_status::stopping();
                    }
                    end_within(limits.drain + STOP_LIMIT);
                    Stop::Drain
                }
                () = successor => {
                    tracing::info!(event = "gateway.handing_over", "handing over to another process");
                    end_within(limits.drain + STOP_LIMIT);
                    Stop::HandOver
                }
                () = restart_on_hang::is_due(token, limits.hang_timeout, &config) => {
                    is_restarting.store(true, Ordering::Relaxed);
                    end_within(RESTART_TIMEOUT);
                    Stop::AtOnce
                }
            }
        }
    }
}

fn log_start(gateway: &Gateway, region_account: &RegionAccount, call_rates: CallRates) {
    tracing::info!(
        address = %gateway.address(),
        tls = gateway.certificate().is_some(),
        admin = gateway.admin_address().map(tracing::field::display),
        region = %region_account.region,
        account = %region_account.account,
        event = "gateway.serving",
        "serving"
    );
    if call_rates == CallRates::default() {
        tracing::info!(
            event = "calls.unlimited",
            "calls are not limited: limits.calls_per_second and \
             limits.calls_per_second_per_principal are 0"
        );
    }
}

/// The timeouts that this command controls.
#[derive(Debug, Clone, Copy)]
struct Limits {
    hang_timeout: Duration,
    drain: Duration,
}

/// The parameters of a gateway's start.
struct Start {
    settings: Settings,
    listeners: Listeners,
    mode: StartMode,
    operators: Operators,
    seed_file: Option<PathBuf>,
    /// The configuration that the report of the admin listener is about, if it has one.
    report_on: Option<Config>,
}

impl Start {
    /// Starts the gateway; `None` if a signal stops it before it serves. With a supervisor, it waits
    /// until it must take over.
    async fn gateway(
        self,
        supervisor: Option<&mut SupervisorChannel>,
        stop: &mut StopSignals,
    ) -> anyhow::Result<Option<Gateway>> {
        let prepared = tokio::select! {
            prepared = Prepared::open(self.settings, self.mode) => prepared?,
            () = stop.received() => {
                end_within(STOP_LIMIT);
                return Ok(None);
            }
        };
        if let Some(supervisor) = supervisor {
            tokio::select! {
                told = supervisor.wait_to_take_over() => told.context("the supervisor has ended")?,
                () = stop.received() => {
                    end_within(STOP_LIMIT);
                    prepared.close().await;
                    return Ok(None);
                }
            }
        }
        tokio::select! {
            gateway = Gateway::take_over(prepared, self.listeners) => Ok(Some(gateway?)),
            () = stop.received() => {
                end_within(STOP_LIMIT);
                Ok(None)
            }
        }
    }
}

/// Maximum connections that wait to be accepted, for instance while one gateway hands over to another.
const BACKLOG: i32 = 1024;

fn bind_all(config: &Config) -> anyhow::Result<Listeners> {
    let bound = bind(config.listen)
        .and_then(|api| Ok(Listeners { api, admin: config.admin.address.map(bind).transpose()? }));
    bound.map_err(|error| {
        let is_taken = error
            .downcast_ref::<io::Error>()
            .is_some_and(|source| source.kind() == io::ErrorKind::AddrInUse);
        // If the same gateway runs already, its process id is more useful than the address in use.
        match app::find_other_gateway(&config.state_directory, &config.store_url) {
            Err(other @ LockError::Taken { .. }) if is_taken => anyhow::Error::new(other),
            _ => error,
        }
    })
}

/// The supervisor keeps its first listeners.
fn warn_of_changed_addresses(config: &Config, listeners: &Listeners) {
    let is_other = |address: Option<SocketAddr>, listener: Option<&TcpListener>| {
        let bound = listener.and_then(|listener| listener.local_addr().ok());
        match (address, bound) {
            (Some(address), Some(bound)) => {
                address.ip() != bound.ip() || ![0, bound.port()].contains(&address.port())
            }
            (address, bound) => address.is_some() != bound.is_some(),
        }
    };
    if is_other(Some(config.listen), Some(&listeners.api))
        || is_other(config.admin.address, listeners.admin.as_ref())
    {
        tracing::warn!(
            event = "config.address_changed",
            "listen.address or admin.address has changed: restart the supervisor to apply it"
        );
    }
}

/// Listens on an address.
///
/// # Errors
/// When the system refuses.
pub(super) fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener =
        TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(listener)
}
