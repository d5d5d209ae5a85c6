//! The caller of a simulated request.

use std::str::FromStr;

use crate::api::{instance, rpc};
use crate::authn::Principal;
use crate::authz::SimulatedCaller;
use crate::cli::exit::CliError;
use crate::model::policy::Policy;
use crate::model::{
    AccessName, AccessPoint, ClientKeyId, ClientKeyRecord, IdentityProvider, InvalidId,
    PrincipalName, ProviderName, clock,
};
use crate::store::Store;

/// The name of a caller.
#[derive(Debug, Clone)]
pub(super) enum CallerName {
    Principal(PrincipalName),
    ClientKey(ClientKeyId),
    AccessPoint(AccessName),
    Provider(ProviderName),
}

impl FromStr for CallerName {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.split_once('/') {
            Some(("clientkey", id)) => id.parse().map(Self::ClientKey),
            Some(("applicationaccesspoint", name)) => name.parse().map(Self::AccessPoint),
            Some(("oidc-provider", name)) => name.parse().map(Self::Provider),
            _ => text.parse().map(Self::Principal),
        }
    }
}

impl CallerName {
    /// The caller with this name. `configured` are the identity providers of the configuration.
    pub(super) async fn find(
        self,
        store: &Store,
        configured: &[IdentityProvider],
        session: Option<Policy>,
    ) -> anyhow::Result<FoundCaller> {
        let absent = |what: String| CliError::NotFound(format!("{what} does not exist"));
        Ok(match self {
            Self::Principal(name) => {
                let found = principal(store, &name).await?;
                FoundCaller::Principal(found.ok_or_else(|| absent(name.to_string()))?, session)
            }
            Self::ClientKey(id) => {
                let key = store.document::<ClientKeyRecord>(&id.to_string());
                let key = key.ok_or_else(|| absent(format!("client key {id}")))?;
                FoundCaller::ClientKey(key.access_point.clone(), Some(id))
            }
            Self::AccessPoint(name) => {
                let point = store.document::<AccessPoint>(name.as_str());
                let point = point.ok_or_else(|| absent(format!("access point {name}")))?;
                FoundCaller::ClientKey(point.name.clone(), None)
            }
            Self::Provider(name) => {
                let configured = configured.iter().find(|one| one.name == name).cloned();
                let stored = || store.document::<IdentityProvider>(name.as_str());
                let found =
                    configured.or_else(|| stored().map(|one| IdentityProvider::clone(&one)));
                let what = format!("the identity provider {name}");
                FoundCaller::Federated(found.ok_or_else(|| absent(what))?)
            }
        })
    }
}

/// A caller that exists.
pub(super) enum FoundCaller {
    Principal(Principal, Option<Policy>),
    ClientKey(AccessName, Option<ClientKeyId>),
    Federated(IdentityProvider),
}

impl FoundCaller {
    pub(super) fn for_simulation<'a>(
        &'a self,
        store: &'a Store,
        action: &str,
    ) -> SimulatedCaller<'a> {
        match self {
            Self::Principal(principal, session) => {
                SimulatedCaller::Principal { principal, session: session.as_ref() }
            }
            Self::ClientKey(access_point, id) => SimulatedCaller::ClientKey {
                store,
                access_point,
                id: *id,
                permission: client_key_permission(action),
            },
            Self::Federated(provider) => SimulatedCaller::Federated(provider),
        }
    }
}

/// A user, a role, or the root, which has no row.
pub(super) async fn principal(
    store: &Store,
    name: &PrincipalName,
) -> anyhow::Result<Option<Principal>> {
    let root = || Principal::new(PrincipalName::root(), Vec::new(), clock::now());
    let found = store.principals().await?.into_iter().find(|row| row.name == *name);
    Ok(found.or_else(|| (*name == PrincipalName::root()).then(root)))
}

/// The permission of client keys for an action, or with this name.
pub(in crate::cli) fn client_key_permission(action: &str) -> Option<&'static str> {
    let public = rpc::table::TABLE.iter().map(|entry| (entry.permission, entry.client_keys));
    let instance = instance::table::TABLE.iter();
    let instance = instance.map(|entry| (entry.permission, entry.client_keys));
    let mut permissions =
        public.chain(instance).filter_map(|(named, granted)| Some((named, granted?)));
    let found = permissions.find(|(named, granted)| *named == action || *granted == action);
    found.map(|(_named, granted)| granted)
}
