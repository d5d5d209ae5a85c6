//! Tokens of identity providers (OpenID Connect ID tokens, RFC 7519): the proof of a caller without a
//! key.
//!
//! Nothing of a token is believed before its signature is verified, except which limit of failures its
//! failure counts against. A key or an address that a token names is never used.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::configured_providers::ConfiguredProviders;
use super::identity_keys::{IdentityKeys, MAX_KEY_ID_BYTES};
use super::pending_nonce::PendingNonce;
use super::replay::{NonceUse, ReplayGuard};
use crate::error::{ApiError, ErrorCode};
use crate::model::policy::TrustValues;
use crate::model::{
    AccessKeyId, AccountId, IdentityProvider, ProviderArn, ProviderName, Time, TokenAlgorithm,
};
use crate::store::{SharedNonces, Store};

/// The longest token in bytes (STS, AssumeRoleWithOIDC, OIDCToken).
const MAX_TOKEN_BYTES: usize = 20_000;
/// The longest subject in bytes.
const MAX_SUBJECT_BYTES: usize = 1024;
/// The most audiences of a token.
const MAX_AUDIENCES: usize = 64;
/// The tolerated difference of the clocks of issuer and gateway, in seconds.
pub const TOKEN_LEEWAY_SECONDS: i64 = 60;
/// The longest validity of a token in seconds, unless the provider allows older ones.
const MAX_VALIDITY_SECONDS: i64 = 24 * 3600;
/// The registered algorithms (RFC 7518): the names that an error repeats.
const REGISTERED: [&str; 14] = [
    "none", "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512",
    "PS256", "PS384", "PS512", "EdDSA",
];

/// A subject that a token has proven.
#[derive(Debug, Clone)]
pub struct FederatedIdentity {
    /// The provider of the token.
    pub provider: ProviderName,
    /// Its id.
    pub provider_id: String,
    /// The claims for trust policies: issuer, subject, and the audiences that the provider accepts.
    pub values: TrustValues,
    /// When the token was issued.
    pub issued: Time,
    /// When the token expires.
    pub expires: Time,
    /// What its failures were counted against.
    pub limited_by: AccessKeyId,
    /// Whether another gateway of the cluster has accepted the token is not known yet.
    pub pending_use: PendingNonce,
}

/// A token as sent, of which nothing is proven.
pub struct IdentityClaim<'a> {
    token: &'a str,
    provider: Option<ProviderArn>,
    /// What a failure counts against: provider, issuer and subject as the token claims them.
    pub limited_by: Option<AccessKeyId>,
}

impl fmt::Debug for IdentityClaim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityClaim").finish_non_exhaustive()
    }
}

/// Verifies tokens of the identity providers of one account.
pub struct IdentityVerifier {
    account: AccountId,
    store: Store,
    configured: Arc<ConfiguredProviders>,
    replay: Arc<ReplayGuard>,
    /// The nonces of all gateways of the cluster.
    shared_nonces: Option<SharedNonces>,
}

impl<'a> IdentityClaim<'a> {
    /// The claim of a request. A token file may end with a line feed, and the libraries send it as it is.
    pub fn new(provider_arn: &str, token: &'a str) -> Self {
        let token = token.trim_matches(|char: char| char.is_ascii_whitespace());
        let claims = token.split('.').nth(1).filter(|_part| token.len() <= MAX_TOKEN_BYTES);
        let claims = claims.and_then(|part| Claims::decode(part).ok());
        let limited_by = claims.and_then(|claims| {
            let subject = [provider_arn, &claims.issuer, &claims.subject].join("\n");
            let hash = URL_SAFE_NO_PAD.encode(digest(&SHA256, subject.as_bytes()));
            format!("OIDC.{hash}").parse().ok()
        });
        Self { token, provider: provider_arn.parse().ok(), limited_by }
    }
}

impl IdentityVerifier {
    /// Creates a verifier.
    pub fn new(
        account: AccountId,
        store: Store,
        configured: Arc<ConfiguredProviders>,
        replay: Arc<ReplayGuard>,
        shared_nonces: Option<SharedNonces>,
    ) -> Self {
        Self { account, store, configured, replay, shared_nonces }
    }

