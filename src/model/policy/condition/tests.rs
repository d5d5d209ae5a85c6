use std::collections::BTreeMap;

use crate::model::policy::{Policy, PolicyRequest, Resource, ResourceName, Steps};
use crate::model::{EncryptionContext, RegionAccount, RequestContext, TagKey, TagValue, Time};

fn policy(condition: &str) -> Result<Policy, String> {
    let text = format!(
        r#"{{"Version":"1","Statement":{{"Effect":"Allow","Action":"*","Resource":"*","Condition":{condition}}}}}"#
    );
    Policy::parse(&text).map_err(|fault| fault.to_string())
}

/// Evaluates a condition for a request from 10.1.2.3 over TLS at noon on 2024-03-01, with a key
/// that has the tags team=orders, level=7 and retired=2024-01-01T00:00:00Z, and the context
/// {"purpose":"Backup"}.
fn holds(condition: &str) -> bool {
    let region_account = RegionAccount {
        region: "cn-hangzhou".parse().unwrap(),
        account: "1234567890123456".parse().unwrap(),
    };
    let tags: BTreeMap<TagKey, TagValue> =
        [("team", "orders"), ("level", "7"), ("retired", "2024-01-01T00:00:00Z")]
            .map(|(key, value)| (key.parse().unwrap(), value.parse().unwrap()))
            .into();
    let context: EncryptionContext = r#"{"purpose":"Backup"}"#.parse().unwrap();
    let policy_request = PolicyRequest {
        action: "kms:Encrypt",
        resource: Resource::new(&region_account, ResourceName::Other("key/a")),
        request: &RequestContext {
            is_secure: true,
            time: "2024-03-01T12:00:00Z".parse::<Time>().unwrap(),
            ..RequestContext::now("10.1.2.3".parse().unwrap())
        },
        tags: Some(&tags),
        context: Some(&context),
        trust: None,
    };
    policy(condition).expect(condition).statements()[0].applies(&policy_request, &Steps::default())
}

#[track_caller]
fn check(cases: &[(&str, bool)]) {
    for (condition, expected) in cases {
        assert_eq!(holds(condition), *expected, "{condition}");
    }
}

