//! Checks the database: the file, its rows, and what they refer to.

use super::system::chain;
use super::{Check, access};
use crate::app;
use crate::authn::{CredentialStore, row_key};
use crate::authz::costly_policies;
use crate::config::{Config, has_notify_url, is_in_clear};
use crate::keyring::store_counter::Counters;
use crate::model::RegionAccount;
use crate::store::{AccessMode, DamagedRow, LockedStore, Schema, Store, StoreError};
use crate::token::Token;

const NAME: &str = "database";
const NEW_OR_LOST: &str = "For a new installation, run hsmgate init. For a lost database, run hsmgate \
                           restore or hsmgate recover.";
const RESTORE: &str = "Stop the gateway and restore a backup with hsmgate restore. Without a backup, run \
                       hsmgate recover.";

/// Checks the file, and opens it if it is usable.
pub(super) async fn open(config: &Config, checks: &mut Vec<Check>) -> Option<LockedStore> {
    let file = Store::file(&config.store_url);
    if file.is_none() {
        return open_server(&config.store_url, checks).await;
    }
    let found = match Store::check(&config.store_url).await {
        Ok(found) => found,
        Err(error) => {
            let remedy = match error {
                StoreError::NoFile(_) => NEW_OR_LOST,
                _ => RESTORE,
            };
            let remedy = access::remedy_or(file.as_deref(), remedy);
            checks.push(Check::failed(NAME, chain(&error), remedy));
            return None;
        }
    };
    if let Some(damage) = found.damage.first() {
        checks.push(Check::failed(NAME, format!("the database is damaged: {damage}"), RESTORE));
        return None;
    }
    let kib = found.bytes >> 10;
    checks.push(match found.tables {
        Schema::Current => Check::ok(NAME, format!("intact, {kib} KiB")),
        Schema::Older => Check::warning(
            NAME,
            "its tables are those of an older version",
            "The next start of the gateway updates them.",
        ),
        Schema::Newer => Check::failed(
            NAME,
            "its tables are those of a newer version",
            "Use the newer version, or restore a backup with hsmgate restore.",
        ),
    });
    if found.mode & 0o077 != 0 {
        checks.push(Check::warning(
            "database file",
            format!("other users may access it: mode {:o}", found.mode),
            "Allow access only to its owner (chmod 600).",
        ));
    }
    if found.tables != Schema::Current {
        return None;
    }
    match LockedStore::open_existing(&config.store_url).await {
        Ok(locked) => Some(locked),
        Err(error) => {
            let remedy = access::remedy_or(file.as_deref(), RESTORE);
            checks.push(Check::failed(ROWS, chain(&error), remedy));
            None
        }
    }
}

/// Opens a PostgreSQL database, whose server checks its own files.
async fn open_server(url: &str, checks: &mut Vec<Check>) -> Option<LockedStore> {
    const START: &str = "Start the database server, and check store.url and the password. For a new \
                         installation, run hsmgate init.";
    const POOLER: &str =
        "Set store.url, store.notify_url and the pooler as docs/postgresql.md#pooler says.";
    let opened = async {
        if Store::needs_migration(url).await? {
            return Ok(None);
        }
        LockedStore::open_existing(url).await.map(Some)
    };
    match opened.await {
        Ok(Some(locked)) => {
            let way = if has_notify_url(url) {
                "PostgreSQL responds: transactions through store.url, sessions through store.notify_url"
            } else {
                "PostgreSQL responds, and keeps sessions"
            };
            checks.push(Check::ok(NAME, way));
            if is_in_clear(url) {
                checks.push(Check::warning(
                    NAME,
                    "passwords and rows cross the network in the clear: store.url or store.notify_url has \
                     sslmode=disable",
                    "Set ssl = on at the server, and take sslmode=disable out of the URL.",
                ));
            }
            Some(locked)
        }
        Ok(None) => {
            checks.push(Check::warning(
                NAME,
                "its tables are those of an older version",
                "The next start of the gateway updates them.",
            ));
            None
        }
        Err(error) => {
            let remedy = match &error {
                StoreError::NoSession { .. }
                | StoreError::OtherDatabase { .. }
                | StoreError::StartupParameter { .. } => POOLER,
                _ => START,
            };
            checks.push(Check::failed(NAME, chain(&error), remedy));
            None
        }
    }
}

const ROWS: &str = "database rows";
const SIGN: &str = "Restore a backup with hsmgate restore. If you trust the present content of the \
                    database, sign it with hsmgate store sign --reason TEXT.";

/// Checks the MACs of the rows with the token.
pub(super) async fn unlock(
    locked: &LockedStore,
    token: &Token,
    config: &Config,
    checks: &mut Vec<Check>,
) -> Option<Store> {
    const NAME: &str = "row signatures";
    let account = &config.region_account.account;
    match row_key::unlock(locked, token, account, AccessMode::ReadOnly).await {
        Ok(store) => {
            checks.push(Check::ok(NAME, "the key of the row signatures is usable"));
            Some(store)
        }
        Err(error) => {
            checks.push(Check::failed(NAME, chain(&error), SIGN));
            None
        }
    }
}

