//! The servers of a PostgreSQL database: the hosts of its URL, and the one that is used.
//!
//! All connections of a process use one server. When it is lost, or is not what the URL asks for any more, all
//! hosts are asked at once what they are, and all connections go to the best one. A primary that was replaced by
//! a promotion is not used again, because the promoted one has a newer timeline.
//!
//! A single host is not asked, unless the URL says what it shall be: whatever it leads to is used.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, ConnectOptions, Connection as _, Row as _};
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;

use super::server_tls;
use crate::config::server_url::{SessionTarget, address};
use crate::model::clock;

/// How long a server may take to say what it is, with the connection to it.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(2500);
/// How long one of several servers may take for a statement that only asks whether it responds.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_millis(1500);
/// How long a statement is waited for before its server is asked whether it responds to others.
const STATEMENT_GRACE: Duration = Duration::from_millis(250);
/// How long it may take for that, with the connection to it.
const SILENCE_LIMIT: Duration = Duration::from_secs(1);
/// How long the other servers are waited for after a good one has answered: one of them may have been promoted
/// later.
const GRACE: Duration = Duration::from_millis(200);
/// The time between two looks for a primary that was promoted while the present one still responds.
const REVIEW_INTERVAL: Duration = Duration::from_secs(10);

const ROLE: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN 1 ELSE 0 END, \
    CASE WHEN current_setting('default_transaction_read_only') = 'on' THEN 1 ELSE 0 END";
const TIMELINE: &str = "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";

/// The servers of a database.
#[derive(Debug)]
pub(super) struct Servers {
    first: Server,
    others: Vec<Server>,
    target: SessionTarget,
    /// They are asked what they are.
    are_checked: bool,
    used: watch::Sender<InUse>,
    /// None could be used when they were asked last.
    are_failing: AtomicBool,
    /// Held while a server is chosen.
    choice: Mutex<Choice>,
}

#[derive(Debug)]
struct Server {
    options: AnyConnectOptions,
    /// The host and the port.
    name: String,
}

/// The server that is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InUse {
    server: usize,
    /// Raised with each change.
    number: u64,
    /// The server said that it is not what the URL asks for, and there is no better one.
    is_refused: bool,
}

/// The last choice.
#[derive(Debug, Default)]
struct Choice {
    begun: Option<Instant>,
    /// Why there was none.
    failure: Option<Arc<str>>,
    /// A server was chosen before.
    is_made: bool,
    /// The newest timeline of a primary.
    timeline: u32,
}

/// What a server says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Role {
    is_standby: bool,
    /// It is a primary whose transactions change nothing unless they ask for it.
    is_read_only: bool,
    /// The timeline of a primary; zero if it is not known.
    timeline: u32,
}

/// There is no server as the URL asks for it.
#[derive(Debug, thiserror::Error)]
#[error("no server of the database can be used: {0}")]
struct NoServer(Arc<str>);

impl Role {
    const fn accepts_changes(self) -> bool {
        !self.is_standby && !self.is_read_only
    }

    /// Whether it was a primary before the one with this timeline.
    const fn is_former(self, newest: u32) -> bool {
        !self.is_standby && self.timeline != 0 && self.timeline < newest
    }

    /// Whether it is what is asked for.
    const fn is_wanted(self, target: SessionTarget) -> bool {
        match target {
            SessionTarget::Any => true,
            SessionTarget::ReadWrite | SessionTarget::PreferReadWrite => self.accepts_changes(),
            SessionTarget::ReadOnly => !self.accepts_changes(),
            SessionTarget::Primary => !self.is_standby,
            SessionTarget::Standby | SessionTarget::PreferStandby => self.is_standby,
        }
    }

    /// Whether it is used if there is none that is asked for.
    const fn is_acceptable(self, target: SessionTarget) -> bool {
        matches!(target, SessionTarget::PreferReadWrite | SessionTarget::PreferStandby)
            || self.is_wanted(target)
    }

