//! SQL for principals and their policies.

use serde_json::value::RawValue;
use sqlx::any::AnyRow;

use super::error::Cause;
use super::row::json_fault;
use super::tables::{ACCESS_KEYS, ACCESS_REVISION, PRINCIPALS};
use super::value::Value;
use super::write::Write;
use super::{Store, StoreError, unsigned_metadata};
use crate::model::policy::AttachedPolicy;
use crate::model::{PrincipalDetails, PrincipalName, Time};

/// A principal, with its policies.
#[derive(Debug, Clone, PartialEq)]
pub struct Principal {
    /// The kind and name.
    pub name: PrincipalName,
    /// The policies. Without any it may do nothing, unless it is the root.
    pub policies: Vec<AttachedPolicy>,
    /// Creation time.
    pub created: Time,
    /// Its id; for a role, who may assume it.
    pub details: PrincipalDetails,
}

impl Principal {
    /// A new principal with these policies.
    pub fn new(name: PrincipalName, policies: Vec<AttachedPolicy>, created: Time) -> Self {
        let details = PrincipalDetails::new(&name);
        Self { name, policies, created, details }
    }
}

impl Write {
    /// Counts a change of AccessKeys or principals.
    pub(super) async fn count_access_change(&mut self) -> Result<(), StoreError> {
        unsigned_metadata::increment(self.connection(), ACCESS_REVISION).await?;
        self.announce().await
    }
}

pub(super) fn read_principal(row: &AnyRow) -> Result<Principal, StoreError> {
    let fields = PRINCIPALS.fields(row);
    let (name, created) = (fields.parsed("name")?, fields.time("created")?);
    let details = match fields.get::<Option<&str>>("details")? {
        Some(_text) => fields.json("details")?,
        None => PrincipalDetails::of_earlier(&name, created),
    };
    Ok(Principal { name, policies: fields.json("policies")?, created, details })
}

impl Store {
    /// Reads every readable principal from the database, by name.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn principals(&self) -> Result<Vec<Principal>, StoreError> {
        Ok(self.access_state().await?.principals)
    }

    /// Inserts a principal.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when its name is taken.
    pub async fn insert_principal(&self, row: Principal) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let policies = policies_text(&row)?;
        let details = details_text(&row)?;
        let name = row.name.to_string();
        let values =
            vec![name.into(), policies.clone().into(), row.created.into(), details.clone().into()];
        write.insert_row(&PRINCIPALS, values).await?;
        write.count_access_change().await?;
        let principal = row.name.to_string();
        let parameters =
            vec![("Principal", principal), ("Policies", policies), ("Details", details)];
        write.note("CreatePrincipal", parameters).await?;
        write.finish().await
    }

    /// Passes a principal's details to `change` and stores the result.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the principal does not exist.
    pub async fn change_principal_details(
        &self,
        name: &PrincipalName,
        change: impl FnOnce(&mut PrincipalDetails),
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        write.count_access_change().await?;
        let details = write.change_details(name, change).await?;
        let parameters = vec![("Principal", name.to_string()), ("Details", details)];
        write.note("SetPrincipalDetails", parameters).await?;
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
        write.count_access_change().await?;
        let row_key = [Value::from(name.to_string())];
        let locked = write.lock_row(&PRINCIPALS, &row_key).await?;
        let (row, _stored) = locked.ok_or(StoreError::NotFound)?;
        let mut row = read_principal(&row)?;
        change(&mut row.policies)?;
        let policies = policies_text(&row)?;
        let changes = vec![("policies", policies.clone().into())];
        write.change_row(&PRINCIPALS, &row_key, changes).await?;
        let parameters = vec![("Principal", name.to_string()), ("Policies", policies)];
        write.note("SetPrincipalPolicies", parameters).await?;
        Ok(write.finish().await?)
    }
}

impl Write {
    /// Deletes a principal with its AccessKeys. Returns whether it existed.
    pub(super) async fn delete_principal(&mut self, name: &str) -> Result<bool, StoreError> {
        if self.delete_rows(&PRINCIPALS, "name = $1", vec![name.into()]).await? == 0 {
            return Ok(false);
        }
        self.delete_rows(&ACCESS_KEYS, "principal = $1", vec![name.into()]).await?;
        Ok(true)
    }

