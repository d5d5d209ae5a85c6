//! A key of every kind.

use hsmgate::cli::client::Client;

use crate::life::{Extent, Key, Life, field};
use crate::record::Step;

/// Row, key spec, key usage.
const KINDS: [(&str, &str, &str); 15] = [
    ("create AES keys", "Aliyun_AES_256", "ENCRYPT/DECRYPT"),
    ("create AES keys", "Aliyun_AES_192", "ENCRYPT/DECRYPT"),
    ("create AES keys", "Aliyun_AES_128", "ENCRYPT/DECRYPT"),
    ("create HMAC keys", "HMAC_SHA_224", "GENERATE/VERIFY_MAC"),
    ("create HMAC keys", "HMAC_SHA_256", "GENERATE/VERIFY_MAC"),
    ("create HMAC keys", "HMAC_SHA_384", "GENERATE/VERIFY_MAC"),
    ("create HMAC keys", "HMAC_SHA_512", "GENERATE/VERIFY_MAC"),
    ("create EC keys", "EC_P256", "SIGN/VERIFY"),
    ("create EC keys", "EC_P256K", "SIGN/VERIFY"),
    ("create RSA keys", "RSA_2048", "SIGN/VERIFY"),
    ("create RSA keys", "RSA_3072", "SIGN/VERIFY"),
    ("create RSA keys", "RSA_4096", "SIGN/VERIFY"),
    ("create RSA keys", "RSA_2048", "ENCRYPT/DECRYPT"),
    ("create RSA keys", "RSA_3072", "ENCRYPT/DECRYPT"),
    ("create RSA keys", "RSA_4096", "ENCRYPT/DECRYPT"),
];

/// The kinds whose generation takes seconds.
const SLOW: [&str; 2] = ["RSA_3072", "RSA_4096"];

pub(crate) async fn create(life: &mut Life) {
    let client = life.client();
    let is_whole = life.extent == Extent::Whole;
    for (row, spec, usage) in
        KINDS.into_iter().filter(|(_, spec, _)| is_whole || !SLOW.contains(spec))
    {
        let made = create_key(&client, &[("KeySpec", spec), ("KeyUsage", usage)]).await;
        if let Some(id) = life.record.add(row, spec, made) {
            life.keys.push(Key { spec, usage, id });
        }
    }
    life.look_from_outside("after the creations");
}

/// The id of a new key.
pub(crate) async fn create_key(client: &Client, params: &[(&str, &str)]) -> Step<String> {
    let answer = client.call("CreateKey", params).await?;
    Ok(field(&answer["KeyMetadata"], "KeyId"))
}

/// The only version of a key.
pub(crate) async fn version_of(client: &Client, key: &str) -> Step<String> {
    let answer = client.call("ListKeyVersions", &[("KeyId", key)]).await?;
    Ok(field(&answer["KeyVersions"]["KeyVersion"][0], "KeyVersionId"))
}
