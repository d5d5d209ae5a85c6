//! Log lines of requests: what they contain, and what they must not contain.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::gateway::{Gateway, text};
use crate::support::process::eventually;
use crate::support::signed_calls::{Call, ParamLocation, Signing, SigningVariant};

const RPC1: SigningVariant = SigningVariant(Signing::Rpc1, ParamLocation::PostQuery);
const ACS3: SigningVariant = SigningVariant(Signing::Acs3, ParamLocation::PostQuery);

/// The only line about a request: the access log writes one when it is answered, and no other line of a
/// served request holds its id. Lines are written some milliseconds after their answers.
async fn line_of(gateway: &Gateway, request_id: &str) -> String {
    let lines = eventually(async || {
        let log = gateway.log();
        let is_about = |line: &&str| line.contains(request_id);
        let about: Vec<String> = log.lines().filter(is_about).map(str::to_owned).collect();
        if about.is_empty() { Err(format!("no {request_id} in:\n{log}")) } else { Ok(about) }
    });
    let [line] = <[String; 1]>::try_from(lines.await).expect("one line about a request");
    line
}

/// The log with the lines of all calls so far.
async fn whole_log(gateway: &Gateway) -> String {
    let last = gateway.call("DescribeRegions", &[]).await;
    line_of(gateway, text(&last["RequestId"])).await;
    gateway.log()
}

fn expect_all(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "no {part} in {line}");
    }
}

#[tokio::test]
async fn a_request_is_one_line_with_caller_action_and_key() {
    let gateway = Gateway::start();
    let dev = &gateway.dev;
    let params = [("KeyId", dev.alias.as_str()), ("Plaintext", "SGVsbG8=")];
    let answer = gateway.call("Encrypt", &params).await;
    let line = line_of(&gateway, text(&answer["RequestId"])).await;
    expect_all(
        &line,
        &[
            "INFO hsmgate::request: ",
            "action=\"Encrypt\"",
            "source=127.0.0.1",
            "user=\"dev\"",
            &format!("access_key_id=\"{}\"", dev.access_key_id),
            &format!("key_id={}", dev.key_id),
            &format!("key_version_id={}", text(&answer["KeyVersionId"])),
            "outcome=\"ok\"",
            "token_us=",
            "total_us=",
        ],
    );
    let token_us = |line: &str| -> u64 {
        let (_before, rest) = line.split_once("token_us=").unwrap();
        rest.split(' ').next().unwrap().parse().unwrap()
    };
    assert!(token_us(&line) > 0, "{line}");
    let answer = gateway.call("DescribeKey", &params[..1]).await;
    let line = line_of(&gateway, text(&answer["RequestId"])).await;
    assert_eq!(token_us(&line), 0, "{line}");
}

#[tokio::test]
async fn every_refusal_is_one_line_with_its_code() {
    let gateway = Gateway::start();
    let unknown = Call::new(&gateway, ACS3, "DescribeKey", &[("KeyId", "alias/nothing")]);
    let nobody = Call::new(&gateway, ACS3, "Encrypt", &[]).by("LTAInobody", "secret");
    let not_served = Call::new(&gateway, ACS3, "GetChallenge", &[]);
    let mut garbage = Call::new(&gateway, ACS3, "Encrypt", &[]);
    garbage.query = "KeyId=%zz".to_owned();
    for (call, action, code) in [
        (unknown, "DescribeKey", "Forbidden.AliasNotFound"),
        (nobody, "Encrypt", "InvalidAccessKeyId.NotFound"),
        (not_served, "GetChallenge", "UnsupportedOperation"),
        (garbage, "-", "ParseRequestParameterException"),
    ] {
        let answer = call.signed_or_as_it_is().send(&gateway).await;
        let line = line_of(&gateway, answer.header("x-acs-request-id")).await;
        let (action, code) = (format!("action=\"{action}\""), format!("outcome=\"{code}\""));
        expect_all(&line, &["INFO hsmgate::request: ", &action, &code, "source=127.0.0.1"]);
    }
}

#[tokio::test]
async fn no_action_or_name_of_an_unauthenticated_client_gets_into_the_log() {
    let gateway = Gateway::start();
    let forged = "Encrypt\n2030-01-01T00:00:00Z INFO hsmgate::request: forged";
    let mut call = Call::new(&gateway, RPC1, "Encrypt", &[]);
    call.set("Action", forged);
    let call = call.by("forged\nforged", "secret").signed();
    assert_eq!(call.send(&gateway).await.status, 404);
    assert!(!whole_log(&gateway).await.contains("forged"));
}

/// Markers in everything that is secret, through every scheme, in calls that succeed and fail.
#[tokio::test]
async fn no_plaintext_context_secret_or_signature_gets_into_the_log() {
    for filter in ["info", "trace"] {
        let gateway = Gateway::start_with_log(filter);
        // The words of `dev` at its start tell the AccessKey, on purpose.
        let start = gateway.log();
        let marker = STANDARD.encode("PLAINTEXT-marker-PLAINTEXT");
        let context = r#"{"purpose":"CONTEXT-marker"}"#;
        let params =
            [("KeyId", "alias/demo"), ("Plaintext", &*marker), ("EncryptionContext", context)];
        let mut hidden = vec![
            marker.clone(),
            "PLAINTEXT-marker".to_owned(),
            "CONTEXT-marker".to_owned(),
            "SECRET-marker".to_owned(),
            gateway.dev.access_key_secret.clone(),
        ];
        for name in ["pin", "so-pin"] {
            let pin = std::fs::read_to_string(gateway.state().join(name)).unwrap();
            assert!(!start.contains(pin.trim()), "{name} at {filter}");
            hidden.push(pin.trim().to_owned());
        }
        for variant in SigningVariant::all() {
            let good = Call::new(&gateway, variant, "Encrypt", &params).signed();
            assert_eq!(good.send(&gateway).await.status, 200);
            let forged = Call::new(&gateway, variant, "Encrypt", &params)
                .by(&gateway.dev.access_key_id, "SECRET-marker")
                .signed();
            assert_eq!(forged.send(&gateway).await.status, 400);
            hidden.extend([good.signature(), forged.signature()]);
        }
        let encrypted = gateway.call("Encrypt", &params).await;
        let blob = ("CiphertextBlob", text(&encrypted["CiphertextBlob"]));
        gateway.call("Decrypt", &[blob, params[2]]).await;
        gateway.refused("Decrypt", &[blob]).await;
        let data_key = gateway.call("GenerateDataKey", &params[..1]).await;
        hidden.push(text(&data_key["Plaintext"]).to_owned());

        let log = whole_log(&gateway).await;
        assert_eq!(log.contains(" DEBUG "), filter == "trace", "{filter}");
        let written = log.strip_prefix(&start).unwrap();
        assert!(written.lines().count() > 18, "{written}");
        for secret in &hidden {
            assert!(secret.len() > 8, "{secret:?} would be found by chance");
            let found = written.lines().find(|line| line.contains(secret.as_str()));
            assert_eq!(found, None, "{secret} in the log at {filter}");
        }
    }
}

#[test]
fn a_start_logs_no_warning_about_missing_features_of_the_token() {
    let gateway = Gateway::start();
    let log = gateway.log();
    for level in [" ERROR ", " WARN "] {
        assert!(!log.contains(level), "{log}");
    }
}