    const fn describe(self) -> &'static str {
        match self {
            Self { is_standby: true, .. } => "is a standby",
            Self { is_read_only: true, .. } => "has default_transaction_read_only = on",
            _ => "is a primary",
        }
    }
}

impl Server {
    /// Connects, and asks the server what it is.
    async fn ask(&self) -> Result<Role, sqlx::Error> {
        let asked = async {
            let mut connection = self.options.connect().await?;
            let role = ask(&mut connection).await;
            // The connection holds no data, so an error is ignored.
            let _ = connection.close().await;
            role
        };
        timeout(ANSWER_TIMEOUT, asked).await.unwrap_or_else(|_elapsed| Err(silent()))
    }
}

impl Servers {
    /// Of one address or more, for the target of the URL or a default one. The first one is used until another
    /// one is chosen.
    pub(super) fn new(
        first: AnyConnectOptions,
        others: Vec<AnyConnectOptions>,
        target: Option<SessionTarget>,
        default: SessionTarget,
    ) -> Self {
        let is_limited = target.is_some_and(|target| target != SessionTarget::Any);
        let server = |options: AnyConnectOptions| {
            let name = address(&options.database_url);
            Server { options, name }
        };
        let used = InUse { server: 0, number: 0, is_refused: false };
        Self {
            are_checked: is_limited || !others.is_empty(),
            first: server(first),
            others: others.into_iter().map(server).collect(),
            target: target.unwrap_or(default),
            used: watch::Sender::new(used),
            are_failing: AtomicBool::new(false),
            choice: Mutex::default(),
        }
    }

    /// Whether they are asked what they are, and chosen by that.
    pub(super) const fn are_checked(&self) -> bool {
        self.are_checked
    }

    fn all(&self) -> impl Iterator<Item = &Server> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// How each of them is connected to.
    pub(super) fn all_options(&self) -> impl Iterator<Item = &AnyConnectOptions> {
        self.all().map(|server| &server.options)
    }

    /// The server that is used.
    pub(super) fn in_use(&self) -> InUse {
        *self.used.borrow()
    }

    /// Whether this is the server that is used, since it was chosen.
    pub(super) fn uses(&self, used: InUse) -> bool {
        self.in_use() == used
    }

