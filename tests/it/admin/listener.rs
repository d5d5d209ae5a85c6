//! The admin listener: liveness, readiness and metrics, as a probe and a scraper see them.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::admin_client::{get, metric};
use crate::support::gateway::Gateway;
use crate::support::process::{eventually, until_async};

#[tokio::test]
async fn a_serving_gateway_is_live_and_ready_and_gives_reasons() {
    for options in [&[][..], &["--tls"]] {
        let gateway = Gateway::start_with(options);
        assert_eq!(get(&gateway.dev.admin, "/livez").await, (200, "ok\n".to_owned()));
        let (status, body) = get(&gateway.dev.admin, "/readyz").await;
        assert_eq!(status, 200, "{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["status"], "ready");
        assert_eq!(body["dependencies"]["token"]["status"], "ok");
        assert_eq!(body["dependencies"]["store"]["status"], "ok");
        let certificate = &body["dependencies"]["certificate"];
        if options.is_empty() {
            assert_eq!(certificate["status"], "none");
        } else {
            assert!(certificate["days_left"].as_f64().unwrap() > 360.0);
        }
        assert_eq!(get(&gateway.dev.admin, "/").await.0, 404);
    }
}

#[tokio::test]
async fn the_api_and_the_admin_listener_serve_only_their_own_paths() {
    let gateway = Gateway::start();
    let (status, _body) = get(&gateway.dev.admin, "/?Action=DescribeRegions").await;
    assert_eq!(status, 404);
    let (status, body) = get(&gateway.dev.endpoint, "/metrics").await;
    assert_eq!(status, 400, "{body}");
    assert!(!body.contains("hsmgate_"));
}

#[tokio::test]
async fn requests_are_counted_and_no_metric_names_a_key() {
    let gateway = Gateway::start();
    let key = gateway.create_key().await;
    let ok = "hsmgate_requests_total{operation=\"Encrypt\",outcome=\"ok\"}";
    let before = metric(&gateway, ok).await.unwrap();
    for _call in 0..3 {
        gateway.call("Encrypt", &[("KeyId", &key), ("Plaintext", "SGk=")]).await;
    }
    gateway.refused("Encrypt", &[("KeyId", "key-nowhere"), ("Plaintext", "SGk=")]).await;
    assert_eq!(metric(&gateway, ok).await, Some(before + 3.0));
    let refused = "hsmgate_requests_total{operation=\"Encrypt\",outcome=\"refused\"}";
    assert_eq!(metric(&gateway, refused).await, Some(1.0));
    let total = metric(&gateway, "hsmgate_request_duration_seconds_sum{operation=\"Encrypt\"}");
    let token = "hsmgate_request_token_duration_seconds_sum{operation=\"Encrypt\"}";
    assert!(metric(&gateway, token).await.unwrap() < total.await.unwrap());
    assert_eq!(metric(&gateway, "hsmgate_token_ready").await, Some(1.0));
    assert!(metric(&gateway, "hsmgate_token_sessions").await.unwrap() >= 2.0);
    assert!(metric(&gateway, "hsmgate_connections").await.unwrap() >= 1.0);
    let age = metric(&gateway, "hsmgate_token_last_success_age_seconds").await.unwrap();
    assert!(age < 60.0, "{age}");
    let commits = "hsmgate_store_duration_seconds_count{kind=\"commit\"}";
    assert!(metric(&gateway, commits).await.unwrap() >= 1.0);
    // The jobs run once at the start.
    let keys = "hsmgate_quota_used_ratio{quota=\"keys\"}";
    until_async(async || metric(&gateway, keys).await.is_some()).await;
    let soon = "hsmgate_client_keys_expiring{days=\"7\"}";
    assert_eq!(metric(&gateway, soon).await, Some(0.0));
    let (_status, text) = get(&gateway.dev.admin, "/metrics").await;
    assert!(!text.contains(&key) && !text.contains(&gateway.dev.access_key_id));
}

#[tokio::test]
async fn every_metric_that_shows_is_on_its_page() {
    let gateway = Gateway::start_with(&["--tls"]);
    let (_status, text) = get(&gateway.dev.admin, "/metrics").await;
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/metrics.md");
    let page = std::fs::read_to_string(page).unwrap();
    let shown: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(shown.len() > 8, "{text}");
    for name in shown {
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
    assert!(metric(&gateway, "hsmgate_certificate_left_seconds").await.unwrap() > 3e7);
}

#[tokio::test]
async fn a_source_that_fails_to_authenticate_is_throttled_and_accepted_again() {
    let gateway = Gateway::start_with(&["--authentication-failures-per-second", "4"]);
    let outsider = hsmgate::cli::client::Client::new(
        &gateway.dev.endpoint,
        &gateway.dev.access_key_id,
        "another secret".into(),
    )
    .unwrap();
    let mut codes = BTreeSet::new();
    for _call in 0..20 {
        if let Err(hsmgate::cli::client::CallError::Refused { code, .. }) =
            outsider.call("DescribeRegions", &[]).await
        {
            codes.insert(code);
        }
    }
    let expected = ["Rejected.Throttling", "SignatureDoesNotMatch"].map(str::to_owned);
    assert_eq!(codes, BTreeSet::from(expected));
    // Others who share the source are heard in between.
    eventually(async || gateway.client.call("DescribeRegions", &[]).await).await;
    let throttled = metric(&gateway, "hsmgate_throttled_total{limit=\"authentication\"}").await;
    assert!(throttled.unwrap() >= 1.0);
    let failures =
        metric(&gateway, "hsmgate_authentication_failures_total{code=\"SignatureDoesNotMatch\"}");
    assert!(failures.await.unwrap() >= 4.0);
}

/// The tests begin a minute after the start.
#[tokio::test]
async fn every_kind_of_key_is_tested_in_the_background() {
    let gateway = Gateway::start();
    let is = async |capability: &str, result: &str| {
        let name = "hsmgate_token_capabilities";
        let name = format!("{name}{{capability=\"{capability}\",result=\"{result}\"}}");
        metric(&gateway, &name).await == Some(1.0)
    };
    // The first key showed that the token has them.
    assert!(is("aes-256-gcm", "works").await && is("rsa-4096", "untested").await);
    until_async(async || is("rsa-4096", "works").await).await;
    assert!(is("ec-p256k", "works").await && is("unwrap-oaep-sha256", "refused").await);
    assert!(!is("rsa-4096", "untested").await);
}
