//! Sessions whose state is in their security token, so that every gateway knows them at once and an
//! exchange writes no row.
//!
//! The token is the id of the session and its state, encrypted and authenticated by a key that follows
//! from the id and a key of the store. The secret follows from the same two, so no gateway stores it. A
//! session is used only while everything that it was made of still allows it: its role, the trust policy
//! of the role, and who assumed it.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::access_key::{AccessKey, CredentialStore, ID_BYTES, NewCredential, Snapshot};
use super::configured_providers::ConfiguredProviders;
use super::principal::{Principal, Session, SessionToken};
use super::session::Credentials;
use super::session_origin::{AssumedBy, SessionOrigin};
use crate::error::{ApiError, ErrorCode};
use crate::model::policy::{
    ASSUME_ROLE, Policy, PolicyRequest, Resource, ResourceName, Trust, TrustCaller, TrustValues,
};
use crate::model::{
    AccessKeyId, AccountId, IdentityProvider, PrincipalId, PrincipalName, RegionAccount,
    RequestContext, Time, random,
};
use crate::store::{SessionKey, Store};

/// The prefix of the AccessKey id of a session.
pub(super) const ID_PREFIX: &str = "STS.";
/// The first byte of a token: the form of the rest.
const FORM: u8 = 1;
/// The longest token in bytes; it has a session policy, a subject and the sessions before it.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// A session to make. `authz` has decided that the role may be assumed.
#[derive(Debug)]
pub struct NewSession {
    /// The session name.
    pub name: String,
    /// Its validity in seconds.
    pub seconds: i64,
    /// A policy document that limits it.
    pub policy: Option<String>,
    /// Who assumes the role.
    pub origin: SessionOrigin,
}

/// The state of a session, in its token.
#[derive(Debug, Serialize, Deserialize)]
struct SessionState {
    role: PrincipalName,
    role_id: PrincipalId,
    name: String,
    began: Time,
    expires: Time,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    policy: Option<String>,
    origin: SessionOrigin,
}

impl CredentialStore {
    /// Makes a session of a role. It needs no change of the store, and no token call.
    ///
    /// # Errors
    /// When the store has no key, or no random bytes can be had.
    pub fn make_session(
        &self,
        account: &AccountId,
        role: &Principal,
        new: NewSession,
        now: Time,
    ) -> Result<Credentials, ApiError> {
        let failed = || ApiError::from(ErrorCode::InternalFailure);
        let key = self.store.session_key().ok_or_else(failed)?;
        let id: Zeroizing<[u8; ID_BYTES]> = random::secret().map_err(|_source| failed())?;
        // A session that an operator has ended by its start must not include this one.
        let began = role.details.sessions_from.map_or(now, |from| from.max(now));
        let expires = now.plus_seconds(new.seconds);
        let state = SessionState {
            role: role.name.clone(),
            role_id: role.details.id.clone(),
            name: new.name,
            began,
            expires,
            policy: new.policy,
            origin: new.origin,
        };
        let encrypted = encrypt(&key, account, &id, &state).ok_or_else(failed)?;
        Ok(Credentials {
            access_key_id: access_key_id(&id).ok_or_else(failed)?,
            secret: secret(&key, &id),
            security_token: SecretString::from(URL_SAFE_NO_PAD.encode(encrypted)),
            expires,
        })
    }

    /// The AccessKey of the session of a security token, if the token is one of this store and belongs to
    /// the AccessKey id, and what the session was made of still allows it. Whether it has expired is
    /// checked after the signature.
    ///
    /// # Errors
    /// `InvalidAccessKeyId.NotFound`, `InvalidSecurityToken.MismatchWithAccessKey`.
    pub(super) fn session(
        &self,
        region_account: &RegionAccount,
        id: &str,
        token: Option<&str>,
        request: &RequestContext,
    ) -> Result<Arc<AccessKey>, ErrorCode> {
        let absent = ErrorCode::InvalidAccessKeyIdNotFound;
        let token = token.filter(|token| token.len() <= MAX_TOKEN_BYTES).ok_or(absent)?;
        let snapshot = self.snapshot();
        let known = self.opened_sessions.find(id, token);
        let key = match &known {
            Some(key) => Arc::clone(key),
            None => self.decrypt_session(&snapshot, &region_account.account, id, token)?,
        };
        let session = key.session.as_ref().ok_or(absent)?;
        let role = snapshot.live(&key.principal.name, &key.principal.details.id).ok_or(absent)?;
        let use_of_role = UseOfRole {
            store: &self.store,
            configured_providers: self.configured_providers(),
            snapshot: &snapshot,
            region_account,
            request,
        };
        if !session.began.is_some_and(|began| use_of_role.is_allowed(role, began, &session.origin))
        {
            return Err(absent);
        }
        // The role may have other policies since the session was decrypted.
        let is_current = Arc::ptr_eq(role, &key.principal);
        let key = if is_current {
            key
        } else {
            Arc::new(key.with_principal(Arc::clone(role)).ok_or(absent)?)
        };
        if known.is_none() || !is_current {
            self.opened_sessions.insert(id, token, Arc::clone(&key));
        }
        Ok(key)
    }

