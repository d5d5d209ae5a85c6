//! Rights that an operator takes away without the token, and so without the key that signs rows.
//!
//! A revocation can only take away: every process that reads the store honors it at once, although it
//! is not signed. The next process that has the key makes the signed change and deletes the revocation.

use sqlx::any::AnyRow;

use super::connection::Connection;
use super::damage::ReadRows;
use super::document_cache::{Document, DocumentCache};
use super::principals::policies_without;
use super::row::{Scope, Table};
use super::scope_reading::{ScopeCheck, ScopeReading};
use super::tables::PRINCIPALS;
use super::write::Write;
use super::{Store, StoreError};
use crate::model::{
    AccessKeyId, ClientKeyId, ClientKeyRecord, IdentityProvider, PrincipalDetails, PrincipalName,
    ProviderName, RequestId, Time, clock,
};

/// A right that is taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revocation {
    /// An AccessKey is not accepted any more.
    DisableAccessKey(AccessKeyId),
    /// An AccessKey is deleted.
    DeleteAccessKey(AccessKeyId),
    /// A principal is deleted with its AccessKeys.
    DeletePrincipal(PrincipalName),
    /// A policy is detached from a principal.
    DetachPolicy {
        /// The principal.
        principal: PrincipalName,
        /// The name of the policy.
        policy: String,
    },
    /// A client key is deleted.
    DeleteClientKey(ClientKeyId),
    /// An identity provider is deleted, with the sessions of its tokens.
    DeleteIdentityProvider(ProviderName),
    /// The sessions of a role that began before a time end.
    EndSessions {
        /// The role.
        role: PrincipalName,
        /// When the first session begins that does not end.
        from: Time,
    },
    /// No one may assume a role.
    RemoveTrust(PrincipalName),
}

static REVOCATIONS: Table = Table::unsigned("revocations", "id, kind, subject, policy");

/// A stored revocation, with its id.
pub(super) type Pending = (String, Revocation);

impl Revocation {
    /// Its kind in the database.
    const fn kind(&self) -> &'static str {
        match self {
            Self::DisableAccessKey(_) => "disable-access-key",
            Self::DeleteAccessKey(_) => "delete-access-key",
            Self::DeletePrincipal(_) => "delete-principal",
            Self::DetachPolicy { .. } => "detach-policy",
            Self::DeleteClientKey(_) => "delete-client-key",
            Self::DeleteIdentityProvider(_) => "delete-identity-provider",
            Self::EndSessions { .. } => "end-sessions",
            Self::RemoveTrust(_) => "remove-trust",
        }
    }

    fn subject(&self) -> String {
        match self {
            Self::DisableAccessKey(id) | Self::DeleteAccessKey(id) => id.to_string(),
            Self::DeletePrincipal(principal) | Self::DetachPolicy { principal, .. } => {
                principal.to_string()
            }
            Self::EndSessions { role, .. } | Self::RemoveTrust(role) => role.to_string(),
            Self::DeleteClientKey(id) => id.to_string(),
            Self::DeleteIdentityProvider(name) => name.to_string(),
        }
    }

    /// What the column `policy` has: the name of a policy, or a time.
    fn policy(&self) -> Option<String> {
        match self {
            Self::DetachPolicy { policy, .. } => Some(policy.clone()),
            Self::EndSessions { from, .. } => Some(from.to_string()),
            _ => None,
        }
    }

    /// The event for the audit, and its parameters.
    fn event(&self) -> (&'static str, Vec<(&'static str, String)>) {
        let subject = self.subject();
        match self {
            Self::DisableAccessKey(_) => {
                let status = ("Status", "Inactive".to_owned());
                ("UpdateAccessKey", vec![("UserAccessKeyId", subject), status])
            }
            Self::DeleteAccessKey(_) => ("DeleteAccessKey", vec![("UserAccessKeyId", subject)]),
            Self::DeletePrincipal(_) => ("DeletePrincipal", vec![("Principal", subject)]),
            Self::DetachPolicy { policy, .. } => {
                ("DetachPolicy", vec![("Principal", subject), ("PolicyName", policy.clone())])
            }
            Self::DeleteClientKey(_) => ("DeleteClientKey", vec![("ClientKeyId", subject)]),
            Self::DeleteIdentityProvider(_) => {
                ("DeleteIdentityProvider", vec![("IdentityProvider", subject)])
            }
            Self::EndSessions { from, .. } => {
                ("EndSessions", vec![("Principal", subject), ("From", from.to_string())])
            }
            Self::RemoveTrust(_) => {
                let none = ("TrustPolicy", String::new());
                ("UpdateRole", vec![("Principal", subject), none])
            }
        }
    }

    fn read(row: &AnyRow) -> Result<Pending, StoreError> {
        let fields = REVOCATIONS.fields(row);
        let revocation = match fields.get::<&str>("kind")? {
            "disable-access-key" => Self::DisableAccessKey(fields.parsed("subject")?),
            "delete-access-key" => Self::DeleteAccessKey(fields.parsed("subject")?),
            "delete-principal" => Self::DeletePrincipal(fields.parsed("subject")?),
            "detach-policy" => Self::DetachPolicy {
                principal: fields.parsed("subject")?,
                policy: fields.get("policy")?,
            },
            "delete-client-key" => Self::DeleteClientKey(fields.parsed("subject")?),
            "delete-identity-provider" => Self::DeleteIdentityProvider(fields.parsed("subject")?),
            "end-sessions" => Self::EndSessions {
                role: fields.parsed("subject")?,
                from: fields.parsed("policy")?,
            },
            "remove-trust" => Self::RemoveTrust(fields.parsed("subject")?),
            _ => return Err(fields.corrupt("kind", "unknown kind")),
        };
        Ok((fields.get("id")?, revocation))
    }
}

