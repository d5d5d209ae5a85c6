//! Whether a new process would help: the PKCS#11 module hangs in this one, or refuses to be
//! initialised anew, and does not in another.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::model::clock;
use crate::token::{ReinitializeFailures, Token};

/// What this process runs, also after its file was replaced by that of another version.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// How often a look is taken at a token that may hang, and at a new process.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long a new process may take to open the token.
const PROBE_LIMIT: Duration = Duration::from_secs(10);

/// The token may have come back for both: so many more tries have to fail here after that.
const CONFIRMING_TRIES: u64 = 2;

/// Completes when the module has held this process's threads for so long, or has refused every try to
/// bring it back for so long, and a new process opens the token all the same. Starting anew any
/// earlier would end in a start that hangs or fails.
pub(super) async fn is_due(token: Token, limit: Duration, config: &Path) {
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if token.hanging().is_some_and(|time| time >= limit) && opens_in_new_process(config).await {
            tracing::error!("the PKCS#11 module hangs in this process only; starting anew");
            return;
        }
        let is_refused = |failures: &ReinitializeFailures| failures.since.elapsed() >= limit;
        if token.reinitialize_failures().as_ref().is_some_and(is_refused)
            && opens_in_new_process(config).await
            && keeps_failing(&token).await
        {
            tracing::error!(
                event = "token.process_restart_needed",
                "the PKCS#11 module fails in this process only; starting anew"
            );
            return;
        }
    }
}

/// Whether the next tries to bring the module back fail, too.
async fn keeps_failing(token: &Token) -> bool {
    let Some(before) = token.reinitialize_failures() else { return false };
    let end = clock::timer() + PROBE_LIMIT;
    while clock::timer() < end {
        tokio::time::sleep(POLL_INTERVAL / 10).await;
        match token.reinitialize_failures() {
            Some(now) if now.since != before.since => return false,
            Some(now) if now.tries >= before.tries + CONFIRMING_TRIES => return true,
            Some(_) => {}
            None => return false,
        }
    }
    false
}

/// Whether `hsmgate token info` ends well.
async fn opens_in_new_process(config: &Path) -> bool {
    let arguments = ["token", "info", "--config"].map(OsString::from);
    let probe = Command::new(THIS_PROGRAM)
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
