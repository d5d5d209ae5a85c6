//! The actions of a protocol and their handlers.

use std::ops::Deref;
use std::pin::Pin;

use axum::response::Response;

use crate::audit::{Action, Recorded};
use crate::model::Api;
use crate::ops::Operation;

/// The pending response of an operation.
pub type Execution<'a> = Pin<Box<dyn Future<Output = Recorded<Response>> + Send + 'a>>;

/// The actions of one protocol. `H` is the type of the handlers: functions that parse the operation
/// from an authenticated request, execute it, and write its output.
///
/// Dereferences to the slice of supported actions.
pub struct ActionTable<H> {
    supported: Vec<SupportedAction<H>>,
    unsupported: &'static [Action],
}

/// The result of looking up an action name.
#[derive(Debug)]
pub enum ActionLookup<H: 'static> {
    /// An operation that this gateway executes.
    Supported(&'static SupportedAction<H>),
    /// A known action without an operation.
    Unsupported(Action),
}

/// One operation of a protocol.
pub struct SupportedAction<H> {
    /// The API that it belongs to.
    pub api: Api,
    /// The action.
    pub name: &'static str,
    /// The first permission that it needs.
    pub permission: &'static str,
    /// Its further permissions.
    pub extra_permissions: &'static [&'static str],
    /// The permission of an access point that allows client keys to call it; `None` if they cannot.
    pub client_keys: Option<&'static str>,
    /// Whether it has the parameter DryRun.
    pub supports_dry_run: bool,
    record: Action,
    pub(super) handler: H,
}

impl<H> ActionTable<H> {
    /// Creates a table without operations, and with these known but unsupported actions.
    pub(super) const fn new(unsupported: &'static [Action]) -> Self {
        Self { supported: Vec::new(), unsupported }
    }

    /// Adds an operation.
    pub(super) fn add<O: Operation>(&mut self, handler: H) {
        self.supported.push(SupportedAction {
            api: O::API,
            name: O::NAME,
            permission: O::ACTION,
            extra_permissions: O::EXTRA_PERMISSIONS,
            client_keys: O::CLIENT_KEYS,
            supports_dry_run: O::DRY_RUN,
            record: O::RECORD,
            handler,
        });
    }

    /// Finds an action of an API by its exact name.
    pub fn find(&'static self, api: Api, name: &str) -> Option<ActionLookup<H>> {
        let mut supported = self.supported.iter();
        if let Some(action) = supported.find(|action| action.api == api && action.name == name) {
            return Some(ActionLookup::Supported(action));
        }
        let mut unsupported = self.unsupported.iter();
        let unsupported = unsupported.find(|action| action.api == api && action.name == name);
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
    /// The action, as recorded in the audit log.
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
