//! Policy conditions: an operator, a condition key, and the values to compare with.
//!
//! The values of one key are alternatives; all keys and operators must match. A negated operator is
//! the opposite of its positive one over all values. If a request has no value for a key, positive
//! operators do not match and negated ones do.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::IpAddr;

use super::json::{At, PolicyFault};
use super::pattern::{Case, MAX_PATTERN_BYTES, Pattern};
use super::request::PolicyRequest;
use super::steps::Steps;
use crate::model::context::MAX_CONTEXT_CHARS;
use crate::model::{AddressRange, TagKey, TagValue, Time};

/// Maximum length of a tag value in bytes: 128 characters.
const MAX_TAG_VALUE_BYTES: usize = 512;
/// Maximum length of an address, a time or a Boolean in bytes.
const MAX_VALUE_BYTES: usize = 64;

/// Maximum length of a claim of a token, or of an external id, in bytes.
pub(super) const MAX_CLAIM_BYTES: usize = 1224;

/// The kind of a document, which decides its condition keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum DocumentKind {
    /// What may be done with keys: a RAM policy, a session policy or a key policy.
    #[default]
    Access,
    /// Who may assume a role.
    Trust,
}

/// One condition key of one operator.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Condition {
    key: ConditionKey,
    test: Test,
    is_negated: bool,
}

/// The condition keys.
#[derive(Debug, Clone, PartialEq)]
enum ConditionKey {
    /// `acs:SourceIp`: the source address of the request.
    SourceIp,
    /// `acs:SourceVpc`: no request has one in this gateway.
    SourceVpc,
    /// `acs:SecureTransport`: whether the request came over TLS.
    SecureTransport,
    /// `acs:CurrentTime`: the time of the request.
    CurrentTime,
    /// `acs:MFAPresent`: false, because programs sign with AccessKeys.
    MfaPresent,
    /// `kms:tag/<tag key>`: the value of the key's tag.
    Tag(TagKey),
    /// `kms:EncryptionContext/<name>`: the value of this name in the encryption context. An
    /// extension of this gateway; the real service does not have it.
    Context(Box<str>),
    /// `oidc:iss`: the issuer of the token.
    Issuer,
    /// `oidc:sub`: the subject of the token.
    Subject,
    /// `oidc:aud`: the audiences of the token that the provider accepts.
    Audience,
    /// `sts:ExternalId`: the parameter ExternalId of AssumeRole.
    ExternalId,
}

