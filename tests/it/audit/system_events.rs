//! Records of changes without a request: scheduled jobs of the gateway and commands of operators.

use hsmgate::audit::{Expectation, Verifier};
use serde_json::Value;

use crate::support::audit_file::{events, records};
use crate::support::gateway::Gateway;
use crate::support::installation::Installation;

#[tokio::test]
async fn changes_by_operators_are_recorded_in_their_order() {
    let (installation, _admin) = Installation::prepared();
    let server = installation.serve();
    installation.configured(&["user", "create", "alice"]).done();
    let key =
        installation.configured(&["access-key", "create", "--user", "alice", "--json"]).json();
    let id = key["access_key_id"].as_str().unwrap();
    let file = installation.audit_file();
    // Two of each: those of `init`, and Alice's.
    let created = events(&file, "CreatePrincipal", 2).await;
    assert_eq!(created[1]["requestParameters"]["Principal"], "user/alice");
    assert_eq!(created[1]["eventType"], "ConsoleOperation");
    assert_eq!(created[1]["userIdentity"]["type"], "operator");
    let operator = created[1]["userIdentity"]["userName"].as_str().unwrap();
    assert!(operator.starts_with("uid:"), "{operator}");
    let keys = events(&file, "CreateAccessKey", 2).await;
    assert_eq!(keys[1]["requestParameters"]["UserAccessKeyId"], id);

    installation.configured(&["user", "attach", "alice", "AliyunKMSReadOnlyAccess"]).done();
    installation.configured(&["access-key", "disable", id]).done();
    installation.configured(&["sts", "assume", "--user-name", "alice", "--json"]).json();
    assert_eq!(server.stop(), Some(0));
    // Without a gateway.
    installation.configured(&["access-key", "delete", id]).done();
    installation.configured(&["user", "delete", "alice"]).done();
    let server = installation.serve();
    events(&file, "DeletePrincipal", 1).await;
    assert_eq!(server.stop(), Some(0));
    let records = records(&file);
    let names: Vec<&str> = records
        .iter()
        .filter(|record| record["eventType"] == "ConsoleOperation")
        .map(|record| record["eventName"].as_str().unwrap())
        // The commands that the running gateway executes; the changes have their own records.
        .filter(|name| *name != "OperatorCommand")
        .collect();
    let expected = [
        "Initialize",
        "CreatePrincipal",
        "CreateAccessKey",
        "CreatePrincipal",
        "CreateAccessKey",
        "SetPrincipalPolicies",
        "UpdateAccessKey",
        "AssumeRole",
        "DeleteAccessKey",
        "DeletePrincipal",
    ];
    assert_eq!(names, expected);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains(key["access_key_secret"].as_str().unwrap()));
    let report = Verifier::new(None, Expectation::default()).files(&[file]).unwrap();
    assert_eq!(report.faults, []);
}

#[tokio::test]
async fn what_the_gateway_does_when_it_is_due_is_on_record_before_and_after() {
    let gateway = Gateway::start();
    let doomed = gateway.create_key().await;
    let window = ("PendingWindowInDays", "7");
    gateway.call("ScheduleKeyDeletion", &[("KeyId", &doomed), window]).await;
    let on = ("EnableAutomaticRotation", "true");
    let rotating = gateway.create_key_with(&[on, ("RotationInterval", "7d")]).await;
    let gateway = gateway
        .restart_with("UPDATE keys SET delete_at = delete_at - 8 * 86400 WHERE delete_at > 0")
        .await
        .restart_with("UPDATE key_versions SET created = created - 8 * 86400")
        .await;
    let file = gateway.state().join("audit.jsonl");
    for (name, key) in [("DestroyKey", &doomed), ("RotateKey", &rotating)] {
        let event = events(&file, name, 1).await.remove(0);
        assert_eq!(event["eventType"], "AliyunServiceEvent");
        assert_eq!(event["resourceName"], *key);
        assert_eq!(event["userIdentity"]["type"], "system");
        assert!(event.get("errorCode").is_none());
        let records = records(&file);
        let at = |kind: &str| {
            let is_it = |it: &Value| it["record"] == kind && it["requestId"] == event["requestId"];
            records.iter().position(is_it).unwrap()
        };
        assert!(at("intent") < at("event"), "{name}");
    }
}
