//! Two gateways that continue from one state, like a virtual machine that is reverted to a snapshot
//! of its memory: the generator of the token gives both the same values.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fault_token::{Fault, Rule};

use crate::setup::{ENCRYPT, Setup};
use crate::support::gateway::text;

/// Fewer than there are IVs in the pool of one thread.
const CALLS: usize = 60;
/// Where the IV of a blob stands.
const IV: std::ops::Range<usize> = 36..48;

/// What goes out of one gateway.
#[derive(Default)]
struct Seen {
    ivs: HashSet<Vec<u8>>,
    data_keys: HashSet<String>,
}

async fn seen(setup: &Setup) -> Seen {
    let mut seen = Seen::default();
    for action in ["Encrypt", "GenerateDataKey"] {
        for _call in 0..CALLS {
            let params = if action == "Encrypt" { &ENCRYPT[..] } else { &ENCRYPT[..1] };
            let answer = setup.gateway.call(action, params).await;
            let blob = STANDARD.decode(text(&answer["CiphertextBlob"])).unwrap();
            assert!(seen.ivs.insert(blob[IV].to_vec()), "an IV comes twice");
            if action == "GenerateDataKey" {
                assert!(seen.data_keys.insert(text(&answer["Plaintext"]).to_owned()));
            }
        }
    }
    seen
}

#[tokio::test]
async fn two_gateways_that_go_on_from_one_state_share_no_iv_and_no_data_key() {
    let mut setup = Setup::start();
    setup.token.add(Rule::on(&["C_GenerateRandom"], Fault::Sequence(7)));
    let setup = setup.restart();
    let one = seen(&setup).await;
    let setup = setup.restart();
    let other = seen(&setup).await;
    assert_eq!((one.ivs.len(), one.data_keys.len()), (2 * CALLS, CALLS));
    let common = one.ivs.intersection(&other.ivs).count();
    assert_eq!(common, 0, "IVs in common");
    let common = one.data_keys.intersection(&other.data_keys).count();
    assert_eq!(common, 0, "data keys in common");
}
