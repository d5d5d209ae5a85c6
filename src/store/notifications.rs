//! Notifications of PostgreSQL: a gateway of a cluster hears of the changes of the others at once. They only
//! make a gateway look earlier: it looks at intervals too.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::Notify;

use super::connection::Connection;
use super::{Store, StoreError};

/// The channel of all stores: a database has one.
const CHANNEL: &str = "hsmgate";
/// The pause after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Tells the other processes when the transaction is committed.
pub(super) async fn announce(connection: &mut Connection) -> Result<(), StoreError> {
    connection.execute(sqlx::query("NOTIFY hsmgate")).await.map(drop)
}

impl Store {
    /// Listens to the changes of the other gateways of the cluster, and wakes `changed` after each. Without a
    /// cluster it never ends and never wakes.
    pub async fn listen(&self, changed: Arc<Notify>) {
        let Some(server) = self.inner.database.server.as_ref().filter(|_| self.member().is_some())
        else {
            return std::future::pending().await;
        };
        let mut is_failing = false;
        loop {
            // The first connection may have missed changes, and so may each later one.
            let listened = async {
                let pool = PgPoolOptions::new().max_connections(1);
                let pool = pool.connect_with(server.native_options()?).await?;
                let mut listener = PgListener::connect_with(&pool).await?;
                listener.listen(CHANNEL).await?;
                if std::mem::take(&mut is_failing) {
                    tracing::info!(
                        event = "cluster.listening",
                        "notifications of changes of other gateways are received again"
                    );
                }
                changed.notify_one();
                loop {
                    // `None`: the connection was lost and is opened again.
                    listener.try_recv().await?;
                    changed.notify_one();
                }
            };
            let ended: Result<std::convert::Infallible, sqlx::Error> = listened.await;
            let Err(error) = ended;
            if !std::mem::replace(&mut is_failing, true) {
                tracing::warn!(
                    event = "cluster.not_listening",
                    error = &error as &dyn std::error::Error,
                    "cannot receive notifications of changes of other gateways; they are read at intervals"
                );
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}
