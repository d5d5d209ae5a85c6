//! The use of keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hsmgate::cli::client::Client;

use crate::keys::version_of;
use crate::life::{Extent, Life, PLAINTEXT, decrypts, field, is_refused};
use crate::record::{Step, check};

const CONTEXT: &str = r#"{"tenant":"a","table":"b"}"#;
const DIGEST: &str = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";
const OAEP: [(&str, &str); 2] = [
    ("AsymmetricDecrypt, OAEP with SHA-1", "RSAES_OAEP_SHA_1"),
    ("AsymmetricDecrypt, OAEP with SHA-256", "RSAES_OAEP_SHA_256"),
];

pub(crate) async fn use_keys(life: &mut Life) {
    encrypt(life).await;
    refuse(life).await;
    generate_data_keys(life).await;
    use_key_pairs(life).await;
    authenticate(life).await;
    load(life).await;
}

async fn encrypt(life: &mut Life) {
    let client = life.client();
    let aes = life.keys_for("ENCRYPT/DECRYPT").into_iter().filter(|(spec, _)| spec.contains("AES"));
    for (spec, key) in aes.collect::<Vec<_>>() {
        for bytes in [1, 32, 4_600] {
            for context in [None, Some(CONTEXT)] {
                let step = format!("{bytes} bytes with {spec}");
                let outcome = round_trip(&client, &key, bytes, context).await;
                life.record.add("Encrypt, Decrypt", &step, outcome);
            }
        }
        let made = encrypt_text(&client, &key).await;
        life.blobs.extend(life.record.add("Encrypt, Decrypt", spec, made));
    }
}

async fn round_trip(client: &Client, key: &str, bytes: usize, context: Option<&str>) -> Step {
    let plaintext = STANDARD.encode(vec![7; bytes]);
    let context = context.map(|context| ("EncryptionContext", context));
    let params = [("KeyId", key), ("Plaintext", plaintext.as_str())];
    let params: Vec<_> = params.into_iter().chain(context).collect();
    let blob = field(&client.call("Encrypt", &params).await?, "CiphertextBlob");
    let params: Vec<_> = [("CiphertextBlob", blob.as_str())].into_iter().chain(context).collect();
    decrypts(client, &params, &plaintext).await
}

pub(crate) async fn encrypt_text(client: &Client, key: &str) -> Step<String> {
    let params = [("KeyId", key), ("Plaintext", PLAINTEXT)];
    Ok(field(&client.call("Encrypt", &params).await?, "CiphertextBlob"))
}

/// A changed tag, a missing context and a short blob are refused as such, and cost nothing.
async fn refuse(life: &mut Life) {
    const ROW: &str = "a changed tag, a missing context, a short blob: 400";
    let client = life.client();
    let blob = life.blobs[0].clone();
    let mut bytes = STANDARD.decode(&blob).unwrap();
    let short = STANDARD.encode(&bytes[..40]);
    *bytes.last_mut().unwrap() ^= 1;
    let changed = STANDARD.encode(&bytes);
    let extra = ("EncryptionContext", CONTEXT);
    for (step, params) in [
        ("a changed tag", vec![("CiphertextBlob", changed.as_str())]),
        ("another context", vec![("CiphertextBlob", blob.as_str()), extra]),
        ("a short blob", vec![("CiphertextBlob", short.as_str())]),
    ] {
        let outcome = is_refused(&client, "Decrypt", &params, "InvalidParameter").await;
        life.record.add(ROW, step, outcome);
    }
    let outcome = async {
        for _call in 0..20 {
            let params = [("CiphertextBlob", changed.as_str())];
            is_refused(&client, "Decrypt", &params, "InvalidParameter").await?;
        }
        decrypts(&client, &[("CiphertextBlob", &blob)], PLAINTEXT).await
    };
    let outcome = outcome.await;
    life.record.add(ROW, "20 changed tags, then a good one", outcome);
}

async fn generate_data_keys(life: &mut Life) {
    const ROW: &str = "GenerateDataKey, ReEncrypt";
    let client = life.client();
    let key = life.keys[0].id.clone();
    for (step, bytes) in [("32 bytes", "32"), ("1,024 bytes", "1024")] {
        let outcome = async {
            let params = [("KeyId", key.as_str()), ("NumberOfBytes", bytes)];
            let made = client.call("GenerateDataKey", &params).await?;
            let blob = field(&made, "CiphertextBlob");
            decrypts(&client, &[("CiphertextBlob", &blob)], &field(&made, "Plaintext")).await
        };
        let outcome = outcome.await;
        life.record.add(ROW, step, outcome);
    }
    let outcome = async {
        let params = [("KeyId", key.as_str())];
        let made = client.call("GenerateDataKeyWithoutPlaintext", &params).await?;
        let blob = field(&made, "CiphertextBlob");
        let opened = client.call("Decrypt", &[("CiphertextBlob", &blob)]).await?;
        check(STANDARD.decode(field(&opened, "Plaintext")).unwrap().len() == 32, "another length")
    };
    let outcome = outcome.await;
    life.record.add(ROW, "without plaintext", outcome);
    let outcome = async {
        let params = [("CiphertextBlob", life.blobs[0].as_str()), ("DestinationKeyId", &key)];
        let blob = field(&client.call("ReEncrypt", &params).await?, "CiphertextBlob");
        decrypts(&client, &[("CiphertextBlob", &blob)], PLAINTEXT).await
    };
    let outcome = outcome.await;
    life.record.add(ROW, "ReEncrypt", outcome);
}

