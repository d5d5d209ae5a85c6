//! AssumeRole and GetCallerIdentity.

use std::fs;

use hsmgate::cli::client::{CallError, Client};
use hsmgate::model::Api;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::support::audit_file::{events, records};
use crate::support::calls::{code, refused, until_code};
use crate::support::gateway::{refusal, text};
use crate::support::installation::{ACCOUNT, AccessKey, Installation, Server};
use crate::support::raw_http;
use crate::support::signed_calls::{Call, ParamLocation, Signing, SigningVariant};

const PLAINTEXT: (&str, &str) = ("Plaintext", "SGVsbG8=");
const ROLE: &str = "acs:ram::1234567890123456:role/ci";
const ASSUME: [(&str, &str); 2] = [("RoleArn", ROLE), ("RoleSessionName", "build-7")];

/// A gateway with the role `ci`, which may encrypt, and the user `alice`, who may assume roles.
struct TestAccount {
    installation: Installation,
    server: Server,
    alice: AccessKey,
    key: String,
}

impl TestAccount {
    async fn open(trust: &Value) -> Self {
        let (installation, admin) = Installation::prepared();
        installation.configure(|text| {
            text.push_str("[limits]\nauthentication_failures_per_second = 0\n");
        });
        let create = ["role", "create", "ci", "--policy", "AliyunKMSCryptoUserAccess"];
        installation.through_gateway(&create).done();
        let may_assume = allow("sts:AssumeRole", ROLE);
        fs::write(installation.path("may-assume.json"), may_assume.to_string()).unwrap();
        let policy = installation.path("may-assume.json");
        let alice = installation.create_access_key("alice", &[policy.to_str().unwrap()]);
        let server = installation.serve();
        let admin = server.client(&admin);
        let created = admin.call("CreateKey", &[]).await.unwrap();
        let key = text(&created["KeyMetadata"]["KeyId"]).to_owned();
        let test_account = Self { installation, server, alice, key };
        test_account.trust("ci", trust);
        test_account
    }

    fn trust(&self, role: &str, policy: &Value) {
        let path = self.installation.path("trust.json");
        fs::write(&path, policy.to_string()).unwrap();
        self.role(&["update", role, "--trust", path.to_str().unwrap()]);
    }

    fn role(&self, arguments: &[&str]) {
        self.installation.configured(&[&["role"], arguments].concat()).done();
    }

    fn sts(&self, key: &AccessKey) -> Client {
        self.server.client(key).with_api(Api::Sts)
    }

    /// The credentials of an answer, for calls of the KMS API.
    fn session(&self, answer: &Value) -> Client {
        let credentials = &answer["Credentials"];
        let part = |name: &str| text(&credentials[name]).to_owned();
        let key = AccessKey { id: part("AccessKeyId"), secret: part("AccessKeySecret") };
        let token = SecretString::from(part("SecurityToken"));
        self.server.client(&key).with_security_token(token)
    }

    async fn encrypts(&self, client: &Client) -> String {
        code(client, "Encrypt", &[("KeyId", &self.key), PLAINTEXT]).await
    }

    async fn until_encrypt(&self, client: &Client, expected: &str) {
        until_code(client, "Encrypt", &[("KeyId", &self.key), PLAINTEXT], expected).await;
    }
}

fn allow(action: &str, resource: &str) -> Value {
    json!({"Version": "1", "Statement":
        [{"Effect": "Allow", "Action": action, "Resource": resource}]})
}

fn trusting(principal: &Value, condition: &Value) -> Value {
    json!({"Version": "1", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
        "Principal": principal, "Condition": condition}]})
}

fn trusting_account() -> Value {
    trusting(&json!({"RAM": [format!("acs:ram::{ACCOUNT}:root")]}), &json!({}))
}