#[test]
fn strings_are_compared_with_and_without_case() {
    check(&[
        (r#"{"StringEquals":{"kms:tag/team":"orders"}}"#, true),
        (r#"{"StringEquals":{"kms:tag/team":"Orders"}}"#, false),
        (r#"{"StringEquals":{"kms:tag/team":["a","orders"]}}"#, true),
        (r#"{"StringEquals":{"kms:tag/Team":"orders"}}"#, false),
        (r#"{"StringNotEquals":{"kms:tag/team":"orders"}}"#, false),
        (r#"{"StringNotEquals":{"kms:tag/team":"a"}}"#, true),
        (r#"{"StringEqualsIgnoreCase":{"kms:tag/team":"ORDERS"}}"#, true),
        (r#"{"StringEqualsIgnoreCase":{"kms:tag/team":"ORDER"}}"#, false),
        (r#"{"StringNotEqualsIgnoreCase":{"kms:tag/team":"ORDERS"}}"#, false),
        (r#"{"StringNotEqualsIgnoreCase":{"kms:tag/team":"x"}}"#, true),
        (r#"{"StringLike":{"kms:tag/team":"ord*"}}"#, true),
        (r#"{"StringLike":{"kms:tag/team":"ord?"}}"#, false),
        (r#"{"StringNotLike":{"kms:tag/team":"ord*"}}"#, false),
        (r#"{"StringNotLike":{"kms:tag/team":"x*"}}"#, true),
        (r#"{"StringEquals":{"kms:EncryptionContext/purpose":"Backup"}}"#, true),
        (r#"{"StringEquals":{"kms:EncryptionContext/purpose":"Restore"}}"#, false),
        (r#"{"StringLike":{"acs:SourceIp":"10.1.*"}}"#, true),
    ]);
}

#[test]
fn numbers_are_compared_by_value() {
    check(&[
        (r#"{"NumericEquals":{"kms:tag/level":"7.0"}}"#, true),
        (r#"{"NumericEquals":{"kms:tag/level":7}}"#, true),
        (r#"{"NumericNotEquals":{"kms:tag/level":7}}"#, false),
        (r#"{"NumericNotEquals":{"kms:tag/level":8}}"#, true),
        (r#"{"NumericLessThan":{"kms:tag/level":7}}"#, false),
        (r#"{"NumericLessThan":{"kms:tag/level":10}}"#, true),
        (r#"{"NumericLessThanEquals":{"kms:tag/level":7}}"#, true),
        (r#"{"NumericLessThanEquals":{"kms:tag/level":-7}}"#, false),
        (r#"{"NumericGreaterThan":{"kms:tag/level":"6.9"}}"#, true),
        (r#"{"NumericGreaterThan":{"kms:tag/level":7}}"#, false),
        (r#"{"NumericGreaterThanEquals":{"kms:tag/level":7}}"#, true),
        (r#"{"NumericGreaterThanEquals":{"kms:tag/level":8}}"#, false),
        (r#"{"NumericLessThan":{"kms:tag/team":1}}"#, false),
    ]);
}

#[test]
fn times_are_compared_whatever_their_offset() {
    check(&[
        (r#"{"DateEquals":{"acs:CurrentTime":"2024-03-01T20:00:00+08:00"}}"#, true),
        (r#"{"DateNotEquals":{"acs:CurrentTime":"2024-03-01T12:00:00Z"}}"#, false),
        (r#"{"DateNotEquals":{"acs:CurrentTime":"2024-03-01T12:00:01Z"}}"#, true),
        (r#"{"DateLessThan":{"acs:CurrentTime":"2024-03-01T12:00:00Z"}}"#, false),
        (r#"{"DateLessThan":{"acs:CurrentTime":"2024-03-01T12:00:01Z"}}"#, true),
        (r#"{"DateLessThanEquals":{"acs:CurrentTime":"2024-03-01T12:00:00Z"}}"#, true),
        (r#"{"DateLessThanEquals":{"acs:CurrentTime":"2024-03-01T11:59:59Z"}}"#, false),
        (r#"{"DateGreaterThan":{"acs:CurrentTime":"2024-03-01T11:59:59Z"}}"#, true),
        (r#"{"DateGreaterThan":{"acs:CurrentTime":"2024-03-01T12:00:00Z"}}"#, false),
        (r#"{"DateGreaterThanEquals":{"acs:CurrentTime":"2024-03-01T12:00:00Z"}}"#, true),
        (r#"{"DateGreaterThanEquals":{"acs:CurrentTime":"2024-03-01T12:00:01Z"}}"#, false),
        (r#"{"DateLessThan":{"kms:tag/retired":"2024-02-01T00:00:00Z"}}"#, true),
    ]);
}

#[test]
fn booleans_and_addresses_are_compared_with_the_request() {
    check(&[
        (r#"{"Bool":{"acs:SecureTransport":"true"}}"#, true),
        (r#"{"Bool":{"acs:SecureTransport":true}}"#, true),
        (r#"{"Bool":{"acs:securetransport":[false]}}"#, false),
        (r#"{"Bool":{"acs:MFAPresent":"false"}}"#, true),
        (r#"{"IpAddress":{"acs:SourceIp":["192.168.0.0/16","10.0.0.0/8"]}}"#, true),
        (r#"{"IpAddress":{"acs:SourceIp":"10.1.2.4"}}"#, false),
        (r#"{"NotIpAddress":{"acs:SourceIp":["192.168.0.0/16","10.0.0.0/8"]}}"#, false),
        (r#"{"NotIpAddress":{"acs:SourceIp":"10.1.2.4"}}"#, true),
    ]);
}

#[test]
fn a_missing_value_matches_only_negated_operators() {
    check(&[
        (r#"{"StringEquals":{"kms:tag/none":""}}"#, false),
        (r#"{"StringLike":{"kms:tag/none":"*"}}"#, false),
        (r#"{"StringNotEquals":{"kms:tag/none":"x"}}"#, true),
        (r#"{"StringNotLike":{"kms:EncryptionContext/none":"*"}}"#, true),
        (r#"{"NumericNotEquals":{"kms:tag/none":1}}"#, true),
        (r#"{"DateNotEquals":{"kms:tag/none":"2024-03-01T12:00:00Z"}}"#, true),
        (r#"{"Bool":{"kms:tag/none":"false"}}"#, false),
        (r#"{"StringEquals":{"acs:SourceVpc":"vpc-1"}}"#, false),
    ]);
}

#[test]
fn keys_and_operators_must_all_match() {
    let team = r#"{"StringEquals":{"kms:tag/team":"orders","kms:tag/level":"LEVEL"},"Bool":{"acs:SecureTransport":"TRUTH"}}"#;
    let with = |level, truth| team.replace("LEVEL", level).replace("TRUTH", truth);
    check(&[
        (&with("7", "true"), true),
        (&with("8", "true"), false),
        (&with("7", "false"), false),
        ("{}", true),
    ]);
}

#[test]
fn a_condition_that_can_never_match_is_refused() {
    for condition in [
        r#"{"IpAddress":{"kms:tag/team":"10.0.0.0/8"}}"#,
        r#"{"Bool":{"acs:SourceIp":"true"}}"#,
        r#"{"DateEquals":{"acs:SecureTransport":"2024-03-01T12:00:00Z"}}"#,
        r#"{"NumericEquals":{"acs:CurrentTime":"1"}}"#,
    ] {
        let fault = policy(condition).expect_err(condition);
        assert!(fault.contains("can never match"), "{fault}");
    }
}

#[test]
fn unknown_values_and_names_are_refused() {
    for condition in [
        r#"{"StringEquals":{"kms:tag/":"x"}}"#,
        r#"{"StringEquals":{"kms:tag/acs:x":"x"}}"#,
        r#"{"StringEquals":{"kms:EncryptionContext/":"x"}}"#,
        r#"{"StringEquals":{"ecs:tag/x":"x"}}"#,
        r#"{"StringEquals":{"kms:tag/x":[]}}"#,
        r#"{"StringEquals":{"kms:tag/x":null}}"#,
        r#"{"StringEquals":{"kms:tag/x":["a",["b"]]}}"#,
        r#"{"StringEquals":"x"}"#,
        r#"{"NotBool":{"acs:SecureTransport":"true"}}"#,
        r#"{"BoolNot":{"acs:SecureTransport":"true"}}"#,
        r#"{"StringNotEqualsX":{"kms:tag/x":"x"}}"#,
        r#"{"NumericNotLessThan":{"kms:tag/x":"1"}}"#,
        r#"{"NumericNotLike":{"kms:tag/x":"1"}}"#,
        r#"{"NumericEquals":{"kms:tag/x":"nan"}}"#,
        r#"{"NumericEquals":{"kms:tag/x":"1e999"}}"#,
        r#"{"DateEquals":{"acs:CurrentTime":"yesterday"}}"#,
        r#"{"Bool":{"acs:SecureTransport":"yes"}}"#,
        r#"{"StringEqualsIfExists":{"kms:tag/x":"x"}}"#,
    ] {
        assert!(policy(condition).is_err(), "{condition}");
    }
}
