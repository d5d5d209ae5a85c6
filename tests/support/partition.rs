//! A network between a gateway and a server of PostgreSQL, which can be cut, or made deaf to notifications.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use super::postgresql::Database;

/// Passes connections on to a Unix socket. While it is cut, both sides hear nothing: neither data nor an
/// end.
pub(crate) struct Partition {
    directory: TempDir,
    is_cut: watch::Sender<bool>,
    is_deaf: Arc<AtomicBool>,
}

impl Partition {
    /// Before this socket. The test needs a runtime with several threads.
    pub(crate) fn before(socket: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let name = socket.file_name().unwrap();
        let listener = UnixListener::bind(directory.path().join(name)).unwrap();
        let (is_cut, cuts) = watch::channel(false);
        let is_deaf = Arc::<AtomicBool>::default();
        let drops_notifications = Arc::clone(&is_deaf);
        let socket = socket.to_owned();
        tokio::spawn(async move {
            let mut state = cuts.clone();
            while state.wait_for(|is_cut| !is_cut).await.is_ok() {
                let (near, _address) = listener.accept().await.unwrap();
                let far = UnixStream::connect(&socket).await.unwrap();
                tokio::spawn(pass(near, far, cuts.clone(), Arc::clone(&drops_notifications)));
            }
        });
        Self { directory, is_cut, is_deaf }
    }

    /// The URL of the database through it.
    pub(crate) fn url_of(&self, database: &Database<'_>) -> String {
        let url = database.url();
        let (before, _directory) = url.split_once("?host=").unwrap();
        format!("{before}?host={}", self.directory.path().display())
    }

    /// Drops the notifications of the server, or passes them again. All else passes.
    pub(crate) fn drop_notifications(&self, is_deaf: bool) {
        self.is_deaf.store(is_deaf, Ordering::Relaxed);
    }

    pub(crate) fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    /// Ends the cut: the connections of before are closed, and new ones pass.
    pub(crate) fn end(&self) {
        self.is_cut.send_replace(false);
    }
}

async fn pass(
    near: UnixStream,
    far: UnixStream,
    mut cuts: watch::Receiver<bool>,
    is_deaf: Arc<AtomicBool>,
) {
    // They live until the end: a half that is dropped is an end for the other side.
    let ((mut near_reader, mut near_writer), (mut far_reader, mut far_writer)) =
        (near.into_split(), far.into_split());
    let is_cut = tokio::select! {
        _ended = copy(&mut near_reader, &mut far_writer) => false,
        _ended = pass_messages(&mut far_reader, &mut near_writer, is_deaf) => false,
        cut = cuts.wait_for(|is_cut| *is_cut) => cut.is_ok(),
    };
    if is_cut {
        // An error is the end of the test.
        let _ = cuts.wait_for(|is_cut| !is_cut).await;
    }
}

/// Passes the messages of a server on: each has a kind and a length.
async fn pass_messages(
    server: &mut OwnedReadHalf,
    gateway: &mut OwnedWriteHalf,
    is_deaf: Arc<AtomicBool>,
) -> std::io::Result<()> {
    const NOTIFICATION: u8 = b'A';
    loop {
        let (kind, length) = (server.read_u8().await?, server.read_u32().await?);
        let mut message = vec![kind];
        message.extend(length.to_be_bytes());
        message.resize(length as usize + 1, 0);
        server.read_exact(&mut message[5..]).await?;
        if kind != NOTIFICATION || !is_deaf.load(Ordering::Relaxed) {
            gateway.write_all(&message).await?;
        }
    }
}
