//! A process ends after its threads: a module, or a library below it, may have work at the end of
//! each thread and at the exit of the process, and crashes if both happen at once.

use fault_token::{Fault, Rule};
use tempfile::TempDir;

use crate::setup::{FaultToken, Setup, count};
use crate::support::softhsm::scratch;

#[tokio::test]
async fn no_command_leaves_a_thread_behind() {
    let dir = TempDir::new_in(scratch()).unwrap();
    let token = FaultToken::new(dir.path());
    let (installation, user) = token.installation(|_text| {});
    let server = installation.serve();
    server.client(&user).call("CreateKey", &[]).await.unwrap();
    assert_eq!(server.stop(), Some(0));
    let sign = ["store", "sign", "--reason", "a test"];
    for command in [&["doctor"][..], &["recover", "--dry-run"], &sign] {
        let _told = installation.configured(command).done();
        let ended = token.calls();
        assert!(count(&ended, "C_Finalize") > 0, "{command:?}");
    }
}

#[tokio::test]
async fn a_gateway_whose_token_is_away_leaves_no_thread_behind() {
    let mut setup = Setup::start();
    setup.token.add(Rule::on_all(Fault::ReturnCode("CKR_DEVICE_REMOVED".into())));
    assert_eq!(setup.encrypt().await.status, 503);
    setup.until_readiness(503).await;
    let (dir, token) = (setup.gateway.stop(), setup.token);
    token.all_calls();
    drop(dir);
}
