//! `hsmgate store sign`: signs the rows of the database as they are; and the other commands on a store.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::operator::require_duty;
use super::output;
use super::reason::Reason;
use super::settings::{self, ConfigFile};
use super::store_copy;
use crate::app;
use crate::authn::row_key;
use crate::config::{Config, Duty};
use crate::keyring::store_counter;
use crate::model::AccountId;
use crate::store::{LockedStore, SignedRows};
use crate::token::Token;

#[derive(Debug, Subcommand)]
pub(super) enum Store {
    /// Sign all rows of the database as they are
    Sign(Sign),
    /// Copy the database to another one, from SQLite to PostgreSQL or back
    Copy(store_copy::Copy),
}

/// Signs all rows of the database as they are, whoever wrote them. Use it once for the database of a version
/// that did not sign rows, and after a change from outside that you trust: it is recorded in the audit with
/// the reason. Check principals, AccessKeys, access points and client keys first
#[derive(Debug, Args)]
pub(super) struct Sign {
    #[command(flatten)]
    file: ConfigFile,
    /// Why the present content is trusted, for the audit
    #[arg(long, value_name = "TEXT")]
    reason: Reason,
    /// Print a JSON array
    #[arg(long)]
    json: bool,
}

impl Store {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Sign(sign) => sign.run(),
            Self::Copy(copy) => copy.run(),
        }
    }
}

impl Sign {
    fn run(&self) -> anyhow::Result<()> {
        let config = self.file.load()?;
        require_duty(&config, Duty::Restore, "store sign")?;
        let signed = Runtime::new()?.block_on(self.sign(config))?;
        output::list(&signed, self.json, in_json, |one| (one.table.to_owned(), in_words(one)))?;
        Ok(())
    }

    async fn sign(&self, config: Config) -> anyhow::Result<Vec<SignedRows>> {
        settings::check_store_permissions(&config)?;
        let token = settings::token_settings(config.token, &config.state_directory)?;
        let locked = LockedStore::open(&config.store_url).await?;
        // The account is part of each signature.
        locked.unchecked().check_region_account(&config.region_account).await?;
        let token = app::open_token_alone(token).await?;
        locked.unchecked().set_operator(settings::operator());
        let account = &config.region_account.account;
        let rotate_at = config.keyring.iv_budget.rotate_at;
        let outcome = self.sign_rows(&locked, &token, account, rotate_at).await;
        app::close_token(token).await;
        locked.close().await;
        outcome
    }

    /// Signs the rows. The operator trusts them, so they also are not older than the token.
    async fn sign_rows(
        &self,
        locked: &LockedStore,
        token: &Token,
        account: &AccountId,
        rotate_at: u64,
    ) -> anyhow::Result<Vec<SignedRows>> {
        let (store, signed) = row_key::sign(locked, token, account, self.reason.as_str()).await?;
        store_counter::accept(&store, token, rotate_at).await?;
        Ok(signed)
    }
}

fn in_json(signed: &SignedRows) -> Value {
    json!({
        "table": signed.table,
        "rows": signed.rows,
        "changed": signed.changed,
        "unreadable": signed.unreadable,
    })
}

fn in_words(signed: &SignedRows) -> String {
    let SignedRows { rows, changed, unreadable, .. } = signed;
    let unreadable = match unreadable {
        0 => String::new(),
        count => format!(", {count} cannot be read and stay unsigned"),
    };
    format!("{rows} rows, {changed} had no valid signature{unreadable}")
}
