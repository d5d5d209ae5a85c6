//! Cryptographic operations.

mod data_key;
mod export;

use super::Context;
use crate::error::{ApiError, ErrorCode};
use crate::model::Plaintext;
use crate::model::bytes::PlaintextParam;
use crate::ops::registry::operations;

operations! {
    PublicVisitor:
    encrypt::Encrypt,
    decrypt::Decrypt,
    re_encrypt::ReEncrypt,
    generate_data_key::GenerateDataKey,
    generate_data_key_without_plaintext::GenerateDataKeyWithoutPlaintext,
    generate_and_export_data_key::GenerateAndExportDataKey,
    export_data_key::ExportDataKey,
    asymmetric_encrypt::AsymmetricEncrypt,
    asymmetric_decrypt::AsymmetricDecrypt,
    asymmetric_sign::AsymmetricSign,
    asymmetric_verify::AsymmetricVerify,
    get_public_key::GetPublicKey,
    generate_mac::GenerateMac,
    verify_mac::VerifyMac,
}

/// The error for `Recipient`, with which an enclave requests a response that is encrypted with its
/// key.
fn no_recipient() -> ApiError {
    ApiError::unsupported_parameter("Recipient", "this gateway does not support enclaves")
}

/// A plaintext, if this gateway accepts it. The error names the setting to change, because the
/// clients that send such text have no option for it.
fn accepted(sent: PlaintextParam, cx: &Context) -> Result<Plaintext, ApiError> {
    match sent {
        PlaintextParam::Base64(plaintext) => Ok(plaintext),
        PlaintextParam::NonBase64(plaintext) if cx.compatibility().non_base64_plaintext => Ok(plaintext),
        PlaintextParam::NonBase64(_) => Err(ApiError::with_message(
            ErrorCode::InvalidParameter,
            "The specified parameter \"Plaintext\" is not valid: it must be Base64 encoded. The gateway \
             accepts other text with crypto.accept_non_base64_plaintext = true, hsmgate dev with \
             --accept-non-base64-plaintext."
                .to_owned(),
        )),
    }
}
