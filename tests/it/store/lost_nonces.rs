//! A promotion that lost nonces and no change: nobody has to accept anything, and no request of before is accepted
//! again, whichever gateway knows the nonces.

use super::postgresql::{create_key, encrypt};
use super::promotion::{REFUSED_AS_OLD, Site, sent, signed_list, until_decrypts};
use crate::support::calls::until_code;
use crate::support::installation::Server;
use crate::support::process::until;

/// Two gateways, and a request that the first one has accepted after the standby had the last change.
async fn with_lost_nonce(site: &Site) -> (Server, Server, String, Vec<u8>) {
    let (a, b) = (site.serve("a"), site.serve("b"));
    let key = create_key(&a, &site.admin).await;
    let blob = encrypt(&a, &site.admin, &key).await;
    // SoftHSM2 may not see a new key of another process at once.
    until_decrypts(&b, &site.admin, &blob).await;
    site.replicated(&key).await;
    site.standby.cut_replication();
    let request = signed_list(&site.admin, b.address());
    assert_eq!(sent(&a, &request).await, "");
    (a, b, blob, request)
}

/// A gateway serves, accepts changes, and refuses the request that was accepted before.
async fn assert_refuses_what_was_before(site: &Site, gateway: &Server, blob: &str, request: &[u8]) {
    until_decrypts(gateway, &site.admin, blob).await;
    let again = sent(gateway, request).await;
    assert!(REFUSED_AS_OLD.contains(&&*again), "{again:?}: {}", gateway.log());
    until_code(&gateway.client(&site.admin), "CreateKey", &[], "").await;
    assert!(!gateway.has_logged("store.lost_changes"), "{}", gateway.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_that_lost_only_nonces_needs_no_operator_and_no_request_is_accepted_again() {
    let site = Site::prepared();
    let (a, b, blob, request) = with_lost_nonce(&site).await;
    site.fail_over();
    until(|| a.has_logged("cluster.nonces_lost")).await;
    for gateway in [&b, &a] {
        assert_refuses_what_was_before(&site, gateway, &blob, &request).await;
    }
    assert_eq!((a.stop(), b.stop()), (Some(0), Some(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonces_of_a_gateway_that_ended_before_the_promotion_are_not_accepted_again() {
    let site = Site::prepared();
    let (a, b, blob, request) = with_lost_nonce(&site).await;
    a.signal("KILL");
    a.wait();
    site.fail_over();
    // The other one waits for the gateway that has ended, which knew what it had accepted last.
    assert_refuses_what_was_before(&site, &b, &blob, &request).await;
    let a = site.serve("a");
    assert_refuses_what_was_before(&site, &a, &blob, &request).await;
    assert_eq!((a.stop(), b.stop()), (Some(0), Some(0)));
}
