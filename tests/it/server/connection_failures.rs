//! Connections without a request: one log line per source and minute, and a metric.

use std::process::Command;

use hsmgate::cli::client::{CallError, Client};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::admin_client::metric;
use crate::support::gateway::Gateway;
use crate::support::installation::Installation;
use crate::support::process::{eventually, until};

/// What a client of TLS 1.2 sends first: a ClientHello, here without a cipher that anybody takes.
const TLS_1_2: &[u8] = b"\x16\x03\x01\x00\x37\x01\x00\x00\x33\x03\x03\
    0123456789abcdef0123456789abcdef\x00\x00\x02\x00\x05\x01\x00\
    \x00\x08\x00\x0d\x00\x04\x00\x02\x04\x01";
/// The same by a client that speaks TLS 1.0 at most.
const TLS_1_0: &[u8] = b"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x01\
    0123456789abcdef0123456789abcdef\x00\x00\x02\x00\x2f\x01\x00";
const PROXY_V1: &[u8] =
    b"PROXY TCP4 10.0.0.1 10.0.0.2 40000 8200\r\nGET / HTTP/1.1\r\nhost: h\r\n\r\n";
const PROXY_V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\x0a\0\0\x01\x0a\0\0\x02\x9c\x40\x20\x08";
const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const SSH: &[u8] = b"SSH-2.0-OpenSSH_9.2p1\r\n";
const HALF_A_HEAD: &[u8] = b"GET / HTTP/1.1\r\nhost:";

/// Sends bytes from an address of this machine, and reads what comes back until the end.
async fn send(source: &str, address: &str, pieces: &[&[u8]]) -> Vec<u8> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for piece in pieces {
        stream.write_all(piece).await.ok();
        tokio::task::yield_now().await;
    }
    // A client that stops here, where it has not said enough for an answer.
    if *pieces == [HALF_A_HEAD] {
        stream.shutdown().await.unwrap();
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    answer
}

/// The lines of the log about such connections, of one listener.
fn lines(log: &str, listener: &str) -> Vec<String> {
    let listener = format!("listener=\"{listener}\"");
    let is_one = |line: &&str| line.contains("connection.failed") && line.contains(&listener);
    log.lines().filter(is_one).map(str::to_owned).collect()
}

async fn failures(gateway: &Gateway, reason: &str) -> f64 {
    let name = format!("hsmgate_connection_failures_total{{reason=\"{reason}\"}}");
    metric(gateway, &name).await.unwrap_or_default()
}

/// Waits for the newest line to say so: it is written after the count.
async fn until_logged(gateway: &Gateway, listener: &str, words: &str) {
    until(|| {
        let told = lines(&gateway.log(), listener);
        told.last().is_some_and(|line| line.contains(words))
    })
    .await;
}

async fn until_counted(gateway: &Gateway, reason: &str, count: f64) {
    let counted = eventually(async || {
        let counted = failures(gateway, reason).await;
        if counted < count { Err((reason, counted, gateway.log())) } else { Ok(counted) }
    });
    assert!((counted.await - count).abs() < 0.5, "{reason}");
}

fn address_of(endpoint: &str) -> String {
    endpoint.split_once("://").unwrap().1.to_owned()
}

#[tokio::test]
async fn clients_that_refuse_the_certificate_are_logged_once_a_minute_and_all_counted() {
    let gateway = Gateway::start_with(&["--tls"]);
    for _call in 0..3 {
        let outsider = Client::new(&gateway.dev.endpoint, "LTAIx", "s".into()).unwrap();
        let error = outsider.call("DescribeRegions", &[]).await.unwrap_err();
        assert!(matches!(error, CallError::Unreachable(_)), "{error:?}");
    }
    until_counted(&gateway, "unknown_ca", 3.0).await;
    until(|| !lines(&gateway.log(), "api").is_empty()).await;
    let told = lines(&gateway.log(), "api");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("WARN") && told[0].contains("reason=unknown_ca"), "{told:?}");
    assert!(told[0].contains("peer=127.0.0.1"), "{told:?}");

    // OpenSSL, as a client that knows the CA and looks for another name.
    let port = address_of(&gateway.dev.endpoint).rsplit(':').next().unwrap().to_owned();
    let ca_file = gateway.dev.ca_file.clone().unwrap();
    let python = "import socket, ssl, sys\n\
        context = ssl.create_default_context(cafile=sys.argv[2])\n\
        raw = socket.create_connection(('127.0.0.1', int(sys.argv[1])), source_address=('127.0.0.3', 0))\n\
        context.wrap_socket(raw, server_hostname='kms.cn-hangzhou.aliyuncs.com')\n";
    let mut python_client = Command::new("python3");
    python_client.args(["-c", python, &port]).arg(ca_file);
    let refused = python_client.output().unwrap();
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(error.contains("CERTIFICATE_VERIFY_FAILED"), "{error}");
    until_counted(&gateway, "certificate_refused", 1.0).await;
    until_logged(&gateway, "api", "peer=127.0.0.3 reason=certificate_refused").await;
    assert_eq!(lines(&gateway.log(), "api").len(), 2);
}

