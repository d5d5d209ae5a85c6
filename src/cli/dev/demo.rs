//! The demo key and its first use, through the API.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::super::client::{CallError, Client};
use super::super::response;
use crate::error::ErrorCode;

/// The alias of the demo key.
pub(super) const ALIAS: &str = "alias/demo";
/// The plaintext of the first use.
pub(super) const MESSAGE: &str = "Hello, HSM!";

/// Attempts of the first call. In total they take longer than a second.
const FIRST_TRIES: u32 = 15;
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// The result of the first Encrypt and Decrypt.
#[derive(Debug)]
pub(super) enum FirstUse {
    /// The ciphertext blob and the decrypted text.
    Done { blob: String, decrypted: String },
    /// The state of the key does not allow it, because its owner has changed it: this is no error.
    Refused(String),
}

/// The id of the demo key, which is created if it does not exist.
///
/// # Errors
/// When the gateway refuses or does not respond.
pub(super) async fn key(client: &Client) -> anyhow::Result<String> {
    let answer = match first_call(client).await {
        Err(CallError::Refused { code, .. }) if code == "Forbidden.AliasNotFound" => {
            let made =
                client.call("CreateKey", &[("Description", "Created by hsmgate dev")]).await?;
            let key_id = response::text(&made, &["KeyMetadata", "KeyId"])?;
            client.call("CreateAlias", &[("AliasName", ALIAS), ("KeyId", key_id)]).await?;
            made
        }
        answer => answer?,
    };
    Ok(response::text(&answer, &["KeyMetadata", "KeyId"])?.to_owned())
}

/// The first call. A gateway that starts without a journal of used nonces accepts only requests dated
/// after its start.
async fn first_call(client: &Client) -> Result<Value, CallError> {
    let mut tries = 0;
    loop {
        match client.call("DescribeKey", &[("KeyId", ALIAS)]).await {
            Err(CallError::Refused { code, .. })
                if code == ErrorCode::InvalidTimeStampExpired.as_str() && tries < FIRST_TRIES =>
            {
                tries += 1;
                tokio::time::sleep(BETWEEN_TRIES).await;
            }
            answer => return answer,
        }
    }
}

/// Encrypts and decrypts a message with the demo key.
///
/// # Errors
/// When the gateway does not respond, or refuses for another reason than the state of the key.
pub(super) async fn first_use(client: &Client) -> anyhow::Result<FirstUse> {
    match round_trip(client).await {
        Ok((blob, decrypted)) => Ok(FirstUse::Done { blob, decrypted }),
        Err(error) => match error.downcast_ref::<CallError>() {
            Some(CallError::Refused { code, .. }) if code.starts_with("Rejected.") => {
                Ok(FirstUse::Refused(code.clone()))
            }
            _ => Err(error),
        },
    }
}

async fn round_trip(client: &Client) -> anyhow::Result<(String, String)> {
    let plaintext = STANDARD.encode(MESSAGE);
    let answer = client.call("Encrypt", &[("KeyId", ALIAS), ("Plaintext", &plaintext)]).await?;
    let blob = response::text(&answer, &["CiphertextBlob"])?.to_owned();
    let answer = client.call("Decrypt", &[("CiphertextBlob", &blob)]).await?;
    let decrypted = STANDARD.decode(response::text(&answer, &["Plaintext"])?)?;
    anyhow::ensure!(decrypted == MESSAGE.as_bytes(), "Decrypt returned another text");
    Ok((blob, String::from_utf8_lossy(&decrypted).into_owned()))
}
