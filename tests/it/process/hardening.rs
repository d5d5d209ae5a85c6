//! Hardening of the process: core dumps, locked memory, root.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use crate::support::gateway::Gateway;
use crate::support::installation::Installation;

/// By its whole path: the environment of a gateway is empty.
const PRLIMIT: &str = "/usr/bin/prlimit";

#[tokio::test]
async fn a_gateway_leaves_no_core_dump() {
    let gateway = Gateway::start();
    let limits = fs::read_to_string(format!("/proc/{}/limits", gateway.process_id()));
    let limits = limits.unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
}

#[test]
fn a_gateway_locks_its_memory_if_permitted_and_reports_it_otherwise() {
    let (installation, _user) = Installation::prepared();
    let limited = [PRLIMIT, "--memlock=65536"];
    let incapable = [&["/usr/bin/setpriv", "--bounding-set=-ipc_lock"], &limited[..]].concat();
    for starter in [&[][..], &limited, &incapable] {
        let is_known = |program: &&str| Command::new(program).arg("--version").output().is_ok();
        let refused = starter.len() > 2 && !is_root();
        if refused || !starter.first().is_none_or(is_known) {
            println!("not run: {starter:?}");
            continue;
        }
        let server = installation.serve_under(starter, &[]);
        let process = format!("/proc/{}", server.process_id());
        let status = fs::read_to_string(format!("{process}/status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").to_owned()
        };
        let capabilities = u64::from_str_radix(&field("CapEff:"), 16).unwrap();
        let limits = fs::read_to_string(format!("{process}/limits")).unwrap();
        let limit = limits.lines().find(|line| line.starts_with("Max locked memory")).unwrap();
        let may = capabilities >> 14 & 1 == 1 || limit.contains("unlimited");
        let locked: u64 = field("VmLck:").parse().unwrap();
        println!("{starter:?}: may {may}, {locked} kB");
        assert_eq!(locked > 1024, may);
        assert_eq!(server.has_logged("memory is not locked"), !may);
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

#[test]
fn root_is_refused_unless_allowed_explicitly() {
    let installation = Installation::new();
    let config = installation.path("hsmgate.toml");
    let serve = ["serve", "--config", config.to_str().unwrap()];
    let refused = installation.command(&serve).env_remove("HSMGATE_ALLOW_ROOT").output().unwrap();
    let told = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(told.contains("--allow-root"), is_root(), "{told}");
    let allowed = installation.command(&serve).output().unwrap();
    let told = String::from_utf8(allowed.stderr).unwrap();
    assert!(
        !told.contains("--allow-root"),
        "there is no token yet, which is the next fault: {told}"
    );
}
