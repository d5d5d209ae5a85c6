//! Recognizes that a standby of a PostgreSQL server was promoted, and whether changes were lost that gateways
//! of the cluster had acknowledged.
//!
//! A promotion begins a new timeline of the server. A gateway that finds one compares the revisions of the
//! database with those that it has seen, in this process or, by a record in its state directory, in the one
//! before. Nothing is changed by anyone until each gateway that served before has compared, or does not
//! respond. The revisions that the database had then are kept, because new changes raise them: a gateway that
//! comes later compares what it has seen with those. If changes are missing, the first gateway that finds out
//! stores an entry, which all others follow: changes are refused until an operator accepts the loss.
//!
//! A timeline with a lower number than that which a gateway has seen is one that the server has left: a former
//! primary, which lacks everything since its standby was promoted.
//!
//! Rows that are put back by statements begin no new timeline. They are refused as before.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use sqlx::Row as _;

use super::connect::blocking;
use super::connection::Connection;
use super::row::Scope;
use super::tables::{ACCESS_REVISION, CATALOGUE_REVISION, NONCES_PRUNED};
use super::timeline::{AcceptedAt, ChangeKind, CommittedNonce, LostChanges, Seen, View, require};
use super::write::Write;
use super::{Inner, Store, StoreError, digest, unsigned_metadata};
use crate::model::{KeyId, Time, clock};

/// The metadata entry about changes that were lost.
const LOST_CHANGES: &str = "lost-changes";
/// How often a start looks whether all gateways have compared a timeline.
const COMPARISON_POLL: Duration = Duration::from_millis(100);
/// The file in the state directory with what this gateway has seen of the database.
const RECORD: &str = "database-seen.json";
/// The age up to which a request could be repeated, in seconds.
pub const REPLAY_SECONDS: i64 = 15 * 60;

const SYSTEM: &str = "SELECT system_identifier FROM pg_control_system()";
/// The last time at which the database knew that a gateway was there when the first one compared the
/// timeline, in milliseconds since 1970: what was committed before is there.
const LAST_SEEN: &str = "SELECT COALESCE((SELECT MIN(term) FROM cluster_leases \
     WHERE name LIKE 'compared/%' AND holder = $1), (SELECT MAX(seen) FROM cluster_members), 0)";
const NOTE_TIMELINE: &str = "INSERT INTO cluster_leases (name, holder, term, expires) \
     VALUES ('timeline', $1, 0, 0) ON CONFLICT (name) DO UPDATE SET holder = excluded.holder";
/// Records that a gateway has compared a timeline: when for the first time, and, as the term, the time of
/// [`LAST_SEEN`].
const NOTE_COMPARISON: &str = "INSERT INTO cluster_leases (name, holder, term, expires) \
     VALUES ('compared/' || $1, $2, $3, CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)) \
     ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, term = excluded.term, \
     expires = excluded.expires WHERE cluster_leases.holder <> excluded.holder";
/// The timeline that a gateway has compared last, by the database.
const OWN_COMPARISON: &str = "SELECT holder FROM cluster_leases WHERE name = 'compared/' || $1";
/// How many gateways have not compared a timeline that served until [`LAST_SEEN`]. One that has stopped in an
/// orderly way since is not among them: what it committed before is there.
macro_rules! missing {
    () => {
        "SELECT COUNT(*) FROM cluster_members AS member \
         WHERE seen >= $2 - 15000 \
         AND NOT EXISTS (SELECT 1 FROM cluster_leases \
         WHERE name = 'stopped/' || member.name AND term >= member.seen) \
         AND NOT EXISTS (SELECT 1 FROM cluster_leases \
         WHERE name = 'compared/' || member.name AND holder = $1)"
    };
}
const MISSING: &str = missing!();
/// The same, for not longer than twelve seconds since the first comparison.
const AWAITED: &str = concat!(
    missing!(),
    " AND (SELECT MIN(expires) FROM cluster_leases WHERE name LIKE 'compared/%' AND holder = $1) \
     > CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) - 12000"
);
/// The last time at which a database that was left knew that a gateway was there.
const LAST_SEEN_BEFORE: &str = "SELECT COALESCE((SELECT MAX(seen) FROM cluster_members), 0)";
/// What the database had when a timeline was compared first, as JSON.
const FIRST_FOUND: &str = "SELECT holder FROM cluster_leases WHERE name = 'first-found'";
const NOTE_FIRST_FOUND: &str = "INSERT INTO cluster_leases (name, holder, term, expires) \
     VALUES ('first-found', $1, 0, 0) ON CONFLICT (name) DO UPDATE SET holder = excluded.holder";
