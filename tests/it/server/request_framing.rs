//! A request whose end is ambiguous (RFC 9112, section 6.1) is refused and its connection closed,
//! on each listener.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::admin_client::metric;
use crate::support::gateway::Gateway;
use crate::support::process::LIMIT;

/// Fields of which a head may have one kind at most, or in this form only.
const AMBIGUOUS: [&str; 6] = [
    "content-length: 5\r\ntransfer-encoding: chunked\r\n",
    "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
    "Transfer-Encoding: chunked\r\na: b\r\nCONTENT-LENGTH:5\r\n",
    "transfer-encoding: gzip, chunked\r\n",
    "transfer-encoding: chunked, chunked\r\n",
    "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
];
/// Where the body ends by one reading; by the other the rest is a request of its own.
const BODY: &str = "0\r\n\r\nGET /livez HTTP/1.1\r\nhost: smuggled\r\n\r\n";

/// Everything that comes back until the server closes.
async fn answers(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answers = Vec::new();
    let read = tokio::time::timeout(LIMIT, stream.read_to_end(&mut answers)).await;
    read.expect("the server closes").ok();
    String::from_utf8_lossy(&answers).into_owned()
}

fn check(told: &str, what: &str) {
    assert!(told.starts_with("HTTP/1.1 400 "), "{what}: {told}");
    assert!(told.contains("connection: close\r\n"), "{what}: {told}");
    assert_eq!(told.matches("HTTP/1.1 ").count(), 1, "{what}: {told}");
}

#[tokio::test]
async fn a_request_with_two_ends_is_refused_and_closed_on_every_listener() {
    let gateway = Gateway::start();
    let admin = gateway.dev.admin.strip_prefix("http://").unwrap().to_owned();
    let api = gateway.address().to_owned();
    let protobuf = "content-type: application/x-protobuf\r\nx-kms-apiname: Encrypt\r\n";
    for (address, path, more) in
        [(&api, "/?Action=DescribeRegions", ""), (&api, "/", protobuf), (&admin, "/livez", "")]
    {
        for fields in AMBIGUOUS {
            for method in ["POST", "GET"] {
                let head = format!("{method} {path} HTTP/1.1\r\nhost: h\r\n{more}{fields}\r\n");
                let stream = TcpStream::connect(address).await.unwrap();
                let told = answers(stream, &format!("{head}{BODY}")).await;
                check(&told, &format!("{address} {head}"));
            }
        }
        // It may come second, behind a request that was answered, with a body in chunks too.
        let first = format!("POST {path} HTTP/1.1\r\nhost: h\r\n{more}");
        for body in [
            "content-length: 2\r\n\r\nab",
            "transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        ] {
            let second = format!("{first}{}\r\n{BODY}", AMBIGUOUS[0]);
            let stream = TcpStream::connect(address).await.unwrap();
            let told = answers(stream, &format!("{first}{body}{second}")).await;
            let at = told.rfind("HTTP/1.1 ").unwrap();
            assert!(at > 0, "both are answered: {told}");
            check(&told[at..], &format!("{address}, second"));
        }
    }
    let reason = "hsmgate_connection_failures_total{reason=\"malformed_request\"}";
    assert!(metric(&gateway, reason).await.unwrap() > 1.0);
}

#[tokio::test]
async fn a_body_in_chunks_alone_is_answered_and_its_connection_kept() {
    let gateway = Gateway::start();
    let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
    for _round in 0..3 {
        let request = "POST /?Action=None HTTP/1.1\r\nhost: h\r\nTransfer-Encoding: Chunked\r\n\r\n\
                       3;a=b\r\nA=1\r\n0\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        let count = tokio::time::timeout(LIMIT, stream.read(&mut answer)).await.unwrap().unwrap();
        let told = String::from_utf8_lossy(&answer[..count]).into_owned();
        assert!(told.starts_with("HTTP/1.1 4"), "{told}");
        assert!(!told.contains("connection: close"), "{told}");
    }
}
