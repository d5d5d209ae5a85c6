//! Hardening of the process: core dumps, locked memory, root.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::gateway::Gateway;
use crate::support::installation::Installation;
use crate::support::process::{eventually, until};

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

/// With its memory locked, the kernel refuses the calls by which an allocator usually gives memory back.
#[tokio::test]
async fn the_memory_of_a_peak_is_given_back() {
    const HEADS: usize = 120;
    let (installation, _user) = Installation::prepared();
    let server = installation.serve();
    let status = format!("/proc/{}/status", server.process_id());
    let allocated = || {
        let status = fs::read_to_string(&status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1024
    };
    let requests = async |count: usize| {
        for _request in 0..count {
            let mut stream = TcpStream::connect(server.address()).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n").await.unwrap();
            stream.read_to_end(&mut Vec::new()).await.unwrap();
        }
    };
    requests(10).await;
    let before = allocated();
    let mut connections = Vec::new();
    for _connection in 0..HEADS {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        let field = format!("x-{}: {}\r\n", connections.len(), "a".repeat(4000));
        let head = ["GET / HTTP/1.1\r\n", &field.repeat(40)].concat();
        stream.write_all(head.as_bytes()).await.unwrap();
        connections.push(stream);
    }
    until(|| allocated() > before + 15).await;
    drop(connections);
    eventually(async || {
        // The allocator looks for old memory when it is used.
        requests(20).await;
        let now = allocated();
        if now <= before + 5 { Ok(()) } else { Err(format!("{before} MiB before, {now} MiB now")) }
    })
    .await;
}
