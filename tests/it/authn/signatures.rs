//! Authentication by three signature schemes, each with GET and POST, with parameters in the query
//! and in the body.

use hsmgate::api::rpc::canonical::sha256_hex;
use hsmgate::model::clock;

use crate::support::gateway::{Gateway, refusal as refused};
use crate::support::signed_calls::{Call, ParamLocation, Signing, SigningVariant};

const PLAINTEXT: &str = "SGVsbG8gd29ybGQ=";
const ENCRYPT: &[(&str, &str)] = &[
    ("KeyId", "alias/demo"),
    ("Plaintext", PLAINTEXT),
    ("EncryptionContext", r#"{"purpose":"测试","owner":"a*b~c+d e"}"#),
];

/// What somebody does to a request on its way.
type Change = fn(&mut Call);

fn encrypt(gateway: &Gateway, variant: SigningVariant) -> Call {
    Call::new(gateway, variant, "Encrypt", ENCRYPT)
}

async fn refusal(gateway: &Gateway, call: &Call) -> (u16, String) {
    call.send(gateway).await.refusal()
}

fn minutes_from_now(minutes: i64) -> String {
    clock::now().plus_seconds(60 * minutes).to_string()
}

#[tokio::test]
async fn every_scheme_is_accepted_by_get_and_by_post_in_query_and_in_form() {
    let gateway = Gateway::start();
    for variant in SigningVariant::all() {
        let answer = encrypt(&gateway, variant).signed().send(&gateway).await;
        assert_eq!(answer.status, 200, "{variant:?} {}", answer.body);
        let body = answer.json();
        assert_eq!(body["RequestId"], answer.header("x-acs-request-id"));
        assert_eq!(body["KeyId"], gateway.dev.key_id.as_str());
        let blob = [("CiphertextBlob", body["CiphertextBlob"].as_str().unwrap()), ENCRYPT[2]];
        let decrypted =
            Call::new(&gateway, variant, "Decrypt", &blob).signed().send(&gateway).await;
        assert_eq!(decrypted.json()["Plaintext"], PLAINTEXT, "{variant:?} {}", decrypted.body);
    }
}

#[tokio::test]
async fn a_wrong_secret_is_refused_with_the_string_to_sign_of_the_server() {
    let gateway = Gateway::start();
    for variant in SigningVariant::all() {
        let call = encrypt(&gateway, variant).by(&gateway.dev.access_key_id, "not the secret");
        let answer = call.clone().signed().send(&gateway).await;
        assert_eq!(answer.refusal(), refused(400, "SignatureDoesNotMatch"), "{variant:?}");
        let message = answer.message();
        let start = "Specified signature is not matched with our calculation. \
                     server string to sign is:";
        // The old Python SDK takes all after the first colon and compares it with its own.
        let text = message.strip_prefix(start).unwrap_or_else(|| panic!("{message}"));
        if variant.is_rpc1() {
            assert_eq!(text, call.string_to_sign(), "{variant:?}");
        }
    }
}

#[tokio::test]
async fn an_unknown_caller_is_refused() {
    let gateway = Gateway::start();
    for variant in SigningVariant::all() {
        let call = encrypt(&gateway, variant).by("LTAInobody", "secret").signed();
        let expected = refused(404, "InvalidAccessKeyId.NotFound");
        assert_eq!(refusal(&gateway, &call).await, expected, "{variant:?}");
        let call = encrypt(&gateway, variant).by("", "secret").signed();
        let expected = refused(400, "MissingAccessKeyId");
        assert_eq!(refusal(&gateway, &call).await, expected, "{variant:?}");
    }
}

#[tokio::test]
async fn the_time_of_signing_must_be_within_a_quarter_of_an_hour() {
    let gateway = Gateway::start();
    for variant in SigningVariant::all() {
        for minutes in [-14, 14] {
            let call = encrypt(&gateway, variant).at(&minutes_from_now(minutes)).signed();
            assert_eq!(call.send(&gateway).await.status, 200, "{variant:?} {minutes}");
        }
        for minutes in [-16, 16, -60 * 24 * 365] {
            let call = encrypt(&gateway, variant).at(&minutes_from_now(minutes)).signed();
            let expected = refused(400, "InvalidTimeStamp.Expired");
            assert_eq!(refusal(&gateway, &call).await, expected, "{variant:?} {minutes}");
        }
        for date in ["yesterday", "2024-03-01 08:30:00", "2024-13-01T08:30:00Z", "1709281800"] {
            let call = encrypt(&gateway, variant).at(date).signed();
            let expected = refused(400, "InvalidTimeStamp.Format");
            assert_eq!(refusal(&gateway, &call).await, expected, "{variant:?} {date}");
        }
    }
}

#[tokio::test]
async fn a_missing_part_of_a_signature_is_named() {
    let gateway = Gateway::start();
    for variant in SigningVariant::all() {
        let call = encrypt(&gateway, variant).at("").signed();
        let expected = refused(400, "MissingTimestamp");
        assert_eq!(refusal(&gateway, &call).await, expected, "{variant:?}");
        let call = encrypt(&gateway, variant).with_nonce("").signed();
        let expected = refused(400, "MissingSignatureNonce");
        assert_eq!(refusal(&gateway, &call).await, expected, "{variant:?}");
        let mut call = encrypt(&gateway, variant).signed();
        if variant.is_rpc1() {
            call.remove("Signature");
        } else {
            call.edit_signature(|text| text.rsplit_once(',').unwrap().0.to_owned());
        }
        let expected = refused(400, "MissingSignature");
        assert_eq!(refusal(&gateway, &call).await, expected, "{variant:?}");
    }
}

#[tokio::test]
async fn a_signature_of_no_known_form_is_incomplete() {
    let gateway = Gateway::start();
    let incomplete = refused(400, "IncompleteSignature");
    let mut nobody = encrypt(&gateway, SigningVariant(Signing::Rpc1, ParamLocation::PostQuery));
    nobody.remove("AccessKeyId");
    assert_eq!(refusal(&gateway, &nobody).await, incomplete, "nothing is signed");
    for variant in SigningVariant::all() {
        let edits: &[fn(&str) -> String] = if variant.is_rpc1() {
            &[|_signature| "Signature=%21%21".to_owned()]
        } else {
            &[
                |text| text.replace("Signature=", "Signature=xyz"),
                |text| text.replace("SignedHeaders=", "Signed="),
                |text| text.replace("Credential=", "Credential=a,Credential="),
                |text| text.split_once(' ').unwrap().0.to_owned(),
            ]
        };
        for edit in edits {
            let mut call = encrypt(&gateway, variant).signed();
            call.edit_signature(edit);
            assert_eq!(refusal(&gateway, &call).await, incomplete, "{variant:?} {call:?}");
        }
    }
}

#[tokio::test]
async fn an_unknown_algorithm_is_refused() {
    let gateway = Gateway::start();
    let expected = refused(400, "InvalidSignatureMethod");
    for variant in SigningVariant::all() {
        if variant.is_rpc1() {
            for (name, value) in [
                ("SignatureMethod", "HMAC-SHA256"),
                ("SignatureVersion", "2.0"),
                ("SignatureType", "BEARERTOKEN"),
            ] {
                let mut call = encrypt(&gateway, variant);
                call.set(name, value);
                assert_eq!(refusal(&gateway, &call.signed()).await, expected, "{variant:?} {name}");
            }
            continue;
        }
        let mut call = encrypt(&gateway, variant).signed();
        call.edit_signature(|text| text.replace("-HMAC-SHA256", "-RSA-SHA256"));
        assert_eq!(refusal(&gateway, &call).await, expected, "{variant:?}");
    }
}

#[tokio::test]
async fn a_request_is_good_once_across_a_restart_and_a_kill() {
    let mut gateway = Gateway::start();
    let calls: Vec<Call> =
        SigningVariant::all().map(|variant| encrypt(&gateway, variant).signed()).collect();
    for call in &calls {
        assert_eq!(call.send(&gateway).await.status, 200, "{call:?}");
    }
    for restart in
        [None, Some(Gateway::restart as fn(Gateway) -> Gateway), Some(Gateway::kill_and_restart)]
    {
        if let Some(restart) = restart {
            gateway = restart(gateway);
        }
        for call in &calls {
            let expected = refused(400, "SignatureNonceUsed");
            assert_eq!(refusal(&gateway, call).await, expected, "{call:?}");
        }
    }
}

#[tokio::test]
async fn a_refused_signature_does_not_use_up_its_nonce() {
    let gateway = Gateway::start();
    for variant in SigningVariant::all() {
        let call = encrypt(&gateway, variant).with_nonce(&format!("nonce-{variant:?}"));
        let forged = call.clone().by(&gateway.dev.access_key_id, "not the secret").signed();
        assert_eq!(refusal(&gateway, &forged).await, refused(400, "SignatureDoesNotMatch"));
        assert_eq!(call.signed().send(&gateway).await.status, 200, "{variant:?}");
    }
}

#[tokio::test]
async fn parameters_changed_dropped_or_added_behind_the_signer_are_refused() {
    let gateway = Gateway::start();
    let changes: [(&str, Change); 3] = [
        ("changed", |call| call.set("Plaintext", "b3RoZXI=")),
        ("dropped", |call| call.remove("EncryptionContext")),
        ("added", |call| call.add("DryRun", "true")),
    ];
    for variant in SigningVariant::all() {
        for (name, change) in &changes {
            let mut call = encrypt(&gateway, variant).signed();
            change(&mut call);
            let expected = refused(400, "SignatureDoesNotMatch");
            assert_eq!(refusal(&gateway, &call).await, expected, "{variant:?} {name}");
        }
        let mut call = encrypt(&gateway, variant).signed();
        call.add("KeyId", "alias/demo");
        let answer = call.send(&gateway).await;
        assert_eq!(answer.refusal(), refused(400, "InvalidParameter"), "{variant:?} doubled");
        assert!(answer.message().contains("KeyId"), "{}", answer.message());
    }
}

#[tokio::test]
async fn parameters_in_another_order_or_spelling_are_the_same_request() {
    let gateway = Gateway::start();
    for variant in SigningVariant::all() {
        let mut call = encrypt(&gateway, variant).signed();
        if variant.1 == ParamLocation::PostForm && !variant.is_rpc1() {
            continue; // The digest covers the body byte by byte.
        }
        let text = call.params_text();
        let mut pairs: Vec<&str> = text.split('&').collect();
        pairs.reverse();
        *text = pairs.join("&").replace("%20", "+").replace("%2A", "*").replace("%2F", "/");
        assert_eq!(call.send(&gateway).await.status, 200, "{variant:?} {call:?}");
    }
}

#[tokio::test]
async fn a_call_moved_to_another_method_or_place_is_refused() {
    let gateway = Gateway::start();
    let expected = refused(400, "SignatureDoesNotMatch");
    for variant in SigningVariant::all().filter(|variant| variant.1 != ParamLocation::PostForm) {
        let mut call = encrypt(&gateway, variant).signed();
        let is_get = call.method == http::Method::GET;
        call.method = if is_get { http::Method::POST } else { http::Method::GET };
        assert_eq!(refusal(&gateway, &call).await, expected, "{variant:?}");
    }
    for scheme in [Signing::Acs3, Signing::Acs4] {
        let mut call = encrypt(&gateway, SigningVariant(scheme, ParamLocation::PostForm)).signed();
        call.query = std::mem::take(&mut call.body);
        assert_eq!(refusal(&gateway, &call).await, expected, "{scheme:?}");
    }
    // RPC 1.0 signs the union of query and form, so a moved parameter is the same call: good once.
    let mut call =
        encrypt(&gateway, SigningVariant(Signing::Rpc1, ParamLocation::PostForm)).signed();
    assert_eq!(call.send(&gateway).await.status, 200);
    call.query = std::mem::take(&mut call.body);
    assert_eq!(refusal(&gateway, &call).await, refused(400, "SignatureNonceUsed"));
}

#[tokio::test]
async fn a_changed_body_is_refused_with_its_old_digest_and_with_a_new_one() {
    let gateway = Gateway::start();
    let expected = refused(400, "SignatureDoesNotMatch");
    for scheme in [Signing::Acs3, Signing::Acs4] {
        let mut call = encrypt(&gateway, SigningVariant(scheme, ParamLocation::PostForm)).signed();
        call.body.push_str("&DryRun=true");
        let answer = call.send(&gateway).await;
        assert_eq!(answer.refusal(), expected, "{scheme:?}");
        assert!(answer.message().contains(':'), "SDKs split the message at its colon");
        call.set_header("x-acs-content-sha256", &sha256_hex(call.body.as_bytes()));
        assert_eq!(refusal(&gateway, &call).await, expected, "{scheme:?}");
    }
}

#[tokio::test]
async fn only_what_is_signed_counts_among_the_headers() {
    let gateway = Gateway::start();
    for variant in SigningVariant::all() {
        let mut call = encrypt(&gateway, variant).signed();
        call.set_header("x-acs-extra", "unsigned");
        call.set_header("user-agent", "a proxy's");
        assert_eq!(call.send(&gateway).await.status, 200, "{variant:?}");
    }
    for variant in SigningVariant::all().filter(|variant| !variant.is_rpc1()) {
        let mut call = encrypt(&gateway, variant);
        call.set_header("user-agent", "signed");
        let mut call = call.signed();
        call.set_header("user-agent", "changed");
        let expected = refused(400, "SignatureDoesNotMatch");
        assert_eq!(refusal(&gateway, &call).await, expected, "{variant:?}");
        for header in ["x-acs-action", "x-acs-version", "x-acs-date", "x-acs-signature-nonce"] {
            let mut call = encrypt(&gateway, variant).signed();
            call.edit_signature(|text| {
                text.replacen(&format!("{header};"), "", 1).replacen(&format!(";{header}"), "", 1)
            });
            let answer = call.send(&gateway).await;
            assert_eq!(
                answer.refusal(),
                refused(400, "IncompleteSignature"),
                "{variant:?} {header}"
            );
            assert!(answer.message().contains(header), "{}", answer.message());
        }
    }
}

#[tokio::test]
async fn a_security_token_with_a_permanent_key_is_refused() {
    let gateway = Gateway::start();
    for variant in SigningVariant::all() {
        let call = encrypt(&gateway, variant).with_security_token("CAIS+token/with=chars").signed();
        let expected = refused(400, "InvalidSecurityToken.MismatchWithAccessKey");
        assert_eq!(refusal(&gateway, &call).await, expected, "{variant:?}");
    }
}

/// As the Java SDKs send it: the core SDK with ACS3, the asynchronous one with ACS3 and ACS4.
#[tokio::test]
async fn a_host_that_is_not_signed_is_accepted() {
    let gateway = Gateway::start();
    for variant in SigningVariant::all().filter(|variant| !variant.is_rpc1()) {
        let mut call = encrypt(&gateway, variant);
        call.remove_header("host");
        let mut call = call.signed();
        call.set_header("host", gateway.address());
        assert_eq!(call.send(&gateway).await.status, 200, "{variant:?}");
    }
}

#[tokio::test]
async fn a_host_that_is_a_url_is_signed_unchanged() {
    let gateway = Gateway::start();
    for variant in SigningVariant::all() {
        let mut call = encrypt(&gateway, variant);
        let url = gateway.dev.endpoint.clone();
        call.set_header("host", &url);
        assert_eq!(call.signed().send(&gateway).await.status, 200, "{variant:?}");
    }
}
