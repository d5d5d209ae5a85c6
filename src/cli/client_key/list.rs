//! `hsmgate client-key list`: lists the client keys. It reads the store, because the API has no field for
//! the last use.

use std::collections::BTreeSet;
use std::sync::Arc;

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::operator::{Operator, OperatorCommand, execute_with};
use super::super::output::Output;
use super::super::paths::GatewayPaths;
use crate::config::Duty;
use crate::model::{ClientKeyRecord, Time, clock};
use crate::store::{DanglingReference, Store};

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
        execute_with(self.gateway.config()?, None, &ListClientKeys { json: self.json })
    }
}

/// Lists all client keys.
#[derive(Serialize, Deserialize)]
pub(in super::super) struct ListClientKeys {
    json: bool,
}

impl OperatorCommand for ListClientKeys {
    const NAME: &'static str = "client-key list";
    const DUTY: Option<Duty> = None;
    type On = Store;

    async fn run(&self, store: &Store, _: &Operator, output: &mut Output) -> anyhow::Result<()> {
        let records = store.documents().into_iter();
        let keys: Vec<_> = records
            .map(|record| Listed { dangling: store.dangling_references_of(&record), record })
            .collect();
        let now = clock::now();
        let row = |key: &Listed| (key.record.id.to_string(), key.in_words(now));
        Ok(output.list(&keys, self.json, |key| key.in_json(now), row)?)
    }
}

/// A client key, and the missing documents that its access point and policies name.
struct Listed {
    record: Arc<ClientKeyRecord>,
    dangling: BTreeSet<DanglingReference>,
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
