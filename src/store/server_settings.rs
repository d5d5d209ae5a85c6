//! The settings of connections to PostgreSQL, for a session or for one transaction.

/// The statements for the required settings of every connection. Notices, such as that a table exists already,
/// are not sent. A lock is waited for as long as SQLite waits. A transaction that its process left alone is
/// ended, so that others can change something. With `synchronous_commit = off` a server loses acknowledged
/// changes when it ends.
macro_rules! settings {
    ($set:literal, $is_local:literal) => {
        concat!(
            $set,
            " client_min_messages = 'warning'; ",
            $set,
            " lock_timeout = '5s'; ",
            $set,
            " statement_timeout = '60s'; ",
            $set,
            " idle_in_transaction_session_timeout = '60s'; \
             SELECT set_config('synchronous_commit', 'on', ",
            $is_local,
            ") WHERE current_setting('synchronous_commit') = 'off'"
        )
    };
}
pub(super) use settings;

/// The settings of a session.
pub(super) const OF_SESSION: &str = settings!("SET", false);
