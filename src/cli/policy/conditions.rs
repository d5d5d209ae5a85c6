//! The condition values of a simulated request.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::cli::exit::CliError;
use crate::model::policy::TrustValues;
use crate::model::{EncryptionContext, IdentityProvider, RequestContext, TagKey, TagValue};

/// The simulated condition values.
pub(super) struct SimulatedConditions {
    pub(super) request: RequestContext,
    pub(super) tags: BTreeMap<TagKey, TagValue>,
    pub(super) context: EncryptionContext,
    pub(super) trust: TrustValues,
}

impl SimulatedConditions {
    pub(super) fn of(conditions: &[(String, String)]) -> anyhow::Result<Self> {
        let mut request = RequestContext::now(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let (mut tags, mut context) = (BTreeMap::new(), BTreeMap::new());
        let mut trust = TrustValues::default();
        for (key, value) in conditions {
            let invalid = || CliError::usage(format!("--condition {key}={value} is not valid"));
            match key.split_once('/') {
                None if key == "acs:SourceIp" => {
                    request.source = value.parse().map_err(|_invalid| invalid())?;
                }
                None if key == "acs:SecureTransport" => {
                    request.is_secure = value.parse().map_err(|_invalid| invalid())?;
                }
                None if key == "acs:CurrentTime" => {
                    request.time = value.parse().map_err(|_invalid| invalid())?;
                }
                None if key == "oidc:iss" => trust.issuer = Some(value.as_str().into()),
                None if key == "oidc:sub" => trust.subject = Some(value.as_str().into()),
                None if key == "oidc:aud" => trust.audiences.push(value.as_str().into()),
                None if key == "sts:ExternalId" => trust.external_id = Some(value.as_str().into()),
                Some(("kms:tag", key)) => {
                    let key = key.parse().map_err(|_invalid| invalid())?;
                    tags.insert(key, value.parse().map_err(|_invalid| invalid())?);
                }
                Some(("kms:EncryptionContext", name)) => {
                    context.insert(name.to_owned(), value.clone());
                }
                _ => return Err(invalid().into()),
            }
        }
        Ok(Self { request, tags, context: EncryptionContext::new(context)?, trust })
    }

    /// What a token of the provider has, unless it is given: the issuer, and the only audience.
    pub(super) fn complete_token(&mut self, provider: &IdentityProvider) -> Result<(), CliError> {
        if self.trust.subject.is_none() {
            return Err(CliError::usage("a token has a subject: --condition oidc:sub=SUBJECT"));
        }
        self.trust.issuer.get_or_insert_with(|| provider.issuer.as_str().into());
        match provider.audiences.as_slice() {
            _ if !self.trust.audiences.is_empty() => {}
            [only] => self.trust.audiences.push(only.as_str().into()),
            _ => {
                let what = "the provider has several audiences: --condition oidc:aud=AUDIENCE";
                return Err(CliError::usage(what));
            }
        }
        Ok(())
    }
}
