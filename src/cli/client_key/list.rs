//! `hsmgate client-key list`: lists the client keys. It reads the store, because the API has no field for
//! the last use.

use std::collections::BTreeSet;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::super::output;
use super::super::paths::GatewayPaths;
use crate::model::{ClientKeyRecord, Time, clock};
use crate::store::{DanglingReference, LockedStore};

/// Lists all client keys, while the gateway runs or is stopped. The last use is precise to the hour, and
/// stored once a minute and when the gateway stops. Missing documents that the access point of a client
/// key or its policies name grant nothing: they are listed too.
#[derive(Debug, Args)]
pub(in super::super) struct List {
    #[command(flatten)]
    gateway: GatewayPaths,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let url = self.gateway.files()?.store_url;
        let keys = Runtime::new()?.block_on(keys(&url))?;
        let now = clock::now();
        let row = |key: &Listed| (key.record.id.to_string(), key.in_words(now));
        Ok(output::list(&keys, self.json, |key| key.in_json(now), row)?)
    }
}

/// A client key, and the missing documents that its access point and policies name.
struct Listed {
    record: Arc<ClientKeyRecord>,
    dangling: BTreeSet<DanglingReference>,
}

async fn keys(store_url: &str) -> anyhow::Result<Vec<Listed>> {
    let locked = LockedStore::open(store_url).await?;
    let store = locked.unchecked();
    let records = store.documents().into_iter();
    let keys = records
        .map(|record| Listed { dangling: store.dangling_references_of(&record), record })
        .collect();
    locked.close().await;
    Ok(keys)
}

impl Listed {
    fn in_json(&self, now: Time) -> Value {
        let key = &self.record;
        json!({
            "client_key_id": key.id,
            "access_point": key.access_point,
            "created": key.created,
            "not_before": key.not_before,
            "not_after": key.not_after,
            "active": key.is_valid_at(now),
            "last_used": key.last_used,
            "dangling": self.dangling,
        })
    }

    fn in_words(&self, now: Time) -> String {
        let key = &self.record;
        let state = if key.is_valid_at(now) { "active" } else { "inactive" };
        let last_used =
            key.last_used.map_or("never used".to_owned(), |hour| format!("used {hour}"));
        let (created, until) = (key.created, key.not_after);
        let mut text =
            format!("{created}  {state} until {until}  {last_used}  {}", key.access_point);
        for (at, name) in self.dangling.iter().enumerate() {
            text.push_str(if at == 0 { "  missing: " } else { ", " });
            text.push_str(&name.to_string());
        }
        text
    }
}
