//! A process of its own for the measurement: SoftHSM2 reads where its tokens are from a variable
//! that must stand before the module is loaded, and the log needs a file to go to.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

/// Names the directory of the measurement.
const HOME: &str = "HSMGATE_BENCH_HOME";
const SOFTHSM2_CONF: &str = include_str!("../../softhsm/softhsm2.conf.in");
/// How much of the log is shown when the measurement fails.
const SHOWN_LINES: usize = 20;

/// The directory that this process was started for.
pub(crate) fn home() -> Option<PathBuf> {
    env::var_os(HOME).map(PathBuf::from)
}

/// Runs this program again with a fresh token directory in memory, and the log in a file there:
/// a line costs a system call, as it does in production.
pub(crate) fn start_anew() -> anyhow::Result<()> {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { env::temp_dir() };
    let home = tempfile::Builder::new().prefix("hsmgate-bench-").tempdir_in(parent)?;
    let text = home.path().to_str().context("the temporary directory is no text")?;
    fs::create_dir(home.path().join("tokens"))?;
    let configuration = home.path().join("softhsm2.conf");
    fs::write(&configuration, SOFTHSM2_CONF.replace("@DIR@", text))?;
    let log = home.path().join("log");
    let status = Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(HOME, home.path())
        .env("SOFTHSM2_CONF", configuration)
        .stderr(File::create(&log)?)
        .status()?;
    if status.success() {
        return Ok(());
    }
    let log = fs::read_to_string(log)?;
    let lines: Vec<&str> = log.lines().rev().take(SHOWN_LINES).collect();
    let lines: Vec<&str> = lines.into_iter().rev().collect();
    bail!("the measurement failed, {status}; the end of its log:\n{}", lines.join("\n"))
}
