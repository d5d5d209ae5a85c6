//! `hsmgate serve --supervise` restarts a gateway that crashed.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::installation::Installation;
use crate::support::process::{is_alive, signal, until};

const ENCRYPT: &[(&str, &str)] = &[("KeyId", "alias/a"), ("Plaintext", "SGVsbG8=")];

/// Time from the crash to the first answer. A busy machine may take longer once, but less than the ten
/// seconds for which SDKs wait.
const RESTART: Duration = Duration::from_secs(3);
const LONGEST_RESTART: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_gateway_that_crashes_is_back_before_its_clients_notice() {
    let (installation, user) = Installation::prepared();
    let server = installation.serve_with(&["--supervise"]);
    let client = server.client(&user);
    let created = client.call("CreateKey", &[]).await.unwrap();
    let key = created["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    client.call("CreateAlias", &[("AliasName", "alias/a"), ("KeyId", &key)]).await.unwrap();
    let before = client.call("Encrypt", ENCRYPT).await.unwrap();

    let mut fastest = Duration::MAX;
    for _crash in 0..3 {
        let child = server.supervised();
        signal("ABRT", &child);
        // A crash that is not over would still answer.
        until(|| !is_alive(&child)).await;
        let begin = Instant::now();
        // The supervisor holds the listener: the connection waits, and nobody is refused.
        let answer = server.client(&user).call("Encrypt", ENCRYPT).await.unwrap();
        let took = begin.elapsed();
        println!("first answer {} ms after the crash", took.as_millis());
        assert_eq!(answer["KeyVersionId"], before["KeyVersionId"]);
        assert!(took < LONGEST_RESTART, "{took:?}");
        fastest = fastest.min(took);
    }
    assert!(fastest < RESTART, "{fastest:?}");
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test]
async fn a_supervisor_retries_a_configuration_that_became_invalid_while_serving() {
    let (installation, user) = Installation::prepared();
    let server = installation.serve_with(&["--supervise"]);
    server.client(&user).call("ListKeys", &[]).await.unwrap();
    let file = installation.path("hsmgate.toml");
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, "nonsense").unwrap();
    signal("KILL", &server.supervised());
    until(|| server.count_logged("exit status: 2") >= 2).await;
    fs::write(&file, good).unwrap();
    server.client(&user).call("ListKeys", &[]).await.unwrap();
    // A PIN that the token refuses is not tried over and over.
    fs::write(installation.path("pin"), "wrong-pin\n").unwrap();
    signal("KILL", &server.supervised());
    assert_eq!(server.wait(), Some(2));
}

#[tokio::test]
async fn a_gateway_ends_with_its_supervisor() {
    let (installation, _user) = Installation::prepared();
    let server = installation.serve_with(&["--supervise"]);
    let child = server.supervised();
    server.signal("KILL");
    until(|| !is_alive(&child)).await;
}

#[test]
fn an_invalid_configuration_ends_the_supervisor() {
    let installation = Installation::new();
    fs::remove_file(installation.path("pin")).unwrap();
    let told = installation.configured(&["serve", "--supervise"]).failed(2);
    assert!(told.contains("cannot start with this configuration"), "{told}");
}
