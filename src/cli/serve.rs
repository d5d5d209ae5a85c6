//! `hsmgate serve`.

use std::net::TcpListener;

use anyhow::Context;
use clap::Args;
use tokio::runtime::Runtime;

use super::configured::{self, ConfigFile};
use super::signals::StopSignals;
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
                address = %gateway.address()?,
                region = %place.region,
                account = %place.account,
                "serving"
            );
            gateway.serve_until(signals.asked()).await;
            tracing::info!("stopped");
            Ok(())
        })
    }
}
