//! What a gateway tells the service manager: sd_notify(3).

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::support::installation::Installation;
use crate::support::process::signal;

/// A service manager that waits for what its service says.
struct ServiceManager {
    socket: UnixDatagram,
    environment: Vec<String>,
}

/// How long a service may take to say the next thing.
const LIMIT: Duration = Duration::from_mins(1);

impl ServiceManager {
    fn of(installation: &Installation) -> Self {
        let path = installation.path("notify.socket");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { socket, environment: vec![format!("NOTIFY_SOCKET={}", path.display())] }
    }

    fn with_watchdog(mut self, timeout: Duration) -> Self {
        self.environment.push(format!("WATCHDOG_USEC={}", timeout.as_micros()));
        self
    }

    fn starter(&self) -> Vec<&str> {
        ["env"].into_iter().chain(self.environment.iter().map(String::as_str)).collect()
    }

    /// The next message; `None` if there is none for this time.
    fn next_within(&self, limit: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(limit)).unwrap();
        let mut message = [0; 4096];
        loop {
            match self.socket.recv(&mut message) {
                Ok(length) => return Some(String::from_utf8(message[..length].to_vec()).unwrap()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                // A read with a timeout is not continued when this process was stopped: signal(7).
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Waits for a message with this line.
    fn wait_for(&self, line: &str) -> String {
        loop {
            let message = self.next_within(LIMIT).unwrap_or_else(|| panic!("no {line}"));
            if message.lines().any(|each| each == line) {
                return message;
            }
        }
    }
}

#[tokio::test]
async fn the_service_manager_is_told_of_start_and_stop() {
    let (installation, user) = Installation::prepared();
    let manager = ServiceManager::of(&installation);
    let server = installation.serve_under(&manager.starter(), &[]);
    manager.wait_for("READY=1");
    server.client(&user).call("ListKeys", &[]).await.unwrap();
    server.signal("TERM");
    manager.wait_for("STOPPING=1");
    assert_eq!(server.wait(), Some(0));
}

#[tokio::test]
async fn the_service_manager_is_told_of_each_reload_and_its_failure() {
    let (installation, user) = Installation::prepared();
    let manager = ServiceManager::of(&installation);
    let server = installation.serve_under(&manager.starter(), &["--supervise"]);
    manager.wait_for("READY=1");
    server.client(&user).call("ListKeys", &[]).await.unwrap();

    server.signal("USR2");
    let reloading = manager.wait_for("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    assert!(manager.wait_for("READY=1").contains("STATUS=serving"));

    let file = installation.path("hsmgate.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, "nonsense").unwrap();
    server.signal("USR2");
    manager.wait_for("RELOADING=1");
    let failed = manager.wait_for("READY=1");
    assert!(failed.contains("STATUS=the last reload failed"), "{failed}");
    server.client(&user).call("ListKeys", &[]).await.unwrap();

    std::fs::write(&file, good).unwrap();
    server.signal("TERM");
    manager.wait_for("STOPPING=1");
    assert_eq!(server.wait(), Some(0));
}

#[tokio::test]
async fn a_gateway_that_makes_no_progress_is_not_kept_alive_by_its_supervisor() {
    let (installation, _user) = Installation::prepared();
    let timeout = Duration::from_secs(4);
    let manager = ServiceManager::of(&installation).with_watchdog(timeout);
    let server = installation.serve_under(&manager.starter(), &["--supervise"]);
    manager.wait_for("READY=1");
    for _heartbeat in 0..5 {
        manager.wait_for("WATCHDOG=1");
    }
    let child = server.supervised();
    signal("STOP", &child);
    // As long as the service manager waits, and then nothing.
    let mut heartbeats = 0;
    while let Some(message) = manager.next_within(timeout) {
        assert_eq!(message.trim(), "WATCHDOG=1", "{}", server.log());
        heartbeats += 1;
        assert!(heartbeats < 20, "a gateway that stands still is kept alive");
    }
    signal("CONT", &child);
    manager.wait_for("WATCHDOG=1");
    assert_eq!(server.stop(), Some(0));
}
