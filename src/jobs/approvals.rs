//! Records requests for approvals, and removes those that are used or expired.

use crate::audit::{NotRecorded, Recorder, SystemEvent};
use crate::model::{Approval, ApprovalState, ApprovalSubject, Time};
use crate::store::{Store, StoreError};

/// Why a request could not be recorded or removed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApprovalError {
    #[error("cannot record a request for an approval in the audit log")]
    NotRecorded(#[from] NotRecorded),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Records and removes what is due now. After a crash between the two, an event is recorded twice.
pub(super) async fn record_due(
    store: &Store,
    audit: &Recorder,
    now: Time,
) -> Result<(), ApprovalError> {
    for approval in store.approvals().await? {
        if !approval.is_recorded {
            let event =
                SystemEvent { time: approval.requested, ..event("RequestApproval", &approval) };
            audit.record(&event).await?;
            store.note_recorded_approval(approval.id).await?;
        }
        let is_expired = approval.expires <= now;
        let end = match approval.state {
            ApprovalState::Used => Some("UseApproval"),
            ApprovalState::Requested | ApprovalState::Released if is_expired => {
                Some("ExpireApproval")
            }
            // The refusal has a record.
            ApprovalState::Refused if is_expired => None,
            _ => continue,
        };
        if let Some(name) = end {
            audit.record(&event(name, &approval)).await?;
        }
        store.remove_approval(approval.id).await?;
    }
    Ok(())
}

fn event(name: &str, approval: &Approval) -> SystemEvent {
    let ApprovalSubject { operation, requester, resource, parameters } = approval.subject.clone();
    SystemEvent::of_gateway(name, Vec::new())
        .with("ApprovalId", approval.id.to_string())
        .with("Operation", operation)
        .with("Requester", requester)
        .with("Resource", resource)
        .with("ParametersSha256", parameters)
}