#[tokio::test]
async fn a_session_has_the_rights_of_its_role_and_of_its_policy() {
    let test_account = TestAccount::open(&trusting_account()).await;
    let alice = test_account.sts(&test_account.alice);
    assert_eq!(
        test_account.encrypts(&test_account.server.client(&test_account.alice)).await,
        "Forbidden.NoPermission"
    );
    let answer = alice.call("AssumeRole", &ASSUME).await.unwrap();
    let user = &answer["AssumedRoleUser"];
    assert_eq!(user["Arn"], format!("acs:ram::{ACCOUNT}:role/ci/build-7"));
    let role_id = text(&user["AssumedRoleId"]).strip_suffix(":build-7").unwrap().to_owned();
    assert!(role_id.len() == 18 && role_id.starts_with('3'), "{role_id}");
    let credentials = answer["Credentials"].as_object().unwrap();
    assert!(credentials.values().all(Value::is_string), "clients read texts only");
    assert!(text(&credentials["AccessKeyId"]).starts_with("STS."));
    let session = test_account.session(&answer);
    assert_eq!(test_account.encrypts(&session).await, "");
    assert_eq!(code(&session, "CreateKey", &[]).await, "Forbidden.NoPermission");

    let identity = session.clone().with_api(Api::Sts).call("GetCallerIdentity", &[]).await.unwrap();
    let expected = json!({"RequestId": identity["RequestId"], "AccountId": ACCOUNT,
        "Arn": format!("acs:ram::{ACCOUNT}:assumed-role/ci/build-7"),
        "IdentityType": "AssumedRoleUser", "PrincipalId": format!("{role_id}:build-7"),
        "RoleId": role_id});
    assert_eq!(identity, expected);
    let user = alice.call("GetCallerIdentity", &[]).await.unwrap();
    assert_eq!(user["IdentityType"], "RAMUser");
    assert_eq!(user["Arn"], format!("acs:ram::{ACCOUNT}:user/alice"));
    assert_eq!(user["UserId"], user["PrincipalId"]);

    let policy = allow("kms:Decrypt", "*").to_string();
    let narrowed = [&ASSUME[..], &[("Policy", policy.as_str())]].concat();
    let narrowed = test_account.session(&alice.call("AssumeRole", &narrowed).await.unwrap());
    assert_eq!(test_account.encrypts(&narrowed).await, "Forbidden.NoPermission");

    let file = test_account.installation.audit_file();
    let assumed = events(&file, "AssumeRole", 2).await;
    let assumed = assumed.last().unwrap();
    assert_eq!(
        (&assumed["serviceName"], &assumed["apiVersion"]),
        (&json!("Sts"), &json!("2015-04-01"))
    );
    assert_eq!(assumed["requestParameters"]["AcsProduct"], "Sts");
    assert_eq!(assumed["requestParameters"]["RoleArn"], ROLE);
    assert_eq!(assumed["userIdentity"]["userName"], "alice");
    let made = &assumed["responseElements"]["Credentials"]["AccessKeyId"];
    assert!(text(made).starts_with("STS."), "{assumed}");
    let encrypted = events(&file, "Encrypt", 2).await;
    assert_eq!(encrypted.last().unwrap()["userIdentity"]["userName"], "ci:build-7");
    let token = text(&answer["Credentials"]["SecurityToken"]).to_owned();
    let secret = text(&answer["Credentials"]["AccessKeySecret"]).to_owned();
    let (records, log) = (format!("{:?}", records(&file)), test_account.server.log());
    for shown in [records, log] {
        assert!(!shown.contains(&token) && !shown.contains(&secret));
    }

    // Nothing of it is stored: another process knows it from the token.
    let restarted = {
        assert_eq!(test_account.server.stop(), Some(0));
        let server = test_account.installation.serve();
        TestAccount { server, ..test_account }
    };
    assert_eq!(restarted.encrypts(&restarted.session(&answer)).await, "");
    let listed = restarted.installation.configured(&["access-key", "list", "--json"]).json();
    assert!(!listed.to_string().contains("STS."), "{listed}");
}

#[tokio::test]
async fn who_may_assume_a_role_is_decided_by_both_sides() {
    let nobody = trusting(&json!({"RAM": [format!("acs:ram::{ACCOUNT}:user/bob")]}), &json!({}));
    let test_account = TestAccount::open(&nobody).await;
    let alice = test_account.sts(&test_account.alice);
    let denied = refusal(403, "NoPermission");
    assert_eq!(refused(&alice, "AssumeRole", &ASSUME).await, denied, "the role trusts bob");
    let bob = test_account.installation.create_access_key("bob", &[]);
    until_code(&test_account.server.client(&bob), "DescribeRegions", &[], "").await;
    let by_bob = test_account.sts(&bob);
    assert_eq!(refused(&by_bob, "AssumeRole", &ASSUME).await, denied, "no policy of bob allows it");
    let other = ["acs:ram::1234567890123456:role/none", "acs:ram::6543210987654321:role/ci"];
    for arn in other {
        let params = [("RoleArn", arn), ASSUME[1]];
        assert_eq!(refused(&by_bob, "AssumeRole", &params).await, denied, "no answer about {arn}");
    }
    let policy = test_account.installation.path("any.json");
    fs::write(&policy, allow("sts:*", "acs:ram:*:*:role/*").to_string()).unwrap();
    let policy = policy.to_str().unwrap();
    test_account.installation.configured(&["user", "attach", "bob", policy]).done();
    until_code(&by_bob, "AssumeRole", &ASSUME, "").await;
    for arn in other {
        let params = [("RoleArn", arn), ASSUME[1]];
        let expected = refusal(404, "EntityNotExist.Role");
        assert_eq!(refused(&by_bob, "AssumeRole", &params).await, expected, "{arn}");
    }
    test_account.role(&["update", "ci", "--no-trust"]);
    until_code(&by_bob, "AssumeRole", &ASSUME, "NoPermission").await;
    let root = ["access-key", "create", "--root", "--json"];
    let root = AccessKey::of(&test_account.installation.configured(&root).json());
    let root = test_account.sts(&root);
    until_code(&root, "GetCallerIdentity", &[], "").await;
    match root.call("AssumeRole", &ASSUME).await {
        Err(CallError::Refused { message, .. }) => {
            assert_eq!(message, "Roles may not be assumed by root accounts.");
        }
        other => panic!("{other:?}"),
    }
    let identity = root.call("GetCallerIdentity", &[]).await.unwrap();
    assert_eq!(identity["IdentityType"], "Account");
    assert_eq!(identity["Arn"], format!("acs:ram::{ACCOUNT}:root"));
}

