//! A gateway and a caller that signs like an SDK.

#![allow(dead_code, clippy::allow_attributes, reason = "each test crate uses a part of it")]

use std::path::PathBuf;

use hsmgate::cli::client::{CallError, Client};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use crate::gateway;

/// What `hsmgate dev --json` says once it serves.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Dev {
    pub(crate) endpoint: String,
    pub(crate) region: String,
    pub(crate) account: String,
    pub(crate) access_key_id: String,
    pub(crate) access_key_secret: String,
    pub(crate) key_id: String,
    pub(crate) alias: String,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) client_key_file: Option<PathBuf>,
    pub(crate) client_key_password_file: Option<PathBuf>,
    pub(crate) admin: String,
}

/// A running gateway with a token and a directory of its own.
pub(crate) struct Gateway {
    pub(crate) process: gateway::Gateway,
    pub(crate) dev: Dev,
    pub(crate) client: Client,
}

impl Gateway {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(options: &[&str]) -> Self {
        Self::of(gateway::Gateway::start(options))
    }

    pub(crate) fn start_with_log(filter: &str) -> Self {
        Self::of(gateway::Gateway::start_with_log(filter))
    }

    pub(crate) fn of(process: gateway::Gateway) -> Self {
        let dev: Dev = serde_json::from_str(process.dev_json()).unwrap();
        let secret = SecretString::from(dev.access_key_secret.clone());
        let ca = dev.ca_file.as_deref();
        let client = Client::trusting(ca, &dev.endpoint, &dev.access_key_id, secret).unwrap();
        Self { process, dev, client }
    }

    /// Stops the process and starts another one on the same state.
    pub(crate) fn restart(self) -> Self {
        Self::of(gateway::Gateway::start_in(self.process.stop(), &[]))
    }

    /// Kills the process and starts another one on the same state.
    pub(crate) fn kill_and_restart(self) -> Self {
        Self::of(gateway::Gateway::start_in(self.process.kill(), &[]))
    }

    /// How many objects its SoftHSM2 token has, by their files. One without an id is what a kill
    /// leaves in the middle of SoftHSM2's making of an object: it gives it the attributes one by
    /// one, the id and the material last.
    pub(crate) fn token_objects(&self) -> usize {
        let mut count = 0;
        for token in std::fs::read_dir(self.process.state().join("tokens")).unwrap() {
            let files = std::fs::read_dir(token.unwrap().path()).unwrap();
            count += files
                .filter(|file| {
                    let file = file.as_ref().unwrap();
                    let name = file.file_name();
                    let name = name.to_str().unwrap();
                    let is_object = name.ends_with(".object") && name != "token.object";
                    is_object && std::fs::read(file.path()).is_ok_and(|bytes| has_id(&bytes))
                })
                .count();
        }
        count
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &str {
        self.dev.endpoint.strip_prefix("http://").unwrap()
    }

    pub(crate) async fn call(&self, action: &str, params: &[(&str, &str)]) -> Value {
        match self.client.call(action, params).await {
            Ok(answer) => answer,
            Err(error) => panic!("{action} failed: {error:?}\n{}", self.process.log()),
        }
    }

    /// Status and code of a call that must be refused.
    pub(crate) async fn refused(&self, action: &str, params: &[(&str, &str)]) -> (u16, String) {
        match self.client.call(action, params).await {
            Err(CallError::Refused { status, code, .. }) => (status, code),
            other => panic!("{action} was not refused: {other:?}"),
        }
    }

    /// A new key's id.
    pub(crate) async fn create_key(&self) -> String {
        self.create_key_with(&[]).await
    }

    /// The id of a new key of another kind.
    pub(crate) async fn create_key_with(&self, params: &[(&str, &str)]) -> String {
        let answer = self.call("CreateKey", params).await;
        text(&answer["KeyMetadata"]["KeyId"]).to_owned()
    }

    /// What DescribeKey tells of a key.
    pub(crate) async fn describe(&self, key: &str) -> Value {
        self.call("DescribeKey", &[("KeyId", key)]).await["KeyMetadata"].clone()
    }

    /// Stops the process, changes its database, and starts another process on the same state. The
    /// statement must change something.
    pub(crate) async fn restart_with(self, change: &'static str) -> Self {
        let directory = self.process.stop();
        let database = directory.path().join("state/hsmgate.db");
        let url = format!("sqlite://{}", database.display());
        let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
        let changed = sqlx::query(change).execute(&pool).await.unwrap();
        assert!(changed.rows_affected() > 0, "{change}");
        pool.close().await;
        Self::of(gateway::Gateway::start_in(directory, &[]))
    }
}

/// Whether an object file of SoftHSM2 holds a CKA_ID that is not empty: its number, the kind of a
/// byte string, and its length, 8 bytes each.
fn has_id(file: &[u8]) -> bool {
    let head = [[0, 0, 0, 0, 0, 0, 1, 2], [0, 0, 0, 0, 0, 0, 0, 3]].concat();
    let length = file.windows(24).find(|window| window.starts_with(&head));
    length.is_some_and(|window| window[16..] != [0; 8])
}

/// What a refusal is compared with.
pub(crate) fn refusal(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}
