//! Identity providers.

use serde::{Deserialize, Serialize};

use super::entry::{Difference, SeedEntry, Work};
use crate::authn::check_key_set;
use crate::cli::exit::CliError;
use crate::config::Duty;
use crate::model::IdentityProvider;
use crate::store::StoreError;

/// An identity provider. Of an existing one only the keys may change.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::cli) struct ProviderEntry {
    pub(super) provider: IdentityProvider,
}

impl SeedEntry for ProviderEntry {
    const NAME: &'static str = "apply identity-provider";
    const DUTY: Duty = Duty::Principals;

    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![
            ("IdentityProvider", self.provider.name.to_string()),
            ("Issuer", self.provider.issuer.clone()),
            ("Audiences", self.provider.audiences.join(",")),
        ]
    }

    async fn apply(&self, work: &Work<'_>) -> anyhow::Result<Vec<Difference>> {
        let wanted = &self.provider;
        wanted.check().map_err(CliError::usage)?;
        check_key_set(&wanted.keys).map_err(|fault| CliError::usage(fault.to_string()))?;
        let mut difference = Difference::of(format!("identity provider {}", wanted.name));
        let configured = work.backend().access_keys().configured_providers();
        if configured.is_some_and(|all| all.find(wanted.name.as_str()).is_some()) {
            return Err(wrong(&format!(
                "the identity provider {} is in the configuration",
                wanted.name
            )));
        }
        let store = work.store();
        let Some(stored) = store.document::<IdentityProvider>(wanted.name.as_str()) else {
            if !work.is_plan() {
                store.insert_document(wanted.clone()).await?;
            }
            return Ok(vec![difference.create()]);
        };
        let same = IdentityProvider {
            id: stored.id.clone(),
            created: stored.created,
            keys: stored.keys.clone(),
            ..wanted.clone()
        };
        if same != *stored {
            return Err(wrong(&format!(
                "the identity provider {} exists with another issuer, audience, algorithm or age of its \
                 tokens: delete it first, which ends its sessions",
                wanted.name
            )));
        }
        if wanted.keys != stored.keys {
            difference.change("keys");
            if !work.is_plan() {
                let change = store.change_document(
                    wanted.name.as_str(),
                    |provider: &mut IdentityProvider| {
                        provider.keys.clone_from(&wanted.keys);
                        Ok::<_, StoreError>(())
                    },
                );
                change.await?;
            }
        }
        Ok(vec![difference])
    }
}

fn wrong(what: &str) -> anyhow::Error {
    CliError::WrongState(what.to_owned()).into()
}
