//! The KMS instance protocol, over plain HTTP on the port of the public API.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Method};
use http_body_util::Full;
use prost::Message as _;

use hsmgate::api::instance::messages::{
    AdvanceGenerateDataKeyPairRequest, AdvanceGenerateDataKeyRequest, DecryptRequest,
    DecryptResponse, EncryptRequest, EncryptResponse, GenerateDataKeyPairRequest,
    GenerateDataKeyRequest, GenerateDataKeyResponse, GenerateRandomRequest, GenerateRandomResponse,
    GetPublicKeyRequest, GetPublicKeyResponse, SignRequest, SignResponse, VerifyRequest,
    VerifyResponse,
};

use crate::support::client_key::now;
use crate::support::gateway::{Gateway, refusal as refused, text};
use crate::support::installation::Installation;
use crate::support::instance_client::{InstanceClient, refusal, send};

fn encrypt(key: &str, plaintext: &[u8], aad: &[u8]) -> EncryptRequest {
    EncryptRequest {
        key_id: key.to_owned(),
        plaintext: plaintext.to_vec(),
        algorithm: String::new(),
        aad: aad.to_vec(),
        iv: Vec::new(),
        padding_mode: String::new(),
    }
}

/// What opens a raw ciphertext.
fn decrypt(encrypted: &EncryptResponse, aad: &[u8]) -> DecryptRequest {
    DecryptRequest {
        ciphertext_blob: encrypted.ciphertext_blob.clone(),
        key_id: encrypted.key_id.clone(),
        algorithm: encrypted.algorithm.clone(),
        aad: aad.to_vec(),
        iv: encrypted.iv.clone(),
        padding_mode: encrypted.padding_mode.clone(),
    }
}

/// What opens a framed ciphertext, and nothing more.
fn framed(blob: &[u8], aad: &[u8]) -> DecryptRequest {
    DecryptRequest {
        ciphertext_blob: blob.to_vec(),
        aad: aad.to_vec(),
        ..DecryptRequest::default()
    }
}

#[tokio::test]
async fn what_is_encrypted_decrypts_with_its_aad_and_no_other() {
    let gateway = Gateway::start();
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    let (key, alias) = (&gateway.dev.key_id, &gateway.dev.alias);
    for aad in [&b""[..], b"for the shop \xff"] {
        let (encrypted, version): (EncryptResponse, _) =
            instance_client.call("Encrypt", &encrypt(alias, b"\x00\xffraw", aad)).await;
        assert_eq!((&encrypted.key_id, &*encrypted.algorithm), (key, "AES_GCM"));
        assert_eq!((encrypted.iv.len(), encrypted.ciphertext_blob.len()), (12, 5 + 16));
        assert_eq!((&*encrypted.padding_mode, &*encrypted.key_version_id), ("", ""));
        for name in ["Decrypt", "AdvanceDecrypt"] {
            let (decrypted, version_again): (DecryptResponse, _) =
                instance_client.call(name, &decrypt(&encrypted, aad)).await;
            assert_eq!((&*decrypted.plaintext, &decrypted.key_id), (&b"\x00\xffraw"[..], key));
            assert_eq!(version_again, version);
        }
        // By the version alone, as the transfer SDKs do.
        let mut by_version = decrypt(&encrypted, aad);
        by_version.key_id.clear();
        by_version.algorithm.clear();
        let (decrypted, _): (DecryptResponse, _) =
            instance_client.call_with_version("Decrypt", &by_version, version.as_deref()).await;
        assert_eq!((&*decrypted.plaintext, &decrypted.key_id), (&b"\x00\xffraw"[..], key));

        let bad = refused(400, "InvalidParameter");
        assert_eq!(instance_client.refused("Decrypt", &decrypt(&encrypted, b"other")).await, bad);
        let mut other_iv = decrypt(&encrypted, aad);
        other_iv.iv[0] ^= 1;
        assert_eq!(instance_client.refused("Decrypt", &other_iv).await, bad);
        let mut altered = decrypt(&encrypted, aad);
        altered.ciphertext_blob[0] ^= 1;
        assert_eq!(instance_client.refused("Decrypt", &altered).await, bad);
        let mut short = decrypt(&encrypted, aad);
        short.ciphertext_blob.truncate(15);
        assert_eq!(instance_client.refused("Decrypt", &short).await, bad);
        let mut other_key = decrypt(&encrypted, aad);
        other_key.key_id = gateway.create_key().await;
        assert_eq!(instance_client.refused("Decrypt", &other_key).await, bad);
    }
}