const HAS_NONCE: &str = "SELECT COUNT(*) FROM used_nonces WHERE nonce = $1";

/// What a gateway has to do about a promotion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromotionNews {
    /// Acknowledged changes were lost.
    LostChanges,
    /// Accepted nonces were lost, and no change that is known of.
    LostNonces,
    /// An operator has accepted the loss.
    Accepted,
}

/// What an acceptance has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedLoss {
    /// The lost changes.
    pub lost: LostChanges,
    /// Keys and versions that were incomplete in the database: their rows are deleted, their objects in the
    /// token are not.
    pub incomplete: usize,
    /// Keys whose deletion was postponed to seven days from now.
    pub postponed: Vec<KeyId>,
}

impl Store {
    /// The changes that were lost by a promotion and that no operator has accepted.
    pub fn lost_changes(&self) -> Option<Arc<LostChanges>> {
        self.inner.promotion.state.lock().lost.clone()
    }

    /// The entry about lost changes, accepted or not, without a check of its signature.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn noted_lost_changes(&self) -> Result<Option<LostChanges>, StoreError> {
        let mut connection = self.inner.connection().await?;
        let text = unsigned_metadata::read(&mut connection, LOST_CHANGES).await?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Reads what the process before has seen of the database, and records there what this one sees.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn remember_in(&self, state_directory: &Path) -> Result<(), StoreError> {
        if self.member().is_none() {
            return Ok(());
        }
        let path = state_directory.join(RECORD);
        let file = path.clone();
        let before = blocking(move || match std::fs::read(&file) {
            Ok(bytes) => Ok(serde_json::from_slice::<Seen>(&bytes).ok()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::File { path: file, source }),
        })
        .await?;
        let mut state = self.inner.promotion.state.lock();
        state.compared = before.as_ref().map(|seen| (seen.system, seen.timeline.clone()));
        state.before = before;
        state.record = Some((path, Seen::default()));
        Ok(())
    }

    /// Follows promotions until all gateways have compared the present one, before anything is changed at a
    /// start.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn await_comparison(&self) -> Result<(), StoreError> {
        if self.inner.promotion.state.lock().record.is_none() {
            return Ok(());
        }
        let mut refuses_older = false;
        loop {
            match self.follow_promotion().await {
                Ok(news) => refuses_older |= news.is_some(),
                // It serves what it has until it has received the rest.
                Err(StoreError::OlderStandby) => {}
                Err(error) => return Err(error),
            }
            if self.is_standby() {
                return Ok(());
            }
            let mut connection = self.inner.connection().await?;
            match require(&mut connection, &self.inner, ChangeKind::Record).await {
                Err(StoreError::Promoted) => tokio::time::sleep(COMPARISON_POLL).await,
                other => {
                    // Requests of this second are refused too: dates have whole seconds.
                    if refuses_older {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                    return other;
                }
            }
        }
    }

