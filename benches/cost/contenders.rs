//! The servers that are compared, all alive at the same time.

use std::path::Path;

use anyhow::{Context as _, ensure};

use crate::calls::Case;
use crate::load::{self, Window};
use crate::requests::Requests;
use crate::rows::Row;
use crate::servers::{Gateway, Server, Servers, Start};
use crate::slow_sync::SlowSync;
use crate::{LONGEST_WINDOW, delayed_token};

/// Who is sent a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contender {
    Gateway,
    /// A second process of the same program with the same settings.
    Again,
    /// The gateway with an audit whose syncs take a millisecond.
    Durable,
    /// A gateway with many keys, which are used in turn.
    ManyKeys,
    Minimal,
}

impl Contender {
    /// Whom it is compared with.
    pub(crate) fn base(self) -> Option<Self> {
        match self {
            Self::Gateway => Some(Self::Minimal),
            Self::Again | Self::Durable | Self::ManyKeys => Some(Self::Gateway),
            Self::Minimal => None,
        }
    }
}

/// The token behind a gateway and behind the minimal program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    SoftHsm,
    /// SoftHSM2 with encryptions that take longer.
    Delayed,
}

/// All servers.
pub(crate) struct Contenders {
    pub(crate) servers: Servers,
    again: Gateway,
    durable: Gateway,
    slow_sync: SlowSync,
    /// If a row needs them.
    delayed: Option<Servers>,
    /// If a row needs it.
    many_keys: Option<Gateway>,
}

impl Contenders {
    /// Starts in `home` what the rows need; the gateway may be another build. One gateway has so many keys.
    pub(crate) fn start(
        home: &Path,
        program: Option<&Path>,
        rows: &[Row],
        keys: usize,
    ) -> anyhow::Result<Self> {
        let mut servers = Servers::start(home, program, &[])?;
        let start = Start { program, ..Start::default() };
        let mut again = Gateway::start(&home.join("again"), start.clone())?;
        if rows.contains(&Row::Instance) {
            servers.gateway.create_client_key()?;
            again.create_client_key()?;
        }
        let slow_sync = SlowSync::compile(home)?;
        let durable = slow_sync.start_gateway(&home.join("durable"), program)?;
        let many_keys = if rows.contains(&Row::ManyKeys) {
            let mut gateway = Gateway::start(&home.join("many-keys"), start.clone())?;
            gateway.create_keys(keys)?;
            Some(gateway)
        } else {
            None
        };
        let delayed = if rows.iter().any(|row| row.token() == Token::Delayed) {
            let home = home.join("delayed");
            let module = delayed_token::install(&home)?;
            let start = Start { module: Some(&module), ..start };
            Some(Servers::start_with(&home, start, false)?)
        } else {
            None
        };
        Ok(Self { servers, again, durable, slow_sync, delayed, many_keys })
    }

    /// Sends so many calls to a contender.
    pub(crate) fn burst(
        &self,
        contender: Contender,
        token: Token,
        case: Case,
        count: usize,
        connections: usize,
    ) -> anyhow::Result<Window> {
        let servers = match token {
            Token::SoftHsm => &self.servers,
            Token::Delayed => self.delayed.as_ref().context("no delayed token")?,
        };
        let gateway = match contender {
            Contender::Gateway => &servers.gateway,
            Contender::Again => &self.again,
            Contender::Durable => &self.durable,
            Contender::ManyKeys => self.many_keys.as_ref().context("no gateway with many keys")?,
            Contender::Minimal => {
                let requests = case.bare(&servers.gateway, &servers.minimal, count)?;
                return send(&servers.minimal, &requests, connections);
            }
        };
        send(&gateway.server, &case.signed(gateway, count)?, connections)
    }

    /// The number of slow syncs so far.
    pub(crate) fn slow_syncs(&self) -> u64 {
        self.slow_sync.count()
    }
}

/// Sends each of the requests once.
pub(crate) fn send(
    server: &Server,
    requests: &Requests,
    connections: usize,
) -> anyhow::Result<Window> {
    let (process, address) = (server.process(), server.address);
    let window = load::run_in(&process, address, requests, connections, LONGEST_WINDOW, false)?;
    ensure!(window.count == requests.0.len(), "not every request was sent");
    Ok(window)
}