    /// Verifies a token: provider, form, signature, issuer, times, audience, in this order.
    ///
    /// # Errors
    /// The codes of STS (`AuthenticationFail.…`). No error contains a part of the token.
    pub fn verify(
        &self,
        claim: &IdentityClaim<'_>,
        now: Time,
    ) -> Result<FederatedIdentity, ApiError> {
        let provider = self.provider(claim)?;
        let token = Token::parse(claim.token)?;
        let header = Header::decode(token.header)?;
        let algorithm = header.algorithm(&provider)?;
        let signature = ErrorCode::TokenSignature;
        let keys = IdentityKeys::parse(&provider.keys)
            .map_err(|fault| ApiError::from(ErrorCode::ProviderKeys).because(fault))?;
        let Some(key) = keys.find(header.key_id.as_deref(), algorithm) else {
            if let Some(configured) = self.configured.find(provider.name.as_str()) {
                configured.want_keys();
            }
            return Err(signature.into());
        };
        if !key.has_signed(token.signed.as_bytes(), &token.signature) {
            return Err(signature.into());
        }
        let claims = Claims::decode(token.claims)?;
        if claims.issuer != provider.issuer {
            return Err(ErrorCode::TokenIssuer.into());
        }
        claims.check_times(&provider, now)?;
        let accepted: Vec<Box<str>> = claims
            .audiences
            .iter()
            .filter(|one| provider.audiences.contains(one))
            .map(|one| one.as_str().into())
            .collect();
        if accepted.is_empty() {
            return Err(ErrorCode::TokenAudience.into());
        }
        let limited_by = claim.limited_by.clone().ok_or(ErrorCode::TokenInvalid)?;
        let configured = self.configured.find(provider.name.as_str());
        let pending_use = if configured.is_some_and(|provider| provider.accepts_once()) {
            self.use_up(&limited_by, token.signed, Time::from_unix(claims.issued), now)?
        } else {
            PendingNonce::default()
        };
        Ok(FederatedIdentity {
            provider: provider.name.clone(),
            provider_id: provider.id.clone(),
            values: TrustValues {
                issuer: Some(claims.issuer.into()),
                subject: Some(claims.subject.into()),
                audiences: accepted,
                external_id: None,
            },
            issued: Time::from_unix(claims.issued),
            expires: Time::from_unix(claims.expires),
            limited_by,
            pending_use,
        })
    }

    /// Uses up a token as the nonce of its subject. What is signed counts: an ES256 signature has a
    /// second form, which anyone can compute.
    fn use_up(
        &self,
        subject: &AccessKeyId,
        signed: &str,
        issued: Time,
        now: Time,
    ) -> Result<PendingNonce, ApiError> {
        let nonce = URL_SAFE_NO_PAD.encode(digest(&SHA256, signed.as_bytes()));
        match self.replay.try_use(subject, &nonce, issued, now) {
            Ok(NonceUse::First) => {}
            Ok(NonceUse::Repeated) => return Err(used_token()),
            // Its first use may have been forgotten.
            Ok(NonceUse::TooOld) => return Err(ErrorCode::TokenExpired.into()),
            Err(error) => return Err(ApiError::from(ErrorCode::Unavailable).because(error)),
        }
        let Some(shared) = &self.shared_nonces else { return Ok(PendingNonce::default()) };
        let (nonce, expires) = ReplayGuard::shared_entry(subject, &nonce, issued);
        Ok(PendingNonce::new(shared.write(nonce, expires)))
    }

    fn provider(&self, claim: &IdentityClaim<'_>) -> Result<Arc<IdentityProvider>, ApiError> {
        let refused =
            |message: &'static str| ApiError::with_message(ErrorCode::TokenNoPermission, message);
        let Some(arn) = &claim.provider else {
            return Err(refused("Parameter OIDCProviderArn is not valid"));
        };
        let unknown = || refused("No such OIDC Provider registered.");
        if arn.account != self.account {
            return Err(unknown());
        }
        if let Some(configured) = self.configured.find(arn.name.as_str()) {
            return configured.with_keys().ok_or_else(|| ErrorCode::ProviderKeys.into());
        }
        self.store.document::<IdentityProvider>(arn.name.as_str()).ok_or_else(unknown)
    }
}

