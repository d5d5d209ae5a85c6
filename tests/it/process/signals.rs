//! Signals that stop a gateway, and signals that do not.

use crate::support::gateway::Gateway;
use crate::support::installation::Installation;
use crate::support::process::{is_alive, signal, until};

#[tokio::test]
async fn unused_signals_do_not_stop_a_gateway_for_development() {
    let gateway = Gateway::start();
    for name in ["USR1", "USR2"] {
        signal(name, &gateway.process_id());
        let told = format!("signal=\"SIG{name}\"");
        until(|| gateway.log().contains(&told)).await;
    }
    gateway.call("DescribeRegions", &[]).await;
    gateway.stop();
}

#[tokio::test]
async fn unused_signals_do_not_stop_a_gateway_and_its_supervisor() {
    let (installation, user) = Installation::prepared();
    for options in [&[][..], &["--supervise"]] {
        let server = installation.serve_with(options);
        server.signal("USR1");
        until(|| server.has_logged("signal=\"SIGUSR1\"")).await;
        // The gateway itself, which has no other gateway to exchange.
        let gateway = match options {
            [] => server.process_id().to_string(),
            _ => server.supervised(),
        };
        signal("USR2", &gateway);
        until(|| server.has_logged("signal=\"SIGUSR2\"")).await;
        server.signal("HUP");
        until(|| server.has_logged("reloading files")).await;
        server.client(&user).call("DescribeRegions", &[]).await.unwrap();
        assert!(is_alive(&gateway));
        assert_eq!(server.stop(), Some(0));
    }
}

#[tokio::test]
async fn sighup_tells_which_settings_wait_for_a_reload() {
    let (installation, _user) = Installation::prepared();
    let server = installation.serve_with(&[]);
    let file = installation.path("hsmgate.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let hang_up = async |text: &str, told: &str| {
        std::fs::write(&file, text).unwrap();
        server.signal("HUP");
        until(|| server.has_logged(told)).await;
    };
    assert!(!text.contains("[quotas]"), "{text}");
    hang_up(&format!("{text}\n[quotas]\nkeys = 17\nkey_versions = 18\n"), "config.changed").await;
    assert!(server.has_logged("settings=\"quotas.keys, quotas.key_versions\""));
    hang_up("nonsense", "config.invalid").await;
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test]
async fn a_gateway_shuts_down_in_order_on_sigquit() {
    let gateway = Gateway::start();
    gateway.call("DescribeRegions", &[]).await;
    signal("QUIT", &gateway.process_id());
    let directory = gateway.ended();
    let log = std::fs::read_to_string(directory.path().join("log")).unwrap();
    assert!(log.contains("the token is closed"), "{log}");
}
