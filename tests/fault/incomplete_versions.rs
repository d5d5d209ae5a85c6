//! Incomplete key versions are removed while the gateway serves.

use std::time::Duration;

use fault_token::{Fault, Rule, When};
use tempfile::TempDir;

use crate::end_to_end::{change, count, open};
use crate::setup::{ENCRYPT, FaultToken, Setup};
use crate::support::gateway::text;
use crate::support::process::until;
use crate::support::softhsm::scratch;

const LEFT: &str = "SELECT COUNT(*) FROM key_versions WHERE is_live = 0";

#[tokio::test]
async fn a_version_that_cannot_be_removed_holds_up_no_deletion_and_goes_later() {
    let mut setup = Setup::start();
    let doomed = setup.gateway.create_key_with(&[("Origin", "EXTERNAL")]).await;
    let key = setup.gateway.create_key().await;
    let objects = setup.gateway.token_objects();
    // The token does not confirm what it makes, and then does not destroy it.
    let unconfirmed = Rule::on(&["C_GenerateKey"], Fault::return_code_after("CKR_FUNCTION_FAILED"));
    setup.token.add(unconfirmed.when(When::At(1)));
    setup.token.add(Rule::on(&["C_DestroyObject"], Fault::return_code("CKR_ACTION_PROHIBITED")));
    let refused = setup.reply("CreateKeyVersion", &[("KeyId", &key)]).await;
    assert!(refused.status >= 500, "{refused:?}");
    let mut database = open(&setup.gateway).await;
    assert_eq!(count(&mut database, LEFT).await, 1);
    // A deletion that needs nothing of the token.
    let window = ("PendingWindowInDays", "7");
    setup.gateway.call("ScheduleKeyDeletion", &[("KeyId", &doomed), window]).await;
    change(&setup.gateway, "UPDATE keys SET delete_at = 1 WHERE id = $1", &doomed).await;
    while setup.reply("DescribeKey", &[("KeyId", &doomed)]).await.status != 404 {}
    assert_eq!(count(&mut database, LEFT).await, 1);
    // It is in nobody's way meanwhile.
    let encrypted = setup.reply("Encrypt", &[("KeyId", &key), ENCRYPT[1]]).await;
    assert_eq!(encrypted.status, 200, "{encrypted:?}");
    setup.token.clear();
    while count(&mut database, LEFT).await > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(setup.gateway.token_objects(), objects);
    let is_recorded =
        |line: &str| line.contains("\"RemoveIncompleteKeyVersion\"") && line.contains(&key);
    let file = setup.gateway.state().join("audit.jsonl");
    until(|| std::fs::read_to_string(&file).unwrap().lines().any(is_recorded)).await;
}

#[tokio::test]
async fn versions_that_the_gateway_is_generating_are_left_alone_by_its_own_job() {
    let dir = TempDir::new_in(scratch()).unwrap();
    let mut token = FaultToken::new(dir.path());
    let (installation, user) = token.installation(|_text| {});
    let slow = installation.serve();
    // Longer than the job waits between two looks at what is left behind.
    token.add(Rule::on(&["C_GenerateKey"], Fault::delay(Duration::from_secs(7))).when(When::At(1)));
    let made = slow.client(&user).call("CreateKey", &[]).await.unwrap();
    let key = text(&made["KeyMetadata"]["KeyId"]);
    slow.client(&user).call("Encrypt", &[("KeyId", key), ENCRYPT[1]]).await.unwrap();
    assert_eq!(slow.stop(), Some(0));
}
