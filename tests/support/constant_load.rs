//! Clients that call Encrypt at a constant rate, and that send nothing twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::installation::AccessKey;
use super::raw_http::Connection;
use super::signed_calls::{Call, ParamLocation, Signing, SigningVariant};

const ENCRYPT: &[(&str, &str)] = &[("KeyId", "alias/a"), ("Plaintext", "SGVsbG8=")];

/// The number of clients, each with one connection.
pub(crate) const CLIENTS: u32 = 16;

/// Clients that call until they are stopped.
pub(crate) struct ConstantLoad {
    clients: JoinSet<Seen>,
    is_over: Arc<AtomicBool>,
}

/// What clients have seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) calls: usize,
    pub(crate) connections: usize,
    pub(crate) longest: Duration,
    pub(crate) failures: Vec<String>,
}

impl ConstantLoad {
    /// Encrypts with `alias/a` so often in a second.
    pub(crate) fn start(address: &str, user: &AccessKey, rate: u32) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for _client in 0..CLIENTS {
            let (address, user, is_over) = (address.to_owned(), user.clone(), Arc::clone(&is_over));
            let every = Duration::from_secs(1) * CLIENTS / rate;
            clients.spawn(keep_calling(address, user, every, is_over));
        }
        Self { clients, is_over }
    }

    /// Ends the calls.
    pub(crate) async fn stop(mut self) -> Seen {
        self.is_over.store(true, Ordering::Relaxed);
        let mut seen = Seen::default();
        while let Some(client) = self.clients.join_next().await {
            seen.add(client.unwrap());
        }
        seen
    }
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.connections += other.connections;
        self.longest = self.longest.max(other.longest);
        self.failures.extend(other.failures);
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { calls, connections, longest, failures } = self;
        let (longest, failed) = (longest.as_millis(), failures.len());
        write!(
            f,
            "{calls} calls over {connections} connections, longest {longest} ms, {failed} failed"
        )
    }
}

/// A client that calls at its rate over a connection that it keeps until it is told to close it. It
/// takes no look at a connection before it sends, and sends nothing twice.
async fn keep_calling(
    address: String,
    user: AccessKey,
    every: Duration,
    is_over: Arc<AtomicBool>,
) -> Seen {
    let mut seen = Seen::default();
    let mut kept = None;
    let mut ticks = tokio::time::interval(every);
    while !is_over.load(Ordering::Relaxed) {
        ticks.tick().await;
        let begin = Instant::now();
        seen.calls += 1;
        match call(&mut kept, &address, &user, &mut seen.connections).await {
            Ok(()) => {}
            Err(failure) => {
                kept = None;
                seen.failures.push(failure);
            }
        }
        seen.longest = seen.longest.max(begin.elapsed());
    }
    seen
}

async fn call(
    kept: &mut Option<Connection>,
    address: &str,
    user: &AccessKey,
    connections: &mut usize,
) -> Result<(), String> {
    let is_new = kept.is_none();
    let mut connection = if let Some(connection) = kept.take() {
        connection
    } else {
        *connections += 1;
        let stream = TcpStream::connect(address).await;
        Connection::of(stream.map_err(|error| format!("not connected: {error}"))?)
    };
    connection.send(&encrypt(address, user)).await;
    let answer = connection.answer().await.ok_or(format!("no answer; new: {is_new}"))?;
    if answer.status != 200 {
        return Err(format!("{} {}", answer.status, answer.body));
    }
    if answer.header("connection") != "close" {
        *kept = Some(connection);
    }
    Ok(())
}

/// One of these calls.
pub(crate) fn encrypt(address: &str, user: &AccessKey) -> Vec<u8> {
    let variant = SigningVariant(Signing::Acs3, ParamLocation::PostQuery);
    Call::to(address, (&user.id, &user.secret), variant, "Encrypt", ENCRYPT).signed().bytes()
}
