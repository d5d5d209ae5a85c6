//! Encodings of public keys and signatures: SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7) and
//! DER signatures (RFC 3279, section 2.2.3).

use std::fmt;

use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPublicEncryptingKey,
    PublicEncryptingKey,
};
use der::asn1::UintRef;
use der::{Decode as _, Encode as _};

use super::KeyringError;
use crate::error::ErrorCode;
use crate::model::algorithm::EncryptionAlgorithm;
use crate::token::OaepHash;

/// Bytes of `r` and of `s` on a 256-bit curve.
const SCALAR_BYTES: usize = 32;

/// A public key from a caller, to wrap a data key for its owner.
#[derive(Debug)]
pub struct RecipientKey(OaepKey);

impl RecipientKey {
    /// Bytes of the modulus of the only kind of key that the API accepts, RSA_2048.
    const MODULUS_BYTES: usize = 256;

    /// Reads a SubjectPublicKeyInfo in DER.
    ///
    /// # Errors
    /// `InvalidParameter` when it is not an RSA public key of 2,048 bits; `UnsupportedOperation`
    /// for SM2.
    pub fn from_der(der: &[u8], algorithm: EncryptionAlgorithm) -> Result<Self, ErrorCode> {
        let hash = oaep_hash(algorithm).ok_or(ErrorCode::UnsupportedOperation)?;
        let key = OaepKey::from_der(der, hash)?;
        if key.key.ciphertext_size() != Self::MODULUS_BYTES {
            return Err(ErrorCode::InvalidParameter);
        }
        Ok(Self(key))
    }

    /// The maximum bytes of a data key under this key.
    pub fn max_bytes(&self) -> usize {
        self.0.max_bytes()
    }

    /// Encrypts a data key with this public key.
    ///
    /// # Errors
    /// `InvalidParameter` when the data key is too long.
    pub fn wrap(&self, data_key: &[u8]) -> Result<Vec<u8>, ErrorCode> {
        self.0.encrypt(data_key)
    }
}

/// The hash of an RSAES-OAEP algorithm.
pub(super) const fn oaep_hash(algorithm: EncryptionAlgorithm) -> Option<OaepHash> {
    match algorithm {
        EncryptionAlgorithm::RsaesOaepSha256 => Some(OaepHash::Sha256),
        EncryptionAlgorithm::RsaesOaepSha1 => Some(OaepHash::Sha1),
        EncryptionAlgorithm::Sm2Pke => None,
    }
}

/// An RSA public key with its OAEP parameters.
pub(super) struct OaepKey {
    key: OaepPublicEncryptingKey,
    padding: &'static OaepAlgorithm,
}

impl fmt::Debug for OaepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OaepKey").field("padding", self.padding).finish_non_exhaustive()
    }
}

impl OaepKey {
    /// Reads a SubjectPublicKeyInfo in DER.
    pub(super) fn from_der(der: &[u8], hash: OaepHash) -> Result<Self, ErrorCode> {
        let padding = match hash {
            OaepHash::Sha256 => &OAEP_SHA256_MGF1SHA256,
            OaepHash::Sha1 => &OAEP_SHA1_MGF1SHA1,
        };
        let key = PublicEncryptingKey::from_der(der)
            .map_err(|_rejected| ErrorCode::InvalidParameter)
            .and_then(|key| {
                OaepPublicEncryptingKey::new(key)
                    .map_err(|_unspecified| ErrorCode::InvalidParameter)
            })?;
        Ok(Self { key, padding })
    }

    fn max_bytes(&self) -> usize {
        self.key.max_plaintext_size(self.padding)
    }

    /// Encrypts a plaintext; one that is too long for the key is an invalid parameter.
    pub(super) fn encrypt(&self, plaintext: &[u8]) -> Result<Vec<u8>, ErrorCode> {
        if plaintext.len() > self.max_bytes() {
            return Err(ErrorCode::InvalidParameter);
        }
        let mut ciphertext = vec![0; self.key.ciphertext_size()];
        let written = self
            .key
            .encrypt(self.padding, plaintext, &mut ciphertext, None)
            .map(|written| written.len())
            .map_err(|_unspecified| ErrorCode::InternalFailure)?;
        ciphertext.truncate(written);
        Ok(ciphertext)
    }
}

/// Converts `r` and `s`, 32 bytes each as in PKCS#11, to the DER form of the API.
///
/// # Errors
/// When `raw` does not have 64 bytes.
pub fn signature_to_der(raw: &[u8]) -> Result<Vec<u8>, KeyringError> {
    let (r, s) = raw.split_at_checked(SCALAR_BYTES).ok_or(ErrorCode::InternalFailure)?;
    if s.len() != SCALAR_BYTES {
        return Err(ErrorCode::InternalFailure.into());
    }
    Ok(EcdsaSignature { r: UintRef::new(r)?, s: UintRef::new(s)? }.to_der()?)
}

/// Converts the DER form to `r` and `s`, 64 bytes; `None` unless it is strict DER of two numbers
/// that fit. Only the key can verify them.
pub fn signature_from_der(der: &[u8]) -> Option<Vec<u8>> {
    let signature = EcdsaSignature::from_der(der).ok()?;
    let mut raw = vec![0; 2 * SCALAR_BYTES];
    for (half, number) in raw.chunks_exact_mut(SCALAR_BYTES).zip([signature.r, signature.s]) {
        let start = SCALAR_BYTES.checked_sub(number.as_bytes().len())?;
        half.get_mut(start..)?.copy_from_slice(number.as_bytes());
    }
    Some(raw)
}

#[derive(der::Sequence)]
struct EcdsaSignature<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_keeps_its_numbers_in_both_forms() {
        for raw in [[0xff; 64], [1; 64], std::array::from_fn(|at| u8::from(at == 31 || at == 63))] {
            let der = signature_to_der(&raw).unwrap();
            assert_eq!(signature_from_der(&der).unwrap(), raw);
        }
    }

    #[test]
    fn only_strict_der_of_two_fitting_numbers_is_a_signature() {
        let good = signature_to_der(&[0x7f; 64]).unwrap();
        let mut longer = good.clone();
        longer.push(0);
        let mut negative = good.clone();
        negative[4] = 0xff;
        let mut too_long = vec![0x30, 2 + 34 + 3, 0x02, 34, 0x7f];
        too_long.extend([0; 33]);
        too_long.extend([0x02, 1, 1]);
        for bad in [&b""[..], &good[..good.len() - 1], &longer, &negative, &too_long] {
            assert_eq!(signature_from_der(bad), None, "{bad:02x?}");
        }
    }
}