#[tokio::test]
async fn a_condition_may_require_an_external_id() {
    let by_id = trusting(
        &json!({"RAM": [format!("acs:ram::{ACCOUNT}:user/alice")]}),
        &json!({"StringEquals": {"sts:ExternalId": "partner-1"}}),
    );
    let test_account = TestAccount::open(&by_id).await;
    let alice = test_account.sts(&test_account.alice);
    for (id, expected) in [
        (None, "NoPermission"),
        (Some("partner-2"), "NoPermission"),
        (Some("partner-1"), ""),
        (Some("x"), "InvalidParameter.ExternalId"),
        (Some("a b"), "InvalidParameter.ExternalId"),
    ] {
        let id: Vec<_> = id.iter().map(|id| ("ExternalId", *id)).collect();
        let params = [&ASSUME[..], &id].concat();
        assert_eq!(code(&alice, "AssumeRole", &params).await, expected, "{id:?}");
    }
}

#[tokio::test]
async fn a_wrong_parameter_is_refused_with_its_own_code() {
    let test_account = TestAccount::open(&trusting_account()).await;
    let alice = test_account.sts(&test_account.alice);
    let long = format!("{}{}", allow("kms:*", "*"), " ".repeat(2048));
    for (name, value, expected) in [
        ("RoleArn", "", "MissingRoleArn"),
        ("RoleArn", "ci", "InvalidParameter.RoleArn"),
        ("RoleArn", "acs:ram::1234567890123456:user/alice", "InvalidParameter.RoleArn"),
        ("RoleSessionName", "", "MissingRoleSessionName"),
        ("RoleSessionName", "b", "InvalidParameter.RoleSessionName"),
        ("RoleSessionName", "a b", "InvalidParameter.RoleSessionName"),
        ("DurationSeconds", "899", "InvalidParameter.DurationSeconds"),
        ("DurationSeconds", "3601", "InvalidParameter.DurationSeconds"),
        ("DurationSeconds", "43201", "InvalidParameter.DurationSeconds"),
        ("DurationSeconds", "-1", "InvalidParameter.DurationSeconds"),
        ("DurationSeconds", "1h", "InvalidParameter.DurationSeconds"),
        ("DurationSeconds", "900", ""),
        ("Policy", "{}", "InvalidParameter.PolicyGrammar"),
        ("Policy", &long, "InvalidParameter.PolicySize"),
        ("SourceIdentity", "me", "UnsupportedOperation"),
    ] {
        let mut params = ASSUME.to_vec();
        params.retain(|(other, _)| *other != name);
        params.push((name, value));
        assert_eq!(code(&alice, "AssumeRole", &params).await, expected, "{name}={value}");
    }
    test_account.role(&["update", "ci", "--max-session", "7200"]);
    let two_hours = [&ASSUME[..], &[("DurationSeconds", "7200")]].concat();
    until_code(&alice, "AssumeRole", &two_hours, "").await;
    let kms = test_account.server.client(&test_account.alice);
    assert_eq!(code(&kms, "AssumeRole", &ASSUME).await, "InvalidAction.NotFound");
    assert_eq!(code(&alice, "Encrypt", &[]).await, "InvalidAction.NotFound");
    let assume = ["sts", "assume", "--role-name", "ci", "--duration", "7201"];
    let told = test_account.installation.through_gateway(&assume).failed(2);
    assert!(told.contains("900 to 7200 seconds"), "{told}");
}

