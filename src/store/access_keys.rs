//! AccessKeys in SQL, and the counter of their changes.

use sqlx::any::AnyRow;

use super::row::Table;
use super::{Store, StoreError, facts};
use crate::model::{AccessKeyId, Time};

/// What is kept of an AccessKey.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKeyRow {
    /// Its public half.
    pub id: AccessKeyId,
    /// The user who calls with it.
    pub user: String,
    /// Its secret half, sealed by a key of the token.
    pub sealed_secret: Vec<u8>,
    /// When it was made.
    pub created: Time,
    /// Whether calls with it are let in.
    pub is_active: bool,
}

/// The fact that counts changes. Every statement that changes `access_keys` raises it in the same
/// transaction.
const REVISION: &str = "access-keys-revision";

const ACCESS_KEYS: Table = Table {
    name: "access_keys",
    columns: &["id", "user_name", "sealed_secret", "created", "is_active"],
};

fn read_access_key(row: &AnyRow) -> Result<AccessKeyRow, StoreError> {
    let fields = ACCESS_KEYS.fields(row);
    Ok(AccessKeyRow {
        id: fields.parsed("id")?,
        user: fields.get("user_name")?,
        sealed_secret: fields.get("sealed_secret")?,
        created: fields.time("created")?,
        is_active: fields.truth("is_active")?,
    })
}

impl Store {
    /// Every AccessKey by id, as the database has them now.
    ///
    /// # Errors
    /// When the database cannot be read, or a row cannot.
    pub async fn access_keys(&self) -> Result<Vec<AccessKeyRow>, StoreError> {
        let rows =
            sqlx::query(ACCESS_KEYS.select("ORDER BY id")).fetch_all(&self.inner.pool).await?;
        rows.iter().map(read_access_key).collect()
    }

    /// Adds an AccessKey.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when its id is taken.
    pub async fn insert_access_key(&self, row: AccessKeyRow) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        sqlx::query(ACCESS_KEYS.insert())
            .bind(row.id.to_string())
            .bind(row.user)
            .bind(row.sealed_secret)
            .bind(row.created.unix())
            .bind(i64::from(row.is_active))
            .execute(write.connection())
            .await?;
        facts::raise(write.connection(), REVISION).await?;
        write.commit(|_| ()).await
    }

    /// Removes an AccessKey; whether it was there.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn delete_access_key(&self, id: &AccessKeyId) -> Result<bool, StoreError> {
        let mut write = self.write().await?;
        let removed = sqlx::query("DELETE FROM access_keys WHERE id = $1")
            .bind(id.to_string())
            .execute(write.connection())
            .await?;
        if removed.rows_affected() == 0 {
            return Ok(false);
        }
        facts::raise(write.connection(), REVISION).await?;
        write.commit(|_| ()).await?;
        Ok(true)
    }

    /// How often AccessKeys were changed, by this process or another: when the number is the same
    /// as before, so is what [`Store::access_keys`] returns.
    ///
    /// Read it before the keys, not after: a change in between is then seen the next time.
    ///
    /// # Errors
    /// When the database cannot be read, or the counter is no number.
    pub async fn access_keys_revision(&self) -> Result<i64, StoreError> {
        let Some(count) = self.fact(REVISION).await? else { return Ok(0) };
        count.parse().map_err(|source: std::num::ParseIntError| StoreError::Corrupt {
            table: "facts",
            row: REVISION.to_owned(),
            column: "value",
            source: source.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Bench;

    fn row(id: &str) -> AccessKeyRow {
        AccessKeyRow {
            id: id.parse().unwrap(),
            user: "alice".to_owned(),
            sealed_secret: vec![0, 255, 7],
            created: Time::from_unix(1_700_000_000),
            is_active: id != "LTAI-2",
        }
    }

    #[tokio::test]
    async fn what_is_inserted_is_read_back_by_id() {
        let Bench { store, .. } = &Bench::new().await;
        for id in ["LTAI-2", "LTAI-1"] {
            store.insert_access_key(row(id)).await.unwrap();
        }
        assert_eq!(store.access_keys().await.unwrap(), [row("LTAI-1"), row("LTAI-2")]);
    }

    #[tokio::test]
    async fn another_handle_sees_the_revision_rise_with_every_change() {
        let bench = Bench::new().await;
        let other = Store::open(&bench.url).await.unwrap();
        assert_eq!(other.access_keys_revision().await.unwrap(), 0);
        bench.store.insert_access_key(row("LTAI-1")).await.unwrap();
        assert_eq!(other.access_keys_revision().await.unwrap(), 1);
        assert!(other.delete_access_key(&row("LTAI-1").id).await.unwrap());
        assert_eq!(bench.store.access_keys_revision().await.unwrap(), 2);
        assert_eq!(bench.store.access_keys().await.unwrap(), []);
    }

    #[tokio::test]
    async fn what_changes_nothing_leaves_the_revision() {
        let Bench { store, .. } = &Bench::new().await;
        store.insert_access_key(row("LTAI-1")).await.unwrap();
        let again = store.insert_access_key(row("LTAI-1")).await;
        assert!(matches!(again, Err(StoreError::Exists)));
        assert!(!store.delete_access_key(&row("LTAI-2").id).await.unwrap());
        assert_eq!(store.access_keys_revision().await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_revision_that_is_no_number_is_named() {
        let Bench { store, .. } = &Bench::new().await;
        store.set_fact(REVISION, "many").await.unwrap();
        let error = store.access_keys_revision().await.expect_err("no number");
        assert!(error.to_string().contains(REVISION), "{error}");
    }
}
