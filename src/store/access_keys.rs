//! SQL for AccessKeys and temporary credentials.

use sqlx::any::AnyRow;

use super::connection::Connection;
use super::row::Fields;
use super::tables::ACCESS_KEYS;
use super::value::Value;
use super::write::Write;
use super::{Store, StoreError};
use crate::model::{AccessKeyId, PrincipalName, Time};

/// Maximum number of active AccessKeys of one principal: two, so that a key can be rotated.
/// Temporary credentials do not count.
pub const MAX_ACTIVE_KEYS: i64 = 2;

/// The stored row of an AccessKey.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKeyRow {
    /// The AccessKey id (public).
    pub id: AccessKeyId,
    /// The principal that owns it.
    pub principal: PrincipalName,
    /// The AccessKey secret, encrypted by a key of the token.
    pub encrypted_secret: Vec<u8>,
    /// Creation time.
    pub created: Time,
    /// Whether requests signed with it are accepted.
    pub is_active: bool,
    /// The hour of the last use.
    pub last_used: Option<Time>,
    /// The session, if this is a temporary credential.
    pub session: Option<SessionRow>,
}

/// The additional fields of temporary credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// The session name.
    pub name: String,
    /// SHA-256 of the security token.
    pub token_hash: Vec<u8>,
    /// Expiry time.
    pub expires: Time,
    /// The session policy, as received.
    pub policy: Option<String>,
}

pub(super) fn read_access_key(row: &AnyRow) -> Result<AccessKeyRow, StoreError> {
    let fields = ACCESS_KEYS.fields(row);
    Ok(AccessKeyRow {
        id: fields.parsed("id")?,
        principal: fields.parsed("principal")?,
        encrypted_secret: fields.get("sealed_secret")?,
        created: fields.time("created")?,
        is_active: fields.boolean("is_active")?,
        last_used: None,
        session: read_session(&fields)?,
    })
}

/// The hash decides: if it is NULL, the row is a permanent AccessKey, but only if no other session
/// column has a value. Without its expiry and its policy, a session would gain rights and never
/// expire.
fn read_session(fields: &Fields<'_>) -> Result<Option<SessionRow>, StoreError> {
    let Some(token_hash) = fields.get("token_hash")? else {
        fields.require_null("token_hash", &["session_name", "expires", "session_policy"])?;
        return Ok(None);
    };
    Ok(Some(SessionRow {
        name: fields.get("session_name")?,
        token_hash,
        expires: fields.time("expires")?,
        policy: fields.get("session_policy")?,
    }))
}

