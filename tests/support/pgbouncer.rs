//! PgBouncer in front of a PostgreSQL server of the tests: `make setup-postgres` installs it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::postgresql::{Database, ROLE, Server};

const SAMPLE: &str = "packaging/pgbouncer/pgbouncer.ini";
/// The line of the sample without which PgBouncer refuses the driver.
pub(crate) const IGNORED: &str = "ignore_startup_parameters = extra_float_digits\n";

/// A running PgBouncer. It ends when the value is dropped.
pub(crate) struct PgBouncer {
    process: Child,
    directory: TempDir,
}

impl PgBouncer {
    /// Starts it with the sample of the documentation, which `edit` may change. It listens on a Unix socket.
    pub(crate) fn start(database: &Database<'_>, edit: impl FnOnce(&mut String)) -> Self {
        Self::before_socket(&database.socket(), &database.name, edit)
    }

    /// As [`PgBouncer::start`], before a database of a server.
    pub(crate) fn before(server: &Server, name: &str, edit: impl FnOnce(&mut String)) -> Self {
        Self::before_socket(&server.directory().join(".s.PGSQL.5432"), name, edit)
    }

    fn before_socket(socket: &Path, name: &str, edit: impl FnOnce(&mut String)) -> Self {
        let directory = tempfile::Builder::new().prefix("pgbouncer").tempdir_in("/tmp").unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let sample = format!("{}/{SAMPLE}", env!("CARGO_MANIFEST_DIR"));
        let mut text = fs::read_to_string(sample).unwrap();
        let server = socket.parent().unwrap().display();
        for (from, to) in [
            ("hsmgate = host=192.0.2.20", &*format!("{name} = host={server}")),
            ("dbname=hsmgate", &format!("dbname={name}")),
            ("listen_addr = 127.0.0.1\n", ""),
            ("/run/pgbouncer", &path("")),
            ("scram-sha-256", "trust"),
            ("/etc/pgbouncer/userlist.txt", &path("users")),
        ] {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        edit(&mut text);
        let file = path("pgbouncer.ini");
        fs::write(&file, text).unwrap();
        fs::write(path("users"), format!("\"{ROLE}\" \"\"\n")).unwrap();
        // It refuses to run as root, and root runs it as the account of the server.
        let owner = socket.metadata().unwrap();
        chown(directory.path(), Some(owner.uid()), Some(owner.gid())).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if is_root() {
            command.args(["--reuid", &owner.uid().to_string(), "--clear-groups"]);
            command.args(["--regid", &owner.gid().to_string()]);
        }
        command.args(["/usr/sbin/pgbouncer", &file]);
        let process = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut pgbouncer = Self { process, directory };
        while UnixStream::connect(pgbouncer.directory.path().join(".s.PGSQL.6432")).is_err() {
            let ended = pgbouncer.process.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: run `make setup-postgres`");
            std::thread::yield_now();
        }
        pgbouncer
    }

    /// The URL of the database through it.
    pub(crate) fn url_of(&self, database: &Database<'_>) -> String {
        self.url(&database.name)
    }

    /// The URL of the database with this name through it.
    pub(crate) fn url(&self, name: &str) -> String {
        let directory = self.directory.path().display();
        format!("postgres://{ROLE}@localhost:6432/{name}?host={directory}")
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}
