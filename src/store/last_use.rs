//! SQL for the hours of last use of AccessKeys and key versions. They grant nothing and are not signed.

use std::collections::HashMap;
use std::fmt::Display;

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row as _};

use super::StoreError;
use super::connection::Connection;
use super::error::is_decode_error;
use super::row::Table;
use super::write::Write;
use crate::model::Time;

/// The hours by the id of the row. Those that cannot be read are skipped.
pub(super) async fn read(
    connection: &mut Connection,
    table: &Table,
) -> Result<HashMap<String, Time>, StoreError> {
    let select = format!("SELECT id, last_used FROM {} WHERE last_used IS NOT NULL", table.name);
    let mut uses = HashMap::new();
    let see = |row: Result<AnyRow, sqlx::Error>| {
        let field = row.map(|row| Some((row.try_get(0).ok()?, row.try_get(1).ok()?)));
        match field {
            Ok(field) => uses.extend(field.map(|(id, unix)| (id, Time::from_unix(unix)))),
            Err(error) if is_decode_error(&error) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    };
    connection.each_row(sqlx::query(AssertSqlSafe(select)), see).await?;
    Ok(uses)
}

impl Write {
    /// Stores hours of last use. A later one that is already stored is kept.
    pub(super) async fn save_last_uses<Id: Display>(
        &mut self,
        table: &Table,
        uses: &[(Id, Time)],
    ) -> Result<(), StoreError> {
        let name = table.name;
        let update = format!(
            "UPDATE {name} SET last_used = $2 WHERE id = $1 AND COALESCE(last_used, 0) < $2"
        );
        for (id, hour) in uses {
            let update = sqlx::query(AssertSqlSafe(update.clone()));
            self.execute(update.bind(id.to_string()).bind(hour.unix())).await?;
        }
        Ok(())
    }
}
