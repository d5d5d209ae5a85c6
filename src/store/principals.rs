//! SQL for principals and their policies.

use serde_json::value::RawValue;
use sqlx::SqlSafeStr;
use sqlx::any::AnyRow;

use super::connection::{Connection, Statement};
use super::damage::ReadRows;
use super::error::Cause;
use super::metadata;
use super::row::{Table, json_fault};
use super::{Store, StoreError};
use crate::model::policy::AttachedPolicy;
use crate::model::{PrincipalName, Time};

/// A principal, with its policies.
#[derive(Debug, Clone, PartialEq)]
pub struct Principal {
    /// The kind and name.
    pub name: PrincipalName,
    /// The policies. Without any it may do nothing, unless it is the root.
    pub policies: Vec<AttachedPolicy>,
    /// Creation time.
    pub created: Time,
}

/// The metadata entry that counts changes. Every statement that changes AccessKeys or principals
/// increments it in the same transaction. An update of the last use does not count.
pub(super) const REVISION: &str = "access-keys-revision";

/// Counts a change of AccessKeys or principals.
pub(super) async fn increment_revision(connection: &mut Connection) -> Result<(), StoreError> {
    metadata::increment(connection, REVISION).await.map(drop)
}

const PRINCIPALS: Table = Table { name: "principals", columns: "name, policies, created" };

fn read_principal(row: &AnyRow) -> Result<Principal, StoreError> {
    let fields = PRINCIPALS.fields(row);
    Ok(Principal {
        name: fields.parsed("name")?,
        policies: fields.json("policies")?,
        created: fields.time("created")?,
    })
}

impl Store {
    /// Reads every readable principal from the database, by name.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn principals(&self) -> Result<Vec<Principal>, StoreError> {
        let mut connection = self.inner.connection().await?;
        Ok(load(&mut connection).await?.whole)
    }

    /// Inserts a principal.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when its name is taken.
    pub async fn insert_principal(&self, row: Principal) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        write.execute(bind_principal(PRINCIPALS.insert(), &row)?).await?;
        increment_revision(write.connection()).await?;
        let parameters =
            vec![("Principal", row.name.to_string()), ("Policies", policies_text(&row)?)];
        write.note("CreatePrincipal", parameters).await?;
        write.finish().await
    }

    /// Passes a principal's policies to `change` and stores the result.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the principal does not exist; what `change` returns.
    pub async fn change_policies<E, F>(&self, name: &PrincipalName, change: F) -> Result<(), E>
    where
        E: From<StoreError>,
        F: FnOnce(&mut Vec<AttachedPolicy>) -> Result<(), E>,
    {
        let mut write = self.write().await?;
        increment_revision(write.connection()).await?;
        let select = sqlx::query(PRINCIPALS.select("WHERE name = $1")).bind(name.to_string());
        let mut row = read_principal(&write.connection().required_row(select).await?)?;
        change(&mut row.policies)?;
        write.execute(bind_principal(PRINCIPALS.update(), &row)?).await?;
        let parameters = vec![("Principal", name.to_string()), ("Policies", policies_text(&row)?)];
        write.note("SetPrincipalPolicies", parameters).await?;
        Ok(write.finish().await?)
    }

    /// Detaches a policy from a principal by its name. Returns whether it was attached. The other
    /// policies are not parsed and stay unchanged, because the policy to detach may be the one that
    /// makes the row unreadable.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the principal does not exist; [`StoreError::Corrupt`] when its
    /// policies are not a list.
    pub async fn detach_policy(
        &self,
        name: &PrincipalName,
        policy: &str,
    ) -> Result<bool, StoreError> {
        #[derive(serde::Deserialize)]
        struct Named {
            name: String,
        }
        let corrupt = |source: Cause| PRINCIPALS.corrupt(name, "policies", source);
        let mut write = self.write().await?;
        increment_revision(write.connection()).await?;
        let select = sqlx::query("SELECT policies FROM principals WHERE name = $1");
        let text = write
            .connection()
            .text(select.bind(name.to_string()), |error| corrupt(error.into()))
            .await?
            .ok_or(StoreError::NotFound)?;
        let mut policies: Vec<Box<RawValue>> =
            serde_json::from_str(&text).map_err(|source| corrupt(json_fault(&source).into()))?;
        let before = policies.len();
        policies.retain(|one| {
            !serde_json::from_str::<Named>(one.get()).is_ok_and(|named| named.name == policy)
        });
        if policies.len() == before {
            return Ok(false);
        }
        let text = PRINCIPALS.to_json(name, "policies", &policies)?;
        let update = sqlx::query("UPDATE principals SET policies = $2 WHERE name = $1");
        write.execute(update.bind(name.to_string()).bind(&text)).await?;
        let parameters = vec![("Principal", name.to_string()), ("Policies", text)];
        write.note("SetPrincipalPolicies", parameters).await?;
        write.finish().await?;
        Ok(true)
    }

    /// Deletes a principal with its AccessKeys and temporary credentials. Returns whether it
    /// existed.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn delete_principal(&self, name: &PrincipalName) -> Result<bool, StoreError> {
        let mut write = self.write().await?;
        increment_revision(write.connection()).await?;
        let delete = sqlx::query("DELETE FROM principals WHERE name = $1");
        if write.execute(delete.bind(name.to_string())).await? == 0 {
            return Ok(false);
        }
        let delete = sqlx::query("DELETE FROM access_keys WHERE principal = $1");
        write.execute(delete.bind(name.to_string())).await?;
        write.note("DeletePrincipal", vec![("Principal", name.to_string())]).await?;
        write.finish().await?;
        Ok(true)
    }
}