/// The request's value for a condition key.
enum ConditionValue<'a> {
    Text(&'a str),
    /// Several values, of which one has to match.
    AnyOf(&'a [Box<str>]),
    Address(IpAddr),
    Time(Time),
    Truth(bool),
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    Equals(Vec<Box<str>>),
    EqualsIgnoringCase(Vec<Box<str>>),
    Like(Vec<Pattern>),
    Number(Relation, Vec<f64>),
    Date(Relation, Vec<Time>),
    Truth(Vec<bool>),
    Address(Vec<AddressRange>),
}

/// How the request's value compares with the condition's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Condition {
    /// Reads `{"<operator>": {"<condition key>": <values>}}`.
    pub(super) fn read_all(at: &At<'_>, kind: DocumentKind) -> Result<Vec<Self>, PolicyFault> {
        let mut conditions = Vec::new();
        for (name, operator) in at.members()? {
            for (key, values) in operator.members()? {
                let condition = Self::read(name, &operator, key, &values)?;
                if !condition.key.belongs_in(kind) {
                    return Err(values.fault(match kind {
                        DocumentKind::Access => "is a condition key of trust policies",
                        DocumentKind::Trust => "is not a condition key of trust policies",
                    }));
                }
                conditions.push(condition);
            }
        }
        Ok(conditions)
    }

    fn read(
        operator: &str,
        at_operator: &At<'_>,
        key: &str,
        values: &At<'_>,
    ) -> Result<Self, PolicyFault> {
        let key = ConditionKey::read(key)
            .ok_or_else(|| values.fault("is not a condition key of this service"))?;
        let (positive, is_negated) = positive(operator);
        let test = Test::read(&positive, values)?
            .ok_or_else(|| at_operator.fault("is not a condition operator"))?;
        if !key.supports(&test) {
            return Err(values.fault(format!("can never match: {operator} does not fit this key")));
        }
        Ok(Self { key, test, is_negated })
    }

    /// Whether it matches. Meaningless once the steps are exhausted.
    pub(super) fn holds(&self, policy_request: &PolicyRequest<'_>, steps: &Steps) -> bool {
        match self.key.value_in(policy_request) {
            None => self.is_negated,
            Some(actual) => self.test.is_met(&actual, steps) != self.is_negated,
        }
    }

    /// Whether it matches in every request on a key with these tags; `None` if that depends on the
    /// request, or on tags that are not known.
    pub(super) fn holds_always(
        &self,
        tags: Option<&BTreeMap<TagKey, TagValue>>,
        steps: &Steps,
    ) -> Option<bool> {
        let actual = match &self.key {
            ConditionKey::SourceVpc => None,
            ConditionKey::MfaPresent => Some(ConditionValue::Truth(false)),
            ConditionKey::Tag(key) => {
                tags?.get(key).map(|value| ConditionValue::Text(value.as_str()))
            }
            _ => return None,
        };
        Some(actual.is_some_and(|actual| self.test.is_met(&actual, steps)) != self.is_negated)
    }

    /// The maximum number of steps.
    pub(super) fn worst_steps(&self) -> usize {
        let max_bytes = self.key.max_bytes();
        match &self.test {
            Test::Like(patterns) => {
                let steps =
                    patterns.iter().map(|pattern| pattern.worst_steps(max_bytes, Case::Sensitive));
                steps.fold(0, usize::saturating_add)
            }
            Test::EqualsIgnoringCase(values) => values.iter().map(|value| value.len() + 1).sum(),
            Test::Number(..) | Test::Date(..) => Steps::to_scan(max_bytes),
            Test::Equals(_) | Test::Truth(_) | Test::Address(_) => 1,
        }
    }

    /// Whether it matches some subjects of an identity provider and not all.
    pub(super) fn limits_subject(&self) -> bool {
        let is_limit = |pattern: &Pattern| !pattern.is_wildcards_only();
        self.key == ConditionKey::Subject
            && !self.is_negated
            && match &self.test {
                Test::Like(patterns) => patterns.iter().all(is_limit),
                Test::Equals(_) | Test::EqualsIgnoringCase(_) => true,
                _ => false,
            }
    }

    pub(super) fn has_overlong_glob(&self) -> bool {
        matches!(&self.test, Test::Like(patterns) if patterns.iter().any(Pattern::is_overlong_glob))
    }
}

/// The operator without its negation, and whether it was negated.
fn positive(operator: &str) -> (Cow<'_, str>, bool) {
    match operator.split_once("Not") {
        // `NotIpAddress`, and operators such as `StringNotEquals`.
        Some(("", rest)) if rest == "IpAddress" => (rest.into(), true),
        Some((kind @ ("String" | "Numeric" | "Date"), rest))
            if rest.starts_with("Equals") || (kind == "String" && rest == "Like") =>
        {
            (format!("{kind}{rest}").into(), true)
        }
        _ => (operator.into(), false),
    }
}

impl ConditionKey {
    fn read(text: &str) -> Option<Self> {
        const NAMED: [(&str, ConditionKey); 9] = [
            ("acs:SourceIp", ConditionKey::SourceIp),
            ("acs:SourceVpc", ConditionKey::SourceVpc),
            ("acs:SecureTransport", ConditionKey::SecureTransport),
            ("acs:CurrentTime", ConditionKey::CurrentTime),
            ("acs:MFAPresent", ConditionKey::MfaPresent),
            ("oidc:iss", ConditionKey::Issuer),
            ("oidc:sub", ConditionKey::Subject),
            ("oidc:aud", ConditionKey::Audience),
            ("sts:ExternalId", ConditionKey::ExternalId),
        ];
        if let Some((family, name)) = text.split_once('/') {
            return if family.eq_ignore_ascii_case("kms:tag") {
                name.parse().ok().map(Self::Tag)
            } else if family.eq_ignore_ascii_case("kms:EncryptionContext") && !name.is_empty() {
                Some(Self::Context(name.into()))
            } else {
                None
            };
        }
        let mut named = NAMED.into_iter();
        named.find(|(name, _key)| name.eq_ignore_ascii_case(text)).map(|(_name, key)| key)
    }

