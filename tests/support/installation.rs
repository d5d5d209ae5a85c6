//! A production installation in a temporary directory: a configuration, PIN files, and a token, by
//! default a SoftHSM2 without an initialized one.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use hsmgate::cli::client::Client;
use serde_json::Value;
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;
use tempfile::TempDir;

use super::object_files::token_objects;
use super::process::{LIMIT, Process};
use super::softhsm::scratch;
use super::tokens::{PIN, Product, SO_PIN, TestToken};

/// The label of the token.
pub(crate) const LABEL: &str = "production";
/// The user PIN of SoftHSM2; the other products have a shorter one.
const SOFTHSM_PIN: &str = "user-pin-8163";
pub(crate) const ACCOUNT: &str = "1234567890123456";

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Outcome {
    /// The output of a command that must have succeeded.
    #[track_caller]
    pub(crate) fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        String::from_utf8(self.stdout).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let text = self.done();
        assert_eq!(text.lines().count(), 1, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// The error output of a command that must have ended with this code.
    #[track_caller]
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stdout.is_empty(), "a failure has no result: {self:?}");
        assert!(!self.stderr.is_empty());
        self.stderr
    }
}

/// An AccessKey.
#[derive(Debug, Clone)]
pub(crate) struct AccessKey {
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl AccessKey {
    pub(crate) fn of(json: &Value) -> Self {
        let text = |name: &str| json[name].as_str().unwrap_or_else(|| panic!("{json}")).to_owned();
        Self { id: text("access_key_id"), secret: text("access_key_secret") }
    }
}

/// The directory of the installation.
pub(crate) struct Installation {
    root: PathBuf,
    pub(crate) token: TestToken,
    // Dropped after the token, which may be in use until then.
    _dir: TempDir,
    /// The `hsmgate` program that it runs.
    pub(crate) program: PathBuf,
    /// Environment variables of its commands, in addition to those of the token.
    pub(crate) environment: Vec<(&'static str, PathBuf)>,
    /// The module of the configuration, in place of the token's.
    fault_token: Option<PathBuf>,
}

impl Installation {
    /// With a configuration, and without a token or a database.
    pub(crate) fn new() -> Self {
        Self::on(Product::SoftHsm)
    }

    /// As [`Installation::new`], on another token, which is initialized if only its own tools can.
    pub(crate) fn on(product: Product) -> Self {
        let dir = TempDir::new_in(scratch()).unwrap();
        let root = dir.path().to_owned();
        let token = TestToken::new(product, &root, LABEL);
        let program = env!("CARGO_BIN_EXE_hsmgate").into();
        let (environment, fault_token) = (Vec::new(), None);
        let installation = Self { root, token, _dir: dir, program, environment, fault_token };
        let pins = if product == Product::SoftHsm {
            [&format!("{SOFTHSM_PIN}\n"), "so-pin-59027\n"]
        } else {
            [PIN, SO_PIN]
        };
        for (name, pin) in ["pin", "so-pin"].into_iter().zip(pins) {
            fs::write(installation.path(name), pin).unwrap();
            fs::set_permissions(installation.path(name), Permissions::from_mode(0o600)).unwrap();
        }
        installation.configure(|_text| {});
        installation
    }

    /// As [`Installation::new`], behind the fault token with these manners.
    pub(crate) fn behind_manners(manners: &str) -> Self {
        let mut installation = Self::new();
        installation.play_manners(manners);
        installation.configure(|_text| {});
        installation
    }

    /// The next commands have the fault token with these manners before SoftHSM2. The configuration must
    /// be written again.
    pub(crate) fn play_manners(&mut self, manners: &str) {
        self.fault_token = Some(fault_token::library());
        self.environment = vec![
            (fault_token::MODULE_VARIABLE, self.token.module.clone()),
            (fault_token::MANNERS_VARIABLE, manners.into()),
        ];
    }

    /// The user PIN of the token.
    pub(crate) fn pin(&self) -> &'static str {
        if self.token.product == Product::SoftHsm { SOFTHSM_PIN } else { PIN }
    }

    /// With a token, a database and the first AccessKey.
    pub(crate) fn prepared() -> (Self, AccessKey) {
        let installation = Self::new();
        let key = AccessKey::of(&installation.init().json());
        (installation, key)
    }

    /// `hsmgate init`, which initializes a token of SoftHSM2.
    pub(crate) fn init(&self) -> Outcome {
        let so_pin = self.path("so-pin");
        self.configured(&["init", "--so-pin-file", so_pin.to_str().unwrap(), "--json"])
    }

    /// As [`Installation::prepared`], with an admin listener.
    pub(crate) fn prepared_with_admin_listener() -> (Self, AccessKey) {
        let (installation, key) = Self::prepared();
        installation.configure(|text| {
            *text = text.replace("[admin]\naddress = \"\"", "[admin]\naddress = \"127.0.0.1:0\"");
        });
        (installation, key)
    }

