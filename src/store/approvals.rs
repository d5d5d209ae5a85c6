//! Requests for approvals. They are few, and read from the database each time: another process
//! decides them.

use sqlx::any::AnyRow;

use super::connection::Connection;
use super::metadata::MetadataRows;
use super::row::Scope;
use super::scope_reading::PartRevisions;
use super::tables::APPROVALS;
use super::write::Write;
use super::{Part, Store, StoreError};
use crate::model::{Approval, ApprovalId, ApprovalState, ApprovalSubject, Quota, Time};

/// The number of requests of one principal that are stored at one time.
const MAX_REQUESTS: Quota = Quota { setting: "the maximum of requested approvals", most: 100 };

/// Why an approval cannot be decided.
#[derive(Debug, thiserror::Error)]
pub enum DecisionError {
    /// No request with this id waits for a decision: there is none, or it has expired.
    #[error("no request for an approval has this id, or it has expired")]
    NotFound,
    /// It is decided already.
    #[error("the request for an approval is in the state {}", .0.as_str())]
    Decided(ApprovalState),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Returns the request for an approval of a call, and makes one if there is none. If it is
    /// released, it is returned in the state `Used`: this call, and no other, is permitted.
    ///
    /// # Errors
    /// [`StoreError::QuotaReached`] when the caller has too many requests, or the store fails.
    pub async fn request_approval(
        &self,
        subject: ApprovalSubject,
        now: Time,
        lifetime_seconds: i64,
    ) -> Result<Approval, StoreError> {
        let mut write = self.write().await?;
        let mut approvals = self.read_approvals(&mut write).await?;
        approvals.retain(|one| one.expires > now && one.state != ApprovalState::Used);
        let found = approvals.iter().find(|one| one.subject == subject);
        let Some(approval) = found.cloned() else {
            let same = |one: &&Approval| one.subject.requester == subject.requester;
            if !MAX_REQUESTS.has_room(approvals.iter().filter(same).count()) {
                return Err(StoreError::QuotaReached(MAX_REQUESTS));
            }
            let approval = Approval::new(subject, now, lifetime_seconds);
            let values = vec![approval.id.to_string().into(), body(&approval)?.into()];
            write.insert_row(&APPROVALS, values).await?;
            write.finish().await?;
            return Ok(approval);
        };
        if approval.state != ApprovalState::Released {
            return Ok(approval);
        }
        let approval = Approval { state: ApprovalState::Used, ..approval };
        save(write, &approval).await?;
        Ok(approval)
    }

    /// Every request, in no order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn approvals(&self) -> Result<Vec<Approval>, StoreError> {
        let (mut connection, known) = self.inner.begin_read(Scope::Metadata).await?;
        let approvals = self.read_checked(&mut connection, &known).await?;
        connection.rollback().await?;
        Ok(approvals)
    }

    /// Releases or refuses a request on behalf of the operator.
    ///
    /// # Errors
    /// When no request with this id waits for a decision, or the store fails.
    pub async fn decide_approval(
        &self,
        id: ApprovalId,
        state: ApprovalState,
        now: Time,
    ) -> Result<Approval, DecisionError> {
        let mut write = self.write().await?;
        let approvals = self.read_approvals(&mut write).await?;
        let found = approvals.into_iter().find(|one| one.id == id && one.expires > now);
        let approval = found.ok_or(DecisionError::NotFound)?;
        if approval.state != ApprovalState::Requested {
            return Err(DecisionError::Decided(approval.state));
        }
        let approval = approval.decided(state, now);
        let event = match state {
            ApprovalState::Released => "ReleaseApproval",
            _ => "RefuseApproval",
        };
        write.note(event, parameters(&approval)).await?;
        save(write, &approval).await?;
        Ok(approval)
    }

    /// Marks a request as recorded in the audit.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn note_recorded_approval(&self, id: ApprovalId) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let approvals = self.read_approvals(&mut write).await?;
        match approvals.into_iter().find(|one| one.id == id) {
            Some(approval) => save(write, &Approval { is_recorded: true, ..approval }).await,
            None => Ok(()),
        }
    }

    /// Removes a request.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn remove_approval(&self, id: ApprovalId) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        write.delete_rows(&APPROVALS, "id = $1", vec![id.to_string().into()]).await?;
        write.finish().await
    }

    async fn read_approvals(&self, write: &mut Write) -> Result<Vec<Approval>, StoreError> {
        // No other process changes the metadata during this one.
        let known = self.inner.last_seen.revisions(Scope::Metadata);
        self.read_checked(write.connection(), &known).await
    }

    /// A request that another program has written or changed is not used, nor one that was put back: a
    /// release is for one call.
    async fn read_checked(
        &self,
        connection: &mut Connection,
        known: &PartRevisions,
    ) -> Result<Vec<Approval>, StoreError> {
        if !exists(connection).await? {
            return Ok(Vec::new());
        }
        let MetadataRows { approvals, check, .. } =
            self.read_metadata_rows(connection, known).await?;
        let read = approvals.read(&check, read_approval)?;
        self.note_damaged(Part::Approvals, read.damaged);
        Ok(read.whole)
    }
}

