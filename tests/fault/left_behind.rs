//! Versions that were never finished, while the gateway serves on.

use fault_token::{Fault, Rule, When};
use tempfile::TempDir;

use crate::gateway::{scratch, until};
use crate::harness::text;
use crate::rig::{ENCRYPT, FaultToken, Rig};
use crate::whole::{change, count, open};

const LEFT: &str = "SELECT COUNT(*) FROM key_versions WHERE is_live = 0";

#[tokio::test]
async fn a_version_that_cannot_be_taken_back_holds_up_no_deletion_and_goes_later() {
    let mut rig = Rig::start();
    let doomed = rig.gateway.create_key_with(&[("Origin", "EXTERNAL")]).await;
    let key = rig.gateway.create_key().await;
    let objects = rig.gateway.token_objects();
    // The token does not confirm what it makes, and then does not destroy it.
    let unconfirmed = Rule::on(&["C_GenerateKey"], Fault::answer_after("CKR_FUNCTION_FAILED"));
    rig.token.add(unconfirmed.when(When::At(1)));
    rig.token.add(Rule::on(&["C_DestroyObject"], Fault::answer("CKR_ACTION_PROHIBITED")));
    let refused = rig.reply("CreateKeyVersion", &[("KeyId", &key)]).await;
    assert!(refused.status >= 500, "{refused:?}");
    let mut database = open(&rig.gateway).await;
    assert_eq!(count(&mut database, LEFT).await, 1);
    // A deletion that needs nothing of the token.
    let window = ("PendingWindowInDays", "7");
    rig.gateway.call("ScheduleKeyDeletion", &[("KeyId", &doomed), window]).await;
    change(&rig.gateway, "UPDATE keys SET delete_at = 1 WHERE id = $1", &doomed).await;
    while rig.reply("DescribeKey", &[("KeyId", &doomed)]).await.status != 404 {}
    assert_eq!(count(&mut database, LEFT).await, 1);
    // It is in nobody's way meanwhile.
    let sealed = rig.reply("Encrypt", &[("KeyId", &key), ENCRYPT[1]]).await;
    assert_eq!(sealed.status, 200, "{sealed:?}");
    rig.token.clear();
    while count(&mut database, LEFT).await > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.gateway.token_objects(), objects);
    let is_recorded = |line: &str| line.contains("\"TakeBackKeyVersion\"") && line.contains(&key);
    let file = rig.gateway.process.state().join("audit.jsonl");
    until(|| std::fs::read_to_string(&file).unwrap().lines().any(is_recorded)).await;
}

#[tokio::test]
async fn what_the_gateway_is_making_its_own_job_leaves_alone() {
    let dir = TempDir::new_in(scratch()).unwrap();
    let mut token = FaultToken::new(dir.path());
    let (house, user) = token.installation(|_text| {});
    let slow = house.serve();
    // Longer than the job waits between two looks at what is left behind.
    token.add(Rule::on(&["C_GenerateKey"], Fault::Delay(7_000)).when(When::At(1)));
    let made = slow.client(&user).call("CreateKey", &[]).await.unwrap();
    let key = text(&made["KeyMetadata"]["KeyId"]);
    slow.client(&user).call("Encrypt", &[("KeyId", key), ENCRYPT[1]]).await.unwrap();
    assert_eq!(slow.stop(), Some(0));
}
