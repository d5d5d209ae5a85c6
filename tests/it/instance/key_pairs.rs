//! Data key pairs of the KMS instance protocol.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256K1_SHA256_ASN1,
    ECDSA_P256K1_SHA256_ASN1_SIGNING, EcdsaKeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256,
    RsaKeyPair, UnparsedPublicKey,
};
use prost::Message as _;

use hsmgate::api::instance::messages::{
    AdvanceGenerateDataKeyPairRequest, DecryptRequest, DecryptResponse, Error,
    GenerateDataKeyPairRequest, GenerateDataKeyPairResponse,
    GenerateDataKeyPairWithoutPlaintextResponse,
};

use crate::support::admin_client::metric;
use crate::support::gateway::{Gateway, refusal, text};
use crate::support::instance_client::{InstanceClient, send};

fn plain(key: &str, spec: &str, format: &str, aad: &[u8]) -> GenerateDataKeyPairRequest {
    GenerateDataKeyPairRequest {
        key_id: key.to_owned(),
        algorithm: String::new(),
        key_pair_spec: spec.to_owned(),
        key_format: format.to_owned(),
        aad: aad.to_vec(),
    }
}

fn advance(key: &str, spec: &str, format: &str, aad: &[u8]) -> AdvanceGenerateDataKeyPairRequest {
    AdvanceGenerateDataKeyPairRequest {
        key_id: key.to_owned(),
        key_pair_spec: spec.to_owned(),
        key_format: format.to_owned(),
        aad: aad.to_vec(),
    }
}

/// Opens the private half that a plain call has encrypted.
async fn decrypted(
    instance_client: &InstanceClient,
    key: &str,
    iv: &[u8],
    blob: &[u8],
    aad: &[u8],
) -> Vec<u8> {
    let request = DecryptRequest {
        ciphertext_blob: blob.to_vec(),
        key_id: key.to_owned(),
        algorithm: "AES_GCM".to_owned(),
        aad: aad.to_vec(),
        iv: iv.to_vec(),
        padding_mode: String::new(),
    };
    let (mut decrypted, _): (DecryptResponse, _) = instance_client.call("Decrypt", &request).await;
    std::mem::take(&mut decrypted.plaintext)
}

/// Opens the private half that an `Advance` call has encrypted.
async fn decrypted_framed(instance_client: &InstanceClient, blob: &[u8], aad: &[u8]) -> Vec<u8> {
    let (ciphertext_blob, aad) = (blob.to_vec(), aad.to_vec());
    let request = DecryptRequest { ciphertext_blob, aad, ..DecryptRequest::default() };
    let (mut decrypted, _): (DecryptResponse, _) =
        instance_client.call("AdvanceDecrypt", &request).await;
    std::mem::take(&mut decrypted.plaintext)
}

fn der(half: &[u8], format: &str, label: &str) -> Vec<u8> {
    if format == "DER" {
        return half.to_vec();
    }
    let (read, der) = der::pem::decode_vec(half).unwrap();
    assert_eq!(read, label);
    der
}

/// Whether the two halves belong together.
fn is_pair(spec: &str, private: &[u8], public: &[u8]) -> bool {
    let random = SystemRandom::new();
    match spec {
        "EC_P256" => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, private).unwrap();
            let signature = pair.sign(&random, b"x").unwrap();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public)
                .verify(b"x", signature.as_ref())
                .is_ok()
        }
        "EC_P256K" => {
            let pair =
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256K1_SHA256_ASN1_SIGNING, private).unwrap();
            let signature = pair.sign(&random, b"x").unwrap();
            UnparsedPublicKey::new(&ECDSA_P256K1_SHA256_ASN1, public)
                .verify(b"x", signature.as_ref())
                .is_ok()
        }
        _ => {
            let pair = RsaKeyPair::from_pkcs8(private).unwrap();
            let bits: usize = spec.strip_prefix("RSA_").unwrap().parse().unwrap();
            assert_eq!(pair.public_modulus_len() * 8, bits);
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(&RSA_PKCS1_SHA256, &random, b"x", &mut signature).unwrap();
            UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public)
                .verify(b"x", &signature)
                .is_ok()
        }
    }
}