#[tokio::test]
async fn plain_calls_stay_with_the_initial_version_and_advance_calls_follow_the_primary() {
    let gateway = Gateway::start();
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    let key = gateway.dev.key_id.clone();
    let before: (EncryptResponse, _) =
        instance_client.call("AdvanceEncrypt", &encrypt(&key, b"before", b"aad")).await;
    let rotated = gateway.call("CreateKeyVersion", &[("KeyId", &key)]).await;
    let primary = text(&rotated["KeyVersion"]["KeyVersionId"]).to_owned();

    let (plain, initial): (EncryptResponse, _) =
        instance_client.call("Encrypt", &encrypt(&key, b"plain", b"")).await;
    assert_eq!(initial.as_ref(), Some(&before.0.key_version_id));
    assert_ne!(initial.as_ref(), Some(&primary));
    let (decrypted, _): (DecryptResponse, _) =
        instance_client.call("Decrypt", &decrypt(&plain, b"")).await;
    assert_eq!(&*decrypted.plaintext, b"plain");

    let (advance, version): (EncryptResponse, _) =
        instance_client.call("AdvanceEncrypt", &encrypt(&key, b"after", b"")).await;
    assert_eq!((version.as_ref(), &advance.key_version_id), (Some(&primary), &primary));
    let head = [b"$\x00\x02", primary.as_bytes(), &advance.iv].concat();
    assert!(advance.ciphertext_blob.starts_with(&head));
    assert_eq!(advance.ciphertext_blob.len(), head.len() + 5 + 16);
    for (blob, aad, plaintext, version) in [
        (&advance.ciphertext_blob, &b""[..], &b"after"[..], Some(&primary)),
        (&before.0.ciphertext_blob, b"aad", b"before", initial.as_ref()),
    ] {
        let (decrypted, version_again): (DecryptResponse, _) =
            instance_client.call("AdvanceDecrypt", &framed(blob, aad)).await;
        assert_eq!((&*decrypted.plaintext, Some(&decrypted.key_version_id)), (plaintext, version));
        assert_eq!((&decrypted.key_id, version_again.as_ref()), (&key, version));
    }
    // A framed ciphertext is nothing for the plain call.
    let mut plain_of_framed = decrypt(&advance, b"");
    plain_of_framed.key_id.clone_from(&key);
    let bad = refused(400, "InvalidParameter");
    assert_eq!(instance_client.refused("Decrypt", &plain_of_framed).await, bad);
    let mut contradiction = framed(&advance.ciphertext_blob, b"");
    contradiction.key_id = gateway.create_key().await;
    assert_eq!(instance_client.refused("AdvanceDecrypt", &contradiction).await, bad);
}

