//! The contents page of the product: every action of the public API and what becomes of it.

use std::pin::Pin;
use std::sync::LazyLock;

use axum::response::Response;
use serde::Serialize;

use super::format::{self, Format};
use crate::audit::{Action, Recorded};
use crate::error::ApiError;
use crate::model::{FromParams, Params};
use crate::ops::{self, Operation, PublicVisitor, unsupported};
use crate::pipeline::Authenticated;

/// Every operation that is served.
pub static TABLE: LazyLock<Vec<Handler>> = LazyLock::new(|| {
    let mut entries = Entries(Vec::new());
    ops::visit_public(&mut entries);
    entries.0
});

struct Entries(Vec<Handler>);

impl PublicVisitor for Entries {
    fn visit<O>(&mut self)
    where
        O: Operation + FromParams,
        O::Output: Serialize + Sync,
    {
        self.0.push(entry::<O>());
    }
}

/// What becomes of an action.
#[derive(Debug, Clone, Copy)]
pub enum ActionLookup {
    /// It is served.
    Supported(&'static Handler),
    /// The API knows it, this gateway does not serve it.
    Unsupported(Action),
}

impl ActionLookup {
    /// The action.
    pub const fn action(self) -> Action {
        match self {
            Self::Supported(entry) => entry.action,
            Self::Unsupported(action) => action,
        }
    }
}

/// One operation of the public API.
#[derive(Clone, Copy)]
pub struct Handler {
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
    action: Action,
    serve: HandlerFn,
}

type HandlerFn = for<'a> fn(Authenticated<'a>, &'a Params<'a>, Format) -> HandlerFuture<'a>;
type HandlerFuture<'a> = Pin<Box<dyn Future<Output = Recorded<Response>> + Send + 'a>>;

/// Looks an action up.
pub fn find(action: &str) -> Option<ActionLookup> {
    if let Some(entry) = TABLE.iter().find(|entry| entry.name == action) {
        return Some(ActionLookup::Supported(entry));
    }
    let unsupported = unsupported::PUBLIC;
    let index = unsupported.binary_search_by_key(&action, |unsupported| unsupported.name).ok()?;
    unsupported.get(index).copied().map(ActionLookup::Unsupported)
}

impl Handler {
    /// Reads the request from its parameters, has it executed, and writes the answer. A refusal is left
    /// to be written, as the caller is to see it.
    pub fn serve<'a>(
        &self,
        request: Authenticated<'a>,
        params: &'a Params<'a>,
        format: Format,
    ) -> HandlerFuture<'a> {
        (self.serve)(request, params, format)
    }
}

impl std::fmt::Debug for Handler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handler").field("name", &self.name).finish_non_exhaustive()
    }
}

const fn entry<O>() -> Handler
where
    O: Operation + FromParams,
    O::Output: Serialize + Sync,
{
    Handler {
        name: O::NAME,
        permission: O::ACTION,
        extra_permissions: O::EXTRA_PERMISSIONS,
        client_keys: O::CLIENT_KEYS,
        supports_dry_run: O::DRY_RUN,
        action: O::RECORD,
        serve: |request, params, format| Box::pin(serve::<O>(request, params, format)),
    }
}

async fn serve<O>(
    request: Authenticated<'_>,
    params: &Params<'_>,
    format: Format,
) -> Recorded<Response>
where
    O: Operation + FromParams,
    O::Output: Serialize + Sync,
{
    let dry_run = if O::DRY_RUN { params.optional("DryRun") } else { Ok(None) };
    let is_dry_run = dry_run == Ok(Some(true));
    let operation = O::from_params(params).and_then(|operation| dry_run.map(|_valid| operation));
    let id = request.context().id;
    let outcome = request.execute(operation.map_err(ApiError::from), is_dry_run).await;
    outcome.map(|output| format::success(format, O::NAME, id, &output))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ParamError;
    use crate::ops::example::count_key_versions::CountKeyVersions;

    #[test]
    fn the_unsupported_actions_are_sorted_and_not_served() {
        let names: Vec<_> = unsupported::PUBLIC.iter().map(|action| action.name).collect();
        assert!(names.is_sorted());
        for entry in TABLE.iter() {
            assert!(!names.contains(&entry.name), "{}", entry.name);
        }
    }

    #[test]
    fn client_keys_may_call_what_their_template_names_and_no_other_action() {
        let names =
            TABLE.iter().filter(|entry| entry.client_keys.is_some()).map(|entry| entry.name);
        let expected = [
            "Encrypt",
            "Decrypt",
            "GenerateDataKey",
            "AsymmetricSign",
            "AsymmetricVerify",
            "GetPublicKey",
        ];
        assert_eq!(names.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_operation_of_the_guide_needs_its_file_and_its_line_alone() {
        let mut entries = Entries(Vec::new());
        ops::example::visit(&mut entries);
        let [entry] = &entries.0[..] else { panic!("not one operation") };
        assert_eq!(entry.name, "CountKeyVersions");
        assert_eq!(entry.permission, "kms:CountKeyVersions");
        assert!(entry.client_keys.is_none() && !entry.supports_dry_run);
        let read = |params: &Params<'_>| CountKeyVersions::from_params(params).map(drop);
        let mut params = Params::default();
        assert_eq!(read(&params), Err(ParamError::Missing("KeyId".into())));
        params.insert("KeyId", "alias/demo").unwrap();
        assert_eq!(read(&params), Ok(()));
    }

    #[test]
    fn no_action_stands_twice() {
        for (at, entry) in TABLE.iter().enumerate() {
            assert!(TABLE[..at].iter().all(|other| other.name != entry.name), "{}", entry.name);
        }
    }

    #[test]
    fn every_action_of_the_api_is_known_and_others_are_not() {
        assert!(matches!(find("Encrypt"), Some(ActionLookup::Supported(_))));
        assert!(matches!(find("GetSecretValue"), Some(ActionLookup::Unsupported(_))));
        for unknown in ["", "encrypt", "GenerateRandom", "AdvanceEncrypt"] {
            assert!(find(unknown).is_none(), "{unknown}");
        }
    }
}
