//! On PostgreSQL, except where one gateway is enough: a SQLite store has one.

use super::*;
use crate::model::{
    AccessPoint, Alias, FromParam, KeyId, KeyRecord, KeyVersionId, NetworkRule, Time, clock,
};
use crate::store::secrets::tests::insert_sample_secret;
use crate::store::tests::{Bench, open, sample_key, version};
use crate::store::{LockedStore, Revocation};

/// Two gateways of a cluster.
struct Pair {
    bench: Bench,
    here: Store,
    there: Store,
}

/// `None` while the tests run on SQLite.
async fn pair() -> Option<Pair> {
    let bench = Bench::new().await;
    if bench.is_on_file() {
        return None;
    }
    let [here, there] = [member(&bench, "a").await, member(&bench, "b").await];
    Some(Pair { bench, here, there })
}

async fn member(bench: &Bench, name: &str) -> Store {
    open(&format!("{}&cluster_member={name}", bench.url)).await.unwrap()
}

/// The numbers of rows that refreshes read: all, and changed ones.
fn read_rows(store: &Store) -> [u64; 2] {
    ["all", "changed"].map(|kind| store.inner.health.metrics.refreshed_rows(kind))
}

/// Refreshes a store. Returns how many rows were read: all, or changed ones.
async fn refresh(store: &Store) -> [u64; 2] {
    let before = read_rows(store);
    store.refresh().await.unwrap();
    let after = read_rows(store);
    [after[0] - before[0], after[1] - before[1]]
}

async fn describe(store: &Store, key: KeyId, description: &str) -> Arc<KeyRecord> {
    let change = |key: &mut KeyRecord| {
        description.clone_into(&mut key.description);
        Ok::<_, StoreError>(())
    };
    store.change_key(key, change).await.unwrap()
}