    /// Detaches a policy by its name. Does nothing if it is not attached. The other policies are not
    /// parsed and stay unchanged, because the policy to detach may be the one that makes the row
    /// unreadable.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the principal does not exist; [`StoreError::Corrupt`] when its
    /// policies are not a list.
    pub(super) async fn detach_policy(
        &mut self,
        name: &PrincipalName,
        policy: &str,
    ) -> Result<(), StoreError> {
        let row_key = [Value::from(name.to_string())];
        let row = self.lock_row(&PRINCIPALS, &row_key).await?;
        let (row, _stored) = row.ok_or(StoreError::NotFound)?;
        let text: &str = PRINCIPALS.fields(&row).get("policies")?;
        let Some(policies) = policies_without(name, text, policy)? else { return Ok(()) };
        let changes = vec![("policies", policies.into())];
        self.change_row(&PRINCIPALS, &row_key, changes).await.map(drop)
    }

    /// Changes the details of a principal. Returns their text.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the principal does not exist.
    pub(super) async fn change_details(
        &mut self,
        name: &PrincipalName,
        change: impl FnOnce(&mut PrincipalDetails),
    ) -> Result<String, StoreError> {
        let row_key = [Value::from(name.to_string())];
        let locked = self.lock_row(&PRINCIPALS, &row_key).await?;
        let (row, _stored) = locked.ok_or(StoreError::NotFound)?;
        let mut row = read_principal(&row)?;
        change(&mut row.details);
        let details = details_text(&row)?;
        let changes = vec![("details", details.clone().into())];
        self.change_row(&PRINCIPALS, &row_key, changes).await?;
        Ok(details)
    }

    /// Fails if the principal does not exist.
    pub(super) async fn require_principal(&mut self, name: &str) -> Result<(), StoreError> {
        let row = self.lock_row(&PRINCIPALS, &[name.into()]).await?;
        row.map(drop).ok_or(StoreError::NotFound)
    }
}

/// A list of policies without one. `None` if it has none of this name. The other policies are not
/// parsed.
pub(super) fn policies_without(
    name: &PrincipalName,
    text: &str,
    policy: &str,
) -> Result<Option<String>, StoreError> {
    #[derive(serde::Deserialize)]
    struct Named {
        name: String,
    }
    let corrupt = |source: Cause| PRINCIPALS.corrupt(name, "policies", source);
    let mut policies: Vec<Box<RawValue>> =
        serde_json::from_str(text).map_err(|source| corrupt(json_fault(&source).into()))?;
    let before = policies.len();
    policies.retain(|one| {
        !serde_json::from_str::<Named>(one.get()).is_ok_and(|named| named.name == policy)
    });
    if policies.len() == before {
        return Ok(None);
    }
    PRINCIPALS.to_json(name, "policies", &policies).map(Some)
}

fn details_text(row: &Principal) -> Result<String, StoreError> {
    PRINCIPALS.to_json(&row.name, "details", &row.details)
}

fn policies_text(row: &Principal) -> Result<String, StoreError> {
    PRINCIPALS.to_json(&row.name, "policies", &row.policies)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Revocation;
    use crate::store::tests::Bench;

    fn row(name: &str, policies: &[&str]) -> Principal {
        Principal {
            name: name.parse().unwrap(),
            policies: policies.iter().map(|name| AttachedPolicy::system(name).unwrap()).collect(),
            created: Time::from_unix(1_700_000_000),
            details: PrincipalDetails::of_earlier(&name.parse().unwrap(), Time::from_unix(1)),
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
            .change(
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
        let detach = |policy: &str| Revocation::DetachPolicy {
            principal: "user/a".parse().unwrap(),
            policy: policy.to_owned(),
        };
        assert!(!bench.store.revoke(detach("other")).await.unwrap());
        assert!(bench.store.revoke(detach("bad")).await.unwrap());
        bench.store.sign_revocations().await.unwrap();
        let state = bench.store.access_state().await.unwrap();
        assert_eq!(state.damaged, []);
        assert_eq!(state.principals[0], row("user/a", &["AliyunKMSFullAccess"]));
    }
}
