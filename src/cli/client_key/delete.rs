//! `hsmgate client-key delete`.

use clap::Args;

use super::super::exit::CliError;
use super::super::settings::{ConfigFile, with_store};
use crate::model::ClientKeyId;
use crate::store::StoreError;

/// Deletes a client key, while the gateway runs or is stopped. It works on the store alone, so
/// that a client key can be taken away while the token is.
#[derive(Debug, Args)]
pub(in super::super) struct Delete {
    #[command(flatten)]
    file: ConfigFile,
    /// The client key: KAAP.…
    id: ClientKeyId,
}

impl Delete {
    pub(super) fn run(self) -> anyhow::Result<()> {
        with_store(&self.file, async |store| match store.delete_client_key(self.id).await {
            Err(StoreError::NotFound) => {
                Err(CliError::NotFound(format!("there is no client key {}", self.id)).into())
            }
            done => Ok(done?),
        })
    }
}
