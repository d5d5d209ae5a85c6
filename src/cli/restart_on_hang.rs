//! Detects that a new process would help: the PKCS#11 module hangs in this process, or refuses to be
//! initialized again, but works in another process.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::model::clock;
use crate::token::{ReinitializeFailures, Token};

/// The program of this process, even after its file was replaced by another version.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// Interval of the checks for a hanging token.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Timeout for a new process to open the token.
const PROBE_LIMIT: Duration = Duration::from_secs(10);

/// Number of further failed attempts that confirm the need: the token may have recovered for both.
const CONFIRMING_TRIES: u64 = 2;

/// Completes when the module has blocked all threads of this process for `limit`, or has refused every
/// reinitialization for `limit`, and a new process can open the token. An earlier restart would hang or
/// fail.
pub(super) async fn is_due(token: Token, limit: Duration, config: &Path) {
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if token.hanging().is_some_and(|time| time >= limit)
            && opens_in_new_process(&token, config).await
        {
            tracing::error!(
                event = "token.process_restart_needed",
                "the PKCS#11 module hangs in this process only; restarting"
            );
            return;
        }
        let is_refused = |failures: &ReinitializeFailures| clock::since(failures.since) >= limit;
        if token.reinitialize_failures().as_ref().is_some_and(is_refused)
            && opens_in_new_process(&token, config).await
            && keeps_failing(&token).await
        {
            tracing::error!(
                event = "token.process_restart_needed",
                "the PKCS#11 module fails in this process only; restarting"
            );
            return;
        }
    }
}

/// Whether the next attempts to reinitialize the module also fail.
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

/// Whether `hsmgate token info` succeeds, for one of several tokens.
async fn opens_in_new_process(token: &Token, config: &Path) -> bool {
    let names = token.lost_names();
    if !token.is_group() {
        return succeeds_in_new_process(config, &[]).await;
    }
    for name in names {
        if succeeds_in_new_process(config, &["--token".into(), name.into()]).await {
            return true;
        }
    }
    false
}

async fn succeeds_in_new_process(config: &Path, token: &[OsString]) -> bool {
    let arguments = ["token", "info", "--listed", "--config"].map(OsString::from);
    let probe = Command::new(THIS_PROGRAM)
        .args(arguments)
        .arg(config)
        .args(token)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status();
    match tokio::time::timeout(PROBE_LIMIT, probe).await {
        Ok(Ok(status)) => status.success(),
        Ok(Err(error)) => {
            tracing::warn!(event = "token.probe_failed", %error, "cannot start a process to test the token");
            false
        }
        Err(_) => false,
    }
}
