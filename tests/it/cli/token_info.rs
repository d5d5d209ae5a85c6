//! `hsmgate token info` while a gateway runs.

use std::process::{Command, Output};

use serde_json::Value;

use crate::support::gateway::Gateway;

fn token_info(gateway: &Gateway, options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hsmgate"))
        .args(["token", "info", "--dir"])
        .arg(gateway.state())
        .args(options)
        .output()
        .unwrap()
}

#[tokio::test]
async fn it_shows_the_token_and_its_capabilities() {
    let gateway = Gateway::start();
    let output = token_info(&gateway, &["--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let info: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(info["label"], "hsmgate-dev");
    assert!(!info["serial"].as_str().unwrap().is_empty());
    let capabilities = info["capabilities"].as_array().unwrap();
    let supports = |name: &str| {
        let found = capabilities.iter().find(|one| one["name"] == name).unwrap();
        found["is_supported"].as_bool().unwrap()
    };
    assert!(supports("aes-256-gcm") && supports("rsa-2048") && supports("ec-p256"));

    let find = |name: &str| capabilities.iter().find(|one| one["name"] == name).unwrap();
    let refused = find("unwrap-oaep-sha256");
    assert_eq!(refused["is_listed"], true);
    assert_eq!((&refused["is_tested"], &refused["is_supported"]), (&true.into(), &false.into()));
    assert!(refused["refusal"].as_str().unwrap().contains("CKR_ARGUMENTS_BAD"), "{refused}");
    assert_eq!(find("rsa-4096")["is_tested"], false);
    assert_eq!(find("unwrap-oaep-sha1")["is_tested"], true);

    let table = String::from_utf8(token_info(&gateway, &[]).stdout).unwrap();
    let rows: Vec<_> = table.lines().collect();
    assert!(rows.iter().any(|row| row.starts_with("aes-256-gcm ") && row.contains("  yes  ")));
    assert_eq!(rows.len(), 10 + 2 + capabilities.len());
    assert_eq!(
        (&info["gcm"]["iv_from"], &info["gcm"]["iv_bytes"]),
        (&"gateway".into(), &12.into())
    );
    // SoftHSM2 is in the process: a call takes some microseconds, and few threads are fastest.
    let (call, workers) = (&info["call_microseconds"], &info["workers"]);
    assert!((0.1..10_000.0).contains(&call.as_f64().unwrap()), "{call}");
    assert!((1..=4).contains(&workers.as_u64().unwrap()), "{workers}");
    let row = |name: &str| rows.iter().find(|row| row.starts_with(name)).unwrap();
    assert!(row("Round trip ").ends_with(" µs for a call"), "{table}");
    assert!(row("Workers ").trim_end().ends_with(char::is_numeric), "{table}");
}

#[tokio::test]
async fn another_directory_is_not_found() {
    let gateway = Gateway::start();
    let elsewhere = gateway.state().join("tokens");
    let output = Command::new(env!("CARGO_BIN_EXE_hsmgate"))
        .args(["token", "info", "--dir"])
        .arg(elsewhere)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
}
