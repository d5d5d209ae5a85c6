//! A token that lists a mechanism and refuses a kind of key: the caller is told so, once and for
//! all, and the log names the cause.

use std::process::Command;

use fault_token::{Fault, Rule, When};
use serde_json::Value;

use crate::setup::{ENCRYPT, Setup, count};
use crate::support::process::until;

const PAIR: [&str; 1] = ["C_GenerateKeyPair"];
const UNSUPPORTED: (u16, &str) = (400, "UnsupportedOperation");

async fn create(setup: &Setup, spec: &str) -> (u16, String) {
    let usage = if spec.starts_with("EC") { "SIGN/VERIFY" } else { "ENCRYPT/DECRYPT" };
    let reply = setup.reply("CreateKey", &[("KeySpec", spec), ("KeyUsage", usage)]).await;
    (reply.status, reply.code)
}

fn is_unsupported((status, code): &(u16, String)) -> bool {
    (*status, &**code) == UNSUPPORTED
}

#[tokio::test]
async fn what_the_token_refuses_is_unsupported_and_not_asked_for_again() {
    for (functions, code, spec) in [
        (&PAIR[..], "CKR_DOMAIN_PARAMS_INVALID", "EC_P256K"),
        (&PAIR[..], "CKR_CURVE_NOT_SUPPORTED", "EC_P256K"),
        (&PAIR[..], "CKR_MECHANISM_INVALID", "RSA_2048"),
        (&["C_GenerateKey"], "CKR_ATTRIBUTE_VALUE_INVALID", "Aliyun_AES_192"),
        (&["C_Encrypt"], "CKR_KEY_SIZE_RANGE", "Aliyun_AES_128"),
    ] {
        let mut setup = Setup::start();
        let before = setup.gateway.token_objects();
        let rule = setup.token.add(Rule::on(functions, Fault::return_code(code)));
        let refused = create(&setup, spec).await;
        assert!(is_unsupported(&refused), "{code}: {refused:?}");
        setup.token.calls();
        let again = create(&setup, spec).await;
        assert!(is_unsupported(&again), "{code}: {again:?}");
        let calls = setup.token.calls();
        assert_eq!(count(&calls, functions[0]), 0, "{code}: {calls:?}");
        setup.token.remove(rule);
        let is_logged =
            |line: &&str| line.contains("token.capability_refused") && line.contains(code);
        until(|| setup.gateway.log().lines().any(|line| is_logged(&line))).await;
        let log = setup.gateway.log();
        assert_eq!(log.lines().filter(is_logged).count(), 1, "{code}\n{log}");
        assert_eq!(setup.gateway.token_objects(), before, "{code}");
        assert_eq!(setup.reply("Encrypt", &ENCRYPT).await.status, 200);
    }
}

#[tokio::test]
async fn a_refusal_that_is_not_repeated_is_not_remembered() {
    let mut setup = Setup::start();
    let fault = Fault::return_code("CKR_DOMAIN_PARAMS_INVALID");
    setup.token.add(Rule::on(&PAIR, fault).when(When::At(1)));
    assert_eq!(create(&setup, "EC_P256").await.0, 200);
}

/// Lets the first four tries fail, the other curve succeed, and the curve itself fail as listed.
fn general_errors(setup: &mut Setup, others: &[u64]) {
    for at in (1..=4).chain(others.iter().copied()) {
        let fault = Fault::return_code("CKR_GENERAL_ERROR");
        setup.token.add(Rule::on(&PAIR, fault).when(When::At(at)));
    }
}

#[tokio::test]
async fn a_curve_that_alone_fails_without_a_clear_code_is_unsupported() {
    let mut setup = Setup::start();
    general_errors(&mut setup, &[6]);
    let refused = create(&setup, "EC_P256K").await;
    assert!(is_unsupported(&refused), "{refused:?}");
    assert!(is_unsupported(&create(&setup, "EC_P256K").await));
    assert_eq!(create(&setup, "EC_P256").await.0, 200);
}

#[tokio::test]
async fn a_token_that_generates_no_pair_for_a_time_is_unavailable_and_not_limited() {
    let mut setup = Setup::start();
    general_errors(&mut setup, &[]);
    assert_eq!(create(&setup, "EC_P256K").await.0, 503, "it works again in the second test");
    assert_eq!(create(&setup, "EC_P256K").await.0, 200);
    let rule = setup.token.add(Rule::on(&PAIR, Fault::return_code("CKR_GENERAL_ERROR")));
    assert_eq!(create(&setup, "EC_P256K").await.0, 503);
    setup.token.remove(rule);
    assert_eq!(create(&setup, "EC_P256K").await.0, 200);
}

#[tokio::test]
async fn an_algorithm_that_the_token_refuses_is_unsupported() {
    let mut setup = Setup::start();
    let usage = [("KeySpec", "RSA_2048"), ("KeyUsage", "SIGN/VERIFY")];
    let key = setup.gateway.call("CreateKey", &usage).await["KeyMetadata"]["KeyId"].clone();
    let key = key.as_str().unwrap();
    let versions = setup.gateway.call("ListKeyVersions", &[("KeyId", key)]).await;
    let version = versions["KeyVersions"]["KeyVersion"][0]["KeyVersionId"].as_str().unwrap();
    setup.token.add(Rule::on(&["C_SignInit"], Fault::return_code("CKR_MECHANISM_INVALID")));
    let digest = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    let parameters = [
        ("KeyId", key),
        ("KeyVersionId", version),
        ("Algorithm", "RSA_PSS_SHA_256"),
        ("Digest", digest),
    ];
    let refused = setup.reply("AsymmetricSign", &parameters).await;
    assert!(is_unsupported(&(refused.status, refused.code.clone())), "{refused:?}");
}

#[tokio::test]
async fn a_capability_that_the_token_does_not_have_is_a_warning_of_the_doctor() {
    let mut setup = Setup::start();
    setup.token.add(Rule::on(&PAIR, Fault::return_code("CKR_DOMAIN_PARAMS_INVALID")));
    let output = Command::new(env!("CARGO_BIN_EXE_hsmgate"))
        .args(["doctor", "--json", "--config"])
        .arg(setup.gateway.state().join("hsmgate.toml"))
        .envs(setup.token.environment())
        .env("SOFTHSM2_CONF", setup.gateway.state().join("softhsm2.conf"))
        .env("HSMGATE_ALLOW_ROOT", "1")
        .output()
        .unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = found["checks"].as_array().unwrap();
    let check = |name: &str| checks.iter().find(|check| check["name"] == name).unwrap();
    let curve = check("capability ec-p256k");
    assert_eq!(curve["verdict"], "warning", "{curve}");
    let text = curve["found"].as_str().unwrap();
    assert!(text.starts_with("listed, refused (") && text.contains("DOMAIN_PARAMS"), "{curve}");
    assert_eq!(check("capability aes-256-gcm")["verdict"], "ok");
    let failed: Vec<_> = checks.iter().filter(|check| check["verdict"] == "failed").collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(output.status.code(), Some(0));
}
