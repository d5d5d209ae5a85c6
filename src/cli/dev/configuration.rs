//! The configuration that a gateway for development has, as a file: for the commands that take one,
//! `hsmgate doctor` above all.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use super::TOKEN_LABEL;
use super::directory::DevDirectory;
use crate::app::Settings;

const HEAD: &str = "\
# Written by hsmgate dev at each of its starts, for commands that take a configuration. They find the
# token with SOFTHSM2_CONF set to the softhsm2.conf beside this file.
";

#[derive(Serialize)]
struct Document<'a> {
    listen: Listen,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<Tls<'a>>,
    admin: Listen,
    service: Service<'a>,
    token: Token<'a>,
    store: Store<'a>,
    limits: Limits,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit: Option<AuditTable<'a>>,
}

#[derive(Serialize)]
struct Listen {
    address: SocketAddr,
}

#[derive(Serialize)]
struct Tls<'a> {
    certificate: &'a Path,
    key: &'a Path,
}

#[derive(Serialize)]
struct Service<'a> {
    region: &'a str,
    account: &'a str,
}

#[derive(Serialize)]
struct Token<'a> {
    module: &'a Path,
    label: &'a str,
    pin_file: &'a Path,
}

#[derive(Serialize)]
struct Store<'a> {
    url: &'a str,
    state_directory: &'a Path,
}

#[derive(Serialize)]
struct Limits {
    calls_per_second: u32,
}

#[derive(Serialize)]
struct AuditTable<'a> {
    file: &'a Path,
}

/// The file's text, for a gateway on these addresses.
///
/// # Errors
/// When a path is no text.
pub(super) fn text(
    dev_directory: &DevDirectory,
    settings: &Settings,
    api: SocketAddr,
    admin: SocketAddr,
) -> anyhow::Result<String> {
    let region_account = &settings.region_account;
    let (region, account) = (region_account.region.to_string(), region_account.account.to_string());
    let module = settings.token.module.canonicalize().context("cannot find the module")?;
    let audit_file = settings.audit.as_ref().map(|audit| std::path::absolute(&audit.file));
    let audit_file = audit_file.transpose().context("cannot find the audit")?;
    let document = Document {
        listen: Listen { address: api },
        tls: settings
            .tls
            .as_ref()
            .map(|files| Tls { certificate: &files.certificate, key: &files.key }),
        admin: Listen { address: admin },
        service: Service { region: &region, account: &account },
        token: Token { module: &module, label: TOKEN_LABEL, pin_file: &dev_directory.pin_path() },
        store: Store { url: &settings.store_url, state_directory: dev_directory.directory() },
        limits: Limits {
            calls_per_second: settings.limits.call_rates.per_account.map_or(0, NonZeroU32::get),
        },
        audit: audit_file.as_deref().map(|file| AuditTable { file }),
    };
    Ok(format!("{HEAD}\n{}", toml::to_string(&document).context("cannot write hsmgate.toml")?))
}