fn rule(name: &str) -> NetworkRule {
    NetworkRule {
        name: name.parse().unwrap(),
        source_private_ip: FromParam::from_param(r#"["10.0.0.0/8"]"#).unwrap(),
        description: String::new(),
        created: Time::from_unix(1_700_000_000),
    }
}

impl Pair {
    /// Requires that the memory of both gateways is the database, and that nothing is damaged.
    async fn assert_equal(&self) {
        let fresh = member(&self.bench, "c").await;
        assert_eq!(fresh.damaged_rows(), []);
        for store in [&self.here, &self.there] {
            assert_eq!(fresh.keys(), store.keys());
            assert_eq!(fresh.key_page(page()).rows, store.key_page(page()).rows);
            assert_eq!(fresh.aliases(), store.aliases());
            assert_eq!(fresh.secrets(), store.secrets());
            let [wanted, found] = [&fresh, store].map(|store| store.inner.catalogue.read());
            assert_eq!(wanted.documents, found.documents);
            assert!(found.known_rows().unwrap().are_same(wanted.known_rows().unwrap()));
            assert_eq!(wanted.revision(), found.revision());
        }
        fresh.close().await;
    }
}

fn page() -> crate::model::Page {
    crate::model::Page { number: 1, size: 100 }
}

#[tokio::test]
async fn only_the_rows_that_another_gateway_changed_are_read() {
    let Some(pair) = pair().await else { return };
    let Pair { here, there, .. } = &pair;
    for _ in 0..5 {
        there.insert_key(sample_key()).await.unwrap();
    }
    // The first read is that of the start: the list of the changes since is whole.
    assert_eq!(refresh(here).await, [0, 20]);
    pair.assert_equal().await;
    let [first, second] = [0, 1].map(|at| Arc::clone(&there.keys()[at]));
    let name: Alias = "alias/a".parse().unwrap();
    there.create_alias(&name, first.id).await.unwrap();
    assert_eq!(refresh(here).await, [0, 1]);
    there.update_alias(&name, second.id, |_from, _to| Ok::<_, StoreError>(())).await.unwrap();
    assert_eq!(refresh(here).await, [0, 1]);
    assert_eq!(here.alias_target(&name), Some(second.id));
    describe(there, first.id, "changed").await;
    assert_eq!(refresh(here).await, [0, 4], "the key and its three versions");
    assert_eq!(here.key(first.id).unwrap().description, "changed");
    let add = |key: &mut KeyRecord| {
        key.versions.remove(0);
        key.versions.push(version((4, true)));
        Ok::<_, StoreError>(())
    };
    there.change_key(first.id, add).await.unwrap();
    assert_eq!(refresh(here).await, [0, 4]);
    assert_eq!(here.key_of_version(first.versions[0].id), None);
    assert_eq!(here.key(first.id), there.key(first.id));
    pair.assert_equal().await;
    there.insert_document(rule("a")).await.unwrap();
    there.insert_document(rule("b")).await.unwrap();
    assert_eq!(refresh(here).await, [0, 2]);
    let change = |rule: &mut NetworkRule| {
        rule.description = "changed".to_owned();
        Ok::<_, StoreError>(())
    };
    there.change_document("a", change).await.unwrap();
    there.remove_document::<NetworkRule>("b").await.unwrap();
    assert_eq!(refresh(here).await, [0, 1]);
    assert_eq!(here.documents::<NetworkRule>().len(), 1);
    let secret = insert_sample_secret(there, "db/orders").await;
    insert_sample_secret(there, "db/old").await;
    assert_eq!(refresh(here).await, [0, 2]);
    let change = |secret: &mut crate::model::SecretRecord| {
        secret.description = "changed".to_owned();
        Ok::<_, StoreError>(())
    };
    there.change_secret(&secret, None, change).await.unwrap();
    let old = there.secret(&"db/old".parse().unwrap()).await.unwrap().unwrap();
    there.remove_secret(&old, clock::now(), |_| Ok::<_, StoreError>(())).await.unwrap();
    assert_eq!(refresh(here).await, [0, 2], "the secret and the tombstone of the other one");
    pair.assert_equal().await;
    there.remove_key(second.id).await.unwrap();
    assert_eq!(refresh(here).await, [0, 1], "the tombstone");
    assert_eq!((here.key(second.id), here.alias_target(&name)), (None, None));
    let gone: Vec<_> = here.take_removed().into_iter().map(|(_key, version)| version.id).collect();
    let live = second.live_versions().map(|version| version.id);
    let of_first = first.live_versions().take(1).map(|version| version.id);
    assert_eq!(gone, of_first.chain(live).collect::<Vec<KeyVersionId>>());
    pair.assert_equal().await;
}

#[tokio::test]
async fn own_changes_and_leases_need_no_read_of_all_rows() {
    let Some(pair) = pair().await else { return };
    let Pair { here, there, .. } = &pair;
    let key = there.insert_key(sample_key()).await.unwrap();
    assert_eq!(refresh(there).await, [0, 0], "own changes are in memory");
    here.insert_document(rule("a")).await.unwrap();
    assert_eq!(refresh(here).await, [0, 5], "a change of the other, and the own one after it");
    assert_eq!(refresh(there).await, [0, 5], "a change of the other, and the own key once more");
    let version = key.versions[0].id;
    here.lease_invocations(version, 10, 1000).await.unwrap();
    there.lease_invocations(version, 10, 1000).await.unwrap();
    describe(there, key.id, "changed").await;
    assert_eq!(refresh(here).await, [0, 4]);
    here.lease_invocations(version, 10, 1000).await.unwrap();
    assert_eq!(refresh(there).await, [0, 4]);
    pair.assert_equal().await;
    // Changes that touch no row of the catalogue are no changes for the others.
    there.set_metadata("region", "cn-hangzhou").await.unwrap();
    assert!(!here.refresh().await.unwrap());
}

#[tokio::test]
async fn all_rows_are_read_if_the_lists_do_not_tell_everything() {
    let Some(pair) = pair().await else { return };
    let Pair { bench, here, there } = &pair;
    let key = there.insert_key(sample_key()).await.unwrap();
    refresh(here).await;
    for sql in [
        "DELETE FROM catalogue_changes",
        "DELETE FROM catalogue_changes WHERE revision = (SELECT MAX(revision) - 1 FROM catalogue_changes)",
        "DELETE FROM catalogue_changes WHERE revision = (SELECT MAX(revision) FROM catalogue_changes)",
        "UPDATE catalogue_changes SET table_name = '*'",
        "UPDATE catalogue_changes SET table_name = 'another'",
        "UPDATE catalogue_changes SET row_key = '[]'",
        "UPDATE catalogue_changes SET row_key = '[\"another\"]'",
    ] {
        for text in ["one", "other"] {
            describe(there, key.id, text).await;
            describe(there, key.id, sql).await;
        }
        bench.tamper(sql).await;
        let [all, _changed] = refresh(here).await;
        assert_eq!(all, 4, "{sql}");
        assert_eq!(here.key(key.id).unwrap().description, sql);
        pair.assert_equal().await;
    }
    // A gateway of an older program, or a command, writes no list.
    describe(&bench.store, key.id, "of an older program").await;
    describe(there, key.id, "after it").await;
    assert_eq!(refresh(here).await[0], 4);
    bench.store.lease_invocations(key.versions[0].id, 10, 1000).await.unwrap();
    describe(there, key.id, "after a lease").await;
    assert_eq!(refresh(here).await, [0, 4], "the lease is in the same row group");
    let other = there.insert_key(sample_key()).await.unwrap();
    refresh(here).await;
    bench.store.lease_invocations(key.versions[0].id, 10, 1000).await.unwrap();
    describe(there, other.id, "after a lease of another key").await;
    assert_eq!(refresh(here).await[0], 8);
    refresh(there).await;
    bench.store.lease_invocations(key.versions[0].id, 10, 1000).await.unwrap();
    describe(here, other.id, "again").await;
    assert_eq!(refresh(there).await[0], 8, "the lease is not in its memory");
    describe(there, key.id, "read again").await;
    assert_eq!(refresh(here).await, [0, 8], "and the key that it has changed itself");
    describe(there, key.id, "and again").await;
    assert_eq!(refresh(here).await, [0, 4]);
    pair.assert_equal().await;
}

#[tokio::test]
async fn old_lists_are_deleted_and_then_all_rows_are_read() {
    let Some(pair) = pair().await else { return };
    let Pair { bench, here, there } = &pair;
    let key = there.insert_key(sample_key()).await.unwrap();
    refresh(here).await;
    bench.tamper("UPDATE facts SET value = '9999' WHERE name = 'catalogue-revision'").await;
    refresh(there).await;
    for text in ["one", "other", "one", "other"] {
        describe(there, key.id, text).await;
    }
    assert_eq!(refresh(here).await[0], 4);
    bench.tamper("UPDATE facts SET value = '10239' WHERE name = 'catalogue-revision'").await;
    refresh(there).await;
    describe(there, key.id, "that prunes").await;
    let lists = bench.try_tamper("UPDATE catalogue_changes SET number = number").await.unwrap();
    assert_eq!(lists, 5, "those of the first 5240 revisions are gone");
    refresh(here).await;
    pair.assert_equal().await;
}

#[tokio::test]
async fn a_row_that_was_changed_in_the_database_is_never_used() {
    let Some(pair) = pair().await else { return };
    let Pair { bench, here, there } = &pair;
    let [one, other] = [
        there.insert_key(sample_key()).await.unwrap(),
        there.insert_key(sample_key()).await.unwrap(),
    ];
    refresh(here).await;
    // The row that was changed is not the one that hsmgate wrote.
    describe(there, one.id, "signed").await;
    bench.tamper("UPDATE keys SET description = 'forged' WHERE description = 'signed'").await;
    assert_eq!(refresh(here).await[0], 8);
    assert_eq!(here.key(one.id), None);
    assert!(here.is_damaged_key(one.id));
    // While a row is damaged, all rows are read after each change.
    describe(there, other.id, "of another key").await;
    assert_eq!(refresh(here).await, [8, 0]);
    bench.tamper("UPDATE keys SET description = 'signed' WHERE description = 'forged'").await;
    describe(there, other.id, "again").await;
    assert_eq!(refresh(here).await[0], 8);
    assert_eq!(here.damaged_rows(), []);
    // A row that nobody changed is not read with the next change, and found within five minutes. What was
    // read and checked before stays in use.
    bench.tamper("UPDATE keys SET description = 'forged' WHERE description = 'signed'").await;
    describe(there, other.id, "changed").await;
    assert_eq!(refresh(here).await, [0, 4]);
    assert_eq!(here.key(one.id).unwrap().description, "signed");
    here.inner.next_check.make_due(Scope::Catalogue);
    assert_eq!(refresh(here).await, [8, 0]);
    assert_eq!(here.key(one.id), None);
}

#[tokio::test]
async fn an_older_row_and_a_row_that_is_gone_are_not_used() {
    for put_back in [
        "UPDATE keys SET description = kept.description, row_mac = kept.row_mac \
         FROM kept WHERE kept.id = keys.id",
        "DELETE FROM key_versions USING kept WHERE kept.id = key_versions.key_id",
    ] {
        let Some(pair) = pair().await else { return };
        let Pair { bench, here, there } = &pair;
        let key = there.insert_key(sample_key()).await.unwrap();
        refresh(here).await;
        bench.tamper("CREATE TABLE kept AS SELECT * FROM keys").await;
        describe(there, key.id, "newer").await;
        bench.tamper(put_back).await;
        assert!(refresh(here).await[0] > 0);
        assert_eq!(here.key(key.id), None, "{put_back}");
    }
}

#[tokio::test]
async fn a_revoked_document_does_not_come_back_with_a_change_of_it() {
    let Some(pair) = pair().await else { return };
    let Pair { bench, here, there } = &pair;
    let provider = crate::model::IdentityProvider {
        name: "k8s".parse().unwrap(),
        ..crate::store::signing::tests::identity_provider()
    };
    there.insert_document(provider.clone()).await.unwrap();
    let key = there.insert_key(sample_key()).await.unwrap();
    refresh(here).await;
    let url = format!("{}&cluster_member=c", bench.url);
    let locked = LockedStore::open(&url).await.unwrap();
    let revocation = Revocation::DeleteIdentityProvider(provider.name.clone());
    assert!(locked.unchecked().revoke(revocation).await.unwrap());
    assert!(refresh(here).await[0] > 0);
    assert_eq!(here.document::<crate::model::IdentityProvider>("k8s"), None);
    describe(there, key.id, "changed").await;
    assert!(refresh(here).await[0] > 0, "all rows while a revocation is not signed");
    assert_eq!(here.document::<crate::model::IdentityProvider>("k8s"), None);
    here.sign_revocations().await.unwrap();
    refresh(there).await;
    refresh(here).await;
    describe(there, key.id, "again").await;
    refresh(here).await;
    describe(there, key.id, "and again").await;
    assert_eq!(refresh(here).await, [0, 4]);
    pair.assert_equal().await;
}

/// Keeps the rows of keys and metadata, and the digests.
async fn keep(bench: &Bench) {
    for table in ["keys", "facts", "row_digests"] {
        bench.tamper(&format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}")).await;
    }
}

const PUT_KEYS_BACK: &str = "UPDATE keys SET description = kept_keys.description, \
                             row_mac = kept_keys.row_mac FROM kept_keys WHERE kept_keys.id = keys.id";

/// Puts the digests of a scope back.
async fn put_digests_back(bench: &Bench, scope: Scope) {
    let sql = format!(
        "UPDATE row_digests SET revision = kept.revision, row_count = kept.row_count, \
         nonce = kept.nonce, digest = kept.digest, row_mac = kept.row_mac \
         FROM kept_row_digests AS kept WHERE kept.scope = row_digests.scope \
         AND kept.part = row_digests.part AND kept.scope = '{}'",
        scope.name()
    );
    bench.tamper(&sql).await;
}

/// Puts a metadata entry back.
async fn put_entry_back(bench: &Bench, name: &str) {
    let sql = format!(
        "UPDATE facts SET value = kept.value, row_mac = kept.row_mac FROM kept_facts AS kept \
         WHERE kept.name = facts.name AND kept.name = '{name}'"
    );
    bench.tamper(&sql).await;
}

#[tokio::test]
async fn a_change_that_a_fail_over_lost_does_not_stay_in_memory() {
    let Some(pair) = pair().await else { return };
    let Pair { bench, here, there } = &pair;
    let key = there.insert_key(sample_key()).await.unwrap();
    keep(bench).await;
    describe(there, key.id, "lost").await;
    assert_eq!(refresh(here).await, [0, 4]);
    bench.tamper(PUT_KEYS_BACK).await;
    put_digests_back(bench, Scope::Catalogue).await;
    put_entry_back(bench, super::super::tables::CATALOGUE_REVISION).await;
    // The revisions of catalogue and part are those of the lost change.
    describe(there, key.id, "made instead").await;
    there.insert_document(rule("a")).await.unwrap();
    assert!(refresh(here).await[0] > 0);
    assert_eq!(here.key(key.id).unwrap().description, "made instead");
    // It has counted its lost change, and reads nothing before another gateway changes something.
    there.inner.next_check.make_due(Scope::Catalogue);
    refresh(there).await;
    pair.assert_equal().await;
}

#[tokio::test]
async fn rows_and_digest_before_an_own_change_are_not_used() {
    let bench = Bench::new().await;
    let key = bench.store.insert_key(sample_key()).await.unwrap();
    keep(&bench).await;
    describe(&bench.store, key.id, "newer").await;
    bench.tamper(PUT_KEYS_BACK).await;
    put_digests_back(&bench, Scope::Catalogue).await;
    bench.store.inner.next_check.make_due(Scope::Catalogue);
    bench.store.refresh().await.unwrap();
    assert_eq!(bench.store.key(key.id), None);
    assert_ne!(bench.store.damaged_rows(), []);
}

#[tokio::test]
async fn a_list_that_names_other_rows_does_not_hide_a_revocation() {
    let Some(pair) = pair().await else { return };
    let Pair { bench, here, there } = &pair;
    let provider = crate::store::signing::tests::identity_provider();
    there.insert_document(provider.clone()).await.unwrap();
    let key = there.insert_key(sample_key()).await.unwrap();
    refresh(here).await;
    let locked = LockedStore::open(&bench.url).await.unwrap();
    let revocation = Revocation::DeleteIdentityProvider(provider.name.clone());
    assert!(locked.unchecked().revoke(revocation).await.unwrap());
    // As one that a counter which began again would find.
    let list = format!(
        "INSERT INTO catalogue_changes SELECT CAST(value AS BIGINT), 1, 'keys', '[\"{}\"]' \
         FROM facts WHERE name = 'catalogue-revision'",
        key.id
    );
    bench.tamper(&list).await;
    assert!(refresh(here).await[0] > 0);
    let name = provider.name.as_str();
    assert_eq!(here.document::<crate::model::IdentityProvider>(name), None);
}

#[tokio::test]
async fn a_negative_counter_is_damaged() {
    let Some(pair) = pair().await else { return };
    let Pair { bench, here, there } = &pair;
    let key = there.insert_key(sample_key()).await.unwrap();
    refresh(here).await;
    bench
        .tamper("UPDATE facts SET value = '-9223372036854775808' WHERE name = 'catalogue-revision'")
        .await;
    assert!(refresh(here).await[0] > 0);
    assert_eq!(here.damaged_rows().len(), 1);
    for text in ["one", "other", "one"] {
        describe(there, key.id, text).await;
        refresh(here).await;
        assert_eq!(here.key(key.id).unwrap().description, text);
    }
    assert_eq!(here.damaged_rows(), []);
    refresh(there).await;
    pair.assert_equal().await;
}

#[tokio::test]
async fn many_leases_that_are_returned_need_no_read_of_all_rows() {
    let Some(pair) = pair().await else { return };
    let Pair { here, there, .. } = &pair;
    let mut remainders = Vec::new();
    for _ in 0..3 {
        let version = there.insert_key(sample_key()).await.unwrap().versions[0].id;
        let total = there.lease_invocations(version, 8, 100).await.unwrap().total;
        let known = crate::store::KnownCount { counted: total, uncounted: 0 };
        remainders.push(crate::store::Remainder { version, unused: 3, known });
    }
    refresh(here).await;
    let before = there.catalogue_revision();
    there.return_invocations(&remainders).await.unwrap();
    assert_eq!(there.catalogue_revision() - before, 2, "two changes of at most two versions");
    assert_eq!(refresh(here).await, [0, 12]);
    let left = there.version_invocations(1).await.unwrap();
    assert_eq!(left.into_values().collect::<Vec<_>>(), [5, 5, 5]);
    pair.assert_equal().await;
}

#[tokio::test]
async fn metadata_before_that_of_the_last_refresh_is_not_used() {
    let Some(pair) = pair().await else { return };
    let Pair { bench, here, there } = &pair;
    let key = there.insert_key(sample_key()).await.unwrap();
    there.set_metadata("head", "1").await.unwrap();
    keep(bench).await;
    there.set_metadata("head", "2").await.unwrap();
    describe(there, key.id, "changed").await;
    assert_eq!(refresh(here).await, [0, 4]);
    put_entry_back(bench, "head").await;
    put_digests_back(bench, Scope::Metadata).await;
    assert!(matches!(here.metadata("head").await, Err(StoreError::Corrupt { .. })));
}

#[tokio::test]
async fn an_own_change_of_a_row_that_was_put_back_is_found_with_the_next_change() {
    let Some(pair) = pair().await else { return };
    let Pair { bench, here, there } = &pair;
    let key = there.insert_key(sample_key()).await.unwrap();
    keep(bench).await;
    describe(there, key.id, "newer").await;
    assert_eq!(refresh(here).await, [0, 4]);
    bench.tamper(PUT_KEYS_BACK).await;
    describe(here, key.id, "made of the older one").await;
    assert_eq!(refresh(here).await, [0, 0]);
    there.insert_document(rule("a")).await.unwrap();
    assert!(refresh(here).await[0] > 0);
    assert_eq!(here.key(key.id), None);
    assert!(refresh(there).await[0] > 0);
    assert_eq!(there.key(key.id), None);
}

/// Numbers that look random and are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

#[tokio::test]
async fn two_gateways_are_equal_after_random_changes() {
    let Some(pair) = pair().await else { return };
    let Pair { here, there, .. } = &pair;
    let start = [read_rows(here)[0], read_rows(there)[0]];
    let mut numbers = Numbers(18);
    for step in 0..200 {
        let store = if numbers.below(2) == 0 { here } else { there };
        change(store, &mut numbers, step).await;
        if numbers.below(3) == 0 {
            here.refresh().await.unwrap();
        }
        if numbers.below(5) == 0 {
            there.refresh().await.unwrap();
        }
        if step % 50 == 49 {
            here.refresh().await.unwrap();
            there.refresh().await.unwrap();
            pair.assert_equal().await;
        }
    }
    assert_eq!([read_rows(here)[0], read_rows(there)[0]], start, "no read of all rows");
}

/// Makes one change of any kind. It may fail, because the memory of the gateway is behind.
async fn change(store: &Store, numbers: &mut Numbers, step: usize) {
    let keys = store.keys();
    let key = keys.get(numbers.below(keys.len().max(1)));
    match (numbers.below(9), key) {
        (0, _) | (_, None) => drop(store.insert_key(sample_key()).await),
        (1, Some(key)) => drop(store.remove_key(key.id).await),
        (2, Some(key)) => {
            let name = format!("alias/{}", numbers.below(20)).parse().unwrap();
            drop(store.create_alias(&name, key.id).await);
            drop(store.update_alias(&name, key.id, |_, _| Ok::<_, StoreError>(())).await);
        }
        (3, Some(_key)) => {
            let name = format!("alias/{}", numbers.below(20)).parse().unwrap();
            drop(store.delete_alias(&name, |_key| Ok::<_, StoreError>(())).await);
        }
        (4, Some(_key)) => {
            let name = format!("rule{}", numbers.below(5));
            if store.insert_document(rule(&name)).await.is_err() {
                drop(store.remove_document::<NetworkRule>(&name).await);
            }
        }
        (5, Some(_key)) => drop(
            store
                .insert_document(AccessPoint {
                    name: format!("point{}", numbers.below(5)).parse().unwrap(),
                    ..crate::store::signing::tests::access_point("point")
                })
                .await,
        ),
        (6, Some(key)) => {
            drop(store.lease_invocations(key.versions[0].id, 5, 1_000_000).await);
        }
        (7, Some(_key)) => {
            let name = format!("db/{}", step % 7);
            match store.secret(&name.parse().unwrap()).await.unwrap() {
                None => drop(insert_sample_secret(store, &name).await),
                Some(secret) => {
                    let decide = |_secret: &crate::model::SecretRecord| Ok::<_, StoreError>(());
                    drop(store.remove_secret(&secret, clock::now(), decide).await);
                }
            }
        }
        (_, Some(key)) => {
            let change = |key: &mut KeyRecord| {
                key.description = format!("step {step}");
                Ok::<_, StoreError>(())
            };
            drop(store.change_key(key.id, change).await);
        }
    }
}
