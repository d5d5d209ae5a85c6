//! Keys, ciphertexts and deletions after a restart.

use crate::support::calls::until_code;
use crate::support::gateway::{Gateway, text};
use crate::support::process::until_async;

const PLAINTEXT: &str = "SGVsbG8gd29ybGQ=";

#[tokio::test]
async fn ciphertexts_decrypt_after_a_restart() {
    for restart in [Gateway::restart, Gateway::kill_and_restart] {
        let gateway = Gateway::start();
        let key = gateway.create_key().await;
        let encrypted = gateway.call("Encrypt", &[("KeyId", &key), ("Plaintext", PLAINTEXT)]).await;
        let before = gateway.dev.clone();
        let gateway = restart(gateway);
        assert_eq!(gateway.dev.key_id, before.key_id);
        assert_eq!(gateway.dev.access_key_secret, before.access_key_secret);
        let blob = [("CiphertextBlob", text(&encrypted["CiphertextBlob"]))];
        assert_eq!(text(&gateway.call("Decrypt", &blob).await["Plaintext"]), PLAINTEXT);
    }
}

#[tokio::test]
async fn a_key_is_destroyed_when_its_window_ends() {
    let gateway = Gateway::start();
    let key = gateway.create_key().await;
    let id = [("KeyId", key.as_str())];
    let encrypted = gateway.call("Encrypt", &[id[0], ("Plaintext", PLAINTEXT)]).await;
    gateway.call("CreateAlias", &[id[0], ("AliasName", "alias/doomed")]).await;
    gateway.call("ScheduleKeyDeletion", &[id[0], ("PendingWindowInDays", "7")]).await;
    let objects = gateway.token_objects();

    // As if the window had passed.
    let gateway =
        gateway.restart_with("UPDATE keys SET delete_at = 1 WHERE delete_at IS NOT NULL").await;
    let gone = (404, "Forbidden.KeyNotFound".to_owned());
    until_code(&gateway.client, "DescribeKey", &id, "Forbidden.KeyNotFound").await;
    let blob = [("CiphertextBlob", text(&encrypted["CiphertextBlob"]))];
    assert_eq!(gateway.refused("Decrypt", &blob).await, gone);
    // The alias goes with the row, which is removed last.
    let no_alias = (404, "Forbidden.AliasNotFound".to_owned());
    let alias = [("KeyId", "alias/doomed")];
    until_async(async || gateway.refused("DescribeKey", &alias).await == no_alias).await;
    assert_eq!(gateway.token_objects(), objects - 1, "its token object is destroyed");
    let gateway = gateway.kill_and_restart();
    assert_eq!(gateway.refused("DescribeKey", &id).await, gone);
}
