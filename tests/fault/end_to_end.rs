//! Checks that token, store and audit log are consistent.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::{Connection as _, SqliteConnection};

use crate::support::gateway::{Gateway, sign_rows};
use crate::support::process::LIMIT;
use crate::support::softhsm;

/// What is begun and not finished.
const INCOMPLETE: &str = "SELECT (SELECT COUNT(*) FROM keys WHERE state IN ('Creating', 'Deleting') \
     OR (delete_at IS NOT NULL AND delete_at < 1000)) \
     + (SELECT COUNT(*) FROM key_versions WHERE is_live = 0)";
/// The objects that the rows of keys ask for.
const OBJECTS: &str = "SELECT COALESCE(SUM(CASE WHEN spec LIKE 'RSA%' OR spec LIKE 'EC%' \
     THEN 2 ELSE 1 END), 0) FROM key_versions JOIN keys ON keys.id = key_versions.key_id \
     WHERE origin <> 'EXTERNAL' OR material_is_present = 1";
/// The import tokens that are good; each may have a wrapping pair.
const IMPORTS: &str = "SELECT COUNT(*) FROM documents WHERE kind = 'import-parameters'";

/// A gateway's token and store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Consistency {
    /// The objects of the service itself.
    own_objects: i64,
}

impl Consistency {
    /// As it is when nothing has gone wrong yet.
    pub(crate) async fn of(gateway: &Gateway) -> Self {
        let mut database = open(gateway).await;
        let own_objects = files(gateway) - count(&mut database, OBJECTS).await;
        Self { own_objects }
    }

    /// Nothing is half made, and there are as many objects as the rows ask for.
    pub(crate) async fn check(&self, gateway: &Gateway) {
        let mut database = open(gateway).await;
        let limit = Instant::now() + LIMIT;
        while count(&mut database, INCOMPLETE).await > 0 {
            assert!(Instant::now() < limit, "half made\n{}", gateway.log());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let least = self.own_objects + count(&mut database, OBJECTS).await;
        let most = least + 2 * count(&mut database, IMPORTS).await;
        // A job takes out what could not be taken out at once.
        while !(least..=most).contains(&files(gateway)) {
            let files = files(gateway);
            assert!(Instant::now() < limit, "{files} objects, not {least} to {most}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// As [`Consistency::check`], and every row has its objects and every object its row, and no record
    /// of the audit is missing.
    pub(crate) async fn check_all(&self, gateway: &Gateway) {
        self.check(gateway).await;
        doctor(gateway);
        verify(gateway);
    }
}

/// Tells the number that a query gives.
pub(crate) async fn count(database: &mut SqliteConnection, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(database).await.unwrap()
}

/// Changes the rows of a key as another process would.
pub(crate) async fn change(gateway: &Gateway, sql: &'static str, key: &str) {
    let mut database = open(gateway).await;
    let changed = sqlx::query(sql).bind(key).execute(&mut database).await.unwrap();
    assert_eq!(changed.rows_affected(), 1, "{sql}");
    database.close().await.unwrap();
    sign_rows(&gateway.state());
}

/// The database, beside the gateway.
pub(crate) async fn open(gateway: &Gateway) -> SqliteConnection {
    let path = gateway.state().join("hsmgate.db");
    SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap()
}

fn files(gateway: &Gateway) -> i64 {
    i64::try_from(gateway.token_objects()).unwrap()
}

/// What `hsmgate doctor` says of objects and rows.
fn doctor(gateway: &Gateway) {
    let state = gateway.state();
    let text = fs::read_to_string(state.join("hsmgate.toml")).unwrap();
    let (softhsm, module) = (softhsm::module(), fault_token::library());
    let config = state.join("doctor.toml");
    let text = text.replace(module.to_str().unwrap(), softhsm.to_str().unwrap());
    fs::write(&config, text).unwrap();
    let output = hsmgate(gateway, &["doctor", "--json", "--config", config.to_str().unwrap()]);
    let found: Value = serde_json::from_slice(&output.0).unwrap_or_else(|_| panic!("{output:?}"));
    let checks = found["checks"].as_array().unwrap();
    for name in ["key objects", "objects without a row", "rows without an object"] {
        let check = checks.iter().find(|check| check["name"] == name);
        let is_ok = check.is_some_and(|check| check["verdict"] == "ok");
        assert!(is_ok, "{check:?}\n{}", gateway.log());
    }
    assert!(!checks.iter().any(|check| check["name"] == "destroyed keys"), "{found}");
}

/// The chain of the audit is whole.
fn verify(gateway: &Gateway) {
    let audit = gateway.state().join("audit.jsonl");
    let (out, err) = hsmgate(gateway, &["audit", "verify", "--json", audit.to_str().unwrap()]);
    let report: Value = serde_json::from_slice(&out).unwrap_or_else(|_| panic!("{err}"));
    assert_eq!(report["faults"], serde_json::json!([]), "{report}");
}

/// What a command says, on both channels.
fn hsmgate(gateway: &Gateway, arguments: &[&str]) -> (Vec<u8>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_hsmgate"))
        .args(arguments)
        .env("SOFTHSM2_CONF", gateway.state().join("softhsm2.conf"))
        .env("HSMGATE_ALLOW_ROOT", "1")
        .output()
        .unwrap();
    (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
}