#[tokio::test]
async fn data_keys_are_encrypted_as_the_bytes_that_they_are() {
    let gateway = Gateway::start();
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    let key = gateway.dev.key_id.clone();
    let wanted = GenerateDataKeyRequest {
        key_id: key.clone(),
        algorithm: "AES_GCM".to_owned(),
        number_of_bytes: 24,
        aad: b"a".to_vec(),
    };
    let (made, version): (GenerateDataKeyResponse, _) =
        instance_client.call("GenerateDataKey", &wanted).await;
    assert_eq!((made.plaintext.len(), made.ciphertext_blob.len()), (24, 24 + 16));
    assert!(version.is_some() && made.key_version_id.is_empty());
    let encrypted = EncryptResponse {
        key_id: key.clone(),
        ciphertext_blob: made.ciphertext_blob.clone(),
        iv: made.iv.clone(),
        ..EncryptResponse::default()
    };
    let (decrypted, _): (DecryptResponse, _) =
        instance_client.call("Decrypt", &decrypt(&encrypted, b"a")).await;
    assert_eq!(decrypted.plaintext, made.plaintext);

    let wanted =
        AdvanceGenerateDataKeyRequest { key_id: key, number_of_bytes: 1024, aad: Vec::new() };
    let (made, version): (GenerateDataKeyResponse, _) =
        instance_client.call("AdvanceGenerateDataKey", &wanted).await;
    assert_eq!(version.as_ref(), Some(&made.key_version_id));
    let (decrypted, _): (DecryptResponse, _) =
        instance_client.call("AdvanceDecrypt", &framed(&made.ciphertext_blob, b"")).await;
    assert_eq!((decrypted.plaintext.len(), &decrypted.plaintext), (1024, &made.plaintext));

    for bytes in [0, -1, 1025] {
        let wanted = AdvanceGenerateDataKeyRequest { number_of_bytes: bytes, ..wanted.clone() };
        let bad = refused(400, "InvalidParameter");
        assert_eq!(instance_client.refused("AdvanceGenerateDataKey", &wanted).await, bad);
    }
}

#[tokio::test]
async fn as_many_random_bytes_are_returned_as_were_requested() {
    let gateway = Gateway::start();
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    for length in [1, 64] {
        let (made, version): (GenerateRandomResponse, _) =
            instance_client.call("GenerateRandom", &GenerateRandomRequest { length }).await;
        assert_eq!(i32::try_from(made.random.len()), Ok(length));
        assert_eq!(version, None);
    }
    for length in [0, 65] {
        let request = GenerateRandomRequest { length };
        let bad = refused(400, "InvalidParameter");
        assert_eq!(instance_client.refused("GenerateRandom", &request).await, bad);
    }
}

#[tokio::test]
async fn both_protocols_decrypt_what_the_other_has_encrypted() {
    let gateway = Gateway::start();
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    let key = gateway.dev.key_id.clone();
    // The public API's ciphertext is the framed one without its head.
    let public = [("KeyId", key.as_str()), ("Plaintext", "aGVsbG8=")];
    let public = gateway.call("Encrypt", &public).await;
    let blob = STANDARD.decode(text(&public["CiphertextBlob"])).unwrap();
    let blob = [b"$\x00\x02", blob.as_slice()].concat();
    let (decrypted, _): (DecryptResponse, _) =
        instance_client.call("AdvanceDecrypt", &framed(&blob, b"")).await;
    assert_eq!(&*decrypted.plaintext, b"aGVsbG8=");

    let (encrypted, _): (EncryptResponse, _) =
        instance_client.call("AdvanceEncrypt", &encrypt(&key, b"d29ybGQ=", b"")).await;
    let blob = STANDARD.encode(&encrypted.ciphertext_blob[3..]);
    let decrypted = gateway.call("Decrypt", &[("CiphertextBlob", &blob)]).await;
    assert_eq!(decrypted["Plaintext"], "d29ybGQ=");
}

