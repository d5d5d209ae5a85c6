//! Queue of changes made by operators on the command line, until the gateway has audited them.
//!
//! The command line is a separate process, and the audit log has one writer. Therefore the
//! transaction of a change also stores the event: neither exists without the other.
//!
//! Events are numbered without gaps, and a number is never used again. Therefore an event that was
//! deleted before it was audited leaves a gap.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::row::Scope;
use super::scope_reading::{ScopeCheck, ScopeReading};
use super::tables::{AUDITED_EVENT, EVENTS, LAST_EVENT};
use super::write::Write;
use super::{Part, Store, StoreError, unsigned_metadata};
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
    /// Why the action was refused. `None` if it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}

/// Numbers of events that are not in the table and were not audited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventGap {
    /// The first number.
    pub from: i64,
    /// The last number. Less than `from` if the counter of events was set back.
    pub to: i64,
}

impl Store {
    /// Marks later changes of principals, AccessKeys and aliases as made by this operator, to be
    /// audited. Only the first call has an effect.
    pub fn set_operator(&self, operator: String) {
        // A process has one operator.
        let _ = self.inner.operator.set(operator);
    }

    /// The same store, for changes on behalf of this operator, to be audited.
    #[must_use]
    pub fn on_behalf_of(&self, operator: &str) -> Self {
        Self { operator: Some(operator.into()), ..self.clone() }
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
        let mut reading = ScopeReading::new(&mut connection, Scope::Metadata, None);
        let rows = reading.rows(&EVENTS, "ORDER BY number LIMIT 1000").await?;
        let read = rows.read(&ScopeCheck::default(), read)?;
        self.note_damaged(Part::OperatorEvents, read.damaged);
        Ok(read.whole)
    }

    /// The events that were deleted before they were audited.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn operator_event_gaps(&self) -> Result<Vec<EventGap>, StoreError> {
        let mut connection = self.inner.connection().await?;
        connection.begin_read().await?;
        let last = unsigned_metadata::read_count(&mut connection, LAST_EVENT).await?.0.max(0);
        let audited = unsigned_metadata::read_count(&mut connection, AUDITED_EVENT).await?.0.max(0);
        let rows = connection.rows(sqlx::query("SELECT number FROM operator_events")).await?;
        connection.rollback().await?;
        let number = |row: &AnyRow| EVENTS.fields(row).get("number");
        let present = rows.iter().map(number).collect::<Result<BTreeSet<i64>, _>>()?;
        Ok(gaps(audited, last, &present))
    }

    /// Deletes an event by its number after it was audited.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn delete_operator_event(&self, number: i64) -> Result<(), StoreError> {
        let mut write = self.write_record().await?;
        let delete = sqlx::query("DELETE FROM operator_events WHERE number = $1");
        write.execute(delete.bind(number)).await?;
        let audited = unsigned_metadata::read_count(write.connection(), AUDITED_EVENT).await?.0;
        if number > audited {
            unsigned_metadata::put_count(write.connection(), AUDITED_EVENT, number).await?;
        }
        write.finish().await
    }

    /// Marks a gap as audited.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn pass_operator_event_gap(&self, gap: EventGap) -> Result<(), StoreError> {
        let mut write = self.write_record().await?;
        unsigned_metadata::put_count(write.connection(), AUDITED_EVENT, gap.to).await?;
        write.finish().await
    }

    /// Stores an event without another change: the operator's command is recorded. Does nothing
    /// without an operator ([`Store::set_operator`]).
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn record_operator_command(
        &self,
        name: &str,
        parameters: Vec<(&str, String)>,
    ) -> Result<(), StoreError> {
        let mut write = self.write_record().await?;
        write.note(name, parameters).await?;
        write.finish().await
    }

    /// As [`Store::record_operator_command`], for a command that was refused.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn record_refused_command(
        &self,
        name: &str,
        parameters: Vec<(&str, String)>,
        refusal: &str,
    ) -> Result<(), StoreError> {
        let mut write = self.write_record().await?;
        write.note_outcome(name, parameters, Some(refusal.to_owned())).await?;
        write.finish().await
    }
}

/// The numbers after `audited` up to `last` that are not present.
fn gaps(audited: i64, last: i64, present: &BTreeSet<i64>) -> Vec<EventGap> {
    let last = present.last().copied().unwrap_or(last).max(last);
    if last < audited {
        return vec![EventGap { from: audited.saturating_add(1), to: last }];
    }
    let mut gaps = Vec::new();
    let mut next = audited.saturating_add(1);
    for number in present.range(next..) {
        if *number > next {
            gaps.push(EventGap { from: next, to: number.saturating_sub(1) });
        }
        next = number.saturating_add(1);
    }
    if next <= last {
        gaps.push(EventGap { from: next, to: last });
    }
    gaps
}

impl Write {
    /// Stores an event for the audit log if an operator makes the change.
    pub(super) async fn note(
        &mut self,
        name: &str,
        parameters: Vec<(&str, String)>,
    ) -> Result<(), StoreError> {
        self.note_outcome(name, parameters, None).await
    }

