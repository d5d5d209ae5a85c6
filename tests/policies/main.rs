//! Random policies and requests, decided twice: by the gateway, and by a naive second evaluator.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot continue must fail"
)]

mod naive;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use fault_token::Prng;
use hsmgate::authz::{ApplicablePolicies, decide};
use hsmgate::model::policy::{
    AttachedPolicy, KeyPolicy, Policy, PolicyRequest, Resource, ResourceName,
};
use hsmgate::model::{EncryptionContext, RegionAccount, RequestContext, TagKey, TagValue, Time};

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
struct PolicyTexts {
    policies: Vec<String>,
    session: Option<String>,
    key_policy: Option<String>,
}

fn texts(dice: &mut Dice) -> PolicyTexts {
    PolicyTexts {
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

fn read(texts: &PolicyTexts) -> Read {
    let attach =
        |(at, text): (usize, &String)| AttachedPolicy::custom(&format!("p{at}"), text).unwrap();
    Read {
        policies: texts.policies.iter().enumerate().map(attach).collect(),
        session: texts.session.as_ref().map(|text| Policy::parse(text).unwrap()),
        key_policy: texts.key_policy.as_ref().map(|text| KeyPolicy::parse(text).unwrap()),
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
        request: &RequestContext {
            is_secure: request.is_secure,
            time: request.now.parse::<Time>().unwrap(),
            ..RequestContext::now(IpAddr::V4(request.source))
        },
        tags: Some(&tags),
        context: Some(&context),
        trust: None,
    };
    decide(&policies, &policy_request).is_allowed()
}

#[test]
fn a_naive_evaluator_comes_to_the_same_verdicts() {
    let mut dice = Dice(Prng::new(20_160_120));
    let mut allowed = 0;
    for round in 0..ROUNDS {
        let texts = texts(&mut dice);
        let (read, documents) = (read(&texts), naive::documents(&texts));
        for _ in 0..REQUESTS {
            let request = request(&mut dice);
            let decision = decided(&read, &request);
            let expected = naive::allows(&documents, &request);
            assert_eq!(decision, expected, "round {round}: {request:#?} under {texts:#?}");
            allowed += usize::from(decision);
        }
    }
    // Neither side of the question may be rare, or the comparison would say little.
    let all = ROUNDS * REQUESTS;
    assert!((all / 10..all * 9 / 10).contains(&allowed), "{allowed} allowed");
}