#[tokio::test]
async fn a_session_ends_with_everything_that_it_was_made_of() {
    let test_account = TestAccount::open(&trusting_account()).await;
    let alice = test_account.sts(&test_account.alice);
    let session = async || test_account.session(&alice.call("AssumeRole", &ASSUME).await.unwrap());
    let absent = "InvalidAccessKeyId.NotFound";
    let first = session().await;
    assert_eq!(test_account.encrypts(&first).await, "");

    test_account.role(&["end-sessions", "ci"]);
    test_account.until_encrypt(&first, absent).await;
    let second = session().await;
    assert_eq!(test_account.encrypts(&second).await, "", "a new session is not ended");

    let bob = json!({"RAM": [format!("acs:ram::{ACCOUNT}:user/bob")]});
    test_account.trust("ci", &trusting(&bob, &json!({})));
    test_account.until_encrypt(&second, absent).await;
    test_account.trust("ci", &trusting_account());
    test_account.until_encrypt(&second, "").await;

    let disable = ["access-key", "disable", &test_account.alice.id];
    test_account.installation.configured(&disable).done();
    test_account.until_encrypt(&second, absent).await;
    let enable = ["access-key", "enable", &test_account.alice.id];
    test_account.installation.configured(&enable).done();
    test_account.until_encrypt(&second, "").await;

    test_account.role(&["detach", "ci", "AliyunKMSCryptoUserAccess"]);
    test_account.until_encrypt(&second, "Forbidden.NoPermission").await;
    test_account.role(&["attach", "ci", "AliyunKMSCryptoUserAccess"]);
    test_account.until_encrypt(&second, "").await;

    test_account.role(&["delete", "ci"]);
    test_account.until_encrypt(&second, absent).await;
    test_account.role(&["create", "ci", "--policy", "AliyunKMSCryptoUserAccess"]);
    test_account.trust("ci", &trusting_account());
    until_code(&alice, "AssumeRole", &ASSUME, "").await;
    assert_eq!(test_account.encrypts(&second).await, absent, "another role has this name");
}

#[tokio::test]
async fn a_session_assumes_a_role_and_ends_with_the_session_before_it() {
    let test_account = TestAccount::open(&trusting_account()).await;
    let next = "acs:ram::1234567890123456:role/next";
    let policy = test_account.installation.path("next.json");
    fs::write(&policy, allow("sts:AssumeRole", next).to_string()).unwrap();
    test_account.role(&["attach", "ci", policy.to_str().unwrap()]);
    let encrypts = "AliyunKMSCryptoUserAccess";
    test_account.role(&[
        "create",
        "next",
        "--policy",
        encrypts,
        "--policy",
        policy.to_str().unwrap(),
    ]);
    let of_roles = ["ci", "next"].map(|role| format!("acs:ram::{ACCOUNT}:role/{role}"));
    test_account.trust("next", &trusting(&json!({"RAM": of_roles}), &json!({})));
    let alice = test_account.sts(&test_account.alice);
    let first = alice.call("AssumeRole", &ASSUME).await.unwrap();
    let mut session = test_account.session(&first).with_api(Api::Sts);
    let params = [("RoleArn", next), ("RoleSessionName", "chained")];
    until_code(&session, "AssumeRole", &params, "").await;
    let mut chain = Vec::new();
    while let Ok(answer) = session.call("AssumeRole", &params).await {
        chain.push(test_account.session(&answer));
        session = test_account.session(&answer).with_api(Api::Sts);
        assert!(chain.len() < 9, "a chain ends");
    }
    assert_eq!(code(&session, "AssumeRole", &params).await, "NoPermission");
    assert_eq!(chain.len(), 3, "with the first, four sessions");
    for session in &chain {
        assert_eq!(test_account.encrypts(session).await, "");
    }
    test_account.role(&["end-sessions", "ci"]);
    for session in &chain {
        test_account.until_encrypt(session, "InvalidAccessKeyId.NotFound").await;
    }
}

