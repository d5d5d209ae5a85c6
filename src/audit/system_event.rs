//! Events without an API request: scheduled actions of the gateway, and actions of an operator on
//! the command line.

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::event::{Event, ResourceName, ResponseElements, UserIdentity};
use super::line;
use super::parameters::{MAX_VALUE_BYTES, truncated};
use crate::error::ErrorCode;
use crate::model::{KeyId, RegionAccount, RequestId, Time, clock};

/// An event without a request.
#[derive(Debug, Clone)]
pub struct SystemEvent {
    /// The id, which links its intent with its outcome.
    pub id: String,
    /// The action.
    pub name: String,
    /// Who performs it.
    pub actor: Actor,
    /// The time.
    pub time: Time,
    /// The parameters.
    pub parameters: Vec<(String, String)>,
    /// The key that it changes.
    pub key: Option<KeyId>,
}

/// Why an action without a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemFailure {
    /// The code in the record.
    pub code: ErrorCode,
    /// The text for people. It contains no secret.
    pub message: String,
}

impl SystemFailure {
    /// A failure without a code of its own.
    pub(super) fn internal(error: &dyn std::error::Error) -> Self {
        Self { code: ErrorCode::InternalFailure, message: error.to_string() }
    }
}

/// Who performs an action without a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// The gateway, because a date has passed.
    Gateway,
    /// An operator on the command line, by the name of the system account.
    Operator(String),
}

impl SystemEvent {
    /// A scheduled action of the gateway on a key.
    pub fn scheduled(name: &'static str, key: KeyId) -> Self {
        let parameters = vec![("KeyId".to_owned(), key.to_string())];
        Self { key: Some(key), ..Self::of_gateway(name, parameters) }
    }

    /// An action of the gateway now, which is not about one key.
    pub fn of_gateway(name: &str, parameters: Vec<(String, String)>) -> Self {
        Self {
            id: RequestId::random().to_string(),
            name: name.to_owned(),
            actor: Actor::Gateway,
            time: clock::now(),
            parameters,
            key: None,
        }
    }

    /// The members of the record. Without outcome before the action is done.
    pub(super) fn members(
        &self,
        region_account: &RegionAccount,
        outcome: Option<&Result<(), SystemFailure>>,
    ) -> Vec<u8> {
        let parameters = Parameters(&self.parameters);
        let name = (self.name.as_str(), self.time);
        let event = Event {
            event_type: self.actor.event_type(),
            ..Event::new(
                region_account,
                name,
                &self.id,
                parameters,
                self.actor.identity(region_account),
            )
        };
        let event = event.about(self.key.map(ResourceName::Key));
        line::members(&match outcome {
            None => event,
            Some(Ok(())) => event.done(ResponseElements::EMPTY),
            Some(Err(failure)) => {
                event.failed(failure.code, truncated(&failure.message, MAX_VALUE_BYTES))
            }
        })
    }

    /// Adds a parameter.
    #[must_use]
    pub fn with(mut self, name: &str, value: String) -> Self {
        self.parameters.push((name.to_owned(), value));
        self
    }
}

struct Parameters<'a>(&'a [(String, String)]);

impl Serialize for Parameters<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            map.serialize_entry(name, truncated(value, MAX_VALUE_BYTES))?;
        }
        map.end()
    }
}

impl Actor {
    const fn event_type(&self) -> &'static str {
        match self {
            Self::Gateway => "AliyunServiceEvent",
            Self::Operator(_) => "ConsoleOperation",
        }
    }

    fn identity<'a>(&'a self, region_account: &'a RegionAccount) -> UserIdentity<'a> {
        let (kind, name) = match self {
            Self::Gateway => ("system", "hsmgate"),
            Self::Operator(name) => ("operator", name.as_str()),
        };
        UserIdentity::Authenticated {
            kind,
            principal_id: name.into(),
            account_id: region_account.account.as_str(),
            user_name: name.into(),
            access_key_id: None,
            session_context: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::record::tests::{after_event_id, region_account};

    #[test]
    fn a_long_text_does_not_make_a_line_that_a_start_refuses() {
        let long = "\u{1}".repeat(1024 * 1024);
        let mut event = SystemEvent::of_gateway("OperatorCommand", Vec::new());
        for name in ["Principal", "Action", "Resource"] {
            event = event.with(name, long.clone());
        }
        let failure = SystemFailure { code: ErrorCode::NoPermission, message: long };
        let members = event.members(&region_account(), Some(&Err(failure)));
        assert!(members.len() < line::MAX_LINE_BYTES, "{}", members.len());
    }

    #[test]
    fn the_bytes_of_a_record_stay_as_they_are() {
        let system_event = |actor| SystemEvent {
            id: "475f1620-b9d3-4d35-b5c6-3fbdd941423d".to_owned(),
            time: "2024-03-01T08:30:00Z".parse().unwrap(),
            actor,
            ..SystemEvent::scheduled("DestroyKey", "key-hsm65f3a68554f8nbfqwa".parse().unwrap())
        };
        let by_hand =
            SystemEvent { key: None, ..system_event(Actor::Operator("alice".to_owned())) };
        let cases = [
            (system_event(Actor::Gateway), None),
            (
                system_event(Actor::Gateway),
                Some(Err(SystemFailure {
                    code: ErrorCode::InternalFailure,
                    message: "no".to_owned(),
                })),
            ),
            (by_hand, Some(Ok(()))),
        ];
        // Behind those of requests.
        let written = include_str!("event.golden").lines().skip(4);
        for ((system_event, outcome), wanted) in cases.into_iter().zip(written) {
            let wanted = wanted.replace("VERSION", env!("CARGO_PKG_VERSION"));
            assert_eq!(
                after_event_id(&system_event.members(&region_account(), outcome.as_ref())),
                wanted
            );
        }
    }
}
