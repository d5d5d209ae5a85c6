//! Keys of each spec, and the parameters of their creation.

use crate::support::gateway::{Gateway, refusal, text};

#[tokio::test]
async fn a_key_of_every_spec_that_the_token_has_can_be_made() {
    let gateway = Gateway::start();
    for (spec, usage, is_cipher) in [
        ("Aliyun_AES_256", "ENCRYPT/DECRYPT", true),
        ("Aliyun_AES_192", "ENCRYPT/DECRYPT", true),
        ("Aliyun_AES_128", "ENCRYPT/DECRYPT", true),
        ("RSA_2048", "SIGN/VERIFY", false),
        ("RSA_2048", "ENCRYPT/DECRYPT", false),
        ("RSA_3072", "SIGN/VERIFY", false),
        ("EC_P256", "SIGN/VERIFY", false),
        ("EC_P256K", "SIGN/VERIFY", false),
        ("HMAC_SHA_224", "GENERATE/VERIFY_MAC", false),
        ("HMAC_SHA_256", "GENERATE/VERIFY_MAC", false),
        ("HMAC_SHA_384", "GENERATE/VERIFY_MAC", false),
        ("HMAC_SHA_512", "GENERATE/VERIFY_MAC", false),
    ] {
        let params = [("KeySpec", spec), ("KeyUsage", usage)];
        let made = &gateway.call("CreateKey", &params).await["KeyMetadata"];
        assert_eq!(text(&made["KeySpec"]), spec);
        assert_eq!(text(&made["KeyUsage"]), usage);
        assert_eq!(text(&made["KeyState"]), "Enabled");
        assert_eq!(made.get("PrimaryKeyVersion").is_some(), is_cipher, "{spec}");
        assert!(made.get("DeletionProtection").is_none());
        let versions = gateway.call("ListKeyVersions", &[("KeyId", text(&made["KeyId"]))]).await;
        assert_eq!(versions["TotalCount"], 1, "{spec}");
    }
}

#[tokio::test]
async fn the_largest_key_pair_gets_enough_time() {
    let gateway = Gateway::start();
    let made = &gateway.call("CreateKey", &[("KeySpec", "RSA_4096")]).await["KeyMetadata"];
    assert_eq!(text(&made["KeyUsage"]), "SIGN/VERIFY");
}

#[tokio::test]
async fn an_aes_key_of_every_length_encrypts() {
    let gateway = Gateway::start();
    for spec in ["Aliyun_AES_192", "Aliyun_AES_128"] {
        let key = gateway.create_key_with(&[("KeySpec", spec)]).await;
        let params = [("KeyId", key.as_str()), ("Plaintext", "SGVsbG8gd29ybGQ=")];
        let encrypted = gateway.call("Encrypt", &params).await;
        let blob = [("CiphertextBlob", text(&encrypted["CiphertextBlob"]))];
        let decrypted = gateway.call("Decrypt", &blob).await;
        assert_eq!(text(&decrypted["Plaintext"]), "SGVsbG8gd29ybGQ=");
    }
}

#[tokio::test]
async fn an_external_key_waits_for_its_material() {
    let gateway = Gateway::start();
    let made = &gateway.call("CreateKey", &[("Origin", "EXTERNAL")]).await["KeyMetadata"];
    assert_eq!(text(&made["KeyState"]), "PendingImport");
    assert_eq!(text(&made["Origin"]), "EXTERNAL");
    assert_eq!(text(&made["PrimaryKeyVersion"]), "");
    assert_eq!(text(&made["MaterialExpireTime"]), "");
    let id = ("KeyId", text(&made["KeyId"]));
    assert_eq!(gateway.call("ListKeyVersions", &[id]).await["TotalCount"], 0);
    gateway.call("ScheduleKeyDeletion", &[id, ("PendingWindowInDays", "7")]).await;
    gateway.call("CancelKeyDeletion", &[id]).await;
    assert_eq!(text(&gateway.describe(id.1).await["KeyState"]), "PendingImport");
}

#[tokio::test]
async fn an_impossible_key_is_not_supported() {
    let gateway = Gateway::start();
    let rotates = [("EnableAutomaticRotation", "true"), ("RotationInterval", "365d")];
    for params in [
        vec![("KeySpec", "Aliyun_SM4")],
        vec![("KeySpec", "EC_SM2")],
        vec![("KeySpec", "Aliyun_SM4"), ("Origin", "EXTERNAL")],
        vec![("KeySpec", "RSA_2048"), ("Origin", "EXTERNAL")],
        vec![("KeyStorageMechanism", "HsmEncryptedDatabase")],
        [vec![("Origin", "EXTERNAL")], rotates.to_vec()].concat(),
        [vec![("KeySpec", "RSA_2048")], rotates.to_vec()].concat(),
        [vec![("KeySpec", "HMAC_SHA_256")], rotates.to_vec()].concat(),
    ] {
        let refused = gateway.refused("CreateKey", &params).await;
        assert_eq!(refused, refusal(400, "UnsupportedOperation"), "{params:?}");
    }
    assert_eq!(gateway.call("ListKeys", &[]).await["TotalCount"], 1, "nothing is left of them");
}

#[tokio::test]
async fn a_mac_key_always_has_one_version() {
    let gateway = Gateway::start();
    let mac = gateway.create_key_with(&[("KeySpec", "HMAC_SHA_256")]).await;
    let refused = gateway.refused("CreateKeyVersion", &[("KeyId", &mac)]).await;
    assert_eq!(refused, refusal(400, "Rejected.UnsupportedOperation"));
    let pair = gateway.create_key_with(&[("KeySpec", "EC_P256")]).await;
    gateway.call("CreateKeyVersion", &[("KeyId", &pair)]).await;
    assert_eq!(gateway.call("ListKeyVersions", &[("KeyId", &pair)]).await["TotalCount"], 2);
}

#[tokio::test]
async fn a_key_is_found_by_alias_creator_and_tags() {
    let gateway = Gateway::start();
    let tags = r#"[{"TagKey":"team","TagValue":"orders"},{"TagKey":"stage","TagValue":""}]"#;
    let params = [("Tags", tags), ("KeyStorageMechanism", "HsmInternal")];
    let key = gateway.create_key_with(&params).await;
    gateway.call("CreateAlias", &[("KeyId", &key), ("AliasName", "alias/orders")]).await;
    for (name, value, found) in [
        ("KeyId", key.as_str(), 1),
        ("AliasName", "alias/orders", 1),
        ("AliasName", "alias/nothing", 0),
        ("Creator", &gateway.dev.account, 2),
        ("Creator", "9999999999999999", 0),
        ("CreatorType", "User", 2),
        ("CreatorType", "Service", 0),
        ("TagKey", "team", 1),
        ("TagKey", "orders", 0),
        ("TagValue", "orders", 1),
        ("TagValue", "team", 0),
    ] {
        let filters = format!(r#"[{{"Key":"{name}","Values":["{value}"]}}]"#);
        let listed = gateway.call("ListKeys", &[("Filters", &filters)]).await;
        assert_eq!(listed["TotalCount"], found, "{name} {value}");
    }
}
