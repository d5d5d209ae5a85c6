//! Queue of changes made by operators on the command line, until the gateway has audited them.
//!
//! The command line is a separate process, and the audit log has one writer. Therefore the
//! transaction of a change also stores the event: neither exists without the other.

use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;

use super::row::Table;
use super::write::Write;
use super::{Part, Store, StoreError};
use crate::model::{RequestId, clock};

/// A change made by an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorEvent {
    /// The event id.
    pub id: String,
    /// The action.
    pub name: String,
    /// The operator's system account.
    pub operator: String,
    /// The time, in seconds since 1970.
    pub time: i64,
    /// The parameters. They contain no secret.
    pub parameters: Vec<(String, String)>,
}

const EVENTS: Table = Table { name: "operator_events", columns: "number, body" };

impl Store {
    /// Marks later changes of principals, AccessKeys and aliases as made by this operator, to be
    /// audited. Only the first call has an effect.
    pub fn set_operator(&self, operator: String) {
        // A process has one operator.
        let _ = self.inner.operator.set(operator);
    }

    /// The changes that are not audited yet, oldest first, each with its number. Unreadable events
    /// are skipped and stay in the table.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn operator_events(&self) -> Result<Vec<(i64, OperatorEvent)>, StoreError> {
        let read = |row: &AnyRow| -> Result<_, StoreError> {
            let fields = EVENTS.fields(row);
            Ok((fields.get("number")?, fields.json("body")?))
        };
        let mut connection = self.inner.connection().await?;
        let read = EVENTS.read_all(&mut connection, "ORDER BY number LIMIT 1000", read).await?;
        self.note_damaged(Part::OperatorEvents, read.damaged);
        Ok(read.whole)
    }

    /// Deletes an event by its number after it was audited.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn delete_operator_event(&self, number: i64) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let delete = sqlx::query("DELETE FROM operator_events WHERE number = $1");
        write.execute(delete.bind(number)).await?;
        write.finish().await
    }
}

impl Write {
    /// Stores an event for the audit log if an operator makes the change.
    pub(super) async fn note(
        &mut self,
        name: &str,
        parameters: Vec<(&str, String)>,
    ) -> Result<(), StoreError> {
        let Some(operator) = self.operator().cloned() else { return Ok(()) };
        let parameters =
            parameters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let event = OperatorEvent {
            id: RequestId::random().to_string(),
            name: name.to_owned(),
            operator,
            time: clock::now().unix(),
            parameters,
        };
        let insert = sqlx::query(
            "INSERT INTO operator_events (number, body) \
             SELECT COALESCE(MAX(number), 0) + 1, $1 FROM operator_events",
        );
        self.execute(insert.bind(EVENTS.to_json(&0, "body", &event)?)).await.map(drop)
    }
}
