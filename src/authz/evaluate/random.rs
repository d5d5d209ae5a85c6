//! Random policies and requests, decided twice: here, and by a second evaluator that is naive on
//! purpose: it takes the JSON as it is and follows the rules word for word.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use fault_token::Prng;
use serde_json::Value;

use super::*;
use crate::model::policy::{Resource, ResourceName};
use crate::model::{EncryptionContext, RegionAccount, TagKey, TagValue, Time};

const ROUNDS: usize = 20_000;
/// Requests that are decided by the same policies.
const REQUESTS: usize = 5;

struct Dice(Prng);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0.below(sides)
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.roll(choices.len())]
    }

    /// One of the choices as JSON text, or a list of up to three.
    fn some(&mut self, choices: &[&str]) -> String {
        if self.roll(2) == 0 {
            return format!("\"{}\"", self.pick(choices));
        }
        let items: Vec<_> =
            (0..=self.roll(3)).map(|_| format!("\"{}\"", self.pick(choices))).collect();
        format!("[{}]", items.join(","))
    }
}

const ACCOUNTS: [&str; 2] = ["1111111111111111", "2222222222222222"];
const PRINCIPALS: [&str; 5] = ["root", "user/a", "user/b", "role/a", "role/b"];
const ACTIONS: [&str; 6] = [
    "kms:Encrypt",
    "kms:Decrypt",
    "kms:ReEncryptTo",
    "kms:ListKeys",
    "kms:DescribeKey",
    "kms:EnableKey",
];
const ACTION_PATTERNS: [&str; 12] = [
    "*",
    "kms:*",
    "KMS:encrypt",
    "kms:Encrypt",
    "kms:Decrypt",
    "kms:E*",
    "kms:*Key",
    "kms:?e*",
    "ecs:*",
    "kms:*e*t*",
    "kms:List*",
    "k?s:EncryptX",
];
const RESOURCES: [&str; 5] = ["key/k1", "key/k2", "key", "alias/a", "alias/b"];
const RESOURCE_PATTERNS: [&str; 10] = [
    "*",
    "acs:kms:*",
    "acs:kms:*:*:key/*",
    "acs:kms:*:1111111111111111:key/k1",
    "acs:kms:r1:*:key/k?",
    "acs:kms:r2:*:key/k?",
    "acs:kms:*:*:alias/*",
    "acs:kms:r1:2222222222222222:*",
    "acs:kms:*:*:*/?1",
    "acs:oss:*:*:*",
];
const TEXTS: [&str; 6] = ["a", "A", "b", "ab", "7", "10"];
const TIMES: [&str; 3] =
    ["2024-01-01T00:00:00Z", "2024-06-01T08:00:00+08:00", "2025-01-01T00:00:00Z"];

fn condition(dice: &mut Dice) -> (String, String, String) {
    let on_text = ["kms:tag/t", "kms:tag/u", "kms:EncryptionContext/c", "acs:SourceVpc"];
    let (operators, keys, values): (&[&str], &[&str], &[&str]) = match dice.roll(6) {
        0 => (&["StringEquals", "StringNotEquals"], &on_text, &TEXTS),
        1 => (&["StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase"], &on_text, &TEXTS),
        2 => (&["StringLike", "StringNotLike"], &on_text, &["a*", "?", "*b", "A", "**"]),
        3 => (
            &[
                "NumericEquals",
                "NumericNotEquals",
                "NumericLessThan",
                "NumericLessThanEquals",
                "NumericGreaterThan",
                "NumericGreaterThanEquals",
            ],
            &on_text[..3],
            &["7", "7.0", "8", "-1"],
        ),
        4 => (
            &[
                "DateEquals",
                "DateNotEquals",
                "DateLessThan",
                "DateLessThanEquals",
                "DateGreaterThan",
                "DateGreaterThanEquals",
            ],
            &["acs:CurrentTime"],
            &TIMES,
        ),
        _ if dice.roll(2) == 0 => (&["Bool"], &["acs:SecureTransport"], &["true", "false"]),
        _ => (
            &["IpAddress", "NotIpAddress"],
            &["acs:SourceIp"],
            &["10.0.0.0/8", "10.1.0.0/16", "10.1.1.1", "0.0.0.0/0"],
        ),
    };
    (dice.pick(operators).to_owned(), dice.pick(keys).to_owned(), dice.some(values))
}

