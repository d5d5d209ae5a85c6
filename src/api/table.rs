//! The actions of a protocol and what becomes of each.

use std::ops::Deref;
use std::pin::Pin;

use axum::response::Response;

use crate::audit::{Action, Recorded};
use crate::ops::Operation;

/// The response of an operation that is being executed.
pub type Execution<'a> = Pin<Box<dyn Future<Output = Recorded<Response>> + Send + 'a>>;

/// The actions of one protocol, of which `H` is the type of the handlers: functions that read the
/// operation from an authenticated request, have it executed, and write its output.
///
/// As a slice it holds the supported actions.
pub struct ActionTable<H> {
    supported: Vec<SupportedAction<H>>,
    unsupported: &'static [Action],
}

/// What a protocol has under a name.
#[derive(Debug)]
pub enum ActionLookup<H: 'static> {
    /// An operation that this gateway executes.
    Supported(&'static SupportedAction<H>),
    /// One that it does not have.
    Unsupported(Action),
}

/// One operation of a protocol.
pub struct SupportedAction<H> {
    /// The action.
    pub name: &'static str,
    /// The permission that it needs first.
    pub permission: &'static str,
    /// The permissions that it needs beside.
    pub extra_permissions: &'static [&'static str],
    /// The permission of an access point that lets client keys call it; none where they cannot.
    pub client_keys: Option<&'static str>,
    /// Whether it has the parameter DryRun.
    pub supports_dry_run: bool,
    record: Action,
    pub(super) handler: H,
}

impl<H> ActionTable<H> {
    /// A table without operations yet, and with these actions that are known and not supported.
    pub(super) const fn new(unsupported: &'static [Action]) -> Self {
        Self { supported: Vec::new(), unsupported }
    }

    /// Adds an operation.
    pub(super) fn add<O: Operation>(&mut self, handler: H) {
        self.supported.push(SupportedAction {
            name: O::NAME,
            permission: O::ACTION,
            extra_permissions: O::EXTRA_PERMISSIONS,
            client_keys: O::CLIENT_KEYS,
            supports_dry_run: O::DRY_RUN,
            record: O::RECORD,
            handler,
        });
    }

    /// Looks an action up by its one spelling.
    pub fn find(&'static self, name: &str) -> Option<ActionLookup<H>> {
        if let Some(action) = self.supported.iter().find(|action| action.name == name) {
            return Some(ActionLookup::Supported(action));
        }
        let unsupported = self.unsupported.iter().find(|action| action.name == name);
        unsupported.copied().map(ActionLookup::Unsupported)
    }
}

impl<H> Deref for ActionTable<H> {
    type Target = [SupportedAction<H>];

    fn deref(&self) -> &Self::Target {
        &self.supported
    }
}

impl<H> ActionLookup<H> {
    /// The action as the audit records it.
    pub(super) fn record(&self) -> Action {
        match self {
            Self::Supported(action) => action.record,
            Self::Unsupported(action) => *action,
        }
    }
}

impl<H> std::fmt::Debug for SupportedAction<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SupportedAction").field("name", &self.name).finish_non_exhaustive()
    }
}