    /// Creates an AccessKey of a user with these policies.
    pub(crate) fn create_access_key(&self, user: &str, policies: &[&str]) -> AccessKey {
        let mut create = vec!["access-key", "create", "--json", "--user", user];
        create.extend(policies.iter().flat_map(|policy| ["--policy", policy]));
        AccessKey::of(&self.through_gateway(&create).json())
    }

    /// The state directory of a stopped gateway for development.
    pub(crate) fn of_development(dir: TempDir) -> Self {
        let program = env!("CARGO_BIN_EXE_hsmgate").into();
        let root = dir.path().join("state");
        let token = TestToken::of_softhsm(root.join("softhsm2.conf"));
        Self { root, token, _dir: dir, program, environment: Vec::new(), fault_token: None }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(crate) fn audit_file(&self) -> PathBuf {
        self.path("state").join("audit.jsonl")
    }

    /// Writes the configuration, changed by `edit`.
    pub(crate) fn configure(&self, edit: impl FnOnce(&mut String)) {
        let dir = self.root.display();
        // An earlier program knows no such setting.
        let is_of_this_build = self.program == Path::new(env!("CARGO_BIN_EXE_hsmgate"));
        let drain = if is_of_this_build { "drain_ms = 0\n" } else { "" };
        let init_arguments = self.token.init_arguments.as_ref();
        let init_arguments = init_arguments
            .map_or_else(String::new, |text| format!("init_arguments = \"{text}\"\n"));
        let mut text = format!(
            "[listen]\naddress = \"127.0.0.1:0\"\n{drain}\
             [service]\naccount = \"{ACCOUNT}\"\n\
             [token]\nmodule = \"{}\"\n{init_arguments}label = \"{LABEL}\"\npin_file = \"{dir}/pin\"\n\
             [store]\nurl = \"sqlite://{dir}/hsmgate.db\"\nstate_directory = \"{dir}/state\"\n\
             [admin]\naddress = \"\"\n",
            self.fault_token.as_ref().unwrap_or(&self.token.module).display()
        );
        edit(&mut text);
        fs::write(self.path("hsmgate.toml"), text).unwrap();
    }

    /// Runs a command that takes `--config`.
    pub(crate) fn configured(&self, arguments: &[&str]) -> Outcome {
        let config = self.path("hsmgate.toml");
        let arguments = [arguments, &["--config", config.to_str().unwrap()]].concat();
        run(self.command(&arguments), b"")
    }

    /// As [`Installation::configured`], for a command that only a gateway executes: one runs meanwhile.
    pub(crate) fn through_gateway(&self, arguments: &[&str]) -> Outcome {
        const UNREACHABLE: Option<i32> = Some(6);
        let outcome = self.configured(arguments);
        if outcome.code != UNREACHABLE {
            return outcome;
        }
        let server = self.serve();
        let outcome = self.configured(arguments);
        assert_eq!(server.stop(), Some(0));
        outcome
    }

    /// Runs a client command as this user, with an input.
    pub(crate) fn client(
        &self,
        endpoint: &str,
        user: &AccessKey,
        arguments: &[&str],
        input: &[u8],
    ) -> Outcome {
        let mut command = self.command(arguments);
        command
            .env("HSMGATE_ENDPOINT", endpoint)
            .env("HSMGATE_ACCESS_KEY_ID", &user.id)
            .env("HSMGATE_ACCESS_KEY_SECRET", &user.secret);
        run(command, input)
    }

    /// `hsmgate` in this directory, with no environment variables except those of its token.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_under(&[], arguments)
    }

    /// As [`Installation::command`], executed by another program (`prlimit` for instance).
    pub(crate) fn command_under(&self, starter: &[&str], arguments: &[&str]) -> Command {
        let mut command = self.token.command_under(starter, &self.program);
        command
            .args(arguments)
            .current_dir(&self.root)
            .env_clear()
            .envs(self.token.environment())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            // The tests may run as root, as in a container.
            .env("HSMGATE_ALLOW_ROOT", "1");
        command
    }

    /// Runs a command until it ends, executed by another program.
    pub(crate) fn run_under(&self, starter: &[&str], arguments: &[&str]) -> Outcome {
        run(self.command_under(starter, arguments), b"")
    }

    /// A connection to the database, which others may use at the same time.
    pub(crate) async fn database(&self) -> SqliteConnection {
        let url = format!("sqlite://{}", self.path("hsmgate.db").display());
        SqliteConnection::connect(&url).await.unwrap()
    }

    /// Executes a statement in the database, and signs the rows as if the gateway had written them.
    pub(crate) async fn change(&self, sql: &'static str) {
        self.tamper(sql).await;
        self.sign();
    }

