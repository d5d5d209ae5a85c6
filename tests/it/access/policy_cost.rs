//! Policies whose evaluation costs more than one decision may cost.

use std::fs;
use std::time::Duration;

use serde_json::json;

use crate::support::calls::refused;
use crate::support::gateway::{refusal, text};
use crate::support::installation::{ACCOUNT, Installation};
use crate::support::process::until;

/// What the gateway may use of a processor for one such call, in a build without optimization. The
/// product of pattern and text takes ten times as long.
const MAX_OF_A_CALL: Duration = Duration::from_millis(700);

/// Key policies of 32 KB with thirty patterns: what the patterns stand for must be looked for at every
/// place of the text.
fn hostile(segment: &str) -> String {
    let pattern = format!("*{segment}b*");
    let everyone = format!("acs:ram::{ACCOUNT}:*");
    json!({"Version": "1", "Statement": [
        {"Effect": "Allow", "Principal": {"RAM": [everyone]}, "Action": ["kms:*"],
         "Resource": ["*"]},
        {"Effect": "Deny", "Principal": {"RAM": [everyone]}, "Action": ["kms:*"],
         "Resource": ["*"],
         "Condition": {"StringLike": {"kms:EncryptionContext/x": vec![pattern; 30]}}}]})
    .to_string()
}

fn hostile_policies() -> [String; 2] {
    [hostile(&"a".repeat(1000)), hostile(&"a?".repeat(500))]
}

#[tokio::test]
async fn a_policy_that_is_too_costly_is_refused_when_it_is_attached() {
    let (installation, admin) = Installation::prepared();
    let server = installation.serve();
    let admin = server.client(&admin);
    let created = admin.call("CreateKey", &[]).await.unwrap();
    let key = text(&created["KeyMetadata"]["KeyId"]);
    installation.configured(&["role", "create", "ci"]).done();
    for policy in hostile_policies() {
        let own = ("Policy", policy.as_str());
        let invalid = refusal(400, "InvalidParameter");
        assert_eq!(refused(&admin, "SetKeyPolicy", &[("KeyId", key), own]).await, invalid);
        assert_eq!(refused(&admin, "CreateKey", &[own]).await, invalid);
        let pattern = policy.split('"').find(|part| part.starts_with('*') && part.len() > 1);
        let of_user = json!({"Version": "1", "Statement": {"Effect": "Allow", "Action": "*",
            "Resource": "*",
            "Condition": {"StringLike": {"kms:EncryptionContext/x": vec![pattern; 30]}}}});
        let file = installation.path("hostile.json");
        fs::write(&file, of_user.to_string()).unwrap();
        let file = file.to_str().unwrap();
        for arguments in [
            &["user", "attach", "admin", file][..],
            &["user", "create", "mallory", "--policy", file],
            &["access-key", "create", "--user", "mallory", "--policy", file],
            &["sts", "assume", "--role-name", "ci", "--policy", file],
        ] {
            let told = installation.configured(arguments).failed(2);
            assert!(told.contains("Statement[0]: "), "{told}");
        }
    }
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test]
async fn a_stored_policy_that_is_too_costly_denies_and_delays_no_other_request() {
    let (installation, user) = Installation::prepared();
    let server = installation.serve();
    let admin = server.client(&user);
    let mut keys = Vec::new();
    for policy in hostile_policies() {
        let created = admin.call("CreateKey", &[]).await.unwrap();
        let key = text(&created["KeyMetadata"]["KeyId"]).to_owned();
        let mut database = installation.database().await;
        sqlx::query("UPDATE keys SET policy = $1 WHERE id = $2")
            .bind(policy)
            .bind(&key)
            .execute(&mut database)
            .await
            .unwrap();
        keys.push(key);
    }
    installation.sign();
    assert_eq!(server.stop(), Some(0));
    let doctor = installation.configured(&["doctor", "--json"]).stdout;
    let doctor: serde_json::Value = serde_json::from_slice(&doctor).unwrap();
    let checks = doctor["checks"].as_array().unwrap();
    let cost = checks.iter().find(|check| check["name"] == "cost of policies").unwrap();
    assert_eq!(cost["verdict"], "warning", "{cost}");
    assert!(keys.iter().any(|key| text(&cost["found"]).contains(key)), "{cost}");
    let server = installation.serve();
    until(|| server.has_logged("event=\"policy.too_costly\"")).await;
    let admin = server.client(&user);
    let context = json!({"x": "a".repeat(8000)}).to_string();
    let params =
        |key| [("KeyId", key), ("Plaintext", "SGVsbG8="), ("EncryptionContext", &*context)];
    // In a time that is linear in both: the Deny does not apply.
    let before = processor_time(server.process_id());
    admin.call("Encrypt", &params(&keys[0])).await.unwrap();
    for _ in 0..10 {
        let denied = refused(&admin, "Encrypt", &params(&keys[1])).await;
        assert_eq!(denied, refusal(403, "Forbidden.NoPermission"));
    }
    let taken = processor_time(server.process_id()).saturating_sub(before);
    assert!(taken < 11 * MAX_OF_A_CALL, "{taken:?}");
    until(|| server.has_logged("policy.steps_exhausted")).await;
    let small = [("KeyId", keys[1].as_str()), ("Plaintext", "SGVsbG8=")];
    admin.call("Encrypt", &small).await.unwrap();
    assert_eq!(server.stop(), Some(0));
}

/// What a process has used of the processors.
fn processor_time(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_name, rest) = stat.rsplit_once(')').unwrap();
    let fields: Vec<_> = rest.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}