/// The error for a token that was used before, of a provider whose tokens are accepted once.
fn used_token() -> ApiError {
    ApiError::with_message(ErrorCode::TokenInvalid, "The OIDCToken was used before.")
}

impl FederatedIdentity {
    /// Waits until no other gateway of the cluster can accept the token, if it is accepted once.
    ///
    /// # Errors
    /// `AuthenticationFail.OIDCToken.Invalid` when another gateway has accepted it;
    /// `ServiceUnavailableTemporary` when the database does not respond.
    pub async fn require_first_use(&self) -> Result<(), ApiError> {
        let Some(pending) = self.pending_use.take() else { return Ok(()) };
        pending.require_first().await.map_err(|error| match error.code() {
            ErrorCode::SignatureNonceUsed => used_token(),
            _ => error,
        })
    }
}

/// The three parts of a token in its compact form.
struct Token<'a> {
    /// What the signature covers.
    signed: &'a str,
    header: &'a str,
    claims: &'a str,
    signature: Vec<u8>,
}

impl<'a> Token<'a> {
    fn parse(token: &'a str) -> Result<Self, ApiError> {
        let invalid =
            |message: &'static str| ApiError::with_message(ErrorCode::TokenInvalid, message);
        if token.is_empty() {
            return Err(invalid("The OIDCToken can not empty."));
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(invalid("The OIDCToken is longer than 20000 characters."));
        }
        let three = "The number of Jwt field should be divided into 3 parts with '.' .";
        let (signed, signature) = token.rsplit_once('.').ok_or_else(|| invalid(three))?;
        let (header, claims) = signed.split_once('.').ok_or_else(|| invalid(three))?;
        if claims.contains('.') {
            return Err(invalid(three));
        }
        let signature = decode(signature)?;
        Ok(Self { signed, header, claims, signature })
    }
}

/// Strict base64url without padding.
fn decode(part: &str) -> Result<Vec<u8>, ApiError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_fault| {
        let message = "Cannot decode base64 encoded response(format invalided).";
        ApiError::with_message(ErrorCode::TokenInvalid, message)
    })
}

/// Decodes a part of a token. Its error is not kept: it could repeat the part.
fn decode_json<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, ApiError> {
    let bytes = decode(part)?;
    serde_json::from_slice(&bytes).map_err(|_fault| ErrorCode::TokenInvalid.into())
}

/// The header of a token. Members that name keys or addresses (`jwk`, `jku`, `x5u`, `x5c`) are ignored.
#[derive(Default)]
struct Header {
    algorithm: String,
    key_id: Option<String>,
}

impl Header {
    fn decode(part: &str) -> Result<Self, ApiError> {
        let Members(members) = decode_json::<Members>(part)?;
        let mut header = Self::default();
        for (name, value) in members {
            match (name.as_str(), value) {
                ("alg", Member::Text(text)) => header.algorithm = text,
                ("kid", Member::Text(text)) if text.len() <= MAX_KEY_ID_BYTES => {
                    header.key_id = Some(text);
                }
                // An extension that must be understood is one that this gateway does not have.
                ("alg" | "kid" | "crit" | "b64" | "zip", _) => {
                    return Err(ErrorCode::TokenInvalid.into());
                }
                _ => {}
            }
        }
        Ok(header)
    }

    /// The algorithm, if the provider has it.
    fn algorithm(&self, provider: &IdentityProvider) -> Result<TokenAlgorithm, ApiError> {
        let known = self.algorithm.parse().ok();
        known.filter(|known| provider.algorithms.contains(known)).ok_or_else(|| {
            let name = REGISTERED.into_iter().find(|name| *name == self.algorithm);
            let message = format!(
                "The algorithm {} that be specified in Jwt header is unknown.",
                name.unwrap_or("(unregistered)")
            );
            ApiError::with_message(ErrorCode::TokenInvalid, message)
        })
    }
}

