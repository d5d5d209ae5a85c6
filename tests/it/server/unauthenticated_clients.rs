//! Unauthenticated clients are limited, and authenticated clients are served meanwhile.

use std::collections::BTreeMap;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;

use crate::support::admin_client::{metric, total};
use crate::support::audit_file::records;
use crate::support::gateway::{Gateway, text};
use crate::support::installation::Installation;
use crate::support::instance_client::{InstanceClient, refusal, send};
use crate::support::process::eventually;
use crate::support::raw_http::Connection;
use crate::support::signed_calls::{Call, ParamLocation, Signing, SigningVariant};

/// More than a gateway has places for.
const UNAUTHENTICATED_CLIENTS: usize = 1100;
const SIGNED: SigningVariant = SigningVariant(Signing::Acs3, ParamLocation::PostQuery);
const UNSIGNED: &str = "GET /?Action=DescribeKey&Version=2016-01-20 HTTP/1.1\r\nhost: h\r\n\r\n";

/// Lets this process have as many open files as the system allows.
fn open_many_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

#[tokio::test]
async fn idle_unauthenticated_clients_do_not_hinder_a_caller_at_the_same_address() {
    open_many_files();
    for (limit, is_cut) in [("--nofile=1024:4096", false), ("--nofile=1024:1024", true)] {
        let (installation, admin) = Installation::prepared();
        let server = installation.serve_under(&["prlimit", limit], &[]);
        assert_eq!(server.has_logged("connections.limit_reduced"), is_cut);
        let caller = server.client(&admin);
        let made = caller.call("CreateKey", &[]).await.unwrap();
        let key = text(&made["KeyMetadata"]["KeyId"]).to_owned();
        let encrypt = [("KeyId", &*key), ("Plaintext", "SGk=")];
        let address = server.endpoint.strip_prefix("http://").unwrap();
        let mut idle = Vec::new();
        for _client in 0..UNAUTHENTICATED_CLIENTS {
            idle.push(Connection::open(address).await);
        }
        for _call in 0..100 {
            caller.call("Encrypt", &encrypt).await.unwrap();
        }
        for _new in 0..10 {
            server.client(&admin).call("Encrypt", &encrypt).await.unwrap();
        }
        // What needs files of its own: an object of the token, and the database.
        caller.call("CreateKey", &[]).await.unwrap();
        for event in
            ["token.lost", "store.write_failed", "iv_budget.lease_failed", "audit.write_failed"]
        {
            assert!(!server.has_logged(event), "{event}");
        }
        drop(idle);
    }
}

#[tokio::test]
async fn two_sources_of_idle_connections_leave_room_for_a_third() {
    open_many_files();
    let (installation, admin) = Installation::prepared();
    installation.configure(|text| text.push_str("[limits]\nconnections = 20\n"));
    let server = installation.serve();
    let address = server.endpoint.strip_prefix("http://").unwrap();
    let mut idle = Vec::new();
    for _round in 0..30 {
        for source in ["127.0.0.2", "127.0.0.3"] {
            idle.push(Connection::open_from(source, address).await);
        }
    }
    for _caller in 0..5 {
        server.client(&admin).call("ListKeys", &[]).await.unwrap();
    }
}

/// What a source that sends this again and again over one connection is answered, by status.
async fn flood(
    gateway: &Gateway,
    source: &str,
    request: &str,
    times: usize,
) -> BTreeMap<u16, usize> {
    let mut connection = Connection::open_from(source, gateway.address()).await;
    let mut answers = BTreeMap::new();
    for _time in 0..times {
        connection.send(request.as_bytes()).await;
        let answer = connection.answer().await.expect("the connection is kept");
        *answers.entry(answer.status).or_default() += 1;
    }
    answers
}

/// So few that even a busy machine sends more.
const LIMITED: [&str; 2] = ["--authentication-failures-per-second", "1"];