    /// Whether documents of a kind have this key. A request has no value for the others.
    const fn belongs_in(&self, kind: DocumentKind) -> bool {
        match self {
            Self::Tag(_) | Self::Context(_) => matches!(kind, DocumentKind::Access),
            Self::Issuer | Self::Subject | Self::Audience | Self::ExternalId => {
                matches!(kind, DocumentKind::Trust)
            }
            _ => true,
        }
    }

    /// Refuses a condition that can never match: in a Deny it would be an unnoticed gap.
    fn supports(&self, test: &Test) -> bool {
        let is_text = matches!(test, Test::Equals(_) | Test::EqualsIgnoringCase(_) | Test::Like(_));
        is_text
            || match self {
                Self::SourceIp => matches!(test, Test::Address(_)),
                Self::SourceVpc
                | Self::Issuer
                | Self::Subject
                | Self::Audience
                | Self::ExternalId => false,
                Self::SecureTransport | Self::MfaPresent => matches!(test, Test::Truth(_)),
                Self::CurrentTime => matches!(test, Test::Date(..)),
                Self::Tag(_) | Self::Context(_) => !matches!(test, Test::Address(_)),
            }
    }

    /// Maximum length of its value in bytes.
    fn max_bytes(&self) -> usize {
        match self {
            Self::Context(_) => MAX_CONTEXT_CHARS * char::MAX.len_utf8(),
            Self::Tag(_) => MAX_TAG_VALUE_BYTES,
            Self::Issuer | Self::Subject | Self::Audience | Self::ExternalId => MAX_CLAIM_BYTES,
            _ => MAX_VALUE_BYTES,
        }
    }

    fn value_in<'q>(&self, policy_request: &'q PolicyRequest<'_>) -> Option<ConditionValue<'q>> {
        match self {
            Self::SourceIp => {
                Some(ConditionValue::Address(policy_request.request.source.to_canonical()))
            }
            Self::SourceVpc => None,
            Self::SecureTransport => Some(ConditionValue::Truth(policy_request.request.is_secure)),
            Self::CurrentTime => Some(ConditionValue::Time(policy_request.request.time)),
            Self::MfaPresent => Some(ConditionValue::Truth(false)),
            Self::Tag(key) => {
                let value = policy_request.tags.and_then(|tags| tags.get(key))?;
                Some(ConditionValue::Text(value.as_str()))
            }
            Self::Context(name) => {
                policy_request.context.and_then(|pairs| pairs.get(name)).map(ConditionValue::Text)
            }
            Self::Issuer => policy_request.trust?.issuer.as_deref().map(ConditionValue::Text),
            Self::Subject => policy_request.trust?.subject.as_deref().map(ConditionValue::Text),
            Self::Audience => {
                let audiences = &*policy_request.trust?.audiences;
                (!audiences.is_empty()).then_some(ConditionValue::AnyOf(audiences))
            }
            Self::ExternalId => {
                policy_request.trust?.external_id.as_deref().map(ConditionValue::Text)
            }
        }
    }
}

impl ConditionValue<'_> {
    fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::AnyOf(texts) => texts.join(",").into(),
            Self::Address(address) => address.to_string().into(),
            Self::Time(time) => time.to_string().into(),
            Self::Truth(truth) => Cow::Borrowed(if *truth { "true" } else { "false" }),
        }
    }
}

