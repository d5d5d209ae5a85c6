//! `hsmgate serve --supervise`: the gateway comes back by itself when it crashes.

use std::fs;
use std::time::{Duration, Instant};

use crate::gateway::signal;
use crate::installation::{Installation, Server};

const ENCRYPT: &[(&str, &str)] = &[("KeyId", "alias/a"), ("Plaintext", "SGVsbG8=")];

/// What is promised for a restart, crash to first answer.
const RESTART: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_gateway_that_crashes_is_back_before_its_clients_notice() {
    let (installation, user) = Installation::prepared();
    let server = installation.serve_with(&["--supervise"]);
    let client = server.client(&user);
    let created = client.call("CreateKey", &[]).await.unwrap();
    let key = created["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    client.call("CreateAlias", &[("AliasName", "alias/a"), ("KeyId", &key)]).await.unwrap();
    let before = client.call("Encrypt", ENCRYPT).await.unwrap();

    for _crash in 0..3 {
        let child = child_of(&server);
        signal("ABRT", &child);
        // A crash that is not over would still answer.
        until(|| !is_alive(&child)).await;
        let begin = Instant::now();
        // The supervisor holds the listener: the connection waits, and nobody is refused.
        let answer = server.client(&user).call("Encrypt", ENCRYPT).await.unwrap();
        let took = begin.elapsed();
        println!("first answer {} ms after the crash", took.as_millis());
        assert_eq!(answer["KeyVersionId"], before["KeyVersionId"]);
        assert!(took < RESTART, "{took:?}");
    }
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test]
async fn a_gateway_ends_with_its_supervisor() {
    let (installation, _user) = Installation::prepared();
    let server = installation.serve_with(&["--supervise"]);
    let child = child_of(&server);
    server.signal("KILL");
    until(|| !is_alive(&child)).await;
}

#[test]
fn a_configuration_that_is_wrong_ends_the_supervisor_too() {
    let installation = Installation::new();
    fs::remove_file(installation.path("pin")).unwrap();
    let told = installation.configured(&["serve", "--supervise"]).failed(2);
    assert!(told.contains("cannot be started as it is set up"), "{told}");
}

/// The process id of the gateway under a supervisor.
fn child_of(server: &Server) -> String {
    let id = server.process_id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    children.split_whitespace().next().expect("it has started a gateway").to_owned()
}

fn is_alive(process: &str) -> bool {
    fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
}

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}
