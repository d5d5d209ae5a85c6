//! Cryptographic operations.

pub mod asymmetric_decrypt;
pub mod asymmetric_encrypt;
pub mod asymmetric_sign;
pub mod asymmetric_verify;
mod data_key;
pub mod decrypt;
pub mod encrypt;
mod export;
pub mod export_data_key;
pub mod generate_and_export_data_key;
pub mod generate_data_key;
pub mod generate_data_key_without_plaintext;
pub mod generate_mac;
pub mod get_public_key;
pub mod re_encrypt;
pub mod verify_mac;

use super::Context;
use crate::error::{ApiError, ErrorCode};
use crate::model::bytes::SentPlaintext;
use crate::model::{ParamError, Plaintext};

/// What `DryRun=true` makes of a request that has passed every check.
fn end_dry_run(is_dry_run: bool) -> Result<(), ApiError> {
    if is_dry_run { Err(ErrorCode::DryRunOperation.into()) } else { Ok(()) }
}

/// A plaintext as far as this gateway accepts it.
fn accepted(sent: SentPlaintext, cx: &Context) -> Result<Plaintext, ParamError> {
    match sent {
        SentPlaintext::Base64(plaintext) => Ok(plaintext),
        SentPlaintext::Bare(plaintext) if cx.acceptance().bare_text => Ok(plaintext),
        SentPlaintext::Bare(_) => Err(ParamError::invalid("Plaintext")),
    }
}