    /// Compares the database with what is known after a promotion, and follows what other gateways have found
    /// out. Returns what is new.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn follow_promotion(&self) -> Result<Option<PromotionNews>, StoreError> {
        let promotion = &self.inner.promotion;
        if promotion.state.lock().record.is_none() || self.inner.row_key.get().is_none() {
            return Ok(None);
        }
        let _comparing = promotion.comparing.lock().await;
        // Before the timeline is read, so that it is what this timeline had.
        let seen = self.seen();
        let view = View::read(&mut self.inner.connection().await?).await?;
        self.note_standby(view.timeline.is_empty());
        if view.timeline.is_empty() {
            return self.require_newest_standby().await.map(|()| None);
        }
        let is_compared = {
            let state = promotion.state.lock();
            state.compared.as_ref().is_some_and(|(_system, timeline)| *timeline == view.timeline)
        };
        let (mut news, mut entry) = (None, view.entry);
        if is_compared {
            let mut state = promotion.state.lock();
            state.before = None;
            state.confirmed = seen;
        }
        if !is_compared || view.compared != view.timeline {
            news = self.compare_timeline().await?;
            entry = View::read(&mut self.inner.connection().await?).await?.entry;
        }
        let is_new = promotion.state.lock().entry != entry;
        if is_new { Ok(self.follow_entry(entry).await?.or(news)) } else { Ok(news) }
    }

    /// Whether the database was a standby when it was last looked at: it accepts no change.
    pub fn is_standby(&self) -> bool {
        self.inner.promotion.is_standby.load(Ordering::Relaxed)
    }

    /// Whether changes are possible: the database is no standby, and no lost changes have to be accepted.
    pub fn accepts_changes(&self) -> bool {
        !self.is_standby() && self.lost_changes().is_none()
    }

    fn note_standby(&self, is_standby: bool) {
        let was_standby = self.inner.promotion.is_standby.swap(is_standby, Ordering::Relaxed);
        if is_standby {
            // It is no fault that a standby accepts no change.
            self.inner.health.forget_failed_write();
        }
        match (was_standby, is_standby) {
            (false, true) => tracing::warn!(
                event = "store.standby",
                "the database is a standby: changes are refused until it is promoted"
            ),
            (true, false) => {
                tracing::info!(event = "store.primary", "the database is a standby no longer");
            }
            _ => {}
        }
    }

    /// Fails at a standby that lacks what was seen: it may receive it yet, or will be promoted.
    async fn require_newest_standby(&self) -> Result<(), StoreError> {
        let Some(known) = self.known() else { return Ok(()) };
        let found = found(&mut self.inner.connection().await?, "").await?;
        if known.system == found.system && known.is_ahead_of(&found) {
            return Err(StoreError::OlderStandby);
        }
        Ok(())
    }

    /// Compares the timeline of the server with what this gateway has seen, while nobody changes anything.
    async fn compare_timeline(&self) -> Result<Option<PromotionNews>, StoreError> {
        let inner = &self.inner;
        let mut write = Write::begin(inner, None, None, ChangeKind::Comparison).await?;
        let connection = write.connection();
        let view = View::read(connection).await?;
        let found = found(connection, &view.timeline).await?;
        let known = self.known();
        let member = self.member().unwrap_or_default();
        // Two standbys that were promoted one after the other may both begin the timeline of this number.
        let noted = write.connection().row(sqlx::query(OWN_COMPARISON).bind(member)).await?;
        let noted: Option<String> = noted.map(|row| row.try_get(0)).transpose()?;
        let is_other = |known: &Seen| {
            known.timeline != found.timeline
                || noted.as_ref().is_some_and(|noted| *noted != found.timeline)
        };
        let is_promotion =
            known.as_ref().is_some_and(|known| known.system == found.system && is_other(known));
        // A gateway at a standby does not know what those at the primary have accepted.
        let is_first_sight =
            known.is_none() && !view.compared.is_empty() && view.compared != found.timeline;
        let known = known.unwrap_or_default();
        let is_left = is_promotion && known.timeline > found.timeline;
        let mut news = None;
        let last_seen = if is_left {
            write.connection().value(sqlx::query(LAST_SEEN_BEFORE)).await?
        } else {
            last_seen(write.connection(), &found.timeline).await?
        };
        if is_promotion {
            tracing::warn!(
                event = "store.promoted",
                timeline = found.timeline,
                former = known.timeline,
                "the standby of the database was promoted, or the database is a former primary"
            );
        }
        let is_first = view.compared != view.timeline;
        let first = first_found(&mut write, &found, is_first).await?;
        let lacks_seen = || self.is_ahead(&known, &found, first.as_ref(), is_first);
        if is_left || is_promotion && lacks_seen() {
            self.store_loss(&mut write, &known, &found, last_seen).await?;
            news = Some(PromotionNews::LostNonces);
        } else if is_first_sight || is_promotion && self.has_lost_nonce(write.connection()).await? {
            refuse_older_nonces(write.connection()).await?;
            tracing::warn!(
                event = "cluster.nonces_lost",
                "the promotion of the database's standby has lost nonces: requests that were signed before \
                 now are refused"
            );
            news = Some(PromotionNews::LostNonces);
        }
        let note = sqlx::query(NOTE_COMPARISON).bind(member).bind(&*found.timeline);
        write.execute(note.bind(last_seen)).await?;
        // Before the first gateway has noted one, there is nothing to wait for.
        let is_new = view.compared.is_empty();
        let awaited = sqlx::query(AWAITED).bind(&*found.timeline).bind(last_seen);
        if is_new || write.connection().value::<i64>(awaited).await? == 0 {
            let missing = sqlx::query(MISSING).bind(&*found.timeline).bind(last_seen);
            if !is_new && write.connection().value::<i64>(missing).await? > 0 {
                // What that gateway has accepted last is not known.
                refuse_older_nonces(write.connection()).await?;
            }
            write.execute(sqlx::query(NOTE_TIMELINE).bind(&*found.timeline)).await?;
        }
        write.finish().await?;
        if is_promotion {
            // Rows in memory may be missing in the database, and new ones have their revisions.
            for scope in [Scope::Catalogue, Scope::Access] {
                inner.next_check.make_due(scope);
            }
        }
        let mut state = inner.promotion.state.lock();
        state.compared = Some((found.system, found.timeline));
        let was_before = state.before.take().is_some();
        state.follows_promotion |= is_first_sight || is_promotion && was_before;
        Ok(news)
    }

    /// Whether the database lacked something that this gateway has seen, when the timeline was compared first
    /// or now.
    fn is_ahead(&self, known: &Seen, found: &Seen, first: Option<&Seen>, is_first: bool) -> bool {
        let Some(first) = first else { return known.is_ahead_of(found) };
        if is_first {
            // Nothing has changed since, except what recognized a loss.
            return known.is_ahead_of(first);
        }
        // This process may have read changes of the new timeline before it compared it.
        let confirmed = {
            let state = self.inner.promotion.state.lock();
            state.before.clone().or_else(|| state.confirmed.clone())
        };
        confirmed.is_some_and(|confirmed| confirmed.is_ahead_of(first)) || known.is_ahead_of(found)
    }

    /// Stores that changes were lost, and forgets what was seen: the rows that the database has are used.
    async fn store_loss(
        &self,
        write: &mut Write,
        known: &Seen,
        found: &Seen,
        complete_until: i64,
    ) -> Result<(), StoreError> {
        let read = |text: &str| serde_json::from_str::<LostChanges>(text).ok();
        let noted = self.read_metadata(LOST_CHANGES, read).await?.value();
        let is_of_timeline = |lost: &LostChanges| lost.timeline == found.timeline;
        let lost = match noted {
            Some(noted) if noted.accepted.is_some() && is_of_timeline(&noted) => {
                tracing::warn!(
                    event = "store.loss_accepted_before",
                    "this gateway has seen changes that the database lost; an operator has accepted that"
                );
                self.inner.forget_seen();
                return refuse_older_nonces(write.connection()).await;
            }
            // That of the gateway that has compared first, since the revisions are raised then; or that of
            // an earlier promotion.
            Some(noted) if noted.accepted.is_none() => LostChanges {
                timeline: found.timeline.clone(),
                seen: noted.seen.max(known.catalogue),
                seen_access: noted.seen_access.max(known.access),
                complete_until: noted.complete_until.min(complete_until),
                ..noted
            },
            _ => LostChanges {
                recognized: clock::now().unix(),
                gateway: self.member().unwrap_or_default().to_owned(),
                timeline: found.timeline.clone(),
                found: found.catalogue,
                seen: known.catalogue,
                found_access: found.access,
                seen_access: known.access,
                complete_until,
                accepted: None,
            },
        };
        self.inner.forget_seen();
        write.put_metadata(LOST_CHANGES, &to_text(&lost)?).await?;
        let connection = write.connection();
        // Above all that a gateway has seen, so that each of them reads all rows again.
        for (name, seen, found) in [
            (CATALOGUE_REVISION, known.catalogue, found.catalogue),
            (ACCESS_REVISION, known.access, found.access),
        ] {
            let next = seen.max(found).saturating_add(1);
            unsigned_metadata::put_count(connection, name, next).await?;
        }
        refuse_older_nonces(connection).await
    }

    /// Follows the entry about lost changes, whose signature is checked.
    async fn follow_entry(&self, text: String) -> Result<Option<PromotionNews>, StoreError> {
        let read = |text: &str| serde_json::from_str::<LostChanges>(text).ok();
        let Some(entry) = self.read_metadata(LOST_CHANGES, read).await?.value() else {
            return Ok(None);
        };
        let inner = &self.inner;
        let mut state = inner.promotion.state.lock();
        state.entry = text;
        let was_lost = state.lost.is_some();
        if entry.accepted.is_some() {
            state.lost = None;
            drop(state);
            if was_lost {
                tracing::info!(
                    event = "store.lost_changes_accepted",
                    "an operator has accepted the lost changes; changes are possible again"
                );
            }
            return Ok(was_lost.then_some(PromotionNews::Accepted));
        }
        state.lost = Some(Arc::new(entry.clone()));
        drop(state);
        if was_lost {
            return Ok(None);
        }
        inner.forget_seen();
        tracing::error!(
            event = "store.lost_changes",
            found_by = entry.gateway,
            revision = entry.found,
            seen = entry.seen,
            access_revision = entry.found_access,
            access_seen = entry.seen_access,
            complete_until = %Time::from_unix(entry.complete_until.div_euclid(1000)),
            "the database lacks changes that were acknowledged, since a promotion of its standby; the rows \
             that it has are used, and changes are refused: run hsmgate cluster lost, then hsmgate cluster \
             accept"
        );
        Ok(Some(PromotionNews::LostChanges))
    }

    /// Whether the last nonce that this gateway has committed is missing, or may be.
    async fn has_lost_nonce(&self, connection: &mut Connection) -> Result<bool, StoreError> {
        let (last, is_start) = {
            let state = self.inner.promotion.state.lock();
            (state.nonce, state.before.is_some())
        };
        // What the process before had committed last is not known.
        let Some(last) = last else { return Ok(is_start) };
        let pruned = unsigned_metadata::read_count(connection, NONCES_PRUNED).await?.0;
        let CommittedNonce { nonce, expires, committed } = last;
        if expires <= pruned {
            return Ok(false);
        }
        if expires <= clock::now().unix() {
            // Its request was old already. Those of other nonces of that time may be younger.
            return Ok(clock::since(committed).as_secs() < REPLAY_SECONDS.unsigned_abs());
        }
        Ok(connection.value::<i64>(sqlx::query(HAS_NONCE).bind(nonce)).await? == 0)
    }

    /// What this process, or the one before, has seen of the timeline that was compared last.
    fn known(&self) -> Option<Seen> {
        let mut seen = self.seen()?;
        if let Some(before) = &self.inner.promotion.state.lock().before {
            seen.raise(before);
        }
        Some(seen)
    }

    /// What this process has seen. `None` before the first comparison.
    fn seen(&self) -> Option<Seen> {
        let inner = &self.inner;
        let (system, timeline) = inner.promotion.state.lock().compared.clone()?;
        // At a start that follows a promotion, what was read so far is of the new timeline.
        let is_start = inner.promotion.state.lock().before.is_some();
        if is_start {
            return Some(Seen { system, timeline, ..Seen::default() });
        }
        let parts =
            Scope::ALL.map(|scope| (scope.name().to_owned(), inner.last_seen.revisions(scope)));
        Some(Seen {
            system,
            timeline,
            catalogue: inner.catalogue.read().revision().max(0),
            access: inner.last_access_revision(),
            parts: parts.into(),
        })
    }

    /// Records in the state directory what this gateway has seen, if it has seen something new.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn record_seen(&self) -> Result<(), StoreError> {
        let Some(seen) = self.seen() else { return Ok(()) };
        let path = {
            let mut state = self.inner.promotion.state.lock();
            // What the process before has recorded is not compared yet.
            if state.before.is_some() {
                return Ok(());
            }
            match &mut state.record {
                Some((path, recorded)) if *recorded != seen => {
                    *recorded = seen.clone();
                    path.clone()
                }
                _ => return Ok(()),
            }
        };
        let text = to_text(&seen)?;
        blocking(move || {
            let failed = |source| StoreError::File { path: path.clone(), source };
            let temporary = path.with_extension("json.new");
            write_private(&temporary, text.as_bytes()).map_err(failed)?;
            std::fs::rename(&temporary, &path).map_err(failed)
        })
        .await
    }

    /// Recognizes at a start that the database is older than the token knows, if that follows a promotion.
    /// Returns whether lost changes are known now.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn recognize_older(&self) -> Result<bool, StoreError> {
        if self.lost_changes().is_some() || !self.follows_promotion() {
            return Ok(self.lost_changes().is_some());
        }
        let mut write = Write::begin(&self.inner, None, None, ChangeKind::Comparison).await?;
        let view = View::read(write.connection()).await?;
        let found = found(write.connection(), &view.timeline).await?;
        let last_seen = last_seen(write.connection(), &found.timeline).await?;
        self.store_loss(&mut write, &found, &found, last_seen).await?;
        write.finish().await?;
        self.follow_promotion().await?;
        Ok(self.lost_changes().is_some())
    }

    /// Whether the standby was promoted between the process before and this one, which may have accepted
    /// what the database lacks.
    pub fn follows_promotion(&self) -> bool {
        self.inner.promotion.state.lock().follows_promotion
    }

    /// Accepts that changes were lost: changes are possible again. Rows of keys and versions that were being
    /// made are deleted, because the token may have completed them since, and deletions are postponed, because
    /// they may have been canceled.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when no lost changes are known; when the database fails.
    ///
    /// The count of encryptions of each key version is raised, but not above `most_encryptions`: a gateway that
    /// has ended may have leased some in the lost time.
    pub async fn accept_lost_changes(
        &self,
        reason: &str,
        now: Time,
        most_encryptions: u64,
    ) -> Result<AcceptedLoss, StoreError> {
        self.end_comparison_as_only_user().await?;
        let read = |text: &str| serde_json::from_str::<LostChanges>(text).ok();
        let lost = self.read_metadata(LOST_CHANGES, read).await?.value();
        let lost = lost.filter(|lost| lost.accepted.is_none()).ok_or(StoreError::NotFound)?;
        let kind = ChangeKind::Record;
        let mut write = Write::begin(&self.inner, self.operator.clone(), None, kind).await?;
        let acceptance = AcceptedAt { time: now.unix(), reason: reason.to_owned() };
        let accepted = LostChanges { accepted: Some(acceptance), ..lost.clone() };
        write.put_metadata(LOST_CHANGES, &to_text(&accepted)?).await?;
        write.add_invocations(lost.most_encryptions(), most_encryptions).await?;
        let incomplete = write.delete_incomplete().await?;
        let postponed = write.postpone_deletions(now).await?;
        write.postpone_secret_deletions(now).await?;
        unsigned_metadata::increment(write.connection(), CATALOGUE_REVISION).await?;
        write.announce().await?;
        write.finish().await?;
        self.follow_promotion().await?;
        self.inner.next_check.make_due(Scope::Catalogue);
        self.refresh().await?;
        Ok(AcceptedLoss { lost, incomplete, postponed })
    }

    /// Deletes the rows of keys and versions that are incomplete in the database. Their objects in the token stay.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn delete_incomplete_rows(&self) -> Result<usize, StoreError> {
        let mut write = self.write_record().await?;
        let count = write.delete_incomplete().await?;
        if count > 0 {
            unsigned_metadata::increment(write.connection(), CATALOGUE_REVISION).await?;
            write.announce().await?;
        }
        write.finish().await?;
        self.inner.next_check.make_due(Scope::Catalogue);
        self.refresh().await?;
        Ok(count)
    }

    /// Ends the comparison of a timeline for a command that uses the database alone: no gateway compares it.
    async fn end_comparison_as_only_user(&self) -> Result<(), StoreError> {
        let is_gateway = self.inner.promotion.state.lock().record.is_some();
        if is_gateway || self.member().is_none() {
            return Ok(());
        }
        let mut write = Write::begin(&self.inner, None, None, ChangeKind::Comparison).await?;
        let timeline = View::read(write.connection()).await?.timeline;
        write.execute(sqlx::query(NOTE_TIMELINE).bind(timeline)).await?;
        write.finish().await
    }
}

