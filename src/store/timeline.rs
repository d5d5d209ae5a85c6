//! What is known of the timelines of a PostgreSQL server, and whether a change may be made: not while the
//! promotion of a standby is compared, and, except for some, not while changes that it lost are not accepted.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sqlx::Row as _;

use super::connection::Connection;
use super::scope_reading::PartRevisions;
use super::{Inner, StoreError};
use crate::model::clock;

/// The number of the timeline that the server writes, in eight hexadecimal digits; empty at a standby.
macro_rules! timeline {
    () => {
        "CASE WHEN pg_is_in_recovery() THEN '' \
         ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END"
    };
}

/// The timeline, the one that all gateways have compared, and the entry about lost changes.
const LOOK: &str = concat!(
    "SELECT ",
    timeline!(),
    ", COALESCE((SELECT holder FROM cluster_leases WHERE name = 'timeline'), ''), \
     COALESCE((SELECT value FROM facts WHERE name = 'lost-changes' LIMIT 1), '')"
);
/// The timeline, and whether all gateways have compared it, so that a nonce that was used before is known.
pub(super) const IS_COMPARED: &str = concat!(
    "SELECT timeline, \
     COALESCE((SELECT holder FROM cluster_leases WHERE name = 'timeline'), timeline) = timeline \
     FROM (SELECT ",
    timeline!(),
    " AS timeline) AS present"
);

/// What a change is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChangeKind {
    /// It changes what callers and operators see. It is refused while lost changes are not accepted.
    Change,
    /// The gateway records something about itself, or a right is taken away.
    Record,
    /// It compares a timeline.
    Comparison,
}

/// Changes that were acknowledged and are not in the database after a promotion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostChanges {
    /// When they were found to be missing, in seconds since 1970.
    pub recognized: i64,
    /// The gateway that found out.
    pub gateway: String,
    /// The timeline of the server.
    pub timeline: String,
    /// The revision of keys, aliases, documents and secrets that the database had.
    pub found: i64,
    /// The highest one that a gateway had seen.
    pub seen: i64,
    /// The same of principals and AccessKeys.
    pub found_access: i64,
    /// The highest one that a gateway had seen.
    pub seen_access: i64,
    /// What was committed before is in the database: milliseconds since 1970, by its clock.
    pub complete_until: i64,
    /// How an operator has accepted the loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<AcceptedAt>,
}

/// More encryptions in a second than all gateways of a cluster make with one key version.
const MOST_ENCRYPTIONS_PER_SECOND: u64 = 1_000_000;
/// By how much the clocks of a gateway and of the database may differ, in seconds, and the time of leases that
/// were taken ahead.
const CLOCK_MARGIN_SECONDS: u64 = 60;

impl LostChanges {
    /// More encryptions of a key version than may have been counted in the lost time.
    pub(super) fn most_encryptions(&self) -> u64 {
        let from = self.complete_until.div_euclid(1000);
        let seconds = self.recognized.saturating_sub(from);
        let seconds = u64::try_from(seconds).unwrap_or_default();
        seconds.saturating_add(CLOCK_MARGIN_SECONDS).saturating_mul(MOST_ENCRYPTIONS_PER_SECOND)
    }
}

/// How an operator has accepted that changes were lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedAt {
    /// When, in seconds since 1970.
    pub time: i64,
    /// Why.
    pub reason: String,
}

/// What a gateway has seen of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// The identifier of the server, which its standbys have too.
    pub(super) system: i64,
    pub(super) timeline: String,
    pub(super) catalogue: i64,
    pub(super) access: i64,
    /// The revision of each part of each scope, by the name of the scope.
    pub(super) parts: BTreeMap<String, PartRevisions>,
}

impl Seen {
    /// Whether `found` lacks a change that this has.
    pub(super) fn is_ahead_of(&self, found: &Self) -> bool {
        let is_part_ahead = |(scope, parts): (&String, &PartRevisions)| {
            let found = found.parts.get(scope);
            parts.iter().any(|(part, revision)| {
                found.and_then(|found| found.get(part)).is_none_or(|found| found < revision)
            })
        };
        self.catalogue > found.catalogue
            || self.access > found.access
            || self.parts.iter().any(is_part_ahead)
    }

