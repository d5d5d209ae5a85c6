//! `hsmgate serve`.

use std::net::TcpListener;

use anyhow::Context;
use clap::Args;
use tokio::runtime::Runtime;

use super::configured::{self, ConfigFile};
use super::signals::{StopSignals, on_hangup};
use crate::app::Gateway;

/// Serves until SIGTERM or SIGINT, then finishes the requests that are under way.
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    file: ConfigFile,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.file.load()?;
        let address = config.listen;
        let settings = configured::settings(config)?;
        let listener =
            TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        Runtime::new()?.block_on(async {
            let signals = StopSignals::catch()?;
            let place = settings.place.clone();
            let gateway = Gateway::start(settings, listener).await?;
            tracing::info!(
                address = %gateway.address(),
                tls = gateway.identity().is_some(),
                region = %place.region,
                account = %place.account,
                "serving"
            );
            let identity = gateway.identity();
            let reloads = on_hangup(move || {
                if let Some(identity) = &identity {
                    identity.ask_for_reload();
                }
            })?;
            let reloads = tokio::spawn(reloads);
            gateway.serve_until(signals.asked()).await;
            reloads.abort();
            tracing::info!("stopped");
            Ok(())
        })
    }
}
