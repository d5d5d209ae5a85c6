//! SQL for the invocation counters: how many encryptions each key version may have made.
//!
//! The counter is not part of a key's record: it is leased in large blocks before use, so that it
//! is never too low, even after a crash.

use std::collections::HashMap;

use sqlx::Row as _;

use super::key_row::read_invocations;
use super::signature::StoredRow;
use super::tables::VERSIONS;
use super::value::Value;
use super::write::Write;
use super::{Store, StoreError};
use crate::model::KeyVersionId;

/// The versions whose invocations are returned in one change, so that the other gateways of a cluster read
/// the rows of these versions alone. In tests so few that there are several changes.
const RETURNED_TOGETHER: usize = if cfg!(test) { 2 } else { 200 };

/// Invocations that may be used now. The store has already counted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The number leased.
    pub granted: u64,
    /// The total leased of the version, including these.
    pub total: u64,
}

/// The unused part of the leases of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remainder {
    /// The version.
    pub version: KeyVersionId,
    /// The number of unused invocations.
    pub unused: u64,
    /// What the process knows of the count.
    pub known: KnownCount,
}

/// What a process knows of the count of a version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KnownCount {
    /// What the store has counted at the last lease. A promotion of a standby may have lost it.
    pub counted: u64,
    /// What this process has leased since, while the database was a standby. Nobody else knows of it.
    pub uncounted: u64,
}

impl Remainder {
    /// The count after the return, if the store has this one.
    fn total_after(&self, stored: u64) -> u64 {
        let KnownCount { counted, uncounted } = self.known;
        if stored > counted {
            // Some of the unused ones may be in what others have counted on.
            return stored.saturating_add(uncounted.saturating_sub(self.unused));
        }
        counted.saturating_add(uncounted).saturating_sub(self.unused)
    }
}

impl Store {
    /// Leases `wanted` further invocations of a version, or fewer if the total would exceed `most`.
    /// They are on disk when this returns.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the version does not exist; when the database cannot be
    /// written.
    pub async fn lease_invocations(
        &self,
        version: KeyVersionId,
        wanted: u64,
        most: u64,
    ) -> Result<Lease, StoreError> {
        self.lease_invocations_above(KnownCount::default(), version, wanted, most).await
    }

    /// As [`Store::lease_invocations`], after `known`, which a promotion of a standby may have lost, or the
    /// standby did not count.
    ///
    /// # Errors
    /// As there.
    pub async fn lease_invocations_above(
        &self,
        known: KnownCount,
        version: KeyVersionId,
        wanted: u64,
        most: u64,
    ) -> Result<Lease, StoreError> {
        let mut write = self.write_record().await?;
        let row = write.lock_row(&VERSIONS, &[version.to_string().into()]).await?;
        let (row, _stored) = row.ok_or(StoreError::NotFound)?;
        let stored = read_invocations(&row)?;
        let before = stored.max(known.counted).saturating_add(known.uncounted);
        let granted = wanted.min(most.saturating_sub(before));
        let total = before.saturating_add(granted);
        write.set_invocations(version.to_string().into(), total).await?;
        write.finish().await?;
        Ok(Lease { granted, total })
    }

    /// The encryptions of a version that were leased until now, also at a standby.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the version does not exist; when the database cannot be read.
    pub async fn leased_invocations(&self, version: KeyVersionId) -> Result<u64, StoreError> {
        let select = sqlx::query(VERSIONS.select("WHERE id = $1")).bind(version.to_string());
        read_invocations(&self.inner.connection().await?.required_row(select).await?)
    }

    /// Raises the counter of every version to at least `at_least`, for a database that is older than its
    /// token. Returns how many counters changed. A version with a wrong MAC stays unchanged and unused.
    ///
    /// # Errors
    /// When the database cannot be written; no counter is changed then.
    pub async fn raise_invocations(&self, at_least: u64) -> Result<u64, StoreError> {
        let mut write = self.write().await?;
        let changed = write.raise_invocations(at_least).await?;
        write.finish().await?;
        Ok(changed)
    }

    /// The encryptions that each version may have made, by the id of the version, without those with fewer
    /// than `at_least`. The signature of a row is checked with its key.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn version_invocations(
        &self,
        at_least: u64,
    ) -> Result<HashMap<String, u64>, StoreError> {
        let select = sqlx::query(VERSIONS.select("WHERE invocations >= $1"));
        let select = select.bind(count(at_least)?);
        let rows = self.inner.connection().await?.rows(select).await?;
        let counts = rows.iter().map(|row| Ok((row.try_get("id")?, read_invocations(row)?)));
        counts.collect()
    }

    /// Returns unused invocations at an orderly shutdown, and adds those that were not counted. If another
    /// gateway leased some since, the counter is not lowered.
    ///
    /// # Errors
    /// When the database cannot be written; counters are then too high.
    pub async fn return_invocations(&self, remainders: &[Remainder]) -> Result<(), StoreError> {
        for together in remainders.chunks(RETURNED_TOGETHER) {
            let mut write = self.write_record().await?;
            for remainder in together {
                write.return_invocations(remainder).await?;
            }
            write.finish().await?;
        }
        Ok(())
    }
}

