//! `hsmgate client-key delete`: deletes a client key.

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::exit::CliError;
use super::super::operator::{Operator, OperatorCommand};
use super::super::output::Output;
use super::super::settings::ChangeArgs;
use crate::config::Duty;
use crate::model::ClientKeyId;
use crate::store::{Revocation, Store};

/// Deletes a client key, while the gateway runs or is stopped. It uses only the store, so that a client
/// key can be revoked while the token is unavailable.
#[derive(Debug, Args)]
pub(in super::super) struct Delete {
    #[command(flatten)]
    change: ChangeArgs,
    /// The client key: KAAP.…
    id: ClientKeyId,
}

impl Delete {
    pub(super) fn run(self) -> anyhow::Result<()> {
        self.change.execute(&DeleteClientKey { id: self.id, json: self.change.json })
    }
}

/// Deletes a client key.
#[derive(Serialize, Deserialize)]
pub(in super::super) struct DeleteClientKey {
    id: ClientKeyId,
    #[serde(default)]
    json: bool,
}

impl OperatorCommand for DeleteClientKey {
    const NAME: &'static str = "client-key delete";
    const DUTY: Option<Duty> = Some(Duty::Revoke);
    type On = Store;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![("ClientKeyId", self.id.to_string())]
    }

    async fn run(&self, store: &Store, _: &Operator, output: &mut Output) -> anyhow::Result<()> {
        if !store.revoke(Revocation::DeleteClientKey(self.id)).await? {
            let what = format!("the client key {} does not exist", self.id);
            return Err(CliError::NotFound(what).into());
        }
        let object = json!({"client_key_id": self.id, "deleted": true});
        Ok(output.change(&object, &format!("{} was deleted", self.id), self.json)?)
    }
}
