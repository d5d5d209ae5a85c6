//! Trusted proxies name the source of connections and requests. The proxy of these tests is at
//! 127.0.0.1.

use std::fs;
use std::net::SocketAddr;

use hsmgate::cli::client::Client;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::support::audit_file::records;
use crate::support::gateway::{refusal, text};
use crate::support::installation::{AccessKey, Installation, Server};
use crate::support::raw_http::Connection;

const OFFICE: &str = "198.51.100.7";

/// A gateway with a user who may only call from the office, and a tester from anywhere.
struct Office {
    installation: Installation,
    server: Server,
    key: AccessKey,
}

impl Office {
    fn open(setting: &str) -> Self {
        let (installation, _admin) = Installation::prepared();
        installation.configure(|text| {
            *text = text.replace("[listen]\n", &format!("[listen]\n{setting}\n"));
        });
        let policy = json!({"Version": "1", "Statement": [{"Effect": "Allow", "Action": "kms:*",
            "Resource": "*", "Condition": {"IpAddress": {"acs:SourceIp": OFFICE}}}]});
        let file = installation.path("office.json");
        fs::write(&file, policy.to_string()).unwrap();
        let create = ["access-key", "create", "--json", "--user", "alice", "--policy"];
        let create = [&create[..], &[file.to_str().unwrap()]].concat();
        let key = AccessKey::of(&installation.through_gateway(&create).json());
        let server = installation.serve();
        Self { installation, server, key }
    }

    /// Lists the keys through a proxy that writes `before` in front of the bytes of the client, or
    /// after the first line of its request.
    async fn through(&self, before: Vec<u8>, place: Place) -> String {
        let gateway: SocketAddr = self.server.address().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let proxy = tokio::spawn(async move {
            let (mut client, _peer) = listener.accept().await.unwrap();
            let mut gateway = TcpStream::connect(gateway).await.unwrap();
            if place == Place::InHead {
                let mut line = Vec::new();
                while !line.ends_with(b"\r\n") {
                    line.push(client.read_u8().await.unwrap());
                }
                gateway.write_all(&line).await.unwrap();
            }
            gateway.write_all(&before).await.unwrap();
            copy_bidirectional(&mut client, &mut gateway).await.ok();
        });
        let client = Client::new(&endpoint, &self.key.id, self.key.secret.clone().into()).unwrap();
        let outcome = match client.call("ListKeys", &[]).await {
            Ok(_answer) => String::new(),
            Err(hsmgate::cli::client::CallError::Refused { code, .. }) => code,
            Err(_other) => "no answer".to_owned(),
        };
        proxy.abort();
        outcome
    }

