//! Restarts, destructions, and recovery.

use serde_json::Value;

use crate::crypto::encrypt_text;
use crate::keys::create_key;
use crate::life::{Extent, Life, succeeded};
use crate::record::{Step, StepError, check};
use crate::support::gateway::text;
use crate::support::installation::AccessKey;
use crate::support::process::{until, until_async};

const DUE: &str = "UPDATE keys SET delete_at = 1 WHERE state = 'PendingDeletion'";

/// Every ciphertext decrypts after a stop and after a kill.
pub(crate) async fn restart(life: &mut Life) {
    const ROW: &str = "restart, kill -9: every ciphertext decrypts";
    let stopped = life.stop();
    life.record.add(ROW, "stop", stopped);
    life.start();
    let outcome = life.decrypt_all().await;
    life.record.add(ROW, "after a stop", outcome);
    life.kill();
    life.start();
    let outcome = life.decrypt_all().await;
    life.record.add(ROW, "after a kill", outcome);
    let outcome = encrypt_text(&life.client(), &life.keys[0].id.clone()).await;
    life.blobs.extend(life.record.add(ROW, "encrypt after a kill", outcome));
}

/// Destroyed keys are gone from the token.
pub(crate) async fn destroy(life: &mut Life) {
    let outcome = delete_when_due(life).await;
    life.record.add("due deletion: the objects are gone", "deletion", outcome);
    life.stop().unwrap();
    let outcome = examine(life);
    life.record.add("doctor: exit code 0", "doctor", outcome);
    if life.extent == Extent::Whole {
        let deep = life.installation.configured(&["doctor", "--deep"]);
        let deep = check(deep.code == Some(0), &failures(&String::from_utf8_lossy(&deep.stdout)));
        life.record.add("doctor: exit code 0", "--deep", deep);
    }
}

async fn delete_when_due(life: &mut Life) -> Step {
    let client = life.client();
    let kept = count_keys(&life.objects()?);
    let mut doomed = Vec::new();
    for spec in ["Aliyun_AES_256", "EC_P256", "RSA_2048"] {
        let key = create_key(&client, &[("KeySpec", spec)]).await?;
        let params = [("KeyId", key.as_str()), ("PendingWindowInDays", "7")];
        client.call("ScheduleKeyDeletion", &params).await?;
        doomed.push(key);
    }
    check(count_keys(&life.objects()?) == kept + 3, "not three more keys")?;
    life.stop()?;
    life.installation.change(DUE).await;
    life.start();
    let client = life.client();
    for key in &doomed {
        until_async(async || client.call("DescribeKey", &[("KeyId", key)]).await.is_err()).await;
    }
    // A key is gone from the API before its objects are gone from the token.
    until(|| life.objects().is_ok_and(|objects| count_keys(&objects) == kept)).await;
    Ok(())
}

/// The private and secret keys.
fn count_keys(objects: &str) -> usize {
    objects.matches("Private Key Object").count() + objects.matches("Secret Key Object").count()
}

fn examine(life: &Life) -> Step {
    let outcome = life.installation.configured(&["doctor"]);
    check(outcome.code == Some(0), &failures(&String::from_utf8_lossy(&outcome.stdout)))
}

fn failures(table: &str) -> String {
    let failed = table.lines().filter(|line| line.contains("FAILED"));
    failed.map(str::trim).collect::<Vec<_>>().join(" ")
}

/// The database is lost; the token gives every key.
pub(crate) async fn recover(life: &mut Life) {
    const ROW: &str = "database lost: recover, every ciphertext decrypts";
    life.installation.lose_database();
    let outcome = life.installation.configured(&["recover", "--reason", "a test", "--json"]);
    let recovered = succeeded(&outcome).and_then(|()| {
        let found: Value = serde_json::from_slice(&outcome.stdout).unwrap();
        // Wrapping pairs of imports are of no use without their parameters.
        let left_alone = found["left_alone"].as_array().unwrap().iter();
        let is_wrapping =
            |one: &&Value| text(&one["label"]).starts_with("hsmgate/import-wrapping/");
        let keys_left_alone = left_alone.filter(|one| !is_wrapping(one)).count();
        check(keys_left_alone == 0, &format!("{keys_left_alone} objects are left alone"))?;
        let keys: Vec<_> = found["keys"].as_array().unwrap().iter().collect();
        let is_there = |id: &str| keys.iter().any(|key| text(&key["key_id"]) == id);
        let lost = life.keys.iter().find(|key| !is_there(&key.id));
        lost.map_or(Ok(()), |key| Err(StepError::new(format!("{} is lost", key.spec))))
    });
    life.record.add(ROW, "recover", recovered);
    life.user = AccessKey::of(&life.installation.configured(&["init", "--json"]).json());
    life.start();
    let outcome = life.decrypt_all().await;
    life.record.add(ROW, "ciphertexts", outcome);
    life.look_from_outside("at the end");
    let stopped = life.stop();
    life.record.add(ROW, "stop", stopped);
}
