//! The number of token threads follows the time of a call and the sessions that the token grants.

use std::future::Future;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use fault_token::{Fault, Rule, When, write_rules};
use hsmgate::model::KeySpec;
use hsmgate::token::{KeyIdentity, Token, TokenError, TokenSettings};

use super::harness::{FaultToken, in_own_process, key, run, runtime, with_token};

/// The functions of an encryption.
const ENCRYPTION: &[&str] = &["C_EncryptInit", "C_Encrypt"];
/// More callers than any number of workers.
const CALLERS: usize = 100;

/// Opens a token behind the fault token with these rules, and runs the test with a key and with the
/// file of the rules.
fn with_rules<F: Future<Output = ()>>(
    name: &str,
    rules: &[Rule],
    change: impl FnOnce(TokenSettings) -> TokenSettings,
    test: impl FnOnce(Token, KeyIdentity, PathBuf) -> F,
) {
    in_own_process(name, || {
        let own = FaultToken::new("fault", Vec::new());
        write_rules(&own.control, rules);
        let token = Token::open(change(own.settings())).unwrap();
        runtime().block_on(async {
            let key = key(&token, KeySpec::Aes256).await;
            test(token.clone(), key, own.control).await;
        });
        token.close();
    });
}

/// Whether these are the sessions of a token without delay: one for the state, and one for each
/// worker. A loaded machine or the fault token adds to the time of a call, thus workers.
fn few(sessions: usize) -> bool {
    sessions <= 1 + 4
}

fn delay(microseconds: u64) -> [Rule; 1] {
    [Rule::on(ENCRYPTION, Fault::Delay(microseconds))]
}

async fn encrypts(token: &Token, key: KeyIdentity) -> Result<(), TokenError> {
    run(token, move |worker| worker.encrypt(key, None, b"text")).await.map(drop)
}

/// Encrypts until the number of threads is one of these.
async fn until(token: &Token, key: KeyIdentity, wanted: impl Fn(usize) -> bool) {
    let encrypting = async {
        while !wanted(token.load().sessions) {
            encrypts(token, key).await.unwrap();
        }
    };
    let outcome = tokio::time::timeout(Duration::from_mins(1), encrypting).await;
    outcome.unwrap_or_else(|_late| panic!("{:?}", token.load()));
}

/// Encrypts in many tasks at once.
async fn burst(token: &Token, key: KeyIdentity, calls: usize) -> Vec<Result<(), TokenError>> {
    let call = |_call| {
        let token = token.clone();
        tokio::spawn(async move { encrypts(&token, key).await })
    };
    let tasks: Vec<_> = (0..calls).map(call).collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

#[test]
fn a_local_token_has_few_workers() {
    with_token("workers::a_local_token_has_few_workers", async |token| {
        let key = key(&token, KeySpec::Aes256).await;
        assert!(few(token.load().sessions), "{:?}", token.load());
        burst(&token, key, CALLERS).await.into_iter().for_each(Result::unwrap);
        assert!(few(token.load().sessions), "{:?}", token.load());
    });
}

#[test]
fn a_slow_token_has_many_workers_from_the_start() {
    let name = "workers::a_slow_token_has_many_workers_from_the_start";
    let rules = [Rule::on(&["C_GenerateRandom"], Fault::Delay(20_000))];
    with_rules(
        name,
        &rules,
        |settings| settings,
        async |token, _key, _control| {
            assert!(token.load().sessions > 16, "{:?}", token.load());
        },
    );
}

#[test]
fn the_number_of_workers_follows_a_token_that_becomes_slow_and_fast_again() {
    let name = "workers::the_number_of_workers_follows_a_token_that_becomes_slow_and_fast_again";
    with_rules(
        name,
        &[],
        |settings| settings,
        async |token, key, control: PathBuf| {
            assert!(few(token.load().sessions), "{:?}", token.load());
            write_rules(&control, &delay(5_000));
            until(&token, key, |sessions| sessions > 16).await;
            write_rules(&control, &[]);
            until(&token, key, few).await;
        },
    );
}

#[test]
fn other_numbers_of_workers_are_tried_while_jobs_wait() {
    let name = "workers::other_numbers_of_workers_are_tried_while_jobs_wait";
    let rules = [Rule::on_all(Fault::Delay(500))];
    with_rules(
        name,
        &rules,
        |settings| settings,
        async |token, key, _control| {
            let first = token.workers();
            assert!(first > 2, "{first}");
            let is_tried = async {
                let number = || token.workers();
                // Twice as many, or half as many where there is no higher number.
                while number() != (first * 2).min(64) && number() != first.div_ceil(2) {
                    burst(&token, key, 2 * CALLERS).await.into_iter().for_each(Result::unwrap);
                }
            };
            tokio::time::timeout(Duration::from_mins(1), is_tried).await.unwrap();
        },
    );
}

#[test]
fn workers_without_a_session_leave_their_jobs_to_the_others() {
    let name = "workers::workers_without_a_session_leave_their_jobs_to_the_others";
    let workers = |settings| TokenSettings { workers: NonZeroUsize::new(16), ..settings };
    with_rules(name, &[], workers, async |token, key, control: PathBuf| {
        let refused = Rule::on(&["C_OpenSession"], Fault::return_code("CKR_SESSION_COUNT"));
        write_rules(&control, &[delay(2_000)[0].clone(), refused.when(When::From(4))]);
        for result in burst(&token, key, 4 * CALLERS).await {
            result.unwrap();
        }
        // Some of three, and the thread for changes.
        assert!((2..=1 + 4).contains(&token.load().sessions), "{:?}", token.load());
    });
}

#[test]
fn a_burst_is_accepted_after_slow_calls() {
    let name = "workers::a_burst_is_accepted_after_slow_calls";
    let limits = |settings| TokenSettings {
        workers: Some(NonZeroUsize::MIN),
        max_queue_wait: Duration::from_millis(50),
        ..settings
    };
    with_rules(name, &[], limits, async |token, key, control: PathBuf| {
        write_rules(&control, &delay(4_000));
        for _call in 0..40 {
            encrypts(&token, key).await.unwrap();
        }
        write_rules(&control, &[]);
        for result in burst(&token, key, 32).await {
            result.unwrap();
        }
        // An overload is refused all the same.
        write_rules(&control, &delay(4_000));
        let results = burst(&token, key, 4 * CALLERS).await;
        let is_refused = |result: &Result<(), TokenError>| matches!(result, Err(TokenError::Busy));
        assert!(results.iter().any(is_refused));
    });
}