#[tokio::test]
async fn a_session_needs_its_own_token_and_its_own_secret() {
    let test_account = TestAccount::open(&trusting_account()).await;
    let alice = test_account.sts(&test_account.alice);
    let [one, other] = [
        alice.call("AssumeRole", &ASSUME).await.unwrap(),
        alice.call("AssumeRole", &ASSUME).await.unwrap(),
    ];
    let part = |answer: &Value, name: &str| text(&answer["Credentials"][name]).to_owned();
    let client = |id: &str, secret: &str, token: Option<&str>| {
        let key = AccessKey { id: id.to_owned(), secret: secret.to_owned() };
        let client = test_account.server.client(&key);
        token.map_or(client.clone(), |token| client.with_security_token(token.into()))
    };
    let (id, secret) = (part(&one, "AccessKeyId"), part(&one, "AccessKeySecret"));
    let token = part(&one, "SecurityToken");
    assert_eq!(test_account.encrypts(&client(&id, &secret, Some(&token))).await, "");
    let absent = "InvalidAccessKeyId.NotFound";
    assert_eq!(test_account.encrypts(&client(&id, &secret, None)).await, absent);
    let of_other = part(&other, "SecurityToken");
    let mismatch = "InvalidSecurityToken.MismatchWithAccessKey";
    assert_eq!(test_account.encrypts(&client(&id, &secret, Some(&of_other))).await, mismatch);
    let of_other = part(&other, "AccessKeySecret");
    let mismatch = "SignatureDoesNotMatch";
    assert_eq!(test_account.encrypts(&client(&id, &of_other, Some(&token))).await, mismatch);
    for index in (0..token.len()).step_by(7) {
        let mut changed = token.clone().into_bytes();
        changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        let refused = test_account.encrypts(&client(&id, &secret, Some(&changed))).await;
        assert_eq!(refused, absent, "byte {index} of the token");
    }
    let long = "A".repeat(20_000);
    assert_eq!(test_account.encrypts(&client(&id, &secret, Some(&long))).await, absent);
}

#[tokio::test]
async fn every_scheme_assumes_a_role_in_both_formats() {
    let test_account = TestAccount::open(&trusting_account()).await;
    let AccessKey { id, secret } = &test_account.alice;
    for variant in SigningVariant::all() {
        for (format, start) in [("JSON", "{\"RequestId\":"), ("XML", "<AssumeRoleResponse><Req")] {
            let address = test_account.server.address();
            let call = Call::to(address, (id, secret), variant, "AssumeRole", &ASSUME);
            let mut call = call.of_version(Api::Sts.version());
            call.set("Format", format);
            let answer = raw_http::exchange(address, &call.signed().bytes()).await;
            assert_eq!(answer.status, 200, "{variant:?}: {}", answer.body);
            assert!(answer.body.starts_with(start), "{}", answer.body);
            assert!(format == "JSON" || answer.body.contains("<Credentials><SecurityToken>"));
        }
    }
    let variant = SigningVariant(Signing::Rpc1, ParamLocation::GetQuery);
    let address = test_account.server.address();
    let call = Call::to(address, (id, secret), variant, "AssumeRole", &ASSUME);
    let call = call.of_version("2015-04-02");
    assert_eq!(
        raw_http::exchange(address, &call.signed().bytes()).await.refusal(),
        refusal(400, "InvalidVersion")
    );
}

/// The caller needs a policy of its own and the trust policy of the role.
#[tokio::test]
async fn a_simulation_tells_whether_a_user_may_assume_a_role() {
    let condition = json!({"StringEquals": {"sts:ExternalId": "deal-7"}});
    let account = json!({"RAM": [format!("acs:ram::{ACCOUNT}:root")]});
    let test_account = TestAccount::open(&trusting(&account, &condition)).await;
    let bob = test_account.installation.create_access_key("bob", &[]);
    let simulate = |principal: &str, external_id: &str| {
        let external_id = format!("sts:ExternalId={external_id}");
        let run = test_account.installation.configured(&[
            "policy",
            "simulate",
            "--principal",
            principal,
            "--action",
            "sts:AssumeRole",
            "--resource",
            "role/ci",
            "--condition",
            &external_id,
        ]);
        String::from_utf8(run.stdout).unwrap()
    };
    let by_trust = "allow: a statement allows it: trust policy, Statement[0]\n";
    let not_trusted = "deny: no statement of the trust policy allows it\n";
    for (key, principal, external_id, expected, told) in [
        (&test_account.alice, "user/alice", "deal-7", "", by_trust),
        (&test_account.alice, "user/alice", "deal-8", "NoPermission", not_trusted),
        (&bob, "user/bob", "deal-7", "NoPermission", "deny: no statement allows it\n"),
    ] {
        let client = test_account.sts(key);
        let params = [&ASSUME[..], &[("ExternalId", external_id)]].concat();
        assert_eq!(code(&client, "AssumeRole", &params).await, expected, "{principal}");
        assert_eq!(simulate(principal, external_id), told, "{principal} {external_id}");
    }
    assert_eq!(simulate("root", "deal-7"), "deny: roles may not be assumed by the root\n");
}
