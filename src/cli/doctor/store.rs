//! The database.

use super::system::chain;
use super::{Check, access};
use crate::authn::CredentialStore;
use crate::authz::costly_policies;
use crate::config::Config;
use crate::model::RegionAccount;
use crate::store::{AccessMode, DamagedRow, Schema, Store, StoreError};
use crate::token::Token;

const NAME: &str = "database";
const NEW_OR_LOST: &str = "For a new installation, run hsmgate init. For a lost database, run hsmgate \
                           restore or hsmgate recover.";
const RESTORE: &str = "Stop the gateway and put a backup in its place: hsmgate restore. Without one: \
                       hsmgate recover.";

/// Looks at the file, and opens it where that makes sense.
pub(super) async fn open(config: &Config, checks: &mut Vec<Check>) -> Option<Store> {
    let file = Store::file(&config.store_url);
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
        checks.push(Check::failed(NAME, format!("it is damaged: {damage}"), RESTORE));
        return None;
    }
    let kib = found.bytes >> 10;
    checks.push(match found.tables {
        Schema::Current => Check::ok(NAME, format!("whole, {kib} KiB")),
        Schema::Older => Check::warning(
            NAME,
            "its tables are those of an older program",
            "The next start of the gateway brings them up to date.",
        ),
        Schema::Newer => Check::failed(
            NAME,
            "its tables are those of a newer program",
            "Use the newer program, or put a backup in place: hsmgate restore.",
        ),
    });
    if found.mode & 0o077 != 0 {
        checks.push(Check::warning(
            "database file",
            format!("others may use it: mode {:o}", found.mode),
            "Allow its owner alone to use it (chmod 600).",
        ));
    }
    if found.tables != Schema::Current {
        return None;
    }
    match Store::open_existing(&config.store_url).await {
        Ok(store) => {
            rows(&store, checks).await;
            Some(store)
        }
        Err(error) => {
            let remedy = access::remedy_or(file.as_deref(), RESTORE);
            checks.push(Check::failed(ROWS, chain(&error), remedy));
            None
        }
    }
}

const ROWS: &str = "database rows";

/// The rows that a gateway leaves out, each by its name, as far as that can be told without the token.
async fn rows(store: &Store, checks: &mut Vec<Check>) {
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
}

/// Policies that an older program took and that could spend all the steps of a decision.
async fn costly(store: &Store) -> Check {
    const NAME: &str = "cost of policies";
    match costly_policies(store).await {
        Ok(costly) if costly.is_empty() => {
            Check::ok(NAME, "none takes all the steps of a decision")
        }
        Ok(costly) => {
            let told = costly.iter().map(|one| format!("{}: {}", one.of, one.fault));
            Check::warning(
                NAME,
                told.collect::<Vec<_>>().join("; "),
                "Attach a simpler document in its place: a decision that runs out of steps is a \
                 denial.",
            )
        }
        Err(error) => Check::not_checked(NAME, &chain(&error)),
    }
}

/// Names in access documents that no document has.
pub(super) fn dangling_references(store: &Store) -> Check {
    const NAME: &str = "access documents";
    let names: Vec<String> = store.dangling_references().iter().map(ToString::to_string).collect();
    if names.is_empty() {
        return Check::ok(NAME, "every document that another one names is there");
    }
    Check::warning(
        NAME,
        format!("not there, and so letting nobody in: {}", names.join("; ")),
        "Make what is missing, or take its name out of the document that names it. Whoever may make a \
         document of that name decides who gets in.",
    )
}

/// AccessKeys whose secret does not open, and sessions whose policy is none.
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
            "Calls with it are refused. Delete it (hsmgate access-key delete) and make another one."
        }
        "principals" => {
            "It has no rights. Detach the policy that is damaged (hsmgate user detach or role \
             detach), or delete it (user delete or role delete) and make it anew."
        }
        "documents" => {
            "It gives no right. Delete it, through the API or, a client key, with hsmgate client-key \
             delete, and make it anew."
        }
        "keys" | "key_versions" => {
            "The key cannot be used, and its aliases still name it. Replace the database by a backup \
             (hsmgate restore): the token still has the key."
        }
        // Counters of changes. What other facts say is looked at where it is used.
        "facts" => "The next change through the gateway or the command line mends it.",
        _ => RESTORE,
    };
    Check::failed(ROWS, format!("{table} {row:?} is left out: {why}"), remedy)
}

/// Whether token, region and account are those that the database was made with.
pub(super) async fn binding(store: &Store, token: &Token, region_account: &RegionAccount) -> Check {
    const NAME: &str = "belonging";
    match store.check_binding(&token.info().serial, region_account, AccessMode::ReadOnly).await {
        Ok(()) => Check::ok(NAME, "database and token belong together"),
        Err(error) => Check::failed(
            NAME,
            chain(&error),
            "Name the token, region and account that the database is of, or the other database.",
        ),
    }
}
