//! Temporary credentials, as issued by STS: an AccessKey with a security token and an expiry.
//!
//! The security token is 32 random bytes, and only its hash is stored: a reader of the store cannot
//! use it.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;

use super::access_key::{AccessKeyError, CredentialStore, ID_BYTES, NewCredential, SECRET_BYTES};
use super::principal::{Session, SessionToken};
use crate::error::ErrorCode;
use crate::model::policy::Policy;
use crate::model::{AccessKeyId, PrincipalName, Time};
use crate::store::SessionRow;

const TOKEN_BYTES: usize = 32;

/// The parameters of a session.
#[derive(Debug)]
pub struct AssumeRoleRequest {
    /// The user or role whose rights it has.
    pub principal: PrincipalName,
    /// The session name, for the audit.
    pub name: String,
    /// When it ends.
    pub expires: Time,
    /// A policy document that limits it.
    pub policy: Option<String>,
}

/// New temporary credentials: the only time that secret and token are returned.
pub struct Credentials {
    /// The public id.
    pub access_key_id: AccessKeyId,
    /// The secret.
    pub secret: SecretString,
    /// The security token, sent in addition to the signature.
    pub security_token: SecretString,
    /// When they expire.
    pub expires: Time,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl CredentialStore {
    /// Creates temporary credentials for a user or role.
    ///
    /// # Errors
    /// When the principal does not exist, the policy cannot be parsed, or store or token fail.
    pub async fn assume(&self, request: AssumeRoleRequest) -> Result<Credentials, AccessKeyError> {
        if let Some(text) = &request.policy {
            Policy::parse(text)?.check_cost()?;
        }
        let random = self.random(ID_BYTES + SECRET_BYTES + TOKEN_BYTES).await?;
        let (id, secret, for_token) = NewCredential::id_and_secret("STS.", &random)?;
        let session = SessionRow {
            name: request.name,
            token_hash: digest(&SHA256, for_token).as_ref().to_vec(),
            expires: request.expires,
            policy: request.policy,
        };
        let new =
            NewCredential { id, principal: request.principal, secret, session: Some(session) };
        let key = self.insert(new).await?;
        Ok(Credentials {
            access_key_id: key.id.clone(),
            secret: key.secret.clone(),
            security_token: SecretString::from(URL_SAFE_NO_PAD.encode(for_token)),
            expires: request.expires,
        })
    }

    /// Removes temporary credentials that ended before a time.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn purge_sessions(&self, before: Time) -> Result<(), AccessKeyError> {
        self.store.delete_expired_sessions(before).await?;
        Ok(())
    }
}

impl Session {
    /// Checks that a request may use the session: that it has its token and is not expired.
    pub(super) fn check(&self, token: Option<&str>, now: Time) -> Result<(), ErrorCode> {
        let token = token.ok_or(ErrorCode::MissingSecurityToken)?;
        if let SessionToken::Hash(token_hash) = &self.token {
            check_hash(token, token_hash)?;
        }
        if now >= self.expires { Err(ErrorCode::InvalidSecurityTokenExpired) } else { Ok(()) }
    }
}

fn check_hash(token: &str, token_hash: &[u8]) -> Result<(), ErrorCode> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok().filter(|bytes| bytes.len() == TOKEN_BYTES);
    let bytes = bytes.ok_or(ErrorCode::InvalidSecurityTokenMalformed)?;
    let equal = verify_slices_are_equal(digest(&SHA256, &bytes).as_ref(), token_hash);
    equal.map_err(|_unequal| ErrorCode::InvalidSecurityTokenMismatch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_requires_its_token_and_ends() {
        let token = [7; TOKEN_BYTES];
        let session = Session {
            expires: Time::from_unix(1000),
            token: SessionToken::Hash(digest(&SHA256, &token).as_ref().to_vec()),
            ..Session::named("build-7")
        };
        let sent = URL_SAFE_NO_PAD.encode(token);
        let other = URL_SAFE_NO_PAD.encode([8; TOKEN_BYTES]);
        let (before, after) = (Time::from_unix(999), Time::from_unix(1000));
        assert_eq!(session.check(Some(&sent), before), Ok(()));
        for (token, now, code) in [
            (None, before, ErrorCode::MissingSecurityToken),
            (Some("CAIS token"), before, ErrorCode::InvalidSecurityTokenMalformed),
            (Some("AAAA"), before, ErrorCode::InvalidSecurityTokenMalformed),
            (Some(other.as_str()), before, ErrorCode::InvalidSecurityTokenMismatch),
            (Some(other.as_str()), after, ErrorCode::InvalidSecurityTokenMismatch),
            (Some(sent.as_str()), after, ErrorCode::InvalidSecurityTokenExpired),
        ] {
            assert_eq!(session.check(token, now), Err(code));
        }
    }
}
