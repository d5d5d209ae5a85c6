//! The protocol between a supervisor and its gateways. It uses a socket, which is the standard input of
//! the gateway. Each message is one byte; the first message of the supervisor carries the listeners.
//!
//! A gateway reports when it is prepared, is ordered to take over, and reports when it serves. Later it
//! may be ordered to hand over to another one.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use anyhow::Context;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream as AsyncStream;

use super::service_status::Heartbeat;
use crate::app::{Listeners, StartMode};

/// Maximum number of listeners: one for the API, one for health and metrics.
const LISTENERS: usize = 2;

/// What a supervisor tells its gateway to do, as a byte on the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Order {
    /// To serve on the listeners.
    TakeOver = b'T',
    /// To stop serving, because another gateway takes over.
    HandOver = b'H',
}

/// The first message, without its listeners.
const FIRST_EXCLUSIVE: u8 = b'1';
const FIRST_REPLACEMENT: u8 = b'2';

/// What a gateway reports to its supervisor, as a byte on the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Report {
    /// It has opened what it can open beside another gateway, and waits to take over.
    Prepared = b'P',
    /// It serves.
    Serving = b'S',
    /// The token has refused the PIN, or the PIN is not tried: the gateway is about to end.
    PinRefused = b'R',
    /// Its runtime makes progress. Sent only to a supervisor that asks for it.
    Alive = b'A',
}

impl Report {
    const ALL: [Self; 4] = [Self::Prepared, Self::Serving, Self::PinRefused, Self::Alive];
}

/// The supervisor's end of the socket to one gateway.
#[derive(Debug)]
pub(super) struct GatewayChannel(AsyncStream);

impl GatewayChannel {
    /// Opens a socket whose other end becomes the standard input of a gateway, and sends the listeners.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn open(
        listeners: &[BorrowedFd<'_>],
        mode: StartMode,
    ) -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LISTENERS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(listeners)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let first = [match mode {
            StartMode::Exclusive => FIRST_EXCLUSIVE,
            StartMode::Replacement => FIRST_REPLACEMENT,
        }];
        sendmsg(&ours, &[IoSlice::new(&first)], &mut control, SendFlags::empty())?;
        ours.set_nonblocking(true)?;
        Ok((Self(AsyncStream::from_std(ours)?), theirs.into()))
    }

    /// Gives the gateway an order.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) async fn send(&mut self, order: Order) -> io::Result<()> {
        self.0.write_all(&[order as u8]).await
    }

    /// The next report of the gateway. Cancel safe: no report is lost when this is dropped.
    ///
    /// # Errors
    /// When it has ended, or sends a byte that is no report.
    pub(super) async fn report(&mut self) -> io::Result<Report> {
        let byte = self.0.read_u8().await?;
        let report = Report::ALL.into_iter().find(|report| *report as u8 == byte);
        report.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// The gateway's end of the socket.
#[derive(Debug)]
pub(super) struct SupervisorChannel(AsyncStream);

impl SupervisorChannel {
    /// The socket on standard input, the listeners received from it, and whether another gateway
    /// serves on them now.
    ///
    /// # Errors
    /// When standard input is not such a socket, or no listener was received.
    pub(super) fn receive() -> anyhow::Result<(Self, Listeners, StartMode)> {
        let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LISTENERS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut first = [0];
        let flags = RecvFlags::CMSG_CLOEXEC;
        recvmsg(&stream, &mut [IoSliceMut::new(&mut first)], &mut control, flags)
            .context("the supervisor has handed over no listener")?;
        let mut listeners = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                listeners.extend(descriptors);
            }
        }
        let mut listeners = listeners.into_iter();
        let api = listeners.next().context("the supervisor has handed over no listener")?;
        let admin = listeners.next().map(TcpListener::from);
        let mode = match first {
            [FIRST_REPLACEMENT] => StartMode::Replacement,
            _ => StartMode::Exclusive,
        };
        let listeners = Listeners { api: TcpListener::from(api), admin };
        stream.set_nonblocking(true)?;
        Ok((Self(AsyncStream::from_std(stream)?), listeners, mode))
    }

    /// Reports that the gateway is prepared, and waits for the order to take over.
    ///
    /// # Errors
    /// When the supervisor has ended.
    pub(super) async fn wait_to_take_over(&mut self) -> io::Result<()> {
        self.send(Report::Prepared).await?;
        self.wait_for(Order::TakeOver).await
    }

    /// Reports to the supervisor.
    ///
    /// # Errors
    /// When the supervisor has ended.
    pub(super) async fn send(&mut self, report: Report) -> io::Result<()> {
        self.0.write_all(&[report as u8]).await
    }

    /// Completes when the gateway must hand over, and reports meanwhile that it is alive if the
    /// supervisor asks for that. It does not complete when the supervisor has ended: the process ends
    /// with its supervisor.
    pub(super) async fn hand_over_requested(&mut self, mut heartbeat: Heartbeat) {
        loop {
            let outcome = tokio::select! {
                ordered = self.wait_for(Order::HandOver) => match ordered {
                    Ok(()) => return,
                    Err(error) => Err(error),
                },
                () = heartbeat.due() => self.send(Report::Alive).await,
            };
            if outcome.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    async fn wait_for(&mut self, order: Order) -> io::Result<()> {
        while self.0.read_u8().await? != order as u8 {}
        Ok(())
    }
}
