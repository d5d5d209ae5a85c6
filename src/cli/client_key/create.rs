//! `hsmgate client-key create`: creates a client key and its files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::super::access_document::{ACCESS_POLICY, RESOURCE_NOT_FOUND};
use super::super::client::CallError;
use super::super::connection::{Connection, Remote};
use super::super::exit::CliError;
use super::super::{output, private_files, response};
use super::MAX_DAYS;
use super::files::{Files, password};
use crate::model::{AccessName, clock};

const SECONDS_PER_DAY: i64 = 24 * 60 * 60;
/// The name of the CA file, as in the files of the real service.
const CA_FILE: &str = "PrivateKmsCA.pem";

/// Creates a client key and writes the files that the KMS instance SDKs read: clientKey_<id>.json, its
/// password and, if known, the CA of the gateway.
#[derive(Debug, Args)]
pub(in super::super) struct Create {
    /// The access point; it is created if policies are given
    #[arg(long)]
    name: AccessName,
    /// A policy of the new access point (up to three); without policies the access point must exist
    #[arg(long, value_name = "NAME")]
    policy: Vec<AccessName>,
    /// How long the client key is valid [default: five years]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=MAX_DAYS))]
    days: Option<i64>,
    /// The directory for the files; it is created if it does not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Print id and files as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Create {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let remote = self.connection.open()?;
        // Before anything is created whose files could not be written.
        private_files::create_directory(&self.out)?;
        let ca_file = remote.ca_file().map(|ca| copy_ca(ca, &self.out)).transpose()?;
        if !self.policy.is_empty() {
            ACCESS_POLICY.require(&remote, &self.policy)?;
            make_access_point(&remote, &self.name, &self.policy)?;
        }
        let password = password()?;
        let made = make_client_key(&remote, &self.name, &password, self.days)?;
        let id = response::text(&made, &["ClientKeyId"])?;
        let files = Files::of(&self.out, id);
        files.write(id, response::text(&made, &["PrivateKeyData"])?, &password)?;
        show(id, &made, &files, ca_file.as_deref(), self.json)
    }
}

fn copy_ca(ca: &Path, directory: &Path) -> anyhow::Result<PathBuf> {
    let path = directory.join(CA_FILE);
    let pem = fs::read(ca).with_context(|| format!("cannot read {}", ca.display()))?;
    private_files::write(&path, &pem)?;
    Ok(path)
}

fn make_access_point(
    remote: &Remote,
    name: &AccessName,
    policies: &[AccessName],
) -> anyhow::Result<()> {
    let policies = serde_json::to_string(policies)?;
    let params = [("Name", name.as_str()), ("Policies", &policies)];
    remote.call("CreateApplicationAccessPoint", &params)?;
    Ok(())
}

fn make_client_key(
    remote: &Remote,
    name: &AccessName,
    password: &str,
    days: Option<i64>,
) -> anyhow::Result<Value> {
    let now = clock::now();
    let validity =
        days.map(|days| (now.to_string(), now.plus_seconds(days * SECONDS_PER_DAY).to_string()));
    let mut params = vec![("AapName", name.as_str()), ("Password", password)];
    if let Some((not_before, not_after)) = &validity {
        params.extend([("NotBefore", not_before.as_str()), ("NotAfter", not_after)]);
    }
    remote.call("CreateClientKey", &params).map_err(|error| {
        match error {
        CallError::Refused { code, .. } if code == RESOURCE_NOT_FOUND => CliError::NotFound(format!(
            "the access point {name} does not exist: create it with `hsmgate access-point create`"
        ))
        .into(),
        error => error.into(),
    }
    })
}

fn show(
    id: &str,
    made: &Value,
    files: &Files,
    ca_file: Option<&Path>,
    as_json: bool,
) -> anyhow::Result<()> {
    let not_after = response::text(made, &["NotAfter"])?;
    if as_json {
        return Ok(output::json(&json!({
            "client_key_id": id,
            "not_after": not_after,
            "client_key_file": files.key.display().to_string(),
            "client_key_password_file": files.password.display().to_string(),
            "ca_file": ca_file.map(|path| path.display().to_string()),
        }))?);
    }
    let mut rows = vec![
        ("ClientKeyId", id.to_owned()),
        ("Valid until", not_after.to_owned()),
        ("Client key", files.key.display().to_string()),
        ("Password", files.password.display().to_string()),
    ];
    rows.extend(ca_file.map(|path| ("CA", path.display().to_string())));
    Ok(output::columns(&rows)?)
}