/// Reads every principal.
pub(super) async fn load(connection: &mut Connection) -> Result<ReadRows<Principal>, StoreError> {
    PRINCIPALS.read_all(connection, "ORDER BY name", read_principal).await
}

/// Fails if the principal does not exist.
pub(super) async fn require(connection: &mut Connection, name: &str) -> Result<(), StoreError> {
    let count = sqlx::query("SELECT COUNT(*) FROM principals WHERE name = $1").bind(name);
    let count: i64 = connection.value(count).await?;
    if count == 0 { Err(StoreError::NotFound) } else { Ok(()) }
}

fn policies_text(row: &Principal) -> Result<String, StoreError> {
    PRINCIPALS.to_json(&row.name, "policies", &row.policies)
}

/// Binds the values of a row, in the order of [`PRINCIPALS`].
fn bind_principal(sql: impl SqlSafeStr, row: &Principal) -> Result<Statement<'static>, StoreError> {
    let name = sqlx::query(sql).bind(row.name.to_string());
    Ok(name.bind(policies_text(row)?).bind(row.created.unix()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Bench;

    fn row(name: &str, policies: &[&str]) -> Principal {
        Principal {
            name: name.parse().unwrap(),
            policies: policies.iter().map(|name| AttachedPolicy::system(name).unwrap()).collect(),
            created: Time::from_unix(1_700_000_000),
        }
    }

    #[tokio::test]
    async fn inserted_principals_are_read_back_by_name() {
        let Bench { store, .. } = &Bench::new().await;
        let rows =
            [row("root", &[]), row("role/ci", &["AliyunKMSReadOnlyAccess"]), row("user/a", &[])];
        for row in &rows {
            store.insert_principal(row.clone()).await.unwrap();
        }
        let mut sorted = rows.clone().to_vec();
        sorted.sort_by_key(|row| row.name.to_string());
        assert_eq!(store.principals().await.unwrap(), sorted);
        let again = store.insert_principal(row("user/a", &[])).await;
        assert!(matches!(again, Err(StoreError::Exists)));
    }

    #[tokio::test]
    async fn policies_change_completely_or_not_at_all() {
        let Bench { store, .. } = &Bench::new().await;
        store.insert_principal(row("user/a", &["AliyunKMSReadOnlyAccess"])).await.unwrap();
        let name = "user/a".parse().unwrap();
        let revision = store.access_keys_revision().await.unwrap().unwrap();
        let refused = store.change_policies(&name, |policies| {
            policies.clear();
            Err(StoreError::Exists)
        });
        assert!(refused.await.is_err());
        assert_eq!(store.access_keys_revision().await.unwrap(), Some(revision));
        let change = store.change_policies(&name, |policies| {
            *policies = row("user/a", &["AliyunKMSFullAccess"]).policies;
            Ok::<_, StoreError>(())
        });
        change.await.unwrap();
        let kept = store.principals().await.unwrap();
        assert_eq!(kept, [row("user/a", &["AliyunKMSFullAccess"])]);
        assert_eq!(store.access_keys_revision().await.unwrap(), Some(revision + 1));
    }

    #[tokio::test]
    async fn a_principal_with_an_unreadable_policy_is_skipped_until_it_is_detached() {
        let bench = Bench::new().await;
        for name in ["user/a", "user/b"] {
            bench.store.insert_principal(row(name, &["AliyunKMSReadOnlyAccess"])).await.unwrap();
        }
        bench
            .tamper(
                r#"UPDATE principals SET policies =
                   '[{"name":"bad","document":"{}"},{"name":"AliyunKMSFullAccess"}]'
                   WHERE name = 'user/a'"#,
            )
            .await;
        let state = bench.store.access_state().await.unwrap();
        assert_eq!(state.principals, [row("user/b", &["AliyunKMSReadOnlyAccess"])]);
        let [damaged] = &*state.damaged else { panic!("{state:?}") };
        assert_eq!((damaged.table, damaged.row.as_str()), ("principals", "user/a"));
        assert!(damaged.why.starts_with("column policies: "), "{}", damaged.why);
        let name = "user/a".parse().unwrap();
        assert!(!bench.store.detach_policy(&name, "other").await.unwrap());
        assert!(bench.store.detach_policy(&name, "bad").await.unwrap());
        let state = bench.store.access_state().await.unwrap();
        assert_eq!(state.damaged, []);
        assert_eq!(state.principals[0], row("user/a", &["AliyunKMSFullAccess"]));
    }
}