/// Reads the revocations that are not signed yet, oldest first.
pub(super) async fn read(connection: &mut Connection) -> Result<ReadRows<Pending>, StoreError> {
    let mut reading = ScopeReading::new(connection, Scope::Access, None);
    let rows = reading.rows(&REVOCATIONS, "ORDER BY created, id").await?;
    rows.read(&ScopeCheck::default(), Revocation::read)
}

/// Whether one of the revocations deletes a document, as far as they can be read.
pub(super) fn has_document(revocations: &ReadRows<Pending>) -> bool {
    !revocations.damaged.is_empty() || revocations.whole.iter().any(is_of_document)
}

fn is_of_document((_id, revocation): &Pending) -> bool {
    matches!(revocation, Revocation::DeleteClientKey(_) | Revocation::DeleteIdentityProvider(_))
}

/// Takes away the documents that these revocations delete.
pub(super) fn apply_to_documents(documents: &mut DocumentCache, revocations: &[Pending]) {
    for (_id, revocation) in revocations {
        match revocation {
            Revocation::DeleteClientKey(id) => {
                ClientKeyRecord::index_mut(documents).remove(&id.to_string());
            }
            Revocation::DeleteIdentityProvider(name) => {
                IdentityProvider::index_mut(documents).remove(name.as_str());
            }
            _ => {}
        }
    }
}

/// Ends the sessions of a role that began before a time, and those that began after an earlier end. The
/// time is in a row that nobody has signed: one that has not come yet would be the begin of every new
/// session.
pub(super) fn end_sessions(details: &mut PrincipalDetails, from: Time) {
    let from = from.min(clock::now().plus_seconds(1));
    // A session that is made in the second of an earlier end begins at that time.
    let after_earlier = details.sessions_from.map(|earlier| earlier.plus_seconds(1));
    details.sessions_from = after_earlier.max(Some(from));
}

impl Store {
    /// Takes a right away, without the key that signs rows. Returns whether what is taken away exists.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the principal of a policy does not exist; when the database fails.
    pub async fn revoke(&self, revocation: Revocation) -> Result<bool, StoreError> {
        let mut write = self.write_record().await?;
        let pending = read(write.connection()).await?.whole;
        if pending.iter().any(|(_id, one)| *one == revocation) {
            return Ok(matches!(revocation, Revocation::DisableAccessKey(_)));
        }
        if !write.has_revoked(&revocation, &pending).await? {
            return Ok(false);
        }
        let insert = sqlx::query(
            "INSERT INTO revocations (id, kind, subject, policy, created) VALUES ($1, $2, $3, $4, $5)",
        );
        let insert = insert
            .bind(RequestId::random().to_string())
            .bind(revocation.kind())
            .bind(revocation.subject())
            .bind(revocation.policy())
            .bind(clock::now().unix());
        write.execute(insert).await?;
        let (event, parameters) = revocation.event();
        write.note(event, parameters).await?;
        write.count_access_change().await?;
        write.finish_revocations(vec![(String::new(), revocation)]).await?;
        Ok(true)
    }

