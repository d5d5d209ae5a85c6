//! A gateway and a caller that signs like an SDK.

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
        let answer = self.call("CreateKey", &[]).await;
        text(&answer["KeyMetadata"]["KeyId"]).to_owned()
    }
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}
