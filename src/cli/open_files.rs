//! The limit of open files, and the number of connections that it allows.
//!
//! A connection is an open file. If connections used all of them, a token on files, the database and
//! the audit could open none: any client could block all others by opening connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::exit::CliError;
use crate::app::ADMIN_CONNECTIONS;

/// Files reserved for token, database, audit, journals and listeners. About 45 are open with SoftHSM2,
/// and some more during its calls.
const RESERVE: u64 = 128;
/// Minimum number of connections of a gateway.
const MIN_CONNECTIONS: u64 = 16;

/// Raises the limit to the maximum that the system allows this process; `None` means no limit.
pub(super) fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(event = "open_files.limit_unchanged", %error, "cannot raise the limit of open files");
        }
    }
    getrlimit(Resource::Nofile).current
}

/// The limit that [`raise`] would set.
pub(super) fn allowed() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

/// The number of files that a gateway with this number of connections needs.
pub(super) fn needed(connections: usize) -> u64 {
    let connections = u64::try_from(connections).unwrap_or(u64::MAX);
    connections.saturating_add(reserved())
}

/// The number of connections that a limit allows, at most `wanted`. `None` if the limit is too low for a
/// gateway.
pub(super) fn max_connections(wanted: usize, limit: Option<u64>) -> Option<usize> {
    let Some(limit) = limit else { return Some(wanted) };
    let room = limit.checked_sub(reserved()).filter(|room| *room >= MIN_CONNECTIONS)?;
    Some(usize::try_from(room).map_or(wanted, |room| wanted.min(room)))
}

/// Raises the limit, and returns the number of connections that it allows. The log reports if they are
/// fewer than `wanted`.
///
/// # Errors
/// When the limit is too low for a gateway.
pub(super) fn raise_limit_for(wanted: usize) -> Result<usize, CliError> {
    let limit = raise();
    let Some(connections) = max_connections(wanted, limit) else {
        let least = reserved().saturating_add(MIN_CONNECTIONS);
        return Err(CliError::usage(format!(
            "the system allows {} open files, and a gateway needs at least {least}: raise the hard \
             limit (ulimit -Hn, LimitNOFILE=)",
            limit.unwrap_or_default(),
        )));
    };
    if connections < wanted {
        tracing::warn!(
            event = "connections.limit_reduced",
            wanted,
            connections,
            open_files = limit,
            "the limit of open files reduces limits.connections: raise the hard limit \
             (ulimit -Hn, LimitNOFILE=)"
        );
    }
    Ok(connections)
}

/// Files that are not connections of the API.
fn reserved() -> u64 {
    RESERVE.saturating_add(u64::try_from(ADMIN_CONNECTIONS).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_everything_else() {
        assert_eq!(max_connections(1024, None), Some(1024));
        assert_eq!(max_connections(1024, Some(4096)), Some(1024));
        assert_eq!(max_connections(1024, Some(needed(1024))), Some(1024));
        assert_eq!(max_connections(1024, Some(1024)), Some(832));
        assert_eq!(max_connections(8, Some(208)), Some(8));
        assert_eq!(max_connections(1024, Some(207)), None);
        assert_eq!(max_connections(1024, Some(64)), None);
    }
}
