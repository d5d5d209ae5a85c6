//! `hsmgate client-key delete`.

use clap::Args;

use super::super::configured::{ConfigFile, with_store};
use super::super::exit::Complaint;
use crate::model::ClientKeyId;
use crate::store::StoreError;

/// Deletes a client key, beside a running gateway or without one. It works on the store alone, so
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
                Err(Complaint::NotFound(format!("there is no client key {}", self.id)).into())
            }
            done => Ok(done?),
        })
    }
}