    async fn note_outcome(
        &mut self,
        name: &str,
        parameters: Vec<(&str, String)>,
        refusal: Option<String>,
    ) -> Result<(), StoreError> {
        let Some(operator) = self.operator().map(ToOwned::to_owned) else { return Ok(()) };
        let parameters =
            parameters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let event = OperatorEvent {
            id: RequestId::random().to_string(),
            name: name.to_owned(),
            operator,
            time: clock::now().unix(),
            parameters,
            refusal,
        };
        self.insert_operator_event(&EVENTS.to_json(&0, "body", &event)?).await
    }

    /// Inserts an event of another store, unless it is there already.
    pub(super) async fn keep_operator_event(&mut self, body: &str) -> Result<(), StoreError> {
        let count = sqlx::query("SELECT COUNT(*) FROM operator_events WHERE body = $1").bind(body);
        if self.connection().value::<i64>(count).await? > 0 {
            return Ok(());
        }
        self.insert_operator_event(body).await
    }

    /// Inserts an event under the next number.
    async fn insert_operator_event(&mut self, body: &str) -> Result<(), StoreError> {
        let number = self.next_event_number().await?;
        let insert = sqlx::query("INSERT INTO operator_events (number, body) VALUES ($1, $2)");
        self.execute(insert.bind(number).bind(body)).await.map(drop)
    }

    /// A number that no event has had. Programs up to 0.1.0 kept no count: their events are
    /// counted from the lowest in the table.
    async fn next_event_number(&mut self) -> Result<i64, StoreError> {
        let connection = self.connection();
        let number = unsigned_metadata::increment(connection, LAST_EVENT).await?;
        let range = sqlx::query(
            "SELECT COALESCE(MIN(number), 1), COALESCE(MAX(number), 0) FROM operator_events",
        );
        let row = connection.required_row(range).await?;
        let (lowest, highest): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        if number == 1 && !unsigned_metadata::exists(connection, AUDITED_EVENT).await? {
            unsigned_metadata::put_count(connection, AUDITED_EVENT, lowest.saturating_sub(1))
                .await?;
        }
        if number > highest {
            return Ok(number);
        }
        let number = highest.saturating_add(1);
        unsigned_metadata::put_count(connection, LAST_EVENT, number).await?;
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Bench;

    async fn numbers(store: &Store) -> Vec<i64> {
        store.operator_events().await.unwrap().into_iter().map(|(number, _)| number).collect()
    }

    async fn record(store: &Store, names: &[&str]) {
        store.set_operator("uid:0".to_owned());
        for name in names {
            store.record_operator_command(name, Vec::new()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn numbers_are_not_used_again_and_a_deleted_event_leaves_a_gap() {
        let bench = Bench::new().await;
        let store = &bench.store;
        record(store, &["a", "b"]).await;
        assert_eq!(store.operator_event_gaps().await.unwrap(), []);
        store.delete_operator_event(1).await.unwrap();
        store.delete_operator_event(2).await.unwrap();
        record(store, &["c", "d", "e", "f"]).await;
        assert_eq!(numbers(store).await, [3, 4, 5, 6]);
        bench.tamper("DELETE FROM operator_events WHERE number IN (3, 6)").await;
        let gaps = store.operator_event_gaps().await.unwrap();
        assert_eq!(gaps, [EventGap { from: 3, to: 3 }, EventGap { from: 6, to: 6 }]);
        for gap in gaps {
            store.pass_operator_event_gap(gap).await.unwrap();
        }
        store.delete_operator_event(4).await.unwrap();
        store.delete_operator_event(5).await.unwrap();
        assert_eq!(store.operator_event_gaps().await.unwrap(), []);
        record(store, &["g"]).await;
        assert_eq!(numbers(store).await, [7]);
    }

    #[tokio::test]
    async fn a_counter_that_was_set_back_is_a_gap_once() {
        let bench = Bench::new().await;
        let store = &bench.store;
        record(store, &["a", "b"]).await;
        store.delete_operator_event(1).await.unwrap();
        store.delete_operator_event(2).await.unwrap();
        bench.tamper("UPDATE facts SET value = '1' WHERE name = 'operator-events'").await;
        let gaps = store.operator_event_gaps().await.unwrap();
        assert_eq!(gaps, [EventGap { from: 3, to: 1 }]);
        store.pass_operator_event_gap(gaps[0]).await.unwrap();
        assert_eq!(store.operator_event_gaps().await.unwrap(), []);
    }

    #[tokio::test]
    async fn events_of_an_older_program_are_no_gap() {
        let bench = Bench::new().await;
        bench
            .tamper("INSERT INTO operator_events (number, body) VALUES (5, '{}'), (6, '{}')")
            .await;
        record(&bench.store, &["a"]).await;
        assert_eq!(bench.store.operator_event_gaps().await.unwrap(), []);
        let count = bench.store.metadata(LAST_EVENT).await.unwrap();
        assert_eq!(count.as_deref(), Some("7"));
    }
}
