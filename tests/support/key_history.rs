//! What clients ask of keys and aliases, what they are told, and what a call makes of a key or an alias in the
//! model: for [`super::history`].

use std::fmt::Debug;

use hsmgate::cli::client::{CallError, Client};
use serde_json::Value;

use super::gateway::text;
use super::history::Timed;
use super::key_model::{Change, KeyFacts, KeyRequest, Kind, Operation, PLAINTEXT, Request, State};

/// What came of a call.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Done(Value),
    /// The caller may not, so nothing has changed.
    Refused(String),
    /// It may have been done.
    Unknown,
    /// The gateway was too busy to begin it.
    Nothing,
}

/// What is asked of an alias.
#[derive(Debug, Clone)]
pub(crate) enum AliasRequest {
    Create(String),
    Update(String),
    Delete,
    /// Which key it names.
    Resolve,
}

impl Outcome {
    pub(crate) fn of(answer: Result<Value, CallError>) -> Self {
        match answer {
            Ok(answer) => Self::Done(answer),
            Err(CallError::Refused { status: 429, .. }) => Self::Nothing,
            Err(CallError::Refused { status, code, .. }) if status < 500 => Self::Refused(code),
            Err(_) => Self::Unknown,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }
}

impl AliasRequest {
    pub(crate) fn request(&self, alias: &str) -> Request {
        let name = alias.to_owned();
        match self {
            Self::Create(key) => Operation::CreateAlias { name, key: key.clone() }.request(),
            Self::Update(key) => Operation::UpdateAlias { name, key: key.clone() }.request(),
            Self::Delete => Operation::DeleteAlias { name }.request(),
            Self::Resolve => ("DescribeKey", vec![("KeyId", name)]),
        }
    }
}

/// Asks, and tells what came of it.
pub(crate) async fn ask(client: &Client, (action, params): Request) -> Outcome {
    let params: Vec<_> = params.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Outcome::of(client.call(action, &params).await)
}

/// Each call on a line, by its beginning.
pub(crate) fn lines<A: Debug>(calls: &[Timed<(A, Outcome)>]) -> String {
    let mut calls: Vec<_> = calls.iter().collect();
    calls.sort_by_key(|call| call.began);
    calls.into_iter().map(|call| line_of(call, &call.call.0, &call.call.1)).collect()
}

/// What was asked and told at which time, in microseconds.
pub(crate) fn line_of<C>(call: &Timed<C>, asked: &impl Debug, outcome: &Outcome) -> String {
    let outcome = match outcome {
        Outcome::Done(answer) => {
            let metadata = &answer["KeyMetadata"];
            let told =
                ["KeyId", "KeyState", "PrimaryKeyVersion", "RotationInterval", "Description"];
            let told = told.map(|name| metadata[name].as_str().unwrap_or_default());
            let version = &answer["KeyVersion"]["KeyVersionId"];
            format!("{told:?} {version} {} {}", answer["TotalCount"], answer["KeyVersionId"])
        }
        other => format!("{other:?}"),
    };
    let asked = format!("{asked:?}");
    let answered = call.answered.map(|at| at / 1_000);
    format!("{} to {answered:?}: {asked:.50} {outcome}\n", call.began / 1_000)
}

/// What a call makes of an alias that names `key`; none when the answer is not of that.
#[expect(clippy::option_option, clippy::ref_option, reason = "an alias may name no key")]
pub(crate) fn apply_to_alias(
    key: &Option<String>,
    asked: &AliasRequest,
    outcome: &Outcome,
) -> Option<Option<String>> {
    let done = match asked {
        AliasRequest::Create(new) => key.is_none().then(|| Some(new.clone())),
        AliasRequest::Update(new) => key.is_some().then(|| Some(new.clone())),
        AliasRequest::Delete => key.is_some().then_some(None),
        AliasRequest::Resolve => key.is_some().then(|| key.clone()),
    };
    match (outcome, asked) {
        (Outcome::Done(answer), AliasRequest::Resolve) => {
            let is_it = key.as_deref() == answer["KeyMetadata"]["KeyId"].as_str();
            done.filter(|_key| is_it)
        }
        (Outcome::Done(_) | Outcome::Unknown, _) => done,
        // The state of the key that it is to name may be against it, too.
        (Outcome::Refused(code), _) => match code.as_str() {
            "Forbidden.AliasNotFound" => key.is_none().then(|| key.clone()),
            "AliasAlreadyExists" => key.is_some().then(|| key.clone()),
            _ => code.starts_with("Rejected.").then(|| key.clone()),
        },
        (Outcome::Nothing, _) => None,
    }
}

/// What a call makes of a key with these facts; none when the answer is not of them.
pub(crate) fn apply_to_key(
    kind: Kind,
    facts: &KeyFacts,
    asked: &KeyRequest,
    outcome: &Outcome,
) -> Option<KeyFacts> {
    let same = || Some(facts.clone());
    let answer = match outcome {
        Outcome::Done(answer) => answer,
        Outcome::Unknown => return facts.after(kind, asked.change()?),
        Outcome::Nothing => return None,
        Outcome::Refused(code) => {
            return match asked {
                KeyRequest::To(change) if facts.after(kind, change).is_none() => same(),
                KeyRequest::Encrypt | KeyRequest::Decrypt(_) if *code == facts.state.refusal() => {
                    same()
                }
                _ => None,
            };
        }
    };
    match asked {
        KeyRequest::To(change) => {
            let mut after = facts.after(kind, change)?;
            if let (Change::AddVersion, Kind::Cipher) = (change, kind) {
                let version = text(&answer["KeyVersion"]["KeyVersionId"]);
                after.primary = Some(version.to_owned());
            }
            Some(after)
        }
        KeyRequest::Describe => {
            let metadata = &answer["KeyMetadata"];
            let member = |name: &str| metadata[name].as_str().unwrap_or_default();
            let is_so = State::of(metadata) == facts.state
                && member("RotationInterval") == facts.rotation
                && member("Description") == facts.description;
            facts.with_primary(member("PrimaryKeyVersion")).filter(|_facts| is_so)
        }
        KeyRequest::Versions => {
            let count = answer["TotalCount"].as_u64();
            (count == u64::try_from(facts.versions).ok()).then(same)?
        }
        KeyRequest::Encrypt if facts.state == State::Enabled => {
            facts.with_primary(text(&answer["KeyVersionId"]))
        }
        KeyRequest::Decrypt(_) if facts.state == State::Enabled => {
            (answer["Plaintext"] == PLAINTEXT).then(same)?
        }
        KeyRequest::Encrypt | KeyRequest::Decrypt(_) => None,
    }
}
