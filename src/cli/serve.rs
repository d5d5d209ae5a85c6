//! `hsmgate serve`.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use clap::builder::FalseyValueParser;
use tokio::runtime::{self, Runtime};

use super::configured::{self, ConfigFile};
use super::ending::{STOP_LIMIT, end_at_once, end_within};
use super::signals::{Hangups, StopSignals};
use super::{hardening, replacement, supervise};
use crate::app::{Ending, Gateway, Listeners, Settings};
use crate::ops::CallRates;
use crate::token::Token;

/// How long a stop may take whose reason is a module that hangs: nothing useful is under way.
const REPLACEMENT_LIMIT: Duration = Duration::from_secs(1);
/// How long blocking work may go on after the gateway has stopped.
const RUNTIME_END: Duration = Duration::from_millis(500);

/// Serves until SIGTERM or SIGINT, then finishes the requests that are under way.
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    file: ConfigFile,
    /// Serve as root too
    #[arg(long, env = "HSMGATE_ALLOW_ROOT", value_parser = FalseyValueParser::new())]
    allow_root: bool,
    /// Stay as a parent that starts the gateway again when it ends by itself, for where no service
    /// supervisor does
    #[arg(long)]
    supervise: bool,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.file.load()?;
        hardening::refuse_root(self.allow_root)?;
        if !hardening::lock_memory() {
            tracing::warn!("memory is not locked and may be swapped out: LimitMEMLOCK=infinity");
        }
        let api = match supervise::listener()? {
            Some(listener) => listener,
            None => bind(config.listen)?,
        };
        if self.supervise && !supervise::is_supervised() {
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            return runtime.block_on(supervise::run(api));
        }
        let admin = config.admin.address.map(bind).transpose()?;
        let hang_limit = config.token.hang_limit;
        let settings = configured::settings(config)?;
        let runtime = Runtime::new()?;
        let exit = runtime.block_on(self.serve(settings, Listeners { api, admin }, hang_limit));
        runtime.shutdown_timeout(RUNTIME_END);
        exit
    }

    async fn serve(
        &self,
        settings: Settings,
        listeners: Listeners,
        hang_limit: Duration,
    ) -> anyhow::Result<()> {
        let (mut signals, hangups) = (StopSignals::catch()?, Hangups::catch()?);
        let (place, call_rates) = (settings.place.clone(), settings.limits.call_rates);
        let gateway = tokio::select! {
            gateway = Gateway::start(settings, listeners) => gateway?,
            () = signals.asked() => {
                end_within(STOP_LIMIT);
                return Ok(());
            }
        };
        tracing::info!(
            address = %gateway.address(),
            tls = gateway.identity().is_some(),
            admin = gateway.admin_address().map(tracing::field::display),
            region = %place.region,
            account = %place.account,
            "serving"
        );
        if call_rates == CallRates::default() {
            tracing::info!(
                "calls are not limited: limits.calls_per_second and \
                 limits.calls_per_second_per_principal are 0"
            );
        }
        let identity = gateway.identity();
        let reloads = tokio::spawn(hangups.each(move || {
            if let Some(identity) = &identity {
                identity.ask_for_reload();
            }
        }));
        let is_replaced = Arc::new(AtomicBool::new(false));
        let stop = self.stop(signals, gateway.token().clone(), hang_limit, &is_replaced);
        let ending = gateway.serve_until(stop).await;
        reloads.abort();
        tracing::info!("stopped");
        if ending == Ending::Abandoned {
            end_at_once();
        }
        anyhow::ensure!(!is_replaced.load(Ordering::Relaxed), "a new process has to take over");
        Ok(())
    }

    /// Completes when the gateway has to stop, and limits the time of the stop.
    fn stop(
        &self,
        mut signals: StopSignals,
        token: Token,
        hang_limit: Duration,
        is_replaced: &Arc<AtomicBool>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (config, is_replaced) = (self.file.path().to_owned(), Arc::clone(is_replaced));
        async move {
            tokio::select! {
                () = signals.asked() => end_within(STOP_LIMIT),
                () = replacement::is_due(token, hang_limit, &config) => {
                    is_replaced.store(true, Ordering::Relaxed);
                    end_within(REPLACEMENT_LIMIT);
                }
            }
        }
    }
}

/// Listens there.
///
/// # Errors
/// When the system refuses.
pub(super) fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))
}