fn statement(dice: &mut Dice, is_key_policy: bool) -> String {
    let mut text = format!("{{\"Effect\":\"{}\"", dice.pick(&["Allow", "Allow", "Deny"]));
    if is_key_policy {
        let whole: Vec<String> = ACCOUNTS
            .iter()
            .flat_map(|account| {
                let names = PRINCIPALS.iter().chain(&["*"]);
                names.map(move |name| format!("acs:ram::{account}:{name}"))
            })
            .collect();
        let choices: Vec<&str> = whole.iter().map(String::as_str).collect();
        let actions: Vec<&str> =
            ACTION_PATTERNS.into_iter().filter(|action| action.starts_with("kms:")).collect();
        let (principals, actions) = (dice.some(&choices), dice.some(&actions));
        write!(text, ",\"Principal\":{{\"RAM\":{principals}}}").unwrap();
        write!(text, ",\"Action\":{actions},\"Resource\":\"*\"").unwrap();
    } else {
        let action = dice.pick(&["Action", "Action", "Action", "NotAction"]);
        let resource = dice.pick(&["Resource", "Resource", "Resource", "NotResource"]);
        let (actions, resources) = (dice.some(&ACTION_PATTERNS), dice.some(&RESOURCE_PATTERNS));
        write!(text, ",\"{action}\":{actions},\"{resource}\":{resources}").unwrap();
    }
    if dice.roll(3) == 0 {
        let mut operators: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for _ in 0..=dice.roll(2) {
            let (operator, key, values) = condition(dice);
            operators.entry(operator).or_default().insert(key, values);
        }
        let operators: Vec<_> = operators
            .iter()
            .map(|(operator, keys)| {
                let keys: Vec<_> =
                    keys.iter().map(|(key, values)| format!("\"{key}\":{values}")).collect();
                format!("\"{operator}\":{{{}}}", keys.join(","))
            })
            .collect();
        write!(text, ",\"Condition\":{{{}}}", operators.join(",")).unwrap();
    }
    text + "}"
}

fn document(dice: &mut Dice, is_key_policy: bool) -> String {
    let statements: Vec<_> = (0..=dice.roll(3)).map(|_| statement(dice, is_key_policy)).collect();
    format!("{{\"Version\":\"1\",\"Statement\":[{}]}}", statements.join(","))
}

/// A request and all that decides over it, in the plainest form.
#[derive(Debug)]
struct Request {
    owner: &'static str,
    account: &'static str,
    principal: &'static str,
    action: &'static str,
    resource: &'static str,
    source: Ipv4Addr,
    is_secure: bool,
    now: &'static str,
    tags: BTreeMap<&'static str, &'static str>,
    context: BTreeMap<&'static str, &'static str>,
}

/// The documents that decide over it.
#[derive(Debug)]
struct Laws {
    policies: Vec<String>,
    session: Option<String>,
    key_policy: Option<String>,
}

fn laws(dice: &mut Dice) -> Laws {
    Laws {
        policies: (0..dice.roll(3)).map(|_| document(dice, false)).collect(),
        session: (dice.roll(4) == 0).then(|| document(dice, false)),
        key_policy: (dice.roll(2) == 0).then(|| document(dice, true)),
    }
}

fn request(dice: &mut Dice) -> Request {
    let mut pairs = |names: &[&'static str]| {
        let mut pairs = BTreeMap::new();
        for name in names {
            if dice.roll(2) == 0 {
                pairs.insert(*name, dice.pick(&TEXTS));
            }
        }
        pairs
    };
    let (tags, context) = (pairs(&["t", "u"]), pairs(&["c"]));
    Request {
        tags,
        context,
        owner: ACCOUNTS[0],
        account: ACCOUNTS[usize::from(dice.roll(4) == 0)],
        principal: dice.pick(&PRINCIPALS),
        action: dice.pick(&ACTIONS),
        resource: dice.pick(&RESOURCES),
        source: Ipv4Addr::new(10, u8::from(dice.roll(2) == 0), 1, 1),
        is_secure: dice.roll(2) == 0,
        now: dice.pick(&["2024-01-01T00:00:00Z", "2024-06-01T00:00:00Z", "2024-12-31T23:59:59Z"]),
    }
}

/// The documents as the gateway reads them.
struct Read {
    policies: Vec<AttachedPolicy>,
    session: Option<Policy>,
    key_policy: Option<KeyPolicy>,
}

