//! Notifications of PostgreSQL: a gateway of a cluster hears of the changes of the others at once. They only
//! make a gateway look earlier: it looks at intervals too.
//!
//! A connection may stay open and bring nothing: behind a pooler that loses sessions, or after a network that
//! forgot it. Each gateway therefore sends heartbeats to itself, and connects again when it misses them.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::Notify;

use super::connection::Connection;
use super::heartbeat::{self, Heartbeat};
use super::postgresql::ServerLock;
use super::{Inner, Store, StoreError};
use crate::model::clock;

/// The channel of all stores: a database has one.
const CHANNEL: &str = "hsmgate";
/// The pause after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// Up to this it doubles while connections are opened and bring nothing: their ends may stay open.
const MAX_RETRY: Duration = Duration::from_mins(1);
/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why nothing is received.
#[derive(Debug, thiserror::Error)]
enum ListenError {
    #[error(transparent)]
    Connection(#[from] sqlx::Error),
    #[error("the connection is open, and does not bring what this gateway sends to itself")]
    Deaf,
    #[error("another server of the database is used now")]
    OtherServer,
}

/// Tells the other processes when the transaction is committed.
pub(super) async fn announce(connection: &mut Connection) -> Result<(), StoreError> {
    connection.execute(sqlx::query("NOTIFY hsmgate")).await.map(drop)
}

/// Sends a heartbeat with the commit of a change.
pub(super) async fn send_heartbeat(
    inner: &Inner,
    connection: &mut Connection,
) -> Result<Heartbeat, StoreError> {
    let heartbeat = inner.heartbeats.make();
    let text = inner.heartbeats.text(heartbeat);
    connection.execute(sqlx::query("SELECT pg_notify('hsmgate', $1)").bind(text)).await?;
    Ok(heartbeat)
}

impl Store {
    /// Listens to the changes of the other gateways of the cluster, and wakes `changed` after each. Without a
    /// cluster it never ends and never wakes.
    pub async fn listen(&self, changed: Arc<Notify>) {
        let Some(server) = self.inner.database.server.as_ref().filter(|_| self.member().is_some())
        else {
            return std::future::pending().await;
        };
        let (mut is_failing, mut pause) = (false, RETRY);
        loop {
            let ended = self.hear(server, &changed, &mut is_failing).await;
            let Err(error) = ended;
            pause = match error {
                ListenError::Deaf if is_failing => pause.saturating_mul(2).min(MAX_RETRY),
                ListenError::OtherServer => Duration::ZERO,
                _ => RETRY,
            };
            if !std::mem::replace(&mut is_failing, true) {
                tracing::warn!(
                    event = "cluster.not_listening",
                    error = &error as &dyn std::error::Error,
                    "cannot receive notifications of changes of other gateways; they are read at intervals"
                );
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Listens until that fails.
    async fn hear(
        &self,
        server: &ServerLock,
        changed: &Notify,
        is_failing: &mut bool,
    ) -> Result<std::convert::Infallible, ListenError> {
        let heartbeats = &self.inner.heartbeats;
        let servers = server.servers();
        let used = servers.in_use();
        let options = PgConnectOptions::try_from(servers.options())?;
        let opened = async {
            let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(CONNECT_TIMEOUT);
            let pool = pool.connect_with(options).await?;
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.listen(CHANNEL).await?;
            Ok::<_, sqlx::Error>(listener)
        };
        let mut listener = tokio::select! {
            opened = opened => opened?,
            () = servers.left(used) => return Err(ListenError::OtherServer),
        };
        let mut begun = clock::monotonic();
        // The first connection may have missed changes, and so may each later one.
        changed.notify_one();
        loop {
            let received = tokio::select! {
                received = listener.try_recv() => received?,
                () = heartbeats.deaf(begun) => return Err(ListenError::Deaf),
                () = servers.left(used) => return Err(ListenError::OtherServer),
            };
            // `None`: the connection was lost and is open again.
            if received.is_none() {
                begun = clock::monotonic();
            }
            let text = received.as_ref().map_or("", |notification| notification.payload());
            if heartbeats.note_received(text) && std::mem::take(is_failing) {
                tracing::info!(
                    event = "cluster.listening",
                    "notifications of changes of other gateways are received again"
                );
            }
            if !heartbeat::is_heartbeat(text) {
                changed.notify_one();
            }
        }
    }
}
