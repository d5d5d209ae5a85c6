//! Requests as bytes, for what a correct client never sends, and their answers.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};

use super::process::LIMIT;

/// An answer in parts.
#[derive(Debug)]
pub(crate) struct RawResponse {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl RawResponse {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body, which must be a JSON object.
    pub(crate) fn json(&self) -> Value {
        let value: Value = serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {:?}", self.status, self.body));
        assert!(value.is_object(), "{value}");
        value
    }

    /// Status and code of a refusal, which must have the format of the API.
    pub(crate) fn refusal(&self) -> (u16, String) {
        let body = self.json();
        for field in ["RequestId", "HostId", "Code", "Message"] {
            assert!(body[field].is_string(), "no {field} in {body}");
        }
        assert_eq!(body["RequestId"], self.header("x-acs-request-id"), "{body}");
        assert_eq!(self.header("content-type"), "application/json;charset=utf-8");
        assert!(!body["Message"].as_str().unwrap().is_empty());
        (self.status, body["Code"].as_str().unwrap().to_owned())
    }

    pub(crate) fn message(&self) -> String {
        self.json()["Message"].as_str().unwrap().to_owned()
    }
}

/// A connection.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(crate) async fn open(address: &str) -> Self {
        Self::of(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) fn of(stream: TcpStream) -> Self {
        Self(BufReader::new(stream))
    }

    /// From another address of this machine, `127.0.0.2` for instance.
    pub(crate) async fn open_from(source: &str, address: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
        Self::of(socket.connect(address.parse().unwrap()).await.unwrap())
    }

    /// Sends bytes. The server may have answered and closed already: then the answer is read.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.ok();
    }

    /// Reads one answer. `None` when the connection ends before there is one.
    pub(crate) async fn answer(&mut self) -> Option<RawResponse> {
        tokio::time::timeout(LIMIT, self.read(true)).await.expect("an answer in time")
    }

    /// Reads the head of an answer without a body.
    pub(crate) async fn head(&mut self) -> Option<RawResponse> {
        tokio::time::timeout(LIMIT, self.read(false)).await.expect("an answer in time")
    }

    /// Whether the server has ended the connection.
    pub(crate) async fn is_closed(&mut self) -> bool {
        let read = tokio::time::timeout(LIMIT, self.0.read_u8()).await.expect("an end in time");
        read.is_err()
    }

    async fn read(&mut self, has_body: bool) -> Option<RawResponse> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let mut headers = HeaderMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        let length = headers.get("content-length").filter(|_length| has_body);
        let mut body = vec![0; length.map_or(0, |text| text.to_str().unwrap().parse().unwrap())];
        self.0.read_exact(&mut body).await.ok()?;
        // A message of the instance protocol is no text.
        Some(RawResponse { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

/// Sends bytes over a new connection and reads the answer.
pub(crate) async fn exchange(address: &str, bytes: &[u8]) -> RawResponse {
    let mut connection = Connection::open(address).await;
    connection.send(bytes).await;
    connection.answer().await.unwrap_or_else(|| {
        panic!(
            "closed without an answer: {}",
            String::from_utf8_lossy(bytes.get(..400).unwrap_or(bytes))
        )
    })
}
