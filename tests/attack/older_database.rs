//! An older database in place of the present one, while no gateway runs.

use std::fs;
use std::path::Path;

use sqlx::Connection as _;

use crate::support::calls::{code, until_code};
use crate::support::installation::{AccessKey, Installation};

const FULL: &str = "AliyunKMSFullAccess";
const FILES: [&str; 3] = ["hsmgate.db", "hsmgate.db-wal", "hsmgate.db-shm"];

/// Copies files of the installation to a directory, or back from it. A file that is missing there is
/// removed here.
fn copy_files(from: &Path, to: &Path, names: &[&str]) {
    fs::create_dir_all(to).unwrap();
    for name in names {
        fs::remove_file(to.join(name)).ok();
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

/// An installation whose user was disabled, after a copy of its files in `older`.
async fn with_disabled_user(installation: &Installation) -> AccessKey {
    let mallory = installation.create_access_key("mallory", &[FULL]);
    let server = installation.serve();
    assert_eq!(code(&server.client(&mallory), "ListKeys", &[]).await, "");
    assert_eq!(server.stop(), Some(0));
    let names = [&FILES[..], &["audit.jsonl"]].concat();
    copy_files(&installation.path("."), &installation.path("older"), &names);
    for _round in 0..2 {
        let server = installation.serve();
        assert_eq!(code(&server.client(&mallory), "ListKeys", &[]).await, "");
        assert_eq!(server.stop(), Some(0));
    }
    installation.configured(&["access-key", "disable", &mallory.id]).done();
    let server = installation.serve();
    until_code(&server.client(&mallory), "ListKeys", &[], "InvalidAccessKeyId.Inactive").await;
    assert_eq!(server.stop(), Some(0));
    mallory
}

/// What a start says that is refused.
fn refused_start(installation: &Installation) -> String {
    // A gateway that serves is ended with exit code 124.
    let config = installation.path("hsmgate.toml");
    let serve = ["serve", "--config", config.to_str().unwrap()];
    installation.run_under(&["timeout", "60"], &serve).failed(1)
}

/// Checks that a start is refused with the way out, and that the operator who takes it is recorded.
async fn is_refused_until_accepted(installation: &Installation, mallory: &AccessKey, told: &str) {
    let refused = refused_start(installation);
    assert!(refused.contains(told) && refused.contains("hsmgate recover"), "{refused}");
    installation.configured(&["recover", "--reason", "no newer database exists"]).done();
    let server = installation.serve();
    assert_eq!(code(&server.client(mallory), "ListKeys", &[]).await, "");
    assert_eq!(server.stop(), Some(0));
    let audit = fs::read_to_string(installation.audit_file()).unwrap();
    let record = audit.lines().find(|line| line.contains("RecoverKeys")).unwrap();
    assert!(record.contains("no newer database exists"), "{record}");
    // It is accepted once, for all later starts.
    assert_eq!(installation.serve().stop(), Some(0));
}

#[tokio::test]
async fn an_older_database_is_refused_by_the_counter_of_the_token() {
    let (installation, _admin) = Installation::prepared();
    let mallory = with_disabled_user(&installation).await;
    // With the audit file of that time, so that only the token knows.
    let names = [&FILES[..], &["audit.jsonl"]].concat();
    copy_files(&installation.path("older"), &installation.path("."), &names);
    let doctor = installation.configured(&["doctor"]);
    assert_ne!(doctor.code, Some(0));
    let shown = String::from_utf8(doctor.stdout).unwrap();
    assert!(shown.contains("the database is older than the token knows"), "{shown}");
    is_refused_until_accepted(&installation, &mallory, "older than the token").await;
}

#[tokio::test]
async fn an_older_database_is_refused_by_the_audit_file_if_the_token_keeps_no_counter() {
    let mut installation = Installation::new();
    installation.play_manners("attribute-unknown=CKA_APPLICATION");
    installation.configure(|_text| {});
    installation.init().done();
    let mallory = with_disabled_user(&installation).await;
    copy_files(&installation.path("older"), &installation.path("."), &FILES);
    is_refused_until_accepted(&installation, &mallory, "older than the audit file").await;
}

#[tokio::test]
async fn rows_of_an_older_database_are_refused_beside_the_metadata_of_the_newest_one() {
    let (installation, _admin) = Installation::prepared();
    let mallory = with_disabled_user(&installation).await;
    // The newest counter, head of the audit and digest of the metadata, all with their MACs.
    let mut database = installation.database().await;
    let older = installation.path("older/hsmgate.db");
    let attach = sqlx::query("ATTACH $1 AS older").bind(older.to_str().unwrap());
    attach.execute(&mut database).await.unwrap();
    let replace = "DELETE FROM access_keys; INSERT INTO access_keys SELECT * FROM older.access_keys; \
                   DELETE FROM principals; INSERT INTO principals SELECT * FROM older.principals; \
                   DELETE FROM row_digests WHERE scope = 'access'; \
                   INSERT INTO row_digests SELECT * FROM older.row_digests WHERE scope = 'access'";
    sqlx::raw_sql(replace).execute(&mut database).await.unwrap();
    database.close().await.unwrap();
    is_refused_until_accepted(&installation, &mallory, "rows of the database are older").await;
}

#[tokio::test]
async fn an_older_head_of_the_audit_with_a_truncated_file_is_refused() {
    let (installation, admin) = Installation::prepared();
    let server = installation.serve();
    server.client(&admin).call("ListKeys", &[]).await.unwrap();
    assert_eq!(server.stop(), Some(0));
    let audit = installation.audit_file();
    let length = fs::metadata(&audit).unwrap().len();
    copy_files(&installation.path("."), &installation.path("older"), &FILES);
    let server = installation.serve();
    server.client(&admin).call("CreateKey", &[]).await.unwrap();
    assert_eq!(server.stop(), Some(0));
    // The row of that time, with its MAC, and the file without what was recorded since.
    let mut database = installation.database().await;
    let older = installation.path("older/hsmgate.db");
    let attach = sqlx::query("ATTACH $1 AS older").bind(older.to_str().unwrap());
    attach.execute(&mut database).await.unwrap();
    let replace = "DELETE FROM facts WHERE name = 'audit-head'; \
                   INSERT INTO facts SELECT * FROM older.facts WHERE name = 'audit-head'";
    sqlx::raw_sql(replace).execute(&mut database).await.unwrap();
    database.close().await.unwrap();
    fs::File::options().write(true).open(&audit).unwrap().set_len(length).unwrap();
    let refused = refused_start(&installation);
    assert!(refused.contains("metadata") && refused.contains("hsmgate store sign"), "{refused}");
    installation.sign();
    assert_eq!(installation.serve().stop(), Some(0));
}

#[tokio::test]
async fn a_restore_of_a_backup_is_accepted_by_the_counter_and_the_audit() {
    let (installation, _admin) = Installation::prepared();
    let backup = installation.path("backup.db");
    installation.configured(&["backup", "--out", backup.to_str().unwrap()]).done();
    let mallory = with_disabled_user(&installation).await;
    // The present database cannot tell what it knows of the audit.
    installation.lose_database();
    let from = ["restore", "--from", backup.to_str().unwrap(), "--reason", "the disk failed"];
    installation.configured(&from).done();
    let server = installation.serve();
    // The backup is older than the user.
    assert_eq!(
        code(&server.client(&mallory), "ListKeys", &[]).await,
        "InvalidAccessKeyId.NotFound"
    );
    assert_eq!(server.stop(), Some(0));
    let audit = fs::read_to_string(installation.audit_file()).unwrap();
    assert!(audit.contains("the disk failed"), "{audit}");
}

#[tokio::test]
async fn a_killed_gateway_starts_again_with_its_database() {
    let (installation, admin) = Installation::prepared();
    for _round in 0..3 {
        let server = installation.serve();
        assert_eq!(code(&server.client(&admin), "CreateKey", &[]).await, "");
        server.signal("KILL");
        server.wait();
    }
    assert_eq!(installation.serve().stop(), Some(0));
}
