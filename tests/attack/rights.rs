//! Callers that try to get or to hand out more permissions than they have.

use std::fs;

use hsmgate::api::instance::messages::{
    AdvanceGenerateDataKeyRequest, DecryptRequest, EncryptRequest, EncryptResponse,
    GenerateDataKeyRequest, GetPublicKeyRequest, SignRequest,
};
use hsmgate::cli::client::Client;
use prost::Message as _;
use serde_json::{Value, json};

use crate::support::calls::{code, until_code};
use crate::support::client_key::{ClientKey, PASSWORD};
use crate::support::gateway::{Gateway, refusal, text};
use crate::support::installation::{ACCOUNT, AccessKey, Installation, Server};
use crate::support::instance_client::{InstanceClient, send};
use crate::support::signed_calls::{Call, ParamLocation, Signing, SigningVariant};

const KEY_USER: &str = r#"["RbacPermission/Template/CryptoServiceKeyUser"]"#;
const FORBIDDEN: &str = "Forbidden.NoPermission";
const CRYPTO_USER: &str = "AliyunKMSCryptoUserAccess";

/// A gateway with an administrator and two keys.
struct Account {
    installation: Installation,
    server: Server,
    admin: Client,
    payroll: String,
    orders: String,
}

impl Account {
    async fn open() -> Self {
        let (installation, admin) = Installation::prepared();
        let server = installation.serve();
        let admin = server.client(&admin);
        let tags = [("Tags", r#"[{"TagKey":"team","TagValue":"orders"}]"#)];
        let [payroll, orders] = [&[][..], &tags];
        let (payroll, orders) =
            (create_key(&admin, payroll).await, create_key(&admin, orders).await);
        Self { installation, server, admin, payroll, orders }
    }

    /// A user who may manage access documents, and what these statements allow.
    async fn user(&self, name: &str, statements: &[Value]) -> Client {
        let documents = json!({"Effect": "Allow", "Resource": "*", "Action": [
            "kms:CreatePolicy", "kms:UpdatePolicy", "kms:CreateApplicationAccessPoint",
            "kms:UpdateApplicationAccessPoint", "kms:CreateClientKey", "kms:CreateNetworkRule"]});
        let statements: Vec<_> = [&documents].into_iter().chain(statements).collect();
        let path = self.installation.path(&format!("{name}.json"));
        let document = json!({"Version": "1", "Statement": statements});
        fs::write(&path, document.to_string()).unwrap();
        let create = ["access-key", "create", "--json", "--user", name, "--policy"];
        let policy = path.to_str().unwrap();
        let key = self.installation.configured(&[&create[..], &[policy]].concat()).json();
        let client = self.server.client(&AccessKey::of(&key));
        until_code(&client, "DescribeRegions", &[], "").await;
        client
    }
}

async fn create_key(client: &Client, params: &[(&str, &str)]) -> String {
    let made = client.call("CreateKey", params).await.unwrap();
    text(&made["KeyMetadata"]["KeyId"]).to_owned()
}

async fn create_policy(client: &Client, name: &str, resources: &str) -> String {
    let params = [("Name", name), ("Permissions", KEY_USER), ("Resources", resources)];
    code(client, "CreatePolicy", &params).await
}

async fn create_point(client: &Client, name: &str, policies: &str) -> String {
    let params = [("Name", name), ("Policies", policies)];
    code(client, "CreateApplicationAccessPoint", &params).await
}

async fn create_client_key(client: &Client, point: &str) -> Result<ClientKey, String> {
    let params = [("AapName", point), ("Password", PASSWORD)];
    match client.call("CreateClientKey", &params).await {
        Ok(made) => Ok(ClientKey::open(&made)),
        Err(_refused) => Err(code(client, "CreateClientKey", &params).await),
    }
}

#[tokio::test]
async fn who_may_only_create_access_documents_uses_no_key_in_whatever_order() {
    let account = Account::open().await;
    let Account { server, admin, payroll, .. } = &account;
    assert_eq!(create_policy(admin, "all", r#"["key/*"]"#).await, "");
    assert_eq!(create_point(admin, "shop", r#"["all"]"#).await, "");
    let mallory = account.user("mallory", &[]).await;

    // A policy that no access point names grants nothing.
    assert_eq!(create_policy(&mallory, "mine", r#"["key/*"]"#).await, "");
    assert_eq!(create_point(&mallory, "mine", r#"["mine"]"#).await, FORBIDDEN);
    assert_eq!(create_point(&mallory, "theirs", r#"["none","all"]"#).await, FORBIDDEN);
    // Names of documents that do not exist yet.
    assert_eq!(create_point(&mallory, "later", r#"["later","soon"]"#).await, "");
    let client_key = create_client_key(&mallory, "later").await.unwrap();
    for resources in [r#"["key/*"]"#, r#"["key/k*"]"#, &format!(r#"["key/{payroll}"]"#)] {
        assert_eq!(create_policy(&mallory, "later", resources).await, FORBIDDEN, "{resources}");
    }
    // A policy without keys, which gets some.
    assert_eq!(create_policy(&mallory, "soon", r#"["secret/*"]"#).await, "");
    let change = [("Name", "soon"), ("Resources", r#"["key/*"]"#)];
    assert_eq!(code(&mallory, "UpdatePolicy", &change).await, FORBIDDEN);
    let change = [("Name", "soon"), ("Description", "only words")];
    assert_eq!(code(&mallory, "UpdatePolicy", &change).await, "");
    // An access point that gets a policy of others, and the access point of others.
    let change = [("Name", "later"), ("Policies", r#"["all"]"#)];
    assert_eq!(code(&mallory, "UpdateApplicationAccessPoint", &change).await, FORBIDDEN);
    assert_eq!(create_client_key(&mallory, "shop").await.err().as_deref(), Some(FORBIDDEN));
    // Wider network rules of a policy that grants keys.
    let change = [("Name", "all"), ("AccessControlRules", "{}"), ("Permissions", "[]")];
    assert_eq!(code(admin, "UpdatePolicy", &change).await, "");
    let change = [("Name", "all"), ("Permissions", KEY_USER)];
    assert_eq!(code(&mallory, "UpdatePolicy", &change).await, FORBIDDEN);

    let holder = InstanceClient { endpoint: server.endpoint.clone(), client_key };
    let refused = holder.refused("Encrypt", &encryption(payroll)).await;
    assert_eq!(refused, refusal(403, FORBIDDEN));
    // Who has all permissions hands them out to the same access point.
    assert_eq!(create_policy(admin, "later", r#"["key/*"]"#).await, "");
    holder.call::<EncryptResponse>("Encrypt", &encryption(payroll)).await;
}

#[tokio::test]
async fn every_restriction_of_a_caller_limits_what_it_hands_out() {
    let account = Account::open().await;
    let Account { payroll, orders, .. } = &account;
    let allow = |action: Value, resource: &str| json!({"Effect": "Allow", "Action": action, "Resource": resource});
    let with = |mut statement: Value, condition: Value| {
        statement["Condition"] = condition;
        statement
    };
    let every_use = || {
        json!([
            "kms:Encrypt",
            "kms:Decrypt",
            "kms:GenerateDataKey*",
            "kms:Asymmetric*",
            "kms:GetPublicKey"
        ])
    };
    let all = || allow(json!("kms:*"), "*");
    let deny = |action: &str, resource: &str| json!({"Effect": "Deny", "Action": action, "Resource": resource});
    let arn = |key: &str| format!("acs:kms:*:*:key/{key}");
    let tagged = json!({"StringEquals": {"kms:tag/team": "orders"}});
    let office = json!({"IpAddress": {"acs:SourceIp": "127.0.0.0/8"}});
    let context = json!({"StringEquals": {"kms:EncryptionContext/a": "b"}});
    let no_mfa = json!({"Bool": {"acs:MFAPresent": "false"}});
    // May the caller hand out every key, payroll, orders?
    for (name, statements, expected) in [
        ("full", vec![all()], [true, true, true]),
        ("every-key", vec![allow(every_use(), "acs:kms:*:*:key/*")], [true, true, true]),
        ("encrypts", vec![allow(json!("kms:Encrypt"), "*")], [false, false, false]),
        ("no-signing", vec![all(), deny("kms:AsymmetricSign", "*")], [false, false, false]),
        ("one-key", vec![allow(every_use(), &arn(orders))], [false, false, true]),
        ("but-one", vec![all(), deny("kms:Decrypt", &arn(payroll))], [false, false, true]),
        ("aliases", vec![all(), deny("kms:*", "acs:kms:*:*:alias/*")], [true, true, true]),
        ("tagged", vec![with(all(), tagged.clone())], [false, false, true]),
        ("not-tagged", vec![all(), with(deny("kms:*", "*"), tagged)], [false, true, false]),
        ("office", vec![with(all(), office)], [false, false, false]),
        ("context", vec![all(), with(deny("kms:Decrypt", "*"), context)], [false, false, false]),
        ("constant", vec![with(all(), no_mfa)], [true, true, true]),
    ] {
        let caller = account.user(name, &statements).await;
        let keys = ["*", payroll, orders];
        for (number, (key, expected)) in keys.into_iter().zip(expected).enumerate() {
            let document = format!("{name}-{number}");
            let resources = format!(r#"["key/{key}"]"#);
            assert_eq!(create_policy(&caller, &document, &resources).await, "");
            let outcome = create_point(&caller, &document, &format!(r#"["{document}"]"#)).await;
            assert_eq!(outcome, if expected { "" } else { FORBIDDEN }, "{name} {key}");
        }
    }
}

#[tokio::test]
async fn a_key_policy_limits_what_a_caller_hands_out() {
    let account = Account::open().await;
    let Account { installation, server, admin, payroll, orders } = &account;
    let alice = account
        .user(
            "alice",
            &[json!({"Effect": "Allow", "Action": "kms:*",
        "Resource": "acs:kms:*:*:key/*"})],
        )
        .await;
    let bob = account.user("bob", &[]).await;
    let everyone = format!("acs:ram::{ACCOUNT}:*");
    let policy =
        |statements: &[Value]| json!({"Version": "1", "Statement": statements}).to_string();
    let statement = |effect: &str, who: &str, action: &str| {
        json!({"Effect": effect,
        "Principal": {"RAM": who}, "Action": action, "Resource": "*"})
    };
    let default = statement("Allow", &everyone, "kms:*");
    let deny = statement("Deny", &format!("acs:ram::{ACCOUNT}:user/alice"), "kms:Decrypt");
    let to_bob = statement("Allow", &format!("acs:ram::{ACCOUNT}:user/bob"), "kms:*");
    for (key, statements) in [(payroll, [default.clone(), deny]), (orders, [default, to_bob])] {
        let params = [("KeyId", key.as_str()), ("Policy", &*policy(&statements))];
        assert_eq!(code(admin, "SetKeyPolicy", &params).await, "");
    }
    let by_key = |key: &str| format!(r#"["key/{key}"]"#);
    for (number, (caller, resources, expected)) in [
        (&alice, r#"["key/*"]"#, FORBIDDEN),
        (&alice, &*by_key(payroll), FORBIDDEN),
        (&alice, &*by_key(orders), ""),
        (&bob, r#"["key/*"]"#, FORBIDDEN),
        (&bob, &*by_key(payroll), FORBIDDEN),
        (&bob, &*by_key(orders), ""),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("n{number}");
        assert_eq!(create_policy(caller, &name, resources).await, "");
        let outcome = create_point(caller, &name, &format!(r#"["{name}"]"#)).await;
        assert_eq!(outcome, expected, "{number}");
    }
    // The root hands out every key.
    let root = installation.configured(&["access-key", "create", "--root", "--json"]).json();
    let root = server.client(&AccessKey::of(&root));
    until_code(&root, "DescribeRegions", &[], "").await;
    assert_eq!(create_point(&root, "root", r#"["n0"]"#).await, "");
}

#[tokio::test]
async fn two_changes_at_once_grant_nothing_for_which_neither_was_checked() {
    let account = Account::open().await;
    let mallory = account.user("mallory", &[]).await;
    for round in 0..20 {
        let name = format!("n{round}");
        let policies = format!(r#"["{name}"]"#);
        let outcomes = tokio::join!(
            create_policy(&mallory, &name, r#"["key/*"]"#),
            create_point(&mallory, &name, &policies),
        );
        let refused = [&outcomes.0, &outcomes.1].into_iter().filter(|code| *code == FORBIDDEN);
        assert_eq!(refused.count(), 1, "{outcomes:?}");
    }
}

fn encryption(key: &str) -> EncryptRequest {
    let mut message = EncryptRequest::default();
    key.clone_into(&mut message.key_id);
    message.plaintext = b"x".to_vec();
    message
}

/// Calls the public API with a client key.
async fn public_call(
    gateway: &Gateway,
    key: &ClientKey,
    action: &str,
    params: &[(&str, &str)],
) -> u16 {
    let variant = SigningVariant(Signing::Rpc1, ParamLocation::PostQuery);
    let mut call = Call::new(gateway, variant, action, params).by(&key.id, "");
    for (name, value) in [("SignatureMethod", "SHA256withRSA"), ("SignatureType", "PRIVATEKEY")] {
        call.set(name, value);
    }
    let signature = key.signature(&call.string_to_sign());
    call.add("Signature", &signature);
    call.send(gateway).await.status
}

/// Each call that a client key makes with a symmetric key, and whether it is allowed: Encrypt,
/// Decrypt and GenerateDataKey of the public API, of the instance protocol, and in the Advance form.
async fn allowed(gateway: &Gateway, client: &InstanceClient, blob: &str) -> Vec<bool> {
    let key = gateway.dev.key_id.as_str();
    let public = [
        ("Encrypt", vec![("KeyId", key), ("Plaintext", "SGVsbG8=")]),
        ("Decrypt", vec![("CiphertextBlob", blob)]),
        ("GenerateDataKey", vec![("KeyId", key)]),
    ];
    let mut allowed = Vec::new();
    for (action, params) in public {
        allowed.push(public_call(gateway, &client.client_key, action, &params).await == 200);
    }
    // The ciphertext is not one, which is found after the authorization.
    let decryption = DecryptRequest {
        key_id: key.to_owned(),
        ciphertext_blob: vec![1; 40],
        ..DecryptRequest::default()
    };
    let data_key = GenerateDataKeyRequest {
        key_id: key.to_owned(),
        number_of_bytes: 32,
        ..GenerateDataKeyRequest::default()
    };
    let advance = AdvanceGenerateDataKeyRequest {
        key_id: key.to_owned(),
        number_of_bytes: 32,
        ..AdvanceGenerateDataKeyRequest::default()
    };
    let requests = [
        ("Encrypt", encryption(key).encode_to_vec()),
        ("Decrypt", decryption.encode_to_vec()),
        ("GenerateDataKey", data_key.encode_to_vec()),
        ("AdvanceEncrypt", encryption(key).encode_to_vec()),
        ("AdvanceGenerateDataKey", advance.encode_to_vec()),
    ];
    for (name, body) in requests {
        allowed.push(send(client.request(name, body, &[])).await.status() != 403);
    }
    allowed
}

#[tokio::test]
async fn a_deny_in_a_key_policy_binds_client_keys_by_both_protocols() {
    let gateway = Gateway::start();
    let client = InstanceClient::with_any_key(&gateway).await;
    let key = gateway.dev.key_id.clone();
    let account = gateway.dev.account.clone();
    let params = [("KeyId", key.as_str()), ("Plaintext", "SGVsbG8=")];
    let encrypted = gateway.call("Encrypt", &params).await;
    let blob = text(&encrypted["CiphertextBlob"]).to_owned();
    let own = format!("clientkey/{}", client.client_key.id);
    let other = "clientkey/KAAP.46a9efd9-3d16-4894-bd4f-1fc43f3f2abf";
    let encrypt = [false, true, true, false, true, true, false, true];
    let decrypt = [true, false, true, true, false, true, true, true];
    let data_key = [true, true, false, true, true, false, true, false];
    let (none, every) = ([false; 8], [true; 8]);
    for (who, action, condition, expected) in [
        ("*", "kms:Encrypt", None, encrypt),
        ("*", "kms:Decrypt", None, decrypt),
        ("clientkey/*", "kms:GenerateDataKey", None, data_key),
        (own.as_str(), "kms:*", None, none),
        ("applicationaccesspoint/any", "kms:*", None, none),
        ("applicationaccesspoint/other", "kms:*", None, every),
        (other, "kms:*", None, every),
        ("user/other", "kms:*", None, every),
        ("*", "kms:*crypt", Some(json!({"IpAddress": {"acs:SourceIp": "10.0.0.0/8"}})), every),
        ("*", "kms:Encrypt", Some(json!({"IpAddress": {"acs:SourceIp": "127.0.0.0/8"}})), encrypt),
    ] {
        let everyone = format!("acs:ram::{account}:*");
        let mut deny = json!({"Effect": "Deny", "Action": action, "Resource": "*",
            "Principal": {"RAM": format!("acs:ram::{account}:{who}")}});
        if let Some(condition) = condition {
            deny["Condition"] = condition;
        }
        let policy = json!({"Version": "1", "Statement": [
            {"Effect": "Allow", "Action": "kms:*", "Resource": "*",
             "Principal": {"RAM": everyone}}, deny]});
        let policy = policy.to_string();
        gateway.call("SetKeyPolicy", &[("KeyId", &key), ("Policy", &policy)]).await;
        assert_eq!(allowed(&gateway, &client, &blob).await, expected, "{who} {action}");
    }
    // A key policy grants client keys nothing.
    let policy = json!({"Version": "1", "Statement": [{"Effect": "Allow", "Action": "kms:*",
        "Resource": "*", "Principal": {"RAM": [format!("acs:ram::{account}:*"),
        format!("acs:ram::{account}:{own}")]}}]});
    let params = [("KeyId", key.as_str()), ("Policy", &*policy.to_string())];
    assert_eq!(gateway.refused("SetKeyPolicy", &params).await, refusal(400, "InvalidParameter"));
}

#[tokio::test]
async fn a_deny_for_the_name_of_the_public_api_binds_the_instance_protocol() {
    let gateway = Gateway::start();
    let client = InstanceClient::with_any_key(&gateway).await;
    let pair = gateway.create_key_with(&[("KeySpec", "RSA_2048")]).await;
    let everyone = format!("acs:ram::{}:*", gateway.dev.account);
    let sign = SignRequest {
        key_id: pair.clone(),
        algorithm: "RSA_PSS_SHA_256".to_owned(),
        message: vec![7; 32],
        message_type: "DIGEST".to_owned(),
        ..SignRequest::default()
    };
    let public_key = GetPublicKeyRequest { key_id: pair.clone() };
    assert!(client.outcome::<EncryptResponse>("Sign", &sign).await.is_ok());
    for action in ["kms:AsymmetricSign", "kms:Sign"] {
        let policy = json!({"Version": "1", "Statement": [
            {"Effect": "Allow", "Action": "kms:*", "Resource": "*", "Principal": {"RAM": everyone}},
            {"Effect": "Deny", "Action": action, "Resource": "*", "Principal": {"RAM": everyone}}]});
        let params = [("KeyId", pair.as_str()), ("Policy", &*policy.to_string())];
        gateway.call("SetKeyPolicy", &params).await;
        assert_eq!(client.refused("Sign", &sign).await, refusal(403, FORBIDDEN), "{action}");
        assert!(client.outcome::<EncryptResponse>("GetPublicKey", &public_key).await.is_ok());
    }
}

#[tokio::test]
async fn a_simulation_decides_for_client_keys_as_the_gateway_does() {
    let account = Account::open().await;
    let Account { installation, admin, payroll, .. } = &account;
    let rule = [("Name", "office"), ("Type", "Private"), ("SourcePrivateIp", r#"["10.0.0.0/8"]"#)];
    assert_eq!(code(admin, "CreateNetworkRule", &rule).await, "");
    let policy = [
        ("Name", "all"),
        ("Permissions", KEY_USER),
        ("Resources", r#"["key/*"]"#),
        ("AccessControlRules", r#"{"NetworkRules":["office"]}"#),
    ];
    assert_eq!(code(admin, "CreatePolicy", &policy).await, "");
    assert_eq!(create_point(admin, "shop", r#"["all"]"#).await, "");
    let client_key = create_client_key(admin, "shop").await.unwrap();
    let own = format!("clientkey/{}", client_key.id);
    let everyone = format!("acs:ram::{ACCOUNT}:*");
    let denied = format!("acs:ram::{ACCOUNT}:{own}");
    let policy = json!({"Version": "1", "Statement": [
        {"Effect": "Allow", "Action": "kms:*", "Resource": "*", "Principal": {"RAM": everyone}},
        {"Sid": "not this one", "Effect": "Deny", "Action": "kms:Decrypt", "Resource": "*",
         "Principal": {"RAM": denied}}]});
    let set = [("KeyId", payroll.as_str()), ("Policy", &*policy.to_string())];
    assert_eq!(code(admin, "SetKeyPolicy", &set).await, "");
    let simulate = |caller: &str, action: &str, source: &str| {
        let resource = format!("key/{payroll}");
        let source = format!("acs:SourceIp={source}");
        let arguments = [
            "policy",
            "simulate",
            "--principal",
            caller,
            "--action",
            action,
            "--resource",
            &resource,
            "--condition",
            &source,
        ];
        let outcome = installation.configured(&arguments);
        String::from_utf8(outcome.stdout).unwrap()
    };
    let point = "applicationaccesspoint/shop";
    let by_policy = "allow: a policy of the access point allows it: all\n";
    for (caller, action, source, expected) in [
        (own.as_str(), "kms:Encrypt", "10.1.1.1", by_policy),
        (&own, "kms:Encrypt", "11.1.1.1", "deny: no policy of the access point allows it\n"),
        (
            &own,
            "kms:AdvanceDecrypt",
            "10.1.1.1",
            "deny: a statement denies it: key policy, Statement[1] (not this one)\n",
        ),
        (point, "kms:Decrypt", "10.1.1.1", by_policy),
        (point, "kms:CreateKey", "10.1.1.1", "deny: client keys cannot have this permission\n"),
    ] {
        assert_eq!(simulate(caller, action, source), expected, "{caller} {action}");
    }
    let none = [
        "policy",
        "simulate",
        "--principal",
        "applicationaccesspoint/none",
        "--action",
        "kms:Encrypt",
        "--resource",
        "key",
    ];
    installation.configured(&none).failed(3);
}

#[tokio::test]
async fn a_principal_with_the_system_policies_hands_out_what_they_allow() {
    let account = Account::open().await;
    let caller = account.user("crypto", &[]).await;
    assert_eq!(create_policy(&caller, "all", r#"["key/*"]"#).await, "");
    assert_eq!(create_point(&caller, "one", r#"["all"]"#).await, FORBIDDEN);
    account.installation.configured(&["user", "attach", "crypto", CRYPTO_USER]).done();
    let params = [("Name", "one"), ("Policies", r#"["all"]"#)];
    until_code(&caller, "CreateApplicationAccessPoint", &params, "").await;
}