/// Whether there is a request at all.
async fn exists(connection: &mut Connection) -> Result<bool, StoreError> {
    Ok(connection.value::<i64>(sqlx::query("SELECT COUNT(*) FROM approvals")).await? > 0)
}

/// The parameters of an audit record about an approval.
fn parameters(approval: &Approval) -> Vec<(&'static str, String)> {
    let ApprovalSubject { operation, requester, resource, .. } = &approval.subject;
    vec![
        ("ApprovalId", approval.id.to_string()),
        ("Operation", operation.clone()),
        ("Requester", requester.clone()),
        ("Resource", resource.clone()),
    ]
}

fn read_approval(row: &AnyRow) -> Result<Approval, StoreError> {
    let fields = APPROVALS.fields(row);
    let approval: Approval = fields.json("body")?;
    if approval.id == fields.parsed("id")? {
        Ok(approval)
    } else {
        Err(fields.corrupt("body", "its id differs from the id of the row"))
    }
}

async fn save(mut write: Write, approval: &Approval) -> Result<(), StoreError> {
    let changes = vec![("body", body(approval)?.into())];
    write.change_row(&APPROVALS, &[approval.id.to_string().into()], changes).await?;
    write.finish().await
}

fn body(approval: &Approval) -> Result<String, StoreError> {
    APPROVALS.to_json(&approval.id, "body", approval)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{Bench, open};

    fn noon() -> Time {
        Time::from_unix(1_700_000_000)
    }

    fn subject(resource: &str) -> ApprovalSubject {
        let text = str::to_owned;
        ApprovalSubject {
            operation: text("ScheduleKeyDeletion"),
            requester: text("user/alice"),
            resource: text(resource),
            parameters: text("00"),
        }
    }

    #[tokio::test]
    async fn a_released_call_is_permitted_once_and_only_as_it_was_requested() {
        let bench = Bench::new().await;
        let (here, there) = (&bench.store, open(&bench.url).await.unwrap());
        let request = async |subject, at| here.request_approval(subject, at, 60).await.unwrap();
        let first = request(subject("key/a"), noon()).await;
        assert_eq!(first.state, ApprovalState::Requested);
        assert_eq!(request(subject("key/a"), noon()).await, first, "no second request");
        let (id, released) = (first.id, ApprovalState::Released);
        let decided = there.decide_approval(id, released, noon().plus_seconds(9)).await.unwrap();
        assert_eq!(decided.expires, noon().plus_seconds(69));
        let again = there.decide_approval(id, ApprovalState::Refused, noon()).await;
        assert!(matches!(again, Err(DecisionError::Decided(ApprovalState::Released))));
        for other in [
            subject("key/b"),
            ApprovalSubject { requester: "user/bob".to_owned(), ..subject("key/a") },
            ApprovalSubject { operation: "SetKeyPolicy".to_owned(), ..subject("key/a") },
            ApprovalSubject { parameters: "01".to_owned(), ..subject("key/a") },
        ] {
            assert_eq!(request(other, noon()).await.state, ApprovalState::Requested);
        }
        let used = request(subject("key/a"), noon().plus_seconds(68)).await;
        assert_eq!((used.id, used.state), (id, ApprovalState::Used));
        let next = request(subject("key/a"), noon().plus_seconds(68)).await;
        assert_eq!(next.state, ApprovalState::Requested);
        assert_ne!(next.id, id);
    }

    #[tokio::test]
    async fn an_expired_or_refused_request_permits_nothing() {
        let bench = Bench::new().await;
        let store = &bench.store;
        let late = noon().plus_seconds(60);
        let request = async |at| store.request_approval(subject("key/a"), at, 60).await.unwrap();
        let first = request(noon()).await;
        let decided = store.decide_approval(first.id, ApprovalState::Released, late).await;
        assert!(matches!(decided, Err(DecisionError::NotFound)));
        let second = request(late).await;
        assert_ne!(second.id, first.id);
        store.decide_approval(second.id, ApprovalState::Released, late).await.unwrap();
        let third = request(late.plus_seconds(60)).await;
        assert_eq!(third.state, ApprovalState::Requested);
        let now = late.plus_seconds(60);
        store.decide_approval(third.id, ApprovalState::Refused, now).await.unwrap();
        assert_eq!(request(now).await.state, ApprovalState::Refused);
        store.remove_approval(third.id).await.unwrap();
        assert_eq!(request(now).await.state, ApprovalState::Requested);
    }

    #[tokio::test]
    async fn one_principal_has_a_limited_number_of_requests() {
        let bench = Bench::new().await;
        for number in 0..100 {
            let subject = subject(&format!("key/{number}"));
            bench.store.request_approval(subject, noon(), 60).await.unwrap();
        }
        let one_more = bench.store.request_approval(subject("key/x"), noon(), 60).await;
        assert!(matches!(one_more, Err(StoreError::QuotaReached(_))));
        let bob = ApprovalSubject { requester: "user/bob".to_owned(), ..subject("key/x") };
        bench.store.request_approval(bob, noon(), 60).await.unwrap();
        let later = noon().plus_seconds(60);
        bench.store.request_approval(subject("key/x"), later, 60).await.unwrap();
    }
}
