//! Imported key material.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hsmgate::cli::client::Client;

use crate::crypto::encrypt_text;
use crate::keys::create_key;
use crate::life::{Life, PLAINTEXT, field};
use crate::record::{Step, StepError, check};
use crate::support::key_material::wrap_for;

pub(crate) async fn import(life: &mut Life) {
    let client = life.client();
    for (row, algorithm) in [
        ("import, OAEP with SHA-1", "RSAES_OAEP_SHA_1"),
        ("import, OAEP with SHA-256", "RSAES_OAEP_SHA_256"),
        ("import, PKCS1", "RSAES_PKCS1_V1_5"),
    ] {
        for (spec, bytes) in
            [("Aliyun_AES_256", 32), ("Aliyun_AES_192", 24), ("Aliyun_AES_128", 16)]
        {
            let outcome = async {
                let key = imported(&client, spec, algorithm, &vec![0x42; bytes]).await?;
                encrypt_text(&client, &key).await
            };
            let outcome = outcome.await;
            life.blobs.extend(life.record.add(row, spec, outcome));
            life.look_from_outside(&format!("{algorithm} {spec}"));
        }
    }
    for bytes in [16, 24, 31, 33, 64] {
        let outcome = refuse_length(&client, bytes).await;
        life.record.add("import of a wrong length: 400", &format!("{bytes} bytes"), outcome);
    }
    // The program knows IVs of 12 bytes only.
    if life.iv_bytes() == 12 {
        let outcome = open_outside(&client).await;
        life.record.add("a program with the imported bytes decrypts", "imported key", outcome);
    }
    for spec in ["HMAC_SHA_256", "RSA_2048", "Aliyun_SM4"] {
        let outcome = match create_key(&client, &[("KeySpec", spec), ("Origin", "EXTERNAL")]).await
        {
            Err(StepError::Unsupported) => Ok(()),
            other => Err(StepError::new(format!("{other:?}"))),
        };
        life.record.add("import of HMAC, RSA, SM4: 400", spec, outcome);
    }
    life.look_from_outside("after the imports");
}

/// The id of a new key with this material.
async fn imported(client: &Client, spec: &str, algorithm: &str, material: &[u8]) -> Step<String> {
    let key = create_key(client, &[("KeySpec", spec), ("Origin", "EXTERNAL")]).await?;
    let wanted = [
        ("KeyId", key.as_str()),
        ("WrappingKeySpec", "RSA_2048"),
        ("WrappingAlgorithm", algorithm),
    ];
    let given = client.call("GetParametersForImport", &wanted).await?;
    let wrapped = wrap_for(&given, algorithm.parse().unwrap(), material);
    let token = field(&given, "ImportToken");
    let params = [
        ("KeyId", key.as_str()),
        ("ImportToken", &token),
        ("EncryptedKeyMaterial", &wrapped),
        ("KeyMaterialExpireUnix", "0"),
    ];
    client.call("ImportKeyMaterial", &params).await?;
    Ok(key)
}

async fn refuse_length(client: &Client, bytes: usize) -> Step {
    let outcome = imported(client, "Aliyun_AES_256", "RSAES_OAEP_SHA_1", &vec![1; bytes]).await;
    match outcome {
        Err(StepError::Unsupported) => Err(StepError::Unsupported),
        outcome => {
            let is_refused = outcome == Err(StepError::new("400 InvalidKeyMaterial"));
            check(is_refused, &format!("{outcome:?}"))
        }
    }
}

/// The key in the token has the bytes that were imported.
async fn open_outside(client: &Client) -> Step {
    let material = [0x17; 32];
    let key = imported(client, "Aliyun_AES_256", "RSAES_OAEP_SHA_1", &material).await?;
    // docs/ciphertext.md: the version id, the IV, the ciphertext and its tag.
    let mut blob = STANDARD.decode(encrypt_text(client, &key).await?).unwrap();
    let (head, ciphertext) = blob.split_at_mut(36 + 12);
    let iv = head[36..].try_into().unwrap();
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &material).unwrap());
    let nonce = Nonce::assume_unique_for_key(iv);
    let opened = key.open_in_place(nonce, Aad::empty(), ciphertext);
    check(opened.is_ok_and(|text| text == PLAINTEXT.as_bytes()), "it does not decrypt")
}
