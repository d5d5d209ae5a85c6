//! Keys and versions: create, describe, list, states, deletion.

use serde_json::Value;

use crate::support::gateway::{Gateway, text};

const PLAINTEXT: &str = "SGVsbG8gd29ybGQ=";

#[tokio::test]
async fn a_new_key_is_described_as_requested() {
    let gateway = Gateway::start();
    let params =
        [("Description", "orders"), ("ProtectionLevel", "HSM"), ("KeySpec", "Aliyun_AES_256")];
    let created = &gateway.call("CreateKey", &params).await["KeyMetadata"];
    let key = text(&created["KeyId"]);
    let described = &gateway.call("DescribeKey", &[("KeyId", key)]).await["KeyMetadata"];
    assert_eq!(described["KeySpec"], created["KeySpec"]);
    let dev = &gateway.dev;
    let expected = [
        ("KeyId", key),
        ("Arn", &format!("acs:kms:{}:{}:key/{key}", dev.region, dev.account)),
        ("Creator", &dev.account),
        ("Description", "orders"),
        ("KeySpec", "Aliyun_AES_256"),
        ("KeyUsage", "ENCRYPT/DECRYPT"),
        ("KeyState", "Enabled"),
        ("Origin", "Aliyun_KMS"),
        ("ProtectionLevel", "HSM"),
        ("AutomaticRotation", "Disabled"),
        ("DeleteDate", ""),
        ("MaterialExpireTime", ""),
        ("DKMSInstanceId", ""),
    ];
    for (field, value) in expected {
        assert_eq!(described[field], Value::from(value), "{field}");
    }
    assert_eq!(described["LastRotationDate"], described["CreationDate"]);
    assert_eq!(text(&described["PrimaryKeyVersion"]).len(), 36);
    assert_eq!(key.len(), 25);
}

