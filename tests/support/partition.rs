//! A network between a gateway and a server of PostgreSQL, which can be cut.

use std::path::Path;

use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use super::postgresql::Database;

/// Passes connections on to a Unix socket. While it is cut, both sides hear nothing: neither data nor an
/// end.
pub(crate) struct Partition {
    directory: TempDir,
    is_cut: watch::Sender<bool>,
}

impl Partition {
    /// Before this socket. The test needs a runtime with several threads.
    pub(crate) fn before(socket: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let name = socket.file_name().unwrap();
        let listener = UnixListener::bind(directory.path().join(name)).unwrap();
        let (is_cut, cuts) = watch::channel(false);
        let socket = socket.to_owned();
        tokio::spawn(async move {
            let mut state = cuts.clone();
            while state.wait_for(|is_cut| !is_cut).await.is_ok() {
                let (near, _address) = listener.accept().await.unwrap();
                let far = UnixStream::connect(&socket).await.unwrap();
                tokio::spawn(pass(near, far, cuts.clone()));
            }
        });
        Self { directory, is_cut }
    }

    /// The URL of the database through it.
    pub(crate) fn url_of(&self, database: &Database<'_>) -> String {
        let url = database.url();
        let (before, _directory) = url.split_once("?host=").unwrap();
        format!("{before}?host={}", self.directory.path().display())
    }

    pub(crate) fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    /// Ends the cut: the connections of before are closed, and new ones pass.
    pub(crate) fn end(&self) {
        self.is_cut.send_replace(false);
    }
}

async fn pass(mut near: UnixStream, mut far: UnixStream, mut cuts: watch::Receiver<bool>) {
    let is_cut = tokio::select! {
        _ended = copy_bidirectional(&mut near, &mut far) => false,
        cut = cuts.wait_for(|is_cut| *is_cut) => cut.is_ok(),
    };
    if is_cut {
        // An error is the end of the test.
        let _ = cuts.wait_for(|is_cut| !is_cut).await;
    }
}
