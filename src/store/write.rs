//! One change of the store, on disk and then in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::catalogue::Catalogue;
use super::connection::{Connection, Statement};
use super::digest::{self, SetChanges};
use super::health::Health;
use super::row::Scope;
use super::row_group::ChangedGroups;
use super::row_key::RowKey;
use super::scope_reading::PartRevisions;
use super::tables::CATALOGUE_REVISION;
use super::timeline::{self, ChangeKind};
use super::{Inner, StoreError, change_list, job_lease, notifications, unsigned_metadata};
use crate::model::clock;

/// Holds the writer lock and a transaction. Dropping it rolls back.
///
/// The transaction takes the database's write lock with its first statement, so that a change is
/// not refused because it read before it writes.
pub(super) struct Write {
    // When dropped it returns to the pool, which rolls back; the next writer waits for that at
    // BEGIN.
    connection: Connection,
    writer_lock: OwnedMutexGuard<()>,
    inner: Arc<Inner>,
    /// The operator on whose behalf the change is made, if it is not that of the process.
    operator: Option<Arc<str>>,
    /// The changes of the digests until they are written.
    set_changes: Box<SetChanges>,
    /// The revisions of the digests that were written.
    revisions: BTreeMap<Scope, PartRevisions>,
    /// The changed rows of the catalogue.
    changed_groups: Box<ChangedGroups>,
    /// Whether other gateways of the cluster are told of the change.
    is_announced: bool,
}

impl Write {
    /// Waits for the writer lock and begins a transaction.
    pub(super) async fn begin(
        inner: &Arc<Inner>,
        operator: Option<Arc<str>>,
        term: Option<i64>,
        kind: ChangeKind,
    ) -> Result<Self, StoreError> {
        let writer_lock = Arc::clone(&inner.writer_lock).lock_owned().await;
        inner.require_whole()?;
        inner.require_lock()?;
        timeline::require_accepted(inner, kind)?;
        // Memory is compared after a promotion, so that comparison does not wait for it.
        if kind != ChangeKind::Comparison {
            inner.health.outage.require_readable()?;
        }
        let connection = inner.connection().await;
        let mut connection = connection.inspect_err(|error| {
            let is_over =
                inner.database.pool.is_closed() || matches!(error, StoreError::FileLost { .. });
            if !is_over {
                inner.health.outage.note_silence();
                inner.health.write_failed(error);
            }
        })?;
        connection.begin_change(&inner.health).await?;
        if let Some(server) = &inner.database.server {
            server.require_gateway_lock(&mut connection).await?;
        }
        if let Err(refused) = timeline::require(&mut connection, inner, kind).await {
            connection.rollback().await?;
            return Err(refused);
        }
        if let Some(term) = term {
            job_lease::require(&mut connection, inner, term).await?;
        }
        Ok(Self {
            connection,
            writer_lock,
            inner: Arc::clone(inner),
            operator,
            set_changes: Box::default(),
            revisions: BTreeMap::new(),
            changed_groups: Box::default(),
            is_announced: false,
        })
    }

    /// The connection for the statements of this change.
    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Executes a statement of this change. Returns the number of rows that it affected.
    pub(super) async fn execute(&mut self, statement: Statement<'_>) -> Result<u64, StoreError> {
        self.connection.execute(statement).await
    }

    /// The store.
    pub(super) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// The key that signs the rows of this change.
    ///
    /// # Errors
    /// [`StoreError::Locked`].
    pub(super) fn row_key(&self) -> Result<Arc<RowKey>, StoreError> {
        self.inner.row_key.get().map(Arc::clone).ok_or(StoreError::Locked)
    }

    /// The changes of the digests until they are written.
    pub(super) fn set_changes(&mut self) -> &mut SetChanges {
        &mut self.set_changes
    }

    /// The changed rows of the catalogue, for the other gateways of the cluster.
    pub(super) fn changed_groups(&mut self) -> &mut ChangedGroups {
        &mut self.changed_groups
    }

    /// Writes the digests of the rows that were changed so far.
    pub(super) async fn flush_digests(&mut self) -> Result<(), StoreError> {
        let changes = std::mem::take(&mut *self.set_changes);
        if changes.is_empty() {
            return Ok(());
        }
        let key = self.row_key()?;
        for (scope, part, revision) in digest::apply(&mut self.connection, &key, changes).await? {
            self.revisions.entry(scope).or_default().insert(part, revision);
        }
        Ok(())
    }

    /// The operator on whose behalf the change is made, if any.
    pub(super) fn operator(&self) -> Option<&str> {
        self.operator.as_deref().or_else(|| self.inner.operator.get().map(String::as_str))
    }

    /// Tells the other gateways of the cluster when the change is committed.
    pub(super) async fn announce(&mut self) -> Result<(), StoreError> {
        if self.inner.member().is_none() || std::mem::replace(&mut self.is_announced, true) {
            return Ok(());
        }
        notifications::announce(&mut self.connection).await
    }

    /// Commits a change that does not affect the catalogue in memory. If it affects its rows, the other
    /// gateways of the cluster read them with the next change: they have to fit their digests.
    pub(super) async fn finish(mut self) -> Result<(), StoreError> {
        if self.inner.member().is_some() && !self.changed_groups.is_empty() {
            return self.commit_catalogue(|_catalogue| {}).await;
        }
        self.flush_digests().await?;
        let Self { connection, writer_lock, inner, revisions, .. } = self;
        end(connection, &inner, &revisions).await?;
        drop(writer_lock);
        Ok(())
    }

    /// Commits a change of the catalogue, then updates memory with `remember`. The revision
    /// notifies every other process that uses the store.
    pub(super) async fn commit(
        mut self,
        remember: impl FnOnce(&mut Catalogue) + Send + 'static,
    ) -> Result<(), StoreError> {
        self.announce().await?;
        self.commit_catalogue(remember).await
    }

    /// Runs as a separate task, so that a canceled caller cannot make memory differ from disk.
    async fn commit_catalogue(
        mut self,
        remember: impl FnOnce(&mut Catalogue) + Send + 'static,
    ) -> Result<(), StoreError> {
        let finish = tokio::spawn(async move {
            self.flush_digests().await?;
            let Self { mut connection, writer_lock, inner, revisions, changed_groups, .. } = self;
            let revision =
                unsigned_metadata::increment(&mut connection, CATALOGUE_REVISION).await?;
            if inner.member().is_some() {
                change_list::write(&mut connection, revision, &changed_groups).await?;
            }
            end(connection, &inner, &revisions).await?;
            let mut catalogue = inner.catalogue.write();
            remember(&mut catalogue);
            catalogue.note_changed(*changed_groups);
            catalogue.note_revision(revision);
            drop(catalogue);
            drop(writer_lock);
            Ok(())
        });
        finish.await.map_err(|source| StoreError::Unavailable { source: source.into() })?
    }
}

/// Commits. A change written to a file that was moved away is not durable. From then on no digest
/// may be older than in `revisions`.
async fn end(
    connection: Connection,
    inner: &Inner,
    revisions: &BTreeMap<Scope, PartRevisions>,
) -> Result<(), StoreError> {
    let start = clock::monotonic();
    connection.commit().await?;
    for (scope, revisions) in revisions {
        inner.last_seen.note_revisions(*scope, revisions);
    }
    let Health { metrics, latency, .. } = &*inner.health;
    latency.note_commit(metrics, clock::since(start));
    inner.require_file()?;
    inner.health.write_passed();
    Ok(())
}
