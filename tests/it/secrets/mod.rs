//! Secrets.

mod attacks;
mod client_keys;
mod commands;
mod keys;
mod lifecycle;
pub(crate) mod linearizable;
mod memory;
mod policies;
mod privacy;
mod rewrap;
mod values;
mod versions;

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, text};

/// Creates a secret with the version `v1`.
async fn create(gateway: &Gateway, name: &str, value: &str) -> Value {
    create_with(gateway, name, value, &[]).await
}

async fn create_with(gateway: &Gateway, name: &str, value: &str, more: &[(&str, &str)]) -> Value {
    let params = [("SecretName", name), ("VersionId", "v1"), ("SecretData", value)];
    gateway.call("CreateSecret", &[&params[..], more].concat()).await
}

async fn put(gateway: &Gateway, name: &str, version: &str, value: &str) -> Value {
    let params = [("SecretName", name), ("VersionId", version), ("SecretData", value)];
    gateway.call("PutSecretValue", &params).await
}

/// The current value.
async fn value(gateway: &Gateway, name: &str) -> String {
    let read = gateway.call("GetSecretValue", &[("SecretName", name)]).await;
    text(&read["SecretData"]).to_owned()
}

/// The versions with their labels, such as `v2 ACSCurrent`, newest first.
async fn versions(gateway: &Gateway, name: &str) -> Vec<String> {
    let params = [("SecretName", name), ("IncludeDeprecated", "true")];
    let listed = gateway.call("ListSecretVersionIds", &params).await;
    assert_eq!(listed["SecretName"], name);
    let show = |version: &Value| {
        let stages = version["VersionStages"]["VersionStage"].as_array().unwrap();
        let words = [&version["VersionId"]].into_iter().chain(stages).map(text);
        words.collect::<Vec<_>>().join(" ")
    };
    listed["VersionIds"]["VersionId"].as_array().unwrap().iter().map(show).collect()
}

/// Status and code of the only entry of BatchGetSecretValue, which must be refused.
async fn batch_error(gateway: &Gateway, name: &str) -> (u16, String) {
    let list = json!([{"SecretName": name}]).to_string();
    let got = gateway.call("BatchGetSecretValue", &[("SecretsList", &list)]).await;
    assert_eq!(got["SecretValues"], json!([]));
    let error = &got["Errors"][0];
    assert_eq!(error["SecretName"], name);
    (error["HttpStatus"].as_u64().unwrap().try_into().unwrap(), text(&error["Code"]).to_owned())
}
