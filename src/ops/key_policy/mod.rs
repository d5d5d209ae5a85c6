//! The key policy: a document that the owner of a key writes. It is kept here as it was written;
//! what follows from it is decided elsewhere.

pub mod get_key_policy;
pub mod set_key_policy;

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::{ApiError, ErrorCode};
use crate::model::id::InvalidId;
use crate::model::{FromParam, MAX_KEY_POLICY_BYTES, ParamError, Params};

/// The one policy that a key has.
const DEFAULT_NAME: &str = "default";

/// The text of a key policy (CreateKey and SetKeyPolicy, parameter Policy), at most
/// [`MAX_KEY_POLICY_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyText(String);

impl PolicyText {
    /// The text as its owner wrote it.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl FromParam for PolicyText {
    fn from_param(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId("key policy");
        if text.len() > MAX_KEY_POLICY_BYTES {
            return Err(invalid);
        }
        let document: Document = serde_json::from_str(text).map_err(|_source| invalid)?;
        if document.is_key_policy() { Ok(Self(text.to_owned())) } else { Err(invalid) }
    }
}

/// The parameter PolicyName: whether the policy that is asked for can be there.
fn names_default(params: &Params<'_>) -> Result<bool, ParamError> {
    let name: Option<String> = params.optional("PolicyName")?;
    Ok(name.is_none_or(|name| name == DEFAULT_NAME))
}

fn no_such_policy() -> ApiError {
    ApiError::with_message(ErrorCode::ResourceNotFound, "Policy not found.")
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Document {
    version: String,
    statement: Vec<Statement>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Statement {
    sid: Option<String>,
    effect: Effect,
    principal: Principal,
    action: OneOrMore,
    resource: OneOrMore,
    #[serde(default, rename = "Condition")]
    _condition: BTreeMap<String, BTreeMap<String, OneOrMore>>,
}

#[derive(Deserialize)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Principal {
    #[serde(rename = "RAM")]
    ram: OneOrMore,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl Document {
    fn is_key_policy(&self) -> bool {
        self.version == "1"
            && !self.statement.is_empty()
            && self.statement.iter().all(Statement::is_of_a_key)
    }
}

impl Statement {
    fn is_of_a_key(&self) -> bool {
        matches!(self.effect, Effect::Allow | Effect::Deny)
            && self.sid.as_deref().is_none_or(is_sid)
            && self.principal.ram.all(|principal| principal.starts_with("acs:ram::"))
            && self.action.all(|action| action.starts_with("kms:"))
            && self.resource.all(|resource| resource == "*")
    }
}

impl OneOrMore {
    /// Whether there is one at all and every one is as wanted.
    fn all(&self, wanted: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::One(one) => wanted(one),
            Self::More(more) => !more.is_empty() && more.iter().all(|one| wanted(one)),
        }
    }
}

fn is_sid(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_/+=.@- ".contains(&byte);
    text.len() <= 128 && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATEMENT: &str = r#"{"Sid":"a b","Effect":"Allow","Principal":{"RAM":["acs:ram::1:*"]},"Action":["kms:*"],"Resource":["*"],"Condition":{"StringEquals":{"kms:tag/a":"b"}}}"#;

    fn policy(statements: &str) -> String {
        format!(r#"{{"Version":"1","Statement":[{statements}]}}"#)
    }

    #[test]
    fn a_policy_keeps_its_text() {
        for text in [policy(STATEMENT), format!(" {}", policy(&format!("{STATEMENT},{STATEMENT}")))]
        {
            assert_eq!(PolicyText::from_param(&text).unwrap().into_string(), text);
        }
    }

    #[test]
    fn a_text_that_is_no_key_policy_is_refused() {
        let altered = |from: &str, to: &str| {
            assert!(STATEMENT.contains(from), "{from}");
            policy(&STATEMENT.replace(from, to))
        };
        for text in [
            String::new(),
            "{}".to_owned(),
            policy(""),
            policy(STATEMENT).replace(r#""1""#, r#""2""#),
            altered("Allow", "Maybe"),
            altered("a b", "a<b"),
            altered("kms:*", "oss:*"),
            altered(r#"["*"]"#, r#"["acs:kms:*"]"#),
            altered(r#"["*"]"#, "[]"),
            altered("acs:ram::1:*", "*"),
            altered(r#""Principal":{"RAM":["acs:ram::1:*"]},"#, ""),
            altered("Action", "NotAction"),
            altered(r#"{"kms:tag/a":"b"}"#, "7"),
        ] {
            assert!(PolicyText::from_param(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_policy_ends_at_32_kib() {
        let of_length = |length: usize| {
            let text = policy(STATEMENT);
            format!("{text}{}", " ".repeat(length - text.len()))
        };
        assert!(PolicyText::from_param(&of_length(MAX_KEY_POLICY_BYTES)).is_ok());
        assert!(PolicyText::from_param(&of_length(MAX_KEY_POLICY_BYTES + 1)).is_err());
    }
}
