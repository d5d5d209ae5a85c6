//! How many files the process may have open, and how many connections that leaves room for.
//!
//! A connection is an open file. Were all of them connections, then a token on files, the database
//! and the audit could open nothing: whoever opens connections would take them from everybody.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::exit::CliError;
use crate::app::ADMIN_CONNECTIONS;

/// Files kept for token, database, audit, journals and listeners. About 45 are open with SoftHSM2;
/// its calls open some more for a moment.
const RESERVE: u64 = 128;
/// Fewer connections than this are no service.
const MIN_CONNECTIONS: u64 = 16;

/// Raises the limit to what the system allows this process, and gives it; `None` is no limit.
pub(super) fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files stays as it is");
        }
    }
    getrlimit(Resource::Nofile).current
}

/// The limit that [`raise`] would come to.
pub(super) fn allowed() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

/// The files that a gateway with so many connections needs.
pub(super) fn needed(connections: usize) -> u64 {
    let connections = u64::try_from(connections).unwrap_or(u64::MAX);
    connections.saturating_add(reserved())
}

/// The connections that fit into a limit: at most those that are wanted. `None` where the limit is
/// too low for a gateway.
pub(super) fn max_connections(wanted: usize, limit: Option<u64>) -> Option<usize> {
    let Some(limit) = limit else { return Some(wanted) };
    let room = limit.checked_sub(reserved()).filter(|room| *room >= MIN_CONNECTIONS)?;
    Some(usize::try_from(room).map_or(wanted, |room| wanted.min(room)))
}

/// Raises the limit, and gives the connections that fit into it; the log tells when they are fewer
/// than `wanted`.
///
/// # Errors
/// When the limit is too low for a gateway.
pub(super) fn raise_limit_for(wanted: usize) -> Result<usize, CliError> {
    let limit = raise();
    let Some(connections) = max_connections(wanted, limit) else {
        let least = reserved().saturating_add(MIN_CONNECTIONS);
        return Err(CliError::usage(format!(
            "the system allows {} open files, and a gateway needs {least} at least: raise the hard \
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
            "limits.connections is cut to what the limit of open files leaves: raise the hard limit \
             (ulimit -Hn, LimitNOFILE=)"
        );
    }
    Ok(connections)
}

/// What is no connection of the API.
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
