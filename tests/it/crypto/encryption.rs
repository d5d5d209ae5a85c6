//! Encrypt, Decrypt, ReEncrypt and data keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hsmgate::cli::client::CallError;
use hsmgate::model::CiphertextBlob;
use serde_json::Value;

use crate::support::gateway::{Gateway, text};

const PLAINTEXT: &str = "SGVsbG8gd29ybGQ=";
const CONTEXT: &str = r#"{"purpose":"测试","owner":"a*b~c+d"}"#;

#[tokio::test]
async fn a_key_is_named_by_id_by_alias_and_by_the_arn_of_either() {
    let gateway = Gateway::start();
    let dev = &gateway.dev;
    let arn = |resource: &str| format!("acs:kms:{}:{}:{resource}", dev.region, dev.account);
    let names = [
        dev.key_id.clone(),
        dev.alias.clone(),
        arn(&format!("key/{}", dev.key_id)),
        arn(&dev.alias),
    ];
    for name in &names {
        let encrypted = gateway.call("Encrypt", &[("KeyId", name), ("Plaintext", PLAINTEXT)]).await;
        assert_eq!(text(&encrypted["KeyId"]), dev.key_id, "the plain id is answered for {name}");
        let decrypted = decrypt(&gateway, text(&encrypted["CiphertextBlob"]), None).await;
        assert_eq!(text(&decrypted["Plaintext"]), PLAINTEXT);
        assert_eq!(decrypted["KeyVersionId"], encrypted["KeyVersionId"]);
    }
}

#[tokio::test]
async fn an_arn_of_another_account_or_region_is_an_unknown_key() {
    let gateway = Gateway::start();
    let dev = &gateway.dev;
    for place in
        [format!("{}:9999999999999999", dev.region), format!("eu-central-1:{}", dev.account)]
    {
        let arn = format!("acs:kms:{place}:key/{}", dev.key_id);
        let refused =
            gateway.refused("Encrypt", &[("KeyId", &arn), ("Plaintext", PLAINTEXT)]).await;
        assert_eq!(refused, (404, "Forbidden.KeyNotFound".to_owned()));
    }
}

#[tokio::test]
async fn the_blob_has_the_layout_of_the_real_service() {
    let gateway = Gateway::start();
    let encrypted = encrypt(&gateway, None).await;
    let blob = STANDARD.decode(text(&encrypted["CiphertextBlob"])).unwrap();
    assert_eq!(blob.len(), 36 + 12 + PLAINTEXT.len() + 16);
    assert_eq!(&blob[..36], text(&encrypted["KeyVersionId"]).as_bytes());
}

