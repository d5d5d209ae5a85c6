use super::*;
use crate::model::policy::{FULL_ACCESS, Resource, ResourceName};
use crate::model::{RegionAccount, RequestContext, Time};

const ALLOW: &str =
    r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"kms:*","Resource":"*"}]}"#;
const DENY: &str =
    r#"{"Version":"1","Statement":[{"Effect":"Deny","Action":"kms:*","Resource":"*"}]}"#;
const OTHER: &str =
    r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"kms:Decrypt","Resource":"*"}]}"#;
const OWNER: &str = "1234567890123456";
const OTHER_ACCOUNT: &str = "9999999999999999";

/// Decides kms:Encrypt with a key, for `caller` of `account`.
fn decision(
    (account, caller): (&str, &str),
    policies: &[&str],
    session: Option<&str>,
    key: Option<&str>,
) -> &'static str {
    let region_account =
        RegionAccount { region: "cn-hangzhou".parse().unwrap(), account: OWNER.parse().unwrap() };
    let attach =
        |(at, text): (usize, &&str)| AttachedPolicy::custom(&format!("p{at}"), text).unwrap();
    let policies: Vec<_> = policies.iter().enumerate().map(attach).collect();
    let session = session.map(|text| Policy::parse(text).unwrap());
    let key = key.map(|text| KeyPolicy::parse(text).unwrap());
    let policies = ApplicablePolicies {
        account: &account.parse().unwrap(),
        principal: &caller.parse().unwrap(),
        policies: &policies,
        session: session.as_ref(),
        key_policy: key.as_ref(),
    };
    let policy_request = PolicyRequest {
        action: "kms:Encrypt",
        resource: Resource::new(&region_account, ResourceName::Other("key/a")),
        request: &RequestContext {
            is_secure: false,
            time: Time::from_unix(0),
            ..RequestContext::now([127, 0, 0, 1].into())
        },
        tags: None,
        context: None,
        trust: None,
    };
    match decide(&policies, &policy_request) {
        Decision::Allowed(matched) => match matched.policy_type {
            PolicyType::Principal(_) => "principal",
            PolicyType::Key => "key",
            PolicyType::Root => "root",
            PolicyType::Session => "session",
        },
        Decision::Denied(_) => "denied",
        Decision::ImplicitDeny => "unspoken",
        Decision::NotInSessionPolicy => "outside",
        Decision::OutOfSteps => "out of steps",
    }
}

/// A policy whose statement needs more steps than a decision has.
fn too_costly(effect: &str) -> String {
    let pattern = format!("acs:*{}b*", "a?".repeat(200));
    let patterns = vec![pattern; 70];
    serde_json::json!({"Version": "1", "Statement":
        {"Effect": effect, "Action": "*", "Resource": patterns}})
    .to_string()
}

#[test]
fn a_decision_that_needs_too_many_steps_is_a_denial() {
    let region_account =
        RegionAccount { region: "cn-hangzhou".parse().unwrap(), account: OWNER.parse().unwrap() };
    let name = format!("alias/{}", "a".repeat(200));
    for effect in ["Allow", "Deny"] {
        let costly = too_costly(effect);
        assert!(Policy::parse(&costly).unwrap().check_cost().is_err());
        let policies: Vec<_> = [("a", ALLOW), ("b", &costly), ("c", &costly), ("d", ALLOW)]
            .map(|(name, text)| AttachedPolicy::custom(name, text).unwrap())
            .into();
        let decided = |policies: &[AttachedPolicy]| {
            let policies = ApplicablePolicies {
                account: &region_account.account,
                principal: &"root".parse().unwrap(),
                policies,
                session: None,
                key_policy: None,
            };
            let policy_request = PolicyRequest {
                action: "kms:Encrypt",
                resource: Resource::new(&region_account, ResourceName::Other(&name)),
                request: &RequestContext {
                    is_secure: false,
                    time: Time::from_unix(0),
                    ..RequestContext::now([127, 0, 0, 1].into())
                },
                tags: None,
                context: None,
                trust: None,
            };
            decide(&policies, &policy_request) == Decision::OutOfSteps
        };
        assert!(decided(&policies[1..2]), "{effect}");
        assert!(decided(&policies[1..]), "{effect}");
        // A redundant Allow is not evaluated, a Deny always is.
        assert_eq!(decided(&policies), effect == "Deny");
        assert!(!decided(&policies[..1]));
    }
}

fn key_policy(effect: &str, principal: &str) -> String {
    format!(
        r#"{{"Version":"1","Statement":[{{"Effect":"{effect}","Principal":{{"RAM":"acs:ram::{principal}"}},"Action":"kms:Encrypt","Resource":"*"}}]}}"#
    )
}

