//! The database.

use super::Check;
use super::system::chain;
use crate::app;
use crate::config::Config;
use crate::model::Place;
use crate::store::{Store, StoreError, Tables};
use crate::token::Token;

const NAME: &str = "database";
const RESTORE: &str = "Stop the gateway and put a backup in its place: hsmgate restore. Without one: \
                       hsmgate recover.";

/// Looks at the file, and opens it where that makes sense.
pub(super) async fn open(config: &Config, checks: &mut Vec<Check>) -> Option<Store> {
    let found = match Store::examine(&config.store_url).await {
        Ok(found) => found,
        Err(error) => {
            let remedy = match error {
                StoreError::NoFile(_) => {
                    "A new installation: hsmgate init. A lost database: hsmgate restore, or \
                     hsmgate recover."
                }
                _ => RESTORE,
            };
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
        Tables::Current => Check::ok(NAME, format!("whole, {kib} KiB")),
        Tables::Older => Check::warning(
            NAME,
            "its tables are those of an older program",
            "The next start of the gateway brings them up to date.",
        ),
        Tables::Newer => Check::failed(
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
    if found.tables != Tables::Current {
        return None;
    }
    match Store::open_existing(&config.store_url).await {
        Ok(store) => Some(store),
        Err(error) => {
            checks.push(Check::failed("database rows", chain(&error), RESTORE));
            None
        }
    }
}

/// Whether token, region and account are those that the database was made with.
pub(super) async fn belonging(store: &Store, token: &Token, place: &Place) -> Check {
    const NAME: &str = "belonging";
    match app::check_belonging(store, token, place, app::Purpose::Look).await {
        Ok(()) => Check::ok(NAME, "database and token belong together"),
        Err(error) => Check::failed(
            NAME,
            chain(&error),
            "Name the token, region and account that the database is of, or the other database.",
        ),
    }
}
