//! Slow clients, with the default limits of the gateway: each is disconnected within ten seconds,
//! and other clients are served.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::gateway::Gateway;

/// The limits of the gateway are ten seconds. A busy machine may be late for some clients.
const LIMIT: Duration = Duration::from_secs(11);
const LONGEST: Duration = Duration::from_secs(20);

const HALF_A_HEAD: &str = "POST /?Action=DescribeRegions HTTP/1.1\r\nhost: h\r\nx-half: ";
const HALF_A_BODY: &str = "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1000\r\n\r\nAction=";

/// Sends the start, then a byte a second where it `trickles`; gives the time until it is cut off.
async fn cut_off(address: String, start: &'static str, trickles: bool) -> Duration {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(start.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut answer = Vec::new();
    let trickle = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if trickles && writer.write_all(b"x").await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        // A reset ends it as well as a close.
        _end = reader.read_to_end(&mut answer) => {}
        () = trickle => {}
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_slow_client_is_disconnected_and_the_others_are_served() {
    for options in [&[][..], &["--tls"]] {
        let gateway = Gateway::start_with(options);
        let address = gateway.dev.endpoint.split_once("://").unwrap().1.to_owned();
        let mut slow = tokio::task::JoinSet::new();
        for (start, trickles) in [
            ("", false),
            ("", true),
            (HALF_A_HEAD, false),
            (HALF_A_HEAD, true),
            (HALF_A_BODY, false),
            (HALF_A_BODY, true),
        ] {
            for _client in 0..20 {
                slow.spawn(cut_off(address.clone(), start, trickles));
            }
        }
        let mut times = Vec::new();
        while !slow.is_empty() {
            tokio::select! {
                Some(time) = slow.join_next() => {
                    let time = time.unwrap();
                    assert!(time < LONGEST, "{time:?}");
                    times.push(time);
                }
                _answer = gateway.call("DescribeRegions", &[]) => {}
            }
        }
        times.sort();
        assert!(times[times.len() / 2] < LIMIT, "{times:?}");
    }
}
