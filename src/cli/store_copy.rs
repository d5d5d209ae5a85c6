//! `hsmgate store copy`: copies the database to another one, which may be of the other kind.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use tokio::runtime::Runtime;

use super::exit::CliError;
use super::operator::require_duty;
use super::output::{self, Progress};
use super::settings::{self, ConfigAndReason};
use crate::app;
use crate::authn::row_key;
use crate::config::{Config, Duty, store_url};
use crate::model::AccountId;
use crate::store::{
    AccessMode, CompleteCopy, CopiedRows, DamagedRow, LockedStore, Store, StoreCopy,
};
use crate::token::Token;

/// Copies the database to an empty one, row by row with the signatures, and compares every row. The original is
/// not changed. No gateway may be running. After an interruption, run it again: it continues. Set store.url
/// afterwards
#[derive(Debug, Args)]
pub(super) struct Copy {
    #[command(flatten)]
    common: ConfigAndReason,
    /// The database that is copied, as in store.url: sqlite:///FILE or postgres://ROLE@HOST/DATABASE
    #[arg(long, value_name = "URL")]
    from: String,
    /// The database that gets the copy
    #[arg(long, value_name = "URL")]
    to: String,
    /// A file with the password of the role of --from
    #[arg(long, value_name = "FILE")]
    from_password_file: Option<PathBuf>,
    /// A file with the password of the role of --to
    #[arg(long, value_name = "FILE")]
    to_password_file: Option<PathBuf>,
    /// Show what would be copied, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

impl Copy {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.common.file.load()?;
        require_duty(&config, Duty::Restore, "store copy")?;
        let tables = Runtime::new()?.block_on(self.copy(config))?;
        self.show(&tables)
    }

    async fn copy(&self, config: Config) -> anyhow::Result<Vec<CopiedRows>> {
        let url = |option: &str, text: &str, password: &Option<PathBuf>| {
            let url = store_url(text, password.as_deref());
            url.map_err(|fault| CliError::usage(format!("{option} {fault}")))
        };
        let from = url("--from", &self.from, &self.from_password_file)?;
        let to = url("--to", &self.to, &self.to_password_file)?;
        for url in [&from, &to] {
            settings::check_database_permissions(url)?;
        }
        let copy = StoreCopy::prepare(&from, &to).await?;
        copy.original().unchecked().check_region_account(&config.region_account).await?;
        if self.dry_run {
            return Ok(copy.plan().await?);
        }
        let token = settings::token_settings(config.token, &config.state_directory)?;
        let token = app::open_token_alone(token).await?;
        let outcome = self.run_copy(copy, &token, &config.region_account.account).await;
        app::close_token(token).await;
        outcome
    }

    async fn run_copy(
        &self,
        copy: StoreCopy,
        token: &Token,
        account: &AccountId,
    ) -> anyhow::Result<Vec<CopiedRows>> {
        check_rows(copy.original(), token, account)
            .await
            .context("the original cannot be copied")?;
        let mut progress = Progress::of("rows");
        let complete = copy.run(|done, remaining| progress.show(done, remaining)).await;
        progress.end();
        let complete = complete.context("the copy is not finished; run the command again")?;
        let released = self.release(&complete, token, account).await;
        let tables = complete.tables.clone();
        complete.close().await;
        released.map(|()| tables)
    }

    async fn release(
        &self,
        complete: &CompleteCopy,
        token: &Token,
        account: &AccountId,
    ) -> anyhow::Result<()> {
        let checked = check_rows(complete.copy(), token, account).await;
        let copy = checked.context("the copy is not served")?;
        copy.set_operator(settings::operator());
        let reason = self.common.reason.as_ref();
        let reason = reason.map(|reason| ("Reason", reason.to_string()));
        Ok(complete.release(&copy, reason.into_iter().collect()).await?)
    }

    fn show(&self, tables: &[CopiedRows]) -> anyhow::Result<()> {
        if self.json {
            let tables: Vec<_> = tables.iter().map(in_json).collect();
            output::json(&json!({"is_dry_run": self.dry_run, "tables": tables}))?;
            return Ok(());
        }
        let rows: Vec<_> = tables.iter().map(in_words).collect();
        output::table(["TABLE", "ROWS", "COPIED", "VERIFIED"], &rows)?;
        let note = if self.dry_run {
            "Nothing was changed."
        } else {
            "The copy is complete. Set store.url to it, and start no gateway on the original."
        };
        output::print_note(note);
        Ok(())
    }
}

/// Checks all signatures of a store. One with damaged rows is not copied.
async fn check_rows(
    locked: &LockedStore,
    token: &Token,
    account: &AccountId,
) -> anyhow::Result<Store> {
    let store = row_key::unlock(locked, token, account, AccessMode::ReadOnly).await?;
    let access = store.access_state().await?.damaged;
    if let Some(DamagedRow { table, row, why }) =
        store.damaged_rows().into_iter().chain(access).next()
    {
        return Err(CliError::WrongState(format!(
            "{table} {row:?}: {why}; repair the database first: hsmgate doctor names its damaged rows"
        ))
        .into());
    }
    Ok(store)
}

fn in_json(rows: &CopiedRows) -> serde_json::Value {
    json!({
        "table": rows.table,
        "rows": rows.rows,
        "copied": rows.copied,
        "verified": rows.verified,
    })
}

fn in_words(rows: &CopiedRows) -> [String; 4] {
    let CopiedRows { table, rows, copied, verified } = rows;
    [(*table).to_owned(), rows.to_string(), copied.to_string(), verified.to_string()]
}
