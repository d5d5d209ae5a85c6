use super::super::request::{Resource, ResourceName, TrustValues};
use super::*;
use crate::model::{RegionAccount, RequestContext};

const ACCOUNT: &str = "1234567890123456";
const OTHER: &str = "6543210987654321";

fn policy(statements: &str) -> Result<TrustPolicy, String> {
    let statements = statements.replace("ACCOUNT", ACCOUNT).replace("OTHER", OTHER);
    let text = format!(r#"{{"Version":"1","Statement":[{statements}]}}"#);
    TrustPolicy::parse(&text).map_err(|fault| fault.to_string())
}

fn statement(effect: &str, principal: &str, condition: &str) -> String {
    format!(
        r#"{{"Effect":"{effect}","Action":"sts:AssumeRole","Principal":{principal},"Condition":{condition}}}"#
    )
}

fn decides(policy: &TrustPolicy, caller: TrustCaller<'_>, values: &TrustValues) -> bool {
    let region_account =
        RegionAccount { region: "cn-hangzhou".parse().unwrap(), account: ACCOUNT.parse().unwrap() };
    let role = "role/ci".parse().unwrap();
    let request = RequestContext::now("10.1.2.3".parse().unwrap());
    let policy_request = PolicyRequest {
        action: ASSUME_ROLE,
        resource: Resource::new(&region_account, ResourceName::Role(&role)),
        request: &request,
        tags: None,
        context: None,
        trust: Some(values),
    };
    policy.decide(&region_account.account, caller, &policy_request).is_allowed()
}

fn values(subject: &str, audiences: &[&str]) -> TrustValues {
    TrustValues {
        issuer: Some("https://issuer".into()),
        subject: Some(subject.into()),
        audiences: audiences.iter().map(|text| (*text).into()).collect(),
        external_id: None,
    }
}

#[test]
fn a_statement_for_signed_callers_never_matches_a_token_and_the_reverse() {
    let (alice, bob) = ("user/alice".parse().unwrap(), "user/bob".parse().unwrap());
    let (k8s, ci) = ("k8s".parse().unwrap(), "ci".parse().unwrap());
    let callers = [
        TrustCaller::Principal(&alice),
        TrustCaller::Principal(&bob),
        TrustCaller::Federated(&k8s),
        TrustCaller::Federated(&ci),
    ];
    for (principal, expected) in [
        (r#"{"RAM":"acs:ram::ACCOUNT:root"}"#, [true, true, false, false]),
        (r#"{"RAM":"acs:ram::OTHER:root"}"#, [false; 4]),
        (r#"{"RAM":["acs:ram::ACCOUNT:user/alice"]}"#, [true, false, false, false]),
        (r#"{"RAM":["acs:ram::ACCOUNT:role/alice"]}"#, [false; 4]),
        (r#"{"Federated":"acs:ram::ACCOUNT:oidc-provider/k8s"}"#, [false, false, true, false]),
        (r#"{"Federated":"acs:ram::OTHER:oidc-provider/k8s"}"#, [false; 4]),
        (
            r#"{"RAM":"acs:ram::ACCOUNT:user/bob","Federated":["acs:ram::ACCOUNT:oidc-provider/ci"]}"#,
            [false, true, false, true],
        ),
    ] {
        let policy = policy(&statement("Allow", principal, "{}")).unwrap();
        let decided = callers.map(|caller| decides(&policy, caller, &values("s", &["a"])));
        assert_eq!(decided, expected, "{principal}");
    }
}

#[test]
fn conditions_compare_issuer_subject_audience_and_external_id() {
    let provider = "k8s".parse().unwrap();
    let federated = r#"{"Federated":"acs:ram::ACCOUNT:oidc-provider/k8s"}"#;
    let known = values("system:serviceaccount:shop:api", &["kms", "sts.aliyuncs.com"]);
    for (condition, expected) in [
        (r#"{"StringEquals":{"oidc:sub":"system:serviceaccount:shop:api"}}"#, true),
        (r#"{"StringEquals":{"oidc:sub":"system:serviceaccount:shop:ap"}}"#, false),
        (r#"{"StringLike":{"oidc:sub":"system:serviceaccount:shop:*"}}"#, true),
        (r#"{"StringLike":{"oidc:sub":"system:serviceaccount:*:ui"}}"#, false),
        (r#"{"StringEquals":{"oidc:iss":"https://issuer"}}"#, true),
        (r#"{"StringEquals":{"oidc:iss":"https://issuer/"}}"#, false),
        (r#"{"StringEquals":{"oidc:aud":"sts.aliyuncs.com"}}"#, true),
        (r#"{"StringEquals":{"oidc:aud":"kms,sts.aliyuncs.com"}}"#, false),
        (r#"{"StringNotEquals":{"oidc:aud":"kms"}}"#, false),
        (r#"{"StringNotEquals":{"oidc:aud":"other"}}"#, true),
        (r#"{"StringEquals":{"sts:ExternalId":"e-1"}}"#, false),
        (r#"{"IpAddress":{"acs:SourceIp":"10.0.0.0/8"}}"#, true),
        (r#"{"IpAddress":{"acs:SourceIp":"11.0.0.0/8"}}"#, false),
        (r#"{"Bool":{"acs:SecureTransport":"true"}}"#, false),
    ] {
        let policy = policy(&statement("Allow", federated, condition)).unwrap();
        let caller = TrustCaller::Federated(&provider);
        assert_eq!(decides(&policy, caller, &known), expected, "{condition}");
        let without = TrustValues::default();
        let holds_without = ["Not", "SourceIp\":\"10"].iter().any(|it| condition.contains(it));
        assert_eq!(decides(&policy, caller, &without), holds_without, "{condition} without values");
    }
    let alice = "user/alice".parse().unwrap();
    let by_id = r#"{"StringEquals":{"sts:ExternalId":"e-1"}}"#;
    let by_id = policy(&statement("Allow", r#"{"RAM":"acs:ram::ACCOUNT:root"}"#, by_id)).unwrap();
    for (id, expected) in [(Some("e-1"), true), (Some("e-2"), false), (None, false)] {
        let values = TrustValues { external_id: id.map(Into::into), ..TrustValues::default() };
        assert_eq!(decides(&by_id, TrustCaller::Principal(&alice), &values), expected);
    }
}

#[test]
fn a_deny_wins_in_any_order() {
    let alice = "user/alice".parse().unwrap();
    let all = statement("Allow", r#"{"RAM":"acs:ram::ACCOUNT:root"}"#, "{}");
    let not_alice = statement("Deny", r#"{"RAM":"acs:ram::ACCOUNT:user/alice"}"#, "{}");
    for statements in [format!("{all},{not_alice}"), format!("{not_alice},{all}")] {
        let policy = policy(&statements).unwrap();
        let values = TrustValues::default();
        assert!(!decides(&policy, TrustCaller::Principal(&alice), &values));
        let bob = "user/bob".parse().unwrap();
        assert!(decides(&policy, TrustCaller::Principal(&bob), &values));
    }
}

#[test]
fn a_document_with_anything_else_is_refused_with_its_place() {
    let ram = r#""Principal":{"RAM":"acs:ram::ACCOUNT:root"}"#;
    let action = r#""Effect":"Allow","Action":"sts:AssumeRole""#;
    for (statement, fault) in [
        (format!("{{{action}}}"), "Statement[0]: has no Principal"),
        (format!(r#"{{{action},{ram},"Resource":"*"}}"#), "Statement[0].Resource: is not supp"),
        (format!(r#"{{{action},{ram},"NotPrincipal":"*"}}"#), "Statement[0].NotPrincipal: is not"),
        (
            format!(r#"{{"Effect":"Allow","Action":"sts:*",{ram}}}"#),
            "Statement[0].Action: must be sts:AssumeRole",
        ),
        (
            format!(r#"{{{action},"Principal":{{"Service":"ecs.aliyuncs.com"}}}}"#),
            "Statement[0].Principal.Service: is not supported",
        ),
        (
            format!(r#"{{{action},"Principal":{{"RAM":"*"}}}}"#),
            "Statement[0].Principal.RAM: must be acs:ram::",
        ),
        (format!(r#"{{{action},"Principal":{{}}}}"#), "Statement[0].Principal: has neither"),
        (
            format!(r#"{{{action},{ram},"Condition":{{"StringEquals":{{"kms:tag/a":"b"}}}}}}"#),
            "Statement[0].Condition.StringEquals.kms:tag/a: is not a condition key of trust",
        ),
    ] {
        let refused = policy(&statement).unwrap_err();
        assert!(refused.starts_with(fault), "{refused}, not {fault}");
    }
    let access = r#"{"Version":"1","Statement":{"Effect":"Allow","Action":"*","Resource":"*",
        "Condition":{"StringEquals":{"oidc:sub":"a"}}}}"#;
    let refused = crate::model::policy::Policy::parse(access).unwrap_err().to_string();
    assert!(refused.ends_with("is a condition key of trust policies"), "{refused}");
}

#[test]
fn a_provider_is_trusted_only_with_a_condition_on_the_subject() {
    let federated = r#"{"Federated":"acs:ram::ACCOUNT:oidc-provider/ci"}"#;
    for (condition, is_limited) in [
        ("{}", false),
        (r#"{"StringEquals":{"oidc:aud":"a"}}"#, false),
        (r#"{"StringLike":{"oidc:sub":"*"}}"#, false),
        (r#"{"StringLike":{"oidc:sub":["repo:a/*","?*"]}}"#, false),
        (r#"{"StringNotEquals":{"oidc:sub":"a"}}"#, false),
        (r#"{"StringLike":{"oidc:sub":"repo:a/*"}}"#, true),
        (r#"{"StringEquals":{"oidc:sub":"a"}}"#, true),
    ] {
        let allow = policy(&statement("Allow", federated, condition)).unwrap();
        assert_eq!(allow.check_subjects().is_ok(), is_limited, "{condition}");
        let deny = policy(&statement("Deny", federated, condition)).unwrap();
        assert!(deny.check_subjects().is_ok());
    }
}
