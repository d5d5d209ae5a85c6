//! Key material, wrapped for an import.

use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OaepPublicEncryptingKey, PublicEncryptingKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::gateway::text;

/// Wraps material for an answer of GetParametersForImport with RSAES_OAEP_SHA_1; Base64.
pub(crate) fn wrap(parameters: &Value, material: &[u8]) -> String {
    let public = STANDARD.decode(text(&parameters["PublicKey"])).unwrap();
    let public = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(&public).unwrap());
    let mut wrapped = vec![0; 256];
    public.unwrap().encrypt(&OAEP_SHA1_MGF1SHA1, material, &mut wrapped, None).unwrap();
    STANDARD.encode(wrapped)
}
