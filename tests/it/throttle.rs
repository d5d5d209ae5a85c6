//! The limit of calls a second.

use crate::harness::Gateway;

const ENCRYPT: [(&str, &str); 2] = [("KeyId", "alias/demo"), ("Plaintext", "SGVsbG8=")];

#[tokio::test]
async fn calls_beyond_the_limit_are_throttled_and_others_are_not() {
    let gateway = Gateway::start_with(&["--calls-per-second", "3"]);
    let mut is_throttled = false;
    for _call in 0..40 {
        if gateway.client.call("Encrypt", &ENCRYPT).await.is_err() {
            let refused = gateway.refused("Encrypt", &ENCRYPT).await;
            assert_eq!(refused, (429, "Rejected.Throttling".to_owned()));
            is_throttled = true;
            break;
        }
    }
    assert!(is_throttled, "forty calls at once passed a limit of three a second");
    gateway.call("DescribeKey", &[("KeyId", "alias/demo")]).await;
}
