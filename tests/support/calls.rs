//! Outcomes of calls that a test expects, by their codes.

use hsmgate::cli::client::{CallError, Client};

use super::process::eventually;

/// The code of a refusal; empty for an answer.
pub(crate) async fn code(client: &Client, action: &str, params: &[(&str, &str)]) -> String {
    match client.call(action, params).await {
        Ok(_answer) => String::new(),
        Err(CallError::Refused { code, .. }) => code,
        Err(other) => panic!("{action}: {other:?}"),
    }
}

/// Waits until a call is refused with `expected`, or answered if that is empty. A gateway reads what
/// another process has stored within a second.
#[track_caller]
pub(crate) fn until_code(
    client: &Client,
    action: &str,
    params: &[(&str, &str)],
    expected: &str,
) -> impl Future<Output = ()> {
    eventually(async move || {
        let code = code(client, action, params).await;
        if code == expected { Ok(()) } else { Err(format!("{code:?}, not {expected:?}")) }
    })
}

/// Status and code of a call that must be refused.
pub(crate) async fn refused(
    client: &Client,
    action: &str,
    params: &[(&str, &str)],
) -> (u16, String) {
    match client.call(action, params).await {
        Err(CallError::Refused { status, code, .. }) => (status, code),
        other => panic!("{action} was not refused: {other:?}"),
    }
}