impl Inner {
    /// Forgets the revisions that were seen. All rows are read again.
    fn forget_seen(&self) {
        self.last_seen.forget_all();
        for scope in [Scope::Catalogue, Scope::Access] {
            self.next_check.make_due(scope);
        }
    }
}

/// What the database had when its timeline was compared first: now, if `is_first`. `None` if an earlier program
/// has compared it.
async fn first_found(
    write: &mut Write,
    found: &Seen,
    is_first: bool,
) -> Result<Option<Seen>, StoreError> {
    let stored = write.connection().row(sqlx::query(FIRST_FOUND)).await?;
    let stored: Option<String> = stored.map(|row| row.try_get(0)).transpose()?;
    let stored = stored.and_then(|text| serde_json::from_str::<Seen>(&text).ok());
    let is_same = |one: &Seen| (one.system, &one.timeline) == (found.system, &found.timeline);
    match stored.filter(is_same) {
        Some(first) => Ok(Some(first)),
        None if is_first => {
            write.execute(sqlx::query(NOTE_FIRST_FOUND).bind(to_text(found)?)).await?;
            Ok(Some(found.clone()))
        }
        None => Ok(None),
    }
}

/// The time of [`LAST_SEEN`].
async fn last_seen(connection: &mut Connection, timeline: &str) -> Result<i64, StoreError> {
    connection.value(sqlx::query(LAST_SEEN).bind(timeline)).await
}

