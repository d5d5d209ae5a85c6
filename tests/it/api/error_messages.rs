//! Messages of errors: each says what the caller must change.

use hsmgate::api::instance::messages::{
    EncryptRequest, EncryptResponse, GenerateDataKeyRequest, GenerateDataKeyResponse,
    GetPublicKeyRequest, GetPublicKeyResponse, SignRequest, SignResponse,
};
use hsmgate::cli::client::CallError;

use crate::support::gateway::{Gateway, text};
use crate::support::instance_client::InstanceClient;

/// An action, its parameters, and what its refusal must name.
type Case<'a> = (&'a str, Vec<(&'a str, &'a str)>, &'a [&'a str]);

/// The status and the code of a refusal, and its message.
async fn refused(gateway: &Gateway, action: &str, params: &[(&str, &str)]) -> (String, String) {
    match gateway.client.call(action, params).await {
        Err(CallError::Refused { status, code, message, .. }) => {
            (format!("{status} {code}"), message)
        }
        other => panic!("{action} was not refused: {other:?}"),
    }
}

fn encrypt(key: &str, algorithm: &str) -> EncryptRequest {
    EncryptRequest {
        key_id: key.to_owned(),
        plaintext: b"hello".to_vec(),
        algorithm: algorithm.to_owned(),
        aad: Vec::new(),
        iv: Vec::new(),
        padding_mode: String::new(),
    }
}

/// A public key of 2048 bits, in DER and Base64; too short, and never looked at.
const RSA_2048: &str = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA";

