//! SQL for aliases.

use sqlx::any::AnyRow;

use super::tables::ALIASES;
use super::write::Write;
use super::{AliasRecord, Store, StoreError};
use crate::model::{Alias, KeyId, KeyRecord, clock};

/// Reads an alias. An alias of a damaged key is kept; its target then does not exist.
pub(super) fn read_alias(row: &AnyRow) -> Result<AliasRecord, StoreError> {
    let fields = ALIASES.fields(row);
    Ok(AliasRecord {
        name: fields.parsed("name")?,
        key: fields.parsed("key_id")?,
        created: fields.time("created")?,
    })
}

impl Store {
    /// Creates an alias.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the alias name is taken, [`StoreError::NotFound`] when the key
    /// does not exist; [`StoreError::QuotaReached`].
    pub async fn create_alias(&self, name: &Alias, key: KeyId) -> Result<(), StoreError> {
        let alias = AliasRecord { name: name.clone(), key, created: clock::now() };
        let mut write = self.write().await?;
        let count = sqlx::query("SELECT COUNT(*) FROM aliases");
        write.require_room(write.quotas().aliases, count).await?;
        let values = vec![name.to_string().into(), key.to_string().into(), alias.created.into()];
        write.insert_row(&ALIASES, values).await?;
        write.note("CreateAlias", named(name, key)).await?;
        write.commit(move |catalogue| catalogue.put_alias(alias)).await
    }

    /// Moves an alias to another key, if `decide` agrees. `decide` receives the current key and the
    /// new key, in this order.
    ///
    /// Both are read from disk and locked, with the alias, against all other writers until the
    /// change is committed. The alias cannot move to a third key between the decision and the
    /// change.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the alias or the key does not exist; what `decide` returns.
    pub async fn update_alias<E, F>(&self, name: &Alias, key: KeyId, decide: F) -> Result<(), E>
    where
        E: From<StoreError>,
        F: FnOnce(&KeyRecord, &KeyRecord) -> Result<(), E>,
    {
        let mut write = self.write().await?;
        let alias = write.lock_alias(name).await?;
        let from = write.lock_key(alias.key).await?;
        let to = if key == from.id { from.clone() } else { write.lock_key(key).await? };
        decide(&from, &to)?;
        let changes = vec![("key_id", key.to_string().into())];
        write.change_row(&ALIASES, &[name.to_string().into()], changes).await?;
        write.note("UpdateAlias", named(name, key)).await?;
        let alias = AliasRecord { key, ..alias };
        Ok(write.commit(move |catalogue| catalogue.put_alias(alias)).await?)
    }

    /// Deletes an alias, if `decide` agrees. `decide` receives the key that the alias names, locked
    /// with the alias as in [`Store::update_alias`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the alias does not exist; what `decide` returns.
    pub async fn delete_alias<E, F>(&self, name: &Alias, decide: F) -> Result<(), E>
    where
        E: From<StoreError>,
        F: FnOnce(&KeyRecord) -> Result<(), E>,
    {
        let mut write = self.write().await?;
        let alias = write.lock_alias(name).await?;
        decide(&write.lock_key(alias.key).await?)?;
        write.delete_rows(&ALIASES, "name = $1", vec![name.to_string().into()]).await?;
        write.note("DeleteAlias", vec![("AliasName", name.to_string())]).await?;
        let name = name.clone();
        Ok(write.commit(move |catalogue| catalogue.remove_alias(&name)).await?)
    }
}

/// The parameters of a change, for the audit record.
fn named(name: &Alias, key: KeyId) -> Vec<(&'static str, String)> {
    vec![("AliasName", name.to_string()), ("KeyId", key.to_string())]
}