#[tokio::test]
async fn every_request_of_an_unauthenticated_client_is_throttled_and_counted_at_both_protocols() {
    let gateway = Gateway::start_with(&LIMITED);
    let instance = "POST / HTTP/1.1\r\nhost: h\r\ncontent-type: application/x-protobuf\r\n\
                    x-kms-apiversion: dkms-gcs-0.2\r\ncontent-length: 0\r\n";
    for (number, request) in [
        UNSIGNED.to_owned(),
        "GET /?Action=Nonsense&Version=2016-01-20 HTTP/1.1\r\nhost: h\r\n\r\n".to_owned(),
        "GET /?Action=DescribeKey HTTP/1.1\r\nhost: h\r\n\r\n".to_owned(),
        "GET /?Action=%zz HTTP/1.1\r\nhost: h\r\n\r\n".to_owned(),
        "PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n".to_owned(),
        format!("{instance}x-kms-apiname: Encrypt\r\n\r\n"),
        format!("{instance}x-kms-apiname: Nonsense\r\n\r\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let failures = "hsmgate_authentication_failures_total";
        let throttled = "hsmgate_throttled_total{limit=\"authentication\"}";
        let before = (total(&gateway, failures).await, total(&gateway, throttled).await);
        let answers = flood(&gateway, &format!("127.0.0.{}", number + 10), &request, 300).await;
        let refused = answers.get(&429).copied().unwrap_or_default();
        assert!((200..300).contains(&refused), "{request}: {answers:?}");
        let after = (total(&gateway, failures).await, total(&gateway, throttled).await);
        assert!(after.0 > before.0, "{request}: no failure is counted");
        assert!(after.1 >= before.1 + 200.0, "{request}: no throttling is counted");
    }
    gateway.call("DescribeKey", &[("KeyId", "alias/demo")]).await;
}

#[tokio::test]
async fn a_wrong_signature_of_a_client_key_is_throttled() {
    let gateway = Gateway::start_with(&LIMITED);
    let instance_client = InstanceClient::with_any_key(&gateway).await;
    let mut codes = BTreeMap::<(u16, String), u16>::new();
    for _call in 0..100 {
        let mut request = instance_client.request("Encrypt", Vec::new(), &[]);
        request.headers_mut().insert("authorization", "Bearer QUJD".parse().unwrap());
        *codes.entry(refusal(&send(request).await)).or_default() += 1;
    }
    let throttled = codes.get(&(429, "Rejected.Throttling".to_owned())).copied();
    assert!(throttled > Some(30), "{codes:?}");
    let refused = codes[&(401, "SignatureNotMatch".to_owned())];
    let counted = "hsmgate_authentication_failures_total{code=\"SignatureNotMatch\"}";
    assert!(metric(&gateway, counted).await.unwrap() >= f64::from(refused), "{codes:?}");
}

#[tokio::test]
async fn a_credential_that_succeeded_is_accepted_from_a_throttled_source() {
    let gateway = Gateway::start_with(&LIMITED);
    let request = |id: &str, secret: &str| {
        let call = Call::new(&gateway, SIGNED, "DescribeKey", &[("KeyId", "alias/demo")]);
        call.by(id, secret).signed().bytes()
    };
    let (id, secret) = (&*gateway.dev.access_key_id, &*gateway.dev.access_key_secret);
    // This one has never succeeded from there, so it waits like any other. Where the machine was so busy
    // that the limit was over before the request, another source shows it.
    let mut sources = 10..=15;
    let message = eventually(async || {
        let source = format!("127.0.0.{}", sources.next().unwrap());
        let mut elsewhere = Connection::open_from(&source, gateway.address()).await;
        flood(&gateway, &source, UNSIGNED, 60).await;
        elsewhere.send(&request(id, secret)).await;
        let answer = elsewhere.answer().await.unwrap();
        if answer.status == 429 { Ok(answer.message()) } else { Err(answer) }
    });
    assert!(message.await.contains("limits.authentication_failures_per_second"));

    // This one has, with its own client commands.
    let mut known = Connection::open(gateway.address()).await;
    for _round in 0..10 {
        let answers = flood(&gateway, "127.0.0.1", UNSIGNED, 30).await;
        assert!(answers.contains_key(&429), "{answers:?}");
        known.send(&request(id, secret)).await;
        assert_eq!(known.answer().await.unwrap().status, 200);
    }
    // An unknown one is not, as soon as it has used up what the source may send.
    eventually(async || {
        known.send(&request("LTAIunknown", "a secret")).await;
        let answer = known.answer().await.unwrap();
        if answer.status == 429 { Ok(()) } else { Err(answer) }
    })
    .await;
    // Who only names it is verified all the same, and has a limit too.
    let mut guesses = BTreeMap::<u16, usize>::new();
    for _guess in 0..60 {
        known.send(&request(id, "a guess")).await;
        *guesses.entry(known.answer().await.unwrap().status).or_default() += 1;
    }
    assert!(guesses[&429] > 20 && guesses[&400] >= 1 && guesses.len() == 2, "{guesses:?}");
}

#[tokio::test]
async fn many_refusals_of_an_unauthenticated_client_are_recorded_as_a_sum() {
    const TIMES: usize = 500;
    let gateway = Gateway::start_with(&LIMITED);
    let (before, audit) = (audit_bytes(&gateway), gateway.state().join("audit.jsonl"));
    flood(&gateway, "127.0.0.4", UNSIGNED, TIMES).await;
    let summed = "hsmgate_audit_aggregated_refusals_total";
    assert!(metric(&gateway, summed).await.unwrap() >= 300.0);
    assert!(audit_bytes(&gateway) - before < 120_000, "{} bytes", audit_bytes(&gateway) - before);
    let _directory = gateway.stop();
    let records = records(&audit);
    let single = records.iter().filter(|it| it["sourceIpAddress"] == "127.0.0.4").count();
    let sums: Vec<&Value> =
        records.iter().filter(|it| it["eventName"] == "RefusedRequests").collect();
    let mut counted = 0;
    for sum in sums {
        let parameters = sum["requestParameters"].as_object().unwrap();
        assert_eq!(parameters["Source"], "127.0.0.4");
        assert_eq!(sum["eventType"], "AliyunServiceEvent");
        let number = |name: &str| text(&parameters[name]).parse::<usize>().unwrap();
        counted += number("Count");
        assert!(number("Rejected.Throttling") <= number("Count"));
    }
    assert!(single < 150, "{single} records");
    assert_eq!(single + counted, TIMES);
}

fn audit_bytes(gateway: &Gateway) -> u64 {
    std::fs::metadata(gateway.state().join("audit.jsonl")).unwrap().len()
}

#[tokio::test]
async fn a_request_repeated_on_another_connection_is_distinguished_from_a_replay() {
    let gateway = Gateway::start();
    let call = Call::new(&gateway, SIGNED, "DescribeKey", &[("KeyId", "alias/demo")]);
    let request = call.signed().bytes();
    let mut first = Connection::open(gateway.address()).await;
    first.send(&request).await;
    assert_eq!(first.answer().await.unwrap().status, 200);
    let mut second = Connection::open(gateway.address()).await;
    second.send(&request).await;
    let resent = second.answer().await.unwrap();
    assert_eq!(resent.refusal(), (400, "SignatureNonceUsed".to_owned()));
    assert!(resent.message().contains("another connection"), "{resent:?}");
    first.send(&request).await;
    let repeated = first.answer().await.unwrap();
    assert_eq!(repeated.refusal(), (400, "SignatureNonceUsed".to_owned()));
    assert!(!repeated.message().contains("another connection"), "{repeated:?}");
    assert_eq!(metric(&gateway, "hsmgate_resent_requests_total").await, Some(1.0));
}

#[test]
fn the_doctor_reports_too_few_open_files_for_the_connections() {
    let (installation, _admin) = Installation::prepared();
    let config = installation.path("hsmgate.toml");
    let arguments = ["doctor", "--json", "--config", config.to_str().unwrap()];
    for (limit, verdict) in [("--nofile=1024:4096", "ok"), ("--nofile=1024:1024", "warning")] {
        let outcome = installation.run_under(&["prlimit", limit], &arguments);
        let found: Value = serde_json::from_slice(&outcome.stdout).unwrap();
        let checks = found["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == "open files").unwrap();
        assert_eq!(check["verdict"], verdict, "{check}");
    }
    let outcome = installation.run_under(
        &["prlimit", "--nofile=100:100"],
        &["serve", "--config", config.to_str().unwrap()],
    );
    assert!(outcome.failed(2).contains("a gateway needs at least 208"));
}
