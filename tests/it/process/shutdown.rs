//! SIGTERM: requests in progress are completed, and new ones are not accepted.

use tokio::net::TcpStream;

use crate::support::admin_client::get;
use crate::support::gateway::Gateway;
use crate::support::installation::Installation;
use crate::support::process::until;
use crate::support::raw_http::Connection;
use crate::support::signed_calls::{Call, ParamLocation, Signing, SigningVariant};

const ENCRYPT: &[(&str, &str)] = &[("KeyId", "alias/demo"), ("Plaintext", "SGVsbG8=")];

#[tokio::test]
async fn a_request_whose_body_is_half_sent_is_still_answered() {
    let gateway = Gateway::start();
    let address = gateway.address().to_owned();
    let mut call = Call::new(
        &gateway,
        SigningVariant(Signing::Acs3, ParamLocation::PostForm),
        "Encrypt",
        ENCRYPT,
    );
    call.set_header("expect", "100-continue");
    let bytes = call.signed().bytes();
    let (sent, kept) = bytes.split_at(bytes.len() - 10);
    let mut connection = Connection::open(&address).await;
    connection.send(sent).await;
    // It asks for the body, so it has the request in its hands.
    assert_eq!(connection.head().await.map(|head| head.status), Some(100));

    gateway.terminate();
    until_refused(&address).await;
    connection.send(kept).await;
    let answer = connection.answer().await.expect("it was under way before the signal");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.json()["CiphertextBlob"].is_string());
    assert!(connection.is_closed().await);
    gateway.ended();
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_does_not_delay_the_shutdown() {
    let gateway = Gateway::start();
    let call = |gateway| {
        Call::new(
            gateway,
            SigningVariant(Signing::Acs3, ParamLocation::PostQuery),
            "Encrypt",
            ENCRYPT,
        )
    };
    let mut connection = Connection::open(gateway.address()).await;
    connection.send(&call(&gateway).signed().bytes()).await;
    assert_eq!(connection.answer().await.unwrap().status, 200);
    gateway.terminate();
    assert!(connection.is_closed().await);
    let directory = gateway.ended();
    let log = std::fs::read_to_string(directory.path().join("log")).unwrap();
    assert!(log.contains("the token is closed") && !log.contains("connections.aborted"), "{log}");
}

#[tokio::test]
async fn a_draining_gateway_is_not_ready_and_answers_every_request() {
    let (installation, user) = Installation::prepared();
    installation.configure(|text| {
        *text = text
            .replace("drain_ms = 0", "drain_ms = 600000")
            .replace("address = \"\"", "address = \"127.0.0.1:0\"");
    });
    let server = installation.serve();
    let admin = format!("http://{}", server.admin_address());
    let regions = || {
        let variant = SigningVariant(Signing::Acs3, ParamLocation::PostQuery);
        let user = (user.id.as_str(), user.secret.as_str());
        Call::to(server.address(), user, variant, "DescribeRegions", &[]).signed().bytes()
    };
    let mut kept = Connection::open(server.address()).await;
    kept.send(&regions()).await;
    let answer = kept.answer().await.unwrap();
    assert_eq!((answer.status, answer.header("connection")), (200, ""));
    assert_eq!(get(&admin, "/readyz").await.0, 200);

    server.signal("TERM");
    until(|| server.has_logged("stopping")).await;
    let mut readiness = get(&admin, "/readyz").await;
    while readiness.0 == 200 {
        readiness = get(&admin, "/readyz").await;
    }
    assert!(readiness.1.contains("stopping"), "{readiness:?}");
    for mut connection in [Connection::open(server.address()).await, kept] {
        connection.send(&regions()).await;
        let answer = connection.answer().await.unwrap();
        assert_eq!((answer.status, answer.header("connection")), (200, "close"));
        assert!(connection.is_closed().await);
    }
}

/// Waits until nobody listens any more.
async fn until_refused(address: &str) {
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}
