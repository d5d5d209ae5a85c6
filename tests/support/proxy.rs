//! HAProxy in front of gateways: `make setup-proxy` installs it.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tokio::net::TcpStream;

use super::process::eventually;

/// The program. Without it a test is not run, except where all tests have to be.
pub(crate) fn haproxy() -> Option<String> {
    let known = ["haproxy", "/usr/sbin/haproxy"];
    let found = known.iter().find(|program| Command::new(program).arg("-v").output().is_ok());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "HAProxy is needed: make setup-proxy");
        println!("not run: there is no HAProxy (make setup-proxy)");
    }
    found.map(|program| (*program).to_owned())
}

/// A running HAProxy.
pub(crate) struct Proxy {
    process: Child,
    pub(crate) address: String,
}

impl Proxy {
    /// Starts it in a directory. `configuration` makes the text for its address.
    pub(crate) async fn start(
        program: &str,
        directory: &Path,
        configuration: impl FnOnce(&str) -> String,
    ) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        let file = directory.join("haproxy.cfg");
        fs::write(&file, configuration(&address)).unwrap();
        drop(free);
        let mut command = Command::new(program);
        command.arg("-db").arg("-f").arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
        let process = command.stderr(Stdio::null()).spawn().unwrap();
        let proxy = Self { process, address };
        eventually(async || TcpStream::connect(&proxy.address).await).await;
        proxy
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
