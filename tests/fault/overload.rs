//! Ten times the load that a gateway can serve: accepted requests are served in time, others are
//! refused at once with a time to retry, and afterwards the gateway works as before.

use std::time::Duration;

use fault_token::{Fault, Rule};
use hsmgate::cli::load::{self, Plan, Report};

use crate::setup::Setup;

/// What is promised. Times are held to it where nothing else runs; beside other tests they are
/// printed.
const LONGEST_P99_MS: f64 = 100.0;
const LEAST_GOODPUT: f64 = 0.8;
const MAX_MEMORY: u64 = 256 << 20;
const RECOVERY: Duration = Duration::from_secs(5);

fn run(setup: &Setup, rate: f64, length: Duration, connections: usize) -> Report {
    let plan = Plan {
        action: "Encrypt".to_owned(),
        params: [("KeyId", "alias/demo"), ("Plaintext", "SGVsbG8=")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        rate,
        length,
        connections,
        // A request that no connection is free for has not come to the gateway.
        max_start_delay: Duration::from_millis(5),
    };
    load::run(&setup.gateway.client, &plan).unwrap()
}

/// Resident memory of the gateway in bytes, at its highest.
fn memory(setup: &Setup) -> u64 {
    let path = format!("/proc/{}/status", setup.gateway.process_id());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// `guess` is what the gateway may bear, roughly.
fn overload(setup: &Setup, guess: f64, length: Duration, connections: usize, is_only_user: bool) {
    let peak = run(setup, guess * 1.5, length, connections);
    println!("peak {:.0}/s: {:?} {:?}", peak.goodput, peak.codes, peak.accepted);
    let beyond = run(setup, peak.goodput * 10.0, length, connections);
    println!("tenfold: {beyond:?}");
    let part = beyond.goodput / peak.goodput;
    println!("goodput {:.0} %, memory {} MiB", part * 100.0, memory(setup) >> 20);
    for code in beyond.codes.keys() {
        let is_expected =
            matches!(&**code, "OK" | "Rejected.Throttling" | "ServiceUnavailableTemporary");
        assert!(is_expected, "{code}");
    }
    assert!(!is_only_user || beyond.accepted.p99_ms < LONGEST_P99_MS, "{beyond:?}");
    let least = if is_only_user { LEAST_GOODPUT } else { LEAST_GOODPUT / 2.0 };
    assert!(part > least, "{part}");
    assert!(memory(setup) < MAX_MEMORY);
    let after = run(setup, peak.goodput / 4.0, RECOVERY, connections);
    println!("afterwards: {after:?}");
    assert_eq!(after.succeeded(), after.sent, "{after:?}");
    assert!(!is_only_user || after.accepted.p99_ms < LONGEST_P99_MS, "{after:?}");
}

#[test]
fn a_slow_token_under_ten_times_its_load_serves_what_is_taken_in() {
    let mut setup = Setup::start();
    setup.token.add(Rule::on(&["C_EncryptInit"], Fault::delay(Duration::from_millis(5))));
    overload(&setup, 200.0, Duration::from_secs(4), 200, false);
    let log = setup.gateway.log();
    assert!(!log.contains("token.lost"), "{log}");
}

#[test]
#[ignore = "needs the processors: cargo test --release --test fault -- --ignored busy --nocapture"]
fn a_busy_gateway_under_ten_times_its_load_serves_what_is_taken_in() {
    let setup = Setup::start();
    overload(&setup, 30_000.0, Duration::from_secs(20), 900, true);
}
