//! Ten times the load that a gateway can bear: what it takes in it serves in time, the rest is told
//! to come again at once, and afterwards all is as before.

use std::time::Duration;

use fault_token::{Fault, Rule};
use hsmgate::cli::load::{self, Plan, Report};

use crate::rig::Rig;

/// What is promised. Times are held to it where nothing else runs; beside other tests they are
/// printed.
const LONGEST_P99_MS: f64 = 100.0;
const LEAST_GOODPUT: f64 = 0.8;
const MOST_MEMORY: u64 = 256 << 20;
const RECOVERY: Duration = Duration::from_secs(5);

fn run(rig: &Rig, rate: f64, length: Duration, connections: usize) -> Report {
    let plan = Plan {
        action: "Encrypt".to_owned(),
        params: [("KeyId", "alias/demo"), ("Plaintext", "SGVsbG8=")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        rate,
        length,
        connections,
        // A request that no connection is free for has not come to the gateway.
        patience: Duration::from_millis(5),
    };
    load::run(&rig.gateway.client, &plan).unwrap()
}

/// Resident memory of the gateway in bytes, at its highest.
fn memory(rig: &Rig) -> u64 {
    let path = format!("/proc/{}/status", rig.gateway.process.process_id());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// `guess` is what the gateway may bear, roughly.
fn overload(rig: &Rig, guess: f64, length: Duration, connections: usize, is_alone: bool) {
    let peak = run(rig, guess * 1.5, length, connections);
    println!("peak {:.0}/s: {:?} {:?}", peak.goodput, peak.codes, peak.accepted);
    let beyond = run(rig, peak.goodput * 10.0, length, connections);
    println!("tenfold: {beyond:?}");
    let part = beyond.goodput / peak.goodput;
    println!("goodput {:.0} %, memory {} MiB", part * 100.0, memory(rig) >> 20);
    for code in beyond.codes.keys() {
        let is_told =
            matches!(&**code, "OK" | "Rejected.Throttling" | "ServiceUnavailableTemporary");
        assert!(is_told, "{code}");
    }
    assert!(!is_alone || beyond.accepted.p99_ms < LONGEST_P99_MS, "{beyond:?}");
    let least = if is_alone { LEAST_GOODPUT } else { LEAST_GOODPUT / 2.0 };
    assert!(part > least, "{part}");
    assert!(memory(rig) < MOST_MEMORY);
    let after = run(rig, peak.goodput / 4.0, RECOVERY, connections);
    println!("afterwards: {after:?}");
    assert_eq!(after.succeeded(), after.sent, "{after:?}");
    assert!(!is_alone || after.accepted.p99_ms < LONGEST_P99_MS, "{after:?}");
}

#[test]
fn a_slow_token_under_ten_times_its_load_serves_what_is_taken_in() {
    let mut rig = Rig::start();
    rig.token.add(Rule::on(&["C_EncryptInit"], Fault::Delay(5)));
    overload(&rig, 200.0, Duration::from_secs(4), 200, false);
    let log = rig.gateway.process.log();
    assert!(!log.contains("the token is lost"), "{log}");
}

#[test]
#[ignore = "needs the processors: cargo test --release --test fault -- --ignored busy --nocapture"]
fn a_busy_gateway_under_ten_times_its_load_serves_what_is_taken_in() {
    let rig = Rig::start();
    overload(&rig, 30_000.0, Duration::from_secs(20), 900, true);
}
