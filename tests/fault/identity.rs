//! Another token in place of the configured one, or the same token without its keys, is never used.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fault_token::{Fault, Manner, Rule, When};
use serde_json::Value;
use tempfile::TempDir;

use crate::setup::{ENCRYPT, FaultToken, Setup, TOKEN_FILE, token_directory};
use crate::support::gateway::text;
use crate::support::installation::Installation;
use crate::support::softhsm::scratch;

const LABEL: &str = "hsmgate-dev";

/// Moves the token's objects away, and gives where they are.
fn empty(state: &Path) -> PathBuf {
    let aside = state.join("objects");
    fs::create_dir(&aside).unwrap();
    move_objects(&token_directory(state), &aside);
    aside
}

/// Puts them back.
fn fill(state: &Path, aside: &Path) {
    move_objects(aside, &token_directory(state));
}

fn move_objects(from: &Path, to: &Path) {
    for file in fs::read_dir(from).unwrap() {
        let (path, name) = file.map(|file| (file.path(), file.file_name())).unwrap();
        let text = name.to_str().unwrap();
        // Objects come with a lock file; the token itself stays.
        if !text.starts_with("token.") && text != "generation" {
            fs::rename(path, to.join(name)).unwrap();
        }
    }
}

/// Makes a token with the same label, by SoftHSM2's own tool, in `tokens`.
fn make_token(state: &Path, configuration: &Path, which: [&str; 2]) {
    let pin = |name: &str| fs::read_to_string(state.join(name)).unwrap().trim().to_owned();
    let output = Command::new("softhsm2-util")
        .args(["--init-token", "--label", LABEL, "--so-pin", &pin("so-pin"), "--pin", &pin("pin")])
        .args(which.iter().filter(|argument| !argument.is_empty()))
        .env("SOFTHSM2_CONF", configuration)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Has another token of the same label and PIN in the place of the token, and gives the own one.
fn replace(state: &Path) -> PathBuf {
    let (tokens, own) = (state.join("tokens"), state.join("own"));
    fs::rename(&tokens, &own).unwrap();
    fs::create_dir(&tokens).unwrap();
    make_token(state, &state.join("softhsm2.conf"), ["--free", ""]);
    own
}

fn objects_in(tokens: &Path) -> usize {
    let token = fs::read_dir(tokens).unwrap().next().unwrap().unwrap().path();
    let files = fs::read_dir(token).unwrap().map(|file| file.unwrap().file_name());
    files.filter(|name| name.to_str().unwrap().ends_with(".object")).count()
}

/// Callers are told to come later, and nothing is made.
async fn is_not_used(setup: &Setup) {
    setup.until_no_longer(200).await;
    let before = objects_in(&setup.gateway.state().join("tokens"));
    for _call in 0..10 {
        for (action, params) in
            [("Encrypt", &[("KeyId", "alias/demo"), ("Plaintext", "SGk=")][..]), ("CreateKey", &[])]
        {
            let reply = setup.reply(action, params).await;
            assert_eq!(reply.status, 503, "{reply:?}\n{}", setup.gateway.log());
        }
    }
    setup.until_readiness(503).await;
    assert_eq!(objects_in(&setup.gateway.state().join("tokens")), before);
}

async fn is_used_again(setup: &Setup, encrypted: &[String]) {
    assert_eq!(setup.until_no_longer(503).await.status, 200);
    setup.decrypts_all(encrypted).await;
}

#[tokio::test]
async fn a_token_that_was_emptied_under_a_recovery_is_not_used() {
    let mut setup = Setup::start();
    let encrypted = setup.encrypt_with_new_keys(3).await;
    let state = setup.gateway.state();
    let aside = empty(&state);
    setup.token.add(Rule::on_all(Fault::Finalize).when(When::At(1)));
    is_not_used(&setup).await;
    let log = setup.gateway.log();
    assert!(log.contains("no longer shows its known keys"), "{log}");
    fill(&state, &aside);
    is_used_again(&setup, &encrypted).await;
}

#[tokio::test]
async fn a_token_that_is_initialised_anew_under_the_gateway_is_not_used() {
    let setup = Setup::start();
    setup.encrypt_with_new_keys(3).await;
    let state = setup.gateway.state();
    make_token(&state, &state.join("softhsm2.conf"), ["--token", LABEL]);
    is_not_used(&setup).await;
}

#[tokio::test]
async fn another_token_with_the_same_label_is_not_used() {
    let mut setup = Setup::start();
    let encrypted = setup.encrypt_with_new_keys(3).await;
    let state = setup.gateway.state();
    let own = replace(&state);
    setup.token.add(Rule::on_all(Fault::Finalize).when(When::At(1)));
    is_not_used(&setup).await;
    fs::remove_dir_all(state.join("tokens")).unwrap();
    fs::rename(own, state.join("tokens")).unwrap();
    is_used_again(&setup, &encrypted).await;
}

#[tokio::test]
async fn no_gateway_starts_on_an_emptied_token_or_another_one() {
    let setup = Setup::start();
    setup.encrypt_with_new_keys(3).await;
    let Setup { gateway, token } = setup;
    let dir: TempDir = gateway.stop();
    let state = dir.path().join("state");
    let aside = empty(&state);
    let refusal = Setup::refuses_to_start_in(&dir, &token);
    assert!(refusal.contains("the token has no usable key"), "{refusal}");
    fill(&state, &aside);
    let own = replace(&state);
    let refusal = Setup::refuses_to_start_in(&dir, &token);
    assert!(refusal.contains("the store belongs to token serial"), "{refusal}");
    fs::remove_dir_all(state.join("tokens")).unwrap();
    fs::rename(own, state.join("tokens")).unwrap();
    assert_eq!(Setup::start_in(dir, token, &[]).encrypt().await.status, 200);
}

#[tokio::test]
async fn a_token_that_softhsm_has_lost_is_not_replaced() {
    let Setup { gateway, token } = Setup::start();
    let dir: TempDir = gateway.stop();
    let state = dir.path().join("state");
    let file = token_directory(&state).join(TOKEN_FILE);
    let content = fs::read(&file).unwrap();
    fs::write(&file, "").unwrap();
    let refusal = Setup::refuses_to_start_in(&dir, &token);
    assert!(refusal.contains("is missing or damaged"), "{refusal}");
    assert_eq!(fs::read_dir(state.join("tokens")).unwrap().count(), 1);
    fs::write(&file, content).unwrap();
    assert_eq!(Setup::start_in(dir, token, &[]).encrypt().await.status, 200);
}

/// The check of `doctor` whether database and token belong together, and the exit code.
fn binding(installation: &Installation) -> (Value, Option<i32>) {
    let outcome = installation.configured(&["doctor", "--json"]);
    let found: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    let mut checks = found["checks"].as_array().unwrap().iter();
    (checks.find(|check| check["name"] == "belonging").unwrap().clone(), outcome.code)
}

#[tokio::test]
async fn another_serial_number_is_accepted_from_the_token_that_has_the_key() {
    const CHANGED: &str = "token.serial_changed";
    let directory = TempDir::new_in(scratch()).unwrap();
    let mut token = FaultToken::new(directory.path());
    let (installation, user) = token.installation(|_text| {});
    let server = installation.serve();
    let client = server.client(&user);
    let key = client.call("CreateKey", &[]).await.unwrap()["KeyMetadata"]["KeyId"].clone();
    let params = [("KeyId", text(&key)), ENCRYPT[1]];
    let blob = client.call("Encrypt", &params).await.unwrap()["CiphertextBlob"].clone();
    assert_eq!(server.stop(), Some(0));
    let backup = installation.path("backup.db");
    let backup = backup.to_str().unwrap();
    installation.configured(&["backup", "--out", backup]).done();

    let other = token.add(Rule::manner(Manner::SerialNumber(4711)));
    let (check, code) = binding(&installation);
    assert_eq!((&check["verdict"], code), (&Value::from("warning"), Some(0)), "{check}");
    for (start, changes) in [("the first start", 1), ("the next start", 0), ("after a restore", 1)]
    {
        if changes == 1 && start != "the first start" {
            // The backup names the number before.
            installation.configured(&["restore", "--from", backup, "--reason", "a test"]).done();
        }
        let server = installation.serve();
        assert_eq!(server.count_logged(CHANGED), changes, "{start}: {}", server.log());
        let params = [("CiphertextBlob", text(&blob))];
        server.client(&user).call("Decrypt", &params).await.unwrap();
        assert_eq!(server.stop(), Some(0));
    }
    assert_eq!(binding(&installation).0["verdict"], "ok");

    // Neither a label nor a key alone is sufficient.
    token.replace(other, Rule::manner(Manner::SerialNumber(4712)));
    installation.change("UPDATE facts SET value = 'another' WHERE name = 'token-label'").await;
    let told = installation.configured(&["serve"]).failed(1);
    assert!(told.contains("the store belongs to token serial"), "{told}");
    assert_eq!(binding(&installation).0["verdict"], "failed");
}