impl Store {
    /// Adds an AccessKey.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the principal does not exist, [`StoreError::Exists`] when the
    /// id is taken, [`StoreError::LimitReached`] when the principal would exceed
    /// [`MAX_ACTIVE_KEYS`].
    pub async fn insert_access_key(&self, row: AccessKeyRow) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        // The counter's row is locked until the transaction ends, so the count below stays valid.
        write.count_access_change().await?;
        let principal = row.principal.to_string();
        write.require_principal(&principal).await?;
        let counts = row.is_active && row.session.is_none();
        let (name, noted) = noted(&row);
        let session = row.session.as_ref();
        let values = vec![
            row.id.to_string().into(),
            principal.clone().into(),
            row.encrypted_secret.into(),
            row.created.into(),
            row.is_active.into(),
            session.map(|session| session.name.clone()).into(),
            session.map(|session| session.token_hash.clone()).into(),
            session.map(|session| session.expires).into(),
            session.and_then(|session| session.policy.clone()).into(),
        ];
        write.insert_row(&ACCESS_KEYS, values).await?;
        if counts {
            check_limit(write.connection(), &principal).await?;
        }
        write.note(name, noted).await?;
        write.finish().await
    }

    /// Activates or deactivates an AccessKey.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the AccessKey does not exist, [`StoreError::LimitReached`]
    /// when its principal would exceed [`MAX_ACTIVE_KEYS`].
    pub async fn set_access_key_active(
        &self,
        id: &AccessKeyId,
        is_active: bool,
    ) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        write.count_access_change().await?;
        if !write.set_access_key_active(id.as_str(), is_active).await? {
            return Err(StoreError::NotFound);
        }
        if is_active {
            let select = sqlx::query("SELECT principal FROM access_keys WHERE id = $1");
            let principal: String = write.connection().value(select.bind(id.to_string())).await?;
            check_limit(write.connection(), &principal).await?;
        }
        let status = if is_active { "Active" } else { "Inactive" };
        let parameters = vec![("UserAccessKeyId", id.to_string()), ("Status", status.to_owned())];
        write.note("UpdateAccessKey", parameters).await?;
        write.finish().await
    }

    /// Deletes an AccessKey. Returns whether it existed.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn delete_access_key(&self, id: &AccessKeyId) -> Result<bool, StoreError> {
        let mut write = self.write().await?;
        if !write.delete_access_key(id.as_str()).await? {
            return Ok(false);
        }
        write.count_access_change().await?;
        write.note("DeleteAccessKey", vec![("UserAccessKeyId", id.to_string())]).await?;
        write.finish().await?;
        Ok(true)
    }

    /// Deletes temporary credentials that expired before a time. Returns their number.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn delete_expired_sessions(&self, before: Time) -> Result<u64, StoreError> {
        let mut write = self.write().await?;
        let condition = "expires < $1";
        let removed = write.delete_rows(&ACCESS_KEYS, condition, vec![before.into()]).await?;
        if removed > 0 {
            write.count_access_change().await?;
            write.finish().await?;
        }
        Ok(removed)
    }

    /// Stores the last-use times. A later time that is already stored is kept.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn save_last_uses(&self, uses: &[(AccessKeyId, Time)]) -> Result<(), StoreError> {
        let mut write = self.write_record().await?;
        write.save_last_uses(&ACCESS_KEYS, uses).await?;
        write.finish().await
    }
}

impl Write {
    /// Deletes an AccessKey. Returns whether it existed.
    pub(super) async fn delete_access_key(&mut self, id: &str) -> Result<bool, StoreError> {
        Ok(self.delete_rows(&ACCESS_KEYS, "id = $1", vec![id.into()]).await? > 0)
    }

    /// Activates or deactivates an AccessKey. Returns whether it exists.
    pub(super) async fn set_access_key_active(
        &mut self,
        id: &str,
        is_active: bool,
    ) -> Result<bool, StoreError> {
        let changes = vec![("is_active", Value::from(is_active))];
        self.change_row(&ACCESS_KEYS, &[id.into()], changes).await
    }
}

/// The event of a new AccessKey, and its parameters.
fn noted(row: &AccessKeyRow) -> (&'static str, Vec<(&'static str, String)>) {
    let mut noted =
        vec![("Principal", row.principal.to_string()), ("UserAccessKeyId", row.id.to_string())];
    let Some(session) = &row.session else { return ("CreateAccessKey", noted) };
    noted.push(("RoleSessionName", session.name.clone()));
    noted.push(("Expiration", session.expires.to_string()));
    noted.extend(session.policy.clone().map(|policy| ("Policy", policy)));
    ("AssumeRole", noted)
}

