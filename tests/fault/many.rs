//! A token with many keys, each of which takes its time to be looked at.

use fault_token::{Fault, Rule};

use crate::rig::{PLAINTEXT, Rig};

/// What a look at one object takes, in milliseconds.
const LOOK: u64 = 20;
/// All of them take longer than a call may.
const KEYS: usize = 400;

#[tokio::test]
async fn a_start_with_many_keys_serves_while_it_looks_at_them() {
    let mut rig = Rig::start();
    let blobs = rig.sealed(KEYS).await;
    let (dir, mut token) = (rig.gateway.process.stop(), rig.token);
    token.add(Rule::on(&["C_GetAttributeValue"], Fault::Delay(LOOK)));
    rig = Rig::start_in(dir, token, &[]);
    for blob in blobs.iter().step_by(KEYS / 10) {
        let reply = rig.reply("Decrypt", &[("CiphertextBlob", blob)]).await;
        println!("after {} ms", reply.took.as_millis());
        assert_eq!(reply.body["Plaintext"], PLAINTEXT, "{reply:?}");
    }
    rig.gateway.create_key().await;
}