#[tokio::test]
async fn key_pairs_sign_verify_encrypt_and_decrypt() {
    let gateway = Gateway::start();
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    let create = [("KeySpec", "EC_P256"), ("KeyUsage", "SIGN/VERIFY")];
    let made = gateway.call("CreateKey", &create).await;
    let pair = text(&made["KeyMetadata"]["KeyId"]).to_owned();
    let sign = SignRequest {
        key_id: pair.clone(),
        algorithm: "ECDSA_SHA_256".to_owned(),
        message: b"hello".to_vec(),
        ..SignRequest::default()
    };
    let (signed, version): (SignResponse, _) = instance_client.call("Sign", &sign).await;
    assert_eq!((&*signed.algorithm, &*signed.message_type), ("ECDSA_SHA_256", "RAW"));
    assert!(version.is_some());
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"hello");
    for (message, kind, value) in
        [(&b"hello"[..], "RAW", true), (hash.as_ref(), "DIGEST", true), (b"hallo", "RAW", false)]
    {
        let verify = VerifyRequest {
            key_id: pair.clone(),
            algorithm: "ECDSA_SHA_256".to_owned(),
            message: message.to_vec(),
            message_type: kind.to_owned(),
            signature: signed.signature.clone(),
            ..VerifyRequest::default()
        };
        let (verified, version_again): (VerifyResponse, _) =
            instance_client.call("Verify", &verify).await;
        assert_eq!((verified.value, &version_again), (value, &version), "{kind}");
    }
    let public = GetPublicKeyRequest { key_id: pair.clone() };
    let (public, version_again): (GetPublicKeyResponse, _) =
        instance_client.call("GetPublicKey", &public).await;
    assert!(public.public_key.starts_with("-----BEGIN PUBLIC KEY-----"));
    assert_eq!(version_again, version);
    let only_symmetric = refused(404, "Forbidden.OnlySymmetricKeySupported");
    let advance = encrypt(&pair, b"x", b"");
    assert_eq!(instance_client.refused("AdvanceEncrypt", &advance).await, only_symmetric);

    let create = [("KeySpec", "RSA_2048"), ("KeyUsage", "ENCRYPT/DECRYPT")];
    let made = gateway.call("CreateKey", &create).await;
    let pair = text(&made["KeyMetadata"]["KeyId"]).to_owned();
    let (encrypted, version): (EncryptResponse, _) =
        instance_client.call("Encrypt", &encrypt(&pair, b"secret", b"")).await;
    assert_eq!((&*encrypted.algorithm, encrypted.iv.len()), ("RSAES_OAEP_SHA_256", 0));
    let (decrypted, version_again): (DecryptResponse, _) =
        instance_client.call("Decrypt", &decrypt(&encrypted, b"")).await;
    assert_eq!((&*decrypted.plaintext, version_again), (&b"secret"[..], version));
}

#[tokio::test]
async fn a_caller_does_not_choose_the_iv() {
    let gateway = Gateway::start();
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    let mut request = encrypt(&gateway.dev.key_id, b"x", b"");
    request.iv = vec![7; 12];
    for name in ["Encrypt", "AdvanceEncrypt"] {
        assert_eq!(instance_client.refused(name, &request).await, refused(400, "InvalidParameter"));
    }
}