#[test]
fn in_the_owners_account_either_side_allows_and_any_deny_wins() {
    let alice = (OWNER, "user/alice");
    let allowed = key_policy("Allow", "1234567890123456:user/alice");
    let others = key_policy("Allow", "1234567890123456:user/bob");
    let denied = key_policy("Deny", "1234567890123456:*");
    for (policies, key, expected) in [
        (vec![], None, "unspoken"),
        (vec![OTHER], None, "unspoken"),
        (vec![OTHER, ALLOW], None, "principal"),
        (vec![ALLOW, DENY], None, "denied"),
        (vec![], Some(&allowed), "key"),
        (vec![], Some(&others), "unspoken"),
        (vec![ALLOW], Some(&others), "principal"),
        (vec![ALLOW], Some(&denied), "denied"),
        (vec![DENY], Some(&allowed), "denied"),
    ] {
        let key = key.map(String::as_str);
        assert_eq!(decision(alice, &policies, None, key), expected, "{policies:?} {key:?}");
    }
}

#[test]
fn across_accounts_both_sides_must_allow() {
    let outsider = (OTHER_ACCOUNT, "user/alice");
    let allowed = key_policy("Allow", "9999999999999999:*");
    let others = key_policy("Allow", "1234567890123456:*");
    for (policies, key, expected) in [
        (vec![ALLOW], None, "unspoken"),
        (vec![], Some(&allowed), "unspoken"),
        (vec![ALLOW], Some(&others), "unspoken"),
        (vec![ALLOW], Some(&allowed), "key"),
        (vec![DENY], Some(&allowed), "denied"),
    ] {
        let key = key.map(String::as_str);
        assert_eq!(decision(outsider, &policies, None, key), expected, "{policies:?} {key:?}");
    }
    assert_eq!(decision((OTHER_ACCOUNT, "root"), &[], None, None), "unspoken");
}

#[test]
fn a_session_policy_only_restricts() {
    let ci = (OWNER, "role/ci");
    let key = key_policy("Allow", "1234567890123456:role/ci");
    for (policies, session, key, expected) in [
        (vec![ALLOW], ALLOW, None, "principal"),
        (vec![ALLOW], OTHER, None, "outside"),
        (vec![ALLOW], DENY, None, "denied"),
        (vec![], ALLOW, None, "unspoken"),
        (vec![], ALLOW, Some(&key), "key"),
        (vec![], OTHER, Some(&key), "outside"),
    ] {
        let key = key.map(String::as_str);
        assert_eq!(decision(ci, &policies, Some(session), key), expected, "{policies:?} {session}");
    }
}

#[test]
fn the_root_may_do_what_no_policy_denies() {
    let root = (OWNER, "root");
    assert_eq!(decision(root, &[], None, None), "root");
    assert_eq!(decision(root, &[DENY], None, None), "denied");
    let denied = key_policy("Deny", "1234567890123456:root");
    assert_eq!(decision(root, &[], None, Some(&denied)), "denied");
    let others = key_policy("Deny", "1234567890123456:user/root");
    assert_eq!(decision(root, &[], None, Some(&others)), "root");
}

#[test]
fn the_default_key_policy_leaves_the_decision_to_the_principals() {
    let default = KeyPolicy::default_text(&OWNER.parse().unwrap());
    let alice = (OWNER, "user/alice");
    assert_eq!(decision(alice, &[], None, Some(&default)), "unspoken");
    assert_eq!(decision(alice, &[ALLOW], None, Some(&default)), "principal");
}

#[test]
fn the_statement_that_decided_is_named() {
    let text = r#"{"Version":"1","Statement":[
        {"Effect":"Allow","Action":"kms:Decrypt","Resource":"*"},
        {"Sid":"seal","Effect":"Allow","Action":"kms:Enc*","Resource":"*"}]}"#;
    let region_account =
        RegionAccount { region: "cn-hangzhou".parse().unwrap(), account: OWNER.parse().unwrap() };
    let policies = [
        AttachedPolicy::system("AliyunKMSReadOnlyAccess").unwrap(),
        AttachedPolicy::custom("own", text).unwrap(),
    ];
    let policies = ApplicablePolicies {
        account: &region_account.account,
        principal: &"user/alice".parse().unwrap(),
        policies: &policies,
        session: None,
        key_policy: None,
    };
    let policy_request = PolicyRequest {
        action: "kms:Encrypt",
        resource: Resource::new(&region_account, ResourceName::Other("key/a")),
        request: &RequestContext {
            is_secure: false,
            time: Time::from_unix(0),
            ..RequestContext::now([127, 0, 0, 1].into())
        },
        tags: None,
        context: None,
        trust: None,
    };
    let Decision::Allowed(matched) = decide(&policies, &policy_request) else {
        panic!("not allowed")
    };
    assert_eq!(matched.policy_type, PolicyType::Principal("own"));
    let (number, statement) = matched.statement.unwrap();
    assert_eq!((number, statement.sid.as_deref()), (1, Some("seal")));
}

#[test]
fn an_auditor_stays_one_whatever_else_is_attached() {
    let text = |name| crate::model::policy::SystemPolicy::find(name).unwrap().text;
    let both = [text(FULL_ACCESS), text("AliyunKMSAuditorAccess")];
    assert_eq!(decision((OWNER, "user/alice"), &both, None, None), "denied");
}
