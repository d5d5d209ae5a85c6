//! Rights are taken away while the token of the running gateway is lost.

use fault_token::{Fault, Rule};
use tempfile::TempDir;

use crate::setup::FaultToken;
use crate::support::audit_file::events;
use crate::support::calls::{code, until_code};
use crate::support::gateway::text;
use crate::support::softhsm::scratch;

#[tokio::test]
async fn a_running_gateway_takes_rights_away_while_its_token_is_lost() {
    let directory = TempDir::new_in(scratch()).unwrap();
    let mut token = FaultToken::new(directory.path());
    let (installation, admin) = token.installation(|_text| {});
    let server = installation.serve();
    let mallory = installation.create_access_key("mallory", &["AliyunKMSFullAccess"]);
    let (admin, client) = (server.client(&admin), server.client(&mallory));
    until_code(&client, "ListKeys", &[], "").await;
    let created = admin.call("CreateKey", &[]).await.unwrap();
    let key = text(&created["KeyMetadata"]["KeyId"]);
    let loss = token.add(Rule::on_all(Fault::ReturnCode("CKR_DEVICE_REMOVED".into())));
    let data_key = [("KeyId", key)];
    until_code(&admin, "GenerateDataKey", &data_key, "ServiceUnavailableTemporary").await;
    installation.configured(&["access-key", "disable", &mallory.id]).done();
    assert_eq!(code(&client, "ListKeys", &[]).await, "InvalidAccessKeyId.Inactive");
    assert_eq!(code(&admin, "ListKeys", &[]).await, "");
    events(&installation.audit_file(), "OperatorCommand", 2).await;
    token.remove(loss);
    assert_eq!(server.stop(), Some(0));
    // The change is signed: it holds after a start, and no row is refused.
    let server = installation.serve();
    until_code(&server.client(&mallory), "ListKeys", &[], "InvalidAccessKeyId.Inactive").await;
    assert_eq!(server.stop(), Some(0));
    let doctor = installation.configured(&["doctor"]);
    assert_eq!(doctor.code, Some(0), "{doctor:?}");
}
