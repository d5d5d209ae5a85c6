//! One change of the store, on disk and then in memory.

use std::sync::Arc;

use sqlx::{Any, AnyConnection, Transaction};
use tokio::sync::OwnedMutexGuard;

use super::catalogue::Catalogue;
use super::follow::REVISION;
use super::{Inner, StoreError, facts};

/// The writer's turn and its transaction. Dropped, it leaves disk and memory as they were.
///
/// The first statement must be one that writes: SQLite then waits for its lock, where a
/// transaction that has read before may be refused at once; and PostgreSQL then holds the row.
pub(super) struct Write {
    // In this order when dropped: the rollback begins before the next writer's turn.
    transaction: Transaction<'static, Any>,
    turn: OwnedMutexGuard<()>,
    inner: Arc<Inner>,
}

impl Write {
    /// Waits for the turn and begins.
    pub(super) async fn begin(inner: &Arc<Inner>) -> Result<Self, StoreError> {
        let turn = Arc::clone(&inner.turn).lock_owned().await;
        let transaction = inner.pool.begin().await?;
        Ok(Self { transaction, turn, inner: Arc::clone(inner) })
    }

    /// Where the statements of this change go.
    pub(super) fn connection(&mut self) -> &mut AnyConnection {
        &mut self.transaction
    }

    /// On whose behalf it is made, where that is an operator.
    pub(super) fn operator(&self) -> Option<&String> {
        self.inner.operator.get()
    }

    /// Makes a change lasting that leaves the catalogue as it is.
    pub(super) async fn finish(self) -> Result<(), StoreError> {
        let Self { transaction, turn, .. } = self;
        transaction.commit().await?;
        drop(turn);
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
        let Self { mut transaction, turn, inner } = self;
        let finish = tokio::spawn(async move {
            let revision = facts::raise(&mut transaction, REVISION).await?;
            transaction.commit().await?;
            let mut catalogue = inner.catalogue_mut();
            remember(&mut catalogue);
            catalogue.follow(revision);
            drop(catalogue);
            drop(turn);
            Ok(())
        });
        finish.await.map_err(|source| StoreError::Unavailable { source: source.into() })?
    }
}
