//! All principals and AccessKeys as one state, and the counter of their changes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::access_keys::{AccessKeyRow, read_access_key};
use super::connection::Connection;
use super::last_use;
use super::principals::read_principal;
use super::revocations::{self, Pending, Revocation};
use super::row::Scope;
use super::scope_reading::ScopeReading;
use super::tables::{ACCESS_KEYS, ACCESS_REVISION, PRINCIPALS};
use super::{DamagedRow, Principal, Store, StoreError, unsigned_metadata};

/// All principals and AccessKeys.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessState {
    /// The change counter. `None` if it cannot be read.
    pub revision: Option<i64>,
    /// The principals, by name.
    pub principals: Vec<Principal>,
    /// The AccessKeys, by id.
    pub keys: Vec<AccessKeyRow>,
    /// The rows that cannot be read, or were not written by hsmgate.
    pub damaged: Vec<DamagedRow>,
    /// The revocations that are in force and not signed yet.
    pub pending_revocations: usize,
}

impl Store {
    /// Reads all principals and AccessKeys in one database snapshot.
    ///
    /// # Errors
    /// When the database cannot be read. A row that cannot be read is skipped and returned in
    /// `damaged`.
    pub async fn access_state(&self) -> Result<AccessState, StoreError> {
        let (mut connection, known) = self.inner.begin_read(Scope::Access).await?;
        let (revision, damaged) = self.read_access_revision(&mut connection).await?;
        let key = self.inner.row_key.get().map(Arc::clone);
        let mut reading = ScopeReading::new(&mut connection, Scope::Access, key);
        let principals = reading.rows(&PRINCIPALS, "").await?;
        let keys = reading.rows(&ACCESS_KEYS, "").await?;
        let last_uses = last_use::read(reading.connection(), &ACCESS_KEYS).await?;
        let revocations = revocations::read(reading.connection()).await?;
        let check = reading.check(&known).await?;
        connection.rollback().await?;
        self.inner.last_seen.note_revisions(Scope::Access, &check.revisions);
        self.inner.next_check.note(Scope::Access);
        self.inner.pending_revocations.store(revocations.whole.len(), Ordering::Relaxed);
        let principals = principals.read(&check, read_principal)?;
        let mut keys = keys.read(&check, read_access_key)?;
        for key in &mut keys.whole {
            key.last_used = last_uses.get(key.id.as_str()).copied();
        }
        let rows = [check.damaged, principals.damaged, keys.damaged, revocations.damaged].concat();
        let damaged = damaged.into_iter().chain(rows).collect();
        // Databases compare text in different orders.
        let mut principals = principals.whole;
        principals.sort_by_cached_key(|principal| principal.name.to_string());
        keys.whole.sort_by(|one, other| one.id.as_str().cmp(other.id.as_str()));
        let mut state = AccessState {
            revision,
            principals,
            keys: keys.whole,
            damaged,
            pending_revocations: revocations.whole.len(),
        };
        state.apply(&revocations.whole);
        Ok(state)
    }

    /// Reads every readable AccessKey from the database, by id.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn access_keys(&self) -> Result<Vec<AccessKeyRow>, StoreError> {
        Ok(self.access_state().await?.keys)
    }

    /// The change counter of AccessKeys and principals. While it is unchanged,
    /// [`Store::access_state`] returns the same result, except for the last uses. `None` if all rows
    /// have to be read again: the counter cannot be read, or they were not checked for some minutes.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn access_keys_revision(&self) -> Result<Option<i64>, StoreError> {
        if self.inner.next_check.is_due(Scope::Access) {
            return Ok(None);
        }
        let mut connection = self.inner.connection().await?;
        Ok(self.read_access_revision(&mut connection).await?.0)
    }

    async fn read_access_revision(
        &self,
        connection: &mut Connection,
    ) -> Result<(Option<i64>, Option<DamagedRow>), StoreError> {
        let known = self.inner.last_access_revision();
        let (revision, damaged) =
            unsigned_metadata::read_count(connection, ACCESS_REVISION).await?;
        let revision = damaged.is_none().then_some(revision);
        self.inner.check_access_revision(known, revision)?;
        Ok((revision, damaged))
    }
}

impl AccessState {
    /// Takes away what these revocations take away.
    fn apply(&mut self, revocations: &[Pending]) {
        for (_id, revocation) in revocations {
            match revocation {
                Revocation::DisableAccessKey(id) => {
                    let keys = self.keys.iter_mut().filter(|key| key.id == *id);
                    keys.for_each(|key| key.is_active = false);
                }
                Revocation::DeleteAccessKey(id) => {
                    self.keys.retain(|key| key.id != *id);
                    self.forget_damage(ACCESS_KEYS.name, id.as_str());
                }
                Revocation::DeletePrincipal(name) => {
                    self.principals.retain(|principal| principal.name != *name);
                    self.keys.retain(|key| key.principal != *name);
                    self.forget_damage(PRINCIPALS.name, &name.to_string());
                }
                Revocation::DetachPolicy { principal, policy } => {
                    let principals =
                        self.principals.iter_mut().filter(|one| one.name == *principal);
                    principals.for_each(|one| one.policies.retain(|one| one.name() != policy));
                }
                Revocation::EndSessions { role, from } => {
                    let roles = self.principals.iter_mut().filter(|one| one.name == *role);
                    roles.for_each(|one| revocations::end_sessions(&mut one.details, *from));
                }
                Revocation::RemoveTrust(role) => {
                    let roles = self.principals.iter_mut().filter(|one| one.name == *role);
                    roles.for_each(|one| one.details.trust = None);
                }
                Revocation::DeleteClientKey(_) | Revocation::DeleteIdentityProvider(_) => {}
            }
        }
    }

    fn forget_damage(&mut self, table: &str, row: &str) {
        self.damaged.retain(|one| (one.table, one.row.as_str()) != (table, row));
    }
}
