//! Counts objects in the transaction that adds one, so that changes at the same time cannot exceed
//! a quota together.

use super::connection::Statement;
use super::write::Write;
use super::{Store, StoreError};
use crate::model::{Quota, Quotas};

impl Store {
    /// Limits the numbers of objects that this process creates. Only the first call has an effect.
    pub fn set_quotas(&self, quotas: Quotas) {
        // A process has one configuration.
        let _ = self.inner.quotas.set(quotas);
    }

    /// The quotas; without a limit, unless they were set.
    pub fn quotas(&self) -> Quotas {
        self.inner.quotas.get().copied().unwrap_or_default()
    }
}

impl Write {
    /// Refuses the change if the objects that `count` counts have reached their quota.
    pub(super) async fn require_room(
        &mut self,
        quota: Quota,
        count: Statement<'_>,
    ) -> Result<(), StoreError> {
        let present: i64 = self.connection().value(count).await?;
        let present = usize::try_from(present).unwrap_or(usize::MAX);
        if quota.has_room(present) { Ok(()) } else { Err(StoreError::QuotaReached(quota)) }
    }

    /// The quotas of the caller. Operators are not limited.
    pub(super) fn quotas(&self) -> Quotas {
        if self.operator().is_some() {
            return Quotas::default();
        }
        self.inner().quotas.get().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use crate::model::{Quota, Quotas};
    use crate::store::StoreError;
    use crate::store::tests::{Bench, sample_key};

    #[tokio::test]
    async fn changes_at_the_same_time_do_not_exceed_a_quota() {
        let bench = Bench::new().await;
        let of_two = Quota { setting: "quotas.keys", most: 2 };
        bench.store.set_quotas(Quotas { keys: of_two, ..Quotas::default() });
        let insert = || bench.store.insert_key(sample_key());
        let outcomes = tokio::join!(insert(), insert(), insert(), insert());
        let outcomes = [outcomes.0, outcomes.1, outcomes.2, outcomes.3];
        let is_refused = |outcome: &Result<_, _>| matches!(outcome, Err(StoreError::QuotaReached(quota)) if *quota == of_two);
        assert_eq!(outcomes.iter().filter(|outcome| is_refused(outcome)).count(), 2);
        assert_eq!(bench.store.keys().len(), 2);
        bench.assert_disk_is_memory().await;
        bench.store.remove_key(bench.store.keys()[0].id).await.unwrap();
        insert().await.unwrap();
    }
}