    fn decrypt_session(
        &self,
        snapshot: &Snapshot,
        account: &AccountId,
        id: &str,
        token: &str,
    ) -> Result<Arc<AccessKey>, ErrorCode> {
        let absent = ErrorCode::InvalidAccessKeyIdNotFound;
        let key = self.store.session_key().ok_or(absent)?;
        let (bytes, state) = decrypt(&key, account, token).ok_or(absent)?;
        let access_key_id = access_key_id(&bytes).ok_or(absent)?;
        if access_key_id.as_str() != id {
            return Err(ErrorCode::InvalidSecurityTokenMismatch);
        }
        let role = snapshot.live(&state.role, &state.role_id).ok_or(absent)?;
        let policy = state.policy.as_deref().map(Policy::parse).transpose();
        let session = Session {
            name: state.name,
            expires: state.expires,
            policy: policy.map_err(|_fault| absent)?,
            began: Some(state.began),
            origin: state.origin,
            token: SessionToken::Encrypted,
        };
        let (principal, secret) = (Arc::clone(role), secret(&key, &bytes));
        Ok(Arc::new(AccessKey::of_session(access_key_id, principal, secret, Arc::new(session))))
    }
}

impl Snapshot {
    /// The principal with this name, if it is still the one with this id.
    fn live(&self, name: &PrincipalName, id: &PrincipalId) -> Option<&Arc<Principal>> {
        self.principals.get(name).filter(|principal| principal.details.id == *id)
    }
}

/// The use of a session, at which everything that it was made of is checked again.
struct UseOfRole<'a> {
    store: &'a Store,
    configured_providers: Option<&'a ConfiguredProviders>,
    snapshot: &'a Snapshot,
    region_account: &'a RegionAccount,
    request: &'a RequestContext,
}

impl UseOfRole<'_> {
    fn is_allowed(&self, role: &Principal, began: Time, origin: &SessionOrigin) -> bool {
        if role.details.sessions_from.is_some_and(|from| began < from) {
            return false;
        }
        match origin {
            SessionOrigin::Operator => true,
            SessionOrigin::Principal(by) => self.is_allowed_to(role, by),
            SessionOrigin::Federated(by) => {
                self.provides(by.provider.as_str(), &by.provider_id)
                    && self.trusts(role, TrustCaller::Federated(&by.provider), &by.values)
            }
        }
    }

    /// Whether there is a provider with this name and id.
    fn provides(&self, name: &str, id: &str) -> bool {
        if let Some(provider) = self.configured_providers.and_then(|all| all.find(name)) {
            return provider.id() == id;
        }
        let provider = self.store.document::<IdentityProvider>(name);
        provider.is_some_and(|provider| provider.id == id)
    }

    fn is_allowed_to(&self, role: &Principal, by: &AssumedBy) -> bool {
        let Some(principal) = self.snapshot.live(&by.principal, &by.principal_id) else {
            return false;
        };
        let is_whole = match (self.snapshot.key(&by.access_key_id), &by.session) {
            (Some(key), _) => key.is_active,
            (None, Some((began, origin))) => self.is_allowed(principal, *began, origin),
            (None, None) => false,
        };
        is_whole && self.trusts(role, TrustCaller::Principal(&by.principal), &by.values)
    }

    fn trusts(&self, role: &Principal, caller: TrustCaller<'_>, values: &TrustValues) -> bool {
        decide_trust(self.region_account, role, caller, values, self.request).is_allowed()
    }
}

/// What the trust policy of a role says about a caller.
pub fn decide_trust<'role>(
    region_account: &RegionAccount,
    role: &'role Principal,
    caller: TrustCaller<'_>,
    values: &TrustValues,
    request: &RequestContext,
) -> Trust<'role> {
    let policy_request = PolicyRequest {
        action: ASSUME_ROLE,
        resource: Resource::new(region_account, ResourceName::Role(&role.name)),
        request,
        tags: None,
        context: None,
        trust: Some(values),
    };
    let trust = role.details.trust.as_ref();
    let account = &region_account.account;
    trust.map_or(Trust::NotAllowed, |trust| trust.decide(account, caller, &policy_request))
}