#[tokio::test]
async fn invalid_parameters_of_a_key_are_refused_with_the_documented_code() {
    let gateway = Gateway::start();
    for (params, code) in [
        (("KeySpec", "DES"), (400, "InvalidParameter")),
        (("KeyUsage", "SIGN/VERIFY"), (400, "InvalidParameter")),
        (("Origin", "aliyun_kms"), (400, "InvalidParameter")),
        (("ProtectionLevel", "NONE"), (400, "InvalidParameter")),
        (("DKMSInstanceId", "kst-1"), (403, "Forbidden.DKMSInstanceNotFound")),
        (("KeySpec", "EC_SM2"), (400, "UnsupportedOperation")),
    ] {
        let (status, refused) = gateway.refused("CreateKey", &[params]).await;
        assert_eq!((status, refused.as_str()), code, "{params:?}");
    }
    let too_long = "d".repeat(8193);
    let (status, _code) = gateway.refused("CreateKey", &[("Description", &too_long)]).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn every_key_is_listed_on_exactly_one_page() {
    let gateway = Gateway::start();
    let mut made = vec![gateway.dev.key_id.clone()];
    for _ in 0..6 {
        made.push(gateway.create_key().await);
    }
    let mut listed = Vec::new();
    for page in ["1", "2", "3", "4"] {
        let params = [("PageNumber", page), ("PageSize", "3")];
        let answer = gateway.call("ListKeys", &params).await;
        assert_eq!(answer["TotalCount"], 7);
        assert_eq!(answer["PageNumber"].to_string(), page);
        let keys = answer["Keys"]["Key"].as_array().unwrap().clone();
        listed.extend(keys.iter().map(|key| text(&key["KeyId"]).to_owned()));
    }
    made.sort();
    listed.sort();
    assert_eq!(listed, made);
    for size in ["0", "101", "-1", "x"] {
        let refused = gateway.refused("ListKeys", &[("PageSize", size)]).await;
        assert_eq!(refused, (400, "InvalidParameter".to_owned()), "{size}");
    }
}

#[tokio::test]
async fn filters_are_or_within_a_name_and_and_between_names() {
    let gateway = Gateway::start();
    let disabled = gateway.create_key().await;
    gateway.call("DisableKey", &[("KeyId", &disabled)]).await;
    let count = async |filters: &str| {
        gateway.call("ListKeys", &[("Filters", filters)]).await["TotalCount"].clone()
    };
    assert_eq!(count(r#"[{"Key":"KeyState","Values":["Disabled"]}]"#).await, 1);
    assert_eq!(count(r#"[{"Key":"KeyState","Values":["Disabled","Enabled"]}]"#).await, 2);
    assert_eq!(
        count(
            r#"[{"Key":"KeyState","Values":["Disabled"]},{"Key":"KeySpec","Values":["RSA_2048"]}]"#
        )
        .await,
        0
    );
    let refused = gateway.refused("ListKeys", &[("Filters", r#"[{"Key":"Colour","Values":[]}]"#)]);
    assert_eq!(refused.await, (400, "InvalidParameter".to_owned()));
}

#[tokio::test]
async fn a_disabled_key_refuses_use_until_it_is_enabled() {
    let gateway = Gateway::start();
    let key = gateway.dev.key_id.as_str();
    let encrypted = gateway.call("Encrypt", &[("KeyId", key), ("Plaintext", PLAINTEXT)]).await;
    let blob = text(&encrypted["CiphertextBlob"]);
    for _twice in 0..2 {
        gateway.call("DisableKey", &[("KeyId", key)]).await;
    }
    for (action, params) in [
        ("Encrypt", vec![("KeyId", key), ("Plaintext", PLAINTEXT)]),
        ("Decrypt", vec![("CiphertextBlob", blob)]),
        ("GenerateDataKey", vec![("KeyId", key)]),
        ("GenerateDataKeyWithoutPlaintext", vec![("KeyId", key)]),
        ("ReEncrypt", vec![("CiphertextBlob", blob), ("DestinationKeyId", key)]),
        ("CreateKeyVersion", vec![("KeyId", key)]),
    ] {
        let refused = gateway.refused(action, &params).await;
        assert_eq!(refused, (409, "Rejected.Disabled".to_owned()), "{action}");
    }
    for _twice in 0..2 {
        gateway.call("EnableKey", &[("KeyId", key)]).await;
    }
    let decrypted = gateway.call("Decrypt", &[("CiphertextBlob", blob)]).await;
    assert_eq!(text(&decrypted["Plaintext"]), PLAINTEXT);
}

#[tokio::test]
async fn a_scheduled_deletion_forbids_use_and_can_be_cancelled() {
    let gateway = Gateway::start();
    let key = gateway.create_key().await;
    let id = ("KeyId", key.as_str());
    for days in ["6", "367", "x"] {
        let params = [id, ("PendingWindowInDays", days)];
        let refused = gateway.refused("ScheduleKeyDeletion", &params).await;
        assert_eq!(refused, (400, "InvalidParameter".to_owned()), "{days}");
    }
    gateway.call("ScheduleKeyDeletion", &[id, ("PendingWindowInDays", "7")]).await;
    let described = &gateway.call("DescribeKey", &[id]).await["KeyMetadata"];
    assert_eq!(text(&described["KeyState"]), "PendingDeletion");
    assert!(!text(&described["DeleteDate"]).is_empty());
    for (action, code) in [
        ("EnableKey", "Rejected.StateModifiedFailed"),
        ("DisableKey", "Rejected.StateModifiedFailed"),
        ("GenerateDataKey", "Rejected.PendingDeletion"),
        ("CreateKeyVersion", "Rejected.PendingDeletion"),
    ] {
        assert_eq!(gateway.refused(action, &[id]).await, (409, code.to_owned()), "{action}");
    }
    let described = gateway.refused("UpdateKeyDescription", &[id, ("Description", "x")]).await;
    assert_eq!(described, (409, "Rejected.PendingDeletion".to_owned()));
    let alias = gateway.refused("CreateAlias", &[id, ("AliasName", "alias/x")]).await;
    assert_eq!(alias, (409, "Rejected.StateModifiedFailed".to_owned()));

    gateway.call("CancelKeyDeletion", &[id]).await;
    let described = &gateway.call("DescribeKey", &[id]).await["KeyMetadata"];
    assert_eq!(text(&described["KeyState"]), "Enabled");
    assert_eq!(text(&described["DeleteDate"]), "");
    let again = gateway.refused("CancelKeyDeletion", &[id]).await;
    assert_eq!(again, (409, "Rejected.StateModifiedFailed".to_owned()));
}

#[tokio::test]
async fn a_description_is_replaced_and_an_empty_one_clears_it() {
    let gateway = Gateway::start();
    let id = ("KeyId", gateway.dev.key_id.as_str());
    for description in ["orders <&> \"quoted\" 测试", ""] {
        gateway.call("UpdateKeyDescription", &[id, ("Description", description)]).await;
        let described = &gateway.call("DescribeKey", &[id]).await["KeyMetadata"];
        assert_eq!(text(&described["Description"]), description);
    }
}

#[tokio::test]
async fn versions_are_described_and_listed_from_the_first() {
    let gateway = Gateway::start();
    let id = ("KeyId", gateway.dev.key_id.as_str());
    let second = gateway.call("CreateKeyVersion", &[id]).await["KeyVersion"].clone();
    let listed = gateway.call("ListKeyVersions", &[id]).await;
    let versions = listed["KeyVersions"]["KeyVersion"].as_array().unwrap();
    assert_eq!(listed["TotalCount"], 2);
    assert_eq!(versions[1], second);
    let version = ("KeyVersionId", text(&second["KeyVersionId"]));
    assert_eq!(gateway.call("DescribeKeyVersion", &[id, version]).await["KeyVersion"], second);

    let other = gateway.create_key().await;
    let of_another = gateway.refused("DescribeKeyVersion", &[("KeyId", &other), version]).await;
    assert_eq!(of_another, (404, "Forbidden.KeyVersionNotFound".to_owned()));
}

#[tokio::test]
async fn an_unknown_key_is_not_found_by_any_operation() {
    let gateway = Gateway::start();
    let unknown = ("KeyId", "key-hsm000000000000000000");
    for action in [
        "DescribeKey",
        "EnableKey",
        "DisableKey",
        "CancelKeyDeletion",
        "CreateKeyVersion",
        "ListKeyVersions",
        "ListAliasesByKeyId",
        "GenerateDataKey",
    ] {
        let refused = gateway.refused(action, &[unknown]).await;
        assert_eq!(refused, (404, "Forbidden.KeyNotFound".to_owned()), "{action}");
    }
    let alias = gateway.refused("DescribeKey", &[("KeyId", "alias/nobody")]).await;
    assert_eq!(alias, (404, "Forbidden.AliasNotFound".to_owned()));
    let malformed = gateway.refused("DescribeKey", &[("KeyId", "not a key")]).await;
    assert_eq!(malformed, (400, "InvalidParameter".to_owned()));
}