#[tokio::test]
async fn the_context_must_be_given_again_pair_for_pair() {
    let gateway = Gateway::start();
    let encrypted = encrypt(&gateway, Some(CONTEXT)).await;
    let blob = text(&encrypted["CiphertextBlob"]);
    let same = r#"{ "owner" : "a*b~c+d", "purpose": "\u6d4b\u8bd5" }"#;
    assert_eq!(text(&decrypt(&gateway, blob, Some(same)).await["Plaintext"]), PLAINTEXT);
    for other in [
        None,
        Some("{}"),
        Some(r#"{"owner":"a*b~c+d"}"#),
        Some(r#"{"owner":"x","purpose":"测试"}"#),
    ] {
        let mut params = vec![("CiphertextBlob", blob)];
        params.extend(other.map(|context| ("EncryptionContext", context)));
        let refused = gateway.refused("Decrypt", &params).await;
        assert_eq!(refused, (400, "InvalidParameter".to_owned()), "{other:?}");
    }
}

#[tokio::test]
async fn a_context_may_be_sent_flattened() {
    let gateway = Gateway::start();
    let encrypted = encrypt(&gateway, Some(r#"{"a":"1","b":"2"}"#)).await;
    let flattened = [
        ("CiphertextBlob", text(&encrypted["CiphertextBlob"])),
        ("EncryptionContext.a", "1"),
        ("EncryptionContext.b", "2"),
    ];
    assert_eq!(text(&gateway.call("Decrypt", &flattened).await["Plaintext"]), PLAINTEXT);
}

#[tokio::test]
async fn every_altered_blob_gets_the_same_answer_and_harms_nothing() {
    let gateway = Gateway::start();
    let encrypted = encrypt(&gateway, None).await;
    let blob = STANDARD.decode(text(&encrypted["CiphertextBlob"])).unwrap();
    for at in [36, 47, 48, blob.len() - 17, blob.len() - 16, blob.len() - 1] {
        let mut altered = blob.clone();
        altered[at] ^= 1;
        let refused =
            gateway.refused("Decrypt", &[("CiphertextBlob", &STANDARD.encode(altered))]).await;
        assert_eq!(refused, (400, "InvalidParameter".to_owned()), "byte {at}");
    }
    for length in [0, 1, 35, 36, 48, 63] {
        let short = STANDARD.encode(&blob[..length]);
        let (status, _code) = gateway.refused("Decrypt", &[("CiphertextBlob", &short)]).await;
        assert_eq!(status, 400, "{length} bytes");
    }
    let mut of_nobody: CiphertextBlob = text(&encrypted["CiphertextBlob"]).parse().unwrap();
    of_nobody.version = hsmgate::model::KeyVersionId::random();
    let unknown = STANDARD.encode(of_nobody.to_bytes());
    let refused = gateway.refused("Decrypt", &[("CiphertextBlob", &unknown)]).await;
    assert_eq!(refused, (404, "Forbidden.KeyNotFound".to_owned()));
    let decrypted = decrypt(&gateway, text(&encrypted["CiphertextBlob"]), None).await;
    assert_eq!(text(&decrypted["Plaintext"]), PLAINTEXT);
}

#[tokio::test]
async fn a_plaintext_has_at_most_6144_bytes_and_is_base64() {
    let gateway = Gateway::start();
    let alias = gateway.dev.alias.as_str();
    let longest = STANDARD.encode([0xff; 6144]);
    let encrypted = gateway.call("Encrypt", &[("KeyId", alias), ("Plaintext", &longest)]).await;
    let decrypted = decrypt(&gateway, text(&encrypted["CiphertextBlob"]), None).await;
    assert_eq!(text(&decrypted["Plaintext"]), longest);
    for plaintext in [STANDARD.encode([0xff; 6145]), "no base64".to_owned(), "SGVsbG8".to_owned()] {
        let refused =
            gateway.refused("Encrypt", &[("KeyId", alias), ("Plaintext", &plaintext)]).await;
        assert_eq!(refused, (400, "InvalidParameter".to_owned()));
    }
}

#[tokio::test]
async fn the_longest_legal_request_passes() {
    let gateway = Gateway::start();
    let context = format!(r#"{{"k":"{}"}}"#, "字".repeat(8191));
    let plaintext = STANDARD.encode([0xff; 6144]);
    let params = [
        ("KeyId", gateway.dev.alias.as_str()),
        ("Plaintext", &plaintext),
        ("EncryptionContext", &context),
    ];
    let encrypted = gateway.call("Encrypt", &params).await;
    let decrypted = decrypt(&gateway, text(&encrypted["CiphertextBlob"]), Some(&context)).await;
    assert_eq!(text(&decrypted["Plaintext"]), plaintext);
}

#[tokio::test]
async fn a_data_key_decrypts_as_the_base64_text_that_was_handed_out() {
    let gateway = Gateway::start();
    let alias = gateway.dev.alias.as_str();
    for (params, bytes) in [
        (vec![], 32),
        (vec![("KeySpec", "AES_256")], 32),
        (vec![("KeySpec", "AES_128")], 16),
        (vec![("NumberOfBytes", "1024")], 1024),
        (vec![("NumberOfBytes", "1"), ("KeySpec", "AES_256")], 1),
    ] {
        let params = [params, vec![("KeyId", alias), ("EncryptionContext", CONTEXT)]].concat();
        let key = gateway.call("GenerateDataKey", &params).await;
        assert_eq!(STANDARD.decode(text(&key["Plaintext"])).unwrap().len(), bytes);
        let decrypted = decrypt(&gateway, text(&key["CiphertextBlob"]), Some(CONTEXT)).await;
        assert_eq!(decrypted["Plaintext"], key["Plaintext"]);

        let encrypted = gateway.call("GenerateDataKeyWithoutPlaintext", &params).await;
        assert!(encrypted.get("Plaintext").is_none());
        let decrypted = decrypt(&gateway, text(&encrypted["CiphertextBlob"]), Some(CONTEXT)).await;
        assert_eq!(STANDARD.decode(text(&decrypted["Plaintext"])).unwrap().len(), bytes);
    }
}

#[tokio::test]
async fn re_encryption_changes_key_and_context_and_names_the_source() {
    let gateway = Gateway::start();
    let other = gateway.create_key().await;
    let encrypted = encrypt(&gateway, Some(CONTEXT)).await;
    let moved = gateway
        .call(
            "ReEncrypt",
            &[
                ("CiphertextBlob", text(&encrypted["CiphertextBlob"])),
                ("SourceEncryptionContext", CONTEXT),
                ("DestinationKeyId", &other),
                ("DestinationEncryptionContext", r#"{"new":"context"}"#),
            ],
        )
        .await;
    assert_eq!(moved["KeyId"], encrypted["KeyId"]);
    assert_eq!(moved["KeyVersionId"], encrypted["KeyVersionId"]);
    let decrypted =
        decrypt(&gateway, text(&moved["CiphertextBlob"]), Some(r#"{"new":"context"}"#)).await;
    assert_eq!(text(&decrypted["Plaintext"]), PLAINTEXT);
    assert_eq!(text(&decrypted["KeyId"]), other);
}

#[tokio::test]
async fn a_new_version_encrypts_and_every_older_ciphertext_decrypts() {
    let gateway = Gateway::start();
    let mut encrypted = vec![encrypt(&gateway, None).await];
    for _rotation in 0..3 {
        let created = gateway.call("CreateKeyVersion", &[("KeyId", &gateway.dev.key_id)]).await;
        let now = encrypt(&gateway, None).await;
        assert_eq!(now["KeyVersionId"], created["KeyVersion"]["KeyVersionId"]);
        encrypted.push(now);
    }
    for encrypted in &encrypted {
        let decrypted = decrypt(&gateway, text(&encrypted["CiphertextBlob"]), None).await;
        assert_eq!(text(&decrypted["Plaintext"]), PLAINTEXT);
        assert_eq!(decrypted["KeyVersionId"], encrypted["KeyVersionId"]);
    }
}

#[tokio::test]
async fn a_dry_run_checks_everything_and_does_nothing() {
    let gateway = Gateway::start();
    let alias = gateway.dev.alias.as_str();
    let encrypted = encrypt(&gateway, None).await;
    let blob = text(&encrypted["CiphertextBlob"]);
    let would_pass = (400, "DryRunOperationError".to_owned());
    for (action, params) in [
        ("Encrypt", vec![("KeyId", alias), ("Plaintext", PLAINTEXT)]),
        ("Decrypt", vec![("CiphertextBlob", blob)]),
        ("GenerateDataKey", vec![("KeyId", alias)]),
        ("GenerateDataKeyWithoutPlaintext", vec![("KeyId", alias)]),
        ("ReEncrypt", vec![("CiphertextBlob", blob), ("DestinationKeyId", alias)]),
    ] {
        for yes in ["true", "True"] {
            let params = [params.clone(), vec![("DryRun", yes)]].concat();
            assert_eq!(gateway.refused(action, &params).await, would_pass, "{action}");
        }
        let params = [params, vec![("DryRun", "false")]].concat();
        gateway.call(action, &params).await;
    }
    let would_fail = (400, "ValidationError".to_owned());
    for (action, params) in [
        ("Encrypt", vec![("KeyId", "alias/nobody"), ("Plaintext", PLAINTEXT)]),
        ("Encrypt", vec![("KeyId", alias)]),
        ("Encrypt", vec![("KeyId", alias), ("Plaintext", "no base64")]),
        ("Decrypt", vec![("CiphertextBlob", blob), ("EncryptionContext", CONTEXT)]),
        ("GenerateDataKey", vec![("KeyId", alias), ("NumberOfBytes", "0")]),
    ] {
        let params = [params, vec![("DryRun", "true")]].concat();
        assert_eq!(gateway.refused(action, &params).await, would_fail, "{action} {params:?}");
    }
    // Where DryRun is not a parameter, it is not one of a dry run.
    gateway.call("DescribeKey", &[("KeyId", alias), ("DryRun", "true")]).await;
}

async fn encrypt(gateway: &Gateway, context: Option<&str>) -> Value {
    let mut params = vec![("KeyId", gateway.dev.alias.as_str()), ("Plaintext", PLAINTEXT)];
    params.extend(context.map(|context| ("EncryptionContext", context)));
    gateway.call("Encrypt", &params).await
}

async fn decrypt(gateway: &Gateway, blob: &str, context: Option<&str>) -> Value {
    let mut params = vec![("CiphertextBlob", blob)];
    params.extend(context.map(|context| ("EncryptionContext", context)));
    gateway.call("Decrypt", &params).await
}

/// Five official clients send text that is not Base64 and show their users only the answer.
#[tokio::test]
async fn a_plaintext_that_is_not_base64_is_refused_with_the_way_out_and_with_it_comes_back_as_it_was()
 {
    let gateway = Gateway::start();
    let texts = ["YourPassword1234!", "line\nünï ключ 🔑", "SGVsbG8"];
    for text in texts {
        let sent = [("KeyId", "alias/demo"), ("Plaintext", text)];
        let Err(CallError::Refused { status, code, message, .. }) =
            gateway.client.call("Encrypt", &sent).await
        else {
            panic!("{text:?} was taken");
        };
        assert_eq!((status, code.as_str()), (400, "InvalidParameter"));
        for variant in ["crypto.accept_non_base64_plaintext", "--accept-non-base64-plaintext"] {
            assert!(message.contains(variant), "{message}");
        }
        assert!(!message.contains(text), "{message}");
    }
    let gateway = Gateway::start_with(&["--accept-non-base64-plaintext"]);
    for plaintext in texts.into_iter().chain([PLAINTEXT]) {
        let sent = [("KeyId", "alias/demo"), ("Plaintext", plaintext)];
        let encrypted = gateway.call("Encrypt", &sent).await;
        let blob = text(&encrypted["CiphertextBlob"]);
        let decrypted = gateway.call("Decrypt", &[("CiphertextBlob", blob)]).await;
        assert_eq!(text(&decrypted["Plaintext"]), plaintext);
    }
}
