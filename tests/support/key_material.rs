//! Key material, wrapped for an import.

use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, Pkcs1PublicEncryptingKey,
    PublicEncryptingKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hsmgate::model::WrappingAlgorithm;
use serde_json::Value;

/// Wraps material for an answer of GetParametersForImport with RSAES_OAEP_SHA_1; Base64.
pub(crate) fn wrap(parameters: &Value, material: &[u8]) -> String {
    wrap_for(parameters, WrappingAlgorithm::RsaesOaepSha1, material)
}

/// Wraps material for an answer of GetParametersForImport; Base64.
pub(crate) fn wrap_for(
    parameters: &Value,
    algorithm: WrappingAlgorithm,
    material: &[u8],
) -> String {
    let public = STANDARD.decode(parameters["PublicKey"].as_str().unwrap()).unwrap();
    let public = PublicEncryptingKey::from_der(&public).unwrap();
    STANDARD.encode(wrap_with(&public, algorithm, material))
}

/// Wraps material with a public key of 2,048 bits.
pub(crate) fn wrap_with(
    public: &PublicEncryptingKey,
    algorithm: WrappingAlgorithm,
    material: &[u8],
) -> Vec<u8> {
    let mut wrapped = vec![0; 256];
    let oaep = |padding, wrapped: &mut [u8]| {
        let public = OaepPublicEncryptingKey::new(public.clone()).unwrap();
        public.encrypt(padding, material, wrapped, None).unwrap();
    };
    match algorithm {
        WrappingAlgorithm::RsaesPkcs1 => {
            let public = Pkcs1PublicEncryptingKey::new(public.clone()).unwrap();
            public.encrypt(material, &mut wrapped).unwrap();
        }
        WrappingAlgorithm::RsaesOaepSha1 => oaep(&OAEP_SHA1_MGF1SHA1, &mut wrapped),
        WrappingAlgorithm::RsaesOaepSha256 => oaep(&OAEP_SHA256_MGF1SHA256, &mut wrapped),
    }
    wrapped
}