    fn last_source(&self) -> String {
        let records = records(&self.installation.audit_file());
        let mut of_calls = records.iter().rev().filter(|one| one["eventName"] == "ListKeys");
        text(&of_calls.next().unwrap()["sourceIpAddress"]).to_owned()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    BeforeHead,
    InHead,
}

/// A header of the PROXY protocol for a client at this address.
fn header(client: [u8; 4]) -> Vec<u8> {
    let start: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c";
    [start, &client, &[127, 0, 0, 1], &[0x1f, 0x90, 1, 187]].concat()
}

#[tokio::test]
async fn the_source_that_a_trusted_proxy_names_counts_for_policies_and_the_audit() {
    let office = Office::open("proxy_protocol_from = [\"127.0.0.1\"]");
    let before = Place::BeforeHead;
    assert_eq!(office.through(header([198, 51, 100, 7]), before).await, "");
    assert_eq!(office.last_source(), OFFICE);
    assert_eq!(office.through(header([198, 51, 100, 8]), before).await, "Forbidden.NoPermission");
    assert_eq!(office.last_source(), "198.51.100.8");
    // A check of the proxy itself.
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00".to_vec();
    assert_eq!(office.through(local, before).await, "Forbidden.NoPermission");
    assert_eq!(office.last_source(), "127.0.0.1");
}

#[tokio::test]
async fn a_connection_without_a_well_formed_header_is_closed_and_a_header_of_others_is_not_read() {
    let office = Office::open("proxy_protocol_from = [\"127.0.0.1\"]");
    let address = office.server.address();
    let request = b"GET /?Action=DescribeRegions HTTP/1.1\r\nhost: h\r\n\r\n";
    let mut too_long = header([198, 51, 100, 7]);
    too_long[14..16].copy_from_slice(&[255, 255]);
    let mut unknown = header([198, 51, 100, 7]);
    unknown[12] = 0x2f;
    for (name, bytes) in [
        ("none", request.to_vec()),
        ("version 1", b"PROXY TCP4 198.51.100.7 127.0.0.1 1 2\r\n".to_vec()),
        ("too long", too_long),
        ("unknown command", unknown),
    ] {
        let mut connection = Connection::open(address).await;
        connection.send(&[&bytes, &request[..]].concat()).await;
        assert!(connection.is_closed().await, "{name}");
    }
    assert!(office.server.has_logged("reason=proxy_header"), "{}", office.server.log());
    // Another peer needs no header, and cannot use one.
    let mut other = Connection::open_from("127.0.0.2", address).await;
    other.send(request).await;
    assert!(other.answer().await.is_some());
    let mut other = Connection::open_from("127.0.0.2", address).await;
    other.send(&[&header([198, 51, 100, 7]), &request[..]].concat()).await;
    assert!(other.answer().await.is_none_or(|answer| answer.status == 400));
}

#[tokio::test]
async fn the_last_hop_that_is_not_trusted_is_the_source_of_a_request() {
    let office = Office::open("forwarded_for_from = [\"127.0.0.1\", \"10.0.0.0/8\"]");
    for (value, expected, source) in [
        ("198.51.100.7", "", OFFICE),
        ("203.0.113.1, 198.51.100.7", "", OFFICE),
        ("198.51.100.7, 10.1.1.1", "", OFFICE),
        ("198.51.100.7, 203.0.113.1", "Forbidden.NoPermission", "203.0.113.1"),
    ] {
        let line = format!("X-Forwarded-For: {value}\r\n").into_bytes();
        assert_eq!(office.through(line, Place::InHead).await, expected, "{value}");
        assert_eq!(office.last_source(), source, "{value}");
    }
    let address = office.server.address();
    let request = |value: &str| {
        format!(
            "GET /?Action=DescribeRegions HTTP/1.1\r\nhost: h\r\nx-forwarded-for: {value}\r\n\r\n"
        )
    };
    let mut connection = Connection::open(address).await;
    connection.send(request("198.51.100.7, unknown").as_bytes()).await;
    let malformed = refusal(400, "ParseRequestParameterException");
    assert_eq!(connection.answer().await.unwrap().refusal(), malformed);
    assert!(connection.is_closed().await);
    // The header of others is ignored.
    let mut other = Connection::open_from("127.0.0.2", address).await;
    other.send(request("unknown").as_bytes()).await;
    assert_ne!(other.answer().await.unwrap().refusal(), malformed);
}

#[tokio::test]
async fn without_trusted_proxies_no_client_names_a_source() {
    let office = Office::open("");
    let line = format!("X-Forwarded-For: {OFFICE}\r\n").into_bytes();
    assert_eq!(office.through(line, Place::InHead).await, "Forbidden.NoPermission");
    assert_eq!(office.last_source(), "127.0.0.1");
}

#[tokio::test]
async fn the_failures_of_one_client_behind_a_proxy_do_not_throttle_another() {
    let office = Office::open("proxy_protocol_from = [\"127.0.0.1\"]");
    let address: SocketAddr = office.server.address().parse().unwrap();
    let request =
        b"GET /?Action=ListKeys&Version=2016-01-20&AccessKeyId=none HTTP/1.1\r\nhost: h\r\n\r\n";
    let mut throttled = false;
    for _attempt in 0..100 {
        let stream = TcpSocket::new_v4().unwrap().connect(address).await.unwrap();
        let mut connection = Connection::of(stream);
        connection.send(&[&header([203, 0, 113, 9]), &request[..]].concat()).await;
        throttled |= connection.answer().await.unwrap().status == 429;
    }
    assert!(throttled);
    assert_eq!(office.through(header([198, 51, 100, 7]), Place::BeforeHead).await, "");
}