async fn use_key_pairs(life: &mut Life) {
    let client = life.client();
    for (spec, key) in life.keys_for("ENCRYPT/DECRYPT") {
        if !spec.starts_with("RSA") {
            continue;
        }
        for (row, algorithm) in OAEP {
            let outcome = open(&client, &key, algorithm).await;
            life.record.add(row, spec, outcome);
        }
    }
    for (spec, key) in life.keys_for("SIGN/VERIFY") {
        let algorithms: &[(&str, &str)] = if spec.starts_with("RSA") {
            &[
                ("sign and verify: RSA-PSS", "RSA_PSS_SHA_256"),
                ("sign and verify: RSA PKCS1", "RSA_PKCS1_SHA_256"),
            ]
        } else {
            &[("sign and verify: ECDSA", "ECDSA_SHA_256")]
        };
        for (row, algorithm) in algorithms {
            let outcome = sign(&client, &key, algorithm).await;
            life.record.add(row, spec, outcome);
        }
    }
}

async fn open(client: &Client, key: &str, algorithm: &str) -> Step {
    let version = version_of(client, key).await?;
    let params = [("KeyId", key), ("KeyVersionId", &version), ("Algorithm", algorithm)];
    let encrypt = [&params[..], &[("Plaintext", PLAINTEXT)]].concat();
    let blob = field(&client.call("AsymmetricEncrypt", &encrypt).await?, "CiphertextBlob");
    let decrypt = [&params[..], &[("CiphertextBlob", blob.as_str())]].concat();
    let opened = client.call("AsymmetricDecrypt", &decrypt).await?;
    check(opened["Plaintext"] == PLAINTEXT, "another plaintext")
}

async fn sign(client: &Client, key: &str, algorithm: &str) -> Step {
    let version = version_of(client, key).await?;
    let params = [("KeyId", key), ("KeyVersionId", &version), ("Algorithm", algorithm)];
    let params = [&params[..], &[("Digest", DIGEST)]].concat();
    let signature = field(&client.call("AsymmetricSign", &params).await?, "Value");
    let verify = [&params[..], &[("Value", signature.as_str())]].concat();
    let verified = client.call("AsymmetricVerify", &verify).await?;
    check(verified["Value"] == true, "its own signature is wrong")
}

async fn authenticate(life: &mut Life) {
    let client = life.client();
    for (spec, key) in life.keys_for("GENERATE/VERIFY_MAC") {
        let outcome = async {
            let params = [("KeyId", key.as_str()), ("Algorithm", spec), ("Message", PLAINTEXT)];
            let mac = field(&client.call("GenerateMac", &params).await?, "Mac");
            let verify = [&params[..], &[("Mac", mac.as_str())]].concat();
            let verified = client.call("VerifyMac", &verify).await?;
            check(verified["Value"] == true, "its own MAC is wrong")
        };
        let outcome = outcome.await;
        life.record.add("GenerateMac, VerifyMac", spec, outcome);
    }
}

/// 304 round trips on 16 connections, or 48 in a short life. A client repeats a call that was throttled.
async fn load(life: &mut Life) {
    let key = life.keys[0].id.clone();
    let calls = if life.extent == Extent::Whole { 19 } else { 3 };
    let callers = (0..16).map(|_caller| {
        let (client, key) = (life.client(), key.clone());
        tokio::spawn(async move {
            for _call in 0..calls {
                round_trip(&client, &key, 32, None).await?;
            }
            Ok(())
        })
    });
    let mut outcome = Ok(());
    for caller in callers.collect::<Vec<_>>() {
        outcome = outcome.and(caller.await.unwrap());
    }
    life.record.add("304 round trips on 16 connections", "load", outcome);
}

/// A new version encrypts, and the ciphertexts of the old one decrypt.
pub(crate) async fn rotate(life: &mut Life) {
    let client = life.client();
    let key = life.keys[0].id.clone();
    let outcome = async {
        client.call("CreateKeyVersion", &[("KeyId", &key)]).await?;
        let versions = client.call("ListKeyVersions", &[("KeyId", &key)]).await?;
        check(versions["TotalCount"] == 2, "not two versions")?;
        encrypt_text(&client, &key).await
    };
    let outcome = outcome.await;
    life.blobs.extend(life.record.add("rotation, old ciphertexts decrypt", "rotation", outcome));
    let outcome = life.decrypt_all().await;
    life.record.add("rotation, old ciphertexts decrypt", "old ciphertexts", outcome);
}