fn read(laws: &Laws) -> Read {
    let attach =
        |(at, text): (usize, &String)| AttachedPolicy::custom(&format!("p{at}"), text).unwrap();
    Read {
        policies: laws.policies.iter().enumerate().map(attach).collect(),
        session: laws.session.as_ref().map(|text| Policy::parse(text).unwrap()),
        key_policy: laws.key_policy.as_ref().map(|text| KeyPolicy::parse(text).unwrap()),
    }
}

fn decided(read: &Read, request: &Request) -> bool {
    let region_account =
        RegionAccount { region: "r1".parse().unwrap(), account: request.owner.parse().unwrap() };
    let tags: BTreeMap<TagKey, TagValue> = request
        .tags
        .iter()
        .map(|(key, value)| (key.parse().unwrap(), value.parse().unwrap()))
        .collect();
    let context = request.context.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    let context = EncryptionContext::new(context.collect()).unwrap();
    let policies = ApplicablePolicies {
        account: &request.account.parse().unwrap(),
        principal: &request.principal.parse().unwrap(),
        policies: &read.policies,
        session: read.session.as_ref(),
        key_policy: read.key_policy.as_ref(),
    };
    let policy_request = PolicyRequest {
        action: request.action,
        resource: Resource::new(&region_account, ResourceName::Other(request.resource)),
        source: IpAddr::V4(request.source),
        is_secure: request.is_secure,
        now: request.now.parse::<Time>().unwrap(),
        tags: Some(&tags),
        context: Some(&context),
    };
    decide(&policies, &policy_request).is_allowed()
}

mod naive {
    use super::*;

    /// The documents as JSON.
    pub(super) struct Documents([Vec<Value>; 3]);

    pub(super) fn documents(laws: &Laws) -> Documents {
        let parse = |text: &String| serde_json::from_str::<Value>(text).unwrap();
        Documents([
            laws.policies.iter().map(parse).collect(),
            laws.session.iter().map(parse).collect(),
            laws.key_policy.iter().map(parse).collect(),
        ])
    }

    pub(super) fn allows(documents: &Documents, request: &Request) -> bool {
        let Documents([principal, session, key]) = documents;
        let says = |documents: &[Value], effect: &str| {
            documents
                .iter()
                .flat_map(|document| document["Statement"].as_array().unwrap())
                .any(|statement| statement["Effect"] == effect && applies(statement, request))
        };
        let denies = [principal, session, key].iter().any(|one| says(one, "Deny"));
        let identity_allows = says(principal, "Allow") || request.principal == "root";
        let session_allows = session.is_empty() || says(session, "Allow");
        let key_allows = says(key, "Allow");
        let sides = if request.account == request.owner {
            identity_allows || key_allows
        } else {
            identity_allows && key_allows
        };
        !denies && session_allows && sides
    }

    fn applies(statement: &Value, request: &Request) -> bool {
        let arn = format!("acs:kms:r1:{}:{}", request.owner, request.resource);
        let action = request.action.to_lowercase();
        let any_action = |member: &str| {
            list(&statement[member]).iter().any(|one| like(&one.to_lowercase(), &action))
        };
        let any_resource =
            |member: &str| list(&statement[member]).iter().any(|one| like(one, &arn));
        let is_there = |member: &str| statement.get(member).is_some();
        let action_fits = (is_there("Action") && any_action("Action"))
            || (is_there("NotAction") && !any_action("NotAction"));
        let resource_fits = (is_there("Resource") && any_resource("Resource"))
            || (is_there("NotResource") && !any_resource("NotResource"));
        action_fits
            && resource_fits
            && principal_fits(statement, request)
            && conditions(statement, request)
    }

    fn principal_fits(statement: &Value, request: &Request) -> bool {
        let Some(principal) = statement.get("Principal") else { return true };
        let is_default = statement["Effect"] == "Allow"
            && list(&principal["RAM"]).contains(&format!("acs:ram::{}:*", request.owner))
            && list(&statement["Action"]).contains(&"kms:*".to_owned())
            && statement.get("Condition").is_none();
        let names = [
            format!("acs:ram::{}:*", request.account),
            format!("acs:ram::{}:{}", request.account, request.principal),
        ];
        !is_default && list(&principal["RAM"]).iter().any(|one| names.contains(one))
    }

    fn conditions(statement: &Value, request: &Request) -> bool {
        let Some(operators) = statement.get("Condition") else { return true };
        operators.as_object().unwrap().iter().all(|(operator, keys)| {
            keys.as_object().unwrap().iter().all(|(key, values)| {
                let fact = fact(key, request);
                holds(operator, fact.as_deref(), &list(values))
            })
        })
    }