#[tokio::test]
async fn what_is_not_supported_is_named_with_the_reason() {
    let gateway = Gateway::start();
    let external = gateway.create_key_with(&[("Origin", "EXTERNAL")]).await;
    let key = ("KeyId", gateway.dev.key_id.as_str());
    let external = ("KeyId", external.as_str());
    let encrypted = gateway.call("Encrypt", &[key, ("Plaintext", "SGVsbG8=")]).await;
    let blob = ("CiphertextBlob", text(&encrypted["CiphertextBlob"]));
    let rotates = [("EnableAutomaticRotation", "true"), ("RotationInterval", "365d")];
    let sm2 = [
        ("PublicKeyBlob", RSA_2048),
        ("WrappingKeySpec", "EC_SM2"),
        ("WrappingAlgorithm", "SM2PKE"),
    ];
    let oaep = [("WrappingKeySpec", "RSA_2048"), ("WrappingAlgorithm", "RSAES_OAEP_SHA_256")];
    let recipient = ("Recipient", "{}");
    let tags = ("Tags", r#"[{"TagKey":"a","TagValue":"b"}]"#);
    let cases: &[Case<'_>] = &[
        ("GetCertificate", vec![("CertificateId", "c")], &["GetCertificate"]),
        ("UploadCertificate", vec![], &["UploadCertificate"]),
        ("CreateKey", vec![("KeySpec", "Aliyun_SM4")], &["\"KeySpec\"", "SM4", "token"]),
        ("CreateKey", vec![("KeySpec", "EC_SM2")], &["\"KeySpec\"", "SM2", "token"]),
        (
            "CreateKey",
            vec![("KeyStorageMechanism", "HsmEncryptedDatabase")],
            &["\"KeyStorageMechanism\"", "HsmInternal"],
        ),
        (
            "CreateKey",
            vec![("KeySpec", "RSA_2048"), ("Origin", "EXTERNAL")],
            &["\"Origin\"", "symmetric"],
        ),
        (
            "CreateKey",
            [vec![("KeySpec", "RSA_2048")], rotates.to_vec()].concat(),
            &["\"EnableAutomaticRotation\"", "symmetric"],
        ),
        (
            "CreateKey",
            [vec![("Origin", "EXTERNAL")], rotates.to_vec()].concat(),
            &["\"EnableAutomaticRotation\""],
        ),
        (
            "GetParametersForImport",
            [vec![external], oaep.to_vec()].concat(),
            &["\"WrappingAlgorithm\"", "RSAES_OAEP_SHA_256", "token"],
        ),
        (
            "GetParametersForImport",
            [vec![external], sm2[1..].to_vec()].concat(),
            &["\"WrappingKeySpec\"", "SM2", "token"],
        ),
        (
            "ExportDataKey",
            [vec![blob], sm2.to_vec()].concat(),
            &["\"WrappingAlgorithm\"", "SM2", "token"],
        ),
        (
            "GenerateAndExportDataKey",
            [vec![key], sm2.to_vec()].concat(),
            &["\"WrappingAlgorithm\"", "SM2", "token"],
        ),
        ("Decrypt", vec![blob, recipient], &["\"Recipient\""]),
        ("GenerateDataKey", vec![key, recipient], &["\"Recipient\""]),
        (
            "SetDeletionProtection",
            vec![("EnableDeletionProtection", "true"), ("KmsInstanceId", "kst-1")],
            &["\"KmsInstanceId\""],
        ),
        ("TagResource", vec![tags, ("CertificateId", "c")], &["\"CertificateId\""]),
        ("UntagResource", vec![("TagKeys", "a"), ("CertificateId", "c")], &["\"CertificateId\""]),
    ];
    for (action, params, words) in cases {
        let (code, message) = refused(&gateway, action, params).await;
        assert_eq!(code, "400 UnsupportedOperation", "{action} {params:?}");
        for word in *words {
            assert!(message.contains(word), "{action} {params:?}: {message}");
        }
        let is_action = words.contains(action);
        assert_eq!(message.starts_with("This action"), is_action, "{action}: {message}");
    }
}

#[tokio::test]
async fn a_key_of_the_wrong_kind_is_refused_with_the_reason() {
    let gateway = Gateway::start();
    let pair = gateway.create_key_with(&[("KeySpec", "EC_P256")]).await;
    let mac = gateway.create_key_with(&[("KeySpec", "HMAC_SHA_256")]).await;
    let versions = gateway.call("ListKeyVersions", &[("KeyId", &pair)]).await;
    let version = text(&versions["KeyVersions"]["KeyVersion"][0]["KeyVersionId"]);
    let (pair, mac, version) = (("KeyId", &*pair), ("KeyId", &*mac), ("KeyVersionId", version));
    let own = gateway.call("ListKeyVersions", &[("KeyId", "alias/demo")]).await;
    let own = text(&own["KeyVersions"]["KeyVersion"][0]["KeyVersionId"]);
    let own = [("KeyId", "alias/demo"), ("KeyVersionId", own)];
    let digest = ("Digest", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    let rsa = ("Algorithm", "RSA_PSS_SHA_256");
    let rotates = [("EnableAutomaticRotation", "true"), ("RotationInterval", "365d")];
    for (action, params, words) in [
        ("Encrypt", vec![pair, ("Plaintext", "SGVsbG8=")], "KeySpec"),
        ("AsymmetricSign", vec![pair, version, rsa, digest], "\"Algorithm\""),
        ("AsymmetricSign", [own.to_vec(), vec![rsa, digest]].concat(), "KeyUsage"),
        ("GetPublicKey", own.to_vec(), "KeySpec"),
        (
            "GenerateMac",
            vec![mac, ("Algorithm", "HMAC_SHA_512"), ("Message", "SGVsbG8=")],
            "\"Algorithm\"",
        ),
        ("CreateKeyVersion", vec![mac], "one version"),
        ("UpdateRotationPolicy", [vec![pair], rotates.to_vec()].concat(), "rotate"),
    ] {
        let (code, message) = refused(&gateway, action, &params).await;
        assert_eq!(code, "400 Rejected.UnsupportedOperation", "{action} {params:?}");
        assert!(message.starts_with("Unsupported operation. "), "{action}: {message}");
        assert!(message.contains(words), "{action}: {message}");
    }
}

#[tokio::test]
async fn the_instance_protocol_names_what_it_does_not_do_as_well() {
    let gateway = Gateway::start();
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    let key_id = gateway.dev.key_id.clone();
    let encrypt = encrypt(&key_id, "AES_CBC");
    let sign = SignRequest {
        key_id: key_id.clone(),
        message: b"hello".to_vec(),
        ..SignRequest::default()
    };
    let outcomes = [
        instance_client.outcome::<EncryptResponse>("Encrypt", &encrypt).await.unwrap_err(),
        instance_client.outcome::<SignResponse>("Sign", &sign).await.unwrap_err(),
    ];
    let words = [&["\"Algorithm\"", "AES_CBC", "AES_GCM"][..], &["KeySpec"]];
    for (error, words) in outcomes.iter().zip(words) {
        assert_eq!((error.status_code, &*error.error_code), (400, "UnsupportedOperation"));
        // The documented text first.
        assert!(error.error_message.starts_with("Rejected.UnsupportedOperation "), "{error:?}");
        assert!(words.iter().all(|word| error.error_message.contains(word)), "{error:?}");
    }
}

/// What the samples of the vendor's instance SDKs leave out is not asked for.
#[tokio::test]
async fn a_request_of_the_vendors_samples_is_answered_by_the_instance_protocol() {
    let gateway = Gateway::start();
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    let key_id = gateway.dev.key_id.clone();
    for name in ["Encrypt", "AdvanceEncrypt"] {
        let (encrypted, _): (EncryptResponse, _) =
            instance_client.call(name, &encrypt(&key_id, "")).await;
        assert_eq!((&*encrypted.algorithm, encrypted.iv.len()), ("AES_GCM", 12), "{name}");
    }
    let data_key =
        GenerateDataKeyRequest { key_id, number_of_bytes: 32, ..GenerateDataKeyRequest::default() };
    let (made, _): (GenerateDataKeyResponse, _) =
        instance_client.call("GenerateDataKey", &data_key).await;
    assert_eq!((&*made.algorithm, made.plaintext.len()), ("AES_GCM", 32));
    let pair =
        gateway.create_key_with(&[("KeySpec", "RSA_2048"), ("KeyUsage", "ENCRYPT/DECRYPT")]).await;
    let (encrypted, _): (EncryptResponse, _) =
        instance_client.call("Encrypt", &encrypt(&pair, "")).await;
    assert_eq!(&*encrypted.algorithm, "RSAES_OAEP_SHA_256");
    let public = GetPublicKeyRequest { key_id: pair };
    let (public, _): (GetPublicKeyResponse, _) =
        instance_client.call("GetPublicKey", &public).await;
    assert!(public.public_key.starts_with("-----BEGIN PUBLIC KEY-----"));
}

/// Terraform sends nothing for a description that its user has taken away.
#[tokio::test]
async fn a_description_that_is_left_out_of_its_change_is_cleared() {
    let gateway = Gateway::start();
    let key = ("KeyId", gateway.dev.key_id.as_str());
    for cleared in [&[key][..], &[key, ("Description", "")]] {
        gateway.call("UpdateKeyDescription", &[key, ("Description", "of the shop")]).await;
        assert_eq!(gateway.describe(key.1).await["Description"], "of the shop");
        gateway.call("UpdateKeyDescription", cleared).await;
        assert_eq!(gateway.describe(key.1).await["Description"], "");
    }
    let long = "x".repeat(8193);
    let params = [key, ("Description", long.as_str())];
    let (code, message) = refused(&gateway, "UpdateKeyDescription", &params).await;
    assert_eq!(code, "400 InvalidParameter");
    assert!(message.contains("\"Description\""), "{message}");
}

#[tokio::test]
async fn a_date_with_an_offset_is_accepted_and_returned_in_utc() {
    let gateway = Gateway::start();
    let _any = InstanceClient::with_any_key(&gateway).await;
    let new_key = async |from: &str, until: &str| {
        let params = [
            ("AapName", "any"),
            ("Password", "opens-it-1"),
            ("NotBefore", from),
            ("NotAfter", until),
        ];
        gateway.client.call("CreateClientKey", &params).await
    };
    for (from, until) in [
        ("2030-03-01T16:30:00+08:00", "2031-03-01T03:00:00-05:30"),
        ("2030-03-01T08:30:00Z", "2031-03-01T08:30:00Z"),
        ("2030-03-01T08:30:00.123Z", "2031-03-01T08:30:00+00:00"),
    ] {
        let made = new_key(from, until).await.unwrap();
        let id = [("ClientKeyId", text(&made["ClientKeyId"]))];
        let kept = gateway.call("GetClientKey", &id).await;
        assert_eq!(kept["NotBefore"], "2030-03-01T08:30:00Z", "{from}");
        assert_eq!(kept["NotAfter"], "2031-03-01T08:30:00Z", "{until}");
    }
    for bad in
        ["2030-03-01", "2030-03-01 08:30:00", "2030-03-01T08:30:00", "1900000000", "eventually"]
    {
        match new_key(bad, "2031-03-01T08:30:00Z").await {
            Err(CallError::Refused { status, code, message, .. }) => {
                assert_eq!((status, &*code), (400, "InvalidParameter"), "{bad}");
                assert!(message.contains("\"NotBefore\""), "{message}");
            }
            other => panic!("{bad} was not refused: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_network_rule_without_a_name_is_refused_by_the_name_of_the_parameter() {
    let gateway = Gateway::start();
    let rule = [("Type", "Private"), ("SourcePrivateIp", r#"["10.0.0.0/8"]"#)];
    for params in [rule.to_vec(), [rule.to_vec(), vec![("Name", "")]].concat()] {
        let (code, message) = refused(&gateway, "CreateNetworkRule", &params).await;
        assert_eq!(code, "400 MissingParameter");
        assert!(message.contains("\"Name\""), "{message}");
    }
}
