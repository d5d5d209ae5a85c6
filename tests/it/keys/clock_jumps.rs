//! Jumps of the clock: due deletions wait for a day and can be canceled.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::material::key_of;
use crate::support::admin_client::metric;
use crate::support::audit_file::records;
use crate::support::calls::until_code;
use crate::support::gateway::{Gateway, text};
use crate::support::process::{until, until_async};

/// Two keys, the one scheduled to be destroyed in seven days, and one whose material ends in a year.
/// Then eight days pass while no gateway runs, or the clock is wrong by so much.
const EIGHT_DAYS: &str = "UPDATE keys SET delete_at = delete_at - 8 * 86400 WHERE delete_at > 0; \
     UPDATE keys SET material_expires = 1 WHERE material_check IS NOT NULL; \
     INSERT INTO facts (name, account, value) \
     SELECT 'clock-recorded', account, strftime('%s', 'now') - 8 * 86400 FROM facts WHERE name = 'region' \
     ON CONFLICT (name, account) DO UPDATE SET value = excluded.value";
pub(crate) const HOLD: &str = "hsmgate_destruction_hold_seconds";
const JUMPS: &str = "hsmgate_clock_jumps_total";

pub(crate) fn jumps_on_record(gateway: &Gateway) -> Vec<Value> {
    let mut records = records(&gateway.state().join("audit.jsonl"));
    records.retain(|record| record["eventName"] == "ClockJump");
    records
}

#[tokio::test]
async fn due_destructions_wait_after_a_jump_of_the_clock_and_can_be_cancelled() {
    let gateway = Gateway::start();
    let window = ("PendingWindowInDays", "7");
    let mut doomed = Vec::new();
    for _key in 0..2 {
        let key = gateway.create_key().await;
        gateway.call("ScheduleKeyDeletion", &[("KeyId", &key), window]).await;
        doomed.push(key);
    }
    key_of(&gateway, &[0x42; 32]).await;

    let gateway = gateway.restart_with(EIGHT_DAYS).await;
    until(|| !jumps_on_record(&gateway).is_empty()).await;
    let objects = gateway.token_objects();
    let jump = jumps_on_record(&gateway).remove(0);
    assert_eq!(jump["requestParameters"]["HoldSeconds"], "86400", "{jump}");
    until(|| gateway.log().contains("clock.jumped")).await;
    assert!(metric(&gateway, HOLD).await.unwrap() > 86_000.0);
    assert_eq!(metric(&gateway, JUMPS).await, Some(1.0));
    for key in &doomed {
        assert_eq!(text(&gateway.describe(key).await["KeyState"]), "PendingDeletion");
    }
    gateway.call("CancelKeyDeletion", &[("KeyId", &doomed[0])]).await;
    let plaintext = STANDARD.encode("still here");
    let encrypted = [("KeyId", doomed[0].as_str()), ("Plaintext", plaintext.as_str())];
    let encrypted = gateway.call("Encrypt", &encrypted).await;

    // The wait goes on after a start, which sees no jump of its own.
    let gateway = gateway.restart().await_hold().await;
    assert_eq!(metric(&gateway, JUMPS).await, Some(0.0));
    assert_eq!(text(&gateway.describe(&doomed[1]).await["KeyState"]), "PendingDeletion");
    assert_eq!(gateway.token_objects(), objects, "the material that is due waits as well");

    let over = "UPDATE facts SET value = '1' WHERE name = 'destruction-hold-left'";
    let gateway = gateway.restart_with(over).await;
    until(|| gateway.token_objects() <= objects - 2).await;
    let gone = [("KeyId", doomed[1].as_str())];
    until_code(&gateway.client, "DescribeKey", &gone, "Forbidden.KeyNotFound").await;
    let to_decrypt = [("CiphertextBlob", text(&encrypted["CiphertextBlob"]))];
    assert_eq!(text(&gateway.call("Decrypt", &to_decrypt).await["Plaintext"]), plaintext);
}

impl Gateway {
    /// Once it has looked at the clock and found that destructions wait.
    async fn await_hold(self) -> Self {
        until_async(async || metric(&self, HOLD).await.is_some_and(|left| left > 0.0)).await;
        self
    }
}
