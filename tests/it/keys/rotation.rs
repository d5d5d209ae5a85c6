//! Automatic rotation. Tests change the dates of the versions while no gateway runs.

use serde_json::Value;

use crate::support::gateway::{Gateway, refusal, text};
use crate::support::process::until_async;

const ON: (&str, &str) = ("EnableAutomaticRotation", "true");
const OFF: (&str, &str) = ("EnableAutomaticRotation", "false");
const WEEK: (&str, &str) = ("RotationInterval", "7d");
const PLAINTEXT: &str = "SGVsbG8gd29ybGQ=";
/// Eight days pass for every version that is there.
const EIGHT_DAYS: &str = "UPDATE key_versions SET created = created - 8 * 86400";

#[tokio::test]
async fn a_key_tells_how_and_when_it_rotates() {
    let gateway = Gateway::start();
    let key = gateway.create_key_with(&[ON, ("RotationInterval", "365d")]).await;
    let id = ("KeyId", key.as_str());
    let described = gateway.describe(&key).await;
    assert_eq!(text(&described["AutomaticRotation"]), "Enabled");
    assert_eq!(text(&described["RotationInterval"]), "31536000s");
    let year = text(&described["LastRotationDate"])[..4].parse::<u32>().unwrap();
    let next = text(&described["NextRotationDate"])[..4].parse::<u32>().unwrap();
    assert!((year..=year + 1).contains(&next));

    gateway.call("DisableKey", &[id]).await;
    let described = gateway.describe(&key).await;
    assert_eq!(text(&described["AutomaticRotation"]), "Suspended");
    assert!(described.get("NextRotationDate").is_some());
    gateway.call("EnableKey", &[id]).await;
    gateway.call("UpdateRotationPolicy", &[id, OFF]).await;
    let described = gateway.describe(&key).await;
    assert_eq!(text(&described["AutomaticRotation"]), "Disabled");
    assert!(described.get("RotationInterval").is_none());
    assert!(described.get("NextRotationDate").is_none());
}

#[tokio::test]
async fn an_overdue_key_rotates_once_and_old_ciphertexts_still_decrypt() {
    let gateway = Gateway::start();
    let key = gateway.create_key().await;
    let id = ("KeyId", key.as_str());
    gateway.call("UpdateRotationPolicy", &[id, ON, WEEK]).await;
    let encrypted = gateway.call("Encrypt", &[id, ("Plaintext", PLAINTEXT)]).await;
    let before = primary(&gateway, &key).await;

    let gateway = gateway.restart_with(EIGHT_DAYS).await;
    until_async(async || primary(&gateway, &key).await != before).await;
    assert_eq!(versions(&gateway, &key).await, 2);
    let blob = [("CiphertextBlob", text(&encrypted["CiphertextBlob"]))];
    assert_eq!(text(&gateway.call("Decrypt", &blob).await["Plaintext"]), PLAINTEXT);

    // A younger key whose turn has come tells that the first one has had its chance again.
    let younger = gateway.create_key_with(&[ON, WEEK]).await;
    let sixty = "UPDATE key_versions SET created = created - 60 * 86400 \
                 WHERE key_id = (SELECT id FROM keys ORDER BY created DESC, rowid DESC LIMIT 1)";
    let gateway = gateway.restart_with(sixty).await;
    until_async(async || versions(&gateway, &younger).await == 2).await;
    assert_eq!(versions(&gateway, &key).await, 2, "no key rotates twice");
}

#[tokio::test]
async fn a_rotation_is_suspended_while_the_key_is_disabled_and_happens_afterwards() {
    let gateway = Gateway::start();
    let resting = gateway.create_key_with(&[ON, WEEK]).await;
    let witness = gateway.create_key_with(&[ON, WEEK]).await;
    gateway.call("DisableKey", &[("KeyId", &resting)]).await;
    let gateway = gateway.restart_with(EIGHT_DAYS).await;
    until_async(async || versions(&gateway, &witness).await == 2).await;
    assert_eq!(versions(&gateway, &resting).await, 1);
    gateway.call("EnableKey", &[("KeyId", &resting)]).await;
    let gateway = gateway.kill_and_restart();
    until_async(async || versions(&gateway, &resting).await == 2).await;
}

#[tokio::test]
async fn a_rotation_interrupted_by_a_kill_is_made_once() {
    let gateway = Gateway::start();
    let key = gateway.create_key_with(&[ON, WEEK]).await;
    let half_made = "INSERT INTO key_versions (id, account, key_id, number, created, is_live) \
                     SELECT '46a9efd9-3d16-4894-bd4f-1fc43f3f2abf', account, id, 2, created, 0 FROM keys \
                     WHERE rotation_seconds IS NOT NULL";
    let gateway = gateway.restart_with(half_made).await;
    assert_eq!(versions(&gateway, &key).await, 1, "it is taken back");
    let gateway = gateway.restart_with(EIGHT_DAYS).await;
    until_async(async || versions(&gateway, &key).await == 2).await;
}

#[tokio::test]
async fn an_interval_is_needed_and_has_7_to_730_days() {
    let gateway = Gateway::start();
    let id = ("KeyId", gateway.dev.key_id.as_str());
    for interval in ["7d", "730d", "168h", "604800s"] {
        let params = [id, ON, ("RotationInterval", interval)];
        gateway.call("UpdateRotationPolicy", &params).await;
    }
    for interval in ["6d", "731d", "7", "x"] {
        let interval = ("RotationInterval", interval);
        let refused = gateway.refused("UpdateRotationPolicy", &[id, ON, interval]).await;
        assert_eq!(refused, refusal(400, "InvalidParameter"));
        let refused = gateway.refused("CreateKey", &[ON, interval]).await;
        assert_eq!(refused, refusal(400, "InvalidParameter"));
    }
    for (action, params) in [("UpdateRotationPolicy", vec![id, ON]), ("CreateKey", vec![ON])] {
        let refused = gateway.refused(action, &params).await;
        assert_eq!(refused, refusal(400, "MissingParameter"), "{action}");
    }
    let refused = gateway.refused("UpdateRotationPolicy", &[id]).await;
    assert_eq!(refused, refusal(400, "MissingParameter"));
}

#[tokio::test]
async fn a_key_of_a_kind_that_does_not_rotate_is_refused() {
    let gateway = Gateway::start();
    for spec in ["RSA_2048", "EC_P256", "HMAC_SHA_256"] {
        let key = gateway.create_key_with(&[("KeySpec", spec)]).await;
        let refused = gateway.refused("UpdateRotationPolicy", &[("KeyId", &key), ON, WEEK]).await;
        assert_eq!(refused, refusal(400, "Rejected.UnsupportedOperation"), "{spec}");
    }
}

async fn versions(gateway: &Gateway, key: &str) -> Value {
    gateway.call("ListKeyVersions", &[("KeyId", key)]).await["TotalCount"].clone()
}

async fn primary(gateway: &Gateway, key: &str) -> String {
    text(&gateway.describe(key).await["PrimaryKeyVersion"]).to_owned()
}
