//! Counts objects in the transaction that adds one, so that changes at the same time cannot exceed
//! a quota together.

use super::connection::Statement;
use super::write::Write;
use super::{Store, StoreError};
use crate::model::{
    AccessPoint, AccessPolicy, ClientKeyRecord, ImportParameters, NetworkRule, Quota, Quotas,
};

/// A quota, and the number of objects that count for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaUse {
    /// The quota.
    pub quota: Quota,
    /// The number of objects.
    pub used: usize,
}

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

    /// How much of each quota is used. For the versions of a key, it is that of the key with the most.
    pub fn quota_uses(&self) -> [QuotaUse; 9] {
        let quotas = self.quotas();
        let versions = self.keys().iter().map(|key| key.versions.len()).max().unwrap_or_default();
        [
            (quotas.keys, self.key_count()),
            (quotas.key_versions, versions),
            (quotas.aliases, self.alias_count()),
            (quotas.import_tokens, self.documents::<ImportParameters>().len()),
            (quotas.network_rules, self.documents::<NetworkRule>().len()),
            (quotas.policies, self.documents::<AccessPolicy>().len()),
            (quotas.access_points, self.documents::<AccessPoint>().len()),
            (quotas.client_keys, self.documents::<ClientKeyRecord>().len()),
            (quotas.secrets, self.secrets().len()),
        ]
        .map(|(quota, used)| QuotaUse { quota, used })
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