impl Test {
    /// The test of a positive operator. `None` for an unknown operator.
    fn read(operator: &str, values: &At<'_>) -> Result<Option<Self>, PolicyFault> {
        let relation = |text: &str| match text {
            "Equals" => Some(Relation::Equal),
            "LessThan" => Some(Relation::Less),
            "LessThanEquals" => Some(Relation::LessOrEqual),
            "GreaterThan" => Some(Relation::Greater),
            "GreaterThanEquals" => Some(Relation::GreaterOrEqual),
            _ => None,
        };
        if let Some(relation) = operator.strip_prefix("Numeric").and_then(relation) {
            return read_values(values, number, "must be a number")
                .map(|values| Some(Self::Number(relation, values)));
        }
        if let Some(relation) = operator.strip_prefix("Date").and_then(relation) {
            return read_values(values, date, "must be a time, such as 2024-03-01T08:30:00Z")
                .map(|values| Some(Self::Date(relation, values)));
        }
        let text = |text: &str| (text.len() <= MAX_PATTERN_BYTES).then(|| text.into());
        let pattern = |text: &str| (text.len() <= MAX_PATTERN_BYTES).then(|| Pattern::new(text));
        let what_text = "must be a string of at most 1024 bytes";
        let read = match operator {
            "StringEquals" => Self::Equals(read_values(values, text, what_text)?),
            "StringEqualsIgnoreCase" => {
                Self::EqualsIgnoringCase(read_values(values, text, what_text)?)
            }
            "StringLike" => Self::Like(read_values(values, pattern, what_text)?),
            "Bool" => Self::Truth(read_values(values, truth, "must be true or false")?),
            "IpAddress" => {
                let what = "must be an IP address or a CIDR range";
                Self::Address(read_values(values, |text| text.parse().ok(), what)?)
            }
            _ => return Ok(None),
        };
        Ok(Some(read))
    }

    fn is_met(&self, actual: &ConditionValue<'_>, steps: &Steps) -> bool {
        if let ConditionValue::AnyOf(texts) = actual {
            return texts.iter().any(|text| self.is_met(&ConditionValue::Text(text), steps));
        }
        match self {
            Self::Equals(values) => {
                let text = actual.text();
                values.iter().any(|value| **value == *text)
            }
            Self::EqualsIgnoringCase(values) => {
                let text = actual.text();
                values
                    .iter()
                    .any(|value| steps.take(value.len() + 1) && is_same_ignoring_case(value, &text))
            }
            Self::Like(patterns) => {
                let text = actual.text();
                patterns.iter().any(|pattern| pattern.matches(&text, Case::Sensitive, steps))
            }
            Self::Number(relation, values) => {
                let text = actual.text();
                steps.take(Steps::to_scan(text.len()))
                    && number(&text).is_some_and(|actual| {
                        values.iter().any(|value| relation.holds(actual.partial_cmp(value)))
                    })
            }
            Self::Date(relation, values) => {
                let time = match actual {
                    ConditionValue::Time(time) => Some(*time),
                    other => {
                        let text = other.text();
                        if steps.take(Steps::to_scan(text.len())) { date(&text) } else { None }
                    }
                };
                time.is_some_and(|actual| {
                    values.iter().any(|value| relation.holds(Some(actual.cmp(value))))
                })
            }
            Self::Truth(values) => {
                truth(&actual.text()).is_some_and(|actual| values.contains(&actual))
            }
            Self::Address(ranges) => match actual {
                ConditionValue::Address(address) => {
                    ranges.iter().any(|range| range.contains(*address))
                }
                _ => false,
            },
        }
    }
}

impl Relation {
    fn holds(self, order: Option<Ordering>) -> bool {
        order.is_some_and(|order| match self {
            Self::Equal => order.is_eq(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        })
    }
}

fn read_values<T>(
    at: &At<'_>,
    read: impl Fn(&str) -> Option<T>,
    what: &'static str,
) -> Result<Vec<T>, PolicyFault> {
    at.items()?.iter().map(|item| read(item.scalar()?).ok_or_else(|| item.fault(what))).collect()
}

fn number(text: &str) -> Option<f64> {
    let looks_like_one = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    text.parse().ok().filter(|number: &f64| looks_like_one && number.is_finite())
}

/// A time with any UTC offset, in whole seconds.
fn date(text: &str) -> Option<Time> {
    let time: jiff::Timestamp = text.parse().ok()?;
    (time.subsec_nanosecond() == 0).then(|| Time::from_unix(time.as_second()))
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "True" => Some(true),
        "false" | "False" => Some(false),
        _ => None,
    }
}

fn is_same_ignoring_case(one: &str, other: &str) -> bool {
    let lower = |text| str::chars(text).flat_map(char::to_lowercase);
    lower(one).eq(lower(other))
}

#[cfg(test)]
mod tests;