impl Write {
    async fn return_invocations(&mut self, remainder: &Remainder) -> Result<(), StoreError> {
        let id = Value::from(remainder.version.to_string());
        let row = self.lock_row(&VERSIONS, std::slice::from_ref(&id)).await?;
        let Some((row, _stored)) = row else { return Ok(()) };
        let stored = read_invocations(&row)?;
        let total = remainder.total_after(stored);
        if total != stored {
            self.set_invocations(id, total).await?;
        }
        Ok(())
    }

    /// Raises the counter of every version by `more`, but not above `most`. Returns how many counters changed.
    /// A version with a wrong MAC stays unchanged and unused.
    pub(super) async fn add_invocations(
        &mut self,
        more: u64,
        most: u64,
    ) -> Result<u64, StoreError> {
        let rows = self.valid_mac_counts("WHERE invocations < $1", most).await?;
        let mut changed = 0;
        for (id, stored) in rows {
            self.set_invocations(id, stored.saturating_add(more).min(most)).await?;
            changed += 1;
        }
        Ok(changed)
    }

    /// The versions whose row is signed, each with its count.
    async fn valid_mac_counts(
        &mut self,
        condition: &str,
        value: u64,
    ) -> Result<Vec<(Value, u64)>, StoreError> {
        let rows = self.rows_with_valid_mac(&VERSIONS, condition, vec![count(value)?.into()]);
        let read = |stored: StoredRow| {
            let total = match stored.values.last() {
                Some(Value::Integer(total)) => u64::try_from(*total).ok()?,
                _ => return None,
            };
            Some((stored.values.into_iter().next()?, total))
        };
        Ok(rows.await?.into_iter().filter_map(read).collect())
    }

    async fn set_invocations(&mut self, version: Value, total: u64) -> Result<(), StoreError> {
        let changes = vec![("invocations", count(total)?.into())];
        self.change_row(&VERSIONS, &[version], changes).await.map(drop)
    }

    /// Raises the counter of every version to at least `at_least`, for a store whose counters may be too
    /// low: one restored from an older copy, or rebuilt from the token. Returns how many counters
    /// changed. A version with a wrong MAC stays unchanged and unused.
    ///
    /// With `crypto.iv_rotate_at` this is safe for every key with automatic rotation: such a version was
    /// rotated at that count before the copy was lost, and is rotated immediately after the restore, so
    /// the sum of both periods stays below 2^32.
    pub(super) async fn raise_invocations(&mut self, at_least: u64) -> Result<u64, StoreError> {
        let rows = self.valid_mac_counts("WHERE invocations < $1", at_least).await?;
        let mut changed = 0;
        for (id, _stored) in rows {
            self.set_invocations(id, at_least).await?;
            changed += 1;
        }
        Ok(changed)
    }
}