/// The AccessKey id of a session.
fn access_key_id(id: &[u8; ID_BYTES]) -> Option<AccessKeyId> {
    NewCredential::id(ID_PREFIX, id).ok()
}

fn secret(key: &SessionKey, id: &[u8; ID_BYTES]) -> SecretString {
    SecretString::from(URL_SAFE_NO_PAD.encode(*key.derive("secret", id)))
}

/// The key of one token. It encrypts one text, so the nonce may be constant.
fn token_key(key: &SessionKey, id: &[u8; ID_BYTES]) -> Option<(LessSafeKey, Nonce)> {
    let unbound = UnboundKey::new(&AES_256_GCM, &*key.derive("token", id)).ok()?;
    Some((LessSafeKey::new(unbound), Nonce::assume_unique_for_key([0; 12])))
}

fn encrypt(
    key: &SessionKey,
    account: &AccountId,
    id: &[u8; ID_BYTES],
    state: &SessionState,
) -> Option<Vec<u8>> {
    let mut text = serde_json::to_vec(state).ok()?;
    let (key, nonce) = token_key(key, id)?;
    key.seal_in_place_append_tag(nonce, aad(account), &mut text).ok()?;
    Some([&[FORM][..], id, &text].concat())
}

/// The id and the state of a token that this store has made.
fn decrypt(
    key: &SessionKey,
    account: &AccountId,
    token: &str,
) -> Option<([u8; ID_BYTES], SessionState)> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (form, rest) = bytes.split_first()?;
    let (id, encrypted) = rest.split_first_chunk::<ID_BYTES>()?;
    if *form != FORM {
        return None;
    }
    let mut encrypted = encrypted.to_vec();
    let (key, nonce) = token_key(key, id)?;
    let text = key.open_in_place(nonce, aad(account), &mut encrypted).ok()?;
    Some((*id, serde_json::from_slice(text).ok()?))
}

fn aad(account: &AccountId) -> Aad<Vec<u8>> {
    Aad::from([b"hsmgate session 1 ", account.as_str().as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::row_key;

    const ID: [u8; ID_BYTES] = [7; ID_BYTES];

    fn account(text: &str) -> AccountId {
        text.parse().unwrap()
    }

    fn state() -> SessionState {
        SessionState {
            role: PrincipalName::role("ci").unwrap(),
            role_id: "312345678901234567".parse().unwrap(),
            name: "build-7".to_owned(),
            began: Time::from_unix(1000),
            expires: Time::from_unix(4600),
            policy: None,
            origin: SessionOrigin::Operator,
        }
    }

    #[test]
    fn a_token_shows_nothing_and_is_opened_only_as_it_was_made() {
        let key = row_key().sessions();
        let account = account("1234567890123456");
        let bytes = encrypt(&key, &account, &ID, &state()).unwrap();
        assert!(!bytes.windows(7).any(|part| part == b"build-7"), "the state is encrypted");
        let open = |bytes: &[u8]| decrypt(&key, &account, &URL_SAFE_NO_PAD.encode(bytes));
        let (id, opened) = open(&bytes).unwrap();
        assert_eq!(
            (id, opened.name.as_str(), opened.expires),
            (ID, "build-7", Time::from_unix(4600))
        );
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            assert!(open(&changed).is_none(), "byte {index}");
            assert!(open(&bytes[..index]).is_none(), "{index} bytes");
        }
        assert!(open(&[&bytes[..], &[0]].concat()).is_none());
        assert!(decrypt(&key, &account, "CAIS token").is_none());
    }

    #[test]
    fn a_token_belongs_to_one_account_and_one_store() {
        let key = row_key().sessions();
        let own = account("1234567890123456");
        let token = URL_SAFE_NO_PAD.encode(encrypt(&key, &own, &ID, &state()).unwrap());
        assert!(decrypt(&key, &own, &token).is_some());
        assert!(decrypt(&key, &account("6543210987654321"), &token).is_none());
        let other = crate::store::RowKey::new(&[9; 32], &own).sessions();
        assert!(decrypt(&other, &own, &token).is_none());
    }

    #[test]
    fn the_secret_and_the_keys_of_a_session_follow_from_its_id_and_differ() {
        let key = row_key().sessions();
        let text = |id: &[u8; ID_BYTES]| {
            use secrecy::ExposeSecret as _;
            secret(&key, id).expose_secret().to_owned()
        };
        assert_eq!(text(&ID), text(&ID));
        assert_ne!(text(&ID), text(&[8; ID_BYTES]));
        let for_token = URL_SAFE_NO_PAD.encode(*key.derive("token", &ID));
        assert_ne!(text(&ID), for_token, "a secret decrypts no token");
    }
}
