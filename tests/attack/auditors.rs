//! The commands on the page for auditors work.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::installation::run;
use crate::support::recorded::Recorded;

/// The questions of the page, each with its `jq` command.
fn questions() -> Vec<(String, String)> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/for-auditors.md");
    let page = fs::read_to_string(page).unwrap();
    let row = |line: &str| {
        let line = line.replace("\\|", "\u{1}");
        let (question, rest) = line.strip_prefix("| ")?.split_once(" | `jq ")?;
        let (command, _rest) = rest.split_once('`')?;
        Some((question.to_owned(), format!("jq {}", command.replace('\u{1}', "|"))))
    };
    page.lines().filter_map(row).collect()
}

fn answer(command: &str, directory: &Path) -> Vec<Value> {
    let output =
        Command::new("bash").args(["-c", command]).current_dir(directory).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn each_command_for_auditors_answers_its_question() {
    if Command::new("jq").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "jq is not installed");
        println!("skipped: jq is not installed");
        return;
    }
    let recorded = Recorded::stopped().await;
    let installation = &recorded.installation;
    installation.configured(&["backup", "--out", installation.path("b").to_str().unwrap()]).done();
    let server = installation.serve();
    let client = server.client(&recorded.admin);
    assert!(client.call("DescribeKey", &[("KeyId", "alias/none")]).await.is_err());
    let created = client.call("CreateKey", &[]).await.unwrap();
    let key = created["KeyMetadata"]["KeyId"].as_str().unwrap();
    let window = ("PendingWindowInDays", "7");
    client.call("ScheduleKeyDeletion", &[("KeyId", key), window]).await.unwrap();
    installation.configured(&["user", "delete", "none"]).failed(3);
    assert_eq!(server.stop(), Some(0));
    let file = recorded.file();
    let directory = file.parent().unwrap();
    let questions = questions();
    assert!(questions.len() >= 12, "{questions:?}");
    // What never happened here.
    let unasked = [
        "who released it",
        "removed before",
        "the clock jump",
        "own records changed",
        "key that signs replaced",
    ];
    for (question, command) in questions {
        let command =
            command.replace("KEY-ID", key).replace("\"ID\"", &format!("\"{}\"", recorded.admin.id));
        let found = answer(&command, directory);
        let is_empty = unasked.iter().any(|words| question.contains(words));
        assert_eq!(found.is_empty(), is_empty, "{question}: {command}: {found:?}");
    }
    let verify = ["audit", "verify", file.to_str().unwrap()];
    run(installation.command(&verify), b"").done();
}
