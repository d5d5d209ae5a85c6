//! `hsmgate serve --supervise` replaces its gateway on SIGUSR2, and no request is lost.

use std::fs;
use std::time::Instant;

use crate::support::admin_client::get;
use crate::support::constant_load::{CLIENTS, ConstantLoad, encrypt};
use crate::support::installation::{AccessKey, Installation, Server, run};
use crate::support::process::{is_alive, signal, until};
use crate::support::proxy::{Proxy, haproxy};
use crate::support::raw_http::Connection;

const ENCRYPT: &[(&str, &str)] = &[("KeyId", "alias/a"), ("Plaintext", "SGVsbG8=")];

/// How often the gateway is exchanged, and how many calls a second come meanwhile.
fn effort() -> (usize, u32) {
    if std::env::var_os("HSMGATE_TORTURE").is_some() { (10, 500) } else { (3, 200) }
}

/// An installation whose gateway drains for so long, bears any load, and tells of its readiness.
fn installation(drain_ms: u32) -> (Installation, AccessKey) {
    let (installation, user) = Installation::prepared();
    installation.configure(|text| {
        *text = text
            .replace("drain_ms = 0", &format!("drain_ms = {drain_ms}"))
            .replace("[token]\n", "[token]\nmax_queue_wait_ms = 4000\n")
            .replace("address = \"\"", "address = \"127.0.0.1:0\"")
            + "[limits]\ncalls_per_second = 0\n";
    });
    (installation, user)
}

