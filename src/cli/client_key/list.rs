//! `hsmgate client-key list`.
//!
//! It reads the store, because the API has no field for the last use.

use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::super::installed::Installed;
use super::super::output;
use crate::model::{ClientKeyRecord, Time};
use crate::store::Store;

/// Lists all client keys, beside a running gateway or without one. The last use is kept to the
/// hour, and written down once a minute and when the gateway stops.
#[derive(Debug, Args)]
pub(in super::super) struct List {
    #[command(flatten)]
    gateway: Installed,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let url = self.gateway.files()?.store_url;
        let keys = Runtime::new()?.block_on(keys(&url))?;
        let now = Time::now();
        if self.json {
            let objects: Vec<Value> = keys.iter().map(|key| in_json(key, now)).collect();
            return Ok(output::json(&objects)?);
        }
        let ids: Vec<String> = keys.iter().map(|key| key.id.to_string()).collect();
        let rows: Vec<_> =
            ids.iter().map(String::as_str).zip(keys.iter().map(|key| in_words(key, now))).collect();
        Ok(output::columns(&rows)?)
    }
}

async fn keys(store_url: &str) -> anyhow::Result<Vec<Arc<ClientKeyRecord>>> {
    let store = Store::open(store_url).await?;
    let keys = store.documents();
    store.close().await;
    Ok(keys)
}

fn in_json(key: &ClientKeyRecord, now: Time) -> Value {
    json!({
        "client_key_id": key.id,
        "access_point": key.access_point,
        "created": key.created,
        "not_before": key.not_before,
        "not_after": key.not_after,
        "active": key.opens_at(now),
        "last_used": key.last_used,
    })
}

fn in_words(key: &ClientKeyRecord, now: Time) -> String {
    let state = if key.opens_at(now) { "active" } else { "inactive" };
    let last_used = key.last_used.map_or("never used".to_owned(), |hour| format!("used {hour}"));
    let (created, until) = (key.created, key.not_after);
    format!("{created}  {state} until {until}  {last_used}  {}", key.access_point)
}