#[tokio::test]
async fn a_plain_pair_opens_with_decrypt_and_belongs_together() {
    let gateway = Gateway::start();
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    let (key, alias) = (&gateway.dev.key_id, &gateway.dev.alias);
    for (spec, format, aad) in [
        ("EC_P256", "PEM", &b""[..]),
        ("EC_P256", "", b""),
        ("EC_P256K", "DER", b"for the shop \xff"),
        ("RSA_2048", "DER", b""),
        ("RSA_3072", "PEM", b"a"),
    ] {
        let request = plain(alias, spec, format, aad);
        let (made, version): (GenerateDataKeyPairResponse, _) =
            instance_client.call("GenerateDataKeyPair", &request).await;
        assert_eq!((&made.key_id, &*made.key_pair_spec, &*made.algorithm), (key, spec, "AES_GCM"));
        assert_eq!((made.iv.len(), &*made.key_version_id, version.is_some()), (12, "", true));
        let private = &made.private_key_plaintext;
        let blob = &made.private_key_ciphertext_blob;
        assert_eq!(blob.len(), private.len() + 16);
        assert_eq!(decrypted(&instance_client, key, &made.iv, blob, aad).await, *private);
        let (private, public) =
            (der(private, format, "PRIVATE KEY"), der(&made.public_key, format, "PUBLIC KEY"));
        assert!(is_pair(spec, &private, &public), "{spec} {format}");

        let (made, version): (GenerateDataKeyPairWithoutPlaintextResponse, _) =
            instance_client.call("GenerateDataKeyPairWithoutPlaintext", &request).await;
        assert_eq!((&made.key_id, &*made.key_pair_spec, &*made.algorithm), (key, spec, "AES_GCM"));
        assert_eq!((&*made.key_version_id, version.is_some()), ("", true));
        let blob = &made.private_key_ciphertext_blob;
        let private = decrypted(&instance_client, key, &made.iv, blob, aad).await;
        let (private, public) =
            (der(&private, format, "PRIVATE KEY"), der(&made.public_key, format, "PUBLIC KEY"));
        assert!(is_pair(spec, &private, &public), "{spec} {format}");
    }
}

#[tokio::test]
async fn an_advance_pair_is_framed_and_follows_the_primary_version() {
    let gateway = Gateway::start();
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    let key = gateway.dev.key_id.clone();
    let rotated = gateway.call("CreateKeyVersion", &[("KeyId", &key)]).await;
    let primary = text(&rotated["KeyVersion"]["KeyVersionId"]).to_owned();
    let (aad, spec) = (&b"aad"[..], "EC_P256");

    let request = advance(&key, spec, "DER", aad);
    let (made, version): (GenerateDataKeyPairResponse, _) =
        instance_client.call("AdvanceGenerateDataKeyPair", &request).await;
    assert_eq!((version.as_ref(), &made.key_version_id), (Some(&primary), &primary));
    let head = [b"$\x00\x02", primary.as_bytes(), &made.iv].concat();
    let (private, blob) = (&made.private_key_plaintext, &made.private_key_ciphertext_blob);
    assert!(blob.starts_with(&head));
    assert_eq!(blob.len(), head.len() + private.len() + 16);
    assert_eq!(decrypted_framed(&instance_client, blob, aad).await, *private);
    assert!(is_pair(spec, private, &made.public_key));

    let name = "AdvanceGenerateDataKeyPairWithoutPlaintext";
    let (made, version): (GenerateDataKeyPairWithoutPlaintextResponse, _) =
        instance_client.call(name, &request).await;
    assert_eq!((version.as_ref(), &made.key_version_id), (Some(&primary), &primary));
    let private = decrypted_framed(&instance_client, &made.private_key_ciphertext_blob, aad).await;
    assert!(is_pair(spec, &private, &made.public_key));

    let request = plain(&key, spec, "DER", aad);
    let (_, initial): (GenerateDataKeyPairResponse, _) =
        instance_client.call("GenerateDataKeyPair", &request).await;
    assert!(initial.is_some() && initial.as_ref() != Some(&primary));
    // The head may name another version.
    let (made, version): (GenerateDataKeyPairResponse, _) =
        instance_client.call_with_version("GenerateDataKeyPair", &request, Some(&primary)).await;
    assert_eq!((version.as_ref(), made.key_version_id.as_str()), (Some(&primary), ""));
    let request = advance(&key, spec, "DER", aad);
    let initial = initial.unwrap();
    let (made, version): (GenerateDataKeyPairResponse, _) = instance_client
        .call_with_version("AdvanceGenerateDataKeyPair", &request, Some(&initial))
        .await;
    assert_eq!((version.as_ref(), &made.key_version_id), (Some(&initial), &initial));
    let foreign = gateway.create_key().await;
    let request = advance(&foreign, spec, "DER", aad);
    let refused = instance_client
        .refused_with_version("AdvanceGenerateDataKeyPair", &request, &initial)
        .await;
    assert_eq!(refused, refusal(404, "Forbidden.KeyNotFound"));
}

