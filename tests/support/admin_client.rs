//! Requests to the admin listener.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::gateway::Gateway;

/// Status and body of a GET.
pub(crate) async fn get(admin: &str, path: &str) -> (u16, String) {
    let address = admin.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The sum of a metric over all its labels.
pub(crate) async fn total(gateway: &Gateway, name: &str) -> f64 {
    let (status, text) = get(&gateway.dev.admin, "/metrics").await;
    assert_eq!(status, 200);
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// The value of a metric, named with its labels.
pub(crate) async fn metric(gateway: &Gateway, name: &str) -> Option<f64> {
    let (status, text) = get(&gateway.dev.admin, "/metrics").await;
    assert_eq!(status, 200);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(value.parse().unwrap())
}
