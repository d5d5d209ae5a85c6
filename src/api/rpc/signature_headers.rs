//! The headers that have a meaning in ACS3 and ACS4, found in one pass over all headers.

use http::HeaderMap;
use http::header::HeaderValue;

use super::canonical::BODY_DIGEST;
use super::signed_request::incomplete;
use crate::error::{ApiError, ErrorCode};

const ACTION: &str = "x-acs-action";
const VERSION: &str = "x-acs-version";
const DATE: &str = "x-acs-date";
const NONCE: &str = "x-acs-signature-nonce";
const TOKEN: &str = "x-acs-security-token";
const AUTHORIZATION: &str = "authorization";
const CONTENT_TYPE: &str = "content-type";
const HOST: &str = "host";

/// The headers of a request.
#[derive(Debug)]
pub(super) struct SignatureHeaders<'a> {
    pub(super) action: Header<'a>,
    pub(super) version: Header<'a>,
    pub(super) date: Header<'a>,
    pub(super) nonce: Header<'a>,
    pub(super) security_token: Header<'a>,
    pub(super) body_digest: Header<'a>,
    authorization: Header<'a>,
    content_type: Header<'a>,
    host: Header<'a>,
}

/// A header, which may be absent or repeated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header<'a> {
    name: &'static str,
    first: Option<&'a HeaderValue>,
    is_repeated: bool,
}

impl<'a> SignatureHeaders<'a> {
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        let mut found = Self {
            action: Header::absent(ACTION),
            version: Header::absent(VERSION),
            date: Header::absent(DATE),
            nonce: Header::absent(NONCE),
            security_token: Header::absent(TOKEN),
            body_digest: Header::absent(BODY_DIGEST),
            authorization: Header::absent(AUTHORIZATION),
            content_type: Header::absent(CONTENT_TYPE),
            host: Header::absent(HOST),
        };
        for (name, value) in headers {
            let header = match name.as_str() {
                ACTION => &mut found.action,
                VERSION => &mut found.version,
                DATE => &mut found.date,
                NONCE => &mut found.nonce,
                TOKEN => &mut found.security_token,
                BODY_DIGEST => &mut found.body_digest,
                AUTHORIZATION => &mut found.authorization,
                CONTENT_TYPE => &mut found.content_type,
                HOST => &mut found.host,
                _ => continue,
            };
            header.is_repeated = header.first.is_some();
            header.first = header.first.or(Some(value));
        }
        found
    }

    /// The `Authorization` header, where it selects a scheme that signs headers.
    ///
    /// # Errors
    /// When it is repeated, or not text.
    pub(super) fn authorization(&self) -> Result<Option<&'a str>, ApiError> {
        let Header { first: Some(value), is_repeated, .. } = self.authorization else {
            return Ok(None);
        };
        let text = value.to_str().map_err(|error| incomplete("Authorization").because(error))?;
        if is_repeated {
            return Err(incomplete("Authorization"));
        }
        Ok(Some(text).filter(|text| text.starts_with("ACS3-") || text.starts_with("ACS4-")))
    }

    /// Checks that everything with a meaning is signed, since an attacker can change unsigned parts.
    ///
    /// The host has no meaning for the gateway, and three official Java clients (the core SDK with
    /// ACS3, the asynchronous SDK with ACS3 and ACS4) do not sign it.
    ///
    /// # Errors
    /// When a header is not signed, or the host is repeated.
    pub(super) fn check_coverage(&self, signed: &str, has_body: bool) -> Result<(), ApiError> {
        // The type of an empty body has no meaning, and the asynchronous Python client does not sign
        // it.
        let has_type = has_body && self.content_type.first.is_some();
        let mut needed = [
            (ACTION, true),
            (VERSION, true),
            (DATE, true),
            (NONCE, true),
            (BODY_DIGEST, true),
            (CONTENT_TYPE, has_type),
            (TOKEN, self.security_token.first.is_some()),
        ];
        for name in signed.as_bytes().split(|byte| *byte == b';') {
            for (needed, is_missing) in &mut needed {
                *is_missing &= !name.eq_ignore_ascii_case(needed.as_bytes());
            }
        }
        if let Some((name, _missing)) = needed.iter().find(|(_name, is_missing)| *is_missing) {
            return Err(incomplete(&format!("SignedHeaders, which must contain {name}")));
        }
        self.host.single().map(drop)
    }
}

impl<'a> Header<'a> {
    const fn absent(name: &'static str) -> Self {
        Self { name, first: None, is_repeated: false }
    }

    /// Every value.
    pub(super) fn values_in(self, headers: &HeaderMap) -> impl Iterator<Item = &HeaderValue> {
        headers.get_all(self.name).iter()
    }

    /// The text of a header that must be present once and not empty.
    pub(super) fn required(self, missing: ErrorCode) -> Result<&'a str, ApiError> {
        self.single()?.ok_or_else(|| missing.into())
    }

    /// The text of a header that may be absent or empty. A repeated one is rejected: two parsers could
    /// use different values.
    pub(super) fn single(self) -> Result<Option<&'a str>, ApiError> {
        if self.is_repeated {
            return Err(ApiError::invalid_parameter(self.name));
        }
        let text = self.first.map(|value| value.to_str()).transpose();
        let text = text.map_err(|error| ApiError::invalid_parameter(self.name).because(error))?;
        Ok(text.map(str::trim).filter(|text| !text.is_empty()))
    }
}
