//! A PostgreSQL database that does not respond: what a gateway serves meanwhile, and when it is ready.

use std::fs;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::postgresql::{configure, create_key, encrypt};
use crate::support::admin_client::get;
use crate::support::calls::{code, refused};
use crate::support::installation::{AccessKey, Installation, Server};
use crate::support::postgresql;
use crate::support::process::until_async;
use crate::support::raw_http::exchange;
use crate::support::scale::{allowed, report};
use crate::support::signed_calls::{Call, SigningVariant};

const UNAVAILABLE: &str = "ServiceUnavailableTemporary";

/// Status and state of the store, as a load balancer sees them.
async fn readiness(gateway: &Server) -> (u16, String) {
    let (status, body) = get(&format!("http://{}", gateway.admin_address()), "/readyz").await;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    (status, body["dependencies"]["store"]["status"].as_str().unwrap().to_owned())
}

/// A gateway with these settings of the store and further sections, and a server of its own.
fn started(
    settings: &str,
    sections: &str,
) -> (postgresql::Server, Installation, AccessKey, Server) {
    let database = postgresql::Server::start(&[]);
    database.execute("postgres", "CREATE DATABASE keys");
    let directory = database.directory().display();
    let url = format!("postgres://{}@localhost/keys?host={directory}", postgresql::ROLE);
    let installation = Installation::new();
    configure(&installation, &url, settings);
    let file = installation.path("hsmgate.toml");
    let text = fs::read_to_string(&file).unwrap();
    let admin_listener = "[admin]\naddress = \"127.0.0.1:0\"";
    let text = text.replace("[admin]\naddress = \"\"", admin_listener);
    fs::write(&file, format!("{text}{sections}")).unwrap();
    let admin = AccessKey::of(&installation.init().json());
    let gateway = installation.serve();
    (database, installation, admin, gateway)
}

#[tokio::test]
async fn a_silent_database_stops_changes_at_once_and_cryptography_never() {
    let (database, _installation, admin, gateway) = started("", "");
    let key = create_key(&gateway, &admin).await;
    // Leases the numbers of the next encryptions.
    encrypt(&gateway, &admin, &key).await;
    assert_eq!(readiness(&gateway).await, (200, "ok".to_owned()));
    database.halt();
    encrypt(&gateway, &admin, &key).await;
    until_async(async || readiness(&gateway).await.1 == "degraded").await;
    let client = gateway.client(&admin);
    let change = refused(&client, "CreateKey", &[]).await;
    assert_eq!(change, (503, UNAVAILABLE.to_owned()));
    // Found by the gateway itself, so that no caller waits any more.
    until_async(async || gateway.has_logged("store.lock_lost")).await;
    encrypt(&gateway, &admin, &key).await;
    assert_eq!(readiness(&gateway).await, (200, "degraded".to_owned()));
    let variant = SigningVariant::all().next().unwrap();
    let user = (admin.id.as_str(), admin.secret.as_str());
    let change = Call::to(gateway.address(), user, variant, "CreateKey", &[]).signed().bytes();
    let answer = exchange(gateway.address(), &change).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    let begun = Instant::now();
    database.resume();
    until_async(async || code(&client, "CreateKey", &[]).await.is_empty()).await;
    let recovered = begun.elapsed();
    report(&format!("changes are possible {recovered:?} after the database responds again"));
    assert!(recovered < allowed(Duration::from_secs(1)), "{recovered:?}");
    until_async(async || readiness(&gateway).await == (200, "ok".to_owned())).await;
    assert!(!gateway.has_logged("event=\"store.outage\""), "{}", gateway.log());
}

#[tokio::test]
async fn after_the_time_of_an_outage_the_gateway_is_not_ready_and_refuses_if_it_shall() {
    let settings = "outage_seconds = 2\nafter_outage = \"refuse\"\n";
    let (database, _installation, admin, gateway) = started(settings, "");
    let key = create_key(&gateway, &admin).await;
    encrypt(&gateway, &admin, &key).await;
    let client = gateway.client(&admin);
    let parameters = [("KeyId", key.as_str()), ("Plaintext", "SGVsbG8gd29ybGQ=")];
    database.stop();
    assert_eq!(code(&client, "Encrypt", &parameters).await, "");
    until_async(async || readiness(&gateway).await.1 == "degraded").await;
    until_async(async || code(&client, "Encrypt", &parameters).await == UNAVAILABLE).await;
    until_async(async || readiness(&gateway).await == (503, "failed".to_owned())).await;
    assert_eq!(code(&client, "DescribeKey", &parameters[..1]).await, UNAVAILABLE);
    until_async(async || gateway.has_logged("event=\"store.outage\"")).await;
    database.restart();
    until_async(async || code(&client, "Encrypt", &parameters).await.is_empty()).await;
    until_async(async || code(&client, "CreateKey", &[]).await.is_empty()).await;
    until_async(async || readiness(&gateway).await == (200, "ok".to_owned())).await;
    assert!(gateway.has_logged("store.outage_ended"), "{}", gateway.log());
}

#[tokio::test]
async fn gateways_that_share_nonces_refuse_at_once_while_the_database_is_silent() {
    let (database, _installation, admin, gateway) = started("", "[cluster]\nname = \"a\"\n");
    let key = create_key(&gateway, &admin).await;
    encrypt(&gateway, &admin, &key).await;
    let client = gateway.client(&admin);
    let parameters = [("KeyId", key.as_str()), ("Plaintext", "SGVsbG8gd29ybGQ=")];
    database.halt();
    // The first one waits for the database, and finds out.
    assert_eq!(refused(&client, "Encrypt", &parameters).await, (503, UNAVAILABLE.to_owned()));
    // Ten that wait would take 50 s.
    timeout(Duration::from_secs(25), async {
        for _call in 0..10 {
            let call = refused(&client, "Encrypt", &parameters).await;
            assert_eq!(call, (503, UNAVAILABLE.to_owned()));
        }
    })
    .await
    .unwrap();
    database.resume();
    until_async(async || code(&client, "Encrypt", &parameters).await.is_empty()).await;
    until_async(async || code(&client, "CreateKey", &[]).await.is_empty()).await;
    until_async(async || readiness(&gateway).await == (200, "ok".to_owned())).await;
}
