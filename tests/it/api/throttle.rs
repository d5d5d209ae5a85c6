//! Limits of calls per second.

use std::collections::BTreeMap;

use hsmgate::cli::client::{CallError, Client};

use crate::support::admin_client::metric;
use crate::support::audit_file::records;
use crate::support::calls::until_code;
use crate::support::gateway::{Gateway, text};
use crate::support::installation::{AccessKey, Installation, Server};
use crate::support::instance_client::InstanceClient;
use crate::support::process::until;
use crate::support::raw_http::Connection;
use crate::support::signed_calls::{Call, ParamLocation, Signing, SigningVariant};

const ENCRYPT: [(&str, &str); 2] = [("KeyId", "alias/demo"), ("Plaintext", "SGVsbG8=")];

/// Status, code and message of a refusal.
async fn refusal(client: &Client, action: &str, params: &[(&str, &str)]) -> (u16, String, String) {
    match client.call(action, params).await {
        Err(CallError::Refused { status, code, message, .. }) => (status, code, message),
        other => panic!("{action} was not refused: {other:?}"),
    }
}

#[tokio::test]
async fn calls_beyond_the_limit_are_throttled_and_others_are_not() {
    let gateway = Gateway::start_with(&["--calls-per-second", "3"]);
    let mut is_throttled = false;
    for _call in 0..40 {
        if gateway.client.call("Encrypt", &ENCRYPT).await.is_err() {
            let (status, code, message) = refusal(&gateway.client, "Encrypt", &ENCRYPT).await;
            assert_eq!((status, &*code), (429, "Rejected.Throttling"));
            assert!(message.contains("limits.calls_per_second allows an account 3"), "{message}");
            is_throttled = true;
            break;
        }
    }
    assert!(is_throttled, "forty calls at once passed a limit of three a second");
    gateway.call("DescribeKey", &[("KeyId", "alias/demo")]).await;
}

#[tokio::test]
async fn a_throttled_call_is_recorded_with_its_key() {
    let limits = "calls_per_second_per_principal = 1\n";
    let (installation, _server, owner, _nobody) = served(limits).await;
    let made = owner.call("CreateKey", &[]).await.unwrap();
    let key = text(&made["KeyMetadata"]["KeyId"]);
    let encrypted =
        owner.call("Encrypt", &[("KeyId", key), ("Plaintext", "SGVsbG8=")]).await.unwrap();
    let blob = [("CiphertextBlob", text(&encrypted["CiphertextBlob"]))];
    while owner.call("Decrypt", &blob).await.is_ok() {}
    let mut records = records(&installation.audit_file()).into_iter();
    let is_it = |record: &serde_json::Value| {
        record["errorCode"] == "Rejected.Throttling" && record["eventName"] == "Decrypt"
    };
    let record = records.find(is_it).unwrap();
    assert_eq!(record["resourceName"], *key, "{record}");
    assert_eq!(record["additionalEventData"]["KeyVersionId"], encrypted["KeyVersionId"]);
}

/// A gateway with these limits, its first user, and a user without rights once it is known.
async fn served(limits: &str) -> (Installation, Server, Client, Client) {
    let (installation, admin) = Installation::prepared();
    installation.configure(|text| {
        text.push_str("[limits]\nauthentication_failures_per_second = 0\n");
        text.push_str(limits);
    });
    let server = installation.serve();
    let create = ["access-key", "create", "--json", "--user", "nobody"];
    let nobody = AccessKey::of(&installation.configured(&create).json());
    let (owner, nobody) = (server.client(&admin), server.client(&nobody));
    until_code(&nobody, "ListKeys", &[], "Forbidden.NoPermission").await;
    (installation, server, owner, nobody)
}

#[tokio::test]
async fn refused_calls_do_not_count_against_the_account() {
    let (_installation, server, owner, nobody) = served("calls_per_second = 5\n").await;
    assert!(!server.has_logged("calls are not limited"));
    let made = owner.call("CreateKey", &[]).await.unwrap();
    let key = text(&made["KeyMetadata"]["KeyId"]);
    let encrypt = [("KeyId", key), ("Plaintext", "SGVsbG8=")];
    for _call in 0..40 {
        let (status, code, _message) = refusal(&nobody, "Encrypt", &encrypt).await;
        assert_eq!((status, &*code), (403, "Forbidden.NoPermission"));
    }
    for _call in 0..5 {
        owner.call("Encrypt", &encrypt).await.unwrap();
    }
    // The two authorizations of one call count once.
    let encrypted = owner.call("GenerateDataKey", &[("KeyId", key)]).await.unwrap();
    let blob = text(&encrypted["CiphertextBlob"]).to_owned();
    for _call in 0..5 {
        let again = [("CiphertextBlob", &*blob), ("DestinationKeyId", key)];
        owner.call("ReEncrypt", &again).await.unwrap();
    }
}

