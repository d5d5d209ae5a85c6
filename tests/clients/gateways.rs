//! The gateways that the clients of one language share.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::gateway::Gateway;
use crate::support::softhsm::scratch;

/// Variable and options of each gateway. The value of the variable is the name of the file that holds
/// the line of `hsmgate dev --json`.
const GATEWAYS: [(&str, &[&str]); 4] = [
    ("HSMGATE_DEV_JSON", &[]),
    ("HSMGATE_TLS_DEV_JSON", &["--tls"]),
    ("HSMGATE_TEXT_DEV_JSON", &["--tls", "--accept-non-base64-plaintext"]),
    ("HSMGATE_THROTTLED_DEV_JSON", &["--calls-per-second", "5"]),
];

/// The program, for what a client's user does with the command line.
const PROGRAM: &str = "HSMGATE_PROGRAM";

/// The folder with the files of settings of the secrets clients.
const SETTINGS: &str = "HSMGATE_SETTINGS";

/// Running gateways and the files that tell of them.
pub(crate) struct Gateways {
    running: Vec<(&'static str, PathBuf, Gateway)>,
    _files: TempDir,
}

impl Gateways {
    /// Starts all of them.
    pub(crate) fn start() -> Self {
        let files = TempDir::new_in(scratch()).expect("a temporary directory");
        let running = GATEWAYS.map(|(variable, options)| {
            let gateway = Gateway::start_with(options);
            let file = files.path().join(variable);
            write_private(&file, gateway.dev_json());
            (variable, file, gateway)
        });
        Self { running: running.into(), _files: files }
    }

    /// Tells a client where they are. Secrets stand in files only.
    pub(crate) fn tell(&self, client: &mut Command) {
        for (variable, file, _gateway) in &self.running {
            client.env(variable, file);
        }
        client
            .env(PROGRAM, env!("CARGO_BIN_EXE_hsmgate"))
            .env(SETTINGS, Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/secrets-client"))
            .env("NO_PROXY", "127.0.0.1,localhost");
    }

    /// Asks them to end, as an operator would. One that cannot end in order fails the test.
    pub(crate) fn stop(self) {
        for (_variable, _file, gateway) in self.running {
            gateway.stop();
        }
    }

    /// The lines of their logs that are above INFO.
    pub(crate) fn logged_errors(&self) -> String {
        let logs = self.running.iter().map(|(variable, _file, gateway)| (variable, gateway.log()));
        let mut logged_errors = String::new();
        for (variable, log) in logs {
            let lines = log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR"));
            logged_errors.extend(lines.map(|line| format!("{variable}: {line}\n")));
        }
        logged_errors
    }
}

fn write_private(file: &Path, text: &str) {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(file);
    file.and_then(|mut file| file.write_all(text.as_bytes())).expect("a file can be written");
}

/// A folder below `target/clients` for what is built.
pub(crate) fn build_folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients").join(name);
    fs::create_dir_all(&folder).expect("a folder can be made");
    folder
}
