//! The levels of the log lines of failed requests.

use fault_token::{Fault, Rule};

use crate::setup::Setup;
use crate::support::process::until;

/// The log lines of requests at this level.
fn requests(setup: &Setup, level: &str) -> Vec<String> {
    let log = setup.gateway.log();
    let is_request = |line: &&str| line.contains(" hsmgate::request: ");
    let lines = log.lines().filter(is_request);
    lines.filter(|line| line.contains(&format!(" {level} "))).map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn a_failure_is_an_error_and_an_unavailable_token_a_few_warnings() {
    let mut setup = Setup::start();
    let fault = Fault::return_code("CKR_KEY_FUNCTION_NOT_PERMITTED");
    let rule = setup.token.add(Rule::on(&["C_EncryptInit"], fault));
    assert_eq!(setup.encrypt().await.status, 500);
    setup.token.remove(rule);
    setup.token.add(Rule::on(&["C_EncryptInit"], Fault::return_code("CKR_DEVICE_REMOVED")));
    for _call in 0..30 {
        assert_eq!(setup.encrypt().await.status, 503);
    }
    // Every request has a line, which is written after its answer.
    let unavailable =
        |level| requests(&setup, level).join("\n").matches("ServiceUnavailable").count();
    until(|| unavailable("INFO") + unavailable("WARN") == 30).await;
    let (errors, warnings) = (requests(&setup, "ERROR"), requests(&setup, "WARN"));
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("CKR_KEY_FUNCTION_NOT_PERMITTED"), "{errors:?}");
    assert!((10..30).contains(&warnings.len()), "{warnings:?}");
    assert!(warnings[0].contains("ServiceUnavailableTemporary"), "{warnings:?}");
}
