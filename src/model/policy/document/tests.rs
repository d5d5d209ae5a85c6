use super::*;
use crate::model::policy::{Resource, ResourceName};
use crate::model::{RegionAccount, RequestContext, Time};

fn region_account() -> RegionAccount {
    RegionAccount {
        region: "cn-hangzhou".parse().unwrap(),
        account: "1234567890123456".parse().unwrap(),
    }
}

fn applies(statement: &str, action: &str, resource: &str) -> bool {
    let text = format!(r#"{{"Version":"1","Statement":{{"Effect":"Allow",{statement}}}}}"#);
    let policy = Policy::parse(&text).unwrap();
    let region_account = region_account();
    let policy_request = PolicyRequest {
        action,
        resource: Resource::new(&region_account, ResourceName::Other(resource)),
        request: &RequestContext {
            is_secure: false,
            time: Time::from_unix(0),
            ..RequestContext::now([127, 0, 0, 1].into())
        },
        tags: None,
        context: None,
        trust: None,
    };
    policy.statements()[0].applies(&policy_request, &Steps::default())
}

#[test]
fn a_statement_applies_to_its_actions_on_its_resources() {
    for (statement, action, resource, expected) in [
        (r#""Action":"*","Resource":"*""#, "kms:Encrypt", "key/a", true),
        (r#""Action":"kms:*","Resource":"*""#, "kms:Encrypt", "key/a", true),
        (r#""Action":"KMS:encrypt","Resource":"*""#, "kms:Encrypt", "key/a", true),
        (r#""Action":"ecs:*","Resource":"*""#, "kms:Encrypt", "key/a", false),
        (r#""Action":["kms:De*","kms:En*"],"Resource":"*""#, "kms:Encrypt", "key/a", true),
        (r#""NotAction":"kms:En*","Resource":"*""#, "kms:Encrypt", "key/a", false),
        (r#""NotAction":"kms:En*","Resource":"*""#, "kms:Decrypt", "key/a", true),
        (r#""Action":"*","Resource":"acs:kms:*:*:key/a""#, "kms:Encrypt", "key/a", true),
        (r#""Action":"*","Resource":"acs:kms:*:*:key/?""#, "kms:Encrypt", "key/ab", false),
        (r#""Action":"*","Resource":"acs:kms:*""#, "kms:Encrypt", "alias/x", true),
        (
            r#""Action":"*","Resource":"acs:kms:cn-hangzhou:1234567890123456:key""#,
            "kms:CreateKey",
            "key",
            true,
        ),
        (r#""Action":"*","Resource":"acs:kms:cn-shanghai:*:key/a""#, "kms:Encrypt", "key/a", false),
        (r#""Action":"*","NotResource":"acs:kms:*:*:key/a""#, "kms:Encrypt", "key/a", false),
        (r#""Action":"*","NotResource":"acs:kms:*:*:key/a""#, "kms:Encrypt", "key/b", true),
    ] {
        assert_eq!(applies(statement, action, resource), expected, "{statement} {action}");
    }
}

fn fault(text: &str) -> String {
    Policy::parse(text).expect_err(text).to_string()
}

#[test]
fn a_fault_is_reported_with_its_location() {
    let statement = |inner: &str| format!(r#"{{"Version":"1","Statement":[{{{inner}}}]}}"#);
    for (inner, expected) in [
        ("", "Statement[0]: has no Effect"),
        (r#""Effect":"Allow""#, "Statement[0]: has no Action"),
        (r#""Effect":"Allow","Action":"*""#, "Statement[0]: has no Resource"),
        (r#""Effect":true"#, "Statement[0].Effect: must be Allow or Deny"),
        (r#""Effect":"Allow","Effect":"Deny""#, "Statement[0].Effect: is repeated"),
        (r#""Action":[]"#, "Statement[0].Action: must not be empty"),
        (
            r#""Action":["kms:*","Encrypt"]"#,
            "Statement[0].Action[1]: must be * or of the form kms:<Operation>",
        ),
        (
            r#""Action":"*","NotAction":"*""#,
            "Statement[0].NotAction: cannot be combined with its opposite",
        ),
        (
            r#""Resource":"key/a""#,
            "Statement[0].Resource: must be * or of the form \
             acs:kms:<region>:<account>:<resource>",
        ),
        (r#""Resource":7"#, "Statement[0].Resource: must be a string"),
        (r#""Principal":"*""#, "Statement[0].Principal: is not supported"),
        (
            r#""Condition":{"IpAdress":{"acs:SourceIp":"10.0.0.0/8"}}"#,
            "Statement[0].Condition.IpAdress: is not a condition operator",
        ),
        (
            r#""Condition":{"IpAddress":{"acs:SourceIP":["10.0.0.0/8","10.0.0.0/33"]}}"#,
            "Statement[0].Condition.IpAddress.acs:SourceIP[1]: must be an IP address or a CIDR range",
        ),
        (
            r#""Condition":{"Bool":{"acs:Secure":"true"}}"#,
            "Statement[0].Condition.Bool.acs:Secure: is not a condition key of this service",
        ),
    ] {
        assert_eq!(fault(&statement(inner)), expected, "{inner}");
    }
    assert_eq!(fault("{}"), "policy: has no Version");
    assert_eq!(fault(r#"{"Version":"1"}"#), "policy: has no Statement");
    assert_eq!(fault(r#"{"Version":"2012-10-17"}"#), "Version: must be \"1\"");
    assert_eq!(fault("[]"), "policy: must be an object");
    assert_eq!(fault("{\n  \"Version\": 1x"), "line 2, column 15: expected `,` or `}`");
    assert_eq!(fault(&" ".repeat(MAX_POLICY_BYTES + 1)), "policy: has more than 32768 bytes");
}

#[test]
fn only_affordable_documents_are_attached() {
    let document = |pattern: &str, count: usize| {
        let patterns = vec![pattern; count];
        let text = serde_json::json!({"Version": "1", "Statement": [
            {"Effect": "Allow", "Action": "*", "Resource": "*"},
            {"Effect": "Deny", "Action": "*", "Resource": "*",
             "Condition": {"StringLike": {"kms:EncryptionContext/for": patterns}}}]});
        Policy::parse(&text.to_string()).unwrap().check_cost()
    };
    for (pattern, count) in [
        ("backup-*", 2500),
        ("*-of-*-orders", 100),
        ("?????-*", 2500),
        (&*format!("*{}", "a".repeat(500)), 20),
    ] {
        assert_eq!(document(pattern, count), Ok(()), "{pattern}");
    }
    for (pattern, count) in
        [("*a?b*", 30), (&*format!("*{}b", "a".repeat(1000)), 30), ("*a*b*", 2500)]
    {
        let fault = document(pattern, count).unwrap_err().to_string();
        assert!(fault.starts_with("Statement[1]: "), "{fault}");
    }
    let fault = document("*a?b*", 30).unwrap_err().to_string();
    assert!(fault.contains("more than the 1000000 steps of a decision"), "{fault}");
}

#[test]
fn a_deeply_nested_document_is_refused() {
    assert!(fault(&"[".repeat(10_000)).contains("recursion limit"));
}
