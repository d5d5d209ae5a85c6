//! A token that becomes unavailable and returns.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fault_token::{Entry, Fault, Rule, When};

use crate::scale::{allowed, report, scaled};
use crate::setup::{Reply, Setup, count};

/// How soon a refusal has to come once the token is known to be away.
const REFUSAL: Duration = Duration::from_millis(100);
/// How soon after the token's return the first call has to go well.
const RETURN: Duration = Duration::from_secs(1);

/// How the token goes away.
trait Loss {
    fn begin(&mut self, setup: &mut Setup);
    fn end(&mut self, setup: &mut Setup);
}

/// Every call has this answer.
struct Answers(&'static str);

impl Loss for Answers {
    fn begin(&mut self, setup: &mut Setup) {
        setup.token.add(Rule::on_all(Fault::return_code(self.0)));
    }

    fn end(&mut self, setup: &mut Setup) {
        setup.token.clear();
    }
}

/// Another part of the process finalizes the module, and it cannot be initialized.
struct Finalized;

impl Loss for Finalized {
    fn begin(&mut self, setup: &mut Setup) {
        setup.token.add(Rule::on(&["C_Initialize"], Fault::return_code("CKR_GENERAL_ERROR")));
        setup.token.add(Rule::on_all(Fault::Finalize).when(When::At(1)));
    }

    fn end(&mut self, setup: &mut Setup) {
        setup.token.clear();
    }
}

/// The directory of SoftHSM2's tokens is elsewhere.
struct Storage(PathBuf);

impl Loss for Storage {
    fn begin(&mut self, setup: &mut Setup) {
        self.0 = setup.gateway.state().join("tokens");
        fs::rename(&self.0, self.0.with_extension("aside")).unwrap();
    }

    fn end(&mut self, _setup: &mut Setup) {
        fs::rename(self.0.with_extension("aside"), &self.0).unwrap();
    }
}

async fn goes_and_comes_back(name: &str, mut loss: impl Loss) {
    let cycles = scaled(2, 20);
    let mut setup = Setup::start();
    let start = Instant::now();
    let encrypted = setup.encrypt_with_new_keys(scaled(20, 1_000)).await;
    report(&format!("{name}: {} keys made in {:?}", encrypted.len(), start.elapsed()));
    let (mut slowest_refusal, mut slowest_return) = (Duration::ZERO, Duration::ZERO);
    for _cycle in 0..cycles {
        loss.begin(&mut setup);
        is_refused(&setup, &setup.until_no_longer(200).await);
        slowest_refusal = slowest_refusal.max(is_away(&setup).await);
        loss.end(&mut setup);
        let start = Instant::now();
        let reply = setup.until_no_longer(503).await;
        assert_eq!(reply.status, 200, "{reply:?}\n{}", setup.gateway.log());
        slowest_return = slowest_return.max(start.elapsed());
        setup.decrypts_all(&encrypted[..encrypted.len().min(50)]).await;
        setup.until_readiness(200).await;
    }
    setup.decrypts_all(&encrypted).await;
    report(&format!(
        "{name}: {cycles} cycles; slowest refusal {slowest_refusal:?}, slowest return \
         {slowest_return:?}, {} C_Login, {} C_Initialize",
        count(&setup.token.calls(), "C_Login"),
        count(&setup.token.all_calls(), "C_Initialize"),
    ));
    let everything = setup.token.all_calls();
    let is_new = |call: &&Entry| call.function == "C_Initialize" && call.return_code == "CKR_OK";
    // `hsmgate dev` itself initializes the module twice.
    assert_eq!(everything.iter().filter(is_new).count(), cycles + 2, "each time the module is new");
    assert!(slowest_refusal < allowed(REFUSAL) && slowest_return < allowed(RETURN));
    let losses = setup.metric("hsmgate_token_disconnects_total").await.unwrap();
    let log = setup.gateway.log();
    let loud = log.matches("token.lost").count();
    assert_eq!((losses, loud), (f64::from(u32::try_from(cycles).unwrap()), cycles), "{log}");
    // One more may come from each thing beside the requests that wants the token meanwhile.
    let lines = log.lines().filter(|line| !line.contains(" hsmgate::request: "));
    let lines = lines.filter(|line| line.contains(" ERROR ") || line.contains(" WARN "));
    assert!(lines.count() <= 8 * cycles, "{log}");
}

fn is_refused(setup: &Setup, reply: &Reply) {
    let log = || setup.gateway.log();
    assert_eq!(reply.status, 503, "{reply:?}\n{}", log());
    assert_eq!(reply.code, "ServiceUnavailableTemporary");
    assert!(reply.retry_after.is_some_and(|seconds| seconds >= 1), "{reply:?}");
}

/// What is answered while the token is away, and how long the slowest refusal took.
async fn is_away(setup: &Setup) -> Duration {
    let mut slowest = Duration::ZERO;
    for _call in 0..5 {
        for (action, params) in [
            ("Encrypt", &[("KeyId", "alias/demo"), ("Plaintext", "SGVsbG8=")][..]),
            ("GenerateDataKey", &[("KeyId", "alias/demo")]),
            ("CreateKey", &[]),
        ] {
            let reply = setup.reply(action, params).await;
            is_refused(setup, &reply);
            slowest = slowest.max(reply.took);
        }
    }
    setup.gateway.describe("alias/demo").await;
    setup.gateway.call("ListKeys", &[]).await;
    assert_eq!(setup.admin("/livez").await.0, 200);
    setup.until_readiness(503).await;
    assert_eq!(setup.metric("hsmgate_token_ready").await, Some(0.0));
    slowest
}

#[tokio::test]
async fn a_device_that_fails() {
    goes_and_comes_back("device error", Answers("CKR_DEVICE_ERROR")).await;
}

#[tokio::test]
async fn a_device_that_is_removed() {
    goes_and_comes_back("device removed", Answers("CKR_DEVICE_REMOVED")).await;
}

#[tokio::test]
async fn a_token_that_is_not_present() {
    goes_and_comes_back("token not present", Answers("CKR_TOKEN_NOT_PRESENT")).await;
}

#[tokio::test]
async fn a_module_that_says_that_it_is_not_initialised() {
    goes_and_comes_back("not initialised", Answers("CKR_CRYPTOKI_NOT_INITIALIZED")).await;
}

#[tokio::test]
async fn a_module_that_loses_every_session_it_opens() {
    goes_and_comes_back("no session", Answers("CKR_SESSION_HANDLE_INVALID")).await;
}

#[tokio::test]
async fn a_module_that_fails_in_general() {
    goes_and_comes_back("general error", Answers("CKR_GENERAL_ERROR")).await;
}

#[tokio::test]
async fn a_module_that_somebody_finalizes() {
    goes_and_comes_back("finalized", Finalized).await;
}

#[tokio::test]
async fn a_token_whose_storage_goes_away() {
    goes_and_comes_back("storage", Storage(PathBuf::new())).await;
}
