//! `hsmgate serve`.

use std::net::{SocketAddr, TcpListener};

use anyhow::Context;
use clap::Args;
use clap::builder::FalseyValueParser;
use tokio::runtime::Runtime;

use super::configured::{self, ConfigFile};
use super::hardening;
use super::signals::{Hangups, StopSignals};
use crate::app::{Gateway, Listeners};

/// Serves until SIGTERM or SIGINT, then finishes the requests that are under way.
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    file: ConfigFile,
    /// Serve as root too
    #[arg(long, env = "HSMGATE_ALLOW_ROOT", value_parser = FalseyValueParser::new())]
    allow_root: bool,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.file.load()?;
        hardening::refuse_root(self.allow_root)?;
        let (api, admin) = (config.listen, config.admin.address);
        let settings = configured::settings(config)?;
        let listeners = Listeners { api: bind(api)?, admin: admin.map(bind).transpose()? };
        Runtime::new()?.block_on(async {
            let (signals, hangups) = (StopSignals::catch()?, Hangups::catch()?);
            let place = settings.place.clone();
            let gateway = Gateway::start(settings, listeners).await?;
            tracing::info!(
                address = %gateway.address(),
                tls = gateway.identity().is_some(),
                admin = gateway.admin_address().map(tracing::field::display),
                region = %place.region,
                account = %place.account,
                "serving"
            );
            let identity = gateway.identity();
            let reloads = tokio::spawn(hangups.each(move || {
                if let Some(identity) = &identity {
                    identity.ask_for_reload();
                }
            }));
            gateway.serve_until(signals.asked()).await;
            reloads.abort();
            tracing::info!("stopped");
            Ok(())
        })
    }
}

/// Listens there.
///
/// # Errors
/// When the system refuses.
pub(super) fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))
}
