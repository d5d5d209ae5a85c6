//! RPC 1.0: a signature over all parameters of query and form, HMAC-SHA1 with the secret of an
//! AccessKey or RSA with a client key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;

use super::percent::{encode_into, encode_twice_into};
use super::signed_request::{SignedRequest, incomplete, nonce, timestamp};
use crate::authn::claim::{Claim, Scheme, SignedWith};
use crate::error::{ApiError, ErrorCode};
use crate::model::Params;

const SIGNATURE: &str = "Signature";

/// The claim in the parameters of a request.
pub(super) fn claim<'a>(signed_request: &SignedRequest<'a>) -> Result<Claim<'a>, ApiError> {
    let required = |name: &str, missing: ErrorCode| signed_request.param(name).ok_or(missing);
    if signed_request.param(SIGNATURE).is_none() && signed_request.param("AccessKeyId").is_none() {
        return Err(incomplete(SIGNATURE));
    }
    let access_key_id = required("AccessKeyId", ErrorCode::MissingAccessKeyId)?;
    let signature = required(SIGNATURE, ErrorCode::MissingSignature)?;
    let nonce_text = required("SignatureNonce", ErrorCode::MissingSignatureNonce)?;
    let timestamp_text = required("Timestamp", ErrorCode::MissingTimestamp)?;
    Ok(Claim {
        signed_with: signed_with(signed_request)?,
        access_key_id,
        string_to_sign: string_to_sign(signed_request.method, signed_request.params),
        signature: STANDARD
            .decode(signature)
            .map_err(|error| incomplete(SIGNATURE).because(error))?,
        timestamp: timestamp(timestamp_text)?,
        nonce: nonce(nonce_text)?,
        security_token: signed_request.param("SecurityToken"),
    })
}

/// The string that is signed: every parameter except `Signature`, sorted by name.
pub fn string_to_sign(method: &Method, params: &Params<'_>) -> String {
    let lengths = params.iter().map(|(name, value)| name.len() + value.len() + 8);
    let mut text = String::with_capacity(lengths.sum::<usize>() * 5 / 4);
    text.push_str(method.as_str());
    text.push('&');
    encode_into(&mut text, "/");
    text.push('&');
    let signed = params.iter().filter(|(name, _value)| *name != SIGNATURE);
    for (position, (name, value)) in signed.enumerate() {
        if position > 0 {
            encode_into(&mut text, "&");
        }
        encode_twice_into(&mut text, name);
        encode_into(&mut text, "=");
        encode_twice_into(&mut text, value);
    }
    text
}

/// The kind of key, from the two parameters that name the scheme and the one that names the kind of
/// credential. Each method is valid with one type only.
fn signed_with<'a>(signed_request: &SignedRequest<'_>) -> Result<SignedWith<'a>, ApiError> {
    let part = |name| signed_request.param(name).unwrap_or_default();
    match (part("SignatureMethod"), part("SignatureVersion"), part("SignatureType")) {
        ("HMAC-SHA1", "1.0", "") => Ok(SignedWith::AccessKey(Scheme::Rpc1)),
        ("SHA256withRSA", "1.0", "PRIVATEKEY") => Ok(SignedWith::ClientKey),
        _ => Err(ErrorCode::InvalidSignatureMethod.into()),
    }
}
