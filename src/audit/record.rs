//! The audit event of a request.

use std::borrow::Cow;
use std::sync::Arc;

use super::action::Action;
use super::event::{
    AdditionalEventData, Event, Federation, Keys, NewCredentials, ReferencedResources,
    ResourceName, ResponseElements, Source, UserIdentity,
};
use super::parameters::{Parameters, truncated};
use super::request_event::{self, RequestEvent, RequestParameters};
use super::used_secret::UsedSecret;
use crate::authn::{Caller, FederatedIdentity};
use crate::error::ErrorCode;
use crate::model::{
    AccessKeyId, KeyId, KeyVersionId, PrincipalKind, RegionAccount, RequestContext,
};
use crate::token::Budget;

/// Maximum length in bytes of a `Host` or `User-Agent` in a record.
const MAX_HEADER_BYTES: usize = 256;

/// The known properties of a request that is about to be executed or refused.
#[derive(Debug)]
pub struct RequestDetails {
    /// The action.
    pub action: Action,
    /// The request id, source and time.
    pub context: Arc<RequestContext>,
    /// The recorded parameters.
    pub parameters: Parameters,
    /// The AccessKey or client key that the request names, authenticated or not.
    pub claimed: Option<AccessKeyId>,
    /// The caller, once authenticated.
    pub caller: Option<Arc<Caller>>,
    /// The subject that a token has proven, in place of a caller.
    pub identity: Option<Arc<FederatedIdentity>>,
    /// What a failed authentication counts against, if it is not `claimed`. It is not recorded: a token
    /// that is not verified proves nothing.
    pub limited_by: Option<AccessKeyId>,
}

/// The resources that an operation has used so far.
#[derive(Debug, Clone, Default)]
pub struct UsedResources {
    /// The key.
    pub key: Option<KeyId>,
    /// Its version.
    pub version: Option<KeyVersionId>,
    /// The key that the caller requested and was refused.
    pub refused: Option<KeyId>,
    /// The secret.
    pub secret: Option<UsedSecret>,
    /// The number of secrets that a change of the state of the key concerns.
    pub affected_secrets: Option<usize>,
    /// The AccessKey id of new credentials.
    pub new_access_key: Option<AccessKeyId>,
    /// If there are several tokens, the budget of the token calls, which knows which has worked.
    pub budget: Option<Budget>,
}

/// The outcome of an operation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    /// It is about to begin.
    Intended,
    /// It succeeded.
    Done,
    /// It was refused or failed. Only the code's default message is recorded: a specific message
    /// may repeat what was sent, as for a wrong signature.
    Failed(ErrorCode),
    /// The request ended before its outcome was known.
    Abandoned,
}

impl RequestDetails {
    /// A request of which nothing has been read.
    pub fn new(context: Arc<RequestContext>) -> Self {
        let parameters = Parameters::default();
        Self {
            action: Action::UNKNOWN,
            context,
            parameters,
            claimed: None,
            caller: None,
            identity: None,
            limited_by: None,
        }
    }

    /// Whether it is known who calls.
    pub fn is_authenticated(&self) -> bool {
        self.caller.is_some() || self.identity.is_some()
    }

    /// What a failed authentication counts against beside its source.
    pub fn limited_by(&self) -> Option<&AccessKeyId> {
        self.limited_by.as_ref().or(self.claimed.as_ref())
    }