#[tokio::test]
async fn other_protocols_on_a_tls_port_are_logged_and_plain_http_is_refused_with_a_hint() {
    let gateway = Gateway::start_with(&["--tls"]);
    let address = address_of(&gateway.dev.endpoint);
    let cases: [(&[&[u8]], &str, &str); 7] = [
        (&[TLS_1_0], "no_shared_version", "\x15\x03"),
        (&[TLS_1_2], "no_shared_cipher", "\x15\x03"),
        (&[PROXY_V1], "proxy_header", "HTTP/1.1 400 "),
        (&[PROXY_V2], "proxy_header", "HTTP/1.1 400 "),
        (&[HTTP_2], "http2", "HTTP/1.1 400 "),
        (&[SSH], "not_http", "HTTP/1.1 400 "),
        (&[HALF_A_HEAD], "closed", ""),
    ];
    for (number, (pieces, reason, begin)) in (2..).zip(cases) {
        let source = format!("127.0.0.{number}");
        let before = failures(&gateway, reason).await;
        let answer = send(&source, &address, pieces).await;
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with(begin.as_bytes()), "{reason}: {text}");
        until_counted(&gateway, reason, before + 1.0).await;
        until_logged(&gateway, "api", &format!("peer={source} reason={reason}")).await;
    }

    let plain = Client::new(&format!("http://{address}"), "LTAIx", "s".into()).unwrap();
    match plain.call("DescribeRegions", &[]).await.unwrap_err() {
        CallError::Refused { status: 400, code, message, .. } => {
            assert_eq!(code, "ParseRequestParameterException");
            assert!(message.contains("Use https"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    until_counted(&gateway, "plain_http", 1.0).await;
    until(|| gateway.log().contains("use https")).await;

    // Who looks whether the port is open is no failure.
    let before = gateway.log();
    drop(TcpStream::connect(&address).await.unwrap());
    gateway.call("DescribeRegions", &[]).await;
    let log = gateway.log();
    assert_eq!(lines(&before, "api").len(), lines(&log, "api").len());
    assert!(failures(&gateway, "closed").await < 1.5);
}

#[tokio::test]
async fn other_protocols_on_a_plain_port_are_logged_on_both_listeners() {
    let gateway = Gateway::start();
    for (listener, endpoint) in [("api", &gateway.dev.endpoint), ("admin", &gateway.dev.admin)] {
        let address = address_of(endpoint);
        let (first, rest) = HTTP_2.split_at(5);
        let cases: [(&[&[u8]], &str); 7] = [
            (&[TLS_1_2], "tls_client_hello"),
            (&[PROXY_V1], "proxy_header"),
            (&[PROXY_V2], "proxy_header"),
            (&[HTTP_2], "http2"),
            (&[SSH], "not_http"),
            (&[b"GET / HTTP/1.1\r\nno colon\r\n\r\n"], "malformed_request"),
            (&[first, rest], "http2"),
        ];
        for (number, (pieces, reason)) in (2..).zip(cases) {
            let source = format!("127.0.0.{number}");
            let before = failures(&gateway, reason).await;
            let answer = send(&source, &address, pieces).await;
            // What comes in two pieces may be closed without an answer.
            let text = String::from_utf8_lossy(&answer).into_owned();
            assert!(text.starts_with("HTTP/1.1 400 ") || pieces.len() > 1, "{reason}: {text}");
            until_counted(&gateway, reason, before + 1.0).await;
            until_logged(&gateway, listener, &format!("peer={source} reason={reason}")).await;
        }
    }

    let endpoint = gateway.dev.endpoint.replace("http://", "https://");
    let client = Client::new(&endpoint, "LTAIx", "s".into()).unwrap();
    let error = client.call("DescribeRegions", &[]).await.unwrap_err();
    assert!(matches!(error, CallError::Unreachable(_)), "{error:?}");
    until_counted(&gateway, "tls_client_hello", 3.0).await;
}

#[tokio::test]
async fn an_unauthenticated_client_at_the_admin_listener_is_named() {
    let (installation, _user) = Installation::prepared();
    for out in ["tls", "others"] {
        installation.command(&["tls", "self-signed", "--out", out]).status().unwrap();
    }
    installation.configure(|text| {
        let (tls, ca) = (installation.path("tls"), installation.path("others/ca.pem"));
        let tls = tls.display();
        *text = text.replace(
            "[admin]\naddress = \"\"\n",
            &format!(
                "[admin]\naddress = \"127.0.0.1:0\"\nclient_ca = \"{}\"\n\
                 [tls]\ncertificate = \"{tls}/server.pem\"\nkey = \"{tls}/server.key\"\n",
                ca.display()
            ),
        );
    });
    let server = installation.serve();
    let endpoint = format!("https://{}", server.admin_address());
    let ca = installation.path("tls/ca.pem");
    let outsider = Client::trusting(Some(&ca), &endpoint, "LTAIx", "s".into()).unwrap();
    assert!(outsider.call("DescribeRegions", &[]).await.is_err());
    until(|| server.log().contains("connection.failed")).await;
    let log = server.log();
    let line = &lines(&log, "admin")[0];
    assert!(line.contains("WARN") && line.contains("peer=127.0.0.1"), "{line}");
    assert!(line.contains("reason=client_certificate"), "{line}");
}
