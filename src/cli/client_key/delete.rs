//! `hsmgate client-key delete`: deletes a client key.

use clap::Args;

use super::super::exit::CliError;
use super::super::settings::{ConfigFile, with_store};
use crate::model::ClientKeyId;
use crate::store::Revocation;

/// Deletes a client key, while the gateway runs or is stopped. It uses only the store, so that a client
/// key can be revoked while the token is unavailable.
#[derive(Debug, Args)]
pub(in super::super) struct Delete {
    #[command(flatten)]
    file: ConfigFile,
    /// The client key: KAAP.…
    id: ClientKeyId,
}

impl Delete {
    pub(super) fn run(self) -> anyhow::Result<()> {
        with_store(&self.file, async |store| {
            if store.revoke(Revocation::DeleteClientKey(self.id)).await? {
                return Ok(());
            }
            Err(CliError::NotFound(format!("the client key {} does not exist", self.id)).into())
        })
    }
}