#[tokio::test]
async fn a_pair_that_cannot_be_made_is_refused() {
    let gateway = Gateway::start();
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    let key = gateway.dev.key_id.clone();
    let bad = refusal(400, "InvalidParameter");
    for (spec, format) in
        [("", "PEM"), ("RSA_1024", "PEM"), ("EC_SM2", "DER"), ("EC_P256", "pem"), ("EC_P256", "X")]
    {
        let name = "GenerateDataKeyPair";
        assert_eq!(instance_client.refused(name, &plain(&key, spec, format, b"")).await, bad);
        let name = "AdvanceGenerateDataKeyPairWithoutPlaintext";
        assert_eq!(instance_client.refused(name, &advance(&key, spec, format, b"")).await, bad);
    }
    let long = plain(&key, "EC_P256", "DER", &[0; 8193]);
    assert_eq!(instance_client.refused("GenerateDataKeyPair", &long).await, bad);
    let cbc = GenerateDataKeyPairRequest {
        algorithm: "AES_CBC".to_owned(),
        ..plain(&key, "EC_P256", "DER", b"")
    };
    let unsupported = refusal(400, "UnsupportedOperation");
    assert_eq!(instance_client.refused("GenerateDataKeyPair", &cbc).await, unsupported);
    let pair = gateway.create_key_with(&[("KeySpec", "EC_P256")]).await;
    let only_symmetric = refusal(404, "Forbidden.OnlySymmetricKeySupported");
    let request = plain(&pair, "EC_P256", "DER", b"");
    assert_eq!(instance_client.refused("GenerateDataKeyPair", &request).await, only_symmetric);
    gateway.call("DisableKey", &[("KeyId", &key)]).await;
    let disabled = refusal(409, "Rejected.Disabled");
    let request = advance(&key, "EC_P256", "DER", b"");
    assert_eq!(instance_client.refused("AdvanceGenerateDataKeyPair", &request).await, disabled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_pairs_are_made_one_at_a_time_and_other_calls_must_retry() {
    let gateway = Gateway::start();
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    let body = plain(&gateway.dev.key_id, "RSA_4096", "DER", b"").encode_to_vec();
    let mut calls = tokio::task::JoinSet::new();
    for _call in 0..4 {
        calls.spawn(send(instance_client.request("GenerateDataKeyPair", body.clone(), &[])));
    }
    let (mut made, mut told) = (0, 0);
    for answer in calls.join_all().await {
        if answer.status() == 200 {
            let made_pair = GenerateDataKeyPairResponse::decode(&answer.body()[..]).unwrap();
            assert!(is_pair("RSA_4096", &made_pair.private_key_plaintext, &made_pair.public_key));
            made += 1;
            continue;
        }
        let error = Error::decode(&answer.body()[..]).unwrap();
        assert_eq!((answer.status().as_u16(), &*error.error_code), (429, "Rejected.Throttling"));
        assert_eq!(error.error_message, "Concurrency Limit Exceeded.");
        assert_eq!(answer.headers()["retry-after"], "1");
        told += 1;
    }
    assert!(made >= 1 && told >= 1, "{made} made, {told} told to wait");
    let counted = metric(&gateway, "hsmgate_throttled_total{limit=\"key_pairs\"}").await;
    assert_eq!(counted, Some(f64::from(told)));
}
