//! ACS3-HMAC-SHA256 and ACS4-HMAC-SHA256: HMAC over the digest of a canonical request.

use super::canonical::{ACS3, ACS4, BODY_DIGEST, sha256_hex, string_to_sign};
use super::signature_headers::SignatureHeaders;
use super::signed_request::{SignedRequest, incomplete, nonce, timestamp};
use crate::authn::claim::{Claim, Scheme, SignedWith};
use crate::error::{ApiError, ErrorCode};
use crate::model::Api;

/// The bytes of an HMAC-SHA256.
const SIGNATURE_BYTES: usize = 32;

/// The digest of an empty body, which almost every request has.
const EMPTY_DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The claim in the `Authorization` header of a request.
pub(super) fn claim<'a>(
    signed_request: &SignedRequest<'a>,
    headers: &SignatureHeaders<'a>,
    authorization: &'a str,
) -> Result<Claim<'a>, ApiError> {
    let authorization = Authorization::parse(authorization)?;
    headers.action.required(ErrorCode::MissingAction)?;
    headers.version.required(ErrorCode::MissingVersion)?;
    let date = headers.date.required(ErrorCode::MissingTimestamp)?;
    let nonce_text = headers.nonce.required(ErrorCode::MissingSignatureNonce)?;
    let security_token = headers.security_token.single()?;
    headers.check_coverage(authorization.signed_headers, !signed_request.body.is_empty())?;
    let body_digest = headers.body_digest.single()?.ok_or_else(|| incomplete(BODY_DIGEST))?;
    check_body(signed_request.body, body_digest)?;
    let timestamp = timestamp(date)?;
    let scheme = authorization.scheme(date)?;
    let algorithm = if scheme == Scheme::Acs3 { ACS3 } else { ACS4 };
    Ok(Claim {
        signed_with: SignedWith::AccessKey(scheme),
        access_key_id: authorization.access_key_id,
        string_to_sign: string_to_sign(
            algorithm,
            signed_request,
            authorization.signed_headers,
            body_digest,
        )?,
        signature: signature(authorization.signature)?,
        timestamp,
        nonce: nonce(nonce_text)?,
        security_token,
    })
}

/// Decodes a signature of any length: one of another length does not match.
fn signature(digits: &str) -> Result<Vec<u8>, ApiError> {
    let mut bytes = [0; SIGNATURE_BYTES];
    let decoded = match hex::decode_to_slice(digits, &mut bytes) {
        Ok(()) => Ok(bytes.to_vec()),
        Err(_of_another_length) => hex::decode(digits),
    };
    decoded.map_err(|_source| incomplete("Signature"))
}

/// The parts of `ACS3-HMAC-SHA256 Credential=..,SignedHeaders=..,Signature=..`.
struct Authorization<'a> {
    access_key_id: &'a str,
    /// Day, region and product; for ACS4 only.
    scope: Option<[&'a str; 3]>,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn parse(text: &'a str) -> Result<Self, ApiError> {
        let malformed = || incomplete("Authorization");
        let (algorithm, fields) = text.split_once(' ').ok_or_else(malformed)?;
        if algorithm != ACS3 && algorithm != ACS4 {
            return Err(ErrorCode::InvalidSignatureMethod.into());
        }
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for field in fields.split(',') {
            let (name, value) = field.trim().split_once('=').ok_or_else(malformed)?;
            let place = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return Err(malformed()),
            };
            if place.replace(value).is_some() {
                return Err(malformed());
            }
        }
        let credential = credential.ok_or_else(malformed)?;
        let (access_key_id, scope) =
            if algorithm == ACS4 { scoped(credential)? } else { (credential, None) };
        if access_key_id.is_empty() {
            return Err(ErrorCode::MissingAccessKeyId.into());
        }
        Ok(Self {
            access_key_id,
            scope,
            signed_headers: signed_headers.ok_or_else(malformed)?,
            signature: signature.ok_or(ErrorCode::MissingSignature)?,
        })
    }

    /// Returns the scheme; the day of the scope must be that of `x_acs_date`.
    ///
    /// The asynchronous Java SDK writes the whole time into the scope, and derives its key from the
    /// day like the others.
    fn scheme(&self, x_acs_date: &str) -> Result<Scheme<'a>, ApiError> {
        let Some([date, region, product]) = self.scope else { return Ok(Scheme::Acs3) };
        let malformed = || incomplete("the scope of Credential");
        let day = day(x_acs_date).ok_or_else(malformed)?;
        let is_of_day = date.as_bytes() == day || date == x_acs_date;
        let is_known = Api::ALL.into_iter().any(|api| api.product() == product);
        if is_known && !region.is_empty() && is_of_day {
            Ok(Scheme::Acs4 { day, region, product })
        } else {
            Err(malformed())
        }
    }
}

/// The first eight digits of a date: its day.
fn day(date: &str) -> Option<[u8; 8]> {
    let mut day = [0; 8];
    let mut digits = date.bytes().filter(u8::is_ascii_digit);
    for place in &mut day {
        *place = digits.next()?;
    }
    Some(day)
}

/// The parts of `<AccessKey id>/<YYYYMMDD>/<region>/<product>/aliyun_v4_request`.
fn scoped(credential: &str) -> Result<(&str, Option<[&str; 3]>), ApiError> {
    let mut parts = credential.split('/');
    let mut part = || parts.next().ok_or_else(|| incomplete("the scope of Credential"));
    let access_key_id = part()?;
    let scope = [part()?, part()?, part()?];
    if part()? == "aliyun_v4_request" && parts.next().is_none() {
        Ok((access_key_id, Some(scope)))
    } else {
        Err(incomplete("the scope of Credential"))
    }
}

fn check_body(body: &[u8], claimed: &str) -> Result<(), ApiError> {
    if body.is_empty() && claimed == EMPTY_DIGEST {
        return Ok(());
    }
    let actual = sha256_hex(body);
    if actual == claimed {
        return Ok(());
    }
    let message = format!(
        "{} The body does not have the digest that {BODY_DIGEST} says. server digest is:{actual}",
        ErrorCode::SignatureDoesNotMatch.message(),
    );
    Err(ApiError::with_message(ErrorCode::SignatureDoesNotMatch, message))
}