    /// Waits until another server is used.
    pub(super) async fn left(&self, used: InUse) {
        if self.are_checked() {
            // It fails when the sender is dropped, which `self` has.
            let _ = self.used.subscribe().wait_for(|now| *now != used).await;
        } else {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the server that is used does not respond to another connection. A statement that takes long is
    /// waited for beside this: a server that is only slow responds.
    pub(super) async fn silence(&self) {
        loop {
            tokio::time::sleep(STATEMENT_GRACE).await;
            if !timeout(SILENCE_LIMIT, self.responds()).await.unwrap_or_default() {
                return;
            }
        }
    }

    /// Whether the server that is used, or is chosen then, responds to a new connection.
    async fn responds(&self) -> bool {
        if self.are_checked() {
            return self.choose(clock::monotonic()).await.is_ok();
        }
        // A refusal is a response: too many connections, for instance.
        matches!(self.first.ask().await, Ok(_) | Err(sqlx::Error::Database(_)))
    }

    fn server(&self, used: InUse) -> &Server {
        used.of(&self.first, &self.others)
    }

    /// How the server that is used is connected to.
    pub(super) fn options(&self) -> &AnyConnectOptions {
        &self.server(self.in_use()).options
    }

    /// The host and the port of the server that is used.
    pub(super) fn name(&self) -> &str {
        &self.server(self.in_use()).name
    }

    /// The hosts and the name of the database. Contains no secret.
    pub(super) fn database(&self) -> String {
        let hosts = self.all().map(|server| server.options.database_url.host_str());
        let mut hosts: Vec<_> = hosts.map(Option::unwrap_or_default).collect();
        // With a directory of sockets for each the hosts of the URL mean nothing.
        hosts.dedup();
        format!("{}{}", hosts.join(","), self.first.options.database_url.path())
    }

    /// Opens a connection to the server that is used; if that fails, to the one that is chosen then.
    pub(super) async fn connect<O: ConnectOptions>(
        &self,
        read: impl Fn(&AnyConnectOptions) -> Result<O, sqlx::Error>,
    ) -> Result<(O::Connection, InUse), sqlx::Error>
    where
        O::Connection: Sized,
    {
        let begun = clock::monotonic();
        let used = self.in_use();
        let options = read(&self.server(used).options)?;
        if !self.are_checked() {
            return Ok((options.connect().await?, used));
        }
        if !self.must_choose()
            && let Ok(Ok(connection)) = timeout(ANSWER_TIMEOUT, options.connect()).await
        {
            return Ok((connection, used));
        }
        self.choose(begun).await?;
        let used = self.in_use();
        let options = read(&self.server(used).options)?;
        Ok((options.connect().await?, used))
    }

    /// Whether a server has to be chosen before one is used.
    pub(super) fn must_choose(&self) -> bool {
        self.in_use().is_refused || self.are_failing.load(Ordering::Relaxed)
    }

    /// Chooses a server, unless that was begun since this time or nothing is asked.
    ///
    /// # Errors
    /// When none can be used, with what each of them said.
    pub(super) async fn choose(&self, since: Instant) -> Result<(), sqlx::Error> {
        if !self.are_checked() {
            return Ok(());
        }
        let mut choice = self.choice.lock().await;
        if choice.begun.is_none_or(|begun| begun < since) {
            let begun = clock::monotonic();
            let answers = self.ask_all().await;
            choice.begun = Some(begun);
            self.decide(&mut choice, &answers);
        }
        match &choice.failure {
            Some(failure) => Err(sqlx::Error::Io(io::Error::other(NoServer(Arc::clone(failure))))),
            None => Ok(()),
        }
    }

    /// Asks the server of a connection what it is, and chooses another one if it is not what is asked for. Once
    /// in a while all are asked: another one may have been promoted.
    ///
    /// # Errors
    /// When it does not respond.
    pub(super) async fn review(&self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let role = timeout(RESPONSE_TIMEOUT, ask(connection)).await;
        let role = role.unwrap_or_else(|_elapsed| Err(silent()))?;
        let last = self.choice.lock().await.begun;
        let is_due = last.is_none_or(|last| clock::since(last) >= REVIEW_INTERVAL);
        if is_due || !role.is_wanted(self.target) {
            // Without a better one nothing changes.
            let _ = self.choose(clock::monotonic()).await;
        }
        Ok(())
    }

    /// What each server says, by its number.
    async fn ask_all(&self) -> Vec<(usize, Result<Role, sqlx::Error>)> {
        let asking = self.all().enumerate();
        let asking = asking.map(|(number, server)| async move { (number, server.ask().await) });
        let mut asking: FuturesUnordered<_> = asking.collect();
        let mut answers = Vec::new();
        let is_wanted = |(_number, answer): &(usize, Result<Role, sqlx::Error>)| {
            answer.as_ref().is_ok_and(|role| role.is_wanted(self.target))
        };
        loop {
            let next = if answers.iter().any(is_wanted) {
                timeout(GRACE, asking.next()).await.ok().flatten()
            } else {
                asking.next().await
            };
            match next {
                Some(answer) => answers.push(answer),
                None => return answers,
            }
        }
    }

    fn decide(&self, choice: &mut Choice, answers: &[(usize, Result<Role, sqlx::Error>)]) {
        let roles =
            || answers.iter().filter_map(|(number, role)| Some((*number, *role.as_ref().ok()?)));
        let newest = roles().map(|(_number, role)| role.timeline).max().unwrap_or_default();
        choice.timeline = choice.timeline.max(newest);
        let (used, timeline) = (self.in_use(), choice.timeline);
        let usable = roles()
            .filter(|(_number, role)| role.is_acceptable(self.target) && !role.is_former(timeline));
        // The one that is used stays, unless another one is better.
        let best = usable.min_by_key(|(number, role)| {
            (!role.is_wanted(self.target), *number != used.server, *number)
        });
        let was_failing = choice.failure.take().is_some();
        self.are_failing.store(best.is_none(), Ordering::Relaxed);
        let Some((server, role)) = best else {
            let failure = self.failure(answers, timeline);
            if !was_failing {
                tracing::warn!(
                    event = "store.no_server",
                    servers = &*failure,
                    "no server of the database can be used"
                );
            }
            choice.failure = Some(failure);
            let is_refused = roles().any(|(number, _role)| number == used.server);
            if is_refused && !used.is_refused {
                self.used.send_replace(InUse { number: used.number + 1, is_refused, ..used });
            }
            return;
        };
        if server != used.server || used.is_refused {
            let number = used.number + 1;
            self.used.send_replace(InUse { server, number, is_refused: false });
        }
        let is_new = !std::mem::replace(&mut choice.is_made, true);
        if is_new || was_failing || server != used.server {
            tracing::info!(
                event = "store.server_chosen",
                server = self.name(),
                is_standby = role.is_standby,
                "this server of the database is used"
            );
        }
    }

    /// What each server said that none of them is used for.
    fn failure(&self, answers: &[(usize, Result<Role, sqlx::Error>)], timeline: u32) -> Arc<str> {
        let mut text = String::new();
        for (number, server) in self.all().enumerate() {
            let answer = answers.iter().find(|(answered, _role)| *answered == number);
            let separator = if text.is_empty() { "" } else { "; " };
            let said = match answer.map(|(_number, role)| role) {
                Some(Ok(role)) if role.is_former(timeline) => {
                    "is a primary that was replaced by a promotion".to_owned()
                }
                Some(Ok(role)) => role.describe().to_owned(),
                Some(Err(error)) => match server_tls::remedy(error) {
                    Some(remedy) => format!("{error}: {remedy}"),
                    None => error.to_string(),
                },
                None => "does not respond".to_owned(),
            };
            // Writing to a text does not fail.
            let _ = write!(text, "{separator}{}: {said}", server.name);
        }
        text.into()
    }
}

impl InUse {
    /// That of this server, of values of which the first one is that of the first server.
    pub(super) fn of<'v, T>(self, first: &'v T, others: &'v [T]) -> &'v T {
        self.server.checked_sub(1).and_then(|number| others.get(number)).unwrap_or(first)
    }
}

/// Asks a server what it is.
async fn ask(connection: &mut AnyConnection) -> Result<Role, sqlx::Error> {
    let row = sqlx::raw_sql(ROLE).fetch_one(&mut *connection).await?;
    let (is_standby, is_read_only): (i32, i32) = (row.try_get(0)?, row.try_get(1)?);
    let (is_standby, is_read_only) = (is_standby == 1, is_read_only == 1);
    let timeline = if is_standby { 0 } else { timeline(connection).await? };
    Ok(Role { is_standby, is_read_only, timeline })
}

/// The timeline of a primary; zero at a service that does not tell.
async fn timeline(connection: &mut AnyConnection) -> Result<u32, sqlx::Error> {
    match sqlx::raw_sql(TIMELINE).fetch_one(connection).await {
        Ok(row) => Ok(u32::from_str_radix(&row.try_get::<String, _>(0)?, 16).unwrap_or_default()),
        Err(sqlx::Error::Database(_)) => Ok(0),
        Err(error) => Err(error),
    }
}

/// The error of a server that does not respond in time.
pub(super) fn silent() -> sqlx::Error {
    sqlx::Error::Io(io::ErrorKind::TimedOut.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIMARY: Role = Role { is_standby: false, is_read_only: false, timeline: 1 };
    const PROMOTED: Role = Role { timeline: 2, ..PRIMARY };
    const STANDBY: Role = Role { is_standby: true, is_read_only: false, timeline: 0 };
    const READ_ONLY: Role = Role { is_read_only: true, ..PRIMARY };

    fn servers(target: SessionTarget) -> Servers {
        sqlx::any::install_default_drivers();
        let options = |host: &str| format!("postgres://u@{host}/keys").parse().unwrap();
        let others = vec![options("h1"), options("h2")];
        Servers::new(options("h0"), others, Some(target), target)
    }

    /// Decides by these answers; `None` of a server that does not respond. Returns the one that is used.
    fn decided(servers: &Servers, choice: &mut Choice, roles: [Option<Role>; 3]) -> Option<usize> {
        let answer = |role: Option<Role>| role.ok_or_else(silent);
        let answers: Vec<_> = roles.into_iter().map(answer).enumerate().collect();
        servers.decide(choice, &answers);
        choice.failure.is_none().then(|| servers.in_use().server)
    }

    #[test]
    fn the_first_server_that_the_url_asks_for_is_used() {
        use SessionTarget::{
            Any, PreferReadWrite, PreferStandby, Primary, ReadOnly, ReadWrite, Standby,
        };
        let roles = [Some(STANDBY), Some(READ_ONLY), Some(PRIMARY)];
        for (target, of_all, of_standby, of_primary) in [
            (Any, Some(0), Some(0), Some(2)),
            (ReadWrite, Some(2), None, Some(2)),
            (ReadOnly, Some(0), Some(0), None),
            (Primary, Some(1), None, Some(2)),
            (Standby, Some(0), Some(0), None),
            (PreferStandby, Some(0), Some(0), Some(2)),
            (PreferReadWrite, Some(2), Some(0), Some(2)),
        ] {
            let decide = |roles| decided(&servers(target), &mut Choice::default(), roles);
            assert_eq!(decide(roles), of_all, "{target:?}");
            assert_eq!(decide([Some(STANDBY), None, None]), of_standby, "{target:?}");
            assert_eq!(decide([None, None, Some(PRIMARY)]), of_primary, "{target:?}");
            assert_eq!(decide([None; 3]), None, "{target:?}");
        }
    }

    #[test]
    fn a_server_stays_in_use_until_it_is_lost_or_a_better_one_is_there() {
        let (servers, mut choice) = (servers(SessionTarget::PreferReadWrite), Choice::default());
        let mut decide = |roles| decided(&servers, &mut choice, roles);
        assert_eq!(decide([None, Some(STANDBY), None]), Some(1));
        assert_eq!(decide([Some(STANDBY), Some(STANDBY), None]), Some(1));
        let first = servers.in_use();
        assert_eq!(decide([Some(STANDBY), Some(STANDBY), Some(PRIMARY)]), Some(2));
        assert!(!servers.uses(first));
        assert_eq!(decide([Some(PRIMARY), Some(STANDBY), Some(PRIMARY)]), Some(2));
        // The first one is restarted with what it had.
        assert_eq!(decide([Some(PRIMARY), Some(PROMOTED), None]), Some(1));
        assert_eq!(decide([Some(PRIMARY), None, None]), None, "a former primary");
        assert_eq!(decide([Some(STANDBY), None, None]), Some(0));
    }

    #[test]
    fn a_server_that_is_no_longer_what_the_url_asks_for_is_left() {
        let (servers, mut choice) = (servers(SessionTarget::ReadWrite), Choice::default());
        let mut decide = |roles| decided(&servers, &mut choice, roles);
        assert_eq!(decide([Some(PRIMARY), None, None]), Some(0));
        let used = servers.in_use();
        assert_eq!(decide([None; 3]), None);
        assert!(servers.uses(used), "its connections may be alive");
        assert_eq!(decide([Some(STANDBY), None, None]), None);
        assert!(!servers.uses(used) && servers.in_use().is_refused);
        assert_eq!(decide([Some(PRIMARY), None, None]), Some(0));
        assert!(!servers.in_use().is_refused && !servers.must_choose());
    }
}
