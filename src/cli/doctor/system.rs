//! Checks files, disks, certificate and clock.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Check, access};
use crate::cli::open_files;
use crate::config::{Config, TokenConfig};
use crate::jobs::HOLD_LEFT;
use crate::model::clock;
use crate::server::tls::ServerCertificate;
use crate::store::Store;

/// Less free space than this is not enough for a day.
const LOW_SPACE_BYTES: u64 = 1 << 30;
/// With less free space than this, writing records will fail soon.
const MIN_SPACE_BYTES: u64 = 64 << 20;
/// A certificate with fewer days left should be replaced.
const EXPIRY_WARNING_DAYS: f64 = 14.0;
/// The start of every audit record.
const AUDIT_START: &[u8] = b"{\"sequence\":";
/// Maximum time by which an entry of the database may be ahead of the clock.
const TOLERANCE_SECONDS: i64 = 5;

/// Checks the PIN file, the free space, the audit file and the limit of open files.
pub(super) fn files(config: &Config) -> Vec<Check> {
    let mut checks: Vec<_> = config.token.iter().map(pin_file).collect();
    for (name, path) in [
        ("disk of the database", Store::file(&config.store_url)),
        ("disk of the state", Some(config.state_directory.clone())),
        ("disk of the audit", Some(config.audit.file.clone())),
    ] {
        checks.extend(path.map(|path| room(name, path)));
    }
    checks.push(audit(&config.audit.file, &config.state_directory));
    checks.push(open_files(config.limits.connections));
    checks
}

fn pin_file(token: &TokenConfig) -> Check {
    match token.pin.read() {
        Ok(_pin) => Check::ok("PIN file", "it exists, and no other user can read it"),
        Err(error) => Check::failed(
            "PIN file",
            error.to_string(),
            access::remedy_or(
                token.pin.file().as_deref(),
                "Write the user PIN to this file, and make it readable only by its owner (chmod 600).",
            ),
        ),
    }
}

/// Whether the limit of open files allows the configured connections. A service may have another limit
/// than the shell.
fn open_files(connections: usize) -> Check {
    const NAME: &str = "open files";
    const REMEDY: &str = "Raise the hard limit of whatever starts the gateway (LimitNOFILE=, \
                          ulimit -Hn), or lower limits.connections.";
    let (allowed, needed) = (open_files::allowed(), open_files::needed(connections));
    let found = match allowed {
        None => format!("no limit; {needed} are needed"),
        Some(allowed) => format!("{allowed} are allowed for this process; {needed} are needed"),
    };
    match open_files::max_connections(connections, allowed) {
        Some(max_connections) if max_connections == connections => Check::ok(NAME, found),
        Some(max_connections) => {
            let cut = format!("{found}: limits.connections is reduced to {max_connections}");
            Check::warning(NAME, cut, REMEDY)
        }
        None => Check::failed(NAME, found, REMEDY),
    }
}

/// Whether the gateway can continue its audit file: a file of records that it may write.
fn audit(file: &Path, state_directory: &Path) -> Check {
    const NAME: &str = "audit file";
    const ACCESS: &str =
        "Allow the user of the gateway to read and write the file and its directory.";
    let looked = || -> io::Result<_> {
        let found = std::fs::metadata(file)?;
        if !found.is_file() {
            return Ok((found, Vec::new()));
        }
        let mut opened = File::options().read(true).append(true).open(file)?;
        let mut start = vec![0; AUDIT_START.len()];
        let length = opened.read(&mut start)?;
        start.truncate(length);
        Ok((found, start))
    };
    let (found, start) = match looked() {
        Ok(looked) => looked,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Check::ok(NAME, "it does not exist yet; the next start creates it");
        }
        Err(error) => {
            let remedy = access::remedy_or(Some(file), ACCESS);
            return Check::failed(NAME, error.to_string(), remedy);
        }
    };
    let owner = std::fs::metadata(state_directory).map(|directory| directory.uid());
    if !found.is_file() || !AUDIT_START.starts_with(&start) {
        let other = "it is not a file of audit records";
        Check::failed(NAME, other, "Set audit.file to another file.")
    } else if owner.is_ok_and(|owner| owner != found.uid()) {
        Check::failed(NAME, "it belongs to another user than the state directory", ACCESS)
    } else if found.mode() & 0o007 != 0 {
        let open = format!("other users may access it: mode {:o}", found.mode() & 0o777);
        Check::warning(NAME, open, "Allow access only to its owner (chmod 600).")
    } else {
        Check::ok(NAME, format!("{} bytes", found.len()))
    }
}

