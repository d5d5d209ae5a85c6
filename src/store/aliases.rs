//! Aliases in SQL.

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::row::Table;
use super::{Store, StoreError};
use crate::model::{Alias, KeyId, Time};

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
        write.commit(move |catalogue| catalogue.put_alias(alias)).await
    }

    /// Gives a name to another key.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the name or the key is not there.
    pub async fn update_alias(&self, name: &Alias, key: KeyId) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let row = sqlx::query(
            "UPDATE aliases SET key_id = $2 WHERE name = $1 RETURNING name, key_id, created",
        )
        .bind(name.to_string())
        .bind(key.to_string())
        .fetch_optional(write.connection())
        .await?;
        let alias = read_alias(&row.ok_or(StoreError::NotFound)?)?;
        write.commit(move |catalogue| catalogue.put_alias(alias)).await
    }

    /// Removes a name.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the name is not there.
    pub async fn delete_alias(&self, name: &Alias) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let removed = sqlx::query("DELETE FROM aliases WHERE name = $1")
            .bind(name.to_string())
            .execute(write.connection())
            .await?;
        if removed.rows_affected() == 0 {
            return Err(StoreError::NotFound);
        }
        let name = name.clone();
        write.commit(move |catalogue| catalogue.remove_alias(&name)).await
    }
}

/// Every alias.
pub(super) async fn load(connection: &mut AnyConnection) -> Result<Vec<AliasRecord>, StoreError> {
    sqlx::query(ALIASES.select("")).fetch_all(connection).await?.iter().map(read_alias).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{Bench, sample_key};

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
        bench.store.update_alias(&name, two).await.unwrap();
        assert_eq!(bench.store.aliases(), [AliasRecord { name: name.clone(), key: two, created }]);
        assert_eq!(bench.store.aliases_of(one), []);
        bench.assert_disk_is_memory().await;
        bench.store.delete_alias(&name).await.unwrap();
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
            store.update_alias(&name, nobody).await,
            store.update_alias(&other, key).await,
            store.delete_alias(&other).await,
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