async fn check_limit(connection: &mut Connection, principal: &str) -> Result<(), StoreError> {
    let count = sqlx::query(
        "SELECT COUNT(*) FROM access_keys \
         WHERE principal = $1 AND is_active = 1 AND token_hash IS NULL",
    );
    let active: i64 = connection.value(count.bind(principal)).await?;
    if active > MAX_ACTIVE_KEYS { Err(StoreError::LimitReached) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Principal;
    use crate::store::Revocation;
    use crate::store::tables::ACCESS_REVISION;
    use crate::store::tests::{Bench, open};

    fn row(id: &str) -> AccessKeyRow {
        AccessKeyRow {
            id: id.parse().unwrap(),
            principal: "user/alice".parse().unwrap(),
            encrypted_secret: vec![0, 255, 7],
            created: Time::from_unix(1_700_000_000),
            is_active: id != "LTAI-2",
            last_used: None,
            session: None,
        }
    }

    fn session(id: &str, expires: i64) -> AccessKeyRow {
        let session = SessionRow {
            name: "build-7".to_owned(),
            token_hash: vec![7; 32],
            expires: Time::from_unix(expires),
            policy: Some("{}".to_owned()),
        };
        AccessKeyRow { session: Some(session), ..row(id) }
    }

    async fn bench() -> Bench {
        let bench = Bench::new().await;
        let name = "user/alice".parse().unwrap();
        let alice = Principal::new(name, Vec::new(), Time::from_unix(1_700_000_000));
        bench.store.insert_principal(alice).await.unwrap();
        bench
    }

    #[tokio::test]
    async fn inserted_access_keys_are_read_back_by_id() {
        let Bench { store, .. } = &bench().await;
        let rows = [row("LTAI-1"), row("LTAI-2"), session("STS.1", 1_800_000_000)];
        for row in rows.iter().rev() {
            store.insert_access_key(row.clone()).await.unwrap();
        }
        assert_eq!(store.access_keys().await.unwrap(), rows);
    }

    #[tokio::test]
    async fn every_change_increments_the_revision_for_another_handle() {
        let bench = bench().await;
        let other = open(&bench.url).await.unwrap();
        let before = other.access_keys_revision().await.unwrap().unwrap_or_default();
        bench.store.insert_access_key(row("LTAI-1")).await.unwrap();
        assert_eq!(other.access_keys_revision().await.unwrap(), Some(before + 1));
        other.set_access_key_active(&row("LTAI-1").id, false).await.unwrap();
        assert!(other.delete_access_key(&row("LTAI-1").id).await.unwrap());
        assert_eq!(bench.store.access_keys_revision().await.unwrap(), Some(before + 3));
        assert_eq!(bench.store.access_keys().await.unwrap(), []);
    }

    #[tokio::test]
    async fn calls_without_a_change_keep_the_revision() {
        let Bench { store, .. } = &bench().await;
        store.insert_access_key(row("LTAI-1")).await.unwrap();
        let before = store.access_keys_revision().await.unwrap();
        let again = store.insert_access_key(row("LTAI-1")).await;
        assert!(matches!(again, Err(StoreError::Exists)));
        let nobody = AccessKeyRow { principal: PrincipalName::root(), ..row("LTAI-3") };
        let orphan = store.insert_access_key(nobody).await;
        assert!(matches!(orphan, Err(StoreError::NotFound)));
        let unknown = store.set_access_key_active(&row("LTAI-2").id, true).await;
        assert!(matches!(unknown, Err(StoreError::NotFound)));
        assert!(!store.delete_access_key(&row("LTAI-2").id).await.unwrap());
        store.save_last_uses(&[(row("LTAI-1").id, Time::from_unix(7200))]).await.unwrap();
        assert_eq!(store.access_keys_revision().await.unwrap(), before);
    }

    #[tokio::test]
    async fn a_principal_has_at_most_two_active_keys() {
        let Bench { store, .. } = &bench().await;
        for id in ["LTAI-1", "LTAI-2", "LTAI-3"] {
            store.insert_access_key(row(id)).await.unwrap();
        }
        store.insert_access_key(session("STS.1", 1_800_000_000)).await.unwrap();
        let third = store.insert_access_key(row("LTAI-4")).await;
        assert!(matches!(third, Err(StoreError::LimitReached)));
        let enabled = store.set_access_key_active(&row("LTAI-2").id, true).await;
        assert!(matches!(enabled, Err(StoreError::LimitReached)));
        store.set_access_key_active(&row("LTAI-1").id, false).await.unwrap();
        store.set_access_key_active(&row("LTAI-2").id, true).await.unwrap();
        assert_eq!(store.access_keys().await.unwrap().len(), 4);
    }

    #[tokio::test]
    async fn the_last_use_never_decreases() {
        let Bench { store, .. } = &bench().await;
        store.insert_access_key(row("LTAI-1")).await.unwrap();
        for hour in [7200, 3600] {
            store.save_last_uses(&[(row("LTAI-1").id, Time::from_unix(hour))]).await.unwrap();
        }
        let kept = store.access_keys().await.unwrap();
        assert_eq!(kept[0].last_used, Some(Time::from_unix(7200)));
    }

    #[tokio::test]
    async fn expired_sessions_are_deleted_and_permanent_keys_stay() {
        let Bench { store, .. } = &bench().await;
        for row in [row("LTAI-1"), session("STS.1", 100), session("STS.2", 200)] {
            store.insert_access_key(row).await.unwrap();
        }
        assert_eq!(store.delete_expired_sessions(Time::from_unix(200)).await.unwrap(), 1);
        let left: Vec<_> =
            store.access_keys().await.unwrap().into_iter().map(|row| row.id).collect();
        assert_eq!(left, [row("LTAI-1").id, row("STS.2").id]);
    }

    #[tokio::test]
    async fn a_revision_that_is_not_a_number_is_reported_and_repaired_by_the_next_change() {
        let Bench { store, .. } = &bench().await;
        store.set_metadata(ACCESS_REVISION, "many").await.unwrap();
        assert_eq!(store.access_keys_revision().await.unwrap(), None);
        let state = store.access_state().await.unwrap();
        assert_eq!(state.damaged[0].row, ACCESS_REVISION);
        store.insert_access_key(row("LTAI-1")).await.unwrap();
        assert_eq!(store.access_state().await.unwrap().damaged, []);
    }

    #[tokio::test]
    async fn a_session_without_its_hash_does_not_become_a_permanent_access_key() {
        for sql in [
            "UPDATE access_keys SET token_hash = NULL",
            "UPDATE access_keys SET token_hash = NULL, session_name = NULL, expires = NULL",
            "UPDATE access_keys SET token_hash = NULL, session_policy = NULL",
        ] {
            let bench = bench().await;
            bench.store.insert_access_key(session("STS.1", 1_800_000_000)).await.unwrap();
            bench.change(sql).await;
            let state = bench.store.access_state().await.unwrap();
            assert_eq!(state.keys, [], "{sql}");
            let [damaged] = &*state.damaged else { panic!("{sql}: {state:?}") };
            assert!(damaged.why.starts_with("column token_hash: "), "{}", damaged.why);
        }
    }

    #[tokio::test]
    async fn a_damaged_row_is_skipped_and_can_be_deactivated_and_deleted() {
        for sql in [
            "UPDATE access_keys SET principal = 'nobody' WHERE id = 'LTAI-1'",
            "UPDATE access_keys SET principal = CAST(x'ff' AS TEXT) WHERE id = 'LTAI-1'",
            "UPDATE access_keys SET is_active = 7 WHERE id = 'LTAI-1'",
            "UPDATE access_keys SET sealed_secret = 'text' WHERE id = 'LTAI-1'",
        ] {
            let bench = bench().await;
            for id in ["LTAI-1", "LTAI-3"] {
                bench.store.insert_access_key(row(id)).await.unwrap();
            }
            // Bytes that PostgreSQL takes as they are.
            let is_taken = bench.is_on_file() || !sql.contains("sealed_secret");
            if !is_taken || !bench.change(sql).await {
                continue;
            }
            let state = bench.store.access_state().await.unwrap();
            assert_eq!(state.keys, [row("LTAI-3")], "{sql}");
            let [damaged] = &*state.damaged else { panic!("{sql}: {state:?}") };
            assert_eq!((damaged.table, damaged.row.as_str()), ("access_keys", "LTAI-1"));
            let disable = Revocation::DisableAccessKey(row("LTAI-1").id);
            assert!(bench.store.revoke(disable).await.unwrap());
            bench.store.sign_revocations().await.unwrap();
            assert!(bench.store.delete_access_key(&row("LTAI-1").id).await.unwrap());
            assert_eq!(bench.store.access_state().await.unwrap().damaged, [], "{sql}");
        }
    }
}
