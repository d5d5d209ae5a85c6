//! What a connection costs: without TLS, with a full handshake, and with a resumed one.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::calls::{Case, Operation};
use crate::cpu;
use crate::load::answer;
use crate::report::Spread;
use crate::servers::{Gateway, Start};

/// How a connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beginning {
    /// Without TLS.
    Plain,
    /// TLS with a full handshake.
    Full,
    /// TLS with the session of an earlier connection.
    Resumed,
}

impl Beginning {
    const ALL: [Self; 3] = [Self::Plain, Self::Full, Self::Resumed];

    fn handshake(self) -> Option<HandshakeKind> {
        match self {
            Self::Plain => None,
            Self::Full => Some(HandshakeKind::Full),
            Self::Resumed => Some(HandshakeKind::Resumed),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "a connection without TLS and one Encrypt",
            Self::Full => "the same with a full handshake",
            Self::Resumed => "the same with a resumed session",
        }
    }
}

/// A gateway without TLS, and one with TLS.
struct Gateways<'a> {
    plain: &'a Gateway,
    tls: Gateway,
    full: TlsConnector,
    resumed: TlsConnector,
}

/// The processor time of a connection, and connections a second of a client that makes one after the other.
#[derive(Debug, Clone, Copy)]
struct Window {
    cpu: f64,
    rate: f64,
}

/// Prints the table: medians of so many windows to each in turn.
pub(crate) fn compare(
    plain: &Gateway,
    home: &Path,
    program: Option<&Path>,
    rounds: usize,
    connections: usize,
) -> anyhow::Result<()> {
    let gateways = Gateways::start(plain, home, program)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut windows = Beginning::ALL.map(|_beginning| Vec::new());
    for round in 0..=rounds {
        for (beginning, windows) in Beginning::ALL.into_iter().zip(&mut windows) {
            let is_warm = round > 0;
            let window = runtime.block_on(gateways.connect(beginning, connections, is_warm))?;
            if is_warm {
                windows.push(window);
            }
        }
    }
    println!(
        "\n{rounds} times {connections} connections, one after the other: medians and quartiles\n\n\
         | connection | CPU µs | connections/s |\n|---|---:|---:|"
    );
    for (beginning, windows) in Beginning::ALL.into_iter().zip(&windows) {
        let cpu = Spread::of(windows.iter().map(|window| window.cpu).collect());
        let rate = Spread::of(windows.iter().map(|window| window.rate).collect());
        println!("| {} | {} | {} |", beginning.name(), Whole(cpu), Whole(rate));
    }
    Ok(())
}

impl<'a> Gateways<'a> {
    /// Starts the one with TLS.
    fn start(plain: &'a Gateway, home: &Path, program: Option<&Path>) -> anyhow::Result<Self> {
        let state = home.join("tls");
        let start = Start { program, options: vec!["--tls"], ..Start::default() };
        let tls = Gateway::start(&state, start)?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&fs::read(state.join("tls/ca.pem"))?) {
            roots.add(certificate?)?;
        }
        let mut config =
            ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let resumed = TlsConnector::from(Arc::new(config.clone()));
        config.resumption = Resumption::disabled();
        Ok(Self { plain, tls, full: TlsConnector::from(Arc::new(config)), resumed })
    }

    /// Makes connections one after the other. The first of all makes the session that the others resume: after
    /// it, `is_warm`, each has the handshake that is measured.
    async fn connect(
        &self,
        beginning: Beginning,
        count: usize,
        is_warm: bool,
    ) -> anyhow::Result<Window> {
        let gateway = if beginning == Beginning::Plain { self.plain } else { &self.tls };
        let requests = Case::of(Operation::Encrypt).signed(gateway, count)?;
        let process = gateway.server.process();
        let (before, start) = (cpu::Times::of(&process)?, Instant::now());
        for request in requests.0.iter() {
            let handshake = self.call(beginning, gateway.server.address, request).await?;
            ensure!(!is_warm || handshake == beginning.handshake(), "{beginning:?}: {handshake:?}");
        }
        let time = start.elapsed();
        let used = cpu::Times::of(&process)?.since(&before).for_each_of(count);
        let cpu = (used.token + used.server).as_secs_f64() * 1e6;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let rate = count as f64 / time.max(Duration::from_nanos(1)).as_secs_f64();
        Ok(Window { cpu, rate })
    }

    async fn call(
        &self,
        beginning: Beginning,
        address: SocketAddr,
        request: &[u8],
    ) -> anyhow::Result<Option<HandshakeKind>> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let connector = match beginning {
            Beginning::Plain => {
                exchange(&mut stream, request).await?;
                return Ok(None);
            }
            Beginning::Full => &self.full,
            Beginning::Resumed => &self.resumed,
        };
        let name = ServerName::IpAddress(address.ip().into());
        let mut stream = connector.connect(name, stream).await.context("no TLS")?;
        exchange(&mut stream, request).await?;
        Ok(stream.get_ref().1.handshake_kind())
    }
}

async fn exchange(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &[u8],
) -> anyhow::Result<()> {
    stream.write_all(request).await?;
    stream.flush().await?;
    answer(stream, &mut Vec::new()).await
}

/// A median with its quartiles, in whole numbers.
struct Whole(Spread);

impl fmt::Display for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spread { low, median, high } = self.0;
        write!(f, "{median:.0} ({low:.0}–{high:.0})")
    }
}
