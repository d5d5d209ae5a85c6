//! What operators do on the command line: the audit has it, also after the database was replaced, and
//! a record that was deleted before the audit had it leaves a gap.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::audit_file::{events, records};
use crate::support::installation::Installation;
use crate::support::process::until;

/// The commands of operators in the audit file, by name.
fn commands(file: &Path) -> Vec<String> {
    let is_command = |record: &&Value| record["eventType"] == "ConsoleOperation";
    let name = |record: &Value| record["eventName"].as_str().unwrap().to_owned();
    records(file).iter().filter(is_command).map(name).collect()
}

#[tokio::test]
async fn a_command_that_was_deleted_before_it_was_audited_is_missed() {
    let (installation, _admin) = Installation::prepared();
    let file = installation.audit_file();
    let server = installation.serve();
    events(&file, "CreateAccessKey", 1).await;
    for user in ["alice", "mallory", "bob"] {
        installation.configured(&["user", "create", user]).done();
    }
    events(&file, "CreatePrincipal", 4).await;
    assert_eq!(server.stop(), Some(0));
    installation.configured(&["user", "delete", "alice"]).done();
    installation.configured(&["user", "delete", "mallory"]).done();
    installation.change("DELETE FROM operator_events WHERE body LIKE '%mallory%'").await;
    let server = installation.serve();
    let gap = events(&file, "MissingOperatorEvents", 1).await.remove(0);
    assert_eq!(gap["eventType"], "AliyunServiceEvent");
    let numbers = &gap["requestParameters"];
    assert_eq!(numbers["From"], numbers["To"]);
    until(|| server.has_logged("event=\"operator_events.missing\"")).await;
    events(&file, "DeletePrincipal", 1).await;
    assert_eq!(server.stop(), Some(0));
    // It is reported once, and later commands are recorded.
    installation.configured(&["user", "delete", "bob"]).done();
    let server = installation.serve();
    events(&file, "DeletePrincipal", 2).await;
    assert_eq!(server.stop(), Some(0));
    assert_eq!(events(&file, "MissingOperatorEvents", 1).await.len(), 1);
}

#[tokio::test]
async fn a_backup_and_its_restore_are_recorded_in_the_new_database_too() {
    let (installation, _admin) = Installation::prepared();
    let file = installation.audit_file();
    let backup = installation.path("backup.db");
    let path = backup.to_str().unwrap();
    installation.configured(&["backup", "--out", path]).done();
    let server = installation.serve();
    let recorded = events(&file, "BackupDatabase", 1).await.remove(0);
    assert_eq!(recorded["requestParameters"]["File"], path);
    assert!(recorded["userIdentity"]["userName"].as_str().unwrap().starts_with("uid:"));
    installation.configured(&["user", "create", "alice"]).done();
    assert_eq!(server.stop(), Some(0));
    // Made in the database that is replaced, and not audited yet.
    installation.configured(&["user", "delete", "alice"]).done();
    installation.configured(&["restore", "--from", path, "--reason", "a drill"]).done();
    let server = installation.serve();
    let restored = events(&file, "RestoreDatabase", 1).await.remove(0);
    assert_eq!(restored["requestParameters"]["Backup"], path);
    assert_eq!(restored["requestParameters"]["Reason"], "a drill");
    assert_eq!(server.stop(), Some(0));
    let names = commands(&file);
    assert_eq!(names.last().unwrap(), "RestoreDatabase");
    let made = |record: &Value| {
        record["eventName"] == "DeletePrincipal"
            && record["requestParameters"]["Principal"] == "user/alice"
    };
    assert!(records(&file).iter().any(made), "{names:?}");
    assert_eq!(events(&file, "MissingOperatorEvents", 0).await.len(), 0);
}

#[tokio::test]
async fn a_recovery_is_recorded_in_the_database_that_it_makes() {
    let (installation, admin) = Installation::prepared();
    let server = installation.serve();
    server.client(&admin).call("CreateKey", &[]).await.unwrap();
    assert_eq!(server.stop(), Some(0));
    for name in ["hsmgate.db", "hsmgate.db-wal", "hsmgate.db-shm"] {
        fs::remove_file(installation.path(name)).ok();
    }
    installation.configured(&["recover", "--reason", "the disk is lost"]).done();
    let server = installation.serve();
    let recovered = events(&installation.audit_file(), "RecoverKeys", 1).await.remove(0);
    assert_eq!(recovered["requestParameters"]["Keys"], "1");
    assert_eq!(recovered["requestParameters"]["Reason"], "the disk is lost");
    assert_eq!(server.stop(), Some(0));
}
