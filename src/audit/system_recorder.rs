//! Records system events and the counts of refused requests.

use super::line::Kind;
use super::recorder::Recorder;
use super::system_event::{Actor, SystemEvent, SystemFailure};
use super::writer::NotRecorded;

/// Why a system event failed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError<E: std::error::Error + 'static> {
    /// It could not be recorded, so it was not begun, or its outcome is pending.
    #[error("could not record the action in the audit log")]
    NotRecorded(#[source] NotRecorded),
    /// The action failed.
    #[error(transparent)]
    Failed(#[from] E),
}

impl Recorder {
    /// Runs `work` once its intent is on disk, and records the outcome.
    ///
    /// # Errors
    /// When it could not be recorded, or `work` fails.
    pub async fn record_around<T, E: std::error::Error + 'static>(
        &self,
        system_event: SystemEvent,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, RecordError<E>> {
        self.put(Kind::Intent, &system_event, None, false)
            .await
            .map_err(RecordError::NotRecorded)?;
        let outcome = work.await;
        let told = outcome.as_ref().map(drop).map_err(|error| SystemFailure::internal(error));
        let retry_until_written = system_event.actor == Actor::Gateway;
        self.put(Kind::Event, &system_event, Some(told), retry_until_written)
            .await
            .map_err(RecordError::NotRecorded)?;
        Ok(outcome?)
    }

    /// Records an action that was done elsewhere. If this fails, the caller must keep the event and
    /// retry: it is not kept by the recorder.
    ///
    /// # Errors
    /// When it could not be recorded.
    pub async fn record(&self, system_event: &SystemEvent) -> Result<(), NotRecorded> {
        self.put(Kind::Event, system_event, Some(Ok(())), false).await
    }

    /// Records that an action begins. [`Recorder::record_outcome`] must follow with the same event.
    ///
    /// # Errors
    /// When it could not be recorded: then the action may not begin.
    pub async fn record_intent(&self, system_event: &SystemEvent) -> Result<(), NotRecorded> {
        self.put(Kind::Intent, system_event, None, false).await
    }

    /// Records an action that is done, or has failed.
    ///
    /// # Errors
    /// When it could not be recorded.
    pub async fn record_outcome(
        &self,
        system_event: &SystemEvent,
        failure: Option<SystemFailure>,
    ) -> Result<(), NotRecorded> {
        self.put(Kind::Event, system_event, Some(failure.map_or(Ok(()), Err)), false).await
    }

    async fn put(
        &self,
        kind: Kind,
        system_event: &SystemEvent,
        outcome: Option<Result<(), SystemFailure>>,
        retry_until_written: bool,
    ) -> Result<(), NotRecorded> {
        let Some(inner) = self.inner() else { return Ok(()) };
        let members = system_event.members(&inner.region_account, outcome.as_ref());
        match inner.write(kind, members, retry_until_written).await {
            Err(error) if !inner.required => {
                tracing::error!(
                    event = "audit.record_missing",
                    %error,
                    action = system_event.name,
                    "a system action runs without its audit record"
                );
                Ok(())
            }
            written => written,
        }
    }

    /// Records the counts. Those that cannot be recorded are kept for the next time.
    pub(super) async fn record_refusal_counts(&self) {
        let Some(inner) = self.inner() else { return };
        for (source, refusal_count) in inner.refusal_counts.take() {
            if let Err(error) = self.record(&refusal_count.system_event(source)).await {
                tracing::warn!(
                    event = "audit.refusals_not_recorded",
                    %error,
                    "could not record the number of refused requests; it will be retried"
                );
                inner.refusal_counts.add(source, refusal_count);
            }
        }
    }
}