#[tokio::test]
async fn refused_calls_count_against_the_limit_of_the_principal() {
    let limits = "calls_per_second_per_principal = 5\n";
    let (_installation, _server, owner, nobody) = served(limits).await;
    let made = owner.call("CreateKey", &[]).await.unwrap();
    let key = text(&made["KeyMetadata"]["KeyId"]);
    let encrypt = [("KeyId", key), ("Plaintext", "SGVsbG8=")];
    let mut is_throttled = false;
    for _call in 0..60 {
        let (status, _code, message) = refusal(&nobody, "Encrypt", &encrypt).await;
        if status == 429 {
            let setting = "limits.calls_per_second_per_principal allows a principal 5";
            assert!(message.contains(setting), "{message}");
            is_throttled = true;
            break;
        }
    }
    assert!(is_throttled, "sixty calls at once passed a limit of five a second");
    owner.call("Encrypt", &encrypt).await.unwrap();
}

#[tokio::test]
async fn a_dedicated_gateway_has_no_limit_of_calls_and_says_so() {
    let (installation, _admin) = Installation::prepared();
    let server = installation.serve();
    until(|| server.has_logged("calls are not limited")).await;
}

/// A request of the public API with a wrong signature.
fn wrongly_signed_by_rpc(gateway: &Gateway) -> Vec<u8> {
    let variant = SigningVariant(Signing::Acs3, ParamLocation::PostQuery);
    let call = Call::new(gateway, variant, "DescribeKey", &[("KeyId", "alias/demo")]);
    call.by("LTAIunknown", "a guess").signed().bytes()
}

/// A request of the instance protocol with a wrong signature.
fn wrongly_signed_by_instance(instance_client: &InstanceClient) -> Vec<u8> {
    let (head, _body) = instance_client.request("Encrypt", Vec::new(), &[]).into_parts();
    let mut text = "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n".to_owned();
    for (name, value) in &head.headers {
        let value = if name == "authorization" { "Bearer QUJD" } else { value.to_str().unwrap() };
        text.extend([name.as_str(), ": ", value, "\r\n"]);
    }
    (text + "\r\n").into_bytes()
}

#[tokio::test]
async fn three_hundred_wrong_signatures_of_a_source_are_throttled_and_counted_at_each_protocol() {
    // So few that even a busy machine sends more.
    let limit = ["--authentication-failures-per-second", "1"];
    let gateway = Gateway::start_with(&limit);
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    let rpc: &dyn Fn() -> Vec<u8> = &|| wrongly_signed_by_rpc(&gateway);
    let instance: &dyn Fn() -> Vec<u8> = &|| wrongly_signed_by_instance(&instance_client);
    let throttled = "hsmgate_throttled_total{limit=\"authentication\"}";
    for (source, bad, refused, code, other) in [
        ("127.0.0.31", rpc, 404, "InvalidAccessKeyId.NotFound", instance),
        ("127.0.0.32", instance, 401, "SignatureNotMatch", rpc),
    ] {
        let counted = format!("hsmgate_authentication_failures_total{{code=\"{code}\"}}");
        let before = metric(&gateway, throttled).await.unwrap_or_default();
        let mut connection = Connection::open_from(source, gateway.address()).await;
        let mut answers = BTreeMap::<u16, u16>::new();
        for _request in 0..300 {
            connection.send(&bad()).await;
            let answer = connection.answer().await.unwrap();
            let expected = if answer.status == 429 { "Rejected.Throttling" } else { code };
            assert!(answer.body.contains(expected), "{answer:?}");
            *answers.entry(answer.status).or_default() += 1;
        }
        assert!(answers.len() == 2 && answers[&429] >= 200, "{source}: {answers:?}");
        let now = metric(&gateway, throttled).await.unwrap();
        assert!(now >= before + f64::from(answers[&429]), "{source}: {before} to {now}");
        let failures = metric(&gateway, &counted).await.unwrap();
        assert!(failures >= f64::from(answers[&refused]), "{source}: {failures}, {answers:?}");
        // The source is throttled at the other protocol too, or the test is slower than the limit.
        let mut others = Vec::new();
        while others.last() != Some(&429) && others.len() < 60 {
            connection.send(&other()).await;
            others.push(connection.answer().await.unwrap().status);
        }
        assert!(others.last() == Some(&429), "{source}: {others:?}");
    }
    gateway.call("DescribeKey", &[("KeyId", "alias/demo")]).await;
}
