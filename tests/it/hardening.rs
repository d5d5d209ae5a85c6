//! What the process does to itself.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::harness::Gateway;
use crate::installation::Installation;

#[tokio::test]
async fn a_gateway_leaves_no_core_dump() {
    let gateway = Gateway::start();
    let limits = fs::read_to_string(format!("/proc/{}/limits", gateway.process.process_id()));
    let limits = limits.unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
}

#[test]
fn root_is_refused_unless_asked_for() {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let installation = Installation::new();
    let config = installation.path("hsmgate.toml");
    let serve = ["serve", "--config", config.to_str().unwrap()];
    let refused = installation.command(&serve).env_remove("HSMGATE_ALLOW_ROOT").output().unwrap();
    let told = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(told.contains("--allow-root"), is_root, "{told}");
    let allowed = installation.command(&serve).output().unwrap();
    let told = String::from_utf8(allowed.stderr).unwrap();
    assert!(
        !told.contains("--allow-root"),
        "there is no token yet, which is the next fault: {told}"
    );
}