impl Write {
    /// Reads an alias and locks its row until the transaction ends, as for a key.
    async fn lock_alias(&mut self, name: &Alias) -> Result<AliasRecord, StoreError> {
        let row = self.lock_row(&ALIASES, &[name.to_string().into()]).await?;
        let (row, _stored) = row.ok_or(StoreError::NotFound)?;
        read_alias(&row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{Bench, open, sample_key};

    #[expect(clippy::unnecessary_wraps, reason = "it has the type of a decision")]
    fn agree(_from: &KeyRecord, _to: &KeyRecord) -> Result<(), StoreError> {
        Ok(())
    }

    /// The other handle simulates another process, so the catalogue of this handle is stale.
    #[tokio::test]
    async fn moving_or_deleting_an_alias_is_decided_on_its_target_on_disk() {
        let bench = Bench::new().await;
        let (here, there) = (&bench.store, open(&bench.url).await.unwrap());
        let name: Alias = "alias/orders".parse().unwrap();
        let mut keys = Vec::new();
        for _ in 0..3 {
            keys.push(there.insert_key(sample_key()).await.unwrap().id);
        }
        there.create_alias(&name, keys[0]).await.unwrap();
        here.refresh().await.unwrap();
        there.update_alias(&name, keys[1], agree).await.unwrap();
        let deny = |key: &KeyRecord| {
            assert_eq!((key.id, key.policy.as_deref()), (keys[1], None));
            Err(StoreError::Url("represents any refusal"))
        };
        let change = |key: &mut KeyRecord| {
            key.policy = None;
            Ok::<_, StoreError>(())
        };
        there.change_key(keys[1], change).await.unwrap();
        assert_eq!(here.alias_target(&name), Some(keys[0]), "memory is stale");
        let moved = here.update_alias(&name, keys[2], |from, to| {
            assert_eq!(to.id, keys[2]);
            deny(from)
        });
        assert!(matches!(moved.await, Err(StoreError::Url(_))));
        let removed = here.delete_alias(&name, deny);
        assert!(matches!(removed.await, Err(StoreError::Url(_))));
        here.refresh().await.unwrap();
        assert_eq!(here.alias_target(&name), Some(keys[1]), "a refusal changes nothing");
        bench.assert_disk_is_memory().await;
    }

    #[tokio::test]
    async fn an_alias_names_one_key_until_it_is_moved() {
        let bench = Bench::new().await;
        let one = bench.store.insert_key(sample_key()).await.unwrap().id;
        let two = bench.store.insert_key(sample_key()).await.unwrap().id;
        let name: Alias = "alias/orders".parse().unwrap();
        bench.store.create_alias(&name, one).await.unwrap();
        let created = bench.store.aliases()[0].created;
        assert!(matches!(bench.store.create_alias(&name, two).await, Err(StoreError::Exists)));
        assert_eq!(bench.store.alias_target(&name), Some(one));
        bench.store.update_alias(&name, two, agree).await.unwrap();
        assert_eq!(bench.store.aliases(), [AliasRecord { name: name.clone(), key: two, created }]);
        assert_eq!(bench.store.aliases_of(one), []);
        bench.assert_disk_is_memory().await;
        bench.store.delete_alias(&name, |_key| Ok::<_, StoreError>(())).await.unwrap();
        assert_eq!(bench.store.aliases(), []);
        assert_eq!(bench.store.aliases_of(two), []);
        bench.assert_disk_is_memory().await;
    }

    #[tokio::test]
    async fn an_unknown_alias_or_key_is_not_found() {
        let Bench { store, .. } = &Bench::new().await;
        let key = store.insert_key(sample_key()).await.unwrap().id;
        let (name, other): (Alias, Alias) =
            ("alias/a".parse().unwrap(), "alias/b".parse().unwrap());
        let nobody = KeyId::random();
        store.create_alias(&name, key).await.unwrap();
        for result in [
            store.create_alias(&other, nobody).await,
            store.update_alias(&name, nobody, agree).await,
            store.update_alias(&other, key, agree).await,
            store.delete_alias(&other, |_key| Ok::<_, StoreError>(())).await,
        ] {
            assert!(matches!(result, Err(StoreError::NotFound)), "{result:?}");
        }
        assert_eq!(store.alias_target(&name), Some(key));
    }

    #[tokio::test]
    async fn aliases_are_sorted_by_name() {
        let Bench { store, .. } = &Bench::new().await;
        let key = store.insert_key(sample_key()).await.unwrap().id;
        for name in ["alias/b", "alias/B", "alias/a/1", "alias/a-1"] {
            store.create_alias(&name.parse().unwrap(), key).await.unwrap();
        }
        let names: Vec<_> = store.aliases().into_iter().map(|one| one.name.to_string()).collect();
        assert_eq!(names, ["alias/B", "alias/a-1", "alias/a/1", "alias/b"]);
        assert_eq!(store.aliases_of(key), store.aliases());
    }
}
