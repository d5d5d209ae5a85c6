//! What the gateway has and a seed file does not name. It is left as it is.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::cli::operator::{Operator, OperatorCommand};
use crate::cli::output::Output;
use crate::config::Duty;
use crate::model::{AccessPoint, AccessPolicy, ClientKeyRecord, IdentityProvider, NetworkRule};
use crate::store::{Document, Store};

/// Lists the objects that are not among these.
#[derive(Serialize, Deserialize)]
pub(in crate::cli) struct ListUnlisted {
    /// Kinds and names, as in the differences.
    pub(super) listed: BTreeSet<String>,
}

impl OperatorCommand for ListUnlisted {
    const NAME: &'static str = "apply unlisted";
    const DUTY: Option<Duty> = None;
    type On = Store;

    async fn run(&self, store: &Store, _: &Operator, output: &mut Output) -> anyhow::Result<()> {
        let mut all: Vec<String> =
            store.aliases().iter().map(|alias| format!("key {}", alias.name)).collect();
        let principals = store.principals().await?;
        all.extend(principals.iter().map(|one| one.name.to_string().replacen('/', " ", 1)));
        let keys = store.access_keys().await?;
        let lasting = keys.iter().filter(|key| key.session.is_none());
        all.extend(lasting.map(|key| format!("AccessKey {}", key.id)));
        all.extend(documents(store, "network rule", |rule: &NetworkRule| rule.name.to_string()));
        all.extend(documents(store, "access policy", |one: &AccessPolicy| one.name.to_string()));
        all.extend(documents(store, "access point", |one: &AccessPoint| one.name.to_string()));
        all.extend(documents(store, "client key", |one: &ClientKeyRecord| one.id.to_string()));
        let provider = |one: &IdentityProvider| one.name.to_string();
        all.extend(documents(store, "identity provider", provider));
        all.extend(store.secrets().iter().map(|secret| format!("secret {}", secret.name)));
        all.retain(|object| !self.listed.contains(object));
        Ok(output.json(&all)?)
    }
}

fn documents<D: Document>(store: &Store, kind: &str, name: impl Fn(&D) -> String) -> Vec<String> {
    store.documents::<D>().iter().map(|one| format!("{kind} {}", name(one))).collect()
}
