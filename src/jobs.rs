//! What runs beside the requests: destroying and rotating keys that are due, and following changes
//! that another process made to the store.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::authn::{AccessKeys, ClientKeys};
use crate::keyring::Keyring;
use crate::model::Time;

/// How long after its deletion date a key may still be there.
const PURGE_EVERY: Duration = Duration::from_secs(10);
/// How long after its date imported material may still be in the token; it is of no use there.
const EXPIRE_EVERY: Duration = Duration::from_secs(10);
/// How long after its date a key may still wait for its next version.
const ROTATE_EVERY: Duration = Duration::from_secs(5);
/// How long an AccessKey or a policy that another process took away may still be good (one second
/// is promised).
const REFRESH_EVERY: Duration = Duration::from_millis(500);
/// How often the hours of last use are written down.
const USES_EVERY: Duration = Duration::from_mins(1);
/// How long temporary credentials stay known after their end, to be refused as expired.
const EXPIRED_FOR_SECONDS: i64 = 24 * 3600;

/// The running jobs; dropping them stops them.
#[derive(Debug)]
pub struct Jobs(JoinSet<()>);

impl Jobs {
    /// Starts every job. Each does its work at once and then at its interval.
    pub fn start(
        keyring: Keyring,
        access_keys: Arc<AccessKeys>,
        client_keys: Arc<ClientKeys>,
    ) -> Self {
        let mut jobs = JoinSet::new();
        let purging = keyring.clone();
        jobs.spawn(every(PURGE_EVERY, "purge", move || {
            let keyring = purging.clone();
            async move { keyring.purge(Time::now()).await.map(drop) }
        }));
        let expiring = keyring.clone();
        jobs.spawn(every(EXPIRE_EVERY, "expiry of imported material", move || {
            let keyring = expiring.clone();
            async move { keyring.expire_material(Time::now()).await }
        }));
        jobs.spawn(every(ROTATE_EVERY, "rotation", move || {
            let keyring = keyring.clone();
            async move { keyring.rotate(Time::now()).await.map(drop) }
        }));
        let used = Arc::clone(&access_keys);
        jobs.spawn(every(REFRESH_EVERY, "refresh of AccessKeys", move || {
            let access_keys = Arc::clone(&access_keys);
            async move { access_keys.refresh().await }
        }));
        jobs.spawn(every(USES_EVERY, "uses of AccessKeys", move || {
            let access_keys = Arc::clone(&used);
            async move {
                access_keys.write_uses().await?;
                access_keys.purge_sessions(Time::now().plus_seconds(-EXPIRED_FOR_SECONDS)).await
            }
        }));
        jobs.spawn(every(USES_EVERY, "uses of client keys", move || {
            let client_keys = Arc::clone(&client_keys);
            async move { client_keys.write_uses().await }
        }));
        Self(jobs)
    }

    /// Stops every job where it awaits, and waits for it.
    pub async fn stop(mut self) {
        self.0.shutdown().await;
    }
}

/// Does `work` at every interval. Of failures in a row only the first is logged, and the success
/// that ends them.
async fn every<Work, Outcome, Failure>(interval: Duration, name: &'static str, work: Work)
where
    Work: Fn() -> Outcome,
    Outcome: Future<Output = Result<(), Failure>>,
    Failure: std::error::Error + 'static,
{
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_failing = false;
    loop {
        ticks.tick().await;
        let outcome = work().await;
        match &outcome {
            Ok(()) if is_failing => tracing::info!(job = name, "the job works again"),
            Err(error) if !is_failing => {
                let error: &(dyn std::error::Error + 'static) = error;
                tracing::error!(job = name, error, "the job fails and will be tried again");
            }
            _ => {}
        }
        is_failing = outcome.is_err();
    }
}
