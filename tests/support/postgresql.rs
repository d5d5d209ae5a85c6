//! A PostgreSQL server of the tests: `make setup-postgres` installs it. One server serves all tests of a
//! process, and each test has a database of its own.

use std::fs::Permissions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The role that owns the databases.
pub(crate) const ROLE: &str = "hsmgate";

/// A running server. It ends when the value is dropped or this process ends.
pub(crate) struct Server {
    directory: PathBuf,
    port: String,
    /// The script ends the server when its standard input is closed.
    script: Child,
}

/// A database, removed when it is dropped.
pub(crate) struct Database<'s> {
    server: &'s Server,
    pub(crate) name: String,
}

/// The server that the tests of this process share.
pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(&[]))
}

impl Server {
    /// Starts a server with these settings, each as NAME=VALUE.
    pub(crate) fn start(settings: &[&str]) -> Self {
        Self::start_with(&[], settings)
    }

    /// Starts a standby of this server.
    pub(crate) fn standby(&self) -> Self {
        Self::start_with(&["--standby-of", self.directory.to_str().unwrap()], &[])
    }

    /// Lets a standby receive nothing more of its primary.
    pub(crate) fn cut_replication(&self) {
        self.execute("postgres", "ALTER SYSTEM SET primary_conninfo = ''");
        self.execute("postgres", "SELECT pg_reload_conf()");
        while self.execute("postgres", "SELECT COUNT(*) FROM pg_stat_wal_receiver") != "0" {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    /// Makes a standby a primary.
    pub(crate) fn promote(&self) {
        assert_eq!(self.execute("postgres", "SELECT pg_promote()"), "t");
    }

    /// Ends the server at once, as after a crash.
    pub(crate) fn crash(&self) {
        self.control("stop -w -m immediate");
    }

    /// Kills all processes of the server.
    pub(crate) fn kill(&self) {
        self.signal("KILL");
    }

    fn start_with(options: &[&str], settings: &[&str]) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/postgresql.sh");
        let mut script = Command::new(path)
            .args(options)
            .args(settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut directory = String::new();
        BufReader::new(script.stdout.take().unwrap()).read_line(&mut directory).unwrap();
        assert!(!directory.is_empty(), "no PostgreSQL server: run `make setup-postgres`");
        let port = settings.iter().find_map(|setting| setting.strip_prefix("port="));
        let port = port.unwrap_or("5432").to_owned();
        Self { directory: directory.trim_end().into(), port, script }
    }

    /// The directory of the server's Unix socket.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Creates an empty database.
    pub(crate) fn create_database(&self) -> Database<'_> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.execute("postgres", &format!("CREATE DATABASE {name}"));
        Database { server: self, name }
    }

    /// Executes SQL with psql. Returns the values, without headers.
    pub(crate) fn execute(&self, database: &str, sql: &str) -> String {
        let psql = Command::new("psql")
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", ROLE, "-h"])
            .arg(&self.directory)
            .args(["-p", &self.port, "-d", database, "-c", sql])
            .output()
            .unwrap();
        assert!(psql.status.success(), "{sql}: {}", String::from_utf8_lossy(&psql.stderr));
        String::from_utf8(psql.stdout).unwrap().trim_end().to_owned()
    }

    /// The URL of a database through the Unix socket.
    fn url(&self, database: &str) -> String {
        format!("postgres://{ROLE}@localhost/{database}?host={}", self.directory.display())
    }

    /// Ends the server at once, as after a crash, and starts it again.
    pub(crate) fn crash_and_restart(&self) {
        self.control("restart -w -m immediate");
    }

    /// Ends the server, until [`Server::restart`].
    pub(crate) fn stop(&self) {
        self.control("stop -w -m fast");
    }

    /// Halts all processes of the server, until [`Server::resume`]: connections stay open and are silent.
    pub(crate) fn halt(&self) {
        self.signal("STOP");
    }

    /// Lets the processes of the server continue.
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let file = self.directory.join("data/postmaster.pid");
        let text = std::fs::read_to_string(file).unwrap();
        let server = text.lines().next().unwrap();
        let command = format!("kill -{name} {server} $(pgrep -P {server})");
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
    }

    /// Starts the server again.
    pub(crate) fn restart(&self) {
        self.control("restart -w -m fast");
    }

    /// Writes a file into the directory of the server's data, which only the server may read.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let data = self.directory.join("data");
        let file = data.join(name);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        // The server refuses a key that another account owns.
        let owner = data.metadata().unwrap();
        std::os::unix::fs::chown(&file, Some(owner.uid()), Some(owner.gid())).unwrap();
    }

    fn control(&self, command: &str) {
        let data = self.directory.join("data");
        let program = "$(scripts/postgresql-setup.sh --bin)/pg_ctl";
        let as_server = if is_root() { "runuser -u postgres -- " } else { "" };
        let command = format!(
            "{as_server}{program} {command} -D {data} -l {log} >/dev/null",
            data = data.display(),
            log = self.directory.join("server.log").display(),
        );
        let done = Command::new("sh")
            .args(["-c", &command])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .unwrap();
        assert!(done.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        self.script.wait().unwrap();
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout == b"0\n"
}

impl Database<'_> {
    /// The URL of the database, through the Unix socket.
    pub(crate) fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// The Unix socket of its server.
    pub(crate) fn socket(&self) -> PathBuf {
        self.server.directory.join(".s.PGSQL.5432")
    }

    /// A copy of the database, as pg_dump writes it.
    pub(crate) fn dump(&self) -> Vec<u8> {
        let dump = self.client("pg_dump").arg(&self.name).output().unwrap();
        assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
        dump.stdout
    }

    /// Replaces the database with this copy, as psql reads it.
    pub(crate) fn restore(&self, dump: &[u8]) {
        let Self { server, name } = self;
        server.execute("postgres", &format!("DROP DATABASE {name} WITH (FORCE)"));
        server.execute("postgres", &format!("CREATE DATABASE {name}"));
        let psql = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", name];
        let mut restoring = self
            .client("psql")
            .args(psql)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        restoring.stdin.take().unwrap().write_all(dump).unwrap();
        assert!(restoring.wait().unwrap().success());
    }

    /// A client program of PostgreSQL, with the arguments that lead to the server.
    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["-U", ROLE, "-h"]).arg(&self.server.directory);
        command.args(["-p", &self.server.port]);
        command
    }

    /// Executes SQL in the database. Returns the values, without headers.
    pub(crate) fn execute(&self, sql: &str) -> String {
        self.server.execute(&self.name, sql)
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        if !std::thread::panicking() {
            self.server.execute("postgres", &drop);
        }
    }
}