#[tokio::test]
async fn a_caller_may_choose_the_iv_where_the_operator_lets_it() {
    let gateway = Gateway::start();
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    let mut request = encrypt(&gateway.dev.key_id, b"hello", b"for the shop");
    let test_account = Installation::of_development(gateway.stop());
    let config = test_account.path("hsmgate.toml");
    let text = fs::read_to_string(&config).unwrap();
    let text = text.replace("[crypto]\n", "[crypto]\naccept_caller_iv = true\n");
    fs::write(&config, text).unwrap();
    let server = test_account.serve();
    let instance_client = InstanceClient { endpoint: server.endpoint.clone(), ..instance_client };
    for iv in [[7; 12], [8; 12]] {
        request.iv = iv.to_vec();
        let (encrypted, _version): (EncryptResponse, _) =
            instance_client.call("Encrypt", &request).await;
        assert_eq!(encrypted.iv, iv);
        let (decrypted, _version): (DecryptResponse, _) =
            instance_client.call("Decrypt", &decrypt(&encrypted, b"for the shop")).await;
        assert_eq!(decrypted.plaintext, b"hello");
    }
    request.iv = Vec::new();
    let (encrypted, _version): (EncryptResponse, _) =
        instance_client.call("Encrypt", &request).await;
    assert!(![[7; 12], [8; 12]].iter().any(|iv| encrypted.iv == iv), "drawn by the token");
    request.iv = vec![7; 11];
    assert_eq!(
        instance_client.refused("Encrypt", &request).await,
        refused(400, "InvalidParameter")
    );
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test]
async fn a_request_not_signed_by_a_valid_client_key_is_refused() {
    let gateway = Gateway::start();
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    let random = GenerateRandomRequest { length: 8 };
    let set = |name: &'static str, value: &'static str| {
        move |request: &mut http::Request<Full<hyper::body::Bytes>>| {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
    };
    let outsider = "KAAP.00000000-0000-4000-8000-000000000001";
    for (name, value, status, code) in [
        ("content-type", "text/plain", 415, "InvalidContentType"),
        ("x-kms-apiversion", "dkms-gcs-0.1", 400, "InvalidApiVersion"),
        ("x-kms-apiname", "Hmac", 400, "InvalidApiName"),
        ("x-kms-apiname", "Encrypt", 401, "SignatureNotMatch"),
        ("date", "yesterday", 400, "InvalidParam"),
        ("x-kms-added", "x", 401, "SignatureNotMatch"),
        ("x-kms-acccesskeyid", outsider, 404, "Unauthorized"),
        ("x-kms-acccesskeyid", "LTAIx", 404, "Unauthorized"),
        ("authorization", "Bearer AAAA", 401, "SignatureNotMatch"),
        ("authorization", "Basic AAAA", 400, "InvalidParam"),
    ] {
        let answer =
            instance_client.refused_when("GenerateRandom", &random, &set(name, value)).await;
        assert_eq!(answer, refused(status, code), "{name}: {value}");
    }
    let other_body = |request: &mut http::Request<_>| *request.body_mut() = Full::from("\x08\x09");
    let answer = instance_client.refused_when("GenerateRandom", &random, &other_body).await;
    assert_eq!(answer, refused(400, "InvalidParam"));
    let old =
        instance_client.signed("GenerateRandom", vec![8, 8], "Mon, 27 Sep 2021 11:47:26 GMT", &[]);
    assert_eq!(refusal(&send(old).await), refused(400, "RequestTimeTooSkewed"));

    let dates = [("NotBefore", "2020-01-01T00:00:00Z"), ("NotAfter", "2021-01-01T00:00:00Z")];
    let params = [[("AapName", "any"), ("Password", "opens-it-1")], dates].concat();
    let expired = InstanceClient::with_key(&gateway, &params).await;
    let unauthorized = refused(404, "Unauthorized");
    assert_eq!(expired.refused("GenerateRandom", &random).await, unauthorized);
    let _: (GenerateRandomResponse, _) = instance_client.call("GenerateRandom", &random).await;
    gateway.call("DeleteClientKey", &[("ClientKeyId", &instance_client.client_key.id)]).await;
    assert_eq!(instance_client.refused("GenerateRandom", &random).await, unauthorized);
}

#[tokio::test]
async fn the_policies_of_the_access_point_decide() {
    let gateway = Gateway::start();
    let (mine, other) = (gateway.dev.key_id.clone(), gateway.create_key().await);
    let resources = format!(r#"["key/{mine}"]"#);
    let instance_client =
        InstanceClient::of(&gateway, "mine", &resources, r#"["127.0.0.0/8"]"#).await;
    let _: (EncryptResponse, _) = instance_client.call("Encrypt", &encrypt(&mine, b"x", b"")).await;
    let denied = refused(403, "Forbidden.NoPermission");
    assert_eq!(instance_client.refused("Encrypt", &encrypt(&other, b"x", b"")).await, denied);
    let elsewhere = InstanceClient::of(&gateway, "far", r#"["key/*"]"#, r#"["192.0.2.1"]"#).await;
    assert_eq!(elsewhere.refused("Encrypt", &encrypt(&mine, b"x", b"")).await, denied);
    let random = GenerateRandomRequest { length: 8 };
    assert_eq!(elsewhere.refused("GenerateRandom", &random).await, denied);
    // A change takes effect at once.
    let rule = [("Name", "far"), ("SourcePrivateIp", r#"["127.0.0.1"]"#)];
    gateway.call("UpdateNetworkRule", &rule).await;
    let _: (EncryptResponse, _) = elsewhere.call("Encrypt", &encrypt(&other, b"x", b"")).await;
}

#[tokio::test]
async fn keys_in_the_wrong_state_and_no_keys_are_refused_as_documented() {
    let gateway = Gateway::start();
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    let key = gateway.create_key().await;
    let (encrypted, _): (EncryptResponse, _) =
        instance_client.call("Encrypt", &encrypt(&key, b"x", b"")).await;
    gateway.call("DisableKey", &[("KeyId", &key)]).await;
    for answer in [
        instance_client.refused("Encrypt", &encrypt(&key, b"x", b"")).await,
        instance_client.refused("AdvanceEncrypt", &encrypt(&key, b"x", b"")).await,
        instance_client.refused("Decrypt", &decrypt(&encrypted, b"")).await,
    ] {
        assert_eq!(answer, refused(409, "Rejected.Disabled"));
    }
    let absent = refused(404, "Forbidden.KeyNotFound");
    for name in ["key-hzz630494463ejqjx1234", "alias/none"] {
        assert_eq!(instance_client.refused("Encrypt", &encrypt(name, b"x", b"")).await, absent);
    }
    let version = "46a9efd9-3d16-4894-bd4f-1fc43f3f2abf";
    let mut by_version = decrypt(&encrypted, b"");
    by_version.key_id.clear();
    assert_eq!(instance_client.refused_with_version("Decrypt", &by_version, version).await, absent);
    assert_eq!(
        instance_client.refused("Decrypt", &by_version).await,
        refused(400, "InvalidParameter")
    );
    // A ciphertext and a key version of the real service.
    let elsewhere = "key-hzz630494463ejqjx1234-0a1b2c3d4e";
    let cloud = [b"$\x00\x02", elsewhere.as_bytes(), &[7; 64]].concat();
    assert_eq!(instance_client.refused("AdvanceDecrypt", &framed(&cloud, b"")).await, absent);
    assert_eq!(
        instance_client.refused_with_version("Decrypt", &by_version, elsewhere).await,
        absent
    );
}

#[tokio::test]
async fn every_failure_is_an_error_message() {
    let gateway = Gateway::start();
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    let random = GenerateRandomRequest { length: 8 };
    let path = |request: &mut http::Request<_>| {
        let uri = request.uri().to_string() + "elsewhere";
        *request.uri_mut() = uri.parse().unwrap();
    };
    let answer = instance_client.refused_when("GenerateRandom", &random, &path).await;
    assert_eq!(answer, refused(404, "InvalidAction.NotFound"));
    let method = |request: &mut http::Request<_>| *request.method_mut() = Method::PUT;
    let answer = instance_client.refused_when("GenerateRandom", &random, &method).await;
    assert_eq!(answer, refused(405, "UnsupportedHTTPMethod"));
    // Of a field that is a number, with the type of a text.
    let broken = instance_client.signed("GenerateRandom", b"\x0a\x01x".to_vec(), &now(), &[]);
    assert_eq!(refusal(&send(broken).await), refused(400, "InvalidParameter"));
    let large = encrypt(&gateway.dev.key_id, &vec![0; 3 * 1024 * 1024], b"");
    assert_eq!(
        instance_client.refused("Encrypt", &large).await,
        refused(413, "RequestEntityTooLarge")
    );
    let large = encrypt(&gateway.dev.key_id, &vec![7; 1024 * 1024], b"");
    let (encrypted, _): (EncryptResponse, _) = instance_client.call("Encrypt", &large).await;
    let (decrypted, _): (DecryptResponse, _) =
        instance_client.call("Decrypt", &decrypt(&encrypted, b"")).await;
    assert_eq!(decrypted.plaintext.len(), 1024 * 1024);
}

/// The vendor's own Go sample and the Notation plugin leave Algorithm out.
#[tokio::test]
async fn a_signature_without_an_algorithm_has_that_of_its_key_and_the_answer_names_it() {
    let gateway = Gateway::start();
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    for (spec, algorithm) in [("RSA_2048", "RSA_PSS_SHA_256"), ("EC_P256", "ECDSA_SHA_256")] {
        let create = [("KeySpec", spec), ("KeyUsage", "SIGN/VERIFY")];
        let key_id = gateway.create_key_with(&create).await;
        let sign = SignRequest {
            key_id: key_id.clone(),
            message: b"hello".to_vec(),
            ..SignRequest::default()
        };
        let (signed, _): (SignResponse, _) = instance_client.call("Sign", &sign).await;
        assert_eq!(signed.algorithm, algorithm);
        for named in ["", algorithm] {
            let verify = VerifyRequest {
                key_id: key_id.clone(),
                algorithm: named.to_owned(),
                message: b"hello".to_vec(),
                signature: signed.signature.clone(),
                ..VerifyRequest::default()
            };
            let (verified, _): (VerifyResponse, _) = instance_client.call("Verify", &verify).await;
            assert_eq!((verified.value, &*verified.algorithm), (true, algorithm), "{named:?}");
        }
    }
    let sign = SignRequest {
        key_id: gateway.create_key().await,
        message: b"hello".to_vec(),
        ..SignRequest::default()
    };
    assert_eq!(instance_client.refused("Sign", &sign).await.0, 400);
}

#[tokio::test]
async fn two_equal_calls_of_one_second_are_both_answered() {
    let gateway = Gateway::start();
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    let body = encrypt("alias/demo", b"hello", b"").encode_to_vec();
    let date = now();
    for _call in 0..2 {
        let request = instance_client.signed("Encrypt", body.clone(), &date, &[]);
        assert_eq!(send(request).await.status(), 200);
    }
}

#[tokio::test]
async fn every_operation_with_a_key_answers_an_impossible_name_as_an_unknown_key() {
    let gateway = Gateway::start();
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    let mine = format!(r#"["key/{}"]"#, gateway.dev.key_id);
    let restricted = InstanceClient::of(&gateway, "mine", &mine, "").await;
    let absent = refused(404, "Forbidden.KeyNotFound");
    let denied = refused(403, "Forbidden.NoPermission");
    let invalid = refused(400, "InvalidParameter");
    let longest = "k".repeat(255);
    let too_long = "k".repeat(256);
    for (name, expected) in [
        ("key-does-not-exist", &absent),
        ("46A9EFD9-3D16-4894-BD4F-1FC43F3F2ABF", &absent),
        ("alias/acs/mse", &absent),
        ("alias/a.b", &absent),
        ("alias/", &absent),
        (&longest, &absent),
        ("a b", &invalid),
        ("key/*", &invalid),
        (&too_long, &invalid),
    ] {
        let key_id = name.to_owned();
        let encrypt = encrypt(name, b"x", b"").encode_to_vec();
        let decrypt = DecryptRequest {
            ciphertext_blob: vec![7; 40],
            key_id: key_id.clone(),
            iv: vec![7; 12],
            ..DecryptRequest::default()
        };
        let data_key = GenerateDataKeyRequest {
            key_id: key_id.clone(),
            number_of_bytes: 32,
            ..GenerateDataKeyRequest::default()
        };
        let advance_data_key = AdvanceGenerateDataKeyRequest {
            key_id: key_id.clone(),
            number_of_bytes: 32,
            aad: vec![],
        };
        let pair = GenerateDataKeyPairRequest {
            key_id: key_id.clone(),
            key_pair_spec: "EC_P256".to_owned(),
            ..GenerateDataKeyPairRequest::default()
        };
        let advance_pair = AdvanceGenerateDataKeyPairRequest {
            key_id: key_id.clone(),
            key_pair_spec: "EC_P256".to_owned(),
            ..AdvanceGenerateDataKeyPairRequest::default()
        };
        let sign = SignRequest {
            key_id: key_id.clone(),
            message: b"x".to_vec(),
            ..SignRequest::default()
        };
        let verify = VerifyRequest {
            key_id: key_id.clone(),
            message: b"x".to_vec(),
            signature: b"x".to_vec(),
            ..VerifyRequest::default()
        };
        let public = GetPublicKeyRequest { key_id };
        for (operation, body) in [
            ("Encrypt", encrypt.clone()),
            ("AdvanceEncrypt", encrypt),
            ("Decrypt", decrypt.encode_to_vec()),
            ("GenerateDataKey", data_key.encode_to_vec()),
            ("AdvanceGenerateDataKey", advance_data_key.encode_to_vec()),
            ("GenerateDataKeyPair", pair.encode_to_vec()),
            ("GenerateDataKeyPairWithoutPlaintext", pair.encode_to_vec()),
            ("AdvanceGenerateDataKeyPair", advance_pair.encode_to_vec()),
            ("AdvanceGenerateDataKeyPairWithoutPlaintext", advance_pair.encode_to_vec()),
            ("Sign", sign.encode_to_vec()),
            ("Verify", verify.encode_to_vec()),
            ("GetPublicKey", public.encode_to_vec()),
        ] {
            let answer = send(instance_client.request(operation, body.clone(), &[])).await;
            assert_eq!(refusal(&answer), *expected, "{operation} {name}");
            let answer = send(restricted.request(operation, body, &[])).await;
            let expected = if *expected == absent { &denied } else { expected };
            assert_eq!(refusal(&answer), *expected, "{operation} {name}, restricted");
        }
    }
}

/// Text that is no Base64 is encrypted by both protocols where the operator lets it, and comes back as it was
/// from either.
#[tokio::test]
async fn text_that_is_not_base64_passes_both_protocols_unchanged() {
    let strict = Gateway::start();
    let gateway = Gateway::start_with(&["--accept-non-base64-plaintext"]);
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    let key = gateway.dev.key_id.clone();
    let longest = "ä".repeat(3072);
    let longer = format!("{longest}x");
    let base64 = STANDARD.encode([7; 6144]);
    let longer_base64 = STANDARD.encode([7; 6145]);
    for text_of_user in [
        "example",
        "a b\nc\t\"<&>",
        "密码",
        "SGVsbG8",
        "SGVsbG8=\n",
        " ",
        &longest,
        &base64,
        "SGk=",
    ] {
        let params = [("KeyId", key.as_str()), ("Plaintext", text_of_user)];
        let encrypted = gateway.call("Encrypt", &params).await;
        let blob = text(&encrypted["CiphertextBlob"]);
        let decrypted = gateway.call("Decrypt", &[("CiphertextBlob", blob)]).await;
        assert_eq!(decrypted["Plaintext"], text_of_user);
        let framed_blob = [b"$\x00\x02", &*STANDARD.decode(blob).unwrap()].concat();
        let (decrypted, _): (DecryptResponse, _) =
            instance_client.call("AdvanceDecrypt", &framed(&framed_blob, b"")).await;
        assert_eq!(decrypted.plaintext, text_of_user.as_bytes());
        let (encrypted, _): (EncryptResponse, _) = instance_client
            .call("AdvanceEncrypt", &encrypt(&key, text_of_user.as_bytes(), b""))
            .await;
        let blob = STANDARD.encode(&encrypted.ciphertext_blob[3..]);
        let decrypted = gateway.call("Decrypt", &[("CiphertextBlob", &blob)]).await;
        assert_eq!(decrypted["Plaintext"], text_of_user);

        let is_base64 = STANDARD.decode(text_of_user).is_ok();
        let params = [("KeyId", "alias/demo"), ("Plaintext", text_of_user)];
        assert_eq!(strict.client.call("Encrypt", &params).await.is_ok(), is_base64);
    }
    for too_long in [&longer, &longer_base64] {
        let params = [("KeyId", key.as_str()), ("Plaintext", too_long.as_str())];
        assert_eq!(gateway.refused("Encrypt", &params).await, refused(400, "InvalidParameter"));
    }
    // The parameters beside it stay Base64.
    let pair = [("KeySpec", "RSA_2048"), ("KeyUsage", "ENCRYPT/DECRYPT")];
    let pair = gateway.create_key_with(&pair).await;
    let versions = gateway.call("ListKeyVersions", &[("KeyId", &pair)]).await;
    let version = text(&versions["KeyVersions"]["KeyVersion"][0]["KeyVersionId"]);
    let mac = gateway.create_key_with(&[("KeySpec", "HMAC_SHA_256")]).await;
    let algorithm = ("Algorithm", "RSAES_OAEP_SHA_256");
    let of_pair = [("KeyId", &*pair), ("KeyVersionId", version), algorithm, ("Plaintext", "a b")];
    let of_mac = [("KeyId", &*mac), ("Algorithm", "HMAC_SHA_256"), ("Message", "a b")];
    for (action, params) in [("AsymmetricEncrypt", &of_pair[..]), ("GenerateMac", &of_mac)] {
        assert_eq!(gateway.refused(action, params).await, refused(400, "InvalidParameter"));
    }
}