fn count(total: u64) -> Result<i64, StoreError> {
    i64::try_from(total).map_err(|source| StoreError::Unavailable { source: source.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{Bench, open, sample_key};

    impl Store {
        async fn invocations(&self, version: KeyVersionId) -> Result<u64, StoreError> {
            let select = sqlx::query(VERSIONS.select("WHERE id = $1")).bind(version.to_string());
            read_invocations(&self.inner.connection().await?.required_row(select).await?)
        }
    }

    #[tokio::test]
    async fn a_lease_is_on_disk_and_ends_at_the_limit() {
        let bench = Bench::new().await;
        let key = bench.store.insert_key(sample_key()).await.unwrap();
        let [version, other] = [key.versions[0].id, key.versions[1].id];
        let lease = async |wanted| bench.store.lease_invocations(version, wanted, 20).await;
        for (granted, total) in [(8, 8), (8, 16), (4, 20), (0, 20)] {
            assert_eq!(lease(8).await.unwrap(), Lease { granted, total });
            let again = open(&bench.url).await.unwrap();
            assert_eq!(again.invocations(version).await.unwrap(), total);
        }
        assert_eq!(bench.store.invocations(other).await.unwrap(), 0);
        let unknown = bench.store.lease_invocations(KeyVersionId::random(), 1, 20).await;
        assert!(matches!(unknown, Err(StoreError::NotFound)));
    }

    #[tokio::test]
    async fn a_lease_follows_the_highest_total_that_is_known() {
        let bench = Bench::new().await;
        let key = bench.store.insert_key(sample_key()).await.unwrap();
        let version = key.versions[0].id;
        let lease = async |counted, uncounted| {
            let known = KnownCount { counted, uncounted };
            bench.store.lease_invocations_above(known, version, 8, 100).await.unwrap()
        };
        assert_eq!(lease(50, 0).await, Lease { granted: 8, total: 58 });
        assert_eq!(lease(50, 0).await, Lease { granted: 8, total: 66 });
        // Two gateways at standbys have leased from the same count.
        assert_eq!(lease(66, 10).await, Lease { granted: 8, total: 84 });
        assert_eq!(lease(66, 5).await, Lease { granted: 8, total: 97 });
    }

    #[tokio::test]
    async fn a_stop_adds_what_the_database_has_not_counted_and_a_promotion_has_lost() {
        for (stored, counted, uncounted, unused, expected) in [
            (50, 50, 10, 4, 56),
            (60, 50, 10, 4, 66),
            (60, 50, 10, 20, 60),
            (30, 50, 0, 8, 42),
            (30, 50, 10, 15, 45),
        ] {
            let bench = Bench::new().await;
            let key = bench.store.insert_key(sample_key()).await.unwrap();
            let version = key.versions[0].id;
            bench.store.lease_invocations(version, stored, 100).await.unwrap();
            let known = KnownCount { counted, uncounted };
            bench.store.return_invocations(&[Remainder { version, unused, known }]).await.unwrap();
            assert_eq!(bench.store.invocations(version).await.unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn adding_to_the_counters_ends_at_the_limit() {
        let bench = Bench::new().await;
        let key = bench.store.insert_key(sample_key()).await.unwrap();
        for (version, leased) in key.versions.iter().zip([90, 10, 120]) {
            bench.store.lease_invocations(version.id, leased, 200).await.unwrap();
        }
        let mut write = bench.store.write().await.unwrap();
        assert_eq!(write.add_invocations(50, 100).await.unwrap(), 2);
        write.finish().await.unwrap();
        for (version, total) in key.versions.iter().zip([100, 60, 120]) {
            assert_eq!(bench.store.invocations(version.id).await.unwrap(), total);
        }
    }

    #[tokio::test]
    async fn unused_invocations_are_returned_unless_another_lease_followed() {
        let bench = Bench::new().await;
        let key = bench.store.insert_key(sample_key()).await.unwrap();
        let version = key.versions[0].id;
        for expected in [5, 13] {
            let lease = bench.store.lease_invocations(version, 8, 100).await.unwrap();
            let unused = if expected == 5 { 3 } else { 0 };
            let known = KnownCount { counted: lease.total, uncounted: 0 };
            let remainder = Remainder { version, unused, known };
            bench.store.return_invocations(&[remainder]).await.unwrap();
            assert_eq!(bench.store.invocations(version).await.unwrap(), expected);
        }
        let known = KnownCount { counted: 12, uncounted: 0 };
        let stale = Remainder { version, unused: 1, known };
        bench.store.return_invocations(&[stale]).await.unwrap();
        assert_eq!(bench.store.invocations(version).await.unwrap(), 13);
    }

    #[tokio::test]
    async fn raising_the_counters_lowers_none() {
        let bench = Bench::new().await;
        let key = bench.store.insert_key(sample_key()).await.unwrap();
        bench.store.lease_invocations(key.versions[0].id, 90, 100).await.unwrap();
        assert_eq!(bench.store.raise_invocations(50).await.unwrap(), 2);
        for (version, total) in key.versions.iter().zip([90, 50, 50]) {
            assert_eq!(bench.store.invocations(version.id).await.unwrap(), total);
        }
        let most = [(key.versions[0].id.to_string(), 90)].into();
        assert_eq!(bench.store.version_invocations(51).await.unwrap(), most);
    }

    #[tokio::test]
    async fn a_change_of_the_key_leaves_the_count_alone() {
        let bench = Bench::new().await;
        let key = bench.store.insert_key(sample_key()).await.unwrap();
        let version = key.versions[2].id;
        bench.store.lease_invocations(version, 7, 100).await.unwrap();
        let live = bench.store.change_key(key.id, |key| {
            assert!(key.activate(version));
            Ok::<_, StoreError>(())
        });
        live.await.unwrap();
        assert_eq!(bench.store.invocations(version).await.unwrap(), 7);
    }
}
