//! `hsmgate client-key create`.

use std::fmt::Write as _;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::client_file::write_private_file;
use super::connection::{Connection, Remote};
use super::{answer, output};
use crate::model::{AccessName, ClientKeyPassword, Time};

const SECONDS_OF_A_DAY: i64 = 24 * 60 * 60;
/// Ten years, beyond which a key outlives whoever made it.
const MAX_DAYS: i64 = 3650;

#[derive(Debug, Subcommand)]
pub(super) enum ClientKey {
    /// Make a client key for an application that uses a KMS instance SDK
    Create(Create),
}

/// Makes a client key and writes the two files that the KMS instance SDKs take:
/// clientKey_<id>.json and its password.
#[derive(Debug, Args)]
pub(super) struct Create {
    /// The access point; it is made if policies are given
    #[arg(long)]
    name: AccessName,
    /// A policy of the new access point (up to three); without any the access point must be there
    #[arg(long, value_name = "NAME")]
    policy: Vec<AccessName>,
    /// How long the client key is valid [default: five years]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=MAX_DAYS))]
    days: Option<i64>,
    /// The directory for the files; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Print id and files as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

impl ClientKey {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => create.run(),
        }
    }
}

impl Create {
    fn run(self) -> anyhow::Result<()> {
        let remote = self.connection.open()?;
        // Before anything is made that could not be written down.
        make_directory(&self.out)?;
        if !self.policy.is_empty() {
            make_access_point(&remote, &self.name, &self.policy)?;
        }
        let password = password()?;
        let made = make_client_key(&remote, &self.name, &password, self.days)?;
        let id = answer::text(&made, &["ClientKeyId"])?;
        let files = write_files(&self.out, id, &made, &password)?;
        show(id, &made, &files, self.json)
    }
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
    let now = Time::now();
    let validity =
        days.map(|days| (now.to_string(), now.plus_seconds(days * SECONDS_OF_A_DAY).to_string()));
    let mut params = vec![("AapName", name.as_str()), ("Password", password)];
    if let Some((not_before, not_after)) = &validity {
        params.extend([("NotBefore", not_before.as_str()), ("NotAfter", not_after)]);
    }
    Ok(remote.call("CreateClientKey", &params)?)
}

/// 128 random bits as 32 hex digits, as the real service gives them out. They protect the key:
/// the cipher of the container is too old to.
fn password() -> anyhow::Result<Zeroizing<String>> {
    loop {
        let mut random = Zeroizing::new([0; 16]);
        aws_lc_rs::rand::fill(&mut *random).context("no random bytes")?;
        let mut text = Zeroizing::new(String::with_capacity(32));
        for byte in *random {
            write!(text, "{byte:02x}")?;
        }
        // Once in three million times there is no letter in it.
        if text.parse::<ClientKeyPassword>().is_ok() {
            return Ok(text);
        }
    }
}

fn make_directory(directory: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("cannot make {}", directory.display()))
}

/// The client key's file and that of its password.
struct Files {
    key: PathBuf,
    password: PathBuf,
}

fn write_files(directory: &Path, id: &str, made: &Value, password: &str) -> anyhow::Result<Files> {
    let files = Files {
        key: directory.join(format!("clientKey_{id}.json")),
        password: directory.join(format!("clientKey_{id}_Password.txt")),
    };
    let key = json!({"KeyId": id, "PrivateKeyData": answer::text(made, &["PrivateKeyData"])?});
    // No newline behind the password: programs hand the file's text on as it is.
    for (path, text) in [(&files.key, key.to_string().as_str()), (&files.password, password)] {
        write_private_file(path, text.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(files)
}

fn show(id: &str, made: &Value, files: &Files, as_json: bool) -> anyhow::Result<()> {
    let not_after = answer::text(made, &["NotAfter"])?;
    if as_json {
        return Ok(output::json(&json!({
            "client_key_id": id,
            "not_after": not_after,
            "client_key_file": files.key,
            "client_key_password_file": files.password,
        }))?);
    }
    Ok(output::columns(&[
        ("ClientKeyId", id.to_owned()),
        ("Valid until", not_after.to_owned()),
        ("Client key", files.key.display().to_string()),
        ("Password", files.password.display().to_string()),
    ])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_password_is_another_and_long_enough() {
        let (one, other) = (password().unwrap(), password().unwrap());
        assert_eq!(one.len(), 32);
        assert_ne!(one, other);
    }
}