    /// Executes a statement in the database, as somebody without the token would.
    pub(crate) async fn tamper(&self, sql: &'static str) {
        let mut database = self.database().await;
        sqlx::query(sql).execute(&mut database).await.unwrap();
        database.close().await.unwrap();
    }

    /// Removes the database.
    pub(crate) fn lose_database(&self) {
        for suffix in ["", "-wal", "-shm"] {
            fs::remove_file(self.path(&format!("hsmgate.db{suffix}"))).ok();
        }
    }

    /// Signs the rows of the database as they are.
    pub(crate) fn sign(&self) {
        self.configured(&["store", "sign", "--reason", "a test"]).done();
    }

    /// The number of keys in its SoftHSM2 tokens.
    pub(crate) fn token_objects(&self) -> usize {
        token_objects(&self.path("tokens"))
    }

    /// Starts `hsmgate serve` and waits until it serves.
    pub(crate) fn serve(&self) -> Server {
        self.serve_with(&[])
    }

    /// As [`Installation::serve`], with additional options.
    pub(crate) fn serve_with(&self, options: &[&str]) -> Server {
        self.serve_under(&[], options)
    }

    /// As [`Installation::serve_with`], executed by another program.
    pub(crate) fn serve_under(&self, starter: &[&str], options: &[&str]) -> Server {
        self.serve_file("hsmgate.toml", starter, options)
    }

    /// As [`Installation::serve_under`], with another configuration file in its directory.
    pub(crate) fn serve_file(&self, file: &str, starter: &[&str], options: &[&str]) -> Server {
        let config = self.path(file);
        let arguments = [&["serve", "--config", config.to_str().unwrap()], options].concat();
        let mut process = self
            .command_under(starter, &arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let (tell, told) = mpsc::channel();
        let log = Arc::<Mutex<String>>::default();
        let writer = Arc::clone(&log);
        // Reads on to the end, so that the gateway never waits for a reader.
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut log = writer.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
                drop(log);
                if let Some((_before, rest)) = line.split_once("serving address=") {
                    tell.send(rest.split(' ').next().unwrap_or_default().to_owned()).ok();
                }
            }
        });
        let address = told.recv_timeout(LIMIT).unwrap_or_else(|error| {
            panic!("the gateway does not serve: {error}\n{}", log.lock().unwrap());
        });
        Server { process: Process::of(process), endpoint: format!("http://{address}"), log }
    }
}

/// A running `hsmgate serve`. It is killed when dropped.
pub(crate) struct Server {
    process: Process,
    pub(crate) endpoint: String,
    log: Arc<Mutex<String>>,
}

impl Server {
    /// The address of its admin listener, from its log.
    pub(crate) fn admin_address(&self) -> String {
        let log = self.log.lock().unwrap();
        let (_before, rest) = log.split_once(" admin=").expect("there is an admin listener");
        rest.split_whitespace().next().unwrap().to_owned()
    }

    /// Its log until now.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn client(&self, user: &AccessKey) -> Client {
        Client::new(&self.endpoint, &user.id, user.secret.clone().into()).unwrap()
    }

    /// How often its log contains `what` until now.
    pub(crate) fn count_logged(&self, what: &str) -> usize {
        self.log.lock().unwrap().matches(what).count()
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &str {
        self.endpoint.strip_prefix("http://").unwrap()
    }

    /// Whether its log contains `what` until now.
    pub(crate) fn has_logged(&self, what: &str) -> bool {
        self.log.lock().unwrap().contains(what)
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// The process id of the gateway of this supervisor; empty if there is none.
    pub(crate) fn supervised(&self) -> String {
        self.all_supervised().into_iter().next().unwrap_or_default()
    }

    /// The process ids of all gateways of this supervisor, in the order of their starts.
    pub(crate) fn all_supervised(&self) -> Vec<String> {
        let id = self.process_id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        children.split_whitespace().map(str::to_owned).collect()
    }

    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Sends SIGTERM, and returns the exit code.
    pub(crate) fn stop(self) -> Option<i32> {
        self.signal("TERM");
        self.wait()
    }

    /// Waits until it has ended, and returns the exit code. Without success the log tells why.
    #[expect(clippy::print_stderr, reason = "the output of a test that fails")]
    pub(crate) fn wait(self) -> Option<i32> {
        let ended = self.process.wait();
        if !ended.is_some_and(|status| status.success()) {
            eprintln!("ended with {ended:?}; its log:\n{}", self.log.lock().unwrap());
        }
        ended.expect("it ends in time").code()
    }
}

/// Runs a command until it ends.
pub(crate) fn run(mut command: Command, input: &[u8]) -> Outcome {
    let mut process = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that fails at once does not read its input.
    process.stdin.take().unwrap().write_all(input).ok();
    let output = process.wait_with_output().unwrap();
    Outcome {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
