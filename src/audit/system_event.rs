//! What is done without a request of the API: by the gateway itself when it is due, and by an
//! operator on the command line.

use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use uuid::Uuid;

use super::line::{self, Kind};
use super::recorder::{NotRecorded, Recorder};
use crate::model::{KeyId, RegionAccount, RequestId, Time};

const PROGRAM: &str = concat!("hsmgate/", env!("CARGO_PKG_VERSION"));

/// Something that is done without a request.
#[derive(Debug, Clone)]
pub struct SystemEvent {
    /// Its id, which pairs its intent with its event.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Who does it.
    pub actor: Actor,
    /// When.
    pub time: Time,
    /// What it is done with.
    pub parameters: Vec<(String, String)>,
    /// The key that it is done to.
    pub key: Option<KeyId>,
}

/// Who does something without a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// The gateway, because a date has come.
    Gateway,
    /// Somebody on the command line, by the name of the account of the system.
    Operator(String),
}

/// Why a system event was not done.
#[derive(Debug, thiserror::Error)]
pub enum RecordError<E: std::error::Error + 'static> {
    /// It could not be recorded, so it was not begun, or its outcome is owed.
    #[error("it cannot be recorded")]
    NotRecorded(#[source] NotRecorded),
    /// It failed.
    #[error(transparent)]
    Failed(#[from] E),
}

impl SystemEvent {
    /// What the gateway is about to do to a key because it is due.
    pub fn scheduled(name: &'static str, key: KeyId) -> Self {
        Self {
            id: RequestId::random().to_string(),
            name: name.to_owned(),
            actor: Actor::Gateway,
            time: Time::now(),
            parameters: vec![("KeyId".to_owned(), key.to_string())],
            key: Some(key),
        }
    }

    /// With one more parameter.
    #[must_use]
    pub fn with(mut self, name: &str, value: String) -> Self {
        self.parameters.push((name.to_owned(), value));
        self
    }
}

impl Recorder {
    /// Does something once its intent is on disk, and records what came of it.
    ///
    /// # Errors
    /// When it could not be recorded, and what `work` fails with.
    pub async fn record_around<T, E: std::error::Error + 'static>(
        &self,
        system_event: SystemEvent,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, RecordError<E>> {
        self.put(Kind::Intent, &system_event, None, false)
            .await
            .map_err(RecordError::NotRecorded)?;
        let outcome = work.await;
        let told = outcome.as_ref().map(drop).map_err(ToString::to_string);
        let retry_until_written = system_event.actor == Actor::Gateway;
        self.put(Kind::Event, &system_event, Some(told), retry_until_written)
            .await
            .map_err(RecordError::NotRecorded)?;
        Ok(outcome?)
    }

    /// Records what was done elsewhere. The caller keeps it, and tries again, as long as this fails:
    /// nothing of it is kept here.
    ///
    /// # Errors
    /// When it could not be recorded.
    pub async fn record(&self, system_event: &SystemEvent) -> Result<(), NotRecorded> {
        self.put(Kind::Event, system_event, Some(Ok(())), false).await
    }

    async fn put(
        &self,
        kind: Kind,
        system_event: &SystemEvent,
        outcome: Option<Result<(), String>>,
        retry_until_written: bool,
    ) -> Result<(), NotRecorded> {
        let Some(inner) = self.inner() else { return Ok(()) };
        let members =
            line::members(&Record { system_event, region_account: &inner.region_account, outcome });
        match inner.write(kind, members, retry_until_written).await {
            Err(error) if !inner.required => {
                tracing::error!(%error, action = system_event.name, "this is done without its audit record");
                Ok(())
            }
            written => written,
        }
    }
}

struct Record<'a> {
    system_event: &'a SystemEvent,
    region_account: &'a RegionAccount,
    /// `None` before it is done.
    outcome: Option<Result<(), String>>,
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { system_event, region_account, outcome } = self;
        let mut map = serializer.serialize_map(None)?;
        let mut event_id = Uuid::encode_buffer();
        map.serialize_entry("eventId", Uuid::new_v4().hyphenated().encode_lower(&mut event_id))?;
        map.serialize_entry("eventVersion", "1")?;
        map.serialize_entry("eventType", system_event.actor.event_type())?;
        map.serialize_entry("eventCategory", "Management")?;
        map.serialize_entry("eventName", &system_event.name)?;
        map.serialize_entry("eventRW", "Write")?;
        map.serialize_entry("eventSource", "internal")?;
        map.serialize_entry("eventTime", &system_event.time)?;
        map.serialize_entry("serviceName", "Kms")?;
        map.serialize_entry("apiVersion", "2016-01-20")?;
        map.serialize_entry("acsRegion", region_account.region.as_str())?;
        map.serialize_entry("requestId", &system_event.id)?;
        map.serialize_entry("requestParameters", &Parameters(&system_event.parameters))?;
        map.serialize_entry("sourceIpAddress", "internal")?;
        map.serialize_entry("userAgent", PROGRAM)?;
        if let Some(key) = system_event.key {
            map.serialize_entry("resourceType", "ACS::KMS::Key")?;
            map.serialize_entry("resourceName", &key)?;
        }
        map.serialize_entry("recipientAccountId", region_account.account.as_str())?;
        map.serialize_entry("isGlobal", &false)?;
        map.serialize_entry("userIdentity", &system_event.actor.identity(region_account))?;
        match outcome {
            None => {}
            Some(Ok(())) => map.serialize_entry("responseElements", &Parameters(&[]))?,
            Some(Err(message)) => {
                map.serialize_entry("responseElements", &())?;
                map.serialize_entry("errorCode", "InternalFailure")?;
                map.serialize_entry("errorMessage", message)?;
            }
        }
        map.end()
    }
}

struct Parameters<'a>(&'a [(String, String)]);

impl Serialize for Parameters<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Identity<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    principal_id: &'a str,
    account_id: &'a str,
    user_name: &'a str,
}

impl Actor {
    const fn event_type(&self) -> &'static str {
        match self {
            Self::Gateway => "AliyunServiceEvent",
            Self::Operator(_) => "ConsoleOperation",
        }
    }

    fn identity<'a>(&'a self, region_account: &'a RegionAccount) -> Identity<'a> {
        let (kind, name) = match self {
            Self::Gateway => ("system", "hsmgate"),
            Self::Operator(name) => ("operator", name.as_str()),
        };
        let account_id = region_account.account.as_str();
        Identity { kind, principal_id: name, account_id, user_name: name }
    }
}
