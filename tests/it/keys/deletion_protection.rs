//! Deletion protection.

use crate::support::gateway::{Gateway, refusal, text};

const WINDOW: (&str, &str) = ("PendingWindowInDays", "7");
const ON: (&str, &str) = ("EnableDeletionProtection", "true");
const OFF: (&str, &str) = ("EnableDeletionProtection", "false");
const WHY: (&str, &str) = ("DeletionProtectionDescription", "the orders need it");

#[tokio::test]
async fn a_protected_key_is_not_deleted_until_the_protection_is_off() {
    let gateway = Gateway::start();
    let key = gateway.dev.key_id.as_str();
    let id = ("KeyId", key);
    let arn = format!("acs:kms:{}:{}:key/{key}", gateway.dev.region, gateway.dev.account);
    for named in [id, ("ProtectedResourceArn", arn.as_str())] {
        gateway.call("SetDeletionProtection", &[named, ON, WHY]).await;
        let described = gateway.describe(key).await;
        assert_eq!(text(&described["DeletionProtection"]), "Enabled");
        assert_eq!(text(&described["DeletionProtectionDescription"]), WHY.1);
        let refused = gateway.refused("ScheduleKeyDeletion", &[id, WINDOW]).await;
        assert_eq!(refused, refusal(400, "Rejected.UnsupportedOperation"));

        gateway.call("SetDeletionProtection", &[named, OFF, WHY]).await;
        let described = gateway.describe(key).await;
        assert_eq!(text(&described["DeletionProtection"]), "Disabled");
        assert_eq!(text(&described["DeletionProtectionDescription"]), "");
    }
    gateway.call("ScheduleKeyDeletion", &[id, WINDOW]).await;
    let refused = gateway.refused("SetDeletionProtection", &[id, ON]).await;
    assert_eq!(refused, refusal(409, "Rejected.PendingDeletion"));
}

#[tokio::test]
async fn exactly_one_key_must_be_named_by_id_or_by_arn() {
    let gateway = Gateway::start();
    let id = ("KeyId", gateway.dev.key_id.as_str());
    let arn = "ProtectedResourceArn";
    for (params, expected) in [
        (vec![ON], refusal(400, "MissingParameter")),
        (vec![id], refusal(400, "MissingParameter")),
        (vec![ON, (arn, id.1)], refusal(400, "InvalidParameter")),
        (vec![ON, (arn, "acs:kms:cn-hangzhou:1:secret/a")], refusal(400, "InvalidParameter")),
        (vec![ON, id, ("KmsInstanceId", "kst-1")], refusal(400, "InvalidParameter")),
        (vec![ON, ("KmsInstanceId", "kst-1")], refusal(400, "UnsupportedOperation")),
        (vec![("EnableDeletionProtection", "1"), id], refusal(400, "InvalidParameter")),
    ] {
        let refused = gateway.refused("SetDeletionProtection", &params).await;
        assert_eq!(refused, expected, "{params:?}");
    }
}