async fn supervised(installation: &Installation, user: &AccessKey) -> Server {
    let server = installation.serve_with(&["--supervise"]);
    let client = server.client(user);
    let created = client.call("CreateKey", &[]).await.unwrap();
    let key = created["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    client.call("CreateAlias", &[("AliasName", "alias/a"), ("KeyId", &key)]).await.unwrap();
    server
}

/// Exchanges the gateway of `server`, while clients call it at `address`; tells the figures.
async fn exchange_under_load(server: &Server, address: &str, user: &AccessKey) -> String {
    let (exchanges, rate) = effort();
    let load = ConstantLoad::start(address, user, rate);
    let begin = Instant::now();
    for count in 1..=exchanges {
        let old = server.supervised();
        server.signal("USR2");
        until(|| server.count_logged("reload.finished") == count).await;
        assert_ne!(server.supervised(), old);
        assert!(!is_alive(&old));
    }
    let took = begin.elapsed();
    let seen = load.stop().await;
    let figures = format!("{exchanges} exchanges in {} ms, {seen}", took.as_millis());
    assert_eq!(seen.failures, [""; 0], "{figures}\n{}", server.log());
    assert!(seen.connections > exchanges * CLIENTS as usize / 2, "the clients met each exchange");
    figures
}

/// No two gateways have served at a time, and their audit is one chain.
fn assert_one_after_another(server: Server, installation: &Installation) {
    let log = server.log();
    let mut is_serving = false;
    for event in ["serving address=", "serve: stopped"]
        .iter()
        .flat_map(|event| log.match_indices(event))
        .collect::<std::collections::BTreeMap<_, _>>()
        .into_values()
    {
        assert_eq!(is_serving, event.ends_with("stopped"), "{log}");
        is_serving = !is_serving;
    }
    assert_eq!(server.stop(), Some(0));
    let file = installation.audit_file();
    run(installation.command(&["audit", "verify", file.to_str().unwrap()]), b"").done();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exchanges_of_the_gateway_lose_no_request() {
    let (installation, user) = installation(3000);
    let server = supervised(&installation, &user).await;
    println!("{}", exchange_under_load(&server, server.address(), &user).await);
    assert_one_after_another(server, &installation);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exchanges_of_the_only_gateway_behind_a_proxy_lose_no_request() {
    let Some(program) = haproxy() else { return };
    let (installation, user) = installation(3000);
    let server = supervised(&installation, &user).await;
    let admin = server.admin_address();
    let (_host, admin_port) = admin.rsplit_once(':').unwrap();
    // In TCP mode, which tries nothing again, and takes its only server away as soon as that is not ready.
    let configuration = |address: &str| {
        format!(
            "global\n  maxconn 200\n\
             defaults\n  mode tcp\n  retries 0\n  timeout connect 10s\n  timeout client 60s\n  \
             timeout server 60s\n  timeout check 10s\n\
             frontend callers\n  bind {address}\n  default_backend gateway\n\
             backend gateway\n  option httpchk GET /readyz\n  \
             server one {} check port {admin_port} inter 100ms fall 1 rise 1\n",
            server.address()
        )
    };
    let proxy = Proxy::start(&program, &installation.path(""), configuration).await;
    println!("{}", exchange_under_load(&server, &proxy.address, &user).await);
    drop(proxy);
    assert_one_after_another(server, &installation);
}

#[tokio::test]
async fn a_new_gateway_that_cannot_start_leaves_the_old_one_serving() {
    let (installation, user) = installation(0);
    let server = supervised(&installation, &user).await;
    let old = server.supervised();
    let good = fs::read_to_string(installation.path("hsmgate.toml")).unwrap();
    for (count, bad) in [(1, "nonsense".to_owned()), (2, good.replace("production", "another"))] {
        fs::write(installation.path("hsmgate.toml"), bad).unwrap();
        server.signal("USR2");
        until(|| server.count_logged("reload.failed") == count).await;
        server.client(&user).call("Encrypt", ENCRYPT).await.unwrap();
        assert_eq!(server.all_supervised(), [old.as_str()]);
    }
    until(|| server.has_logged("ERROR")).await;
    fs::write(installation.path("hsmgate.toml"), good).unwrap();
    server.signal("USR2");
    until(|| server.has_logged("reload.finished")).await;
    assert_ne!(server.supervised(), old);
    server.client(&user).call("Encrypt", ENCRYPT).await.unwrap();
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test]
async fn all_files_are_checked_before_the_old_gateway_ends() {
    let (installation, _user) = Installation::prepared();
    installation.command(&["tls", "self-signed", "--out", "tls"]).status().unwrap();
    let (tls, ca) = (installation.path("tls"), installation.path("clients.pem"));
    fs::copy(tls.join("server.pem"), &ca).unwrap();
    installation.configure(|text| {
        let (tls, ca) = (tls.display(), ca.display());
        *text = text.replace(
            "[admin]\naddress = \"\"\n",
            &format!(
                "[tls]\ncertificate = \"{tls}/server.pem\"\nkey = \"{tls}/server.key\"\n\
                 [admin]\naddress = \"127.0.0.1:0\"\nclient_ca = \"{ca}\"\n"
            ),
        );
    });
    let server = installation.serve_with(&["--supervise"]);
    let old = server.supervised();
    let file = installation.path("hsmgate.toml");
    let good = fs::read_to_string(&file).unwrap();
    fs::rename(&ca, installation.path("clients.pem.old")).unwrap();
    server.signal("USR2");
    until(|| server.count_logged("reload.failed") == 1).await;
    fs::rename(installation.path("clients.pem.old"), &ca).unwrap();
    let elsewhere = installation.path("missing/audit.jsonl");
    fs::write(&file, format!("{good}[audit]\nfile = \"{}\"\n", elsewhere.display())).unwrap();
    server.signal("USR2");
    until(|| server.count_logged("reload.failed") == 2).await;
    fs::write(&file, good).unwrap();
    let lock = installation.path("state/gateway.lock");
    fs::rename(&lock, installation.path("lock")).unwrap();
    fs::create_dir(&lock).unwrap();
    server.signal("USR2");
    until(|| server.count_logged("reload.failed") == 3).await;
    fs::remove_dir(&lock).unwrap();
    fs::rename(installation.path("lock"), &lock).unwrap();
    assert_eq!(server.all_supervised(), [old.as_str()], "{}", server.log());
    server.signal("USR2");
    until(|| server.has_logged("reload.finished")).await;
    assert_eq!(server.stop(), Some(0));
}

/// A connection that has been used and rests: whoever drains waits for it.
async fn resting(server: &Server, user: &AccessKey) -> Connection {
    let mut connection = Connection::open(server.address()).await;
    connection.send(&encrypt(server.address(), user)).await;
    assert_eq!(connection.answer().await.unwrap().status, 200);
    connection
}

/// Asks for an exchange, and waits until there are two gateways.
async fn begin_exchange(server: &Server) -> (String, String) {
    server.signal("USR2");
    until(|| server.all_supervised().len() == 2).await;
    let mut both = server.all_supervised().into_iter();
    (both.next().unwrap(), both.next().unwrap())
}

#[tokio::test]
async fn a_kill_in_any_phase_of_an_exchange_ends_with_one_gateway_that_serves() {
    let (installation, user) = installation(600_000);
    let server = supervised(&installation, &user).await;

    let (old, new) = begin_exchange(&server).await;
    signal("KILL", &new);
    until(|| server.count_logged("reload.failed") == 1).await;
    assert_eq!(server.all_supervised(), [old]);
    server.client(&user).call("Encrypt", ENCRYPT).await.unwrap();

    let (old, new) = begin_exchange(&server).await;
    signal("KILL", &old);
    server.client(&user).call("Encrypt", ENCRYPT).await.unwrap();
    assert_eq!(server.all_supervised(), [new]);

    let mut kept = resting(&server, &user).await;
    let (old, new) = begin_exchange(&server).await;
    until(|| server.count_logged("handing over") == 1).await;
    // Both doors are open while it drains.
    server.client(&user).call("Encrypt", ENCRYPT).await.unwrap();
    assert_eq!(get(&format!("http://{}", server.admin_address()), "/readyz").await.0, 200);
    signal("KILL", &old);
    assert!(kept.is_closed().await);
    server.client(&user).call("Encrypt", ENCRYPT).await.unwrap();
    assert_eq!(server.all_supervised(), [new]);

    let mut kept = resting(&server, &user).await;
    let (old, new) = begin_exchange(&server).await;
    until(|| server.count_logged("handing over") == 2).await;
    signal("KILL", &new);
    until(|| server.count_logged("reload.failed") == 2).await;
    kept.send(&encrypt(server.address(), &user)).await;
    let answer = kept.answer().await.unwrap();
    assert_eq!((answer.status, answer.header("connection")), (200, "close"));
    until(|| !is_alive(&old)).await;
    server.client(&user).call("Encrypt", ENCRYPT).await.unwrap();
}

#[tokio::test]
async fn a_stop_in_any_phase_of_an_exchange_ends_all_processes_in_order() {
    let (installation, user) = installation(1000);
    let server = supervised(&installation, &user).await;
    let (old, new) = begin_exchange(&server).await;
    assert_eq!(server.stop(), Some(0));
    assert!(!is_alive(&old) && !is_alive(&new));

    let server = installation.serve_with(&["--supervise"]);
    let _kept = resting(&server, &user).await;
    let (old, new) = begin_exchange(&server).await;
    until(|| server.has_logged("handing over")).await;
    assert_eq!(server.stop(), Some(0));
    assert!(!is_alive(&old) && !is_alive(&new));
}

#[tokio::test]
async fn an_exchange_starts_the_installed_program() {
    let (mut installation, user) = installation(0);
    let program = installation.path("hsmgate");
    fs::copy(env!("CARGO_BIN_EXE_hsmgate"), &program).unwrap();
    installation.program.clone_from(&program);
    let server = installation.serve_with(&["--supervise"]);
    let replaced = installation.path("hsmgate.new");
    fs::copy(env!("CARGO_BIN_EXE_hsmgate"), &replaced).unwrap();
    fs::rename(&replaced, &program).unwrap();
    server.signal("USR2");
    until(|| server.has_logged("reload.finished")).await;
    let runs = fs::read_link(format!("/proc/{}/exe", server.supervised())).unwrap();
    assert_eq!(runs, program, "not the one that was removed");
    server.client(&user).call("DescribeRegions", &[]).await.unwrap();
    assert_eq!(server.stop(), Some(0));
}