    /// Makes the signed changes of the revocations that are in force. Returns their number. A revocation
    /// of a row with a wrong MAC stays in force.
    ///
    /// # Errors
    /// [`StoreError::Locked`], and when the database fails.
    pub async fn sign_revocations(&self) -> Result<usize, StoreError> {
        let mut write = self.write_record().await?;
        let pending = read(write.connection()).await?.whole;
        let mut signed = Vec::new();
        for (id, revocation) in pending {
            match write.carry_out(&revocation).await {
                Ok(()) | Err(StoreError::NotFound) => {
                    let delete = sqlx::query("DELETE FROM revocations WHERE id = $1");
                    write.execute(delete.bind(id.clone())).await?;
                    signed.push((id, revocation));
                }
                Err(StoreError::Corrupt { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let count = signed.len();
        self.inner.pending_revocations.fetch_sub(
            count.min(self.unsigned_revocations()),
            std::sync::atomic::Ordering::Relaxed,
        );
        if count > 0 {
            write.count_access_change().await?;
            write.finish_revocations(signed).await?;
            tracing::info!(
                event = "store.revocations_signed",
                count,
                "signed revocations of operators"
            );
        }
        Ok(count)
    }
}

impl Write {
    /// Commits revocations. Only those of documents change the catalogue.
    async fn finish_revocations(mut self, revocations: Vec<Pending>) -> Result<(), StoreError> {
        if !revocations.iter().any(is_of_document) {
            return self.finish().await;
        }
        // They are no rows of the catalogue, and so in no list.
        self.changed_groups().note_others();
        self.commit(move |catalogue| apply_to_documents(&mut catalogue.documents, &revocations))
            .await
    }

    /// Whether what a revocation takes away exists, as far as the rows tell.
    async fn has_revoked(
        &mut self,
        revocation: &Revocation,
        pending: &[Pending],
    ) -> Result<bool, StoreError> {
        let is_deleted = |one: &Revocation| pending.iter().any(|(_id, other)| one == other);
        let subject = revocation.subject();
        let sql = match revocation {
            Revocation::DisableAccessKey(id) | Revocation::DeleteAccessKey(id) => {
                if is_deleted(&Revocation::DeleteAccessKey(id.clone())) {
                    return Ok(false);
                }
                "SELECT 1 FROM access_keys WHERE id = $1"
            }
            Revocation::DeletePrincipal(_) => "SELECT 1 FROM principals WHERE name = $1",
            Revocation::DeleteClientKey(_) => {
                "SELECT 1 FROM documents WHERE name = $1 AND kind = 'client-key'"
            }
            Revocation::DeleteIdentityProvider(_) => {
                "SELECT 1 FROM documents WHERE name = $1 AND kind = 'identity-provider'"
            }
            Revocation::EndSessions { role, .. } | Revocation::RemoveTrust(role) => {
                if is_deleted(&Revocation::DeletePrincipal(role.clone())) {
                    return Ok(false);
                }
                "SELECT 1 FROM principals WHERE name = $1"
            }
            Revocation::DetachPolicy { principal, policy } => {
                if is_deleted(&Revocation::DeletePrincipal(principal.clone())) {
                    return Err(StoreError::NotFound);
                }
                return self.has_policy(principal, policy).await;
            }
        };
        Ok(self.connection().row(sqlx::query(sql).bind(subject)).await?.is_some())
    }

    async fn has_policy(
        &mut self,
        principal: &PrincipalName,
        policy: &str,
    ) -> Result<bool, StoreError> {
        let select = sqlx::query("SELECT policies FROM principals WHERE name = $1");
        let select = select.bind(principal.to_string());
        let corrupt = |error: sqlx::Error| PRINCIPALS.corrupt(principal, "policies", error);
        let text = self.connection().text(select, corrupt).await?.ok_or(StoreError::NotFound)?;
        Ok(policies_without(principal, &text, policy)?.is_some())
    }

    /// Makes the signed change of a revocation.
    async fn carry_out(&mut self, revocation: &Revocation) -> Result<(), StoreError> {
        match revocation {
            Revocation::DisableAccessKey(id) => {
                self.set_access_key_active(id.as_str(), false).await.map(drop)
            }
            Revocation::DeleteAccessKey(id) => self.delete_access_key(id.as_str()).await.map(drop),
            Revocation::DeletePrincipal(name) => {
                self.delete_principal(&name.to_string()).await.map(drop)
            }
            Revocation::DetachPolicy { principal, policy } => {
                self.detach_policy(principal, policy).await
            }
            Revocation::DeleteClientKey(id) => {
                self.delete_document::<ClientKeyRecord>(&id.to_string()).await.map(drop)
            }
            Revocation::DeleteIdentityProvider(name) => {
                self.delete_document::<IdentityProvider>(name.as_str()).await.map(drop)
            }
            Revocation::EndSessions { role, from } => {
                self.change_details(role, |details| end_sessions(details, *from)).await.map(drop)
            }
            Revocation::RemoveTrust(role) => {
                self.change_details(role, |details| details.trust = None).await.map(drop)
            }
        }
    }
}
