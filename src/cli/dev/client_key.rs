//! The client key of a gateway for development, created through the API.

use std::fs;
use std::path::Path;

use super::super::client::{CallError, Client};
use super::super::client_key::files::{Files, ids, password};
use super::super::{private_files, response};
use crate::model::{Time, clock};

/// The name of its access point and of the policy.
const NAME: &str = "hsmgate-dev";
const PERMISSIONS: &str = r#"["RbacPermission/Template/CryptoServiceKeyUser"]"#;
const RESOURCES: &str = r#"["key/*"]"#;
const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

/// The files of the client key in a directory. It is created if none is valid for another day.
///
/// # Errors
/// When the gateway refuses or does not respond, or a file cannot be written.
pub(super) async fn files(client: &Client, directory: &Path) -> anyhow::Result<Files> {
    private_files::create_directory(directory)?;
    for id in ids(directory)? {
        let files = Files::of(directory, &id);
        if files.password.is_file() && is_valid_for_a_day(client, &id).await? {
            return Ok(files);
        }
        let _ = fs::remove_file(&files.password);
        fs::remove_file(&files.key)?;
    }
    made(client, directory).await
}

/// Whether the gateway accepts the client key for at least another day.
async fn is_valid_for_a_day(client: &Client, id: &str) -> anyhow::Result<bool> {
    match client.call("GetClientKey", &[("ClientKeyId", id)]).await {
        Ok(key) => {
            let not_after: Time = response::text(&key, &["NotAfter"])?.parse()?;
            Ok(not_after > clock::now().plus_seconds(SECONDS_PER_DAY))
        }
        Err(CallError::Refused { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn made(client: &Client, directory: &Path) -> anyhow::Result<Files> {
    let policy = [("Name", NAME), ("Permissions", PERMISSIONS), ("Resources", RESOURCES)];
    ensure(client, "CreatePolicy", &policy).await?;
    let policies = format!("[\"{NAME}\"]");
    let point = [("Name", NAME), ("Policies", policies.as_str())];
    ensure(client, "CreateApplicationAccessPoint", &point).await?;
    let password = password()?;
    let made = [("AapName", NAME), ("Password", password.as_str())];
    let made = client.call("CreateClientKey", &made).await?;
    let id = response::text(&made, &["ClientKeyId"])?;
    let files = Files::of(directory, id);
    files.write(id, response::text(&made, &["PrivateKeyData"])?, &password)?;
    Ok(files)
}

/// Creates a document. An existing one stays, because its owner may have changed it.
async fn ensure(client: &Client, action: &str, params: &[(&str, &str)]) -> Result<(), CallError> {
    match client.call(action, params).await {
        Err(CallError::Refused { code, .. }) if code == "Rejected.ResourceExist" => Ok(()),
        answer => answer.map(drop),
    }
}