    fn fact(key: &str, request: &Request) -> Option<String> {
        match key {
            "acs:SourceIp" => Some(request.source.to_string()),
            "acs:SecureTransport" => Some(request.is_secure.to_string()),
            "acs:CurrentTime" => Some(request.now.to_owned()),
            "kms:tag/t" => request.tags.get("t").map(|text| (*text).to_owned()),
            "kms:tag/u" => request.tags.get("u").map(|text| (*text).to_owned()),
            "kms:EncryptionContext/c" => request.context.get("c").map(|text| (*text).to_owned()),
            _ => None,
        }
    }

    fn holds(operator: &str, fact: Option<&str>, values: &[String]) -> bool {
        if operator.contains("Not") {
            return !holds(&operator.replace("Not", ""), fact, values);
        }
        let Some(fact) = fact else { return false };
        values.iter().any(|value| one_holds(operator, fact, value))
    }

    fn one_holds(operator: &str, fact: &str, value: &str) -> bool {
        let number = |text: &str| text.parse::<f64>().ok();
        let time = |text: &str| text.parse::<jiff::Timestamp>().ok();
        let compare = |relation: &str, order: Option<std::cmp::Ordering>| {
            order.is_some_and(|order| match relation {
                "Equals" => order.is_eq(),
                "LessThan" => order.is_lt(),
                "LessThanEquals" => order.is_le(),
                "GreaterThan" => order.is_gt(),
                _ => order.is_ge(),
            })
        };
        if let Some(relation) = operator.strip_prefix("Numeric") {
            return number(fact)
                .zip(number(value))
                .is_some_and(|(one, other)| compare(relation, one.partial_cmp(&other)));
        }
        if let Some(relation) = operator.strip_prefix("Date") {
            return time(fact)
                .zip(time(value))
                .is_some_and(|(one, other)| compare(relation, Some(one.cmp(&other))));
        }
        match operator {
            "StringEquals" | "Bool" => fact == value,
            "StringEqualsIgnoreCase" => fact.to_lowercase() == value.to_lowercase(),
            "StringLike" => like(value, fact),
            _ => in_range(fact, value),
        }
    }

    fn in_range(address: &str, range: &str) -> bool {
        let (start, length) = range.split_once('/').unwrap_or((range, "32"));
        let length: usize = length.parse().unwrap();
        bits(address).take(length).eq(bits(start).take(length))
    }

    fn bits(address: &str) -> impl Iterator<Item = u8> {
        address.split('.').flat_map(|byte| {
            let byte: u8 = byte.parse().unwrap();
            (0..8).rev().map(move |bit| byte >> bit & 1)
        })
    }

    /// By definition: a star is nothing, or one character and a star.
    fn like(pattern: &str, text: &str) -> bool {
        let (mut pattern_rest, mut text_rest) = (pattern.chars(), text.chars());
        let (first, other) = (pattern_rest.next(), text_rest.next());
        let (pattern_rest, text_rest) = (pattern_rest.as_str(), text_rest.as_str());
        match (first, other) {
            (None, None) => true,
            (Some('*'), None) => like(pattern_rest, text),
            (Some('*'), Some(_)) => like(pattern_rest, text) || like(pattern, text_rest),
            (Some('?'), Some(_)) => like(pattern_rest, text_rest),
            (Some(one), Some(other)) if one == other => like(pattern_rest, text_rest),
            _ => false,
        }
    }

    fn list(value: &Value) -> Vec<String> {
        match value {
            Value::Array(items) => {
                items.iter().map(|item| item.as_str().unwrap().to_owned()).collect()
            }
            Value::String(text) => vec![text.clone()],
            _ => Vec::new(),
        }
    }
}

#[test]
fn a_naive_evaluator_comes_to_the_same_verdicts() {
    let mut dice = Dice(Prng::new(20_160_120));
    let mut allowed = 0;
    for round in 0..ROUNDS {
        let laws = laws(&mut dice);
        let (read, documents) = (read(&laws), naive::documents(&laws));
        for _ in 0..REQUESTS {
            let request = request(&mut dice);
            let decision = decided(&read, &request);
            let expected = naive::allows(&documents, &request);
            assert_eq!(decision, expected, "round {round}: {request:#?} under {laws:#?}");
            allowed += usize::from(decision);
        }
    }
    // Neither side of the question may be rare, or the comparison would say little.
    let all = ROUNDS * REQUESTS;
    assert!((all / 10..all * 9 / 10).contains(&allowed), "{allowed} allowed");
}