    /// Raises each revision to that of another one of the same timeline.
    pub(super) fn raise(&mut self, other: &Self) {
        self.catalogue = self.catalogue.max(other.catalogue);
        self.access = self.access.max(other.access);
        for (scope, parts) in &other.parts {
            let own = self.parts.entry(scope.clone()).or_default();
            for (part, revision) in parts {
                let highest = own.entry(*part).or_insert(*revision);
                *highest = (*highest).max(*revision);
            }
        }
    }
}

/// What is known of promotions.
#[derive(Debug, Default)]
pub(super) struct Promotion {
    pub(super) state: Mutex<State>,
    /// The database is a standby, which accepts no change.
    pub(super) is_standby: AtomicBool,
    /// Held while a promotion is compared.
    pub(super) comparing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// The server and the timeline that was compared last.
    pub(super) compared: Option<(i64, String)>,
    /// What the process before this one has seen, until it was compared.
    pub(super) before: Option<Seen>,
    /// What this process has seen of the timeline that was compared last, without what it may have read after a
    /// promotion.
    pub(super) confirmed: Option<Seen>,
    /// The standby was promoted between that process and this one.
    pub(super) follows_promotion: bool,
    /// Where what this one has seen is recorded, and what is recorded there.
    pub(super) record: Option<(PathBuf, Seen)>,
    /// The entry about lost changes as it was read last.
    pub(super) entry: String,
    /// The changes that were lost and are not accepted.
    pub(super) lost: Option<Arc<LostChanges>>,
    /// The last nonce that was committed for all gateways.
    pub(super) nonce: Option<CommittedNonce>,
}

/// A nonce that is in the database.
#[derive(Debug, Clone, Copy)]
pub(super) struct CommittedNonce {
    pub(super) nonce: i64,
    /// When its request is too old, in seconds since 1970.
    pub(super) expires: i64,
    /// When it was committed.
    pub(super) committed: Instant,
}

impl Promotion {
    /// Records a nonce that is committed.
    pub(super) fn note_nonce(&self, nonce: i64, expires: i64) {
        let committed = clock::monotonic();
        self.state.lock().nonce = Some(CommittedNonce { nonce, expires, committed });
    }

    /// Whether the gateway has compared this timeline, or none yet.
    pub(super) fn knows(&self, timeline: &str) -> bool {
        let state = self.state.lock();
        state.compared.as_ref().is_none_or(|(_system, compared)| compared == timeline)
    }

    fn is_lost(&self) -> bool {
        self.state.lock().lost.is_some()
    }
}

/// What one statement shows.
pub(super) struct View {
    pub(super) timeline: String,
    pub(super) compared: String,
    pub(super) entry: String,
}

impl View {
    pub(super) async fn read(connection: &mut Connection) -> Result<Self, StoreError> {
        let row = connection.required_row(sqlx::query(LOOK)).await?;
        Ok(Self { timeline: row.try_get(0)?, compared: row.try_get(1)?, entry: row.try_get(2)? })
    }

    fn has_unaccepted_loss(&self) -> bool {
        let entry = serde_json::from_str::<LostChanges>(&self.entry);
        entry.is_ok_and(|lost| lost.accepted.is_none())
    }
}

/// Fails if a change may not be made now. Each change asks in its own transaction.
pub(super) async fn require(
    connection: &mut Connection,
    inner: &Inner,
    kind: ChangeKind,
) -> Result<(), StoreError> {
    // A gateway without a name is the only one, and compares nothing.
    if inner.member().is_none() || kind == ChangeKind::Comparison {
        return Ok(());
    }
    let view = View::read(connection).await?;
    let is_known = inner.promotion.knows(&view.timeline);
    let is_compared = view.compared.is_empty() || view.compared == view.timeline;
    if !is_known || !is_compared {
        return Err(StoreError::Promoted);
    }
    if kind == ChangeKind::Change && (view.has_unaccepted_loss() || inner.promotion.is_lost()) {
        return Err(StoreError::LostChanges);
    }
    Ok(())
}

/// Fails if a change is known to be refused, before the database is asked.
pub(super) fn require_accepted(inner: &Inner, kind: ChangeKind) -> Result<(), StoreError> {
    if kind != ChangeKind::Comparison && inner.promotion.is_standby.load(Ordering::Relaxed) {
        return Err(StoreError::Standby);
    }
    if kind == ChangeKind::Change && inner.promotion.is_lost() {
        return Err(StoreError::LostChanges);
    }
    Ok(())
}
