//! Whether a new process would help: the PKCS#11 module hangs in this one, and no longer in another.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::token::Token;

/// How often a look is taken at a token that may hang, and at a new process.
const EVERY: Duration = Duration::from_secs(1);
/// How long a new process may take to open the token.
const PROBE_LIMIT: Duration = Duration::from_secs(10);

/// Completes when the module has held this process's threads for so long, and a new process opens
/// the token all the same. Starting anew any earlier would end in a start that hangs.
pub(super) async fn is_due(token: Token, patience: Duration, config: &Path) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if token.hanging().is_some_and(|time| time >= patience) && opens_elsewhere(config).await {
            tracing::error!("the PKCS#11 module hangs in this process only; starting anew");
            return;
        }
    }
}

/// Whether `hsmgate token info` ends well.
async fn opens_elsewhere(config: &Path) -> bool {
    let Ok(program) = std::env::current_exe() else {
        return false;
    };
    let arguments = ["token", "info", "--config"].map(OsString::from);
    let probe = Command::new(program)
        .args(arguments)
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status();
    match tokio::time::timeout(PROBE_LIMIT, probe).await {
        Ok(Ok(status)) => status.success(),
        Ok(Err(error)) => {
            tracing::warn!(%error, "no process can be started to try the token");
            false
        }
        Err(_) => false,
    }
}
