//! Calls of the public API signed with a client key, as the older Java SDK signs them
//! (KeyPairCredentials): RSA over the string of RPC 1.0.

use std::collections::BTreeMap;

use hsmgate::api::rpc::table::TABLE;
use hsmgate::model::{Api, clock};
use hsmgate::ops::unsupported;
use serde_json::Value;

use crate::instance::client_keys::listed;
use crate::support::audit_file::records;
use crate::support::client_key::ClientKey;
use crate::support::gateway::{Gateway, refusal, text};
use crate::support::instance_client::InstanceClient;
use crate::support::raw_http::{Connection, RawResponse};
use crate::support::signed_calls::{Call, ParamLocation, Signing, SigningVariant};

const PLAINTEXT: &str = "SGVsbG8gd29ybGQ=";
const LOCATIONS: [ParamLocation; 3] =
    [ParamLocation::GetQuery, ParamLocation::PostQuery, ParamLocation::PostForm];
const KEY_USER: &str = r#"["RbacPermission/Template/CryptoServiceKeyUser"]"#;

/// What an AccessKey does not send.
const METHOD: [(&str, &str); 2] =
    [("SignatureMethod", "SHA256withRSA"), ("SignatureType", "PRIVATEKEY")];

/// A call of a client key, not yet signed.
fn unsigned(
    gateway: &Gateway,
    key: &ClientKey,
    location: ParamLocation,
    action: &str,
    params: &[(&str, &str)],
) -> Call {
    let variant = SigningVariant(Signing::Rpc1, location);
    let mut call = Call::new(gateway, variant, action, params).by(&key.id, "");
    for (name, value) in METHOD {
        call.set(name, value);
    }
    call
}

fn signed(mut call: Call, key: &ClientKey) -> Call {
    let signature = key.signature(&call.string_to_sign());
    call.add("Signature", &signature);
    call
}

pub(crate) async fn send(
    gateway: &Gateway,
    key: &ClientKey,
    action: &str,
    params: &[(&str, &str)],
) -> RawResponse {
    let call = unsigned(gateway, key, ParamLocation::PostQuery, action, params);
    signed(call, key).send(gateway).await
}

async fn call(gateway: &Gateway, key: &ClientKey, action: &str, params: &[(&str, &str)]) -> Value {
    let answer = send(gateway, key, action, params).await;
    assert_eq!(answer.status, 200, "{action}: {}", answer.body);
    answer.json()
}