/// The claims of a token that are used.
struct Claims {
    issuer: String,
    subject: String,
    audiences: Vec<String>,
    issued: i64,
    expires: i64,
    not_before: Option<i64>,
}

impl Claims {
    fn decode(part: &str) -> Result<Self, ApiError> {
        let Members(members) = decode_json::<Members>(part)?;
        let (mut issuer, mut subject, mut audiences) = (None, None, None);
        let (mut issued_at, mut expires, mut not_before) = (None, None, None);
        for (name, value) in members {
            match (name.as_str(), value) {
                ("iss", Member::Text(text)) => issuer = Some(text),
                ("sub", Member::Text(text)) if (1..=MAX_SUBJECT_BYTES).contains(&text.len()) => {
                    subject = Some(text);
                }
                ("aud", Member::Text(text)) => audiences = Some(vec![text]),
                ("aud", Member::Texts(texts)) => audiences = Some(texts),
                ("iat", Member::Seconds(seconds)) => issued_at = Some(seconds),
                ("exp", Member::Seconds(seconds)) => expires = Some(seconds),
                ("nbf", Member::Seconds(seconds)) => not_before = Some(seconds),
                ("iss" | "sub" | "aud" | "iat" | "exp" | "nbf", _) => {
                    return Err(ErrorCode::TokenInvalid.into());
                }
                _ => {}
            }
        }
        let invalid = ErrorCode::TokenInvalid;
        Ok(Self {
            issuer: issuer.ok_or(invalid)?,
            subject: subject.ok_or(invalid)?,
            audiences: audiences.ok_or(invalid)?,
            issued: issued_at.ok_or(invalid)?,
            expires: expires.ok_or(invalid)?,
            not_before,
        })
    }

    fn check_times(&self, provider: &IdentityProvider, now: Time) -> Result<(), ApiError> {
        let now = now.unix();
        let is_expired = now > self.expires.saturating_add(TOKEN_LEEWAY_SECONDS);
        let is_early = self.issued > now + TOKEN_LEEWAY_SECONDS
            || self.not_before.is_some_and(|from| from > now + TOKEN_LEEWAY_SECONDS);
        let is_old =
            now.saturating_sub(self.issued) > provider.max_age_seconds + TOKEN_LEEWAY_SECONDS;
        let longest = provider.max_age_seconds.max(MAX_VALIDITY_SECONDS);
        let is_long = self.expires.saturating_sub(self.issued) > longest;
        if is_expired || is_early || is_old || is_long {
            return Err(ErrorCode::TokenExpired.into());
        }
        Ok(())
    }
}

/// The members of a JSON object, each once. What is not used is not kept.
struct Members(Vec<(String, Member)>);

enum Member {
    Text(String),
    Texts(Vec<String>),
    /// A whole number of seconds, not negative.
    Seconds(i64),
    Other,
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members: Vec<(String, Member)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Member>()? {
                    if members.len() >= 100 || members.iter().any(|(other, _)| *other == name) {
                        return Err(serde::de::Error::custom("a repeated name or too many"));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Member;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_str<E>(self, text: &str) -> Result<Member, E> {
                Ok(Member::Text(text.to_owned()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Member, E> {
                Ok(i64::try_from(number).map_or(Member::Other, Member::Seconds))
            }

            fn visit_i64<E>(self, _number: i64) -> Result<Member, E> {
                Ok(Member::Other)
            }

            fn visit_f64<E>(self, _number: f64) -> Result<Member, E> {
                Ok(Member::Other)
            }

            fn visit_bool<E>(self, _truth: bool) -> Result<Member, E> {
                Ok(Member::Other)
            }

            fn visit_unit<E>(self) -> Result<Member, E> {
                Ok(Member::Other)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Member, A::Error> {
                let mut texts = Vec::new();
                let mut has_others = false;
                while let Some(item) = list.next_element::<Member>()? {
                    match item {
                        Member::Text(text) if texts.len() < MAX_AUDIENCES => texts.push(text),
                        _ => has_others = true,
                    }
                }
                let is_list = !has_others && !texts.is_empty();
                Ok(if is_list { Member::Texts(texts) } else { Member::Other })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Member, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Member::Other)
            }
        }

        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests;
