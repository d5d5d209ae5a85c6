//! One change of the store, on disk and then in memory.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::catalogue::Catalogue;
use super::connection::Connection;
use super::refresh::REVISION;
use super::{Inner, StoreError, metadata};

/// The writer's turn and its transaction. Dropped, it leaves disk and memory as they were.
///
/// The database gives the lock of the one writer with the first statement, so that nobody is
/// refused because he has read before.
pub(super) struct Write {
    // Dropped, it goes back to the pool, which rolls back; the next writer waits for that at BEGIN.
    connection: Connection,
    writer_lock: OwnedMutexGuard<()>,
    inner: Arc<Inner>,
}

impl Write {
    /// Waits for the turn and begins.
    pub(super) async fn begin(inner: &Arc<Inner>) -> Result<Self, StoreError> {
        let writer_lock = Arc::clone(&inner.writer_lock).lock_owned().await;
        inner.require_whole()?;
        let connection = inner.connection().await;
        let mut connection = connection.inspect_err(|error| {
            let is_over = inner.pool.is_closed() || matches!(error, StoreError::FileLost { .. });
            if !is_over {
                inner.health.write_failed(error);
            }
        })?;
        connection.begin_change(&inner.health).await?;
        Ok(Self { connection, writer_lock, inner: Arc::clone(inner) })
    }

    /// Where the statements of this change go.
    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// On whose behalf it is made, where that is an operator.
    pub(super) fn operator(&self) -> Option<&String> {
        self.inner.operator.get()
    }

    /// Makes a change lasting that leaves the catalogue as it is.
    pub(super) async fn finish(self) -> Result<(), StoreError> {
        let Self { connection, writer_lock, inner } = self;
        end(connection, &inner).await?;
        drop(writer_lock);
        Ok(())
    }

    /// Makes a change of the catalogue lasting, then brings memory in line by `remember`. The
    /// revision tells every other process that uses the store.
    ///
    /// It is a task of its own, so that a caller who gives up half way cannot part memory and
    /// disk.
    pub(super) async fn commit(
        self,
        remember: impl FnOnce(&mut Catalogue) + Send + 'static,
    ) -> Result<(), StoreError> {
        let Self { mut connection, writer_lock, inner } = self;
        let finish = tokio::spawn(async move {
            let revision = metadata::increment(&mut connection, REVISION).await?;
            end(connection, &inner).await?;
            let mut catalogue = inner.catalogue_mut();
            remember(&mut catalogue);
            catalogue.note_revision(revision);
            drop(catalogue);
            drop(writer_lock);
            Ok(())
        });
        finish.await.map_err(|source| StoreError::Unavailable { source: source.into() })?
    }
}

/// Commits. What is in a file that nobody will find again is not lasting.
async fn end(connection: Connection, inner: &Inner) -> Result<(), StoreError> {
    connection.commit().await?;
    inner.require_file()?;
    inner.health.write_passed();
    Ok(())
}