    /// Moves the known properties out for the record. Parameters and claim are not kept.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let (context, caller) = (Arc::clone(&self.context), self.caller.clone());
        let identity = self.identity.clone();
        let rest = Self { action: self.action, caller, identity, ..Self::new(context) };
        std::mem::replace(self, rest)
    }

    /// The members of the record.
    pub(super) fn members(
        &self,
        region_account: &RegionAccount,
        used_resources: UsedResources,
        outcome: Outcome,
    ) -> Vec<u8> {
        request_event::members(&self.event(region_account, used_resources, outcome))
    }

    fn event<'a>(
        &'a self,
        region_account: &'a RegionAccount,
        used_resources: UsedResources,
        outcome: Outcome,
    ) -> RequestEvent<'a> {
        let UsedResources {
            key,
            version,
            refused,
            secret,
            affected_secrets,
            new_access_key,
            budget,
        } = used_resources;
        let has_response = matches!(outcome, Outcome::Done);
        let alias = self.parameters.text("AliasName");
        let context = &*self.context;
        let name = (self.action.name, context.time);
        let host = truncated(&context.host, MAX_HEADER_BYTES);
        let parameters = RequestParameters {
            host,
            product: self.action.api.product(),
            region: region_account.region.as_str(),
            request_id: context.id,
            parameters: &self.parameters,
        };
        let event = Event {
            event_type: "ApiCall",
            access: self.action.effect.access(),
            event_source: host,
            service_name: self.action.api.product(),
            api_version: self.action.api.version(),
            source_ip_address: Source::Address(context.source),
            user_agent: truncated(&context.user_agent, MAX_HEADER_BYTES),
            referenced_resources: Some(ReferencedResources {
                alias: alias.map(|alias| [alias]),
                keys: Keys(key, refused.filter(|refused| Some(*refused) != key)),
                secret: secret.as_ref().map(|secret| [secret.name.clone()]),
            }),
            additional_event_data: Some(AdditionalEventData {
                scheme: if context.is_secure { "https" } else { "http" },
                key_version_id: version.filter(|_| !has_response),
                affected_secrets,
                token: budget.as_ref().and_then(Budget::token_name),
            }),
            ..Event::new(
                region_account,
                name,
                context.id,
                parameters,
                self.user_identity(region_account.account.as_str()),
            )
        };
        // The record of a refused key is about that key.
        let (about, read) = match secret {
            Some(UsedSecret { name, version }) => (Some(ResourceName::Secret(name)), version),
            None => (refused.or(key).map(ResourceName::Key), None),
        };
        let event = event.about(about);
        match outcome {
            Outcome::Intended => event,
            Outcome::Done => event.done(ResponseElements::Done {
                key_id: key,
                key_version_id: version,
                secret_version: read,
                credentials: new_access_key.map(|access_key_id| NewCredentials { access_key_id }),
            }),
            Outcome::Failed(code) => event.failed(code, code.message()),
            Outcome::Abandoned => event
                .failed(ErrorCode::Unavailable, "The request ended before its outcome was known."),
        }
    }

    /// Limits what is recorded of an unauthenticated client.
    pub(super) fn truncate_unauthenticated(&mut self) {
        if !self.is_authenticated() {
            self.parameters.truncate_unauthenticated();
        }
    }

    fn user_identity<'a>(&'a self, account_id: &'a str) -> UserIdentity<'a> {
        if let Some(identity) = &self.identity {
            let federation = Federation::of(&identity.provider, &identity.values);
            return UserIdentity::Authenticated {
                kind: "oidc-identity",
                principal_id: Cow::Borrowed(federation.subject),
                account_id,
                user_name: Cow::Borrowed(federation.subject),
                access_key_id: None,
                session_context: Some(federation),
            };
        }
        let Some(caller) = &self.caller else {
            let access_key_id = self.claimed.as_ref();
            return UserIdentity::Unauthenticated { kind: "unknown", access_key_id };
        };
        let kind = match caller.principal.name.kind() {
            _ if caller.session.is_some() => "assumed-role",
            PrincipalKind::Root => "root-account",
            PrincipalKind::User => "ram-user",
            PrincipalKind::Role => "assumed-role",
            PrincipalKind::ClientKey => "client-key",
        };
        let name: Cow<'_, str> = match &caller.session {
            Some(session) => Cow::Owned(format!("{}:{}", caller.user, session.name)),
            None => Cow::Borrowed(&caller.user),
        };
        UserIdentity::Authenticated {
            kind,
            principal_id: name.clone(),
            account_id: caller.account.as_str(),
            user_name: name,
            access_key_id: Some(&caller.access_key_id),
            session_context: caller.session.as_ref().and_then(|session| {
                let by = session.origin.federated()?;
                Some(Federation::of(&by.provider, &by.values))
            }),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::Ipv4Addr;

    use serde_json::{Value, json};

    use super::*;
    use crate::audit::{ActionEffect, UsedVersion};
    use crate::authn::{PendingNonce, Principal, Session};
    use crate::model::clock;
    use crate::model::{Api, Params, PrincipalName};

    pub(in super::super) fn region_account() -> RegionAccount {
        RegionAccount {
            region: "cn-hangzhou".parse().unwrap(),
            account: "1234567890123456".parse().unwrap(),
        }
    }

    pub(in super::super) fn request(name: &'static str) -> RequestDetails {
        let mut params = Params::default();
        params.insert("KeyId", "alias/demo").unwrap();
        params.insert("Plaintext", "bWFya2Vy").unwrap();
        let effect = if name == "CreateKey" { ActionEffect::Changes } else { ActionEffect::Reads };
        let context = RequestContext {
            time: "2024-03-01T08:30:00Z".parse().unwrap(),
            host: "kms.example:8200".into(),
            user_agent: "agent\n{\"sequence\":1}".into(),
            ..RequestContext::now(Ipv4Addr::LOCALHOST.into())
        };
        RequestDetails {
            action: Action { api: Api::Kms, name, effect },
            parameters: Parameters::of(&params),
            claimed: Some("LTAIclaimed".parse().unwrap()),
            ..RequestDetails::new(context.into())
        }
    }

    fn read(members: &[u8]) -> Value {
        serde_json::from_slice(&[b"{", members, b"}"].concat()).unwrap()
    }

    #[test]
    fn a_record_has_the_fields_of_action_trail() {
        let mut request = request("Encrypt");
        let name = PrincipalName::user("alice").unwrap();
        request.caller = Some(Arc::new(Caller {
            account: "1234567890123456".parse().unwrap(),
            user: name.shared_name(),
            access_key_id: "LTAIexample".parse().unwrap(),
            principal: Arc::new(Principal::new(name, Vec::new(), clock::now())),
            session: None,
            client_key: None,
            pending_nonce: PendingNonce::default(),
        }));
        let key = KeyId::random();
        let used_resources = UsedResources { key: Some(key), ..UsedResources::default() };
        let record = read(&request.members(&region_account(), used_resources, Outcome::Done));
        assert_eq!(record["eventName"], "Encrypt");
        assert_eq!(record["eventRW"], "Read");
        assert_eq!(record["eventTime"], "2024-03-01T08:30:00Z");
        assert_eq!(record["requestParameters"]["KeyId"], "alias/demo");
        assert!(record["requestParameters"].get("Plaintext").is_none());
        assert_eq!(record["referencedResources"], json!({"ACS::KMS::Key": [key]}));
        assert_eq!(record["responseElements"], json!({"KeyId": key}));
        assert_eq!(record["userIdentity"]["userName"], "alice");
        assert_eq!(record["userIdentity"]["type"], "ram-user");
        assert!(record.get("errorCode").is_none());
    }

    #[test]
    fn a_refusal_is_recorded_with_its_code_and_the_message_of_the_table() {
        let code = ErrorCode::SignatureDoesNotMatch;
        let record = request("Decrypt").members(
            &region_account(),
            UsedResources::default(),
            Outcome::Failed(code),
        );
        let record = read(&record);
        assert_eq!(record["errorCode"], code.as_str());
        assert_eq!(record["errorMessage"], code.message());
        assert_eq!(record["responseElements"], Value::Null);
        let identity = json!({"type": "unknown", "accessKeyId": "LTAIclaimed"});
        assert_eq!(record["userIdentity"], identity);
        assert_eq!(record["userAgent"], "agent\n{\"sequence\":1}");
    }

    #[test]
    fn a_refusal_names_both_the_refused_and_the_used_key() {
        let (source, destination) = (KeyId::random(), KeyId::random());
        let record = |key, refused| {
            let used_resources = UsedResources { key, refused, ..UsedResources::default() };
            let refusal = Outcome::Failed(ErrorCode::NoPermission);
            read(&request("ReEncrypt").members(&region_account(), used_resources, refusal))
        };
        let both = record(Some(source), Some(destination));
        assert_eq!(both["resourceName"], json!(destination));
        let keys = json!({"ACS::KMS::Key": [source, destination]});
        assert_eq!(both["referencedResources"], keys);
        let same = record(Some(source), Some(source));
        assert_eq!(same["referencedResources"], json!({"ACS::KMS::Key": [source]}));
        let version = KeyVersionId::random();
        let used_resources = UsedResources { version: Some(version), ..UsedResources::default() };
        let unknown = Outcome::Failed(ErrorCode::KeyVersionNotFound);
        let unknown = read(&request("Decrypt").members(&region_account(), used_resources, unknown));
        assert_eq!(unknown["additionalEventData"]["KeyVersionId"], json!(version));
        let none = record(None, None);
        assert!(none["additionalEventData"].get("KeyVersionId").is_none());
        assert_eq!(none["referencedResources"], json!({}));
        assert!(none.get("resourceName").is_none());
    }

    /// The members without the random id at their start.
    pub(in super::super) fn after_event_id(members: &[u8]) -> String {
        let text = String::from_utf8(members.to_vec()).unwrap();
        let (id, rest) =
            text.split_at(r#""eventId":"01234567-89ab-4def-8123-456789abcdef","#.len());
        assert!(id.starts_with(r#""eventId":""#) && id.ends_with(r#"","#), "{id}");
        rest.to_owned()
    }

    /// All that a client chooses, in every kind of record.
    #[test]
    fn a_record_has_the_bytes_that_the_serializer_writes() {
        let every: String =
            (0..=0x2ff).filter_map(char::from_u32).chain(['\u{2028}', '😀']).collect();
        let texts = ["", "plain", "alias/demo", "\"quoted\" \\", "ä\n\u{7f}😀", every.as_str()];
        let sources: [std::net::IpAddr; 3] =
            ["203.0.113.9", "2001:db8::1", "::ffff:10.0.0.255"].map(|text| text.parse().unwrap());
        let name = PrincipalName::role("admin").unwrap();
        let session = Session::named("deploy\"");
        let caller = |session: Option<Arc<Session>>| Caller {
            account: "1234567890123456".parse().unwrap(),
            user: name.shared_name(),
            access_key_id: "STS.example".parse().unwrap(),
            principal: Arc::new(Principal::new(name.clone(), Vec::new(), clock::now())),
            session,
            client_key: None,
            pending_nonce: PendingNonce::default(),
        };
        let callers = [None, Some(caller(None)), Some(caller(Some(Arc::new(session))))];
        let (key, version) = (KeyId::random(), KeyVersionId::random());
        let old: KeyId = "2ab1a983-7072-4bbc-a582-584b5bd8f1c2".parse().unwrap();
        let secret = UsedSecret { name: "db/orders".parse().unwrap(), version: None };
        let stages = ["ACSCurrent", "blue"].map(|stage| stage.parse().unwrap()).into();
        let version_read = UsedVersion { id: "v1".parse().unwrap(), stages };
        let read = UsedSecret { version: Some(version_read), ..secret.clone() };
        let used = [
            UsedResources::default(),
            UsedResources { key: Some(key), version: Some(version), ..UsedResources::default() },
            UsedResources { key: Some(key), refused: Some(old), ..UsedResources::default() },
            UsedResources {
                version: Some(version),
                refused: Some(old),
                ..UsedResources::default()
            },
            UsedResources {
                secret: Some(secret.clone()),
                affected_secrets: Some(3),
                ..UsedResources::default()
            },
            UsedResources { key: Some(key), secret: Some(read), ..UsedResources::default() },
            UsedResources {
                new_access_key: Some("STS.example".parse().unwrap()),
                ..UsedResources::default()
            },
            UsedResources {
                key: Some(key),
                new_access_key: Some("STS.example".parse().unwrap()),
                ..UsedResources::default()
            },
        ];
        let outcomes = [
            Outcome::Intended,
            Outcome::Done,
            Outcome::Failed(ErrorCode::SignatureDoesNotMatch),
            Outcome::Abandoned,
        ];
        let region_account = region_account();
        let mut compared = 0;
        for (index, text) in texts.iter().enumerate() {
            for caller in &callers {
                for (used_resources, outcome) in used
                    .iter()
                    .flat_map(|used| outcomes.iter().map(move |outcome| (used.clone(), *outcome)))
                {
                    let mut params = Params::default();
                    params.insert("KeyId", *text).unwrap();
                    if index % 2 == 0 {
                        params.insert("AliasName", *text).unwrap();
                        params.insert(format!("Tag.1.{text}"), *text).unwrap();
                    }
                    let context = RequestContext {
                        host: (*text).into(),
                        user_agent: (*text).into(),
                        is_secure: index % 2 == 0,
                        ..RequestContext::now(sources[index % 3])
                    };
                    let effects =
                        [ActionEffect::Reads, ActionEffect::Changes, ActionEffect::Unknown];
                    let request = RequestDetails {
                        action: Action {
                            api: Api::Kms,
                            name: "Encrypt",
                            effect: effects[index % 3],
                        },
                        parameters: Parameters::of(&params),
                        claimed: (index > 2).then(|| "LTAIclaimed".parse().unwrap()),
                        caller: caller.clone().map(Arc::new),
                        ..RequestDetails::new(context.into())
                    };
                    let event = request.event(&region_account, used_resources, outcome);
                    let written = request_event::members(&event);
                    let serialized = crate::audit::line::members(&event);
                    assert_eq!(
                        String::from_utf8(written).unwrap(),
                        String::from_utf8(serialized).unwrap()
                    );
                    compared += 1;
                }
            }
        }
        assert_eq!(compared, 6 * 3 * 8 * 4);
    }

    #[test]
    fn the_bytes_of_a_record_stay_as_they_are() {
        let key: KeyId = "key-hsm65f3a68554f8nbfqwa".parse().unwrap();
        let version: KeyVersionId = "2ab1a983-7072-4bbc-a582-584b5bd8f1c2".parse().unwrap();
        let name = PrincipalName::role("admin").unwrap();
        let caller = Caller {
            account: "1234567890123456".parse().unwrap(),
            user: name.shared_name(),
            access_key_id: "STS.example".parse().unwrap(),
            principal: Arc::new(Principal::new(name, Vec::new(), clock::now())),
            session: None,
            client_key: None,
            pending_nonce: PendingNonce::default(),
        };
        let done = || {
            let mut request = request("CreateKey");
            let context = RequestContext { is_secure: true, ..(*request.context).clone() };
            request.context = Arc::new(context);
            request.caller = Some(Arc::new(caller.clone()));
            request
        };
        let used =
            UsedResources { key: Some(key), version: Some(version), ..UsedResources::default() };
        let refused = UsedResources { refused: Some(key), ..used.clone() };
        let cases = [
            (done(), used.clone(), Outcome::Intended),
            (done(), used, Outcome::Done),
            (request("Decrypt"), refused, Outcome::Failed(ErrorCode::NoPermission)),
            (request("-"), UsedResources::default(), Outcome::Abandoned),
        ];
        let written = include_str!("event.golden").lines();
        for ((request, used_resources, outcome), wanted) in cases.into_iter().zip(written) {
            let record =
                after_event_id(&request.members(&region_account(), used_resources, outcome));
            assert_eq!(record.replace(&request.context.id.to_string(), "ID"), wanted);
        }
    }
}
