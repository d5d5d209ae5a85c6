//! A request that is sent again is refused, by the process that answered it and by the next one.

use crate::gateway;
use crate::harness::Gateway;
use crate::raw::Connection;
use crate::signed::{Call, Way};

/// `HSMGATE_REPLAYS` raises the number of requests; the guard itself is tried with 10,000 in
/// `src/authn/replay.rs`.
fn count() -> usize {
    let text = std::env::var("HSMGATE_REPLAYS").ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(500)
}

/// The statuses of these requests, over one connection.
async fn sent(gateway: &Gateway, requests: &[Vec<u8>]) -> Vec<(u16, String)> {
    let mut connection = Connection::open(gateway.address()).await;
    let mut answers = Vec::new();
    for request in requests {
        connection.send(request).await;
        let answer = connection.answer().await.expect("the connection is kept");
        let code = answer.json()["Code"].as_str().unwrap_or_default().to_owned();
        answers.push((answer.status, code));
    }
    answers
}

#[tokio::test]
async fn every_replay_is_refused_also_after_a_kill() {
    let free = ["--calls-per-second", "0", "--authentication-failures-per-second", "0"];
    let gateway = Gateway::start_with(&free);
    let ways: Vec<Way> = Way::all().collect();
    let requests: Vec<Vec<u8>> = (0..count())
        .map(|number| {
            let way = ways[number % ways.len()];
            Call::new(&gateway, way, "DescribeKey", &[("KeyId", "alias/demo")]).signed().bytes()
        })
        .collect();
    let first = sent(&gateway, &requests).await;
    assert!(
        first.iter().all(|answer| answer.0 == 200),
        "{:?}",
        first.iter().find(|it| it.0 != 200)
    );
    let used = (400, "SignatureNonceUsed".to_owned());
    assert!(sent(&gateway, &requests).await.iter().all(|answer| *answer == used));
    let address = gateway.address().to_owned();
    let directory = gateway.process.kill();
    // The address is signed, so the next process must have the same one.
    let next = gateway::Gateway::start_at(directory, &address, &free);
    let next = Gateway::of(next);
    let again = sent(&next, &requests).await;
    assert!(
        again.iter().all(|answer| *answer == used),
        "{:?}",
        again.iter().find(|it| **it != used)
    );
}