#[tokio::test]
async fn a_client_key_encrypts_and_decrypts_by_the_public_api_wherever_its_parameters_stand() {
    let gateway = Gateway::start();
    let key = InstanceClient::with_any_key(&gateway).await.client_key;
    let context = ("EncryptionContext", r#"{"purpose":"测试","owner":"a*b~c+d e"}"#);
    for location in LOCATIONS {
        let params = [("KeyId", "alias/demo"), ("Plaintext", PLAINTEXT), context];
        let call = signed(unsigned(&gateway, &key, location, "Encrypt", &params), &key);
        let answer = call.send(&gateway).await;
        assert_eq!(answer.status, 200, "{location:?} {}", answer.body);
        let encrypted = answer.json();
        assert_eq!(encrypted["KeyId"], *gateway.dev.key_id);
        let blob = ("CiphertextBlob", text(&encrypted["CiphertextBlob"]));
        let call = signed(unsigned(&gateway, &key, location, "Decrypt", &[blob, context]), &key);
        assert_eq!(call.send(&gateway).await.json()["Plaintext"], PLAINTEXT, "{location:?}");
        let decrypted = gateway.call("Decrypt", &[blob, context]).await;
        assert_eq!(decrypted["Plaintext"], PLAINTEXT, "an AccessKey opens it too");
    }
    let made = call(&gateway, &key, "GenerateDataKey", &[("KeyId", "alias/demo")]).await;
    let blob = [("CiphertextBlob", text(&made["CiphertextBlob"]))];
    assert_eq!(gateway.call("Decrypt", &blob).await["Plaintext"], made["Plaintext"]);
    let params = [("KeyId", "alias/demo"), ("Plaintext", PLAINTEXT)];
    let mut xml = unsigned(&gateway, &key, ParamLocation::PostQuery, "Encrypt", &params);
    xml.set("Format", "XML");
    let answer = signed(xml, &key).send(&gateway).await;
    assert!(answer.body.starts_with("<EncryptResponse>"), "{}", answer.body);
}

#[tokio::test]
async fn a_client_key_that_may_sign_by_the_instance_protocol_may_do_so_by_the_public_api() {
    let gateway = Gateway::start();
    let key = InstanceClient::with_any_key(&gateway).await.client_key;
    let pair = gateway.create_key_with(&[("KeySpec", "EC_P256")]).await;
    let versions = gateway.call("ListKeyVersions", &[("KeyId", &pair)]).await;
    let version = text(&versions["KeyVersions"]["KeyVersion"][0]["KeyVersionId"]).to_owned();
    let digest = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    let names = [("KeyId", pair.as_str()), ("KeyVersionId", &version)];
    let public = call(&gateway, &key, "GetPublicKey", &names).await;
    assert_eq!(public["PublicKey"], gateway.call("GetPublicKey", &names).await["PublicKey"]);
    let params = [&names[..], &[("Algorithm", "ECDSA_SHA_256"), ("Digest", digest)]].concat();
    let made = call(&gateway, &key, "AsymmetricSign", &params).await;
    let params = [&params[..], &[("Value", text(&made["Value"]))]].concat();
    assert_eq!(call(&gateway, &key, "AsymmetricVerify", &params).await["Value"], true);
    assert_eq!(gateway.call("AsymmetricVerify", &params).await["Value"], true);
}

#[tokio::test]
async fn every_other_action_is_forbidden_to_a_client_key() {
    let gateway = Gateway::start_with(&["--calls-per-second", "0"]);
    let key = InstanceClient::with_any_key(&gateway).await.client_key;
    let allowed = [
        "Encrypt",
        "Decrypt",
        "GenerateDataKey",
        "GetPublicKey",
        "AsymmetricSign",
        "AsymmetricVerify",
        "GetSecretValue",
    ];
    let of_kms = TABLE.iter().filter(|entry| entry.api == Api::Kms);
    let served = of_kms.map(|entry| entry.name);
    let others: Vec<_> = served
        .chain(unsupported::PUBLIC.iter().map(|action| action.name))
        .filter(|action| !allowed.contains(action))
        .collect();
    assert!(others.len() > 79);
    for action in others {
        for params in [&[][..], &[("KeyId", "alias/demo")], &[("KeyId", "alias/nothing")]] {
            let answer = send(&gateway, &key, action, params).await;
            assert_eq!(answer.refusal(), refusal(403, "Forbidden.NoPermission"), "{action}");
            assert!(answer.message().contains("client key"), "{}", answer.message());
        }
    }
    for action in allowed {
        let answer = send(&gateway, &key, action, &[]).await;
        assert_eq!(answer.refusal(), refusal(400, "MissingParameter"), "{action}");
    }
    let answer = send(&gateway, &key, "AdvanceEncrypt", &[]).await;
    assert_eq!(answer.refusal(), refusal(404, "InvalidAction.NotFound"));
}

#[tokio::test]
async fn the_policies_of_the_access_point_decide_over_its_calls_of_the_public_api() {
    let gateway = Gateway::start();
    let (mine, other) = (gateway.dev.key_id.clone(), gateway.create_key().await);
    let denied = refusal(403, "Forbidden.NoPermission");
    let encrypt = |key: &str| [("KeyId", key.to_owned()), ("Plaintext", PLAINTEXT.to_owned())];
    let outcome = async |client_key: &ClientKey, key: &str| {
        let params = encrypt(key);
        let params = params.each_ref().map(|(name, value)| (*name, value.as_str()));
        let answer = send(&gateway, client_key, "Encrypt", &params).await;
        if answer.status == 200 { refusal(200, "") } else { answer.refusal() }
    };
    let resources = format!(r#"["key/{mine}"]"#);
    let one =
        InstanceClient::of(&gateway, "one", &resources, r#"["127.0.0.0/8"]"#).await.client_key;
    assert_eq!(outcome(&one, &mine).await, refusal(200, ""));
    assert_eq!(outcome(&one, "alias/demo").await, refusal(200, ""));
    for key in [other.as_str(), "alias/nothing", "key-does-not-exist"] {
        assert_eq!(outcome(&one, key).await, denied, "{key}");
    }
    let far =
        InstanceClient::of(&gateway, "far", r#"["key/*"]"#, r#"["192.0.2.1"]"#).await.client_key;
    assert_eq!(outcome(&far, &mine).await, denied);
    let rule = [("Name", "far"), ("SourcePrivateIp", r#"["127.0.0.1"]"#)];
    gateway.call("UpdateNetworkRule", &rule).await;
    assert_eq!(outcome(&far, &mine).await, refusal(200, ""), "a change counts at once");
    assert_eq!(outcome(&far, "alias/nothing").await, refusal(404, "Forbidden.AliasNotFound"));
    assert_eq!(outcome(&far, "key-does-not-exist").await, refusal(404, "Forbidden.KeyNotFound"));
    let secrets = [
        ("Name", "far"),
        ("Permissions", r#"["RbacPermission/Template/CryptoServiceSecretUser"]"#),
        ("Resources", r#"["key/*"]"#),
    ];
    gateway.call("UpdatePolicy", &secrets).await;
    assert_eq!(outcome(&far, &mine).await, denied);
    let keys = [("Name", "far"), ("Permissions", KEY_USER)];
    gateway.call("UpdatePolicy", &keys).await;
    assert_eq!(outcome(&far, &mine).await, refusal(200, ""));
    // What RAM and key policies say counts for nothing here.
    gateway.call("DisableKey", &[("KeyId", &mine)]).await;
    assert_eq!(outcome(&far, &mine).await, refusal(409, "Rejected.Disabled"));
}

/// What is done to a call of a client key before it is signed.
type Change<'a> = &'a dyn Fn(Call) -> Call;

#[tokio::test]
async fn a_mixture_of_the_schemes_is_refused() {
    let gateway = Gateway::start();
    let key = InstanceClient::with_any_key(&gateway).await.client_key;
    let params = [("KeyId", "alias/demo"), ("Plaintext", PLAINTEXT)];
    let with = |name: &'static str, value: &'static str| {
        move |mut call: Call| {
            call.set(name, value);
            call
        }
    };
    let method = refusal(400, "InvalidSignatureMethod");
    let changes: [(Change<'_>, _); 9] = [
        (&with("SignatureMethod", "HMAC-SHA1"), method.clone()),
        (&with("SignatureMethod", "RSA_PKCS1_SHA_256"), method.clone()),
        (&with("SignatureMethod", ""), method.clone()),
        (&with("SignatureType", ""), method.clone()),
        (&with("SignatureType", "BEARERTOKEN"), method.clone()),
        (&with("SignatureType", "privatekey"), method.clone()),
        (&with("SignatureVersion", "2.0"), method.clone()),
        (
            &with("SecurityToken", "CAIS"),
            refusal(400, "InvalidSecurityToken.MismatchWithAccessKey"),
        ),
        (&|call| call, refusal(200, "")),
    ];
    for location in LOCATIONS {
        for (change, expected) in &changes {
            let call = change(unsigned(&gateway, &key, location, "Encrypt", &params));
            let shown = format!("{} {}", call.query, call.body);
            let answer = signed(call, &key).send(&gateway).await;
            let got = if answer.status == 200 { refusal(200, "") } else { answer.refusal() };
            assert_eq!(got, *expected, "{shown}");
        }
        // An AccessKey with the method of client keys, signed by its secret or by a client key.
        let dev = &gateway.dev;
        let call = unsigned(&gateway, &key, location, "Encrypt", &params);
        let mut call = call.by(&dev.access_key_id, &dev.access_key_secret);
        assert_eq!(call.clone().signed().send(&gateway).await.refusal(), method);
        assert_eq!(signed(call.clone(), &key).send(&gateway).await.refusal(), method);
        // … or with its type alone.
        call.set("SignatureMethod", "HMAC-SHA1");
        assert_eq!(call.signed().send(&gateway).await.refusal(), method);
    }
    // A client key by the schemes of AccessKeys: it has no secret, not even the empty one.
    for variant in SigningVariant::all() {
        for secret in ["", dev_secret(&gateway)] {
            let call =
                Call::new(&gateway, variant, "Encrypt", &params).by(&key.id, secret).signed();
            let answer = call.send(&gateway).await;
            assert_eq!(answer.refusal(), method, "{variant:?}");
            assert!(answer.message().contains("SHA256withRSA"), "{}", answer.message());
        }
    }
}

fn dev_secret(gateway: &Gateway) -> &str {
    &gateway.dev.access_key_secret
}

#[tokio::test]
async fn a_call_that_a_valid_client_key_did_not_sign_now_is_refused() {
    let gateway = Gateway::start_with(&["--authentication-failures-per-second", "0"]);
    let key = InstanceClient::with_any_key(&gateway).await.client_key;
    let other = [("AapName", "any"), ("Password", "opens-it-1")];
    let other = InstanceClient::with_key(&gateway, &other).await.client_key;
    let params = [("KeyId", "alias/demo"), ("Plaintext", PLAINTEXT)];
    let new = || unsigned(&gateway, &key, ParamLocation::PostQuery, "Encrypt", &params);
    let mismatch = refusal(400, "SignatureDoesNotMatch");

    let answer = signed(new(), &other).send(&gateway).await;
    assert_eq!(answer.refusal(), mismatch);
    let call = signed(new(), &key);
    for (from, to) in [
        ("Plaintext=SGVs", "Plaintext=SGVt"),
        ("alias%2Fdemo", "alias%2Fother"),
        ("Nonce=", "Nonce=0"),
    ] {
        let mut changed = call.clone();
        changed.query = changed.query.replace(from, to);
        assert_ne!(changed.query, call.query);
        assert_eq!(changed.send(&gateway).await.refusal(), mismatch, "{from}");
    }
    let mut added = call.clone();
    added.add("DryRun", "true");
    let text = added.clone();
    let answer = added.send(&gateway).await;
    assert_eq!(answer.refusal(), mismatch);
    // The older SDKs compare what follows the first colon with their own string.
    let message = answer.message();
    let (_, told) = message.split_once(':').unwrap();
    let mut unsigned_text = text;
    unsigned_text.remove("Signature");
    assert_eq!(told, unsigned_text.string_to_sign());
    for signature in ["", "AAAA", "QUJDRA==", "not Base64"] {
        let mut call = new();
        call.add("Signature", signature);
        let (status, code) = call.send(&gateway).await.refusal();
        let known = ["SignatureDoesNotMatch", "IncompleteSignature", "MissingSignature"];
        assert!(status == 400 && known.contains(&&*code), "{signature}: {code}");
    }
    for (minutes, is_let_in) in [(-14, true), (14, true), (-16, false), (16, false)] {
        let date = clock::now().plus_seconds(60 * minutes).to_string();
        let answer = signed(new().at(&date), &key).send(&gateway).await;
        let expired = refusal(400, "InvalidTimeStamp.Expired");
        assert_eq!(answer.status == 200, is_let_in, "{minutes}: {}", answer.body);
        assert!(is_let_in || answer.refusal() == expired);
    }
    let unknown = refusal(404, "InvalidAccessKeyId.NotFound");
    let outsider = new().by("KAAP.00000000-0000-4000-8000-000000000001", "");
    assert_eq!(signed(outsider, &key).send(&gateway).await.refusal(), unknown);
    for dates in [
        ["2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"],
        ["2098-01-01T00:00:00Z", "2099-01-01T00:00:00Z"],
    ] {
        let params = [
            ("AapName", "any"),
            ("Password", "opens-it-1"),
            ("NotBefore", dates[0]),
            ("NotAfter", dates[1]),
        ];
        let closed = InstanceClient::with_key(&gateway, &params).await.client_key;
        let answer = send(&gateway, &closed, "Encrypt", &[]).await;
        assert_eq!(answer.refusal(), unknown, "{dates:?}");
    }
    assert_eq!(signed(new(), &key).send(&gateway).await.status, 200);
    gateway.call("DeleteClientKey", &[("ClientKeyId", &key.id)]).await;
    assert_eq!(signed(new(), &key).send(&gateway).await.refusal(), unknown);
}

#[tokio::test]
async fn a_replay_of_a_call_signed_with_a_client_key_is_refused_also_by_the_next_process() {
    let gateway = Gateway::start();
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    let key = instance_client.client_key;
    let params = [("KeyId", "alias/demo"), ("Plaintext", PLAINTEXT)];
    let nonce = "the-same-nonce";
    let call =
        unsigned(&gateway, &key, ParamLocation::PostQuery, "Encrypt", &params).with_nonce(nonce);
    let call = signed(call, &key);
    assert_eq!(call.send(&gateway).await.status, 200);
    let used = refusal(400, "SignatureNonceUsed");
    assert_eq!(call.send(&gateway).await.refusal(), used);
    // With another call of its own, too; but nonces of one key are not those of another.
    let fresh =
        unsigned(&gateway, &key, ParamLocation::GetQuery, "Encrypt", &params).with_nonce(nonce);
    assert_eq!(signed(fresh, &key).send(&gateway).await.refusal(), used);
    let variant = SigningVariant(Signing::Rpc1, ParamLocation::PostQuery);
    let of_dev = Call::new(&gateway, variant, "Encrypt", &params).with_nonce(nonce).signed();
    assert_eq!(of_dev.send(&gateway).await.status, 200);
    // A request whose signature is wrong uses up nothing.
    let unused = unsigned(&gateway, &key, ParamLocation::PostQuery, "Encrypt", &params);
    let mut forged = unused.clone();
    forged.add("Signature", "AAAA");
    assert_eq!(forged.send(&gateway).await.refusal(), refusal(400, "SignatureDoesNotMatch"));
    assert_eq!(signed(unused, &key).send(&gateway).await.status, 200);

    let address = gateway.address().to_owned();
    let next = Gateway::start_at(gateway.kill(), &address, &[]);
    assert_eq!(call.send(&next).await.refusal(), used);
}

#[tokio::test]
async fn a_call_of_a_client_key_is_recorded_counted_and_noted_as_its_last_use() {
    let gateway = Gateway::start();
    let key = InstanceClient::with_any_key(&gateway).await.client_key;
    let (unused, forged) = (listed(&gateway), "AAAA");
    assert!(unused.iter().all(|key| key["last_used"].is_null()));
    let params = [("KeyId", "alias/demo"), ("Plaintext", PLAINTEXT)];
    let answered = call(&gateway, &key, "Encrypt", &params).await;
    let refused = send(&gateway, &key, "DescribeKey", &[("KeyId", "alias/demo")]).await;
    let mut wrong = unsigned(&gateway, &key, ParamLocation::PostQuery, "Decrypt", &[]);
    wrong.add("Signature", forged);
    let wrong = wrong.send(&gateway).await;

    let records = records(&gateway.state().join("audit.jsonl"));
    let record = |id: &Value| {
        let is_it = |record: &&Value| record["record"] == "event" && record["requestId"] == *id;
        records.iter().find(is_it).unwrap_or_else(|| panic!("{id} is not recorded"))
    };
    for (answer, code) in [(&answered, None), (&refused.json(), Some("Forbidden.NoPermission"))] {
        let record = record(&answer["RequestId"]);
        let identity = &record["userIdentity"];
        assert_eq!(identity["type"], "client-key", "{record}");
        assert_eq!(identity["userName"], "any", "{record}");
        assert_eq!(identity["accessKeyId"], *key.id, "{record}");
        assert_eq!(record["errorCode"].as_str(), code, "{record}");
        assert_eq!(record["requestParameters"]["KeyId"], "alias/demo");
    }
    assert_eq!(record(&answered["RequestId"])["resourceName"], *gateway.dev.key_id);
    let record = record(&wrong.json()["RequestId"]);
    assert_eq!(record["userIdentity"]["type"], "unknown", "{record}");
    assert_eq!(record["userIdentity"]["accessKeyId"], *key.id, "{record}");
    assert_eq!(record["errorCode"], "SignatureDoesNotMatch", "{record}");

    let gateway = gateway.restart();
    let used = listed(&gateway);
    assert!(
        used.iter().any(|used| used["client_key_id"] == *key.id && used["last_used"].is_string())
    );
}

#[tokio::test]
async fn the_limits_of_calls_and_of_failures_hold_for_client_keys_at_the_public_api() {
    let gateway = Gateway::start_with(&[
        "--calls-per-second",
        "5",
        "--authentication-failures-per-second",
        "10",
    ]);
    let key = InstanceClient::with_any_key(&gateway).await.client_key;
    let params = [("KeyId", "alias/demo"), ("Plaintext", PLAINTEXT)];
    let mut answers = BTreeMap::<u16, usize>::new();
    for _call in 0..40 {
        let answer = send(&gateway, &key, "Encrypt", &params).await;
        *answers.entry(answer.status).or_default() += 1;
    }
    assert!(answers.contains_key(&429) && answers.contains_key(&200), "{answers:?}");
    assert_eq!(answers.len(), 2, "{answers:?}");

    let forged = || {
        let mut call = unsigned(&gateway, &key, ParamLocation::PostQuery, "GetPublicKey", &[]);
        call.add("Signature", "AAAA");
        call.bytes()
    };
    let mut guesses = BTreeMap::<u16, usize>::new();
    let mut elsewhere = Connection::open_from("127.0.0.7", gateway.address()).await;
    for _guess in 0..60 {
        elsewhere.send(&forged()).await;
        *guesses.entry(elsewhere.answer().await.unwrap().status).or_default() += 1;
    }
    assert!(guesses[&429] > 20 && guesses[&400] >= 10 && guesses.len() == 2, "{guesses:?}");
    // It was proven from here, so it is heard although this source fails.
    let answer = send(&gateway, &key, "GetPublicKey", &[]).await;
    assert_eq!(answer.refusal(), refusal(400, "MissingParameter"));
}
