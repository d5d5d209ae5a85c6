//! Every action of the public API and its handler.

use std::sync::LazyLock;

use axum::body::Body;
use axum::response::Response;
use serde::Serialize;

use super::format::{self, Format};
use crate::api::table::{ActionTable, Execution};
use crate::audit::Recorded;
use crate::model::{FromParams, Params};
use crate::ops::{self, Operation, PublicVisitor, unsupported};
use crate::pipeline::Authenticated;

/// Executes an operation that is parsed from parameters, and writes its output in a format.
pub type Handler = for<'a> fn(Authenticated<'a>, &'a Params<'a>, Format) -> Execution<'a>;

/// Every action of the API.
pub static TABLE: LazyLock<ActionTable<Handler>> = LazyLock::new(|| {
    let mut table = ActionTable::new(unsupported::PUBLIC);
    ops::visit_public(&mut table);
    table
});

impl PublicVisitor for ActionTable<Handler> {
    fn visit<O>(&mut self)
    where
        O: Operation + FromParams,
        O::Output: Serialize + Sync,
    {
        self.add::<O>(|request, params, format| Box::pin(execute::<O>(request, params, format)));
    }
}

async fn execute<O>(
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
    let operation = match format {
        Format::Json => operation,
        Format::Xml => operation.map(O::for_xml),
    };
    let id = request.context().id;
    let outcome = request.execute(operation.map_err(O::parameter_error), is_dry_run).await;
    outcome.map(|output| format::success(format, O::NAME, id, &output).map(Body::from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::table::ActionLookup;
    use crate::model::{Api, ParamError};
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
            "GetSecretValue",
        ];
        assert_eq!(names.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_operation_of_the_guide_needs_only_its_file_and_one_line() {
        let mut table = ActionTable::new(&[]);
        ops::example::visit(&mut table);
        let [entry] = &table[..] else { panic!("expected one operation") };
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
    fn no_action_is_listed_twice() {
        for (at, entry) in TABLE.iter().enumerate() {
            assert!(TABLE[..at].iter().all(|other| other.name != entry.name), "{}", entry.name);
        }
    }

    #[test]
    fn every_action_of_the_api_is_known_and_others_are_not() {
        assert!(matches!(TABLE.find(Api::Kms, "Encrypt"), Some(ActionLookup::Supported(_))));
        assert!(matches!(
            TABLE.find(Api::Kms, "GetCertificate"),
            Some(ActionLookup::Unsupported(_))
        ));
        for unknown in ["", "encrypt", "GenerateRandom", "AdvanceEncrypt"] {
            assert!(TABLE.find(Api::Kms, unknown).is_none(), "{unknown}");
        }
    }
}
