//! What goes wrong in the token and is made good before a caller could notice.

use fault_token::{Fault, Rule, When};

use crate::rig::{Rig, count};

const ENCRYPT: [(&str, &str); 2] = [("KeyId", "alias/demo"), ("Plaintext", "SGVsbG8=")];

#[tokio::test]
async fn sessions_that_are_lost_under_traffic_are_opened_anew() {
    let mut rig = Rig::start();
    let rule = Rule::on(&["C_Encrypt"], Fault::CloseSessions).when(When::Every(20));
    let number = rig.token.add(rule);
    for _call in 0..100 {
        let reply = rig.reply("Encrypt", &ENCRYPT).await;
        assert_eq!(reply.status, 200, "{reply:?}\n{}", rig.gateway.process.log());
    }
    let calls = rig.token.calls();
    let losses = calls.iter().filter(|call| call.rules.contains(&number)).count();
    assert!(losses >= 5, "{losses}");
    assert!(count(&calls, "C_Encrypt") > 100);
}