/// The free space at the path, or at its first existing parent.
fn room(name: &str, mut path: PathBuf) -> Check {
    while !path.exists() {
        if !path.pop() {
            return Check::failed(name, "the directory does not exist", "Create the directory.");
        }
    }
    let free = match rustix::fs::statvfs(&path) {
        Ok(found) => found.f_bavail.saturating_mul(found.f_frsize),
        Err(error) => {
            let remedy =
                access::remedy_or(Some(&path), "Allow the user of the gateway to read it.");
            return Check::failed(name, error.to_string(), remedy);
        }
    };
    let found = format!("{} MiB free", free >> 20);
    if free < MIN_SPACE_BYTES {
        Check::failed(name, found, "Free space: operations that cannot be recorded are refused.")
    } else if free < LOW_SPACE_BYTES {
        Check::warning(name, found, "Free space before it runs out.")
    } else {
        Check::ok(name, found)
    }
}

/// The certificate of the gateway, if it has one.
pub(super) fn certificate(config: &Config) -> Option<Check> {
    const NAME: &str = "certificate";
    const REMEDY: &str = "Replace the certificate; a running gateway reloads it automatically.";
    let files = config.tls.clone()?.files;
    let denied = [&files.certificate, &files.key].map(|file| access::remedy_to_read(file));
    Some(match ServerCertificate::open(files) {
        Err(error) => {
            let remedy = denied.into_iter().flatten().next();
            Check::failed(NAME, chain(&error), remedy.unwrap_or_else(|| REMEDY.to_owned()))
        }
        Ok(certificate) => {
            let days = certificate.days_left(clock::now());
            let found = format!("valid for {days:.1} days");
            if days <= 0.0 {
                Check::failed(NAME, "it has expired", REMEDY)
            } else if days < EXPIRY_WARNING_DAYS {
                Check::warning(NAME, found, REMEDY)
            } else {
                Check::ok(NAME, found)
            }
        }
    })
}

/// The clock must not be behind the entries of the database.
pub(super) async fn clock(store: Option<&Store>) -> Check {
    const NAME: &str = "clock";
    let Some(store) = store else { return Check::not_checked(NAME, "requires the database") };
    let now = clock::now();
    match store.newest_time().await {
        Ok(Some(newest)) if newest.unix() > now.unix().saturating_add(TOLERANCE_SECONDS) => {
            Check::failed(
                NAME,
                format!("it is {now}, and the database has an entry of {newest}"),
                "Set the clock: signatures, deletions and rotations depend on it.",
            )
        }
        Ok(_) => destruction_hold(store).await.unwrap_or_else(|| Check::ok(NAME, now.to_string())),
        Err(error) => Check::not_checked(NAME, &error.to_string()),
    }
}

/// Whether due destructions are held because the clock has jumped.
async fn destruction_hold(store: &Store) -> Option<Check> {
    let left: u64 = store.metadata(HOLD_LEFT).await.ok()??.parse().ok()?;
    (left > 0).then(|| {
        Check::warning(
            "clock",
            format!(
                "it has jumped: due destructions are held for {} more minutes of a gateway's running \
                 time",
                left.div_ceil(60)
            ),
            "Correct the clock if it is wrong, and cancel unwanted deletions (CancelKeyDeletion).",
        )
    })
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