/// Whether the database is older than the token.
pub(super) async fn counter(store: &Store, token: &Token) -> Check {
    const NAME: &str = "age of the database";
    const OLDER: &str = "Put back the newest database. If there is no newer one, accept this one with hsmgate \
                         recover --reason TEXT.";
    let counters = match Counters::read(store, token).await {
        // Without them the database seems to have no counter. The row check names the remedy.
        Ok(_counters) if !store.has_whole_metadata().await.unwrap_or_default() => {
            return Check::not_checked(NAME, "entries of the metadata are missing or older");
        }
        Ok(counters) => counters,
        Err(error) => return Check::not_checked(NAME, &chain(&error)),
    };
    match (counters.check(), counters.token) {
        (Err(error), _) => Check::failed(NAME, error.to_string(), OLDER),
        (Ok(()), Some(number)) => {
            Check::ok(NAME, format!("not older than the token, which has counter {number}"))
        }
        (Ok(()), None) => Check::ok(
            NAME,
            "the token has no counter of the database; the audit shows an older database at a start",
        ),
    }
}

/// The rows that a gateway ignores, as far as the key of their MACs is known.
pub(super) async fn rows(store: &Store, checks: &mut Vec<Check>) {
    let access = match (store.access_state().await, store.operator_events().await) {
        (Ok(state), Ok(_events)) => state.damaged,
        (Err(error), _) | (_, Err(error)) => {
            checks.push(Check::failed(ROWS, chain(&error), RESTORE));
            return;
        }
    };
    let mut damaged = store.damaged_rows();
    damaged.extend(access);
    if damaged.is_empty() {
        checks.push(Check::ok(ROWS, "all can be read"));
    }
    checks.extend(damaged.iter().map(damaged_row));
    checks.push(costly(store).await);
    let unsigned = store.unsigned_revocations();
    if unsigned > 0 {
        checks.push(Check::warning(
            "revocations",
            format!("{unsigned} are in force and not signed yet"),
            "A running gateway signs them within seconds; start it.",
        ));
    }
}

/// Policies that an older version accepted and that can exceed the steps of a decision.
async fn costly(store: &Store) -> Check {
    const NAME: &str = "cost of policies";
    match costly_policies(store).await {
        Ok(costly) if costly.is_empty() => {
            Check::ok(NAME, "no policy exceeds the steps of a decision")
        }
        Ok(costly) => {
            let told = costly.iter().map(|one| format!("{}: {}", one.of, one.fault));
            Check::warning(
                NAME,
                told.collect::<Vec<_>>().join("; "),
                "Replace it with a simpler document: a decision that exceeds its steps is a denial.",
            )
        }
        Err(error) => Check::not_checked(NAME, &chain(&error)),
    }
}

/// Names in access documents that refer to missing documents.
pub(super) fn dangling_references(store: &Store) -> Check {
    const NAME: &str = "access documents";
    let names: Vec<String> = store.dangling_references().iter().map(ToString::to_string).collect();
    if names.is_empty() {
        return Check::ok(NAME, "every referenced document exists");
    }
    Check::warning(
        NAME,
        format!("missing, so that they grant nothing: {}", names.join("; ")),
        "Create the missing document, or remove its name from the document that refers to it. A user \
         who may create a document of that name decides who gets access.",
    )
}

/// AccessKeys whose secret cannot be decrypted, and sessions whose policy is malformed.
pub(super) async fn secrets(store: &Store, token: &Token, checks: &mut Vec<Check>) {
    let known = match store.access_state().await {
        Ok(state) => state.damaged,
        Err(error) => return checks.push(Check::failed(ROWS, chain(&error), RESTORE)),
    };
    match CredentialStore::damaged_rows(store, token).await {
        Ok(damaged) => {
            checks.extend(damaged.iter().filter(|one| !known.contains(one)).map(damaged_row));
        }
        Err(error) => checks.push(Check::not_checked("AccessKey secrets", &chain(&error))),
    }
}

fn damaged_row(row: &DamagedRow) -> Check {
    let DamagedRow { table, row, why } = row;
    let remedy = match *table {
        "access_keys" => {
            "Calls with it are refused. Delete it (hsmgate access-key delete) and create another one."
        }
        "principals" => {
            "It has no permissions. Detach the damaged policy (hsmgate user detach or role detach), or \
             delete it (user delete or role delete) and create it again."
        }
        "documents" => {
            "It grants nothing. Delete it through the API, or a client key with hsmgate client-key \
             delete, and create it again."
        }
        "keys" | "key_versions" => {
            "The key cannot be used, but its aliases still refer to it. Restore a backup of the \
             database (hsmgate restore): the token still has the key."
        }
        "row_digests" => SIGN,
        // Counters of changes. Other metadata is checked where it is used.
        "facts" => "The next change through the gateway or the command line corrects it.",
        _ => RESTORE,
    };
    Check::failed(ROWS, format!("{table} {row:?} is ignored: {why}"), remedy)
}

/// Whether token, region and account are those of the database.
pub(super) async fn binding(store: &Store, token: &Token, region_account: &RegionAccount) -> Check {
    const NAME: &str = "belonging";
    match app::check_binding(store, token, region_account, AccessMode::ReadOnly).await {
        Ok(None) => Check::ok(NAME, "database and token belong together"),
        Ok(Some(before)) => Check::warning(
            NAME,
            format!(
                "the token has the serial number {:?} in place of {before:?}, and the key that \
                 identifies it",
                token.info().serial
            ),
            "If the token is a group of HSMs or was cloned, nothing: the next start records the number.",
        ),
        Err(error) => Check::failed(
            NAME,
            chain(&error),
            "Set token, region and account to those of the database, or use the matching database.",
        ),
    }
}
