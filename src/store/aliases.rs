//! Aliases in SQL.

use sqlx::any::AnyRow;

use super::connection::Connection;
use super::damage::ReadRows;
use super::keys::lock_key_row;
use super::row::Table;
use super::{Store, StoreError};
use crate::model::{Alias, KeyId, KeyRecord, Time};

/// A name for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasRecord {
    /// The name, one of its kind.
    pub name: Alias,
    /// The key that it names.
    pub key: KeyId,
    /// When the name was made; a change of the key leaves it.
    pub created: Time,
}

const ALIASES: Table = Table { name: "aliases", columns: &["name", "key_id", "created"] };

fn read_alias(row: &AnyRow) -> Result<AliasRecord, StoreError> {
    let fields = ALIASES.fields(row);
    Ok(AliasRecord {
        name: fields.parsed("name")?,
        key: fields.parsed("key_id")?,
        created: fields.time("created")?,
    })
}

impl Store {
    /// Names a key.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the name is taken, [`StoreError::NotFound`] when the key is not
    /// there.
    pub async fn create_alias(&self, name: &Alias, key: KeyId) -> Result<(), StoreError> {
        let alias = AliasRecord { name: name.clone(), key, created: Time::now() };
        let mut write = self.write().await?;
        sqlx::query(ALIASES.insert())
            .bind(name.to_string())
            .bind(key.to_string())
            .bind(alias.created.unix())
            .execute(write.connection())
            .await?;
        write.note("CreateAlias", named(name, key)).await?;
        write.commit(move |catalogue| catalogue.put_alias(alias)).await
    }

    /// Gives a name to another key, if `decide` agrees. It is handed the key that the alias names
    /// until now and the one that it is to name, in this order.
    ///
    /// Both are as they are on disk, held with the alias against every other writer until the
    /// change is made: between the decision and the change the alias cannot be given to a third
    /// key.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the name or the key is not there; what `decide` returns.
    pub async fn update_alias<E, F>(&self, name: &Alias, key: KeyId, decide: F) -> Result<(), E>
    where
        E: From<StoreError>,
        F: FnOnce(&KeyRecord, &KeyRecord) -> Result<(), E>,
    {
        let mut write = self.write().await?;
        let alias = lock_alias_row(write.connection(), name).await?;
        let from = lock_key_row(write.connection(), alias.key).await?;
        let to = if key == from.id {
            from.clone()
        } else {
            lock_key_row(write.connection(), key).await?
        };
        decide(&from, &to)?;
        sqlx::query("UPDATE aliases SET key_id = $2 WHERE name = $1")
            .bind(name.to_string())
            .bind(key.to_string())
            .execute(write.connection())
            .await
            .map_err(StoreError::from)?;
        write.note("UpdateAlias", named(name, key)).await?;
        let alias = AliasRecord { key, ..alias };
        Ok(write.commit(move |catalogue| catalogue.put_alias(alias)).await?)
    }

    /// Removes a name, if `decide` agrees. It is handed the key that the alias names, held with the
    /// alias as in [`Store::update_alias`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the name is not there; what `decide` returns.
    pub async fn delete_alias<E, F>(&self, name: &Alias, decide: F) -> Result<(), E>
    where
        E: From<StoreError>,
        F: FnOnce(&KeyRecord) -> Result<(), E>,
    {
        let mut write = self.write().await?;
        let alias = lock_alias_row(write.connection(), name).await?;
        decide(&lock_key_row(write.connection(), alias.key).await?)?;
        sqlx::query("DELETE FROM aliases WHERE name = $1")
            .bind(name.to_string())
            .execute(write.connection())
            .await
            .map_err(StoreError::from)?;
        write.note("DeleteAlias", vec![("AliasName", name.to_string())]).await?;
        let name = name.clone();
        Ok(write.commit(move |catalogue| catalogue.remove_alias(&name)).await?)
    }
}

/// The parameters of a change, for the audit.
fn named(name: &Alias, key: KeyId) -> Vec<(&'static str, String)> {
    vec![("AliasName", name.to_string()), ("KeyId", key.to_string())]
}

/// Reads an alias and holds its row until the transaction ends, as with a key.
async fn lock_alias_row(
    connection: &mut Connection,
    name: &Alias,
) -> Result<AliasRecord, StoreError> {
    let row = sqlx::query(
        "UPDATE aliases SET key_id = key_id WHERE name = $1 RETURNING name, key_id, created",
    )
    .bind(name.to_string())
    .fetch_optional(connection)
    .await?;
    read_alias(&row.ok_or(StoreError::NotFound)?)
}

/// Every alias. One whose key is damaged keeps its name, and names what is not there.
pub(super) async fn load(connection: &mut Connection) -> Result<ReadRows<AliasRecord>, StoreError> {
    ALIASES.read_all(connection, "", read_alias).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{Bench, sample_key};

    #[expect(clippy::unnecessary_wraps, reason = "it stands for a decision")]
    fn agree(_from: &KeyRecord, _to: &KeyRecord) -> Result<(), StoreError> {
        Ok(())
    }

    /// The other handle stands for another process: this one's memory is behind.
    #[tokio::test]
    async fn who_moves_or_removes_an_alias_is_shown_the_key_that_it_names_on_disk() {
        let bench = Bench::new().await;
        let (here, there) = (&bench.store, Store::open(&bench.url).await.unwrap());
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
            Err(StoreError::Url("stands for any refusal"))
        };
        let change = |key: &mut KeyRecord| {
            key.policy = None;
            Ok::<_, StoreError>(())
        };
        there.change_key(keys[1], change).await.unwrap();
        assert_eq!(here.alias_target(&name), Some(keys[0]), "memory is behind");
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
    async fn a_name_stands_for_one_key_until_it_is_given_to_another() {
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
    async fn a_name_or_key_that_is_not_there_is_not_found() {
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
    async fn aliases_come_by_name() {
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