/// What the database has.
async fn found(connection: &mut Connection, timeline: &str) -> Result<Seen, StoreError> {
    let system = connection.value(sqlx::query(SYSTEM)).await?;
    let mut parts = BTreeMap::new();
    for scope in Scope::ALL {
        let revisions = digest::revisions(connection, scope).await?;
        let numbered = (0..scope.parts()).zip(revisions).collect();
        parts.insert(scope.name().to_owned(), numbered);
    }
    let mut count = async |name| {
        let count = unsigned_metadata::read_count(connection, name).await?.0;
        Ok::<_, StoreError>(count.max(0))
    };
    let (catalogue, access) = (count(CATALOGUE_REVISION).await?, count(ACCESS_REVISION).await?);
    Ok(Seen { system, timeline: timeline.to_owned(), catalogue, access, parts })
}

/// Lets no gateway accept a nonce whose request was signed before now: it may have been accepted, and is
/// not known any more.
async fn refuse_older_nonces(connection: &mut Connection) -> Result<(), StoreError> {
    let until = clock::now().unix().saturating_add(REPLAY_SECONDS);
    let known = unsigned_metadata::read_count(connection, NONCES_PRUNED).await?.0;
    unsigned_metadata::put_count(connection, NONCES_PRUNED, until.max(known)).await
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.custom_flags(super::NO_LINK).open(path)?.write_all(bytes)
}

fn to_text(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|source| StoreError::Unavailable { source: source.into() })
}
