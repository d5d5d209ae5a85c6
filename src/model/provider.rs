//! Identity providers: whose tokens are accepted in place of a signature.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::arn::AccountId;
use super::text_form::{InvalidId, api_enum, is_ascii_name, text_forms, text_type};
use super::time::Time;

/// The oldest token that is accepted if nothing else is set, in seconds.
pub const DEFAULT_MAX_TOKEN_AGE_SECONDS: i64 = 24 * 3600;
/// The longest issuer or audience in bytes.
const MAX_NAME_BYTES: usize = 512;
/// The most audiences of a provider.
const MAX_AUDIENCES: usize = 50;

text_type! {
    /// The name of an identity provider: 1 to 128 ASCII letters, digits, `.`, `-` and `_`, with a letter
    /// or a digit at both ends (RAM, CreateOIDCProvider).
    ProviderName, "identity provider name", |text| {
        let is_end = |char: Option<char>| char.is_some_and(|char| char.is_ascii_alphanumeric());
        is_ascii_name(text, 128, b"._-")
            && is_end(text.chars().next())
            && is_end(text.chars().next_back())
    }
}

api_enum! {
    /// An algorithm of token signatures.
    TokenAlgorithm, "token algorithm: RS256 or ES256" {
        /// RSA PKCS#1 v1.5 with SHA-256.
        Rs256 = "RS256",
        /// ECDSA on P-256 with SHA-256.
        Es256 = "ES256",
    }
}

/// An identity provider. Its keys are part of it: nothing in a token names a key or an address that is
/// used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdentityProvider {
    /// Its name.
    pub name: ProviderName,
    /// Tells it from a later one with the same name.
    pub id: String,
    /// The issuer of its tokens, compared byte by byte.
    pub issuer: String,
    /// The audiences of which a token must have one.
    pub audiences: Vec<String>,
    /// The algorithms of its tokens.
    pub algorithms: Vec<TokenAlgorithm>,
    /// Its public keys, a JSON Web Key Set.
    pub keys: String,
    /// The oldest token that is accepted, in seconds.
    pub max_age_seconds: i64,
    /// Creation time.
    pub created: Time,
}

impl IdentityProvider {
    /// Why a provider cannot be used; its keys are checked elsewhere.
    ///
    /// # Errors
    /// With the fault.
    pub fn check(&self) -> Result<(), &'static str> {
        let is_name = |text: &String| (1..=MAX_NAME_BYTES).contains(&text.len());
        if !is_name(&self.issuer) {
            return Err("the issuer must have 1 to 512 bytes");
        }
        if self.audiences.is_empty() || self.audiences.len() > MAX_AUDIENCES {
            return Err("1 to 50 audiences are necessary");
        }
        if !self.audiences.iter().all(is_name) {
            return Err("an audience must have 1 to 512 bytes");
        }
        if self.algorithms.is_empty() {
            return Err("an algorithm is necessary");
        }
        if !(60..=7 * 24 * 3600).contains(&self.max_age_seconds) {
            return Err("the greatest age of a token must be 60 to 604800 seconds");
        }
        Ok(())
    }
}

/// The ARN of an identity provider: `acs:ram::<account>:oidc-provider/<name>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderArn {
    /// The account.
    pub account: AccountId,
    /// The provider.
    pub name: ProviderName,
}

impl FromStr for ProviderArn {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let wrong = InvalidId("provider ARN: acs:ram::<account>:oidc-provider/<name>");
        let (account, name) =
            text.strip_prefix("acs:ram::").and_then(|rest| rest.split_once(':')).ok_or(wrong)?;
        let name = name.strip_prefix("oidc-provider/").ok_or(wrong)?;
        Ok(Self { account: account.parse()?, name: name.parse()? })
    }
}

impl fmt::Display for ProviderArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "acs:ram::{}:oidc-provider/{}", self.account, self.name)
    }
}

text_forms!(ProviderArn: FromParam);
