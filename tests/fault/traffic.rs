//! Much traffic while the token has transient faults, or while callers send invalid data.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fault_token::{Entry, Fault, Rule, When};
use hsmgate::cli::client::CallError;

use crate::scale::{percentile, report, scaled};
use crate::setup::{ENCRYPT, PLAINTEXT, Setup, count};
use crate::support::gateway::text;

/// Calls at once.
const CALLERS: usize = 4;

/// Where a blob's IV begins.
const IV: usize = 36;

/// Runs `call` so many times, a few at once, and gives how long each took.
async fn repeated(calls: usize, call: impl AsyncFn(usize)) -> Vec<Duration> {
    let caller = async |first: usize| {
        let mut times = Vec::new();
        for number in (first..calls).step_by(CALLERS) {
            let start = Instant::now();
            call(number).await;
            times.push(start.elapsed());
        }
        times
    };
    let (a, b, c, d) = tokio::join!(caller(0), caller(1), caller(2), caller(3));
    [a, b, c, d].concat()
}

/// No key has encrypted two messages with one IV.
fn no_pair_repeats(calls: &[Entry]) -> usize {
    let mut seen = HashSet::new();
    for call in calls {
        if let Some((key, iv)) = call.key_and_iv() {
            assert!(seen.insert((key, iv)), "{key} has encrypted twice with {iv}");
        }
    }
    seen.len()
}

/// A ciphertext that does not open, each time another.
fn spoilt(blob: &str, number: usize) -> String {
    let mut bytes = STANDARD.decode(blob).unwrap();
    let encrypted = bytes.len() - IV;
    bytes[IV + number % encrypted] ^= 1 << (number / encrypted % 8);
    STANDARD.encode(bytes)
}

#[tokio::test]
async fn bad_ciphertexts_cost_nothing_but_their_own_refusal() {
    let calls = scaled(2_000, 100_000);
    let setup = Setup::start();
    let blob = setup.encrypt_with_new_keys(1).await.remove(0);
    let client = &setup.gateway.client;
    let good = async |_number| {
        let decrypted = client.call("Decrypt", &[("CiphertextBlob", &blob)]).await.unwrap();
        assert_eq!(decrypted["Plaintext"], PLAINTEXT);
    };
    let bad = async |number| {
        let spoilt = spoilt(&blob, number);
        match client.call("Decrypt", &[("CiphertextBlob", &spoilt)]).await {
            Err(CallError::Refused { status: 400, .. }) => {}
            other => panic!("{other:?}\n{}", setup.gateway.log()),
        }
    };
    setup.token.calls();
    let (mut before, _) = tokio::join!(repeated(calls, good), repeated(calls, good));
    let (mut beside, _) = tokio::join!(repeated(calls, good), repeated(calls, bad));
    let made = setup.token.calls();
    // A new worker opens a session, and one that is not needed any more closes it: at most 64 at a time.
    for function in ["C_OpenSession", "C_CloseSession"] {
        assert!(count(&made, function) < 64 + calls / 100, "{calls} bad ciphertexts: {function}");
    }
    for function in ["C_Login", "C_Initialize"] {
        assert_eq!(count(&made, function), 0, "{function}");
    }
    assert_eq!(setup.metric("hsmgate_token_disconnects_total").await, Some(0.0));
    let [usual, p99] = [50, 99].map(|hundredths| percentile(&mut before, hundredths));
    let [usual_beside, p99_beside] = [50, 99].map(|hundredths| percentile(&mut beside, hundredths));
    report(&format!(
        "bad ciphertexts: {calls} refused; good ones beside good ones p50 {usual:?} p99 {p99:?}, \
         beside bad ones p50 {usual_beside:?} p99 {p99_beside:?}"
    ));
}

/// What a token may answer at any time and mean nothing by it.
const TRANSIENT_FAULTS: [&str; 10] = [
    "CKR_GENERAL_ERROR",
    "CKR_FUNCTION_FAILED",
    "CKR_DEVICE_ERROR",
    "CKR_SESSION_HANDLE_INVALID",
    "CKR_SESSION_CLOSED",
    "CKR_OPERATION_ACTIVE",
    "CKR_OPERATION_NOT_INITIALIZED",
    "CKR_KEY_HANDLE_INVALID",
    "CKR_OBJECT_HANDLE_INVALID",
    "CKR_USER_NOT_LOGGED_IN",
];

#[tokio::test]
async fn one_error_in_a_hundred_calls_is_hidden_from_callers() {
    let calls = scaled(2_000, 100_000);
    // The four attempts of a CreateKey, of about 25 token calls each, fail together twice in a thousand
    // times: of 20, three have failed once in 100,000 runs, and of 1,000, ten once in 10,000.
    let most = scaled(3, 10);
    let mut setup = Setup::start();
    let blobs = setup.encrypt_with_new_keys(20).await;
    let objects = setup.gateway.token_objects();
    for (seed, code) in (1..).zip(TRANSIENT_FAULTS) {
        // All of them together: one call in a hundred, half of them done all the same.
        for (fault, seed) in
            [(Fault::return_code(code), seed), (Fault::return_code_after(code), seed + 100)]
        {
            let prng = When::Random { per_million: 500, seed };
            setup.token.add(Rule::on_all(fault).when(prng));
        }
    }
    let failures = std::cell::RefCell::new(Vec::new());
    let made = std::cell::RefCell::new(Vec::new());
    let client = &setup.gateway.client;
    let start = Instant::now();
    repeated(calls, async |number| {
        let blob = blobs[number % blobs.len()].as_str();
        let outcome = match number % 100 {
            0 => client.call("CreateKey", &[]).await,
            1..10 => client.call("GenerateDataKey", &ENCRYPT[..1]).await,
            10..55 => client.call("Encrypt", &ENCRYPT).await,
            _ => client.call("Decrypt", &[("CiphertextBlob", blob)]).await,
        };
        match outcome {
            Ok(answer) if answer["KeyMetadata"].is_object() => {
                made.borrow_mut().push(text(&answer["KeyMetadata"]["KeyId"]).to_owned());
            }
            Ok(answer) => assert!(
                answer["Plaintext"] == PLAINTEXT || answer["CiphertextBlob"].is_string(),
                "{answer}"
            ),
            Err(error) => failures.borrow_mut().push(format!("{error:?}")),
        }
    })
    .await;
    let took = start.elapsed();
    setup.token.clear();
    let (failures, made) = (failures.into_inner(), made.into_inner());
    for key in &made {
        let params = [("KeyId", &**key), ("Plaintext", PLAINTEXT)];
        setup.gateway.call("Encrypt", &params).await;
    }
    setup.decrypts_all(&blobs).await;
    assert_eq!(setup.gateway.token_objects(), objects + made.len(), "each key is there once");
    let log = setup.token.all_calls();
    let transient_faults = log.iter().filter(|call| !call.rules.is_empty()).count();
    let pairs = no_pair_repeats(&log);
    report(&format!(
        "random errors: {transient_faults} in {} token calls, {} of {calls} requests failed, {} keys made, \
         {pairs} pairs of key and IV, none twice; {} losses; {took:?}",
        log.len(),
        failures.len(),
        made.len(),
        setup.metric("hsmgate_token_disconnects_total").await.unwrap(),
    ));
    assert!(failures.len() < most, "{failures:?}\n{}", setup.gateway.log());
}
